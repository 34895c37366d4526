"""PASCAL-Person-Part from made-up trees in the layouts that people have."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_trees import assert_refused, save, script

from oshp_lite.data import open_dataset
from oshp_lite.data.verify import verify
from oshp_lite.labels import label_space

TRAIN, VAL = [f"2008_{number:06d}" for number in range(10)], [f"2010_{number:06d}" for number in range(6)]
ARCHIVE, VOC = "pascal_person_part/pascal_person_part", "VOCdevkit/VOC2012"
LAYOUTS = {
    "archives": ("VOCdevkit/VOC2010/JPEGImages", f"{ARCHIVE}_gt", f"{ARCHIVE}_trainval_list"),
    "graphonomy": ("pascal/JPEGImages", "pascal/SegmentationPart", "pascal/list"),
    "voc": (f"{VOC}/JPEGImages", f"{VOC}/SegmentationPersonPart", f"{VOC}/ImageSets/SegmentationPersonPart"),
}


def tree(root: Path, layout: str) -> tuple[Path, Path, Path]:
    images, masks, lists = (root / folder for folder in LAYOUTS[layout])
    for number, stem in enumerate([*TRAIN, *VAL]):
        save(number, label_space("pascal"), images / f"{stem}.jpg", masks / f"{stem}.png")
    (images / "2007_000027.jpg").write_bytes((images / f"{TRAIN[0]}.jpg").read_bytes())  # a photo without people
    lists.mkdir(parents=True)
    (lists / "train_id.txt").write_text("\n".join(TRAIN) + "\n")
    (lists / "val_id.txt").write_text("\n".join(VAL) + "\n")
    return images, masks, lists


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_dataset(layout: str, tmp_path: Path) -> None:
    tree(tmp_path / "raw", layout)
    done = script("prepare", "pascal", "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    made = open_dataset(tmp_path / "out")
    assert made.instances(TRAIN[0]) is None
    assert (made.name, made.space.name) == ("pascal-parts", "pascal")
    assert made.stems("train") == tuple(TRAIN)
    assert made.stems("test") == tuple(VAL)
    assert made.image_path(TRAIN[0]).is_symlink()
    assert set(np.unique(made.mask(TRAIN[0]))) <= {*range(7), 255}
    assert verify(made.root).ok, verify(made.root).problems


def test_person_ids_are_taken_where_they_are(tmp_path: Path) -> None:
    _, masks, _ = tree(tmp_path / "raw", "graphonomy")
    persons = masks.with_name("Human_ids")
    persons.mkdir()
    for path in masks.glob("*.png"):
        Image.fromarray((np.array(Image.open(path)) % 3).astype(np.uint8)).save(persons / path.name)
    done = script("prepare", "pascal", "--root", tmp_path / "raw", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    made = open_dataset(tmp_path / "out")
    for stem in (TRAIN[0], VAL[0]):
        np.testing.assert_array_equal(made.instances(stem), made.mask(stem) % 3)


def test_missing_pieces_are_named(tmp_path: Path) -> None:
    _, masks, lists = tree(tmp_path / "raw", "archives")
    out = ("--out", tmp_path / "out")
    masks.rename(tmp_path / "elsewhere")
    refused = script("prepare", "pascal", "--root", tmp_path / "raw", *out)
    assert_refused(refused, "the class masks are missing", "pascal_person_part_gt", "liangchiehchen.com")
    (tmp_path / "elsewhere").rename(masks)
    (lists / "val_id.txt").unlink()
    refused = script("prepare", "pascal", "--root", tmp_path / "raw", "--lists", lists, *out)
    assert_refused(refused, "no train_id.txt and val_id.txt", "liangchiehchen.com")
    assert not (tmp_path / "out").exists()
