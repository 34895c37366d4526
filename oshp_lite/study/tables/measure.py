"""From results to cells and notes: scores with their intervals, what they rest on, settings, reasons, best ones."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.records import Measured, NotRun, Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables.table import (
    FLAGGED,
    Cell,
    Column,
    Label,
    MeasuredCell,
    Missing,
    Note,
    PrintedCell,
    Row,
    Table,
)

MEASURES = {"novel": "novel", "human": "human", "acc": "accuracy", "bi": "bi_miou"}
"""A column's word -> measure of `study.records`."""
HEADS = {"novel": "novel mIoU", "human": "human mIoU", "acc": "overall accuracy", "bi": "Bi-mIoU"}

HOW = Note(
    "Scores in per cent. Measured: the mean over seeds and folds, ± the standard deviation over seeds (n of them), and "
    "in brackets the 95 % interval from drawing query photos with their test pairs (and seeds, from two on) anew. "
    "The best of each column in bold, the paper's and the measured ones apart."
)
SCREENING = Note(
    "Screened by EOP-Net: the same answers, with everything outside the person mask of this protocol's EOP-Net set to "
    "background. EOP-Net's own row has that already."
)


def data_name(dataset: str) -> str:
    """A dataset's name in tables, with what it consists of."""
    return DATASETS[dataset].title if dataset in DATASETS else dataset


def all_seeds(results: Results, keys: Iterable[RunKey]) -> list[Measured]:
    """Every result of these runs, all seeds."""
    return [run for key in keys for run in results.seeds(key)]


def measured_cell(
    results: Results,
    keys: Sequence[RunKey],
    measure: str,
    *,
    screened: bool = False,
    mark: str = "",
    partial: bool = False,
) -> MeasuredCell | Missing:
    """A score in per cent over folds (one key each) and all their seeds, or why there is none.

    measure  a column's word ("novel", "human", "acc", "bi")
    partial  take what folds there are (marked by `folds`); otherwise every key must have been run
    """
    absent = [key for key in keys if not results.seeds(key)]
    if absent and (not partial or len(absent) == len(keys)):
        missing = results.get(absent[0])
        return Missing(missing.reason if isinstance(missing, NotRun) else "not run yet")
    runs = all_seeds(results, keys)
    folds = sorted({run.key.fold for run in runs})
    if screened:
        runs = [run for run in runs if run.screened is not None]
        if sorted({run.key.fold for run in runs}) != folds:
            why = "EOP-Net's person mask of the same data, fold, way and seed is not at hand"
            return Missing(why, "not screened")
    name = MEASURES[measure]
    try:
        estimate = bootstrap(runs, name, screened=screened)
    except UserError as error:
        return Missing(str(error))
    if math.isnan(estimate.mean):
        return Missing("no test pair holds these classes")
    # the spread over the seeds that every fold has; the mean of the folds comes first
    by_fold = [{run.key.seed: run.score(name, screened=screened) for run in runs if run.key.fold == n} for n in folds]
    common = sorted(set.intersection(*map(set, by_fold)))
    each = [100 * float(np.mean([scores[seed] for scores in by_fold])) for seed in common]
    mean, low, high = (100 * value for value in estimate)
    return MeasuredCell(
        mean,
        low,
        high,
        spread=float(np.std(each, ddof=1)) if len(each) > 1 else None,
        seeds=max(1, len(each)),
        runs=tuple(run.key.slug for run in runs),
        folds=tuple(folds),
        mark=mark,
    )


def where_measured(runs: Sequence[Measured], dataset: str) -> str:
    """Data, profile and origin of some results in words, and that older code made some; only the data without any."""
    if not runs:
        return data_name(dataset)
    profiles, origins = (", ".join(sorted({getattr(run, name) for run in runs})) for name in ("profile", "origin"))
    older = ", older code" if any(run.provenance.get("older_code") for run in runs) else ""
    return f"{data_name(dataset)}, {profiles}; {origins}{older}"


# ------------------------------------------------------------------------------------------------ notes on settings


def settings_notes(runs_of: Mapping[str, Sequence[Measured]]) -> list[Note]:
    """What the methods were trained with, from the runs' provenance: what most share, then what each has of its own.

    An option that one method was given is compared with its value in the others, be that given or from their preset.

    runs_of  results by the method's label; methods without results or recorded settings are left out
    """
    firsts = {
        name: next((run for run in runs if run.provenance.get("settings")), None) for name, runs in runs_of.items()
    }
    recorded = {name: (run.key.method, run.provenance["settings"]) for name, run in firsts.items() if run is not None}
    if len(recorded) < 2:
        return []
    given = list(dict.fromkeys(option for _, settings in recorded.values() for option in settings.get("options", {})))
    trained: dict[str, dict[str, str]] = {}
    untrained = []
    for name, (method, settings) in recorded.items():
        options = settings.get("options", {})
        if METHODS[method].training_free:
            words = _words({key: settings.get(key) for key in _WITHOUT_TRAINING} | options)
            untrained.append(Note(f"{name}, which is not trained: {'; '.join(words.values())}."))
            continue
        known = _preset(method, settings.get("variant")) | options
        flat = {key: value for key, value in settings.items() if key != "options"}
        trained[name] = _words(flat | {option: known[option] for option in given if option in known})
    usual = {}
    for key in next(iter(trained.values()), {}):
        values = Counter(words[key] for words in trained.values() if key in words)
        word, count = values.most_common(1)[0]
        if values.total() == len(trained) and 2 * count > len(trained):
            usual[key] = word
    own = {name: [word for key, word in words.items() if usual.get(key) != word] for name, words in trained.items()}
    notes = [Note(f"Trained methods, unless said otherwise: {'; '.join(usual.values())}.")] if usual else []
    return notes + [Note(f"{name}: {'; '.join(words)}.") for name, words in own.items() if words] + untrained


_WITHOUT_TRAINING = ("size", "init", "init_epochs", "variant")
"""Settings that also concern a method without a training of its own: the photos, and what its encoder learned first."""


def _words(settings: Mapping[str, Any]) -> dict[str, str]:
    def plain(value: Any) -> str:
        return f"{value:g}" if isinstance(value, float) else "x".join(map(str, value)) if _many(value) else str(value)

    return {key: f"{key} {plain(value)}" for key, value in settings.items() if value is not None}


def _many(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _preset(method: str, variant: str | None) -> dict[str, Any]:
    """Every option of a method under a variant, for methods whose presets set any; {} for the others."""
    from oshp_lite.models.eopnet_config import EOPNetConfig
    from oshp_lite.models.popnet_config import POPNetConfig

    presets: dict[str, Any] = {"eopnet": EOPNetConfig.preset, "popnet": POPNetConfig.preset}
    if variant is None or method not in presets:
        return {}
    options = vars(presets[method](variant))
    # the name that recorded runs use
    return options | {"unlabelled_foreground": options["unlabelled"]}


def tuning_notes(results: Results, methods: Sequence[str]) -> list[Note]:
    """How much each measured method was tuned, where that is known."""
    known = "; ".join(f"{METHODS[name].label}: {results.tuned[name]}" for name in methods if name in results.tuned)
    return [Note(f"Settings tried on base classes held out of training photos. {known}.")] if known else []


# ---------------------------------------------------------------------------------------------- finishing touches


def braces(slugs: Iterable[str]) -> str:
    """Names of runs with seeds folded: "eopnet-…-seed{0,1,2}"; a shell unfolds them again."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for slug in dict.fromkeys(slugs):
        before, seed, after = re.fullmatch(r"(.*-seed|)(\d+|)(.*)", slug).groups()  # type: ignore[union-attr]
        seeds.setdefault((before, after), []).append(seed)
    return " ".join(
        f"{before}{{{','.join(sorted(some, key=int))}}}{after}" if len(some) > 1 else f"{before}{some[0]}{after}"
        for (before, after), some in seeds.items()
    )


def runs_label(cells: Iterable[Cell]) -> Label:
    """The runs behind some cells, folded."""
    slugs = [slug for cell in cells if isinstance(cell, MeasuredCell) for slug in cell.runs]
    return Label(braces(slugs) or "–", mono=bool(slugs))


def finished(
    name: str,
    title: str,
    source: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    notes: Sequence[Note],
    scores: Sequence[str],
    kinds: Sequence[str],
) -> Table:
    """A table with its best cells marked, every reason for a missing number given a letter, and all notes below it.

    scores  kinds of the columns in which there is a best cell, apart for each of `kinds` of rows
    """
    places = [place for place, column in enumerate(columns) if column.kind in scores]
    rows, reasons = _with_reasons(_with_best(rows, places, kinds))
    return Table(name, title, source, tuple(columns), tuple(rows), (*notes, *reasons))


def _with_best(rows: Sequence[Row], places: Sequence[int], kinds: Sequence[str]) -> list[Row]:
    """Mark the highest number of each column among the rows of each kind, where at least two stand."""
    made = [list(row.cells) for row in rows]
    for kind in kinds:
        for place in places:
            values = {}
            for number, row in enumerate(rows):
                cell = row.cells[place]
                if row.kind == kind and isinstance(cell, PrintedCell | MeasuredCell):
                    values[number] = cell.printed.value if isinstance(cell, PrintedCell) else round(cell.mean, 6)
            for number, value in values.items():
                cell = made[number][place]
                if len(values) > 1 and value == max(values.values()):
                    made[number][place] = replace(cell, best=True)  # type: ignore[type-var]
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, made, strict=True)]


def _with_reasons(rows: Sequence[Row]) -> tuple[list[Row], list[Note]]:
    """Give every reason for a missing number one letter; list the flags of printed numbers and the reasons."""
    cells = [cell for row in rows for cell in row.cells]
    reasons = dict.fromkeys(cell.reason for cell in cells if isinstance(cell, Missing) and cell.reason)
    letters = {reason: _letter(number) for number, reason in enumerate(reasons)}
    flagged = [cell.printed for cell in cells if isinstance(cell, PrintedCell) and cell.printed.flag]
    notes = [Note(f"{one.row}, {one.table}: {one.flag}.", FLAGGED) for one in flagged]
    marked = [
        tuple(replace(one, mark=letters.get(one.reason, "")) if isinstance(one, Missing) else one for one in row.cells)
        for row in rows
    ]
    made = [replace(row, cells=some) for row, some in zip(rows, marked, strict=True)]
    return made, [*dict.fromkeys(notes), *(Note(f"{reason}.", letter) for reason, letter in letters.items())]


def _letter(number: int) -> str:
    """a, b, …, z, aa, ab, …"""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
