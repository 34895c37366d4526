"""Scores from confusion matrices, after the official evaluation (journal, section 5.2; released code).

Rows of a confusion matrix are the truth, columns the prediction; only truths below C count, so 255 drops out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from oshp_lite.engine.config import as_plain
from oshp_lite.engine.statistics import REPEATS, bounds, draw_pairs
from oshp_lite.labels import Fold

Masks = Tensor | np.ndarray | Iterable[Tensor | np.ndarray]


def confusion(prediction: Tensor | np.ndarray, truth: Tensor | np.ndarray, n_ids: int) -> Tensor:
    """Return the int64 [C,C] confusion matrix of two integer label tensors (or arrays) of one shape.

    Raises ValueError when the shapes differ or a prediction at a counted pixel is not an id below C.
    """
    prediction, truth = torch.as_tensor(prediction), torch.as_tensor(truth)
    if prediction.shape != truth.shape:
        raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} differ in shape")
    counted = (truth >= 0) & (truth < n_ids)
    columns, rows = prediction[counted].long(), truth[counted].long()
    if columns.numel() and (int(columns.min()) < 0 or int(columns.max()) >= n_ids):
        raise ValueError(f"a prediction lies outside 0..{n_ids - 1}")
    return torch.bincount(rows * n_ids + columns, minlength=n_ids * n_ids).reshape(n_ids, n_ids)


def iou_of(matrix: Tensor) -> Tensor:
    """Return float64 [...,C] n_cc / (row + column - n_cc) of confusion matrices [...,C,C]; nan where 0 / 0."""
    matrix = matrix.double()
    hits = matrix.diagonal(dim1=-2, dim2=-1)
    return hits / (matrix.sum(-1) + matrix.sum(-2) - hits)


def mean_accuracy(matrix: Tensor, ids: Sequence[int]) -> float:
    """Return the mean over ids of the share of their pixels that is hit, [0,1]; ids without pixels are left out."""
    return float((matrix.double().diagonal() / matrix.double().sum(-1))[list(ids)].nanmean())


@dataclass
class Scores:
    """The outcome of an evaluation. Read as attributes, as `scores["human_miou"]`, or as JSON through `as_dict()`.

    human_miou, novel_miou, base_miou: means over the fold's kept, novel and training ids (the first and last with
    background); overall_accuracy and mean_accuracy over pixels and ids (k-way); iou: per id, nan where undefined;
    bi_miou: binary mIoU pooled over classes (1-way); coarse_miou: scene against person; intervals: 95 % bootstrap
    bounds by name; details: anything about the evaluation itself.
    """

    way: str
    human_miou: float
    novel_miou: float
    base_miou: float
    iou: dict[int, float]
    overall_accuracy: float = math.nan
    mean_accuracy: float = math.nan
    bi_miou: float = math.nan
    coarse_miou: float = math.nan
    n_pairs: int = 0
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        """Return the field `name`; `human`, `novel` and `base` are short for the three means."""
        short = {"human": "human_miou", "novel": "novel_miou", "base": "base_miou"}
        try:
            return getattr(self, short.get(name, name))
        except AttributeError:
            raise KeyError(name) from None

    def as_dict(self) -> dict[str, Any]:
        """Return a form that JSON takes: nan becomes null, ids become strings."""
        return dict(as_plain(vars(self)))

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """Rebuild scores from `as_dict()`."""

        def number(value: Any) -> Any:
            return math.nan if value is None else value

        known = {name: number(values[name]) for name in cls.__dataclass_fields__ if name in values}
        known["iou"] = {int(key): number(value) for key, value in known["iou"].items()}
        intervals = known.get("intervals", {}).items()
        return cls(**known | {"intervals": {name: (number(low), number(high)) for name, (low, high) in intervals}})


def score_kway(predictions: Masks, labels: Masks, fold: Fold) -> Scores:
    """Score k-way label images against their (support-restricted) truths: one matrix over all pixels of all pairs.

    predictions, labels: int [N,H,W], or equally long iterables of [H,W] of any sizes. Classes absent from truth and
    prediction alike are left out of the means; a mean over no class is nan. Raises ValueError for shapes that differ.
    """
    return scores_from_kway_matrices(pair_matrices(predictions, labels, fold.n_ids), fold)


def pair_matrices(predictions: Masks, labels: Masks, n_ids: int) -> Tensor:
    """Return int64 [N,C,C], the confusion matrix of every pair. ValueError when there are none or sizes differ."""
    matrices = [confusion(prediction, label, n_ids) for prediction, label in zip(predictions, labels, strict=True)]
    if not matrices:
        raise ValueError("no pairs to score")
    return torch.stack(matrices)


def scores_from_kway_matrices(matrices: Tensor, fold: Fold) -> Scores:
    """Return the k-way scores of per-pair matrices int [N,C,C]."""
    total = matrices.sum(0)
    values = _kway_values(total[None].double(), fold)
    iou = dict(enumerate(iou_of(total).tolist()))
    return Scores("k", **_numbers(values), iou=iou, n_pairs=len(matrices))


def _numbers(values: dict[str, Tensor]) -> dict[str, Any]:
    return {name: float(value) for name, value in values.items()}


def _means(iou: Tensor, fold: Fold, mean: Callable[..., Tensor]) -> dict[str, Tensor]:
    """Return float64 [R] of the three means over ids of scores [R,C]."""
    groups = {"human_miou": fold.classes, "novel_miou": fold.novel, "base_miou": fold.base}
    return {name: mean(iou[:, list(ids)], 1) for name, ids in groups.items()}


def _kway_values(totals: Tensor, fold: Fold) -> dict[str, Tensor]:
    """Return float64 [R] of every k-way score for R pooled matrices [R,C,C]."""
    hits = totals.diagonal(dim1=-2, dim2=-1)
    return {
        **_means(iou_of(totals), fold, torch.nanmean),
        "overall_accuracy": hits.sum(1) / totals.sum((1, 2)),
        "mean_accuracy": (hits / totals.sum(2)).nanmean(1),
    }


def score_oneway(
    predictions: Masks, labels: Masks, class_ids: Tensor | Sequence[int], fold: Fold, bi_every: int = 10
) -> Scores:
    """Score 1-way predictions (0/1) against 0/1 truths; `class_ids` names each pair's class.

    One 2 x 2 matrix per class; background's entry is the mean of the classes' background IoUs, and the means over
    human, novel and base ids are plain, so that a class without pairs makes them nan. `bi_miou` pools every
    `bi_every`-th pair (10 in the official code) over all classes. Shapes as in `score_kway`.
    """
    return scores_from_oneway_matrices(pair_matrices(predictions, labels, 2), class_ids, fold, bi_every)


def scores_from_oneway_matrices(
    matrices: Tensor, class_ids: Tensor | Sequence[int], fold: Fold, bi_every: int = 10
) -> Scores:
    """Return the 1-way scores of per-pair matrices int [N,2,2] with their class ids [N]."""
    ids = torch.as_tensor(class_ids).long()
    if len(ids) != len(matrices):
        raise ValueError(f"{len(matrices)} pairs but {len(ids)} class ids")
    totals = torch.zeros(fold.n_ids, 2, 2, dtype=torch.int64).index_add_(0, ids, matrices.long())
    values, entries = _oneway_values(totals[None].double(), fold)
    return Scores(
        "1",
        **_numbers(values),
        iou={c: float(entries[0, c]) for c in fold.classes},
        overall_accuracy=float(matrices.sum(0).trace() / matrices.sum()),
        bi_miou=float(iou_of(matrices[::bi_every].sum(0)).mean()),
        n_pairs=len(matrices),
    )


def _oneway_values(totals: Tensor, fold: Fold) -> tuple[dict[str, Tensor], Tensor]:
    """Return the scores [R] and the per-id entries [R,C] of R sets of per-class matrices [R,C,2,2]."""
    iou = iou_of(totals)
    entries = iou[..., 1].clone()
    entries[:, fold.background] = iou[:, [c for c in fold.classes if c != fold.background], 0].mean(1)
    return _means(entries, fold, torch.mean), entries


def score_intervals(
    matrices: Tensor,
    class_ids: Tensor | Sequence[int],
    groups: Sequence[Any] | np.ndarray,
    fold: Fold,
    way: str = "k",
    *,
    repeats: int = REPEATS,
) -> dict[str, tuple[float, float]]:
    """Return 95 % intervals by score of per-pair matrices int [N,C,C] (1-way [N,2,2]), groups of pairs drawn anew.

    groups  [N] the query photo of each pair (see `engine.statistics.draw_pairs`); 1-way draws within each class
    """
    ids = torch.as_tensor(class_ids).long()
    weights = torch.from_numpy(draw_pairs(groups, None if way == "k" else ids.numpy(), repeats=repeats))
    flat = matrices.reshape(len(matrices), -1).double()
    if way == "k":
        values = _kway_values((weights @ flat).reshape(repeats, *matrices.shape[1:]), fold)
    else:
        totals = torch.zeros(repeats, fold.n_ids, 2, 2, dtype=torch.float64)
        for c in ids.unique().tolist():
            totals[:, c] = (weights[:, ids == c] @ flat[ids == c]).reshape(repeats, 2, 2)
        values = _oneway_values(totals, fold)[0]
    return {name: bounds(drawn) for name, drawn in values.items()}
