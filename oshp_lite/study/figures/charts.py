"""Charts from counts and histories: EOP-Net's Fig. 8, IoU per class, confusion between parts, IoU against size."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from oshp_lite.labels import label_space
from oshp_lite.study.claims.special import curve_of, sizes_and_ious
from oshp_lite.study.experiments import FIGURE8, FIGURE_METHODS, METHODS, RUN_ORDER
from oshp_lite.study.figures.pieces import not_run
from oshp_lite.study.records import Estimate, Measured, NotRun, Results, RunKey, bootstrap
from oshp_lite.viz import INK, new_figure, style

MARKERS = "osD^v<>P*X"
_GREY = "#d9d9d9"


def class_names(run: Measured, ids: Sequence[int]) -> list[str]:
    """Return the names of kept ids; novel ones carry a star."""
    space = label_space(run.key.dataset)
    return [space.class_name(index) + ("*" if index in run.novel else "") for index in ids]


def _found(
    results: Results, methods: Sequence[str], dataset: str, fold: int = 1
) -> tuple[dict[str, list[Measured]], list[str]]:
    """Return {method: its runs, k-way} and "label: reason" of those without."""
    found, missing = {}, []
    for method in methods:
        key = RunKey(method, dataset, fold, "k")
        runs = results.seeds(key)
        if runs:
            found[method] = runs
            continue
        reason = results.get(key)
        told = reason.reason.removeprefix("not run: ") if isinstance(reason, NotRun) else "not run yet"
        missing.append(f"{METHODS[method].label} ({told})")
    return found, missing


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


def per_class(
    results: Results, dataset: str = "synth-atr", methods: Sequence[str] = FIGURE_METHODS["per_class"]
) -> Figure:
    """Draw IoU per class, a panel a method: plain bars for base, hatched for novel classes; lines: 95 % intervals."""
    title = f"IoU per class, {dataset}, fold 1, k-way"
    found, missing = _found(results, _table_order(methods), dataset)
    if not found:
        return not_run(title, "; ".join(missing))
    figure, places, left = _grid(len(found), 1.75, 2.3)
    for place, (method, runs) in zip(places, found.items(), strict=True):
        first = runs[0]
        ids = [*(c for c in first.base if c != 0), *first.novel]
        estimates = [bootstrap(runs, f"iou:{c}", repeats=300) for c in ids]
        _class_bars(place, ids, estimates, first)
        place.set_title(_titled(method, runs), fontsize=8)
    for place in left:
        place.set_ylabel("")
    with style():
        figure.suptitle(f"{title}; * and hatching: novel classes", x=0.01, ha="left", fontsize=10)
    _note(figure, "IoU, %" + _absent(missing))
    return figure


def _class_bars(place: Axes, ids: Sequence[int], estimates: Sequence[Estimate], run: Measured) -> None:
    means = 100 * np.array([one.mean for one in estimates])
    spans = 100 * np.array([[one.mean - one.low, one.high - one.mean] for one in estimates]).T
    novel = [c in run.novel for c in ids]
    with style():
        bars = place.barh(
            range(len(ids)), np.nan_to_num(means), color=[INK[3] if one else INK[2] for one in novel], height=0.72
        )
        for bar, one in zip(bars, novel, strict=True):
            bar.set_hatch("////" if one else "")
            bar.set_edgecolor("white" if one else INK[2])
        place.errorbar(
            np.nan_to_num(means),
            range(len(ids)),
            xerr=np.clip(np.nan_to_num(spans), 0, None),
            fmt="none",
            ecolor="black",
            elinewidth=0.8,
        )
        place.set_yticks(range(len(ids)), class_names(run, ids), fontsize=7)
        place.set_ylim(len(ids) - 0.4, -0.6)
        place.set_xlim(0, 100)
        place.grid(False, axis="y")


def _titled(method: str, runs: Sequence[Measured]) -> str:
    short = {"label_transfer": "Label transfer"}.get(method, METHODS[method].label)
    return f"{short} ({len(runs)} seeds)" if len(runs) > 1 else short


def _absent(missing: Sequence[str]) -> str:
    return f". Not run: {'; '.join(missing)}" if missing else ""


def confusion(
    results: Results, dataset: str = "synth-atr", methods: Sequence[str] = FIGURE_METHODS["confusion"]
) -> Figure:
    """Draw where the pixels of each class go, a table a method: rows truth, columns answer, per cent of the row."""
    title = f"Confusion between parts, {dataset}, fold 1, k-way"
    found, missing = _found(results, _table_order(methods), dataset)
    found = {
        method: kept for method, runs in found.items() if (kept := [run for run in runs if run.confusion is not None])
    }
    if not found:
        return not_run(title, "; ".join(missing) or "no confusions between classes were recorded")
    figure, axes = new_figure(1, len(found), width=4.3, height=4.5)
    for place, (method, runs) in zip(axes[0], found.items(), strict=True):
        first = runs[0]
        ids = [0, *(c for c in first.base if c != 0), *first.novel]
        total = np.sum([run.confusion for run in runs if run.confusion is not None], 0)[np.ix_(ids, ids)].astype(float)
        with np.errstate(invalid="ignore"):
            share = 100 * total / total.sum(1, keepdims=True)
        _share_table(place, share, class_names(first, ids), _titled(method, runs), len(first.novel))
    told = f"{title}; rows truth, columns answer, % of the row's pixels; * novel"
    with style():
        figure.suptitle(
            "\n".join(textwrap.wrap(told, 14 * round(figure.get_size_inches()[0]))), x=0.01, ha="left", fontsize=10
        )
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
            if np.isnan(value) or value < 1:
                continue
            place.text(
                column,
                row,
                f"{value:.0f}",
                ha="center",
                va="center",
                fontsize=6,
                color="white" if value > 55 else "black",
            )
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
    found, missing = _found(results, _table_order(methods), dataset)
    if not found:
        return not_run(title, "; ".join(missing))
    curves = {method: size_curve(runs, bins) for method, runs in found.items()}
    smallest, largest = (pick(pick(curve[0]) for curve in curves.values()) for pick in (min, max))
    ticks = [tick for tick in (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30) if 0.9 * smallest < tick < 1.1 * largest]
    figure, places, left = _grid(len(found), 1.75, 1.9)
    for number, (place, (method, runs)) in enumerate(zip(places, found.items(), strict=True)):
        x, y, error = curves[method]
        with style():
            if "eopnet" in curves and method != "eopnet":
                place.plot(*curves["eopnet"][:2], color="0.45", linestyle=":", linewidth=1.2)
            place.errorbar(
                x,
                y,
                yerr=2 * error,
                color=INK[0],
                marker=MARKERS[number % len(MARKERS)],
                linestyle="-",
                linewidth=1.3,
                capsize=2,
            )
            place.set_xscale("log")
            place.set_ylim(0, 100)
            place.set_title(_titled(method, runs), fontsize=8)
            place.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            place.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    for place in left:
        place.set_ylabel("IoU, %")
    with style():
        figure.suptitle(title + ("; dotted: EOP-Net" if "eopnet" in curves else ""), x=0.01, ha="left", fontsize=10)
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
    lines = []
    reasons = []
    for ablation in FIGURE8:
        key = RunKey("eopnet", dataset, 1, "k", 0, ablation)
        runs = results.seeds(key)
        missing = results.get(key)
        if not runs:
            reasons.append(missing.reason if isinstance(missing, NotRun) else "not run yet")
            continue
        for part in ("base", "novel"):
            curves = [curve_of(run, part) for run in runs]
            curves = [curve for curve in curves if len(curve[0])]
            if curves:
                lines.append((ablation, part, curves, max(int(row["epoch"]) for run in runs for row in run.history)))
            else:
                reasons.append("no scores were taken during training")
    if not lines:
        return not_run(title, "; ".join(dict.fromkeys(reasons)))
    figure, axes = new_figure(width=6.2, height=3.4)
    place = axes[0, 0]
    looks = {
        ("", "base"): (INK[0], "-", "o"),
        ("static", "base"): (INK[2], "--", "s"),
        ("", "novel"): (INK[1], "-", "^"),
        ("static", "novel"): (INK[3], ":", "v"),
    }
    columns = set()
    with style():
        for ablation, part, curves, epochs in lines:
            colour, dash, mark = looks[ablation, part]
            label = f"{part}, {'with' if ablation == '' else 'without'} momentum prototypes"
            shortest = min(len(curve[0]) for curve in curves)
            x = curves[0][0][:shortest] * epochs
            y = 100 * np.stack([curve[1][:shortest] for curve in curves])
            columns |= {curve[2].partition("_")[2] for curve in curves}
            place.plot(x, y.mean(0), color=colour, linestyle=dash, marker=mark, label=label)
            if len(y) > 1:
                place.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.15, linewidth=0)
        place.set_xlabel("epoch")
        place.xaxis.set_major_locator(MaxNLocator(integer=True))
        place.set_ylabel({"accuracy": "mean accuracy, %", "miou": "mIoU, %"}[sorted(columns)[0]])
        place.set_ylim(bottom=0)
        place.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        about = f"{dataset}, fold 1, k-way" + (f"; not run: {reasons[0]}" if reasons else "")
        figure.suptitle("\n".join([title, *textwrap.wrap(about, 100)]), x=0.01, ha="left", fontsize=10)
    return figure


def _table_order(methods: Sequence[str]) -> list[str]:
    """Return methods as the tables list them, unknown ones last."""
    return sorted(methods, key=lambda name: list(METHODS).index(name) if name in METHODS else len(RUN_ORDER))
