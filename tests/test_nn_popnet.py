"""POPNet as a method: stages in sequence, freezing, caching, both ways, what it is trained for."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.labels import label_space
from oshp_lite.models.base import PredictOptions
from oshp_lite.models.modules.feature_cache import FeatureCache
from oshp_lite.models.modules.losses import pixel_loss, restrict_target
from oshp_lite.models.modules.metric import attend, cosine_maps
from oshp_lite.models.popnet import ForegroundStage, KnowledgeInfusion, POPNet, PopNetStage
from oshp_lite.models.popnet_config import STAGE_ENDS, POPNetConfig
from oshp_lite.models.registry import build

AREAS = (0, 1, 1, 2, 3, 4)


def tiny(variant: str = "lite", seed: int = 0, **changes: Any) -> POPNet:
    options = {"n_ids": 6, "width": 8, "encoder": "lite", "lite_channels": (4, 8, 8, 8), "areas": AREAS, **changes}
    return POPNet(POPNetConfig.preset(variant, **options), seed=seed).double()


def step(net: POPNet, batch: Episode, progress: float) -> dict[str, Tensor]:
    losses = net.losses(net(batch, progress=progress), batch, progress)
    losses["total"].backward()
    return losses


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


# ------------------------------------------------------------------------------------------------- the schedule


@given(
    stages=st.integers(1, 3),
    progress=st.floats(0, 1, exclude_max=True),
)
def test_every_moment_belongs_to_one_stage(stages: int, progress: float) -> None:
    config = POPNetConfig.preset("lite", stages=stages, n_ids=18)
    index, share = config.stage_at(progress)
    start, end = ((0.0, *STAGE_ENDS[stages])[index], STAGE_ENDS[stages][index])
    assert start - 1e-9 <= progress < end
    assert math.isclose(share, max(0.0, (progress - start) / (end - start)), abs_tol=1e-12)
    assert 0 <= share <= 1


def test_stages_are_told_and_checked() -> None:
    assert tiny().stage_ends == (0.3, 1.0)
    assert tiny(stages=3).stage_ends == (0.2, 0.5, 1.0)
    assert tiny(stages=2, stage_ends=(0.5, 1.0)).stage_ends == (0.5, 1.0)
    assert tiny(stages=1).stage_ends == (1.0,)
    kinds = [type(stage) for stage in tiny(stages=3).stages]
    assert kinds == [ForegroundStage, PopNetStage, PopNetStage]
    # 30 epochs, stages end after 9: the 10th epoch belongs to the next stage although 0.3 is no binary fraction
    assert [POPNetConfig.preset("lite").stage_at(epoch / 30)[0] for epoch in (8, 9)] == [0, 1]
    for wrong in ((0.5,), (0.7, 0.5), (0.3, 0.9), (0.0, 1.0)):
        with pytest.raises(UserError, match="stage_ends"):
            POPNetConfig.preset("lite", stage_ends=wrong)
    for options, words in (
        ({"stages": 4}, "stages"),
        ({"momentum": 1.0}, "momentum"),
        ({"warmup": 2.0}, "warmup"),
        ({"kim": "deep"}, "kim"),
        ({"width": 64, "encoder": "xception"}, "width"),
        ({"coarse_proto": "static"}, "coarse_proto"),
        ({"n_ids": 9, "stages": 3}, "areas"),
        ({"areas": (0, 1)}, "areas"),
    ):
        with pytest.raises(UserError, match=words):
            POPNetConfig.preset("lite", **options)


@pytest.mark.parametrize("stages", [2, 3])
@pytest.mark.parametrize("variant", ["lite", "official"])
def test_only_the_stage_in_training_changes(stages: int, variant: str) -> None:
    net, batch = tiny(variant, stages=stages), episode()
    starts = (0.0, *STAGE_ENDS[stages][:-1])
    for active, progress in enumerate(starts):
        net.train()
        optimiser = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
        before = [state_of(stage) for stage in net.stages]
        for _ in range(2):
            step(net, batch, progress + 0.05)
            optimiser.step()
            optimiser.zero_grad()
        for place, stage in enumerate(net.stages):
            after = stage.state_dict()
            same = [torch.equal(value, after[name]) for name, value in before[place].items()]
            assert all(same) if place != active else not all(same), (active, place)
        assert [stage.training for stage in net.stages] == [place == active for place in range(stages)]


def test_initial_weights_can_go_into_every_encoder() -> None:
    net = tiny(stages=3)
    assert [encoder is stage.encoder for encoder, stage in zip(net.encoders(), net.stages, strict=True)] == [True] * 3
    assert len({id(encoder) for encoder in net.encoders()}) == 3


def test_seeds_and_the_global_generator() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, other, again = tiny(seed=1), tiny(seed=2), tiny(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    first = one.state_dict()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in first.items())
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in first.items())


# ------------------------------------------------------------------------------------------------- the stages


def test_stage_one_is_ordinary_segmentation_of_both_photos() -> None:
    net, batch = tiny().train(), episode()
    parsing = net(batch, progress=0.0)
    losses = net.losses(parsing, batch, 0.0)
    assert set(losses) == {"foreground", "agm", "ncm", "total"}
    assert not losses["agm"] + losses["ncm"]
    assert batch.query_foreground is not None
    want = pixel_loss(parsing.coarse, batch.query_foreground)
    want = (want + pixel_loss(parsing.extras["support_coarse"], batch.support_foreground)) / 2
    assert torch.equal(losses["total"], want)
    assert parsing.fine.shape == (2, 6, 40, 52)
    # nothing of the support's classes enters
    other = replace(batch, support_mask=torch.zeros_like(batch.support_mask))
    assert torch.equal(net(other, progress=0.0).coarse, parsing.coarse)


def test_the_last_stage_shifts_weight_over_its_own_time() -> None:
    batch = episode()
    for progress, beta in ((0.3, 1.0), (0.65, 0.5), (0.93, 0.1)):
        losses = step(tiny().train(), batch, progress)
        assert torch.allclose(losses["total"], beta * losses["agm"] + (1 - beta) * losses["ncm"])
    losses = step(tiny(fixed_beta=0.25).train(), batch, 0.9)
    assert torch.allclose(losses["total"], 0.25 * losses["agm"] + 0.75 * losses["ncm"])
    losses = step(tiny(fixed_beta=0.0).train(), batch, 0.4)
    assert torch.equal(losses["total"], losses["ncm"])
    assert not losses["agm"]


def test_prototypes_are_static_for_half_of_a_stage() -> None:
    batch = episode()
    for progress, static in ((0.3, True), (0.64, True), (0.65, False), (0.99, False), (None, False)):
        net = tiny().train()
        with torch.no_grad():
            net.bank[1:] = torch.randn(5, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        kept = state_of(net)
        answers = []
        for choice in (None, static):
            net.load_state_dict(kept)
            answers.append(net(batch, static_prototypes=choice, progress=progress).ncm)
        assert torch.equal(*answers)
    net = tiny(dynamic=False).train()
    net(batch, progress=0.9)
    assert not net.bank.any()


def test_stage_two_learns_areas() -> None:
    net, batch = tiny("official", stages=3).train(), episode()
    parsing = net(batch, progress=0.3)
    assert parsing.fine.shape[1] == 6
    assert not parsing.fine.any()
    assert parsing.extras["ncm"].shape[1] == 5
    losses = net.losses(parsing, batch, 0.3)
    table = torch.tensor([*AREAS, *[255] * 250])
    assert batch.query_mask is not None
    target = restrict_target(table[batch.query_mask], table[batch.support_mask][:, ::4, ::4], 5)
    assert torch.allclose(losses["ncm"], pixel_loss(parsing.extras["ncm"], target))
    with pytest.raises(ValueError, match="query_mask"):
        net.losses(parsing, replace(batch, query_mask=None), 0.3)


@pytest.mark.parametrize("name", ["atr", "lip", "cihp", "ccp-os", "pascal"])
def test_areas_come_from_the_label_space_with_as_many_ids(name: str) -> None:
    space = label_space(name)
    areas = POPNetConfig.preset("lite", stages=3, n_ids=space.n_ids).areas
    assert areas is not None
    for number, ids in enumerate(space.groups.values(), start=1):
        assert {areas[index] for index in ids} == {number}
    assert areas[0] == 0


def test_the_kim_brings_earlier_features_in() -> None:
    net, batch = tiny().eval(), episode()
    with torch.no_grad():
        before = net(batch)
        for parameter in net.stages[0].parameters():
            parameter.add_(0.05)
        after = net(batch)
    assert not torch.allclose(before.ncm, after.ncm)
    for kind in ("separable", "plain"):
        unit = KnowledgeInfusion(8, kind)  # type: ignore[arg-type]
        assert unit(torch.randn(2, 8, 5, 7), torch.randn(2, 8, 10, 13)).shape == (2, 8, 10, 13)
    assert sum(p.numel() for p in KnowledgeInfusion(256).parameters()) == 206_080  # facts E.1
    alone = tiny(stages=1)
    assert alone.fine.infusion is None
    assert alone(batch).coarse is None
    with pytest.raises(ValueError, match="previous"):
        net(batch, previous=(torch.zeros(1), torch.zeros(1)))
    with pytest.raises(ValueError, match="previous"):
        alone(batch, previous=(torch.zeros(1), torch.zeros(1)))


# ------------------------------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("stages", [1, 2, 3])
@pytest.mark.parametrize("variant", ["lite", "official"])
def test_every_form_trains_and_answers(way: str, stages: int, variant: str) -> None:
    net, batch = tiny(variant, way=way, stages=stages, unlabelled="class"), episode(way)
    for progress in (0.0, 0.25, 0.45, 0.95):
        assert math.isfinite(float(step(net.train(), batch, progress)["total"].detach()))
    for kind in ("fixed", "ucs"):
        other = tiny(variant, way=way, stages=stages, screening_ids=kind)
        other.load_state_dict(net.state_dict())
        other.train()
        before = state_of(other)
        answer = other.predict(batch).ids
        assert other.training
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
        assert answer.dtype == torch.int64
        assert answer.shape == (2, 40, 52)
        shown = {0, *batch.support_mask[:, ::4, ::4].unique().tolist()} if variant == "lite" else set(range(6))
        assert set(answer.unique().tolist()) <= shown


def test_predict_follows_its_options() -> None:
    net, batch = tiny().eval(), episode()
    parsing = net(batch)
    assert torch.equal(net.predict(batch).ids, parsing.ncm.argmax(1))
    assert torch.equal(net.predict(batch, PredictOptions(source="agm")).ids, parsing.agm.argmax(1))
    assert net.predict(batch, PredictOptions(screening=True)).person is None  # its papers do not screen
    assert net(batch, compute_agm=False).agm is None
    with pytest.raises(ValueError, match="AGM"):
        net.losses(net(batch, compute_agm=False), batch, 0.5)


@pytest.mark.parametrize("dynamic", [True, False])
def test_the_released_one_way_heads(dynamic: bool) -> None:
    """Dynamic class: no residual, scaled NCM; static class: residual, no scale (facts C.3)."""
    net, batch = tiny("official", way="1", stages=1, dynamic=dynamic).eval(), episode("1", query=(48, 36))
    stage = net.fine
    query, support = stage.encoder(batch.query_image), stage.encoder(batch.support_image)
    mask = batch.support_mask[:, None, ::4, ::4].double()
    prototype = (support * mask).sum((2, 3)) / mask.sum((2, 3)).clamp(min=1)
    m = cosine_maps(query, prototype[:, None])
    want = stage.ncm(m) * (stage.scale if dynamic else 1)
    guided = stage.guidance(attend(query, m[:, 0], residual=not dynamic))
    parsing = net(batch)
    size = parsing.fine.shape[-2:]
    for got, low in ((parsing.ncm, want), (parsing.agm, guided)):
        assert torch.allclose(got, nn.functional.interpolate(low, size=size, mode="bilinear", align_corners=True))


@pytest.mark.parametrize("kind", ["fixed", "ucs"])
def test_trains_in_half_precision(kind: str) -> None:
    net, batch = tiny(screening_ids=kind, unlabelled="class").float().train(), episode()
    photos = {name: getattr(batch, name).float() for name in ("query_image", "support_image")}
    batch = replace(batch, **photos)
    for progress in (0.1, 0.4, 0.9):
        with torch.autocast("cpu", torch.bfloat16):
            losses = net.losses(net(batch, progress=progress), batch, progress)
        losses["total"].backward()
        assert math.isfinite(float(losses["total"].detach()))
    with torch.autocast("cpu", torch.bfloat16):
        half = net.predict(batch).ids
    assert half.shape == net.predict(batch).ids.shape


def test_registered() -> None:
    net = build("popnet", variant="lite", n_ids=12, way="k", stages=3, seed=1)
    assert isinstance(net, POPNet)
    with pytest.raises(UserError, match="contrast"):
        build("popnet", variant="lite", contrast_weight=1.0)


# -------------------------------------------------------------------------------------------------------- cache


@pytest.mark.parametrize("stages", [2, 3])
def test_caching_changes_nothing(stages: int) -> None:
    batch, other = episode(seed=0), episode(seed=1)
    mixed = replace(other, query_image=torch.stack([batch.query_image[1], other.query_image[0]]))
    with_it, without = tiny(stages=stages), tiny(stages=stages, cache="never")
    for held in (batch, other, mixed, batch):
        assert torch.equal(with_it.predict(held).ids, without.predict(held).ids)
        with torch.inference_mode():
            one, two = with_it.eval()(held), without.eval()(held)
        assert torch.allclose(one.ncm, two.ncm, atol=1e-12)
        assert torch.allclose(one.coarse, two.coarse, atol=1e-12)
    hits, misses = with_it.cached_photos
    assert misses == 8  # two batches of two pairs; the mixed one holds nothing new
    assert hits == 24
    # a hit has the bits of a miss, whatever shared its batch
    fresh = tiny(stages=stages).eval()
    assert torch.equal(fresh(mixed).ncm, with_it.eval()(mixed).ncm)


def test_cached_features_serve_training_without_augmentation() -> None:
    batch = episode()
    found = {}
    for cache in ("always", "never"):
        net = tiny(cache=cache)
        optimiser = torch.optim.SGD(net.parameters(), lr=1e-2)
        net.predict(batch)  # in evaluation first, so that held features were made without gradients
        for progress in (0.0, 0.4, 0.6, 0.8):
            step(net.train(), batch, progress)
            optimiser.step()
            optimiser.zero_grad()
        found[cache] = net
    assert found["always"].cached_photos[0] > 0
    for name, value in found["always"].state_dict().items():
        assert torch.allclose(value, found["never"].state_dict()[name], atol=1e-12), name


def test_the_cache_notices_new_weights() -> None:
    net, batch = tiny().eval(), episode()
    before = net(batch).ncm
    with torch.no_grad():
        next(net.stages[0].parameters()).mul_(1.5)
    assert not torch.allclose(net(batch).ncm, before)
    other = tiny(seed=5).eval()
    net.load_state_dict(other.state_dict())
    assert torch.equal(net(batch).ncm, other(batch).ncm)
    assert net.float()(replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float()))
    twin = copy.deepcopy(other)
    with torch.no_grad():
        next(twin.stages[0].parameters()).mul_(1.5)
    assert not torch.allclose(twin(batch).ncm, other(batch).ncm)


@settings(deadline=None, max_examples=30)
@given(order=st.lists(st.integers(0, 5), min_size=1, max_size=20), limit=st.integers(0, 4))
def test_the_cache_is_bounded_and_forgets_the_oldest(order: list[int], limit: int) -> None:
    cache = FeatureCache([nn.Identity()], limit * 400 / 2**20)  # a photo's features take 400 bytes
    held: list[int] = []
    for number in order:
        image = torch.full((1, 3, 2, 2), float(number))
        (made,) = cache(image, lambda x: [x[:, :1].mean((2, 3)).expand(-1, 100)])
        assert torch.equal(made, torch.full((1, 100), float(number)))
        held = ([n for n in held if n != number] + [number])[-limit:] if limit else []
        assert len(cache) == len(held) <= limit
    assert cache.hits + cache.misses == len(order)
