"""Backbones with features at several strides: our lite encoder, and the paper's ResNet-50 and ResNet-101."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.sst.config import SSTConfig

DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


class LitePyramid(LiteEncoder):
    """The lite encoder, read at strides 4, 8 and 16.

    Its state is the lite encoder's, so that what it learns over several domains can start a one-shot method. The maps
    at 4 and 8 are those of its decoder half: every weight of it learns.
    """

    def __init__(self, width: int, channels: tuple[int, int, int, int], depth: int) -> None:
        super().__init__(width, channels, depth)
        self.widths = (width, channels[2], channels[3])

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """Image float [B,3,H,W] -> float [B,C,ceil(H/s),ceil(W/s)] at strides s = 4, 8 and 16."""
        at4 = self.stage4(self.stem(image))
        at8 = self.stage8(at4)
        at16: Tensor = self.context(self.stage16(at8))
        up8 = self.decode8(F.relu(self.lateral8(at8) + resize(self.from16(at16), at8.shape[-2:])))
        up4 = self.decode4(F.relu(self.lateral4(at4) + resize(self.from8(up8), at4.shape[-2:])))
        return [up4, up8, at16]


class ResNetPyramid(nn.Module):
    """A ResNet of bottlenecks at strides 4, 8, 16 and 32, by transformers; made without weights (section 4.1)."""

    def __init__(self, name: str) -> None:
        super().__init__()
        from oshp_lite.models.baselines.external import IMAGENET, transformers

        package = transformers(f"the backbone {name}")
        stages = [f"stage{number}" for number in range(1, 5)]
        self.body = package.ResNetBackbone(package.ResNetConfig(depths=DEPTHS[name], out_features=stages))
        self.widths = tuple(self.body.channels)
        self.mean, self.deviation = IMAGENET

    def pyramid(self, image: Tensor) -> list[Tensor]:
        """RGB image float [B,3,H,W] in [-1,1] -> float [B,C,ceil(H/s),ceil(W/s)] at strides s = 4, 8, 16 and 32."""
        mean, deviation = (image.new_tensor(values)[:, None, None] for values in (self.mean, self.deviation))
        return list(self.body((image * 0.5 + 0.5 - mean) / deviation).feature_maps)

    def load(self, state: Mapping[str, Tensor], path: Path | str) -> int:
        """Take the weights of a transformers ResNet file; returns how many tensors. UserError when they do not fit."""
        given = {name.removeprefix("resnet."): value for name, value in state.items()}
        own = self.body.state_dict()
        wrong = [name for name, value in own.items() if name not in given or given[name].shape != value.shape]
        if wrong:
            raise UserError(
                f"{path} does not hold this backbone ({wrong[0]} is missing or differs); give the model.safetensors of "
                "a transformers ResNet of this depth, such as microsoft/resnet-50"
            )
        self.body.load_state_dict({name: given[name] for name in own})
        return len(own)


def build_backbone(config: SSTConfig) -> LitePyramid | ResNetPyramid:
    """Build the backbone; `.widths` are its channels from stride 4 on. UserError where transformers is lacking."""
    if config.backbone == "lite":
        return LitePyramid(config.width, config.lite_channels, config.lite_depth)
    return ResNetPyramid(config.backbone)


def freeze_norms(module: nn.Module) -> None:
    """Fix every BatchNorm, statistics, scale and shift: batches of 4 say too little (facts A.9-18)."""
    norms: list[Any] = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    for norm in norms:
        norm.eval().requires_grad_(False)
