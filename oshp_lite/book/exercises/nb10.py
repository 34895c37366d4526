"""Checkers of notebook 10: the paired bootstrap, the rule of the verdicts, IoU against part size."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import Wrong, call, checker, is_close, numbers, refuse, require, same_ends


@checker
def check_difference(attempt: Any) -> str:
    """Check `f(first [N,C,3], second [N,C,3], weights [R,N]) -> (low, high)`: 95 % interval of a paired difference.

    The difference is that of the mean IoU over the C classes; weights say how often each pair counts in each draw.
    """
    rng = np.random.default_rng(10)
    hard = rng.integers(5, 400, (40, 1, 1))  # pairs differ far more than methods do
    first = (rng.integers(20, 60, (40, 3, 3)) * hard).astype(float)
    second = first * np.array([0.93, 1.04, 1.05]) * rng.uniform(0.9, 1.1, first.shape)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=400)
    low, high = numbers(call(attempt, first, second, weights), "the lower and the upper end")

    def miou(totals: Any) -> Any:
        return (totals[..., 0] / totals.sum(-1)).mean(-1)

    def drawn(counts: Any, times: Any = weights) -> Any:
        return miou((times @ counts.reshape(len(counts), -1)).reshape(len(times), 3, 3))

    def ends(draws: Any, levels: Any = (0.025, 0.975)) -> Any:
        return np.quantile(draws, levels)

    one, two = drawn(first), drawn(second)
    single = miou(first) - miou(second)
    truth = ends(one - two)
    refuse(
        (low, high),
        (ends(one) - ends(two), "you subtract the ends of two intervals; take the difference in every draw first"),
        (ends(one) - ends(two)[::-1], "you compare two separate intervals; take the difference within every draw"),
        (ends(one - drawn(second, weights[::-1])), "both methods must be scored on the same redrawn pairs"),
        (ends(two - one), "the sign is turned: it is first minus second"),
        (ends(weights @ single / weights.sum(1)), "you average over single pairs; sum the counts of a draw first"),
        (ends(one - two, (0.05, 0.95)), "this is a 90 % interval: 95 % leave 2.5 % out at either end"),
    )
    same_ends((low, high), truth)
    return "hard pairs are hard for both methods, so most of the spread cancels within a draw"


@checker
def check_verdict(attempt: Any) -> str:
    """Check `f(intervals) -> word`: the verdict on a claim, given its quantities' intervals (None: not measured)."""
    holds, fails, open_, missing = (0.4, 3.0), (-3.0, -0.4), (-1.0, 2.0), None
    one_fails = "one quantity that fails is enough"
    incomplete = "with a quantity missing and none failing the claim has not been run"
    cases: list[tuple[list[Any], str, str]] = [
        ([holds], "reproduced", "an interval above zero holds"),
        ([fails], "not reproduced", "an interval below zero lies on the other side of the claim"),
        ([open_], "undecided", "an interval that contains zero leaves the claim open, wherever its middle is"),
        ([missing], "not run", "what was not measured cannot be decided"),
        ([holds, holds], "reproduced", "all quantities hold"),
        ([holds, open_], "undecided", "a claim is reproduced only when ALL of its quantities hold"),
        ([holds, fails], "not reproduced", one_fails),
        ([open_, fails], "not reproduced", one_fails),
        ([missing, fails], "not reproduced", "a quantity that fails decides, whatever the missing one would say"),
        ([holds, missing], "not run", incomplete),
        ([open_, missing], "not run", incomplete),
    ]
    words = ("reproduced", "not reproduced", "undecided", "not run")
    for given, wanted, why in cases:
        said = call(attempt, given)
        require(said in words, f"the verdict is one of {', '.join(words)}; yours is {said!r}")
        require(said == wanted, f"{given}: {why}, so the verdict is {wanted!r}, not {said!r}")
    return "one rule for every claim, and nobody's wish in it"


@checker
def check_size_curve(attempt: Any) -> str:
    """Check `f(size [N], iou [N], bins) -> (sizes [bins], ious [bins])`: IoU in equally full groups by part size."""
    rng = np.random.default_rng(11)
    size = np.round(np.exp(rng.normal(0, 1.4, 60)), 3)
    iou = np.clip(0.2 + 0.15 * np.log1p(size) + rng.normal(0, 0.1, 60), 0, 1)
    value = call(attempt, size, iou, 4)
    try:
        sizes, ious = (np.asarray(part, dtype=float) for part in value)
    except (TypeError, ValueError):
        raise Wrong("return two lists of numbers, the groups' sizes and their IoUs") from None
    require(sizes.shape == ious.shape == (4,), f"return 4 groups; yours have shapes {sizes.shape}, {ious.shape}")
    groups = np.array_split(np.argsort(size), 4)
    medians, means = [np.median(size[g]) for g in groups], [iou[g].mean() for g in groups]
    wide = np.clip(np.digitize(size, np.linspace(size.min(), size.max(), 5)) - 1, 0, 3)
    refuse(
        ious,
        ([iou[wide == g].mean() for g in range(4)], "your groups are equally wide; make them equally full"),
        ([part.mean() for part in np.array_split(np.sort(iou), 4)], "you sorted sizes and IoUs apart, not together"),
        ([part.mean() for part in np.array_split(iou, 4)], "the parts are not sorted by size before they are grouped"),
    )
    refuse(sizes, ([size[g].mean() for g in groups], "a group's size is its median; the mean lies far from most"))
    for name, mine, right in (("mean IoUs", ious, means), ("median sizes", sizes, medians)):
        require(is_close(mine, right), f"the groups' {name} are {np.round(right, 3)}, yours {np.round(mine, 3)}")
    return "equally many parts in each group, so each point of the curve is equally sure"
