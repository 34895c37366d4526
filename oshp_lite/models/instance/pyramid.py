"""Backbones and the feature pyramid at strides 4 to 32 (and 64 for proposals). Source: section 3.2; Lin et al. 2017."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.encoders.lite import LiteEncoder, ResidualBlock
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.modules.layers import resize


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


class ResNetTrunk(nn.Module):
    """ResNet-101 of the library transformers: float [B,3,H,W] in [-1,1] -> maps at strides 4, 8, 16 and 32.

    `weights`: a local folder as the library saves them; random without. With weights the normalisation keeps their
    statistics, as is usual with one photo a GPU. `depths` other than ResNet-101's make smaller ones.
    """

    widths = (256, 512, 1024, 2048)
    mean: Tensor
    deviation: Tensor

    def __init__(self, weights: str = "", depths: Sequence[int] = (3, 4, 23, 3)) -> None:
        super().__init__()
        try:
            from transformers import ResNetBackbone, ResNetConfig
        except ImportError:
            raise UserError("trunk resnet101 needs the library transformers; pip install transformers") from None
        stages = [f"stage{number}" for number in (1, 2, 3, 4)]
        self.net: Any
        if weights:
            try:
                self.net = ResNetBackbone.from_pretrained(weights, out_features=stages, local_files_only=True)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"trunk_weights {weights} holds no ResNet ({error}); name a saved model's folder"
                ) from None
        else:
            shape = ResNetConfig(depths=list(depths), hidden_sizes=list(self.widths), out_features=stages)
            self.net = ResNetBackbone(shape)
        self.frozen = bool(weights)
        for name, values in (("mean", (0.485, 0.456, 0.406)), ("deviation", (0.229, 0.224, 0.225))):
            self.register_buffer(name, torch.tensor(values)[:, None, None], persistent=False)

    def train(self, mode: bool = True) -> ResNetTrunk:
        """Leave the statistics of loaded weights alone."""
        super().train(mode)
        for part in self.net.modules() if self.frozen else ():
            if isinstance(part, nn.BatchNorm2d):
                part.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Return the four maps."""
        return list(self.net((image / 2 + 0.5 - self.mean) / self.deviation).feature_maps)


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
