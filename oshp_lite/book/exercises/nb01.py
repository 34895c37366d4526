"""Checkers of notebook 01, the problem: training masks, restricted truths, scores, overlap of shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.book.exercises.common import Verdict, ask, checker, require

__all__ = ["Verdict", "check_overlap", "check_scores", "check_training_mask", "check_truth"]

IGNORE = 255


def _mask_of(value: Any, shape: Sequence[int], what: str) -> NDArray[Any]:
    """Return the learner's mask as an array of the given shape, or explain how it differs."""
    require(isinstance(value, np.ndarray), f"{what} must be a NumPy array, not {type(value).__name__}")
    require(value.dtype.kind in "iu", f"{what} holds ids, so whole numbers are asked for, not {value.dtype}")
    require(tuple(value.shape) == tuple(shape), f"{what} has shape {list(value.shape)}, but {list(shape)} is asked for")
    return np.asarray(value)


@checker
def check_training_mask(answer: Any) -> str:
    """Check `f(mask int array, training: tuple of ids) -> int array`: other ids become 0, 255 stays."""
    mask = np.array([[0, 4, 4, 5, 255], [6, 6, 12, 7, 9], [255, 5, 14, 9, 0]], np.int64)
    training = (0, 4, 9, 12, 14)
    given = mask.copy()
    result = _mask_of(ask(answer, given, training), mask.shape, "the training mask")
    require(
        np.array_equal(given, mask),
        "you write into the mask that came in; its owner still needs all its labels. Return a new array",
    )
    require(
        bool((result[mask == IGNORE] == IGNORE).all()),
        "a pixel marked 255 makes no statement; as background it would make one. It must stay 255",
    )
    novel = np.isin(mask, (5, 6, 7))
    require(
        not bool((result[novel] == IGNORE).all()),
        "you mark the novel pixels 255, to be ignored. That would be kinder, but the protocol labels them background: "
        "the data set's authors did not know of these classes, so they could not leave them out",
    )
    require(not bool((result[novel] == mask[novel]).any()), "a novel id is still there: training would see it")
    require(
        not np.array_equal(result, np.where(novel | (mask == IGNORE), mask, 0)),
        "the wrong way round: you keep the novel classes and hide the base ones",
    )
    wrong = sorted({int(value) for value in mask[result != np.where(novel, 0, mask)]})
    require(not wrong, f"pixels of these ids came out wrong: {wrong}")
    return "training sees its own classes, a silent 255, and background where the new garments are"


@checker
def check_truth(answer: Any) -> str:
    """Check `f(query_mask [h,w], support_mask [H,W]) -> int array [h,w]`: the truth restricted to the support."""
    cases = (
        (np.array([[0, 4, 4, 255], [6, 6, 16, 9]]), np.array([[0, 4, 6], [6, 9, 0], [1, 1, 0]])),
        (np.array([[0, 5, 7], [12, 255, 12]]), np.array([[255, 7], [12, 0]])),
    )
    for query, support in cases:
        known = np.unique(support)
        truth = np.where(np.isin(query, known) | (query == IGNORE), query, 0)
        before = query.copy()
        value = ask(answer, before, support.copy())
        result = _mask_of(value, query.shape, "the truth (it has the query's size)")
        require(np.array_equal(before, query), "you write into the query mask that came in; return a new array")
        require(
            not np.array_equal(result, query), "nothing is restricted: classes that the support lacks are still asked"
        )
        require(
            bool((result[query == IGNORE] == IGNORE).all()),
            "a query pixel of 255 has no label, whether or not the support holds a 255; it must stay 255",
        )
        lost = (truth == 0) & (query != 0)
        require(
            not bool((result[lost] == IGNORE).any()),
            "you ignore what the support lacks (255). The protocol scores it as background: who answers with a class "
            "there has said too much",
        )
        require(not bool((result[lost] == query[lost]).any()), "a class that the support lacks is still in the truth")
        wrong = sorted({int(v) for v in query[result != truth]})
        require(not wrong, f"pixels of these ids came out wrong: {wrong}")
    return "asked for is what the support shows, wherever it shows it"


def _parts(matrix: NDArray[np.float64]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return matrix.diagonal(), matrix.sum(1), matrix.sum(0)


def _means(values: NDArray[Any], base: Sequence[int], novel: Sequence[int]) -> tuple[float, float, float]:
    """Human, novel and base means; nan is left out."""
    groups = ([0, *base, *novel], list(novel), [0, *base])
    human, new, known = (float(np.nanmean(values[ids])) for ids in groups)
    return human, new, known


def _mistakes(matrix: NDArray[np.float64], base: Sequence[int], novel: Sequence[int]) -> list[tuple[Any, str]]:
    """What typical mistakes give for a matrix, with their explanations."""
    hits, rows, columns = _parts(matrix)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hits / (rows + columns - hits)
        recall, precision, dice = hits / rows, hits / columns, 2 * hits / (rows + columns)
        plain = hits / (rows + columns)
        found = [
            (
                _means(np.nan_to_num(iou), base, novel),
                "a class without any pixel has 0/0; you count it as 0. Leave it ",
            ),
            (_means(recall, base, novel), "that is recall, hits over the truth's pixels; answering one class "),
            (_means(precision, base, novel), "that is precision, hits over the answer's pixels; the union also holds "),
            (_means(dice, base, novel), "that is the Dice score; the intersection over union divides the hits by "),
            (_means(plain, base, novel), "you count the hits twice in the union; subtract them once: rows + columns "),
        ]
    ends = (
        "out of the mean",
        "everywhere would cost nothing",
        "the true pixels that were missed",
        "the union, once",
        "- hits",
    )
    explained = [(values, begin + end) for (values, begin), end in zip(found, ends, strict=True)]
    human, new, known = _means(iou, base, novel)
    bare = float(np.nanmean(iou[list(base)])), float(np.nanmean(iou[[*base, *novel]]))
    text = "the background is a class of human and of base; you left it out"
    explained += [((bare[1], new, bare[0]), text), ((human, new, bare[0]), text), ((bare[1], new, known), text)]
    explained.append(((known, new, human), "the order is human, novel, base"))
    explained.append(((human, known, new), "the order is human, novel, base"))
    return explained


@checker
def check_scores(answer: Any) -> str:
    """Check `f(matrix [C,C], base, novel) -> (human, novel, base)`: means of the pooled intersection over union."""
    matrix = np.array(
        [
            [50, 4, 1, 0, 0, 6],
            [7, 30, 2, 0, 0, 1],
            [9, 3, 8, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
            [12, 1, 2, 0, 0, 5],
        ],
        float,
    )
    base, novel = (1, 2, 3), (4, 5)
    hits, rows, columns = _parts(matrix)
    with np.errstate(invalid="ignore"):
        truth = _means(hits / (rows + columns - hits), base, novel)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = ask(answer, matrix.copy(), base, novel)
    try:
        result = np.array([float(v) for v in value])
    except (TypeError, ValueError):
        result = np.zeros(0)
    require(result.shape == (3,), "return three numbers: human, novel, base")
    require(
        not np.isnan(result).any(),
        "a mean is nan: one of the classes has 0/0, because it occurs in neither truth nor answer. Leave it out",
    )
    for wrong, explanation in _mistakes(matrix, base, novel):
        require(not np.allclose(result, wrong, atol=1e-6), explanation)
    for k, name in enumerate(("human", "novel", "base")):
        require(
            abs(result[k] - truth[k]) < 1e-6,
            f"the {name} mIoU of the test matrix is {truth[k]:.4f}, not {result[k]:.4f}",
        )
    return "these are the three numbers of the papers' tables"


@checker
def check_overlap(answer: Any) -> str:
    """Check `f(first [h,w], second [h,w]) -> float`: sum of minima over sum of maxima, 0 when both are empty."""
    first = np.array([[0.9, 0.5, 0.0], [0.2, 0.1, 0.0]])
    second = np.array([[0.3, 0.6, 0.4], [0.0, 0.1, 0.0]])
    low, high = np.minimum(first, second).sum(), np.maximum(first, second).sum()
    truth = low / high
    try:
        value = float(ask(answer, first.copy(), second.copy()))
    except (TypeError, ValueError):
        value = float("nan")
    hard = ((first > 0.5) & (second > 0.5)).sum() / max(((first > 0.5) | (second > 0.5)).sum(), 1)
    for wrong, explanation in (
        (2 * low / (first.sum() + second.sum()), "that is twice the minima over the sum of both: the Dice overlap"),
        (low / first.sum(), "you divide by the first shape alone; the overlap must not depend on the order"),
        (low / second.sum(), "you divide by the second shape alone; the overlap must not depend on the order"),
        (
            (first * second).sum() / high,
            "you multiply the frequencies; a shape would not even overlap with itself by 1",
        ),
        (hard, "you cut the frequencies at one half first; the soft overlap keeps them as they are"),
        (np.mean(np.minimum(first, second) / np.maximum(np.maximum(first, second), 1e-12)), "sum first, then divide"),
    ):
        require(not np.isclose(value, wrong, atol=1e-6), explanation)
    require(np.isclose(value, truth, atol=1e-6), f"for the test shapes the overlap is {truth:.4f}, you say {value:.4f}")
    with np.errstate(invalid="ignore", divide="ignore"):
        empty = float(ask(answer, np.zeros((2, 2)), np.zeros((2, 2))))
    require(empty == 0, f"two empty shapes do not overlap: 0 is asked for, you say {empty}")
    return "1 for the same shape, 0 for shapes that never meet"
