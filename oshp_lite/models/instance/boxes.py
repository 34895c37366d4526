"""Boxes: anchors, their coding, overlaps, suppression, and which pyramid level a box belongs to.

A box is left, top, right, bottom in pixels of the photo; pixel i covers [i, i + 1), so right and bottom are exclusive.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the four offsets of the box head; the proposals' have none (Faster R-CNN's usual values)."""
MOST_GROWTH = math.log(1000 / 16)
"""Bound of the coded width and height, so that an untrained network makes no infinite boxes."""


def make_anchors(shape: Sequence[int], stride: int, size: float, ratios: Sequence[float], like: Tensor) -> Tensor:
    """Anchors float [h*w*A,4] of a level of `shape` (h, w), centred on its cells; area size^2, ratios height / width.

    Order: rows, columns, ratios. Device and dtype are those of `like`.
    """
    down, across = (
        (torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) * stride for n in (shape[0], shape[1])
    )
    centres = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1).flip(-1).reshape(-1, 1, 2)
    roots = like.new_tensor([math.sqrt(ratio) for ratio in ratios])
    halves = torch.stack([size / roots, size * roots], -1) / 2
    return torch.cat([centres - halves, centres + halves], -1).reshape(-1, 4)


def _centres(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]


def encode(boxes: Tensor, references: Tensor, weights: Sequence[float] = WEIGHTS) -> Tensor:
    """Offsets float [N,4] (dx, dy, dw, dh) that turn references [N,4] into boxes [N,4]; both need an area."""
    (centre, side), (origin, unit) = _centres(boxes), _centres(references)
    return torch.cat([(centre - origin) / unit, torch.log(side / unit)], 1) * boxes.new_tensor(weights)


def decode(offsets: Tensor, references: Tensor, weights: Sequence[float] = WEIGHTS) -> Tensor:
    """The inverse of `encode`, with the growth bounded by `MOST_GROWTH`; float [N,4]."""
    offsets = offsets / offsets.new_tensor(weights)
    origin, unit = _centres(references)
    centre = origin + offsets[:, :2] * unit
    half = unit * offsets[:, 2:].clamp(max=MOST_GROWTH).exp() / 2
    return torch.cat([centre - half, centre + half], 1)


def clip(boxes: Tensor, size: Sequence[int]) -> Tensor:
    """Boxes float [N,4] cut to a photo of `size` (height, width); one outside of it is left without an area."""
    height, width = size
    return torch.stack([boxes[:, i].clamp(0, (width, height)[i % 2]) for i in range(4)], 1)


def overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union float [N,M]; 0 where neither has an area."""
    low = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    areas = [(some[:, 2:] - some[:, :2]).clamp(min=0).prod(-1) for some in (boxes, others)]
    return both / (areas[0][:, None] + areas[1] - both).clamp(min=1e-12)


def suppress(boxes: Tensor, scores: Tensor, threshold: float, groups: Tensor | None = None) -> Tensor:
    """Non-maximum suppression: places int64 [M] of the boxes that stay, best score first (equal ones as they come).

    A box goes when it overlaps a better one that stays by more than `threshold`; boxes of different groups int64 [N]
    leave each other alone. Boxes float [N,4], scores float [N].
    """
    order = scores.argsort(descending=True, stable=True)
    over = overlaps(boxes[order], boxes[order]) > threshold
    if groups is not None:
        over &= groups[order][:, None] == groups[order]
    rivals = over.cpu().numpy()
    gone = np.zeros(len(order), bool)
    kept = []
    for place in range(len(order)):
        if not gone[place]:
            kept.append(place)
            gone |= rivals[place]
    return order[torch.as_tensor(kept, dtype=torch.int64, device=order.device)]


def levels_of(boxes: Tensor, canonical: float) -> Tensor:
    """Level int64 [N] of each box, 0..3 for strides 4..32: floor(4 + log2(sqrt(wh) / canonical)) - 2, clipped.

    Source: feature pyramid networks, Eq. 1, where `canonical` is 224 for photos with a short side of 800.
    """
    side = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1).sqrt()
    return (2 + torch.log2(side / canonical + 1e-6)).floor().clamp(0, 3).long()
