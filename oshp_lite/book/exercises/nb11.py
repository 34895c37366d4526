"""Checkers of notebook 11, inspect: what a control can change, and the cosine to a prototype with a memory."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from oshp_lite.book.exercises.frame import call, checker, number, refuse, require


@checker
def check_prediction(attempt: Any) -> str:
    """Check `f(sliders) -> {slider: bool}`: whether a slider of the lens can change which class wins a cell."""
    result = call(attempt, ("momentum", "NPM scale", "temperature"))
    require(isinstance(result, dict), "return a dictionary: the name of a slider -> True or False")
    wanted = {"momentum", "NPM scale", "temperature"}
    require(set(result) == wanted, f"name exactly these sliders: {', '.join(sorted(wanted))}")
    require(all(isinstance(value, bool) for value in result.values()), "say True or False for every slider")
    scaled = "both softmaxes divide or multiply all scores of a cell alike, so their order stays; try the map `parse`"
    require(not result["NPM scale"], f"the NPM scale moves no cell to another class: {scaled}")
    require(not result["temperature"], f"the temperature moves no cell to another class: {scaled}")
    moved = "momentum turns each base class's prototype by another angle, so the order of the cosines can change"
    require(result["momentum"], f"the momentum can: {moved}")
    return "scale and temperature say how sure the parse is, momentum what it is"


@checker
def check_blended_cosine(attempt: Any) -> str:
    """Check `f(cos_static, cos_bank, static, bank, alpha) -> float`, the cosine with the blend of Eq. (3)."""
    draw = torch.Generator().manual_seed(11)
    for alpha in (0.9, 0.25):
        cell, static, bank = torch.randn(3, 6, generator=draw, dtype=torch.float64)
        bank = 4 * bank
        cosines = [float(F.cosine_similarity(cell, vector, dim=0)) for vector in (static, bank)]
        lengths = float(static.norm()), float(bank.norm())
        blend = alpha * bank + (1 - alpha) * static
        whole = float(F.cosine_similarity(cell, blend, dim=0))
        value = number(call(attempt, *cosines, static, bank, alpha), "the cosine")
        plain = alpha * cosines[1] + (1 - alpha) * cosines[0]
        weighted = alpha * lengths[1] * cosines[1] + (1 - alpha) * lengths[0] * cosines[0]
        other = float(F.cosine_similarity(cell, alpha * static + (1 - alpha) * bank, dim=0))
        refuse(
            value,
            (plain, "a mean of cosines forgets the lengths: a long vector turns the blend further than a short one"),
            (weighted, "that is the cosine times the blend's length; divide by the length of the blended prototype"),
            (
                weighted / (alpha * lengths[1] + (1 - alpha) * lengths[0]),
                "the blend is shorter than its parts' lengths",
            ),
            (other, "alpha stands on the bank, the share of the old value that is kept"),
        )
        require(abs(value - whole) < 1e-6, f"the cosine with the blend is {whole:.4f} here, not {value:.4f}")
    return "two cosine maps and three numbers a class are all that a momentum slider needs"
