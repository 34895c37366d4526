"""`oshp-lite bench`: figures printed, kept as JSON, and made into the page of the project's targets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from oshp_lite.cli import main
from oshp_lite.engine.performance.page import BEGIN, END, write_page
from oshp_lite.engine.performance.paths import KINDS, Figure
from oshp_lite.errors import UserError
from oshp_lite.files import read_json

FIGURES = [
    Figure("new support", "reference", 3.0, 2.9, 3.1, 1.0, None, 12.0),
    Figure("new support", "float32", 0.5, 0.4, 0.6, 6.0, 1.22, 4.0, 80.0),
]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the measuring function is called with; it gives FIGURES."""
    calls: list[Any] = []
    monkeypatch.setattr(
        "oshp_lite.engine.performance.paths.measure_paths",
        lambda plan, kinds, **named: calls.append((plan.encoder, kinds, named)) or FIGURES,
    )
    monkeypatch.setattr("oshp_lite.book.widgets.latency.measure_latency", lambda side: {"lens": (0.02, 0.01)})
    return calls


def test_the_figures_are_printed_and_kept(
    measured: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "performance.json"
    assert main(["bench", "--what", "infer", "--size", "paper", "--rounds", "2", "--json", str(kept)]) == 0
    assert measured == [("xception", ["infer"], {"rounds": 2, "device": "cpu"})]
    line = next(line for line in capsys.readouterr().out.splitlines() if "float32" in line)
    assert [word in line for word in ("500 [400, 600]", "6.0x", "1.22x", " 8 ", "80")] == [True] * 5
    record = read_json(kept)
    assert record["figures"][1]["speedup"] == 6.0
    assert {"code", "device"} <= set(record["provenance"])
    page = (tmp_path / "performance.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith("| inference float32, new support"))
    assert row == "| inference float32, new support each query | >= 5.0x | 6.0x | <= 1.25x | 1.22x |"
    assert "| training step, variant `official` | >= 1.5x | *not run* | - | - |" in page
    assert "One GPU: *not run*: needs a GPU" in page


def test_all_is_everything_at_lite_size(measured: list[Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench"]) == 0
    assert measured == [("lite", [kind for kind in KINDS if kind != "scaling"], {"rounds": 5, "device": "cpu"})]
    assert "explorer" in capsys.readouterr().out
    assert main(["bench", "--what", "widgets"]) == 0
    assert measured[-1][1] == []


def test_the_page_keeps_what_was_written_by_hand(measured: list[Any], tmp_path: Path) -> None:
    page = tmp_path / "performance.md"
    page.write_text(f"# Notes\n\ntried: x\n\n{BEGIN}old{END}\n\nlater: y\n", encoding="utf-8")
    for name in ("performance.json", "performance-cuda.json"):
        assert main(["bench", "--what", "infer", "--json", str(tmp_path / name)]) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Notes\n\ntried: x\n")
    assert text.endswith("later: y\n")
    assert "old" not in text
    assert [f"`{name}`" in text for name in ("performance.json", "performance-cuda.json")] == [True, True]
    assert write_page(tmp_path / "performance.json") == page
    assert page.read_text(encoding="utf-8") == text


def test_foreign_pages_and_records_are_refused(tmp_path: Path) -> None:
    kept = tmp_path / "performance.json"
    kept.write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"performance.json is no record of `oshp-lite bench --json`"):
        write_page(kept)
    kept.unlink()
    (tmp_path / "performance.md").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="lacks the marks"):
        write_page(kept)
    assert (tmp_path / "performance.md").read_text(encoding="utf-8") == "mine"
