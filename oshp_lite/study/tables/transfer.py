"""Tables of SST: one row a network, its printed numbers beside the measured ones on the row's own label domain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oshp_lite.study.experiments import families, label_domains
from oshp_lite.study.printed.numbers import PrintedRow, column_name, printed_tables
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.measure import BEHIND, HEADS, all_seeds, finished, measured_cell, runs_cell, where_measured
from oshp_lite.study.tables.scores import HOW
from oshp_lite.study.tables.table import OURS, Cell, Column, Row, Table, printed_cell

_MEASURES = ("macc", "miou")
_NOTES = (
    f"{HOW} Every label of a domain is a class, background included; each test photo counts once.",
    "All rows have the same number of training steps a stage; dedicated and fine-tuned networks have two stages.",
)


def transfer_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """One table of kind "transfer": the paper's rows, then the declared ones of ours."""
    printed = printed_tables().get(name)
    columns = [Column(spec.get("first", "network"), "", "row")]
    places = printed.columns if printed else ()
    columns += [Column(column_name(place), "paper", "paper") for place in places]
    columns += [Column(HEADS[measure], "measured", "measured") for measure in _MEASURES]
    rows = []
    for row in printed.rows if printed else ():
        rows.append(_row(row.name, row, row.ablation, row.data, places, results))
    for own in spec.get("rows", ()):
        title = own["name"] + (OURS if printed else "")
        rows.append(_row(title, None, own.get("ablation", ""), own["data"], places, results))
    notes = [*_NOTES, *spec.get("notes", ())]
    notes += [f"{OURS} ours: the paper has no such row."] if printed and spec.get("rows") else []
    return finished(name, spec["title"], [*columns, *BEHIND], rows, notes, best=spec.get("best", True))


def _row(
    title: str, printed: PrintedRow | None, ablation: str, family: str, places: tuple[str, ...], results: Results
) -> Row:
    """One row, measured on the papers' data where that was run, else on procedural people or CCP."""
    keys = [
        RunKey("sst", (label_domains(profile) | families(profile))[family], 1, "k", 0, ablation, "whole")
        for profile in ("paper", "lite")
    ]
    key = next((one for one in keys if results.seeds(one)), keys[-1])
    theirs = [printed_cell(printed.cells[place] if printed else None, "the paper has no such row") for place in places]
    cells = [measured_cell(results, [key], measure, partial=False) for measure in _MEASURES]
    where = where_measured(all_seeds(results, [key]), key.dataset)
    return Row((Cell(title), *theirs, *cells, Cell(where), runs_cell(cells)))
