"""Checkers of notebook 07, train and evaluate: the interval, the width of one, a total that misleads, a budget."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from statistics import NormalDist
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.book.exercises.frame import call, drawn_checker, number, numbers, refuse, require, same_ends
from oshp_lite.viz.style import INK, new_figure


def _matrices() -> np.ndarray:
    """Return confusion matrices int64 [6,5,5]; class 3 never occurs, class 4 in one pair only."""
    matrices = np.random.default_rng(7).integers(0, 9, (6, 5, 5))
    for rows, absent in ((slice(None), 3), (slice(1, None), 4)):
        matrices[rows, absent, :] = 0
        matrices[rows, :, absent] = 0
    matrices[:, 0, 0] += np.array([90, 20, 300, 40, 150, 60])
    matrices[:, 1, 1] += np.array([2, 30, 0, 4, 0, 55])
    matrices[:, 2, 2] += np.array([20, 0, 8, 1, 25, 0])
    return matrices


def _iou(matrix: np.ndarray) -> np.ndarray:
    """Return float [C]; nan where a class occurs neither in the rows nor in the columns."""
    hits = np.diagonal(matrix).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(hits / (matrix.sum(0) + matrix.sum(1) - hits))


def _example() -> tuple[np.ndarray, list[int], np.ndarray, np.ndarray]:
    """Return matrices [6,5,5], ids, the query photo of each pair [6] and 400 redraws of the four photos [400,4]."""
    draws = np.random.default_rng(11).integers(0, 4, (400, 4))
    return _matrices(), [1, 2], np.array([0, 0, 1, 2, 2, 3]), draws


def _redrawn() -> np.ndarray:
    """Return the mean IoU of every redraw of the example, float [400]."""
    matrices, ids, queries, draws = _example()
    rows = [np.concatenate([np.flatnonzero(queries == query) for query in row]) for row in draws]
    return np.array([np.nanmean(_iou(matrices[row].sum(0))[ids]) for row in rows])


def _draw_interval(attempt: Any) -> Figure:
    """Draw the scores of all redraws, their middle 95 % and the learner's two ends."""
    values, (low, high) = _redrawn(), numbers(attempt(*_example()), "", 2)
    figure, axes = new_figure(width=5.6, height=2.4)
    axes[0, 0].hist(100 * values, 40, color="0.75", edgecolor="0.4")
    axes[0, 0].axvspan(*(100 * np.percentile(values, [2.5, 97.5])), color=INK[4], alpha=0.25, label="middle 95 %")
    for place, end in enumerate((low, high)):
        look = {"color": INK[1], "ls": "--", "marker": "", "label": None if place else "your ends"}
        axes[0, 0].axvline(100 * end, **look)
    axes[0, 0].set(xlabel="mean IoU of a redraw, %", ylabel="redraws")
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_interval)
def check_interval(attempt: Any) -> str:
    """Check `f(matrices [N,C,C], ids, queries int64 [N], draws int64 [R,Q]) -> (low, high)`, the 95 % interval."""
    matrices, ids, queries, draws = _example()

    def pooled(rows: np.ndarray) -> float:
        return float(np.nanmean(_iou(matrices[rows].sum(0))[ids]))

    own = [np.flatnonzero(queries == query) for query in range(4)]
    redrawn = [np.concatenate([own[query] for query in row]) for row in draws]
    values = _redrawn()
    once = np.array([pooled(np.unique(rows)) for rows in redrawn])
    places = np.array([pooled(row) for row in draws])
    first = np.array([pooled(np.array([own[query][0] for query in row])) for row in draws])
    single = np.array([_iou(matrix)[ids].mean() for matrix in matrices])
    averaged = np.array([single[rows].mean() for rows in redrawn])
    half = np.array([-1.96, 1.96]) * values.std()
    normal = "mean ± 1.96 deviations assumes a normal law; return the percentiles of the redrawn scores"
    middle = (2.5, 97.5)
    low, high = numbers(call(attempt, matrices, ids, queries, draws), "the lower and the upper end")
    truth = np.percentile(values, middle)
    require(low <= high, "the lower end comes first")
    refuse(
        (low, high),
        ((values.min(), values.max()), "this is the whole range of the redraws. Keep the middle 95 %"),
        (np.percentile(values, [5, 95]), "the 5th and 95th percentile leave 90 % between them"),
        (values.mean() + half, normal),
        (values.mean() + half * math.sqrt(len(values) / (len(values) - 1)), normal),
        (np.percentile(averaged, middle), "you averaged the IoUs of pairs; matrices are added first, then scored"),
        (np.percentile(once, middle), "a query that is drawn twice counts twice"),
        (np.percentile(places, middle), "a row of draws holds query photos, not places in the list of pairs"),
        (np.percentile(first, middle), "a query photo that is drawn brings all its pairs, not only the first"),
        tolerance=1e-4,
    )
    vanishing = "with more redraws this interval would vanish; do not divide by their root"
    refuse((low, high), (values.mean() + half / math.sqrt(len(values)), vanishing), tolerance=2e-3)
    same_ends((low, high), truth, 1e-4)
    return "query photos are drawn with all their pairs, each redraw is scored whole, the middle 95 % remain"


PHOTOS, PER_PHOTO, TIMES = 80, 4, 4
"""The test list of the exercise on widths: photos, pairs of each, and how often the list is enlarged."""


@cache
def _widths() -> tuple[float, float, float]:
    """Simulate by what factor an interval's width changes: copied pairs drawn, copied photos drawn, new photos drawn.

    Pairs of one photo have nearly the same score, as in a real test list.
    """
    every = [NormalDist(50, 12).inv_cdf((photo + 0.5) / PHOTOS) for photo in range(PHOTOS)]
    spread = np.random.default_rng(3).normal(0, 4, (TIMES * PHOTOS, PER_PHOTO))
    scores = np.tile(every, TIMES)[:, None] + spread

    def width(groups: np.ndarray) -> float:
        rng = np.random.default_rng(4)
        drawn = groups[rng.integers(0, len(groups), (3000, len(groups)))].mean((1, 2))
        low, high = np.percentile(drawn, [2.5, 97.5])
        return float(high - low)

    few = scores[:PHOTOS]
    pairs, photos = width(few.reshape(-1, 1)), width(few)
    copied = np.repeat(few.reshape(-1, 1), TIMES, 0), np.tile(few, (1, TIMES))
    return width(copied[0]) / pairs, width(copied[1]) / photos, width(scores) / photos


def _draw_widths(attempt: Any) -> Figure:
    """Draw the simulated factors as bars and the learner's as diamonds."""
    figure, axes = new_figure(width=5.6, height=2.4)
    names = (
        "every pair listed\n4 times, pairs drawn",
        "the same list,\nphotos drawn",
        "4 times the photos,\nphotos drawn",
    )
    axes[0, 0].barh(range(3), _widths(), 0.55, color="0.75", edgecolor="0.4", label="simulated")
    look = {"color": INK[1], "markerfacecolor": "white", "markersize": 9}
    axes[0, 0].plot(numbers(attempt(), "", 3), range(3), "D", **look, label="you expected")
    axes[0, 0].set_yticks(range(3), names)
    axes[0, 0].set(xlabel="width of the interval, as a multiple of the first one's", ylim=(2.6, -0.6), xlim=(0, None))
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@drawn_checker(_draw_widths)
def check_widths(attempt: Any) -> str:
    """Check `f() -> (pairs, photos, more)`: expected factors by which an interval's width changes."""
    pairs, photos, more = numbers(call(attempt), "pairs drawn, photos drawn, more photos", 3)
    require(min(pairs, photos, more) > 0, "a width is multiplied, so the factors are positive")
    nothing_new = "a copied list holds nothing new, but drawing pairs takes every copy for new evidence"
    require(pairs < 0.9, f"{nothing_new}: the interval shrinks")
    require(abs(pairs - 0.5) < 0.1, f"four times the entries make it half as wide (the root of 4), not {pairs:g} times")
    stays = "a photo brings all its pairs, copies too, so the draws are the same as before: the width stays"
    require(abs(photos - 1) < 0.1, f"{stays}; you expected {photos:g} times")
    require(abs(more - 0.25) >= 0.05, "the width falls with the root of the number of photos: 4 times, half the width")
    require(abs(more - 0.5) < 0.1, f"new photos are new evidence: half the width, you expected {more:g} times")
    return "only new photos make a test list more certain; copies and further supports of one photo hardly do"


BETA = tuple(1 - epoch / 5 for epoch in range(5))


def _total(agm: tuple[float, ...], npm: tuple[float, ...]) -> list[float]:
    return [beta * one + (1 - beta) * other for beta, one, other in zip(BETA, agm, npm, strict=True)]


def _losses(given: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the learner's two courses, or explain what is wrong with their form."""
    require(isinstance(given, tuple) and len(given) == 2, "return two lists: AGM's losses and NPM's")
    for name, course in zip(("AGM", "NPM"), given, strict=True):
        require(isinstance(course, list | tuple) and len(course) == 5, f"{name} needs five losses, one for each epoch")
    agm, npm = (tuple(number(value, "a loss") for value in course) for course in given)
    return agm, npm


def _draw_total(attempt: Any) -> Figure:
    """Draw the learner's two losses and the total that the shifting weights make of them."""
    agm, npm = _losses(attempt())
    figure, axes = new_figure(width=5.0, height=2.5)
    for name, values in (("AGM", agm), ("NPM", npm), ("total", _total(agm, npm))):
        axes[0, 0].plot(range(5), values, marker="o", label=name)
    axes[0, 0].set(xlabel="epoch", ylabel="loss", ylim=(0, None), xticks=range(5))
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_total)
def check_total(attempt: Any) -> str:
    """Check `f() -> (agm, npm)`: losses over five epochs of which neither ever falls, while the total always does."""
    agm, npm = _losses(call(attempt))
    require(min(*agm, *npm) > 0, "these losses are cross entropies: positive")
    for name, values in (("AGM", agm), ("NPM", npm)):
        falls = f"{name}'s loss falls somewhere, so something is learnt; neither may fall"
        require(all(later >= earlier for earlier, later in pairwise(values)), falls)
    total = _total(agm, npm)
    rises = [epoch for epoch in range(1, 5) if total[epoch] >= total[epoch - 1]]
    flat = "the two losses are alike, so it does not matter where the weight lies"
    require(not (rises and agm[0] == npm[0]), f"the total does not fall: {flat}")
    order = "weight moves from AGM to NPM: which of the two must be larger?"
    require(not (rises and agm[0] < npm[0]), f"the total rises: {order}")
    require(not rises, f"the total does not fall in epoch {(rises or [0])[0]}; keep the two losses further apart")
    return "the weight moves to the smaller term, and the total falls although nothing is learnt"


MINUTES, TRAIN, TEST, SEED_SPREAD, PHOTO_SPREAD = 60, 10, 1, 2.0, 25.0
"""The budget; minutes of a training, and of testing one network on 100 photos; invented spreads in points."""


def _spread(trainings: float, photos: float) -> float:
    """Return the standard error, in points, of a mean over trainings that share their test photos."""
    return math.sqrt(SEED_SPREAD**2 / trainings + PHOTO_SPREAD**2 / photos)


def _affordable(trainings: int) -> float:
    """Return how many test photos the budget leaves when so many networks are trained."""
    return 100 * (MINUTES - TRAIN * trainings) / (TEST * trainings)


def _draw_budget(attempt: Any) -> Figure:
    """Draw the standard error over the number of trainings, the rest of the hour spent on photos, and the learner's."""
    figure, axes = new_figure(width=5.0, height=2.5)
    counts = range(1, 6)
    spent = [_spread(count, _affordable(count)) for count in counts]
    axes[0, 0].plot(counts, spent, marker="o", label="the whole hour spent")
    trainings, photos = numbers(attempt(), "", 2)
    axes[0, 0].plot(trainings, _spread(trainings, photos), "D", color=INK[1], markersize=9, label="your plan")
    axes[0, 0].set(xlabel="trainings", ylabel="standard error, points", ylim=(0, None), xticks=list(counts))
    axes[0, 0].legend()
    return figure


@drawn_checker(_draw_budget)
def check_budget(attempt: Any) -> str:
    """Check `f() -> (trainings, photos)`: how to spend an hour so that a mean score is as certain as possible."""
    plan = numbers(call(attempt), "how many trainings, and how many test photos", 2)
    trainings, photos = (int(number(value)) for value in plan)
    require(trainings >= 1 and photos >= 1, "at least one training and one photo")
    cost = trainings * (TRAIN + TEST * photos / 100)
    require(cost <= MINUTES, f"this plan takes {cost:.0f} minutes; every trained network must parse all test photos")
    best = min(_spread(count, _affordable(count)) for count in range(1, 6))
    mine = _spread(trainings, photos)
    one = "a single training says nothing about the luck of its seed, however many photos it parses"
    require(trainings > 1, f"standard error {mine:.2f} points, {best:.2f} are possible: {one}")
    where = "photos are too few" if PHOTO_SPREAD**2 / photos > SEED_SPREAD**2 / trainings else "trainings are too few"
    require(mine <= 1.05 * best, f"standard error {mine:.2f} points, {best:.2f} are possible; here the {where}")
    return f"standard error {mine:.2f} points. Now defend it: what if a new seed changed the score by 4 points, not 2?"
