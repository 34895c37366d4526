"""What decides a claim: a few kinds of quantities that the claim says are above zero, each measured with an interval.

A quantity is measured on the results at hand as an `Outcome`, or there is a `NotRun` with the reason. Wherever test
pairs vary, the interval is the clustered bootstrap of `study.statistics`; counts (parameters, MACs) have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from oshp_lite.engine.statistics import REPEATS, bounds
from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.experiments import label as row_label
from oshp_lite.study.printed.numbers import printed_tables
from oshp_lite.study.records import Array, Measured, NotRun, Results, RunKey, foreground_of, iou_of_counts
from oshp_lite.study.statistics import Estimate, Term, contrast, pair_draws

LATE_SCORES = 3
"""Scores in the second half of a training that a slope and its error need."""
CLOCK_BLUR = 0.05
"""Relative uncertainty of frames per second, which a clock measured; what is counted has none."""
COSTS = {"params_m": "M parameters", "macs_g": "G MACs", "fps": "frames per second"}
_FULL_AAAI = "three-stage"  # POPNet as its own paper has it: no change of it, though a row of that name
_PRINTED_IN = {
    ("aaai", "atr"): ("popnet1", "popnet2", "popnet3"),
    ("journal", "atr"): ("eopnet2", "eopnet5", "eopnet6", "eopnet7"),
    ("journal", "lip"): ("eopnet3",),
    ("journal", "cihp"): ("eopnet4",),
}
"""(protocol, family) -> the printed tables that hold its scores."""


@dataclass(frozen=True)
class Outcome:
    """One quantity as measured: value and 95 % interval in `unit`, and what stands behind it.

    levels  the sides that were compared, in figures
    basis   what it rests on where that is no training: "a count", "timed once"; `seeds` is 0 then
    """

    mean: float
    low: float
    high: float
    unit: str
    seeds: int
    pairs: int
    folds: tuple[int, ...]
    levels: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: `weight` times a score of all seeds and folds of one kind of run."""

    method: str
    ablation: str = ""
    way: Literal["k", "1"] = "k"
    measure: str = "human"
    weight: float = 1.0
    screened: bool = False
    protocol: str = "journal"
    condition: str = ""

    @property
    def name(self) -> str:
        """What the run is called in a sentence."""
        own = METHODS[self.method].label
        named = own
        if self.ablation and self.ablation != _FULL_AAAI:
            named = row_label(self.method, self.ablation)
            if named[0].islower():
                named = f"{own}, {named}" if "(" in named else f"{own} ({named})"
        return named + (" (screened)" if self.screened else "")

    def key(self, dataset: str, fold: int = 1, seed: int = 0) -> RunKey:
        """Return the key of one of its runs."""
        return RunKey(self.method, dataset, fold, self.way, seed, self.ablation, self.protocol, self.condition)

    def runs(self, results: Results, dataset: str) -> list[Measured] | NotRun:
        """Return the results of both folds and all seeds, or why there are none."""
        runs = [run for fold in (1, 2) for run in results.seeds(self.key(dataset, fold))]
        if runs:
            return runs
        missing = results.get(self.key(dataset))
        reason = missing.reason if isinstance(missing, NotRun) else "not run yet"
        way = "" if self.way == "k" else ", 1-way"
        return NotRun(f"{self.name}{way}: {reason.removeprefix('not run: ')}")

    def printed(self, family: str, fold: str) -> float | None:
        """Return what the papers print for this side, on fold "1" or "mean" (both folds), or None."""
        measure = {"accuracy": "acc", "bi_miou": "bi"}.get(self.measure, self.measure)
        tables = () if self.screened else _PRINTED_IN.get((self.protocol, family), ())
        cells = (
            printed_tables()[name].get(self.method, f"{self.way}.{measure}.{fold}", self.ablation) for name in tables
        )
        return next((cell.value for cell in cells if cell is not None), None)


@dataclass(frozen=True)
class Quantity:
    """Something that a claim says is above zero.

    kind   a name in `KINDS`: how it is measured
    sides  the runs, in the order of the kind; their weights carry the signs
    bound  points that a difference must exceed or stay within, or the ratio that a cost must pass
    cost   which cost (a key of `COSTS`), of the kind "cost" only
    """

    label: str
    kind: str
    sides: tuple[Side, ...]
    bound: float = 0.0
    cost: str = ""

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Return the quantity on a dataset, or why there is none."""
        return KINDS[self.kind](self, results, dataset)

    def printed(self, family: str) -> float | None:
        """Return the papers' own value in the same unit, or None where they print none."""
        if self.kind == "cost":
            column = f"cost.{self.cost.split('_')[0]}"
            cells = [printed_tables()["eopnet8"].get(side.method, column) for side in self.sides]
            one, two = (None if cell is None else cell.value for cell in cells)
            return None if one is None or two is None else round(self._ratio(one, two), 3)
        if self.kind not in ("difference", "within"):
            return None
        for fold in ("mean", "1"):  # both folds where all sides have them, else fold 1
            values = [side.printed(family, fold) for side in self.sides]
            if all(value is not None for value in values):
                total = sum(side.weight * (value or 0) for side, value in zip(self.sides, values, strict=True))
                return round(self._beyond(total), 2)
        return None

    def _beyond(self, points: Any) -> Any:
        """Return how far points exceed `bound`, or the room that their size leaves to it."""
        return points - self.bound if self.kind == "difference" else self.bound - abs(points)

    def _ratio(self, one: float, two: float) -> float:
        """Return how far the ratio of two costs passes `bound`, in the direction of the first side's sign."""
        return self.sides[0].weight * (one / two - self.bound)


# ------------------------------------------------------------------------------------------------------- scores


def _estimate(sides: Sequence[Side], results: Results, dataset: str) -> tuple[Estimate, str] | NotRun:
    """Return the weighted sum of the sides' scores with the scores in words, or why it cannot be had."""
    terms: list[Term] = []
    missing: list[str] = []
    for side in sides:
        runs = side.runs(results, dataset)
        if isinstance(runs, NotRun):
            missing.append(runs.reason)
        else:
            terms.append(Term(side.weight, runs, side.measure, side.screened))
    if missing:
        return NotRun("; ".join(dict.fromkeys(missing)))
    try:
        total = contrast(terms)
    except UserError as error:
        return NotRun(str(error))
    if np.isnan(total.mean):
        return NotRun("the score is undefined on these pairs (a class occurs in none of them)")
    return total, _levels(sides, terms, total)


def _levels(sides: Sequence[Side], terms: Sequence[Term], total: Estimate) -> str:
    """Write the scores of all sides over the folds and seeds compared: "seed 0: EOP-Net 31.1, POPNet 29.0"."""
    compared = dict(zip(total.folds, total.common, strict=True))
    written = []
    for side, term in zip(sides, terms, strict=True):
        scores: dict[int, list[float]] = {fold: [] for fold in compared}
        for run in sorted(term.runs, key=lambda run: run.key.seed):
            if run.key.seed in compared.get(run.key.fold, ()):
                scores[run.key.fold].append(run.score(term.measure, screened=term.screened))
        measure = f" {side.measure}" if len({one.measure for one in sides}) > 1 else ""
        way = f" {side.way}-way" if len({one.way for one in sides}) > 1 else ""
        mean = float(np.mean([np.mean(values) for values in scores.values()]))
        written.append(f"{side.name}{way}{measure} {100 * mean:.1f}")
    named = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" for seeds in total.common]
    apart = "; ".join(f"fold {fold} {words}" for fold, words in zip(total.folds, named, strict=True))
    return f"{named[0] if len(set(named)) == 1 else apart}: {', '.join(written)}"


def _difference(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Measure a weighted sum of scores against `bound`, in points, by the paired bootstrap."""
    total = _estimate(quantity.sides, results, dataset)
    if isinstance(total, NotRun):
        return total
    best, levels = total
    low, high = bounds(quantity._beyond(100 * best.draws))
    return Outcome(quantity._beyond(100 * best.mean), low, high, "points", best.seeds, best.pairs, best.folds, levels)


def _cost(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Compare the costs that were measured apart, else those of the runs; folds and seeds do not matter here."""
    name, costs, missing = quantity.cost, [], []
    for side in quantity.sides:
        known = [results.costs[side.method][name]] if name in results.costs.get(side.method, {}) else []
        runs = [] if known else side.runs(results, dataset)
        known = known or [run.cost[name] for run in ([] if isinstance(runs, NotRun) else runs) if name in run.cost]
        costs.append(float(np.mean(known)) if known else np.nan)
        missing += [] if known else [f"{side.name}: {COSTS[name]} not measured"]
    if missing:
        return NotRun("; ".join(missing))
    one, two = costs
    blur = CLOCK_BLUR if name == "fps" else 0.0
    corners = [quantity._ratio(one * (1 + a), two * (1 + b)) for a in (-blur, blur) for b in (-blur, blur)]
    first, second = quantity.sides
    levels = f"{first.name} {one:.3g}, {second.name} {two:.3g} {COSTS[name]}"
    basis = "timed once" if name == "fps" else "a count"
    return Outcome(quantity._ratio(one, two), min(corners), max(corners), "relative", 0, 0, (), levels, basis)


# ------------------------------------------------------------------------------------------------------- curves


def _trend(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Compare how fast a score rises in the second half of training: least-squares slopes, averaged over seeds.

    In points over that half. The interval is that of fitted lines (Student's t): it tells how unsteady the curves are,
    not how much another seed would change them.
    """
    from scipy.stats import t

    both = _common_runs(quantity.sides, results, dataset)
    if isinstance(both, NotRun):
        return both
    slopes, words, seeds = [], [], []
    variance, freedom = 0.0, 0
    for side, runs in zip(quantity.sides, both, strict=True):
        late = [late_curve(run, side.measure) for run in runs]
        curves = [curve for curve in late if len(curve) >= LATE_SCORES]
        if not curves:
            most = max(map(len, late))
            counted = f"{most or 'no'} score{'' if most == 1 else 's'}"
            return NotRun(
                f"{side.name}: {counted} in the second half of training, a slope needs at least {LATE_SCORES}"
            )
        lines = [_line(curve) for curve in curves]
        slopes.append(float(np.mean([slope for slope, _ in lines])))
        variance += sum(error for _, error in lines) / len(lines) ** 2
        freedom += sum(len(curve) - 2 for curve in curves)
        words.append(f"{side.name} {slopes[-1]:+.1f}")
        seeds.append(len(curves))
    mean, reach = slopes[0] - slopes[1], float(t.ppf(0.975, freedom) * np.sqrt(variance))
    return Outcome(mean, mean - reach, mean + reach, "points", min(seeds), 0, (), ", ".join(words))


def _common_runs(sides: Sequence[Side], results: Results, dataset: str) -> list[list[Measured]] | NotRun:
    """Return each side's runs of the folds and seeds that all have, or why there are none."""
    tables = []
    for side in sides:
        runs = side.runs(results, dataset)
        if isinstance(runs, NotRun):
            return runs
        tables.append({(run.key.fold, run.key.seed): run for run in runs})
    common = sorted(set.intersection(*map(set, tables)))
    if not common:
        return NotRun(f"{' and '.join(side.name for side in sides)} have no fold and seed in common")
    return [[table[place] for place in common] for table in tables]


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


def _line(curve: Array) -> tuple[float, float]:
    """Return the rise over half a training in points, and its variance, of the least-squares line through [E,2]."""
    x, y = curve[:, 0] - curve[:, 0].mean(), 50.0 * (curve[:, 1] - curve[:, 1].mean())
    slope = float(x @ y / (x @ x))
    rest = y - slope * x
    return slope, float(rest @ rest / (len(x) - 2) / (x @ x))


# ------------------------------------------------------------------------------------- supports, sizes, confusions


def _stability(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Compare how much a query's novel IoU varies over its supports with how much it varies over queries.

    Standard deviation over queries (of each query's mean) minus that over the supports of one query, averaged over
    classes; with a second side, that side's deviation over supports minus the first one's.
    """
    both = _common_runs(quantity.sides, results, dataset)
    if isinstance(both, NotRun):
        return both
    drawn, words, seeds = [], [], []
    for side, every in zip(quantity.sides, both, strict=True):
        runs = [run for run in every if run.queries is not None]
        if not runs:
            return NotRun(f"{side.name}: which pairs share a query photo was not recorded")
        deviations = [spreads(run) for run in runs]
        within, between = (np.nanmean([one[place] for one in deviations], 0) for place in (0, 1))
        drawn.append((within, between))
        own = sorted({run.key.seed for run in runs})
        named = ", ".join(map(str, own))
        words.append(f"{side.name}, seed {named}: {within[0]:.1f} over supports, {between[0]:.1f} over queries")
        seeds.append(len(own))
    first, last = drawn[0], drawn[-1]
    values = first[1] - first[0] if len(drawn) == 1 else last[0] - first[0]
    if not np.isfinite(values[0]):
        return NotRun(f"{quantity.sides[0].name}: no novel class has two supports for one query")
    folds, pairs = tuple(sorted({run.key.fold for run in runs})), sum(len(run.counts) for run in runs)
    return Outcome(float(values[0]), *bounds(values[1:]), "points", min(seeds), pairs, folds, "; ".join(words))


def spreads(run: Measured) -> tuple[Array, Array]:
    """Return the deviation of novel IoU (points) over supports and over queries, float64 [1+R]: as is, then redrawn.

    Only (query, class) with two supports or more take part; nan where there are none. Raises ValueError when the run
    does not know its query photos.
    """
    if run.queries is None:
        raise ValueError(f"{run.key.slug} does not know which pairs share a query photo")
    rng = np.random.default_rng([0, 31])
    within, between = [], []
    for class_id in run.novel:
        groups = list(_per_query(run, class_id))
        if len(groups) < 2:
            continue
        variances, means = np.array([one.var(ddof=1) for one in groups]), np.array([one.mean() for one in groups])
        picks = np.concatenate([np.arange(len(means))[None], rng.integers(0, len(means), (REPEATS, len(means)))])
        within.append(np.sqrt(variances[picks].mean(1)))
        between.append(means[picks].std(1, ddof=1))
    if not within:
        return np.full(1 + REPEATS, np.nan), np.full(1 + REPEATS, np.nan)
    return 100 * np.mean(within, 0), 100 * np.mean(between, 0)


def _per_query(run: Measured, class_id: int) -> Iterator[Array]:
    """Yield a class's IoU over the supports of each query that has two of them or more."""
    assert run.queries is not None
    kway = run.key.way == "k"
    counts = run.counts[:, run.classes.index(class_id) if kway else 1]
    present = (counts[:, 0] + counts[:, 2] > 0) & (kway | (run.class_ids == class_id))
    iou = iou_of_counts(counts)
    for query in np.unique(run.queries[present]):
        values = iou[present & (run.queries == query)]
        if len(values) > 1:
            yield values


def _size(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Measure the rank correlation, -1..1, of a part's true area and its IoU over all pairs and classes."""
    return _redrawn(quantity.sides[0], results, dataset, _rank_draws, "correlation", "rank correlation {0:.2f}")


def _confusions(quantity: Quantity, results: Results, dataset: str) -> Outcome | NotRun:
    """Measure where novel pixels go that are taken for another class: share to novel minus share to base, in points."""
    side = quantity.sides[0]
    runs = side.runs(results, dataset)
    if isinstance(runs, list) and all(run.misassigned is None for run in runs):
        return NotRun(f"{side.name}: no confusions between classes were recorded")
    words = "{1:.0f} % of them to novel classes, {2:.0f} % to base ones"
    outcome = _redrawn(side, results, dataset, _novel_share, "points", words)
    if isinstance(outcome, Outcome) and np.isnan(outcome.mean):
        return NotRun(f"{side.name}: no novel pixel was taken for another class")
    return outcome


def _redrawn(
    side: Side, results: Results, dataset: str, draws: Callable[[Measured], Array | None], unit: str, words: str
) -> Outcome | NotRun:
    """Average a quantity over all runs of a side; `draws` returns it as is and redrawn, float64 [1+R]."""
    runs = side.runs(results, dataset)
    if isinstance(runs, NotRun):
        return runs
    made = [(run, values) for run in runs if (values := draws(run)) is not None]
    kept = [values for _, values in made if not np.isnan(values[0])]
    drawn = np.nanmean(kept, 0) if kept else np.full(2, np.nan)
    mean, seeds = float(drawn[0]), len({run.key.seed for run, _ in made})
    folds, pairs = tuple(sorted({run.key.fold for run, _ in made})), sum(len(run.counts) for run, _ in made)
    levels = f"{side.name}: {words.format(mean, 50 + mean / 2, 50 - mean / 2)}"
    return Outcome(mean, *bounds(drawn[1:]), unit, seeds, pairs, folds, levels)


def sizes_and_ious(run: Measured) -> tuple[Array, Array, Array]:
    """Return (pair, true area in pixels, IoU) of every pair and kept foreground class that its truth holds, flat."""
    columns = [run.classes.index(c) for c in foreground_of(run)] if run.key.way == "k" else [1]
    counts = run.counts[:, columns]
    area = counts[..., 0] + counts[..., 2]
    pair = np.broadcast_to(np.arange(len(area))[:, None], area.shape)
    there = area > 0
    return pair[there], area[there], iou_of_counts(counts)[there]


def _rank_draws(run: Measured, repeats: int = 300) -> Array:
    from scipy.stats import rankdata

    pair, area, iou = sizes_and_ious(run)
    x, y = rankdata(area) / max(1, len(area)), rankdata(iou) / max(1, len(iou))
    weights = np.concatenate([np.ones((1, len(run.counts))), pair_draws(run, repeats)])[:, pair]
    total = weights.sum(1)
    mx, my = (weights @ x) / total, (weights @ y) / total
    cov = (weights @ (x * y)) / total - mx * my
    return np.asarray(cov / np.sqrt(((weights @ x**2) / total - mx**2) * ((weights @ y**2) / total - my**2)))


def _novel_share(run: Measured) -> Array | None:
    if run.misassigned is None:
        return None
    weights = np.concatenate([np.ones((1, len(run.counts))), pair_draws(run, block=run.key.fold)])
    novel, base = (weights @ run.misassigned.astype(np.float64)).T
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * (novel - base) / (novel + base))


KINDS: dict[str, Callable[[Quantity, Results, str], Outcome | NotRun]] = {
    "difference": _difference,
    "within": _difference,
    "cost": _cost,
    "trend": _trend,
    "stability": _stability,
    "size": _size,
    "confusions": _confusions,
}
