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

from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic
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

PHOTOS = "photos"
"""Mark of a figure that shows photos of a dataset, which may not be passed on with the project."""
NAMED_FROM = 0.03
"""Share of the photo from which a base region carries its name; tags on smaller ones hide faces and each other."""


def not_run(title: str, reason: str) -> Figure:
    """Return a figure in place of one that cannot be drawn: its title and why."""
    figure, axes = new_figure(width=6.4, height=1.3)
    axes[0, 0].set_axis_off()
    with style():
        text = "\n".join(textwrap.wrap(f"Not run: {reason.removeprefix('not run: ')}.".replace("..", "."), 88))
        axes[0, 0].set_title(title)
        axes[0, 0].text(0.0, 0.75, text, va="top", transform=axes[0, 0].transAxes)
    return figure


def mask_panel(axes: Axes, photo: Array, mask: Array, pair: PredictedPair, title: str | None = None) -> None:
    """Draw a mask over its photo; novel regions (1-way: the class's) and large ones are named, the legend has the rest.

    Novel classes carry a star; id 1 of a 1-way mask has the look of the class.
    """
    named = kept(pair.space)
    names = {index: name + ("*" if index in pair.novel else "") for index, name in named.names.items()}
    palette = named.palette.copy()
    if pair.class_id:
        palette[1], names[1] = palette[pair.class_id].copy(), names[pair.class_id]
    colours = Colours(palette, names)
    show_image(axes, overlay(photo, mask, colours, alpha=0.65), title)
    large = [index for index in ids_in(mask) if (mask == index).mean() > NAMED_FROM]
    tagged = np.isin(mask, [*([1] if pair.class_id else pair.novel), *large])
    name_regions(axes, np.where(tagged, mask, 0), colours, smallest=0.006)


def prediction_panel(axes: Axes, pair: PredictedPair, name: str, title: str | None = None) -> None:
    """Draw a method's prediction over the query photo, or the reason why there is none; below it its IoU.

    k-way: the mean over all parts, by which pairs are chosen, and that over the novel ones; 1-way: the pair's class.
    """
    mask = pair.predictions.get(name, NotRun("no prediction was kept"))
    if isinstance(mask, NotRun):
        show_image(axes, np.full((*pair.query.shape[:2], 3), 244, np.uint8), title)
        text = "\n".join(textwrap.wrap(f"not run: {mask.reason.removeprefix('not run: ')}", 20))
        with style():
            axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, transform=axes.transAxes)
        return
    mask_panel(axes, pair.query, mask, pair, title)
    scores = {"parts": pair.mean_iou(mask), "novel": pair.mean_iou(mask, novel=True)}
    if pair.class_id:
        text = f"IoU {100 * scores['novel']:.0f} %"
    else:
        text = ", ".join(f"{name} {100 * score:.0f} %" for name, score in scores.items() if not np.isnan(score))
    with style():
        axes.text(0.5, -0.02, text, ha="center", va="top", fontsize=7, transform=axes.transAxes)


def legend_below(figure: Figure, pairs: Sequence[PredictedPair]) -> None:
    """Put the names and colours of all ids that occur in the pairs of the first label space below a figure."""
    space, novel = pairs[0].space, pairs[0].novel
    ids: set[int] = set()
    for pair in pairs:
        if pair.space.name == space.name:
            ids.update({pair.class_id} if pair.class_id else ids_in(pair.support_mask, *pair.masks))
    named = kept(space)
    names = {index: name + (" (novel)" if index in novel else "") for index, name in named.names.items()}
    add_legend(figure, Colours(named.palette, names), sorted(ids), columns=7)


def save_figure(figure: Figure, folder: Path | str, name: str, *, dpi: int = 150, photos: bool = False) -> list[Path]:
    """Write a figure as `name`.svg, .pdf (vector) and .png; returns the paths. Equal figures give equal files.

    Raises UserError for a figure that shows a dataset's photos, unless `photos` says that the folder stays private.
    """
    if figure.get_gid() == PHOTOS and not photos:
        raise UserError(
            f"figure {name} shows photos of a dataset; keep it private (photos=True) or draw it of procedural people"
        )
    content = {}
    with matplotlib.rc_context({"svg.hashsalt": "oshp-lite", "svg.fonttype": "path"}):
        for kind, date in (("svg", "Date"), ("pdf", "CreationDate")):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata={date: None})
            content[kind] = buffer.getvalue()
    content["png"] = fig_to_png(figure, dpi=dpi)
    paths = [Path(folder) / f"{name}.{kind}" for kind in content]
    for path, data in zip(paths, content.values(), strict=True):
        write_atomic(path, data)
    return paths
