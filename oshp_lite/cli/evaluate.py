"""`oshp-lite evaluate`: scores of a run, a weights file, a trivial baseline or the ceiling."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oshp_lite.cli.common import chosen_config, configuration, places, table
from oshp_lite.errors import UserError

BASELINES = ("background", "copy", "mean-map", "colour", "all", "ceiling")


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", metavar="DIR", help="a run's folder: evaluates its weights again")
    what.add_argument("--weights", metavar="FILE", help="a checkpoint, judged by the profile's test pairs")
    what.add_argument("--baseline", metavar="NAME", help=f"one of {', '.join(BASELINES)}")
    configuration(parser)
    parser.add_argument("--out", type=Path, metavar="JSON", help="also write the scores to this file")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    places(parser)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.baseline is not None:
        options.baseline = options.baseline.replace(" ", "-").replace("_", "-")
    if options.baseline is not None and options.baseline not in BASELINES:
        raise UserError(f"unknown baseline {options.baseline!r}; known: {', '.join(BASELINES)}")
    if options.runs:
        os.environ["OSHP_RUNS"] = str(Path(options.runs).expanduser().resolve())
    if options.baseline is not None:
        scores = _references(options)
    elif options.run is not None:
        scores = _of_run(options)
    else:
        scores = _of_weights(options)
    print_scores(scores)
    if options.out is not None:
        from oshp_lite.files import write_json_atomic

        write_json_atomic(options.out, scores)
    return 0


def _references(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    from oshp_lite.study import references

    config, progress = chosen_config(options), not options.quiet
    if options.baseline == "ceiling":
        top = references.ceiling_config(options.profile, config.data.dataset, config.data.fold, options.set)
        return {"ceiling": references.ceiling_scores(config, top, options.data, progress=progress)}
    names = references.TRIVIAL if options.baseline == "all" else (options.baseline.replace("-", " "),)
    return references.baseline_scores(config, names, options.data, progress=progress)


def _of_run(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    folder = Path(options.run)
    if not (folder / "config.yaml").is_file():
        raise UserError(f"{folder} is no run: it has no config.yaml; name a folder inside the folder of runs")
    import yaml

    from oshp_lite.engine.config import from_dict, override

    config = from_dict(yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8")), where=str(folder))
    return {folder.name: _judge(folder / "weights.safetensors", override(config, options.set), options)}


def _of_weights(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    return {Path(options.weights).name: _judge(Path(options.weights), chosen_config(options), options)}


def _judge(weights: Path, config: Any, options: argparse.Namespace) -> dict[str, Any]:
    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine.evaluate import evaluate
    from oshp_lite.predict import load_any_parser

    parser = load_any_parser(weights, options.device or "cpu")
    about: dict[str, Any] = parser.about  # type: ignore[assignment]
    if str(about.get("way")) != config.data.way and about["method"] != "segment":
        raise UserError(f"{weights} is a {about.get('way')}-way checkpoint; say --way {about.get('way')}")
    dataset = find_dataset(config.data, options.data, progress=not options.quiet)
    if dataset.n_ids != int(about["n_ids"]):
        raise UserError(f"{weights} has {about['n_ids']} ids but {dataset.name} has {dataset.n_ids}; choose another")
    return evaluate(parser, dataset, config, progress=not options.quiet).as_dict()


def print_scores(scores: Mapping[str, Mapping[str, Any]]) -> None:
    """Print one line per entry, in per cent."""
    rows = []
    for name, found in scores.items():
        values = [found.get(f"{kind}_miou") for kind in ("novel", "base", "human")]
        values.append(found.get("bi_miou") if found.get("way") == "1" else found.get("overall_accuracy"))
        rows.append([name, *("-" if value is None else f"{100 * value:.1f}" for value in values), found.get("n_pairs")])
    last = "bi-mIoU" if any(found.get("way") == "1" for found in scores.values()) else "accuracy"
    print(table(rows, ["what", "novel", "base", "human", last, "pairs"]))
