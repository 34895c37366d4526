"""The executor: tasks (rows of the plan, notebooks, references) N at a time; one that fails stops no other.

What is done is read from the run store, so any number of executors may be killed, restarted or work beside each other:
a row is claimed by a lock that the kernel frees when its owner dies, and a process whose executor is gone ends itself.

    python -m oshp_lite.study.execute --in-place notebooks/03_prototype_math.ipynb
    python -m oshp_lite.study.execute --out /some/folder notebooks/0*.ipynb --jobs 2

`--in-place` makes the outputs that are committed (see `notebooks.tidy`) and replaces a file only when every cell
succeeded. With `--out` the source stays as it is, and a notebook that is finished already is skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.engine.config import from_dict
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import data_root, read_bytes, read_json, write_atomic, write_json_atomic
from oshp_lite.lock import Busy, locked
from oshp_lite.models.registry import method
from oshp_lite.script import exit_code
from oshp_lite.study.experiments import overrides_of
from oshp_lite.study.notebooks import CELL_TIMEOUT, Job, check_parameters, load_notebook, run_job
from oshp_lite.study.plan import Finder, Row
from oshp_lite.study.processes import BUSY, run_child, stop_children

LOOK_AROUND = ("look-around", "exercise")
"""Tags of those cells of notebook 07 that a row of the plan leaves out."""

AGAIN_SECONDS = 4.0
"""Pause before another try at work that another process is doing."""

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


def timed(name: str, work: Callable[[], str], status: str = "done") -> Outcome:
    """Do some work that returns why it failed, or nothing; an error that a user can mend is such a reason too."""
    started = time.monotonic()
    try:
        reason = work()
    except Busy:
        raise
    except (UserError, OSError) as error:
        reason = str(error)
    return Outcome(name, "failed" if reason else status, time.monotonic() - started, reason)


def run_tasks(tasks: Sequence[Task], jobs: int = 1, tell: Callable[[str], None] = print) -> list[Outcome]:
    """Have all tasks done, `jobs` at a time, in order where needs allow it; outcomes come in the tasks' order.

    An error that is no task's own (Ctrl-C above all) ends the processes that are running and is raised.
    """
    waiting, unfinished = list(tasks), {task.name for task in tasks}
    running = dict[Future[Outcome], Task]()
    outcomes, lost, again = dict[int, Outcome](), dict[str, Outcome](), dict[str, float]()

    def end(task: Task, outcome: Outcome) -> None:
        outcomes[id(task)] = outcome
        unfinished.discard(task.name)
        lost.update({} if outcome.ok else {task.name: outcome})
        tell(str(outcome))

    with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
        try:
            while waiting or running:
                for task in list(waiting):
                    failed = next((lost[name] for name in task.needs if name in lost), None)
                    due = again.get(task.name, 0.0) <= time.monotonic()
                    if failed is not None:
                        waiting.remove(task)
                        reason = f"its initialisation {failed.name} failed: {failed.reason}"
                        end(task, Outcome(task.name, "failed", 0.0, reason))
                    elif due and len(running) < max(1, jobs) and unfinished.isdisjoint((*task.needs, *task.after)):
                        waiting.remove(task)
                        running[pool.submit(task.work)] = task
                if not running:
                    time.sleep(0.2)
                for future in wait(running, timeout=0.2, return_when=FIRST_COMPLETED).done:
                    task = running.pop(future)
                    try:
                        end(task, future.result())
                    except Busy:
                        again[task.name] = time.monotonic() + AGAIN_SECONDS
                        waiting.insert(0, task)
        except BaseException:
            stop_children()
            raise
    return [outcomes[id(task)] for task in tasks]


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

    @property
    def environment(self) -> dict[str, str]:
        """Threads and folders for the processes that are started."""
        places = {"OSHP_RUNS": str(self.finder.store.root), "OSHP_DATA": str(data_root(self.finder.data))}
        return {"OMP_NUM_THREADS": str(self.threads), **places}

    def run(self, rows: Sequence[Row], jobs: int = 1) -> list[Outcome]:
        """Make all rows, `jobs` at a time; outcomes in the rows' order."""
        return run_tasks([self.task(row) for row in rows], jobs, self.tell)

    def task(self, row: Row) -> Task:
        """The row as a piece of work that leaves the row's marker."""

        def work() -> Outcome:
            outcome = self._outcome(row)
            with contextlib.suppress(UserError, OSError):  # a full disk must not end the executor
                self._mark(row, outcome)
            return outcome

        return Task(row.name, work, row.needs)

    def _outcome(self, row: Row) -> Outcome:
        """Find or make one row. Raises Busy while another process makes it."""
        if row.reason:
            return Outcome(row.name, "not run", reason=row.reason)
        try:
            with locked(self.finder.store.root / ".locks" / f"matrix-{row.name}.lock", row.name, wait=False):
                if not self._anew(row) and self.is_done(row):
                    return Outcome(row.name, "found")
                self.tell(f"begun    {row.name}")
                make = self._executed if self._shows_notebook(row) else self._made
                return timed(row.name, lambda: make(row), "made")
        except Busy:
            raise
        except (UserError, OSError) as error:
            return Outcome(row.name, "failed", reason=str(error))

    def _anew(self, row: Row) -> bool:
        run = None if row.key else self.finder.find(row.config)
        return self.fresh and (run is None or run.older_code)

    def is_done(self, row: Row) -> bool:
        """True when the store holds the finished run (and its executed notebook, where notebooks are wanted)."""
        run = self.finder.find(row.config)
        return run is not None and (run.notebook is not None or not self._shows_notebook(row))

    def _shows_notebook(self, row: Row) -> bool:
        """Notebook 07 shows the runs of one-shot methods; initialisations and other trainers' runs have none."""
        return self.notebook is not None and row.key is not None and not method(row.key.method).trainer

    def _made(self, row: Row) -> str:
        """Have a process make the run; returns why it failed, or nothing."""
        kept = self.folder / f"{row.name}.failed.txt"
        work = {"work": "oshp_lite.study.execute:make_run", "config": row.config.as_dict(), "fresh": self._anew(row)}
        ended = run_child(work, self.environment, limit=self.limit, module=self.worker)
        if ended.code == BUSY:
            raise Busy(ended.reason)
        kept.unlink(missing_ok=True)
        with contextlib.suppress(UserError):
            if ended.code:
                write_atomic(kept, ended.text.encode())
        return ended.reason

    def _executed(self, row: Row) -> str:
        """Execute notebook 07 for the run and leave it in the run's folder; returns why it failed, or nothing."""
        assert row.key is not None
        assert self.notebook is not None
        names = {"data.fold": "fold", "model.method": "method", "train.seed": "seed"}  # parameters of their own
        settings = [item for item in overrides_of(row.key, self.profile) if item.partition("=")[0] not in names]
        settings += [f"train.eval_every={row.config.train.eval_every}", *self.overrides]
        parameters = {name: getattr(row.key, name) for name in ("dataset", "way", *names.values())}
        job = Job(
            source=self.notebook,
            target=self.folder / f"{row.name}.ipynb",
            parameters={"profile": self.profile, **parameters, "overrides": settings},
            timeout=0,
            limit=self.limit,
            without=LOOK_AROUND,
            environment=self.environment,
        )
        reason = (self._made(row) if self._anew(row) else "") or run_job(job)
        if not reason and not keep_notebook(self.finder.find(row.config), job.target):
            return "its notebook was executed but made another run than the plan expects; a parameter is missing in it"
        return reason

    def _mark(self, row: Row, outcome: Outcome) -> None:
        """Leave the row's marker, untouched where it says the same already: engines compare times."""
        path, run = self.marker(row), None if outcome.reason else self.finder.find(row.config)
        if not outcome.ok:
            path.unlink(missing_ok=True)
            return
        about: dict[str, Any] = {"name": row.name, "status": "done"}
        about |= {"status": "not run", "reason": outcome.reason} if outcome.reason else {}
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


def make_run(config: dict[str, Any], fresh: bool) -> None:
    """Make (or find) the run of a configuration, in the folders that the environment names; `fresh` makes it anew."""
    RunStore().ensure(from_dict(config, where="configuration"), wait=False, progress=False, fresh=fresh)


def keep_notebook(run: Run | None, executed: Path) -> bool:
    """Put an executed notebook into the folder of the run it shows, if there is one; returns whether there was."""
    if run is not None:
        write_atomic(run.folder / "notebook.ipynb", read_bytes(executed))
    return run is not None


def notebook_task(job: Job, *, force: bool = False, after: Sequence[str] = ()) -> Task:
    """A notebook as a piece of work, named like its target; `force` executes one that is finished."""
    name = job.target.stem

    def work() -> Outcome:
        return Outcome(name, "skipped") if not force and job.is_finished() else timed(name, lambda: run_job(job))

    return Task(name, work, after=after)


def run_jobs(
    jobs: Sequence[Job], *, workers: int = 1, force: bool = False, tell: Callable[[str], None] = print
) -> list[Outcome]:
    """Execute notebooks, `workers` at a time; outcomes come in the jobs' order.

    Raises UserError for a parameter that a notebook does not have, before the first notebook starts.
    """
    for job in jobs:
        check_parameters(load_notebook(job.source), job.parameters, job.source.name)
    return run_tasks([notebook_task(job, force=force) for job in jobs], workers, tell)


@exit_code
def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns 0, or 1 when a notebook failed, or 2 for bad input."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m oshp_lite.study.execute", description=__doc__, formatter_class=raw)
    parser.add_argument("notebooks", nargs="+", type=Path)
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--in-place", action="store_true", help="replace each notebook by its executed form")
    place.add_argument("--out", type=Path, help="folder for the executed copies")
    parser.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds per cell, 0 for no limit")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks executed at a time")
    parser.add_argument("--force", action="store_true", help="execute finished notebooks again")
    options = parser.parse_args(arguments)
    try:
        targets = [path if options.in_place else options.out / path.name for path in options.notebooks]
        jobs = [Job(*pair, timeout=options.timeout) for pair in zip(options.notebooks, targets, strict=True)]
        outcomes = run_jobs(jobs, workers=options.jobs, force=options.force)
    except KeyboardInterrupt:
        print("stopped; notebooks that were finished stay finished", file=sys.stderr)
        return 130
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
