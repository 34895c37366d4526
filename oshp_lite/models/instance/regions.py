"""From parsed boxes to a photo: probabilities are pasted, then the best class is taken.

The paper gives no algorithm ("without any post-processing"). These are the conventions of the public top-down parsers
(facts B.2); each is a named option.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.people import PartMap, PeopleResult, PersonMap
from oshp_lite.fields import bounded, check_fields


@dataclass(frozen=True)
class RegionRules:
    """How the parsed boxes of a photo become its maps, people and parts.

    least        score from which a box paints the semantic and the person map (0.3 on CIHP, 0.05 on MHP)
    people_least score from which a box counts as a person of AP^p and PCP
    order        who ends on top where boxes overlap: the best-scoring ("ascending" painting) or the worst-scoring
    unsure       pixels whose best class has a probability below 1 / K become background (QANet)
    people       AP^p and PCP judge each person's own map ("unmerged", Parsing R-CNN), or what the person map leaves of
                 it ("merged", as in MHP's submissions)
    parts        AP^r judges the parts of the merged maps, or those of the people's own maps, which may overlap
    part_score   box score, or that times the mean probability of the part's class in its pixels, or the latter alone
    """

    least: float = bounded(0.3, 0, 1)
    people_least: float = bounded(0.001, 0, 1)
    order: Literal["ascending", "descending"] = "ascending"
    unsure: bool = False
    people: Literal["unmerged", "merged"] = "unmerged"
    parts: Literal["merged", "unmerged"] = "merged"
    part_score: Literal["box", "box x class", "class"] = "box x class"

    def __post_init__(self) -> None:
        check_fields(self, "region rule ")


class Pasted(NamedTuple):
    """A parsed box in its photo: labels uint8 [h,w] and their probabilities float32 [h,w], corner, box score."""

    labels: np.ndarray
    chance: np.ndarray
    top: int
    left: int
    score: float


def paste(probabilities: Tensor, box: Sequence[float], size: tuple[int, int], score: float = 1.0) -> Pasted:
    """Read class probabilities float [K,s,s] of a box at the pixel centres inside it, and take the best class.

    box: left, top, right, bottom in pixels; what leaves the photo of `size` (height, width) is cut. Bilinear, cells of
    the border reach to the box's edge. A box that holds no pixel centre gives an empty map.
    """
    (left, top, right, bottom), (height, width) = box, size
    first = [max(0, int(np.ceil(low - 0.5))) for low in (left, top)]
    last = [min(most, int(np.ceil(high - 0.5))) for high, most in ((right, width), (bottom, height))]
    across, down = (torch.arange(a, max(a, b), device=probabilities.device) for a, b in zip(first, last, strict=True))
    if not (len(across) and len(down)):
        return Pasted(np.zeros((0, 0), np.uint8), np.zeros((0, 0), np.float32), 0, 0, score)
    grid = [2 * (at + 0.5 - low) / (high - low) - 1 for at, low, high in ((across, left, right), (down, top, bottom))]
    places = torch.stack(torch.broadcast_tensors(grid[0][None], grid[1][:, None]), -1)[None].to(probabilities.dtype)
    read = F.grid_sample(probabilities[None], places, mode="bilinear", padding_mode="border", align_corners=False)[0]
    chance, labels = read.max(0)
    where = first[1], first[0]
    return Pasted(labels.to(torch.uint8).cpu().numpy(), chance.float().cpu().numpy(), *where, score)


def assemble(regions: Sequence[Pasted], size: tuple[int, int], rules: RegionRules, n_classes: int) -> PeopleResult:
    """The semantic map, person map, people and parts of a photo, by the rules; people best first, as they come."""
    if rules.unsure:
        regions = [one._replace(labels=np.where(one.chance < 1 / n_classes, 0, one.labels)) for one in regions]
    regions = [one for one in regions if one.score >= rules.people_least]
    classes, persons = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
    painted = [number for number, one in enumerate(regions) if one.score >= rules.least]
    sign = 1 if rules.order == "ascending" else -1
    for number in sorted(painted, key=lambda number: (sign * regions[number].score, -sign * number)):
        one = regions[number]
        window = np.s_[one.top : one.top + one.labels.shape[0], one.left : one.left + one.labels.shape[1]]
        drawn = one.labels > 0
        classes[window][drawn] = one.labels[drawn]
        persons[window][drawn] = number + 1
    own = [(_remaining(one, persons, number + 1), one) for number, one in enumerate(regions)]
    people = tuple(
        PersonMap(labels if rules.people == "merged" else one.labels, one.top, one.left, one.score)
        for labels, one in own
    )
    parts = tuple(_parts(labels if rules.parts == "merged" else one.labels, one, rules) for labels, one in own)
    return PeopleResult(classes, people, parts, persons)


def _remaining(one: Pasted, persons: np.ndarray, number: int) -> np.ndarray:
    """The labels of a person where the person map is that person's."""
    window = persons[one.top : one.top + one.labels.shape[0], one.left : one.left + one.labels.shape[1]]
    return np.where(window == number, one.labels, 0).astype(np.uint8)


def _parts(labels: np.ndarray, one: Pasted, rules: RegionRules) -> PartMap:
    """The parts in one person's labels: one a class, connected by identity and not by geometry."""
    classes = np.unique(labels[labels > 0]).astype(np.int64)
    sizes = np.bincount(labels.ravel(), minlength=256)[classes]
    chances = np.bincount(labels.ravel(), one.chance.ravel(), 256)[classes] / np.maximum(sizes, 1)
    scores = {"box": np.full(len(classes), one.score), "class": chances, "box x class": one.score * chances}
    ids = np.where(labels > 0, np.searchsorted(classes, labels) + 1, 0)
    return PartMap(ids, one.top, one.left, classes, scores[rules.part_score])
