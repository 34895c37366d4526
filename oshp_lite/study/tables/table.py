"""What a table consists of, and its forms: cells that are printed, measured or missing; one template a form.

`fill` and `style` serve every page that the study writes (`study/templates`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.files import write_atomic
from oshp_lite.study.printed.numbers import Printed

if TYPE_CHECKING:
    import jinja2

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
        return ": ".join(filter(None, (cell.printed.source, cell.printed.flag)))
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
    """A finished table; `source` says where the papers' counterpart stands. the functions below give its forms."""

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

    def __repr__(self) -> str:
        """One line; a notebook keeps it beside the HTML."""
        return f"<table {self.id}: {self.title}, {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return to_html(self)


# ---------------------------------------------------------------------------------------------------- forms

_LATEX: dict[str, str | int | None] = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "–": "--",
}


def latex_escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    return text.translate(str.maketrans(_LATEX))


def markdown_escape(text: str) -> str:
    """Text as GitHub's Markdown shows it literally, also within a table."""
    return re.sub(r"([\\|*_`<~])", r"\\\1", text)


@cache
def _templates(ending: str) -> jinja2.Environment:
    """The templates of a form; what they print is escaped as the form needs it, unless it is marked safe."""
    import jinja2
    from markupsafe import Markup

    escapes = {"md": markdown_escape, "tex": latex_escape}
    marks = {"variable_start_string": "<<", "variable_end_string": ">>"}  # LaTeX has braces and percents of its own
    marks |= {"block_start_string": "<%", "block_end_string": "%>"}

    def finalize(value: Any) -> Any:
        plain = ending not in escapes or isinstance(value, Markup)
        return value if plain else escapes[ending](str(value))

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("oshp_lite.study"),
        autoescape=ending == "html",
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(marks if ending == "tex" else {}),  # type: ignore[arg-type]
    )
    made.filters |= {"main": main_of, "details": details_of, "source": source_of, "type": type_of}
    made.filters |= {"percent": _percent, "duration": _duration}
    return made


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def fill(template: str, **content: Any) -> str:
    """A template of `study/templates` with its fields filled."""
    return _templates(template.rpartition(".")[2]).get_template(template).render(content)


@cache
def style() -> str:
    """How tables and the ledger look; a page or notebook includes it once."""
    return (resources.files("oshp_lite.study") / "templates" / "exhibits.css").read_text(encoding="utf-8")


def _table(table: Table, ending: str, **more: Any) -> str:
    return fill(f"table.{ending}", table=table, grouped=any(label for label, _ in table.heads), **more)


def to_html(table: Table, *, styled: bool = True) -> str:
    """A table as an HTML fragment that stands alone; `styled=False` where the page has the style already."""
    return _table(table, "html", style=style() if styled else "")


def to_page(table: Table) -> str:
    """A table as a whole HTML page."""
    return fill("page.html", title=table.title, body=to_html(table))


def to_markdown(table: Table) -> str:
    """A table as GitHub's Markdown."""
    return _table(table, "md")


def to_latex(table: Table) -> str:
    """A table for LaTeX with the package booktabs; notes stand below the tabular."""
    return _table(table, "tex")


def to_csv(table: Table) -> str:
    """A table as CSV: one header line, one line a row; notes as lines that begin with #."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.full for column in table.columns])
    writer.writerows([cell.shown for cell in row.cells] for row in table.rows)
    writer.writerows([f"# {line}"] for line in (table.title, table.source, *table.notes))
    return stream.getvalue()


def to_json(table: Table) -> str:
    """A table as JSON with everything behind each cell."""
    return json.dumps(table.plain(), indent=1, ensure_ascii=False) + "\n"


FORMS: dict[str, Callable[[Table], str]] = {
    "html": to_page,
    "csv": to_csv,
    "json": to_json,
    "tex": to_latex,
    "md": to_markdown,
}
"""File ending -> how a table is written in it."""


def write_table(table: Table, folder: Path | str) -> dict[str, Path]:
    """Write `<id>.html`, `.csv`, `.json`, `.tex` and `.md` into a folder, each in one step; return {ending: path}.

    Raises UserError when the folder cannot be written to.
    """
    texts = {ending: form(table) for ending, form in FORMS.items()}  # all of them before the first file changes
    paths = {ending: Path(folder) / f"{table.id}.{ending}" for ending in texts}
    for ending, text in texts.items():
        write_atomic(paths[ending], text.encode("utf-8"), durable=False)
    return paths
