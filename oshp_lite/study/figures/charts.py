"""Charts from counts: IoU per class, testing bias, confusion between parts, IoU against size; a run's own curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from oshp_lite.labels import label_space
from oshp_lite.study.experiments import FIGURE_METHODS, METHODS
from oshp_lite.study.figures.captions import READINGS, TITLES
from oshp_lite.study.figures.panels import GREY, METHOD_INK, end_labels, headed, missing_note, not_run
from oshp_lite.study.quantities import sizes_and_ious
from oshp_lite.study.records import Array, Measured, Results, RunKey
from oshp_lite.study.statistics import Estimate, bootstrap
from oshp_lite.viz import INK, class_matrix, new_figure, style


def per_class(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw the IoU of every class and method as a heat map with its numbers, methods and classes by their means.

    Novel classes stand first; at the end come the three mIoUs of the tables. Means over seeds or blocks.
    """
    title = f"{TITLES['per_class']}, {dataset}"
    measured, absent = _kway_runs(results, "per_class", dataset)
    if not measured:
        return not_run(title, absent)
    names, groups, table = class_table(measured)
    figure, axes = new_figure(width=2.6 + 0.44 * sum(map(len, groups)), height=1.9 + 0.3 * len(names))
    place, at, grid = axes[0, 0], list[float](), np.full((len(names), sum(map(len, groups)) + len(groups) - 1), np.nan)
    for group in groups:  # an empty column between the groups
        first = int(at[-1]) + 2 if at else 0
        at += range(first, first + len(group))
    grid[:, np.array(at, int)] = table
    columns = [name for group in groups for name in group]
    outside = [column for column, name in enumerate(columns) if name == "background"]
    top = 10 * np.ceil(np.nanmax(np.delete(table, outside, 1)) / 10)  # the background would take all the colours
    with style():
        image = place.imshow(grid, cmap="magma", vmin=0, vmax=top, aspect="auto")
        place.set_xticks(at, columns, rotation=45, ha="left", fontsize=8)
        place.set_yticks(range(len(names)), names)
        place.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
        place.grid(False)
        place.spines[:].set_visible(False)
        for (row, column), value in np.ndenumerate(table):
            text = "–" if np.isnan(value) else f"{value:.0f}"
            colour = "black" if np.isnan(value) or value > 0.6 * top else "white"
            weight = "bold" if column >= len(at) - len(groups[-1]) else "normal"
            place.text(at[column], row, text, ha="center", va="center", fontsize=8, color=colour, fontweight=weight)
        figure.colorbar(image, ax=place, label="IoU, %", fraction=0.025, pad=0.01, extend="max")
    lead = next((name for name, runs in measured.items() if runs[0].key.method == "eopnet"), names[0])
    widths = [bootstrap(measured[lead], f"iou:{c}") for c in measured[lead][0].classes]
    width = 50 * float(np.nanmedian([one.high - one.low for one in widths]))
    return headed(figure, title, f"{READINGS['per_class'].format(lead=lead, width=width)} {absent}".strip())


def class_table(measured: Mapping[str, Sequence[Measured]]) -> tuple[list[str], list[list[str]], Array]:
    """Return methods by human mIoU, best first, groups of column names, and the IoU of every cell in % [M,C].

    Columns: novel classes, base classes and background (each group by the mean over methods), then novel, base and
    human mIoU. nan where a class occurs in no pair.
    """
    first = next(iter(measured.values()))[0]

    def score(name: str, measure: str) -> float:
        values = [run.score(measure) for run in measured[name]]
        return 100 * float(np.nanmean(values)) if not np.isnan(values).all() else float("nan")

    names = sorted(measured, key=lambda name: -score(name, "human"))
    space, groups, columns = label_space(first.key.dataset), list[list[str]](), list[list[float]]()
    for ids, star in ((first.novel, "*"), (first.base, "")):
        each = {c: [score(name, f"iou:{c}") for name in names] for c in ids}
        by_mean = sorted(ids, key=lambda c: -np.nansum(each[c]))
        groups.append([space.class_name(c) + star for c in by_mean])
        columns += [each[c] for c in by_mean]
    groups.append(["novel mIoU", "base mIoU", "human mIoU"])
    columns += [[score(name, measure) for name in names] for measure in ("novel", "base", "human")]
    return names, groups, np.array(columns).T


DESTINIES = {"right": INK[2], "another novel class": INK[3], "a base class": INK[1], "background": "#c9c9d3"}
"""Where novel pixels go, and the colour of each."""


def bias(results: Results, *datasets: str) -> Figure:
    """Draw for each method where the pixels of novel classes go, as stacked bars, a panel a dataset."""
    panels, absent = dict[str, dict[str, list[Measured]]](), dict[str, str]()
    for dataset in datasets or ("synth-atr",):
        measured, missing = _kway_runs(results, "bias", dataset)
        known = {name: [run for run in runs if run.misassigned is not None] for name, runs in measured.items()}
        if any(known.values()):
            panels[dataset] = {name: runs for name, runs in known.items() if runs}
        absent[dataset] = missing if any(known.values()) or len(datasets) < 2 else f"Not run: {dataset}."
    if not panels:
        return not_run(TITLES["bias"], "; ".join(dict.fromkeys(absent.values())))
    alike = len(set(absent.values())) == 1
    notes = (
        [next(iter(absent.values()))]
        if alike
        else [note if name not in panels else f"{name}: {note}" for name, note in absent.items() if note]
    )
    shares = {
        dataset: {name.partition(" (")[0]: destinies(runs) for name, runs in measured.items()}
        for dataset, measured in panels.items()
    }
    methods = list(dict.fromkeys(name for panel in shares.values() for name in panel))
    methods.sort(key=lambda name: -np.mean([panel[name][0][0] for panel in shares.values() if name in panel]))
    height = 1.5 + 0.3 * len(methods)
    size = {"width": max(4.6, 6.4 / len(panels)), "height": (0.3 + height) / 2}
    figure, axes = new_figure(2, len(panels), **size, height_ratios=[0.3, height])
    with style():
        patches = [Patch(facecolor=colour, label=name) for name, colour in DESTINIES.items()]
        axes[0, 0].legend(handles=patches, loc="center left", ncols=4, borderpad=0).set_in_layout(False)
        for top, place, (dataset, panel) in zip(axes[0], axes[1], shares.items(), strict=True):
            top.set_axis_off()
            place.set_title(dataset)
            for row, name in enumerate(methods):
                if name in panel:
                    _bar(place, row, *panel[name])
                else:
                    place.text(1, row, "not run", va="center", fontsize=8, color="0.4")
            place.set(xlim=(0, 100), ylim=(len(methods) - 0.5, -0.5), xlabel="% of the true pixels of novel classes")
            place.set_yticks(range(len(methods)), methods if place is axes[1, 0] else [""] * len(methods))
            place.tick_params(axis="y", length=0)
            place.grid(False)
    return headed(figure, TITLES["bias"], " ".join(filter(None, (READINGS["bias"], *notes))))


def destinies(runs: Sequence[Measured]) -> tuple[Array, Estimate]:
    """Return where novel pixels go in %, float64 [4] in the order of `DESTINIES`, and the share called background."""
    wrong = [np.mean([run.score(f"novel_as_{where}") for run in runs]) for where in ("novel", "base", "background")]
    return 100 * np.array([1 - sum(wrong), *wrong]), bootstrap(runs, "novel_as_background")


def _bar(place: Axes, row: int, shares: Array, background: Estimate) -> None:
    left = 0.0
    for share, (name, colour) in zip(shares, DESTINIES.items(), strict=True):
        place.barh(row, share, left=left, color=colour, height=0.74)
        if share >= 5:
            ink = "black" if name in ("background", "another novel class") else "white"
            place.text(left + share / 2, row, f"{share:.0f}", ha="center", va="center", fontsize=8, color=ink)
        left += share
    ends = 100 - 100 * np.array([background.high, background.low])
    place.plot(ends, [row + 0.25] * 2, color="black", linewidth=2, linestyle="-", solid_capstyle="butt")


def confusion(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw where the pixels of each class go, a table a method: rows truth, columns prediction, per cent of the row."""
    title = f"{TITLES['confusion']}, {dataset}"
    measured, absent = _kway_runs(results, "confusion", dataset)
    counted = {name: [run for run in runs if run.confusion is not None] for name, runs in measured.items()}
    measured = {name: runs for name, runs in counted.items() if runs}
    if not measured:
        return not_run(title, absent or "no confusions between classes were recorded")
    figure, axes = new_figure(1, len(measured), width=4.6, height=4.9)
    for place, (name, runs) in zip(axes[0], measured.items(), strict=True):
        ids, names = _classes(runs[0], 0)
        total = np.sum([run.confusion for run in runs], 0)[np.ix_(ids, ids)].astype(float)  # type: ignore[arg-type]
        share = 100 * total / np.maximum(total.sum(1, keepdims=True), 1)
        image = class_matrix(share, names, name, axes=place, high=100, written=_from_one)
        for line in (place.axhline, place.axvline):
            line(len(ids) - len(runs[0].novel) - 0.5, color="white", linewidth=1.2, linestyle="-")
    with style():
        figure.colorbar(image, ax=axes, label="% of the true class's pixels", fraction=0.03, pad=0.01)
    return headed(figure, title, f"{READINGS['confusion']} {absent}".strip())


def _from_one(share: float) -> str:
    return f"{share:.0f}" if share >= 1 else ""


def size_iou(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw the mean IoU against the part's true size (share of the photo), a line a method.

    Points are those of `size_curve`; the bars of the paper's own methods show two standard errors of a group's mean.
    """
    title = f"{TITLES['size_iou']}, {dataset}"
    measured, absent = _kway_runs(results, "size_iou", dataset)
    if not measured:
        return not_run(title, absent)
    curves = {name: size_curve(runs) for name, runs in measured.items()}
    sizes = np.concatenate([curve[0] for curve in curves.values()])
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if 0.9 * sizes.min() < tick < 1.1 * sizes.max()]
    figure, axes = new_figure(width=6.8, height=4.2)
    place, ends, signs = axes[0, 0], [], cycle(zip("■▲▼◆●×", "s^vDox", strict=True))
    with style():
        place.set(xscale="log", xlabel="true size of the part, % of the photo", ylabel="IoU, %")
        for name, (x, y, error) in sorted(curves.items(), key=lambda item: -item[1][1][-1]):
            method = measured[name][0].key.method
            colour, own = METHOD_INK.get(method, GREY), method in ("eopnet", "popnet")
            bars = {"yerr": 2 * error, "capsize": 2, "marker": "o", "linewidth": 1.8} if own else {"linewidth": 1.1}
            if method not in METHOD_INK:
                sign, shape = next(signs)
                bars, name = {**bars, "marker": shape, "markersize": 4.5}, f"{sign} {name}"
            place.errorbar(x, y, color=colour, linestyle="-", zorder=3 if own else 2, **bars)
            ends.append((name, float(x[-1]), float(y[-1]), colour))
        place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        place.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
        place.set_ylim(bottom=0)
        end_labels(place, ends, 3.2)
    return headed(figure, title, f"{READINGS['size_iou']} {absent}".strip())


def size_curve(runs: Sequence[Measured], bins: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return size (% of the photo), mean IoU (%) and its standard error, all [bins].

    Parts of all pairs and foreground classes are sorted by size and cut into `bins` equally full groups.
    """
    sizes, ious = [], []
    for run in runs:
        pair, area, iou = sizes_and_ious(run)
        whole = (run.counts[..., 0] + run.counts[..., 2]).sum(1)
        sizes.append(100 * area / whole[pair])
        ious.append(100 * iou)
    size, score = np.concatenate(sizes), np.concatenate(ious)
    groups = [group for group in np.array_split(np.argsort(size, kind="stable"), bins) if len(group)]
    points = [(np.median(size[g]), score[g].mean(), score[g].std() / np.sqrt(len(g))) for g in groups]
    x, y, error = np.array(points).T
    return x, y, error


LOSSES = ("total", "npm", "agm", "coarse", "contrast", "classes", "foreground")
"""Columns `loss_NAME` of a history, in the order they are drawn."""


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw one run's losses, beta where there is one, and scores taken during training, over epochs."""

    def line(place: Axes, column: str, **look: Any) -> None:
        points = [(row.get("epoch", n), row[column]) for n, row in enumerate(history) if column in row]
        place.plot(*zip(*points, strict=True), **look)

    losses = [name for name in LOSSES if any(row.get(f"loss_{name}") for row in history)]
    scored = [name for name in ("novel", "base", "human") if any(f"{name}_miou" in row for row in history)]
    figure, axes = new_figure(1, 2 if scored else 1, width=5.2, height=2.8)
    left = axes[0, 0]
    with style():
        for place, label in zip(axes[0], ("loss", "mIoU"), strict=False):
            place.set(xlabel="epoch", ylabel=label)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
        for name in losses:
            line(left, f"loss_{name}", label=name)
        left.set_title("Training losses")
        if "agm" in losses:
            twin = left.twinx()
            line(twin, "beta", color="#c8c8d2", linestyle="-", zorder=0)
            twin.set_ylim(0, 1.02)
            twin.set_ylabel("beta", color="#9a9aa8")
            twin.grid(False)
        left.legend(loc="upper right", ncols=2)
        for name in scored:
            line(axes[0, 1], f"{name}_miou", marker="o", label=name)
        if scored:
            axes[0, 1].set_title("Test pairs during training")
            axes[0, 1].legend()
    return figure


def _kway_runs(results: Results, exhibit: str, dataset: str) -> tuple[dict[str, list[Measured]], str]:
    """Return {panel title: its k-way runs on fold 1} in the tables' order, and in words who has none and why."""
    measured, missing = dict[str, list[Measured]](), dict[str, str]()
    for method in (METHODS[name] for name in METHODS if name in FIGURE_METHODS[exhibit]):
        key = RunKey(method.name, dataset, 1, "k")
        if runs := results.seeds(key):
            short = "Label transfer" if method.name == "label_transfer" else method.label
            each = "blocks" if key.protocol == "blocks" else "seeds"
            measured[f"{short} ({len(runs)} {each})" if len(runs) > 1 else short] = runs
        else:
            missing[method.label] = getattr(results.get(key), "reason", "not run yet")
    return measured, missing_note(missing)


def _classes(run: Measured, *first: int) -> tuple[list[int], list[str]]:
    """Return `first`, the base and the novel foreground ids of a run, and their names; novel ones carry a star."""
    ids, space = [*first, *(c for c in run.base if c != 0), *run.novel], label_space(run.key.dataset)
    return ids, [space.class_name(index) + ("*" if index in run.novel else "") for index in ids]
