"""One owner at a time, across processes: a lock the kernel releases when its owner dies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from oshp_lite.errors import UserError
from oshp_lite.files import cannot_write


class Busy(UserError):
    """Another process owns what was asked for, and waiting was not wanted."""


@contextlib.contextmanager
def locked(
    path: Path, what: str, *, wait: bool = True, tell: Callable[[str], None] | None = None, pause: float = 0.2
) -> Iterator[bool]:
    """Hold the lock file `path`; yields True when another process held it first (so look again at what it left).

    The lock is `flock`: it belongs to the open file, so a killed owner's lock is free at once and no stale file can
    block anyone; the file itself stays (removing it would let two owners in). `wait=False` raises Busy instead of
    waiting. The owner's process, host and start time stand in the file for people to read.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise cannot_write(path, error) from None
    with handle:
        waited = False
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not wait:
                    raise Busy(f"{what} is being made by {owner(path)}; wait for it or stop it") from None
                if not waited and tell is not None:
                    tell(f"waiting: {what} is being made by {owner(path)}")
                waited = True
                time.sleep(pause)
        told = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        with contextlib.suppress(OSError):  # for people only; a full disk must not keep anyone from owning
            os.ftruncate(handle.fileno(), 0)
            os.write(handle.fileno(), json.dumps(told).encode())
        try:
            yield waited
        finally:
            with contextlib.suppress(OSError):
                os.ftruncate(handle.fileno(), 0)
            fcntl.flock(handle, fcntl.LOCK_UN)


def owner(path: Path) -> str:
    """Who holds the lock, in words."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return f"process {told['pid']} on {told['host']} (since {told['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
