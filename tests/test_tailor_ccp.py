"""CCP-OS: from a clone (small and made up, or the real one) to 12 classes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from raw_trees import ROOT, assert_refused, ccp_tree, everything, script

from oshp_lite.data import open_dataset
from oshp_lite.data.pairs import pairs_hash
from oshp_lite.data.prepare.ccp import (
    CcpPlan,
    clone,
    foreground_box,
    read_annotation,
    shrink,
    standard_plan,
    tailor,
)
from oshp_lite.data.registry import dataset_spec
from oshp_lite.data.verify import verify
from oshp_lite.errors import UserError
from oshp_lite.labels import CCP_TAGS, label_space

pytest.importorskip("scipy", reason="CCP's .mat files need scipy")


def plan(
    train: int = 6, photos: int = 12, left_out: tuple[int, ...] = (4,), queries: tuple[int, int] = (3, 2)
) -> CcpPlan:
    """A plan of a tiny clone: the first usable photos are for training."""
    names = [f"{number:04d}" for number in range(photos) if number not in left_out]
    gone = tuple(f"{number:04d}" for number in left_out)
    return CcpPlan(tuple(names[:train]), tuple(names[train:]), gone, *queries)


PLAN = plan()


@pytest.fixture
def clone_folder(tmp_path: Path) -> Path:
    ccp_tree(tmp_path / "clone")
    return tmp_path / "clone"


def test_tailoring_a_small_clone(clone_folder: Path, tmp_path: Path) -> None:
    report = tailor(clone_folder, tmp_path / "out", plan=PLAN)
    assert report.notes == ("left out: 0004 (its annotation has no foreground)",)
    made = open_dataset(tmp_path / "out")
    assert made.stems("train") == ("0000", "0001", "0002", "0003", "0005", "0006")
    assert made.counts() == {"train": 6, "test": 5}
    assert (made.split("train"), made.split("test")) == (3, 2)
    assert sorted(path.stem for path in made.root.rglob("*.jpg")) == sorted([*made.stems("train"), *made.stems("test")])
    space = label_space("ccp")
    for stem in made.stems("train"):
        tags = read_annotation(clone_folder / "annotations" / "pixel-level" / f"{stem}.mat")[6:54, 8:32]
        sample = made.sample(stem)
        assert np.array_equal(sample.mask, space.merge(tags))
        assert np.array_equal(sample.foreground, (tags > 0).astype(np.uint8))
        assert sample.mask.max() < made.n_ids
        photo = np.asarray(Image.open(clone_folder / "photos" / f"{stem}.jpg"))[6:54, 8:32]
        assert np.abs(photo.astype(int) - sample.image).mean() < 40
    assert verify(made.root).ok, verify(made.root).problems
    assert not tailor(clone_folder, tmp_path / "out", plan=PLAN).fresh


def test_more_annotations_than_listed_do_not_shift_the_split(tmp_path: Path) -> None:
    ccp_tree(tmp_path / "clone", photos=14)
    report = tailor(tmp_path / "clone", tmp_path / "out", plan=PLAN)
    assert report.notes[-1] == "2 annotations are in no list and were left out, 0012 among them"
    assert report.counts == {"train": 6, "test": 5}


def test_the_committed_split() -> None:
    """Every number from 1 to 1004, the first 700 that have a foreground for training."""
    committed = standard_plan()
    assert (len(committed.train), len(committed.test), committed.left_out) == (700, 303, ("0536",))
    everything = [*committed.train, *committed.test, *committed.left_out]
    assert sorted(everything) == [f"{number:04d}" for number in range(1, 1005)]
    assert committed.train[-1] < committed.test[0]
    assert dataset_spec("ccp-os").photos == (len(committed.train), len(committed.test))


def test_boxes_grow_by_a_tenth_inside_the_photo() -> None:
    tags = np.zeros((100, 60), np.uint8)
    assert foreground_box(tags, 0.1) is None
    tags[20:70, 50:60] = 3
    assert foreground_box(tags, 0.1) == (15, 75, 49, 60)
    tags[:] = 3
    assert foreground_box(tags, 0.1) == (0, 100, 0, 60)


@given(height=st.integers(1, 90), width=st.integers(1, 90), side=st.integers(1, 60))
def test_shrinking(height: int, width: int, side: int) -> None:
    mask = np.arange(height * width, dtype=np.int64).reshape(height, width).astype(np.uint8)
    small = shrink(mask, side)
    assert max(small.shape) <= max(side, 1)
    assert set(np.unique(small)) <= set(np.unique(mask))
    assert shrink(np.repeat(mask[..., None], 3, 2), side).shape[:2] == small.shape
    if max(height, width) <= side:
        assert np.array_equal(small, mask)
    assert shrink(mask, None) is mask


def test_max_side(clone_folder: Path, tmp_path: Path) -> None:
    tailor(clone_folder, tmp_path / "out", plan=PLAN, max_side=32)
    made = open_dataset(tmp_path / "out")
    for stem in made.stems("test"):
        assert max(made.sample(stem).mask.shape) == 32
    assert made.description["max_side"] == 32
    tailor(clone_folder, tmp_path / "full", plan=PLAN)
    assert made.fingerprint != open_dataset(tmp_path / "full").fingerprint
    with pytest.raises(UserError, match="--max-side 8 is too small"):
        tailor(clone_folder, tmp_path / "tiny", plan=PLAN, max_side=8)


def test_faults_of_a_clone(clone_folder: Path, tmp_path: Path) -> None:
    from scipy.io import savemat

    annotation = clone_folder / "annotations" / "pixel-level" / "0007.mat"
    photo = clone_folder / "photos" / "0007.jpg"
    good = {path: path.read_bytes() for path in (annotation, photo)}

    def refused(words: str) -> None:
        with pytest.raises(UserError, match=words):
            tailor(clone_folder, tmp_path / "made" / "out", plan=PLAN)
        made = tmp_path / "made"
        assert not made.exists() or os.listdir(made) == []
        for path, content in good.items():
            path.write_bytes(content)

    annotation.write_bytes(good[annotation][:100])
    refused(r"0007\.mat is damaged")
    savemat(annotation, {"other": np.zeros((60, 40), np.uint8)})
    refused("no variable 'groundtruth'")
    savemat(annotation, {"groundtruth": np.full((60, 40), len(CCP_TAGS), np.uint8)})
    refused(r"tag outside 0\.\.58")
    savemat(annotation, {"groundtruth": np.zeros((60, 40, 3), np.uint8)})
    refused("no map of tags")
    savemat(annotation, {"groundtruth": np.ones((50, 40), np.uint8)})
    refused("is 40x50 but the photo is 40x60")
    photo.unlink()
    refused(r"1 of the 12 \.jpg files of CCP's list are missing in .*photos, 0007\.jpg among them; git clone")
    annotation.unlink()
    refused(r"1 of the 12 \.mat files of CCP's list are missing in .*pixel-level, 0007\.mat among them; git clone")
    savemat(annotation, {"groundtruth": np.zeros((60, 40), np.uint8)})
    refused(r"0007\.mat has no foreground, though CCP's has")
    photo.write_bytes(good[photo][: len(good[photo]) // 2])
    refused(r"0007\.jpg is damaged or cut short")


def test_what_is_no_clone(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no clone of CCP"):
        tailor(tmp_path, tmp_path / "out")
    ccp_tree(tmp_path / "clone", photos=3)
    assert_refused(
        script("ccp", "--root", tmp_path / "clone", "--out", tmp_path / "out"),
        "1002 of the 1004 .mat files",
        "0003.mat",
        "git clone",
    )
    assert not (tmp_path / "out").exists()


def test_scipy_may_be_missing(clone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "scipy":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "scipy", None)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(UserError, match=r"needs scipy.*pip install scipy"):
        tailor(clone_folder, tmp_path / "out", plan=PLAN)
    assert not (tmp_path / "out").exists()


FAKE_GIT = """#!/bin/sh
for last; do :; done
if [ "$FAKE_GIT" = fail ]; then
  mkdir -p "$last"; echo "fatal: unable to access: Could not resolve host" >&2; exit 128
fi
cp -r "$FAKE_GIT" "$last"
"""


def test_cloning(clone_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    git = tmp_path / "bin" / "git"
    git.write_text(FAKE_GIT)
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_GIT", "fail")
    with pytest.raises(UserError, match=r"cannot clone CCP \(fatal: .*resolve host\); git clone .* and give --root"):
        clone(tmp_path / "fetched" / "ccp")
    assert os.listdir(tmp_path / "fetched") == []
    monkeypatch.setenv("FAKE_GIT", str(clone_folder))
    assert clone(tmp_path / "fetched" / "ccp") == tmp_path / "fetched" / "ccp"
    assert everything(tmp_path / "fetched" / "ccp") == everything(clone_folder)
    monkeypatch.setenv("FAKE_GIT", "fail")
    clone(tmp_path / "fetched" / "ccp")  # kept, not fetched again
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed"):
        clone(tmp_path / "other")


def test_interrupted_and_resumed(tmp_path: Path) -> None:
    """Killed half-way, the same call ends with the very dataset of an undisturbed one."""
    ccp_tree(tmp_path / "clone", photos=40, empty=(2, 30), size=(300, 200))
    program = (
        "import sys; from oshp_lite.data.prepare.ccp import *; "
        "names = sys.argv[3].split(); "
        "tailor(sys.argv[1], sys.argv[2], plan=CcpPlan(tuple(names[:20]), tuple(names[20:]), ('0002', '0030'), 9, 5))"
    )
    whole = plan(20, 40, (2, 30), (9, 5))
    names = " ".join([*whole.train, *whole.test])
    words = [sys.executable, "-c", program, str(tmp_path / "clone"), str(tmp_path / "out"), names]
    process = subprocess.Popen(words, cwd=ROOT)
    masks = tmp_path / ".out.partial" / "trainval_classes"
    deadline = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < deadline:
        if masks.is_dir() and len(os.listdir(masks)) > 4:
            break
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = tailor(tmp_path / "clone", tmp_path / "out", plan=whole)
    assert [note[:14] for note in report.notes] == ["left out: 0002", "left out: 0030"]
    tailor(tmp_path / "clone", tmp_path / "straight", plan=whole)
    assert everything(tmp_path / "out") == everything(tmp_path / "straight")


# ------------------------------------------------------------------------------------------------ the real one


@pytest.mark.slow
def test_the_real_ccp(ccp_root: Path, tmp_path: Path) -> None:
    result = script("ccp", "--root", ccp_root, "--out", tmp_path / "CCP_OS", "--max-side", 400)
    assert result.returncode == 0, result.stderr
    assert "left out: 0536 (its annotation has no foreground)" in result.stdout
    assert "700 training and 303 test photos" in result.stdout
    made = open_dataset(tmp_path / "CCP_OS")
    assert len(list(made.root.rglob("*.jpg"))) == 1003
    assert sum(path.stat().st_size for path in made.root.rglob("*") if path.is_file()) < 40e6
    index, size = made.support_index("test"), made.space.n_foreground
    counts = {
        name: (len(index[made.space.id_of(name)]), len(index[made.space.id_of(name) + size]))
        for name in ("skirt", "hat", "legwear")
    }
    assert counts == {"skirt": (11, 27), "hat": (16, 28), "legwear": (12, 29)}
    pairs = made.test_pairs()
    assert len(pairs) == 550
    assert pairs_hash(pairs) == "f285c35a500bc7e0f7a55e890ae6b74afdebb206e58aa99f107be2d2c2a28c52"
    assert made.fingerprint == "74a8e9a21c4dda04929c2d66a85cd5f75ec51f3d69815f1e1d635245d11a1f29"
    order = [made.space.class_name(class_id) for class_id in dict.fromkeys(pair.class_id for pair in pairs)]
    assert order[:3] == ["skirt", "legwear", "hat"]
    assert script("ccp", "verify", made.root).returncode == 0
