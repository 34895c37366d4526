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
from oshp_lite.study.experiments import FIGURE8, FIGURE_METHODS, METHODS
from oshp_lite.study.figures.panels import headed, not_run
from oshp_lite.study.quantities import curve_of, sizes_and_ious
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.viz import INK, class_matrix, new_figure, style


def per_class(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw IoU per class, a panel a method: plain bars for base, hatched for novel classes; lines: 95 % intervals."""
    title = f"IoU per class, {dataset}, fold 1, k-way"
    measured, absent = _kway_runs(results, "per_class", dataset)
    if not measured:
        return not_run(title, absent)
    figure, places = _grid(len(measured), 2.3)
    for place, (name, runs) in zip(places, measured.items(), strict=True):
        ids, names = _classes(runs[0])
        rows, novel = range(len(ids)), [c in runs[0].novel for c in ids]
        mean, low, high = 100 * np.array([tuple(bootstrap(runs, f"iou:{c}")) for c in ids]).T
        spans = np.nan_to_num(np.clip([mean - low, high - mean], 0, None))
        with style():
            colours = [INK[3] if one else INK[2] for one in novel]
            bars = place.barh(rows, np.nan_to_num(mean), color=colours, height=0.72)
            for bar, one in zip(bars, novel, strict=True):
                bar.set(hatch="////" if one else "", edgecolor="white" if one else INK[2])
            place.errorbar(np.nan_to_num(mean), rows, xerr=spans, fmt="none", ecolor="black", elinewidth=0.8)
            place.set_yticks(rows, names, fontsize=7)
            place.set(ylim=(len(ids) - 0.4, -0.6), xlim=(0, 100))
            place.set_title(name, fontsize=8)
            place.grid(False, axis="y")
    return headed(figure, f"{title}; * and hatching: novel classes", "; ".join(filter(None, ("IoU, %", absent))))


def confusion(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw where the pixels of each class go, a table a method: rows truth, columns prediction, per cent of the row."""
    title = f"Confusion between parts, {dataset}, fold 1, k-way"
    measured, absent = _kway_runs(results, "confusion", dataset)
    counted = {name: [run for run in runs if run.confusion is not None] for name, runs in measured.items()}
    measured = {name: runs for name, runs in counted.items() if runs}
    if not measured:
        return not_run(title, absent or "no confusions between classes were recorded")
    figure, axes = new_figure(1, len(measured), width=4.3, height=4.5)
    for place, (name, runs) in zip(axes[0], measured.items(), strict=True):
        ids, names = _classes(runs[0], 0)
        total = np.sum([run.confusion for run in runs], 0)[np.ix_(ids, ids)].astype(float)  # type: ignore[arg-type]
        share = 100 * total / np.maximum(total.sum(1, keepdims=True), 1)
        class_matrix(share, names, name, axes=place, high=100, written=_from_one)
        for line in (place.axhline, place.axvline):
            line(len(ids) - len(runs[0].novel) - 0.5, color="black", linewidth=0.8)
    words = f"{title}; rows truth, columns prediction, % of the row's pixels; * novel"
    return headed(figure, textwrap.fill(words, 60 * len(measured)), absent)


def _from_one(share: float) -> str:
    return f"{share:.0f}" if share >= 1 else ""


def size_iou(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw the mean IoU against the part's true size (share of the photo), a panel a method, EOP-Net dotted in each.

    Points are those of `size_curve`; the bars show two standard errors of a group's mean.
    """
    title = f"IoU against part size, {dataset}, fold 1, k-way"
    measured, absent = _kway_runs(results, "size_iou", dataset)
    if not measured:
        return not_run(title, absent)
    curves = {name: size_curve(runs) for name, runs in measured.items()}
    dotted = next((curves[name] for name, runs in measured.items() if runs[0].key.method == "eopnet"), None)
    sizes = np.concatenate([curve[0] for curve in curves.values()])
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if 0.9 * sizes.min() < tick < 1.1 * sizes.max()]
    figure, places = _grid(len(measured), 1.9)
    for place, (name, (x, y, error)) in zip(places, curves.items(), strict=True):
        with style():
            if dotted is not None and dotted is not curves[name]:
                place.plot(*dotted[:2], color="0.45", linestyle=":", linewidth=1.2)
            place.errorbar(x, y, yerr=2 * error, capsize=2, color=INK[0], marker="o", linestyle="-", linewidth=1.3)
            place.set(xscale="log", ylim=(0, 100))
            place.set_title(name, fontsize=8)
            place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            place.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
            if place.get_subplotspec().is_first_col():  # type: ignore[union-attr]
                place.set_ylabel("IoU, %")
    words = "; ".join(filter(None, ("true size of the part, % of the photo", absent)))
    return headed(figure, title + ("; dotted: EOP-Net" if dotted is not None else ""), words)


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


def eopnet8f(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw EOP-Net's Fig. 8: scores of base and novel classes during training, with and without momentum prototypes."""
    title = "EOP-Net's Fig. 8: scores during training, with and without momentum prototypes"
    looks = {
        ("", "base"): (INK[0], "-", "o"),
        ("static", "base"): (INK[2], "--", "s"),
        ("", "novel"): (INK[1], "-", "^"),
        ("static", "novel"): (INK[3], ":", "v"),
    }
    figure, axes = new_figure(width=6.2, height=3.4)
    place, scores, reasons = axes[0, 0], set(), []
    for ablation in FIGURE8:
        key = RunKey("eopnet", dataset, 1, "k", 0, ablation)
        runs = results.seeds(key)
        reasons += [] if runs else [getattr(results.get(key), "reason", "not run yet")]
        for part in ("base", "novel") if runs else ():
            curves = [curve for curve in (curve_of(run, part) for run in runs) if len(curve[0])]
            if not curves:
                reasons.append("no scores were taken during training")
                continue
            scores |= {curve[2].partition("_")[2] for curve in curves}
            shortest = min(len(curve[0]) for curve in curves)
            x = curves[0][0][:shortest] * max(int(row["epoch"]) for run in runs for row in run.history)
            y = 100 * np.stack([curve[1][:shortest] for curve in curves])
            colour, dash, mark = looks[ablation, part]
            name = f"{part}, {'without' if ablation else 'with'} momentum prototypes"
            with style():
                place.plot(x, y.mean(0), color=colour, linestyle=dash, marker=mark, label=name)
                if len(y) > 1:
                    place.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, linewidth=0)
    if not scores:
        return not_run(title, "; ".join(dict.fromkeys(reasons)))
    with style():
        place.set(xlabel="epoch", ylabel={"accuracy": "mean accuracy, %", "miou": "mIoU, %"}[min(scores)])
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        place.set_ylim(bottom=0)
        place.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    where = f"{dataset}, fold 1, k-way" + (f"; not run: {reasons[0]}" if reasons else "")
    return headed(figure, f"{title}\n{textwrap.fill(where, 100)}")


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


CHARTS: dict[str, Callable[..., Figure]] = {
    "eopnet8f": eopnet8f,
    "per_class": per_class,
    "confusion": confusion,
    "size_iou": size_iou,
}
"""Figures that need nothing but results: maker(results, dataset)."""


# ------------------------------------------------------------------------------------------------ shared pieces


def _kway_runs(results: Results, exhibit: str, dataset: str) -> tuple[dict[str, list[Measured]], str]:
    """Return {panel title: its k-way runs on fold 1} in the tables' order, and in words who has none and why."""
    measured, missing = {}, []
    for method in (METHODS[name] for name in METHODS if name in FIGURE_METHODS[exhibit]):
        key = RunKey(method.name, dataset, 1, "k")
        if runs := results.seeds(key):
            short = "Label transfer" if method.name == "label_transfer" else method.label
            measured[f"{short} ({len(runs)} seeds)" if len(runs) > 1 else short] = runs
        else:
            reason = getattr(results.get(key), "reason", "not run yet").removeprefix("not run: ")
            missing.append(f"{method.label} ({reason})")
    return measured, f"not run: {'; '.join(missing)}" if missing else ""


def _classes(run: Measured, *first: int) -> tuple[list[int], list[str]]:
    """Return `first`, the base and the novel foreground ids of a run, and their names; novel ones carry a star."""
    ids, space = [*first, *(c for c in run.base if c != 0), *run.novel], label_space(run.key.dataset)
    return ids, [space.class_name(index) + ("*" if index in run.novel else "") for index in ids]


def _grid(count: int, height: float, columns: int = 5) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` places, `columns` a row, and its axes in use."""
    columns = min(columns, count)
    figure, axes = new_figure(-(-count // columns), columns, width=1.75, height=height, sharex=True, sharey=True)
    for spare in axes.flat[count:]:
        spare.set_visible(False)
    for last in axes.flat[
        max(0, count - columns) : count
    ]:  # the lowest of its column, though a spare place may lie below
        last.tick_params(axis="x", labelbottom=True)
    return figure, list(axes.flat[:count])
