"""Pieces of the papers' figures: panels of answers, figures that say what was not run, files in three formats."""

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
from oshp_lite.labels import LabelSpace
from oshp_lite.study.figures.samples import Array, Sample
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


def colours_of(sample: Sample) -> Colours:
    """Return colours and names of a sample's ids; novel classes carry a star, 1-way ids the class's own look."""
    named = kept(sample.space)
    names = {index: name + ("*" if index in sample.novel else "") for index, name in named.names.items()}
    palette = named.palette.copy()
    if sample.class_id:
        palette[1], names[1] = palette[sample.class_id].copy(), names[sample.class_id]
    return Colours(palette, names)


def mask_panel(axes: Axes, photo: Array, mask: Array, sample: Sample, title: str | None = None) -> None:
    """Draw a mask over its photo; novel regions and large ones are named, the legend names the rest."""
    colours = colours_of(sample)
    show_image(axes, overlay(photo, mask, colours, alpha=0.65), title)
    name_regions(axes, np.where(_to_name(mask, sample), mask, 0), colours, smallest=0.006)


def _to_name(mask: Array, sample: Sample) -> Array:
    """Return bool like mask: regions of novel classes (1-way: of the class asked for), and those above `NAMED_FROM`."""
    ids = [1] if sample.class_id else list(sample.novel)
    large = [index for index in ids_in(mask) if (mask == index).mean() > NAMED_FROM]
    return np.isin(mask, [*ids, *large])


def answer_panel(axes: Axes, sample: Sample, name: str, title: str | None = None) -> None:
    """Draw one row's answer over the query photo, or the reason why there is none; below it its IoU.

    k-way: the mean over all parts, by which pairs are chosen, and that over the novel ones; 1-way: the part asked for.
    """
    answer = sample.answers.get(name, NotRun("no answer was given"))
    if isinstance(answer, NotRun):
        reason_panel(axes, answer.reason, title, sample.query.shape[:2])
        return
    mask_panel(axes, sample.query, answer, sample, title)
    parts, novel = parts_iou(sample, answer), novel_iou(sample, answer)
    if sample.class_id:
        told = f"IoU {100 * novel:.0f} %"
    else:
        scores = {"parts": parts, "novel": novel}
        told = ", ".join(f"{name} {100 * score:.0f} %" for name, score in scores.items() if not np.isnan(score))
    with style():
        axes.text(0.5, -0.02, told, ha="center", va="top", fontsize=7, transform=axes.transAxes)


def reason_panel(axes: Axes, reason: str, title: str | None, size: tuple[int, int]) -> None:
    """Draw an empty photo that says why there is no answer."""
    show_image(axes, np.full((*size, 3), 244, np.uint8), title)
    text = "\n".join(textwrap.wrap(f"not run: {reason.removeprefix('not run: ')}", 20))
    with style():
        axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, transform=axes.transAxes)


def parts_iou(sample: Sample, answer: Array) -> float:
    """Return the mean IoU over all parts that the truth holds, as `samples.pair_scores` has it; nan for none."""
    ids = [sample.class_id] if sample.class_id else [c for c in ids_in(sample.truth) if c != 0]
    return float(np.mean([sample.iou(answer, c) for c in ids])) if ids else float("nan")


def novel_iou(sample: Sample, answer: Array) -> float:
    """Return the mean IoU over the novel classes that the truth holds (1-way: of the class asked for); nan for none."""
    ids = [sample.class_id] if sample.class_id else [c for c in sample.novel if (sample.truth == c).any()]
    return float(np.mean([sample.iou(answer, c) for c in ids])) if ids else float("nan")


def legend_below(figure: Figure, samples: Sequence[Sample]) -> None:
    """Put the names and colours of all ids that occur below a figure; novel ones carry a star."""
    by_space: dict[str, tuple[LabelSpace, tuple[int, ...], set[int]]] = {}
    for sample in samples:
        shown = [
            sample.truth,
            sample.support_mask,
            *(one for one in sample.answers.values() if not isinstance(one, NotRun)),
        ]
        ids = {sample.class_id} if sample.class_id else set(ids_in(*shown))
        known = by_space.setdefault(sample.space.name, (sample.space, sample.novel, set()))
        known[2].update(ids)
    space, novel, ids = next(iter(by_space.values()))
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
    written = []
    with matplotlib.rc_context({"svg.hashsalt": "oshp-lite", "svg.fonttype": "path"}):
        for kind, metadata in (("svg", {"Date": None}), ("pdf", {"CreationDate": None})):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, metadata=metadata)
            path = Path(folder) / f"{name}.{kind}"
            write_atomic(path, buffer.getvalue())
            written.append(path)
    path = Path(folder) / f"{name}.png"
    write_atomic(path, fig_to_png(figure, dpi=dpi))
    return [*written, path]
