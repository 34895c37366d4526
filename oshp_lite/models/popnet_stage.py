"""The stages of POPNet: a supervised one for the person, one-shot ones for areas and fine classes, KIM between them."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import EpisodeRules, Parsing
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.encoders.xception import SeparableUnit
from oshp_lite.models.modules.layers import conv_bn_relu, resize
from oshp_lite.models.modules.losses import pixel_loss, shift_weights
from oshp_lite.models.modules.metric import (
    AttentionGuidance,
    NearestPrototype,
    ScalarAffine,
    attend,
    cosine_maps,
    dual_metric,
)
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average
from oshp_lite.models.popnet_config import POPNetConfig


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
        self.encoder = build_encoder(config)
        self.head = AttentionGuidance(self.encoder.out_channels, config.agm_trunk)

    def features(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """Image float [B,3,H,W] -> float [B,D,h,w]; nothing comes before this stage."""
        return cast(Tensor, self.head.trunk(self.encoder(image)))

    def logits(self, features: Tensor) -> Tensor:
        """Scene against person, float [B,D,h,w] -> [B,2,h,w]."""
        return cast(Tensor, self.head.classify(features))


class PopNetStage(EpisodeRules):
    """A one-shot stage: encoder, KIM, dual metric learning over the ids 0..n_ids-1 (AAAI, section 4.3).

    `config.n_ids` is the stage's own number of ids. There is no projection: prototypes and heads live in the (infused)
    features. `infused` builds the KIM; it runs when earlier features are given.
    """

    config: POPNetConfig

    def __init__(self, config: POPNetConfig, *, infused: bool) -> None:
        super().__init__()
        self.config = config
        self.encoder = build_encoder(config)
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
        self.bank = PrototypeBank(config.n_ids, width, momentum=config.momentum, warmup=rule)

    def features(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """Image float [B,3,H,W] -> float [B,D,h,w], infused with the earlier stage's features when there are any."""
        own = cast(Tensor, self.encoder(image))
        return own if previous is None or self.infusion is None else cast(Tensor, self.infusion(previous, own))

    # ------------------------------------------------------------------------------------------------ forward

    def forward(
        self,
        query: Tensor,
        support: Tensor,
        batch: Episode,
        *,
        static: bool,
        compute_agm: bool = True,
        restrict: bool | None = None,
    ) -> Parsing:
        """Parse infused features float [B,D,h,w] of query and support; the batch's masks hold this stage's own ids.

        Returns `.fine` (NCM, times the scale) and `.agm` at the query's size; in training mode the bank is updated.
        """
        config = self.config
        static = static or not config.dynamic
        compute_agm = compute_agm and not (self.training and config.fixed_beta == 0)  # nothing would learn from it
        restrict = config.restrict_to_support if restrict is None else restrict
        present = self.support_classes(batch)
        head = self._one_way if config.way == "1" else self._k_way
        ncm, agm = head(query, support, batch, present[:, 1:], static, compute_agm, restrict)
        return self.parsing(ncm, batch, present=present if restrict else None, agm=agm)

    def _k_way(
        self,
        query: Tensor,
        support: Tensor,
        batch: Episode,
        present: Tensor,
        static: bool,
        compute_agm: bool,
        restrict: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """NCM and AGM logits over all ids at stride 4."""
        means = masked_average(support, self.support_mask(batch), self.rows)
        means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], 1)  # the background has no prototype
        if self.config.screening_ids == "ucs":
            return self._screened(query, means, present, static, compute_agm)
        used = self._prototypes(means, static)[:, 1:]
        counted = present if self.config.bg_mean == "present" else torch.ones_like(present)
        only_present = self.config.bg_mean == "present" and restrict
        needed = present | ~present.any(1, keepdim=True) if only_present else torch.ones_like(present)
        return self._dual(query, used, counted, needed, compute_agm)

    def _one_way(
        self,
        query: Tensor,
        support: Tensor,
        batch: Episode,
        present: Tensor,
        static: bool,
        compute_agm: bool,
        restrict: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """NCM and AGM logits of background and the target class at stride 4."""
        target = cast(Tensor, batch.class_ids)
        mean = masked_average(support, batch.support_mask, 2)[:, 1]
        used = self.bank.row(mean, target, use_static=static)
        if self.config.oneway_head == "kway":
            return self._dual(query, used, torch.ones_like(present), torch.ones_like(present), compute_agm)
        similarity = cosine_maps(query, used)
        ncm = self.ncm(similarity)
        if self.config.dynamic:
            ncm = ncm * self.scale
        if not compute_agm:
            return ncm, None
        # the released dynamic class dropped the residual of the static one
        return ncm, self.guidance(attend(query, similarity[:, 0], residual=not self.config.dynamic))

    def _dual(
        self, query: Tensor, used: Tensor, counted: Tensor, needed: Tensor, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Logits float [B,K+1,h,w] of NCM and AGM over K prototypes float [B,K,D]; see dual_metric."""
        heads = (cast(NearestPrototype, self.ncm), self.scale, self.guidance, cast(ScalarAffine, self.agm_fusion))
        one_by_one = self.training and self.config.trunk_bn == "per_id"
        return dual_metric(query, used, counted, needed, heads=heads, compute_agm=compute_agm, one_by_one=one_by_one)

    def _prototypes(self, means: Tensor, static: bool) -> Tensor:
        """Prototypes to compare with, float [B,n_ids(+1),D]; the unlabelled class is always static."""
        n_ids = self.config.n_ids
        used = self.bank(means[:, :n_ids], use_static=static)
        return torch.cat([used, means[:, n_ids:].to(used.dtype)], 1)

    # ------------------------------------------------------------------------------------ unseen-class screening

    def _screened(
        self, query: Tensor, means: Tensor, present: Tensor, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Compare only the ids that some support of the batch shows; the other channels' logits are 0 ("ucs")."""
        ids = present.any(0).nonzero()[:, 0] + 1
        places = torch.cat([ids.new_zeros(1), ids])
        if len(ids):
            by_place = self.config.ucs_rows == "position"
            rows = self._by_place(means, ids, static) if by_place else self._prototypes(means, static)[:, ids]
            counted = torch.ones_like(present[:, : len(ids)])
            ncm, agm = self._dual(query, rows, counted, counted, compute_agm)
        else:  # a batch of empty supports: both background means are taken as 1
            ones = torch.ones_like(query[:, :1])
            ncm = cast(NearestPrototype, self.ncm).fusion.maps(ones) * self.scale
            agm = cast(ScalarAffine, self.agm_fusion).maps(ones)

        def spread(logits: Tensor) -> Tensor:
            full = logits.new_zeros(len(logits), present.shape[1] + 1, *logits.shape[2:])
            return full.index_copy(1, places, logits)

        return spread(ncm), spread(agm) if compute_agm and agm is not None else None

    def _by_place(self, means: Tensor, ids: Tensor, static: bool) -> Tensor:
        """Prototypes float [B,P,D] of some ids, with the released code's slip.

        The bank is asked whether it holds something, and written, at the id's place among those; it is read at
        the id. A place lies below its id, so no row that is read has been written before in the same batch.
        """
        rows = torch.cat(
            [self.bank.rows.detach().clone(), means.new_zeros(1, means.shape[2])]
        )  # of the unlabelled class: empty
        keep = self.bank.momentum
        columns = []
        for place, index in enumerate(ids.tolist()):
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
                self.bank.rows.copy_(rows[: self.config.n_ids])
        return torch.stack(columns, 1)

    # ------------------------------------------------------------------------------------------------- losses

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `agm`, `ncm` and `total` = beta agm + (1 - beta) ncm (AAAI, Eq. 5); progress is that of the stage."""
        beta, rest = shift_weights(progress if self.config.fixed_beta is None else 1 - self.config.fixed_beta)
        if parsing.agm is None and beta > 0:
            raise ValueError("the AGM term has a weight but the parsing was made with compute_agm=False")
        target = self.target(batch)
        ncm = pixel_loss(self.with_unlabelled(parsing), target)
        agm = torch.zeros_like(ncm) if parsing.agm is None else pixel_loss(self.with_unlabelled(parsing, "agm"), target)
        return {"ncm": ncm, "agm": agm, "total": beta * agm + rest * ncm}
