"""Every switch of EOP-Net's configuration changes what it should and nothing else."""

from __future__ import annotations

import inspect
import re
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from nn_tiny import episode, same, step, tiny
from torch import Tensor

from oshp_lite import EOPNet
from oshp_lite.errors import UserError
from oshp_lite.models import PredictOptions
from oshp_lite.models.base import MethodConfig
from oshp_lite.models.dual import DualMetricConfig
from oshp_lite.models.encoders import EncoderConfig
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.popnet_config import POPNetConfig

# -------------------------------------------------------------------------------------------------- the switches


def outcome(net: EOPNet, way: str = "k", steps: tuple[float, ...] = (0.9, 0.9)) -> dict[str, Tensor]:
    """What two training steps (other progress, other data) and an evaluation lead to."""
    net.train()
    for number, progress in enumerate(steps):
        _, losses = step(net, episode(way, seed=number), progress)
    result = {f"loss_{name}": value.detach() for name, value in losses.items()}
    result["bank"] = net.bank.detach().clone()
    result["coarse_bank"] = net.coarse_bank.rows.detach().clone()
    result["statistics"] = torch.cat([v.flatten() for n, v in net.state_dict().items() if "running_mean" in n])
    last = episode(way, seed=9)
    result["target"] = net.target(last).double()
    parsing = net.eval()(last)
    result.update(npm=parsing.npm, agm=parsing.agm, coarse=parsing.coarse, answer=net.predict(last).ids.double())
    return result


# option -> other value, outcomes that must change, outcomes that must not
SWITCHES: list[tuple[str, dict[str, Any], dict[str, Any], set[str], set[str]]] = [
    ("momentum", {}, {"momentum": 0.5}, {"bank", "loss_npm", "npm"}, {"coarse", "target"}),
    ("proto_warmup", {}, {"proto_warmup": 48}, {"bank", "loss_npm"}, {"coarse"}),
    ("warmup_inclusive", {"proto_warmup": 45}, {"warmup_inclusive": False}, {"bank"}, {"coarse"}),
    ("epochs", {}, {"epochs": 25}, {"bank"}, {"coarse"}),
    (
        "bank_during_warmup",
        {"proto_warmup": 50},
        {"bank_during_warmup": "untouched"},
        {"bank", "npm"},
        {"loss_npm", "loss_agm"},
    ),
    (
        "bank_during_warmup",
        {"proto_warmup": 50},
        {"bank_during_warmup": "average"},
        {"bank", "npm"},
        {"loss_npm", "loss_agm"},
    ),
    ("coarse_proto", {}, {"coarse_proto": "momentum"}, {"coarse_bank", "coarse"}, {"npm", "bank"}),
    ("coarse_attention", {}, {"coarse_attention": "both"}, {"coarse", "loss_coarse"}, {"npm", "agm", "bank"}),
    ("coarse_bg_pass", {}, {"coarse_bg_pass": False}, {"statistics", "coarse"}, {"loss_coarse", "npm", "agm"}),
    ("agm_trunk", {}, {"agm_trunk": "separable"}, {"agm", "coarse"}, {"npm"}),
    ("agm_trunk", {}, {"agm_trunk": "plain1"}, {"agm", "coarse"}, {"npm"}),
    ("bg_mean", {}, {"bg_mean": "present"}, {"npm", "agm"}, {"coarse", "target"}),
    ("npm_scale", {}, {"npm_scale": 3.0}, {"npm", "loss_npm"}, {"agm", "coarse"}),
    ("restrict_to_support", {}, {"restrict_to_support": True}, {"npm", "agm", "loss_npm"}, {"coarse", "target"}),
    ("contrast_bg", {}, {"contrast_bg": False}, {"loss_contrast"}, {"npm", "agm", "coarse", "loss_npm"}),
    ("temperature", {}, {"temperature": 1.0}, {"loss_contrast"}, {"npm", "loss_npm"}),
    ("coarse_weight", {}, {"coarse_weight": 0.5}, {"loss_total"}, {"loss_coarse"}),
    ("contrast_weight", {}, {"contrast_weight": 0.0}, {"loss_total"}, {"loss_contrast"}),
    ("fixed_beta", {}, {"fixed_beta": 0.5}, {"loss_total"}, {"loss_agm", "loss_npm"}),
    ("trunk_bn", {}, {"trunk_bn": "joint"}, {"loss_agm", "agm"}, {"npm", "loss_npm", "coarse"}),
    ("unlabelled", {}, {"unlabelled": "ignore"}, {"target", "loss_npm"}, {"npm", "loss_coarse"}),
    ("unlabelled", {}, {"unlabelled": "class"}, {"target", "loss_npm"}, {"loss_coarse"}),
    ("scalar_init", {}, {"scalar_init": "unit"}, {"npm"}, {"coarse"}),
    ("lite_channels", {}, {"lite_channels": (4, 4, 8, 8)}, {"npm"}, set()),
    ("n_ids", {}, {"n_ids": 7}, {"npm"}, {"target"}),
    ("way", {}, {"way": "1"}, {"npm"}, set()),
    ("width", {}, {"width": 12}, {"npm"}, set()),
]


@pytest.mark.parametrize(("name", "common", "changes", "moved", "kept"), SWITCHES, ids=[s[0] for s in SWITCHES])
def test_each_switch_changes_what_it_should(
    name: str, common: dict[str, Any], changes: dict[str, Any], moved: set[str], kept: set[str]
) -> None:
    usual = tiny(**common)
    other = tiny(**{**common, **changes})
    shapes = {n: v.shape for n, v in other.state_dict().items()}
    shared = {n: v for n, v in usual.state_dict().items() if shapes.get(n) == v.shape}
    if not {"scalar_init", "npm_scale"} & set(changes):
        other.load_state_dict(shared, strict=False)
    else:
        other.load_state_dict({n: v for n, v in shared.items() if "npm" not in n and n != "scale"}, strict=False)
    a, b = outcome(usual), outcome(other, other.config.way)
    for key in moved:
        assert not same(a[key], b[key]), f"{name} should change {key}"
    for key in kept:
        assert same(a[key], b[key]), f"{name} should not change {key}"


def test_absent_test_looks_at_the_mask_it_names() -> None:
    batch = episode()
    assert batch.query_mask is not None
    mask = torch.where(batch.support_mask == 3, 0, batch.support_mask)
    mask[:, 1:3, 1:3] = 3  # between the sampled pixels
    batch = replace(batch, support_mask=mask)
    assert bool((batch.query_mask == 3).any())
    assert not bool((tiny().target(batch) == 3).any())
    full = tiny(absent_test="full", restrict_to_support=True, bg_mean="present").train()
    assert bool((full.target(batch) == 3).any())
    parsing, losses = step(full, batch)
    # the id without a feature cell stays answerable, so its pixels do not meet a closed channel
    assert float(losses["npm"].detach()) < 1000
    assert bool((parsing.npm[:, 3] > -1000).all())


def test_oneway_head_and_its_residual() -> None:
    batch = episode("1")
    code, kway = tiny(way="1"), tiny(way="1", oneway_head="kway")
    assert code.agm_fusion is None
    assert kway.agm_fusion is not None
    empty = replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    # without a prototype the released head multiplies the features away, the k-way scheme keeps them
    with torch.no_grad():
        flat, lively = code.eval()(empty).agm, kway.eval()(empty).agm
    assert float(flat.std((2, 3)).max()) < 0.2 * float(lively.std((2, 3)).max())


def test_restriction_closes_absent_ids() -> None:
    batch = episode()
    net = tiny("lite").eval()
    for source in ("npm", "agm"):
        answer = net.predict(batch, PredictOptions(source=source, screening=False)).ids
        for given, found in zip(batch.support_mask, answer, strict=True):
            assert set(found.unique().tolist()) <= {0, *given.unique().tolist()}
    open_net = tiny().eval()
    with torch.no_grad():
        open_net.npm.foreground.weight.fill_(-1)  # type: ignore[union-attr]
        open_net.npm.fusion.bias.fill_(-99)  # type: ignore[union-attr]
    unscreened = PredictOptions(screening=False)
    assert bool((open_net.predict(batch, unscreened).ids == 5).any())  # any raw id can win in the released code
    restricted = PredictOptions(screening=False, restrict=True)
    assert not bool((open_net.predict(batch, restricted).ids == 5).any())


def test_static_prototypes_override_the_warm_up() -> None:
    net, batch = tiny(), episode()
    step(net.train(), batch, 0.9)
    step(net, episode(seed=1), 0.9)
    net.eval()
    late, early = net(batch, progress=0.9), net(batch, progress=0.1)
    assert not same(late.npm, early.npm)
    assert same(net(batch, static_prototypes=True, progress=0.9).npm, early.npm)
    assert same(net(batch, static_prototypes=False, progress=0.1).npm, late.npm)
    assert same(net(batch).npm, late.npm)  # at test the warm-up is over
    assert same(net(batch, progress=25 / 50).npm, early.npm)  # the 26th epoch is the last static one
    assert same(net(batch, progress=26 / 50).npm, late.npm)


def test_released_coarse_prototypes_read_the_bank_in_the_first_epoch_only() -> None:
    net, batch = tiny(), episode()
    net.train()
    net(episode(seed=4), progress=0.5)
    stored = net.coarse_bank.rows.clone()
    net(batch, progress=0.0)
    assert float((net.coarse_bank.rows - stored).norm()) < 0.01 * float(stored.norm())  # 0.999 old twice
    net(batch, progress=0.02)
    assert float((net.coarse_bank.rows - stored).norm()) > 0.01 * float(stored.norm())
    net.eval()
    assert not same(net(batch, progress=0.0).coarse, net(batch, progress=0.02).coarse)
    assert same(net(batch).coarse, net(batch, progress=0.02).coarse)
    assert net.coarse_projection.weight.grad is None


def test_joint_encoding_mixes_batch_statistics() -> None:
    batch = episode(query=(48, 36))
    apart, joint = tiny(), tiny(joint_encode=True)
    joint.load_state_dict(apart.state_dict())
    assert not same(apart.train()(batch).npm, joint.train()(batch).npm)
    joint.load_state_dict(apart.state_dict())
    assert same(apart.eval()(batch).npm, joint.eval()(batch).npm)
    assert joint.train()(episode()).npm.shape == (2, 6, 40, 52)  # sizes that differ are encoded apart


def test_a_frozen_scale() -> None:
    assert not tiny(npm_scale_learnable=False).scale.requires_grad


def test_every_switch_is_documented_and_covered() -> None:
    for kind in (EOPNetConfig, POPNetConfig, DualMetricConfig, MethodConfig, EncoderConfig):
        source = inspect.getsource(kind)
        for name in set(kind.__annotations__) - {"name", "variant", "PRESETS"}:
            said = re.search(rf"# .*\n(    \w+:.*\n)?    {name}:|    {name}:.*  # ", source)  # one field, or two
            assert said or re.search(rf"\b{name}\b", kind.__doc__ or ""), name
    covered = {key for case in SWITCHES for key in case[2]}
    apart = {"absent_test", "oneway_head", "joint_encode", "npm_scale_learnable"}
    structural = {"encoder", "feature_level", "all_branches", "lite_depth"}  # tests of the encoder
    assert {field.name for field in fields(EOPNetConfig)} == covered | apart | structural


@pytest.mark.parametrize(
    ("variant", "changes", "words"),
    [
        ("fancy", {}, "unknown model variant"),
        ("official", {"momentun": 0.9}, "no option"),
        ("official", {"momentum": 1.5}, "momentum"),
        ("official", {"momentum": "high"}, "momentum"),
        ("official", {"feature_level": "low"}, "one of: mid"),
        ("official", {"contrast_bg": "yes"}, "true or false"),
        ("official", {"n_ids": 1}, "n_ids"),
        ("official", {"n_ids": 6.5}, "n_ids"),
        ("official", {"temperature": 0.0}, "temperature"),
        ("official", {"fixed_beta": 2.0}, "fixed_beta"),
        ("official", {"way": 2}, "way"),
    ],
)
def test_bad_options_are_told_in_one_sentence(variant: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        EOPNetConfig.preset(variant, **changes)


def test_presets_change_only_fields_there_are() -> None:
    names = {field.name for field in fields(EOPNetConfig)}
    assert all(set(changes) <= names for changes in EOPNetConfig.PRESETS.values())
