"""EOP-Net: one encoder, two metric spaces, dual metric learning (journal, section 4; the released code by switch)."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.dual import DualMetric, PapersNetwork
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import contrast_prototypes, pixel_loss, prototype_contrast
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, ScalarAffine, attend, cosine_maps
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average, shrink_mask
from oshp_lite.models.released import EOPNET


class EOPNet(DualMetric, PapersNetwork):
    """The end-to-end one-shot human parsing network.

    `EOPNet(config)` or `EOPNet(variant="lite", n_ids=18, ...)` with the fields of EOPNetConfig. Images enter as they
    are: the loader brings the channel order and range the weights were trained with (official ones: BGR in [-1,1]).
    """

    Config = EOPNetConfig
    config: EOPNetConfig
    has_person_mask = True
    released = EOPNET

    def build(self) -> None:
        """Make encoder, projections, guidance modules, heads and banks."""
        config = self.config
        width = config.width
        self.encoder = build_encoder(config)
        self.coarse_projection = nn.Conv2d(self.encoder.out_channels, width, 1)
        self.fine_projection = nn.Conv2d(self.encoder.out_channels, width, 1)
        self.coarse_guidance = AttentionGuidance(width, config.agm_trunk)
        self.fine_guidance = AttentionGuidance(width, config.agm_trunk)
        self.npm = ScalarAffine(2) if config.released_head else NearestPrototype()
        self.agm_fusion = None if config.released_head else ScalarAffine()
        self.scale = nn.Parameter(torch.tensor(float(config.npm_scale)), requires_grad=config.npm_scale_learnable)
        self.fine_bank, self.coarse_bank = (
            PrototypeBank(rows, width, momentum=config.momentum, warmup=config.bank_during_warmup)
            for rows in (config.n_ids, 2)
        )
        config.init_convolutions(self)

    @property
    def metric_parts(self) -> tuple[PrototypeBank, NearestPrototype | ScalarAffine, AttentionGuidance]:
        """The fine space's bank, NPM and phi."""
        return self.fine_bank, self.npm, self.fine_guidance

    @property
    def bank(self) -> Tensor:
        """The fine space's stored prototypes, float [n_ids,D]; in 1-way a row is one target class."""
        return self.fine_bank.rows

    def coarse_prototypes(self) -> Tensor:
        """The stored prototypes of scene and person, float [2,D]."""
        return self.coarse_bank.rows

    def forward(
        self,
        batch: Episode,
        *,
        progress: float | None = None,
        static_prototypes: bool | None = None,
        compute_agm: bool = True,
        stored_foreground: bool = False,
        restrict: bool | None = None,
    ) -> Parsing:
        """Parse the query of every episode.

        static_prototypes  True / False overrides what progress and the warm-up would choose
        progress           epoch / epochs in [0,1); None at test (warm-up is over then)
        compute_agm        False leaves `.agm` out; the NPM does not depend on it
        stored_foreground  compare with the bank's coarse prototypes, for want of a support foreground
        restrict           True / False overrides `restrict_to_support`

        Returns logits at the query's size: `.fine` = `.npm` and `.agm` float [B,C,H,W] (C raw ids; 2 in 1-way),
        `.coarse` float [B,2,H,W]. In training mode the banks are updated. Raises ValueError for masks that do not fit.
        """
        batch, config = self.checked(batch), self.config
        query, support = self._encode(batch.query_image, batch.support_image)
        epoch = None if progress is None else math.floor(progress * config.epochs + 1e-6)
        if static_prototypes is None:
            static_prototypes = epoch is not None and epoch < config.warmup_epochs
        coarse = self._coarse(query, support, batch, static_prototypes, epoch, stored_foreground)
        fine_query, fine_support = self.fine_projection(query), self.fine_projection(support)
        named = {"coarse": coarse, "query_features": query, "fine_query": fine_query, "fine_support": fine_support}
        static, pair = static_prototypes, (fine_query, fine_support)
        return self.compared(*pair, batch, static=static, compute_agm=compute_agm, restrict=restrict, **named)

    def _encode(self, query: Tensor, support: Tensor) -> tuple[Tensor, Tensor]:
        """Encode both images, apart unless `joint_encode` says otherwise (their BatchNorm statistics then mix)."""
        if self.config.joint_encode and query.shape == support.shape:
            both = self.encoder(torch.cat([query, support]))
            return both[: len(query)], both[len(query) :]
        return self.encoder(query), self.encoder(support)

    def _coarse(
        self, query: Tensor, support: Tensor, batch: Episode, static: bool, epoch: int | None, stored: bool
    ) -> Tensor:
        """Scene against person: logits float [B,2,h,w] (journal, section 4.1)."""
        features = self.coarse_projection(query)
        if stored:
            used = self.coarse_bank.rows.detach()[None].expand(len(features), -1, -1)
        else:
            means = masked_average(self.coarse_projection(support), batch.support_foreground, 2)
            if self.config.coarse_proto == "static":
                # the released code hands the epoch over where the warm-up flag belongs: only epoch 0 reads the bank
                means, static = means.detach(), epoch != 0
            used = self.coarse_bank(means, use_static=static)
        maps = cosine_maps(features, used)
        scene, person = attend(features, maps[:, 0]), attend(features, maps[:, 1])
        if self.config.coarse_attention == "both":
            if self.config.trunk_bn == "joint":
                of_scene, of_person = self.coarse_guidance(torch.cat([scene, person])).chunk(2)
            else:
                of_scene, of_person = self.coarse_guidance(scene), self.coarse_guidance(person)
            return torch.cat([of_scene[:, :1], of_person[:, 1:]], 1)
        if self.training and self.config.coarse_bg_pass:
            with torch.no_grad():
                self.coarse_guidance(scene)  # nothing but BatchNorm's running statistics comes of it
        return cast(Tensor, self.coarse_guidance(person))

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the unweighted terms `agm`, `npm`, `coarse`, `contrast` and the weighted `total`, each float [].

        total = beta agm + (1 - beta) npm + coarse_weight coarse + contrast_weight contrast, beta = 1 - progress
        or `fixed_beta` (journal, Eqs. 10 and 13). `contrast` is 0 outside training mode and in 1-way. A term whose
        pixels are all 255 is 0. Raises ValueError when the batch has no query masks or the AGM's logits are missing but
        have a weight.
        """
        batch, config = self.checked(batch, images=False), self.config
        agm, npm, total = self.metric_losses(parsing, batch, progress)
        coarse = pixel_loss(cast(Tensor, parsing.coarse), cast(Tensor, batch.query_foreground))
        contrast = self._contrast(parsing, batch) if self.training and config.way == "k" else torch.zeros_like(npm)
        total = total + config.coarse_weight * coarse + config.contrast_weight * contrast
        return {"agm": agm, "npm": npm, "coarse": coarse, "contrast": contrast, "total": total}

    def _contrast(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The prototype-level contrastive term (journal, Eq. 12)."""
        both = []
        for name, mask, foreground in (
            ("fine_query", batch.query_mask, batch.query_foreground),
            ("fine_support", batch.support_mask, batch.support_foreground),
        ):
            features = parsing.extras[name]
            mask, foreground = (shrink_mask(cast(Tensor, m), features.shape[-2:]) for m in (mask, foreground))
            mask = self.label_unlabelled(mask, foreground)
            both.append(contrast_prototypes(features, mask, foreground, self.rows, background=self.config.contrast_bg))
        return prototype_contrast(both[0], both[1], self.config.temperature, both_sides=not self.config.contrast_bg)
