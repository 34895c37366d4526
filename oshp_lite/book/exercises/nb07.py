"""Checkers of notebook 07, training and evaluation: mean IoU, its interval, the truth of an episode, a table."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import (
    call,
    checker,
    is_close,
    mask_of,
    number,
    numbers,
    refuse,
    require,
    same_ends,
    same_ids,
)
from oshp_lite.labels import IGNORE


def _matrices() -> np.ndarray:
    """Return confusion matrices int64 [6,5,5]; class 3 never occurs, class 4 in one pair only."""
    matrices = np.random.default_rng(7).integers(0, 9, (6, 5, 5))
    for rows, absent in ((slice(None), 3), (slice(1, None), 4)):
        matrices[rows, absent, :] = 0
        matrices[rows, :, absent] = 0
    matrices[:, 0, 0] += np.array([90, 20, 300, 40, 150, 60])
    matrices[:, 1, 1] += np.array([2, 30, 0, 4, 0, 55])
    matrices[:, 2, 2] += np.array([20, 0, 8, 1, 25, 0])
    return matrices


def _iou(matrix: np.ndarray) -> np.ndarray:
    """Return float [C]; nan where a class occurs neither in the rows nor in the columns."""
    hits = np.diagonal(matrix).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / (matrix.sum(0) + matrix.sum(1) - hits))


@checker
def check_miou(attempt: Any) -> str:
    """Check `f(matrices int64 [N,C,C], ids) -> float`, the pooled mean IoU with the rule for absent classes."""
    matrices, ids = _matrices(), [0, 1, 2, 4]
    total = matrices.sum(0)
    hits, rows, columns = np.diagonal(total).astype(float), total.sum(1), total.sum(0)
    per_pair = np.stack([_iou(matrix)[ids] for matrix in matrices])
    over_pairs = "you averaged over pairs; the papers add the matrices of all pairs first and take one IoU per class"

    def mean(ratio: np.ndarray) -> float:
        return float(ratio[ids].mean())

    value = number(call(attempt, matrices, ids), "the mean IoU")
    refuse(
        value,
        (mean(hits / np.maximum(rows, 1)), "you divided by the rows alone: that is recall"),
        (mean(hits / np.maximum(columns, 1)), "you divided by the columns alone: that is precision"),
        (mean(hits / np.maximum(rows + columns, 1)), "row + column counts the hits twice; subtract the diagonal"),
        (mean(2 * hits / np.maximum(rows + columns, 1)), "this is the Dice score; IoU is hits / (row + column - hits)"),
        (np.nanmean(per_pair), over_pairs),
        (np.nanmean(np.nanmean(per_pair, 1)), over_pairs),
        (np.nanmean(np.nanmean(per_pair, 0)), over_pairs),
    )
    iou = _iou(total)
    require(is_close(value, mean(iou)), f"for the ids {ids} the mean IoU is {mean(iou):.4f}, yours {value:.4f}")
    part = number(call(attempt, matrices, [1, 2]), "the mean IoU")
    require(is_close(part, iou[[1, 2]].mean()), "the mean runs over the given ids, not over all classes")
    absent = number(call(attempt, matrices, [1, 2, 3]), "the mean IoU")
    require(not math.isnan(absent), "class 3 never occurs: its 0/0 = nan spoils your mean; leave it out (np.nanmean)")
    refuse(absent, (iou[[1, 2]].sum() / 3, "class 3 never occurs; you counted it as 0, but it is to be left out"))
    require(is_close(absent, part), "a class that never occurs must be left out of the mean")
    return "matrices added first, hits over union, absent classes left out"


@checker
def check_interval(attempt: Any) -> str:
    """Check `f(matrices [N,C,C], ids, queries int64 [N], draws int64 [R,Q]) -> (low, high)`, the 95 % interval."""
    matrices, ids, queries = _matrices(), [1, 2], np.array([0, 0, 1, 2, 2, 3])
    draws = np.random.default_rng(11).integers(0, 4, (400, 4))

    def pooled(rows: np.ndarray) -> float:
        return float(np.nanmean(_iou(matrices[rows].sum(0))[ids]))

    own = [np.flatnonzero(queries == query) for query in range(4)]
    redrawn = [np.concatenate([own[query] for query in row]) for row in draws]
    values = np.array([pooled(rows) for rows in redrawn])
    once = np.array([pooled(np.unique(rows)) for rows in redrawn])
    places = np.array([pooled(row) for row in draws])
    first = np.array([pooled(np.array([own[query][0] for query in row])) for row in draws])
    single = np.array([_iou(matrix)[ids].mean() for matrix in matrices])
    averaged = np.array([single[rows].mean() for rows in redrawn])
    half = np.array([-1.96, 1.96]) * values.std()
    normal = "mean ± 1.96 deviations assumes a normal law; return the percentiles of the redrawn scores"
    middle = (2.5, 97.5)
    low, high = numbers(call(attempt, matrices, ids, queries, draws), "the lower and the upper end")
    truth = np.percentile(values, middle)
    require(low <= high, "the lower end comes first")
    refuse(
        (low, high),
        ((values.min(), values.max()), "this is the whole range of the redraws. Keep the middle 95 %"),
        (np.percentile(values, [5, 95]), "the 5th and 95th percentile leave 90 % between them"),
        (values.mean() + half, normal),
        (values.mean() + half * math.sqrt(len(values) / (len(values) - 1)), normal),
        (np.percentile(averaged, middle), "you averaged the IoUs of pairs; matrices are added first, then scored"),
        (np.percentile(once, middle), "a query that is drawn twice counts twice"),
        (np.percentile(places, middle), "a row of draws holds query photos, not places in the list of pairs"),
        (np.percentile(first, middle), "a query photo that is drawn brings all its pairs, not only the first"),
        tolerance=1e-4,
    )
    vanishing = "with more redraws this interval would vanish; do not divide by their root"
    refuse((low, high), (values.mean() + half / math.sqrt(len(values)), vanishing), tolerance=2e-3)
    same_ends((low, high), truth, 1e-4)
    return "query photos are drawn with all their pairs, each redraw is scored whole, the middle 95 % remain"


def judge_restriction(attempt: Any) -> None:
    """Raise `Wrong` unless `f(query_mask [h,w], support_mask [H,W]) -> int array [h,w]` restricts to the support."""
    for query, support in (
        (np.array([[0, 4, 4, 255], [6, 6, 16, 9]]), np.array([[0, 4, 6], [6, 9, 0], [1, 1, 0]])),
        (np.array([[0, 5, 7], [12, 255, 12]]), np.array([[255, 7], [12, 0]])),
        (np.array([[0, 4]]), np.array([[4, 4]])),
    ):
        truth = np.where(np.isin(query, support) | (query == IGNORE), query, 0)
        lost, known = (truth == 0) & (query != 0), np.isin(query, support) & (query != IGNORE)
        result = mask_of(call(attempt, query, support), query.shape, "the truth (it has the query's size)")
        unchanged = "nothing has changed, nothing is restricted: classes that the support lacks are still scored"
        require(not lost.any() or not np.array_equal(result, query), unchanged)
        require((result[query == IGNORE] == IGNORE).all(), "a query pixel of 255 has no label; it must stay 255")
        ignored = "what the support lacks is background (0), not ignored (255): a class there has said too much"
        require(not (result[lost] == IGNORE).any(), ignored)
        require((result[known] == query[known]).all(), "classes that the support holds must stay in the truth")
        require(not (result[lost] == query[lost]).any(), "a class that the support lacks is still in the truth")
        same_ids(result, truth, query)


@checker
def check_restricted(attempt: Any) -> str:
    """Check the truth restricted to the support, now within an evaluation: see `judge_restriction`."""
    judge_restriction(attempt)
    return "the truth holds only what the support shows; unknown pixels stay unknown"


@checker
def check_reading(attempt: Any) -> str:
    """Check `f(own, trivial, ceiling) -> (times the best trivial novel score, share of the ceiling's human score)`."""
    own = {"novel_miou": 0.24, "human_miou": 0.45}
    trivial = {
        "background": {"novel_miou": 0.0, "human_miou": 0.07},
        "copy": {"novel_miou": 0.08, "human_miou": 0.21},
        "mean map": {"novel_miou": 0.12, "human_miou": 0.16},
        "colour": {"novel_miou": 0.05, "human_miou": 0.12},
    }
    ceiling = {"novel_miou": 0.55, "human_miou": 0.60}
    result = call(attempt, own, trivial, ceiling)
    times, share = numbers(result, "the ratio and the share")
    novel = [scores["novel_miou"] for scores in trivial.values()]
    refuse((times, share), ((0.75, 2.0), "the two numbers are in the wrong order: ratio first"), tolerance=1e-3)
    refuse(
        times,
        (0.24 / (sum(novel) / len(novel)), "you divided by the mean of the trivial predictions, not by the best"),
        (0.24 / 0.08, "you took the prediction that is best on all classes; on novel ones another is better"),
        (0.24 - 0.12, "this is the difference; return how many times as much it is"),
        (0.45 / 0.21, "the first number is about novel classes, not all"),
        tolerance=1e-3,
    )
    require(is_close(times, 2.0, 1e-3), f"0.24 is 2 times the best trivial prediction, 0.12; you say {times:g}")
    refuse(
        share,
        (0.24 / 0.55, "the share is over all classes (human), not on the novel ones"),
        (0.60 / 0.45, "the share is the run's over the ceiling's"),
        tolerance=1e-3,
    )
    require(is_close(share, 0.75, 1e-3), f"0.45 is 75 % of the ceiling's 0.60; you say {share:g}")
    return "twice the best trivial prediction, three quarters of the ceiling: that is how a run is read here"
