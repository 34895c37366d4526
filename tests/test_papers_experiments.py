"""What the declared runs ask for under the papers' own protocols."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.presets import init_config
from oshp_lite.errors import UserError
from oshp_lite.models import registry
from oshp_lite.models.popnet_config import POPNetConfig
from oshp_lite.study.experiments import METHODS, RUN_ORDER, families, matrix, overrides_of, runs_of, step_runs
from oshp_lite.study.plan import COCO, config_of, why_not
from oshp_lite.study.records import RunKey

AAAI = [key for key in matrix("paper") if key.protocol == "aaai"]


def stages(config: RunConfig) -> int:
    return int(config.model.options.get("stages", 1))


@pytest.mark.parametrize("key", AAAI, ids=lambda key: key.slug)
def test_popnets_own_protocol(key: RunKey) -> None:
    config = config_of(key, "paper")
    assert config.data.protocol == "aaai"
    assert config.data.split == 8000
    assert config.train.epochs == 30 * stages(config)
    assert config.data.size == (512 if key.way == "k" else 576)
    # its pairs name no class, so they cannot serve 1-way
    assert config.eval.pairs == ("aaai" if key.way == "k" else "journal")


def test_a_second_dataset_of_a_family_takes_nobodys_place() -> None:
    small = {"atr": "synth-atr", "lip": "synth-lip", "cihp": "synth-cihp", "ccp": "ccp-os"}
    assert list(families("lite").items()) == list(small.items()), "synth-crowd stands beside synth-cihp"
    assert {name for family, name in families("paper").items() if family in small} == {
        "atr-os",
        "lip-os",
        "cihp-os",
        "ccp-os",
    }


def test_every_stage_of_popnet_gets_thirty_epochs_half_of_them_static() -> None:
    key = next(key for key in AAAI if key.ablation == "three-stage")
    config = config_of(key, "paper")
    net = POPNetConfig.preset("paper", **config.model.options)
    told = [net.stage_at(epoch / config.train.epochs) for epoch in range(config.train.epochs)]
    assert [stage for stage, _ in told] == [0] * 30 + [1] * 30 + [2] * 30
    assert sum(progress < net.warmup for stage, progress in told if stage == 2) == 15


def test_small_datasets_keep_their_own_split_budget_and_pairs() -> None:
    for key in matrix("lite"):
        if key.protocol == "aaai":
            told = " ".join(overrides_of(key, "lite"))
            assert not any(name in told for name in ("data.split", "train.epochs", "eval.pairs", "data.size"))


def test_a_run_is_trained_under_the_condition_that_its_key_names() -> None:
    for profile in ("smoke", "lite", "paper"):
        for key in matrix(profile):
            assert config_of(key, profile).data.condition == key.condition, (profile, key.slug)


def test_the_journals_protocol_has_fifty_epochs() -> None:
    key = RunKey("eopnet", families("paper")["atr"], 1, "k")
    config = config_of(key, "paper")
    assert (config.train.epochs, config.data.split, config.eval.pairs) == (50, 7500, "journal")


def test_models_from_elsewhere_know_the_papers_channel_order() -> None:
    for key in matrix("paper"):
        guest = key.method == "persam" or key.ablation == "dino"
        assert (config_of(key, "paper").model.options.get("channels") == "bgr") == guest, key.slug


def test_what_is_declared_can_be_read_without_torch() -> None:
    code = "import sys, oshp_lite.study.experiments as e; print('torch' in sys.modules, len(e.METHODS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", str(len(METHODS))]


def test_the_papers_rows_start_from_coco_or_say_what_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = RunKey("eopnet", families("paper")["atr"], 1, "k")
    monkeypatch.delenv(COCO, raising=False)
    assert COCO in why_not(key, config_of(key, "paper"))
    monkeypatch.setenv(COCO, str(tmp_path / "coco.pth"))
    config = config_of(key, "paper")
    assert (config.init.kind, config.init.path) == ("file", str(tmp_path / "coco.pth"))
    assert "not there" in why_not(key, config)
    (tmp_path / "coco.pth").write_bytes(b"x")
    assert "needs the dataset" in why_not(key, config)
    lite = RunKey("eopnet", "synth-atr", 1, "k")
    assert config_of(lite, "lite").init.kind == "segment"


def test_orders_name_every_method_once() -> None:
    assert set(METHODS) <= set(registry.METHODS)
    assert sorted(RUN_ORDER) == sorted(METHODS)
    assert {key.method for key in runs_of("eopnet2")} == set(METHODS)


def test_steps_before_the_study_are_made_when_named() -> None:
    starts, budget = step_runs("starts"), step_runs("budget")
    assert not {*starts, *budget} & {key for key in matrix("lite") if key.condition != "papers"}
    first = {key.ablation: init_config(config_of(key, "lite")) for key in starts if key.method == "eopnet"}
    general = first["start-general"]
    assert first["start-none"] is None
    assert general is not None
    assert (general.data.dataset, general.data.synthetic.seed) == ("synth-pascal", 1)  # no garment, none of the scenes
    epochs = {key.ablation: config_of(key, "lite").train.epochs for key in budget if key.dataset == "synth-atr"}
    assert (epochs["x4"], epochs["x10"], epochs["static+x4"]) == (4 * epochs[""], 10 * epochs[""], 4 * epochs[""])
    assert config_of(RunKey("eopnet", "synth-atr", 1, "k", 0, "static+x4"), "lite").model.options["momentum"] == 0
    with pytest.raises(UserError, match=r"no method 'eopnet' with the ablation 'static\+x5'"):
        overrides_of(RunKey("eopnet", "synth-atr", 1, "k", 0, "static+x5"))
