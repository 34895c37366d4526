"""Floor 1: from files to episodes. What needs torch is loaded when first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from oshp_lite.data.dataset import OneShotDataset, Sample, open_dataset
from oshp_lite.data.pairs import (
    Pair,
    build_support_index,
    journal_pairs,
    kway_training_pairs,
    oneway_training_pairs,
    spread_pairs,
    thin_pairs,
)
from oshp_lite.data.writer import DatasetWriter, finished_dataset

if TYPE_CHECKING:
    from oshp_lite.data.episode import IGNORE, Episode, collate
    from oshp_lite.data.loading import EpisodeDataset

__all__ = [
    "IGNORE",
    "DatasetWriter",
    "Episode",
    "EpisodeDataset",
    "OneShotDataset",
    "Pair",
    "Sample",
    "build_support_index",
    "collate",
    "finished_dataset",
    "journal_pairs",
    "kway_training_pairs",
    "oneway_training_pairs",
    "open_dataset",
    "spread_pairs",
    "thin_pairs",
]

_HOMES = {
    "IGNORE": "oshp_lite.data.episode",
    "Episode": "oshp_lite.data.episode",
    "collate": "oshp_lite.data.episode",
    "EpisodeDataset": "oshp_lite.data.loading",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'oshp_lite.data' has no attribute {name!r}")
