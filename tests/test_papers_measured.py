"""Measured results: the same scores and intervals as the engine's, honest comparisons, files that come back whole."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.engine.metrics import (
    iou_of,
    scores_from_kway_matrices,
    scores_from_oneway_matrices,
)
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.study.records import (
    Measured,
    NotRun,
    Results,
    RunKey,
    counts_of,
    load_measured,
    measured_of,
    save_measured,
)
from oshp_lite.study.statistics import Term, bootstrap, contrast, paired_difference

DATASETS = ("synth-atr", "synth-lip", "synth-cihp", "ccp-os")


def kway_matrices(dataset: str, pairs: int, seed: int, blur: float = 0.5, empty: int = 0) -> torch.Tensor:
    """Matrices whose truths are kept ids; answers may be any id. `empty` leaves the last kept ids out of everything."""
    split = fold(dataset, 1)
    rng = np.random.default_rng(seed)
    made = np.zeros((pairs, split.n_ids, split.n_ids), np.int64)
    present = [c for c in split.classes if c not in split.classes[len(split.classes) - empty :]]
    for pair, truth in itertools.product(range(pairs), present):
        area = int(rng.integers(0, 900))
        stays = int(area * rng.uniform(1 - blur, 1))
        made[pair, truth, truth] += stays
        others = present if empty else range(split.n_ids)
        made[pair, truth, rng.choice(list(others))] += area - stays
    return torch.from_numpy(made)


def kway(key: RunKey, pairs: int = 40, seed: int = 0, blur: float = 0.5) -> Measured:
    matrices = kway_matrices(key.dataset, pairs, seed, blur)
    return measured_of(key, "lite", matrices, np.zeros(pairs, int))


def oneway_matrices(dataset: str, per_class: int, seed: int) -> tuple[torch.Tensor, list[int]]:
    rng = np.random.default_rng(seed)
    ids = [c for c in fold(dataset, 1).foreground for _ in range(per_class)]
    return torch.from_numpy(rng.integers(0, 500, (len(ids), 2, 2))), ids


KEY = RunKey("eopnet", "synth-atr", 1, "k")


def test_slugs_tell_runs_apart() -> None:
    assert KEY.slug == "eopnet-synth-atr-fold1-kway-papers-seed0"
    changed = RunKey("eopnet", "synth-atr", 1, "1", 2, "momentum-0.8", "aaai")
    assert changed.slug == "eopnet-synth-atr-fold1-1way-papers-seed2-momentum-0.8-aaai"


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("empty", [0, 3])
def test_kway_scores_are_the_engines(dataset: str, empty: int) -> None:
    split = fold(dataset, 1)
    matrices = kway_matrices(dataset, 25, 3, empty=empty)
    engine = scores_from_kway_matrices(matrices, split)
    ours = measured_of(RunKey("x", dataset, 1, "k"), "lite", matrices, [0] * 25)
    assert ours.score("human") == pytest.approx(engine.human_miou, abs=1e-12)
    assert ours.score("base") == pytest.approx(engine.base_miou, abs=1e-12)
    assert ours.score("novel") == pytest.approx(engine.novel_miou, abs=1e-12, nan_ok=True)
    assert ours.score("accuracy") == pytest.approx(engine.overall_accuracy, abs=1e-12)
    assert ours.score("mean_accuracy") == pytest.approx(engine.mean_accuracy, abs=1e-12)
    for c in split.classes:
        assert ours.score(f"iou:{c}") == pytest.approx(engine.iou[c], abs=1e-12, nan_ok=True)
    assert ours.confusion is not None
    torch.testing.assert_close(torch.from_numpy(ours.confusion), matrices.sum(0))
    assert ours.score("base-novel") == pytest.approx(engine.base_miou - engine.novel_miou, abs=1e-12, nan_ok=True)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12))
def test_counts_of_any_matrix(seed: int, pairs: int) -> None:
    matrices = torch.from_numpy(np.random.default_rng(seed).integers(0, 50, (pairs, 18, 18)))
    chosen = fold("atr", 2).classes
    counts = counts_of(matrices, chosen)
    iou = counts[..., 0].sum(0) / np.maximum(1, counts.sum((0, 2)))
    np.testing.assert_allclose(iou, iou_of(matrices.sum(0)).numpy()[list(chosen)], atol=1e-12)
    np.testing.assert_array_equal(counts[..., 0] + counts[..., 2], matrices.sum(2)[:, list(chosen)].numpy())


@pytest.mark.parametrize("dataset", DATASETS)
def test_oneway_scores_are_the_engines(dataset: str) -> None:
    split = fold(dataset, 1)
    matrices, ids = oneway_matrices(dataset, 7, 5)
    engine = scores_from_oneway_matrices(matrices, ids, split, bi_every=1)
    ours = measured_of(RunKey("x", dataset, 1, "1"), "lite", matrices, ids)
    for name in ("human", "novel", "base"):
        assert ours.score(name) == pytest.approx(engine[name], abs=1e-12)
    assert ours.score("accuracy") == pytest.approx(engine.overall_accuracy, abs=1e-7)  # the engine divides in float32
    assert ours.score("bi_miou") == pytest.approx(engine.bi_miou, abs=1e-12)
    for c in split.classes:
        assert ours.score(f"iou:{c}") == pytest.approx(engine.iou[c], abs=1e-12)
    short = measured_of(ours.key, "lite", matrices[7:], ids[7:])  # a class without pairs makes plain means nan
    assert math.isnan(short.score("human"))


@pytest.mark.parametrize("way", ["k", "1"])
def test_a_query_is_drawn_with_all_its_pairs(way: Literal["k", "1"]) -> None:
    """The same answer five times over, for five supports of one query, tells no more than once."""
    key = replace(KEY, way=way)
    matrices, ids = (
        (kway_matrices("synth-atr", 40, 1), np.zeros(40, int)) if way == "k" else oneway_matrices("synth-atr", 9, 2)
    )
    photos = np.arange(len(ids))
    once = measured_of(key, "lite", matrices, ids, queries=photos)
    told = [np.repeat(np.asarray(array), 5, axis=0) for array in (matrices, ids, photos)]
    often = measured_of(key, "lite", told[0], told[1], queries=told[2])
    apart = measured_of(key, "lite", told[0], told[1])
    assert tuple(bootstrap([often], "novel")) == pytest.approx(tuple(bootstrap([once], "novel")), abs=1e-12)
    _, low, high = bootstrap([apart], "novel")
    assert high - low < 0.7 * (bootstrap([often], "novel").high - bootstrap([often], "novel").low)


def test_pairing_shrinks_the_interval_and_signs_are_right() -> None:
    """Two methods that differ by a constant amount on every pair: the difference is certain, the scores are not."""
    rng = np.random.default_rng(0)
    area = rng.integers(50, 900, (60, 18))
    hard = rng.uniform(0.3, 0.9, (60, 1))  # some pairs are hard for everybody

    def answers(skill: float) -> Measured:
        made = np.zeros((60, 18, 18), np.int64)
        for c in fold("atr", 1).classes:
            right = (area[:, c] * np.clip(hard[:, 0] + skill, 0, 1)).astype(int)
            made[:, c, c], made[:, c, 0] = right, made[:, c, 0] + area[:, c] - right
        return measured_of(replace(KEY, method=f"m{skill}"), "lite", made, [0] * 60)

    good, bad = answers(0.05), answers(0.0)
    mean, low, high = paired_difference([good], [bad], "novel")
    assert 0 < low <= mean <= high
    assert mean == pytest.approx(good.score("novel") - bad.score("novel"), abs=1e-12)
    alone = bootstrap([good], "novel")
    assert high - low < 0.5 * (alone.high - alone.low)
    back = paired_difference([bad], [good], "novel")
    assert (back.mean, back.low, back.high) == pytest.approx((-mean, -high, -low), abs=1e-12)
    assert tuple(paired_difference([good], [good], "human")) == (0, 0, 0)


def test_seeds_and_folds_are_averaged_and_counted() -> None:
    runs = [
        kway(replace(KEY, fold=number, seed=seed), seed=10 * number + seed, blur=0.2 + 0.3 * seed)
        for number in (1, 2)
        for seed in (0, 1)
    ]
    found = bootstrap(runs, "human")
    assert found.by_fold == {1: (0, 1), 2: (0, 1)}
    assert found.mean == pytest.approx(np.mean([run.score("human") for run in runs]), abs=1e-12)
    one_seed = bootstrap([run for run in runs if run.key.seed == 0], "human")
    assert found.high - found.low > one_seed.high - one_seed.low  # seeds that differ widen the interval
    again = bootstrap(runs, "human")
    assert tuple(found) == tuple(again)
    # only what both have takes part
    few = paired_difference(runs, [run for run in runs if run.key.fold == 1 and run.key.seed == 1], "human")
    assert (few.mean, few.by_fold) == (pytest.approx(0.0), {1: (1,)})


def test_comparisons_that_cannot_be_made_are_refused() -> None:
    with pytest.raises(UserError, match="no fold and seed"):
        paired_difference([kway(KEY)], [kway(replace(KEY, fold=2))])
    with pytest.raises(UserError, match="no fold and seed"):
        paired_difference([kway(KEY)], [kway(replace(KEY, seed=1))])
    with pytest.raises(UserError, match="different test pairs"):
        paired_difference([kway(KEY)], [kway(KEY, pairs=30)])
    with pytest.raises(UserError, match="screened"):
        kway(KEY).score("human", screened=True)
    with pytest.raises(UserError, match="no runs"):
        contrast([Term(1.0, [])])


def test_unlike_ways_are_drawn_apart() -> None:
    matrices, ids = oneway_matrices("synth-atr", 9, 2)
    one = measured_of(replace(KEY, way="1"), "lite", matrices, ids)
    k = kway(KEY)
    found = contrast([Term(1.0, [one], "novel"), Term(-1.0, [k], "novel")])
    assert found.mean == pytest.approx(one.score("novel") - k.score("novel"), abs=1e-12)
    assert found.low < found.mean < found.high


def test_results_answer_or_say_why_not() -> None:
    runs = [kway(replace(KEY, seed=seed)) for seed in (2, 0)]
    missing = replace(KEY, method="persam")
    results = Results(runs, {missing: "needs SAM weights"}, otherwise="not trained")
    assert results.get(KEY) is runs[1]
    assert results.get(replace(missing, seed=3)) == NotRun("needs SAM weights")
    assert results.get(replace(KEY, fold=2)) == NotRun("not trained")
    assert [run.key.seed for run in results.seeds(replace(KEY, seed=7))] == [0, 2]
    assert results.keys() == sorted(run.key for run in runs)


@pytest.mark.parametrize("way", ["k", "1"])
def test_files_come_back_whole_and_small(tmp_path: Path, way: str) -> None:
    if way == "k":
        matrices, ids = kway_matrices("synth-atr", 330, 4), np.repeat(np.arange(1, 12), 30)
    else:
        matrices, listed = oneway_matrices("synth-atr", 30, 4)
        ids = np.array(listed)
    n_ids = matrices.shape[-1]
    screened = matrices.clone()
    screened[:, :, 0] += screened[:, :, n_ids - 1]
    screened[:, :, n_ids - 1] = 0
    made = measured_of(
        replace(KEY, way=way),
        "lite",
        matrices,
        ids,
        screened=screened,
        queries=np.arange(330) % 110,
        scores={"human_miou": math.nan, "iou": {0: 0.9}},
        history=[{"epoch": 1, "loss_total": np.float64(0.5)}],
        provenance={"commit": "abc"},
    )
    path = save_measured(tmp_path, made)
    assert path.name == made.key.slug + ".json"
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 60_000
    back = load_measured(path)
    assert (back.key, back.profile, back.classes, back.novel) == (made.key, "lite", made.classes, made.novel)
    assert back.origin == "committed"
    for name in ("counts", "screened", "class_ids", "queries", "confusion"):
        mine, theirs = getattr(made, name), getattr(back, name)
        assert (mine is None) == (theirs is None), name
        if mine is not None:
            np.testing.assert_array_equal(mine, theirs, err_msg=name)
            assert theirs.dtype == np.int64
    assert back.score("human", screened=True) == made.score("human", screened=True) != made.score("human")
    assert back.scores == {"human_miou": None, "iou": {"0": 0.9}}
    assert back.history == [{"epoch": 1, "loss_total": 0.5}]
    assert back.provenance == made.provenance


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = save_measured(tmp_path, kway(KEY))
    other = save_measured(tmp_path, kway(replace(KEY, seed=1), seed=9))
    path.with_suffix(".npz").write_bytes(other.with_suffix(".npz").read_bytes())
    with pytest.raises(UserError, match="does not belong"):
        load_measured(path)
    path.with_suffix(".npz").unlink()
    with pytest.raises(UserError, match="make it again"):
        load_measured(path)
    other.write_text("{}")
    with pytest.raises(UserError, match="make it again"):
        load_measured(other)
    with pytest.raises(UserError, match="does not exist"):
        load_measured(tmp_path / "nothing.json")


def test_counts_that_do_not_fit_are_refused() -> None:
    made = kway(KEY)
    with pytest.raises(ValueError, match="not \\[N,12,3\\]"):
        replace(made, counts=made.counts[:, :5])
    with pytest.raises(ValueError, match="class_ids"):
        replace(made, class_ids=made.class_ids[:5])
