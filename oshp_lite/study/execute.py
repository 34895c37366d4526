"""Execute notebooks through papermill, each in a process of its own, and judge them by what really happened.

    python -m oshp_lite.study.execute --in-place notebooks/03_prototype_math.ipynb
    python -m oshp_lite.study.execute --in-place notebooks/07_train_and_evaluate.ipynb -p profile=smoke
    python -m oshp_lite.study.execute --out /some/folder notebooks/0*.ipynb -p profile=smoke --jobs 2

`--in-place` makes the outputs that are committed: it runs the notebook from top to bottom, joins streams, drops widget
views and papermill's metadata, stores the hash of each code cell's source in the cell's metadata (`oshp.source_sha`),
and replaces the file only when every cell succeeded. There `-p name=value` replaces the literal in the parameters
cell itself, so the notebook shows what it ran with. With `--out` the source stays as it is, papermill adds its
"injected-parameters" cell, and a notebook that is finished already (same source, parameters and code) is skipped.

Why a process each: a kernel that dies, hangs or fills the memory takes one notebook with it, not the batch.
Why not trust papermill's metadata: after a cell time-out it still says "completed"; so a notebook counts as done when
its process left with 0 and no error is among its outputs, and only then its done marker is written.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import PACKAGE_PARENT, sha256_json, write_json_atomic
from oshp_lite.study.notebooks import (
    check_parameters,
    error_outputs,
    load_notebook,
    notebook_sha,
    parse_parameters,
    save_notebook,
    source_of,
    tidy,
    with_defaults,
    without_cells,
)

OVERTIME = 124
"""Exit code of a process that was ended because it took too long (as `timeout` tells it)."""

CELL_TIMEOUT = 1800
"""Seconds a single cell may take unless told otherwise."""


@dataclass(frozen=True)
class Job:
    """One notebook to execute: where from, where to, with which values.

    `identity` is what else its outputs depend on (code and data fingerprints); `timeout` is seconds per cell and
    `limit` seconds for all, 0 for none. Cells with a tag in `without` are left out. The kernel works in `cwd`, by
    default the source notebook's folder, as in JupyterLab.
    """

    source: Path
    target: Path
    parameters: dict[str, Any] = field(default_factory=dict)
    timeout: int = CELL_TIMEOUT
    identity: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path | None = None
    limit: float = 0
    without: tuple[str, ...] = ()

    @property
    def in_place(self) -> bool:
        """True when the notebook's own file is to receive the outputs."""
        return self.source.resolve() == self.target.resolve()

    @property
    def marker(self) -> Path:
        """The file that says the target is finished, and for which key."""
        return self.target.with_suffix(".done.json")

    @property
    def failed(self) -> Path:
        """Where the outputs of a failed execution are kept for reading."""
        return self.target.with_name(f"{self.target.stem}.failed.ipynb")

    def notebook(self) -> dict[str, Any]:
        """The source without the cells that are left out."""
        return without_cells(load_notebook(self.source), self.without)

    def key(self) -> str:
        """Hash of all that decides the outputs: the source's cells, the parameters, the code, the data."""
        cells = notebook_sha(self.notebook())
        return str(sha256_json({"cells": cells, "parameters": self.parameters, "identity": self.identity}))


@dataclass(frozen=True)
class Outcome:
    """How a notebook's execution ended: `done`, `skipped` (finished before) or `failed` with the reason."""

    job: Job
    status: str
    seconds: float = 0.0
    reason: str = ""

    @property
    def ok(self) -> bool:
        """True unless it failed."""
        return self.status != "failed"


def is_finished(job: Job) -> bool:
    """True when the target was made from the present source, parameters, code and data, and is still there."""
    if job.in_place or not job.target.is_file():
        return False
    try:
        told = json.loads(job.marker.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError):
        return False
    return bool(told.get("key") == job.key())


def run_job(job: Job, *, force: bool = False) -> Outcome:
    """Execute one notebook in a child process, unless it is finished. Raises UserError for bad parameters only."""
    source = job.notebook()
    parameters = check_parameters(source, job.parameters, job.source.name)
    if not force and is_finished(job):
        return Outcome(job, "skipped")
    key, started = job.key(), time.monotonic()
    with contextlib.suppress(FileNotFoundError):
        job.marker.unlink()
    with tempfile.TemporaryDirectory(prefix="oshp-notebook-") as scratch:
        made = Path(scratch) / "made.ipynb"
        given = Path(scratch) / "given.ipynb"
        save_notebook(given, with_defaults(source, parameters) if job.in_place else source)
        order = {
            "input_path": str(given),
            "output_path": str(made),
            "parameters": {} if job.in_place else parameters,
            "cwd": str((job.cwd or job.source.parent).resolve()),
            "execution_timeout": job.timeout or None,
            "kernel_name": "python3",
            "progress_bar": False,
            "log_output": False,
        }
        code, told = run_child(order, job.environment, limit=job.limit)
        if code > 0 and not _any_cell_ran(made):
            # two kernels that start at the same moment can choose the same port; the second try is alone
            code, told = run_child(order, job.environment, limit=job.limit)
        return _judge(job, key, made, code, told, time.monotonic() - started)


def run_jobs(
    jobs: Sequence[Job],
    *,
    workers: int = 1,
    force: bool = False,
    tell: Callable[[Outcome], None] | None = None,
    slots: threading.Semaphore | None = None,
) -> list[Outcome]:
    """Execute notebooks, `workers` at a time; one that fails does not stop the others. Outcomes come in jobs' order.

    `slots` are places on the machine shared with other work of the caller: each notebook holds one while it runs.
    All parameters are checked before the first notebook starts, so a misspelt name costs no time (UserError).
    """
    for job in jobs:
        check_parameters(load_notebook(job.source), job.parameters, job.source.name)
    outcomes: dict[int, Outcome] = {}

    def one(job: Job) -> Outcome:
        with slots or contextlib.nullcontext():
            return run_job(job, force=force)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        waiting = {pool.submit(one, job): position for position, job in enumerate(jobs)}
        try:
            for future in as_completed(waiting):
                outcome = future.result()
                outcomes[waiting[future]] = outcome
                if tell is not None:
                    tell(outcome)
        except BaseException:
            for future in waiting:
                future.cancel()
            stop_children()
            raise
    return [outcomes[position] for position in range(len(jobs))]


def _judge(job: Job, key: str, made: Path, code: int, told: str, seconds: float) -> Outcome:
    """Decide by exit code and error outputs; put the executed notebook where it belongs."""
    if not made.is_file():
        return Outcome(job, "failed", seconds, last_line(told) or f"the process left with {code} before any cell ran")
    executed = tidy(load_notebook(made))
    errors = error_outputs(executed)
    if code == 0 and not errors:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        save_notebook(job.target, executed)
        with contextlib.suppress(FileNotFoundError):
            job.failed.unlink()
        if not job.in_place:
            write_json_atomic(
                job.marker,
                {"key": key, "seconds": round(seconds, 1), "parameters": job.parameters, "identity": job.identity},
            )
        return Outcome(job, "done", seconds)
    if not job.in_place:
        job.target.parent.mkdir(parents=True, exist_ok=True)
        save_notebook(job.failed, executed)
    return Outcome(job, "failed", seconds, _reason(executed, errors, code, told))


def _any_cell_ran(made: Path) -> bool:
    return made.is_file() and any(cell.get("execution_count") for cell in load_notebook(made)["cells"])


def _reason(executed: dict[str, Any], errors: list[tuple[int, str]], code: int, told: str) -> str:
    if code == OVERTIME:
        return last_line(told)
    if errors:
        position, error = errors[0]
        first = next((line for line in source_of(executed["cells"][position]).splitlines() if line.strip()), "")
        return f"cell {position} ({first.strip()[:60]}): {error[:300]}"
    if code < 0:
        return f"the process was ended by signal {-code}"
    return last_line(told) or f"the process left with {code}"


def last_line(text: str) -> str:
    """The line of a process's output that says most: the last with an error's name in it, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line]
    return (named or lines or [""])[-1][:300]


_CHILDREN: set[subprocess.Popen[str]] = set()


def stop_children() -> None:
    """End the notebook processes this process started (their kernels notice and leave within seconds)."""
    for child in list(_CHILDREN):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)


def run_child(
    order: dict[str, Any], environment: dict[str, str], *, limit: float = 0, module: str = "oshp_lite.study.execute"
) -> tuple[int, str]:
    """Have `python -m module --order` obey in a new process; returns its exit code and what it said.

    It is ended when it takes more than `limit` seconds (0: none; the code is then OVERTIME), and it ends itself when
    this process dies, whatever killed it: its standard input is a pipe that only this process holds open.
    """
    paths = [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]
    settings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in paths if path),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        **environment,
    }
    watched, held = os.pipe()
    try:
        child = subprocess.Popen(
            [sys.executable, "-m", module, "--order", json.dumps(order)],
            env=settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=watched,
            text=True,
            errors="replace",
            start_new_session=True,  # so that the whole group can be ended, and Ctrl-C reaches us first
        )
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(watched)
    _CHILDREN.add(child)
    try:
        told, _ = child.communicate(timeout=limit or None)
    except subprocess.TimeoutExpired:
        told = _end(child) + f"\nit took longer than {limit:.0f} seconds and was ended"
        return OVERTIME, told
    finally:
        _CHILDREN.discard(child)
        os.close(held)
    return child.returncode, told


def _end(child: subprocess.Popen[str]) -> str:
    """End a process and its group, first politely; returns what it said."""
    told = ""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            told, _ = child.communicate(timeout=10)
            break
    return told


def leave_with_parent() -> None:
    """End this process and its group as soon as the one that started it (by `run_child`) is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _obey(order: dict[str, Any]) -> int:
    """The child's part: hand the order to papermill. A failing cell raises, which makes the exit code non-zero."""
    import papermill

    try:
        papermill.execute_notebook(**order)
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else ''}")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m oshp_lite.study.execute",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("notebooks", nargs="*", type=Path)
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--in-place", action="store_true", help="replace each notebook by its executed form")
    place.add_argument("--out", type=Path, help="folder for the executed copies")
    parser.add_argument("-p", "--parameter", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--timeout", type=int, default=CELL_TIMEOUT, help="seconds per cell, 0 for no limit")
    parser.add_argument("--jobs", type=int, default=1, help="notebooks executed at a time")
    parser.add_argument("--force", action="store_true", help="execute finished notebooks again")
    parser.add_argument("--order", help=argparse.SUPPRESS)
    return parser


def _announce(outcome: Outcome) -> None:
    tail = f": {outcome.reason}" if outcome.reason else ""
    print(f"{outcome.status:8s} {outcome.seconds:6.1f} s  {outcome.job.source.name}{tail}", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line of this module; returns 0, or 1 when a notebook failed, or 2 for bad input."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.order:
        leave_with_parent()
        return _obey(json.loads(options.order))
    if not options.notebooks:
        parser.error("name at least one notebook")
    if not options.in_place and options.out is None:
        parser.error("say --in-place or --out FOLDER")
    try:
        jobs = [
            Job(
                source=path,
                target=path if options.in_place else options.out / path.name,
                parameters=parse_parameters(load_notebook(path), options.parameter, path.name),
                timeout=options.timeout,
            )
            for path in options.notebooks
        ]
        outcomes = run_jobs(jobs, workers=options.jobs, force=options.force, tell=_announce)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; notebooks that were finished stay finished", file=sys.stderr)
        return 130
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
