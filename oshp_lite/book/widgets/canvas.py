"""Figures of fixed layout, quick enough to follow a slider: nothing is measured, every panel has its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.viz import enlarge, outlines, style

RGB = NDArray[np.uint8]
DPI = 110
TITLE, GAP, BELOW = 0.3, 0.1, 0.28
"""Inches above a panel, between panels, and below the last row."""


def fixed_figure(
    columns: int, rows: int, shape: Sequence[int], *, right: float = 0.0, below: float = BELOW, width: float = 2.35
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `columns` x `rows` panels for photos of height and width `shape`, row by row.

    right, below: inches kept free beside and beneath the panels; width: inches of a panel.
    """
    height = width * shape[0] / shape[1]
    wide = columns * (width + GAP) + GAP + right
    high = rows * (height + TITLE) + below
    figure = Figure(figsize=(wide, high), dpi=DPI)
    FigureCanvasAgg(figure)
    places = []
    with style():
        for number in range(rows * columns):
            row, column = divmod(number, columns)
            left, bottom = GAP + column * (width + GAP), high - (row + 1) * (height + TITLE)
            place = figure.add_axes((left / wide, bottom / high, width / wide, height / high))
            place.set_axis_off()
            places.append(place)
    return figure, places


def photo_axes(place: Axes, picture: RGB, title: str = "", *, pin: Sequence[int] | None = None) -> None:
    """Draw a photo; `pin` (row, column, rows, columns) marks the middle of a feature cell."""
    place.imshow(picture, interpolation="nearest", aspect="auto")
    place.set_title(title, fontsize=9, loc="left", pad=3)
    if pin is not None:
        row, column, rows, columns = pin
        at = ((column + 0.5) * picture.shape[1] / columns - 0.5, (row + 0.5) * picture.shape[0] / rows - 0.5)
        place.plot(*at, marker="o", color="none", markeredgecolor="black", markersize=11, markeredgewidth=3.4)
        place.plot(*at, marker="o", color="none", markeredgecolor="white", markersize=11, markeredgewidth=1.4)


def colour_bar(figure: Figure, place: Axes, low: float, high: float, colours: str = "magma") -> None:
    """Put a thin bar with both ends' values right below a panel."""
    box = place.get_position()
    inch = 1 / figure.get_figheight()
    bar = figure.add_axes((box.x0, box.y0 - 0.1 * inch, box.width, 0.06 * inch))
    bar.imshow(np.linspace(0, 1, 64)[None], cmap=colours, aspect="auto")
    bar.set_axis_off()
    for x, value, side in ((0.0, low, "left"), (1.0, high, "right")):
        bar.text(x, -0.4, f"{value:g}", transform=bar.transAxes, ha=side, va="top", fontsize=7)


def bar_axes(figure: Figure, bars: Mapping[str, tuple[float, str]], title: str, inches: float = 2.15) -> None:
    """Draw named bars (value in [-1,1], colour) into the room that is free on the right."""
    wide, high = figure.get_size_inches()
    left, names = wide - inches + 0.85, list(bars)
    with style():
        place = figure.add_axes((left / wide, BELOW / high, (inches - 1.05) / wide, (high - TITLE - BELOW) / high))
        values = [bars[name][0] for name in names]
        best = int(np.argmax(values)) if values else -1
        place.barh(names, values, color=[bars[name][1] for name in names], edgecolor="black", linewidth=0.4)
        for number, value in enumerate(values):
            weight = "bold" if number == best else "normal"
            place.text(max(value, 0) + 0.04, number, f"{value:.2f}", va="center", fontsize=7, fontweight=weight)
        place.set_xlim(-0.4, 1.25)
        place.set_xticks([0, 0.5, 1])
        place.invert_yaxis()
        place.tick_params(labelsize=8, length=0)
        place.set_title(title, fontsize=9, loc="right", pad=3)


def ringed(picture: RGB, region: NDArray[np.bool_]) -> RGB:
    """Draw a region's outline in white over black, visible on light and dark ground; the region may be smaller."""
    edge = outlines(enlarge(region, picture.shape[:2]))
    wide = edge.copy()
    wide[1:] |= edge[:-1]
    wide[:, 1:] |= edge[:, :-1]
    made = picture.copy()
    made[wide] = 0
    made[edge] = 255
    return made


def encoded(figure: Figure, kind: str = "jpeg") -> bytes:
    """Return a figure as JPEG (quality 88) or PNG bytes at its own resolution."""
    buffer = BytesIO()
    options: dict[str, Any] = {"pil_kwargs": {"quality": 88}} if kind == "jpeg" else {}
    figure.savefig(buffer, format=kind, dpi=figure.dpi, **options)
    return buffer.getvalue()
