"""Checkers of notebook 09: averages that two folds allow, the human score, scores of 1-way predictions."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import call, checker, is_close, number, refuse, require


@checker
def check_averages(attempt: Any) -> str:
    """Check `f(one, two) -> list`: every average, with one decimal, that two folds with one decimal can have."""
    cases = {
        (20.0, 30.0): [25.0],
        (20.1, 30.0): [25.0, 25.1],
        (8.4, 9.4): [8.9],
        (29.3, 29.2): [29.2, 29.3],
        (57.4, 57.5): [57.4, 57.5],
    }
    given: dict[tuple[float, float], list[float]] = {}
    for case in cases:
        value = call(attempt, *case)
        is_list = not isinstance(value, str) and hasattr(value, "__len__")
        require(is_list, "return a list, also where only one average fits")
        require(len(value) > 0, "your list is empty; the rounded mean of the folds always fits")
        given[case] = [round(number(one, "each average"), 6) for one in value]
    decimals = [value for values in given.values() for value in values if not is_close(value, round(value, 1))]
    require(not decimals, f"averages are printed with one decimal, and {decimals[:1]} has more")
    require(all(values == sorted(values) for values in given.values()), "put the averages in rising order")
    far = "Exactly 0.1 from the mean, like 8.8 and 9.0, is too far: all three would have to be rounded by a full 0.05"
    require(not {8.8, 9.0} & set(given[8.4, 9.4]), far)
    single = "20.1 and 30.0 are rounded themselves: their mean may be anything between 25.0 and 25.1, printed as either"
    require(any(len(values) > 1 for values in given.values()), single)
    for (one, two), wanted in cases.items():
        have = given[one, two]
        right, mine = (" and ".join(map(str, values)) for values in (wanted, have))
        require(is_close(have, wanted), f"folds {one} and {two} allow {right}, you say {mine}")
    return "one average where the folds' sum in tenths is even, two where it is odd: less than 0.1 from their mean"


@checker
def check_human(attempt: Any) -> str:
    """Check `f(novel, base, n_novel, n_classes) -> float`: human mIoU from novel and base mIoU."""
    for given in ((20.0, 60.0, 3, 12), (50.0, 10.0, 2, 8)):
        novel, base, few, every = given
        value = number(call(attempt, *given), "the human mIoU")
        truth = (few * novel + (every - few) * base) / every
        refuse(
            value,
            ((novel + base) / 2, "this is the plain mean; there are more base classes, so the base score weighs more"),
            ((few * base + (every - few) * novel) / every, "the weights are swapped: novel stands for n_novel classes"),
            ((few * novel + (every - 1 - few) * base) / (every - 1), "the background is a base class; you left it out"),
            (truth * every, "this is the sum over classes; divide by their number"),
        )
        require(is_close(value, truth), f"for {given} the human mIoU is {truth:g}, you say {value:g}")
    return "with 3 of 12 classes novel, ten points more on the novel classes move the human score by 2.5"


@checker
def check_one_way(attempt: Any) -> str:
    """Check `f(counts [N,2,3], targets [N], classes) -> float`: mean 1-way IoU of the target classes in `classes`."""
    rng = np.random.default_rng(9)
    targets = np.array([3, 5, 3, 8, 5, 3, 8, 8, 5, 3])
    counts = rng.integers(0, 60, (len(targets), 2, 3))
    counts[targets == 5] *= 7  # a class with large parts must not weigh more
    classes = [3, 5]
    value = number(call(attempt, counts, targets, classes), "the score")

    def iou(count: Any) -> float:
        return float(count[0] / count.sum())

    def mean(row: int = 1, ids: Any = classes, score: Any = iou) -> float:
        return float(np.mean([score(counts[targets == c, row].sum(0)) for c in ids]))

    single = [np.mean([iou(pair) for pair in counts[targets == c, 1]]) for c in classes]
    refuse(
        value,
        (mean(row=0), "you read the background's row; counts[:, 1] are those of the target class"),
        (np.mean(single), "you average the IoUs of single pairs; sum the counts of all pairs of a class first"),
        (iou(counts[np.isin(targets, classes), 1].sum(0)), "you pool the classes; the score is the mean of their IoUs"),
        (mean(ids=(3, 5, 8)), "pairs whose target class lies outside `classes` are in your score"),
        (mean(score=lambda count: 2 * count[0] / (count.sum() + count[0])), "this is Dice; IoU is TP / (TP + FP + FN)"),
    )
    require(is_close(value, mean()), f"the score is {mean():.4f}, yours is {value:.4f}")
    return "a class per column of pairs, summed first, divided last; so the table's 1-way novel mIoU is made"
