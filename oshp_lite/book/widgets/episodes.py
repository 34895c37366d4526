"""Episode explorer: any two test photos of any dataset, what their masks hold, and what training hides of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.book.widgets.canvas import BELOW, TITLE, fixed_figure, photo_axes
from oshp_lite.book.widgets.colours import laid_over, safe_colours
from oshp_lite.book.widgets.explorer import Explorer, drawn_explorer
from oshp_lite.book.widgets.source import PEOPLE, Photos
from oshp_lite.data.registry import DATASETS, DataConfig, SyntheticConfig, find_dataset, missing_dataset
from oshp_lite.labels import fold
from oshp_lite.viz import style


@dataclass
class EpisodeState:
    """What the episode explorer shows, without any widget. Numbers out of range become the nearest that is there.

    dataset, number  whose photos, in which fold; protocol as in `oshp_lite.labels.fold`
    way              "k": all classes of the support; "1": one class of it, `class_id`
    query, support   test photos by number; `lot` above 0 draws both, the same for the same number
    opacity          of the masks over the photos, 0 to 1; `hatched` adds each class's own stripes
    data, people     where datasets lie, and how many procedural people are drawn
    """

    dataset: str = "synth-atr"
    number: int = 1
    way: Literal["k", "1"] = "k"
    query: int = 0
    support: int = 1
    class_id: int = 0
    opacity: float = 0.6
    hatched: bool = False
    protocol: str = "journal"
    data: Any = None
    people: SyntheticConfig = PEOPLE
    _lot: int = 0
    _photos: dict[tuple[str, int], Photos] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Bring the numbers into range."""
        self.settle()

    @property
    def photos(self) -> Photos:
        """The photos of the chosen dataset, in the chosen fold."""
        key = self.dataset, self.number
        if key not in self._photos:
            config = DataConfig(self.dataset, synthetic=self.people)
            opened = find_dataset(config, self.data, progress=False)
            self._photos[key] = Photos(dataset=opened, fold=fold(opened.space.name, self.number, self.protocol))
        return self._photos[key]

    @property
    def lot(self) -> int:
        """Number of the random draw, 0 where the photos were chosen."""
        return self._lot

    @lot.setter
    def lot(self, value: int) -> None:
        self._lot = max(0, int(value))
        if self._lot:
            drawn = np.random.default_rng(self._lot).choice(len(self.photos), 2, replace=False)
            self.query, self.support = int(drawn[0]), int(drawn[1])
        self.settle()

    def settle(self) -> None:
        """Bring photo numbers and class into range."""
        last = len(self.photos) - 1
        self.query, self.support = min(max(0, self.query), last), min(max(0, self.support), last)
        there = self.photos.classes_of(self.support)
        if self.class_id not in there:
            self.class_id = there[0] if there else 0

    def mask(self, index: int, *, training: bool = False) -> NDArray[np.uint8]:
        """A photo's mask as an episode has it, uint8 [H,W] of kept ids: of one class in 1-way.

        In training novel classes are background, as the papers have it.
        """
        mask = self.photos.framed(index).mask
        if training:
            mask = self.photos.fold.hide_novel(mask)
        return np.where((mask == self.class_id) | (self.way == "k"), mask, 0).astype(np.uint8)

    def areas(self, index: int) -> dict[int, float]:
        """Return the share of the photo's pixels that each class has, by id, those that occur."""
        mask = self.photos.sample(index).mask
        counts = np.bincount(mask.ravel(), minlength=256)
        return {c: float(counts[c] / mask.size) for c in self.photos.fold.foreground if counts[c]}

    def hidden(self, index: int) -> list[int]:
        """Return the classes of a photo that training hides."""
        return [c for c in self.photos.classes_of(index) if c in self.photos.fold.novel]

    def idle(self) -> set[str]:
        """Return the controls that change nothing as things stand."""
        return ({"class_id"} if self.way == "k" else set()) | ({"query", "support"} if self.lot else set())

    def offers(self) -> dict[str, list[tuple[str, int]]]:
        """Return the classes of the chosen dataset, as options of a control."""
        return {"class_id": [(name, class_id) for class_id, name in self.photos.names.items()]}

    def draw(self) -> Figure:
        """Draw both photos as tested and as trained on, and the classes' areas beside them."""
        self.settle()
        photos, space = self.photos, self.photos.dataset.space
        first = photos.photo(self.query)
        figure, places = fixed_figure(4, 1, first.shape[:2], right=3.1, width=1.9)
        for place, (index, word) in zip((0, 2), ((self.support, "support"), (self.query, "query")), strict=True):
            photo, hidden = photos.photo(index), [photos.names[c] for c in self.hidden(index)]
            look: dict[str, Any] = {"space": space, "opacity": self.opacity, "hatched": self.hatched}
            photo_axes(places[place], laid_over(photo, self.mask(index), **look), f"{word} {index}, at test")
            gone = f"hidden: {', '.join(hidden)}" if hidden else "nothing hidden"
            photo_axes(
                places[place + 1], laid_over(photo, self.mask(index, training=True), **look), f"in training, {gone}"
            )
        self._areas(figure)
        return figure

    def _areas(self, figure: Figure) -> None:
        photos, colours = self.photos, safe_colours(self.photos.dataset.space)
        areas = {"support": self.areas(self.support), "query": self.areas(self.query)}
        ids = [c for c in photos.fold.foreground if c in areas["support"] or c in areas["query"]]
        wide, high = figure.get_size_inches()
        with style():
            box = ((wide - 2.0) / wide, BELOW / high, 1.85 / wide, (high - TITLE - BELOW) / high)
            place = figure.add_axes(box)
            for shift, (word, alpha) in zip((-0.2, 0.2), (("support", 1.0), ("query", 0.55)), strict=True):
                widths = [100 * areas[word].get(c, 0) for c in ids]
                bars: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.4, "label": word}
                place.barh(
                    np.arange(len(ids)) + shift, widths, 0.38, color=[colours[c] for c in ids], alpha=alpha, **bars
                )
            names = [f"{photos.names[c]} {'novel' if c in photos.fold.novel else 'base'}" for c in ids]
            place.set_yticks(range(len(ids)), names)
            place.invert_yaxis()
            place.tick_params(labelsize=8, length=0)
            place.set_title("% of the photo: support above, query below", fontsize=9, loc="right", pad=3)


def datasets_here(data: Any = None) -> list[str]:
    """Return the one-shot datasets that can be looked at: those under the data folder, and procedural people."""
    there = [name for name in DATASETS if not missing_dataset(DataConfig(name), data)]
    return [name for name in there if name not in ("synth-pascal", "synth-crowd", "pascal-parts")]


def episode_explorer(dataset: str = "synth-atr", query: int = 0, support: int = 1, **setting: Any) -> Explorer:
    """Look at the episodes of a dataset; `setting` names further fields of `EpisodeState`."""
    lot = setting.pop("lot", 0)
    state = EpisodeState(dataset, query=query, support=support, **setting)
    state.lot = lot
    return drawn_explorer(state, "episode explorer: photos, masks, and what training hides", _controls)


def _controls(state: EpisodeState) -> Mapping[str, Any]:
    widgets = import_module("ipywidgets")
    number = partial(widgets.BoundedIntText, min=0, max=10**6)
    return {
        "dataset": widgets.Dropdown(options=datasets_here(state.data), value=state.dataset, description="dataset"),
        "number": widgets.Dropdown(options=[1, 2], value=state.number, description="fold"),
        "way": widgets.Dropdown(options=[("k-way", "k"), ("1-way", "1")], value=state.way, description="way"),
        "class_id": widgets.Dropdown(
            options=state.offers()["class_id"], value=state.class_id, description="class (1-way)"
        ),
        "query": number(value=state.query, description="query photo"),
        "support": number(value=state.support, description="support photo"),
        "lot": number(value=state.lot, description="random pair (0: as chosen)"),
        "opacity": widgets.FloatSlider(min=0, max=1, step=0.05, value=state.opacity, description="opacity"),
        "hatched": widgets.Checkbox(value=state.hatched, description="hatching", indent=False),
    }
