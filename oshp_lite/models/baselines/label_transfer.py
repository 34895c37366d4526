"""Nearest-patch label transfer: each query cell takes the label of the support cells that look most like it.

In neither paper, and nothing is trained: it shows what the trained methods' episodes add to the features they start
from. Label of a cell: the shares of the ids in the support mask below it, background included.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing, evaluating
from oshp_lite.models.baselines.common import Contender, ContenderConfig, members
from oshp_lite.models.baselines.external import load, local_source, standard_rgb
from oshp_lite.models.modules.layers import resize

_ENTRIES = 1 << 24  # similarities held at a time
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


def transfer(
    query: Tensor, support: Tensor, labels: Tensor, usable: Tensor, top_k: int = 1, temperature: float = 0.1
) -> Tensor:
    """Label every query cell by its nearest support cells, float [B,rows,h,w] of shares that sum to 1.

    query float [B,D,h,w], support float [B,D,h',w'], labels float [B,h'w',rows], usable bool [B,h'w']. The `top_k`
    cells of largest cosine vote with weights softmax(cosine / temperature). Without a usable cell it is id 0.
    """
    batch, _, h, w = query.shape
    cells_of = F.normalize(query.flatten(2), dim=1, eps=1e-8).transpose(1, 2)
    known = F.normalize(support.flatten(2), dim=1, eps=1e-8)
    count = min(top_k, known.shape[2])
    labelled = []
    for row in range(batch):
        few = []
        for cells in cells_of[row].split(max(1, _ENTRIES // known.shape[2])):
            cosine = (cells @ known[row]).masked_fill(~usable[row], -torch.inf)
            best, index = cosine.topk(count, dim=1)
            weight = torch.softmax(best / temperature, 1).nan_to_num(0.0)
            few.append(torch.einsum("nk,nkc->nc", weight, labels[row, index].to(weight.dtype)))
        labelled.append(torch.cat(few))
    shares = torch.stack(labelled)
    shares[..., 0] += 1 - shares.sum(2)
    return shares.transpose(1, 2).reshape(batch, -1, h, w)


@dataclass(frozen=True)
class LabelTransferConfig(ContenderConfig):
    """Configuration of label transfer."""

    name: ClassVar[str] = "label_transfer"

    # the project's own "encoder"; "dino", the DINOv2 or DINOv3 model that OSHP_DINO_WEIGHTS names (DINOv2-B without
    # it); else a folder or hub name of one (transformers, local files only)
    source: str = "encoder"
    # map to compare: the "last"; of the encoder a submodule ("context": stride 16 of the lite one), of DINO a layer
    level: str | int = "last"
    # support cells that vote for a query cell, and the temperature of their votes' weights
    top_k: int = bounded(5, 1)
    temperature: float = bounded(0.05, 1e-6)
    centre: bool = True  # subtract the mean feature of both images' cells first
    # longer side at which a DINO model sees an image, and the channel order of the loader's images
    source_size: int = bounded(448, 14)
    channels: Literal["rgb", "bgr"] = "rgb"


class LabelTransfer(Contender):
    """Training-free label transfer on frozen features. Raises UserError for a model that is not there."""

    Config = LabelTransferConfig
    config: LabelTransferConfig
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
        self._external = () if own else (load("AutoModel", _model(source), "label_transfer", _HOW),)
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

    @torch.no_grad()
    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query; `.fine` float [B,C,H,W], logarithms of the votes' shares at the query's size."""
        batch = self.checked(batch)
        query, support = (self.features(image) for image in (batch.query_image, batch.support_image))
        precise = torch.promote_types(query.dtype, torch.float32)  # neighbours differ in the last digits
        query, support = query.to(precise), support.to(precise)
        if self.config.centre:
            cells = torch.cat([query.flatten(2), support.flatten(2)], 2)
            mean = cells.mean(2)[..., None, None]
            query, support = query - mean, support - mean
        labels, usable = cell_labels(self.support_mask(batch), self.rows, (support.shape[-2], support.shape[-1]))
        with torch.autocast(query.device.type, enabled=False):
            shares = transfer(query, support, labels, usable, self.config.top_k, self.config.temperature)
        shares = resize(shares, batch.query_image.shape[-2:], "bilinear")
        return self.parsing(shares.clamp(min=1e-6).log(), batch, present=self.support_classes(batch))
