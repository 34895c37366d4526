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


def scrolled_to(page: Any, what: str, seconds: float = 900) -> Any:
    """Scroll down until an element is there: the notebook draws only the cells in view, and these once they ran."""
    limit, target = time.monotonic() + seconds, page.locator(what).first
    while not target.count():
        assert time.monotonic() < limit, f"no {what} appeared"
        page.locator(".jp-WindowedPanel-outer, .jp-Notebook").first.hover()
        page.mouse.wheel(0, 500)
        page.wait_for_timeout(300)
    target.scroll_into_view_if_needed()
    return target
