"""POPNet: progressive one-shot parsing in two (journal) or three stages (AAAI 2021), each with its own encoder.

A supervised stage for the person, one-shot ones for areas and fine classes, knowledge infusion (KIM) between them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.dual import DualMetric, Logits, PapersNetwork
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.encoders.xception import SeparableUnit
from oshp_lite.models.modules.feature_cache import FeatureCache
from oshp_lite.models.modules.layers import conv_bn, resize
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, ScalarAffine
from oshp_lite.models.modules.prototypes import PrototypeBank
from oshp_lite.models.popnet_config import POPNetConfig
from oshp_lite.models.released import POPNET


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

        The bank is tested for a prototype, and written, at the id's place among those; it is read at
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


class POPNet(PapersNetwork):
    """The progressive one-shot parsing network.

    Stages are trained one after the other: `progress` says which (up to `stage_ends`), earlier ones are frozen
    (evaluation mode, no gradient), later ones do not run. Its papers do not screen, so a prediction has no person mask;
    stage 1's is in `Parsing.coarse`.
    """

    Config = POPNetConfig
    config: POPNetConfig
    released = POPNET

    def build(self) -> None:
        """Make the stages, each with its own encoder, and the cache of earlier stages' features."""
        config = self.config
        self.stage_ends = cast(tuple[float, ...], config.stage_ends)
        self.stages = nn.ModuleList()
        for kind in config.kinds:
            if kind == "foreground":
                self.stages.append(ForegroundStage(config))
                continue
            areas = kind == "areas"
            own = replace(config, n_ids=config.n_areas, areas=None, stages=1, stage_ends=None) if areas else config
            # the released stage holds a KIM whether or not something comes before it
            self.stages.append(PopNetStage(own, infused=len(self.stages) > 0 or config.all_branches))
        # encoders and trunks, and with `head_init` "kaiming" everything
        kaiming = config.head_init == "kaiming"
        config.init_convolutions(self, lambda name: kaiming or ".encoder." in name or ".trunk." in name)
        earlier = list(self.stages[:-1])
        self._cache = FeatureCache(earlier, config.cache_mb) if earlier and config.cache != "never" else None

    def encoders(self) -> list[nn.Module]:
        """Every stage's encoder; first weights go into each of them."""
        return [cast(nn.Module, stage.encoder) for stage in self.stages]

    @property
    def fine(self) -> PopNetStage:
        """The last stage, which parses the classes."""
        return cast(PopNetStage, self.stages[-1])

    @property
    def bank(self) -> Tensor:
        """The fine stage's stored prototypes, float [n_ids,D]; in 1-way a row is one target class."""
        return self.fine.bank.rows

    @property
    def cached_photos(self) -> tuple[int, int]:
        """How often earlier stages' features were (held, computed) since the network was made."""
        return (0, 0) if self._cache is None else (self._cache.hits, self._cache.misses)

    def forward(
        self,
        batch: Episode,
        *,
        progress: float | None = None,
        static_prototypes: bool | None = None,
        previous: tuple[Tensor, Tensor] | None = None,
        compute_agm: bool = True,
        restrict: bool | None = None,
    ) -> Parsing:
        """Parse the query of every episode; arguments as EOPNet's.

        previous: features float [B,D,h,w] of query and support from an earlier stage, for a network of one stage that
        is infused from outside (released form); None leaves its KIM out.

        Returns `.fine` = `.ncm` (scaled), `.agm`, and `.coarse` of stage 1. While an earlier stage trains, `.fine` is
        zero and its own logits are in `extras`; the training stage's bank is updated. Raises ValueError for masks that
        do not fit, and for `previous` where there is no place for it.
        """
        batch = self.checked(batch)
        active, share = self.config.stage_at(progress)
        if previous is not None and (len(self.stages) > 1 or self.fine.infusion is None):
            raise ValueError("previous is for a network of one stage with a KIM; this one makes them itself")
        for place, stage in enumerate(self.stages):
            learns = self.training and place == active
            if stage.training != learns:
                stage.train(learns)
        size = batch.query_image.shape[-2:]
        nothing = batch.query_image.new_zeros(()).expand(len(batch), self.config.n_logits, *size)
        images, stage = (batch.query_image, batch.support_image), self.stages[active]
        if isinstance(stage, ForegroundStage):
            query, support = (resize(stage.logits(stage.features(image)), image.shape[-2:]) for image in images)
            return Parsing(fine=nothing.to(query.dtype), coarse=query, extras={"support_coarse": support})
        earlier = self._frozen(batch, active) if active else ([], [])
        before = [made[-1] for made in earlier] if active else previous or (None, None)
        query, support = (
            cast(PopNetStage, stage).features(image, own) for image, own in zip(images, before, strict=True)
        )
        if static_prototypes is None:
            static_prototypes = progress is not None and share < self.config.warmup - 1e-9
        options = {"static": static_prototypes, "compute_agm": compute_agm, "restrict": restrict}
        parsing: Parsing = stage(query, support, self._for_stage(batch, active), **options)
        first = self.stages[0]
        if isinstance(first, ForegroundStage):
            parsing.coarse = resize(first.logits(earlier[0][0]), size)
        if active < len(self.stages) - 1:
            extras = {**parsing.extras, "ncm": parsing.fine}
            extras |= {} if parsing.agm is None else {"agm": parsing.agm}
            parsing = Parsing(fine=nothing.to(parsing.fine.dtype), coarse=parsing.coarse, extras=extras)
        return parsing

    def _frozen(self, batch: Episode, active: int) -> tuple[list[Tensor], list[Tensor]]:
        """Features of query and support after each stage before `active`, without gradient."""
        stages = list(self.stages[:active])

        def make(images: Tensor) -> list[Tensor]:
            made: list[Tensor] = []
            for stage in stages:
                made.append(stage.features(images, made[-1] if made else None))  # type: ignore[operator]
            return made

        # augmented photos never come again; and until the last stage's turn the weights behind the cache still change
        keeps = active == len(self.stages) - 1 and (not self.training or self.config.cache == "always")
        with torch.no_grad():
            if self._cache is not None and keeps:
                return self._cache(batch.query_image, make), self._cache(batch.support_image, make)
            return make(batch.query_image), make(batch.support_image)

    def _for_stage(self, batch: Episode, place: int) -> Episode:
        """The episode in the ids of a stage: areas instead of classes for the second of three.

        A 1-way episode shows one class only, so its mask stands for that part of the class's area.
        """
        if self.config.kinds[place] != "areas":
            return batch
        areas = (*cast(tuple[int, ...], self.config.areas), *[IGNORE] * (IGNORE + 1 - self.config.n_ids))
        table = torch.tensor(areas, device=batch.support_mask.device)
        if self.config.way == "1":
            return replace(batch, class_ids=table[cast(Tensor, batch.class_ids)])
        query = None if batch.query_mask is None else table[batch.query_mask]
        return replace(batch, support_mask=table[batch.support_mask], query_mask=query)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `foreground`, `agm`, `ncm` and their weighted `total`, each float []; 0 for what is not in training.

        Stage 1: `foreground`, mean cross-entropy over both photos. One-shot stages: total = beta agm + (1 - beta) ncm
        with beta = 1 - progress of the stage (AAAI, Eq. 5). Raises ValueError without query masks.
        """
        batch = self.checked(batch, images=False)
        active, share = self.config.stage_at(progress)
        stage = self.stages[active]
        if isinstance(stage, ForegroundStage):
            if batch.query_foreground is None:
                raise ValueError("losses need query_mask and query_foreground in the episode")
            of_query = pixel_loss(cast(Tensor, parsing.coarse), batch.query_foreground)
            of_support = pixel_loss(parsing.extras["support_coarse"], batch.support_foreground)
            loss = (of_query + of_support) / 2
            zero = torch.zeros_like(loss)
            return {"foreground": loss, "agm": zero, "ncm": zero, "total": loss}
        if active < len(self.stages) - 1:
            extras = parsing.extras
            parsing = Parsing(fine=extras["ncm"], agm=extras.get("agm"), extras=extras)
        terms = cast(PopNetStage, stage).losses(parsing, self._for_stage(batch, active), share)
        return {"foreground": torch.zeros_like(terms["total"]), **terms}
