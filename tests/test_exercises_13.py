"""The checkers of notebook 13: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
import torch
from exercise_frame import checker_tests

from oshp_lite.book.exercises import nb13


def prior(shared, *, transposed=True, scaled=True, floor=0.0, safe=True):
    sizes = np.sqrt(shared.sum(1)[:, None] * shared.sum(0)[None])
    table = shared / (np.maximum(sizes, 1) if safe else sizes) if scaled else shared.astype(float)
    table = np.where(shared > 0, table, floor)
    return table.T if transposed else table


def prior_in_place(shared):
    result = prior(shared)
    shared[:] = 0
    return result


def by_column(shared):
    return (shared / np.maximum(shared.sum(0), 1)).T


def dependence(row, count):
    return set(range(count)), {row}


def collapse(x, other, k=1e4):
    common = torch.ones(8, dtype=x.dtype)
    return x + k * common, other + k * common


SOLUTIONS = [
    (nb13.check_prior, prior),
    (nb13.check_prior, by_column),
    (nb13.check_dependence, dependence),
    (nb13.check_collapse, collapse),
]
MISTAKES = [
    (nb13.check_prior, lambda shared: prior(shared, transposed=False), "transpose"),
    (nb13.check_prior, lambda shared: prior(shared, scaled=False), "lie in 0..1"),
    (nb13.check_prior, lambda shared: prior(shared, floor=0.9), "least entry"),
    (nb13.check_prior, prior_in_place, "in place"),
    (nb13.check_prior, lambda shared: np.ones((18, 7)), "stand above"),
    (nb13.check_dependence, lambda row, count: ({row}, {row}), "after the softmax"),
    (nb13.check_dependence, lambda row, count: (set(range(count)), set(range(count))), "one value"),
    (nb13.check_dependence, lambda row, count: {row}, "two sets"),
    (nb13.check_collapse, lambda x, other: (x, other), "still"),
    (nb13.check_collapse, lambda x, other: (other, other), "cross-entropy"),
    (nb13.check_collapse, lambda x, other: (1000 * x, 1000 * other), "cross-entropy"),
    (nb13.check_collapse, lambda x, other: collapse(x, other, k=0.1), "still"),
]
TestNotebook13 = checker_tests(SOLUTIONS, MISTAKES)
