"""PFENet: a training-free prior mask and a feature enrichment module, one class at a time (Tian et al., TPAMI 2020).

Choices of ours: the encoder's last map serves as the middle and as the high-level feature, the bins follow height and
width apart, and the k-way form: in training a few of the support's classes are drawn for every sample, each a two-class
problem as in the original; at test every class is scored on its own and `kway_rule` joins their logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing
from oshp_lite.models.baselines.common import (
    Contender,
    ContenderConfig,
    join_two_way,
    members,
    present_pairs,
    spread,
)
from oshp_lite.models.modules.layers import resize

RATIOS = (1.0, 0.5, 0.25, 0.125)  # bins as shares of the map, fine to coarse (60, 30, 15, 8 of 60 in the original)
_AT_ONCE = 48  # class maps that go through the enrichment module together at test; bounds its memory


@torch.no_grad()
def prior_maps(query: Tensor, support: Tensor, masks: Tensor, sample: Tensor, eps: float = 1e-7) -> Tensor:
    """Prior mask of each pair: every query cell's best cosine with a masked support cell, min-max scaled; no training.

    query float [B,D,h,w], support float [B,D,h',w'], masks float [N,h',w'] in [0,1], sample int64 [N] (the episode of
    each mask) -> float [N,h,w] in [0,1]. Cells outside the mask count as cosine 0; a constant map becomes 0.
    """
    with torch.autocast(query.device.type, enabled=False):
        kind = torch.float64 if query.dtype == torch.float64 else torch.float32
        h, w = query.shape[-2:]
        a = F.normalize(query.flatten(2).to(kind), dim=1, eps=eps)
        b = F.normalize(support.flatten(2).to(kind), dim=1, eps=eps)
        best = a.new_zeros(len(sample), h * w)
        for episode in sample.unique().tolist():
            cosine = a[episode].T @ b[episode]
            for row in (sample == episode).nonzero()[:, 0].tolist():
                inside = masks[row].flatten() > 0
                if inside.any():
                    best[row] = cosine[:, inside].amax(1)
                    if not inside.all():
                        best[row].clamp_(min=0)
        low, high = best.amin(1, keepdim=True), best.amax(1, keepdim=True)
        return ((best - low) / (high - low + eps)).view(-1, h, w)


def bins_of(size: Sequence[int], ratios: Sequence[float] = RATIOS) -> list[tuple[int, int]]:
    """Sizes that the enrichment module pools a map to: each ratio of height and width, rounded, at least 1."""
    return [(max(1, round(r * size[0])), max(1, round(r * size[1]))) for r in ratios]


def _conv_relu(in_width: int, width: int, kernel: int) -> list[nn.Module]:
    return [nn.Conv2d(in_width, width, kernel, padding=kernel // 2, bias=False), nn.ReLU(inplace=True)]


def _twice(width: int) -> nn.Sequential:
    return nn.Sequential(*_conv_relu(width, width, 3), *_conv_relu(width, width, 3))


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(*_conv_relu(width, width, 3), nn.Dropout2d(0.1), nn.Conv2d(width, 2, 1))


def _wake(module: nn.Module) -> None:
    """Kaiming weights for a convolution before a ReLU (ours): with PyTorch's own, fifteen layers without any
    normalisation pass on next to nothing, and a short training ends before it has begun."""
    if isinstance(module, nn.Conv2d) and module.bias is None:
        nn.init.kaiming_normal_(module.weight)


class Enrichment(nn.Module):
    """Feature enrichment: query, class vector and prior merged at several sizes, finer scales feeding coarser ones.

    query float [B,R,h,w], vectors float [N,R], prior float [N,h,w], sample int64 [N] -> two-class logits (background,
    class) float [N,2,h,w] and those of each scale, float [N,2,bh,bw].
    """

    def __init__(self, width: int, ratios: Sequence[float] = RATIOS) -> None:
        super().__init__()
        self.width, self.ratios = width, tuple(ratios)
        scales = range(len(self.ratios))
        # a merge is one 1x1 convolution over [query, vector, prior]; its parts are applied apart, see _merge
        self.merge = nn.ModuleList(nn.Conv2d(2 * width + 1, width, 1, bias=False) for _ in scales)
        self.hand_down = nn.ModuleList(nn.Sequential(*_conv_relu(2 * width, width, 1)) for _ in scales[1:])
        self.refine = nn.ModuleList(_twice(width) for _ in scales)
        self.scale_heads = nn.ModuleList(_head(width) for _ in scales)
        self.join = nn.Sequential(*_conv_relu(len(self.ratios) * width, width, 1))
        self.last = _twice(width)
        self.head = _head(width)

    def _merge(self, scale: int, query: Tensor, vectors: Tensor, prior: Tensor, sample: Tensor) -> Tensor:
        """ReLU of the merging convolution, with the query's part computed once per episode."""
        weight = cast(Tensor, self.merge[scale].weight)
        of_query, of_vector, of_prior = weight.split([self.width, self.width, 1], 1)
        merged = F.conv2d(query, of_query)[sample] + F.conv2d(prior, of_prior)
        return F.relu(merged + F.conv2d(vectors[..., None, None], of_vector))

    def forward(self, query: Tensor, vectors: Tensor, prior: Tensor, sample: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Enrich and classify; see the class for shapes."""
        size = query.shape[-2:]
        maps, scored = list[Tensor](), list[Tensor]()
        for scale, bin_size in enumerate(bins_of(size, self.ratios)):
            pooled = F.adaptive_avg_pool2d(query, bin_size)
            small = resize(prior[:, None].to(query.dtype), bin_size)
            merged = self._merge(scale, pooled, vectors, small, sample)
            if maps:
                above = resize(maps[-1], bin_size)
                merged = merged + self.hand_down[scale - 1](torch.cat([merged, above], 1))
            merged = merged + self.refine[scale](merged)
            scored.append(self.scale_heads[scale](merged))
            maps.append(resize(merged, size))
        joined = self.join(torch.cat(maps, 1))
        return self.head(joined + self.last(joined)), scored


@dataclass(frozen=True)
class PFENetConfig(ContenderConfig):
    """Configuration of PFENet."""

    name: ClassVar[str] = "pfenet"

    # width of the reduced features; None: 32 under the variant lite, else the paper's 256
    reduce: int | None = bounded(None, 1)
    ratios: tuple[float, ...] = bounded(RATIOS, 0, 1, above=True)  # bins of the enrichment module as shares of the map
    aux_weight: float = bounded(1.0, 0)  # of the mean of the scales' losses
    dropout: float = bounded(0.5, 0, 0.99)  # of whole channels of the reduced features
    classes_per_step: int = bounded(2, 0)  # drawn per sample in k-way training; 0 takes all the support shows (ours)
    # p of the losses' weight (background / foreground)^p on a class's pixels, per map; 0 is the paper's plain mean, 1
    # counts both sides alike (ours, for short trainings and small parts)
    balance: float = bounded(0.0, 0, 1)
    # "softmax": the class with the largest foreground probability, background where none passes 1/2; "mean": background
    # is the mean of the classes' background logits (EOP-Net, Eq. 6)
    kway_rule: Literal["softmax", "mean"] = "softmax"
    freeze_encoder: bool = True  # the paper's; False trains the encoder too

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.ratios:
            raise UserError("model option ratios is empty; give at least one number in (0, 1]")


class PFENet(Contender):
    """Prior-guided feature enrichment (facts 6) on the shared encoder, which stays frozen as in the paper."""

    Config = PFENetConfig
    config: PFENetConfig

    def build_head(self) -> None:
        """Make the reductions and the enrichment module."""
        config, out = self.config, self.encoder.out_channels
        width = config.reduce or (32 if config.encoder == "lite" else 256)
        drop = nn.Dropout2d(config.dropout)
        self.reduce_query = nn.Sequential(*_conv_relu(out, width, 1), drop)
        self.reduce_support = nn.Sequential(*_conv_relu(out, width, 1), drop)
        self.enrichment = Enrichment(width, config.ratios)
        for module in (self.reduce_query, self.reduce_support, self.enrichment):
            module.apply(_wake)
        if config.freeze_encoder:
            self.encoder.requires_grad_(False)
            self.encoder.eval()

    def train(self, mode: bool = True) -> PFENet:
        """Set the mode; a frozen encoder keeps its BatchNorm statistics."""
        super().train(mode)
        if self.config.freeze_encoder:
            self.encoder.eval()
        return self

    def _drawn(self, present: Tensor) -> Tensor:
        """The channels to work on, bool [B,C]: all that are present, in k-way training some drawn at random."""
        count = self.config.classes_per_step
        if not self.training or self.way == "1" or count == 0:
            return present
        draws = torch.rand(present.shape, device=present.device).masked_fill(~present, 2.0)
        draws[:, 0] = -1.0
        return present & (draws.argsort(1).argsort(1) <= count)

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query; `.fine` float [B,C,H,W], C raw ids or 2, masked but for the drawn ids."""
        batch = self.checked(batch)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_encoder):
            query, support = self.encode(batch)
        drawn = self._drawn(self.support_classes(batch))
        sample, channel = present_pairs(drawn)
        masks = members(self.support_mask(batch), self.rows)[sample, channel]
        precise = torch.promote_types(support.dtype, torch.float32)
        masks = resize(masks[:, None].to(precise), support.shape[-2:])[:, 0]
        prior = prior_maps(query.detach(), support.detach(), masks, sample)
        middle, around = self.reduce_query(query), self.reduce_support(support)
        weights = masks / (masks.sum((1, 2), keepdim=True) + 0.0005)
        spots = spread(weights, sample, channel, drawn, 0.0)
        vectors = torch.einsum("bkhw,bdhw->bkd", spots, around)[sample, channel]
        extras = {}
        if self.training:
            final, scales = self.enrichment(middle, vectors, prior, sample)
            extras = {"final": final, "sample": sample, "channel": channel}
            extras |= {f"scale{i}": logits for i, logits in enumerate(scales)}
        else:
            groups = zip(*(x.split(_AT_ONCE) for x in (vectors, prior, sample)), strict=True)
            final = torch.cat([self.enrichment(middle, *group)[0] for group in groups])
        logits = join_two_way(final, sample, channel, drawn, binary=self.config.kway_rule == "softmax")
        return self.parsing(logits, batch, present=drawn, **extras)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `ce` (final), `aux` (mean over the scales) and `total` = ce + aux_weight aux, each float [].

        Both are two-class cross-entropies over the drawn classes. Outside training mode `ce` is that of
        the joined logits and `aux` is 0.
        """
        if "final" not in parsing.extras:
            ce = self.cross_entropy(parsing, batch)
            return {"ce": ce, "aux": ce.new_zeros(()), "total": ce}
        sample, channel = parsing.extras["sample"], parsing.extras["channel"]
        target = self.target(batch)[sample]
        label = torch.where(target == IGNORE, IGNORE, (target == channel[:, None, None]).long())
        ce = two_class_loss(parsing.extras["final"], label, self.config.balance)
        scales = [value for name, value in parsing.extras.items() if name.startswith("scale")]
        aux = torch.stack([two_class_loss(value, label, self.config.balance) for value in scales]).mean()
        return {"ce": ce, "aux": aux, "total": ce + self.config.aux_weight * aux}


def two_class_loss(logits: Tensor, label: Tensor, balance: float = 0.0) -> Tensor:
    """Mean cross-entropy at the label's size over pixels that are not 255; float [N,2,h,w], int64 [N,H,W] -> [].

    With `balance` p a map's foreground pixels weigh (its background / foreground pixels)^p, at least 1. Only the
    difference of the two logits matters and resampling is linear, so one map is resampled, not two.
    """
    margin = resize(logits[:, 1:] - logits[:, :1], label.shape[-2:])[:, 0]
    margin = margin.to(torch.promote_types(margin.dtype, torch.float32))
    inside, counted = label == 1, label != IGNORE
    weight = counted.to(margin.dtype)
    if balance > 0:
        own = inside.sum((1, 2), keepdim=True)
        ratio = (counted.sum((1, 2), keepdim=True) - own) / own.clamp(min=1)
        weight = weight * torch.where(inside, ratio.clamp(min=1).to(margin.dtype) ** balance, 1.0)
    terms = F.softplus(torch.where(inside, -margin, margin)) * weight
    return terms.sum() / weight.sum().clamp(min=1)
