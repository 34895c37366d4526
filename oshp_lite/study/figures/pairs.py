"""Test pairs with every method's prediction, and which of them a figure shows: by a rule on the scores, not by eye."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.pairs import Pair
from oshp_lite.data.transforms import to_photo
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import truth_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.labels import IGNORE, LabelSpace
from oshp_lite.study.records import Measured, NotRun, iou_of_counts
from oshp_lite.viz import ids_in

Array = NDArray[Any]

SMALLEST = 40
"""Pixels of a novel class that the truth of a pair must hold before a figure shows the pair."""


@dataclass(frozen=True, eq=False)
class PredictedPair:
    """One test pair with predictions.

    query, support  uint8 [H,W,3] (sizes may differ); support_mask, truth integer [H,W] of kept ids, 1-way 0/1
    predictions     method's label -> integer [H,W] like truth, or `NotRun` with the reason
    space, novel    label space of the ids and the fold's novel ones; class_id: the pair's class (1-way; 0 in k-way)
    """

    query: Array
    support: Array
    support_mask: Array
    truth: Array
    predictions: Mapping[str, Array | NotRun]
    space: LabelSpace
    novel: tuple[int, ...] = ()
    class_id: int = 0

    @property
    def masks(self) -> list[Array]:
        """The truth and all predictions that there are."""
        return [self.truth, *(mask for mask in self.predictions.values() if not isinstance(mask, NotRun))]

    def cropped(self, *others: PredictedPair) -> PredictedPair:
        """Return the pair cut down to its people, without padding: nothing that any mask marks in the photo is lost.

        others  pairs of the same query, whose masks count too; 1-way needs one in k-way, else the whole photo stays
        """
        marking = [pair for pair in (self, *others) if not pair.class_id and pair.truth.shape == self.truth.shape]
        cut = _box([mask for pair in marking for mask in pair.masks], self.truth != IGNORE)
        shown = [pair.support_mask for pair in marking if np.array_equal(pair.support, self.support)]
        around = _box(shown, self.support_mask != IGNORE)
        return replace(
            self,
            predictions={n: mask if isinstance(mask, NotRun) else mask[cut] for n, mask in self.predictions.items()},
            query=self.query[cut],
            truth=self.truth[cut],
            support=self.support[around],
            support_mask=self.support_mask[around],
        )

    def without(self, names: Collection[str]) -> PredictedPair:
        """Return the pair without some methods' predictions."""
        return replace(self, predictions={n: mask for n, mask in self.predictions.items() if n not in names})

    def mean_iou(self, mask: Array, *, novel: bool = False) -> float:
        """Return the mean IoU over the foreground ids that the truth holds (as `pair_scores`), or over its novel ones.

        1-way: the IoU on the pair's class. nan where the truth holds none.
        """
        there = [c for c in ids_in(self.truth) if not novel or c in self.novel]
        both = np.stack([self.truth, mask])[:, self.truth != IGNORE]
        with np.errstate(invalid="ignore"):
            each = [(both == c).all(0).sum() / (both == c).any(0).sum() for c in ([1] if self.class_id else there)]
        return float(np.mean(each)) if each else float("nan")


def _box(masks: Sequence[Array], photo: Array, margin: float = 0.04, slimmest: float = 0.45) -> tuple[slice, slice]:
    """Return the box of all marked pixels with a margin, no slimmer than a part of its height, within the photo.

    photo  bool [H,W], True where there is no padding; its box without masks, or when they mark nothing
    """
    top, bottom, left, right = _ends(photo)
    marked = np.any([(mask > 0) & (mask != IGNORE) & photo for mask in masks], 0) if masks else np.zeros_like(photo)
    if not marked.any():
        return slice(top, bottom), slice(left, right)
    first, last, begin, end = _ends(marked)
    pad = round(margin * len(photo))
    first, last = max(top, first - pad), min(bottom, last + pad)
    wanted = min(right - left, max(end - begin + 2 * pad, round(slimmest * (last - first))))
    begin = max(left, min((begin + end - wanted) // 2, right - wanted))
    return slice(first, last), slice(begin, begin + wanted)


def _ends(mask: Array) -> tuple[int, int, int, int]:
    """Return first row, row after the last, first column and column after the last of a mask; all of it if empty."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    if not len(rows):
        return 0, mask.shape[0], 0, mask.shape[1]
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def read_pairs(
    dataset: OneShotDataset,
    config: RunConfig,
    predictions: Mapping[str, Mapping[int, Array] | NotRun],
    positions: Sequence[int],
) -> list[PredictedPair]:
    """Return test pairs of a run's setting with predictions.

    predictions  method's label -> {position: ids [H,W]}, or `NotRun`
    positions    numbers of the pairs in the list of test pairs
    """
    fold = run_fold(config, dataset)
    episodes = test_set(config, dataset, fold)
    one_way, channels = config.data.way == "1", config.data.channels
    made = []
    for position in positions:
        episode = episodes[position]
        truth = episode.query_mask if one_way else truth_of(episode.batched(), fold.n_ids, config)[0]
        assert truth is not None
        made.append(
            PredictedPair(
                to_photo(episode.query_image, channels),
                to_photo(episode.support_image, channels),
                episode.support_mask.numpy(),
                truth.numpy(),
                {name: one if isinstance(one, NotRun) else one[position] for name, one in predictions.items()},
                fold.space,
                fold.novel,
                episodes.pairs()[position].class_id if one_way else 0,
            )
        )
    return made


def pair_scores(run: Measured, *, novel: bool = False) -> Array:
    """Return float64 [N]: each pair's mean IoU over the foreground classes its truth holds (1-way: the class's IoU).

    novel  over the novel classes alone; nan where the truth holds none
    """
    ids = run.novel if novel else [c for c in run.classes if c != 0]
    counts = run.counts[:, [1] if run.key.way == "1" else [run.classes.index(c) for c in ids]]
    there = counts[..., 0] + counts[..., 2] > 0
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, iou_of_counts(counts), 0.0).sum(1) / there.sum(1))


def _of_novel(run: Measured) -> Array:
    """Return bool [N]: the truth holds at least `SMALLEST` pixels of a novel class (1-way: of the pair's own)."""
    one_way = run.key.way == "1"
    columns = [1] if one_way else [run.classes.index(c) for c in run.novel]
    holds = (run.counts[:, columns, 0] + run.counts[:, columns, 2] >= SMALLEST).any(1)
    return np.asarray(holds & np.isin(run.class_ids, run.novel) if one_way else holds)


def typical_pairs(
    run: Measured,
    shares: Sequence[float] = (0.9, 0.5, 0.1),
    among: Collection[int] | None = None,
    *,
    novel: bool = True,
) -> list[int]:
    """Return pairs at given places in the order of a run's scores: 0.9 a good one, 0.5 the middle, 0.1 a poor one.

    The order is that of the mean IoU of the novel parts, or with `novel` False of all parts. Only pairs with a novel
    class take part (1-way: pairs of a novel class), of those in `among`; no query is shown twice.
    """
    fits = _of_novel(run)
    if among is not None:
        fits &= np.isin(np.arange(len(fits)), list(among))
    ranked = np.flatnonzero(fits)
    ranked = ranked[np.argsort(pair_scores(run, novel=novel)[ranked], kind="stable")]
    queries = np.arange(len(run.counts)) if run.queries is None else run.queries
    chosen: list[int] = []
    for share in shares:
        away = np.abs(np.arange(len(ranked)) - round(share * (len(ranked) - 1)))
        nearest = ranked[np.argsort(away, kind="stable")]
        chosen += nearest[~np.isin(queries[nearest], queries[chosen])][:1].tolist()
    return chosen


def both_ways(kway: Sequence[Pair], oneway: Sequence[Pair], novel: Collection[int]) -> dict[int, int]:
    """Return {place of a k-way pair: place of the 1-way pair on the same query} for 1-way pairs of novel classes.

    Pairs that both lists have; where there are none (POPNet's own lists), pairs that share the query.
    """
    places: dict[tuple[int, ...], int] = {}
    for number, pair in reversed(list(enumerate(oneway))):
        if pair.class_id in novel:
            places |= {(pair.query,): number, tuple(pair): number}
    found = {number: places.get(tuple(pair), places.get((pair.query,))) for number, pair in enumerate(kway)}
    exact = {number: place for number, place in found.items() if place is not None and oneway[place] == kway[number]}
    return exact or {number: place for number, place in found.items() if place is not None}


def one_query(run: Measured, supports: int = 5) -> list[int]:
    """Return up to `supports` pairs of one query with a novel class under every support: the query in the middle.

    The middle of all such queries by the deviation of their scores over supports. Empty when the run does not know
    its queries or no query has two supports.
    """
    if run.queries is None:
        return []
    holds, scores = _of_novel(run), pair_scores(run)
    groups = [np.flatnonzero((run.queries == query) & holds) for query in np.unique(run.queries)]
    ranked = [(float(scores[mine].std()), mine[:supports].tolist()) for mine in groups if len(mine) > 1]
    most = max((len(mine) for _, mine in ranked), default=0)
    full = sorted((spread, mine) for spread, mine in ranked if len(mine) == most)
    return list(full[len(full) // 2][1]) if full else []
