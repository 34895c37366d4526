"""EOP-Net's Table 8 beside what the methods cost here: computed multiply-accumulates, parameters, measured speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oshp_lite.study.experiments import METHODS
from oshp_lite.study.printed.numbers import Printed, PrintedRow, printed_table
from oshp_lite.study.tables.measure import finished
from oshp_lite.study.tables.table import NAMED, Cell, Column, Row, Table, missing, printed_cell

_FIELDS = ("macs_g", "params_m", "fps", "relative")
_HEADS = ("MACs (G)", "parameters (M)", "frames per second", "speed, % of EOP-Net's")
_NOTES = (
    "MACs: multiply-accumulates of convolutions and matrix products in parsing one pair, counted while it runs "
    "(fine-tuning counts its steps); parameters: all that the method holds, encoder included. "
    "Every method with its preset's options.",
    "The paper's PANet and PPNet stand on encoders of their own and take one support photo per class (section 6.7; by "
    "section 6.3 PANet is tested with one for all); "
    "here all methods share one encoder and one support photo.",
    "Frames per second with batch size 1; only their ratios within one run say something beyond that machine. "
    "The papers print none: in their rows the speed against EOP-Net is computed from the printed frames per second.",
)


def cost_table(name: str, spec: Mapping[str, Any], costs: Sequence[Mapping[str, Any]]) -> Table:
    """Table 8; `costs` are what `study.cost` wrote, one per encoder and device."""
    printed = printed_table(name)
    base = printed.get("eopnet", "cost.fps")
    rows = []
    for method in METHODS.values():
        title = Cell(f"{method.label} (ours, in no paper)" if method.ours else method.label)
        row = printed.row(method.name)
        if row is not None:
            cells = [printed_cell(row.cells[place], "") for place in printed.columns]
            cells.append(_printed_ratio(row, base))
            where = Cell("512 px, 5 classes, V100 GPU, as printed")
            rows.append(Row((title, Cell("paper"), where, *cells), "paper", method.name))
        for cost in costs:
            timed: dict[str, Any] = next((one for one in cost["rows"] if one["method"] == method.name), {})
            where = Cell(
                f"{cost['variant']} encoder, {cost['size']} px, {cost['classes']} classes, {cost['machine']}, "
                f"{cost.get('date', '')[:10]}"
            )
            rows.append(Row((title, Cell("measured"), where, *_measured(timed)), "measured", method.name))
        if not costs:
            cells = [missing("`oshp-lite bench methods` measures this; not run yet")] * len(_FIELDS)
            rows.append(Row((title, Cell("measured"), Cell("–"), *cells), "measured", method.name))
    notes = dict.fromkeys((*_NOTES, *(text for cost in costs for text in cost.get("notes", ()))))
    columns = [*NAMED, *map(Column, _HEADS)]
    return finished(name, spec["title"], columns, rows, notes, best=False)


def _printed_ratio(row: PrintedRow, base: Printed | None) -> Cell:
    """The printed speed of a row as a share of EOP-Net's."""
    own = row.cells["cost.fps"]
    if own is None or base is None:
        return printed_cell(None, "")
    ratio = 100 * own.value / base.value
    return printed_cell(replace(own, value=ratio, text=f"{ratio + 1e-9:.0f}"))  # half upwards: 0.3 of 12.0 is 3 %


def _measured(timed: Mapping[str, Any]) -> list[Cell]:
    """What one run of `oshp-lite bench methods` measured of a method, or why it has no numbers."""
    if not timed or timed.get("reason"):
        return [missing(str(timed.get("reason", "not among the methods that were timed")))] * len(_FIELDS)
    cells = []
    for field in _FIELDS:
        value = timed.get(field)
        if field == "relative" and value is not None:
            value *= 100
        digits = 0 if field == "relative" else 1 if value and value >= 1 else 3
        known = Cell(f"{value:.{digits}f}", "measured", value) if value is not None else None
        cells.append(known or missing("EOP-Net was not timed in that run"))
    return cells
