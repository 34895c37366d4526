"""AGM and NPM at moments of a training: both modules' probabilities for one query while beta falls (notebook 04).

The replay (`replay`) does the same for any run whose networks were kept; here the maps are a record, so that a page
needs no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite import viz
from oshp_lite.book.maps import Panel, panel_grid
from oshp_lite.book.widgets.browser import jpeg_uri, packed, ramp
from oshp_lite.book.widgets.explorer import Explorer, browser_explorer

SYNCED = ("step", "class_id")


@dataclass(frozen=True)
class Moment:
    """One moment of a training: `beta` of Eq. (10) then, and both modules' probabilities [C,h,w] for one query."""

    beta: float
    agm: Tensor
    npm: Tensor


@dataclass
class DualMetricState:
    """What the explorer shows, without any widget. Journal, Eqs. (7), (9), (10).

    photo     uint8 [H,W,3], the query
    truth     int64 [h,w], the query's classes at feature size, 255 = ignore
    moments   the training's moments, in order (beta falls from 1 to about 0)
    names     class id -> name for the classes of the support
    step      index of the present moment; class_id the present class
    target    integer [H,W], the query's classes at the photo's size, for the outline on the photo; None: from truth
    """

    photo: NDArray[np.uint8]
    truth: Tensor
    moments: Sequence[Moment]
    names: Mapping[int, str]
    step: int = 0
    class_id: int = 0
    target: NDArray[Any] | None = None

    def iou(self, probabilities: Tensor) -> float:
        """Return the class's IoU on this query when every cell goes to its most probable class; nan if absent."""
        valid = self.truth != 255
        predicted, true = (probabilities.argmax(0) == self.class_id) & valid, (self.truth == self.class_id) & valid
        union = int((predicted | true).sum())
        return int((predicted & true).sum()) / union if union else float("nan")

    def panels(self, step: int) -> list[Panel]:
        """Return a moment's three panels: the query with the class's outline, AGM's and NPM's probability per cell."""
        moment, name = self.moments[step], self.names[self.class_id]
        true = viz.enlarge((self.truth == self.class_id).numpy(), self.photo.shape[:2])
        sharp = true if self.target is None else self.target == self.class_id
        made = [Panel(self.photo, f"β = {moment.beta:.2f}: {name}", outline=sharp)]
        for label, scores in (("AGM", moment.agm), ("NPM", moment.npm)):
            made.append(Panel(scores[self.class_id], f"{label}, IoU {self.iou(scores):.2f}", "share", true))
        return made

    def draw(self) -> Figure:
        """Draw a row for the first moment after the start, the middle one, the last and the present one."""
        last = len(self.moments) - 1
        return panel_grid([self.panels(step) for step in sorted({min(1, last), last // 2, last, self.step})], cell=2.0)

    def idle(self) -> set[str]:
        """Return the controls that change nothing: none."""
        return set()

    def payload(self) -> dict[str, Any]:
        """Everything that the drawing in the browser needs, for JSON."""
        ids = [0, *self.names]
        return {
            "photo": jpeg_uri(self.photo),
            "cells": list(self.truth.shape),
            "truth": packed(self.truth),
            "ids": ids,
            "names": {0: "background", 255: "unlabelled", **self.names},
            "ramp": ramp("magma"),
            "moments": [
                {
                    "beta": round(one.beta, 3),
                    "agm": packed((255 * one.agm[ids]).round().to(torch.uint8)),
                    "npm": packed((255 * one.npm[ids]).round().to(torch.uint8)),
                }
                for one in self.moments
            ],
        }

    def values(self) -> dict[str, Any]:
        """Return the fields that the browser shares."""
        return {name: getattr(self, name) for name in SYNCED}

    def take(self, values: Mapping[str, Any]) -> None:
        """Take over what was changed in the browser; what does not fit is left as it was."""
        if values.get("step") in range(len(self.moments)):
            self.step = int(values["step"])
        if values.get("class_id") in self.names:
            self.class_id = int(values["class_id"])


def dual_metric_explorer(state: DualMetricState) -> Explorer:
    """Slide beta through a training and see AGM and NPM side by side."""
    title = "AGM and NPM at moments of a training, with the class's true outline"
    return browser_explorer(state, "dual_metric", title, lambda _: {})
