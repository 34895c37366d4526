"""One owner at a time, across processes: a lock that the kernel releases when its owner dies."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from oshp_lite.errors import UserError
from oshp_lite.files import cannot_write


class Busy(UserError):
    """Another process owns what is wanted, and waiting was not."""


@contextlib.contextmanager
def locked(
    path: Path, what: str, *, wait: bool = True, tell: Callable[[str], None] | None = None, pause: float = 0.2
) -> Iterator[bool]:
    """Hold the lock file `path`; yields True when another process held it first (so look again at what it left).

    The file stays when the lock is free (removing it would let two owners in). `wait=False` raises Busy instead of
    waiting. The owner's process, host and start time stand beside it, in `NAME.owner`, for people to read.
    """
    lock, note, waited = FileLock(path), path.with_name(f"{path.name}.owner"), False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Busy(f"{what} is being made by {owner(path)}; wait for it or stop it") from None
            if tell is not None:
                tell(f"waiting: {what} is being made by {owner(path)}")
            waited = True
            lock.acquire(poll_interval=pause)
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        with contextlib.suppress(OSError):  # for people only; a full disk must not keep anyone from owning
            since = time.strftime("%Y-%m-%d %H:%M:%S")
            note.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})", encoding="utf-8")
        yield waited
    finally:
        with contextlib.suppress(OSError):
            note.unlink()
        lock.release()


def owner(path: Path) -> str:
    """Say who holds the lock."""
    try:
        return path.with_name(f"{path.name}.owner").read_text(encoding="utf-8") or "another process"
    except (OSError, ValueError):
        return "another process"
