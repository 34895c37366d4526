"""`oshp-lite tune`: try settings of every method on held-out base classes, or keep what came out."""

from __future__ import annotations

import argparse

from oshp_lite.cli.common import places, refuse_others, table
from oshp_lite.errors import UserError


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=["run", "record"],
        default="run",
        help="run: make the trials (default); record: keep them in notebooks/results/tuning.json",
    )
    parser.add_argument("--profile", default="lite", help="the profile whose methods are tuned (default: lite)")
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="trials of these methods only")
    parser.add_argument("--dry-run", action="store_true", help="show the trials and which are done")
    places(parser)


def run(chosen: argparse.Namespace) -> int:
    """Do it."""
    from oshp_lite.data.registry import dataset_folder
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.files import runs_root
    from oshp_lite.study import tuning

    store = RunStore(runs_root(chosen.runs))
    if chosen.action == "record":
        takes = ("action", "profile", "data", "runs")
        refuse_others(chosen, options, takes, "record keeps every tuning run of the folder of runs")
        print(f"kept {tuning.record(chosen.profile, store)}")
        return 0
    declared = tuning.trials(chosen.profile)
    known = dict.fromkeys(trial.method for trial in declared)
    strange = sorted(set(chosen.only) - set(known))
    if strange:
        raise UserError(f"no trial is declared for the method {strange[0]!r}; there are some for: {', '.join(known)}")
    wanted = [trial for trial in declared if trial.method in (chosen.only or known)]
    if chosen.dry_run:
        rows = []
        for trial in wanted:  # without the dataset nothing is done, and a look draws none
            drawn = (dataset_folder(trial.config.data, chosen.data) / "dataset.json").is_file()
            done = drawn and store.find(trial.config, chosen.data) is not None
            rows.append([trial.method, trial.name, "done" if done else "due"])
        print(table(rows, ("method", "trial", "")))
        print(f"{len(rows)} trials: {sum(row[2] == 'done' for row in rows)} done")
        return 0
    tuning.make_trials(wanted, store, chosen.data)
    return 0
