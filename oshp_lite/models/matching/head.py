"""The match head: which of a query's unnamed pixels are the class that a support marks, from where things lie."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.layers import resize

TRIM = 0.005
"""Share of the person's probability that may lie outside the box on each side."""


def person_boxes(person: Tensor) -> Tensor:
    """The box of each person, float [B,4] (top, bottom, left, right) as shares of the map's sides.

    person float [B,h,w] in [0,1], of which what exceeds one half counts; a map without a person gives all of it.
    """
    inside = person.float() * (person > 0.5)
    edges = []
    for axis in (1, 2):
        mass = inside.sum(3 - axis)
        share = mass.cumsum(1) / mass.sum(1, keepdim=True).clamp(min=1e-6)
        n = share.shape[1]
        first = (share <= TRIM).sum(1).clamp(max=n - 1)
        last = (share < 1 - TRIM).sum(1).clamp(max=n - 1) + 1
        edges += [first / n, torch.maximum(last, first + 1) / n]
    boxes = torch.stack(edges, 1).float()
    whole = torch.tensor([0.0, 1.0, 0.0, 1.0], device=person.device)
    return torch.where((inside.sum((1, 2)) > 0)[:, None], boxes, whole)


def cut(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The boxes' parts of maps float [B,C,h,w], resampled bilinearly to `size`; boxes as `person_boxes` gives them."""
    top, bottom, left, right = boxes.to(maps.dtype).unbind(1)
    zero = torch.zeros_like(top)
    rows = [
        torch.stack([right - left, zero, left + right - 1], 1),
        torch.stack([zero, bottom - top, top + bottom - 1], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [len(maps), maps.shape[1], *size], align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def paste(maps: Tensor, boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """The reverse of `cut`: maps float [B,C,h,w] of boxes, seen on the whole picture of `size`; edges go on outside."""
    top, bottom, left, right = boxes.to(maps.dtype).unbind(1)
    zero, high, wide = torch.zeros_like(top), 1 / (bottom - top), 1 / (right - left)
    rows = [
        torch.stack([wide, zero, wide * (1 - left - right)], 1),
        torch.stack([zero, high, high * (1 - top - bottom)], 1),
    ]
    grid = F.affine_grid(torch.stack(rows, 1), [len(maps), maps.shape[1], *size], align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, padding=1), nn.GroupNorm(8, outside), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class MatchHead(nn.Module):
    """A small U-Net over what two parsed people look like, cut to their boxes: probabilities and the support's mark.

    channels: of its input float [B,channels,h,w] (h and w divisible by 4) -> logits float [B,h,w]. The whole picture
    has a say at the coarsest level and by one logit of its own, which is added to every cell's.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int] = (32, 48, 64)) -> None:
        super().__init__()
        a, b, c = widths
        self.down1, self.down2, self.down3 = _block(channels, a), _block(a, b), _block(b, c)
        self.whole = nn.Sequential(nn.Linear(2 * c, c), nn.ReLU(inplace=True), nn.Linear(c, c))
        self.present = nn.Linear(c, 1)
        self.up2, self.up1 = _block(c + b, b), _block(b + a, a)
        self.out = nn.Conv2d(a, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Match; see the class for shapes."""
        at1 = self.down1(x)
        at2 = self.down2(F.max_pool2d(at1, 2))
        at4 = self.down3(F.max_pool2d(at2, 2))
        seen = self.whole(torch.cat([at4.mean((2, 3)), at4.amax((2, 3))], 1))
        at4 = at4 + seen[..., None, None]
        at2 = self.up2(torch.cat([resize(at4, at2.shape[-2:]), at2], 1))
        at1 = self.up1(torch.cat([resize(at2, at1.shape[-2:]), at1], 1))
        return cast(Tensor, (self.out(at1) + self.present(F.relu(seen))[..., None, None])[:, 0])
