"""From results to cells: scores over folds and seeds with their intervals, what data they rest on, names of runs."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.records import Measured, NotRun, Results, RunKey, bootstrap
from oshp_lite.study.tables.cells import Cell, Label, MeasuredCell, Missing, Note, PrintedCell, Row

DATA = {
    "synth-atr": "synth-atr (procedural people)",
    "synth-lip": "synth-lip (procedural people)",
    "synth-cihp": "synth-cihp (procedural people)",
    "ccp-os": "CCP-OS (real photos)",
    "atr-os": "ATR-OS",
    "lip-os": "LIP-OS",
    "cihp-os": "CIHP-OS",
}
"""Dataset -> what a reader is told it is."""

MEASURES = {"novel": "novel", "human": "human", "acc": "accuracy", "bi": "bi_miou"}
"""Column's word -> measure of `papers.measured`."""

NO_MASK = "EOP-Net's person mask of the same data, fold, way and seed is not at hand"


def data_name(dataset: str) -> str:
    """What a reader is told a dataset is."""
    return DATA.get(dataset, dataset)


def all_seeds(results: Results, keys: Iterable[RunKey]) -> list[Measured]:
    """Every result of these runs, all seeds."""
    return [found for key in keys for found in results.seeds(key)]


def why_not(results: Results, key: RunKey) -> str:
    """Why a run has no result."""
    found = results.get(key)
    return found.reason if isinstance(found, NotRun) else "not run yet"


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
    there = [(key, results.seeds(key)) for key in keys]
    absent = [key for key, found in there if not found]
    if absent and (not partial or len(absent) == len(keys)):
        return Missing(why_not(results, absent[0]))
    runs = [run for _, found in there for run in found]
    if screened:
        runs = [run for run in runs if run.screened is not None]
        if {run.key.fold for run in runs} != {key.fold for key, found in there if found}:
            return Missing(NO_MASK, "not screened")
    name = MEASURES[measure]
    try:
        found = bootstrap(runs, name, screened=screened)
    except UserError as error:
        return Missing(str(error))
    if math.isnan(found.mean):
        return Missing("no test pair holds these classes")
    # np.std of whole-percent scores over the seeds that every fold has; the mean of the folds comes first
    folds = sorted({run.key.fold for run in runs})
    by_fold = [{r.key.seed: r.score(name, screened=screened) for r in runs if r.key.fold == fold} for fold in folds]
    common = sorted(set.intersection(*(set(one) for one in by_fold)))
    each = [100 * float(np.mean([one[seed] for one in by_fold])) for seed in common]
    return MeasuredCell(
        100 * found.mean,
        100 * found.low,
        100 * found.high,
        float(np.std(each, ddof=1)) if len(each) > 1 else None,
        max(1, len(each)),
        tuple(run.key.slug for run in runs),
        tuple(folds),
        mark=mark,
    )


def where_measured(runs: Sequence[Measured], dataset: str) -> str:
    """Data, profile and origin of some results in words; only the data when there are none."""
    if not runs:
        return data_name(dataset)
    profiles = ", ".join(sorted({run.profile for run in runs}))
    origins = ", ".join(sorted({run.origin for run in runs}))
    return f"{data_name(dataset)}, {profiles}; {origins}"


def settings_notes(named: Sequence[tuple[str, Sequence[Measured]]]) -> list[Note]:
    """What the methods were trained with, from the runs' provenance: what most share, then what each has of its own.

    An option that one method was given is compared with its value in the others, be that given or from their preset.

    named  (label, results) of each method; methods without results or recorded settings are left out
    """
    recorded = {}
    for name, runs in named:
        run = next((run for run in runs if run.provenance.get("settings")), None)
        if run is not None:
            recorded[name] = run.key.method, run.provenance["settings"]
    if len(recorded) < 2:
        return []
    given = list(dict.fromkeys(option for _, settings in recorded.values() for option in settings.get("options", {})))
    told: dict[str, dict[str, str]] = {}
    untrained = []
    for name, (method, settings) in recorded.items():
        options = settings.get("options", {})
        if METHODS[method].training_free:
            words = _words({key: settings.get(key) for key in _WITHOUT_TRAINING} | options)
            untrained.append(Note(f"{name}, which is not trained: {'; '.join(words.values())}."))
            continue
        known = _preset(method, settings.get("variant")) | options
        flat = {key: value for key, value in settings.items() if key != "options"}
        told[name] = _words(flat | {option: known[option] for option in given if option in known})
    usual = {}
    for key in next(iter(told.values()), {}):
        values = Counter(words[key] for words in told.values() if key in words)
        word, count = values.most_common(1)[0]
        if values.total() == len(told) and 2 * count > len(told):
            usual[key] = word
    own = {name: [word for key, word in words.items() if usual.get(key) != word] for name, words in told.items()}
    notes = [Note(f"Trained methods, unless said otherwise: {'; '.join(usual.values())}.")] if usual else []
    return notes + [Note(f"{name}: {'; '.join(words)}.") for name, words in own.items() if words] + untrained


_WITHOUT_TRAINING = ("size", "init", "init_epochs", "variant")
"""Settings that also concern a method without a training of its own: the photos, and what its encoder learned first."""


def _words(settings: Mapping[str, Any]) -> dict[str, str]:
    return {key: f"{key} {_plain(value)}" for key, value in settings.items() if value is not None}


def _preset(method: str, variant: str | None) -> dict[str, Any]:
    """Every option of a method under a variant, for methods whose presets set any; {} for the others."""
    from oshp_lite.models.eopnet_config import EOPNetConfig
    from oshp_lite.models.popnet_config import POPNetConfig

    if variant is None:
        return {}
    presets: dict[str, Any] = {"eopnet": EOPNetConfig.preset, "popnet": POPNetConfig.preset}
    return vars(presets[method](variant)) if method in presets else {}


def tuning_notes(results: Results, methods: Sequence[str]) -> list[Note]:
    """How much each measured method was tuned, where that is known."""
    shown = [method for method in methods if method in results.tuned]
    if not shown:
        return []
    told = "; ".join(f"{METHODS[method].label}: {results.tuned[method]}" for method in shown)
    return [Note(f"Settings tried on base classes held out of training photos. {told}.")]


def _plain(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return "x".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def braces(slugs: Iterable[str]) -> str:
    """Names of runs with seeds folded: "eopnet-…-seed{0,1,2}"; a shell unfolds them again."""
    seeds: dict[tuple[str, str], list[str]] = {}
    for slug in dict.fromkeys(slugs):
        found = re.fullmatch(r"(.*-seed)(\d+)(.*)", slug)
        before, seed, after = found.groups() if found else (slug, "", "")
        seeds.setdefault((before, after), []).append(seed)
    return " ".join(
        f"{before}{{{','.join(sorted(found, key=int))}}}{after}" if len(found) > 1 else f"{before}{found[0]}{after}"
        for (before, after), found in seeds.items()
    )


def runs_label(cells: Iterable[Cell]) -> Label:
    """The runs behind some cells, folded."""
    slugs = [slug for cell in cells if isinstance(cell, MeasuredCell) for slug in cell.runs]
    return Label(braces(slugs) or "–", mono=bool(slugs))


# ---------------------------------------------------------------------------------------------- finishing touches


def with_best(rows: Sequence[Row], places: Sequence[int], kinds: Sequence[str]) -> list[Row]:
    """Mark the highest number of each column among the rows of each kind, where at least two stand."""
    made = [list(row.cells) for row in rows]
    for kind in kinds:
        for place in places:
            values = {}
            for number, row in enumerate(rows):
                cell = row.cells[place]
                if row.kind == kind and isinstance(cell, PrintedCell | MeasuredCell):
                    values[number] = cell.printed.value if isinstance(cell, PrintedCell) else round(cell.mean, 6)
            if len(values) < 2:
                continue
            top = max(values.values())
            for number, value in values.items():
                cell = made[number][place]
                if value == top and isinstance(cell, PrintedCell | MeasuredCell):
                    made[number][place] = replace(cell, best=True)
    return [replace(row, cells=tuple(cells)) for row, cells in zip(rows, made, strict=True)]


def with_notes(rows: Sequence[Row]) -> tuple[list[Row], list[Note]]:
    """Give every reason for a missing number one letter, and list the reasons and the flags of printed numbers."""
    letters: dict[str, str] = {}
    made = []
    for row in rows:
        cells: list[Cell] = []
        for cell in row.cells:
            if isinstance(cell, Missing) and cell.reason:
                mark = letters.setdefault(cell.reason, _letter(len(letters)))
                cell = replace(cell, mark=mark)
            cells.append(cell)
        made.append(replace(row, cells=tuple(cells)))
    flagged = [
        Note(f"{cell.printed.source.row}, {cell.printed.source.table}: {cell.printed.flag}.", "*")
        for row in rows
        for cell in row.cells
        if isinstance(cell, PrintedCell) and cell.printed.flag
    ]
    return made, [*dict.fromkeys(flagged), *(Note(f"{reason}.", mark) for reason, mark in letters.items())]


def _letter(number: int) -> str:
    """a, b, …, z, aa, ab, …"""
    letters = "abcdefghijklmnopqrstuvwxyz"
    return (_letter(number // 26 - 1) if number >= 26 else "") + letters[number % 26]
