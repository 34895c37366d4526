"""Blocks of neighbouring photos: each photo tested once, supports never from the query's neighbours."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from engine_fixtures import tiny_dataset
from hypothesis import given
from hypothesis import strategies as st

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.pairs import build_support_index, each_pairs
from oshp_lite.data.prepare.derived import block
from oshp_lite.data.registry import BLOCKS, DataConfig, SyntheticConfig, find_dataset
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.study.plan import Finder

PRESENCE = st.lists(st.sets(st.integers(1, 5), min_size=1), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("whole") / "bars", n_train=80, n_test=31)


@given(presence=PRESENCE, repeats=st.integers(1, 4), group=st.integers(1, 12))
def test_each_photo_once_and_no_neighbour_supports_it(presence: list[set[int]], repeats: int, group: int) -> None:
    index = build_support_index(presence, len(presence) // 2, 5, inclusive=False)
    pairs = each_pairs(index, (3, 1, 2, 4, 5), repeats=repeats, group=group)
    assert set(Counter(pair.query for pair in pairs).values()) <= {repeats}
    for query, support, class_id in pairs:
        assert class_id in presence[query] & presence[support]
        assert query // group != support // group
    for photo in {*range(len(presence))} - {pair.query for pair in pairs}:  # none left out without need
        far: set[int] = set().union(*(shown for i, shown in enumerate(presence) if i // group != photo // group))
        assert not presence[photo] & far


def test_each_spreads_over_classes_and_supports() -> None:
    index = build_support_index([{1, 2}] * 40, 20, 2, inclusive=False)
    pairs = each_pairs(index, (1, 2), repeats=3)
    assert Counter(pair.class_id for pair in pairs) == {1: 60, 2: 60}
    uses = Counter(pair.support for pair in pairs)
    assert max(uses.values()) <= 2 * 3  # of each class a support serves about as often as any other


def test_blocks_cover_all_photos_once_and_never_train_on_their_own(whole: OneShotDataset) -> None:
    everything = sorted([*whole.stems("train"), *whole.stems("test")])
    parts = [block(whole, number, BLOCKS).parts for number in range(BLOCKS)]
    assert [stem for part in parts for stem in part["test"]] == everything
    for part in parts:
        assert sorted([*part["train"], *part["test"]]) == everything


def test_a_block_is_made_beside_the_dataset_with_masks_and_people_unchanged(tmp_path: Path) -> None:
    data = DataConfig(synthetic=SyntheticConfig(80, 40, 32), size=32)
    whole, made = (find_dataset(replace(data, block=number), tmp_path, progress=False) for number in (None, 2))
    assert made.root == whole.root.with_name(f"{whole.root.name}-block2")
    assert made.fingerprint != whole.fingerprint
    assert made.description["test_pairs"] == {"rule": "each", "repeats": 3}
    queries = {pair.query for pair in made.test_pairs(repeats=2)}
    assert len(queries) == len(made.stems("test"))
    stem = made.stems("test")[0]
    assert (made.mask(stem) == whole.mask(stem)).all()
    assert (made.foreground(stem) == whole.foreground(stem)).all()


def test_the_study_looks_runs_up_on_what_they_were_made_from(tmp_path: Path) -> None:
    finder, data = (
        Finder(RunStore(tmp_path / "runs"), tmp_path),
        DataConfig(synthetic=SyntheticConfig(80, 40, 32), size=32),
    )
    for one in (data, replace(data, block=1), replace(data, protocol="tuning", fold=2)):
        assert finder.dataset(one) is None
        made = find_dataset(one, tmp_path, progress=False)
        assert finder.dataset(one).root == made.root


def test_numbers_and_sizes_are_checked(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.block is 5"):
        DataConfig(block=5)
    with pytest.raises(UserError, match="exclude each other"):
        find_dataset(DataConfig(block=1, protocol="tuning"), tmp_path, progress=False)
    assert not list(tmp_path.iterdir()), "refused before people are drawn"
    few = tiny_dataset(tmp_path / "few", n_train=20, n_test=8)
    with pytest.raises(UserError, match="blocks need at least 100"):
        block(few, 0, BLOCKS)
