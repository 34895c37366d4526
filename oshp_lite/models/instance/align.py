"""RoIAlign on `grid_sample`, from one pyramid level or from the maximum of all."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.models.instance.boxes import levels_of

STRIDES = (4, 8, 16, 32)


def roi_align(features: Tensor, boxes: Tensor, size: int, stride: int, samples: int = 2) -> Tensor:
    """Features of boxes of one image: float [C,h,w] and boxes [N,4] in pixels -> [N,C,size,size].

    Each of the size x size bins is the mean of samples x samples bilinear readings at the centres of its equal cells.
    Cell (i, j) of the features is centred at pixel ((j + 1/2) stride, (i + 1/2) stride), the aligned definition. Equal
    to it for boxes inside the image; clip others first (`boxes.clip`), since readings outside repeat the border here.
    """
    if features.dtype in (torch.bfloat16, torch.float16):
        features = features.float()  # the places of readings need more digits
    if not len(boxes):
        return features.new_zeros(0, features.shape[0], size, size)
    points = size * samples
    steps = (torch.arange(points, device=boxes.device, dtype=boxes.dtype) + 0.5) / points
    corner, side = boxes[:, None, :2], boxes[:, None, 2:] - boxes[:, None, :2]
    places = (corner + steps[None, :, None] * side) / stride  # [N,points,2] in cells, their centres at halves
    height, width = features.shape[1:]
    across, down = (2 * places[..., axis] / extent - 1 for axis, extent in ((0, width), (1, height)))
    grid = torch.stack(torch.broadcast_tensors(across[:, None, :], down[:, :, None]), -1)
    # one tall grid: the features are not copied for each box
    grid = grid.reshape(1, -1, points, 2).to(features.dtype)
    read = F.grid_sample(features[None], grid, mode="bilinear", padding_mode="border", align_corners=False)
    read = read[0].reshape(len(features), len(boxes), points, points).transpose(0, 1)
    return F.avg_pool2d(read, samples) if samples > 1 else read.contiguous()


def pool_single(levels: Sequence[Tensor], boxes: Sequence[Tensor], size: int, canonical: float, samples: int) -> Tensor:
    """Features of each box from the level of its size (`levels_of`): [N,C,size,size], the images' boxes in order.

    levels: four maps float [B,C,h,w] at strides 4 to 32; boxes: float [N_b,4] of each image.
    """
    pooled = []
    for image, own in enumerate(boxes):
        of = levels_of(own, canonical)
        by_level = of.argsort(stable=True)
        counts = torch.bincount(of, minlength=len(STRIDES)).tolist()
        parts = zip(levels, own[by_level].split(counts), STRIDES, strict=True)
        rows = torch.cat([roi_align(level[image], some, size, stride, samples) for level, some, stride in parts])
        pooled.append(rows[by_level.argsort()])
    return torch.cat(pooled)


def pool_all(levels: Sequence[Tensor], boxes: Sequence[Tensor], size: int, samples: int) -> list[Tensor]:
    """Features of every box from every level: four tensors [N,C,size,size], the images' boxes in order."""
    return [
        torch.cat([roi_align(level[image], own, size, stride, samples) for image, own in enumerate(boxes)])
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
