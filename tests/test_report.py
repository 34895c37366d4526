"""The report from the command line: one damaged run, record or file stops nothing and is listed with its reason."""

from __future__ import annotations

import html
import json
from pathlib import Path

import pytest

from oshp_lite.cli import main


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a finished, empty reproduction of the profile smoke; data, runs and reports lie inside."""
    root = tmp_path / "checkout"
    (root / "notebooks" / "results" / "costs").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    monkeypatch.chdir(root)
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(root / name.lower()))
    manifest = {"profile": "smoke", "made": "today", "seconds": 1.0, "entries": [], "trainings": [], "notes": []}
    (root / "reports" / "smoke").mkdir(parents=True)
    (root / "reports" / "smoke" / "manifest.json").write_text(json.dumps(manifest))
    return root


@pytest.mark.slow
def test_what_cannot_be_read_is_listed_and_stops_nothing(checkout: Path) -> None:
    (checkout / "notebooks" / "results" / "costs" / "official.json").write_text("{")
    (checkout / "runs" / "half-a-run").mkdir(parents=True)
    (checkout / "runs" / "half-a-run" / "scores.json").write_text('{"human_miou"')
    assert main(["report", "--profile", "smoke"]) == 0
    page = html.unescape((checkout / "reports" / "smoke" / "index.html").read_text(encoding="utf-8"))
    listed = page[page.index('id="problems"') : page.index("The papers' claims")]
    assert "official.json" in listed
    assert "half-a-run is damaged" in listed
    assert "All methods of POPNet's paper" in page


def test_a_report_before_anything_was_executed_is_refused(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--profile", "quick"]) != 0
    assert "oshp-lite reproduce --profile quick" in capsys.readouterr().err
