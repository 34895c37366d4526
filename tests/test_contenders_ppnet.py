"""PPNet: part prototypes, scores and the alignment loss against plain implementations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contenders_tiny import small
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode

from oshp_lite.data.episode import IGNORE
from oshp_lite.models.baselines.common import members, pool
from oshp_lite.models.baselines.ppnet import first_members, part_prototypes, part_scores, pixel_sets
from oshp_lite.models.modules.metric import cosine_maps


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
    assert net.alignment(parsing, batch).item() == pytest.approx(total, abs=1e-9)
