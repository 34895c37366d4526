"""The public algorithms written plainly, whole photos at a time: what the fast ones are checked and timed against.

One label map and one confusion matrix for every pair of people, one mask for every part, one pass a threshold; no
counting is shared. Same conventions as `engine.instance_metrics`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from oshp_lite.data.people import PeopleResult, PeopleTruth, cut_out, whole_map
from oshp_lite.engine.instance_metrics import THRESHOLDS, PeopleMeter, PeopleScores

Photos = Mapping[str, tuple[PeopleTruth, PeopleResult]]


def plain_scores(photos: Photos, n_classes: int, *, background: bool = True) -> PeopleScores:
    """Score photos as `PeopleMeter` does, from results that hold classes, people and parts."""
    ap_p, pcp = _people(photos, n_classes, background)
    single, repeated = (_parts(photos, n_classes, once=once) for once in (True, False))
    matrix = np.zeros((n_classes, n_classes), np.int64)
    for truth, result in photos.values():
        assert result.classes is not None
        counted = np.where(truth.persons == 255, 255, truth.classes)
        matrix += _matrix(counted, result.classes, n_classes)
    return PeopleScores(ap_p, pcp, single, repeated, tuple(_iou(matrix).tolist()), background)


def _matrix(truth: np.ndarray, predicted: np.ndarray, n: int) -> np.ndarray:
    counted = truth < n
    cells = n * truth[counted].astype(np.int64) + predicted[counted]
    return np.bincount(cells, minlength=n * n).reshape(n, n)


def _iou(matrix: np.ndarray) -> np.ndarray:
    hits = np.diag(matrix)
    union = matrix.sum(0) + matrix.sum(1) - hits
    with np.errstate(invalid="ignore"):
        return hits / union


def _people(photos: Photos, n: int, background: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    true: dict[str, list[np.ndarray]] = {}
    predicted = []
    for name, (truth, result) in sorted(photos.items()):
        maps = [truth.person(index) for index in truth.ids]
        true[name] = [one for one in maps if ((one > 0) & (one < n)).any()]
        predicted += [(name, person) for person in result.people or ()]
    predicted.sort(key=lambda one: -one[1].score)
    ious = []
    for name, person in predicted:
        labels = whole_map(person, photos[name][0].size)
        ious.append([_iou(_matrix(other, labels, n)) for other in true[name]])
    total = sum(map(len, true.values()))
    precision, share = [], []
    for threshold in THRESHOLDS:
        taken, hits, parsed = set(), [], []
        for (name, _), rows in zip(predicted, ious, strict=True):
            means = [float(np.nanmean(row if background else row[1:])) for row in rows]
            best = int(np.argmax(means)) if means else -1
            hit = best >= 0 and means[best] > threshold and (name, best) not in taken
            hits.append(hit)
            if hit:
                taken.add((name, best))
                other = true[name][best]
                parts = len(np.unique(other[(other > 0) & (other < n)]))
                parsed.append(float((rows[best][1:] > threshold).sum()) / parts)
        precision.append(_area(hits, total))
        share.append(sum(parsed) / total if total else math.nan)
    return tuple(precision), tuple(share)


def _area(hits: list[bool], total: int) -> float:
    if not total:
        return math.nan
    true, points = 0, []
    for number, hit in enumerate(hits, 1):
        true += hit
        points.append((true / total, true / number))
    area, before = 0.0, 0.0
    for place, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[place:]) if recall > before else 0.0
        before = recall
    return area


def _parts(photos: Photos, n: int, *, once: bool) -> tuple[float, ...]:
    means = []
    for c in range(1, n):
        total, predicted = 0, []
        for name, (truth, result) in sorted(photos.items()):
            valid = (truth.classes < n) & (truth.persons != 255)
            masks = [valid & (truth.persons == index) & (truth.classes == c) for index in truth.ids]
            true = [mask for mask in masks if mask.any()]
            total += len(true)
            for one in result.parts or ():
                for number in np.flatnonzero(one.classes == c):
                    mask = np.zeros(truth.size, bool)
                    height, width = one.ids.shape
                    mask[one.top : one.top + height, one.left : one.left + width] = one.ids == number + 1
                    mask &= valid
                    if mask.any():
                        ious = [float((mask & other).sum() / (mask | other).sum()) for other in true]
                        predicted.append((name, float(one.scores[number]), ious))
        if total:
            predicted.sort(key=lambda one: -one[1])
            means.append([_area(_hits(predicted, threshold, once), total) for threshold in THRESHOLDS])
    return tuple(np.mean(means, 0).tolist()) if means else (math.nan,) * len(THRESHOLDS)


def _hits(predicted: list[tuple[str, float, list[float]]], threshold: float, once: bool) -> list[bool]:
    taken, hits = set(), []
    for name, _, ious in predicted:
        best, which = threshold, -1
        for index, iou in enumerate(ious):
            if iou > best and not (once and (name, index) in taken):
                best, which = iou, index
        hits.append(which >= 0)
        taken.add((name, which))
    return hits


def made_up_photos(count: int = 8, size: int = 256, *, seed: int = 0, copies: int = 3) -> dict[str, Any]:
    """Scenes of synth-cihp with made-up results: every person `copies` times, each time moved and worn away a little.

    Name -> (truth, result), with ids of the CIHP label space.
    """
    from oshp_lite.data.people import PartMap
    from oshp_lite.data.synthetic.scenes import scene

    rng, photos = np.random.default_rng(seed), {}
    for index in range(count):
        drawn = scene("synth-cihp", seed, index, size)
        truth = PeopleTruth(drawn.mask("cihp"), drawn.persons)
        people, parts = [], []
        classes = np.zeros(truth.size, np.uint8)
        for person in np.repeat(truth.ids, copies):
            labels = np.roll(truth.person(int(person)), rng.integers(-3, 4, 2), (0, 1))
            labels[rng.random(labels.shape) < rng.uniform(0, 0.5)] = 0
            one = cut_out(labels, float(rng.random()))
            people.append(one)
            classes = np.where(labels > 0, labels, classes)
            ids, places = np.unique(one.labels, return_inverse=True)
            kept = ids[ids > 0]
            numbers = places.reshape(one.labels.shape) + (0 if 0 in ids else 1)
            parts.append(PartMap(numbers, one.top, one.left, kept, rng.random(len(kept))))
        photos[f"{index:06d}"] = (truth, PeopleResult(classes, tuple(people), tuple(parts)))
    return photos


def measure_speed(count: int = 8, size: int = 256, n_classes: int = 20) -> dict[str, float]:
    """Seconds of both ways on made-up photos, their ratio, and the largest difference of any value."""
    photos = made_up_photos(count, size)
    for _ in range(2):  # the first time warms up
        began = time.process_time()
        meter = PeopleMeter(n_classes)
        for name, (truth, result) in photos.items():
            meter.add(name, truth, result)
        fast = meter.scores()
        middle = time.process_time()
    plain = plain_scores(photos, n_classes)
    ended = time.process_time()
    names = ("ap_p", "pcp", "ap_r", "ap_r_pgn", "iou")
    gaps = [np.abs(np.array(getattr(fast, name)) - getattr(plain, name)) for name in names]
    return {
        "fast": middle - began,
        "plain": ended - middle,
        "ratio": (ended - middle) / max(middle - began, 1e-9),
        "difference": max(float(np.nanmax(gap)) for gap in gaps),
    }
