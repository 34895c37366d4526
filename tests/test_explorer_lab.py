"""Notebook 11 in JupyterLab: run all, then the lens follows pointer, keys and sliders, and the kernel hears of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from patience import scrolled_to, seen
from test_browser import lab, page, pytestmark  # noqa: F401  (fixtures and marks)

PIXELS = """image => {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL();
}"""
"""What a picture shows; its address changes with every message."""
CLASHES = """tools => {
  const boxes = [...tools.children].map(one => one.getBoundingClientRect()), room = tools.getBoundingClientRect();
  const apart = (a, b) => a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top;
  const wrong = (a, i) => a.right > room.right + 1 || boxes.some((b, k) => k > i && !apart(a, b));
  const words = [...tools.querySelectorAll("label, .widget-readout")];
  return boxes.filter(wrong).length + words.filter(one => one.scrollWidth > one.clientWidth + 1).length;
}"""
"""How many controls overlap, stick out or have words that are cut."""


def test_the_lens_of_notebook_11_follows_the_hand(lab: str, page: Any, tmp_path: Path) -> None:  # noqa: F811
    pytest.importorskip("anywidget")
    notebook = tmp_path / "notebooks" / "11_inspect.ipynb"
    text = notebook.read_text(encoding="utf-8")
    notebook.write_text(text.replace('profile = \\"quick\\"', 'profile = \\"smoke\\"'), encoding="utf-8")
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

    def drawn() -> str:
        return str(lens.locator("canvas").nth(1).evaluate("one => one.toDataURL()"))

    pinned = bars()
    assert seen(lambda: bars() != pinned, lambda: canvas.hover(position={"x": 5, "y": 5}))
    assert seen(lambda: bars() == pinned, lambda: page.mouse.move(2, 2))
    canvas.focus()
    assert seen(lambda: bars() != pinned, lambda: canvas.press("ArrowUp"))
    slider = lens.get_by_label("momentum α")
    assert slider.is_enabled()
    lens.get_by_label("class").first.select_option(label="upper-clothes")  # one that the network remembers
    before, picture = bars(), drawn()

    def drag() -> None:
        box = slider.bounding_box()
        page.mouse.move(box["x"] + 0.9 * box["width"], box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()

    assert seen(lambda: bars() != before and drawn() != picture, drag), "the mouse moves the slider, the map follows"
    said = lens.locator("label:has(input[type=range]) output").first
    alpha = said.inner_text()
    assert seen(lambda: said.inner_text() != alpha, lambda: slider.press("ArrowLeft")), "so do its keys"

    # the first explorer's pictures are drawn by the kernel, which hears of a slider once all cells have run
    page.evaluate("() => window.jupyterapp.shell.currentWidget.content.scrollToItem(5)")
    episodes = page.locator(".jupyter-widgets:has(.widget-gridbox)").first
    assert episodes.locator(".widget-gridbox").evaluate(CLASHES) == 0
    picture, opacity = episodes.locator("img"), episodes.locator(".noUi-handle")
    shown = picture.evaluate(PIXELS)
    opacity.press("ArrowLeft")
    assert seen(lambda: picture.evaluate(PIXELS) != shown, seconds=600), "the kernel draws another opacity"
    support = scrolled_to(page, ".jupyter-widgets select[multiple]")
    assert support.count(), "the last explorer is there: every cell has run"
    assert not page.locator(".jp-OutputArea-output[data-mime-type$='error']").count()
    assert not page.asked, f"asked the network for {page.asked}"
