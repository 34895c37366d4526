"""`oshp-lite reproduce`: the notebooks of a profile through papermill, then its report."""

from __future__ import annotations

import argparse

from oshp_lite.cli.common import PROFILES, at_least, places, steps
from oshp_lite.errors import UserError


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(PROFILES)} (default: quick)")
    parser.add_argument("--only", nargs="+", default=[], metavar="NN", help="these notebooks only, e.g. 03 06")
    parser.add_argument(
        "--steps", type=steps, metavar="A,B", help="these steps of the run matrix only (see oshp-lite matrix)"
    )
    parser.add_argument(
        "--jobs", type=at_least(0), default=0, metavar="N", help="notebooks at a time (default 0: by cores)"
    )
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="a setting of the trainings")
    parser.add_argument("--minutes", type=at_least(0, float), metavar="N", help="end each training after N minutes")
    parser.add_argument("--force", action="store_true", help="execute notebooks again that are finished")
    parser.add_argument("--out", metavar="DIR", help="folder of reports (default: OSHP_REPORTS or reports/)")
    places(parser)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    overrides = options.set + ([f"train.minutes={options.minutes}"] if options.minutes else [])
    if options.steps and (options.only or overrides):
        raise UserError("with --only, --set or --minutes no row of the tables is made; leave --steps out")
    from oshp_lite.study.reproduce import reproduce

    failed = reproduce(
        options.profile,
        only=options.only,
        jobs=options.jobs,
        data=options.data,
        runs=options.runs,
        out=options.out,
        force=options.force,
        steps=options.steps,
        overrides=overrides,
    )
    return 1 if failed else 0
