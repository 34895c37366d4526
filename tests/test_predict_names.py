"""What a user calls the classes: `parse --names`, `Parser.support(names=...)`, and where the names come out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oshp_lite.assets import checkpoint
from oshp_lite.cli import main
from oshp_lite.data.synthetic import scene
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png, read_json, read_mask
from oshp_lite.labels import label_space
from oshp_lite.predict import Parser, PhotoParsing, load_network
from oshp_lite.predict.exports import json_bytes, labelme
from oshp_lite.predict.naming import file_words, names_by_id


def person(index: int) -> tuple[np.ndarray, np.ndarray]:
    """Photo and mask (1 upper-clothes or dress, 2 hair) of a drawn person."""
    space, drawn = label_space("atr"), scene("synth-atr", 5, index, 96)
    raw = drawn.mask("atr")
    mask = np.isin(raw, [space.id_of("upper-clothes"), space.id_of("dress")]).astype(np.uint8)
    mask[raw == space.id_of("hair")] = 2
    return drawn.image.copy(), mask


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """a.png with its mask m.png, b.jpg, and a folder `photos` of that photo and another one."""
    photo, mask = person(0)
    (tmp_path / "a.png").write_bytes(encode_png(photo))
    (tmp_path / "m.png").write_bytes(encode_png(mask))
    (tmp_path / "photos").mkdir()
    for name, index in (("b.jpg", 1), ("photos/b.jpg", 1), ("photos/c.jpg", 2)):
        (tmp_path / name).write_bytes(encode_jpeg(person(index)[0]))
    return tmp_path


def words(place: Path, *more: object, query: str = "b.jpg", out: str = "o.png", mask: str = "m.png") -> list[str]:
    given = ["parse", "--support", place / "a.png", "--support-mask", place / mask, "--query", place / query]
    return [str(word) for word in [*given, "--out", place / out, "--quiet", "--method", "eopnet", *more]]


def process(words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "oshp_lite", *words], capture_output=True, text=True, timeout=300, check=False
    )


def test_names_reach_the_lines_the_page_and_every_export(place: Path) -> None:
    """Two processes, as a user starts them: one photo and a folder."""
    told = process(words(place, "--names", "my top,hair", "--export", "coco,labelme,cutout", "--no-screening"))
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert any(line.startswith("1: my top, ") for line in lines)
    assert any(line.startswith("2: hair, ") for line in lines)
    assert "class 1" not in told.stdout
    coco = json.loads((place / "o_coco.json").read_text())
    assert coco["categories"] == [{"id": 1, "name": "my top"}, {"id": 2, "name": "hair"}]
    shown = {shape["label"] for shape in json.loads((place / "o_labelme.json").read_text())["shapes"]}
    assert shown
    assert shown <= {"my top", "hair"}
    cut = {path.name for path in place.glob("o_cutout_*")}
    assert cut == {f"o_cutout_{name.replace(' ', '-')}.png" for name in shown}

    told = process(words(place, "--names", "2=hair", "1=my <top>", "--export", "coco", query="photos", out="out"))
    assert told.returncode == 0, told.stderr
    page = (place / "out" / "index.html").read_text()
    lacking = sum("probably not there" in card for card in page.split("<figure>"))
    assert f"in {lacking} of them a class is probably missing" in page
    assert page.count("<span>my &lt;top&gt;</span>") == 2
    with Image.open(place / "out" / "masks" / "b.png") as mask:
        red, green, blue = (mask.getpalette() or [])[3:6]
    assert page.count(f'<i style="background:rgb({red},{green},{blue})"></i><span>my &lt;top&gt;</span>') == 2
    assert "<span>class 1</span>" not in page
    names = [one["name"] for one in json.loads((place / "out" / "coco.json").read_text())["categories"]]
    assert names == ["my <top>", "hair"]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("top", "--names: 1 name is given, but the support masks hold 2 classes (ids 1, 2)"),
        ("top,hair,hat", "--names: 3 names are given, but the support masks hold 2 classes (ids 1, 2)"),
        ("3=hat", "--names: id 3 is named 'hat', but the support masks hold 2 classes (ids 1, 2)"),
        ("top,top", "--names: classes 1 and 2 are both named 'top'"),
        ("1=top,1=shirt", "--names names id 1 twice, top and shirt"),
        ("1=top,hair", "--names takes names alone (skirt,bag) or each with an id"),
        ("0=top,2=hair", "an id of 1..254"),
        ("1=,2=hair", "an id of 1..254"),
        ("t\top,hair", "cannot name a class; use 1 to 60 printable characters"),
        (f"{'x' * 61},hair", "use 1 to 60 printable characters"),
    ],
)
def test_names_that_do_not_fit_are_one_sentence(
    said: str, expected: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for query, out in (("b.jpg", "o.png"), ("photos", "out")):
        assert main(words(place, "--names", said, query=query, out=out)) == 2
        told = capsys.readouterr().err
        assert expected in told
        assert len(told.strip().splitlines()) == 1
        assert not (place / out).exists()


def test_a_json_names_its_classes_and_names_may_say_otherwise(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "m.json").write_bytes(json_bytes(labelme("a.png", person(0)[1], {1: "top", 2: "hair"})))
    assert main(words(place, mask="m.json")) == 0
    told = capsys.readouterr().out
    assert "1: top, " in told
    assert "2: hair, " in told
    assert main(words(place, "--names", "2=wig", mask="m.json")) == 0
    told = capsys.readouterr().out
    assert "1: top, " in told
    assert "2: wig, " in told
    assert main(words(place, "--names", "2=top", mask="m.json")) == 2
    assert "classes 1 and 2 are both named 'top'" in capsys.readouterr().err


def test_names_and_exports_come_to_a_finished_folder_without_a_parse(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, folder = place / "out", {"query": "photos", "out": "out"}
    assert main(words(place, "--export", "cutout", "--no-screening", **folder)) == 0
    masks = {path.name: read_mask(path) for path in (out / "masks").iterdir()}
    cut = {path.name for path in (out / "cutouts").iterdir()}
    assert any("_class-1" in name for name in cut)
    capsys.readouterr()
    with monkeypatch.context() as without:
        without.setattr(Parser, "parse", lambda self, photo: pytest.fail("parsed again"))
        more = ["--export", "cutout,coco,labelme", "--no-screening"]
        assert main(words(place, "--names", "top,hair", *more, **folder)) == 0
        assert "0 photos parsed, 2 written anew from their masks" in capsys.readouterr().out
        assert main(words(place, "--names", "2=hair,1=top", *more, **folder)) == 0
        assert "0 photos parsed, 2 were done already" in capsys.readouterr().out
    assert {path.name: read_mask(path).tolist() for path in (out / "masks").iterdir()} == {
        name: mask.tolist() for name, mask in masks.items()
    }
    renamed = {name.replace("class-1", "top").replace("class-2", "hair") for name in cut}
    assert {path.name for path in (out / "cutouts").iterdir()} == renamed
    assert "<span>top</span>" in (out / "index.html").read_text()
    assert [one["name"] for one in read_json(out / "coco.json")["categories"]] == ["top", "hair"]
    labels = {shape["label"] for path in (out / "labelme").iterdir() for shape in read_json(path)["shapes"]}
    assert labels
    assert labels <= {"top", "hair"}
    remarks = [remark for path in (out / "records").iterdir() for remark in read_json(path)["remarks"]]
    assert not any(remark.startswith(("class 1: ", "class 2: ")) for remark in remarks)
    # what needs other probabilities is refused as before, and nothing changes
    before = (out / "records" / "b.json").read_bytes()
    assert main(words(place, "--names", "top,hair", "--no-screening", "--scores", **folder)) == 2
    assert "other supports or options" in capsys.readouterr().err
    assert (out / "records" / "b.json").read_bytes() == before


def test_a_fresh_call_that_was_interrupted_goes_on_under_its_own_options(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = {"query": "photos", "out": "out"}
    assert main(words(place, **folder)) == 0
    parse, done = Parser.parse, list[int]()

    def stops(self: Parser, photo: np.ndarray) -> PhotoParsing:
        done.append(1)
        if len(done) > 1:
            raise KeyboardInterrupt
        return parse(self, photo)

    with monkeypatch.context() as once:
        once.setattr(Parser, "parse", stops)
        assert main(words(place, "--no-mirror", "--fresh", **folder)) == 130
    capsys.readouterr()
    assert main(words(place, "--no-mirror", **folder)) == 0
    assert "1 photos parsed, 1 were done already" in capsys.readouterr().out


def test_of_several_supports_the_wrong_one_is_named(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "half.png").write_bytes(encode_png(person(1)[1][::2, ::2].copy()))
    assert main(words(place, "--support", place / "b.jpg", "--support-mask", place / "half.png")) == 2
    told = capsys.readouterr().err
    assert f"--support {place / 'b.jpg'}: the support mask is 48x48 pixels but the support photo is 96x96" in told


def test_a_parser_takes_names_in_both_forms(place: Path) -> None:
    network = load_network(checkpoint("photos"))
    photo, mask = person(0)
    query = person(1)[0]
    for names in (["top", "hair"], {1: "top", 2: "hair"}):
        assert Parser(network).support(photo, mask, names=names).parse(query).names == {1: "top", 2: "hair"}
    assert Parser(network).support(photo, mask, names={2: "hair"}).called == {1: "class 1", 2: "hair"}
    one = np.where(mask == 2, 2, 0).astype(np.uint8)
    assert Parser(network).support(photo, one, names="hair").called == {2: "hair"}
    with pytest.raises(UserError, match="1 name is given"):
        Parser(network).support(photo, mask, names=["top"])
    with pytest.raises(UserError, match="id 5 is named 'hat', but the support masks hold 2 classes"):
        Parser(network).support(photo, mask, names={5: "hat"}).parse(query)
    for wrong in ({1: "hair", 2: "hair"}, {1: "class 2"}):
        with pytest.raises(UserError, match="classes 1 and 2 are both named"):
            Parser(network).support(photo, mask, names=wrong).parse(query)
    # a name may come with the first support, its pixels with the second
    both = Parser(network).support(photo, one, names={1: "top", 2: "hair"}).support(photo, mask)
    assert both.called == {1: "top", 2: "hair"}


def test_sentences_about_a_class_use_its_name() -> None:
    photo, mask = (np.repeat(np.repeat(array, 6, 0), 6, 1) for array in person(0))
    mask[mask == 2] = 0
    mask[0, 0] = 2
    with pytest.raises(UserError, match=r"class 2 \(bag\) of the support mask is smaller than one feature cell"):
        Parser(load_network(checkpoint("photos"))).support(photo, mask, names=["top", "bag"])


def test_names_in_file_names_are_never_the_same() -> None:
    assert file_words({1: "my bag", 4: "skirt"}) == {1: "my-bag", 4: "skirt"}
    words = file_words({1: "my bag", 2: "my/bag", 3: "My-bag-2", 4: "skirt", 5: "é" * 60, 6: "é" * 59})
    assert len({word.casefold() for word in words.values()}) == len(words)
    assert all("/" not in word and len(word.encode()) < 120 for word in words.values())
    assert names_by_id(["a", "b"], {7, 3}) == {3: "a", 7: "b"}
