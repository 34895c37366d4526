"""EOP-Net's face and switches, on networks small enough to run in milliseconds."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from oshp_lite import EOPNet, Episode
from oshp_lite.errors import UserError
from oshp_lite.nn import EOPNetConfig, OneShotParser, build, methods
from oshp_lite.nn.eopnet_config import PRESETS

TINY: dict[str, Any] = {"n_ids": 6, "width": 8, "encoder": "lite", "lite_channels": (4, 8, 8, 8)}


def tiny(variant: str = "official", seed: int = 0, **changes: Any) -> EOPNet:
    return EOPNet(EOPNetConfig.preset(variant, **{**TINY, **changes}), seed=seed).double()


def episode(way: str = "k", batch: int = 2, query: tuple[int, int] = (40, 52), seed: int = 0) -> Episode:
    draw = torch.Generator().manual_seed(seed)
    support = (48, 36)

    def mask(size: tuple[int, int]) -> Tensor:
        cells = torch.randint(0, 5, (batch, 5, 6), generator=draw)  # id 5 is never shown
        full = cells.repeat_interleave(-(-size[0] // 5), 1).repeat_interleave(-(-size[1] // 6), 2)
        return full[:, : size[0], : size[1]].contiguous()

    q, s = mask(query), mask(support)
    q_person, s_person = (q > 0).long(), (s > 0).long()
    q_person[:, :7] = 1  # person without a class
    ids = None
    if way == "1":
        q, s, ids = (q == 3).long(), (s == 3).long(), torch.full((batch,), 3)
    q[:, 30:32] = 255
    return Episode(
        query_image=torch.rand(batch, 3, *query, generator=draw, dtype=torch.float64) * 2 - 1,
        support_image=torch.rand(batch, 3, *support, generator=draw, dtype=torch.float64) * 2 - 1,
        support_mask=s,
        support_foreground=s_person,
        query_mask=q,
        query_foreground=q_person,
        class_ids=ids,
    )


def step(net: EOPNet, batch: Episode, progress: float = 0.9) -> tuple[Any, dict[str, Tensor]]:
    parsing = net(batch, progress=progress)
    return parsing, net.losses(parsing, batch, progress)


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(torch.allclose(a, b, atol=1e-9, rtol=1e-9))


# ----------------------------------------------------------------------------------------------------- the face


@pytest.mark.parametrize("variant", ["official", "paper", "lite"])
@pytest.mark.parametrize("way", ["k", "1"])
def test_shapes_losses_gradients_and_predictions(variant: str, way: str) -> None:
    net, batch = tiny(variant, way=way), episode(way)
    assert isinstance(net, OneShotParser)
    channels = 6 if way == "k" else 2
    net.train()
    parsing, losses = step(net, batch)
    assert parsing.npm.shape == parsing.agm.shape == (2, channels, 40, 52)
    assert parsing.coarse.shape == (2, 2, 40, 52)
    assert net.bank.shape == (6, 8)
    assert set(losses) == {"agm", "npm", "coarse", "contrast", "total"}
    assert (float(losses["contrast"].detach()) > 0) == (way == "k")
    expected = 0.1 * losses["agm"] + 0.9 * losses["npm"] + losses["coarse"] + losses["contrast"]
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())
    assert net.bank.grad is None
    learns = [n for n, p in net.named_parameters() if p.grad is not None and bool((p.grad != 0).any())]
    assert any(n.startswith("encoder.stem") for n in learns)
    assert "scale" in learns
    answer = net.predict(batch)
    assert answer.shape == (2, 40, 52)
    assert answer.dtype == torch.int64
    assert int(answer.max()) < channels


def test_a_single_episode_is_a_batch_of_one() -> None:
    net, batch = tiny().eval(), episode(batch=1)
    names = ["query_image", "support_image", "support_mask", "support_foreground", "query_mask", "query_foreground"]
    single = Episode(**{name: getattr(batch, name)[0] for name in names})
    one, many = step(net, single), step(net, batch)
    assert same(one[0].npm, many[0].npm)
    assert same(one[1]["total"], many[1]["total"])
    assert net.predict(single).shape == (1, 40, 52)
    asking = tiny(way="1").eval()
    batch = episode("1", batch=1)
    single = Episode(**{name: getattr(batch, name)[0] for name in [*names, "class_ids"]})
    assert same(asking(single).agm, asking(batch).agm)


def test_evaluation_gives_the_same_losses_but_no_contrast_and_writes_nothing() -> None:
    net, batch = tiny(), episode()
    step(net.train(), batch)
    before = {n: v.clone() for n, v in net.state_dict().items()}
    _, losses = step(net.eval(), batch)
    assert float(losses["contrast"].detach()) == 0
    net.train()
    net.predict(batch)
    assert net.training
    assert all(torch.equal(before[n], v) for n, v in net.state_dict().items())


def test_predict_ignores_the_query_masks_and_screens() -> None:
    net, batch = tiny().eval(), episode()
    blind = replace(batch, query_mask=None, query_foreground=None)
    assert torch.equal(net.predict(batch), net.predict(blind))
    parsing = net(batch)
    person = parsing.coarse.argmax(1) == 1
    assert torch.equal(net.predict(batch, screening=False), parsing.npm.argmax(1))
    assert torch.equal(net.predict(batch, screening=True), parsing.npm.argmax(1) * person)
    assert torch.equal(net.predict(batch, screening=False, source="agm"), parsing.agm.argmax(1))
    with pytest.raises(ValueError, match="npm or agm"):
        net.predict(batch, source="both")


def test_agm_is_left_out_where_it_is_not_needed() -> None:
    net, batch = tiny().eval(), episode()
    calls: list[int] = []
    net.fine_guidance.register_forward_hook(lambda *_: calls.append(1))
    assert net(batch, compute_agm=False).agm is None
    net.predict(batch)
    assert not calls
    net.predict(batch, source="agm")
    assert len(calls) == 1  # every id of every sample in one pass
    with pytest.raises(ValueError, match="compute_agm=False"):
        net.losses(net(batch, compute_agm=False), batch, 0.5)
    assert float(net.losses(net(batch, compute_agm=False), batch, 1.0)["agm"]) == 0


def test_absent_ids_share_one_pass() -> None:
    net, batch = tiny().eval(), episode()
    maps: list[int] = []
    net.fine_guidance.register_forward_hook(lambda m, i, o: maps.append(len(o)))
    net(batch)
    shown = sum(len({*mask.unique().tolist()} - {0, 255}) for mask in batch.support_mask)
    assert maps == [shown + 2]  # the ids shown, and one plain pass a sample for those that are not
    maps.clear()
    closed = tiny("lite").eval()
    closed.fine_guidance.register_forward_hook(lambda m, i, o: maps.append(len(o)))
    closed(batch)
    assert maps == [shown]


def test_one_pass_and_one_pass_per_id_agree_without_training() -> None:
    net, batch = tiny(trunk_bn="per_id"), episode()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    frozen = EOPNet(replace(net.config, trunk_bn="joint")).double()
    frozen.load_state_dict(net.state_dict())
    for module in frozen.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    # training mode with frozen statistics: the loop over ids runs in one network, the single pass in the other
    a, b = step(net, batch), step(frozen, batch)
    assert same(a[0].agm, b[0].agm)
    a[1]["total"].backward()
    b[1]["total"].backward()
    for (name, p), q in zip(net.named_parameters(), frozen.parameters(), strict=True):
        assert p.grad is None or same(p.grad, q.grad), name


def test_seed_fixes_the_weights_without_touching_the_global_generator() -> None:
    state = torch.get_rng_state()
    a, b, c = tiny(seed=3), tiny(seed=3), tiny(seed=4)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(a.encoder.stem[0].weight, b.encoder.stem[0].weight)  # type: ignore[union-attr,index]
    assert not torch.equal(a.encoder.stem[0].weight, c.encoder.stem[0].weight)  # type: ignore[union-attr,index]


def test_registry_builds_from_plain_options() -> None:
    assert "eopnet" in methods()
    config = EOPNetConfig.lite(**TINY)
    options = {**asdict(config), "lite_channels": list(config.lite_channels)}  # as read back from JSON
    net = build("eopnet", **options)
    assert isinstance(net, EOPNet)
    assert net.config == config
    assert build("eopnet", variant="lite", **TINY).config == config  # type: ignore[union-attr]


def test_bf16_autocast_stays_close() -> None:
    net, batch = tiny("lite").float().train(), episode()
    batch = replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())
    _, exact = step(net, batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        _, rough = step(net, batch)
    rough["total"].backward()
    assert float(rough["total"].detach()) == pytest.approx(float(exact["total"].detach()), rel=0.05)


# ----------------------------------------------------------------------------------------- hard and bad episodes


@pytest.mark.parametrize("variant", ["official", "paper", "lite"])
@pytest.mark.parametrize("way", ["k", "1"])
def test_empty_support_and_ignored_pixels_stay_finite(variant: str, way: str) -> None:
    net, batch = tiny(variant, way=way).train(), episode(way)
    assert batch.query_mask is not None
    empty = replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    for hard in (
        empty,
        replace(batch, support_mask=torch.full_like(batch.support_mask, 255)),
        replace(batch, query_mask=torch.full_like(batch.query_mask, 255)),
        replace(batch, support_foreground=torch.full_like(batch.support_foreground, 255)),
        replace(batch, query_foreground=torch.full_like(batch.support_foreground[:, :1, :1], 255).expand(2, 40, 52)),
    ):
        net.zero_grad()
        parsing, losses = step(net, hard)
        losses["total"].backward()
        assert bool(parsing.npm.isfinite().all())
        assert all(bool(value.isfinite()) for value in losses.values())
        assert all(p.grad is None or bool(p.grad.isfinite().all()) for p in net.parameters())
    target = net.target(empty)
    assert set(target.unique().tolist()) == {0, 255}


def test_ignored_pixels_take_no_part() -> None:
    net, batch = tiny().eval(), episode()
    assert batch.query_mask is not None
    where = batch.query_mask == 255
    parsing = net(batch)
    before = net.losses(parsing, batch, 0.5)
    parsing.fine = torch.where(where[:, None], 100.0, parsing.fine)
    assert same(before["npm"], net.losses(parsing, batch, 0.5)["npm"])
    # support pixels marked 255 change nothing but their own share: id 3 painted over by 255 is as good as absent
    gone = replace(batch, support_mask=torch.where(batch.support_mask == 3, 255, batch.support_mask))
    net.train()
    net(gone)
    assert bool((net.bank[3] == 0).all())
    assert bool((net.bank[1] != 0).any())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"support_mask": torch.zeros(2, 48, 35, dtype=torch.int64)}, "support_mask has shape"),
        ({"query_foreground": torch.zeros(2, 1, 40, 52, dtype=torch.int64)}, "query_foreground has shape"),
        ({"support_mask": torch.full((2, 48, 36), 6)}, "id 6"),
        ({"query_mask": torch.full((2, 40, 52), -1)}, "id -1"),
        ({"support_foreground": torch.full((2, 48, 36), 2)}, "id 2"),
    ],
)
def test_masks_that_do_not_fit_are_told(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny()(replace(episode(), **changes))


def test_one_way_needs_an_id_per_episode() -> None:
    net, batch = tiny(way="1"), episode("1")
    for ids in (None, torch.tensor([3]), torch.tensor([0, 3]), torch.tensor([3, 6])):
        with pytest.raises(ValueError, match="class_ids"):
            net(replace(batch, class_ids=ids))
    with pytest.raises(ValueError, match="query_mask"):
        net.losses(net(batch), replace(batch, query_mask=None), 0.5)


def test_stored_foreground_replaces_the_supports() -> None:
    net, batch = tiny("lite").train(), episode()
    step(net, batch)
    net.eval()
    blank = replace(batch, support_foreground=torch.full_like(batch.support_foreground, 255))
    stored = net(batch, stored_foreground=True).coarse
    assert same(stored, net(blank, stored_foreground=True).coarse)
    assert not same(stored, net(batch).coarse)


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
    net.eval()
    last = episode(way, seed=9)
    parsing = net(last)
    result.update(npm=parsing.npm, agm=parsing.agm, coarse=parsing.coarse, answer=net.predict(last).double())
    result["target"] = net.target(last).double()
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
    ("screening", {}, {"screening": False}, {"answer"}, {"npm", "coarse"}),
    ("temperature", {}, {"temperature": 1.0}, {"loss_contrast"}, {"npm", "loss_npm"}),
    ("coarse_weight", {}, {"coarse_weight": 0.5}, {"loss_total"}, {"loss_coarse"}),
    ("contrast_weight", {}, {"contrast_weight": 0.0}, {"loss_total"}, {"loss_contrast"}),
    ("fixed_beta", {}, {"fixed_beta": 0.5}, {"loss_total"}, {"loss_agm", "loss_npm"}),
    ("trunk_bn", {}, {"trunk_bn": "joint"}, {"loss_agm", "agm"}, {"npm", "loss_npm", "coarse"}),
    ("unlabelled_foreground", {}, {"unlabelled_foreground": "ignore"}, {"target", "loss_npm"}, {"npm", "loss_coarse"}),
    ("predict_from", {"screening": False}, {"predict_from": "agm"}, {"answer"}, {"npm", "agm"}),
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
        answer = net.predict(batch, source=source, screening=False)
        for given, found in zip(batch.support_mask, answer, strict=True):
            assert set(found.unique().tolist()) <= {0, *given.unique().tolist()}
    open_net = tiny().eval()
    with torch.no_grad():
        open_net.npm.foreground.weight.fill_(-1)  # type: ignore[union-attr]
        open_net.npm.fusion.bias.fill_(-99)  # type: ignore[union-attr]
    assert bool((open_net.predict(batch, screening=False) == 5).any())  # any raw id can win in the released code


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


def test_synchronised_normalisation_and_frozen_scale() -> None:
    net = tiny(bn_sync=True, npm_scale_learnable=False)
    kinds = {type(m) for m in net.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)}
    assert kinds == {nn.SyncBatchNorm}
    assert same(net.eval()(episode()).npm, tiny().eval()(episode()).npm)
    assert not net.scale.requires_grad


def test_skip_agm_at_test_runs_it_for_nothing_when_off() -> None:
    calls: list[int] = []
    net = tiny(skip_agm_at_test=False)
    net.fine_guidance.register_forward_hook(lambda *_: calls.append(1))
    answer = net.predict(episode())
    assert calls
    assert torch.equal(answer, tiny().predict(episode()))


def test_every_switch_is_documented_and_covered() -> None:
    document = EOPNetConfig.__doc__ or ""
    for field in fields(EOPNetConfig):
        assert field.name in document, field.name
    covered = {key for case in SWITCHES for key in case[2]}
    apart = {"absent_test", "oneway_head", "joint_encode", "bn_sync", "npm_scale_learnable", "skip_agm_at_test"}
    structural = {"encoder", "feature_level", "all_branches"}  # tests of the encoder
    assert {field.name for field in fields(EOPNetConfig)} == covered | apart | structural


def test_docstring_table_states_the_presets() -> None:
    official, paper = EOPNetConfig.official(), EOPNetConfig.paper()
    rows = [line.split("|")[1:4] for line in (EOPNetConfig.__doc__ or "").splitlines() if line.count("|") == 5]
    checked = 0
    for name, theirs, stated in [[cell.strip() for cell in row] for row in rows]:
        if not hasattr(official, name):
            continue
        for config, cell in ((official, theirs), (paper, stated)):
            value = getattr(config, name)
            shown = f"{value:g}" if isinstance(value, float) else str(value)
            assert cell.split()[0] == shown, name
        checked += 1
    assert checked >= 20


@pytest.mark.parametrize(
    ("variant", "changes", "words"),
    [
        ("fancy", {}, "unknown model variant"),
        ("official", {"momentun": 0.9}, "unknown model option"),
        ("official", {"momentum": 1.5}, "momentum"),
        ("official", {"momentum": "high"}, "momentum"),
        ("official", {"feature_level": "low"}, "choose one of"),
        ("official", {"screening": "yes"}, "true or false"),
        ("official", {"n_ids": 1}, "n_ids"),
        ("official", {"n_ids": 6.5}, "n_ids"),
        ("official", {"temperature": 0.0}, "temperature"),
        ("official", {"fixed_beta": 2.0}, "fixed_beta"),
        ("official", {"way": 1}, "way"),
    ],
)
def test_bad_options_are_told_in_one_sentence(variant: str, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        EOPNetConfig.preset(variant, **changes)


def test_presets_change_only_fields_there_are() -> None:
    names = {field.name for field in fields(EOPNetConfig)}
    assert all(set(changes) <= names for changes in PRESETS.values())
