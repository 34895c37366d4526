"""`oshp-lite parse` on a folder: resumable, awkward photos listed, exports, page and contact sheet."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oshp_lite.cli import main
from oshp_lite.data.synthetic import scene
from oshp_lite.files import encode_jpeg, encode_png, read_image, read_mask
from oshp_lite.labels import label_space


@pytest.fixture(scope="module")
def people() -> list[tuple[np.ndarray, np.ndarray]]:
    """Photo and mask (1 upper-clothes or dress, 2 hair) of drawn people."""
    space, made = label_space("atr"), []
    for index in range(4):
        drawn = scene("synth-atr", 5, index, 96)
        raw = drawn.mask("atr")
        mask = np.isin(raw, [space.id_of("upper-clothes"), space.id_of("dress")]).astype(np.uint8)
        mask[raw == space.id_of("hair")] = 2
        made.append((drawn.image.copy(), mask))
    return made


@pytest.fixture
def place(tmp_path: Path, people: list[tuple[np.ndarray, np.ndarray]]) -> Path:
    """a.png with its mask m.png, and a folder `photos` of two photos."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "a.png").write_bytes(encode_png(people[0][0]))
    (tmp_path / "m.png").write_bytes(encode_png(people[0][1]))
    for number, (photo, _) in enumerate(people[1:3]):
        (tmp_path / "photos" / f"p{number}.jpg").write_bytes(encode_jpeg(photo))
    return tmp_path


def run(place: Path, *more: object, query: str = "photos", out: str = "out") -> int:
    words = ["parse", "--support", place / "a.png", "--support-mask", place / "m.png"]
    own = [] if {"--weights", "--method"} & set(more) else ["--method", "eopnet"]  # these photos are of drawn people
    words += ["--query", place / query, "--out", place / out, "--quiet", *own, *more]
    return main([str(word) for word in words])


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_folder_is_parsed_once_and_resumed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = place / "out"
    assert run(place, "--export", "cutout,labelme,coco,soft", "--scores") == 0
    assert "2 photos parsed" in capsys.readouterr().out
    for name in ("p0", "p1"):
        mask = read_mask(out / "masks" / f"{name}.png")
        assert mask.shape == read_image(place / "photos" / f"{name}.jpg").shape[:2]
        with np.load(out / "scores" / f"{name}.npz") as stored:
            assert stored["scores"].shape == (2, *mask.shape)
            assert stored["ids"].tolist() == [1, 2]
        shapes = json.loads((out / "labelme" / f"{name}.json").read_text())["shapes"]
        assert len(shapes) == len(set(np.unique(mask)) - {0})
        for index in set(np.unique(mask)) - {0}:
            with Image.open(out / "cutouts" / f"{name}_class-{index}.png") as cut:
                assert np.array_equal(np.array(cut)[..., 3] > 0, mask == index)
            assert (out / "softs" / f"{name}_class-{index}.png").is_file()
    made = json.loads((out / "coco.json").read_text())
    assert [image["file_name"] for image in made["images"]] == ["p0.jpg", "p1.jpg"]
    before = snapshot(out)
    (place / "photos" / "p2.jpg").write_bytes((place / "photos" / "p0.jpg").read_bytes())
    assert run(place, "--export", "cutout,labelme,coco,soft", "--scores") == 0
    assert "1 photos parsed, 2 were done already" in capsys.readouterr().out
    after = snapshot(out)
    kept = [name for name in before if "/p0" in name or "/p1" in name]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}, "not written again"
    assert (out / "masks" / "p2.png").is_file()


def test_other_supports_or_options_need_another_folder(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place) == 0
    before = snapshot(place / "out")
    assert run(place, "--no-mirror") == 2
    assert "results of other supports or options" in capsys.readouterr().err
    assert snapshot(place / "out") == before
    assert run(place, "--no-mirror", "--fresh") == 0


def test_a_changed_photo_is_parsed_again(
    place: Path, people: list[tuple[np.ndarray, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place) == 0
    (place / "photos" / "p0.jpg").write_bytes(encode_jpeg(people[3][0], 90))
    assert run(place) == 0
    assert "1 photos parsed, 1 were done already" in capsys.readouterr().out


def test_the_page_starts_with_the_least_certain_photo_and_needs_nothing_else(place: Path) -> None:
    (place / "photos" / "odd <name>.png").write_bytes((place / "a.png").read_bytes())
    assert run(place) == 0
    page = (place / "out" / "index.html").read_text(encoding="utf-8")
    records = [json.loads(path.read_text()) for path in (place / "out" / "records").iterdir()]
    order = sorted(records, key=lambda record: min(record["confidence"].values()))
    places = [page.index(f"<b>{record['photo'].replace('<', '&lt;').replace('>', '&gt;')}</b>") for record in order]
    assert places == sorted(places)
    assert "http" not in page.replace("http-equiv", "")
    assert "$" not in page
    with Image.open(place / "out" / "contact.png") as sheet:
        assert sheet.width > 240


def bomb(photo: bytes, side: int = 60_000) -> bytes:
    """A PNG whose header claims side x side pixels."""
    content = bytearray(photo)
    content[16:24] = struct.pack(">II", side, side)
    content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
    return bytes(content)


def awkward(folder: Path, photo: np.ndarray) -> dict[str, str]:
    """Write the twelve photos; returns what is said of each that gives no parse ("" for those that do)."""
    folder.mkdir(exist_ok=True)
    image = Image.fromarray(photo)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    image.crop((0, 0, 96, 80)).save(folder / "rotated.jpg", exif=exif)
    image.resize((1, 1)).save(folder / "one-pixel.png")
    image.resize((5472, 3648)).save(folder / "twenty-megapixels.jpg", quality=60)
    image.convert("CMYK").save(folder / "cmyk.jpg")
    grey = np.array(image.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "sixteen-bit.png")
    image.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    image.save(folder / "animated.gif", save_all=True, append_images=[image.rotate(90)])
    whole = encode_jpeg(photo)
    (folder / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero-bytes.jpg").write_bytes(b"")
    (folder / "bomb.png").write_bytes(bomb(encode_png(photo)))
    layers = image.convert("RGBA")
    layers.putalpha(200)
    layers.save(folder / "alpha.png")
    (folder / "wrong-ending.png").write_bytes(whole)
    return {
        "rotated.jpg": "",
        "one-pixel.png": "give a larger one",
        "twenty-megapixels.jpg": "",
        "cmyk.jpg": "",
        "sixteen-bit.png": "",
        "palette.png": "",
        "animated.gif": "give a JPEG or PNG file",
        "truncated.jpg": "damaged or cut short",
        "zero-bytes.jpg": "give a JPEG or PNG file",
        "bomb.png": "too large to be opened safely",
        "alpha.png": "",
        "wrong-ending.png": "",
    }


def test_twelve_awkward_photos_in_a_folder(
    place: Path, people: list[tuple[np.ndarray, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each gives a parse or one clear sentence; the bad ones are listed at the end, and the exit code says so."""
    said = awkward(place / "awkward", people[1][0])
    (place / "awkward" / "notes.txt").write_text("no picture")
    assert run(place, query="awkward") == 1
    printed = capsys.readouterr().out
    listed = dict(line.strip().split(": ", 1) for line in printed.partition("not parsed, 5:")[2].strip().splitlines())
    assert "1 files that are not pictures were left alone" in printed
    for name, expected in said.items():
        assert (name in listed) == bool(expected), name
        assert expected in listed.get(name, ""), name
        stem = Path(name).stem
        assert (place / "out" / "masks" / f"{stem}.png").is_file() != bool(expected)
    assert read_mask(place / "out" / "masks" / "rotated.png").shape == (96, 80), "turned upright"
    assert read_mask(place / "out" / "masks" / "twenty-megapixels.png").shape == (3648, 5472)
    page = (place / "out" / "index.html").read_text(encoding="utf-8")
    assert "Not parsed" in page
    assert "zero-bytes.jpg" in page
    assert run(place, query="awkward") == 1, "the bad ones are tried and listed again"
    assert "0 photos parsed, 7 were done already" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["one-pixel.png", "animated.gif", "truncated.jpg", "zero-bytes.jpg", "bomb.png"])
def test_an_awkward_photo_alone_is_one_sentence(
    name: str, place: Path, people: list[tuple[np.ndarray, np.ndarray]], capsys: pytest.CaptureFixture[str]
) -> None:
    expected = awkward(place / "awkward", people[1][0][:, :64])[name]
    assert run(place, query=f"awkward/{name}", out="out.png") == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert len(told.err.strip().splitlines()) == 1
    assert not list(place.glob("out*"))


def test_several_supports_and_their_labelme_masks(place: Path, people: list[tuple[np.ndarray, np.ndarray]]) -> None:
    from oshp_lite.predict.exports import json_bytes, labelme

    (photo, mask), names = people[3], {1: "top", 2: "hair"}
    (place / "b.png").write_bytes(encode_png(photo))
    (place / "b.json").write_bytes(json_bytes(labelme("b.png", mask, names)))
    (place / "m.json").write_bytes(json_bytes(labelme("a.png", people[0][1], names)))
    words = ["parse", "--support", place / "a.png", "--support-mask", place / "m.json", "--support", place / "b.png"]
    words += ["--support-mask", place / "b.json", "--query", place / "photos" / "p0.jpg", "--out", place / "o.png"]
    words += ["--export", "coco", "--export", "labelme", "--scores"]
    assert main([str(word) for word in words]) == 0
    assert read_mask(place / "o.png").shape == (96, 96)
    assert [one["name"] for one in json.loads((place / "o_coco.json").read_text())["categories"]] == ["top", "hair"]
    assert (place / "o_labelme.json").is_file()
    assert (place / "o_scores.npz").is_file()


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--support", "x.png"], "one mask per support"),
        (["--export", "psd"], "--export psd: there are"),
        (["--method", "panet"], "has to be trained"),
        (["--method", "persam"], "SAM weights"),
        (["--method", "nothing"], "unknown method"),
    ],
)
def test_options_that_do_not_fit(
    more: list[str], expected: str, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oshp_lite.models.baselines.persam.where_weights", lambda given: None)
    assert run(place, *more) == 2
    assert expected in capsys.readouterr().err
    assert not (place / "out").exists()


def test_a_folder_of_results_is_no_place_for_a_single_picture(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, out="x.png") == 2
    assert "is a folder, so --out must name a folder" in capsys.readouterr().err
    assert run(place, out="photos") == 2
    assert "choose another" in capsys.readouterr().err
    (place / "empty").mkdir()
    assert run(place, query="empty") == 2
    assert "holds no photo" in capsys.readouterr().err
