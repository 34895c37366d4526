"""Results that no network made, with the skill that a test of claims wants."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
from papers_made_up import people_made_up

from oshp_lite.study.claims import quantities
from oshp_lite.study.quantities import Quantity
from oshp_lite.study.records import Measured, Results, RunKey, measured_of

ATR = "synth-atr"
Skill = Callable[[int], float]


def run(key: RunKey, skill: Skill, *, pairs: int = 48, noise: float = 0.05, **more: object) -> Measured:
    """A run whose share of right pixels in each class is `skill`, with pairs that are hard for every method alike."""
    split = key.split
    shared = np.random.default_rng([key.fold, 5])
    own = np.random.default_rng(
        [zlib.crc32(key.slug.replace("papers-", "").replace("person-class-", "").encode()), key.seed]
    )
    ids = np.resize(np.array(split.foreground), pairs)
    hard, area = shared.uniform(-0.1, 0.1, pairs), shared.integers(100, 900, (pairs, 20))
    size = split.n_ids if key.way == "k" else 2
    made = np.zeros((pairs, size, size), np.int64)
    for pair in range(pairs):
        asked = list(split.classes) if key.way == "k" else [0, int(ids[pair])]
        for place, c in enumerate(asked):
            index = c if key.way == "k" else place
            right = np.clip((0.95 if c == 0 else skill(c)) + hard[pair] + own.normal(0, noise), 0, 1)
            wanted = int(area[pair, c % 20])
            made[pair, index, index] += int(right * wanted)
            made[pair, index, 1 if index == 0 else 0] += wanted - int(right * wanted)
    if key.method == "instance":
        return people_made_up(key, made)
    return measured_of(key, "lite", made, ids, screened=made, queries=np.arange(pairs) // 3, **more)


def quantity(**part: object) -> Quantity:
    """The quantity that a part of `claims.yaml` declares."""
    (made,) = quantities(part)
    return made


def above(first: str, second: str, measure: str) -> Quantity:
    return quantity(first=first, above=second, by=measure)


def flat(value: float) -> Skill:
    return lambda _: value


def kway(**skills: Skill | float) -> Results:
    made = []
    for method, skill in skills.items():
        made.append(run(RunKey(method, ATR, 1, "k"), skill if callable(skill) else flat(skill)))
    return Results(made, otherwise="not trained")
