"""Reading pictures and pickles, writing whole or not at all."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import warnings
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oshp_lite.errors import UserError
from oshp_lite.files import (
    encode_jpeg,
    encode_png,
    make_folder,
    picture_size,
    publish_folder,
    read_image,
    read_json,
    read_mask,
    read_plain_pickle,
    sha256_json,
    write_atomic,
    write_json_atomic,
    write_mask,
)
from oshp_lite.labels import label_space


@pytest.fixture
def photo() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (24, 18, 3)).astype(np.uint8)


def test_images_are_rgb(tmp_path: Path, photo: np.ndarray) -> None:
    (tmp_path / "a.png").write_bytes(encode_png(photo))
    assert np.array_equal(read_image(tmp_path / "a.png"), photo)
    Image.fromarray(photo[..., 0]).save(tmp_path / "grey.png")
    assert read_image(tmp_path / "grey.png").shape == (24, 18, 3)
    (tmp_path / "a.jpg").write_bytes(encode_jpeg(photo))
    assert read_image(tmp_path / "a.jpg").shape == (24, 18, 3)
    assert picture_size(tmp_path / "a.jpg") == (24, 18)


def test_sixteen_bits_of_grey_are_scaled(tmp_path: Path) -> None:
    """The same picture in 8 and in 16 bits gives the same numbers; it used to be clipped to white."""
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    (tmp_path / "8.png").write_bytes(encode_png(grey))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "16.png")
    assert np.array_equal(read_image(tmp_path / "16.png"), read_image(tmp_path / "8.png"))
    assert np.array_equal(read_image(tmp_path / "16.png", upright=True), read_image(tmp_path / "8.png"))


@pytest.mark.parametrize("format", ["EPS", "GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO", "PDF"])
def test_only_jpeg_and_png_are_opened(tmp_path: Path, photo: np.ndarray, format: str) -> None:
    """Pillow hands an EPS to Ghostscript, so its content would choose the program; a name does not make a format."""
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path, format=format)
    for reader in (read_image, read_mask, picture_size):
        with pytest.raises(UserError, match="is not a picture that can be read; give a JPEG or PNG file"):
            reader(path)


def test_nothing_else_in_the_package_opens_pictures() -> None:
    import oshp_lite

    root = Path(oshp_lite.__file__).parent
    opening = [
        f"{path.relative_to(root)}:{number}"
        for path in sorted(root.rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if "Image.open(" in line and "formats=" not in line
    ]
    assert opening == []


def header(width: int, height: int) -> bytes:
    """A PNG that promises a size and holds nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    content = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_giant_header_gets_a_sentence_and_no_warning(tmp_path: Path, side: int) -> None:
    (tmp_path / "a.png").write_bytes(header(side, side))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserError, match=rf"too large to be opened safely \({side}x{side} pixels\)"):
            read_image(tmp_path / "a.png")


def test_upright_follows_the_camera(tmp_path: Path, photo: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(photo).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (24, 18, 3)
    assert read_image(tmp_path / "a.jpg", upright=True).shape == (18, 24, 3)


def test_masks_are_ids_with_or_without_palette(tmp_path: Path) -> None:
    mask = np.array([[0, 1, 17], [255, 9, 4]], np.uint8)
    write_mask(tmp_path / "plain.png", mask)
    write_mask(tmp_path / "indexed.png", mask, label_space("atr").palette)
    for name, mode in (("plain.png", "L"), ("indexed.png", "P")):
        assert np.array_equal(read_mask(tmp_path / name), mask)
        with Image.open(tmp_path / name) as picture:
            assert picture.mode == mode


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "I;16", "1"])
def test_other_modes_are_no_masks(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "mask.png"
    Image.new(mode, (4, 4)).save(path)
    with pytest.raises(UserError, match=rf"{path} has colour mode .* class ids is expected"):
        read_mask(path)


def test_pictures_that_cannot_be_read(tmp_path: Path, photo: np.ndarray) -> None:
    jpeg, png = encode_jpeg(photo), encode_png(photo[..., 0])
    (tmp_path / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "cut.png").write_bytes(png[: len(png) // 2])
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name, words in [
        ("none.jpg", "does not exist"),
        ("cut.jpg", "cut short"),
        ("text.jpg", "not a picture"),
        ("empty.jpg", "not a picture"),
        ("", "folder"),
        ("text.jpg/a.jpg", "does not exist"),
    ]:
        with pytest.raises(UserError, match=words) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="cut short"):
        read_mask(tmp_path / "cut.png")
    with pytest.raises(UserError, match="does not exist"):
        read_mask(tmp_path / "none.png")


@settings(max_examples=60, deadline=None)
@given(where=st.floats(0, 1), value=st.integers(0, 255), cut=st.floats(0, 1))
def test_damaged_pictures_never_escape_as_other_errors(
    tmp_path_factory: pytest.TempPathFactory, where: float, value: int, cut: float
) -> None:
    content = bytearray(encode_png(np.arange(256, dtype=np.uint8).reshape(16, 16)))
    content[int(where * (len(content) - 1))] = value
    path = tmp_path_factory.mktemp("damaged") / "mask.png"
    path.write_bytes(content[: int(cut * len(content))])
    try:
        shape = read_mask(path).shape
    except UserError as error:
        shape = (str(error).count("\n"), 0)
    assert len(shape) == 2
    assert shape[0] == 0 or shape[1] > 0


def test_json(tmp_path: Path) -> None:
    write_json_atomic(tmp_path / "deep" / "a.json", {"b": [1, 2], "ä": None})
    assert read_json(tmp_path / "deep" / "a.json") == {"b": [1, 2], "ä": None}
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")


def test_sha256_json_ignores_key_order_only() -> None:
    assert sha256_json({"a": 1, "b": [2]}) == sha256_json({"b": [2], "a": 1})
    assert sha256_json([1, 2]) != sha256_json([2, 1])
    assert sha256_json([]) == "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"


# ------------------------------------------------------------------------------------------------ pickles


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_pickles_are_read(tmp_path: Path, protocol: int) -> None:
    content = {0: [], 1: [0, 3, 70000], 2: [1.5, -4, 2**70], 3: {4: [True]}}
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(content, protocol))
    assert read_plain_pickle(tmp_path / "a.pkl") == content


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_code_in_a_pickle_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({1: [Bomb()]}, protocol))
    with pytest.raises(UserError, match=r"a\.pkl asks for \w+\.system, but only dicts, lists and numbers"):
        read_plain_pickle(tmp_path / "a.pkl")
    assert os.listdir(tmp_path) == ["a.pkl"]


@pytest.mark.parametrize(
    "value", [OrderedDict(a=1), np.int64(3), np.zeros(2), {1: (2, 3)}, {1: {2, 3}}, ["text"], [b"bytes"], [None], 1j]
)
def test_other_things_in_a_pickle_are_refused(tmp_path: Path, value: object) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(UserError, match="only dicts, lists and numbers"):
        read_plain_pickle(tmp_path / "a.pkl")


def test_broken_and_endless_pickles(tmp_path: Path) -> None:
    (tmp_path / "cut.pkl").write_bytes(pickle.dumps({1: [2, 3]})[:-4])
    (tmp_path / "text.pkl").write_text("hello")
    (tmp_path / "empty.pkl").write_bytes(b"")
    for name in ("cut.pkl", "text.pkl", "empty.pkl"):
        with pytest.raises(UserError, match="damaged or cut short"):
            read_plain_pickle(tmp_path / name)
    loop: list[object] = []
    loop.append(loop)
    (tmp_path / "loop.pkl").write_bytes(pickle.dumps(loop))
    assert read_plain_pickle(tmp_path / "loop.pkl")


# ------------------------------------------------------------------------------------------------ writing


def test_written_files_have_ordinary_permissions(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"1")
    (tmp_path / "b").write_bytes(b"1")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


def test_the_umask_is_never_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It belongs to the whole process: a second thread would create its files while it is changed."""
    monkeypatch.setattr(os, "umask", lambda mask: pytest.fail("umask was set"))
    write_atomic(tmp_path / "a", b"1")


@pytest.mark.parametrize("name", ["x" * 255, "ä" * 127, "x" * 300, "ä" * 200])
def test_long_names(tmp_path: Path, name: str) -> None:
    """Names up to the disk's 255 bytes are written; longer ones get a sentence, when written and when read."""
    if len(name.encode()) <= 255:
        write_atomic(tmp_path / name, b"1")
        assert (tmp_path / name).read_bytes() == b"1"
        return
    with pytest.raises(UserError, match="the name is too long"):
        write_atomic(tmp_path / name, b"1")
    with pytest.raises(UserError, match=r"cannot be opened|does not exist"):
        read_image(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_a_path_beneath_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="part of its path is a file"):
        write_atomic(tmp_path / "file" / "a.json", b"1")
    with pytest.raises(UserError, match="part of its path is a file"):
        make_folder(tmp_path / "file" / "folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="folder of that name"):
        write_atomic(tmp_path / "folder", b"1")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_failing_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        write_atomic(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


LIMITED = """
import sys
from pathlib import Path
from oshp_lite.errors import UserError
from oshp_lite.files import write_together
try:
    write_together({Path(sys.argv[1]) / "small": b"x", Path(sys.argv[1]) / "large": b"x" * 100_000})
except UserError as error:
    print(error)
    sys.exit(2)
"""


def test_a_file_size_limit_leaves_nothing(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2, result.stderr
    assert "file-size limit" in result.stdout
    assert os.listdir(tmp_path) == []


def test_publishing_a_folder(tmp_path: Path) -> None:
    target, real = tmp_path / "folder", tmp_path / "real"
    for number in range(3):
        finished = tmp_path / "finished"
        finished.mkdir()
        (finished / str(number)).write_text("1")
        publish_folder(finished, target)
        assert os.listdir(target) == [str(number)]
        assert os.listdir(tmp_path) == ["folder"]
    target.rename(real)
    target.symlink_to(real)
    finished.mkdir()
    publish_folder(finished, target)
    assert not target.is_symlink()
    assert os.listdir(real) == ["2"], "only the link is replaced"
    (tmp_path / "file").write_text("x")
    finished.mkdir()
    for place in (tmp_path / "file", tmp_path / "file" / "deep"):
        with pytest.raises(UserError, match="part of its path is a file"):
            publish_folder(finished, place)
    with pytest.raises(UserError, match="cannot write"):
        publish_folder(tmp_path / "none", target)
    assert target.is_dir(), "what was there is back"


def test_encode_png_round_trip() -> None:
    mask = np.arange(256, dtype=np.uint8).reshape(16, 16)
    with Image.open(io.BytesIO(encode_png(mask, label_space("lip").palette))) as picture:
        assert np.array_equal(np.array(picture), mask)
