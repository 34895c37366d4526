"""The painter of notebook 12 in JupyterLab: a lasso drawn with the mouse is the mask that is saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from patience import scrolled_to
from test_browser import lab, page, pytestmark  # noqa: F401  (fixtures and marks)

from oshp_lite.files import read_mask

CORNERS = [(40.3, 30.7), (88.4, 33.2), (92.6, 70.3), (66.1, 58.4), (38.2, 81.9)]
"""Corners of the lasso in the photo's pixels, none on a pixel's centre; the outline is not convex."""


MODEL = """
const values = VALUES, listeners = {};
window.sent = [];
window.model = {
  get: (name) => values[name],
  set(name, value) {
    values[name] = value;
    window.sent.push([name, value instanceof DataView ? [...new Float32Array(value.buffer)] : value]);
    for (const heard of listeners[`change:${name}`] || []) heard();
  },
  save_changes() {},
  on: (names, heard) => names.split(" ").forEach((name) => (listeners[name] = [...(listeners[name] || []), heard])),
};
"""


def wanted_mask(points: np.ndarray, high: int = 128, wide: int = 128) -> np.ndarray:
    """The pixels whose centres a closed outline holds, by matplotlib."""
    rows, columns = np.mgrid[:high, :wide] + 0.5
    return Outline(points).contains_points(np.stack([columns.ravel(), rows.ravel()], 1)).reshape(high, wide)


def test_what_the_mouse_and_the_keys_do_on_a_plain_page(tmp_path: Path, page: Any) -> None:  # noqa: F811
    """The painter's own script with a stand-in for the kernel: each stroke is sent once, with every corner."""
    from oshp_lite.book.widgets import painter

    folder = Path(painter.__file__).parent
    picture = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
    classes = [{"name": "top", "colour": "#e63c3c"}, {"name": "bag", "colour": "#3278dc"}]
    values = {"label": "Support", "size": [128, 128], "width": 384, "photo": picture, "overlay": picture}
    values |= {"classes": classes, "current": 0, "named": True, "most": 12, "key": "s"}
    script = (folder / "painter.js").read_text(encoding="utf-8").replace("export default", "window.painter =")
    style = (folder / "painter.css").read_text(encoding="utf-8")
    start = "window.painter.render({ model: window.model, el: document.body });"
    model = MODEL.replace("VALUES", json.dumps(values))
    page_file = tmp_path / "page.html"
    page_file.write_text(f'<style>{style}</style><body></body><script type="module">{model}{script}{start}</script>')
    page.set_viewport_size({"width": 800, "height": 700})
    problems: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.goto(page_file.as_uri())
    box = page.locator("canvas").bounding_box()
    assert box is not None
    assert (box["width"], box["height"]) == (384, 384)
    corners = [(box["x"] + 3 * x, box["y"] + 3 * y) for x, y in CORNERS]

    def drag(path: list[tuple[float, float]]) -> None:
        page.mouse.move(*path[0])
        page.mouse.down()
        for corner in path[1:]:
            page.mouse.move(*corner)
        page.mouse.up()

    def strokes() -> list[painter.Stroke]:
        sent = [value for name, value in page.evaluate("window.sent") if name == "stroke"]
        return [painter.Stroke.from_bytes(np.array(numbers, "<f4").tobytes()) for numbers in sent]

    drag(corners)
    (lasso,) = strokes()
    assert (lasso.kind, lasso.class_id) == ("lasso", 1)
    wanted = wanted_mask(np.array(CORNERS))
    assert np.array_equal(lasso.covers((128, 128)), wanted), f"{(lasso.covers((128, 128)) != wanted).sum()} differ"
    page.keyboard.press("2")
    page.keyboard.press("p")
    for corner in corners:
        page.mouse.click(*corner)
    assert len(strokes()) == 1, "a polygon is sent when it is closed"
    page.keyboard.press("Enter")
    polygon = strokes()[1]
    assert (polygon.kind, polygon.class_id) == ("polygon", 2)
    assert np.array_equal(polygon.covers((128, 128)), wanted)
    page.get_by_role("button", name="Brush").click()
    page.get_by_label("Brush radius").fill("9")
    drag(corners[:2])
    brush = strokes()[2]
    assert (brush.kind, brush.class_id, brush.radius) == ("brush", 2, 3.0)
    page.keyboard.press("e")
    drag(corners[2:4])
    assert strokes()[3].class_id == 0
    page.keyboard.press("z")
    assert page.evaluate("window.sent.at(-1)")[1].startswith("undo")
    page.get_by_label("Name of class 1").fill("lefty b")  # letters in a name are no commands
    page.get_by_label("Name of class 1").press("Tab")
    renamed = [value for name, value in page.evaluate("window.sent") if name == "classes"]
    assert renamed[-1][0]["name"] == "lefty b"
    assert page.locator("button[aria-pressed=true]").inner_text() == "Erase"
    every = "[...document.querySelectorAll('button, input, canvas')]"
    unnamed = page.evaluate(f"{every}.filter(one => !(one.innerText || one.ariaLabel)).length")
    assert unnamed == 0, "every control has a name"
    page.screenshot(path=str(tmp_path / "painter.png"))
    assert not problems


def test_a_lasso_drawn_in_notebook_12_is_the_saved_mask(tmp_path: Path, lab: str, page: Any) -> None:  # noqa: F811
    """Run all; a lasso drawn with the mouse is parsed from, and exported pixel by pixel."""
    pytest.importorskip("anywidget")
    page.set_viewport_size({"width": 1280, "height": 1000})
    page.goto(f"{lab}/lab/tree/12_parse_your_own.ipynb?token=T&reset")
    page.wait_for_selector(".jp-Notebook-cell")
    page.wait_for_function("document.body.innerText.includes('| Idle')")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    board = scrolled_to(page, ".oshp-painter")
    canvas, says = board.locator("canvas"), page.locator(".jupyter-widgets .widget-html-content")
    canvas.scroll_into_view_if_needed()
    board.get_by_role("button", name="Clear").click()  # the notebook has painted one stroke itself
    says.get_by_text("paint a class on the support").wait_for(timeout=600_000)
    canvas.scroll_into_view_if_needed()
    box, (wide, high) = canvas.bounding_box(), canvas.evaluate("one => [one.width, one.height]")
    assert box is not None
    assert (wide, high) == (134, 384)
    assert box["height"] == pytest.approx(1.5 * 380, abs=1), "a tall photo is scaled to fit a screen"
    cells = page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length")
    corners = [(round(box["x"] + 1.9 * x), round(box["y"] + 1.9 * y)) for x, y in CORNERS]
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner)
        page.wait_for_timeout(60)
    page.mouse.up()
    says.get_by_text("trousers:").wait_for()
    page.screenshot(path=str(tmp_path / "lasso.png"))
    page.keyboard.press("b")  # in a notebook this letter makes a cell
    assert board.locator("button[aria-pressed=true]").inner_text() == "Brush"
    assert page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") == cells
    page.get_by_role("button", name="Save masks").click()
    says.get_by_text("own_class/support_mask.png").wait_for()
    points = np.array(
        [((x - box["x"]) * wide / box["width"], (y - box["y"]) * high / box["height"]) for x, y in corners]
    )
    wanted = wanted_mask(points.astype(np.float32), high, wide)  # as strokes are sent
    mask = read_mask(tmp_path / "notebooks" / "own_class" / "support_mask.png")
    assert set(np.unique(mask)) == {0, 1}
    assert np.array_equal(mask == 1, wanted), f"{(wanted != (mask == 1)).sum()} pixels differ"
    board.locator(".title").click()
    page.keyboard.press("z")
    says.get_by_text("paint a class on the support").wait_for()
    assert not page.asked, f"asked the network for {page.asked}"
