"""The headline claims (`headlines.yaml`, fixed before their runs) and the one rule that decides them.

An effect is a paired difference in points; of several differences that a claim names, the smallest. A claim is
reproduced on a dataset when its effect is at least the margin and its probability, corrected by Holm over all claims
on all datasets, is below the level; not reproduced when the upper end of the effect's 95 % interval stays below the
margin; undecided otherwise, and with fewer than three trainings a side; not run while runs are missing. A method that
has collapsed decides nothing: its difference is left out, and a claim without any other is not testable here.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from importlib import resources
from itertools import groupby
from typing import Any

import numpy as np

from oshp_lite.data.registry import dataset_spec
from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml
from oshp_lite.study.claims import FIRM_SEEDS, between, quantities
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.quantities import Quantity
from oshp_lite.study.records import Measured, Results
from oshp_lite.study.statistics import Estimate, Term, contrast

DECLARED: Mapping[str, Any] = parse_yaml(
    (resources.files("oshp_lite.study") / "headlines.yaml").read_text(encoding="utf-8")
)
MARGIN, LEVEL = float(DECLARED["margin"]), float(DECLARED["level"])


@dataclass(frozen=True)
class Headline:
    """A claim on one dataset, decided.

    effect       points, with `low` and `high` of its 95 % interval; nan where there is none
    probability  one-sided, of an effect that is not above zero; corrected by Holm
    printed      the papers' own effect in points on the dataset's counterpart, None where they print none; the smallest
                 one, with whom it is taken against (`printed_against`)
    against      what the smallest difference is taken against; measure: of what it is one, in words
    seeds        trainings a side on each fold ("3", or "1-3" where the folds differ), each on a block of its own if
                 `blocks`; trainings: a side in all, and from FIRM_SEEDS on they decide
    reason       why it was not run or cannot be tested
    """

    id: str
    statement: str
    where: str
    dataset: str
    verdict: str
    effect: float = np.nan
    low: float = np.nan
    high: float = np.nan
    probability: float = np.nan
    printed: float | None = None
    printed_against: str = ""
    against: str = ""
    measure: str = ""
    seeds: str = ""
    trainings: int = 0
    blocks: bool = False
    reason: str = ""


def holm(probabilities: Sequence[float], tests: int) -> list[float]:
    """Return the probabilities corrected by Holm's step-down procedure for a family of `tests`, in their order.

    Tests that were not made count with the largest probability, so an unfinished family is judged as strictly.
    """
    corrected, largest = [0.0] * len(probabilities), 0.0
    for rank, place in enumerate(np.argsort(probabilities, kind="stable")):
        largest = max(largest, min(1.0, (tests - rank) * probabilities[place]))
        corrected[place] = largest
    return corrected


def decide(effect: float, high: float, probability: float) -> str:
    """Return the verdict on a measured effect (points), the upper end of its interval and its corrected probability."""
    if effect >= MARGIN and probability < LEVEL:
        return "reproduced"
    return "not reproduced" if high < MARGIN else "undecided"


def headlines(results: Results) -> list[Headline]:
    """Return the verdict on every headline claim and dataset, claim by claim."""
    found = [
        _measured(claim, dataset, protocol, results)
        for claim in DECLARED["claims"]
        for dataset, protocol in DECLARED["datasets"].items()
    ]
    made = [one for one in found if not one.reason]
    corrected = iter(holm([one.probability for one in made], len(found)))
    return [
        one if one.reason else replace(one, probability=p, verdict=_verdict(one, p))
        for one in found
        for p in [np.nan if one.reason else next(corrected)]
    ]


def _verdict(one: Headline, probability: float) -> str:
    return decide(one.effect, one.high, probability) if one.trainings >= FIRM_SEEDS else "undecided"


def by_claim(verdicts: Sequence[Headline]) -> list[list[Headline]]:
    """Return the verdicts of each claim together, in order."""
    return [list(group) for _, group in groupby(verdicts, lambda one: one.id)]


def measured(one: Headline) -> str:
    """Return the effect with its interval and what it rests on, or why there is none."""
    if one.reason:  # several methods may lack the same
        return "; ".join(dict.fromkeys(piece.partition(": ")[2] or piece for piece in one.reason.split("; ")))
    unit = "block" if one.blocks else "seed"
    runs = f"{one.seeds} {unit}{'' if one.seeds == '1' else 's'}"
    runs += f", {FIRM_SEEDS} trainings decide" if one.trainings < FIRM_SEEDS else ""
    effect = f"{one.effect:+z.1f} points {between(one.low, one.high)} of {one.measure}"
    (claim,) = [claim for claim in DECLARED["claims"] if claim["id"] == one.id]
    if "below" in claim:  # less is better: the sign needs both names
        return f"{one.against} minus {METHODS[claim['first']].label}: {effect}; {runs}"
    return f"{effect}, against {one.against}; {runs}"


def to_csv(verdicts: Sequence[Headline]) -> str:
    """Return the headline claims as CSV, a row for each claim and dataset; numbers that do not exist are empty."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(item.name for item in fields(Headline))
    for one in verdicts:
        values = astuple(one)
        writer.writerow("" if value is None or value != value else value for value in values)
    return stream.getvalue()


def _measured(claim: Mapping[str, Any], dataset: str, protocol: str, results: Results) -> Headline:
    """Return a claim's smallest effect on a dataset, its probability not yet corrected."""
    named = {name: claim[name] for name in ("id", "statement", "where")}
    part = {name: claim[name] for name in ("first", "above", "below", "by") if name in claim}
    parts = [_with_sides(one, condition=DECLARED["condition"]) for one in quantities(part, protocol)]
    family = dataset_spec(dataset).family
    printed = _smallest(parts, family)
    known: dict[str, Any] = {
        **named,
        "dataset": dataset,
        "printed": printed[0],
        "printed_against": printed[1],
        "measure": parts[0].label.partition(":")[0],
        "blocks": protocol == "blocks",
    }
    try:
        tried = [(one, _difference(one, results, dataset)) for one in parts]
    except UserError as error:
        return Headline(**known, verdict="not run", reason=str(error))
    estimates = [(one, outcome) for one, outcome in tried if isinstance(outcome, Estimate)]
    if not estimates:
        reasons = dict.fromkeys(outcome for _, outcome in tried if isinstance(outcome, str))
        return Headline(**known, verdict="not testable here", reason="; ".join(reasons))
    smallest, chosen = min(estimates, key=lambda one: one[1].mean)
    other = smallest.sides[1]
    runs = {len(seeds) for seeds in chosen.by_fold.values()}
    if {*chosen.by_fold} == {1}:
        known["printed"], known["printed_against"] = _smallest(parts, family, (1,))
        known["printed_against"] += ", fold 1" * (known["printed"] is not None)
    return Headline(
        **known,
        verdict="undecided",
        effect=100 * chosen.mean,
        low=100 * chosen.low,
        high=100 * chosen.high,
        probability=max(_above_zero(estimate) for _, estimate in estimates),
        against=other.name + ("" if METHODS[other.method].kway_in_papers else " (in print 1-way only)"),
        seeds="-".join(str(count) for count in sorted({min(runs), max(runs)})),
        trainings=min(sum(map(len, estimate.by_fold.values())) for _, estimate in estimates),
    )


def _with_sides(part: Quantity, **changes: Any) -> Quantity:
    return replace(part, sides=tuple(replace(side, **changes) for side in part.sides))


def _above_zero(estimate: Estimate) -> float:
    """Return the one-sided probability of an effect that is not above zero, by the bootstrap's draws."""
    draws = estimate.draws[~np.isnan(estimate.draws)]
    return float((1 + (draws <= 0).sum()) / (1 + len(draws)))


def _smallest(parts: Sequence[Quantity], family: str, folds: Sequence[int] = ()) -> tuple[float | None, str]:
    """Return the smallest effect that the paper prints, on the folds that were measured, and against whom."""
    values = [(_with_sides(one, protocol="journal").printed(family, folds), one.sides[1].name) for one in parts]
    return min(((value, name) for value, name in values if value is not None), default=(None, ""))


def _difference(part: Quantity, results: Results, dataset: str) -> Estimate | str:
    """Return the paired difference of the runs that may decide, or which side has collapsed, in words.

    UserError where a side has no runs.
    """
    runs = [[run for run in side if not _seen(run)] for side in part.runs(results, dataset)]
    if not all(runs):
        raise UserError("the only runs so far were made before the claims were fixed and decide nothing")
    if reason := part.collapsed(runs):
        return reason
    return contrast([Term(one.weight, own, one.measure) for one, own in zip(part.sides, runs, strict=True)])


def _seen(run: Measured) -> bool:
    """True for a run that was known before the claims were fixed."""
    key = run.key
    return any(
        (key.dataset, key.fold, key.seed, key.protocol) == (one["dataset"], one["fold"], one["seed"], "journal")
        and key.method in one["method"]
        and key.ablation in one["ablation"]
        for one in DECLARED["seen"]
    )
