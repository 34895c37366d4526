"""Checkers of notebook 12, parse your own photos: one prototype from several supports."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import call, checker, is_close, refuse, require


@checker
def check_pooled_prototype(attempt: Any) -> str:
    """Check `f(features: list of float [D,h,w], masks: list of 0/1 [h,w]) -> float [D]` over photos of any sizes."""
    rng = np.random.default_rng(12)
    features = [rng.normal(size=(4, 5, 6)), rng.normal(size=(4, 7, 3)) + 2]
    masks = [np.zeros((5, 6)), np.zeros((7, 3))]
    masks[0][1:4, 1:5] = 1
    masks[1][6, 2] = 1
    inside = [f[:, m == 1] for f, m in zip(features, masks, strict=True)]
    wanted = np.concatenate(inside, axis=1).mean(1)
    result = call(attempt, features, masks)
    shape = getattr(result, "shape", None)
    require(isinstance(result, np.ndarray), f"a prototype is a NumPy array, not {type(result).__name__}")
    require(shape == (4,), f"a prototype has one number per feature, shape (4,); yours has {shape}")
    own = np.stack([cells.mean(1) for cells in inside])
    refuse(
        result,
        (
            own.mean(0),
            "the mean of the supports' own prototypes: one cell counts as much as twelve; pool cells",
        ),
        (own[0], "the second support is not used"),
        (own[1], "this is the last support alone"),
        (sum(f.mean((1, 2)) for f in features) / 2, "the masks have no say: this is the mean over whole photos"),
        (np.concatenate(inside, axis=1).sum(1), "this is the sum; divide it by the number of marked cells"),
    )
    require(is_close(result, wanted), "divide the sum over all marked cells by their number")
    require(
        is_close(call(attempt, features[:1], masks[:1]), own[0]), "with one support it is that support's masked average"
    )
    return "all marked cells of all supports, each counted once"
