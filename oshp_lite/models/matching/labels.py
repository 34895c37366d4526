"""What a training photo's unnamed pixels are: one class where they could be a garment, 255 where they are rims."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE

CELL = 4
"""Pieces are told apart at this many pixels a side."""


def opened(mask: Tensor) -> Tensor:
    """Binary opening of a mask bool [B,h,w] by a 3x3 square: what no such square fits into goes."""
    values = mask[:, None].float()
    eroded = -F.max_pool2d(F.pad(-values, (1, 1, 1, 1), value=-1.0), 3, 1)
    return F.max_pool2d(eroded, 3, 1, 1)[:, 0] > 0.5


def piece_sizes(mask: Tensor) -> Tensor:
    """The size of the 8-connected piece that each true cell of a mask bool [B,h,w] belongs to; int64 [B,h,w]."""
    count, (height, width) = mask.numel(), mask.shape[-2:]
    inside = mask[:, None].float()
    label = torch.arange(1, count + 1, dtype=torch.float64, device=mask.device).view_as(inside) * inside
    while True:  # each round carries a piece's largest number 4 cells further
        wider = label
        for _ in range(4):
            wider = F.max_pool2d(wider, 3, 1, 1) * inside
        if torch.equal(wider, label):
            break
        label = wider
    numbers = label.long().flatten()
    sizes = torch.bincount(numbers, minlength=count + 1)
    sizes[0] = 0
    return sizes[numbers].view(-1, height, width)


def unnamed_pieces(mask: Tensor, person: Tensor, unnamed: int, least: float) -> Tensor:
    """Labels with the person's unnamed pixels as a class: int64 [B,H,W] ids, 0, 255 and `unnamed`.

    mask int64 [B,H,W] of ids (0: none), person int64 [B,H,W] in {0,1,255}. A piece of unnamed pixels that an opening
    leaves and that has at least the share `least` of the person's area is of the class; the others say nothing (255).
    """
    free = (mask == 0) & (person == 1)
    core = opened(free)
    cells = F.avg_pool2d(core[:, None].float(), CELL, ceil_mode=True)[:, 0]
    area = (person == 1).sum((1, 2))[:, None, None]
    large = piece_sizes(cells > 0) * CELL**2 >= least * area
    large = F.max_pool2d(large[:, None].float(), 3, 1, 1)
    kept = core & (F.interpolate(large, size=mask.shape[-2:], mode="nearest")[:, 0] > 0.5)
    return torch.where(kept, unnamed, torch.where(free, IGNORE, mask))
