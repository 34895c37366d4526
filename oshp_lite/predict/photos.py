"""Photos and masks on their way to a network: checks, the crop to the person, and tensors of the network's size."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE
from oshp_lite.errors import UserError
from oshp_lite.models.modules.prototypes import shrink_mask

STRIDE = 16
"""The encoders' deepest stride: a photo below it has no feature cell of its own."""
CELL = 4
"""Side of a feature cell in pixels, at the size the network sees."""
MARGIN = 0.1
"""A crop goes this share of the person's height and width beyond the person, as CCP's training photos do."""
TRIM = 0.005
"""Share of the person's pixels that may lie outside the box on each side: stray ones do not widen it."""
LEAST_PERSON = 0.01
"""Below this share of person pixels a photo is not cropped."""


NARROW = 0.6
"""Photos below this share of the frame's width over height are filled up: on the book's five tight crops with trousers
(share 0.4) the shipped network's IoU rises from 0.11 to 0.50 (20 pairs). No photo of `study.photos` is so narrow."""


class Box(NamedTuple):
    """Rows and columns of a photo, ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return self.bottom - self.top, self.right - self.left

    def of(self, array: np.ndarray) -> np.ndarray:
        """The part of an array [H,W,...] inside the box."""
        return array[self.top : self.bottom, self.left : self.right]

    def joined(self, other: Box) -> Box:
        """The smallest box that holds both."""
        first, last = (
            (min(self.top, other.top), min(self.left, other.left)),
            (max(self[1], other[1]), max(self[3], other[3])),
        )
        return Box(first[0], last[0], first[1], last[1])


def whole(image: np.ndarray) -> Box:
    """The box of the whole photo."""
    return Box(0, image.shape[0], 0, image.shape[1])


def box_of(mask: np.ndarray, size: tuple[int, int], margin: float = MARGIN, trim: float = 0.0) -> Box | None:
    """The box around the true pixels of a mask bool [h,w], in a photo of `size`, enlarged by `margin` on each side.

    `trim` is the share of the true pixels that may lie outside on each side. None for an empty mask.
    """
    if not mask.any():
        return None
    edges: list[int] = []
    for axis, side in enumerate(size):
        mass = np.cumsum(mask.sum(1 - axis)) / mask.sum()
        first, last = int(np.argmax(mass > trim)), int(np.argmax(mass >= 1 - trim - 1e-9)) + 1
        start, end = (edge * side / mask.shape[axis] for edge in (first, last))
        grow = margin * (end - start)
        edges += [max(0, math.floor(start - grow)), min(side, math.ceil(end + grow))]
    return Box(*edges)


def largest_region(mask: np.ndarray) -> np.ndarray:
    """The largest 8-connected region of a mask bool [h,w], bool [h,w]: stray patches beside the person go."""
    step = max(1, math.ceil(max(mask.shape) / 64))  # regions are told apart at 64 cells, which takes no time
    inside = F.max_pool2d(torch.from_numpy(mask.astype(np.float32))[None, None], step, ceil_mode=True)
    label = torch.arange(1, inside.numel() + 1, dtype=torch.float32).view_as(inside) * inside
    while True:  # each round carries a region's largest number 8 cells further
        wider = label
        for _ in range(8):
            wider = F.max_pool2d(wider, 3, 1, 1) * inside
        if torch.equal(wider, label):
            break
        label = wider
    numbers, counts = label[label > 0].unique(return_counts=True)
    if not len(numbers):
        return mask
    largest = (label[0, 0] == numbers[counts.argmax()]).numpy()
    return mask & largest.repeat(step, 0).repeat(step, 1)[: mask.shape[0], : mask.shape[1]]


def person_box(person: np.ndarray | None, size: tuple[int, int], aspect: float | None = None) -> Box | None:
    """The box to crop to, from a person mask bool [h,w] of any size; None when no person is found.

    aspect: width over height that a too narrow (or too low) box is widened to, as far as the photo goes: a network
    wants about the surroundings it was trained with.
    """
    if person is None or person.mean() < LEAST_PERSON:
        return None
    box = box_of(largest_region(person), size, trim=TRIM)
    if box is None or min(box.shape) < STRIDE:
        return None
    if aspect is None:
        return box
    high, wide = box.shape
    rows, columns = max(high, round(wide / aspect)), max(wide, round(high * aspect))
    return Box(*_widened(box.top, box.bottom, rows, size[0]), *_widened(box.left, box.right, columns, size[1]))


def _widened(first: int, last: int, length: int, most: int) -> tuple[int, int]:
    """An interval grown to `length` around its middle and moved into 0..most, which it cannot exceed."""
    length = min(length, most)
    start = min(max(0, (first + last - length) // 2), most - length)
    return start, start + length


def sides(image: np.ndarray) -> str:
    """Width x height in words."""
    return f"{image.shape[1]}x{image.shape[0]}"


def check_size(image: np.ndarray, name: str) -> None:
    """Raise UserError for a photo below the network's stride."""
    if min(image.shape[:2]) < STRIDE:
        raise UserError(
            f"the {name} photo is {sides(image)} pixels, the network's stride alone is {STRIDE}; give a larger one"
        )


def read_ids(mask: np.ndarray) -> tuple[np.ndarray, bool]:
    """A support mask uint8 [H,W] as ids, and whether it was black and white.

    A mask that holds 0 and 255 and nothing else is what paint programs save: its white is class 1.
    """
    values = np.unique(mask)
    if values.tolist() == [0, IGNORE]:
        return (mask == IGNORE).astype(np.uint8), True
    return mask, False


def marked_ids(mask: np.ndarray) -> list[int]:
    """The ids of the classes that a support mask uint8 [H,W] shows, black and white ones included."""
    return [int(index) for index in np.unique(read_ids(mask)[0]) if index not in (0, IGNORE)]


def check_support(image: np.ndarray, mask: np.ndarray, foreground: np.ndarray | None) -> None:
    """Raise UserError for masks that are empty, of another size than the photo, or hold values they may not."""
    for name, given in (("support mask", mask), ("support foreground", foreground)):
        if given is not None and given.shape != image.shape[:2]:
            mine, photo = sides(given), sides(image)
            raise UserError(f"the {name} is {mine} pixels but the support photo is {photo}; give one of the same size")
    ignored = "holds nothing but 255, which means ignore; use 1"
    if not ((mask != 0) & (mask != IGNORE)).any():
        why = ignored if (mask == IGNORE).any() else "is empty; mark at least one class with an id from 1 on"
        raise UserError(f"the support mask {why}")
    check_size(image, "support")
    if foreground is not None:
        wrong = np.setdiff1d(foreground, (0, 1, IGNORE))
        if wrong.size:
            raise UserError(f"the support foreground holds the value {wrong[0]}; it may hold 0, 1 (person) and 255")
        if not (foreground == 1).any():
            why = ignored if (foreground == IGNORE).any() else "is empty; mark the whole person with 1"
            raise UserError(f"the support foreground {why}")


def picture(image: np.ndarray, size: int, channels: str) -> Tensor:
    """Photo as float [3,h,w] in [-1,1], its longer side at most `size`, sides at least one stride."""
    factor = size / max(image.shape[:2])
    shape = [max(STRIDE, round(side * factor)) for side in image.shape[:2]]
    made = torch.empty(3, *shape)
    for channel in range(3):  # one after another: a photo as floating-point numbers is large
        tensor = torch.from_numpy(image[:, :, 2 - channel if channels == "bgr" else channel].astype(np.float32))
        if shape != [*image.shape[:2]]:
            tensor = F.interpolate(tensor[None, None], size=shape, mode="bilinear", antialias=True)[0, 0].clamp(0, 255)
        made[channel] = tensor * 2 / 255 - 1
    return made


def framed(image: np.ndarray, frame: tuple[int, int], channels: str, *, pad: bool = True) -> tuple[Tensor, Box]:
    """Photo as float [3,h,w] in [-1,1] fitted into a frame (height, width), and where it lies in what is returned.

    `pad` fits a photo wider than the frame into it, as in training, and fills the frame up with the photo's own edge;
    so it does for one narrower than NARROW of the frame, since a network that was trained on photos with surroundings
    sees little in one without any. Other photos, and all without `pad`, get the frame's longer side.
    """
    high, wide = image.shape[:2]
    if not pad or NARROW <= wide / high * frame[0] / frame[1] <= 1:
        seen = picture(image, max(frame), channels)
        return seen, Box(0, seen.shape[1], 0, seen.shape[2])
    seen = picture(image, max(1, round(max(high, wide) * min(frame[0] / high, frame[1] / wide))), channels)
    below, beside = (max(0, side - own) for side, own in zip(frame, seen.shape[1:], strict=True))
    around = (beside // 2, beside - beside // 2, below // 2, below - below // 2)
    inner = Box(around[2], around[2] + seen.shape[1], around[0], around[0] + seen.shape[2])
    return F.pad(seen[None], around, mode="replicate")[0], inner


def inside(values: Tensor, box: Box) -> Tensor:
    """The part of maps [...,h,w] inside a box."""
    return values[..., box.top : box.bottom, box.left : box.right]


def surrounded(mask: Tensor, box: Box, size: torch.Size) -> Tensor:
    """A mask int64 [h,w] at its place in a frame of `size`, 255 around it."""
    made = torch.full(tuple(size), IGNORE, dtype=mask.dtype)
    inside(made, box)[...] = mask
    return made


def resized(mask: np.ndarray, shape: torch.Size) -> Tensor:
    """Mask as int64 [h,w], nearest neighbour."""
    tensor = torch.from_numpy(np.array(mask)).float()[None, None]
    return F.interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0, 0].long()


def cells(marked: Tensor) -> Tensor:
    """A mask int64 [h,w] at the feature cells, int64 [ceil(h/4),ceil(w/4)]."""
    return shrink_mask(marked[None], [math.ceil(side / CELL) for side in marked.shape])[0]
