"""The checkers of notebooks 01 and 02: the solution passes, typical mistakes fail with an explanation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from exercise_frame import Attempt, Check, checker_tests

from oshp_lite.book.exercises import nb01, nb02
from oshp_lite.data.pairs import build_support_index, journal_pairs


def in_place(m: np.ndarray, training: tuple[int, ...]) -> np.ndarray:
    m[~np.isin(m, [*training, 255])] = 0
    return m


def scores(m: np.ndarray, base: Any, novel: Any, value: Callable[[Any, Any, Any], Any] | None = None) -> Any:
    hits, rows, columns = m.diagonal(), m.sum(1), m.sum(0)
    iou = hits / (rows + columns - hits) if value is None else value(hits, rows, columns)
    return tuple(float(np.nanmean(iou[list(ids)])) for ids in ((0, *base, *novel), novel, (0, *base)))


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    high = np.maximum(a, b).sum()
    return float(np.minimum(a, b).sum() / high) if high else 0.0


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
    (nb01.check_training_mask, lambda m, t: np.where(np.isin(m, [*t, 255]), m, 0)),
    (nb01.check_truth, lambda q, s: np.where(np.isin(q, np.unique(s)) | (q == 255), q, 0)),
    (nb01.check_scores, scores),
    (nb01.check_overlap, overlap),
    (nb02.check_merge, merge),
    (nb02.check_mirror, lambda m, s: swap(m, s)[:, ::-1]),
    (nb02.check_support_index, index_of),
    (nb02.check_pairs, lambda i, o, n, q, r: journal_pairs(i, o, queries=q, repeats=r)),
    (nb02.check_pairs, pairs),
]

MISTAKES: list[tuple[Check, Attempt, str]] = [
    (nb01.check_training_mask, in_place, "in place"),
    (nb01.check_training_mask, lambda m, t: np.where(np.isin(m, t), m, 0), "must stay 255"),
    (nb01.check_training_mask, lambda m, t: np.where(np.isin(m, [*t, 255]), m, 255), "kinder"),
    (nb01.check_training_mask, lambda m, t: np.where(np.isin(m, t), 0, m), "novel id is still there"),
    (nb01.check_training_mask, lambda m, t: np.where(np.isin(m, [*t, 255]), m, 0.0), "whole numbers"),
    (nb01.check_truth, lambda q, s: q, "nothing is restricted"),
    (nb01.check_truth, lambda q, s: np.where(np.isin(q, s), q, 0), "must stay 255"),
    (nb01.check_truth, lambda q, s: np.where(np.isin(q, s), q, 255), "said too much"),
    (nb01.check_truth, lambda q, s: np.where(q == s, q, 0), "ValueError"),
    (nb01.check_truth, lambda q, s: np.where(np.isin(s, q), s, 0), "query's size"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n, lambda h, r, c: np.nan_to_num(h / (r + c - h))), "0/0"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n, lambda h, r, c: h / r), "recall"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n, lambda h, r, c: h / c), "precision"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n, lambda h, r, c: 2 * h / (r + c)), "Dice"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n, lambda h, r, c: h / (r + c)), "hits twice"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n)[::-1], "order is human"),
    (nb01.check_scores, lambda m, b, n: (*scores(m, b, n)[:2], scores(m, b[1:], b)[1]), "background is a class"),
    (nb01.check_scores, lambda m, b, n: scores(m, b, n)[0], "three numbers"),
    (nb01.check_scores, lambda m, b, n: [scores(m, b, n)[i] for i in (0, 2, 1)], "order is human, novel, base"),
    (nb01.check_overlap, lambda a, b: 2 * np.minimum(a, b).sum() / (a.sum() + b.sum()), "Dice"),
    (nb01.check_overlap, lambda a, b: np.minimum(a, b).sum() / a.sum(), "first shape alone"),
    (nb01.check_overlap, lambda a, b: (a * b).sum() / np.maximum(a, b).sum(), "multiply"),
    (nb01.check_overlap, lambda a, b: ((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum(), "one half"),
    (nb01.check_overlap, lambda a, b: np.minimum(a, b).sum() / np.maximum(a, b).sum(), "two empty shapes"),
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
