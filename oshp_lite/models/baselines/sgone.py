"""SG-One: similarity to one masked-average vector guides a segmentation branch (Zhang et al., 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing
from oshp_lite.models.baselines.common import (
    Contender,
    ContenderConfig,
    join_two_way,
    members,
    pool,
    present_pairs,
)
from oshp_lite.models.modules.metric import cosine_maps


@dataclass(frozen=True)
class SGOneConfig(ContenderConfig):
    """Configuration of SG-One."""

    name: ClassVar[str] = "sgone"

    # of the two layers; 0: 64 in the lite variant, else the original's 512 and 128
    guidance_width: int = bounded(0, 0)
    side_width: int = bounded(0, 0)
    # 1 is the original's quirk, a border of pure bias around the scores that shrinks them slightly
    exit_padding: Literal[0, 1] = 0
    # at test in k-way; "binary" is the original's multi-class rule: background where every class's own two-way scores
    # say background, else the class with the highest foreground probability
    combine: Literal["eq6", "binary"] = "eq6"


class SGOne(Contender):
    """Guidance G and side S from the shared map; per class c the map A_c S is scored by one shared head.

        v_c = masked average of G_support,  A_c(x) = cos(G_query(x), v_c),
        (bg_c, fg_c) = Exit(ReLU(Conv(A_c S_query))),  l_c = fg_c,  l_0 = mean over the present c of bg_c

    Sources: SG-One's code for the layers (guidance and side 3x3 without ReLU, Xavier, zero biases); the k-way form is
    EOP-Net's Eq. 6 without the residual, as its journal says. 1-way is the same with one class. Ours: guidance and
    side both start from the one shared map (the original taps three stages), and no layer has a learning rate of its
    own (the original's guidance layer learns ten times faster).
    """

    Config = SGOneConfig
    config: SGOneConfig

    def build_head(self) -> None:
        """Make guidance, side branch and classifier."""
        lite = self.config.encoder == "lite"
        guidance = self.config.guidance_width or (64 if lite else 512)
        side = self.config.side_width or (64 if lite else 128)
        channels = self.encoder.out_channels
        self.guidance = nn.Conv2d(channels, guidance, 3, padding=1)
        self.side = nn.Conv2d(channels, side, 3, padding=1)
        self.shared = nn.Conv2d(side, side, 3, padding=1)
        self.exit = nn.Conv2d(side, 2, 1, padding=self.config.exit_padding)
        for layer in (self.guidance, self.side, self.shared, self.exit):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query of the batch; the support's absent ids are masked in training too."""
        batch = self.checked(batch)
        query, support = self.encode(batch)
        present = self.support_classes(batch)
        similarity = self.similarity(query, support, self.support_mask(batch))
        sample, channel = present_pairs(present)
        maps = self.score(similarity[sample, channel], self.side(query)[sample])
        binary = self.config.combine == "binary" and self.way == "k" and not self.training
        logits = join_two_way(maps, sample, channel, present, binary=binary)
        return self.parsing(logits, batch, present=present, similarity=similarity)

    def similarity(self, query: Tensor, support: Tensor, mask: Tensor) -> Tensor:
        """Guidance maps A_c, float [B,rows,h,w] in [-1,1]; row 0 is not used. Pooling is exact at mask resolution."""
        vectors = pool(self.guidance(support), members(mask, self.rows), self.resampling)
        return cosine_maps(self.guidance(query), vectors)

    def score(self, similarity: Tensor, side: Tensor) -> Tensor:
        """Score guided maps: similarity float [N,h,w], side float [N,S,h,w] -> float [N,2,h,w], background first."""
        scores: Tensor = self.exit(F.relu(self.shared(similarity[:, None].to(side.dtype) * side)))
        return scores
