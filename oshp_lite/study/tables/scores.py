"""Tables of parts taken away or changed (POPNet's Table 3, EOP-Net's Tables 5-7, its section 6.6.2), the paper and each
dataset side by side; and lines of runs, which comparisons of methods are made of too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oshp_lite.study.experiments import families
from oshp_lite.study.printed.numbers import PrintedRow, PrintedTable, printed_tables
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.tables.measure import (
    BEHIND,
    HEADS,
    ONE_FOLD,
    all_seeds,
    data_name,
    finished,
    measured_cell,
    runs_cell,
    where_measured,
)
from oshp_lite.study.tables.table import OURS, Cell, Column, Row, Table, missing, printed_cell

HOW = (
    "Scores in per cent. Measured: the mean over seeds and folds, ± the standard deviation over seeds (n of them), and "
    "in brackets the 95 % interval from drawing query photos with their test pairs (and seeds, from two on) anew."
)
SCREENING = (
    "Screened by EOP-Net: the same predictions, with everything outside the person mask of this protocol's EOP-Net set "
    "to background. EOP-Net's own row has that already."
)
_NOTES = (
    f"{HOW} The best of each column in bold.",
    "Rows may rest on different numbers of seeds; the ledger of claims compares what both sides have.",
)
_GROUPS = {"paper": "paper, {} fold 1", "measured": "measured on {}, fold 1"}
_GROUPS |= {"screened": _GROUPS["measured"] + ", screened by EOP-Net"}
_FULL_MOMENTUM = 0.999


@dataclass(frozen=True)
class Line:
    """Runs that one row stands for.

    keys     its runs' first seeds on every dataset that the table may show
    printed  the paper's row (None: ours); mark: stands behind a measured number
    extra    it stands in the table once it was run; screened: its predictions can be screened by EOP-Net
    needs    what has to be at hand before it can be run
    """

    name: str
    method: str
    keys: tuple[RunKey, ...]
    printed: PrintedRow | None
    mark: str = ""
    extra: bool = False
    screened: bool = True
    needs: str = ""

    def on(self, dataset: str) -> list[RunKey]:
        """Return its keys on a dataset."""
        return [key for key in self.keys if key.dataset == dataset]

    def runs(self, results: Results, dataset: str) -> list[Measured]:
        """Return its results on a dataset, all seeds."""
        return all_seeds(results, self.on(dataset))


def shown_on(lines: Sequence[Line], results: Results) -> tuple[list[Line], list[str]]:
    """Return the lines to show and the datasets: the papers' own as soon as something was measured on it, and alone if
    nothing else was; extra lines once they were run.
    """
    candidates = dict.fromkeys(key.dataset for line in lines for key in line.keys)
    datasets = [one for one in candidates if any(line.runs(results, one) for line in lines)] or list(candidates)[:1]
    return [one for one in lines if not one.extra or any(one.runs(results, data) for data in datasets)], datasets


def parts_table(name: str, spec: Mapping[str, Any], results: Results) -> Table:
    """One table of kind "parts"."""
    printed = printed_tables().get(name)
    lines, datasets = shown_on(_parts(name, spec, printed, results), results)
    sources = [("paper", printed.dataset)] if printed else []
    for data in datasets:
        sources.append(("measured", data))
        if spec.get("screened") and any(run.screened is not None for one in lines for run in one.runs(results, data)):
            sources.append(("screened", data))
    columns, rows = _side_by_side(spec.get("first", "parts"), lines, sources, results)
    notes = [*_NOTES, *spec.get("notes", ())]
    notes += [SCREENING] if any(column.kind == "screened" for column in columns) else []
    notes += [f"{OURS} ours: in no paper."] if any(OURS in row.cells[0].shown for row in rows) else []
    return finished(name, spec["title"], columns, rows, notes)


def _parts(name: str, spec: Mapping[str, Any], printed: PrintedTable | None, results: Results) -> list[Line]:
    """The paper's rows, then the declared ones of ours, on the declared datasets or those of procedural and real ATR.

    Where the study's full network has another momentum than the paper's 0.999, it gets a row under its own value.
    """
    protocol, mark = (printed.protocol, OURS) if printed else (spec.get("protocol", ""), "")
    datasets = spec.get("datasets") or [families(profile)["atr"] for profile in ("lite", "paper")]
    full = all_seeds(results, [RunKey("eopnet", data, 1, "k") for data in datasets] if name == "eopnet6" else ())
    options = [run.provenance.get("settings", {}).get("options", {}) for run in full]
    own = sorted({float(some.get("momentum", _FULL_MOMENTUM)) for some in options} - {_FULL_MOMENTUM})

    def line(name: str, method: str, ablation: str = "", condition: str = "", known: PrintedRow | None = None) -> Line:
        keys = tuple(RunKey(method, data, 1, "k", 0, ablation, protocol, condition) for data in datasets)
        return Line(name, method, keys, known, "" if known else mark, extra=bool(printed) and known is None)

    names, usual = spec.get("names", {}), f"momentum-{_FULL_MOMENTUM}" if own else ""
    rows = printed.rows if printed else ()
    lines = [line(names.get(row.name, row.name), row.method, row.ablation or usual, known=row) for row in rows]
    lines += [line(**{**row, "name": row["name"] + mark}) for row in spec.get("rows", ())]
    title = f"{', '.join(f'{value:g}' for value in own)} (the full network here){OURS}"
    return [*lines, line(title, "eopnet")] if own else lines


def _side_by_side(
    first: str, lines: Sequence[Line], sources: Sequence[tuple[str, str]], results: Results
) -> tuple[list[Column], list[Row]]:
    """One row a line, two columns a source."""
    places = ("k.novel.1", "k.human.1")
    columns = [Column(first, "", "row")]
    for kind, data in sources:
        group = _GROUPS[kind].format(data_name(data))
        columns += [Column(HEADS[place.split(".")[1]], group, kind) for place in places]
    rows = []
    for line in lines:
        cells = [cell for kind, data in sources for cell in cells_of(line, kind, data, places, results)]
        where = " | ".join(
            where_measured(line.runs(results, data), data) for kind, data in sources if kind == "measured"
        )
        rows.append(Row((Cell(line.name), *cells, Cell(where), runs_cell(cells))))
    return [*columns, *BEHIND], rows


def cells_of(
    line: Line, kind: str, data: str, places: Sequence[str], results: Results, *, partial: bool = False
) -> list[Cell]:
    """Return a line's numbers of one source ("paper", "measured", "screened"), one a place.

    A place is "k.novel.1": way, measure, fold or "mean"; `partial` takes one fold for a mean, and marks it.
    """
    if kind == "paper":
        if line.printed is None:
            return [printed_cell(None, "the paper has no such row")] * len(places)
        return [printed_cell(line.printed.cells[place]) for place in places]
    keys, cells = line.on(data), []
    for way, measure, fold in (place.split(".") for place in places):
        mine = [key for key in keys if key.way == way and fold in ("mean", str(key.fold))]
        single = fold == "mean" and (partial or measure in ("acc", "bi"))  # the latter have an average column only
        if not mine or (fold == "mean" and len(mine) < 2 and not single):
            folds = " and ".join(str(number) for number in sorted({key.fold for key in keys}))
            ways = " and ".join(f"{one}-way" for one in sorted({key.way for key in keys}, reverse=True))
            cells.append(missing(line.needs or f"not planned: this row exists for fold {folds}, {ways} only"))
            continue
        if line.needs and not all_seeds(results, mine):
            cells.append(missing(line.needs))
            continue
        one_fold = single and {key.fold for key in mine if results.seeds(key)} != {1, 2}
        mark, screened = line.mark + (ONE_FOLD if one_fold else ""), kind == "screened"
        cells.append(measured_cell(results, mine, measure, screened=screened, mark=mark, partial=single))
    return cells
