"""The papers' numbers as data: complete, equal to the text where that lies beside the project, flagged where wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from oshp_lite.errors import UserError
from oshp_lite.study.printed import numbers
from oshp_lite.study.printed.numbers import PrintedTable, printed_table, printed_tables

_SIZES = {
    "popnet1": (4, 7),
    "popnet2": (5, 7),
    "popnet3": (6, 2),
    "eopnet2": (9, 14),
    "eopnet3": (9, 14),
    "eopnet4": (9, 14),
    "eopnet5": (6, 2),
    "eopnet6": (5, 2),
    "eopnet7": (3, 2),
    "eopnet8": (4, 3),
    "framework": (2, 2),
    "readme-k": (2, 6),
    "readme-1": (2, 6),
    "sst1": (5, 2),
    "sst2": (5, 4),
    "sst3": (5, 4),
    "sst4": (6, 1),
    "sst5": (6, 1),
    "sst6": (6, 1),
    "instance1": (4, 5),
    "instance2": (2, 4),
    "instance3": (2, 4),
    "instance4": (4, 4),
    "instance5": (4, 4),
    "instance_text": (2, 1),
}


def values(table: PrintedTable) -> list[float]:
    return [cell.value for row in table.rows for cell in row.cells.values() if cell is not None]


def test_every_table_is_there_in_its_size() -> None:
    assert {name: (len(t.rows), len(t.columns)) for name, t in printed_tables().items()} == _SIZES
    assert sum(len(values(table)) for table in printed_tables().values()) == 437 + 68 + 70  # SST's, the BMVC paper's


def test_dashes_stand_where_a_method_has_no_kway_form() -> None:
    for name in ("eopnet2", "eopnet3", "eopnet4"):
        table = printed_table(name)
        for row in table.rows:
            empty = [column for column, cell in row.cells.items() if cell is None]
            without = row.method in {"finetune", "persam", "ppnet", "pfenet"}
            assert empty == (list(table.columns[:7]) if without else [])


def test_every_number_says_where_it_stands() -> None:
    found = printed_table("eopnet2").get("popnet", "1.novel.mean")
    assert found is not None
    assert (found.value, found.text) == (31.9, "31.9")
    assert str(found.source) == "EOP-Net paper (journal version), Table 2, POPNet, 1-way novel mIoU, average"
    assert "33.5" in found.flag
    assert printed_table("eopnet2").get("persam", "k.novel.1") is None
    assert printed_table("eopnet5").get("popnet", "k.novel.1") is None


def test_scores_are_percentages() -> None:
    for table in printed_tables().values():
        if table.id != "eopnet8":
            assert all(0 <= value <= 100 for value in values(table))


def test_averages_that_are_not_the_mean_of_their_folds_are_flagged_and_left_alone() -> None:
    """The list that was found by hand, and one more that lies just outside what rounding allows."""
    flagged = {
        (f.where.split(", ", 1)[1], f.printed, round(f.expected, 2)) for f in numbers.flags() if f.kind == "average"
    }
    assert flagged == {
        ("Table 2, PerSAM, 1-way novel mIoU, average", 4.2, 6.35),
        ("Table 2, POPNet, 1-way novel mIoU, average", 31.9, 33.5),
        ("Table 2, POPNet, 1-way human mIoU, average", 62.3, 62.65),
        ("Table 4, Fine-tuning, 1-way human mIoU, average", 9.3, 7.15),
        ("Table 4, POPNet, 1-way human mIoU, average", 57.7, 57.45),
        ("Table 2, POPNet, 1-way novel mIoU, average", 27.7, 28.35),  # the POPNet paper's own
        ("Table 2, AMP, 1-way novel mIoU, average", 8.8, 8.9),  # likewise
    }


def test_what_is_printed_twice_with_two_values_is_flagged() -> None:
    assert [(f.printed, f.expected) for f in numbers.flags() if f.kind == "two values"] == [(61.1, 61.6)]


def test_the_base_score_that_its_neighbours_rule_out_is_flagged() -> None:
    (found,) = [f for f in numbers.flags() if f.kind == "implied"]
    assert found.printed == 71.2
    assert round(found.expected, 1) == 72.2
    assert round(numbers.implied_base(24.1, 60.6), 1) == numbers.prose("popnet-base").value


@pytest.mark.parametrize(
    ("one", "two", "printed", "wrong"),
    [(0.3, 0.2, 0.3, False), (0.8, 0.3, 0.5, False), (0.8, 0.3, 0.6, False), (8.4, 9.4, 8.8, True), (1, 2, 1.6, True)],
)
def test_rounding_alone_is_no_flag(one: float, two: float, printed: float, wrong: bool) -> None:
    assert bool(numbers.average_flag(one, two, printed)) == wrong


def test_unknown_names_get_a_sentence() -> None:
    with pytest.raises(UserError, match="eopnet2"):
        printed_table("eopnet9")
    with pytest.raises(UserError, match="popnet-base"):
        numbers.prose("nothing")


# ---------------------------------------------------------------------------------------------- against the text


def _text(source: str) -> list[str]:
    folder = os.environ.get("OSHP_PAPERS")
    path = Path(folder or "", numbers.content()[source]["file"])
    if not folder or not path.is_file():
        pytest.skip("needs the papers' texts; name their folder in OSHP_PAPERS")
    return path.read_text(encoding="utf-8").splitlines()


def _tokens(line: str) -> list[str]:
    """The words of a line without marks for bold, citations and cell borders."""
    return re.sub(r"</?b>|\[\d+\]|\||\$", " ", line).split()


_NUMBER = re.compile(r"-|\d+(\.\d+)?")


def _ends_in_number(line: str) -> bool:
    return bool(_NUMBER.fullmatch(["", *_tokens(line)][-1]))


def _section(table: PrintedTable) -> list[list[str]]:
    """The lines of one table in the source, as tokens: journal captions stand above, AAAI captions below."""
    lines = _text(table.paper)
    if table.paper == "readme":
        ways = [i for i, line in enumerate(lines) if "EOPNet" in line and "OS," in line]
        start = ways[0] if table.id == "readme-k" else ways[1]
        end = start + 4
    elif table.paper == "aaai":
        end = next(i for i, line in enumerate(lines) if line.startswith(f"{table.label}:"))
        start = max(i for i, line in enumerate(lines[:end]) if line.startswith("Method"))
    else:
        caption = f"TABLE {table.label.split()[-1]}"
        if table.id == "framework":
            start = next(i for i, line in enumerate(lines) if line.startswith("Parsing framework"))
        else:
            start = next(i for i, line in enumerate(lines) if line.strip() == caption)
        end = next(i for i in range(start + 2, len(lines)) if not lines[i] and _ends_in_number(lines[i - 1]))
    return [tokens for line in lines[start:end] if (tokens := _tokens(line))]


def _across(table: PrintedTable) -> bool:
    """The source prints our rows as columns."""
    return bool(numbers.content()[table.paper]["tables"][table.id].get("printed_across"))


def _rows(table: PrintedTable) -> list[list[str]]:
    """The rows of one of our tables in the tokens and the direction of the print."""
    rows = [[row.name, *("-" if c is None else c.text for c in row.cells.values())] for row in table.rows]
    if _across(table):
        return [list(column) for column in zip(*rows, strict=True)]
    return rows


@pytest.mark.parametrize("name", [name for name in _SIZES if not name.startswith(("sst", "instance"))])
def test_every_row_stands_in_the_text(name: str) -> None:
    table = printed_table(name)
    lines = _section(table)
    rows = _rows(table)
    printed = []
    for tokens in lines:
        values = tokens[next((i for i in range(len(tokens)) if all(map(_NUMBER.fullmatch, tokens[i:]))), len(tokens)) :]
        if len(values) >= 2:
            printed.append(tokens)
    assert len(printed) == len(rows), "a row of the text is missing here, or the other way round"
    for tokens, row in zip(printed, rows, strict=True):
        if _across(table):
            assert tokens[-len(row) :] == row
        else:
            assert tokens == [*row[0].split(), *row[1:]]


def _gains_dropped(line: str) -> str:
    return re.sub(r"\\uparrow\s*_?\{?[\d.]+\}?", "", line)


@pytest.mark.parametrize("name", [name for name in _SIZES if name.startswith("sst")])
def test_every_number_of_sst_s_own_networks_stands_in_the_text_in_order(name: str) -> None:
    """Captions stand below the tables; in Tables 1 to 3 the rows of each backbone follow one another."""
    table, lines = printed_table(name), [_gains_dropped(line) for line in _text("sst")]
    (end,) = (i for i, line in enumerate(lines) if line.startswith(f"{table.label}. "))
    start = max((i for i, line in enumerate(lines[:end]) if re.match(r"Table \d\.", line)), default=0)
    of_sst = [line for line in lines[start:end] if "\t" in line and (name > "sst3" or re.match("S[iS]|Multi", line))]
    for end_of_name, backbone in (("50", "r50"), ("101", "r101")):
        printed = [line for line in of_sst if f"ResNet-{end_of_name}\t" in line or name == "sst6"]
        wanted = [row.cells[c].text for row in table.rows for c in table.columns if c.startswith(f"{backbone}.")]
        if wanted:
            assert re.findall(r"\d\d\.\d\d", "\n".join(printed)) == wanted
            names = [_words(line.split("\t")[0]) for line in printed]
            assert name > "sst3" or names == [_words(row.name) for row in table.rows]


def _words(name: str) -> list[str]:
    """What the print and our tables both say: "SST (Transfer-ATR&CIHP)" and "SST, transfer from ATR & CIHP"."""
    return [word for word in re.findall(r"[a-z]+", name.lower()) if word != "from"]


@pytest.mark.parametrize("name", [name for name in _SIZES if name.startswith("instance")])
def test_every_number_of_the_bmvc_paper_stands_in_its_section(name: str) -> None:
    """Its text has the tables' columns as blocks, two tables interleaved, so that no row is left whole."""
    table, text = printed_table(name), "\n".join(_text("instance"))
    starts = {"instance1": "Table 1: ", "instance2": "Table 2: ", "instance3": "Table 2: ", "instance_text": "4.3\n"}
    start = text.index(starts.get(name, "Table 4: "))
    printed = re.findall(r"(?<![\d.])\d{1,2}\.\d{1,2}(?![\d.])", text[start : start + 2500])
    for column in table.columns:
        for row in table.rows:
            cell = row.cells[column]
            assert cell is not None
            assert cell.text in printed, cell.source
            printed.remove(cell.text)


PROSE = {entry["id"]: entry["near"] for paper in numbers.content().values() for entry in paper.get("prose", ())}


@pytest.mark.parametrize("name", PROSE)
def test_every_number_of_the_prose_stands_in_the_text(name: str) -> None:
    found, near = numbers.prose(name), PROSE[name]
    assert found.text in near
    assert near in re.sub(r"\s+", " ", re.sub(r"\$[^$]*\$|-\n", " ", "\n".join(_text(found.paper))))
