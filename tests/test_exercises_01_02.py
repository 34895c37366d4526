"""The checkers of notebooks 01 and 02: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from typing import Any

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb01, nb02
from oshp_lite.data.pairs import build_support_index, journal_pairs


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


def merge(m: np.ndarray, kept_as: dict[int, int]) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    table[list(kept_as)] = list(kept_as.values())
    table[255] = 255
    return table[m]


def merge_in_a_chain(m: np.ndarray, kept_as: dict[int, int]) -> np.ndarray:
    m = m.copy()
    for raw_id, kept in kept_as.items():
        m[m == raw_id] = kept
    return m


def merge_listed_only(m: np.ndarray, kept_as: dict[int, int]) -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    table[list(kept_as)] = list(kept_as.values())
    return table[m]


def swap(m: np.ndarray, sides: list[tuple[int, int]]) -> np.ndarray:
    table = np.arange(256, dtype=np.uint8)
    for left, right in sides:
        table[left], table[right] = right, left
    return table[m]


def swap_in_two_steps(m: np.ndarray, sides: list[tuple[int, int]]) -> np.ndarray:
    m = m[:, ::-1].copy()
    for left, right in sides:
        m[m == left] = right
        m[m == right] = left
    return m


def index_of(presence: Any, split: int, size: int, inclusive: bool = False) -> dict[int, list[int]]:
    return build_support_index(presence, split, size, inclusive=inclusive)


def index_without_empty_keys(presence: Any, split: int, size: int) -> dict[int, list[int]]:
    return {key: numbers for key, numbers in index_of(presence, split, size).items() if numbers}


def index_counted_anew(presence: Any, split: int, size: int) -> dict[int, list[int]]:
    return {
        key: [n - split if key > size else n for n in numbers]
        for key, numbers in index_of(presence, split, size).items()
    }


def index_exchanged(presence: Any, split: int, size: int) -> dict[int, list[int]]:
    made = index_of(presence, split, size)
    return {0: [], **{c: made[c + size] for c in range(1, size + 1)}, **{c + size: made[c] for c in range(1, size + 1)}}


def pairs(
    index: Any,
    order: Any,
    size: int,
    queries: int,
    repeats: int,
    *,
    again: bool = False,
    shared: bool = False,
    cycle: bool = False,
    part: int = 1,
    last: bool = False,
) -> list[tuple[int, int, int]]:
    used, taken, made = set(), set(), []
    for c in order:
        mine = [q for q in index[c] if again or q not in used][:queries]
        others = [s for s in index[c + part * size] if shared or s not in taken]
        others = others[-queries * repeats :] if last else others[: queries * repeats]
        used.update(mine)
        taken.update(others)
        slots = mine * repeats if cycle else [q for q in mine for _ in range(repeats)]
        made += [(q, s, c) for q, s in zip(slots, others, strict=False)]
    return made


SOLUTIONS: list[tuple[Check, Attempt]] = [
    (nb01.check_fitted_copy, fitted),
    (nb01.check_ranking, lambda: ["copy", "colour", "background"]),
    (nb01.check_support, lambda: 11),
    (nb01.check_support, lambda: 20),
    (nb02.check_merge, merge),
    (nb02.check_mirror, lambda m, s: swap(m, s)[:, ::-1]),
    (nb02.check_support_index, index_of),
    (nb02.check_pairs, lambda i, o, n, q, r: journal_pairs(i, o, queries=q, repeats=r)),
    (nb02.check_pairs, pairs),
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
    (nb02.check_merge, merge_in_a_chain, "merged twice"),
    (nb02.check_merge, merge_listed_only, "id 17"),
    (nb02.check_merge, lambda m, k: np.vectorize(lambda i: k.get(i, 0))(m).astype(np.uint8), "must stay 255"),
    (nb02.check_merge, lambda m, k: merge(m, k).astype(int), "uint8"),
    (nb02.check_merge, lambda m, k: m, "id 17"),
    (nb02.check_mirror, lambda m, s: m[:, ::-1], "other foot"),
    (nb02.check_mirror, swap, "not turned"),
    (nb02.check_mirror, lambda m, s: swap(m, s)[::-1], "upside down"),
    (nb02.check_mirror, swap_in_two_steps, "both sides end up"),
    (nb02.check_support_index, index_without_empty_keys, "empty list"),
    (nb02.check_support_index, lambda p, k, n: index_of(p, k, n, True), "counts as a query"),
    (nb02.check_support_index, index_counted_anew, "whole list"),
    (nb02.check_support_index, index_exchanged, "exchanged"),
    (nb02.check_support_index, lambda p, k, n: list(index_of(p, k, n).values()), "a dict"),
    (nb02.check_pairs, lambda *a: pairs(*a, again=True), "serves two classes"),
    (nb02.check_pairs, lambda *a: pairs(*a, shared=True), "used twice"),
    (nb02.check_pairs, lambda *a: pairs(*a, part=0), "come from the query part"),
    (nb02.check_pairs, lambda *a: pairs(*a, cycle=True), "q1, q1, q2, q2"),
    (nb02.check_pairs, lambda i, o, *a: pairs(i, sorted(o), *a), "test order"),
    (nb02.check_pairs, lambda *a: pairs(*a)[:4], "make 12 pairs"),
    (nb02.check_pairs, lambda *a: pairs(*a, last=True), "queries are right"),
]

TestCheckers = checker_tests(SOLUTIONS, MISTAKES)
