"""EOP-Net's face and switches, on networks small enough to run in milliseconds."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from nn_tiny import TINY, episode, same, step, tiny
from torch import nn

from oshp_lite import EOPNet, Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import OneShotModel, PredictOptions
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.registry import METHODS, build

# ----------------------------------------------------------------------------------------------------- the face


@pytest.mark.parametrize("variant", ["official", "paper", "lite"])
@pytest.mark.parametrize("way", ["k", "1"])
def test_shapes_losses_gradients_and_predictions(variant: str, way: str) -> None:
    net, batch = tiny(variant, way=way), episode(way)
    assert isinstance(net, OneShotModel)
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
    answer = net.predict(batch).ids
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
    assert net.predict(single).ids.shape == (1, 40, 52)
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
    assert torch.equal(net.predict(batch).ids, net.predict(blind).ids)
    parsing = net(batch)
    person = parsing.coarse.argmax(1) == 1
    assert torch.equal(net.predict(batch, PredictOptions(screening=False)).ids, parsing.npm.argmax(1))
    assert torch.equal(net.predict(batch, PredictOptions(screening=True)).ids, parsing.npm.argmax(1) * person)
    assert torch.equal(net.predict(batch, PredictOptions(source="agm", screening=False)).ids, parsing.agm.argmax(1))
    with pytest.raises(UserError, match="npm or agm"):
        net.predict(batch, PredictOptions(source="both"))  # type: ignore[arg-type]


def test_agm_is_left_out_where_it_is_not_needed() -> None:
    net, batch = tiny().eval(), episode()
    calls: list[int] = []
    net.fine_guidance.register_forward_hook(lambda *_: calls.append(1))
    assert net(batch, compute_agm=False).agm is None
    net.predict(batch)
    assert not calls
    net.predict(batch, PredictOptions(source="agm"))
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
    assert "eopnet" in METHODS
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
    leftover = net.config.way == "k" and net.config.unlabelled == "class"
    assert set(target.unique().tolist()) == {0, 255} | ({net.config.n_ids} if leftover else set())


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


def test_npm_alone_does_not_run_the_agm_in_training() -> None:
    net, batch = tiny(fixed_beta=0.0).train(), episode()
    parsing, losses = step(net, batch)
    assert parsing.agm is None
    assert float(losses["agm"]) == 0
    assert net.eval()(batch).agm is not None


def test_predict_leaves_frozen_parts_frozen() -> None:
    net = tiny().train()
    net.encoder.stem.eval()  # type: ignore[union-attr]
    net.predict(episode())
    assert net.training
    assert not net.encoder.stem.training  # type: ignore[union-attr]


def test_unlabelled_person_pixels_are_one_more_class_in_training_only() -> None:
    net, batch = tiny("lite", way="k"), episode("k")
    support = batch.support_mask.clone()
    support[0][batch.support_foreground[0] == 1] = 0  # sample 0 shows unlabelled person pixels, sample 1 does not
    batch = replace(batch, support_mask=support)
    hidden = (batch.query_mask == 0) & (batch.query_foreground == 1)
    shown = ((batch.support_mask == 0) & (batch.support_foreground == 1)).flatten(1).any(1)
    assert bool(hidden.any())
    assert bool(shown.any())
    net.train()
    target = net.target(batch)
    for sample in range(len(batch)):
        named = set(target[sample][hidden[sample]].tolist())
        assert named <= ({net.config.n_ids} if shown[sample] else {255})
    before = net.bank.clone()
    parsing = net(batch, progress=0.5)
    assert parsing.npm.shape[1] == net.config.n_ids
    net.losses(parsing, batch, 0.5)["total"].backward()
    assert net.bank.shape == before.shape  # the extra class has no memory
    net.eval()
    assert net.config.n_ids not in net.target(batch)
    assert int(net.predict(batch).ids.max()) < net.config.n_ids
