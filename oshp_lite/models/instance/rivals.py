"""What the instance-level parser is compared with: a detector beside a separate parser, and grouping from below.

`SeparateNet` is the paper's "separate parsing network" (section 4.3, text): a detector, and a parser with a backbone of
its own that is trained on the people detected, cut out of the photo. `BottomUpNet` is one in the spirit of PGN (part
grouping network, ECCV 2018): the whole photo is parsed, the people's edges cut the person into connected groups, and
each group is somebody. Trunk, pyramid, convolutions and training are those of the network that they are compared
with; the rest is our choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.people import PeopleResult
from oshp_lite.data.people_batches import PeopleBatch
from oshp_lite.errors import UserError
from oshp_lite.labels import IGNORE
from oshp_lite.models.base import evaluating
from oshp_lite.models.instance.align import roi_align
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.core import RegionNet, truth_of
from oshp_lite.models.instance.detector import BoxHead, ProposalNet
from oshp_lite.models.instance.pyramid import Pyramid
from oshp_lite.models.instance.regions import Pasted, RegionRules, assemble
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss


class WholeHead(nn.Module):
    """Classes of every pixel from the pyramid, and whether it lies on a person's edge.

    The levels at stride 4, their maximum, the parsing branch's convolutions, 1x1 convolutions, bilinear to `size`.
    """

    def __init__(self, config: InstanceConfig, *, edges: bool) -> None:
        super().__init__()
        width, layers = config.pyramid, list[nn.Module]()
        for _ in range(config.convs):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(config.groups, width), nn.ReLU(inplace=True)]
        self.convs, self.outputs = nn.Sequential(*layers), config.n_ids
        self.score = nn.Conv2d(width, config.n_ids + edges, 1)

    def forward(self, levels: Sequence[Tensor], size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Class logits float [B,K,H,W] and edge logits float [B,1,H,W] (none: [B,0,H,W])."""
        finest = levels[0].shape[-2:]
        joined = torch.stack([resize(level, finest, "bilinear") for level in levels[:4]]).amax(0)
        logits = resize(self.score(self.convs(joined)), tuple(size), "bilinear")
        return logits[:, : self.outputs], logits[:, self.outputs :]


class SeenWhole(NamedTuple):
    """What a batch looks like to a network that parses whole photos."""

    classes: Tensor  # logits float [B,K,H,W]
    edges: Tensor  # logits float [B,1,H,W]


class SeparateNet(RegionNet):
    """A detector, and a parser of the people cut out of the photo; they share no weight."""

    def build(self) -> None:
        """Make both networks."""
        config = self.config
        self.proposer, self.detector, self.attention = ProposalNet(config), BoxHead(config), None
        self.other, self.whole = Pyramid(config), WholeHead(config, edges=False)

    def encoders(self) -> list[nn.Module]:
        """Both backbones."""
        return [self.pyramid.encoder, self.other.encoder]

    def parse(self, images: Tensor, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Class logits float [N,K,2p,2p] of the boxes in order, from cut-outs of twice that side; no attention."""
        side = 2 * self.config.parsing_size
        cut = [roi_align(image, own, 2 * side, 1) for image, own in zip(images, boxes, strict=True)]
        people = torch.cat(cut).to(images.dtype)
        if not len(people):
            return people.new_zeros(0, self.n_ids, side, side), None
        return self.whole(self.other(people), (side, side))[0], None


class BottomUpNet(RegionNet):
    """The whole photo parsed, and its person cut into people along the edges between them."""

    def build(self) -> None:
        """Make the one head."""
        self.attention = None
        self.whole = WholeHead(self.config, edges=True)

    def forward(self, batch: PeopleBatch, *, progress: float | None = None) -> SeenWhole:  # type: ignore[override]
        """Classes and edges."""
        return SeenWhole(*self.whole(self.pyramid(batch.images), batch.images.shape[-2:]))

    def losses(self, seen: SeenWhole, batch: PeopleBatch, progress: float) -> dict[str, Tensor]:  # type: ignore[override]
        """Cross-entropy of the classes, and of the edges with either side of them weighing the same (as in PGN)."""
        classes, persons, _, _ = truth_of(batch)
        parsing = pixel_loss(seen.classes, classes.masked_fill(persons == IGNORE, IGNORE))
        edges = edge_target(persons)
        counted, there = edges != IGNORE, edges == 1
        share = there.sum() / counted.sum().clamp(min=1)
        weight = torch.where(there, 1 - share, share) * counted
        each = F.binary_cross_entropy_with_logits(seen.edges[:, 0].float(), there.float(), weight, reduction="sum")
        edge = each / weight.sum().clamp(min=1e-6)
        return {"parsing": parsing, "edge": edge, "total": self.config.alpha * parsing + edge}

    @torch.no_grad()
    def predict(
        self,
        images: Tensor,
        rules: RegionRules | None = None,
        boxes: Sequence[Tensor] | None = None,
        size: tuple[int, int] | None = None,
    ) -> list[PeopleResult]:
        """Each group of pixels is a person. UserError for boxes, which it cannot use."""
        if boxes is not None:
            raise UserError("the bottom-up design has no boxes; leave them out")
        size = size or (int(images.shape[-2]), int(images.shape[-1]))
        with evaluating(self):
            logits, edges = self.whole(self.pyramid(images), size)
        # groups do not overlap, so every one of them paints, however low its score
        rules, results = replace(rules or RegionRules(), least=0.0, people_least=0.0), []
        for chances, edge in zip(logits.float().softmax(1), edges[:, 0].sigmoid(), strict=True):
            best, labels = chances.max(0)
            groups = group(labels > 0, edge >= self.config.edge, self.config.least)
            classes, chance, ids = (one.cpu().numpy() for one in (labels.to(torch.uint8), best, groups))
            regions = [_cut(classes, chance, ids == number) for number in range(1, int(ids.max(initial=0)) + 1)]
            regions = sorted(regions, key=lambda one: -one.score)[:254]
            results.append(replace(assemble(regions, size, rules, self.n_ids), classes=classes))
        return results


RIVALS: dict[str, type[RegionNet]] = {"separate": SeparateNet, "bottom-up": BottomUpNet}
"""By the option `design`."""


def edge_target(persons: Tensor) -> Tensor:
    """1 where a pixel of the person map int64 [B,H,W] has another id beside it (3x3), 0 elsewhere, 255 near ignore."""
    ids = persons[:, None].double()
    high, low = F.max_pool2d(ids, 3, 1, 1), -F.max_pool2d(-ids, 3, 1, 1)
    return torch.where(high == IGNORE, IGNORE, (high != low).long())[:, 0]


def group(person: Tensor, edges: Tensor, least: int) -> Tensor:
    """Cut the person into people: ids int64 [H,W], 0 nobody.

    The parts of `person` bool [H,W] off the `edges` bool [H,W] that are connected (4 neighbours) and have at least
    `least` pixels are people; they then grow within the person over the edges, a pixel at a time. What no one
    reaches is nobody's.
    """
    inside = person & ~edges
    numbers = torch.arange(1, inside.numel() + 1, device=inside.device).reshape(inside.shape)
    ids = spread(numbers * inside, inside, over=True)
    known, place, counts = torch.unique(ids, return_inverse=True, return_counts=True)
    kept = (known > 0) & (counts >= least)
    ids = torch.where(kept, kept.cumsum(0), 0)[place]
    return spread(ids, person, over=False)


def spread(ids: Tensor, inside: Tensor, *, over: bool) -> Tensor:
    """Let ids int64 [H,W] grow to their 4 neighbours inside the mask bool [H,W] until nothing changes.

    The highest id of the neighbours wins: over lower ids too (`over`), or where there is none yet.
    """
    while True:
        padded = F.pad(ids, (1, 1, 1, 1))
        sides = padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]
        most = torch.stack([ids, *sides]).amax(0)
        grown = torch.where(inside & ((ids == 0) | over), most, ids)
        if torch.equal(grown, ids):
            return ids
        ids = grown


def _cut(classes: np.ndarray, chance: np.ndarray, mine: np.ndarray) -> Pasted:
    """One group as a pasted region; its score is its share of the photo times its mean probability (PGN's order)."""
    down, across = np.flatnonzero(mine.any(1)), np.flatnonzero(mine.any(0))
    window = np.s_[down[0] : down[-1] + 1, across[0] : across[-1] + 1]
    score = float(mine.mean() * chance[mine].mean())
    return Pasted(np.where(mine, classes, 0)[window], chance[window], int(down[0]), int(across[0]), score)
