"""Checkers of notebook 07, training and evaluation: mean IoU, its interval, the truth that is asked for, a table."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require

__all__ = ["Verdict", "check_asked_for", "check_interval", "check_miou", "check_reading"]

Array = NDArray[Any]


def _matrices() -> Array:
    """Confusion matrices int64 [6,5,5] of small classes; class 3 never occurs, class 4 in one pair only."""
    draw = np.random.default_rng(7)
    matrices = draw.integers(0, 9, (6, 5, 5))
    matrices[:, 3, :] = 0
    matrices[:, :, 3] = 0
    matrices[1:, 4, :] = 0
    matrices[1:, :, 4] = 0
    matrices[:, 0, 0] += np.array([90, 20, 300, 40, 150, 60])
    matrices[:, 1, 1] += np.array([2, 30, 0, 4, 0, 55])
    matrices[:, 2, 2] += np.array([20, 0, 8, 1, 25, 0])
    return matrices


def _iou(matrix: Array) -> Array:
    """Return float [C]; nan where a class occurs neither in the rows nor in the columns."""
    hits = np.diagonal(matrix).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / (matrix.sum(0) + matrix.sum(1) - hits))


def _number(value: Any, what: str) -> float:
    require(np.ndim(value) == 0, f"{what} must be one number, not {type(value).__name__}")
    try:
        return float(value)
    except (TypeError, ValueError):
        require(False, f"{what} must be a number, not {type(value).__name__}")
        raise


def _two(result: Any, what: str) -> tuple[float, float]:
    require(isinstance(result, Iterable) and not isinstance(result, str | dict), f"return two numbers: {what}")
    values = list(result)
    require(len(values) == 2, f"return two numbers: {what}; you returned {len(values)}")
    return _number(values[0], "the first one"), _number(values[1], "the second one")


@checker
def check_miou(answer: Any) -> str:
    """Check `f(matrices int64 [N,C,C], ids) -> float`, the pooled mean IoU with the rule for absent classes."""
    matrices, ids = _matrices(), [0, 1, 2, 4]
    total = matrices.sum(0)
    hits = np.diagonal(total).astype(float)
    truth = float(_iou(total)[ids].mean())
    value = _number(ask(answer, matrices.copy(), list(ids)), "the mean IoU")
    require(
        not close(value, (hits / np.maximum(total.sum(1), 1))[ids].mean()),
        "you divided by the rows alone: that is recall, which an answer that labels everything would win",
    )
    require(
        not close(value, (hits / np.maximum(total.sum(0), 1))[ids].mean()),
        "you divided by the columns alone: that is precision, which punishes no missed pixel",
    )
    require(
        not close(value, (hits / np.maximum(total.sum(0) + total.sum(1), 1))[ids].mean()),
        "row plus column counts the hits twice; the union is row + column - diagonal",
    )
    require(
        not close(value, (2 * hits / np.maximum(total.sum(0) + total.sum(1), 1))[ids].mean()),
        "this is the Dice (F1) score, 2·hits / (row + column); IoU is hits / (row + column - hits)",
    )
    per_pair = np.stack([_iou(matrix)[ids] for matrix in matrices])
    means = (np.nanmean(per_pair), np.nanmean(np.nanmean(per_pair, 1)), np.nanmean(np.nanmean(per_pair, 0)))
    require(
        not any(close(value, mean) for mean in means),
        "you averaged over pairs; the papers add the matrices of all pairs first and take one IoU per class",
    )
    require(close(value, truth), f"for the ids {ids} the mean IoU is {truth:.4f}, yours {value:.4f}")
    part = _number(ask(answer, matrices.copy(), [1, 2]), "the mean IoU")
    require(
        close(part, _iou(total)[[1, 2]].mean()),
        "with ids [1, 2] the answer is wrong: the mean runs over the given ids, not over all classes",
    )
    absent = _number(ask(answer, matrices.copy(), [1, 2, 3]), "the mean IoU")
    require(
        not math.isnan(absent),
        "class 3 never occurs, so its IoU is 0/0 = nan and spoils your mean; leave such classes out (np.nanmean)",
    )
    require(
        not close(absent, _iou(total)[[1, 2]].sum() / 3),
        "class 3 never occurs, in truth or answer; you counted it as 0, but it is to be left out of the mean",
    )
    require(close(absent, part), "a class that never occurs must be left out of the mean")
    return "matrices added first, hits over union, absent classes left out"


@checker
def check_interval(answer: Any) -> str:
    """Check `f(matrices [N,C,C], ids, draws int64 [R,N]) -> (low, high)`, the bootstrap's 95 % interval."""
    matrices, ids = _matrices(), [1, 2]
    draws = np.random.default_rng(11).integers(0, len(matrices), (400, len(matrices)))

    def pooled(rows: Array) -> float:
        return float(np.nanmean(_iou(matrices[rows].sum(0))[ids]))

    values = np.array([pooled(rows) for rows in draws])
    low, high = _two(ask(answer, matrices.copy(), list(ids), draws.copy()), "the lower and the upper end")
    truth = np.percentile(values, [2.5, 97.5])

    def is_near(pair: Any, tolerance: float = 1e-4) -> bool:
        return bool(np.allclose((low, high), pair, atol=tolerance, rtol=0))

    require(low <= high, "the lower end comes first")
    require(
        not is_near((values.min(), values.max())),
        "this is the whole range of the redraws; it grows with their number. Keep the middle 95 %",
    )
    require(
        not is_near(np.percentile(values, [5, 95])),
        "the 5th and 95th percentile leave 90 % between them; 95 % lie between the 2.5th and the 97.5th",
    )
    normal = values.mean() + np.array([-1.96, 1.96]) * values.std()
    wide = values.mean() + np.array([-1.96, 1.96]) * values.std(ddof=1)
    require(
        not (is_near(normal) or is_near(wide)),
        "mean ± 1.96 deviations assumes a normal law; here the percentiles of the redrawn scores are asked for",
    )
    narrow = values.mean() + np.array([-1.96, 1.96]) * values.std() / math.sqrt(len(values))
    require(
        not is_near(narrow, 2e-3),
        "you divided by the root of the number of redraws, so the interval would vanish if you drew more often; "
        "the spread of the redrawn scores itself is what is asked for",
    )
    singly = np.array([_iou(matrix)[ids].mean() for matrix in matrices])
    averaged = np.array([singly[rows].mean() for rows in draws])
    require(
        not is_near(np.percentile(averaged, [2.5, 97.5])),
        "you averaged the IoUs of single pairs; in each redraw the drawn matrices are added first, then scored",
    )
    once = np.array([pooled(np.unique(rows)) for rows in draws])
    require(
        not is_near(np.percentile(once, [2.5, 97.5])),
        "a pair that is drawn twice counts twice; you counted each drawn pair once",
    )
    require(is_near(truth), f"the interval is [{truth[0]:.4f}, {truth[1]:.4f}], yours [{low:.4f}, {high:.4f}]")
    return "each redraw is pooled and scored like the real list; the middle 95 % of the scores remain"


@checker
def check_asked_for(answer: Any) -> str:
    """Check `f(truth int64 [H,W], support int64 [h,w]) -> int64 [H,W]`, the truth restricted to the support."""
    truth = np.array([[0, 1, 1, 2], [5, 5, 255, 2], [7, 0, 1, 255]])
    support = np.array([[0, 1, 9], [2, 2, 0]])
    wanted = np.array([[0, 1, 1, 2], [0, 0, 255, 2], [0, 0, 1, 255]])
    given = truth.copy()
    result = ask(answer, given, support.copy())
    require(np.shape(result) == truth.shape, f"the result must have the query's shape {list(truth.shape)}")
    result = np.asarray(result)
    require(
        not np.issubdtype(result.dtype, np.bool_),
        "a mask of class ids is asked for, not of True and False",
    )
    require(
        not np.array_equal(result, truth),
        "nothing has changed: classes 5 and 7 have no example in the support, so no parser can be asked for them",
    )
    require(
        not (result[1, 2] == 0 and result[2, 3] == 0),
        "255 means that nobody knows the pixel; it must stay 255, or the scoring will punish a guess as wrong",
    )
    require(
        not bool((result[truth == 5] == 255).all()),
        "classes without an example count as background (0) in the released evaluation, not as ignored (255)",
    )
    require(
        bool((result[(truth == 1) | (truth == 2)] == truth[(truth == 1) | (truth == 2)]).all()),
        "classes 1 and 2 are shown by the support; they must stay in the truth",
    )
    require(
        not bool((result[truth == 5] == 5).any() or (result[truth == 7] == 7).any()),
        "a class that the support does not show is still in your truth",
    )
    require(np.array_equal(result, wanted), "the result differs from the truth restricted to the support's classes")
    second = np.asarray(ask(answer, np.array([[0, 4]]), np.array([[4, 4]])))
    require(
        np.array_equal(second, [[0, 4]]),
        "with a support that shows no background at all, background must stay 0 in the truth",
    )
    full = np.asarray(ask(answer, np.array([[3, 255]]), np.array([[255, 3]])))
    require(np.array_equal(full, [[3, 255]]), "a support with ignored pixels changes nothing for the classes it shows")
    require(np.array_equal(given, truth), "you changed the given mask in place; the caller may need it. Work on a copy")
    return "only what the support shows can be asked for; unknown pixels stay unknown"


@checker
def check_reading(answer: Any) -> str:
    """Check `f(own, trivial, ceiling) -> (times the best trivial novel score, share of the ceiling's human score)`."""
    own = {"novel_miou": 0.24, "human_miou": 0.45}
    trivial = {
        "background": {"novel_miou": 0.0, "human_miou": 0.07},
        "copy": {"novel_miou": 0.08, "human_miou": 0.21},
        "mean map": {"novel_miou": 0.12, "human_miou": 0.16},
        "colour": {"novel_miou": 0.05, "human_miou": 0.12},
    }
    ceiling = {"novel_miou": 0.55, "human_miou": 0.60}
    times, share = _two(ask(answer, dict(own), dict(trivial), dict(ceiling)), "the ratio and the share")
    novel = [scores["novel_miou"] for scores in trivial.values()]
    require(
        not (close(times, 0.75, 1e-3) and close(share, 2.0, 1e-3)),
        "the two numbers are in the wrong order: ratio first",
    )
    require(
        not close(times, own["novel_miou"] / (sum(novel) / len(novel)), 1e-3),
        "you divided by the mean of the trivial answers; a method has to beat the best of them",
    )
    require(
        not close(times, own["novel_miou"] / trivial["copy"]["novel_miou"], 1e-3),
        "you took the trivial answer that is best on all classes (copy); on novel ones another is better",
    )
    require(
        not close(times, own["novel_miou"] - max(novel), 1e-3),
        "this is the difference; how many times as much is asked for",
    )
    require(not close(times, own["human_miou"] / 0.21, 1e-3), "the first number is about novel classes, not all")
    require(close(times, 2.0, 1e-3), f"0.24 is 2 times the best trivial answer, 0.12; you say {times:g}")
    require(
        not close(share, own["novel_miou"] / ceiling["novel_miou"], 1e-3),
        "the share is asked for on all classes (human), not on the novel ones",
    )
    require(
        not close(share, ceiling["human_miou"] / own["human_miou"], 1e-3), "the share is the run's over the ceiling's"
    )
    require(close(share, 0.75, 1e-3), f"0.45 is 75 % of the ceiling's 0.60; you say {share:g}")
    return "twice the best trivial answer, three quarters of the ceiling: that is how a run is read here"
