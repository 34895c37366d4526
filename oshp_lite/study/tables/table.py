"""What a table consists of: cells that are printed, measured or missing, and nothing else; labels beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from oshp_lite.study.printed.numbers import Printed

OURS = "†"
"""Marks what the papers have no counterpart for."""
FLAGGED = "*"
"""Marks a printed number that does not add up; the notes say why."""


class Cell:
    """One of the four kinds below."""

    @property
    def shown(self) -> str:
        """Everything the cell shows, as one line of plain text."""
        return " ".join((main_of(self), *details_of(self)))


@dataclass(frozen=True)
class Label(Cell):
    """Words that say what stands in a row: its name, its data. `mono` for names of runs."""

    text: str
    mono: bool = False


@dataclass(frozen=True)
class MeasuredCell(Cell):
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


@dataclass(frozen=True)
class Missing(Cell):
    """No number, and why. `what` is "not run" (ours) or "–" (the paper prints none); `mark` names the note."""

    reason: str
    what: str = "not run"
    mark: str = ""


@dataclass(frozen=True)
class PrintedCell(Cell):
    """A paper's number as a table shows it; `best` is the best of its column."""

    printed: Printed
    best: bool = False


def main_of(cell: Cell) -> str:
    """The number or the words, with marks."""
    if isinstance(cell, MeasuredCell):
        return f"{cell.mean:.{cell.digits}f}{cell.mark}"
    if isinstance(cell, PrintedCell):
        return cell.printed.text + (FLAGGED if cell.printed.flag else "")
    if isinstance(cell, Missing):
        return f"{cell.what} ({cell.mark})" if cell.mark else cell.what
    return str(getattr(cell, "text", ""))


def details_of(cell: Cell) -> list[str]:
    """Spread over seeds and 95 % interval, as far as there are any."""
    if not isinstance(cell, MeasuredCell):
        return []
    spread = [] if cell.spread is None else [f"±{cell.spread:.{cell.digits}f} (n={cell.seeds})"]
    ends = () if cell.low is None or cell.high is None else (f"{end:.{cell.digits}f}" for end in (cell.low, cell.high))
    return [*spread, *([f"[{', '.join(ends)}]"] if ends else [])]


def source_of(cell: Cell) -> str:
    """What stands behind a cell: the place in the paper and its flag, the runs, the reason, or ""."""
    if isinstance(cell, PrintedCell):
        return ": ".join(filter(None, (str(cell.printed.source), cell.printed.flag)))
    if isinstance(cell, MeasuredCell):
        return "runs: " + ", ".join(cell.runs) if cell.runs else ""
    return str(getattr(cell, "reason", ""))


def type_of(cell: Cell) -> str:
    """ "label", "measured", "missing" or "printed"."""
    return type(cell).__name__.removesuffix("Cell").lower()


@dataclass(frozen=True)
class Column:
    """One column: label, the group it stands under ("" for none), and what it holds (kind).

    kind: "row" (names the row), "paper", "measured", "screened", "both" (by the row), "data" or "runs".
    """

    label: str
    group: str = ""
    kind: str = "both"

    @property
    def full(self) -> str:
        """Label with its group, for forms with a single header line."""
        return f"{self.group}: {self.label}" if self.group else self.label

    @property
    def words(self) -> bool:
        """It holds words, not numbers."""
        return self.kind in ("row", "data", "runs")


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
    """A finished table; `source` says where the papers' counterpart stands. `study.render` has its forms."""

    id: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        """Refuse rows of another length, with a ValueError."""
        if any(len(row.cells) != len(self.columns) for row in self.rows):
            raise ValueError(f"{self.id}: a row does not have {len(self.columns)} cells, one a column")

    @property
    def heads(self) -> list[tuple[str, list[Column]]]:
        """Neighbouring columns of one header group as (label, columns), in order; the label is "" for no group."""
        return [(label, list(columns)) for label, columns in groupby(self.columns, lambda column: column.group)]

    @property
    def bodies(self) -> list[list[Row]]:
        """Rows in order, neighbours of one group together."""
        numbered = groupby(enumerate(self.rows), lambda one: one[1].group or one[0])
        return [[row for _, row in rows] for _, rows in numbered]

    def plain(self) -> dict[str, Any]:
        """The table as plain dicts and lists, for JSON: everything behind each cell, and what it shows."""
        cells = [
            [{"type": type_of(cell), "shown": cell.shown, **asdict(cell)} for cell in row.cells]  # type: ignore[call-overload]
            for row in self.rows
        ]
        rows = [{"kind": r.kind, "group": r.group, "cells": some} for r, some in zip(self.rows, cells, strict=True)]
        return {**asdict(self), "rows": rows}

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        from oshp_lite.study.render import to_html

        return to_html(self)
