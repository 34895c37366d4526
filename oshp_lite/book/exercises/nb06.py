"""Checkers of notebook 06, EOP-Net: the rectified shortcut, screening, the contrastive loss, counting MACs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from oshp_lite.book.exercises.frame import call, checker, is_close, number, refuse, require, tensor_of


@checker
def check_rectified_block(attempt: Any) -> str:
    """Check `f(x [B,D,h,w], body: callable) -> [B,D,h,w]`: a residual block whose opening ReLU works in place."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(1, 3, 4, 4, generator=draw)
    weight = torch.randn(3, 3, 3, 3, generator=draw) * 0.3

    def body(y: Tensor) -> Tensor:
        return F.conv2d(y, weight, padding=1)

    rectified = x.clamp(min=0)
    result = tensor_of(call(attempt, x, body), (1, 3, 4, 4), "the block's output")
    refuse(
        result,
        (body(rectified) + x, "the shortcut adds the raw input, but the opening ReLU has overwritten it: add relu(x)"),
        (body(x) + x, "there is no ReLU at all; the block opens with one"),
        (body(x) + rectified, "the body must get the rectified input too, not only the shortcut"),
        ((body(x) + x).clamp(min=0), "the ReLU opens the block, it does not close it"),
        (body(rectified), "the shortcut is missing"),
    )
    require(is_close(result, body(rectified) + rectified), "the result differs from body(relu(x)) + relu(x)")
    return "body and shortcut both see the rectified input, as in the released network"


@checker
def check_screening(attempt: Any) -> str:
    """Check `f(fine [B,C,H,W], coarse [B,2,H,W]) -> int64 [B,H,W]`: the prediction with the scene screened out."""
    draw = torch.Generator().manual_seed(4)
    fine, coarse = torch.randn(2, 5, 6, 7, generator=draw), torch.randn(2, 2, 6, 7, generator=draw)
    fine[:, 0] -= 1.0
    person, best = coarse.argmax(1) == 1, fine.argmax(1)
    raw = call(attempt, fine, coarse)
    scores = isinstance(raw, Tensor) and raw.dim() == 4 and raw.shape[1] == 5
    require(not scores, "these are still scores; a prediction is one id per pixel (argmax over the channels)")
    result = tensor_of(raw, (2, 6, 7), "the map of ids", torch.int64)
    refuse(
        result,
        (best, "nothing is screened: pixels that the coarse map calls scene must become 0"),
        (torch.where(person, 0, best), "the wrong way round: channel 1 is the person, where the fine ids stay"),
        (torch.where(person, fine[:, 1:].argmax(1) + 1, 0), "inside the person you force a class; background may win"),
        (torch.where(coarse[:, 1] > 0, best, 0), "you compare the person score with 0, not with the scene score"),
    )
    require(is_close(result, torch.where(person, best, 0)), "some pixels differ from: argmax, then 0 off the person")
    return "the fine prediction inside the person, background elsewhere"


@checker
def check_contrast(attempt: Any) -> str:
    """Check `f(query [C,D], support [C,D], tau) -> scalar`: Eq. (12) for classes that all occur in both photos."""
    draw = torch.Generator().manual_seed(6)
    query = torch.randn(4, 8, generator=draw) * torch.tensor([[1.0], [3.0], [0.4], [2.0]])
    support = query + 0.8 * torch.randn(4, 8, generator=draw)
    tau = 0.1
    cosine = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
    given = call(attempt, query, support, tau)
    value = tensor_of(torch.tensor(given) if isinstance(given, float) else given, (), "the loss")
    target = torch.arange(4)
    truth = F.cross_entropy(cosine / tau, target)
    others = (cosine / tau).masked_fill(torch.eye(4, dtype=torch.bool), float("-inf")).logsumexp(1)
    refuse(
        value,
        (F.cross_entropy(query @ support.T / tau, target), "dot products let long vectors win; ⟨·,·⟩ is the cosine"),
        (F.cross_entropy(cosine, target), "the temperature τ is missing: divide the cosines by τ"),
        (F.cross_entropy(cosine * tau, target), "you multiply by τ; Eq. (12) divides by it"),
        (F.cross_entropy(cosine.T / tau, target), "the denominator runs over the query, not over the support"),
        ((others - cosine.diagonal() / tau).mean(), "the denominator leaves out k = c; the loss can be negative"),
        (4 * truth, "this is the sum over classes; Eq. (12) divides by their number"),
    )
    require(is_close(value, truth), f"for the test vectors the loss is {float(truth):.4f}, you have {float(value):.4f}")
    return "each query prototype is drawn to its own class and away from the others"


@checker
def check_conv_macs(attempt: Any) -> str:
    """Check `f(n_in, n_out, kernel, height, width, groups) -> int`: multiply-accumulates of a convolution.

    height and width are those of the output.
    """
    for n_in, n_out, kernel, height, width, groups in ((256, 256, 3, 128, 128, 1), (256, 256, 3, 128, 128, 256)):
        truth = n_in // groups * n_out * kernel * kernel * height * width
        value = number(call(attempt, n_in, n_out, kernel, height, width, groups), "the number of MACs", whole=True)
        grouped = "with groups each output channel sees only n_in / groups input channels"
        refuse(
            value,
            (2 * truth, "you count a multiplication and an addition as two; one MAC is both together"),
            (truth // kernel**2, "every output value looks at kernel x kernel input cells, not at one"),
            (truth // kernel, "the kernel is square: kernel x kernel cells, not kernel"),
            (truth * groups if groups > 1 else None, grouped),
            (truth * groups**2 if groups > 1 else None, grouped),
            (truth // (height * width), "those are the weights; each is used once at every output cell"),
            tolerance=0,
        )
        require(value == truth, f"the right number is {truth:,}, you say {value:,.0f}")
    return "9.66 G for a plain 3x3 layer at stride 4 of a 512 px photo, 1/256 of that when it is depthwise"
