"""PPNet: part-aware prototypes by k-means, nearest part wins (Liu et al., ECCV 2020, without its semantic and
unlabelled branches, as the one-shot parsing papers use it).

Choices of ours: the k-way form (one support forward; the part sets of all its classes and one background set, which
holds the pixels of no class), a 1x1 projection behind the encoder, and centres started from members chosen by a hash
of the set's pixels, so that an episode's parsing depends on the episode alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing, mask_absent_logits
from oshp_lite.models.baselines.common import (
    AlignedConfig,
    AlignedContender,
    members,
    pool,
    present_pairs,
    two_way_loss,
)
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.metric import cosine_maps
from oshp_lite.models.modules.prototypes import shrink_mask

FEW = 10  # a class with at most this many grid cells is sampled at mask resolution instead
_PADDED = 1 << 22  # entries of one padded group of sets; bounds the memory of k-means


@dataclass(frozen=True)
class PixelSets:
    """The pixels that stand for each class of each sample, as positions in an image's feature map."""

    sample: Tensor  # int64 [P]: whose set it is, with its channel
    channel: Tensor
    owner: Tensor  # int64 [N] ascending: the set of each pixel
    cell: Tensor  # int64 [N,4]: the four cells around it, as y * w + x
    weight: Tensor  # float [N,4]: their bilinear weights (aligned corners), sum 1

    @property
    def sizes(self) -> Tensor:
        """Pixels of each set, int64 [P]."""
        return torch.bincount(self.owner, minlength=len(self.sample))


def pixel_sets(mask: Tensor, rows: int, size: tuple[int, int], sampling: str = "grid") -> PixelSets:
    """Choose each class's pixels as PPNet does: int64 [B,H,W] with ids below `rows` (255 is in no set), map size h, w.

    Foreground classes are sampled on the map's grid refined twice, background on the map's own, both with the mask
    resized nearest; a set of at most 10 cells takes all its mask pixels instead. `sampling` "mask" takes the mask
    pixels for every set. An empty class has no set.
    """
    h, w = size
    parts = []
    full = members(mask, rows)
    exact = full.new_ones(len(mask), rows)
    if sampling == "grid":
        for ids, grid in ((slice(0, 1), (h, w)), (slice(1, rows), (2 * h, 2 * w))):
            cells = members(shrink_mask(mask, grid), rows)[:, ids]
            exact[:, ids] = cells.sum((2, 3)) <= FEW
            parts.append(_entries(cells & ~exact[:, ids, None, None], ids.start))
    parts.append(_entries(full & exact[..., None, None], 0))
    sample, channel, y, x = (torch.cat([part[i] for part in parts]) for i in range(4))
    key, order = (sample * rows + channel).sort(stable=True)
    pairs, owner = key.unique_consecutive(return_inverse=True)
    y, x = y[order] * (h - 1), x[order] * (w - 1)
    top, left = y.floor().clamp(max=max(h - 2, 0)), x.floor().clamp(max=max(w - 2, 0))
    below, right = (top + 1).clamp(max=h - 1), (left + 1).clamp(max=w - 1)
    dy, dx = y - top, x - left
    cell = torch.stack([top * w + left, top * w + right, below * w + left, below * w + right], 1).long()
    weight = torch.stack([(1 - dy) * (1 - dx), (1 - dy) * dx, dy * (1 - dx), dy * dx], 1)
    return PixelSets(pairs // rows, pairs % rows, owner, cell, weight)


def _entries(member: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sample, channel and relative position (0 first, 1 last row or column) of the true entries of bool [B,C,H,W]."""
    sample, channel, y, x = member.nonzero(as_tuple=True)
    height, width = member.shape[-2:]
    return sample, channel + first, y.double() / max(height - 1, 1), x.double() / max(width - 1, 1)


def first_members(sets: PixelSets, parts: int, seed: int = 0) -> Tensor:
    """Choose `parts` members of every set with replacement, int64 [P,parts] in [0,size).

    A hash of the set's own pixels, of the part's number and of `seed` decides, so neither the class's id nor the rest
    of the batch matters, and there is no generator whose state could differ.
    """
    first = torch.zeros(len(sets.sample), dtype=torch.int64, device=sets.owner.device)
    code = _mix(sets.cell[:, 0] * 31 + (sets.weight[:, 0] * 4096).long())
    content = first.index_add(0, sets.owner, code)  # a sum: the order of the pixels does not matter
    draws = torch.arange(1, parts + 1, device=content.device) * 0x632BE59B + seed
    numbers = _mix(_mix(content)[:, None] + draws) & ((1 << 40) - 1)
    return numbers % sets.sizes[:, None]


def _mix(x: Tensor) -> Tensor:
    """Scramble int64 (wraps around, the same on every device); the finaliser of SplitMix64."""
    x = x + -7046029254386353131
    x = (x ^ ((x >> 30) & 0x3FFFFFFFF)) * -4658895280553007687
    x = (x ^ ((x >> 27) & 0x1FFFFFFFFF)) * -7723592293110705685
    return x ^ ((x >> 31) & 0x1FFFFFFFF)


@torch.no_grad()
def cluster(features: Tensor, sets: PixelSets, parts: int, iterations: int, seed: int = 0) -> Tensor:
    """Assign every pixel to one of its set's `parts` clusters by k-means, int64 [N].

    Lloyd's rule with Euclidean distance on the raw features, float [B,D,h,w]; an empty cluster's centre is zero.
    """
    table = features.flatten(2).transpose(1, 2)  # [B,hw,D]
    sizes = sets.sizes
    starts = sizes.cumsum(0) - sizes
    chosen = starts[:, None] + first_members(sets, parts, seed)
    assigned = torch.zeros_like(sets.owner)
    for group in _groups(sizes, table.shape[-1]):
        length = int(sizes[group].max())
        places = torch.arange(length, device=sizes.device)
        valid = places < sizes[group, None]  # [G,L]
        index = starts[group, None] + places.minimum(sizes[group, None] - 1)
        points = _values(table, sets, index) * valid[..., None]
        centres = _values(table, sets, chosen[group])
        nearest = _nearest(points, centres)
        for _ in range(iterations):
            one_hot = F.one_hot(nearest, parts).to(points.dtype) * valid[..., None]
            centres = one_hot.transpose(1, 2) @ points / one_hot.sum(1)[..., None].clamp(min=1)
            nearest = _nearest(points, centres)
        assigned[index[valid]] = nearest[valid]
    return assigned


def _values(table: Tensor, sets: PixelSets, index: Tensor) -> Tensor:
    """Interpolated features of pixels given by number; int64 [...] -> float [...,D]."""
    flat = table.flatten(0, 1)
    rows = (sets.sample[sets.owner[index]] * table.shape[1])[..., None] + sets.cell[index]
    weight = sets.weight[index].to(table.dtype)
    return sum((weight[..., i, None] * flat[rows[..., i]] for i in range(1, 4)), weight[..., :1] * flat[rows[..., 0]])


def _nearest(points: Tensor, centres: Tensor) -> Tensor:
    """Index of the nearest centre; float [G,L,D], float [G,K,D] -> int64 [G,L]."""
    return (centres.square().sum(2)[:, None] - 2 * points @ centres.transpose(1, 2)).argmin(2)


def _groups(sizes: Tensor, depth: int) -> list[Tensor]:
    """Put sets of like size together so that padding them to one length stays small and bounded."""
    groups: list[list[int]] = []
    counts, largest = sizes.tolist(), 0
    for index in sizes.argsort(descending=True).tolist():
        if groups and 2 * counts[index] >= largest and (len(groups[-1]) + 1) * largest * depth <= _PADDED:
            groups[-1].append(index)
        else:
            groups.append([index])
            largest = counts[index]
    return [torch.tensor(group, device=sizes.device) for group in groups]


def part_prototypes(
    features: Tensor,
    mask: Tensor,
    rows: int,
    *,
    parts: int = 5,
    iterations: int = 10,
    global_weight: float = 0.8,
    sampling: str = "grid",
    seed: int = 0,
) -> Tensor:
    """Part prototypes q_i = centre_i + lambda g of every id, float [B,rows,parts,D]; zeros for an id without pixels.

    features float [B,D,h,w], mask int64 [B,H,W]; g is the masked average at mask resolution. The gradient does not flow
    through the assignment. A mean of interpolated features is a weighted sum over cells, so no refined map is made.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = features if features.dtype == torch.float64 else features.float()
        batch, depth, h, w = features.shape
        sets = pixel_sets(mask, rows, (h, w), sampling)
        assigned = cluster(features, sets, parts, iterations, seed)
        slot = (sets.sample * rows + sets.channel)[sets.owner] * parts + assigned
        count = torch.bincount(slot, minlength=batch * rows * parts).clamp(min=1)
        share = sets.weight / count[slot, None]
        weights = share.new_zeros(batch * rows * parts * h * w)
        weights = weights.index_add(0, (slot[:, None] * (h * w) + sets.cell).flatten(), share.flatten())
        centres = torch.bmm(weights.view(batch, -1, h * w).to(features.dtype), features.flatten(2).transpose(1, 2))
        whole = pool(features, members(mask, rows), "aligned")
        return centres.view(batch, rows, parts, depth) + global_weight * whole[:, :, None]


def part_scores(features: Tensor, prototypes: Tensor, scale: float = 20.0) -> Tensor:
    """Score of an id: scale times the best cosine among its parts; [B,D,h,w], [B,C,K,D] -> float [B,C,h,w]."""
    batch, ids, parts, _ = prototypes.shape
    maps = cosine_maps(features, prototypes.flatten(1, 2))
    return scale * maps.view(batch, ids, parts, *maps.shape[-2:]).amax(2)


@dataclass(frozen=True)
class PPNetConfig(AlignedConfig):
    """Configuration of PPNet."""

    name: ClassVar[str] = "ppnet"

    parts: int = bounded(5, 1, 64)  # clusters of every class and of the background
    iterations: int = bounded(10, 0, 100)  # of k-means
    global_weight: float = bounded(0.8, 0)  # lambda of the global prototype added to every part
    # the paper's refined grids and its rule for small classes, or every mask pixel
    sampling: Literal["grid", "mask"] = "grid"


class PPNet(AlignedContender):
    """Part-aware prototype network (facts 3), on the shared encoder."""

    Config = PPNetConfig
    config: PPNetConfig

    def prototypes(self, features: Tensor, mask: Tensor) -> Tensor:
        """Part prototypes of features under a mask with this network's settings, float [B,rows,parts,D]."""
        options = {name: getattr(self.config, name) for name in ("parts", "iterations", "global_weight", "sampling")}
        return part_prototypes(features, mask, self.rows, **options, seed=self.seed)

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query; `.fine` float [B,C,H,W], C raw ids or 2, ids that the support does not show masked."""
        batch = self.checked(batch)
        query, support = (self.projection(features) for features in self.encode(batch))
        scores = part_scores(query, self.prototypes(support, self.support_mask(batch)), self.config.scale)
        scores = mask_absent_logits(scores, self.support_classes(batch))
        return self.parsing(scores, batch, query=query, support=support, scores=scores)

    def alignment(self, parsing: Parsing, batch: Episode) -> Tensor:
        """The alignment term, float []; a way that the query's parse at the map's resolution does not hold adds 0.

        Pixels of other classes do not count; the mean runs over the ways the support shows, and over the episodes.
        """
        query, support, scores = (parsing.extras[name] for name in ("query", "support", "scores"))
        parsed = scores.argmax(1)
        mask = self.support_mask(batch)
        held = members(parsed, self.rows).flatten(2).any(2)
        ways = self.support_classes(batch)[:, 1:].sum(1).clamp(min=1)
        sample, channel = present_pairs(held)
        if not len(sample):
            return (query.sum() + support.sum()) * 0.0  # keeps the graph whole
        whole = resize(parsed[:, None].float(), batch.query_image.shape[-2:], "nearest")[:, 0].long()
        maps = part_scores(support, self.prototypes(query, whole), self.config.scale)
        margin = maps[sample, channel] - maps[sample, 0]  # resampling is linear: the difference is all that is needed
        margin = resize(margin[:, None], mask.shape[-2:])[:, 0]
        of = mask[sample]
        wanted = of == channel[:, None, None]
        each = two_way_loss(margin, wanted, wanted | (of == 0))
        return (each / ways[sample]).sum() / len(mask)
