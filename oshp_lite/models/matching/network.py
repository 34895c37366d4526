"""Parse with the classes that have names and one for what has none; match the unnamed with what a support marks.

Ours, not the papers'. A photo is parsed without a look at the support: base classes, background, and "unnamed", the
person's pixels that training labels by no class. A support's mark then says which part of each class is meant: of a
class that the parser knows, the share of its pixels that the mark covers; of the unnamed, the cells that lie on the
person where the mark does, and look alike in the query itself (`places`). Nothing of that is learnt, so that it cannot
prefer the classes of training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import ABSENT, MethodConfig, OneShotModel, Parsing
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.matching.labels import unnamed_pieces
from oshp_lite.models.matching.places import cut, paste, person_boxes, place_odds, refined
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss

TINY = 1e-4


@dataclass(frozen=True)
class MatchingConfig(MethodConfig):
    """Configuration: an encoder's, of the class without a name, and of the comparison of places."""

    name: ClassVar[str] = "matching"
    variant: ClassVar[str] = "lite"

    absent_test: str = "full"  # type: ignore[assignment]
    least_share: float = bounded(0.01, 0, 1)  # of the person's area, from which unnamed pixels are a class
    match_size: tuple[int, int] = bounded((48, 24), 4)  # cells of a person's box in which places are compared
    spread: float = bounded(0.16, 1e-3, 10)  # of places, in heights of the person; this and what follows: see `places`
    anywhere: float = bounded(0.1, 1e-3, 1)  # share of a class that may lie anywhere
    look: float = bounded(4.0, 0, 100)  # weight of how a query's cells look, against where they lie
    rounds: int = bounded(2, 0, 20)  # of making both agree
    bias: float = bounded(0.5, -20, 20)  # added to the log-odds of every mark
    doubt: float = bounded(0.02, 0, 10)  # share of the box that a support's other unnamed things must cover to count
    prior: float = bounded(0.005, 0, 10)  # of the person's area, added where a mark's share of a class is counted
    claim: float = bounded(0.2, 0, 1)  # share of a mark from which a known class is taken to be meant
    least_fit: float = bounded(0.1, 0, 1)  # overlap (IoU) from which the class that fits a mark best is what it means


class Parsed(NamedTuple):
    """Photos, parsed: probabilities float [B,rows,h,w] of ids and, last, the unnamed; of a person [B,h,w]; features."""

    rows: Tensor
    person: Tensor
    features: Tensor


class Matching(OneShotModel):
    """The parser and its comparison with supports. In k-way only, for any ids that a support marks."""

    Config = MatchingConfig
    config: MatchingConfig
    has_person_mask = True
    known: Tensor

    def build(self) -> None:
        """Make the encoder and both 1x1 heads."""
        self.encoder = build_encoder(self.config)
        width, rows = self.encoder.out_channels, self.n_ids + 1
        self.class_head = nn.Conv2d(width, rows, 1)
        self.foreground_head = nn.Conv2d(width, 2, 1)
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool))  # ids that training has labelled

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of an image batch at stride 4: logits float [B,n_ids+1,h,w], scene against person [B,2,h,w], features."""
        features = self.encoder(image)
        classes = self.class_head(features).float()
        if not self.training:
            classes = classes.masked_fill(~self.known[:, None, None], ABSENT)
        return classes, self.foreground_head(features).float(), features.float()

    @staticmethod
    def parsed(classes: Tensor, foreground: Tensor, features: Tensor) -> Parsed:
        """Probabilities of logits."""
        return Parsed(F.softmax(classes, 1), F.softmax(foreground, 1)[:, 1], features)

    # ----------------------------------------------------------------------------------------------- matching

    def shares(self, support: Parsed, mark: Tensor) -> Tensor:
        """How much of each class of a support its mark means, float [B,rows] in [0,1]; the unnamed has 0.

        mark float [B,h,w] in [0,1]. The class that overlaps it most is meant as a whole, if it is a known one. What a
        mark covers of another class, s, counts as s^2 / (s^2 + (1 - s)^2): who marks most of a class means all of it.
        A class that makes up less than `claim` of the mark was hit by chance and has 0.
        """
        own, area = (support.rows * mark[:, None]).sum((2, 3)), mark.sum((1, 2))[:, None]
        whole = support.rows.sum((2, 3))
        fit = (own / (whole + area - own).clamp(min=TINY)).masked_fill(~self.known, 0)
        fit[:, 0] = 0
        best = F.one_hot(fit.argmax(1), fit.shape[1]) * (fit.amax(1, keepdim=True) >= self.config.least_fit)
        share = own / (whole + self.config.prior * support.person.sum((1, 2))[:, None]).clamp(min=TINY)
        share = share**2 / (share**2 + (1 - share) ** 2) * (own / area.clamp(min=TINY) >= self.config.claim)
        share = torch.maximum(share, best.to(share))
        share[:, 0] = 0
        share[:, -1] = 0
        return share

    def odds(self, query: Parsed, support: Parsed, mark: Tensor) -> Tensor:
        """Log-odds float [B,h,w] that a query's unnamed cell is what a support marks and no other unnamed thing.

        mark float [B,h,w] in [0,1] at the support's size.
        """
        config, size = self.config, (query.rows.shape[-2], query.rows.shape[-1])
        here, there = person_boxes(query.person), person_boxes(support.person)
        others = support.rows[:, -1] * (1 - mark)
        seen = cut(torch.stack([mark, others], 1), there, config.match_size)
        where = place_odds(seen[:, 0], seen[:, 1], config.spread, config.anywhere, config.doubt) + config.bias
        where = paste(where[:, None], here, size)[:, 0]
        return refined(query.features, query.rows[:, -1] * query.person, where, config.look, config.rounds)

    def margins(self, query: Parsed, shares: Tensor, odds: Tensor) -> Tensor:
        """Log-odds float [K,h,w] of K marked classes in one query against the likeliest thing that is none of them.

        query of batch size 1, shares float [K,rows], odds float [K,h,w].
        """
        rows, unnamed = query.rows[0], query.rows[0, -1]
        nameless = (1 - shares.amax(1).clamp(max=1))[
            :, None, None
        ]  # a mark that means a known class claims nothing else
        chance = torch.sigmoid(odds) * nameless
        best = torch.zeros_like(chance)
        best.scatter_(0, chance.argmax(0, keepdim=True), 1.0)  # one of several marked classes has an unnamed cell
        own = torch.einsum("kr,rhw->khw", shares, rows) + unnamed * chance * best
        free = (1 - shares.sum(0).clamp(max=1))[:, None, None] * rows
        free[-1] = unnamed * (1 - chance.amax(0))
        return torch.log(own + TINY) - torch.log(free.amax(0) + TINY)

    # ------------------------------------------------------------------------------------------------ episodes

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse; in training `.fine` has the query's plain logits, at test those of the support's classes."""
        batch = self.checked(batch)
        n, size = len(batch), batch.query_image.shape[-2:]
        classes, foreground, features = self.logits(torch.cat([batch.query_image, batch.support_image]))
        coarse = resize(foreground[:n], size)
        if self.training:
            return Parsing(classes[:n], coarse=coarse, extras={"classes": classes, "foreground": foreground})
        parts = self.parsed(classes, foreground, features)
        query, support = (Parsed(*(part[half] for part in parts)) for half in (slice(n), slice(n, None)))
        fine = []
        for i, mask in enumerate(batch.support_mask):
            one, other = (Parsed(*(part[i : i + 1] for part in both)) for both in (query, support))
            fine.append(self._fine(one, other, mask))
        return Parsing(resize(torch.stack(fine), size), coarse=coarse)

    def _fine(self, query: Parsed, support: Parsed, mask: Tensor) -> Tensor:
        """Logits float [n_ids,h,w] of one query: known classes keep their own, the others are matched."""
        fine = torch.full((self.n_ids, *query.rows.shape[-2:]), ABSENT, device=mask.device)
        fine[0] = 0
        ids = [i for i in mask.unique().tolist() if 0 < i < IGNORE]
        if not ids:
            return fine
        shares = torch.zeros(len(ids), self.n_ids + 1, device=mask.device)
        odds = torch.full((len(ids), *query.rows.shape[-2:]), ABSENT, device=mask.device)
        for row, index in enumerate(ids):
            if self.known[index]:
                shares[row, index] = 1
            else:
                odds[row] = self.odds(query, support, marked(mask[None] == index, support.rows.shape[-2:]))[0]
        fine[ids] = self.margins(query, shares, odds)
        return fine

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `classes` and `foreground`, cross-entropies over both photos of each pair, and their sum `total`."""
        batch = self.checked(batch, images=False)
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        masks = torch.cat([batch.query_mask, batch.support_mask])
        person = torch.cat([batch.query_foreground, batch.support_foreground])
        label = unnamed_pieces(masks, person, self.n_ids, self.config.least_share)
        with torch.no_grad():
            self.known[label[label != IGNORE].unique()] = True
        size = masks.shape[-2:]
        classes = pixel_loss(resize(parsing.extras["classes"], size), label)
        foreground = pixel_loss(resize(parsing.extras["foreground"], size), person)
        return {"classes": classes, "foreground": foreground, "total": classes + foreground}


def marked(mask: Tensor, size: Any) -> Tensor:
    """The share of each cell that a mask bool [B,H,W] covers, float [B,h,w]."""
    return F.adaptive_avg_pool2d(mask[:, None].float(), tuple(size))[:, 0]
