"""Panels of predictions, the figure that says why there is nothing to draw, and figures as files in three formats."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oshp_lite.files import write_together
from oshp_lite.study.figures.pairs import Array, PredictedPair
from oshp_lite.study.records import NotRun
from oshp_lite.viz import (
    Colours,
    add_legend,
    fig_to_png,
    ids_in,
    kept,
    name_regions,
    new_figure,
    overlay,
    show_image,
    style,
)

NAMED_FROM = 0.03
"""Share of the photo from which a base region carries its name; tags on smaller ones hide faces and each other."""


def headed(figure: Figure, title: str, note: str = "") -> Figure:
    """Put a title above a figure and a wrapped note below it."""
    with style():
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        if note:
            wide = int(17 * figure.get_size_inches()[0])  # signs of this size that go into a line
            figure.supxlabel(textwrap.fill(note, wide), fontsize=7, x=0.01, ha="left")
    return figure


def not_run(title: str, reason: str) -> Figure:
    """Return a figure in place of one that cannot be drawn: its title and why."""
    figure, axes = new_figure(width=6.4, height=1.3)
    axes[0, 0].set_axis_off()
    with style():
        text = textwrap.fill(f"Not run: {reason.removeprefix('not run: ')}.".replace("..", "."), 88)
        axes[0, 0].set_title(title)
        axes[0, 0].text(0.0, 0.75, text, va="top", transform=axes[0, 0].transAxes)
    return figure


def _colours(pair: PredictedPair, novel: str) -> Colours:
    """Return the look of the pair's ids; names of novel ones end in `novel`."""
    named = kept(pair.space)
    names = {index: name + (novel if index in pair.novel else "") for index, name in named.names.items()}
    return Colours(named.palette, names)


def mask_panel(axes: Axes, photo: Array, mask: Array, pair: PredictedPair, title: str | None = None) -> None:
    """Draw a mask over its photo; novel regions (1-way: the class's) and large ones are named, the legend has the rest.

    Novel classes carry a star; id 1 of a 1-way mask has the look of the class.
    """
    colours, marked = _colours(pair, "*"), (pair.class_id,) if pair.class_id else pair.novel
    shown = np.where(mask == 1, pair.class_id, mask) if pair.class_id else mask
    show_image(axes, overlay(photo, shown, colours, alpha=0.65), title)
    named = [index for index in ids_in(shown) if index in marked or (shown == index).mean() > NAMED_FROM]
    name_regions(axes, np.where(np.isin(shown, named), shown, 0), colours, smallest=0.006)


def prediction_panel(axes: Axes, pair: PredictedPair, method: str, title: str | None = None) -> None:
    """Draw a method's prediction over the query photo, or the reason why there is none; below it its IoU.

    k-way: the mean over all parts, by which pairs are chosen, and that over the novel ones; 1-way: the pair's class.
    """
    mask = pair.predictions.get(method, NotRun("no prediction was kept"))
    if isinstance(mask, NotRun):
        show_image(axes, np.full((*pair.query.shape[:2], 3), 244, np.uint8), title)
        place, text = 0.5, textwrap.fill(f"not run: {mask.reason.removeprefix('not run: ')}", 20)
    else:
        mask_panel(axes, pair.query, mask, pair, title)
        scores = {"parts": pair.mean_iou(mask), "novel": pair.mean_iou(mask, novel=True)}
        shown = {"IoU": scores["novel"]} if pair.class_id else scores
        place = -0.02
        text = ", ".join(f"{name} {100 * score:.0f} %" for name, score in shown.items() if not np.isnan(score))
    with style():
        below = "top" if place < 0 else "center"
        axes.text(0.5, place, text, ha="center", va=below, fontsize=7, transform=axes.transAxes)


def legend_below(figure: Figure, pairs: Sequence[PredictedPair]) -> None:
    """Put the names and colours of all ids that occur in the pairs below a figure."""
    ids: set[int] = set()
    for pair in pairs:
        ids.update({pair.class_id} if pair.class_id else ids_in(pair.support_mask, *pair.masks))
    add_legend(figure, _colours(pairs[0], " (novel)"), sorted(ids), columns=7)


def save_figure(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write a figure as `name`.svg, .pdf (vector) and .png; returns the paths. Equal figures give equal files."""
    content = {}
    with matplotlib.rc_context({"svg.hashsalt": "oshp-lite", "svg.fonttype": "path"}):
        for kind, date in (("svg", "Date"), ("pdf", "CreationDate")):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata={date: None})
            content[Path(folder) / f"{name}.{kind}"] = buffer.getvalue()
    content[Path(folder) / f"{name}.png"] = fig_to_png(figure, dpi=150)
    write_together(content)
    return list(content)
