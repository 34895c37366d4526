"""What charts draw is what was measured: heat map, testing bias, curves, budgets, initialisations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from claims_made_up import flat, run
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from test_papers_figures import ATR, check, made_up, texts

from oshp_lite.labels import label_space
from oshp_lite.study.experiments import FIGURE8, METHODS, runs_of
from oshp_lite.study.figures.charts import DESTINIES, bias, class_table, destinies, per_class
from oshp_lite.study.figures.training import budget, budget_panels, eopnet8f, starts, training_score
from oshp_lite.study.records import Measured, Results, RunKey

CCP = "ccp-os"


def key(method: str, ablation: str = "", seed: int = 0, dataset: str = ATR, **more: Any) -> RunKey:
    return RunKey(method, dataset, 1, "k", seed, ablation, **more)


def fine(*keys: RunKey, skill: float = 0.5) -> list[Measured]:
    return [run(one, flat(skill + 0.03 * number), pairs=60) for number, one in enumerate(keys)]


# ------------------------------------------------------------------------------------------------ classes, bias


def test_the_heat_map_shows_every_measured_number() -> None:
    runs = {
        name: [made_up(key(name, seed=seed), skill) for seed in (0, 1)]
        for name, skill in (("panet", 0.3), ("eopnet", 0.7))
    }
    names, groups, table = class_table(runs)
    assert names == ["eopnet", "panet"], "the better one first"
    assert all(name.endswith("*") for name in groups[0])
    assert not any(name.endswith("*") for group in groups[1:] for name in group)
    columns = [name.rstrip("*") for group in groups for name in group]
    space = label_space("atr")
    for row, name in enumerate(names):
        for c in runs[name][0].classes:
            mean = np.mean([100 * one.score(f"iou:{c}") for one in runs[name]])
            assert table[row, columns.index(space.class_name(c))] == pytest.approx(mean)
        assert table[row, -1] == pytest.approx(np.mean([100 * one.score("human") for one in runs[name]]))
    figure = per_class(Results([one for same in runs.values() for one in same]), ATR)
    drawn = [text.get_text() for text in figure.axes[0].texts]
    assert drawn == [f"{value:.0f}" for value in table.ravel()]
    assert len(figure.axes) == 2, "the map and its colour bar"
    for method in set(METHODS) - {"eopnet", "panet"}:
        assert METHODS[method].label not in [label.get_text() for label in figure.axes[0].get_yticklabels()]
        assert METHODS[method].label in texts(figure), "named as not run"


def test_bias_bars_are_the_shares_of_novel_pixels() -> None:
    one = made_up(key("sgone"), 0.2)
    shares, background = destinies([one])
    assert one.confusion is not None
    rows = one.confusion[list(one.novel)].astype(np.float64)
    right = rows[range(len(one.novel)), one.novel].sum()
    base = rows[:, [c for c in one.base if c]].sum()
    every = [right, rows[:, one.novel].sum() - right, base, rows[:, 0].sum()]
    np.testing.assert_allclose(shares, 100 * np.array(every) / rows.sum())
    assert background.low <= background.mean <= background.high
    assert 100 * background.mean == pytest.approx(shares[3])
    runs = [one, made_up(key("eopnet"), 0.7), made_up(key("eopnet", dataset=CCP), 0.7)]
    figure = bias(Results(runs), ATR, CCP)
    first, second = figure.axes[2:]
    assert [label.get_text() for label in first.get_yticklabels()] == ["EOP-Net", "SG-One"], "least biased first"
    widths = np.array([bar.get_width() for bar in first.patches]).reshape(2, len(DESTINIES))
    np.testing.assert_allclose(widths.sum(1), 100)
    np.testing.assert_allclose(widths[1], shares)
    assert len(second.patches) == len(DESTINIES)
    assert [text.get_text() for text in second.texts].count("not run") == 1
    check(figure)


def test_a_dataset_without_runs_gets_no_panel() -> None:
    figure = bias(Results([made_up(key("eopnet"), 0.7)]), ATR, CCP)
    assert [axes.get_title("left") for axes in figure.axes] == ["", ATR]
    older = replace(made_up(key("eopnet"), 0.7), misassigned=None)
    assert "Not run" in texts(bias(Results([older]), ATR))


# ------------------------------------------------------------------------------------------------ during training


def curve(one: RunKey, points: int, lift: float) -> Measured:
    history = [
        {"epoch": n, "base_accuracy": 0.5 + 0.01 * n, "novel_accuracy": lift + 0.01 * n} for n in range(1, points + 1)
    ]
    return replace(made_up(one, 0.5), history=history)


def lines(figure: Figure, place: int) -> list[Any]:
    return [line for line in figure.axes[place].lines if len(line.get_xdata()) > 1]


def test_figure_8_has_all_evaluations_the_mean_and_the_band() -> None:
    runs = [
        curve(key("eopnet", name, seed), 20, lift + 0.02 * seed)
        for name, lift in zip(FIGURE8, (0.2, 0.1), strict=True)
        for seed in range(3)
    ]
    figure = eopnet8f(Results(runs), ATR)
    check(figure)
    for place, lifts in ((0, (0.5, 0.5)), (1, (0.22, 0.12))):
        assert len(lines(figure, place)) == 2
        for line, lift in zip(lines(figure, place), lifts, strict=True):
            assert list(line.get_xdata()) == [*range(1, 21)]
            np.testing.assert_allclose(line.get_ydata(), 100 * (lift + 0.01 * np.arange(1, 21)))
    band = figure.axes[1].collections[0].get_paths()[0].vertices[:, 1]
    assert band.min() == pytest.approx(21)
    assert band.max() == pytest.approx(44)
    assert "20 evaluations" in texts(figure)
    assert "3 seeds" in texts(figure)
    assert "say nothing of a trend" not in texts(figure)


def test_figure_8_falls_back_on_ordinary_trainings_and_says_how_few_points_there_are() -> None:
    runs = [curve(key("eopnet", name), 12, 0.1) for name in ("", "static")]
    figure = eopnet8f(Results(runs), ATR)
    assert [len(line.get_xdata()) for line in lines(figure, 1)] == [12, 12]
    assert "Fewer than 15 say nothing of a trend" in texts(figure)
    alone = eopnet8f(Results([curve(key("eopnet", "x4"), 20, 0.1)]), ATR)
    assert len(lines(alone, 0)) == 1
    assert "Not run: without momentum prototypes" in texts(alone)


def test_scores_fall_back_on_miou_and_are_cut_to_the_shortest() -> None:
    run = made_up(key("eopnet"), 0.5)
    plain = [replace(run, history=[{"epoch": n, "novel_miou": 0.1 * n} for n in range(1, last)]) for last in (4, 6)]
    epochs, scores, kind = training_score(plain, "novel")
    assert kind == "miou"
    assert scores.shape == (2, 3)
    np.testing.assert_allclose(epochs, [1, 2, 3])
    np.testing.assert_allclose(scores[1], [10, 20, 30])
    assert training_score([replace(run, history=[])], "novel")[1].shape == (0, 0)


# ------------------------------------------------------------------------------------------------ budget, starts


def test_budget_draws_scores_of_common_seeds_with_their_ranks() -> None:
    keys = [one for one in runs_of("budget") if one.dataset == ATR and not (one.method == "popnet" and one.ablation)]
    more = [key("eopnet", seed=1), key("panet", seed=1)]
    runs = fine(*keys) + fine(*more, skill=0.9)
    figure, by_key = budget(Results(runs), ATR, CCP), {one.key: one for one in runs}
    check(figure)
    panels = budget_panels(Results(runs), (ATR, CCP))
    assert [panel.title for panel in panels if panel.runs] == [f"methods, {ATR}", f"EOP-Net's parts, {ATR}"]
    assert len(figure.axes) == 4, "two scores for each; the other dataset is left out"
    for place, measure in ((0, "novel"), (2, "human")):
        marks = np.concatenate(
            [c.get_offsets() for c in figure.axes[place].collections if isinstance(c, PathCollection)]
        )
        for factor, name in ((1, ""), (4, "x4"), (10, "x10")):
            own = {one.method: 100 * by_key[one].score(measure) for one in keys if one.ablation == name}
            np.testing.assert_allclose(sorted(y for x, y in marks if x == factor), sorted(own.values()))
            ranks = {
                round(text.get_position()[1], 6): text.get_text()
                for text in figure.axes[place].texts
                if text.get_text().isdigit() and text.get_position()[0] == factor
            }
            ordered = sorted(own.values(), reverse=True) if len(own) == len({one.method for one in keys}) else []
            assert ranks == {round(y, 6): str(1 + rank) for rank, y in enumerate(ordered)}, "a rank is one among all"
    words = texts(figure)
    assert "POPNet (x4 not run)" in words
    assert f"Not run: methods, {CCP}." in words
    assert "1 seed." in words
    for part in ("DML", "DML w/o WS", "NPM", "without momentum prototypes"):
        assert part in words


def test_starts_say_what_is_not_run() -> None:
    keys = [
        one for one in runs_of("starts") if one.dataset == ATR and (one.method, one.ablation) != ("sgone", "start-none")
    ]
    runs = fine(*[one for one in keys if one.method != "panet"])
    figure = starts(Results(runs), ATR, CCP)
    check(figure)
    human = figure.axes[1]
    marks = [(line.get_xdata()[0], line.get_ydata()[0]) for line in human.lines if len(line.get_xdata()) == 1]
    assert sorted(x for x, _ in marks) == pytest.approx(sorted(100 * one.score("human") for one in runs))
    rows = [label.get_text() for label in human.get_yticklabels()]
    assert rows == ["EOP-Net", "PANet", "SG-One"]
    said = {round(text.get_position()[1]): text.get_text() for text in human.texts}
    assert said == {1: "not run", 2: "not run: no initialisation"}
    assert f"Not run: {CCP}." in texts(figure)
