"""A profile's page: every executed notebook, what was scored, how it went, and where each number comes from."""

from __future__ import annotations

import base64
from collections import Counter
from importlib import resources
from pathlib import Path
from typing import Any

from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_atomic, write_json_atomic
from oshp_lite.study import references
from oshp_lite.study.pages import write_page
from oshp_lite.study.plan import Finder, Training, training_config
from oshp_lite.study.science import science_section

LOSSES = ("total", "npm", "agm", "coarse", "contrast", "classes", "foreground")
"""Columns `loss_NAME` of a history, in the order they are drawn."""
ROWS = {"made": "made", "found": "found finished", "not run": "not run", "failed": "failed"}
STATES = {"done": "executed", "skipped": "up to date", "failed": "failed"}


def write_report(profile: str, folder: Path, finder: Finder | None = None) -> Path:
    """Write `folder`/index.html, a page beside each executed notebook, tables/, figures/, claims.* and results.json.

    Works from `manifest.json` (left by `reproduce`), the run store and the committed results; returns the page's path.
    Raises UserError when nothing was executed yet.
    """
    if not (folder / "manifest.json").is_file():
        raise UserError(f"{folder} holds nothing yet; call `oshp-lite reproduce --profile {profile}` first")
    manifest = read_json(folder / "manifest.json")
    finder = finder or Finder(older=True)
    store = finder.store
    groups, runs = _groups(profile, manifest, finder)
    shown = {run.folder for run in runs}
    science = science_section(profile, folder, finder)
    context = {
        **science,
        "matrix": _matrix(manifest.get("matrix", [])),
        "profile": profile,
        "made": manifest["made"],
        "summary": _summary(manifest, groups),
        "notes": manifest.get("notes", []),
        "groups": groups,
        "runs": [_run_section(run) for run in runs],
        "notebooks": [_notebook_row(folder, entry) for entry in manifest["entries"]],
        "not_run": [
            f"{training['dataset']}, fold {training['fold']}, {training['way']}-way: {training['missing']}."
            for training in manifest["trainings"]
            if training["missing"]
        ],
        "others": [
            {"name": run.folder.name, "human": _percent(run.scores.get("human_miou")), "older": run.older_code}
            for run in store.runs()
            if run.folder not in shown
        ],
        **_machine(),
    }
    write_json_atomic(folder / "results.json", _results(profile, manifest, groups, runs))
    page = folder / "index.html"
    write_atomic(page, render(context).encode("utf-8"))
    return page


def render(context: dict[str, Any]) -> str:
    """The page as HTML, from all that stands in it."""
    import jinja2

    source = resources.files("oshp_lite.study").joinpath("templates", "report.html").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.from_string(source).render(context)


# ---------------------------------------------------------------------------------------------------- scores


def _groups(profile: str, manifest: dict[str, Any], finder: Finder) -> tuple[list[dict[str, Any]], list[Run]]:
    """One table per training that has a finished run: the method, the ceiling, the trivial answers."""
    groups: list[dict[str, Any]] = []
    runs: list[Run] = []
    store, data = finder.store, finder.data
    for told in manifest["trainings"]:
        training = Training.read(told)
        if training.missing:
            continue
        config = training_config(profile, training)
        run = store.find(config, data)
        if run is None:
            continue
        top = references.ceiling_config(profile, training.dataset, training.fold, training.overrides)
        ceiling, ceiling_run = (
            references.ceiling_scores(config, top, data, store=store, make=False),
            store.find(top, data),
        )
        trivial = references.baseline_scores(config, data=data, store=store, make=False)
        rows = [_row(_method(run), run.scores, "own", run.seconds)]
        if ceiling is not None:
            seconds = ceiling_run.seconds if ceiling_run else None
            rows.append(_row("ceiling: supervised, all classes visible", ceiling, "other", seconds))
        rows += [_row(f"trivial: {name}", scores, "other", None) for name, scores in trivial.items()]
        groups.append(
            {
                "title": f"{training.dataset}, fold {training.fold}, {training.way}-way, {_pixels(run)}",
                "way": training.way,
                "rows": rows,
                "lines": _ratios(run.scores, ceiling, trivial),
                "training": told,
                "scores": run.scores,
                "ceiling": ceiling,
                "baselines": trivial,
            }
        )
        runs.append(run)
        if ceiling_run is not None and all(ceiling_run.folder != other.folder for other in runs):
            runs.append(ceiling_run)
    return groups, runs


def _row(name: str, scores: dict[str, Any], kind: str, seconds: float | None) -> dict[str, Any]:
    other = scores.get("bi_miou") if scores.get("way") == "1" else scores.get("overall_accuracy")
    return {
        "name": name,
        "kind": kind,
        **{key: _interval(scores, f"{key}_miou") for key in ("novel", "base", "human")},
        "other": _percent(other),
        "pairs": scores.get("n_pairs", ""),
        "time": "" if seconds is None else _duration(seconds),
    }


def _ratios(own: dict[str, Any], ceiling: dict[str, Any] | None, trivial: dict[str, Any]) -> list[str]:
    lines = []
    best = max((scores["novel_miou"] or 0.0 for scores in trivial.values()), default=0.0)
    if best > 0 and own["novel_miou"] is not None:
        lines.append(f"Novel classes: {own['novel_miou'] / best:.2f} times the best trivial answer.")
    if ceiling is not None and ceiling["human_miou"] and own["human_miou"] is not None:
        lines.append(f"Human mIoU: {own['human_miou'] / ceiling['human_miou']:.0%} of the ceiling.")
    return lines


def _results(profile: str, manifest: dict[str, Any], groups: list[dict[str, Any]], runs: list[Run]) -> dict[str, Any]:
    """The page's numbers for programs."""
    return {
        "profile": profile,
        "made": manifest["made"],
        "seconds": manifest["seconds"],
        "notebooks": manifest["entries"],
        "groups": [
            {key: group[key] for key in ("title", "training", "scores", "ceiling", "baselines")} for group in groups
        ],
        "runs": {run.folder.name: run.provenance for run in runs},
    }


# ------------------------------------------------------------------------------------------------------ runs


def _run_section(run: Run) -> dict[str, Any]:
    history = run.history
    return {
        "anchor": run.folder.name,
        "title": f"{_method(run)}, {run.settings['data']['dataset']}, fold {run.settings['data']['fold']}, "
        f"{run.settings['data']['way']}-way, {_pixels(run)}",
        "older": run.older_code,
        "identity": run.identity,
        "curves": _png(_curves(history)) if len(history) > 1 else "",
        "curves_text": _curves_text(history),
        "classes": _class_rows(run),
        "samples": [_png(path.read_bytes()) for path in run.samples],
        "provenance": [(key, _plain(value)) for key, value in run.provenance.items()],
        "config": (run.folder / "config.yaml").read_text(encoding="utf-8"),
    }


def _curves(history: list[dict[str, float]]) -> bytes:
    """Losses, and beta where there is one, over epochs; PNG bytes."""
    from oshp_lite.viz.style import fig_to_png, new_figure, style

    epochs = [row.get("epoch", position) for position, row in enumerate(history)]
    scored = [name for name in ("novel_miou", "base_miou", "human_miou") if any(name in row for row in history)]
    figure, axes = new_figure(1, 2 if scored else 1, width=5.2, height=2.8)
    with style():
        left = axes[0, 0]
        for name in LOSSES:
            if any(row.get(f"loss_{name}") for row in history):
                left.plot(epochs, [row.get(f"loss_{name}", float("nan")) for row in history], label=name)
        left.set_xlabel("epoch")
        left.xaxis.get_major_locator().set_params(integer=True)
        left.set_ylabel("loss")
        left.set_title("Training losses")
        if any(row.get("loss_agm") for row in history):
            twin = left.twinx()
            twin.plot(
                epochs, [row.get("beta", float("nan")) for row in history], color="#c8c8d2", linestyle="-", zorder=0
            )
            twin.set_ylim(0, 1.02)
            twin.set_ylabel("beta", color="#9a9aa8")
            twin.grid(False)
        left.legend(loc="upper right", ncols=2)
        if scored:
            right = axes[0, 1]
            for name in scored:
                points = [(epoch, row[name]) for epoch, row in zip(epochs, history, strict=True) if name in row]
                right.plot(*zip(*points, strict=True), marker="o", label=name.removesuffix("_miou"))
            right.set_xlabel("epoch")
            right.xaxis.get_major_locator().set_params(integer=True)
            right.set_ylabel("mIoU")
            right.set_title("Test pairs during training")
            right.legend()
    return fig_to_png(figure)


def _curves_text(history: list[dict[str, float]]) -> str:
    if len(history) < 2:
        return ""
    first, last = history[0].get("loss_total"), history[-1].get("loss_total")
    if first is None or last is None:
        return f"{len(history)} epochs."
    text = f"{len(history)} epochs; the total loss went from {first:.2f} to {last:.2f}."
    if history[0].get("loss_agm"):
        text += " The grey line is beta, the weight of the attention guidance module (right axis)."
    return text


def _class_rows(run: Run) -> list[dict[str, str]]:
    from oshp_lite.labels import fold

    data = run.settings["data"]
    try:
        chosen = fold(data["dataset"], data["fold"], data["protocol"])
    except UserError:
        return []

    space = chosen.space
    rows = []
    for index in chosen.classes:
        role = "background" if index == 0 else "novel" if index in chosen.novel else "base"
        rows.append({"name": space.class_name(index), "role": role, "iou": _percent(run.scores["iou"].get(str(index)))})
    return rows


# ---------------------------------------------------------------------------------------------------- matrix


def _matrix(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Rows of the matrix: how many ended how, and those that failed or cannot be run here."""
    counts = Counter(row["status"] for row in rows)
    told = ", ".join(f"{counts[status]} {words}" for status, words in ROWS.items() if counts[status])
    return {"told": told, "rows": [row for row in rows if row["status"] in ("failed", "not run")]}


# ------------------------------------------------------------------------------------------------- notebooks


def _notebook_row(folder: Path, entry: dict[str, Any]) -> dict[str, Any]:
    page = ""
    if entry["file"]:
        notebook = folder / "notebooks" / entry["file"]
        html = notebook.with_suffix(".html")
        if not html.is_file() or html.stat().st_mtime < notebook.stat().st_mtime:
            write_page(notebook, html)
        page = f"notebooks/{html.name}"
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


def _summary(manifest: dict[str, Any], groups: list[dict[str, Any]]) -> str:
    entries = manifest["entries"]
    failed = sum(entry["status"] == "failed" for entry in entries)
    words = f"{len(entries)} notebooks executed" + (f", {failed} of them failed" if failed else ", none failed")
    trained = f"; {len(groups)} trainings scored" if groups else ""
    return f"{words}{trained}. The last call took {_duration(manifest['seconds'])}."


def _machine() -> dict[str, str]:
    from oshp_lite.engine.provenance import provenance

    told = provenance()
    return {
        "code": str(told["code"]),
        "commit": str(told["commit"]),
        "device": f"{told['device']}, {told['system']}, Python {told['python']}",
        "torch": str(told["libraries"]["torch"]),
    }


# ---------------------------------------------------------------------------------------------------- wording


def _method(run: Run) -> str:
    if run.settings["train"]["task"] == "segment":
        return "supervised segmenter, all classes visible"
    method = str(run.settings["model"]["method"])
    return {"eopnet": "EOP-Net", "popnet": "POPNet"}.get(method, method) + f" ({run.settings['variant']})"


def _pixels(run: Run) -> str:
    size = run.settings["data"]["size"]
    return f"{size} px" if isinstance(size, int) else f"{size[0]}x{size[1]} px"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"


def _interval(scores: dict[str, Any], name: str) -> str:
    bounds = (scores.get("intervals") or {}).get(name)
    text = _percent(scores.get(name))
    return text if not bounds or bounds[0] is None else f"{text} [{_percent(bounds[0])}, {_percent(bounds[1])}]"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"


def _plain(value: Any) -> str:
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, dict) else str(value)


def _png(content: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")
