"""The checkers of notebooks 08 to 10: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
import torch
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb08, nb09, nb10

# ------------------------------------------------------------------------------------------------ notebook 08


def background(features, mask, *, ignore=True, zero=False, own=False, pooled=False):
    known = mask != 255 if ignore else torch.ones_like(mask, dtype=torch.bool)
    classes = [int(c) for c in mask.unique() if c != 255 and (zero or c != 0)]
    places = [(mask == c) if own else known & (mask != c) for c in classes]
    if pooled:
        weight = torch.stack(places).float().sum(0)
        return (features * weight).sum((1, 2)) / weight.sum()
    return torch.stack([features[:, place].mean(1) for place in places]).mean(0)


# ------------------------------------------------------------------------------------------------ notebook 09


def averages(one, two, *, limit=0.1 - 1e-9):
    middle = (one + two) / 2
    near = [(int(10 * middle) + shift) / 10 for shift in range(-3, 4)]
    return [value for value in near if abs(value - middle) < limit]


# ------------------------------------------------------------------------------------------------ notebook 10


def size_curve(size, iou, bins, *, middle=np.median, wide=False, apart=False, ordered=True):
    order = np.argsort(size) if ordered else np.arange(len(size))
    groups = np.array_split(order, bins)
    if wide:
        edges = np.linspace(size.min(), size.max(), bins + 1)
        place = np.clip(np.digitize(size, edges) - 1, 0, bins - 1)
        groups = [np.flatnonzero(place == g) for g in range(bins)]
    ious = [part.mean() for part in np.array_split(np.sort(iou), bins)] if apart else [iou[g].mean() for g in groups]
    return [middle(size[g]) for g in groups], ious


def size_curve_in_place(size, iou, bins):
    size.sort()
    return size_curve(size, iou, bins)


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb08.check_background, background),
    (nb08.check_weights, lambda: (0.0414, 0.00066, 7.39)),
    (nb08.check_lying_prior, lambda: ([0.1, 0.2, 0.2, 0.2], "b")),
    (nb08.check_share, lambda: (0.4, "base")),
    (nb09.check_averages, averages),
    (nb09.check_hidden, lambda: (54.6, 6.0)),
    (nb09.check_means, lambda: ([(90, 0, 10), (0, 0, 10)], [(60, 0, 40), (10, 0, 0)])),
    (nb09.check_ties, lambda: 3.0),
    (nb10.check_pairing, lambda: (5.66, 1.79)),
    (nb10.check_level, lambda: (80, 10)),
    (nb10.check_size_curve, size_curve),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb08.check_background, lambda f, m: f[:, m == 0].mean(1), "PANet's own rule"),
    (nb08.check_background, lambda f, m: background(f, m, ignore=False), "255"),
    (nb08.check_background, lambda f, m: background(f, m, zero=True), "id 0"),
    (nb08.check_background, lambda f, m: background(f, m, pooled=True), "mean of k averages"),
    (nb08.check_background, lambda f, m: background(f, m, own=True), "everything that is not c"),
    (nb08.check_background, lambda f, m: f.mean((1, 2))[None], "shape"),
    (nb08.check_weights, lambda: (1, 1, 100), "e to the 1"),
    (nb08.check_weights, lambda: (1 / 64, 1 / 4096, 7.39), "even share"),
    (nb08.check_weights, lambda: (0.0414, 0.0414, 7.39), "falls with their number"),
    (nb08.check_weights, lambda: (0.0414, 0.00066, 2.718), "adds up to 1 more"),
    (nb08.check_weights, lambda: (0.0414, 0.00066, 2), "exponential"),
    (nb08.check_lying_prior, lambda: ([0.9, 0.1, 0.0], "b"), "none above 0.2"),
    (nb08.check_lying_prior, lambda: ([0.1, 0.1, 0.1], "b"), "nothing to scale"),
    (nb08.check_lying_prior, lambda: ([0.0, 0.1, 0.2], "b"), "more than half"),
    (nb08.check_lying_prior, lambda: ([0.1, 0.2, 0.2], "a"), "put means"),
    (nb08.check_lying_prior, lambda: ([0.1, 0.2, 0.2], "c"), "by five"),
    (nb08.check_share, lambda: (0.0, "base"), "today's look is ignored"),
    (nb08.check_share, lambda: (1.0, "base"), "outweighs the training"),
    (nb08.check_share, lambda: (0.4, "novel"), "novel classes are the test"),
    (nb08.check_share, lambda: (1.4, "base"), "lies in"),
    (nb09.check_averages, lambda one, two: averages(one, two, limit=0.1 + 1e-9), "Exactly 0.1"),
    (nb09.check_averages, lambda one, two: [round((one + two) / 2, 1)], "rounded themselves"),
    (nb09.check_averages, lambda one, two: [(one + two) / 2 - 0.05, (one + two) / 2 + 0.05], "one decimal"),
    (nb09.check_averages, lambda one, two: averages(one, two)[::-1], "rising order"),
    (nb09.check_averages, lambda one, two: averages(one, two)[:1] * 2, "you say"),
    (nb09.check_averages, lambda one, two: averages(one, two)[0], "return a list"),
    (nb09.check_averages, lambda one, two: [], "empty"),
    (nb09.check_averages, lambda one, two: ["none"], "must be a number"),
    (nb09.check_hidden, lambda: (72.8, 6), "three of the twelve"),
    (nb09.check_hidden, lambda: (36.4, 6), "plain mean"),
    (nb09.check_hidden, lambda: (54.6, 24.1), "a quarter"),
    (nb09.check_hidden, lambda: (54.6, 60.6), "not the new score"),
    (nb09.check_means, lambda: ([(90, 0, 10), (9, 0, 1)], [(60, 0, 40), (5, 0, 5)]), "ahead both ways"),
    (nb09.check_means, lambda: ([(60, 0, 40), (10, 0, 0)], [(90, 0, 10), (0, 0, 10)]), "must be ahead"),
    (nb09.check_means, lambda: ([(70, 0, 30), (4, 0, 6)], [(65, 0, 35), (6, 0, 4)]), "make both"),
    (nb09.check_means, lambda: ([(90, 0, 10), (0, 0, 10)], [(60, 0, 50), (10, 0, 0)]), "true size"),
    (nb09.check_means, lambda: ([1, 2], [3, 4]), "two rows"),
    (nb09.check_ties, lambda: 0.5, "luck"),
    (nb09.check_ties, lambda: 7, "lower the margin"),
    (nb09.check_ties, lambda: 0, "positive"),
    (nb10.check_pairing, lambda: (8, 1.8), "variances add"),
    (nb10.check_pairing, lambda: (4, 1.8), "more than either"),
    (nb10.check_pairing, lambda: (5.66, 5.66), "cancels"),
    (nb10.check_pairing, lambda: (5.66, 0.4), "take its root"),
    (nb10.check_level, lambda: (99, 0.5), "has to fall"),
    (nb10.check_level, lambda: (90, 5), "still reaches"),
    (nb10.check_level, lambda: (80, 20), "half of the misses"),
    (nb10.check_level, lambda: (80, 2.5), "at your level"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, wide=True), "equally wide"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, apart=True), "sorted sizes and IoUs apart"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, ordered=False), "not sorted"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, middle=np.mean), "median"),
    (nb10.check_size_curve, size_curve_in_place, "in place"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
