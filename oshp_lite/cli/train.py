"""`oshp-lite train`, and `oshp-lite tune`: settings of every method tried on held-out base classes."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import chosen_config, print_table, takes_only
from oshp_lite.errors import UserError


def train(
    context: typer.Context,
    *,
    profile: options.Profile = "quick",
    dataset: options.Dataset = None,
    fold: options.Fold = None,
    way: options.Way = None,
    method: options.Method = None,
    seed: options.Seed = None,
    device: options.Device = None,
    minutes: options.Minutes = None,
    set: options.Settings,
    task: Annotated[Literal["parse", "segment"] | None, typer.Option(help="segment: the supervised ceiling")] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="exit when another process is making the same run")
    ] = False,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    data: options.Data = None,
    runs: options.Runs = None,
) -> None:
    """Train and evaluate one configuration, or find its finished run."""
    from oshp_lite.cli.evaluate import print_scores
    from oshp_lite.cli.instance import print_people
    from oshp_lite.engine.distributed import check_shared

    config, store = chosen_config(context.params), options.run_store(runs)
    check_shared(config.model.method)
    if minutes:
        from oshp_lite.study.plan import before_training

        if first := before_training([config], options.finder(data, runs)):
            print(first, flush=True)
    run = store.ensure(config, data, wait=not no_wait, progress=not quiet, fresh=fresh)
    if "ap_p" in run.scores:
        print_people(run.scores)
    else:
        print_scores({run.folder.name: run.scores})
    print(f"run: {run.folder}" + (" (made by older code; --fresh trains it anew)" if run.older_code else ""))


def tune(
    context: typer.Context,
    action: Annotated[
        Literal["run", "record"], typer.Argument(help="record: keep the trials in notebooks/results/tuning.json")
    ] = "run",
    *,
    profile: options.Profile = "lite",
    only: options.Only,
    fresh: options.Fresh = False,
    dry_run: options.DryRun = False,
    data: options.Data = None,
    runs: options.Runs = None,
) -> None:
    """Try settings of every method on held-out base classes."""
    from oshp_lite.data.registry import dataset_folder
    from oshp_lite.study import tuning

    store = options.run_store(runs)
    if action == "record":
        takes_only(context, "action profile runs", "record keeps every tuning run of the folder of runs")
        print(f"kept {tuning.record(profile, store)}")
        return
    if dry_run:
        takes_only(context, "action profile only dry_run data runs", "--dry-run shows what is done")
    declared = tuning.trials(profile)
    known = dict.fromkeys(trial.method for trial in declared)
    unknown = sorted(set(only) - set(known))
    if unknown:
        raise UserError(f"no trial is declared for the method {unknown[0]!r}; there are some for: {', '.join(known)}")
    wanted = [trial for trial in declared if trial.method in (only or known)]
    if not dry_run:
        tuning.make_trials(wanted, store, data, fresh=fresh)
        return
    rows = []
    for trial in wanted:  # without the dataset nothing is done, and a look draws none
        drawn = (dataset_folder(trial.config.data, data) / "dataset.json").is_file()
        done = drawn and store.find(trial.config, data) is not None
        rows.append([trial.dataset, trial.way, trial.method, trial.name, "done" if done else "due"])
    print_table(rows, ("dataset", "way", "method", "trial", ""))
    print(f"{len(rows)} trials: {sum(row[-1] == 'done' for row in rows)} done")
