"""Run browser: the run store as a table that sorts, with curves, differences of configuration, and provenance."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from oshp_lite.book.widgets.browser import data_uri
from oshp_lite.book.widgets.canvas import DPI, encoded
from oshp_lite.book.widgets.explorer import Explorer
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.models.registry import METHODS
from oshp_lite.viz import INK, style

MOST = 4
"""Runs whose curves are drawn together."""
COLUMNS = (
    "method",
    "dataset",
    "fold",
    "way",
    "seed",
    "epochs",
    "novel",
    "base",
    "human",
    "minutes",
    "finished",
    "code",
)
SCORES = ("novel", "base", "human")


class Row(NamedTuple):
    """A run and its cells by column: texts, and numbers (mIoU in percent, minutes)."""

    run: Run
    cells: dict[str, Any]


def row_of(run: Run) -> Row:
    """Read a run's row off its settings, scores and provenance."""
    data, train, scores = run.settings["data"], run.settings["train"], run.scores
    spec = METHODS.get(run.settings["model"]["method"])
    cells: dict[str, Any] = {
        "method": spec.label if spec else run.settings["model"]["method"],
        "dataset": data["dataset"],
        "fold": data["fold"],
        "way": data["way"],
        "seed": train["seed"],
        "epochs": train["epochs"],
        "minutes": round(run.seconds / 60, 1),
        "finished": str(run.provenance.get("finished", ""))[:16].replace("T", " "),
        "code": "older" if run.older_code else "present",
    }
    for name in SCORES:
        value = scores.get(f"{name}_miou")
        cells[name] = round(100 * value, 1) if isinstance(value, int | float) and math.isfinite(value) else math.nan
    return Row(run, cells)


def flat(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Turn nested settings into {"train.lr": 0.001, ...}."""
    made: dict[str, Any] = {}
    for name, value in settings.items():
        made |= flat(value, f"{before}{name}.") if isinstance(value, Mapping) else {f"{before}{name}": value}
    return made


@dataclass
class RunBrowserState:
    """What the run browser shows, without any widget.

    runs        the runs to choose from
    sort        the column the table is sorted by; `descending` the largest first
    words       only runs that have each of these words in some cell or in their identity
    chosen      identities of the runs whose curves and settings are compared, at most `MOST`
    """

    runs: Sequence[Run]
    sort: str = "finished"
    descending: bool = True
    words: str = ""
    chosen: tuple[str, ...] = ()
    _rows: list[Row] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Read the rows; the first two of the table are compared to begin with."""
        self._rows = [row_of(run) for run in self.runs]
        self.chosen = self.chosen or tuple(row.run.identity for row in self.rows()[:2])

    def rows(self) -> list[Row]:
        """Return the rows that fit the words, sorted; missing scores last. UserError for an unknown column."""
        if self.sort not in COLUMNS:
            raise UserError(f"the table has no column {self.sort!r}; it has {', '.join(COLUMNS)}")

        def fits(row: Row) -> bool:
            text = " ".join(map(str, (*row.cells.values(), row.run.identity))).lower()
            return all(word in text for word in self.words.lower().split())

        kept = [row for row in self._rows if fits(row)]
        lacking = [row for row in kept if row.cells[self.sort] != row.cells[self.sort]]
        whole = [row for row in kept if row.cells[self.sort] == row.cells[self.sort]]
        return sorted(whole, key=lambda row: row.cells[self.sort], reverse=self.descending) + lacking

    def selected(self) -> list[Row]:
        """Return the rows of the chosen runs, in the order of the choice."""
        by_identity = {row.run.identity: row for row in self._rows}
        return [by_identity[one] for one in self.chosen[:MOST] if one in by_identity]

    def differences(self) -> dict[str, list[Any]]:
        """Return the settings in which the chosen runs differ, by dotted name, a value for each run."""
        settings = [flat(row.run.settings) for row in self.selected()]
        names = dict.fromkeys(name for one in settings for name in one)
        values = {name: [one.get(name) for one in settings] for name in names}
        return {name: row for name, row in values.items() if any(value != row[0] for value in row)}

    def provenance(self) -> dict[str, list[Any]]:
        """Return where the chosen runs come from: code, data, device, libraries, date; a value for each run."""
        wanted = ("identity", "code", "commit", "data", "device", "python", "libraries", "threads", "date", "finished")
        rows = self.selected()
        return {name: [row.run.provenance.get(name, "") for row in rows] for name in wanted}

    def label(self, row: Row) -> str:
        """A run in a few words."""
        cells = row.cells
        return f"{cells['method']} {cells['dataset']} {cells['way']}-way seed {cells['seed']} ({row.run.identity[:6]})"

    def draw(self) -> Figure:
        """Draw total loss and scores over the epochs of the chosen runs, as far as they were recorded."""
        figure = Figure(figsize=(9.4, 2.5), dpi=DPI)
        FigureCanvasAgg(figure)
        with style():
            places = [figure.add_axes((left, 0.2, 0.27, 0.66)) for left in (0.06, 0.39)]
            for number, row in enumerate(self.selected()):
                line: dict[str, Any] = {"color": INK[number], "linestyle": ("-", "--", "-.", ":")[number]}
                line["marker"] = "osD^"[number]
                history = row.run.history
                for place, name in zip(places, ("loss_total", "novel_miou"), strict=True):
                    points = [(epoch["epoch"], epoch[name]) for epoch in history if name in epoch]
                    place.plot(*(zip(*points, strict=True) if points else ((), ())), label=self.label(row), **line)
                    if place is places[1] and not points:
                        score = row.cells["novel"] / 100
                        place.plot([row.cells["epochs"]], [score], marker="o", color=INK[number])
            places[0].set_title("total loss", fontsize=9)
            places[1].set_title("novel mIoU (a dot: measured at the end only)", fontsize=9)
            for place in places:
                place.set_xlabel("epoch", fontsize=8)
            handles, labels = places[0].get_legend_handles_labels()
            figure.legend(handles, labels, loc="upper left", bbox_to_anchor=(0.67, 0.9), fontsize=8)
        return figure

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return set()

    def table(self) -> str:
        """Return the table as HTML; chosen runs are marked."""
        head = "".join(f"<th>{name}{' ▾▴'[2 - self.descending] if name == self.sort else ''}</th>" for name in COLUMNS)
        lines = []
        for row in self.rows():
            mark = ' style="font-weight:bold"' if row.run.identity in self.chosen else ""
            values = ("" if value != value else html.escape(str(value)) for value in map(row.cells.get, COLUMNS))
            lines.append(f"<tr{mark}>{''.join(f'<td>{value}</td>' for value in values)}</tr>")
        caption = f"<caption>{len(lines)} of {len(self._rows)} runs; mIoU in percent; bold: compared below</caption>"
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def details(self) -> str:
        """Return differences of configuration and provenance of the chosen runs as HTML."""
        head = "".join(f"<th>{html.escape(self.label(row))}</th>" for row in self.selected())
        parts = []
        for title, values in (("Settings that differ", self.differences()), ("Provenance", self.provenance())):
            body = "".join(
                f"<tr><th>{html.escape(name)}</th>{''.join(f'<td>{html.escape(_short(one))}</td>' for one in row)}</tr>"
                for name, row in values.items()
            )
            none = "<tr><td>none</td></tr>"
            parts.append(
                f"<table><caption>{title}</caption><thead><tr><th></th>{head}</tr></thead>{body or none}</table>"
            )
        return "".join(parts)


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())
    text = str(value)
    return f"{text[:12]}…" if len(text) == 64 else text


def run_browser(store: RunStore | Sequence[Run] | None = None, **setting: Any) -> Explorer:
    """Look through the runs of a store (None: the usual one); `setting` names fields of `RunBrowserState`."""
    runs = store if isinstance(store, Sequence) else (store or RunStore()).runs()
    if not runs:
        raise UserError("the run store is empty; make a run with oshp-lite train, or name another store")
    state = RunBrowserState(runs, **setting)

    def page() -> str:
        curves = (
            f'<img src="{data_uri(encoded(state.draw()))}" alt="curves of the compared runs" style="max-width:100%">'
        )
        return f"<div>{state.table()}{curves}{state.details()}</div>"

    return Explorer(state, "run browser: scores, curves, differences and provenance", lambda: _view(state), page)


def _view(state: RunBrowserState) -> Any:
    widgets = import_module("ipywidgets")
    initial = {"style": {"description_width": "initial"}}
    options = [(state.label(row), row.run.identity) for row in state.rows()]
    controls = {
        "sort": widgets.Dropdown(options=COLUMNS, value=state.sort, description="sort by", **initial),
        "descending": widgets.Checkbox(value=state.descending, description="largest first", indent=False),
        "words": widgets.Text(value=state.words, description="only runs with", continuous_update=False, **initial),
        "chosen": widgets.SelectMultiple(
            options=options, value=state.chosen, description="compare (Ctrl: several)", **initial
        ),
    }
    table, details = widgets.HTML(state.table()), widgets.HTML(state.details())
    for tables in (table, details):
        tables.add_class("jp-RenderedHTMLCommon")  # the notebook's own look of tables
    look = {"max_width": "100%", "min_width": "40em", "align_self": "flex-start"}
    curves = widgets.Image(value=encoded(state.draw()), format="jpeg", layout=look)

    def moved(change: Any) -> None:
        for name, control in controls.items():
            setattr(state, name, control.value)
        table.value = state.table()
        if change["owner"] is controls["chosen"]:
            details.value, curves.value = state.details(), encoded(state.draw())

    for control in controls.values():
        control.observe(moved, names="value")
    controls["chosen"].layout.width = "auto"
    above = widgets.HBox([controls[name] for name in ("sort", "descending", "words")], layout={"flex_flow": "row wrap"})
    return widgets.VBox([above, table, controls["chosen"], curves, details], layout={"overflow": "auto hidden"})
