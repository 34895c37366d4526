"""Ready-made figures: photo grids, episodes with their masks, colour legends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from oshp_lite.labels import IGNORE
from oshp_lite.viz.images import Pixels, Space, name_of, overlay, palette_of, to_array, to_rgb
from oshp_lite.viz.style import new_figure, show_image, style


def ids_in(*masks: Pixels | None) -> list[int]:
    """The foreground ids that occur in the masks, sorted, without 0 and 255."""
    present = {int(value) for mask in masks if mask is not None for value in np.unique(to_array(mask))}
    return sorted(present - {0, IGNORE})


def legend_handles(space: Space, ids: Iterable[int]) -> list[Patch]:
    """One coloured patch with name per id."""
    palette = palette_of(space) / 255.0
    return [Patch(facecolor=palette[i], edgecolor="0.25", linewidth=0.5, label=name_of(space, i)) for i in ids]


def add_legend(figure: Figure, space: Space, ids: Iterable[int], columns: int = 6) -> None:
    """Put a legend of the given ids below the panels of a figure."""
    handles = legend_handles(space, ids)
    if handles:
        with style():
            figure.legend(handles=handles, loc="outside lower center", ncols=min(columns, len(handles)))


def legend_below(axes: Axes, space: Space, ids: Iterable[int], columns: int = 1) -> None:
    """Put a legend of the given ids right below one panel, for panels whose colours mean different things."""
    form: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "ncols": columns}
    with style():
        axes.legend(handles=legend_handles(space, ids), fontsize=7, handlelength=1.2, columnspacing=1.0, **form)


_COVERED = 0.03
"""Share of a panel below which a name hides the region that it stands on."""


def name_regions(axes: Axes, mask: Pixels, space: Space, smallest: float = 0.008) -> None:
    """Write each class's name on its region (from the share `smallest` of the image on), for grey prints.

    Regions that a name would cover have it at the edge of the panel, with a thin line to them.
    """
    ids = to_array(mask)
    frame = {"boxstyle": "round,pad=0.1", "facecolor": "white", "alpha": 0.65, "linewidth": 0}
    thin: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.6, "color": "0.15", "shrinkA": 0, "shrinkB": 0}
    width = ids.shape[1]
    for class_id in ids_in(ids):
        rows, columns = np.nonzero(ids == class_id)
        if rows.size < smallest * ids.size:
            continue
        # The pixel of the class that lies nearest to the class's median: inside the region even when it is bent.
        best = int(((rows - np.median(rows)) ** 2 + (columns - np.median(columns)) ** 2).argmin())
        spot, name = (float(columns[best]), float(rows[best])), name_of(space, class_id)
        look: dict[str, Any] = {"va": "center", "fontsize": 6, "bbox": frame}
        if rows.size >= _COVERED * ids.size:
            axes.text(*spot, name, ha="center", **look)
            continue
        right = spot[0] < width / 2
        look |= {"xytext": ((0.99 if right else 0.01) * width, spot[1]), "ha": "right" if right else "left"}
        axes.annotate(name, spot, arrowprops=thin, **look)


def name_beside(axes: Axes, mask: Pixels, space: Space, smallest: float = 0.002) -> None:
    """Write each class's name beside the panel, with a thin line to its region, so that no name hides a part.

    Classes that cover less than the share `smallest` of the mask, integer [H,W], stay without a name.
    """
    ids = to_array(mask)
    height, width = ids.shape
    spots = []
    for class_id in ids_in(ids):
        rows, columns = np.nonzero(ids == class_id)
        if rows.size >= smallest * ids.size:
            right = int((columns - 0.5 * np.abs(rows - np.median(rows))).argmax())  # far right, near the middle row
            spots.append((float(rows[right]), float(columns[right]), class_id))
    gap, lines = 0.075 * height, np.array([row for row, _, _ in sorted(spots)])
    for k in range(1, len(lines)):
        lines[k] = max(lines[k], lines[k - 1] + gap)
    for k in range(len(lines) - 1, -1, -1):
        lines[k] = min(lines[k], height - 0.5 * gap - gap * (len(lines) - 1 - k))
    thin: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.6, "color": "0.15", "shrinkA": 1, "shrinkB": 0}
    thin["path_effects"] = [withStroke(linewidth=1.8, foreground="white")]  # the line is seen on dark parts too
    for (row, column, class_id), line in zip(sorted(spots), lines, strict=True):
        place: dict[str, Any] = {"xytext": (1.03 * width, line), "va": "center", "fontsize": 7}
        axes.annotate(name_of(space, class_id), (column - 1, row), arrowprops=thin, annotation_clip=False, **place)


def class_matrix(
    values: NDArray[Any],
    names: Sequence[str],
    title: str,
    *,
    axes: Axes,
    low: float = 0.0,
    high: float = 1.0,
    written: Callable[[float], str] = lambda value: f"{value:.1f}".replace("0.", "."),
) -> AxesImage:
    """Draw a square table over classes, float [n,n], with its numbers as `written`; `names` on both sides.

    Bright is high, as in heat maps on photos. Returns Matplotlib's image for a colour bar.
    """
    place: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 6}
    with style():
        image = axes.imshow(values, cmap="magma", vmin=low, vmax=high)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.grid(False)
        axes.set_title(title)
        for (row, column), value in np.ndenumerate(values):
            dark = value <= low + 0.6 * (high - low)
            axes.text(column, row, written(value), color="white" if dark else "black", **place)
    return image


def photo_grid(
    pictures: Sequence[Pixels], titles: Sequence[str] | None = None, columns: int = 4, cell: float = 2.0
) -> Figure:
    """A contact sheet of photos (see `to_rgb`), `columns` per row, `cell` inches each."""
    columns = max(1, min(columns, len(pictures)))
    rows = max(1, -(-len(pictures) // columns))
    figure, axes = new_figure(rows, columns, width=cell, height=cell + (0.25 if titles else 0.0))
    for place in axes.flat:
        place.set_axis_off()
    for index, (place, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
        show_image(place, to_rgb(picture), titles[index] if titles else None)
    return figure


def episode_figure(
    support_image: Pixels,
    support_mask: Pixels,
    query_image: Pixels,
    truth: Pixels | None = None,
    prediction: Pixels | None = None,
    *,
    space: Space,
    channels: str = "rgb",
    named: bool = False,
) -> Figure:
    """One row: support, support mask, query, [truth], [prediction], with a legend of the ids that occur.

    images as in `to_rgb`; masks integer [H,W] of kept ids (pass `raw(space)` for raw ones)
    named  writes the class names beside the masks too, for grey prints
    """
    support, query = to_rgb(support_image, channels), to_rgb(query_image, channels)
    panels: list[tuple[str, Pixels, Pixels | None]] = [
        ("support photo", support, None),
        ("support mask", support, support_mask),
        ("query photo", query, None),
    ]
    panels += [("query, true parts", query, truth)] if truth is not None else []
    panels += [("query, predicted parts", query, prediction)] if prediction is not None else []
    figure, axes = new_figure(1, len(panels), width=2.1, height=2.7)
    for place, (title, photo, mask) in zip(axes[0], panels, strict=True):
        show_image(place, photo if mask is None else overlay(photo, mask, space), title)
        if named and mask is not None:
            name_beside(place, mask, space)
    if not named:
        add_legend(figure, space, ids_in(support_mask, truth, prediction))
    return figure
