"""Tables of both papers: three kinds of cell, nothing measured without its data, nothing lost in any form."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.papers import render
from oshp_lite.papers.experiments import RUN_ORDER, runs_of
from oshp_lite.papers.measured import Measured, Results, RunKey, bootstrap, measured_of
from oshp_lite.papers.tables import (
    TABLES,
    Column,
    Label,
    MeasuredCell,
    Missing,
    Note,
    PrintedCell,
    Row,
    Table,
    from_plain,
    make_table,
    text_of,
)
from oshp_lite.papers.tables.measure import DATA, braces


def made_up(key: RunKey, *, screened: bool = True, profile: str = "lite") -> Measured:
    """A result over twelve pairs that never saw a network: right ids with a method's own share of mistakes."""
    split = fold(key.dataset, key.fold, key.protocol)
    rng = np.random.default_rng([key.seed, key.fold, *key.slug.encode()])
    width = max(split.classes) + 1 if key.way == "k" else 2
    rows = []
    foreground = [index for index in split.classes if index]
    asked = np.repeat(foreground, 2)
    for _ in asked:
        matrix = rng.integers(1, 30, (width, width))
        matrix[np.diag_indices(width)] += rng.integers(50, 400)
        rows.append(matrix)
    other = np.stack(rows) if screened else None
    return measured_of(key, profile, np.stack(rows), asked, screened=other, origin="committed")


@pytest.fixture(scope="module")
def full() -> Results:
    """Fold 1 of Table 2 with three seeds of EOP-Net, both folds of POPNet, part of Table 5, everything of Table 6."""
    keys = [RunKey(method, "figures-atr", 1, "k") for method in RUN_ORDER if method != "persam"]
    keys += [RunKey("eopnet", "figures-atr", 1, "k", seed) for seed in (1, 2)]
    keys += [RunKey("popnet", "figures-atr", 2, "k"), RunKey("popnet", "figures-atr", 1, "1")]
    keys += [RunKey("sgone", "ccp-os", 1, "k"), RunKey("eopnet", "ccp-os", 1, "k")]
    keys += [
        RunKey("panet", "figures-atr", 1, "k", 0, "bg-panet"),
        RunKey("eopnet", "figures-atr", 1, "k", 0, "static"),
    ]
    keys += runs_of("eopnet6") + runs_of("eopnet5")[:2] + runs_of("popnet3")
    persam = RunKey("persam", "figures-atr", 1, "k")
    reasons = {persam: "needs SAM weights", replace(persam, fold=2): "needs SAM weights"}
    return Results([made_up(key) for key in dict.fromkeys(keys)], reasons)


def cells(table: Table, **about: str) -> list[tuple[str, object]]:
    """(full column label, cell) of the first row of that group and kind."""
    row = next(row for row in table.rows if all(getattr(row, name) == value for name, value in about.items()))
    return [(column.full, cell) for column, cell in zip(table.columns, row.cells, strict=True)]


@pytest.mark.parametrize("name", TABLES)
def test_without_results_every_table_still_stands(name: str) -> None:
    table = make_table(name, Results())
    assert not any(isinstance(cell, MeasuredCell) for row in table.rows for cell in row.cells)
    missing = [cell for row in table.rows for cell in row.cells if isinstance(cell, Missing)]
    assert all(cell.reason for cell in missing)
    assert any(cell.what == "not run" for cell in missing)
    assert any(str(note).endswith("not run yet.") for note in table.notes)


@pytest.mark.parametrize("name", TABLES)
def test_every_cell_is_one_of_the_kinds_and_measured_ones_name_their_data(name: str, full: Results) -> None:
    table = make_table(name, full)
    for row in table.rows:
        measured = [cell for cell in row.cells if isinstance(cell, MeasuredCell)]
        assert all(isinstance(cell, Label | PrintedCell | MeasuredCell | Missing) for cell in row.cells)
        if not measured:
            continue
        (data,) = [cell for column, cell in zip(table.columns, row.cells, strict=True) if column.kind == "data"]
        assert isinstance(data, Label)
        assert any(words in data.text for words in DATA.values())
        assert "lite; committed" in data.text
        if any(isinstance(cell, PrintedCell) for cell in row.cells):  # side by side: the column says so as well
            for column, cell in zip(table.columns, row.cells, strict=True):
                assert not isinstance(cell, MeasuredCell) or "measured on figures-atr" in column.group
        assert all(cell.runs for cell in measured)


def test_a_measured_cell_is_the_bootstrap_over_its_seeds(full: Results) -> None:
    table = make_table("eopnet2", full)
    found = dict(cells(table, group="eopnet", kind="measured"))["k-way novel mIoU: fold 1"]
    assert isinstance(found, MeasuredCell)
    runs = full.seeds(RunKey("eopnet", "figures-atr", 1, "k"))
    expected = bootstrap(runs, "novel")
    assert (found.mean, found.low, found.high) == tuple(100 * value for value in expected)
    assert found.spread == pytest.approx(np.std([100 * run.score("novel") for run in runs], ddof=1))
    assert (found.seeds, len(found.runs)) == (3, 3)
    assert re.fullmatch(r"\d+\.\d ±\d\.\d \(n=3\) \[\d+\.\d, \d+\.\d\]", text_of(replace(found, best=False)))


def test_averages_need_both_folds_except_where_only_an_average_is_printed(full: Results) -> None:
    table = make_table("eopnet2", full)
    two, one = (dict(cells(table, group=method, kind="measured")) for method in ("popnet", "sgone"))
    mean = two["k-way novel mIoU: average"]
    assert isinstance(mean, MeasuredCell)
    folds = [two[f"k-way novel mIoU: fold {number}"] for number in (1, 2)]
    assert mean.mean == pytest.approx(np.mean([cell.mean for cell in folds if isinstance(cell, MeasuredCell)]))
    assert (mean.folds, mean.spread) == ((1, 2), None)
    assert isinstance(one["k-way novel mIoU: average"], Missing)
    accuracy = one["k-way overall accuracy: average"]
    assert isinstance(accuracy, MeasuredCell)
    assert (accuracy.folds, accuracy.mark) == ((1,), "‡")
    assert any(note.mark == "‡" for note in table.notes)


def test_what_is_ours_is_marked_and_what_is_missing_says_why(full: Results) -> None:
    table = make_table("eopnet2", full)
    for method, mark in (("ppnet", "†"), ("finetune", "†"), ("sgone", ""), ("eopnet", ""), ("label_transfer", "†")):
        found = dict(cells(table, group=method, kind="measured"))["k-way novel mIoU: fold 1"]
        assert isinstance(found, MeasuredCell)
        assert found.mark == mark
    names = [text_of(row.cells[0]) for row in table.rows]
    assert "Nearest-patch label transfer (ours, in no paper)†" in names
    assert not any(row.kind == "paper" and row.group == "label_transfer" for row in table.rows)
    sam = dict(cells(table, group="persam", kind="measured"))["k-way novel mIoU: fold 1"]
    assert isinstance(sam, Missing)
    assert any(note.mark == sam.mark and note.text == "needs SAM weights." for note in table.notes)
    assert any("background as in PANet" in name for name in names)


def test_screened_rows_stand_below_measured_ones_but_not_for_eopnet(full: Results) -> None:
    table = make_table("eopnet2", full)
    kinds = [row.kind for row in table.rows if row.group == "sgone"]
    assert kinds == ["paper", "measured", "screened"]
    assert [row.kind for row in table.rows if row.group == "eopnet"] == ["paper", "measured"]
    plain = Results([made_up(RunKey("sgone", "figures-atr", 1, "k"), screened=False)])
    found = dict(cells(make_table("eopnet2", plain), group="sgone", kind="screened"))["k-way novel mIoU: fold 1"]
    assert isinstance(found, Missing)
    assert found.what == "not screened"


def test_best_is_marked_apart_for_paper_and_measured(full: Results) -> None:
    table = make_table("eopnet2", full)
    place = [column.full for column in table.columns].index("1-way novel mIoU: average")
    best = [row.group for row in table.rows if getattr(row.cells[place], "best", False)]
    assert best == ["eopnet"]  # printed; in 1-way only one average was measured, which is no contest
    place = [column.full for column in table.columns].index("k-way novel mIoU: fold 1")
    assert {row.kind for row in table.rows if getattr(row.cells[place], "best", False)} == {"paper", "measured"}


def test_printed_numbers_that_do_not_add_up_carry_a_star_and_a_note(full: Results) -> None:
    table = make_table("eopnet2", full)
    shown = dict(cells(table, group="popnet", kind="paper"))
    assert text_of(shown["1-way novel mIoU: average"]) == "31.9*"  # type: ignore[arg-type]
    assert any(note.mark == "*" and "33.5" in note.text for note in table.notes)
    frames = make_table("framework", full)
    assert any(note.mark == "*" and "61.6" in note.text for note in frames.notes)


def test_the_table_on_real_photos_has_no_paper_in_it(full: Results) -> None:
    table = make_table("ccp", full)
    assert not any(isinstance(cell, PrintedCell) for row in table.rows for cell in row.cells)
    assert len(table.columns) == len(make_table("eopnet2", full).columns)
    assert all("CCP-OS (real photos)" in text_of(row.cells[2]) for row in table.rows)


def test_the_papers_own_data_joins_as_soon_as_something_was_measured_on_it(full: Results) -> None:
    keys = [RunKey("eopnet", "atr-os", 1, "k"), RunKey("eopnet", "figures-atr", 1, "k")]
    both = Results([made_up(key, profile="paper" if key.dataset == "atr-os" else "lite") for key in keys])
    table = make_table("eopnet2", both)
    assert [text_of(row.cells[2]) for row in table.rows if row.group == "eopnet"] == [
        "ATR-OS, as printed",
        "figures-atr (procedural people), lite; committed",
        "ATR-OS, paper; committed",
    ]
    groups = [label for label, _ in make_table("eopnet6", both).groups]
    assert "measured on ATR-OS, fold 1" in groups
    alone = make_table("eopnet2", Results([made_up(keys[0], profile="paper")]))
    assert not any("figures-atr" in text_of(row.cells[2]) for row in alone.rows)


def test_one_run_serves_several_tables(full: Results) -> None:
    one = dict(cells(make_table("eopnet2", full), group="eopnet", kind="measured"))["k-way novel mIoU: fold 1"]
    for name, row in (("eopnet5", 5), ("eopnet6", 3), ("eopnet7", 0)):
        other = make_table(name, full).rows[row].cells[3]
        assert isinstance(other, MeasuredCell)
        assert isinstance(one, MeasuredCell)
        assert other.mean == one.mean


def test_costs_come_from_one_run_or_say_why_not() -> None:
    rows = [
        {"method": "eopnet", "macs_g": 120.9, "params_m": 44.2, "fps": 2.0, "relative": 1.0, "reason": ""},
        {"method": "persam", "reason": "needs SAM weights"},
    ]
    about = {
        "variant": "official",
        "size": 512,
        "classes": 5,
        "device": "cpu",
        "machine": "a CPU",
        "date": "2026-01-01",
    }
    table = make_table("eopnet8", Results(), costs=[{**about, "rows": rows, "notes": ["As released: 243.6 G."]}])
    shown = dict(cells(table, group="eopnet", kind="measured"))
    assert [text_of(cell) for cell in shown.values()][3:7] == ["120.9", "44.2", "2.00", "1.00"]  # type: ignore[arg-type]
    assert any("243.6" in note.text for note in table.notes)
    assert any(note.text == "needs SAM weights." for note in table.notes)
    assert dict(cells(table, group="eopnet", kind="paper"))["MACs (G)"].printed.value == 129.3  # type: ignore[attr-defined]


def test_unknown_tables_get_a_sentence() -> None:
    with pytest.raises(UserError, match="popnet1"):
        make_table("eopnet9", Results())


def test_braces_fold_seeds_only() -> None:
    assert braces(["a-seed0", "a-seed1", "b-seed2-x", "a-seed10", "a-seed0"]) == "a-seed{0,1,10} b-seed2-x"
    assert braces([]) == ""


# ---------------------------------------------------------------------------------------------- forms


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

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag == "tbody":
            self._body = True
        if tag == "tr" and self._body:
            self.rows.append([])
            left, text = self._span
            if left:
                self.rows[-1].append(text)
                self._span = (left - 1, text)
        if tag in ("td", "th", "li"):
            self._cell, self._rows = [], int(about.get("rowspan") or 1)

    def handle_endtag(self, tag: str) -> None:
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
        if self._cell is not None:
            self._cell.append(data)


def texts(table: Table) -> list[list[str]]:
    return [[" ".join(text_of(cell).split()) for cell in row.cells] for row in table.rows]


def from_html(text: str) -> tuple[list[list[str]], list[str]]:
    parser = _Texts()
    parser.feed(text)
    return parser.rows, parser.notes


def from_latex(text: str) -> list[list[str]]:
    """The body of a tabular as texts: undoes what `to_latex` does, by its own table of escapes."""
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
    rows, notes = from_html(render.to_page(table))
    assert rows == wanted
    assert notes == [" ".join(str(note).split()) for note in table.notes]
    read = list(csv.reader(io.StringIO(render.to_csv(table))))
    assert read[0] == [column.full for column in table.columns]
    assert [[" ".join(cell.split()) for cell in row] for row in read[1 : 1 + len(wanted)]] == wanted
    assert [row[0].removeprefix("# ") for row in read[1 + len(wanted) :]] == [
        table.title,
        table.source,
        *map(str, table.notes),
    ]
    assert from_latex(render.to_latex(table)) == wanted
    assert from_markdown(render.to_markdown(table)) == wanted
    assert from_plain(json.loads(render.to_json(table))) == table
    assert [[cell["shown"] for cell in row["cells"]] for row in json.loads(render.to_json(table))["rows"]] == [
        [text_of(cell) for cell in row.cells] for row in table.rows
    ]


_TEXT = st.text(alphabet=st.sampled_from(list("ab1 &%$#_{}~^<>|*`±†‡–×\"'.()")), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=4), _TEXT)
def test_odd_signs_survive_html_csv_and_json(pairs: list[tuple[str, str]], note: str) -> None:
    columns = (Column("name & more", "", "row"), Column("x_1", "group %"))
    rows = tuple(Row((Label(one), Label(two))) for one, two in pairs)
    table = Table("odd", "Odd <signs>", "nowhere", columns, rows, (Note(note),))
    assert from_html(render.to_html(table))[0] == texts(table)
    assert list(csv.reader(io.StringIO(render.to_csv(table))))[1 : 1 + len(rows)] == [list(p) for p in pairs]
    assert from_plain(json.loads(render.to_json(table))) == table
    # LaTeX: no special sign stands bare
    inside = render.to_latex(table).split(r"\midrule")[1].split(r"\bottomrule")[0]
    assert not re.search(r"(?<!\\)[%#_^~]", inside)


def test_html_is_accessible_and_without_inline_style(full: Results) -> None:
    shown = render.to_html(make_table("eopnet2", full), style=False)
    assert "<style" not in shown
    assert " style=" not in shown
    assert shown.count("<caption>") == 1
    assert 'scope="colgroup" colspan="3"' in shown
    assert 'scope="rowgroup" rowspan="3"' in shown
    assert "<strong>" in shown
    for tag in ("table", "thead", "tbody", "tr", "td", "th", "ul", "div"):
        assert shown.count(f"<{tag}>") + shown.count(f"<{tag} ") == shown.count(f"</{tag}>")
    assert html.unescape(shown).count("not run") >= 5


def test_all_five_files_are_written(full: Results, tmp_path: Path) -> None:
    paths = render.write_table(make_table("eopnet5", full), tmp_path / "tables")
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == [
        f"eopnet5.{ending}" for ending in sorted(paths)
    ]
    assert paths["html"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file"):
        render.write_table(make_table("eopnet5", full), tmp_path / "file")


def test_rows_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="cells"):
        Table("x", "x", "x", (Column("a"),), (Row((Label("1"), Label("2"))),))
    with pytest.raises(UserError, match="table"):
        from_plain({"id": "x"})
