"""What decides a claim: quantities that the claim says are above zero, each measured with an interval.

Every quantity answers with an `Outcome` or with `NotRun`. Wherever test pairs vary, the interval is the bootstrap of
`measured.contrast`; exact counts (parameters, MACs) have no interval, and the few other cases say what varies.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.experiments import label as row_label
from oshp_lite.study.printed.numbers import Printed, printed_tables
from oshp_lite.study.records import Estimate, Measured, NotRun, Results, RunKey, Term, contrast

_FULL_AAAI = "three-stage"  # POPNet as its own paper has it: no change of it, though a row of that name
_ELSEWHERE = "the supervised ceiling is not among the runs of the matrix (notebook 07 trains one)"


@dataclass(frozen=True)
class Outcome:
    """One quantity as measured: value and 95 % interval in `unit`, and what stands behind it."""

    mean: float
    low: float
    high: float
    unit: str
    seeds: int
    pairs: int
    folds: tuple[int, ...]
    shown: str = ""
    """The two sides that were compared, in figures."""
    basis: str = ""
    """What it rests on where that is no training: "a count", "timed once"; `seeds` is 0 then."""


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

    @property
    def name(self) -> str:
        """What the run is called in a sentence."""
        own = METHODS[self.method].label if self.method in METHODS else self.method
        named = own
        if self.ablation and self.ablation != _FULL_AAAI:
            named = row_label(self.method, self.ablation)
            if named[0].islower():
                named = f"{own}, {named}" if "(" in named else f"{own} ({named})"
        return named + (" (screened)" if self.screened else "")

    def runs(self, results: Results, dataset: str) -> list[Measured] | NotRun:
        """Return the results of both folds and all seeds, or why there are none."""
        if self.method not in METHODS:
            return NotRun(_ELSEWHERE)
        keys = [RunKey(self.method, dataset, fold, self.way, 0, self.ablation, self.protocol) for fold in (1, 2)]
        found = [run for key in keys for run in results.seeds(key)]
        if found:
            return found
        missing = results.get(keys[0])
        reason = missing.reason if isinstance(missing, NotRun) else "not run yet"
        way = "" if self.way == "k" else ", 1-way"
        return NotRun(f"{self.name}{way}: {reason.removeprefix('not run: ')}")

    def printed(self, family: str, fold: str) -> Printed | None:
        """Return what the papers print for this side, on fold "1" or "mean" (both folds), or None."""
        measure = {"accuracy": "acc", "bi_miou": "bi"}.get(self.measure, self.measure)
        if self.screened:
            return None
        tables = printed_tables()
        found = (
            tables[name].get(self.method, f"{self.way}.{measure}.{fold}", self.ablation)
            for name in _PRINTED_IN.get((self.protocol, family), ())
        )
        return next((cell for cell in found if cell is not None), None)


_PRINTED_IN = {
    ("aaai", "atr"): ("popnet1", "popnet2", "popnet3"),
    ("journal", "atr"): ("eopnet2", "eopnet5", "eopnet6", "eopnet7"),
    ("journal", "lip"): ("eopnet3",),
    ("journal", "cihp"): ("eopnet4",),
}
"""(protocol, family) -> the printed tables that hold its scores."""


def _printed(sides: Sequence[Side], family: str) -> float | None:
    """Return the weighted sum of the printed scores, over both folds where all sides have them, else of fold 1."""
    for fold in ("mean", "1"):
        cells = [side.printed(family, fold) for side in sides]
        if all(cell is not None for cell in cells):
            return sum(side.weight * cell.value for side, cell in zip(sides, cells, strict=True) if cell is not None)
    return None


class Quantity(Protocol):
    """Something that a claim says is above zero."""

    @property
    def label(self) -> str:
        """What is measured, in words."""

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Return the measured quantity on a dataset, or why there is none."""

    def printed(self, family: str) -> float | None:
        """Return the papers' own value in the same unit, or None where they print none."""


@dataclass(frozen=True)
class Difference:
    """A weighted sum of scores is above `above` (in points of the score's hundred)."""

    label: str
    sides: tuple[Side, ...]
    above: float = 0.0

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Measure by the paired bootstrap over test pairs and seeds."""
        found = estimate(self.sides, results, dataset)
        if isinstance(found, NotRun):
            return found
        best, shown = found
        mean, low, high = (100 * value - self.above for value in best)
        return Outcome(mean, low, high, "points", best.seeds, best.pairs, best.folds, shown)

    def printed(self, family: str) -> float | None:
        """Return the same difference of the printed scores."""
        found = _printed(self.sides, family)
        return None if found is None else round(found - self.above, 2)


@dataclass(frozen=True)
class Similar:
    """A weighted sum of scores stays within `margin` points of zero: `margin` minus its size is above zero."""

    label: str
    sides: tuple[Side, ...]
    margin: float

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Measure by the paired bootstrap over test pairs and seeds."""
        found = estimate(self.sides, results, dataset)
        if isinstance(found, NotRun):
            return found
        best, shown = found
        room = self.margin - 100 * np.abs(best.draws)
        low, high = np.nanquantile(room, [0.025, 0.975]).tolist()
        mean = self.margin - 100 * abs(best.mean)
        return Outcome(mean, low, high, "points", best.seeds, best.pairs, best.folds, shown)

    def printed(self, family: str) -> float | None:
        """Return the same room of the printed scores."""
        found = _printed(self.sides, family)
        return None if found is None else round(self.margin - abs(found), 2)


def estimate(sides: Sequence[Side], results: Results, dataset: str) -> tuple[Estimate, str] | NotRun:
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
        found = contrast(terms)
    except UserError as error:
        return NotRun(str(error))
    if np.isnan(found.mean):
        return NotRun("the score is undefined on these pairs (a class occurs in none of them)")
    return found, _shown(sides, terms, found)


def _shown(sides: Sequence[Side], terms: Sequence[Term], found: Estimate) -> str:
    """Write the scores of all sides over the folds and seeds compared: "seed 0: EOP-Net 31.1, POPNet 29.0"."""
    written = []
    for side, term in zip(sides, terms, strict=True):
        scores = {
            (run.key.fold, run.key.seed): run.score(term.measure, screened=term.screened)
            for run in term.runs
            if run.key.fold in found.folds and run.key.seed in found.common[found.folds.index(run.key.fold)]
        }
        by_fold = [
            np.mean([scores[number, seed] for seed in seeds])
            for number, seeds in zip(found.folds, found.common, strict=True)
        ]
        measure = f" {side.measure}" if len({one.measure for one in sides}) > 1 else ""
        way = f" {side.way}-way" if len({one.way for one in sides}) > 1 else ""
        written.append(f"{side.name}{way}{measure} {100 * float(np.mean(by_fold)):.1f}")
    return f"{_compared(found)}: {', '.join(written)}"


def _compared(found: Estimate) -> str:
    """Name the seeds that were compared: "seed 0", or "fold 1 seeds 0, 1; fold 2 seed 0" where folds differ."""
    named = [f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}" for seeds in found.common]
    if len(set(named)) == 1:
        return named[0]
    return "; ".join(f"fold {number} {words}" for number, words in zip(found.folds, named, strict=True))


@dataclass(frozen=True)
class Cost:
    """A cost of one method against that of another, as `compare` puts it: above zero where the claim holds.

    name     "params_m", "macs_g" or "fps"
    blur     relative uncertainty of each cost (0 for what is counted, more for what a clock measured)
    compare  of the two costs (first, second) -> the quantity
    """

    label: str
    name: Literal["params_m", "macs_g", "fps"]
    first: Side
    second: Side
    compare: Callable[[float, float], float]
    blur: float = 0.0

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Compare the costs that were measured apart, else those of the runs; folds and seeds do not matter here."""
        costs, missing = [], []
        for side in (self.first, self.second):
            known = [results.costs[side.method][self.name]] if self.name in results.costs.get(side.method, {}) else []
            if not known:
                runs = side.runs(results, dataset)
                known = (
                    [] if isinstance(runs, NotRun) else [run.cost[self.name] for run in runs if self.name in run.cost]
                )
            if known:
                costs.append(float(np.mean(known)))
            else:
                missing.append(f"{side.name}: {_COSTS[self.name]} not measured")
        if missing:
            return NotRun("; ".join(missing))
        one, two = costs
        corners = [
            self.compare(one * (1 + a), two * (1 + b)) for a in (-self.blur, self.blur) for b in (-self.blur, self.blur)
        ]
        shown = f"{self.first.name} {one:.3g}, {self.second.name} {two:.3g} {_COSTS[self.name]}"
        basis = "timed once" if self.name == "fps" else "a count"
        return Outcome(self.compare(one, two), min(corners), max(corners), "relative", 0, 0, (), shown, basis)

    def printed(self, family: str) -> float | None:
        """Return the same comparison of the printed costs."""
        table = printed_tables()["eopnet8"]
        column = {"params_m": "cost.params", "macs_g": "cost.macs", "fps": "cost.fps"}[self.name]
        one, two = (table.get(side.method, column) for side in (self.first, self.second))
        return None if one is None or two is None else round(self.compare(one.value, two.value), 3)


_COSTS = {"params_m": "M parameters", "macs_g": "G MACs", "fps": "frames per second"}


@dataclass(frozen=True)
class Fixed:
    """A quantity for tests and examples: always the same outcome."""

    label: str
    outcome: Outcome | NotRun
    paper: float | None = field(default=None)

    def measure(self, results: Results, dataset: str) -> Outcome | NotRun:
        """Return the given outcome."""
        return self.outcome

    def printed(self, family: str) -> float | None:
        """Return the given value."""
        return self.paper
