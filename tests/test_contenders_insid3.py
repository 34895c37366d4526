"""INSID3 on the project's encoder: debiasing, clusters and their scores against float64 forms; perfect features."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from contenders_tiny import small
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode

from oshp_lite.data.episode import IGNORE
from oshp_lite.models.baselines.insid3 import Insid3, cluster_scores, clusters, without_position

seeds = st.integers(0, 10_000)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def drawn(seed: int, cells: int = 12, width: int = 5) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(cells, width)))


@given(seeds, st.integers(0, 4))
def test_no_main_direction_of_a_constant_image_is_left(seed: int, directions: int) -> None:
    cells, flat = drawn(seed), drawn(seed + 1, 9) + 2
    made = without_position(*(torch.from_numpy(x) for x in (cells[None], flat)), directions)[0].numpy()
    _, _, axes = np.linalg.svd(unit(flat))
    kept = cells - sum((np.outer(cells @ axis, axis) for axis in axes[:directions]), np.zeros_like(cells))
    np.testing.assert_allclose(made, unit(kept), atol=1e-9)
    assert np.abs(made @ axes[:directions].T).max(initial=0) < 1e-9


@settings(deadline=None)  # the first call imports scipy
@given(seeds, st.floats(0.1, 1.5))
def test_clusters_are_average_linkage(seed: int, most: float) -> None:
    cells = drawn(seed, 9, 3)
    distance = 1 - cells @ cells.T
    parts = [[index] for index in range(len(cells))]
    while len(parts) > 1:
        gaps = {(a, b): distance[np.ix_(parts[a], parts[b])].mean() for a in range(len(parts)) for b in range(a)}
        (a, b), gap = min(gaps.items(), key=lambda one: one[1])
        if gap > most:
            break
        parts[b] += parts.pop(a)
    made = clusters(torch.from_numpy(cells), most)
    assert {frozenset(np.flatnonzero(made == one).tolist()) for one in set(made)} == {frozenset(p) for p in parts}


@given(seeds)
def test_scores_are_those_written_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    query, support = drawn(seed, 10), drawn(seed + 1, 8)
    shares, usable = rng.choice([0.0, 0.3, 0.7, 1.0], 8), rng.random(8) > 0.2
    shares[0], usable[0] = 1.0, True
    shares *= usable
    groups = rng.integers(0, 3, 10)
    groups[:3] = 0, 1, 2
    given_ = [torch.from_numpy(x) for x in (query, support, shares, usable, groups)]
    made = cluster_scores(*given_, 0.2).numpy()
    prototype = unit((shares[:, None] * support).sum(0))
    cosine = np.where(usable, query @ support.T, -np.inf)
    candidate = (query @ prototype > 0) & (shares[cosine.argmax(1)] >= 0.5)
    means = np.stack([unit(query[groups == g].mean(0)) for g in range(3)])
    matched = np.array([candidate[groups == g].mean() for g in range(3)])
    wanted = np.zeros(10)
    if candidate.any():
        seed_group = max((g for g in range(3) if matched[g]), key=lambda g: means[g] @ prototype)
        for g in range(3):
            score = max(means[g] @ prototype, 0) * max(means[g] @ means[seed_group], 0) * matched[g]
            if g == seed_group:
                assert (made[groups == g] > 0.2).all(), "the seed stays"
                score = max(score, 0.2 * 1.001)
            wanted[groups == g] = score if score > 0.2 else 0
    np.testing.assert_allclose(made, wanted, atol=1e-9)


def test_perfect_features_give_the_mask_back(monkeypatch: pytest.MonkeyPatch) -> None:
    net: Insid3 = small("insid3")
    batch = episode()
    batch = replace(batch, query_image=batch.support_image, query_mask=None, query_foreground=None)
    classes = torch.nn.functional.one_hot(batch.support_mask.clamp(max=5), 6).movedim(3, 1).float()
    monkeypatch.setattr(net, "features", lambda _: classes)
    assert torch.equal(net.predict(batch).ids, batch.support_mask)


def test_ignored_cells_match_nothing_and_nothing_is_learned() -> None:
    net: Insid3 = small("insid3")
    assert not net.trainable
    batch = episode()
    batch.support_mask[:] = IGNORE
    assert not net.predict(batch).ids.any()
    assert not net(episode()).fine.requires_grad


def test_the_encoder_has_no_position_to_remove_and_an_image_counts_when_asked() -> None:
    batch = episode()
    plain = small("insid3")(batch).fine
    assert torch.equal(plain, small("insid3", debias=0)(batch).fine)
    assert not torch.equal(plain, small("insid3", debias=3)(batch).fine)
    assert not torch.equal(plain, small("insid3", centre=False)(batch).fine)
