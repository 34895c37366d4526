"""The checkers of notebook 14: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from exercise_frame import checker_tests
from torch import Tensor

from oshp_lite.book.exercises import nb14
from oshp_lite.models.instance.boxes import overlaps, suppress

DROPS: dict[str, set[str]] = {"merged": {"AP^p", "PCP", "AP^r"}, "leg": {"PCP", "AP^r", "mIoU"}, "twice": set()}


def drops(damage: str) -> set[str]:
    return DROPS[damage]


def overcount(a: str, b: str) -> list[tuple[str, float]]:
    return [(a, 0.9), (a, 0.8), (a, 0.7)]


def soft(boxes: Tensor, scores: Tensor, threshold: float, *, again: bool = True, factor: bool = True) -> Tensor:
    left, table = scores.clone(), overlaps(boxes, boxes)
    remaining = list(range(len(scores)))
    while remaining:
        best = max(remaining, key=lambda place: float(left[place]))
        remaining.remove(best)
        for place in remaining:
            if table[best, place] > threshold:
                left[place] = left[place] * ((1 - table[best, place]) if factor else 0.5)
        if not again:
            break
    return left


def hard(boxes: Tensor, scores: Tensor, threshold: float) -> Tensor:
    kept = torch.zeros_like(scores)
    stay = suppress(boxes, scores, threshold)
    kept[stay] = scores[stay]
    return kept


SOLUTIONS: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
    (nb14.check_drops, drops),
    (nb14.check_drops, lambda damage: sorted(DROPS[damage])),
    (nb14.check_overcount, overcount),
    (nb14.check_soft, soft),
]
MISTAKES: list[tuple[Callable[..., Any], Callable[..., Any], str]] = [
    (nb14.check_drops, lambda damage: {"AP^p", "PCP", "AP^r", "mIoU"}, "stays at one"),
    (nb14.check_drops, lambda damage: {"AP^p"}, "also drops"),
    (nb14.check_drops, lambda damage: DROPS[damage] | ({"AP^p"} if damage == "twice" else set()), "full recall"),
    (nb14.check_drops, lambda damage: {"APp"}, "no measure"),
    (nb14.check_drops, lambda damage: 3, "set of names"),
    (nb14.check_overcount, lambda a, b: [(a, 0.9), (b, 0.8)], "more than once"),
    (nb14.check_overcount, lambda a, b: [(a, 0.9), (a, 0.8), (b, 0.7)], "leave one"),
    (nb14.check_overcount, lambda a, b: [(a, 0.9), (a, 8)], "score lies"),
    (nb14.check_overcount, lambda a, b: [("HHT", 0.9)], "16 signs"),
    (nb14.check_soft, hard, "hard suppression"),
    (nb14.check_soft, lambda boxes, scores, threshold: scores, "no score has changed"),
    (nb14.check_soft, lambda boxes, scores, threshold: soft(boxes, scores, threshold, again=False), "only the best"),
    (nb14.check_soft, lambda boxes, scores, threshold: soft(boxes, scores, threshold, factor=False), "best first"),
    (nb14.check_soft, lambda boxes, scores, threshold: 0.5 * scores, "stands apart"),
]
TestNotebook14 = checker_tests(SOLUTIONS, MISTAKES)


def test_every_damage_is_measured() -> None:
    """The exercise's key is what the meter says, not a list."""
    assert {damage: nb14.dropped(damage) for damage in nb14.DAMAGES} == DROPS
