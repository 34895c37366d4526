"""Who is parsed with whom: support indexes, the papers' fixed test pairs and the training pairs. Facts A.4 to A.6."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json

SupportIndex = Mapping[int, Sequence[int]]
"""Keys 0..2S (S foreground ids): key c = query-part photos with class c, key c+S = support-part photos with it."""

GROUP = 10
"""Neighbouring photos that the rule "each" takes for pictures of one person."""


class Pair(NamedTuple):
    """A query photo, the support photo it is parsed with (line numbers of the list file) and the class of 1-way."""

    query: int
    support: int
    class_id: int


def build_support_index(
    presence: Sequence[Iterable[int]], split: int, n_foreground: int, *, inclusive: bool = True
) -> dict[int, list[int]]:
    """Support index of a list of photos: {key: sorted line numbers}, keys 0..2S, key 0 empty. Facts A.4.

    presence   per photo, the kept foreground ids in its mask
    split      number of query photos; with `inclusive` (as the official files were made) photo number `split`
               itself also counts as a query, so that the query part has split + 1 photos
    Raises ValueError for an id outside 1..S.
    """
    index: dict[int, list[int]] = {key: [] for key in range(2 * n_foreground + 1)}
    last_query = split if inclusive else split - 1
    for number, classes in enumerate(presence):
        offset = 0 if number <= last_query else n_foreground
        for class_id in sorted(set(classes)):
            if not 1 <= class_id <= n_foreground:
                raise ValueError(f"class id {class_id} of photo {number} is outside 1..{n_foreground}")
            index[class_id + offset].append(number)
    return index


def _foreground_count(support_index: SupportIndex) -> int:
    """S, read off the keys 0..2S."""
    if not support_index or max(support_index) % 2:
        raise UserError("the support index must have the keys 0..2S for S foreground ids; make it again")
    return max(support_index) // 2


def journal_pairs(
    support_index: SupportIndex, class_order: Sequence[int], *, queries: int = 10, repeats: int = 15
) -> list[Pair]:
    """The journal's test pairs: per class (rare first) `queries` photos no earlier class used as a query, each
    `repeats` times, zipped with the first queries*repeats support photos no class used yet. No randomness. Facts A.6.

    class_order: kept foreground ids in test order. Raises UserError when photos run out.
    """
    size = _foreground_count(support_index)
    used: tuple[set[int], set[int]] = (set(), set())
    pairs: list[Pair] = []
    for class_id in class_order:
        chosen, supports = (
            [photo for photo in support_index.get(key, ()) if photo not in taken][:wanted]
            for key, taken, wanted in zip((class_id, class_id + size), used, (queries, queries * repeats), strict=True)
        )
        used[0].update(chosen)
        used[1].update(supports)
        if len(chosen) < queries or len(supports) < queries * repeats:
            raise UserError(
                f"the journal's test pairs need {queries} unused query and {queries * repeats} unused support photos "
                f"per class, but class {class_id} has only {len(chosen)} and {len(supports)}; "
                'use the pair rule "spread" for a set this small'
            )
        slots = [query for query in chosen for _ in range(repeats)]
        pairs += [Pair(query, support, class_id) for query, support in zip(slots, supports, strict=True)]
    return pairs


def spread_pairs(
    support_index: SupportIndex, classes: Sequence[int], *, queries: int = 10, repeats: int = 5
) -> list[Pair]:
    """The journal's idea on few photos: per class up to `queries` queries x `repeats` supports, rarest class first.

    Rarity is counted on the test part (ties: the given order); a class without query or support photo is left out.
    Queries are distinct within a class, photos used least so far come first, ties by file order; supports run through
    the class's support photos in file order and start again when they end. No randomness.
    """
    size = _foreground_count(support_index)
    count = {c: len(support_index.get(c, ())) + len(support_index.get(c + size, ())) for c in classes}
    used: Counter[int] = Counter()
    pairs: list[Pair] = []
    for class_id in sorted(classes, key=lambda c: count[c]):
        photos = support_index.get(class_id, ())
        supports = support_index.get(class_id + size, ())
        if not photos or not supports:
            continue
        chosen = sorted(photos, key=lambda photo: (used[photo], photo))[:queries]
        used.update(chosen)
        slots = [query for query in chosen for _ in range(repeats)]
        pairs += [Pair(query, supports[turn % len(supports)], class_id) for turn, query in enumerate(slots)]
    return pairs


def each_pairs(
    support_index: SupportIndex, classes: Sequence[int], *, repeats: int = 3, group: int = GROUP
) -> list[Pair]:
    """Every photo of the test part is a query once, for one class it shows, with `repeats` supports of that class.

    classes  kept foreground ids in test order, rarest first; a photo stands for the one that fewest photos before it do
    group    neighbouring photos show the same person: supports come from outside the query's group of so many photos

    Supports used least so far come first, of those the photos farthest from the query in the list. No randomness. Left
    out is a photo of which no photo outside its group shares a class.
    """
    size = _foreground_count(support_index)
    photos = {c: sorted({*support_index.get(c, ()), *support_index.get(c + size, ())}) for c in classes}
    count: Counter[int] = Counter()
    used: dict[int, Counter[int]] = {c: Counter() for c in classes}
    pairs: list[Pair] = []
    for query in sorted(set().union(*photos.values())):
        others = {c: [p for p in photos[c] if p // group != query // group] for c in classes if query in photos[c]}
        eligible = [c for c in others if others[c]]
        if not eligible:
            continue
        class_id = min(eligible, key=lambda c: count[c])
        count[class_id] += 1
        order = sorted(others[class_id], key=lambda p: (used[class_id][p], -abs(query - p)))
        for support in (order * -(-repeats // len(order)))[:repeats]:
            used[class_id][support] += 1
            pairs.append(Pair(query, support, class_id))
    return pairs


def aaai_pairs(n_photos: int, queries: int = 500, repeats: int = 10) -> list[Pair]:
    """The AAAI paper's k-way test: the first photos are queries, the next ones supports, each query gets 10 of them.

    The paper fixes the supports without saying how; here they follow each other in file order. class_id is 0.
    Raises UserError when there are fewer than `queries` photos for either part.
    """
    if n_photos < 2 * queries:
        raise UserError(f"the AAAI test needs {2 * queries} test photos and there are {n_photos}; use the journal's")
    turns = ((query, query * repeats + turn) for query in range(queries) for turn in range(repeats))
    return [Pair(query, queries + turn % queries, 0) for query, turn in turns]


def thin_pairs(pairs: Sequence[Pair], per_class: int) -> list[Pair]:
    """At most `per_class` pairs of each class, evenly spaced over its list so that all queries stay represented."""
    if per_class < 1:
        raise UserError(f"pairs per class must be at least 1, not {per_class}")
    by_class: dict[int, list[Pair]] = {}
    for pair in pairs:
        by_class.setdefault(pair.class_id, []).append(pair)
    kept: list[Pair] = []
    for group in by_class.values():
        size = min(per_class, len(group))
        kept += [group[turn * len(group) // size] for turn in range(size)]
    return kept


def pairs_hash(pairs: Sequence[Pair]) -> str:
    """SHA-256 of a list of pairs as compact JSON: what names a list, in scores and papers alike."""
    return sha256_json(pairs)


def kway_training_pairs(n_photos: int, split: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """One pair per query photo 0..split-1, its partner uniform over split..N-1, whatever it shows. Facts A.5.

    Raises UserError when either part is empty.
    """
    if not 0 < split < n_photos:
        raise UserError(f"a split after {split} of {n_photos} photos leaves no query or no support photo; make more")
    partners = rng.integers(split, n_photos, size=split)
    return [(query, int(partner)) for query, partner in enumerate(partners)]


def oneway_training_pairs(
    support_index: SupportIndex, classes: Sequence[int], rng: np.random.Generator, *, cap: int | None = 1500
) -> list[Pair]:
    """Per base class the first `cap` query photos that hold it, each with a random support that holds it. Facts A.5.

    classes: base foreground ids in list order. A class without query or support photos gives no pair; UserError
    when that leaves none at all.
    """
    size = _foreground_count(support_index)
    pairs: list[Pair] = []
    for class_id in classes:
        photos = list(support_index.get(class_id, ()))[:cap]
        supports = support_index.get(class_id + size, ())
        if photos and supports:
            picks = rng.integers(0, len(supports), size=len(photos))
            pairs += [Pair(query, supports[int(pick)], class_id) for query, pick in zip(photos, picks, strict=True)]
    if not pairs:
        raise UserError("no class has both a query and a support photo for training; use more photos")
    return pairs
