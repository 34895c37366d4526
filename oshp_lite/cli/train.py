"""`oshp-lite train`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import chosen_config


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
    no_wait: Annotated[bool, typer.Option("--no-wait", help="leave when another process makes the same run")] = False,
    fresh: options.Fresh = False,
    quiet: options.Quiet = False,
    data: options.Data = None,
    runs: options.Runs = None,
) -> None:
    """Train and evaluate one configuration, or find its finished run."""
    from oshp_lite.cli.evaluate import print_scores
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.files import runs_root

    config = chosen_config(context.params)
    run = RunStore(runs_root(runs)).ensure(config, data, wait=not no_wait, progress=not quiet, fresh=fresh)
    print_scores({run.folder.name: run.scores})
    print(f"run: {run.folder}" + (" (made by older code; --fresh trains it anew)" if run.older_code else ""))
