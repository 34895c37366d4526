"""Tables of what no paper prints: testing bias, what the person mask is worth, what EOP-Net's lead is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oshp_lite.study import lead
from oshp_lite.study.collapse import collapsed
from oshp_lite.study.experiments import DECLARED, METHODS, expand, families, runs_of
from oshp_lite.study.quantities import Outcome, Quantity, Side, Untestable
from oshp_lite.study.records import CONDITIONS, Measured, Results, RunKey
from oshp_lite.study.tables.measure import (
    BEHIND,
    COLLAPSED,
    HEADS,
    ONE_FOLD,
    all_seeds,
    data_name,
    finished,
    measured_cell,
    runs_cell,
    where_measured,
)
from oshp_lite.study.tables.scores import HOW
from oshp_lite.study.tables.table import Cell, Column, Row, Table, missing

_BIAS = {
    "pixels of novel classes called": {
        "novel_as_background": "background",
        "novel_as_novel": "another novel class",
        "novel_as_base": "a base class",
    },
    "pixels of base classes called": {"base_as_background": "background", "base_as_base": "another base class"},
    "novel classes": {"novel_present": "mIoU where present", "novel_alarm": "area claimed where absent"},
    "base classes": {"base_present": "mIoU where present", "base_alarm": "area claimed where absent"},
}
_BIAS_NOTES = (
    "All in per cent, k-way. Testing bias: the share of novel pixels called background minus that of base pixels.",
    "mIoU where present: over the test pairs whose query has the class. Area claimed where absent: share of the photo "
    "that is predicted as a class which the query lacks (false alarms), mean over classes. All are measures of ours, "
    "from the same confusion matrices as the official scores.",
)
_MASK_NOTES = (
    "The papers' rule: a training mask names the base classes and calls everything else background, hidden novel "
    "garments included. Person as a class: the person's unlabelled pixels are one more class in training, which needs "
    "a person mask. Fold 1, k-way; verdicts on the papers' claims rest on the papers' rule alone.",
    "Worth: the paired difference over the seeds that both have, with its 95 % interval.",
)
_LEAD_NOTES = (
    "Paired differences in points with 95 % intervals, k-way, over all folds and seeds that all runs of a row have. "
    "The parts overlap and do not add up to the lead.",
    "Person mask in training: how much smaller the lead is when both learn the person's unlabelled pixels as a class. "
    "Screening at test: what a contender gains when EOP-Net's person mask is laid over its predictions. Rejection of "
    "absent classes: the lead minus the lead on pairs whose query has the class. Contrastive loss and momentum "
    "prototypes: EOP-Net minus EOP-Net without them.",
)


def bias_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """Return what happens to novel and base pixels, a row for each method and dataset."""
    keys = [key for exhibit in spec["of"] for profile in ("lite", "paper") for key in runs_of(exhibit, profile)]
    keys = [key for key in dict.fromkeys(keys) if key.way == "k"]
    columns = [Column("method", "", "row")]
    columns += [Column(label, group, "measured") for group, some in _BIAS.items() for label in some.values()]
    measures = [measure for some in _BIAS.values() for measure in some]
    rows = []
    for data in _datasets(keys, results):
        for method in METHODS.values():
            mine = [key for key in keys if (key.dataset, key.method) == (data, method.name)]
            cells = _scores(results, mine, measures)
            rows.append(_row(method.label, data, cells, all_seeds(results, mine)))
    return finished(name, spec["title"], [*columns, *BEHIND], rows, _notes(_BIAS_NOTES, rows), best=False, compact=True)


def mask_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """Return scores under both label conditions with their paired difference, a row for each method and dataset."""
    second = [key for key in expand(DECLARED["steps"][spec["step"]], "lite") if key.condition == CONDITIONS[1]]
    columns = [Column("method", "", "row")]
    heads = ("the papers' rule", "person as a class", "worth")
    columns += [Column(head, HEADS[measure], "measured") for measure in lead.MEASURES for head in heads]
    rows = []
    for data in dict.fromkeys(key.dataset for key in second):
        for method in METHODS.values():
            keys = [key for key in second if (key.dataset, key.method) == (data, method.name)][:1]
            if not keys:
                continue
            both = [RunKey(method.name, data, 1, "k", condition=condition) for condition in CONDITIONS[:2]]
            cells = []
            for measure in lead.MEASURES:
                cells += [cell for key in both for cell in _scores(results, [key], [measure])]
                sides = (
                    Side(method.name, measure=measure, condition=CONDITIONS[1]),
                    Side(method.name, measure=measure, weight=-1.0, condition=CONDITIONS[0]),
                )
                cells.append(_difference(Quantity("", "difference", sides), _one_fold(results, both), data))
            rows.append(_row(method.label, data, cells, all_seeds(results, both)))
    return finished(name, spec["title"], [*columns, *BEHIND], rows, _notes((HOW, *_MASK_NOTES), rows), best=False)


def lead_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """Return the parts of EOP-Net's lead, by contender."""
    datasets = [families("lite")[family] for family in ("atr", "ccp")]
    columns = [Column("part", "", "row")]
    columns += [Column(HEADS[measure], data_name(data), "measured") for data in datasets for measure in lead.MEASURES]
    rows = []
    for contender in (*lead.CONTENDERS, lead.OWN):
        novel = list(lead.parts(contender, "novel"))
        human = {part.title: part for part in lead.parts(contender, "human")}
        for part in novel:
            cells, runs = [], []
            for data in datasets:
                for one in (part, human.get(part.title)):
                    if one is None:
                        cells.append(missing("a measure of novel classes alone", "–"))
                        continue
                    cells.append(_difference(one.quantity, results, data))
                    runs += [run for side in one.quantity.sides for run in _runs(results, side, data)]
            where = " | ".join(where_measured([run for run in runs if run.key.dataset == d], d) for d in datasets)
            section = f"Lead over {METHODS[contender].label}" if contender else "EOP-Net's own parts"
            title = part.title if contender else f"EOP-Net's {part.title}"
            title = f"{title}, over {METHODS[contender].label}" if contender else title
            rows.append(Row((Cell(title), *cells, Cell(where), runs_cell(cells)), "both", "", section))
    return finished(name, spec["title"], [*columns, *BEHIND], rows, _LEAD_NOTES, best=False)


def _datasets(keys: Sequence[RunKey], results: Results) -> list[str]:
    """Return the datasets with results, or the first of all."""
    every = dict.fromkeys(key.dataset for key in keys)
    return [one for one in every if any(results.seeds(key) for key in keys if key.dataset == one)] or list(every)[:1]


def _scores(results: Results, keys: Sequence[RunKey], measures: Sequence[str]) -> list[Cell]:
    """Return scores over what folds there are; one fold of two, and collapsed methods, are marked."""
    runs = all_seeds(results, keys)
    mark = ONE_FOLD if len(keys) > 1 and len({run.key.fold for run in runs}) == 1 else ""
    mark += COLLAPSED if runs and collapsed(runs) else ""
    return [measured_cell(results, keys, measure, mark=mark, partial=True) for measure in measures]


def _difference(quantity: Quantity, results: Results, data: str) -> Cell:
    """Return a paired difference in points."""
    outcome = quantity.measure(results, data)
    if not isinstance(outcome, Outcome):
        text = "not testable here" if isinstance(outcome, Untestable) else "not run"
        return missing(outcome.reason.removeprefix("not run: "), text)
    slugs = dict.fromkeys(run.key.slug for side in quantity.sides for run in _runs(results, side, data))
    ends = (outcome.mean, outcome.low, outcome.high)
    return Cell(f"{outcome.mean:+z.1f}", "measured", *ends, runs=tuple(slugs), folds=outcome.folds)


def _runs(results: Results, side: Side, data: str) -> list[Measured]:
    return [run for fold in (1, 2) for run in results.seeds(side.key(data, fold))]


def _one_fold(results: Results, keys: Sequence[RunKey]) -> Results:
    """Return the results of these keys alone, all seeds, so that a difference rests on their fold."""
    reasons = {key: getattr(results.get(key), "reason", "") for key in keys if not results.seeds(key)}
    return Results(all_seeds(results, keys), reasons)


def _row(label: str, data: str, cells: Sequence[Cell], runs: Sequence[Measured]) -> Row:
    where = where_measured(runs, data)
    return Row((Cell(label), *cells, Cell(where), runs_cell(cells)), "both", "", data_name(data))


def _notes(notes: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    """Yield the notes, and those of the marks in use."""
    used = {sign for row in rows for cell in row.cells for sign in cell.mark}
    yield from notes
    if ONE_FOLD in used:
        yield f"{ONE_FOLD} one fold only, the others are means of both."
    if COLLAPSED in used:
        yield f"{COLLAPSED} collapsed: one class takes nearly everything. Such a method decides nothing."
