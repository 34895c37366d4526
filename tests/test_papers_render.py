"""Forms of a table: nothing is lost in HTML, CSV, JSON, LaTeX and Markdown."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from papers_made_up import made_up_results

from oshp_lite.errors import UserError
from oshp_lite.study.records import Results
from oshp_lite.study.tables import TABLES, make_table
from oshp_lite.study.tables.table import FORMS, Cell, Column, Row, Table, to_html, write_table


@pytest.fixture(scope="module")
def full() -> Results:
    return made_up_results()


class _Texts(HTMLParser):
    """Rows of an HTML table as texts, spans of rows filled in."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.notes: list[str] = []
        self._span: tuple[int, str] = (0, "")
        self._cell: list[str] | None = None
        self._rows = 1
        self._body = False
        self._heading = False
        self._section = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        self._heading = tag == "summary"
        if tag == "tbody":
            self._body = True
        if tag == "tr":
            self._section = about.get("class") == "section"  # a heading, no row
        if self._section:
            return
        if tag == "tr" and self._body:
            self.rows.append([])
            left, text = self._span
            if left:
                self.rows[-1].append(text)
                self._span = (left - 1, text)
        if tag in ("td", "th", "li"):
            self._cell, self._rows = [], int(about.get("rowspan") or 1)

    def handle_endtag(self, tag: str) -> None:
        self._heading = False
        if tag in ("td", "th", "li") and self._cell is not None:
            text = " ".join("".join(self._cell).split())
            if tag == "li":
                self.notes.append(text)
            elif self._body:
                self.rows[-1].append(text)
                if tag == "th" and self._rows > 1:
                    self._span = (self._rows - 1, text)
            self._cell = None
        if tag == "tbody":
            self._body = False

    def handle_data(self, data: str) -> None:
        if self._cell is not None and not self._heading:  # "runs" on a folded list is no content
            self._cell.append(data)


def texts(table: Table) -> list[list[str]]:
    return [[" ".join(cell.shown.split()) for cell in row.cells] for row in table.rows]


def from_html(text: str) -> tuple[list[list[str]], list[str]]:
    parser = _Texts()
    parser.feed(text)
    return parser.rows, parser.notes


def from_latex(text: str) -> list[list[str]]:
    """The body of a tabular as texts: undoes what the LaTeX form does, by its own table of escapes."""
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    pairs = {r"$\pm$": "±", r"\dag{}": "†", r"\ddag{}": "‡", r"$\times$": "×", r"\textbar{}": "|", r"\textless{}": "<"}
    pairs |= {r"\textgreater{}": ">", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"\textbackslash{}": "\\"}
    rows = []
    for line in body.splitlines():
        if not line.endswith(r"\\"):
            continue
        found = []
        for cell in re.split(r"(?<!\\) & ", line.removesuffix(r"\\").rstrip() if line != r" \\" else ""):
            bare = re.sub(r"\\text(bf|tt)\{((?:\\[{}]|[^{}]|\{\})*)\}", r"\2", cell)
            for sign, meant in pairs.items():
                bare = bare.replace(sign, meant)
            bare = re.sub(r"\\([&%$#_{}])", r"\1", bare).replace("--", "–")
            found.append(" ".join(bare.split()))
        rows.append(found)
    return rows


def from_markdown(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("| ")][1:]
    rows = []
    for line in lines:
        found = []
        for cell in re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")):
            bare = re.sub(r"(?<!\\)(\*\*|`)", "", cell)
            found.append(" ".join(re.sub(r"\\(.)", r"\1", bare).split()))
        rows.append(found)
    return rows


@pytest.mark.parametrize("name", TABLES)
def test_nothing_is_lost_in_any_form(name: str, full: Results) -> None:
    table = make_table(name, full)
    wanted = texts(table)
    rows, notes = from_html(FORMS["html"](table))
    assert rows == wanted
    assert notes == [" ".join(note.split()) for note in table.notes]
    read = list(csv.reader(io.StringIO(FORMS["csv"](table))))
    assert read[0] == [column.full for column in table.columns]
    assert [[" ".join(cell.split()) for cell in row] for row in read[1 : 1 + len(wanted)]] == wanted
    assert [row[0].removeprefix("# ") for row in read[1 + len(wanted) :]] == [
        table.title,
        table.source,
        *table.notes,
    ]
    assert from_latex(FORMS["tex"](table)) == wanted
    assert from_markdown(FORMS["md"](table)) == wanted
    assert [[cell["shown"] for cell in row["cells"]] for row in json.loads(FORMS["json"](table))["rows"]] == [
        [cell.shown for cell in row.cells] for row in table.rows
    ]


_TEXT = st.text(alphabet=st.sampled_from(list("ab1 &%$#_{}~^<>|*`±†‡–×\"'.()")), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=4), _TEXT)
def test_odd_signs_survive_html_csv_and_json(pairs: list[tuple[str, str]], note: str) -> None:
    columns = (Column("name & more", "", "row"), Column("x_1", "group %"))
    rows = tuple(Row((Cell(one), Cell(two))) for one, two in pairs)
    table = Table("odd", "Odd <signs>", "nowhere", columns, rows, (note,))
    assert from_html(to_html(table))[0] == texts(table)
    assert list(csv.reader(io.StringIO(FORMS["csv"](table))))[1 : 1 + len(rows)] == [list(p) for p in pairs]
    plain = json.loads(FORMS["json"](table))["rows"]
    assert [[cell["text"] for cell in row["cells"]] for row in plain] == [list(p) for p in pairs]
    # LaTeX: no special sign stands bare
    inside = FORMS["tex"](table).split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert not re.search(r"(?<!\\)[%#_^~]", inside)


def test_html_is_accessible_and_without_inline_style(full: Results) -> None:
    shown = to_html(make_table("eopnet2", full), styled=False)
    assert "<style" not in shown
    assert " style=" not in shown
    assert shown.count("<caption>") == 1
    assert 'scope="colgroup" colspan="4"' in shown
    assert 'scope="rowgroup" rowspan="2"' in to_html(make_table("eopnet8", full), styled=False)
    assert "<strong>" in shown
    for tag in ("table", "thead", "tbody", "tr", "td", "th", "ul", "div"):
        assert shown.count(f"<{tag}>") + shown.count(f"<{tag} ") == shown.count(f"</{tag}>")
    assert html.unescape(shown).count("not run") >= 5


def test_all_five_files_are_written(full: Results, tmp_path: Path) -> None:
    paths = write_table(make_table("eopnet5", full), tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        f"eopnet5.{ending}" for ending in sorted(paths)
    ]
    assert paths["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        write_table(make_table("eopnet5", full), tmp_path / "file")
