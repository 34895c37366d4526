"""Two photos and a mask: cut the classes that a person marked in the first photo out of the second one.

The marked ids are the user's own. An id that is not named is novel: its prototype is the mean of the marked pixels. An
id that is mapped to a class the checkpoint knows ("1=hat") is compared with a mixture of that class's stored prototype
and the marked pixels (`STORED_SHARE`). Where the support's whole person is given, its unmarked pixels are one more
class, which competes for the query's pixels and is background in the result, and the person's prototypes come from the
given foreground alone; without it the stored ones stand in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.engine.checkpoint import load_parser, pick_device
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace, label_space
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.modules.prototypes import PrototypeBank, shrink_mask
from oshp_lite.models.registry import method

STORED_SHARE = 0.75
"""Share of the stored prototype in that of a named class; the marked pixels have the rest."""
STRIDE = 16
"""The encoders' deepest stride: a photo below it has no feature cell of its own."""
CELL = 4
"""Side of a feature cell in pixels, at the size the network sees."""
RELEASED = {18: ("atr",), 20: ("lip", "cihp")}
"""Number of ids of a released checkpoint -> the label spaces it may have."""
_REST = -1
"""The support person's unmarked pixels, beside the user's ids."""
_COLOURS = [(230, 60, 60), (50, 120, 220), (250, 190, 40), (70, 170, 90), (160, 90, 220), (240, 130, 190)]
_COLOURS += [(30, 160, 170), (200, 120, 60), (140, 150, 170), (120, 190, 60), (90, 70, 160), (220, 160, 130)]


@dataclass(frozen=True)
class PhotoParsing:
    """A parsed photo: `mask` uint8 [H,W] of the user's own ids at the query's size, colours and names, and remarks."""

    mask: np.ndarray
    palette: np.ndarray
    names: dict[int, str]
    remarks: tuple[str, ...]


def load_network(path: str | Path, device: str = "cpu", labels: str | None = None) -> OneShotModel:
    """A checkpoint of ours (safetensors), or a released one (.pth, .pt, .tar), ready to predict.

    What the file says of itself stands in `.record`. `labels` names a released one's label space, since LIP and CIHP
    share their number of ids. UserError for a missing, damaged or foreign file, device or labels that do not fit.
    """
    place = pick_device(device, "--device")
    if Path(path).suffix not in {".pth", ".pt", ".tar"}:
        if labels is not None:
            raise UserError(f"{path} records its label space; leave --labels out")
        return load_parser(path, place)
    from oshp_lite.models.eopnet import EOPNet

    try:
        network = EOPNet.from_official(path)
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path} cannot be used: {error}") from None
    spaces = RELEASED.get(network.n_ids, ())
    if labels is None and len(spaces) == 1:
        labels = spaces[0]
    if labels not in spaces:
        fitting = f"say --labels {' or '.join(spaces)}" if spaces else "no label space of the papers has so many"
        raise UserError(f"{path} is a released checkpoint of {network.n_ids} ids; {fitting}")
    network.record = CheckpointRecord("eopnet", {}, network.way, network.n_ids, str(labels), channels="bgr", size=512)
    return network.to(place).eval()


def parse_pair(
    network: OneShotModel,
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

    Raises UserError for masks that are empty, do not fit, hold too many ids or too small regions, and for a network
    whose weights are not finite.
    """
    record = cast(CheckpointRecord, network.record)
    if not method(record.method).one_shot:
        raise UserError("this checkpoint is a plain segmenter, not a one-shot network; name another with --weights")
    _check(support_image, support_mask, query_image, support_foreground)
    named = dict(classes or {})
    ids = [int(value) for value in np.unique(support_mask) if value not in (0, IGNORE)]
    if len(ids) >= network.n_ids:
        most = network.n_ids - 1
        raise UserError(f"the support mask holds {len(ids)} ids, this checkpoint can tell {most} apart; use fewer")
    size = record.size if isinstance(record.size, int) else max(record.size)
    remarks = [f"the network sees the photos at up to {size} pixels"]
    device = next(network.parameters()).device
    query, support = (_picture(image, size, record.channels) for image in (query_image, support_image))
    marked = _resized(support_mask, support.shape[-2:])
    lost = sorted(set(ids) - _cells(marked))
    if lost:
        raise UserError(
            f"class {lost[0]} of the support mask is smaller than one feature cell ({CELL}x{CELL} pixels of the "
            f"{marked.shape[1]}x{marked.shape[0]} the network sees); mark more of it or crop the photo to the person"
        )
    person = ((marked != 0) & (marked != IGNORE)).long()
    if support_foreground is not None:
        whole = _resized(support_foreground, support.shape[-2:])
        marked = torch.where((marked == 0) & (whole == 1), _REST, marked)
        person = torch.where(person == 1, 1, whole)
    elif screening and network.coarse_prototypes() is not None:
        remarks.append("foreground: the checkpoint's stored coarse prototypes (no --support-foreground given)")
    space = label_space(record.space)
    network, slots = _prepared(network, ids, named, space, rest=_REST in _cells(marked))
    episode = Episode(query, support, marked, person).to(device)
    margins, coarse = _margins(network, episode, slots, stored=support_foreground is None)
    mask = _decide(margins, coarse if screening else None, slots, query_image.shape[:2])
    if not mask.any():
        remarks.append(
            "no pixel of the query was labelled: nothing there is closer to a marked class than to the background; "
            "mark more of the class, choose a clearer support photo or say --no-screening"
        )
    names = {index: named.get(index, f"class {index}") for index in ids}
    return PhotoParsing(mask, _palette(ids, slots, named, space), names, tuple(remarks))


def _check(support_image: np.ndarray, support_mask: np.ndarray, query_image: np.ndarray, foreground: Any) -> None:
    for name, mask in (("support mask", support_mask), ("support foreground", foreground)):
        if mask is not None and mask.shape != support_image.shape[:2]:
            mine, photo = _sides(mask), _sides(support_image)
            raise UserError(f"the {name} is {mine} pixels but the support photo is {photo}; give one of the same size")
    ignored = "holds nothing but 255, which means ignore; use 1"
    if not ((support_mask != 0) & (support_mask != IGNORE)).any():
        why = ignored if (support_mask == IGNORE).any() else "is empty; mark at least one class with an id from 1 on"
        raise UserError(f"the support mask {why}")
    for name, image in (("query", query_image), ("support", support_image)):
        if min(image.shape[:2]) < STRIDE:
            raise UserError(
                f"the {name} photo is {_sides(image)} pixels, the network's stride alone is {STRIDE}; give a larger one"
            )
    if foreground is not None:
        wrong = np.setdiff1d(foreground, (0, 1, IGNORE))
        if wrong.size:
            raise UserError(f"the support foreground holds the value {wrong[0]}; it may hold 0, 1 (person) and 255")
        if not (foreground == 1).any():
            why = ignored if (foreground == IGNORE).any() else "is empty; mark the whole person with 1"
            raise UserError(f"the support foreground {why}")


def _sides(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _prepared(
    network: OneShotModel, ids: list[int], named: dict[int, str], space: LabelSpace, *, rest: bool
) -> tuple[OneShotModel, dict[int, int]]:
    """A copy of the network for these classes, and {user id: network id}, in order, the rest of the person last.

    A named class has its own id there, any other one whose stored prototype is empty, or is emptied in the copy. The
    copy shares all weights but the stored prototypes; nothing is written into the network.
    """
    unknown = sorted(set(named) - set(ids))
    if unknown:
        raise UserError(f"--classes names id {unknown[0]}, which the support mask does not hold; it holds {ids}")
    taken: dict[int, int] = {}
    for index, name in named.items():
        slot = space.kept_as[space.id_of(name)]
        if slot == 0 or slot in taken.values():
            raise UserError(f"--classes {index}={name}: this class is dropped or named twice; leave it unmapped")
        taken[index] = slot
    stored = network.prototype_bank()
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers()) if tensor is not stored}
    network = copy.deepcopy(network, shared)
    bank = network.prototype_bank()
    free = [slot for slot in range(1, network.n_ids) if slot not in taken.values()]
    if bank is not None:
        free.sort(key=lambda slot: (bool(bank[slot].any()), slot))
    novel = [index for index in ids if index not in taken]
    if rest and len(novel) < len(free):
        novel.append(_REST)
    slots = {**taken, **dict(zip(novel, free, strict=False))}
    if bank is not None:
        with torch.no_grad():
            bank[[slots[index] for index in novel]] = 0
    for part in network.modules():
        if isinstance(part, PrototypeBank):  # a foreground that is given counts alone
            part.momentum = STORED_SHARE if part.rows is bank else 0.0
    return network, {index: slots[index] for index in (*ids, _REST) if index in slots}


def _margins(
    network: OneShotModel, episode: Episode, slots: dict[int, int], *, stored: bool
) -> tuple[Tensor, Tensor | None]:
    """Logits of the classes over background, float [K,h,w] in the order of `slots`; coarse ones [2,h,w] or None."""
    marked, options = episode.support_mask, {}
    prototypes = network.coarse_prototypes()
    if prototypes is not None:
        if stored and not bool(prototypes[1].any()):
            raise UserError("this checkpoint stores no coarse prototypes; mark the person with --support-foreground")
        options = {"stored_foreground": stored, "compute_agm": False}
    margins: list[Tensor] = []
    ignored = torch.where(marked == IGNORE, IGNORE, 0)
    with torch.no_grad():
        if network.way == "1":
            for index, slot in slots.items():
                mask, target = ignored + (marked == index).long(), torch.tensor(slot, device=marked.device)
                one = replace(episode, support_mask=mask, class_ids=target)
                parsing = network(one.batched(), **options)
                margins.append(parsing.fine[0, 1] - parsing.fine[0, 0])
        else:
            mask = ignored
            for index, slot in slots.items():
                mask[marked == index] = slot
            parsing = network(replace(episode, support_mask=mask).batched(), **options)
            margins = [parsing.fine[0, slot] - parsing.fine[0, 0] for slot in slots.values()]
    stacked = torch.stack(margins)
    if not bool(torch.isfinite(stacked).all()):
        raise UserError("the network's output is not finite: its weights are damaged; train it again or name another")
    return stacked, None if parsing.coarse is None else parsing.coarse[0]


def _decide(margins: Tensor, coarse: Tensor | None, ids: Iterable[int], size: tuple[int, int]) -> np.ndarray:
    """The class with the largest margin over background, at the photo's own size; uint8 [H,W]."""
    best, winner = F.interpolate(margins[None].float(), size=size, mode="bilinear", align_corners=False)[0].max(0)
    table = torch.tensor([max(index, 0) for index in ids], device=winner.device)
    mask = torch.where(best > 0, table[winner], 0)
    if coarse is not None:
        person = F.interpolate(coarse[None].float(), size=size, mode="bilinear", align_corners=False)[0]
        mask = mask * (person[1] > person[0])
    return mask.cpu().numpy().astype(np.uint8)


def _picture(image: np.ndarray, size: int, channels: str) -> Tensor:
    """Photo as float [3,h,w] in [-1,1], its longer side at most `size`, sides at least one stride."""
    array = image[:, :, ::-1] if channels == "bgr" else image
    tensor = torch.from_numpy(np.array(array)).permute(2, 0, 1)[None].float()
    factor = size / max(image.shape[:2])
    shape = [max(STRIDE, round(side * factor)) for side in image.shape[:2]]
    if shape != [*image.shape[:2]]:
        tensor = F.interpolate(tensor, size=shape, mode="bilinear", antialias=True).clamp(0, 255)
    return tensor[0] * 2 / 255 - 1


def _resized(mask: np.ndarray, shape: torch.Size) -> Tensor:
    """Mask as int64 [h,w], nearest neighbour."""
    tensor = torch.from_numpy(np.array(mask)).float()[None, None]
    return F.interpolate(tensor, size=tuple(shape), mode="nearest-exact")[0, 0].long()


def _cells(marked: Tensor) -> set[int]:
    """The values of a mask int64 [h,w] that its feature cells hold."""
    return set(shrink_mask(marked[None], [math.ceil(side / CELL) for side in marked.shape]).unique().tolist())


def _palette(ids: list[int], slots: dict[int, int], named: Mapping[int, str], space: LabelSpace) -> np.ndarray:
    palette = np.full((256, 3), 128, np.uint8)
    palette[0], palette[IGNORE] = 0, 236
    for number, index in enumerate(index for index in ids if index not in named):
        palette[index] = _COLOURS[number % len(_COLOURS)]
    for index in named:
        palette[index] = space.class_palette[slots[index]]
    return palette
