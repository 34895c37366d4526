"""The checkers of notebooks 00 and 07: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb00, nb07

# ------------------------------------------------------------------------------------------------ notebook 00


def own_mask(mask, wanted):
    result = np.zeros_like(mask)
    for number, class_id in enumerate(wanted, start=1):
        result[mask == class_id] = number
    result[mask == 255] = 255
    return result


def own_mask_in_place(mask, wanted):
    mask = mask.copy()
    for number, class_id in enumerate(wanted, start=1):
        mask[mask == class_id] = number
    return np.where((mask <= len(wanted)) | (mask == 255), mask, 0)


# ------------------------------------------------------------------------------------------------ notebook 07


def iou(matrix):
    hits = np.diag(matrix).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def miou(matrices, ids):
    return np.nanmean(iou(matrices.sum(0))[list(ids)])


def pairs_of(queries, drawn):
    return np.concatenate([np.flatnonzero(queries == query) for query in drawn])


def first_pairs(queries, drawn):
    return np.array([np.flatnonzero(queries == query)[0] for query in drawn])


def interval(matrices, ids, queries, draws, ends=(2.5, 97.5), pairs=pairs_of):
    return tuple(np.percentile([miou(matrices[pairs(queries, row)], ids) for row in draws], ends))


def normal_interval(matrices, ids, queries, draws, shrink=False):
    values = np.array([miou(matrices[pairs_of(queries, row)], ids) for row in draws])
    half = 1.96 * values.std() / (len(values) ** 0.5 if shrink else 1)
    return values.mean() - half, values.mean() + half


def interval_of_means(matrices, ids, queries, draws):
    single = np.array([iou(matrix)[list(ids)].mean() for matrix in matrices])
    return tuple(np.percentile([single[pairs_of(queries, row)].mean() for row in draws], [2.5, 97.5]))


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb00.check_borders, lambda: (1600 / 1936, 160 / 352)),
    (nb00.check_own_mask, own_mask),
    (nb00.check_slip, lambda: (0, -48, "b")),
    (nb00.check_support, lambda: ("D", 4)),
    (nb07.check_interval, interval),
    (nb07.check_widths, lambda: (0.5, 1, 0.5)),
    (nb07.check_total, lambda: ([2.0] * 5, [1.0] * 5)),
    (nb07.check_budget, lambda: (3, 1000)),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb00.check_borders, lambda: (40 / 44, 0.45), "one direction alone"),
    (nb00.check_borders, lambda: ((40 / 42) ** 2, 0.45), "1 pixel a side"),
    (nb00.check_borders, lambda: (3200 / 3536, 0.45), "Dice score"),
    (nb00.check_borders, lambda: (0.83, 0.83), "as long a border"),
    (nb00.check_borders, lambda: (0.83, 0.6), "40·4 pixels"),
    (nb00.check_borders, lambda: (83, 45), "between 0 and 1"),
    (nb00.check_own_mask, lambda m, w: np.where(np.isin(m, w), m, 0), "still the old ids"),
    (nb00.check_own_mask, lambda m, w: np.where(m == 255, 255, np.isin(m, w)), "all have the value 1"),
    (nb00.check_own_mask, lambda m, w: np.where(m == 255, 0, own_mask(m, w)), "255"),
    (nb00.check_own_mask, own_mask_in_place, "mixed up"),
    (nb00.check_own_mask, lambda m, w: np.where(own_mask(m, w) == 255, 255, own_mask(m, w) - 1), "counts from 1"),
    (nb00.check_slip, lambda: (0, 0, "b"), "is still"),
    (nb00.check_slip, lambda: (0, -48, "a"), "nothing is trained"),
    (nb00.check_slip, lambda: (0, -48, "c"), "only the support's mask"),
    (nb00.check_slip, lambda: (200, 0, "b"), "not a slip"),
    (nb00.check_slip, lambda: (0, -48), "three things"),
    (nb00.check_support, lambda: ("A", 4), "another support"),
    (nb00.check_support, lambda: ("D", 1), "luck"),
    (nb00.check_support, lambda: ("E", 4), "one of the supports"),
    (nb00.check_support, lambda: "D", "two things"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, d, (0, 100)), "whole range"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, d, (5, 95)), "90 %"),
    (nb07.check_interval, normal_interval, "normal law"),
    (nb07.check_interval, lambda m, i, q, d: normal_interval(m, i, q, d, shrink=True), "vanish"),
    (nb07.check_interval, interval_of_means, "added first"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, d)[::-1], "lower end comes first"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, [np.unique(row) for row in d]), "counts twice"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, d, pairs=lambda q, row: row), "not places"),
    (nb07.check_interval, lambda m, i, q, d: interval(m, i, q, d, pairs=first_pairs), "all its pairs"),
    (nb07.check_interval, lambda m, i, q, d: miou(m, i), "two numbers"),
    (nb07.check_widths, lambda: (1, 1, 0.5), "new evidence"),
    (nb07.check_widths, lambda: (0.25, 1, 0.5), "root of 4"),
    (nb07.check_widths, lambda: (0.5, 0.5, 0.5), "width stays"),
    (nb07.check_widths, lambda: (0.5, 1, 0.25), "half the width"),
    (nb07.check_widths, lambda: (0.5, 1, 1), "new photos are new evidence"),
    (nb07.check_total, lambda: ([2, 1.8, 1.6, 1.4, 1.2], [1] * 5), "something is learnt"),
    (nb07.check_total, lambda: ([1] * 5, [2] * 5), "which of the two"),
    (nb07.check_total, lambda: ([1] * 5, [1] * 5), "alike"),
    (nb07.check_total, lambda: ([2, 3, 4, 5, 6], [1] * 5), "further apart"),
    (nb07.check_total, lambda: ([2] * 4, [1] * 4), "five losses"),
    (nb07.check_budget, lambda: (1, 5000), "luck of its seed"),
    (nb07.check_budget, lambda: (5, 200), "photos are too few"),
    (nb07.check_budget, lambda: (2, 2000), "trainings are too few"),
    (nb07.check_budget, lambda: (6, 1000), "minutes"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
