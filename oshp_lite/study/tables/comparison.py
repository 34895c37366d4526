"""Methods against each other: EOP-Net's Tables 2-4, POPNet's Tables 1 and 2, and the same on CCP-OS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oshp_lite.study.experiments import METHODS, label, runs_of
from oshp_lite.study.printed.numbers import PAPER_NAMES, printed_table, printed_tables
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.measure import (
    HEADS,
    HOW,
    SCREENING,
    all_seeds,
    data_name,
    finished,
    measured_cell,
    runs_label,
    settings_notes,
    tuning_notes,
    where_measured,
)
from oshp_lite.study.tables.table import OURS, Cell, Column, Label, Missing, Note, PrintedCell, Row, Table

ONE_FOLD = "‡"
SCREENED = "measured, screened by EOP-Net"
_FOLD = {"1": "fold 1", "2": "fold 2", "mean": "average"}

_APART = Note(
    "A measured number belongs to the data and the profile named in its row; it is not the paper's experiment repeated."
)
_MARKS = (
    Note("ours: the papers have no such row, or no k-way form of this method.", OURS),
    Note("one fold only; the average needs both.", ONE_FOLD),
)
_BI = Note("Bi-mIoU is pooled over every test pair; the released code takes every tenth.")


def comparison_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """A comparison of methods; rows: paper, measured, measured and screened."""
    printed = printed_tables().get(name)
    keys_of = [_by_method(runs_of(name, profile)) for profile in ("lite", "paper")]
    if _dataset(keys_of[0]) == _dataset(keys_of[1]):
        keys_of = keys_of[:1]
    else:  # the papers' own dataset as soon as something was measured on it, and alone if nothing else was
        keys_of = [keys for keys in keys_of if any(all_seeds(results, some) for some in keys.values())] or keys_of[:1]
    places = (printed or printed_table("eopnet2")).columns
    rows: list[Row] = []
    for method in METHODS.values():
        if not any(method.name in keys for keys in keys_of):
            continue
        title = f"{method.label} (ours, in no paper){OURS}" if method.ours else method.label
        row = printed.row(method.name) or printed.row(method.name, "three-stage") if printed else None
        if row is not None and printed is not None:
            numbers = [row.cells[place] for place in places]
            cells = [
                Missing("the paper prints no number here", "–") if number is None else PrintedCell(number)
                for number in numbers
            ]
            data = Label(f"{data_name(printed.dataset)}, as printed")
            rows.append(Row((Label(title), Label("paper"), data, *cells, Label("–")), "paper", method.name))
        marks = {"k": OURS if method.ours or not method.kway_in_papers else "", "1": OURS if method.ours else ""}
        for keys in keys_of:
            mine = keys.get(method.name, [])
            rows += _measured_rows(title, method.name, mine, places, results, marks, screen=method.name != "eopnet")
    for extra in spec.get("rows", ()):
        method_name, ablation, condition = extra["method"], extra.get("ablation", ""), extra.get("condition", "")
        title = f"{METHODS[method_name].label}, {label(method_name, ablation, condition)}{OURS}"
        for keys in keys_of:
            changed = [RunKey(method_name, _dataset(keys), 1, "k", 0, ablation, condition=condition)]
            if all_seeds(results, changed):
                marks = {"k": OURS, "1": OURS}
                rows += _measured_rows(title, f"{method_name}-{ablation or condition}", changed, places, results, marks)
    used = "".join(cell.shown for row in rows for cell in row.cells)
    notes = [HOW, _APART]
    notes += [SCREENING] if any(row.kind == "screened" for row in rows) else []
    notes += [note for note in _MARKS if note.mark in used]
    notes += [_BI] if any(place.startswith("1.bi") for place in places) else []
    # the first dataset's runs speak for all: a method has one recipe per profile and dataset
    measured = {method: all_seeds(results, keys) for method, keys in keys_of[0].items()}
    notes += settings_notes({METHODS[method].label: runs for method, runs in measured.items()})
    notes += tuning_notes(results, [method for method, runs in measured.items() if runs])
    source = "in no paper" if printed is None else f"{PAPER_NAMES[printed.paper]}, {printed.label}"
    return finished(name, spec["title"], source, _columns(places), rows, notes, ("both",), ("paper", "measured"))


def _columns(places: Sequence[str]) -> list[Column]:
    head = [Column("method", "", "row"), Column("number", "", "row"), Column("data and profile", "", "data")]
    parts = [place.split(".") for place in places]
    scores = [Column(_FOLD[fold], f"{way}-way {HEADS[measure]}") for way, measure, fold in parts]
    return [*head, *scores, Column("runs", "", "runs")]


def _by_method(keys: Sequence[RunKey]) -> dict[str, list[RunKey]]:
    by_method: dict[str, list[RunKey]] = {}
    for key in keys:
        by_method.setdefault(key.method, []).append(key)
    return by_method


def _dataset(keys: Mapping[str, Sequence[RunKey]]) -> str:
    return next(iter(keys.values()))[0].dataset


def _measured_rows(
    title: str,
    group: str,
    keys: Sequence[RunKey],
    places: Sequence[str],
    results: Results,
    marks: Mapping[str, str],
    *,
    screen: bool = True,
) -> Iterator[Row]:
    runs = all_seeds(results, keys)
    data = Label(where_measured(runs, keys[0].dataset))
    for screened in (False, True) if screen and runs else (False,):
        cells = [_cell(keys, place, results, marks, screened) for place in places]
        words, kind = (SCREENED, "screened") if screened else ("measured", "measured")
        yield Row((Label(title), Label(words), data, *cells, runs_label(cells)), kind, group)


def _cell(keys: Sequence[RunKey], place: str, results: Results, marks: Mapping[str, str], screened: bool) -> Cell:
    way, measure, fold = place.split(".")
    mine = [key for key in keys if key.way == way and fold in ("mean", str(key.fold))]
    partial = measure in ("acc", "bi")  # these have an average column only: show the fold there is, and say so
    if not mine or (fold == "mean" and len(mine) < 2 and not partial):
        folds = " and ".join(str(number) for number in sorted({key.fold for key in keys}))
        ways = " and ".join(f"{one}-way" for one in sorted({key.way for key in keys}, reverse=True))
        return Missing(f"not planned: this row exists for fold {folds}, {ways} only")
    mark = marks[way]
    if partial and {key.fold for key in mine if results.seeds(key)} != {1, 2}:
        mark += ONE_FOLD
    return measured_cell(results, mine, measure, screened=screened, mark=mark, partial=partial)
