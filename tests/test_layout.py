"""The on-disk form: written whole, resumed, opened, verified."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from oshp_lite.data import DatasetWriter, OneShotDataset, finished_dataset, open_dataset
from oshp_lite.data.verify import verify
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, read_mask, write_mask
from oshp_lite.labels import IGNORE, label_space


def photo(number: int, size: tuple[int, int] = (20, 14)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (*size, 3)).astype(np.uint8)


def ids(number: int, size: tuple[int, int] = (20, 14)) -> np.ndarray:
    mask = np.random.default_rng(number).integers(0, label_space("atr").n_raw, size).astype(np.uint8)
    mask[0, 0] = IGNORE
    return mask


def write(root: Path, recipe: object = 1, until: int = 99, **changes: object) -> DatasetWriter:
    options = {"name": "toy", "space": "atr", "train_split": 4, "test_split": 3, "test_pairs": "spread"} | changes
    with DatasetWriter(root, recipe=recipe, **options) as writer:  # type: ignore[arg-type]
        for number in range(14):
            if number == until:
                raise KeyboardInterrupt
            writer.add("train" if number < 8 else "test", f"p-{number}", photo(number), ids(number))
    return writer


@pytest.fixture
def dataset(tmp_path: Path) -> OneShotDataset:
    write(tmp_path / "toy")
    return open_dataset(tmp_path / "toy")


def test_what_was_written_is_read(dataset: OneShotDataset) -> None:
    space = label_space("atr")
    assert dataset.name == "toy"
    assert dataset.space is space
    assert dataset.n_ids == space.n_ids
    assert dataset.stems("train") == tuple(f"p-{number}" for number in range(8))
    assert dataset.counts() == {"train": 8, "test": 6}
    assert (dataset.split("train"), dataset.split("test")) == (4, 3)
    for number, stem in enumerate([*dataset.stems("train"), *dataset.stems("test")]):
        sample, mirror = dataset.sample(stem), dataset.sample(stem, mirror=True)
        assert np.array_equal(sample.mask, ids(number))
        assert np.array_equal(sample.foreground, space.foreground(ids(number)))
        assert np.array_equal(mirror.image, sample.image[:, ::-1])
        assert np.array_equal(mirror.mask, space.mirror(ids(number)))
        assert np.array_equal(mirror.foreground, sample.foreground[:, ::-1])
        assert np.abs(sample.image.astype(int) - photo(number)).mean() < 60
    index = dataset.support_index("test")
    for class_id in space.foreground_classes:
        holds = [line for line in range(6) if class_id in space.merge(ids(8 + line))]
        assert [*index[class_id], *index[class_id + space.n_foreground]] == holds
        assert all(line < 3 for line in index[class_id])
    pairs = dataset.test_pairs()
    assert len(dataset.test_pairs(per_class=4)) == 4 * len({pair.class_id for pair in pairs})
    assert dataset.instances("p-0") is None
    with pytest.raises(UserError, match="unknown phase 'val'"):
        dataset.stems("val")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="unknown rule 'x'"):
        dataset.test_pairs("x")  # type: ignore[arg-type]


def test_a_dataset_travels_between_processes(dataset: OneShotDataset) -> None:
    there = pickle.loads(pickle.dumps(dataset))
    assert there.space is dataset.space
    assert there.stems("test") == dataset.stems("test")
    assert np.array_equal(there.mask("p-1"), dataset.mask("p-1"))


def test_optional_masks(tmp_path: Path) -> None:
    persons = np.ones((20, 14), np.uint8)
    coarse = np.zeros((20, 14), np.uint8)
    coarse[3:, :5] = 1
    with DatasetWriter(
        tmp_path / "toy", name="toy", space="ccp-os", train_split=1, test_split=1, test_pairs="spread", recipe=1
    ) as writer:
        for number in range(4):
            phase = "train" if number < 2 else "test"
            mask = np.full((20, 14), 3, np.uint8)
            writer.add(phase, f"{number}", encode_jpeg(photo(number)), mask, foreground=coarse, instances=persons)
    made = open_dataset(tmp_path / "toy")
    assert made.has_foreground
    sample = made.sample("1", mirror=True)
    assert np.array_equal(sample.foreground, coarse[:, ::-1])
    assert np.array_equal(made.instances("1"), persons)
    assert verify(tmp_path / "toy").ok
    write_mask(made.mask_path("1", "trainval_foreground"), coarse * 7)
    with pytest.raises(UserError, match="may hold only 0, 1 and 255"):
        made.sample("1")


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", until=9)
    assert os.listdir(tmp_path) == [".toy.partial"]
    with pytest.raises(UserError, match="does not exist"):
        open_dataset(tmp_path / "toy")


def test_an_interrupted_writer_goes_on(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", until=9)
    early = tmp_path / ".toy.partial" / "trainval_images" / "p-3.jpg"
    before = early.stat().st_mtime_ns
    write(tmp_path / "toy")
    assert os.listdir(tmp_path) == ["toy"]
    assert (tmp_path / "toy" / "trainval_images" / "p-3.jpg").stat().st_mtime_ns == before
    write(tmp_path / "straight")
    resumed, straight = open_dataset(tmp_path / "toy"), open_dataset(tmp_path / "straight")
    assert resumed.description == straight.description
    assert resumed.support_index("train") == straight.support_index("train")
    assert resumed.stems("test") == straight.stems("test")


def test_another_recipe_starts_afresh(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "toy", recipe=1, until=9)
    stray = tmp_path / ".toy.partial" / "trainval_images" / "p-3.jpg"
    before = stray.stat().st_mtime_ns
    write(tmp_path / "toy", recipe=2)
    assert (tmp_path / "toy" / "trainval_images" / "p-3.jpg").stat().st_mtime_ns != before


def test_a_finished_dataset_is_kept(tmp_path: Path) -> None:
    assert not write(tmp_path / "toy").done
    before = (tmp_path / "toy" / "dataset.json").stat().st_mtime_ns
    assert write(tmp_path / "toy").done
    assert (tmp_path / "toy" / "dataset.json").stat().st_mtime_ns == before
    assert finished_dataset(tmp_path / "toy", 1) is not None
    assert finished_dataset(tmp_path / "toy", 2) is None
    with pytest.raises(UserError, match="already holds something else"):
        write(tmp_path / "toy", recipe=2)
    assert not write(tmp_path / "toy", recipe=2, force=True).done
    assert os.listdir(tmp_path) == ["toy"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda writer: writer.add("train", "x", photo(1, (9, 9)), ids(1)), "must have the same size"),
        (lambda writer: writer.add("train", "x", photo(1), np.full((20, 14), 18, np.uint8)), "holds id 18"),
        (lambda writer: 1 / 0, "division"),
        (lambda writer: writer.add("train", "x" * 300, photo(1), ids(1)), "the name is too long"),
        (lambda writer: None, "at least one query and one support"),
    ],
)
def test_errors_leave_nothing(tmp_path: Path, fault: Callable[[DatasetWriter], None], message: str) -> None:
    with (
        pytest.raises((UserError, ZeroDivisionError), match=message),
        DatasetWriter(tmp_path / "a" / "toy", name="toy", space="atr", train_split=4, test_split=3, recipe=1) as writer,
    ):
        fault(writer)
    assert os.listdir(tmp_path / "a") == []


def test_force_removes_datasets_only(tmp_path: Path) -> None:
    """`force` replaces a dataset of ours; a stranger's folder it used to delete unasked stays as it is."""
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "thesis.txt").write_text("mine")
    (tmp_path / "toy" / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="already holds something else, no dataset; remove it or choose another place"):
        write(tmp_path / "toy", force=True)
    assert (tmp_path / "toy" / "thesis.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["toy"]
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty")
    (tmp_path / "empty" / "dataset.json").write_text("damaged")
    write(tmp_path / "empty", force=True)
    assert verify(tmp_path / "empty").ok


def test_a_long_place(tmp_path: Path) -> None:
    for name in ("x" * 300, "x" * 250):  # the second fits, the hidden folder beside it does not
        with pytest.raises(UserError, match="the name is too long"):
            write(tmp_path / name)
    assert os.listdir(tmp_path) == []


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    options = {"name": "toy", "space": "atr", "train_split": 4, "test_split": 3, "recipe": 1}
    writer = DatasetWriter(tmp_path / "toy", **options)  # type: ignore[arg-type]
    writer.__enter__()
    with pytest.raises(UserError, match="is being made by"):
        write(tmp_path / "toy")
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    write(tmp_path / "toy")


KILLED = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import test_layout
original = test_layout.photo
def slow(number, size=(20, 14)):
    time.sleep(0.05)
    return original(number, size)
test_layout.photo = slow
test_layout.write(Path(sys.argv[1]))
"""


def test_a_killed_writer_frees_its_place(tmp_path: Path) -> None:
    target, here = tmp_path / "toy", Path(__file__).parent
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(target), str(here)], cwd=here.parent)
    masks = tmp_path / ".toy.partial" / "trainval_classes"
    deadline = time.monotonic() + 60
    while not (masks.is_dir() and len(os.listdir(masks)) > 2) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not target.exists()
    write(target)
    assert verify(target).ok
    assert os.listdir(tmp_path) == ["toy"]


# ------------------------------------------------------------------------------------------------ opening


def change(root: Path, **changes: object) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda root: (root / "dataset.json").unlink(), "no tailored dataset"),
        (lambda root: (root / "dataset.json").write_text("{"), "not valid JSON"),
        (lambda root: (root / "dataset.json").write_text("{}"), "lacks .*fingerprint"),
        (lambda root: (root / "dataset.json").write_text("[]"), "lacks everything"),
        (lambda root: change(root, label_space="coco"), "unknown label space 'coco'"),
        (lambda root: change(root, counts={"train": 9, "test": 6}), "lists 8 train photos"),
        (lambda root: change(root, train_split=8), "8 train photos, of which 8 should be queries .train_split."),
        (lambda root: change(root, test_pairs="aaai"), "no dataset can have the rule aaai"),
        (lambda root: (root / "list" / "meta_test_id.txt").write_bytes(b"a\xff"), "meta_test_id.txt cannot be read"),
        (lambda root: change(root, test_pairs="x"), "unknown rule"),
        (lambda root: change(root, form=99), "form 99"),
        (lambda root: change(root, name=5), "name is 5, a value of the wrong type"),
        (lambda root: change(root, label_space=["atr"]), "label_space is .* wrong type"),
        (lambda root: change(root, counts=[8, 6]), "counts is .* wrong type"),
        (lambda root: change(root, counts={"train": None}), "counts None"),
        (lambda root: change(root, train_split="4"), "train_split is '4', a value of the wrong type"),
        (lambda root: change(root, test_split=True), "test_split is True, a value of the wrong type"),
        (lambda root: change(root, test_pairs=5), "unknown rule 5"),
        (lambda root: change(root, test_pairs={"rule": "spread", "queries": "x"}), "must be whole numbers above 0"),
        (lambda root: change(root, test_pairs={"rule": ["spread"]}), "unknown rule"),
        (lambda root: change(root, fingerprint=None), "fingerprint is None"),
        (lambda root: (root / "list" / "meta_test_id.txt").unlink(), "meta_test_id.txt does not exist"),
        (lambda root: (root / "list" / "meta_test_id.txt").write_text(""), "is empty"),
        (lambda root: (root / "list" / "meta_test_id.txt").write_text("a\na\n"), "names 'a' twice"),
        (lambda root: (root / "list" / "meta_test_id.txt").write_text("../a\n"), "no file stem"),
        (lambda root: (root / "list" / "meta_test_id.txt").write_text("p-1\n" * 1 + "\n".join("abcde")), "p-1"),
    ],
)
def test_what_cannot_be_opened(dataset: OneShotDataset, fault: Callable[[Path], None], message: str) -> None:
    fault(dataset.root)
    with pytest.raises(UserError, match=message) as caught:
        open_dataset(dataset.root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "dictionary of lists"),
        ('{"a": []}', "dictionary of lists"),
        ('{"1": 3}', "dictionary of lists"),
        ('{"1": [0]}', "keys 0 to 34"),
        (json.dumps({key: [6] for key in range(35)}), r"0\.\.5"),
        (json.dumps({key: ["x"] for key in range(35)}), r"0\.\.5"),
    ],
)
def test_support_files_that_cannot_be_used(dataset: OneShotDataset, content: str, message: str) -> None:
    (dataset.root / "support" / "meta_test_atr_supports.json").write_text(content)
    with pytest.raises(UserError, match=message):
        dataset.test_pairs()
    assert not verify(dataset.root).ok


def test_missing_pieces_when_reading(dataset: OneShotDataset) -> None:
    dataset.mask_path("p-1", "Category_rev_ids").unlink()
    assert np.array_equal(dataset.mirrored("p-1"), label_space("atr").mirror(ids(1)))
    (dataset.root / "support" / "meta_test_atr_supports.json").unlink()
    with pytest.raises(UserError, match=r"meta_test_atr_supports\.json does not exist"):
        dataset.test_pairs()
    dataset.image_path("p-1").unlink()
    with pytest.raises(UserError, match=r"p-1\.jpg does not exist"):
        dataset.sample("p-1")
    write_mask(dataset.mask_path("p-2"), ids(2, (5, 5)))
    with pytest.raises(UserError, match="is 5x5 but the photo is 14x20"):
        dataset.sample("p-2")
    write_mask(dataset.mask_path("p-3"), np.full((20, 14), 77, np.uint8))
    with pytest.raises(UserError, match=r"p-3\.png holds id 77"):
        dataset.sample("p-3")


# ------------------------------------------------------------------------------------------------ verify


def test_verify_is_content(dataset: OneShotDataset) -> None:
    report = verify(dataset.root)
    assert report.ok, report.problems
    assert "14 of 14" in report.table()
    assert dataset.fingerprint in report.table()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda d: d.image_path("p-1").unlink(), "1 files are missing in .*trainval_images"),
        (lambda d: cut(d.image_path("p-1")), r"p-1\.jpg is damaged or cut short"),
        (lambda d: (d.root / "trainval_images" / "odd.jpg").write_bytes(b"x"), "1 files no list names"),
        (lambda d: write_mask(d.mask_path("p-1"), ids(1, (5, 5))), "is 5x5 but the photo is 14x20"),
        (lambda d: write_mask(d.mask_path("p-1"), np.full((20, 14), 30, np.uint8)), "holds id 30"),
        (lambda d: write_mask(d.mask_path("p-1", "Category_rev_ids"), ids(1)), "is not its mask mirrored"),
        (lambda d: write_mask(d.mask_path("p-1"), np.zeros((20, 14), np.uint8)), "is not its mask mirrored"),
    ],
)
def test_verify_finds_faults(dataset: OneShotDataset, fault: Callable[[OneShotDataset], None], message: str) -> None:
    fault(dataset)
    report = verify(dataset.root)
    assert not report.ok
    assert "BAD" in report.table()
    assert any(re.search(message, problem) for problem in report.problems), report.problems


def test_verify_compares_index_and_masks(dataset: OneShotDataset) -> None:
    path = dataset.root / "support" / "meta_train_atr_supports.json"
    index = json.loads(path.read_text())
    index["1"] = []
    path.write_text(json.dumps(index))
    assert any("does not agree with the masks" in problem for problem in verify(dataset.root).problems)
    assert read_mask(dataset.mask_path("p-0")).dtype == np.uint8
