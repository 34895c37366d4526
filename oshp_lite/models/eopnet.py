"""EOP-Net: one encoder, two metric spaces, dual metric learning (journal, section 4; the released code by switch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import OneShotModel, Parsing, PredictOptions
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.encoders.xception import FeatureLevel
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import contrast_prototypes, pixel_loss, prototype_contrast, shift_weights
from oshp_lite.models.modules.metric import (
    AttentionGuidance,
    NearestPrototype,
    ScalarAffine,
    attend,
    cosine_maps,
    dual_metric,
)
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average, shrink_mask
from oshp_lite.models.released import eopnet as official


class EOPNet(OneShotModel):
    """The end-to-end one-shot human parsing network.

    `EOPNet(config)` or `EOPNet(variant="lite", n_ids=18, ...)` with the fields of EOPNetConfig. Images enter as they
    are: the loader brings the channel order and range the weights were trained with (official ones: BGR in [-1,1]).
    """

    Config = EOPNetConfig
    config: EOPNetConfig
    sources = ("npm", "agm")
    has_person_mask = True
    unrestricted = True

    def build(self) -> None:
        """Make encoder, projections, guidance modules, heads and banks."""
        config = self.config
        width = config.width
        self.encoder = build_encoder(config)
        self.coarse_projection = nn.Conv2d(self.encoder.out_channels, width, 1)
        self.fine_projection = nn.Conv2d(self.encoder.out_channels, width, 1)
        self.coarse_guidance = AttentionGuidance(width, config.agm_trunk)
        self.fine_guidance = AttentionGuidance(width, config.agm_trunk)
        self.npm: NearestPrototype | ScalarAffine
        if config.way == "1" and config.oneway_head == "code":
            self.npm = ScalarAffine(2)
            self.agm_fusion = None
        else:
            self.npm = NearestPrototype()
            self.agm_fusion = ScalarAffine()
        self.scale = nn.Parameter(torch.tensor(float(config.npm_scale)), requires_grad=config.npm_scale_learnable)
        rule = {"momentum": config.momentum, "warmup": config.bank_during_warmup}
        self.fine_bank = PrototypeBank(config.n_ids, width, **rule)  # type: ignore[arg-type]
        self.coarse_bank = PrototypeBank(2, width, **rule)  # type: ignore[arg-type]
        # Kaiming-normal weights for every convolution (fan-in); biases keep PyTorch's uniform default
        for module in self.modules():
            if isinstance(module, ScalarAffine) and config.scalar_init == "unit" and module.out_channels == 1:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)

    @property
    def bank(self) -> Tensor:
        """The fine space's stored prototypes, float [n_ids,D]; in 1-way a row is one asked class."""
        return self.fine_bank.rows

    def prototype_bank(self) -> Tensor:
        """The stored prototypes of the classes, float [n_ids,D]."""
        return self.bank

    def coarse_prototypes(self) -> Tensor:
        """The stored prototypes of scene and person, float [2,D]."""
        return self.coarse_bank.rows

    # ------------------------------------------------------------------------------------------------ forward

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

        batch              single or batched Episode; query masks are not looked at
        static_prototypes  True / False overrides what progress and the warm-up would choose for the fine space
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
        compute_agm = compute_agm and not (self.training and config.fixed_beta == 0)  # nothing would learn from it
        present = self.support_classes(batch)
        restrict = config.restrict_to_support if restrict is None else restrict
        head = self._one_way if config.way == "1" else self._k_way
        npm, agm = head(fine_query, fine_support, batch, present[:, 1:], static_prototypes, compute_agm, restrict)
        extras = {"query_features": query, "fine_query": fine_query, "fine_support": fine_support}
        return self.parsing(npm, batch, present=present if restrict else None, agm=agm, coarse=coarse, **extras)

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
                used = self.coarse_bank(means.detach(), use_static=epoch != 0)
            else:
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
        """NPM and AGM logits over all raw ids at stride 4."""
        n_ids = self.config.n_ids
        means = masked_average(support, self.support_mask(batch), self.rows)
        # the fine space has no background prototype: a zero row is neither used nor stored
        means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], 1)
        used = self.fine_bank(means[:, :n_ids], use_static=static)
        # the unlabelled class has no memory: its prototype is always static
        used = torch.cat([used, means[:, n_ids:].to(used.dtype)], 1)[:, 1:]
        return self._dual(query, used, present, compute_agm, restrict)

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
        """NPM and AGM logits of background and the target class at stride 4."""
        target = cast(Tensor, batch.class_ids)
        mean = masked_average(support, batch.support_mask, 2)[:, 1]
        used = self.fine_bank.row(mean, target, use_static=static)
        if self.config.oneway_head == "kway":
            return self._dual(query, used, present, compute_agm, restrict)
        similarity = cosine_maps(query, used)
        npm = self.npm(similarity) * self.scale
        return npm, self.fine_guidance(attend(query, similarity[:, 0], residual=False)) if compute_agm else None

    def _dual(
        self, query: Tensor, used: Tensor, present: Tensor, compute_agm: bool, restrict: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Dual metric learning over K foreground prototypes: logits float [B,K+1,h,w] of NPM and AGM."""
        config, every = self.config, torch.ones_like(present)
        heads = (cast(NearestPrototype, self.npm), self.scale, self.fine_guidance, cast(ScalarAffine, self.agm_fusion))
        only_present = config.bg_mean == "present" and restrict
        return dual_metric(
            query,
            used,
            present if config.bg_mean == "present" else every,
            present | ~present.any(1, keepdim=True) if only_present else every,
            heads=heads,
            compute_agm=compute_agm,
            one_by_one=self.training and config.trunk_bn == "per_id",
        )

    # ------------------------------------------------------------------------------------------------- losses

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the unweighted terms `agm`, `npm`, `coarse`, `contrast` and the weighted `total`, each float [].

        total = beta agm + (1 - beta) npm + coarse_weight coarse + contrast_weight contrast, beta = 1 - progress
        (journal, Eqs. 10 and 13). `contrast` is 0 outside training mode and in 1-way. A term whose pixels are all 255
        is 0. Raises ValueError when the batch has no query masks or the AGM's logits are missing but have a weight.
        """
        batch, config = self.checked(batch, images=False), self.config
        beta, rest = shift_weights(progress if config.fixed_beta is None else 1 - config.fixed_beta)
        target = self.target(batch)
        zero = parsing.fine.new_zeros((), dtype=torch.promote_types(parsing.fine.dtype, torch.float32))
        if parsing.agm is None and beta > 0:
            raise ValueError("the AGM term has a weight but the parsing was made with compute_agm=False")
        terms = {
            "agm": zero if parsing.agm is None else pixel_loss(self.with_unlabelled(parsing, "agm"), target),
            "npm": pixel_loss(self.with_unlabelled(parsing), target),
            "coarse": pixel_loss(cast(Tensor, parsing.coarse), cast(Tensor, batch.query_foreground)),
            "contrast": self._contrast(parsing, batch) if self.training and config.way == "k" else zero,
        }
        total = beta * terms["agm"] + rest * terms["npm"] + config.coarse_weight * terms["coarse"]
        terms["total"] = total + config.contrast_weight * terms["contrast"]
        return terms

    def _contrast(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The prototype-level contrastive term (journal, Eq. 12)."""
        both = []
        for features, mask, foreground in (
            (parsing.extras["fine_query"], batch.query_mask, batch.query_foreground),
            (parsing.extras["fine_support"], batch.support_mask, batch.support_foreground),
        ):
            size = features.shape[-2:]
            mask, foreground = shrink_mask(cast(Tensor, mask), size), shrink_mask(cast(Tensor, foreground), size)
            mask = self.label_unlabelled(mask, foreground)
            both.append(contrast_prototypes(features, mask, foreground, self.rows, background=self.config.contrast_bg))
        return prototype_contrast(both[0], both[1], self.config.temperature, both_sides=not self.config.contrast_bg)

    def parse_at_test(self, batch: Episode, options: PredictOptions) -> Parsing:
        """The forward pass of a prediction, with the AGM only where its logits are asked for (the NPM needs it not)."""
        parsing: Parsing = self(batch, compute_agm=options.source == "agm", restrict=options.restrict)
        return parsing

    def winning_classes(self, batch: Episode, options: PredictOptions) -> None:
        """Those that the forward pass left open."""

    # -------------------------------------------------------------------------------------------- checkpoints

    @classmethod
    def from_official(
        cls, source: str | Path | Mapping[str, Any], feature_level: FeatureLevel = "mid", **changes: Any
    ) -> EOPNet:
        """Build the `official` variant from a checkpoint of the released code (a path, or its state dict).

        Way, number of ids and width are read off the shapes; a `module.` prefix and a wrapping dict are accepted.
        Raises UserError for a file that is missing, damaged, not such a checkpoint, or holds code.
        """
        if feature_level == "block20":
            raise UserError("released checkpoints hold no weights for feature level block20; choose mid or high")
        state = official.read_state(source)
        size = official.infer_size(state)
        config = EOPNetConfig.official(**{**size, "feature_level": feature_level, **changes})
        with torch.device("meta"):
            net = cls(config)
        official.load(net, state)
        return net

    def to_official(self) -> dict[str, Tensor]:
        """Return the state under the released code's names, unused branches included; the inverse of from_official.

        Raises ValueError for a configuration that has no official form.
        """
        return official.export(self)
