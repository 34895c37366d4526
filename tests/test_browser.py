"""In a real browser: notebook 03 with and without a kernel, and the report; neither asks the network for anything."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from patience import scrolled_to, seen

from oshp_lite.study.notebooks import load_notebook, save_notebook, source_of

playwright_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
SWITCHES += ["--disable-background-networking", "--disable-component-update"]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine (a package of the distribution)"),
]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Any]:
    """A page of a fresh headless Chromium; `page.asked` lists requests that leave the machine."""
    with playwright_api.sync_playwright() as tools:
        context = tools.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, headless=True, args=SWITCHES
        )
        opened = context.new_page()
        opened.set_default_timeout(120_000)
        opened.asked = []
        local = ("http://127.0.0.1", "ws://127.0.0.1", "file:", "data:", "blob:")
        opened.on("request", lambda request: request.url.startswith(local) or opened.asked.append(request.url))
        yield opened
        context.close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def lab(tmp_path: Path, drawn_people: Path) -> Iterator[str]:
    """Address of a JupyterLab whose root holds copies of the notebooks; it knows nothing of the user's settings."""
    pytest.importorskip("jupyterlab")
    place = tmp_path / "notebooks"
    place.mkdir()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy(path, place)
    port = free_port()
    home = tmp_path / "home"
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_PLATFORM_DIRS": "0",
        "PYTHONPATH": str(ROOT),
        "OSHP_DATA": str(drawn_people),
        "OSHP_RUNS": str(tmp_path / "runs"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += [
        "--LabApp.expose_app_in_browser=True",
        f"--port={port}",
        "--port-retries=0",
        f"--ServerApp.root_dir={place}",
        "--IdentityProvider.token=T",
    ]
    with open(tmp_path / "lab.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=place)
    try:
        limit = time.monotonic() + 90
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token=T", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "lab.log").read_text()[-2000:]
                assert time.monotonic() < limit, "JupyterLab did not start"
                time.sleep(0.3)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()


def test_the_lens_of_notebook_03_with_and_without_a_kernel(lab: str, page: Any, tmp_path: Path) -> None:
    """A stranger's notebook shows a picture, a trusted one the page, a kernel the widget."""
    pytest.importorskip("anywidget")
    path = tmp_path / "notebooks/03_prototype_math.ipynb"
    notebook = load_notebook(path)
    (last,) = [n for n, cell in enumerate(notebook["cells"]) if "= prototype_lens(" in source_of(cell)]
    save_notebook(path, {**notebook, "cells": notebook["cells"][: last + 1]})  # what follows shows no lens
    page.set_viewport_size({"width": 1280, "height": 900})
    page.goto(f"{lab}/lab/tree/03_prototype_math.ipynb?token=T&reset")
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    picture = scrolled_to(page, ".jp-OutputArea img[alt^='prototype lens']", 120)
    assert picture.evaluate("one => one.complete && one.naturalWidth") > 500, "no script ran: the picture stands there"
    assert not page.locator(".oshp canvas").count()
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:trust') }")
    page.locator(".jp-Dialog button.jp-mod-warn").click()

    def follows(lens: Any) -> None:
        canvas = lens.locator("canvas[tabindex]").first
        numbers = "all => all.map(one => one.textContent)"
        before = lens.locator(".num").evaluate_all(numbers)
        moved = [3, 3]

        def move() -> None:
            moved[0] += 7
            canvas.hover(position={"x": moved[0] % 120 + 4, "y": 5})

        assert seen(lambda: lens.locator(".num").evaluate_all(numbers) != before, move)

    lens = ".jp-OutputArea .oshp:has(.num)"
    scrolled_to(page, f"{lens} canvas[tabindex]", 120)
    follows(page.locator(lens).first)
    # the notebook's own indicator says idle before there is a kernel; the status bar does not
    page.wait_for_function("() => document.querySelector('#jp-main-statusbar')?.innerText.includes('| Idle')")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    scrolled_to(page, f".jupyter-widgets {lens.partition(' ')[2]} canvas[tabindex]", 240)
    follows(page.locator(".jupyter-widgets .oshp:has(.num)").first)
    assert not page.asked, f"asked the network for {page.asked}"


def example(folder: Path) -> dict[str, Any]:
    """What a report is filled from: made-up numbers, nothing measured; the whole ledger, a real table, some figure."""
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.study import claims, headlines
    from oshp_lite.study.figures.charts import training_curves
    from oshp_lite.study.first_screen import first_screen
    from oshp_lite.study.gpu_path import guide
    from oshp_lite.study.plan import Finder
    from oshp_lite.study.records import Results
    from oshp_lite.study.report import Exhibit, png
    from oshp_lite.study.tables import make_table
    from oshp_lite.study.tables.table import to_html as table_html
    from oshp_lite.viz import fig_to_png

    history = [
        {"epoch": e, "loss_total": 5 / e, "loss_agm": 2 / e, "loss_npm": 3 / e, "beta": 1 - e / 9} for e in (1, 2, 3)
    ]
    curves, nothing = png(fig_to_png(training_curves(history))), Results([])
    table, verdicts = make_table("eopnet2", nothing), claims.ledger(nothing, "quick")
    scores = {"novel_miou": 0.25, "base_miou": 0.601, "human_miou": 0.502, "overall_accuracy": 0.93, "n_pairs": 330}
    scores["intervals"] = {"novel_miou": [0.221, 0.279]}  # type: ignore[assignment]
    run = SimpleNamespace(
        folder=Path("x" * 80), older_code=True, identity="0123456789abcdef", seconds=420, scores=scores
    )
    shown = {
        "run": run,
        "title": "EOP-Net, synth-atr, fold 1, k-way, 128 px",
        "curves": curves,
        "curves_text": "3 epochs.",
        "classes": [("skirt", "novel", 0.25)],
        "samples": [curves, curves],
        "provenance": {"code": "0123456789abcdef", "libraries": "torch 2, numpy 2"},
        "config": "variant: lite",
    }
    entry = {"notebook": "03_x.ipynb", "title": "X", "file": "", "seconds": 5.0, "status": "done", "reason": ""}
    rows = [("EOP-Net", "own", scores, run), ("trivial: copy", "other", scores, None)]
    return {
        "first_screen": first_screen(nothing, "quick", verdicts, styled=False, link="claims.html").html,
        "margin": headlines.MARGIN,
        "level": headlines.LEVEL,
        "noise": claims.TRAINING_NOISE,
        "tiles": [(word, count, "") for word, count in claims.summary(verdicts).items() if "testable" not in word],
        "n_claims": 55,
        "n_datasets": 4,
        "n_rows": 104,
        "claims": claims.to_html(verdicts, styled=False),
        "origins": Counter({"committed": 3}),
        "older_runs": 1,
        "tables": [Exhibit("table-eopnet2.html", table.title, [], html=table_html(table, styled=False))],
        "figures": [Exhibit("figure-f.html", "F", [], curves)],
        "gpu": guide(Finder(RunStore(folder / "runs"), folder)),
        "profile": "quick",
        "manifest": {"made": "today", "seconds": 100, "notes": ["a note"], "entries": [{**entry, "training": None}]},
        "failed": 1,
        "pages": {"": ""},
        "states": {},
        "groups": [{"title": "synth-atr, fold 1, k-way", "way": "k", "rows": rows, "lines": ["Twice the best."]}],
        "runs": [shown],
        "not_run": [],
        "others": [run],
        "matrix": "1 row failed",
        "unfinished": [{"name": "r" * 60, "status": "failed", "reason": "so", "kept": ""}],
        "here": {
            "code": "c",
            "commit": "",
            "device": "a CPU",
            "system": "s",
            "python": "3",
            "libraries": {"torch": "2"},
        },
        "problems": ["a run: its scores are damaged"],
    }


@pytest.fixture
def report(tmp_path: Path) -> Path:
    """A folder with the pages of a report."""
    from oshp_lite.study.report import pages_of

    for file, text in pages_of(example(tmp_path / "none")).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("width", [390, 1280])
def test_no_page_of_a_report_scrolls_sideways_or_asks_the_network(page: Any, report: Path, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in sorted(report.glob("*.html")):
        page.goto(path.as_uri())
        page.evaluate("() => document.querySelectorAll('details').forEach(one => { one.open = true })")
        beside = page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert beside <= 0, f"{path.name} sticks out by {beside} pixels"
        broken = page.evaluate("() => [...document.images].filter(i => !(i.complete && i.naturalWidth)).length")
        assert broken == 0, path.name
    assert not page.asked


def test_a_report_shows_itself(page: Any, report: Path) -> None:
    page.goto((report / "index.html").as_uri())
    assert page.locator(".tiles li").count() == 4
    assert page.locator("table.headlines tbody tr").count() == 5
    page.get_by_role("navigation").get_by_text("Runs").click()
    assert page.locator("tr.own .tag").inner_text() == "older code"
    assert "25.0 [22.1, 27.9]" in page.locator("tr.own").inner_text()


def test_claims_are_cards_on_a_phone_and_a_table_on_a_desk(page: Any, report: Path) -> None:
    page.goto((report / "claims.html").as_uri())
    row, head = page.locator("table.ledger tbody tr.whole").first, page.locator("table.ledger thead")
    cells = row.locator("td")
    page.set_viewport_size({"width": 390, "height": 800})
    tops = [cells.nth(place).bounding_box()["y"] for place in range(3)]
    assert tops == sorted(set(tops)), "one below the other"
    assert cells.first.bounding_box()["width"] > 300, "the explanation has the width of the page"
    assert not head.is_visible()
    page.set_viewport_size({"width": 1280, "height": 800})
    assert len({cells.nth(place).bounding_box()["y"] for place in range(3)}) == 1
    assert head.is_visible()


def test_a_wide_table_scrolls_in_its_box_and_keeps_its_first_column(page: Any, report: Path) -> None:
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto((report / "table-eopnet2.html").as_uri())
    box, first = page.locator("div.oshp"), page.locator("table.oshp tr.both th").first
    assert not page.locator(".behind").first.is_visible()
    page.locator(".unfold input").check()
    assert page.locator(".behind").first.is_visible()
    assert box.evaluate("one => one.scrollWidth > one.clientWidth"), "the test needs a wide table"
    assert page.locator(".cue").is_visible()
    before = first.bounding_box()["x"]
    box.evaluate("one => { one.scrollLeft = one.scrollWidth }")
    assert box.evaluate("one => one.scrollLeft") > 0
    assert abs(first.bounding_box()["x"] - before) < 1
