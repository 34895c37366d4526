"""Panels of predictions, the figure that says why there is nothing to draw, and figures as files in three formats."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.patheffects import Normal, Stroke
from PIL import Image

from oshp_lite.files import write_together
from oshp_lite.study.figures.boxes import Box
from oshp_lite.study.figures.pairs import Array, PredictedPair
from oshp_lite.study.records import NotRun
from oshp_lite.viz import (
    INK,
    Colours,
    add_legend,
    enlarge,
    fig_to_png,
    holds_photos,
    ids_in,
    kept,
    laid_out,
    name_regions,
    new_figure,
    overlay,
    show_image,
    style,
)

PLAIN = ("not run yet", "not run", "")
"""Reasons that say no more than that there is no run."""
FINE = 384
"""Rows that a photo has at least before it is drawn: the papers' small photos would show their pixels."""
DPI = 150
"""Pixels an inch of a figure's PNG."""

METHOD_INK = {"eopnet": INK[0], "popnet": INK[1], "panet": INK[2], "sgone": INK[3], "amp": INK[4]}
GREY = "#85858f"
"""A method has one colour in all charts; those without one of their own are grey."""


def headed(figure: Figure, title: str, note: str = "") -> Figure:
    """Put a title above a figure and a wrapped note below it."""
    with style():
        inches = figure.get_size_inches()[0]
        wrapped = "\n".join(textwrap.wrap(title, int(12 * inches)))  # signs of this size that go into a line
        figure.suptitle(wrapped + "\n" * title.endswith("\n"), x=0.01, ha="left", fontsize=10)
        if note:
            wide = int(17 * inches)
            figure.supxlabel(textwrap.fill(note, wide), fontsize=7, x=0.01, ha="left")
    return figure


def end_labels(axes: Axes, ends: Sequence[tuple[str, float, float, str]], tall: float) -> None:
    """Write names at the ends of lines, apart from one another: (name, x, y, colour) in data units.

    tall  inches of the axes, about
    """
    low, high = axes.get_ylim()
    ranked, least = sorted(ends, key=lambda end: end[2]), (high - low) * 0.15 / tall
    for (name, x, y, colour), height in zip(ranked, apart([end[2] for end in ranked], least), strict=True):
        at = (10, (height - y) / (high - low) * tall * 72)
        under = {"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85}  # no line strikes a name through
        look = {"va": "center", "fontsize": 8, "color": colour, "bbox": under, "zorder": 5}
        axes.annotate(name, (x, y), at, textcoords="offset points", **look)  # type: ignore[arg-type]


def apart(values: Sequence[float], least: float) -> list[float]:
    """Return rising values moved as little as needed so that neighbours are `least` apart; groups keep their mean."""
    groups: list[list[float]] = []
    for value in values:
        groups.append([value])
        while len(groups) > 1 and _lowest(groups[-1], least) < _lowest(groups[-2], least) + least * len(groups[-2]):
            groups[-2:] = [groups[-2] + groups[-1]]
    return [_lowest(group, least) + least * place for group in groups for place in range(len(group))]


def _lowest(group: Sequence[float], least: float) -> float:
    """Return the lowest place of a group around its mean."""
    return float(np.mean(group)) - least * (len(group) - 1) / 2


def not_run(title: str, reason: str) -> Figure:
    """Return a figure in place of one that cannot be drawn: its title and why."""
    figure, axes = new_figure(width=6.4, height=1.3)
    axes[0, 0].set_axis_off()
    with style():
        why = reason.removeprefix("not run: ")
        said = "No run is at hand." if why in PLAIN else f"Not run: {why}."
        said = said.replace("Not run: no run", "No run")
        text = textwrap.fill(said.replace("..", "."), 88)
        axes[0, 0].set_title(title)
        axes[0, 0].text(0.0, 0.75, text, va="top", transform=axes[0, 0].transAxes)
    return figure


def _colours(pair: PredictedPair, novel: str) -> Colours:
    """Return the look of the pair's ids; names of novel ones end in `novel`."""
    named = kept(pair.space)
    names = {index: name + (novel if index in pair.novel else "") for index, name in named.names.items()}
    return Colours(named.palette, names)


def mask_panel(axes: Axes, photo: Array, mask: Array, pair: PredictedPair) -> None:
    """Draw a mask over its photo; novel regions (1-way: the class's) carry their name, the legend has the others.

    Names of novel classes end in a star; id 1 of a 1-way mask has the look of the class.
    """
    colours, marked = _colours(pair, "*"), (pair.class_id,) if pair.class_id else pair.novel
    shown = np.where(mask == 1, pair.class_id, mask) if pair.class_id else mask
    fine = enlarge(shown, tuple(_factor(mask) * side for side in mask.shape))
    show_image(axes, overlay(_enlarged(photo), fine, colours, alpha=0.65), extent=_extent(mask))
    name_regions(axes, np.where(np.isin(shown, marked), shown, 0), colours, smallest=0.006)


def photo_panel(axes: Axes, photo: Array) -> None:
    """Draw a photo, fine enough for the page."""
    show_image(axes, _enlarged(photo), extent=_extent(photo))


def _factor(picture: Array) -> int:
    """Return how many times a picture is enlarged so that it has at least `FINE` rows."""
    return -(-FINE // len(picture))


def _enlarged(photo: Array) -> Array:
    """Return a photo, uint8 [H,W,3], enlarged smoothly by `_factor`."""
    height, width = photo.shape[:2]
    times = _factor(photo)
    return np.asarray(Image.fromarray(photo).resize((times * width, times * height), Image.Resampling.BICUBIC))


def _extent(picture: Array) -> tuple[float, float, float, float]:
    """Return the place of an enlarged picture in pixels of the original."""
    height, width = picture.shape[:2]
    return -0.5, width - 0.5, height - 0.5, -0.5


def prediction_panel(axes: Axes, pair: PredictedPair, method: str) -> None:
    """Draw a method's prediction over the query photo; below it its IoU.

    k-way: the mean over all parts, by which pairs are chosen, and that over the novel ones; 1-way: the pair's class.
    """
    mask = pair.predictions[method]
    assert not isinstance(mask, NotRun)
    mask_panel(axes, pair.query, mask, pair)
    scores = {"all": pair.mean_iou(mask), "novel": pair.mean_iou(mask, novel=True)}
    shown = {"IoU": scores["novel"]} if pair.class_id else scores
    text = ", ".join(f"{name} {100 * score:.0f}" for name, score in shown.items() if not np.isnan(score))
    with style():
        axes.text(0.5, -0.02, text, ha="center", va="top", fontsize=7, transform=axes.transAxes)


def box_panel(axes: Axes, boxes: Sequence[Box]) -> None:
    """Draw white boxes with a dark rim, which stands out on any photo."""
    for box in boxes:
        corner = (box.left - 0.5, box.top - 0.5)
        frame = Rectangle(corner, box.right - box.left, box.bottom - box.top, fill=False, edgecolor="white")
        frame.set(linewidth=1.4, path_effects=[Stroke(linewidth=3.0, foreground="black"), Normal()])
        axes.add_patch(frame)


def missing_note(missing: Mapping[str, str]) -> str:
    """Return in words what is left out, and why: {what: reason, its first clause}; nothing when nothing is."""
    reasons: dict[str, list[str]] = {}
    for name, reason in missing.items():
        clause, *_ = re.split(r"[:;] ", reason.removeprefix("not run: "))
        reasons.setdefault(clause, []).append(name)
    each = (f"{', '.join(names)}{'' if reason in PLAIN else f' ({reason})'}" for reason, names in reasons.items())
    return f"Not run: {'; '.join(each)}." if reasons else ""


def legend_below(figure: Figure, pairs: Sequence[PredictedPair]) -> None:
    """Put the names and colours of all ids that occur in the pairs below a figure."""
    ids: set[int] = set()
    for pair in pairs:
        ids.update({pair.class_id} if pair.class_id else ids_in(pair.support_mask, *pair.masks))
    add_legend(
        figure, _colours(pairs[0], " (novel)"), sorted(ids), columns=max(3, int(figure.get_size_inches()[0] / 1.35))
    )


def save_figure(figure: Figure, folder: Path | str, name: str) -> list[Path]:
    """Write a figure as `name`.svg, .pdf (vector) and .png, all of one layout; returns the paths.

    Equal figures give equal files.
    """
    content = {}
    with matplotlib.rc_context({"svg.hashsalt": "oshp-lite", "svg.fonttype": "path"}), laid_out(figure, DPI):
        for kind, date in (("svg", "Date"), ("pdf", "CreationDate")):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata={date: None})
            content[Path(folder) / f"{name}.{kind}"] = buffer.getvalue()
        colours = None if holds_photos(figure) else 256
        content[Path(folder) / f"{name}.png"] = fig_to_png(figure, dpi=DPI, colours=colours)
    write_together(content)
    return list(content)
