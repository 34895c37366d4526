"""Waiting for what a browser shows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def seen(what: Callable[[], bool], act: Callable[[], Any] = lambda: None, seconds: float = 60) -> bool:
    """Whether an act shows within a time: JupyterLab moves a widget while cells below it still run, so act again."""
    limit = time.monotonic() + seconds
    while True:
        act()
        if what():
            return True
        if time.monotonic() > limit:
            return False
        time.sleep(0.2)
