"""Tiny made-up trees in the layouts people really have: ATR's folders, LIP's and CIHP's unpacked zips, a CCP clone."""

from __future__ import annotations

import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from oshp_lite.labels import LabelSpace, label_space

ROOT = Path(__file__).resolve().parents[1]
SIZE = (22, 16)


def draw(number: int, space: LabelSpace) -> tuple[np.ndarray, np.ndarray]:
    """A photo uint8 [22,16,3] and raw ids uint8 [22,16] with a few blocks of random classes."""
    rng = np.random.default_rng(number)
    mask = np.zeros(SIZE, np.uint8)
    for row in range(2, 20, 3):
        mask[row : row + 3, 3:9] = rng.integers(0, space.n_raw)
        mask[row : row + 3, 9:13] = rng.integers(0, space.n_raw)
    return rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), mask


def save(number: int, space: LabelSpace, photo: Path, mask: Path) -> np.ndarray:
    """Write one photo and its mask; returns the mask."""
    image, ids = draw(number, space)
    photo.parent.mkdir(parents=True, exist_ok=True)
    mask.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(photo)
    Image.fromarray(ids).save(mask)
    return ids


def atr_tree(root: Path, train: int = 10, test: int = 8, mirrored: bool = True) -> tuple[list[str], list[str]]:
    """humanparsing/{JPEGImages,SegmentationClassAug[,SegmentationClassAug_rev]}; returns train and test stems."""
    space, base = label_space("atr"), root / "humanparsing"
    stems = [f"dataset10k_{number}" for number in range(train)] + [f"2500_{number}" for number in range(test)]
    for number, stem in enumerate(stems):
        ids = save(number, space, base / f"JPEGImages/{stem}.jpg", base / f"SegmentationClassAug/{stem}.png")
        if mirrored:
            (base / "SegmentationClassAug_rev").mkdir(exist_ok=True)
            Image.fromarray(space.mirror(ids)).save(base / f"SegmentationClassAug_rev/{stem}.png")
    return stems[:train], stems[train:]


def write_lists(folder: Path, train: Sequence[str], test: Sequence[str]) -> None:
    """The official list files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "meta_train_id.txt").write_text("\n".join(train) + "\n")
    (folder / "meta_test_id.txt").write_text("\n".join(test) + "\n")


def write_index(path: Path, index: object) -> None:
    """A support index as the authors pickled theirs (protocol 4)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(index, protocol=4))


def lip_tree(root: Path, train: int = 9, test: int = 7) -> None:
    """What TrainVal_images.zip, TrainVal_parsing_annotations.zip and the reversed labels' zip unpack to."""
    space = label_space("lip")
    images = root / "TrainVal_images" / "TrainVal_images"
    masks = root / "TrainVal_parsing_annotations" / "TrainVal_parsing_annotations"
    reversed_masks = root / "Train_parsing_reversed_labels" / "TrainVal_parsing_annotations"
    reversed_masks.mkdir(parents=True)
    for number in range(train + test):
        part = "train" if number < train else "val"
        stem = f"{100 + number}_{7000 + number}"
        ids = save(number, space, images / f"{part}_images/{stem}.jpg", masks / f"{part}_segmentations/{stem}.png")
        if part == "train":
            Image.fromarray(space.mirror(ids)).save(reversed_masks / f"{stem}.png")


def cihp_tree(root: Path, train: int = 9, test: int = 7) -> None:
    """What instance-level_human_parsing.zip unpacks to."""
    space, base = label_space("cihp"), root / "instance-level_human_parsing"
    for number in range(train + test):
        part = base / ("Training" if number < train else "Validation")
        stem = f"{number:07d}"
        ids = save(number, space, part / f"Images/{stem}.jpg", part / f"Category_ids/{stem}.png")
        (part / "Human_ids").mkdir(exist_ok=True)
        Image.fromarray((ids > 0).astype(np.uint8)).save(part / f"Human_ids/{stem}.png")


def ccp_tree(root: Path, photos: int = 12, empty: Sequence[int] = (4,), size: tuple[int, int] = (60, 40)) -> None:
    """A small clone of CCP; the photos numbered in `empty` have no foreground. Needs scipy."""
    from scipy.io import savemat

    (root / "photos").mkdir(parents=True)
    (root / "annotations" / "pixel-level").mkdir(parents=True)
    space = label_space("ccp")
    for number in range(photos):
        rng = np.random.default_rng(number)
        tags = np.zeros(size, np.uint8)
        if number not in empty:
            for row in range(10, 50, 8):
                tags[row : row + 8, 10:30] = rng.integers(1, space.n_raw)
        image = rng.integers(0, 256, (*size, 3)).astype(np.uint8)
        Image.fromarray(image).save(root / "photos" / f"{number:04d}.jpg")
        savemat(root / "annotations" / "pixel-level" / f"{number:04d}.mat", {"groundtruth": tags})


def script(
    name: str, *words: object, limit: int | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run data_scripts/NAME.py as a user does; `limit` is a file-size limit in bytes."""

    def restrict() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, str(ROOT / "data_scripts" / f"{name}.py"), *map(str, words)],
        preexec_fn=restrict,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **(env or {})},
    )


def assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 2 and exactly one clear sentence on stderr."""
    errors = [line for line in result.stderr.replace("\r", "\n").splitlines() if line.startswith("error:")]
    assert result.returncode == 2, (result.returncode, result.stderr)
    assert len(errors) == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0], errors[0]


def everything(root: Path) -> dict[str, bytes]:
    """Every file beneath a folder with its content (links followed)."""
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


Fault = Callable[[Path], object]
