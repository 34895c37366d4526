"""The phrases that claims are made of: one side above another, a method above all others, one way above the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from oshp_lite.study.claims.quantities import Difference, Side

Way = Literal["k", "1"]
ATR = ("atr",)
WORDS = {
    "novel": "novel mIoU",
    "human": "human mIoU",
    "base": "base mIoU",
    "accuracy": "overall accuracy",
    "bi_miou": "Bi-mIoU",
    "novel_accuracy": "novel accuracy",
    "base_accuracy": "base accuracy",
    "base-novel": "base minus novel mIoU",
}


def above(first: Side, second: Side, measure: str) -> Difference:
    """Say that `first` scores above `second` by a measure."""
    one, two = replace(first, measure=measure), replace(second, measure=measure, weight=-1.0)
    way = " (1-way)" if first.way == "1" else ""
    return Difference(f"{WORDS[measure]}: {one.name} above {two.name}{way}", (one, two))


def leads(method: Side, others: Sequence[str], *measures: str) -> tuple[Difference, ...]:
    """Say that a method scores above each of the others."""
    return tuple(
        above(method, Side(other, way=method.way, protocol=method.protocol), measure)
        for measure in measures
        for other in others
    )


def screened(method: Side, others: Sequence[str], measure: str) -> tuple[Difference, ...]:
    """Compare with the others when they too answer within EOP-Net's person mask."""
    return tuple(above(method, Side(other, way=method.way, screened=True), measure) for other in others)


def e(ablation: str = "", way: Way = "k") -> Side:
    """Name a form of EOP-Net."""
    return Side("eopnet", ablation, way)


def m(method: str, way: Way = "k") -> Side:
    """Name another method."""
    return Side(method, way=way)


def gap(method: str) -> Difference:
    """Say that 1-way gains more over k-way on novel classes than on all."""
    one, k = Side(method, way="1"), Side(method)
    sides = (
        replace(one, measure="novel"),
        replace(k, measure="novel", weight=-1.0),
        replace(one, weight=-1.0),
        k,
    )
    return Difference(f"{one.name}: 1-way minus k-way is larger for novel than for human mIoU", sides)


def ways(method: str, measure: str, *, higher: Way = "1", protocol: str = "journal", ablation: str = "") -> Difference:
    """Say that a method scores higher in one way than in the other."""
    other: Way = "k" if higher == "1" else "1"
    sides = (
        Side(method, ablation, higher, measure, 1.0, protocol=protocol),
        Side(method, ablation, other, measure, -1.0, protocol=protocol),
    )
    return Difference(f"{WORDS[measure]} of {sides[0].name}: {higher}-way above {other}-way", sides)
