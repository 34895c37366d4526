"""What a table consists of: cells that are printed, measured or missing, and nothing else; labels beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.study.printed.numbers import PAPER_NAMES, Printed, Source, column_name

OURS = "†"
"""Marks what the papers have no counterpart for."""
FLAGGED = "*"
"""Marks a printed number that does not add up; the notes say why."""


@dataclass(frozen=True)
class Label:
    """Words that say what stands in a row: its name, its data. `mono` for names of runs."""

    text: str
    mono: bool = False


@dataclass(frozen=True)
class MeasuredCell:
    """A measured number, in the unit of its column (scores in per cent).

    mean, low, high  mean over seeds and folds, its 95 % interval (None where a number is exact)
    spread           standard deviation over the seeds (None below two); seeds how many
    runs             slugs of the runs behind it; folds those averaged
    digits           decimals shown; mark stands behind the number; best: the best of its column
    """

    mean: float
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    seeds: int = 1
    runs: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()
    digits: int = 1
    mark: str = ""
    best: bool = False

    @property
    def main(self) -> str:
        """The number itself, with its mark."""
        return f"{self.mean:.{self.digits}f}{self.mark}"

    @property
    def detail(self) -> str:
        """Spread and interval, or ""."""
        parts = []
        if self.spread is not None:
            parts.append(f"±{self.spread:.{self.digits}f} (n={self.seeds})")
        if self.low is not None and self.high is not None:
            parts.append(f"[{self.low:.{self.digits}f}, {self.high:.{self.digits}f}]")
        return " ".join(parts)


@dataclass(frozen=True)
class Missing:
    """No number, and why. `what` is "not run" (ours) or "–" (the paper prints none); `mark` names the note."""

    reason: str
    what: str = "not run"
    mark: str = ""

    @property
    def text(self) -> str:
        """What the cell shows."""
        return f"{self.what} ({self.mark})" if self.mark else self.what


@dataclass(frozen=True)
class PrintedCell:
    """A paper's number as a table shows it; `best` is the best of its column."""

    printed: Printed
    best: bool = False


Cell = Label | PrintedCell | MeasuredCell | Missing


@dataclass(frozen=True)
class Column:
    """One column: label, the group it stands under ("" for none), and what it holds (kind).

    kind: "row" (names the row), "paper", "measured", "both" (by the row), "data" or "runs".
    """

    label: str
    group: str = ""
    kind: str = "both"

    @property
    def full(self) -> str:
        """Label with its group, for forms with a single header line."""
        return f"{self.group}: {self.label}" if self.group else self.label


@dataclass(frozen=True)
class Row:
    """Cells in column order. kind: "paper", "measured", "screened" or "both"; `group` holds rows of one method."""

    cells: tuple[Cell, ...]
    kind: str = "both"
    group: str = ""


@dataclass(frozen=True)
class Note:
    """A line below the table; `mark` is what cells refer to it by, "" for a general one."""

    text: str
    mark: str = ""

    def __str__(self) -> str:
        return f"({self.mark}) {self.text}" if self.mark and self.mark.isalnum() else f"{self.mark} {self.text}".strip()


@dataclass(frozen=True)
class Table:
    """A finished table; `source` says where the papers' counterpart stands."""

    id: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows of another length, with a ValueError."""
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.id}: a row has {len(row.cells)} cells for {len(self.columns)} columns")

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Header groups as (label, how many columns), in order; neighbours of one group are one entry."""
        found: list[tuple[str, int]] = []
        for column in self.columns:
            if column.group and found and found[-1][0] == column.group:
                found[-1] = (column.group, found[-1][1] + 1)
            else:
                found.append((column.group, 1))
        return found

    def column_is(self, kind: str) -> list[int]:
        """Places of the columns of a kind."""
        return [place for place, column in enumerate(self.columns) if column.kind == kind]


def text_of(cell: Cell) -> str:
    """Everything a cell shows, as one line of plain text."""
    if isinstance(cell, PrintedCell):
        return cell.printed.text + (FLAGGED if cell.printed.flag else "")
    if isinstance(cell, MeasuredCell):
        return f"{cell.main} {cell.detail}".strip()
    return cell.text


def explain(cell: Cell) -> str:
    """What stands behind a cell, in words: the place in the paper, the runs, or the reason."""
    if isinstance(cell, PrintedCell):
        source = cell.printed.source
        place = f"{PAPER_NAMES[source.paper]}, {source.table}, {source.row}, {column_name(source.column)}"
        return f"{place}: {cell.printed.flag}" if cell.printed.flag else place
    if isinstance(cell, MeasuredCell):
        return "runs: " + ", ".join(cell.runs) if cell.runs else ""
    return cell.reason if isinstance(cell, Missing) else ""


# ---------------------------------------------------------------------------------------------- to and from JSON

_TYPES: dict[str, type[Any]] = {
    "label": Label,
    "printed": PrintedCell,
    "measured": MeasuredCell,
    "missing": Missing,
}


def to_plain(table: Table) -> dict[str, Any]:
    """A table as plain dicts and lists; `from_plain` gives the same table back."""
    names = {kind: name for name, kind in _TYPES.items()}
    rows = [
        {
            "kind": row.kind,
            "group": row.group,
            "cells": [{"type": names[type(cell)], "shown": text_of(cell), **asdict(cell)} for cell in row.cells],
        }
        for row in table.rows
    ]
    about = {"id": table.id, "title": table.title, "source": table.source}
    notes = [asdict(note) for note in table.notes]
    return {**about, "columns": [asdict(column) for column in table.columns], "rows": rows, "notes": notes}


def from_plain(plain: dict[str, Any]) -> Table:
    """A table from what `to_plain` made, also after JSON. UserError when it is something else."""
    try:
        rows = tuple(
            Row(tuple(_cell(cell) for cell in row["cells"]), row["kind"], row["group"]) for row in plain["rows"]
        )
        columns = tuple(Column(**column) for column in plain["columns"])
        notes = tuple(Note(**note) for note in plain["notes"])
        return Table(plain["id"], plain["title"], plain["source"], columns, rows, notes)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"this is not a table as oshp-lite writes it ({error}); write it anew") from None


def _cell(plain: dict[str, Any]) -> Cell:
    content = {name: value for name, value in plain.items() if name not in ("type", "shown")}
    if plain["type"] == "printed":
        number = content["printed"]
        content["printed"] = Printed(**{**number, "source": Source(**number["source"])})
    for name in ("runs", "folds"):
        if name in content:
            content[name] = tuple(content[name])
    made: Cell = _TYPES[plain["type"]](**content)
    return made
