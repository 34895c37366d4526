"""Support indexes and pair lists against the published rules."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.data.pairs import (
    Pair,
    aaai_pairs,
    build_support_index,
    journal_pairs,
    kway_training_pairs,
    oneway_training_pairs,
    spread_pairs,
    thin_pairs,
)
from oshp_lite.errors import UserError
from oshp_lite.files import read_plain_pickle, sha256_json
from oshp_lite.labels import fold, label_space

ATR_TEST_PAIRS = "717c15b0668086e53384a450c2eb9812f41169683517739671bb39b2f8c86721"

PRESENCE = st.lists(st.sets(st.integers(1, 6)), min_size=4, max_size=60)


def test_the_official_atr_pairs(official_lists: Path) -> None:
    index = read_plain_pickle(official_lists / "ATR_OS" / "meta_test_atr_supports.pkl")
    assert len(index) == 35
    pairs = journal_pairs(index, label_space("atr").test_order)
    assert len(pairs) == 1650
    assert sha256_json([list(pair) for pair in pairs]) == ATR_TEST_PAIRS
    assert len({pair.query for pair in pairs}) == 110
    assert len({pair.support for pair in pairs}) == 1650
    assert (min(p.support for p in pairs), max(p.support for p in pairs)) == (201, 1858)


def test_journal_rule_by_hand() -> None:
    # class 2 first: queries 0 and 1 are taken away from class 1
    index = {0: [], 1: [0, 1, 2, 3], 2: [0, 1], 3: [4, 5, 6, 7, 8, 9, 11], 4: [4, 6, 8, 10]}
    pairs = journal_pairs(index, (2, 1), queries=2, repeats=2)
    assert pairs[:4] == [(0, 4, 2), (0, 6, 2), (1, 8, 2), (1, 10, 2)]
    assert pairs[4:] == [(2, 5, 1), (2, 7, 1), (3, 9, 1), (3, 11, 1)]


def test_the_journal_rule_says_when_photos_run_out() -> None:
    with pytest.raises(UserError, match='class 1 has only 3 and 1; use the pair rule "spread"'):
        journal_pairs({0: [], 1: [0, 1, 2], 2: [9]}, (1,))
    with pytest.raises(UserError, match=r"keys 0\.\.2S"):
        journal_pairs({0: [], 1: []}, (1,))


@given(presence=PRESENCE, split=st.integers(0, 59), inclusive=st.booleans())
def test_support_index(presence: list[set[int]], split: int, inclusive: bool) -> None:
    index = build_support_index(presence, split, 6, inclusive=inclusive)
    assert list(index) == list(range(13))
    assert index[0] == []
    for class_id in range(1, 7):
        assert index[class_id] == sorted(index[class_id])
        both = [*index[class_id], *index[class_id + 6]]
        assert both == [line for line, classes in enumerate(presence) if class_id in classes]
        assert all((line <= split if inclusive else line < split) for line in index[class_id])


def test_a_foreign_class_in_the_presence_list() -> None:
    with pytest.raises(ValueError, match="class id 7 of photo 1"):
        build_support_index([{1}, {7}], 1, 6)


@settings(deadline=None)
@given(presence=PRESENCE, split=st.integers(1, 30), queries=st.integers(1, 5), repeats=st.integers(1, 4))
def test_spread_rule(presence: list[set[int]], split: int, queries: int, repeats: int) -> None:
    index = build_support_index(presence, split, 6, inclusive=False)
    pairs = spread_pairs(index, range(1, 7), queries=queries, repeats=repeats)
    order = list(dict.fromkeys(pair.class_id for pair in pairs))
    total = Counter({c: sum(c in classes for classes in presence) for c in range(1, 7)})
    assert [total[c] for c in order] == sorted(total[c] for c in order)
    used: Counter[int] = Counter()
    for class_id in order:
        mine = [pair for pair in pairs if pair.class_id == class_id]
        chosen = list(dict.fromkeys(pair.query for pair in mine))
        assert [pair.query for pair in mine] == [query for query in chosen for _ in range(repeats)]
        assert len(chosen) == min(queries, len(index[class_id]))
        assert set(chosen) <= set(index[class_id])
        left = set(index[class_id]) - set(chosen)
        assert all((used[a], a) < (used[b], b) for a in chosen for b in left)
        supports = index[class_id + 6]
        assert [pair.support for pair in mine] == [supports[turn % len(supports)] for turn in range(len(mine))]
        used.update(chosen)
    missing = set(range(1, 7)) - set(order)
    assert all(not index[c] or not index[c + 6] for c in missing)


def test_spread_prefers_photos_used_least() -> None:
    index = {0: [], 1: [0, 1, 2, 3], 2: [0, 1], 3: [4, 5], 4: [5]}
    pairs = spread_pairs(index, (1, 2), queries=2, repeats=3)
    assert pairs[:6] == [(0, 5, 2), (0, 5, 2), (0, 5, 2), (1, 5, 2), (1, 5, 2), (1, 5, 2)]
    assert pairs[6:] == [(2, 4, 1), (2, 5, 1), (2, 4, 1), (3, 5, 1), (3, 4, 1), (3, 5, 1)]


@given(per_class=st.integers(1, 70))
def test_thinning_keeps_every_query(per_class: int) -> None:
    pairs = [Pair(query, 100 + query * 15 + turn, c) for c in (3, 1) for query in range(10) for turn in range(15)]
    thin = thin_pairs(pairs, per_class)
    assert len(thin) == 2 * per_class
    assert len(set(thin)) == len(thin)
    assert [pair.class_id for pair in thin] == [3] * per_class + [1] * per_class
    for class_id in (3, 1):
        counts = Counter(pair.query for pair in thin if pair.class_id == class_id)
        assert len(counts) == min(10, per_class)
        assert max(counts.values()) - min(counts.values()) <= 1
    assert thin_pairs(pairs, 1000) == pairs
    with pytest.raises(UserError, match="at least 1"):
        thin_pairs(pairs, 0)


def test_aaai_pairs() -> None:
    pairs = aaai_pairs(2706)
    assert len(pairs) == 5000
    assert Counter(pair.query for pair in pairs) == dict.fromkeys(range(500), 10)
    assert {pair.support for pair in pairs} == set(range(500, 1000))
    assert len({(pair.query, pair.support) for pair in pairs}) == 5000
    with pytest.raises(UserError, match="1000 test photos"):
        aaai_pairs(999)


def test_kway_training_pairs() -> None:
    pairs = kway_training_pairs(20, 8, np.random.default_rng(3))
    assert [query for query, _ in pairs] == list(range(8))
    assert all(8 <= support < 20 for _, support in pairs)
    assert pairs == kway_training_pairs(20, 8, np.random.default_rng(3))
    assert {s for seed in range(60) for _, s in kway_training_pairs(20, 8, np.random.default_rng(seed))} == set(
        range(8, 20)
    )
    for split in (0, 20):
        with pytest.raises(UserError, match="leaves no query or no support"):
            kway_training_pairs(20, split, np.random.default_rng(3))


def test_oneway_training_pairs() -> None:
    rng = random.Random(5)
    presence = [set(rng.sample(range(1, 7), 3)) for _ in range(50)]
    index = build_support_index(presence, 30, 6)
    pairs = oneway_training_pairs(index, (4, 2), np.random.default_rng(0), cap=5)
    assert [pair.class_id for pair in pairs] == [4] * 5 + [2] * 5
    for pair in pairs:
        assert pair.class_id in presence[pair.query]
        assert pair.class_id in presence[pair.support]
        assert pair.query <= 30 < pair.support
    assert [pair.query for pair in pairs[:5]] == index[4][:5]
    everything = oneway_training_pairs(index, (4,), np.random.default_rng(0), cap=None)
    assert len(everything) == len(index[4])
    with pytest.raises(UserError, match="no class has both"):
        oneway_training_pairs({0: [], 1: [1], 2: []}, (1,), np.random.default_rng(0))


def test_the_official_number_of_oneway_pairs(official_lists: Path) -> None:
    index = read_plain_pickle(official_lists / "ATR_OS" / "meta_train_atr_supports.pkl")
    for number, expected in ((1, 1384 + 7 * 1500), (2, 8 * 1500)):
        pairs = oneway_training_pairs(index, fold("atr", number).base_foreground, np.random.default_rng(0))
        assert len(pairs) == expected
