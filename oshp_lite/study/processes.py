"""Work in a process of its own: one run, one notebook, or what a score is compared with.

A process each, since a kernel or a training that dies, hangs or fills the memory then takes one piece of work with it.
(`concurrent.futures` has processes too, but one that is killed breaks its whole pool, and none can be given a limit.)
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import PACKAGE_PARENT
from oshp_lite.lock import Busy

BUSY = 75
"""Exit code of work that another process is doing (EX_TEMPFAIL)."""

OVERTIME = 124
"""Exit code of a process that was ended because it took too long (the code of `timeout`)."""

_CHILDREN: set[subprocess.Popen[str]] = set()


def run_child(
    order: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    limit: float = 0,
    module: str = "oshp_lite.study.processes",
) -> tuple[int, str]:
    """Have `python -m module` carry out an order in a new process; returns its exit code and what it printed.

    It is ended when it takes more than `limit` seconds (0: none; the code is then OVERTIME), and it ends itself when
    this process dies, whatever killed it: its standard input is a pipe that only this process holds open.
    """
    settings = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")])),
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
        text, _ = child.communicate(timeout=limit or None)
    except subprocess.TimeoutExpired:
        return OVERTIME, _end(child) + f"\nit took longer than {limit:.0f} seconds and was ended"
    finally:
        _CHILDREN.discard(child)
        os.close(held)
    return child.returncode, text


def _end(child: subprocess.Popen[str]) -> str:
    """End a process and its group, first politely; returns what it printed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(timeout=10)[0]
    return ""


def stop_children() -> None:
    """End the processes that `run_child` started (kernels notice and leave within seconds)."""
    for child in list(_CHILDREN):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGTERM)


def reason_of(code: int, text: str) -> str:
    """Say why a process failed: its signal, or the line it printed that says most (the last with an error's name)."""
    if code < 0:
        return f"the process was ended by signal {-code}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line] if code != OVERTIME else []
    return (named or lines or [f"the process left with {code}"])[-1][:300]


# ------------------------------------------------------------------------------------------- in the child


def leave_with_parent() -> None:
    """End this process and its group as soon as the one that started it (by `run_child`) is gone."""

    def watch() -> None:
        with contextlib.suppress(OSError):
            os.read(0, 1)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def carry_out(order: Mapping[str, Any]) -> int:
    """Do what one of the functions below does with the order's values; returns the exit code.

    0 done; 1 a notebook's cell failed; 2 refused with a sentence; 75 another process is doing it.
    """
    values = dict(order)
    kinds: dict[str, Callable[..., int]] = {
        "run": make_run,
        "notebook": execute_notebook,
        "references": refer,
    }
    try:
        return kinds[values.pop("kind")](**values)
    except Busy as error:
        print(error)
        return BUSY
    except UserError as error:
        print(f"Error: {error}")
        return 2


def make_run(config: dict[str, Any], runs: str, data: str | None, fresh: bool = False) -> int:
    """Make (or find) the run of a configuration in the folder `runs`; `fresh` makes it anew."""
    from oshp_lite.engine.config import from_dict
    from oshp_lite.engine.runs import RunStore

    wanted = from_dict(config, where="configuration")
    run = RunStore(Path(runs)).ensure(wanted, data, wait=False, progress=False, fresh=fresh)
    print(run.folder.name)
    return 0


def execute_notebook(**values: Any) -> int:
    """Hand a notebook to papermill; whatever goes wrong in it is one line and exit code 1."""
    import papermill

    try:
        papermill.execute_notebook(**values)
    except Exception as error:
        print(f"{type(error).__name__}: {str(error).strip().splitlines()[-1] if str(error).strip() else ''}")
        return 1
    return 0


def refer(
    profile: str, dataset: str, fold: int, way: str, overrides: list[str], what: str, runs: str, data: str
) -> int:
    """Make the ceiling ("ceiling") or the trivial baselines ("baselines") of a dataset, fold and way."""
    from oshp_lite.engine.presets import load_profile
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.study import references

    config, store = (
        load_profile(profile, [f"data.fold={fold}", *overrides], dataset=dataset, way=way),
        RunStore(Path(runs)),
    )
    if what == "ceiling":
        top = references.ceiling_config(profile, dataset, fold, overrides)
        references.ceiling_scores(config, top, data, store=store, progress=False)
    else:
        references.baseline_scores(config, references.TRIVIAL, data, store=store, progress=False)
    return 0


def main() -> int:
    """Carry out the order that stands behind `--order` on the command line."""
    leave_with_parent()
    return int(carry_out(json.loads(sys.argv[sys.argv.index("--order") + 1])))


if __name__ == "__main__":
    sys.exit(main())
