"""Quantities of claims that no difference of scores decides: curves, stability, sizes, confusions.

Each is above zero where the claim holds, and says what its interval is made of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oshp_lite.study.claims.quantities import Outcome, Side
from oshp_lite.study.records import Measured, NotRun, Results
from oshp_lite.study.records.intervals import pair_draws
from oshp_lite.study.records.records import Array, foreground_of, iou_of_counts

REPEATS = 1000
LATE_SCORES = 3
"""Scores in the second half of a training that a slope and its error need."""


@dataclass(frozen=True)
class LateTrend:
    """During the second half of training a score rises faster in `first` than in `second`.

    The quantity is the difference of the two least-squares slopes, in points over that half of the training, averaged
    over seeds; its interval is that of fitted lines (Student's t), so it tells how unsteady the curves are, not how
    much another seed would change them.
    """

    label: str
    first: Side
    second: Side
    measure_name: str = "novel"

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Fit both lines on the evaluations that the runs' histories hold."""
        curves = []
        both = _of_both(self.first, self.second, results, dataset)
        if isinstance(both, NotRun):
            return both
        for side, runs in zip((self.first, self.second), both, strict=True):
            late = [late_curve(run, self.measure_name) for run in runs]
            found = [curve for curve in late if len(curve) >= LATE_SCORES]
            if not found:
                return NotRun(f"{side.name}: {_too_few(max(map(len, late)))}")
            curves.append(found)
        n_seeds = min(len(found) for found in curves)
        slopes, words = [], []
        variance, freedom = 0.0, 0
        for side, found in zip((self.first, self.second), curves, strict=True):
            lines = [_line(curve) for curve in found]
            slopes.append(float(np.mean([slope for slope, _ in lines])))
            variance += sum(error for _, error in lines) / len(lines) ** 2
            freedom += sum(len(curve) - 2 for curve in found)
            words.append(f"{side.name} {slopes[-1]:+.1f}")
        mean, reach = slopes[0] - slopes[1], _student(freedom) * float(np.sqrt(variance))
        return Outcome(mean, mean - reach, mean + reach, "points", n_seeds, 0, (), ", ".join(words))

    def printed(self, family: str) -> float | None:
        """Return None: the paper shows the curves only as a figure."""
        return None


def _of_both(one: Side, other: Side, results: Results, dataset: str) -> list[list[Measured]] | NotRun:
    """Return both sides' runs of the folds and seeds that both have, or why there are none."""
    found = [side.runs(results, dataset) for side in (one, other)]
    for runs in found:
        if isinstance(runs, NotRun):
            return runs
    sides = [{(run.key.fold, run.key.seed): run for run in runs} for runs in found if not isinstance(runs, NotRun)]
    common = sorted(set(sides[0]) & set(sides[1]))
    if not common:
        return NotRun(f"{one.name} and {other.name} have no fold and seed in common")
    return [[side[place] for place in common] for side in sides]


def curve_of(run: Measured, measure: str) -> tuple[Array, Array, str]:
    """Return (share of training, score in 0..1, column) of the evaluations in a run's history.

    The accuracy that the journal's Fig. 8 shows is preferred, the mIoU serves where only that was taken.
    """
    for column in (f"{measure}_accuracy", f"{measure}_miou"):
        rows = [row for row in run.history if row.get(column) is not None]
        if rows:
            last = max(float(row["epoch"]) for row in run.history)
            shares = np.array([float(row["epoch"]) / last for row in rows])
            return shares, np.array([float(row[column]) for row in rows]), column
    return np.zeros(0), np.zeros(0), ""


def late_curve(run: Measured, measure: str) -> Array:
    """Return [E,2] (share of training, score) of the evaluations in the second half of training."""
    shares, scores, _ = curve_of(run, measure)
    return np.stack([shares, scores], 1)[shares >= 0.5]


def _too_few(scores: int) -> str:
    if not scores:
        return "no scores were taken in the second half of training"
    counted = f"{scores} score{'s' if scores > 1 else ''}"
    return f"{counted} in the second half of training, a slope needs at least {LATE_SCORES}"


def _line(curve: Array) -> tuple[float, float]:
    """Return the rise over half a training in points, and its variance, of the least-squares line through [E,2]."""
    x, y = curve[:, 0] - curve[:, 0].mean(), 50.0 * (curve[:, 1] - curve[:, 1].mean())
    slope = float(x @ y / (x @ x))
    left = y - slope * x
    return slope, float(left @ left / (len(x) - 2) / (x @ x))


def _student(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t: tabled up to 3, then by the expansion round the normal one."""
    if freedom <= 3:
        return {1: 12.706, 2: 4.303, 3: 3.182}[freedom]
    z = 1.959964
    first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


@dataclass(frozen=True)
class Stability:
    """A query's IoU varies less over its supports than over queries of the same class.

    The quantity is the standard deviation of the novel classes' IoU over queries (of each query's mean) minus that over
    the supports of one query, both averaged over classes; only (query, class) with two supports or more take part. Its
    interval comes from drawing the queries anew. With `against`, the quantity is instead how much larger the deviation
    over supports is there.
    """

    label: str
    side: Side
    against: Side | None = None

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Measure on the runs that recorded which query photo each pair has."""
        found: list[tuple[Array, Array]] = []
        words: list[str] = []
        folds: tuple[int, ...] = ()
        seeds, pairs = 99, 0
        if self.against is None:
            own = self.side.runs(results, dataset)
            sides = own if isinstance(own, NotRun) else [own]
        else:
            sides = _of_both(self.side, self.against, results, dataset)
        if isinstance(sides, NotRun):
            return sides
        for side, runs in zip([self.side] if self.against is None else [self.side, self.against], sides, strict=True):
            told = [run for run in runs if run.queries is not None]
            if not told:
                return NotRun(f"{side.name}: which pairs share a query photo was not recorded")
            drawn = [spreads(run) for run in told]
            within, between = (np.nanmean([one[place] for one in drawn], 0) for place in (0, 1))
            found.append((within, between))
            trained = ", ".join(str(seed) for seed in sorted({run.key.seed for run in told}))
            words.append(f"{side.name}, seed {trained}: {within[0]:.1f} over supports, {between[0]:.1f} over queries")
            folds = tuple(sorted({run.key.fold for run in told}))
            seeds, pairs = min(seeds, len({run.key.seed for run in told})), sum(len(run.counts) for run in told)
        quantity = found[0][1] - found[0][0] if self.against is None else found[1][0] - found[0][0]
        if not np.isfinite(quantity[0]):
            return NotRun(f"{self.side.name}: no novel class has two supports for one query")
        low, high = np.nanquantile(quantity[1:], [0.025, 0.975]).tolist()
        return Outcome(float(quantity[0]), low, high, "points", seeds, pairs, folds, "; ".join(words))

    def printed(self, family: str) -> float | None:
        """Return None: the paper shows examples only."""
        return None


def spreads(run: Measured, classes: Sequence[int] | None = None) -> tuple[Array, Array]:
    """Return the deviation of IoU (points) over supports and over queries, float64 [1+R]: as is, then redrawn.

    classes  kept ids to average over (default: the novel ones)
    Raises ValueError when the run does not know its query photos.
    """
    if run.queries is None:
        raise ValueError(f"{run.key.slug} does not know which pairs share a query photo")
    chosen = run.novel if classes is None else classes
    rng = np.random.default_rng([0, 31])
    within, between = [], []
    for class_id in chosen:
        variances, means = _per_query(run, class_id)
        if len(means) < 2:
            continue
        picks = np.concatenate([np.arange(len(means))[None], rng.integers(0, len(means), (REPEATS, len(means)))])
        within.append(np.sqrt(variances[picks].mean(1)))
        between.append(means[picks].std(1, ddof=1))
    if not within:
        return np.full(1 + REPEATS, np.nan), np.full(1 + REPEATS, np.nan)
    return 100 * np.mean(within, 0), 100 * np.mean(between, 0)


def _per_query(run: Measured, class_id: int) -> tuple[Array, Array]:
    """Return variance and mean of a class's IoU over the supports of each query that has two of them or more."""
    assert run.queries is not None
    if run.key.way == "k":
        column, mine = run.classes.index(class_id), np.ones(len(run.counts), bool)
    else:
        column, mine = 1, run.class_ids == class_id
    counts = run.counts[:, column]
    asked = mine & (counts[:, 0] + counts[:, 2] > 0)
    iou = iou_of_counts(counts)
    groups = [iou[asked & (run.queries == query)] for query in np.unique(run.queries[asked])]
    groups = [group for group in groups if len(group) > 1]
    return np.array([group.var(ddof=1) for group in groups]), np.array([group.mean() for group in groups])


@dataclass(frozen=True)
class SizeRank:
    """Small parts are harder: over all pairs and classes, IoU rises with the part's true area (rank correlation).

    The interval comes from drawing the query photos anew; the quantity is a correlation in -1..1.
    """

    label: str
    side: Side

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Measure on all seeds and folds, each apart, and average."""
        runs = self.side.runs(results, dataset)
        if isinstance(runs, NotRun):
            return runs
        drawn = np.mean([_rank_draws(run) for run in runs], 0)
        low, high = np.nanquantile(drawn[1:], [0.025, 0.975]).tolist()
        shown = f"{self.side.name}: rank correlation {drawn[0]:.2f}"
        seeds, folds = len({run.key.seed for run in runs}), tuple(sorted({run.key.fold for run in runs}))
        pairs = sum(len(run.counts) for run in runs)
        return Outcome(float(drawn[0]), low, high, "correlation", seeds, pairs, folds, shown)

    def printed(self, family: str) -> float | None:
        """Return None: the papers say it in words."""
        return None


def sizes_and_ious(run: Measured) -> tuple[Array, Array, Array]:
    """Return (pair, true area in pixels, IoU) of every pair and kept foreground class that its truth holds, flat."""
    columns = [run.classes.index(c) for c in foreground_of(run)] if run.key.way == "k" else [1]
    counts = run.counts[:, columns]
    area = counts[..., 0] + counts[..., 2]
    pair = np.broadcast_to(np.arange(len(area))[:, None], area.shape)
    there = area > 0
    return pair[there], area[there], iou_of_counts(counts)[there]


def _rank_draws(run: Measured, repeats: int = 300) -> Array:
    pair, area, iou = sizes_and_ious(run)
    x, y = _ranks(area), _ranks(iou)
    weights = np.concatenate([np.ones((1, len(run.counts))), pair_draws(run, repeats)])[:, pair]
    total = weights.sum(1)
    mx, my = (weights @ x) / total, (weights @ y) / total
    cov = (weights @ (x * y)) / total - mx * my
    return np.asarray(cov / np.sqrt(((weights @ x**2) / total - mx**2) * ((weights @ y**2) / total - my**2)))


def _ranks(values: Array) -> Array:
    """Return ranks in 0..1, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - (counts + 1) / 2) / max(1, len(values)))[inverse.reshape(-1)])


@dataclass(frozen=True)
class NovelConfusion:
    """Of the pixels of novel classes that are answered wrongly as another class, most go to other novel classes.

    The quantity is the share that goes to novel classes minus the share that goes to base classes (background apart),
    in points, averaged over seeds and folds. Its interval comes from drawing the query photos of each fold anew.
    """

    label: str
    side: Side

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Measure on all runs of the side that recorded where novel pixels go."""
        runs = self.side.runs(results, dataset)
        if isinstance(runs, NotRun):
            return runs
        told = [run for run in runs if run.confusions is not None]
        if not told:
            return NotRun(f"{self.side.name}: no confusions between classes were recorded")
        shares = [share for share in map(_novel_share, told) if not np.isnan(share[0])]
        if not shares:
            return NotRun(f"{self.side.name}: no novel pixel was answered as another class")
        drawn = np.nanmean(shares, 0)
        mean, (low, high) = float(drawn[0]), np.nanquantile(drawn[1:], [0.025, 0.975]).tolist()
        shown = f"{self.side.name}: {50 + mean / 2:.0f} % of them to novel classes, {50 - mean / 2:.0f} % to base ones"
        seeds, folds = len({run.key.seed for run in told}), tuple(sorted({run.key.fold for run in told}))
        return Outcome(mean, low, high, "points", seeds, sum(len(run.counts) for run in told), folds, shown)

    def printed(self, family: str) -> float | None:
        """Return None: the paper says it in words."""
        return None


def _novel_share(run: Measured) -> Array:
    """Return the quantity of `NovelConfusion` for one run, float64 [1+R]: as is, then redrawn; nan over nothing."""
    assert run.confusions is not None
    weights = np.concatenate([np.ones((1, len(run.confusions))), pair_draws(run, REPEATS, block=run.key.fold)])
    novel, base = (weights @ run.confusions.astype(np.float64)).T
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * (novel - base) / (novel + base))
