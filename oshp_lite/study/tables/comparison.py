"""Methods against each other: EOP-Net's Tables 2-4, POPNet's Tables 1 and 2, and the same on CCP-OS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oshp_lite.study.experiments import METHODS, PAPERS_TREATMENT, Method, label, runs_of
from oshp_lite.study.printed.numbers import PAPER_NAMES, PrintedTable, printed_table
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.cells import (
    OURS,
    Cell,
    Column,
    Label,
    Missing,
    Note,
    PrintedCell,
    Row,
    Table,
    text_of,
)
from oshp_lite.study.tables.measure import (
    all_seeds,
    data_name,
    measured_cell,
    runs_label,
    settings_notes,
    tuning_notes,
    where_measured,
    with_best,
    with_notes,
)

ONE_FOLD = "‡"
SCREENED = "measured, screened by EOP-Net"
_FOLD = {"1": "fold 1", "2": "fold 2", "mean": "average"}
_HEAD = {"novel": "novel mIoU", "human": "human mIoU", "acc": "overall accuracy", "bi": "Bi-mIoU"}
_NONE_PRINTED = "the paper prints no number here"

HOW = Note(
    "Scores in per cent. Measured: the mean over seeds and folds, ± the standard deviation over seeds (n of them), and "
    "in brackets the 95 % interval from drawing query photos with their test pairs (and seeds, from two on) anew. "
    "The best of each column in bold, the paper's and the measured ones apart."
)
APART = Note(
    "A measured number belongs to the data and the profile named in its row; it is not the paper's experiment repeated."
)
SCREENING = Note(
    "Screened by EOP-Net: the same answers, with everything outside the person mask of this protocol's EOP-Net set to "
    "background. EOP-Net's own row has that already."
)
OURS_NOTE = Note("ours: the papers have no such row, or no k-way form of this method.", OURS)
ONE_FOLD_NOTE = Note("one fold only; the average needs both.", ONE_FOLD)

_TITLES = {
    "popnet1": "All methods of POPNet's paper, k-way",
    "popnet2": "All methods of POPNet's paper, 1-way",
    "eopnet2": "All methods on ATR-OS and its procedural counterpart",
    "eopnet3": "All methods on LIP-OS and its procedural counterpart",
    "eopnet4": "All methods on CIHP-OS and its procedural counterpart",
    "ccp": "All methods on real photos (CCP-OS), in no paper",
}
_EXTRA = {
    "eopnet2": (
        ("panet", "bg-panet"),
        *((name, "unlabelled-background") for name in PAPERS_TREATMENT),
        ("label_transfer", "dino"),
        ("eopnet", "ceiling"),
    ),
    "ccp": (("label_transfer", "dino"), ("eopnet", "ceiling")),
}
"""Rows of ours that appear once they were run: variants of a method, (method, ablation)."""


def comparison_table(name: str, results: Results) -> Table:
    """One of popnet1, popnet2, eopnet2, eopnet3, eopnet4, ccp; rows: paper, measured, measured and screened."""
    printed = None if name == "ccp" else printed_table(name)
    keys_of = [_by_method(runs_of(name, profile)) for profile in ("lite", "paper")]
    if _dataset(keys_of[0]) == _dataset(keys_of[1]):
        keys_of = keys_of[:1]
    else:  # the papers' own dataset as soon as something was measured on it, and alone if nothing else was
        keys_of = [keys for keys in keys_of if _any(results, keys)] or keys_of[:1]
    places = (printed or printed_table("eopnet2")).columns
    columns = _columns(places)
    rows = []
    for method in METHODS.values():
        if any(method.name in keys for keys in keys_of):
            rows += list(_rows(method, printed, keys_of, places, results))
    for method_name, ablation in _EXTRA.get(name, ()):
        for keys in keys_of:
            changed = [RunKey(method_name, _dataset(keys), 1, "k", 0, ablation)]
            if all_seeds(results, changed):
                text = f"{METHODS[method_name].label}, {label(method_name, ablation)}{OURS}"
                group = f"{method_name}-{ablation}"
                rows += list(_measured_rows(text, group, changed, places, results, OURS, OURS, screen=True))
    scores = [place for place, column in enumerate(columns) if column.kind == "both"]
    rows = with_best(rows, scores, ("paper", "measured"))
    rows, notes = with_notes(rows)
    marks = {mark for row in rows for cell in row.cells for mark in (OURS, ONE_FOLD) if mark in text_of(cell)}
    general = [HOW, APART]
    general += [SCREENING] if any(row.kind == "screened" for row in rows) else []
    general += [note for note in (OURS_NOTE, ONE_FOLD_NOTE) if note.mark in marks]
    if any(place.startswith("1.bi") for place in places):
        general.append(Note("Bi-mIoU is pooled over every test pair; the released code takes every tenth."))
    # the first dataset's runs speak for all: a method has one recipe per profile and dataset
    general += settings_notes([(METHODS[name].label, all_seeds(results, keys)) for name, keys in keys_of[0].items()])
    general += tuning_notes(results, [name for name, keys in keys_of[0].items() if all_seeds(results, keys)])
    where = "in no paper" if printed is None else f"{PAPER_NAMES[printed.paper]}, {printed.label}"
    return Table(name, _TITLES[name], where, tuple(columns), tuple(rows), (*general, *notes))


def _columns(places: Sequence[str]) -> list[Column]:
    scores = []
    for place in places:
        way, measure, fold = place.split(".")
        group = f"{'k' if way == 'k' else '1'}-way {_HEAD[measure]}"
        scores.append(Column(_FOLD[fold], group))
    head = [Column("method", "", "row"), Column("number", "", "row"), Column("data and profile", "", "data")]
    return [*head, *scores, Column("runs", "", "runs")]


def _by_method(keys: Sequence[RunKey]) -> dict[str, list[RunKey]]:
    found: dict[str, list[RunKey]] = {}
    for key in keys:
        found.setdefault(key.method, []).append(key)
    return found


def _dataset(keys: dict[str, list[RunKey]]) -> str:
    return next(iter(keys.values()))[0].dataset


def _any(results: Results, keys: dict[str, list[RunKey]]) -> bool:
    return any(results.seeds(key) for some in keys.values() for key in some)


def _rows(
    method: Method,
    printed: PrintedTable | None,
    keys_of: Sequence[dict[str, list[RunKey]]],
    places: Sequence[str],
    results: Results,
) -> Iterator[Row]:
    name = f"{method.label} (ours, in no paper){OURS}" if method.ours else method.label
    row = None if printed is None else next((row for row in printed.rows if row.method == method.name), None)
    if row is not None and printed is not None:
        numbers = [row.cells[place] for place in places]
        cells: list[Cell] = [
            Missing(_NONE_PRINTED, "–") if number is None else PrintedCell(number) for number in numbers
        ]
        data = Label(f"{data_name(printed.dataset)}, as printed")
        yield Row((Label(name), Label("paper"), data, *cells, Label("–")), "paper", method.name)
    for keys in keys_of:
        mine = keys.get(method.name, [])
        kway_mark = OURS if method.ours or not method.kway_in_papers else ""
        one_mark = OURS if method.ours else ""
        screen = method.name != "eopnet"
        yield from _measured_rows(name, method.name, mine, places, results, kway_mark, one_mark, screen=screen)


def _measured_rows(
    name: str,
    group: str,
    keys: Sequence[RunKey],
    places: Sequence[str],
    results: Results,
    kway_mark: str,
    one_mark: str,
    *,
    screen: bool,
) -> Iterator[Row]:
    found = all_seeds(results, keys)
    data = Label(where_measured(found, keys[0].dataset))
    for screened in (False, True):
        if screened and not (screen and found):
            continue
        cells = [_cell(keys, place, results, kway_mark, one_mark, screened) for place in places]
        words, kind = (SCREENED, "screened") if screened else ("measured", "measured")
        yield Row((Label(name), Label(words), data, *cells, runs_label(cells)), kind, group)


def _cell(keys: Sequence[RunKey], place: str, results: Results, kway_mark: str, one_mark: str, screened: bool) -> Cell:
    way, measure, fold = place.split(".")
    mine = [key for key in keys if key.way == way and fold in ("mean", str(key.fold))]
    if not mine:
        return Missing(_not_planned(keys))
    mark = kway_mark if way == "k" else one_mark
    # accuracy and Bi-mIoU have an average column only: show the fold there is, and say so
    partial = measure in ("acc", "bi")
    if partial and {key.fold for key in mine if results.seeds(key)} != {1, 2}:
        mark += ONE_FOLD
    elif fold == "mean" and len(mine) < 2:
        return Missing(_not_planned(keys))
    return measured_cell(results, mine, measure, screened=screened, mark=mark, partial=partial)


def _not_planned(keys: Sequence[RunKey]) -> str:
    folds = " and ".join(str(fold) for fold in sorted({key.fold for key in keys}))
    ways = " and ".join(f"{way}-way" for way in sorted({key.way for key in keys}, reverse=True))
    return f"not planned: this row exists for fold {folds}, {ways} only"
