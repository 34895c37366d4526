"""Checkers of notebook 02, tailoring: merges, mirrored masks, support indexes, the journal's test pairs."""

from __future__ import annotations

from typing import Any

import numpy as np

from oshp_lite.book.exercises.frame import call, checker, mask_of, refuse, require
from oshp_lite.data.pairs import build_support_index, journal_pairs

IGNORE = 255


@checker
def check_merge(attempt: Any) -> str:
    """Check `f(mask uint8 array, kept_as: dict) -> uint8 array`: the look-up, unknown ids dropped, 255 kept."""
    mask = np.array([[0, 1, 2, 3, 9], [10, 10, 12, 13, 255], [17, 3, 9, 2, 1]], np.uint8)
    kept_as = {0: 0, 1: 2, 2: 3, 3: 3, 9: 9, 10: 9, 12: 12, 13: 12}  # 1 -> 2 and 2 -> 3: the order of writing matters
    table = np.zeros(256, np.uint8)
    table[list(kept_as)] = list(kept_as.values())
    table[IGNORE] = IGNORE
    result = mask_of(call(attempt, mask, kept_as), mask.shape, dtype=np.uint8)
    chained = mask.copy()
    for raw_id, kept in kept_as.items():
        chained[chained == raw_id] = kept
    twice = "ids are merged twice: 1 becomes 2, and the next step takes that 2 for a raw one. Write into another array"
    refuse(result, (chained, twice), (np.where(mask == 17, 0, chained), twice))
    require((result[mask == IGNORE] == IGNORE).all(), "255 is not an id but the lack of a label; it must stay 255")
    require((result[mask == 17] == 0).all(), "id 17 is not in kept_as: it was dropped, so it becomes background, 0")
    require(not np.isin(result, (10, 13)).any(), "right-hand ids are still there: join 10 and 13 with 9 and 12")
    wrong = sorted({int(value) for value in mask[result != table[mask]]})
    require(not wrong, f"pixels of these raw ids came out wrong: {wrong}")
    return "every id is looked up once, what is not listed is dropped, and 255 stays silent"


@checker
def check_mirror(attempt: Any) -> str:
    """Check `f(mask uint8 [h,w], sides: list of pairs) -> uint8 [h,w]`: turned left to right, sides exchanged."""
    mask = np.array([[0, 2, 2, 0], [14, 4, 4, 15], [14, 4, 4, 0], [12, 12, 13, 255], [9, 0, 10, 10]], np.uint8)
    sides = [(9, 10), (12, 13), (14, 15)]
    table = np.arange(256, dtype=np.uint8)
    turned = mask[:, ::-1]
    one_sided, joined = turned.copy(), turned.copy()
    for left, right in sides:
        table[left], table[right] = right, left
        one_sided[one_sided == left] = right
        one_sided[one_sided == right] = left
        joined[turned == left] = right
    result = mask_of(call(attempt, mask, sides), mask.shape, dtype=np.uint8)
    refuse(
        result,
        (turned, "a left shoe is still a left shoe, but in the mirror it is the other foot. Exchange the ids"),
        (table[mask], "the ids are exchanged, but the picture is not turned left to right"),
        (table[mask][::-1], "you turn the mask upside down; a mirror swaps the columns"),
        (one_sided, "both sides end up as the left one; exchange in one step, or read from an untouched copy"),
        (joined, "left became right, but right did not become left"),
    )
    wrong = sorted({int(value) for value in turned[result != table[turned]]})
    require(not wrong, f"pixels of these ids came out wrong: {wrong}")
    return "the mirrored person has left and right where they belong"


@checker
def check_support_index(attempt: Any) -> str:
    """Check `f(presence, split, n_foreground) -> dict`: keys 0..2S, query photos at c, support photos at c + S."""
    presence = [{1, 3}, {3}, {1, 2}, {2, 3}, {1}, set(), {3}]
    split, size = 3, 4
    truth = build_support_index(presence, split, size, inclusive=False)
    value = call(attempt, presence, split, size)
    require(isinstance(value, dict), f"return a dict from key to list of line numbers, not {type(value).__name__}")
    try:
        result = {int(key): [int(line) for line in lines] for key, lines in value.items()}
    except (TypeError, ValueError):
        result = {}
    lacking = sorted(set(truth) - set(result))
    empty = f"the keys {lacking} are missing. A class without a photo has an empty list, so that no caller tests for it"
    require(not lacking or any(truth[key] for key in lacking), empty)
    require(set(result) == set(truth), f"the keys must run from 0 to {2 * size}; yours are {sorted(result)}")
    local = {key: [n - split if key > size else n for n in lines] for key, lines in truth.items()}
    swapped = {key: truth[key + size if key <= size else key - size] if key else [] for key in truth}
    both = {key: truth[key] + truth[key + size] if 0 < key <= size else truth[key] for key in truth}
    for mistake, explanation in (
        (
            build_support_index(presence, split, size, inclusive=True),
            f"photo {split} counts as a query in your index. Photos 0 to split - 1 are queries; photo `split` is "
            "the first support (the authors' files have it the other way)",
        ),
        (local, "the support photos are counted from 0 again; line numbers refer to the whole list everywhere"),
        (swapped, "queries and supports are exchanged: key c is for queries, key c + S for supports"),
        (both, "key c lists supports as well; it is for the query part only"),
    ):
        require(result != mistake, explanation)
    wrong = [key for key in truth if sorted(result[key]) != truth[key]]
    require(not wrong, f"key {wrong[0] if wrong else 0} should hold {truth[wrong[0]] if wrong else []}")
    require(result == truth, "line numbers must be in rising order: pairs rely on it")
    return "both parts stand in one index, with an empty list for a class that is not there"


@checker
def check_pairs(attempt: Any) -> str:
    """Check `f(index, order, n_foreground, queries, repeats) -> [(query, support, class)]`: the journal's rule."""
    index = {0: [], 1: [0, 1, 2, 4, 5], 2: [1, 3, 4, 6], 3: [0, 2, 5, 6, 7]}
    index |= {4: list(range(8, 20)), 5: [9, 10, 12, 14, 15, 17, 18, 19], 6: list(range(8, 30))}
    order, size, queries, repeats = (2, 1, 3), 3, 2, 2
    truth = [tuple(pair) for pair in journal_pairs(index, order, queries=queries, repeats=repeats)]
    value = call(attempt, index, order, size, queries, repeats)
    try:
        result = [tuple(int(part) for part in pair) for pair in value]
    except (TypeError, ValueError):
        result = []
    require(bool(result) and all(len(pair) == 3 for pair in result), "return a list of triples (query, support, class)")
    supports = [pair[1] for pair in result]
    wrong_part = set(supports) & {*index[1], *index[2], *index[3]}
    require(not wrong_part, "supports come from the query part; use key class + S")
    product = f"{len(order)} x {queries} x {repeats}"
    require(len(result) == len(truth), f"{product} make {len(truth)} pairs, not {len(result)}")
    classes = list(dict.fromkeys(pair[2] for pair in result))
    first = f"who comes first takes photos from the others, so walk in test order {list(order)}; yours go {classes}"
    require(classes == list(order), first)
    once = len({(query, class_id) for query, _, class_id in result}) == len({query for query, _, _ in result})
    require(once, "a query photo serves two classes; a later class must pass over the queries of earlier ones")
    require(len(set(supports)) == len(supports), "a support photo is used twice; every pair has a support of its own")
    slots, right = [pair[0] for pair in result], [pair[0] for pair in truth]
    listed = "the queries are right; take supports in list order, passing over used ones"
    require(slots != right or result == truth, listed)
    together = "the slots are q1, q2, q1, q2; the papers' list has q1, q1, q2, q2 (a query's repeats stand together)"
    require(slots[: queries * repeats] != right[::repeats][:queries] * repeats, together)
    require(result == truth, f"the first pairs should be {truth[:3]}, yours are {result[:3]}")
    return "the same list as `journal_pairs`, without a single random number"
