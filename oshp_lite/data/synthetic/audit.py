"""Is the one-shot problem real on procedural people? Three cheap measurements (the ceiling is the engine's).

* colour: a per-pixel classifier by colour histogram, among garment pixels only - it should be near chance;
* position: the mean label map (each pixel's most frequent class) - it should be far below the ceiling;
* presence: how often each class occurs - near the real ATR's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.data.synthetic.scenes import scene, spec
from oshp_lite.labels import label_space

GARMENTS = ("upper-clothes", "skirt", "pants", "dress", "coat", "jumpsuits", "bag", "hat", "shoes", "shoe")
BINS = 8

ATR_PRESENCE = {
    "hat": 3110, "hair": 14815, "upper-clothes": 12576, "skirt": 4201, "pants": 8409, "dress": 3971,
    "left shoe": 12815, "face": 14948, "left leg": 10016, "left arm": 14448, "bag": 7936,
    "sunglasses": 4444, "belt": 1999, "scarf": 819,
}  # fmt: skip
ATR_PHOTOS = 15000
"""Photos of ATR's training list that hold each class (support index, both parts), by the name of the kept id."""


def draw(name: str, n: int, size: int, seed: int = 0, first: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` scenes as images uint8 [n, size, size, 3] and merged masks uint8 [n, size, size] (kept ids)."""
    space = label_space(spec(name).label_space)
    scenes = [scene(name, seed, first + i, size) for i in range(n)]
    masks = np.stack([space.merge(s.mask(spec(name).label_space)) for s in scenes])
    return np.stack([s.image for s in scenes]), masks


def colour_audit(images: np.ndarray, masks: np.ndarray, space_name: str) -> dict[str, float]:
    """Balanced accuracy of a colour histogram among garment pixels, trained on one half, tested on the other.

    images uint8 [n, H, W, 3], masks uint8 [n, H, W]. Every class weighs the same in training and in the score, so
    guessing gives `chance` = 1 / classes.
    """
    space = label_space(space_name)
    ids = [i for i in space.classes if space.names[i] in GARMENTS or space.names[i] == "left shoe"]
    cells = (images // (256 // BINS)).astype(np.int64)
    cell = (cells[..., 0] * BINS + cells[..., 1]) * BINS + cells[..., 2]
    half = len(images) // 2
    votes = np.zeros((len(ids), BINS**3))
    for row, i in enumerate(ids):
        counted = np.bincount(cell[:half][masks[:half] == i], minlength=BINS**3)
        votes[row] = counted / max(counted.sum(), 1)
    guess = votes.argmax(0)
    tested = ((row, masks[half:] == i) for row, i in enumerate(ids))
    hits = [float(np.mean(guess[cell[half:][here]] == row)) for row, here in tested if here.any()]
    return {"balanced_accuracy": float(np.mean(hits)), "chance": 1 / len(ids)}


def position_audit(masks: np.ndarray, space_name: str) -> dict[str, float]:
    """mIoU of the mean label map (made from one half, tested on the other) over the kept classes and the foreground."""
    space = label_space(space_name)
    half = len(masks) // 2
    counts = np.stack([(masks[:half] == i).sum(0) for i in space.classes])
    guess = np.array(space.classes, dtype=np.uint8)[counts.argmax(0)]
    test = masks[half:]
    ious = []
    for i in space.classes:
        union = ((test == i) | (guess == i)).sum()
        if (test == i).any():
            ious.append(float(((test == i) & (guess == i)).sum() / union))
    return {"human_miou": float(np.mean(ious[1:])), "miou": float(np.mean(ious))}


def presence(masks: np.ndarray) -> dict[int, float]:
    """The share of scenes that hold each id (any pixel), by id."""
    ids = np.unique(masks).tolist()
    return {i: float(np.mean([(m == i).any() for m in masks])) for i in ids}


def audit(name: str = "synth-atr", n: int = 400, size: int = 96, seed: int = 0) -> dict[str, Any]:
    """All measurements on `n` scenes: {"colour", "position", "presence": {class: share}, "real_presence", "area"}."""
    key = spec(name).label_space
    space = label_space(key)
    images, masks = draw(name, n, size, seed)
    counted = presence(masks)
    kept = [i for i in space.classes if i]
    return {
        "colour": colour_audit(images, masks, key),
        "position": position_audit(masks, key),
        "presence": {space.names[i]: counted.get(i, 0.0) for i in kept},
        "real_presence": {k: v / ATR_PHOTOS for k, v in ATR_PRESENCE.items()} if key == "atr" else {},
        "area": {space.names[i]: float((masks == i).mean()) for i in kept},
    }
