"""A small encoder that trains in minutes on a CPU, with the contract of the papers' encoder."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.layers import conv_bn, resize


class ResidualBlock(nn.Module):
    """Two plain 3x3 convolutions around an identity (or projected) shortcut.

    float [B,C,H,W] -> [B,C',ceil(H/stride),ceil(W/stride)].
    """

    def __init__(self, in_channels: int, out_channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.first = conv_bn(in_channels, out_channels, stride=stride, relu=True)
        self.second = conv_bn(out_channels, out_channels)
        same = in_channels == out_channels and stride == 1
        self.shortcut = nn.Identity() if same else conv_bn(in_channels, out_channels, kernel=1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return relu(f(x) + shortcut(x))."""
        return F.relu(self.second(self.first(x)) + self.shortcut(x))


class Context(nn.Module):
    """What the whole image says, added to every cell: a pooled branch and one dilated convolution.

    float [B,C,h,w] -> the same shape. The pooled branch has no batch normalisation, so a batch of one can train.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pooled = nn.Conv2d(channels, channels, 1)
        self.wide = conv_bn(channels, channels, dilation=2, relu=True)

    def forward(self, x: Tensor) -> Tensor:
        """Return x plus its wide-field and whole-image views."""
        return x + self.wide(x) + F.relu(self.pooled(x.mean((2, 3), keepdim=True)))


class LiteEncoder(nn.Module):
    """Residual encoder-decoder of plain 3x3 convolutions, about 1.4 M parameters. Ours, not the papers'.

    float [B,3,H,W] -> [B,width,ceil(H/4),ceil(W/4)]. Encoder to stride 16, context there, decoder back to stride 4
    with lateral connections. Plain convolutions because depthwise ones have a slow backward pass on CPUs.
    `channels` are those at strides 2, 4, 8 and 16, `depth` is the number of residual blocks at stride 16.
    """

    def __init__(
        self, width: int = 64, channels: tuple[int, int, int, int] = (24, 48, 96, 144), depth: int = 2
    ) -> None:
        super().__init__()
        c2, c4, c8, c16 = channels
        self.out_channels = width
        self.stem = conv_bn(3, c2, stride=2, relu=True)
        self.stage4 = nn.Sequential(ResidualBlock(c2, c4, stride=2))
        self.stage8 = nn.Sequential(ResidualBlock(c4, c8, stride=2), ResidualBlock(c8, c8))
        deeper = [ResidualBlock(c16, c16) for _ in range(depth - 1)]
        self.stage16 = nn.Sequential(ResidualBlock(c8, c16, stride=2), *deeper)
        self.context = Context(c16)
        self.lateral8 = conv_bn(c8, c8, kernel=1)
        self.from16 = conv_bn(c16, c8, kernel=1)
        self.decode8 = conv_bn(c8, c8, relu=True)
        self.lateral4 = conv_bn(c4, width, kernel=1)
        self.from8 = conv_bn(c8, width, kernel=1)
        self.decode4 = nn.Sequential(*(conv_bn(width, width, relu=True) for _ in range(2)))

    def forward(self, image: Tensor) -> Tensor:
        """Encode an image batch; see the class for shapes."""
        at4 = self.stage4(self.stem(image))
        at8 = self.stage8(at4)
        at16 = self.context(self.stage16(at8))
        up8 = self.decode8(F.relu(self.lateral8(at8) + resize(self.from16(at16), at8.shape[-2:])))
        return cast(Tensor, self.decode4(F.relu(self.lateral4(at4) + resize(self.from8(up8), at4.shape[-2:]))))
