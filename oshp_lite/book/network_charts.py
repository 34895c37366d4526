"""Figures of notebooks 05 and 06: one photo parsed in steps, and curves and bars about both networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from oshp_lite.book.maps import SCALES
from oshp_lite.labels import LabelSpace
from oshp_lite.models.complexity import Part
from oshp_lite.viz.images import Colours, Pixels, Space, grey, kept, overlay, to_array
from oshp_lite.viz.panels import add_legend, ids_in, legend_below, legend_handles
from oshp_lite.viz.style import INK, new_figure, show_image, style

Array = NDArray[Any]
Interval = Sequence[float]
"""Mean, low and high end of a score in [0,1]."""


def area_colours(names: Sequence[str]) -> Colours:
    """Colours of body areas, which have the ids 1, 2, ... in the order of their names (at most six)."""
    palette = np.zeros((256, 3), np.uint8)
    palette[1:7] = [(205, 190, 20), (140, 30, 100), (0, 165, 150), (35, 35, 40), (230, 125, 60), (120, 120, 120)]
    return Colours(palette, dict(enumerate(names, start=1)))


def person_colours() -> Colours:
    """The colour of the person, id 1."""
    palette = np.zeros((256, 3), np.uint8)
    palette[1] = (95, 95, 105)
    return Colours(palette, {1: "person"})


class Step(NamedTuple):
    """A panel: a photo and what lies over it, integer [H,W] in the colours of `space`; None: the photo alone."""

    title: str
    photo: Pixels
    mask: Pixels | None = None
    space: Space | None = None


def steps_figure(rows: Sequence[Sequence[Step]], names: Sequence[str] = (), *, cell: float = 1.8) -> Figure:
    """Draw rows of photos with their masks in strong colours over a faded grey photo.

    A column whose colours are its own has its legend below it; columns that share theirs have one below the figure.
    names  written to the left of the rows
    cell   inches of a panel's width
    """
    own, shared = _meanings(rows)
    below = max((-(-len(ids) // _own_columns(ids)) for _, ids in own.values()), default=0)
    extra = 0.35 + 0.17 * below + sum(0.25 + 0.2 * -(-len(ids) // 8) for _, ids in shared)
    height, width = _rgb(rows[0][0].photo).shape[:2]
    figure, axes = new_figure(len(rows), len(rows[0]), width=cell, height=cell * height / width + extra / len(rows))
    for line, row in zip(axes, rows, strict=True):
        for place, step in zip(line, row, strict=True):
            picture = step.photo
            if step.mask is not None and step.space is not None:
                picture = laid(step.photo, step.mask, step.space)
            show_image(place, _rgb(picture), step.title if row is rows[0] else None)
            place.set_anchor("N")  # photos of slightly different shapes share their upper edge
    for line, name in zip(axes, names, strict=False):
        where: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "transform": line[0].transAxes}
        line[0].text(-0.05, 0.5, name, **where)
    for column, (space, ids) in own.items():
        legend_below(axes[-1, column], space, ids, columns=_own_columns(ids))
    for space, ids in shared:
        add_legend(figure, space, ids, columns=8)
    return figure


def laid(photo: Pixels, mask: Pixels, space: Space) -> Array:
    """Return a mask over the faded grey of its photo, uint8 [H,W,3]: every colour is then the mask's own."""
    return overlay(grey(photo, 0.55), mask, space, 0.8)


def _rgb(photo: Pixels) -> Array:
    """Return a photo uint8 [H,W,3] as it is, one of float [3,H,W] in [-1,1] as float [H,W,3] in [0,1]."""
    array = to_array(photo)
    return array if array.dtype == np.uint8 else (array.transpose(1, 2, 0) + 1) / 2


def _own_columns(ids: Sequence[int]) -> int:
    return 2 if len(ids) > 4 else 1


def _meanings(
    rows: Sequence[Sequence[Step]],
) -> tuple[dict[int, tuple[Space, list[int]]], list[tuple[Space, list[int]]]]:
    """Return which ids each column explains on its own, and those of colours that several columns share."""
    columns: dict[int, list[int]] = {}
    spaces: dict[int, Space] = {}
    for column, step in enumerate(rows[0]):
        if step.space is not None:
            columns.setdefault(id(step.space), []).append(column)
            spaces[id(step.space)] = step.space
    ids = {key: ids_in(*(row[column].mask for row in rows for column in own)) for key, own in columns.items()}
    alone = {own[0]: (spaces[key], ids[key]) for key, own in columns.items() if len(own) == 1}
    return alone, [(spaces[key], ids[key]) for key, own in columns.items() if len(own) > 1]


class Curves(NamedTuple):
    """One panel of curves: its title, name -> (x, y), and what `Axes.set` takes (labels, limits, scales)."""

    title: str
    lines: Mapping[str, tuple[Sequence[float] | Array, Sequence[float] | Array]]
    settings: Mapping[str, Any] = {}
    marker: str = ""


def curves(*panels: Curves, width: float = 4.0, height: float = 2.7) -> Figure:
    """Draw panels of curves side by side, each curve with a dash and a lightness of its own."""
    figure, axes = new_figure(1, len(panels), width=width, height=height)
    with style():
        for place, panel in zip(axes[0], panels, strict=True):
            for name, (x, y) in panel.lines.items():
                place.plot(x, y, marker=panel.marker, label=name)
            place.set_title(panel.title)
            place.set(**panel.settings)
            if len(panel.lines) > 1:
                place.legend()
    return figure


def share_bars(groups: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw groups of bars side by side: group -> name -> share of the photo in percent."""
    figure, axes = new_figure(width=7.6, height=2.8)
    chart: Axes = axes[0, 0]
    places: list[int] = []
    with style():
        for number, (group, shares) in enumerate(groups.items()):
            start = places[-1] + 2 if places else 0
            own = list(range(start, start + len(shares)))
            chart.bar(own, list(shares.values()), color=("#7878c8", "#b08cc8", "#74a974")[number], label=group)
            for place, share in zip(own, shares.values(), strict=True):
                chart.text(place, share + 0.3, f"{share:.1f}", ha="center", fontsize=7)
            places += own
        names = [name for shares in groups.values() for name in shares]
        chart.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        chart.set_ylabel("share of the photo, %")
        chart.grid(False, axis="x")
        chart.legend(loc="upper right")
    return figure


def stage_losses(history: Sequence[Mapping[str, float]], stages: Sequence[int], betas: Sequence[float]) -> Figure:
    """Draw the losses of a POPNet over its epochs, and the two terms of its one-shot stages as they enter the total.

    history  one row an epoch with loss_total, loss_agm, loss_ncm
    stages   the stage in training (0, 1, 2) and betas AGM's weight, one an epoch
    """
    figure, axes = new_figure(1, 2, width=4.2, height=3.0)
    number, beta = np.array(stages), np.array(betas)
    loss = {name: np.array([row[f"loss_{name}"] for row in history]) for name in ("total", "agm", "ncm")}
    terms = (("β · AGM", beta * loss["agm"], "o-"), ("(1 − β) · NCM", (1 - beta) * loss["ncm"], "s--"))
    with style():
        for place, title in zip(axes[0], ("loss of the stage in training", "its two terms, weighted"), strict=True):
            limits: dict[str, Any] = {"ylim": (0, 1.15 * loss["total"].max()), "xlim": (0.5, len(history) + 0.5)}
            place.set(title=title, xlabel="epoch", **limits)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
            for end in np.flatnonzero(np.diff(number)):
                place.axvline(end + 1.5, color="0.6", lw=0.8, ls=":")
        for stage, name in enumerate(("stage 1: person", "stage 2: areas", "stage 3: classes")):
            own = np.flatnonzero(number == stage)
            axes[0, 0].plot(own + 1, loss["total"][own], marker="o", linestyle="-", label=name)
            for (label, values, mark), colour in zip(terms, INK[1:3], strict=True) if stage else ():
                axes[0, 1].plot(own + 1, values[own], mark, color=colour, label=label if stage == 1 else None)
        for place in axes[0]:
            place.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=3, columnspacing=1.2)
    return figure


def expected_and_measured(names: Sequence[str], expected: Sequence[float], measured: Sequence[Interval]) -> Figure:
    """Draw a learner's expectation (hollow) beside the measurement with its interval (full), in percentage points."""
    figure, axes = new_figure(width=6.2, height=0.9 + 0.45 * len(names))
    chart: Axes = axes[0, 0]
    with style():
        for height, (name, guess, (mean, low, high)) in enumerate(zip(names, expected, measured, strict=True)):
            labels = ("you expected", "measured, 95 % interval") if name == names[0] else (None, None)
            chart.plot([guess], [height], "o", color=INK[1], markerfacecolor="white", markersize=8, label=labels[0])
            error = [[100 * (mean - low)], [100 * (high - mean)]]
            chart.errorbar([100 * mean], [height + 0.14], xerr=error, fmt="s", color=INK[0], capsize=3, label=labels[1])
        chart.axvline(0, color="0.5", lw=0.8)
        chart.set_yticks(range(len(names)), names)
        chart.set(xlabel="change of the score, percentage points", ylim=(len(names) - 0.4, -0.6))
        chart.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def background_bars(cosines: Sequence[float], forms: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the cosines of one pixel, and the probabilities (background first) that each form makes of them."""
    figure, axes = new_figure(1, 1 + len(forms), width=2.7, height=2.3)
    names = ["bg", *(f"c{number}" for number in range(1, len(cosines) + 1))]
    with style():
        axes[0, 0].bar(names[1:], cosines, color=INK[2])
        axes[0, 0].set(title="cosines", ylim=(-1.05, 1.05))
        for place, (title, values) in zip(axes[0, 1:], forms.items(), strict=True):
            place.bar(names, values, color=[INK[5], *[INK[2]] * len(cosines)])
            place.set(title=title, ylim=(0, 1.05))
        for place in axes[0]:
            place.grid(False, axis="x")
    return figure


def named_areas(photo: Pixels, mask: Pixels, groups: Mapping[str, Sequence[int]], space: LabelSpace) -> Figure:
    """Draw a person in the classes of a space and in the areas of `groups`, with the classes of each area listed."""
    table = np.zeros(256, np.uint8)
    for number, ids in enumerate(groups.values(), start=1):
        table[list(ids)] = number
    classes = kept(space)
    areas = area_colours([f"{name}: {', '.join(map(space.class_name, ids))}" for name, ids in groups.items()])
    whole = to_array(mask)
    figure, axes = new_figure(1, 2, width=2.4, height=2.75 + 0.2 * len(groups))
    show_image(axes[0, 0], laid(photo, whole, classes), "fine classes")
    show_image(axes[0, 1], laid(photo, table[whole], areas), "your areas")
    handles: list[Patch] = legend_handles(areas, range(1, len(groups) + 1))
    with style():
        figure.legend(handles=handles, loc="outside lower left")
    return figure


def person_map(photo: Pixels, probability: Pixels) -> Figure:
    """Draw a photo, the probability of the person float [H,W], and the outline of one half on the photo."""
    figure, axes = new_figure(1, 3, width=2.5, height=2.7)
    show_image(axes[0, 0], to_array(photo), "query photo")
    drawn = show_image(axes[0, 1], to_array(probability), "p(person)", vmin=0, vmax=1)
    show_image(axes[0, 2], to_array(photo), "outline at one half")
    for colour, width in (("black", 2.6), ("white", 1.2)):
        axes[0, 2].contour(to_array(probability), levels=[0.5], colors=colour, linewidths=width)
    with style():
        figure.colorbar(drawn, ax=list(axes[0]), shrink=0.75, label="probability")
    return figure


def cosine_panels(photo: Pixels, maps: Sequence[Pixels], titles: Sequence[str], *, columns: int = 5) -> Figure:
    """Draw a photo and maps of cosines, float [h,w], on the book's diverging scale (see `maps.SCALES`)."""
    rows = -(-(len(maps) + 1) // columns)
    figure, axes = new_figure(rows, columns, width=1.7, height=1.95)
    for place in axes.flat:
        place.set_axis_off()
    show_image(axes.flat[0], to_array(photo), "query photo")
    drawn, scale = None, SCALES["cosine"]
    for place, values, title in zip(axes.flat[1:], maps, titles, strict=False):
        drawn = show_image(place, to_array(values), title, cmap=scale.colours, vmin=scale.low, vmax=scale.high)
    if drawn is not None:
        with style():
            figure.colorbar(drawn, ax=axes, shrink=0.6, label=scale.label)
    return figure


def predictions(photo: Pixels, named: Mapping[str, Pixels], space: Space) -> Figure:
    """Draw masks over one photo, a legend below, and a box where a mask differs most from the one before it."""
    figure, axes = new_figure(1, len(named), width=2.1, height=2.75)
    before = None
    for place, (title, mask) in zip(axes[0], named.items(), strict=True):
        show_image(place, laid(photo, mask, space), title)
        box = None if before is None else _busiest(to_array(mask) != to_array(before))
        if box is not None:
            place.add_patch(Rectangle(*box, fill=False, edgecolor="black", linewidth=2.6))
            place.add_patch(Rectangle(*box, fill=False, edgecolor="white", linewidth=1.2))
        before = mask
    add_legend(figure, space, ids_in(*named.values()), columns=6)
    return figure


def _busiest(different: Array) -> tuple[tuple[int, int], int, int] | None:
    """Return the box ((left, top), width, height), a quarter of the photo's sides, that holds most marked pixels."""
    if not different.any():
        return None
    height, width = (max(side // 4, 1) for side in different.shape)
    sums = np.pad(different, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    counts = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    top, left = np.unravel_index(int(counts.argmax()), counts.shape)
    return (int(left), int(top)), width, height


def contrast_matrices(cosines: Pixels, shares: Pixels, names: Sequence[str]) -> Figure:
    """Draw the cosines of query (rows) and support prototypes, float [K,K], and their softmax by row, side by side."""
    figure, axes = new_figure(1, 2, width=4.2, height=3.4)
    titles = ("cosine", "softmax of each row, τ = 0.1")
    panels = ((cosines, titles[0], SCALES["cosine"], "query"), (shares, titles[1], SCALES["share"], None))
    with style():
        for place, (values, title, scale, side) in zip(axes[0], panels, strict=True):
            drawn = place.imshow(to_array(values), vmin=scale.low, vmax=scale.high, cmap=scale.colours)
            place.grid(False)
            place.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
            place.set_yticks(range(len(names)), names)
            place.set(title=title, xlabel="support", ylabel=side)
            figure.colorbar(drawn, ax=place, shrink=0.75)
    return figure


def mac_bar(parts: Sequence[Part], printed: float) -> Figure:
    """Draw the multiply-accumulates of a pass part by part, unneeded ones hatched, beside a printed total in G."""
    figure, axes = new_figure(width=7.8, height=2.5)
    chart: Axes = axes[0, 0]
    colours, left = ("#c9ced6", "#9aa3ad", "#9cc3ea", "#d7e6f7", "#9ed3a3"), 0.0
    with style():
        for part, colour in zip(parts, colours, strict=True):
            size = part.count / 1e9
            look: dict[str, Any] = {"color": colour, "edgecolor": "white", "hatch": None if part.used else "///"}
            chart.barh(0, size, left=left, label=f"{part.name}: {size:.1f} G", **look)
            left += size
        chart.axvline(printed, color=INK[1], linestyle="--")
        chart.text(printed + 1.5, 0.47, f"paper: {printed} G", color=INK[1], fontsize=8)
        chart.set(yticks=[], ylim=(-0.5, 0.65), xlabel="G multiply-accumulates; hatched: computed, but not needed")
        figure.legend(*chart.get_legend_handles_labels(), loc="outside upper center", ncols=2)
    return figure
