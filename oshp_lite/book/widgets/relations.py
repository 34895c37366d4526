"""Relatives of a class in another label set, as a universal network sees them, and its attention on the photo (SST).

Eqs. (7) to (9) of the SST paper, for one photo that both label sets describe. `RelationState` computes; the drawing in
the browser shows what `payload` holds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.widgets.browser import jpeg_uri, packed, ramp
from oshp_lite.book.widgets.canvas import BELOW, TITLE, colour_bar, fixed_figure, photo_axes, ringed
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer
from oshp_lite.data.synthetic import scene
from oshp_lite.errors import UserError
from oshp_lite.labels.whole import WholeSpace
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.sst.network import SST
from oshp_lite.models.sst.semantics import BLOCKED, SCALES, auxiliary_logits
from oshp_lite.models.sst.transfer import Mapping as Layer
from oshp_lite.models.sst.transfer import Semantics, Transfer
from oshp_lite.predict.parser import frame_of
from oshp_lite.predict.photos import picture
from oshp_lite.predict.universal import load_universal
from oshp_lite.viz import enlarge, heat_on_photo, style

RGB = NDArray[np.uint8]
MEASURES = {
    "static": "static prior",
    "dataset": "learnt, data set",
    "dynamic": "dynamic prior",
    "image": "learnt, image",
}
"""What weighs one class against those of another set: prior and attention of Eq. (8), then of Eq. (9)."""
STRIDES = (16, 8, 4)
"""Pixels of a cell at the three scales."""
LISTED = 5
"""Relatives that are listed."""
POSITIVE, NEGATIVE = "#5b7fa6", "#c77d3b"
"""Colours of the bars, in the browser (`js/relations.js`) and in the picture."""
SYNCED = ("of", "into", "class_id", "relative", "level")


class Shown(NamedTuple):
    """A photo uint8 [H,W,3] with its mask uint8 [H,W] by domain; a domain without one is parsed by the network."""

    photo: RGB
    masks: Mapping[str, NDArray[np.uint8]]


@dataclass
class RelationState:
    """What the explorer shows, without any widget.

    photos    photos to choose from; `index` is the present one
    of, into  the domain of the clicked class, and the one in which relatives are looked for
    class_id  the clicked class; `relative` the class of the other domain that is drawn beside it
    level     scale of the image whose dynamic prior and attention are listed: 0, 1, 2 for 1/16, 1/8, 1/4
    """

    network: SST
    photos: Sequence[Shown]
    index: int = 0
    of: str = ""
    into: str = ""
    class_id: int = 1
    relative: int = 0
    level: int = SCALES - 1
    cells: dict[str, NDArray[np.int64]] = field(init=False)
    known: dict[str, Semantics] = field(init=False)

    def __post_init__(self) -> None:
        """Begin with the first two linked domains. UserError for a network without modules or linked domains."""
        if not len(self.network.transfers):
            raise UserError("this network has no modules that link label sets; name a universal training with transfer")
        linked = next(iter(self.network.transfers)).split(">")
        self.of, self.into = self.of or linked[0], self.into or linked[1]
        self.choose(self.index)

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains, as the network names them."""
        return self.network.config.names

    def space(self, domain: str) -> WholeSpace:
        """The label space of a domain."""
        return cast(WholeSpace, self.network.config.space(domain))

    @torch.no_grad()
    def choose(self, index: int) -> None:
        """Take another photo: its features, and what MSA and MSE of every domain make of it."""
        self.index = min(max(0, index), len(self.photos) - 1)
        photo, masks = self.photos[self.index]
        record = cast(CheckpointRecord, self.network.record)
        image = picture(photo, max(frame_of(record)), record.channels)[None]
        self.maps = self.network.eval().features(image)
        self.cells, self.known = {}, {}
        for domain in self.domains:
            ids = masks.get(domain)
            if ids is None:
                truth = self.network.heads[domain](self.maps[-1]).argmax(1)
            else:
                truth = torch.from_numpy(enlarge(ids, (image.shape[-2], image.shape[-1]))).long()[None]
            self.known[domain] = self.network.semantics(domain, self.maps, truth)
            self.cells[domain] = enlarge(truth[0].numpy(), (self.maps[-1].shape[-2], self.maps[-1].shape[-1]))
        self.settle()

    def settle(self) -> None:
        """Bring the classes into range: a class of the photo where the present one is not in it."""
        there = self.present(self.of)
        if self.class_id not in there:
            areas = {c: int((self.cells[self.of] == c).sum()) for c in there}
            self.class_id = max(areas, key=areas.__getitem__) if areas else 1
        if not 0 < self.relative < self.space(self.into).n_raw:
            there = self.present(self.into)
            found = list(self.strongest("static"))
            self.relative = next((c for c in found if c in there), found[0])

    def linked(self, domain: str) -> list[str]:
        """Return the domains that the network links to one."""
        pairs = [key.split(">") for key in self.network.transfers]
        return [one for one in self.domains if [one, domain] in pairs or [domain, one] in pairs]

    def present(self, domain: str) -> list[int]:
        """Return the classes of a domain that the photo shows, the background left out."""
        return [c for c in self.known[domain].present[-1][0].nonzero()[:, 0].tolist() if c]

    @torch.no_grad()
    def attention(self, domain: str) -> Tensor:
        """Share of every class at every cell, float [Z,h,w]: softmax of the auxiliary logits F X_3^T (Eq. 7)."""
        return auxiliary_logits(self.maps[-1], self.known[domain].rows[-1])[0].softmax(0)

    @torch.no_grad()
    def relation(self, measure: str, of: str = "", into: str = "", level: int | None = None) -> Tensor:
        """How every class of one domain weighs those of another: float [Z_of,Z_into].

        "static" and "dynamic" are the priors of Eqs. (8) and (9), the latter at `level`, of any sign; "dataset" and
        "image" the attention beside them, rows that sum to 1: from which classes of `into` a class of `of` is rebuilt.
        """
        of, into, level = of or self.of, into or self.into, self.level if level is None else level
        ahead = f"{of}>{into}" in self.network.transfers
        key = f"{of}>{into}" if ahead else f"{into}>{of}"
        if key not in self.network.transfers:
            raise UserError(f"the network does not link {of} and {into}; it links {', '.join(self.network.transfers)}")
        transfer = cast(Transfer, self.network.transfers[key])
        mine, theirs = self.known[of], self.known[into]
        if measure == "static":
            return transfer.static.T if ahead else transfer.static
        if measure == "dynamic":
            pair = (mine, theirs) if ahead else (theirs, mine)
            prior = transfer.dynamic(level, *(one.pooled[level] for one in pair))[0]
            return prior.T if ahead else prior
        layers, place = (transfer.globally, 0) if measure == "dataset" else (transfer.maps, level + 1)
        layer = layers[0 if ahead else 1]
        layer = cast(Layer, layer if measure == "dataset" else layer[level])  # type: ignore[index]
        rows, columns = mine.rows[place][0], theirs.rows[place][0]
        logits = layer.query(rows) @ layer.key(columns).T / math.sqrt(rows.shape[1])
        if measure == "image":
            logits = logits.masked_fill(~theirs.present[level][0], BLOCKED)
        return logits.softmax(1)

    def strongest(self, measure: str, count: int = LISTED) -> dict[int, float]:
        """Return the strongest relatives of the class, and their weights; of an image only classes that it shows."""
        weights = self.relation(measure)[self.class_id].tolist()
        offered = self.present(self.into) if measure in ("dynamic", "image") else range(1, len(weights))
        return {c: weights[c] for c in sorted(offered, key=lambda c: -weights[c])[:count]}

    def idle(self) -> set[str]:
        """Return the controls that change nothing: none."""
        return set()

    def draw(self) -> Figure:
        """Draw the photo, the attention of class and relative, and the strongest relatives by each measure."""
        self.settle()
        photo, names = self.photos[self.index].photo, {one: self.space(one).names for one in (self.of, self.into)}
        figure, places = fixed_figure(3, 1, photo.shape[:2], right=4.3, below=0.45, width=2.1)
        where = self.cells[self.of] == self.class_id
        photo_axes(places[0], ringed(photo, where), f"{title_of(self.of)}: {names[self.of][self.class_id]}")
        chosen = ((self.of, self.class_id), (self.into, self.relative))
        for place, (domain, c) in zip(places[1:], chosen, strict=True):
            heat = heat_on_photo(photo, self.attention(domain)[c].numpy(), low=0.0, high=1.0)
            photo_axes(
                place, ringed(heat, self.cells[domain] == c), f"attention, {title_of(domain)}: {names[domain][c]}"
            )
            colour_bar(place, 0.0, 1.0)
        wide, high = figure.get_size_inches()
        tall = (high - 2 * TITLE - 1.5 * BELOW) / 2
        with style():
            for number, (measure, title) in enumerate(MEASURES.items()):
                row, column = divmod(number, 2)
                left, bottom = wide - 3.45 + 2.05 * column, high - (row + 1) * (tall + TITLE) - row * 0.5 * BELOW
                chart = figure.add_axes((left / wide, bottom / high, 1.15 / wide, tall / high))
                found = self.strongest(measure)
                chart.barh(
                    [names[self.into][c] for c in found],
                    list(found.values()),
                    color=[NEGATIVE if one < 0 else POSITIVE for one in found.values()],
                )
                chart.invert_yaxis()
                chart.tick_params(labelsize=7, length=0)
                chart.set_title(title, fontsize=8, loc="left", pad=3)
        return figure

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        pairs: dict[str, Any] = {}
        for key in self.network.transfers:
            for of, into in (key.split(">"), key.split(">")[::-1]):
                dynamic = [self.relation("dynamic", of, into, level) for level in range(SCALES)]
                most = [max(float(one.abs().max()), 1e-9) for one in dynamic]
                pairs[f"{of}>{into}"] = {
                    "static": [_bytes(self.relation("static", of, into))],
                    "dataset": [_bytes(self.relation("dataset", of, into))],
                    "dynamic": [packed(one / top) for one, top in zip(dynamic, most, strict=True)],
                    "most": most,
                    "image": [_bytes(self.relation("image", of, into, level)) for level in range(SCALES)],
                }
        return {
            "photo": jpeg_uri(self.photos[self.index].photo),
            "cells": list(self.maps[-1].shape[-2:]),
            "measures": MEASURES,
            "strides": STRIDES,
            "listed": LISTED,
            "ramp": ramp("magma"),
            "domains": {
                name: {
                    "title": title_of(name),
                    "names": list(self.space(name).names),
                    "present": self.present(name),
                    "ids": packed(self.cells[name]),
                    "attention": _bytes(self.attention(name)),
                }
                for name in self.domains
            },
            "pairs": pairs,
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is left as it was."""
        if values.get("of") in self.domains and self.linked(values["of"]):
            self.of = values["of"]
        linked = self.linked(self.of)
        self.into = next(one for one in (values.get("into"), self.into, *linked) if one in linked)
        if values.get("level") in range(SCALES):
            self.level = int(values["level"])
        for name, domain in (("class_id", self.of), ("relative", self.into)):
            if values.get(name) in range(1, self.space(domain).n_raw):
                setattr(self, name, int(values[name]))
        self.settle()


def title_of(domain: str) -> str:
    """Return what a domain is called in a figure: "synth-atr" is ATR."""
    return domain.removeprefix("synth-").upper()


def _bytes(shares: Tensor) -> str:
    return packed((255 * shares).round().to(torch.uint8))


def drawn_photos(domains: Sequence[str], count: int = 8, *, size: int = 256, seed: int = 3) -> list[Shown]:
    """Draw people with the labels of several sets at once, which no real photo has."""
    made = [scene("synth-atr", seed, index, size) for index in range(count)]
    return [Shown(one.image, {name: one.mask(name.removeprefix("synth-")) for name in domains}) for one in made]


def class_relations(
    network: SST | Path | str, photos: Sequence[Shown | RGB] = (), index: int = 0, **setting: Any
) -> Explorer:
    """Click a class of one label set: its strongest relatives in another, and the attention on the photo.

    network  a universal network, or the file of its weights; photos: with masks by domain, or alone; default: drawn
    people. UserError for another file, and for a network without the modules.
    """
    opened = network if isinstance(network, SST) else load_universal(network)
    given = [one if isinstance(one, Shown) else Shown(one, {}) for one in photos]
    state = RelationState(opened, given or drawn_photos(opened.config.names), index)
    state.take(setting)
    return browser_explorer(state, "relations", "relatives of a class in another label set", _controls)


def _controls(state: RelationState) -> dict[str, Any]:
    from importlib import import_module

    widgets = import_module("ipywidgets")
    return {"index": widgets.BoundedIntText(value=state.index, min=0, max=len(state.photos) - 1, description="photo")}
