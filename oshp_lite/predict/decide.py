"""From logits to what a user sees: ids and probabilities at the photo's own size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.predict.photos import Box


def decide(
    margins: Tensor, coarse: Tensor | None, ids: Iterable[int], size: tuple[int, int] | torch.Size
) -> np.ndarray:
    """The class with the largest margin over background, at the photo's own size; uint8 [H,W].

    One class after another is brought to that size, so that twelve classes of a 20-megapixel photo fit into memory.
    """
    best = torch.zeros(tuple(size), device=margins.device)
    mask = torch.zeros(tuple(size), dtype=torch.uint8, device=margins.device)
    for one, index in zip(margins, ids, strict=True):
        full = _upsampled(one, size)
        better = full > best
        mask[better], best = max(index, 0), torch.where(better, full, best)
    if coarse is not None:
        mask[_upsampled(coarse[1] - coarse[0], size) <= 0] = 0
    return mask.cpu().numpy()


def chances_of(margins: Tensor) -> np.ndarray:
    """Softmax over background (0) and margins float [K,h,w], without the background: float [K,h,w]."""
    return F.softmax(F.pad(margins, (0, 0, 0, 0, 1, 0)), 0)[1:].cpu().numpy()


def _upsampled(one: Tensor, size: tuple[int, int] | torch.Size) -> Tensor:
    return F.interpolate(one[None, None].float(), size=tuple(size), mode="bilinear", align_corners=False)[0, 0]


def probabilities(logits: Tensor, coarse: Tensor | None, ids: list[int], box: Box, size: tuple[int, int]) -> np.ndarray:
    """Probabilities of the user's ids over the whole photo, float16 [K,H,W]: softmax times the person's probability.

    Zero outside the parsed box.
    """
    chances = F.softmax(F.pad(logits, (0, 0, 0, 0, 1, 0)), 0)[1:]
    if coarse is not None:
        chances = chances * F.softmax(coarse.float(), 0)[1]
    rows = [row for row, index in enumerate(ids) if index > 0]
    made = np.zeros((len(rows), *size), np.float16)
    for place, row in enumerate(rows):
        box.of(made[place])[...] = _upsampled(chances[row], box.shape).cpu().numpy()
    return made
