"""PANet: nearest prototype by scaled cosine, with prototype alignment (Wang et al., 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.models.base import Parsing, mask_absent_logits
from oshp_lite.models.baselines.common import (
    AlignedConfig,
    AlignedContender,
    members,
    pool,
    present_pairs,
    two_way_loss,
)
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.metric import cosine_maps


@dataclass(frozen=True)
class PANetConfig(AlignedConfig):
    """Configuration of PANet."""

    name: ClassVar[str] = "panet"

    # support pixels of the background prototype in k-way. "paper": the mean over classes c of the average of all pixels
    # that are not c (EOP-Net's journal takes the support once per class, the other classes masked as background);
    # "panet": pixels of no class of the episode. In PAR other classes are background ("paper") or ignored ("panet")
    bg: Literal["paper", "panet"] = "paper"


class PANet(AlignedContender):
    """One prototype per class and one for the background; every pixel goes to the nearest.

        p_c = masked average at mask resolution,  s_j(x) = scale cos(F_query(x), p_j),  j = background, 1..K

    PAR: the query's hard parse pools prototypes from the query, which parse the support, two-way for every class;
    summed over classes, divided by their number, mean over episodes. Source: PANet's code (scale 20, eps 1e-5,
    align_corners False, weight 1). Ours: pixels marked 255 belong to no mask (the original counts them as background),
    and the k classes of one support photo are taken from one forward pass. 1-way is the same with one class.
    """

    Config = PANetConfig
    config: PANetConfig
    resampling = "bilinear"

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query of the batch; ids that the support does not show are masked in training too."""
        batch = self.checked(batch)
        query, support = (self.projection(features) for features in self.encode(batch))
        present = self.support_classes(batch)
        rows = self.prototypes(support, self.support_mask(batch), present)
        scores = self.config.scale * cosine_maps(query, rows)
        return self.parsing(
            scores, batch, present=present, query=query, support=support, scores=scores, prototypes=rows
        )

    def prototypes(self, support: Tensor, mask: Tensor, present: Tensor) -> Tensor:
        """Prototypes float [B,rows,D] of float [B,D,h,w] under int64 [B,H,W], background first; see `bg`."""
        of_class = members(mask, self.rows)
        rows = pool(support, of_class, self.resampling)
        if self.config.bg == "panet" or self.way == "1":
            return rows
        others = (mask != IGNORE)[:, None] & ~of_class[:, 1:]
        ways = present[:, 1:]
        mean = pool(support, others & ways[..., None, None], self.resampling).sum(1)
        mean = mean / ways.sum(1).clamp(min=1)[:, None].to(mean.dtype)
        # a support without any class has no way; what is left is its plain background
        background = torch.where(ways.any(1)[:, None], mean, rows[:, 0])
        return torch.cat([background[:, None], rows[:, 1:]], 1)

    def alignment(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The prototype alignment term, float []; 0 where the query is parsed as background alone."""
        present, mask = self.support_classes(batch), self.support_mask(batch)
        query, support = parsing.extras["query"], parsing.extras["support"]
        parsed = mask_absent_logits(parsing.extras["scores"], present).argmax(1)
        assigned = members(parsed, self.rows)
        back = self.config.scale * cosine_maps(support, pool(query, assigned, self.resampling))
        back = resize(back, mask.shape[-2:], self.resampling)
        sample, channel = present_pairs(present & assigned.any(2).any(2))
        if not len(sample):
            return back.sum() * 0
        # the two-way cross-entropy of (background, class) is softplus of the other side's lead
        lead = back[sample, channel] - back[sample, 0]
        mask = mask[sample]
        wanted = mask == channel[:, None, None]
        each = two_way_loss(lead, wanted, mask != IGNORE if self.config.bg == "paper" else wanted | (mask == 0))
        ways = present[:, 1:].sum(1).clamp(min=1)
        return (each / ways[sample]).sum() / len(present)
