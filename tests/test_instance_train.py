"""The instance-level parser in the trainer that every method has: exact resume, what a run's folder holds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.synthetic import generate
from oshp_lite.engine.checkpoint import load_parser, read_weights
from oshp_lite.engine.config import RunConfig, from_dict, override
from oshp_lite.engine.instance_files import ResultFolder, open_truth
from oshp_lite.engine.instance_metrics import PeopleMeter
from oshp_lite.engine.instance_train import PeopleTraining, by_crowdedness, execute, judge_people, resized
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.outcome import WEIGHTS
from oshp_lite.engine.runs import read_history
from oshp_lite.engine.train import threads_set
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.models import registry
from oshp_lite.models.instance.core import RegionNet

TINY = {"lite_channels": [8, 12, 16, 16], "lite_depth": 1, "pyramid": 16, "width": 8, "rois": 16, "box_hidden": 32}
TINY |= {"rpn_before": [20, 20], "rpn_after": [20, 20], "detections": 10}
CONFIG: dict[str, object] = {
    "data": {"dataset": "synth-cihp", "size": 48, "synthetic": {"n_train": 8, "n_test": 8, "size": 48}},
    "model": {"method": "instance", "options": TINY},
    "train": {"epochs": 2, "batch_size": 2, "threads": 1, "save_seconds": 1e5},
    "eval": {"test_size": None},
}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {"ways": ("k",), "one_shot": False}
    spec = registry.MethodSpec("instance", "Instance-level parsing", "instance.network", "InstanceNet", **own)
    monkeypatch.setitem(registry.METHODS, "instance", spec)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return generate("synth-cihp", tmp_path_factory.mktemp("train") / "people", 8, 8, 48, progress=False)


def config(*changes: str) -> RunConfig:
    return override(from_dict(CONFIG), list(changes))


def trained(settings: RunConfig, dataset: OneShotDataset, folder: Path, stop: int | None = None) -> PeopleTraining:
    """Train to the end, or break off after `stop` steps as a kill would, with the state saved every step."""
    training = PeopleTraining(settings, dataset, folder)
    whole = training._step
    if stop is not None:

        def step(batch: object) -> object:
            if training.position.step == stop:
                raise KeyboardInterrupt
            return whole(batch)  # type: ignore[arg-type]

        training._step = step  # type: ignore[method-assign,assignment]
    with threads_set(1), torch.random.fork_rng():
        training.run(progress=False)
    return training


def test_a_killed_training_ends_with_the_same_bits(dataset: OneShotDataset, tmp_path: Path) -> None:
    settings = config("train.save_steps=1")
    trained(settings, dataset, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        trained(settings, dataset, tmp_path / "cut", stop=5)
    trained(settings, dataset, tmp_path / "cut")
    one, other = (read_weights(tmp_path / name / WEIGHTS) for name in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    histories = [
        [{k: v for k, v in row.items() if k != "seconds"} for row in read_history(tmp_path / name)]
        for name in ("whole", "cut")
    ]
    assert histories[0] == histories[1]
    assert {"loss_parsing", "loss_attention", "loss_detection", "loss_total"} <= set(histories[0][0])


def test_a_run_holds_scores_of_detected_and_of_given_boxes(dataset: OneShotDataset, tmp_path: Path) -> None:
    settings = config("train.epochs=1", "train.eval_every=1", "train.eval_queries=2")
    scores = execute(settings, dataset, tmp_path, progress=False)
    assert json.loads((tmp_path / "scores.json").read_text()) == json.loads(json.dumps(scores))
    assert scores["details"]["test_data"] == dataset.fingerprint
    assert scores["counts"]["photos"] == scores["given_boxes"]["counts"]["photos"] == 8
    assert scores["given_boxes"]["counts"]["predicted_people"] >= scores["counts"]["people"]
    assert sum(one["counts"]["photos"] for one in scores["bins"].values()) == 8
    assert json.loads((tmp_path / "provenance.json").read_text())["data"] == dataset.fingerprint
    assert "ap_p_vol" in read_history(tmp_path)[0]
    net = load_parser(tmp_path / WEIGHTS)
    assert isinstance(net, RegionNet)
    again = judge_people(net, dataset, settings, progress=False)[0].scores()
    assert again.as_dict() == {name: scores[name] for name in again.as_dict()}


def test_written_results_have_the_scores_of_the_run(dataset: OneShotDataset, tmp_path: Path) -> None:
    """Written in the public layouts and read back, a run's results are scored alike."""
    net = build_parser(config(), fold("cihp", 1))
    own = judge_people(net, dataset, config(), given_boxes=True, folder=tmp_path, progress=False)[0].scores()
    truth, said, meter = open_truth(tmp_path / "truth", 20), ResultFolder(tmp_path / "results", 20), PeopleMeter(20)
    said.check(truth)
    for name in truth.names:
        true = truth.read(name)
        meter.add(name, true, said.read(name, true.size))
    read = meter.scores()
    for measure in ("ap_p", "pcp", "ap_r", "ap_r_pgn", "iou"):
        np.testing.assert_allclose(getattr(read, measure), getattr(own, measure))


def test_other_test_sizes_are_judged_at_native_size(dataset: OneShotDataset) -> None:
    net = build_parser(config(), fold("cihp", 1))
    for size in (32, [40, 64]):
        settings = config(f"eval.test_size={size}")
        scores = judge_people(net, dataset, settings, most=2, progress=False)[0].scores()
        assert scores.counts["photos"] == 2
    image = torch.rand(1, 3, 30, 60)
    assert resized(image, None) is image
    assert resized(image, 40).shape == (1, 3, 20, 40)
    assert resized(image, (60, 240)).shape == (1, 3, 60, 120)


def test_what_only_episodes_can_have_is_refused(dataset: OneShotDataset, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="method instance has every class at once"):
        PeopleTraining(config("data.way=1"), dataset, tmp_path)


def test_bins_of_crowdedness_hold_every_photo_once() -> None:
    crowded = {"a": 0.0, "b": 0.1, "c": 0.29, "d": 0.5, "e": 1.0}
    assert by_crowdedness(crowded) == {"0-0.1": ["a"], "0.1-0.3": ["b", "c"], "0.5-1": ["d", "e"]}
