"""What PPNet, PFENet and label transfer have in common, and that they learn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contenders_tiny import SMALL, edges, painted, perfect, relabel, small
from nn_tiny import episode, one

from oshp_lite.assets import checkpoint
from oshp_lite.data.episode import IGNORE, Episode, collate
from oshp_lite.data.loading import EpisodeDataset
from oshp_lite.data.synthetic import generate
from oshp_lite.engine.models import load_encoder
from oshp_lite.errors import UserError
from oshp_lite.labels import fold
from oshp_lite.models.baselines.common import Contender
from oshp_lite.models.registry import build

METHODS = ("ppnet", "pfenet", "label_transfer")


@pytest.mark.parametrize("method", METHODS)
def test_permuting_ids_permutes_the_channels(method: str) -> None:
    net = small(method, absent_test="full").eval()
    batch = episode()
    order = torch.tensor([0, 3, 1, 5, 2, 4])  # id i becomes order[i]
    moved = replace(batch, support_mask=relabel(batch.support_mask, order))
    plain, permuted = net(batch).fine, net(moved).fine
    assert torch.allclose(plain, permuted[:, order], atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_one_class_in_k_way_is_the_one_way_answer(method: str) -> None:
    batch = episode("1")
    one_way = small(method, way="1").eval()
    k_way = small(method, absent_test="full").eval()
    as_k = replace(batch, support_mask=batch.support_mask * 4, class_ids=None)
    assert torch.equal(k_way.predict(as_k).ids, one_way.predict(batch).ids * 4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", ["k", "1"])
def test_answers_are_of_the_support_and_of_the_episode_alone(method: str, way: str) -> None:
    net = small(method, way=way).train()
    batch = episode(way)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    answer = net.predict(batch).ids
    assert answer.dtype == torch.int64
    assert answer.shape == batch.query_image[:, 0].shape
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net.training
    for row in range(len(batch)):
        allowed = {0, *batch.support_mask[row].unique().tolist()}
        assert set(answer[row].unique().tolist()) <= allowed
        assert torch.equal(net.predict(one(batch, row)).ids[0], answer[row])
    assert torch.equal(net.predict(replace(batch, query_mask=None, query_foreground=None)).ids, answer)


@pytest.mark.parametrize("method", METHODS)
def test_empty_and_ignored_supports_answer_background(method: str) -> None:
    net = small(method).eval()
    batch = episode()
    for value in (0, IGNORE):
        bare = replace(batch, support_mask=torch.full_like(batch.support_mask, value))
        assert torch.isfinite(net(bare).fine).all()
        assert not net.predict(bare).ids.any()


@pytest.mark.parametrize("method", METHODS)
def test_bad_options_are_told(method: str) -> None:
    with pytest.raises(UserError, match="no option 'colour'"):
        build(method, **SMALL, colour=1)
    bad = {"ppnet": {"sampling": "all"}, "pfenet": {"kway_rule": "max"}, "label_transfer": {"level": "cellar"}}
    with pytest.raises(UserError, match=next(iter(bad[method]))):
        build(method, **SMALL, **bad[method])


@pytest.mark.parametrize("method", ["ppnet", "pfenet"])
@pytest.mark.parametrize("how", ["background", "ignore", "class"])
def test_training_steps_are_finite_whatever_unlabelled_pixels_are(method: str, how: str) -> None:
    net = small(method, unlabelled=how).train()
    parsing = net(episode(), progress=0.5)
    losses = net.losses(parsing, episode(), 0.5)
    assert parsing.fine.shape[1] == 6
    losses["total"].backward()
    grads = [p.grad for p in net.parameters() if p.requires_grad]
    assert all(g is not None and torch.isfinite(g).all() for g in grads)
    assert losses["total"] > 0


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_steps_stay_close(method: str) -> None:
    """Under bf16 autocast pooling, k-means, priors and votes still run in float32."""
    batch = episode()
    batch = replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())
    found = []
    for enabled in (False, True):
        net = build(method, **SMALL, **({"dropout": 0.0} if method == "pfenet" else {})).train()
        with torch.random.fork_rng(devices=[]), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            torch.manual_seed(0)
            losses = net.losses(net(batch, progress=0.5), batch, 0.5)
        found.append(losses["total"].item())
        assert losses["total"].dtype == torch.float32
    assert found[1] == pytest.approx(found[0], rel=0.1)


@pytest.mark.parametrize("changes", [{"method": "ppnet"}, {"method": "label_transfer", "top_k": 1}], ids=str)
def test_perfect_features_return_the_support_mask(changes: dict[str, Any]) -> None:
    net = perfect(**changes)
    batch = painted()
    wrong = (net.predict(batch).ids != batch.support_mask).double().mean()
    inner = F.max_pool2d(F.pad(edges(batch.support_mask), (4, 4, 4, 4)), 9, 1)[:, 0] == 0
    assert not (net.predict(batch).ids != batch.support_mask)[inner].any()  # only within a cell of a border
    assert wrong < 0.2


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Episode:
    data = generate("synth-atr", tmp_path_factory.mktemp("people"), 12, 8, 64, progress=False)
    items = EpisodeDataset(data, fold("atr", 1), "k", "train", 64, augment="none", seed=0)
    return collate([items[i] for i in range(6)])


def base_iou(net: Contender, batch: Episode) -> float:
    answer, truth = net.predict(batch).ids, net.eval().target(batch)
    shown = [c for c in truth.unique().tolist() if c not in (0, IGNORE)]
    both = [((answer == c) & (truth == c)).sum() / ((answer == c) | (truth == c)).sum() for c in shown]
    return float(torch.stack(both).mean())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options", "bar"),
    [("ppnet", {}, 0.3), ("pfenet", {"dropout": 0.1, "balance": 0.5, "classes_per_step": 0}, 0.15)],
)
def test_learns_a_handful_of_episodes(method: str, options: dict[str, Any], bar: float, scenes: Episode) -> None:
    """Training loss falls and base IoU on the training episodes passes a bar, from the shipped encoder."""
    net = build(method, n_ids=18, variant="lite", **options)
    load_encoder(net, checkpoint())
    net.train()
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=3e-3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        history = []
        for _ in range(60 if method == "pfenet" else 30):
            losses = net.losses(net(scenes, progress=0.5), scenes, 0.5)
            optimizer.zero_grad()
            losses["total"].backward()
            optimizer.step()
            history.append(losses["total"].item())
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])
    assert base_iou(net, scenes) > bar
