"""Checkers of notebook 06, EOP-Net: soft screening, the cost of a pass, a contrast without edge, where to screen."""

from __future__ import annotations

from functools import cache
from math import log
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor
from torch.nn import functional as F

from oshp_lite.assets import checkpoint
from oshp_lite.book.exercises.frame import call, drawn_checker, is_close, number, numbers, refuse, require, tensor_of
from oshp_lite.book.network_charts import Curves, Step, curves
from oshp_lite.book.network_charts import steps_figure as steps
from oshp_lite.book.people import drawn_episode, sharing_pairs, shot_of
from oshp_lite.data.episode import collate
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.metrics import iou_of
from oshp_lite.labels import fold, label_space
from oshp_lite.models import complexity
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.viz.images import kept


def _draw_screened(attempt: Any) -> Figure:
    """Draw a noisy parse, a blurred map of the person, and what the learner's function makes of both."""
    space, (photo, mask, person) = label_space("atr"), shot_of(3)
    noise = torch.randn(1, space.n_ids, 32, 32, generator=torch.Generator().manual_seed(0))
    noise[:, [index for index in range(space.n_ids) if index not in space.classes]] = -9.0
    fine = 2.2 * F.one_hot(mask, space.n_ids).permute(2, 0, 1)[None] + F.interpolate(
        noise, size=mask.shape, mode="bilinear"
    )
    smooth = F.avg_pool2d(person[None, None].float(), 17, 1, 8, count_include_pad=False)
    coarse = 6 * torch.cat([1 - smooth, smooth], 1)
    classes = kept(space)
    panels = (
        ("not screened", fine.argmax(1)[0]),
        ("screened, hard", torch.where(coarse.argmax(1) == 1, fine.argmax(1), 0)[0]),
        ("your output", torch.as_tensor(attempt(fine, coarse)).argmax(1)[0]),
        ("truth", mask),
    )
    return steps([[Step(title, photo, ids, classes) for title, ids in panels]])


@drawn_checker(_draw_screened)
def check_soft_screening(attempt: Any) -> str:
    """Check `f(fine [B,C,H,W], coarse [B,2,H,W]) -> float [B,C,H,W]`: probabilities of person and class together."""
    draw = torch.Generator().manual_seed(4)
    fine, coarse = torch.randn(2, 5, 6, 7, generator=draw), torch.randn(2, 2, 6, 7, generator=draw)
    classes, (scene, person) = fine.softmax(1), coarse.softmax(1).split(1, 1)
    right = torch.cat([scene + person * classes[:, :1], person * classes[:, 1:]], 1)
    raw = call(attempt, fine, coarse)
    ids = isinstance(raw, Tensor) and raw.dim() == 3
    require(not ids, "these are ids; return the probabilities of all C classes, [B,C,H,W]")
    result = tensor_of(raw, (2, 5, 6, 7), "the probabilities")
    hard = torch.where(coarse.argmax(1, keepdim=True) == 1, classes, F.one_hot(torch.tensor(0), 5)[None, :, None, None])
    product = torch.cat([scene * classes[:, :1], person * classes[:, 1:]], 1)
    refuse(
        result,
        (hard.float(), "this is the hard rule: p(person) = 0.49 and 0.01 have the same effect. Use the probability"),
        (person * classes, "the channels sum to p(person). The scene's share belongs to the background"),
        (product / product.sum(1, keepdim=True), "the background needs both ways: scene, or person without a class"),
        (product, "the background needs both ways: scene, or person without a class"),
        (torch.cat([scene, person * classes[:, 1:]], 1), "a person's pixel without a class is background too"),
        (
            torch.cat([person + scene * classes[:, :1], scene * classes[:, 1:]], 1),
            "channel 1 is the person, 0 the scene",
        ),
        (classes, "nothing is screened: the coarse logits have no effect"),
    )
    whole = is_close(result.sum(1), torch.ones(2, 6, 7), 1e-4)
    require(whole, "the probabilities of a pixel must sum to one; are both softmaxes there?")
    require(is_close(result, right), "for a class, p = p(person) · p(class | person); the background takes the rest")
    return "a class needs a person and the class; the background takes the rest"


def _full(classes: int, side: int) -> float:
    """Return the G MACs of the released network's full pass at side x side pixels with some classes."""
    return complexity.total_macs(EOPNetConfig.official(), (side, side), classes)["full"] / 1e9


def _draw_macs(attempt: Any) -> Figure:
    """Draw the cost over the number of classes at both sizes, with the learner's two numbers."""
    ways = [1, 5, 8, 17]
    lines = {f"{side} px": (ways, [_full(way, side) for way in ways]) for side in (512, 256)}
    settings = {"xlabel": "classes with an AGM pass", "ylabel": "G MACs", "ylim": (0, None)}
    figure = curves(Curves("cost of the released network's full pass", lines, settings, "o"), width=5.6)
    figure.axes[0].plot([8, 8], numbers(attempt(), "", 2), "D", color="#b3361e", markerfacecolor="white", markersize=9)
    return figure


@drawn_checker(_draw_macs)
def check_macs(attempt: Any) -> str:
    """Check `f() -> (at 512 px, at 256 px)`: expected G MACs of the released network's full pass with 8 classes."""
    large, small = numbers(call(attempt), "the G MACs at 512 px, then at 256 px", 2)
    five, eight = _full(5, 512), _full(8, 512)
    refuse(
        large,
        (five * 8 / 5, "only AGM's passes grow with the classes; the encoder runs twice whatever the mask holds"),
        (five, "that is the cost with five classes; three more each add a pass of AGM's trunk"),
        (complexity.total_macs(EOPNetConfig.official(), (512, 512), 8)["inference"] / 1e9, "count the full pass"),
        tolerance=0.02,
    )
    require(is_close(large, eight, 0.02), f"at 512 px the pass costs {eight:.0f} G, you expected {large:.0f} G")
    refuse(
        small,
        (large / 2, "half the side is a quarter of the pixels, and a convolution pays for every pixel"),
        (large, "a convolution pays for every output pixel, and 256 px has fewer"),
        (large / 16, "half the side is a quarter of the pixels, not a sixteenth"),
        tolerance=0.02,
    )
    require(
        is_close(small, _full(8, 256), 0.02), f"at 256 px it costs {_full(8, 256):.0f} G, you expected {small:.0f} G"
    )
    return "a fixed part for two photos and the coarse space, a part for each class, and all of it per pixel"


@cache
def _descent(tau: float) -> tuple[list[float], list[float], list[float]]:
    """Follow 25 steps of descent on query prototypes: the loss, and the first one's cosine with itself and a rival."""
    draw = torch.Generator().manual_seed(6)
    support = torch.randn(8, 32, generator=draw)
    support[1] = support[0] + 0.5 * torch.randn(32, generator=draw)
    query = (support + 0.4 * torch.randn(8, 32, generator=draw))[[1, 0, *range(2, 8)]].requires_grad_(True)
    optimiser, losses, own, rival = torch.optim.SGD([query], lr=3.0), [], [], []
    for _ in range(25):
        cosines = F.normalize(query, dim=1) @ F.normalize(support, dim=1).T
        loss = F.cross_entropy(cosines / tau, torch.arange(8))
        losses.append(float(loss.detach()))
        own.append(float(cosines[0, 0].detach()))
        rival.append(float(cosines[0, 1].detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return losses, own, rival


def _draw_flat(attempt: Any) -> Figure:
    """Draw a prototype's cosines along the descent at a working temperature and at the learner's."""
    tau = float(attempt()[0])
    panels = []
    for value in (0.1, tau):
        _, own, rival = _descent(value)
        lines = {"with its own class": (range(25), own), "with the rival": (range(25), rival)}
        panels.append(Curves(f"τ = {value:g}", lines, {"xlabel": "step", "ylabel": "cosine", "ylim": (0.5, 1.0)}))
    return curves(*panels, width=3.6)


@drawn_checker(_draw_flat)
def check_flat_contrast(attempt: Any) -> str:
    """Check `f() -> (tau, loss, reason)`: a temperature that ends all learning, the loss of 8 classes there, why."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 3, "return three things: τ, the loss and the letter of a reason")
    tau, loss = number(given[0], "τ"), number(given[1], "the loss")
    require(tau > 0, "a temperature is positive")
    small = "a small τ sharpens the softmax: the loss falls fast. Go the other way"
    require(tau >= 0.1, small)
    _, own, rival = _descent(tau)
    gain = (own[-1] - rival[-1]) - (own[0] - rival[0])
    require(gain < 0.02, f"at τ = {tau:g} the gap to the rival still grows by {gain:.2f} within 25 steps; raise τ")
    limit = log(8)
    refuse(
        loss,
        (0.0, "a loss of zero means that every class recognises itself, which takes large differences of logits"),
        (1 / 8, "1/8 is the probability of each class; the loss is its negative logarithm"),
        tolerance=0.02,
    )
    flat = f"all logits shrink to nothing, so every class gets 1/8: the loss is log 8 = {limit:.2f}, not {loss:.2f}"
    require(abs(loss - limit) <= 0.05, flat)
    require(given[2] in ("a", "b", "c"), "the reason is one of the letters 'a', 'b' and 'c'")
    reasons = {
        "a": "the cosines do not change with τ; only what the softmax makes of them does",
        "c": "the learning rate is the same in both panels; the gradient is not",
    }
    require(given[2] == "b", f"τ and the loss are right, the reason is not: {reasons.get(given[2], '')}")
    return "the softmax is flat and its gradient, which carries a factor 1/τ, has vanished"


@cache
def _screening() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return thresholds, and the base and novel mIoU and the share of false marks off the person at each, in percent.

    Measured with the shipped network on eight pairs of drawn people who share a novel class; screening keeps pixels
    whose p(person) reaches the threshold.
    """
    network, space, chosen = load_parser(checkpoint()), label_space("atr"), fold("atr", 1, "journal")
    batch = collate([drawn_episode(*pair) for pair in sharing_pairs(chosen.novel, 8, first=100)])
    with torch.no_grad():
        parsing = network(batch)
    truth = restrict_target(cast(Tensor, batch.query_mask), batch.support_mask, space.n_ids)
    person, ids = parsing.coarse.softmax(1)[:, 1], parsing.fine.argmax(1)
    places = np.array([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999])
    made: dict[str, list[float]] = {"base": [], "novel": [], "false marks": []}
    for threshold in places:
        kept_ids = torch.where(person >= threshold, ids, 0)
        pairs = truth * space.n_ids + kept_ids
        matrix = torch.bincount(pairs[truth != 255], minlength=space.n_ids**2).reshape(space.n_ids, -1)
        iou = iou_of(matrix.double())
        for name, classes in (("base", chosen.base_foreground), ("novel", chosen.novel)):
            made[name].append(100 * float(iou[list(classes)].nanmean()))
        made["false marks"].append(100 * float(((kept_ids > 0) & (batch.query_foreground == 0)).float().mean()))
    return places, {name: np.array(values) for name, values in made.items()}


def _draw_threshold(attempt: Any) -> Figure:
    """Draw both scores and the false marks over the threshold, with the learner's."""
    places, made = _screening()
    axis = {"xlabel": "keep pixels with p(person) of at least"}
    left = Curves("base and novel mIoU, %", {name: (places, made[name]) for name in ("base", "novel")}, axis, "o")
    right = Curves("marks off the person, % of the photo", {"false marks": (places, made["false marks"])}, axis, "o")
    figure = curves(left, right, width=3.9)
    for axes in figure.axes:
        axes.axvline(float(attempt()[0]), color="#b3361e", lw=1.2, ls=":")
    return figure


@drawn_checker(_draw_threshold)
def check_threshold(attempt: Any) -> str:
    """Check `f() -> (threshold, judge)`: where to screen by p(person), chosen on "base" or on "novel" classes."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 2, 'return two things: the threshold, and "base" or "novel"')
    threshold, judge = number(given[0], "the threshold"), given[1]
    require(judge in ("base", "novel"), 'the second value names the classes you choose on: "base" or "novel"')
    peeking = "novel classes are the test. A threshold chosen on them makes their score a training score"
    require(judge == "base", peeking)
    require(0 <= threshold < 1, "a threshold of a probability lies in [0, 1); at 1 nothing is ever kept")
    require(threshold > 0, "a threshold of 0 keeps every pixel: nothing is screened and all false marks stay")
    places, made = _screening()
    best, mine = made["base"].max(), float(np.interp(threshold, places, made["base"]))
    lost = f"base mIoU is {mine:.1f} % there and {best:.1f} % at its best; such a threshold cuts into the person"
    require(mine >= best - 2, lost)
    return f"base mIoU {mine:.1f} % of at most {best:.1f} %. Now defend it: what does a mark off the person cost you?"
