"""What a table consists of, and its forms: cells that are printed, measured, missing or a verdict; one template a form.

`fill` serves every page that the study writes (`study/templates`).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from oshp_lite.files import write_together
from oshp_lite.study.printed.numbers import Printed

if TYPE_CHECKING:
    import jinja2

OURS = "†"
"""Marks what the papers have no counterpart for."""
FLAGGED = "*"
"""Marks a printed number that does not add up; the notes say why."""


@dataclass
class Cell:
    """Words, a paper's number, a measured number, none and why, or a verdict on what was measured.

    text    the words, the digits, or what stands in place of a number: "not run", "–" (the paper prints none)
    mark    stands behind the text and names a note; best: the best of its column; mono: names of runs
    value   the number in the unit of its column (scores in per cent); low and high: its 95 % interval; spread: standard
            deviation over `seeds` seeds; all None where there is none
    reason  why there is no number; printed: the paper's number
    runs    slugs of the runs behind it; folds those averaged
    """

    text: str
    kind: Literal["label", "printed", "measured", "missing", "verdict"] = "label"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    spread: float | None = None
    seeds: int = 1
    mark: str = ""
    best: bool = False
    mono: bool = False
    reason: str = ""
    printed: Printed | None = None
    runs: tuple[str, ...] = ()
    folds: tuple[int, ...] = ()

    @property
    def main(self) -> str:
        """The number or the words, with the mark."""
        return f"{self.text} ({self.mark})" if self.mark and self.kind == "missing" else self.text + self.mark

    @property
    def details(self) -> list[str]:
        """A verdict's difference, spread over seeds and 95 % interval, as far as there are any."""
        words = [f"{self.value:+z.1f}"] if self.kind == "verdict" and self.value is not None else []
        words += [] if self.spread is None else [f"±{self.spread:.1f} (n={self.seeds})"]
        return words if self.low is None else [*words, f"[{self.low:z.1f}, {self.high:z.1f}]"]

    @property
    def behind(self) -> str:
        """What a pointer over the cell reveals: details and runs, the place in the paper, or the reason."""
        if self.printed:
            return ": ".join(filter(None, (self.printed.source, self.printed.flag)))
        runs = f"runs: {folded(self.runs)}" if self.runs else ""
        return "; ".join(filter(None, (*self.details, self.reason, runs)))

    @property
    def shown(self) -> str:
        """Everything the cell shows, as one line of plain text."""
        return " ".join((self.main, *self.details))


def folded(runs: Iterable[str]) -> str:
    """Name runs with their seeds folded: "eopnet-…-seed{0,1,2}"; a shell unfolds them again."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for slug in dict.fromkeys(runs):
        before, seed, after = re.fullmatch(r"(.*-seed|)(\d+|)(.*)", slug).groups()  # type: ignore[union-attr]
        seeds.setdefault((before, after), []).append(seed)
    return " ".join(
        before + (f"{{{','.join(sorted(some, key=int))}}}" if len(some) > 1 else some[0]) + after
        for (before, after), some in seeds.items()
    )


def printed_cell(number: Printed | None, why: str = "the paper prints no number here") -> Cell:
    """A paper's number as a table shows it; where it prints none, a dash and why."""
    if number is None:
        return missing(why, "–")
    return Cell(number.text, "printed", number.value, mark=FLAGGED if number.flag else "", printed=number)


def missing(reason: str, text: str = "not run") -> Cell:
    """No number of ours, and why."""
    return Cell(text, "missing", reason=reason)


@dataclass(frozen=True)
class Column:
    """One column: label, the group it stands under ("" for none), and what it holds (kind).

    kind    "row" (names the row), "paper", "measured", "screened", "both" (by the row), "verdict", "data" or "runs"
    behind  a page shows it on request only
    """

    label: str
    group: str = ""
    kind: str = "both"
    behind: bool = False

    @property
    def full(self) -> str:
        """Label with its group, for forms with a single header line."""
        return f"{self.group}: {self.label}" if self.group else self.label

    @property
    def words(self) -> bool:
        """It holds words, not numbers."""
        return self.kind in ("row", "verdict", "data", "runs")


NAMED = (Column("method", "", "row"), Column("number", "", "row"), Column("data and profile", "", "data"))
"""What names the rows of a comparison."""


@dataclass(frozen=True)
class Row:
    """Cells in column order.

    kind     "paper", "measured", "both", or of those that take no part in the comparison, "screened" or "ceiling"
    group    holds rows of one method together; section: heading that a page puts above it and its neighbours
    """

    cells: tuple[Cell, ...]
    kind: str = "both"
    group: str = ""
    section: str = ""


@dataclass(frozen=True)
class Table:
    """A finished table; `source` says where the papers' counterpart stands, a note begins with the mark it explains.

    compact  a page shows intervals and the columns `behind` on request only, all other forms always
    """

    id: str
    title: str
    source: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    compact: bool = False

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
        numbered = groupby(enumerate(self.rows), lambda one: (one[1].section, one[1].group or one[0]))
        return [[row for _, row in rows] for _, rows in numbered]

    def __repr__(self) -> str:
        """One line; a notebook keeps it beside the HTML."""
        return f"<table {self.id}: {self.title}, {len(self.rows)} rows>"

    def _repr_html_(self) -> str:
        """The table as a notebook shows it."""
        return to_html(self)


_LATEX = {sign: f"\\{sign}" for sign in "&%$#_{}"} | {"±": r"$\pm$", "×": r"$\times$", "†": r"\dag{}", "‡": r"\ddag{}"}
_LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "|": r"\textbar{}"}
_LATEX |= {"<": r"\textless{}", ">": r"\textgreater{}", "–": "--"}

_ESCAPES: dict[str, Callable[[str], str]] = {
    "tex": lambda text: "".join(_LATEX.get(sign, sign) for sign in text),
    "md": lambda text: re.sub(r"([\\|*_`<~])", r"\\\1", text),
}
"""File ending -> text as that form shows it literally, also within a table; HTML is escaped by jinja2."""


@cache
def _templates(ending: str) -> jinja2.Environment:
    """The templates of a form; what they print is escaped as the form needs it, unless it is marked safe."""
    import jinja2
    from markupsafe import Markup

    marks: Any = {}
    if ending == "tex":  # LaTeX has braces and percents of its own
        marks = {"variable_start_string": "<<", "variable_end_string": ">>"}
        marks |= {"block_start_string": "<%", "block_end_string": "%>"}

    def finalize(value: Any) -> Any:
        return value if ending not in _ESCAPES or isinstance(value, Markup) else _ESCAPES[ending](str(value))

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("oshp_lite.study"),
        autoescape=ending == "html",
        finalize=finalize,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **marks,
    )
    made.filters["percent"] = lambda share: "-" if share is None else f"{100 * share:.1f}"
    made.filters["duration"] = lambda seconds: f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
    return made


def fill(template: str, **content: Any) -> str:
    """A template of `study/templates` with its fields filled."""
    return _templates(template.rpartition(".")[2]).get_template(template).render(content)


def to_html(table: Table, *, styled: bool = True) -> str:
    """A table as an HTML fragment that stands alone; `styled=False` where the page has the style already."""
    return fill("table.html", table=table, styled=styled)


def _csv(table: Table) -> str:
    """One header line, one line a row; notes as lines that begin with #."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.full for column in table.columns])
    writer.writerows([cell.shown for cell in row.cells] for row in table.rows)
    writer.writerows([f"# {line}"] for line in (table.title, table.source, *table.notes))
    return stream.getvalue()


def _json(table: Table) -> str:
    """Everything behind each cell, and what it shows."""
    plain = asdict(table)
    for row, made in zip(table.rows, plain["rows"], strict=True):
        made["cells"] = [{"shown": cell.shown, **asdict(cell)} for cell in row.cells]
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


FORMS: dict[str, Callable[[Table], str]] = {
    "html": lambda table: fill("page.html", title=table.title, body=to_html(table)),
    "csv": _csv,
    "json": _json,
    "tex": lambda table: fill("table.tex", table=table),
    "md": lambda table: fill("table.md", table=table),
}
"""File ending -> how a table is written in it; LaTeX needs the package booktabs."""


def write_table(table: Table, folder: Path | str) -> dict[str, Path]:
    """Write a table in all its forms as `<id>.html` and so on; return {ending: path}.

    Raises UserError when the folder cannot be written to.
    """
    paths = {ending: Path(folder) / f"{table.id}.{ending}" for ending in FORMS}
    write_together({paths[ending]: form(table).encode("utf-8") for ending, form in FORMS.items()}, durable=False)
    return paths
