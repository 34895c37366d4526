"""EOP-Net's Table 8 beside what the methods cost here: computed multiply-accumulates, parameters, measured speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oshp_lite.study.experiments import METHODS, runs_of
from oshp_lite.study.printed.numbers import PAPER_NAMES, PrintedRow, PrintedTable, printed_table
from oshp_lite.study.records import Measured, Results
from oshp_lite.study.tables.measure import finished, where_measured
from oshp_lite.study.tables.table import Cell, Column, Label, MeasuredCell, Missing, Note, PrintedCell, Row, Table

_FIELDS = (("macs", "macs_g"), ("params", "params_m"), ("fps", "fps"))
_SPEEDS = "speeds compare only within one run: make one with `oshp-lite bench methods`"
NOTES = (
    Note(
        "MACs: multiply-accumulates of convolutions and matrix products in answering one pair, counted while it runs "
        "(fine-tuning counts its steps); parameters: all that the method holds, encoder included. "
        "Every method with its preset's options."
    ),
    Note(
        "The paper's PANet and PPNet stand on encoders of their own and take one support photo per class; "
        "here all methods share one encoder and one support photo."
    ),
    Note(
        "Frames per second with batch size 1; only their ratios within one run say something beyond that machine. "
        "The papers print none: in their rows the speed against EOP-Net is computed from the printed frames per second."
    ),
)


def cost_table(name: str, spec: Mapping[str, Any], results: Results, costs: Sequence[Mapping[str, Any]] = ()) -> Table:
    """Table 8; `costs` are what `study.cost` wrote, one per encoder and device."""
    printed = printed_table(name)
    columns = (
        Column("method", "", "row"),
        Column("number", "", "row"),
        Column("data and profile", "", "data"),
        Column("MACs (G)"),
        Column("parameters (M)"),
        Column("frames per second"),
        Column("speed against EOP-Net"),
    )
    keys = {key.method: key for key in runs_of(name, "lite")}
    rows = []
    for method in METHODS.values():
        title = Label(f"{method.label} (ours, in no paper)" if method.ours else method.label)
        row = printed.row(method.name)
        if row is not None:
            numbers = [row.cells[f"cost.{field}"] for field, _ in _FIELDS]
            cells: list[Cell] = [Missing("", "–") if number is None else PrintedCell(number) for number in numbers]
            cells.append(_printed_ratio(row, printed))
            where = Label("512 px, 5 classes, V100 GPU, as printed")
            rows.append(Row((title, Label("paper"), where, *cells), "paper", method.name))
        for cost in costs:
            timed = next((one for one in cost["rows"] if one["method"] == method.name), None)
            cells = _cost_cells(timed)
            rows.append(Row((title, Label("measured"), Label(_where(cost)), *cells), "measured", method.name))
        if not costs:
            runs = results.seeds(keys[method.name])
            where = Label(where_measured(runs, keys[method.name].dataset))
            cells = _own_cells(runs, results, keys[method.name])
            rows.append(Row((title, Label("measured"), where, *cells), "measured", method.name))
    notes = [*NOTES, *dict.fromkeys(Note(text) for cost in costs for text in cost.get("notes", ()))]
    return finished(name, spec["title"], f"{PAPER_NAMES[printed.paper]}, {printed.label}", columns, rows, notes, (), ())


def _printed_ratio(row: PrintedRow, printed: PrintedTable) -> Cell:
    """The printed speed of a row as a share of EOP-Net's."""
    own, base = row.cells["cost.fps"], printed.get("eopnet", "cost.fps")
    if own is None or base is None:
        return Missing("", "–")
    ratio = round(own.value / base.value + 1e-9, 2)  # half of a hundredth upwards: 0.3 of 12.0 is 0.03
    return PrintedCell(replace(own, value=ratio, text=f"{ratio:.2f}"))


def _where(cost: Mapping[str, Any]) -> str:
    date = str(cost.get("date", ""))[:10]
    return f"{cost['variant']} encoder, {cost['size']} px, {cost['classes']} classes, {cost['machine']}, {date}"


def _cost_cells(timed: Mapping[str, Any] | None) -> list[Cell]:
    if timed is None or timed.get("reason"):
        reason = "not among the methods that were timed" if timed is None else str(timed["reason"])
        return [Missing(reason)] * 4
    digits = {"macs_g": 1 if timed["macs_g"] >= 10 else 3, "params_m": 1 if timed["params_m"] >= 10 else 3}
    cells: list[Cell] = [MeasuredCell(timed[field], digits=digits.get(field, 2)) for _, field in _FIELDS]
    ratio = timed.get("relative")
    cells.append(Missing("EOP-Net was not timed in that run") if ratio is None else MeasuredCell(ratio, digits=2))
    return cells


def _own_cells(runs: Sequence[Measured], results: Results, key: Any) -> list[Cell]:
    """Costs that the run itself noted; its speed stood alone on a busy machine and is not shown."""
    if not runs:
        return [Missing(getattr(results.get(key), "reason", "not run yet"))] * 4
    cost = runs[0].cost
    cells: list[Cell] = [
        MeasuredCell(cost[name], digits=3, runs=(runs[0].key.slug,)) if name in cost else Missing(_SPEEDS)
        for name in ("macs_g", "params_m")
    ]
    return [*cells, Missing(_SPEEDS), Missing(_SPEEDS)]
