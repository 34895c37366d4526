"""Parse with the classes that have names and one for what has none; match the unnamed with what a support marks.

Ours, not the papers'. A photo is parsed without a look at the support: base classes, background, and "unnamed", the
person's pixels that training labels by no class. A support's mark says which part of each class is meant: of a class
that the parser knows by the share of its pixels that the mark covers, of the unnamed by a small network that compares
where things lie in both photos (`head.MatchHead`). It learns that on base classes made unnamed for an episode.
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
from oshp_lite.models.matching.head import MatchHead, cut, paste, person_boxes
from oshp_lite.models.matching.labels import unnamed_pieces
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss

TINY = 1e-4


@dataclass(frozen=True)
class MatchingConfig(MethodConfig):
    """Configuration: an encoder's, and of the class without a name and the match head."""

    name: ClassVar[str] = "matching"
    variant: ClassVar[str] = "lite"

    absent_test: str = "full"  # type: ignore[assignment]
    body: tuple[int, ...] = ()  # ids that play the unnamed in parts alone: what every person has
    least_share: float = bounded(0.01, 0, 1)  # of the person's area, from which unnamed pixels are a class
    least_mark: float = bounded(0.003, 0, 1)  # of the frame, from which a class of the support plays the unnamed
    episodes: int = bounded(2, 1, 16)  # of each pair in training
    parts: float = bounded(0.4, 0, 1)  # share of the episodes whose target is a part of a class, by its height
    match_weight: float = bounded(1.0, 0, 100)
    match_size: tuple[int, int] = bounded((48, 24), 4)  # cells at which the match head compares people
    mark_least: float = bounded(0.15, 0, 1)  # probability of the unnamed from which a cell is learnt from
    prior: float = bounded(0.02, 0, 10)  # of the person's area, added where a mark's share of a class is counted
    claim: float = bounded(0.2, 0, 1)  # share of a mark from which a known class is taken to be meant
    bias: float = bounded(0.0, -20, 20)  # added to the match head's logits at test


class Parsed(NamedTuple):
    """A photo, parsed: probabilities float [B,rows,h,w] of ids and, last, the unnamed; and of a person [B,h,w]."""

    rows: Tensor
    person: Tensor


class Play(NamedTuple):
    """An episode in training: its pair, the target's id and heights on the person, other ids made unnamed with it."""

    pair: int
    target: int
    band: tuple[float, float]
    hidden: tuple[int, ...]


class Matching(OneShotModel):
    """The parser with its match head. In k-way only, for any ids that a support marks."""

    Config = MatchingConfig
    config: MatchingConfig
    has_person_mask = True
    known: Tensor

    def build(self) -> None:
        """Make the encoder, both 1x1 heads and the match head."""
        self.encoder = build_encoder(self.config)
        width, rows = self.encoder.out_channels, self.n_ids + 1
        self.class_head = nn.Conv2d(width, rows, 1)
        self.foreground_head = nn.Conv2d(width, 2, 1)
        self.match_head = MatchHead(2 * rows + 3)
        self.register_buffer("known", torch.zeros(rows, dtype=torch.bool))  # ids that training has labelled

    # ------------------------------------------------------------------------------------------------ parsing

    def logits(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of an image batch at stride 4: float [B,n_ids+1,h,w], and scene against person float [B,2,h,w]."""
        features = self.encoder(image)
        classes = self.class_head(features).float()
        if not self.training:
            classes = classes.masked_fill(~self.known[:, None, None], ABSENT)
        return classes, self.foreground_head(features).float()

    @staticmethod
    def parsed(classes: Tensor, foreground: Tensor) -> Parsed:
        """Probabilities of logits."""
        return Parsed(F.softmax(classes, 1), F.softmax(foreground, 1)[:, 1])

    # ----------------------------------------------------------------------------------------------- matching

    def shares(self, support: Parsed, mark: Tensor) -> Tensor:
        """How much of each class of a support its mark covers, float [B,rows] in [0,1]; the unnamed has 0.

        mark float [B,h,w] in [0,1]. A class that makes up less than `claim` of the mark was hit by chance and has 0.
        """
        own = (support.rows * mark[:, None]).sum((2, 3))
        whole = support.rows.sum((2, 3))
        size = support.person.sum((1, 2))[:, None]
        share = own / (whole + self.config.prior * size).clamp(min=TINY)
        meant = own / mark.sum((1, 2))[:, None].clamp(min=TINY) >= self.config.claim
        share = share * meant
        share[:, 0] = 0
        share[:, -1] = 0
        return share

    def match(self, query: Parsed, support: Parsed, mark: Tensor) -> Tensor:
        """Logits float [B,h,w] that a query's cell is of the class that a support marks, if it has no name."""
        size = self.config.match_size
        here, there = person_boxes(query.person), person_boxes(support.person)
        seen = cut(torch.cat([query.rows, query.person[:, None]], 1), here, size)
        shown = cut(torch.cat([support.rows, support.person[:, None], mark[:, None]], 1), there, size)
        logits = self.match_head(torch.cat([seen, shown], 1)).float()
        return paste(logits[:, None], here, (query.rows.shape[-2], query.rows.shape[-1]))[:, 0]

    def margins(self, query: Parsed, shares: Tensor, matches: Tensor) -> Tensor:
        """Log-odds float [K,h,w] of K marked classes in one query against the likeliest thing that is none of them.

        query of batch size 1, shares float [K,rows], matches float [K,h,w] logits.
        """
        rows, unnamed = query.rows[0], query.rows[0, -1]
        chance = torch.sigmoid(matches + self.config.bias)
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
        n = len(batch)
        classes, foreground = self.logits(torch.cat([batch.query_image, batch.support_image]))
        size = batch.query_image.shape[-2:]
        coarse = resize(foreground[:n], size)
        if self.training:
            extras = {"classes": classes, "foreground": foreground}
            return Parsing(classes[:n], coarse=coarse, extras=extras | self._played(batch, classes, foreground))
        parts = self.parsed(classes, foreground)
        fine = [
            self._fine(Parsed(*(p[i : i + 1] for p in parts)), Parsed(*(p[n + i : n + i + 1] for p in parts)), mask)
            for i, mask in enumerate(batch.support_mask)
        ]
        return Parsing(resize(torch.stack(fine), size), coarse=coarse)

    def _fine(self, query: Parsed, support: Parsed, mask: Tensor) -> Tensor:
        """Logits float [n_ids,h,w] of one query: known classes keep their own, the others are matched."""
        fine = torch.full((self.n_ids, *query.rows.shape[-2:]), ABSENT, device=mask.device)
        ids = [i for i in mask.unique().tolist() if 0 < i < IGNORE]
        fine[0] = 0
        if not ids:
            return fine
        shares = torch.zeros(len(ids), self.n_ids + 1, device=mask.device)
        matches = torch.full((len(ids), *query.rows.shape[-2:]), ABSENT, device=mask.device)
        for row, index in enumerate(ids):
            if self.known[index]:
                shares[row, index] = 1
            else:
                mark = marked(mask[None] == index, support.rows.shape[-2:])
                matches[row] = self.match(query, support, mark)[0]
        fine[ids] = self.margins(query, shares, matches)
        return fine

    # ------------------------------------------------------------------------------------------------ training

    def _played(self, batch: Episode, classes: Tensor, foreground: Tensor) -> dict[str, Tensor]:
        """Episodes whose target is made unnamed, with up to two other classes: the match head's logits on them.

        A target is a base class, or its part above or below a height on the person: so the few base classes make many
        targets. Returns match float [E,h,w] and what its loss needs; nothing where no support has a class. The parser
        gets no gradient of it.
        """
        n, size = len(batch), classes.shape[-2:]
        parts = self.parsed(classes.detach(), foreground.detach())
        heights = heights_on(parts.person)
        plays = [play for i in range(n) for play in self._plays(i, batch.support_mask[i], heights[n + i])]
        if not plays:
            return {}
        pick = torch.tensor([play.pair for play in plays], device=classes.device)
        target = torch.tensor([play.target for play in plays], device=classes.device)
        band = torch.tensor([play.band for play in plays], device=classes.device)[..., None]
        here, there = (within(heights[index], band) for index in (pick, pick + n))
        hidden = torch.zeros(len(plays), self.n_ids + 1, 1, 1, device=classes.device)
        for e, play in enumerate(plays):
            hidden[e, list(play.hidden)] = 1
        own = F.one_hot(target, self.n_ids + 1)[..., None, None]
        query, support = (
            Parsed(unnamed(parts.rows[index], hidden + own * inside), parts.person[index])
            for index, inside in ((pick, here), (pick + n, there))
        )
        mark = marked(batch.support_mask[pick] == target[:, None, None], size) * there[:, 0]
        return {
            "match": self.match(query, support, mark),
            "free": query.rows[:, -1],
            "pick": pick,
            "target": target,
            "inside": here[:, 0].expand(-1, *size),
        }

    def _plays(self, pair: int, mask: Tensor, heights: Tensor) -> list[Play]:
        """Targets of one support, drawn from torch's generator: mask int64 [H,W], heights float [h] of its rows."""
        config, plays = self.config, []
        named = [c for c in range(1, self.n_ids) if self.known[c]]
        share = torch.bincount(mask[mask < self.n_ids], minlength=self.n_ids) / mask.numel()
        able = [c for c in range(1, self.n_ids) if share[c] >= config.least_mark]
        for _ in range(config.episodes if able else 0):
            target = able[int(torch.randint(len(able), ()))]
            band = (-9.0, 9.0)
            if target in config.body or torch.rand(()) < config.parts:
                rows = F.adaptive_max_pool1d((mask == target).any(1)[None].float(), len(heights))[0] > 0
                low, high = float(heights[rows].min()), float(heights[rows].max())
                edge = low + (high - low) * float(torch.empty(()).uniform_(0.25, 0.75))
                band = (-9.0, edge) if torch.rand(()) < 0.5 else (edge, 9.0)
            others = [c for c in named if c != target and c not in config.body]
            chosen = torch.randperm(len(others))[: int(torch.randint(3, ()))].tolist()
            plays.append(Play(pair, target, band, tuple(others[j] for j in chosen)))
        return plays

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `classes`, `foreground` (both photos of a pair), `match` and their weighted sum `total`, float []."""
        batch = self.checked(batch, images=False)
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        masks = torch.cat([batch.query_mask, batch.support_mask])
        person = torch.cat([batch.query_foreground, batch.support_foreground])
        label = unnamed_pieces(masks, person, self.n_ids, self.config.least_share)
        with torch.no_grad():
            self.known[label.unique()[label.unique() < self.n_ids + 1]] = True
        size, extras = masks.shape[-2:], parsing.extras
        losses = {
            "classes": pixel_loss(resize(extras["classes"], size), label),
            "foreground": pixel_loss(resize(extras["foreground"], size), person),
        }
        losses["match"] = self._match_loss(extras, batch.query_mask, label[: len(batch)])
        total = losses["classes"] + losses["foreground"] + self.config.match_weight * losses["match"]
        return {**losses, "total": total}

    def _match_loss(self, extras: dict[str, Tensor], mask: Tensor, label: Tensor) -> Tensor:
        """Binary cross-entropy where a merged unnamed cell has a label; what truly has none teaches nothing."""
        if "match" not in extras:
            return extras["classes"].new_zeros(())
        logits, pick = extras["match"], extras["pick"]
        label = F.interpolate(label[:, None].float(), size=logits.shape[-2:], mode="nearest")[:, 0].long()[pick]
        weight = ((extras["free"] > self.config.mark_least) & (label != IGNORE) & (label != self.n_ids)).float()
        truth = (label == extras["target"][:, None, None]).float() * extras["inside"]
        loss = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * weight
        return loss.sum() / weight.sum().clamp(min=1)


def unnamed(rows: Tensor, hidden: Tensor) -> Tensor:
    """Probabilities float [E,rows,h,w] with the share `hidden` of each class added to the last row.

    hidden float in [0,1], broadcast to [E,rows,h,w].
    """
    moved = rows * hidden
    kept = rows - moved
    kept[:, -1] += moved.sum(1)
    return kept


def heights_on(person: Tensor) -> Tensor:
    """The height of each row of cells on the person, float [B,h]: 0 at the top of the person's box, 1 at its bottom."""
    top, bottom, _, _ = person_boxes(person).unbind(1)
    rows = (torch.arange(person.shape[1], device=person.device) + 0.5) / person.shape[1]
    return (rows - top[:, None]) / (bottom - top)[:, None]


def within(heights: Tensor, band: Tensor) -> Tensor:
    """Which rows lie in a band: heights float [E,h], band float [E,2,1] -> float [E,1,h,1] in {0,1}."""
    return ((heights >= band[:, 0]) & (heights < band[:, 1])).float()[:, None, :, None]


def marked(mask: Tensor, size: Any) -> Tensor:
    """The share of each cell that a mask bool [B,H,W] covers, float [B,h,w]."""
    return F.adaptive_avg_pool2d(mask[:, None].float(), tuple(size))[:, 0]
