"""The executor: tasks (rows of the plan, notebooks, references) N at a time; one that fails stops no other.

What is done is read from the run store, never from a list of this module's own, so any number of executors may be
killed, restarted or work beside each other: a row is claimed by a lock that the kernel frees when its owner dies, a
process whose executor is gone ends itself, and a training that was cut off goes on from its last saved state.

    python -m oshp_lite.study.execute --in-place notebooks/03_prototype_math.ipynb
    python -m oshp_lite.study.execute --out /some/folder notebooks/0*.ipynb --jobs 2

`--in-place` makes the outputs that are committed: it runs the notebook from top to bottom, joins streams, drops widget
views and papermill's metadata, stores the hash of each code cell's source in the cell's metadata (`oshp.source_sha`),
and replaces the file only when every cell succeeded. With `--out` the source stays as it is, and a notebook that is
finished already (same source and code) is skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import data_root, read_json, write_atomic, write_json_atomic
from oshp_lite.lock import Busy, locked
from oshp_lite.study.experiments import overrides_of
from oshp_lite.study.notebooks import CELL_TIMEOUT, Job, check_parameters, load_notebook, run_job
from oshp_lite.study.plan import Finder, Row
from oshp_lite.study.processes import BUSY, reason_of, run_child, stop_children

LOOK_AROUND = ("look-around", "exercise")
"""Tags of those cells of notebook 07 that a row of the plan leaves out."""

AGAIN_SECONDS = (2.0, 8.0)
"""Pause before asking again for work that another process is doing: at first, doubled up to at most."""

STATUSES = ("made", "found", "not run", "failed", "done", "skipped")
"""How a row ends (it was there; it cannot be, here), or a notebook (`skipped`: finished before)."""


@dataclass(frozen=True)
class Outcome:
    """How a task ended: one of STATUSES, the seconds it took, and why it failed or was not run."""

    name: str
    status: str
    seconds: float = 0.0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """True unless it failed."""
        return self.status != "failed"

    def __str__(self) -> str:
        seconds = f"  {self.seconds:.0f} s" if self.seconds >= 0.5 else ""
        return f"{self.status:8s} {self.name}{seconds}" + (f"  {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class Task:
    """A piece of work: `work()` has it done, in a process, and raises Busy while another process is doing it.

    needs  tasks that have to end well before this one begins; when one fails, so does this
    after  tasks that have to have ended
    """

    name: str
    work: Callable[[], Outcome]
    needs: Sequence[str] = ()
    after: Sequence[str] = ()


def run_tasks(tasks: Sequence[Task], jobs: int = 1, tell: Callable[[str], None] = print) -> list[Outcome]:
    """Have all tasks done, `jobs` at a time, in order where needs allow it; outcomes come in the tasks' order.

    An error that is no task's own (Ctrl-C above all) ends the processes that are running and is raised.
    """
    names = {task.name for task in tasks}
    waiting, ended, outcomes = list(tasks), dict[str, Outcome](), dict[int, Outcome]()
    running = dict[Future[Outcome], Task]()
    again, pauses = dict[str, float](), dict[str, float]()

    def end(task: Task, outcome: Outcome) -> None:
        ended[task.name] = outcomes[id(task)] = outcome
        tell(str(outcome))

    def can_begin(task: Task) -> bool:
        before = (*task.needs, *task.after)
        return again.get(task.name, 0.0) <= time.monotonic() and all(
            name in ended or name not in names for name in before
        )

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            while waiting or running:
                for task in list(waiting):
                    lost = next((name for name in task.needs if name in ended and not ended[name].ok), None)
                    if lost is not None:
                        waiting.remove(task)
                        reason = f"its initialisation {lost} failed: {ended[lost].reason}"
                        end(task, Outcome(task.name, "failed", 0.0, reason))
                    elif len(running) < max(1, jobs) and can_begin(task):
                        waiting.remove(task)
                        running[pool.submit(task.work)] = task
                if not running:
                    time.sleep(0.2)
                for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    try:
                        end(task, future.result())
                    except Busy:
                        pause = pauses.get(task.name, AGAIN_SECONDS[0])
                        again[task.name], pauses[task.name] = time.monotonic() + pause, min(2 * pause, AGAIN_SECONDS[1])
                        waiting.insert(0, task)
        except BaseException:
            stop_children()
            raise
    return [outcomes[id(task)] for task in tasks]


# ---------------------------------------------------------------------------------------------------- rows


@dataclass
class Executor:
    """Makes rows of the plan.

    folder    receives the markers of finished rows and what failed rows leave behind
    notebook  notebook 07, executed for each run; None: the run store alone
    limit     seconds a row may take, 0 for no limit
    fresh     makes each row anew, and an initialisation that is damaged or of older code
    worker    module that makes a row without a notebook; a seam for tests
    """

    folder: Path
    profile: str
    finder: Finder = field(default_factory=Finder)
    notebook: Path | None = None
    limit: float = 0
    threads: int = 1
    overrides: Sequence[str] = ()
    fresh: bool = False
    tell: Callable[[str], None] = print
    worker: str = "oshp_lite.study.processes"

    def run(self, rows: Sequence[Row], jobs: int = 1) -> list[Outcome]:
        """Make all rows, `jobs` at a time; outcomes in the rows' order."""
        return run_tasks([self.task(row) for row in rows], jobs, self.tell)

    def task(self, row: Row) -> Task:
        """The row as a piece of work that leaves the row's marker."""

        def work() -> Outcome:
            outcome = self._one(row)
            with contextlib.suppress(UserError, OSError):  # a full disk must not end the executor
                self._mark(row, outcome)
            return outcome

        return Task(row.name, work, row.needs)

    def _one(self, row: Row) -> Outcome:
        """Find or make one row. Raises Busy while another process makes it."""
        if row.reason:
            return Outcome(row.name, "not run", reason=row.reason)
        started = time.monotonic()
        try:
            with locked(self.finder.store.root / ".locks" / f"matrix-{row.name}.lock", row.name, wait=False):
                if not self._anew(row) and self.is_done(row):
                    return Outcome(row.name, "found")
                self.tell(f"begun    {row.name}")
                reason = self._executed(row) if self.notebook and row.key else self._made(row)
        except Busy:
            raise
        except (UserError, OSError) as error:
            reason = str(error)
        return Outcome(row.name, "failed" if reason else "made", time.monotonic() - started, reason)

    def _anew(self, row: Row) -> bool:
        run = None if row.key else self.finder.find(row.config)
        return self.fresh and (run is None or run.older_code)

    def is_done(self, row: Row) -> bool:
        """True when the store holds the finished run (and its executed notebook, where notebooks are asked for)."""
        run = self.finder.find(row.config)
        return run is not None and (self.notebook is None or row.key is None or run.notebook is not None)

    def _made(self, row: Row) -> str:
        """Have a process make the run; returns why it failed, or nothing."""
        kept = self.folder / f"{row.name}.failed.txt"
        order = {"kind": "run", "config": row.config.as_dict(), **self._places(), "fresh": self._anew(row)}
        code, text = run_child(order, {"OMP_NUM_THREADS": str(self.threads)}, limit=self.limit, module=self.worker)
        if code == BUSY:
            raise Busy(reason_of(code, text))
        if code == 0:
            kept.unlink(missing_ok=True)
            return ""
        with contextlib.suppress(UserError):
            write_atomic(kept, text.encode())
        return reason_of(code, text)

    def _executed(self, row: Row) -> str:
        """Execute notebook 07 for the run and leave it in the run's folder; returns why it failed, or nothing."""
        assert row.key is not None
        assert self.notebook is not None
        key, target = row.key, self.folder / f"{row.name}.ipynb"
        if self._anew(row):
            reason = self._made(row)
            if reason:
                return reason
        parameters = {name: getattr(key, name) for name in ("dataset", "fold", "way", "method", "seed")}
        settings = [*self._settings(row), *self.overrides]
        job = Job(
            source=self.notebook,
            target=target,
            parameters={"profile": self.profile, **parameters, "overrides": settings},
            timeout=0,
            limit=self.limit,
            without=LOOK_AROUND,
            threads=self.threads,
            **self._places(),
        )
        reason = run_job(job)
        if reason:
            return reason
        if not keep_notebook(self.finder.find(row.config), target):
            return "its notebook was executed but made another run than the plan expects; a parameter is missing in it"
        return ""

    def _settings(self, row: Row) -> list[str]:
        """Return those settings of a row that notebook 07 does not set by parameters of their own."""
        assert row.key is not None
        known = ("data.fold=", "model.method=", "train.seed=")
        settings = [item for item in overrides_of(row.key, self.profile) if not item.startswith(known)]
        return [*settings, f"train.eval_every={row.config.train.eval_every}"]

    def _places(self) -> dict[str, Any]:
        return {"runs": str(self.finder.store.root), "data": str(data_root(self.finder.data))}

    def _mark(self, row: Row, outcome: Outcome) -> None:
        """Leave the row's marker, untouched where it says the same already: engines compare times."""
        path = self.marker(row)
        if not outcome.ok:
            path.unlink(missing_ok=True)
            return
        about: dict[str, Any] = {"name": row.name, "status": "not run" if outcome.reason else "done"}
        run = None if outcome.reason else self.finder.find(row.config)
        about |= {"reason": outcome.reason} if outcome.reason else {}
        about |= {"run": run.folder.name, "seconds": run.seconds} if run else {}
        with contextlib.suppress(UserError):
            if read_json(path) == about:
                return
        write_json_atomic(path, about)

    def marker(self, row: Row) -> Path:
        """The file that says a row is finished, for engines that watch files."""
        return self.folder / f"{row.name}.done.json"

    def kept(self, name: str) -> list[Path]:
        """What a failed row left behind: its executed notebook, or what its process printed."""
        return [path for ending in ("ipynb", "txt") if (path := self.folder / f"{name}.failed.{ending}").is_file()]


def keep_notebook(run: Any, executed: Path) -> bool:
    """Put an executed notebook into the folder of the run it shows, if there is one; returns whether there was."""
    if run is not None:
        partial = run.folder / "notebook.ipynb.partial"
        shutil.copyfile(executed, partial)
        partial.replace(run.folder / "notebook.ipynb")
    return run is not None


# ----------------------------------------------------------------------------------------------- notebooks


def notebook_task(job: Job, *, force: bool = False, after: Sequence[str] = ()) -> Task:
    """A notebook as a piece of work, named like its target; `force` executes one that is finished."""

    def work() -> Outcome:
        if not force and job.is_finished():
            return Outcome(job.target.stem, "skipped")
        started = time.monotonic()
        try:
            reason = run_job(job)
        except (UserError, OSError) as error:
            reason = str(error)
        return Outcome(job.target.stem, "failed" if reason else "done", time.monotonic() - started, reason)

    return Task(job.target.stem, work, after=after)


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raise UserError for a parameter that a notebook does not have, before the first notebook starts."""
    for job in jobs:
        check_parameters(load_notebook(job.source), job.parameters, job.source.name)


def run_jobs(
    jobs: Sequence[Job], *, workers: int = 1, force: bool = False, tell: Callable[[str], None] = print
) -> list[Outcome]:
    """Execute notebooks, `workers` at a time; outcomes come in the jobs' order."""
    check_jobs(jobs)
    return run_tasks([notebook_task(job, force=force) for job in jobs], workers, tell)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m oshp_lite.study.execute",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="+", type=Path)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--in-place", action="store_true", help="replace each notebook by its executed form")
    place.add_argument("--out", type=Path, help="folder for the executed copies")
    parser.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds per cell, 0 for no limit")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks executed at a time")
    parser.add_argument("--force", action="store_true", help="execute finished notebooks again")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns 0, or 1 when a notebook failed, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        targets = [path if options.in_place else options.out / path.name for path in options.notebooks]
        jobs = [Job(*pair, timeout=options.timeout) for pair in zip(options.notebooks, targets, strict=True)]
        outcomes = run_jobs(jobs, workers=options.jobs, force=options.force)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; notebooks that were finished stay finished", file=sys.stderr)
        return 130
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
