"""The few building blocks every network of this package is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation (eps 1e-5, momentum 0.1) whose batch counter stays as it is.

    The released checkpoints carry counters that were never advanced; leaving ours alone keeps a trained state
    comparable with an official one entry by entry. Input and output: float [B,C,H,W].
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise with batch statistics in training, with running ones otherwise."""
        mean, variance, momentum = self.running_mean, self.running_var, self.momentum or 0.0
        return F.batch_norm(input, mean, variance, self.weight, self.bias, self.training, momentum, self.eps)


Resampling = Literal["aligned", "bilinear", "nearest"]


def resize(x: Tensor, size: Sequence[int], mode: Resampling = "aligned") -> Tensor:
    """Resample float [B,C,h,w] to [B,C,*size]: bilinear with aligned corners (the papers' code) or not, or nearest."""
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    kind, corners = ("nearest", None) if mode == "nearest" else ("bilinear", mode == "aligned")
    return F.interpolate(x, size=tuple(size), mode=kind, align_corners=corners)


def conv_bn(
    in_channels: int, out_channels: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, relu: bool = False
) -> nn.Sequential:
    """Plain convolution without bias, then BatchNorm, and a ReLU with `relu`; padding keeps ceil(size / stride)."""
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(in_channels, out_channels, kernel, stride, padding, dilation, bias=False)
    return nn.Sequential(conv, BatchNorm(out_channels), *[nn.ReLU(inplace=True)] * relu)
