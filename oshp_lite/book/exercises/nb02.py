"""Checkers of notebook 02, tailoring: a pair rule, blind flips, colours that give classes away, a fold of one's own."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.book.exercises.frame import Array, call, drawn_checker, require
from oshp_lite.data.synthetic import scene
from oshp_lite.data.synthetic.audit import GARMENTS, colour_audit, draw, presence
from oshp_lite.labels import label_space
from oshp_lite.viz.style import INK, new_figure, show_image, style

SPACE = label_space("atr")
BODY = ("hair", "face", "legs", "arms")

QUERIES = {1: [0, 3], 5: [1, 2, 3], 7: [2]}
SUPPORTS = {1: [10, 11, 14, 15], 5: [10, 12, 13], 7: [11, 12, 13, 14, 15, 16]}
PER_CLASS = 6
"""The small dataset of exercise 1: line numbers of the photos that show each class."""


def _pairs(value: Any) -> list[tuple[int, int, int]]:
    try:
        pairs = [tuple(int(part) for part in pair) for pair in value]
    except (TypeError, ValueError):
        pairs = []
    require(bool(pairs) and all(len(pair) == 3 for pair in pairs), "return a list of triples (query, support, class)")
    return [(query, support, class_id) for query, support, class_id in pairs]


def _draw_pairs(attempt: Any) -> Figure:
    """Draw one table a class: which query meets which support, and how often."""
    pairs = Counter(_pairs(attempt(dict(QUERIES), dict(SUPPORTS), PER_CLASS)))
    figure, axes = new_figure(1, 3, width=2.2, height=1.9)
    with style():
        for place, class_id in zip(axes[0], QUERIES, strict=True):
            rows, columns = QUERIES[class_id], SUPPORTS[class_id]
            table = np.array([[pairs[query, support, class_id] for support in columns] for query in rows])
            place.imshow(table, cmap="magma", vmin=0, vmax=2)
            for (row, column), count in np.ndenumerate(table):
                place.text(column, row, str(count), ha="center", va="center", color="white" if count < 2 else "black")
            place.set_xticks(range(len(columns)), columns)
            place.set_yticks(range(len(rows)), rows)
            place.set_title(f"your pairs of {SPACE.class_name(class_id)}")
            place.set_xlabel("support")
            place.grid(False)
        axes[0, 0].set_ylabel("query")
    return figure


def _even(photos: list[int], used: list[int]) -> bool:
    counts = [used.count(photo) for photo in photos]
    return max(counts) - min(counts) <= 1


@drawn_checker(_draw_pairs)
def check_pair_rule(attempt: Any) -> str:
    """Check `f(queries, supports, per_class) -> [(query, support, class)]`: valid, distinct, even, without chance."""
    pairs = _pairs(call(attempt, QUERIES, SUPPORTS, PER_CLASS))
    for query, support, class_id in pairs:
        known = class_id in QUERIES and query in QUERIES[class_id] and support in SUPPORTS[class_id]
        require(known, f"in the pair {(query, support, class_id)} not both photos show the class")
    for class_id, name in ((c, SPACE.class_name(c)) for c in QUERIES):
        mine = [pair for pair in pairs if pair[2] == class_id]
        require(len(set(mine)) == len(mine), f"{name}: a pair stands in the list twice. It would count twice")
        require(len(mine) == PER_CLASS, f"{name}: {len(mine)} pairs, not {PER_CLASS}; there are enough photos for them")
        uneven = f"{name}: some {{}} serve two pairs more than others. Every photo should weigh about the same"
        require(_even(QUERIES[class_id], [query for query, _, _ in mine]), uneven.format("queries"))
        require(_even(SUPPORTS[class_id], [support for _, support, _ in mine]), uneven.format("supports"))
    again = _pairs(call(attempt, QUERIES, SUPPORTS, PER_CLASS))
    require(again == pairs, "a second call gives other pairs. Test pairs must not depend on chance")
    return "every pair is new, every photo weighs the same, and nobody needs a seed to repeat the test"


@cache
def _flip_errors() -> dict[str, float]:
    """Share of the person's pixels that a mere flip mislabels, by masks: raw ones, and ATR's after the merge."""
    drawn, errors = scene("synth-atr", 0, 14, 128), {}
    for key in ("atr", "lip", "cihp", "pascal"):
        space, mask = label_space(key), drawn.mask(key)
        errors[key] = float((mask[:, ::-1] != space.mirror(mask))[mask[:, ::-1] > 0].mean())
    merged = SPACE.merge(drawn.mask("atr"))
    right = SPACE.merge(SPACE.mirror(drawn.mask("atr")))
    errors["atr merged"] = float((merged[:, ::-1] != right)[right > 0].mean())
    return errors


def _draw_flips(attempt: Any) -> Figure:
    """Draw the measured errors, the learner's choice in another colour."""
    chosen, errors = set(attempt()), _flip_errors()
    figure, axes = new_figure(width=5.0, height=2.0)
    chart = axes[0, 0]
    with style():
        colours = [INK[1] if name in chosen else INK[5] for name in errors]
        chart.barh(list(errors), [100 * share for share in errors.values()], color=colours)
        chart.invert_yaxis()
        chart.set_xlabel("pixels of the person that a plain flip mislabels, % (red: your choice)")
        chart.grid(False, axis="y")
    return figure


@drawn_checker(_draw_flips)
def check_blind_flips(attempt: Any) -> str:
    """Check `f() -> [names]`: the masks that a plain flip of the columns mislabels."""
    value, errors = call(attempt), _flip_errors()
    chosen = {str(name) for name in value} if isinstance(value, list | tuple | set) else {""}
    require(chosen <= set(errors), f"choose from {', '.join(errors)}")
    harmed = {name for name, share in errors.items() if share > 0}
    merged = "after the merge left and right are one id, so a plain flip of these masks is correct"
    require("atr merged" not in chosen, merged)
    require("pascal" not in chosen, "PASCAL-Person-Part has no left and right: a plain flip of its masks is correct")
    missing = ", ".join(sorted(harmed - chosen))
    require(chosen == harmed, f"not all yet: {missing} has left and right ids as well")
    return "only masks with left and right ids need the exchange"


@cache
def _people() -> tuple[Array, Array]:
    """Return photos uint8 [24,64,64,3] and merged masks uint8 [24,64,64] of drawn people."""
    return draw("synth-atr", 24, 64)


@cache
def _garment_ids() -> tuple[int, ...]:
    return tuple(i for i in SPACE.foreground_classes if SPACE.names[i] in GARMENTS or SPACE.class_name(i) == "shoes")


def _given_away(images: Array) -> float:
    """Percentage of garment pixels whose class their colour predicts, every class weighing the same."""
    return 100 * colour_audit(images, _people()[1], "atr")["balanced_accuracy"]


def _draw_colours(attempt: Any) -> Figure:
    """Draw photos before and after the learner's change, with what colour alone predicts."""
    images, masks = _people()
    mine = np.asarray(attempt(images.copy(), masks.copy()))
    figure, axes = new_figure(2, 6, width=1.15, height=1.3)
    for row, (name, photos) in enumerate((("drawn", images), ("yours", mine))):
        for column, photo in enumerate(photos[:6]):
            title = f"{name}: colour alone {_given_away(photos):.0f} %" if column == 0 else None
            show_image(axes[row, column], photo, title)
    return figure


@drawn_checker(_draw_colours)
def check_giveaway(attempt: Any) -> str:
    """Check `f(images uint8 [N,H,W,3], masks uint8 [N,H,W]) -> images`: colours of garments that name the class."""
    images, masks = _people()
    result = call(attempt, images, masks)
    require(isinstance(result, np.ndarray) and result.shape == images.shape, f"return images {list(images.shape)}")
    require(result.dtype == np.uint8, f"photos are uint8, not {result.dtype}")
    require(bool((result != images).any()), "the photos have not changed")
    elsewhere = ~np.isin(masks, _garment_ids())
    require(not (result != images)[elsewhere].any(), "pixels outside the garments changed; paint garments only")
    share = _given_away(result)
    weak = f"colour alone is right in {share:.0f} % of the garment pixels (drawn: {_given_away(images):.0f} %)"
    require(share >= 60, f"{weak}. Make it 60 % or more: one colour for all garments gives nothing away")
    return f"{weak}. A parser trained on these photos would learn colours and know no garments"


def _hidden() -> dict[str, float]:
    """Percentage of the people's pixels that each garment class covers."""
    masks = _people()[1]
    return {SPACE.class_name(c): 100 * float((masks[masks > 0] == c).mean()) for c in _garment_ids()}


def _draw_fold(attempt: Any) -> Figure:
    """Draw how much of the people each garment covers, the learner's novel classes in another colour."""
    chosen, covered = set(attempt()), dict(sorted(_hidden().items(), key=lambda item: item[1]))
    figure, axes = new_figure(width=5.0, height=2.2)
    chart = axes[0, 0]
    with style():
        chart.barh(list(covered), list(covered.values()), color=[INK[1] if n in chosen else INK[5] for n in covered])
        total = sum(share for name, share in covered.items() if name in chosen)
        chart.set_title(f"your fold hides {total:.0f} % of the people's pixels")
        chart.set_xlabel("share of the people's pixels, % (red: novel)")
        chart.grid(False, axis="y")
    return figure


@drawn_checker(_draw_fold)
def check_fold(attempt: Any) -> str:
    """Check `f() -> [names]`: two to four novel garments that hide 5 to 20 % of the people and are common enough."""
    value = call(attempt)
    chosen = [str(name) for name in value] if isinstance(value, list | tuple | set) else []
    unknown = sorted(set(chosen) - set(SPACE.class_names))
    require(not unknown, f"ATR-OS has no class {', '.join(unknown)}; it has {', '.join(SPACE.class_names[1:])}")
    body = sorted(set(chosen) & {*BODY, "background"})
    require(not body, f"{', '.join(body)} cannot be new to fashion; choose garments and bags")
    require(2 <= len(set(chosen)) <= 4, f"choose two to four novel classes, not {len(set(chosen))}")
    worn = presence(_people()[1])
    rare = [name for name in chosen if worn.get(SPACE.id_of(name), 0) < 0.15]
    require(not rare, f"{', '.join(rare)} is worn in fewer than 15 % of the photos: too few test pairs to trust")
    share = sum(_hidden()[name] for name in set(chosen))
    require(
        share <= 20, f"your fold hides {share:.0f} % of the people's pixels, so the training masks deny a lot of them"
    )
    require(share >= 5, f"your fold hides only {share:.0f} % of the people's pixels; a test on so little says little")
    journal = sum(_hidden()[name] for name in ("skirt", "pants", "dress"))
    return f"your fold hides {share:.0f} % of the people's pixels (fold 1 of the journal paper: {journal:.0f} %)"
