"""The checkers of notebooks 00 and 07: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb00, nb07

# ------------------------------------------------------------------------------------------------ notebook 00


def overlap(prediction, truth, class_id, parts=("hits", "missed", "wrong")):
    known = truth != 255
    true, predicted = (truth == class_id) & known, (prediction == class_id) & known
    counts = {
        "hits": (true & predicted).sum(),
        "missed": (true & ~predicted).sum(),
        "wrong": (~true & predicted).sum(),
    }
    whole = sum(counts[name] for name in parts)
    return counts["hits"] / whole if whole else float("nan")


def careless_overlap(prediction, truth, class_id):
    true, predicted = truth == class_id, prediction == class_id
    return (true & predicted).sum() / (true | predicted).sum()


def dice(prediction, truth, class_id):
    value = overlap(prediction, truth, class_id)
    return 2 * value / (1 + value)


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


def training_labels(mask, novel):
    return np.where(np.isin(mask, novel), 0, mask)


# ------------------------------------------------------------------------------------------------ notebook 07


def iou(matrix):
    hits = np.diag(matrix).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / (matrix.sum(0) + matrix.sum(1) - hits)


def miou(matrices, ids):
    return np.nanmean(iou(matrices.sum(0))[list(ids)])


def miou_zero_for_absent(matrices, ids):
    return np.nan_to_num(iou(matrices.sum(0)))[list(ids)].mean()


def miou_over_pairs(matrices, ids):
    return np.nanmean([iou(matrix)[list(ids)] for matrix in matrices])


def over(matrices, ids, whole):
    total = matrices.sum(0)
    return (np.diag(total) / np.maximum(whole(total), 1))[list(ids)].mean()


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


def asked_for(truth, support):
    return np.where(np.isin(truth, support) | (truth == 255) | (truth == 0), truth, 0)


def asked_for_in_place(truth, support):
    truth[~(np.isin(truth, support) | (truth == 255))] = 0
    return truth


def reading(own, trivial, ceiling, of=max):
    best = of([scores["novel_miou"] for scores in trivial.values()])
    return own["novel_miou"] / best, own["human_miou"] / ceiling["human_miou"]


def mean(values):
    return sum(values) / len(values)


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb00.check_iou, overlap),
    (nb00.check_own_mask, own_mask),
    (nb00.check_training_labels, training_labels),
    (nb07.check_miou, miou),
    (nb07.check_interval, interval),
    (nb07.check_restricted, asked_for),
    (nb07.check_reading, reading),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb00.check_iou, lambda p, t, c: float((p == t)[t != 255].mean()), "accuracy"),
    (nb00.check_iou, lambda p, t, c: overlap(p, t, c, ("hits", "missed")), "recall"),
    (nb00.check_iou, lambda p, t, c: overlap(p, t, c, ("hits", "wrong")), "precision"),
    (nb00.check_iou, dice, "Dice"),
    (nb00.check_iou, careless_overlap, "255"),
    (nb00.check_own_mask, lambda m, w: np.where(np.isin(m, w), m, 0), "still the old ids"),
    (nb00.check_own_mask, lambda m, w: np.where(m == 255, 255, np.isin(m, w)), "all have the value 1"),
    (nb00.check_own_mask, lambda m, w: np.where(m == 255, 0, own_mask(m, w)), "255"),
    (nb00.check_own_mask, own_mask_in_place, "mixed up"),
    (nb00.check_own_mask, lambda m, w: np.where(own_mask(m, w) == 255, 255, own_mask(m, w) - 1), "counts from 1"),
    (nb00.check_training_labels, lambda m, n: np.where(np.isin(m, n), 255, m), "ignored"),
    (nb00.check_training_labels, lambda m, n: np.where(np.isin(m, n), m, 0), "wrong way round"),
    (nb00.check_training_labels, lambda m, n: m, "give the secret away"),
    (nb00.check_training_labels, lambda m, n: np.where(np.isin(m, n) | (m == 255), 0, m), "255"),
    (nb07.check_miou, lambda m, i: over(m, i, lambda t: t.sum(1)), "recall"),
    (nb07.check_miou, lambda m, i: over(m, i, lambda t: t.sum(0)), "precision"),
    (nb07.check_miou, lambda m, i: over(m, i, lambda t: t.sum(0) + t.sum(1)), "counts the hits twice"),
    (nb07.check_miou, lambda m, i: 2 * over(m, i, lambda t: t.sum(0) + t.sum(1)), "Dice"),
    (nb07.check_miou, miou_over_pairs, "averaged over pairs"),
    (nb07.check_miou, lambda m, i: iou(m.sum(0))[list(i)].mean(), "nan"),
    (nb07.check_miou, miou_zero_for_absent, "counted it as 0"),
    (nb07.check_miou, lambda m, i: np.nanmean(iou(m.sum(0))), "given ids"),
    (nb07.check_miou, lambda m, i: iou(m.sum(0))[list(i)], "must be a number"),
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
    (nb07.check_restricted, lambda t, s: t, "nothing has changed"),
    (nb07.check_restricted, lambda t, s: np.where(np.isin(t, s), t, 0), "255"),
    (nb07.check_restricted, lambda t, s: np.where(np.isin(t, s), t, 255), "not ignored"),
    (nb07.check_restricted, lambda t, s: np.isin(t, s), "True and False"),
    (nb07.check_restricted, lambda t, s: np.where(np.isin(t, s), 0, t), "must stay"),
    (nb07.check_restricted, asked_for_in_place, "in place"),
    (nb07.check_reading, lambda o, t, c: reading(o, t, c)[::-1], "wrong order"),
    (nb07.check_reading, lambda o, t, c: reading(o, t, c, mean), "mean of the trivial"),
    (nb07.check_reading, lambda o, t, c: (3.0, 0.75), "best on all classes"),
    (nb07.check_reading, lambda o, t, c: (0.12, 0.75), "difference"),
    (nb07.check_reading, lambda o, t, c: (2.0, 0.24 / 0.55), "not on the novel"),
    (nb07.check_reading, lambda o, t, c: (2.0, 0.60 / 0.45), "over the ceiling"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
