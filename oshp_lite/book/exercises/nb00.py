"""Checkers of notebook 00, the tour: intersection over union, a mask of one's own classes, labels for training."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require

__all__ = ["Verdict", "check_iou", "check_own_mask", "check_training_labels"]

Array = NDArray[Any]


def _mask(result: Any, shape: tuple[int, ...]) -> Array:
    """Return a learner's mask as an integer array, or explain what is wrong with it."""
    require(
        isinstance(result, np.ndarray) or hasattr(result, "shape"),
        f"return a mask, an int array like the one you got, not {type(result).__name__}",
    )
    array = np.asarray(result)
    require(array.shape == shape, f"the mask must keep its shape {list(shape)}; yours is {list(array.shape)}")
    require(np.issubdtype(array.dtype, np.number), f"a mask holds ids, not {array.dtype}")
    return array


@checker
def check_iou(answer: Any) -> str:
    """Check `f(prediction int [H,W], truth int [H,W], class_id) -> float`, where truth 255 does not count."""
    truth = np.zeros((8, 10), np.int64)
    truth[1:5, 2:8] = 3
    truth[5, :] = 255
    truth[6:, :4] = 2
    prediction = np.zeros_like(truth)
    prediction[2:7, 4:9] = 3
    prediction[7, :2] = 2
    known = truth != 255
    asked, answered = (truth == 3) & known, (prediction == 3) & known
    hits, union = int((asked & answered).sum()), int((asked | answered).sum())
    result = ask(answer, prediction.copy(), truth.copy(), 3)
    require(
        np.ndim(result) == 0 and not isinstance(result, str), f"one number is asked for, not {type(result).__name__}"
    )
    value = float(result)
    require(
        not close(value, (prediction == truth)[known].mean()),
        "this is pixel accuracy over all classes; background makes it look good whatever happens to the class",
    )
    require(not close(value, hits), "this is the number of hits; divide it by the size of the union")
    require(
        not close(value, hits / int(asked.sum())),
        "hits over the truth's area is recall: painting everything with the class would reach 1",
    )
    require(
        not close(value, hits / int(answered.sum())),
        "hits over the answer's area is precision: a single right pixel would reach 1",
    )
    require(not close(value, 2 * hits / int(asked.sum() + answered.sum())), "this is the Dice score, not IoU")
    careless = int(((truth == 3) | (prediction == 3)).sum())
    require(
        not close(value, hits / careless),
        "you counted answers where the truth is 255; nobody knows these pixels, so leave them out first",
    )
    require(close(value, hits / union), f"the intersection has {hits} pixels, the union {union}; you say {value:.4f}")
    other = float(ask(answer, prediction.copy(), truth.copy(), 2))
    require(close(other, 2 / 8), "for class 2 the answer is wrong; use the class_id you are given")
    return "intersection over union, unknown pixels left out"


@checker
def check_own_mask(answer: Any) -> str:
    """Check `f(mask int [H,W], wanted: list of ids) -> int [H,W]` with 1, 2, ... for the wanted ids, in their order."""
    mask = np.array([[0, 4, 4, 9], [2, 2, 255, 9], [1, 1, 4, 0]])
    wanted = [2, 1, 9]
    truth = np.array([[0, 0, 0, 3], [1, 1, 255, 3], [2, 2, 0, 0]])
    given = mask.copy()
    result = _mask(ask(answer, given, list(wanted)), mask.shape)
    require(np.array_equal(given, mask), "you changed the given mask; work on a fresh array")
    require(
        not np.array_equal(result[np.isin(mask, wanted)], mask[np.isin(mask, wanted)]),
        "the wanted classes are there but have still the old ids; number them 1, 2, ... in the order of `wanted`",
    )
    require(
        not np.array_equal(result > 0, truth > 0) or len(np.unique(result[np.isin(mask, wanted)])) > 1,
        "the wanted classes all have the value 1; give each its own number",
    )
    require(
        bool(result[1, 2] == 255),
        "255 says that nobody knows the pixel; it must stay 255, or it becomes an example of background",
    )
    require(
        not np.array_equal(result[mask == 2], [0, 0]) or result[0, 3] != 2,
        "one counts from 1 here: 0 is background, so the first wanted class must get 1",
    )
    require(
        bool((result[mask == 4] == 0).all()), "class 4 is not wanted; it must become 0, as everything that is not asked"
    )
    require(
        not (result[mask == 2] == result[mask == 1]).all(),
        "classes 2 and 1 got mixed up: after 2 was renamed to 1, the second step took it for the old class 1. "
        "Read from the given mask, write into a fresh one",
    )
    require(np.array_equal(result, truth), "the mask differs from 1, 2, 3 for the wanted classes in their order")
    single = _mask(ask(answer, mask.copy(), [9]), mask.shape)
    require(
        np.array_equal(single, np.where(mask == 9, 1, np.where(mask == 255, 255, 0))),
        "with a single wanted class the mask must hold 1 for it, 255 where unknown, and 0 elsewhere",
    )
    return "your own classes, numbered from 1; nothing said where nothing is known"


@checker
def check_training_labels(answer: Any) -> str:
    """Check `f(mask int [H,W], novel: list of ids) -> int [H,W]`: novel classes become background in training."""
    mask = np.array([[0, 5, 5, 1], [6, 255, 2, 1], [6, 7, 2, 0]])
    novel = [5, 6, 7]
    given = mask.copy()
    result = _mask(ask(answer, given, list(novel)), mask.shape)
    require(np.array_equal(given, mask), "you changed the given mask; work on a fresh array")
    require(not np.array_equal(result, mask), "nothing is hidden: these labels give the secret away")
    require(
        not bool((result[np.isin(mask, novel)] == 255).all()),
        "with 255 novel pixels would be ignored; the papers' training calls them background",
    )
    require(
        not bool((result[np.isin(mask, (1, 2))] == 0).all()),
        "wrong way round: the base classes are gone and the novel ones stayed",
    )
    require(bool(result[1, 1] == 255), "255 says that nobody knows the pixel, and must stay")
    require(bool((result[np.isin(mask, novel)] == 0).all()), "a novel class is still in the labels")
    require(np.array_equal(result, np.where(np.isin(mask, novel), 0, mask)), "the base classes must keep their ids")
    return "what a one-shot parser may see while it is trained"
