"""People as the notebooks need them: drawn ones large for a figure and as episodes, the book's photos as episodes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from oshp_lite.assets import photos
from oshp_lite.book.scenes import shot
from oshp_lite.data.episode import Episode, collate
from oshp_lite.engine.metrics import iou_of, pair_matrices
from oshp_lite.labels import label_space
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.viz.images import enlarge

SEED = 1000
"""The seed of the scenes; networks of the book are trained on scenes of seed 0."""


@cache
def shot_of(index: int, size: int = 256, seed: int = SEED) -> tuple[Tensor, Tensor, Tensor]:
    """Draw scene `index` of synth-atr: photo uint8 [size,size,3], kept ids and person mask int64 [size,size]."""
    drawn = shot(index, size, seed=seed)
    mask, person = (torch.from_numpy(part).long() for part in (drawn.mask, drawn.person))
    return torch.from_numpy(drawn.image.copy()), mask, person


def drawn_episode(query: int, support: int, size: int = 128, seed: int = SEED) -> Episode:
    """Return an unbatched episode of two scenes of synth-atr, in ATR's kept ids."""
    return _episode(shot_of(query, size, seed), shot_of(support, size, seed))


def real_episode(query: str, support: str, height: int = 160) -> Episode:
    """Return an unbatched episode of two of the book's photos, in CCP-OS's ids. UserError for an unknown name."""

    def small(name: str) -> tuple[Tensor, Tensor, Tensor]:
        photo, ids = torch.from_numpy(photos.photo(name).copy()), photos.mask(name)
        size = (height, round(height * ids.shape[1] / ids.shape[0]))
        image = F.interpolate(photo.permute(2, 0, 1)[None].float(), size=size, mode="area")[0]
        mask = torch.from_numpy(enlarge(ids, size)).long()
        return image.permute(1, 2, 0), mask, (mask > 0).long()

    return _episode(small(query), small(support))


def _episode(query: Sequence[Tensor], support: Sequence[Tensor]) -> Episode:
    """Put photo uint8 [H,W,3], ids and person of both photos together."""
    images = [photo.permute(2, 0, 1) / 127.5 - 1 for photo in (query[0], support[0])]
    return Episode(
        query_image=images[0],
        query_mask=query[1],
        query_foreground=query[2],
        support_image=images[1],
        support_mask=support[1],
        support_foreground=support[2],
    )


def sharing_pairs(novel: Sequence[int], count: int, first: int = 0) -> list[tuple[int, int]]:
    """Return the first neighbours among the drawn scenes, from scene `first` on, that share a class of `novel`."""
    pairs: list[tuple[int, int]] = []
    index = first
    while len(pairs) < count:
        worn = [set(shot_of(place, 128)[1].unique().tolist()) & set(novel) for place in (index, index + 1)]
        if worn[0] & worn[1]:
            pairs.append((index, index + 1))
        index += 2
    return pairs


def typical_pair(network: Any, novel: Sequence[int], count: int = 13) -> tuple[int, int, list[float]]:
    """Return query and support of the drawn pair that a network parses with median quality, and all pairs' scores.

    Of `count` pairs that share a class of `novel`; the quality is the mean IoU over the classes that both people wear,
    in [0,1].
    """
    chosen = sharing_pairs(novel, count)
    batch = collate([drawn_episode(*pair) for pair in chosen])
    with torch.inference_mode():
        predicted = network.predict(batch).ids
    n_ids = label_space("atr").n_ids
    truth = restrict_target(cast(Tensor, batch.query_mask), batch.support_mask, n_ids)
    ious = iou_of(pair_matrices(predicted, truth, n_ids))[:, 1:]
    wanted = torch.stack([torch.bincount(ids.flatten(), minlength=n_ids)[1:n_ids] > 0 for ids in truth])
    scores = [float(iou[own].mean()) for iou, own in zip(ious, wanted, strict=True)]
    return (*chosen[int(np.argsort(scores, kind="stable")[count // 2])], scores)
