"""Notebook 14's crowds: who is matched with whom, what connected pieces are worth, the explorer and its lesson."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_explorers import check_page
from torch import Tensor

from oshp_lite.book import crowd, crowd_pairs
from oshp_lite.book.crowd_faults import diagnose, fault_table
from oshp_lite.book.lessons import people
from oshp_lite.book.widgets.people import METRICS, PeopleState, crowd_people
from oshp_lite.data.people import PeopleResult, PeopleTruth
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.instance_metrics import average_precision
from oshp_lite.engine.instance_plain import made_up_photos
from oshp_lite.engine.presets import load_profile
from oshp_lite.errors import UserError
from oshp_lite.files import read_json
from oshp_lite.labels import fold
from oshp_lite.models.instance.boxes import suppress
from oshp_lite.models.instance.network import InstanceNet

SMALL: dict[str, Any] = {"n_ids": 7, "lite_channels": (8, 12, 16, 16), "lite_depth": 1, "pyramid": 16, "width": 8}
SMALL |= {"rpn_before": (20, 20), "rpn_after": (20, 20), "box_hidden": 32, "detections": 4}


@pytest.fixture(scope="module")
def photos() -> list[crowd.CrowdPhoto]:
    return [crowd.crowd(index, 128) for index in range(3)]


@pytest.fixture(scope="module")
def state(photos: list[crowd.CrowdPhoto]) -> PeopleState:
    return PeopleState(people.kept_network(), photos)


@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.7])
def test_matches_are_those_of_the_meter(threshold: float) -> None:
    for truth, result in made_up_photos(4, 48, copies=2).values():
        made = crowd.matches(truth, result, 20, threshold)
        true = sum(bool((truth.person(index) % 255 > 0).any()) for index in truth.ids)
        hits = np.array([one.verdict == "right" for one in made])
        scores = crowd.score([(truth, result)], 20)
        assert average_precision(hits, true) == pytest.approx(scores.at("ap_p", threshold))
        parsed = [
            sum(v > threshold for v in one.parts.values()) / len(one.parts) for one in made if one.verdict == "right"
        ]
        assert sum(parsed) / true == pytest.approx(scores.at("pcp", threshold))


def test_a_duplicate_and_a_wrong_person_are_kept_apart() -> None:
    truth = crowd.row_truth(".HHTTLL.....", "........HTT.")
    said = crowd.row_result([(".HHTTTL.....", 0.9), (".H.TTLL.....", 0.8), ("L..........H", 0.7)])
    assert [one.verdict for one in crowd.matches(truth, said, 4)] == ["right", "duplicate", "wrong"]
    seen = diagnose(truth, said, 4)
    assert (seen.duplicates, seen.nobody) == (1, 1)
    assert str(seen) == "1 of 2 right, 1 missed, 1 duplicate, 1 of nobody"


@pytest.mark.parametrize(
    ("people", "said"),
    [
        ([(".HHTTLL.....", 0.9), ("........HTT.", 0.8)], "2 of 2 right"),
        ([(".HHTTLL.....", 0.9), ("........HTT.", 0.2)], "1 of 2 right, 1 missed"),
        ([(".HHTTLL.HTT.", 0.9)], "1 of 2 right, 1 merged with a neighbour"),
        ([(".HHTTLL.....", 0.9), ("........T...", 0.8)], "1 of 2 right, 1 mask off"),
        (
            [(".HHTTLL.....", 0.9), ("........LLL.", 0.8)],
            "1 of 2 right, 1 mask fits, parts wrong (2 parts fail, 0 of them tiny)",
        ),
        ([], "0 of 2 right, 2 missed"),
    ],
)
def test_every_true_person_meets_one_fate(people: list[tuple[str, float]], said: str) -> None:
    truth = crowd.row_truth(".HHTTLL.....", "........HTT.")
    result = crowd.row_result(people) if people else PeopleResult(None, ())
    made = diagnose(truth, result, 4)
    assert str(made) == said
    assert sum(made.fates.values()) == 2
    assert fault_table({"c": made}).count("\n") == 2


def test_pixels_have_a_wrong_owner_where_a_neighbour_paints_them() -> None:
    truth = crowd.row_truth(".HHTTLL.....", "........HTT.")
    assert diagnose(truth, crowd.row_result([(".HHTTLL.....", 0.9), ("........HTT.", 0.8)]), 4).wrong_owner == 0
    assert diagnose(truth, crowd.row_result([(".HHTTLL.HTT.", 0.9)]), 4).wrong_owner == pytest.approx(3 / 9)
    covered = crowd.row_result([("......LLHTT.", 0.9), (".HHTTLL.....", 0.8)])
    assert diagnose(truth, covered, 4).wrong_owner == pytest.approx(1 / 9)


def test_tiny_parts_are_counted_apart() -> None:
    classes = np.zeros((64, 64), np.uint8)
    classes[4:60, 10:40], classes[4:5, 10:13] = 2, 1  # a head of three pixels: tiny is below sixteen
    truth = PeopleTruth(classes, (classes > 0).astype(np.uint8))
    wrong = crowd.cut_out(np.where(classes > 0, 3, 0).astype(np.uint8), 0.9)
    made = diagnose(truth, PeopleResult(None, (wrong,)), 4)
    assert (made.fates["parts"], made.failed, made.tiny) == (1, 2, 1)


def test_the_worked_example_is_tabulated_to_the_last_digit() -> None:
    truth = crowd.row_truth(".HHTTLL.....", "........HTT.")
    result = crowd.row_result([("........HTL.", 0.7), (".HHTTTL.....", 0.9), (".H.TTLL.....", 0.8)])
    row = crowd.metric_table(truth, {"example": result}, 4).splitlines()[-1]
    assert row == "| example | 0.8333 | 0.6389 | 0.5833 | 0.6111 | 0.7068 | 1.0895 | 0.7333 |"
    with pytest.raises(ValueError, match="made of"):
        crowd.row(".HX")


def test_pieces_of_a_perfect_semantic_map_keep_its_classes_and_lose_people(photos: list[crowd.CrowdPhoto]) -> None:
    made = [(one.truth, crowd.connected_people(one.truth)) for one in photos]
    for truth, result in made:
        assert result.classes is not None
        assert np.array_equal(result.classes, truth.classes)
    scores = crowd.score(made, 7)
    assert scores.miou == 1.0
    assert scores.at("ap_p", 0.5) < 1.0
    apart = crowd.row_truth(".HHTTLL.....", "........HTT.")
    assert crowd.score([(apart, crowd.connected_people(apart))], 4).at("ap_p", 0.5) == 1.0


def test_a_square_lies_in_its_box() -> None:
    made = crowd.in_box(np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([2.0, 0.0, 6.0, 4.0]), (6, 8))
    assert np.isnan(made[:, :2]).all()
    assert np.isnan(made[4:]).all()
    np.testing.assert_array_equal(made[:4, 2:6], np.kron([[1, 2], [3, 4]], np.ones((2, 2))))


def test_what_a_person_adds_is_the_difference_that_it_makes(state: PeopleState) -> None:
    n = len(state.regions)
    assert n > 0
    truth = state.photo.truth
    for i in range(n):
        others = [one for place, one in enumerate(state.regions) if place != i]
        wanted = np.subtract(state.totals[n], crowd.judge(truth, others, 7))
        np.testing.assert_allclose(state.added[n][i], wanted, atol=1e-12)
    assert state.totals[0][:3] == (0.0, 0.0, 0.0)
    whole = crowd.parse(state.network, state.photo)
    assert whole.people is not None
    assert [one.verdict for one in state.matched] == [one.verdict for one in crowd.matches(truth, whole, 7)][:n]


def test_the_threshold_decides_who_counts(state: PeopleState) -> None:
    state.take({"least": 0.0})
    assert state.count == len(state.regions)
    state.take({"least": 2.0, "person": 99})
    assert (state.least, state.person) == (1.0, len(state.regions) - 1)
    assert state.count == 0
    state.take({"least": 0.3, "person": 0, "colour": "red"})
    assert state.draw() is not None


def test_the_explorer_has_a_page_and_follows_messages(photos: list[crowd.CrowdPhoto]) -> None:
    explorer = crowd_people(people.kept_network(), photos, least=0.2)
    check_page(explorer.html())
    content = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', explorer.html(), re.S)[0])
    made, own = content["data"], explorer.state
    assert content["values"] == {"person": 0, "least": 0.2}
    assert len(made["people"]) == len(own.regions) == len(made["totals"]) - 1
    assert all(len(row) == len(METRICS) for row in made["totals"])
    for one, wanted in zip(made["people"], own.attention, strict=True):
        sent = np.frombuffer(base64.b64decode(one["attention"]), np.uint8).reshape(wanted.shape)
        np.testing.assert_allclose(sent / 255, wanted, atol=0.5 / 255 + 1e-6)
    assert {one["match"] for one in made["people"]} <= set(range(len(made["true"])))
    pytest.importorskip("anywidget")
    controls, view = explorer.widget.children
    view.set_state({"person": 1, "least": 0.6})
    assert (own.person, own.least) == (min(1, len(own.regions) - 1), 0.6)
    before = view.payload
    controls.children[0].set_state({"value": 1})
    assert own.index == 1
    assert view.payload != before


def test_a_network_of_other_labels_is_refused(photos: list[crowd.CrowdPhoto]) -> None:
    with pytest.raises(UserError, match="labels=pascal"):
        PeopleState(InstanceNet(variant="lite", **{**SMALL, "n_ids": 20}), photos)


def test_stages_follow_each_other_and_are_judged_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"data.synthetic.n_train": 8, "data.synthetic.n_test": 8, "data.synthetic.size": 48}
    settings = {"model.method": "instance", "model.options.labels": "pascal", "eval.test_size": 48}

    def tiny(stage: people.Stage) -> RunConfig:
        return load_profile("lite", settings | small | {"data.dataset": stage.dataset})

    monkeypatch.setattr(people, "settings", tiny)
    stages = (people.Stage("synth-crowd", 1, 48, frozen=True), people.Stage("synth-cihp", 2, 48))
    folder, start = tmp_path / "kept", people.untrained().state_dict() | people.backbone()
    people.make(str(tmp_path), folder, stages[:1])
    first = people.kept_network(folder).state_dict()
    for name, value in first.items():
        if name.startswith(people.ENCODER):
            rounded = start[name].half() if start[name].is_floating_point() else start[name]
            assert torch.equal(value, rounded.to(value)), f"{name} is frozen in the first stage and stays"
    assert sum(not torch.equal(first[name], start[name].half().to(start[name])) for name in first) > 20
    kept = read_json(people.make(str(tmp_path), folder, stages, behind=1))
    assert kept["photos"]["photos"] == 8
    assert kept["steps"] == {"synth-crowd": 1, "synth-cihp": 2}
    assert {name: len(one) for name, one in kept["loss"].items()} == {"synth-crowd": 1, "synth-cihp": 1}
    assert 0 <= kept["detected"]["miou"] <= 1
    assert kept["true boxes"]["ap_p"] != []
    again = people.kept_network(folder).state_dict()
    for part in (people.ENCODER, "parsing."):
        moved = [name for name in first if name.startswith(part) and not torch.equal(first[name], again[name])]
        assert len(moved) > 5, f"{part} learns in the second stage"
    assert people.weights_file().stat().st_size < 4_500_000


def test_a_missing_network_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"people\.safetensors"):
        people.kept_network(tmp_path)


def test_pairs_share_a_novel_class_and_every_way_is_scored() -> None:
    hidden = fold("atr", 1)
    pairs = crowd_pairs.drawn_pairs(2, hidden.novel, 64)
    for pair in pairs:
        shared = set(np.unique(pair.truth.classes)) & set(np.unique(pair.support_mask))
        assert shared & set(hidden.novel)
    assert len({pair.name for pair in pairs}) == 2
    row = {
        "novel_miou": 0.1,
        "human_miou": 0.2,
        "ap_p_vol": 0.3,
        "pcp_50": 0.4,
        "by_height": {"0-0.25": {"human_miou": None, "novel_miou": 0.5}},
    }
    table = crowd_pairs.way_table({"whole": row}).splitlines()
    assert table[-1] == "| the whole photo | 10.0 | 20.0 | 30.0 | 40.0 | 50.0 | - |"


def test_other_scores_can_take_the_place_of_suppression(photos: list[crowd.CrowdPhoto]) -> None:
    net = people.kept_network()
    seen: list[int] = []

    def hard(boxes: Tensor, scores: Tensor) -> Tensor:
        seen.append(len(boxes))
        kept = torch.zeros_like(scores)
        kept[suppress(boxes, scores, 0.5)] = 1.0
        return scores * kept

    usual, own = crowd.parse(net, photos[0]), crowd.parse(net, photos[0], rescore=hard)
    assert usual.classes is not None
    assert own.classes is not None
    assert np.array_equal(usual.classes, own.classes)
    assert seen[0] > len(crowd.detect(net, photos[0]).boxes), "suppression is on again"


def test_predicted_people_have_the_colours_of_those_they_cover() -> None:
    true = np.array([[1, 1, 1, 2, 2, 0, 0]], np.uint8)
    said = np.array([[3, 3, 3, 1, 2, 0, 4]], np.uint8)
    np.testing.assert_array_equal(crowd.same_colours(true, said), [[1, 1, 1, 2, 3, 0, 4]])
    assert not crowd.same_colours(true, np.zeros_like(true)).any()
