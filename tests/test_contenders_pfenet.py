"""PFENet: prior, enrichment, losses and the joining of classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contenders_tiny import small
from nn_tiny import episode, one
from torch import Tensor

from oshp_lite.data.episode import IGNORE
from oshp_lite.models.base import ABSENT
from oshp_lite.models.baselines.pfenet import Enrichment, PFENet, bins_of, prior_maps, two_class_loss


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
    answer = net.predict(batch).ids
    for row in range(len(batch)):
        best = torch.full(answer.shape[1:], 0.5, dtype=torch.float64)
        wanted = torch.zeros_like(answer[row])
        for c in (c for c in batch.support_mask[row].unique().tolist() if c):
            alone = replace(one(batch, row), support_mask=(batch.support_mask[row : row + 1] == c).long() * c)
            chance = torch.sigmoid(net(alone).fine[0, c])
            wanted, best = torch.where(chance > best, c, wanted), torch.maximum(chance, best)
        assert torch.equal(answer[row], wanted)
    net.config = replace(net.config, kway_rule="mean")
    fine = net(batch).fine
    assert torch.isfinite(fine).all()
    assert float(fine.detach().min()) == pytest.approx(ABSENT)
