"""A profile's page: the papers' claims, tables and figures, what was scored, every executed notebook, and all origins.

A run, record or notebook that cannot be read stops nothing: the page lists it with the reason.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_atomic, write_json_atomic
from oshp_lite.study import claims, references
from oshp_lite.study.exhibits import Exhibits, make_exhibits
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.figures.charts import training_curves
from oshp_lite.study.pages import write_page
from oshp_lite.study.plan import Finder, Training, training_config
from oshp_lite.study.records import Measured
from oshp_lite.study.render import FORMS, fill, style, to_html
from oshp_lite.viz import fig_to_png

ROWS = {"made": "made", "found": "found finished", "not run": "not run", "failed": "failed"}
STATES = {"done": "executed", "skipped": "up to date", "failed": "failed"}

Result = TypeVar("Result")


def write_report(profile: str, folder: Path, finder: Finder | None = None) -> Path:
    """Write `folder`/index.html, a page beside each executed notebook, tables/, figures/, claims.* and results.json.

    Works from `manifest.json` (left by `reproduce`), the run store and the committed results; returns the page's path.
    Raises UserError when nothing was executed yet.
    """
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} holds nothing yet; call `oshp-lite reproduce --profile {profile}` first")
    report = _Report(profile, folder, finder or Finder(older=True), read_json(folder / "manifest.json"))
    page = folder / "index.html"
    write_atomic(page, render(report.content()).encode("utf-8"))
    return page


def render(content: dict[str, Any]) -> str:
    """The page as HTML, from all that stands in it."""
    return fill("report.html", **content)


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
        trainings = [Training.read(record) for record in self.manifest["trainings"]]
        groups = [group for one in trainings if (group := self.tried(one.name, partial(self._group, one)))]
        runs = {run.folder: run for group in groups for run in group.pop("runs")}
        damaged: dict[Path, str] = getattr(self.finder.store, "damaged", dict)()
        self.problems += [f"{folder.name}: {reason}" for folder, reason in damaged.items()]
        results = {
            "profile": self.profile,
            "made": self.manifest["made"],
            "seconds": self.manifest["seconds"],
            "notebooks": self.manifest["entries"],
            "groups": [
                {name: one[name] for name in ("title", "training", "scores", "ceiling", "baselines")} for one in groups
            ],
            "runs": {run.folder.name: run.provenance for run in runs.values()},
        }
        write_json_atomic(self.folder / "results.json", results)
        content = {
            **_exhibits(exhibits),
            "matrix": _matrix(self.manifest.get("matrix", [])),
            "profile": self.profile,
            "made": self.manifest["made"],
            "summary": self._summary(len(groups)),
            "notes": self.manifest.get("notes", []),
            "groups": groups,
            "runs": [one for run in runs.values() if (one := self.tried(run.folder.name, partial(_run, run)))],
            "notebooks": [self._notebook(entry) for entry in self.manifest["entries"]],
            "not_run": [
                f"{one.dataset}, fold {one.fold}, {one.way}-way: {one.missing}." for one in trainings if one.missing
            ],
            "others": [
                {"name": run.folder.name, "human": percent(run.scores.get("human_miou")), "older": run.older_code}
                for run in self.finder.store.runs()
                if run.folder not in runs
            ],
            **_machine(),
        }
        return {**content, "problems": self.problems}

    def tried(self, what: str, work: Callable[[], Result]) -> Result | None:
        """The outcome of `work`, or None and its reason among the problems."""
        try:
            return work()
        except UserError as error:
            self.problems.append(f"{what}: {error}")
            return None

    def _group(self, training: Training) -> dict[str, Any] | None:
        """The scores of a training that has a finished run: the method, the ceiling, the trivial predictions."""
        if training.missing:
            return None
        store, data = self.finder.store, self.finder.data
        config = training_config(self.profile, training)
        run = store.find(config, data)
        if run is None:
            return None
        top = references.ceiling_config(self.profile, training.dataset, training.fold, training.overrides)
        known: Any = {"data": data, "store": store, "make": False}
        found = self.tried("the ceiling", partial(references.ceiling_scores, config, top, **known))
        trivial = self.tried("trivial predictions", partial(references.baseline_scores, config, **known)) or {}
        top_run = store.find(top, data)
        rows = [_row(_method(run), run.scores, "own", run)]
        if found is not None:
            rows.append(_row("ceiling: supervised, all classes visible", found, "other", top_run))
        rows += [_row(f"trivial: {name}", scores, "other") for name, scores in trivial.items()]
        return {
            "title": f"{training.dataset}, fold {training.fold}, {training.way}-way, {_pixels(run)}",
            "way": training.way,
            "rows": rows,
            "lines": _ratios(run.scores, found, trivial),
            "training": next(one for one in self.manifest["trainings"] if Training.read(one) == training),
            "scores": run.scores,
            "ceiling": found,
            "baselines": trivial,
            "runs": [run, *([top_run] if top_run else [])],
        }

    def _notebook(self, entry: dict[str, Any]) -> dict[str, Any]:
        page = ""
        if entry["file"]:
            notebook = self.folder / "notebooks" / entry["file"]
            html = notebook.with_suffix(".html")
            if not html.is_file() or html.stat().st_mtime < notebook.stat().st_mtime:
                self.tried(entry["file"], partial(write_page, notebook, html))
            page = f"notebooks/{html.name}" if html.is_file() else ""
        training = entry["training"]
        detail = f"{training['dataset']}, fold {training['fold']}, {training['way']}-way" if training else ""
        return {
            "name": entry["notebook"].removesuffix(".ipynb"),
            "title": entry["title"],
            "detail": "; ".join(filter(None, [detail, entry["reason"]])),
            "page": page,
            "seconds": f"{entry['seconds']:.0f}",
            "status": entry["status"],
            "words": STATES.get(entry["status"], entry["status"]),
        }

    def _summary(self, scored: int) -> str:
        entries = self.manifest["entries"]
        failed = sum(entry["status"] == "failed" for entry in entries)
        words = f"{len(entries)} notebooks executed" + (f", {failed} of them failed" if failed else ", none failed")
        trained = f"; {scored} trainings scored" if scored else ""
        return f"{words}{trained}. The last call took {duration(self.manifest['seconds'])}."


# ----------------------------------------------------------------------------------------------- the papers' part


def _exhibits(made: Exhibits) -> dict[str, Any]:
    """The ledger, every table and figure, with the addresses of their files."""
    return {
        "style": style(),
        "claims": claims.to_html(made.verdicts, styled=False),
        "origins": _origins(made),
        "tables": [
            {
                "id": table.id,
                "title": table.title,
                "html": to_html(table, styled=False),
                "files": [(ending, f"tables/{table.id}.{ending}") for ending in FORMS],
            }
            for table in made.tables.values()
        ],
        "figures": [
            {
                "id": name,
                "title": title,
                "png": _png(next(path for path in paths if path.suffix == ".png").read_bytes()),
                "files": [(path.suffix[1:], f"figures/{path.name}") for path in paths],
            }
            for name, (title, paths) in made.figures.items()
        ],
    }


def _origins(made: Exhibits) -> str:
    """How many results were made here, how many of them by older code, and how many are committed ones."""
    found = [made.results.get(key) for key in made.results.keys()]  # noqa: SIM118 - not a mapping
    runs = [run for run in found if isinstance(run, Measured)]
    here = [run for run in runs if run.origin == "run here"]
    older = sum(bool(run.provenance.get("older_code")) for run in runs)
    words = f"{len(runs)} results: {len(here)} made on this machine"
    if len(runs) > len(here):
        words += f", {len(runs) - len(here)} committed with the project, each with the commit that made it"
    return words + (f"; {older} of them by older code, which their rows say." if older else ".")


# --------------------------------------------------------------------------------------------------------- scores


def _row(name: str, scores: dict[str, Any], kind: str, run: Run | None = None) -> dict[str, Any]:
    other = scores.get("bi_miou") if scores.get("way") == "1" else scores.get("overall_accuracy")
    return {
        "name": name + (" (older code)" if run and run.older_code else ""),
        "kind": kind,
        **{key: _interval(scores, f"{key}_miou") for key in ("novel", "base", "human")},
        "other": percent(other),
        "pairs": scores.get("n_pairs", ""),
        "time": duration(run.seconds) if run else "",
    }


def _ratios(own: dict[str, Any], ceiling: dict[str, Any] | None, trivial: dict[str, Any]) -> list[str]:
    lines = []
    best = max((scores["novel_miou"] or 0.0 for scores in trivial.values()), default=0.0)
    if best > 0 and own["novel_miou"] is not None:
        lines.append(f"Novel classes: {own['novel_miou'] / best:.2f} times the best trivial prediction.")
    if ceiling is not None and ceiling["human_miou"] and own["human_miou"] is not None:
        lines.append(f"Human mIoU: {own['human_miou'] / ceiling['human_miou']:.0%} of the ceiling.")
    return lines


# ----------------------------------------------------------------------------------------------------------- runs


def _run(run: Run) -> dict[str, Any]:
    history, data = run.history, run.settings["data"]
    return {
        "anchor": run.folder.name,
        "title": f"{_method(run)}, {data['dataset']}, fold {data['fold']}, {data['way']}-way, {_pixels(run)}",
        "older": run.older_code,
        "identity": run.identity,
        "curves": _png(fig_to_png(training_curves(history))) if len(history) > 1 else "",
        "curves_text": _curves_text(history),
        "classes": _class_rows(run),
        "samples": [_png(path.read_bytes()) for path in run.samples],
        "provenance": [(key, _plain(value)) for key, value in run.provenance.items()],
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
    }


def _curves_text(history: list[dict[str, float]]) -> str:
    losses = [row["loss_total"] for row in history if "loss_total" in row]
    if len(history) < 2 or len(losses) < 2:
        return f"{len(history)} epochs." if len(history) > 1 else ""
    text = f"{len(history)} epochs; the total loss went from {losses[0]:.2f} to {losses[-1]:.2f}."
    if history[0].get("loss_agm"):
        text += " The grey line is beta, the weight of the attention guidance module (right axis)."
    return text


def _class_rows(run: Run) -> list[dict[str, str]]:
    from oshp_lite.labels import fold

    data = run.settings["data"]
    try:
        split = fold(data["dataset"], data["fold"], data["protocol"])
    except UserError:
        return []
    roles = {0: "background"} | dict.fromkeys(split.novel, "novel")
    scores = run.scores["iou"]
    return [
        {"name": split.space.class_name(c), "role": roles.get(c, "base"), "iou": percent(scores.get(str(c)))}
        for c in split.classes
    ]


def _matrix(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of the matrix: how many ended how, and those that failed or cannot be run here."""
    counts = Counter(row["status"] for row in rows)
    summary = ", ".join(f"{counts[status]} {words}" for status, words in ROWS.items() if counts[status])
    return {"summary": summary, "rows": [row for row in rows if row["status"] in ("failed", "not run")]}


def _machine() -> dict[str, str]:
    from oshp_lite.engine.provenance import provenance

    record = provenance()
    return {
        "code": str(record["code"]),
        "commit": str(record["commit"]),
        "device": f"{record['device']}, {record['system']}, Python {record['python']}",
        "torch": str(record["libraries"]["torch"]),
    }


# ---------------------------------------------------------------------------------------------------------- words


def _method(run: Run) -> str:
    if run.settings["train"]["task"] == "segment":
        return "supervised segmenter, all classes visible"
    method = str(run.settings["model"]["method"])
    return f"{METHODS[method].label if method in METHODS else method} ({run.settings['variant']})"


def _pixels(run: Run) -> str:
    size = run.settings["data"]["size"]
    return f"{size} px" if isinstance(size, int) else f"{size[0]}x{size[1]} px"


def percent(value: float | None) -> str:
    """A share as per cent with one decimal, "-" for none."""
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(scores: dict[str, Any], name: str) -> str:
    bounds = (scores.get("intervals") or {}).get(name)
    text = percent(scores.get(name))
    return text if not bounds or bounds[0] is None else f"{text} [{percent(bounds[0])}, {percent(bounds[1])}]"


def duration(seconds: float) -> str:
    """Seconds as people say them."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _plain(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _png(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
