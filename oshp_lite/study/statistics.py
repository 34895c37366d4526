"""Scores of several runs with their intervals, and paired differences, by the draws of `engine.statistics`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import NamedTuple

import numpy as np

from oshp_lite.data.pairs import GROUP
from oshp_lite.engine.statistics import REPEATS, bounds, draw_pairs, mean_over_runs
from oshp_lite.errors import UserError
from oshp_lite.study.records import Array, Measured, scores_under


@dataclass(frozen=True)
class Estimate:
    """A weighted sum of scores with its 95 % interval, and what it rests on.

    levels   the score of each term alone
    by_fold  for each fold the seeds that all terms have; no other run takes part
    draws    [R] the sum in each draw
    """

    mean: float
    low: float
    high: float
    levels: tuple[float, ...]
    by_fold: dict[int, tuple[int, ...]]
    draws: Array = field(repr=False, compare=False)

    def __iter__(self) -> Iterator[float]:
        """Unpack as (mean, low, high)."""
        return iter((self.mean, self.low, self.high))


class Term(NamedTuple):
    """One addend of a comparison: `weight` times a score of some runs (all seeds and folds of one kind of run)."""

    weight: float
    runs: Sequence[Measured]
    measure: str = "human"
    screened: bool = False


def bootstrap(runs: Sequence[Measured], measure: str = "human", *, screened: bool = False) -> Estimate:
    """Return a score's mean over seeds and folds with its 95 % interval (see `contrast`)."""
    return contrast([Term(1.0, runs, measure, screened)])


def paired_difference(first: Sequence[Measured], second: Sequence[Measured], measure: str = "human") -> Estimate:
    """Return the score of `first` minus that of `second` on the same pairs, with its 95 % interval."""
    return contrast([Term(1.0, first, measure), Term(-1.0, second, measure)])


def contrast(terms: Sequence[Term]) -> Estimate:
    """Return the weighted sum of the terms' scores, averaged over seeds and folds, with a 95 % percentile interval.

    In each draw the query photos of a fold are drawn anew (1-way: within each class), each with all its test pairs, the
    same for all terms; with two seeds or more the seeds are drawn anew too, again the same for all terms. Folds are
    drawn apart and averaged. Terms of unlike pair lists (k-way against 1-way) are drawn apart.

    Raises UserError when no fold and seed is common to all terms, or runs that should share pairs do not.
    """
    drawn, levels, by_fold = [], [], {}
    weights = np.array([term.weight for term in terms])
    rows = common_runs([term.runs for term in terms])
    for block, (number, chosen) in enumerate(groupby(rows, key=lambda row: row[0].key.fold)):
        runs = list(chosen)  # [S][T]
        blocks = runs[0][0].key.protocol == "blocks"  # they have photos of their own
        for alike in runs if blocks else [[run for row in runs for run in row]]:
            _same_pairs(alike)
        scores = np.array(
            [[_redrawn(run, t.measure, t.screened, block) for run, t in zip(row, terms, strict=True)] for row in runs]
        )  # [S,T,1+R]
        drawn.append(weights @ [mean_over_runs(scores[:, place, 1:], block=block) for place in range(len(terms))])
        levels.append(scores[..., 0].mean(0))
        by_fold[number] = tuple(row[0].key.seed for row in runs)
    each, draws = np.mean(levels, 0), np.mean(drawn, 0)
    return Estimate(float(weights @ each), *bounds(draws), tuple(each.tolist()), by_fold, draws)


def common_runs(groups: Sequence[Sequence[Measured]]) -> list[list[Measured]]:
    """Return one run of each group for every fold and seed that all have, in their order. UserError without any."""
    if not groups or not all(groups):
        raise UserError("there are no runs to compare; run the missing ones")
    tables = [{(run.key.fold, run.key.seed): run for run in runs} for runs in groups]
    places = sorted(set.intersection(*map(set, tables)))
    if not places:
        raise UserError("the runs to compare have no fold and seed in common; run the missing ones")
    return [[table[place] for table in tables] for place in places]


def _same_pairs(runs: Sequence[Measured]) -> None:
    first: dict[str, Measured] = {}
    for run in runs:
        other = first.setdefault(run.key.way, run)
        if not np.array_equal(run.class_ids, other.class_ids):
            said = f"{run.key.slug} and {other.key.slug} were measured on different test pairs"
            raise UserError(f"{said}; measure one of them anew")


def _redrawn(run: Measured, measure: str, screened: bool, block: int) -> Array:
    """Return a run's score float64 [1+R], as it is and under pairs drawn anew."""
    name = (measure, screened, block)
    if name not in run.memo:
        sums = run.memo.setdefault(block, {})
        run.memo[name] = scores_under(run, pair_draws(run, block), measure, screened=screened, sums=sums)
    return run.memo[name]


def pair_draws(run: Measured, block: int = 0, repeats: int = REPEATS) -> Array:
    """Return float64 [1+repeats,N], how often each pair counts: once, then as often as it is drawn.

    Pairs of one query photo are drawn as one; where the photos are unknown, each pair is drawn alone.
    """
    groups = np.arange(len(run.class_ids)) if run.queries is None else run.queries
    if run.key.protocol == "blocks":  # each block is drawn apart from the others
        groups, block = groups // GROUP, block + 2 * run.key.seed
    strata = run.class_ids if run.key.way == "1" else np.zeros(0)
    return _draws(groups.astype(np.int64).tobytes(), strata.astype(np.int64).tobytes(), repeats, block)


@lru_cache(maxsize=16)  # a few pair lists at a time; each takes a few megabytes
def _draws(groups: bytes, strata: bytes, repeats: int, block: int) -> Array:
    places = np.frombuffer(strata, np.int64) if strata else None
    drawn = draw_pairs(np.frombuffer(groups, np.int64), places, repeats=repeats, block=block)
    return np.concatenate([np.ones_like(drawn[:1]), drawn])
