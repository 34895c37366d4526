"""The sheet on which all diagrams are drawn, and their colours.

Blue is the coarse metric space, green the fine one, grey what both share, yellow what is remembered or infused; dashed
boxes and lines are used in training only.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

INK = "#22313f"
LINE = "#5b6b7a"
SHARED = "#e6e9ed"
COARSE = "#d7e6f7"
COARSE_DEEP = "#9cc3ea"
FINE = "#dcf0dd"
FINE_DEEP = "#9ed3a3"
MIDDLE = "#efe6f5"
MIDDLE_DEEP = "#cdb5dd"
LOSS = "#f9d9d3"
BANK = "#fdf3bf"

_PARTS = ("hair", "face", "top", "arm", "legs", "shoe")
_KINDS = {
    "photo": dict(zip(_PARTS, ("#6b4f3a", "#f0c7a0", "#d1684a", "#f0c7a0", "#4a6fa5", "#3b3b3b"), strict=True)),
    "other photo": dict(zip(_PARTS, ("#c9a227", "#b98562", "#5b7f5a", "#5b7f5a", "#7a5c86", "#e8e4dc"), strict=True)),
    "fine": dict(zip(_PARTS, ("#8856a7", "#f1b04c", "#d7301f", "#31a354", "#2b8cbe", "#636363"), strict=True)),
    "areas": dict(zip(_PARTS, ("#f1b04c", "#f1b04c", "#d7301f", "#31a354", "#2b8cbe", "#2b8cbe"), strict=True)),
    "whole": dict.fromkeys(_PARTS, "#ffffff"),
}
"""Colours of a small person's parts: two photos, a mask of classes, of main areas, of the whole foreground."""

Point = tuple[float, float]


class Board:
    """A sheet to draw on, in units of one tenth of an inch, with the few shapes the diagrams need."""

    def __init__(self, width: float, height: float) -> None:
        """Open an empty sheet of `width` x `height` units."""
        self.figure = Figure(figsize=(width / 10, height / 10), dpi=100, facecolor="white")
        self.axes: Axes = self.figure.add_axes((0.0, 0.0, 1.0, 1.0))
        self.axes.set_xlim(0, width)
        self.axes.set_ylim(0, height)
        self.axes.set_axis_off()

    def text(self, x: float, y: float, words: str, *, size: float = 9, bold: bool = False, **options: Any) -> None:
        """Write `words` centred at (x, y); options go to Matplotlib's text (`ha`, `style`)."""
        look = {"color": INK, "ha": "center", "va": "center", "linespacing": 1.25, "zorder": 6, **options}
        self.axes.text(x, y, words, fontsize=size, weight="bold" if bold else "normal", **look)

    def box(self, x: float, y: float, w: float, h: float, words: str = "", **options: Any) -> None:
        """Draw a rounded box with its lower left corner at (x, y) and `words` in the middle.

        Options: `fill`, `dashed`, and those of `text`.
        """
        fill, dashed = options.pop("fill", SHARED), options.pop("dashed", False)
        self._rounded(x, y, w, h, 0.8, fc=fill, ec=LINE, lw=1.0, ls="--" if dashed else "-", zorder=3)
        if words:
            self.text(x + w / 2, y + h / 2, words, **options)

    def _rounded(self, x: float, y: float, w: float, h: float, radius: float, **look: Any) -> None:
        style = f"round,pad=0,rounding_size={radius}"
        self.axes.add_patch(FancyBboxPatch((x, y), w, h, boxstyle=style, **look))

    def area(self, x: float, y: float, w: float, h: float, title: str, *, fill: str, indent: float = 1.4) -> None:
        """Draw a tinted background area with a bold title in its upper left corner, `indent` from the edge."""
        self._rounded(x, y, w, h, 1.6, fc=fill, ec="none", zorder=0)
        self.text(x + indent, y + h - 1.9, title, ha="left", bold=True, size=10)

    def arrow(self, *points: Point, dashed: bool = False) -> None:
        """Draw a line through `points`, with a head at the last one."""
        line: dict[str, Any] = {"color": LINE, "lw": 1.3, "ls": "--" if dashed else "-", "zorder": 2}
        for (x0, y0), (x1, y1) in pairwise(points[:-1]):
            self.axes.plot([x0, x1], [y0, y1], solid_capstyle="round", **line)
        line |= {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
        self.axes.add_patch(FancyArrowPatch(*points[-2:], **line))

    def slab(self, x: float, y: float, words: str, *, fill: str, size: float = 9, above: bool = False) -> None:
        """Draw a feature block (three stacked sheets) of about 4 x 6 units with a caption under (or above) it."""
        for k in (2, 1, 0):
            place = (x + 0.7 * k, y + 0.7 * k)
            self.axes.add_patch(Rectangle(place, 2.8, 4.6, fc=fill, ec=LINE, lw=0.8, zorder=4 - 0.1 * k))
        self.text(x + 2.1, y + 7.5 if above else y - 1.6, words, size=size)

    def vectors(self, x: float, y: float, colours: Sequence[str]) -> None:
        """Draw prototypes as little striped bars, one a class, from the top down."""
        for k, colour in enumerate(colours):
            for part in range(6):
                alpha = (0.45, 0.95, 0.65, 1.0, 0.55, 0.8)[(part + k) % 6]
                look: dict[str, Any] = {"fc": colour, "alpha": alpha, "ec": "white", "lw": 0.3, "zorder": 4}
                self.axes.add_patch(Rectangle((x + part, y - 1.3 * k), 1.0, 0.95, **look))

    def person(self, x: float, y: float, h: float, kind: str = "photo", *, pose: int = 0) -> None:
        """Draw a small person in a frame of 0.62 h x h: photo, other photo, fine, areas, whole (foreground)."""
        colours, w = _KINDS[kind], 0.62 * h
        ground = "#dfe7ea" if kind.endswith("photo") else "#1c1c1c"
        self.axes.add_patch(Rectangle((x, y), w, h, fc=ground, ec=LINE, lw=0.8, zorder=4))
        spread, lift = ((0.13, 0.0), (0.24, 0.16))[pose % 2]
        hip, foot, heel = 0.22, 0.09 + spread, spread * 0.6

        def at(u: float, v: float) -> Point:
            return x + (0.5 + 0.62 * u) * w, y + v * h

        def shape(name: str, *corners: Point) -> None:
            points = [at(*corner) for corner in corners]
            self.axes.add_patch(Polygon(points, closed=True, fc=colours[name], ec="none", zorder=5))

        for s in (-1, 1):
            up = lift if s > 0 else 0.0
            shape("legs", (s * 0.02, 0.44), (s * hip, 0.44), (s * foot, 0.10), (s * heel, 0.10))
            shape("shoe", (s * heel, 0.10), (s * foot, 0.10), (s * (0.18 + spread), 0.05), (s * heel, 0.05))
            shape("arm", (s * 0.22, 0.72), (s * 0.30, 0.68), (s * 0.46, 0.48 + up), (s * 0.36, 0.45 + up))
        shape("top", (-0.28, 0.74), (0.28, 0.74), (0.22, 0.42), (-0.22, 0.42))
        across, high = at(0.0, 0.83)
        for name, offset, radius in (("hair", 0.018, 0.085), ("face", -0.012, 0.062)):
            self.axes.add_patch(Circle((across, high + offset * h), radius * h, fc=colours[name], ec="none", zorder=5))
