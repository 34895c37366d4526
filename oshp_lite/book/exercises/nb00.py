"""Checkers of notebook 00, the tour: the price of a border, one's own classes, a slipped stroke, a good support."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from oshp_lite.assets import checkpoint
from oshp_lite.book.exercises.frame import call, drawn_checker, mask_of, number, numbers, refuse, require
from oshp_lite.book.tour import OUTCOMES, SEED, outcome_of, overlap
from oshp_lite.book.typical import FOLD, Person, draw_person, episode_of
from oshp_lite.data.episode import collate
from oshp_lite.predict import Parser, load_network
from oshp_lite.viz.images import Colours, mask_to_rgb, overlay
from oshp_lite.viz.panels import add_legend
from oshp_lite.viz.style import new_figure, show_image

PANTS = FOLD.space.id_of("pants")
TROUSERS = Colours(np.tile(np.array([[214, 52, 50]], np.uint8), (256, 1)), {1: "trousers"})
"""How marked trousers are painted, in red as in the tour's other figures of one class."""
SQUARE, STRIP, BORDER = (40, 40), (40, 4), 2
"""Two regions, and by how many pixels a prediction exceeds them on every side."""


def _bordered(shape: tuple[int, int]) -> float:
    """Return the IoU of a rectangle and the same rectangle with BORDER more pixels on every side."""
    high, wide = shape
    return high * wide / ((high + 2 * BORDER) * (wide + 2 * BORDER))


def _draw_borders(attempt: Any) -> Figure:
    """Draw both regions with the wide border of their prediction, the true IoU and the learner's."""
    figure, axes = new_figure(1, 2, width=2.6, height=2.9)
    for place, shape, expected in zip(axes[0], (SQUARE, STRIP), numbers(attempt(), "", 2), strict=True):
        true = np.zeros((56, 56), bool)
        top, left = (56 - shape[0]) // 2, (56 - shape[1]) // 2
        true[top : top + shape[0], left : left + shape[1]] = True
        wide = np.zeros_like(true)
        wide[top - BORDER : top + shape[0] + BORDER, left - BORDER : left + shape[1] + BORDER] = True
        title = f"IoU {_bordered(shape):.2f}, you expected {expected:.2f}"
        show_image(place, mask_to_rgb(outcome_of(wide, true), OUTCOMES), title)
    add_legend(figure, OUTCOMES, (1, 3))
    return figure


@drawn_checker(_draw_borders)
def check_borders(attempt: Any) -> str:
    """Check `f() -> (square, strip)`: expected IoUs of a garment and a belt, each predicted 2 px too wide all round."""
    square, strip = numbers(call(attempt), "the IoU of the square, then of the strip", 2)
    require(min(square, strip) >= 0 and max(square, strip) <= 1, "an IoU lies between 0 and 1")
    right = _bordered(SQUARE)
    near = "IoU 0.91 comes from one direction alone, from 1 pixel a side, or from the Dice score"
    require(not 0.9 < square < 0.92, f"{near}; the prediction is 2 pixels too wide on all four sides")
    require(
        abs(square - right) < 0.03, f"the square: 40·40 pixels of 44·44 are right, IoU {right:.2f}, not {square:.2f}"
    )
    thin = "the strip has as long a border around far fewer pixels, so the same slip costs it more"
    require(strip < square - 0.1, thin)
    other = _bordered(STRIP)
    require(abs(strip - other) < 0.03, f"the strip: 40·4 pixels of 44·8 are right, IoU {other:.2f}, not {strip:.2f}")
    return "the same border costs a belt half its IoU and a coat a sixth; read small classes with that in mind"


@cache
def _person(index: int) -> Person:
    """Draw a person of the tour."""
    return draw_person(index, SEED)


def _draw_own_mask(attempt: Any) -> Figure:
    """Draw what the learner's function makes of a drawn person's mask, with trousers, hair and shoes wanted."""
    person, wanted = _person(5), (PANTS, FOLD.space.id_of("hair"), FOLD.space.id_of("shoes"))
    palette = np.zeros((256, 3), np.uint8)
    palette[1:4] = [(230, 60, 60), (50, 120, 220), (250, 190, 40)]
    colours = Colours(palette, dict(enumerate(FOLD.names(wanted), start=1)))
    figure, axes = new_figure(1, 2, width=2.4, height=2.9)
    show_image(axes[0, 0], overlay(person.photo, person.mask, FOLD.space), "all classes")
    mine = np.asarray(attempt(person.mask.numpy(), list(wanted)))
    show_image(axes[0, 1], overlay(person.photo, mine, colours), "your mask")
    add_legend(figure, colours, (1, 2, 3))
    return figure


@drawn_checker(_draw_own_mask)
def check_own_mask(attempt: Any) -> str:
    """Check `f(mask int [H,W], wanted: list of ids) -> int [H,W]` with 1, 2, ... for the wanted ids, in their order."""
    mask = np.array([[0, 4, 4, 9], [2, 2, 255, 9], [1, 1, 4, 0]])
    wanted = [2, 1, 9]
    truth = np.array([[0, 0, 0, 3], [1, 1, 255, 3], [2, 2, 0, 0]])
    result = mask_of(call(attempt, mask, wanted), mask.shape)
    chosen = np.isin(mask, wanted)
    refuse(result[chosen], (mask[chosen], "these are still the old ids; number them 1, 2, ... as in `wanted`"))
    alike = np.array_equal(result > 0, truth > 0) and len(np.unique(result[chosen])) == 1
    require(not alike, "the wanted classes all have the value 1; give each its own number")
    require(result[1, 2] == 255, "255 marks a pixel without a label; it must stay, or it becomes background")
    require((result[mask == 2] != 0).any() or result[0, 3] != 2, "one counts from 1 here; 0 is background")
    require((result[mask == 4] == 0).all(), "class 4 is not wanted; it must become 0, as everything else")
    mixed = "classes 2 and 1 got mixed up: the 1 that had been 2 was taken for the old class 1. Write into a fresh mask"
    require(not (result[mask == 2] == result[mask == 1]).all(), mixed)
    require(np.array_equal(result, truth), "the mask differs from 1, 2, 3 for the wanted classes in their order")
    single = mask_of(call(attempt, mask, [9]), mask.shape)
    nine = np.where(mask == 9, 1, np.where(mask == 255, 255, 0))
    require(np.array_equal(single, nine), "a single wanted class has 1, unknown pixels 255, all others 0")
    return "your own classes, numbered from 1; nothing said where nothing is known"


@cache
def _slipped(right: int, down: int) -> np.ndarray:
    """Parse the tour's query from a support whose mask is moved by some pixels: bool [256,256]."""
    marked = (_person(5).mask.numpy() == PANTS).astype(np.uint8)
    moved = np.zeros_like(marked)
    rows, columns = np.nonzero(marked)
    rows, columns = rows + down, columns + right
    inside = (rows >= 0) & (rows < 256) & (columns >= 0) & (columns < 256)
    moved[rows[inside], columns[inside]] = 1
    require(moved.sum() >= 200, "the mask has left the photo; keep it on the person's surroundings at least")
    parser = Parser(load_network(checkpoint())).support(_person(5).photo, moved)
    return np.asarray(parser.parse(_person(2).photo).mask == 1)


def _draw_slip(attempt: Any) -> Figure:
    """Draw the parse from the careful mask and from the learner's slipped one, against the true trousers."""
    true = _person(2).mask.numpy() == PANTS
    figure, axes = new_figure(1, 2, width=2.4, height=2.9)
    given = attempt()
    for place, slip in zip(axes[0], ((0, 0), (int(given[0]), int(given[1]))), strict=True):
        found = _slipped(*slip)
        title = f"moved by {slip}: IoU {overlap(found, true):.2f}"
        show_image(place, overlay(_person(2).photo, outcome_of(found, true), OUTCOMES), title)
    add_legend(figure, OUTCOMES, (1, 2, 3))
    return figure


@drawn_checker(_draw_slip)
def check_slip(attempt: Any) -> str:
    """Check `f() -> (right, down, reason)`: a slip of the support's mask that breaks the parse, and why it does."""
    given = call(attempt)
    three = isinstance(given, tuple) and len(given) == 3
    require(three, "return three things: pixels to the right, pixels down, and the letter of a reason")
    right, down = (int(number(part, "a slip", whole=True)) for part in given[:2])
    require(max(abs(right), abs(down)) <= 80, "more than 80 pixels is not a slip any more; stay on the person")
    value = overlap(_slipped(right, down), _person(2).mask.numpy() == PANTS)
    require(value < 0.3, f"with this slip the IoU is still {value:.2f}; move the mask further, or another way")
    reasons = {
        "a": "nothing is trained at test: the weights are the same, whatever you mark",
        "c": "the query's truth is untouched; only the support's mask has moved",
    }
    require(given[2] in ("a", "b", "c"), "the reason is one of the letters 'a', 'b' and 'c'")
    require(given[2] == "b", f"the parse is broken, but for another reason: {reasons.get(given[2], '')}")
    return f"IoU {value:.2f}: the prototype is the mean of whatever lies under the mask, and the network looks for that"


QUERIES, SUPPORTS = (2, 5, 7), {"A": 9, "B": 10, "C": 12, "D": 13}
"""People of the tour in trousers: three queries, and four supports to choose from."""


@cache
def _support_scores() -> dict[str, list[float]]:
    """Return the IoU of the trousers for each support of the choice, query by query."""
    pairs = [(query, support) for support in SUPPORTS.values() for query in QUERIES]
    batch = collate([episode_of(_person(query), _person(support)) for query, support in pairs])
    with torch.inference_mode():
        found = load_network(checkpoint()).predict(batch).ids == PANTS
    true = [_person(query).mask[::2, ::2] == PANTS for query, _ in pairs]
    values = [overlap(mine.numpy(), theirs.numpy()) for mine, theirs in zip(found, true, strict=True)]
    return {name: values[3 * row : 3 * row + 3] for row, name in enumerate(SUPPORTS)}


def support_choice() -> Figure:
    """Draw the four supports that the exercise lets the learner choose from, trousers marked."""
    figure, axes = new_figure(1, 4, width=2.0, height=2.3)
    for place, (name, index) in zip(axes[0], SUPPORTS.items(), strict=True):
        person = _person(index)
        show_image(place, overlay(person.photo, person.mask == PANTS, TROUSERS), f"support {name}")
    return figure


def _draw_choice(attempt: Any) -> Figure:
    """Draw the IoU of every query for each support, the learner's support in a strong colour."""
    figure, axes = new_figure(width=5.2, height=2.2)
    chosen = attempt()[0]
    for row, (name, values) in enumerate(_support_scores().items()):
        look = {"color": "#b3361e" if name == chosen else "0.55", "marker": "", "ls": "-"}
        axes[0, 0].plot([min(values), max(values)], [row, row], **look)
        axes[0, 0].plot(values, [row] * len(values), **{**look, "marker": "o", "ls": ""})
        axes[0, 0].plot(np.mean(values), row, **{**look, "marker": "|", "markersize": 18, "markeredgewidth": 2})
    axes[0, 0].set_yticks(range(len(SUPPORTS)), [f"support {name}" for name in SUPPORTS])
    axes[0, 0].set(xlabel="IoU of the trousers in three queries (bar: mean)", xlim=(0, 1), ylim=(3.5, -0.5))
    return figure


@drawn_checker(_draw_choice)
def check_support(attempt: Any) -> str:
    """Check `f() -> (support, queries)`: the support to work with, and how many queries the choice should rest on."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 2, "return two things: a letter, and a number of queries")
    require(given[0] in SUPPORTS, f"choose one of the supports {', '.join(SUPPORTS)}")
    queries = number(given[1], "the number of queries", whole=True)
    require(queries > 1, "one query is luck, for you as for the network; judge by several")
    means = {name: float(np.mean(values)) for name, values in _support_scores().items()}
    best, mine = max(means.values()), means[given[0]]
    lower = f"mean IoU {mine:.2f}; another support reaches {best:.2f}. Compare what the four masks cover, and how much"
    require(mine > best - 0.05, lower)
    return f"mean IoU {mine:.2f} of at most {best:.2f}. Now defend it: what did you see in the photo before the scores?"
