"""`oshp-lite export`: files that parse as the network does, without it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_fast_inference import with_statistics

from oshp_lite.cli import main
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, read_image, read_mask
from oshp_lite.labels import label_space
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.registry import build
from oshp_lite.predict import ParseOptions, Parser, export, load_network

RECIPES = Path(export.__file__).parents[1] / "book" / "site" / "pages" / "howto.md"
runtime = pytest.mark.skipif(bool(export.lacking()), reason=f"needs {', '.join(export.lacking())}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A support with its mask, and a query whose sides fit the network's steps, in one folder."""
    folder = tmp_path_factory.mktemp("photos")
    drawn = (scene("synth-atr", 5, index, 256) for index in range(60))
    marks = ((one, label_space("atr").merge(one.mask("atr"))) for one in drawn)
    (support, ids), (query, _) = islice((pair for pair in marks if {4, 6} <= set(np.unique(pair[1]).tolist())), 2)
    for name, picture in (("a", support.image), ("b", query.image[:, :192])):
        (folder / f"{name}.png").write_bytes(encode_png(np.ascontiguousarray(picture)))
    (folder / "m.png").write_bytes(encode_png((ids == 4).astype(np.uint8) + 2 * (ids == 6).astype(np.uint8)))
    return folder


def command(photos: Path, out: Path, *more: str) -> list[str]:
    support = ["--support", str(photos / "a.png"), "--support-mask", str(photos / "m.png")]
    return ["export", *support, "--out", str(out), *more]


@runtime
def test_the_recipe_parses_without_torch_as_the_package_does(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(photos, tmp_path / "parser")) == 0
    said = capsys.readouterr().out
    assert [float(value) < 1e-4 for value in re.findall(r"at most (\S+?),", said)] == [True, True]
    assert {path.name for path in (tmp_path / "parser").iterdir()} == {
        "parser.onnx", "parser.pt2", "parser.json", "prototypes.npz",
    }  # fmt: skip
    program = re.findall(r"```python\n(.*?)```", RECIPES.read_text(encoding="utf-8"), re.S)[0]
    assert len(program.strip().splitlines()) <= 40
    (tmp_path / "b.jpg").write_bytes((photos / "b.png").read_bytes())
    blocked = "import sys\nsys.modules['torch'] = sys.modules['oshp_lite'] = None\n"
    ran = subprocess.run([sys.executable, "-c", blocked + program], cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    parser = Parser(load_network(export_weights()), ParseOptions(crop=False, mirror=False, pad=False))
    parser.support(read_image(photos / "a.png"), read_mask(photos / "m.png"))
    ours, theirs = parser.parse(read_image(photos / "b.png")).mask, read_mask(tmp_path / "pred.png")
    assert set(np.unique(ours)) == {0, 1, 2}
    assert (ours == theirs).mean() > 0.995


def export_weights() -> Path:
    from oshp_lite.assets import checkpoint

    return checkpoint()


@pytest.mark.parametrize("variant", ["lite", "official"])
def test_every_variant_as_torch_export(variant: str, photos: Path, tmp_path: Path) -> None:
    """Small networks; the released variant's background is a mean over absent ids too."""
    small = {"encoder": "lite", "lite_channels": (8, 8, 8, 8), "lite_depth": 1, "width": 8}
    network = with_statistics(build("eopnet", variant=variant, n_ids=18, **small)).float()
    network.coarse_prototypes().normal_(generator=torch.Generator().manual_seed(0))  # type: ignore[union-attr]
    network.record = CheckpointRecord("eopnet", {}, "k", 18, "atr", size=64)
    parser = Parser(network, ParseOptions(crop=False))
    parser.support(read_image(photos / "a.png"), read_mask(photos / "m.png"))
    paths = export.export(parser, tmp_path, ["pt2"])
    assert [path.name for path in paths] == ["parser.pt2", "prototypes.npz", "parser.json"]
    about = json.loads((tmp_path / "parser.json").read_text())
    kept = np.load(tmp_path / "prototypes.npz")
    assert len(kept["prototypes"]) == len(about["ids"]) == (17 if variant == "official" else len(parser.head.slots))
    assert {1, 2} <= set(about["ids"])
    module = torch.export.load(tmp_path / "parser.pt2").module()
    photo = torch.rand(1, 3, 48, 112) * 2 - 1
    margins, person, features = module(photo, *(torch.from_numpy(kept[name]) for name in export.INPUTS[1:]))
    maps = parser.head(photo[0])
    order = [about["ids"].index(index) for index in (1, 2)]
    for made, cells in ((margins[:, order], maps.margins[:2]), (person, maps.coarse)):
        expected = F.interpolate(cells[None], size=(48, 112), mode="bilinear", align_corners=True)  # type: ignore[index]
        torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    assert features.shape == (1, 8, 12, 28)


# ---------------------------------------------------------------------------------------------------- bad input


def test_other_networks_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = build("panet", variant="lite", n_ids=18, width=8, lite_channels=(8, 8, 8, 8))
    options = {"variant": "lite", "n_ids": 18, "width": 8, "lite_channels": [8, 8, 8, 8]}
    save_weights(tmp_path / "w.safetensors", network.state_dict(), CheckpointRecord("panet", options, "k", 18, "atr"))
    words = command(photos, tmp_path / "out", "--form", "pt2", "--weights", str(tmp_path / "w.safetensors"))
    assert main(words) == 2
    assert "only k-way EOP-Nets can be exported" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("change", "says"), [
    (lambda words: words[:3] + words[5:], "1 --support and 0 --support-mask"),
    (lambda words: words[:1] + words[5:], "--support PHOTO --support-mask MASK"),
    (lambda words: [*words, "--form", "h5"], "--form"),
    (lambda words: [*words[:-1], words[2]], "is a file; name a folder"),
])  # fmt: skip
def test_bad_input_is_one_sentence(
    change: object, says: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(change(command(photos, tmp_path / "out"))) == 2  # type: ignore[operator]
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_missing_packages_are_one_sentence(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export, "lacking", lambda: ["onnxruntime"])
    assert main(command(photos, tmp_path / "out")) == 2
    assert "ONNX needs onnxruntime: pip install 'oshp-lite[export]', or say --form pt2" in capsys.readouterr().err


def test_a_form_that_differs_is_not_written(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = export.READERS["pt2"]

    def off(content: bytes) -> object:
        run = read(content)
        return lambda *given: [made + 0.01 for made in run(*given)]

    monkeypatch.setitem(export.READERS, "pt2", off)  # type: ignore[arg-type]
    parser = Parser(load_network(export_weights()), ParseOptions(crop=False))
    parser.support(read_image(photos / "a.png"), read_mask(photos / "m.png"))
    with pytest.raises(UserError, match="nothing was written"):
        export.export(parser, tmp_path / "out", ["pt2"])
    assert not (tmp_path / "out").exists()
