"""Checkers of notebook 03, prototypes: pooling, the memory of a moving average, the bank's update."""

from __future__ import annotations

import math
from typing import Any

import torch

from oshp_lite.book.exercises.frame import call, checker, is_close, number, refuse, require, tensor_of


@checker
def check_masked_average(attempt: Any) -> str:
    """Check `f(features [D,h,w], mask int64 [h,w], class_id) -> [D]`, Eq. (2) with the case of an absent class."""
    draw = torch.Generator().manual_seed(3)
    features = torch.randn(5, 6, 4, generator=draw) + 1.0
    mask = torch.zeros(6, 4, dtype=torch.int64)
    mask[1:4, 1:3] = 7
    mask[5, :2] = 255
    inside = features[:, mask == 7]
    result = tensor_of(call(attempt, features, mask, 7), (5,), "the prototype")
    refuse(
        result,
        (inside.sum(1), "this is the sum over the class's cells; Eq. (2) divides it by their number |Λ|"),
        (inside.sum(1) / mask.numel(), "you divided by the number of all cells; divide by the class's own number"),
        (features.mean((1, 2)), "this is the mean over the whole photo; only cells of class_id count"),
    )
    require(is_close(result, inside.mean(1)), "the vector differs from the mean feature of the class's cells")
    absent = tensor_of(call(attempt, features, mask, 4), (5,), "the prototype of an absent class")
    require(not absent.isnan().any(), "a class without a cell gives NaN (0/0). Divide by max(1, count)")
    require(not absent.any(), "a class without a cell must get the zero vector")
    return "the mean of the class's own cells, and the zero vector for a class that is not there"


@checker
def check_half_life(attempt: Any) -> str:
    """Check `f(alpha) -> int`: after how many updates a vector's weight in the bank is below one half (Eq. 3)."""
    for alpha in (0.999, 0.5, 0.8, 0.99):
        truth = max(1, math.floor(math.log(0.5) / math.log(alpha)))
        while alpha**truth >= 0.5:
            truth += 1
        value = number(call(attempt, alpha), "the number of updates")
        if alpha == 0.999:
            fallen = "1/(1-α) is where the weight has fallen to about 1/e = 0.37, not to one half"
            refuse(value, (1 / (1 - alpha), fallen), tolerance=1e-3)
            linear = "the weight does not fall by 1-α each time but by the factor α: it is αⁿ after n updates"
            require(abs(value - 0.5 / (1 - alpha)) > 1, linear)
        before, after = alpha ** (truth - 1), alpha**truth
        early = f"α^{truth - 1} = {before:.4f} is not below one half for α = {alpha}; return the smallest n that is"
        require(value != truth - 1, early)
        powers = f"α^{truth - 1} = {before:.4f}, α^{truth} = {after:.4f}"
        require(value == truth, f"for α = {alpha} you say {value:g}; {powers}")
    return "with α = 0.999 a vector has lost half its weight after 693 updates: the bank remembers long"


@checker
def check_bank_update(attempt: Any) -> str:
    """Check `f(bank [C,D], static [B,C,D], alpha) -> (bank [C,D], used [B,C,D])`: Eq. (3), sample after sample."""
    draw = torch.Generator().manual_seed(5)
    bank = torch.randn(4, 3, generator=draw)
    bank[3] = 0.0
    static = torch.randn(2, 4, 3, generator=draw)
    static[:, 2] = 0.0
    alpha = 0.9
    result = call(attempt, bank, static, alpha)
    require(isinstance(result, tuple) and len(result) == 2, "return two tensors: the new bank and the used prototypes")
    new, used = tensor_of(result[0], (4, 3), "the bank"), tensor_of(result[1], (2, 4, 3), "the used prototypes")
    first = alpha * bank[1] + (1 - alpha) * static[0, 1]
    second = alpha * first + (1 - alpha) * static[1, 1]
    swapped = (1 - alpha) * bank[1] + alpha * static[0, 1]
    refuse(used[0, 1], (swapped, "α stands on the old value, which the bank keeps"))
    require(is_close(used[0, 1], first), "the first sample's prototype of class 1 is not α·bank + (1-α)·static")
    alone = alpha * bank[1] + (1 - alpha) * static[1, 1]
    refuse(used[1, 1], (alone, "sample 1 must see the bank as sample 0 has left it"))
    require(is_close(used[1, 1], second), "the second sample's prototype of class 1 does not follow from the first's")
    require(not used[:, 2].any(), "class 2 is not in the supports: its used prototype is zero")
    require(is_close(new[2], bank[2]), "class 2 is in neither support, yet its bank row changed")
    refuse(used[0, 3], ((1 - alpha) * static[0, 3], "class 3's bank row is empty: take the static prototype itself"))
    require(is_close(used[0, 3], static[0, 3]), "class 3's row was empty, so its first static prototype is used as is")
    require(is_close(new[1], second), "the new bank must hold the last used prototype of each class that occurred")
    require(is_close(new[0], bank[0]) and not used[:, 0].any(), "row 0 is the background: skip it (used: zero)")
    require(is_close(new[3], alpha * static[0, 3] + (1 - alpha) * static[1, 3]), "row 3 of the bank is not right")
    return "sample after sample, empty rows start with the first vector, absent classes stay untouched"
