"""The episode: one support photo with its mask, and the query photo to be parsed with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from oshp_lite.labels import IGNORE as IGNORE

_IMAGES, _MASKS = ("query_image", "support_image"), ("support_mask", "query_mask")
_TENSORS = (*_IMAGES, *_MASKS, "support_foreground", "query_foreground", "class_ids")


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
        batch = self._changed(lambda value: value[None])
        ids = self.class_ids if self.class_ids is not None and self.class_ids.dim() == 1 else batch.class_ids
        return replace(batch, class_ids=ids, names=None if self.names is None else [self.names])

    def _changed(self, change: Callable[[Tensor], Tensor]) -> Episode:
        values = {name: getattr(self, name) for name in _TENSORS}
        changed: dict[str, Any] = {name: change(value) for name, value in values.items() if value is not None}
        return replace(self, **changed)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Episode:
        """Return a copy with every tensor on `device`."""
        return self._changed(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Episode:
        """Return a copy in page-locked memory (called by the data loader on CUDA machines)."""
        return self._changed(Tensor.pin_memory)

    def __len__(self) -> int:
        """Number of episodes held."""
        return int(self.query_image.shape[0]) if self.is_batch else 1


def collate(episodes: Sequence[Episode]) -> Episode:
    """Stack single episodes of equal sizes into one batch. Raises ValueError when sizes or fields differ."""
    if not episodes:
        raise ValueError("collate needs at least one episode")
    stacked: dict[str, Any] = {}
    for name in _TENSORS:
        values = [value for episode in episodes if (value := getattr(episode, name)) is not None]
        if 0 < len(values) < len(episodes):
            raise ValueError(f"{name} is present in some episodes of the batch and missing in others")
        shapes = {tuple(value.shape) for value in values}
        if len(shapes) > 1:
            raise ValueError(f"{name} has different sizes within one batch: {sorted(shapes)}")
        stacked[name] = torch.stack(values) if values else None
    return Episode(**stacked, classes=episodes[0].classes, names=[episode.names for episode in episodes])
