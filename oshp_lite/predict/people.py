"""Photos parsed person by person: a detector finds everybody, and each is parsed in a cut-out of its own.

Every person is seen at the network's own size, however small in the photo. What of the cut-out is this person and not a
neighbour is what the detector's attention branch says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch

from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, write_together
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.regions import paste
from oshp_lite.models.instance.rivals import BottomUpNet
from oshp_lite.predict.network import load_network
from oshp_lite.predict.parser import Parser, frame_of
from oshp_lite.predict.photos import MARGIN, picture
from oshp_lite.viz import overlay

LEAST = 0.3
"""Score from which a detection counts as a person, as in the semantic map of the instance-level parser."""
SMALLEST = 16
"""Sides in pixels below which a cut-out cannot be parsed."""


class ParsedPerson(NamedTuple):
    """One person of a photo: mask uint8 [H,W] of the user's ids, box (left, top, right, bottom) in pixels, score."""

    mask: np.ndarray
    box: tuple[float, float, float, float]
    score: float


class ParsedPeople(NamedTuple):
    """A photo's people, best first, and one map uint8 [H,W] of all, where the better-scored is on top."""

    people: list[ParsedPerson]
    mask: np.ndarray
    palette: np.ndarray
    names: dict[int, str]


def load_detector(path: Path | str, device: str = "cpu") -> RegionNet:
    """A trained instance-level parser, whose boxes and attention are used. UserError for another file or network."""
    network = load_network(path, device)
    if not isinstance(network, RegionNet) or isinstance(network, BottomUpNet):
        method = getattr(network.record, "method", "another method")
        raise UserError(f"{path} is a checkpoint of {method} that detects nobody; name one of method instance")
    return network


def parse_people(parser: Parser, detector: RegionNet, photo: np.ndarray, least: float = LEAST) -> ParsedPeople:
    """Parse everybody in a photo uint8 [H,W,3]. UserError where nobody is found."""
    size = (int(photo.shape[0]), int(photo.shape[1]))
    record = cast(CheckpointRecord, detector.record)
    seen = picture(photo, max(frame_of(record)), record.channels)[None].to(next(detector.parameters()).device)
    found = detector.detect(seen)[0]
    factor = found.boxes.new_tensor([size[1] / seen.shape[-1], size[0] / seen.shape[-2]] * 2)
    people: list[ParsedPerson] = []
    merged, palette, names = np.zeros(size, np.uint8), np.zeros((256, 3), np.uint8), dict[int, str]()
    for number, box in enumerate((found.boxes * factor).tolist()):
        score, (left, top, right, bottom) = float(found.scores[number]), _widened(box, size)
        if score < least or min(right - left, bottom - top) < SMALLEST:
            continue
        parsing = parser.parse(photo[top:bottom, left:right])
        mask = np.zeros(size, np.uint8)
        mask[top:bottom, left:right] = parsing.mask
        if found.attention is not None:
            mine = found.attention[number]
            inside = paste(torch.cat([1 - mine, mine]), box, size)
            own = np.zeros(size, bool)
            height, width = inside.labels.shape
            own[inside.top : inside.top + height, inside.left : inside.left + width] = inside.labels > 0
            mask[~own] = 0
        people.append(ParsedPerson(mask, cast("tuple[float, float, float, float]", tuple(box)), score))
        palette, names = parsing.palette, parsing.names
    if not people:
        raise UserError("nobody was detected in the photo; leave --people out to parse it as a whole")
    for person in reversed(people):
        merged[person.mask > 0] = person.mask[person.mask > 0]
    return ParsedPeople(people, merged, palette, names)


def _widened(box: list[float], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """A box with a margin on every side, in whole pixels inside the photo."""
    left, top, right, bottom = box
    across, down = MARGIN * (right - left), MARGIN * (bottom - top)
    low, high = (max(0, int(left - across)), max(0, int(top - down))), (right + across, bottom + down)
    return (*low, min(size[1], int(np.ceil(high[0]))), min(size[0], int(np.ceil(high[1]))))


def write_people(photo: np.ndarray, parsed: ParsedPeople, out: Path, place: Callable[[str], Path]) -> list[Path]:
    """Write the map of all, its overlay, and a mask for each person (indexed PNG), all or none; returns the paths.

    place  where a file lies, by the end of its name ("person1.png")
    """
    files = {out: encode_png(parsed.mask, parsed.palette)}
    files[place("overlay.png")] = encode_png(overlay(photo, parsed.mask, parsed.palette))
    for number, person in enumerate(parsed.people, 1):
        files[place(f"person{number}.png")] = encode_png(person.mask, parsed.palette)
    write_together(files)
    return list(files)
