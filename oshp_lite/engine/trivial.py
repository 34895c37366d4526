"""Trivial predictions that any parser has to beat, each given every benefit of the doubt.

background   everything is scene
copy         the support's mask, stretched over the query
mean map     per place, the id that is most frequent there in the masks of all support photos of the meta-test (novel
             classes included, which no trained parser has seen), among the ids that this support shows
colour       per pixel, the support's class (or its background) whose mean colour is nearest in the same support
None of them is trained. All see the support's full mask; "mean map" even sees all supports at once.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.loading import EpisodeDataset
from oshp_lite.data.transforms import resize_labels
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import Evaluation, run_evaluation
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import Scores
from oshp_lite.errors import UserError
from oshp_lite.models.base import Prediction, PredictOptions
from oshp_lite.models.modules.prototypes import present_ids

MAP_SIZE = 64
"""Side of the grid on which label frequencies are counted."""
BASELINES = ("background", "copy", "mean map", "colour")
"""Names of the trivial baselines."""


class TrivialPredictor:
    """Parses without a network; the options of a prediction change nothing."""

    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        """Parse a batch."""
        batch = batch.batched()
        height, width = batch.query_image.shape[-2:]
        return Prediction(self.ids(batch, (height, width)))

    def ids(self, batch: Episode, size: tuple[int, int]) -> Tensor:
        """The ids int64 [B,H,W] of every query, whose size is (H, W)."""
        raise NotImplementedError


class Background(TrivialPredictor):
    """Says 0 everywhere."""

    def ids(self, batch: Episode, size: tuple[int, int]) -> Tensor:
        """Zeros."""
        return torch.zeros(len(batch), *size, dtype=torch.int64, device=batch.query_image.device)


class CopySupport(TrivialPredictor):
    """Lays the support's mask over the query."""

    def ids(self, batch: Episode, size: tuple[int, int]) -> Tensor:
        """The support mask stretched to the query's size; 255 becomes 0."""
        stretched = resize_labels(batch.support_mask, size)
        return torch.where(stretched == IGNORE, 0, stretched)


class MeanMap(TrivialPredictor):
    """Takes the id that is most frequent at each place among those that the support shows.

    The places are counted over the distinct supports of the test pairs; 1-way: apart for every target class.
    """

    def __init__(self, episodes: EpisodeDataset, n_ids: int) -> None:
        self.n_ids, pairs = n_ids, episodes.pairs()
        self.counts: dict[int, Tensor] = {}
        places = {(pair.support, pair.class_id if episodes.way == "1" else 0): at for at, pair in enumerate(pairs)}
        for (_, target), position in places.items():
            small = resize_labels(episodes[position].support_mask, (MAP_SIZE, MAP_SIZE))
            self.counts[target] = self.counts.get(target, 0) + _members(small, n_ids).permute(2, 0, 1)

    def ids(self, batch: Episode, size: tuple[int, int]) -> Tensor:
        """Ids among those the support shows."""
        targets = [0] * len(batch) if batch.class_ids is None else batch.class_ids.tolist()
        maps = torch.stack([self.counts[c] for c in targets])
        usable = present_ids(batch.support_mask, self.n_ids)
        usable[:, 0] = True
        maps = F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
        return maps.masked_fill(~usable[:, :, None, None], -1).argmax(1)


class NearestColour(TrivialPredictor):
    """Takes the class of the support, or its background, whose mean colour is nearest."""

    def __init__(self, n_ids: int) -> None:
        self.n_ids = n_ids

    def ids(self, batch: Episode, size: tuple[int, int]) -> Tensor:
        """Ids among those the support shows, background included."""
        member = _members(batch.support_mask, self.n_ids)
        count = member.sum((1, 2))
        pixels = batch.support_image.permute(0, 2, 3, 1)
        means = torch.einsum("bhwc,bhwk->bck", member, pixels) / count.clamp(min=1)[..., None]
        distance = torch.cdist(batch.query_image.permute(0, 2, 3, 1).flatten(1, 2), means)
        return distance.masked_fill((count == 0)[:, None], torch.inf).argmin(2).view(len(batch), *size)


def _members(mask: Tensor, n_ids: int) -> Tensor:
    """Return float [...,n_ids], 1 where a pixel of the mask has the id."""
    return F.one_hot(mask.clamp(max=n_ids), n_ids + 1)[..., :n_ids].float()


def baseline_evaluation(name: str, dataset: OneShotDataset, config: RunConfig, *, progress: bool = False) -> Evaluation:
    """Judge a baseline on the run's meta-test pairs, as a parser would be. UserError for an unknown name."""
    if name not in BASELINES:
        raise UserError(f"unknown baseline {name!r}; known: {', '.join(BASELINES)}")
    fold = run_fold(config, dataset)
    episodes, n_ids = test_set(config, dataset, fold), fold.n_ids if config.data.way == "k" else 2
    match name:
        case "mean map":
            predictor: TrivialPredictor = MeanMap(episodes, n_ids)
        case "colour":
            predictor = NearestColour(n_ids)
        case _:
            predictor = CopySupport() if name == "copy" else Background()
    evaluation = run_evaluation(predictor, dataset, config, progress=progress, episodes=episodes)
    evaluation.scores.details["baseline"] = name
    return evaluation


def baseline_scores(name: str, dataset: OneShotDataset, config: RunConfig) -> Scores:
    """Return the scores of the baseline `background`, `copy`, `mean map` or `colour` on the run's meta-test pairs."""
    return baseline_evaluation(name, dataset, config).scores
