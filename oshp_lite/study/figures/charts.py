"""Charts from counts and histories: EOP-Net's Fig. 8, IoU per class, confusion between parts, IoU against size."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oshp_lite.labels import label_space
from oshp_lite.study.experiments import FIGURE8, FIGURE_METHODS, METHODS, RUN_ORDER
from oshp_lite.study.figures.panels import not_run
from oshp_lite.study.quantities import curve_of, sizes_and_ious
from oshp_lite.study.records import Measured, NotRun, Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.viz import INK, new_figure, style

MARKERS = "osD^v<>P*X"


def per_class(
    results: Results, dataset: str = "synth-atr", methods: Sequence[str] = FIGURE_METHODS["per_class"]
) -> Figure:
    """Draw IoU per class, a panel a method: plain bars for base, hatched for novel classes; lines: 95 % intervals."""
    title = f"IoU per class, {dataset}, fold 1, k-way"
    runs_by, missing = _kway_runs(results, methods, dataset)
    if not runs_by:
        return not_run(title, "; ".join(missing))
    figure, places, left = _grid(len(runs_by), 1.75, 2.3)
    for place, (method, runs) in zip(places, runs_by.items(), strict=True):
        _class_bars(place, runs)
        place.set_title(_titled(method, runs), fontsize=8)
    for place in left:
        place.set_ylabel("")
    _title(figure, f"{title}; * and hatching: novel classes")
    _note(figure, "IoU, %" + _absent(missing))
    return figure


def _class_bars(place: Axes, runs: Sequence[Measured]) -> None:
    ids = [*(c for c in runs[0].base if c != 0), *runs[0].novel]
    rows, novel = range(len(ids)), [c in runs[0].novel for c in ids]
    estimates = np.array([tuple(bootstrap(runs, f"iou:{c}")) for c in ids])
    mean, low, high = 100 * estimates.T
    means, spans = np.nan_to_num(mean), np.nan_to_num(np.stack([mean - low, high - mean]))
    with style():
        bars = place.barh(rows, means, color=[INK[3] if one else INK[2] for one in novel], height=0.72)
        for bar, one in zip(bars, novel, strict=True):
            bar.set_hatch("////" if one else "")
            bar.set_edgecolor("white" if one else INK[2])
        place.errorbar(means, rows, xerr=np.clip(spans, 0, None), fmt="none", ecolor="black", elinewidth=0.8)
        place.set_yticks(rows, _class_names(runs[0], ids), fontsize=7)
        place.set_ylim(len(ids) - 0.4, -0.6)
        place.set_xlim(0, 100)
        place.grid(False, axis="y")


def confusion(
    results: Results, dataset: str = "synth-atr", methods: Sequence[str] = FIGURE_METHODS["confusion"]
) -> Figure:
    """Draw where the pixels of each class go, a table a method: rows truth, columns prediction, per cent of the row."""
    title = f"Confusion between parts, {dataset}, fold 1, k-way"
    runs_by, missing = _kway_runs(results, methods, dataset)
    counted = {method: [run for run in runs if run.confusion is not None] for method, runs in runs_by.items()}
    counted = {method: runs for method, runs in counted.items() if runs}
    if not counted:
        return not_run(title, "; ".join(missing) or "no confusions between classes were recorded")
    figure, axes = new_figure(1, len(counted), width=4.3, height=4.5)
    for place, (method, runs) in zip(axes[0], counted.items(), strict=True):
        ids = [0, *(c for c in runs[0].base if c != 0), *runs[0].novel]
        total = np.sum([run.confusion for run in runs], 0)[np.ix_(ids, ids)].astype(float)  # type: ignore[arg-type]
        with np.errstate(invalid="ignore"):
            share = 100 * total / total.sum(1, keepdims=True)
        _share_table(place, share, _class_names(runs[0], ids), _titled(method, runs), len(runs[0].novel))
    words = f"{title}; rows truth, columns prediction, % of the row's pixels; * novel"
    _title(figure, "\n".join(textwrap.wrap(words, 14 * round(figure.get_size_inches()[0]))))
    if missing:
        _note(figure, _absent(missing).removeprefix(". "))
    return figure


def _share_table(place: Axes, share: np.ndarray, names: Sequence[str], title: str, n_novel: int) -> None:
    with style():
        place.imshow(np.nan_to_num(share), cmap="magma_r", vmin=0, vmax=100)
        place.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=7)
        place.set_yticks(range(len(names)), names, fontsize=7)
        place.grid(False)
        place.set_title(title)
        for (row, column), value in np.ndenumerate(share):
            if value >= 1:  # not for nan
                colour = "white" if value > 55 else "black"
                place.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=6, color=colour)
        border = len(names) - n_novel - 0.5
        place.axhline(border, color="black", linewidth=0.8)
        place.axvline(border, color="black", linewidth=0.8)


def size_iou(
    results: Results, dataset: str = "synth-atr", methods: Sequence[str] = FIGURE_METHODS["size_iou"], bins: int = 6
) -> Figure:
    """Draw the mean IoU against the part's true size (share of the photo), a panel a method, EOP-Net dotted in each.

    Parts of all pairs and foreground classes are sorted by size and cut into `bins` equally full groups; the bars show
    two standard errors of a group's mean.
    """
    title = f"IoU against part size, {dataset}, fold 1, k-way"
    runs_by, missing = _kway_runs(results, methods, dataset)
    if not runs_by:
        return not_run(title, "; ".join(missing))
    curves = {method: size_curve(runs, bins) for method, runs in runs_by.items()}
    smallest, largest = (pick(pick(curve[0]) for curve in curves.values()) for pick in (min, max))
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if 0.9 * smallest < tick < 1.1 * largest]
    figure, places, left = _grid(len(runs_by), 1.75, 1.9)
    for number, (place, (method, runs)) in enumerate(zip(places, runs_by.items(), strict=True)):
        x, y, error = curves[method]
        look: Any = {"color": INK[0], "marker": MARKERS[number % len(MARKERS)], "linestyle": "-", "linewidth": 1.3}
        with style():
            if "eopnet" in curves and method != "eopnet":
                place.plot(*curves["eopnet"][:2], color="0.45", linestyle=":", linewidth=1.2)
            place.errorbar(x, y, yerr=2 * error, capsize=2, **look)
            place.set_xscale("log")
            place.set_ylim(0, 100)
            place.set_title(_titled(method, runs), fontsize=8)
            place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            place.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    for place in left:
        place.set_ylabel("IoU, %")
    _title(figure, title + ("; dotted: EOP-Net" if "eopnet" in curves else ""))
    _note(figure, "true size of the part, % of the photo" + _absent(missing))
    return figure


def size_curve(runs: Sequence[Measured], bins: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return size (% of the photo), mean IoU (%) and its standard error of equally full groups of parts, all [bins]."""
    sizes, ious = [], []
    for run in runs:
        pair, area, iou = sizes_and_ious(run)
        whole = (run.counts[..., 0] + run.counts[..., 2]).sum(1)
        sizes.append(100 * area / whole[pair])
        ious.append(100 * iou)
    size, score = np.concatenate(sizes), np.concatenate(ious)
    groups = [group for group in np.array_split(np.argsort(size, kind="stable"), bins) if len(group)]
    return (
        np.array([np.median(size[group]) for group in groups]),
        np.array([score[group].mean() for group in groups]),
        np.array([score[group].std() / np.sqrt(len(group)) for group in groups]),
    )


def eopnet8f(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw EOP-Net's Fig. 8: scores of base and novel classes during training, with and without momentum prototypes."""
    title = "EOP-Net's Fig. 8: scores during training, with and without momentum prototypes"
    looks = {
        ("", "base"): (INK[0], "-", "o"),
        ("static", "base"): (INK[2], "--", "s"),
        ("", "novel"): (INK[1], "-", "^"),
        ("static", "novel"): (INK[3], ":", "v"),
    }
    lines, reasons = [], []
    for ablation in FIGURE8:
        key = RunKey("eopnet", dataset, 1, "k", 0, ablation)
        runs = results.seeds(key)
        if not runs:
            reasons.append(_reason(results, key))
        for part in ("base", "novel") if runs else ():
            curves = [curve for curve in (curve_of(run, part) for run in runs) if len(curve[0])]
            if curves:
                lines.append((ablation, part, curves, max(int(row["epoch"]) for run in runs for row in run.history)))
            else:
                reasons.append("no scores were taken during training")
    if not lines:
        return not_run(title, "; ".join(dict.fromkeys(reasons)))
    figure, axes = new_figure(width=6.2, height=3.4)
    place, scores = axes[0, 0], set()
    with style():
        for ablation, part, curves, epochs in lines:
            colour, dash, mark = looks[ablation, part]
            name = f"{part}, {'with' if ablation == '' else 'without'} momentum prototypes"
            shortest = min(len(curve[0]) for curve in curves)
            x = curves[0][0][:shortest] * epochs
            y = 100 * np.stack([curve[1][:shortest] for curve in curves])
            scores |= {curve[2].partition("_")[2] for curve in curves}
            place.plot(x, y.mean(0), color=colour, linestyle=dash, marker=mark, label=name)
            if len(y) > 1:
                place.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, linewidth=0)
        place.set_xlabel("epoch")
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        place.set_ylabel({"accuracy": "mean accuracy, %", "miou": "mIoU, %"}[sorted(scores)[0]])
        place.set_ylim(bottom=0)
        place.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    where = f"{dataset}, fold 1, k-way" + (f"; not run: {reasons[0]}" if reasons else "")
    _title(figure, "\n".join([title, *textwrap.wrap(where, 100)]))
    return figure


LOSSES = ("total", "npm", "agm", "coarse", "contrast", "classes", "foreground")
"""Columns `loss_NAME` of a history, in the order they are drawn."""


def training_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw one run's losses, beta where there is one, and scores taken during training, over epochs."""
    epochs = [row.get("epoch", position) for position, row in enumerate(history)]
    nan = float("nan")
    losses = [name for name in LOSSES if any(row.get(f"loss_{name}") for row in history)]
    scored = [name for name in ("novel", "base", "human") if any(f"{name}_miou" in row for row in history)]
    figure, axes = new_figure(1, 2 if scored else 1, width=5.2, height=2.8)
    with style():
        for place, label in zip(axes[0], ("loss", "mIoU"), strict=False):
            place.set_xlabel("epoch")
            place.xaxis.get_major_locator().set_params(integer=True)
            place.set_ylabel(label)
        left = axes[0, 0]
        for name in losses:
            left.plot(epochs, [row.get(f"loss_{name}", nan) for row in history], label=name)
        left.set_title("Training losses")
        if "agm" in losses:
            twin = left.twinx()
            twin.plot(epochs, [row.get("beta", nan) for row in history], color="#c8c8d2", linestyle="-", zorder=0)
            twin.set_ylim(0, 1.02)
            twin.set_ylabel("beta", color="#9a9aa8")
            twin.grid(False)
        left.legend(loc="upper right", ncols=2)
        for name in scored:
            points = [(x, row[f"{name}_miou"]) for x, row in zip(epochs, history, strict=True) if f"{name}_miou" in row]
            axes[0, 1].plot(*zip(*points, strict=True), marker="o", label=name)
        if scored:
            axes[0, 1].set_title("Test pairs during training")
            axes[0, 1].legend()
    return figure


CHARTS: dict[str, Callable[..., Figure]] = {
    "eopnet8f": eopnet8f,
    "per_class": per_class,
    "confusion": confusion,
    "size_iou": size_iou,
}
"""Figures that need nothing but results: maker(results, dataset)."""


# ------------------------------------------------------------------------------------------------ shared pieces


def _kway_runs(results: Results, methods: Sequence[str], dataset: str) -> tuple[dict[str, list[Measured]], list[str]]:
    """Return {method: its k-way runs on fold 1} in the tables' order and "label: reason" of those without."""
    measured, missing = {}, []
    ordered = sorted(methods, key=lambda name: list(METHODS).index(name) if name in METHODS else len(RUN_ORDER))
    for method in ordered:
        key = RunKey(method, dataset, 1, "k")
        runs = results.seeds(key)
        if runs:
            measured[method] = runs
        else:
            missing.append(f"{METHODS[method].label} ({_reason(results, key).removeprefix('not run: ')})")
    return measured, missing


def _reason(results: Results, key: RunKey) -> str:
    absent = results.get(key)
    return absent.reason if isinstance(absent, NotRun) else "not run yet"


def _class_names(run: Measured, ids: Sequence[int]) -> list[str]:
    """Return the names of kept ids; novel ones carry a star."""
    space = label_space(run.key.dataset)
    return [space.class_name(index) + ("*" if index in run.novel else "") for index in ids]


def _titled(method: str, runs: Sequence[Measured]) -> str:
    short = {"label_transfer": "Label transfer"}.get(method, METHODS[method].label)
    return f"{short} ({len(runs)} seeds)" if len(runs) > 1 else short


def _absent(missing: Sequence[str]) -> str:
    return f". Not run: {'; '.join(missing)}" if missing else ""


def _title(figure: Figure, text: str) -> None:
    with style():
        figure.suptitle(text, x=0.01, ha="left", fontsize=10)


def _note(figure: Figure, text: str) -> None:
    wide = int(17 * figure.get_size_inches()[0])  # signs of this size that go into a line
    with style():
        figure.supxlabel("\n".join(textwrap.wrap(text, wide)), fontsize=7, x=0.01, ha="left")


def _grid(count: int, width: float, height: float, columns: int = 5) -> tuple[Figure, list[Axes], list[Axes]]:
    """Return a figure with `count` places, `columns` a row: all axes in use, and those of the first column."""
    columns = min(columns, count)
    rows = -(-count // columns)
    figure, axes = new_figure(rows, columns, width=width, height=height, sharex=True, sharey=True)
    flat = list(axes.flat)
    for spare in flat[count:]:
        spare.set_visible(False)
    for last in flat[max(0, count - columns) : count]:  # the lowest of its column, though a spare place may lie below
        last.tick_params(axis="x", labelbottom=True)
    return figure, flat[:count], list(axes[:, 0])
