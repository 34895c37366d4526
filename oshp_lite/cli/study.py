"""`oshp-lite matrix | reproduce | report`: every run, the notebooks of a profile through papermill, and its page."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import number, print_table, takes_only, words
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.study.execute import Executor
    from oshp_lite.study.plan import Finder, Row

CHOICE = "profile steps exhibits only datasets set"
PASSED = f"{CHOICE} threads limit no_notebooks out data runs"
"""What a row on a cluster is called with, besides its number."""


def matrix(
    context: typer.Context,
    action: Annotated[
        Literal["run", "record"],
        typer.Argument(help="run: make the rows; record: store finished rows under notebooks/results/runs"),
    ] = "run",
    *,
    profile: options.Profile = "quick",
    steps: options.Steps = None,
    exhibits: Annotated[list[str], words("NAME ...", "only the rows of these tables and figures, e.g. eopnet2")],
    only: options.Only,
    datasets: Annotated[list[str], words("NAME ...", "only these datasets")],
    index: Annotated[
        int | None, typer.Option(metavar="N", help="only row N, counted from 0 (arrays, indexed jobs)")
    ] = None,
    row: Annotated[str | None, typer.Option(metavar="NAME", help="only the row of this name")] = None,
    inits: Annotated[bool, typer.Option("--inits", help="only the initialisations")] = False,
    jobs: Annotated[int, number(1, "N", "rows at a time")] = 1,
    threads: Annotated[int | None, number(1, "N", "threads of a row (default: cores / jobs)")] = None,
    limit: Annotated[float | None, number(0, "MINUTES", "minutes a row may take, 0 for no limit", float)] = None,
    no_notebooks: Annotated[bool, typer.Option("--no-notebooks", help="train and score, execute no notebook")] = False,
    fresh: options.Fresh = False,
    dry_run: options.DryRun = False,
    list: Annotated[Literal["text", "json"] | None, typer.Option(help="list the rows, as text or JSON")] = None,
    script: Annotated[
        Literal["slurm", "kubernetes"] | None, typer.Option(help="print a script that submits the rows to a cluster")
    ] = None,
    snakefile: Annotated[bool, typer.Option("--snakefile", help="print where the matrix's Snakefile lies")] = False,
    set: options.Settings,
    out: options.Reports = None,
    data: options.Data = None,
    runs: options.Runs = None,
) -> int:
    """Make, list or record the runs behind the tables and figures."""
    if snakefile:
        takes_only(context, "snakefile", "--snakefile prints a path")
        print(resources.files("oshp_lite.study").joinpath("Snakefile"))
        return 0
    if action == "record":
        takes_only(context, "action profile data runs", "record keeps every finished row of the profile's own settings")
        return _record(profile, options.finder(data, runs))
    if sum((index is not None, row is not None, inits)) > 1:
        raise UserError("--index, --row and --inits each choose rows; say one of them")
    if list is not None or dry_run or script is not None:
        taken = f"list dry_run jobs threads limit no_notebooks out data runs {CHOICE}"
        what = "--dry-run makes nothing" if list is None else "--list names all rows"
        if script is not None:
            taken, what = f"script {PASSED}", "--script hands every row of the choice to a cluster"
        takes_only(context, f"{taken} index row inits" if dry_run else taken, what)
    from oshp_lite.study.plan import plan_text

    rows, executor = _rows(context.params), _executor(context.params)
    if script is not None:
        from oshp_lite.study.cluster import script as submission

        print(submission(script, _call(context), profile, rows, executor.finder), end="")
    elif list == "json":
        print(json.dumps([_listed(row, executor) for row in rows], indent=1))
    elif list == "text":
        print_table([[row.index, row.name] for row in rows], ("row", "name"))
    elif dry_run:
        print(plan_text(_chosen(rows, index, row, inits), executor.finder, executor.is_done, jobs))
    else:
        return _make(_chosen(rows, index, row, inits), executor, jobs)
    return 0


def _record(profile: str, finder: Finder) -> int:
    from oshp_lite.study.figures import keep_predictions
    from oshp_lite.study.figures.contenders import keep_pairs
    from oshp_lite.study.results import committed_folder, load_results, record

    changed = record(profile, finder=finder)
    results = load_results(profile, finder=finder, screen=False)
    for path in keep_predictions(results, profile, finder=finder):
        print(f"kept     predictions of {path.stem}")
    if profile == "lite" and keep_pairs(results, finder=finder):
        print("kept     the contenders' test pairs of notebook 08")
    for path in changed:
        print(f"kept     {path.stem}")
    print(f"{len(changed)} results new or changed in {committed_folder()}")
    return 0


def _rows(params: Mapping[str, Any]) -> list[Row]:
    from oshp_lite.study.experiments import METHODS, families, matrix, runs_of
    from oshp_lite.study.plan import rows_of

    profile, only = params["profile"], params["only"]
    unknown = sorted({*only} - {*METHODS})
    if unknown:
        raise UserError(f"unknown method {unknown[0]!r}; known: {', '.join(METHODS)}")
    if params["exhibits"] and params["steps"]:
        raise UserError("--steps and --exhibits each choose rows; say one of them")
    keys = matrix(profile, params["steps"], params["datasets"] or None)
    if params["exhibits"]:
        needed = dict.fromkeys(key for name in params["exhibits"] for key in runs_of(name, profile))
        keys = [key for key in needed if key.dataset in (params["datasets"] or families(profile).values())]
    return rows_of([key for key in keys if not only or key.method in only], profile, params["set"], params["data"])


def _call(context: typer.Context) -> str:
    """The call of `matrix` with the options given, those that a row on a cluster takes."""
    words = ["oshp-lite", "matrix"]
    for name in PASSED.split():
        value, source = context.params[name], context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option, many = f"--{name.replace('_', '-')}", isinstance(value, Sequence) and not isinstance(value, str)
            given = [",".join(value)] if name == "steps" else value if many else [value]
            words += [option] if value is True else [word for one in given for word in (option, str(one))]
    return shlex.join(words)


def _executor(params: Mapping[str, Any]) -> Executor:
    from oshp_lite.files import reports_root
    from oshp_lite.study.execute import Executor
    from oshp_lite.study.plan import LIMIT_MINUTES
    from oshp_lite.study.reproduce import cores, find_notebooks

    profile = params["profile"]
    limit = LIMIT_MINUTES[profile] if params["limit"] is None else params["limit"]
    environment = os.environ.get("OMP_NUM_THREADS", "")  # on a shared machine two spinning threads are far slower
    threads = int(environment) if environment.isdigit() else 0
    return Executor(
        folder=reports_root(params["out"]) / profile / "matrix",
        profile=profile,
        finder=options.finder(params["data"], params["runs"], looks_only=params["dry_run"]),
        notebook=None if params["no_notebooks"] else find_notebooks(["07"])[0],
        limit=60 * limit,
        threads=params["threads"] or threads or max(1, cores() // params["jobs"]),
        overrides=params["set"],
        fresh=params["fresh"],
        tell=lambda text: print(text, flush=True),
    )


def _listed(row: Row, executor: Executor) -> dict[str, Any]:
    from oshp_lite.engine.runs import present_code

    fields = ("method", "dataset", "fold", "way", "seed", "ablation", "protocol", "condition")
    return {
        "index": row.index,
        "name": row.name,
        "step": row.step,
        "needs": [*row.needs],
        "code": present_code(row.config.model.method),
        "marker": str(executor.marker(row)),
        "reason": row.reason,
        **({name: getattr(row.key, name) for name in fields} if row.key else {}),
    }


def _chosen(rows: list[Row], index: int | None, name: str | None, inits: bool) -> list[Row]:
    if inits:
        return [row for row in rows if row.key is None]
    if index is None and name is None:
        return rows
    hit = next((row for row in rows if row.name == name or (row.key and row.index == index)), None)
    if hit is None:
        last = sum(row.key is not None for row in rows) - 1
        wanted = f"row {index}" if name is None else f"row {name!r}"
        raise UserError(f"there is no {wanted}; rows go from 0 to {last}, oshp-lite matrix --list text names them")
    return [row for row in rows if row.name in (*hit.needs, hit.name)]


def _make(rows: list[Row], executor: Executor, jobs: int) -> int:
    from oshp_lite.study.execute import STATUSES

    started = time.monotonic()
    outcomes = executor.run(rows, jobs)
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in STATUSES}
    summary = ", ".join(f"{number} {status}" for status, number in counts.items() if number)
    print(f"{len(outcomes)} rows in {time.monotonic() - started:.0f} s: {summary}")
    for outcome in outcomes:
        if not outcome.ok:
            kept = "".join(f"\n        kept: {path}" for path in executor.kept(outcome.name))
            print(f"failed: {outcome.name}: {outcome.reason}{kept}")
    return 1 if counts["failed"] else 0


def reproduce(
    *,
    profile: options.Profile = "quick",
    only: Annotated[list[str], words("NN ...", "only these notebooks, e.g. 03 06")],
    steps: options.Steps = None,
    jobs: Annotated[int, number(0, "N", "notebooks at a time, 0: by cores")] = 0,
    set: options.Settings,
    minutes: options.Minutes = None,
    force: Annotated[bool, typer.Option("--force", help="execute finished notebooks again")] = False,
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
    chosen: dict[str, Any] = {"only": only, "steps": steps, "overrides": overrides}
    failed = study.reproduce(profile, finder, jobs=jobs, out=out, force=force, **chosen)
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
    """Write the report again from the runs at hand."""
    if readme:
        takes_only(context, "readme", "README.md is filled from the committed results alone")
        from oshp_lite.study.exhibits import update_readme

        print("README.md: written" if update_readme() else "README.md: its results are those of the records")
        return
    from oshp_lite.files import reports_root
    from oshp_lite.study.report import write_report

    print(f"report: {write_report(profile, reports_root(out) / profile, options.finder(data, runs))}")
