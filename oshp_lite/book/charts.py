"""Drawings of notebooks 01 and 02: the problem beside one-shot segmentation, contact sheets, folds, pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.labels import IGNORE, Fold, LabelSpace
from oshp_lite.viz.images import Colours, mask_to_rgb, overlay
from oshp_lite.viz.panels import Space, add_legend, ids_in, name_beside
from oshp_lite.viz.style import INK, new_figure, show_image, style

Array = NDArray[Any]


class Task(NamedTuple):
    """One task: support photo and mask, query photo and its truth; photos uint8 [H,W,3], masks integer [H,W]."""

    support_image: Array
    support_mask: Array
    query_image: Array
    truth: Array


def _task(axes: Sequence[Axes], task: Task, colours: Any, titles: Sequence[str], names: bool) -> None:
    """Draw the four panels of one task: support photo, its mask, query photo, truth."""
    panels = (
        (task.support_image, None),
        (overlay(task.support_image, task.support_mask, colours), task.support_mask),
        (task.query_image, None),
        (overlay(task.query_image, task.truth, colours), task.truth),
    )
    for place, (picture, mask), title in zip(axes, panels, titles, strict=True):
        show_image(place, picture, title)
        if names and mask is not None:
            name_beside(place, mask, colours)


def problem_comparison(
    parts: Task,
    objects: Task,
    shares: Mapping[str, float],
    twins: Sequence[tuple[str, Array, Array]],
    *,
    space: LabelSpace,
    object_colours: Colours,
) -> Figure:
    """Draw the two tasks, the sizes of what they look for, and two look-alikes.

    parts, objects  one episode of each task (see `Task`); masks of kept ids, or 0/1 for the object
    shares          name -> share of the photo in percent; names that start with "object" are drawn apart
    twins           two photos whose people look alike: (title, photo uint8 [H,W,3], mask of kept ids [H,W])
    """
    figure, axes = new_figure(3, 4, width=2.0, height=2.1, height_ratios=(1.0, 1.0, 1.3))
    _task(axes[0], parts, space, ("(a) support photo", "its mask", "query photo", "target: every part"), True)
    _task(axes[1], objects, object_colours, ("(b) support photo", "its mask", "query photo", "target: 1 object"), False)
    _bars(figure, axes[2], shares)
    for place, (title, picture, mask) in zip(axes[2, 2:], twins, strict=True):
        show_image(place, _beside(picture, mask, space), title)
    add_legend(figure, space, ids_in(parts.support_mask, parts.truth, *(mask for _, _, mask in twins)), columns=7)
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
    grid, line = row[0].get_gridspec(), row[0].get_subplotspec().rowspan.start
    for axes in row[:2]:
        axes.remove()
    with style():
        chart = figure.add_subplot(grid[line, :2])
        ordered = sorted(shares.items(), key=lambda item: item[1])
        colours = [INK[1] if name.startswith("object") else INK[2] for name, _ in ordered]
        chart.barh(range(len(ordered)), [share for _, share in ordered], color=colours)
        chart.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=7)
        for height, (_, share) in enumerate(ordered):
            chart.text(share + 0.3, height, f"{share:.1f}", va="center", fontsize=7)
        chart.set_xlim(0, 1.15 * max(shares.values()))
        chart.set_title("(c) share of the photo, %")
        chart.grid(False, axis="y")


def contact_sheet(
    photos: Sequence[Array],
    masks: Sequence[Array],
    space: Space,
    *,
    columns: int = 6,
    cell: float = 1.3,
    ratio: float = 1.0,
) -> Figure:
    """Draw photos, `columns` a row, each with its overlaid mask below it.

    photos uint8 [H,W,3]; masks integer [H,W] of ids that `space` names
    cell   inches of one picture's width; `ratio` times that is its height
    """
    rows = -(-len(photos) // columns)
    figure, axes = new_figure(2 * rows, columns, width=cell, height=cell * ratio + 0.45 / (2 * rows))  # and the legend
    figure.set_layout_engine("constrained", h_pad=0.015, w_pad=0.015, hspace=0, wspace=0)
    for place in axes.flat:
        place.set_axis_off()
    for index, (photo, mask) in enumerate(zip(photos, masks, strict=True)):
        row, column = divmod(index, columns)
        show_image(axes[2 * row, column], photo)
        show_image(axes[2 * row + 1, column], overlay(photo, mask, space, edges=False))
    add_legend(figure, space, ids_in(*masks), columns=7)
    return figure


def many_colours(ids: Array) -> Array:
    """Paint a map of many ids, integer [H,W], so that neighbouring ids stay apart: uint8 [H,W,3]; id 0 is dark."""
    palette = np.zeros((256, 3), np.uint8)
    turns = np.arange(1, 256) * 0.618034 % 1.0  # golden-ratio steps round the colour circle
    light = 150 + 90 * (np.arange(1, 256) % 3 - 1)
    for channel, shift in enumerate((0.0, 1 / 3, 2 / 3)):
        wave = 0.5 + 0.5 * np.cos(2 * np.pi * (turns + shift))
        palette[1:, channel] = np.clip(40 + wave * light, 0, 255)
    palette[0] = (28, 30, 38)
    palette[IGNORE] = (236, 236, 236)
    return mask_to_rgb(ids, palette)


def fold_chart(folds: Sequence[Fold], titles: Sequence[str]) -> Figure:
    """Draw one row a fold and one column a class: novel classes dark and lettered N, base ones pale, absent ones empty.

    titles  one for each fold
    """
    names = list(dict.fromkeys(name for chosen in folds for name in chosen.names(chosen.foreground)))
    figure, axes = new_figure(width=7.4, height=0.9 + 0.27 * len(folds))
    chart: Axes = axes[0, 0]
    grid = np.full((len(folds), len(names), 3), 255, np.uint8)
    with style():
        for row, chosen in enumerate(folds):
            for class_id in chosen.foreground:
                column = names.index(chosen.names((class_id,))[0])
                novel = class_id in chosen.novel
                grid[row, column] = (179, 54, 30) if novel else (205, 221, 235)
                if novel:
                    chart.text(column, row, "N", ha="center", va="center", color="white", fontsize=8, weight="bold")
        chart.imshow(grid, aspect="auto")
        chart.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
        chart.set_yticks(range(len(folds)), titles)
        chart.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        chart.set_yticks(np.arange(len(folds) + 1) - 0.5, minor=True)
        chart.grid(False)
        chart.grid(True, which="minor", color="white", linewidth=2)
        chart.tick_params(which="both", length=0)
        chart.spines[:].set_visible(False)
    return figure


def pair_chart(pairs: Sequence[Sequence[int]], class_names: Mapping[int, str]) -> Figure:
    """Draw which photos each class uses, a row a class in the order of the pairs: queries left, supports right.

    pairs  (query line number, support line number, class id)
    """
    order = list(dict.fromkeys(pair[2] for pair in pairs))
    figure, axes = new_figure(1, 2, width=3.6, height=2.9, sharey=True)
    with style():
        for place, side, title in zip(axes[0], (0, 1), ("query photos", "support photos"), strict=True):
            for row, class_id in enumerate(order):
                lines = sorted({pair[side] for pair in pairs if pair[2] == class_id})
                place.plot(lines, [row] * len(lines), "|", color=INK[0], markersize=9, markeredgewidth=0.7)
            place.set_xlabel("line number in the list")
            place.set_title(f"{len({pair[side] for pair in pairs})} {title}")
            place.grid(False)
        axes[0, 0].set_yticks(range(len(order)), [class_names[c] for c in order])
        axes[0, 0].set_ylim(len(order) - 0.5, -0.5)
    return figure


def presence_chart(share: Mapping[str, float], reference: Mapping[str, float], labels: tuple[str, str]) -> Figure:
    """Draw the share of photos that show each class, in [0,1], as bars, and a reference as dots."""
    order = sorted(share, key=lambda name: share[name])
    figure, axes = new_figure(width=6.2, height=2.7)
    chart: Axes = axes[0, 0]
    with style():
        chart.barh(order, [100 * share[name] for name in order], color="#c4c8d8", label=labels[0])
        dots = [100 * reference.get(name, float("nan")) for name in order]
        chart.plot(dots, range(len(order)), "o", color=INK[1], label=labels[1])
        chart.set_xlabel("photos that show the class, %")
        chart.grid(False, axis="y")
        chart.legend(loc="lower right")
    return figure
