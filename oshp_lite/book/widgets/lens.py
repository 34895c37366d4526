"""The prototype lens: the cosine to every prototype under the pointer, and one class's map over the query.

Journal, Eqs. (2) to (4), (8) and (9). `LensState` computes; the drawing in the browser does the same arithmetic on the
quantised maps of `payload`, so that a move of the pointer waits for nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.widgets.browser import jpeg_uri, packed, ramp
from oshp_lite.book.widgets.canvas import bar_axes, colour_bar, fixed_figure, photo_axes, ringed
from oshp_lite.book.widgets.colours import laid_over, safe_colours
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer, photo_controls
from oshp_lite.book.widgets.heads import NearestHead, Prototypes, head_of, prototypes_of
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.labels import IGNORE
from oshp_lite.viz import enlarge, heat_on_photo

Show = Literal["cosine", "probability", "parse"]
LOWEST = -0.4
"""The cosine drawn darkest."""
SYNCED = ("class_id", "memory", "momentum", "nearest", "scale", "temperature", "show", "row", "column", "hatched")
"""Fields that the browser and the state share."""


@dataclass
class LensState:
    """What the lens shows, without any widget.

    class_id     whose map is drawn
    memory       compare with Eq. (3) at `momentum`; else with the support's own prototypes
    nearest      scores by the network's nearest prototype module at `scale`; else a softmax of the cosines at
                 `temperature`, without a background
    show         what is drawn: the cosine, the class's probability, or the parse of the cells
    row, column  the pinned cell of the query
    """

    source: Source
    query: int = 0
    support: int = 1
    class_id: int = 0
    memory: bool = False
    momentum: float = 0.0
    nearest: bool = False
    scale: float = 10.0
    temperature: float = 0.1
    show: Show = "cosine"
    row: int = 0
    column: int = 0
    hatched: bool = False
    head: NearestHead | None = field(init=False, default=None)
    prototypes: Prototypes = field(init=False)

    def __post_init__(self) -> None:
        """Start as the network compares: with its memory and its head, where it has them."""
        self.choose(self.query, self.support)
        self.memory = bool(self.prototypes.known.any())
        self.momentum = self.prototypes.momentum
        self.nearest = self.head is not None
        self.scale = self.scale if self.head is None else self.head.scale

    def choose(self, query: int, support: int) -> None:
        """Take another pair of photos; the pin goes into the largest class that both show."""
        self.query, self.support = query, support
        self.prototypes = prototypes_of(self.source, support)
        self.head = head_of(self.source.parser, len(self.prototypes.ids))
        self._maps: dict[str, Tensor] = {}
        truth = self.truth
        both = [c for c in self.prototypes.ids if bool((truth == c).any())]
        if self.class_id not in both:
            areas = {c: int((truth == c).sum()) for c in both}
            self.class_id = max(areas, key=areas.__getitem__) if areas else (*self.prototypes.ids, 0)[0]
        if both:
            inside = (truth == self.class_id).float()[None]
            deepest = int((inside * (inside + F.avg_pool2d(inside, 7, 1, 3))).argmax())  # far from its border
            self.row, self.column = divmod(deepest, truth.shape[1])

    @property
    def features(self) -> Tensor:
        """The query's features, float [D,h,w]."""
        return self.source.features(self.query)

    @property
    def truth(self) -> Tensor:
        """The query's classes at feature size, as far as the support shows them: int64 [h,w]."""
        height, width = self.features.shape[-2:]
        return torch.from_numpy(enlarge(self.source.truth(self.query, self.support), (height, width)))

    def _against(self, which: str) -> Tensor:
        """Cosine maps float [K,h,w] with the static or the remembered prototypes."""
        if which not in self._maps:
            rows = self.prototypes.static if which == "static" else self.prototypes.bank
            unit = F.normalize(self.features, dim=0, eps=1e-8)
            self._maps[which] = torch.einsum("kd,dhw->khw", F.normalize(rows, dim=1, eps=1e-8), unit)
        return self._maps[which]

    def cosines(self) -> Tensor:
        """Cosine of every cell with every prototype in use, float [K,h,w] in [-1,1] (Eq. 4)."""
        static = self._against("static")
        if not self.memory:
            return static
        # a cosine with a blend of two vectors is the blend of both cosines over the blend's length
        alpha, own, old = self.momentum, self.prototypes.static.norm(dim=1), self.prototypes.bank.norm(dim=1)
        length = self.prototypes.at(alpha).norm(dim=1).clamp(min=1e-8)
        shares = ((1 - alpha) * own / length, alpha * old / length)
        blended = shares[0][:, None, None] * static + shares[1][:, None, None] * self._against("bank")
        return torch.where(self.prototypes.known[:, None, None], blended, static)

    def probabilities(self) -> Tensor:
        """Softmax over the cells' scores: float [1+K,h,w], background first; a row of zeros where there is none."""
        cosines = self.cosines()
        if self.nearest and self.head is not None:
            return self.head.logits(cosines, self.scale).softmax(0)
        return torch.cat([torch.zeros_like(cosines[:1]), (cosines / self.temperature).softmax(0)])

    def parse(self) -> Tensor:
        """The most probable id of every cell: int64 [h,w]."""
        return torch.tensor([0, *self.prototypes.ids])[self.probabilities().argmax(0)]

    def bars(self) -> dict[int, float]:
        """Return the pinned cell's cosine to every prototype, by class."""
        return dict(zip(self.prototypes.ids, self.cosines()[:, self.row, self.column].tolist(), strict=True))

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        known = bool(self.prototypes.known.any())
        idle = set() if known else {"memory"}
        idle |= set() if self.memory and known else {"momentum"}
        idle |= {"nearest"} if self.head is None else set()
        idle |= {"temperature"} if self.nearest else {"scale"}
        if self.show == "cosine":
            idle |= {"scale", "temperature"}
        return idle if self.show == "parse" else idle | {"hatched"}

    def map(self) -> NDArray[np.float32]:
        """Return the chosen class's map, float [h,w]: its cosine or its probability."""
        place = self.prototypes.ids.index(self.class_id)
        values = self.cosines()[place] if self.show == "cosine" else self.probabilities()[1 + place]
        return np.asarray(values.numpy(), dtype=np.float32)

    def draw(self) -> Figure:
        """Draw query with pin, map, support with the prototype's cells, and the pinned cell's bars."""
        source, space = self.source, self.source.dataset.space
        photo, support = source.photo(self.query), source.photo(self.support)
        figure, places = fixed_figure(3, 1, photo.shape[:2], right=2.3)
        photo_axes(places[0], photo, "query; the pin is a cell", pin=(self.row, self.column, *self.truth.shape))
        name = source.names[self.class_id]
        if self.show == "parse":
            picture = laid_over(photo, self.parse().numpy(), space, 0.6, hatched=self.hatched)
            photo_axes(places[1], picture, "parse of the cells")
        else:
            low = LOWEST if self.show == "cosine" else 0.0
            heat = heat_on_photo(photo, self.map(), low=low, high=1.0)
            photo_axes(places[1], ringed(heat, self.truth.numpy() == self.class_id), f"{self.show} of {name}")
            colour_bar(places[1], low, 1.0)
        own = self.prototypes.cells.numpy() == self.class_id
        lit = np.where(enlarge(own, support.shape[:2])[..., None], support, support // 3)
        photo_axes(places[2], ringed(lit, own), f"support: {int(own.sum())} cells make the prototype")
        colours, bars = safe_colours(space), self.bars()
        memory = f"memory, α = {self.momentum:g}" if self.memory else "support alone"
        bar_axes(figure, {source.names[c]: (value, colours[c]) for c, value in bars.items()}, f"cosine ({memory})")
        return figure

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        view, source = self.prototypes, self.source
        own, old = view.static.norm(dim=1), view.bank.norm(dim=1)
        both = (F.normalize(view.static, dim=1) * F.normalize(view.bank, dim=1, eps=1e-8)).sum(1)
        colours = safe_colours(source.dataset.space)
        head = None
        if self.head is not None:
            head = {name: getattr(self.head, name) for name in ("foreground", "background", "fusion", "scale", "idle")}
        return {
            "photo": jpeg_uri(source.photo(self.query)),
            "support": jpeg_uri(source.photo(self.support)),
            "cells": list(self.truth.shape),
            "support_cells": list(view.cells.shape),
            "ids": list(view.ids),
            "names": [source.names[c] for c in view.ids],
            "all_names": {0: "background", IGNORE: "unlabelled", **source.names},
            "colours": [colours[c] for c in view.ids],
            "known": view.known.tolist(),
            "static": packed(self._against("static")),
            "bank": packed(self._against("bank")),
            "lengths": torch.stack([own, old, both], 1).tolist(),
            "truth": packed(self.truth),
            "support_ids": packed(view.cells),
            "head": head,
            "ramp": ramp("magma"),
            "lowest": LOWEST,
            "order": list(source.dataset.space.foreground_classes),
            "label": source.label,
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is left as it was."""
        rows, columns = self.features.shape[-2:]
        ranges = {"row": (0, rows - 1), "column": (0, columns - 1), "momentum": (0, 1), "scale": (0.1, 100)}
        ranges["temperature"] = (0.005, 2)
        for name, value in values.items():
            if name in ranges and isinstance(value, int | float) and math.isfinite(value):
                kind = type(getattr(self, name))
                setattr(self, name, kind(min(max(value, ranges[name][0]), ranges[name][1])))
            elif name == "class_id" and value in self.prototypes.ids:
                self.class_id = int(value)
            elif name == "show" and value in ("cosine", "probability", "parse"):
                self.show = value
            elif name in ("memory", "nearest", "hatched"):
                setattr(self, name, bool(value))


def prototype_lens(source: Source | Any = None, query: int = 0, support: int = 1, **setting: Any) -> Explorer:
    """Open the lens on two test photos: hover, click or use the arrow keys; see `open_source` for `source`."""
    opened, class_id = source if isinstance(source, Source) else open_source(source), setting.pop("class_id", 0)
    state = LensState(opened, query, support, class_id)  # the pin goes into this class
    state.take(setting)
    return browser_explorer(state, "lens", "prototype lens: cosines of one cell to every prototype", photo_controls)
