"""What is kept of a run: its numbers beside ceiling and baselines, and the checkpoint made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oshp_lite import assets
from oshp_lite.engine.checkpoint import load_parser, read_weights, save_weights
from oshp_lite.errors import UserError
from oshp_lite.models import EOPNet
from oshp_lite.study import publish, record

CONFIG = """\
variant: lite
data: {dataset: synth-atr, fold: 1, protocol: journal, way: k, size: 64}
model: {method: eopnet, options: {}}
train: {task: parse, visible: base, epochs: 2, batch_size: 4, lr: 0.001, seed: 0}
"""


def finished(folder: Path, human: float, novel: float) -> Path:
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    scores = {"way": "k", "human_miou": human, "novel_miou": novel, "iou": {"1": 0.2}, "details": [1, 2]}
    (folder / "scores.json").write_text(json.dumps(scores))
    (folder / "provenance.json").write_text(json.dumps({"commit": "abc", "seed": 0}))
    (folder / "history.csv").write_text("epoch,loss_total\n1,0.5\n2,0.25\n")
    return folder


def test_a_record_holds_the_ratios_to_the_best_baseline_and_the_ceiling(tmp_path: Path) -> None:
    run, top = finished(tmp_path / "run", 0.4, 0.3), finished(tmp_path / "top", 0.5, 0.45)
    baselines = tmp_path / "baselines.json"
    rows = {"copy": {"novel_miou": 0.1, "human_miou": 0.2}, "mean map": {"novel_miou": 0.2, "human_miou": 0.15}}
    baselines.write_text(json.dumps(rows))
    out = tmp_path / "deep" / "record.json"
    words = [str(run), "--ceiling", str(top), "--baselines", str(baselines), "--out", str(out)]
    assert record.main(words) == 0
    kept = json.loads(out.read_text())
    assert kept["novel_over_best_baseline"] == pytest.approx(1.5)
    assert kept["human_over_ceiling"] == pytest.approx(0.8)
    assert kept["ceiling"]["human_miou"] == 0.5
    assert kept["run"]["history"][1] == {"epoch": 2.0, "loss_total": 0.25}
    assert kept["run"]["provenance"]["commit"] == "abc"
    assert "details" not in kept["run"]["scores"]


@pytest.mark.parametrize("main", [record.main, publish.main])
def test_an_unfinished_run_is_refused_in_one_sentence(main, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out = tmp_path / "x.json"
    words = [str(tmp_path / "none")] + (["--out", str(out)] if main is record.main else [])
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert not out.exists()


def test_a_published_checkpoint_is_half_as_large_and_gives_the_same_network(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", 0.4, 0.3)
    options = {"variant": "lite", "n_ids": 6, "way": "k", "width": 8, "lite_channels": [4, 8, 8, 8]}
    net = EOPNet(**{**options, "lite_channels": (4, 8, 8, 8)})
    save_weights(run / "weights.safetensors", net.state_dict(), {"method": "eopnet", "options": options})
    publish.publish(run, tmp_path / "small.safetensors", tmp_path / "small.json")
    small, full = read_weights(tmp_path / "small.safetensors"), net.state_dict()
    for name, value in full.items():
        if value.is_floating_point():
            assert small[name].dtype == torch.float16
            torch.testing.assert_close(small[name].float(), value, rtol=1e-3, atol=1e-6)
    assert json.loads((tmp_path / "small.json").read_text())["run"]["commit"] == "abc"
    with pytest.raises(UserError):
        publish.publish(tmp_path, tmp_path / "other.safetensors", tmp_path / "other.json")


def test_the_shipped_checkpoint_is_small_loads_and_says_where_it_comes_from() -> None:
    path = assets.checkpoint()
    assert path.stat().st_size <= 4_000_000
    parser = load_parser(path)
    assert all(value.dtype == torch.float32 for value in parser.parameters())
    told = json.loads(assets.PROVENANCE.read_text())
    assert told["config"]["data"]["dataset"] == "synth-atr"
    assert told["config"]["data"]["fold"] == 1
    assert told["run"]["commit"]
    assert 0 < told["scores"]["novel_miou"] < 1
