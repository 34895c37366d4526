"""Networks and episodes small enough for tests that run in milliseconds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from oshp_lite import EOPNet, Episode
from oshp_lite.models.eopnet_config import EOPNetConfig

TINY: dict[str, Any] = {"n_ids": 6, "width": 8, "encoder": "lite", "lite_channels": (4, 8, 8, 8)}


def tiny(variant: str = "official", seed: int = 0, **changes: Any) -> EOPNet:
    return EOPNet(EOPNetConfig.preset(variant, **{**TINY, **changes}), seed=seed).double()


def episode(way: str = "k", batch: int = 2, query: tuple[int, int] = (40, 52), seed: int = 0) -> Episode:
    draw = torch.Generator().manual_seed(seed)
    support = (48, 36)

    def mask(size: tuple[int, int]) -> Tensor:
        cells = torch.randint(0, 5, (batch, 5, 6), generator=draw)  # id 5 is never shown
        full = cells.repeat_interleave(-(-size[0] // 5), 1).repeat_interleave(-(-size[1] // 6), 2)
        return full[:, : size[0], : size[1]].contiguous()

    q, s = mask(query), mask(support)
    q_person, s_person = (q > 0).long(), (s > 0).long()
    q_person[:, :7] = 1  # person without a class
    ids = None
    if way == "1":
        q, s, ids = (q == 3).long(), (s == 3).long(), torch.full((batch,), 3)
    q[:, 30:32] = 255
    return Episode(
        query_image=torch.rand(batch, 3, *query, generator=draw, dtype=torch.float64) * 2 - 1,
        support_image=torch.rand(batch, 3, *support, generator=draw, dtype=torch.float64) * 2 - 1,
        support_mask=s,
        support_foreground=s_person,
        query_mask=q,
        query_foreground=q_person,
        class_ids=ids,
    )


def step(net: EOPNet, batch: Episode, progress: float = 0.9) -> tuple[Any, dict[str, Tensor]]:
    parsing = net(batch, progress=progress)
    return parsing, net.losses(parsing, batch, progress)


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-9, rtol=1e-9))


def one(batch: Episode, row: int) -> Episode:
    """One episode of a batch, still with a leading dimension of 1."""
    changes = {name: value[row : row + 1] for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **cast(dict[str, Any], changes), names=None if batch.names is None else [batch.names[row]])
