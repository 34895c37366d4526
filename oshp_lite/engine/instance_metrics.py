"""How well people are parsed one by one: AP^p, PCP, AP^r and mIoU, photo after photo.

Conventions of the public code (facts B.4; MHP's evaluation, Parsing R-CNN, PGN): thresholds 0.1 to 0.9, overlaps
strictly above them count, average precision is the area beneath the monotone precision envelope, and a volume is the
mean over the nine thresholds. Equal scores are ordered by photo, then by their place in the photo, whatever the order
in which photos come. Pixels that are 255 in either map of the truth do not count.

Two choices are ours. A person without a visible part cannot be parsed and is left out, which the public code counts as
missed. A class without any true part is left out of AP^r's mean, where PGN's script divides by zero.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch

from oshp_lite.data.people import PartMap, PeopleResult, PeopleTruth, PersonMap
from oshp_lite.engine.config import as_plain
from oshp_lite.engine.instance_tally import THRESHOLDS as THRESHOLDS
from oshp_lite.engine.metrics import confusion, iou_of
from oshp_lite.labels import IGNORE

_N = len(THRESHOLDS)
_AT = np.array(THRESHOLDS)
_NOT_SCORED = (math.nan,) * _N


@dataclass(frozen=True)
class PeopleScores:
    """The outcome, in [0,1]; nine values a measure, one a threshold, nan where the results do not say it.

    ap_p, pcp: whole people; ap_r: part instances, each truth taken once; ap_r_pgn: the same by PGN's convention, where
    a truth may be taken any number of times (so overlapping parts can exceed 1); iou: per class, of the semantic map.
    """

    ap_p: tuple[float, ...] = _NOT_SCORED
    pcp: tuple[float, ...] = _NOT_SCORED
    ap_r: tuple[float, ...] = _NOT_SCORED
    ap_r_pgn: tuple[float, ...] = _NOT_SCORED
    iou: tuple[float, ...] = ()
    background: bool = True  # whether the background's IoU is one of those that a person's overlap is the mean of
    counts: dict[str, int] = field(default_factory=dict)  # photos, people, parts, and predictions of both

    @property
    def miou(self) -> float:
        """Mean IoU over the classes that occur, background included."""
        known = [value for value in self.iou if not math.isnan(value)]
        return float(np.mean(known)) if known else math.nan

    def at(self, measure: str, threshold: float) -> float:
        """One value: `at("ap_p", 0.5)`."""
        return float(getattr(self, measure)[THRESHOLDS.index(threshold)])

    def volume(self, measure: str) -> float:
        """The mean over the nine thresholds: `volume("ap_p")` is AP^p_vol."""
        return float(np.mean(getattr(self, measure)))

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON takes, volumes and mIoU included: nan becomes null."""
        volumes = {f"{name}_vol": self.volume(name) for name in ("ap_p", "pcp", "ap_r", "ap_r_pgn")}
        return dict(as_plain({"thresholds": THRESHOLDS, **asdict(self), **volumes, "miou": self.miou}))


def average_precision(hits: np.ndarray, positives: int) -> float:
    """Area beneath the precision envelope (VOC 2010, every point) of predictions in score order.

    hits bool [N]; positives: number of truths. 0 without predictions; nan without truths.
    """
    if not positives:
        return math.nan
    true = np.cumsum(hits)
    precision = true / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    recall = true / positives
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


class _People(NamedTuple):
    """A photo's predicted people: one row each."""

    scores: np.ndarray  # float64 [P]
    overlaps: np.ndarray  # float64 [P] with the best truth, nan where there is none
    best: np.ndarray  # int64 [P] that truth's row among the photo's people
    parsed: np.ndarray  # int64 [P,9] that truth's parts with an IoU above each threshold
    whole: np.ndarray  # int64 [P] that truth's parts


class _Parts(NamedTuple):
    """A photo's predicted parts: one row each, and each pair of a part and a truth of its class that overlap."""

    scores: np.ndarray  # float64 [P]
    classes: np.ndarray  # int64 [P]
    pairs: np.ndarray  # int64 [M,2]: the part's row, the true person's row
    ious: np.ndarray  # float64 [M]


class _Photo(NamedTuple):
    truth: np.ndarray  # int64 [G,K] visible pixels
    people: _People | None
    parts: _Parts | None
    matrix: torch.Tensor | None  # int64 [K,K] of the semantic map


class PeopleMeter:
    """Adds photos up and scores them; keeps a few numbers a prediction, so thousands of photos fit.

    n_classes: ids below it are classes, 0 is the background. `background` False leaves the background's IoU out of a
    person's overlap (the paper's wording, "average over semantic part categories"; the public code has it in).
    """

    def __init__(self, n_classes: int, *, background: bool = True) -> None:
        self.n_classes, self.background = n_classes, background
        self._photos: dict[str, _Photo] = {}

    def add(self, name: str, truth: PeopleTruth, result: PeopleResult) -> None:
        """Add a photo under its name, which orders equal scores. ValueError for a name that is there already."""
        if name in self._photos:
            raise ValueError(f"photo {name!r} was added before")
        photo, matrix = _Truth(truth, self.n_classes), None
        if result.classes is not None:
            counted = np.where(truth.persons == IGNORE, IGNORE, truth.classes)
            matrix = confusion(result.classes, counted, self.n_classes)
        people = None if result.people is None else photo.people(result.people, self.background)
        parts = None if result.parts is None else photo.parts(result.parts)
        self._photos[name] = _Photo(photo.areas, people, parts, matrix)

    def scores(self, names: Collection[str] | None = None) -> PeopleScores:
        """Score what was added, or the photos of these names; measures that any photo's result lacks are nan."""
        photos = [self._photos[name] for name in sorted(self._photos if names is None else names)]
        counts = {"photos": len(photos), "people": sum(len(photo.truth) for photo in photos)}
        counts["parts"] = sum(int((photo.truth[:, 1:] > 0).sum()) for photo in photos)
        values: dict[str, Any] = {}
        first = np.cumsum([0, *(len(photo.truth) for photo in photos)])  # each photo's first person among all
        people = [photo.people for photo in photos if photo.people is not None]
        parts = [photo.parts for photo in photos if photo.parts is not None]
        matrices = [photo.matrix for photo in photos if photo.matrix is not None]
        if photos and len(people) == len(photos):
            counts["predicted_people"] = sum(len(one.scores) for one in people)
            values["ap_p"], values["pcp"] = _score_people(people, first)
        if photos and len(parts) == len(photos):
            counts["predicted_parts"] = sum(len(one.scores) for one in parts)
            truths = np.concatenate([np.zeros((0, self.n_classes), bool), *(photo.truth > 0 for photo in photos)])
            values["ap_r"], values["ap_r_pgn"] = _score_parts(parts, first, truths)
        if photos and len(matrices) == len(photos):
            values["iou"] = tuple(iou_of(torch.stack(matrices).sum(0)).tolist())
        return PeopleScores(**values, background=self.background, counts=counts)

    def matches(self) -> Matches:
        """Return what was matched. ValueError where a photo's result lacks its map, people or parts."""
        photos = [self._photos[name] for name in sorted(self._photos)]
        people = [photo.people for photo in photos if photo.people is not None]
        parts = [photo.parts for photo in photos if photo.parts is not None]
        matrices = [photo.matrix.numpy() for photo in photos if photo.matrix is not None]
        if not photos or {len(people), len(parts), len(matrices)} != {len(photos)}:
            raise ValueError("matches need photos whose results all have a class map, people and parts")
        first = np.cumsum([0, *(len(photo.truth) for photo in photos)])
        truths = np.concatenate([photo.truth > 0 for photo in photos])
        order, hits = _match_people(people, first)
        of, classes, single, repeated = _match_parts(parts, first, truths)
        homes = [np.repeat(np.arange(len(photos)), [len(one.scores) for one in some]) for some in (people, parts)]
        parsed, whole = (np.concatenate([getattr(one, name) for one in people])[order] for name in ("parsed", "whole"))
        visible = np.stack([(photo.truth > 0).sum(0) for photo in photos])
        visible[:, 0] = 0
        counted = (np.diff(first), visible, homes[0][order], hits, parsed, whole)
        return Matches(*counted, homes[1][of], classes, single, repeated, np.stack(matrices))


class Matches(NamedTuple):
    """What was matched in all photos (by name), predictions in score order: see `instance_tally.tally`."""

    people_true: np.ndarray  # int64 [N] people with a visible part
    parts_true: np.ndarray  # int64 [N,K] of them, those with each class
    people_photo: np.ndarray  # int64 [P]
    people_hits: np.ndarray  # bool [9,P]
    people_parts: np.ndarray  # int64 [P,9]
    people_whole: np.ndarray  # int64 [P]
    parts_photo: np.ndarray  # int64 [Q]
    parts_class: np.ndarray  # int64 [Q]
    parts_hits: np.ndarray  # bool [9,Q]
    parts_pgn: np.ndarray  # bool [9,Q]
    matrices: np.ndarray  # int64 [N,K,K] of the semantic maps, rows truth


class _Truth:
    """A photo's truth in the form that counting takes: only persons with a visible part, numbered from 1."""

    def __init__(self, truth: PeopleTruth, n_classes: int) -> None:
        areas = truth.parts(n_classes)
        kept = areas[:, 1:].any(1)
        slots = np.zeros(256, np.int64)
        slots[np.array(truth.ids, np.int64)[kept]] = np.arange(1, int(kept.sum()) + 1)
        self.areas, self.n_classes, self.size = areas[kept], n_classes, truth.size
        self.valid = (truth.classes < n_classes) & (truth.persons != IGNORE)
        self.slots, self.classes = slots[truth.persons], truth.classes
        self.pixels = int(self.valid.sum())

    def _window(self, labels: np.ndarray, top: int, left: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Label, person's number and true class, each [n], where a cut-out is labelled and the truth counts."""
        height, width = labels.shape
        if top < 0 or left < 0 or top + height > self.size[0] or left + width > self.size[1]:
            raise ValueError(f"a map of {width}x{height} at ({left}, {top}) leaves a photo of {self.size}")
        window = np.s_[top : top + height, left : left + width]
        counted = (labels > 0) & self.valid[window]
        return labels[counted].astype(np.int64), self.slots[window][counted], self.classes[window][counted]

    def people(self, people: tuple[PersonMap, ...], background: bool) -> _People:
        """Compare every predicted person with every true one."""
        n, true = len(people), len(self.areas)
        scores = np.array([person.score for person in people], np.float64)
        overlaps, best = np.full(n, math.nan), np.zeros(n, np.int64)
        parsed, whole = np.zeros((n, _N), np.int64), np.zeros(n, np.int64)
        for row, person in enumerate(people if true else ()):
            iou = self._ious(person)
            means = np.nanmean(iou if background else iou[:, 1:], 1)
            best[row] = which = int(np.argmax(means))  # the first of equal ones
            overlaps[row] = means[which]
            over = np.nan_to_num(iou[which, 1:, None]) > _AT
            parsed[row], whole[row] = over.sum(0), (self.areas[which, 1:] > 0).sum()
        return _People(scores, overlaps, best, parsed, whole)

    def _ious(self, person: PersonMap) -> np.ndarray:
        """IoU float64 [G,K] of every class of one prediction with every true person; nan for a class of neither."""
        k, true = self.n_classes, len(self.areas)
        labels, slots, classes = self._window(person.labels, person.top, person.left)
        if len(labels) and int(labels.max()) >= k:
            raise ValueError(f"a person's map holds id {int(labels.max())}; ids below {k} are allowed")
        predicted = np.bincount(labels, minlength=k)
        agree = labels == classes
        both = np.bincount(slots[agree] * k + labels[agree], minlength=(true + 1) * k).reshape(-1, k)[1:]
        # of the background: everything but the person's own parts, other people included
        mine, predicted[0] = self.areas[:, 1:].sum(1), self.pixels - len(labels)
        covered = np.bincount(slots[classes > 0], minlength=true + 1)[1:]
        areas = self.areas.copy()
        areas[:, 0] = self.pixels - mine
        both[:, 0] = self.pixels - mine - len(labels) + covered
        union = areas + predicted - both
        return np.divide(both, union, out=np.full(union.shape, math.nan), where=union > 0)

    def parts(self, maps: tuple[PartMap, ...]) -> _Parts:
        """Compare every predicted part with every true part of its class; parts without a pixel are left out."""
        scores, classes, pairs, ious, before = [], [], [], [], 0
        for one in maps:
            ids, slots, true = self._window(one.ids, one.top, one.left)
            n, people = len(one.classes), len(self.areas) + 1
            if len(ids) and int(ids.max()) > n:
                raise ValueError(f"a part map holds id {int(ids.max())} but describes {n} parts")
            sizes = np.bincount(ids, minlength=n + 1)[1:]
            agree = one.classes.astype(np.int64)[ids - 1] == true
            both = np.bincount((ids[agree] - 1) * people + slots[agree], minlength=n * people).reshape(n, people)[:, 1:]
            part, person = np.nonzero(both)
            union = sizes[part] + self.areas[person, one.classes[part]] - both[part, person]
            there = sizes > 0
            place = np.cumsum(there) - 1 + before
            scores.append(one.scores[there])
            classes.append(one.classes[there])
            pairs.append(np.stack([place[part], person], 1))
            ious.append(both[part, person] / union)
            before += int(there.sum())
        empty = np.zeros(0)
        joined = (np.concatenate([empty, *some]) for some in (scores, classes, ious))
        values, ids_of, overlap = joined
        return _Parts(values, ids_of.astype(np.int64), np.concatenate([np.zeros((0, 2), np.int64), *pairs]), overlap)


def _ordered(scores: list[np.ndarray]) -> np.ndarray:
    """Places int64 [N] of all predictions, best score first, equal ones as they come."""
    return np.argsort(-np.concatenate([np.zeros(0), *scores]), kind="stable")


def _match_people(photos: list[_People], first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Order int64 [N] of all predicted people, and which are right bool [9,N] in that order.

    At every threshold a prediction takes its best truth or none, and each truth is taken once.
    """
    order = _ordered([photo.scores for photo in photos])
    starts = zip(photos, first[:-1], strict=True)
    best = np.concatenate([np.zeros(0, np.int64), *(photo.best + start for photo, start in starts)])[order]
    overlaps = np.concatenate([np.zeros(0), *(photo.overlaps for photo in photos)])[order]
    hits = np.zeros((_N, len(order)), bool)
    for row, threshold in zip(hits, THRESHOLDS, strict=True):
        fits = np.flatnonzero(overlaps > threshold)
        row[fits[np.unique(best[fits], return_index=True)[1]]] = True  # the first that wants a truth has it
    return order, hits


def _score_people(photos: list[_People], first: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """AP^p and PCP at every threshold."""
    people = int(first[-1])
    if not people:
        return _NOT_SCORED, _NOT_SCORED
    order, hits = _match_people(photos, first)
    parsed = np.concatenate([np.zeros((0, _N)), *(one.parsed / np.maximum(one.whole, 1)[:, None] for one in photos)])
    share = (float((parsed[order, at] * row).sum()) / people for at, row in enumerate(hits))
    return tuple(average_precision(row, people) for row in hits), tuple(share)


def _match_parts(
    photos: list[_Parts], first: np.ndarray, truths: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Order and class int64 [N] of all predicted parts, and which are right bool [9,N]: one-to-one, and PGN's way.

    truths bool [people,K].
    """
    order = _ordered([photo.scores for photo in photos])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    starts = np.cumsum([0, *(len(photo.scores) for photo in photos)])
    shifts = zip(photos, starts[:-1], first[:-1], strict=True)
    pairs = np.concatenate([np.zeros((0, 2), np.int64), *(photo.pairs + shift for photo, *shift in shifts)])
    ious = np.concatenate([np.zeros(0), *(photo.ious for photo in photos)])
    classes = np.concatenate([np.zeros(0, np.int64), *(photo.classes for photo in photos)])[order]
    by_rank = np.lexsort((pairs[:, 1], -ious, rank[pairs[:, 0]]))  # of a part's truths the best overlap first
    ranks, people, ious = rank[pairs[by_rank, 0]], pairs[by_rank, 1], ious[by_rank]
    single, repeated = np.zeros((_N, len(order)), bool), np.zeros((_N, len(order)), bool)
    for once, often, threshold in zip(single, repeated, THRESHOLDS, strict=True):
        over, free = ious > threshold, truths.copy()
        for part, person in zip(ranks[over].tolist(), people[over].tolist(), strict=True):
            if not once[part] and free[person, classes[part]]:
                free[person, classes[part]], once[part] = False, True
        often[ranks[over]] = True
    return order, classes, single, repeated


def _score_parts(
    photos: list[_Parts], first: np.ndarray, truths: np.ndarray
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """AP^r at every threshold, one-to-one and by PGN's convention; truths bool [people,K]."""
    _, classes, *both = _match_parts(photos, first, truths)
    known = [c for c in range(1, truths.shape[1]) if truths[:, c].any()]
    of_class = [(classes == c, int(truths[:, c].sum())) for c in known]

    def mean(hits: np.ndarray) -> float:
        values = [average_precision(hits[mine], count) for mine, count in of_class]
        return float(np.mean(values)) if values else math.nan

    single, repeated = (tuple(map(mean, rows)) for rows in both)
    return single, repeated
