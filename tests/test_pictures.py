"""The papers' pictures from a store's predictions, and from the few that are kept when the store is elsewhere."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from oshp_lite.data.synthetic.generate import generate
from oshp_lite.engine.config import DataConfig, RunConfig
from oshp_lite.engine.evaluate import Evaluation, save_predictions
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import Scores
from oshp_lite.errors import UserError
from oshp_lite.study.figures import PICTURES, drawn_picture, keep_predictions, panels_of, picture, real_picture
from oshp_lite.study.figures.pictures import Chosen, choose
from oshp_lite.study.plan import config_of
from oshp_lite.study.records import Measured, Results, RunKey, measured_of
from oshp_lite.viz import fig_to_png

METHODS = ("eopnet", "popnet", "amp")


class Store:
    """Stands in for the run store: one tiny dataset, and run folders with the true masks as predictions."""

    def __init__(self, folder: Path, people: Any, methods: tuple[str, ...] = METHODS) -> None:
        self.folder, self.people, self.methods = folder, people, methods

    def find(self, config: RunConfig) -> Any:
        method, way = config.model.method, config.data.way
        if method not in self.methods or way == "1":
            return None
        place = self.folder / f"{method}-{way}"
        if not (place / "predictions.npz").is_file():
            episodes = test_set(config, self.people, run_fold(config, self.people))
            masks = [episodes[number].query_mask.to(torch.uint8) for number in range(len(episodes))]  # type: ignore[union-attr]
            save_predictions(
                place / "predictions.npz",
                Evaluation(Scores(way, 0.0, 0.0, 0.0, {}), torch.zeros(1, 2, 2), [], [], predictions=masks),
            )
        return SimpleNamespace(folder=place)

    def dataset(self, data: DataConfig) -> Any:
        return self.people


def result(method: str, people: Any, way: Literal["k", "1"] = "k") -> Measured:
    key = RunKey(method, "synth-atr", 1, way)
    config = config_of(key, "smoke")
    chosen = run_fold(config, people)
    pairs = test_set(config, people, chosen).pairs()
    rng = np.random.default_rng(len(method))
    size = chosen.n_ids if way == "k" else 2
    matrices = rng.integers(20, 90, (len(pairs), size, size))
    queries = np.unique([pair.query for pair in pairs], return_inverse=True)[1]
    return measured_of(key, "smoke", matrices, [pair.class_id for pair in pairs], queries=queries)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return generate("synth-atr", tmp_path_factory.mktemp("people"), 48, 32, 64, progress=False)


@pytest.fixture(scope="module")
def results(people: Any) -> Results:
    return Results([result(method, people) for method in METHODS])


def drawn(figure: Figure) -> bytes:
    return fig_to_png(figure, colours=None)


def test_every_picture_is_drawn_without_any_result() -> None:
    for name in PICTURES:
        assert len(drawn(picture(name, Results(), "smoke", finder=Store(Path(), None)))) > 1000  # type: ignore[arg-type]


def test_a_figure_is_led_by_its_papers_own_method() -> None:
    assert panels_of("eopnet6f", "lite")["k"][-1] == RunKey("eopnet", "synth-atr", 1, "k")
    assert panels_of("popnet4f", "lite")["k"][-1].protocol == "aaai"
    assert panels_of("popnet4f", "lite", "journal")["k"][-1] == RunKey("popnet", "synth-atr", 1, "k")
    assert set(panels_of("popnet3f", "lite")) == {"1", "k"}
    real = panels_of("eopnet7f", "lite", data="ccp")["k"]
    assert [key.ablation for key in real] == ["static", ""]
    assert {(key.dataset, key.protocol) for key in real} == {("ccp-os", "blocks")}
    with pytest.raises(UserError, match="shows no predictions"):
        panels_of("confusion", "lite")


def test_kept_predictions_draw_the_same_picture(tmp_path: Path, people: Any, results: Results) -> None:
    store, kept = Store(tmp_path, people), tmp_path / "kept"
    made = keep_predictions(results, "smoke", finder=store, folder=kept)  # type: ignore[arg-type]
    assert {path.name for path in made} == {f"{method}-synth-atr-fold1-kway-papers-seed0.npz" for method in METHODS}
    assert all(path.stat().st_size < 30_000 for path in made)
    assert keep_predictions(results, "smoke", finder=store, folder=kept) == [], "nothing changed"  # type: ignore[arg-type]
    elsewhere = Store(tmp_path, people, methods=())
    for name in ("eopnet6f", "eopnet7f"):
        chosen = choose(name, panels_of(name, "smoke"), results, store)  # type: ignore[arg-type]
        assert isinstance(chosen, Chosen)
        assert chosen.lead.key.method == "eopnet"
        assert chosen.positions["k"]
        here, there, nowhere = (
            drawn(picture(name, results, "smoke", finder=finder, kept=folder))  # type: ignore[arg-type]
            for finder, folder in ((store, kept), (elsewhere, kept), (elsewhere, tmp_path / "none"))
        )
        assert here == there
        assert here != nowhere


def test_answers_to_other_photos_are_not_taken(tmp_path: Path, people: Any, results: Results) -> None:
    kept = tmp_path / "kept"
    for path in keep_predictions(results, "smoke", finder=Store(tmp_path, people), folder=kept):  # type: ignore[arg-type]
        with np.load(path) as found:
            arrays = {name: found[name] for name in found.files} | {"data": np.array("other photos")}
        np.savez_compressed(path, **arrays)
    elsewhere = Store(tmp_path, people, methods=())
    with_kept, without = (
        drawn(picture("eopnet6f", results, "smoke", finder=elsewhere, kept=folder))  # type: ignore[arg-type]
        for folder in (kept, tmp_path / "none")
    )
    assert with_kept == without


def test_a_run_with_damaged_predictions_does_not_stop_a_picture(tmp_path: Path, people: Any, results: Results) -> None:
    store = Store(tmp_path, people)
    whole = drawn(picture("eopnet6f", results, "smoke", finder=store, kept=tmp_path / "none"))  # type: ignore[arg-type]
    (tmp_path / "amp-k" / "predictions.npz").write_bytes(b"damaged")
    part = drawn(picture("eopnet6f", results, "smoke", finder=store, kept=tmp_path / "none"))  # type: ignore[arg-type]
    assert part != whole


def test_one_query_in_both_ways(tmp_path: Path, people: Any, results: Results) -> None:
    store, panels = Store(tmp_path, people), panels_of("eopnet4f", "smoke")
    alone = choose("eopnet4f", panels, results, store)  # type: ignore[arg-type]
    assert isinstance(alone, Chosen)
    assert {way: len(places) for way, places in alone.positions.items()} == {"k": 3}
    assert drawn_picture("eopnet4f", Results(), "smoke", finder=store) is None  # type: ignore[arg-type]
    figure = drawn_picture("eopnet4f", results, "smoke", finder=store, kept=tmp_path)  # type: ignore[arg-type]
    assert figure is not None
    words = " ".join(text.get_text() for text in figure.findobj(Text))
    assert "Fig. 4: k-way alone" in words
    assert "Not run: 1-way." in " ".join(words.split())
    assert "or IoU of the one class" not in " ".join(words.split())
    both = Results([*map(results.get, results.keys()), result("eopnet", people, "1")])  # type: ignore[list-item]
    chosen = choose("eopnet4f", panels, both, store)  # type: ignore[arg-type]
    assert isinstance(chosen, Chosen)
    assert len(chosen.positions["k"]) == len(chosen.positions["1"]) == 2
    lists = {}
    for way in ("k", "1"):
        config = config_of(RunKey("eopnet", "synth-atr", 1, way), "smoke")  # type: ignore[arg-type]
        lists[way] = test_set(config, people, run_fold(config, people)).pairs()
    for kway, oneway in zip(chosen.positions["k"], chosen.positions["1"], strict=True):
        assert lists["k"][kway].query == lists["1"][oneway].query
        assert lists["1"][oneway].class_id in chosen.lead.novel


def test_real_photos_are_drawn_where_they_are_and_nowhere_else(tmp_path: Path, people: Any, results: Results) -> None:
    assert real_picture("eopnet6f", results, "smoke", finder=Store(tmp_path, people)) is None  # type: ignore[arg-type]
    other = [
        replace(run, key=replace(run.key, dataset="ccp-os", protocol="")) for run in map(results.get, results.keys())
    ]
    real = Results(other)  # type: ignore[arg-type]
    assert real_picture("eopnet6f", real, "smoke", finder=Store(tmp_path, None)) is None  # type: ignore[arg-type]
