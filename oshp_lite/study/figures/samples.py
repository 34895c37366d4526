"""What the pictures of answers are drawn from: photos, masks and each method's answer, and which pairs to show.

Which pairs are shown is decided by a rule on the scores, never by looking: see `typical_pairs` and `one_query`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.transforms import to_photo
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import load_answers, truth_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace
from oshp_lite.study.records import Measured, NotRun
from oshp_lite.study.records.records import iou_of_counts

Array = NDArray[Any]


Box = tuple[int, int, int, int]


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


@dataclass(frozen=True, eq=False)
class Sample:
    """One test pair with answers.

    query, support  uint8 [H,W,3] (sizes may differ); support_mask, truth integer [H,W] of kept ids, 1-way 0/1
    answers         row name -> integer [H,W] like truth, or `NotRun` with the reason
    space, novel    label space of the ids and the fold's novel ones
    class_id        1-way: the class asked for (0 in k-way)
    title           what the pair is called in a figure
    drawn           the people are procedural, so that the picture may be passed on
    """

    query: Array
    support: Array
    support_mask: Array
    truth: Array
    answers: Mapping[str, Array | NotRun]
    space: LabelSpace
    novel: tuple[int, ...] = ()
    class_id: int = 0
    title: str = ""
    drawn: bool = False

    def cropped(self, query_box: Box | None = None) -> Sample:
        """Return the sample cut down to its people: nothing that any mask or answer marks is lost (1-way: uncut)."""
        if self.class_id:
            return self
        box = query_box or self.box()
        cut = _slices(box)
        support = _slices(_box(self.support_mask))
        return replace(
            self,
            query=self.query[cut],
            truth=self.truth[cut],
            support=self.support[support],
            support_mask=self.support_mask[support],
            answers={name: one if isinstance(one, NotRun) else one[cut] for name, one in self.answers.items()},
        )

    def box(self) -> Box:
        """Return the box (top, bottom, left, right) around the truth and everything that any answer marks."""
        shown = self.truth.astype(np.int64)
        for answer in self.answers.values():
            if not isinstance(answer, NotRun):
                shown = np.maximum(shown, answer)
        return _box(shown)

    def iou(self, answer: Array, class_id: int) -> float:
        """Return an answer's IoU on one id (1-way: on the class asked for); nan where it occurs on neither side."""
        wanted = 1 if self.class_id else class_id
        both = np.stack([self.truth == wanted, answer == wanted])[:, self.truth != 255]
        union = both.any(0).sum()
        return float(both.all(0).sum() / union) if union else float("nan")


def read_samples(
    dataset: OneShotDataset,
    config: RunConfig,
    folders: Mapping[str, Path | NotRun],
    positions: Sequence[int],
) -> list[Sample]:
    """Return test pairs of a run's setting with the answers that finished runs left in their folders.

    folders    row name -> a run's folder (with answers.npz), or `NotRun`
    positions  numbers of the pairs in the list of test pairs
    Raises UserError when a folder's answers do not belong to these pairs.
    """
    fold = run_fold(config, dataset)
    episodes = test_set(config, dataset, fold)
    found: dict[str, list[Array] | NotRun] = {}
    for name, folder in folders.items():
        if isinstance(folder, NotRun):
            found[name] = folder
            continue
        path = Path(folder) / "answers.npz"
        if not path.is_file():
            found[name] = NotRun("its answers were not kept")
            continue
        answers, _ = load_answers(path)
        if len(answers) != len(episodes):
            raise UserError(f"{path} holds {len(answers)} answers for {len(episodes)} test pairs; evaluate again")
        found[name] = answers
    made = []
    for position in positions:
        episode = episodes[position]
        pair = episodes.pairs()[position]
        one_way = config.data.way == "1"
        truth = episode.query_mask if one_way else truth_of(episode.batched(), fold.n_ids, config)[0]
        assert truth is not None
        made.append(
            Sample(
                query=to_photo(episode.query_image, config.data.channels),
                support=to_photo(episode.support_image, config.data.channels),
                support_mask=episode.support_mask.numpy(),
                truth=truth.numpy(),
                answers={
                    name: given if isinstance(given, NotRun) else given[position] for name, given in found.items()
                },
                space=fold.space,
                novel=fold.novel,
                class_id=pair.class_id if one_way else 0,
                drawn=config.data.dataset.startswith("synth-"),
            )
        )
    return made


def pair_scores(run: Measured) -> Array:
    """Return float64 [N]: each pair's mean IoU over the foreground classes its truth holds (1-way: the class's IoU)."""
    counts = run.counts[:, 1:] if run.key.way == "1" else run.counts[:, [c != 0 for c in run.classes]]
    there = counts[..., 0] + counts[..., 2] > 0
    iou = np.where(there, iou_of_counts(counts), 0.0)
    with np.errstate(invalid="ignore"):
        return np.asarray(iou.sum(1) / there.sum(1))


def typical_pairs(run: Measured, shares: Sequence[float] = (0.9, 0.5, 0.1), *, smallest: int = 40) -> list[int]:
    """Return pairs at given places in the order of a run's scores: 0.9 a good one, 0.5 the middle, 0.1 a poor one.

    Only pairs whose truth holds a novel class (of `smallest` pixels at least) take part; no query is shown twice.
    1-way: only pairs that ask for a novel class.
    """
    if run.key.way == "1":
        counts = run.counts[:, 1:]
        asked = np.isin(run.class_ids, run.novel)
    else:
        counts = run.counts[:, [run.classes.index(c) for c in run.novel]]
        asked = np.ones(len(run.counts), bool)
    holds = ((counts[..., 0] + counts[..., 2]) >= smallest).any(1) & asked
    ranked = np.flatnonzero(holds)
    if not len(ranked):
        return []
    ranked = ranked[np.argsort(pair_scores(run)[ranked], kind="stable")]
    queries = np.arange(len(run.counts)) if run.queries is None else run.queries
    chosen: list[int] = []
    for share in shares:
        start = round(share * (len(ranked) - 1))
        for step in sorted(range(len(ranked)), key=lambda place: (abs(place - start), place)):
            if int(queries[ranked[step]]) not in {int(queries[one]) for one in chosen}:
                chosen.append(int(ranked[step]))
                break
    return chosen


def one_query(run: Measured, supports: int = 5, *, smallest: int = 40) -> list[int]:
    """Return up to `supports` pairs of one query with a novel class under every support: the query in the middle.

    The middle of all such queries by the deviation of their scores over supports. Empty when the run does not know
    its queries or no query has two supports.
    """
    if run.queries is None:
        return []
    columns = [run.classes.index(c) for c in run.novel] if run.key.way == "k" else [1]
    area = run.counts[:, columns, 0] + run.counts[:, columns, 2]
    holds = (area >= smallest).any(1)
    scores = pair_scores(run)
    groups = []
    for query in np.unique(run.queries):
        mine = np.flatnonzero((run.queries == query) & holds)
        if len(mine) > 1:
            groups.append((min(len(mine), supports), float(scores[mine].std()), mine[:supports].tolist()))
    if not groups:
        return []
    most = max(count for count, _, _ in groups)
    full = sorted((spread, mine) for count, spread, mine in groups if count == most)
    return list(full[len(full) // 2][1])
