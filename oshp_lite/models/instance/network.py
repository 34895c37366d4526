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


class ParsedBoxes(NamedTuple):
    """One photo's people, best first."""

    boxes: Tensor  # float [N,4]
    scores: Tensor  # float [N]
    probabilities: Tensor  # float [N,K,2p,2p] of the classes in the box
    attention: Tensor | None  # float [N,1,p,p] of this person's mask, where there is an attention branch


class InstanceNet(nn.Module):
    """Pyramid, proposals, box head, attention branch and parsing branch, trained together.

    `InstanceNet(config)` or `InstanceNet(variant="lite", n_ids=20, ...)` with the fields of `InstanceConfig`; `seed`
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
        config, (classes, persons, boxes, ids) = self.config, _truth(batch)
        first, second = self.proposer.losses(seen.proposals, boxes)
        regions = [sample_regions(*pair, config) for pair in zip(seen.proposals.boxes, boxes, strict=True)]
        logits, offsets = self.detector(seen.levels, [region.boxes for region in regions])
        third, fourth = self.detector.losses(logits, offsets, regions, boxes)
        terms = {"proposal": first, "proposal_box": second, "box_class": third, "box": fourth}
        detection = torch.stack(list(terms.values())).sum()
        positive = [(region.person >= 0).nonzero()[: config.parsed, 0] for region in regions]
        own = [region.boxes[places] for region, places in zip(regions, positive, strict=True)]
        which = [ids[n][region.person[positive[n]]] for n, region in enumerate(regions)]

        def targets(size: int) -> list[Tensor]:
            cropped = [crop_targets(classes[n], persons[n], own[n], which[n], size) for n in range(len(own))]
            return [torch.cat(kind) for kind in zip(*cropped, strict=True)]

        logits, attention = self._parse(seen.levels, own)
        parsing = self.parsing.loss(logits, targets(2 * config.parsing_size)[1])
        total = detection + config.alpha * parsing
        if self.attention is not None and attention is not None:
            mask = targets(2 * config.attention_size)[0]
            terms["attention"] = self.attention.loss(attention, mask)
            total = total + terms["attention"]
        return {**terms, "detection": detection.detach(), "parsing": parsing, "total": total}

    def _parse(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor | None]:
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
            if boxes is None:
                proposed = self.proposer(levels, size).boxes
                logits, offsets = self.detector(levels, proposed)
                counts = [len(one) for one in proposed]
                per_photo = zip(logits.split(counts), offsets.split(counts), proposed, strict=True)
                people = [self.detector.detect(*one, size) for one in per_photo]
            else:
                for number, own in enumerate(boxes, 1):
                    check_boxes(own.cpu().numpy(), f"photo {number}")
                people = [(own.to(images), own.new_ones(len(own))) for own in boxes]
            inside = [clip(own, size) for own, _ in people]
            logits, attention = self._parse(levels, inside)
            counts = [len(own) for own in inside]
            maps = [None] * len(counts) if attention is None else attention.sigmoid().split(counts)
            chances = logits.float().softmax(1).split(counts)
            return [ParsedBoxes(own, people[n][1], chances[n], maps[n]) for n, own in enumerate(inside)]

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
        rules, seen = rules or RegionRules(), (int(images.shape[-2]), int(images.shape[-1]))
        size = size or seen
        factor = images.new_tensor([size[1] / seen[1], size[0] / seen[0]] * 2)
        results = []
        for parsed in self.detect(images, boxes):
            rows = zip(parsed.probabilities, (parsed.boxes * factor).tolist(), parsed.scores.tolist(), strict=True)
            regions = [paste(chances, box, size, score) for chances, box, score in rows]
            results.append(assemble(regions, size, rules, self.n_ids))
        return results

    def check_options(self, options: PredictOptions) -> None:
        """Raise UserError for options of one-shot methods that this one does not have."""
        if options.source != "npm" or options.restrict is not None:
            raise UserError(
                "method instance parses every class and has one output; leave source and restrict as they are"
            )


def _truth(batch: PeopleBatch) -> tuple[Tensor, Tensor, Sequence[Tensor], Sequence[Tensor]]:
    if batch.classes is None or batch.persons is None or batch.boxes is None or batch.ids is None:
        raise ValueError("losses need classes, persons, boxes and ids in the batch")
    return batch.classes, batch.persons, batch.boxes, batch.ids
