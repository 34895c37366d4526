"""Every table of both papers, and one on real photos, made from the printed numbers and from results at hand.

A table is one entry of `declared.yaml`; its kind names the function that makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml
from oshp_lite.study.records import Results
from oshp_lite.study.tables.comparison import comparison_table
from oshp_lite.study.tables.cost import cost_table
from oshp_lite.study.tables.people import crowds_table, people_table
from oshp_lite.study.tables.scores import parts_table
from oshp_lite.study.tables.table import Table
from oshp_lite.study.tables.transfer import transfer_table
from oshp_lite.study.tables.worth import bias_table, lead_table, mask_table


@cache
def declared() -> dict[str, dict[str, Any]]:
    """The declarations of all tables by id, in the papers' order (`declared.yaml` says what an entry may hold)."""
    text = (resources.files("oshp_lite.study.tables") / "declared.yaml").read_text(encoding="utf-8")
    tables: dict[str, dict[str, Any]] = parse_yaml(text)
    return tables


KINDS: dict[str, Callable[[str, Mapping[str, Any], Results], Table]] = {
    "comparison": comparison_table,
    "parts": parts_table,
    "bias": bias_table,
    "mask": mask_table,
    "lead": lead_table,
    "transfer": transfer_table,
    "people": people_table,
    "crowds": crowds_table,
}
"""What makes a table of results, by the kind that its declaration names."""

TABLES = tuple(declared())
"""Ids of all tables."""


def make_table(name: str, results: Results, *, costs: Sequence[Mapping[str, Any]] = ()) -> Table:
    """Make one table from results; what was not run says so and why.

    costs  what `study.cost` wrote, for tables of costs only. Raises UserError for an unknown id.
    """
    spec = declared().get(name)
    if spec is None:
        raise UserError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    if spec["kind"] == "cost":
        return cost_table(name, spec, costs)
    return KINDS[spec["kind"]](name, spec, results)


def make_tables(results: Results, *, costs: Sequence[Mapping[str, Any]] = ()) -> dict[str, Table]:
    """Make all tables, by id in the papers' order."""
    return {name: make_table(name, results, costs=costs) for name in TABLES}
