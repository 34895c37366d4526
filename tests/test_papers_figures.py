"""Figures of the papers: drawn from made-up results and procedural people, saved alike each time, plain about gaps."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.pairs import Pair
from oshp_lite.data.synthetic.generate import generate
from oshp_lite.engine.config import RunConfig, override
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.labels import fold, label_space
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.figures import CHARTS, TITLES, pairs, save_figure
from oshp_lite.study.figures.charts import per_class, size_curve
from oshp_lite.study.figures.layouts import draw
from oshp_lite.study.figures.pairs import (
    PredictedPair,
    both_ways,
    one_query,
    pair_scores,
    read_pairs,
    typical_pairs,
)
from oshp_lite.study.figures.panels import mask_panel, not_run
from oshp_lite.study.records import Measured, NotRun, Results, RunKey, measured_of
from oshp_lite.viz import fig_to_png, new_figure

ATR = "synth-atr"


def made_up(key: RunKey, skill: float, pairs: int = 60) -> Measured:
    """Answers that grow better with the part's size; novel parts are taken for one another and for the background."""
    split = fold(key.dataset, key.fold)
    rng = np.random.default_rng([key.seed, int(1000 * skill)])
    made = np.zeros((pairs, split.n_ids, split.n_ids), np.int64)
    for pair in range(pairs):
        for place, c in enumerate(split.foreground):
            area = int(rng.integers(20, 60) * (1 + place) ** 1.4)
            novel = c in split.novel
            right = int(
                area * np.clip(skill * (0.5 if novel else 1) + 0.08 * np.log(area / 200) + rng.normal(0, 0.1), 0, 1)
            )
            made[pair, c, c] = right
            other = split.novel[(split.novel.index(c) + 1) % 3] if novel else 0
            made[pair, c, other] += (area - right) // 2
            made[pair, c, 0] += area - right - (area - right) // 2
        made[pair, 0, 0] = 12000
    history = [
        {
            "epoch": n,
            "base_accuracy": 0.6 * (1 - np.exp(-n / 2)),
            "novel_accuracy": 0.3 * (1 - np.exp(-n / 4)) + (0.006 * n if not key.ablation else -0.006 * n),
        }
        for n in range(1, 13)
    ]
    queries = np.arange(pairs) // 3
    return measured_of(key, "lite", made, np.resize(split.foreground, pairs), queries=queries, history=history)


def results(methods: Sequence[str] = tuple(METHODS)) -> Results:
    skills = dict(zip(methods, np.linspace(0.2, 0.8, len(methods)), strict=True))
    runs = [made_up(RunKey(name, ATR, 1, "k"), skill) for name, skill in skills.items() if name != "persam"]
    runs += [made_up(RunKey("eopnet", ATR, 1, "k", 1), 0.75), made_up(RunKey("eopnet", ATR, 1, "k", 0, "static"), 0.6)]
    return Results(runs, {RunKey("persam", ATR, 1, "k"): "needs SAM weights"})


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return generate(ATR, tmp_path_factory.mktemp("people"), 24, 32, 96, progress=False)


def setting(way: str) -> RunConfig:
    names = {"data.dataset": ATR, "data.way": way, "data.size": 96, "eval.test_size": 96, "eval.repeats": 3}
    return override(RunConfig(), names)


def pairs_of(people: OneShotDataset, way: str, methods: Sequence[str], count: int = 2) -> list[PredictedPair]:
    """Test pairs of novel classes whose predictions are the truths, moved by some pixels a method."""
    shifts = {"AMP": 9, "SG-One": 6, "PANet": 12, "POPNet": 3, "EOP-Net": 1}
    config = setting(way)
    split = run_fold(config, people)
    episodes = test_set(config, people, split)
    novel = [number for number, pair in enumerate(episodes.pairs()) if pair.class_id in split.novel]
    chosen = novel[:: max(1, len(novel) // count)][:count]
    truths = {number: episodes[number].query_mask for number in chosen}
    predictions: dict[str, Any] = {name: NotRun("needs SAM weights") for name in methods}
    for name in set(methods) & set(shifts):
        shift = (shifts[name], shifts[name])
        predictions[name] = {n: torch.roll(mask, shift, (0, 1)).numpy() for n, mask in truths.items()}  # type: ignore[arg-type]
    return read_pairs(people, config, predictions, chosen)


def check(figure: Figure, folder: Path | None = None, name: str = "") -> None:
    """It renders, is neither empty nor huge, and does not rest on colour: still many shades when grey."""
    png = fig_to_png(figure, colours=None)
    with Image.open(io.BytesIO(png)) as picture:
        grey = np.asarray(picture.convert("L"))
    assert grey.std() > 3
    assert min(grey.shape) > 60
    assert len(png) < 1_500_000
    if folder is not None:
        (folder / f"{name}.png").write_bytes(png)


def texts(figure: Figure) -> str:
    """All words of a figure, lines joined."""
    import matplotlib.text

    return re.sub(r"\s+", " ", " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text)))


@pytest.mark.parametrize("name", ["eopnet8f", "bias", "per_class", "confusion", "size_iou"])
def test_charts_draw_what_is_there_and_name_what_is_not(name: str) -> None:
    figure = CHARTS[name](results(), ATR)
    check(figure)
    words = texts(figure)
    assert ATR in words
    if name in ("bias", "per_class", "size_iou"):
        assert words.count("needs SAM weights") == 1
    if name in ("per_class", "size_iou"):
        assert "EOP-Net (2 seeds)" in words
    if name in ("per_class", "confusion"):
        assert "pants*" in words


@pytest.mark.parametrize("name", list(CHARTS))
def test_charts_without_results_say_so(name: str) -> None:
    figure = CHARTS[name](Results(otherwise="not trained yet"), ATR)
    check(figure)
    assert "not trained yet" in texts(figure)
    assert TITLES[name] in texts(figure)


def test_size_curve_finds_that_small_is_hard() -> None:
    x, y, error = size_curve([made_up(RunKey("eopnet", ATR, 1, "k"), 0.7)], bins=5)
    assert x.shape == y.shape == error.shape == (5,)
    assert (np.diff(x) > 0).all()
    assert y[-1] > y[0] + 10


def test_typical_pairs_follow_the_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    run = made_up(RunKey("eopnet", ATR, 1, "k"), 0.7)
    chosen = typical_pairs(run, (0.9, 0.5, 0.1))
    for novel, some in ((True, chosen), (False, typical_pairs(run, novel=False))):
        scores = pair_scores(run, novel=novel)
        assert len(set(some)) == 3
        assert scores[some[0]] > scores[some[1]] > scores[some[2]]
    assert run.queries is not None
    assert len({int(run.queries[one]) for one in chosen}) == 3
    assert set(typical_pairs(run, (0.9, 0.5), among=chosen[1:])) == set(chosen[1:])
    query = one_query(run)
    assert len({int(run.queries[one]) for one in query}) == 1
    assert len(query) == 3
    assert one_query(replace(run, queries=None)) == []
    monkeypatch.setattr(pairs, "SMALLEST", 10**9)
    assert typical_pairs(run) == []


def test_pairs_are_the_test_pairs(people: OneShotDataset) -> None:
    for way in ("k", "1"):
        first = pairs_of(people, way, ["EOP-Net", "PerSAM"])[0]
        assert first.query.shape == (96, 96, 3)
        assert first.predictions["PerSAM"] == NotRun("needs SAM weights")
        prediction = first.predictions["EOP-Net"]
        assert not isinstance(prediction, NotRun)
        assert prediction.shape == first.truth.shape
        assert (first.class_id > 0) == (way == "1")
        assert 0.3 < first.mean_iou(prediction, novel=True) < 1


def test_pictures_of_predictions(people: OneShotDataset, tmp_path: Path) -> None:
    k, one = (pairs_of(people, way, ["POPNet"]) for way in ("k", "1"))
    check(draw("popnet3f", {"1": one, "k": k}), tmp_path, "popnet3f")
    check(draw("eopnet4f", {"k": NotRun("no results on CIHP"), "1": one}), tmp_path, "eopnet4f")
    cut = k[0].cropped()
    assert cut.truth.shape == cut.query.shape[:2]
    assert cut.truth.size < k[0].truth.size
    assert (cut.truth > 0).sum() == (k[0].truth > 0).sum()  # nothing that is marked is cut away
    assert one[0].cropped().truth.shape == one[0].truth.shape
    assert one[0].cropped(k[0]).truth.shape == cut.truth.shape
    figure = draw("popnet4f", {"k": pairs_of(people, "k", ["AMP", "SG-One", "PANet", "POPNet"])})
    check(figure, tmp_path, "popnet4f")
    assert re.search(r"all \d+, novel \d+", texts(figure))
    check(draw("eopnet6f", {"k": pairs_of(people, "k", ["AMP", "POPNet", "EOP-Net"])}), tmp_path, "eopnet6f")
    missing = draw("eopnet5f", {"1": pairs_of(people, "1", ["PerSAM", "EOP-Net"])})
    check(missing, tmp_path, "eopnet5f")
    assert "Not run: PerSAM (needs SAM weights)." in texts(missing)
    assert "White boxes" in texts(figure)
    assert "White boxes" not in texts(missing), "one method differs from none"
    assert len(missing.axes[0].figure.axes) == 4 * 3, "two rows and the note: no place for what is missing"
    figure = draw("eopnet7f", {"k": pairs_of(people, "k", ["POPNet", "EOP-Net"], 4)})
    check(figure, tmp_path, "eopnet7f")
    assert texts(figure).index("EOP-Net: novel") < texts(figure).index("POPNet: novel"), "the lead stands above"


def test_padding_is_cut_off(people: OneShotDataset) -> None:
    pair = pairs_of(people, "k", ["EOP-Net"])[0]
    truth, mask = pair.truth.copy(), pair.predictions["EOP-Net"].copy()  # type: ignore[union-attr]
    truth[:, :20], mask[:, :20] = 255, 4
    cut = replace(pair, truth=truth, predictions={"EOP-Net": mask}).cropped()
    assert not (cut.truth == 255).any()
    assert cut.predictions["EOP-Net"].shape == cut.truth.shape  # type: ignore[union-attr]


def test_both_ways_stand_side_by_side_on_one_query(people: OneShotDataset) -> None:
    given = {way: pairs_of(people, way, ["EOP-Net"]) for way in ("1", "k")}
    figure = draw("eopnet4f", given)
    drawn = [axes for axes in figure.axes if axes.images]
    assert len(drawn) == 2 * 7
    for row in (drawn[:7], drawn[7:]):
        places = [axes.get_subplotspec().rowspan.start for axes in row]  # type: ignore[union-attr]
        assert len(set(places)) == 1
        photo, same = row[2].get_images()[0].get_extent(), row[5].get_images()[0].get_extent()
        assert tuple(photo) == tuple(same), "one cut of the query in both ways"
    titles = [axes.get_title("left") for axes in drawn[:7]]
    assert titles[3] == "EOP-Net, k-way"
    assert titles[6] == "EOP-Net, 1-way"
    half = draw("eopnet4f", {"k": given["k"], "1": NotRun("not trained")})
    assert len([axes for axes in half.axes if axes.images]) == 2 * 4
    assert "Not run: 1-way (not trained)." in texts(half)


def test_the_same_query_is_shown_in_both_ways() -> None:
    kway = [Pair(0, 9, 4), Pair(1, 9, 6), Pair(2, 9, 6)]
    oneway = [Pair(1, 8, 6), Pair(0, 9, 4), Pair(1, 9, 6)]
    assert both_ways(kway, oneway, (6,)) == {1: 2}, "equal pairs of a novel class"
    assert both_ways(kway, oneway[:2], (6,)) == {1: 0}, "else the same query"
    assert both_ways(kway, oneway, (5,)) == {}


def test_the_share_below_an_answer_is_what_chooses_the_pairs() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[:8], truth[8:14], truth[18:] = 4, 6, 9
    answer = truth.copy()
    answer[4:8] = 6  # half of 4 is called 6, 9 is not found
    answer[18:] = 0
    photo = np.zeros((20, 20, 3), np.uint8)
    space = label_space("atr")
    pair = PredictedPair(photo, photo, truth, truth, {"x": answer}, space, novel=(6,))
    assert pair.mean_iou(answer, novel=True) == pytest.approx(0.6)
    assert pair.mean_iou(answer) == pytest.approx((0.5 + 0.6 + 0.0) / 3)
    matrix = np.zeros((18, 18), np.int64)
    np.add.at(matrix, (truth, answer), 1)
    counted = measured_of(RunKey("eopnet", ATR, 1, "k"), "lite", matrix[None], [6])
    assert set(np.unique(truth)) - {0} <= set(counted.classes)
    assert pair_scores(counted)[0] == pytest.approx(pair.mean_iou(answer))
    assert pair_scores(counted, novel=True)[0] == pytest.approx(pair.mean_iou(answer, novel=True))


def test_novel_regions_alone_carry_their_names() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[:4, :8], mask[10:30, :20], mask[35:37, :10] = 11, 4, 6  # base regions, small and large, and a small novel one
    pair = PredictedPair(np.zeros((40, 40, 3), np.uint8), mask, mask, mask, {}, label_space("atr"), novel=(6,))
    _, axes = new_figure()
    mask_panel(axes[0, 0], pair.query, mask, pair)
    assert [text.get_text() for text in axes[0, 0].texts] == [label_space("atr").class_name(6) + "*"]
    assert axes[0, 0].images[0].get_array().shape[0] >= 256  # type: ignore[union-attr]


def test_pictures_that_cannot_be_drawn_say_why(people: OneShotDataset) -> None:
    for figure, words in (
        (draw("popnet4f", {"k": NotRun("no runs by the AAAI folds")}), "No runs by the AAAI folds."),
        (draw("eopnet6f", {"k": []}), "Not run: no test pair fits the figure."),
        (draw("popnet3f", {"1": NotRun("a"), "k": NotRun("b")}), "Not run: b; a."),
        (draw("eopnet5f", {"1": pairs_of(people, "1", ["PerSAM"])}), "Not run: needs SAM weights."),
        (draw("eopnet7f", {"k": NotRun("x")}), "Not run: x."),
        (not_run("title", "reason"), "Not run: reason."),
        (not_run("title", "not run yet"), "No run is at hand."),
    ):
        check(figure)
        assert words in texts(figure), texts(figure)


def test_saved_in_three_formats_and_the_same_twice(tmp_path: Path) -> None:
    few = results(("popnet", "eopnet"))
    first = save_figure(per_class(few, ATR), tmp_path / "a", "per_class")
    second = save_figure(per_class(few, ATR), tmp_path / "b", "per_class")
    assert [path.suffix for path in first] == [".svg", ".pdf", ".png"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
        assert one.stat().st_size < 800_000
