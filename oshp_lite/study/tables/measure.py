"""From results to cells and notes: scores with their intervals, what they rest on, settings, reasons, best ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.printed.numbers import PAPER_NAMES, printed_tables
from oshp_lite.study.records import Measured, Results, RunKey
from oshp_lite.study.statistics import bootstrap
from oshp_lite.study.tables.table import FLAGGED, Cell, Column, Row, Table, folded, missing

MEASURES = {"novel": "novel", "human": "human", "acc": "accuracy", "bi": "bi_miou"}
MEASURES |= {"miou": "human", "macc": "mean_accuracy"}
"""A column's word -> measure of `study.records`."""
COLLAPSED, ONE_FOLD = "§", "‡"
"""Mark the numbers of a method that has collapsed, and one fold in place of a mean of both."""
BEHIND = (Column("data and profile", "", "data", behind=True), Column("runs", "", "runs", behind=True))
"""The last columns of every table of results."""
HEADS = {"novel": "novel mIoU", "human": "human mIoU", "acc": "overall accuracy", "bi": "Bi-mIoU"}
HEADS |= {"miou": "mIoU", "macc": "mean accuracy"}


def data_name(dataset: str) -> str:
    """A dataset's name in tables, with what it consists of."""
    return DATASETS[dataset].title if dataset in DATASETS else dataset


def all_seeds(results: Results, keys: Iterable[RunKey]) -> list[Measured]:
    """Every result of these runs, all seeds."""
    return [run for key in keys for run in results.seeds(key)]


def measured_cell(
    results: Results, keys: Sequence[RunKey], measure: str, *, screened: bool = False, mark: str = "", partial: bool
) -> Cell:
    """A score in per cent over folds (one key each) and all their seeds, or why there is none.

    measure  a column's word ("novel", "human", "acc", "bi"), or a measure of `study.records`
    partial  take what folds there are (see `Cell.folds`); otherwise every key must have been run
    """
    absent = [key for key in keys if not results.seeds(key)]
    if absent and (not partial or len(absent) == len(keys)):
        return missing(getattr(results.get(absent[0]), "reason", "not run yet"))
    runs = all_seeds(results, keys)
    folds = sorted({run.key.fold for run in runs})
    if screened:
        runs = [run for run in runs if run.screened is not None]
        if sorted({run.key.fold for run in runs}) != folds:
            why = "EOP-Net's person mask of the same data, fold, way and seed is not at hand"
            return missing(why, "not screened")
    name = MEASURES.get(measure, measure)
    try:
        mean, low, high = (100 * value for value in bootstrap(runs, name, screened=screened))
    except UserError as error:
        return missing(str(error))
    if math.isnan(mean):
        return missing("no test pair holds these classes")
    # the spread over the seeds that every fold has; the mean of the folds comes first
    by_fold = [{run.key.seed: run.score(name, screened=screened) for run in runs if run.key.fold == n} for n in folds]
    each = [100 * np.mean([scores[seed] for scores in by_fold]) for seed in set.intersection(*map(set, by_fold))]
    spread = float(np.std(each, ddof=1)) if len(each) > 1 else None
    slugs, place = tuple(run.key.slug for run in runs), (mean, low, high, spread, max(1, len(each)))
    return Cell(f"{mean:.1f}", "measured", *place, mark=mark, runs=slugs, folds=tuple(folds))


def where_measured(runs: Sequence[Measured], dataset: str) -> str:
    """Data, profile and origin of some results in words, and that older code made some; only the data without any."""
    if not runs:
        return data_name(dataset)
    profiles, origins = (", ".join(sorted({getattr(run, name) for run in runs})) for name in ("profile", "origin"))
    older = ", older code" if any(run.provenance.get("older_code") for run in runs) else ""
    return f"{data_name(dataset)}, {profiles}; {origins}{older}"


def runs_cell(cells: Iterable[Cell]) -> Cell:
    """Name the runs behind some cells, as `folded` does."""
    names = folded(slug for cell in cells for slug in cell.runs)
    return Cell(names or "–", mono=bool(names))


_WITHOUT_TRAINING = ("size", "init", "init_epochs", "variant")
"""Settings that also concern a method without a training of its own: the photos, and what its encoder learned first."""


def settings_notes(runs_of: Mapping[str, Sequence[Measured]]) -> list[str]:
    """What the methods were trained with, from the runs' provenance: what most share, then what each has of its own.

    runs_of  results by method; methods without results or recorded settings are left out
    """
    recorded: dict[str, dict[str, Any]] = {}
    for name, run in ((name, run) for name, runs in runs_of.items() for run in runs):
        if settings := run.provenance.get("settings"):
            recorded.setdefault(name, settings)
    if len(recorded) < 2:
        return []
    trained: dict[str, dict[str, str]] = {}
    untrained = []
    for name, settings in recorded.items():
        method, options = METHODS[name], settings.get("options", {})
        kept = [key for key in settings if key in _WITHOUT_TRAINING or not (method.training_free or key == "options")]
        words = _words({key: settings[key] for key in kept} | options)
        if method.training_free:
            untrained.append(f"{method.label}, which is not trained: {'; '.join(words.values())}.")
        else:
            trained[method.label] = words
    usual = {}
    for key in next(iter(trained.values()), {}):
        values = [words.get(key) for words in trained.values()]
        word, count = Counter(values).most_common(1)[0]
        if None not in values and 2 * count > len(values):
            usual[key] = word
    notes = [f"Trained methods, unless said otherwise: {'; '.join(map(str, usual.values()))}."] if usual else []
    for label, words in trained.items():
        apart = [word for key, word in words.items() if usual.get(key) != word]
        notes += [f"{label}: {'; '.join(apart)}."] if apart else []
    return notes + untrained


def _words(settings: Mapping[str, Any]) -> dict[str, str]:
    def plain(value: Any) -> str:
        many = isinstance(value, list | tuple)
        return f"{value:g}" if isinstance(value, float) else "x".join(map(str, value)) if many else str(value)

    return {key: f"{key} {plain(value)}" for key, value in settings.items() if value is not None}


def tuning_notes(results: Results, methods: Iterable[str]) -> list[str]:
    """How much each measured method was tuned, where that is known."""
    known = "; ".join(f"{METHODS[name].label}: {results.tuned[name]}" for name in methods if name in results.tuned)
    return [f"Settings tried on base classes held out of training photos. {known}."] if known else []


def finished(
    name: str,
    title: str,
    columns: Sequence[Column],
    rows: Sequence[Row],
    notes: Iterable[str],
    *,
    best: bool = True,
    compact: bool = False,
    printed: str = "",
) -> Table:
    """A table with its best cells marked, a letter for every reason why a number is missing, and all notes below it.

    best     mark the highest number of each column among the rows of each kind, where at least two stand; ceilings,
             what is screened, what collapsed and single folds among means take no part
    printed  id of the paper's table, if it has another one than this
    """
    for place, column in enumerate(columns):
        for kind in ("paper", "measured", "both") if best and column.kind not in ("screened", "verdict") else ():
            whole = (row.cells[place] for row in rows if row.kind == kind)
            cells = [cell for cell in whole if not {COLLAPSED, ONE_FOLD} & set(cell.mark)]
            values = {id(cell): round(cell.value, 6) for cell in cells if cell.value is not None}
            for cell in cells if len(values) > 1 else ():
                cell.best = values.get(id(cell)) == max(values.values())
    flags: dict[str, str] = {}
    letters: dict[str, str] = {}
    for cell in (cell for row in rows for cell in row.cells):
        if cell.printed and cell.printed.flag:
            flags[f"{FLAGGED} {cell.printed.row}, {cell.printed.table}: {cell.printed.flag}."] = ""
        if cell.reason and cell.kind == "missing":
            cell.mark = letters.setdefault(cell.reason, _letter(len(letters)))
    below = (*flags, *(f"({letter}) {reason}." for reason, letter in letters.items()))
    theirs = printed_tables().get(printed or name)
    source = f"{PAPER_NAMES[theirs.paper]}, {theirs.label}" if theirs else "in no paper"
    return Table(name, title, source, tuple(columns), tuple(rows), (*notes, *below), compact)


def _letter(number: int) -> str:
    """a, b, …, z, aa, ab, …"""
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("a") + number % 26)
