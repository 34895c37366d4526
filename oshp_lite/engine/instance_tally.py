"""What a judgement of people keeps of every photo, small enough to be committed, and its scores under any weights.

Matching predictions with truths happens within a photo, so a photo that counts twice, or not at all, needs no new
matching: AP^p, PCP, AP^r and mIoU of resampled photos follow from a few whole numbers a prediction. Intervals and bins
of crowdedness are made of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from oshp_lite.engine.instance_metrics import PeopleMeter

Array = NDArray[Any]
THRESHOLDS = tuple(step / 10 for step in range(1, 10))
"""Overlaps that have to be exceeded; tenths as they are, so that 7/10 does not exceed 0.7."""
BINS = (0.0, 0.1, 0.3, 0.5, 1.0)
"""Borders of crowdedness: the largest IoU of any two people's boxes in a photo. The lower border belongs to a bin."""
VARIANTS = ("", "given", "views")
"""How people were found: detected; given by the true boxes; detected at several scales and mirrored."""
_BITS = 1 << np.arange(len(THRESHOLDS))


class Measure(NamedTuple):
    """One number of a judgement: variant, name, threshold (None: the mean over all nine) and bin (None: all photos)."""

    variant: str
    name: str
    threshold: float | None
    bin: int | None


def measure_of(text: str) -> Measure | None:
    """Read "ap_p_50", "given_ap_r_vol", "pcp_50_bin2", "views_miou"; None for anything else."""
    form = r"(?:(given|views)_)?(?:(ap_p|pcp|ap_r_pgn|ap_r)_(vol|[1-9]0)|(miou))(?:_bin([0-3]))?"
    if (match := re.fullmatch(form, text)) is None:
        return None
    at = None if match[3] in (None, "vol") else int(match[3]) / 100
    return Measure(match[1] or "", match[2] or match[4], at, int(match[5]) if match[5] else None)


def bin_of(crowded: Array) -> Array:
    """The bin int64 [N] of each crowdedness float [N] in 0..1."""
    return np.clip(np.searchsorted(BINS, crowded, side="right") - 1, 0, len(BINS) - 2)


def tally(meter: PeopleMeter, crowded: Mapping[str, float], variant: str = "") -> dict[str, Array]:
    """Return what a judgement keeps, unsigned arrays by name; photos by stem, predictions in score order.

    bins [N]; and of each variant, under "VARIANT." where it has a name: pixels [N,K,3] (TP, FP, FN), people [N] and
    parts [N,K] of the truth; `people_photo`, `people_hits` (bit i: right above threshold i), `people_parts` [P,9]
    (right parts of the person that it is of) and `people_whole` (that person's parts); `parts_photo`, `parts_class`,
    `parts_hits` and `parts_pgn` (bits as before).
    """
    names, kept = sorted(crowded), meter.matches()
    arrays: dict[str, Array] = {
        "bins": bin_of(np.array([crowded[name] for name in names])),
        "people": kept.people_true,
        "parts": kept.parts_true,
        "people_photo": kept.people_photo,
        "people_hits": kept.people_hits.T @ _BITS,
        "people_parts": kept.people_parts,
        "people_whole": kept.people_whole,
        "parts_photo": kept.parts_photo,
        "parts_class": kept.parts_class,
        "parts_hits": kept.parts_hits.T @ _BITS,
        "parts_pgn": kept.parts_pgn.T @ _BITS,
    }
    matrices = kept.matrices
    right = np.diagonal(matrices, axis1=1, axis2=2)
    arrays["pixels"] = np.stack([right, matrices.sum(1) - right, matrices.sum(2) - right], -1)
    named = {("" if name == "bins" or not variant else f"{variant}.") + name: one for name, one in arrays.items()}
    return {name: one.astype(np.min_scalar_type(int(one.max(initial=0)))) for name, one in named.items()}


def score_tally(kept: Mapping[str, Array], weights: Array, measure: Measure) -> Array:
    """Return a measure in 0..1, float64 [R], where photo n counts weights[r,n] times; nan where nothing is defined.

    Raises KeyError for a variant that was not judged.
    """
    front = f"{measure.variant}." if measure.variant else ""
    own = {name.removeprefix(front): one for name, one in kept.items() if name.startswith(front)}
    weights = np.asarray(weights, np.float64)
    if measure.bin is not None:
        weights = weights * (kept["bins"] == measure.bin)
    if measure.name == "miou":
        return _miou(own["pixels"], weights)
    steps = range(len(THRESHOLDS)) if measure.threshold is None else [THRESHOLDS.index(measure.threshold)]
    ways = {"ap_p": _ap_people, "pcp": _pcp, "ap_r": _ap_parts, "ap_r_pgn": _ap_parts}
    which = "parts_pgn" if measure.name == "ap_r_pgn" else "parts_hits"
    return np.asarray(ways[measure.name](own, weights, list(steps), which).mean(0))


def _miou(pixels: Array, weights: Array) -> Array:
    totals = (weights @ pixels.reshape(len(pixels), -1).astype(np.float64)).reshape(len(weights), -1, 3)
    with np.errstate(invalid="ignore"):
        iou = totals[..., 0] / totals.sum(-1)
    known = ~np.isnan(iou)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, iou, 0.0).sum(-1) / known.sum(-1))


def precisions(weights: Array, hits: Array, positives: Array) -> Array:
    """Average precision float64 [T,R] of predictions in score order that count weights[r,p] times.

    hits bool [T,P]; positives float [R]. As `instance_metrics.average_precision` for weights of 1.
    """
    columns = np.ascontiguousarray(weights.T)  # draws side by side: each step below is one pass over them
    seen, made = np.cumsum(columns, 0), []
    for right in hits:
        own, until = columns[right], seen[right]
        precision = np.divide(np.cumsum(own, 0), until, out=np.zeros_like(own), where=until > 0)
        best = np.zeros(len(weights))
        for row in precision[::-1]:  # from the last prediction on, the best precision so far
            best = np.maximum(best, row, out=row)
        made.append((own * precision).sum(0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array(made) / positives


def _bit(values: Array, steps: list[int]) -> Array:
    return np.array([(values >> step) & 1 for step in steps], bool).reshape(len(steps), len(values))


def _ap_people(own: Mapping[str, Array], weights: Array, steps: list[int], _: str) -> Array:
    hits = _bit(own["people_hits"].astype(np.int64), steps)
    return precisions(weights[:, own["people_photo"].astype(int)], hits, weights @ own["people"].astype(np.float64))


def _pcp(own: Mapping[str, Array], weights: Array, steps: list[int], _: str) -> Array:
    hits, whole = _bit(own["people_hits"].astype(np.int64), steps), np.maximum(own["people_whole"], 1)
    shares = hits * own["people_parts"].astype(np.float64)[:, steps].T / whole
    per_photo = np.zeros((len(steps), weights.shape[1]))
    for row, share in zip(per_photo, shares, strict=True):
        np.add.at(row, own["people_photo"].astype(int), share)
    with np.errstate(invalid="ignore"):
        return np.asarray((per_photo @ weights.T) / (weights @ own["people"].astype(np.float64)))


def _ap_parts(own: Mapping[str, Array], weights: Array, steps: list[int], which: str) -> Array:
    hits, classes = _bit(own[which].astype(np.int64), steps), own["parts_class"].astype(int)
    photos, true = own["parts_photo"].astype(int), weights @ own["parts"].astype(np.float64)
    total, known = np.zeros((len(steps), len(weights))), np.zeros(len(weights))
    for c in np.flatnonzero(true.any(0)):
        mine, there = classes == c, true[:, c] > 0
        values = precisions(weights[:, photos[mine]], hits[:, mine], np.maximum(true[:, c], 1e-9))
        total += np.where(there, values, 0.0)
        known += there
    with np.errstate(invalid="ignore"):
        return np.asarray(total / known)
