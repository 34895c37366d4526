"""Tables as HTML, CSV, JSON, LaTeX and Markdown; every form shows every cell."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from html import escape
from pathlib import Path

from oshp_lite.files import write_atomic
from oshp_lite.study.tables.cells import (
    Cell,
    Column,
    Label,
    MeasuredCell,
    Missing,
    PrintedCell,
    Table,
    explain,
    text_of,
    to_plain,
)

STYLE = """
table.oshp { border-collapse: collapse; font: 13px/1.35 system-ui, sans-serif; color: #1b1b3a; background: #fff;
  font-variant-numeric: tabular-nums; }
table.oshp caption { text-align: left; font-weight: 600; padding: 0 0 .5em; }
table.oshp caption .source { font-weight: 400; color: #4a4a5e; }
table.oshp th, table.oshp td { padding: .25em .55em; text-align: right; vertical-align: top; }
table.oshp th[scope="row"], table.oshp td.words, table.oshp th.words { text-align: left; font-weight: 400; }
table.oshp th[scope="row"] { font-weight: 600; }
table.oshp thead th { border-bottom: 1px solid #8a8a9a; font-weight: 600; vertical-align: bottom; }
table.oshp thead tr:first-child th[colspan] { border-bottom: 1px solid #d0d0da; text-align: center; }
table.oshp tbody { border-bottom: 1px solid #d0d0da; }
table.oshp tr.measured td, table.oshp td.measured { background: #f1f5fb; }
table.oshp tr.screened td, table.oshp td.screened { background: #f8f4ec; }
table.oshp .detail { display: block; font-size: 11px; color: #4a4a5e; white-space: nowrap; }
table.oshp .missing { color: #5c5c6e; white-space: nowrap; }
table.oshp td.words { min-width: 6.5em; }
table.oshp td.data { min-width: 14em; }
table.oshp td.runs { min-width: 17em; overflow-wrap: anywhere; text-align: left;
  font: 11px/1.35 ui-monospace, monospace; }
div.oshp { overflow-x: auto; }
ul.oshp-notes { font: 12px/1.4 system-ui, sans-serif; color: #33334a; max-width: 60em; padding-left: 1.2em; }
"""
"""How a table looks; a page or notebook includes it once."""


# ---------------------------------------------------------------------------------------------- HTML


def to_html(table: Table, *, style: bool = True) -> str:
    """A table as an HTML fragment that stands alone; `style=False` where the page has STYLE already."""
    lines = [f"<style>{STYLE}</style>"] if style else []
    lines.append(f'<div class="oshp" role="region" tabindex="0" aria-label="{escape(table.title)}">')
    lines.append(f'<table class="oshp" id="table-{escape(table.id)}">')
    source = f'<br><span class="source">{escape(table.source)}</span>'
    lines.append(f"<caption>{escape(table.title)}{source}</caption>")
    lines += _html_head(table)
    for group in _bodies(table):
        lines.append("<tbody>")
        for number in group:
            lines.append(_html_row(table, number, group))
        lines.append("</tbody>")
    lines.append("</table></div>")
    if table.notes:
        lines.append('<ul class="oshp-notes">')
        lines += [f"<li>{escape(str(note))}</li>" for note in table.notes]
        lines.append("</ul>")
    return "\n".join(lines) + "\n"


def to_page(table: Table) -> str:
    """A table as a whole HTML page."""
    head = f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(table.title)}</title></head>'
    return f"{head}\n<body>\n{to_html(table)}</body></html>\n"


def _html_head(table: Table) -> list[str]:
    if not any(label for label, _ in table.groups):
        cells = "".join(f'<th scope="col"{_words(column)}>{escape(column.label)}</th>' for column in table.columns)
        return [f"<thead><tr>{cells}</tr></thead>"]
    upper, lower, place = [], [], 0
    for label, width in table.groups:
        for column in table.columns[place : place + width]:
            name = escape(column.label)
            if label:
                lower.append(f'<th scope="col"{_words(column)}>{name}</th>')
            else:
                upper.append(f'<th scope="col" rowspan="2"{_words(column)}>{name}</th>')
        if label:
            upper.append(f'<th scope="colgroup" colspan="{width}">{escape(label)}</th>')
        place += width
    return ["<thead>", f"<tr>{''.join(upper)}</tr>", f"<tr>{''.join(lower)}</tr>", "</thead>"]


def _words(column: Column) -> str:
    return ' class="words"' if column.kind in ("row", "data", "runs") else ""


def _bodies(table: Table) -> Iterator[list[int]]:
    """Row numbers, neighbours of one group together."""
    group: list[int] = []
    for number, row in enumerate(table.rows):
        if group and (not row.group or row.group != table.rows[group[0]].group):
            yield group
            group = []
        group.append(number)
    if group:
        yield group


def _html_row(table: Table, number: int, group: list[int]) -> str:
    row = table.rows[number]
    parts = []
    for place, (column, cell) in enumerate(zip(table.columns, row.cells, strict=True)):
        if place == 0:  # the row's name, once for all rows of its group
            if number == group[0]:
                span = f' rowspan="{len(group)}"' if len(group) > 1 else ""
                parts.append(f'<th scope="rowgroup"{span} class="words">{escape(text_of(cell))}</th>')
        else:
            parts.append(_html_cell(cell, column))
    return f'<tr class="{row.kind}">{"".join(parts)}</tr>'


def _html_cell(cell: Cell, column: Column) -> str:
    if isinstance(cell, Label):
        kind = {"runs": "runs", "data": "words data"}.get(column.kind, "words")
        return f'<td class="{kind}">{escape(cell.text)}</td>'
    why = f' title="{escape(explain(cell))}"' if explain(cell) else ""
    kind = f' class="{column.kind}"' if column.kind in ("measured", "screened") else ""
    if isinstance(cell, Missing):
        return f'<td{kind}{why}><span class="missing">{escape(cell.text)}</span></td>'
    main = cell.main if isinstance(cell, MeasuredCell) else text_of(cell)
    shown = f"<strong>{escape(main)}</strong>" if cell.best else escape(main)
    if isinstance(cell, MeasuredCell) and cell.detail:
        # the blank keeps number and detail apart for readers without styles
        shown += f' <span class="detail">{escape(cell.detail)}</span>'
    return f"<td{kind}{why}>{shown}</td>"


# ---------------------------------------------------------------------------------------------- text forms


def to_csv(table: Table) -> str:
    """A table as CSV: one header line, one line a row; notes as lines that begin with #."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([column.full for column in table.columns])
    for row in table.rows:
        writer.writerow([text_of(cell) for cell in row.cells])
    for line in (table.title, table.source, *map(str, table.notes)):
        writer.writerow([f"# {line}"])
    return stream.getvalue()


def to_json(table: Table) -> str:
    """A table as JSON with everything behind each cell; `tables.from_plain(json.loads(...))` gives it back."""
    return json.dumps(to_plain(table), indent=1, ensure_ascii=False) + "\n"


def to_markdown(table: Table) -> str:
    """A table as GitHub's Markdown."""

    def line(cells: list[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def shown(cell: Cell) -> str:
        if isinstance(cell, MeasuredCell) and cell.best:
            return f"**{_md(cell.main)}** {_md(cell.detail)}".strip()
        if isinstance(cell, PrintedCell) and cell.best:
            return f"**{_md(text_of(cell))}**"
        if isinstance(cell, Label) and cell.mono:
            return f"`{cell.text}`"
        return _md(text_of(cell))

    left = [":---" if _words(column) else "---:" for column in table.columns]
    lines = [f"**{_md(table.title)}** ({_md(table.source)})", ""]
    lines += [line([_md(column.full) for column in table.columns]), "|" + "|".join(left) + "|"]
    lines += [line([shown(cell) for cell in row.cells]) for row in table.rows]
    lines += ["", *(f"* {_md(str(note))}" for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _md(text: str) -> str:
    for sign in ("\\", "|", "*", "_", "`", "<", "~"):
        text = text.replace(sign, "\\" + sign)
    return text


# ---------------------------------------------------------------------------------------------- LaTeX

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "–": "--",
    "×": r"$\times$",
}


def latex_escape(text: str) -> str:
    """Text as LaTeX shows it literally."""
    return "".join(_LATEX.get(sign, sign) for sign in text)


def to_latex(table: Table) -> str:
    """A table for LaTeX with the package booktabs; notes stand below the tabular."""
    form = "".join("l" if _words(column) else "r" for column in table.columns)
    lines = [r"\begin{table}", rf"\caption{{{latex_escape(table.title)} ({latex_escape(table.source)})}}"]
    lines += [rf"\label{{tab:{table.id}}}", rf"\begin{{tabular}}{{{form}}}", r"\toprule"]
    if any(label for label, _ in table.groups):
        upper, rules, place = [], [], 1
        for label, width in table.groups:
            upper.append(rf"\multicolumn{{{width}}}{{c}}{{{latex_escape(label)}}}" if label else "")
            if label:
                rules.append(rf"\cmidrule(lr){{{place}-{place + width - 1}}}")
            place += width
        lines += [" & ".join(upper) + r" \\", " ".join(rules)]
    lines += [" & ".join(latex_escape(column.label) for column in table.columns) + r" \\", r"\midrule"]
    groups = list(_bodies(table))
    grouped = any(len(group) > 1 for group in groups)
    for count, group in enumerate(groups):
        lines += [" & ".join(_latex_cell(cell) for cell in table.rows[number].cells) + r" \\" for number in group]
        if grouped and count + 1 < len(groups):
            lines.append(r"\addlinespace")
    lines += [r"\bottomrule", r"\end{tabular}"]
    if table.notes:
        lines += [r"\par\smallskip\footnotesize"]
        lines += [latex_escape(str(note)) + r"\par" for note in table.notes]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _latex_cell(cell: Cell) -> str:
    if isinstance(cell, MeasuredCell):
        main = latex_escape(cell.main)
        shown = rf"\textbf{{{main}}}" if cell.best else main
        return f"{shown} {latex_escape(cell.detail)}".strip()
    shown = latex_escape(text_of(cell))
    if isinstance(cell, PrintedCell) and cell.best:
        return rf"\textbf{{{shown}}}"
    return rf"\texttt{{{shown}}}" if isinstance(cell, Label) and cell.mono else shown


# ---------------------------------------------------------------------------------------------- files

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


__all__ = [
    "FORMS",
    "STYLE",
    "latex_escape",
    "to_csv",
    "to_html",
    "to_json",
    "to_latex",
    "to_markdown",
    "to_page",
    "write_table",
]
