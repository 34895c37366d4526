"""Checkers of notebook 01, the problem: a copy that fits the person, a ranking without background, a bad support."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from oshp_lite.book.exercises.frame import Array, call, drawn_checker, mask_of, number, refuse, require
from oshp_lite.book.scenes import Shot, shot
from oshp_lite.data.episode import Episode
from oshp_lite.data.synthetic.generate import TEST_FROM
from oshp_lite.engine.metrics import confusion, iou_of
from oshp_lite.engine.trivial import Background, CopySupport, NearestColour
from oshp_lite.labels import IGNORE, fold, label_space
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.viz.images import Colours, overlay
from oshp_lite.viz.panels import add_legend, ids_in
from oshp_lite.viz.style import INK, new_figure, show_image, style

SPACE = label_space("atr")
TROUSERS = SPACE.id_of("pants")
QUERY = TEST_FROM + 1
SUPPORTS = (2, 4, 7, 8, 9, 11, 17, 20, 21, 23, 25, 27, 29, 30, 31, 36, 37, 38, 42, 48)
"""Scenes of exercise 3, at 64 pixels: the query, and the supports in the order of the sheet."""


def _fitted(mask: Array, person: Array, target: Array, *, last: int = 1, clear: bool = True) -> Array:
    """Stretch what lies in the box around `person` to the box around `target`; `last` and `clear` make mistakes."""
    result = np.zeros(target.shape, mask.dtype)
    ys, xs = np.nonzero(person)
    part = mask[ys.min() : ys.max() + last, xs.min() : xs.max() + last]
    ys, xs = np.nonzero(target)
    height, width = ys.max() + last - ys.min(), xs.max() + last - xs.min()
    rows, columns = (np.arange(n) * m // n for n, m in ((height, part.shape[0]), (width, part.shape[1])))
    result[ys.min() : ys.min() + height, xs.min() : xs.min() + width] = part[rows][:, columns]
    return np.where(target | (not clear), result, 0)


def _blocks() -> tuple[Array, Array, Array]:
    """Return a support mask, its person and the query's person, twice as high and wide; one part has no label."""
    mask = np.zeros((12, 10), np.int64)
    mask[3:6, 2:5] = [[14, 11, 14], [14, 4, 4], [6, 255, 6]]
    person = np.zeros(mask.shape, bool)
    person[2:6, 2:5] = True  # the first row, sunglasses, has lost its label: it is person all the same
    target = np.zeros(mask.shape, bool)
    target[1:9, 4:10] = True
    target[3:5, 4:6] = False  # the box is not filled
    return mask, person, target


def _example(size: int = 128) -> tuple[Shot, Shot]:
    """Return the support and the query on which a learner's function is drawn."""
    return shot(TEST_FROM + 82, size), shot(TEST_FROM + 12, size)


def _mean_iou(ids: Array, truth: Array) -> float:
    """Mean IoU of two label images over the foreground classes of the truth."""
    values = [((ids == c) & (truth == c)).sum() / ((ids == c) | (truth == c)).sum() for c in ids_in(truth)]
    return float(np.mean(values))


def _draw_copies(attempt: Any) -> Figure:
    """Draw the support, the query's true parts, the plain copy and the learner's, with their mean IoU."""
    support, query = _example()
    mine = np.asarray(attempt(support.mask.astype(np.int64), support.person == 1, query.person == 1))
    panels = {"support": (support.image, support.mask), "query, its parts": (query.image, query.mask)}
    for name, ids in (("copy", support.mask), ("yours", mine)):
        panels[f"{name}: IoU {_mean_iou(ids, query.mask):.2f}"] = (query.image, ids)
    figure, axes = new_figure(1, 4, width=1.8, height=2.2)
    for place, (title, (photo, mask)) in zip(axes[0], panels.items(), strict=True):
        show_image(place, overlay(photo, mask, SPACE), title)
    add_legend(figure, SPACE, ids_in(support.mask, query.mask))
    return figure


@drawn_checker(_draw_copies)
def check_fitted_copy(attempt: Any) -> str:
    """Check `f(support_mask int [H,W], support_person bool [H,W], query_person bool [H,W]) -> int [H,W]`."""
    mask, person, target = _blocks()
    result = mask_of(call(attempt, mask, person, target), mask.shape, "the prediction")
    require(not (result == IGNORE).any(), "255 is still there: a prediction names a class or background, nothing else")
    known = np.where(mask == IGNORE, 0, mask)
    truth = _fitted(known, person, target)
    moved = np.zeros_like(known)
    moved[1:5, 4:7] = known[2:6, 2:5]
    labels_only = "your box is around the labelled pixels. A part whose label was dropped belongs to the person too"
    refuse(
        result,
        (known, "the parts lie where the support has them; move them to the query's person"),
        (_fitted(known, person, target, clear=False), "outside the query's person the prediction is background"),
        (np.where(target, moved, 0), "you moved the parts but did not stretch them; the query's person is larger"),
        (moved, "you moved the parts but did not stretch them; the query's person is larger"),
        (_fitted(known, person, target, last=0), "a box from min to max leaves out its last row and column; add 1"),
        (_fitted(known, known > 0, target), labels_only),
    )
    wrong = int((result != truth).sum())
    require(wrong == 0, f"{wrong} of {truth.size} pixels of the test case are wrong; the query's box is twice as large")
    return "the parts follow the person, which a coarse prediction can find even in unknown clothes"


@cache
def _rankings() -> tuple[dict[str, float], dict[str, float]]:
    """Base mIoU of three parsers without training on small scenes: with background in the mean, and without it."""
    chosen, scenes = fold("atr", 1), [shot(TEST_FROM + i, 64) for i in range(17)]
    images = torch.stack([torch.tensor(s.image).permute(2, 0, 1) / 127.5 - 1 for s in scenes])
    masks = torch.from_numpy(np.stack([s.mask for s in scenes])).long()
    batch = Episode(images[:-1], images[1:], masks[1:], (masks[1:] > 0).long(), query_mask=masks[:-1])
    truth = restrict_target(masks[:-1], masks[1:], chosen.n_ids)
    parsers = {"background": Background(), "copy": CopySupport(), "colour": NearestColour(chosen.n_ids)}
    iou = {name: iou_of(confusion(parser.predict(batch).ids, truth, chosen.n_ids)) for name, parser in parsers.items()}
    usual = {name: float(values[list(chosen.base)].nanmean()) for name, values in iou.items()}
    return usual, {name: float(values[list(chosen.base_foreground)].nanmean()) for name, values in iou.items()}


def _best_first(scores: dict[str, float]) -> list[str]:
    return sorted(scores, key=lambda name: -scores[name])


def _draw_rankings(attempt: Any) -> Figure:
    """Draw both measured rankings, and the learner's below."""
    figure, axes = new_figure(1, 2, width=3.4, height=2.0, sharex=True)
    titles = ("base mIoU as in the papers, %", "base mIoU without background, %")
    with style():
        for place, title, scores in zip(axes[0], titles, _rankings(), strict=True):
            order = _best_first(scores)[::-1]
            place.barh(order, [100 * scores[name] for name in order], color=INK[2])
            for row, name in enumerate(order):
                place.text(100 * scores[name] + 0.3, row, f"{100 * scores[name]:.1f}", va="center", fontsize=8)
            place.set_title(title)
            place.set_xlim(0, 22)
            place.grid(False)
        figure.suptitle("your ranking: " + ", ".join(map(str, attempt())), fontsize=9)
    return figure


@drawn_checker(_draw_rankings)
def check_ranking(attempt: Any) -> str:
    """Check `f() -> [names]`: background, copy and colour by base mIoU without background, best first."""
    value = call(attempt)
    names = [str(name) for name in value] if isinstance(value, list | tuple) else []
    usual, bare = (_best_first(scores) for scores in _rankings())
    require(sorted(names) == sorted(bare), f"return the three names {', '.join(sorted(bare))}, best first")
    require(names != usual, "that is the ranking with background. Without it, one of the three has nothing left")
    require(names[-1] == "background", "who predicts background only has an IoU of 0 on every other class")
    require(names == bare, f"the measured ranking is {', '.join(bare)}: a mask at about the right place beats colour")
    return "an empty prediction scores only where background is a class of the mean"


@cache
def _scenes() -> tuple[Shot, tuple[Shot, ...]]:
    return shot(QUERY, 64), tuple(shot(index, 64) for index in SUPPORTS)


def _copied_iou(number_on_sheet: int) -> float:
    """IoU of the copied trousers on the query."""
    query, supports = _scenes()
    truth, copied = query.mask == TROUSERS, supports[number_on_sheet - 1].mask == TROUSERS
    return float((truth & copied).sum() / (truth | copied).sum())


def sheet() -> Figure:
    """Draw the query and the twenty numbered supports of exercise 3, trousers painted."""
    people = [shot(index) for index in (QUERY, *SUPPORTS)]
    look = Colours(SPACE.class_palette, {TROUSERS: "trousers"})
    figure, axes = new_figure(5, 5, width=1.5, height=1.6)
    for place in axes.flat:
        place.set_axis_off()
    titles = ["query", *map(str, range(1, len(people)))]
    for place, title, drawn in zip(axes.flat, titles, people, strict=False):
        show_image(place, overlay(drawn.image, np.where(drawn.mask == TROUSERS, TROUSERS, 0), look), title)
    add_legend(figure, look, [TROUSERS])
    return figure


def _draw_support(attempt: Any) -> Figure:
    """Draw the chosen support, the query's trousers, and the copied ones."""
    query, chosen = shot(QUERY, 128), shot(SUPPORTS[int(attempt()) - 1], 128)
    look = Colours(SPACE.class_palette, {TROUSERS: "trousers"})
    panels = {
        "your support": (chosen.image, chosen.mask),
        "query": (query.image, query.mask),
        f"copy: IoU {_copied_iou(int(attempt())):.2f}": (query.image, chosen.mask),
    }
    figure, axes = new_figure(1, 3, width=1.8, height=2.2)
    for place, (title, (photo, mask)) in zip(axes[0], panels.items(), strict=True):
        show_image(place, overlay(photo, np.where(mask == TROUSERS, TROUSERS, 0), look), title)
    add_legend(figure, look, [TROUSERS])
    return figure


@drawn_checker(_draw_support)
def check_support(attempt: Any) -> str:
    """Check `f() -> int`: the number on the sheet of a support whose copied trousers miss the query's."""
    chosen = number(call(attempt), "the number of the support", whole=True)
    require(1 <= chosen <= len(SUPPORTS), f"the sheet has the numbers 1 to {len(SUPPORTS)}, not {chosen:.0f}")
    iou, best = _copied_iou(int(chosen)), min(_copied_iou(k + 1) for k in range(len(SUPPORTS)))
    near = "The trousers lie at another place, but the two people still overlap" if iou < 0.2 else "They overlap well"
    require(iou < 0.05, f"copying support {chosen:.0f} has an IoU of {iou:.2f}. {near}; it can be as low as {best:.2f}")
    return f"an IoU of {iou:.2f}, with a flawless mask: a support says what a class looks like, not where it is"
