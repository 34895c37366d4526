"""Scores of several runs with their intervals, and paired differences, by the draws of `engine.statistics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from oshp_lite.engine.statistics import REPEATS, bounds, draw_pairs, mean_over_runs
from oshp_lite.errors import UserError
from oshp_lite.study.records import Array, Measured, totals_of, values


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

    def __iter__(self) -> Iterator[float]:
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
    runs: Sequence[Measured], measure: str = "human", *, screened: bool = False, repeats: int = REPEATS
) -> Estimate:
    """Return a score's mean over seeds and folds with its 95 % interval (see `contrast`)."""
    return contrast([Term(1.0, runs, measure, screened)], repeats=repeats)


def paired_difference(
    first: Sequence[Measured], second: Sequence[Measured], measure: str = "human", *, repeats: int = REPEATS
) -> Estimate:
    """Return the score of `first` minus that of `second` on the same pairs, with its 95 % interval."""
    return contrast([Term(1.0, first, measure), Term(-1.0, second, measure)], repeats=repeats)


def contrast(terms: Sequence[Term], *, repeats: int = REPEATS) -> Estimate:
    """Return the weighted sum of the terms' scores, averaged over seeds and folds, with a 95 % percentile interval.

    In each draw the query photos of a fold are drawn anew (1-way: within each class), each with all its test pairs, the
    same for all terms; with two seeds or more the seeds are drawn anew too, again the same for all terms. Folds are
    drawn apart and averaged. Only folds and seeds that every term has take part. Terms of unlike pair lists (k-way
    against 1-way) are drawn apart.

    Raises UserError when no fold or seed is common to all terms, or runs that should share pairs do not.
    """
    if not terms or not all(term.runs for term in terms):
        raise UserError("there are no runs to compare; run the missing ones")
    folds = sorted(set.intersection(*({run.key.fold for run in term.runs} for term in terms)))
    if not folds:
        raise UserError("the runs to compare have no fold in common; run the missing ones")
    means, drawn, common, n_pairs = [], [], [], 0
    for block, number in enumerate(folds):
        tables = [{run.key.seed: run for run in term.runs if run.key.fold == number} for term in terms]
        seeds = sorted(set.intersection(*(set(table) for table in tables)))
        if not seeds:
            raise UserError(f"the runs to compare have no seed in common on fold {number}; run the missing ones")
        runs = [[table[seed] for seed in seeds] for table in tables]
        for way in ("k", "1"):
            _same_pairs([run for mine in runs for run in mine if run.key.way == way])
        mean, spread = 0.0, np.zeros(repeats)
        for term, mine in zip(terms, runs, strict=True):
            scores = np.stack([_redrawn(run, term, repeats, block) for run in mine])
            spread += term.weight * mean_over_runs(scores, block=block)
            mean += term.weight * float(np.mean([run.score(term.measure, screened=term.screened) for run in mine]))
        means.append(mean)
        drawn.append(spread)
        common.append(tuple(seeds))
        n_pairs += len(runs[0][0].counts)
    spread = np.mean(drawn, 0)
    fewest = min(map(len, common))
    return Estimate(float(np.mean(means)), *bounds(spread), fewest, n_pairs, tuple(folds), spread, tuple(common))


def _same_pairs(runs: Sequence[Measured]) -> None:
    for run in runs[1:]:
        if not np.array_equal(run.class_ids, runs[0].class_ids):
            raise UserError(
                f"{run.key.slug} and {runs[0].key.slug} were measured on different test pairs; measure one of them anew"
            )


def _redrawn(run: Measured, term: Term, repeats: int, block: int) -> Array:
    """Return a run's score float64 [repeats] under pairs drawn anew."""
    name = (term.measure, term.screened, repeats, block)
    if name not in run.memo:
        totals = totals_of(run, pair_draws(run, repeats, block), screened=term.screened)
        run.memo[name] = values(totals, run, term.measure)
    return np.asarray(run.memo[name])


_DRAWS: dict[tuple[Any, ...], Array] = {}


def pair_draws(run: Measured, repeats: int = REPEATS, block: int = 0) -> Array:
    """Return float64 [repeats,N], how often each pair of a run is drawn; where queries are unknown, each pair alone."""
    groups = np.arange(len(run.class_ids)) if run.queries is None else run.queries
    name = (run.key.way, run.class_ids.tobytes(), groups.tobytes(), repeats, block)
    if name not in _DRAWS:
        while len(_DRAWS) >= 8:  # a few pair lists at a time; each takes a few megabytes
            _DRAWS.pop(next(iter(_DRAWS)))
        _DRAWS[name] = draw_pairs(groups, run.class_ids if run.key.way == "1" else None, repeats=repeats, block=block)
    return _DRAWS[name]
