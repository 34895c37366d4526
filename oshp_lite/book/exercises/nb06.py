"""Checkers of notebook 06, EOP-Net: the rectified shortcut, screening, the contrastive loss, counting MACs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require, tensor_of

__all__ = ["Verdict", "check_contrast", "check_conv_macs", "check_rectified_block", "check_screening"]


@checker
def check_rectified_block(answer: Any) -> str:
    """Check `f(x [B,D,h,w], body: callable) -> [B,D,h,w]`: a residual block whose opening ReLU works in place."""
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(1, 3, 4, 4, generator=draw)
    weight = torch.randn(3, 3, 3, 3, generator=draw) * 0.3

    def body(y: Tensor) -> Tensor:
        return F.conv2d(y, weight, padding=1)

    rectified = x.clamp(min=0)
    result = tensor_of(ask(answer, x, body), (1, 3, 4, 4), "the block's output")
    require(
        not close(result, body(rectified) + x),
        "the shortcut adds the raw input. The opening ReLU overwrites its input, so the shortcut sees relu(x) as well",
    )
    require(not close(result, body(x) + x), "there is no ReLU at all; the block opens with one")
    require(not close(result, body(x) + rectified), "the body must get the rectified input too, not only the shortcut")
    require(not close(result, (body(x) + x).clamp(min=0)), "the ReLU opens the block, it does not close it")
    require(not close(result, body(rectified)), "the shortcut is missing")
    require(close(result, body(rectified) + rectified), "the result differs from body(relu(x)) + relu(x)")
    return "body and shortcut both see the rectified input, as in the released network"


@checker
def check_screening(answer: Any) -> str:
    """Check `f(fine [B,C,H,W], coarse [B,2,H,W]) -> int64 [B,H,W]`: the answer with the scene screened out."""
    draw = torch.Generator().manual_seed(4)
    fine, coarse = torch.randn(2, 5, 6, 7, generator=draw), torch.randn(2, 2, 6, 7, generator=draw)
    fine[:, 0] -= 1.0
    person, best = coarse.argmax(1) == 1, fine.argmax(1)
    raw = ask(answer, fine, coarse)
    require(isinstance(raw, Tensor), f"return a tensor of ids, not {type(raw).__name__}")
    require(
        not (raw.dim() == 4 and raw.shape[1] == 5),
        "these are still scores; the answer is one id per pixel (argmax over the channels)",
    )
    require(raw.dtype == torch.int64, f"ids are int64; yours is {raw.dtype}")
    result = tensor_of(raw, (2, 6, 7), "the ids").to(torch.int64)
    require(not torch.equal(result, best), "nothing is screened: pixels that the coarse map calls scene must become 0")
    require(
        not torch.equal(result, torch.where(person, 0, best)),
        "the wrong way round: channel 1 of the coarse map is the person, and there the fine answer stays",
    )
    require(
        not torch.equal(result, torch.where(person, fine[:, 1:].argmax(1) + 1, 0)),
        "inside the person you force a class. Background may win there too (a pixel may belong to no support class)",
    )
    require(
        not torch.equal(result, torch.where(coarse[:, 1] > 0, best, 0)),
        "you compare the person score with 0; it must be compared with the scene score (argmax over the two channels)",
    )
    require(torch.equal(result, torch.where(person, best, 0)), "some pixels differ from: argmax, then 0 off the person")
    return "the fine answer inside the person, background elsewhere"


@checker
def check_contrast(answer: Any) -> str:
    """Check `f(query [C,D], support [C,D], tau) -> scalar`: Eq. (12) for classes that all occur in both photos."""
    draw = torch.Generator().manual_seed(6)
    query = torch.randn(4, 8, generator=draw) * torch.tensor([[1.0], [3.0], [0.4], [2.0]])
    support = query + 0.8 * torch.randn(4, 8, generator=draw)
    tau = 0.1
    cosine = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
    given = ask(answer, query, support, tau)
    value = tensor_of(torch.tensor(given) if isinstance(given, float) else given, (), "the loss")
    target = torch.arange(4)
    require(
        not close(value, F.cross_entropy(query @ support.T / tau, target)),
        "plain dot products let long vectors win; ⟨·,·⟩ is the cosine here, as in Eq. (4)",
    )
    require(not close(value, F.cross_entropy(cosine, target)), "the temperature τ is missing: divide the cosines by τ")
    require(not close(value, F.cross_entropy(cosine * tau, target)), "you multiply by τ; Eq. (12) divides by it")
    require(
        not close(value, F.cross_entropy(cosine.T / tau, target)),
        "the sum in the denominator runs over the query's prototypes; Eq. (12) compares one query prototype with all "
        "support prototypes p_k",
    )
    positive = cosine.diagonal() / tau
    others = (cosine / tau).masked_fill(torch.eye(4, dtype=torch.bool), float("-inf")).logsumexp(1)
    require(
        not close(value, (others - positive).mean()),
        "the denominator leaves out k = c; without it the loss can fall below zero. Sum over all classes",
    )
    truth = F.cross_entropy(cosine / tau, target)
    require(not close(value, 4 * truth), "this is the sum over classes; Eq. (12) divides by their number")
    require(close(value, truth), f"for the test vectors the loss is {float(truth):.4f}, you have {float(value):.4f}")
    return "each query prototype is drawn to its own class and away from the others"


@checker
def check_conv_macs(answer: Any) -> str:
    """Check `f(n_in, n_out, kernel, height, width, groups) -> int`: multiply-accumulates of a convolution.

    height and width are those of the output.
    """
    for n_in, n_out, kernel, height, width, groups in ((256, 256, 3, 128, 128, 1), (256, 256, 3, 128, 128, 256)):
        truth = n_in // groups * n_out * kernel * kernel * height * width
        value = ask(answer, n_in, n_out, kernel, height, width, groups)
        require(isinstance(value, int), f"a whole number is asked for, not {type(value).__name__}")
        require(value != 2 * truth, "you count a multiplication and an addition as two; one MAC is both together")
        require(
            value != truth // (kernel * kernel),
            "every output value looks at kernel x kernel input cells, not at one",
        )
        require(value != truth // (kernel), "the kernel is square: kernel x kernel cells, not kernel")
        require(
            groups == 1 or value not in (truth * groups, truth * groups * groups),
            "with groups each output channel sees only n_in / groups input channels",
        )
        require(value != truth // (height * width), "those are the weights; each is used once at every output cell")
        require(value == truth, f"asked for {truth:,}, you say {value:,}")
    return "9.66 G for a plain 3x3 layer at stride 4 of a 512 px photo, 1/256 of that when it is depthwise"
