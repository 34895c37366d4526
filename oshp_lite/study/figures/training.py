"""What training changes: EOP-Net's Fig. 8, scores against the budget, and the three initialisations."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from oshp_lite.study.experiments import FIGURE8, METHODS, ablation_of, label, runs_of
from oshp_lite.study.figures.captions import READINGS, TITLES
from oshp_lite.study.figures.panels import GREY, METHOD_INK, end_labels, headed, missing_note, not_run
from oshp_lite.study.quantities import curve_of
from oshp_lite.study.records import Array, Measured, Results, RunKey
from oshp_lite.study.statistics import Estimate, bootstrap
from oshp_lite.viz import INK, new_figure, style

FEWEST = 15
"""Evaluations from which a curve of Fig. 8 says something of a trend."""
SHORT = {"": "x1", "x4": "x4", "x10": "x10"}
PARTS = {"dml": "DML", "dml-no-ws": "DML w/o WS", "npm": "NPM"}
"""Names of EOP-Net's parts in the budget's figure: those of Table 5."""
STARTS = {
    "": ("the dataset's base classes", INK[0], "o"),
    "start-general": ("body parts alone", INK[3], "s"),
    "start-none": ("no initialisation", INK[1], "D"),
}
"""Initialisations: name, colour and mark."""
SCORES = {"novel": "novel mIoU, %", "human": "human mIoU, %"}


def training_score(runs: Sequence[Measured], part: str) -> tuple[Array, Array, str]:
    """Return epochs [E], scores in % of all runs [S,E] and what they are ("accuracy", "miou"); [S] is 0 without any.

    Runs of unlike length are cut to the shortest.
    """
    curves = [(run, *curve) for run in runs if len((curve := curve_of(run, part))[0])]
    if not curves:
        return np.zeros(0), np.zeros((0, 0)), ""
    most = min(len(x) for _, x, _, _ in curves)
    run, x, _, column = curves[0]
    epochs = max(int(row["epoch"]) for row in run.history)
    return epochs * x[:most], 100 * np.stack([y[:most] for *_, y, _ in curves]), column.partition("_")[2]


def eopnet8f(results: Results, dataset: str = "synth-atr") -> Figure:
    """Draw EOP-Net's Fig. 8: scores of base and novel classes during training, with and without momentum prototypes.

    Of the long trainings; where there is none, of the ordinary ones. Line: mean over seeds; band: lowest to highest.
    """
    title, looks = f"{TITLES['eopnet8f']}, {dataset}", (("with", INK[0], "-"), ("without", INK[3], "--"))
    pairs = [FIGURE8, [name.partition("+")[0].replace("x4", "") for name in FIGURE8]]
    scored = [[results.seeds(RunKey("eopnet", dataset, 1, "k", 0, name)) for name in names] for names in pairs]
    drawn = next((some for some in scored if any(len(training_score(runs, "novel")[0]) for runs in some)), None)
    if drawn is None:
        return not_run(title, _why(results, [RunKey("eopnet", dataset, 1, "k", 0, name) for name in FIGURE8]))
    figure, axes = new_figure(1, 2, width=4.4, height=3.4)
    missing, points, seeds = dict[str, str](), set[int](), set[int]()
    for place, part in zip(axes[0], ("base", "novel"), strict=True):
        ends = []
        for runs, (word, colour, dash) in zip(drawn, looks, strict=True):
            x, y, kind = training_score(runs, part)
            if not len(x):
                missing[f"{word} momentum prototypes"] = "" if not runs else "no scores were taken during training"
                continue
            points.add(len(x))
            seeds.add(len(y))
            with style():
                place.plot(x, y.mean(0), color=colour, linestyle=dash, marker="o", markersize=2.5)
                place.fill_between(x, y.min(0), y.max(0), color=colour, alpha=0.18, linewidth=0)
                place.set(xlabel="epoch", title=f"{part} classes")
                place.xaxis.set_major_locator(MaxNLocator(integer=True))
                place.set_ylabel({"accuracy": "mean accuracy, %", "miou": "mIoU, %"}[kind])
            ends.append((word, float(x[-1]), float(y.mean(0)[-1]), colour))
        end_labels(place, ends, 2.6)
    band = "" if max(seeds) < 2 else "; band: lowest to highest"
    words = READINGS["eopnet8f"].format(
        seeds=_counted(seeds, "seed"), band=band, points=" or ".join(map(str, sorted(points)))
    )
    words += f" Fewer than {FEWEST} say nothing of a trend." if max(points) < FEWEST else ""
    return headed(figure, title, f"{words} {missing_note(missing)}".strip())


def _why(results: Results, keys: Sequence[RunKey]) -> str:
    """Return why there is nothing to draw of some runs."""
    reasons = (getattr(results.get(key), "reason", "no scores were taken during training") for key in keys)
    return next(iter(reasons), "nothing of the kind is declared for these datasets")


def _counted(counts: set[int], word: str) -> str:
    return " or ".join(f"{count} {word}{'s' * (count != 1)}" for count in sorted(counts))


@dataclass
class Panel:
    """A panel of lines over budgets: {line's name: {budget: its runs, or none}} and the colours of the lines."""

    title: str
    lines: dict[str, dict[int, list[Measured]]]
    colours: dict[str, str]

    @property
    def runs(self) -> list[Measured]:
        """All its runs."""
        return [run for line in self.lines.values() for runs in line.values() for run in runs]

    def estimates(self, measure: str) -> dict[str, dict[int, Estimate]]:
        """Return the scores of every line, of those seeds alone that all its panel's runs have."""
        every = [runs for line in self.lines.values() for runs in line.values() if runs]
        seeds = set.intersection(*({run.key.seed for run in runs} for runs in every))
        return {
            name: {
                budget: bootstrap([run for run in runs if run.key.seed in seeds] or runs[:1], measure)
                for budget, runs in line.items()
                if runs
            }
            for name, line in self.lines.items()
        }


def budget_panels(results: Results, datasets: Sequence[str]) -> list[Panel]:
    """Return the panels of the budget's figure: methods on each dataset, then EOP-Net's parts; declared runs alone."""
    panels: dict[str, Panel] = {}
    for key in runs_of("budget"):
        if key.dataset not in datasets:
            continue
        factor = ablation_of(key.method, key.ablation).budget
        rest = "+".join(name for name in key.ablation.split("+") if name not in SHORT)
        whole = key.method == "eopnet" and not rest
        for title, name, colour in (
            (f"methods, {key.dataset}", METHODS[key.method].label, METHOD_INK.get(key.method, GREY)),
            (f"EOP-Net's parts, {key.dataset}", PARTS.get(rest) or (label("eopnet", rest) if rest else "EOP-Net"), ""),
        ):
            if (not rest) if title.startswith("methods") else (rest or whole):
                panel = panels.setdefault(title, Panel(title, {}, {}))
                panel.colours.setdefault(name, colour or (INK[0] if whole else INK[1 + len(panel.lines) % 4]))
                panel.lines.setdefault(name, {})[factor] = results.seeds(key)
    return sorted(
        (panel for panel in panels.values() if len(panel.lines) > 1), key=lambda panel: -panel.title[0].islower()
    )


def budget(results: Results, *datasets: str) -> Figure:
    """Draw novel and human mIoU against the training budget, a line a method; the numbers in the marks are ranks."""
    panels = budget_panels(results, datasets or ("synth-atr",))
    drawn = [panel for panel in panels if sum(any(line.values()) for line in panel.lines.values()) > 1]
    if not drawn:
        return not_run(TITLES["budget"], _why(results, runs_of("budget")))
    figure, axes = new_figure(len(SCORES), len(drawn), width=max(3.3, 5.0 / len(drawn)), height=2.4, sharex="col")
    seeds = set[int]()
    lines = [line for panel in drawn for line in panel.lines.values()]
    budgets = sorted({factor for line in lines for factor, runs in line.items() if runs})
    for places, (measure, words) in zip(axes, SCORES.items(), strict=True):
        for place, panel in zip(places, drawn, strict=True):
            estimates = panel.estimates(measure)
            seeds |= {len(s) for line in estimates.values() for one in line.values() for s in one.by_fold.values()}
            with style():
                _budget_lines(place, panel, estimates, budgets)
                if place is places[0]:
                    place.set_ylabel(words)
                if measure == "novel":
                    place.set_title(panel.title, fontsize=9)
    with style():
        for place in axes[-1]:
            place.set_xlabel("training budget")
    absent = {panel.title: "" for panel in panels if panel not in drawn}
    absent |= {f"x{factor} of any line": "" for factor in sorted({*chain(*lines)} - {*budgets})}
    blocks = any(run.key.protocol == "blocks" for panel in drawn for run in panel.runs)
    words = READINGS["budget"].format(seeds=_counted(seeds, "seed") + " (of real photos: a block)" * blocks)
    return headed(figure, TITLES["budget"], f"{words} {missing_note(absent)}".strip())


def _budget_lines(
    place: Axes, panel: Panel, estimates: Mapping[str, Mapping[int, Estimate]], budgets: Sequence[int]
) -> None:
    ranks = {
        budget: sorted(
            (name for name, line in estimates.items() if budget in line), key=lambda n: -estimates[n][budget].mean
        )
        for budget in budgets
    }
    ends, absent = [], []
    for name, line in estimates.items():
        if not line:
            absent.append(name)
            continue
        x, colour = sorted(line), panel.colours[name]
        mean, low, high = 100 * np.array([tuple(line[budget]) for budget in x]).T
        place.errorbar(
            x, mean, yerr=[mean - low, high - mean], color=colour, linewidth=1.5, linestyle="-", elinewidth=0.7
        )
        place.scatter(x, mean, s=90, color=colour, zorder=3)
        for budget, y in zip(x, mean, strict=True):
            form = {"ha": "center", "va": "center", "fontsize": 7, "color": "white", "zorder": 4}
            if len(ranks[budget]) == len(panel.lines):  # a rank among some would look like one among all
                place.text(budget, y, str(1 + ranks[budget].index(name)), **form)  # type: ignore[arg-type]
        lacking = [f"x{budget}" for budget in panel.lines[name] if budget not in line and budget in budgets]
        ends.append((name + (f" ({', '.join(lacking)} not run)" if lacking else ""), x[-1], float(mean[-1]), colour))
    place.set(xscale="log", xlim=(budgets[0] / 1.3, budgets[-1] * 1.3))
    place.set_xticks(budgets, [f"x{budget}" for budget in budgets])
    place.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    end_labels(place, ends, 2.4)
    if absent:
        words = textwrap.fill(f"not run: {', '.join(absent)}", 40)
        said = place.text(
            0.99, 0.02, words, ha="right", va="bottom", fontsize=7, color="0.4", transform=place.transAxes
        )
        said.set_in_layout(False)


def starts(results: Results, *datasets: str) -> Figure:
    """Draw the scores on held-out base classes from three initialisations: a row a method, a mark a start."""
    panels: dict[str, dict[str, dict[str, list[Measured]]]] = {}
    for key in runs_of("starts"):
        if key.dataset in (datasets or ("synth-atr",)):
            row = panels.setdefault(key.dataset, {}).setdefault(METHODS[key.method].label, {})
            row[key.ablation] = results.seeds(key)
    absent = [name for name, rows in panels.items() if not any(runs for row in rows.values() for runs in row.values())]
    drawn = {name: rows for name, rows in panels.items() if name not in absent}
    if not drawn:
        return not_run(TITLES["starts"], _why(results, runs_of("starts")))
    most = max(map(len, drawn.values()))
    figure, axes = new_figure(
        3, len(drawn), width=max(4.6, 6.4 / len(drawn)), height=0.65 + 0.3 * most, height_ratios=[0.3, 1.2, 1.2]
    )
    with style():
        marks = [
            Line2D([], [], color=colour, marker=mark, linestyle="", markersize=6, label=name)
            for name, colour, mark in STARTS.values()
        ]
        axes[0, 0].legend(handles=marks, loc="center left", ncols=3, borderpad=0).set_in_layout(False)
        for column, (name, rows) in enumerate(drawn.items()):
            axes[0, column].set_axis_off()
            axes[1, column].set_title(name)
            for place, (measure, words) in zip(axes[1:, column], reversed(SCORES.items()), strict=True):
                for line, row in enumerate(rows.values()):
                    _start_row(place, line, row, measure)
                place.set_yticks(range(len(rows)), rows)
                place.set(ylim=(len(rows) - 0.5, -0.5), xlabel=words.replace("novel", "pseudo-novel"))
                place.tick_params(axis="y", length=0)
    note = READINGS["starts"] + (f" Not run: {', '.join(absent)}." if absent else "")
    return headed(figure, TITLES["starts"], note)


def _start_row(place: Axes, line: int, row: Mapping[str, Sequence[Measured]], measure: str) -> None:
    scores = {name: bootstrap(runs, measure) for name, runs in row.items() if runs}
    for offset, (name, one) in zip((-0.16, 0.0, 0.16), ((n, scores.get(n)) for n in STARTS), strict=True):
        _, colour, mark = STARTS[name]
        if one is not None:
            mean, low, high = (100 * value for value in one)
            place.plot([low, high], [line + offset] * 2, color=colour, linewidth=1, linestyle="-")
            place.plot(mean, line + offset, color=colour, marker=mark, linestyle="", markersize=6, zorder=3)
    lacking = [STARTS[name][0] for name in row if name not in scores]
    if lacking:
        words = "not run" if len(lacking) == len(row) else f"not run: {', '.join(lacking)}"
        place.text(
            0.99, line, words, ha="right", va="center", fontsize=7, color="0.4", transform=place.get_yaxis_transform()
        )
