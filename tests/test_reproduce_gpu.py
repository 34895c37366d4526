"""The GPU check and the speed probe, run on the CPU at a small size; on a GPU where there is one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from oshp_lite.engine.performance.paths import made_up_episode
from oshp_lite.errors import UserError
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.study.speed import (
    Check,
    exact_float32,
    gpu_check,
    half_precision,
    measure,
    parity,
    timed_training,
)

SMALL = Check(variant="lite", parity_size=32, speed_size=32, seconds=0.05, profile="smoke", dataset="synth-atr")


def test_the_made_up_episode_is_the_same_everywhere() -> None:
    one, other = made_up_episode(40, 2), made_up_episode(40, 2)
    assert torch.equal(one.query_image, other.query_image)
    assert one.query_image.shape == (2, 3, 40, 40)
    assert one.support_mask.shape == (2, 40, 40)
    assert int(one.support_mask.max()) < 18
    assert float(one.query_image.abs().max()) <= 1


def test_parity_of_a_device_with_itself_is_exact() -> None:
    found = parity(torch.device("cpu"), SMALL)
    assert set(found) == {"npm logits", "agm logits", "coarse logits", "losses", "gradient norms"}
    assert max(found.values()) == 0


def test_bf16_is_close_but_not_equal() -> None:
    found = half_precision(torch.device("cpu"), SMALL)
    assert 0 < found["npm logits"] < 0.2
    assert 0.5 < found["same_prediction"] <= 1


def test_tf32_is_off_inside_and_restored_outside() -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    with exact_float32():
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = before


def test_speed_is_measured() -> None:
    speed = measure(EOPNetConfig.preset("lite"), size=32, batch=2, device=torch.device("cpu"), seconds=0.05)
    assert 0 < speed.parse < speed.train
    assert speed.memory is None


def test_a_missing_device_gets_a_sentence(tmp_path: Path) -> None:
    for name in ("warp9", *(() if torch.cuda.is_available() else ("cuda",))):
        with pytest.raises(UserError, match="--device"):
            gpu_check(name, 0, tmp_path)


@pytest.mark.slow
def test_the_whole_check_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setenv("OSHP_DATA", str(tmp_path / "data"))
    gpu_check("cpu", 0.15, tmp_path / "out", plan=SMALL, tell=told.append)
    found = json.loads((tmp_path / "out" / "gpu_check.json").read_text())
    assert found["parity_ok"]
    assert found["speed"]["float32"]["train"] > 0
    assert 0 <= found["training"]["scores"]["human_miou"] <= 1
    assert found["training"]["samples"]
    assert all((tmp_path / "out" / "eopnet" / name).is_file() for name in found["training"]["samples"])
    assert found["provenance"]["libraries"]["torch"]
    assert any("novel mIoU" in line for line in told)


def test_a_missing_dataset_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="data_scripts/ccp"):
        timed_training("cpu", 0.1, tmp_path / "out", Check(), str(tmp_path), print)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
def test_a_gpu_agrees_with_the_cpu() -> None:
    with exact_float32():
        found = parity(torch.device("cuda"), Check(variant="official", parity_size=64))
    assert max(found.values()) < 2e-3
