"""Feature space: principal components of the cells' features, as colours on the photos and as a scatter of cells.

Features and prototypes are brought to length 1, as the cosine does. The axes are those of largest variance over the
people's cells in the query and in every support on offer, so that a cell lies at the same place whichever support is
chosen; what moves are the prototypes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.widgets.browser import jpeg_uri, packed
from oshp_lite.book.widgets.canvas import DPI, fixed_figure, photo_axes
from oshp_lite.book.widgets.colours import safe_colours
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer, photo_controls
from oshp_lite.book.widgets.heads import Prototypes, prototypes_of
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.labels import IGNORE
from oshp_lite.viz import enlarge, style

MARKS = "osD^vP*X<>ph"
"""Markers of the prototypes, by the class's place in the label space, so that colour is not needed."""
AXES = ("1,2", "1,3", "2,3")
SYNCED = ("support", "axes", "class_id", "background", "colours")
SUPPORTS = 4


@dataclass
class FeatureState:
    """What the feature space shows, without any widget.

    supports    the support photos on offer; `support` is the chosen one
    axes        which two principal components the scatter shows, "1,2"
    class_id    the class whose cells stand out; 0: all of them
    background  draw the background's cells too
    colours     a dot's colour: its class, or its first three components as on the photos
    """

    source: Source
    query: int = 0
    supports: Sequence[int] = ()
    support: int = 1
    axes: str = AXES[0]
    class_id: int = 0
    background: bool = False
    colours: Literal["class", "components"] = "class"
    prototypes: dict[int, Prototypes] = field(init=False)

    def __post_init__(self) -> None:
        """Compute the components."""
        self.choose(self.query, self.support)

    def choose(self, query: int, support: int) -> None:
        """Take another query, and another support to begin with; further supports follow it in the list."""
        self.query, self.support = query, support
        others = [index for index in range(len(self.source)) if index not in (query, support)]
        near = sorted(others, key=lambda index: (index < support, index))
        self.supports = [support, *[one for one in self.supports if one in others], *near][:SUPPORTS]
        self.prototypes = {index: prototypes_of(self.source, index) for index in self.supports}
        photos = (query, *self.supports)
        cells = {index: self.source.features(index).flatten(1).T for index in photos}
        worn = {index: torch.from_numpy(self.ids_of(index)) for index in photos}
        persons = [cells[index][(worn[index] > 0) & (worn[index] != IGNORE)] for index in photos]
        people = F.normalize(torch.cat(persons).double())
        self.middle = people.mean(0)
        spread = (people - self.middle).T @ (people - self.middle) / len(people)
        variances, columns = torch.linalg.eigh(spread)  # in rising order
        variances, rows = variances.flip(0), columns.T.flip(0)
        # each axis points to the side on which more lies, so that its sign does not hang on the solver
        skew = ((people - self.middle) @ rows[:3].T).pow(3).sum(0)
        self.rows = rows[:3] * torch.where(skew < 0, -1.0, 1.0)[:, None]
        self.explained = (variances / variances.sum())[:3].tolist()
        self.reach = 1.0
        self.reach = float(self.project(people).abs().quantile(0.995))
        self.places = {index: self.project(vectors) for index, vectors in cells.items()}
        self.class_id = self.class_id if self.class_id in self.prototypes[support].ids else 0

    def project(self, vectors: Tensor) -> Tensor:
        """Return the first three principal components of float [N,D] at length 1: [N,3], most within 1."""
        rows = self.rows.to(vectors.dtype)
        return (F.normalize(vectors) @ rows.T - (self.middle @ self.rows.T).to(vectors.dtype)) / self.reach

    def colours_of(self, index: int) -> NDArray[np.uint8]:
        """A photo's cells coloured by their components, red, green, blue: uint8 [h,w,3]."""
        shape = self.source.features(index).shape[-2:]
        values = (self.places[index].clamp(-1, 1) + 1) * 127.5
        return np.asarray(values.round().byte().numpy()).reshape(*shape, 3)

    def ids_of(self, index: int) -> NDArray[np.int64]:
        """The classes of a photo's cells: int64 [h*w]."""
        mask = self.source.tensors(index)[1]
        height, width = self.source.features(index).shape[-2:]
        return np.asarray(enlarge(mask, (height, width)), np.int64).ravel()

    def stars(self, support: int | None = None, *, bank: bool = False) -> dict[int, list[float]]:
        """Where the prototypes lie in the scatter, by class: of a support, or those that the network remembers."""
        own = self.prototypes[self.support if support is None else support]
        rows = self.project(own.bank if bank else own.static).tolist()
        there = own.known.tolist() if bank else [True] * len(own.ids)
        return {c: row for c, row, known in zip(own.ids, rows, there, strict=True) if known}

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return set()

    def draw(self) -> Figure:
        """Draw both photos beside their components as colours, and the scatter with the prototypes."""
        source, first = self.source, self.source.photo(self.query)
        figure, places = fixed_figure(2, 2, first.shape[:2], right=5.2, width=1.9, below=0.35)
        for row, (index, word) in enumerate(((self.query, "query"), (self.support, "support"))):
            photo_axes(places[2 * row], source.photo(index), word)
            view = enlarge(self.colours_of(index), first.shape[:2])
            photo_axes(places[2 * row + 1], view, f"{word}: its 3 components")
        wide, high = figure.get_size_inches()
        with style():
            place = figure.add_axes(((wide - 4.6) / wide, 0.62 / high, 3.3 / wide, (high - 0.95) / high))
            self._scatter(place)
            place.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), fontsize=8, title="prototypes")
        figure.set_dpi(DPI)
        return figure

    def _scatter(self, place: Any) -> None:
        across, up = (int(one) - 1 for one in self.axes.split(","))
        colours, names = safe_colours(self.source.dataset.space), self.source.names
        for index, mark, size in ((self.query, ".", 14), (self.support, "+", 16)):
            ids, points = self.ids_of(index), self.places[index].numpy()
            wanted = (ids != IGNORE) & ((ids > 0) | self.background)
            dots = [colours.get(int(c), "#bbbbbb") for c in ids[wanted]]
            if self.colours == "components":
                dots = self.colours_of(index).reshape(-1, 3)[wanted] / 255
            faint = np.where((ids[wanted] == self.class_id) | (self.class_id == 0), 0.75, 0.12)
            lines = {"linewidths": 0.8 if mark == "+" else 0}
            place.scatter(points[wanted, across], points[wanted, up], s=size, c=dots, marker=mark, alpha=faint, **lines)
        order = self.source.fold.foreground
        for c, star in self.stars().items():
            look = {"marker": MARKS[order.index(c) % len(MARKS)], "markersize": 10, "markeredgecolor": "black"}
            place.plot(star[across], star[up], linestyle="", color=colours[c], label=names[c], **look)
        for c, star in self.stars(bank=True).items():
            for colour, edge in (("black", 3.4), (colours[c], 2.0)):
                look = {"markersize": 15, "markerfacecolor": "none", "markeredgewidth": edge}
                place.plot(star[across], star[up], marker="s", markeredgecolor=colour, linestyle="", **look)
        for axis, part in ((place.set_xlabel, across), (place.set_ylabel, up)):
            axis(f"component {part + 1} ({self.explained[part]:.0%} of the variance)")
        place.set_title("cells: · query, + support; square: remembered", fontsize=9)

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        source, colours = self.source, safe_colours(self.source.dataset.space)
        photos = {}
        for index in (self.query, *self.supports):
            photos[index] = {
                "photo": jpeg_uri(source.photo(index, 224)),
                "cells": list(source.features(index).shape[-2:]),
                "places": packed(self.places[index].T),
                "ids": packed(self.ids_of(index)),
            }
        return {
            "query": self.query,
            "supports": list(self.supports),
            "photos": photos,
            "static": {index: self.stars(index) for index in self.supports},
            "bank": {index: self.stars(index, bank=True) for index in self.supports},
            "explained": self.explained,
            "names": {0: "background", IGNORE: "unlabelled", **source.names},
            "colours": {c: colours[c] for c in source.fold.foreground},
            "order": list(source.fold.foreground),
            "axes": list(AXES),
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is left as it was."""
        allowed: dict[str, Sequence[Any]] = {
            "support": self.supports,
            "axes": AXES,
            "class_id": (0, *self.source.fold.foreground),
            "background": (False, True),
            "colours": ("class", "components"),
        }
        for name, value in values.items():
            if value in allowed.get(name, ()):
                setattr(self, name, value)


def feature_space(
    source: Source | Any = None, query: int = 0, support: int = 1, supports: Sequence[int] = (), **setting: Any
) -> Explorer:
    """Look at the feature space of two test photos; the prototypes move when another of `supports` is chosen."""
    opened = source if isinstance(source, Source) else open_source(source)
    state = FeatureState(opened, query, supports, support)
    state.take(setting)
    title = "feature space: principal components of the cells, and the prototypes among them"
    return browser_explorer(state, "feature_space", title, photo_controls)
