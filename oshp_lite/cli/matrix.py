"""`oshp-lite matrix`: every run behind the tables and figures, made, listed or kept."""

from __future__ import annotations

import argparse
import json
import os
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.cli.common import PROFILES, at_least, places, refuse_others, steps, table
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.study.matrix import Row
    from oshp_lite.study.matrix_runner import Runner


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
    from oshp_lite.files import data_root, runs_root

    if options.profile not in PROFILES:
        raise UserError(f"unknown profile {options.profile!r}; known: {', '.join(PROFILES)}")
    for variable, place in (("OSHP_DATA", data_root(options.data)), ("OSHP_RUNS", runs_root(options.runs))):
        os.environ[variable] = str(place)
    if options.snakefile:
        print(resources.files("oshp_lite.study").joinpath("Snakefile"))
        return 0
    if options.action == "record":
        return _record(options)
    rows, runner = _rows(options), _runner(options)
    if options.list == "json":
        print(json.dumps([_listed(row, position, runner) for position, row in _numbered(rows)], indent=1))
        return 0
    if options.list == "text":
        print(table([[position, row.name] for position, row in _numbered(rows)], ("row", "name")))
        return 0
    if options.dry_run:
        from oshp_lite.study.matrix_plan import print_plan

        print_plan(rows, runner, options.jobs)
        return 0
    return _make(_chosen(rows, options), runner, options)


def _record(chosen: argparse.Namespace) -> int:
    from oshp_lite.study.results import committed_folder, record

    takes = ("action", "profile", "data", "runs")
    refuse_others(chosen, options, takes, "record keeps every finished row of the profile's own settings")
    changed = record(chosen.profile)
    for path in changed:
        print(f"kept     {path.stem}")
    print(f"{len(changed)} results new or changed in {committed_folder()}")
    return 0


def _rows(options: argparse.Namespace) -> list[Row]:
    from oshp_lite.study.experiments import METHODS, matrix
    from oshp_lite.study.matrix import rows_of

    strange = sorted(set(options.only) - set(METHODS))
    if strange:
        raise UserError(f"unknown method {strange[0]!r}; known: {', '.join(METHODS)}")
    keys = matrix(options.profile, options.steps, options.datasets)
    return rows_of(
        [key for key in keys if not options.only or key.method in options.only], options.profile, options.set
    )


def _runner(options: argparse.Namespace) -> Runner:
    from oshp_lite.files import reports_root
    from oshp_lite.study.batch import find_notebooks
    from oshp_lite.study.matrix import LIMIT_MINUTES, Finder
    from oshp_lite.study.matrix_runner import Runner

    limit = LIMIT_MINUTES[options.profile] if options.limit is None else options.limit
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Runner(
        folder=reports_root(options.out) / options.profile / "matrix",
        profile=options.profile,
        finder=Finder(older=options.older),
        notebook=None if options.no_notebooks else find_notebooks(["07"])[0],
        limit=60 * limit,
        threads=options.threads or _threads_asked() or max(1, cores // options.jobs),
        overrides=options.set,
        tell=lambda text: print(text, flush=True),
    )


def _threads_asked() -> int:
    """Threads that the environment asks for: on a shared machine two spinning threads can be far slower than one."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() else 0


def _numbered(rows: list[Row]) -> list[tuple[int, Row]]:
    """Rows with their index; initialisations are made by the rows that need them and have none (-1)."""
    number, found = 0, []
    for row in rows:
        found.append((number if row.key else -1, row))
        number += row.key is not None
    return found


def _listed(row: Row, position: int, runner: Runner) -> dict[str, Any]:
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
        "marker": str(runner.marker(row)),
        "reason": row.reason,
        **named,
        **({"ablation": key.ablation, "protocol": key.protocol} if key else {}),
    }


def _chosen(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    if options.inits:
        return [row for row in rows if row.key is None]
    if options.index is None and options.row is None:
        return rows
    hits = [row for number, row in _numbered(rows) if row.name == options.row or (row.key and number == options.index)]
    if not hits:
        last = sum(row.key is not None for row in rows) - 1
        told = f"row {options.index}" if options.row is None else f"row {options.row!r}"
        raise UserError(f"there is no {told}; rows go from 0 to {last}, oshp-lite matrix --list text names them")
    return [row for row in rows if row.name in (*hits[0].needs, hits[0].name)]


def _make(rows: list[Row], runner: Runner, options: argparse.Namespace) -> int:
    import time

    started = time.monotonic()
    endings = runner.run(rows, options.jobs)
    counts = {status: sum(ending.status == status for ending in endings) for status in STATUSES}
    told = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"{len(endings)} rows in {time.monotonic() - started:.0f} s: {told}")
    for ending in endings:
        if ending.status == "failed":
            kept = [path for path in _left(runner.folder, ending.row.name) if path.is_file()]
            print(f"failed: {ending.row.name}: {ending.reason}" + "".join(f"\n        kept: {path}" for path in kept))
    return 1 if counts["failed"] else 0


STATUSES = ("made", "found", "not run", "failed")


def _left(folder: Path, name: str) -> list[Path]:
    return [folder / f"{name}.failed.ipynb", folder / f"{name}.failed.txt"]
