"""Class prototypes: masked average pooling and the bank that smooths them over training (journal, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WarmupRule = Literal["overwrite", "average", "untouched"]


def shrink_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Resize int64 masks [B,H,W] to [B,*size] by legacy nearest neighbour (source index floor(i * in / out)).

    For a stride of 4 this picks the top-left pixel of every 4x4 cell, so small parts can vanish.
    """
    if tuple(mask.shape[-2:]) == tuple(size):
        return mask
    return F.interpolate(mask[:, None].float(), size=tuple(size), mode="nearest")[:, 0].long()


def present_ids(mask: Tensor, n_ids: int) -> Tensor:
    """Which ids occur in int64 masks [B,h,w]: bool [B,n_ids]; 255 and other values outside the range do not count."""
    flat = mask.flatten(1)
    slots = torch.where((flat >= 0) & (flat < n_ids), flat, n_ids)
    present = torch.zeros(mask.shape[0], n_ids + 1, dtype=torch.bool, device=mask.device)
    return present.scatter_(1, slots, torch.ones_like(slots, dtype=torch.bool))[:, :n_ids]


def masked_average(features: Tensor, mask: Tensor, n_ids: int) -> Tensor:
    """Mean feature of every id, masked average pooling (journal, Eqs. 1 and 2).

    features float [B,D,h,w], mask int64 [B,H,W] (shrunk to h x w when larger; 255 is ignored) -> float [B,n_ids,D].
    An id that does not occur gets exactly zero.
    """
    mask = shrink_mask(mask, features.shape[-2:])
    ids = torch.arange(n_ids, device=mask.device)
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        member = (mask.flatten(1)[:, None] == ids[:, None]).to(features.dtype)
        count = member.sum(2, keepdim=True).clamp(min=1)
        # the weights are divided before the product, so that one entry's sum is a mean of bounded terms
        return torch.bmm(member / count, features.flatten(2).transpose(1, 2))


def smooth_prototypes(static: Tensor, bank: Tensor, momentum: float) -> tuple[Tensor, Tensor]:
    """Momentum-updated prototypes of a batch and the bank behind them (journal, Eq. 3), samples taken in order.

    static float [B,C,D], bank float [C,D] -> used [B,C,D], bank after the batch [C,D]. Sample b meets the bank as
    samples 0..b-1 left it: bank <- momentum * bank + (1 - momentum) * static. An empty row (sum of entries zero) copies
    the first static prototype instead; an absent prototype is used as zero and leaves its row alone. A gradient reaches
    `used` only through the sample's own static prototype. The recurrence is linear: one weighted sum over the samples.
    """
    seen = (static.sum(-1) != 0).T  # [C,B]
    taken = seen.cumsum(1)  # how many samples a row has taken in after sample b
    empty = (bank.sum(-1) == 0)[:, None]
    power = torch.full((), momentum, dtype=static.dtype, device=static.device).pow
    # masked_fill, not where: two plain numbers would be chosen between in float32, whatever the prototypes' type
    gain = torch.full_like(taken, 1 - momentum, dtype=static.dtype).masked_fill(empty & (taken == 1), 1.0) * seen
    age = taken[:, :, None] - taken[:, None, :]  # [C,b,j]: updates between sample j and sample b
    weight = torch.tril(gain[:, None] * power(age.clamp(min=0)))
    left = torch.where(empty, (taken == 0).to(static.dtype), power(taken))  # what remains of the bank itself
    fixed = static.detach()
    stored = left[..., None] * bank.detach()[:, None] + weight @ fixed.transpose(0, 1)  # [C,B,D]
    used = stored.transpose(0, 1) + gain.T[..., None] * (static - fixed)
    return used * seen.T[..., None], stored[:, -1]


def last_seen(static: Tensor, bank: Tensor) -> Tensor:
    """Overwrite every bank row by the batch's last non-zero static prototype; [B,C,D], [C,D] -> [C,D]."""
    order = torch.arange(1, static.shape[0] + 1, device=static.device)
    newest = ((static.sum(-1) != 0) * order[:, None]).amax(0)  # [C], 0 where no sample has the id
    rows = static.detach()[(newest - 1).clamp(min=0), torch.arange(static.shape[1], device=static.device)]
    return torch.where((newest > 0)[:, None], rows, bank)


class PrototypeBank(nn.Module):
    """The stored prototypes of one metric space: `rows` float [n_ids,D], zero at start, saved but never optimised.

    momentum: share of the old value that an update keeps (alpha, journal, Eq. 3). warmup: with static prototypes an
    update overwrites the row by the newest one (the released code), averages it in as later, or leaves it untouched.
    """

    def __init__(self, n_ids: int, width: int, *, momentum: float = 0.999, warmup: WarmupRule = "overwrite") -> None:
        super().__init__()
        self.rows = nn.Parameter(torch.zeros(n_ids, width), requires_grad=False)
        self.momentum = momentum
        self.warmup: WarmupRule = warmup

    def forward(self, static: Tensor, *, use_static: bool) -> Tensor:
        """Return the prototypes to compare with, float [B,n_ids,D]; in training mode the rows are updated too.

        Outside training nothing is written and every sample meets the same bank.
        """
        static = static.to(self.rows.dtype)
        static = static * (static.sum(-1) != 0)[..., None]  # a sum of exactly zero counts as absent, as released
        if not self.training:
            return static if use_static else self._blend(static)
        if not use_static:
            used, rows = smooth_prototypes(static, self.rows, self.momentum)
        elif self.warmup == "average":
            used, (_, rows) = static, smooth_prototypes(static, self.rows, self.momentum)
        else:
            used, rows = static, last_seen(static, self.rows) if self.warmup == "overwrite" else self.rows
        with torch.no_grad():
            self.rows.copy_(rows)
        return used

    def row(self, mean: Tensor, index: Tensor, *, use_static: bool) -> Tensor:
        """The same for one id of each sample: static prototypes float [B,D] of ids int64 [B] -> float [B,1,D]."""
        own = F.one_hot(index, len(self.rows)).to(mean.dtype)
        rows = self(own[..., None] * mean[:, None], use_static=use_static)
        return cast(Tensor, rows[torch.arange(len(index), device=index.device), index][:, None])

    def _blend(self, static: Tensor) -> Tensor:
        bank = self.rows.detach()
        mixed = torch.where((bank.sum(-1) == 0)[:, None], static, self.momentum * bank + (1 - self.momentum) * static)
        return mixed * (static.sum(-1) != 0)[..., None]
