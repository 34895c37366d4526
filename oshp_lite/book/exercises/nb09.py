"""Checkers of notebook 09: averages that two folds allow, what a human score hides, two means that disagree, ties."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.book.exercises.frame import (
    Wrong,
    call,
    drawn_checker,
    is_close,
    number,
    numbers,
    refuse,
    require,
)
from oshp_lite.viz.style import INK, new_figure


def _draw_averages(attempt: Any) -> Figure:
    """Draw which means two rounded folds can have, and the averages that the learner allows."""
    figure, axes = new_figure(width=5.2, height=1.8)
    for row, (one, two) in enumerate(((20.0, 30.0), (20.1, 30.0))):
        middle = (one + two) / 2
        axes[0, 0].plot([middle - 0.1, middle + 0.1], [row, row], color="0.7", lw=6, ls="-", solid_capstyle="butt")
        mine = attempt(one, two)
        axes[0, 0].plot(mine, [row] * len(mine), "D", color=INK[1], markersize=8)
    axes[0, 0].set_yticks((0, 1), ["folds 20.0 and 30.0", "folds 20.1 and 30.0"])
    axes[0, 0].set(xlabel="averages (bar: less than 0.1 from the mean of the folds)", ylim=(1.6, -0.6))
    return figure


@drawn_checker(_draw_averages)
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


BASE, NOVEL, N_NOVEL, N_CLASSES = 72.8, 24.1, 3, 12
"""POPNet's base and novel mIoU in its own paper (k-way, fold 1), and how many classes each mean runs over."""


def _human(novel: float, base: float = BASE) -> float:
    """Return the human mIoU, the mean over all classes."""
    return (N_NOVEL * novel + (N_CLASSES - N_NOVEL) * base) / N_CLASSES


def _draw_hidden(attempt: Any) -> Figure:
    """Draw the human mIoU over the novel mIoU for a fixed base mIoU, and what the learner expected."""
    figure, axes = new_figure(width=4.6, height=2.5)
    novel = np.array([0.0, 100.0])
    axes[0, 0].plot(novel, [_human(value) for value in novel], marker="", label="human mIoU, base fixed at 72.8")
    without, points = numbers(attempt(), "", 2)
    look = {"color": INK[1], "markersize": 8, "label": "you expected"}
    axes[0, 0].plot([0, NOVEL], [without, without + points], "D", **look)
    axes[0, 0].set(xlabel="novel mIoU", ylabel="human mIoU", xlim=(-3, 100), ylim=(0, 100))
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_hidden)
def check_hidden(attempt: Any) -> str:
    """Check `f() -> (without, points)`: the human mIoU at novel 0, and what POPNet's novel mIoU adds to it."""
    without, points = numbers(call(attempt), "the human mIoU without novel classes, and the points gained", 2)
    refuse(
        without,
        (BASE, "that is the base mIoU; three of the twelve classes are novel and score 0"),
        (BASE / 2, "this is the plain mean of novel and base; there are nine base classes, the background among them"),
        (0.0, "the human mIoU runs over all classes, and nine of them are still parsed"),
        (8 * BASE / 11, "the background is one of the twelve classes, and a base class"),
        tolerance=0.003,
    )
    right = _human(0.0)
    require(abs(without - right) < 0.5, f"nine of twelve classes keep 72.8: {right:.1f}, you expected {without:g}")
    gain = _human(NOVEL) - right
    refuse(
        points,
        (NOVEL, "the novel classes are a quarter of all; their score counts with that weight"),
        (NOVEL / 2, "novel is not half of the human score; count the classes"),
        (_human(NOVEL), "return the points gained, not the new score"),
        tolerance=0.003,
    )
    require(abs(points - gain) < 0.5, f"3 of 12 classes gain 24.1 points each: {gain:.1f} points, not {points:g}")
    return "a method that misses every novel class loses six points of human mIoU: read the novel column first"


def _two_means(counts: Any) -> tuple[float, float]:
    """Return the IoU of all pairs together and the mean of the pairs' IoUs, of (TP, FP, FN) int [N,3]."""
    total = counts.sum(0)
    return float(total[0] / total.sum()), float(np.mean(counts[:, 0] / counts.sum(1)))


def _counts(given: Any) -> tuple[Any, Any]:
    """Return the learner's two tables of counts, or explain what is wrong with their form."""
    require(isinstance(given, tuple) and len(given) == 2, "return two tables of counts, one for each method")
    try:
        first, second = (np.asarray(part, dtype=float) for part in given)
    except (TypeError, ValueError):
        raise Wrong("a table holds numbers: a row (TP, FP, FN) for each pair") from None
    require(first.shape == second.shape == (2, 3), "each table has two rows, one a pair, of three counts (TP, FP, FN)")
    require(min(first.min(), second.min()) >= 0 and first.sum(1).all() and second.sum(1).all(), "counts of pixels")
    same = np.allclose(first[:, 0] + first[:, 2], second[:, 0] + second[:, 2])
    require(same, "both methods parse the same two photos: TP + FN, the true size of the part, must agree")
    return first, second


def _draw_means(attempt: Any) -> Figure:
    """Draw both means of both methods."""
    figure, axes = new_figure(width=4.6, height=2.4)
    for shift, name, counts in zip((-0.18, 0.18), ("first", "second"), _counts(attempt()), strict=True):
        look = {"color": INK[2] if shift < 0 else INK[3], "edgecolor": "0.25"}
        axes[0, 0].bar(np.arange(2) + shift, _two_means(counts), 0.34, label=f"{name} method", **look)
    axes[0, 0].set_xticks((0, 1), ["pixels of both\npairs together", "mean of the\npairs' IoUs"])
    axes[0, 0].set(ylabel="IoU", ylim=(0, 1))
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_means)
def check_means(attempt: Any) -> str:
    """Check `f() -> (first, second)`: counts (TP, FP, FN) of two pairs each, whose two means rank the methods apart."""
    (pooled, averaged), (rival_pooled, rival_averaged) = (_two_means(counts) for counts in _counts(call(attempt)))
    require(pooled != rival_pooled or averaged != rival_averaged, "the two methods are the same")
    ahead = pooled - rival_pooled
    require(ahead > 0, "the first method must be ahead when all pixels are counted together")
    require(averaged < rival_averaged, "the first method is ahead both ways; let the second win on the smaller part")
    gaps = f"the leads are {ahead:.2f} and {rival_averaged - averaged:.2f}; make both 0.1 at least"
    require(min(ahead, rival_averaged - averaged) >= 0.1, gaps)
    return "counted together, large parts decide; averaged over pairs, every part weighs the same. The papers count"


SCORES = {"A": (31.4, 1.5), "B": (29.9, 1.6), "C": (29.6, 2.0), "D": (25.4, 1.7), "E": (20.7, 2.0)}
"""Invented scores in per cent with the half width of their intervals."""
PAIRED = 2.0
"""Half the width of an interval of the difference of two of them."""


def _ranks(margin: float) -> list[int]:
    """Rank the methods; one that lies less than `margin` behind the best of its group shares the group's rank."""
    ranks: list[int] = []
    leader = 0.0
    for place, (score, _) in enumerate(SCORES.values(), start=1):
        if not ranks or leader - score >= margin:
            ranks.append(place)
            leader = score
        else:
            ranks.append(ranks[-1])
    return ranks


def _draw_ties(attempt: Any) -> Figure:
    """Draw the scores with their intervals and the ranks that the learner's margin gives."""
    figure, axes = new_figure(width=5.0, height=2.5)
    ranks = _ranks(float(attempt()))
    for place, ((name, (score, half)), rank) in enumerate(zip(SCORES.items(), ranks, strict=True)):
        axes[0, 0].errorbar(score, place, xerr=half, fmt="o", color="0.2", capsize=3)
        axes[0, 0].text(34.5, place, f"{name}: rank {rank}", va="center")
    axes[0, 0].set(xlabel="novel mIoU, % (95 %)", yticks=[], ylim=(4.6, -0.6), xlim=(17, 40))
    return figure


@drawn_checker(_draw_ties)
def check_ties(attempt: Any) -> str:
    """Check `f() -> margin`: how many points apart two methods must be to have different ranks."""
    margin = number(call(attempt), "the margin")
    require(margin > 0, "a margin is positive; with 0 the second decimal would decide a rank")
    ranks = _ranks(margin)
    require(margin >= PAIRED, "differences below 2 points lie inside their intervals: such a rank is decided by luck")
    merged = "D lies 6 points behind A, three times its interval, and still shares a rank; lower the margin"
    require(ranks[3] > ranks[0], merged)
    return f"ranks {ranks}. Now defend it: who may choose a margin, and before or after the scores are known?"
