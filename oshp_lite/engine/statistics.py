"""The one interval of the project: a bootstrap over clusters of test pairs, and over runs where there are several.

Pairs that share a query photo are no independent trials: a draw takes a query with all its pairs. `scores.json`, the
study's tables and the ledger of claims all use these draws, so that one number never has two intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
REPEATS = 1000


def draw_pairs(
    groups: Sequence[Any] | Array,
    strata: Sequence[int] | Array | None = None,
    *,
    repeats: int = REPEATS,
    seed: int = 0,
    block: int = 0,
) -> Array:
    """Return float64 [repeats,N], how often each test pair counts: whole groups drawn anew with replacement.

    groups  [N] what is drawn as one: the query photo, or the block of neighbouring photos it belongs to
    strata  [N] classes to draw within (1-way, whose scores are per class); None draws over all pairs (k-way)
    block   which fold of several it is; each has draws of its own
    """
    groups = np.asarray(groups)
    rng = np.random.default_rng([seed, 17 if strata is None else 19, *([block] if block else [])])
    weights = np.zeros((repeats, len(groups)))
    places = np.zeros(len(groups), int) if strata is None else np.asarray(strata)
    for stratum in np.unique(places):
        mine = np.flatnonzero(places == stratum)
        drawn, group_of = np.unique(groups[mine], return_inverse=True)
        counts = rng.multinomial(len(drawn), np.full(len(drawn), 1 / len(drawn)), size=repeats)
        weights[:, mine] = counts[:, group_of.reshape(-1)]
    return weights


def mean_over_runs(scores: Array, *, seed: int = 0, block: int = 0) -> Array:
    """Return float64 [R], the mean over runs drawn anew, of scores [S,R] of S runs under the same R draws of pairs."""
    runs, repeats = scores.shape  # a single run is always itself
    picks = np.random.default_rng([seed, 23, block]).integers(0, runs, (repeats, runs))
    return np.asarray(np.take_along_axis(np.asarray(scores).T, picks, 1).mean(1))


def bounds(draws: Any) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws [R], those that are nan left out; (nan, nan) of none."""
    draws = np.asarray(draws, np.float64)
    kept = draws[~np.isnan(draws)]
    if not len(kept):
        return math.nan, math.nan
    low, high = np.quantile(kept, [0.025, 0.975]).tolist()
    return low, high
