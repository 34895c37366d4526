"""Photos parsed from one or more marked ones: supports are encoded once, then serve any number of queries."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace, label_space
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.matching.network import Matching
from oshp_lite.models.modules.feature_cache import digest
from oshp_lite.predict.confidence import Place, calibration, clearness, evidence, place_of
from oshp_lite.predict.decide import chances_of, decide, probabilities
from oshp_lite.predict.heads import REST, Encoded, Head, View, can_find_people, find_person
from oshp_lite.predict.maps import Maps
from oshp_lite.predict.matching import MatchedHead, ParsedPhotos
from oshp_lite.predict.naming import check_names, named, names_by_id
from oshp_lite.predict.network import is_one_shot
from oshp_lite.predict.photos import (
    CELL,
    Box,
    box_of,
    cells,
    check_size,
    check_support,
    framed,
    inside,
    marked_ids,
    person_box,
    read_ids,
    resized,
    surrounded,
    whole,
)

COLOURS = [(230, 60, 60), (50, 120, 220), (250, 190, 40), (70, 170, 90), (160, 90, 220), (240, 130, 190)]
COLOURS += [(30, 160, 170), (200, 120, 60), (140, 150, 170), (120, 190, 60), (90, 70, 160), (220, 160, 130)]
"""Colours of the classes that a user names, in order of their ids."""
OFF_PERSON = 0.1
"""A class is said to touch nothing where less than this share of its pixels is on the person."""
JUDGED = 1024
"""Longer side, in pixels, of the largest maps that a confidence is made of."""
TAKEN = "{} is taken for what the network knows as {}; if that is wrong, name its class: --classes {}=NAME"
NOT_THERE = (
    "no pixel of the query was labelled: the class is probably not there; if it is, mark more of it, choose another "
    "support photo or name it with --classes"
)
NOTHING = (
    "no pixel of the query was labelled: nothing there is closer to a marked class than to the background; "
    "mark more of the class, choose a clearer support photo or say --no-screening"
)


@dataclass(frozen=True)
class ParseOptions:
    """How photos are parsed; each default is what measured best on CCP (`study.photos`; the record is photos.json).

    crop       find the person first, cut photo and support to the person and parse that; without a person, all of it
    pad        fill narrow photos up to the proportions that the network was trained with, by their own edge
    mirror     average with the parse of the mirrored photo (no class may then tell left from right)
    screening  pixels outside the predicted person become 0
    rest       the support person's unmarked pixels compete, and are background in the result; the person is the given
               one, else the one the network sees
    rivals     classes that the checkpoint knows and no support shows compete too and are background in the result
    drop_unlikely  leave out the pixels of a class that is probably not in the photo: fewer false marks, and IoU lost
               where the class is there; otherwise a remark says so
    scores     give probabilities too
    size       longer side in pixels at which the network sees a photo; None: the size it was trained with
    """

    crop: bool = True
    pad: bool = True
    mirror: bool = True
    screening: bool = True
    rest: bool = True
    rivals: bool = False
    drop_unlikely: bool = False
    scores: bool = False
    size: int | None = None


@dataclass(frozen=True)
class PhotoParsing:
    """A parsed photo.

    mask        uint8 [H,W] of the user's own ids at the photo's size, with `palette` uint8 [256,3] and `names`
    remarks     what the user should know, a sentence each
    confidence  user id -> how likely it is that the photo shows the class, in [0,1]
    unlikely    ids below the threshold ("probably not in this photo")
    box         the part of the photo that was parsed
    scores      float16 [K,H,W], probabilities of the ids in the order of `names`; None unless requested
    evidence    user id -> what the confidence was made of (`predict.confidence`)
    """

    mask: np.ndarray
    palette: np.ndarray
    names: dict[int, str]
    remarks: tuple[str, ...]
    confidence: dict[int, float] = field(default_factory=dict)
    unlikely: tuple[int, ...] = ()
    box: Box | None = None
    scores: np.ndarray | None = None
    evidence: dict[int, np.ndarray] = field(default_factory=dict)


def frame_of(record: CheckpointRecord) -> tuple[int, int]:
    """Height and width of the photos a checkpoint was trained with."""
    return (record.size, record.size) if isinstance(record.size, int) else (record.size[0], record.size[1])


class Parser:
    """A network with supports; `Parser(network).support(photo, mask).parse(other)`.

    finder  the network that finds people for one that cannot (None: the network itself)
    """

    def __init__(
        self, network: OneShotModel, options: ParseOptions | None = None, *, finder: OneShotModel | None = None
    ) -> None:
        self.record = cast(CheckpointRecord, network.record)
        if not is_one_shot(network):
            raise UserError("this checkpoint is a plain segmenter, not a one-shot network; name another with --weights")
        self.network, self.options = network, options or ParseOptions()
        self.space: LabelSpace = label_space(self.record.space)
        own = network if can_find_people(network) else None
        self.finder = own or (finder if finder is not None and can_find_people(finder) else None)
        self.encoded: Encoded | ParsedPhotos | None = None
        if isinstance(network, (EOPNet, Matching)):
            self.encoded = Encoded(network) if isinstance(network, EOPNet) else ParsedPhotos(network)
        self.views: list[View] = []
        self.classes: dict[int, str] = {}
        self.names: dict[int, str] = {}
        self._places: dict[int, list[Place]] = {}
        self._remarks: list[str] = []
        self._head: Head | MatchedHead | None = None
        self._clear: dict[int, np.ndarray] = {}

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width at which the network sees a photo: those it was trained with, or as `size` has it."""
        high, wide = frame_of(self.record)
        longest = self.options.size or max(high, wide)
        return round(high * longest / max(high, wide)), round(wide * longest / max(high, wide))

    @property
    def aspect(self) -> float:
        """Width over height of the photos the network was trained on."""
        return self.frame[1] / self.frame[0]

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next((tensor.device for tensor in self.network.parameters()), torch.device("cpu"))

    def support(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        *,
        foreground: np.ndarray | None = None,
        classes: Mapping[int, str] | None = None,
        names: Mapping[int, str] | Sequence[str] | None = None,
    ) -> Parser:
        """Add a marked photo; returns the parser. Supports that show one id pool their pixels into one prototype.

        image       uint8 [H,W,3] RGB of any size
        mask        uint8 [H,W] of the user's ids, 0 = none of them, 255 = no statement; one that holds only 0 and 255
                    is black and white, and its white is class 1
        foreground  uint8 [H,W] in {0,1,255}, the whole person (or 0 and 255 alone); None: the network looks for it
        classes     id -> class name of the checkpoint's label space; ids not named are novel
        names       id -> what to call it in results, or the names of this mask's ids in ascending order; the others are
                    called "class ID"

        Raises UserError for masks that are empty, do not fit, hold too many ids or too small regions, and for names
        that are too many or too few; `head` raises it for names of ids that no support holds and for equal names.
        """
        mask, flat = read_ids(mask)
        if foreground is not None:
            foreground, _ = read_ids(foreground)
        check_support(image, mask, foreground)
        marked = (mask != 0) & (mask != IGNORE)
        wanted = set(marked_ids(mask))
        called = names_by_id(names or {}, wanted)
        known = wanted | self._marked()
        if len(known) >= self.network.n_ids:
            most = self.network.n_ids - 1
            raise UserError(
                f"the support mask holds {len(known)} ids, this checkpoint can tell {most} apart; use fewer"
            )
        box, options = whole(image), self.options
        given = foreground is not None
        if options.crop:
            person = foreground == 1 if foreground is not None else self._person(image)
            around = person_box(person, image.shape[:2], self.aspect)
            if around is not None:
                box = around.joined(cast(Box, box_of(marked, image.shape[:2])))
        seen, inner = framed(box.of(image), self.frame, self.record.channels, pad=options.pad)
        ids = resized(box.of(mask), torch.Size(inner.shape))
        lost = sorted(wanted - set(cells(ids).unique().tolist()))
        if lost:
            raise UserError(
                f"{named(lost[0], called)} of the support mask is smaller than one feature cell ({CELL}x{CELL} pixels "
                f"of the {ids.shape[1]}x{ids.shape[0]} the network sees); mark more of it or crop the photo to the "
                "person"
            )
        body = ((ids != 0) & (ids != IGNORE)).long()
        place_on = body.bool().numpy()
        if foreground is not None:
            everyone = resized(box.of(foreground), torch.Size(inner.shape))
        else:
            everyone = None
            if self.finder is not None:
                everyone = self._on_person(box.of(image), seen, inner).long()
        if everyone is not None:
            place_on = place_on | (everyone == 1).numpy()
            self._say_off_person(ids, everyone, {index: named(index, called) for index in sorted(wanted)})
            if options.rest:
                ids = torch.where((ids == 0) & (everyone == 1), REST, ids)
            if given:
                body = torch.where(body == 1, 1, everyone)
        marks, people = (surrounded(one, inner, seen.shape[-2:]).to(self.device) for one in (ids, body))
        self.views.append(View(seen.to(self.device), marks, people, given))
        for index in wanted:
            place = place_of((ids == index).numpy(), place_on)
            self._places.setdefault(index, []).extend([place] if place is not None else [])
        self.classes |= dict(classes or {})
        self.names |= called
        if flat:
            self._say("the support mask holds only 0 and 255: its white is class 1")
        if not given and options.screening and self.network.coarse_prototypes() is not None:
            self._say("foreground: the checkpoint's stored coarse prototypes (no --support-foreground given)")
        self._head = None
        return self

    def _say_off_person(self, ids: Tensor, everyone: Tensor, wanted: Mapping[int, str]) -> None:
        """Remark on classes whose marked pixels hardly touch the person."""
        for index, name in wanted.items():
            if float((everyone[ids == index] == 1).float().mean()) < OFF_PERSON:
                self._say(f"{name} of the support hardly touches the person; screening may remove it")

    def _say(self, remark: str) -> None:
        if remark not in self._remarks:
            self._remarks.append(remark)

    def _person(self, image: np.ndarray) -> np.ndarray | None:
        """Where the person is in a photo, bool [h,w] at the finder's size; None for a network that finds no people."""
        if self.finder is None:
            return None
        record = cast(CheckpointRecord, self.finder.record)
        seen, inner = framed(image, frame_of(record), record.channels, pad=self.options.pad)
        known = {} if self.encoded is None else self.encoded.people
        key = digest(seen)
        if key not in known:
            known[key] = inside(self._found(self.finder, seen), inner).cpu().numpy()
        return known[key]

    def _found(self, finder: OneShotModel, seen: Tensor) -> Tensor:
        """Where the finder sees the person, bool [h,w]; one that parses without supports remembers what it parsed."""
        seen = seen.to(self.device)
        if finder is self.network and isinstance(self.encoded, ParsedPhotos):
            return self.encoded.person(seen)
        own = self.encoded if finder is self.network and isinstance(self.encoded, Encoded) else None
        return find_person(finder, seen, own)

    def _on_person(self, image: np.ndarray, seen: Tensor, inner: Box) -> Tensor:
        """The person in a cropped photo, bool [h,w] at the size at which the network sees it."""
        if self.finder is self.network:
            return inside(self._found(self.network, seen), inner).cpu()
        person = torch.from_numpy(cast(np.ndarray, self._person(image)).astype(np.float32))[None, None]
        return F.interpolate(person, size=inner.shape, mode="bilinear", align_corners=False)[0, 0] > 0.5

    @property
    def ids(self) -> list[int]:
        """The user's ids, in the order of results."""
        return [index for index in self.head.slots if index > 0]

    @property
    def called(self) -> dict[int, str]:
        """What each id is called in results, in their order: by `names`, else by `classes`, else "class ID"."""
        return self._called(self.ids)

    def _called(self, ids: Iterable[int]) -> dict[int, str]:
        return {index: self.names.get(index) or self.classes.get(index, f"class {index}") for index in ids}

    def _marked(self) -> set[int]:
        """The user's ids that the supports hold."""
        return {index for view in self.views for index in view.marked.unique().tolist() if 0 < index < IGNORE}

    @property
    def head(self) -> Head | MatchedHead:
        """The network set up for the supports. Raises UserError where there is none, or where names do not fit."""
        if not self.views:
            raise UserError("there is no support yet; give a photo and its mask")
        if self._head is None:
            marked = self._marked()
            check_names(self.names | self._called(marked), marked)
            if isinstance(self.encoded, ParsedPhotos):
                self._head = MatchedHead(self.encoded, self.views, self.classes, self.space)
            else:
                how = {"rest": self.options.rest, "rivals": self.options.rivals}
                self._head = Head(self.network, self.views, self.classes, self.space, **how, encoded=self.encoded)
            self._clear = self._own_clearness(self._head)
        return self._head

    def _own_clearness(self, head: Head | MatchedHead) -> dict[int, np.ndarray]:
        """How clearly each class's marked pixels win in the supports themselves, the mean over supports."""
        values: dict[int, list[np.ndarray]] = {}
        for view in self.views:
            chances = chances_of(head(view.picture).pixels(most=JUDGED).margins)
            marked = resized(view.marked.cpu().numpy(), torch.Size(chances.shape[1:])).numpy()
            for channel, index in enumerate(head.slots):
                region = marked == index
                if index > 0 and region.any():
                    values.setdefault(index, []).append(clearness(chances[channel], region))
        return {index: np.mean(rows, axis=0) for index, rows in values.items()}

    def parse(self, photo: np.ndarray) -> PhotoParsing:
        """Parse a photo uint8 [H,W,3] RGB of any size from 16 pixels on. Raises UserError."""
        check_size(photo, "query")
        head, options = self.head, self.options
        box = (person_box(self._person(photo), photo.shape[:2], self.aspect) if options.crop else None) or whole(photo)
        seen, inner = framed(box.of(photo), self.frame, self.record.channels, pad=options.pad)
        seen = seen.to(self.device)
        maps = head(seen)
        if options.mirror:
            maps = maps.mean(head(seen.flip(-1)).mirrored())
        return self._decided(photo, box, maps.inside(inner))

    def _decided(self, photo: np.ndarray, box: Box, maps: Maps) -> PhotoParsing:
        options, slots = self.options, list(self.head.slots)
        names = self.called
        part = decide(maps, slots, box.shape, screening=options.screening)
        mask = np.zeros(photo.shape[:2], np.uint8)
        box.of(mask)[...] = part
        remarks = [f"the network sees the photos at up to {max(self.frame)} pixels", *self._remarks]
        if options.crop and box.shape != photo.shape[:2]:
            share = box.shape[0] * box.shape[1] / (photo.shape[0] * photo.shape[1])
            remarks.append(f"the photo was cut to the person ({share:.0%} of it) before it was parsed")
        if isinstance(self.head, MatchedHead):
            remarks += [TAKEN.format(names[index], known, index) for index, known in self.head.taken_for.items()]
        confidence, proofs = self._confidence(maps.pixels(most=JUDGED), slots)
        threshold = calibration(self.record.method).threshold
        unlikely = tuple(i for i in names if i in proofs and confidence[i] < threshold)
        if not mask.any():
            remarks.append(NOTHING if isinstance(self.head, Head) else NOT_THERE)
        for index in unlikely:
            kept = "; its pixels were left out" if options.drop_unlikely else ""
            remarks.append(f"{names[index]}: probably not in this photo (confidence {confidence[index]:.2f}){kept}")
        if options.drop_unlikely:
            mask[np.isin(mask, unlikely)] = 0
        how = {"screening": options.screening}
        scores = probabilities(maps, slots, box, (photo.shape[0], photo.shape[1]), **how) if options.scores else None
        return PhotoParsing(mask, self.palette, names, tuple(remarks), confidence, unlikely, box, scores, proofs)

    def _confidence(self, maps: Maps, slots: list[int]) -> tuple[dict[int, float], dict[int, np.ndarray]]:
        """Confidence and evidence of every id by maps of pixels; an id without one has confidence 0 and no evidence."""
        small = decide(maps, slots, maps.part.shape, screening=self.options.screening)
        chances = chances_of(maps.logits)
        person = small > 0
        if maps.coarse is not None:
            person = person | (maps.coarse[1] > maps.coarse[0]).cpu().numpy()
        proofs: dict[int, np.ndarray] = {}
        for channel, index in enumerate(slots):
            if index > 0 and (small == index).any() and self._places.get(index):
                places, clear = self._places[index], self._clear.get(index)
                proofs[index] = evidence(chances[channel], small == index, person, places, clear)
        judge = calibration(self.record.method)
        return {i: judge(proofs[i]) if i in proofs else 0.0 for i in slots if i > 0}, proofs

    @property
    def palette(self) -> np.ndarray:
        """The colours of the ids in results, uint8 [256,3]."""
        palette = np.full((256, 3), 128, np.uint8)
        palette[0], palette[IGNORE] = 0, 236
        for number, index in enumerate(index for index in self.ids if index not in self.classes):
            palette[index] = COLOURS[number % len(COLOURS)]
        for index in self.classes:
            palette[index] = self.space.class_palette[self.head.slots[index]]
        return palette
