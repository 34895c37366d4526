"""What EOP-Net and POPNet share: dual metric learning (journal and AAAI, section 4.3), its switches, their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import EpisodeRules, MethodConfig, OneShotModel, Parsing, PredictOptions
from oshp_lite.models.encoders.xception import FeatureLevel
from oshp_lite.models.modules.losses import pixel_loss, shift_weights
from oshp_lite.models.modules.metric import (
    AttentionGuidance,
    NearestPrototype,
    ScalarAffine,
    TrunkKind,
    attend,
    class_mean,
    cosine_maps,
    guide_each,
)
from oshp_lite.models.modules.prototypes import PrototypeBank, WarmupRule, masked_average
from oshp_lite.models.released import Released, read_state

Logits = tuple[Tensor, Tensor | None]  # those of the nearest prototype module and of the AGM, float [B,C,h,w]

_PRESENT = {
    "all_branches": False,
    "bg_mean": "present",
    "restrict_to_support": True,
    "oneway_head": "kway",
    "trunk_bn": "joint",
}


@dataclass(frozen=True)
class DualMetricConfig(MethodConfig):
    """Where a paper and the released code differ, the choice is a field; the plain constructor is the released code."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": _PRESENT | {"agm_trunk": "separable", "absent_test": "full"},
        "lite": _PRESENT | {"encoder": "lite", "width": 64, "agm_trunk": "plain1", "scalar_init": "unit"},
    }

    momentum: float = bounded(0.999, 0, 1, below=True)  # share of the old bank value kept (journal, Eq. 3; AAAI, Eq. 2)
    bank_during_warmup: WarmupRule = "overwrite"  # the bank while prototypes are static; not stated in the papers
    agm_trunk: TrunkKind = "plain2+sep1"  # the layers of phi
    bg_mean: Literal["all_ids", "present"] = "all_ids"  # ids in the background's mean
    restrict_to_support: bool = False  # softmax and argmax over the support's ids only
    oneway_head: Literal["code", "kway"] = "code"  # 1-way: the released 1-to-2 head, or the k-way scheme
    # in training the trunk of phi runs once per id, absent ones too, as released; or once over what the support shows
    trunk_bn: Literal["per_id", "joint"] = "per_id"
    # None shifts the weight from AGM to NPM over training; a number keeps beta there (ours)
    fixed_beta: float | None = bounded(None, 0, 1)
    # affine maps start from N(0, 2), any sign, as released; or as identity (ours)
    scalar_init: Literal["random", "unit"] = "random"

    @property
    def released_head(self) -> bool:
        """Whether 1-way has the released code's own head."""
        return self.way == "1" and self.oneway_head == "code"

    def init_convolutions(self, net: nn.Module, kaiming: Callable[[str], bool] = lambda name: True) -> None:
        """Kaiming-normal weights (fan-in) for the convolutions of these names; scalars as `scalar_init` says."""
        for name, module in net.named_modules():
            if isinstance(module, ScalarAffine) and self.scalar_init == "unit" and module.out_channels == 1:
                nn.init.ones_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Conv2d) and kaiming(name):
                nn.init.kaiming_normal_(module.weight)


class DualMetric(EpisodeRules):
    """Compares a query with prototypes of the classes. The network holds the parts and names them in `metric_parts`."""

    config: DualMetricConfig
    scale: Tensor
    agm_fusion: ScalarAffine | None
    dynamic = True
    """Whether the released 1-way head is that of dynamic prototypes: a scaled NPM, and no residual in the AGM."""

    @property
    def metric_parts(self) -> tuple[PrototypeBank, NearestPrototype | ScalarAffine, AttentionGuidance]:
        """The bank, the nearest prototype module (the released 1-way head: one affine map) and phi."""
        raise NotImplementedError

    def compared(
        self,
        query: Tensor,
        support: Tensor,
        batch: Episode,
        *,
        static: bool,
        compute_agm: bool,
        restrict: bool | None,
        **named: Tensor,
    ) -> Parsing:
        """Parse features float [B,D,h,w] of query and support: `.fine` and `.agm` at the query's size, and `named`.

        static: compare with the support's own prototypes; compute_agm False leaves `.agm` out; restrict overrides
        `restrict_to_support`. In training mode the bank is updated.
        """
        config, bank = self.config, self.metric_parts[0]
        compute_agm = compute_agm and not (self.training and config.fixed_beta == 0)  # nothing would learn from it
        restrict = config.restrict_to_support if restrict is None else restrict
        present = self.support_classes(batch)
        if config.way == "k":
            means = masked_average(support, self.support_mask(batch), self.rows)
            means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], 1)  # the background has no prototype
            fine, agm = self.k_way(query, means, present[:, 1:], static, compute_agm, restrict)
        else:
            mean = masked_average(support, batch.support_mask, 2)[:, 1]
            used = bank.row(mean, cast(Tensor, batch.class_ids), use_static=static)
            every = torch.ones_like(present[:, 1:])
            fine, agm = (
                self.one_map(query, used, compute_agm)
                if config.released_head
                else self.dual(query, used, every, every, compute_agm)
            )
        return self.parsing(fine, batch, present=present if restrict else None, agm=agm, **named)

    def k_way(
        self, query: Tensor, means: Tensor, present: Tensor, static: bool, compute_agm: bool, restrict: bool
    ) -> Logits:
        """Logits over all ids: means float [B,rows,D] of the support, present bool [B,rows-1] (no background)."""
        every = torch.ones_like(present)
        apart = self.config.bg_mean == "present"
        needed = present | ~present.any(1, keepdim=True) if apart and restrict else every
        used = self.prototypes(means, static)[:, 1:]
        return self.dual(query, used, present if apart else every, needed, compute_agm)

    def prototypes(self, means: Tensor, static: bool) -> Tensor:
        """Prototypes to compare with, float [B,rows,D]; the unlabelled class has no memory and is always static."""
        used = self.metric_parts[0](means[:, : self.config.n_ids], use_static=static)
        return torch.cat([used, means[:, self.config.n_ids :].to(used.dtype)], 1)

    def dual(self, query: Tensor, prototypes: Tensor, counted: Tensor, needed: Tensor, compute_agm: bool) -> Logits:
        """Logits float [B,K+1,h,w] over K prototypes float [B,K,D], background first.

        counted bool [B,K]: ids in the background's means; needed bool [B,K]: ids whose AGM scores matter.
        """
        _, nearest, guidance = self.metric_parts
        similarity = cosine_maps(query, prototypes)
        fine = nearest(similarity, counted) * self.scale
        if not compute_agm:
            return fine, None
        one_by_one = self.training and self.config.trunk_bn == "per_id"
        scores = guide_each(guidance, query, similarity, prototypes.sum(-1) != 0, needed, one_by_one=one_by_one)
        background = cast(ScalarAffine, self.agm_fusion).maps(class_mean(scores[:, :, 1], counted))
        return fine, torch.cat([background, scores[:, :, 0]], 1)

    def one_map(self, query: Tensor, prototype: Tensor, compute_agm: bool) -> Logits:
        """The released 1-way head: logits of background and class from one similarity map, prototype [B,1,D]."""
        _, nearest, guidance = self.metric_parts
        similarity = cosine_maps(query, prototype)
        fine = nearest(similarity) * self.scale if self.dynamic else nearest(similarity)
        return fine, guidance(attend(query, similarity[:, 0], residual=not self.dynamic)) if compute_agm else None

    def metric_losses(self, parsing: Parsing, batch: Episode, progress: float) -> tuple[Tensor, Tensor, Tensor]:
        """Cross-entropies of AGM and NPM, and beta agm + (1 - beta) npm, float [] each (journal, Eq. 10; AAAI, Eq. 5).

        Raises ValueError without query masks, or where the AGM's logits are missing but have a weight.
        """
        fixed = self.config.fixed_beta
        beta, rest = shift_weights(progress if fixed is None else 1 - fixed)
        target = self.target(batch)
        if parsing.agm is None and beta > 0:
            raise ValueError("the AGM term has a weight but the parsing was made with compute_agm=False")
        fine = pixel_loss(self.with_unlabelled(parsing), target)
        agm = (
            torch.zeros_like(fine) if parsing.agm is None else pixel_loss(self.with_unlabelled(parsing, "agm"), target)
        )
        return agm, fine, beta * agm + rest * fine


class PapersNetwork(OneShotModel):
    """Base of the two papers' networks: two sources of logits, stored prototypes, and files of the released code."""

    sources = ("npm", "agm")
    unrestricted = True
    released: ClassVar[Released]

    @property
    def bank(self) -> Tensor:
        """The stored prototypes of the classes, float [n_ids,D]; in 1-way a row is one target class."""
        raise NotImplementedError

    def prototype_bank(self) -> Tensor:
        """The stored prototypes of the classes, float [n_ids,D]."""
        return self.bank

    def parse_at_test(self, batch: Episode, options: PredictOptions) -> Parsing:
        """The forward pass of a prediction, with the AGM only where its logits decide (the NPM needs it not)."""
        parsing: Parsing = self(batch, compute_agm=options.source == "agm", restrict=options.restrict)
        return parsing

    def winning_classes(self, batch: Episode, options: PredictOptions) -> None:
        """None: the forward pass has masked absent ids."""

    @classmethod
    def from_official(
        cls, source: str | Path | Mapping[str, Any], feature_level: FeatureLevel = "mid", **changes: Any
    ) -> Self:
        """Build the `official` variant from a checkpoint of the released code (a path, or its state dict).

        Way, number of ids and width are read off the shapes; a `module.` prefix and a wrapping dict are accepted.
        POPNet's is its one-shot stage alone. Raises UserError for a file that is missing, damaged, not such a
        checkpoint, or holds code.
        """
        if feature_level == "block20":
            raise UserError("released checkpoints hold no weights for feature level block20; choose mid or high")
        state = read_state(source)
        options = {**cls.released.fixed, **cls.released.size_of(state), "feature_level": feature_level, **changes}
        with torch.device("meta"):
            net = cls(cls.Config.preset("official", **options))
        cls.released.load(net, state)
        return net

    def to_official(self) -> dict[str, Tensor]:
        """The state under the released code's names, unused branches included; the inverse of from_official.

        Raises ValueError for a configuration that has no official form.
        """
        return self.released.export(self)
