"""The episode: one support photo with its mask, and the query photo to be parsed with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

IGNORE = 255
"""The mask value that says "no statement about this pixel" in every mask and foreground."""

_TENSORS = (
    "query_image",
    "support_image",
    "support_mask",
    "support_foreground",
    "query_mask",
    "query_foreground",
    "class_ids",
)


@dataclass
class Episode:
    """One episode, or a batch of them (every tensor then has a leading B). Source: journal, section 3.

    query_image        float [3,H,W] (or [B,3,H,W]), usually in [-1,1]
    support_image      float [3,H',W']; may differ in size from the query
    support_mask       int64 [H',W'] raw class ids (1-way: 0/1), 255 = ignore
    support_foreground int64 [H',W'] person 1, scene 0, 255 = ignore
    query_mask         int64 [H,W] like support_mask; None at inference
    query_foreground   int64 [H,W] like support_foreground; None at inference
    class_ids          int64 [] or [B]: raw id of a 1-way episode's target class; None in k-way
    classes            optional raw ids a prediction may use; names: optional stems of query and support
    """

    query_image: Tensor
    support_image: Tensor
    support_mask: Tensor
    support_foreground: Tensor
    query_mask: Tensor | None = None
    query_foreground: Tensor | None = None
    class_ids: Tensor | None = None
    classes: Sequence[int] | None = None
    names: Sequence[Any] | None = None

    @property
    def is_batch(self) -> bool:
        """True when the tensors carry a leading batch dimension."""
        return self.query_image.dim() == 4

    @property
    def one_way(self) -> bool:
        """True for a 1-way episode (it then names its target class)."""
        return self.class_ids is not None

    def batched(self) -> Episode:
        """Return this episode with a leading batch dimension (itself when it has one)."""
        if self.is_batch:
            return self
        values = {name: getattr(self, name) for name in _TENSORS}
        added = {name: value[None] for name, value in values.items() if value is not None}
        if self.class_ids is not None and self.class_ids.dim() == 1:
            added["class_ids"] = self.class_ids
        names = None if self.names is None else [self.names]
        return replace(self, **added, names=names)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Episode:
        """Return a copy with every tensor on `device`."""
        moved = {
            name: value.to(device, non_blocking=non_blocking)
            for name in _TENSORS
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **moved)

    def pin_memory(self) -> Episode:
        """Return a copy in page-locked memory (called by the data loader on CUDA machines)."""
        pinned = {name: value.pin_memory() for name in _TENSORS if (value := getattr(self, name)) is not None}
        return replace(self, **pinned)

    def __len__(self) -> int:
        """Number of episodes held."""
        return int(self.query_image.shape[0]) if self.is_batch else 1


def collate(episodes: Sequence[Episode]) -> Episode:
    """Stack single episodes of equal sizes into one batch. Raises ValueError when sizes or fields differ."""
    if not episodes:
        raise ValueError("collate needs at least one episode")
    stacked: dict[str, Any] = {}
    for field in fields(Episode):
        values = [getattr(episode, field.name) for episode in episodes]
        if field.name not in _TENSORS:
            continue
        missing = sum(value is None for value in values)
        if missing == len(values):
            stacked[field.name] = None
        elif missing:
            raise ValueError(f"{field.name} is present in some episodes of the batch and missing in others")
        else:
            shapes = {tuple(value.shape) for value in values}
            if len(shapes) > 1:
                raise ValueError(f"{field.name} has different sizes within one batch: {sorted(shapes)}")
            stacked[field.name] = torch.stack(values)
    return Episode(**stacked, classes=episodes[0].classes, names=[episode.names for episode in episodes])
