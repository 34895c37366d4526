"""The one-shot human parsing problem beside ordinary one-shot segmentation: our counterpart of the journal's Fig. 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.labels import LabelSpace
from oshp_lite.viz.images import Colours, overlay
from oshp_lite.viz.panels import add_legend, ids_in, name_regions
from oshp_lite.viz.style import INK, new_figure, show_image, style

Array = NDArray[Any]


class Row(NamedTuple):
    """One task: support photo and mask, query photo and the answer asked for; uint8 [H,W,3] and integer [H,W]."""

    support_image: Array
    support_mask: Array
    query_image: Array
    answer: Array


def _task(axes: Sequence[Axes], row: Row, colours: Any, titles: Sequence[str], names: bool) -> None:
    """Draw the four panels of one task: given | given | given | asked for."""
    panels = (
        (row.support_image, None),
        (overlay(row.support_image, row.support_mask, colours), row.support_mask),
        (row.query_image, None),
        (overlay(row.query_image, row.answer, colours), row.answer),
    )
    for place, (picture, mask), title in zip(axes, panels, titles, strict=True):
        show_image(place, picture, title)
        if names and mask is not None:
            name_regions(place, mask, colours, smallest=0.004)


def problem_comparison(
    parts: Row,
    objects: Row,
    shares: Mapping[str, float],
    twins: Sequence[tuple[str, Array, Array]],
    *,
    space: LabelSpace,
    object_colours: Colours,
) -> Figure:
    """Draw the two tasks, the sizes of what they look for, and two look-alikes.

    parts, objects  one episode of each task (see `Row`); masks of kept ids, or 0/1 for the object
    shares          name -> share of the photo in percent; names that start with "object" are drawn apart
    twins           two photos whose people look alike: (title, photo uint8 [H,W,3], mask of kept ids [H,W])
    """
    figure, axes = new_figure(3, 4, width=2.0, height=2.25)
    _task(axes[0], parts, space, ("(a) support photo", "its mask", "query photo", "asked for: every part"), True)
    _task(
        axes[1], objects, object_colours, ("(b) support photo", "its mask", "query photo", "asked for: 1 object"), False
    )
    _bars(figure, axes[2], shares)
    for place, (title, picture, mask) in zip(axes[2, 2:], twins, strict=True):
        show_image(place, _beside(picture, mask, space), title)
    add_legend(figure, space, ids_in(parts.support_mask, parts.answer, *(mask for _, _, mask in twins)), columns=7)
    return figure


def _beside(picture: Array, mask: Array, space: LabelSpace) -> Array:
    """Crop to the upright box around what the mask shows; the photo beside its overlay, with a white gap."""
    ys, xs = np.nonzero(mask)
    middle, reach = (int(xs.min()) + int(xs.max())) // 2, max(2, (int(ys.max()) - int(ys.min()) + 9) // 4)
    left = min(max(middle - reach, 0), max(picture.shape[1] - 2 * reach, 0))
    box = np.s_[max(int(ys.min()) - 4, 0) : int(ys.max()) + 5, left : left + 2 * reach]
    plain = picture[box]
    gap = np.full((len(plain), 3, 3), 255, np.uint8)
    return np.hstack([plain, gap, overlay(picture, mask, space, alpha=0.5)[box]])


def _bars(figure: Figure, row: Array, shares: Mapping[str, float]) -> None:
    """Merge the first two places of a row into one chart of sizes."""
    grid = row[0].get_gridspec()
    place = row[0].get_subplotspec()
    for axes in row[:2]:
        axes.remove()
    with style():
        chart = figure.add_subplot(grid[place.rowspan.start, :2])
        ordered = sorted(shares.items(), key=lambda item: item[1])
        colours = [INK[1] if name.startswith("object") else INK[2] for name, _ in ordered]
        chart.barh(range(len(ordered)), [share for _, share in ordered], color=colours)
        chart.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=7)
        for height, (_, share) in enumerate(ordered):
            chart.text(share + 0.3, height, f"{share:.1f}", va="center", fontsize=7)
        chart.set_xlim(0, 1.15 * max(shares.values()))
        chart.set_title("(c) share of the photo, %")
        chart.grid(False, axis="y")


def class_matrix(
    values: Array, names: Sequence[str], title: str, *, axes: Axes, low: float = 0.0, high: float = 1.0
) -> None:
    """Draw a square table of similarities, float [n,n], with its numbers; `names` on both sides."""
    with style():
        axes.imshow(values, cmap="magma_r", vmin=low, vmax=high)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
        axes.grid(False)
        axes.set_title(title)
        middle = low + 0.6 * (high - low)
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > middle else "black"
            axes.text(
                column, row, f"{value:.1f}".replace("0.", "."), ha="center", va="center", fontsize=6, color=colour
            )
