"""Counting parameters and MACs, and starting from a COCO checkpoint by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from oshp_lite.engine.config import DataConfig, InitConfig, ModelConfig, RunConfig
from oshp_lite.engine.models import build_parser, initialise
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.models.complexity import (
    count_parameters,
    counting_macs,
    mac_table,
    module_macs,
    on_meta,
    parameter_table,
    total_macs,
    used_parameters,
)
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.released import EOPNET, load_deeplab


def test_coco_checkpoint_loads_by_name(tmp_path: Path) -> None:
    net = EOPNet(EOPNetConfig.paper(n_ids=5, width=8))
    good = {
        "xception_features.conv1.weight": torch.full((32, 3, 3, 3), 0.5),
        "xception_features.block1.rep.2.pointwise.weight": torch.full((128, 128, 1, 1), 0.25),
        "xception_features.block2.block2_lastconv.1.depthwise_bn.running_mean": torch.full((256,), 0.125),
        "feature_projection_bn1.bias": torch.full((48,), 2.0),
    }
    other = {
        "xception_features.conv2.weight": torch.zeros(1),
        "decoder.0.weight": torch.zeros(3),
        "semantic.bias": torch.zeros(3),
        "concat_projection_bn1.bias": torch.zeros(256),  # this depth has no such branch
    }
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in {**good, **other}.items()}}, tmp_path / "c.pth"
    )
    said = load_deeplab(net.encoders(), tmp_path / "c.pth")
    assert said.startswith("4 encoder tensors from c.pth (")
    assert said.endswith("are not in it, 1 differ in shape, 3 are not the encoder's)")
    backbone = net.encoder.backbone  # type: ignore[union-attr]
    assert bool((backbone.conv1.weight == 0.5).all())  # type: ignore[union-attr]
    assert bool((backbone.block1.units[1].pointwise.weight == 0.25).all())  # type: ignore[union-attr,index]
    assert bool((backbone.block2.units[2].depthwise_bn.running_mean == 0.125).all())  # type: ignore[union-attr,index]
    torch.save({"weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match="nothing in the checkpoint"):
        load_deeplab(net.encoders(), tmp_path / "other.pth")
    with pytest.raises(UserError, match="does not exist"):
        load_deeplab(net.encoders(), tmp_path / "none.pth")


def test_a_run_starts_from_a_coco_checkpoint_with_every_stage(tmp_path: Path) -> None:
    kernel = torch.full((32, 3, 3, 3), 0.5)
    torch.save({"xception_features.conv1.weight": kernel, "semantic.bias": torch.zeros(3)}, tmp_path / "coco.pth")
    start = InitConfig(kind="file", path=str(tmp_path / "coco.pth"))
    for method, options in (("eopnet", {"width": 8}), ("popnet", {"stages": 3}), ("sgone", {})):
        model = ModelConfig(method, options)
        config = RunConfig(variant="paper", data=DataConfig(dataset="atr-os"), model=model, init=start)
        net = build_parser(config, fold("atr", 1))
        said = initialise(net, config, None)
        assert said.startswith("1 encoder tensors from coco.pth")
        stages = list(net.stages) if method == "popnet" else [net]  # type: ignore[arg-type]
        assert (f"in each of {len(stages)} stages" in said) == (len(stages) > 1)
        for stage in stages:
            assert torch.equal(stage.encoder.backbone.conv1.weight, kernel)  # type: ignore[union-attr]


def test_parameter_counts_of_the_released_code() -> None:
    official = EOPNetConfig.official()
    net = on_meta(official)
    assert count_parameters(net) == 44_223_421
    assert count_parameters(net, trainable_only=True) == 44_218_301
    assert used_parameters(official) == 41_121_965
    assert used_parameters(EOPNetConfig.official(feature_level="high")) == 43_616_941
    table = {part.name: part.count for part in parameter_table(official)}
    assert sum(table.values()) == 44_223_421
    assert table["encoder.backbone.block1"] == 53_696
    assert table["encoder.backbone.block19"] == 1_618_344
    assert table["fine_guidance"] == 1_180_160 + 68_864 + 514
    assert count_parameters(on_meta(EOPNetConfig.official(way="1"))) == 44_223_417


def test_macs_of_the_released_code_at_512() -> None:
    k5 = EOPNetConfig.official(n_ids=6)
    assert {name: round(count / 1e9, 2) for name, count in total_macs(k5).items()} == {
        "full": 243.59,
        "no_agm": 141.35,
        "inference": 120.91,
    }
    table = mac_table(k5)
    assert table[0].count / 2e9 == pytest.approx(48.08, abs=0.005)
    assert table[2].count / 1e9 == pytest.approx(20.45, abs=0.005)


def test_mac_table_is_what_a_forward_pass_runs() -> None:
    config = EOPNetConfig.lite(n_ids=4, width=8, lite_channels=(4, 8, 8, 8))
    net = EOPNet(config).eval()
    assert module_macs(nn.Conv2d(3, 5, 3, padding=1), (1, 3, 8, 8)) == 5 * 64 * 27
    from oshp_lite import Episode

    mask = torch.arange(4).repeat_interleave(8).repeat(32, 1)[None]
    episode = Episode(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32), mask, (mask > 0).long())
    with counting_macs(net) as calls, torch.no_grad():
        net(episode)
    table = {part.name: part.count for part in mac_table(config, (32, 32), classes=3)}
    assert sum(calls) == sum(table.values()) - table["coarse trunk, scene"]
    with counting_macs(net) as calls:
        net.predict(episode)
    assert sum(calls) == total_macs(config, (32, 32))["inference"]


def test_names_list_is_complete() -> None:
    names = json.loads((Path(__file__).parent / "data" / "official_names.json").read_text())
    mapping = EOPNET.names(on_meta(EOPNetConfig.official()))
    assert list(mapping) == list(names["kway"])
    assert len(set(mapping.values())) == 933
