"""`oshp-lite parse --universal`: a network over label domains parses a photo in all of them at once."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from PIL import Image
from sst_tiny import SMALL
from torch.nn import Conv2d

from oshp_lite.assets import checkpoint
from oshp_lite.cli import main
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.files import encode_png, read_mask
from oshp_lite.labels.whole import whole_space
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.registry import build
from oshp_lite.models.sst.network import SST
from oshp_lite.predict import load_network
from oshp_lite.predict.photos import picture
from oshp_lite.predict.universal import load_universal, parse_universal

DOMAINS = ("synth-pascal", "synth-atr")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network over two label sets, as a training would leave it."""
    options = {"variant": "lite", **SMALL, "domains": [*DOMAINS]}
    network = cast(SST, build("sst", **options))
    with torch.no_grad():  # heads that tell the cells of a photo apart
        mean = network.eval().features(picture(scene("synth-atr", 1, 0, 80).image, 96, "rgb")[None])[-1].mean((0, 2, 3))
        for head in cast("Iterable[Conv2d]", network.heads.values()):
            head.weight.normal_()
            cast(torch.Tensor, head.bias).copy_(-(head.weight[..., 0, 0] @ mean))
    path = tmp_path_factory.mktemp("sst") / "weights.safetensors"
    record = CheckpointRecord("sst", options, "k", network.n_ids, "atr", size=96)
    save_weights(path, network.state_dict(), record)
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    path.write_bytes(encode_png(scene("synth-atr", 1, 0, 80).image[:, :60]))
    return path


def test_one_mask_a_label_space(weights: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out" / "b.png"
    words = ["parse", "--universal", "--weights", str(weights), "--query", str(photo), "--out", str(out)]
    assert main(words) == 0
    told, network = capsys.readouterr().out, load_universal(weights)
    image = np.array(Image.open(photo))
    seen = picture(image, 96, "rgb")[None]
    features = network.features(seen)[-1]
    for name in DOMAINS:
        path = out.with_name(f"b_{name}.png")
        assert f"{name}: {path}" in told
        mask = read_mask(path)
        assert mask.shape == image.shape[:2]
        assert len(np.unique(mask)) > 1
        assert mask.max() < whole_space(name).n_raw
        with torch.no_grad():
            assert np.array_equal(mask, network.logits(features, name, image.shape[:2])[0].argmax(0))
        with Image.open(path) as indexed, Image.open(out.with_name(f"b_{name}_overlay.png")) as laid:
            colours = np.array(indexed.getpalette()).reshape(-1, 3)[: whole_space(name).n_raw]
            assert np.array_equal(colours, whole_space(name).class_palette[: len(colours)])
            assert laid.size == (60, 80)


def test_modules_are_not_needed(weights: Path, photo: Path) -> None:
    network, image = load_universal(weights), np.array(Image.open(photo))
    bare = cast(SST, load_network(weights, precision=None)).plain()
    bare.record = network.record
    for name, mask in parse_universal(network, image).items():
        assert np.array_equal(mask, parse_universal(bare.eval(), image)[name])


def test_a_folder(weights: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "photos", tmp_path / "parsed"
    folder.mkdir()
    (folder / "one.png").write_bytes(photo.read_bytes())
    (folder / "two.png").write_bytes(photo.read_bytes()[:200])
    words = ["parse", "--universal", "--weights", str(weights), "--query", str(folder), "--out", str(out), "--quiet"]
    assert main(words) == 1, "one photo is damaged"
    told = capsys.readouterr().out
    assert "1 photos parsed into 2 label spaces" in told
    assert "not parsed: two.png:" in told
    assert {path.name for path in out.iterdir()} == {
        f"one_{name}{end}.png" for name in DOMAINS for end in ("", "_overlay")
    }


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"--weights": None}, "--universal needs --weights"),
        ({"--weights": checkpoint()}, "is a checkpoint of eopnet, which has one label space"),
        ({"--out": "b"}, "must be a .png for one photo"),
        ({"--query": "missing.png"}, "missing.png"),
        ({"--support": "a.png"}, "it takes no --support"),
        ({"--universal": None}, "give a photo with your classes"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    change: dict[str, object], says: str, weights: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given: dict[str, object] = {"--universal": "", "--weights": weights, "--query": photo, "--out": tmp_path / "b.png"}
    words = [str(word) for name, value in {**given, **change}.items() if value is not None for word in (name, value)]
    before = sorted(tmp_path.iterdir())
    assert main(["parse", *(word for word in words if word)]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert len(told.strip().splitlines()) == 1
    assert sorted(tmp_path.iterdir()) == before
