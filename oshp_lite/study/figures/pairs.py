"""Test pairs with every method's prediction, and which of them a figure shows: by a rule on the scores, not by eye."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
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
        """Return the pair cut down to its people (1-way: uncut): nothing that any mask marks is lost.

        others  pairs of the same query, whose masks count too
        """
        if self.class_id:
            return self
        cut = _box(mask for pair in (self, *others) for mask in pair.masks)
        around = _box([self.support_mask])
        return replace(
            self,
            predictions={n: mask if isinstance(mask, NotRun) else mask[cut] for n, mask in self.predictions.items()},
            query=self.query[cut],
            truth=self.truth[cut],
            support=self.support[around],
            support_mask=self.support_mask[around],
        )

    def mean_iou(self, mask: Array, *, novel: bool = False) -> float:
        """Return the mean IoU over the foreground ids that the truth holds (as `pair_scores`), or over its novel ones.

        1-way: the IoU on the pair's class. nan where the truth holds none.
        """
        there = [c for c in ids_in(self.truth) if not novel or c in self.novel]
        both = np.stack([self.truth, mask])[:, self.truth != IGNORE]
        with np.errstate(invalid="ignore"):
            each = [(both == c).all(0).sum() / (both == c).any(0).sum() for c in ([1] if self.class_id else there)]
        return float(np.mean(each)) if each else float("nan")


def _box(masks: Iterable[Array], margin: float = 0.04, slimmest: float = 0.45) -> tuple[slice, slice]:
    """Return the box of all marked pixels with a margin, no slimmer than a part of its height; all if unmarked."""
    marked = np.any([(mask > 0) & (mask != IGNORE) for mask in masks], 0)
    height, width = marked.shape
    rows, columns = (np.flatnonzero(marked.any(axis)) for axis in (1, 0))
    if not len(rows):
        return slice(height), slice(width)
    pad = round(margin * height)
    top, bottom = max(0, int(rows[0]) - pad), min(height, int(rows[-1]) + 1 + pad)
    first, last = int(columns[0]), int(columns[-1]) + 1
    wanted = max(last - first + 2 * pad, round(slimmest * (bottom - top)))
    left = max(0, min((first + last - wanted) // 2, width - wanted))
    return slice(top, bottom), slice(left, min(width, left + wanted))


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


# ----------------------------------------------------------------------------------------------- which pairs


def pair_scores(run: Measured) -> Array:
    """Return float64 [N]: each pair's mean IoU over the foreground classes its truth holds (1-way: the class's IoU)."""
    counts = run.counts[:, 1:] if run.key.way == "1" else run.counts[:, [c != 0 for c in run.classes]]
    there = counts[..., 0] + counts[..., 2] > 0
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(there, iou_of_counts(counts), 0.0).sum(1) / there.sum(1))


def _of_novel(run: Measured) -> Array:
    """Return bool [N]: the truth holds at least `SMALLEST` pixels of a novel class (1-way: of the pair's own)."""
    one_way = run.key.way == "1"
    columns = [1] if one_way else [run.classes.index(c) for c in run.novel]
    holds = (run.counts[:, columns, 0] + run.counts[:, columns, 2] >= SMALLEST).any(1)
    return np.asarray(holds & np.isin(run.class_ids, run.novel) if one_way else holds)


def typical_pairs(run: Measured, shares: Sequence[float] = (0.9, 0.5, 0.1)) -> list[int]:
    """Return pairs at given places in the order of a run's scores: 0.9 a good one, 0.5 the middle, 0.1 a poor one.

    Only pairs with a novel class take part (1-way: pairs of a novel class); no query is shown twice.
    """
    ranked = np.flatnonzero(_of_novel(run))
    ranked = ranked[np.argsort(pair_scores(run)[ranked], kind="stable")]
    queries = np.arange(len(run.counts)) if run.queries is None else run.queries
    chosen: list[int] = []
    for share in shares:
        away = np.abs(np.arange(len(ranked)) - round(share * (len(ranked) - 1)))
        nearest = ranked[np.argsort(away, kind="stable")]
        chosen += nearest[~np.isin(queries[nearest], queries[chosen])][:1].tolist()
    return chosen


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
