"""Checkers of notebook 13, semantic transfer: a measured prior, what a row depends on, the collapse of SCR."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch.nn import functional as F

from oshp_lite.book.exercises.frame import Array, call, checker, drawn_checker, is_close, require, tensor_of
from oshp_lite.models.sst.semantics import associate, mean_cosine
from oshp_lite.viz.style import new_figure


def _counts() -> Array:
    """Pixels that carry a PASCAL label (rows) and an ATR label (columns) at once: invented, int64 [7,18]."""
    rng = np.random.default_rng(5)
    shared = rng.integers(0, 900, (7, 18)) * (rng.random((7, 18)) < 0.3)
    shared[0], shared[:, 0] = 0, 0
    shared[0, 0] = 5000
    shared[2, 4], shared[1, 11] = 4000, 700
    return np.asarray(shared)


def _prior_drawn(attempt: Any) -> Figure:
    figure, axes = new_figure(width=3.0, height=4.2)
    shown = axes[0, 0].imshow(np.asarray(call(attempt, _counts()), float), cmap="viridis")
    axes[0, 0].set(xlabel="PASCAL label", ylabel="ATR label", title="your prior")
    axes[0, 0].grid(False)
    figure.colorbar(shown, ax=axes[0, 0])
    return figure


@drawn_checker(_prior_drawn)
def check_prior(attempt: Any) -> str:
    """Check `f(counts int64 [7,18]) -> float [18,7]`: a static prior in 0..1 from pixels that labels share."""
    shared = _counts()
    given = shared.copy()
    prior = call(attempt, given)
    kind = prior.dtype.kind if isinstance(prior, np.ndarray) else ""
    require(kind in {*"fiu"}, f"the prior must be a NumPy array of numbers, not {type(prior).__name__}")
    require(np.array_equal(given, shared), "you change the counts in place, but their owner still needs them")
    prior = prior.astype(float)
    require(prior.shape != (7, 18), "rows are the target's labels: mapping PASCAL into ATR needs [18, 7], so transpose")
    require(prior.shape == (18, 7), f"the prior has the shape {prior.shape}, not (18, 7)")
    require(np.isfinite(prior).all(), "some entries are not finite: a label that never occurs divides by zero")
    require((prior >= 0).all() and (prior <= 1 + 1e-6).all(), "the entries must lie in 0..1; divide by a total")
    apart = shared.T == 0
    require(
        is_close(prior[apart], np.full(apart.sum(), prior.min())), "labels that share no pixel have the least entry"
    )
    require((prior[~apart] > prior.min()).all(), "labels that share pixels must stand above those that share none")
    alone = prior[0, 0]
    require(
        alone >= prior.max() - 1e-6, "background lies on background alone, in both sets: no entry may be above that one"
    )
    return "labels that share pixels are alike, whatever their names are"


@checker
def check_dependence(attempt: Any) -> str:
    """Check `f(row, count) -> (keys, values)`: what row `row` of X_l depends on when M_intra = I.

    keys, values: the rows of S that matter as keys and as values of the attention.
    """
    count, row = 5, 2
    result = call(attempt, row, count)
    require(isinstance(result, tuple) and len(result) == 2, "return two sets: rows that matter as keys, and as values")
    keys, values = (set(part) for part in result)
    measured = _measured_dependence(row, count)
    require(
        values == measured[1],
        f"as values you name {sorted(values)}; changing the values one row at a time moves row {row} for "
        f"{sorted(measured[1])} only: the identity lets one value through",
    )
    require(
        keys == measured[0],
        f"as keys you name {sorted(keys)}; changing the keys one row at a time moves row {row} for "
        f"{sorted(measured[0])}: the mask comes after the softmax, whose sum runs over all keys",
    )
    return "one value passes, but its weight is a share of all keys: the prior multiplies after the softmax"


def _measured_dependence(row: int, count: int) -> tuple[set[int], set[int]]:
    """Change one key (value) row at a time and see whether a row of the result moves."""
    draw = torch.Generator().manual_seed(7)
    query, key, value = (torch.randn(count, 6, generator=draw) for _ in range(3))
    prior, moved = torch.eye(count), (set[int](), set[int]())
    before = associate(query, key, value, prior, None)
    for place in range(count):
        change = torch.zeros(count, 6)
        change[place] = 1.0
        for part, after in enumerate(
            (associate(query, key + change, value, prior, None), associate(query, key, value + change, prior, None))
        ):
            if not is_close(after[row], before[row]):
                moved[part].add(place)
    return moved


def _rows() -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(11)
    x, other = (torch.randn(4, 8, generator=draw, dtype=torch.float64) for _ in range(2))
    return x, other


def _collapse_drawn(attempt: Any) -> Figure:
    figure, axes = new_figure(1, 2, width=2.4, height=2.5)
    for place, rows, title in zip(axes[0], (_rows()[0], call(attempt, *_rows())[0]), ("before", "after"), strict=True):
        unit = F.normalize(rows, dim=1)
        shown = place.imshow(unit @ unit.T, cmap="coolwarm", vmin=-1, vmax=1)
        place.set(title=f"cosines of x, {title}", xticks=[], yticks=[])
        place.grid(False)
    figure.colorbar(shown, ax=axes[0, 1])
    return figure


@drawn_checker(_collapse_drawn)
def check_collapse(attempt: Any) -> str:
    """Check `f(x float64 [4,8], other [4,8]) -> both changed`: SCR below 0.01, cross-entropy of x as it was."""
    x, other = _rows()
    result = call(attempt, x.clone(), other.clone())
    require(isinstance(result, tuple | list) and len(result) == 2, "return both matrices, x first")
    one, two = (tensor_of(part, (4, 8), "each matrix", torch.float64) for part in result)
    draw = torch.Generator().manual_seed(13)
    feature = torch.randn(300, 8, generator=draw, dtype=torch.float64)
    label = torch.randint(4, (300,), generator=draw)
    before, after = (F.cross_entropy(feature @ rows.T, label) for rows in (x, one))
    apart = (1 - F.cosine_similarity(one, two, dim=1)).mean()
    require(
        abs(after - before) < 1e-6,
        f"the auxiliary cross-entropy went from {before:.3f} to {after:.3f}: only a vector that is common to all "
        "rows of x leaves it alone",
    )
    require(apart < 0.01, f"SCR is still {apart:.3f}; let both matrices share one direction, and let it grow")
    return (
        f"SCR is {apart:.4f}, cross-entropy unchanged, mean cosine between categories {mean_cosine(one):.3f}: neither "
        "auxiliary loss notices, and the segmentation loss does not see these vectors at all"
    )
