"""`oshp-lite evaluate`: scores of a run, a checkpoint, a trivial baseline or the ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import chosen_config, print_table, settings_only, takes_only
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

BASELINES = ("background", "copy", "mean-map", "colour", "all", "ceiling")
OUTPUT = "out quiet data"
MACHINE = ("data.workers", "data.cache_mb")


def evaluate(
    context: typer.Context,
    *,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="a run's folder: evaluates its weights again")] = None,
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="a checkpoint, on the profile's pairs")] = None,
    labels: options.Labels = None,
    baseline: Annotated[str | None, typer.Option(metavar="NAME", help=f"one of {', '.join(BASELINES)}")] = None,
    profile: options.Profile = "quick",
    dataset: options.Dataset = None,
    fold: options.Fold = None,
    way: options.Way = None,
    device: options.Device = None,
    set: options.Settings,
    out: Annotated[Path | None, typer.Option(metavar="JSON", help="also write the scores to this file")] = None,
    quiet: options.Quiet = False,
    data: options.Data = None,
    runs: options.Runs = None,
) -> None:
    """Score a run, a checkpoint or a trivial baseline."""
    if sum(choice is not None for choice in (run, weights, baseline)) != 1:
        raise UserError("say what to evaluate: one of --run, --weights and --baseline")
    if run is not None:
        takes_only(context, f"run device set {OUTPUT}", "a run knows its own dataset, fold, way and method")
        settings_only(set, ("eval.", *MACHINE), "a run's weights are evaluated again as they are")
        scores = {run.name: _judge(run / "weights.safetensors", _config_of(run, set), context.params)}
    elif weights is not None:
        uses = f"weights labels profile dataset fold way device set {OUTPUT}"
        takes_only(context, uses, "a checkpoint is only evaluated")
        settings_only(set, ("eval.", "data."), "a checkpoint is only evaluated")
        scores = {weights.name: _judge(weights, chosen_config(context.params), context.params)}
    else:
        scores = _baseline(context, str(baseline).replace(" ", "-").replace("_", "-"))
    print_scores(scores)
    if out is not None:
        from oshp_lite.files import write_json_atomic

        write_json_atomic(out, scores)


def _baseline(context: typer.Context, name: str) -> dict[str, dict[str, Any]]:
    if name not in BASELINES:
        raise UserError(f"unknown baseline {name!r}; known: {', '.join(BASELINES)}")
    ceiling = name == "ceiling"
    why = "the ceiling is trained by its own recipe" if ceiling else "a trivial baseline has no network"
    takes_only(context, f"baseline profile dataset fold way set runs {OUTPUT}", why)
    settings_only(context.params["set"], ("data.", "eval.", *(["model.options."] if ceiling else [])), why)
    from oshp_lite.study import references

    params = context.params
    config, progress, store = chosen_config(params), not params["quiet"], options.run_store(params["runs"])
    if ceiling:
        top = references.ceiling_config(params["profile"], config.data.dataset, config.data.fold, params["set"])
        scores = references.ceiling_scores(config, top, params["data"], progress=progress, store=store)
        return {"ceiling": scores or {}}
    names = references.TRIVIAL if name == "all" else (name.replace("-", " "),)
    return references.baseline_scores(config, names, params["data"], progress=progress, store=store)


def _config_of(run: Path, settings: list[str]) -> RunConfig:
    import yaml

    from oshp_lite.engine.config import from_dict, override
    from oshp_lite.files import read_bytes

    path = run / "config.yaml"
    if not path.is_file():
        raise UserError(f"{run} is not a run: it has no config.yaml; name a folder inside the folder of runs")
    try:
        content = yaml.safe_load(read_bytes(path))
    except yaml.YAMLError:
        raise UserError(f"{path} is damaged; make the run anew with --fresh") from None
    return override(from_dict(content, where=str(run)), settings)


def _judge(weights: Path, config: RunConfig, params: Mapping[str, Any]) -> dict[str, Any]:
    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine.evaluate import evaluate
    from oshp_lite.labels import label_space
    from oshp_lite.models.registry import method
    from oshp_lite.predict import load_network

    network = load_network(weights, params["device"] or "cpu", params["labels"], precision=None)
    record = network.record
    assert record is not None
    if record.way != config.data.way and method(record.method).one_shot:
        raise UserError(f"{weights} is a {record.way}-way checkpoint; say --way {record.way}")
    dataset = find_dataset(config.data, params["data"], progress=not params["quiet"])
    if dataset.space is not label_space(record.space):
        raise UserError(f"{weights} knows the labels of {record.space}, {dataset.name} has others; choose another")
    return evaluate(network, dataset, config, progress=not params["quiet"]).as_dict()


def print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one line per entry, in per cent."""
    rows = []
    for name, entry in scores.items():
        values = [entry.get(f"{kind}_miou") for kind in ("novel", "base", "human")]
        values.append(entry.get("bi_miou") if entry.get("way") == "1" else entry.get("overall_accuracy"))
        rows.append([name, *("-" if value is None else f"{100 * value:.1f}" for value in values), entry.get("n_pairs")])
    last = "bi-mIoU" if any(entry.get("way") == "1" for entry in scores.values()) else "accuracy"
    print_table(rows, ["what", "novel", "base", "human", last, "pairs"])
