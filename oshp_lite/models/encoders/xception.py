"""The papers' embedding network: DeepLab v3+ on the modified aligned Xception, output stride 16, features at stride 4.

Sources: journal, section 4.1 and Table 7 (depth of the embedding); AAAI, section 4; the released checkpoints.
"""

from __future__ import annotations

from typing import Literal, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.layers import BatchNorm, resize

FeatureLevel = Literal["mid", "high", "block20"]

_LOW = 48  # channels kept of the low-level tap
_HIGH = 256  # channels of every branch and of the output


class SeparableUnit(nn.Module):
    """Depthwise 3x3, BatchNorm, pointwise 1x1, BatchNorm; `relu` adds a ReLU after each normalisation.

    float [B,C,H,W] -> [B,C',ceil(H/stride),ceil(W/stride)].
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, relu: bool = False
    ) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(in_channels, in_channels, 3, stride, dilation, dilation, in_channels, bias=False)
        self.depthwise_bn = BatchNorm(in_channels)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)
        self.pointwise_bn = BatchNorm(out_channels)
        self.activation = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Apply the unit."""
        x = self.activation(self.depthwise_bn(self.depthwise(x)))
        return self.activation(self.pointwise_bn(self.pointwise(x)))


class Block(nn.Module):
    """Three separable units with ReLUs between, and a shortcut; float [B,C,H,W] -> [B,C',ceil(H/s),ceil(W/s)].

    `rectify` marks the blocks that open with a ReLU. The original runs that ReLU in place on the block's own input,
    so its shortcut sees the rectified input too: y = f(relu(x)) + shortcut(relu(x)). Released weights depend on it.
    """

    def __init__(
        self, channels: tuple[int, int, int, int], *, stride: int = 1, rectify: bool = True, projected: bool = True
    ) -> None:
        super().__init__()
        first, second, third, last = channels
        self.rectify = rectify
        self.skip = nn.Conv2d(first, last, 1, stride, bias=False) if projected else None
        self.skip_bn = BatchNorm(last) if projected else None
        units = SeparableUnit(first, second), SeparableUnit(second, third), SeparableUnit(third, last, stride=stride)
        self.units = nn.ModuleList(units)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the block's output and the second unit's output (the low-level tap of block 2)."""
        if self.rectify:
            x = F.relu(x)
        shortcut = x if self.skip is None or self.skip_bn is None else self.skip_bn(self.skip(x))
        tap = self.units[1](F.relu(self.units[0](x)))
        return self.units[2](F.relu(tap)) + shortcut, tap


class XceptionBackbone(nn.Module):
    """Stem, blocks 1 to 20 and three closing units; float [B,3,H,W] -> features at stride 16, tap at stride 4."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, 1, bias=False)
        self.bn1 = BatchNorm(32)
        self.conv2 = nn.Conv2d(32, 64, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(64)
        self.block1 = Block((64, 128, 128, 128), stride=2, rectify=False)
        self.block2 = Block((128, 256, 256, 256), stride=2)
        self.block3 = Block((256, 728, 728, 728), stride=2)
        for number in range(4, 20):
            self.add_module(f"block{number}", Block((728, 728, 728, 728), projected=False))
        self.block20 = Block((728, 728, 1024, 1024))
        for number, channels, width in ((3, 1024, 1536), (4, 1536, 1536), (5, 1536, 2048)):
            self.add_module(f"conv{number}", SeparableUnit(channels, width, dilation=2, relu=True))

    def forward(self, image: Tensor, *, to_block20: bool = False) -> tuple[Tensor, Tensor]:
        """Return [B,2048,ceil(H/16),ceil(W/16)] (1024 channels with `to_block20`) and the tap [B,256,ceil(H/4),..]."""
        x = F.relu(self.bn1(self.conv1(image)))
        x = F.relu(self.bn2(self.conv2(x)))
        x, _ = self.block1(x)
        x, tap = self.block2(x)
        x, _ = self.block3(x)
        for number in range(4, 20):
            x, _ = self.get_submodule(f"block{number}")(x)
        x, _ = self.block20(x)
        if not to_block20:
            for number in (3, 4, 5):
                x = self.get_submodule(f"conv{number}")(x)
        return x, tap


class XceptionEncoder(nn.Module):
    """Image to features at stride 4: float [B,3,H,W] -> [B,256,ceil(H/4),ceil(W/4)].

    feature_level  "mid": backbone and 1x1 adaptation (all released checkpoints); "high": with ASPP; "block20": the
                   backbone up to block 20 with an adaptation of its own, the depth the journal's Table 7 most
                   plausibly calls 62 layers.
    all_branches   also hold the modules of the level not used, as the released checkpoints do; they never run and
                   so never receive a gradient. Without it only what runs is built.
    """

    out_channels = _HIGH

    def __init__(self, feature_level: FeatureLevel = "mid", *, all_branches: bool = True) -> None:
        super().__init__()
        if feature_level not in get_args(FeatureLevel):
            raise ValueError(f"feature_level is {feature_level!r}, expected one of {', '.join(get_args(FeatureLevel))}")
        self.feature_level: FeatureLevel = feature_level
        self.backbone = XceptionBackbone()
        if all_branches or feature_level == "high":
            self._add("aspp1", 2048)
            for name, dilation in (("aspp2", 6), ("aspp3", 12), ("aspp4", 18)):
                self.add_module(name, SeparableUnit(2048, _HIGH, dilation=dilation, relu=True))
            self._add("pooled", 2048)
            self._add("concat", 5 * _HIGH)
            self.high_decoder = SeparableUnit(_HIGH + _LOW, _HIGH, relu=True)
        if all_branches or feature_level == "mid":
            self._add("mid_adapt", 2048)
        if feature_level == "block20":
            self._add("block20_adapt", 1024)
            if not all_branches:
                # the backbone's closing units lie behind block 20
                for name in ("conv3", "conv4", "conv5"):
                    delattr(self.backbone, name)
        if all_branches or feature_level != "high":
            self.mid_decoder = SeparableUnit(_HIGH + _LOW, _HIGH, relu=True)
        self._add("low", 256, _LOW)

    def _add(self, name: str, channels: int, width: int = _HIGH) -> None:
        """Add a 1x1 convolution and its BatchNorm."""
        self.add_module(name, nn.Conv2d(channels, width, 1, bias=False))
        self.add_module(f"{name}_bn", BatchNorm(width))

    def _run(self, name: str, x: Tensor) -> Tensor:
        """Apply such a pair and a ReLU."""
        return F.relu(self.get_submodule(f"{name}_bn")(self.get_submodule(name)(x)))

    def _context(self, x: Tensor) -> Tensor:
        """Atrous spatial pyramid: four fields of view and the pooled image, [B,2048,h,w] -> [B,256,h,w]."""
        pooled = resize(self._run("pooled", x.mean((2, 3), keepdim=True)), x.shape[-2:])
        views = [self._run("aspp1", x), *(self.get_submodule(f"aspp{number}")(x) for number in (2, 3, 4)), pooled]
        return self._run("concat", torch.cat(views, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Encode an image batch; see the class for shapes."""
        level = self.feature_level
        x, tap = self.backbone(image, to_block20=level == "block20")
        x = self._context(x) if level == "high" else self._run(f"{level}_adapt", x)
        low = self._run("low", tap)
        decoder = self.high_decoder if level == "high" else self.mid_decoder
        return cast(Tensor, decoder(torch.cat([resize(x, low.shape[-2:]), low], 1)))
