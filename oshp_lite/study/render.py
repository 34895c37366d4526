"""Tables, the ledger of claims and the report as text: one object, one template a form (`study/templates`)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.files import write_atomic
from oshp_lite.study.tables.table import Table, details_of, main_of, source_of, type_of

if TYPE_CHECKING:
    import jinja2

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
