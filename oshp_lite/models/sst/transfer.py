"""MST and SCR: the categories of one domain mapped into another's label space, and how well they agree there."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.losses import prototype_contrast
from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.semantics import SCALES, associate, per_scale


class Semantics(NamedTuple):
    """What MSA and MSE say of B images of one domain: rows X_0 to X_3, regions S_1 to S_3, presence, per scale."""

    rows: list[Tensor]  # float [B,Z,D]
    pooled: list[Tensor]  # float [B,Z,D]
    present: list[Tensor]  # bool [B,Z]

    def at(self, index: Tensor) -> Semantics:
        """Some images of it, int64 [N]."""
        return Semantics(*([one[index] for one in part] for part in self))


class Mapping(nn.Module):
    """One semantic mapping layer in one direction: linear Q of the target's rows, K and V of the source's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))

    def forward(
        self, target: Tensor, source: Tensor, prior: Tensor, present: Tensor | None = None, **how: str
    ) -> Tensor:
        """Rows float [...,Z2,D] and [...,Z1,D], prior float [...,Z2,Z1] -> X^(1->2) float [...,Z2,D]."""
        return associate(self.query(target), self.key(source), self.value(source), prior, present, **how)  # type: ignore[arg-type]


class Transfer(nn.Module):
    """Multi-scale Semantic Transfer (MST) between two domains, both directions (Eq. 8 and 9).

    `static` float [Z2,Z1] is the static prior from the first domain into the second, kept with the weights. Queries,
    keys and values belong to a direction and a scale, the W_l of the dynamic prior to a domain of the pair and a scale.
    """

    static: Tensor

    def __init__(self, config: SSTConfig, static: Tensor) -> None:
        super().__init__()
        dim = config.dim
        self.config = config
        self.register_buffer("static", static)
        self.globally = nn.ModuleList(Mapping(dim) for _ in range(2))
        self.maps = nn.ModuleList(per_scale(config, lambda: Mapping(dim)) for _ in range(2))
        self.weigh = nn.ModuleList(per_scale(config, lambda: nn.Linear(dim, dim, bias=False)) for _ in range(2))

    def dataset(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """X_0 of both, float [Z1,D] and [Z2,D] -> X_0^(2->1) float [Z1,D] and X_0^(1->2) float [Z2,D] (Eq. 8)."""
        how = {"masking": self.config.masking}
        back = self.globally[0](first, second, self.static.T, **how)
        return back, self.globally[1](second, first, self.static, **how)

    def dynamic(self, level: int, first: Tensor, second: Tensor) -> Tensor:
        """M_dynamic,l of regions S_l float [B,Z1,D] and [B,Z2,D]: float [B,Z2,Z1] (Eq. 9); any sign as printed."""
        product = self.weigh[1][level](second) @ self.weigh[0][level](first).transpose(1, 2)  # type: ignore[index]
        if self.config.dynamic != "plain":
            product = product / math.sqrt(first.shape[-1])
        return product.sigmoid() if self.config.dynamic == "sigmoid" else product

    def image(self, level: int, first: Semantics, second: Semantics) -> tuple[Tensor, Tensor]:
        """X_l^(2->1) float [B,Z1,D] and X_l^(1->2) float [B,Z2,D] of B pairs of images, l = level + 1 (Eq. 9)."""
        prior = self.dynamic(level, first.pooled[level], second.pooled[level])
        x1, x2 = first.rows[level + 1], second.rows[level + 1]
        of1, of2 = (None if self.config.absent == "zeros" else one.present[level] for one in (first, second))
        back = self.maps[0][level](x1, x2, prior.transpose(1, 2), of2)  # type: ignore[index]
        return back, self.maps[1][level](x2, x1, prior, of1)  # type: ignore[index]


def distance(original: Tensor, mapped: Tensor, present: Tensor | None, config: SSTConfig) -> Tensor:
    """Half of SCR: mean of 1 - cosine over categories and images; rows float [B,Z,D] twice -> float [] (Eq. 10, 11).

    present bool [B,Z] takes categories out of the mean. `centred` first removes the mean of the categories: a vector
    added to all of them would bring every cosine to 1 and leave the auxiliary cross-entropy as it is (facts A.9-11).
    `stop_gradient` holds one side fixed.
    """
    there = torch.ones(original.shape[:2], dtype=torch.bool, device=original.device) if present is None else present
    if config.centred:
        counts = there.sum(1).clamp(min=1)[:, None, None]
        share = there[..., None].to(original.dtype) / counts
        original, mapped = (rows - (rows * share).sum(1, keepdim=True) for rows in (original, mapped))
    if config.stop_gradient != "none":
        held = config.stop_gradient == "original"
        original, mapped = (original.detach(), mapped) if held else (original, mapped.detach())
    original, mapped = (torch.where(there[..., None], rows, 1.0) for rows in (original, mapped))  # finite gradients
    apart = torch.where(there, 1 - F.cosine_similarity(original, mapped, dim=2), 0.0)
    return (apart.sum(1) / there.sum(1).clamp(min=1)).mean()


def _contrast(original: Tensor, mapped: Tensor, present: Tensor | None) -> Tensor:
    """EOP-Net's contrast of mapped rows against all originals, temperature 0.1: its negatives forbid the collapse."""
    kept = 1.0 if present is None else present[..., None]
    return prototype_contrast(mapped * kept, original * kept, both_sides=True)


def consistency(transfer: Transfer, first: Semantics, second: Semantics) -> dict[str, Tensor]:
    """Return `scr_dataset` (Eq. 10), `scr_image` (Eq. 11) and `contrast` of two domains, each float [], as configured.

    `first` and `second` hold the paired images in equal order. The image level is a sum over scales, as printed.
    """
    config, terms = transfer.config, {}
    contrast = []
    if config.transfer in ("dataset", "both"):
        sides = [first.rows[0][:1], second.rows[0][:1]]
        mapped = [one[None] for one in transfer.dataset(sides[0][0], sides[1][0])]
        pairs = list(zip(sides, mapped, strict=True))
        terms["scr_dataset"] = torch.stack([distance(*pair, None, config) for pair in pairs]).sum()
        contrast += [_contrast(*pair, None) for pair in pairs]
    if config.transfer in ("image", "both"):
        scales = []
        for level in range(SCALES):
            for one, mapped_rows in zip((first, second), transfer.image(level, first, second), strict=True):
                there = None if config.absent == "zeros" else one.present[level]
                scales.append(distance(one.rows[level + 1], mapped_rows, there, config))
                contrast.append(_contrast(one.rows[level + 1], mapped_rows, there))
        terms["scr_image"] = torch.stack(scales).sum() / (SCALES if config.scale_sum == "mean" else 1)
    if config.contrast and contrast:
        terms["contrast"] = torch.stack(contrast).mean()
    return terms


def pair_up(first: int, second: int, how: str) -> Sequence[Tensor]:
    """Which of two domains' images meet: positions int64 [N] twice; every pair, or "matched" ones."""
    if how == "matched":
        count = min(first, second)
        return torch.arange(count), torch.arange(count)
    return torch.arange(first).repeat_interleave(second), torch.arange(second).repeat(first)
