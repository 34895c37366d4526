"""Scores against an independent float64 NumPy version, nan rules, intervals."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.engine.metrics import (
    Scores,
    confusion,
    pair_matrices,
    score_intervals,
    score_kway,
    score_oneway,
)


@dataclass(frozen=True)
class TinyFold:
    """Stands in for labels.Fold: ids 0..7 of which 3 and 6 are dropped."""

    n_ids: int = 8
    classes: tuple[int, ...] = (0, 1, 2, 4, 5, 7)
    training: tuple[int, ...] = (0, 1, 4, 7)
    base: tuple[int, ...] = (0, 1, 4, 7)
    novel: tuple[int, ...] = (2, 5)
    background: int = 0


FOLD: Any = TinyFold()


def oracle_kway(predictions: list[np.ndarray], labels: list[np.ndarray], fold: TinyFold) -> dict[str, float]:
    hits = np.zeros(fold.n_ids)
    said = np.zeros(fold.n_ids)
    true = np.zeros(fold.n_ids)
    for prediction, label in zip(predictions, labels, strict=True):
        for c in range(fold.n_ids):
            valid = label < fold.n_ids
            hits[c] += np.sum(valid & (prediction == c) & (label == c))
            said[c] += np.sum(valid & (prediction == c))
            true[c] += np.sum(label == c)
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = hits / (said + true - hits)
        accuracy = hits / true

    def mean(ids: tuple[int, ...]) -> float:
        kept = [iou[c] for c in ids if not np.isnan(iou[c])]
        return float(np.mean(kept)) if kept else math.nan

    return {
        "human_miou": mean(fold.classes),
        "novel_miou": mean(fold.novel),
        "base_miou": mean(fold.base),
        "overall_accuracy": hits.sum() / true.sum(),
        "mean_accuracy": float(np.nanmean(accuracy)),
    }


def oracle_oneway(
    predictions: np.ndarray, labels: np.ndarray, ids: list[int], fold: TinyFold, every: int
) -> dict[str, float]:
    def ious(pairs: list[int]) -> tuple[float, float]:
        out = []
        for value in (0, 1):
            both = said = true = 0
            for i in pairs:
                valid = labels[i] < 2
                both += np.sum(valid & (predictions[i] == value) & (labels[i] == value))
                said += np.sum(valid & (predictions[i] == value))
                true += np.sum(labels[i] == value)
            union = said + true - both
            out.append(both / union if union else math.nan)
        return out[0], out[1]

    entries: dict[int, float] = {}
    backgrounds = []
    for c in fold.classes[1:]:
        back, fore = ious([i for i, found in enumerate(ids) if found == c])
        entries[c] = fore
        backgrounds.append(back)
    entries[0] = float(np.mean(backgrounds))
    pooled = ious(list(range(0, len(ids), every)))
    return {
        "human_miou": float(np.mean([entries[c] for c in fold.classes])),
        "novel_miou": float(np.mean([entries[c] for c in fold.novel])),
        "base_miou": float(np.mean([entries[c] for c in fold.base])),
        "bi_miou": float(np.mean(pooled)),
    }


def compare(scores: Scores, oracle: dict[str, float]) -> None:
    for name, value in oracle.items():
        assert scores[name] == pytest.approx(value, abs=1e-12, nan_ok=True), name


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 6), some=st.integers(1, 8))
def test_kway_agrees_with_numpy(seed: int, n: int, some: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = [tuple(rng.integers(1, 9, 2)) for _ in range(n)]
    predictions = [rng.integers(0, some, shape) for shape in shapes]
    labels = [rng.choice([*range(some), 255], shape) for shape in shapes]
    labels[0].flat[0] = 0
    as_tensors = [torch.from_numpy(a) for a in predictions], [torch.from_numpy(a) for a in labels]
    compare(score_kway(*as_tensors, FOLD), oracle_kway(predictions, labels, FOLD))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), every=st.sampled_from([1, 3, 10]))
def test_oneway_agrees_with_numpy(seed: int, every: int) -> None:
    rng = np.random.default_rng(seed)
    ids = [c for c in FOLD.classes[1:] for _ in range(3)]
    predictions = rng.integers(0, 2, (len(ids), 6, 5))
    labels = rng.choice([0, 1, 255], (len(ids), 6, 5))
    scores = score_oneway(torch.from_numpy(predictions), torch.from_numpy(labels), ids, FOLD, bi_every=every)
    compare(scores, oracle_oneway(predictions, labels, ids, FOLD, every))


def test_a_stack_and_a_list_give_the_same_scores() -> None:
    generator = torch.Generator().manual_seed(3)
    predictions = torch.randint(0, 8, (4, 9, 7), generator=generator)
    labels = torch.randint(0, 8, (4, 9, 7), generator=generator).to(torch.uint8)
    stacked = score_kway(predictions, labels, FOLD).as_dict()
    assert stacked == score_kway(list(predictions), iter(labels), FOLD).as_dict()
    assert stacked == score_kway(predictions.numpy(), labels.numpy(), FOLD).as_dict()


def test_perfect_answers_score_one_and_dropped_ids_do_not_matter() -> None:
    labels = torch.tensor([[[0, 1, 2, 4, 5, 7, 255]]])
    predictions = labels.clone().clamp(max=7)
    scores = score_kway(predictions, labels, FOLD)
    assert scores.human_miou == scores.novel_miou == scores.base_miou == scores.overall_accuracy == 1.0
    assert math.isnan(scores.iou[3])
    assert math.isnan(scores.iou[6])


def test_an_absent_class_is_skipped_but_a_false_alarm_counts_as_zero() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    assert math.isnan(score_kway(labels, labels, FOLD).novel_miou)
    wrong = torch.tensor([[[0, 2, 1, 1]]])
    scores = score_kway(wrong, labels, FOLD)
    assert scores.novel_miou == 0.0
    assert scores.iou[0] == 0.5


def test_a_oneway_class_without_pairs_makes_its_mean_nan() -> None:
    ids = [1, 2, 4, 5]
    labels = torch.ones(4, 2, 2, dtype=torch.int64)
    labels[:, 0] = 0
    scores = score_oneway(labels, labels, ids, FOLD)
    assert math.isnan(scores.human_miou)
    assert math.isnan(scores.iou[7])
    assert scores.novel_miou == 1.0


def test_wrong_shapes_and_wild_predictions_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        confusion(torch.zeros(2, 2), torch.zeros(2, 3), 3)
    with pytest.raises(ValueError, match="outside"):
        confusion(torch.tensor([3]), torch.tensor([0]), 3)
    with pytest.raises(ValueError, match="no pairs"):
        score_kway([], [], FOLD)
    with pytest.raises(ValueError, match="class ids"):
        score_oneway(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1), [1], FOLD)


def test_confusions_add_up() -> None:
    generator = torch.Generator().manual_seed(5)
    prediction = torch.randint(0, 4, (2, 8, 8), generator=generator)
    truth = torch.randint(0, 4, (2, 8, 8), generator=generator)
    whole = confusion(prediction, truth, 4)
    assert torch.equal(whole, confusion(prediction[0], truth[0], 4) + confusion(prediction[1], truth[1], 4))
    assert whole.sum() == truth.numel()


def test_intervals_hold_the_score_and_repeat() -> None:
    generator = torch.Generator().manual_seed(7)
    labels = torch.randint(0, 8, (40, 10, 10), generator=generator)
    predictions = torch.where(torch.rand(labels.shape, generator=generator) < 0.6, labels, 0)
    matrices = pair_matrices(predictions, labels, 8)
    scores = score_kway(predictions, labels, FOLD)
    ids, alone = [0] * 40, range(40)
    found = score_intervals(matrices, ids, alone, FOLD, repeats=200)
    assert found == score_intervals(matrices, ids, alone, FOLD, repeats=200)
    for name in ("human_miou", "novel_miou", "base_miou", "overall_accuracy"):
        low, high = found[name]
        assert low <= scores[name] <= high
        assert 0 < high - low < 0.2


def test_the_bootstrap_of_equal_pairs_has_no_width() -> None:
    label = torch.tensor([[0, 1, 2], [4, 5, 7]])
    labels = label.expand(5, 2, 3)
    matrices = pair_matrices(labels.clone().fill_(1), labels, 8)
    low, high = score_intervals(matrices, [0] * 5, range(5), FOLD, repeats=50)["human_miou"]
    assert low == high
    ids = [c for c in FOLD.classes[1:] for _ in range(2)]
    binary = pair_matrices(torch.ones(10, 2, 2), torch.ones(10, 2, 2), 2)
    low, high = score_intervals(binary, ids, range(10), FOLD, "1", repeats=50)["novel_miou"]
    assert low == high == 1.0


def test_scores_survive_json() -> None:
    labels = torch.tensor([[[0, 0, 1, 1]]])
    scores = score_kway(labels, labels, FOLD)
    scores.intervals = {"novel_miou": (math.nan, 0.5)}
    back = Scores.from_dict(json.loads(json.dumps(scores.as_dict(), allow_nan=False)))
    assert back.human_miou == scores.human_miou
    assert math.isnan(back.novel_miou)
    assert math.isnan(back.iou[5])
    assert back.intervals["novel_miou"][1] == 0.5
