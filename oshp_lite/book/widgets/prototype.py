"""Notebook 03's interactive figure: choose a class or a cell, the momentum and the temperature; see the cosine map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite import viz
from oshp_lite.book.maps import Panel, panel_grid
from oshp_lite.book.widgets.controls import follow

CELL = 0
"""The `source` that stands for "one cell of the query" instead of a class id (0 is the background, no class)."""

MOMENTA = (0.0, 0.8, 0.9, 0.99, 0.999)
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


@dataclass
class PrototypeState:
    """What the figure shows, without any widget. Journal, Eqs. (3) and (4).

    photo        uint8 [H,W,3], the query
    features     float [D,h,w], the query's features in the fine space
    static       float [C,D], the support's static prototypes; a zero row is a class that is not there
    stream       float [N,C,D], static prototypes of earlier supports, oldest first
    names        class id -> name for the classes on offer
    source       a class id, or CELL
    momentum     alpha; 0 means the static prototype alone
    temperature  divides the cosines before the softmax over the support's classes
    row, column  the cell whose feature is the vector when `source` is CELL
    """

    photo: NDArray[np.uint8]
    features: Tensor
    static: Tensor
    stream: Tensor
    names: Mapping[int, str]
    source: int = CELL
    momentum: float = 0.0
    temperature: float = 0.1
    row: int = 0
    column: int = 0
    _banks: dict[float, Tensor] = field(default_factory=dict, repr=False)

    def bank(self, momentum: float) -> Tensor:
        """Return the bank [C,D] after the whole stream; a zero row for a class that never came (Eq. 3)."""
        if momentum not in self._banks:
            bank = torch.zeros_like(self.static)
            for prototypes in self.stream:
                present, empty = prototypes.abs().sum(1) > 0, bank.abs().sum(1) == 0
                blended = momentum * bank + (1 - momentum) * prototypes
                bank = torch.where((present & empty)[:, None], prototypes, torch.where(present[:, None], blended, bank))
            self._banks[momentum] = bank
        return self._banks[momentum]

    def prototypes(self) -> Tensor:
        """Return the prototypes in use [C,D]: bank and support blended, or the support alone; absent classes zero."""
        if self.momentum == 0.0:
            return self.static
        bank = self.bank(self.momentum)
        blended = self.momentum * bank + (1 - self.momentum) * self.static
        used = torch.where((bank.abs().sum(1) > 0)[:, None], blended, self.static)
        return used * (self.static.abs().sum(1) > 0)[:, None]

    def vector(self) -> Tensor:
        """Return the vector [D] that every cell is compared with."""
        if self.source == CELL:
            return self.features[:, self.row, self.column]
        return self.prototypes()[self.source]

    def cosine(self) -> Tensor:
        """Return the cosine map [h,w] of the vector, in [-1,1] (Eq. 4)."""
        return F.cosine_similarity(self.features, self.vector()[:, None, None], dim=0)

    def share(self) -> Tensor:
        """Return [h,w] in [0,1]: the class's softmax share of each cell, or exp((A-1)/temperature) for a cell's vector.

        The softmax runs over the classes of the support, without a background.
        """
        if self.source == CELL:
            return ((self.cosine() - 1) / self.temperature).exp()
        ids = list(self.names)
        used = self.prototypes()[ids]
        maps = F.cosine_similarity(self.features[None], used[:, :, None, None], dim=1)
        return (maps / self.temperature).softmax(0)[ids.index(self.source)]

    def idle(self) -> set[str]:
        """Return the controls that change nothing for the present vector."""
        return {"momentum"} if self.source == CELL else {"row", "column"}

    def title(self) -> str:
        """Return the setting in words."""
        if self.source == CELL:
            return f"cell ({self.row}, {self.column})"
        memory = "static" if self.momentum == 0 else f"bank, α = {self.momentum:g}"
        return f"{self.names[self.source]}, {memory}"

    def panels(self) -> list[Panel]:
        """Return three panels: the query with the chosen cell, the cosine map, the share."""
        marked = None
        if self.source == CELL:
            cell = torch.zeros(self.features.shape[1:], dtype=torch.bool)
            cell[self.row, self.column] = True
            marked = viz.enlarge(cell, self.photo.shape[:2])
        what = "exp((A - 1) / T)" if self.source == CELL else "softmax share"
        return [
            Panel(self.photo, self.title(), outline=marked),
            Panel(self.cosine(), "cosine map", "cosine", marked),
            Panel(self.share(), f"{what}, T = {self.temperature:g}", "share", marked),
        ]

    def draw(self) -> Figure:
        """Return the figure: query, cosine map, share."""
        return panel_grid([self.panels()], cell=2.6)

    def png(self) -> bytes:
        """Return the figure as PNG bytes, quick rather than small."""
        return viz.fig_to_png(self.draw(), dpi=110, colours=None)


def draw_states(state: PrototypeState, settings: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw one row of panels for each of some settings of a state; the state itself keeps its own."""
    return panel_grid([replace(state, **setting).panels() for setting in settings], cell=2.0)


def prototype_view(state: PrototypeState) -> Any:
    """Return the ipywidgets view of the figure (needs a live kernel to move)."""
    widgets = import_module("ipywidgets")
    rows, columns = state.features.shape[1:]
    vectors = [(name, class_id) for class_id, name in state.names.items()] + [("one cell of the query", CELL)]
    controls = {
        "source": widgets.Dropdown(options=vectors, value=state.source, description="vector"),
        "momentum": widgets.SelectionSlider(options=MOMENTA, value=state.momentum, description="momentum α"),
        "temperature": widgets.SelectionSlider(
            options=TEMPERATURES, value=state.temperature, description="temperature T"
        ),
        "row": widgets.IntSlider(min=0, max=rows - 1, value=state.row, description="cell row"),
        "column": widgets.IntSlider(min=0, max=columns - 1, value=state.column, description="cell column"),
    }
    return follow(state, controls, state.png, idle=state.idle, label="a vector, its cosine map, its share")
