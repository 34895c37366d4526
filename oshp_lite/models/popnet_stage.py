"""The stages of POPNet: a supervised one for the person, one-shot ones for areas and fine classes, KIM between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.encoders.xception import SeparableUnit
from oshp_lite.models.modules.layers import conv_bn_relu, resize
from oshp_lite.models.modules.losses import pixel_loss, restrict_target, shift_weights
from oshp_lite.models.modules.metric import (
    AttentionGuidance,
    NearestPrototype,
    ScalarAffine,
    attend,
    class_mean,
    cosine_maps,
    guide_each,
)
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average, present_ids, shrink_mask
from oshp_lite.models.popnet_config import POPNetConfig

_CLOSED = -1.0e4  # logit of an id that may not be answered; finite, so that resampling it stays finite


class KnowledgeInfusion(nn.Module):
    """Earlier-stage features brought into a stage's own (KIM, h = zeta([previous; own]), AAAI, section 4.2).

    float [B,D,h',w'], float [B,D,h,w] -> float [B,D,h,w]. `kind`: "separable" (two units with ReLUs, released code) or
    "plain" (ours, for the lite encoder: a 1x1 and a 3x3 convolution, each with BatchNorm and ReLU).
    """

    def __init__(self, width: int, kind: Literal["separable", "plain"] = "separable") -> None:
        super().__init__()
        first: nn.Module
        if kind == "separable":
            first, second = SeparableUnit(2 * width, width, relu=True), SeparableUnit(width, width, relu=True)
        else:
            first, second = conv_bn_relu(2 * width, width, kernel=1), conv_bn_relu(width, width)  # type: ignore[assignment]
        self.units = nn.Sequential(first, second)

    def forward(self, previous: Tensor, own: Tensor) -> Tensor:
        """Infuse; earlier features of another size are resampled to the stage's own."""
        return cast(Tensor, self.units(torch.cat([resize(previous, own.shape[-2:]), own], 1)))


class ForegroundStage(nn.Module):
    """Stage 1: ordinary supervised segmentation of scene and person (AAAI, section 4.1).

    `features` are those before the classifier, which the next stage is infused with.
    """

    def __init__(self, config: POPNetConfig) -> None:
        super().__init__()
        self.encoder = build_encoder("official", **config.encoder_options)
        self.head = AttentionGuidance(self.encoder.out_channels, config.agm_trunk)

    def features(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """Image float [B,3,H,W] -> float [B,D,h,w]; nothing comes before this stage."""
        return cast(Tensor, self.head.trunk(self.encoder(image)))

    def logits(self, features: Tensor) -> Tensor:
        """Scene against person, float [B,D,h,w] -> [B,2,h,w]."""
        return cast(Tensor, self.head.classify(features))


class PopNetStage(nn.Module):
    """A one-shot stage: encoder, KIM, dual metric learning over the ids 0..n_ids-1 (AAAI, section 4.3).

    Without a projection: prototypes and heads live in the (infused) features themselves. `infused` builds the KIM; it
    runs when earlier features are given.
    """

    def __init__(self, config: POPNetConfig, n_ids: int, *, infused: bool) -> None:
        super().__init__()
        self.config = config
        self.n_ids = n_ids
        self.channels = n_ids if config.way == "k" else 2
        self.encoder = build_encoder("official", **config.encoder_options)
        width = self.encoder.out_channels
        self.infusion = KnowledgeInfusion(width, config.kim) if infused else None
        self.guidance = AttentionGuidance(width, config.agm_trunk)
        self.ncm: NearestPrototype | ScalarAffine
        self.agm_fusion: ScalarAffine | None
        if config.way == "1" and config.oneway_head == "code":
            self.ncm, self.agm_fusion = ScalarAffine(2), None
        else:
            self.ncm, self.agm_fusion = NearestPrototype(), ScalarAffine()
        self.scale = nn.Parameter(torch.tensor(float(config.ncm_scale)))
        rule = config.bank_during_warmup if config.dynamic else "untouched"
        self.bank = PrototypeBank(n_ids, width, momentum=config.momentum, warmup=rule)

    def features(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """Image float [B,3,H,W] -> float [B,D,h,w], infused with the earlier stage's features when there are any."""
        own = cast(Tensor, self.encoder(image))
        return own if previous is None or self.infusion is None else cast(Tensor, self.infusion(previous, own))

    # ------------------------------------------------------------------------------------------------ forward

    def forward(
        self, query: Tensor, support: Tensor, batch: Episode, *, static: bool, compute_agm: bool = True
    ) -> Parsing:
        """Parse infused features float [B,D,h,w] of query and support; the batch's masks hold this stage's own ids.

        Returns `.fine` (NCM, times the scale) and `.agm` at the query's size; in training mode the bank is updated.
        """
        static = static or not self.config.dynamic
        compute_agm = compute_agm and not (self.training and self.config.fixed_beta == 0)  # nothing would learn from it
        if self.leftover:
            batch = replace(batch, support_mask=self._name_leftover(batch.support_mask, batch.support_foreground))
        head = self._one_way if self.config.way == "1" else self._k_way
        ncm, agm = head(query, support, batch, static, compute_agm)
        size = batch.query_image.shape[-2:]
        ncm, agm = resize(ncm, size), None if agm is None else resize(agm, size)
        extras = {}
        if self.leftover:  # the answer keeps to the stage's ids; the losses put the channel back
            extras["ncm_leftover"], ncm = ncm[:, self.channels :], ncm[:, : self.channels]
            if agm is not None:
                extras["agm_leftover"], agm = agm[:, self.channels :], agm[:, : self.channels]
        return Parsing(fine=ncm, agm=agm, extras=extras)

    def _k_way(
        self, query: Tensor, support: Tensor, batch: Episode, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """NCM and AGM logits over all ids at stride 4."""
        means = masked_average(support, batch.support_mask, self.n_ids + self.leftover)
        means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], 1)  # the background has no prototype
        shown = self._shown(batch, support.shape[-2:])
        if self.config.screening_ids == "ucs":
            return self._screened(query, means, shown, static, compute_agm)
        used = self._prototypes(means, static)[:, 1:]
        counted = shown if self.config.bg_mean == "present" else torch.ones_like(shown)
        only_shown = self.config.bg_mean == "present" and self.config.restrict_to_support
        needed = shown | ~shown.any(1, keepdim=True) if only_shown else torch.ones_like(shown)
        ncm, agm = self._dual(query, used, counted, needed, compute_agm)
        return self._closed(ncm, shown), None if agm is None else self._closed(agm, shown)

    def _one_way(
        self, query: Tensor, support: Tensor, batch: Episode, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """NCM and AGM logits of background and the asked class at stride 4."""
        asked = cast(Tensor, batch.class_ids)
        mean = masked_average(support, batch.support_mask, 2)[:, 1]
        own_row = F.one_hot(asked, self.n_ids).to(mean.dtype)
        rows = self.bank(own_row[..., None] * mean[:, None], use_static=static)
        used = rows[torch.arange(len(asked), device=asked.device), asked][:, None]
        shown = self._shown(batch, support.shape[-2:])
        if self.config.oneway_head == "kway":
            ncm, agm = self._dual(query, used, torch.ones_like(shown), torch.ones_like(shown), compute_agm)
        else:
            similarity = cosine_maps(query, used)
            ncm, agm = self.ncm(similarity), None
            if self.config.dynamic:
                ncm = ncm * self.scale
            if compute_agm:  # the released dynamic class dropped the residual of the static one
                agm = self.guidance(attend(query, similarity[:, 0], residual=not self.config.dynamic))
        return self._closed(ncm, shown), None if agm is None else self._closed(agm, shown)

    def _dual(
        self, query: Tensor, used: Tensor, counted: Tensor, needed: Tensor, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Dual metric learning over K prototypes float [B,K,D]: logits float [B,K+1,h,w] of NCM and AGM, not closed."""
        similarity = cosine_maps(query, used)
        ncm = cast(Tensor, self.ncm(similarity, counted)) * self.scale
        if not compute_agm:
            return ncm, None
        in_turn = self.training and self.config.trunk_bn == "per_id"
        scores = guide_each(self.guidance, query, similarity, used.sum(-1) != 0, needed, in_turn=in_turn)
        background = cast(ScalarAffine, self.agm_fusion).maps(class_mean(scores[:, :, 1], counted))
        return ncm, torch.cat([background, scores[:, :, 0]], 1)

    def _prototypes(self, means: Tensor, static: bool) -> Tensor:
        """Prototypes to compare with, float [B,n_ids(+1),D]; the leftover class is always static."""
        used = self.bank(means[:, : self.n_ids], use_static=static)
        return torch.cat([used, means[:, self.n_ids :].to(used.dtype)], 1)

    # ------------------------------------------------------------------------------------ unseen-class screening

    def _screened(
        self, query: Tensor, means: Tensor, shown: Tensor, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compare only the ids that some support of the batch shows; the other channels' logits are 0 ("ucs")."""
        found = shown.any(0).nonzero()[:, 0] + 1
        places = torch.cat([found.new_zeros(1), found])
        if len(found):
            by_place = self.config.ucs_rows == "position"
            rows = self._by_place(means, found, static) if by_place else self._prototypes(means, static)[:, found]
            counted = torch.ones_like(shown[:, : len(found)])
            ncm, agm = self._dual(query, rows, counted, counted, compute_agm)
        else:  # a batch of empty supports: both background means are taken as 1
            ones = torch.ones_like(query[:, :1])
            ncm = cast(NearestPrototype, self.ncm).fusion.maps(ones) * self.scale
            agm = cast(ScalarAffine, self.agm_fusion).maps(ones)

        def spread(logits: Tensor) -> Tensor:
            full = logits.new_zeros(len(logits), shown.shape[1] + 1, *logits.shape[2:])
            return self._closed(full.index_copy(1, places, logits), shown)

        return spread(ncm), spread(agm) if compute_agm and agm is not None else None

    def _by_place(self, means: Tensor, found: Tensor, static: bool) -> Tensor:
        """Prototypes float [B,P,D] of the ids found, with the released code's slip.

        The bank is asked whether it holds something, and written, at the id's place among those found; it is read at
        the id. A place lies below its id, so no row that is read has been written before in the same batch.
        """
        rows = torch.cat([self.bank.rows.detach().clone(), means.new_zeros(1, means.shape[2])])  # leftover: empty row
        keep = self.bank.momentum
        columns = []
        for place, index in enumerate(found.tolist()):
            column = []
            for static_one in means[:, index]:
                used = static_one
                if bool(static_one.sum() == 0):
                    used = torch.zeros_like(static_one)
                else:
                    if not (static or bool(rows[place].sum() == 0) or bool(rows[index].sum() == 0)):
                        used = keep * rows[index].clone() + (1 - keep) * static_one
                    if self.training and self.bank.warmup != "untouched":
                        rows[place] = used.detach()
                column.append(used)
            columns.append(torch.stack(column))
        if self.training:
            with torch.no_grad():
                self.bank.rows.copy_(rows[: self.n_ids])
        return torch.stack(columns, 1)

    # ------------------------------------------------------------------------------------------ what is shown

    @property
    def leftover(self) -> bool:
        """Whether the person's unlabelled pixels count as one more class, behind the ids (k-way training only)."""
        return self.training and self.config.way == "k" and self.config.unlabelled_foreground == "class"

    def _name_leftover(self, mask: Tensor, foreground: Tensor) -> Tensor:
        """Give the unlabelled pixels of the person the id behind the stage's ids; int64, shape kept."""
        return torch.where((mask == 0) & (foreground == 1), self.n_ids, mask)

    def _shown(self, batch: Episode, size: torch.Size) -> Tensor:
        """Which foreground ids the support shows, bool [B,C-1], on the shrunk or the full mask (`absent_test`)."""
        mask = batch.support_mask if self.config.absent_test == "full" else shrink_mask(batch.support_mask, size)
        return present_ids(mask, self.channels + self.leftover)[:, 1:]

    def _closed(self, logits: Tensor, shown: Tensor) -> Tensor:
        """Close the channels of ids the support does not show (`restrict_to_support`); float [B,K+1,h,w]."""
        if not self.config.restrict_to_support:
            return logits
        background = torch.ones_like(shown[:, :1])
        return logits.masked_fill(~torch.cat([background, shown], 1)[..., None, None], _CLOSED)

    # ------------------------------------------------------------------------------------------------- losses

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `agm`, `ncm` and `total` = beta agm + (1 - beta) ncm (AAAI, Eq. 5); progress is that of the stage."""
        beta, rest = shift_weights(progress if self.config.fixed_beta is None else 1 - self.config.fixed_beta)
        target = self.target(batch)
        ncm, agm = parsing.fine, parsing.agm
        if agm is None and beta > 0:
            raise ValueError("the AGM term has a weight but the parsing was made with compute_agm=False")
        if self.leftover:
            ncm = torch.cat([ncm, parsing.extras["ncm_leftover"]], 1)
            agm = None if agm is None else torch.cat([agm, parsing.extras["agm_leftover"]], 1)
        terms = {"ncm": pixel_loss(ncm, target)}
        terms["agm"] = torch.zeros_like(terms["ncm"]) if agm is None else pixel_loss(agm, target)
        return {**terms, "total": beta * terms["agm"] + rest * terms["ncm"]}

    def target(self, batch: Episode) -> Tensor:
        """The target int64 [B,H,W]: the query mask with ids the support does not show as background; 255 stays."""
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        label, mask = batch.query_mask, batch.support_mask
        unlabelled = torch.zeros_like(label, dtype=torch.bool)
        if self.config.way == "k" and self.config.unlabelled_foreground != "background":
            unlabelled = (label == 0) & (batch.query_foreground == 1)
        if self.leftover:
            label = self._name_leftover(label, batch.query_foreground)
            mask = self._name_leftover(mask, batch.support_foreground)
        if self.config.absent_test == "resized":
            mask = shrink_mask(mask, [-(-side // 4) for side in mask.shape[-2:]])
        target = restrict_target(label, mask, self.channels + self.leftover)
        return torch.where(unlabelled & (target == 0), IGNORE, target)
