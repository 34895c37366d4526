"""Checkers of notebook 08: PANet's background, a softmax twice, a prior that lies, how far a known row moves."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from oshp_lite.book.exercises.frame import (
    Array,
    call,
    checker,
    drawn_checker,
    is_close,
    number,
    numbers,
    refuse,
    require,
    tensor_of,
)
from oshp_lite.book.network_charts import Curves, curves
from oshp_lite.data.episode import IGNORE


@checker
def check_background(attempt: Any) -> str:
    """Check `f(features [D,H,W], mask [H,W]) -> prototype [D]`: the background of PANet in k-way (journal, 6.3)."""
    draw = torch.Generator().manual_seed(80)
    features = torch.randn(3, 6, 8, generator=draw)
    mask = torch.zeros(6, 8, dtype=torch.int64)
    mask[:2, :3], mask[3:, 4:], mask[4:, :2], mask[2, :] = 4, 7, 9, IGNORE
    value = tensor_of(call(attempt, features, mask), (3,), "the prototype")
    known, classes = mask != IGNORE, (4, 7, 9)
    weights = torch.stack([(known & (mask != c)).float() for c in classes]).sum(0)

    def mean(*where: Tensor) -> Tensor:
        return torch.stack([features[:, place].mean(1) for place in where]).mean(0)

    truth = mean(*(known & (mask != c) for c in classes))
    refuse(
        value,
        (mean(mask == 0), "this is PANet's own rule; in k-way the other classes belong to the background of c as well"),
        (mean(*(mask != c for c in classes)), "pixels marked 255 are in your averages"),
        (mean(*(known & (mask != c) for c in (0, *classes))), "the mean runs over classes; id 0 is none of them"),
        ((features * weights).sum((1, 2)) / weights.sum(), "you pool all k masks; it is the mean of k averages"),
        (mean(*(mask == c for c in classes)), "these are the classes; the background of c is everything that is not c"),
    )
    right, mine = (", ".join(f"{float(v):.3f}" for v in vector) for vector in (truth, value))
    require(is_close(value, truth), f"the prototype is [{right}], yours is [{mine}]")
    return "every part sits in k - 1 of the k averages, which is why this prototype looks like a part"


@checker
def check_weights(attempt: Any) -> str:
    """Check `f() -> (among 64 cells, among 4,096, largest ratio)`: what a second softmax leaves of a sure first one."""
    few, many, ratio = numbers(call(attempt), "the weight among 64 cells, among 4,096, and the largest ratio", 3)
    truth = [float(torch.eye(1, n).softmax(1)[0, 0]) for n in (64, 4096)]
    require(
        few < 0.5, "the second softmax sees the numbers 1 and 0, not large scores: e to the 1 is all that one cell has"
    )
    even = "that is an even share; the sure cell still weighs e times as much as another"
    require(abs(64 * few - 1) > 0.05, even)
    require(abs(few / truth[0] - 1) < 0.05, f"among 64 cells it keeps e / (e + 63) = {truth[0]:.3f}, not {few:.3f}")
    refuse(many, (few, "every further cell adds 1 to the denominator; the weight falls with their number"))
    require(abs(many / truth[1] - 1) < 0.05, f"among 4,096 cells it keeps {truth[1]:.5f}, not {many:.5f}")
    refuse(
        ratio,
        (float(np.e), "guidance adds up to 1 more to the sure cell, and nothing to another"),
        (2.0, "2 is the largest difference of the exponents; the ratio is its exponential"),
        tolerance=0.02,
    )
    require(
        abs(ratio / np.e**2 - 1) < 0.02, f"the exponents differ by at most 1 + 1, so the ratio is e² = {np.e**2:.2f}"
    )
    return "so guided attention is nearly even, whatever the first softmax was sure of; guidance tilts it a little"


@checker
def check_lying_prior(attempt: Any) -> str:
    """Check `f() -> (cosines, reason)`: low cosines whose min-max scaled prior is high on most cells."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 2, 'return two things: the cosines, and "a", "b" or "c"')
    require(isinstance(given[0], list | tuple) and 3 <= len(given[0]) <= 20, "give 3 to 20 cosines in a list")
    cosines = np.array([number(one, "a cosine") for one in given[0]])
    require(bool((np.abs(cosines) <= 1).all()), "a cosine lies in [-1, 1]")
    require(
        cosines.max() <= 0.2, f"one cell has a cosine of {cosines.max():.2f}; a class that is absent has none above 0.2"
    )
    reach = cosines.max() - cosines.min()
    require(reach > 0, "all cells are alike, so there is nothing to scale; lower at least one")
    high = int(((cosines - cosines.min()) / reach > 0.9).sum())
    require(
        2 * high > len(cosines), f"the prior exceeds 0.9 on {high} of {len(cosines)} cells; it must be more than half"
    )
    reason = given[1]
    require(reason in ("a", "b", "c"), 'the reason is "a", "b" or "c"')
    require(reason != "a", "put means in place of the maxima: the scaling still makes the largest of them 1")
    require(
        reason != "c", "multiply all your cosines by five: the prior stays the same, so their size is not the cause"
    )
    return "the scaling keeps order and spacing only; a level that says 'absent' is gone before any network reads it"


@cache
def _mixing() -> tuple[Array, Array]:
    """Shares alpha [A] and the percentage of correct cells [A] of known classes in a toy world, cosines decide."""
    draw = torch.Generator().manual_seed(84)
    photos, classes, width = 300, 8, 16

    def noise(*shape: int) -> Tensor:
        return torch.randn(*shape, width, generator=draw) / width**0.5

    trained = F.normalize(noise(classes), dim=1)
    today = trained + 0.7 * noise(photos, classes)
    support = F.normalize(today + 1.1 * noise(photos, classes), dim=2)
    cells = today[:, :, None] + 1.2 * noise(photos, classes, 10)
    shares, right = np.linspace(0, 1, 21), []
    for share in shares:
        rows = F.normalize((1 - share) * trained + share * support, dim=2)
        best = torch.einsum("pcnd,pkd->pcnk", cells, rows).argmax(3)
        right.append(100 * float((best == torch.arange(classes)[:, None]).float().mean()))
    return shares, np.array(right)


def _draw_share(attempt: Any) -> Figure:
    """Draw the share of correct cells over alpha, with the learner's."""
    shares, right = _mixing()
    axis = {"xlabel": "α, the support's share of a known row"}
    figure = curves(Curves("correct cells of known classes, %", {"toy world": (shares, right)}, axis, "o"), width=5.6)
    figure.axes[0].axvline(float(attempt()[0]), color="#b3361e", lw=1.2, ls=":")
    return figure


@drawn_checker(_draw_share)
def check_share(attempt: Any) -> str:
    """Check `f() -> (alpha, judge)`: how far a known row moves, chosen on "base" or on "novel" classes."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 2, 'return two things: α, and "base" or "novel"')
    share, judge = number(given[0], "α"), given[1]
    require(judge in ("base", "novel"), 'the second value names the classes you tune on: "base" or "novel"')
    require(judge == "base", "novel classes are the test; and α moves the rows of known classes only")
    require(0 <= share <= 1, "α is a share and lies in [0, 1]")
    shares, right = _mixing()
    mine, best = float(np.interp(share, shares, right)), right.max()
    side = "today's look is ignored" if share < shares[right.argmax()] else "one noisy support outweighs the training"
    require(mine >= best - 1, f"{mine:.1f} % of the cells are correct there, {best:.1f} % at best: {side}")
    return f"{mine:.1f} % of at most {best:.1f} %. Now defend it: how much do looks vary, and how noisy is one support?"
