"""What tables and figures say as far as they were run: sentences made of the records, gaps named as *not run*."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from oshp_lite.study.claims import Verdict
from oshp_lite.study.experiments import FIGURE8, METHODS, label, runs_of
from oshp_lite.study.figures.training import SCORES, STARTS, budget_panels, training_score
from oshp_lite.study.quantities import FIRM_SEEDS, TRAINING_NOISE
from oshp_lite.study.readings import DATASETS, MAIN, difference_of, in_points, spread_of, trivial
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.statistics import bootstrap

ASIDE = ("cost", "sure")
"""Kinds of claims that say nothing about parsing people, or can hardly fail."""
EXHIBITS = {
    "Table 2": "eopnet2",
    "Table 3": "eopnet3",
    "Table 4": "eopnet4",
    "Table 5": "eopnet5",
    "Table 6": "eopnet6",
    "Table 7": "eopnet7",
    "Figure 4": "eopnet4f",
    "Figure 5": "eopnet5f",
    "Figure 6": "eopnet6f",
    "Figure 7": "eopnet7f",
    "Figure 8": "eopnet8f",
}
"""Tables and figures of EOP-Net's paper that need runs, and the names of ours (`experiments.yaml`)."""


def coverage(results: Results) -> str:
    """Return as Markdown how many rows (of a figure: networks) of each table and figure were run, by way and fold."""
    lines = []
    for title, exhibit in EXHIBITS.items():
        known, parts = runs_of(exhibit), list[str]()
        for way, fold in dict.fromkeys((key.way, key.fold) for key in known):
            rows = dict.fromkeys(key for key in known if (key.way, key.fold) == (way, fold))
            made = sum(bool(results.seeds(key)) for key in rows)
            parts.append(f"{way}-way, fold {fold}: {f'{made} of {len(rows)}' if made else '*not run*'}")
        lines.append(f"* **{title}.** {'; '.join(parts)}")
    return "\n".join(lines)


def kinds(verdicts: Sequence[Verdict]) -> str:
    """Return what the reproduced rows of the ledger are (costs, checks, few seeds, others), and the not reproduced."""
    rows = [one for one in verdicts if one.word == "reproduced"]
    if not rows:
        return "No row of the ledger is reproduced."
    cost, sure = (sum(one.claim.topic == topic for one in rows) for topic in ASIDE)
    few = sum(one.claim.topic not in ASIDE and not one.firm for one in rows)
    parsing = len(rows) - cost - sure - few
    return (
        f"Of the {len(rows)} reproduced rows {cost} {'is a cost' if cost == 1 else 'are costs'}, {sure} can hardly "
        f"fail, and {few} rest{'s' * (few == 1)} on fewer than {FIRM_SEEDS} seeds. The other "
        f"{parsing} concern parsing, with {FIRM_SEEDS} seeds or more throughout.{_failed(verdicts)}"
    )


def _failed(verdicts: Sequence[Verdict]) -> str:
    rows = [one for one in verdicts if one.word == "not reproduced"]
    few = sum(not one.firm for one in rows)
    part = sum(any(part.verdict == "reproduced" for part in one.parts) for one in rows)
    return (
        f" Of the {len(rows)} rows that are not reproduced {few} rest on fewer than {FIRM_SEEDS} seeds, and in {part} "
        "some of the claim's differences hold and another fails."
    ) * bool(rows)


def against_trivial(results: Results, data: str = "ccp-os", names: Sequence[str] = ("copy", "mean map")) -> str:
    """Return which methods are not above the trivial predictions by novel mIoU (means, k-way, fold 1)."""
    known = {name: round(novel, 1) for name, novel, _ in trivial(data) if name in names}
    scores = {name: _scores(results.seeds(RunKey(name, data, 1, "k")), "novel") for name in METHODS}
    scores = {name: value for name, value in scores.items() if value is not None}
    if not known or not scores:
        return f"Neither trivial predictions nor methods were run on {data}."
    said = []
    for name, bar in known.items():
        below = sorted((value, METHODS[m].label) for m, value in scores.items() if value is not None and value <= bar)
        words = ", ".join(f"{method} {value:.1f}" for value, method in reversed(below)) or "no method"
        said.append(f"*{name}* has {bar:.1f}; not above it: {words}")
    return f"Novel mIoU on {data}, fold 1, means over blocks or seeds. The trivial prediction {'. '.join(said)}."


def _scores(runs: Sequence[Measured], measure: str) -> float | None:
    return round(100 * bootstrap(runs, measure).mean, 1) if runs else None


def spreads(results: Results, data: str = "ccp-os", method: str = "eopnet") -> str:
    """Return how much a method's novel mIoU varies over its trainings, beside the other methods with three or more."""
    own = spread_of(results, data, method)
    others = {
        METHODS[name].label: spread_of(results, data, name)
        for name in METHODS
        if name != method and len(results.seeds(RunKey(name, data, 1, "k"))) >= FIRM_SEEDS
    }
    if own != own:
        return f"{METHODS[method].label} has no two trainings on {data}."
    runs = results.seeds(RunKey(method, data, 1, "k"))
    blocks = ", each tested on another block," * (runs[0].key.protocol == "blocks")
    said = f"{METHODS[method].label}'s {len(runs)} trainings{blocks} spread by ±{own:.1f} points of novel mIoU (fold 1)"
    if others:
        low, high = min(others, key=others.__getitem__), max(others, key=others.__getitem__)
        said += f"; those of the other methods by {others[low]:.1f} ({low}) to {others[high]:.1f} ({high})"
    if own > TRAINING_NOISE:
        said += f". That is more than the {TRAINING_NOISE:g} points that the ledger leaves to rows with few trainings"
    return f"{said}."


def rows(results: Results, names: Iterable[str], data: str = "synth-atr") -> str:
    """Return as Markdown the highest row of EOP-Net's ablations against the complete network, and what was not run."""
    runs = {name: results.seeds(RunKey("eopnet", data, 1, "k", 0, name)) for name in dict.fromkeys((*names, ""))}
    made = {name: own for name, own in runs.items() if own}
    lines = []
    for measure in MAIN:
        if "" not in made or len(made) < 2:
            break
        scores = {name: 100 * bootstrap(own, measure).mean for name, own in made.items()}
        others = [name for name in sorted(scores, key=lambda name: -scores[name]) if name]
        said = [f"{_row(name)} {scores[name]:.1f}{_beside(made[name], made[''], measure)}" for name in others]
        lines.append(f"* {measure} mIoU: the complete EOP-Net {scores['']:.1f}; {'; '.join(said)}")
    if missing := [_row(name) for name, own in runs.items() if not own]:
        lines.append(f"* *Not run*: {', '.join(missing)}. Nothing is known of these rows here.")
    return "\n".join(lines)


def _row(name: str) -> str:
    return label("eopnet", name) if name else "the complete EOP-Net"


def _beside(one: Sequence[Measured], two: Sequence[Measured], measure: str) -> str:
    """Return the paired difference as an insertion, "" without common seeds."""
    difference = difference_of(one, two, measure)
    return f", paired difference {in_points(difference)}" if difference else ""


def during_training(results: Results, data: str = "synth-atr") -> str:
    """Return what the curves of Figure 8 do, as far as the long trainings were run."""
    said, missing = [], []
    for name, word in zip(FIGURE8, ("with", "without"), strict=True):
        runs = results.seeds(RunKey("eopnet", data, 1, "k", 0, name))
        x, novel, _ = training_score(runs, "novel")
        base = training_score(runs, "base")[1]
        if not len(x):
            missing.append(word)
            continue
        mean, other = novel.mean(0), base.mean(0)
        top = int(mean.argmax())
        said.append(
            f"{word.capitalize()} momentum prototypes ({len(novel)} seed{'s' * (len(novel) > 1)}): the novel score is "
            f"{mean[0]:.0f} % at first, highest at epoch {x[top]:.0f} with {mean[top]:.0f} %, and {mean[-1]:.0f} % at "
            f"the end; the base score goes from {other[0]:.0f} to {other[-1]:.0f} %."
        )
    if missing:
        said.append(
            f"*Not run* at this length: {' and '.join(missing)} momentum prototypes. So the comparison that the paper "
            "draws is open here."
        )
    return " ".join(said)


def budgets(results: Results, *datasets: str) -> str:
    """Return as Markdown what more epochs change, line by line of the budget's figure."""
    lines = []
    for panel in budget_panels(results, datasets or DATASETS):
        if not panel.runs:
            continue
        for measure in SCORES:
            grown = {name: line for name, line in panel.estimates(measure).items() if len(line) > 1}
            said = [
                f"{name} {' to '.join(f'{100 * line[factor].mean:.1f} (x{factor})' for factor in sorted(line))}"
                for name, line in grown.items()
            ]
            lines.append(f"* {panel.title}, {measure} mIoU: {'; '.join(said) or 'x1 alone'}")
    return "\n".join(lines) or "*Not run*."


def starts(results: Results, first: str = "eopnet", second: str = "panet") -> str:
    """Return as Markdown one method minus another on held-out base classes, from each initialisation."""
    lines = []
    for data in dict.fromkeys(key.dataset for key in runs_of("starts")):
        said = []
        for name, (words, *_) in STARTS.items():
            keys = [
                key
                for method in (first, second)
                for key in runs_of("starts")
                if (key.dataset, key.method, key.ablation) == (data, method, name)
            ]
            own, other = map(results.seeds, keys)
            one = difference_of(own, other, "novel")
            said.append(f"{words} {'*not run*' if one is None else in_points(one)}")
        lines.append(f"* {data}: {'; '.join(said)}")
    heads = " minus ".join(METHODS[name].label for name in (first, second))
    return "\n".join([f"{heads}, pseudo-novel mIoU in points, by start:", "", *lines])
