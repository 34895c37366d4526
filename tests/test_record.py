"""The checkpoint that the package ships, and how it is made from a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oshp_lite import assets
from oshp_lite.engine.checkpoint import load_parser, read_weights, save_weights
from oshp_lite.errors import UserError
from oshp_lite.models import EOPNet
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.study import publish

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


def test_an_unfinished_run_is_refused_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert publish.main([str(tmp_path / "none")]) == 2
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: ")
    assert complaint.count("\n") == 1


def test_a_published_checkpoint_is_half_as_large_and_gives_the_same_network(tmp_path: Path) -> None:
    run = finished(tmp_path / "run", 0.4, 0.3)
    options = {"variant": "lite", "n_ids": 6, "way": "k", "width": 8, "lite_channels": [4, 8, 8, 8]}
    net = EOPNet(**{**options, "lite_channels": (4, 8, 8, 8)})
    save_weights(run / "weights.safetensors", net.state_dict(), CheckpointRecord("eopnet", options, "k", 6, "pascal"))
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
