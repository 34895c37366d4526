"""Checkers of notebook 10: IoU against part size, the gain of pairing, a rule that flips a verdict."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.book.exercises.frame import Wrong, call, drawn_checker, is_close, numbers, refuse, require
from oshp_lite.viz.style import INK, new_figure


def _parts() -> tuple[Any, Any]:
    """Return sizes and IoUs of 60 invented parts."""
    rng = np.random.default_rng(11)
    size = np.round(np.exp(rng.normal(0, 1.4, 60)), 3)
    return size, np.clip(0.2 + 0.15 * np.log1p(size) + rng.normal(0, 0.1, 60), 0, 1)


def _draw_size_curve(attempt: Any) -> Figure:
    """Draw the parts as dots and the learner's groups as a line."""
    size, iou = _parts()
    figure, axes = new_figure(width=4.8, height=2.5)
    axes[0, 0].plot(size, iou, "o", color="0.7", markersize=4, label="parts")
    axes[0, 0].plot(*attempt(size.copy(), iou.copy(), 4), "D-", color=INK[1], label="your groups")
    axes[0, 0].set(xscale="log", xlabel="size of the part, per mille of the photo", ylabel="IoU")
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_size_curve)
def check_size_curve(attempt: Any) -> str:
    """Check `f(size [N], iou [N], bins) -> (sizes [bins], ious [bins])`: IoU in equally full groups by part size."""
    size, iou = _parts()
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


HALF, TOGETHER = 4.0, 0.9
"""Half the width of each method's interval in points, and the correlation of their scores over common redraws."""


@cache
def _redraws() -> Any:
    """Return scores of two methods in 1,000 common redraws, float [2,1000], in points around their means."""
    draws = np.random.default_rng(5).standard_normal((2, 1000))
    draws[1] = TOGETHER * draws[0] + math.sqrt(1 - TOGETHER**2) * draws[1]
    return HALF / 1.96 * draws


def _draw_pairing(attempt: Any) -> Figure:
    """Draw the differences over common and over separate redraws, with the learner's half widths."""
    first, second = _redraws()
    figure, axes = new_figure(1, 2, width=3.2, height=2.3, sharex=True)
    panels = (("redrawn separately", first - second[::-1]), ("redrawn together", first - second))
    for place, (title, values), half in zip(axes[0], panels, numbers(attempt(), "", 2), strict=True):
        place.hist(values, 30, color="0.75", edgecolor="0.4")
        for end in (-half, half):
            place.axvline(end, color=INK[1], ls="--", marker="")
        place.set(title=title, xlabel="difference, points (dashed: yours)", yticks=[])
    return figure


@drawn_checker(_draw_pairing)
def check_pairing(attempt: Any) -> str:
    """Check `f() -> (separate, paired)`: half widths of a difference when pairs are redrawn separately and together."""
    separate, paired = numbers(call(attempt), "half the width: redrawn separately, redrawn together", 2)
    apart, together = math.sqrt(2) * HALF, math.sqrt(2 - 2 * TOGETHER) * HALF
    refuse(
        separate,
        (2 * HALF, "variances add, not widths: the root of 4² + 4²"),
        (HALF, "both scores vary, so their difference varies more than either"),
        (0.0, "redrawn separately, nothing cancels"),
        tolerance=0.02,
    )
    require(abs(separate - apart) < 0.3, f"separately it is √2 · 4 = {apart:.1f} points, you expected {separate:g}")
    refuse(
        paired,
        (separate, "together the two scores rise and fall in common, and the common part cancels"),
        ((1 - TOGETHER) * HALF, "the variance of the difference is (2 − 2ρ) · σ²; take its root"),
        (0.0, "a correlation of 0.9 is not 1: a part of the spread stays"),
        tolerance=0.02,
    )
    require(abs(paired - together) < 0.3, f"together it is √(2 − 2·0.9) · 4 = {together:.1f} points, not {paired:g}")
    return "the same 2,000 parses decide three times as sharply when both methods are scored on the same redraws"


DIFFERENCES = ((3.1, 0.9), (1.7, 0.66), (0.9, 0.61))
"""Three invented differences of a claim: mean and standard error in points."""


def _ends(level: float) -> list[tuple[float, float]]:
    """Return the intervals of the three differences at a level in per cent."""
    reach = NormalDist().inv_cdf(0.5 + level / 200)
    return [(mean - reach * error, mean + reach * error) for mean, error in DIFFERENCES]


def _draw_level(attempt: Any) -> Figure:
    """Draw the three intervals at 95 % and at the learner's level."""
    figure, axes = new_figure(width=4.8, height=2.3)
    level = float(attempt()[0])
    for shift, one, colour in ((-0.14, 95.0, "0.3"), (0.14, level, INK[1])):
        for place, (low, high) in enumerate(_ends(one)):
            line = {"color": colour, "lw": 2, "ls": "-", "marker": "|", "label": None if place else f"{one:g} %"}
            axes[0, 0].plot([low, high], [place + shift] * 2, **line)
    axes[0, 0].axvline(0, color="0.1", ls="--", marker="")
    axes[0, 0].set(xlabel="difference, points", yticks=[], ylim=(2.6, -0.6))
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_level)
def check_level(attempt: Any) -> str:
    """Check `f() -> (level, false)`: a level in % that flips the verdict, and the empty differences in 100 that hold.

    An empty difference is one whose true value is zero; it counts as false when its whole interval lies above zero.
    """
    level, false = numbers(call(attempt), "the level in per cent, and how many of 100 empty differences would hold", 2)
    require(50 < level < 100, "a level lies between 50 and 100 per cent")
    require(level < 95, "a wider interval decides less; to flip the verdict the level has to fall")
    low = _ends(level)[2][0]
    require(low > 0, f"at {level:g} % the third interval still reaches down to {low:+.2f}; the verdict is the same")
    right = (100 - level) / 2
    refuse(
        false,
        (100 - level, "half of the misses lie below zero; only those above count as 'it holds'"),
        (level, "that is how many intervals contain the truth"),
        (2.5, "that is the share at 95 %; what is it at your level?"),
        tolerance=0.01,
    )
    require(abs(false - right) < 0.6, f"{right:g} of 100 intervals lie above a true zero at this level, not {false:g}")
    return f"the claim is reproduced at {level:g} %, and so are {right:g} of 100 claims about nothing. Rule first"
