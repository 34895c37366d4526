"""PPNet, PFENet and label transfer: their equations, the invariants of the method, and that they learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode
from torch import Tensor, nn

import oshp_lite.contenders  # noqa: F401
from oshp_lite.assets import checkpoint
from oshp_lite.contenders.common import CLOSED, Contender, members, one, pool
from oshp_lite.contenders.label_transfer import LabelTransfer, cell_labels, transfer
from oshp_lite.contenders.pfenet import Enrichment, PFENet, bins_of, prior_maps, two_class_loss
from oshp_lite.contenders.ppnet import first_members, part_prototypes, part_scores, pixel_sets
from oshp_lite.data.episode import IGNORE, Episode, collate
from oshp_lite.data.episodes import EpisodeDataset
from oshp_lite.data.figures import generate
from oshp_lite.engine.models import load_encoder
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.nn.metric import cosine_maps
from oshp_lite.nn.parser import build

METHODS = ("ppnet", "pfenet", "label_transfer")
SMALL: dict[str, Any] = {"n_ids": 6, "width": 8, "lite_channels": (4, 8, 8, 8), "variant": "lite"}


def small(method: str, **changes: Any) -> Any:
    return build(method, **{**SMALL, **changes}).double()


class Colours(nn.Module):
    """Perfect features: the mean colour of every 4x4 cell."""

    out_channels = 6

    def forward(self, image: Tensor) -> Tensor:
        return F.avg_pool2d(image, 4)


def painted(seed: int = 0, batch: int = 2, side: int = 32, n: int = 5) -> Episode:
    """Support == query, one-hot colours as images; masks are constant on 8x8 blocks."""
    draw = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, n, (batch, side // 8, side // 8), generator=draw)
    mask = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)
    image = F.one_hot(mask, 6).permute(0, 3, 1, 2).double()
    person = (mask > 0).long()
    return Episode(image, image, mask, person, mask.clone(), person)


def relabel(mask: Tensor, order: Tensor) -> Tensor:
    table = torch.arange(256)
    table[: len(order)] = order
    return table[mask]


# --------------------------------------------------------------------------------------------------- all three


@pytest.mark.parametrize("method", METHODS)
def test_permuting_ids_permutes_the_channels(method: str) -> None:
    net = small(method, absent_test="full").eval()
    batch = episode()
    order = torch.tensor([0, 3, 1, 5, 2, 4])  # id i becomes order[i]
    moved = replace(batch, support_mask=relabel(batch.support_mask, order))
    plain, permuted = net(batch).fine, net(moved).fine
    assert torch.allclose(plain, permuted[:, order], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_in_k_way_is_the_one_way_answer(method: str) -> None:
    batch = episode("1")
    one_way = small(method, way="1").eval()
    k_way = small(method, absent_test="full").eval()
    as_k = replace(batch, support_mask=batch.support_mask * 4, class_ids=None)
    assert torch.equal(k_way.predict(as_k), one_way.predict(batch) * 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["k", "1"])
def test_answers_are_of_the_support_and_of_the_episode_alone(method: str, way: str) -> None:
    net = small(method, way=way).train()
    batch = episode(way)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    answer = net.predict(batch)
    assert answer.dtype == torch.int64
    assert answer.shape == batch.query_image[:, 0].shape
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    for row in range(len(batch)):
        allowed = {0, *batch.support_mask[row].unique().tolist()}
        assert set(answer[row].unique().tolist()) <= allowed
        assert torch.equal(net.predict(one(batch, row))[0], answer[row])
    assert torch.equal(net.predict(replace(batch, query_mask=None, query_foreground=None)), answer)


@pytest.mark.parametrize("method", METHODS)
def test_empty_and_ignored_supports_answer_background(method: str) -> None:
    net = small(method).eval()
    batch = episode()
    for value in (0, IGNORE):
        bare = replace(batch, support_mask=torch.full_like(batch.support_mask, value))
        assert torch.isfinite(net(bare).fine).all()
        assert not net.predict(bare).any()


@pytest.mark.parametrize("method", METHODS)
def test_bad_options_are_told(method: str) -> None:
    with pytest.raises(UserError, match="no option 'colour'"):
        build(method, **SMALL, colour=1)
    bad = {"ppnet": {"sampling": "all"}, "pfenet": {"kway_rule": "max"}, "label_transfer": {"level": "cellar"}}
    with pytest.raises(UserError, match=next(iter(bad[method]))):
        build(method, **SMALL, **bad[method])


@pytest.mark.parametrize("method", ["ppnet", "pfenet"])
@pytest.mark.parametrize("how", ["background", "ignore", "class"])
def test_training_steps_are_finite_whatever_unlabelled_pixels_are(method: str, how: str) -> None:
    net = small(method, unlabelled_foreground=how).train()
    parsing = net(episode(), progress=0.5)
    losses = net.losses(parsing, episode(), 0.5)
    assert parsing.fine.shape[1] == 6
    losses["total"].backward()
    grads = [p.grad for p in net.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)
    assert losses["total"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_steps_stay_close(method: str) -> None:
    """Under bf16 autocast pooling, k-means, priors and votes still run in float32."""
    batch = episode()
    batch = replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())
    found = []
    for enabled in (False, True):
        net = build(method, **SMALL, **({"dropout": 0.0} if method == "pfenet" else {})).train()
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            torch.manual_seed(0)
            losses = net.losses(net(batch, progress=0.5), batch, 0.5)
        found.append(losses["total"].item())
        assert losses["total"].dtype == torch.float32
    assert found[1] == pytest.approx(found[0], rel=0.1)


# ------------------------------------------------------------------------------------------------------ PPNet


def upsampled(features: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resampling with aligned corners, [D,h,w] -> [D,*size]."""
    out = features
    for axis, target in ((1, size[0]), (2, size[1])):
        source = out.shape[axis]
        at = np.arange(target) * (source - 1) / max(target - 1, 1)
        low = np.minimum(np.floor(at).astype(int), max(source - 2, 0))
        share = at - low
        shape = [1, 1, 1]
        shape[axis] = target
        share = share.reshape(shape)
        high = np.minimum(low + 1, source - 1)
        out = np.take(out, low, axis) * (1 - share) + np.take(out, high, axis) * share
    return out


def nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows = np.arange(size[0]) * mask.shape[0] // size[0]
    columns = np.arange(size[1]) * mask.shape[1] // size[1]
    return mask[rows][:, columns]


def reference_parts(features: np.ndarray, mask: np.ndarray, n: int, starts: dict[int, Any], k: int) -> np.ndarray:
    """PPNet's prototypes of one image straight from the paper's rules: explicit refined maps, plain k-means."""
    depth, h, w = features.shape
    found = np.zeros((n, k, depth))
    full = upsampled(features, mask.shape)
    for c in range(n):
        grid = (h, w) if c == 0 else (2 * h, 2 * w)
        inside = nearest(mask, grid) == c
        points = upsampled(features, grid)[:, inside].T
        if inside.sum() <= 10:
            points = full[:, mask == c].T
        if not len(points):
            continue
        centres = points[starts[c]]
        for step in range(11):
            own = ((points[:, None] - centres[None]) ** 2).sum(2).argmin(1)
            centres = np.stack([points[own == i].mean(0) if (own == i).any() else np.zeros(depth) for i in range(k)])
            if step < 10:
                continue
        found[c] = centres + 0.8 * full[:, mask == c].sum(1) / ((mask == c).sum() + 1e-5)
    return found


def test_part_prototypes_are_the_papers() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 6, 9, 7))
    mask = rng.integers(0, 3, (2, 9, 7)).repeat(4, 1).repeat(4, 2)
    mask[0, :8, :3], mask[1, 5:7, 5:7], mask[1, 20, 3] = 3, 4, 5  # small ones: the rule of ten, fewer pixels than parts
    mask[0, 30:] = 255
    masks, maps = torch.from_numpy(mask), torch.from_numpy(features)
    found = part_prototypes(maps, masks, 7)
    sets = pixel_sets(masks, 7, (9, 7))
    starts = first_members(sets, 5)
    for b in range(2):
        own = {int(c): starts[i].numpy() for i, c in enumerate(sets.channel) if sets.sample[i] == b}
        wanted = reference_parts(features[b], mask[b], 7, own, 5)
        assert np.abs(found[b].numpy() - wanted).max() < 1e-9
    assert not found[:, 6].any()  # an id without pixels
    scores = part_scores(maps, found)
    q = features[0].reshape(6, -1).T
    cosine = q @ found[0].reshape(35, 6).numpy().T
    cosine /= np.linalg.norm(q, axis=1)[:, None]
    cosine /= np.linalg.norm(found[0].reshape(35, 6).numpy(), axis=1)[None] + 1e-30
    wanted = 20 * cosine.reshape(9, 7, 7, 5).max(3).transpose(2, 0, 1)
    assert np.abs(scores[0].numpy() - wanted).max() < 1e-9


def test_first_members_ignore_ids_batches_and_generators() -> None:
    mask = episode(batch=3).support_mask
    sets = pixel_sets(mask, 6, (12, 9))
    first = first_members(sets, 5)
    assert bool((first < sets.sizes[:, None]).all())
    alone = pixel_sets(mask[1:2], 6, (12, 9))
    assert torch.equal(first_members(alone, 5), first[sets.sample == 1])
    assert not torch.equal(first_members(sets, 5, seed=1), first)
    # no member is preferred: the mean rank of many draws is the middle
    ranks = first_members(sets, 400).double() / sets.sizes[:, None]
    assert bool(((ranks.mean(1) - 0.5).abs() < 0.08).all())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.25, 2.0, 1024.0]))
def test_scores_are_bounded_and_do_not_depend_on_the_features_scale(seed: int, factor: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 5, 6, 8, generator=draw, dtype=torch.float64)
    mask = torch.randint(0, 4, (2, 24, 32), generator=draw)
    scores = part_scores(features, part_prototypes(features, mask, 4))
    assert float(scores.abs().max()) <= 20 + 1e-9
    scaled = part_scores(features * factor, part_prototypes(features * factor, mask, 4))
    assert torch.allclose(scores, scaled, atol=1e-9)


def test_one_part_without_global_prototype_is_panets_pooling() -> None:
    draw = torch.Generator().manual_seed(3)
    features = torch.randn(2, 5, 6, 8, generator=draw, dtype=torch.float64)
    mask = torch.randint(0, 4, (2, 24, 32), generator=draw)
    parts = part_prototypes(features, mask, 4, parts=1, global_weight=0.0, sampling="mask")
    whole = pool(features, members(mask, 4), "aligned", eps=0.0)
    assert torch.allclose(parts[:, :, 0], whole, atol=1e-12)
    assert torch.allclose(part_scores(features, parts), 20 * cosine_maps(features, whole), atol=1e-9)
    grid = part_prototypes(features, mask, 4, parts=1, global_weight=0.0)
    assert not torch.allclose(grid[:, :, 0], whole, atol=1e-3)


def test_gradient_runs_through_the_final_centres() -> None:
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(1, 2, 3, 4, generator=draw, dtype=torch.float64, requires_grad=True)
    mask = torch.randint(0, 3, (1, 12, 16), generator=draw)
    assert torch.autograd.gradcheck(lambda x: part_prototypes(x, mask, 3, parts=2), features, eps=1e-7, atol=1e-6)


def perfect(method: str, **changes: Any) -> Any:
    net = small(method, n_ids=6, **({"projection": 0} if method == "ppnet" else {}), **changes)
    net.encoder = Colours()
    return net.eval()


@pytest.mark.parametrize("changes", [{"method": "ppnet"}, {"method": "label_transfer", "top_k": 1}], ids=str)
def test_perfect_features_return_the_support_mask(changes: dict[str, Any]) -> None:
    net = perfect(**changes)
    batch = painted()
    wrong = (net.predict(batch) != batch.support_mask).double().mean()
    inner = F.max_pool2d(F.pad(edges(batch.support_mask), (4, 4, 4, 4)), 9, 1)[:, 0] == 0
    assert not (net.predict(batch) != batch.support_mask)[inner].any()  # only within a cell of a border
    assert wrong < 0.2


def edges(mask: Tensor) -> Tensor:
    found = torch.zeros_like(mask, dtype=torch.float64)
    found[:, 1:] += (mask[:, 1:] != mask[:, :-1]).double()
    found[:, :, 1:] += (mask[:, :, 1:] != mask[:, :, :-1]).double()
    return found[:, None]


def test_alignment_is_zero_without_an_answer_and_reaches_both_images() -> None:
    net = small("ppnet").train()
    batch = episode()
    parsing = net(batch)
    for name in ("query", "support"):
        parsing.extras[name].retain_grad()
    net.alignment(parsing, batch).backward()
    assert all(float(parsing.extras[name].grad.abs().sum()) > 0 for name in ("query", "support"))
    parsing = net(batch)
    parsing.extras["scores"] = parsing.extras["scores"].detach().clone()
    parsing.extras["scores"][:, 0] = 100
    assert float(net.alignment(parsing, batch).detach()) == 0
    assert net.losses(parsing, batch, 0.0)["total"].requires_grad
    net.eval()
    assert float(net.losses(net(batch), batch, 0.0)["par"]) == 0


def test_alignment_is_the_two_way_loss_on_the_support() -> None:
    net = small("ppnet").train()
    batch = episode(batch=1, seed=2)
    parsing = net(batch)
    answer = parsing.extras["scores"].argmax(1)
    whole = F.interpolate(answer[:, None].float(), size=batch.query_image.shape[-2:], mode="nearest")[:, 0].long()
    parts = part_prototypes(parsing.extras["query"], whole, 6)
    total, ways = 0.0, batch.support_mask.unique().tolist()
    for c in [c for c in ways if c and bool((answer == c).any())]:
        pair = part_scores(parsing.extras["support"], parts[:, [0, c]])
        pair = F.interpolate(pair, size=batch.support_mask.shape[-2:], mode="bilinear", align_corners=True)
        label = torch.where(batch.support_mask == c, 1, torch.where(batch.support_mask == 0, 0, IGNORE))
        total += F.cross_entropy(pair, label, ignore_index=IGNORE).item() / len([w for w in ways if w])
    assert float(net.alignment(parsing, batch)) == pytest.approx(total, abs=1e-9)


# ------------------------------------------------------------------------------------------------------ PFENet


def test_prior_is_the_papers() -> None:
    rng = np.random.default_rng(0)
    query, support = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 4, 4, 3))
    masks = rng.random((3, 4, 3)) * (rng.random((3, 4, 3)) > 0.4)
    sample = np.array([0, 1, 1])
    found = prior_maps(*(torch.from_numpy(x) for x in (query, support, masks, sample))).numpy()
    for i, b in enumerate(sample):
        q, s = query[b].reshape(4, -1), (support[b] * masks[i]).reshape(4, -1)
        cosine = q.T @ s / (np.linalg.norm(q, axis=0)[:, None] * np.linalg.norm(s, axis=0)[None] + 1e-7)
        best = cosine.max(1)
        wanted = (best - best.min()) / (best.max() - best.min() + 1e-7)
        assert np.abs(found[i].ravel() - wanted).max() < 1e-5
        assert found[i].max() == pytest.approx(1, abs=1e-6)
        assert found[i].min() == 0


def test_prior_does_not_see_the_supports_background_nor_the_head() -> None:
    draw = torch.Generator().manual_seed(0)
    query, support = (torch.randn(1, 4, 5, 5, generator=draw).double() for _ in range(2))
    mask = torch.zeros(1, 5, 5).double()
    mask[:, 1:3, 1:4] = 1
    changed = torch.where(mask > 0, support, torch.randn(1, 4, 5, 5, generator=draw).double())
    row = torch.zeros(1, dtype=torch.int64)
    assert torch.equal(prior_maps(query, support, mask, row), prior_maps(query, changed, mask, row))
    assert not prior_maps(query, support, mask * 0, row).any()
    assert list(small("pfenet", seed=0).encoder.state_dict()) == list(small("pfenet", seed=1).encoder.state_dict())


def test_bins_follow_height_and_width() -> None:
    assert bins_of((32, 24)) == [(32, 24), (16, 12), (8, 6), (4, 3)]
    assert bins_of((60, 60)) == [(60, 60), (30, 30), (15, 15), (8, 8)]
    assert min(min(size) for size in bins_of((3, 2))) == 1


def test_enrichment_is_the_concatenated_form() -> None:
    """The merge splits its convolution so that the query's part runs once per episode; here it does not."""
    torch.manual_seed(0)
    fem = Enrichment(4).double().eval()
    query, vectors = torch.randn(2, 4, 8, 6).double(), torch.randn(3, 4).double()
    prior, sample = torch.rand(3, 8, 6).double(), torch.tensor([0, 1, 1])
    final, answers = fem(query, vectors, prior, sample)

    def bilinear(x: Tensor, size: Any) -> Tensor:
        return F.interpolate(x, size=tuple(size), mode="bilinear", align_corners=True)

    maps: list[Tensor] = []
    for i, size in enumerate(bins_of((8, 6))):
        x = F.adaptive_avg_pool2d(query, size)[sample]
        v = vectors[:, :, None, None].expand(-1, -1, *size)
        m = F.relu(fem.merge[i](torch.cat([x, v, bilinear(prior[:, None], size)], 1)))
        if maps:
            m = m + fem.hand_down[i - 1](torch.cat([m, bilinear(maps[-1], size)], 1))
        m = m + fem.refine[i](m)
        assert torch.allclose(fem.scale_heads[i](m), answers[i], atol=1e-10)
        maps.append(bilinear(m, (8, 6)))
    joined = fem.join(torch.cat(maps, 1))
    assert torch.allclose(fem.head(joined + fem.last(joined)), final, atol=1e-10)


def test_two_class_loss_is_the_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, label = torch.randn(3, 2, 4, 5).double(), torch.randint(0, 2, (3, 16, 20))
    label[0, :5] = IGNORE
    full = F.interpolate(logits, size=(16, 20), mode="bilinear", align_corners=True)
    wanted = F.cross_entropy(full, label, ignore_index=IGNORE)
    assert float(two_class_loss(logits, label)) == pytest.approx(float(wanted), abs=1e-9)
    total = weights = 0.0
    for i in range(3):  # balanced: each map's foreground weighs (background / foreground)^0.5
        ratio = max(1.0, float((label[i] == 0).sum() / (label[i] == 1).sum())) ** 0.5
        plain = F.cross_entropy(full[i : i + 1], label[i : i + 1], ignore_index=IGNORE, reduction="none")
        weight = torch.where(label[i] == 1, ratio, 1.0) * (label[i] != IGNORE)
        total, weights = total + float((plain * weight).sum()), weights + float(weight.sum())
    assert float(two_class_loss(logits, label, 0.5)) == pytest.approx(total / weights, abs=1e-6)


def test_frozen_encoder_stays_as_it_was_and_classes_are_drawn() -> None:
    net: PFENet = small("pfenet", classes_per_step=2).train()
    before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    batch = episode(batch=3)
    parsing = net(batch)
    drawn = torch.bincount(parsing.extras["sample"], minlength=3)
    assert bool((drawn == 2).all())
    pairs = zip(parsing.extras["sample"].tolist(), parsing.extras["channel"].tolist(), strict=True)
    assert all(bool((batch.support_mask[b] == c).any()) for b, c in pairs)
    net.losses(parsing, batch, 0.0)["total"].backward()
    assert all(p.grad is None and not p.requires_grad for p in net.encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.state_dict().items())
    assert not net.encoder.training
    assert small("pfenet", freeze_encoder=False).encoder.training


def test_kway_rules_join_the_two_class_answers() -> None:
    net: PFENet = small("pfenet").eval()
    batch = episode()
    answer = net.predict(batch)
    for row in range(len(batch)):
        best = torch.full(answer.shape[1:], 0.5, dtype=torch.float64)
        wanted = torch.zeros_like(answer[row])
        for c in (c for c in batch.support_mask[row].unique().tolist() if c):
            alone = replace(one(batch, row), support_mask=(batch.support_mask[row : row + 1] == c).long() * c)
            chance = torch.sigmoid(net(alone).fine[0, c])
            wanted, best = torch.where(chance > best, c, wanted), torch.maximum(chance, best)
        assert torch.equal(answer[row], wanted)
    net.kway_rule = "mean"
    fine = net(batch).fine
    assert torch.isfinite(fine).all()
    assert float(fine.detach().min()) == pytest.approx(CLOSED)


# ---------------------------------------------------------------------------------------------- label transfer


def test_transfer_is_the_nearest_neighbour() -> None:
    rng = np.random.default_rng(0)
    query, support = rng.normal(size=(2, 4, 3, 5)), rng.normal(size=(2, 4, 2, 6))
    labels = rng.dirichlet(np.ones(3), (2, 12))
    usable = rng.random((2, 12)) > 0.3
    given_ = [torch.from_numpy(x) for x in (query, support, labels, usable)]
    for k in (1, 4):
        found = transfer(*given_, top_k=k, temperature=0.3).numpy()
        for b in range(2):
            q, s = query[b].reshape(4, -1).T, support[b].reshape(4, -1).T
            cosine = (q / np.linalg.norm(q, axis=1)[:, None]) @ (s / np.linalg.norm(s, axis=1)[:, None]).T
            cosine[:, ~usable[b]] = -np.inf
            for cell in range(15):
                order = np.argsort(-cosine[cell])[:k]
                weight = np.exp(cosine[cell, order] / 0.3)
                wanted = (weight[:, None] * labels[b, order]).sum(0) / weight.sum()
                assert np.abs(found[b, :, cell // 5, cell % 5] - wanted).max() < 1e-12


def test_cell_labels_are_area_shares() -> None:
    mask = torch.zeros(1, 8, 8, dtype=torch.int64)
    mask[:, :4, :3] = 2
    mask[:, 4:, :4] = IGNORE
    shares, usable = cell_labels(mask, 3, (2, 2))
    assert shares[0, 0].tolist() == [0.25, 0.0, 0.75]
    assert shares[0, 1].tolist() == [1.0, 0.0, 0.0]
    assert usable[0].tolist() == [True, True, False, True]


def test_ignored_cells_never_vote_and_nothing_is_learned() -> None:
    net: LabelTransfer = small("label_transfer")
    assert net.training_free
    batch = episode()
    batch.support_mask[:, :, :12] = IGNORE
    labels, usable = cell_labels(batch.support_mask, 6, (12, 9))
    assert not usable.view(2, 12, 9)[:, :, :3].any()
    assert torch.allclose(labels.sum(2), usable.float())
    assert not net(batch).fine.requires_grad


def test_levels_and_centring_change_the_features() -> None:
    batch = episode()
    maps = {
        name: small("label_transfer", level=name).features(batch.query_image)
        for name in ("last", "context", "decode8", "decode4")
    }
    assert maps["context"].shape[-1] == 4
    assert torch.equal(maps["last"], maps["decode4"])
    assert not torch.equal(small("label_transfer", centre=False)(batch).fine, small("label_transfer")(batch).fine)


def test_missing_dino_models_are_told_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(UserError, match=r"label_transfer: nothing usable at .*config.json"):
        build("label_transfer", **SMALL, source=str(tmp_path))


def test_a_dino_model_can_be_the_source(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=28, patch_size=14, mlp_ratio=2
    )
    transformers.Dinov2Model(config).save_pretrained(tmp_path)
    batch = episode()
    net = build("label_transfer", **SMALL, source=str(tmp_path), source_size=70)
    assert not [name for name in net.state_dict() if not name.startswith("encoder.")]
    assert net.features(batch.query_image.float()).shape == (2, 16, 4, 5)
    answer = net.predict(batch)
    assert set(answer.unique().tolist()) <= set(range(5))
    deeper = build("label_transfer", **SMALL, source=str(tmp_path), source_size=70, level="1")
    assert deeper.features(batch.query_image.float()).shape == (2, 16, 4, 5)
    own = replace(
        batch,
        support_image=batch.query_image,
        support_mask=batch.query_mask,
        support_foreground=batch.query_foreground,
    )
    same = build("label_transfer", **SMALL, source=str(tmp_path), source_size=560, top_k=1, centre=False)
    assert float((same.predict(own) == own.query_mask)[own.query_mask != IGNORE].double().mean()) > 0.9
    with pytest.raises(UserError, match="level"):
        build("label_transfer", **SMALL, source=str(tmp_path), level="9").predict(batch)


# ------------------------------------------------------------------------------------------------------- fitting


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Episode:
    data = generate("figures-atr", tmp_path_factory.mktemp("people"), 12, 8, 64, progress=False)
    items = EpisodeDataset(data, fold("atr", 1), "k", "train", 64, augment="none", seed=0)
    return collate([items[i] for i in range(6)])


def base_iou(net: Contender, batch: Episode) -> float:
    answer, truth = net.predict(batch), net.eval().target(batch)
    shown = [c for c in truth.unique().tolist() if c not in (0, IGNORE)]
    both = [((answer == c) & (truth == c)).sum() / ((answer == c) | (truth == c)).sum() for c in shown]
    return float(torch.stack(both).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "bar"),
    [("ppnet", {}, 0.3), ("pfenet", {"dropout": 0.1, "balance": 0.5, "classes_per_step": 0}, 0.15)],
)
def test_learns_a_handful_of_episodes(method: str, options: dict[str, Any], bar: float, scenes: Episode) -> None:
    """Training loss falls and base IoU on the training episodes passes a bar, from the shipped encoder."""
    net = build(method, n_ids=18, variant="lite", **options)
    load_encoder(net, checkpoint())
    net.train()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        history = []
        for _ in range(60 if method == "pfenet" else 30):
            losses = net.losses(net(scenes, progress=0.5), scenes, 0.5)
            optimizer.zero_grad()
            losses["total"].backward()
            optimizer.step()
            history.append(losses["total"].item())
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])
    assert base_iou(net, scenes) > bar
