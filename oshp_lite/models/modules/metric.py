"""Comparing pixels with prototypes: similarity maps, the attention guidance and the nearest prototype module.

Sources: journal, sections 4.3.1 (AGM, Eqs. 4 to 7) and 4.3.2 (NPM, Eqs. 8 and 9); AAAI, Eqs. 3 and 4.
"""

from __future__ import annotations

from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.encoders.xception import SeparableUnit
from oshp_lite.models.modules.layers import conv_bn

TrunkKind = Literal["plain2+sep1", "separable", "plain1"]


def cosine_maps(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of every pixel with every prototype (A_c, journal, Eq. 4); a zero prototype gives a map of zeros.

    features float [B,D,h,w], prototypes float [B,C,D] -> float [B,C,h,w] in [-1,1].
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype in (torch.float16, torch.bfloat16):
            features, prototypes = features.float(), prototypes.float()
        pixels = F.normalize(features, dim=1, eps=1e-8)
        return torch.einsum("bcd,bdhw->bchw", F.normalize(prototypes, dim=2, eps=1e-8), pixels)


def attend(features: Tensor, similarity: Tensor, *, residual: bool = True) -> Tensor:
    """Features weighted by a similarity map, plus themselves (R_c, journal, Eq. 5).

    features float [N,D,h,w], similarity float [N,h,w] -> float [N,D,h,w].
    """
    weighted = similarity[:, None].to(features.dtype) * features
    return weighted + features if residual else weighted


class AttentionGuidance(nn.Module):
    """The function phi of the attention guidance module and its 1x1 classifier (journal, Eq. 6).

    float [N,D,h,w] -> float [N,2,h,w]; channel 0 is the class in the fine k-way head, else the background. `kind`:
    "plain2+sep1" (released code: two plain 3x3 convolutions, one separable unit with ReLUs), "separable" (the journal's
    "several separable layers": three such units), "plain1" (ours, for the lite encoder).
    """

    def __init__(self, width: int, kind: TrunkKind = "plain2+sep1") -> None:
        super().__init__()
        if kind == "plain1":
            self.trunk = conv_bn(width, width, relu=True)
        else:
            plain = [nn.Conv2d(width, width, 3, padding=1) for _ in range(2 if kind == "plain2+sep1" else 0)]
            units = [SeparableUnit(width, width, relu=True) for _ in range(1 if plain else 3)]
            self.trunk = nn.Sequential(*plain, *units)
        self.classify = nn.Conv2d(width, 2, 1)

    def forward(self, attended: Tensor) -> Tensor:
        """Score attended features."""
        return cast(Tensor, self.classify(self.trunk(attended)))


def guide_each(
    guidance: AttentionGuidance,
    query: Tensor,
    similarity: Tensor,
    usable: Tensor,
    needed: Tensor,
    *,
    one_by_one: bool = False,
) -> Tensor:
    """Scores of phi for every id: query float [B,D,h,w], similarity float [B,K,h,w] -> float [B,K,2,h,w].

    usable bool [B,K]: ids with a prototype; needed bool [B,K]: ids whose scores matter, the others stay 0. An id
    without a prototype has a zero map, so all of a sample's absent ids share one pass over the plain features. Where
    BatchNorm must see each id's batch apart (released code, in training) the ids are taken `one_by_one`, all of them.
    """
    if one_by_one:
        return _guide_apart(guidance, query, similarity, usable)
    sample, k = (usable & needed).nonzero(as_tuple=True)
    plain = (~usable & needed).any(1).nonzero()[:, 0]
    made = guidance(torch.cat([attend(query[sample], similarity[sample, k]), query[plain]]))
    scores = made.new_zeros(*similarity.shape[:2], *made.shape[1:])
    every = torch.arange(similarity.shape[1], device=query.device)
    absent = made[len(sample) :, None].expand(-1, len(every), -1, -1, -1)
    scores = scores.index_put((plain[:, None], every[None]), absent)
    return scores.index_put((sample, k), made[: len(sample)])


def _guide_apart(guidance: AttentionGuidance, query: Tensor, similarity: Tensor, usable: Tensor) -> Tensor:
    """Scores of phi, float [B,K,2,h,w], as if the ids' batches ran through it one after another.

    Up to the first BatchNorm a sample's result does not depend on its batch: there each attended map is computed once,
    and the plain features, which stand for all absent ids, once. Behind it a batch that occurred before is not
    computed again; it moves the running statistics once more.
    """
    layers = list(guidance.trunk)
    first = next((i for i, layer in enumerate(layers) if not isinstance(layer, nn.Conv2d)), len(layers))
    sample, k = usable.nonzero(as_tuple=True)
    shared = torch.cat([attend(query[sample], similarity[sample, k]), query])
    for layer in layers[:first]:
        shared = layer(shared)
    row = (len(sample) + torch.arange(len(query), device=query.device))[:, None].repeat(1, similarity.shape[1])
    row[sample, k] = torch.arange(len(sample), device=query.device)
    norms = [part for part in guidance.trunk.modules() if isinstance(part, nn.BatchNorm2d) and part.training]
    running = [x for part in norms for x in (part.running_mean, part.running_var) if x is not None]
    momenta = [part.momentum or 0.0 for part in norms for _ in range(2)]
    done: dict[tuple[int, ...], tuple[Tensor, list[Tensor]]] = {}
    scores = []
    for members in map(tuple, row.T.tolist()):
        if members in done:
            for held, step, momentum in zip(running, done[members][1], momenta, strict=True):
                held.data.mul_(1 - momentum).add_(step)  # .data: in training mode no gradient depends on them
        else:
            before = [held.clone() for held in running]
            x = shared[list(members)]
            for layer in layers[first:]:
                x = layer(x)
            pairs = zip(running, before, momenta, strict=True)
            done[members] = guidance.classify(x), [now - (1 - m) * old for now, old, m in pairs]
        scores.append(done[members][0])
    return torch.stack(scores, 1)


class ScalarAffine(nn.Conv2d):
    """A learned a * x + b on single-channel maps (omega, journal, Eq. 9): a 1x1 convolution with one channel."""

    def __init__(self, out_channels: int = 1) -> None:
        super().__init__(1, out_channels, 1)

    def maps(self, x: Tensor) -> Tensor:
        """Apply it to each of the C maps of float [B,C,h,w] on its own (one output channel only)."""
        return x * self.weight.view(()).to(x.dtype) + self.bias.view(()).to(x.dtype)  # type: ignore[union-attr]


def class_mean(maps: Tensor, counted: Tensor) -> Tensor:
    """Mean over the counted classes; maps float [B,K,h,w], counted bool [B,K] -> float [B,1,h,w].

    A sample that counts no class takes the mean over all of them, so that an empty support stays finite.
    """
    counted = counted | ~counted.any(1, keepdim=True)
    share = counted.to(maps.dtype)
    share = share / share.sum(1, keepdim=True)
    return torch.einsum("bk,bkhw->bhw", share, maps)[:, None]


class NearestPrototype(nn.Module):
    """The nearest prototype module: logits straight from the similarity maps (journal, Eqs. 8 and 9).

    similarity float [B,C-1,h,w], counted bool [B,C-1] (ids whose dissimilarity enters the background's mean)
    -> float [B,C,h,w], background first. Not yet multiplied by the scale.
    """

    def __init__(self) -> None:
        super().__init__()
        self.foreground = ScalarAffine()
        self.background = ScalarAffine()
        self.fusion = ScalarAffine()

    def forward(self, similarity: Tensor, counted: Tensor) -> Tensor:
        """Turn similarity maps into logits."""
        background = class_mean(self.background.maps(1 - similarity), counted)
        return torch.cat([self.fusion.maps(background), self.foreground.maps(similarity)], 1)
