"""AMP: adaptive masked proxies imprinted into the rows of a classifier (Siam, Oreshkin and Jagersand, 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing, PredictOptions, mask_absent_logits
from oshp_lite.models.baselines.common import ContenderConfig, RowContender, members, pool
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.metric import cosine_maps

_TAPS = {"lite": ("decode8", "stage4")}  # which inner maps of an encoder carry the two further scorers, coarse to fine


@dataclass(frozen=True)
class AMPConfig(ContenderConfig):
    """Configuration of AMP."""

    name: ClassVar[str] = "amp"

    # share of a known id's row that its proxy takes
    alpha: float = bounded(0.25821, 0, 1)
    update_bg: bool = True
    # 1: the last map alone, 3: two inner maps of the lite encoder too (multi-resolution imprinting)
    levels: Literal[1, 3] = 1
    # width of the first level, 0 for the shared map as it is, None for the encoder's width
    projection: int | None = bounded(None, 0)
    scale: float = bounded(20.0, 1e-6)  # first value of the learned factors on the cosines
    # the iterative imprinting pass on the query; ours in k-way: known parts' pixels stay out of it
    iterate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.levels == 3 and self.encoder not in _TAPS:
            raise UserError(f"model option levels is 3; choose 1, or 3 with encoder=lite (here it is {self.encoder})")


class AMP(RowContender):
    """A cosine classifier on each of some feature levels; a support's proxies replace or move its rows.

        base training:  cross-entropy over the rows, score = sum over levels of scale_l cos(F_l(x), w_l,c)
        new id c:       w_c = e_c / |e_c|,  e_c = mean of F_support over the pixels of c (nearest up-sampling)
        known id c:     w_c <- unit((1 - alpha) unit(w_c) + alpha unit(e_c)); the background too with `update_bg`

    Source: AMP's code (alpha 0.25821, learnable scale from 20, background always updated, pseudo label threshold 0.7
    and alpha 0.1 of the iterative pass). Nothing is written: the rows are the same afterwards. Ours: a linear 1x1
    projection of the shared map is the first level (the original's fconv), without ReLU or dropout before the scorer;
    row and proxy are both brought to unit length before they are mixed; scores are up-sampled bilinearly; the learned
    scales are kept at test.

    By default k-way compares the ids that the support shows, 1-way all known rows. `restrict` False is AMP's own
    evaluation: all known rows compete (1-way: the target's row against the best of all others).
    """

    Config = AMPConfig
    config: AMPConfig
    unrestricted = True

    def build_head(self) -> None:
        """Make the projection, and rows and scale of every level."""
        config = self.config
        self.taps = _TAPS[config.encoder] if config.levels == 3 else ()
        of_tap = {"decode8": config.lite_channels[2], "stage4": config.lite_channels[1]}
        self.projection = self.linear(config.projection)
        widths = [config.projection or self.encoder.out_channels, *(of_tap[name] for name in self.taps)]
        rows = [nn.init.normal_(torch.empty(self.n_rows, size), std=size**-0.5) for size in widths]
        self.scorers = nn.ParameterList(rows)
        self.scales = nn.Parameter(torch.full((len(widths),), config.scale))

    # -------------------------------------------------------------------------------------------- the rows

    def maps(self, image: Tensor) -> list[Tensor]:
        """Feature maps of all levels, float [B,D_l,h_l,w_l] each, the projected last map first."""
        last, *inner = self.tapped(image, *self.taps)
        return [self.projection(last), *inner]

    def score(self, maps: list[Tensor], rows: list[Tensor]) -> Tensor:
        """Sum over levels of scale cos(F, w) at the first level's size; rows float [B,R,D_l] -> float [B,R,h,w]."""
        levels = (scale * cosine_maps(*level) for scale, *level in zip(self.scales, maps, rows, strict=True))
        return reduce(torch.add, (resize(one, maps[0].shape[-2:], self.resampling) for one in levels))

    def row_logits(self, image: Tensor) -> Tensor:
        """Score every row; see RowContender."""
        maps = self.maps(image)
        return self.score(maps, [row[None].expand(len(image), -1, -1) for row in self.scorers])

    def adapted(self, batch: Episode, *, restrict: bool | None = None) -> Tensor:
        """Imprint or move rows by each support, then score its query; float [B,n_logits,h,w]."""
        config, mask = self.config, batch.support_mask
        target = batch.class_ids if self.way == "1" else None
        if target is not None:
            mask = torch.where(mask == 1, target[:, None, None], mask)
        of_id = members(mask, self.n_ids)
        present = of_id.any(2).any(2)
        support, query = self.maps(batch.support_image), self.maps(batch.query_image)
        known = self.seen[: self.n_ids].expand_as(present)
        rows = [unit(row[: self.n_ids]).expand(len(batch), -1, -1) for row in self.scorers]
        moved = present & known
        moved[:, 0] &= config.update_bg
        rows = self.imprinted(rows, support, of_id, moved, present & ~known, config.alpha)
        open_rows = present.clone() if self._restricted(restrict) else present | known
        open_rows[:, 0] = True
        if config.iterate:
            rows = self.iterated(rows, query, present & ~known, open_rows)
        logits = mask_absent_logits(self.score(query, rows), open_rows)
        if target is None:
            return logits
        take = torch.arange(len(target), device=target.device)
        own = logits[take, target]
        logits = logits.index_put((take, target), torch.full_like(own, -torch.inf))
        return torch.stack([logits.amax(1), own], 1)

    def _restricted(self, restrict: bool | None) -> bool:
        return self.way == "k" if restrict is None else restrict

    def imprinted(
        self, rows: list[Tensor], maps: list[Tensor], masks: Tensor, moved: Tensor, new: Tensor, alpha: float
    ) -> list[Tensor]:
        """Rows after a label: `moved` ones mixed with their proxies by alpha, `new` ones replaced by them.

        rows unit float [B,R,D_l], maps float [B,D_l,h_l,w_l], masks bool [B,R,H,W], moved and new bool [B,R].
        """
        after = []
        for row, features in zip(rows, maps, strict=True):
            proxy = unit(pool(features, masks, "nearest"))
            mixed = unit((1 - alpha) * row + alpha * proxy)
            row = torch.where(moved[..., None], mixed, row)
            after.append(torch.where(new[..., None], proxy, row))
        return after

    def iterated(self, rows: list[Tensor], query: list[Tensor], new: Tensor, open_rows: Tensor) -> list[Tensor]:
        """One pass of iterative imprinting with the query's own confident parse (threshold 0.7, alpha 0.1)."""
        likely = mask_absent_logits(self.score(query, rows), open_rows).softmax(1)
        parsed = likely.argmax(1)
        sure = members(parsed, self.n_ids) & (likely > 0.7) & new[..., None, None]
        known_part = (~new).gather(1, parsed.flatten(1)).view_as(parsed) & (parsed != 0)
        sure[:, 0] = ~sure.any(1) & ~known_part
        none = torch.zeros_like(new)
        rows = self.imprinted(rows, query, sure, sure.any(2).any(2), none, 0.1)
        scene = (torch.arange(self.n_ids, device=new.device) == 0).expand_as(new)
        return self.imprinted(rows, query, scene[..., None, None].expand_as(sure), scene, none, 0.1)

    def parse_at_test(self, batch: Episode, options: PredictOptions) -> Parsing:
        """The forward pass of a prediction, over the rows that may win."""
        parsing: Parsing = self(batch, restrict=options.restrict)
        return parsing

    def winning_classes(self, batch: Episode, options: PredictOptions) -> Tensor:
        """What the support shows, and everything known as well where the prediction is not restricted."""
        present = self.support_classes(batch)
        return present if self._restricted(options.restrict) or self.way == "1" else present | self.seen[: self.n_ids]


def unit(rows: Tensor) -> Tensor:
    """Bring rows to unit length along the last dimension; zero rows stay zero."""
    return F.normalize(rows, dim=-1, eps=1e-8)
