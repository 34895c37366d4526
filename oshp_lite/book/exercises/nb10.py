"""Checkers of notebook 10: the paired bootstrap, the rule of the verdicts, IoU against part size."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.common import Wrong, ask, checker, close, require
from oshp_lite.book.exercises.nb09 import number


def _two(value: Any, what: str) -> tuple[float, float]:
    try:
        low, high = value
    except (TypeError, ValueError):
        raise Wrong(f"return two numbers, {what}") from None
    return number(low, "the lower end"), number(high, "the upper end")


def _miou(totals: Any) -> Any:
    return (totals[..., 0] / totals.sum(-1)).mean(-1)


@checker
def check_difference(answer: Any) -> str:
    """Check `f(first [N,C,3], second [N,C,3], weights [R,N]) -> (low, high)`: 95 % interval of a paired difference.

    The difference is that of the mean IoU over the C classes; weights say how often each pair counts in each draw.
    """
    rng = np.random.default_rng(10)
    hard = rng.integers(5, 400, (40, 1, 1))  # pairs differ far more than methods do
    first = (rng.integers(20, 60, (40, 3, 3)) * hard).astype(float)
    second = first * np.array([0.93, 1.04, 1.05]) * rng.uniform(0.9, 1.1, first.shape)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=400)
    low, high = _two(ask(answer, first.copy(), second.copy(), weights.copy()), "the lower and the upper end")

    def drawn(counts: Any, times: Any = weights) -> Any:
        return _miou((times @ counts.reshape(len(counts), -1)).reshape(len(times), 3, 3))

    def ends(draws: Any, levels: Any = (0.025, 0.975)) -> Any:
        return np.quantile(draws, levels)

    truth = ends(drawn(first) - drawn(second))
    require(
        not close(
            (low, high),
            (ends(drawn(first))[0] - ends(drawn(second))[0], ends(drawn(first))[1] - ends(drawn(second))[1]),
        ),
        "you subtract the ends of two intervals; take the difference in every draw, and then its interval",
    )
    require(
        not close(
            (low, high),
            (ends(drawn(first))[0] - ends(drawn(second))[1], ends(drawn(first))[1] - ends(drawn(second))[0]),
        ),
        "you compare two separate intervals; in a paired comparison the difference is taken within every draw",
    )
    require(
        not close((low, high), ends(drawn(first) - drawn(second, weights[::-1]))),
        "the two methods must be scored on the same redrawn pairs; yours saw different ones",
    )
    require(not close((low, high), ends(drawn(second) - drawn(first))), "the sign is turned: it is first minus second")
    single = _miou(first) - _miou(second)
    require(
        not close((low, high), ends(weights @ single / weights.sum(1))),
        "you average the scores of single pairs; sum the counts of a draw first, then divide (notebook 07)",
    )
    require(
        not close((low, high), ends(drawn(first) - drawn(second), (0.05, 0.95))),
        "this is a 90 % interval: 95 % leave 2.5 % out at either end",
    )
    require(
        close((low, high), truth),
        f"asked for [{truth[0]:.4f}, {truth[1]:.4f}], you have [{low:.4f}, {high:.4f}]",
    )
    return "hard pairs are hard for both methods, so most of the spread cancels within a draw"


@checker
def check_verdict(answer: Any) -> str:
    """Check `f(intervals) -> word`: the verdict on a claim, given its quantities' intervals (None: not measured)."""
    holds, fails, open_, missing = (0.4, 3.0), (-3.0, -0.4), (-1.0, 2.0), None
    cases: list[tuple[list[Any], str, str]] = [
        ([holds], "reproduced", "an interval above zero holds"),
        ([fails], "not reproduced", "an interval below zero lies on the other side of the claim"),
        ([open_], "undecided", "an interval that contains zero leaves the claim open, wherever its middle is"),
        ([missing], "not run", "what was not measured cannot be decided"),
        ([holds, holds], "reproduced", "all quantities hold"),
        ([holds, open_], "undecided", "a claim is reproduced only when ALL of its quantities hold"),
        ([holds, fails], "not reproduced", "one quantity that fails is enough"),
        ([open_, fails], "not reproduced", "one quantity that fails is enough"),
        ([missing, fails], "not reproduced", "a quantity that fails decides, whatever the missing one would say"),
        ([holds, missing], "not run", "with a quantity missing and none failing the claim has not been run"),
        ([open_, missing], "not run", "with a quantity missing and none failing the claim has not been run"),
    ]
    words = ("reproduced", "not reproduced", "undecided", "not run")
    for given, wanted, why in cases:
        said = ask(answer, list(given))
        require(said in words, f"the verdict is one of {', '.join(words)}; yours is {said!r}")
        require(said == wanted, f"{given}: {why}, so the verdict is {wanted!r}, not {said!r}")
    return "one rule for every claim, and nobody's wish in it"


@checker
def check_size_curve(answer: Any) -> str:
    """Check `f(size [N], iou [N], bins) -> (sizes [bins], ious [bins])`: IoU in equally full groups by part size."""
    rng = np.random.default_rng(11)
    size = np.round(np.exp(rng.normal(0, 1.4, 60)), 3)
    iou = np.clip(0.2 + 0.15 * np.log1p(size) + rng.normal(0, 0.1, 60), 0, 1)
    given = (size.copy(), iou.copy())
    value = ask(answer, *given, 4)
    require(
        np.array_equal(given[0], size) and np.array_equal(given[1], iou),
        "your function sorts the given arrays in place; work on copies, or the pairs no longer belong together",
    )
    try:
        sizes, ious = (np.asarray(part, dtype=float) for part in value)
    except (TypeError, ValueError):
        raise Wrong("return two lists of numbers, the groups' sizes and their IoUs") from None
    require(sizes.shape == ious.shape == (4,), f"4 groups are asked for; yours have shapes {sizes.shape}, {ious.shape}")
    order = np.argsort(size)
    groups = np.array_split(order, 4)
    truth = np.array([np.median(size[g]) for g in groups]), np.array([iou[g].mean() for g in groups])
    edges = np.linspace(size.min(), size.max(), 5)
    wide = np.clip(np.digitize(size, edges) - 1, 0, 3)
    equal_width = np.array([iou[wide == g].mean() if (wide == g).any() else np.nan for g in range(4)])
    require(
        not np.allclose(ious, equal_width, equal_nan=True),
        "your groups are equally wide in size; most parts are small, so the last ones hold hardly any. Make them "
        "equally full",
    )
    alone = np.array([part.mean() for part in np.array_split(np.sort(iou), 4)])
    require(
        not np.allclose(ious, alone),
        "you sorted sizes and IoUs apart; each IoU must stay with the size of its own part",
    )
    unsorted = np.array([part.mean() for part in np.array_split(iou, 4)])
    require(not np.allclose(ious, unsorted), "the parts are not sorted by size before they are grouped")
    require(
        not np.allclose(sizes, [size[g].mean() for g in groups]),
        "a group's size is its median here; the mean of such skewed sizes lies far from most of them",
    )
    require(
        np.allclose(ious, truth[1]), f"the groups' mean IoUs are {np.round(truth[1], 3)}, yours {np.round(ious, 3)}"
    )
    require(np.allclose(sizes, truth[0]), f"the median sizes are {np.round(truth[0], 3)}, yours {np.round(sizes, 3)}")
    return "equally many parts in each group, so each point of the curve is equally sure"
