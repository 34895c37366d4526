"""Measures beside the papers' own, against confusion matrices counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from oshp_lite.engine.presets import init_config
from oshp_lite.errors import UserError
from oshp_lite.study.plan import config_of
from oshp_lite.study.records import Measured, RunKey, measured_of
from oshp_lite.study.statistics import bootstrap, paired_difference

KEY = RunKey("eopnet", "synth-atr", 1, "k")
SPLIT = KEY.split
NOVEL, BASE = list(SPLIT.novel), list(SPLIT.base_foreground)
Matrices = NDArray[np.int64]


def made(matrices: Matrices) -> Measured:
    return measured_of(KEY, "lite", matrices, np.zeros(len(matrices), int))


def drawn(seed: int, n: int = 5) -> Matrices:
    """Confusion matrices in which some classes are missing from some truths."""
    rng = np.random.default_rng(seed)
    matrices = np.zeros((n, SPLIT.n_ids, SPLIT.n_ids), np.int64)
    kept = np.array(SPLIT.classes)
    for pair in matrices:
        there = kept[rng.random(len(kept)) < 0.6]
        pair[np.ix_(there, kept)] = rng.integers(0, 50, (len(there), len(kept)))
        pair[0, 0] += 1
    return matrices


@given(st.integers(0, 10_000))
def test_where_pixels_go_adds_up(seed: int) -> None:
    matrices = drawn(seed)
    run, total = made(matrices), matrices.sum(0)
    for name, ids in (("novel", NOVEL), ("base", BASE)):
        rows = total[ids]
        if not rows.sum():
            continue
        right = sum(total[c, c] for c in ids) / rows.sum()
        shares = {where: run.score(f"{name}_as_{where}") for where in ("background", "novel", "base")}
        assert shares["background"] == pytest.approx(rows[:, 0].sum() / rows.sum())
        assert right + sum(shares.values()) == pytest.approx(1)


@given(st.integers(0, 10_000))
def test_present_and_alarm_look_at_their_own_pairs(seed: int) -> None:
    matrices = drawn(seed)
    run = made(matrices)
    ious, alarms = [], []
    for c in NOVEL:
        there = matrices[:, c].sum(1) > 0
        with_it, without = matrices[there].sum(0), matrices[~there]
        if there.any():
            ious.append(with_it[c, c] / (with_it[c].sum() + with_it[:, c].sum() - with_it[c, c]))
        if (~there).any():
            alarms.append(without[:, :, c].sum() / without.sum())
    for name, values in (("novel_present", ious), ("novel_alarm", alarms)):
        if values:
            assert run.score(name) == pytest.approx(np.mean(values))
        else:
            assert np.isnan(run.score(name))


def test_a_prediction_of_background_only_has_the_whole_bias() -> None:
    matrices = np.zeros((2, SPLIT.n_ids, SPLIT.n_ids), np.int64)
    matrices[:, NOVEL + BASE, 0] = 7
    run = made(matrices)
    assert (run.score("novel_as_background"), run.score("base_as_background")) == (1, 1)
    assert (run.score("novel_alarm"), run.score("novel_present")) == pytest.approx((np.nan, 0), nan_ok=True)


def test_what_older_records_lack_is_said() -> None:
    run = made(drawn(3))
    assert run.misassigned is not None
    object.__setattr__(run, "misassigned", run.misassigned[:, :2])
    assert run.score("novel_as_novel") >= 0
    with pytest.raises(UserError, match="where pixels of base classes go was not recorded; run it again"):
        run.score("base_as_background")


def block_run(method: str, number: int, skill: float, hard: Matrices) -> Measured:
    """A run tested on one block: 40 photos in groups of ten, photos of a group equally hard."""
    rng = np.random.default_rng([number, len(method)])
    matrices = np.zeros((40, SPLIT.n_ids, SPLIT.n_ids), np.int64)
    right = np.clip(skill + np.repeat(hard, 10) + rng.normal(0, 0.02, 40), 0, 1)
    for c in (0, *NOVEL, *BASE):
        matrices[:, c, c], matrices[:, c, 1 if c == 0 else 0] = 100 * right, 100 - (100 * right).astype(int)
    key = RunKey(method, "synth-atr", 1, "k", number, protocol="blocks")
    ids = np.roll(np.resize(np.array(SPLIT.foreground), 40), number)
    return measured_of(key, "lite", matrices, ids, queries=np.arange(40))


def test_blocks_have_their_own_photos_and_are_drawn_by_groups_of_neighbours() -> None:
    hard = [np.random.default_rng(number).normal(0, 0.1, 4) for number in range(5)]
    better = [block_run("eopnet", number, 0.7, hard[number]) for number in range(5)]
    worse = [block_run("sgone", number, 0.6, hard[number]) for number in range(5)]
    difference = paired_difference(better, worse, "novel")
    assert difference.by_fold == {1: (0, 1, 2, 3, 4)}
    assert 0 < difference.low < difference.mean < difference.high
    alone = bootstrap(better, "novel")
    by_photo = bootstrap([replace(run, key=replace(run.key, protocol="journal")) for run in better[:1]], "novel")
    by_group = bootstrap(better[:1], "novel")
    assert by_group.high - by_group.low > 1.5 * (by_photo.high - by_photo.low)  # ten equal photos are one observation
    assert difference.high - difference.low < (alone.high - alone.low) / 2  # what is hard is hard for both
    other = replace(worse[3], class_ids=np.roll(worse[3].class_ids, 1))
    with pytest.raises(UserError, match="different test pairs"):
        paired_difference(better, [*worse[:3], other, worse[4]], "novel")


def test_a_block_is_the_seed_of_its_key() -> None:
    config = config_of(RunKey("panet", "ccp-os", 2, "k", 3, protocol="blocks"), "lite")
    assert (config.data.block, config.train.seed, config.data.protocol, config.data.fold) == (3, 3, "journal", 2)
    first = init_config(config)
    assert first is not None
    assert first.data.block == 3  # or its encoder would have seen the photos that are tested
