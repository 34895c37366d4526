"""Evaluation end to end: truths, batching, screening, baselines, what a run's folder holds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_fixtures import tiny_config, tiny_dataset
from safetensors.torch import save_file

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode, collate
from oshp_lite.engine.checkpoint import load_parser, read_record, read_weights, save_weights
from oshp_lite.engine.evaluate import evaluate, load_pairs, load_predictions, run_evaluation, truth_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import Scores, scores_from_kway_matrices
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.runs import execute
from oshp_lite.engine.trivial import BASELINES, baseline_evaluation, baseline_scores
from oshp_lite.errors import UserError
from oshp_lite.models.base import CheckpointRecord, Prediction, PredictOptions
from oshp_lite.models.registry import build


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("engine") / "bars")


class Oracle:
    """Knows the query's own mask, as far as the support shows it."""

    def __init__(self, restrict: bool) -> None:
        self.restrict = restrict

    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        assert batch.query_mask is not None
        ids = truth_of(batch, 18, tiny_config()) if self.restrict else batch.query_mask
        return Prediction(torch.where(ids == 255, 0, ids))


def test_the_truth_is_what_the_support_shows(dataset: OneShotDataset) -> None:
    assert evaluate(Oracle(True), dataset, tiny_config(), progress=False).human_miou == 1.0
    assert evaluate(Oracle(False), dataset, tiny_config(), progress=False).human_miou < 1.0
    one_way = tiny_config(data={"way": "1"})
    scores = evaluate(Oracle(False), dataset, one_way, progress=False)
    assert scores.bi_miou == 1.0


def test_truth_from_the_small_or_the_full_mask() -> None:
    support = torch.zeros(1, 8, 8, dtype=torch.int64)
    support[0, 1:3, 1:3] = 4  # vanishes when every fourth pixel is taken
    support[0, 4:, 4:] = 6
    query = torch.tensor([[4, 6, 9, 255]]).expand(1, 4, 4).clone()
    batch = Episode(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 8, 8), support, support, query_mask=query)
    small = truth_of(batch, 18, tiny_config(eval={"absent_test": "resized"}))
    full = truth_of(batch, 18, tiny_config(eval={"absent_test": "full"}))
    assert small[0, 0].tolist() == [0, 6, 0, 255]
    assert full[0, 0].tolist() == [4, 6, 0, 255]


def test_batch_size_workers_and_native_sizes_do_not_change_scores(dataset: OneShotDataset) -> None:
    config = tiny_config(eval={"bootstrap": 0})
    parser = build_parser(config, run_fold(config, dataset))
    one = run_evaluation(parser, dataset, config, progress=False)
    for changes in ({"eval": {"batch_size": 1}}, {"data": {"workers": 2}}):
        other = run_evaluation(parser, dataset, tiny_config(**changes), progress=False)
        assert (one.matrices - other.matrices).abs().sum() <= 4  # float32 ties between batch sizes
    native = tiny_config(eval={"test_size": None})
    assert run_evaluation(parser, dataset, native, progress=False).matrices.sum() > one.matrices.sum()


def test_agm_and_npm_screened_or_not(dataset: OneShotDataset) -> None:
    base = tiny_config(eval={"bootstrap": 0})
    parser = build_parser(base, run_fold(base, dataset))
    found = {}
    for source in ("npm", "agm"):
        for screening in (True, False):
            config = tiny_config(eval={"source": source, "screening": screening, "bootstrap": 0})
            scores = evaluate(parser, dataset, config, progress=False)
            found[source, screening] = scores.human_miou
            assert scores.details["source"] == source
    assert len(set(found.values())) > 2
    segment = tiny_config(model={"method": "segment"}, eval={"source": "agm"})
    with pytest.raises(UserError, match="no agm logits"):
        evaluate(build_parser(segment, run_fold(segment, dataset)), dataset, segment)


@pytest.mark.parametrize(
    ("method", "screens"), [("eopnet", True), ("segment", True), ("popnet", False), ("panet", False)]
)
@pytest.mark.parametrize("way", ["k", "1"])
def test_scores_say_whether_predictions_were_screened(
    dataset: OneShotDataset, method: str, screens: bool, way: str
) -> None:
    config = tiny_config(data={"way": way}, model={"method": method}, eval={"bootstrap": 0, "samples": 0})
    parser = build_parser(config, run_fold(config, dataset))
    assert evaluate(parser, dataset, config, progress=False).details["screening"] == screens
    assert baseline_scores("copy", dataset, config).details["screening"] is False


def test_restriction_to_the_support_is_a_choice_of_the_evaluation(dataset: OneShotDataset) -> None:
    config = tiny_config(model={"method": "segment"}, eval={"bootstrap": 0, "samples": 0})
    parser = build_parser(config, run_fold(config, dataset))
    free = tiny_config(model={"method": "segment"}, eval={"bootstrap": 0, "samples": 0, "restrict": False})
    matrices = [run_evaluation(parser, dataset, c, progress=False).matrices for c in (config, free)]
    assert not torch.equal(*matrices)


@pytest.mark.parametrize("way", ["k", "1"])
def test_baselines_stay_in_their_range(way: str, dataset: OneShotDataset) -> None:
    config = tiny_config(data={"way": way})
    for name in BASELINES:
        found = baseline_evaluation(name, dataset, config)
        assert found.matrices.sum() > 0
        if name == "background":
            assert found.scores.novel_miou == 0 or np.isnan(found.scores.novel_miou)
            assert found.matrices[:, :, 1:].sum() == 0
    with pytest.raises(UserError, match="mean map"):
        baseline_scores("oracle", dataset, config)


def test_copying_is_perfect_when_query_and_support_are_the_same_photo(dataset: OneShotDataset) -> None:
    config = tiny_config()
    fold = run_fold(config, dataset)
    episodes = test_set(config, dataset, fold)
    episodes._pairs = (0, [pair._replace(support=pair.query) for pair in episodes.pairs()])
    from oshp_lite.engine.trivial import CopySupport

    assert run_evaluation(CopySupport(), dataset, config, progress=False, episodes=episodes).scores.human_miou == 1.0


def test_a_list_of_pairs_that_cannot_be_is_refused_before_the_training(dataset: OneShotDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the AAAI test needs 1000 test photos"):
        execute(tiny_config(eval={"pairs": "aaai"}), dataset, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_runs_folder_explains_itself(dataset: OneShotDataset, tmp_path: Path) -> None:
    config = tiny_config(train={"epochs": 1})
    scores = execute(config, dataset, tmp_path, progress=False)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "config.yaml",
        "history.csv",
        "weights.safetensors",
        "predictions.npz",
        "resume.pt",
        "scores.json",
        "pairs.npz",
        "sample_00.png",
        "sample_01.png",
        "provenance.json",
    }
    stored = Scores.from_dict(json.loads((tmp_path / "scores.json").read_text()))
    assert stored.human_miou == scores.human_miou
    assert stored.intervals["human_miou"][0] <= stored.human_miou <= stored.intervals["human_miou"][1]
    matrices, ids = load_pairs(tmp_path / "pairs.npz")
    again = scores_from_kway_matrices(matrices, run_fold(config, dataset))
    assert again.human_miou == scores.human_miou
    assert len(ids) == scores.n_pairs > scores.details["queries"]
    assert stored.details["test_data"] == dataset.fingerprint
    assert len(stored.details["test_pairs"]) == 64
    record = json.loads((tmp_path / "provenance.json").read_text())
    assert record["data"] == dataset.fingerprint
    assert {"code", "device", "libraries", "date", "seed", "threads"} <= set(record)
    predictions = list(load_predictions(tmp_path))
    assert len(predictions) == len(list(load_predictions(tmp_path, "person"))) == scores.n_pairs
    entries = dict(np.load(tmp_path / "predictions.npz"))
    np.savez(tmp_path / "answers.npz", **{k.replace("prediction", "answer"): v for k, v in entries.items()})
    (tmp_path / "predictions.npz").unlink()
    assert all(map(np.array_equal, load_predictions(tmp_path), predictions)), "the names in runs of older code"
    (tmp_path / "answers.npz").unlink()
    with pytest.raises(UserError, match=r"predictions\.npz cannot be read"):
        next(load_predictions(tmp_path))


def test_load_parser_returns_the_trained_network_with_its_description(dataset: OneShotDataset, tmp_path: Path) -> None:
    config = tiny_config(train={"epochs": 1})
    execute(config, dataset, tmp_path, progress=False)
    path = tmp_path / "weights.safetensors"
    parser = load_parser(path)
    assert not parser.training
    record = parser.record
    assert record is not None
    assert record == read_record(path)
    assert record.fold == {"dataset": "atr", "number": 1, "protocol": "journal"}
    assert record.classes["6"] == "pants"
    episodes = test_set(config, dataset, run_fold(config, dataset))
    assert parser.predict(collate([episodes[0]])).ids.shape == (1, 32, 32)


def test_foreign_and_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    options = {"n_ids": 3, "width": 8, "lite_channels": [4, 4, 4, 4]}
    record = CheckpointRecord("segment", options, "k", 3, "atr")
    state = build("segment", **options).state_dict()
    save_weights(good, state, record)
    assert set(read_weights(good)) == set(state)
    load_parser(good)

    def refused(name: str, content: bytes, message: str) -> None:
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(UserError, match=message):
            load_parser(path)

    refused("cut.safetensors", good.read_bytes()[:-50], "damaged")
    refused("text.safetensors", b"hello there, this is no checkpoint", "damaged")
    refused("empty.safetensors", b"", "damaged")
    with pytest.raises(UserError, match="does not exist"):
        load_parser(tmp_path / "nowhere.safetensors")
    import safetensors.torch

    safetensors.torch.save_file({"a": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    with pytest.raises(UserError, match="not a checkpoint of this project"):
        load_parser(tmp_path / "foreign.safetensors")
    save_weights(tmp_path / "less.safetensors", dict(list(state.items())[3:]), record)
    with pytest.raises(UserError, match="lacks"):
        load_parser(tmp_path / "less.safetensors")
    save_weights(tmp_path / "odd.safetensors", state, dataclasses.replace(record, method="magic"))
    with pytest.raises(UserError, match="unknown method"):
        load_parser(tmp_path / "odd.safetensors")


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("all of it", [1]),
        *((name, None) for name in ("method", "options", "way", "n_ids", "space")),
        *(("options", [1]), ("n_ids", "many"), ("space", "moon"), ("options", {"width": -1}), ("size", "large")),
    ],
)
def test_a_checkpoint_that_describes_itself_badly_gets_a_sentence(tmp_path: Path, entry: str, value: Any) -> None:
    whole = CheckpointRecord("segment", {"n_ids": 3, "width": 8}, "k", 3, "atr").as_dict()
    record = {name: item for name, item in {**whole, entry: value}.items() if item is not None}
    path = tmp_path / "ours.safetensors"
    save_file(
        {"a": torch.zeros(2)}, path, metadata={"oshp_lite": json.dumps(value if entry == "all of it" else record)}
    )
    with pytest.raises(UserError, match=r"ours\.safetensors .*train it again") as refusal:
        load_parser(path)
    assert "\n" not in str(refusal.value)


def test_scores_are_a_dataclass_with_every_field_told() -> None:
    assert {field.name for field in dataclasses.fields(Scores)} >= {"human_miou", "novel_miou", "base_miou", "iou"}
