"""What the contenders share: encoder and seeds, exact pooling, losses, and rows of a classifier that are adapted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import ABSENT, MethodConfig, OneShotModel, Parsing, mask_absent_logits, seeded
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.modules.layers import Resampling, resize
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.modules.prototypes import present_ids


def upsampling_matrix(cells: int, full: int, mode: Resampling, like: Tensor) -> Tensor:
    """The matrix float [full,cells] of 1-D up-sampling (modes of `resize`), in the dtype and on the device of `like`.

    Read off torch itself by resampling the unit vectors, so that the two agree exactly.
    """
    unit = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    kind: dict[str, Any] = {"mode": "linear", "align_corners": mode == "aligned"}
    return F.interpolate(unit, size=full, **({"mode": "nearest"} if mode == "nearest" else kind))[0].T


def shrink_weights(masks: Tensor, size: Sequence[int], mode: Resampling = "bilinear") -> Tensor:
    """Adjoint of up-sampling: how much of each mask falls to each cell; float [B,K,H,W] -> float [B,K,h,w].

    sum_x up(F)(x) M(x) = sum_y F(y) m(y) with m = A_h^T M A_w, so pooling at mask resolution never needs features of
    that size (contenders' facts 0.1). The total weight is kept: sum m = sum M.
    """
    rows = upsampling_matrix(size[0], masks.shape[-2], mode, masks)
    columns = upsampling_matrix(size[1], masks.shape[-1], mode, masks)
    return rows.T @ masks @ columns


def pool(features: Tensor, masks: Tensor, mode: Resampling = "bilinear", eps: float = 1e-5) -> Tensor:
    """Masked average pooling at mask resolution: sum_x up(F)(x) M(x) / (sum_x M(x) + eps), exactly.

    features float [B,D,h,w], masks float or bool [B,K,H,W] of any size -> float [B,K,D], at least float32. An empty
    mask gives a zero row.
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        masks = masks.to(features.dtype)
        area = masks.sum((2, 3)) + eps
        # the weights are divided first, so that a row is a mean of bounded terms and not a quotient of large sums
        weights = shrink_weights(masks, features.shape[-2:], mode) / area[..., None, None]
        return torch.einsum("bkhw,bdhw->bkd", weights, features)


def members(mask: Tensor, n: int) -> Tensor:
    """Binary masks of the ids 0..n-1 of int64 [B,H,W]: bool [B,n,H,W]; 255 belongs to none."""
    return mask[:, None] == torch.arange(n, device=mask.device)[:, None, None]


@contextmanager
def learning() -> Iterator[None]:
    """Gradients inside the block, also within `torch.inference_mode()`; clone tensors that come from outside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass(frozen=True)
class ContenderConfig(MethodConfig):
    """Configuration of a contender; the preset is `lite` when no variant is named."""

    variant: ClassVar[str] = "lite"


class Contender(OneShotModel):
    """Base of all contenders: a method on the shared encoder, trained by cross-entropy. A subclass writes `forward`."""

    def tested(self, mask: Tensor) -> Tensor:
        """The mask that says which ids the support shows: as configured in k-way, the full one in 1-way."""
        return mask if self.way == "1" else super().tested(mask)

    def build(self) -> None:
        """Make the encoder, then the rest with a seed of its own, so that it does not depend on the encoder's size."""
        self.encoder = build_encoder(self.config)
        with seeded(self.seed + 1):
            self.build_head()

    def build_head(self) -> None:
        """Make what stands behind the encoder; torch's generator is seeded already."""

    def linear(self, width: int | None) -> nn.Module:
        """A 1x1 projection of the encoder's features to this width; to their own for None, no layer for 0."""
        channels = self.encoder.out_channels
        width = channels if width is None else width
        return nn.Conv2d(channels, width, 1) if width else nn.Identity()

    def encode(self, batch: Episode) -> tuple[Tensor, Tensor]:
        """Encode query and support, one after the other as EOP-Net does; float [B,C,h,w] each."""
        return self.encoder(batch.query_image), self.encoder(batch.support_image)

    def tapped(self, image: Tensor, *names: str) -> list[Tensor]:
        """The encoder's features of an image, then the outputs of some of its submodules on the way."""
        kept: dict[str, Tensor] = {}
        hooks = [
            self.encoder.get_submodule(name).register_forward_hook(
                lambda _part, _given, made, name=name: kept.update({name: made})
            )
            for name in names
        ]
        try:
            return [self.encoder(image), *(kept[name] for name in names)]
        finally:
            for hook in hooks:
                hook.remove()

    def cross_entropy(self, parsing: Parsing, batch: Episode) -> Tensor:
        """Mean cross-entropy of a parsing against `target(batch)`, float []."""
        return pixel_loss(self.with_unlabelled(parsing), self.target(batch))

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the terms of the objective, here the cross-entropy `ce` alone, and `total`, each float []."""
        ce = self.cross_entropy(parsing, batch)
        return {"ce": ce, "total": ce}


@dataclass(frozen=True)
class AlignedConfig(ContenderConfig):
    """Configuration of a contender with prototype alignment."""

    scale: float = bounded(20.0, 1e-6)  # factor on the cosines
    par_weight: float = bounded(1.0, 0)  # weight of the alignment term
    # width of a linear 1x1 layer behind the encoder, 0 for none, None for the encoder's own. Ours: PANet ends its
    # backbone without a ReLU on purpose, and the shared encoder ends with one, where cosines crowd together
    projection: int | None = bounded(None, 0)


class AlignedContender(Contender):
    """Base of PANet and PPNet: prototypes of the query's own parse parse the support (PAR, prototype alignment).

    `forward` keeps the projected `query` and `support` and the query's `scores` float [B,rows,h,w] as extras.
    """

    config: AlignedConfig

    def build_head(self) -> None:
        """Make the projection."""
        self.projection = self.linear(self.config.projection)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `ce`, `par` (0 outside training mode) and `total` = ce + par_weight par, each float []."""
        ce = self.cross_entropy(parsing, batch)
        align = self.training and self.config.par_weight > 0
        par = self.alignment(parsing, self.checked(batch, images=False)) if align else torch.zeros_like(ce)
        return {"ce": ce, "par": par, "total": ce + self.config.par_weight * par}

    def alignment(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The alignment term, float []."""
        raise NotImplementedError


def two_way_loss(lead: Tensor, wanted: Tensor, counted: Tensor) -> Tensor:
    """Mean two-way cross-entropy of each map: float [N,H,W] logit of the way minus the background's, bool x2 -> [N]."""
    pixels = F.softplus(torch.where(wanted, -lead, lead)) * counted
    return pixels.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


class RowContender(Contender):
    """Base of fine-tuning and AMP: cross-entropy over the rows on both photos of an episode, adaptation at test.

    k-way: plain supervised cross-entropy of each photo against its own mask; ids are not restricted to what the other
    photo shows. 1-way (ours): the same rows learn "c" on a mask's pixels (-log p_c) and "not c" elsewhere
    (-log(1 - p_c)); background is never a target and so never pushed down, it takes what no class claims.
    `seen` bool [n_rows] records which ids training has met: only these rows take part in the softmax.
    """

    seen: Tensor

    def build(self) -> None:
        """Make the encoder and the rows."""
        self.n_rows = self.n_ids + int(self.way == "k" and self.config.unlabelled == "class")
        super().build()
        self.register_buffer("seen", torch.zeros(self.n_rows, dtype=torch.bool))
        self.seen[0] = True

    def row_logits(self, image: Tensor) -> Tensor:
        """Score every row on float [B,3,H,W]: float [B,n_rows,h,w]."""
        raise NotImplementedError

    def adapted(self, batch: Episode, *, restrict: bool | None = None) -> Tensor:
        """Adapt to each support and score its query: float [B,n_logits,h,w]; `restrict` as in PredictOptions."""
        raise NotImplementedError

    def forward(self, batch: Episode, *, progress: float | None = None, restrict: bool | None = None) -> Parsing:
        """Training: the classifier's logits on both photos. Evaluation: the adapted ones on the query."""
        batch = self.checked(batch)
        if not self.training:
            return self.parsing(self.adapted(batch, restrict=restrict), batch)
        query, support = self.row_logits(batch.query_image), self.row_logits(batch.support_image)
        if self.way == "1":
            target = cast(Tensor, batch.class_ids)
            self.seen[target] = True
            query, support = self.against_rest(query, target), self.against_rest(support, target)
        return self.parsing(query, batch, support=support)

    def against_rest(self, logits: Tensor, target: Tensor) -> Tensor:
        """Two channels (all other rows, the target's row), float [B,2,h,w], of float [B,R,h,w] and int64 [B].

        The first is the others' log-sum-exp, so that the softmax is (1 - p_c, p_c).
        """
        logits = mask_absent_logits(logits, self.seen[None, : logits.shape[1]].expand(len(logits), -1))
        own = torch.zeros(logits.shape[:2], dtype=torch.bool, device=logits.device)
        own[torch.arange(len(target), device=target.device), target] = True
        others = logits.masked_fill(own[..., None, None], -torch.inf)
        return torch.stack([others.logsumexp(1), logits[own]], 1)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `query` and `support` (cross-entropies of the two photos) and their mean `total`, each float [].

        Outside training mode `query` is the cross-entropy of the adapted logits and `support` 0.
        """
        batch = self.checked(batch, images=False)
        if not self.training:
            ce = self.cross_entropy(parsing, batch)
            return {"query": ce, "support": torch.zeros_like(ce), "total": ce}
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        support = resize(parsing.extras["support"], batch.support_image.shape[-2:], self.resampling)
        terms = {}
        for name, logits, mask, foreground in (
            ("query", self.with_unlabelled(parsing), batch.query_mask, batch.query_foreground),
            ("support", support, batch.support_mask, batch.support_foreground),
        ):
            label = self.label_unlabelled(mask, foreground)
            if self.way == "k":
                self.seen |= present_ids(label, self.n_rows).any(0)
                logits = mask_absent_logits(logits, self.seen[None].expand(len(logits), -1))
            terms[name] = pixel_loss(logits, label)
        return {**terms, "total": (terms["query"] + terms["support"]) / 2}


def present_pairs(present: Tensor) -> tuple[Tensor, Tensor]:
    """The foreground channels that are present, as two int64 [N]: sample and channel; present bool [B,C]."""
    sample, k = present[:, 1:].nonzero(as_tuple=True)
    return sample, k + 1


def spread(values: Tensor, sample: Tensor, channel: Tensor, present: Tensor, fill: float = ABSENT) -> Tensor:
    """Put maps float [N,h,w] at their (sample, channel) of float [B,C,h,w], `fill` elsewhere; inverse of a gather."""
    whole = values.new_full((*present.shape, *values.shape[-2:]), fill)
    return whole.index_put((sample, channel), values)


def mean_of_pairs(values: Tensor, sample: Tensor, n: int) -> Tensor:
    """Mean over each sample's pairs, zero for a sample without any: float [N,h,w], int64 [N] -> float [n,h,w]."""
    total = values.new_zeros(n, *values.shape[-2:]).index_add(0, sample, values)
    count = torch.bincount(sample, minlength=n).clamp(min=1)
    return total / count[:, None, None].to(values.dtype)


def join_two_way(maps: Tensor, sample: Tensor, channel: Tensor, present: Tensor, *, binary: bool) -> Tensor:
    """Logits float [B,C,h,w] from (background, class) logits float [N,2,h,w] of the pairs, -1e4 for other classes.

    The background is the mean of the classes' own (EOP-Net's journal, Eq. 6), or with `binary` 0 against each class's
    lead over its own, so that a pixel is background where every class's two-way decision says so.
    """
    background, own = mean_of_pairs(maps[:, 0], sample, len(present)), maps[:, 1]
    if binary:
        background, own = torch.zeros_like(background), own - maps[:, 0]
    return torch.cat([background[:, None], spread(own, sample, channel, present)[:, 1:]], 1)
