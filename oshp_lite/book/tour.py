"""Notebook 00's pictures: a typical drawn pair, all pairs of street photos in trousers, hits and misses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.assets import photos
from oshp_lite.book.typical import FOLD, SHOWN, Person, draw_person, episode_of, typical_pair
from oshp_lite.labels import label_space
from oshp_lite.predict import Parser
from oshp_lite.viz.images import Colours, enlarge, overlay
from oshp_lite.viz.panels import add_legend, ids_in
from oshp_lite.viz.style import new_figure, show_image

SEED, PEOPLE = 2026, 12
"""The scenes of the tour; no network of the book was trained on them."""
GARMENT = "pants"
SMALLEST = 0.06
"""Share of a street photo that its trousers must cover to count as worn in sight."""

_PALETTE = np.zeros((256, 3), np.uint8)
_PALETTE[1:4] = [(60, 160, 80), (40, 90, 200), (240, 150, 30)]
OUTCOMES = Colours(_PALETTE, {1: "in both", 2: "missed", 3: "added"})


class Example(NamedTuple):
    """A parsed pair: the two people, the ids that the network gives the query (int64 [256,256]), the other people."""

    support: Person
    query: Person
    parse: NDArray[np.int64]
    people: list[Person]


class StreetPair(NamedTuple):
    """Two street photos by name, and the IoU of the trousers that were parsed in the query."""

    iou: float
    support: str
    query: str


def k_way(network: Any, support: Person, query: Person) -> NDArray[np.int64]:
    """Parse a drawn query into all classes of the support's mask: ids int64 [256,256]."""
    with torch.inference_mode():
        ids = network.predict(episode_of(query, support).batched()).ids[0]
    return np.asarray(enlarge(ids, (SHOWN, SHOWN)), np.int64)


def example(network: Any, seed: int = SEED) -> Example:
    """Draw people and parse the pair of median quality among those that share six classes, one of them novel."""
    people = [draw_person(index, seed) for index in range(PEOPLE)]
    query, support = (people[index] for index in typical_pair(network, people, FOLD, shared=6))
    return Example(support, query, k_way(network, support, query), people)


def example_figure(made: Example) -> Figure:
    """Draw the example: the support with its mask, the bare query, the parse, and the true parts."""
    masks = (made.support.mask.numpy(), None, made.parse, made.query.mask.numpy())
    titles = ("given: one marked photo", "given: another photo", "the network's parse", "the true parts")
    figure, axes = new_figure(1, 4, width=2.1, height=2.75)
    for number, (place, mask, title) in enumerate(zip(axes[0], masks, titles, strict=True)):
        photo = made.query.photo if number else made.support.photo
        show_image(place, photo if mask is None else overlay(photo, mask, FOLD.space), title)
    add_legend(figure, FOLD.space, ids_in(*masks), columns=8)
    return figure


def trousers(name: str) -> NDArray[np.uint8]:
    """Mark the trousers of a street photo: uint8 [H,W], 1 or 0. UserError for an unknown name."""
    return (photos.mask(name) == label_space("ccp-os").id_of(GARMENT)).astype(np.uint8)


def overlap(predicted: NDArray[Any], true: NDArray[Any]) -> float:
    """Return the IoU of two regions, bool [H,W], in [0,1]; 0 where both are empty."""
    return float((predicted & true).sum() / max((predicted | true).sum(), 1))


def street_pairs(network: Any, names: Sequence[str] = ()) -> list[StreetPair]:
    """Parse the trousers in every ordered pair of street photos (of `names`) that have some, the worst pair first."""
    worn = [name for name in names or photos.names() if trousers(name).mean() > SMALLEST]
    pairs = []
    for support in worn:
        parser = Parser(network).support(photos.photo(support), trousers(support))
        for query in worn:
            if query != support:
                found = parser.parse(photos.photo(query)).mask == 1
                pairs.append(StreetPair(overlap(found, trousers(query) == 1), support, query))
    return sorted(pairs)


def networks_figure(networks: Mapping[str, Any], pair: StreetPair) -> Figure:
    """Draw a pair of street photos: the marked support, the parse by each network (name -> network), the truth."""
    shown, true = photos.photo(pair.query), trousers(pair.query)
    panels = [("marked support", photos.photo(pair.support), trousers(pair.support))]
    for name, network in networks.items():
        parser = Parser(network).support(photos.photo(pair.support), trousers(pair.support))
        parse = parser.parse(shown).mask
        panels.append((f"trained on\n{name}:\nIoU {overlap(parse == 1, true == 1):.2f}", shown, parse))
    colours = Colours(parser.palette, {1: GARMENT})
    figure, axes = new_figure(1, len(panels) + 1, width=1.7, height=3.9)
    for place, (title, photo, mask) in zip(axes[0], [*panels, ("truth", shown, true)], strict=True):
        show_image(place, overlay(photo, mask, colours), title)
    return figure


def street_chart(pairs: Sequence[StreetPair], marked: Sequence[StreetPair] = ()) -> Figure:
    """Draw the IoU of all pairs, a row for each support; a ring marks the pairs that the text discusses."""
    names = sorted({pair.support for pair in pairs})
    figure, axes = new_figure(width=6.4, height=2.3)
    place = axes[0, 0]
    place.plot([pair.iou for pair in pairs], [names.index(pair.support) for pair in pairs], "o", color="#1f78b4")
    for pair in marked:
        ring = {"markersize": 13, "markerfacecolor": "none", "markeredgecolor": "#b3361e", "markeredgewidth": 1.6}
        place.plot(pair.iou, names.index(pair.support), "o", **ring)
    place.axvline(float(np.median([pair.iou for pair in pairs])), color="0.4", ls="--", marker="")
    place.set_yticks(range(len(names)), [f"support {name}" for name in names])
    place.set(xlabel="IoU of the trousers in each query (dashed: median of all pairs)", xlim=(0, 1))
    place.set_ylim(len(names) - 0.5, -0.5)
    return figure


def outcome_of(predicted: NDArray[Any], true: NDArray[Any]) -> NDArray[np.uint8]:
    """Sort the pixels of two regions, bool [H,W]: uint8 ids of OUTCOMES, 0 where neither is."""
    return np.select([predicted & true, true, predicted], [1, 2, 3], 0).astype(np.uint8)
