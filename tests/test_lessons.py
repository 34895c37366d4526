"""Lessons: heads on frozen features, their scores with intervals, the records that notebooks 03 to 05 read."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sst_tiny import SMALL
from torch import Tensor

from oshp_lite.book.exercises import nb04
from oshp_lite.book.lessons import background, dual_metric, relations, stages
from oshp_lite.book.lessons.__main__ import main
from oshp_lite.book.lessons.heads import Bench, Head, Photos, copy_matrices, matrices_of, predictions, train_head
from oshp_lite.book.lessons.record import (
    MEASURES,
    Lesson,
    Row,
    compared,
    kway_scores,
    lessons_folder,
    mean_iou,
    read_lesson,
    write_lesson,
)
from oshp_lite.book.scenes import scene_index, shot
from oshp_lite.book.widgets.relations import MEASURES as MEASURES_OF_RELATIONS
from oshp_lite.book.widgets.relations import drawn_photos
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.engine.metrics import score_kway
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.files import read_json
from oshp_lite.labels import fold
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.modules.losses import shift_weights
from oshp_lite.models.registry import build
from oshp_lite.models.sst.network import SST

FOLD = fold("synth-atr", 1)
SKIRT, DRESS, TOP = 5, 7, 4


def made_photos(count: int, seed: int) -> Photos:
    """Photos of 16 x 16 pixels with three stripes of classes, whose features are the class's direction and noise."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 16, 16), np.uint8)
    for number in range(count):
        masks[number, :8, 4:12] = TOP
        masks[number, 8:, 4:12] = rng.choice((SKIRT, DRESS))
    directions = torch.randn(FOLD.n_ids, 12, generator=torch.Generator().manual_seed(0))
    features = directions[torch.from_numpy(masks[:, ::4, ::4]).long()].permute(0, 3, 1, 2)
    features = features + 0.3 * torch.from_numpy(rng.standard_normal(features.shape)).float()
    return Photos(features.half(), torch.zeros(count, 16, 16, 3, dtype=torch.uint8), torch.from_numpy(masks))


@pytest.fixture(scope="module")
def bench() -> Bench:
    pairs = torch.tensor([[n, (n + k) % 12] for n in range(12) for k in (1, 5)])
    queries = [n for n in range(12) for _ in range(2)]
    return Bench(FOLD, made_photos(16, 1), made_photos(12, 2), pairs, queries, list(range(24)))


def test_the_background_s_scores_are_those_of_their_definitions() -> None:
    """Independent float64 computation of both designs: own prototype, mean dissimilarity (journal, Eq. 8)."""
    torch.manual_seed(0)
    query, support = torch.randn(2, 1, 6, 4, 4)
    mask = torch.randint(0, 3, (1, 4, 4)) * 2  # ids 0, 2, 4
    for design in ("prototype", "dissimilarity"):
        head = Head(6, FOLD.n_ids, background=design, width=5).eval()  # type: ignore[arg-type]
        weight, bias = (value.detach().double().numpy() for value in (head.project.weight, head.project.bias))
        zq, zs = (np.einsum("dc,chw->dhw", weight[:, :, 0, 0], x[0].double().numpy()) for x in (query, support))
        zq, zs = zq + bias[:, None, None], zs + bias[:, None, None]
        rows = {c: zs[:, mask[0].numpy() == c].mean(1) for c in (0, 2, 4)}
        length = np.linalg.norm(zq, axis=0)
        maps = {c: np.einsum("d,dhw->hw", row, zq) / (np.linalg.norm(row) * length) for c, row in rows.items()}
        expected = maps[0] if design == "prototype" else ((1 - maps[2]) + (1 - maps[4])) / 2
        logits = head(query, support, mask)["npm"][0].detach().numpy()
        np.testing.assert_allclose(logits[0], 10 * expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(logits[4], 10 * maps[4], rtol=1e-4, atol=1e-4)
        assert logits[3].max() < -1000  # an id that the support lacks cannot win


def test_scores_are_those_of_the_engine_and_the_bias_is_counted() -> None:
    rng = np.random.default_rng(3)
    truth, predicted = (rng.choice((0, TOP, SKIRT, DRESS), (5, 8, 8)) for _ in range(2))
    matrices = np.stack(
        [
            np.histogram2d(t.ravel(), p.ravel(), bins=FOLD.n_ids, range=[[0, FOLD.n_ids]] * 2)[0]
            for t, p in zip(truth, predicted, strict=True)
        ]
    )
    mine = kway_scores(matrices, np.ones((1, 5)), FOLD)
    theirs = score_kway(torch.from_numpy(predicted), torch.from_numpy(truth), FOLD)
    for name in ("novel", "base", "human"):
        assert mine[name][0] == pytest.approx(theirs[name])
    novel = np.isin(truth, FOLD.novel)
    assert mine["missed"][0] == pytest.approx((predicted[novel] == 0).mean())


def test_an_absent_class_is_left_out_of_a_mean() -> None:
    total = np.zeros((1, 4, 4))
    total[0, 1, 1], total[0, 1, 2], total[0, 2, 2] = 6, 2, 4
    assert mean_iou(total, [1, 2, 3])[0] == pytest.approx((6 / 8 + 4 / 6) / 2)


def test_differences_are_paired_and_a_row_without_seeds_meets_every_seed() -> None:
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9, (8, FOLD.n_ids, FOLD.n_ids))
    better = one + 40 * np.eye(FOLD.n_ids, dtype=int)
    content = compared(
        [Row("a", [better, better]), Row("b", [one])], [("a", "b"), ("b", "b")], [0, 0, 1, 1, 2, 2, 3, 3], FOLD
    )
    rows = {row["name"]: row["scores"]["novel"][0] for row in content["rows"]}
    apart, same = (row["scores"]["novel"] for row in content["differences"])
    assert apart[0] == pytest.approx(rows["a"] - rows["b"])
    assert apart[1] > 0
    assert same == [0, 0, 0]
    assert content["pairs"] == {"pairs": 8, "queries": 4, "seeds": 2}
    assert "a is higher than b" in Lesson(content).says("a minus b")
    assert "shows no difference" in Lesson(content).says("b minus b")
    assert Lesson(content).difference("a minus b")[0] == pytest.approx(100 * apart[0])
    assert Lesson(content).score("a") == pytest.approx(100 * rows["a"])


VERDICTS = {0.1: "is higher than", -0.3: "is lower than", -1: "shows no difference to"}


@pytest.mark.parametrize(
    ("low", "high", "bias", "scores"),
    [
        (0.1, 0.3, "hurts the background prototype more", "hurts the mean dissimilarity more"),
        (-0.3, -0.1, "hurts the mean dissimilarity more", "hurts the background prototype more"),
        (-1, 1, "hurts neither design clearly more", "hurts neither design clearly more"),
    ],
)
def test_the_reading_of_a_record_follows_its_intervals(low: float, high: float, bias: str, scores: str) -> None:
    """Whether hiding hurts one design more is judged apart for the bias, where more is worse, and for novel mIoU."""
    designs = (background.PROTOTYPE, background.DISSIMILARITY)
    gap = {measure: [(low + high) / 2, low, high] for measure in MEASURES}
    without = {measure: [-0.05, -0.06, -0.04] for measure in MEASURES}  # with all labels
    pairs = {
        f"{designs[0]}{words} minus {designs[1]}{words}": without for words in (background.SEEN, background.BEFORE)
    }
    pairs |= {" minus ".join(designs): gap, f"{designs[1]} minus {background.COPY}": gap}
    pairs |= {f"{name} minus {name}{background.BEFORE}": gap for name in designs}
    rows = {"": 0.3, background.SEEN: 0.2, background.BEFORE: 0.1}
    content = {
        "rows": [
            {"name": name + words, "scores": {"missed": [share] * 3}}
            for name in designs
            for words, share in rows.items()
        ],
        "differences": [{"name": name, "scores": scores} for name, scores in pairs.items()],
    }
    said = background.reading(Lesson(content)).splitlines()
    assert said[0] == f"novel pixels called background: hiding the novel classes {bias}"
    assert said[1] == f"novel mIoU: hiding the novel classes {scores}"
    assert "mean dissimilarity: 10 % of the novel pixels before training, 30 % after training with hidden" in said[3]
    trained = "novel mIoU: background prototype {} background prototype, before training"
    assert any(line.startswith(trained.format(VERDICTS[low])) for line in said)
    assert ("does not clear" in said[-1]) == (low <= 0)


def test_a_module_s_schedule_is_named_in_plain_words() -> None:
    names = ("AGM alone: AGM", "NPM alone: NPM", "weight shifting: NPM", "NPM before training")
    names += ("half and half: NPM", "copy the support's mask")
    row, gap = {"novel": [0.1, 0, 0.2], "missed": [0.5, 0, 1]}, {"novel": [0.02, 0.01, 0.03]}
    floor = {"novel": [0.15, 0.1, 0.2]}
    pairs = (names[1], names[3]), (names[1], names[0]), (names[2], names[1]), (names[4], names[1])
    content = {
        "rows": [{"name": name, "scores": row} for name in names[:5]] + [{"name": names[5], "scores": floor}],
        "differences": [{"name": f"{one} minus {other}", "scores": gap} for one, other in pairs],
    }
    said = dual_metric.reading(Lesson(content))
    assert "AGM alone: AGM has a novel mIoU of 10.0 % and calls 50 % background" in said
    assert "NPM under weight shifting is higher than NPM trained alone" in said
    assert "10.0 %) is below copying the support's mask (15.0 %)" in said


def test_what_is_hidden_in_training_is_what_a_head_calls_background(bench: Bench) -> None:
    """The papers' bias in miniature: AGM, trained with the garment hidden, denies it; with all labels it does not."""
    missed = {}
    for hide in (True, False):
        head, _ = train_head(
            bench, partial(Head, guided=True), lambda progress: 1.0, steps=120, seed=0, hide=hide, batch=8
        )
        made = kway_scores(matrices_of(bench, head)["agm"], np.ones((1, 24)), FOLD)
        missed[hide] = made["missed"][0]
    assert missed[True] > 0.9
    assert missed[False] < 0.2


def test_the_moments_of_a_training_begin_untrained_and_end_with_the_finished_head(bench: Bench) -> None:
    make = partial(Head, guided=True)
    head, moments = train_head(bench, make, lambda p: shift_weights(p)[0], steps=12, seed=4, moments=3)
    assert [round(moment.beta, 3) for moment in moments] == [1.0, 0.5, round(1 - 11 / 12, 3)]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        first = make(12, FOLD.n_ids)
    torch.testing.assert_close(moments[0].weights["project.weight"], first.project.weight.detach())
    torch.testing.assert_close(moments[-1].weights, dict(head.state_dict()))


def test_copying_the_support_is_right_where_both_wear_the_same(bench: Bench) -> None:
    matrices = copy_matrices(bench)
    masks = bench.test.masks
    same = [bool((masks[q] == masks[s]).all()) for q, s in bench.pairs.tolist()]
    right = [float(np.trace(matrix) / matrix.sum()) for matrix in matrices]
    assert [value == 1.0 for value in right] == same


def test_both_lessons_measure_and_the_example_is_drawn(bench: Bench, tmp_path: Path) -> None:
    names = [row["name"] for row in background.measure(bench, steps=3, seeds=2)["rows"]]
    assert names[0] == background.COPY
    assert {background.PROTOTYPE, background.DISSIMILARITY + background.BEFORE} <= set(names)
    lesson = dual_metric.measure(bench, steps=30, seeds=1, every=2)
    assert lesson.content["course"][0]["beta"] == 1.0
    path = write_lesson("dual-metric", lesson, tmp_path)
    again = read_lesson(path.stem, tmp_path)
    assert again.table() == lesson.table()
    for name in again.content["examples"]:
        state = dual_metric.state_of(again, name, FOLD)
        assert state.class_id in FOLD.novel
        assert [one.beta for one in state.moments] == pytest.approx(again.arrays[f"{name}_beta"][::2])
        assert len(state.draw().axes) > 9, "three moments of photo, AGM and NPM"
    assert set(MEASURES) == set(again.content["rows"][0]["scores"])


def test_a_design_before_training_is_the_head_that_training_starts_from(bench: Bench) -> None:
    content = background.measure(bench, steps=0, seeds=2)
    scores = {row["name"]: row["scores"] for row in content["rows"]}
    for name in (background.PROTOTYPE, background.DISSIMILARITY):
        assert scores[name] == scores[name + background.BEFORE]


def test_the_people_of_an_example_are_drawn_anew_and_large() -> None:
    """The committed examples name their scenes; drawn at the recorded size these are the recorded photos."""
    lesson = read_lesson("dual-metric", lessons_folder())
    for name, example in lesson.content["examples"].items():
        support, mask, query, target = dual_metric.pair_of(lesson, name, FOLD)
        assert support.shape == query.shape == (256, 256, 3)
        assert mask.shape == target.shape == (256, 256)
        recorded, small = lesson.arrays[f"{name}_query"], shot(scene_index(example["query"]), 128, seed=0)
        assert np.abs(small.image.astype(int) - recorded).mean() < 3, "the same photo, up to its compression"
        assert (target[::2, ::2] == lesson.arrays[f"{name}_truth"]).mean() > 0.98
        assert set(np.unique(target)) <= {0, *np.unique(mask)}


def test_a_record_s_chart_begins_at_zero_and_explains_its_colours() -> None:
    scores = {measure: [0.3, 0.25, 0.35] for measure in MEASURES}
    figure = Lesson({"rows": [{"name": name, "scores": scores} for name in ("copy", "head")]}).chart()
    assert [place.get_xlim()[0] for place in figure.axes] == [0, 0, 0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["network or head", "trivial parser"]


def test_an_example_that_works_is_the_middle_one_of_those_that_work(bench: Bench) -> None:
    matrices = np.zeros((24, FOLD.n_ids, FOLD.n_ids), int)
    ious = np.linspace(0.0, 0.9, 24)
    for number, iou in enumerate(ious):
        hits = round(100 * iou)
        matrices[number, SKIRT, SKIRT], matrices[number, SKIRT, 0] = hits, 100 - hits
    examples = dual_metric._examples(matrices, bench)
    works = np.flatnonzero(ious.round(2) >= dual_metric.WORKS)
    assert examples["works"] == (int(works[len(works) // 2]), SKIRT)
    failing = examples["fails"]
    assert failing is not None
    assert ious[failing[0]] < dual_metric.FAILS


def test_predictions_come_at_the_photo_s_size(bench: Bench) -> None:
    head, _ = train_head(bench, Head, lambda progress: 0.0, steps=1, seed=0)
    ids, truth = next(predictions(bench, head))
    assert ids["npm"].shape == truth.shape == torch.Size([16, 16, 16])


def test_areas_follow_the_table_and_unknown_pixels_stay() -> None:
    mask = torch.tensor([[0, 2, 255], [1, 1, 3]])
    expected: Tensor = torch.tensor([[0, 7, 255], [5, 5, 9]])
    torch.testing.assert_close(stages.areas_of(mask, (0, 5, 7, 9)), expected)


def test_a_folder_without_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["background", str(tmp_path)]) == 2
    assert "holds no finished run" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["background", "dual-metric", "stages"])
def test_the_committed_records_name_a_run_under_the_papers_condition(name: str) -> None:
    lesson = read_lesson(name, lessons_folder())
    assert lesson.content["run"]["condition"] == "papers"
    assert lesson.content["run"]["name"] in lesson.made_from()


def test_a_learner_s_schedule_is_compared_with_weight_shifting(bench: Bench) -> None:
    schedules = {"mine": lambda progress: 1.0 - progress, "weight shifting": lambda progress: 1.0 - progress}
    same = nb04.compare_schedules(bench, schedules, steps=3, seeds=2)
    assert [row["name"] for row in same.content["rows"]] == ["mine", "weight shifting"]
    assert same.difference("mine minus weight shifting") == (0.0, 0.0, 0.0)
    schedules["mine"] = lambda progress: 0.0
    assert nb04.compare_schedules(bench, schedules, steps=3, seeds=2).score("mine") != same.score("mine")


def universal_run(folder: Path, **options: Any) -> Run:
    """A finished run of an untrained network over label sets."""
    names = ["synth-pascal", "synth-atr"]
    network = build("sst", variant="lite", **{**SMALL, "domains": names, **options})
    record = CheckpointRecord(
        "sst", {"variant": "lite", **SMALL, "domains": names, **options}, "k", 7, "pascal", size=32
    )
    folder.mkdir()
    save_weights(folder / "weights.safetensors", network.state_dict(), record)
    (folder / "history.csv").write_text("epoch,loss_cosine\n1,0.25\n2,0.5\n")
    settings = load_profile("smoke", {"model.method": "sst", "data.dataset": names[0], "model.options.domains": names})
    domains = {name: {"human_miou": 0.2, "mean_accuracy": 0.3, "n_pairs": 4} for name in names}
    scores = {"novel_miou": None, "base_miou": 0.2, "human_miou": 0.2, "n_pairs": 4, "details": {"domains": domains}}
    return Run(folder, settings.as_dict(), scores, {"finished": "2026-01-01"})


def test_a_universal_network_is_kept_small_and_opens_again(tmp_path: Path) -> None:
    run = universal_run(tmp_path / "run")
    record = read_json(relations.keep(run, tmp_path))
    assert record["domains"]["synth-atr"] == {"human_miou": 0.2, "mean_accuracy": 0.3}
    assert record["epochs_cosine"] == [0.25, 0.5]
    kept, whole = relations.kept_network(tmp_path), run.parser()
    for name, value in kept.state_dict().items():
        torch.testing.assert_close(value, whole.state_dict()[name], atol=1e-2, rtol=1e-2)
    half, full = relations.weights_file(tmp_path).stat().st_size, run.weights.stat().st_size
    assert half < 0.75 * full
    bare = universal_run(tmp_path / "bare", transfer="none")
    with pytest.raises(UserError, match="no network that links label sets"):
        relations.keep(bare, tmp_path)


def test_agreement_is_the_share_of_relatives_that_share_pixels(tmp_path: Path) -> None:
    """The static prior of drawn labels is made of their atoms, so it never misses by more than what hides them."""
    network = universal_run(tmp_path / "run").parser()
    assert isinstance(network, SST)
    photos = drawn_photos(network.config.names, 3, size=64)
    shares = relations.agreement(network, photos)
    assert set(shares) == {*MEASURES_OF_RELATIONS, relations.CHANCE}
    assert shares["static"] > shares[relations.CHANCE] + 0.3
    touched = relations._touched(photos[0].masks["synth-atr"], photos[0].masks["synth-pascal"], [4, 11], [1, 2])
    assert touched.shape == (2, 2)
    assert touched[1, 0], "a face lies in the head"
