"""The checkers of notebooks 05 and 06: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from math import log
from typing import Any

import torch
from exercise_frame import Attempt, Check, checker_tests
from torch.nn import functional as F

from oshp_lite.book.exercises import nb05, nb06
from oshp_lite.book.lessons.record import read_lesson
from oshp_lite.labels import label_space


def allowed(logits: torch.Tensor, areas: torch.Tensor, groups: dict[str, tuple[int, ...]], start: int = 1) -> Any:
    table = torch.full((logits.shape[1],), -1)
    for parent, ids in enumerate(groups.values(), start=start):
        table[list(ids)] = parent
    mine = table[None, :, None, None] == areas[:, None]
    mine[:, 0] = True
    return mine


def guided(
    logits: torch.Tensor, areas: torch.Tensor, groups: dict[str, tuple[int, ...]], start: int = 1
) -> torch.Tensor:
    return logits.masked_fill(~allowed(logits, areas, groups, start), float("-inf")).argmax(1)


def guided_afterwards(logits: torch.Tensor, areas: torch.Tensor, groups: dict[str, tuple[int, ...]]) -> torch.Tensor:
    best = logits.argmax(1)
    return torch.where(allowed(logits, areas, groups).gather(1, best[:, None])[:, 0], best, 0)


def guided_without_background(
    logits: torch.Tensor, areas: torch.Tensor, groups: dict[str, tuple[int, ...]]
) -> torch.Tensor:
    mine = allowed(logits, areas, groups)
    mine[:, 0] = areas == 0
    return logits.masked_fill(~mine, float("-inf")).argmax(1)


def guided_on_the_person(logits: torch.Tensor, areas: torch.Tensor, groups: dict[str, tuple[int, ...]]) -> torch.Tensor:
    return torch.where(areas > 0, guided(logits, areas, groups), logits.argmax(1))


def cut() -> list[float]:
    return [100 * row["scores"]["base"][0] for row in read_lesson("stages").content["cuts"]["2"]]


BROKEN = (0.6, *[-0.9] * 4)
OWN = {"worn above": (1, 4, 16), "worn below": (5, 6, 7), "head": (2, 11), "limbs": (9, 12, 14)}


def soft(fine: torch.Tensor, coarse: torch.Tensor, person: int = 1) -> torch.Tensor:
    classes, share = fine.softmax(1), coarse.softmax(1)[:, person : person + 1]
    return torch.cat([1 - share + share * classes[:, :1], share * classes[:, 1:]], 1)


def hard(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    background = F.one_hot(torch.tensor(0), fine.shape[1])[None, :, None, None].float()
    return torch.where(coarse.argmax(1, keepdim=True) == 1, fine.softmax(1), background)


def without_scene(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    return fine.softmax(1) * coarse.softmax(1)[:, 1:]


def without_empty_person(fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    scene, person = coarse.softmax(1).split(1, 1)
    return torch.cat([scene, person * fine.softmax(1)[:, 1:]], 1)


FULL = 243.59 + 3 * 20.45  # facts, section E.3


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb05.check_guided, guided),
    (nb05.check_cut, cut),
    (nb05.check_broken_background, lambda: (BROKEN, "b")),
    (nb05.check_areas, lambda: OWN),
    (nb06.check_soft_screening, soft),
    (nb06.check_macs, lambda: (FULL, FULL / 4)),
    (nb06.check_flat_contrast, lambda: (100.0, log(8), "b")),
    (nb06.check_threshold, lambda: (0.4, "base")),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb05.check_guided, lambda x, a, g: x.argmax(1), "nothing is guided"),
    (nb05.check_guided, guided_afterwards, "delete afterwards"),
    (nb05.check_guided, guided_without_background, "background must stay possible"),
    (nb05.check_guided, guided_on_the_person, "sees no area"),
    (nb05.check_guided, lambda x, a, g: guided(x, a, g, 0), "counted from 1"),
    (nb05.check_guided, lambda x, a, g: x * allowed(x, a, g), "still scores"),
    (nb05.check_cut, lambda: (-5, *cut()[1:]), "cannot change its own prediction"),
    (nb05.check_cut, lambda: (0, -0.05, -0.02), "not fractions"),
    (nb05.check_cut, lambda: (0, -120, 0), "at most 100"),
    (nb05.check_cut, lambda: (0, *[-99 if value > -60 else 60 for value in cut()[1:]]), "points, you expected"),
    (nb05.check_cut, lambda: (0, 1), "three numbers"),
    (nb05.check_broken_background, lambda: ((0.6, 0.1, 0.1), "b"), "the background gets"),
    (nb05.check_broken_background, lambda: ((0.5, -0.9, -0.9), "b"), "at least 0.6"),
    (nb05.check_broken_background, lambda: ((0.6, 0.9, -1, -1, -1, -1), "b"), "another class"),
    (nb05.check_broken_background, lambda: (BROKEN, "a"), "multiplies all scores alike"),
    (nb05.check_broken_background, lambda: (BROKEN, "c"), "raise the first cosine"),
    (nb05.check_broken_background, lambda: BROKEN, "two things"),
    (nb05.check_areas, lambda: label_space("atr").groups, "fold 1 splits the area 'body'"),
    (nb05.check_areas, lambda: {**OWN, "limbs": (9, 12)}, "belong to no area: arms"),
    (nb05.check_areas, lambda: {**OWN, "bags": (16,)}, "two areas at once: bag"),
    (nb05.check_areas, lambda: {"all": tuple(label_space("atr").foreground_classes)}, "at least three"),
    (nb05.check_areas, lambda: {**OWN, "more": (3,)}, "no foreground classes"),
    (nb06.check_soft_screening, hard, "the hard rule"),
    (nb06.check_soft_screening, without_scene, "sum to p(person)"),
    (nb06.check_soft_screening, without_empty_person, "is background too"),
    (nb06.check_soft_screening, lambda f, c: soft(f, c, 0), "channel 1 is the person"),
    (nb06.check_soft_screening, lambda f, c: f.softmax(1), "nothing is screened"),
    (nb06.check_soft_screening, lambda f, c: soft(f, c).argmax(1), "these are ids"),
    (nb06.check_soft_screening, lambda f, c: f * c.softmax(1)[:, 1:], "sum to one"),
    (nb06.check_macs, lambda: (243.59 * 8 / 5, 100), "encoder runs twice"),
    (nb06.check_macs, lambda: (243.59, 61), "three more"),
    (nb06.check_macs, lambda: (FULL, FULL / 2), "quarter"),
    (nb06.check_macs, lambda: (FULL, FULL), "fewer"),
    (nb06.check_macs, lambda: (500, 100), "at 512 px"),
    (nb06.check_flat_contrast, lambda: (0.01, log(8), "b"), "Go the other way"),
    (nb06.check_flat_contrast, lambda: (0.5, log(8), "b"), "still grows"),
    (nb06.check_flat_contrast, lambda: (100, 0.0, "b"), "every class recognises itself"),
    (nb06.check_flat_contrast, lambda: (100, 1 / 8, "b"), "negative logarithm"),
    (nb06.check_flat_contrast, lambda: (100, log(8), "a"), "cosines do not change"),
    (nb06.check_flat_contrast, lambda: (100, log(8), "c"), "learning rate"),
    (nb06.check_threshold, lambda: (0.4, "novel"), "novel classes are the test"),
    (nb06.check_threshold, lambda: (1.0, "base"), "nothing is ever kept"),
    (nb06.check_threshold, lambda: (0, "base"), "nothing is screened"),
    (nb06.check_threshold, lambda: (0.9999, "base"), "cuts into the person"),
    (nb06.check_threshold, lambda: 0.4, "two things"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
