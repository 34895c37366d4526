"""Checkers of notebook 01, the problem: training masks, restricted truths, scores, overlap of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import call, checker, is_close, mask_of, number, numbers, refuse, require, same_ids

IGNORE = 255


@checker
def check_training_mask(attempt: Any) -> str:
    """Check `f(mask int array, training: tuple of ids) -> int array`: other ids become 0, 255 stays."""
    mask = np.array([[0, 4, 4, 5, 255], [6, 6, 12, 7, 9], [255, 5, 14, 9, 0]], np.int64)
    result = mask_of(call(attempt, mask, (0, 4, 9, 12, 14)), mask.shape, "the training mask")
    require((result[mask == IGNORE] == IGNORE).all(), "255 makes no statement, background would; it must stay 255")
    novel = np.isin(mask, (5, 6, 7))
    kinder = "you mark novel pixels 255, to be ignored. That would be kinder, but the protocol calls them background"
    require((result[novel] != IGNORE).any(), kinder)
    require(not (result[novel] == mask[novel]).any(), "a novel id is still there: training would see it")
    kept = np.where(novel | (mask == IGNORE), mask, 0)
    refuse(result, (kept, "the wrong way round: you keep the novel classes and hide the base ones"))
    same_ids(result, np.where(novel, 0, mask), mask)
    return "training sees its own classes, a silent 255, and background where the new garments are"


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
def check_truth(attempt: Any) -> str:
    """Check the truth restricted to the support: see `judge_restriction`."""
    judge_restriction(attempt)
    return "the truth holds what the support shows, wherever it shows it"


def _means(values: np.ndarray, base: Sequence[int], novel: Sequence[int]) -> tuple[float, float, float]:
    """Return human, novel and base means of values by class; nan is left out."""
    human, new, known = (float(np.nanmean(values[ids])) for ids in ([0, *base, *novel], list(novel), [0, *base]))
    return human, new, known


@checker
def check_scores(attempt: Any) -> str:
    """Check `f(matrix [C,C], base, novel) -> (human, novel, base)`: means of the pooled intersection over union."""
    matrix = np.zeros((6, 6))
    matrix[:3] = [50, 4, 1, 0, 0, 6], [7, 30, 2, 0, 0, 1], [9, 3, 8, 0, 0, 0]
    matrix[5] = [12, 1, 2, 0, 0, 5]
    base, novel = (1, 2, 3), (4, 5)
    hits, rows, columns = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = call(attempt, matrix, base, novel)
        iou = hits / (rows + columns - hits)
        ratios = (
            (np.nan_to_num(iou), "a class without any pixel has 0/0; you count it as 0. Leave it out of the mean"),
            (hits / rows, "that is recall; predicting one class everywhere would cost nothing"),
            (hits / columns, "that is precision; the union also holds the pixels that were missed"),
            (2 * hits / (rows + columns), "that is the Dice score; IoU divides the hits by the union, once"),
            (hits / (rows + columns), "you count the hits twice in the union; subtract them: rows + columns - hits"),
        )
    result = np.array(numbers(value, "human, novel, base", 3))
    require(not np.isnan(result).any(), "a mean is nan: a class in neither truth nor prediction has 0/0. Leave it out")
    human, new, known = _means(iou, base, novel)
    bare = float(np.nanmean(iou[list(base)])), float(np.nanmean(iou[[*base, *novel]]))
    background = "the background is a class of human and of base; you left it out"
    order = "the order is human, novel, base"
    refuse(
        result,
        *((_means(values, base, novel), explanation) for values, explanation in ratios),
        *((triple, background) for triple in ((bare[1], new, bare[0]), (human, new, bare[0]), (bare[1], new, known))),
        *((triple, order) for triple in ((known, new, human), (human, known, new))),
    )
    for name, mine, true in zip(("human", "novel", "base"), result, (human, new, known), strict=True):
        require(is_close(mine, true), f"the {name} mIoU of the test matrix is {true:.4f}, not {mine:.4f}")
    return "these are the three numbers of the papers' tables"


@checker
def check_overlap(attempt: Any) -> str:
    """Check `f(first [h,w], second [h,w]) -> float`: sum of minima over sum of maxima, 0 when both are empty."""
    first = np.array([[0.9, 0.5, 0.0], [0.2, 0.1, 0.0]])
    second = np.array([[0.3, 0.6, 0.4], [0.0, 0.1, 0.0]])
    least, most = np.minimum(first, second), np.maximum(first, second)
    low, high = least.sum(), most.sum()
    hard = ((first > 0.5) & (second > 0.5)).sum() / ((first > 0.5) | (second > 0.5)).sum()
    value = number(call(attempt, first, second))
    refuse(
        value,
        (2 * low / (first.sum() + second.sum()), "that is twice the minima over the sum of both: the Dice overlap"),
        (low / first.sum(), "you divide by the first shape alone; the overlap must not depend on the order"),
        (low / second.sum(), "you divide by the second shape alone; the overlap must not depend on the order"),
        ((first * second).sum() / high, "you multiply the frequencies; a shape would not overlap with itself by 1"),
        (hard, "you cut the frequencies at one half first; the soft overlap keeps them as they are"),
        (np.mean(least / np.maximum(most, 1e-12)), "sum first, then divide"),
    )
    require(is_close(value, low / high), f"for the test shapes the overlap is {low / high:.4f}, you say {value:.4f}")
    with np.errstate(invalid="ignore", divide="ignore"):
        empty = number(call(attempt, np.zeros((2, 2)), np.zeros((2, 2))))
    require(empty == 0, f"two empty shapes do not overlap: return 0, not {empty}")
    return "1 for the same shape, 0 for shapes that never meet"
