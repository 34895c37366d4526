"""When a method has collapsed: one class takes nearly everything, whatever the photo."""

from __future__ import annotations

from collections.abc import Sequence

from oshp_lite.study.records import Measured

REMAINDER = 0.05
"""A run has collapsed when all classes but one get less than this share of the pixels that belong to them."""


def is_collapsed(run: Measured) -> bool:
    """Return whether one class takes nearly all pixels, by the counts over all test pairs.

    The pixels predicted as any class but one are set against the pixels that truly are of these classes. So a method
    that predicts background alone has collapsed although most pixels are background; one that misses the novel classes
    only has not.
    """
    hits, claimed, missed = run.counts.sum(0).T.astype(float)
    predicted, true = hits + claimed, hits + missed
    others, rest = predicted.sum() - predicted, true.sum() - true
    return bool((others[rest > 0] < REMAINDER * rest[rest > 0]).any())


def collapsed(runs: Sequence[Measured]) -> bool:
    """Return whether more than half of a method's runs have collapsed; False without runs."""
    return 2 * sum(map(is_collapsed, runs)) > len(runs)
