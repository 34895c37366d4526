"""An SST network and batches of several domains, small enough for tests that run in milliseconds."""

from __future__ import annotations

from typing import Any

import torch

from oshp_lite.data.domains import DomainBatch
from oshp_lite.models.sst.network import SST

THREE = ("pascal", "atr", "cihp")
SMALL: dict[str, Any] = {
    "width": 8,
    "lite_channels": (4, 6, 8, 8),
    "dim": 16,
    "layers": 1,
    "heads": 2,
    "points": 2,
    "hidden": 16,
    "window": 4,
}


def sst(seed: int = 0, **changes: Any) -> SST:
    """A small network over PASCAL, ATR and CIHP, or other domains."""
    return SST(variant="lite", seed=seed, **{**SMALL, "domains": THREE, **changes})


def domain_batch(net: SST, each: int = 2, size: tuple[int, int] = (40, 52), seed: int = 0) -> DomainBatch:
    """`each` random photos of every domain of the network; patches of ids, a stripe of 255."""
    draw = torch.Generator().manual_seed(seed)
    masks, domain = [], []
    names = [*net.config.names, *(net.config.source if net.config.source_image == "source" else ())]
    for number, name in enumerate(names):
        for _ in range(each):
            cells = torch.randint(0, net.config.count(name), (5, 7), generator=draw)
            full = cells.repeat_interleave(8, 0).repeat_interleave(8, 1)[: size[0], : size[1]].clone()
            full[:2] = 255
            masks.append(full)
            domain.append(number)
    mask = torch.stack(masks)
    person = (mask > 0).long()
    image = torch.rand(len(mask), 3, *size, generator=draw) * 2 - 1
    return DomainBatch(image, image, mask, person, mask, person, domain=torch.tensor(domain))
