"""Tables of people parsed one by one: a row a network, printed numbers beside measured ones; those by crowdedness."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oshp_lite.engine.instance_tally import BINS, measure_of
from oshp_lite.study.experiments import families
from oshp_lite.study.printed.numbers import PrintedRow, column_name, printed_tables
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.measure import BEHIND, all_seeds, finished, measured_cell, runs_cell, where_measured
from oshp_lite.study.tables.scores import HOW
from oshp_lite.study.tables.table import OURS, Cell, Column, Row, Table, missing, printed_cell

_NAMES = {"ap_r": "AP^r", "ap_r_pgn": "AP^r (PGN's convention)", "ap_p": "AP^p", "pcp": "PCP", "miou": "mIoU"}
_HOW_FOUND = {"": "", "given": ", true boxes", "views": ", several scales and mirrored"}
_NOT_OURS = "this network was not run here"
_NOTES = (
    f"{HOW} Measured in per cent on drawn people; each test photo counts once. AP^r is one-to-one.",
    "All rows have the same trunk and the same number of training steps.",
)


def measure_words(text: str) -> str:
    """A measure of people in words, "AP^r, volume, true boxes"; "" for other measures."""
    measure = measure_of(text)
    if measure is None:
        return ""
    at = "" if measure.name == "miou" else f" at {measure.threshold:g}" if measure.threshold else ", volume"
    crowd = "" if measure.bin is None else f", crowdedness {bin_name(measure.bin)}"
    return f"{_NAMES[measure.name]}{at}{_HOW_FOUND[measure.variant]}{crowd}"


def bin_name(number: int) -> str:
    """A bin of crowdedness, "0.1-0.3": the largest IoU of any two boxes in a photo."""
    return f"{BINS[number]:g}-{BINS[number + 1]:g}"


def people_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """One table of kind "people": the paper's rows, then the declared ones of ours; `measures` are what is measured."""
    printed = printed_tables().get(name)
    places = printed.columns if printed else ()
    measures = spec.get("measures") or [place.split(".")[1] for place in places]
    columns = [Column(spec.get("first", "network"), "", "row")]
    columns += [Column(column_name(place), "paper", "paper") for place in places]
    columns += [Column(measure_words(measure), "measured", "measured") for measure in measures]
    rows = [_row(row.name, row, _ours(row), places, measures, results) for row in (printed.rows if printed else ())]
    for own in spec.get("rows", ()):
        title = own["name"] + (OURS if printed else "")
        rows.append(_row(title, None, (own.get("ablation", ""), own.get("boxes", "")), places, measures, results))
    notes = [*_NOTES, *spec.get("notes", ())]
    notes += [f"{OURS} ours: the paper has no such row."] if printed and spec.get("rows") else []
    return finished(name, spec["title"], [*columns, *BEHIND], rows, notes, best=spec.get("best", True))


def crowds_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """One table of kind "crowds": rows of ours, a measure (`measure`) in each bin of crowdedness."""
    measures = [f"{spec['measure']}_bin{number}" for number in range(len(BINS) - 1)]
    columns = [Column("network", "", "row")]
    columns += [Column(f"crowdedness {bin_name(number)}", "measured", "measured") for number in range(len(BINS) - 1)]
    rows = [
        _row(own["name"], None, (own.get("ablation", ""), own.get("boxes", "")), (), measures, results)
        for own in spec["rows"]
    ]
    notes = [*_NOTES, f"{measure_words(spec['measure'])} over the photos of a bin; a bin without photos has no number."]
    return finished(name, spec["title"], [*columns, *BEHIND], rows, [*notes, *spec.get("notes", ())])


def _ours(row: PrintedRow) -> tuple[str, str] | None:
    """The ablation and the variant of a printed row that was run here."""
    if row.method != "instance":
        return None
    return ("", "views") if row.ablation == "views" else (row.ablation, "")


def _row(
    title: str,
    printed: PrintedRow | None,
    ours: tuple[str, str] | None,
    places: tuple[str, ...],
    measures: list[str],
    results: Results,
) -> Row:
    """One row, measured on the papers' data where that was run, else on drawn people."""
    theirs = [printed_cell(printed.cells[place] if printed else None, "the paper has no such row") for place in places]
    ablation, boxes = ours or ("", "")
    keys = [
        RunKey("instance", families(profile)["cihp"], 1, "k", 0, ablation, "whole") for profile in ("paper", "lite")
    ]
    key = next((one for one in keys if results.seeds(one)), keys[-1])
    asked = [f"{boxes}_{measure}" if boxes else measure for measure in measures]
    if ours is None:
        cells = [missing(_NOT_OURS) for _ in measures]
    else:
        cells = [measured_cell(results, [key], measure, partial=False) for measure in asked]
    where = where_measured([] if ours is None else all_seeds(results, [key]), key.dataset)
    return Row((Cell(title), *theirs, *cells, Cell(where), runs_cell(cells)))
