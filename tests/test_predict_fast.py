"""What parses for a user is the fast form of a network: it gives what the network gives, and encodes a photo once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sst_tiny import SMALL as SST_SMALL
from test_fast_inference import norms, with_statistics
from test_predict import wearing

from oshp_lite.assets import checkpoint
from oshp_lite.cli import main
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, read_mask
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.registry import build
from oshp_lite.predict import ParseOptions, Parser, load_network
from oshp_lite.predict.people import load_detector
from oshp_lite.predict.universal import load_universal


def saved(place: Path, method: str, options: dict, **about: object) -> Path:
    """A checkpoint with statistics as after training."""
    network = with_statistics(build(method, **options))
    path = place / "weights.safetensors"
    save_weights(path, network.state_dict(), CheckpointRecord(method, options, "k", network.n_ids, **about))  # type: ignore[arg-type]
    return path


def test_masks_are_those_of_the_network_as_trained() -> None:
    fast, plain = load_network(checkpoint()), load_network(checkpoint(), precision=None)
    assert norms(fast) == 1 < norms(plain), "the AGM alone, which no prediction runs, keeps its own"
    people = wearing()
    parsers = [Parser(network, ParseOptions()).support(*people[0][:2]) for network in (fast, plain)]
    for photo, _, _ in people[1:]:
        ours, theirs = (parser.parse(photo) for parser in parsers)
        assert theirs.mask.any()
        np.testing.assert_array_equal(ours.mask, theirs.mask)
        assert ours.confidence[1] == pytest.approx(theirs.confidence[1], abs=1e-3)
        seen = torch.from_numpy(photo.copy()).permute(2, 0, 1).float() / 127.5 - 1
        torch.testing.assert_close(parsers[0].head(seen).margins, parsers[1].head(seen).margins, rtol=0, atol=1e-4)


def test_a_photo_is_encoded_once_for_its_person_and_its_classes() -> None:
    network, people, runs = load_network(checkpoint()), wearing(), []
    network.encoder.register_forward_hook(lambda *_: runs.append(1))  # type: ignore[union-attr]
    parser = Parser(network, ParseOptions(crop=False, mirror=False)).support(*people[0][:2])
    parser.parse(people[1][0])
    assert len(runs) == 2, "a support, a query"
    runs.clear()
    Parser(network, ParseOptions()).support(*people[0][:2]).parse(people[1][0])
    assert len(runs) <= 5, "each photo and its crop, and the query mirrored"


def test_parsers_without_a_support_are_fast_too(tmp_path: Path) -> None:
    options = {"variant": "lite", **SST_SMALL, "domains": ["synth-pascal", "synth-atr"]}
    path = saved(tmp_path, "sst", options, space="atr", size=96)
    photo = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fast, plain = load_universal(path), load_network(path, precision=None)
    assert norms(fast) < norms(plain)
    with torch.no_grad():
        for ours, theirs in zip(fast.features(photo), plain.features(photo), strict=True):  # type: ignore[operator]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_detectors_are_fast_too(tmp_path: Path) -> None:
    from test_predict_people import SMALL

    path = saved(tmp_path, "instance", SMALL, space="cihp", size=64)
    photo = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    fast, plain = load_detector(path), load_network(path, precision=None)
    assert norms(fast) < norms(plain)
    with torch.no_grad():
        for ours, theirs in zip(fast.pyramid(photo), plain.pyramid(photo), strict=True):  # type: ignore[operator, union-attr]
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


# ------------------------------------------------------------------------------------------------ bfloat16


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    (support, mask, _), (query, _, _) = wearing()[:2]
    for name, content in (("a", support), ("m", mask), ("b", query)):
        (tmp_path / f"{name}.png").write_bytes(encode_png(content))
    named = {"--support": "a", "--support-mask": "m", "--query": "b", "--out": "out"}
    return ["parse", *(word for key, name in named.items() for word in (key, str(tmp_path / f"{name}.png")))]


def test_bf16_is_announced_and_changes_few_pixels(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("oshp_lite.predict.network.has_bf16", lambda _: True)
    assert main([*words, "--precision", "bf16"]) == 0
    assert "bfloat16" in capsys.readouterr().out
    half = read_mask(tmp_path / "out.png")
    assert main(words) == 0
    assert "bfloat16" not in capsys.readouterr().out
    assert (half == read_mask(tmp_path / "out.png")).mean() > 0.98


@pytest.mark.parametrize(("here", "more", "says"), [
    (False, [], "does not multiply bfloat16 numbers itself"),
    (True, ["--method", "persam"], "leave --precision out"),
])  # fmt: skip
def test_bf16_is_refused_in_one_sentence(
    here: bool,
    more: list[str],
    says: str,
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("oshp_lite.predict.network.has_bf16", lambda _: here)
    assert main([*words, "--precision", "bf16", *more]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_bf16_is_for_two_methods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_predict_people import SMALL

    monkeypatch.setattr("oshp_lite.predict.network.has_bf16", lambda _: True)
    with pytest.raises(UserError, match="is a checkpoint of instance; bf16 is for those of eopnet and matching"):
        load_network(saved(tmp_path, "instance", SMALL, space="cihp", size=64), precision="bf16")
