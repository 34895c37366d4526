"""Tables of scores: methods against each other (EOP-Net's Tables 2-4, POPNet's 1 and 2, the same on CCP-OS), and parts
taken away or changed (POPNet's Table 3, EOP-Net's Tables 5-7, its section 6.6.2).

Both are lines of runs under columns of scores, read from sources: the paper, each dataset, each dataset screened. A
comparison puts the sources of a line below each other, a table of parts side by side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oshp_lite.study.experiments import METHODS, families, label, runs_of
from oshp_lite.study.printed.numbers import PrintedRow, PrintedTable, printed_table, printed_tables
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.tables.measure import (
    HEADS,
    all_seeds,
    data_name,
    finished,
    measured_cell,
    runs_cell,
    settings_notes,
    tuning_notes,
    where_measured,
)
from oshp_lite.study.tables.table import NAMED, OURS, Cell, Column, Row, Table, missing, printed_cell

ONE_FOLD = "‡"
_HOW = (
    "Scores in per cent. Measured: the mean over seeds and folds, ± the standard deviation over seeds (n of them), and "
    "in brackets the 95 % interval from drawing query photos with their test pairs (and seeds, from two on) anew. "
    "The best of each column in bold, the paper's and the measured ones apart."
)
_SCREENING = (
    "Screened by EOP-Net: the same predictions, with everything outside the person mask of this protocol's EOP-Net set "
    "to background. EOP-Net's own row has that already."
)
_BI = "Bi-mIoU is pooled over every test pair; the released code takes every tenth."
_BELOW = {
    "comparison": "A measured number belongs to the data and the profile named in its row; it is not the paper's "
    "experiment repeated.",
    "parts": "Rows may rest on different numbers of seeds; the ledger of claims compares what both sides have.",
}
_MARKS = {
    "comparison": (
        f"{OURS} ours: the papers have no such row, or no k-way form of this method.",
        f"{ONE_FOLD} one fold only; the average needs both.",
    ),
    "parts": (f"{OURS} ours: in no paper.",),
}
_WORDS = {"paper": "paper", "measured": "measured", "screened": "measured, screened by EOP-Net"}
_GROUPS = {"paper": "paper, {} fold 1", "measured": "measured on {}, fold 1"}
_GROUPS |= {"screened": _GROUPS["measured"] + ", screened by EOP-Net"}
_FOLD = {"1": "fold 1", "2": "fold 2", "mean": "average"}
_FULL_MOMENTUM = 0.999


@dataclass(frozen=True)
class _Line:
    """One row, or the rows of one method.

    keys     its runs' first seeds on every dataset that the table may show
    printed  the paper's row (None: ours); marks: what stands behind a measured number by way
    extra    it stands in the table once it was run; screened: its predictions can be screened by EOP-Net
    """

    name: str
    group: str
    keys: tuple[RunKey, ...]
    printed: PrintedRow | None
    marks: Mapping[str, str]
    extra: bool = False
    screened: bool = True

    def runs(self, results: Results, dataset: str) -> list[Measured]:
        return all_seeds(results, (key for key in self.keys if key.dataset == dataset))


def score_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """One table of kind "comparison" or "parts"."""
    printed = printed_tables().get(name)
    side_by_side = spec["kind"] == "parts"
    lines = (_parts if side_by_side else _methods)(name, spec, printed, results)
    # the papers' own dataset as soon as something was measured on it, and alone if nothing else was
    candidates = dict.fromkeys(key.dataset for line in lines for key in line.keys)
    datasets = [one for one in candidates if any(line.runs(results, one) for line in lines)] or list(candidates)[:1]
    lines = [line for line in lines if not line.extra or any(line.runs(results, one) for one in datasets)]
    sources = [("paper", printed.dataset)] if printed else []
    for data in datasets:
        sources.append(("measured", data))
        runs = [run for line in lines for run in line.runs(results, data)]
        if not side_by_side or (spec.get("screened") and any(run.screened is not None for run in runs)):
            sources.append(("screened", data))
    if side_by_side:
        columns, rows = _side_by_side(spec.get("first", "parts"), lines, sources, results)
    else:
        places = (printed or printed_table("eopnet2")).columns
        columns, rows = _below_each_other(places, lines, sources, results)
    notes = [_HOW, _BELOW[spec["kind"]], *spec.get("notes", ())]
    screened = any(column.kind == "screened" for column in columns) or any(row.kind == "screened" for row in rows)
    notes += [_SCREENING] if screened else []
    used = "".join(cell.shown for row in rows for cell in row.cells)
    notes += [note for note in _MARKS[spec["kind"]] if note[0] in used]
    if not side_by_side:
        notes += [_BI] if any(place.startswith("1.bi") for place in places) else []
        # the first dataset's runs speak for all: a method has one recipe per profile and dataset
        first = {line.group: line.runs(results, datasets[0]) for line in lines if line.group in METHODS}
        notes += settings_notes(first)
        notes += tuning_notes(results, [method for method, runs in first.items() if runs])
    return finished(name, spec["title"], columns, rows, notes)


# ------------------------------------------------------------------------------------------------------- the lines


def _methods(name: str, spec: Mapping[str, Any], printed: PrintedTable | None, results: Results) -> list[_Line]:
    """Every planned method in the registry's order, then the declared rows of ours."""
    keys = dict.fromkeys(key for profile in ("lite", "paper") for key in runs_of(name, profile))
    lines = []
    for method in METHODS.values():
        mine = tuple(key for key in keys if key.method == method.name)
        title = f"{method.label} (ours, in no paper){OURS}" if method.ours else method.label
        row = printed.row(method.name) or printed.row(method.name, "three-stage") if printed else None
        marks = {"k": OURS if method.ours or not method.kway_in_papers else "", "1": OURS if method.ours else ""}
        if mine:
            lines.append(_Line(title, method.name, mine, row, marks, screened=method.name != "eopnet"))
    for row in spec.get("rows", ()):
        one, ablation, condition = row["method"], row.get("ablation", ""), row.get("condition", "")
        title = f"{METHODS[one].label}, {label(one, ablation, condition)}{OURS}"
        datasets = dict.fromkeys(key.dataset for key in keys)
        mine = tuple(RunKey(one, data, 1, "k", 0, ablation, condition=condition) for data in datasets)
        lines.append(_Line(title, f"{one}-{ablation or condition}", mine, None, {"k": OURS, "1": OURS}, extra=True))
    return lines


def _parts(name: str, spec: Mapping[str, Any], printed: PrintedTable | None, results: Results) -> list[_Line]:
    """The paper's rows, then the declared ones of ours, on the declared datasets or those of procedural and real ATR.

    Where the study's full network has another momentum than the paper's 0.999, it gets a row under its own value.
    """
    protocol, mark = (printed.protocol, OURS) if printed else (spec.get("protocol", ""), "")
    datasets = spec.get("datasets") or [families(profile)["atr"] for profile in ("lite", "paper")]
    full = all_seeds(results, [RunKey("eopnet", data, 1, "k") for data in datasets] if name == "eopnet6" else ())
    options = [run.provenance.get("settings", {}).get("options", {}) for run in full]
    own = sorted({float(some.get("momentum", _FULL_MOMENTUM)) for some in options} - {_FULL_MOMENTUM})

    def line(name: str, method: str, ablation: str = "", condition: str = "", known: PrintedRow | None = None) -> _Line:
        keys = tuple(RunKey(method, data, 1, "k", 0, ablation, protocol, condition) for data in datasets)
        return _Line(name, "", keys, known, {"k": "" if known else mark}, extra=bool(printed) and known is None)

    names, usual = spec.get("names", {}), f"momentum-{_FULL_MOMENTUM}" if own else ""
    rows = printed.rows if printed else ()
    lines = [line(names.get(row.name, row.name), row.method, row.ablation or usual, known=row) for row in rows]
    lines += [line(**{**row, "name": row["name"] + mark}) for row in spec.get("rows", ())]
    title = f"{', '.join(f'{value:g}' for value in own)} (the full network here){OURS}"
    return [*lines, line(title, "eopnet")] if own else lines


# ------------------------------------------------------------------------------------------------------ the layouts


def _below_each_other(
    places: Sequence[str], lines: Sequence[_Line], sources: Sequence[tuple[str, str]], results: Results
) -> tuple[list[Column], list[Row]]:
    """A row for each source of a line, unless that was never meant to be there."""
    parts = [place.split(".") for place in places]
    columns = [*NAMED, *(Column(_FOLD[fold], f"{way}-way {HEADS[measure]}") for way, measure, fold in parts)]
    rows = []
    for line in lines:
        for kind, data in sources:
            runs = line.runs(results, data)
            if {"paper": line.printed, "measured": runs or not line.extra, "screened": runs and line.screened}[kind]:
                where = f"{data_name(data)}, as printed" if kind == "paper" else where_measured(runs, data)
                cells = _cells(line, kind, data, places, results)
                words = (Cell(line.name), Cell(_WORDS[kind]), Cell(where))
                rows.append(Row((*words, *cells, runs_cell(cells)), kind, line.group))
    return [*columns, Column("runs", "", "runs")], rows


def _side_by_side(
    first: str, lines: Sequence[_Line], sources: Sequence[tuple[str, str]], results: Results
) -> tuple[list[Column], list[Row]]:
    """One row a line, two columns a source."""
    places = ("k.novel.1", "k.human.1")
    columns = [Column(first, "", "row")]
    for kind, data in sources:
        group = _GROUPS[kind].format(data_name(data))
        columns += [Column(HEADS[place.split(".")[1]], group, kind) for place in places]
    rows = []
    for line in lines:
        cells = [cell for kind, data in sources for cell in _cells(line, kind, data, places, results)]
        where = " | ".join(
            where_measured(line.runs(results, data), data) for kind, data in sources if kind == "measured"
        )
        rows.append(Row((Cell(line.name), *cells, Cell(where), runs_cell(cells))))
    return [*columns, Column("data and profile", "", "data"), Column("runs", "", "runs")], rows


def _cells(line: _Line, kind: str, data: str, places: Sequence[str], results: Results) -> list[Cell]:
    """A line's numbers of one source, one a place ("k.novel.1": way, measure, fold or "mean")."""
    if kind == "paper":
        if line.printed is None:
            return [printed_cell(None, "the paper has no such row")] * len(places)
        return [printed_cell(line.printed.cells[place]) for place in places]
    keys, cells = [key for key in line.keys if key.dataset == data], []
    for way, measure, fold in (place.split(".") for place in places):
        mine = [key for key in keys if key.way == way and fold in ("mean", str(key.fold))]
        partial = measure in ("acc", "bi")  # these have an average column only: show the fold there is, and say so
        if not mine or (fold == "mean" and len(mine) < 2 and not partial):
            folds = " and ".join(str(number) for number in sorted({key.fold for key in keys}))
            ways = " and ".join(f"{one}-way" for one in sorted({key.way for key in keys}, reverse=True))
            cells.append(missing(f"not planned: this row exists for fold {folds}, {ways} only"))
            continue
        one_fold = partial and {key.fold for key in mine if results.seeds(key)} != {1, 2}
        mark, screened = line.marks[way] + (ONE_FOLD if one_fold else ""), kind == "screened"
        cells.append(measured_cell(results, mine, measure, screened=screened, mark=mark, partial=partial))
    return cells
