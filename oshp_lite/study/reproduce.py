"""From a profile to its report: which notebooks are executed with which values, beside the rows of the plan.

Notebook 07 is executed once per training of the profile (a run that is finished costs seconds);
the others once. The ceiling and the trivial baselines are made beside them, so that the report can say what the scores
are worth.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from oshp_lite.data.registry import dataset_folder, dataset_spec, find_dataset
from oshp_lite.engine.presets import PROFILES
from oshp_lite.engine.provenance import source_digest
from oshp_lite.engine.runs import check_start
from oshp_lite.errors import UserError
from oshp_lite.files import (
    PACKAGE_PARENT,
    make_folder,
    project_root,
    read_json,
    reports_root,
    sha256_json,
    write_json_atomic,
)
from oshp_lite.study.execute import Executor, Outcome, Task, keep_notebook, notebook_task, run_tasks, timed
from oshp_lite.study.experiments import matrix
from oshp_lite.study.notebooks import Job, check_parameters, default_parameters, load_notebook, title_of
from oshp_lite.study.plan import LIMIT_MINUTES, Finder, Row, before_training, rows_of, trainings
from oshp_lite.study.processes import run_child
from oshp_lite.study.references import ensure
from oshp_lite.study.report import write_report

TRAINING_NOTEBOOK = "07"
RESULT_NOTEBOOKS = ("08", "09", "10")
CELL_TIMEOUT = {"smoke": 600, "quick": 1800, "lite": 4 * 3600, "gpu": 2 * 3600, "paper": 0}
"""Seconds one cell may take, 0 for no limit."""


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def find_notebooks(only: Sequence[str] = ()) -> list[Path]:
    """The checkout's numbered notebooks in order, or those named by number or name. UserError for an unknown one."""
    folder = project_root() / "notebooks"
    if not folder.is_dir():
        raise UserError("there is no notebooks/ folder here; call this in a clone of the project")
    listed = sorted(path for path in folder.glob("*.ipynb") if re.match(r"\d\d_", path.name))
    if not listed:
        raise UserError(f"{folder} holds no numbered notebooks")
    names = {path: {path.stem, path.name, path.stem[:2], str(int(path.stem[:2]))} for path in listed}
    for word in only:
        if not any(word in known for known in names.values()):
            raise UserError(f"there is no notebook {word!r}; there are {', '.join(path.stem for path in listed)}")
    return [path for path in listed if not only or names[path] & set(only)]


def reproduce(
    profile: str,
    finder: Finder,
    *,
    only: Sequence[str] = (),
    jobs: int = 0,
    out: str | None = None,
    force: bool = False,
    overrides: Sequence[str] = (),
    steps: Sequence[str] | None = None,
    tell: Callable[[str], None] = print,
) -> int:
    """Execute a profile's notebooks, make its rows of the plan, write its report. Returns the number of failures.

    jobs = 0 takes one per core, at most four. overrides ("train.epochs=5") change the profile's trainings; the rows of
    the tables keep the profile's settings and are then left out, as they are when `only` names notebooks. `steps`
    names parts of the plan. Raises UserError, before any work, for an unknown profile, notebook, setting or step.
    """
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    folder, started, workers = reports_root(out) / profile, time.monotonic(), jobs or min(4, cores())
    limit, threads = 60 * LIMIT_MINUTES[profile], max(1, cores() // workers)
    executor = Executor(folder / "matrix", profile, finder, None, limit, threads, overrides, tell=lambda text: None)
    rows = [] if only or overrides else rows_of(matrix(profile, steps), profile, data=finder.data)
    planned = notebook_jobs(executor, only)
    for job, _ in planned:
        check_parameters(load_notebook(job.source), job.parameters, job.source.name)
    make_folder(folder)
    tell(f"profile {profile}: {len(planned)} notebooks, {workers} at a time; report in {folder}")
    trained = [training for _, training in planned if training is not None]
    limited = [row.config for row in trained if row.config.train.minutes]
    if limited and (first := before_training(limited, finder)):
        tell(first)
    _draw_first(trained, finder.data, tell)

    # what shows the runs' results comes last, and again whenever there may be more to show; all else shares the places
    last = [job for job, _ in planned if job.source.stem.startswith(RESULT_NOTEBOOKS)]
    makers = [notebook_task(job, force=force) for job, _ in planned if job not in last]
    references, made_rows = _references(trained, executor), [executor.task(row) for row in rows]
    tasks = [task for group in zip_longest(makers, references, made_rows) for task in group if task is not None]
    tasks += [notebook_task(job, force=True, after=[task.name for task in tasks]) for job in last]
    outcomes = {outcome.name: outcome for outcome in run_tasks(tasks, workers, tell)}

    earlier = _earlier(folder)
    kept = [entry for entry in earlier.get("entries", []) if (folder / "notebooks" / entry["file"]).is_file()]
    entries = {entry.get("name") or Path(entry["file"]).name.removesuffix(".ipynb"): entry for entry in kept}
    for job, training in planned:
        name = job.target.stem
        entries[name] = _entry(job, outcomes[name], training)
        if training is not None and outcomes[name].ok:
            keep_notebook(finder.find(training.config), job.target)
    manifest = {
        "profile": profile,
        "overrides": list(overrides),
        "seconds": round(time.monotonic() - started, 1),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "entries": [entries[name] for name in sorted(entries, key=str)],
        "notes": [f"{one.name}: {outcomes[one.name].reason}" for one in references if not outcomes[one.name].ok],
        "matrix": [_matrix_entry(outcomes[row.name], executor) for row in rows] or earlier.get("matrix", []),
    }
    write_json_atomic(folder / "manifest.json", manifest)
    page = write_report(profile, folder, finder)
    failed = [outcome for outcome in outcomes.values() if not outcome.ok]
    good = sum(outcomes[job.target.stem].ok for job, _ in planned)
    tell(f"{good} of {len(planned)} notebooks done in {time.monotonic() - started:.0f} s")
    for outcome in failed:
        tell(f"failed: {outcome.name}: {outcome.reason}")
    tell(f"report: {page}")
    return len(failed)


def _draw_first(trained: list[Row], data: str | Path | None, tell: Callable[[str], None]) -> None:
    """Draw the procedural datasets with the whole machine, before the notebooks share it."""
    configs = [row.config.data for row in trained if dataset_spec(row.config.data.dataset).synthetic]
    for config in {dataset_folder(one, data): one for one in configs}.values():
        before = time.monotonic()
        dataset = find_dataset(config, data, progress=sys.stderr.isatty())
        tell(str(Outcome(dataset.root.name, "data", time.monotonic() - before)))


def notebook_jobs(executor: Executor, only: Sequence[str] = ()) -> list[tuple[Job, Row | None]]:
    """Notebooks to execute in their order, each with the training it makes, if any.

    The first training of a dataset and fold starts at once, the notebooks without a training fill the gaps, then come
    the other trainings: they start from the same initialisation and would only wait for it. Last, what shows results.
    """
    profile, data = executor.profile, executor.finder.data
    listed = trainings(profile, executor.overrides, data)  # a misspelt setting is refused now
    for config in {row.config.data.way: row.config for row in listed}.values() if executor.overrides else ():
        check_start(config)
    code, begun = book_digest(), set[tuple[str, int]]()
    jobs: list[tuple[int, Job, Row | None]] = []
    for path in find_notebooks(only):
        known = default_parameters(load_notebook(path), path.name)
        trains = path.stem.startswith(TRAINING_NOTEBOOK)
        for training in [row for row in listed if not row.reason] if trains else [None]:
            identity, place, name = {"code": code}, 3 if path.stem.startswith(RESULT_NOTEBOOKS) else 1, path.stem
            if training is not None:
                of, name = training.config.data, f"{name}-{training.name}"
                place = 2 if (of.dataset, of.fold) in begun else 0
                begun.add((of.dataset, of.fold))
                if not dataset_spec(of.dataset).synthetic:
                    identity["data"] = find_dataset(of, data).fingerprint
            job = Job(
                source=path,
                target=executor.folder.parent / "notebooks" / f"{name}.ipynb",
                parameters=_values(executor, known, training),
                timeout=CELL_TIMEOUT[profile],
                identity=identity,
                environment=executor.environment,
            )
            jobs.append((place, job, training))
    return [(job, training) for _, job, training in sorted(jobs, key=lambda one: one[0])]


def _values(executor: Executor, known: dict[str, Any], training: Row | None) -> dict[str, Any]:
    """Parameters for a notebook: those of the usual names that it has."""
    profile = executor.profile
    if training is None:  # a notebook without a training of its own needs no more than laptop settings
        return {"profile": "smoke" if profile == "smoke" else "quick"} if "profile" in known else {}
    assert training.key is not None
    key, overrides = training.key, [*executor.overrides, f"train.eval_every={training.config.train.eval_every}"]
    values: dict[str, Any] = {"profile": profile, "dataset": key.dataset, "fold": key.fold, "way": key.way}
    # the ceiling is being made beside the notebook, which then waits for it rather than leave it out
    more = {"with_ceiling": True, "overrides": overrides}
    return values | {name: value for name, value in more.items() if name in known}


def book_digest(package: Path = PACKAGE_PARENT / "oshp_lite") -> str:
    """Digest of what a notebook can reach: every file of the package but the command line's, comments apart."""
    files = []
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if path.is_file() and inside.parts[0] != "cli" and "__pycache__" not in inside.parts:
            python = path.suffix == ".py"
            digest = source_digest(path.read_text("utf-8")) if python else hashlib.sha256(path.read_bytes()).hexdigest()
            files.append([inside.as_posix(), digest])
    return sha256_json(files)[:16]


def _references(trained: list[Row], executor: Executor) -> list[Task]:
    """The ceiling and the baselines of every dataset, fold and way, each a task of its own."""
    tasks = []
    for one in dict.fromkeys((row.config.data.dataset, row.config.data.fold, row.config.data.way) for row in trained):
        order: dict[str, Any] = dict(zip(("dataset", "fold", "way"), one, strict=True))
        order |= {"profile": executor.profile, "overrides": list(executor.overrides)}
        for what in ("baselines", "ceiling"):
            name = f"{what} of {one[0]}, fold {one[1]}, {one[2]}-way"
            tasks.append(Task(name, partial(_reference, name, {"what": what, **order}, executor)))
    return tasks


def _reference(name: str, order: dict[str, Any], executor: Executor) -> Outcome:
    """Find one reference, or have a process make it."""
    with suppress(UserError):  # the process says what is wrong
        if ensure(**order, look=executor.finder):
            return Outcome(name, "found")
    work = {"work": "oshp_lite.study.references:ensure", **order}
    return timed(name, lambda: run_child(work, executor.environment).reason)


def _entry(job: Job, outcome: Outcome, training: Row | None) -> dict[str, Any]:
    """What the manifest says of an executed notebook."""
    skipped = outcome.status == "skipped"  # then what counts are the seconds of the execution that is still good
    return {
        "name": outcome.name,
        "notebook": job.source.name,
        "title": title_of(load_notebook(job.source), job.source.stem),
        "file": job.target.name if outcome.ok else (job.failed.name if job.failed.is_file() else ""),
        "status": outcome.status,
        "seconds": float(read_json(job.marker).get("seconds", 0.0)) if skipped else round(outcome.seconds, 1),
        "reason": outcome.reason,
        "parameters": job.parameters,
        "training": {name: job.parameters[name] for name in ("dataset", "fold", "way")} if training else None,
    }


def _matrix_entry(outcome: Outcome, executor: Executor) -> dict[str, Any]:
    kept = [f"matrix/{path.name}" for path in executor.kept(outcome.name)] if not outcome.ok else []
    return {**asdict(outcome), "seconds": round(outcome.seconds, 1), "kept": kept[0] if kept else ""}


def _earlier(folder: Path) -> dict[str, Any]:
    """The manifest of earlier calls of the same profile (`only` runs a part); empty where there is none to be read."""
    with suppress(UserError):
        about = read_json(folder / "manifest.json")
        return about if isinstance(about, dict) else {}
    return {}
