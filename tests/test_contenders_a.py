"""SG-One and PANet against NumPy, and what must hold for all cosine methods whatever the weights are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contender_tiny import (
    Cells,
    array,
    block_mask,
    colours,
    contender,
    evaluated,
    np_conv,
    np_cosine,
    np_cross_entropy,
    np_pool,
    np_upsample,
    shown_ids,
)
from engine_fixtures import tiny_config, tiny_dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.evaluate import evaluate
from oshp_lite.engine.train import Training, train
from oshp_lite.models.base import ABSENT
from oshp_lite.models.baselines.common import present_pairs


class Scaled(nn.Module):
    """An encoder whose features are multiplied by a number."""

    def __init__(self, encoder: nn.Module, factor: float) -> None:
        super().__init__()
        self.inner, self.factor = encoder, factor

    def forward(self, image: Tensor) -> Tensor:
        return self.inner(image) * self.factor


# -------------------------------------------------------------------------------------------------- SG-One


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("combine", ["eq6", "binary"])
def test_sgone_is_its_equation(combine: str, padding: int) -> None:
    net, batch, query, support = evaluated("sgone", combine=combine, exit_padding=padding)
    state = {name: array(value) for name, value in net.state_dict().items()}

    def conv(name: str, x: np.ndarray, pad: int) -> np.ndarray:
        return np_conv(x, state[f"{name}.weight"], state[f"{name}.bias"], pad)

    found = array(net(batch).fine)
    for b in range(2):
        guide_q, guide_s = conv("guidance", query[b], 1), conv("guidance", support[b], 1)
        side = conv("side", query[b], 1)
        fg, bg = {}, {}
        for c in shown_ids(batch.support_mask[b]):
            mask = array(batch.support_mask[b] == c).astype(float)
            similarity = np_cosine(guide_q, np_pool(guide_s, mask, "aligned"))
            scores = conv("exit", np.maximum(conv("shared", similarity * side, 1), 0), padding)
            assert scores.shape[1] == side.shape[1] + 2 * padding
            bg[c], fg[c] = scores
        logits = np.full((6, *scores.shape[1:]), ABSENT)
        if combine == "eq6":
            logits[0] = np.mean(list(bg.values()), 0)
            for c in fg:
                logits[c] = fg[c]
        else:
            logits[0] = 0
            for c in fg:
                logits[c] = fg[c] - bg[c]
        np.testing.assert_allclose(found[b], np_upsample(logits, (40, 52), "aligned"), atol=1e-9)


def test_sgones_binary_rule_is_background_where_all_two_way_answers_are() -> None:
    net, batch, _, _ = evaluated("sgone", combine="binary")
    net.resampling = "nearest"  # so that cells can be read off the full-size answer
    shown = net.support_classes(batch)
    with torch.no_grad():
        net.exit.bias[1] += 0.02  # near the balance of both answers
        query, support = net.encode(batch)
        sample, channel = present_pairs(shown)
        maps = net.score(net.similarity(query, support, batch.support_mask)[sample, channel], net.side(query)[sample])
        probability = maps.softmax(1)[:, 1]
        answer = net(batch).fine.argmax(1)[:, 2::4, 2::4]
    for b in range(2):
        own = probability[sample == b]
        best, which = own.max(0)
        expected = torch.where(best > 0.5, channel[sample == b][which], 0)
        assert torch.equal(answer[b], expected)


# --------------------------------------------------------------------------------------------------- PANet


def panet_prototypes(support: np.ndarray, mask: np.ndarray, ids: list[int], bg: str) -> dict[int, np.ndarray]:
    rows = {c: np_pool(support, (mask == c).astype(float), "bilinear") for c in ids}
    if bg == "panet":
        rows[0] = np_pool(support, (mask == 0).astype(float), "bilinear")
    else:
        rest = [np_pool(support, ((mask != c) & (mask != 255)).astype(float), "bilinear") for c in ids]
        rows[0] = np.mean(rest, 0)
    return rows


@pytest.mark.parametrize("bg", ["paper", "panet"])
def test_panet_is_its_equation_with_both_background_rules(bg: str) -> None:
    net, batch, _, _ = evaluated("panet", bg=bg)
    batch.support_mask[0, :6, :9] = 255
    parsing = net(batch)
    query, support = array(parsing.extras["query"]), array(parsing.extras["support"])
    for b in range(2):
        mask = array(batch.support_mask[b])
        ids = shown_ids(batch.support_mask[b])
        rows = panet_prototypes(support[b], mask, ids, bg)
        logits = np.full((6, *query.shape[-2:]), ABSENT)
        for c, row in rows.items():
            logits[c] = 20 * np_cosine(query[b], row)
        np.testing.assert_allclose(array(parsing.fine[b]), np_upsample(logits, (40, 52), "bilinear"), atol=1e-8)


@pytest.mark.parametrize("bg", ["paper", "panet"])
@pytest.mark.parametrize("way", ["k", "1"])
def test_par_is_its_definition(bg: str, way: str) -> None:
    net = contender("panet", way, bg=bg, absent_test="full")
    batch = episode(way)
    batch.support_mask[0, :6, :9] = 255
    parsing = net(batch, progress=0.0)
    found = net.losses(parsing, batch, 0.0)
    query, support = array(parsing.extras["query"]), array(parsing.extras["support"])
    scores = array(parsing.extras["scores"])
    total = 0.0
    for b in range(2):
        mask = array(batch.support_mask[b])
        ids = shown_ids(batch.support_mask[b], net.n_logits)
        allowed = [0, *ids]
        answer = np.array(allowed)[scores[b][allowed].argmax(0)]
        background = np_pool(query[b], (answer == 0).astype(float), "bilinear")
        for c in ids:
            if not (answer == c).any():
                continue
            own = np_pool(query[b], (answer == c).astype(float), "bilinear")
            pair = 20 * np.stack([np_cosine(support[b], background), np_cosine(support[b], own)])
            label = np.full(mask.shape, 255)
            label[(mask == 0) if bg == "panet" else (mask != 255)] = 0
            label[mask == c] = 1
            total += np_cross_entropy(np_upsample(pair, mask.shape, "bilinear"), label) / len(ids) / 2
    np.testing.assert_allclose(found["par"].item(), total, rtol=1e-8)
    np.testing.assert_allclose(found["total"].item(), found["ce"].item() + total, rtol=1e-8)


def test_par_is_zero_without_foreground_and_its_gradient_reaches_both_photos() -> None:
    net = contender("panet")
    batch = episode("k")
    for image in (batch.query_image, batch.support_image):
        image.requires_grad_()
    parsing = net(batch, progress=0.0)
    scores = parsing.extras["scores"].clone()
    scores[:, 0] = 100
    blind = replace(parsing, extras={**parsing.extras, "scores": scores})
    assert net.alignment(blind, batch).item() == 0
    net.alignment(blind, batch).backward(retain_graph=True)
    assert not batch.query_image.grad.any()  # type: ignore[union-attr]
    net.alignment(parsing, batch).backward()
    assert batch.query_image.grad.any()  # type: ignore[union-attr]
    assert batch.support_image.grad.any()  # type: ignore[union-attr]
    assert net.eval().losses(net(batch), batch, 0.0)["par"].item() == 0


# ------------------------------------------------------------------------------------------- invariants


@pytest.mark.parametrize("method", ["panet", "sgone", "amp"])
@given(order=st.permutations([1, 2, 3, 4, 5]))
@settings(max_examples=5, deadline=None)
def test_permuted_ids_permute_the_channels(method: str, order: list[int]) -> None:
    net, batch, _, _ = evaluated(method)  # AMP: nothing seen, so no trained row but the background's
    table = torch.arange(256)
    table[1:6] = torch.tensor(order)
    moved = replace(batch, support_mask=table[batch.support_mask])
    found = net(moved).fine[:, [0, *order]]
    assert torch.allclose(found, net(batch).fine, atol=1e-8)


@pytest.mark.parametrize("method", ["panet", "sgone"])
def test_kway_with_one_class_is_one_way(method: str) -> None:
    net, batch, _, _ = evaluated(method, "1")
    kway = contender(method, "k", absent_test="full").eval()
    kway.load_state_dict(net.state_dict())
    named = replace(batch, support_mask=batch.support_mask * 3, query_mask=batch.query_mask * 3, class_ids=None)  # type: ignore[operator]
    named.query_mask[batch.query_mask == 255] = 255  # type: ignore[index]
    assert torch.allclose(kway(named).fine[:, [0, 3]], net(batch).fine, atol=1e-9)
    net.train()
    kway.train()
    one, k = net.losses(net(batch), batch, 0.0), kway.losses(kway(named), named, 0.0)
    assert one["total"].item() == pytest.approx(k["total"].item(), rel=1e-6)


@pytest.mark.parametrize("method", ["panet", "amp"])
@given(power=st.integers(-3, 4))
@settings(max_examples=5, deadline=None)
def test_cosine_scores_do_not_feel_the_features_size(method: str, power: int) -> None:
    net, batch, _, _ = evaluated(method, projection=0)
    plain = net(batch).fine
    net.encoder = Scaled(net.encoder, 4.0**power)
    assert torch.allclose(net(batch).fine, plain, atol=1e-5)
    shown = plain > ABSENT / 2
    assert plain[shown].abs().max() <= 20 + 1e-9


CELLS = [[0, 0, 0, 0, 0, 0], [0, 1, 1, 2, 2, 0], [0, 1, 1, 2, 2, 0], [3, 3, 0, 0, 4, 4], [3, 3, 0, 0, 4, 4]]


@pytest.mark.parametrize(
    ("method", "options"),
    [("panet", {"bg": "paper"}), ("panet", {"bg": "panet"}), ("amp", {})],
)
def test_perfect_features_give_the_support_mask_back(method: str, options: dict[str, Any]) -> None:
    net = contender(method, projection=0, width=6, absent_test="full", **options).eval()
    net.encoder, net.image_channels = Cells(6), 6
    if method == "amp":  # 1 and 2 were learnt, and so was the background; 3 and 4 are new
        net.seen[[1, 2]] = True
        net.scorers[0].data = torch.eye(6).double()
    mask = block_mask(CELLS)
    image = colours(mask, 6)
    batch = Episode(image, image, mask, (mask > 0).long())
    net.resampling = "nearest"
    assert torch.equal(net.predict(batch).ids, mask)


# ------------------------------------------------------------------------------------------ with the engine


@pytest.mark.parametrize(
    ("method", "way"), [("sgone", "k"), ("panet", "k"), ("amp", "k"), ("finetune", "k"), ("amp", "1")]
)
def test_training_breaks_off_goes_on_saves_and_loads(
    method: str, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options: dict[str, Any] = {"width": 8, "lite_channels": [4, 6, 8, 8]}
    options |= {"steps": 2} if method == "finetune" else {}
    config = tiny_config(
        model={"method": method, "options": options}, data={"way": way}, train={"epochs": 2, "save_steps": 1}
    )
    dataset = tiny_dataset(tmp_path / "bars")
    train(config, dataset, tmp_path / "whole", progress=False)

    def dying(self: Training, batch: Any) -> Any:
        if self.position.step == 2:
            raise RuntimeError("killed")
        return step(self, batch)

    step = Training._step
    with monkeypatch.context() as patched:
        patched.setattr(Training, "_step", dying)
        with pytest.raises(RuntimeError, match="killed"):
            train(config, dataset, tmp_path / "broken", progress=False)
    train(config, dataset, tmp_path / "broken", progress=False)
    nets: list[Any] = [load_parser(tmp_path / run / "weights.safetensors") for run in ("whole", "broken")]
    states = [net.state_dict() for net in nets]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    scores = [evaluate(net, dataset, config, progress=False) for net in nets]
    np.testing.assert_equal(*[(score.human_miou, score.novel_miou) for score in scores])
    if method in ("amp", "finetune"):
        assert 1 < nets[0].seen.sum() < len(nets[0].seen)
