"""Keep a finished run's numbers, with their provenance, where the notebooks and the README can quote them.

`python -m oshp_lite.study.record RUN --ceiling RUN --baselines JSON --out notebooks/results/NAME.json`

The baselines are what `oshp-lite evaluate --baseline all --out JSON` wrote. Numbers only, no photos.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from oshp_lite.errors import UserError
from oshp_lite.files import write_json_atomic

KEPT = ("human_miou", "novel_miou", "base_miou", "overall_accuracy", "bi_miou", "coarse_miou", "n_pairs")
"""Scores that every entry keeps when it has them; a run adds its per-class IoU and intervals."""


def summary(run: Path) -> dict[str, Any]:
    """One finished run: what it was, what it scores, how it trained. UserError when the folder holds none."""
    try:
        scores = json.loads((run / "scores.json").read_text(encoding="utf-8"))
        provenance = json.loads((run / "provenance.json").read_text(encoding="utf-8"))
        config = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        with open(run / "history.csv", newline="", encoding="utf-8") as stream:
            history = [{name: round(float(value), 5) for name, value in row.items()} for row in csv.DictReader(stream)]
    except (OSError, ValueError) as error:
        raise UserError(f"{run} is not a finished run ({error}); name a folder inside the folder of runs") from None
    data, train = config["data"], config["train"]
    setting = {name: data[name] for name in ("dataset", "fold", "protocol", "way", "size")}
    setting |= {"method": config["model"]["method"], "variant": config["variant"]}
    setting |= {name: train[name] for name in ("task", "visible", "epochs", "batch_size", "lr", "seed")}
    kept = {name: scores[name] for name in (*KEPT, "iou", "intervals") if scores.get(name) is not None}
    return {"setting": setting, "scores": kept, "history": history, "provenance": provenance}


def record(run: Path, ceiling: Path | None, baselines: Path | None) -> dict[str, Any]:
    """A run beside its ceiling and its trivial baselines, with the two ratios that say how far it got."""
    told = summary(run)
    entry: dict[str, Any] = {"run": told}
    if baselines is not None:
        found = json.loads(baselines.read_text(encoding="utf-8"))
        entry["baselines"] = {name: {key: row.get(key) for key in KEPT if key in row} for name, row in found.items()}
        best = max(row["novel_miou"] for row in entry["baselines"].values())
        entry["novel_over_best_baseline"] = round(told["scores"]["novel_miou"] / best, 3)
    if ceiling is not None:
        top = summary(ceiling)
        entry["ceiling"] = {**top["scores"], "setting": top["setting"], "provenance": top["provenance"]}
        entry["human_over_ceiling"] = round(told["scores"]["human_miou"] / top["scores"]["human_miou"], 3)
    return entry


def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.record", description=__doc__)
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument("--ceiling", type=Path, metavar="RUN")
    parser.add_argument("--baselines", type=Path, metavar="JSON")
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    chosen = parser.parse_args(words)
    try:
        write_json_atomic(chosen.out, record(chosen.run, chosen.ceiling, chosen.baselines))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
