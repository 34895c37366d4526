"""The committed list of CCP photos, what is measured on it, and the fit behind the confidence."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from oshp_lite import assets
from oshp_lite.data.prepare.ccp import standard_plan
from oshp_lite.data.synthetic import scene
from oshp_lite.errors import UserError
from oshp_lite.files import file_sha256, project_root, read_json, write_json_atomic
from oshp_lite.labels import label_space
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.predict import ParseOptions
from oshp_lite.predict.confidence import EVIDENCE
from oshp_lite.study import photos

ENTRIES = [
    (part, name, entry) for part, classes in read_json(photos.LIST)["parts"].items() for name, entry in classes.items()
]


def test_the_list_has_five_supports_and_ten_queries_a_class_in_each_part() -> None:
    assert [(part, name) for part, name, _ in ENTRIES] == [
        (part, name) for part in ("test", "block0") for name in ("trousers", "bag")
    ]
    for _, _, entry in ENTRIES:
        assert [len(entry[kind]) for kind in ("supports", "present", "absent")] == [5, 10, 10]


def test_no_photo_of_the_list_is_a_neighbour_of_another_or_in_training() -> None:
    train = set(standard_plan().train)
    stems = sorted([*train, *standard_plan().test])
    first = set(stems[: len(stems) // photos.BLOCKS])
    for part, _, entry in ENTRIES:
        chosen = sorted(int(stem) for kind in ("supports", "present", "absent") for stem in entry[kind])
        assert min(np.diff(chosen)) >= photos.SPACING
        for number in chosen:
            assert (f"{number:04d}" in first) if part == "block0" else (f"{number:04d}" not in train)


@pytest.mark.skipif("OSHP_CCP_ROOT" not in os.environ, reason="OSHP_CCP_ROOT names no clone of CCP")
def test_the_class_is_there_where_the_list_says_so() -> None:
    ccp = photos.Ccp(None)
    for part, name, entry in ENTRIES:
        if part == "block0":
            continue
        class_id = label_space("ccp-os").id_of(photos.CLASSES[name])
        assert all(ccp.share(stem, class_id) >= photos.LEAST[name] for stem in entry["supports"][:2])
        assert all(ccp.share(stem, class_id) == 0 for stem in entry["absent"][:3])


def record(dataset: str, **data: object) -> CheckpointRecord:
    fold = {"dataset": "ccp-os", "number": 1, "protocol": "journal"}
    return CheckpointRecord("eopnet", {}, "k", 12, "ccp-os", dataset=dataset, fold=fold, config={"data": data})


def test_a_checkpoint_is_measured_on_photos_it_has_not_seen() -> None:
    assert photos.part_for(record("synth-atr")) == "test"
    assert photos.part_for(record("ccp-os", block=None)) == "test"
    assert photos.part_for(record("ccp-os-block0", block=0)) == "block0"
    with pytest.raises(UserError, match="block 2"):
        photos.part_for(record("ccp-os-block2", block=2))
    assert photos.knowledge(record("ccp-os"), "pants") == "novel"
    assert photos.knowledge(record("ccp-os"), "bag") == "base"
    assert photos.knowledge(record("synth-atr"), "bag") == "never seen on photos"


class Drawn:
    """Drawn people in the place of CCP: even numbers show the class, odd ones are the same with no pixel of it."""

    def photo(self, stem: str) -> np.ndarray:
        return scene("synth-atr", 5, int(stem), 96).image.copy()

    def tags(self, stem: str) -> np.ndarray:
        return label_space("atr").foreground(scene("synth-atr", 5, int(stem), 96).mask("atr"))

    def mask(self, stem: str) -> np.ndarray:
        hair = scene("synth-atr", 5, int(stem), 96).mask("atr") == label_space("atr").id_of("hair")
        return np.where(hair, label_space("ccp-os").id_of("bag"), 0)


def test_measures_are_those_of_the_masks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Marking everything has the class's share as IoU and all of the photo as false marks."""
    entry = {"supports": ["0", "1"], "present": ["2", "3"], "absent": ["4"]}
    write_json_atomic(tmp_path / "list.json", {"parts": {"test": {"bag": entry}}})
    monkeypatch.setattr(photos, "LIST", tmp_path / "list.json")
    monkeypatch.setattr(photos, "SUPPORTS", 2)
    drawn = Drawn()

    def everything(self: photos.Parser, photo: np.ndarray) -> object:
        from oshp_lite.predict import PhotoParsing

        unlikely = (1,) if int(photo.sum()) == int(drawn.photo("3").sum()) else ()
        return PhotoParsing(
            np.ones(photo.shape[:2], np.uint8), np.zeros((256, 3), np.uint8), {1: "x"}, (), {}, unlikely
        )

    options = ParseOptions(crop=False, mirror=False)
    real = photos.measure(assets.checkpoint(), drawn, options)["bag"]  # type: ignore[arg-type]
    assert 0 <= real["iou"][0] <= 1
    assert real["false_marks"][0] < 0.5
    monkeypatch.setattr(photos.Parser, "parse", everything)
    made = photos.measure(assets.checkpoint(), drawn, replace(options, rest=False))["bag"]  # type: ignore[arg-type]
    share = [float((drawn.mask(stem) > 0).mean()) for stem in ("2", "3")]
    assert made["iou"] == pytest.approx([np.mean(share), share[0] / 2])
    assert made["pooled"][0] == pytest.approx(np.mean(share))
    assert made["false_marks"] == [1.0, 1.0]
    assert (made["lost"], made["warned"]) == (0.5, 0.0)


def test_the_fit_is_where_the_slope_of_its_loss_is_zero() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 3))
    truth = rng.random(300) < 1 / (1 + np.exp(-(values @ [2.0, -1.0, 0.0] + 0.5)))
    weights, bias = photos.fit(values, truth, ridge=0.7)

    def loss(w: np.ndarray) -> float:
        score = values @ w[:3] + w[3]
        return float(np.logaddexp(0, -np.where(truth, score, -score)).sum() + 0.35 * (w[:3] ** 2).sum())

    best = np.r_[weights, bias]
    for place in range(4):
        step = np.eye(4)[place] * 1e-4
        assert loss(best + step) >= loss(best)
        assert loss(best - step) >= loss(best)
    assert weights[0] > 1
    assert weights[1] < -0.5


def test_the_roc_area_counts_pairs() -> None:
    score, truth = np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, True, False, True])
    assert photos.roc_area(score, truth) == pytest.approx((1 + 0.5 + 1 + 1) / 4)


def test_numbers_that_count_the_wrong_way_are_left_out_and_the_threshold_keeps_nine_tenths() -> None:
    rng = np.random.default_rng(1)
    present = rng.random(400) < 0.5
    values = rng.normal(size=(400, len(EVIDENCE)))
    iou = np.where(present, rng.random(400), 0)
    useful = iou >= photos.USEFUL
    values[:, 3] -= 1.5 * useful  # nearer in place where the parse is of use, as it should be
    values[:, 0] -= 1.5 * useful  # less clear there: an accident of the photos
    rows = {"evidence": values, "present": present, "iou": iou, "class_id": np.arange(400) % 2 + 1}
    made = photos.calibration_of(rows, {"run": "made up"})
    assert made["weights"][0] == 0
    assert made["weights"][3] < 0
    standard = (values - np.array(made["mean"])) / np.array(made["scale"])
    score = 1 / (1 + np.exp(-(standard @ np.array(made["weights"]) + made["bias"])))
    assert (score[useful] >= made["threshold"]).mean() == pytest.approx(photos.KEPT, abs=0.02)
    assert made["provenance"]["run"] == "made up"


SHIPPED, STREET = file_sha256(assets.CHECKPOINT), file_sha256(assets.PHOTOS_CHECKPOINT)
KEPT = read_json(project_root() / photos.KEPT_IN)["measured"]


def kept(weights: str, options: ParseOptions, supports: int = 1) -> dict[str, Any]:
    place = (weights, photos.as_plain(options), supports)
    (found,) = (one["found"] for one in KEPT if (one["weights"], one["options"], one["supports"]) == place)
    return dict(found)


@pytest.mark.parametrize(
    "weights", sorted({STREET, *(one["weights"] for one in KEPT if one["checkpoint"]["method"] == "eopnet")})
)
def test_the_defaults_measured_better_than_the_plain_way(weights: str) -> None:
    """Of both shipped checkpoints and every EOP-Net in the record: more overlap, fewer false marks."""
    assert {SHIPPED, STREET} <= {one["weights"] for one in KEPT}
    plain = kept(weights, ParseOptions(crop=False, pad=False, mirror=False, rest=False))["trousers"]
    chosen, three = (kept(weights, ParseOptions(), supports)["trousers"] for supports in (1, 3))
    assert three["iou"][0] > chosen["iou"][0] > plain["iou"][0]
    assert chosen["false_marks"][0] < plain["false_marks"][0]


@pytest.mark.skipif("OSHP_CCP_ROOT" not in os.environ, reason="OSHP_CCP_ROOT names no clone of CCP")
def test_the_record_is_what_the_network_of_drawn_people_measures() -> None:
    measured = photos.measure(assets.checkpoint(), photos.Ccp(None), ParseOptions(), supports=3)
    for name, row in kept(SHIPPED, ParseOptions(), supports=3).items():
        assert measured[name]["iou"] == pytest.approx(row["iou"], abs=5e-3)
        assert measured[name]["false_marks"] == pytest.approx(row["false_marks"], abs=5e-3)


@pytest.mark.skipif("OSHP_CCP_ROOT" not in os.environ, reason="OSHP_CCP_ROOT names no clone of CCP")
def test_the_record_is_what_the_network_for_street_photos_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photos, "SUPPORTS", 1)  # of five, which would take a third of a minute
    measured = photos.measure(assets.PHOTOS_CHECKPOINT, photos.Ccp(None), ParseOptions())
    for name, row in kept(STREET, ParseOptions()).items():
        assert measured[name]["by_support"] == pytest.approx(row["by_support"][:1], abs=5e-3)


def test_a_measurement_replaces_the_one_of_the_same_checkpoint_and_options(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    for iou, options in ((0.1, ParseOptions()), (0.2, ParseOptions(mirror=False)), (0.3, ParseOptions())):
        photos.keep(path, assets.checkpoint(), options, 1, {"bag": {"iou": iou}})
    assert [one["found"]["bag"]["iou"] for one in read_json(path)["measured"]] == [0.2, 0.3]
    assert read_json(path)["measured"][0]["checkpoint"]["method"] == "eopnet"


def test_options_are_read_from_words() -> None:
    assert photos.read_options(["crop=false", "rest=false", "size=256"]) == ParseOptions(
        crop=False, rest=False, size=256
    )
    with pytest.raises(UserError, match="options are"):
        photos.read_options(["colour=1"])
    with pytest.raises(UserError, match="true, false, null or a number"):
        photos.read_options(["crop=yes"])
    assert photos.main(["measure", "--set", "nonsense=1", "--ccp", "nowhere"]) == 2
