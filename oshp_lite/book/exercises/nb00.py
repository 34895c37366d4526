"""Checkers of notebook 00, the tour: intersection over union, a mask of one's own classes, labels for training."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import call, checker, is_close, mask_of, number, refuse, require


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
    value = number(call(attempt, prediction, truth, 3))
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
    other = number(call(attempt, prediction, truth, 2))
    require(is_close(other, 2 / 8), "for class 2 the score is wrong; use the class_id you are given")
    return "intersection over union, unknown pixels left out"


@checker
def check_own_mask(attempt: Any) -> str:
    """Check `f(mask int [H,W], wanted: list of ids) -> int [H,W]` with 1, 2, ... for the wanted ids, in their order."""
    mask = np.array([[0, 4, 4, 9], [2, 2, 255, 9], [1, 1, 4, 0]])
    wanted = [2, 1, 9]
    truth = np.array([[0, 0, 0, 3], [1, 1, 255, 3], [2, 2, 0, 0]])
    result = mask_of(call(attempt, mask, wanted), mask.shape)
    chosen = np.isin(mask, wanted)
    refuse(result[chosen], (mask[chosen], "these are still the old ids; number them 1, 2, ... as in `wanted`"))
    alike = np.array_equal(result > 0, truth > 0) and len(np.unique(result[chosen])) == 1
    require(not alike, "the wanted classes all have the value 1; give each its own number")
    require(result[1, 2] == 255, "255 marks a pixel without a label; it must stay, or it becomes background")
    require((result[mask == 2] != 0).any() or result[0, 3] != 2, "one counts from 1 here; 0 is background")
    require((result[mask == 4] == 0).all(), "class 4 is not wanted; it must become 0, as everything else")
    mixed = "classes 2 and 1 got mixed up: the 1 that had been 2 was taken for the old class 1. Write into a fresh mask"
    require(not (result[mask == 2] == result[mask == 1]).all(), mixed)
    require(np.array_equal(result, truth), "the mask differs from 1, 2, 3 for the wanted classes in their order")
    single = mask_of(call(attempt, mask, [9]), mask.shape)
    nine = np.where(mask == 9, 1, np.where(mask == 255, 255, 0))
    require(np.array_equal(single, nine), "a single wanted class has 1, unknown pixels 255, all others 0")
    return "your own classes, numbered from 1; nothing said where nothing is known"


@checker
def check_training_labels(attempt: Any) -> str:
    """Check `f(mask int [H,W], novel: list of ids) -> int [H,W]`: novel classes become background in training."""
    mask = np.array([[0, 5, 5, 1], [6, 255, 2, 1], [6, 7, 2, 0]])
    novel = [5, 6, 7]
    result = mask_of(call(attempt, mask, novel), mask.shape)
    hidden = np.isin(mask, novel)
    refuse(result, (mask, "nothing is hidden: these labels give the secret away"))
    require((result[hidden] != 255).any(), "with 255 novel pixels are ignored; the papers call them background")
    require(not (result[np.isin(mask, (1, 2))] == 0).all(), "wrong way round: base classes are gone, novel ones stayed")
    require(result[1, 1] == 255, "255 marks a pixel without a label, and must stay")
    require((result[hidden] == 0).all(), "a novel class is still in the labels")
    require(np.array_equal(result, np.where(hidden, 0, mask)), "the base classes must keep their ids")
    return "what a one-shot parser may see while it is trained"
