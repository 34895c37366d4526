"""Every number that the papers and the released code's README print, as data, each with the place it stands at.

The values stand in `study/printed/*.yaml` exactly as printed. What does not add up is flagged here by code, never
corrected: averages that cannot be the mean of their folds, one quantity printed with two values, and base scores that
the novel and human scores beside them rule out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

from oshp_lite.errors import UserError

PAPER_NAMES = {
    "aaai": "POPNet paper (AAAI 2021)",
    "journal": "EOP-Net paper (journal version)",
    "readme": "README of the released code",
}
ROUNDING = 0.05
"""Half of the last printed digit."""
_MEASURES = {
    "novel": "novel mIoU",
    "human": "human mIoU",
    "base": "base mIoU",
    "acc": "overall accuracy",
    "bi": "Bi-mIoU",
    "macs": "MACs (G)",
    "params": "parameters (M)",
    "fps": "frames per second",
}


@dataclass(frozen=True)
class Source:
    """Where a number stands: paper ("aaai", "journal", "readme"), table ("Table 2"), row and column."""

    paper: str
    table: str
    row: str
    column: str

    def __str__(self) -> str:
        return f"{PAPER_NAMES[self.paper]}, {self.table}, {self.row}, {column_name(self.column)}"


@dataclass(frozen=True)
class Printed:
    """One printed number: value, place, what does not add up about it (or ""), and the digits as they stand there."""

    value: float
    source: Source
    flag: str = ""
    text: str = ""


@dataclass(frozen=True)
class PrintedRow:
    """One row of a printed table; `method` and `ablation` are our names of what was run.

    cells    column -> number in column order; None where the source prints a dash
    measure  "k.novel" and the like, only where the columns name no measure (README)
    """

    name: str
    method: str
    ablation: str
    cells: dict[str, Printed | None]
    measure: str = ""


@dataclass(frozen=True)
class PrintedTable:
    """One printed table. `columns` are setting.measure.fold ("k.novel.1", "1.bi.mean", "cost.macs")."""

    id: str
    paper: str
    label: str
    title: str
    dataset: str
    protocol: str
    columns: tuple[str, ...]
    rows: tuple[PrintedRow, ...]
    printed_across: bool = False

    def row(self, method: str, ablation: str = "") -> PrintedRow | None:
        """The row of a method (and ablation), or None where the paper has none."""
        return next((row for row in self.rows if (row.method, row.ablation) == (method, ablation)), None)

    def get(self, method: str, column: str, ablation: str = "") -> Printed | None:
        """The number of a method in a column, or None (no such row or column, or a dash)."""
        row = self.row(method, ablation)
        return None if row is None else row.cells.get(column)

    def __iter__(self) -> Iterator[Printed]:
        """Every printed number, row by row."""
        for row in self.rows:
            yield from (cell for cell in row.cells.values() if cell is not None)


@dataclass(frozen=True)
class Prose:
    """A number that stands in running text: `says` in our words, `near` the few words that it stands in."""

    id: str
    value: float
    text: str
    unit: str
    says: str
    where: str
    near: str
    paper: str


@dataclass(frozen=True)
class Flag:
    """Something printed that does not add up. kind: "average", "two values" or "implied"."""

    kind: str
    where: str
    says: str
    printed: float
    expected: float


@dataclass(frozen=True)
class _Data:
    tables: dict[str, PrintedTable]
    prose: dict[str, Prose]
    files: dict[str, str]
    flags: tuple[Flag, ...]


def column_name(column: str) -> str:
    """Words for a column id: "k.novel.1" -> "k-way novel mIoU, fold 1"."""
    parts = column.split(".")
    if parts[0] == "cost":
        return _MEASURES[parts[1]]
    if len(parts) == 2:  # README: dataset and fold
        return f"{parts[0].upper()}, fold {parts[1]}"
    fold = "average" if parts[2] == "mean" else f"fold {parts[2]}"
    return f"{parts[0]}-way {_MEASURES[parts[1]]}, {fold}"


# ---------------------------------------------------------------------------------------------- what does not add up


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


def _average_flags(table: PrintedTable) -> Iterator[tuple[Printed, Flag]]:
    for row in table.rows:
        for column, cell in row.cells.items():
            stem, _, fold = column.rpartition(".")
            one, two = row.cells.get(f"{stem}.1"), row.cells.get(f"{stem}.2")
            if fold == "mean" and cell and one and two and (says := average_flag(one.value, two.value, cell.value)):
                yield cell, Flag("average", str(cell.source), says, cell.value, (one.value + two.value) / 2)


def _twice_flags(tables: dict[str, PrintedTable]) -> Iterator[tuple[Printed, Flag]]:
    first: dict[tuple[str, ...], Printed] = {}
    for table in tables.values():
        for row in table.rows:
            for column, cell in row.cells.items():
                dataset, measured = table.dataset, column
                if row.measure:  # README: the column names dataset and fold
                    dataset, _, fold = column.rpartition(".")
                    measured = f"{row.measure}.{fold}"
                if cell is None:
                    continue
                other = first.setdefault((table.protocol, dataset, row.method, row.ablation, measured), cell)
                if other.value != cell.value:
                    says = f"printed {cell.value:g} here and {other.value:g} in {other.source.table}"
                    yield cell, Flag("two values", str(cell.source), says, cell.value, other.value)


def _implied_flags(tables: dict[str, PrintedTable], prose: dict[str, Prose]) -> Iterator[Flag]:
    places = (("popnet-base", "popnet1", "popnet", "three-stage"), ("eopnet-base", "eopnet2", "eopnet", ""))
    for name, table, method, ablation in places:
        novel, human = (tables[table].get(method, column, ablation) for column in ("k.novel.1", "k.human.1"))
        assert novel is not None
        assert human is not None
        said, expected = prose[name], implied_base(novel.value, human.value)
        # human is known to 0.05, worth 0.05 * 12 / 9 in the base score, novel to 0.05 * 3 / 9; base itself to 0.05
        if abs(expected - said.value) > ROUNDING * (12 + 3) / 9 + ROUNDING:
            says = f"printed {said.value:g}, but novel {novel.value:g} and human {human.value:g} imply {expected:.1f}"
            place = f"{PAPER_NAMES[said.paper]}, {said.where}, {said.says}"
            yield Flag("implied", place, says, said.value, expected)


# ----------------------------------------------------------------------------------------------------------- reading


def _table(name: str, entry: dict[str, Any], paper: str) -> PrintedTable:
    columns, label = tuple(str(entry["columns"]).split()), entry["label"]
    rows = []
    for row in entry["rows"]:
        texts = str(row["values"]).split()
        if len(texts) != len(columns):
            raise UserError(
                f"{label}, row {row['row']} has {len(texts)} values for {len(columns)} columns; complete it"
            )
        cells = {
            column: None
            if text == "-"
            else Printed(float(text), Source(paper, label, str(row["row"]), column), "", text)
            for column, text in zip(columns, texts, strict=True)
        }
        ablation, measure = str(row.get("ablation", "")), row.get("measure", "")
        rows.append(PrintedRow(str(row["row"]), row["method"], ablation, cells, measure))
    dataset, protocol = entry.get("dataset", ""), entry.get("protocol", "journal")
    across = bool(entry.get("printed_across", False))
    return PrintedTable(name, paper, label, entry["title"], dataset, protocol, columns, tuple(rows), across)


@cache
def _load() -> _Data:
    tables: dict[str, PrintedTable] = {}
    prose: dict[str, Prose] = {}
    files: dict[str, str] = {}
    for paper in PAPER_NAMES:
        text = (resources.files("oshp_lite.study.printed") / f"{paper}.yaml").read_text(encoding="utf-8")
        content = yaml.safe_load(text)
        files[paper] = content["file"]
        tables |= {name: _table(name, entry, paper) for name, entry in content["tables"].items()}
        for entry in content.get("prose", []):
            value = entry.pop("value")
            prose[entry["id"]] = Prose(value=float(value), text=str(value), paper=paper, **entry)
    averages = [one for table in tables.values() for one in _average_flags(table)]
    twice = list(_twice_flags(tables))
    said = {cell.source: flag.says for cell, flag in (*averages, *twice)}
    tables = {name: _with_flags(table, said) for name, table in tables.items()}
    flags = (*(flag for _, flag in (*averages, *twice)), *_implied_flags(tables, prose))
    return _Data(tables, prose, files, flags)


def _with_flags(table: PrintedTable, said: dict[Source, str]) -> PrintedTable:
    """Write what does not add up beside the numbers that it concerns."""
    rows = (
        replace(
            row,
            cells={name: cell and replace(cell, flag=said.get(cell.source, "")) for name, cell in row.cells.items()},
        )
        for row in table.rows
    )
    return replace(table, rows=tuple(rows))


def printed_tables() -> dict[str, PrintedTable]:
    """All printed tables by id: popnet1-3, eopnet2-8, framework, readme-k, readme-1."""
    return dict(_load().tables)


def printed_table(name: str) -> PrintedTable:
    """One printed table. Raises UserError for an unknown id."""
    tables = _load().tables
    if name not in tables:
        raise UserError(f"no printed table is called {name!r}; there are {', '.join(tables)}")
    return tables[name]


def prose(name: str) -> Prose:
    """One number of the papers' running text. Raises UserError for an unknown id."""
    known = _load().prose
    if name not in known:
        raise UserError(f"no number of the text is called {name!r}; there are {', '.join(known)}")
    return known[name]


def all_prose() -> dict[str, Prose]:
    """All numbers of the running text by id."""
    return dict(_load().prose)


def source_files() -> dict[str, str]:
    """Source -> name of the text file that holds it, for the check against the text."""
    return dict(_load().files)


def flags() -> tuple[Flag, ...]:
    """Everything printed that does not add up; nothing of it is corrected."""
    return _load().flags
