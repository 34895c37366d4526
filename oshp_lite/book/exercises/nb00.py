"""Checkers of notebook 00, the tour: intersection over union, a mask of one's own classes, labels for training."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import IN_PLACE, call, checker, is_close, mask_of, number, refuse, require


@checker
def check_iou(attempt: Any) -> str:
    """Check `f(prediction int [H,W], truth int [H,W], class_id) -> float`, where truth 255 does not count."""
    truth = np.zeros((8, 10), np.int64)
    truth[1:5, 2:8] = 3
    truth[5, :] = 255
    truth[6:, :4] = 2
    prediction = np.zeros_like(truth)
    prediction[2:7, 4:9] = 3
    prediction[7, :2] = 2
    known = truth != 255
    wanted, predicted = (truth == 3) & known, (prediction == 3) & known
    hits, union = int((wanted & predicted).sum()), int((wanted | predicted).sum())
    value = number(call(attempt, prediction.copy(), truth.copy(), 3))
    refuse(
        value,
        ((prediction == truth)[known].mean(), "this is pixel accuracy; background alone makes it look good"),
        (hits, "this is the number of hits; divide it by the size of the union"),
        (hits / wanted.sum(), "hits over the truth's area is recall: painting everything with the class would reach 1"),
        (hits / predicted.sum(), "hits over the prediction's area is precision: a single right pixel would reach 1"),
        (2 * hits / (wanted.sum() + predicted.sum()), "this is the Dice score, not IoU"),
        (hits / ((truth == 3) | (prediction == 3)).sum(), "leave out pixels where the truth is 255 first"),
    )
    require(is_close(value, hits / union), f"the intersection has {hits} pixels, the union {union}; not {value:.4f}")
    other = number(call(attempt, prediction.copy(), truth.copy(), 2))
    require(is_close(other, 2 / 8), "for class 2 the score is wrong; use the class_id you are given")
    return "intersection over union, unknown pixels left out"


@checker
def check_own_mask(attempt: Any) -> str:
    """Check `f(mask int [H,W], wanted: list of ids) -> int [H,W]` with 1, 2, ... for the wanted ids, in their order."""
    mask = np.array([[0, 4, 4, 9], [2, 2, 255, 9], [1, 1, 4, 0]])
    wanted = [2, 1, 9]
    truth = np.array([[0, 0, 0, 3], [1, 1, 255, 3], [2, 2, 0, 0]])
    given = mask.copy()
    result = mask_of(call(attempt, given, list(wanted)), mask.shape)
    require(np.array_equal(given, mask), IN_PLACE)
    chosen = np.isin(mask, wanted)
    require(
        not np.array_equal(result[chosen], mask[chosen]),
        "the wanted classes have still the old ids; number them 1, 2, ... in the order of `wanted`",
    )
    require(
        not np.array_equal(result > 0, truth > 0) or len(np.unique(result[chosen])) > 1,
        "the wanted classes all have the value 1; give each its own number",
    )
    require(result[1, 2] == 255, "255 marks a pixel without a label; it must stay, or it becomes background")
    require((result[mask == 2] != 0).any() or result[0, 3] != 2, "one counts from 1 here; 0 is background")
    require((result[mask == 4] == 0).all(), "class 4 is not wanted; it must become 0, as everything else")
    require(
        not (result[mask == 2] == result[mask == 1]).all(),
        "classes 2 and 1 got mixed up: after 2 was renamed to 1, the second step took it for the old class 1. "
        "Read from the given mask, write into a fresh one",
    )
    require(np.array_equal(result, truth), "the mask differs from 1, 2, 3 for the wanted classes in their order")
    single = mask_of(call(attempt, mask.copy(), [9]), mask.shape)
    require(
        np.array_equal(single, np.where(mask == 9, 1, np.where(mask == 255, 255, 0))),
        "with a single wanted class the mask must hold 1 for it, 255 where unknown, and 0 elsewhere",
    )
    return "your own classes, numbered from 1; nothing said where nothing is known"


@checker
def check_training_labels(attempt: Any) -> str:
    """Check `f(mask int [H,W], novel: list of ids) -> int [H,W]`: novel classes become background in training."""
    mask = np.array([[0, 5, 5, 1], [6, 255, 2, 1], [6, 7, 2, 0]])
    novel = [5, 6, 7]
    given = mask.copy()
    result = mask_of(call(attempt, given, list(novel)), mask.shape)
    require(np.array_equal(given, mask), IN_PLACE)
    hidden = np.isin(mask, novel)
    refuse(result, (mask, "nothing is hidden: these labels give the secret away"))
    require(
        not (result[hidden] == 255).all(), "with 255 novel pixels would be ignored; the papers call them background"
    )
    require(not (result[np.isin(mask, (1, 2))] == 0).all(), "wrong way round: base classes are gone, novel ones stayed")
    require(result[1, 1] == 255, "255 marks a pixel without a label, and must stay")
    require((result[hidden] == 0).all(), "a novel class is still in the labels")
    require(np.array_equal(result, np.where(hidden, 0, mask)), "the base classes must keep their ids")
    return "what a one-shot parser may see while it is trained"
