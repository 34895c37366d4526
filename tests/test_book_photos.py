"""The street photos of the book: few, small, credited, faces hidden, and made by the committed script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from oshp_lite.assets import photos
from oshp_lite.data.prepare.ccp import MARGIN, foreground_box, read_annotation, shrink
from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_mask
from oshp_lite.labels import fold, label_space
from oshp_lite.study.photos import parts

ROOT = Path(__file__).parents[1]


def test_there_are_few_of_them_and_they_are_small() -> None:
    assert 1 <= len(photos.names()) <= 12
    for name in photos.names():
        image, mask = photos.photo(name), photos.mask(name)
        assert image.shape[:2] == mask.shape
        assert max(image.shape) <= 384
        assert set(np.unique(mask)) <= set(label_space("ccp-os").classes)


def test_every_class_of_both_folds_can_be_shown_as_a_pair() -> None:
    shown = [set(np.unique(photos.mask(name))) for name in photos.names()]
    for number in (1, 2):
        for novel in fold("ccp-os", number).novel:
            assert sum(novel in ids for ids in shown) >= 2


def test_source_and_licence_are_named() -> None:
    credits = (photos.FOLDER / "CREDITS").read_text(encoding="utf-8")
    for word in ("clothing-co-parsing", "Apache-2.0", "CVPR 2014", "pixelated"):
        assert word in credits


def test_an_unknown_name_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no photo '0001'; it has 0702"):
        photos.photo("0001")


def test_some_are_in_no_training_of_the_checkpoint_for_street_photos() -> None:
    assert set(photos.unseen()) == set(photos.names()) & set(parts()["test"])
    assert len(photos.unseen()) >= 5


def test_the_script_makes_them_and_hides_faces(ccp_root: Path, tmp_path: Path) -> None:
    script = ROOT / "data_scripts" / "book_photos.py"
    command = [sys.executable, script, "--root", ccp_root, "--out", tmp_path]
    subprocess.run(command, check=True, capture_output=True)
    for name in photos.names():
        np.testing.assert_array_equal(read_mask(tmp_path / f"{name}.png"), photos.mask(name))
        np.testing.assert_allclose(read_image(tmp_path / f"{name}.jpg").astype(int), photos.photo(name), atol=3)
        original = read_image(ccp_root / "photos" / f"{name}.jpg")
        tags = read_annotation(ccp_root / "annotations" / "pixel-level" / f"{name}.mat")
        top, bottom, left, right = foreground_box(tags, MARGIN)
        cut, shown = shrink(original[top:bottom, left:right], 384).astype(int), photos.photo(name).astype(int)
        changed = np.abs(cut - shown).max(2) > 40
        assert changed[100:].mean() < 0.01  # the head alone, and what JPEG does to strong colours
        skin = shrink(tags[top:bottom, left:right], 384) == label_space("ccp").names.index("skin")
        assert changed[:80][skin[:80]].mean() > 0.1


def test_a_clone_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    script = ROOT / "data_scripts" / "book_photos.py"
    done = subprocess.run([sys.executable, script, "--root", tmp_path], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path) in done.stderr
