"""INSID3 (2026): clusters of frozen query features, kept where they resemble the support's class; nothing is trained.

After its released code (contenders' facts 9), each class against all else: features lose the directions that a constant
image has (position, not content); a query cell is a candidate where its cosine to the class's prototype is positive and
its nearest support cell lies in the class; the query's cells are clustered; the cluster most like the prototype is the
seed, and a cluster stays where likeness to the prototype, likeness to the seed and its share of candidates multiply to
enough. Ours: k-way takes the class whose cluster scores most; its optional random field is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing
from oshp_lite.models.baselines.frozen import FrozenConfig, FrozenContender, cell_labels
from oshp_lite.models.modules.layers import resize

_RELEASED_SHARE = 500 / 1024  # directions removed, of the width of the released model (ViT-L)


def without_position(features: Tensor, constant: Tensor, directions: int) -> Tensor:
    """Unit features float [B,N,D] off the `directions` main axes of a constant image's unit features float [M,D]."""
    unit = F.normalize(features, dim=2, eps=1e-8)
    if not directions:
        return unit
    axes = torch.linalg.svd(F.normalize(constant, dim=1, eps=1e-8), full_matrices=False).Vh[:directions]
    return F.normalize(unit - unit @ axes.T @ axes, dim=2, eps=1e-8)


def clusters(cells: Tensor, distance: float) -> NDArray[np.int64]:
    """Cluster of every cell int64 [N], from 0: average linkage of the cosine distances of unit float [N,D].

    Clusters join while they lie at most `distance` apart (0..2).
    """
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import squareform

    if len(cells) < 2:
        return np.zeros(len(cells), np.int64)
    gram = (1 - cells @ cells.T).clamp(0, 2).double().cpu().numpy()
    np.fill_diagonal(gram, 0)
    linked = linkage(squareform(gram, checks=False), "average")
    return np.asarray(fcluster(linked, distance, "distance"), np.int64) - 1


def cluster_scores(
    query: Tensor, support: Tensor, shares: Tensor, usable: Tensor, groups: Tensor, least: float
) -> Tensor:
    """Score float [N] of every query cell for one class, 0 where its cluster is not kept.

    query float [N,D] and support float [M,D], unit rows; shares float [M] of the class in each support cell (0..1),
    usable bool [M] cells with any label; groups int64 [N] the query cells' clusters. The seed is kept in any case.
    """
    prototype = F.normalize(shares @ support, dim=0, eps=1e-8)
    nearest = (query @ support.T).masked_fill(~usable, -torch.inf).argmax(1)
    candidate = (query @ prototype > 0) & (shares[nearest] >= 0.5)
    scores = query.new_zeros(len(query))
    if not candidate.any():
        return scores
    member = F.one_hot(groups).to(query.dtype)  # [N,G]
    means = F.normalize(member.T @ query, dim=1, eps=1e-8)
    matched = (member.T @ candidate.to(query.dtype)) / member.sum(0)
    cross = means @ prototype
    seed = cross.masked_fill(matched == 0, -torch.inf).argmax()
    score = cross.clamp(min=0) * (means @ means[seed]).clamp(min=0) * matched
    score[seed] = score[seed].clamp(min=least * 1.001)
    return torch.where(score > least, score, 0.0)[groups]


@dataclass(frozen=True)
class Insid3Config(FrozenConfig):
    """Configuration of INSID3."""

    name: ClassVar[str] = "insid3"

    # axes of a constant image that are removed; None: as large a share as released for a model from elsewhere (500 of
    # 1024 channels), none for the project's encoder, which has no position embedding
    debias: int | None = bounded(None, 0)
    # subtract the mean feature of both images' cells first; None: for the project's encoder, whose ReLU leaves positive
    # features only
    centre: bool | None = None
    distance: float = bounded(0.6, 0, 2)  # largest average cosine distance within a cluster (tau)
    least: float = bounded(0.2, 0, 1)  # product of likenesses and candidates above which a cluster is kept


class Insid3(FrozenContender):
    """Training-free clusters of frozen features."""

    Config = Insid3Config
    config: Insid3Config

    @torch.no_grad()
    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query; `.fine` float [B,C,h,w] at the query's size, logarithms of its clusters' scores."""
        batch = self.checked(batch)
        maps = [self.features(image).float() for image in (batch.query_image, batch.support_image)]
        size, least = maps[0].shape[-2:], self.config.least
        labels, usable = cell_labels(self.support_mask(batch), self.rows, (maps[1].shape[-2], maps[1].shape[-1]))
        query, support = self._cells(maps, batch.query_image)
        present = self.support_classes(batch)
        scores = query.new_zeros(*query.shape[:2], self.rows)
        scores[..., 0] = least
        for row, cells in enumerate(query):
            groups = torch.from_numpy(clusters(cells, self.config.distance)).to(cells.device)
            for index in present[row, 1:].nonzero()[:, 0].add(1).tolist():
                shares = labels[row, :, index].to(cells.dtype)
                scores[row, :, index] = cluster_scores(cells, support[row], shares, usable[row], groups, least)
        grid = scores.transpose(1, 2).unflatten(2, size)
        return self.parsing(resize(grid, batch.query_image.shape[-2:], "bilinear").clamp(min=1e-6).log(), batch)

    def _cells(self, maps: list[Tensor], image: Tensor) -> list[Tensor]:
        """Unit features float [B,N,D] of query and support, freed of position."""
        own = self.config.source == "encoder"
        cells = [one.flatten(2).transpose(1, 2) for one in maps]
        if own if self.config.centre is None else self.config.centre:
            mean = torch.cat(cells, 1).mean(1, keepdim=True)
            cells = [one - mean for one in cells]
        width = cells[0].shape[2]
        released = 0 if own else round(_RELEASED_SHARE * width)
        directions = min(released if self.config.debias is None else self.config.debias, width)
        flat = self.features(torch.zeros_like(image[:1])).float().flatten(2)[0].T if directions else cells[0][0]
        return [without_position(one, flat, directions) for one in cells]
