"""Meta-test: parse every pair, compare with the truth, sum up (facts B.10)."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.loading import EpisodeDataset
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.distributed import added, leads, merged, own_batches, processes, together
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import (
    Scores,
    confusion,
    iou_of,
    score_intervals,
    scores_from_kway_matrices,
    scores_from_oneway_matrices,
)
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, write_atomic
from oshp_lite.models.base import Prediction, PredictOptions
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.models.modules.prototypes import shrink_mask

COARSE_EVERY = 10
"""The released code judges the coarse space on every 10th pair."""
PREDICTIONS, OLD_PREDICTIONS = "predictions.npz", "answers.npz"
"""The file of a run's predictions, and what it was called in runs of older code."""


class Predictor(Protocol):
    """All that an evaluation needs of a method or a trivial baseline."""

    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        """Parse a batch."""


@dataclass
class Evaluation:
    """Scores with what they were made from: per-pair matrices int64 [N,C,C], class ids [N], a few (pair, truth, ids).

    predictions: every pair's ids, uint8 [H,W]; persons: the person masks behind them, bool [H,W], where there are any.
    """

    scores: Scores
    matrices: Tensor
    class_ids: list[int]
    samples: list[tuple[Episode, Tensor, Tensor]]
    predictions: list[Tensor] = field(default_factory=list)
    persons: list[Tensor] = field(default_factory=list)


def evaluate(parser: Predictor, dataset: OneShotDataset, config: RunConfig, *, progress: bool = True) -> Scores:
    """Return the scores of a method or a trivial baseline on the run's meta-test pairs."""
    return run_evaluation(parser, dataset, config, progress=progress).scores


@together
def run_evaluation(
    parser: Predictor,
    dataset: OneShotDataset,
    config: RunConfig,
    *,
    progress: bool = True,
    episodes: EpisodeDataset | None = None,
) -> Evaluation:
    """Judge a method or a trivial baseline on the run's meta-test pairs, or on those of `episodes`.

    k-way: truths are restricted to what the support shows (`eval.absent_test`), predictions are made with the
    options that `eval` says. 1-way: the truth is the plain 0/1 mask and screening is always on, as released.
    """
    fold, choice, kway = run_fold(config, dataset), config.eval, config.data.way == "k"
    episodes = episodes or test_set(config, dataset, fold)
    pairs, n_ids = episodes.pairs(), fold.n_ids if kway else 2
    options = PredictOptions(choice.source, choice.screening or not kway, choice.restrict)
    first = next(parser.parameters(), None) if isinstance(parser, nn.Module) else None
    device = torch.device("cpu") if first is None else first.device
    # sample pictures are spread evenly over the list, so that all classes have a chance to be seen
    sampled = {index * len(pairs) // choice.samples for index in range(min(choice.samples, len(pairs)))}
    samples: list[tuple[Episode, Tensor, Tensor]] = []
    order, matrices, predictions, persons = list[int](), list[Tensor](), list[Tensor](), list[Tensor]()
    coarse = torch.zeros(2, 2, dtype=torch.int64)
    began = time.monotonic()
    quiet = not (progress and leads())
    with torch.inference_mode(), tqdm(total=len(pairs), desc="meta-test", disable=quiet, leave=False) as bar:
        for positions, batch in own_batches(batches, episodes, config):
            order += positions
            prediction = parser.predict(batch.to(device), options)
            ids, person = prediction.ids.cpu(), None if prediction.person is None else prediction.person.cpu()
            truth = truth_of(batch, n_ids, config) if kway else batch.query_mask
            assert truth is not None
            matrices += [confusion(mine, true, n_ids) for mine, true in zip(ids, truth, strict=True)]
            predictions += list(ids.to(torch.uint8))
            if person is not None:
                persons += list(person)
                rows = [row for row, position in enumerate(positions) if position % COARSE_EVERY == 0]
                if rows and batch.query_foreground is not None:
                    coarse += confusion(person[rows].long(), batch.query_foreground[rows], 2)
            samples += [(episodes[at], truth[row], ids[row]) for row, at in enumerate(positions) if at in sampled]
            bar.update(len(positions))
    if processes() > 1:
        matrices, coarse = merged(order, matrices), added(coarse)
        samples = merged([at for at in order if at in sampled], samples)
        predictions, persons = (merged(order[: len(one)], one, lead_only=True) for one in (predictions, persons))
    seconds = time.monotonic() - began
    stacked, class_ids = torch.stack(matrices), [pair.class_id for pair in pairs]
    queries = [pair.query for pair in pairs]
    if kway:
        scores = scores_from_kway_matrices(stacked, fold)
    else:
        scores = scores_from_oneway_matrices(stacked, class_ids, fold, choice.bi_every)
    if choice.bootstrap:
        way, repeats = config.data.way, choice.bootstrap
        scores.intervals = score_intervals(stacked, class_ids, queries, fold, way, repeats=repeats)
    scores.coarse_miou = float(iou_of(coarse).mean()) if coarse.sum() else math.nan
    scores.details = {
        "source": choice.source,
        "screening": options.screening and bool(persons),
        "test_size": choice.test_size,
        "absent_test": choice.absent_test,
        "queries": len(set(queries)),
        "device": str(device),
        "seconds": round(seconds, 2),
        "pairs_per_second": round(len(pairs) / max(1e-9, seconds), 2),
    }
    return Evaluation(scores, stacked, class_ids, samples, predictions, persons)


def truth_of(batch: Episode, n_ids: int, config: RunConfig) -> Tensor:
    """Return the k-way truth int64 [B,H,W]: the query mask with ids that the support does not show as background.

    The support's mask counts at stride 4 ("resized", the released code) or in full.
    """
    if batch.query_mask is None:
        raise ValueError("an evaluation needs the query's mask")
    support = batch.support_mask
    if config.eval.absent_test == "resized":
        support = shrink_mask(support, [math.ceil(side / 4) for side in support.shape[-2:]])
    return restrict_target(batch.query_mask, support, n_ids)


def batches(episodes: EpisodeDataset, config: RunConfig) -> Iterator[tuple[list[int], Episode]]:
    """Yield (positions, batch) in order; episodes of unequal size never share a batch."""
    how: dict[str, Any] = {"num_workers": config.data.workers, "generator": torch.Generator()}
    loader: DataLoader[Episode] = DataLoader(episodes, batch_size=None, **how)

    def shapes(episode: Episode) -> tuple[torch.Size, torch.Size]:
        return episode.query_image.shape, episode.support_image.shape

    held: list[Episode] = []
    start = 0
    for position, episode in enumerate(loader):
        if held and (len(held) == config.eval.batch_size or shapes(held[0]) != shapes(episode)):
            yield list(range(start, position)), collate(held)
            held, start = [], position
        held.append(episode)
    if held:
        yield list(range(start, start + len(held))), collate(held)


def save_pairs(path: Path | str, evaluation: Evaluation) -> None:
    """Write the per-pair matrices compactly (npz: `matrices` uint32 [N,C,C], `class_ids`), atomically."""
    matrices = evaluation.matrices.numpy().astype(np.uint32)
    _save(path, {"matrices": matrices, "class_ids": np.array(evaluation.class_ids, np.int16)})


def load_pairs(path: Path | str) -> tuple[Tensor, list[int]]:
    """Read what `save_pairs` wrote: matrices int64 [N,C,C] and class ids. UserError when missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return torch.from_numpy(stored["matrices"].astype(np.int64)), stored["class_ids"].tolist()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as per-pair results ({type(error).__name__}); evaluate again") from None


def save_predictions(path: Path | str, evaluation: Evaluation) -> None:
    """Write every pair's ids (`prediction_00000`) and person mask (`person_00000`), uint8 [H,W], atomically."""
    arrays = {f"prediction_{n:05d}": ids.numpy() for n, ids in enumerate(evaluation.predictions)}
    _save(path, arrays | {f"person_{n:05d}": one.numpy().astype(np.uint8) for n, one in enumerate(evaluation.persons)})


def load_predictions(folder: Path, kind: Literal["prediction", "person"] = "prediction") -> Iterator[np.ndarray]:
    """Yield each pair's ids, or person mask, uint8 [H,W], from a run's folder. UserError when missing or damaged."""
    path = folder / PREDICTIONS
    if not path.is_file() and (folder / OLD_PREDICTIONS).is_file():
        path = folder / OLD_PREDICTIONS
    try:
        with np.load(path, allow_pickle=False) as stored:
            for name in sorted(stored.files):
                if name.startswith("person_") == (kind == "person"):
                    yield stored[name]
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as predictions ({type(error).__name__}); evaluate again") from None


def _save(path: Path | str, arrays: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    write_atomic(path, buffer.getvalue())


def save_samples(folder: Path | str, evaluation: Evaluation, dataset: OneShotDataset, channels: str) -> None:
    """Write sample_00.png, ...: support with its mask | query | truth | prediction, in the label space's colours."""
    from oshp_lite.viz.images import overlay, to_rgb

    for number, (episode, truth, ids) in enumerate(evaluation.samples):
        palette = dataset.space.class_palette.copy()
        if episode.class_ids is not None:
            palette[1] = palette[int(episode.class_ids)]
        query = to_rgb(episode.query_image, channels)
        panels = [overlay(episode.support_image, episode.support_mask, palette, channels=channels), query]
        panels += [overlay(query, mask, palette) for mask in (truth, ids)]
        height, gap = len(query), np.full((len(query), 3, 3), 255, np.uint8)
        parts: list[np.ndarray] = []
        for panel in panels:
            size = (max(1, round(panel.shape[1] * height / len(panel))), height)
            parts += [np.asarray(Image.fromarray(panel).resize(size, Image.Resampling.BILINEAR)), gap]
        write_atomic(Path(folder) / f"sample_{number:02d}.png", encode_png(np.concatenate(parts[:-1], axis=1)))
