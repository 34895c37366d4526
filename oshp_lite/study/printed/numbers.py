"""Every number that the papers and the released code's README print, as data, each with the place it stands at.

The values stand in `printed/*.yaml` exactly as printed. What does not add up is flagged here by code, never corrected:
averages that cannot be the mean of their folds, one quantity printed with two values, and base scores that the novel
and human scores beside them rule out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml

PAPER_NAMES = {
    "aaai": "POPNet paper (AAAI 2021)",
    "journal": "EOP-Net paper (journal version)",
    "readme": "README of the released code",
    "sst": "SST paper (CVPR 2023)",
    "instance": "instance-level parsing paper (BMVC 2019)",
}
ROUNDING = 0.05
"""Half of the last printed digit."""
_WORDS = {"acc": "overall accuracy", "bi": "Bi-mIoU", "macc": "mean accuracy", "miou": "mIoU"}
_BACKBONES = {"r50": "ResNet-50", "r101": "ResNet-101"}
_PEOPLE = {"ap_r": "AP^r", "ap_p": "AP^p", "pcp": "PCP"}
_COSTS = {"macs": "MACs (G)", "params": "parameters (M)", "fps": "frames per second"}


@dataclass(frozen=True)
class Printed:
    """One printed number: its value and digits, the place it stands at, and what does not add up about it (or "").

    In running text `table` is the section, `row` what the number says in our words, and `column` empty.
    """

    value: float
    text: str
    paper: str
    table: str
    row: str
    column: str = ""
    flag: str = ""

    @property
    def source(self) -> str:
        """The place in words."""
        place = f"{PAPER_NAMES[self.paper]}, {self.table}, {self.row}"
        return f"{place}, {column_name(self.column)}" if self.column else place


@dataclass(frozen=True)
class PrintedRow:
    """One row; `method` and `ablation` are our names of what was run, `cells` hold None where the source has a dash.

    data  the dataset of this row, where the rows of a table differ in it
    """

    name: str
    method: str
    ablation: str
    cells: dict[str, Printed | None]
    data: str = ""


@dataclass(frozen=True)
class PrintedTable:
    """One printed table.

    columns  setting.measure.fold ("k.novel.1", "1.bi.mean", "cost.macs"), or backbone.measure.whole, or
             people.measure.unit, where the unit is "whole" (per cent) or "fraction"
    """

    id: str
    paper: str
    label: str
    dataset: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[PrintedRow, ...]

    def row(self, method: str, ablation: str = "") -> PrintedRow | None:
        """The row of a method (and ablation), or None where the paper has none."""
        return next((row for row in self.rows if (row.method, row.ablation) == (method, ablation)), None)

    def get(self, method: str, column: str, ablation: str = "") -> Printed | None:
        """The number of a method in a column, or None (no such row or column, or a dash)."""
        row = self.row(method, ablation)
        return None if row is None else row.cells.get(column)


@dataclass(frozen=True)
class Flag:
    """Something printed that does not add up. kind: "average", "two values" or "implied"."""

    kind: str
    where: str
    says: str
    printed: float
    expected: float


def column_name(column: str) -> str:
    """Words for a column id: "k.novel.1" -> "k-way novel mIoU, fold 1"."""
    match column.split("."):
        case ["cost", cost]:
            return _COSTS[cost]
        case ["people", "miou", _]:
            return _WORDS["miou"]
        case ["people", measure, unit]:
            name, _, at = measure.rpartition("_")
            place = "volume" if at == "vol" else f"at .{at[0]}"
            return f"{_PEOPLE[name]}, {place}{' (fraction)' if unit == 'fraction' else ''}"
        case [backbone, measure, "whole"]:
            return f"{_BACKBONES[backbone]} {_WORDS[measure]}"
        case [dataset, fold]:  # README
            return f"{dataset.upper()}, fold {fold}"
        case [way, measure, fold]:
            place = "average" if fold == "mean" else f"fold {fold}"
            return f"{way}-way {_WORDS.get(measure, f'{measure} mIoU')}, {place}"
    raise ValueError(f"no column of a printed table is called {column!r}")


def average_flag(one: float, two: float, printed: float) -> str:
    """Say what is wrong with a printed average of two printed folds, or "".

    Folds and average are each rounded to 0.05, so the mean of the printed folds may lie up to 0.1 from the printed
    average (that limit itself would need all three to be rounded the worst way at once, and counts as wrong).
    """
    mean = (one + two) / 2
    if abs(mean - printed) < 2 * ROUNDING - 1e-9:
        return ""
    return f"printed {printed:g}, but its folds {one:g} and {two:g} average to {mean:g}"


def implied_base(novel: float, human: float, n_novel: int = 3, n_classes: int = 12) -> float:
    """Base mIoU that follows from novel and human mIoU: the human score is the mean over all classes, background too.

    The defaults are ATR-OS: 12 classes with the background, 3 of them novel.
    """
    return (n_classes * human - n_novel * novel) / (n_classes - n_novel)


def _flag(cell: Printed, row: Mapping[str, float], earlier: Printed) -> Flag | None:
    """Compare a number with its folds in the same row, and with the first print of the same quantity."""
    stem, _, fold = cell.column.rpartition(".")
    if fold == "mean" and f"{stem}.1" in row and f"{stem}.2" in row:
        one, two = row[f"{stem}.1"], row[f"{stem}.2"]
        if says := average_flag(one, two, cell.value):
            return Flag("average", cell.source, says, cell.value, (one + two) / 2)
    if cell.value != earlier.value:
        says = f"printed {cell.value:g} here and {earlier.value:g} in {earlier.table}"
        return Flag("two values", cell.source, says, cell.value, earlier.value)
    return None


def _implied_flags() -> Iterator[Flag]:
    for name, table, ablation in (("popnet-base", "popnet1", "three-stage"), ("eopnet-base", "eopnet2", "")):
        method = name.removesuffix("-base")
        cells = [printed_table(table).get(method, f"k.{measure}.1", ablation) for measure in ("novel", "human")]
        novel, human = (cell.value for cell in cells if cell is not None)
        said, expected = prose(name), implied_base(novel, human)
        # human is known to 0.05, worth 0.05 * 12 / 9 in the base score, novel to 0.05 * 3 / 9; base itself to 0.05
        if abs(expected - said.value) > ROUNDING * (12 + 3) / 9 + ROUNDING:
            says = f"printed {said.value:g}, but novel {novel:g} and human {human:g} imply {expected:.1f}"
            yield Flag("implied", said.source, says, said.value, expected)


@cache
def content() -> dict[str, dict[str, Any]]:
    """Return what the files hold, by paper: name of the source's text (`file`), tables and prose."""
    folder = resources.files("oshp_lite.study.printed")
    return {paper: parse_yaml((folder / f"{paper}.yaml").read_text(encoding="utf-8")) for paper in PAPER_NAMES}


@cache
def _read() -> tuple[dict[str, PrintedTable], list[Flag]]:
    tables: dict[str, PrintedTable] = {}
    flags: list[Flag] = []
    first: dict[tuple[str, ...], Printed] = {}
    for paper, whole in content().items():
        for name, entry in whole["tables"].items():
            columns, label, rows = str(entry["columns"]).split(), entry["label"], []
            dataset, protocol = entry.get("dataset", ""), entry.get("protocol", "journal")
            for row in entry["rows"]:
                texts, ablation = str(row["values"]).split(), row.get("ablation", "")
                if len(texts) != len(columns):
                    said = f"{label}, row {row['row']} has {len(texts)} values for {len(columns)} columns"
                    raise UserError(f"{said}; complete it")
                values = {column: float(one) for column, one in zip(columns, texts, strict=True) if one != "-"}
                cells: dict[str, Printed | None] = dict.fromkeys(columns)
                for column, value in values.items():
                    cell = Printed(value, texts[columns.index(column)], paper, label, str(row["row"]), column)
                    of = (row.get("data", dataset), column)
                    if "measure" in row:  # README: the column names dataset and fold
                        of = (column.split(".")[0], f"{row['measure']}.{column.split('.')[1]}")
                    flag = _flag(cell, values, first.setdefault((protocol, *of, row["method"], ablation), cell))
                    flags += [flag] if flag else []
                    cells[column] = replace(cell, flag=flag.says) if flag else cell
                rows.append(PrintedRow(str(row["row"]), row["method"], ablation, cells, row.get("data", dataset)))
            tables[name] = PrintedTable(name, paper, label, dataset, protocol, tuple(columns), tuple(rows))
    return tables, flags


def printed_tables() -> dict[str, PrintedTable]:
    """All printed tables: popnet1-3, eopnet2-8, framework, readme-k, readme-1, sst1-6, instance1-5, instance_text."""
    return _read()[0]


def printed_table(name: str) -> PrintedTable:
    """One printed table. Raises UserError for an unknown id."""
    if name not in (tables := printed_tables()):
        raise UserError(f"no printed table is called {name!r}; there are {', '.join(tables)}")
    return tables[name]


def prose(name: str) -> Printed:
    """One number of the papers' running text. Raises UserError for an unknown id."""
    known = {one["id"]: (paper, one) for paper, whole in content().items() for one in whole.get("prose", ())}
    if name not in known:
        raise UserError(f"no number of the text is called {name!r}; there are {', '.join(known)}")
    paper, one = known[name]
    return Printed(float(one["value"]), str(one["value"]), paper, one["where"], one["says"])


def flags() -> tuple[Flag, ...]:
    """Everything printed that does not add up; nothing of it is corrected."""
    return (*sorted(_read()[1], key=lambda flag: flag.kind), *_implied_flags())
