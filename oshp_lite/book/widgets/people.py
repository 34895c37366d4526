"""People of a crowd, one by one: box, attention and parts of each, and what each adds to every metric of the photo.

A metric's contribution of a person is the photo's value with everybody above the score threshold, minus its value
without this person. `PeopleState` computes; the drawing in the browser shows what `payload` holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.book import crowd
from oshp_lite.book.crowd import CrowdPhoto, Match
from oshp_lite.book.widgets.browser import jpeg_uri, packed, ramp, runs
from oshp_lite.book.widgets.canvas import BELOW, TITLE, colour_bar, fixed_figure, photo_axes, ringed
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer
from oshp_lite.data.people import whole_map
from oshp_lite.errors import UserError
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.regions import Pasted, RegionRules, assemble, paste
from oshp_lite.predict.people import load_detector
from oshp_lite.viz import enlarge, heat_on_photo, legend_handles, overlay, style

RGB = NDArray[np.uint8]
METRICS = ("AP^p at 0.5", "PCP at 0.5", "AP^r at 0.5", "mIoU")
MOST = 10
"""People who take part, best first."""
CELLS = 128
"""Side of the maps in the page."""
SYNCED = ("person", "least")


@dataclass
class PeopleState:
    """What the explorer shows, without any widget.

    photos  crowds with their truth, in the network's label space; `index` is the present one
    person  the chosen person, 0 is the best-scored one
    least   score from which people count, for every metric and for the map alike
    """

    network: RegionNet
    photos: Sequence[CrowdPhoto]
    index: int = 0
    person: int = 0
    least: float = 0.3
    regions: list[Pasted] = field(init=False)

    def __post_init__(self) -> None:
        """Parse the first photo. UserError for a network of other labels than the crowds'."""
        if self.network.n_ids != crowd.labels().n_raw:
            has = f"this network has {self.network.n_ids} labels, the crowds have {crowd.labels().n_raw}"
            raise UserError(f"{has}; name one that was trained with model.options.labels=pascal")
        self.choose(self.index)

    @property
    def photo(self) -> CrowdPhoto:
        """The present photo."""
        return self.photos[self.index]

    def choose(self, index: int) -> None:
        """Take another photo: detect and parse its people, and forget what was counted."""
        self.index = min(max(0, index), len(self.photos) - 1)
        photo, size = self.photo, self.photo.truth.size
        seen, parsed = crowd.seen_by(self.network, photo.image), crowd.detect(self.network, photo)
        self.boxes = crowd.on_photo(parsed.boxes, seen, size)[:MOST]
        self.scores = [float(value) for value in parsed.scores[:MOST]]
        self.attention = [] if parsed.attention is None else [one[0].numpy() for one in parsed.attention[:MOST]]
        rows = zip(parsed.probabilities, self.boxes.tolist(), self.scores, strict=False)
        self.regions = [paste(chances, box, size, value) for chances, box, value in rows]
        for name in ("matched", "totals", "added"):
            self.__dict__.pop(name, None)
        self.settle()

    def settle(self) -> None:
        """Bring person and threshold into range."""
        self.least = min(max(0.0, float(self.least)), 1.0)
        self.person = min(max(0, int(self.person)), max(0, len(self.regions) - 1))

    @property
    def count(self) -> int:
        """How many people count at the present threshold."""
        return sum(value >= self.least for value in self.scores)

    @cached_property
    def matched(self) -> list[Match]:
        """With whom each person is matched; a lower threshold changes nothing for those above it."""
        result = assemble(self.regions, self.photo.truth.size, RegionRules(0.0, 0.0), self.network.n_ids)
        return crowd.matches(self.photo.truth, result, self.network.n_ids)

    @cached_property
    def totals(self) -> list[tuple[float, ...]]:
        """The photo's `METRICS` when its best 0, 1, ... people count."""
        return [self._judged(self.regions[:n]) for n in range(len(self.regions) + 1)]

    @cached_property
    def added(self) -> list[list[tuple[float, ...]]]:
        """`added[n][i]`: what person i adds to the metrics when the best n people count, i < n."""
        rows = []
        for n in range(len(self.regions) + 1):
            without = [self._judged(self.regions[:i] + self.regions[i + 1 : n]) for i in range(n)]
            rows.append([tuple(a - b for a, b in zip(self.totals[n], one, strict=True)) for one in without])
        return rows

    def _judged(self, regions: Sequence[Pasted]) -> tuple[float, ...]:
        return crowd.judge(self.photo.truth, regions, self.network.n_ids)

    def labels_of(self, person: int) -> NDArray[np.uint8]:
        """One person's own label map uint8 [H,W], unmerged."""
        return whole_map(self._as_person(person), self.photo.truth.size)

    def _as_person(self, person: int) -> Any:
        one = self.regions[person]
        return assemble([one], self.photo.truth.size, RegionRules(0.0, 0.0), self.network.n_ids).people[0]  # type: ignore[index]

    def verdict(self, person: int) -> str:
        """What AP^p makes of a person, in words."""
        if not self.matched:
            return "nobody is detected"
        one = self.matched[person]
        if one.verdict == "wrong":
            return f"wrong: overlaps nobody by more than 0.5 (best {one.overlap:.2f})"
        good = sum(value > 0.5 for value in one.parts.values())
        if one.verdict == "duplicate":
            return f"duplicate: a better-scored detection has that person already (overlap {one.overlap:.2f})"
        return f"right: overlap {one.overlap:.2f}, {good} of {len(one.parts)} parts above 0.5"

    def idle(self) -> set[str]:
        """Return the controls that change nothing: none."""
        return set()

    def draw(self) -> Figure:
        """Draw the photo with its boxes, the chosen person's attention and parts, and what the person adds."""
        self.settle()
        photo, n = self.photo, self.count
        figure, places = fixed_figure(3, 1, photo.truth.size, right=2.7, below=0.45, width=2.1)
        photo_axes(places[0], crowd.boxed(photo.image, self.boxes[:n]), f"{n} people from {self.least:.2f} on")
        if self.regions:
            own = self.labels_of(self.person)
            heat = self._heat(self.person)
            photo_axes(
                places[1], ringed(heat_on_photo(photo.image, heat, low=0, high=1), own > 0), "attention in the box"
            )
            colour_bar(places[1], 0.0, 1.0)
            title = (
                f"person {self.person + 1}, score {self.scores[self.person]:.2f}: {self.matched[self.person].verdict}"
            )
            photo_axes(places[2], overlay(photo.image, own, crowd.labels().class_palette), title)
            handles = legend_handles(crowd.labels(), range(1, len(crowd.labels().names)))
            look: dict[str, Any] = {"fontsize": 6, "handlelength": 1.0, "columnspacing": 0.7, "frameon": False}
            right = (places[2].box[0] + places[2].box[2]) / figure.get_figwidth()
            figure.legend(handles=handles, loc="lower right", bbox_to_anchor=(right, 0), ncols=3, **look)
        wide, high = figure.get_size_inches()
        with style():
            chart = figure.add_axes(((wide - 1.75) / wide, BELOW * 1.4 / high, 1.6 / wide, (high - TITLE - 0.5) / high))
            total = self.totals[n]
            gain = self.added[n][self.person] if self.person < n else (0.0,) * len(METRICS)
            chart.barh(METRICS, total, color="#c9c9d4", label="photo")
            chart.barh(METRICS, gain, height=0.35, color="#1f78b4", label="this person adds")
            chart.set_xlim(min(0.0, *gain) - 0.02, 1)
            chart.invert_yaxis()
            chart.tick_params(labelsize=7, length=0)
            chart.set_title("photo (grey), person (blue)", fontsize=8, loc="left", pad=3)
        return figure

    def _heat(self, person: int) -> NDArray[np.float32]:
        size = self.photo.truth.size
        if not self.attention:
            return np.zeros(size, np.float32)
        return np.nan_to_num(crowd.in_box(self.attention[person], self.boxes[person], size))

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        truth, cells = self.photo.truth, (CELLS, CELLS)
        names = crowd.labels().names
        scale = CELLS / np.array([truth.size[1], truth.size[0]] * 2)
        return {
            "photo": jpeg_uri(self.photo.image),
            "cells": list(cells),
            "metrics": METRICS,
            "ramp": ramp("magma"),
            "names": list(names),
            "colours": [
                "#" + "".join(f"{part:02x}" for part in colour) for colour in crowd.labels().class_palette[: len(names)]
            ],
            "hues": list(crowd.HUES),
            "true": [runs(enlarge(one, cells)) for one in map(truth.person, truth.ids) if (one % 255).any()],
            "people": [
                {
                    "box": np.round(self.boxes[i] * scale, 2).tolist(),
                    "score": round(self.scores[i], 4),
                    "labels": runs(enlarge(self.labels_of(i), cells)),
                    "side": len(self.attention[i]) if self.attention else 0,
                    "attention": packed(np.rint(255 * self.attention[i]).astype(np.uint8)) if self.attention else "",
                    "says": self.verdict(i),
                    "verdict": self.matched[i].verdict,
                    "match": self.matched[i].person,
                    "parts": [[names[c], round(value, 3)] for c, value in self.matched[i].parts.items()],
                }
                for i in range(len(self.regions))
            ],
            "totals": [[round(value, 4) for value in row] for row in self.totals],
            "added": [[[round(value, 4) for value in one] for one in row] for row in self.added],
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is brought into range."""
        for name in SYNCED:
            if isinstance(values.get(name), int | float):
                setattr(self, name, values[name])
        self.settle()


def crowd_people(
    network: RegionNet | Path | str, photos: Sequence[CrowdPhoto] = (), index: int = 0, **setting: Any
) -> Explorer:
    """Click a person of a crowd: box, attention, parts, and what the person adds to each metric; a score threshold.

    network  an instance-level parser of PASCAL's labels, or the file of its weights; photos: default: drawn crowds
    UserError for another file or network.
    """
    opened = network if isinstance(network, RegionNet) else load_detector(network)
    state = PeopleState(opened, list(photos) or [crowd.crowd(number) for number in range(8)], index)
    state.take(setting)
    return browser_explorer(state, "people", "people of a crowd, one by one", _controls)


def _controls(state: PeopleState) -> dict[str, Any]:
    from importlib import import_module

    widgets = import_module("ipywidgets")
    return {"index": widgets.BoundedIntText(value=state.index, min=0, max=len(state.photos) - 1, description="photo")}
