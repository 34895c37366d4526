"""Checkers of notebook 09: averages that two folds allow, the human score, scores of 1-way answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.common import Wrong, ask, checker, close, require


def number(value: Any, what: str) -> float:
    """Return the learner's value as a float, or explain what it is instead. NumPy numbers and 0-d tensors pass."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Wrong(f"{what} must be a number, not {type(value).__name__}") from None


@checker
def check_averages(answer: Any) -> str:
    """Check `f(one, two) -> list`: every average, with one decimal, that two folds with one decimal can have."""
    cases = {
        (20.0, 30.0): [25.0],
        (20.1, 30.0): [25.0, 25.1],
        (8.4, 9.4): [8.9],
        (29.3, 29.2): [29.2, 29.3],
        (57.4, 57.5): [57.4, 57.5],
    }
    said = {case: averages_of(ask(answer, *case)) for case in cases}
    decimals = [value for values in said.values() for value in values if not close(value, round(value, 1))]
    require(not decimals, f"averages are printed with one decimal, and {decimals[:1]} has more")
    require(all(values == sorted(values) for values in said.values()), "put the averages in rising order")
    require(
        8.8 not in said[8.4, 9.4] and 9.0 not in said[8.4, 9.4],
        "you let 8.8 or 9.0 stand beside 8.4 and 9.4. Exactly 0.1 from the mean is too far: both folds and the average "
        "would have to be rounded by a full 0.05 at once, all in the same direction",
    )
    require(
        any(len(values) > 1 for values in said.values()),
        "you take the mean of the printed folds and round it. 20.1 and 30.0 are rounded themselves: what they were "
        "before averages to anything between 25.0 and 25.1, and is printed as either",
    )
    for (one, two), wanted in cases.items():
        have = said[one, two]
        require(
            len(have) == len(wanted) and close(have, wanted),
            f"folds {one} and {two} allow {' and '.join(map(str, wanted))}, you say {' and '.join(map(str, have))}",
        )
    return "one average where the folds' sum in tenths is even, two where it is odd: less than 0.1 from their mean"


def averages_of(value: Any) -> list[float]:
    """Return the learner's list of averages as floats, or explain what it is instead."""
    require(not isinstance(value, str) and hasattr(value, "__len__"), "return a list, also where only one average fits")
    require(len(value) > 0, "your list is empty; the rounded mean of the folds always fits")
    return [round(found, 6) for found in (number(one, "each average") for one in value)]


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
