"""People of a photo: what is annotated of each of them, and what a parser says of each.

Label maps of a person or of a set of parts are kept as cut-outs, so that a photo with a hundred detections costs the
area of their boxes and not a hundred photos.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.labels import BACKGROUND, IGNORE


class PersonMap(NamedTuple):
    """One person's label map, cut out of the photo; what lies outside is background.

    labels uint8 [h,w] class ids, 0 = background; `top`, `left` its corner in the photo; score: any finite number.
    """

    labels: np.ndarray
    top: int
    left: int
    score: float


class PartMap(NamedTuple):
    """Part instances that do not overlap, cut out of the photo.

    ids int [h,w]: 0 = nothing, i >= 1 the part whose class is `classes[i - 1]` and whose score is `scores[i - 1]`.
    """

    ids: np.ndarray
    top: int
    left: int
    classes: np.ndarray  # int [n]
    scores: np.ndarray  # float64 [n]


@dataclass(frozen=True, eq=False)
class PeopleResult:
    """What a parser says of a photo; None for what it does not say.

    classes uint8 [H,W] semantic map; people: a map a person, which may overlap; parts: part instances, in one map where
    they do not overlap, else in several; persons uint8 [H,W]: whose each pixel is, 0 or a place in `people` plus 1.
    """

    classes: np.ndarray | None = None
    people: tuple[PersonMap, ...] | None = None
    parts: tuple[PartMap, ...] | None = None
    persons: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class PeopleTruth:
    """What is annotated of a photo: classes uint8 [H,W] and person ids uint8 [H,W], 0 = nobody, 255 = ignore in both.

    Person ids need not run without gaps. Raises UserError when the two maps differ in size.
    """

    classes: np.ndarray
    persons: np.ndarray

    def __post_init__(self) -> None:
        if self.classes.shape != self.persons.shape or self.classes.ndim != 2:
            shapes = f"{list(self.classes.shape)} and {list(self.persons.shape)}"
            raise UserError(f"class and person map have the shapes {shapes}; they must be two maps of one size")

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.classes.shape[0]), int(self.classes.shape[1])

    @property
    def ids(self) -> tuple[int, ...]:
        """The person ids with at least one pixel, ascending."""
        return tuple(int(index) for index in np.unique(self.persons) if index not in (BACKGROUND, IGNORE))

    def boxes(self) -> np.ndarray:
        """Boxes float64 [P,4] of `ids`: left, top, right, bottom in pixels, right and bottom exclusive."""
        return mask_boxes(self.persons, self.ids)

    def person(self, index: int) -> np.ndarray:
        """One person's label map uint8 [H,W]: its classes, other people background; 255 where either map says so."""
        labels = np.where(self.persons == index, self.classes, BACKGROUND)
        return np.where((self.classes == IGNORE) | (self.persons == IGNORE), IGNORE, labels).astype(np.uint8)

    def parts(self, n_ids: int) -> np.ndarray:
        """Visible pixels int64 [P,n_ids] of every class of every person, in the order of `ids`."""
        slots = np.zeros(256, np.int64)
        slots[list(self.ids)] = np.arange(1, len(self.ids) + 1)
        counted = (self.classes < n_ids) & (self.persons != IGNORE)
        cells = slots[self.persons[counted]] * n_ids + self.classes[counted]
        return np.bincount(cells, minlength=(len(self.ids) + 1) * n_ids).reshape(-1, n_ids)[1:]


def mask_boxes(mask: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """Boxes float64 [P,4] (left, top, right, bottom; the last two exclusive) of some ids of a map [H,W].

    Raises UserError for an id without a pixel, whose box would have no area.
    """
    boxes = np.zeros((len(ids), 4))
    for row, index in enumerate(ids):
        here = mask == index
        down, across = np.flatnonzero(here.any(1)), np.flatnonzero(here.any(0))
        if not len(down):
            raise UserError(f"person {index} has no pixel, so its box has no area; leave such ids out")
        boxes[row] = across[0], down[0], across[-1] + 1, down[-1] + 1
    return boxes


def check_boxes(boxes: np.ndarray, what: str) -> None:
    """Raise UserError unless boxes float [P,4] are finite and have an area."""
    for row, box in enumerate(np.asarray(boxes, np.float64).reshape(-1, 4)):
        if not (np.isfinite(box).all() and box[2] > box[0] and box[3] > box[1]):
            sides = ", ".join(f"{value:g}" for value in box)
            raise UserError(f"box {row + 1} of {what} is ({sides}), which has no area; give left < right, top < bottom")


def box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union float64 [P,Q] of boxes [P,4] and [Q,4]; 0 where neither has an area."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(-1)
    areas = [np.clip(some[:, 2:] - some[:, :2], 0, None).prod(-1) for some in (boxes, others)]
    union = areas[0][:, None] + areas[1][None] - both
    return np.divide(both, union, out=np.zeros_like(both), where=union > 0)


def crowdedness(boxes: np.ndarray) -> np.ndarray:
    """Largest IoU float64 [P] of each person's box [P,4] with another person's; 0 for a person alone."""
    overlaps = box_iou(boxes, boxes)
    np.fill_diagonal(overlaps, 0.0)
    return overlaps.max(1, initial=0.0)


def cut_out(labels: np.ndarray, score: float = 1.0) -> PersonMap:
    """A person's map of a label map uint8 [H,W]: cut to the labels that are not background (possibly to nothing)."""
    down, across = np.flatnonzero(labels.any(1)), np.flatnonzero(labels.any(0))
    if not len(down):
        return PersonMap(np.zeros((0, 0), np.uint8), 0, 0, float(score))
    top, left = int(down[0]), int(across[0])
    return PersonMap(labels[top : down[-1] + 1, left : across[-1] + 1], top, left, float(score))


def whole_map(person: PersonMap, size: tuple[int, int]) -> np.ndarray:
    """A cut-out put back into a photo of `size` (height, width): uint8 [H,W]."""
    labels = np.zeros(size, np.uint8)
    height, width = person.labels.shape
    labels[person.top : person.top + height, person.left : person.left + width] = person.labels
    return labels
