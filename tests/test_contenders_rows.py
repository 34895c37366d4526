"""AMP and fine-tuning against slow forms, and that all four methods learn a few scenes."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from contender_tiny import (
    array,
    contender,
    evaluated,
    np_cosine,
    np_cross_entropy,
    np_pool,
    np_unit,
    np_upsample,
    shown_ids,
)
from nn_tiny import episode
from torch import nn

from oshp_lite.data.episode import Episode, collate
from oshp_lite.models.base import ABSENT, PredictOptions

# ----------------------------------------------------------------------------------------------------- AMP


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize(("restrict", "update_bg"), [(True, True), (True, False), (False, True)])
def test_amp_is_its_equation(levels: int, restrict: bool, update_bg: bool) -> None:
    net, batch, _, _ = evaluated("amp", levels=levels, update_bg=update_bg)
    net.seen[[1, 2, 5]] = True  # 3 and 4 are novel, 5 is known and not shown
    with torch.no_grad():
        query, support = net.maps(batch.query_image), net.maps(batch.support_image)
        found = array(net.adapted(batch, restrict=restrict))
    for b in range(2):
        ids = shown_ids(batch.support_mask[b])
        mask = array(batch.support_mask[b])
        logits = np.zeros((6, *query[0].shape[-2:]))
        for level in range(levels):
            rows = np_unit(array(net.scorers[level]))
            for c in [0, *ids]:
                e = np_unit(np_pool(array(support[level][b]), (mask == c).astype(float), "nearest"))
                if c in (3, 4):
                    rows[c] = e
                elif c or update_bg:
                    rows[c] = np_unit((1 - 0.25821) * rows[c] + 0.25821 * e)
            scale = net.scales[level].item()
            maps = np.stack([scale * np_cosine(array(query[level][b]), row) for row in rows])
            logits += np_upsample(maps, logits.shape[1:], "aligned")
        rivals = {0, *ids} | (set() if restrict else {1, 2, 5})
        for c in set(range(6)) - rivals:
            logits[c] = ABSENT
        np.testing.assert_allclose(found[b], logits, atol=1e-8)
    predicted = set(net.predict(batch, PredictOptions(restrict=restrict)).ids.unique().tolist())
    assert predicted <= ({0, 1, 2, 3, 4} if restrict else {0, 1, 2, 3, 4, 5})


@pytest.mark.parametrize("iterate", [False, True])
@pytest.mark.parametrize("way", ["k", "1"])
def test_amps_rows_are_the_same_to_the_bit_after_an_episode(way: str, iterate: bool) -> None:
    net, batch, _, _ = evaluated("amp", way, iterate=iterate, levels=3)
    net.seen[1] = True
    before = [row.detach().clone() for row in net.scorers]
    first = net.predict(batch).ids
    assert all(torch.equal(a, b) for a, b in zip(before, net.scorers, strict=True))
    assert torch.equal(first, net.predict(batch).ids)


def test_amps_one_way_answer_is_that_of_its_rows() -> None:
    net, batch, _, _ = evaluated("amp", "1")
    net.seen[[1, 2]] = True
    kway = contender("amp", absent_test="full").eval()
    kway.load_state_dict(net.state_dict())
    named = replace(batch, support_mask=batch.support_mask * 3, query_mask=None, class_ids=None)
    rows = kway.adapted(named, restrict=False)  # the same rows, all of them
    two = net.adapted(batch)
    others = rows[:, [0, 1, 2]].amax(1)
    assert torch.allclose(two[:, 0], others)
    assert torch.allclose(two[:, 1], rows[:, 3])
    narrow = contender("amp", "1", absent_test="full").eval()
    narrow.load_state_dict(net.state_dict())
    assert torch.allclose(narrow.adapted(batch, restrict=True)[:, 0], rows[:, 0])


def test_amps_iterative_pass_moves_new_rows_and_background_only() -> None:
    net, batch, _, _ = evaluated("amp")
    net.seen[[1, 2]] = True
    rows = [F.normalize(row.detach(), dim=1)[None].expand(2, -1, -1).contiguous() for row in net.scorers]
    maps = [part.detach() for part in net.maps(batch.query_image)]
    new = torch.tensor([False, False, False, True, True, False]).expand(2, -1)
    everything = torch.ones(2, 6, dtype=torch.bool)
    moved = net.iterated(rows, maps, new, everything)[0]
    assert torch.equal(moved[:, [1, 2, 5]], rows[0][:, [1, 2, 5]])
    # the last move takes the background a tenth of the way to the query's mean feature
    scores = net.score(maps, rows).softmax(1)
    for b in range(2):
        answer = scores[b].argmax(0)
        sure = (scores[b].amax(0) > 0.7) & new[b][answer]
        known = ~new[b][answer] & (answer != 0)
        scene = array(~sure & ~known).astype(float)
        row = array(rows[0][b, 0])
        if scene.any():
            row = np_unit(0.9 * row + 0.1 * np_unit(np_pool(array(maps[0][b]), scene, "nearest")))
        mean = np_unit(array(maps[0][b]).mean((1, 2)))
        np.testing.assert_allclose(array(moved[b, 0]), np_unit(0.9 * row + 0.1 * mean), atol=1e-6)


# ------------------------------------------------------------------------------------- rows learnt in 1-way


@pytest.mark.parametrize("method", ["amp", "finetune"])
def test_one_way_rows_learn_from_c_and_not_c(method: str) -> None:
    net = contender(method, "1")
    batch = episode("1")
    net.seen[[1, 3]] = True
    net.eval()  # the same BatchNorm for the reference
    with torch.no_grad():
        rows = array(net.row_logits(batch.query_image))
        two = net.against_rest(net.row_logits(batch.query_image), batch.class_ids)
    known = rows[:, [0, 1, 3]]
    p = np.exp(known - known.max(1, keepdims=True))
    p = (p / p.sum(1, keepdims=True))[:, 2]
    np.testing.assert_allclose(array(two.softmax(1))[:, 1], p, atol=1e-12)
    net.train()
    parsing = net(batch, progress=0.0)
    terms = net.losses(parsing, batch, 0.0)
    expected = np.mean([np_cross_entropy(array(parsing.fine[b]), array(batch.query_mask[b])) for b in range(2)])
    np.testing.assert_allclose(terms["query"].item(), expected, rtol=1e-6)
    np.testing.assert_allclose(terms["total"].item(), (terms["query"] + terms["support"]).item() / 2, rtol=1e-9)


@pytest.mark.parametrize("method", ["amp", "finetune"])
def test_training_notes_the_ids_it_meets_and_closes_the_others(method: str) -> None:
    net = contender(method)
    batch = episode("k")
    batch.query_mask[0, :2, :2] = 5  # type: ignore[index]
    assert net.seen.tolist() == [True, False, False, False, False, False]
    net.losses(net(batch, progress=0.0), batch, 0.0)
    assert net.seen.all()  # the query's own labels count, whatever the support shows
    one = contender(method, "1")
    one(episode("1"), progress=0.0)
    assert one.seen.tolist() == [True, False, False, True, False, False]


def test_an_unmet_row_has_no_part_in_the_softmax() -> None:
    net = contender("amp")
    batch = episode("k")
    first = net.losses(net(batch, progress=0.0), batch, 0.0)["total"].item()
    with torch.no_grad():
        net.scorers[0][5] = 100 * net.scorers[0][1]
    assert net.losses(net(batch, progress=0.0), batch, 0.0)["total"].item() == pytest.approx(first, abs=1e-9)


# --------------------------------------------------------------------------------------------- fine-tuning


@pytest.mark.parametrize("balanced", [False, True])
def test_fine_tuning_takes_the_steps_of_sgd(balanced: bool) -> None:
    net, batch, _, support = evaluated("finetune", steps=4, lr=0.05, balanced=balanced)
    net.seen[:] = True
    features = torch.from_numpy(support[:1])
    mask = batch.support_mask[0]
    ids, found = net.tuned(features.clone(), mask)
    assert ids == [0, *shown_ids(mask)]
    twin = copy.deepcopy(net)
    layer = nn.Conv2d(64, len(ids), 1).double()
    layer.weight.data, layer.bias.data = net.classifier.weight[ids].detach(), net.classifier.bias[ids].detach()  # type: ignore[union-attr]
    learnt = [twin.first.weight, twin.second.weight, layer.weight, layer.bias]
    optimiser = torch.optim.SGD(learnt, 0.05, momentum=0.9, weight_decay=5e-4)
    label = torch.full_like(mask, 255)
    for row, c in enumerate(ids):
        label[mask == c] = row
    weight = 1 / torch.tensor([(label == row).sum().item() for row in range(len(ids))], dtype=torch.float64)
    for _ in range(4):
        hidden = F.relu(twin.first_norm(twin.first(features)))
        scores = layer(F.relu(twin.second_norm(twin.second(hidden))))
        scores = F.interpolate(scores, size=mask.shape, mode="bilinear", align_corners=True)
        loss = F.cross_entropy(scores, label[None], weight=weight if balanced else None, ignore_index=255)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for name, value in zip(("first", "second", "rows", "bias"), learnt, strict=True):
        assert torch.allclose(found[name], value, atol=1e-10), name
    assert torch.equal(found["rows"], net.tuned(features.clone(), mask)[1]["rows"])


def test_new_rows_are_imprinted_or_drawn_and_known_ones_copied() -> None:
    net, batch, _, support = evaluated("finetune", steps=0)
    net.seen[[1, 2]] = True
    mask = batch.support_mask[:1]
    features = torch.from_numpy(support[:1])
    ids, made = net.tuned(features, mask[0])
    weight = array(net.classifier.weight)[:, :, 0, 0]
    with torch.no_grad():
        hidden = array(net.trunk(features, {"first": net.first.weight, "second": net.second.weight}))[0]
    length = np.linalg.norm(weight[[1, 2]], axis=1).mean()
    for row, c in enumerate(ids):
        expected = weight[c]
        if c in (3, 4):
            expected = length * np_unit(np_pool(hidden, array(mask[0] == c).astype(float), "aligned"))
            assert made["bias"][row].item() == pytest.approx(array(net.classifier.bias)[[1, 2]].mean())
        np.testing.assert_allclose(array(made["rows"])[row, :, 0, 0], expected, atol=1e-9)
    drawn = contender("finetune", steps=0, novel_rows="draw").eval()
    drawn.load_state_dict(net.state_dict())
    again = drawn.tuned(features, mask[0])[1]["rows"]
    assert torch.equal(again, drawn.tuned(features, mask[0])[1]["rows"])
    assert torch.equal(again[0], made["rows"][0])
    assert not torch.equal(again[ids.index(4)], made["rows"][ids.index(4)])


def test_an_equal_support_is_tuned_on_once_and_other_weights_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch, _, _ = evaluated("finetune", steps=2)
    calls = []
    tuned = net.tuned
    monkeypatch.setattr(net, "tuned", lambda *given: calls.append(1) or tuned(*given))
    first = net(batch).fine
    assert torch.equal(net(batch).fine, first)
    assert len(calls) == 2
    other = replace(batch, support_mask=batch.support_mask.flip(0))
    assert not torch.equal(net(other).fine, first)
    assert len(calls) == 4
    with torch.no_grad():
        net.second_norm.running_mean += 0.1
    net(batch)
    assert len(calls) == 6
    assert not net.train()._tuned
    net._tuned.limit = 1
    net.eval()(other)
    assert not net._tuned


def test_fine_tuning_fits_its_support_better_with_more_steps() -> None:
    batch = episode("k", query=(48, 36))
    batch = replace(batch, query_image=batch.support_image, query_mask=batch.support_mask)
    losses = []
    for steps in (0, 5, 25):
        net = contender("finetune", steps=steps, lr=0.05).eval()
        losses.append(F.cross_entropy(net(batch).fine, batch.support_mask).item())
    assert losses[0] > losses[1] > losses[2]


# ---------------------------------------------------------------------------------------------- small fits


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Episode]]:
    from oshp_lite.data.loading import EpisodeDataset
    from oshp_lite.data.synthetic.generate import generate
    from oshp_lite.labels import fold

    root: Path = tmp_path_factory.mktemp("figures")
    drawn = generate("synth-atr", root / "atr", 16, 8, 64, progress=False)
    chosen = fold("atr", 1, "journal")
    episodes = {}
    for way in ("k", "1"):
        items = EpisodeDataset(drawn, chosen, way, "train", 64, augment="none")  # type: ignore[arg-type]
        episodes[way] = [items[i] for i in range(min(len(items), 24))]
    return episodes


def fitted(method: str, way: str, episodes: list[Episode], steps: int) -> tuple[Any, float, float]:
    """Train a small network on a few episodes; returns it with the mean loss of the first and the last five steps."""
    from oshp_lite.models.registry import build

    net: Any = build(method, variant="lite", n_ids=18, way=way, width=32, lite_channels=(16, 24, 32, 48))
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    draw = torch.Generator().manual_seed(0)
    losses = []
    for step in range(steps):
        batch = collate([episodes[i] for i in torch.randperm(len(episodes), generator=draw)[:8]])
        total = net.losses(net(batch, progress=step / steps), batch, step / steps)["total"]
        total.backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(total.item())
    return net, sum(losses[:5]) / 5, sum(losses[-5:]) / 5


BARS = {"sgone": 0.15, "panet": 0.35, "amp": 0.25, "finetune": 0.15}
"""Mean IoU of the shown base classes on the training episodes; measured 0.26, 0.48, 0.35 and 0.26."""


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(BARS))
def test_it_learns_a_few_scenes(method: str, scenes: dict[str, list[Episode]]) -> None:
    from oshp_lite.engine.metrics import confusion, iou_of

    net, before, after = fitted(method, "k", scenes["k"], 40)
    assert after < before / 3
    batch = collate(scenes["k"][:8])
    answer = net.predict(batch).ids
    net.eval()
    matrix = torch.stack([confusion(a, t, 18) for a, t in zip(answer, net.target(batch), strict=True)]).sum(0)
    present = matrix.sum(1) > 0
    present[0] = False
    measured = iou_of(matrix)[present].mean().item()
    print(f"{method}: loss {before:.2f} -> {after:.2f}, base IoU {measured:.2f}")
    assert measured > BARS[method]


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(BARS))
def test_its_one_way_loss_falls(method: str, scenes: dict[str, list[Episode]]) -> None:
    _, before, after = fitted(method, "1", scenes["1"], 25)
    assert after < 0.8 * before
