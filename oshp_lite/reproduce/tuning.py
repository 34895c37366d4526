"""What was tried while settings were chosen: the runs on held-out base classes, kept with the results.

`python -m oshp_lite.reproduce.tuning --out notebooks/results/tuning.json` writes every run of the store whose protocol
is "tuning" (training photos only, novel classes erased, some base classes playing novel): method, dataset, what it
changes against the profile, scores, code and date.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import write_json_atomic
from oshp_lite.reproduce.store import Run, RunStore

SCORES = ("novel_miou", "base_miou", "human_miou", "n_pairs")


def trials(store: RunStore) -> list[dict[str, Any]]:
    """Every tuning run of a store that trained or tried a parser, oldest first."""
    found = [run for run in store.runs() if run.settings["data"]["protocol"] == "tuning"]
    return [_told(run) for run in found if run.settings["train"]["task"] == "parse"]


def _told(run: Run) -> dict[str, Any]:
    settings, data = run.settings, run.settings["data"]
    kept = ("epochs", "lr", "encoder_lr", "batch_size", "precision", "optimizer", "seed")
    return {
        "method": settings["model"]["method"],
        "dataset": data["dataset"],
        "fold": data["fold"],
        "way": data["way"],
        "options": settings["model"]["options"],
        "train": {name: settings["train"][name] for name in kept},
        "test_pairs_per_class": settings["eval"]["per_class"],
        "scores": {name: run.scores.get(name) for name in SCORES},
        "provenance": {name: run.provenance.get(name) for name in ("identity", "commit", "code", "data", "finished")},
    }


def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.reproduce.tuning", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="JSON")
    parser.add_argument("--runs", type=Path, metavar="DIR", help="folder of runs (default: $OSHP_RUNS or runs/)")
    chosen = parser.parse_args(words)
    try:
        found = trials(RunStore(chosen.runs) if chosen.runs else RunStore())
        if not found:
            raise UserError("no tuning run is in the store; train some with --set data.protocol=tuning")
        write_json_atomic(chosen.out, found)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(found)} tuning runs written to {chosen.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
