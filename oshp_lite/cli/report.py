"""`oshp-lite report`: write a profile's page again from what is there."""

from __future__ import annotations

import argparse
import os

from oshp_lite.cli.common import PROFILES, places


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(PROFILES)} (default: quick)")
    parser.add_argument("--out", metavar="DIR", help="folder of reports (default: OSHP_REPORTS or reports/)")
    parser.add_argument("--readme", action="store_true", help="put the committed results into README.md instead")
    places(parser)


def run(options: argparse.Namespace) -> int:
    """Write the page, or README's results; return the exit code."""
    if options.readme:
        from oshp_lite.study.readme import update_readme

        print("README.md: written" if update_readme() else "README.md: its results are those of the records")
        return 0
    from oshp_lite.files import data_root, reports_root, runs_root
    from oshp_lite.study.report import write_report

    os.environ["OSHP_DATA"], os.environ["OSHP_RUNS"] = str(data_root(options.data)), str(runs_root(options.runs))
    print(f"report: {write_report(options.profile, reports_root(options.out) / options.profile)}")
    return 0
