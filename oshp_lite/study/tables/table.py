"""What a table consists of: cells that are printed, measured or missing, and nothing else; labels beside them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any, ClassVar

from oshp_lite.study.printed.numbers import Printed

OURS = "†"
"""Marks what the papers have no counterpart for."""
FLAGGED = "*"
"""Marks a printed number that does not add up; the notes say why."""


class Cell:
    """What every cell offers to a template: its main words, a detail, what stands behind it, whether it is the best."""

    type: ClassVar[str]

    @property
    def main(self) -> str:
        """The number or the words, with marks."""
        raise NotImplementedError

    @property
    def details(self) -> tuple[str, ...]:
        """Spread and interval, as far as there are any."""
        return ()

    @property
    def source(self) -> str:
        """What stands behind the cell: the place in the paper, the runs, the reason, or ""."""
        return ""

    @property
    def best(self) -> bool:
        """The best of its column."""
        return False

    @property
    def shown(self) -> str:
        """Everything the cell shows, as one line of plain text."""
        return " ".join((self.main, *self.details))


@dataclass(frozen=True)
class Label(Cell):
    """Words that say what stands in a row: its name, its data. `mono` for names of runs."""

    text: str
    mono: bool = False
    type = "label"

    @property
    def main(self) -> str:
        """The words."""
        return self.text


@dataclass(frozen=True)
class MeasuredCell(Cell):
    """A measured number, in the unit of its column (scores in per cent).

    mean, low, high  mean over seeds and folds, its 95 % interval (None where a number is exact)
    spread           standard deviation over the seeds (None below two); seeds how many
    runs             slugs of the runs behind it; folds those averaged
    digits           decimals shown; mark stands behind the number
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
    type = "measured"

    @property
    def main(self) -> str:
        """The number itself, with its mark."""
        return f"{self.mean:.{self.digits}f}{self.mark}"

    @property
    def details(self) -> tuple[str, ...]:
        """Spread over seeds, 95 % interval."""
        spread = () if self.spread is None else (f"±{self.spread:.{self.digits}f} (n={self.seeds})",)
        if self.low is None or self.high is None:
            return spread
        return (*spread, f"[{self.low:.{self.digits}f}, {self.high:.{self.digits}f}]")

    @property
    def source(self) -> str:
        """The runs behind the number."""
        return "runs: " + ", ".join(self.runs) if self.runs else ""


@dataclass(frozen=True)
class Missing(Cell):
    """No number, and why. `what` is "not run" (ours) or "–" (the paper prints none); `mark` names the note."""

    reason: str
    what: str = "not run"
    mark: str = ""
    type = "missing"

    @property
    def main(self) -> str:
        """ "not run" and the letter of its reason."""
        return f"{self.what} ({self.mark})" if self.mark else self.what

    @property
    def source(self) -> str:
        """The reason."""
        return self.reason


@dataclass(frozen=True)
class PrintedCell(Cell):
    """A paper's number as a table shows it."""

    printed: Printed
    best: bool = False
    type = "printed"

    @property
    def main(self) -> str:
        """The digits as they are printed, with a star when they do not add up."""
        return self.printed.text + (FLAGGED if self.printed.flag else "")

    @property
    def source(self) -> str:
        """The place in the paper, and what does not add up about the number."""
        return ": ".join(filter(None, (str(self.printed.source), self.printed.flag)))


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
        for row in self.rows:
            if len(row.cells) != len(self.columns):
                raise ValueError(f"{self.id}: a row has {len(row.cells)} cells for {len(self.columns)} columns")

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
        rows = [
            {
                "kind": row.kind,
                "group": row.group,
                "cells": [{"type": cell.type, "shown": cell.shown, **asdict(cell)} for cell in row.cells],  # type: ignore[call-overload]
            }
            for row in self.rows
        ]
        named = {"id": self.id, "title": self.title, "source": self.source}
        columns, notes = ([asdict(item) for item in items] for items in (self.columns, self.notes))
        return {**named, "columns": columns, "rows": rows, "notes": notes}

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        from oshp_lite.study.render import to_html

        return to_html(self)
