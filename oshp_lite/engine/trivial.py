"""Trivial predictions that any parser has to beat, each given every benefit of the doubt.

background   everything is scene
copy         the support's mask, stretched over the query
mean map     per place, the id that is most frequent there in the masks of all support photos of the meta-test (novel
             classes included, which no trained parser has seen), among the ids that this support shows
colour       per pixel, the support's class (or its background) whose mean colour is nearest in the same support
None of them is trained. All see the support's full mask; "mean map" even sees all supports at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode
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


class TrivialPredictor:
    """Parses without a network; the options of a prediction change nothing."""

    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        """Parse a batch."""
        return Prediction(self.ids(batch.batched()))

    def ids(self, batch: Episode) -> Tensor:
        """The ids int64 [B,H,W] of every query."""
        raise NotImplementedError


class Background(TrivialPredictor):
    """Says 0 everywhere."""

    def ids(self, batch: Episode) -> Tensor:
        """Zeros int64 [B,H,W]."""
        image = batch.query_image
        return torch.zeros(image.shape[0], *image.shape[-2:], dtype=torch.int64, device=image.device)


class CopySupport(TrivialPredictor):
    """Lays the support's mask over the query."""

    def ids(self, batch: Episode) -> Tensor:
        """The support mask stretched to the query's size, int64 [B,H,W]; 255 becomes 0."""
        stretched = resize_labels(batch.support_mask, _size(batch))
        return torch.where(stretched == 255, 0, stretched)


class MeanMap(TrivialPredictor):
    """Takes the id that is most frequent at each place. `frequencies` float [n_ids,S,S] per target class (k-way: 0)."""

    def __init__(self, frequencies: dict[int, Tensor]) -> None:
        self.frequencies = frequencies

    def ids(self, batch: Episode) -> Tensor:
        """Ids int64 [B,H,W] among those the support shows."""
        targets = [0] * len(batch) if batch.class_ids is None else batch.class_ids.tolist()
        maps = torch.stack([self.frequencies[c] for c in targets])
        shown = present_ids(batch.support_mask, maps.shape[1])
        shown[:, 0] = True
        maps = F.interpolate(maps, size=_size(batch), mode="bilinear", align_corners=False)
        return maps.masked_fill(~shown[:, :, None, None], -1).argmax(1)


class NearestColour(TrivialPredictor):
    """Takes the class of the support whose mean colour is nearest."""

    def __init__(self, n_ids: int) -> None:
        self.n_ids = n_ids

    def ids(self, batch: Episode) -> Tensor:
        """Ids int64 [B,H,W] among those the support shows, background included."""
        member = F.one_hot(batch.support_mask.clamp(max=self.n_ids), self.n_ids + 1)[..., : self.n_ids].float()
        count = member.sum((1, 2))
        pixels = batch.support_image.permute(0, 2, 3, 1)
        means = torch.einsum("bhwc,bhwk->bck", member, pixels) / count.clamp(min=1)[..., None]
        query = batch.query_image.permute(0, 2, 3, 1).flatten(1, 2)
        distance = torch.cdist(query, means)
        distance = distance.masked_fill((count == 0)[:, None], torch.inf)
        return distance.argmin(2).view(len(batch), *_size(batch))


def _size(batch: Episode) -> tuple[int, int]:
    height, width = batch.query_image.shape[-2:]
    return int(height), int(width)


def _mean_map(episodes: EpisodeDataset, n_ids: int) -> MeanMap:
    """Count ids by place over the distinct supports of the test pairs (1-way: apart for every target class)."""
    one_way = episodes.way == "1"
    counts: dict[int, Tensor] = {}
    seen: set[tuple[int, int]] = set()
    for position, pair in enumerate(episodes.pairs()):
        target = pair.class_id if one_way else 0
        if (pair.support, target) in seen:
            continue
        seen.add((pair.support, target))
        mask = episodes[position].support_mask
        small = resize_labels(mask, (MAP_SIZE, MAP_SIZE))
        member = F.one_hot(small.clamp(max=n_ids), n_ids + 1)[..., :n_ids].permute(2, 0, 1).float()
        counts[target] = counts[target] + member if target in counts else member
    return MeanMap(counts)


_MAKERS: dict[str, Callable[[EpisodeDataset, int], Any]] = {
    "background": lambda episodes, n_ids: Background(),
    "copy": lambda episodes, n_ids: CopySupport(),
    "mean map": _mean_map,
    "colour": lambda episodes, n_ids: NearestColour(n_ids),
}
BASELINES = tuple(_MAKERS)
"""Names of the trivial baselines."""


def baseline_evaluation(name: str, dataset: OneShotDataset, config: RunConfig, *, progress: bool = False) -> Evaluation:
    """Judge a baseline on the run's meta-test pairs, as a parser would be. UserError for an unknown name."""
    plain = name.replace("_", " ").replace("-", " ")
    if plain not in _MAKERS:
        raise UserError(f"unknown baseline {name!r}; known: {', '.join(BASELINES)}")
    fold = run_fold(config, dataset)
    episodes = test_set(config, dataset, fold)
    predictor = _MAKERS[plain](episodes, fold.n_ids if config.data.way == "k" else 2)
    found = run_evaluation(predictor, dataset, config, progress=progress, episodes=episodes)
    found.scores.details["baseline"] = plain
    return found


def baseline_scores(name: str, dataset: OneShotDataset, config: RunConfig) -> Scores:
    """Return the scores of the baseline `background`, `copy`, `mean map` or `colour` on the run's meta-test pairs."""
    return baseline_evaluation(name, dataset, config).scores
