"""A tiny dataset of coloured bars and a tiny configuration, so that engine tests take seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.engine.config import RunConfig, from_dict

FEET = {2: (0.0, 0.2), 11: (0.2, 0.3), 4: (0.3, 0.55), 6: (0.55, 0.85), 9: (0.85, 1.0)}
"""ATR ids from head to foot, with the part of the height they take."""


def bars(index: int, rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A "person": a column of bars in random colours; every third wears pants, a skirt or a dress."""
    mask = np.zeros((height, width), np.uint8)
    image = rng.integers(0, 80, (height, width, 3)).astype(np.uint8)
    left = int(rng.integers(1, width // 3))
    right = int(rng.integers(2 * width // 3, width - 1))
    swap = {6: (6, 5, 7)[index % 3], 9: (9, 10)[index % 2], 2: (2, 1, 3)[index // 2 % 3]}
    for part, (top, bottom) in FEET.items():
        rows = slice(round(top * height), round(bottom * height))
        mask[rows, left:right] = swap.get(part, part)
        colour = rng.integers(90, 255, 3)
        image[rows, left:right] = colour + rng.integers(-9, 10, (1, 1, 3))
    return image, mask


def tiny_dataset(root: Path, n_train: int = 20, n_test: int = 16, size: tuple[int, int] = (40, 32)) -> OneShotDataset:
    """Write the bars as an ATR-like dataset and open it."""
    writer = DatasetWriter(
        root,
        name="bars",
        space="atr",
        train_split=n_train // 2,
        test_split=n_test // 2,
        test_pairs="spread",
        recipe={"bars": [n_train, n_test, list(size)]},
    )
    with writer:
        for phase, count in (("train", n_train), ("test", n_test)):
            for index in range(count):
                rng = np.random.default_rng([len(phase), index])
                image, mask = bars(index, rng, size[0] + index % 3, size[1])
                writer.add(phase, f"{phase}{index:03d}", image, mask)  # type: ignore[arg-type]
    return open_dataset(root)


TINY: dict[str, Any] = {
    "data": {"dataset": "atr-os", "size": 32},
    "model": {"options": {"width": 8, "lite_channels": [4, 6, 8, 8]}},
    "train": {"epochs": 3, "batch_size": 3, "warmup_steps": 2, "threads": 1},
    "eval": {"test_size": 32, "queries": 2, "repeats": 2, "bootstrap": 20, "samples": 2, "batch_size": 4},
}


def tiny_config(**changes: Any) -> RunConfig:
    """The tiny configuration with groups of values changed: tiny_config(train={"epochs": 1})."""
    return from_dict(changes, from_dict(TINY))
