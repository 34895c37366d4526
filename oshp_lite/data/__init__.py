"""From files to episodes. Every name is loaded when first needed; what reads pictures needs no torch."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_NAMES = {
    "dataset": ("OneShotDataset", "Sample", "open_dataset"),
    "episode": ("IGNORE", "Episode", "collate"),
    "loading": ("EpisodeDataset",),
    "pairs": ("Pair", "build_support_index", "journal_pairs"),
    "registry": ("DATASETS", "DatasetSpec", "dataset_spec", "find_dataset"),
    "writer": ("DatasetWriter", "finished_dataset"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    """Load a name's module when first needed."""
    if name in _HOME:
        return getattr(import_module(f"oshp_lite.data.{_HOME[name]}"), name)
    raise AttributeError(f"module 'oshp_lite.data' has no attribute {name!r}")
