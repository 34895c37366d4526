"""Notebook 11 in JupyterLab: run all, then the lens follows pointer, keys and sliders, and the kernel hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from patience import scrolled_to, seen
from test_browser import lab, page, pytestmark  # noqa: F401  (fixtures and marks)


def test_the_lens_of_notebook_11_follows_the_hand(lab: str, page: Any) -> None:  # noqa: F811
    pytest.importorskip("anywidget")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/11_inspect.ipynb?token=T&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function("() => document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    canvas = scrolled_to(page, ".jupyter-widgets .oshp canvas[tabindex]")
    lens = page.locator(".jupyter-widgets .oshp").first
    numbers = "all => all.map(one => one.textContent)"

    def bars() -> list[str]:
        return list(lens.locator(".num").evaluate_all(numbers))

    pinned = bars()
    assert seen(lambda: bars() != pinned, lambda: canvas.hover(position={"x": 5, "y": 5}))
    assert seen(lambda: bars() == pinned, lambda: page.mouse.move(2, 2))
    canvas.focus()
    assert seen(lambda: bars() != pinned, lambda: canvas.press("ArrowUp"))
    before = bars()
    slider = lens.get_by_label("momentum α")
    assert slider.is_enabled()
    slider.fill("0.2")
    assert seen(lambda: bars() != before)
    support = scrolled_to(page, ".jupyter-widgets input[type=number] >> nth=-1")
    assert support.count()
    assert not page.asked, f"asked the network for {page.asked}"
