"""Checkers of notebook 08: PANet's background, AMP's rows, PFENet's prior, label transfer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.book.exercises.frame import call, checker, is_close, refuse, require, tensor_of
from oshp_lite.data.episode import IGNORE

_DOTS = "plain dot products let long feature vectors win; normalise both sides to get cosines"


def _cosines(query: Tensor, support: Tensor) -> Tensor:
    """Return the cosine of every query cell with every support cell, [hw,hw]; features [D,h,w]."""
    return F.normalize(query.flatten(1), dim=0).T @ F.normalize(support.flatten(1), dim=0)


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
def check_imprint(attempt: Any) -> str:
    """Check `f(rows, proxies, present, known, alpha) -> rows [C,D]`: AMP's rows after a support."""
    draw = torch.Generator().manual_seed(81)
    rows = F.normalize(torch.randn(5, 4, generator=draw), dim=1) * torch.tensor([[2.0], [0.5], [3.0], [1.5], [0.7]])
    proxies = torch.randn(5, 4, generator=draw) * torch.tensor([[4.0], [2.0], [0.3], [5.0], [1.2]])
    present = torch.tensor([True, True, False, True, False])
    known = torch.tensor([True, False, True, True, False])
    alpha = 0.25
    value = tensor_of(call(attempt, rows, proxies, present, known, alpha), (5, 4), "the rows")
    w, e = F.normalize(rows, dim=1), F.normalize(proxies, dim=1)
    mixture = (1 - alpha) * w + alpha * e
    mixed, raw = F.normalize(mixture, dim=1), F.normalize((1 - alpha) * rows + alpha * proxies, dim=1)

    def rows_with(known_ones: Tensor, new_ones: Tensor, others: Tensor = rows) -> Tensor:
        after = torch.where((present & known)[:, None], known_ones, others)
        return torch.where((present & ~known)[:, None], new_ones, after)

    kept = is_close(value[~present], rows[~present]) or is_close(value[~present], w[~present])
    require(kept, "rows of classes that are not in the support must stay as they are; yours moved")
    refuse(
        value,
        (rows_with(mixed, e, w), "you scale rows of classes outside the support to unit length; leave them"),
        (rows_with(mixed, mixed), "a new class's row becomes the unit proxy, it is not mixed"),
        (rows_with(e, e), "a known class keeps 1 - alpha of its own row; you replaced it"),
        (rows_with(F.normalize(alpha * w + (1 - alpha) * e, dim=1), e), "the shares are swapped: alpha is the proxy's"),
        (rows_with(raw, e), "bring both to unit length before you mix"),
        (rows_with(mixture, e), "a mixture of two unit vectors is shorter than 1; normalise it again"),
        (rows_with(mixed, proxies), "the row of a new class is its proxy at unit length"),
    )
    require(is_close(value, rows_with(mixed, e)), "not: new -> unit proxy, known -> unit mixture, others untouched")
    return "a class that was never trained has a row of the classifier, without a single gradient"


@checker
def check_prior(attempt: Any) -> str:
    """Check `f(query [D,h,w], support [D,h,w], inside bool [h,w]) -> prior [h,w]`: PFENet's prior mask."""
    draw = torch.Generator().manual_seed(82)
    query, support = (torch.randn(6, 4, 5, generator=draw) + 0.5 for _ in range(2))
    support = support * (0.2 + 3 * torch.rand(1, 4, 5, generator=draw))
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[1:3, 1:4] = True
    value = tensor_of(call(attempt, query, support, inside), (4, 5), "the prior")
    everywhere, chosen = _cosines(query, support), inside.flatten()
    best = everywhere[:, chosen].amax(1)
    dots = (query.flatten(1).T @ support.flatten(1))[:, chosen]

    def scaled(scores: Tensor) -> Tensor:
        return ((scores - scores.min()) / (scores.max() - scores.min())).view(4, 5)

    truth = scaled(best)
    refuse(
        value,
        (scaled(everywhere.amax(1)), "only cells inside the mask may be matched; you search them all"),
        (scaled(everywhere[:, chosen].mean(1)), "this is the mean over the class's cells; keep the single best match"),
        (best.view(4, 5), "these are the cosines; scale them so that the least becomes 0 and the largest 1"),
        (scaled(dots.amax(1)), _DOTS),
        ((best / best.max()).view(4, 5), "subtract the least value before you divide"),
        (truth.T.reshape(4, 5), "rows and columns are mixed up; the result has the shape [h,w] of the query"),
    )
    require(is_close(value, truth), "some values differ from: best cosine inside the mask, then min-max")
    return "and it has a 1 somewhere even where the class is not, which is why it cannot say 'absent'"


@checker
def check_transfer(attempt: Any) -> str:
    """Check `f(query [D,h,w], support [D,h,w], labels [h,w]) -> labels [h,w]`: the nearest cell's label."""
    draw = torch.Generator().manual_seed(83)
    query, support = (torch.randn(4, 5, 6, generator=draw) for _ in range(2))
    support = support * (0.1 + 4 * torch.rand(1, 5, 6, generator=draw))
    labels = torch.randint(0, 5, (5, 6), generator=draw)
    labels[0, :4] = IGNORE
    value = tensor_of(call(attempt, query, support, labels), (5, 6), "the map of labels", torch.int64)
    flat, cosine = labels.flatten(), _cosines(query, support)

    def nearest(scores: Tensor, usable: Tensor) -> Tensor:
        return flat[scores.masked_fill(~usable, -torch.inf).argmax(1)].view(5, 6)

    labelled = flat != IGNORE
    ignored = "a cell labelled 255 won somewhere; it has no label to give, so it may not be a neighbour"
    refuse(
        value,
        (flat[cosine.T.argmax(1)].view(5, 6), "every query cell looks for its support cell, not the other way round"),
        (nearest(cosine, torch.ones_like(labelled)), ignored),
    )
    require(not (value == IGNORE).any(), ignored)
    refuse(
        value,
        (nearest(cosine, labelled & (flat != 0)), "background is a label like the others; id 0 may be a neighbour"),
        (nearest(query.flatten(1).T @ support.flatten(1), labelled), _DOTS),
        (nearest(-cosine, labelled), "you take the least similar cell; argmax, not argmin"),
    )
    require(is_close(value, nearest(cosine, labelled)), "some labels are not those of the most similar labelled cell")
    return "no prototype, no training, and background for free"
