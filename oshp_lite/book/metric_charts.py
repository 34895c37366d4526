"""Charts of notebooks 03 and 04: how prototypes scatter, what a memory keeps, how two losses share their weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from oshp_lite.book.maps import SCALES, SIGNED
from oshp_lite.viz.style import INK, new_figure, style

in_style = style()
"""Decorator: draw in the house style, whatever Matplotlib's settings are."""


@in_style
def likeness_chart(prototypes: Mapping[str, Tensor]) -> Figure:
    """Draw the cosines between prototypes of many photos, float [n,D] by class name, in one square sorted by class."""
    rows = F.normalize(torch.cat(list(prototypes.values())), dim=1)
    ends = np.cumsum([len(block) for block in prototypes.values()])
    starts = np.concatenate([[0], ends[:-1]])
    figure, axes = new_figure(width=5.2, height=4.6)
    place, scale = axes[0, 0], SCALES["cosine"]
    drawn = place.imshow((rows @ rows.T).numpy(), cmap=SIGNED, vmin=scale.low, vmax=scale.high)
    for line in ends[:-1] - 0.5:
        place.axhline(line, color="white", linewidth=0.8, linestyle="-")
        place.axvline(line, color="white", linewidth=0.8, linestyle="-")
    middles = (starts + ends - 1) / 2
    place.set_yticks(middles, list(prototypes))
    place.set_xticks(middles, list(prototypes), rotation=45, ha="right", rotation_mode="anchor")
    place.tick_params(length=0)
    place.grid(False)
    place.spines[:].set_visible(False)
    figure.colorbar(drawn, ax=place, shrink=0.8, label=scale.label).outline.set_visible(False)
    return figure


@in_style
def memory_chart(alphas: Sequence[float], updates: int = 3000) -> Figure:
    """Draw the weight alpha^n of a vector that entered a bank n updates ago, and its half-lives."""
    figure, axes = new_figure(width=6.4, height=2.8)
    place, n = axes[0, 0], np.arange(1, updates + 1)
    for alpha, colour in zip(alphas, INK, strict=False):
        half = int(np.floor(np.log(0.5) / np.log(alpha))) + 1
        place.plot(n, alpha**n, label=f"α = {alpha}: below one half after {half}", color=colour)
    place.axhline(0.5, color="0.6", linewidth=0.8, linestyle=":")
    place.set(xscale="log", xlabel="number of updates n since the vector came in", ylabel="αⁿ, the weight that is left")
    place.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@in_style
def track_chart(tracks: Mapping[str, Sequence[float]], *, across: str, up: str) -> Figure:
    """Draw one line for each label, its values in order."""
    figure, axes = new_figure(width=6.4, height=2.8)
    for label, values in tracks.items():
        thin = label == "static"
        axes[0, 0].plot(values, label=label, linewidth=0.9 if thin else 1.8, alpha=0.6 if thin else 1.0)
    axes[0, 0].set(xlabel=across, ylabel=up)
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@in_style
def class_bars(
    values: Mapping[str, float],
    novel: Sequence[str],
    up: str,
    marked: str = "background",
    reach: Mapping[str, tuple[float, float]] | None = None,
) -> Figure:
    """Draw one bar a class, lowest first: base classes plain, novel ones striped, the `marked` one crossed.

    reach  the interval (low, high) of each value, drawn as a line
    """
    order = sorted(values, key=lambda name: values[name])
    kinds = {"base": (INK[0], ""), "novel": (INK[3], "//"), marked: (INK[1], "xx")}
    figure, axes = new_figure(width=6.4, height=2.9)
    for place, name in enumerate(order):
        colour, stripes = kinds[marked if name == marked else "novel" if name in novel else "base"]
        axes[0, 0].bar(place, values[name], color=colour, hatch=stripes, edgecolor="white")
        if reach is not None:
            axes[0, 0].plot([place, place], reach[name], color="0.1", linestyle="-", linewidth=1.5)
    for kind, (colour, stripes) in kinds.items():
        axes[0, 0].bar([0], [0], color=colour, hatch=stripes, edgecolor="white", label=kind)
    axes[0, 0].set_xticks(range(len(order)), order, rotation=40, ha="right", rotation_mode="anchor")
    axes[0, 0].set(ylabel=up, ylim=(0, 1))
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@in_style
def weights_chart(agm: Sequence[float]) -> Figure:
    """Draw the weights of both losses by epoch: beta for the AGM, the rest for the NPM."""
    beta = np.asarray(agm, float)
    figure, axes = new_figure(width=5.4, height=2.5)
    axes[0, 0].step(range(len(beta)), beta, where="post", label="β, weight of AGM's loss")
    axes[0, 0].step(range(len(beta)), 1 - beta, where="post", label="1 - β, weight of NPM's loss")
    axes[0, 0].set(xlabel=f"epoch of {len(beta)}", ylabel="weight")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@in_style
def course_chart(course: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw both modules' scores while beta falls: novel mIoU, human mIoU, novel pixels called background, in percent.

    course  one mapping a moment: "beta", and under "agm" and "npm" the scores "novel", "human", "missed" in [0,1]
    """
    titles = {"novel": "novel mIoU, %", "human": "human mIoU, %", "missed": "novel pixels called background, %"}
    figure, axes = new_figure(1, 3, width=2.9, height=2.6)
    for place, (measure, title) in zip(axes[0], titles.items(), strict=True):
        for module, mark in (("agm", "o"), ("npm", "s")):
            values = [100 * moment[module][measure] for moment in course]
            place.plot([moment["beta"] for moment in course], values, marker=mark, label=module.upper())
        place.set(xlabel="β; training runs to the right", xlim=(1.03, -0.03), ylim=(0, None))
        place.set_title(title, fontsize=9)
    axes[0, 2].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
