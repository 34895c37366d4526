"""Every option of every command of `data_scripts` changes what it says it changes; the commands agree with runs."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from engine_fixtures import tiny_config
from raw_trees import assert_refused, atr_tree, ccp_tree, cihp_tree, lip_tree, save, script, write_lists

from oshp_lite.cli import main as cli_main
from oshp_lite.data import registry
from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.pairs import aaai_pairs, pairs_hash
from oshp_lite.data.prepare.command import main, pair_options, preparation
from oshp_lite.data.prepare.raw import RawLayout
from oshp_lite.data.registry import DATASETS, DataConfig, DatasetSpec, SyntheticConfig, find_dataset
from oshp_lite.data.synthetic import generate
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.presets import load_profile
from oshp_lite.errors import UserError
from oshp_lite.labels import fold, label_space, tables


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return generate("synth-atr", tmp_path_factory.mktemp("people") / "atr", 24, 40, 32, 0, False)


def run(name: str, *words: object) -> None:
    assert main(name, [str(word) for word in words]) == 0


# ------------------------------------------------------------------------------------------------ small raw trees


@pytest.mark.parametrize(("name", "tree"), [("atr", atr_tree), ("lip", lip_tree), ("cihp", cihp_tree)])
def test_a_small_tree_needs_no_options(name: str, tree: Callable[..., object], tmp_path: Path) -> None:
    """It used to be made with a rule for test pairs that its own `verify` then refused."""
    tree(tmp_path / "raw", 40, 20)
    made = script(name, "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert made.returncode == 0, made.stderr
    assert "the rule spread for test pairs: too few photos for the journal's" in made.stdout
    assert "half of the photos" in made.stdout
    looked = script(name, "verify", tmp_path / "out")
    assert looked.returncode == 0, looked.stderr
    assert open_dataset(tmp_path / "out").test_pairs()


def test_a_split_that_cannot_be_is_refused_before_any_work(tmp_path: Path) -> None:
    atr_tree(tmp_path / "raw")
    words = ("atr", "--root", tmp_path / "raw", "--out", tmp_path / "made" / "out", "--train-split", 500)
    assert_refused(script(*words), "15 train photos, of which 500 should be queries")
    assert not (tmp_path / "made").exists()


# ------------------------------------------------------------------------------------------------ tailoring


def _lists(work: Path, given: bool) -> object:
    train, test = atr_tree(work / "raw")
    write_lists(work / "lists", train[1:], [*test, train[0]])
    run("atr", "--root", work / "raw", "--out", work / "out", *(("--lists", work / "lists") if given else ()))
    return open_dataset(work / "out").stems("test")


def _atr(option: str, *values: object) -> Callable[[Path, bool], object]:
    def made(work: Path, given: bool) -> object:
        atr_tree(work / "raw")
        run("atr", "--root", work / "raw", "--out", work / "out", *((option, *values) if given else ()))
        dataset = open_dataset(work / "out")
        return dataset.split("train"), dataset.split("test"), dataset.image_path(dataset.stems("train")[0]).is_symlink()

    return made


def _force(work: Path, given: bool) -> object:
    atr_tree(work / "raw")
    words = ("--root", work / "raw", "--out", work / "out")
    run("atr", *words)
    return main("atr", [*map(str, words), "--train-split", "3", *(["--force"] if given else [])])


def _max_side(work: Path, given: bool) -> object:
    from oshp_lite.data.prepare import ccp

    ccp_tree(work / "clone", photos=6, empty=())
    plan = ccp.CcpPlan(("0000", "0001", "0002"), ("0003", "0004", "0005"), (), 1, 1)
    original, ccp.standard_plan = ccp.standard_plan, lambda: plan
    try:
        run("ccp", "--root", work / "clone", "--out", work / "out", *(("--max-side", 32) if given else ()))
    finally:
        ccp.standard_plan = original
    return open_dataset(work / "out").sample("0000").size


def _quick(work: Path, given: bool) -> object:
    generate("synth-atr", work / "data", 8, 8, 32, 0, False)
    photo = work / "data" / "trainval_images" / "train_000001.jpg"
    photo.write_bytes(photo.read_bytes()[:-60])
    return main("atr", ["verify", str(work / "data"), *(["--quick"] if given else [])])


TAILORED: dict[str, Callable[[Path, bool], object]] = {
    "--lists": _lists,
    "--copy": _atr("--copy"),
    "--train-split": _atr("--train-split", 3),
    "--test-split": _atr("--test-split", 2),
    "--force": _force,
    "--max-side": _max_side,
    "--quick": _quick,
}
PLACES = {"--root", "--out", "--data"}
"""Options that name where to read and write; every test here depends on them."""
PAIRS: dict[str, tuple[object, dict[str, object]]] = {
    "--rule": ("aaai", {"pairs": "aaai"}),
    "--queries": (2, {"queries": 2}),
    "--repeats": (3, {"repeats": 3}),
    "--per-class": (4, {"per_class": 4}),
}
"""An option that shapes the pairs, a value for it, and the value of `eval` it stands for."""


def test_every_option_is_tried_here() -> None:
    declared: set[str] = set()
    for spec in DATASETS.values():
        if not spec.synthetic:
            parser = argparse.ArgumentParser()
            preparation(spec.family).declare(parser)
            pair_options(parser)
            declared |= {action.option_strings[-1] for action in parser._actions}
    assert declared - {"--help"} <= {*TAILORED, *PAIRS, *PLACES}


@pytest.mark.parametrize("option", TAILORED)
def test_options_of_tailoring_and_verifying(option: str, tmp_path: Path) -> None:
    results = []
    for given in (False, True):
        (tmp_path / str(given)).mkdir()
        results.append(TAILORED[option](tmp_path / str(given), given))
    assert results[0] != results[1], option


def test_pairs_out(people: OneShotDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("atr", "pairs", "--data", people.root, "--out", tmp_path / "pairs.json")
    content = (tmp_path / "pairs.json").read_bytes()
    assert hashlib.sha256(content).hexdigest() in capsys.readouterr().out
    run("atr", "pairs", "--data", people.root, "--out", "-")
    assert content.decode() in capsys.readouterr().out


# ------------------------------------------------------------------------------------------------ one pair rule


@pytest.fixture
def many(people: OneShotDataset, monkeypatch: pytest.MonkeyPatch) -> OneShotDataset:
    """The same dataset, where the AAAI's thousand photos are only four."""
    monkeypatch.setattr("oshp_lite.data.dataset.aaai_pairs", lambda photos: aaai_pairs(photos, 20, 5))
    return people


@pytest.mark.parametrize("option", [None, *PAIRS])
@pytest.mark.parametrize("command", ["verify", "pairs", "oshp-lite data verify"])
def test_the_list_that_is_printed_is_the_one_that_is_scored(
    option: str | None, command: str, many: OneShotDataset, capsys: pytest.CaptureFixture[str]
) -> None:
    """`verify` used to print the hash of the dataset's own list, whatever a run's `eval` asks for."""
    value, changes = PAIRS[option] if option else (None, {})
    own = {"pairs": "dataset", "queries": 10, "repeats": 5, "per_class": None}
    config = tiny_config(data={"dataset": "synth-atr"}, eval={**own, **changes})
    scored = test_set(config, many, run_fold(config, many)).pairs()
    where = ("--data", many.root) if command == "pairs" else (many.root,)
    words = [*where, *((option, value) if option else ())]
    if command.startswith("oshp-lite"):
        assert cli_main(["data", "verify", *map(str, words)]) == 0
    else:
        run("atr", command, *words)
    assert pairs_hash(scored) in capsys.readouterr().out
    assert (scored == many.test_pairs()) is (option is None)


def test_per_class_under_the_aaai_protocol(many: OneShotDataset) -> None:
    """Its pairs name no class, so `per_class` used to leave that many in all instead of that many for each class."""
    whole = many.test_pairs("aaai")
    assert {pair.class_id for pair in whole} == {0}
    assert len(whole) == 100
    thin = many.test_pairs("aaai", per_class=4)
    assert len(thin) == 4 * len(many.space.foreground_classes)
    assert {pair.query for pair in thin} == {pair.query for pair in whole}
    assert many.test_pairs("aaai", per_class=1000) == whole
    with pytest.raises(UserError, match="they serve k-way only"):
        many.test_pairs("aaai", way="1")


def test_published_pairs_have_no_choices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("atr", ["pairs", "--lists", str(tmp_path), "--queries", "3"]) == 2
    assert "have no choice of --queries" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------ where datasets lie


def data(**changes: Any) -> DataConfig:
    return DataConfig(**{"synthetic": SyntheticConfig(16, 16, 32), **changes})


@pytest.mark.parametrize("protocol", ["journal", "tuning"])
def test_nothing_is_written_beside_a_finished_dataset(
    protocol: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read-only data folder with a finished dataset is used as it is; a lock file used to be made there."""
    made = find_dataset(data(protocol=protocol), tmp_path, progress=False)
    shutil.rmtree(tmp_path / ".locks")
    before = sorted(os.listdir(tmp_path))

    def read_only(*_: object, **__: object) -> None:
        pytest.fail("something was written into the data folder")

    for name in ("oshp_lite.lock.locked", "oshp_lite.data.writer.locked", "oshp_lite.files.write_atomic"):
        monkeypatch.setattr(name, read_only)
    again = find_dataset(data(protocol=protocol), tmp_path, progress=False)
    assert again.fingerprint == made.fingerprint
    assert sorted(os.listdir(tmp_path)) == before


def test_an_older_generators_scenes_are_replaced_and_nothing_else(tmp_path: Path) -> None:
    made = find_dataset(data(), tmp_path, progress=False)
    described = json.loads((made.root / "dataset.json").read_text())
    (made.root / "dataset.json").write_text(json.dumps(described | {"recipe_sha256": "older"}))
    again = find_dataset(data(), tmp_path, progress=False)
    assert again.description["recipe_sha256"] == described["recipe_sha256"]
    del described["generator"]
    (made.root / "dataset.json").write_text(json.dumps(described | {"recipe_sha256": "foreign"}))
    with pytest.raises(UserError, match="already holds something else"):
        find_dataset(data(), tmp_path, progress=False)


def test_the_registry_agrees_with_labels_and_commands() -> None:
    for name, spec in DATASETS.items():
        assert spec.name == name
        assert spec.space is fold(spec.name, 1).space
        if not spec.synthetic:
            assert (Path(__file__).resolve().parents[1] / spec.command.split()[0]).is_file()
            assert preparation(spec.family).about
    with pytest.raises(UserError, match="unknown dataset 'coco'; known: synth-atr"):
        find_dataset(data(dataset="coco"))
    assert registry.missing_dataset(data(dataset="ccp-os"), "/nowhere").endswith(
        "make it with data_scripts/ccp.py or name its folder by --data"
    )


def test_what_a_new_dataset_costs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A label table, a preparation and a spec (three files), and every command and setting knows the dataset."""
    names, groups = "background,hat,face,pants,left shoe,right shoe", ("hat,face", "", "", "pants,shoes")
    folds = {("journal", 1): (0, 1, 2, 4)}
    monkeypatch.setitem(tables.SPACES, "toy", tables.Table(names, groups, folds=folds))
    spec = DatasetSpec("toy-os", "toy", "Toy-OS", "toy:TOY", (16, 8), 5, own_rules=True)
    monkeypatch.setitem(registry.DATASETS, "toy-os", spec)
    module = SimpleNamespace(TOY=RawLayout("toy-os", "Toy", {"all": "photos"}, {"all": "masks"}))
    monkeypatch.setitem(sys.modules, "oshp_lite.data.prepare.toy", module)  # type: ignore[arg-type]
    for number in range(24):
        save(
            number,
            label_space("toy"),
            tmp_path / "photos" / f"{number:02}.jpg",
            tmp_path / "masks" / f"{number:02}.png",
        )
    run("toy", "--root", tmp_path, "--out", tmp_path / "data" / "toy-os")
    run("toy", "verify", tmp_path / "data" / "toy-os")
    config = load_profile("smoke", dataset="toy-os")
    dataset = find_dataset(config.data, tmp_path / "data")
    assert fold("toy-os", 1).novel == (3,)
    assert len(test_set(config, dataset, run_fold(config, dataset))) == len(dataset.test_pairs(queries=2, repeats=2))
    assert load_profile("smoke", ["variant=paper"], dataset="toy-os").data.split is None
    assert cli_main(["doctor", "--data", str(tmp_path / "data")]) == 0


def test_the_common_script_takes_a_name(tmp_path: Path) -> None:
    lip_tree(tmp_path / "raw")
    assert script("prepare", "lip", "--root", tmp_path / "raw", "--out", tmp_path / "out").returncode == 0
    assert script("prepare", "lip", "verify", tmp_path / "out").returncode == 0
    assert_refused(script("prepare"), "name the raw dataset first: one of atr, lip, cihp, pascal, ccp")
