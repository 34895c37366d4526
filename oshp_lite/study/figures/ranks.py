"""A bump chart: the rank of every method in print against its rank here, by novel and by human mIoU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.records import Results, RunKey
from oshp_lite.study.statistics import paired_difference
from oshp_lite.study.tables import declared
from oshp_lite.study.tables.comparison import FOLDS, MAIN, Frame, frame_of, ranks
from oshp_lite.study.tables.measure import HEADS, data_name
from oshp_lite.viz import INK, new_figure, style

TABLES = ("eopnet2", "ccp")
"""The comparisons whose order is set beside that of EOP-Net's Table 2."""
_LOOKS = {"eopnet": (INK[1], 2.6), "popnet": (INK[2], 2.0)}
_OTHER = ("0.55", 1.4)
FEWEST = 3
"""Methods that a rank correlation needs at least."""


@dataclass(frozen=True)
class Ranking:
    """One measure: every method's score in print and on each dataset, and what follows from them.

    levels        {method: (printed, measured on each of `datasets`)}, of the methods that have all of them
    correlations  Spearman's rank correlation of each dataset with the paper, None with too few methods
    ties          of each dataset the neighbours in rank whose paired difference has an interval that holds zero
    """

    measure: str
    scope: str
    datasets: tuple[str, ...]
    levels: dict[str, tuple[float, ...]]
    correlations: tuple[float | None, ...]
    waiting: tuple[str, ...]
    ties: tuple[tuple[tuple[str, str], ...], ...] = ()

    def words(self) -> str:
        """Say the correlations and the ranks in one paragraph, for readers who do not see the figure."""
        if not self.datasets:
            return f"By {HEADS[self.measure]}: not run yet."
        places = ranks(self.levels)
        said = "; ".join(f"{METHODS[name].label} {', '.join(map(str, each))}" for name, each in places.items())
        heads = ", ".join(data_name(data) for data in self.datasets)
        alike = [
            f"{' and '.join(METHODS[name].label for name in pair)} on {data_name(data)}"
            for data, pairs in zip(self.datasets, self.ties, strict=False)
            for pair in pairs
        ]
        open_signs = f" Neighbours whose difference has an open sign: {'; '.join(alike)}." if alike else ""
        return f"By {HEADS[self.measure]}, ranks in the paper and on {heads}: {said}.{open_signs}"


def rankings(results: Results) -> list[Ranking]:
    """Return the rankings by novel and by human mIoU of EOP-Net's k-way table, as far as methods were run."""
    frames = [frame_of(name, declared()[name], results) for name in TABLES]
    if any(frame.fold != "mean" for frame in frames):
        frames = [replace(frame, fold="1") for frame in frames]
    return [_ranking(measure, frames, results) for measure in MAIN]


def _ties(
    levels: Mapping[str, float], measure: str, data: str, fold: str, results: Results
) -> Iterator[tuple[str, str]]:
    """Yield the neighbours in rank whose paired difference has an interval that holds zero."""
    for pair in pairwise(sorted(levels, key=lambda name: -levels[name])):
        one, two = (
            [
                run
                for number in ((1, 2) if fold == "mean" else (1,))
                for run in results.seeds(RunKey(name, data, number, "k"))
            ]
            for name in pair
        )
        try:
            difference = paired_difference(one, two, measure)
        except UserError:  # no seed in common
            continue
        if difference.low <= 0 <= difference.high:
            yield pair


def _ranking(measure: str, frames: Sequence[Frame], results: Results) -> Ranking:
    from scipy.stats import spearmanr

    found = {data: frame.levels(measure, data) for frame in frames for data in frame.datasets}
    waiting = tuple(data for data, levels in found.items() if not levels)
    found = {data: levels for data, levels in found.items() if levels}
    common = [name for name in METHODS if found and all(name in levels for levels in found.values())]
    if len(common) < 2:  # what was run on each dataset differs: one dataset is better than none
        found = dict(list(found.items())[:1])
        common = [name for name in METHODS if any(name in levels for levels in found.values())]
    printed = {name: next(iter(found.values()))[name][0] for name in common}
    levels = {name: (printed[name], *(some[name][1] for some in found.values())) for name in common}
    columns = list(zip(*levels.values(), strict=True))
    enough = len(common) >= FEWEST
    correlations = tuple(float(spearmanr(columns[0], one).statistic) if enough else None for one in columns[1:])
    ties = tuple(
        tuple(_ties({name: levels[name][place] for name in levels}, measure, data, frames[0].fold, results))
        for place, data in enumerate(found, 1)
    )
    return Ranking(measure, FOLDS[frames[0].fold], tuple(found), levels, correlations, waiting, ties)


def ranks_figure(results: Results) -> Figure:
    """Draw the rankings one above the other; a dataset that was not run has no column."""
    found = rankings(results)
    figure, axes = new_figure(len(found), 1, width=4.6, height=2.25)
    for place, one in zip(axes[:, 0], found, strict=True):
        with style():
            _bumps(place, one)
    return figure


def _bumps(place: Axes, one: Ranking) -> None:
    """Draw one ranking: a line a method, its rank in a circle, names and scores at both ends."""
    place.set_title(f"{HEADS[one.measure]}, {one.scope}, %", fontsize=9, fontweight="bold")
    place.set(yticks=[])
    place.grid(False)
    for side in ("left", "bottom"):
        place.spines[side].set_visible(False)
    if not one.datasets:
        place.set_xticks([])
        place.text(0.0, 0.9, "Not run yet: no dataset has two methods to rank.", va="top", transform=place.transAxes)
        return
    places, last = ranks(one.levels), len(one.datasets)
    for x, pairs in enumerate(one.ties, 1):
        for pair in pairs:
            ends = [places[name][x] for name in pair]
            place.plot([x, x], ends, "-", color="0.82", linewidth=15, solid_capstyle="round", zorder=2.5)
    for name, each in places.items():
        colour, width = _LOOKS.get(name, _OTHER)
        front = 3 if name in _LOOKS else 2
        place.plot(range(last + 1), each, "-", color=colour, linewidth=width, zorder=front)
        for x, rank in enumerate(each):
            place.plot(
                x, rank, "o", color="white", markeredgecolor=colour, markeredgewidth=1.4, markersize=12, zorder=4
            )
            place.text(x, rank, str(rank), ha="center", va="center_baseline", fontsize=8, color=colour, zorder=5)
        bold = "bold" if name == "eopnet" else "normal"
        for x, align, shift in ((0, "right", -0.14), (last, "left", 0.14)):
            words = f"{METHODS[name].label}  {one.levels[name][x]:.1f}"
            look: Any = {"fontsize": 8, "color": colour if name in _LOOKS else "0.3", "fontweight": bold}
            place.text(x + shift, each[x], words, ha=align, va="center", **look)
        for x in range(1, last):
            beneath = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}  # lines pass under the number
            score = f"{one.levels[name][x]:.1f}"
            place.text(x + 0.14, each[x] - 0.3, score, fontsize=7, color="0.4", bbox=beneath, zorder=3.5)
    heads = ["paper\nATR-OS"]
    for data, value in zip(one.datasets, one.correlations, strict=True):
        title, _, what = data_name(data).partition(" (")
        same = (
            "too few methods\nto correlate"
            if value is None
            else f"rank correlation\nwith print {value:z.1f},\nn = {len(places)}"
        )
        heads.append(f"{what.rstrip(')') or title}\n{same}")
    place.set_xticks(range(last + 1), heads, fontsize=8)
    place.tick_params(length=0)
    place.set(xlim=(-1.05, last + 1.05), ylim=(len(places) + 0.5, 0.5))
