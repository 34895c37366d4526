"""POPNet: progressive one-shot parsing in two (journal) or three stages (AAAI 2021), each with its own encoder."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.dual import PapersNetwork
from oshp_lite.models.modules.feature_cache import FeatureCache
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.popnet_config import POPNetConfig
from oshp_lite.models.popnet_stage import ForegroundStage, PopNetStage
from oshp_lite.models.released import POPNET


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
        static = static_prototypes
        if static is None:
            static = progress is not None and share < self.config.warmup - 1e-9
        own = self._for_stage(batch, active)
        parsing: Parsing = stage(query, support, own, static=static, compute_agm=compute_agm, restrict=restrict)
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
