"""Checkers of notebook 04, dual metric learning: absent ids, the schedule's weights, a misleading map, the scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from oshp_lite.assets import CHECKPOINT
from oshp_lite.book.exercises.frame import call, drawn_checker, is_close, number, refuse, require, tensor_of
from oshp_lite.book.lessons.heads import Bench, Head, matrices_of, train_head
from oshp_lite.book.lessons.record import Lesson, Row, compared
from oshp_lite.book.maps import Panel, panel_grid
from oshp_lite.book.typical import FOLD, Person, as_seen, draw_person, shipped_gallery
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.models.modules.losses import restrict_target, shift_weights
from oshp_lite.models.modules.metric import attend, cosine_maps
from oshp_lite.models.modules.prototypes import masked_average, shrink_mask
from oshp_lite.viz.style import INK, new_figure


def _present_maps() -> Tensor:
    """Three classes' maps on 24 x 24 cells: smooth bumps at different places, in [-1,1]."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 24), torch.linspace(-1, 1, 24), indexing="ij")
    centres = ((-0.5, 0.0), (0.1, 0.3), (0.6, -0.3))
    return torch.stack([1.05 * torch.exp(-4 * ((y - a) ** 2 + (x - b) ** 2)) - 0.1 for a, b in centres])


IDS = 11
"""Foreground ids that the exercise's released network has."""


def _draw_absent(attempt: Any) -> Figure:
    maps = _present_maps()
    mine = tensor_of(call(attempt, maps, IDS), maps.shape[1:], "the background map")
    titles = ("class 1", "class 2", "class 3")
    panels = [Panel(one, title, "cosine") for one, title in zip(maps, titles, strict=True)]
    return panel_grid(
        [[*panels, Panel((1 - maps).mean(0), "Eq. (8)", "cosine"), Panel(mine, "your A_0", "cosine")]], cell=1.5
    )


@drawn_checker(_draw_absent)
def check_absent_ids(attempt: Any) -> str:
    """Check `f(maps of K present classes [K,h,w], number of ids) -> A_0 [h,w]` as the released code averages."""
    maps = _present_maps()
    k, unlike = len(maps), (1 - maps).sum(0)
    result = tensor_of(call(attempt, maps, IDS), maps.shape[1:], "the background map")
    refuse(
        result,
        (unlike / k, "that is Eq. (8), the mean over the support's classes; the released code averages over all ids"),
        (unlike / IDS, "the absent ids count too: their maps are 0, so each adds 1 - 0 = 1 to the sum"),
        (maps.sum(0) / IDS, "this is the mean similarity; the background is the dissimilarity 1 - A"),
        ((unlike + IDS - k) / k, "the sum is right; divide it by the number of all ids"),
        ((unlike + IDS) / IDS, "you counted every id as absent; only the other ones are"),
    )
    require(is_close(result, (unlike + IDS - k) / IDS), "the map differs from the mean of 1 - A over all ids")
    one = tensor_of(call(attempt, maps[:1], 1), maps.shape[1:], "the background map")
    require(is_close(one, 1 - maps[0]), "with a single id, which is present, A_0 is 1 - A")
    return "absent ids lift the background towards 1 and flatten it, however many maps you never computed"


EPOCHS = 50


def _npm_percent(first: int, last: int) -> float:
    """Percent of the loss weight of epochs first..last-1 that went to the NPM."""
    return 100 * float(np.mean([shift_weights(epoch / EPOCHS)[1] for epoch in range(first, last)]))


def _prediction(attempt: Any) -> tuple[float, float, bool]:
    """Read (percent in the first half, percent in the second half, whether NPM ever overtakes)."""
    made = call(attempt)
    require(isinstance(made, tuple) and len(made) == 3, "return three things: two percentages, and True or False")
    require(isinstance(made[2], bool), "the third part is True or False")
    return number(made[0], "the first half's percentage"), number(made[1], "the second half's percentage"), made[2]


def _draw_weights(attempt: Any) -> Figure:
    first, second, _ = _prediction(attempt)
    beta = np.array([shift_weights(epoch / EPOCHS)[0] for epoch in range(EPOCHS)])
    figure, axes = new_figure(width=5.4, height=2.7)
    for values, name in ((beta, "AGM"), (1 - beta, "NPM")):
        axes[0, 0].plot(range(1, EPOCHS + 1), np.cumsum(values), label=f"{name}, sum so far")
    half = EPOCHS // 2
    totals = [half * first / 100, half * (first + second) / 100]
    axes[0, 0].plot([half, EPOCHS], totals, "*", markersize=12, color=INK[3], label="NPM as you predict")
    axes[0, 0].set(xlabel="epochs done", ylabel="weight given out so far")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@drawn_checker(_draw_weights)
def check_weights(attempt: Any) -> str:
    """Check `f() -> (NPM's percent in the first half, in the second, does its sum ever pass AGM's?)`, Eq. (10)."""
    first, second, passes = _prediction(attempt)
    early, late = _npm_percent(0, EPOCHS // 2), _npm_percent(EPOCHS // 2, EPOCHS)
    require(abs(first - 100 + early) > 2 or abs(second - 100 + late) > 2, "these are AGM's shares, not NPM's")
    switch = "you describe a switch at half time; the weight moves in a straight line from the first epoch on"
    require((first, second) != (0, 100), switch)
    moment = "50 % is the weight at half time; before that it was always less, so the mean over the half is less"
    require(abs(first - 50) > 2, moment)
    require(abs(first - early) <= 2, f"in the first half NPM gets {early:.0f} % of the weight, not {first:g}")
    require(abs(second - late) <= 2, f"in the second half NPM gets {late:.0f} % of the weight, not {second:g}")
    total = _npm_percent(0, EPOCHS)
    require(not passes, f"over all {EPOCHS} epochs NPM gets {total:.0f} % of the weight: it never quite catches up")
    return (
        f"NPM gets {early:.0f} %, then {late:.0f} %, and {total:.0f} % in all: AGM shapes the features for most of it"
    )


PAIR = (10, 6)
"""Query and support of the break-it exercise."""


@cache
def _stage() -> tuple[Any, Person, Tensor, dict[str, Tensor], Tensor]:
    """The shipped network, the query, its features [D,h,w], its cosine maps by class name, its cells int64 [h,w]."""
    parser: Any = load_parser(CHECKPOINT)
    query, support = (draw_person(index) for index in PAIR)
    with torch.inference_mode():
        z_q, z_s = (parser.fine_projection(parser.encoder(as_seen(one.photo)[None])) for one in (query, support))
        rows = masked_average(z_s, support.mask[None], FOLD.n_ids)
        maps = cosine_maps(z_q, rows)[0]
    names = {FOLD.space.class_name(c): maps[c].clone() for c in FOLD.foreground if rows[0, c].any()}
    return parser, query, z_q[0].clone(), names, shrink_mask(query.mask[None], z_q.shape[2:])[0]


def _agm_alone(similarity: Tensor) -> Tensor:
    """AGM's probability [h,w] of one class against its background, for any map [h,w] in place of the cosine."""
    parser, _, z, _, _ = _stage()
    with torch.inference_mode():
        scores = parser.fine_guidance(attend(z[None], similarity[None]))[0]
        return torch.stack([parser.agm_fusion.maps(scores[1:2][None])[0, 0], scores[0]]).softmax(0)[1]


def _own_map(attempt: Any) -> Tensor:
    _, _, _, maps, cells = _stage()
    result = tensor_of(call(attempt, maps), cells.shape, "the map")
    require(not result.isnan().any() and result.abs().max() <= 1 + 1e-4, "a cosine map lies in [-1, 1]")
    return result


def _draw_misled(attempt: Any) -> Figure:
    own = _own_map(attempt)
    _, query, _, maps, _ = _stage()
    face, pants = ((query.mask == _id(name)).numpy() for name in ("face", "pants"))
    rows = []
    zeros = torch.zeros_like(own)
    for title, one, outline in (("pants' own map", maps["pants"], pants), ("zeros", zeros, face), ("yours", own, face)):
        panels = [Panel(query.photo, "query", outline=outline), Panel(one, title, "cosine", outline)]
        rows.append([*panels, Panel(_agm_alone(one), "AGM: pants", "share", outline)])
    return panel_grid(rows, cell=1.8)


@drawn_checker(_draw_misled)
def check_misled(attempt: Any) -> str:
    """Check `f(maps: dict name -> [h,w]) -> [h,w]`: a map that makes the AGM mark the face as pants."""
    own, maps, cells = _own_map(attempt), _stage()[3], _stage()[4]

    def marked(similarity: Tensor) -> tuple[float, float, float]:
        """Shares of face, pants and scene that AGM marks as pants."""
        wins = _agm_alone(similarity) > 0.5
        face, pants = (float(wins[cells == _id(name)].float().mean()) for name in ("face", "pants"))
        return face, pants, float(wins[cells == 0].float().mean())

    face, pants, rest = marked(own)
    outcome = f"AGM marks {face:.0%} of the face, {pants:.0%} of the pants and {rest:.0%} of the scene"
    require(own.abs().max() > 0, f"{outcome}. A map of zeros says nothing: what AGM marks now, it marks from memory")
    require(face >= 0.6, f"{outcome}. Which map is bright on the face?")
    require(pants <= 0.2, f"{outcome}. Your map must be dark on the pants, or negative there")
    require(rest <= 0.1, f"{outcome}. Your map must be dark on the scene")
    usual, blind = marked(maps["pants"])[0], marked(torch.zeros_like(own))[0]
    memory = f"With the pants' own map it marks {usual:.0%} of the face, with a map of zeros {blind:.0%}"
    return f"{outcome}. {memory}: part of its decision is the map, part is what the trunk remembers of base classes"


def _id(name: str) -> int:
    return next(c for c in FOLD.foreground if FOLD.space.class_name(c) == name)


@cache
def _scored() -> tuple[Tensor, Tensor]:
    """Unscaled NPM scores float [N,C] and truths int64 [N] of the cells of 23 pairs, absent ids at -inf."""
    gallery = shipped_gallery(24)
    scores, truths = [], []
    for query in range(23):
        support = query + 1
        rows = masked_average(gallery.features[support][None], gallery.cells[support][None], FOLD.n_ids)
        visible = rows[0].any(1)
        visible[0] = False
        maps = cosine_maps(gallery.features[query][None], rows)[0]
        logits = torch.full_like(maps, -torch.inf)
        logits[visible], logits[0] = maps[visible], (1 - maps[visible]).mean(0)
        scores.append(logits.flatten(1).T)
        truths.append(restrict_target(gallery.cells[[query]], gallery.cells[[support]], FOLD.n_ids).flatten())
    return torch.cat(scores), torch.cat(truths)


def _costs(scales: list[float]) -> list[tuple[float, float, float]]:
    """Cross-entropy, mean probability of the winner and share of right cells, for each scale."""
    scores, truths = _scored()
    known = truths != 255
    costs = []
    for scale in scales:
        logits = (scale * scores)[known]
        logits = torch.where(logits.isfinite(), logits, -1e4)
        loss = torch.nn.functional.cross_entropy(logits, truths[known])
        best = logits.softmax(1).max(1)
        costs.append((float(loss), float(best.values.mean()), float((best.indices == truths[known]).float().mean())))
    return costs


def _scale(attempt: Any) -> float:
    scale = number(call(attempt), "the scale")
    require(scale > 0, "a scale of 0 or less gives every class the same chance, or turns the maps round")
    return scale


def _draw_scale(attempt: Any) -> Figure:
    mine, grid = _scale(attempt), np.geomspace(1, 100, 25).tolist()
    curves = np.array(_costs(grid))
    figure, axes = new_figure(1, 2, width=3.4, height=2.7)
    axes[0, 0].plot(grid, curves[:, 0], color=INK[0])
    axes[0, 0].plot([mine], [_costs([mine])[0][0]], marker="*", markersize=14, color=INK[1], linestyle="")
    axes[0, 0].set(xscale="log", xlabel="scale", title="cross-entropy; star: yours")
    axes[0, 1].plot(grid, curves[:, 1], label="mean probability of the winner")
    axes[0, 1].plot(grid, curves[:, 2], label="share of right cells")
    axes[0, 1].set(xscale="log", xlabel="scale", ylim=(0, 1), title="sure, and right")
    axes[0, 1].legend(loc="upper center", bbox_to_anchor=(0.5, -0.25))
    return figure


@drawn_checker(_draw_scale)
def check_scale(attempt: Any) -> str:
    """Check `f() -> scale`: a scale of NPM whose probabilities can be believed (cross-entropy on 23 pairs)."""
    scale = _scale(attempt)
    (mine, sure, right), best = _costs([scale])[0], min(_costs(np.geomspace(1, 100, 25).tolist()))[0]
    belief = f"the winner's mean probability is {sure:.0%}, and {right:.0%} of the cells are right"
    facts = f"cross-entropy {mine:.2f}, the best is {best:.2f}; {belief}"
    side = "The probabilities are too flat: raise the scale" if sure < right else "NPM is too sure: lower the scale"
    require(mine <= 1.05 * best, f"{facts}. {side}")
    return f"{facts}. Compare with the scale that the network has learned"


def compare_schedules(
    bench: Bench, schedules: Mapping[str, Callable[[float], float]], *, steps: int = 60, seeds: int = 2
) -> Lesson:
    """Train heads under two schedules of beta and compare their NPMs: the first minus the second.

    schedules  name -> `f(share of the training that is done) -> beta in [0,1]`
    """
    rows = []
    for name, beta_of in schedules.items():
        heads = [
            train_head(bench, lambda *sizes: Head(*sizes, guided=True), beta_of, steps=steps, seed=seed)[0]
            for seed in range(seeds)
        ]
        rows.append(Row(name, [matrices_of(bench, head)["npm"] for head in heads]))
    first, second = schedules
    return Lesson(compared(rows, [(first, second)], bench.queries, bench.fold))
