"""`oshp-lite train`: one configuration, trained and evaluated, or found finished."""

from __future__ import annotations

import argparse

from oshp_lite.cli.common import chosen_config, configuration, places


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    configuration(parser)
    parser.add_argument("--task", choices=["parse", "segment"], help="segment: the supervised ceiling")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.add_argument("--no-wait", action="store_true", help="leave when another process is making the same run")
    places(parser)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from oshp_lite.cli.evaluate import print_scores
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.files import runs_root

    config = chosen_config(options)
    store = RunStore(runs_root(options.runs))
    made = store.ensure(config, options.data, wait=not options.no_wait, progress=not options.quiet)
    print_scores({made.folder.name: made.scores})
    print(f"run: {made.folder}")
    return 0
