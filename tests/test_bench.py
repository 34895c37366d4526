"""`oshp-lite bench`: figures printed, kept as JSON, and made into the page of the project's targets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from oshp_lite.cli import main
from oshp_lite.engine.performance.clock import Figure
from oshp_lite.engine.performance.page import BEGIN, END, TARGETS, tables, write_page
from oshp_lite.engine.performance.paths import KINDS
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
    row = "| inference float32, new support each query | >= 5.0x reference; <= 1.25x floor | 6.0x; 1.22x | yes; yes |"
    assert f"{row} `performance.json` |" in page


def record(*figures: Figure, size: str = "paper", place: str = "cpu", date: str = "2026-11-22") -> dict[str, Any]:
    """A record as `bench --json` keeps it."""
    where = {"date": date, "device": "CPU (x)", "threads": 1, "python": "3.11", "code": "c"}
    where["libraries"] = {"torch": "2", "numpy": "2"}
    return {
        "provenance": where, "place": place, "size": size, "rounds": 2, "figures": [asdict(one) for one in figures]
    }  # fmt: skip


def target_rows(records: dict[str, Any]) -> dict[str, list[str]]:
    """The targets' rows by what is timed."""
    lines = tables(records).partition("## Targets")[2].partition("##")[0].strip().splitlines()[4:]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert all(len(row) == 5 for row in rows)
    return {row[0]: row[1:] for row in rows}


def test_every_target_has_a_row_and_cells_without_a_figure_say_so() -> None:
    rows = target_rows({"performance.json": record(*FIGURES)})
    assert list(rows) == [target.label for target in TARGETS]
    for label, (_, measured, reached, file) in rows.items():
        if label.startswith("inference float32, new"):
            continue
        assert measured == ("*not run: needs a GPU*" if "GPU" in label else "*not measured*")
        assert (reached, file) == ("-", "-")
    on_gpu = target_rows({"a.json": record(*FIGURES, place="cuda:0")})
    assert on_gpu["training step on one GPU, bf16"][1] == "*not measured*"
    assert on_gpu["inference float32, new support each query"][1] == "*not measured*", "a target of the CPU"


def test_targets_are_judged_by_the_figures() -> None:
    step, pair = "training step", "test pair, shipped"
    cpu = record(
        Figure(step, "reference", 8.0, 8, 8, 1.0, memory=1000.0),
        Figure(step, "official", 4.0, 4, 4, 1.49, memory=590.0),
        Figure(step, "paper", 2.0, 2, 2, 2.5, memory=610.0),
        Figure("new support", "bf16", 0.3, 0.3, 0.3, 9.5, 1.36),
        Figure("loading a batch", "cached", 0.1, 0.1, 0.1, 2.0, 0.02),
    )
    lite = record(
        Figure(pair, "bf16", 0.01, 0.01, 0.01, 1.2, points=0.04),
        Figure("evaluation", "around the network", 0.001, 0.001, 0.001, above_floor=0.125),
        size="lite",
    )
    gpu = record(
        Figure(step, "bf16", 0.1, 0.1, 0.1, 4.2),
        Figure("encoder in training", "bf16", 0.1, 0.1, 0.1, gmac=300.0),
        Figure("encoder in training", "matrix product", 0.1, 0.1, 0.1, gmac=1000.0),
        place="cuda",
    )
    rows = target_rows({"p.json": cpu, "p-lite.json": lite, "p-cuda.json": gpu})
    assert rows["training step, batch 2, float32, CPU"][1:] == ["1.5x; 2.5x", "no; yes", "`p.json`"]
    assert rows["peak memory of a training step"][1:] == ["0.59x; 0.61x", "yes; no", "`p.json`"]
    assert rows["training step on one GPU, bf16"][1:] == ["4.2x; 30 %", "yes; no", "`p-cuda.json`"]
    assert rows["evaluation: everything but the network"][1:] == ["12.5 %", "no", "`p-lite.json`"]
    assert rows["data loading: a batch by one of 4 workers"][1:3] == ["0.02x", "yes"]
    assert rows["the same in bf16 where the CPU has it"][1] == "9.5x; 1.36x; 0.04 points of mIoU"
    assert rows["the same in bf16 where the CPU has it"][2:] == ["yes; no; yes", "`p.json`, `p-lite.json`"]
    newer = record(*FIGURES, date="2026-11-23")
    assert (
        target_rows({"p.json": cpu, "p-2.json": newer})["inference float32, new support each query"][3] == "`p-2.json`"
    )


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
