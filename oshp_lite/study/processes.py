"""Work in a process of its own: a kernel or a training that dies, hangs or fills the memory takes nothing else along.

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
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from oshp_lite.errors import UserError
from oshp_lite.files import PACKAGE_PARENT
from oshp_lite.lock import Busy

BUSY = 75
"""Exit code of work that another process is doing (EX_TEMPFAIL)."""

OVERTIME = 124
"""Exit code of a process that was ended because it took too long (the code of `timeout`)."""

_CHILDREN: set[subprocess.Popen[str]] = set()


class Ended(NamedTuple):
    """How a process ended: its exit code (see `main`), negative for a signal, and what it printed."""

    code: int
    text: str

    @property
    def reason(self) -> str:
        """Why it failed: its signal, or the line that says most (the last with an error's name); "" if it did not."""
        if self.code <= 0:
            return f"the process was ended by signal {-self.code}" if self.code else ""
        lines = [line.strip() for line in self.text.splitlines() if line.strip()]
        named = [line for line in lines if "Error" in line] if self.code != OVERTIME else []
        return (named or lines or [f"the process left with {self.code}"])[-1][:300]


def run_child(
    order: Mapping[str, Any],
    environment: Mapping[str, str],
    *,
    limit: float = 0,
    module: str = "oshp_lite.study.processes",
) -> Ended:
    """Call a function in a new process.

    order  "work": the function as "module:name"; all else are its arguments
    limit  seconds after which it is ended, the code is then OVERTIME; 0 for none

    It ends itself when this process dies, whatever killed it: its standard input is a pipe that only this process
    holds open.
    """
    search = os.pathsep.join(filter(None, [str(PACKAGE_PARENT), os.environ.get("PYTHONPATH", "")]))
    watched, held = os.pipe()
    with open(watched, "rb") as stdin, open(held, "wb"):
        child = subprocess.Popen(
            [sys.executable, "-m", module, "--order", json.dumps(order)],
            env={**os.environ, "PYTHONPATH": search, **environment},
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # so that the whole group can be ended, and Ctrl-C reaches us first
        )
        _CHILDREN.add(child)
        try:
            text, _ = child.communicate(timeout=limit or None)
            return Ended(child.returncode, text)
        except subprocess.TimeoutExpired:
            return Ended(OVERTIME, _end(child) + f"\nit took longer than {limit:.0f} seconds and was ended")
        finally:
            _CHILDREN.discard(child)


def _signal(child: subprocess.Popen[str], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)


def _end(child: subprocess.Popen[str]) -> str:
    """End a process and its group, first politely; returns what it printed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        _signal(child, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.communicate(timeout=10)[0]
    return ""


def stop_children() -> None:
    """End the processes that `run_child` started (kernels notice and leave within seconds)."""
    for child in list(_CHILDREN):
        _signal(child, signal.SIGTERM)


def _leave_with_parent() -> None:
    with contextlib.suppress(OSError):
        os.read(0, 1)
    os.killpg(os.getpgid(0), signal.SIGKILL)


def main() -> int:
    """Carry out the order on the command line: 0 done, 1 an error, 2 refused with a sentence, 75 BUSY."""
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    order = json.loads(sys.argv[sys.argv.index("--order") + 1])
    module, _, name = order.pop("work").partition(":")
    try:
        getattr(import_module(module), name)(**order)
    except UserError as error:
        print(error if isinstance(error, Busy) else f"Error: {error}")
        return BUSY if isinstance(error, Busy) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
