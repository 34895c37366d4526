"""`oshp-lite matrix`: every run behind the tables and figures, made, listed or kept."""

from __future__ import annotations

import argparse
import json
import os
from importlib import resources
from typing import TYPE_CHECKING, Any

from oshp_lite.cli.common import PROFILES, at_least, places, refuse_others, steps, table
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.study.execute import Executor
    from oshp_lite.study.plan import Finder, Row


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument(
        "action",
        nargs="?",
        choices=["run", "record"],
        default="run",
        help="run: make the rows (default); record: keep finished rows under notebooks/results/runs",
    )
    parser.add_argument("--profile", default="quick", help=f"one of {', '.join(PROFILES)} (default: quick)")
    parser.add_argument(
        "--steps", type=steps, metavar="A,B", help="these steps of the study only, e.g. a,b (see --dry-run)"
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="METHOD", help="rows of these methods only")
    parser.add_argument("--datasets", nargs="+", metavar="NAME", help="rows on these datasets only")
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--index", type=int, metavar="N", help="row N alone, from 0 (Slurm arrays, indexed jobs)")
    chosen.add_argument("--row", metavar="NAME", help="the row of this name alone")
    chosen.add_argument("--inits", action="store_true", help="the initialisations alone")
    parser.add_argument("--jobs", type=at_least(1), default=1, metavar="N", help="rows at a time (default: 1)")
    parser.add_argument("--threads", type=at_least(1), metavar="N", help="threads of a row (default: cores / jobs)")
    parser.add_argument(
        "--limit", type=at_least(0, float), metavar="MINUTES", help="minutes a row may take, 0 for no limit"
    )
    parser.add_argument("--no-notebooks", action="store_true", help="train and score only, execute no notebook")
    parser.add_argument("--older", action="store_true", help="rows finished by earlier code count as done")
    parser.add_argument("--dry-run", action="store_true", help="show what would be made and what is done")
    parser.add_argument("--list", choices=["text", "json"], help="list the rows, for people or for programs")
    parser.add_argument("--snakefile", action="store_true", help="print where the Snakefile of the matrix lies")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=VALUE", help="a setting of every run")
    parser.add_argument("--out", metavar="DIR", help="folder of reports (default: OSHP_REPORTS or reports/)")
    places(parser)


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.profile not in PROFILES:
        raise UserError(f"unknown profile {options.profile!r}; known: {', '.join(PROFILES)}")
    if options.snakefile:
        print(resources.files("oshp_lite.study").joinpath("Snakefile"))
        return 0
    if options.action == "record":
        return _record(options)
    from oshp_lite.study.plan import numbered, plan_text

    rows, executor = _rows(options), _executor(options)
    if options.list == "json":
        print(json.dumps([_listed(row, position, executor) for position, row in numbered(rows)], indent=1))
        return 0
    if options.list == "text":
        print(table([[position, row.name] for position, row in numbered(rows)], ("row", "name")))
        return 0
    if options.dry_run:
        print(plan_text(rows, executor.finder, executor.is_done, options.jobs))
        return 0
    return _make(_chosen(rows, options), executor, options)


def _record(chosen: argparse.Namespace) -> int:
    from oshp_lite.study.results import committed_folder, record

    takes = ("action", "profile", "data", "runs")
    refuse_others(chosen, options, takes, "record keeps every finished row of the profile's own settings")
    changed = record(chosen.profile, finder=_finder(chosen, older=True))
    for path in changed:
        print(f"kept     {path.stem}")
    print(f"{len(changed)} results new or changed in {committed_folder()}")
    return 0


def _rows(options: argparse.Namespace) -> list[Row]:
    from oshp_lite.study.experiments import METHODS, matrix
    from oshp_lite.study.plan import rows_of

    strange = sorted(set(options.only) - set(METHODS))
    if strange:
        raise UserError(f"unknown method {strange[0]!r}; known: {', '.join(METHODS)}")
    keys = matrix(options.profile, options.steps, options.datasets)
    chosen = [key for key in keys if not options.only or key.method in options.only]
    return rows_of(chosen, options.profile, options.set, options.data)


def _finder(options: argparse.Namespace, *, older: bool) -> Finder:
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.files import runs_root
    from oshp_lite.study.plan import Finder

    return Finder(RunStore(runs_root(options.runs)), options.data, older=older)


def _executor(options: argparse.Namespace) -> Executor:
    from oshp_lite.files import reports_root
    from oshp_lite.study.execute import Executor
    from oshp_lite.study.plan import LIMIT_MINUTES
    from oshp_lite.study.reproduce import cores, find_notebooks

    limit = LIMIT_MINUTES[options.profile] if options.limit is None else options.limit
    return Executor(
        folder=reports_root(options.out) / options.profile / "matrix",
        profile=options.profile,
        finder=_finder(options, older=options.older),
        notebook=None if options.no_notebooks else find_notebooks(["07"])[0],
        limit=60 * limit,
        threads=options.threads or _threads_asked() or max(1, cores() // options.jobs),
        overrides=options.set,
        tell=lambda text: print(text, flush=True),
    )


def _threads_asked() -> int:
    """Threads that the environment asks for: on a shared machine two spinning threads can be far slower than one."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else 0


def _listed(row: Row, position: int, executor: Executor) -> dict[str, Any]:
    from oshp_lite.engine.runs import present_code

    key = row.key
    named = (
        {"method": key.method, "dataset": key.dataset, "fold": key.fold, "way": key.way, "seed": key.seed}
        if key
        else {}
    )
    return {
        "index": position,
        "name": row.name,
        "needs": list(row.needs),
        "code": present_code(row.config.model.method),
        "marker": str(executor.marker(row)),
        "reason": row.reason,
        **named,
        **({"ablation": key.ablation, "protocol": key.protocol, "condition": key.condition} if key else {}),
    }


def _chosen(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    from oshp_lite.study.plan import numbered

    if options.inits:
        return [row for row in rows if row.key is None]
    if options.index is None and options.row is None:
        return rows
    hits = [row for number, row in numbered(rows) if row.name == options.row or (row.key and number == options.index)]
    if not hits:
        last = sum(row.key is not None for row in rows) - 1
        told = f"row {options.index}" if options.row is None else f"row {options.row!r}"
        raise UserError(f"there is no {told}; rows go from 0 to {last}, oshp-lite matrix --list text names them")
    return [row for row in rows if row.name in (*hits[0].needs, hits[0].name)]


def _make(rows: list[Row], executor: Executor, options: argparse.Namespace) -> int:
    import time

    from oshp_lite.study.execute import STATUSES

    started = time.monotonic()
    outcomes = executor.run(rows, options.jobs)
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in STATUSES}
    summary = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"{len(outcomes)} rows in {time.monotonic() - started:.0f} s: {summary}")
    for outcome in outcomes:
        if not outcome.ok:
            kept = "".join(f"\n        kept: {path}" for path in executor.kept(outcome.name))
            print(f"failed: {outcome.name}: {outcome.reason}{kept}")
    return 1 if counts["failed"] else 0
