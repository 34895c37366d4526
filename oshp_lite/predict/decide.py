"""From logits to what a user sees: ids and probabilities at the photo's own size, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.predict.maps import Maps
from oshp_lite.predict.photos import Box


def decide(maps: Maps, ids: Iterable[int], size: tuple[int, int], *, screening: bool) -> np.ndarray:
    """The class with the largest margin over background, at the photo's own size; uint8 [H,W].

    screening  pixels outside the person, where the maps know one, become 0
    """
    made, slots = np.zeros(size, np.uint8), list(ids)
    for rows, part, enlarged in maps.bands(size):
        mask, best = torch.tensor(0, dtype=torch.uint8), torch.tensor(0.0)
        for one, index in zip(part.logits, slots, strict=True):
            full = enlarged(one)
            mask = torch.where(full > best, torch.tensor(max(index, 0), dtype=torch.uint8, device=full.device), mask)
            best = full.clamp(min=0) if best.dim() == 0 else torch.maximum(best, full)
        if screening and part.coarse is not None:
            mask = mask * (enlarged(part.coarse[1] - part.coarse[0]) > 0)
        made[rows] = mask.cpu().numpy()
    return made


def chances_of(margins: Tensor) -> np.ndarray:
    """Softmax over background (0) and margins float [K,h,w], without the background: float [K,h,w]."""
    return F.softmax(F.pad(margins, (0, 0, 0, 0, 1, 0)), 0)[1:].cpu().numpy()


def probabilities(maps: Maps, ids: list[int], box: Box, size: tuple[int, int], *, screening: bool) -> np.ndarray:
    """Probabilities of the user's ids over the whole photo, float16 [K,H,W]: softmax times the person's probability.

    Zero outside the parsed box.
    """
    kept = [row for row, index in enumerate(ids) if index > 0]
    made = np.zeros((len(kept), *size), np.float16)
    for rows, part, enlarged in maps.bands(box.shape):
        chances = F.softmax(F.pad(part.logits, (0, 0, 0, 0, 1, 0)), 0)[1:]
        if screening and part.coarse is not None:
            chances = chances * F.softmax(part.coarse.float(), 0)[1]
        for place, row in enumerate(kept):
            box.of(made[place])[rows] = enlarged(chances[row]).cpu().numpy()
    return made
