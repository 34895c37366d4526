"""Checkers of notebook 05, POPNet's stages: guiding by areas, cutting a stage, breaking the background, own areas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from oshp_lite.book.as_printed import background_distance, linear_background_probabilities
from oshp_lite.book.exercises.frame import call, drawn_checker, is_close, number, numbers, refuse, require, tensor_of
from oshp_lite.book.lessons.record import read_lesson
from oshp_lite.book.network_charts import (
    Step,
    area_colours,
    background_bars,
    expected_and_measured,
    named_areas,
    steps_figure,
)
from oshp_lite.book.people import shot_of
from oshp_lite.labels import fold, label_space
from oshp_lite.viz.images import kept

_GROUPS = {"head": (2, 3), "body": (1, 6), "arms": (8,), "legs": (4, 5)}


def _table(groups: Mapping[str, Sequence[int]]) -> Tensor:
    """Return the area of every id, int64 [256]: 1, 2, ... in the order of the groups, 0 for ids of none."""
    table = torch.zeros(256, dtype=torch.int64)
    for parent, ids in enumerate(groups.values(), start=1):
        table[list(ids)] = parent
    return table


def _draw_guided(attempt: Any) -> Figure:
    """Draw a noisy parse of a person, the areas that guide it, and what the learner's function makes of both."""
    space, (photo, mask, _) = label_space("atr"), shot_of(3)
    noise = torch.randn(1, space.n_ids, 32, 32, generator=torch.Generator().manual_seed(0))
    noise[:, [index for index in range(space.n_ids) if index not in space.classes]] = -9.0
    logits = torch.nn.functional.one_hot(mask, space.n_ids).permute(2, 0, 1)[None] * 1.8
    logits = logits + torch.nn.functional.interpolate(noise, size=mask.shape, mode="bilinear")
    areas, classes = area_colours(list(space.groups)), kept(space)
    guide = _table(space.groups)[mask]
    panels = (
        ("stage 3 alone", logits.argmax(1)[0], classes),
        ("stage 2's areas", guide, areas),
        ("your output", torch.as_tensor(attempt(logits, guide[None], space.groups))[0], classes),
        ("truth", mask, classes),
    )
    return steps_figure([[Step(title, photo, ids, space) for title, ids, space in panels]])


@drawn_checker(_draw_guided)
def check_guided(attempt: Any) -> str:
    """Check `f(logits float [B,C,H,W], areas int64 [B,H,W], groups) -> int64 [B,H,W]`: classes of the area only."""
    draw = torch.Generator().manual_seed(7)
    logits = torch.randn(2, 9, 6, 7, generator=draw)
    areas = torch.randint(0, 5, (2, 6, 7), generator=draw)
    table = _table(_GROUPS)[:9]
    best = logits.argmax(1)

    def guided(background: bool, shift: int = 0) -> Tensor:
        allowed = (table[None, :, None, None] == areas[:, None] + shift) & (table > 0)[None, :, None, None]
        allowed[:, 0] = (areas == 0) | background
        return logits.masked_fill(~allowed, float("-inf")).argmax(1)

    raw = call(attempt, logits, areas, _GROUPS)
    scores = isinstance(raw, Tensor) and raw.dim() == 4 and raw.shape[1] == 9
    require(not scores, "these are still scores; a prediction is one id per pixel (argmax over the channels)")
    result = tensor_of(raw, (2, 6, 7), "the map of ids", torch.int64)
    fits = (table[best] == areas) & (areas > 0) | (best == 0)
    free = torch.where(areas > 0, guided(True), best)
    refuse(
        result,
        (best, "nothing is guided: classes of other areas win as before"),
        (
            torch.where(fits, best, 0),
            "you parse first and delete afterwards. Choose the best class of the area instead",
        ),
        (guided(False), "inside an area you force a class; the background must stay possible, stage 2 may be wrong"),
        (guided(True, shift=1), "the areas are counted from 1; area 0 is the background"),
        (free, "where stage 2 sees no area, only the background is allowed"),
    )
    outside = (result == 7).any()
    require(not outside, "class 7 belongs to no area, so it can win nowhere")
    require(
        is_close(result, guided(True)), "some pixels differ from: the best of the background and the area's classes"
    )
    return "each pixel takes the best of the background and the classes of its area"


def _cut() -> list[Sequence[float]]:
    """Return the measured changes [mean, low, high] of base mIoU when stage 2 gets nothing of stage 1, by stage."""
    return [row["scores"]["base"] for row in read_lesson("stages").content["cuts"]["2"]]


def _draw_cut(attempt: Any) -> Figure:
    """Draw what the learner expects beside what was measured."""
    names = ("stage 1: person", "stage 2: areas", "stage 3: classes")
    return expected_and_measured(names, numbers(attempt(), "", 3), _cut())


@drawn_checker(_draw_cut)
def check_cut(attempt: Any) -> str:
    """Check `f() -> (person, areas, classes)`: expected changes of base mIoU, in points, without stage 1's features."""
    expected = numbers(call(attempt), "the change of stage 1, of stage 2 and of stage 3", 3)
    require(all(-100 <= value <= 100 for value in expected), "a score in percent changes by at most 100 points")
    person, *later = expected
    require(person == 0, "stage 1 stands before every KIM: cutting what it passes on cannot change its own prediction")
    measured = _cut()[1:]
    small = any(later) and all(abs(value) < 1 for value in later) and max(abs(mean) for mean, _, _ in measured) > 0.02
    require(not small, "give percentage points, not fractions: a drop from 60 % to 55 % is -5")
    for name, value, (mean, low, high) in zip(("areas", "classes"), later, measured, strict=True):
        seen = f"{100 * mean:+.0f} [{100 * low:+.0f}, {100 * high:+.0f}]"
        signs = f"the {name} move the other way: {seen} points, you expected {value:+.0f}"
        require(value * mean >= 0 or abs(100 * mean) <= 2, signs)
        far = f"the {name} change by {seen} points, you expected {value:+.0f}. Which path carries that difference?"
        require(abs(value - 100 * mean) <= max(2, 50 * abs(mean)), far)
    return "each expectation lies within half of the measured change, or within two points of it"


def _forms(cosines: Sequence[float]) -> tuple[Tensor, dict[str, list[float]]]:
    """Return the softmax form's probabilities [C] of a pixel, background first, and both forms for a drawing."""
    maps = torch.tensor(cosines, dtype=torch.float32)[None, :, None, None]
    background = background_distance(maps)
    scaled = (10 * torch.cat([background[:, None], maps], 1)).softmax(1).flatten()
    printed = linear_background_probabilities(maps, background).flatten()
    return scaled, {"softmax, scale 10": scaled.tolist(), "as printed": printed.tolist()}


def _draw_broken(attempt: Any) -> Figure:
    """Draw the learner's cosines and both forms of the probabilities."""
    cosines = [float(value) for value in attempt()[0]]
    return background_bars(cosines, _forms(cosines)[1])


@drawn_checker(_draw_broken)
def check_broken_background(attempt: Any) -> str:
    """Check `f() -> (cosines, reason)`: a pixel much like class 1 that the softmax form gives to the background."""
    given = call(attempt)
    require(isinstance(given, tuple) and len(given) == 2, "return two things: the cosines and the letter of a reason")
    cosines = [number(value, "a cosine") for value in (given[0] if isinstance(given[0], (tuple, list)) else ())]
    require(2 <= len(cosines) <= 17, "the cosines are a tuple of 2 to 17 numbers, one for each class of the support")
    require(all(-1 <= value <= 1 for value in cosines), "a cosine lies between -1 and 1")
    require(cosines[0] >= 0.6, "the pixel must be like class 1: its first cosine at least 0.6")
    require(cosines[0] == max(cosines), "another class is more alike than class 1; keep the first cosine the largest")
    share = float(_forms(cosines)[0][0])
    short = (
        f"the background gets {100 * share:.1f} % of this pixel. What raises the mean of 1 - m without touching m_1?"
    )
    require(share > 0.99, short)
    reasons = {
        "a": "the scale multiplies all scores alike: without it the same score is the largest, only less clearly",
        "c": "raise the first cosine and see: the background can still win",
    }
    require(given[1] in ("a", "b", "c"), "the reason is one of the letters 'a', 'b' and 'c'")
    require(given[1] == "b", f"the pixel is right, the reason is not: {reasons.get(given[1], '')}")
    return "being unlike the other classes counts as evidence for the background, however alike class 1 is"


def _draw_areas(attempt: Any) -> Figure:
    """Draw a person in the learner's areas."""
    photo, mask, _ = shot_of(3)
    return named_areas(photo, mask, attempt(), label_space("atr"))


@drawn_checker(_draw_areas)
def check_areas(attempt: Any) -> str:
    """Check `f() -> dict of area name -> ids`: areas that both journal folds leave whole, at least three of them."""
    space = label_space("atr")
    areas = call(attempt)
    require(isinstance(areas, dict), f"return a dict of area names to ids, not {type(areas).__name__}")
    ids = [index for part in areas.values() for index in (part if isinstance(part, (tuple, list, set)) else ())]
    twice = sorted({space.class_name(index) for index in ids if ids.count(index) > 1 and index in space.classes})
    require(not twice, f"in two areas at once: {', '.join(twice)}")
    strange = sorted(set(ids) - set(space.foreground_classes), key=str)
    require(not strange, f"these are no foreground classes of ATR: {strange}")
    missing = [space.class_name(index) for index in space.foreground_classes if index not in ids]
    require(not missing, f"these classes belong to no area: {', '.join(missing)}")
    require(len(areas) >= 3, "with fewer than three areas stage 2 hardly differs from stage 1; make at least three")
    for place in (1, 2):
        hidden = fold("atr", place, "journal")
        for name, part in areas.items():
            novel = [space.class_name(index) for index in part if index in hidden.novel]
            base = [space.class_name(index) for index in part if index not in hidden.novel]
            split = f"fold {place} splits the area {name!r}: {', '.join(novel)} novel, {', '.join(base)} base"
            require(not (novel and base), split)
    return "both folds hide whole areas. Now defend them: can one prototype stand for each?"
