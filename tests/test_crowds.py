"""One-shot parsing person by person: the regions' features, who is attended, and the four ways on one small crowd."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from nn_tiny import episode, one, tiny

from oshp_lite.cli import main
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.people import PeopleResult, PeopleTruth, cut_out
from oshp_lite.data.synthetic import generate
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.engine.config import RunConfig, from_dict
from oshp_lite.engine.crowds import WAYS, Crowd, CrowdScores, judge_crowds, parse_crowd, people_of
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.models.instance.one_shot import CELLS, attended, parse_people
from oshp_lite.study import crowds
from oshp_lite.study.experiments import matrix

SMALL: dict[str, Any] = {"n_ids": 20, "lite_channels": (8, 12, 16, 16), "lite_depth": 1, "pyramid": 16, "width": 8}
SMALL |= {"rpn_before": (20, 20), "rpn_after": (20, 20), "box_hidden": 32, "detections": 4}
N = fold("synth-crowd", 1).n_ids


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return generate("synth-crowd", tmp_path_factory.mktemp("crowds") / "crowd", 8, 8, 48, progress=False)


@pytest.fixture(scope="module")
def nets() -> tuple[EOPNet, RegionNet]:
    net = tiny("lite", n_ids=N).float().eval()
    return net, InstanceNet(variant="lite", **SMALL).eval()


def config() -> RunConfig:
    data = {"dataset": "synth-crowd", "synthetic": {"n_train": 8, "n_test": 8, "size": 48}}
    return from_dict({"data": data, "eval": {"queries": 2, "repeats": 1, "test_size": None}})


@pytest.mark.parametrize("crops", [False, True])
def test_a_square_of_the_whole_photo_is_the_whole_photo(crops: bool) -> None:
    """One box around a photo of the squares' size, the support in one piece: what the network says without boxes."""
    side = 4 * CELLS
    net, pair = tiny("lite").eval(), one(episode(query=(side, side)), 0)
    support = torch.nn.functional.interpolate(pair.support_image, (side, side))
    masks = [
        torch.nn.functional.interpolate(m[None].double(), (side, side))[0].long()
        for m in (pair.support_mask, pair.support_foreground)
    ]
    pair.support_image, pair.support_mask, pair.support_foreground = support, *masks
    box = torch.tensor([[0.0, 0.0, side, side]])
    own, person = parse_people(net, pair, box, crops=crops)
    with torch.no_grad():
        whole = net(pair, compute_agm=False)
    torch.testing.assert_close(own, whole.fine.float().softmax(1), atol=1e-5, rtol=1e-4)
    assert whole.coarse is not None
    torch.testing.assert_close(person, whole.coarse.float().softmax(1)[:, 1:], atol=1e-5, rtol=1e-4)


def test_a_persons_prototypes_do_not_depend_on_how_small_it_is(nets: tuple[EOPNet, RegionNet]) -> None:
    """Cut out of the photo, a support person seen at twice the size gives the same parse of the query."""
    net, pair = nets[0], one(episode(query=(64, 64)), 0)
    pair.query_image, small = pair.query_image.float(), torch.rand(1, 3, 112, 112) * 2 - 1
    mask = torch.randint(0, 5, (1, 14, 14)).repeat_interleave(8, 1).repeat_interleave(8, 2)
    results = []
    for factor in (1, 2):
        large = small.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
        pair.support_image = large
        pair.support_mask = mask.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
        pair.support_foreground = (pair.support_mask > 0).long()
        results.append(parse_people(net, pair, torch.tensor([[5.0, 3.0, 40.0, 60.0]]), crops=True)[0])
    assert float((results[0] - results[1]).abs().mean()) < 0.02


def test_attention_takes_from_the_classes_what_is_not_this_person() -> None:
    chances = torch.rand(3, 5, 8, 8).softmax(1)
    own = attended(chances, torch.rand(3, 1, 4, 4), torch.rand(3, 1, 8, 8))
    torch.testing.assert_close(own.sum(1), torch.ones(3, 8, 8))
    assert (own[:, 1:] <= chances[:, 1:] + 1e-6).all()
    torch.testing.assert_close(attended(chances, torch.ones(3, 1, 4, 4)), chances)
    assert (attended(chances, torch.zeros(3, 1, 4, 4))[:, 0] == 1).all()


def test_a_one_way_network_is_refused() -> None:
    with pytest.raises(UserError, match="k-way network"):
        parse_people(tiny("lite", way="1").eval(), one(episode("1"), 0), torch.zeros(1, 4))


def test_every_way_is_judged_on_the_same_pairs(dataset: OneShotDataset, nets: tuple[EOPNet, RegionNet]) -> None:
    scores = judge_crowds(*nets, dataset, config(), most=3, progress=False)
    assert tuple(scores) == WAYS
    for one_way in scores.values():
        assert one_way["pairs"] == 3
        assert set(one_way["by_height"]) == {"0-0.25", "0.25-0.5", "0.5-10"}
        assert 0 <= one_way["human_miou"] <= 1
        assert 0 <= one_way["pcp_50"] <= 1


def test_given_boxes_are_all_people_and_others_fall_back(
    dataset: OneShotDataset, nets: tuple[EOPNet, RegionNet]
) -> None:
    episodes = test_set(config(), dataset, run_fold(config(), dataset))
    batch, pair = episodes[0].batched(), episodes.pairs()[0]
    stem = dataset.stems("test")[pair.query]
    persons = dataset.instances(stem)
    assert persons is not None
    people = people_of(persons)
    batch = one(batch, 0)
    result = parse_crowd(*nets, batch, "given", boxes=people.boxes)
    assert len(result.people or ()) == len(people.ids)
    outside = np.ones(persons.shape, bool)
    for left, top, right, bottom in people.boxes.int().tolist():
        outside[top:bottom, left:right] = False
    whole = nets[0].predict(batch).ids[0].numpy()
    assert result.classes is not None
    np.testing.assert_array_equal(result.classes[outside], whole[outside])
    with pytest.raises(UserError, match="no way 'halves'"):
        parse_crowd(*nets, batch, "halves")


def test_a_perfect_crowd_scores_one(dataset: OneShotDataset) -> None:
    chosen = run_fold(config(), dataset)
    stem = dataset.stems("test")[0]
    classes, persons = dataset.space.merge(dataset.mask(stem)), dataset.instances(stem)
    assert persons is not None
    truth = PeopleTruth(classes, persons)
    crowd = Crowd.__new__(Crowd)
    crowd.truth = truth
    people = tuple(cut_out(truth.person(index)) for index in truth.ids)
    scores = CrowdScores(chosen)
    scores.add("a", crowd, PeopleResult(classes, people))
    made = scores.as_dict()
    assert made["human_miou"] == made["ap_p_vol"] == made["pcp_50"] == 1
    wrong = CrowdScores(chosen)
    wrong.add("a", crowd, PeopleResult(np.zeros_like(classes), ()))
    assert wrong.as_dict()["pcp_50"] == 0


@pytest.fixture
def kept(dataset: OneShotDataset, nets: tuple[EOPNet, RegionNet], tmp_path: Path) -> dict[str, Path]:
    """The weights of both networks by method, and the data beside them."""
    net = nets[0]
    place = tmp_path / "data" / "synth-crowd-8+8-48px-seed0"
    place.parent.mkdir()
    place.symlink_to(dataset.root)
    of_net = {name: value for name, value in vars(net.config).items() if name in ("width", "encoder", "lite_channels")}
    run = {**config().as_dict(), "model": {"method": "eopnet", "options": {}}}
    record = CheckpointRecord("eopnet", {"variant": "lite", "n_ids": N, **of_net}, "k", N, "cihp", config=run, size=48)
    mine = CheckpointRecord("instance", {"variant": "lite", **SMALL}, "k", 20, "cihp", size=48)
    paths = {name: tmp_path / name / "weights.safetensors" for name in ("eopnet", "instance")}
    for one_net, facts, path in zip(nets, (record, mine), paths.values(), strict=True):
        path.parent.mkdir()
        save_weights(path, one_net.state_dict(), facts)
    return paths


def test_the_command_prints_every_way(
    kept: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["score-crowds", "--weights", str(kept["eopnet"]), "--quiet", "--pairs", "2"]
    words += ["--people", str(kept["instance"]), "--data", str(tmp_path / "data")]
    assert main([*words, "--json", str(tmp_path / "out.json")]) == 0
    shown = capsys.readouterr().out
    assert all(way in shown for way in WAYS)
    assert set(json.loads((tmp_path / "out.json").read_text())) == set(WAYS)
    assert main([*words[:1], "--weights", str(kept["instance"]), *words[3:]]) == 2
    assert "no checkpoint of a k-way EOP-Net" in capsys.readouterr().err


def test_each_seed_s_runs_are_judged_once_and_kept(
    kept: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def runs(seed: int, store: Any, data: Any = None) -> dict[str, Run]:
        asked.append(seed)
        if seed == 2 and len(asked) < 4:
            raise UserError("no run")
        return {name: Run(path.parent, {}, {}, {}) for name, path in kept.items()}

    monkeypatch.setattr(crowds, "runs_of_seed", runs)
    store, record = RunStore(tmp_path / "runs"), tmp_path / "crowds.json"
    with pytest.raises(UserError, match="no run"):
        crowds.judge(store, tmp_path / "data", 2, record)
    first = json.loads(record.read_text())
    assert set(first["seeds"]) == {"0", "1"}, "what was judged is kept"
    assert crowds.verdict(first) == "undecided: 2 of 3 seeds"
    calls: list[Any] = []

    def judged(*given: Any, **options: Any) -> Any:
        calls.append(given)
        return first["seeds"]["0"]["scores"]

    monkeypatch.setattr(crowds, "judge_crowds", judged)
    crowds.judge(store, tmp_path / "data", 2, record)
    assert len(calls) == 1, "only the missing seed is judged"
    whole = json.loads(record.read_text())
    assert set(whole["seeds"]) == {"0", "1", "2"}
    assert whole["seeds"]["2"]["runs"] == {"eopnet": "eopnet", "instance": "instance"}
    assert [line.split(" | ")[0] for line in crowds.table(whole).splitlines()[2:]] == [f"| {way}" for way in WAYS]
    with pytest.raises(UserError, match="other test pairs"):
        crowds.judge(store, tmp_path / "data", 3, record)


def test_boxes_pay_off_by_the_rule_alone() -> None:
    def seed(gain: float) -> dict[str, Any]:
        return {
            "scores": {
                w: {"by_height": {"0-0.25": {"novel_miou": v}}} for w, v in (("whole", 0.1), ("regions", 0.1 + gain))
            }
        }

    def said(*gained: float) -> str:
        return crowds.verdict({"seeds": {str(n): seed(one) for n, one in enumerate(gained)}})

    assert said(0.05, 0.06, 0.07).startswith("boxes pay off: +6.0 points")
    assert said(0.2, 0.2, -0.01).startswith("boxes do not pay off"), "a seed stands against it"
    assert said(0.04, 0.04, 0.04).startswith("boxes do not pay off"), "less than the margin"
    assert said(0.2) == "undecided: 1 of 3 seeds"
    assert crowds.verdict(None) == "not run: 0 of 3 seeds"
    assert crowds.table(None).startswith("*not run*")


def test_the_plan_has_a_network_and_a_detector_for_every_seed() -> None:
    keys = matrix("lite", ["q"])
    assert {(key.method, key.seed) for key in keys} == {(m, s) for m in ("eopnet", "instance") for s in crowds.seeds()}
    assert {(key.dataset, key.fold, key.way, key.ablation) for key in keys} == {("synth-cihp", 1, "k", "")}
