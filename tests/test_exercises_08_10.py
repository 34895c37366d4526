"""The checkers of notebooks 08 to 10: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import numpy as np
import torch
from exercise_frame import Attempt, Check, checker_tests
from torch.nn import functional as F

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


def imprint(rows, proxies, present, known, alpha, *, unit_first=True, unit_last=True, new_too=False, keep=True):
    w, e = (F.normalize(x, dim=1) if unit_first else x for x in (rows, proxies))
    mixed = (1 - alpha) * w + alpha * e
    mixed = F.normalize(mixed, dim=1) if unit_last else mixed
    after = torch.where((present & known)[:, None], mixed, rows if keep else F.normalize(rows, dim=1))
    return torch.where((present & ~known)[:, None], mixed if new_too else F.normalize(proxies, dim=1), after)


def prior(query, support, inside, *, cosine=True, masked=True, reduce="amax", scale="minmax"):
    a, b = (F.normalize(x.flatten(1), dim=0) if cosine else x.flatten(1) for x in (query, support))
    table = a.T @ b
    table = table[:, inside.flatten()] if masked else table
    best = table.amax(1) if reduce == "amax" else table.mean(1)
    if scale == "minmax":
        best = (best - best.min()) / (best.max() - best.min())
    elif scale == "max":
        best = best / best.max()
    return best.view(query.shape[1:])


def transfer(query, support, labels, *, cosine=True, usable=True, background=True, sign=1):
    a, b = (F.normalize(x.flatten(1), dim=0) if cosine else x.flatten(1) for x in (query, support))
    table = sign * (a.T @ b)
    flat = labels.flatten()
    if usable:
        table[:, flat == 255] = -torch.inf
    if not background:
        table[:, flat == 0] = -torch.inf
    return flat[table.argmax(1)].view(query.shape[1:])


def transfer_backwards(query, support, labels):
    a, b = (F.normalize(x.flatten(1), dim=0) for x in (query, support))
    return labels.flatten()[(b.T @ a).argmax(1)].view(query.shape[1:])


# ------------------------------------------------------------------------------------------------ notebook 09


def averages(one, two, *, limit=0.1 - 1e-9):
    middle = (one + two) / 2
    near = [(int(10 * middle) + shift) / 10 for shift in range(-3, 4)]
    return [value for value in near if abs(value - middle) < limit]


def one_way(counts, targets, classes, *, row=1, pooled=False, pairs=False, dice=False, everything=False):
    def iou(count):
        return count[0] * (1 + dice) / (count.sum() + dice * count[0])

    classes = np.unique(targets) if everything else classes
    if pooled:
        return iou(counts[np.isin(targets, classes), row].sum(0))
    if pairs:
        return np.mean([np.mean([iou(pair) for pair in counts[targets == c, row]]) for c in classes])
    return np.mean([iou(counts[targets == c, row].sum(0)) for c in classes])


# ------------------------------------------------------------------------------------------------ notebook 10


def mean_iou(totals):
    return (totals[..., 0] / totals.sum(-1)).mean(-1)


def redrawn(counts, weights):
    return mean_iou((weights @ counts.reshape(len(counts), -1)).reshape(len(weights), *counts.shape[1:]))


def difference(first, second, weights, *, ends=(2.5, 97.5), other=None, sign=1):
    draws = redrawn(first, weights) - redrawn(second, weights if other is None else other(weights))
    return tuple(np.percentile(sign * draws, ends))


def separate(first, second, weights, crossed):
    a, b = (np.quantile(redrawn(x, weights), [0.025, 0.975]) for x in (first, second))
    return (a[0] - b[1], a[1] - b[0]) if crossed else (a[0] - b[0], a[1] - b[1])


def over_pairs(first, second, weights):
    single = mean_iou(first) - mean_iou(second)
    return np.quantile((weights @ single) / weights.sum(1), [0.025, 0.975])


def verdict_of(intervals, *, missing_first=False, any_holds=False, middle=False):
    known = [one for one in intervals if one is not None]
    if missing_first and len(known) < len(intervals):
        return "not run"
    if any(high < 0 for _, high in known):
        return "not reproduced"
    if len(known) < len(intervals):
        return "not run"
    if middle:
        known = [((low + high) / 2, high) for low, high in known]
    return "reproduced" if (any if any_holds else all)(low > 0 for low, _ in known) else "undecided"


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
    (nb08.check_imprint, imprint),
    (nb08.check_prior, prior),
    (nb08.check_transfer, transfer),
    (nb09.check_averages, averages),
    (nb09.check_human, lambda novel, base, few, every: (few * novel + (every - few) * base) / every),
    (nb09.check_one_way, one_way),
    (nb10.check_difference, difference),
    (nb10.check_verdict, verdict_of),
    (nb10.check_size_curve, size_curve),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb08.check_background, lambda f, m: f[:, m == 0].mean(1), "PANet's own rule"),
    (nb08.check_background, lambda f, m: background(f, m, ignore=False), "255"),
    (nb08.check_background, lambda f, m: background(f, m, zero=True), "id 0"),
    (nb08.check_background, lambda f, m: background(f, m, pooled=True), "mean of k averages"),
    (nb08.check_background, lambda f, m: background(f, m, own=True), "everything that is not c"),
    (nb08.check_background, lambda f, m: f.mean((1, 2))[None], "shape"),
    (nb08.check_imprint, lambda *given: imprint(*given, unit_first=False), "before you mix"),
    (nb08.check_imprint, lambda *given: imprint(*given, unit_last=False), "normalise it again"),
    (nb08.check_imprint, lambda *given: imprint(*given, new_too=True), "not mixed"),
    (nb08.check_imprint, lambda *given: imprint(*given, keep=False), "leave them"),
    (nb08.check_imprint, lambda r, p, s, k, a: imprint(r, p, s, k, 1 - a), "swapped"),
    (nb08.check_imprint, lambda r, p, s, k, a: imprint(r, p, s | True, k, a), "must stay as they are"),
    (nb08.check_imprint, lambda r, p, s, k, a: imprint(r, p, s, k & False, a), "replaced it"),
    (nb08.check_prior, lambda *given: prior(*given, masked=False), "inside the mask"),
    (nb08.check_prior, lambda *given: prior(*given, reduce="mean"), "single best match"),
    (nb08.check_prior, lambda *given: prior(*given, scale=""), "the least becomes 0"),
    (nb08.check_prior, lambda *given: prior(*given, scale="max"), "subtract the least"),
    (nb08.check_prior, lambda *given: prior(*given, cosine=False), "dot products"),
    (nb08.check_prior, lambda *given: prior(*given).T, "shape"),
    (nb08.check_transfer, lambda *given: transfer(*given, usable=False), "255"),
    (nb08.check_transfer, lambda *given: transfer(*given, background=False), "background is a label"),
    (nb08.check_transfer, lambda *given: transfer(*given, cosine=False), "dot products"),
    (nb08.check_transfer, lambda *given: transfer(*given, sign=-1), "argmax"),
    (nb08.check_transfer, transfer_backwards, "every query cell looks"),
    (nb08.check_transfer, lambda *given: transfer(*given).float(), "int64"),
    (nb09.check_averages, lambda one, two: averages(one, two, limit=0.1 + 1e-9), "Exactly 0.1"),
    (nb09.check_averages, lambda one, two: [round((one + two) / 2, 1)], "rounded themselves"),
    (nb09.check_averages, lambda one, two: [(one + two) / 2 - 0.05, (one + two) / 2 + 0.05], "one decimal"),
    (nb09.check_averages, lambda one, two: averages(one, two)[::-1], "rising order"),
    (nb09.check_averages, lambda one, two: averages(one, two)[:1] * 2, "you say"),
    (nb09.check_averages, lambda one, two: averages(one, two)[0], "return a list"),
    (nb09.check_averages, lambda one, two: [], "empty"),
    (nb09.check_averages, lambda one, two: ["none"], "must be a number"),
    (nb09.check_human, lambda novel, base, few, every: (novel + base) / 2, "plain mean"),
    (nb09.check_human, lambda novel, base, few, every: (few * base + (every - few) * novel) / every, "swapped"),
    (nb09.check_human, lambda n, b, few, every: (few * n + (every - 1 - few) * b) / (every - 1), "background"),
    (nb09.check_human, lambda novel, base, few, every: few * novel + (every - few) * base, "divide"),
    (nb09.check_human, lambda *given: [45.0, 1.0], "must be a number"),
    (nb09.check_one_way, lambda *given: one_way(*given, row=0), "background's row"),
    (nb09.check_one_way, lambda *given: one_way(*given, pooled=True), "pool the classes"),
    (nb09.check_one_way, lambda *given: one_way(*given, pairs=True), "single pairs"),
    (nb09.check_one_way, lambda *given: one_way(*given, dice=True), "Dice"),
    (nb09.check_one_way, lambda *given: one_way(*given, everything=True), "outside"),
    (nb10.check_difference, lambda *given: separate(*given, crossed=False), "subtract the ends"),
    (nb10.check_difference, lambda *given: separate(*given, crossed=True), "two separate intervals"),
    (nb10.check_difference, lambda *given: difference(*given, other=lambda w: w[::-1]), "same redrawn pairs"),
    (nb10.check_difference, lambda *given: difference(*given, sign=-1), "sign"),
    (nb10.check_difference, lambda *given: difference(*given, ends=(5, 95)), "90 %"),
    (nb10.check_difference, over_pairs, "single pairs"),
    (nb10.check_difference, lambda *given: 0.3, "two numbers"),
    (nb10.check_verdict, lambda intervals: verdict_of(intervals, missing_first=True), "whatever the missing one"),
    (nb10.check_verdict, lambda intervals: verdict_of(intervals, any_holds=True), "ALL"),
    (nb10.check_verdict, lambda intervals: verdict_of(intervals, middle=True), "wherever its middle"),
    (nb10.check_verdict, lambda intervals: "yes", "one of"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, wide=True), "equally wide"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, apart=True), "sorted sizes and IoUs apart"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, ordered=False), "not sorted"),
    (nb10.check_size_curve, lambda *given: size_curve(*given, middle=np.mean), "median"),
    (nb10.check_size_curve, size_curve_in_place, "in place"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
