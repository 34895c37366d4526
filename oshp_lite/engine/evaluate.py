"""Meta-test: parse every pair, compare with the truth, sum up (facts B.10)."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import IGNORE, Episode, collate
from oshp_lite.data.loading import EpisodeDataset
from oshp_lite.data.transforms import to_photo
from oshp_lite.engine.config import RunConfig
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
from oshp_lite.files import write_atomic
from oshp_lite.labels import Fold
from oshp_lite.models.base import OneShotModel, Prediction, PredictOptions
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.models.modules.prototypes import shrink_mask

COARSE_EVERY = 10
"""The released code judges the coarse space on every 10th pair."""


class Predictor(Protocol):
    """All that an evaluation needs of a method or a trivial baseline."""

    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        """Parse a batch."""


@dataclass
class Evaluation:
    """Scores with what they were made from: per-pair matrices int64 [N,C,C], class ids [N], the first few pictures.

    answers: every pair's ids, uint8 [H,W]; persons: the person masks behind them, bool [H,W], for methods with one.
    """

    scores: Scores
    matrices: Tensor
    class_ids: list[int]
    samples: list[tuple[Episode, Tensor, Tensor]]
    answers: list[Tensor] = field(default_factory=list)
    persons: list[Tensor] = field(default_factory=list)


def evaluate(
    parser: Predictor,
    dataset: OneShotDataset,
    config: RunConfig,
    *,
    progress: bool = True,
    episodes: EpisodeDataset | None = None,
) -> Scores:
    """Return the scores of a method or a trivial baseline on the run's meta-test pairs.

    k-way: truths are restricted to what the support shows (`eval.absent_test`), predictions are made with the
    options that `eval` says. 1-way: the truth is the plain 0/1 mask and screening is always on, as released.
    """
    return run_evaluation(parser, dataset, config, progress=progress, episodes=episodes).scores


def run_evaluation(
    parser: Predictor,
    dataset: OneShotDataset,
    config: RunConfig,
    *,
    progress: bool = True,
    episodes: EpisodeDataset | None = None,
) -> Evaluation:
    """Like `evaluate`, and keep the per-pair matrices and `eval.samples` sample answers."""
    fold = run_fold(config, dataset)
    episodes = episodes or test_set(config, dataset, fold)
    options = predict_options(config)
    device = _device_of(parser)
    kway = config.data.way == "k"
    n_ids = fold.n_ids if kway else 2
    matrices: list[Tensor] = []
    coarse = torch.zeros(2, 2, dtype=torch.int64)
    samples: list[tuple[Episode, Tensor, Tensor]] = []
    answers: list[Tensor] = []
    persons: list[Tensor] = []
    wanted = _sample_positions(episodes, config.eval.samples)
    began = time.monotonic()
    with torch.inference_mode(), tqdm(total=len(episodes), desc="meta-test", disable=not progress, leave=False) as bar:
        for positions, batch in batches(episodes, config):
            prediction = parser.predict(batch.to(device), options)
            answer = prediction.ids.cpu()
            person = None if prediction.person is None else prediction.person.cpu()
            truth = truth_of(batch, n_ids, config) if kway else batch.query_mask
            assert truth is not None
            matrices += [confusion(a, t, n_ids) for a, t in zip(answer, truth, strict=True)]
            coarse += _coarse_confusion(person, batch, positions)
            answers += list(answer.to(torch.uint8))
            persons += [] if person is None else list(person)
            for row, position in enumerate(positions):
                if position in wanted:
                    samples.append((_rows(batch, [row]), truth[row].clone(), answer[row].clone()))
            bar.update(len(positions))
    stacked = torch.stack(matrices)
    class_ids = [pair.class_id for pair in episodes.pairs()]
    scores = _scores(stacked, class_ids, [pair.query for pair in episodes.pairs()], fold, config)
    scores.coarse_miou = float(iou_of(coarse).mean()) if coarse.sum() else math.nan
    scores.details = {
        "source": config.eval.source,
        "screening": options.screening and bool(persons),
        "test_size": config.eval.test_size,
        "absent_test": config.eval.absent_test,
        "queries": len({pair.query for pair in episodes.pairs()}),
        "device": str(device),
        "seconds": round(time.monotonic() - began, 2),
        "pairs_per_second": round(len(stacked) / max(1e-9, time.monotonic() - began), 2),
    }
    return Evaluation(scores, stacked, class_ids, samples, answers, persons)


def _scores(
    matrices: Tensor, class_ids: Sequence[int], queries: Sequence[int], fold: Fold, config: RunConfig
) -> Scores:
    way, repeats = config.data.way, config.eval.bootstrap
    if way == "k":
        scores = scores_from_kway_matrices(matrices, fold)
    else:
        scores = scores_from_oneway_matrices(matrices, class_ids, fold, config.eval.bi_every)
    scores.intervals = score_intervals(matrices, class_ids, queries, fold, way, repeats=repeats) if repeats else {}
    return scores


def truth_of(batch: Episode, n_ids: int, config: RunConfig) -> Tensor:
    """Return the k-way truth int64 [B,H,W]: the query mask with ids that the support does not show as background.

    Whether the support shows an id is asked of its stride-4 mask ("resized", the released code) or of the full one.
    """
    if batch.query_mask is None:
        raise ValueError("an evaluation needs the query's mask")
    support = batch.support_mask
    if config.eval.absent_test == "resized":
        support = shrink_mask(support, [math.ceil(side / 4) for side in support.shape[-2:]])
    return restrict_target(batch.query_mask, support, n_ids)


def batches(episodes: EpisodeDataset, config: RunConfig) -> Iterator[tuple[list[int], Episode]]:
    """Yield (positions, batch) in order; episodes of unequal size never share a batch."""
    size = config.eval.batch_size
    loader: DataLoader[Episode] = DataLoader(
        episodes, batch_size=None, num_workers=config.data.workers, generator=torch.Generator()
    )
    held: list[Episode] = []
    start = 0
    for position, episode in enumerate(loader):
        if held and (len(held) == size or _shapes(held[0]) != _shapes(episode)):
            yield list(range(start, position)), collate(held)
            held, start = [], position
        held.append(episode)
    if held:
        yield list(range(start, start + len(held))), collate(held)


def _shapes(episode: Episode) -> tuple[torch.Size, torch.Size]:
    return episode.query_image.shape, episode.support_image.shape


def _device_of(parser: Predictor) -> torch.device:
    if isinstance(parser, OneShotModel):
        first = next(parser.parameters(), None)
        if first is not None:
            return first.device
    return torch.device("cpu")


def predict_options(config: RunConfig) -> PredictOptions:
    """Return what a run's evaluation asks of `predict`."""
    evaluation = config.eval
    screening = evaluation.screening or config.data.way == "1"
    return PredictOptions(source=evaluation.source, screening=screening, restrict=evaluation.restrict)


def _coarse_confusion(person: Tensor | None, batch: Episode, positions: Sequence[int]) -> Tensor:
    """Return the scene-against-person matrix int64 [2,2] of every 10th pair; zeros without a person mask."""
    rows = [row for row, position in enumerate(positions) if position % COARSE_EVERY == 0]
    if not rows or person is None or batch.query_foreground is None:
        return torch.zeros(2, 2, dtype=torch.int64)
    return confusion(person[rows].long(), batch.query_foreground[rows], 2)


def _rows(batch: Episode, rows: Sequence[int]) -> Episode:
    """Return a batch of some episodes of a batch."""
    changes: dict[str, Any] = {}
    for name, value in vars(batch).items():
        if isinstance(value, Tensor):
            changes[name] = value[list(rows)]
    if batch.names is not None:
        changes["names"] = [batch.names[row] for row in rows]
    return replace(batch, **changes)


def _sample_positions(episodes: EpisodeDataset, count: int) -> set[int]:
    """Choose pairs spread evenly over the list, so that all classes have a chance to be shown."""
    n = len(episodes)
    return {index * n // count for index in range(min(count, n))} if count else set()


# --------------------------------------------------------------------------------------------------- on disk


def save_pairs(path: Path | str, evaluation: Evaluation) -> None:
    """Write the per-pair matrices compactly (npz: `matrices` uint32 [N,C,C], `class_ids`), atomically."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        matrices=evaluation.matrices.numpy().astype(np.uint32),
        class_ids=np.array(evaluation.class_ids, np.int16),
    )
    write_atomic(path, buffer.getvalue())


def save_answers(path: Path | str, evaluation: Evaluation) -> None:
    """Write every pair's ids (`answer_00000`, uint8 [H,W]) and person mask (`person_00000`), compressed, atomically."""
    arrays = {f"answer_{n:05d}": answer.numpy() for n, answer in enumerate(evaluation.answers)}
    arrays |= {f"person_{n:05d}": person.numpy().astype(np.uint8) for n, person in enumerate(evaluation.persons)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(path, buffer.getvalue())


def load_answers(path: Path | str) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Read what `save_answers` wrote: ids and person masks, uint8 [H,W] each. UserError when missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as found:
            names = sorted(found.files)
            kinds = ("answer_", "person_")
            ids, persons = ([found[name] for name in names if name.startswith(kind)] for kind in kinds)
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a run's answers ({type(error).__name__}); evaluate again") from None
    return ids, persons


def load_pairs(path: Path | str) -> tuple[Tensor, list[int]]:
    """Read what `save_pairs` wrote: matrices int64 [N,C,C] and class ids. UserError when missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as found:
            return torch.from_numpy(found["matrices"].astype(np.int64)), found["class_ids"].tolist()
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"{path} cannot be read as per-pair results ({type(error).__name__}); evaluate again") from None


def sample_picture(episode: Episode, truth: Tensor, answer: Tensor, dataset: OneShotDataset, channels: str) -> bytes:
    """Return a PNG of one pair: support with its mask | query | truth | answer, in the label space's colours."""
    palette = dataset.space.class_palette
    if episode.class_ids is not None:
        palette = palette.copy()
        palette[1] = palette[int(episode.class_ids.reshape(-1)[0])]
    order: Any = channels
    support, query = to_photo(episode.support_image[0], order), to_photo(episode.query_image[0], order)
    height = query.shape[0]
    panels = [
        _blend(support, episode.support_mask[0], palette),
        query,
        _blend(query, truth, palette),
        _blend(query, answer, palette),
    ]
    scaled = [_to_height(panel, height) for panel in panels]
    gap = np.full((height, 3, 3), 255, np.uint8)
    row = np.concatenate([part for panel in scaled for part in (panel, gap)][:-1], axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _blend(image: np.ndarray, mask: Tensor, palette: np.ndarray, alpha: float = 0.6) -> np.ndarray:
    ids = mask.cpu().numpy().astype(np.uint8)
    shown = (ids != 0) & (ids != IGNORE)
    mixed = image * 0.75
    mixed[shown] = (1 - alpha) * image[shown] + alpha * palette[ids][shown]
    return mixed.astype(np.uint8)


def _to_height(panel: np.ndarray, height: int) -> np.ndarray:
    if panel.shape[0] == height:
        return panel
    width = max(1, round(panel.shape[1] * height / panel.shape[0]))
    return np.asarray(Image.fromarray(panel).resize((width, height), Image.Resampling.BILINEAR))


def save_samples(folder: Path | str, evaluation: Evaluation, dataset: OneShotDataset, channels: str) -> list[Path]:
    """Write the sample answers as sample_00.png, ...; returns their paths."""
    written = []
    for number, (episode, truth, answer) in enumerate(evaluation.samples):
        path = Path(folder) / f"sample_{number:02d}.png"
        write_atomic(path, sample_picture(episode, truth, answer, dataset, channels))
        written.append(path)
    return written
