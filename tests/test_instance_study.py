"""People one by one in the study: what each row trains, results on disk, tables and claims from made-up counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from papers_made_up import people_made_up

from oshp_lite.engine.config import identity_dict
from oshp_lite.engine.runs import RunStore
from oshp_lite.files import sha256_json
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.study import results
from oshp_lite.study.claims import CLAIMS, judge
from oshp_lite.study.experiments import matrix
from oshp_lite.study.plan import Finder, config_of, why_not
from oshp_lite.study.records import Measured, Results, RunKey, load_measured, save_measured
from oshp_lite.study.tables import make_table

TABLES = ("instance1", "instance2", "instance3", "instance4", "instance5", "instance_text", "instance_crowds")


def key(ablation: str = "", seed: int = 0) -> RunKey:
    return RunKey("instance", "synth-cihp", 1, "k", seed, ablation, "whole")


def made_up(ablation: str, skill: float, seed: int) -> Measured:
    matrices = np.full((30, 20, 20), 20) + np.eye(20, dtype=int) * int(1000 * skill)
    return people_made_up(key(ablation, seed), matrices, skill=skill)


def three(ablation: str, skill: float) -> list[Measured]:
    return [made_up(ablation, skill, seed) for seed in (0, 1, 2)]


def test_every_row_has_one_budget_and_a_network_of_its_own() -> None:
    keys = matrix("lite", ["p"])
    assert {one.seed for one in keys} == {0, 1, 2}
    assert len(keys) == 25
    configs = [config_of(one, "lite") for one in keys]
    assert {(c.train.epochs, c.train.steps_per_epoch, c.train.batch_size, c.data.size) for c in configs} == {
        (10, 150, 4, 96)
    }
    assert len({sha256_json(identity_dict(one)) for one in configs}) == len(keys)
    for one in configs:
        InstanceConfig.preset("lite", **one.model.options)


def test_the_papers_profile_is_the_papers_network() -> None:
    config = config_of(RunKey("instance", "cihp-os", 1, "k", 0, "", "whole"), "paper")
    assert InstanceConfig.preset(config.variant, **config.model.options) == InstanceConfig()
    assert (config.train.lr, config.train.weight_decay, config.train.optimizer) == (2e-3, 1e-4, "sgd")
    assert "cihp" in why_not(RunKey("instance", "cihp-os", 1, "k", 0, "", "whole"), config, Path("nowhere"))


@pytest.mark.parametrize("name", TABLES)
def test_tables_say_not_run_until_there_are_rows(name: str) -> None:
    table = make_table(name, Results())
    places = [number for number, column in enumerate(table.columns) if column.kind == "measured"]
    assert places
    assert {row.cells[number].kind for row in table.rows for number in places} == {"missing"}


def test_printed_and_measured_stand_side_by_side() -> None:
    known = [*three("", 0.6), *three("no-attention", 0.5)]
    table = make_table("instance1", Results(known))
    shown = {row.cells[0].text: row.cells for row in table.rows}
    assert shown["Ours"][4].text == "37.0"
    names = [column.full for column in table.columns]
    place = next(n for n, column in enumerate(table.columns) if column.kind == "measured" and "volume" in column.full)
    assert shown["Ours"][place].value > shown["Ours w/o attention"][place].value, names  # type: ignore[operator]
    assert shown["Ours + ms + flip"][place].kind == "measured"
    assert shown["PGN (+ ms + flip)"][place].reason == "this network was not run here"
    crowds = make_table("instance_crowds", Results(known))
    own = next(row for row in crowds.rows if row.cells[0].text == "unified")
    assert [cell.kind for cell in own.cells[1:5]] == ["measured", "measured", "measured", "missing"]


@pytest.mark.parametrize(("full", "other", "word"), [(0.7, 0.5, "reproduced"), (0.5, 0.7, "not reproduced")])
def test_a_claim_is_decided_by_paired_photos(full: float, other: float, word: str) -> None:
    claim = next(one for one in CLAIMS if one.id == "people-attention-helps")
    verdict = judge(claim, Results([*three("", full), *three("no-attention", other)]), "synth-cihp", "cihp")
    assert verdict.word == word
    assert verdict.parts[0].printed == pytest.approx(0.8)


def test_what_is_printed_of_its_claims() -> None:
    printed = {one.id: [part.printed("cihp") for part in one.parts] for one in CLAIMS if one.paper == "instance"}
    assert printed["people-joint-above-separate"] == [4.7]
    assert printed["people-concat-above-dot"] == [pytest.approx(4.2), pytest.approx(3.9)]
    assert printed["people-views-help"] == [pytest.approx(1.6)]
    assert printed["people-fusion"] == printed["people-given-boxes"] == [None]


def test_a_result_is_written_and_read_back(tmp_path: Path) -> None:
    one = made_up("", 0.6, 0)
    read = load_measured(save_measured(tmp_path, one))
    assert read.people is not None
    for measure in ("ap_p_vol", "given_ap_r_50", "views_miou", "pcp_50_bin1"):
        assert read.score(measure) == one.score(measure)
    assert (tmp_path / f"{one.key.slug}.npz").stat().st_size < 100_000


def test_a_row_is_trained_judged_and_read(tmp_path: Path) -> None:
    """Through the run store, on masks in PASCAL's labels, which have fewer classes than the dataset."""
    small = {"lite_channels": [8, 12, 16, 16], "lite_depth": 1, "pyramid": 16, "width": 8, "rois": 16, "box_hidden": 32}
    small |= {"rpn_before": [20, 20], "rpn_after": [20, 20], "detections": 6, "labels": "pascal"}
    changes = [f"model.options={small}", "data.synthetic={n_train: 8, n_test: 8, size: 32}", "data.size=32"]
    config = config_of(key(""), "smoke", [*changes, "eval.test_size=32", "train.epochs=1", "train.threads=1"])
    finder = Finder(RunStore(tmp_path / "runs"), tmp_path / "data")
    run = finder.store.ensure(config, tmp_path / "data", progress=False)
    assert run.parser().n_ids == 7
    assert {"given_boxes", "bins"} <= set(run.scores)
    measured = results._read(key(""), "smoke", config, finder)
    assert measured is not None
    assert measured.counts.shape == (8, 20, 3)
    for measure, own in (("ap_p_vol", run.scores), ("given_ap_p_vol", run.scores["given_boxes"])):
        assert measured.score(measure) == pytest.approx(own["ap_p_vol"])
    assert measured.score("miou") == pytest.approx(run.scores["miou"])
    assert measured.score("human") == pytest.approx(run.scores["miou"])
