"""MSA and MSE: what the categories of one domain look like in an image, and how they inform each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.prototypes import shrink_mask
from oshp_lite.models.sst.config import Masking, SSTConfig

BLOCKED = -1.0e9  # logit of a key that may not be read; finite, so that a row without any key has a gradient
SCALES = 3


def region_weights(mask: Tensor, count: int, size: Sequence[int], *, shrink: str = "area") -> Tensor:
    """Share of each cell that each category covers: int64 [B,H,W] -> float [B,count,h,w] in [0,1]; 255 is none.

    "area" averages; "nearest" takes one pixel a cell, at which small parts vanish (facts A.9-6).
    """
    if shrink == "nearest":
        mask = shrink_mask(mask, size)
    ids = torch.arange(count, device=mask.device)
    return F.adaptive_avg_pool2d((mask[:, None] == ids[:, None, None]).float(), (size[0], size[1]))


def pool_regions(features: Tensor, weights: Tensor, *, maximum: str = "region") -> tuple[Tensor, Tensor]:
    """Averages and maxima of features over regions, Eq. 2 and 3: float [B,Z,D] twice; zeros where there is no region.

    features float [B,D,h,w], weights float [B,Z,h,w]: a cell counts by its share in the average, and in full in the
    maximum when its share is above 0. maximum "product" takes that of feature x (share > 0), which is never below 0.
    """
    cells, shares = features.flatten(2), weights.flatten(2).to(features.dtype)
    total = shares.sum(2, keepdim=True)
    average = torch.einsum("bzn,bdn->bzd", shares / total.clamp(min=1e-12), cells)
    inside = shares > 0
    with torch.no_grad():  # the place alone: a map for every category would fill the memory at full size
        outside = 0.0 if maximum == "product" else -torch.inf
        places = [cells.masked_fill(~inside[:, z, None], outside).argmax(2) for z in range(inside.shape[1])]
        place = torch.stack(places, 1)
    best = cells.gather(2, place.transpose(1, 2)).transpose(1, 2)
    there = inside.gather(2, place) if maximum == "product" else inside.any(2, keepdim=True)
    return average, torch.where(there, best, 0.0)


class Aggregation(nn.Module):
    """Multi-scale Semantics Aggregation (MSA) of one domain: S_l,z = [average ; maximum] W_s (Eq. 2 to 4)."""

    def __init__(self, config: SSTConfig, count: int) -> None:
        super().__init__()
        self.count, self.config = count, config
        self.project = per_scale(config, lambda: nn.Linear(2 * config.dim, config.dim, bias=False))

    def forward(self, features: Sequence[Tensor], mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """H_l float [B,D,h,w], mask int64 [B,H,W] -> S_l float [B,Z,D] and presence bool [B,Z], three of each."""
        pooled, present = [], []
        for layer, one in zip(self.project, features, strict=True):
            weights = region_weights(mask, self.count, one.shape[-2:], shrink=self.config.shrink)
            pooled.append(layer(torch.cat(pool_regions(one, weights, maximum=self.config.maximum), 2)))
            present.append(weights.flatten(2).amax(2) > 0)
        return pooled, present


def per_scale(config: SSTConfig, make: Callable[[], nn.Module]) -> nn.ModuleList:
    """Three modules, one a scale; three times the same one with `share_scales`."""
    made = [make() for _ in range(1 if config.share_scales else SCALES)]
    return nn.ModuleList(made * (SCALES if config.share_scales else 1))


def associate(
    query: Tensor, key: Tensor, value: Tensor, prior: Tensor, present: Tensor | None, *, masking: Masking = "weights"
) -> Tensor:
    """Attention with a prior, [softmax(Q K^T / sqrt D) * M] V (Eq. 6, 8, 9): float [...,Z2,D].

    query float [...,Z2,D]; key, value float [...,Z1,D]; prior float [...,Z2,Z1], not renormalised. present bool
    [...,Z1] takes categories out of the keys. masking "logits" renormalises over what the prior (0 or more) lets
    through: for a binary one, minus infinity in the logits.
    """
    logits = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    open_ = torch.ones_like(logits, dtype=torch.bool) if present is None else present[..., None, :].expand(logits.shape)
    if masking == "logits":
        open_ = open_ & (prior > 0)
        logits = logits + prior.clamp(min=1e-12).log()
    weights = logits.masked_fill(~open_, BLOCKED).softmax(-1) * open_
    return (weights * prior if masking == "weights" else weights) @ value


class Enhancement(nn.Module):
    """Multi-scale Semantic Enhancement (MSE) of one domain: category embeddings read the image's regions (Eq. 5, 6).

    X_0 float [Z,D] is learnt; `adjacency` float [Z,Z] is M_intra, kept with the weights.
    """

    adjacency: Tensor

    def __init__(self, config: SSTConfig, adjacency: Tensor) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.start = nn.Parameter(torch.randn(len(adjacency), dim) / math.sqrt(dim))
        self.query, self.key, self.value = (per_scale(config, lambda: nn.Linear(dim, dim)) for _ in range(3))
        self.register_buffer("adjacency", adjacency)

    def forward(self, pooled: Sequence[Tensor], present: Sequence[Tensor]) -> list[Tensor]:
        """S_l float [B,Z,D] and presence bool [B,Z] of the three scales -> [X_0, X_1, X_2, X_3], float [B,Z,D]."""
        config = self.config
        rows = [self.start.expand(len(pooled[0]), -1, -1)]
        for level, (regions, there) in enumerate(zip(pooled, present, strict=True)):
            query, key, value = self.query[level](rows[-1]), self.key[level](regions), self.value[level](regions)
            keys = there if config.absent == "leave_out" else None
            rows.append(rows[-1] + associate(query, key, value, self.adjacency, keys, masking=config.masking))
        return rows


def auxiliary_logits(features: Tensor, rows: Tensor) -> Tensor:
    """A_aux = F X_L^T (Eq. 7): features float [B,D,h,w], rows float [B,Z,D] -> float [B,Z,h,w]."""
    return torch.einsum("bdhw,bzd->bzhw", features, rows)


def mean_cosine(rows: Tensor) -> Tensor:
    """Mean cosine between different categories, float [...,Z,D] -> float []: 1 when all vectors are parallel."""
    unit = F.normalize(rows, dim=-1)
    cosine, count = unit @ unit.transpose(-1, -2), rows.shape[-2]
    return (cosine.sum((-1, -2)) - cosine.diagonal(dim1=-2, dim2=-1).sum(-1)).mean() / (count * (count - 1))
