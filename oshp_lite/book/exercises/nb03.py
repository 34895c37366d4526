"""Checkers of notebook 03, prototypes: pooling, the memory of a moving average, the bank's update."""

from __future__ import annotations

import math
from typing import Any

import torch

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require, tensor_of

__all__ = ["Verdict", "check_bank_update", "check_half_life", "check_masked_average"]


@checker
def check_masked_average(answer: Any) -> str:
    """Check `f(features [D,h,w], mask int64 [h,w], class_id) -> [D]`, Eq. (2) with the case of an absent class."""
    draw = torch.Generator().manual_seed(3)
    features = torch.randn(5, 6, 4, generator=draw) + 1.0
    mask = torch.zeros(6, 4, dtype=torch.int64)
    mask[1:4, 1:3] = 7
    mask[5, :2] = 255
    inside = features[:, mask == 7]
    result = tensor_of(ask(answer, features, mask, 7), (5,), "the prototype")
    require(
        not close(result, inside.sum(1)),
        "this is the sum over the class's cells; Eq. (2) divides it by their number |Λ|",
    )
    require(
        not close(result, inside.sum(1) / mask.numel()),
        "you divided by the number of all cells; a small class would get a short vector. Divide by the class's own",
    )
    require(
        not close(result, features.mean((1, 2))),
        "this is the mean over the whole photo; only cells whose mask equals class_id count",
    )
    require(close(result, inside.mean(1)), "the vector differs from the mean feature of the class's cells")
    absent = tensor_of(ask(answer, features, mask, 4), (5,), "the prototype of an absent class")
    require(
        not bool(absent.isnan().any()),
        "a class without a cell gives NaN (0/0). Such a prototype is the zero vector: divide by max(1, count)",
    )
    require(close(absent, torch.zeros(5)), "a class without a cell must get the zero vector")
    return "the mean of the class's own cells, and the zero vector for a class that is not there"


@checker
def check_half_life(answer: Any) -> str:
    """Check `f(alpha) -> int`: after how many updates a vector's weight in the bank is below one half (Eq. 3)."""
    for alpha in (0.999, 0.5, 0.8, 0.99):
        truth = _half_life(alpha)
        value = ask(answer, alpha)
        require(isinstance(value, int | float), f"a number is asked for, not {type(value).__name__}")
        require(
            not (alpha == 0.999 and close(float(value), 1 / (1 - alpha), 1e-3)),
            "1/(1-α) is where the weight has fallen to about 1/e = 0.37, not to one half",
        )
        require(
            not (alpha == 0.999 and abs(float(value) - 0.5 / (1 - alpha)) <= 1),
            "the weight does not fall by 1-α each time but by the factor α: it is αⁿ after n updates",
        )
        require(
            float(value) != truth - 1,
            f"for α = {alpha}, after {truth - 1} updates the weight is still {alpha ** (truth - 1):.4f}: "
            "not below one half. The smallest n with αⁿ < 1/2 is asked for",
        )
        require(
            float(value) == truth,
            f"for α = {alpha} you say {value:g}, but α^{truth - 1} = {alpha ** (truth - 1):.4f} "
            f"and α^{truth} = {alpha**truth:.4f}",
        )
    return "with α = 0.999 a vector has lost half its weight after 693 updates: the bank remembers long"


def _half_life(alpha: float) -> int:
    """Return the smallest n with alpha**n < 1/2."""
    updates = max(1, math.floor(math.log(0.5) / math.log(alpha)))
    while alpha**updates >= 0.5:
        updates += 1
    return updates


@checker
def check_bank_update(answer: Any) -> str:
    """Check `f(bank [C,D], static [B,C,D], alpha) -> (bank [C,D], used [B,C,D])`: Eq. (3), sample after sample."""
    draw = torch.Generator().manual_seed(5)
    bank = torch.randn(4, 3, generator=draw)
    bank[3] = 0.0
    static = torch.randn(2, 4, 3, generator=draw)
    static[0, 2] = 0.0
    static[1, 2] = 0.0
    alpha = 0.9
    result = ask(answer, bank, static, alpha)
    require(isinstance(result, tuple) and len(result) == 2, "return two tensors: the new bank and the used prototypes")
    new, used = tensor_of(result[0], (4, 3), "the bank"), tensor_of(result[1], (2, 4, 3), "the used prototypes")
    first = alpha * bank[1] + (1 - alpha) * static[0, 1]
    second = alpha * first + (1 - alpha) * static[1, 1]
    require(
        not close(used[0, 1], (1 - alpha) * bank[1] + alpha * static[0, 1]),
        "α stands on the old value in Eq. (3): the bank keeps α of itself and takes 1-α of the new prototype",
    )
    require(close(used[0, 1], first), "the first sample's prototype of class 1 is not α·bank + (1-α)·static")
    require(
        not close(used[1, 1], alpha * bank[1] + (1 - alpha) * static[1, 1]),
        "sample 1 must see the bank as sample 0 has left it; you blended both with the same old bank",
    )
    require(close(used[1, 1], second), "the second sample's prototype of class 1 does not follow from the first's")
    require(close(used[:, 2], torch.zeros(2, 3)), "class 2 is not in the supports: its used prototype is zero")
    require(
        close(new[2], bank[2]),
        "class 2 is in neither support, yet its bank row changed; an absent class must leave the bank untouched",
    )
    require(
        not close(used[0, 3], (1 - alpha) * static[0, 3]),
        "class 3's bank row is still empty (zero): take the static prototype itself, do not blend it with nothing",
    )
    require(
        close(used[0, 3], static[0, 3]), "class 3's bank row was empty, so its first static prototype is used as is"
    )
    require(close(new[1], second), "the new bank must hold the last used prototype of each class that occurred")
    require(
        close(new[0], bank[0]) and close(used[:, 0], torch.zeros(2, 3)),
        "row 0 is the background; the fine space has no background prototype, so skip it (used: zero)",
    )
    require(close(new[3], alpha * static[0, 3] + (1 - alpha) * static[1, 3]), "row 3 of the bank is not right")
    return "sample after sample, empty rows start with the first vector, absent classes stay untouched"
