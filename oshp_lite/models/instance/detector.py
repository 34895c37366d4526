"""The detection branch: region proposals, what they learn from, and the box head. Source: section 3.2; Faster R-CNN."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.instance.align import STRIDES, pool_single
from oshp_lite.models.instance.boxes import clip, decode, encode, make_anchors, overlaps, suppress
from oshp_lite.models.instance.config import InstanceConfig

PLAIN = (1.0, 1.0, 1.0, 1.0)
BETA = 1 / 9  # where the smooth L1 loss turns from a parabola into a line
SMALLEST = 1e-2  # sides in pixels; boxes below it are no proposals


class Sampled(NamedTuple):
    """Regions of one image to learn from: boxes float [N,4], and the true person's row int64 [N], -1 for background."""

    boxes: Tensor
    person: Tensor


def match_anchors(anchors: Tensor, truth: Tensor, iou: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Label int64 [A] of each anchor (1 person, 0 background, -1 neither) and its person's row int64 [A].

    Positive from `iou[0]` on, negative below `iou[1]`; each true box's best anchors are positive in any case, so a
    photo with people has a positive. An anchor learns the box that it overlaps most, though it be another's best.
    anchors float [A,4], truth float [G,4]; without people all is background.
    """
    if not len(truth):
        nothing = torch.zeros(len(anchors), dtype=torch.int64, device=anchors.device)
        return nothing, nothing
    table = overlaps(anchors, truth)
    best, person = table.max(1)
    label = torch.full_like(person, -1)
    label[best < iou[1]] = 0
    label[best >= iou[0]] = 1
    top = table.max(0).values.clamp(min=1e-9)  # an overlap of nothing makes no anchor positive
    label[(table >= top * (1 - 1e-6)).any(1)] = 1
    return label, person


def draw(mask: Tensor, most: int) -> Tensor:
    """At most so many places int64 [n] where the mask bool [N] is true, by torch's generator."""
    places = mask.nonzero()[:, 0]
    if len(places) <= most:
        return places
    return places[torch.randperm(len(places), device=mask.device)[:most]]


def sample_regions(proposals: Tensor, truth: Tensor, config: InstanceConfig) -> Sampled:
    """Draw what the heads learn from: true boxes are appended to the proposals, so photos with people have positives.

    Positive above `roi_iou`; at most `roi_share` of `rois`, filled up with background. Positives come first.
    """
    boxes = torch.cat([proposals, truth])
    person = torch.full((len(boxes),), -1, dtype=torch.int64, device=boxes.device)
    if len(truth):
        best, of = overlaps(boxes, truth).max(1)
        person = torch.where(best > config.roi_iou, of, person)
    positive = draw(person >= 0, int(config.rois * config.roi_share))
    kept = torch.cat([positive, draw(person < 0, config.rois - len(positive))])
    return Sampled(boxes[kept], person[kept])


class Proposals(NamedTuple):
    """What the proposal network says of a batch."""

    anchors: Tensor  # float [A,4], the same for every image
    scores: Tensor  # float [B,A], logits
    offsets: Tensor  # float [B,A,4]
    boxes: list[Tensor]  # float [N_b,4] behind suppression, best first, without gradient


class ProposalNet(nn.Module):
    """A 3x3 convolution and two 1x1 heads shared by the levels: is there a person, and how far off is the anchor."""

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__()
        self.config = config
        width, n = config.pyramid, len(config.anchor_ratios)
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.score = nn.Conv2d(width, n, 1)
        self.offset = nn.Conv2d(width, 4 * n, 1)
        for part in (self.conv, self.score, self.offset):
            nn.init.normal_(part.weight, std=0.01)
            nn.init.zeros_(cast(Tensor, part.bias))

    def forward(self, levels: Sequence[Tensor], size: Sequence[int]) -> Proposals:
        """Propose boxes for photos of `size` (height, width)."""
        config, anchors, scores, offsets = self.config, [], [], []
        for level, stride, side in zip(levels, (*STRIDES, 64), config.anchor_sizes, strict=False):
            hidden = F.relu(self.conv(level))
            # boxes keep all their digits where the rest is computed in half precision
            like = level.new_zeros(0, dtype=torch.promote_types(level.dtype, torch.float32))
            anchors.append(make_anchors(level.shape[-2:], stride, side, config.anchor_ratios, like))
            scores.append(self.score(hidden).permute(0, 2, 3, 1).flatten(1).to(like))
            offsets.append(self.offset(hidden).permute(0, 2, 3, 1).reshape(len(level), -1, 4).to(like))
        with torch.no_grad():
            boxes = [self._select(anchors, *rows, size) for rows in zip(zip(*scores), zip(*offsets))]  # noqa: B905
        return Proposals(torch.cat(anchors), torch.cat(scores, 1), torch.cat(offsets, 1), boxes)

    def _select(
        self, anchors: Sequence[Tensor], scores: Sequence[Tensor], offsets: Sequence[Tensor], size: Sequence[int]
    ) -> Tensor:
        """The best boxes of one image: the best anchors of each level, suppressed level by level."""
        before, after = (pair[0 if self.training else 1] for pair in (self.config.rpn_before, self.config.rpn_after))
        boxes, values, level = [], [], []
        for number, (own, score, offset) in enumerate(zip(anchors, scores, offsets, strict=True)):
            best, places = score.topk(min(before, len(score)))
            made = clip(decode(offset[places], own[places], PLAIN), size)
            there = (made[:, 2:] - made[:, :2] > SMALLEST).all(1)
            boxes.append(made[there])
            values.append(best[there])
            level.append(torch.full_like(best[there], number))
        joined, ranks = torch.cat(boxes), torch.cat(values)
        return joined[suppress(joined, ranks, self.config.rpn_nms, torch.cat(level))[:after]]

    def losses(self, proposals: Proposals, truths: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Score and offset loss, each float []; the mean over the sampled anchors of the batch."""
        config, scores, goals, offsets, wanted = self.config, [], [], [], []
        for image, truth in enumerate(truths):
            label, person = match_anchors(proposals.anchors, truth, config.rpn_iou)
            positive = draw(label == 1, config.rpn_samples // 2)
            negative = draw(label == 0, config.rpn_samples - len(positive))
            both = torch.cat([positive, negative])
            scores.append(proposals.scores[image, both])
            goals.append(label[both])
            offsets.append(proposals.offsets[image, positive])
            wanted.append(encode(truth[person[positive]], proposals.anchors[positive], PLAIN))
        logits = torch.cat(scores).float()
        objectness = F.binary_cross_entropy_with_logits(logits, torch.cat(goals).to(logits.dtype))
        coded = F.smooth_l1_loss(torch.cat(offsets).float(), torch.cat(wanted).float(), beta=BETA, reduction="sum")
        return objectness, coded / max(1, len(logits))


class BoxHead(nn.Module):
    """RoIAlign, convolutions, one hidden layer; two logits (background, person) and four offsets a region."""

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__()
        self.config, width = config, config.pyramid
        layers: list[nn.Module] = []
        for _ in range(config.box_convs):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers)
        self.hidden = nn.Linear(width * config.box_size**2, config.box_hidden)
        self.score = nn.Linear(config.box_hidden, 2)
        self.offset = nn.Linear(config.box_hidden, 4)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.bias)

    def forward(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits float [N,2] and offsets float [N,4] of the images' boxes in order."""
        config = self.config
        pooled = pool_single(levels[:4], boxes, config.box_size, config.canonical, config.samples)
        hidden = F.relu(self.hidden(self.convs(pooled).flatten(1)))
        return self.score(hidden), self.offset(hidden)

    def losses(
        self, logits: Tensor, offsets: Tensor, regions: Sequence[Sampled], truths: Sequence[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Class and offset loss, each float []; means over the batch's regions, offsets of the positives alone."""
        person = torch.cat([region.person for region in regions])
        goals = [
            encode(truth[region.person[region.person >= 0]], region.boxes[region.person >= 0])
            for region, truth in zip(regions, truths, strict=True)
        ]
        classes = F.cross_entropy(logits.float(), (person >= 0).long())
        coded = F.smooth_l1_loss(offsets[person >= 0].float(), torch.cat(goals).float(), beta=BETA, reduction="sum")
        return classes, coded / max(1, len(person))

    @torch.no_grad()
    def detect(self, logits: Tensor, offsets: Tensor, boxes: Tensor, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Boxes float [M,4] and scores float [M] of one image's people, best first: scored, moved, suppressed."""
        config = self.config
        scores = logits.softmax(1)[:, 1]
        moved = clip(decode(offsets, boxes), size)
        kept = (scores > config.score) & (moved[:, 2:] - moved[:, :2] > SMALLEST).all(1)
        moved, scores = moved[kept], scores[kept]
        best = suppress(moved, scores, config.nms)[: config.detections]
        return moved[best], scores[best]
