"""The clustered bootstrap: whole queries are drawn, runs are drawn, and a plain NumPy version agrees."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch

from oshp_lite.engine.metrics import score_intervals
from oshp_lite.engine.statistics import bounds, draw_pairs, mean_over_runs
from oshp_lite.labels import fold
from oshp_lite.study.records import RunKey, measured_of
from oshp_lite.study.statistics import bootstrap

FOLD = fold("atr", 1)


def matrices_of(way: Literal["k", "1"], pairs: int, seed: int = 0) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Matrices of pairs, their class ids, and their query photos: three pairs each."""
    rng = np.random.default_rng(seed)
    ids = np.resize(np.array(FOLD.foreground), pairs)
    queries = np.array([f"photo{n // 3:03d}" for n in range(pairs)])
    size = FOLD.n_ids if way == "k" else 2
    return torch.from_numpy(rng.integers(0, 400, (pairs, size, size))), ids, queries


def by_hand(
    way: str, matrices: np.ndarray, ids: np.ndarray, queries: np.ndarray, repeats: int
) -> list[dict[str, float]]:
    """Score each draw of `draw_pairs` in float64 loops: sum what is drawn, then IoU class by class."""
    found = []
    for weights in draw_pairs(queries, None if way == "k" else ids, repeats=repeats):
        if way == "k":
            total = np.einsum("n,nij->ij", weights, matrices.astype(np.float64))
            entry = {c: total[c, c] / (total[c].sum() + total[:, c].sum() - total[c, c]) for c in FOLD.classes}
        else:
            entry, background = {}, []
            for c in FOLD.foreground:
                total = np.einsum("n,nij->ij", weights[ids == c], matrices[ids == c].astype(np.float64))
                whole = [total[k].sum() + total[:, k].sum() - total[k, k] for k in (0, 1)]
                entry[c] = total[1, 1] / whole[1]
                background.append(total[0, 0] / whole[0])
            entry[0] = float(np.mean(background))
        kinds = {"human_miou": FOLD.classes, "novel_miou": FOLD.novel, "base_miou": FOLD.base}
        found.append({name: float(np.mean([entry[c] for c in chosen])) for name, chosen in kinds.items()})
    return found


@pytest.mark.parametrize("way", ["k", "1"])
def test_intervals_agree_with_a_plain_version(way: Literal["k", "1"]) -> None:
    matrices, ids, queries = matrices_of(way, 66)
    found = score_intervals(matrices, ids, queries, FOLD, way, repeats=60)
    plain = by_hand(way, matrices.numpy(), ids, queries, 60)
    for name in plain[0]:
        wanted = np.quantile([one[name] for one in plain], [0.025, 0.975])
        assert found[name] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("way", ["k", "1"])
def test_scores_json_and_tables_have_one_interval(way: Literal["k", "1"]) -> None:
    """The engine knows the queries by name, the study by number; both draw the same."""
    matrices, ids, queries = matrices_of(way, 66)
    numbers = np.unique(queries, return_inverse=True)[1]
    key = RunKey("eopnet", "synth-atr", 1, way)
    measured = measured_of(key, "lite", matrices, ids, queries=numbers)
    engine = score_intervals(matrices, ids, queries, FOLD, way)
    for name in ("human", "novel", "base"):
        found = bootstrap([measured], name)
        assert (found.low, found.high) == pytest.approx(engine[f"{name}_miou"], abs=1e-12)


@pytest.mark.parametrize("way", ["k", "1"])
def test_pairs_of_one_query_are_never_drawn_apart(way: Literal["k", "1"]) -> None:
    _, ids, queries = matrices_of(way, 66)
    weights = draw_pairs(queries, None if way == "k" else ids, repeats=50)
    for query in np.unique(queries):
        for c in [None] if way == "k" else np.unique(ids):
            mine = weights[:, (queries == query) & (c is None or ids == c)]
            assert (mine == mine[:, :1]).all()
    if way == "1":  # every class keeps its number of queries
        assert all((weights[:, ids == c].sum(1) == (ids == c).sum()).all() for c in np.unique(ids))
    blocks = np.arange(66) // 30  # larger groups, as blocks of neighbouring photos
    assert len(np.unique(draw_pairs(blocks, repeats=50), axis=1).T) <= 66
    assert (draw_pairs(blocks, repeats=50)[:, 0] == draw_pairs(blocks, repeats=50)[:, 29]).all()


def test_repeating_a_query_adds_no_certainty() -> None:
    matrices, ids, queries = matrices_of("k", 33)
    often = score_intervals(matrices.repeat(5, 1, 1), np.tile(ids, 5), np.tile(queries, 5), FOLD)
    once = score_intervals(matrices, ids, queries, FOLD)
    assert often["novel_miou"] == pytest.approx(once["novel_miou"], abs=1e-12)


def test_runs_are_drawn_where_there_are_several() -> None:
    assert mean_over_runs(np.array([[0.1, 0.2]])).tolist() == [0.1, 0.2], "one run is always itself"
    assert {0.0, 1 / 3, 3.0} <= set(mean_over_runs(np.repeat([[0.0], [1.0], [3.0]], 400, 1))), "each of three is drawn"
    scores = np.array([[0.1] * 200, [0.3] * 200])
    assert set(mean_over_runs(scores).round(6)) == {0.1, 0.2, 0.3}
    assert bounds([0.5] * 10 + [math.nan]) == (0.5, 0.5)
    assert all(map(math.isnan, bounds([math.nan])))
