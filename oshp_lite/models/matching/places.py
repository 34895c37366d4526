"""Where things lie on people: boxes around them, maps cut to these, and places compared between two people."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

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


def place_odds(mark: Tensor, others: Tensor, spread: float, anywhere: float, doubt: float = 0.02) -> Tensor:
    """Log-odds float [B,h,w] that a cell lies where a mark does rather than where other things do.

    Both are densities on one box: a share `anywhere` is spread evenly, the rest is a Gaussian about each cell of the
    map, of `spread` times the map's height, and the same to the left as to the right. Of other things that cover less
    than about the share `doubt` of the box hardly anything is known: their density is nearly even. mark, others float
    [B,h,w] >= 0.
    """
    height, width = mark.shape[-2:]
    reach = torch.arange(-height, height + 1, device=mark.device, dtype=mark.dtype)
    bell = torch.exp(-0.5 * (reach / (spread * height)) ** 2)
    bell = bell / bell.sum()

    def density(map_: Tensor, doubt: float = 0.0) -> Tensor:
        x = (map_ + map_.flip(-1))[:, None] / 2
        x = F.conv2d(x, bell.view(1, 1, -1, 1), padding=(height, 0))
        x = F.conv2d(x, bell.view(1, 1, 1, -1), padding=(0, height))[:, 0]
        mass = map_.sum((1, 2), keepdim=True)
        whole = (mass + doubt * height * width).clamp(min=1e-6)
        return (1 - anywhere) * x / whole + (1 - (1 - anywhere) * mass / whole) / (height * width)

    return torch.log(density(mark)) - torch.log(density(others, doubt))


def refined(features: Tensor, weight: Tensor, odds: Tensor, strength: float, rounds: int) -> Tensor:
    """Log-odds float [B,h,w] made to agree with how a photo's own cells look.

    features float [B,D,h,w]; weight float [B,h,w] in [0,1] of the cells that are in question; odds float [B,h,w].
    Each round averages the centred, normalised features of the cells that are likely of the class and of the others
    in question, and adds `strength` times the difference of a cell's cosines with both averages to `odds`.
    """
    total = weight.sum((1, 2))[:, None].clamp(min=1e-6)
    centre = torch.einsum("bdhw,bhw->bd", features, weight) / total
    cells = F.normalize(features - centre[..., None, None], dim=1)
    made = odds
    for _ in range(rounds):
        chance = torch.sigmoid(made)
        means = [
            torch.einsum("bdhw,bhw->bd", cells, part) / part.sum((1, 2))[:, None].clamp(min=1e-3)
            for part in (weight * chance, weight * (1 - chance))
        ]
        made = odds + strength * torch.einsum("bdhw,bd->bhw", cells, means[0] - means[1])
    return made
