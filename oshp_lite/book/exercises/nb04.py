"""Checkers of notebook 04, dual metric learning: attention, background, softmax, weight shifting."""

from __future__ import annotations

from typing import Any

import torch

from oshp_lite.book.exercises.frame import call, checker, is_close, numbers, refuse, require, tensor_of


@checker
def check_attend(attempt: Any) -> str:
    """Check `f(features [D,h,w], maps [C,h,w]) -> [C,D,h,w]`: the attended features with residual, Eq. (5)."""
    draw = torch.Generator().manual_seed(1)
    features, maps = torch.randn(4, 3, 5, generator=draw), torch.rand(2, 3, 5, generator=draw)
    result = tensor_of(call(attempt, features, maps), (2, 4, 3, 5), "the attended features")
    product = maps[:, None] * features[None]
    refuse(
        result,
        (product, "the residual is missing: where a map is 0 the trunk would see nothing. Add the features"),
        (maps[:, None] + features[None], "you added the map; Eq. (5) multiplies the features by it"),
        (product + maps[:, None], "the residual is the feature f(G), not the map A: R = A·f(G) + f(G)"),
    )
    require(is_close(result, product + features[None]), "the result differs from A·f(G) + f(G)")
    return "each class sees the same features, strengthened where they resemble its prototype"


@checker
def check_background_map(attempt: Any) -> str:
    """Check `f(maps [C,h,w], present bool [C]) -> [h,w]`: the background's map A_0 of Eq. (8), present classes only."""
    draw = torch.Generator().manual_seed(2)
    maps = torch.rand(4, 3, 5, generator=draw) * 2 - 1
    present = torch.tensor([True, False, True, True])
    maps[1] = 0.0
    result = tensor_of(call(attempt, maps, present), (3, 5), "the background map")
    known = maps[present]
    refuse(
        result,
        ((1 - maps).mean(0), "all ids, as in the official code; Eq. (8) averages over the support's classes"),
        (known.mean(0), "this is the mean similarity; the background is the *dis*similarity 1 - A"),
        ((1 / (len(known) + 1) - 1) * (1 - known).sum(0), "the printed (1/|C|-1) is a misprint for 1/(|C_s|-1)"),
        ((1 - known).sum(0), "the sum is not yet divided by the number of present classes"),
        (1 - known.max(0).values, "1 - max measures the nearest prototype; Eq. (8) takes the mean over the classes"),
    )
    require(is_close(result, (1 - known).mean(0)), "the map differs from the mean of 1 - A over the present classes")
    return "high where a cell resembles none of the support's classes; no background prototype was needed"


@checker
def check_softmax(attempt: Any) -> str:
    """Check `f(scores [C,h,w], background [h,w]) -> [1+C,h,w]`: probabilities of Eq. (7), background first."""
    draw = torch.Generator().manual_seed(3)
    scores, background = torch.randn(3, 2, 2, generator=draw) * 3, torch.randn(2, 2, generator=draw)
    result = tensor_of(call(attempt, scores, background), (4, 2, 2), "the probabilities")
    stacked = torch.cat([background[None], scores])
    plain = torch.cat([background[None], scores.exp()])
    refuse(
        result,
        (torch.cat([scores, background[None]]).softmax(0), "the background must come first: channel = class id"),
        (plain / plain.sum(0), "the background is not exponentiated, as AAAI prints it; Eq. (7) uses exp for all"),
        (stacked.sigmoid(), "sigmoids do not compete: the channels of a pixel must sum to one"),
    )
    require(is_close(result.sum(0), torch.ones(2, 2)), "the channels of a pixel do not sum to one")
    truth = stacked.softmax(0)
    require(is_close(result, truth), "the probabilities differ from the softmax over background and classes")
    large = tensor_of(call(attempt, scores + 200.0, background + 200.0), (4, 2, 2), "the probabilities")
    require(is_close(large, truth, 1e-4), "scores near 200 overflow exp. Subtract the maximum first, or use softmax")
    return "background and classes compete in one softmax, also for large scores"


@checker
def check_shift(attempt: Any) -> str:
    """Check `f(epoch, epochs) -> (weight of AGM, weight of NPM)`: the weight shifting of Eq. (10)."""
    for epoch, epochs in ((0, 50), (10, 50), (49, 50), (3, 8)):
        agm, npm = numbers(call(attempt, epoch, epochs), "AGM's weight, then NPM's")
        truth = 1 - epoch / epochs
        require(is_close(agm + npm, 1.0), f"the weights of epoch {epoch} sum to {agm + npm:g}, not 1")
        refuse(
            agm,
            (epoch / epochs, "the wrong way round: training begins with AGM (β = 1) and ends with NPM"),
            (1 - epoch / (epochs - 1) if epoch else None, "you divided by epochs - 1; Eq. (10) divides by epochs"),
        )
        require(is_close(agm, truth), f"in epoch {epoch} of {epochs} AGM's weight is {truth:g}, you have {agm:g}")
    return "from all AGM to nearly all NPM in a straight line"
