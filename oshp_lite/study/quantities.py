"""What decides a claim: quantities that it says are above zero, each measured with an interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import numpy as np

from oshp_lite.engine.statistics import REPEATS, bounds
from oshp_lite.errors import UserError
from oshp_lite.models.registry import METHODS as REGISTERED
from oshp_lite.study.collapse import collapsed
from oshp_lite.study.experiments import label as row_label
from oshp_lite.study.printed.numbers import printed_tables
from oshp_lite.study.records import Array, Measured, NotRun, Results, RunKey, iou_of_counts
from oshp_lite.study.statistics import Term, common_runs, contrast, pair_draws

EVALUATIONS, LATE_SCORES = 8, 3
"""Evaluations during a training, and in its second half, that a trend is judged from at least."""
FIRM_SEEDS, TRAINING_NOISE = 3, 3.0
"""Trainings a side from which on an interval over seeds decides alone; with fewer it must clear these points too."""
CLOCK_BLUR = 0.05
"""Relative uncertainty of frames per second, which a clock measured; what is counted has none."""
COSTS = {"params_m": "M parameters", "macs_g": "G MACs", "fps": "frames per second"}
Costs = Mapping[str, Mapping[str, Any]]
"""By method what it costs, under the names of `COSTS`."""
_COLUMNS = {"accuracy": "acc", "bi_miou": "bi", "params_m": "params", "macs_g": "macs"}
_WHOLE = {"human": "miou", "mean_accuracy": "macc"}
_FULL_AAAI = "three-stage"  # POPNet as its own paper has it: no change of it, though a row of that name


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

    @property
    def noise(self) -> float:
        """How far from zero the interval must lie to decide: fewer than FIRM_SEEDS say little of another training."""
        trained = self.unit == "points" and not self.basis
        return TRAINING_NOISE if trained and self.seeds < FIRM_SEEDS else 0.0


@dataclass(frozen=True)
class Untestable(NotRun):
    """In place of an outcome: the runs are there and cannot decide; why."""


def verdict(outcome: Outcome | NotRun) -> str:
    """Return the verdict on one quantity: on which side of zero its interval lies, and with few seeds clearly so."""
    if isinstance(outcome, NotRun):
        return "not testable here" if isinstance(outcome, Untestable) else "not run"
    reach = outcome.noise
    return "reproduced" if outcome.low > reach else "not reproduced" if outcome.high < -reach else "undecided"


@dataclass(frozen=True)
class Side:
    """One side of a comparison: `weight` times a score (or cost) of all seeds and folds of one kind of run."""

    method: str
    ablation: str = ""
    way: Literal["k", "1"] = "k"
    measure: str = "human"
    weight: float = 1.0
    screened: bool = False
    protocol: str = ""
    condition: str = ""

    @property
    def name(self) -> str:
        """What the run is called in a sentence."""
        named = own = REGISTERED[self.method].label
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
        measure, protocol = _COLUMNS.get(self.measure, self.measure), self.protocol or "journal"
        column = f"cost.{measure}" if self.measure in COSTS else f"{self.way}.{measure}.{fold}"
        if self.method == "instance":
            return self._printed_of_people()
        if protocol == "whole":
            column = f"r50.{_WHOLE.get(self.measure, self.measure)}.whole"
        for table in printed_tables().values() if not self.screened else ():
            for row in table.rows if table.protocol == protocol else ():
                cell = row.cells.get(column)
                own = (row.method, row.ablation) == (self.method, self.ablation)
                if cell and own and row.data in (f"{family}-os", family):
                    return cell.value
        return None

    def _printed_of_people(self) -> float | None:
        """Return the same of the BMVC paper, in per cent; some of its tables print fractions."""
        views = self.measure.startswith("views_")
        measure, ablation = self.measure.removeprefix("views_"), "views" if views else self.ablation
        for table in (one for one in printed_tables().values() if one.paper == "instance"):
            row = table.row(self.method, ablation)
            for unit, scale in (("whole", 1.0), ("fraction", 100.0)) if row else ():
                if row and (cell := row.cells.get(f"people.{measure}.{unit}")):
                    return cell.value * scale
        return None


@dataclass(frozen=True)
class Quantity:
    """Something that a claim says is above zero.

    kind   how it is measured: "difference" of scores, "within" (their likeness), "cost", "trend" or one of `STATISTICS`
    sides  the runs; their weights carry the signs
    bound  points that a difference must exceed or stay within, or the ratio that a cost must pass
    """

    label: str
    kind: str
    sides: tuple[Side, ...]
    bound: float = 0.0

    def measure(self, results: Results, dataset: str, costs: Costs | None = None) -> Outcome | NotRun:
        """Return the quantity on a dataset, or why there is none."""
        ways = {"difference": _difference, "within": _difference, "trend": _trend}
        try:
            if self.kind == "cost":
                return _cost(self, costs or {})
            runs = self.runs(results, dataset)
            if reason := self.collapsed(runs):
                return Untestable(reason)
            return ways.get(self.kind, _averaged)(self, runs)
        except UserError as error:
            return NotRun(str(error))

    def printed(self, family: str, folds: Sequence[int] = ()) -> float | None:
        """Return the papers' own value in the same unit, or None where they print none.

        folds  those measured: of a single one its own value, else the mean of both folds where all sides have one
        """
        places = (str(folds[0]), "mean") if len(folds) == 1 else ("mean", "1")
        for fold in places if self.kind in ("difference", "within", "cost") else ():
            values = [value for side in self.sides if (value := side.printed(family, fold)) is not None]
            if len(values) == len(self.sides):
                return round(float(self.of(values)), 3 if self.kind == "cost" else 2)
        return None

    def of(self, levels: Sequence[float]) -> float:
        """Return the quantity of the levels of its sides."""
        if self.kind == "cost":
            return self.sides[0].weight * (levels[0] / levels[1] - self.bound)
        return float(self.beyond(np.dot([side.weight for side in self.sides], levels)))

    def beyond(self, points: Array) -> Array:
        """Return how far points exceed `bound`, or, of the kind "within", the room that their size leaves to it."""
        return self.bound - np.abs(points) if self.kind == "within" else points - self.bound

    def runs(self, results: Results, dataset: str) -> list[list[Measured]]:
        """Return each side's results of both folds and all seeds. UserError with the reasons where a side has none."""
        runs = [[run for fold in (1, 2) for run in results.seeds(side.key(dataset, fold))] for side in self.sides]
        reasons = []
        for side in (side for side, own in zip(self.sides, runs, strict=True) if not own):
            reason = getattr(results.get(side.key(dataset)), "reason", "not run yet").removeprefix("not run: ")
            reasons.append(f"{side.name}{'' if side.way == 'k' else ', 1-way'}: {reason}")
        if reasons:
            raise UserError("; ".join(dict.fromkeys(reasons)))
        return runs

    def collapsed(self, runs: Sequence[Sequence[Measured]]) -> str:
        """Return which sides have collapsed and therefore decide nothing, in words; "" when none has."""
        names = dict.fromkeys(one.name for one, own in zip(self.sides, runs, strict=True) if collapsed(own))
        return f"{' and '.join(names)} collapsed: one class takes nearly everything" if names else ""


def _difference(quantity: Quantity, runs: Sequence[Sequence[Measured]]) -> Outcome:
    """Measure a weighted sum of scores against `bound`, in points, by the paired bootstrap."""
    sides = quantity.sides
    total = contrast([Term(one.weight, own, one.measure, one.screened) for one, own in zip(sides, runs, strict=True)])
    if np.isnan(total.mean):
        raise UserError("the score is undefined on these pairs (a class occurs in none of them)")
    way, measure = (len({getattr(side, name) for side in sides}) > 1 for name in ("way", "measure"))
    levels = [
        f"{one.name}{f' {one.way}-way' * way}{f' {one.measure}' * measure} {100 * level:.1f}"
        for one, level in zip(sides, total.levels, strict=True)
    ]
    seeds = {fold: f"seed{'s' * (len(of) > 1)} {', '.join(map(str, of))}" for fold, of in total.by_fold.items()}
    apart = [f"fold {fold} {words}" for fold, words in seeds.items()] if len(set(seeds.values())) > 1 else []
    words = f"{'; '.join(apart) or next(iter(seeds.values()))}: {', '.join(levels)}"
    mean, ends = quantity.of([100 * level for level in total.levels]), bounds(quantity.beyond(100 * total.draws))
    return Outcome(mean, *ends, "points", min(map(len, total.by_fold.values())), tuple(total.by_fold), words)


def _cost(quantity: Quantity, costs: Costs) -> Outcome:
    """Compare what two methods cost; folds and seeds do not matter here."""
    sides, name = quantity.sides, quantity.sides[0].measure
    values = [costs.get(side.method, {}).get(name) or np.nan for side in sides]
    if np.isnan(values).any():
        missing = (side.name for side, value in zip(sides, values, strict=True) if np.isnan(value))
        raise UserError("; ".join(f"{one}: {COSTS[name]} not measured" for one in missing))
    blur = CLOCK_BLUR if name == "fps" else 0.0
    corners = [quantity.of(both) for both in product(*([one * (1 - blur), one * (1 + blur)] for one in values))]
    levels = ", ".join(f"{side.name} {value:.3g}" for side, value in zip(sides, values, strict=True))
    basis = "timed once" if name == "fps" else "a count"
    ends = min(corners), max(corners)
    return Outcome(quantity.of(values), *ends, "relative", levels=f"{levels} {COSTS[name]}", basis=basis)


def _trend(quantity: Quantity, runs: Sequence[Sequence[Measured]]) -> Outcome | NotRun:
    """Compare how fast a score rises in the second half of training: least-squares slopes, averaged over seeds.

    In points over that half. The interval is that of fitted lines (Student's t): it tells how unsteady the curves are,
    not how much another seed would change them.
    """
    from scipy.stats import linregress, t

    mean, variance, freedom, words, seeds = 0.0, 0.0, 0.0, [], []
    for side, own in zip(quantity.sides, zip(*common_runs(runs), strict=True), strict=True):
        curves = [(x, y) for x, y, _ in (curve_of(run, side.measure) for run in own) if len(x) >= EVALUATIONS]
        late = [(x[x >= 0.5], y[x >= 0.5]) for x, y in curves]
        fits = [(len(x) - 2, linregress(x, 50.0 * y)) for x, y in late if len(x) >= LATE_SCORES]
        if not fits:
            most = max(len(curve_of(run, side.measure)[0]) for run in own)
            counted = f"{most or 'no'} evaluation{'' if most == 1 else 's'} during training"
            return Untestable(f"{side.name}: {counted}, a trend is judged from {EVALUATIONS} at least")
        free, slopes, errors = np.array([(own_free, line.slope, line.stderr) for own_free, line in fits]).T
        mean += side.weight * slopes.mean()
        variance += (errors**2).sum() / len(fits) ** 2
        freedom += free.sum()
        words.append(f"{side.name} {slopes.mean():+.1f}")
        seeds.append(len(fits))
    reach = float(t.ppf(0.975, freedom) * np.sqrt(variance))
    return Outcome(mean, mean - reach, mean + reach, "points", min(seeds), levels=", ".join(words))


def curve_of(run: Measured, measure: str) -> tuple[Array, Array, str]:
    """Return (share of training, score in 0..1, column) of the evaluations in a run's history.

    The accuracy that the journal's Fig. 8 shows is preferred, the mIoU serves where only that was taken.
    """
    for column in (f"{measure}_accuracy", f"{measure}_miou"):
        points = [(float(row["epoch"]), float(row[column])) for row in run.history if row.get(column) is not None]
        if points:
            epochs, scores = np.array(points).T
            return epochs / max(float(row["epoch"]) for row in run.history), scores, column
    return np.zeros(0), np.zeros(0), ""


def spreads(run: Measured) -> Array:
    """Return the deviation of novel IoU (points) over a query's supports and over queries, [2,1+R].

    Only (query, class) with two supports or more take part; nan where there are none. UserError when the run does not
    know its query photos.
    """
    if run.queries is None:
        raise UserError(f"{run.key.slug}: which pairs share a query photo was not recorded")
    rng = np.random.default_rng([0, 31])
    made = []
    for class_id in run.novel:
        counts = run.counts[:, run.classes.index(class_id)]
        iou, present = iou_of_counts(counts), counts[:, 0] + counts[:, 2] > 0
        groups = [iou[present & (run.queries == query)] for query in np.unique(run.queries[present])]
        groups = [group for group in groups if len(group) > 1]
        if len(groups) > 1:
            variances, means = np.array([(group.var(ddof=1), group.mean()) for group in groups]).T
            picks = np.concatenate([[range(len(means))], rng.integers(0, len(means), (REPEATS, len(means)))])
            made.append([np.sqrt(variances[picks].mean(1)), means[picks].std(1, ddof=1)])
    return 100 * np.mean(made, 0) if made else np.full((2, 1 + REPEATS), np.nan)


def sizes_and_ious(run: Measured) -> tuple[Array, Array, Array]:
    """Return (pair, true area in pixels, IoU) of every pair and foreground class that its truth holds, flat."""
    counts = run.counts[:, 1:]
    area = counts[..., 0] + counts[..., 2]
    there = area > 0
    return there.nonzero()[0], area[there], iou_of_counts(counts)[there]


def _rank_correlation(run: Measured) -> Array:
    """Return the rank correlation, -1..1, of a part's true area and its IoU over all pairs and classes, [1,1+R]."""
    from scipy.stats import rankdata

    pair, area, iou = sizes_and_ious(run)
    x, y = rankdata(area) / max(1, len(area)), rankdata(iou) / max(1, len(iou))
    weights = pair_draws(run, repeats=300)[:, pair]
    mx, my, mxy, mxx, myy = (weights @ values / weights.sum(1) for values in (x, y, x * y, x**2, y**2))
    return np.asarray([(mxy - mx * my) / np.sqrt((mxx - mx**2) * (myy - my**2))])


def _shares(run: Measured) -> Array:
    """Return where novel pixels go that are taken for another class: % to novel and to base ones, [2,1+R]."""
    if run.misassigned is None:
        raise UserError(f"{run.key.slug}: no confusions between classes were recorded")
    counted = (pair_draws(run, run.key.fold) @ run.misassigned[:, :2].astype(np.float64)).T
    with np.errstate(invalid="ignore"):
        return np.asarray(100 * counted / counted.sum(0))


class Statistic(NamedTuple):
    """Numbers of one run, as they are and redrawn: `of(run)` [V,1+R]; `weights` [V] make one quantity of them."""

    of: Callable[[Measured], Array]
    weights: tuple[float, ...]
    unit: str
    words: str


_SPREADS = "{name}, seed {seeds}: {0:.1f} over supports, {1:.1f} over queries"
_SHARES = "{name}: {0:.0f} % of them to novel classes, {1:.0f} % to base ones"
STATISTICS = {
    "stability": Statistic(spreads, (-1, 1), "points", _SPREADS),
    "spread": Statistic(spreads, (1, 0), "points", _SPREADS),
    "size": Statistic(_rank_correlation, (1,), "correlation", "{name}: rank correlation {0:.2f}"),
    "confusions": Statistic(_shares, (1, -1), "points", _SHARES),
}


def _averaged(quantity: Quantity, runs: Sequence[Sequence[Measured]]) -> Outcome:
    """Average a statistic over each side's runs, and sum the sides."""
    form, rows = STATISTICS[quantity.kind], common_runs(runs)
    seeds, folds = (sorted({getattr(row[0].key, name) for row in rows}) for name in ("seed", "fold"))
    total, words = np.zeros(1), []
    for side, own in zip(quantity.sides, zip(*rows, strict=True), strict=True):
        kept = [values for values in map(form.of, own) if not np.isnan(values[0, 0])]
        if not kept:
            raise UserError(f"{side.name}: undefined on these pairs")
        values = np.ma.masked_invalid(kept).mean(0).filled(np.nan)  # a redraw may have none: np.nanmean would warn
        total = total + side.weight * (form.weights @ values)
        words.append(form.words.format(*values[:, 0], name=side.name, seeds=", ".join(map(str, seeds))))
    return Outcome(float(total[0]), *bounds(total[1:]), form.unit, len(seeds), tuple(folds), "; ".join(words))
