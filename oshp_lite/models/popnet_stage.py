"""The stages of POPNet: a supervised one for the person, one-shot ones for areas and fine classes, KIM between them."""

from __future__ import annotations

from typing import Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.dual import DualMetric, Logits
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.encoders.xception import SeparableUnit
from oshp_lite.models.modules.layers import conv_bn, resize
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, ScalarAffine
from oshp_lite.models.modules.prototypes import PrototypeBank
from oshp_lite.models.popnet_config import POPNetConfig


class KnowledgeInfusion(nn.Module):
    """Earlier-stage features brought into a stage's own (KIM, h = zeta([previous; own]), AAAI, section 4.2).

    float [B,D,h',w'], float [B,D,h,w] -> float [B,D,h,w]. `kind`: "separable" (two units with ReLUs, released code) or
    "plain" (ours, for the lite encoder: a 1x1 and a 3x3 convolution, each with BatchNorm and ReLU).
    """

    def __init__(self, width: int, kind: Literal["separable", "plain"] = "separable") -> None:
        super().__init__()
        if kind == "separable":
            self.units = nn.Sequential(*(SeparableUnit(i, width, relu=True) for i in (2 * width, width)))
        else:
            self.units = nn.Sequential(conv_bn(2 * width, width, kernel=1, relu=True), conv_bn(width, width, relu=True))

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


class PopNetStage(DualMetric):
    """A one-shot stage: encoder, KIM, dual metric learning over the ids 0..n_ids-1 (AAAI, section 4.3).

    `config.n_ids` is the stage's own number of ids. There is no projection: prototypes and heads live in the (infused)
    features. `infused` builds the KIM; it runs when earlier features are given.
    """

    config: POPNetConfig

    def __init__(self, config: POPNetConfig, *, infused: bool) -> None:
        super().__init__()
        self.config, self.dynamic = config, config.dynamic
        self.encoder = build_encoder(config)
        width = self.encoder.out_channels
        self.infusion = KnowledgeInfusion(width, config.kim) if infused else None
        self.guidance = AttentionGuidance(width, config.agm_trunk)
        self.ncm = ScalarAffine(2) if config.released_head else NearestPrototype()
        self.agm_fusion = None if config.released_head else ScalarAffine()
        self.scale = nn.Parameter(torch.tensor(float(config.ncm_scale)))
        rule = config.bank_during_warmup if config.dynamic else "untouched"
        self.bank = PrototypeBank(config.n_ids, width, momentum=config.momentum, warmup=rule)

    @property
    def metric_parts(self) -> tuple[PrototypeBank, NearestPrototype | ScalarAffine, AttentionGuidance]:
        """The bank, the NCM and phi."""
        return self.bank, self.ncm, self.guidance

    def features(self, image: Tensor, previous: Tensor | None = None) -> Tensor:
        """Image float [B,3,H,W] -> float [B,D,h,w], infused with the earlier stage's features when there are any."""
        own = cast(Tensor, self.encoder(image))
        return own if previous is None or self.infusion is None else cast(Tensor, self.infusion(previous, own))

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
        static = static or not self.dynamic
        return self.compared(query, support, batch, static=static, compute_agm=compute_agm, restrict=restrict)

    def k_way(
        self, query: Tensor, means: Tensor, present: Tensor, static: bool, compute_agm: bool, restrict: bool
    ) -> Logits:
        """Logits over all ids; under "ucs" only the ids that some support of the batch shows are compared."""
        if self.config.screening_ids == "fixed":
            return super().k_way(query, means, present, static, compute_agm, restrict)
        ids = present.any(0).nonzero()[:, 0] + 1
        places = torch.cat([ids.new_zeros(1), ids])
        if len(ids):
            by_place = self.config.ucs_rows == "position"
            rows = self._by_place(means, ids, static) if by_place else self.prototypes(means, static)[:, ids]
            every = torch.ones_like(present[:, : len(ids)])
            ncm, agm = self.dual(query, rows, every, every, compute_agm)
        else:  # a batch of empty supports: both background means are taken as 1
            ones = torch.ones_like(query[:, :1])
            ncm = cast(NearestPrototype, self.ncm).fusion.maps(ones) * self.scale
            agm = cast(ScalarAffine, self.agm_fusion).maps(ones) if compute_agm else None

        def spread(logits: Tensor) -> Tensor:
            full = logits.new_zeros(len(logits), present.shape[1] + 1, *logits.shape[2:])
            return full.index_copy(1, places, logits)

        return spread(ncm), None if agm is None else spread(agm)

    def _by_place(self, means: Tensor, ids: Tensor, static: bool) -> Tensor:
        """Prototypes float [B,P,D] of some ids, with the released code's slip.

        The bank is asked whether it holds something, and written, at the id's place among those; it is read at
        the id. A place lies below its id, so no row that is read has been written before in the same batch.
        """
        # a row of zeros more for the unlabelled class
        rows = torch.cat([self.bank.rows.detach().clone(), means.new_zeros(1, means.shape[2])])
        keep, columns = self.bank.momentum, []
        for place, index in enumerate(ids.tolist()):
            for used in means[:, index]:
                if bool(used.sum() == 0):
                    columns.append(torch.zeros_like(used))
                    continue
                if not (static or bool(rows[place].sum() == 0) or bool(rows[index].sum() == 0)):
                    used = keep * rows[index].clone() + (1 - keep) * used
                if self.training and self.bank.warmup != "untouched":
                    rows[place] = used.detach()
                columns.append(used)
        if self.training:
            with torch.no_grad():
                self.bank.rows.copy_(rows[: self.config.n_ids])
        return torch.stack(columns).unflatten(0, (len(ids), -1)).transpose(0, 1).contiguous()

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `agm`, `ncm` and `total` (see DualMetric.metric_losses); progress is that of the stage."""
        return dict(zip(("agm", "ncm", "total"), self.metric_losses(parsing, batch, progress), strict=True))
