"""From a profile to its report: which notebooks are executed with which values, beside the rows of the plan.

Notebook 07 is executed once per training of the profile (each asks the run store, so a finished run costs seconds);
the others once. The ceiling (the same encoder, supervised with every class visible) and the trivial baselines are made
beside them, so that the report can say what the scores are worth.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

from oshp_lite.engine.presets import PROFILES
from oshp_lite.engine.runs import RunStore, check_start
from oshp_lite.errors import UserError
from oshp_lite.files import (
    PACKAGE_PARENT,
    data_root,
    make_folder,
    project_root,
    read_json,
    reports_root,
    runs_root,
    sha256_json,
    write_json_atomic,
)
from oshp_lite.study.execute import Executor, Outcome, Task, check_jobs, keep_notebook, notebook_task, run_tasks
from oshp_lite.study.experiments import matrix, needs_curve
from oshp_lite.study.notebooks import Job, default_parameters, load_notebook, title_of
from oshp_lite.study.plan import (
    LIMIT_MINUTES,
    Finder,
    Row,
    Training,
    config_of,
    rows_of,
    training_config,
    trainings,
)
from oshp_lite.study.processes import reason_of, run_child
from oshp_lite.study.records import RunKey
from oshp_lite.study.report import write_report

TRAINING_NOTEBOOK = "07"
RESULT_NOTEBOOKS = ("08", "09", "10")
CELL_TIMEOUT = {"smoke": 600, "quick": 1800, "lite": 4 * 3600, "gpu": 2 * 3600, "paper": 0}
"""Seconds one cell may take, 0 for no limit."""


@dataclass(frozen=True)
class Places:
    """Where a reproduction reads and writes, handed to every process it starts."""

    data: str
    runs: str
    folder: Path
    workers: int = 1

    @property
    def threads(self) -> int:
        """Threads of each process when all workers are busy."""
        return max(1, cores() // self.workers)


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
    chosen = [] if only else listed
    for word in only:
        hits = [path for path in listed if word in (path.stem, path.name, path.stem[:2], str(int(path.stem[:2])))]
        if not hits:
            raise UserError(f"there is no notebook {word!r}; there are {', '.join(path.stem for path in listed)}")
        chosen += hits
    return sorted(set(chosen))


def reproduce(
    profile: str,
    *,
    only: Sequence[str] = (),
    jobs: int = 0,
    data: str | None = None,
    runs: str | None = None,
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
    folder = reports_root(out) / profile
    places = Places(str(data_root(data)), str(runs_root(runs)), folder, jobs or min(4, cores()))
    store, started = RunStore(Path(places.runs)), time.monotonic()
    rows = [] if only or overrides else declared_rows(profile, steps, places.data)
    planned, listed = notebook_jobs(profile, places, only, overrides)
    check_jobs([job for job, _ in planned])
    make_folder(folder)
    tell(f"profile {profile}: {len(planned)} notebooks, {places.workers} at a time; report in {folder}")
    trained = [training for _, training in planned if training is not None]
    _draw_first(profile, trained, places, tell)

    executor = Executor(
        folder / "matrix",
        profile,
        Finder(store, places.data),
        limit=60 * LIMIT_MINUTES[profile],
        threads=places.threads,
        tell=lambda text: None,
    )
    # what shows the runs' results comes last, and again whenever there may be more to show; all else shares the places
    makers = [notebook_task(job, force=force) for job, _ in planned if not _shows_results(job)]
    references, made_rows = _references(profile, trained, places), [executor.task(row) for row in rows]
    tasks = [task for group in zip_longest(makers, references, made_rows) for task in group if task is not None]
    names = [task.name for task in tasks]
    tasks += [notebook_task(job, force=True, after=names) for job, _ in planned if _shows_results(job)]
    outcomes = {outcome.name: outcome for outcome in run_tasks(tasks, places.workers, tell)}

    entries = []
    for job, training in planned:
        outcome = outcomes[job.target.stem]
        entries.append(_entry(job, outcome, training))
        if training is not None and outcome.ok:
            keep_notebook(store.find(training_config(profile, training), places.data), job.target)
    notes = [f"{task.name}: {outcomes[task.name].reason}" for task in references if not outcomes[task.name].ok]
    matrix_rows = [_matrix_entry(outcomes[row.name], executor) for row in rows]
    manifest = {
        "profile": profile,
        "seconds": round(time.monotonic() - started, 1),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "entries": _merged(folder, entries),
        "trainings": [asdict(training) for training in listed],
        "notes": notes,
        "matrix": matrix_rows or list(_earlier(folder).get("matrix", [])),
    }
    write_json_atomic(folder / "manifest.json", manifest)
    page = write_report(profile, folder, executor.finder)
    failed = [outcome for outcome in outcomes.values() if not outcome.ok]
    good = sum(outcomes[job.target.stem].ok for job, _ in planned)
    tell(f"{good} of {len(planned)} notebooks done in {time.monotonic() - started:.0f} s")
    for outcome in failed:
        tell(f"failed: {outcome.name}: {outcome.reason}")
    tell(f"report: {page}")
    return len(failed)


def declared_rows(profile: str, steps: Sequence[str] | None = None, data: str | None = None) -> list[Row]:
    """The rows of a profile that are made beside its notebooks. UserError for an unknown step."""
    return rows_of(matrix(profile, steps), profile, data=data)


def _shows_results(job: Job) -> bool:
    return job.source.stem.startswith(RESULT_NOTEBOOKS)


def _draw_first(profile: str, trained: list[Training], places: Places, tell: Callable[[str], None]) -> None:
    """Draw the procedural datasets with the whole machine, before the notebooks share it."""
    from oshp_lite.data.registry import dataset_folder, dataset_spec, find_dataset

    wanted = [training_config(profile, training).data for training in trained]
    synthetic = {dataset_folder(one, places.data): one for one in wanted if dataset_spec(one.dataset).synthetic}
    for one in synthetic.values():
        before = time.monotonic()
        dataset = find_dataset(one, places.data, progress=sys.stderr.isatty())
        tell(str(Outcome(f"{dataset.root.name}", "data", time.monotonic() - before)))


def notebook_jobs(
    profile: str, places: Places, only: Sequence[str] = (), overrides: Sequence[str] = ()
) -> tuple[list[tuple[Job, Training | None]], list[Training]]:
    """Notebooks to execute in their order, and the profile's trainings.

    The first training of a dataset and fold starts at once, the notebooks without a training fill the gaps, then come
    the other trainings: they start from the same initialisation and would only wait for it. Last, what shows results.
    """
    first: list[tuple[Job, Training | None]] = []
    short: list[tuple[Job, Training | None]] = []
    later: list[tuple[Job, Training | None]] = []
    begun: set[tuple[str, int]] = set()
    listed = trainings(profile, overrides, places.data)
    configs = {one.way: training_config(profile, one) for one in listed}  # a misspelt setting is refused now
    for config in configs.values() if overrides else ():
        check_start(config)
    code = book_digest()
    for path in find_notebooks(only):
        known = default_parameters(load_notebook(path), path.name)
        trains = path.stem.startswith(TRAINING_NOTEBOOK)
        for training in [one for one in listed if not one.missing] if trains else [None]:
            name = path.stem if training is None else f"{path.stem}-{training.name}"
            job = Job(
                source=path,
                target=places.folder / "notebooks" / f"{name}.ipynb",
                parameters=_values(profile, known, training),
                timeout=CELL_TIMEOUT[profile],
                identity=_identity(code, training, places),
                threads=places.threads,
                data=places.data,
                runs=places.runs,
            )
            if training is None:
                short.append((job, None))
                continue
            same = (training.dataset, training.fold)
            (later if same in begun else first).append((job, training))
            begun.add(same)
    return sorted(first + short + later, key=lambda one: _shows_results(one[0])), listed


def _values(profile: str, known: dict[str, Any], training: Training | None) -> dict[str, Any]:
    """Parameters for a notebook: those of the usual names that it has."""
    if training is None:
        # a notebook without a training of its own needs no more than laptop settings
        return {"profile": "smoke" if profile == "smoke" else "quick"} if "profile" in known else {}
    values = {"profile": profile, "dataset": training.dataset, "fold": training.fold, "way": training.way}
    key = RunKey("eopnet", training.dataset, training.fold, "k" if training.way == "k" else "1")
    changed = list(training.overrides)
    if needs_curve(key):  # so that it trains the run as the plan would
        changed.append(f"train.eval_every={config_of(key, profile).train.eval_every}")
    # the ceiling is being made beside the notebook, which then waits for it rather than leave it out
    more = {"with_ceiling": True, **({"overrides": changed} if changed else {})}
    return values | {name: value for name, value in more.items() if name in known}


def _identity(code: str, training: Training | None, places: Places) -> dict[str, Any]:
    from oshp_lite.data.registry import dataset_spec, find_dataset
    from oshp_lite.engine.config import DataConfig

    identity = {"code": code}
    if training is not None and not dataset_spec(training.dataset).synthetic:
        identity["data"] = find_dataset(DataConfig(dataset=training.dataset), places.data).fingerprint
    return identity


def book_digest(package: Path = PACKAGE_PARENT / "oshp_lite") -> str:
    """Digest of what a notebook can reach: every file of the package but the command line's, comments apart."""
    from oshp_lite.engine.provenance import source_digest

    files = []
    for path in sorted(package.rglob("*")):
        inside = path.relative_to(package)
        if not path.is_file() or inside.parts[0] == "cli" or "__pycache__" in inside.parts:
            continue
        python = path.suffix == ".py"
        content = source_digest(path.read_text("utf-8")) if python else hashlib.sha256(path.read_bytes()).hexdigest()
        files.append([inside.as_posix(), content])
    return str(sha256_json(files)[:16])


def _references(profile: str, trained: list[Training], places: Places) -> list[Task]:
    """The ceiling and the baselines of every dataset and fold, each a task of its own."""
    tasks = []
    for dataset, fold in dict.fromkeys((training.dataset, training.fold) for training in trained):
        here = [training for training in trained if (training.dataset, training.fold) == (dataset, fold)]
        order = {"kind": "references", "profile": profile, "dataset": dataset, "fold": fold}
        order |= {"overrides": list(here[0].overrides), "runs": places.runs, "data": places.data}
        for way in sorted({training.way for training in here}):
            for what in ("baselines", "ceiling"):
                name = f"{what} of {dataset}, fold {fold}, {way}-way"
                tasks.append(Task(name, partial(_referred, name, order | {"way": way, "what": what}, places)))
    return tasks


def _referred(name: str, order: dict[str, Any], places: Places) -> Outcome:
    started = time.monotonic()
    code, text = run_child(order, {"OMP_NUM_THREADS": str(places.threads)})
    outcome = Outcome(name, "done", time.monotonic() - started)
    return replace(outcome, status="failed", reason=reason_of(code, text)) if code else outcome


def _entry(job: Job, outcome: Outcome, training: Training | None) -> dict[str, Any]:
    """What the manifest says of an executed notebook."""
    skipped = outcome.status == "skipped"  # then what counts are the seconds of the execution that is still good
    return {
        "notebook": job.source.name,
        "title": title_of(load_notebook(job.source), job.source.stem),
        "file": job.target.name if outcome.ok else (job.failed.name if job.failed.is_file() else ""),
        "status": outcome.status,
        "seconds": float(read_json(job.marker).get("seconds", 0.0)) if skipped else round(outcome.seconds, 1),
        "reason": outcome.reason,
        "parameters": job.parameters,
        "training": asdict(training) if training is not None else None,
    }


def _matrix_entry(outcome: Outcome, executor: Executor) -> dict[str, Any]:
    kept = [f"matrix/{path.name}" for path in executor.kept(outcome.name)] if not outcome.ok else []
    return {**asdict(outcome), "seconds": round(outcome.seconds, 1), "kept": kept[0] if kept else ""}


def _earlier(folder: Path) -> dict[str, Any]:
    """The manifest of earlier calls of the same profile; empty where there is none that can be read."""
    with suppress(UserError):
        about = read_json(folder / "manifest.json")
        return about if isinstance(about, dict) else {}
    return {}


def _merged(folder: Path, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries of this call over those of earlier calls of the same profile (`--only` runs a part)."""
    kept = {
        _stem(entry["file"]): entry
        for entry in _earlier(folder).get("entries", [])
        if entry["file"] and (folder / "notebooks" / entry["file"]).is_file()
    }
    kept |= {_stem(entry["file"]) or entry["notebook"]: entry for entry in entries}
    return [kept[name] for name in sorted(kept)]


def _stem(file: str) -> str:
    return file.removesuffix(".ipynb").removesuffix(".failed")
