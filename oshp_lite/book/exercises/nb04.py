"""Checkers of notebook 04, dual metric learning: attention, background, softmax, weight shifting."""

from __future__ import annotations

from typing import Any

import torch

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require, tensor_of

__all__ = ["Verdict", "check_attend", "check_background_map", "check_shift", "check_softmax"]


@checker
def check_attend(answer: Any) -> str:
    """Check `f(features [D,h,w], maps [C,h,w]) -> [C,D,h,w]`: the attended features with residual, Eq. (5)."""
    draw = torch.Generator().manual_seed(1)
    features, maps = torch.randn(4, 3, 5, generator=draw), torch.rand(2, 3, 5, generator=draw)
    result = tensor_of(ask(answer, features, maps), (2, 4, 3, 5), "the attended features")
    product = maps[:, None] * features[None]
    require(
        not close(result, product),
        "the residual is missing: where a map is 0 the trunk would see nothing at all. Add the features themselves",
    )
    require(
        not close(result, maps[:, None] + features[None]),
        "you added the map to the features; Eq. (5) multiplies each cell's feature by the map, then adds the feature",
    )
    require(
        not close(result, product + maps[:, None]), "the residual is the feature f(G), not the map A: R = A·f(G) + f(G)"
    )
    require(close(result, product + features[None]), "the result differs from A·f(G) + f(G)")
    return "each class sees the same features, strengthened where they resemble its prototype"


@checker
def check_background_map(answer: Any) -> str:
    """Check `f(maps [C,h,w], present bool [C]) -> [h,w]`: the background's map A_0 of Eq. (8), present classes only."""
    draw = torch.Generator().manual_seed(2)
    maps = torch.rand(4, 3, 5, generator=draw) * 2 - 1
    present = torch.tensor([True, False, True, True])
    maps[1] = 0.0
    result = tensor_of(ask(answer, maps, present), (3, 5), "the background map")
    shown = maps[present]
    require(
        not close(result, (1 - maps).mean(0)),
        "you averaged over all ids. That is what the official code does; Eq. (8) averages over the classes of the "
        "support, so use `present`",
    )
    require(
        not close(result, shown.mean(0)), "this is the mean similarity; the background is the *dis*similarity 1 - A"
    )
    require(
        not close(result, (1 / (len(shown) + 1) - 1) * (1 - shown).sum(0)),
        "the printed bracket (1/|C|-1) is a misprint: 1/(|C_s|-1) is meant, one over the number of foreground classes",
    )
    require(not close(result, (1 - shown).sum(0)), "the sum is not yet divided by the number of present classes")
    require(
        not close(result, 1 - shown.max(0).values),
        "1 - max is a sensible idea (far from the nearest prototype), but Eq. (8) takes the mean over the classes",
    )
    require(close(result, (1 - shown).mean(0)), "the map differs from the mean of 1 - A over the present classes")
    return "high where a cell resembles none of the support's classes; no background prototype was needed"


@checker
def check_softmax(answer: Any) -> str:
    """Check `f(scores [C,h,w], background [h,w]) -> [1+C,h,w]`: probabilities of Eq. (7), background first."""
    draw = torch.Generator().manual_seed(3)
    scores, background = torch.randn(3, 2, 2, generator=draw) * 3, torch.randn(2, 2, generator=draw)
    result = tensor_of(ask(answer, scores, background), (4, 2, 2), "the probabilities")
    stacked = torch.cat([background[None], scores])
    truth = stacked.softmax(0)
    require(
        not close(result, torch.cat([scores, background[None]]).softmax(0)),
        "the background must come first: channel number and class id then agree",
    )
    plain = torch.cat([background[None], scores.exp()])
    require(
        not close(result, plain / plain.sum(0)),
        "the background's score is not exponentiated. The AAAI paper prints it so, but then it may be negative; the "
        "code and Eq. (7) use exp for all",
    )
    require(
        not close(result, stacked.sigmoid()),
        "sigmoids do not compete: the channels of a pixel must sum to one. Eq. (7) divides by the sum over all classes",
    )
    require(close(result.sum(0), torch.ones(2, 2)), "the channels of a pixel do not sum to one")
    require(close(result, truth), "the probabilities differ from the softmax over background and classes")
    large = tensor_of(ask(answer, scores + 200.0, background + 200.0), (4, 2, 2), "the probabilities")
    require(
        close(large, truth, 1e-4),
        "right for small scores, but scores near 200 overflow exp (NaN). Subtract the maximum first, or use softmax",
    )
    return "background and classes compete in one softmax, also for large scores"


@checker
def check_shift(answer: Any) -> str:
    """Check `f(epoch, epochs) -> (weight of AGM, weight of NPM)`: the weight shifting of Eq. (10)."""
    for epoch, epochs in ((0, 50), (10, 50), (49, 50), (3, 8)):
        pair = ask(answer, epoch, epochs)
        require(isinstance(pair, tuple) and len(pair) == 2, "return two numbers: AGM's weight, then NPM's")
        agm, npm = (float(value) for value in pair)
        truth = 1 - epoch / epochs
        require(
            close(agm + npm, 1.0), f"the two weights of epoch {epoch} sum to {agm + npm:g}; Eq. (10) has β and 1 - β"
        )
        require(
            epoch * 2 == epochs or not close(agm, epoch / epochs),
            "the wrong way round: training begins with AGM (β = 1) and ends with NPM",
        )
        require(
            epoch == 0 or not close(agm, 1 - epoch / (epochs - 1)),
            "you divided by epochs - 1. Then AGM's last weight is 0; with β = 1 - epoch/epochs it is 0.02 in epoch 49",
        )
        require(close(agm, truth), f"in epoch {epoch} of {epochs} AGM's weight is {truth:g}, you have {agm:g}")
    return "from all AGM to nearly all NPM in a straight line"
