"""Scores from confusion matrices, after the official evaluation (journal, section 5.2; released code).

Rows of a confusion matrix are the truth, columns the prediction; only truths below C count, so 255 drops out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

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
    answered, wanted = prediction[counted].long(), truth[counted].long()
    if answered.numel() and (int(answered.min()) < 0 or int(answered.max()) >= n_ids):
        raise ValueError(f"a prediction lies outside 0..{n_ids - 1}")
    return torch.bincount(wanted * n_ids + answered, minlength=n_ids * n_ids).reshape(n_ids, n_ids)


def iou_of(matrix: Tensor) -> Tensor:
    """Return float64 [...,C] n_cc / (row + column - n_cc) of confusion matrices [...,C,C]; nan where 0 / 0."""
    matrix = matrix.double()
    hits = matrix.diagonal(dim1=-2, dim2=-1)
    return hits / (matrix.sum(-1) + matrix.sum(-2) - hits)


def mean_accuracy(matrix: Tensor, ids: Sequence[int]) -> float:
    """Return the mean over ids of the share of their pixels answered right, [0,1]; ids without pixels are left out."""
    matrix = matrix.double()
    accuracy = (matrix.diagonal() / matrix.sum(-1))[list(ids)]
    return float(accuracy.nanmean())


@dataclass
class Scores:
    """What an evaluation found. Read as attributes, as `scores["human_miou"]`, or as JSON through `as_dict()`.

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
        return {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Scores:
        """Rebuild scores from `as_dict()`."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        for name, value in known.items():
            if value is None:
                known[name] = math.nan
        known["iou"] = {int(key): math.nan if value is None else value for key, value in known["iou"].items()}
        known["intervals"] = {
            key: (math.nan if low is None else low, math.nan if high is None else high)
            for key, (low, high) in known.get("intervals", {}).items()
        }
        return cls(**known)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def score_kway(predictions: Masks, labels: Masks, fold: Fold) -> Scores:
    """Score k-way label images against their (support-restricted) truths: one matrix over all pixels of all pairs.

    predictions, labels: int [N,H,W], or equally long iterables of [H,W] of any sizes. Classes absent from truth and
    prediction alike are left out of the means; a mean over no class is nan. Raises ValueError for shapes that differ.
    """
    matrices = pair_matrices(predictions, labels, fold.n_ids)
    return scores_from_kway_matrices(matrices, fold)


def pair_matrices(predictions: Masks, labels: Masks, n_ids: int) -> Tensor:
    """Return int64 [N,C,C], the confusion matrix of every pair. ValueError when there are none or sizes differ."""
    found = [confusion(prediction, label, n_ids) for prediction, label in zip(predictions, labels, strict=True)]
    if not found:
        raise ValueError("no pairs to score")
    return torch.stack(found)


def scores_from_kway_matrices(matrices: Tensor, fold: Fold) -> Scores:
    """Return the k-way scores of per-pair matrices int [N,C,C]."""
    total = matrices.sum(0)
    values = _kway_values(total[None].double(), fold)
    iou = iou_of(total)
    return Scores(
        way="k",
        human_miou=float(values["human_miou"]),
        novel_miou=float(values["novel_miou"]),
        base_miou=float(values["base_miou"]),
        iou={c: float(iou[c]) for c in range(fold.n_ids)},
        overall_accuracy=float(values["overall_accuracy"]),
        mean_accuracy=float(values["mean_accuracy"]),
        n_pairs=len(matrices),
    )


def _kway_values(totals: Tensor, fold: Fold) -> dict[str, Tensor]:
    """Return float64 [R] of every k-way score for R pooled matrices [R,C,C]."""
    iou = iou_of(totals)
    hits = totals.diagonal(dim1=-2, dim2=-1)
    return {
        "human_miou": iou[:, list(fold.classes)].nanmean(1),
        "novel_miou": iou[:, list(fold.novel)].nanmean(1),
        "base_miou": iou[:, list(fold.base)].nanmean(1),
        "overall_accuracy": hits.sum(1) / totals.sum((1, 2)),
        "mean_accuracy": (hits / totals.sum(2)).nanmean(1),
    }


def score_oneway(
    predictions: Masks, labels: Masks, class_ids: Tensor | Sequence[int], fold: Fold, bi_every: int = 10
) -> Scores:
    """Score 1-way answers (0/1) against 0/1 truths; `class_ids` names each pair's class.

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
    totals = _per_class(matrices, ids, fold.n_ids)
    values, entries = _oneway_values(totals[None].double(), fold)
    pooled = matrices[::bi_every].sum(0)
    return Scores(
        way="1",
        human_miou=float(values["human_miou"]),
        novel_miou=float(values["novel_miou"]),
        base_miou=float(values["base_miou"]),
        iou={c: float(entries[0, c]) for c in fold.classes},
        overall_accuracy=float(matrices.sum(0).trace() / matrices.sum()),
        bi_miou=float(iou_of(pooled).mean()),
        n_pairs=len(matrices),
    )


def _per_class(matrices: Tensor, ids: Tensor, n_ids: int) -> Tensor:
    return torch.zeros(n_ids, 2, 2, dtype=torch.int64).index_add_(0, ids, matrices.long())


def _oneway_values(totals: Tensor, fold: Fold) -> tuple[dict[str, Tensor], Tensor]:
    """Return the scores [R] and the per-id entries [R,C] of R sets of per-class matrices [R,C,2,2]."""
    iou = iou_of(totals)
    foreground = [c for c in fold.classes if c != fold.background]
    entries = iou[..., 1].clone()
    entries[:, fold.background] = iou[:, foreground, 0].mean(1)
    return {
        "human_miou": entries[:, list(fold.classes)].mean(1),
        "novel_miou": entries[:, list(fold.novel)].mean(1),
        "base_miou": entries[:, list(fold.base)].mean(1),
    }, entries


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
