"""EOP-Net with one loop per loop of the released code, on the layers of a network of ours.

Slow on purpose: query and support are encoded apart, the coarse space is gone through for scene and person, every raw
id is compared, guided and scored, at test too. Journal, section 4; `facts` of the released code in notebook 06.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import Parsing
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.modules.metric import ScalarAffine
from oshp_lite.models.modules.prototypes import shrink_mask


def plain_forward(network: EOPNet, batch: Episode, *, static: bool = False, first_epoch: bool = False) -> Parsing:
    """Parse the queries of a k-way episode as `network(batch)` does, one id at a time.

    static: compare with the support's own prototypes (warm-up); first_epoch: the coarse bank is read only then, as
    released. Returns logits as EOPNet's: `.fine`, `.agm` float [B,C,H,W], `.coarse` float [B,2,H,W]. In training mode
    banks and statistics are updated. Raises ValueError for a network of 1-way or without all ids (variant `official`).
    """
    config = network.config
    if config.way != "k" or config.bg_mean != "all_ids" or network.rows != config.n_ids:
        raise ValueError("the plain form is that of the released k-way code: variant official, no unlabelled class")
    batch = batch.batched()
    query, support = network.encoder(batch.query_image), network.encoder(batch.support_image)
    features, given = network.coarse_projection(query), network.coarse_projection(support)
    foreground, mask = (shrink_mask(m, support.shape[-2:]) for m in (batch.support_foreground, batch.support_mask))
    coarse = features
    for row in (0, 1):  # the scene's pass comes first, and the person's replaces it
        used = _used(network.coarse_bank.rows, row, _means(given, foreground, row).detach(), network, not first_epoch)
        similarity = _cosine(features, used)
        coarse = network.coarse_guidance(similarity * features + features)
    z, given = network.fine_projection(query), network.fine_projection(support)
    near, far, guided, guided_background = [], [], [], []
    for row in range(1, config.n_ids):
        similarity = _cosine(z, _used(network.fine_bank.rows, row, _means(given, mask, row), network, static))
        near.append(cast(ScalarAffine, network.npm.foreground)(similarity))
        far.append(cast(ScalarAffine, network.npm.background)(1 - similarity))
        scores = network.fine_guidance(similarity * z + z)
        guided.append(scores[:, :1])
        guided_background.append(scores[:, 1:])
    background = cast(ScalarAffine, network.npm.fusion)(torch.stack(far).mean(0))
    fine = torch.cat([background, *near], 1) * network.scale
    agm = torch.cat([cast(ScalarAffine, network.agm_fusion)(torch.stack(guided_background).mean(0)), *guided], 1)
    named = {"query_features": query, "fine_query": z, "fine_support": given}
    return network.parsing(fine, batch, agm=agm, coarse=coarse, **named)


def _means(features: Tensor, mask: Tensor, row: int) -> Tensor:
    """Mean feature of one id in every sample, float [B,D]; zero where it does not occur."""
    means = []
    for sample, labels in zip(features, mask, strict=True):
        member = labels == row
        means.append((sample * member).sum((1, 2)) / max(1, int(member.sum())))
    return torch.stack(means)


def _used(bank: Tensor, row: int, means: Tensor, network: EOPNet, static: bool) -> Tensor:
    """The prototype that each sample is compared with, float [B,D], samples in order (journal, Eq. 3)."""
    used, momentum = [], network.config.momentum
    for mean in means:
        if float(mean.detach().sum()) == 0:
            used.append(torch.zeros_like(mean))
            continue
        mixed = static or float(bank[row].sum()) == 0
        used.append(mean if mixed else momentum * bank[row].detach().clone() + (1 - momentum) * mean)
        if network.training:
            with torch.no_grad():
                bank[row] = used[-1].detach()
    return torch.stack(used)


def _cosine(features: Tensor, prototypes: Tensor) -> Tensor:
    """Cosine of every pixel with its sample's prototype, float [B,1,h,w] (journal, Eq. 4)."""
    product = (features * prototypes[:, :, None, None]).sum(1, keepdim=True)
    lengths = features.norm(dim=1, keepdim=True).clamp(min=1e-8)
    return cast(Tensor, product / (lengths * prototypes.norm(dim=1).clamp(min=1e-8)[:, None, None, None]))
