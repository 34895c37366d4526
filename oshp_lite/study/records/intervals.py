"""Intervals of scores and differences: one bootstrap over test pairs (by query photo) and seeds for everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.study.records.records import Array, Measured, totals_of, values


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, and what it rests on: seeds, pairs (summed over folds), folds, `draws` [R].

    common  for each fold the seeds that all terms have; no other run takes part
    """

    mean: float
    low: float
    high: float
    seeds: int
    pairs: int
    folds: tuple[int, ...]
    draws: Array = field(repr=False, compare=False)
    common: tuple[tuple[int, ...], ...] = ()

    def __iter__(self) -> Any:
        """Unpack as (mean, low, high)."""
        return iter((self.mean, self.low, self.high))


@dataclass(frozen=True)
class Term:
    """One addend of a comparison: `weight` times a score of some runs (all seeds and folds of one kind of run)."""

    weight: float
    runs: Sequence[Measured]
    measure: str = "human"
    screened: bool = False


def bootstrap(
    runs: Sequence[Measured], measure: str = "human", *, screened: bool = False, repeats: int = 1000
) -> Estimate:
    """Return a score's mean over seeds and folds with its 95 % interval (see `contrast`)."""
    return contrast([Term(1.0, runs, measure, screened)], repeats=repeats)


def paired_difference(
    first: Sequence[Measured], second: Sequence[Measured], measure: str = "human", *, repeats: int = 1000
) -> Estimate:
    """Return the score of `first` minus that of `second` on the same pairs, with its 95 % interval."""
    return contrast([Term(1.0, first, measure), Term(-1.0, second, measure)], repeats=repeats)


def contrast(terms: Sequence[Term], *, repeats: int = 1000, seed: int = 0) -> Estimate:
    """Return the weighted sum of the terms' scores, averaged over seeds and folds, with a 95 % percentile interval.

    In each of `repeats` draws the query photos of a fold are drawn anew with replacement (1-way: within each class),
    each with all its test pairs, the same for all terms; with two seeds or more the seeds are drawn anew too, again the
    same for all terms. Folds are drawn apart and averaged. Only folds and seeds that every term has take part. Terms of
    unlike pair lists (k-way against 1-way) are drawn apart.

    Raises UserError when no fold or seed is common to all terms, or runs that should share pairs do not.
    """
    if not terms or not all(term.runs for term in terms):
        raise UserError("there are no runs to compare; run the missing ones")
    folds = sorted(set.intersection(*({run.key.fold for run in term.runs} for term in terms)))
    if not folds:
        raise UserError("the runs to compare have no fold in common; run the missing ones")
    means, drawn, common, n_pairs = [], [], [], 0
    for number in folds:
        tables = [{run.key.seed: run for run in term.runs if run.key.fold == number} for term in terms]
        seeds = sorted(set.intersection(*(set(table) for table in tables)))
        if not seeds:
            raise UserError(f"the runs to compare have no seed in common on fold {number}; run the missing ones")
        block = folds.index(number)
        rng = np.random.default_rng([seed, 23, block])
        picks = rng.integers(0, len(seeds), (repeats, len(seeds))) if len(seeds) > 1 else np.zeros((repeats, 1), int)
        mean, spread = 0.0, np.zeros(repeats)
        for term, table in zip(terms, tables, strict=True):
            mine = [table[one] for one in seeds]
            _same_pairs(mine)
            found = np.stack([_redrawn(one, term.measure, term.screened, repeats, seed, block) for one in mine])
            spread += term.weight * np.take_along_axis(found.T, picks, 1).mean(1)
            mean += term.weight * float(np.mean([run.score(term.measure, screened=term.screened) for run in mine]))
        for way in ("k", "1"):
            _same_pairs([table[seeds[0]] for table in tables if table[seeds[0]].key.way == way])
        means.append(mean)
        drawn.append(spread)
        common.append(tuple(seeds))
        n_pairs += len(tables[0][seeds[0]].counts)
    spread = np.mean(drawn, 0)
    kept = spread[~np.isnan(spread)]
    low, high = np.quantile(kept, [0.025, 0.975]).tolist() if len(kept) else (math.nan, math.nan)
    fewest = min(map(len, common))
    return Estimate(float(np.mean(means)), low, high, fewest, n_pairs, tuple(folds), spread, tuple(common))


def _same_pairs(runs: Sequence[Measured]) -> None:
    for run in runs[1:]:
        if not np.array_equal(run.class_ids, runs[0].class_ids):
            raise UserError(
                f"{run.key.slug} and {runs[0].key.slug} were measured on different test pairs; measure one of them anew"
            )


def _redrawn(run: Measured, measure: str, screened: bool, repeats: int, seed: int, block: int) -> Array:
    """Return a run's score float64 [repeats] under pairs drawn anew."""
    name = (measure, screened, repeats, seed, block)
    if name not in run.memo:
        totals = totals_of(run, pair_draws(run, repeats, seed, block), screened=screened)
        run.memo[name] = values(totals, run, measure)
    return np.asarray(run.memo[name])


_DRAWS: dict[tuple[Any, ...], Array] = {}


def pair_draws(run: Measured, repeats: int, seed: int = 0, block: int = 0) -> Array:
    """Return float64 [repeats,N], how often each pair is drawn: with all pairs of its query photo.

    block  which fold of several it is; each has draws of its own

    Pairs that share a query are no independent trials. Where the queries are not known every pair stands alone, as in
    the engine's interval of a single run.
    """
    ids, queries = run.class_ids, run.queries
    told = b"" if queries is None else queries.tobytes()
    name = (run.key.way, ids.tobytes(), told, repeats, seed, block)
    if name in _DRAWS:
        return _DRAWS[name]
    rng = np.random.default_rng([seed, 17 if run.key.way == "k" else 19, *([block] if block else [])])
    alone = np.arange(len(ids)) if queries is None else queries
    weights = np.zeros((repeats, len(ids)))
    for class_id in [None] if run.key.way == "k" else np.unique(ids):
        mine = slice(None) if class_id is None else np.flatnonzero(ids == class_id)
        photos, photo_of = np.unique(alone[mine], return_inverse=True)
        count = len(photos)
        weights[:, mine] = rng.multinomial(count, np.full(count, 1 / count), size=repeats)[:, photo_of]
    while len(_DRAWS) >= 8:  # a few pair lists at a time; each takes a few megabytes
        _DRAWS.pop(next(iter(_DRAWS)))
    _DRAWS[name] = weights
    return weights
