"""Photos parsed person by person: one mask a person, cut to who it is; what cannot be is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from oshp_lite.assets import checkpoint
from oshp_lite.cli import main
from oshp_lite.data.synthetic.scenes import scene
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, read_mask
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.instance.core import ParsedBoxes, RegionNet
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.predict import Parser, load_network
from oshp_lite.predict.people import load_detector, parse_people

SMALL = {"variant": "lite", "n_ids": 20, "lite_channels": [8, 12, 16, 16], "lite_depth": 1, "pyramid": 16, "width": 8}
SMALL |= {"rpn_before": [20, 20], "rpn_after": [20, 20], "box_hidden": 32, "detections": 4}


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("people") / "weights.safetensors"
    net = InstanceNet(**{k: tuple(v) if isinstance(v, list) else v for k, v in SMALL.items()})
    options = {**SMALL, "seed": 0}
    save_weights(path, net.state_dict(), CheckpointRecord("instance", options, "k", 20, "cihp", size=64))
    return path


class Given:
    """A detector that always sees two people, the second score too low for a third."""

    def __init__(self, net: RegionNet) -> None:
        self.record, self.net = net.record, net

    def parameters(self) -> object:
        return self.net.parameters()

    def detect(self, image: torch.Tensor) -> list[ParsedBoxes]:
        height, width = image.shape[-2:]
        boxes = torch.tensor([[0, 0, width / 2, height], [width / 4, 0, width, height], [0, 0, width, height]]).float()
        attention = torch.ones(3, 1, 14, 14)
        attention[1, :, :, :7] = 0  # the right half of the second box alone is the second person
        return [ParsedBoxes(boxes, torch.tensor([0.9, 0.8, 0.1]), torch.zeros(3, 20, 28, 28), attention)]


def test_each_person_has_a_mask_inside_box_and_attention(detector: Path) -> None:
    drawn = scene("synth-atr", 0, 0, 96)
    parser = Parser(load_network(checkpoint()))
    parser.support(drawn.image, (drawn.mask("atr") == 4).astype(np.uint8) + 2 * (drawn.mask("atr") == 6))
    photo = scene("synth-cihp", 0, 0, 128).image
    parsed = parse_people(parser, Given(load_detector(detector)), photo)  # type: ignore[arg-type]
    assert len(parsed.people) == 2
    one, two = parsed.people
    assert not one.mask[:, 64:].any()
    assert not two.mask[:, : 32 + 48 - 1].any()
    both = np.where(one.mask > 0, one.mask, two.mask)
    np.testing.assert_array_equal(parsed.mask, both)
    assert one.box == (0, 0, 64, 128)


def test_the_command_writes_or_says_why_not(detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = scene("synth-atr", 0, 0, 96)
    mask = (drawn.mask("atr") == 4).astype(np.uint8)
    for name, content in (("photo.png", drawn.image), ("mask.png", mask)):
        (tmp_path / name).write_bytes(encode_png(content))
    words = ["parse", "--support", str(tmp_path / "photo.png"), "--support-mask", str(tmp_path / "mask.png")]
    words += ["--query", str(tmp_path / "photo.png"), "--out", str(tmp_path / "out.png")]
    code = main([*words, "--people", str(detector)])  # untrained: whoever it sees, or nobody
    said = capsys.readouterr()
    if code == 0:
        assert read_mask(tmp_path / "out_person1.png").shape == (96, 96)
    else:
        assert "nobody was detected" in said.err
        assert not (tmp_path / "out.png").exists()
    assert main([*words, "--people", str(detector), "--scores"]) == 2
    assert main([*words, "--people", str(checkpoint())]) == 2
    assert "name one of method instance" in capsys.readouterr().err


def test_a_rival_detects_nobody(tmp_path: Path) -> None:
    net = InstanceNet(**{k: tuple(v) if isinstance(v, list) else v for k, v in SMALL.items()}, design="bottom-up")
    path = tmp_path / "weights.safetensors"
    options = {**SMALL, "seed": 0, "design": "bottom-up"}
    save_weights(path, net.state_dict(), CheckpointRecord("instance", options, "k", 20, "cihp", size=64))
    with pytest.raises(UserError, match="detects nobody"):
        load_detector(path)
