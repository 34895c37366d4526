"""What results say, in sentences that are made of the records: the readings below the notebooks' tables and figures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json
from oshp_lite.study.claims import between
from oshp_lite.study.collapse import collapsed
from oshp_lite.study.experiments import METHODS, TABLE5, label, runs_of
from oshp_lite.study.figures.charts import size_curve
from oshp_lite.study.quantities import FIRM_SEEDS, Outcome, Quantity, Side, verdict
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.statistics import Estimate, bootstrap, paired_difference

DATASETS, MAIN = ("synth-atr", "ccp-os"), ("novel", "human")


def in_points(one: Estimate) -> str:
    """Return a difference with its interval, in points, and whether that leaves its sign open or rests on few seeds."""
    mean, low, high = (100 * value for value in one)
    fewest = min(map(len, one.by_fold.values()))
    said = [f"{fewest} seed{'s' * (fewest > 1)}"] if fewest < FIRM_SEEDS else []
    said += ["sign open"] if low <= 0 <= high else []
    return f"{mean:+z.1f} {between(low, high)}" + (f" ({', '.join(said)})" if said else "")


def difference_of(one: Sequence[Measured], two: Sequence[Measured], measure: str) -> Estimate | None:
    """Return the paired difference of two methods' runs, None where they have no fold and seed in common."""
    try:
        return paired_difference(one, two, measure)
    except UserError:
        return None


def compared(
    results: Results, first: str, second: str, measure: str = "novel", datasets: Iterable[str] = DATASETS
) -> str:
    """Return "A minus B, novel mIoU: +2.9 [0.9, 5.0] points on synth-atr; ..." of two methods (k-way, all folds).

    first, second  methods, or ablations as "eopnet:npm"
    """
    said, names = [], [name.partition(":")[::2] for name in (first, second)]
    for data in datasets:
        runs = [_of_all_folds(results, method, data, ablation) for method, ablation in names]
        one = difference_of(runs[0], runs[1], measure)
        said.append(f"not run on {data}" if one is None else f"{in_points(one)} points on {data}, {_folds(one)}")
    return f"{' minus '.join(label(*name) for name in names)}, {measure} mIoU: {'; '.join(said)}."


def _of_all_folds(results: Results, method: str, data: str, ablation: str = "") -> list[Measured]:
    return [run for fold in (1, 2) for run in results.seeds(RunKey(method, data, fold, "k", 0, ablation))]


def _folds(one: Estimate) -> str:
    return "folds 1 and 2" if len(one.by_fold) > 1 else f"fold {min(one.by_fold)}"


def settled(one: Estimate) -> str:
    """Return "higher", "lower" or "undecided" of a difference, by the ledger's rule (`quantities.verdict`)."""
    mean, low, high = (100 * value for value in one)
    word = verdict(Outcome(mean, low, high, seeds=min(map(len, one.by_fold.values()))))
    return {"reproduced": "higher", "not reproduced": "lower"}.get(word, "undecided")


def standing(runs: Mapping[str, Sequence[Measured]], rival: str, measure: str = "novel") -> str:
    """Return which methods score higher or lower than a rival, pair by pair, or cannot be told from it (`settled`).

    runs  method -> its runs under all seeds; UserError where one shares no seed with the rival
    """
    groups: dict[str, list[str]] = {"higher": [], "lower": [], "undecided": []}
    for name, own in runs.items():
        if name != rival:
            groups[settled(paired_difference(own, runs[rival], measure))].append(METHODS[name].label)
    said = "; ".join(f"*{word}*: {', '.join(names) or 'none'}" for word, names in groups.items())
    return f"against **{METHODS[rival].label}**, mIoU {measure}: {said}"


def longer(
    results: Results, methods: Sequence[str] = ("popnet", "panet", "eopnet"), data: str = "synth-atr", more: str = "x4"
) -> str:
    """Return each method's base and novel mIoU under the study's budget and a larger one, on common seeds (fold 1)."""
    said = []
    for name in methods:
        runs = [results.seeds(RunKey(name, data, 1, "k", 0, ablation)) for ablation in ("", more)]
        both = {measure: difference_of(runs[0], runs[1], measure) for measure in ("base", "novel")}
        levels = [f"{of} {' to '.join(f'{100 * x:.1f}' for x in one.levels)}" for of, one in both.items() if one]
        fewest = min((len(seeds) for one in both.values() if one for seeds in one.by_fold.values()), default=0)
        said += [f"{METHODS[name].label} {', '.join(levels)} ({fewest} seed{'s' * (fewest > 1)})"] if levels else []
    words = label(methods[0], more)
    return f"With {words}, mIoU on {data}: {'; '.join(said)}." if said else f"Nothing was run with {words} on {data}."


def at_hand(results: Results, exhibit: str, profile: str = "lite") -> tuple[int, int]:
    """Return how many of the runs that a table or figure needs are at hand (first seeds), and how many there are."""
    keys = runs_of(exhibit, profile)
    return sum(bool(results.seeds(key)) for key in keys), len(keys)


def own_experiments(results: Results, profile: str = "lite") -> str:
    """Return what is at hand of the experiments of POPNet's own paper, Tables 1 to 3, by that paper's protocol."""
    counts = {number: at_hand(results, f"popnet{number}", profile) for number in (1, 2, 3)}
    if not any(there for there, _ in counts.values()):
        return (
            "**None of the paper's own experiments has been run here yet** (they stand late in the study's plan): the "
            "tables below hold the printed numbers and empty cells."
        )
    said = "; ".join(f"Table {number}: {there} of {of}" for number, (there, of) in counts.items())
    empty = " The other cells are empty." if any(there < of for there, of in counts.values()) else ""
    return f"Runs of the paper's own experiments, a method on a fold: {said}.{empty}"


def best_on(results: Results, data: str = "ccp-os", reference: str = "eopnet") -> str:
    """Return who leads by novel and by human mIoU on a dataset (k-way, all folds), and by how much over a reference."""
    said = []
    for measure in MAIN:
        runs = {name: _of_all_folds(results, name, data) for name in METHODS}
        runs = {name: own for name, own in runs.items() if own and not collapsed(own)}
        if not runs:
            return f"No method was run on {data}."
        scores = {name: bootstrap(own, measure).mean for name, own in runs.items()}
        lead = max(scores, key=lambda name: scores[name])
        folds = _folds(bootstrap(runs[lead], measure))
        words = f"By {measure} mIoU {METHODS[lead].label} is first with {100 * scores[lead]:.1f} ({folds})"
        one = difference_of(runs[lead], runs.get(reference, []), measure) if lead != reference else None
        said.append(f"{words}, {in_points(one)} points from {METHODS[reference].label}." if one else f"{words}.")
    return " ".join(said)


def spread_of(results: Results, data: str = "ccp-os", method: str = "eopnet") -> float:
    """Return the deviation of a method's novel mIoU over its trainings, in points (k-way, fold 1; nan of one alone)."""
    scores = [100 * run.score("novel") for run in results.seeds(RunKey(method, data, 1, "k"))]
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else float("nan")


def trivial(data: str = "ccp-os") -> list[tuple[str, float, float]]:
    """Return (name, novel mIoU, human mIoU in %) of every trivial prediction on a dataset, fold 1, mean over blocks."""
    folder = project_root() / "notebooks" / "results" / "trivial"
    tables = [read_json(path) for path in sorted(folder.glob(f"{data}-fold1*.json"))]
    names = list(tables[0]) if tables else []
    score = {(name, of): 100 * fmean(t[name][f"{of}_miou"] for t in tables) for name in names for of in MAIN}
    return [(name, score[name, "novel"], score[name, "human"]) for name in names]


def called_background(results: Results, datasets: Iterable[str] = DATASETS) -> str:
    """Return as Markdown each method's testing bias in points (k-way), largest first.

    It is the share of novel pixels called background minus that of base pixels.
    """
    lines = []
    for data in datasets:
        found = []
        for name in METHODS:
            side = Side(name, measure="novel_as_background-base_as_background")
            outcome = Quantity("", "difference", (side,)).measure(results, data)
            if isinstance(outcome, Outcome):
                found.append((outcome.mean, f"{METHODS[name].label} {outcome.mean:+z.0f}"))
        words = ", ".join(text for _, text in sorted(found, reverse=True))
        lines.append(f"* **{data}**, points: {words or 'not run'}")
    return "\n".join(lines)


def steps(results: Results, names: Sequence[str] = TABLE5, data: str = "synth-atr") -> str:
    """Return as Markdown what each row of Table 5 adds to the row above it, in points (k-way, fold 1, common seeds)."""
    lines = []
    for above, below in pairwise(names):
        runs = [results.seeds(RunKey("eopnet", data, 1, "k", 0, name)) for name in (below, above)]
        parts = [(measure, difference_of(runs[0], runs[1], measure)) for measure in MAIN]
        said = [f"{measure} {in_points(one)}" for measure, one in parts if one is not None]
        heads = " minus ".join(label("eopnet", name) for name in (below, above))
        lines.append(f"* {heads}: {', '.join(said) or 'not run'}")
    return "\n".join(lines)


def by_size(results: Results, data: str = "synth-atr", reference: str = "eopnet") -> str:
    """Return which methods are ahead of a reference in each sixth of the parts by size, and by how much at most."""
    runs = {name: results.seeds(RunKey(name, data, 1, "k")) for name in METHODS}
    curves = {name: size_curve(own)[1] for name, own in runs.items() if own}
    if reference not in curves:
        return f"{METHODS[reference].label} was not run on {data}."
    own, said = curves[reference], []
    for place, mine in enumerate(own):
        ahead = [METHODS[name].label for name, curve in curves.items() if curve[place] > mine]
        said.append(f"{place + 1}. {', '.join(ahead) or 'no method'}")
    gap, name, place = max((curve[n] - own[n], name, n) for name, curve in curves.items() for n in range(len(own)))
    text = (
        f"Ahead of {METHODS[reference].label}, from the smallest sixth of the parts to the largest: {'; '.join(said)}."
    )
    if gap <= 0:
        return text
    far = f"{own[place]:.0f} % against {own[place] + gap:.0f} % of {METHODS[name].label}"
    return f"{text} Farthest behind in group {place + 1}: {far}."


def lost_base(results: Results, data: str = "synth-atr", methods: Sequence[str] = ("popnet", "eopnet")) -> str:
    """Return the base classes that methods call background for half of their pixels or more, with the shares."""
    from oshp_lite.labels import label_space

    said = []
    for name in methods:
        runs = [run for run in results.seeds(RunKey(name, data, 1, "k")) if run.confusion is not None]
        if not runs:
            said.append(f"{METHODS[name].label}: not run.")
            continue
        total = np.sum([run.confusion for run in runs], 0).astype(float)  # type: ignore[arg-type]
        share = {c: 100 * total[c, 0] / max(total[c].sum(), 1) for c in runs[0].base if c}
        lost = sorted(((value, c) for c, value in share.items() if value >= 50), reverse=True)
        names = [f"{label_space(data).class_name(c)} {value:.0f} %" for value, c in lost]
        said.append(f"{METHODS[name].label} calls background: {', '.join(names) or 'half of no base class'}.")
    return " ".join(said)
