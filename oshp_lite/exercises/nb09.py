"""Checkers of notebook 09: averages that fit their folds, the human score, scores of 1-way answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.exercises.common import Wrong, ask, checker, close, require


def number(value: Any, what: str) -> float:
    """Return the learner's value as a float, or explain what it is instead. NumPy numbers and 0-d tensors pass."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Wrong(f"{what} must be a number, not {type(value).__name__}") from None


@checker
def check_fits(answer: Any) -> str:
    """Check `f(one, two, printed) -> bool`: can the printed average be the mean of its two printed folds?"""
    cases = {
        (20.0, 30.0, 25.0): True,
        (20.1, 30.0, 25.1): True,  # 25.05, rounded either way
        (20.1, 30.0, 25.0): True,
        (29.3, 29.2, 29.2): True,
        (40.3, 26.7, 31.9): False,
        (9.4, 3.3, 4.2): False,
        (57.4, 57.5, 57.7): False,
    }
    said = {case: ask(answer, *case) for case in cases}
    for value in said.values():
        require(isinstance(value, bool | np.bool_), f"the answer is True or False, not {type(value).__name__}")
    right = [bool(said[case]) == wanted for case, wanted in cases.items()]
    require(
        not all(said.values()),
        "40.3 and 26.7 average to 33.5; a printed 31.9 cannot be their mean, and yet you let it pass",
    )
    require(any(said.values()), "20.0 and 30.0 average to exactly 25.0; that fits, and you call it wrong")
    require(
        said[20.1, 30.0, 25.1] and said[20.1, 30.0, 25.0],
        "you compare exactly. Folds and average are each rounded to 0.1, so each may be off by 0.05: 20.1 and 30.0 can "
        "average to a printed 25.0 as well as to 25.1",
    )
    require(
        not said[57.4, 57.5, 57.7],
        "57.4 and 57.5 average to 57.45; rounding can move that to 57.3 or 57.6 at most, not to 57.7",
    )
    if not all(right):
        one, two, printed = next(case for case, ok in zip(cases, right, strict=True) if not ok)
        raise Wrong(f"folds {one} and {two}, printed {printed}: the answer is {cases[one, two, printed]}")
    return "three roundings of 0.05 each: two halves from the folds, one from the average, together just below 0.1"


@checker
def check_human(answer: Any) -> str:
    """Check `f(novel, base, n_novel, n_classes) -> float`: human mIoU from novel and base mIoU."""
    for given in ((20.0, 60.0, 3, 12), (50.0, 10.0, 2, 8)):
        novel, base, few, every = given
        value = number(ask(answer, *given), "the human mIoU")
        truth = (few * novel + (every - few) * base) / every
        require(
            not close(value, (novel + base) / 2),
            "this is the plain mean of the two scores; there are fewer novel classes than base classes, so the base "
            "score weighs more",
        )
        require(
            not close(value, (few * base + (every - few) * novel) / every),
            "the weights are swapped: the novel score stands for n_novel classes, the base score for all others",
        )
        require(
            not close(value, (few * novel + (every - 1 - few) * base) / (every - 1)),
            "the background is one of the n_classes, and it counts among the base classes; you left it out",
        )
        require(
            not close(value, few * novel + (every - few) * base),
            "this is the sum over classes; divide by their number",
        )
        require(close(value, truth), f"for {given} the human mIoU is {truth:g}, you say {value:g}")
    return "with 3 of 12 classes novel, ten points more on the novel classes move the human score by 2.5"


@checker
def check_one_way(answer: Any) -> str:
    """Check `f(counts [N,2,3], asked [N], classes) -> float`: mean 1-way IoU of the asked classes in `classes`."""
    rng = np.random.default_rng(9)
    asked = np.array([3, 5, 3, 8, 5, 3, 8, 8, 5, 3])
    counts = rng.integers(0, 60, (len(asked), 2, 3))
    counts[asked == 5] *= 7  # a class with large parts must not weigh more
    classes = [3, 5]
    copies = (counts.copy(), asked.copy())
    value = number(ask(answer, *copies, list(classes)), "the score")
    require(np.array_equal(copies[0], counts), "your function changes the counts it was given; work on a fresh array")

    def iou(found: Any) -> float:
        return float(found[0] / found.sum())

    truth = np.mean([iou(counts[asked == c, 1].sum(0)) for c in classes])
    require(
        not close(value, np.mean([iou(counts[asked == c, 0].sum(0)) for c in classes])),
        "you read the background's row; counts[:, 1] are those of the class asked for",
    )
    require(
        not close(value, np.mean([np.mean([iou(pair) for pair in counts[asked == c, 1]]) for c in classes])),
        "you average the IoUs of single pairs; first sum the counts over all pairs of a class, then divide",
    )
    inside = np.isin(asked, classes)
    require(
        not close(value, iou(counts[inside, 1].sum(0))),
        "you pool the classes into one; each class has an IoU of its own, and the score is their mean",
    )
    require(
        not close(value, np.mean([iou(counts[asked == c, 1].sum(0)) for c in (3, 5, 8)])),
        "pairs that ask for a class outside `classes` are in your score",
    )
    require(
        not close(value, np.mean([2 * (p := counts[asked == c, 1].sum(0))[0] / (p.sum() + p[0]) for c in classes])),
        "this is the Dice score, 2 TP / (2 TP + FP + FN); IoU is TP / (TP + FP + FN)",
    )
    require(close(value, truth), f"asked for {truth:.4f}, yours is {value:.4f}")
    return "a class per column of pairs, summed first, divided last; so the table's 1-way novel mIoU is made"
