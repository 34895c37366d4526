"""Contenders that learn a supervised classifier with one row per id and adapt its rows to the support at test."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.baselines.common import Contender, close, upsample
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.modules.prototypes import present_ids


class RowContender(Contender):
    """Base of fine-tuning and AMP: cross-entropy over the rows on both photos of an episode, adaptation at test.

    k-way: plain supervised cross-entropy of each photo against its own mask; novel pixels are background by protocol,
    and ids are not restricted to what the other photo shows. 1-way training sees one class of a photo at a time, so
    the same rows learn from what such a mask says: "c" on its pixels (-log p_c), "not c" elsewhere (-log(1 - p_c)).
    Background is never asked for and so never pushed down; it takes what no class claims. Ours, for the sources have
    ordinary labels.

    `seen` bool [n_rows] records which ids training has met: only these rows take part in the softmax, so a novel id
    has no row until a support shows it.
    """

    seen: Tensor

    def __init__(self, **shared: Any) -> None:
        super().__init__(**shared)
        extra = self.way == "k" and self.config.unlabelled_foreground == "class"
        self.n_rows = self.n_ids + int(extra)
        self.register_buffer("seen", torch.zeros(self.n_rows, dtype=torch.bool))
        self.seen[0] = True

    def row_logits(self, image: Tensor) -> Tensor:
        """Score every row on float [B,3,H,W]: float [B,n_rows,h,w]."""
        raise NotImplementedError

    def adapted(self, batch: Episode) -> Tensor:
        """Adapt to each support and score its query: float [B,channels,h,w]; writes nothing."""
        raise NotImplementedError

    def forward(self, batch: Episode, progress: float | None = None) -> Parsing:
        """Training: the classifier's answers on both photos. Evaluation: the adapted answer on the query."""
        batch = self.checked(batch)
        if not self.training:
            return self.parsing(self.adapted(batch), batch)
        query, support = self.row_logits(batch.query_image), self.row_logits(batch.support_image)
        if self.way == "1":
            asked = cast(Tensor, batch.class_ids)
            self.seen[asked] = True
            query, support = self.against_rest(query, asked), self.against_rest(support, asked)
        return self.parsing(query, batch, support=support)

    def against_rest(self, logits: Tensor, asked: Tensor, *, soft: bool = True) -> Tensor:
        """Two channels (all other rows, the asked row), float [B,2,h,w], of float [B,R,h,w] and int64 [B].

        soft: the others' log-sum-exp, so that the softmax is (1 - p_c, p_c); else their maximum, so that the argmax
        is that over all rows.
        """
        logits = close(logits, self.seen[None, : logits.shape[1]].expand(len(logits), -1))
        own = torch.zeros(logits.shape[:2], dtype=torch.bool, device=logits.device)
        own[torch.arange(len(asked), device=asked.device), asked] = True
        others = logits.masked_fill(own[..., None, None], -torch.inf)
        rest = others.logsumexp(1) if soft else others.amax(1)
        return torch.stack([rest, logits[own]], 1)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `query` and `support` (cross-entropies of the two photos) and their mean `total`, each float [].

        Outside training mode `query` is the cross-entropy of the adapted answer and `support` 0.
        """
        batch = self.checked(batch)
        if not self.training:
            ce = self.cross_entropy(parsing, batch)
            return {"query": ce, "support": torch.zeros_like(ce), "total": ce}
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        support = upsample(parsing.extras["support"], batch.support_image.shape[-2:], self.resampling)
        terms = {}
        for name, logits, mask, foreground in (
            ("query", self.joined(parsing), batch.query_mask, batch.query_foreground),
            ("support", support, batch.support_mask, batch.support_foreground),
        ):
            label = self.named(mask, foreground)
            if self.way == "k":
                self.seen |= present_ids(label, self.n_rows).any(0)
                logits = close(logits, self.seen[None].expand(len(logits), -1))
            terms[name] = pixel_loss(logits, label)
        return {**terms, "total": (terms["query"] + terms["support"]) / 2}
