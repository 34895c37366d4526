"""Choosing settings without the test: held-out base classes, the same number of trials for all, one rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from engine_fixtures import tiny_dataset
from hypothesis import given
from hypothesis import strategies as st

from oshp_lite.cli import main
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.prepare.derived import make, tuning
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import read_json, write_json_atomic
from oshp_lite.labels import Fold, fold
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.tuning import MARGIN, START, chosen, notes_by_method, outcome, record, trials, tuning_file

JOURNAL = fold("atr", 1)


def hold_out(whole: OneShotDataset, chosen: Fold, root: Path) -> OneShotDataset:
    return make(whole, tuning(whole, chosen), root)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("whole") / "bars")


@pytest.fixture(scope="module")
def held(whole: OneShotDataset) -> OneShotDataset:
    return hold_out(whole, JOURNAL, whole.root.with_name("held"))


# --------------------------------------------------------------------------------------------- the data


def test_training_photos_only_and_none_on_both_sides(whole: OneShotDataset, held: OneShotDataset) -> None:
    train, test = held.stems("train"), held.stems("test")
    assert (*train, *test) == whole.stems("train")
    assert len(test) == round(len(whole.stems("train")) / 4)
    assert not set(whole.stems("test")) & {*train, *test}


def test_novel_labels_are_erased_and_nothing_else_is(whole: OneShotDataset, held: OneShotDataset) -> None:
    erased = 0
    for stem in whole.stems("train"):
        before, after = whole.mask(stem), held.mask(stem)
        gone = np.isin(before, JOURNAL.novel)
        erased += int(gone.sum())
        assert not np.isin(after, JOURNAL.novel).any()
        np.testing.assert_array_equal(after, np.where(gone, 0, before))
        np.testing.assert_array_equal(held.foreground(stem), whole.foreground(stem))
        assert held.image_path(stem).read_bytes() == whole.image_path(stem).read_bytes()
    assert erased, "these bars must wear something novel, or nothing was tested"


@pytest.mark.parametrize(("dataset", "number"), [(name, n) for name in ("atr", "lip", "cihp", "ccp") for n in (1, 2)])
def test_base_classes_play_novel(dataset: str, number: int) -> None:
    journal, tuning = fold(dataset, number), fold(dataset, number, "tuning")
    assert set(tuning.novel) < set(journal.base_foreground)
    assert set(tuning.classes) == set(journal.training)
    assert not set(tuning.novel) & set(tuning.training)
    assert not set(journal.novel) & {*tuning.classes, *tuning.novel}


def test_made_once(whole: OneShotDataset, held: OneShotDataset) -> None:
    before = {path: path.stat().st_mtime_ns for path in held.root.rglob("*")}
    assert hold_out(whole, JOURNAL, held.root).fingerprint == held.fingerprint
    assert {path: path.stat().st_mtime_ns for path in held.root.rglob("*")} == before


def test_an_older_form_is_replaced_and_a_strange_folder_is_not(whole: OneShotDataset, tmp_path: Path) -> None:
    ours = hold_out(whole, JOURNAL, tmp_path / "ours")
    other = hold_out(whole, fold("atr", 2), ours.root)
    assert not any(np.isin(other.mask(stem), fold("atr", 2).novel).any() for stem in other.stems("train"))
    strange = tiny_dataset(tmp_path / "strange")
    with pytest.raises(UserError, match="strange"):
        hold_out(whole, JOURNAL, strange.root)
    assert strange.stems("test")


def test_too_few_photos(tmp_path: Path) -> None:
    few = tiny_dataset(tmp_path / "few", n_train=6)
    with pytest.raises(UserError, match="6 photos, too few"):
        hold_out(few, JOURNAL, tmp_path / "held")
    assert not (tmp_path / "held").exists()


# ------------------------------------------------------------------------------------------- the trials


def leaves(tree: dict[str, object], before: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in tree.items():
        found |= leaves(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def test_every_method_gets_as_many() -> None:
    places = dict.fromkeys((trial.dataset, trial.way) for trial in trials("lite"))
    assert set(places) == {(dataset, way) for dataset in ("synth-atr", "ccp-os") for way in ("k", "1")}
    tuned = [method for method in METHODS if method != "persam"]  # PerSAM has nothing to tune without weights
    counts = {(*place, method): list[str]() for place in places for method in tuned}
    for trial in trials("lite"):
        counts[trial.dataset, trial.way, trial.method].append(trial.name)
    assert len({len(names) for names in counts.values()}) == 1
    assert all(names[0] == START and len(set(names)) == len(names) for names in counts.values())


def test_each_changes_one_thing_of_the_start_and_never_sees_the_test() -> None:
    start: dict[tuple[str, str, str], dict[str, object]] = {}
    for trial in trials("lite"):
        assert (trial.config.data.protocol, trial.config.data.condition) == ("tuning", "papers")
        told = leaves(trial.config.as_dict())
        first = start.setdefault((trial.dataset, trial.way, trial.method), told)
        differing = {name for name in told.keys() | first.keys() if told.get(name) != first.get(name)}
        assert len(differing) == (0 if trial.name == START else 1), (trial.method, trial.name, differing)


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0, 1, allow_nan=False)),
    st.floats(0, 1, allow_nan=False),
)
def test_only_a_clear_gain_takes_the_place_of_the_start(others: dict[str, float], start: float) -> None:
    name = chosen({START: start, **others})
    best = max(others.values(), default=0.0)
    if name == START:
        assert best - start < MARGIN
    else:
        assert others[name] == best
        assert best - start >= MARGIN


PLACES = dict.fromkeys((trial.dataset, trial.way, trial.method) for trial in trials("lite"))


@pytest.mark.parametrize(("dataset", "way", "method"), PLACES)
def test_the_profile_holds_what_the_kept_trials_chose(dataset: str, way: str, method: str) -> None:
    scores = outcome(read_json(tuning_file()), "lite", dataset, way, method)
    place = (dataset, way, method)
    declared = {trial.name: trial for trial in trials("lite") if (trial.dataset, trial.way, trial.method) == place}
    assert scores.keys() == declared.keys()
    settled = replace(declared[chosen(scores)], same={}).config  # as a run of the profile, not a short trial
    profile = load_profile("lite", {"model.method": method}, dataset=dataset, way=way)
    assert settled.train == profile.train
    assert settled.model.options == profile.model.options


# --------------------------------------------------------------------------------------- made and kept


PLACE = ("synth-atr", "k")


def test_made_listed_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--profile", "smoke", "--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main(["tune", "--dry-run", *places]) == 0
    assert "2 trials: 0 done" in capsys.readouterr().out
    assert not (tmp_path / "data").exists(), "a look draws no people"
    assert main(["tune", *places]) == 0
    told = capsys.readouterr().out
    assert all(f"synth-atr k-way label_transfer  {name}" in told for name in ("start", "nearest"))
    assert main(["tune", "--dry-run", *places]) == 0
    assert "2 trials: 2 done" in capsys.readouterr().out

    kept = record("smoke", RunStore(tmp_path / "runs"), tmp_path / "kept.json")
    records = read_json(kept)
    assert [one["trial"] for one in records] == ["start", "nearest"]
    assert outcome(records, "smoke", *PLACE, "label_transfer").keys() == {"start", "nearest"}
    for profile, *place in (
        ("smoke", *PLACE, "eopnet"),
        ("lite", *PLACE, "label_transfer"),
        ("smoke", "synth-atr", "1", "label_transfer"),
    ):
        assert outcome(records, profile, *place) == {}
    assert notes_by_method("smoke", kept)["label_transfer"].startswith("synth-atr k-way: 2 trials, ")
    assert all(one["provenance"]["code"] and one["scores"]["n_pairs"] for one in records)
    record("smoke", RunStore(tmp_path / "runs"), kept)
    assert read_json(kept) == records
    older = [
        records[0] | {"trial": name, "provenance": {"identity": name, "finished": ""}} for name in ("start", "gone")
    ]
    write_json_atomic(kept, [*older, *records])
    record("smoke", RunStore(tmp_path / "runs"), kept)
    assert read_json(kept) == [one | {"profile": None, "trial": None} for one in older] + records, (
        "a name was kept twice"
    )


def test_trials_that_the_store_does_not_hold_stay(tmp_path: Path) -> None:
    empty = RunStore(tmp_path / "empty")
    with pytest.raises(UserError, match="oshp-lite tune --profile smoke"):
        record("smoke", empty, tmp_path / "kept.json")
    before = read_json(tuning_file())
    (tmp_path / "kept.json").write_bytes(tuning_file().read_bytes())
    record("lite", empty, tmp_path / "kept.json")
    assert read_json(tmp_path / "kept.json") == before


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--profile", "gpu"], "profiles with trials: lite"),
        (["--only", "persam"], "no trial is declared"),
        (["record", "--dry-run"], "it takes no --dry-run"),
        (["record", "--only", "panet"], "it takes no --only"),
    ],
)
def test_bad_words(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", *words]) == 2
    assert expected in capsys.readouterr().err
