"""Parts taken away or changed: POPNet's Table 3, EOP-Net's Tables 5-7 and the comparison of section 6.6.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from oshp_lite.study.experiments import families
from oshp_lite.study.printed.numbers import PAPER_NAMES, printed_table
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.tables.cells import OURS, Cell, Column, Label, Missing, Note, PrintedCell, Row, Table
from oshp_lite.study.tables.comparison import HOW, SCREENING
from oshp_lite.study.tables.measure import (
    all_seeds,
    data_name,
    measured_cell,
    runs_label,
    where_measured,
    with_best,
    with_notes,
)

_MEASURES = ("novel", "human")
_HEAD = {"novel": "novel mIoU", "human": "human mIoU"}


@dataclass(frozen=True)
class _Line:
    """One row: its name, which run, which printed row (None: the run's), and whether it is ours and shown once run."""

    name: str
    method: str
    ablation: str = ""
    only_if_run: bool = False
    as_printed: str | None = None

    @property
    def printed(self) -> str:
        """The ablation under which the printed row is found."""
        return self.ablation if self.as_printed is None else self.as_printed


_TITLES = {
    "popnet3": "Parts of POPNet, k-way, fold 1",
    "eopnet5": "Parts of EOP-Net, k-way, fold 1",
    "eopnet6": "Momentum of the prototypes, k-way, fold 1",
    "eopnet7": "Depth of the encoder, k-way, fold 1",
    "framework": "Progressive against end-to-end parsing, k-way, fold 1",
}
_FIRST = {"eopnet6": "momentum", "eopnet7": "encoder", "framework": "framework"}
_NAMES = {
    ("eopnet7", "62-layer"): "62-layer (here: 2 blocks after the stem)",
    ("eopnet7", "69-layer"): "69-layer (here: 3 blocks)",
    ("eopnet7", "74-layer"): "74-layer (here: 4 blocks)",
    ("framework", "Progressive"): "progressive (POPNet)",
    ("framework", "End-to-end"): "end-to-end (EOP-Net without contrastive loss)",
}
_EXTRA = {
    "eopnet5": (_Line(f"full, unlabelled person pixels as background{OURS}", "eopnet", "unlabelled-background", True),),
    "eopnet6": (_Line(f"0 (static prototypes){OURS}", "eopnet", "static", True),),
}
_NOTES = {
    "popnet3": ("WS: weight shifting; KIM: three stages with knowledge infusion; DP: dynamic prototypes.",),
    "eopnet5": ("WS: weight shifting; CG & FG: coarse and fine space together; CL: contrastive loss.",),
    "eopnet7": (
        "The small encoder has no 62, 69 or 74 layers: its counterpart is the number of blocks, named in each row. "
        "In the profile paper the rows are the three feature levels of the Xception encoder.",
    ),
}
_OURS = Note("ours: in no paper.", OURS)
_SCREENED = ("popnet3", "eopnet5", "framework")
"""Tables with rows that do not screen their own answers."""
_SEEDS = Note("Rows may rest on different numbers of seeds; the ledger of claims compares what both sides have.")
_FULL_MOMENTUM = 0.999


def parts_table(name: str, results: Results) -> Table:
    """One of popnet3, eopnet5, eopnet6, eopnet7, framework; the paper's columns beside those of each dataset."""
    printed = printed_table(name)
    lines = [_Line(_NAMES.get((name, row.name), row.name), row.method, row.ablation) for row in printed.rows]
    lines += _EXTRA.get(name, ())
    datasets = _datasets(lines, results, printed.protocol)
    if name == "eopnet6":
        lines = _momentum_lines(lines, results, datasets)
    lines = [
        line
        for line in lines
        if not line.only_if_run or any(results.seeds(_key(line, data, printed.protocol)) for data in datasets)
    ]
    screened = [
        data
        for data in datasets
        if name in _SCREENED
        and any(run.screened is not None for line in lines for run in results.seeds(_key(line, data, printed.protocol)))
    ]
    columns = [Column(_FIRST.get(name, "parts"), "", "row")]
    columns += [Column(_HEAD[measure], f"paper, {data_name(printed.dataset)} fold 1", "paper") for measure in _MEASURES]
    for data in datasets:
        group = f"measured on {data_name(data)}, fold 1"
        columns += [Column(_HEAD[measure], group, "measured") for measure in _MEASURES]
        if data in screened:
            columns += [Column(_HEAD[measure], f"{group}, screened by EOP-Net", "screened") for measure in _MEASURES]
    columns += [Column("data and profile", "", "data"), Column("runs", "", "runs")]
    rows = []
    for line in lines:
        cells: list[Cell] = [Label(line.name)]
        for measure in _MEASURES:
            number = None if line.only_if_run else printed.get(line.method, f"k.{measure}.1", line.printed)
            absent = Missing("the paper has no such row", "–")
            cells.append(absent if number is None else PrintedCell(number))
        where = []
        for data in datasets:
            key = _key(line, data, printed.protocol)
            mark = OURS if line.only_if_run else ""
            cells += [measured_cell(results, [key], measure, mark=mark) for measure in _MEASURES]
            if data in screened:
                cells += [measured_cell(results, [key], m, screened=True, mark=mark) for m in _MEASURES]
            where.append(where_measured(all_seeds(results, [key]), data))
        runs = runs_label(cells)
        rows.append(Row((*cells, Label(" | ".join(where)), runs)))
    scores = [place for place, column in enumerate(columns) if column.kind in ("paper", "measured")]
    rows = with_best(rows, scores, ("both",))
    rows, notes = with_notes(rows)
    general = [HOW, _SEEDS, *(Note(text) for text in _NOTES.get(name, ()))]
    if screened:
        general.append(SCREENING)
    if any(line.only_if_run for line in lines):
        general.append(_OURS)
    source = f"{PAPER_NAMES[printed.paper]}, {printed.label}"
    return Table(name, _TITLES[name], source, tuple(columns), tuple(rows), (*general, *notes))


def _momentum_lines(lines: Sequence[_Line], results: Results, datasets: Sequence[str]) -> list[_Line]:
    """Where the study's full network has another momentum than the paper's 0.999, it gets a row under its own value."""
    runs = all_seeds(results, [RunKey("eopnet", data, 1, "k") for data in datasets])
    options = [run.provenance.get("settings", {}).get("options", {}) for run in runs]
    own = sorted({float(some["momentum"]) for some in options if "momentum" in some} - {_FULL_MOMENTUM})
    if not own:
        return list(lines)
    text = ", ".join(f"{value:g}" for value in own)
    moved = [
        replace(line, ablation=f"momentum-{_FULL_MOMENTUM}", as_printed="") if not line.ablation else line
        for line in lines
    ]
    return [*moved, _Line(f"{text} (the full network here){OURS}", "eopnet", "", True)]


def _key(line: _Line, dataset: str, protocol: str) -> RunKey:
    return RunKey(line.method, dataset, 1, "k", 0, line.ablation, protocol)


def _datasets(lines: Sequence[_Line], results: Results, protocol: str) -> list[str]:
    """The small dataset, the paper's own, or both: whatever has a result; the small one when nothing has."""
    both = [families(profile)["atr"] for profile in ("lite", "paper")]
    return [data for data in both if any(results.seeds(_key(line, data, protocol)) for line in lines)] or both[:1]
