"""ATR, LIP and CIHP from made-up trees in their original layouts."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from raw_trees import (
    assert_refused,
    atr_tree,
    cihp_tree,
    everything,
    lip_tree,
    script,
    write_index,
    write_lists,
)

from oshp_lite.data import open_dataset
from oshp_lite.data.pairs import build_support_index
from oshp_lite.data.prepare.raw import ATR, CIHP, LIP, tailor
from oshp_lite.data.verify import verify
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png, read_json, read_mask, sha256_json
from oshp_lite.labels import label_space

ATR_TEST_PAIRS = "717c15b0668086e53384a450c2eb9812f41169683517739671bb39b2f8c86721"
SPLITS = {"train_split": 5, "test_split": 3}


def test_atr_with_official_lists_and_index(tmp_path: Path) -> None:
    train, test = atr_tree(tmp_path / "raw")
    train, test = sorted(train), sorted(test)[:-1]
    lists = tmp_path / "lists" / "ATR_OS"
    write_lists(lists, train, test)
    space = label_space("atr")
    folder = tmp_path / "raw" / "humanparsing"
    for phase, stems, split in (("train", train, 6), ("test", test, 2)):
        masks = [read_mask(folder / "SegmentationClassAug" / f"{stem}.png") for stem in stems]
        index = build_support_index([{*space.present(mask), 1} for mask in masks], split, space.n_foreground)
        write_index(lists / f"meta_{phase}_atr_supports.pkl", index)
    report = tailor(ATR, tmp_path / "raw", tmp_path / "ATR_OS", lists=tmp_path / "lists")
    made = open_dataset(tmp_path / "ATR_OS")
    assert report.fresh
    assert report.counts == {"train": 10, "test": 7}
    assert report.notes == ("1 photos are in no list and were left out",)
    assert made.stems("train") == tuple(train)
    assert made.stems("test") == tuple(test)
    assert (made.split("train"), made.split("test")) == (6, 2)
    assert made.support_index("test")[1] == [0, 1, 2]  # the authors' index is used, not a recount
    assert made.image_path(train[0]).is_symlink()
    assert made.mask_path(train[0], "Category_rev_ids").is_symlink()
    assert not tailor(ATR, tmp_path / "raw", tmp_path / "ATR_OS", lists=tmp_path / "lists").fresh


def test_atr_without_lists_or_mirrored_masks(tmp_path: Path) -> None:
    atr_tree(tmp_path / "raw", mirrored=False)
    report = tailor(ATR, tmp_path / "raw", tmp_path / "out", copy=True, train_split=5, test_split=1)
    assert report.notes[0] == "18 photos, while atr-os has 17706: the parts are not its own"
    assert "no official lists given" in report.notes[1]
    made = open_dataset(tmp_path / "out")
    assert report.counts == {"train": 15, "test": 3}
    assert not any(path.is_symlink() for path in made.root.rglob("*"))
    for stem in made.stems("train"):
        assert np.array_equal(made.mirrored(stem), made.space.mirror(made.mask(stem)))
    report = verify(made.root)
    assert [problem for problem in report.problems if "journal's test pairs" not in problem] == []


def test_lip_from_its_zips(tmp_path: Path) -> None:
    lip_tree(tmp_path / "raw")
    report = tailor(LIP, tmp_path / "raw", tmp_path / "out", train_split=5)
    made = open_dataset(tmp_path / "out")
    assert report.counts == {"train": 9, "test": 7}
    assert made.space.name == "lip"
    assert made.mask_path(made.stems("train")[0], "Category_rev_ids").is_symlink()
    assert not made.mask_path(made.stems("test")[0], "Category_rev_ids").is_symlink()
    assert "TrainVal_parsing_annotations/train_seg" in os.readlink(made.mask_path(made.stems("train")[0]))
    assert made.description["test_pairs"]["rule"] == "spread"  # too few photos for the journal's rule
    assert made.test_pairs()
    assert verify(made.root).ok, verify(made.root).problems


def test_cihp_brings_its_person_ids(tmp_path: Path) -> None:
    cihp_tree(tmp_path / "raw")
    report = tailor(CIHP, tmp_path / "raw", tmp_path / "out", train_split=5)
    made = open_dataset(tmp_path / "out")
    assert report.counts == {"train": 9, "test": 7}
    stem = made.stems("test")[1]
    persons = made.instances(stem)
    assert persons is not None
    assert np.array_equal(persons, (made.mask(stem) > 0).astype(np.uint8))
    assert verify(made.root).ok, verify(made.root).problems


def test_the_journal_rule_when_photos_suffice(tmp_path: Path) -> None:
    """A test part whose every photo holds every class: the smallest split with journal pairs is taken."""
    space = label_space("lip")
    mask = np.zeros((4, 20), np.uint8)
    mask[:, :] = np.arange(20)
    raw = tmp_path / "raw"
    for part, number in (("train", 4), ("val", 2100)):
        for folder in ("images", "segmentations"):
            (raw / f"{part}_{folder}").mkdir(parents=True)
        photo, ids = encode_jpeg(np.zeros((4, 20, 3), np.uint8)), encode_png(mask)
        for turn in range(number):
            (raw / f"{part}_images" / f"{part}{turn:05d}.jpg").write_bytes(photo)
            (raw / f"{part}_segmentations" / f"{part}{turn:05d}.png").write_bytes(ids)
    report = tailor(LIP, raw, tmp_path / "out", train_split=2)
    made = open_dataset(tmp_path / "out")
    assert made.split("test") == 200
    assert made.description["test_pairs"] == {"rule": "journal"}
    assert any("test split 200" in note for note in report.notes)
    pairs = made.test_pairs()
    assert len(pairs) == 1800
    assert list(dict.fromkeys(pair.class_id for pair in pairs)) == list(space.test_order)


def test_a_tree_arranged_as_the_readme_asks(tmp_path: Path) -> None:
    train, test = atr_tree(tmp_path / "raw")
    base, tree = tmp_path / "raw" / "humanparsing", tmp_path / "ATR_OS"
    for ours, theirs in (
        ("trainval_images", "JPEGImages"),
        ("trainval_classes", "SegmentationClassAug"),
        ("Category_rev_ids", "SegmentationClassAug_rev"),
    ):
        tree.mkdir(exist_ok=True)
        (tree / ours).symlink_to(base / theirs)
    write_lists(tree / "list", train, test)
    report = tailor(ATR, tree, tmp_path / "out", **SPLITS)
    assert report.counts == {"train": 10, "test": 8}
    assert [note for note in report.notes if "no official lists" in note] == []
    made = open_dataset(tmp_path / "out")
    assert made.stems("train") == tuple(train)


def test_link_and_copy_have_one_fingerprint(tmp_path: Path) -> None:
    atr_tree(tmp_path / "raw")
    for name, copy in (("linked", False), ("copied", True)):
        tailor(ATR, tmp_path / "raw", tmp_path / name, copy=copy, **SPLITS | {"test_split": 1})
    linked, copied = open_dataset(tmp_path / "linked"), open_dataset(tmp_path / "copied")
    assert linked.fingerprint == copied.fingerprint
    ours = {name: content for name, content in everything(linked.root).items() if name != "dataset.json"}
    theirs = {name: content for name, content in everything(copied.root).items() if name != "dataset.json"}
    assert ours == theirs


@pytest.mark.parametrize(
    ("layout", "missing", "words"),
    [
        (ATR, "JPEGImages", ["photos are missing", "JPEGImages", "download ATR"]),
        (ATR, "SegmentationClassAug", ["class masks are missing", "SegmentationClassAug"]),
        (LIP, "val_images", ["validation photos are missing", "TrainVal_images.zip"]),
        (LIP, "train_segmentations", ["training masks are missing", "TrainVal_parsing_annotations.zip"]),
        (CIHP, "Training/Images", ["training photos are missing", "instance-level_human_parsing.zip"]),
        (CIHP, "Validation/Category_ids", ["validation masks are missing"]),
    ],
)
def test_missing_pieces_are_named(tmp_path: Path, layout: object, missing: str, words: list[str]) -> None:
    maker = {id(ATR): atr_tree, id(LIP): lip_tree, id(CIHP): cihp_tree}[id(layout)]
    maker(tmp_path / "raw")
    place = next(path for path in (tmp_path / "raw").rglob(missing.split("/")[-1]) if str(path).endswith(missing))
    place.rename(place.with_name("elsewhere"))
    with pytest.raises(UserError) as caught:
        tailor(layout, tmp_path / "raw", tmp_path / "out", **SPLITS)  # type: ignore[arg-type]
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "out").exists()


def test_a_dropped_photo_does_not_shift_the_parts(tmp_path: Path) -> None:
    """Without lists the parts are cut by number; a mask without its photo tells that one is gone."""
    lip_tree(tmp_path / "raw")
    min((tmp_path / "raw").rglob("train_images/*.jpg")).unlink()
    with pytest.raises(UserError, match="1 photos with a mask are missing, 100_7000 among them; download LIP"):
        tailor(LIP, tmp_path / "raw", tmp_path / "out", **SPLITS)
    assert not (tmp_path / "out").exists()


def test_packed_zips_are_pointed_out(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "TrainVal_images.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"unpack TrainVal_images\.zip there, or download"):
        tailor(LIP, tmp_path / "raw", tmp_path / "out")
    with pytest.raises(UserError, match="does not exist; give --root"):
        tailor(LIP, tmp_path / "none", tmp_path / "out")


def test_a_listed_photo_that_is_missing(tmp_path: Path) -> None:
    train, test = atr_tree(tmp_path / "raw")
    write_lists(tmp_path / "lists", [*train, "997-1", "997-2"], test)
    with pytest.raises(UserError, match="2 photos of the lists are missing, 997-1 among them; download ATR"):
        tailor(ATR, tmp_path / "raw", tmp_path / "out", lists=tmp_path / "lists", **SPLITS)
    with pytest.raises(UserError, match=r"no meta_train_id\.txt and meta_test_id\.txt"):
        tailor(ATR, tmp_path / "raw", tmp_path / "out", lists=tmp_path / "raw", **SPLITS)


# ------------------------------------------------------------------------------------------------ scripts


def test_official_pairs_by_script(official_lists: Path, tmp_path: Path) -> None:
    result = script("atr", "pairs", "--lists", official_lists, "--out", tmp_path / "pairs.json")
    assert result.returncode == 0, result.stderr
    assert ATR_TEST_PAIRS in result.stdout
    assert "1650 pairs" in result.stdout
    assert sha256_json(read_json(tmp_path / "pairs.json")) == ATR_TEST_PAIRS
    assert hashlib.sha256((tmp_path / "pairs.json").read_bytes()).hexdigest() == ATR_TEST_PAIRS
    inside = script("atr", "pairs", "--lists", official_lists / "ATR_OS")
    assert inside.stdout.splitlines()[-1] == f"SHA-256 {ATR_TEST_PAIRS}"
    assert_refused(script("lip", "pairs", "--lists", official_lists), "no meta_test_lip_supports.pkl", "download")
    assert_refused(script("atr", "pairs"), "--lists DIR or --data DIR")


@pytest.mark.parametrize("name", ["atr", "lip", "cihp", "ccp"])
def test_help(name: str) -> None:
    result = script(name, "--help")
    assert result.returncode == 0
    assert "--root" in result.stdout
    assert "verify" in result.stdout
    for command in ("verify", "pairs"):
        assert f"{name}.py {command}" in script(name, command, "--help").stdout


def test_scripts_tailor_and_verify(tmp_path: Path) -> None:
    cihp_tree(tmp_path / "raw")
    words = ("--root", tmp_path / "raw", "--out", tmp_path / "made" / "CIHP_OS", "--train-split", 4)
    first = script("cihp", *words)
    assert first.returncode == 0, first.stderr
    assert "9 training and 7 test photos (made)" in first.stdout
    assert "100%" in first.stderr
    before = everything(tmp_path / "made")
    again = script("cihp", *words)
    assert "already there" in again.stdout
    assert everything(tmp_path / "made") == before
    looked = script("cihp", "verify", tmp_path / "made" / "CIHP_OS")
    assert looked.returncode == 0, looked.stderr
    assert "16 of 16" in looked.stdout
    pairs = script("cihp", "pairs", "--data", tmp_path / "made" / "CIHP_OS")
    assert "SHA-256" in pairs.stdout
    assert_refused(script("cihp", *words, "--copy"), "already holds something else", "--force")
    assert script("cihp", *words, "--copy", "--force").returncode == 0
    cut = tmp_path / "made" / "CIHP_OS" / "trainval_images" / "0000003.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    assert_refused(script("cihp", "verify", tmp_path / "made" / "CIHP_OS"), "0000003.jpg", "cut short")
