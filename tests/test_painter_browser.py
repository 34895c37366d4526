"""The painter in JupyterLab in headless Chromium: a lasso drawn with the mouse is the mask that is saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from test_widget_browser import chromium, serve

from oshp_lite.files import read_mask

pytestmark = [pytest.mark.browser, pytest.mark.slow]

CODE = """
import numpy as np
from oshp_lite import assets
from oshp_lite.book.widgets.painter import Canvas, PaintState, painter_view
from oshp_lite.data.synthetic import scene
from oshp_lite.predict import load_network
photos = [scene("synth-atr", 5, index, 128).image.copy() for index in (2, 6)]
state = PaintState(load_network(assets.checkpoint()), Canvas(photos[0]), [Canvas(photos[1])], ["my top"])
painter_view(state, folder="own", width=384)
"""
CORNERS = [(40.3, 30.7), (88.4, 33.2), (92.6, 70.3), (66.1, 58.4), (38.2, 81.9)]
"""Corners of the lasso in the photo's pixels, none on a pixel's centre; the outline is not convex."""


def test_a_lasso_drawn_with_the_mouse_is_the_saved_mask(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api")
    pytest.importorskip("anywidget")
    program = chromium()
    if program is None:
        pytest.skip("no Chromium found (set OSHP_CHROMIUM to one)")
    with serve(tmp_path, CODE) as address, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.set_default_timeout(240_000)
            asked: list[str] = []
            local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:")
            page.on("request", lambda request: request.url.startswith(local) or asked.append(request.url))
            page.goto(address)
            page.wait_for_selector(".jp-Notebook-cell")
            page.wait_for_function("document.body.innerText.includes('| Idle')")
            page.click(".jp-Notebook-cell .cm-content")
            page.keyboard.press("Shift+Enter")
            board = page.locator(".oshp-painter").first
            board.wait_for()
            canvas = board.locator("canvas")
            canvas.scroll_into_view_if_needed()
            box = canvas.bounding_box()
            assert box is not None
            assert (box["width"], box["height"]) == (384, 384)
            cells = page.locator(".jp-Notebook-cell").count()
            corners = [(round(box["x"] + 3 * x), round(box["y"] + 3 * y)) for x, y in CORNERS]
            page.mouse.move(*corners[0])
            page.mouse.down()
            for corner in corners[1:]:
                page.mouse.move(*corner)
                page.wait_for_timeout(60)
            page.mouse.up()
            page.wait_for_function("document.body.innerText.includes('my top:')")
            page.screenshot(path=str(tmp_path / "lasso.png"))
            page.keyboard.press("b")  # in a notebook this letter makes a cell
            assert board.locator("button[aria-pressed=true]").inner_text() == "Brush"
            assert page.locator(".jp-Notebook-cell").count() == cells
            page.get_by_role("button", name="Save masks").click()
            page.wait_for_function("document.body.innerText.includes('Saved:')")
            points = np.array([((x - box["x"]) / 3, (y - box["y"]) / 3) for x, y in corners])
            rows, columns = np.mgrid[:128, :128] + 0.5
            wanted = Outline(points).contains_points(np.stack([columns.ravel(), rows.ravel()], 1)).reshape(128, 128)
            mask = read_mask(tmp_path / "own" / "support_mask.png")
            assert set(np.unique(mask)) == {0, 1}
            assert np.array_equal(mask == 1, wanted), f"{(wanted != (mask == 1)).sum()} pixels differ"
            page.keyboard.press("z")
            page.wait_for_function("document.body.innerText.includes('paint a class on the support')")
            assert not asked, f"asked the network for {asked}"
        finally:
            browser.close()
