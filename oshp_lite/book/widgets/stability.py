"""Stability view: one query, every support that shows the class, and how far the IoU depends on the choice (Fig. 7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from oshp_lite.book.widgets.canvas import DPI, TITLE, Place, fixed_figure, photo_axes, ringed
from oshp_lite.book.widgets.colours import laid_over, safe_colours
from oshp_lite.book.widgets.explorer import Explorer, drawn_explorer
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.labels import IGNORE
from oshp_lite.models.base import PredictOptions
from oshp_lite.viz import style

MOST = 24
"""Supports that are tried, unless more are named."""
SPREAD = 3.4
"""Width in inches of the chart of all IoUs."""
Spread = tuple[NDArray[np.uint8], list[Bbox]]
"""The chart as a picture, and its bars in inches."""


@dataclass
class StabilityState:
    """What the stability view shows, without any widget (journal, Fig. 7).

    class_id  the class whose IoU counts; supports are the other test photos that show it, at most `most`
    rank      which support stands beside the best and the worst: 0 is the worst, the last the best
    """

    source: Source
    query: int = 0
    class_id: int = 0
    rank: int = 0
    hatched: bool = False
    most: int = MOST
    options: PredictOptions | None = None
    _parses: dict[tuple[int, int], NDArray[np.uint8]] = field(default_factory=dict, repr=False)
    _ious: dict[tuple[int, int, int], float] = field(default_factory=dict, repr=False)
    _spreads: dict[tuple[int, int], Spread] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Begin with the query's largest class, and with the middle support."""
        self.settle()
        self.rank = len(self.supports()) // 2

    def settle(self) -> None:
        """Bring query, class and rank into range."""
        self.query = min(max(0, self.query), len(self.source) - 1)
        there = self.source.classes_of(self.query)
        if self.class_id not in there:
            mask = self.source.sample(self.query).mask
            self.class_id = max(there, key=lambda c: int((mask == c).sum())) if there else 0
        self.rank = min(max(0, self.rank), max(0, len(self.supports()) - 1))

    def supports(self) -> list[int]:
        """Return the supports on offer, in the order of the list."""
        others = (index for index in range(len(self.source)) if index != self.query)
        return [index for index in others if self.class_id in self.source.classes_of(index)][: self.most]

    def parse(self, support: int) -> NDArray[np.uint8]:
        """The query's parse from a support: uint8 [H,W]."""
        key = self.query, support
        if key not in self._parses:
            self._parses[key] = self.source.parse(self.query, support, self.options).numpy().astype(np.uint8)
        return self._parses[key]

    def iou(self, support: int) -> float:
        """The class's IoU on the query from a support, in [0,1]."""
        key = self.query, support, self.class_id
        if key not in self._ious:
            mask = self.source.tensors(self.query)[1].numpy()
            valid = mask != IGNORE
            mine, true = (self.parse(support) == self.class_id) & valid, (mask == self.class_id) & valid
            self._ious[key] = int((mine & true).sum()) / max(1, int((mine | true).sum()))
        return self._ious[key]

    def ranked(self) -> list[tuple[float, int]]:
        """Return (IoU, support) of every support on offer, the worst first."""
        return sorted((self.iou(support), support) for support in self.supports())

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return {"rank"} if len(self.supports()) < 2 else set()

    def offers(self) -> dict[str, list[tuple[str, int]]]:
        """Return the classes of the query, as options of a control."""
        return {"class_id": [(self.source.names[c], c) for c in self.source.classes_of(self.query)]}

    def draw(self) -> Figure:
        """Draw the worst, the chosen and the best support above the parses they lead to, and all IoUs beside them."""
        self.settle()
        source, space, ranked = self.source, self.source.dataset.space, self.ranked()
        photo = source.photo(self.query)
        figure, places = fixed_figure(4, 2, photo.shape[:2], right=SPREAD, width=1.75, below=0.1)
        name = source.names[self.class_id]
        true = source.framed(self.query).mask == self.class_id
        photo_axes(places[0], photo, f"query {self.query}")
        photo_axes(places[4], ringed(photo, true), f"true {name}")
        picks = [("worst", 0), ("chosen", self.rank), ("best", len(ranked) - 1)] if ranked else []
        for column, (word, rank) in enumerate(picks, start=1):
            iou, support = ranked[rank]
            marked = np.where(source.framed(support).mask == self.class_id, self.class_id, 0)
            over = laid_over(source.photo(support), marked, space, 0.65, hatched=self.hatched)
            photo_axes(places[column], over, f"{word}: support {support}")
            ids = np.where(self.parse(support) == self.class_id, self.class_id, 0)
            made = ringed(laid_over(photo, ids, space, 0.65, hatched=self.hatched), true)
            photo_axes(places[4 + column], made, f"IoU {iou:.2f}")
        wide, high = figure.get_size_inches()
        key = self.query, self.class_id
        if key not in self._spreads:
            self._spreads[key] = self._spread(high, ranked, name)
        spread, bars = self._spreads[key]
        photo_axes(Place(figure, (wide - SPREAD, 0.0, SPREAD, high)), spread)
        if ranked:
            look: dict[str, Any] = {"fill": False, "edgecolor": "black", "linewidth": 2.2}
            box = bars[self.rank]
            corner = (wide - SPREAD + box.x0, box.y0)
            figure.add_artist(Rectangle(corner, box.width, box.height, transform=figure.dpi_scale_trans, **look))
        return figure

    def _spread(self, high: float, ranked: list[tuple[float, int]], name: str) -> Spread:
        """Draw all IoUs, `high` inches: what does not depend on the rank takes most of the time, and is kept."""
        figure = Figure(figsize=(SPREAD, high), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        values, rows = [iou for iou, _ in ranked], range(len(ranked))
        colour = safe_colours(self.source.dataset.space).get(self.class_id, "#888888")
        with style():
            place = figure.add_axes((0.65 / SPREAD, 0.45 / high, 2.6 / SPREAD, (high - TITLE - 0.45) / high))
            bars = place.barh(rows, values, color=colour, edgecolor="black", linewidth=0.4)
            if ranked:
                quartiles = np.percentile(values, [25, 50, 75])
                place.axvspan(quartiles[0], quartiles[2], color="0.5", alpha=0.18, linewidth=0)
                place.axvline(quartiles[1], color="black", linestyle="--", linewidth=1.2)
                said = f"median {quartiles[1]:.2f}, quartiles {quartiles[0]:.2f} to {quartiles[2]:.2f}"
                place.set_xlabel(said, fontsize=8)
            place.set_yticks(list(rows), [f"support {support}" for _, support in ranked])
            place.tick_params(labelsize=6 if len(ranked) > 16 else 7, length=0)
            place.set_xlim(0, 1)
            place.set_title(f"IoU of {name} by support", fontsize=9, loc="right", pad=3)
            canvas.draw()
        inches = [Bbox(bar.get_window_extent().get_points() / DPI) for bar in bars]
        return np.asarray(canvas.buffer_rgba())[..., :3].copy(), inches


def stability_view(source: Source | Any = None, query: int = 0, **setting: Any) -> Explorer:
    """See how much one query's parse depends on the support; `setting` names further fields of `StabilityState`."""
    opened = source if isinstance(source, Source) else open_source(source)
    rank = setting.pop("rank", None)
    state = StabilityState(opened, query, **setting)
    state.rank = state.rank if rank is None else rank
    return drawn_explorer(state, "stability view: one query, many supports", _controls)


def _controls(state: StabilityState) -> Mapping[str, Any]:
    widgets = import_module("ipywidgets")
    last = len(state.source) - 1
    return {
        "query": widgets.BoundedIntText(min=0, max=last, value=state.query, description="query photo"),
        "class_id": widgets.Dropdown(options=state.offers()["class_id"], value=state.class_id, description="class"),
        "rank": widgets.IntSlider(min=0, max=max(1, last), value=state.rank, description="support, worst to best"),
        "hatched": widgets.Checkbox(value=state.hatched, description="hatching", indent=False),
    }
