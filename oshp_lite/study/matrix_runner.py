"""Makes the rows of the matrix: N at a time, each in a process of its own, one that fails does not stop the others.

What is done is read from the run store, never from a list of this module's own, so any number of runners may be
killed, restarted or work beside each other: a row is claimed by a lock that the kernel frees when its owner dies, a
process whose runner is gone ends itself, and a training that was cut off goes on from its last saved state.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import data_root, read_json, write_atomic, write_json_atomic
from oshp_lite.lock import Busy, locked
from oshp_lite.study.execute import Job, last_line, run_child, run_job, stop_children
from oshp_lite.study.matrix import Finder, Row
from oshp_lite.study.matrix_worker import BUSY

LOOK_AROUND = ("look-around", "exercise")
"""Tags of those cells of notebook 07 that a run of the matrix leaves out."""

AGAIN_SECONDS = 2.0
"""Pause before asking again for rows that another process is making."""


@dataclass(frozen=True)
class Ending:
    """How a row ended: "made", "found" (it was there), "not run" (it cannot be, here) or "failed", and why."""

    row: Row
    status: str
    seconds: float = 0.0
    reason: str = ""


@dataclass
class Runner:
    """Makes rows.

    folder    receives the markers of finished rows and what failed rows leave behind
    notebook  notebook 07, executed for each run; None: the run store alone
    limit     seconds a row may take, 0 for no limit
    worker    module that makes a row without a notebook; a seam for tests
    """

    folder: Path
    profile: str
    finder: Finder = field(default_factory=Finder)
    notebook: Path | None = None
    limit: float = 0
    threads: int = 1
    overrides: Sequence[str] = ()
    tell: Callable[[str], None] = print
    slots: threading.Semaphore | None = None
    worker: str = "oshp_lite.study.matrix_worker"

    def run(self, rows: Sequence[Row], jobs: int = 1) -> list[Ending]:
        """Make all rows, `jobs` at a time, in order where initialisations allow it; endings in the rows' order."""
        queue = _Queue(rows)
        threads = [threading.Thread(target=self._work, args=(queue,), daemon=True) for _ in range(max(1, jobs))]
        for thread in threads:
            thread.start()
        try:
            while any(thread.is_alive() for thread in threads):
                for thread in threads:
                    thread.join(0.2)
        except BaseException:
            queue.stop()
            stop_children()
            raise
        if queue.broken is not None:
            raise queue.broken
        return [queue.ended[row.name] for row in rows]

    def _work(self, queue: _Queue) -> None:
        while True:
            try:
                row = queue.take()
                if row is None:
                    return
                ending = self._one(row)
            except Busy:
                queue.later(row)
                continue
            except BaseException as error:
                queue.broken = error
                queue.stop()
                return
            self._note(ending)
            queue.done(ending)

    def _one(self, row: Row) -> Ending:
        """Find or make one row. Raises Busy while another process makes it."""
        if row.reason:
            return Ending(row, "not run", reason=row.reason)
        started = time.monotonic()
        try:
            with locked(self.finder.store.root / ".locks" / f"matrix-{row.name}.lock", row.name, wait=False):
                if self.is_done(row):
                    return Ending(row, "found")
                with self.slots or contextlib.nullcontext():
                    self.tell(f"begun    {row.name}")
                    reason = self._executed(row) if self.notebook and row.key else self._made(row)
        except Busy:
            raise
        except (UserError, OSError) as error:
            reason = str(error)
        status = "failed" if reason else "made"
        return Ending(row, status, time.monotonic() - started, reason)

    def is_done(self, row: Row) -> bool:
        """True when the store holds the finished run (and its executed notebook, where notebooks are asked for)."""
        found = self.finder.find(row.config)
        return found is not None and (self.notebook is None or row.key is None or found.notebook is not None)

    def _made(self, row: Row) -> str:
        """Have the worker make the run; returns why it failed, or nothing."""
        store, data = self.finder.store, self.finder.data
        order = {"config": row.config.as_dict(), "runs": str(store.root), "data": str(data) if data else None}
        code, told = run_child(order, self._environment(), limit=self.limit, module=self.worker)
        if code == BUSY:
            raise Busy(last_line(told))
        kept = self.folder / f"{row.name}.failed.txt"
        if code == 0:
            kept.unlink(missing_ok=True)
            return ""
        with contextlib.suppress(UserError):
            write_atomic(kept, told.encode())
        return last_line(told) if code > 0 else f"the process was ended by signal {-code}"

    def _executed(self, row: Row) -> str:
        """Execute notebook 07 for the run and leave it in the run's folder; returns why it failed, or nothing."""
        assert row.key is not None
        assert self.notebook is not None
        key, target = row.key, self.folder / f"{row.name}.ipynb"
        settings = [*self._settings(row), *self.overrides]
        job = Job(
            source=self.notebook,
            target=target,
            parameters={
                "profile": self.profile,
                "dataset": key.dataset,
                "fold": key.fold,
                "way": key.way,
                "method": key.method,
                "seed": key.seed,
                "overrides": settings,
            },
            timeout=0,
            limit=self.limit,
            environment=self._environment(),
            without=LOOK_AROUND,
        )
        outcome = run_job(job, force=True)
        run = self.finder.find(row.config)
        if not outcome.ok:
            return outcome.reason
        if run is None:
            return (
                "its notebook was executed but made another run than the matrix expects; a parameter is missing in it"
            )
        _leave(target, run)
        return ""

    def _settings(self, row: Row) -> list[str]:
        """Return those settings of a row that notebook 07 does not set by parameters of their own."""
        from oshp_lite.study.experiments import overrides_of

        assert row.key is not None
        known = ("data.fold=", "model.method=", "train.seed=")
        told = [item for item in overrides_of(row.key, self.profile) if not item.startswith(known)]
        return [*told, f"train.eval_every={row.config.train.eval_every}"]

    def _environment(self) -> dict[str, str]:
        return {
            "OMP_NUM_THREADS": str(self.threads),
            "OSHP_RUNS": str(self.finder.store.root),
            "OSHP_DATA": str(data_root(self.finder.data)),
        }

    def _note(self, ending: Ending) -> None:
        """Tell how a row ended, and leave its marker; a full disk must not end the runner."""
        tail = f"  {ending.reason}" if ending.reason else ""
        self.tell(f"{ending.status:8s} {ending.row.name}{_seconds(ending.seconds)}{tail}")
        with contextlib.suppress(UserError, OSError):
            if ending.status == "failed":
                self.marker(ending.row).unlink(missing_ok=True)
            else:
                self._mark(ending)

    def _mark(self, ending: Ending) -> None:
        """Leave the row's marker, untouched where it says the same already: engines compare times."""
        found = None if ending.status == "not run" else self.finder.find(ending.row.config)
        told: dict[str, object] = {"name": ending.row.name, "status": "not run" if ending.reason else "done"}
        told |= {"reason": ending.reason} if ending.reason else {}
        told |= {"run": found.folder.name, "seconds": found.seconds} if found else {}
        path = self.marker(ending.row)
        try:
            same = read_json(path) == told
        except UserError:
            same = False
        if not same:
            write_json_atomic(path, told)

    def marker(self, row: Row) -> Path:
        """The file that says a row is finished, for engines that watch files."""
        return self.folder / f"{row.name}.done.json"


def _leave(executed: Path, run: Run) -> None:
    """Put the executed notebook into the folder of the run it shows."""
    partial = run.folder / "notebook.ipynb.partial"
    shutil.copyfile(executed, partial)
    os.replace(partial, run.folder / "notebook.ipynb")


def _seconds(seconds: float) -> str:
    return f"  {seconds:.0f} s" if seconds >= 0.5 else ""


class _Queue:
    """Rows that wait, are being made, and have ended; shared by the runner's threads."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.waiting = list(rows)
        self.names = {row.name for row in rows}
        self.ended: dict[str, Ending] = {}
        self.broken: BaseException | None = None
        self._elsewhere: dict[str, float] = {}
        self._stopped = False
        self._changed = threading.Condition()

    def take(self) -> Row | None:
        """Return the first row that can be begun, waiting for one; None when nothing is left."""
        with self._changed:
            while self.waiting and not self._stopped:
                self._skip_hopeless()
                now = time.monotonic()
                for row in self.waiting:
                    free = self._elsewhere.get(row.name, 0.0) <= now
                    if free and all(name in self.ended or name not in self.names for name in row.needs):
                        self.waiting.remove(row)
                        return row
                self._changed.wait(0.2)
            return None

    def _skip_hopeless(self) -> None:
        for row in list(self.waiting):
            failed = [name for name in row.needs if name in self.ended and self.ended[name].status == "failed"]
            if failed:
                self.waiting.remove(row)
                reason = f"its initialisation {failed[0]} failed: {self.ended[failed[0]].reason}"
                self.ended[row.name] = Ending(row, "failed", reason=reason)

    def later(self, row: Row | None) -> None:
        """Put a row back that another process is making."""
        with self._changed:
            if row is not None:
                self._elsewhere[row.name] = time.monotonic() + AGAIN_SECONDS
                self.waiting.insert(0, row)

    def done(self, ending: Ending) -> None:
        """Note how a row ended."""
        with self._changed:
            self.ended[ending.row.name] = ending
            self._changed.notify_all()

    def stop(self) -> None:
        """Begin no further row."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
