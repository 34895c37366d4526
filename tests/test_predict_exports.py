"""Exports that other programs read: COCO's RLE against pycocotools, labelme shapes, cut-outs, and masks read back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png
from oshp_lite.predict.exports import (
    coco,
    cutout,
    from_run_lengths,
    json_bytes,
    labelme,
    pack,
    read_photo,
    read_support_mask,
    run_lengths,
    soft_mask,
    unpack,
)

sizes = st.tuples(st.integers(1, 30), st.integers(1, 30))
NAMES = {1: "scarf", 7: "my bag"}


@settings(max_examples=150, deadline=None)
@given(mask=arrays(bool, sizes))
def test_run_lengths_are_pycocotools_own(mask: np.ndarray) -> None:
    tools = pytest.importorskip("pycocotools.mask")
    theirs = tools.encode(np.asfortranarray(mask.astype(np.uint8)))
    text = pack(run_lengths(mask))
    assert text == theirs["counts"].decode("ascii")
    assert unpack(text) == run_lengths(mask)
    assert np.array_equal(tools.decode({"size": list(mask.shape), "counts": text}).astype(bool), mask)
    assert np.array_equal(from_run_lengths(unpack(text), mask.shape), mask)


@settings(max_examples=100, deadline=None)
@given(lengths=st.lists(st.integers(0, 10**7), max_size=20))
def test_any_lengths_survive_the_text(lengths: list[int]) -> None:
    assert unpack(pack(lengths)) == lengths


def two_classes() -> np.ndarray:
    mask = np.zeros((40, 30), np.uint8)
    mask[5:20, 3:25] = 1
    mask[8:12, 8:12] = 0  # a hole
    mask[25:38, 10:14] = 7
    return mask


def test_coco_and_labelme_give_the_same_mask_back(tmp_path: Path) -> None:
    mask = two_classes()
    content = {"coco": coco([("a.jpg", mask, {1: 0.5})], NAMES), "labelme": labelme("a.jpg", mask, NAMES)}
    for kind, value in content.items():
        path = tmp_path / f"{kind}.json"
        path.write_bytes(json_bytes(value))
        back, names = read_support_mask(path, Path("x/a.jpg"), mask.shape)
        ids = {name: index for index, name in names.items()}
        assert set(ids) == {"scarf", "my bag"}
        for index, name in NAMES.items():
            assert np.array_equal(back == ids[name], mask == index), (kind, name)


def test_pycocotools_reads_the_whole_file(tmp_path: Path) -> None:
    api = pytest.importorskip("pycocotools.coco")
    path, mask = tmp_path / "coco.json", two_classes()
    path.write_bytes(json_bytes(coco([("a.jpg", mask, {}), ("b.jpg", np.roll(mask, 2, 1), {7: 0.25})], NAMES)))
    read = api.COCO(str(path))
    assert read.getImgIds() == [1, 2]
    for one in read.loadAnns(read.getAnnIds(imgIds=[1])):
        own = mask == one["category_id"]
        assert np.array_equal(read.annToMask(one).astype(bool), own)
        assert one["area"] == own.sum()
        left, top, wide, high = one["bbox"]
        assert own[top : top + high, left : left + wide].sum() == own.sum()


def test_polygons_of_both_are_filled(tmp_path: Path) -> None:
    points = [[4, 3], [20, 3], [20, 30], [4, 30]]
    shapes = [
        {"label": "p", "shape_type": "polygon", "points": points},
        {"label": "r", "shape_type": "rectangle", "points": [[22, 5], [28, 9]]},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 40, "imageWidth": 30}))
    mask, names = read_support_mask(path, Path("a.jpg"), (40, 30))
    assert names == {1: "p", 2: "r"}
    assert (mask[4:30, 5:20] == 1).all()
    assert (mask[6:9, 23:28] == 2).all()
    assert not mask[32:].any()
    region = {"id": 1, "image_id": 3, "category_id": 9, "segmentation": [[4, 3, 20, 3, 20, 30, 4, 30]]}
    image, category = {"id": 3, "file_name": "a.jpg"}, {"id": 9, "name": "p"}
    path.write_text(json.dumps({"images": [image], "annotations": [region], "categories": [category]}))
    other, names = read_support_mask(path, Path("a.jpg"), (40, 30))
    assert names == {9: "p"}
    assert np.array_equal(other == 9, mask == 1)


def test_equal_names_of_two_files_share_an_id(tmp_path: Path) -> None:
    mask = two_classes()
    path = tmp_path / "b.json"
    path.write_bytes(json_bytes(labelme("b.jpg", mask, {1: "my bag", 7: "hat"})))
    moved, names = read_support_mask(path, Path("b.jpg"), mask.shape, known={1: "scarf", 2: "my bag"})
    assert {name: index for index, name in names.items()}["my bag"] == 2
    assert "scarf" not in names.values()
    assert np.array_equal(moved == 2, mask == 1)
    assert len(set(names) | {1}) == 3, "a new name takes a free id"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"something": 1}, "neither COCO nor labelme"),
        ({"shapes": [], "imageHeight": 3, "imageWidth": 3}, "is for a photo of 3x3"),
        ({"shapes": [{}], "imageHeight": 40, "imageWidth": 30}, "not a usable COCO or labelme"),
        (
            {"shapes": [{"label": "a", "shape_type": "circle", "points": []}], "imageHeight": 40, "imageWidth": 30},
            "shape of type 'circle'",
        ),
        ({"images": [], "annotations": [], "categories": []}, "holds no image named a.jpg"),
        ([1, 2], "neither COCO nor labelme"),
    ],
)
def test_a_wrong_json_is_one_sentence(content: object, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=expected):
        read_support_mask(path, Path("a.jpg"), (40, 30))


def test_cutouts_and_soft_masks() -> None:
    photo = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    own = two_classes() == 1
    with Image.open(io.BytesIO(cutout(photo, own))) as made:
        assert made.mode == "RGBA"
        layers = np.array(made)
    assert np.array_equal(layers[..., :3], photo)
    assert np.array_equal(layers[..., 3], own * 255)
    chances = np.linspace(0, 1, 1200, dtype=np.float32).reshape(40, 30)
    with Image.open(io.BytesIO(soft_mask(chances))) as made:
        assert np.abs(np.array(made) / 255 - chances).max() <= 0.5 / 255 + 1e-6


def test_see_through_parts_of_a_photo_lie_on_white(tmp_path: Path) -> None:
    layers = np.full((20, 20, 4), (200, 0, 0, 255), np.uint8)
    layers[:10, :, 3] = 0
    Image.fromarray(layers).save(tmp_path / "a.png")
    photo = read_photo(tmp_path / "a.png")
    assert (photo[:10] == 255).all()
    assert (photo[10:] == (200, 0, 0)).all()
    (tmp_path / "b.jpg").write_bytes(encode_jpeg(photo))
    assert read_photo(tmp_path / "b.jpg").shape == (20, 20, 3)
    (tmp_path / "c.png").write_bytes(encode_png(photo[..., 0]))
    assert read_photo(tmp_path / "c.png").shape == (20, 20, 3)


def test_a_cut_out_that_the_camera_turned_stands_upright_on_white(tmp_path: Path) -> None:
    cut_out = np.zeros((20, 30, 4), np.uint8)
    cut_out[:, :10] = [200, 0, 0, 255]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise by 90 degrees
    Image.fromarray(cut_out).save(tmp_path / "a.png", exif=exif)
    photo = read_photo(tmp_path / "a.png")
    assert photo.shape == (30, 20, 3)
    assert (photo[:10] == [200, 0, 0]).all()
    assert (photo[10:] == 255).all()
