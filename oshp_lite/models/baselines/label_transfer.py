"""Nearest-patch label transfer: each query cell takes the label of the support cells that look most like it.

In neither paper, and nothing is trained: it shows what the trained methods' episodes add to the features they start
from. Label of a cell: the shares of the ids in the support mask below it, background included.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import Parsing
from oshp_lite.models.baselines.frozen import FrozenConfig, FrozenContender, cell_labels
from oshp_lite.models.modules.layers import resize

_ENTRIES = 1 << 24  # similarities held at a time


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
class LabelTransferConfig(FrozenConfig):
    """Configuration of label transfer."""

    name: ClassVar[str] = "label_transfer"

    # support cells that vote for a query cell, and the temperature of their votes' weights
    top_k: int = bounded(5, 1)
    temperature: float = bounded(0.05, 1e-6)
    centre: bool = True  # subtract the mean feature of both images' cells first


class LabelTransfer(FrozenContender):
    """Training-free label transfer on frozen features."""

    Config = LabelTransferConfig
    config: LabelTransferConfig

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
