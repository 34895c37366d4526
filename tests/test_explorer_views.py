"""The explorers that Python draws: episodes, stability, replay, the run browser; logic, drawing, views."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from oshp_lite.book.widgets import replay
from oshp_lite.book.widgets.canvas import encoded
from oshp_lite.book.widgets.episodes import EpisodeState, datasets_here, episode_explorer
from oshp_lite.book.widgets.latency import measure_latency
from oshp_lite.book.widgets.run_browser import RunBrowserState, run_browser
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.book.widgets.stability import StabilityState, stability_view
from oshp_lite.data.registry import SyntheticConfig
from oshp_lite.engine.checkpoint import load_parser, save_weights
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError

PEOPLE = SyntheticConfig(n_train=8, n_test=8, size=64, seed=1)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def people(data: Path) -> Source:
    return open_source(data=data, people=PEOPLE)


# ------------------------------------------------------------------------------------------------ episodes


@pytest.fixture
def episodes(data: Path) -> EpisodeState:
    return EpisodeState(data=data, people=PEOPLE)


def test_training_hides_novel_classes_and_one_way_shows_one(episodes: EpisodeState) -> None:
    novel = set(episodes.photos.fold.novel)
    index = next(index for index in range(8) if episodes.hidden(index))
    tested, trained = episodes.mask(index), episodes.mask(index, training=True)
    assert np.array_equal(trained, np.where(np.isin(tested, list(novel)), 0, tested))
    assert set(episodes.hidden(index)) == set(np.unique(tested)) & novel
    episodes.way, episodes.class_id = "1", episodes.hidden(index)[0]
    assert set(np.unique(episodes.mask(index))) == {0, episodes.class_id}
    assert not episodes.mask(index, training=True).any()


def test_areas_are_shares_of_the_photo(episodes: EpisodeState) -> None:
    mask = episodes.photos.sample(2).mask
    areas = episodes.areas(2)
    assert sum(areas.values()) == pytest.approx((mask > 0).mean())
    assert all(areas[c] == pytest.approx((mask == c).mean()) for c in areas)


def test_numbers_out_of_range_and_random_pairs(episodes: EpisodeState) -> None:
    episodes.query, episodes.support = 10**6, -3
    episodes.settle()
    assert (episodes.query, episodes.support) == (7, 0)
    episodes.lot = 5
    drawn = episodes.query, episodes.support
    episodes.lot = 6
    episodes.lot = 5
    assert (episodes.query, episodes.support) == drawn
    assert drawn[0] != drawn[1]
    assert {"query", "support", "class_id"} <= episodes.idle()


def test_the_episode_view_follows_messages_and_another_label_space(data: Path) -> None:
    pytest.importorskip("ipywidgets")
    explorer = episode_explorer(data=data, people=PEOPLE)
    grid, picture, _ = explorer.widget.children
    controls = {control.description: control for control in grid.children}
    assert all(controls), "every control has its label"
    assert controls["class (1-way)"].disabled
    before = picture.value
    controls["way"].set_state({"index": 1})
    assert not controls["class (1-way)"].disabled
    assert picture.value != before
    controls["query photo"].set_state({"value": 500})
    assert controls["query photo"].value == explorer.state.query == 7
    controls["dataset"].value = "synth-cihp"
    assert explorer.state.photos.dataset.name == "synth-cihp"
    assert dict(controls["class (1-way)"].options).keys() >= {"coat"}


def test_only_datasets_that_are_there_are_offered(tmp_path: Path) -> None:
    assert set(datasets_here(tmp_path)) == {"synth-atr", "synth-lip", "synth-cihp"}


# ----------------------------------------------------------------------------------------------- stability


def test_supports_are_ranked_by_the_class_s_iou(people: Source) -> None:
    state = StabilityState(people, 0, most=3)
    assert len(state.supports()) == 3
    mask = people.episode(0, 0).support_mask.numpy()
    for iou, support in state.ranked():
        assert state.class_id in people.classes_of(support)
        mine, true = (people.parse(0, support).numpy() == state.class_id) & (mask != 255), mask == state.class_id
        assert iou == pytest.approx((mine & true).sum() / (mine | true).sum())
    assert state.ranked() == sorted(state.ranked())


def test_the_stability_view_follows_messages(people: Source) -> None:
    pytest.importorskip("ipywidgets")
    explorer = stability_view(people, 0, most=3)
    grid, picture, _ = explorer.widget.children
    controls = {control.description: control for control in grid.children}
    before = picture.value
    controls["support, worst to best"].set_state({"value": 0})
    assert explorer.state.rank == 0
    assert picture.value != before
    controls["query photo"].set_state({"value": 3})
    offered = dict(controls["class"].options).values()
    assert list(offered) == people.classes_of(3)


# -------------------------------------------------------------------------------------------------- replay


def write_history(folder: Path, rows: list[dict[str, float]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "history.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def kept(people: Source, tmp_path: Path) -> Path:
    """A folder with three networks on the way: the shipped one, and two of random weights."""
    folder = tmp_path / "run"
    for epoch, beta in enumerate((1.0, 0.5, 0.25)):
        state = dict(people.parser.state_dict())
        if epoch < 2:
            noise = torch.Generator().manual_seed(epoch)
            state = {
                k: v + 0.05 * torch.randn(v.shape, generator=noise) if v.is_floating_point() else v
                for k, v in state.items()
            }
        record = replace(people.parser.record, more={"epoch": epoch, "beta": beta})
        save_weights(folder / replay.MOMENTS / f"epoch_{epoch:03d}.safetensors", state, record)
    write_history(folder, [{"epoch": e, "beta": 1 / e, "loss_agm": 1.0, "loss_npm": 2.0} for e in (1, 2)])
    return folder


def test_a_replay_shows_what_each_network_parses(people: Source, kept: Path) -> None:
    state = replay.dml_replay(kept, people, 0, 4).state
    assert [(one.epoch, one.beta) for one in state.moments] == [(0, 1.0), (1, 0.5), (2, 0.25)]
    assert state.step == 2
    assert np.array_equal(state.parse(2, "npm"), people.parse(0, 4).numpy())
    ids = state.parse(2, "npm")
    state.screening = False
    assert (state.parse(2, "npm") != 0).sum() >= (ids != 0).sum()
    worn = people.truth(0, 4).numpy() == state.class_id
    assert worn.any()
    assert state.lost(0, "agm") == pytest.approx((state.parse(0, "agm")[worn] == 0).mean())


def test_the_replay_view_follows_messages(people: Source, kept: Path) -> None:
    pytest.importorskip("ipywidgets")
    explorer = replay.dml_replay(kept, people, 0, 4)
    grid, picture, _ = explorer.widget.children
    controls = {control.description: control for control in grid.children}
    before = picture.value
    controls["network"].set_state({"index": 0})
    assert explorer.state.step == 0
    assert picture.value != before
    assert not controls["network"].disabled


def test_a_plain_run_replays_its_last_network_only(people: Source, kept: Path) -> None:
    for path in (kept / replay.MOMENTS).glob("*"):
        path.rename(kept / "weights.safetensors")
    (moment,) = replay.moments_of(kept)
    assert moment.epoch == 2
    assert "step" in replay.ReplayState(people, [moment]).idle()


def test_a_method_without_agm_is_refused(people: Source, tmp_path: Path) -> None:
    other = open_source("label_transfer", data=people.dataset.root.parent, people=PEOPLE).parser
    record = replace(other.record, options={"variant": "lite", "n_ids": other.n_ids, "way": "k"})
    save_weights(tmp_path / "weights.safetensors", other.state_dict(), record)
    write_history(tmp_path, [{"epoch": 1, "beta": 1.0}])
    with pytest.raises(UserError, match="no AGM"):
        replay.dml_replay(tmp_path, people)


@pytest.mark.slow
def test_keeping_networks_changes_nothing_of_the_training(tmp_path: Path) -> None:
    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine.train import train

    people = {"data.synthetic.n_train": 8, "data.synthetic.n_test": 8, "data.size": 32, "init.kind": "none"}
    config = load_profile("smoke", people)
    dataset = find_dataset(config.data, tmp_path / "data", progress=False)
    folder = replay.train_with_moments(config, dataset, tmp_path / "watched")
    train(config, dataset, tmp_path / "plain", progress=False)
    moments = replay.moments_of(folder)
    assert [one.epoch for one in moments] == [0, 1, 2]
    last, plain = (
        load_parser(path).state_dict() for path in (moments[-1].weights, tmp_path / "plain" / "weights.safetensors")
    )
    assert all(torch.equal(last[name], plain[name]) for name in plain)


# --------------------------------------------------------------------------------------------- run browser


def made_up(folder: Path, method: str, seed: int, novel: float, **more: Any) -> Run:
    config = load_profile("smoke", {"model.method": method, "train.seed": seed, **more}).as_dict()
    write_history(folder, [{"epoch": e, "loss_total": 3.0 / e} for e in (1, 2)])
    finished = {"identity": f"{method}{seed}", "seconds": 60.0 * seed, "finished": f"2026-01-0{seed}T10:00:00"}
    return Run(folder, config, {"novel_miou": novel, "base_miou": 0.5, "human_miou": 0.4}, finished)


@pytest.fixture
def runs(tmp_path: Path) -> list[Run]:
    return [
        made_up(tmp_path / "a", "eopnet", 1, 0.3),
        made_up(tmp_path / "b", "panet", 2, float("nan")),
        made_up(tmp_path / "c", "eopnet", 3, 0.1, **{"train.lr": 0.5}),
    ]


def identities(state: RunBrowserState) -> list[str]:
    return [row.run.identity for row in state.rows()]


def test_the_table_sorts_and_filters(runs: list[Run]) -> None:
    state = RunBrowserState(runs)
    assert identities(state) == ["eopnet3", "panet2", "eopnet1"], "the newest first"
    for descending, order in ((True, ["eopnet1", "eopnet3", "panet2"]), (False, ["eopnet3", "eopnet1", "panet2"])):
        state.sort, state.descending = "novel", descending
        assert identities(state) == order, "a run without the score is last"
    state.words = "panet"
    assert identities(state) == ["panet2"]
    state.sort = "wrong"
    with pytest.raises(UserError, match="no column"):
        state.rows()


def test_differences_are_those_of_the_chosen_runs(runs: list[Run]) -> None:
    state = RunBrowserState(runs, chosen=("eopnet1", "eopnet3"))
    assert state.differences() == {"train.seed": [1, 3], "train.lr": [runs[0].config.train.lr, 0.5]}
    assert state.provenance()["identity"] == ["eopnet1", "eopnet3"]


def test_the_run_browser_follows_messages_and_has_a_page(runs: list[Run], tmp_path: Path) -> None:
    explorer = run_browser(runs)
    assert explorer.html().count("<tr") > 6
    assert "http" not in explorer.html()
    pytest.importorskip("ipywidgets")
    above, table, compare, curves, details = explorer.widget.children
    before = table.value, curves.value, details.value
    above.children[0].set_state({"index": 6})
    assert explorer.state.sort == "novel"
    assert table.value != before[0]
    compare.set_state({"index": [0]})
    assert len(explorer.state.selected()) == 1
    assert (curves.value, details.value) != before[1:]
    with pytest.raises(UserError, match="run store is empty"):
        run_browser(RunStore(tmp_path / "none"))


# ------------------------------------------------------------------------------------------------- drawing


def test_drawings_depend_on_the_state_alone(people: Source, episodes: EpisodeState, runs: list[Run]) -> None:
    for state in (episodes, StabilityState(people, 0, most=2), RunBrowserState(runs)):
        picture = encoded(state.draw(), "png")
        assert picture.startswith(b"\x89PNG")
        assert encoded(state.draw(), "png") == picture


def test_latency_is_measured_for_every_interaction() -> None:
    times = measure_latency(size=64, repeats=2)
    assert len(times) == 7
    assert all(0 < value < 60 for pair in times.values() for value in pair)
