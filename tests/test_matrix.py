"""The declared runs, their configurations, the command, and real rows at the smallest size."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from oshp_lite.cli import main
from oshp_lite.data.registry import dataset_folder
from oshp_lite.engine.config import identity_dict
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.presets import init_config
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.study import claims, experiments, headlines, plan
from oshp_lite.study.experiments import (
    ABLATIONS,
    DECLARED,
    EXHIBITS,
    FIGURE8,
    METHODS,
    STEPS,
    Ablation,
    matrix,
    runs_of,
    step_runs,
)
from oshp_lite.study.plan import Finder, blockers, config_of, estimated, rows_of, why_not
from oshp_lite.study.records import RunKey
from oshp_lite.study.results import committed_folder


def test_a_run_shared_by_tables_is_one_run() -> None:
    full = RunKey("eopnet", "synth-atr", 1, "k")
    assert full in runs_of("eopnet2")
    assert runs_of("eopnet5")[-1] == runs_of("eopnet6")[3] == runs_of("eopnet7")[0] == runs_of("eopnet7f")[-1] == full
    assert runs_of("framework")[0] in runs_of("eopnet2")
    assert runs_of("framework")[1] in runs_of("eopnet5")


@pytest.mark.parametrize("profile", ["lite", "paper"])
def test_the_steps_make_what_the_exhibits_need(profile: str) -> None:
    runs = matrix(profile)
    assert max(Counter(key.slug for key in runs).values()) == 1, "each once"
    for exhibit in EXHIBITS:  # the study's own choices are made when named
        own = step_runs(exhibit, profile) if exhibit in DECLARED["before"] else []
        assert set(runs_of(exhibit, profile)) <= {*runs, *own}, exhibit
    assert runs[: len(step_runs("a", profile))] == step_runs("a", profile)
    assert {key.method for key in step_runs("a", profile)} == set(METHODS)


def test_order_and_seeds_of_the_study() -> None:
    positions = {key: number for number, key in enumerate(matrix("lite"))}
    ended = [max(positions[key] for key in step_runs(step)) for step in STEPS]
    assert ended == sorted(ended), "a step is complete before the next begins"
    for claim in headlines.DECLARED["claims"]:  # what the headline claims need comes first, under every seed and block
        for part in claims.quantities({name: claim[name] for name in ("first", "above", "below") if name in claim}):
            for dataset, seeds in (("synth-atr", 3), ("ccp-os", 5)):
                needed = {side.key(dataset, 1, seed) for side in part.sides for seed in range(seeds)}
                assert needed <= set(step_runs("a"))
    for condition, steps in (("papers", "abcdeghi"), ("person-class", "f")):
        assert {key.condition for step in steps for key in step_runs(step)} == {condition}
    assert all(
        (key.protocol == "blocks") == (key.dataset == "ccp-os")
        for key in positions
        if key.protocol not in ("aaai", "whole")
    )


def test_profiles() -> None:
    smoke = matrix("smoke")
    assert {(key.method, key.way) for key in smoke if not key.ablation} >= {(m, w) for m in METHODS for w in ("k", "1")}
    own = {
        (method, name)
        for method, names in DECLARED["ablations"].items()
        for name in names
        if method not in ("any", "sst", "instance")
    }
    assert {(key.method, key.ablation) for key in smoke if key.ablation} == own
    assert {key.method for key in matrix("quick")} == {"eopnet", "popnet", "label_transfer", "insid3", "persam"}
    assert all(key.dataset.endswith(("-os", "pascal-parts")) for key in matrix("paper"))
    assert matrix("lite", ["c", "d"], ["ccp-os"]) == [key for key in step_runs("d") if key.dataset == "ccp-os"]


def test_unknown_names() -> None:
    for wrong in (lambda: step_runs("z"), lambda: runs_of("eopnet9"), lambda: experiments.label("eopnet", "nothing")):
        with pytest.raises(UserError):
            wrong()
    with pytest.raises(UserError, match="no runs on 'atr-os'"):
        matrix("lite", datasets=["atr-os"])


@pytest.mark.parametrize("profile", ["smoke", "quick", "lite", "gpu", "paper"])
def test_every_declared_run_has_its_own_configuration(profile: str) -> None:
    told: dict[str, str] = {}
    for key in matrix(profile, None if profile == "smoke" else STEPS):
        config = config_of(key, profile)
        method = "segment" if key.ablation == "ceiling" else key.method
        last = (experiments.trained_over(key, profile) or (key.dataset,))[-1]  # a network over domains serves them all
        key = replace(key, dataset=last)
        assert (config.model.method, config.data.dataset, config.data.way) == (method, key.dataset, key.way)
        protocol = "journal" if key.protocol in ("blocks", "whole") else key.protocol
        assert (config.data.fold, config.train.seed, config.data.protocol) == (key.fold, key.seed, protocol)
        first = init_config(config)  # it counts by its own identity
        told[key.slug] = json.dumps([identity_dict(one) for one in (config, first) if one], sort_keys=True)
    twice = [text for text, number in Counter(told.values()).items() if number > 1]
    assert not twice, [slug for slug, text in told.items() if text in twice]


def test_every_ablation_can_be_built() -> None:
    chosen = fold("synth-atr", 1)
    for method, name in ABLATIONS:
        first = ABLATIONS[method, name].first
        target = next(data for family, data in experiments.label_domains("smoke").items() if family not in first)
        target = {"sst": target, "instance": "synth-cihp"}.get(method, "synth-atr")
        key = RunKey(method, target, 1, "k", 0, name)
        config = config_of(key, "smoke")
        if not why_not(key, config):  # weights from elsewhere may not be here
            build_parser(config, chosen)
    deep = config_of(RunKey("eopnet", "atr-os", 1, "k", 0, "depth-4"), "paper")
    assert deep.model.options["feature_level"] == "high"
    assert deep.variant == "paper"


def test_scores_during_training_for_the_curve_only() -> None:
    for name in FIGURE8:
        train = config_of(RunKey("eopnet", "synth-atr", 1, "k", 0, name), "lite").train
        assert (train.eval_every, train.epochs // train.eval_every, train.eval_queries) == (1, 20, 10)
    assert config_of(RunKey("eopnet", "synth-atr", 1, "k", 0, "static"), "lite").train.eval_every == 0
    assert config_of(RunKey("eopnet", "synth-atr", 1, "1"), "lite").train.eval_every == 0


def test_initialisations_come_first_and_once() -> None:
    rows = rows_of(step_runs("a") + step_runs("b") + step_runs("e"), "smoke")
    firsts = [row for row in rows if row.key is None]
    known = {row.name: number for number, row in enumerate(rows)}
    assert {(row.config.data.dataset, row.config.data.fold) for row in firsts} >= {
        ("synth-atr", 1),
        ("synth-atr", 2),
    }
    assert len({row.name for row in firsts}) == len(firsts)
    for number, row in enumerate(rows):
        assert all(known[name] < number for name in row.needs)
    shared: dict[tuple[object, ...], set[tuple[str, ...]]] = {}
    for row in rows:
        if row.key and row.needs:
            shared.setdefault((row.key.dataset, row.key.fold, row.key.seed, row.key.protocol), set()).add(row.needs)
    assert all(len(chains) == 1 for chains in shared.values()), "methods and ablations start from one initialisation"
    assert len(shared) == len(set.union(*shared.values())), "each fold, seed and protocol has one of its own"


def listed(capsys: pytest.CaptureFixture[str], *words: str) -> list[dict]:
    assert main(["matrix", *words, "--list", "json"]) == 0
    found: list[dict] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("SAM", "DINO"):
        monkeypatch.delenv(f"OSHP_{name}_WEIGHTS", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path


def test_the_list_for_engines(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "--profile", "smoke", "--only", "sgone", "eopnet")
    names = [row["name"] for row in rows]
    assert [row["index"] for row in rows if row["index"] >= 0] == list(range(len([r for r in rows if r["index"] >= 0])))
    for row in rows:
        assert set(row["needs"]) <= set(names)
        assert row["marker"] == str(places / "reports" / "smoke" / "matrix" / f"{row['name']}.done.json")
    assert not (places / "data").exists(), "a list draws nothing"


def test_a_plan_shows_what_is_due_and_what_cannot_be_run(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", "--profile", "lite", "--steps", "a,d", "--dry-run", "--no-notebooks"]) == 0
    told = capsys.readouterr().out
    assert "eopnet-synth-atr-fold1-kway-papers-seed0\n" in told
    assert "needs the dataset ccp-os" in told
    assert not (places / "data").exists()


def test_the_minutes_of_a_machine_that_has_made_nothing(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", "--profile", "lite", "--steps", "a", "--dry-run", "--no-notebooks"]) == 0
    told = capsys.readouterr().out
    assert re.search(r"due +\d+\.\d min\* eopnet-synth-atr-fold1-kway-papers-seed0", told)
    assert "made on another machine" in told
    assert main(["matrix", "--profile", "smoke", "--dry-run", "--no-notebooks"]) == 0
    told = capsys.readouterr().out
    assert "min*" not in told, "no committed run is like those of smoke"
    assert re.search(r"due +\d+\.\d min~ eopnet-synth-atr-fold1-kway", told)
    assert "computed from counted operations" in told


def test_a_plan_shows_steps_and_one_row_with_what_it_needs(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matrix", "--profile", "lite", "--steps", "b,a", "--no-notebooks", "--dry-run"]
    assert main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    letters = {line.split()[1] for line in lines if re.match(r" *\d+ ", line) and " due " in line}
    assert letters == {"a", "b"}
    assert any(re.match(r" +init +due +\d", line) for line in lines)
    assert main([*words, "--index", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if re.search(r" due +\d", line)] == ["init", "2"]
    assert "2 rows: 0 done, 2 due, 0 not run" in lines
    assert main([*words, "--inits"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines if " due " in line and " rows: " not in line} == {"init"}
    assert main([*words, "--index", "4000"]) == 2


def test_rows_of_one_table(places: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = listed(capsys, "--profile", "paper", "--exhibits", "eopnet2")
    assert {row["dataset"] for row in rows} == {"atr-os"}
    assert len({row["method"] for row in rows}) * 4 == len(rows), "two folds and two ways of each"
    assert [row["index"] for row in rows] == list(range(len(rows)))
    assert all(row["step"] for row in rows)
    assert main(["matrix", "--exhibits", "eopnet2", "--steps", "a"]) == 2
    assert main(["matrix", "--exhibits", "table99"]) == 2
    assert "no table or figure 'table99'" in capsys.readouterr().err


def test_everything_that_a_row_lacks_is_said_at_once(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = [RunKey("persam", "atr-os", 1, "k"), RunKey("eopnet", "atr-os", 1, "k")]
    monkeypatch.delenv("OSHP_COCO_WEIGHTS", raising=False)
    persam, eopnet = (blockers(key, config_of(key, "paper")) for key in keys)
    assert [one.split()[1] for one in persam] == ["SAM", "the"]
    assert ["first weights" in one or "papers start from" in one for one in eopnet] == [True, False]
    assert "atr-os in the data folder, where data_scripts/atr.py puts it" in eopnet[1]
    # a file that is there but no checkpoint is no better than none
    (places / "coco.pth").write_bytes(b"not a checkpoint")
    monkeypatch.setenv("OSHP_COCO_WEIGHTS", str(places / "coco.pth"))
    assert "cannot use coco.pth" in blockers(keys[1], config_of(keys[1], "paper"))[0]
    torch.save({"weight": torch.zeros(2)}, places / "coco.pth")
    assert "nothing in" in blockers(keys[1], config_of(keys[1], "paper"))[0]
    folder = places / "data" / "atr-os"
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text("{")
    assert "cannot use dataset.json" in blockers(keys[1], config_of(keys[1], "paper"))[1]


def test_minutes_of_this_machine_come_first(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = rows_of([RunKey("panet", "synth-atr", 1, "k")], "lite")
    (config,) = [row.config for row in rows if row.key]
    finder = Finder(RunStore(places / "runs"))
    monkeypatch.setattr(plan, "_committed", lambda unreadable: iter([(config, 120.0)]))
    (planned,) = [item for item in estimated(rows, finder, lambda row: False) if item.row.key]
    assert (planned.state, planned.seconds, planned.known) == ("due", 120.0, "elsewhere")
    monkeypatch.setattr(plan, "_finished", lambda store: iter([(config, 60.0)]))
    (planned,) = [item for item in estimated(rows, finder, lambda row: False) if item.row.key]
    assert (planned.state, planned.seconds, planned.known) == ("due", 60.0, "here")


def test_damaged_results_and_data_stop_no_plan(
    places: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = committed_folder()
    good = next(path for path in sorted(committed.glob("eopnet-synth-atr-fold1-kway*.json")))
    kept = places / "clone" / "notebooks" / "results" / "runs"
    kept.mkdir(parents=True)
    (places / "clone" / "pyproject.toml").write_text("")
    shutil.copy(good, kept / "good.json")
    (kept / "null.json").write_text("null")
    (kept / "cut.json").write_text(good.read_text()[:100])
    (kept / "other.json").write_text("{}")
    monkeypatch.chdir(places / "clone")
    rows = rows_of([RunKey("panet", "synth-atr", 1, "k")], "lite")
    folder = dataset_folder(rows[0].config.data)
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text('{"form": []}')
    assert main(["matrix", "--profile", "lite", "--steps", "a,c", "--dry-run", "--no-notebooks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("left out: ") for line in lines) == 3
    assert any("panet-synth-atr" in line and "dataset.json" in line for line in lines), "its reason stands in its row"
    assert any("panet-ccp-os" in line and "needs the dataset" in line for line in lines)
    assert main(["matrix", "--profile", "lite", "--steps", "a", "--only", "label_transfer", "--no-notebooks"]) == 1
    assert "dataset.json" in capsys.readouterr().out


def test_only_what_is_missing_here_is_not_run(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [RunKey("persam", "synth-atr", 1, "k"), RunKey("panet", "ccp-os", 1, "k")]
    rows = rows_of(lacking, "lite", ["train.epochs=1"])
    assert [row.reason.split(":")[0] for row in rows] == [
        "needs SAM weights",
        "needs the dataset ccp-os in the data folder, where data_scripts/ccp.py puts it",
    ]
    with pytest.raises(UserError, match=r"'nothing'.*row panet-ccp-os"):
        rows_of(lacking[1:], "lite", ["model.options.nothing=1"])
    (known,) = [
        row for row in rows_of([RunKey("panet", "synth-atr", 1, "k")], "lite", ["model.options.bg=panet"]) if row.key
    ]
    assert known.reason == ""
    monkeypatch.setitem(ABLATIONS, ("eopnet", "agm"), Ablation("AGM", ("model.optoins.coarse_weight=0.0",)))
    with pytest.raises(UserError, match="optoins"):
        rows_of(step_runs("c"), "lite")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--profile", "tiny"], "unknown profile 'tiny'"),
        (["--steps", "a,z"], "no step 'z'"),
        (["--only", "unet"], "unknown method 'unet'"),
        (["--profile", "smoke", "--index", "4000"], "no row 4000"),
        (["--profile", "smoke", "--row", "none"], "no row 'none'"),
        (["record", "--set", "train.lr=1"], "it takes no --set"),
        (["record", "--only", "panet", "--dry-run"], "it takes no --only"),
        (["record", "--dry-run"], "it takes no --dry-run"),
        (["record", "--index", "0"], "it takes no --index"),
        (["--set", "foo", "--dry-run"], "'foo' is not of the form name=value"),
        (["--set", "train.epochs=-1", "--dry-run"], "train.epochs is -1"),
        (["--set", "data.fold=3", "--dry-run"], "fold 3"),
        (["--set", "model.options.nothing=1", "--dry-run"], "'nothing'"),
        (["--profile", "lite", "--steps", "a", "--set", "model.options.bg=panet"], "row eopnet-synth-atr"),
    ],
)
def test_wrong_words_get_a_sentence(
    places: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    assert main(["matrix", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(places.iterdir()), "nothing was begun"
