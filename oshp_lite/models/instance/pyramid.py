"""Backbones and the feature pyramid at strides 4 to 32 (and 64 for proposals). Source: section 3.2; Lin et al. 2017."""

from __future__ import annotations

from typing import cast

import safetensors
import safetensors.torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.files import cannot_read
from oshp_lite.models.encoders.lite import LiteEncoder, ResidualBlock
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.sst.backbone import ResNetPyramid, freeze_norms


class LiteTrunk(LiteEncoder):
    """The stages of the lite encoder without its decoder, under the same names, so that trained ones fit.

    float [B,3,H,W] -> maps at strides 4, 8 and 16.
    """

    def __init__(self, width: int, channels: tuple[int, int, int, int], depth: int) -> None:
        super().__init__(width, channels, depth)
        for name in ("lateral8", "from16", "decode8", "lateral4", "from8", "decode4"):
            delattr(self, name)
        self.widths = channels[1:]

    def forward(self, image: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Return the three maps."""
        at4 = self.stage4(self.stem(image))
        at8 = self.stage8(at4)
        return [at4, at8, self.context(self.stage16(at8))]


class ResNetTrunk(ResNetPyramid):
    """ResNet-101: float [B,3,H,W] in [-1,1] -> maps at strides 4, 8, 16 and 32.

    `weights`: the model.safetensors of a transformers ResNet-101, or "" for random ones. Loaded weights keep their
    normalisation as it is, since a GPU sees one photo at a time.
    """

    def __init__(self, weights: str = "") -> None:
        super().__init__("resnet101")
        self.frozen = bool(weights)
        if weights:
            try:
                state = safetensors.torch.load_file(weights)
            except (OSError, safetensors.SafetensorError) as error:
                raise cannot_read(weights, error, "trunk_weights") from None
            self.load(state, weights)
            freeze_norms(self)

    def train(self, mode: bool = True) -> ResNetTrunk:
        """Leave the statistics of loaded weights alone."""
        super().train(mode)
        if self.frozen:
            freeze_norms(self)
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the four maps."""
        return self.pyramid(image)


class Pyramid(nn.Module):
    """Backbone with lateral 1x1 convolutions, nearest doubling from above, and a 3x3 convolution a level.

    float [B,3,H,W] -> list of [B,pyramid,ceil(H/s),ceil(W/s)] for s = 4, 8, 16, 32 (and 64 with the extra level). The
    lite encoder ends at stride 16; one residual block makes its stride 32.
    """

    def __init__(self, config: InstanceConfig) -> None:
        super().__init__()
        self.encoder: LiteTrunk | ResNetTrunk
        self.stage32: nn.Module = nn.Identity()
        if config.trunk == "lite":
            self.encoder = LiteTrunk(config.width, config.lite_channels, config.lite_depth)
            last = self.encoder.widths[-1]
            self.stage32, widths = ResidualBlock(last, last, stride=2), (*self.encoder.widths, last)
        else:
            self.encoder = ResNetTrunk(config.trunk_weights)
            widths = self.encoder.widths
        self.extra = config.extra_level
        self.laterals = nn.ModuleList(nn.Conv2d(width, config.pyramid, 1) for width in widths)
        self.smooth = nn.ModuleList(nn.Conv2d(config.pyramid, config.pyramid, 3, padding=1) for _ in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the levels, the finest first."""
        maps = self.encoder(image)
        if len(maps) == 3:
            maps.append(self.stage32(maps[-1]))
        levels: list[Tensor] = []
        for at in reversed(range(4)):
            level = self.laterals[at](maps[at])
            levels.append(level + resize(levels[-1], level.shape[-2:], "nearest") if levels else level)
        outputs = [cast(Tensor, self.smooth[at](levels[3 - at])) for at in range(4)]
        return [*outputs, F.max_pool2d(outputs[-1], 1, 2)] if self.extra else outputs
