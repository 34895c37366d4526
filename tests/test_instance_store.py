"""The instance-level parser and synth-crowd in the lists of methods and datasets, and so in the run store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from oshp_lite.cli import main
from oshp_lite.data.registry import dataset_spec
from oshp_lite.engine.config import RunConfig, from_dict
from oshp_lite.engine.provenance import code_of
from oshp_lite.engine.runs import RunStore
from oshp_lite.labels import canonical, fold, label_space
from oshp_lite.models.registry import METHODS, method

TINY = {"lite_channels": [8, 12, 16, 16], "lite_depth": 1, "pyramid": 16, "width": 8, "rois": 16, "box_hidden": 32}
TINY |= {"rpn_before": [20, 20], "rpn_after": [20, 20], "detections": 10}


def config(**train: object) -> RunConfig:
    data = {"dataset": "synth-crowd", "size": 48, "synthetic": {"n_train": 8, "n_test": 8, "size": 48}}
    train = {"epochs": 1, "batch_size": 4, "threads": 1, **train}
    model = {"method": "instance", "options": TINY}
    return from_dict({"data": data, "model": model, "train": train, "eval": {"test_size": None}})


def test_crowds_have_the_labels_and_folds_of_cihp() -> None:
    assert canonical("synth-crowd") == "cihp"
    assert dataset_spec("synth-crowd").space is label_space("cihp")
    assert fold("synth-crowd", 1) == fold("synth-cihp", 1)


def test_a_run_is_made_once_and_opened_again(tmp_path: Path) -> None:
    store = RunStore(tmp_path / "runs")
    run = store.ensure(config(), tmp_path / "data", progress=False)
    assert run.scores["details"]["test_data"] == run.provenance["data"]
    assert run.provenance["code"] == code_of("instance")
    assert not run.older_code
    again = store.ensure(config(), tmp_path / "data", progress=False)
    assert again.folder == run.folder
    assert again.scores == run.scores
    assert store.find(config(seed=1), tmp_path / "data") is None
    assert type(run.parser()) is method("instance").load()
    assert not store.damaged()


def test_the_code_of_its_own_trainer_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    code_of.cache_clear()  # other tests register it otherwise
    before = code_of("instance"), code_of("eopnet")
    monkeypatch.setitem(METHODS, "instance", replace(METHODS["instance"], trainer=""))
    code_of.cache_clear()
    try:
        assert code_of("instance") != before[0]
        assert code_of("eopnet") == before[1]
    finally:
        code_of.cache_clear()


def test_the_command_line_trains_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ",".join(f"{name}: {value}" for name, value in TINY.items())
    words = ["train", "--profile", "smoke", "--dataset", "synth-crowd", "--method", "instance", "--quiet"]
    words += ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    for setting in (
        f"model.options={{{options}}}",
        "init.kind=none",
        "data.synthetic={n_train: 8, n_test: 8, size: 48}",
    ):
        words += ["--set", setting]
    for setting in ("data.size=48", "eval.test_size=null", "train.epochs=1", "train.batch_size=4"):
        words += ["--set", setting]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "AP^p" in shown
    assert "mIoU" in shown
