"""From a profile to its notebooks, executed: what is run, with which values, in which order.

Notebook 07 is executed once per training of the profile (each asks the run store, so a finished run costs seconds);
the others once. The ceiling (the same encoder, supervised with every class visible) and the trivial baselines are made
beside them, so that the report can say what the scores are worth.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.engine.runs import RunStore, check_start
from oshp_lite.errors import UserError
from oshp_lite.files import (
    PACKAGE_PARENT,
    data_root,
    project_root,
    read_json,
    reports_root,
    runs_root,
    sha256_json,
    write_json_atomic,
)
from oshp_lite.study.execute import Job, Outcome, run_jobs
from oshp_lite.study.matrix_batch import curve_settings, earlier_rows, make_rows, matrix_rows
from oshp_lite.study.notebooks import default_parameters, load_notebook

TRAINING_NOTEBOOK = "07"
RESULT_NOTEBOOKS = ("08", "09", "10")
PROFILES = ("smoke", "quick", "lite", "gpu", "paper")
_FIGURES = ("synth-atr", 1)
_CCP = ("ccp-os", 1)
TRAININGS: dict[str, list[tuple[str, int, str]]] = {
    "smoke": [(*_FIGURES, "k"), (*_FIGURES, "1")],
    "quick": [(*_FIGURES, "k"), (*_CCP, "k")],
    "lite": [(*_FIGURES, "k"), (*_FIGURES, "1"), (*_CCP, "k"), (*_CCP, "1")],
    "gpu": [(*_CCP, "k"), (*_CCP, "1"), (*_FIGURES, "k")],
    "paper": [(name, fold, way) for name in ("atr-os", "lip-os", "cihp-os") for fold in (1, 2) for way in ("k", "1")],
}
"""What each profile trains: dataset, fold, way. A dataset that is not at hand is listed as not run."""

CELL_TIMEOUT = {"smoke": 600, "quick": 1800, "lite": 4 * 3600, "gpu": 2 * 3600, "paper": 0}
"""Seconds one cell may take, 0 for no limit."""


@dataclass(frozen=True)
class Training:
    """One training of a profile and whether its data are at hand."""

    dataset: str
    fold: int
    way: str
    missing: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A file-safe name; other settings than the profile's get a name of their own."""
        changed = f"-{sha256_json(list(self.overrides))[:8]}" if self.overrides else ""
        return f"{self.dataset}-fold{self.fold}-{self.way}way{changed}"

    @property
    def of_references(self) -> list[str]:
        """Those overrides that concern the ceiling and the trivial answers too: data, evaluation, the model's size."""
        return [item for item in self.overrides if item.startswith(("data.", "eval.", "model.options."))]

    @classmethod
    def read(cls, told: dict[str, Any]) -> Training:
        """Rebuild a training from a manifest."""
        return cls(**{**told, "overrides": tuple(told.get("overrides", ()))})


@dataclass
class Entry:
    """One executed notebook of a report."""

    notebook: str
    title: str
    file: str
    status: str
    seconds: float = 0.0
    reason: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] | None = None


def notebooks_folder() -> Path:
    """The checkout's notebooks. Raises UserError when there is no checkout here."""
    folder = project_root() / "notebooks"
    if not folder.is_dir():
        raise UserError("there is no notebooks/ folder here; call this in a clone of the project")
    return folder


def find_notebooks(only: Sequence[str] = ()) -> list[Path]:
    """The numbered notebooks in order, or those named by number or name. Raises UserError for an unknown one."""
    found = sorted(path for path in notebooks_folder().glob("*.ipynb") if re.match(r"\d\d_", path.name))
    if not found:
        raise UserError(f"{notebooks_folder()} holds no numbered notebooks")
    if not only:
        return found
    chosen = []
    for word in only:
        hits = [path for path in found if word in (path.stem, path.name, path.stem[:2], str(int(path.stem[:2])))]
        if not hits:
            raise UserError(f"there is no notebook {word!r}; there are {', '.join(path.stem for path in found)}")
        chosen += hits
    return sorted(set(chosen))


def trainings(profile: str, overrides: Sequence[str] = ()) -> list[Training]:
    """What the profile trains; real datasets that are not found carry the reason."""
    from oshp_lite.data.registry import dataset_folder
    from oshp_lite.engine.config import DataConfig

    listed = []
    for dataset, fold, way in TRAININGS[profile]:
        missing = ""
        if (
            not dataset.startswith("synth-")
            and not (dataset_folder(DataConfig(dataset=dataset)) / "dataset.json").is_file()
        ):
            missing = f"the dataset {dataset} is not in the data folder"
        listed.append(Training(dataset, fold, way, missing, tuple(overrides)))
    return listed


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
    """Execute a profile's notebooks, make its matrix, write its report. Returns the number of failures.

    jobs = 0 takes one per core, at most four. overrides ("train.epochs=5") change the profile's trainings; the rows of
    the tables keep the profile's settings and are then left out, as they are when `only` names notebooks. `steps`
    names parts of the matrix. Raises UserError, before any work, for an unknown profile, notebook, setting or step.
    """
    if profile not in PROFILES:
        raise UserError(f"unknown profile {profile!r}; known: {', '.join(PROFILES)}")
    for variable, place in (("OSHP_DATA", data_root(data)), ("OSHP_RUNS", runs_root(runs))):
        os.environ[variable] = str(place)  # for this process and for the notebooks it starts
    folder = reports_root(out) / profile
    workers = jobs or min(4, _cores())
    started = time.monotonic()
    rows = [] if only or overrides else matrix_rows(profile, steps)
    planned, listed = _plan(profile, only, folder, workers, overrides)
    planned.sort(key=lambda plan: _shows_results(plan[0]))
    tell(f"profile {profile}: {len(planned)} notebooks, {workers} at a time; report in {folder}")
    trained = [training for _, training in planned if training is not None]
    _draw_first(profile, trained, tell)
    # The ceiling takes as long as a notebook with a training, so it runs among them rather than after them; it takes
    # one of their places, since a third heavy process on two cores would slow the longest of them.
    slots = threading.Semaphore(workers)
    with ThreadPoolExecutor(max_workers=2) as beside:
        references = beside.submit(_references, profile, trained, workers, tell, slots) if trained else None
        matrix = beside.submit(make_rows, rows, profile, folder, workers, slots, tell)
        outcomes = run_jobs(
            [job for job, _ in planned if not _shows_results(job)],
            workers=workers,
            force=force,
            tell=lambda outcome: tell(_line(outcome)),
            slots=slots,
        )
        notes = references.result() if references is not None else []
        made = matrix.result()
    # these show what the runs measured, so they come last, and again whenever there may be more to show
    outcomes += run_jobs(
        [job for job, _ in planned if _shows_results(job)],
        workers=workers,
        force=True,
        tell=lambda outcome: tell(_line(outcome)),
        slots=slots,
    )
    entries = [_entry(job, outcome, training) for (job, training), outcome in zip(planned, outcomes, strict=True)]
    entries = _merged(folder, entries)
    for (_, training), outcome in zip(planned, outcomes, strict=True):
        if training is not None and outcome.ok:
            _leave_notebook(profile, training, outcome.job.target)
    manifest = {
        "profile": profile,
        "seconds": round(time.monotonic() - started, 1),
        "made": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "entries": [asdict(entry) for entry in entries],
        "trainings": [asdict(training) for training in listed],
        "notes": notes,
        "matrix": made or earlier_rows(folder),
    }
    write_json_atomic(folder / "manifest.json", manifest)
    from oshp_lite.study.report import write_report

    page = write_report(profile, folder)
    failed = [outcome for outcome in outcomes if not outcome.ok]
    tell(f"{len(outcomes) - len(failed)} of {len(outcomes)} notebooks done in {time.monotonic() - started:.0f} s")
    for outcome in failed:
        tell(f"failed: {outcome.job.target.stem}: {outcome.reason}")
    lost = [row for row in made if row["status"] == "failed"]
    for row in lost:
        tell(f"failed: {row['name']}: {row['reason']}")
    tell(f"report: {page}")
    return len(failed) + sum(bool(note) for note in notes) + len(lost)


def _shows_results(job: Job) -> bool:
    return job.source.stem.startswith(RESULT_NOTEBOOKS)


def _draw_first(profile: str, trained: list[Training], tell: Callable[[str], None]) -> None:
    """Draw the procedural datasets with the whole machine, before the notebooks share it."""
    from oshp_lite.data.registry import dataset_folder, find_dataset

    wanted = [training_config(profile, training).data for training in trained]
    for data in {dataset_folder(data): data for data in wanted if data.dataset.startswith("synth-")}.values():
        before = time.monotonic()
        dataset = find_dataset(data, progress=sys.stderr.isatty())
        tell(f"data     {time.monotonic() - before:6.1f} s  {dataset.root.name}")


def _plan(
    profile: str, only: Sequence[str], folder: Path, workers: int, overrides: Sequence[str] = ()
) -> tuple[list[tuple[Job, Training | None]], list[Training]]:
    """Jobs in their order, and the profile's trainings.

    The first training of a dataset and fold starts at once, the notebooks without a training fill the gaps, and the
    other trainings come last: they start from the same initialisation and would only wait for it.
    """
    environment = {"OMP_NUM_THREADS": str(max(1, _cores() // workers))}
    first: list[tuple[Job, Training | None]] = []
    short: list[tuple[Job, Training | None]] = []
    later: list[tuple[Job, Training | None]] = []
    begun: set[tuple[str, int]] = set()
    listed = trainings(profile, overrides)
    configs = {one.way: training_config(profile, one) for one in listed}  # a misspelt setting is told now
    for config in configs.values() if overrides else ():
        check_start(config)
    for path in find_notebooks(only):
        known = default_parameters(load_notebook(path), path.name)
        cases: list[Training | None] = [None]
        if path.stem.startswith(TRAINING_NOTEBOOK):
            cases = [training for training in listed if not training.missing]
        for training in cases:
            name = path.stem if training is None else f"{path.stem}-{training.name}"
            job = Job(
                source=path,
                target=folder / "notebooks" / f"{name}.ipynb",
                parameters=_values(profile, known, training),
                timeout=CELL_TIMEOUT[profile],
                identity=_identity(training),
                environment=environment,
            )
            if training is None:
                short.append((job, training))
            else:
                same = (training.dataset, training.fold)
                (later if same in begun else first).append((job, training))
                begun.add(same)
    return first + short + later, listed


def _values(profile: str, known: dict[str, Any], training: Training | None) -> dict[str, Any]:
    """Parameters for a notebook: those of the usual names that it has."""
    if training is None:
        # a notebook without a training of its own needs no more than laptop settings
        return {"profile": "smoke" if profile == "smoke" else "quick"} if "profile" in known else {}
    values = {"profile": profile, "dataset": training.dataset, "fold": training.fold, "way": training.way}
    # the ceiling is being made beside the notebook, which then waits for it rather than leave it out
    changed = [*training.overrides, *curve_settings(profile, training.dataset, training.fold, training.way)]
    more = {"with_ceiling": True, **({"overrides": changed} if changed else {})}
    return values | {name: value for name, value in more.items() if name in known}


def _identity(training: Training | None) -> dict[str, Any]:
    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine.config import DataConfig
    from oshp_lite.engine.provenance import ROOMS, code_fingerprint

    told = {"code": code_fingerprint((*ROOMS, "viz", "exercises", "papers", "widgets"))}
    if training is not None and not training.dataset.startswith("synth-"):
        told["data"] = find_dataset(DataConfig(dataset=training.dataset)).fingerprint
    return told


def _references(
    profile: str, trained: list[Training], workers: int, tell: Callable[[str], None], slots: threading.Semaphore
) -> list[str]:
    """Make the ceiling and the baselines of every dataset and fold, each in a process; returns what went wrong."""
    notes = []
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")])),
        "OMP_NUM_THREADS": str(max(1, _cores() // workers)),
    }
    for dataset, fold in dict.fromkeys((training.dataset, training.fold) for training in trained):
        here = [training for training in trained if (training.dataset, training.fold) == (dataset, fold)]
        same = ["evaluate", "--profile", profile, "--dataset", dataset, "--fold", str(fold), "--quiet"]
        same += [word for item in here[0].of_references for word in ("--set", item)]
        ways = sorted({training.way for training in here})
        orders = [[*same, "--way", way, "--baseline", name] for way in ways for name in ("all", "ceiling")]
        for order in orders:
            with slots:
                before = time.monotonic()
                done = subprocess.run(
                    [sys.executable, "-m", "oshp_lite", *order],
                    env=environment,
                    capture_output=True,
                    text=True,
                    errors="replace",
                    check=False,
                )
            label = "ceiling" if order[-1] == "ceiling" else "baselines"
            state, seconds = "failed" if done.returncode else "done", time.monotonic() - before
            tell(f"{state:8s} {seconds:6.1f} s  {label} of {dataset}, fold {fold}")
            if done.returncode:
                lines = (done.stderr or done.stdout).strip().splitlines()
                notes.append(f"{label} of {dataset} fold {fold}: {lines[-1] if lines else done.returncode}")
    return notes


def _entry(job: Job, outcome: Outcome, training: Training | None) -> Entry:
    return Entry(
        notebook=job.source.name,
        title=_title(job.source),
        file=job.target.name if outcome.ok else (job.failed.name if job.failed.is_file() else ""),
        status=outcome.status,
        seconds=_seconds(job, outcome),
        reason=outcome.reason,
        parameters=job.parameters,
        training=asdict(training) if training is not None else None,
    )


def _seconds(job: Job, outcome: Outcome) -> float:
    """Seconds of this execution, or of the one that is still good."""
    if outcome.status != "skipped":
        return round(outcome.seconds, 1)
    return float(read_json(job.marker).get("seconds", 0.0))


def _merged(folder: Path, entries: list[Entry]) -> list[Entry]:
    """Entries of this call over those of earlier calls of the same profile (`--only` runs a part)."""
    kept: dict[str, Entry] = {}
    if (folder / "manifest.json").is_file():
        for told in read_json(folder / "manifest.json").get("entries", []):
            entry = Entry(**told)
            if entry.file and (folder / "notebooks" / entry.file).is_file():
                kept[_stem(entry.file)] = entry
    for entry in entries:
        kept[_stem(entry.file) or entry.notebook] = entry
    return [kept[name] for name in sorted(kept)]


def _stem(file: str) -> str:
    return file.removesuffix(".ipynb").removesuffix(".failed")


def _leave_notebook(profile: str, training: Training, executed: Path) -> None:
    """Put the executed notebook into the folder of the run it shows."""
    run = RunStore().find(training_config(profile, training))
    if run is not None:
        shutil.copyfile(executed, run.folder / "notebook.ipynb.partial")
        os.replace(run.folder / "notebook.ipynb.partial", run.folder / "notebook.ipynb")


def training_config(profile: str, training: Training) -> Any:
    """The configuration that notebook 07 uses for this training."""
    from oshp_lite.engine.presets import load_profile

    wanted = [f"data.fold={training.fold}", *training.overrides]
    return load_profile(profile, wanted, dataset=training.dataset, way=training.way)


def _title(path: Path) -> str:
    from oshp_lite.study.notebooks import source_of

    first = source_of(load_notebook(path)["cells"][0]).splitlines()
    return first[0].lstrip("# ").strip() if first else path.stem


def _line(outcome: Outcome) -> str:
    tail = f"  {outcome.reason}" if outcome.reason else ""
    return f"{outcome.status:8s} {outcome.seconds:6.1f} s  {outcome.job.target.stem}{tail}"


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
