"""Notebook 04's interactive figure: slide beta through a training and see AGM and NPM side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite import viz
from oshp_lite.book.maps import Panel, panel_grid
from oshp_lite.book.widgets.controls import follow


@dataclass(frozen=True)
class Moment:
    """One moment of a training: `beta` of Eq. (10) then, and both modules' probabilities [C,h,w] for one query."""

    beta: float
    agm: Tensor
    npm: Tensor


@dataclass
class DualMetricState:
    """What the figure shows, without any widget. Journal, Eqs. (7), (9), (10).

    photo     uint8 [H,W,3], the query
    truth     int64 [h,w], the query's classes at feature size, 255 = ignore
    moments   the training's moments, in order (beta falls from 1 to about 0)
    names     class id -> name for the classes on offer
    step      index of the present moment; class_id the present class
    """

    photo: NDArray[np.uint8]
    truth: Tensor
    moments: Sequence[Moment]
    names: Mapping[int, str]
    step: int = 0
    class_id: int = 0

    @property
    def moment(self) -> Moment:
        """The present moment."""
        return self.moments[self.step]

    def iou(self, probabilities: Tensor) -> float:
        """Return the class's IoU on this query when every cell goes to its most probable class; nan if absent."""
        valid = self.truth != 255
        predicted, true = (probabilities.argmax(0) == self.class_id) & valid, (self.truth == self.class_id) & valid
        union = int((predicted | true).sum())
        return int((predicted & true).sum()) / union if union else float("nan")

    def panels(self) -> list[Panel]:
        """Return three panels: the query with the class's true outline, AGM's probability, NPM's probability."""
        beta, name = self.moment.beta, self.names[self.class_id]
        true = viz.enlarge((self.truth == self.class_id).numpy(), self.photo.shape[:2])
        made = [Panel(self.photo, f"β = {beta:.2f}: {name}", outline=true)]
        for label, scores in (("AGM", self.moment.agm), ("NPM", self.moment.npm)):
            made.append(Panel(scores[self.class_id], f"{label}, IoU {self.iou(scores):.2f}", "share", true))
        return made

    def draw(self) -> Figure:
        """Return the figure of the present moment."""
        return panel_grid([self.panels()], cell=2.6)

    def png(self) -> bytes:
        """Return the figure as PNG bytes, quick rather than small."""
        return viz.fig_to_png(self.draw(), dpi=110, colours=None)


def draw_moments(state: DualMetricState, steps: Sequence[int]) -> Figure:
    """Draw one row of panels for each of some moments; the state itself stays where it is."""
    return panel_grid([replace(state, step=step).panels() for step in steps], cell=2.0)


def dual_metric_view(state: DualMetricState) -> Any:
    """Return the ipywidgets view of the figure (needs a live kernel to move)."""
    widgets = import_module("ipywidgets")
    steps = [(f"{moment.beta:.2f}", index) for index, moment in enumerate(state.moments)]
    classes = [(name, class_id) for class_id, name in state.names.items()]
    controls = {
        "step": widgets.SelectionSlider(options=steps, value=state.step, description="β"),
        "class_id": widgets.Dropdown(options=classes, value=state.class_id, description="class"),
    }
    return follow(state, controls, state.png, label="AGM and NPM side by side")
