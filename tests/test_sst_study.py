"""SST in the study: what each row trains, one training for all label domains, tables and claims from its results."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from oshp_lite.data.registry import DataConfig, SyntheticConfig, domain_data, find_dataset
from oshp_lite.engine.config import RunConfig, from_dict, identity_dict
from oshp_lite.engine.presets import init_config
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
from oshp_lite.study import results
from oshp_lite.study.claims import CLAIMS, judge
from oshp_lite.study.experiments import matrix, runs_of
from oshp_lite.study.plan import Finder, config_of, rows_of
from oshp_lite.study.records import Measured, Results, RunKey, measured_of
from oshp_lite.study.tables import make_table

DOMAINS = ["synth-pascal", "synth-atr", "synth-cihp"]


def key(dataset: str, ablation: str = "", seed: int = 0) -> RunKey:
    return RunKey("sst", dataset, 1, "k", seed, ablation, "whole")


def config(dataset: str, ablation: str = "", profile: str = "lite") -> RunConfig:
    return config_of(key(dataset, ablation), profile)


# ---------------------------------------------------------------------------------------------------- what is trained


def test_one_universal_training_serves_every_label_domain() -> None:
    made = [config(name) for name in DOMAINS]
    assert made[0] == made[1] == made[2]
    assert made[0].data.dataset == "synth-cihp"
    assert made[0].model.options["domains"] == DOMAINS
    assert made[0].train.visible == "all"


def test_photos_are_in_the_papers_proportion_whichever_domain_is_trained_alone() -> None:
    counts = [config(name, "single").data.synthetic.n_train for name in DOMAINS]
    assert counts == [75, 675, 1200]
    universal = config("synth-pascal").data
    assert [domain_data(universal, name).synthetic.n_train for name in DOMAINS] == counts
    beside_photos = config("ccp-os").data
    assert [domain_data(beside_photos, name).synthetic.n_train for name in DOMAINS] == counts


def test_a_real_dataset_keeps_its_photos_when_the_domain_changes() -> None:
    data = DataConfig(dataset="ccp-os", block=2, synthetic=SyntheticConfig(n_train=1600))
    moved = domain_data(data, "synth-atr")
    assert (moved.dataset, moved.block, moved.protocol, moved.synthetic.n_train) == ("synth-atr", None, "journal", 900)
    assert domain_data(moved, "atr-os").synthetic.n_train == 1600  # beside a real dataset, CIHP's counterpart counts


def test_every_row_has_one_budget_a_stage() -> None:
    budgets = {
        (one.config.train.epochs, one.config.train.steps_per_epoch, one.config.train.batch_size)
        for one in rows_of(matrix("lite", ["s"]), "lite")
        if one.config.model.method == "sst" and one.config.train.visible == "all"
    }
    assert budgets == {(16, 50, 4)}


def test_dedicated_parsing_begins_with_the_sources_own_first_stage() -> None:
    second = config("synth-pascal", "from-atr-cihp+half")
    assert second.model.options["source"] == ["synth-atr", "synth-cihp"]
    assert second.model.options["target_share"] == 0.5
    first = init_config(second)
    assert first is not None
    assert first.model.options["domains"] == ["synth-atr", "synth-cihp"]
    assert first.model.options["auxiliary"] is True
    assert not {"source", "target_share"} & set(first.model.options)
    assert first.data.dataset == "synth-cihp"
    assert first.data.synthetic.n_train == 1200
    assert init_config(first) is None
    assert init_config(config("synth-pascal", "from-atr-cihp")) == first


def test_fine_tuning_begins_with_the_plain_network_of_the_source() -> None:
    first = init_config(config("synth-pascal", "fine-tune+quarter"))
    single = config("synth-cihp", "single")
    assert first is not None
    assert identity_dict(first) == identity_dict(single)
    assert config("synth-pascal", "fine-tune").model.options["domains"] == ["synth-pascal"]


def test_a_one_shot_method_begins_with_an_encoder_that_never_saw_its_novel_classes() -> None:
    run = config_of(RunKey("eopnet", "synth-atr", 1, "k", 0, "start-domains"), "lite")
    first = init_config(run)
    assert first is not None
    assert first.model.method == "sst"
    assert first.model.options["domains"] == DOMAINS
    assert first.model.options["head"] == "synth-atr"
    assert first.train.visible == "base"
    assert first.data.fold == 1
    assert first.data.synthetic == run.data.synthetic
    photos = config_of(RunKey("eopnet", "ccp-os", 2, "k", 3, "start-domains"), "lite")
    assert photos.init.domains == (*DOMAINS, "ccp-os")
    begun = init_config(photos)
    assert begun is not None
    assert (begun.data.dataset, begun.data.fold, begun.data.block, begun.train.seed) == ("ccp-os", 2, 3, 3)


def test_domains_without_names_are_refused() -> None:
    with pytest.raises(UserError, match=r"init\.domains is empty"):
        from_dict({"init": {"kind": "domains"}})


def test_the_six_tables_need_fewer_trainings_than_they_have_rows() -> None:
    keys = [one for name in ("sst1", "sst2", "sst3", "sst4", "sst5", "sst6") for one in runs_of(name)]
    assert {one.protocol for one in keys} == {"whole"}
    trained = {
        sha256_json([identity_dict(config_of(one, "lite")), config_of(one, "lite").init.domains]) for one in keys
    }
    assert len(trained) < len(set(keys))


# ------------------------------------------------------------------------------------- from a run to its three results


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Finder, Path]:
    root = tmp_path_factory.mktemp("sst")
    finder = Finder(RunStore(root / "runs"), root / "data")
    finder.store.ensure(config("synth-pascal", profile="smoke"), finder.data, progress=False)
    return finder, root


def test_a_universal_run_is_a_result_on_every_domain(trained: tuple[Finder, Path]) -> None:
    finder, _ = trained
    keys = [key(name) for name in DOMAINS]
    made = results.load_results("smoke", keys, finder=finder)
    for one in keys:
        measured = made.get(one)
        assert isinstance(measured, Measured)
        assert measured.counts.shape == (8, {"pascal": 7, "atr": 18, "cihp": 20}[one.dataset.split("-")[1]], 3)
        assert measured.novel == ()
        assert measured.screened is None
        assert measured.queries is not None
        assert measured.queries.tolist() == list(range(8))
    run = finder.find(config("synth-pascal", profile="smoke"))
    assert run is not None
    domains = run.scores["details"]["domains"]
    for one in keys:
        measured = made.get(one)
        assert isinstance(measured, Measured)
        assert measured.score("human") == pytest.approx(domains[one.dataset]["human_miou"])
        assert measured.score("mean_accuracy") == pytest.approx(domains[one.dataset]["mean_accuracy"])


def test_looking_a_row_up_draws_no_other_domain(trained: tuple[Finder, Path], tmp_path: Path) -> None:
    finder, root = trained
    own, begun = (
        config("synth-pascal", profile="smoke"),
        config_of(RunKey("eopnet", "synth-atr", 1, "k", 0, "start-domains"), "smoke"),
    )
    for wanted in (own, begun):
        there = find_dataset(wanted.data, root / "data", progress=False).root.name
        data = tmp_path / there
        shutil.copytree(root / "data" / there, data / there)
        assert Finder(finder.store, data).find(wanted) is None
        assert [path.name for path in data.iterdir()] == [there]
    assert finder.find(own) is not None


def test_a_row_says_what_it_lacks(trained: tuple[Finder, Path]) -> None:
    finder, _ = trained
    (row,) = [one for one in rows_of([key("ccp-os")], "smoke", (), finder.data) if one.key]
    assert "needs the dataset ccp-os in the data folder" in row.reason
    (row,) = [one for one in rows_of([key("atr-os")], "paper", (), finder.data) if one.key]
    for name in ("pascal-parts", "atr-os", "cihp-os"):
        assert f"needs the dataset {name}" in row.reason


# --------------------------------------------------------------------------------------------------- tables and claims


def made_up(dataset: str, ablation: str, level: float, seed: int) -> Measured:
    """Results in which a share `level` of every class is right and the rest is taken for its neighbour."""
    count = len(key(dataset).split.classes)
    rng = np.random.default_rng([seed, count])
    pixels = 100 + rng.integers(0, 20, (30, count))
    hits = (level * pixels).astype(int)
    matrices = np.zeros((30, count, count), int)
    for index in range(count):
        matrices[:, index, index] = hits[:, index]
        matrices[:, index, (index + 1) % count] = pixels[:, index] - hits[:, index]
    return measured_of(key(dataset, ablation, seed), "lite", matrices, np.zeros(30), queries=np.arange(30))


def test_a_table_has_the_papers_two_backbones_and_our_two_measures() -> None:
    known = [
        made_up("synth-atr", name, level, seed) for name, level in (("", 0.8), ("multi", 0.7)) for seed in (0, 1, 2)
    ]
    table = make_table("sst2", Results(known))
    universal = next(row for row in table.rows if row.cells[0].text == "SST universal")
    shown = [cell.text for cell in universal.cells]
    assert shown[:5] == ["SST universal", "87.95", "79.97", "88.12", "80.50"]
    assert universal.cells[5].value == pytest.approx(80, abs=1)
    assert universal.cells[6].value == pytest.approx(100 * 80 / 120, abs=1.5)
    assert [column.full for column in table.columns][1:3] == [
        "paper: ResNet-50 mean accuracy",
        "paper: ResNet-50 mIoU",
    ]
    single = next(row for row in table.rows if row.cells[0].text == "Single-dataset")
    assert single.cells[5].kind == "missing"
    assert "SST paper (CVPR 2023), Table 2" in table.source


def test_a_row_of_table_4_stands_on_its_own_domain() -> None:
    known = [made_up("synth-cihp", "progressive", 0.5, 0)]
    table = make_table("sst4", Results(known))
    shown = {row.cells[0].text: row.cells[-3].kind for row in table.rows}
    assert shown["CIHP, progressive"] == "measured"
    assert shown["PASCAL, progressive"] == "missing"


@pytest.mark.parametrize(
    ("universal", "multi", "word"), [(0.8, 0.7, "reproduced"), (0.6, 0.7, "not reproduced"), (0.7, 0.7, "undecided")]
)
def test_a_claim_of_sst_is_decided_by_paired_photos(universal: float, multi: float, word: str) -> None:
    known = [
        made_up("synth-atr", name, level, seed)
        for name, level in (("", universal), ("multi", multi))
        for seed in (0, 1, 2)
    ]
    claim = next(one for one in CLAIMS if one.id == "sst-universal-above-multi")
    verdict = judge(claim, Results(known), "synth-atr", "atr")
    assert verdict.word == word
    assert verdict.parts[0].printed == pytest.approx(0.58)
    assert verdict.also[0].printed == pytest.approx(0.54)


def test_every_printed_difference_of_its_claims_is_above_zero() -> None:
    for claim in (one for one in CLAIMS if one.paper == "sst"):
        for family in claim.families:
            for part in claim.parts:
                assert (part.printed(family) or 0) > 0, (claim.id, family)
