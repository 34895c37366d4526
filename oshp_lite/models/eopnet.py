"""EOP-Net: one encoder, two metric spaces, dual metric learning (journal, section 4; the released code by switch)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import Parsing, register
from oshp_lite.models.checks import checked
from oshp_lite.models.encoders import encoder_of
from oshp_lite.models.encoders.xception import FeatureLevel
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import (
    contrast_prototypes,
    pixel_loss,
    prototype_contrast,
    restrict_target,
    shift_weights,
)
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
from oshp_lite.models.released import eopnet as official

_CLOSED = -1.0e4  # logit of an id that may not be answered; finite, so that resampling it stays finite


class EOPNet(nn.Module):
    """The end-to-end one-shot human parsing network.

    `EOPNet(config)` or `EOPNet(variant="lite", n_ids=18, ...)` with the fields of EOPNetConfig; `seed` fixes the
    initial weights without touching the global generator. Images enter as they are: the loader brings the channel
    order and range the weights were trained with (official ones: BGR in [-1,1]).
    """

    def __init__(self, config: EOPNetConfig | None = None, *, seed: int = 0, **options: Any) -> None:
        super().__init__()
        if config is None:
            config = EOPNetConfig.preset(**options)
        elif options:
            config = replace(config, **options)
        self.config = config
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._build(config)
            self._initialise(config)
        if config.bn_sync:
            nn.SyncBatchNorm.convert_sync_batchnorm(self)

    def _build(self, config: EOPNetConfig) -> None:
        width = config.width
        self.encoder = encoder_of(config)
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

    def _initialise(self, config: EOPNetConfig) -> None:
        """Kaiming-normal weights for every convolution (fan-in); biases keep PyTorch's uniform default."""
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

    # ------------------------------------------------------------------------------------------------ forward

    def forward(
        self,
        batch: Episode,
        static_prototypes: bool | None = None,
        progress: float | None = None,
        compute_agm: bool = True,
        *,
        stored_foreground: bool = False,
    ) -> Parsing:
        """Parse the query of every episode.

        batch              single or batched Episode; query masks are not looked at
        static_prototypes  True / False overrides what progress and the warm-up would choose for the fine space
        progress           epoch / epochs in [0,1); None at test (warm-up is over then)
        compute_agm        False leaves `.agm` out; the NPM does not depend on it
        stored_foreground  compare with the bank's coarse prototypes, for want of a support foreground

        Returns logits at the query's size: `.fine` = `.npm` and `.agm` float [B,C,H,W] (C raw ids; 2 in 1-way),
        `.coarse` float [B,2,H,W]. In training mode the banks are updated. Raises ValueError for masks that do not fit.
        """
        batch = checked(batch, self.config)
        query, support = self._encode(batch.query_image, batch.support_image)
        epoch = None if progress is None else math.floor(progress * self.config.epochs + 1e-6)
        if static_prototypes is None:
            static_prototypes = epoch is not None and epoch < self.config.warmup_epochs
        if self._leftover:
            batch = replace(batch, support_mask=self._name_leftover(batch.support_mask, batch.support_foreground))
        size = batch.query_image.shape[-2:]
        coarse = self._coarse(query, support, batch, static_prototypes, epoch, stored_foreground)
        fine_query, fine_support = self.fine_projection(query), self.fine_projection(support)
        compute_agm = compute_agm and not (self.training and self.config.fixed_beta == 0)  # nothing would learn from it
        head = self._one_way if self.config.way == "1" else self._k_way
        npm, agm = head(fine_query, fine_support, batch, static_prototypes, compute_agm)
        extras = {"query_features": query, "fine_query": fine_query, "fine_support": fine_support}
        npm, agm = resize(npm, size), None if agm is None else resize(agm, size)
        if self._leftover:  # the answer keeps to the raw ids; the losses put the channel back
            channels = self.config.channels
            extras["npm_leftover"], npm = npm[:, channels:], npm[:, :channels]
            if agm is not None:
                extras["agm_leftover"], agm = agm[:, channels:], agm[:, :channels]
        return Parsing(fine=npm, agm=agm, coarse=resize(coarse, size), extras=extras)

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
        self, query: Tensor, support: Tensor, batch: Episode, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """NPM and AGM logits over all raw ids at stride 4."""
        n_ids = self.config.n_ids
        means = masked_average(support, batch.support_mask, n_ids + self._leftover)
        # the fine space has no background prototype: a zero row is neither used nor stored
        means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], 1)
        used = self.fine_bank(means[:, :n_ids], use_static=static)
        used = torch.cat([used, means[:, n_ids:].to(used.dtype)], 1)[:, 1:]
        shown = self._shown(batch, support.shape[-2:])
        return self._dual(query, used, shown, compute_agm)

    def _one_way(
        self, query: Tensor, support: Tensor, batch: Episode, static: bool, compute_agm: bool
    ) -> tuple[Tensor, Tensor | None]:
        """NPM and AGM logits of background and the asked class at stride 4."""
        asked = cast(Tensor, batch.class_ids)
        mean = masked_average(support, batch.support_mask, 2)[:, 1]
        own_row = F.one_hot(asked, self.config.n_ids).to(mean.dtype)
        rows = self.fine_bank(own_row[..., None] * mean[:, None], use_static=static)
        used = rows[torch.arange(len(asked), device=asked.device), asked][:, None]
        shown = self._shown(batch, support.shape[-2:])
        if self.config.oneway_head == "kway":
            return self._dual(query, used, shown, compute_agm)
        similarity = cosine_maps(query, used)
        npm = self._closed(self.npm(similarity) * self.scale, shown)
        if not compute_agm:
            return npm, None
        agm = self.fine_guidance(attend(query, similarity[:, 0], residual=False))
        return npm, self._closed(agm, shown)

    def _dual(self, query: Tensor, used: Tensor, shown: Tensor, compute_agm: bool) -> tuple[Tensor, Tensor | None]:
        """Dual metric learning over K foreground prototypes: logits float [B,K+1,h,w] of NPM and AGM."""
        similarity = cosine_maps(query, used)
        counted = shown if self.config.bg_mean == "present" else torch.ones_like(shown)
        npm = self._closed(cast(Tensor, self.npm(similarity, counted)) * self.scale, shown)
        if not compute_agm:
            return npm, None
        only_shown = self.config.bg_mean == "present" and self.config.restrict_to_support
        needed = shown | ~shown.any(1, keepdim=True) if only_shown else torch.ones_like(shown)
        in_turn = self.training and self.config.trunk_bn == "per_id"
        scores = guide_each(self.fine_guidance, query, similarity, used.sum(-1) != 0, needed, in_turn=in_turn)
        background = cast(ScalarAffine, self.agm_fusion).maps(class_mean(scores[:, :, 1], counted))
        return npm, self._closed(torch.cat([background, scores[:, :, 0]], 1), shown)

    @property
    def _leftover(self) -> bool:
        """Whether the person's unlabelled pixels count as one more class, behind the raw ids (training only)."""
        return self.training and self.config.way == "k" and self.config.unlabelled_foreground == "class"

    def _name_leftover(self, mask: Tensor, foreground: Tensor) -> Tensor:
        """Give the unlabelled pixels of the person the id behind the raw ids; int64, shape kept."""
        return torch.where((mask == 0) & (foreground == 1), self.config.n_ids, mask)

    def _shown(self, batch: Episode, size: torch.Size) -> Tensor:
        """Which foreground ids the support shows, bool [B,C-1], on the shrunk or the full mask (`absent_test`)."""
        mask = batch.support_mask if self.config.absent_test == "full" else shrink_mask(batch.support_mask, size)
        return present_ids(mask, self.config.channels + self._leftover)[:, 1:]

    def _closed(self, logits: Tensor, shown: Tensor) -> Tensor:
        """Close the channels of ids the support does not show (`restrict_to_support`); float [B,K+1,h,w]."""
        if not self.config.restrict_to_support:
            return logits
        background = torch.ones_like(shown[:, :1])
        return logits.masked_fill(~torch.cat([background, shown], 1)[..., None, None], _CLOSED)

    # ------------------------------------------------------------------------------------------------- losses

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the unweighted terms `agm`, `npm`, `coarse`, `contrast` and the weighted `total`, each float [].

        total = beta agm + (1 - beta) npm + coarse_weight coarse + contrast_weight contrast, beta = 1 - progress
        (journal, Eqs. 10 and 13). `contrast` is 0 outside training mode and in 1-way. A term whose pixels are all 255
        is 0. Raises ValueError when the batch has no query masks or the AGM's logits are missing but have a weight.
        """
        batch = checked(batch, self.config)
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        config = self.config
        beta, rest = shift_weights(progress if config.fixed_beta is None else 1 - config.fixed_beta)
        target = self.target(batch)
        precision = torch.promote_types(parsing.fine.dtype, torch.float32)
        zero = parsing.fine.new_zeros((), dtype=precision)
        if parsing.agm is None and beta > 0:
            raise ValueError("the AGM term has a weight but the parsing was made with compute_agm=False")
        npm, agm = parsing.fine, parsing.agm
        if self._leftover:
            npm = torch.cat([npm, parsing.extras["npm_leftover"]], 1)
            agm = None if agm is None else torch.cat([agm, parsing.extras["agm_leftover"]], 1)
        terms = {
            "agm": zero if agm is None else pixel_loss(agm, target),
            "npm": pixel_loss(npm, target),
            "coarse": pixel_loss(cast(Tensor, parsing.coarse), batch.query_foreground),
            "contrast": self._contrast(parsing, batch) if self.training and config.way == "k" else zero,
        }
        total = beta * terms["agm"] + rest * terms["npm"] + config.coarse_weight * terms["coarse"]
        terms["total"] = total + config.contrast_weight * terms["contrast"]
        return terms

    def target(self, batch: Episode) -> Tensor:
        """The fine space's target int64 [B,H,W]: the query mask with ids the support does not show as background.

        255 stays. Unlabelled pixels of the person follow `unlabelled_foreground`: background, 255, or in training one
        more class (255 where the support has no such pixels). In 1-way they are always background.
        """
        batch = checked(batch, self.config)
        label, mask = cast(Tensor, batch.query_mask), batch.support_mask
        unlabelled = torch.zeros_like(label, dtype=torch.bool)
        if self.config.way == "k" and self.config.unlabelled_foreground != "background":
            unlabelled = (label == 0) & (cast(Tensor, batch.query_foreground) == 1)
        if self._leftover:
            label = self._name_leftover(label, cast(Tensor, batch.query_foreground))
            mask = self._name_leftover(mask, batch.support_foreground)
        if self.config.absent_test == "resized":
            mask = shrink_mask(mask, [math.ceil(side / 4) for side in mask.shape[-2:]])
        target = restrict_target(label, mask, self.config.channels + self._leftover)
        return torch.where(unlabelled & (target == 0), IGNORE, target)

    def _contrast(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The prototype-level contrastive term (journal, Eq. 12)."""
        both = []
        for features, mask, foreground in (
            (parsing.extras["fine_query"], batch.query_mask, batch.query_foreground),
            (parsing.extras["fine_support"], batch.support_mask, batch.support_foreground),
        ):
            size = features.shape[-2:]
            mask, foreground = shrink_mask(cast(Tensor, mask), size), shrink_mask(cast(Tensor, foreground), size)
            if self._leftover:
                mask = self._name_leftover(mask, foreground)
            rows = self.config.n_ids + self._leftover
            both.append(contrast_prototypes(features, mask, foreground, rows, background=self.config.contrast_bg))
        return prototype_contrast(both[0], both[1], self.config.temperature, both_sides=not self.config.contrast_bg)

    # ------------------------------------------------------------------------------------------------ predict

    def predict(
        self,
        batch: Episode,
        *,
        source: str | None = None,
        screening: bool | None = None,
        stored_foreground: bool = False,
    ) -> Tensor:
        """Answer with ids, int64 [B,H,W]: raw ids in k-way, 0 / 1 in 1-way; see `answer`."""
        return self.answer(batch, source=source, screening=screening, stored_foreground=stored_foreground)[0]

    @torch.no_grad()
    def answer(
        self,
        batch: Episode,
        *,
        source: str | None = None,
        screening: bool | None = None,
        stored_foreground: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Return the ids int64 [B,H,W] and the person mask bool [B,H,W] that screening goes by.

        The argmax of the NPM (or of the AGM: `source`, else the configuration's predict_from) over the ids the variant
        lets win; with screening, pixels that the coarse space does not call a person become 0. Runs in evaluation mode
        and writes nothing, whatever mode the network is in.
        """
        source = source or self.config.predict_from
        if source not in ("npm", "agm"):
            raise ValueError(f"source is {source!r}, expected npm or agm")
        screening = self.config.screening if screening is None else screening
        modes = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with_agm = source == "agm" or not self.config.skip_agm_at_test
            parsing = self(batch, compute_agm=with_agm, stored_foreground=stored_foreground)
        finally:
            for module, mode in modes:  # one by one: a caller may hold some of them frozen
                module.training = mode
        answer = (parsing.fine if source == "npm" else cast(Tensor, parsing.agm)).argmax(1)
        person = cast(Tensor, parsing.coarse).argmax(1) == 1
        return (answer * person if screening else answer), person

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


@register("eopnet")
def build_eopnet(variant: str = "official", seed: int = 0, **options: Any) -> EOPNet:
    """Build EOP-Net for the registry: a preset, changed field by field; see EOPNetConfig."""
    return EOPNet(EOPNetConfig.preset(variant, **options), seed=seed)
