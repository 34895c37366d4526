"""Figures of fixed layout, quick enough to follow a slider: nothing is measured, every panel has its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import BboxImage
from matplotlib.transforms import Bbox, TransformedBbox
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from oshp_lite.viz import enlarge, outlines, style

RGB = NDArray[np.uint8]
DPI = 110
TITLE, GAP, BELOW = 0.3, 0.1, 0.28
"""Inches above a panel, between panels, and below the last row."""


class Place(NamedTuple):
    """A panel of a figure: left, bottom, width and height in inches. It has no axes, which take most of the time."""

    figure: Figure
    box: tuple[float, float, float, float]


def fixed_figure(
    columns: int, rows: int, shape: Sequence[int], *, right: float = 0.0, below: float = BELOW, width: float = 2.35
) -> tuple[Figure, list[Place]]:
    """Return a figure of `columns` x `rows` panels for photos of height and width `shape`, row by row.

    right, below: inches kept free beside and beneath the panels; width: inches of a panel.
    """
    height = width * shape[0] / shape[1]
    high = rows * (height + TITLE) + below
    figure = Figure(figsize=(columns * (width + GAP) + GAP + right, high), dpi=DPI)
    FigureCanvasAgg(figure)
    corners = [divmod(number, columns) for number in range(rows * columns)]
    places = [(GAP + column * (width + GAP), high - (row + 1) * (height + TITLE)) for row, column in corners]
    return figure, [Place(figure, (left, bottom, width, height)) for left, bottom in places]


def _image(figure: Figure, picture: RGB, box: Sequence[float]) -> None:
    left, bottom, width, height = box
    bounds = Bbox.from_bounds(left, bottom, width, height)
    image = BboxImage(TransformedBbox(bounds, figure.dpi_scale_trans), interpolation="nearest", origin="upper")
    image.set_data(picture)
    figure.add_artist(image)


def _text(figure: Figure, left: float, bottom: float, words: str, **look: Any) -> None:
    figure.text(left, bottom, words, transform=figure.dpi_scale_trans, **look)


def photo_axes(place: Place, picture: RGB, title: str = "", *, pin: Sequence[int] | None = None) -> None:
    """Draw a photo and its title; `pin` (row, column, rows, columns) marks the middle of a feature cell."""
    left, bottom, _width, height = place.box
    if pin is not None:
        row, column, rows, columns = pin
        drawn = Image.fromarray(picture)
        x, y = (column + 0.5) * picture.shape[1] / columns, (row + 0.5) * picture.shape[0] / rows
        for reach, colour, thick in ((11, "black", 5), (9, "white", 2)):
            ImageDraw.Draw(drawn).ellipse((x - reach, y - reach, x + reach, y + reach), outline=colour, width=thick)
        picture = np.asarray(drawn)
    _image(place.figure, picture, place.box)
    _text(place.figure, left, bottom + height + 0.05, title, fontsize=9)


def colour_bar(place: Place, low: float, high: float, colours: str = "magma") -> None:
    """Put a thin bar with both ends' values right below a panel."""
    left, bottom, width, _ = place.box
    shades = matplotlib.colormaps[colours](np.linspace(0, 1, 64))[None, :, :3]
    _image(place.figure, np.rint(255 * shades).astype(np.uint8), (left, bottom - 0.1, width, 0.06))
    for x, value, side in ((left, low, "left"), (left + width, high, "right")):
        _text(place.figure, x, bottom - 0.13, f"{value:g}", ha=side, va="top", fontsize=7)


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


def encoded(figure: Figure, kind: str = "jpeg", quality: int = 82) -> bytes:
    """Return a figure as JPEG or PNG bytes at its own resolution."""
    buffer = BytesIO()
    options: dict[str, Any] = {"pil_kwargs": {"quality": quality}} if kind == "jpeg" else {}
    figure.savefig(buffer, format=kind, dpi=figure.dpi, **options)
    return buffer.getvalue()
