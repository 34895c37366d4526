"""The procedural people of notebooks 03 and 04: a typical pair, chosen by a rule and not by eye, and a gallery."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.assets import CHECKPOINT, photos
from oshp_lite.book.people import shot_of
from oshp_lite.book.widgets.source import GivenPhotos, Source
from oshp_lite.data.dataset import Sample
from oshp_lite.data.episode import Episode
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.labels import Fold, LabelSpace, fold, label_space
from oshp_lite.models.modules.prototypes import shrink_mask
from oshp_lite.viz.panels import ids_in

FOLD = fold("synth-atr", 1)
"""The fold of the shipped network."""
SHOWN, SEEN = 256, 128
"""Pixels a side at which a person is drawn for the reader, and at which the shipped network reads them."""


class Person(NamedTuple):
    """A photo uint8 [H,H,3] with its kept classes and its foreground, both int64 [H,H]; drawn people at 256."""

    photo: NDArray[np.uint8]
    mask: Tensor
    foreground: Tensor


def draw_person(index: int, seed: int = 1) -> Person:
    """Draw procedural person `index` of a seed."""
    photo, mask, foreground = shot_of(index, SHOWN, seed)
    return Person(photo.numpy(), mask, foreground)


def street_pair(support: str, query: str) -> tuple[Person, Person, LabelSpace]:
    """Return two of the book's street photos on black squares, support first, and their label space."""
    space = label_space("ccp-os")

    def on_square(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
        side = array.shape[0] - array.shape[1]
        return np.pad(array, [(0, 0), (side // 2, side - side // 2)] + [(0, 0)] * (array.ndim - 2))

    made = []
    for name in (support, query):
        mask = torch.from_numpy(on_square(photos.mask(name))).long()
        made.append(Person(on_square(photos.photo(name)), mask, (mask > 0).long()))
    return made[0], made[1], space


def as_seen(photo: NDArray[np.uint8], size: int = SEEN) -> Tensor:
    """Turn a photo uint8 [H,W,3] into what the network reads: float [3,size,size] in [-1,1]."""
    image = torch.tensor(photo).permute(2, 0, 1)[None].float() / 127.5 - 1
    return F.interpolate(image, (size, size), mode="bilinear", antialias=True, align_corners=False)[0]


def episode_of(query: Person, support: Person) -> Episode:
    """One episode, unbatched, at the size at which the network reads."""
    step = SHOWN // SEEN
    mask, foreground = (one[::step, ::step] for one in (support.mask, support.foreground))
    return Episode(as_seen(query.photo), as_seen(support.photo), mask, foreground)


@dataclass(kw_only=True)
class _Gathered(Source):
    """People as the explorers look at them, each brought to the network's size as in the notebooks' episodes."""

    people: Sequence[Person]

    def tensors(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a photo as the network sees it: image float [3,H,W], mask and foreground int64 [H,W]."""
        if index not in self._tensors:
            seen = episode_of(self.people[index], self.people[index])
            self._tensors[index] = seen.support_image, seen.support_mask, seen.support_foreground
        return self._tensors[index]


def source_of(parser: Any, people: Sequence[Person]) -> Source:
    """Let the explorers look at drawn people with a network of synth-atr's first fold."""
    given = GivenPhotos(
        "drawn people", FOLD.space, [Sample(*(np.asarray(one, np.uint8) for one in person)) for person in people]
    )
    return _Gathered(parser=parser, dataset=given, fold=FOLD, size=(SEEN, SEEN), people=people)


def typical_pair(parser: Any, people: Sequence[Person], fold: Fold, shared: int = 7) -> tuple[int, int]:
    """Return (query, support) of the middle pair: half of the others parse their novel class better, half worse.

    Candidates share `shared` classes at least, one of them novel and no smaller than 1 % of the query photo; they are
    ordered by the IoU of that class in the network's own prediction.
    """
    scored = []
    for query, support in permutations(range(len(people)), 2):
        both = set(ids_in(people[query].mask)) & set(ids_in(people[support].mask))
        novel = [c for c in both & set(fold.novel) if (people[query].mask == c).float().mean() > 0.01]
        if len(both) >= shared and novel:
            scored.append((_iou(parser, people[query], people[support], novel[0]), query, support))
    if not scored:
        raise ValueError(f"no two of {len(people)} people share {shared} classes, one of them novel")
    return sorted(scored)[len(scored) // 2][1:]


@torch.inference_mode()
def _iou(parser: Any, query: Person, support: Person, class_id: int) -> float:
    """Return a class's IoU in the network's prediction for one pair."""
    predicted = parser.predict(episode_of(query, support).batched()).ids[0] == class_id
    true = query.mask[:: SHOWN // SEEN, :: SHOWN // SEEN] == class_id
    return float((predicted & true).sum() / (predicted | true).sum())


class Gallery(NamedTuple):
    """People as the shipped network sees them: features float [N,D,h,w] of the fine space, cells int64 [N,h,w]."""

    people: list[Person]
    features: Tensor
    cells: Tensor


@torch.inference_mode()
def gallery_of(parser: Any, people: Sequence[Person]) -> Gallery:
    """Encode people once, for everything that only compares features."""
    features = [parser.fine_projection(parser.encoder(as_seen(one.photo)[None]))[0] for one in people]
    size = features[0].shape[1:]
    return Gallery(
        list(people), torch.stack(features), torch.stack([shrink_mask(one.mask[None], size)[0] for one in people])
    )


@cache
def shipped_gallery(count: int, seed: int = 1) -> Gallery:
    """Encode the first `count` people of a seed with the shipped network, once in a session."""
    parser = load_parser(CHECKPOINT)
    return gallery_of(parser, [draw_person(index, seed) for index in range(count)])
