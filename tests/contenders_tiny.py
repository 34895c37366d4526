"""Contenders and episodes small enough for tests that run in milliseconds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.registry import build

SMALL: dict[str, Any] = {"n_ids": 6, "width": 8, "lite_channels": (4, 8, 8, 8), "variant": "lite"}


def small(method: str, **changes: Any) -> Any:
    return build(method, **{**SMALL, **changes}).double()


class Colours(nn.Module):
    """Perfect features: the mean colour of every 4x4 cell."""

    out_channels = 6

    def forward(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 4)


def painted(seed: int = 0, batch: int = 2, side: int = 32, n: int = 5) -> Episode:
    """Support == query, one-hot colours as images; masks are constant on 8x8 blocks."""
    draw = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, n, (batch, side // 8, side // 8), generator=draw)
    mask = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = F.one_hot(mask, 6).permute(0, 3, 1, 2).double()
    person = (mask > 0).long()
    return Episode(image, image, mask, person, mask.clone(), person)


def relabel(mask: Tensor, order: Tensor) -> Tensor:
    table = torch.arange(256)
    table[: len(order)] = order
    return table[mask]


def perfect(method: str, **changes: Any) -> Any:
    net = small(method, n_ids=6, **({"projection": 0} if method == "ppnet" else {}), **changes)
    net.encoder, net.image_channels = Colours(), 6
    return net.eval()


def edges(mask: Tensor) -> Tensor:
    found = torch.zeros_like(mask, dtype=torch.float64)
    found[:, 1:] += (mask[:, 1:] != mask[:, :-1]).double()
    found[:, :, 1:] += (mask[:, :, 1:] != mask[:, :, :-1]).double()
    return found[:, None]
