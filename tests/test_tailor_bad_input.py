"""What bad input gets: one clear sentence, exit code 2, nothing half-written. The scripts are run as users run them."""

from __future__ import annotations

import os
import pickle
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from raw_trees import Fault, assert_refused, atr_tree, script, write_lists

STEM = "dataset10k_3"


def photo(root: Path) -> Path:
    return root / "humanparsing" / "JPEGImages" / f"{STEM}.jpg"


def mask(root: Path) -> Path:
    return root / "humanparsing" / "SegmentationClassAug" / f"{STEM}.png"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def shorten(path: Path) -> None:
    """Take the last lines of a photo away; its header stays whole."""
    path.write_bytes(path.read_bytes()[:-40])


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    train, test = atr_tree(tmp_path / "raw")
    write_lists(tmp_path / "lists", train, test)
    return tmp_path / "raw"


def tailor(
    raw: Path, *words: object, limit: int | None = None, out: Path | None = None
) -> subprocess.CompletedProcess[str]:
    place = out or raw.parent / "made" / "ATR_OS"
    lists = raw.parent / "lists"
    return script(
        *("atr", "--root", raw, "--out", place, "--lists", lists, "--train-split", 5, "--test-split", 3, *words),
        limit=limit,
    )


def nothing_made(raw: Path) -> bool:
    made = raw.parent / "made"
    return not made.exists() or os.listdir(made) == []


def test_the_tree_is_fine_without_faults(raw: Path) -> None:
    assert tailor(raw).returncode == 0
    assert os.listdir(raw.parent / "made") == ["ATR_OS"]


FAULTS: dict[str, tuple[Fault, list[str]]] = {
    "missing image": (lambda raw: photo(raw).unlink(), [STEM, "missing", "download ATR"]),
    "missing mask": (lambda raw: mask(raw).unlink(), [STEM, "class masks", "missing"]),
    "unreadable image": (lambda raw: photo(raw).write_text("no picture"), [f"{STEM}.jpg", "not a picture"]),
    "truncated image": (lambda raw: shorten(photo(raw)), [f"{STEM}.jpg", "cut short"]),
    "unreadable mask": (lambda raw: mask(raw).write_bytes(b"\x89PNG\r\n\x1a\n junk"), [f"{STEM}.png"]),
    "truncated mask": (lambda raw: cut(mask(raw)), [f"{STEM}.png", "cut short"]),
    "size mismatch": (
        lambda raw: Image.new("L", (5, 7)).save(mask(raw)),
        [f"{STEM}.jpg", "is 5x7 but the photo is 16x22"],
    ),
    "RGB mask": (lambda raw: Image.new("RGB", (16, 22)).save(mask(raw)), [f"{STEM}.png", "colour mode RGB"]),
    "foreign id": (
        lambda raw: Image.fromarray(np.full((22, 16), 40, np.uint8)).save(mask(raw)),
        [f"{STEM}.png", "id 40", "label space atr"],
    ),
    "list with a slash": (
        lambda raw: (raw.parent / "lists" / "meta_test_id.txt").write_text("../../etc/passwd\n"),
        ["meta_test_id.txt", "no file stem"],
    ),
    "empty list": (lambda raw: (raw.parent / "lists" / "meta_test_id.txt").write_text(""), ["is empty"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_of_the_raw_data(raw: Path, fault: str) -> None:
    spoil, words = FAULTS[fault]
    spoil(raw)
    assert_refused(tailor(raw), *words)
    assert nothing_made(raw)


def test_a_truncated_jpeg_is_found_by_verify(raw: Path) -> None:
    """Cut when the dataset was made already."""
    assert tailor(raw, "--copy").returncode == 0
    cut(raw.parent / "made" / "ATR_OS" / "trainval_images" / f"{STEM}.jpg")
    result = script("atr", "verify", raw.parent / "made" / "ATR_OS")
    assert_refused(result, f"{STEM}.jpg", "cut short")
    assert "BAD" in result.stdout


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


def test_a_pickle_with_code(raw: Path) -> None:
    path = raw.parent / "lists" / "meta_test_atr_supports.pkl"
    path.write_bytes(pickle.dumps({1: Bomb()}))
    for result in (tailor(raw), script("atr", "pairs", "--lists", raw.parent / "lists")):
        assert_refused(result, "meta_test_atr_supports.pkl", "system", "only dicts, lists and numbers")
    assert nothing_made(raw)
    assert not Path("exploded").exists()
    path.write_bytes(pickle.dumps({1: [2]}))
    assert_refused(tailor(raw), "keys 0 to 34")


@pytest.mark.parametrize("words", [(), ("--copy",)])
def test_a_full_disk(raw: Path, words: tuple[str, ...]) -> None:
    assert_refused(tailor(raw, *words, limit=300), "file-size limit")
    assert nothing_made(raw)


def test_an_output_beneath_a_file(raw: Path) -> None:
    file = raw.parent / "file"
    file.write_text("x")
    assert_refused(tailor(raw, out=file / "ATR_OS"), str(file), "is a file")
    assert_refused(tailor(raw, out=file), str(file), "a file of that name")
    assert file.read_text() == "x"
    assert_refused(
        script("atr", "pairs", "--data", file / "x", "--out", file / "pairs.json"), "does not exist", "data_scripts"
    )


def test_an_output_that_is_taken(raw: Path) -> None:
    taken = raw.parent / "made" / "ATR_OS"
    taken.mkdir(parents=True)
    (taken / "letter.txt").write_text("mine")
    assert_refused(tailor(raw), "already holds something else")
    assert (taken / "letter.txt").read_text() == "mine"


def test_splits_that_leave_nothing(raw: Path) -> None:
    assert_refused(tailor(raw, "--train-split", 10), "at least one query and one support")
    assert nothing_made(raw)


def test_folders_that_do_not_exist(tmp_path: Path) -> None:
    assert_refused(script("lip", "--root", tmp_path / "none", "--out", tmp_path / "o"), "none does not exist", "--root")
    assert_refused(script("lip", "verify", tmp_path / "none"), "does not exist")
    assert_refused(script("ccp", "verify", tmp_path), "no tailored dataset")
    assert os.listdir(tmp_path) == []


def test_wrong_words_on_the_command_line(tmp_path: Path) -> None:
    result = script("atr", "--root", tmp_path, "--out", tmp_path / "o", "--train-split", 0)
    assert result.returncode == 2
    assert "at least 1" in result.stderr
    assert script("atr").returncode == 2
