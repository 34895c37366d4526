"""AMP: adaptive masked proxies imprinted into the rows of a classifier (Siam, Oreshkin and Jagersand, 2019)."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import register
from oshp_lite.models.baselines.common import close, members, number, pool, seeded, upsample
from oshp_lite.models.baselines.rows import RowContender
from oshp_lite.models.modules.metric import cosine_maps

_TAPS = {"lite": ("decode8", "stage4")}
"""Which inner maps of an encoder carry the two further scorers, coarse to fine."""


class AMP(RowContender):
    """A cosine classifier on each of some feature levels; a support's proxies replace or move its rows.

        base training:  cross-entropy over the rows, score = sum over levels of scale_l cos(F_l(x), w_l,c)
        new id c:       w_c = e_c / |e_c|,  e_c = mean of F_support over the pixels of c (nearest up-sampling)
        known id c:     w_c <- unit((1 - alpha) unit(w_c) + alpha unit(e_c)); the background too with `update_bg`

    Source: AMP's code (proxies per level, alpha 0.25821, learnable scale from 20, background always updated, pseudo
    label threshold 0.7 and alpha 0.1 of the iterative pass). Nothing is written: the rows are the same afterwards.
    Ours: a linear 1x1 projection of the shared map is the first level (the original's fconv), and neither ReLU nor
    dropout stands before the scorer; row and proxy are both brought to unit length before they are mixed, so that
    alpha is the share it is meant to be; scores are up-sampled bilinearly; the learned scales are kept at test.

    levels      1: the last map alone. 3: two inner maps of the lite encoder too (multi-resolution imprinting)
    projection  width of the first level, 0 for the shared map as it is; default: the encoder's width
    alpha, update_bg
    restrict    True: only ids the support shows (1-way: background and the asked row) compete; False: all known rows
                do, as in AMP's own evaluation (1-way: the asked row against the best of all others). None: True in
                k-way, False in 1-way, where known parts must not fall to the asked one for want of their own row
    iterate     the iterative imprinting pass on the query. Ours in k-way: known parts' pixels stay out of it
    """

    method = "amp"

    def __init__(
        self,
        *,
        alpha: float = 0.25821,
        update_bg: bool = True,
        restrict: bool | None = None,
        levels: int = 1,
        projection: int | None = None,
        scale: float = 20.0,
        iterate: bool = False,
        **shared: Any,
    ) -> None:
        super().__init__(**shared)
        self.alpha = float(number("alpha", alpha, 0, 1))
        self.update_bg, self.iterate = bool(update_bg), bool(iterate)
        self.restrict = self.way == "k" if restrict is None else bool(restrict)
        self.taps = self._taps(levels)
        width = self.encoder.out_channels
        with seeded(self.seed + 1):
            wide = width if projection is None else number("projection", projection, 0, whole=True)
            self.projection = nn.Conv2d(width, wide, 1) if wide else nn.Identity()
            widths = [wide or width, *self._tap_widths()]
            rows = [nn.init.normal_(torch.empty(self.n_rows, size), std=size**-0.5) for size in widths]
        self.scorers = nn.ParameterList(rows)
        self.scales = nn.Parameter(torch.full((len(widths),), float(number("scale", scale, 1e-6))))

    def _taps(self, levels: int) -> tuple[str, ...]:
        if levels == 1:
            return ()
        if levels != 3 or self.config.encoder not in _TAPS:
            raise UserError(f"model option levels is {levels!r}; choose 1, or 3 with encoder=lite")
        return _TAPS[self.config.encoder]

    def _tap_widths(self) -> list[int]:
        channels = self.config.lite_channels
        return [{"decode8": channels[2], "stage4": channels[1]}[name] for name in self.taps]

    # -------------------------------------------------------------------------------------------- the rows

    def maps(self, image: Tensor) -> list[Tensor]:
        """Feature maps of all levels, float [B,D_l,h_l,w_l] each, the projected last map first."""
        kept: dict[str, Tensor] = {}

        def keep(name: str) -> Any:
            return lambda _module, _given, made: kept.__setitem__(name, made)

        hooks = [self.encoder.get_submodule(name).register_forward_hook(keep(name)) for name in self.taps]
        try:
            last = self.projection(self.encoder(image))
        finally:
            for hook in hooks:
                hook.remove()
        return [last, *(kept[name] for name in self.taps)]

    def score(self, maps: list[Tensor], rows: list[Tensor]) -> Tensor:
        """Sum over levels of scale cos(F, w) at the first level's size; rows float [B,R,D_l] -> float [B,R,h,w]."""
        total = None
        for level, (features, weights) in enumerate(zip(maps, rows, strict=True)):
            one = self.scales[level] * cosine_maps(features, weights)
            one = upsample(one, maps[0].shape[-2:], self.resampling)
            total = one if total is None else total + one
        return cast(Tensor, total)

    def row_logits(self, image: Tensor) -> Tensor:
        """Score every row; see RowContender."""
        maps = self.maps(image)
        return self.score(maps, [row[None].expand(len(image), -1, -1) for row in self.scorers])

    def adapted(self, batch: Episode) -> Tensor:
        """Imprint or move rows by each support, then score its query; float [B,channels,h,w]."""
        if self.way == "k":
            mask, asked = batch.support_mask, None
        else:
            asked = cast(Tensor, batch.class_ids)
            mask = torch.where(batch.support_mask == 1, asked[:, None, None], batch.support_mask)
        of_id = members(mask, self.n_ids)
        shown = of_id.any(2).any(2)
        support, query = self.maps(batch.support_image), self.maps(batch.query_image)
        known = self.seen[: self.n_ids].expand_as(shown)
        rows = [unit(row[: self.n_ids]).expand(len(batch), -1, -1) for row in self.scorers]
        moved = shown & known
        moved[:, 0] &= self.update_bg
        rows = self.imprinted(rows, support, of_id, moved, shown & ~known, self.alpha)
        open_rows = shown if self.restrict else shown | known
        open_rows = open_rows | (torch.arange(self.n_ids, device=mask.device) == 0)
        if self.iterate:
            rows = self.iterated(rows, query, shown & ~known, open_rows)
        logits = close(self.score(query, rows), open_rows)
        if asked is None:
            return logits
        take = torch.arange(len(asked), device=asked.device)
        own = logits[take, asked]
        logits = logits.index_put((take, asked), torch.full_like(own, -torch.inf))
        return torch.stack([logits.amax(1), own], 1)

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
        """One pass of iterative imprinting with the query's own confident answer (threshold 0.7, alpha 0.1)."""
        likely = close(self.score(query, rows), open_rows).softmax(1)
        answer = likely.argmax(1)
        sure = members(answer, self.n_ids) & (likely > 0.7) & new[..., None, None]
        known_part = (~new).gather(1, answer.flatten(1)).view_as(answer) & (answer != 0)
        scene = ~sure.any(1) & ~known_part
        sure[:, 0] = scene
        rows = self.imprinted(rows, query, sure, sure.any(2).any(2), torch.zeros_like(new), 0.1)
        everywhere = torch.zeros_like(sure)
        everywhere[:, 0] = True
        first = torch.zeros_like(new)
        first[:, 0] = True
        return self.imprinted(rows, query, everywhere, first, torch.zeros_like(new), 0.1)

    def answerable(self, batch: Episode) -> Tensor:
        """What the support shows, or everything known as well when `restrict` is off."""
        shown = super().answerable(batch)
        return shown if self.restrict or self.way == "1" else shown | self.seen[: self.n_ids]


def unit(rows: Tensor) -> Tensor:
    """Bring rows to unit length along the last dimension; zero rows stay zero."""
    return F.normalize(rows, dim=-1, eps=1e-8)


@register("amp")
def build_amp(**options: Any) -> AMP:
    """Build AMP for the registry; see AMP."""
    return AMP(**options)
