"""Frozen features for methods without a training of their own: of the project's encoder, or of a DINO model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import evaluating
from oshp_lite.models.baselines.common import Contender, ContenderConfig, members
from oshp_lite.models.baselines.external import load, local_source, standard_rgb

VARIABLE = "OSHP_DINO_WEIGHTS"  # names the folder or hub name of the model that `source="dino"` takes
HUB_NAME = "facebook/dinov2-base"
_HOW = (
    f"pip install 'oshp-lite[sam]', then name a folder with config.json and model.safetensors of a DINOv2 or DINOv3 "
    f"model in {VARIABLE} or as source, or fetch one into the local cache (hf download {HUB_NAME}; DINOv3 asks you to "
    "accept its licence)"
)


def _model(source: str) -> str:
    return os.environ.get(VARIABLE) or HUB_NAME if source == "dino" else source


def cell_labels(mask: Tensor, rows: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Soft labels of the cells of an h x w map under int64 masks [B,H,W], 255 left out.

    Returns the shares of the ids float [B,hw,rows], summing to 1, and which cells have any label at all, bool [B,hw].
    """
    shares = F.adaptive_avg_pool2d(members(mask, rows).float(), size).flatten(2).transpose(1, 2)
    total = shares.sum(2, keepdim=True)
    return shares / total.clamp(min=1e-6), total[..., 0] > 1e-6


@dataclass(frozen=True)
class FrozenConfig(ContenderConfig):
    """Configuration of a contender on frozen features."""

    # the project's own "encoder"; "dino", the DINOv2 or DINOv3 model that OSHP_DINO_WEIGHTS names (DINOv2-B without
    # it); else a folder or hub name of one (transformers, local files only)
    source: str = "encoder"
    # map to compare: the "last"; of the encoder a submodule ("context": stride 16 of the lite one), of DINO a layer
    level: str | int = "last"
    # longer side at which a DINO model sees an image, and the channel order of the loader's images
    source_size: int = bounded(448, 14)
    channels: Literal["rgb", "bgr"] = "rgb"


class FrozenContender(Contender):
    """Base of the training-free methods on frozen features. Raises UserError for a model that is not there."""

    config: FrozenConfig
    trainable = False

    @classmethod
    def lacking(cls, options: Mapping[str, Any]) -> str:
        """Why these options cannot run here, beginning "needs DINO weights", or "" when they can."""
        source = options.get("source", "encoder")
        if source == "encoder" or (find_spec("transformers") is not None and local_source(_model(source)) is not None):
            return ""
        return f"needs DINO weights: {_HOW}"

    def build_head(self) -> None:
        """Load the external model, if one is the source."""
        source, self.level = self.config.source, str(self.config.level)
        own = source == "encoder"
        # in a tuple, since a submodule's weights would enter the network's state
        self._external = () if own else (load("AutoModel", _model(source), self.Config.name, _HOW),)
        if own and self.level not in {"last", *(name for name, _ in self.encoder.named_modules())}:
            parts = ", ".join(name for name, _ in self.encoder.named_children())
            raise UserError(f"model option level is {self.level!r}; choose last or a part of the encoder: {parts}")

    @torch.no_grad()
    def features(self, image: Tensor) -> Tensor:
        """The map that is compared, float [B,D,h,w], of images float [B,3,H,W]."""
        if self._external:
            return self._tokens(image, self._external[0].to(image.device))
        with evaluating(self):
            return self.tapped(image, *([] if self.level == "last" else [self.level]))[-1]

    def _tokens(self, image: Tensor, model: Any) -> Tensor:
        """Patch tokens of a DINO model as a map."""
        patch = int(model.config.patch_size)
        ratio = self.config.source_size / max(image.shape[-2:])
        h, w = (max(1, round(side * ratio / patch)) for side in image.shape[-2:])
        pixels = F.interpolate(
            standard_rgb(image, self.config.channels), size=(h * patch, w * patch), mode="bicubic", antialias=True
        )
        if self.level == "last":
            tokens = model(pixel_values=pixels).last_hidden_state
        else:
            layers = model(pixel_values=pixels, output_hidden_states=True).hidden_states
            if not self.level.isdigit() or int(self.level) >= len(layers):
                raise UserError(f"model option level is {self.level!r}; choose last or a layer 0..{len(layers) - 1}")
            tokens = layers[int(self.level)]
        return tokens[:, -h * w :].transpose(1, 2).reshape(len(image), -1, h, w).to(image.dtype)
