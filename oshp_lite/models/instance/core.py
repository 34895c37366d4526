"""The top-down instance-level parser: people are detected, and each is parsed in its box, in one forward pass.

Source: "A Top-down Unified Framework for Instance-level Human Parsing" (BMVC 2019), Fig. 2 and Eq. 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from oshp_lite.data.people import PeopleResult, check_boxes
from oshp_lite.data.people_batches import PeopleBatch
from oshp_lite.errors import UserError
from oshp_lite.models.base import CheckpointRecord, PredictOptions, evaluating, seeded
from oshp_lite.models.instance.boxes import clip
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.detector import BoxHead, ProposalNet, Proposals, sample_regions
from oshp_lite.models.instance.heads import AttentionHead, ParsingHead, crop_targets
from oshp_lite.models.instance.pyramid import Pyramid
from oshp_lite.models.instance.regions import RegionRules, assemble, paste


class Seen(NamedTuple):
    """What a batch looks like to the heads: the pyramid's levels, and where people may be."""

    levels: list[Tensor]
    proposals: Proposals


class Regions(NamedTuple):
    """What the branches behind the detector learn from: positive regions, and whom they are about."""

    terms: dict[str, Tensor]  # the detector's losses, each float []
    detection: Tensor  # their sum
    boxes: list[Tensor]  # float [N,4] of each photo
    ids: list[Tensor]  # int64 [N]: the person that each box is about
    classes: Tensor  # int64 [B,H,W]
    persons: Tensor  # int64 [B,H,W]

    def targets(self, size: int) -> list[Tensor]:
        """Masks and parts int64 [N,size,size] of the photos' regions in order, see `crop_targets`."""
        rows = zip(self.classes, self.persons, self.boxes, self.ids, strict=True)
        return [torch.cat(kind) for kind in zip(*(crop_targets(*row, size) for row in rows), strict=True)]


class ParsedBoxes(NamedTuple):
    """One photo's people, best first."""

    boxes: Tensor  # float [N,4]
    scores: Tensor  # float [N]
    probabilities: Tensor  # float [N,K,2p,2p] of the classes in the box
    attention: Tensor | None  # float [N,1,p,p] of this person's mask, where there is an attention branch


class RegionNet(nn.Module):
    """Pyramid, proposals, box head, attention branch and parsing branch, trained together.

    `RegionNet(config)` or `RegionNet(variant="lite", n_ids=20, ...)` with the fields of `InstanceConfig`; `seed`
    fixes the initial weights without touching the global generator. Ids are those of the dataset, left and right apart.
    """

    Config: ClassVar[type[InstanceConfig]] = InstanceConfig
    trainable: ClassVar[bool] = True
    stage_ends: ClassVar[tuple[float, ...]] = (1.0,)
    record: CheckpointRecord | None = None

    def __init__(self, config: InstanceConfig | None = None, *, seed: int = 0, **options: Any) -> None:
        super().__init__()
        self.config = config = InstanceConfig.preset(**options) if config is None else replace(config, **options)
        self.seed, self.n_ids = seed, config.n_ids
        with seeded(seed):
            self.pyramid = Pyramid(config)
            self.build()

    def build(self) -> None:
        """Make what stands on the pyramid."""
        config = self.config
        self.proposer = ProposalNet(config)
        self.detector = BoxHead(config)
        self.attention = None if config.join == "none" else AttentionHead(config)
        self.parsing = ParsingHead(config)

    def encoders(self) -> list[nn.Module]:
        """The backbone that first weights go into."""
        return [self.pyramid.encoder]

    def forward(self, batch: PeopleBatch, *, progress: float | None = None) -> Seen:
        """Levels and proposals of the photos; the truth is not looked at."""
        levels = self.pyramid(batch.images)
        return Seen(levels, self.proposer(levels, batch.images.shape[-2:]))

    def losses(self, seen: Seen, batch: PeopleBatch, progress: float) -> dict[str, Tensor]:
        """Return the terms of Eq. 1, each float []: total = detection + attention + alpha parsing.

        detection is the sum of `proposal`, `proposal_box`, `box_class` and `box`; attention and parsing learn from at
        most `parsed` positive regions a photo, other people in a region being background. Raises ValueError without
        truth.
        """
        regions = self.regions(seen, batch)
        logits, attention = self.parse(batch.images, seen.levels, regions.boxes)
        parsing = ParsingHead.loss(logits, regions.targets(2 * self.config.parsing_size)[1])
        total = regions.detection + self.config.alpha * parsing
        terms = regions.terms
        if attention is not None:
            terms["attention"] = self.attention_loss(attention, regions)
            total = total + terms["attention"]
        return {**terms, "detection": regions.detection.detach(), "parsing": parsing, "total": total}

    def attention_loss(self, attention: Tensor, regions: Regions) -> Tensor:
        """Return the loss of attention logits float [N,1,2a,2a] of the regions, float []."""
        return AttentionHead.loss(attention, regions.targets(2 * self.config.attention_size)[0])

    def regions(self, seen: Seen, batch: PeopleBatch) -> Regions:
        """Learn to detect, and draw the positive regions that the other branches learn from."""
        config, (classes, persons, boxes, ids) = self.config, truth_of(batch)
        first, second = self.proposer.losses(seen.proposals, boxes)
        drawn = [sample_regions(*pair, config) for pair in zip(seen.proposals.boxes, boxes, strict=True)]
        logits, offsets = self.detector(seen.levels, [region.boxes for region in drawn])
        third, fourth = self.detector.losses(logits, offsets, drawn, boxes)
        positive = [(region.person >= 0).nonzero()[: config.parsed, 0] for region in drawn]
        own = [region.boxes[places] for region, places in zip(drawn, positive, strict=True)]
        which = [ids[n][region.person[positive[n]]] for n, region in enumerate(drawn)]
        terms = {"proposal": first, "proposal_box": second, "box_class": third, "box": fourth}
        return Regions(terms, torch.stack(list(terms.values())).sum(), own, which, classes, persons)

    def parse(self, images: Tensor, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
        """Class logits float [N,K,2p,2p] and attention logits float [N,1,2a,2a] of the boxes in order."""
        if self.attention is None:
            return self.parsing(levels, boxes, None), None
        attention = self.attention(levels, boxes)
        return self.parsing(levels, boxes, attention.sigmoid()), attention

    @torch.no_grad()
    def detect(self, images: Tensor, boxes: Sequence[Tensor] | None = None) -> list[ParsedBoxes]:
        """Detect and parse everybody in photos float [B,3,H,W]. Evaluation mode, whatever mode the network is in.

        boxes: float [N,4] of each photo, to be parsed in the place of detected ones, with score 1. Raises UserError for
        one without an area.
        """
        size = images.shape[-2:]
        with evaluating(self):
            levels = self.pyramid(images)
            people = self.people(levels, size) if boxes is None else given_people(boxes, images)
            inside = [clip(own, size) for own, _ in people]
            logits, attention = self.parse(images, levels, inside)
            counts = [len(own) for own in inside]
            maps = [None] * len(counts) if attention is None else attention.sigmoid().split(counts)
            chances = logits.float().softmax(1).split(counts)
            return [ParsedBoxes(own, people[n][1], chances[n], maps[n]) for n, own in enumerate(inside)]

    def people(self, levels: Sequence[Tensor], size: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Return boxes float [N,4] and scores float [N] of the people of each photo of `size` (height, width)."""
        proposed = self.proposer(levels, size).boxes
        logits, offsets = self.detector(levels, proposed)
        counts = [len(one) for one in proposed]
        per_photo = zip(logits.split(counts), offsets.split(counts), proposed, strict=True)
        return [self.detector.detect(*one, size) for one in per_photo]

    def predict(
        self,
        images: Tensor,
        rules: RegionRules | None = None,
        boxes: Sequence[Tensor] | None = None,
        size: tuple[int, int] | None = None,
    ) -> list[PeopleResult]:
        """Parse everybody in photos float [B,3,H,W]: maps, people and parts by the rules; boxes as in `detect`.

        size: height and width of the maps, to which the boxes are scaled; None: that of the photos.
        """
        seen = (int(images.shape[-2]), int(images.shape[-1]))
        return [put_together(one, seen, size or seen, rules, self.n_ids) for one in self.detect(images, boxes)]

    def check_options(self, options: PredictOptions) -> None:
        """Raise UserError for options of one-shot methods that this one does not have."""
        if options.source != "npm" or options.restrict is not None:
            raise UserError(
                "method instance parses every class and has one output; leave source and restrict as they are"
            )


def truth_of(batch: PeopleBatch) -> tuple[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]]:
    """Classes, persons, boxes and ids of a batch. Raises ValueError where it has none."""
    if batch.classes is None or batch.persons is None or batch.boxes is None or batch.ids is None:
        raise ValueError("losses need classes, persons, boxes and ids in the batch")
    return batch.classes, batch.persons, batch.boxes, batch.ids


def given_people(boxes: Sequence[Tensor], images: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Boxes float [N,4] of photos float [B,3,H,W] with a score of 1 each. UserError for one without an area."""
    for number, own in enumerate(boxes, 1):
        check_boxes(own.cpu().numpy(), f"photo {number}")
    return [(own.to(images), images.new_ones(len(own))) for own in boxes]


def put_together(
    parsed: ParsedBoxes, seen: Sequence[int], size: tuple[int, int], rules: RegionRules | None, n_classes: int
) -> PeopleResult:
    """Assemble a photo of `size` (height, width) from boxes that were parsed in it at the size `seen`."""
    factor = parsed.boxes.new_tensor([size[1] / seen[1], size[0] / seen[0]] * 2)
    rows = zip(parsed.probabilities, (parsed.boxes * factor).tolist(), parsed.scores.tolist(), strict=True)
    regions = [paste(chances, box, size, score) for chances, box, score in rows]
    return assemble(regions, size, rules or RegionRules(), n_classes)
