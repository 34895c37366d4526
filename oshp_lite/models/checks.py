"""What an episode must satisfy before a network looks at it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from oshp_lite.data.episode import IGNORE, Episode


class Asked(Protocol):
    """What of a network's configuration says which ids an episode may hold."""

    @property
    def n_ids(self) -> int:
        """Raw ids, background included."""

    @property
    def way(self) -> str:
        """Either "k" or "1"."""

    @property
    def channels(self) -> int:
        """Ids of a mask: n_ids in k-way, 2 in 1-way."""


def checked(batch: Episode, config: Asked) -> Episode:
    """Batch the episode and check that masks fit images and ids fit the network.

    Returns masks and class ids as int64. Raises ValueError naming the field that does not fit.
    """
    batch = batch.batched()
    channels = config.channels
    pairs = (
        ("support_mask", batch.support_image, channels),
        ("support_foreground", batch.support_image, 2),
        ("query_mask", batch.query_image, channels),
        ("query_foreground", batch.query_image, 2),
    )
    whole: dict[str, Any] = {}
    for name, image, limit in pairs:
        mask: Tensor | None = getattr(batch, name)
        if mask is None:
            continue
        if mask.shape != (image.shape[0], *image.shape[-2:]):
            raise ValueError(f"{name} has shape {tuple(mask.shape)}, its image {tuple(image.shape)}")
        whole[name] = mask = mask.long()
        wrong = mask[(mask != IGNORE) & ((mask < 0) | (mask >= limit))]
        if len(wrong):
            raise ValueError(f"{name} holds id {int(wrong[0])}; ids below {limit} and 255 (ignore) are allowed")
    if config.way != "1":
        return replace(batch, **whole)
    asked = batch.class_ids
    if asked is None:
        raise ValueError("a 1-way network needs class_ids, the raw id each episode asks for")
    if len(asked) != len(batch) or bool(((asked < 1) | (asked >= config.n_ids)).any()):
        raise ValueError(f"class_ids must be one id in 1..{config.n_ids - 1} per episode")
    return replace(batch, **whole, class_ids=asked.long())
