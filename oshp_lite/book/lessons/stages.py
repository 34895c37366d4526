"""Notebook 05, section 9: what each stage of a trained three-stage POPNet predicts, how well, and what a cut costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from oshp_lite.book.lessons.heads import first_pairs
from oshp_lite.book.lessons.record import Lesson, estimate, mean_iou, pair_weights, pooled
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.transforms import to_photo
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import truth_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import pair_matrices
from oshp_lite.errors import UserError
from oshp_lite.labels import IGNORE, Fold
from oshp_lite.models.popnet import POPNet

STAGES = ("person", "areas", "classes")
CUTS = (2, 3)
"""Stages whose KIM gets zeros instead of the coarser stage's features, one at a time."""
SMALLEST = 40
"""Pixels of a novel class that a pictured pair's truth must hold."""


@torch.inference_mode()
def stages_of(network: POPNet, batch: Episode) -> tuple[Tensor, Tensor, Tensor]:
    """What the three stages predict: int64 [B,H,W] each, persons 0/1, areas from 1 on, classes."""
    whole = network(batch, compute_agm=False)
    second = network(batch, static_prototypes=False, progress=network.stage_ends[0], compute_agm=False)
    return cast(Tensor, whole.coarse).argmax(1), second.extras["ncm"].argmax(1), whole.fine.argmax(1)


@contextmanager
def cut(network: POPNet, stage: int | None) -> Iterator[None]:
    """Give the KIM of one stage (2 or 3) zeros for the coarser stage's features within the block; None: cut nothing."""
    if stage is None:
        yield
        return
    infusion = cast(Any, network.stages[stage - 1]).infusion
    handle = infusion.register_forward_pre_hook(lambda _, given: (torch.zeros_like(given[0]), given[1]))
    held, network._cache = network._cache, None  # what it holds was made without the cut
    try:
        yield
    finally:
        handle.remove()
        network._cache = held


def areas_of(mask: Tensor, areas: Sequence[int]) -> Tensor:
    """Class ids int64 -> area ids, 255 stays."""
    return torch.tensor([*areas, *[IGNORE] * (IGNORE + 1 - len(areas))])[mask]


def measure(
    network: Any,
    dataset: OneShotDataset,
    config: RunConfig,
    history: list[dict[str, float]],
    n_pairs: int | None = None,
) -> Lesson:
    """Return every stage's base and novel mIoU (without background) on the run's test pairs, its losses, examples.

    "cuts" holds how the scores change when a stage's KIM gets zeros from the coarser stage (see `cut`).

    `n_pairs` of the pairs take part, spread evenly over the list; None: the first of each query photo and class.
    UserError for another network than a POPNet of three stages.
    """
    if not isinstance(network, POPNet) or len(network.stages) != 3:
        raise UserError("the lesson about stages needs a POPNet run with model.options.stages=3")
    fold, areas = run_fold(config, dataset), cast(tuple[int, ...], network.config.areas)
    exam = test_set(config, dataset, fold)
    pairs = exam.pairs()
    numbers = first_pairs(pairs, n_pairs)
    counts = (2, network.config.n_areas, fold.n_ids)
    matrices: dict[int | None, list[list[np.ndarray]]] = {place: [[], [], []] for place in (None, *CUTS)}
    network.eval()
    for start in range(0, len(numbers), config.eval.batch_size):
        batch = collate([exam[number] for number in numbers[start : start + config.eval.batch_size]])
        truths = _targets(batch, fold, areas, config)
        for place, own in matrices.items():
            with cut(network, place):
                predicted = stages_of(network, batch)
            for part, made, truth, count in zip(own, predicted, truths, counts, strict=True):
                part.append(pair_matrices(made, truth, count).numpy())
    joined = {place: [np.concatenate(part) for part in own] for place, own in matrices.items()}
    visible = {areas[c] for c in fold.base_foreground}
    groups = [([1], []), (sorted(visible), sorted({areas[c] for c in fold.novel} - visible))]
    groups += [(list(fold.base_foreground), list(fold.novel))]
    queries = [pairs[number].query for number in numbers]
    weights = pair_weights(queries)
    rows: list[dict[str, Any]] = []
    changes: dict[str, list[dict[str, Any]]] = {str(place): [] for place in CUTS}
    for number, (name, ids) in enumerate(zip(STAGES, groups, strict=True)):
        named = {group: part for group, part in zip(("base", "novel"), ids, strict=True) if part}
        scores = {
            place: {group: mean_iou(pooled(own[number], weights), part) for group, part in named.items()}
            for place, own in joined.items()
        }
        whole = scores[None]
        rows.append(
            {"name": name, "scores": {group: estimate(one[None]) for group, one in whole.items()}, "ids": named}
        )
        for place in CUTS:
            lost = {group: estimate((scores[place][group] - one)[None]) for group, one in whole.items()}
            changes[str(place)].append({"name": name, "scores": lost})
    places = _middles(joined[None][2], [pairs[number] for number in numbers], fold)
    content = {
        "pairs": {"pairs": len(numbers), "queries": len(set(queries)), "seeds": 1},
        "rows": rows,
        "cuts": changes,
        "examples": [fold.space.class_name(c) for c in places],
        "history": [{k: v for k, v in row.items() if k == "epoch" or k.startswith("loss_")} for row in history],
        "stage_ends": list(network.stage_ends),
    }
    return Lesson(content, _pictures(network, [exam[numbers[place]] for place in places.values()], fold, areas, config))


def _targets(batch: Episode, fold: Fold, areas: Sequence[int], config: RunConfig) -> tuple[Tensor, Tensor, Tensor]:
    """Return the truth of each stage, int64 [B,H,W]."""
    fine = truth_of(batch, fold.n_ids, config)
    return cast(Tensor, batch.query_foreground), areas_of(fine, areas), fine


def _middles(matrices: np.ndarray, pairs: Sequence[Any], fold: Fold) -> dict[int, int]:
    """Return novel class -> number of the pair whose IoU of it is in the middle, of those whose truth holds enough."""
    hits = np.diagonal(matrices, axis1=1, axis2=2)
    wanted, claimed = matrices.sum(2), matrices.sum(1)
    middles = {}
    for c in fold.novel:
        mine = np.array([n for n, pair in enumerate(pairs) if pair.class_id == c and wanted[n, c] >= SMALLEST])
        if len(mine):
            iou = hits[mine, c] / (wanted + claimed - hits)[mine, c]
            middles[c] = int(mine[np.argsort(iou, kind="stable")][len(mine) // 2])
    return middles


def _pictures(
    network: POPNet, episodes: Sequence[Episode], fold: Fold, areas: Sequence[int], config: RunConfig
) -> dict[str, np.ndarray]:
    """Return photos, masks, truth and predictions of some pairs, uint8 [P,...]; nothing of none."""
    made: dict[str, list[np.ndarray]] = {}
    for episode in episodes:
        batch = episode.batched()
        one = {f"stage{number}": ids[0] for number, ids in enumerate(stages_of(network, batch), start=1)}
        one |= {"truth": _targets(batch, fold, areas, config)[2][0], "support_mask": batch.support_mask[0]}
        for name, mask in one.items():
            made.setdefault(name, []).append(mask.numpy().astype(np.uint8))
        for name in ("query", "support"):
            made.setdefault(name, []).append(to_photo(getattr(episode, f"{name}_image"), config.data.channels))
    return {name: np.stack(parts) for name, parts in made.items()}
