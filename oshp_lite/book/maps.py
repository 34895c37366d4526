"""Figures of notebooks 03 and 04 that set maps over a photo's cells beside the photo: one colour scale a meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, LinearSegmentedColormap, ListedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.typical import Person
from oshp_lite.labels import IGNORE, LabelSpace
from oshp_lite.viz.images import Pixels, Space, enlarge, palette_of, to_array
from oshp_lite.viz.panels import add_legend, ids_in
from oshp_lite.viz.style import new_figure, show_image, style

Array = NDArray[Any]


def _signed() -> Colormap:
    """Black at zero; magma above it, as for probabilities; teal below it. Brighter is farther from zero."""
    below = LinearSegmentedColormap.from_list("teal", ["#000004", "#06303b", "#137a84", "#5cc5c0", "#d2f5ee"])
    steps = np.linspace(0, 1, 128)
    return ListedColormap(np.vstack([below(steps[::-1]), matplotlib.colormaps["magma"](steps)]), "signed")


SIGNED = _signed()
"""Colours of values in [-1,1] whose zero means "neither alike nor unlike"."""


class Scale(NamedTuple):
    """What a kind of map means: its colours, its range and the words at its colour bar."""

    colours: Colormap
    low: float
    high: float
    label: str


SCALES = {
    "cosine": Scale(SIGNED, -1.0, 1.0, "cosine"),
    "share": Scale(matplotlib.colormaps["magma"], 0.0, 1.0, "probability"),
    "score": Scale(matplotlib.colormaps["magma"], 0.0, 1.0, "score"),
    "change": Scale(SIGNED, -0.3, 0.3, "difference of cosines"),
}


class Panel(NamedTuple):
    """One panel: a photo, uint8 [H,W,3], or a map, float [h,w] of a `kind`; a region bool [H,W] to be outlined."""

    picture: Pixels
    title: str = ""
    kind: Literal["photo", "cosine", "share", "score", "change"] = "photo"
    outline: Array | None = None


def draw_panel(axes: Axes, panel: Panel, size: tuple[int, int]) -> None:
    """Draw one panel; a map is enlarged to `size` = (height, width), its cells staying square blocks."""
    if panel.kind == "photo":
        show_image(axes, to_array(panel.picture), panel.title)
    else:
        scale = SCALES[panel.kind]
        values = enlarge(panel.picture, size)
        show_image(axes, values, panel.title, cmap=scale.colours, vmin=scale.low, vmax=scale.high)
    if panel.outline is not None and panel.outline.any():
        for colour, width in (("black", 2.4), ("white", 1.1)):
            axes.contour(panel.outline, levels=[0.5], colors=colour, linewidths=width)


def panel_grid(rows: Sequence[Sequence[Panel]], *, cell: float = 2.1, below: float = 0.0) -> Figure:
    """Draw rows of panels; below them one colour bar for each kind of map, as wide as that kind's columns.

    The first panel's picture gives the size of all; a row may be shorter than the first. `cell` is inches of a panel,
    `below` inches that stay free for a legend.
    Raises ValueError when a column holds maps of two kinds.
    """
    columns = max(len(row) for row in rows)
    size = to_array(rows[0][0].picture).shape[:2]
    spans = {kind: [k for row in rows for k, panel in enumerate(row) if panel.kind == kind] for kind in SCALES}
    spans = {kind: sorted(set(own)) for kind, own in spans.items() if own}
    if any(set(spans[one]) & set(spans[other]) for one in spans for other in spans if one != other):
        raise ValueError("maps of two kinds stand in one column, so their colour bars would overlap")
    bars = int(bool(spans))
    figure, axes = new_figure(
        len(rows) + bars,
        columns,
        width=cell,
        height=(len(rows) * (cell * size[0] / size[1] + 0.2) + 0.55 * bars + below) / (len(rows) + bars),
        gridspec_kw={"height_ratios": [1.0] * len(rows) + [0.04] * bars},
    )
    for place in axes.flat:
        place.set_axis_off()
    for line, row in zip(axes, rows, strict=False):
        for place, panel in zip(line, row, strict=False):
            draw_panel(place, panel, (size[0], size[1]))
    grid = axes[0, 0].get_gridspec()
    for kind, own in spans.items():
        with style():
            add_bar(figure, figure.add_subplot(grid[-1, own[0] : own[-1] + 1]), kind)
    return figure


def module_rows(
    query: Person,
    maps: Tensor,
    probabilities: Mapping[str, Tensor],
    ids: Sequence[int],
    chosen: Sequence[int],
    space: LabelSpace,
) -> list[list[Panel]]:
    """One row for each chosen class: the query, its cosine map, and what each module makes of it with the IoU.

    maps           float [K,h,w], of the classes `ids`
    probabilities  float [1+K,H,W] at photo size by module name, background first
    """
    rows = []
    for class_id in chosen:
        place, true = ids.index(class_id), (query.mask == class_id).numpy()
        row = [Panel(query.photo, space.class_name(class_id), outline=true)]
        row.append(Panel(maps[place], "cosine map", "cosine", true))
        for name, values in probabilities.items():
            marked = (values.argmax(0) == place + 1).numpy()
            iou = (marked & true).sum() / max((marked | true).sum(), 1)
            row.append(Panel(values[place + 1], f"{name}, IoU {iou:.2f}", "share", true))
        rows.append(row)
    return rows


def add_bar(figure: Figure, place: Axes, kind: str) -> None:
    """Fill axes with the colour bar of a kind of map."""
    scale = SCALES[kind]
    drawn = ScalarMappable(Normalize(scale.low, scale.high), scale.colours)
    bar = figure.colorbar(drawn, cax=place, orientation="horizontal", label=scale.label)
    bar.outline.set_visible(False)


def _directions(features: Tensor) -> Tensor:
    """Turn features float [D,h,w] into unit vectors, one a row: float [h*w,D]."""
    return F.normalize(features.flatten(1), dim=0).T


def principal_axes(directions: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the mean [D] and the strongest principal axes [count,D] of unit vectors float [N,D]."""
    middle = directions.mean(0)
    return middle, torch.linalg.svd(directions - middle, full_matrices=False).Vh[:count]


def feature_space(
    photos: Sequence[Array],
    features: Sequence[Tensor],
    cells: Sequence[Tensor],
    space: Space,
    titles: Sequence[str] = ("support", "query"),
) -> Figure:
    """Draw what a network sees: photos, their features as colours, and all cells in the plane of two principal axes.

    photos    uint8 [H,W,3] each
    features  float [D,h,w] each; the three strongest principal axes of their directions are red, green and blue
    cells     int64 [h,w] each, the classes of the cells, which colour the points; the scene's are left out
    """
    colours = _as_colours(features)
    figure, axes = new_figure(1, 2 * len(photos) + 2, width=1.75, height=2.6)
    for column, (photo, seen, title) in enumerate(zip(photos, colours, titles, strict=True)):
        show_image(axes[0, 2 * column], photo, title)
        show_image(axes[0, 2 * column + 1], enlarge(seen, photo.shape[:2]), "its features")
    grid = axes[0, 0].get_gridspec()
    for place in axes[0, 2 * len(photos) :]:
        place.remove()
    with style():
        plane = figure.add_subplot(grid[0, 2 * len(photos) :])
    _scatter(plane, features, cells, space)
    add_legend(figure, space, ids_in(*cells), columns=12)
    return figure


def _as_colours(features: Sequence[Tensor]) -> list[Array]:
    """Turn features [D,h,w] into uint8 [h,w,3] by their three strongest common axes; one range for all photos."""
    rows = [_directions(one) for one in features]
    middle, basis = principal_axes(torch.cat(rows), 3)
    values = [(one - middle) @ basis.T for one in rows]
    low, high = (torch.cat(values).quantile(q, dim=0) for q in (0.01, 0.99))
    painted = [(255 * ((one - low) / (high - low)).clamp(0, 1)).round().to(torch.uint8) for one in values]
    return [one.reshape(*photo.shape[1:], 3).numpy() for one, photo in zip(painted, features, strict=True)]


def _scatter(axes: Axes, features: Sequence[Tensor], cells: Sequence[Tensor], space: Space) -> None:
    """Draw people's cells as points in their classes' colours, dots and crosses by photo."""
    with style():
        axes.set(xticks=[], yticks=[], title="cells of the people: dots support, crosses query")
        axes.spines[:].set_visible(False)
    palette = palette_of(space) / 255.0
    kinds = [ids.flatten() for ids in cells]
    rows = [_directions(one)[(ids != 0) & (ids != IGNORE)] for one, ids in zip(features, kinds, strict=True)]
    kinds = [ids[(ids != 0) & (ids != IGNORE)] for ids in kinds]
    middle, basis = principal_axes(torch.cat(rows), 2)
    for one, ids, (mark, size, width) in zip(rows, kinds, (("o", 13, 0.0), ("x", 15, 0.9)), strict=False):
        x, y = ((one - middle) @ basis.T).T.numpy()
        axes.scatter(x, y, s=size, marker=mark, color=palette[ids.numpy()], linewidths=width, zorder=2)
