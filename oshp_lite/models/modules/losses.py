"""The terms of the training objective (journal, sections 4.3.3 and 4.4, Eqs. 10 to 13)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE
from oshp_lite.models.modules.prototypes import masked_average, present_ids


def restrict_target(label: Tensor, support: Tensor, n_ids: int) -> Tensor:
    """Merge every id that the support does not show into the background; 255 stays.

    label int64 [B,H,W], support int64 [B,h,w] (the shrunk or the full support mask) -> int64 [B,H,W].
    """
    known = present_ids(support, n_ids)
    known = torch.cat([known, known.new_zeros(known.shape[0], IGNORE + 1 - n_ids)], 1)
    known[:, IGNORE] = True
    kept = known.gather(1, label.flatten(1)).view_as(label)
    return torch.where(kept, label, 0)


def pixel_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy over the pixels that are not 255; logits float [B,C,H,W], target int64 [B,H,W] -> float [].

    Zero when every pixel is 255 (the plain mean would be 0 / 0).
    """
    total = F.cross_entropy(
        logits.float() if logits.dtype != torch.float64 else logits, target, ignore_index=IGNORE, reduction="sum"
    )
    return total / (target != IGNORE).sum().clamp(min=1)


def shift_weights(progress: float) -> tuple[float, float]:
    """Weights of the AGM and of the NPM term at progress = epoch / epochs: (beta, 1 - beta), beta = 1 - progress.

    Source: journal, Eq. 10 and section 4.3.3. The NPM has no weight in the first epoch.
    """
    beta = 1.0 - float(progress)
    return beta, 1.0 - beta


def contrast_prototypes(
    features: Tensor, mask: Tensor, foreground: Tensor, n_ids: int, *, background: bool = True
) -> Tensor:
    """Static fine-space prototypes of one image of each episode for the contrastive term, float [B,n_ids,D].

    Row 0 is pooled over the coarse mask's background, which leaves novel and dropped garments out of it
    (`background=False`: row 0 stays zero). features float [B,D,h,w]; mask, foreground int64 [B,H,W].
    """
    rows = masked_average(features, mask, n_ids)
    scene = masked_average(features, foreground, 1)
    return torch.cat([scene if background else torch.zeros_like(scene), rows[:, 1:]], 1)


def prototype_contrast(query: Tensor, support: Tensor, temperature: float = 0.1, *, both_sides: bool = False) -> Tensor:
    """Contrast of query against support prototypes (journal, Eq. 12), mean over the batch; float [B,C,D] x2 -> [].

    A row exists when the sum of its entries is not zero. Each query row i is classified among the support's rows by
    cosine / temperature; a row missing in the support adds 0 but counts in the mean (released code). With
    `both_sides` the mean runs over the rows both images have, the journal's 1 / (|C_s| - 1).
    """
    of_query, of_support = query.sum(-1) != 0, support.sum(-1) != 0
    cosine = torch.einsum("bid,bjd->bij", F.normalize(query, dim=2, eps=1e-8), F.normalize(support, dim=2, eps=1e-8))
    # a finite stand-in for minus infinity keeps the gradient of an episode without any row free of NaN
    logits = (cosine / temperature).masked_fill(~of_support[:, None], -1e9)
    right = F.log_softmax(logits, 2).diagonal(dim1=1, dim2=2)
    shared = of_query & of_support
    rows = torch.where(shared, -right, 0.0).sum(1)
    return (rows / (shared if both_sides else of_query).sum(1).clamp(min=1)).mean()
