"""Two photos and a mask: cut the classes that a person marked in the first photo out of the second one.

The marked ids are the user's own. One that is mapped to a class the checkpoint knows ("1=hat") is compared with that
class's stored prototype as well; every other one is novel: its prototype comes from the marked pixels alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace, label_space
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.modules.prototypes import shrink_mask
from oshp_lite.models.registry import method

STRIDE = 16
"""The encoders' deepest stride: a photo below it has no feature cell of its own."""
CELL = 4
"""Side of a feature cell in pixels, at the size the network sees."""
_FREE_COLOURS: tuple[tuple[int, int, int], ...] = (
    (230, 60, 60),
    (50, 120, 220),
    (250, 190, 40),
    (70, 170, 90),
    (160, 90, 220),
    (240, 130, 190),
)
_FREE_COLOURS += ((30, 160, 170), (200, 120, 60), (140, 150, 170), (120, 190, 60), (90, 70, 160), (220, 160, 130))


@dataclass(frozen=True)
class PhotoParsing:
    """A parse: `mask` uint8 [H,W] of the user's own ids at the query's size, their colours and names, and remarks."""

    mask: np.ndarray
    palette: np.ndarray
    names: dict[int, str]
    remarks: tuple[str, ...]


def load_network(path: str | Path, device: str = "cpu") -> OneShotModel:
    """A checkpoint of ours (safetensors), or one in the official code's form (.pth, .pt, .tar), ready to predict.

    What the file says stands in `.record`. Raises UserError for a missing, damaged or foreign file.
    """
    if Path(path).suffix not in {".pth", ".pt", ".tar"}:
        return load_parser(path, device)
    from oshp_lite.models.eopnet import EOPNet

    try:
        net = EOPNet.from_official(path)
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path} cannot be used: {error}") from None
    space = {18: "atr"}.get(net.config.n_ids, "lip")
    net.record = CheckpointRecord("eopnet", {}, net.way, net.n_ids, space, channels="bgr", size=512)
    return net.to(device).eval()


def parse_pair(
    parser: OneShotModel,
    support_image: np.ndarray,
    support_mask: np.ndarray,
    query_image: np.ndarray,
    *,
    classes: Mapping[int, str] | None = None,
    support_foreground: np.ndarray | None = None,
    screening: bool = True,
) -> PhotoParsing:
    """Parse the query with the classes marked in the support.

    support_image, query_image  uint8 [H,W,3] RGB, any sizes; the network sees them at the size it was trained with
    support_mask                uint8 [H,W] of the user's ids, 0 = none of them, 255 = no statement
    classes                     user id -> class name of the checkpoint's label space; ids not named are novel
    support_foreground          uint8 [H,W] in {0,1,255}, the whole person; None: the stored coarse prototypes stand in
    screening                   set pixels outside the predicted person to 0

    Raises UserError for masks that are empty, do not fit, hold too many ids or too small regions.
    """
    record = _record(parser)
    if not method(record.method).one_shot:
        raise UserError("this checkpoint is a plain segmenter, not a one-shot parser; name another with --weights")
    _check(support_image, support_mask, query_image, support_foreground)
    ids = [int(value) for value in np.unique(support_mask) if value not in (0, IGNORE)]
    space = label_space(record.space)
    parser, slots = _with_slots(parser, ids, dict(classes or {}), space)
    size = _side(record.size)
    remarks = [f"the network sees the photos at up to {size} pixels"]
    if support_foreground is None and screening:
        remarks.append("foreground: the checkpoint's stored coarse prototypes (no --support-foreground given)")
    device = next(parser.parameters()).device
    query = _picture(query_image, size, record.channels).to(device)
    support = _picture(support_image, size, record.channels).to(device)
    marked = _resized(support_mask, support.shape[-2:])
    _check_cells(marked, ids)
    person = (marked != 0) & (marked != IGNORE)
    if support_foreground is not None:
        whole = _resized(support_foreground, support.shape[-2:])
        person = torch.where(person, 1, whole)
    margins, coarse = _forward(
        parser, query, support, marked.to(device), person.long().to(device), slots, support_foreground is None
    )
    answer = _decide(margins, coarse if screening else None, ids, query_image.shape[:2])
    names = {index: (classes or {}).get(index, f"class {index}") for index in ids}
    return PhotoParsing(answer, _palette(ids, slots, classes or {}, space), names, tuple(remarks))


def _record(parser: OneShotModel) -> CheckpointRecord:
    """What the weights file says, which `load_parser` leaves on a network."""
    return cast(CheckpointRecord, parser.record)


def _check(
    support_image: np.ndarray, support_mask: np.ndarray, query_image: np.ndarray, foreground: np.ndarray | None
) -> None:
    height, width = support_image.shape[:2]
    for name, mask in (("support mask", support_mask), ("support foreground", foreground)):
        if mask is not None and mask.shape != (height, width):
            raise UserError(
                f"the {name} is {mask.shape[1]}x{mask.shape[0]} pixels but the support photo is {width}x{height}; "
                "they must have the same size"
            )
    if not ((support_mask != 0) & (support_mask != IGNORE)).any():
        raise UserError("the support mask is empty; mark at least one class with an id from 1 on")
    for name, image in (("query", query_image), ("support", support_image)):
        if min(image.shape[:2]) < STRIDE:
            raise UserError(
                f"the {name} photo is {image.shape[1]}x{image.shape[0]} pixels, smaller than the network's stride of "
                f"{STRIDE}; give a larger one"
            )
    if foreground is not None:
        wrong = np.setdiff1d(foreground, (0, 1, IGNORE))
        if wrong.size:
            raise UserError(f"the support foreground holds the value {wrong[0]}; it may hold 0, 1 (person) and 255")
        if not (foreground == 1).any():
            raise UserError("the support foreground has no pixel of value 1; mark the whole person with 1")


def _with_slots(
    parser: OneShotModel, ids: list[int], classes: dict[int, str], space: LabelSpace
) -> tuple[OneShotModel, dict[int, int]]:
    """Give each user id a channel of the network: the named class's own, else one whose stored prototype is empty.

    Where those run out, a copy of the network forgets the prototype of another channel.
    """
    unknown = sorted(set(classes) - set(ids))
    if unknown:
        raise UserError(f"--classes names id {unknown[0]}, which the support mask does not hold; it holds {ids}")
    n_ids = _record(parser).n_ids
    slots: dict[int, int] = {}
    for index, name in classes.items():
        slot = space.kept_as[space.id_of(name)]
        if slot == 0 or slot in slots.values():
            raise UserError(f"--classes {index}={name}: this class is dropped or named twice; leave it unmapped")
        slots[index] = slot
    bank = parser.prototype_bank()
    taken = set(slots.values())
    free = [slot for slot in range(1, n_ids) if slot not in taken]
    if bank is not None:
        free.sort(key=lambda slot: (bool(bank[slot].any()), slot))
    novel = [index for index in ids if index not in slots]
    if len(novel) > len(free):
        raise UserError(f"the support mask holds {len(ids)} ids, this checkpoint can tell {n_ids - 1} apart; use fewer")
    slots |= dict(zip(novel, free, strict=False))
    if bank is not None and any(bool(bank[slots[index]].any()) for index in novel):
        parser = copy.deepcopy(parser)
        with torch.no_grad():
            cast(Tensor, parser.prototype_bank())[[slots[index] for index in novel]] = 0
    return parser, slots


def _forward(
    parser: OneShotModel,
    query: Tensor,
    support: Tensor,
    marked: Tensor,
    person: Tensor,
    slots: dict[int, int],
    stored: bool,
) -> tuple[Tensor, Tensor | None]:
    """Scores of the user's classes over background, float [K,h,w], and the coarse logits float [2,h,w] or None."""
    options: dict[str, Any] = {}
    stored_rows = parser.coarse_prototypes()
    if stored_rows is not None:
        if stored and not bool(stored_rows[1].any()):
            raise UserError("this checkpoint stores no coarse prototypes; mark the person with --support-foreground")
        options = {"stored_foreground": stored, "compute_agm": False}
    one_way = _record(parser).way == "1"
    ids = list(slots)
    with torch.no_grad():
        if not one_way:
            mask = torch.zeros_like(marked)
            for index, slot in slots.items():
                mask[marked == index] = slot
            mask[marked == IGNORE] = IGNORE
            parsing = parser(Episode(query, support, mask, person).batched(), **options)
            fine = parsing.fine[0]
            margins = torch.stack([fine[slots[index]] - fine[0] for index in sorted(ids)])
        else:
            found = []
            for index in sorted(ids):
                mask = torch.where(marked == IGNORE, IGNORE, (marked == index).long())
                asked = torch.tensor(slots[index], device=marked.device)
                parsing = parser(Episode(query, support, mask, person, class_ids=asked).batched(), **options)
                found.append(parsing.fine[0, 1] - parsing.fine[0, 0])
            margins = torch.stack(found)
    return margins, None if parsing.coarse is None else parsing.coarse[0]


def _decide(margins: Tensor, coarse: Tensor | None, ids: list[int], size: tuple[int, int]) -> np.ndarray:
    """The class with the largest margin over background, at the photo's own size; uint8 [H,W]."""
    whole = F.interpolate(margins[None].float(), size=size, mode="bilinear", align_corners=False)[0]
    best, winner = whole.max(0)
    table = torch.tensor(sorted(ids), device=winner.device)
    answer = torch.where(best > 0, table[winner], 0)
    if coarse is not None:
        seen = F.interpolate(coarse[None].float(), size=size, mode="bilinear", align_corners=False)[0]
        answer = answer * (seen[1] > seen[0])
    return answer.cpu().numpy().astype(np.uint8)


def _picture(image: np.ndarray, size: int, channels: str) -> Tensor:
    """Photo as float [3,h,w] in [-1,1], its longer side at most `size`, sides at least one stride."""
    array = image[:, :, ::-1] if channels == "bgr" else image
    tensor = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float()
    height, width = image.shape[:2]
    factor = size / max(height, width)
    shape = (max(STRIDE, round(height * factor)), max(STRIDE, round(width * factor)))
    if shape != (height, width):
        tensor = F.interpolate(tensor, size=shape, mode="bilinear", antialias=True).clamp(0, 255)
    return tensor[0] * 2 / 255 - 1


def _resized(mask: np.ndarray, shape: torch.Size) -> Tensor:
    """Mask as int64 [h,w], nearest neighbour."""
    tensor = torch.from_numpy(np.array(mask)).float()[None, None]
    return F.interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0, 0].long()


def _check_cells(marked: Tensor, ids: list[int]) -> None:
    cells = shrink_mask(marked[None], [math.ceil(side / CELL) for side in marked.shape])
    present = set(cells.unique().tolist())
    lost = [index for index in ids if index not in present]
    if lost:
        raise UserError(
            f"class {lost[0]} of the support mask is smaller than one feature cell ({CELL}x{CELL} pixels of the "
            f"{marked.shape[1]}x{marked.shape[0]} the network sees); mark more of it or crop the photo to the person"
        )


def _side(size: Any) -> int:
    return int(size) if isinstance(size, int | float) else int(max(size))


def _palette(ids: list[int], slots: dict[int, int], classes: Mapping[int, str], space: LabelSpace) -> np.ndarray:
    palette = np.full((256, 3), 128, np.uint8)
    palette[0], palette[IGNORE] = 0, 236
    novel = 0
    for index in ids:
        if index in classes:
            palette[index] = space.class_palette[slots[index]]
        else:
            palette[index] = _FREE_COLOURS[novel % len(_FREE_COLOURS)]
            novel += 1
    return palette
