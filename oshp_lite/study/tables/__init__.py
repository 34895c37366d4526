"""Every table of both papers, and one on real photos, made from the printed numbers and from results at hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.study.records import Results
from oshp_lite.study.tables.cells import (
    Cell,
    Column,
    Label,
    MeasuredCell,
    Missing,
    Note,
    PrintedCell,
    Row,
    Table,
    from_plain,
    text_of,
    to_plain,
)
from oshp_lite.study.tables.comparison import comparison_table
from oshp_lite.study.tables.cost import cost_table
from oshp_lite.study.tables.parts import parts_table

TABLES = (
    *("popnet1", "popnet2", "popnet3"),
    *("eopnet2", "eopnet3", "eopnet4", "ccp", "eopnet5", "framework", "eopnet6", "eopnet7", "eopnet8"),
)
"""Ids of all tables, in the papers' order."""


def make_table(name: str, results: Results, *, costs: Sequence[Mapping[str, Any]] = ()) -> Table:
    """Make one table from results; what was not run says so and why.

    costs  what `reproduce.cost` wrote, for eopnet8 only. Raises UserError for an unknown id.
    """
    if name in ("popnet1", "popnet2", "eopnet2", "eopnet3", "eopnet4", "ccp"):
        return comparison_table(name, results)
    if name in ("popnet3", "eopnet5", "eopnet6", "eopnet7", "framework"):
        return parts_table(name, results)
    if name == "eopnet8":
        return cost_table(results, costs)
    raise UserError(f"there is no table {name!r}; there are {', '.join(TABLES)}")


def make_tables(results: Results, *, costs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Table]:
    """Make all tables, by id in the papers' order."""
    return {name: make_table(name, results, costs=costs) for name in TABLES}


__all__ = [
    "TABLES",
    "Cell",
    "Column",
    "Label",
    "MeasuredCell",
    "Missing",
    "Note",
    "PrintedCell",
    "Row",
    "Table",
    "from_plain",
    "make_table",
    "make_tables",
    "text_of",
    "to_plain",
]
