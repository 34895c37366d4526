"""A profile's report: claims, tables, figures, what was scored, every executed notebook, and all origins, a page each.

The pages are static, link to each other by relative addresses and fetch nothing from a network. A run, record or
notebook that cannot be read stops nothing: the first page lists it with the reason.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from oshp_lite.engine.provenance import provenance
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_json_atomic, write_together
from oshp_lite.labels import fold
from oshp_lite.study import claims, headlines, references
from oshp_lite.study.exhibits import Exhibits, make_exhibits
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.figures.charts import training_curves
from oshp_lite.study.gpu_path import guide
from oshp_lite.study.pages import write_page
from oshp_lite.study.plan import Finder, Row, trainings
from oshp_lite.study.records import Measured
from oshp_lite.study.tables.table import FORMS, fill, to_html
from oshp_lite.viz import fig_to_png

ROWS = {"made": "made", "found": "found finished", "not run": "not run", "failed": "failed"}
STATES = {"done": "executed", "skipped": "up to date", "failed": "failed"}

Result = TypeVar("Result")


PLACES = {
    "index.html": "Overview",
    "claims.html": "Claims",
    "tables.html": "Tables",
    "figures.html": "Figures",
    "runs.html": "Runs",
    "notebooks.html": "Notebooks",
    "gpu.html": "Table 2 with one GPU",
}
"""The pages that every page links to; each table and figure has one more of its own."""


def write_report(profile: str, folder: Path, finder: Finder | None = None) -> Path:
    """Write `folder`/index.html and the pages that it links to, tables/, figures/, claims.* and results.json.

    Works from `manifest.json` (left by `reproduce`), the run store and the committed results; returns the first page's
    path. Raises UserError when nothing was executed yet.
    """
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} holds nothing yet; call `oshp-lite reproduce --profile {profile}` first")
    report = _Report(profile, folder, finder or Finder(), read_json(folder / "manifest.json"))
    written = {folder / file: text.encode("utf-8") for file, text in pages_of(report.content()).items()}
    write_together(written, durable=False)
    return folder / "index.html"


def pages_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return {file: HTML} of every page: those of PLACES, and one for each of `content`'s tables and figures."""
    common = {"places": PLACES.items(), **content}
    pages = {file: fill(f"report/{file}", place=file, **common) for file in PLACES}
    for kind in ("table", "figure"):
        items = content[f"{kind}s"]
        for before, one, after in zip([None, *items], items, [*items[1:], None], strict=False):
            own = {"before": before, "one": one, "after": after, "place": f"{kind}s.html"}
            pages[one.file] = fill(f"report/{kind}.html", **own, **common)
    return pages


@dataclass(frozen=True)
class Exhibit:
    """A table or figure on its page.

    paths    its files, relative to the report; picture: the one that the page shows (figures)
    source   where the papers' counterpart stands; measured, missing: how many of its cells hold a number of ours or
             none (tables); html: the table
    """

    file: str
    title: str
    paths: Sequence[str]
    picture: str = ""
    source: str = ""
    html: str = ""
    measured: int = 0
    missing: int = 0


@dataclass
class _Report:
    """What the page is made from; `problems` collects what could not be read."""

    profile: str
    folder: Path
    finder: Finder
    manifest: dict[str, Any]
    problems: list[str] = field(default_factory=list)

    def content(self) -> dict[str, Any]:
        """Everything that the page shows; writes the files beside it."""
        exhibits = make_exhibits(self.profile, self.folder, self.finder, self.problems)
        trained = trainings(self.profile, self.manifest.get("overrides", ()), self.finder.data)
        groups = [group for one in trained if (group := self.tried(one.name, self._group, one))]
        runs = {run.folder: run for group in groups for run in group.pop("runs")}
        self.problems += self.finder.store.damaged().values()
        kept = ("title", "training", "scores", "ceiling", "baselines")
        results = {
            **{name: self.manifest[name] for name in ("made", "seconds")},
            "profile": self.profile,
            "notebooks": self.manifest["entries"],
            "groups": [{name: group[name] for name in kept} for group in groups],
            "runs": {run.folder.name: run.provenance for run in runs.values()},
        }
        write_json_atomic(self.folder / "results.json", results)
        rows = self.manifest.get("matrix", [])
        counts = Counter(row["status"] for row in rows)
        return {
            **_exhibits(exhibits),
            "gpu": guide(self.finder),
            "profile": self.profile,
            "manifest": self.manifest,
            "failed": sum(entry["status"] == "failed" for entry in self.manifest["entries"]),
            "pages": {entry["file"]: self._page(entry["file"]) for entry in self.manifest["entries"]},
            "states": STATES,
            "groups": groups,
            "runs": [one for run in runs.values() if (one := self.tried(run.folder.name, _run, run))],
            "not_run": [one for one in trained if one.reason],
            "others": [run for run in self.finder.store.runs() if run.folder not in runs],
            "matrix": ", ".join(f"{counts[status]} {words}" for status, words in ROWS.items() if counts[status]),
            "unfinished": [row for row in rows if row["status"] in ("failed", "not run")],
            "here": provenance(),
            "problems": self.problems,
        }

    def tried(self, what: str, work: Callable[..., Result], *given: Any) -> Result | None:
        """The outcome of `work`, or None and its reason among the problems."""
        try:
            return work(*given)
        except UserError as error:
            self.problems.append(f"{what}: {error}")
            return None

    def _group(self, training: Row) -> dict[str, Any] | None:
        """The scores of a training that has a finished run: the method, the ceiling, the trivial predictions."""
        store, data = self.finder.store, self.finder.data
        config, of = training.config, training.config.data
        run = None if training.reason else store.find(config, data)
        if run is None:
            return None
        top = references.ceiling_config(self.profile, of.dataset, of.fold, self.manifest.get("overrides", ()))
        known: Any = {"data": data, "store": store, "make": False}
        ceiling = self.tried("the ceiling", partial(references.ceiling_scores, config, top, **known)) or None
        trivial = self.tried("trivial predictions", partial(references.baseline_scores, config, **known)) or {}
        top_run = store.find(top, data)
        rows: list[tuple[Any, ...]] = [(_method(run), "own", run.scores, run)]
        rows += [("ceiling: supervised, all classes visible", "other", ceiling, top_run)] if ceiling else []
        rows += [(f"trivial: {name}", "other", scores, None) for name, scores in trivial.items()]
        own, lines = run.scores, []
        best = max((scores["novel_miou"] or 0.0 for scores in trivial.values()), default=0.0)
        if best > 0 and own["novel_miou"] is not None:
            lines.append(f"Novel classes: {own['novel_miou'] / best:.2f} times the best trivial prediction.")
        if ceiling and ceiling["human_miou"] and own["human_miou"] is not None:
            lines.append(f"Human mIoU: {own['human_miou'] / ceiling['human_miou']:.0%} of the ceiling.")
        return {
            "title": _setting(run),
            "way": of.way,
            "rows": rows,
            "lines": lines,
            "training": {"dataset": of.dataset, "fold": of.fold, "way": of.way},
            "scores": own,
            "ceiling": ceiling,
            "baselines": trivial,
            "runs": [run, *([top_run] if top_run else [])],
        }

    def _page(self, file: str) -> str:
        """The address of an executed notebook's page, which is written first where it is missing or older; or ""."""
        notebook = self.folder / "notebooks" / file
        page = notebook.with_suffix(".html")
        if file and (not page.is_file() or page.stat().st_mtime < notebook.stat().st_mtime):
            self.tried(file, write_page, notebook, page)
        return f"notebooks/{page.name}" if file and page.is_file() else ""


def _exhibits(made: Exhibits) -> dict[str, Any]:
    """The papers' part: headlines, the ledger, every table and figure, where the results come from."""
    results = [made.results.get(key) for key in made.results.keys()]  # noqa: SIM118 - not a mapping
    runs, counts = [run for run in results if isinstance(run, Measured)], claims.summary(made.verdicts)
    tables = []
    for table in made.tables.values():
        kinds = Counter(cell.kind if cell.text != "–" else "" for row in table.rows for cell in row.cells)
        paths = [f"tables/{table.id}.{ending}" for ending in FORMS]
        one = Exhibit(f"table-{table.id}.html", table.title, paths, "", table.source, to_html(table, styled=False))
        tables.append(replace(one, measured=kinds["measured"], missing=kinds["missing"]))
    figures = []
    for name, (title, written) in made.figures.items():
        paths = [f"figures/{path.name}" for path in written]
        picture = next(path for path in paths if path.endswith(".png"))
        figures.append(Exhibit(f"figure-{name}.html", title, paths, picture))
    shown = ("reproduced", "not reproduced", "undecided")
    rest = {word: count for word, count in counts.items() if word not in shown and count}
    beside = ", ".join(f"{count} {word}" for word, count in rest.items()) if len(rest) > 1 else ""
    return {
        "first_screen": made.first.html,
        "margin": headlines.MARGIN,
        "level": headlines.LEVEL,
        "noise": claims.TRAINING_NOISE,
        "tiles": [*((word, counts[word], "") for word in shown), ("not run", sum(rest.values()), beside)],
        "n_claims": len({verdict.claim.id for verdict in made.verdicts}),
        "n_datasets": len({verdict.dataset for verdict in made.verdicts}),
        "n_rows": len(made.verdicts),
        "claims": claims.to_html(made.verdicts, styled=False),
        "origins": Counter(run.origin for run in runs),
        "older_runs": sum(bool(run.provenance.get("older_code")) for run in runs),
        "tables": tables,
        "figures": figures,
    }


def _run(run: Run) -> dict[str, Any]:
    """What the page shows of one run."""
    history, data, classes = run.history, run.settings["data"], []
    losses = [row["loss_total"] for row in history if "loss_total" in row]
    text = f"; the total loss went from {losses[0]:.2f} to {losses[-1]:.2f}." if losses else "."
    if history and history[0].get("loss_agm"):
        text += " The grey line is beta, the weight of the attention guidance module (right axis)."
    with suppress(UserError):  # a dataset that is no more
        split = fold(data["dataset"], data["fold"], data["protocol"])
        for c in split.classes:
            role = "novel" if c in split.novel else "base" if c else "background"
            classes.append((split.space.class_name(c), role, run.scores["iou"].get(str(c))))
    return {
        "run": run,
        "title": f"{_method(run)}, {_setting(run)}",
        "curves": png(fig_to_png(training_curves(history))) if len(history) > 1 else "",
        "curves_text": f"{len(history)} epochs{text}",
        "classes": classes,
        "samples": [png(path.read_bytes()) for path in run.samples],
        "provenance": run.provenance,
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
    }


def _method(run: Run) -> str:
    if run.settings["train"]["task"] == "segment":
        return "supervised segmenter, all classes visible"
    method = str(run.settings["model"]["method"])
    return f"{METHODS[method].label if method in METHODS else method} ({run.settings['variant']})"


def _setting(run: Run) -> str:
    data = run.settings["data"]
    size = data["size"] if isinstance(data["size"], int) else "x".join(map(str, data["size"]))
    return f"{data['dataset']}, fold {data['fold']}, {data['way']}-way, {size} px"


def png(content: bytes) -> str:
    """PNG bytes as an address that a page can show."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
