"""Parts taken away or changed: POPNet's Table 3, EOP-Net's Tables 5-7 and the comparison of section 6.6.2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oshp_lite.study.experiments import families
from oshp_lite.study.printed.numbers import PAPER_NAMES, printed_tables
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
    where_measured,
)
from oshp_lite.study.tables.table import OURS, Cell, Column, Label, Missing, Note, PrintedCell, Row, Table

_MEASURES = ("novel", "human")
_SEEDS = Note("Rows may rest on different numbers of seeds; the ledger of claims compares what both sides have.")
_FULL_MOMENTUM = 0.999


@dataclass(frozen=True)
class _Line:
    """One row: its name, which run, under which ablation it is printed (None: nowhere, the row is ours)."""

    name: str
    method: str
    ablation: str
    printed: str | None
    condition: str = ""

    def key(self, dataset: str, protocol: str) -> RunKey:
        return RunKey(self.method, dataset, 1, "k", 0, self.ablation, protocol, self.condition)


def parts_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """The parts of one network; the paper's columns, if it has such a table, beside those of each dataset."""
    printed = printed_tables().get(name)
    protocol = printed.protocol if printed else spec.get("protocol", "journal")
    names = spec.get("names", {})
    lines = (
        [_Line(names.get(row.name, row.name), row.method, row.ablation, row.ablation) for row in printed.rows]
        if printed
        else []
    )
    mark = OURS if printed else ""
    ours = [
        _Line(f"{row['name']}{mark}", row["method"], row.get("ablation", ""), None, row.get("condition", ""))
        for row in spec.get("rows", ())
    ]
    keys_of = {data: [line.key(data, protocol) for line in (*lines, *ours)] for data in _datasets(spec)}
    datasets = [data for data, keys in keys_of.items() if all_seeds(results, keys)] or list(keys_of)[:1]
    if name == "eopnet6":
        lines, ours = _with_own_momentum(lines, ours, results, datasets)
    lines += [one for one in ours if not printed or all_seeds(results, [one.key(data, protocol) for data in datasets])]
    runs = {data: [run for line in lines for run in results.seeds(line.key(data, protocol))] for data in datasets}
    # (dataset, screened) of each pair of measured columns
    pairs = [
        (data, screened)
        for data in datasets
        for screened in (False, True)
        if not screened or (spec.get("screened") and any(run.screened is not None for run in runs[data]))
    ]
    columns = [Column(spec.get("first", "parts"), "", "row")]
    if printed:
        columns += [Column(HEADS[one], f"paper, {data_name(printed.dataset)} fold 1", "paper") for one in _MEASURES]
    for data, screened in pairs:
        group = f"measured on {data_name(data)}, fold 1" + (", screened by EOP-Net" if screened else "")
        columns += [Column(HEADS[one], group, "screened" if screened else "measured") for one in _MEASURES]
    columns += [Column("data and profile", "", "data"), Column("runs", "", "runs")]
    rows = []
    for line in lines:
        cells: list[Cell] = [Label(line.name)]
        for measure in _MEASURES if printed else ():
            column, known = f"k.{measure}.1", printed is not None and line.printed is not None
            number = printed.get(line.method, column, line.printed) if known else None  # type: ignore[union-attr,arg-type]
            cells.append(Missing("the paper has no such row", "–") if number is None else PrintedCell(number))
        own = mark if line.printed is None else ""
        for data, screened in pairs:
            key = line.key(data, protocol)
            cells += [measured_cell(results, [key], one, screened=screened, mark=own) for one in _MEASURES]
        where = [where_measured(results.seeds(line.key(data, protocol)), data) for data in datasets]
        rows.append(Row((*cells, Label(" | ".join(where)), runs_label(cells))))
    notes = [HOW, _SEEDS, *(Note(text) for text in spec.get("notes", ()))]
    notes += [SCREENING] if any(screened for _, screened in pairs) else []
    notes += [Note("ours: in no paper.", OURS)] if mark and any(line.printed is None for line in lines) else []
    source = f"{PAPER_NAMES[printed.paper]}, {printed.label}" if printed else "in no paper"
    return finished(name, spec["title"], source, columns, rows, notes, ("paper", "measured"), ("both",))


def _datasets(spec: Mapping[str, Any]) -> list[str]:
    """Those declared, else the small dataset and the papers' own; a table shows the ones with results, or the first."""
    return list(spec.get("datasets", ())) or [families(profile)["atr"] for profile in ("lite", "paper")]


def _with_own_momentum(
    lines: list[_Line], ours: list[_Line], results: Results, datasets: Sequence[str]
) -> tuple[list[_Line], list[_Line]]:
    """Where the study's full network has another momentum than the paper's 0.999, it gets a row under its own value."""
    runs = all_seeds(results, [RunKey("eopnet", data, 1, "k") for data in datasets])
    options = [run.provenance.get("settings", {}).get("options", {}) for run in runs]
    own = sorted({float(some["momentum"]) for some in options if "momentum" in some} - {_FULL_MOMENTUM})
    if not own:
        return lines, ours
    full = _Line(f"{', '.join(f'{value:g}' for value in own)} (the full network here){OURS}", "eopnet", "", None)
    moved = [line if line.ablation else replace(line, ablation=f"momentum-{_FULL_MOMENTUM}") for line in lines]
    return moved, [*ours, full]
