"""Methods against each other, one row a method: EOP-Net's Tables 2-4, POPNet's 1 and 2, the same on real photos.

Each way has a table of its own. A row holds the paper's number, the measured one, both ranks, and the verdict on the
paper's order between this method and the one that the paper is about.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np

from oshp_lite.study.collapse import collapsed
from oshp_lite.study.experiments import METHODS, label, runs_of
from oshp_lite.study.printed.numbers import PrintedTable, column_name, printed_table, printed_tables
from oshp_lite.study.quantities import Outcome, Quantity, Side, Untestable, verdict
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.measure import (
    BEHIND,
    COLLAPSED,
    HEADS,
    MEASURES,
    ONE_FOLD,
    data_name,
    finished,
    runs_cell,
    settings_notes,
    tuning_notes,
    where_measured,
)
from oshp_lite.study.tables.scores import HOW, SCREENING, Line, cells_of, shown_on
from oshp_lite.study.tables.table import OURS, Cell, Column, Row, Table, missing

MAIN = ("novel", "human")
"""Measures that a page shows at once; the others, and the single folds, are behind them."""
_SECTIONS = {
    "both": "Methods that the paper compares",
    "ours": "Beside them: not in the paper's table",
    "ceiling": "Upper bound: the same encoder, trained with the labels of all classes",
    "screened": "The same predictions within EOP-Net's person mask",
}
FOLDS = {"mean": "mean of both folds", "1": "fold 1", "2": "fold 2"}


@dataclass(frozen=True)
class Frame:
    """What the cells of a comparison share.

    order      the printed table whose ranks count; shown: its numbers stand in the table too
    reference  the method that the others are compared with
    fold       "mean" where both folds were run, else "1"
    """

    way: Literal["k", "1"]
    order: PrintedTable
    shown: bool
    reference: Line
    lines: Sequence[Line]
    datasets: Sequence[str]
    fold: str
    results: Results

    def place(self, measure: str) -> str:
        """Return the place of a measure ("k.novel.mean")."""
        return f"{self.way}.{measure}.{self.fold}"

    def levels(self, measure: str, data: str) -> dict[str, tuple[float, float]]:
        """Return {method: (printed, measured)} of the methods that have both numbers and have not collapsed."""
        place, both = self.place(measure), {}
        for line in self.lines:
            (cell,) = cells_of(line, "measured", data, [place], self.results)
            theirs = line.printed.cells[place] if line.printed else None
            if theirs and cell.value is not None and not collapsed(line.runs(self.results, data)):
                both[line.method] = (theirs.value, round(cell.value, 6))
        return both if len(both) > 1 else {}


def ranks(levels: Mapping[str, Sequence[float]]) -> dict[str, tuple[int, ...]]:
    """Return each method's rank (1 the best) by every level that all of them have."""
    from scipy.stats import rankdata

    columns = [
        rankdata(np.negative(column), "min").astype(int).tolist() for column in zip(*levels.values(), strict=True)
    ]
    return dict(zip(levels, zip(*columns, strict=True), strict=True))


def frame_of(name: str, spec: Mapping[str, Any], results: Results) -> Frame:
    """Return what a comparison declares, with the results at hand."""
    own = spec.get("of", name)
    printed = printed_tables().get(own)
    order = printed or printed_table("eopnet2")
    lines, datasets = shown_on(_methods(own, spec, order), results)
    reference = next(line for line in lines if line.method == spec.get("reference", "eopnet"))
    both = {data: [line for line in lines if _folds(line, data, results) == {1, 2}] for data in datasets}
    some = {data: [line for line in lines if line.runs(results, data)] for data in datasets}
    whole = all(reference in both[data] and 2 * len(both[data]) >= len(some[data]) for data in datasets)
    fold = "mean" if whole else "1"
    return Frame(spec["way"], order, printed is not None, reference, lines, datasets, fold, results)


def comparison_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """Return one table of kind "comparison"."""
    frame = frame_of(name, spec, results)
    columns, rows = list(_columns(frame)), list(_rows(frame))
    used = "".join(cell.main for row in rows for cell in row.cells)
    notes = [
        f"{HOW} The best of each column in bold, ceilings and screened rows left out.",
        f"Verdict: is {frame.reference.name} better (or worse) than this method here, as in {frame.order.label}? It "
        "rests on the paired difference over all folds and seeds that both have: reproduced where the whole 95 % "
        "interval lies on the paper's side of zero, not reproduced on the other side, undecided between; with fewer "
        "than three trainings it must keep 3 points from zero. A method with one training is compared with the "
        "same run of the other: that need not be the difference of the means shown.",
        "Ranks are among the methods that have both numbers. A measured number belongs to the data and the profile of "
        "its row; it is not the paper's experiment repeated.",
        *spec.get("notes", ()),
    ]
    notes += [SCREENING] if any(row.kind == "screened" for row in rows) else []
    notes += [f"{OURS} ours: the paper's table has no such row."] if OURS in used else []
    notes += [f"{ONE_FOLD} one fold only; the average needs both."] if ONE_FOLD in used else []
    if COLLAPSED in used:
        notes.append(f"{COLLAPSED} collapsed: one class takes nearly everything. Such a method decides nothing.")
    if frame.way == "1":
        notes.append("Bi-mIoU is pooled over every test pair; the released code takes every tenth.")
    # the first dataset's runs speak for all: a method has one recipe per profile, dataset and way
    first = {line.method: line.runs(results, frame.datasets[0]) for line in frame.lines if line.method in METHODS}
    notes += settings_notes(first) + tuning_notes(results, [method for method, runs in first.items() if runs])
    return finished(name, spec["title"], columns, rows, notes, compact=True, printed=spec.get("of", name))


def _methods(own: str, spec: Mapping[str, Any], order: PrintedTable) -> list[Line]:
    """Return every planned method in the registry's order, then the declared rows of ours."""
    planned = dict.fromkeys(key for profile in ("lite", "paper") for key in runs_of(own, profile))
    keys, lines = [key for key in planned if key.way == spec["way"]], []
    for method in METHODS.values():
        mine = tuple(key for key in keys if key.method == method.name)
        row = order.row(method.name) or order.row(method.name, "three-stage")
        if row is not None and row.cells.get(f"{spec['way']}.novel.1") is None:
            row = None
        if mine:
            name = method.label + ("" if row else OURS)
            lines.append(Line(name, method.name, mine, row, screened=method.name != "eopnet"))
    for row in spec.get("rows", ()):
        one, ablation, needs = row["method"], row.get("ablation", ""), row.get("needs", "")
        name = row.get("name") or f"{METHODS[one].label}, {label(one, ablation)}"
        places = dict.fromkeys((key.dataset, key.fold) for key in keys)
        mine = tuple(RunKey(one, data, fold, spec["way"], 0, ablation) for data, fold in places)
        lines.append(
            Line(name + OURS, f"{one}-{ablation}", mine, None, extra=not needs, screened=one != "eopnet", needs=needs)
        )
    return lines


def _folds(line: Line, data: str, results: Results) -> set[int]:
    return {run.key.fold for run in line.runs(results, data)}


def _columns(frame: Frame) -> Iterator[Column]:
    """Yield the columns: what is compared, then what stands behind it."""
    theirs = f"paper, {frame.order.dataset.upper()}"
    yield Column("method", "", "row")
    for measure in MAIN:
        group = f"{HEADS[measure]}, {FOLDS[frame.fold]}"
        if frame.shown:
            yield Column(theirs, group, "paper")
        for data in frame.datasets:
            beside = f", {data}" if len(frame.datasets) > 1 else ""
            yield Column(f"here, {data_name(data)}", group, "measured")
            yield Column(f"rank there and here{beside}", group, "verdict")
            yield Column(f"order with {frame.reference.name} as in print?{beside}", group, "verdict")
    for place in _behind(frame):
        group = column_name(place).partition("-way ")[2]
        if frame.shown:
            yield Column(theirs, group, "paper", behind=True)
        for data in frame.datasets:
            yield Column(f"here, {data_name(data)}", group, "measured", behind=True)
    yield from BEHIND


def _behind(frame: Frame) -> list[str]:
    """Return the places of this way that are not among the main ones."""
    shown = {frame.place(measure) for measure in MAIN}
    return [place for place in frame.order.columns if place.startswith(f"{frame.way}.") and place not in shown]


def _rows(frame: Frame) -> Iterator[Row]:
    """Yield a row a method, by section, and the screened ones below."""
    kinds = [_kind(line) for line in frame.lines]
    places = {place: ranks(frame.levels(*place)) for place in product(MAIN, frame.datasets)}
    for kind in ("both", "ours", "ceiling", "screened"):
        for line, own in zip(frame.lines, kinds, strict=True):
            screened = kind == "screened" and line.screened
            if own == kind or (screened and any(line.runs(frame.results, data) for data in frame.datasets)):
                yield _row(frame, line, kind, places)


def _kind(line: Line) -> str:
    return "ceiling" if line.method.endswith("-ceiling") else "both" if line.printed else "ours"


def _row(frame: Frame, line: Line, kind: str, places: Mapping[tuple[str, str], Mapping[str, tuple[int, ...]]]) -> Row:
    """Return a line's row; those that are screened or a ceiling have measured numbers alone."""
    plain = kind in ("both", "ours")
    source = "screened" if kind == "screened" else "measured"

    def paper(place: str) -> list[Cell]:
        if not frame.shown:
            return []
        return cells_of(line, "paper", frame.order.dataset, [place], frame.results) if kind == "both" else [Cell("")]

    def here(place: str, data: str) -> Cell:
        main = place in map(frame.place, MAIN)
        (cell,) = cells_of(line, source, data, [place], frame.results, partial=main)
        if cell.kind == "measured" and collapsed(line.runs(frame.results, data)):
            cell.mark += COLLAPSED
        return cell

    cells: list[Cell] = []
    for measure in MAIN:
        cells += paper(frame.place(measure))
        for data in frame.datasets:
            cells.append(here(frame.place(measure), data))
            cells.append(_rank(places[measure, data], line) if kind == "both" else Cell(""))
            cells.append(_verdict(frame, line, measure, data, cells[-2].reason) if plain else Cell(""))
    for place in _behind(frame):
        cells += [*paper(place), *(here(place, data) for data in frame.datasets)]
    where = " | ".join(where_measured(line.runs(frame.results, data), data) for data in frame.datasets)
    name = f"{line.name}, screened" if kind == "screened" else line.name
    runs = runs_cell(cell for cell in cells if cell.kind == "measured")
    whole = (Cell(name), *cells, Cell(where), runs)
    return Row(whole, "both" if plain else kind, line.method, _SECTIONS[kind])


def _rank(places: Mapping[str, tuple[int, ...]], line: Line) -> Cell:
    """Return how a method's rank differs from the paper's: "2 up (4 to 2)"."""
    if line.method not in places:
        return missing("a rank needs a measured number, of two methods at least, that did not collapse", "–")
    there, here = places[line.method]
    moved = f"{abs(there - here)} {'up' if here < there else 'down'}" if there != here else "same"
    return Cell(f"{moved} ({there} to {here})" if there != here else f"{moved} ({here})", "verdict")


def _verdict(frame: Frame, line: Line, measure: str, data: str, lacking: str) -> Cell:
    """Return whether the paper's order between a line and the reference holds, with the paired difference.

    lacking  why the line has no number, if it has none
    """
    reference, place = frame.reference, frame.place(measure)
    if line is reference:
        return Cell("")
    ahead = 1.0
    if line.printed and reference.printed:
        one, two = (own.printed.cells[place] for own in (reference, line) if own.printed)
        ahead = -1.0 if one and two and one.value < two.value else 1.0
    sides = tuple(_side(own, weight, measure) for own, weight in ((reference, ahead), (line, -ahead)))
    outcome = Quantity("", "difference", sides).measure(frame.results, data)
    runs = tuple(run.key.slug for own in (reference, line) for run in own.runs(frame.results, data))
    if isinstance(outcome, Untestable):
        return Cell("not testable here", "verdict", reason=outcome.reason, runs=runs)
    if not isinstance(outcome, Outcome):
        return missing(lacking or outcome.reason)
    word = verdict(outcome) if line.printed else "not in print"
    return Cell(word, "verdict", outcome.mean, outcome.low, outcome.high, runs=runs)


def _side(line: Line, weight: float, measure: str) -> Side:
    key = line.keys[0]
    return Side(key.method, key.ablation, key.way, MEASURES[measure], weight, False, key.protocol, key.condition)
