"""The checkers of notebook 12: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb12


def cells(features, masks):
    return [f[:, m == 1] for f, m in zip(features, masks, strict=True)]


def pooled(features, masks):
    return np.concatenate(cells(features, masks), axis=1).mean(1)


SOLUTIONS: list[tuple[Check, Attempt]] = [(nb12.check_pooled_prototype, pooled)]
MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb12.check_pooled_prototype, lambda f, m: np.mean([c.mean(1) for c in cells(f, m)], axis=0), "pool cells"),
    (nb12.check_pooled_prototype, lambda f, m: pooled(f[:1], m[:1]), "second support is not used"),
    (nb12.check_pooled_prototype, lambda f, m: pooled(f[-1:], m[-1:]), "last support alone"),
    (nb12.check_pooled_prototype, lambda f, m: np.mean([x.mean((1, 2)) for x in f], axis=0), "masks have no say"),
    (nb12.check_pooled_prototype, lambda f, m: np.concatenate(cells(f, m), axis=1).sum(1), "this is the sum"),
    (nb12.check_pooled_prototype, lambda f, m: 2 * pooled(f, m), "divide the sum"),
    (nb12.check_pooled_prototype, lambda f, m: pooled(f, m)[:2], "one number per feature"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
