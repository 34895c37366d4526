"""The explorers of notebooks 04 and 13 in layers: state without widgets, drawing, page, view without a kernel."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sst_tiny import sst
from test_explorers import check_page

from oshp_lite.assets import checkpoint
from oshp_lite.book.typical import draw_person, episode_of, source_of
from oshp_lite.book.widgets.canvas import encoded
from oshp_lite.book.widgets.comparison import recorded_comparison
from oshp_lite.book.widgets.dual_metric import DualMetricState, Moment, dual_metric_explorer
from oshp_lite.book.widgets.relations import MEASURES, RelationState, Shown, class_relations, drawn_photos
from oshp_lite.book.widgets.source import encode_once
from oshp_lite.data.dataset import Sample
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.baselines.common import AlignedContender
from oshp_lite.models.sst.network import SST

NAMES = {2: "hair", 4: "upper-clothes"}


@pytest.fixture
def modules() -> DualMetricState:
    draw = torch.Generator().manual_seed(0)
    truth = torch.zeros(8, 6, dtype=torch.int64)
    truth[2:5] = 4
    truth[7] = 255
    moments = [
        Moment(beta, *(torch.randn(6, 8, 6, generator=draw).softmax(0) for _ in range(2))) for beta in (1.0, 0.5, 0.0)
    ]
    return DualMetricState(np.full((32, 24, 3), 120, dtype=np.uint8), truth, moments, NAMES, class_id=4)


def test_iou_counts_the_chosen_class_and_skips_ignored_cells(modules: DualMetricState) -> None:
    perfect = torch.nn.functional.one_hot(modules.truth.clamp(max=5), 6).permute(2, 0, 1).float()
    assert modules.iou(perfect) == 1.0
    modules.class_id = 2
    assert np.isnan(modules.iou(perfect))


def test_a_moment_is_drawn_beside_start_middle_and_end(modules: DualMetricState) -> None:
    modules.moments = [*modules.moments, *modules.moments]
    modules.step = 4
    titles = [place.get_title(loc="left") for place in modules.draw().axes]
    assert [title for title in titles if title.startswith("β")] == [
        f"β = {modules.moments[step].beta:.2f}: upper-clothes" for step in (1, 2, 4, 5)
    ]
    assert encoded(modules.draw(), "png") == encoded(modules.draw(), "png")


def test_messages_move_the_dual_metric_explorer_and_its_page_is_whole(modules: DualMetricState) -> None:
    explorer = dual_metric_explorer(modules)
    check_page(explorer.html())
    pytest.importorskip("anywidget")
    (view,) = explorer.widget.children
    view.set_state({"step": 2, "class_id": 2})
    assert (modules.step, modules.class_id) == (2, 2)
    view.set_state({"step": 9, "class_id": 3})
    assert (modules.step, modules.class_id) == (2, 2)


# ------------------------------------------------------------------------------------------- photos that are at hand


def test_recorded_predictions_are_compared_without_a_network() -> None:
    chosen = fold("synth-atr", 1)
    mask = np.zeros((16, 12), np.uint8)
    mask[4:12], mask[12:] = 4, 6
    photo = np.full((16, 12, 3), 90, np.uint8)
    query, support = Sample(photo, np.where(mask == 6, 5, mask), mask), Sample(photo, mask, mask)
    half = np.where(np.arange(12) < 6, mask, 0).astype(np.uint8)
    explorer = recorded_comparison(query, support, {"all": mask, "half": half}, chosen, show="parse")
    state = explorer.state
    assert state.ids == (4, 6)
    assert set(np.unique(state.truth)) == {0, 4}, "what the support does not show is background"
    assert {name: state.iou(name, 4) for name in state.parses} == {"all": 1.0, "half": 0.5}
    assert state.ordered() == ["half", "all"]
    check_page(explorer.html())
    with pytest.raises(UserError, match="no parse of photo 1 from photo 0 was recorded"):
        state.choose(1, 0)


def test_an_encoder_runs_once_a_photo_until_its_weights_change() -> None:
    encoder, runs = torch.nn.Conv2d(3, 2, 1), []
    encoder.register_forward_hook(lambda *_: runs.append(1))
    parser: Any = type("Parser", (AlignedContender,), {"__init__": lambda self: torch.nn.Module.__init__(self)})()
    parser.encoder = encoder
    encode_once(parser)
    with torch.inference_mode():
        photo, same = torch.rand(2, 1, 3, 4, 4)
        made = [encoder(photo), encoder(photo[:]), encoder(photo.clone()), encoder(same)]
    assert all(torch.equal(one, made[0]) for one in made[:3])
    assert not torch.equal(made[3], made[0])
    kept = len(encoder.forward.cache)
    assert kept == 2, "two photos, however often and wherever they lie"
    with torch.no_grad():
        encoder.weight.mul_(2)
    with torch.inference_mode():
        assert not torch.equal(encoder(photo), made[0])


def test_the_notebooks_people_are_seen_as_in_their_episodes() -> None:
    people = [draw_person(index) for index in (0, 1)]
    source = source_of(load_parser(checkpoint()), people)
    episode = episode_of(*people)
    for mine, theirs in zip(source.tensors(1), (episode.support_image, episode.support_mask), strict=False):
        assert torch.equal(mine, theirs)
    assert source.photo(0, 256).shape == (256, 256, 3)
    assert set(np.unique(source.truth(0, 1))) <= {0, *source.classes_of(1)}


# ----------------------------------------------------------------------------------- relatives in another label set


@pytest.fixture(scope="module")
def network() -> SST:
    """An untrained network over three label sets, the second and third not linked."""
    made = sst(pairs="progressive").eval()
    made.record = CheckpointRecord("sst", {}, "k", made.n_ids, "pascal", size=64)
    return made


@pytest.fixture(scope="module")
def photos() -> list[Shown]:
    return drawn_photos(("pascal", "atr", "cihp"), 2, size=64)


@pytest.fixture
def relations(network: SST, photos: list[Shown]) -> RelationState:
    return RelationState(network, photos)


def linear(layer: Any, rows: np.ndarray) -> np.ndarray:
    bias = 0 if layer.bias is None else layer.bias.detach().double().numpy()
    return np.asarray(rows @ layer.weight.detach().double().numpy().T + bias)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))


@pytest.mark.parametrize(("of", "into"), [("pascal", "atr"), ("atr", "pascal"), ("cihp", "atr")])
def test_priors_and_attention_follow_equations_8_and_9(relations: RelationState, of: str, into: str) -> None:
    """Against float64 NumPy, from either side of a pair."""
    key, ahead = (f"{of}>{into}", True) if f"{of}>{into}" in relations.network.transfers else (f"{into}>{of}", False)
    transfer: Any = relations.network.transfers[key]
    mine, theirs, side = relations.known[of], relations.known[into], 0 if ahead else 1
    for level in range(3):
        pooled = [one.pooled[level][0].detach().double().numpy() for one in (mine, theirs)]
        weighed = [
            linear(transfer.weigh[place][level], one) for place, one in zip((side, 1 - side), pooled, strict=True)
        ]
        prior = weighed[0] @ weighed[1].T / np.sqrt(16)
        np.testing.assert_allclose(relations.relation("dynamic", of, into, level), prior, atol=1e-5)
        rows = [one.rows[level + 1][0].detach().double().numpy() for one in (mine, theirs)]
        layer = transfer.maps[side][level]
        logits = linear(layer.query, rows[0]) @ linear(layer.key, rows[1]).T / 4
        logits[:, ~theirs.present[level][0].numpy()] = -1e9
        np.testing.assert_allclose(relations.relation("image", of, into, level), softmax(logits), atol=1e-5)
    layer, rows = transfer.globally[side], [one.rows[0][0].detach().double().numpy() for one in (mine, theirs)]
    logits = linear(layer.query, rows[0]) @ linear(layer.key, rows[1]).T / 4
    np.testing.assert_allclose(relations.relation("dataset", of, into), softmax(logits), atol=1e-5)
    assert torch.equal(relations.relation("static", of, into), relations.relation("static", into, of).T)


def test_attention_is_the_softmax_of_equation_7(relations: RelationState) -> None:
    features, rows = (
        relations.maps[-1][0].double().numpy(),
        relations.known["atr"].rows[-1][0].detach().double().numpy(),
    )
    logits = np.einsum("dhw,zd->zhw", features, rows).reshape(18, -1).T
    np.testing.assert_allclose(relations.attention("atr").flatten(1).T, softmax(logits), atol=1e-5)


def test_the_strongest_relatives_of_an_image_are_in_it(relations: RelationState) -> None:
    for measure in MEASURES:
        found = relations.strongest(measure)
        row = relations.relation(measure)[relations.class_id]
        assert list(found.values()) == sorted(found.values(), reverse=True)
        assert all(weight == row[c] for c, weight in found.items())
        assert 0 not in found
        if measure in ("dynamic", "image"):
            assert set(found) <= set(relations.present(relations.into))


def test_what_comes_from_the_browser_fits_together(relations: RelationState) -> None:
    relations.take({"of": "atr"})
    assert relations.into == "pascal", "a set is not looked for in itself"
    relations.take({"of": "cihp", "into": "pascal", "level": 7, "class_id": 10**6})
    assert (relations.of, relations.into, relations.level) == ("cihp", "atr", 2), "the chain links CIHP to ATR alone"
    assert relations.class_id in relations.present("cihp")
    relations.take({"relative": 0})
    assert relations.relative in relations.strongest("static")


def test_a_photo_alone_is_parsed_by_the_heads(network: SST, photos: list[Shown]) -> None:
    state = RelationState(network, [Shown(photos[0].photo, {})])
    for domain in state.domains:
        predicted = network.heads[domain](state.maps[-1]).argmax(1)[0].numpy()
        assert np.array_equal(state.cells[domain], predicted)
    assert encoded(state.draw(), "png") == encoded(state.draw(), "png")


def test_the_relations_have_a_page_and_follow_messages(network: SST, photos: list[Shown]) -> None:
    explorer = class_relations(network, photos)
    check_page(explorer.html())
    content = json.loads(re.findall(r'<script type="application/json">(.*?)</script>', explorer.html(), re.S)[0])
    assert set(content["data"]["pairs"]) == {"pascal>atr", "atr>pascal", "atr>cihp", "cihp>atr"}
    pytest.importorskip("anywidget")
    controls, view = explorer.widget.children
    view.set_state({"of": "cihp", "into": "atr", "level": 0})
    assert (explorer.state.of, explorer.state.into, explorer.state.level) == ("cihp", "atr", 0)
    before = view.payload
    controls.children[0].set_state({"value": 1})
    assert explorer.state.index == 1
    assert view.payload != before


def test_a_network_that_links_nothing_is_refused(network: SST, photos: list[Shown]) -> None:
    bare = network.plain()
    with pytest.raises(UserError, match="no modules"):
        class_relations(bare, photos)
    state = RelationState(network, photos)
    with pytest.raises(UserError, match="does not link pascal and cihp"):
        state.relation("static", "pascal", "cihp")


def test_no_widget_uses_what_hangs_in_batch_execution() -> None:
    folder = Path(__file__).parents[1] / "oshp_lite" / "book" / "widgets"
    for path in folder.glob("*.py"):
        code = re.sub(r'""".*?"""', "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert not re.search(r"\b(Output|interact|interactive|interact_manual|pyplot)\b", code), path.name
