"""The explorers without a browser: what they compute, what they draw, and the views without a kernel."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from oshp_lite.book.widgets import browser, colours
from oshp_lite.book.widgets.comparison import ComparisonState, Contender, method_comparison
from oshp_lite.book.widgets.feature_space import FeatureState, feature_space
from oshp_lite.book.widgets.lens import LensState, prototype_lens
from oshp_lite.book.widgets.source import Source, open_source
from oshp_lite.data.registry import SyntheticConfig
from oshp_lite.engine.checkpoint import save_weights
from oshp_lite.errors import UserError
from oshp_lite.labels import label_space
from oshp_lite.models.base import PredictOptions
from oshp_lite.models.modules.prototypes import masked_average
from oshp_lite.models.registry import METHODS, build

PEOPLE = SyntheticConfig(n_train=8, n_test=8, size=64, seed=1)


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The shipped checkpoint and eight drawn people."""
    return open_source(data=tmp_path_factory.mktemp("data"), people=PEOPLE)


@pytest.fixture
def lens(people: Source) -> LensState:
    return LensState(people, 0, 4)


# ------------------------------------------------------------------------------------------------- sources


def test_a_source_encodes_each_photo_once(people: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    first = people.features(3)
    monkeypatch.setattr("oshp_lite.book.widgets.source.features_of", None)
    assert people.features(3) is first


def test_an_episode_of_a_source_is_what_the_network_was_made_for(people: Source) -> None:
    episode = people.episode(0, 4)
    assert episode.query_image.shape[-2:] == people.size == (128, 128)
    assert people.parse(0, 4).shape == people.truth(0, 4).shape
    view = set(episode.support_mask.unique().tolist()) | {0, 255}
    assert set(people.truth(0, 4).unique().tolist()) <= view


@pytest.mark.parametrize(
    ("what", "dataset", "words"),
    [
        ("eopnet", None, "has to be trained"),
        ("nothing.safetensors", None, "does not exist"),
        (None, "synth-lip", "classes"),
    ],
)
def test_what_cannot_be_looked_at_is_refused_in_a_sentence(what, dataset, words, tmp_path) -> None:
    with pytest.raises(UserError, match=words):
        open_source(what, dataset=dataset, data=tmp_path, people=PEOPLE)


def test_a_training_free_method_stands_on_the_shipped_encoder(people: Source) -> None:
    other = open_source("label_transfer", data=people.dataset.root.parent, people=PEOPLE)
    torch.testing.assert_close(other.parser.encoder.state_dict(), people.parser.encoder.state_dict())
    assert other.label == "Nearest-patch label transfer"
    assert set(other.parse(0, 4).unique().tolist()) <= {0, *people.classes_of(4)}


def test_a_run_on_a_part_of_a_dataset_is_looked_at_on_all_of_it(people: Source, tmp_path: Path) -> None:
    record = people.parser.record
    config, fold = {"data": {"dataset": "synth-atr"}}, {**record.fold, "protocol": "tuning"}
    part = replace(record, dataset="synth-atr-tuning", config=config, fold=fold)
    save_weights(tmp_path / "weights.safetensors", people.parser.state_dict(), part)
    source = open_source(tmp_path / "weights.safetensors", data=people.dataset.root.parent, people=PEOPLE)
    assert source.dataset.fingerprint == people.dataset.fingerprint
    assert source.fold == people.fold


@pytest.mark.parametrize("name", ["popnet", "panet", "amp", "pfenet"])
def test_every_method_with_an_encoder_can_be_looked_into(name: str, people: Source) -> None:
    parser = build(name, variant="lite", n_ids=people.fold.n_ids, way="k", seed=0)
    source = open_source(parser, data=people.dataset.root.parent, people=PEOPLE)
    lens = LensState(source, 0, 4)
    assert lens.cosines().shape == (len(lens.prototypes.ids), *source.features(0).shape[-2:])
    assert (lens.head is not None) == (name == "popnet")
    assert {"memory", "momentum"} <= lens.idle(), "an untrained network remembers nothing"
    assert source.label == METHODS[name].label
    assert source.parse(0, 4).shape == source.truth(0, 4).shape


def test_the_head_of_popnet_is_its_own_too(people: Source) -> None:
    parser = build("popnet", variant="lite", n_ids=people.fold.n_ids, way="k", seed=0)
    source = open_source(parser, data=people.dataset.root.parent, people=PEOPLE)
    lens, stage, episode = LensState(source, 0, 4), parser.fine, source.episode(0, 4).batched()
    means = masked_average(source.features(4)[None], episode.support_mask, stage.rows)
    means[:, 0] = 0
    present = stage.support_classes(episode)[:, 1:]
    with torch.no_grad():
        theirs, _ = stage.k_way(source.features(0)[None], means, present, True, False, True)
    assert lens.head is not None
    torch.testing.assert_close(lens.head.logits(lens.cosines()), theirs[0, [0, *lens.prototypes.ids]])


def test_street_photos_are_looked_at_without_memory() -> None:
    street = open_source(dataset="street")
    lens = LensState(street, 3, 9)
    assert street.foreign
    assert {"memory", "momentum"} <= lens.idle()
    assert set(lens.prototypes.ids) <= set(label_space("ccp-os").foreground_classes)
    with pytest.raises(UserError, match="trained on other classes"):
        street.parse(3, 9)


# ------------------------------------------------------------------------------------------ prototype lens


def cosine(features: np.ndarray, rows: np.ndarray) -> np.ndarray:
    flat = features.reshape(len(features), -1)
    scaled = rows @ flat / (np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(flat, axis=0)[None])
    return scaled.reshape(len(rows), *features.shape[1:])


def test_the_lens_follows_equations_2_to_4(lens: LensState) -> None:
    """Against float64 NumPy: pooling, the memory, cosines."""
    features, support = (lens.source.features(index).double().numpy() for index in (0, 4))
    cells = lens.prototypes.cells.numpy()
    static = np.stack([support[:, cells == c].mean(1) for c in lens.prototypes.ids])
    lens.take({"memory": False})
    np.testing.assert_allclose(lens.cosines(), cosine(features, static), atol=1e-5)
    bank = lens.source.parser.bank.detach().double().numpy()[list(lens.prototypes.ids)]
    known = np.abs(bank).sum(1) > 0
    assert known.any()
    for alpha in (0.0, 0.3, 0.999):
        lens.take({"memory": True, "momentum": alpha})
        rows = np.where(known[:, None], alpha * bank + (1 - alpha) * static, static)
        np.testing.assert_allclose(lens.cosines(), cosine(features, rows), atol=1e-5)


def test_the_head_is_the_network_s_own(lens: LensState) -> None:
    """Logits at the cells equal those of the network's nearest prototype module."""
    parser, episode = lens.source.parser, lens.source.episode(0, 4).batched()
    means = masked_average(lens.source.features(4)[None], episode.support_mask, parser.rows)
    means[:, 0] = 0
    present = parser.support_classes(episode)[:, 1:]
    with torch.no_grad():
        theirs, _ = parser.k_way(lens.source.features(0)[None], means, present, False, False, True)
    assert lens.head is not None
    torch.testing.assert_close(lens.head.logits(lens.cosines()), theirs[0, [0, *lens.prototypes.ids]])


def seen(lens: LensState) -> tuple:
    """What a reader can see of the state, as numbers."""
    drawn = lens.parse() if lens.show == "parse" else torch.from_numpy(lens.map())
    return tuple(lens.bars().values()), drawn.tolist(), lens.hatched and lens.show == "parse"


@pytest.mark.parametrize("show", ["cosine", "probability", "parse"])
@pytest.mark.parametrize("nearest", [True, False])
@pytest.mark.parametrize("memory", [True, False])
def test_controls_without_effect_are_those_that_are_idle(lens: LensState, show, nearest, memory) -> None:
    base = {"show": show, "nearest": nearest, "memory": memory, "momentum": 0.999, "scale": 9.0, "temperature": 0.1}
    changes = {"momentum": 0.5, "scale": 30.0, "temperature": 0.5, "hatched": True, "memory": not memory}
    for name, value in changes.items():
        lens.take({**base, "hatched": False})
        before, idle = seen(lens), name in lens.idle()
        lens.take({name: value})
        if show != "parse" or name not in ("scale", "temperature"):  # which may leave every winner as it was
            assert idle == (seen(lens) == before), name


def test_what_comes_from_the_browser_is_checked(lens: LensState) -> None:
    before = lens.values()
    lens.take({"row": 1000, "column": -4, "momentum": float("nan"), "class_id": 999, "show": "x", "other": 1})
    assert (lens.row, lens.column) == (31, 0)
    assert {**lens.values(), "row": 0, "column": 0} == {**before, "row": 0, "column": 0}


def test_a_message_from_the_browser_moves_the_lens(people: Source) -> None:
    pytest.importorskip("anywidget")
    explorer = prototype_lens(people, 0, 4)
    controls, view = explorer.widget.children
    view.set_state({"row": 3, "column": 5, "memory": False})
    assert (explorer.state.row, explorer.state.column, explorer.state.memory) == (3, 5, False)
    before = view.payload
    controls.children[1].set_state({"value": 5})
    assert explorer.state.support == 5
    assert view.payload != before
    assert view.row == explorer.state.row


# ------------------------------------------------------------------------------------------ pages, colours


def check_page(html: str) -> None:
    """Small, whole, and without a word to the network."""
    assert len(html.encode()) < browser.LARGEST
    assert not re.search(r"""(?:src|href)=(?!"data:)|https?://|import\(|fetch\(|XMLHttp|@import""", html)
    content = re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    assert content
    assert set(json.loads(content[1])) == {"data", "values"}


def test_the_lens_has_a_page_of_its_own(people: Source, tmp_path) -> None:
    explorer = prototype_lens(people, 0, 4)
    check_page(explorer.html())
    explorer.save(tmp_path / "lens.html")
    assert (tmp_path / "lens.html").read_text().startswith("<!doctype html>")


def test_a_page_that_is_too_large_is_refused(people: Source) -> None:
    with pytest.raises(UserError, match="kB"):
        browser.fragment("lens", {"x": "a" * browser.LARGEST}, {}, b"", "")


def test_runs_of_a_mask_are_whole() -> None:
    import base64

    mask = np.repeat(np.array([0, 7, 255, 7], np.uint8), [600, 1, 255, 3]).reshape(-1, 1)
    pairs = np.frombuffer(base64.b64decode(browser.runs(mask)), np.uint8).reshape(-1, 2)
    assert np.array_equal(np.repeat(pairs[:, 0], pairs[:, 1]), mask.ravel())


VISIONS = {  # Machado, Oliveira and Fernandes (2009), severity 1.0, row by row
    "normal": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "protan": (0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998),
    "deutan": (0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881),
    "tritan": (1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039),
}


def lab(colour: str, vision: np.ndarray) -> np.ndarray:
    """CIELAB of "#rrggbb" as seen with a colour deficiency (D65)."""
    values = np.array(colours.rgb(colour)) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    x, y, z = np.array(to_xyz) @ np.clip(vision @ linear, 0, 1) / np.array([0.95047, 1, 1.08883])
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("group", [colours.SAFE, tuple(colours.ERRORS.values())], ids=["classes", "errors"])
def test_colours_stay_apart_for_colour_blind_readers(vision: str, group: tuple[str, ...]) -> None:
    seen = [lab(colour, np.reshape(VISIONS[vision], (3, 3))) for colour in group]
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 25


@pytest.mark.parametrize("name", ["atr", "lip", "cihp", "ccp-os"])
def test_colour_and_hatching_name_every_class(name: str) -> None:
    space = label_space(name)
    ids = space.foreground_classes
    mask = np.repeat(np.array(ids, np.uint8), 32)[:, None].repeat(32, 0).reshape(len(ids) * 32, 32)
    tiles = colours.hatch(np.full((*mask.shape, 3), 128, np.uint8), mask, ids).reshape(len(ids), -1)
    marks = {(colour, tile.tobytes()) for colour, tile in zip(colours.safe_colours(space).values(), tiles, strict=True)}
    assert len(marks) == len(ids)


# ---------------------------------------------------------------------------------------------- comparison


@pytest.fixture(scope="session")
def rivals(people: Source) -> dict[str, Contender]:
    return {"npm": Contender(people), "agm": Contender(people, PredictOptions(source="agm", screening=False))}


def test_the_comparison_scores_and_sorts(rivals: dict[str, Contender]) -> None:
    state = ComparisonState(rivals, 0, 4)
    for name, parse in state.parses.items():
        assert np.array_equal(parse, rivals[name].source.parse(0, 4, rivals[name].options).numpy())
        values = []
        for class_id in state.ids:
            mine, true = (parse == class_id) & (state.truth != 255), state.truth == class_id
            if (mine | true).any():
                values.append((mine & true).sum() / (mine | true).sum())
                assert state.iou(name, class_id) == pytest.approx(values[-1])
        assert state.iou(name) == pytest.approx(np.mean(values))
    scores = [state.iou(name) for name in state.ordered()]
    assert scores == sorted(scores)
    state.take({"order": "best"})
    assert [state.iou(name) for name in state.ordered()] == scores[::-1]


def test_a_contender_without_the_class_comes_last(rivals: dict[str, Contender]) -> None:
    state = ComparisonState(rivals, 0, 4)
    state.parses = {name: np.zeros_like(state.truth) for name in rivals}
    state.truth[:] = 0
    state.parses["agm"][:5] = state.ids[0]
    for order in ("worst", "best"):
        state.take({"order": order, "class_id": state.ids[0]})
        assert state.ordered() == ["agm", "npm"]


def test_every_wrong_pixel_is_one_kind_of_error(rivals: dict[str, Contender]) -> None:
    state = ComparisonState(rivals, 0, 4)
    for name, parse in state.parses.items():
        kinds = np.stack(list(state.errors(name).values()))
        assert np.array_equal(kinds.sum(0), (parse != state.truth) & (state.truth != 255))
        state.take({"class_id": state.ids[0]})
        wrong = (parse == state.ids[0]) ^ (state.truth == state.ids[0])
        assert np.array_equal(np.stack(list(state.errors(name).values())).sum(0), wrong & (state.truth != 255))
        state.take({"class_id": 0})


def test_networks_that_look_at_different_photos_are_refused(people: Source, tmp_path) -> None:
    other = open_source(data=tmp_path, people=replace(PEOPLE, seed=2))
    with pytest.raises(UserError, match="different photos"):
        ComparisonState({"a": Contender(people), "b": Contender(other)})
    with pytest.raises(UserError, match="nothing to compare"):
        ComparisonState({})


def test_the_comparison_draws_pages_and_follows_messages(rivals: dict[str, Contender]) -> None:
    explorer = method_comparison(rivals, 0, 4, hatched=True)
    check_page(explorer.html())
    pytest.importorskip("anywidget")
    controls, view = explorer.widget.children
    view.set_state({"class_id": explorer.state.ids[1], "show": "parse"})
    assert (explorer.state.class_id, explorer.state.show) == (explorer.state.ids[1], "parse")
    controls.children[0].set_state({"value": 2})
    assert explorer.state.query == 2


# ------------------------------------------------------------------------------------------- feature space


def test_components_are_those_of_the_people_s_cells(people: Source) -> None:
    """Against NumPy's own covariance, float64."""
    state = FeatureState(people, 0, support=4)
    vectors = []
    for index in (0, *state.supports):
        flat, ids = people.features(index).flatten(1).T.double().numpy(), state.ids_of(index)
        worn = flat[(ids > 0) & (ids != 255)]
        vectors.append(worn / np.linalg.norm(worn, axis=1, keepdims=True))
    every = np.concatenate(vectors)
    values, rows = np.linalg.eigh(np.cov(every.T, bias=True))
    np.testing.assert_allclose(state.explained, values[::-1][:3] / values.sum(), rtol=1e-9)
    np.testing.assert_allclose(np.abs((state.rows.numpy() * rows.T[::-1][:3]).sum(1)), 1, rtol=1e-9)


def test_prototypes_move_with_the_support_and_cells_stay(people: Source) -> None:
    state = FeatureState(people, 0, support=4)
    cells, stars, memory = state.places[0].clone(), state.stars(), state.stars(bank=True)
    state.take({"support": state.supports[1]})
    assert torch.equal(state.places[0], cells)
    shared = set(stars) & set(state.stars())
    assert shared
    assert all(stars[c] != state.stars()[c] for c in shared)
    assert all(memory[c] == pytest.approx(state.stars(bank=True)[c]) for c in shared & set(memory))


def test_the_feature_space_draws_pages_and_follows_messages(people: Source) -> None:
    explorer = feature_space(people, 0, 4, supports=(5,))
    assert explorer.state.supports[:2] == [4, 5]
    check_page(explorer.html())
    pytest.importorskip("anywidget")
    controls, view = explorer.widget.children
    view.set_state({"support": 5, "axes": "2,3", "background": True})
    assert (explorer.state.support, explorer.state.axes, explorer.state.background) == (5, "2,3", True)
    controls.children[0].set_state({"value": 1})
    assert explorer.state.query == 1
    assert 1 not in explorer.state.supports
