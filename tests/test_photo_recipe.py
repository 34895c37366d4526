"""The recipe of the checkpoint for street photos: its parts, what they may not see, and what is shipped."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from oshp_lite import assets
from oshp_lite.assets import photos as street
from oshp_lite.cli import parse
from oshp_lite.data.registry import BLOCKS
from oshp_lite.engine.checkpoint import read_record, read_weights, save_weights
from oshp_lite.engine.config import from_dict, identity_dict
from oshp_lite.engine.models import model_options, run_record
from oshp_lite.errors import UserError
from oshp_lite.files import (
    encode_png,
    file_sha256,
    project_root,
    read_json,
    read_mask,
    write_atomic,
    write_json_atomic,
)
from oshp_lite.labels import fold, label_space
from oshp_lite.models.matching.network import Matching
from oshp_lite.predict import ParseOptions, load_network
from oshp_lite.study import photo_recipe, photos


def test_parts_differ_in_what_has_a_name_alone() -> None:
    parts = {part: identity_dict(photo_recipe.recipe(part)) for part in photo_recipe.PARTS}
    for part in ("all", "fold1", "fold2"):
        parts[part]["data"].pop("fold", None)
        parts[part]["train"].pop("visible", None)
        assert parts[part] == parts["fold1"]
    assert parts["tuning"]["data"]["protocol"] == "tuning"
    chosen = photo_recipe.recipe("fold2", ["train.epochs=3"])
    assert (chosen.train.epochs, chosen.data.fold, chosen.data.block) == (3, 2, BLOCKS - 1)
    with pytest.raises(UserError, match="there are all"):
        photo_recipe.recipe("fold3")


def test_each_class_of_the_list_is_novel_in_the_training_that_it_is_measured_on() -> None:
    for name, part in photo_recipe.NOVEL_IN.items():
        config = photo_recipe.recipe(part)
        chosen = fold("ccp-os", config.data.fold)
        record = run_record(config, chosen, "ccp-os-block4")
        assert photos.knowledge(record, photos.CLASSES[name]) == "novel"
        assert photos.part_for(record) == "test"
    everything = run_record(photo_recipe.recipe("all"), fold("ccp-os", 1), "ccp-os-block4")
    assert {photos.knowledge(everything, name) for name in photos.CLASSES.values()} == {"base"}


def test_a_training_that_saw_a_photo_of_the_list_is_refused() -> None:
    record = run_record(photo_recipe.recipe("all"), fold("ccp-os", 1), "ccp-os-block4")
    measured = photo_recipe.check_unseen(SimpleNamespace(stems=lambda _: ("0001", "0300")), record)  # type: ignore[arg-type]
    assert len(measured) > 40
    seen = SimpleNamespace(stems=lambda _: ("0001", measured[3]))
    with pytest.raises(UserError, match=f"{measured[3]} among them"):
        photo_recipe.check_unseen(seen, record)  # type: ignore[arg-type]


def finished(folder: Path, part: str, **options: Any) -> Path:
    """What a training leaves, of a network that learnt nothing."""
    small = {"width": 8, "lite_channels": [4, 8, 8, 8], "lite_depth": 1, **options}
    config = photo_recipe.recipe(part)
    config = replace(config, model=replace(config.model, options={**config.model.options, **small}))
    chosen = fold("ccp-os", config.data.fold)
    network = Matching(**model_options(config, chosen.n_ids))
    save_weights(folder / "weights.safetensors", network.state_dict(), run_record(config, chosen, "ccp-os-block4"))
    write_json_atomic(folder / "made.json", {"part": part, "seconds": 1.0})
    return folder


def test_what_is_shipped_is_small_says_where_it_comes_from_and_has_each_score(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = {part: finished(tmp_path / part, part) for part in ("all", "fold1", "fold2")}
    calls: list[tuple[str, int]] = []

    def measure(weights: Path, ccp: object, options: object = None, *, supports: int = 1) -> dict[str, Any]:
        calls.append((weights.parent.name, supports))
        return {name: {"iou": [0.5, 0.4], "from": weights.parent.name} for name in photos.CLASSES}

    monkeypatch.setattr(photo_recipe, "measure", measure)
    weights, card = tmp_path / "out" / "photos.safetensors", tmp_path / "out" / "photos.json"
    photo_recipe.ship(folders, None, weights, card)  # type: ignore[arg-type]
    told = read_json(card)
    assert told["scores"]["trousers held out of training"]["1 support"]["from"] == "fold1"
    assert told["scores"]["bag held out of training"]["3 supports"]["from"] == "fold2"
    assert calls[0] == ("out", 1)  # the shipped file itself, in half precision
    assert told["trained on"]["licence"] == "Apache-2.0"
    assert told["commands"][0].endswith("train all --out FOLDER")
    assert all(v.dtype != torch.float32 for v in read_weights(weights).values())
    assert load_network(weights).record == read_record(weights)
    other = finished(tmp_path / "other", "fold2", lite_depth=2)
    with pytest.raises(UserError, match="another recipe"):
        photo_recipe.ship({**folders, "fold2": other}, None, weights, card)  # type: ignore[arg-type]
    monkeypatch.setattr(photo_recipe, "MOST_BYTES", 100)
    with pytest.raises(UserError, match="smaller"):
        photo_recipe.ship(folders, None, weights, card)  # type: ignore[arg-type]


def test_the_shipped_checkpoint_is_that_of_its_card_and_its_recipe() -> None:
    card, record = read_json(assets.PHOTOS_CARD), read_record(assets.PHOTOS_CHECKPOINT)
    assert card["sha256"] == file_sha256(assets.PHOTOS_CHECKPOINT)
    assert assets.PHOTOS_CHECKPOINT.stat().st_size < photo_recipe.MOST_BYTES
    assert record.config == card["config"]
    assert identity_dict(from_dict(record.config)) == identity_dict(photo_recipe.recipe("all"))
    measured = read_json(project_root() / photos.KEPT_IN)["measured"]
    kept = {
        one["weights"]: one["found"] for one in measured if (one["supports"], one["options"]) == (1, card["options"])
    }
    for name, found in card["scores"]["every class known"].items():
        assert found["training"] == "base"
        assert kept[card["sha256"]][name]["by_support"] == found["by_support"]
    for name in photo_recipe.NOVEL_IN:
        assert {one["training"] for one in card["scores"][f"{name} held out of training"].values()} == {"novel"}


def test_parse_takes_the_shipped_checkpoint_and_says_what_a_mark_was_taken_for(tmp_path: Path) -> None:
    """As a user starts it: no method, no weights, photos that the network has not seen."""
    trousers = label_space("ccp-os").id_of("pants")
    for name, content in (("a", street.photo("0845")), ("b", street.photo("0862"))):
        write_atomic(tmp_path / f"{name}.png", encode_png(content))
    mark = np.where(street.mask("0845") == trousers, 255, 0).astype(np.uint8)
    write_atomic(tmp_path / "m.png", encode_png(mark))
    words = ["--support", "a.png", "--support-mask", "m.png", "--query", "b.png", "--out", "o.png"]
    command = [sys.executable, "-m", "oshp_lite", "parse", *words]
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True).stdout
    assert "class 1 is taken for what the network knows as pants" in told
    found, true = read_mask(tmp_path / "o.png") == 1, street.mask("0862") == trousers
    assert (found & true).sum() / (found | true).sum() > 0.8


def test_a_folder_remembers_the_weights_of_a_shipped_method() -> None:
    def network(method: str | None) -> str:
        return str(parse._setup([], None, method, {}, ParseOptions(), "float32")["network"])

    assert network("eopnet") == file_sha256(assets.CHECKPOINT)
    assert network(None) == network("matching") == file_sha256(assets.PHOTOS_CHECKPOINT)
    assert network("persam") == "persam"


def test_the_network_of_the_recipe_is_below_five_megabytes() -> None:
    config = photo_recipe.recipe("all")
    network = Matching(**model_options(config, 12))
    assert 2 * sum(value.numel() for value in network.state_dict().values()) < photo_recipe.MOST_BYTES


def test_photos_have_a_checkpoint_of_their_own_or_that_of_the_lessons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "photos.safetensors"
    monkeypatch.setattr(assets, "PHOTOS_CHECKPOINT", own)
    assert assets.checkpoint("photos") == assets.checkpoint()
    own.write_bytes(b"")
    assert assets.checkpoint("photos") == own
    assert assets.checkpoint() == assets.checkpoint("lessons") != own


def test_commands_refuse_in_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    missing = ["--all", str(tmp_path), "--fold1", str(tmp_path), "--fold2", str(tmp_path), "--ccp", str(tmp_path)]
    assert photo_recipe.main(["ship", *missing]) == 2
    assert photo_recipe.main(["train", "all", "--out", str(tmp_path), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("error: ") == 2
