"""Checkers of notebook 08: PANet's background, AMP's rows, PFENet's prior, label transfer."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.book.exercises.common import ask, checker, close, require, tensor_of
from oshp_lite.data.episode import IGNORE


@checker
def check_background(answer: Any) -> str:
    """Check `f(features [D,H,W], mask [H,W]) -> prototype [D]`: the background of PANet in k-way (journal, 6.3)."""
    draw = torch.Generator().manual_seed(80)
    features = torch.randn(3, 6, 8, generator=draw)
    mask = torch.zeros(6, 8, dtype=torch.int64)
    mask[:2, :3], mask[3:, 4:], mask[4:, :2], mask[2, :] = 4, 7, 9, IGNORE
    value = tensor_of(ask(answer, features, mask), (3,), "the prototype")
    known, classes = mask != IGNORE, (4, 7, 9)

    def mean(where: Tensor) -> Tensor:
        return features[:, where].mean(1)

    truth = torch.stack([mean(known & (mask != c)) for c in classes]).mean(0)
    require(
        not close(value, mean(mask == 0)),
        "this is the mean of the pixels of no class, PANet's own rule; in the journal's protocol the other classes are "
        "background too, so they belong into the average of every class c",
    )
    require(
        not close(value, torch.stack([mean(mask != c) for c in classes]).mean(0)),
        "pixels marked 255 are in your averages; they say nothing and never count",
    )
    require(
        not close(value, torch.stack([mean(known & (mask != c)) for c in (0, *classes)]).mean(0)),
        "the mean runs over the classes; id 0 is not one of them",
    )
    weights = torch.stack([(known & (mask != c)).float() for c in classes]).sum(0)
    require(
        not close(value, (features * weights).sum((1, 2)) / weights.sum()),
        "you pool all k masks into one average; it is the mean of k averages, each class with the same weight",
    )
    require(
        not close(value, torch.stack([mean(mask == c) for c in classes]).mean(0)),
        "this is the mean of the classes' own prototypes; the background of class c is everything that is not c",
    )
    require(close(value, truth), f"asked for {_told(truth)}, yours is {_told(value)}")
    return "every part sits in k - 1 of the k averages, which is why this prototype looks like a part"


@checker
def check_imprint(answer: Any) -> str:
    """Check `f(rows, proxies, shown, known, alpha) -> rows [C,D]`: AMP's rows after a support."""
    draw = torch.Generator().manual_seed(81)
    rows = F.normalize(torch.randn(5, 4, generator=draw), dim=1) * torch.tensor([[2.0], [0.5], [3.0], [1.5], [0.7]])
    proxies = torch.randn(5, 4, generator=draw) * torch.tensor([[4.0], [2.0], [0.3], [5.0], [1.2]])
    shown = torch.tensor([True, True, False, True, False])
    known = torch.tensor([True, False, True, True, False])
    alpha = 0.25
    value = tensor_of(ask(answer, rows, proxies, shown, known, alpha), (5, 4), "the rows")
    w, e = F.normalize(rows, dim=1), F.normalize(proxies, dim=1)
    mixed = F.normalize((1 - alpha) * w + alpha * e, dim=1)

    def rows_with(known_ones: Tensor, new_ones: Tensor, others: Tensor = rows) -> Tensor:
        after = torch.where((shown & known)[:, None], known_ones, others)
        return torch.where((shown & ~known)[:, None], new_ones, after)

    truth = rows_with(mixed, e)
    rest = ~shown
    require(
        close(value[rest], rows[rest]) or close(value[rest], w[rest]),
        "rows of classes that the support does not show must stay as they are; yours moved",
    )
    require(not close(value, rows_with(mixed, e, w)), "you scale rows that nobody showed to unit length; leave them")
    require(
        not close(value, rows_with(mixed, mixed)),
        "a new class has no row worth keeping: its row becomes the unit proxy, it is not mixed",
    )
    require(not close(value, rows_with(e, e)), "a known class keeps 1 - alpha of its own row; you replaced it")
    require(
        not close(value, rows_with(F.normalize(alpha * w + (1 - alpha) * e, dim=1), e)),
        "alpha is the share of the proxy, 1 - alpha that of the old row; yours are swapped",
    )
    require(
        not close(value, rows_with(F.normalize((1 - alpha) * rows + alpha * proxies, dim=1), e)),
        "bring row and proxy to unit length before you mix them, or the longer one gets more than its share",
    )
    require(
        not close(value, rows_with((1 - alpha) * w + alpha * e, e)),
        "a mixture of two unit vectors is shorter than 1; normalise it again",
    )
    require(not close(value, rows_with(mixed, proxies)), "the row of a new class is its proxy at unit length")
    require(close(value, truth), "some rows differ from: new -> unit proxy, known -> unit mixture, others untouched")
    return "a class that was never trained has a row of the classifier, without a single gradient"


@checker
def check_prior(answer: Any) -> str:
    """Check `f(query [D,h,w], support [D,h,w], inside bool [h,w]) -> prior [h,w]`: PFENet's prior mask."""
    draw = torch.Generator().manual_seed(82)
    query, support = (torch.randn(6, 4, 5, generator=draw) + 0.5 for _ in range(2))
    support = support * (0.2 + 3 * torch.rand(1, 4, 5, generator=draw))
    inside = torch.zeros(4, 5, dtype=torch.bool)
    inside[1:3, 1:4] = True
    value = tensor_of(ask(answer, query, support, inside), (4, 5), "the prior")
    a, b = F.normalize(query.flatten(1), dim=0), F.normalize(support.flatten(1), dim=0)
    cosine = (a.T @ b)[:, inside.flatten()]

    def scaled(best: Tensor) -> Tensor:
        return ((best - best.min()) / (best.max() - best.min())).view(4, 5)

    truth = scaled(cosine.amax(1))
    require(
        not close(value, scaled((a.T @ b).amax(1))), "only cells inside the mask may be matched; you search them all"
    )
    require(
        not close(value, scaled(cosine.mean(1))),
        "this is the mean over the class's cells; the prior keeps the single best match of every query cell",
    )
    require(
        not close(value, cosine.amax(1).view(4, 5)),
        "these are the cosines themselves; scale them so that the least becomes 0 and the largest 1",
    )
    dots = (query.flatten(1).T @ support.flatten(1))[:, inside.flatten()]
    require(
        not close(value, scaled(dots.amax(1))),
        "plain dot products let long feature vectors win; normalise both sides to get cosines",
    )
    require(not close(value, (cosine.amax(1) / cosine.amax()).view(4, 5)), "subtract the least value before you divide")
    require(
        not close(value, truth.T.reshape(4, 5)),
        "rows and columns are mixed up; the result has the shape [h,w] of the query",
    )
    require(close(value, truth), "some values differ from: best cosine inside the mask, then min-max")
    return "and it has a 1 somewhere even where the class is not, which is why it cannot say 'absent'"


@checker
def check_transfer(answer: Any) -> str:
    """Check `f(query [D,h,w], support [D,h,w], labels [h,w]) -> labels [h,w]`: the nearest cell's label."""
    draw = torch.Generator().manual_seed(83)
    query, support = (torch.randn(4, 5, 6, generator=draw) for _ in range(2))
    support = support * (0.1 + 4 * torch.rand(1, 5, 6, generator=draw))
    labels = torch.randint(0, 5, (5, 6), generator=draw)
    labels[0, :4] = IGNORE
    raw = ask(answer, query, support, labels)
    require(isinstance(raw, Tensor), f"return a tensor of labels, not {type(raw).__name__}")
    require(raw.dtype == torch.int64, f"labels are int64; yours is {raw.dtype}")
    value = tensor_of(raw, (5, 6), "the labels").to(torch.int64)
    flat = labels.flatten()
    a, b = F.normalize(query.flatten(1), dim=0), F.normalize(support.flatten(1), dim=0)
    cosine = a.T @ b

    def nearest(scores: Tensor, usable: Tensor) -> Tensor:
        return flat[scores.masked_fill(~usable, -torch.inf).argmax(1)].view(5, 6)

    truth = nearest(cosine, flat != IGNORE)
    taken = flat[cosine.T.argmax(1)].view(5, 6)
    require(
        not torch.equal(value, taken),
        "you search the best query cell for each support cell; every query cell looks for its support cell",
    )
    everything = torch.ones_like(flat, dtype=torch.bool)
    require(
        not torch.equal(value, nearest(cosine, everything)) and not bool((value == IGNORE).any()),
        "a cell labelled 255 won somewhere; it has no label to give, so it may not be a neighbour",
    )
    require(
        not torch.equal(value, nearest(cosine, (flat != IGNORE) & (flat != 0))),
        "background is a label like the others here: cells of id 0 are neighbours too",
    )
    dots = query.flatten(1).T @ support.flatten(1)
    require(
        not torch.equal(value, nearest(dots, flat != IGNORE)),
        "plain dot products let long feature vectors win; normalise both sides to get cosines",
    )
    require(
        not torch.equal(value, nearest(-cosine, flat != IGNORE)),
        "you take the least similar cell; argmax, not argmin",
    )
    require(torch.equal(value, truth), "some labels differ from that of the most similar labelled support cell")
    return "no prototype, no training, and background for free"


def _told(values: Tensor) -> str:
    return "[" + ", ".join(f"{float(value):.3f}" for value in values) + "]"
