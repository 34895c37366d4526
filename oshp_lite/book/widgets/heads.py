"""Prototypes of an episode's classes, static or remembered, and what a network makes of the cosines to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from oshp_lite.book.widgets.source import Source
from oshp_lite.labels import IGNORE
from oshp_lite.models.base import OneShotModel
from oshp_lite.models.dual import DualMetric
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.modules.metric import NearestPrototype
from oshp_lite.models.modules.prototypes import masked_average, shrink_mask
from oshp_lite.models.popnet import POPNet


@dataclass(frozen=True)
class NearestHead:
    """The numbers of a nearest prototype module: three affine maps (weight, bias) and the scale (journal, Eq. 9).

    `idle` is the number of ids that the background's mean counts beside the support's: 0 where it counts present ones
    only, else all others, whose similarity is 0 (the released code).
    """

    foreground: tuple[float, float]
    background: tuple[float, float]
    fusion: tuple[float, float]
    scale: float
    idle: int = 0

    def logits(self, cosines: Tensor, scale: float | None = None) -> Tensor:
        """Background and class logits float [1+K,h,w] of the classes' cosine maps float [K,h,w] (Eqs. 8 and 9)."""
        (weight, bias), (far, near), (slope, shift) = self.foreground, self.background, self.fusion
        unlike = far * (1 - cosines) + near
        mean = (unlike.sum(0, keepdim=True) + self.idle * (far + near)) / (len(cosines) + self.idle)
        return torch.cat([slope * mean + shift, weight * cosines + bias]) * (self.scale if scale is None else scale)


def metric_of(parser: OneShotModel) -> DualMetric | None:
    """The part of a network that compares with prototypes by dual metric learning; None for other methods."""
    return parser.fine if isinstance(parser, POPNet) else parser if isinstance(parser, EOPNet) else None


def head_of(parser: OneShotModel, classes: int) -> NearestHead | None:
    """Read a network's nearest prototype module off for a support of so many classes; None where it has none."""
    metric = metric_of(parser)
    nearest = None if metric is None else metric.metric_parts[1]
    if metric is None or not isinstance(nearest, NearestPrototype):
        return None
    maps = (nearest.foreground, nearest.background, nearest.fusion)
    near, far, fusion = ((float(one.weight.detach()), float(cast(Tensor, one.bias).detach())) for one in maps)
    idle = 0 if metric.config.bg_mean == "present" else metric.config.n_ids - 1 - classes
    return NearestHead(near, far, fusion, float(metric.scale.detach()), idle)


@dataclass(frozen=True)
class Prototypes:
    """What an episode compares. K classes of the support have at least one feature cell there.

    ids       the K ids, in the label space's order
    cells     int64 [h,w], the support's ids at feature size, 255 = ignore
    static    float [K,D], the support's own prototypes (journal, Eq. 2)
    bank      float [K,D], the remembered ones; a zero row for a class that was never learned
    momentum  alpha of Eq. (3), as the network has it
    """

    ids: tuple[int, ...]
    cells: Tensor
    static: Tensor
    bank: Tensor
    momentum: float

    @property
    def known(self) -> Tensor:
        """Which classes have a row in the bank, bool [K]."""
        return self.bank.abs().sum(1) > 0

    def at(self, momentum: float) -> Tensor:
        """The prototypes of Eq. (3), float [K,D]; a class without a row is static at any momentum."""
        blended = momentum * self.bank + (1 - momentum) * self.static
        return torch.where(self.known[:, None], blended, self.static)


def prototypes_of(source: Source, support: int) -> Prototypes:
    """Pool the support's prototypes, and read the network's memory of the same classes."""
    features = source.features(support)
    mask = source.tensors(support)[1]
    n_ids = source.fold.n_ids
    cells = shrink_mask(mask[None], features.shape[-2:])[0]
    there = set(cells.unique().tolist()) - {0, IGNORE}
    ids = tuple(c for c in source.fold.foreground if c in there)
    static = masked_average(features[None], mask[None], n_ids)[0]
    metric = metric_of(source.parser)
    if metric is None or source.foreign:
        return Prototypes(ids, cells, static[list(ids)], torch.zeros_like(static[list(ids)]), 0.0)
    bank = metric.metric_parts[0]
    rows = bank.rows.detach().to(static.dtype)
    return Prototypes(ids, cells, static[list(ids)], rows[list(ids)], bank.momentum)
