"""The interactive figures in a real browser: JupyterLab in headless Chromium, moved by its own controls."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from patience import seen

pytestmark = [pytest.mark.browser, pytest.mark.slow]

TOKEN = "figures"
CODE = """
import numpy as np, torch
from oshp_lite.book.widgets.prototype import PrototypeState, prototype_view
draw = torch.Generator().manual_seed(0)
static = torch.zeros(6, 8)
static[[2, 4]] = torch.randn(2, 8, generator=draw)
photo = np.full((32, 24, 3), 120, dtype=np.uint8)
features, stream = torch.randn(8, 8, 6, generator=draw), torch.randn(5, 6, 8, generator=draw)
prototype_view(PrototypeState(photo, features, static, stream, {2: "hair", 4: "coat"}, source=2))
"""


def chromium() -> str | None:
    """Return a Chromium or Chrome of this machine, or None."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("OSHP_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(tmp_path: Path, code: str) -> Iterator[str]:
    """Serve a notebook with one code cell in JupyterLab; yields its address."""
    cell = {"cell_type": "code", "id": "a", "execution_count": None, "metadata": {}, "outputs": [], "source": code}
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    notebook = {"cells": [cell], "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
    (tmp_path / "figure.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    port = free_port()
    root = Path(__file__).parents[1]
    private = {name: str(tmp_path / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "HOME")}
    settings = {**os.environ, **private, "PYTHONPATH": f"{root}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    words = ["--no-browser", f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}"]
    command = [sys.executable, "-m", "jupyterlab", "--allow-root", f"--ServerApp.root_dir={tmp_path}", *words]
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=settings, stdout=log, stderr=subprocess.STDOUT)
    try:
        address = f"http://127.0.0.1:{port}"
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{address}/api?token={TOKEN}", timeout=2).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.5)
        yield f"{address}/lab/tree/figure.ipynb?token={TOKEN}&reset"
    finally:
        server.terminate()
        server.wait(timeout=30)


@pytest.fixture
def lab(tmp_path):
    """Serve a notebook with one figure; yield its address."""
    pytest.importorskip("jupyterlab")
    pytest.importorskip("ipywidgets")
    with serve(tmp_path, CODE) as address:
        yield address


def test_the_figure_follows_its_controls(lab):
    playwright = pytest.importorskip("playwright.sync_api")
    program = chromium()
    if program is None:
        pytest.skip("no Chromium found (set OSHP_CHROMIUM to one)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            page = browser.new_page()
            page.set_default_timeout(120_000)
            page.goto(lab)
            page.wait_for_selector(".jp-Notebook-cell")
            page.wait_for_function("document.body.innerText.includes('| Idle')")
            page.click(".jp-Notebook-cell .cm-content")
            page.keyboard.press("Shift+Enter")
            picture = page.locator("img.widget-image").first
            picture.wait_for()
            first = picture.get_attribute("src")
            assert picture.bounding_box()["width"] > 300
            page.locator(".widget-dropdown select").first.select_option(label="one cell of the query")
            page.wait_for_function("old => document.querySelector('img.widget-image').src !== old", arg=first)
            second = picture.get_attribute("src")
            handle = page.locator(".noUi-handle").nth(2)  # momentum, temperature, then the cell's row
            assert seen(lambda: picture.get_attribute("src") != second, lambda: handle.press("ArrowRight"))
        finally:
            browser.close()
