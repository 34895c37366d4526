"""Checkers of notebook 03, prototypes: several supports, a wrong label in the bank, a bad support, a short training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from oshp_lite.book.exercises.frame import (
    NotAttempted,
    call,
    drawn_checker,
    is_close,
    number,
    refuse,
    require,
    tensor_of,
)
from oshp_lite.book.maps import Panel, panel_grid
from oshp_lite.book.typical import FOLD, Gallery, shipped_gallery
from oshp_lite.engine.statistics import bounds, draw_pairs
from oshp_lite.models.modules.metric import cosine_maps
from oshp_lite.models.modules.prototypes import masked_average
from oshp_lite.viz.images import overlay
from oshp_lite.viz.panels import add_legend, ids_in, photo_grid
from oshp_lite.viz.style import INK, new_figure


def _shots() -> tuple[Tensor, Tensor]:
    """Three supports of two features: class 7 fills 12 cells, 2 cells and none; some cells are ignored."""
    draw = torch.Generator().manual_seed(3)
    masks = torch.zeros(3, 6, 5, dtype=torch.int64)
    masks[0, 1:4, 1:5], masks[1, 4, 1:3], masks[1, 0] = 7, 7, 255
    masks[2, 2:4, 1:4] = 4
    centres = torch.tensor([[2.0, 1.0], [-0.5, 2.5], [-1.5, -1.0]])
    return centres[:, :, None, None] + 0.4 * torch.randn(3, 2, 6, 5, generator=draw), masks


def _draw_shots(attempt: Any) -> Figure:
    features, masks = _shots()
    mine = tensor_of(call(attempt, features, masks, 7), (2,))
    figure, axes = new_figure(width=4.6, height=3.0)
    for place, (one, mask) in enumerate(zip(features, masks, strict=True)):
        if (mask == 7).any():
            x, y = one[:, mask == 7].numpy()
            axes[0, 0].scatter(x, y, color=INK[2 + place], marker="os"[place], s=14, label=f"support {place + 1}")
    axes[0, 0].scatter(*mine.tolist(), marker="*", s=170, color=INK[1], edgecolors="black", label="your prototype")
    axes[0, 0].set(xlabel="feature 1", ylabel="feature 2", title="cells of class 7; support 3 has none")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@drawn_checker(_draw_shots)
def check_shots(attempt: Any) -> str:
    """Check `f(features [S,D,h,w], masks int64 [S,h,w], class_id) -> [D]`: one prototype from several supports."""
    features, masks = _shots()
    result = tensor_of(call(attempt, features, masks, 7), (2,), "the prototype")
    inside = masks == 7
    every = features.permute(0, 2, 3, 1)[inside]
    each = [one[:, mask == 7].mean(1) for one, mask in zip(features, masks, strict=True) if (mask == 7).any()]
    refuse(
        result,
        (
            torch.stack(each).mean(0),
            "you averaged the photos' prototypes, so 2 cells weigh as much as 12; pool the cells",
        ),
        (torch.stack([*each, torch.zeros(2)]).mean(0), "a support without the class pulls your mean towards zero"),
        (every.sum(0), "this is the sum over the cells; divide it by their number"),
        (every.sum(0) / inside[0].numel() / 3, "you divided by all cells; divide by the class's own"),
        (every.sum(0) / (inside.sum((1, 2)) > 0).sum(), "you divided by the number of photos; divide by the cells"),
    )
    require(not result.isnan().any(), "a support without the class gives 0/0; count the cells of all supports first")
    require(is_close(result, every.mean(0)), "the vector differs from the mean over the class's cells in all supports")
    absent = tensor_of(call(attempt, features, masks, 9), (2,), "the prototype of a class that no support shows")
    require(not absent.isnan().any(), "a class that no support shows gives NaN (0/0); divide by max(1, count)")
    require(not absent.any(), "a class that no support shows must get the zero vector")
    return "all cells of all supports count alike, and a support without the class changes nothing"


AFTER = 100


def _wrong_share(alpha: float, updates: int) -> float:
    """Percent of a bank row that a wrong vector makes up, so many updates after it came in."""
    return 100 * (1 - alpha) * alpha**updates


def _shares(attempt: Any) -> dict[float, tuple[float, float]]:
    """Read a prediction {alpha: (percent at once, percent after 100 updates)}."""
    made = call(attempt)
    require(isinstance(made, Mapping), "return a dict: {0.9: (at once, later), 0.999: (at once, later)}")
    require(set(made) == {0.9, 0.999}, f"predict for α = 0.9 and α = 0.999, not for {sorted(made)}")
    require(all(np.size(pair) == 2 for pair in made.values()), "two numbers for each α: at once, and 100 updates later")
    return {alpha: (number(made[alpha][0]), number(made[alpha][1])) for alpha in (0.9, 0.999)}


def _draw_shares(attempt: Any) -> Figure:
    figure, axes = new_figure(width=5.6, height=2.8)
    n = np.arange(0, 2001)
    for (alpha, (first, later)), colour in zip(_shares(attempt).items(), INK, strict=False):
        axes[0, 0].plot(n, 100 * (1 - alpha) * alpha**n, color=colour, label=f"α = {alpha}", linestyle="-")
        axes[0, 0].plot([0, AFTER], [first, later], marker="*", markersize=11, linestyle="", color=colour)
    axes[0, 0].set(xscale="symlog", yscale="log", xlim=(-0.1, 2000), ylim=(1e-4, 200), title="stars: your prediction")
    axes[0, 0].set(xlabel="updates since the wrong vector", ylabel="its share of the row, %")
    axes[0, 0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@drawn_checker(_draw_shares)
def check_wrong_label(attempt: Any) -> str:
    """Check `f() -> {alpha: (percent at once, percent after 100 updates)}` of one mislabelled support in the bank."""
    for alpha, (first, later) in _shares(attempt).items():
        at_once, then = _wrong_share(alpha, 0), _wrong_share(alpha, AFTER)
        fraction = "give percent, not fractions: the new vector's weight in Eq. (3) is 1 - α"
        refuse(
            first,
            (at_once / 100, fraction),
            (100 * alpha, f"α is the share of the old row; the new vector gets 1 - α (α = {alpha})"),
        )
        require(
            is_close(first, at_once, 1e-2), f"for α = {alpha} the wrong vector enters with {at_once:g} %, not {first:g}"
        )
        require(later <= first, f"for α = {alpha} the share grows in your prediction; every update multiplies it by α")
        fits = abs(later - then) <= max(0.01, 0.02 * then)
        require(
            fits,
            f"for α = {alpha} it is {then:.3g} % after {AFTER} updates, not {later:g}: each one multiplies it by α",
        )
    return "a short memory is hurt badly and heals soon; a long one is hardly hurt and carries the error for long"


QUERY = 10
"""The query of the break-it exercise: a place in the gallery."""
REASONS = ("few cells", "unlike its class", "a look-alike wins")


def _gallery() -> Gallery:
    return shipped_gallery(24)


def _judged(gallery: Gallery, support: int, class_id: int) -> tuple[float, Tensor]:
    """Return the share of the query's cells of a class that its prototype wins on, and those cells' winners."""
    rows = masked_average(gallery.features[support][None], gallery.cells[support][None], FOLD.n_ids)
    rows[:, 0] = 0
    ids = torch.tensor([c for c in FOLD.foreground if rows[0, c].any()])
    maps = cosine_maps(gallery.features[QUERY][None], rows[:, ids])[0]
    winners = ids[maps.argmax(0)][gallery.cells[QUERY] == class_id]
    return float((winners == class_id).float().mean()), winners


def _choice(attempt: Any) -> tuple[int, int, str]:
    """Read (support, class name, reason)."""
    made = call(attempt)
    require(isinstance(made, tuple) and len(made) == 3, "return three things: the support's number, a class, a reason")
    support, name, reason = made
    names = {FOLD.space.class_name(c): c for c in FOLD.foreground}
    count = len(_gallery().people)
    require(isinstance(support, int) and 0 <= support < count, f"the support is a number from 0 to {count - 1}")
    require(support != QUERY, f"{QUERY} is the query itself; choose another person as support")
    require(name in names, f"{name!r} is not a class here; choose one of {', '.join(names)}")
    require(reason in REASONS, f"the reason is one of: {'; '.join(REASONS)}")
    for place, role in ((support, "support"), (QUERY, "query")):
        require(bool((_gallery().cells[place] == names[name]).any()), f"the {role} has not one cell of {name}")
    return support, names[name], reason


def _draw_break(attempt: Any) -> Figure:
    support, class_id, _ = _choice(attempt)
    gallery = _gallery()
    person, query = gallery.people[support], gallery.people[QUERY]
    row = masked_average(gallery.features[support][None], gallery.cells[support][None], FOLD.n_ids)[:, [class_id]]
    cosine = cosine_maps(gallery.features[QUERY][None], row)[0, 0]
    name = FOLD.space.class_name(class_id)
    theirs, wanted = ((one.mask == class_id).numpy() for one in (person, query))
    panels = [
        Panel(person.photo, f"support {support}: {name}", outline=theirs),
        Panel(query.photo, "query", outline=wanted),
    ]
    return panel_grid([[*panels, Panel(cosine, f"cosine to {name}", "cosine", wanted)]])


@drawn_checker(_draw_break)
def check_break(attempt: Any) -> str:
    """Check `f() -> (support, class name, reason)`: a support whose prototype misses a class, and why."""
    support, class_id, reason = _choice(attempt)
    gallery, name = _gallery(), FOLD.space.class_name(class_id)
    others = [s for s in range(len(gallery.people)) if s != QUERY and (gallery.cells[s] == class_id).any()]
    usual = float(np.median([_judged(gallery, s, class_id)[0] for s in others]))
    mine, winners = _judged(gallery, support, class_id)
    require(usual >= 0.2, f"{name} fails under most supports (median {usual:.0%}); break a class that usually works")
    outcome = f"{mine:.0%} of the query's cells of {name} are right with this support, the median is {usual:.0%}"
    require(mine <= usual / 2, f"{outcome}. Find a support that halves the median at least")
    cells = int((gallery.cells[support] == class_id).sum())
    rows = {s: gallery.features[s][:, gallery.cells[s] == class_id].mean(1) for s in others}
    mean = F.normalize(torch.stack(list(rows.values())), dim=1).mean(0)
    likeness = {s: float(F.cosine_similarity(row, mean, dim=0)) for s, row in rows.items()}
    rank = sorted(likeness.values()).index(likeness[support])
    rival = int(winners[winners != class_id].mode().values)
    lost = float((winners == rival).float().sum() / (winners != class_id).float().sum())
    evidence = {
        REASONS[0]: (cells <= 6, f"the support has {cells} cells of {name}"),
        REASONS[1]: (rank < max(2, len(others) // 4), f"its cosine to the class's mean is {likeness[support]:.2f}"),
        REASONS[2]: (lost >= 0.5, f"{lost:.0%} of the lost cells went to {FOLD.space.class_name(rival)}"),
    }
    facts = "; ".join(words for _, words in evidence.values())
    require(evidence[reason][0], f"{outcome}, so it breaks, but not by {reason!r}: {facts}")
    return f"{outcome}. The evidence: {facts}"


def show_gallery() -> Figure:
    """Draw the supports of the break-it exercise with their numbers, and the query."""
    people = _gallery().people
    titles = [f"{place}, the query" if place == QUERY else str(place) for place in range(len(people))]
    pictures = [overlay(one.photo, one.mask, FOLD.space) for one in people]
    figure = photo_grid(pictures, titles, columns=5, cell=1.5)
    add_legend(figure, FOLD.space, ids_in(*(one.mask for one in people)), columns=6)
    return figure


UPDATES, GROWING = 300, 100


def final_distances(alphas: list[float]) -> list[float]:
    """Return the cosine distance of a bank's row to the class's true direction after a short training, by alpha.

    Simulated: 300 updates; the features drift from a random direction to their final one in the first 100, every photo
    adds noise. Mean over 40 classes of 32 features.
    """
    draw = torch.Generator().manual_seed(7)
    start, goal = (F.normalize(torch.randn(40, 32, generator=draw), dim=1) for _ in range(2))
    share = (torch.arange(UPDATES) / GROWING).clamp(max=1)[:, None, None]
    stream = (1 - share) * start + share * goal + 0.2 * torch.randn(UPDATES, 40, 32, generator=draw)
    distances = []
    for alpha in alphas:
        row = stream[0]
        for vectors in stream[1:]:
            row = alpha * row + (1 - alpha) * vectors
        distances.append(float(1 - F.cosine_similarity(row, goal, dim=1).mean()))
    return distances


def _momentum(attempt: Any) -> float:
    alpha = number(call(attempt), "the momentum")
    require(0 <= alpha < 1, f"a momentum lies in [0, 1), not at {alpha:g}")
    return alpha


def _draw_momentum(attempt: Any) -> Figure:
    alphas = [1 - 10.0**-power for power in np.linspace(0, 3.5, 30)]
    mine = _momentum(attempt)
    figure, axes = new_figure(width=5.4, height=2.8)
    axes[0, 0].plot([1 / (1 - alpha) for alpha in alphas], final_distances(alphas), color=INK[0])
    axes[0, 0].plot([1 / (1 - mine)], final_distances([mine]), marker="*", markersize=14, color=INK[1], linestyle="")
    axes[0, 0].set(xscale="log", yscale="log", xlabel="length of the memory, 1 / (1 - α) updates")
    axes[0, 0].set_ylabel("1 - cosine to the truth")
    axes[0, 0].set_title(f"after {UPDATES} updates; star: your α")
    return figure


@drawn_checker(_draw_momentum)
def check_momentum(attempt: Any) -> str:
    """Check `f() -> alpha`: a momentum for a training of 300 updates whose first features are poor."""
    alpha = _momentum(attempt)
    mine = final_distances([alpha])[0]
    best = min(final_distances([1 - 10.0**-power for power in np.linspace(0, 3.5, 30)]))
    weight = alpha ** (UPDATES - GROWING)
    early = f"{weight:.0%} of the row still stems from the first {GROWING} updates, when the features were poor"
    noisy = f"the row is a mean over some {1 / (1 - alpha):.0f} photos, so the noise of single photos is still in it"
    cause = early if weight > 0.05 else noisy
    require(mine <= 1.25 * best, f"the distance is {mine:.3f}, the best is {best:.3f}: {cause}")
    return f"the distance is {mine:.3f}, the best is {best:.3f}. {weight:.1%} of the row stems from the poor start"


def compare_pooling(pooling: Callable[[Tensor, Tensor, int], Tensor]) -> str:
    """Return a table: right cells of people with the mean as prototype, with `pooling`, and the paired difference.

    pooling  `f(features [D,h,w], cells int64 [h,w], n_ids) -> prototypes [n_ids,D]`; a zero row is an absent class
    """
    gallery = _gallery()
    mine = [pooling(z.clone(), c.clone(), FOLD.n_ids) for z, c in zip(gallery.features, gallery.cells, strict=True)]
    if any(isinstance(rows, NotAttempted) for rows in mine):
        return repr(mine[0])
    usual = masked_average(gallery.features, gallery.cells, FOLD.n_ids)
    lines = ["classes   mean   yours   difference [95 % interval over query photos]"]
    scores = {name: _right_cells(gallery, rows) for name, rows in (("mean", usual), ("yours", torch.stack(mine)))}
    for kind in ("base", "novel"):
        before, after = scores["mean"][kind], scores["yours"][kind]
        known = ~np.isnan(before)
        weights = draw_pairs(np.arange(len(before)))[:, known]
        low, high = bounds((weights * (after - before)[known]).sum(1) / weights.sum(1))
        middle = float(np.nanmean(after - before))
        lines.append(
            f"{kind:8s} {np.nanmean(before):6.3f} {np.nanmean(after):7.3f}   {middle:+.3f} [{low:+.3f}, {high:+.3f}]"
        )
    return "\n".join(lines)


def _right_cells(gallery: Gallery, prototypes: Tensor) -> dict[str, np.ndarray]:
    """Return by kind of class the share of right cells [N] of each query, mean over its supports and classes."""
    kinds: dict[str, list[float]] = {"base": [], "novel": []}
    for query, cells in enumerate(gallery.cells):
        shares: dict[str, list[float]] = {kind: [] for kind in kinds}
        for support in range(len(gallery.cells)):
            if support == query:
                continue
            ids = torch.tensor([c for c in FOLD.foreground if prototypes[support, c].any()])
            maps = cosine_maps(gallery.features[query][None], prototypes[support, ids][None])[0]
            parse = ids[maps.argmax(0)]
            for c in set(ids_in(cells)) & set(ids.tolist()):
                share = float((parse[cells == c] == c).float().mean())
                shares["novel" if c in FOLD.novel else "base"].append(share)
        for kind, values in shares.items():
            kinds[kind].append(float(np.mean(values)) if values else float("nan"))
    return {kind: np.array(values) for kind, values in kinds.items()}
