"""What decides a claim: quantities that it says are above zero, each measured on the results at hand with an interval.

Wherever test pairs vary, the interval is the clustered bootstrap of `study.statistics`; counts (parameters, MACs) have
none. A function of `KINDS` measures a kind of quantity; UserError where it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, Literal

import numpy as np

from oshp_lite.engine.statistics import REPEATS, bounds
from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.experiments import label as row_label
from oshp_lite.study.printed.numbers import printed_tables
from oshp_lite.study.records import Array, Measured, NotRun, Results, RunKey, iou_of_counts
from oshp_lite.study.statistics import Estimate, Term, common_runs, contrast, pair_draws

LATE_SCORES = 3
"""Scores in the second half of a training that a slope and its error need."""
CLOCK_BLUR = 0.05
"""Relative uncertainty of frames per second, which a clock measured; what is counted has none."""
COSTS = {"params_m": "M parameters", "macs_g": "G MACs", "fps": "frames per second"}
_FULL_AAAI = "three-stage"  # POPNet as its own paper has it: no change of it, though a row of that name
_COLUMNS = {"accuracy": "acc", "bi_miou": "bi", "params_m": "params", "macs_g": "macs"}
Costs = Mapping[str, Mapping[str, Any]]
"""By method the costs that were measured (keys of `COSTS`)."""


@dataclass(frozen=True)
class Outcome:
    """One quantity as measured: value and 95 % interval in `unit`, and what stands behind it.

    levels  the sides that were compared, in figures
    basis   what it rests on where that is no training: "a count", "timed once"; `seeds` is 0 then
    """

    mean: float
    low: float
    high: float
    unit: str = "points"
    seeds: int = 0
    folds: tuple[int, ...] = ()
    levels: str = ""
    basis: str = ""


@dataclass(frozen=True)
class Side:
    """One side of a comparison: `weight` times a score (or cost) of all seeds and folds of one kind of run."""

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
        named = own = METHODS[self.method].label
        if self.ablation and self.ablation != _FULL_AAAI:
            named = row_label(self.method, self.ablation)
            if named[0].islower():
                named = f"{own}, {named}" if "(" in named else f"{own} ({named})"
        return named + (" (screened)" if self.screened else "")

    def key(self, dataset: str, fold: int = 1, seed: int = 0) -> RunKey:
        """Return the key of one of its runs."""
        return RunKey(self.method, dataset, fold, self.way, seed, self.ablation, self.protocol, self.condition)

    def printed(self, family: str, fold: str) -> float | None:
        """Return what the papers print for this side, on fold "1" or "mean" (both folds), or None."""
        measure = _COLUMNS.get(self.measure, self.measure)
        column = f"cost.{measure}" if self.measure in COSTS else f"{self.way}.{measure}.{fold}"
        tables = [] if self.screened else printed_tables().values()
        mine = [table for table in tables if (table.protocol, table.dataset) == (self.protocol, f"{family}-os")]
        cells = (table.get(self.method, column, self.ablation) for table in mine)
        return next((cell.value for cell in cells if cell is not None), None)


@dataclass(frozen=True)
class Quantity:
    """Something that a claim says is above zero.

    kind   a name in `KINDS`: how it is measured
    sides  the runs, in the order of the kind; their weights carry the signs
    bound  points that a difference must exceed or stay within, or the ratio that a cost must pass
    """

    label: str
    kind: str
    sides: tuple[Side, ...]
    bound: float = 0.0

    def measure(self, results: Results, dataset: str, costs: Costs | None = None) -> Outcome | NotRun:
        """Return the quantity on a dataset, or why there is none."""
        try:
            return _cost(self, costs or {}) if self.kind == "cost" else KINDS[self.kind](self, results, dataset)
        except UserError as error:
            return NotRun(str(error))

    def printed(self, family: str) -> float | None:
        """Return the papers' own value in the same unit, or None where they print none."""
        if self.kind not in ("difference", "within", "cost"):
            return None
        for fold in ("mean", "1"):  # both folds where all sides have them, else fold 1
            values = [value for side in self.sides if (value := side.printed(family, fold)) is not None]
            if len(values) == len(self.sides):
                return round(float(self.of(values)), 3 if self.kind == "cost" else 2)
        return None

    def of(self, levels: Sequence[float] | Array) -> Array:
        """Return the quantity [...] of the levels of its sides [T,...]."""
        if self.kind == "cost":
            return np.asarray(self.sides[0].weight * (levels[0] / levels[1] - self.bound))
        return self.beyond(np.tensordot([side.weight for side in self.sides], levels, 1))

    def beyond(self, points: Array) -> Array:
        """Return how far points exceed `bound`, or, of the kind "within", the room that their size leaves to it."""
        return np.asarray(self.bound - np.abs(points) if self.kind == "within" else points - self.bound)

    def runs(self, results: Results, dataset: str) -> list[list[Measured]]:
        """Return each side's results of both folds and all seeds. UserError with the reasons where a side has none."""
        found = [[run for fold in (1, 2) for run in results.seeds(side.key(dataset, fold))] for side in self.sides]
        reasons = []
        for side, runs in zip(self.sides, found, strict=True):
            if not runs:
                reason = getattr(results.get(side.key(dataset)), "reason", "not run yet").removeprefix("not run: ")
                reasons.append(f"{side.name}{'' if side.way == 'k' else ', 1-way'}: {reason}")
        if reasons:
            raise UserError("; ".join(dict.fromkeys(reasons)))
        return found


# ------------------------------------------------------------------------------------------------- scores and costs


def _difference(quantity: Quantity, results: Results, dataset: str) -> Outcome:
    """Measure a weighted sum of scores against `bound`, in points, by the paired bootstrap."""
    found = zip(quantity.sides, quantity.runs(results, dataset), strict=True)
    total = contrast([Term(side.weight, runs, side.measure, side.screened) for side, runs in found])
    if np.isnan(total.mean):
        raise UserError("the score is undefined on these pairs (a class occurs in none of them)")
    mean, ends = float(quantity.beyond(np.array(100 * total.mean))), bounds(quantity.beyond(100 * total.draws))
    levels = _levels(quantity.sides, total)
    return Outcome(mean, *ends, "points", total.seeds, tuple(total.by_fold), levels)


def _levels(sides: Sequence[Side], total: Estimate) -> str:
    """Write the scores of all sides over the folds and seeds compared: "seed 0: EOP-Net 31.1, POPNet 29.0"."""
    ways, measures = {side.way for side in sides}, {side.measure for side in sides}
    written = []
    for side, level in zip(sides, total.levels, strict=True):
        way, measure = f" {side.way}-way" * (len(ways) > 1), f" {side.measure}" * (len(measures) > 1)
        written.append(f"{side.name}{way}{measure} {100 * level:.1f}")
    seeds = {fold: f"seed{'s' * (len(of) > 1)} {', '.join(map(str, of))}" for fold, of in total.by_fold.items()}
    apart = [f"fold {fold} {words}" for fold, words in seeds.items()]
    return f"{'; '.join(apart if len(set(seeds.values())) > 1 else list(seeds.values())[:1])}: {', '.join(written)}"


def _cost(quantity: Quantity, costs: Costs) -> Outcome:
    """Compare what two methods cost; folds and seeds do not matter here."""
    name = quantity.sides[0].measure
    values = [costs.get(side.method, {}).get(name) for side in quantity.sides]
    named = [f"{side.name}: {COSTS[name]} not measured" for side in quantity.sides]
    if missing := [words for words, value in zip(named, values, strict=True) if value is None]:
        raise UserError("; ".join(missing))
    blur = CLOCK_BLUR if name == "fps" else 0.0
    one, two = (np.array([1, 1 - blur, 1 + blur]) * value for value in values if value is not None)
    each = [float(quantity.of(corner)) for corner in product(one, two)]
    first, second = quantity.sides
    levels = f"{first.name} {one[0]:.3g}, {second.name} {two[0]:.3g} {COSTS[name]}"
    basis = "timed once" if name == "fps" else "a count"
    return Outcome(each[0], min(each), max(each), "relative", levels=levels, basis=basis)


# ------------------------------------------------------------------------------------------------------- curves


def _trend(quantity: Quantity, results: Results, dataset: str) -> Outcome:
    """Compare how fast a score rises in the second half of training: least-squares slopes, averaged over seeds.

    In points over that half. The interval is that of fitted lines (Student's t): it tells how unsteady the curves are,
    not how much another seed would change them.
    """
    from scipy.stats import linregress, t

    mean, variance, freedom, words, seeds = 0.0, 0.0, 0, [], []
    for side, runs in zip(quantity.sides, zip(*common_runs(quantity.runs(results, dataset)), strict=True), strict=True):
        late = [curve_of(run, side.measure)[:2] for run in runs]
        late = [(shares[shares >= 0.5], scores[shares >= 0.5]) for shares, scores in late]
        curves = [(shares, scores) for shares, scores in late if len(shares) >= LATE_SCORES]
        if not curves:
            most = max(len(shares) for shares, _ in late)
            counted = f"{most or 'no'} score{'' if most == 1 else 's'} in the second half of training"
            raise UserError(f"{side.name}: {counted}, a slope needs at least {LATE_SCORES}")
        lines = [linregress(shares, 50.0 * scores) for shares, scores in curves]
        slope = float(np.mean([line.slope for line in lines]))
        mean += side.weight * slope
        variance += sum(line.stderr**2 for line in lines) / len(lines) ** 2
        freedom += sum(len(shares) - 2 for shares, _ in curves)
        words.append(f"{side.name} {slope:+.1f}")
        seeds.append(len(curves))
    reach = float(t.ppf(0.975, freedom) * np.sqrt(variance))
    return Outcome(mean, mean - reach, mean + reach, "points", min(seeds), levels=", ".join(words))


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


# ------------------------------------------------------------------------------------- supports, sizes, confusions


def _stability(quantity: Quantity, results: Results, dataset: str) -> Outcome:
    """Compare how much a query's novel IoU varies over its supports with how much it varies over queries.

    Standard deviation over queries (of each query's mean) minus that over the supports of one query, averaged over
    classes; with a second side, that side's deviation over supports minus the first one's.
    """
    rows = common_runs(quantity.runs(results, dataset))
    drawn, words = [], []
    seeds, folds = sorted({row[0].key.seed for row in rows}), sorted({row[0].key.fold for row in rows})
    for side, runs in zip(quantity.sides, zip(*rows, strict=True), strict=True):
        within, between = np.nanmean([spreads(run) for run in runs], 0)
        if np.isnan(within[0]):
            raise UserError(f"{side.name}: no novel class has two supports for one query")
        drawn.append((within, between))
        named = f"{side.name}, seed {', '.join(map(str, seeds))}"
        words.append(f"{named}: {within[0]:.1f} over supports, {between[0]:.1f} over queries")
    values = (drawn[0][1] if len(drawn) == 1 else drawn[1][0]) - drawn[0][0]
    return Outcome(float(values[0]), *bounds(values[1:]), "points", len(seeds), tuple(folds), "; ".join(words))


def spreads(run: Measured) -> Array:
    """Return the deviation of novel IoU (points) over supports and over queries, float64 [2,1+R]: as is, then redrawn.

    Only (query, class) with two supports or more take part; nan where there are none. UserError when the run does not
    know its query photos.
    """
    if run.queries is None:
        raise UserError(f"{run.key.slug}: which pairs share a query photo was not recorded")
    rng = np.random.default_rng([0, 31])
    found = []
    for class_id in run.novel:
        counts = run.counts[:, run.classes.index(class_id)]
        iou, present = iou_of_counts(counts), counts[:, 0] + counts[:, 2] > 0
        groups = [iou[present & (run.queries == query)] for query in np.unique(run.queries[present])]
        groups = [group for group in groups if len(group) > 1]
        if len(groups) > 1:
            variances, means = (np.array([of(group) for group in groups]) for of in (lambda x: x.var(ddof=1), np.mean))
            picks = np.concatenate([[range(len(means))], rng.integers(0, len(means), (REPEATS, len(means)))])
            found.append([np.sqrt(variances[picks].mean(1)), means[picks].std(1, ddof=1)])
    return 100 * np.mean(found, 0) if found else np.full((2, 1 + REPEATS), np.nan)


def _averaged(
    quantity: Quantity, results: Results, dataset: str, draws: Callable[[Measured], Array], unit: str, words: str
) -> Outcome:
    """Average a quantity over all runs of its only side; `draws` returns it as is and redrawn, float64 [1+R]."""
    (side,), (runs,) = quantity.sides, quantity.runs(results, dataset)
    kept = [values for run in runs if not np.isnan((values := draws(run))[0])]
    if not kept:
        raise UserError(f"{side.name}: not recorded, or undefined on these pairs")
    drawn = np.nanmean(kept, 0)
    mean, seeds, folds = float(drawn[0]), {run.key.seed for run in runs}, {run.key.fold for run in runs}
    levels = f"{side.name}: {words.format(mean, 50 + mean / 2, 50 - mean / 2)}"
    return Outcome(mean, *bounds(drawn[1:]), unit, len(seeds), tuple(sorted(folds)), levels)


def sizes_and_ious(run: Measured) -> tuple[Array, Array, Array]:
    """Return (pair, true area in pixels, IoU) of every pair and foreground class that its truth holds, flat."""
    counts = run.counts[:, 1:]
    area = counts[..., 0] + counts[..., 2]
    there = area > 0
    return there.nonzero()[0], area[there], iou_of_counts(counts)[there]


def _rank_correlation(run: Measured, repeats: int = 300) -> Array:
    """Rank correlation, -1..1, of a part's true area and its IoU over all pairs and classes."""
    from scipy.stats import rankdata

    pair, area, iou = sizes_and_ious(run)
    x, y = rankdata(area) / max(1, len(area)), rankdata(iou) / max(1, len(iou))
    weights = np.concatenate([np.ones((1, len(run.counts))), pair_draws(run, repeats)])[:, pair]
    total = weights.sum(1)
    mx, my = (weights @ x) / total, (weights @ y) / total
    cov = (weights @ (x * y)) / total - mx * my
    return np.asarray(cov / np.sqrt(((weights @ x**2) / total - mx**2) * ((weights @ y**2) / total - my**2)))


_TO = "{1:.0f} % of them to novel classes, {2:.0f} % to base ones"


def _novel_share(run: Measured) -> Array:
    """Of the novel pixels taken for another class, the share that went to novel ones minus that to base ones, in %."""
    if run.misassigned is None:
        return np.array([np.nan])
    weights = np.concatenate([np.ones((1, len(run.counts))), pair_draws(run, block=run.key.fold)])
    novel, base = (weights @ run.misassigned.astype(np.float64)).T
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * (novel - base) / (novel + base))


KINDS: dict[str, Callable[[Quantity, Results, str], Outcome]] = {
    "difference": _difference,
    "within": _difference,
    "trend": _trend,
    "stability": _stability,
    "size": partial(_averaged, draws=_rank_correlation, unit="correlation", words="rank correlation {0:.2f}"),
    "confusions": partial(_averaged, draws=_novel_share, unit="points", words=_TO),
}
