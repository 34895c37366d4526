"""Public result formats: written, read back and scored end to end; one sentence for whatever is wrong with them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from oshp_lite.cli import main
from oshp_lite.data.people import PartMap, PeopleResult, PeopleTruth, check_boxes, cut_out, mask_boxes
from oshp_lite.engine.instance_files import MOST, ResultFolder, one_part_map, open_truth, write_result, write_truth
from oshp_lite.engine.instance_metrics import PeopleMeter, PeopleScores
from oshp_lite.engine.instance_plain import made_up_photos
from oshp_lite.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = made_up_photos(2, 64, copies=2)
Tree = tuple[Path, Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    for name, (truth, result) in PHOTOS.items():
        write_truth(tmp_path / "truth", name, truth)
        write_result(tmp_path / "said", name, truth.size, result)
    return tmp_path / "truth", tmp_path / "said"


def command(*words: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "oshp_lite", "score-instances", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=ROOT)


def scored(truth: Path, results: Path, n: int = 20) -> PeopleScores:
    photos, said, meter = open_truth(truth, n), ResultFolder(results, n), PeopleMeter(n)
    said.check(photos)
    for name in photos.names:
        true = photos.read(name)
        meter.add(name, true, said.read(name, true.size))
    return meter.scores()


def in_memory() -> PeopleScores:
    meter = PeopleMeter(20)
    for name, (truth, result) in PHOTOS.items():
        assert result.parts is not None
        merged = PeopleResult(result.classes, result.people, (one_part_map(result.parts, truth.size),))
        meter.add(name, truth, merged)
    return meter.scores()


# ---------------------------------------------------------------------------------------------- what is right


def test_command_scores_files_as_memory(tree: Tree, tmp_path: Path) -> None:
    done = command("--truth", tree[0], "--results", tree[1], "--json", tmp_path / "scores.json")
    assert done.returncode == 0, done.stderr
    assert "2 photos with" in done.stdout
    read, own = json.loads((tmp_path / "scores.json").read_text()), in_memory()
    for name in ("ap_p", "pcp", "ap_r", "ap_r_pgn", "iou"):
        np.testing.assert_allclose(np.array(read[name], float), getattr(own, name))
    assert read["ap_p_vol"] == pytest.approx(own.volume("ap_p"))
    assert f"{100 * own.at('ap_p', 0.5):.2f}" in done.stdout


def test_truths_of_part_ids_and_of_person_ids_are_the_same(tree: Tree, tmp_path: Path) -> None:
    """Where a part's class is background in no pixel, CIHP's two layouts say the same."""
    (tmp_path / "parts").symlink_to(tree[0])
    other = tmp_path / "other"
    other.mkdir()
    (other / "Instance_ids").symlink_to(tree[0] / "Instance_ids")
    for name in open_truth(tree[0], 20).names:
        maps, parts = open_truth(tree[0], 20).read(name), open_truth(other, 20).read(name)
        np.testing.assert_array_equal(maps.parts(20)[:, 1:], parts.parts(20)[:, 1:])


def test_output_of_pgn_alone_has_ap_r_alone(tree: Tree) -> None:
    scores, own = scored(tree[0], tree[1] / "Instance_ids"), in_memory()
    assert scores.ap_r == own.ap_r
    assert np.isnan(scores.ap_p).all()
    assert np.isnan(scores.miou)


def test_submission_of_mhp(tmp_path: Path) -> None:
    """Classes, person ids and a list; an id without a pixel is passed over, as in MHP's script."""
    lines = []
    for name, (truth, _) in PHOTOS.items():
        write_truth(tmp_path / "truth", name, truth)
        for folder, ids in (("global_seg", truth.classes), ("global_tag", truth.persons)):
            (tmp_path / "said" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(tmp_path / "said" / folder / f"{name}.png")
        lines.append(" ".join([name, *(f"{person} 0.{person}" for person in truth.ids), "200 0.1"]))
    (tmp_path / "said" / "results.txt").write_text("\n".join(lines))
    scores = scored(tmp_path / "truth", tmp_path / "said")
    assert scores.volume("ap_p") == scores.volume("pcp") == scores.miou == 1
    assert np.isnan(scores.ap_r).all()


def test_a_photo_without_a_result_counts_as_missed(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    before, name = scored(*tree), next(iter(PHOTOS))
    for path in tree[1].rglob(f"{name}*"):
        path.unlink()
    assert main(["score-instances", "--truth", str(tree[0]), "--results", str(tree[1])]) == 0
    assert "1 photos have no result" in capsys.readouterr().out
    after = scored(*tree)
    assert after.counts["people"] == before.counts["people"]
    assert after.at("pcp", 0.1) < before.at("pcp", 0.1)


def test_a_dataset_is_a_truth(tmp_path: Path) -> None:
    from oshp_lite.data.synthetic import generate

    dataset = generate("synth-cihp", tmp_path / "people", 8, 8, 48, progress=False)
    for stem in dataset.stems("test"):
        truth = open_truth(dataset.root, 20).read(stem)
        labels = [cut_out(truth.person(index)) for index in truth.ids]
        write_result(tmp_path / "said", stem, truth.size, PeopleResult(truth.classes, tuple(labels), ()))
    scores = scored(dataset.root, tmp_path / "said")
    assert scores.counts["photos"] == 8
    assert scores.volume("ap_p") == scores.miou == 1


def test_only_the_best_255_parts_are_written() -> None:
    ids = np.arange(1, 301).reshape(10, 30)
    many = PartMap(ids, 0, 0, np.ones(300, np.int64), np.linspace(0, 1, 300))
    one = one_part_map((many,), (10, 30))
    assert len(one.classes) == MOST
    assert one.scores.min() == pytest.approx(45 / 299)


# ---------------------------------------------------------------------------------------------- what is wrong


def repeat_lines(path: Path) -> None:
    path.write_text("5 0.5\n" * 300)


def narrow(path: Path) -> None:
    Image.fromarray(np.asarray(Image.open(path))[:, :-1]).save(path)


def remove(*paths: Path) -> None:
    for path in paths:
        path.unlink()


FAULTS: dict[str, tuple[str, Callable[[Path, Path], object]]] = {
    "no person ids": (
        "has no person ids",
        lambda true, said: remove(*(true / "Human_ids").glob("*"), *(true / "Instance_ids").glob("*")),
    ),
    "one without": ("needs 000000.png", lambda true, said: remove(true / "Human_ids" / "000000.png")),
    "no truth": ("does not exist", lambda true, said: true.rename(true.with_name("gone"))),
    "no results": ("does not exist", lambda true, said: said.rename(said.with_name("gone"))),
    "nothing to score": ("has nothing to score", lambda true, said: remove(*said.rglob("*.*"))),
    "missing photo": (
        "results of 000001, which the truth does not have",
        lambda true, said: remove(*true.rglob("000001.*")),
    ),
    "300 parts": ("ids end at 255", lambda true, said: repeat_lines(said / "Instance_ids" / "000000.txt")),
    "no line": ("has 1 lines", lambda true, said: (said / "Instance_ids" / "000000.txt").write_text("5 0.5\n")),
    "words": ("line 1 of", lambda true, said: (said / "people" / "000000.txt").write_text("high\n")),
    "infinite": ("it must be 'score'", lambda true, said: (said / "people" / "000000.txt").write_text("inf\n")),
    "other size": ("must have the same size", lambda true, said: narrow(said / "Category_ids" / "000000.png")),
    "damaged": ("is not a picture", lambda true, said: (said / "people" / "000000_1.png").write_bytes(b"no")),
    "foreign class": (
        "names class 77",
        lambda true, said: (said / "Instance_ids" / "000000.txt").write_text("77 0.5\n" * 200),
    ),
}


@pytest.mark.parametrize(("words", "fault"), FAULTS.values(), ids=FAULTS)
def test_bad_files_get_one_sentence(tree: Tree, words: str, fault: Callable[[Path, Path], object]) -> None:
    fault(*tree)
    with pytest.raises(UserError, match=words) as caught:
        scored(*tree)
    assert "\n" not in str(caught.value)
    assert main(["score-instances", "--truth", str(tree[0]), "--results", str(tree[1])]) == 2


def test_command_refuses_with_one_sentence(tree: Tree, capsys: pytest.CaptureFixture[str]) -> None:
    (tree[1] / "results.txt").write_text("000000 999 0.5\n")
    assert main(["score-instances", "--truth", str(tree[0]), "--results", str(tree[1])]) == 2
    done = capsys.readouterr()
    assert done.out == ""
    assert len(done.err.strip().splitlines()) == 1
    assert "an id of 1..255" in done.err


def test_ids_beyond_255_are_refused(tree: Tree, tmp_path: Path) -> None:
    listed = tree[0] / "Instance_ids" / "000000.txt"
    for folder in ("Human_ids", "Category_ids"):
        (tree[0] / folder).rename(tmp_path / folder)
    listed.write_text(listed.read_text() + "301 5 16\n")
    with pytest.raises(UserError, match=r"names part 301 of person 16; 8-bit maps hold ids of 1..255"):
        open_truth(tree[0], 20).read("000000")
    wide = np.arange(300).reshape(10, 30).astype(np.uint16)
    Image.fromarray(wide).save(tree[0] / "Instance_ids" / "000001.png")
    with pytest.raises(UserError, match="8-bit channel"):
        open_truth(tree[0], 20).read("000001")
    persons = np.repeat(np.arange(1, 101, dtype=np.uint8).reshape(10, 10), 3, 1)
    many = PeopleTruth(np.tile(np.array([1, 2, 3], np.uint8), (10, 10)), persons)
    with pytest.raises(UserError, match="300 parts, but ids end at 255"):
        write_truth(tmp_path / "many", "x", many)


def test_boxes_without_an_area_are_refused() -> None:
    with pytest.raises(UserError, match=r"box 2 of photo a is \(3, 1, 3, 4\), which has no area"):
        check_boxes(np.array([[0, 0, 2, 2], [3, 1, 3, 4]]), "photo a")
    with pytest.raises(UserError, match="person 4 has no pixel"):
        mask_boxes(np.zeros((3, 3), np.uint8), [4])
    with pytest.raises(UserError, match="two maps of one size"):
        PeopleTruth(np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8))
