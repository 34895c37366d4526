"""The attention and the parsing branch, and what they learn from. Source: sections 3.1 and 3.2, Table 5."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.labels import BACKGROUND, IGNORE
from oshp_lite.models.instance.align import pool_all, pool_single
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.modules.losses import pixel_loss


def crop_targets(classes: Tensor, persons: Tensor, boxes: Tensor, ids: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """What is to be seen in boxes of one image, by nearest neighbour: this person's mask and its parts.

    classes, persons int64 [H,W]; boxes float [N,4] with the person ids int64 [N] -> mask and parts int64 [N,size,size].
    Other people are background in both. Where classes or persons are 255, both are 255.
    """
    steps = (torch.arange(size, device=boxes.device, dtype=boxes.dtype) + 0.5) / size
    places = boxes[:, None, :2] + steps[None, :, None] * (boxes[:, None, 2:] - boxes[:, None, :2])
    height, width = classes.shape
    across, down = (places[..., axis].floor().long().clamp(0, extent - 1) for axis, extent in ((0, width), (1, height)))
    at = down[:, :, None], across[:, None, :]
    mine = persons[at] == ids[:, None, None]
    unknown = (classes[at] == IGNORE) | (persons[at] == IGNORE)
    parts = torch.where(mine, classes[at], BACKGROUND)
    return mine.long().masked_fill(unknown, IGNORE), parts.masked_fill(unknown, IGNORE)


class AttentionHead(nn.Module):
    """The mask of the one person a box is about: RoIAlign, convolutions, a 1x1 convolution, doubled to twice the size.

    Boxes float [N,4] -> logits float [N,1,2a,2a], a = `attention_size`.
    """

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__()
        self.config, width = config, config.pyramid
        layers: list[nn.Module] = []
        for _ in range(config.convs):
            layers += [nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True)]
        self.convs = nn.Sequential(*layers)
        self.score = nn.Conv2d(width, 1, 1)

    def forward(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """Logits of the images' boxes in order."""
        config = self.config
        pooled = pool_single(levels[:4], boxes, config.attention_size, config.canonical, config.samples)
        return F.interpolate(self.score(self.convs(pooled)), scale_factor=2, mode="bilinear")

    @staticmethod
    def loss(logits: Tensor, mask: Tensor) -> Tensor:
        """Mean binary cross-entropy over the cells that are not 255; mask int64 [N,2a,2a] -> float []."""
        counted = mask != IGNORE
        total = F.binary_cross_entropy_with_logits(
            logits[:, 0].float(), mask.clamp(max=1).to(torch.float32), counted.to(torch.float32), reduction="sum"
        )
        return total / counted.sum().clamp(min=1)


class ParsingHead(nn.Module):
    """The parts of the one person a box is about; the attention map joins in as `join` says (Table 5).

    Through the map the attention branch also learns from the parsing loss (the paper does not say; ours).
    Boxes float [N,4] and attention float [N,1,p,p] in [0,1] -> logits float [N,K,2p,2p], p = `parsing_size`.
    """

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__()
        self.config, width = config, config.pyramid

        def conv(inside: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(inside, width, 3, padding=1), nn.GroupNorm(config.groups, width), nn.ReLU(inplace=True)
            )

        first = 4 if config.fusion == "conv_max" else 1
        self.first = nn.ModuleList(conv(width) for _ in range(first))
        self.convs = nn.ModuleList(conv(width) for _ in range(config.convs - 1))
        self.transform = conv(width + 1) if config.join == "concat_after_conv4_trans" else nn.Identity()
        self.classes = nn.Conv2d(width + (config.join == "concat_after_conv4"), config.n_ids, 1)

    def pooled(self, levels: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        """The features behind the first convolution, by `fusion`: float [N,C,p,p]."""
        config = self.config
        if config.fusion == "single":
            own = pool_single(levels[:4], boxes, config.parsing_size, config.canonical, config.samples)
            return self._first(0, own)
        every = pool_all(levels[:4], boxes, config.parsing_size, config.samples)
        if config.fusion == "conv_max":
            every = [self._first(number, one) for number, one in enumerate(every)]
        best = torch.stack(every).amax(0)
        return best if config.fusion == "conv_max" else self._first(0, best)

    def _first(self, number: int, features: Tensor) -> Tensor:
        out: Tensor = self.first[number](features)
        return out

    def forward(self, levels: Sequence[Tensor], boxes: Sequence[Tensor], attention: Tensor | None) -> Tensor:
        """Logits of the images' boxes in order; `attention` is None with the join "none"."""
        join = self.config.join
        features = self.pooled(levels, boxes)
        for number, conv in enumerate(self.convs, 2):
            features = conv(features)
            if attention is not None and join == f"dot_after_conv{number}_sum":
                features = features * attention + features
        if attention is not None and join.startswith("concat"):
            features = self.transform(torch.cat([features, attention], 1))
        return F.interpolate(self.classes(features), scale_factor=2, mode="bilinear")

    @staticmethod
    def loss(logits: Tensor, parts: Tensor) -> Tensor:
        """Mean cross-entropy over the cells that are not 255; parts int64 [N,2p,2p] -> float []."""
        return pixel_loss(logits, parts)
