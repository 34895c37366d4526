"""Test pairs with every method's prediction, and which of them a figure shows: by a rule on the scores, not by eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.registry import dataset_spec
from oshp_lite.data.transforms import to_photo
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import truth_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.labels import LabelSpace
from oshp_lite.study.records import Measured, NotRun, iou_of_counts
from oshp_lite.viz import ids_in

Array = NDArray[Any]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class PredictedPair:
    """One test pair with predictions.

    query, support  uint8 [H,W,3] (sizes may differ); support_mask, truth integer [H,W] of kept ids, 1-way 0/1
    predictions     method's label -> integer [H,W] like truth, or `NotRun` with the reason
    space, novel    label space of the ids and the fold's novel ones
    class_id        1-way: the class of the pair (0 in k-way)
    drawn           the people are procedural, so that the picture may be passed on
    """

    query: Array
    support: Array
    support_mask: Array
    truth: Array
    predictions: Mapping[str, Array | NotRun]
    space: LabelSpace
    novel: tuple[int, ...] = ()
    class_id: int = 0
    drawn: bool = False

    @property
    def masks(self) -> list[Array]:
        """The truth and all predictions that there are."""
        return [self.truth, *(mask for mask in self.predictions.values() if not isinstance(mask, NotRun))]

    def cropped(self, query_box: Box | None = None) -> PredictedPair:
        """Return the pair cut down to its people: nothing that any mask marks is lost (1-way: uncut)."""
        if self.class_id:
            return self
        cut, support = _slices(query_box or self.box()), _slices(_box(self.support_mask))
        predictions = {name: mask if isinstance(mask, NotRun) else mask[cut] for name, mask in self.predictions.items()}
        return replace(
            self,
            predictions=predictions,
            query=self.query[cut],
            truth=self.truth[cut],
            support=self.support[support],
            support_mask=self.support_mask[support],
        )

    def box(self) -> Box:
        """Return the box (top, bottom, left, right) around the truth and everything that any prediction marks."""
        return _box(np.max([mask.astype(np.int64) for mask in self.masks], 0))

    def iou(self, mask: Array, class_id: int) -> float:
        """Return a prediction's IoU on one id (1-way: on the pair's class); nan where it occurs on neither side."""
        wanted = 1 if self.class_id else class_id
        both = np.stack([self.truth == wanted, mask == wanted])[:, self.truth != 255]
        union = both.any(0).sum()
        return float(both.all(0).sum() / union) if union else float("nan")

    def mean_iou(self, mask: Array, *, novel: bool = False) -> float:
        """Return the mean IoU over the foreground ids that the truth holds (as `pair_scores`), or over its novel ones.

        1-way: the IoU on the pair's class. nan where the truth holds none.
        """
        there = [c for c in ids_in(self.truth) if not novel or c in self.novel]
        ids = [self.class_id] if self.class_id else there
        return float(np.mean([self.iou(mask, c) for c in ids])) if ids else float("nan")


def _box(mask: Array, margin: float = 0.04, slimmest: float = 0.45) -> Box:
    """Return the box of a mask's marked pixels with a margin, no slimmer than a part of its height; all if unmarked."""
    height, width = mask.shape
    rows, columns = np.nonzero((mask > 0) & (mask != 255))
    if not len(rows):
        return 0, height, 0, width
    pad = round(margin * height)
    top, bottom = max(0, int(rows.min()) - pad), min(height, int(rows.max()) + 1 + pad)
    wanted = max(int(columns.max()) + 1 - int(columns.min()) + 2 * pad, round(slimmest * (bottom - top)))
    left = max(0, min((int(columns.min()) + int(columns.max()) + 1 - wanted) // 2, width - wanted))
    return top, bottom, left, min(width, left + wanted)


def _slices(box: Box) -> tuple[slice, slice]:
    return slice(box[0], box[1]), slice(box[2], box[3])


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
    one_way = config.data.way == "1"
    made = []
    for position in positions:
        episode = episodes[position]
        truth = episode.query_mask if one_way else truth_of(episode.batched(), fold.n_ids, config)[0]
        assert truth is not None
        mine = {name: some if isinstance(some, NotRun) else some[position] for name, some in predictions.items()}
        pair = PredictedPair(
            query=to_photo(episode.query_image, config.data.channels),
            support=to_photo(episode.support_image, config.data.channels),
            support_mask=episode.support_mask.numpy(),
            truth=truth.numpy(),
            predictions=mine,
            space=fold.space,
            novel=fold.novel,
            class_id=episodes.pairs()[position].class_id if one_way else 0,
            drawn=dataset_spec(config.data.dataset).synthetic,
        )
        made.append(pair)
    return made


# ----------------------------------------------------------------------------------------------- which pairs


def pair_scores(run: Measured) -> Array:
    """Return float64 [N]: each pair's mean IoU over the foreground classes its truth holds (1-way: the class's IoU)."""
    counts = run.counts[:, 1:] if run.key.way == "1" else run.counts[:, [c != 0 for c in run.classes]]
    there = counts[..., 0] + counts[..., 2] > 0
    iou = np.where(there, iou_of_counts(counts), 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(iou.sum(1) / there.sum(1))


def _holds_novel(run: Measured, smallest: int) -> Array:
    """Return bool [N]: the truth holds `smallest` pixels of a novel class (1-way: of the pair's class) at least."""
    columns = [1] if run.key.way == "1" else [run.classes.index(c) for c in run.novel]
    area = run.counts[:, columns, 0] + run.counts[:, columns, 2]
    return np.asarray((area >= smallest).any(1))


def typical_pairs(run: Measured, shares: Sequence[float] = (0.9, 0.5, 0.1), *, smallest: int = 40) -> list[int]:
    """Return pairs at given places in the order of a run's scores: 0.9 a good one, 0.5 the middle, 0.1 a poor one.

    Only pairs whose truth holds a novel class (of `smallest` pixels at least) take part; no query is shown twice.
    1-way: only pairs of a novel class.
    """
    holds = _holds_novel(run, smallest)
    if run.key.way == "1":
        holds &= np.isin(run.class_ids, run.novel)
    ranked = np.flatnonzero(holds)
    ranked = ranked[np.argsort(pair_scores(run)[ranked], kind="stable")]
    queries = np.arange(len(run.counts)) if run.queries is None else run.queries
    chosen: list[int] = []
    for share in shares if len(ranked) else ():
        start = round(share * (len(ranked) - 1))
        nearest = sorted(range(len(ranked)), key=lambda place, start=start: (abs(place - start), place))  # type: ignore[misc]
        taken = {int(queries[one]) for one in chosen}
        chosen += [int(ranked[place]) for place in nearest if int(queries[ranked[place]]) not in taken][:1]
    return chosen


def one_query(run: Measured, supports: int = 5, *, smallest: int = 40) -> list[int]:
    """Return up to `supports` pairs of one query with a novel class under every support: the query in the middle.

    The middle of all such queries by the deviation of their scores over supports. Empty when the run does not know
    its queries or no query has two supports.
    """
    if run.queries is None:
        return []
    holds, scores = _holds_novel(run, smallest), pair_scores(run)
    groups = [np.flatnonzero((run.queries == query) & holds) for query in np.unique(run.queries)]
    ranked = [(float(scores[mine].std()), mine[:supports].tolist()) for mine in groups if len(mine) > 1]
    most = max((len(mine) for _, mine in ranked), default=0)
    full = sorted((spread, mine) for spread, mine in ranked if len(mine) == most)
    return list(full[len(full) // 2][1]) if full else []
