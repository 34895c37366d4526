"""Fine-tuning: a supervised head, trained on for a few steps on each support photo (Caelles et al. style)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.fields import bounded
from oshp_lite.models.base import ABSENT
from oshp_lite.models.baselines.common import ContenderConfig, RowContender, learning, members, pool
from oshp_lite.models.modules.feature_cache import Recent, digest
from oshp_lite.models.modules.layers import BatchNorm, resize

_Weights = dict[str, Tensor]


@dataclass(frozen=True)
class FineTuningConfig(ContenderConfig):
    """Configuration of fine-tuning; all of it ours."""

    name: ClassVar[str] = "finetune"

    # channels of the two 3x3 convolutions with BatchNorm and ReLU; 0: 64 in the lite variant, else 256
    head_width: int = bounded(0, 0)
    # of the SGD at test, as lr, momentum and decay
    steps: int = bounded(20, 0)
    lr: float = bounded(1e-2, 0)
    momentum: float = bounded(0.9, 0, 1)
    decay: float = bounded(5e-4, 0)
    # an id that training never met starts from its "imprint", the mean head feature of its pixels brought to the mean
    # length of the base rows, or from a "draw" as a new layer would (seeded, so repeatable)
    novel_rows: Literal["imprint", "draw"] = "imprint"
    # give every id of the support photo the same weight in the loss; background dominates it otherwise
    balanced: bool = False


class FineTuning(RowContender):
    """A convolutional classifier; its last layers learn on from the support photo alone, anew for every episode.

    At test the encoder is frozen; copies of the head's two 3x3 convolutions and a fresh 1x1 layer, with a row for
    background and for each id the support shows, take `steps` steps of SGD on the support's full-size cross-entropy
    (BatchNorm in evaluation mode). EOP-Net's journal tunes the same layers on the whole support set of the test phase;
    here each episode has its own support photo and nothing else, which is what one-shot means.
    """

    Config = FineTuningConfig
    config: FineTuningConfig

    def build_head(self) -> None:
        """Make the head."""
        # test lists show the same support photo to many queries; an equal photo under equal weights is tuned on once
        self._tuned = Recent(128 * 2**20)
        width = self.config.head_width or (64 if self.config.encoder == "lite" else 256)
        self.first = nn.Conv2d(self.encoder.out_channels, width, 3, padding=1, bias=False)
        self.first_norm = BatchNorm(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = BatchNorm(width)
        for layer in (self.first, self.second):
            nn.init.kaiming_normal_(layer.weight)
        self.classifier = nn.Conv2d(width, self.n_rows, 1)

    def trunk(self, features: Tensor, weights: _Weights) -> Tensor:
        """The two 3x3 convolutions with given weights: float [B,C,h,w] -> float [B,D,h,w]."""
        hidden = F.relu(self.first_norm(F.conv2d(features, weights["first"], padding=1)))
        return F.relu(self.second_norm(F.conv2d(hidden, weights["second"], padding=1)))

    def row_logits(self, image: Tensor) -> Tensor:
        """Score every row; see RowContender."""
        return cast(Tensor, self.classifier(self.trunk(self.encoder(image), self.convolutions)))

    def adapted(self, batch: Episode, *, restrict: bool | None = None) -> Tensor:
        """Fine-tune on each support, one by one, and score its query; float [B,n_logits,h,w]."""
        query, support = self.encode(batch)
        head, logits = digest(*(v for name, v in self.state_dict().items() if not name.startswith("encoder."))), []
        for b, mask in enumerate(batch.support_mask):
            target = None if self.way == "k" else int(cast(Tensor, batch.class_ids)[b])
            key = digest(head, support[b], mask, target)
            if key in self._tuned:
                channels, *weights = self._tuned[key]
            else:
                with learning():  # tensors made in inference mode may not enter a graph; their clones may
                    ids, made = self.tuned(support[b : b + 1].clone(), mask.clone(), target)
                channels, *weights = self._tuned.keep(key, (torch.tensor(ids, device=mask.device), *made.values()))
            first, second, rows, bias = weights
            with torch.no_grad():
                scores = F.conv2d(self.trunk(query[b : b + 1], {"first": first, "second": second}), rows, bias)
            # rows exist for the ids of this support alone; the other channels are masked afterwards
            whole = scores.new_full((self.n_logits, *scores.shape[-2:]), -torch.inf)
            logits.append(whole.index_copy(0, channels, scores[0]))
        return torch.stack(logits).clamp(min=ABSENT)

    def train(self, mode: bool = True) -> FineTuning:
        """Switch the mode; training forgets what was tuned."""
        if mode:
            self._tuned.clear()
        super().train(mode)
        return self

    def tuned(self, support: Tensor, mask: Tensor, target: int | None = None) -> tuple[list[int], _Weights]:
        """Weights after the steps on one support: support float [1,C,h,w], mask int64 [H,W].

        Returns the channels the rows stand for, background first (1-way: always [0, 1]), and the tensors `first`,
        `second` (the convolutions), `rows` float [1+K,D,1,1] and `bias` float [1+K]. Needs gradients switched on.
        """
        ids = [0, *(int(i) for i in mask.unique() if 0 < i < self.n_ids)] if target is None else [0, 1]
        weights = {name: weight.detach().clone() for name, weight in self.convolutions.items()}
        weights |= self.fresh_rows(support, mask, ids, target)
        if not bool((mask != IGNORE).any()):
            return ids, weights
        label = torch.full_like(mask, IGNORE)
        for row, channel in enumerate(ids):
            label[mask == channel] = row
        each = torch.bincount(label[label != IGNORE], minlength=len(ids)).clamp(min=1)
        share = (1 / each).to(support.dtype) if self.config.balanced else None
        speed = {name: torch.zeros_like(value) for name, value in weights.items()}
        for _ in range(self.config.steps):
            leaves = {name: value.requires_grad_() for name, value in weights.items()}
            scores = F.conv2d(self.trunk(support, leaves), leaves["rows"], leaves["bias"])
            scores = resize(scores, mask.shape, self.resampling)
            loss = F.cross_entropy(scores, label[None], weight=share, ignore_index=IGNORE)
            slopes = torch.autograd.grad(loss, list(leaves.values()))
            with torch.no_grad():
                for (name, value), slope in zip(leaves.items(), slopes, strict=True):
                    speed[name] = self.config.momentum * speed[name] + slope + self.config.decay * value
                    weights[name] = value.detach() - self.config.lr * speed[name]
        return ids, {name: value.detach() for name, value in weights.items()}

    @property
    def convolutions(self) -> _Weights:
        """Weights of the two 3x3 convolutions."""
        return {"first": self.first.weight, "second": self.second.weight}

    @torch.no_grad()
    def fresh_rows(self, support: Tensor, mask: Tensor, ids: list[int], target: int | None) -> _Weights:
        """The new 1x1 layer: rows of background and known ids copied, those of new ids imprinted or drawn."""
        rows, bias = self.classifier.weight.detach(), self.classifier.bias
        assert bias is not None
        raw = ids if target is None else [0, target]
        kept = rows[raw].clone()
        kept_bias = bias.detach()[raw].clone()
        new = torch.tensor([not bool(self.seen[i]) for i in raw], device=rows.device)
        if bool(new.any()):
            base = self.seen.clone()
            base[0] = bool(base.sum() == 1)  # without any base class the background row sets the length
            if self.config.novel_rows == "imprint":
                masks = members(mask[None], self.n_ids)[:, ids]
                means = pool(self.trunk(support, self.convolutions), masks, self.resampling)[0]
                length = rows[base].flatten(1).norm(dim=1).mean()
                made = F.normalize(means, dim=1, eps=1e-8) * length
            else:
                bound = rows.shape[1] ** -0.5
                draw = torch.Generator().manual_seed(self.seed)
                made = (torch.rand(len(ids), rows.shape[1], generator=draw) * 2 - 1).to(rows) * bound
            kept[new] = made.to(kept.dtype)[new][..., None, None]
            kept_bias[new] = bias.detach()[base].mean()
        return {"rows": kept, "bias": kept_bias}
