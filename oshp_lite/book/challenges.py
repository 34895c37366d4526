"""Drawings of notebook 01's three challenges: sizes in cells, the testing bias, similar parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from oshp_lite.labels import Fold, LabelSpace
from oshp_lite.viz.images import Colours, enlarge, overlay
from oshp_lite.viz.panels import class_matrix, ids_in, legend_handles
from oshp_lite.viz.style import INK, new_figure, show_image, style

Array = NDArray[Any]
PERSON = Colours(np.tile(np.array([[120, 120, 200]], np.uint8), (256, 1)), {1: "person (coarse)"})
"""How a mask of the whole person is painted."""


def size_chart(cells: Mapping[str, Array], *, apart: str = "person") -> Figure:
    """Draw how many cells each class has: the middle half of the photos as a bar, the median as a dot.

    cells  name -> cells per photo in which the class occurs, integer [photos]; `apart` is drawn in another colour
    """
    order = sorted(cells, key=lambda name: float(np.median(cells[name])))
    figure, axes = new_figure(width=7.0, height=3.1)
    chart = axes[0, 0]
    with style():
        for place, name in enumerate(order):
            low, middle, high = np.percentile(cells[name], (25, 50, 75))
            colour = INK[0] if name == apart else INK[2]
            chart.plot([max(low, 0.5), max(high, 0.6)], [place, place], color=colour, alpha=0.35, linewidth=7,
                       linestyle="-", solid_capstyle="butt")  # fmt: skip
            chart.plot(max(middle, 0.5), place, "o", color=colour, markersize=5)
            chart.text(1.25 * max(high, 0.6), place, f"{middle:.0f}", va="center", fontsize=8)
        chart.set_xscale("log")
        chart.set_xlim(0.5, 700)
        chart.set_xticks([0.5, 1, 3, 10, 30, 100, 300], ["0", "1", "3", "10", "30", "100", "300"])
        chart.minorticks_off()
        chart.set_yticks(range(len(order)), order)
        chart.grid(False, axis="y")
        chart.set_xlabel("cells of a photo (logarithmic from 1 on; the left end stands for 0)")
        chart.set_title("Small parts have fewer than ten of a photo's 1,024 cells")
    return figure


def bias_chart(shares: Mapping[str, Mapping[int, float]], fold: Fold, *, title: str) -> Figure:
    """Draw grouped bars, one group a class with the novel ones first, one bar a network.

    shares  network -> class id -> percent
    """
    order = (*fold.novel, *fold.base_foreground)
    figure, axes = new_figure(width=7.4, height=3.0)
    chart = axes[0, 0]
    with style():
        chart.axvspan(-0.5, len(fold.novel) - 0.5, color=INK[3], alpha=0.13, linewidth=0)
        for step, ((name, values), colour) in enumerate(zip(shares.items(), (INK[1], INK[2], INK[5]), strict=False)):
            places = np.arange(len(order)) + 0.27 * (step - 1)
            chart.bar(places, [values[c] for c in order], width=0.25, color=colour, label=name)
        chart.text(len(fold.novel) / 2 - 0.5, 103, "novel", ha="center", weight="bold")
        chart.text(len(fold.novel) + len(fold.base_foreground) / 2 - 0.5, 103, "base", ha="center", weight="bold")
        chart.set_xticks(range(len(order)), fold.names(order), rotation=25, ha="right", rotation_mode="anchor")
        chart.set_xlim(-0.5, len(order) - 0.5)
        chart.set_ylim(0, 112)
        chart.set_yticks(range(0, 101, 25))
        chart.set_ylabel("share of its pixels, %")
        chart.grid(False, axis="x")
        chart.set_title(title)
        figure.legend(loc="outside lower center", ncols=len(shares))
    return figure


def bias_photos(rows: Sequence[tuple[Array, Array, Array, Array, Array]], space: LabelSpace) -> Figure:
    """Draw one row a photo: all labels, the labels of training, the fine and the coarse prediction.

    rows  (photo uint8 [H,W,3], all labels, training labels, fine prediction, coarse 0/1 prediction); the masks may be
          smaller than the photo
    """
    titles = ("all labels", "labels in training", "fine prediction", "coarse prediction")
    figure, axes = new_figure(len(rows), 4, width=1.8, height=1.95)
    for row, (photo, *masks) in enumerate(rows):
        for column, (mask, title) in enumerate(zip(masks, titles, strict=True)):
            painted = overlay(photo, enlarge(mask, photo.shape[:2]), PERSON if column == 3 else space, alpha=0.55)
            show_image(axes[row, column], painted, title if row == 0 else None)
    handles = legend_handles(space, ids_in(*(mask for _, *masks in rows for mask in masks[:3])))
    with style():
        figure.legend(handles=[*handles, *legend_handles(PERSON, [1])], loc="outside lower center", ncols=6)
    return figure


def shape_maps(shapes: Array, names: Sequence[str]) -> Figure:
    """Draw mean shapes, float [n,h,w] in [0,1], side by side with one colour bar."""
    figure, axes = new_figure(1, len(shapes), width=0.68, height=1.9)
    for place, shape, name in zip(axes[0], shapes, names, strict=True):
        drawn = show_image(place, shape, vmin=0, vmax=1)
        place.set_title(name, fontsize=6.5, loc="center")
    with style():
        bar = figure.colorbar(drawn, ax=list(axes[0]), shrink=0.8, pad=0.01, ticks=[0, 0.5, 1])
        bar.set_label("share of the people who show it", fontsize=7)
    return figure


def similarity_maps(tables: Mapping[str, Array], names: Sequence[str]) -> Figure:
    """Draw tables of similarity between classes, float [n,n] in [0,1], on one scale with one colour bar.

    A class compared with itself stays blank; the largest value of each row carries its number.
    """
    figure, axes = new_figure(1, len(tables), width=2.75, height=3.45)
    for place, (title, values) in zip(axes[0], tables.items(), strict=True):
        blank = np.where(np.eye(len(values), dtype=bool), np.nan, np.clip(values, 0, 1))
        drawn = class_matrix(blank, names, title, axes=place, written=lambda value: "")
        for row, column in enumerate(np.nanargmax(blank, axis=1)):
            value = blank[row, column]
            shade = "white" if value <= 0.6 else "black"
            place.text(column, row, f"{value:.1f}", color=shade, ha="center", va="center", fontsize=7)
        if place is not axes[0, 0]:
            place.set_yticks([])
    with style():
        bar = figure.colorbar(drawn, ax=list(axes[0]), shrink=0.6, pad=0.01, ticks=[0, 0.5, 1])
        bar.set_label("similarity")
    return figure
