"""The checkers of notebooks 01 and 02: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb01, nb02
from oshp_lite.labels import label_space


def box(person: np.ndarray) -> tuple[slice, slice]:
    ys, xs = np.nonzero(person)
    return slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)


def fitted(mask: np.ndarray, person: np.ndarray, target: np.ndarray, *, clear: bool = True) -> np.ndarray:
    part, place = np.where(mask == 255, 0, mask)[box(person)], box(target)
    height, width = target[place].shape
    rows, columns = (
        np.linspace(0, n, m, endpoint=False).astype(int) for n, m in zip(part.shape, (height, width), strict=True)
    )
    result = np.zeros(target.shape, mask.dtype)
    result[place] = part[np.ix_(rows, columns)]
    return np.where(target, result, 0) if clear else result


def moved(mask: np.ndarray, person: np.ndarray, target: np.ndarray) -> np.ndarray:
    part, place = np.where(mask == 255, 0, mask)[box(person)], box(target)
    result = np.zeros(target.shape, mask.dtype)
    result[place[0].start : place[0].start + part.shape[0], place[1].start : place[1].start + part.shape[1]] = part
    return result


def off_by_one(mask: np.ndarray, person: np.ndarray, target: np.ndarray) -> np.ndarray:
    ys, xs = np.nonzero(person)
    part = np.where(mask == 255, 0, mask)[ys.min() : ys.max(), xs.min() : xs.max()]
    ys, xs = np.nonzero(target)
    rows, columns = ys.max() - ys.min(), xs.max() - xs.min()
    result = np.zeros(target.shape, mask.dtype)
    at = np.arange(rows) * part.shape[0] // rows, np.arange(columns) * part.shape[1] // columns
    result[ys.min() : ys.max(), xs.min() : xs.max()] = part[np.ix_(*at)]
    return np.where(target, result, 0)


def with_255(mask: np.ndarray, person: np.ndarray, target: np.ndarray) -> np.ndarray:
    result = fitted(np.where(mask == 255, 99, mask), person, target)
    return np.where(result == 99, 255, result)


def walk(queries: Any, supports: Any, count: int, *, shift: bool = True) -> list[tuple[int, int, int]]:
    made = []
    for c, q in queries.items():
        s = supports[c]
        turn = math.lcm(len(q), len(s))
        made += [(q[i % len(q)], s[(i + shift * (i // turn)) % len(s)], c) for i in range(count)]
    return made


def product_of(queries: Any, supports: Any, count: int) -> list[tuple[int, int, int]]:
    return [(*pair, c) for c in queries for pair in list(product(queries[c], supports[c]))[:count]]


def by_support(queries: Any, supports: Any, count: int) -> list[tuple[int, int, int]]:
    return [(q, s, c) for c in queries for s, q in list(product(supports[c], queries[c]))[:count]]


def by_chance(queries: Any, supports: Any, count: int) -> list[tuple[int, int, int]]:
    made = walk(queries, supports, count)
    np.random.default_rng().shuffle(made)
    return made


def painted(images: np.ndarray, masks: np.ndarray, colours: Any, ids: Any) -> np.ndarray:
    result = images.copy()
    for c in ids:
        result[masks == c] = colours[c]
    return result


GARMENT_IDS = (1, 4, 5, 6, 7, 9, 16)
PALETTE = label_space("atr").class_palette


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb01.check_fitted_copy, fitted),
    (nb01.check_ranking, lambda: ["copy", "colour", "background"]),
    (nb01.check_support, lambda: 11),
    (nb01.check_support, lambda: 20),
    (nb02.check_pair_rule, walk),
    (nb02.check_blind_flips, lambda: ["atr", "lip", "cihp"]),
    (nb02.check_giveaway, lambda i, m: painted(i, m, PALETTE, GARMENT_IDS)),
    (nb02.check_fold, lambda: ["shoes", "bag"]),
    (nb02.check_fold, lambda: ("skirt", "bag", "hat")),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb01.check_fitted_copy, lambda m, p, t: np.where(m == 255, 0, m), "where the support has them"),
    (nb01.check_fitted_copy, lambda m, p, t: fitted(m, p, t, clear=False), "outside the query's person"),
    (nb01.check_fitted_copy, moved, "did not stretch"),
    (nb01.check_fitted_copy, off_by_one, "last row and column"),
    (nb01.check_fitted_copy, lambda m, p, t: fitted(m, (m > 0) & (m < 255), t), "labelled pixels"),
    (nb01.check_fitted_copy, with_255, "255 is still there"),
    (nb01.check_fitted_copy, lambda m, p, t: fitted(m, p, t)[::-1], "pixels of the test case"),
    (nb01.check_fitted_copy, lambda m, p, t: fitted(m, p, t) > 0, "class ids"),
    (nb01.check_ranking, lambda: ["copy", "background", "colour"], "ranking with background"),
    (nb01.check_ranking, lambda: ["background", "copy", "colour"], "IoU of 0"),
    (nb01.check_ranking, lambda: ["colour", "copy", "background"], "beats colour"),
    (nb01.check_ranking, lambda: ["copy", "colour"], "three names"),
    (nb01.check_support, lambda: 21, "numbers 1 to 20"),
    (nb01.check_support, lambda: 1, "overlap"),
    (nb01.check_support, lambda: 15, "as low as"),
    (nb01.check_support, lambda: "11", "whole number"),
    (nb02.check_pair_rule, lambda q, s, n: walk(q, s, n, shift=False), "stands in the list twice"),
    (nb02.check_pair_rule, product_of, "some queries serve"),
    (nb02.check_pair_rule, by_support, "some supports serve"),
    (nb02.check_pair_rule, by_chance, "depend on chance"),
    (nb02.check_pair_rule, lambda q, s, n: walk(q, s, n - 1), "5 pairs, not 6"),
    (nb02.check_pair_rule, lambda q, s, n: walk(s, q, n), "not both photos"),
    (nb02.check_pair_rule, lambda q, s, n: q, "list of triples"),
    (nb02.check_blind_flips, lambda: ["atr", "lip", "cihp", "pascal"], "no left and right"),
    (nb02.check_blind_flips, lambda: ["atr", "atr merged"], "after the merge"),
    (nb02.check_blind_flips, lambda: ["atr"], "cihp, lip has"),
    (nb02.check_blind_flips, lambda: ["ccp"], "choose from"),
    (nb02.check_giveaway, lambda i, m: i.copy(), "not changed"),
    (nb02.check_giveaway, lambda i, m: PALETTE[m], "outside the garments"),
    (nb02.check_giveaway, lambda i, m: painted(i, m, [(200, 30, 30)] * 20, GARMENT_IDS), "60 % or more"),
    (nb02.check_giveaway, lambda i, m: i / 255, "uint8"),
    (nb02.check_giveaway, lambda i, m: i[:4], "return images"),
    (nb02.check_fold, lambda: ["skirt", "pants", "dress"], "deny a lot"),
    (nb02.check_fold, lambda: ["shoes", "face"], "cannot be new"),
    (nb02.check_fold, lambda: ["bag"], "two to four"),
    (nb02.check_fold, lambda: ["cape", "bag"], "no class cape"),
    (nb02.check_fold, lambda: ["hat", "shoes"], "says little"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
