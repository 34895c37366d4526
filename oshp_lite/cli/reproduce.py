"""`oshp-lite reproduce` and `oshp-lite report`: the notebooks of a profile through papermill, and its page."""

from __future__ import annotations

from typing import Annotated

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import number, takes_only, words
from oshp_lite.errors import UserError


def reproduce(
    *,
    profile: options.Profile = "quick",
    only: Annotated[list[str], words("NN ...", "these notebooks only, e.g. 03 06")],
    steps: options.Steps = None,
    jobs: Annotated[int, number(0, "N", "notebooks at a time, 0: by cores")] = 0,
    set: options.Settings,
    minutes: options.Minutes = None,
    force: Annotated[bool, typer.Option("--force", help="execute notebooks again that are finished")] = False,
    out: options.Reports = None,
    data: options.Data = None,
    runs: options.Runs = None,
) -> int:
    """Execute the notebooks of a profile and write its report."""
    overrides = [*set, *([f"train.minutes={minutes}"] if minutes else [])]
    if steps and (only or overrides):
        raise UserError("with --only, --set or --minutes no row of the tables is made; leave --steps out")
    from oshp_lite.study import reproduce as study

    finder = options.finder(data, runs)
    failed = study.reproduce(
        profile, finder, only=only, jobs=jobs, out=out, force=force, steps=steps, overrides=overrides
    )
    return 1 if failed else 0


def report(
    context: typer.Context,
    *,
    profile: options.Profile = "quick",
    out: options.Reports = None,
    data: options.Data = None,
    runs: options.Runs = None,
    readme: Annotated[bool, typer.Option("--readme", help="fill README.md from the committed results instead")] = False,
) -> None:
    """Write the report again from what is there."""
    if readme:
        takes_only(context, "readme", "README.md is filled from the committed results alone")
        from oshp_lite.study.exhibits import update_readme

        print("README.md: written" if update_readme() else "README.md: its results are those of the records")
        return
    from oshp_lite.files import reports_root
    from oshp_lite.study.report import write_report

    print(f"report: {write_report(profile, reports_root(out) / profile, options.finder(data, runs))}")
