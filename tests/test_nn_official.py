"""Agreement with the released code: the numeric case, the names, a second writing of the network in float64."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import nn_reference
import numpy as np
import pytest
import torch
from torch import Tensor

from oshp_lite import EOPNet, Episode
from oshp_lite.errors import UserError
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.released import EOPNET

DATA = Path(__file__).parent / "data"


def official_shapes(way: str) -> dict[str, list[int]]:
    names = json.loads((DATA / "official_names.json").read_text())
    if way == "k":
        return names["kway"]
    shapes = {}
    for name, shape in names["kway"].items():
        if name == names["only_kway"][0]:
            shapes.update(names["only_1way"])
        if name not in names["only_kway"]:
            shapes[name] = shape
    return shapes


@pytest.fixture(scope="module")
def kway_state() -> dict[str, Tensor]:
    return nn_reference.recipe(official_shapes("k"))


def test_numeric_case(kway_state: dict[str, Tensor]) -> None:
    case = np.load(DATA / "official_case.npz")
    meta = json.loads(str(case["out_meta"]))
    net = EOPNet.from_official(kway_state).eval()
    episode = Episode(
        query_image=torch.tensor(case["query"]),
        support_image=torch.tensor(case["support"]),
        support_mask=torch.tensor(case["support_mask"][:, 0]).long(),
        support_foreground=torch.tensor(case["support_fg"][:, 0]).long(),
        query_mask=torch.tensor(case["query_mask"][:, 0]).long(),
        query_foreground=torch.tensor(case["query_fg"][:, 0]).long(),
    )
    progress = meta["epoch"] / meta["epochs"]
    with torch.no_grad():
        parsing = net(episode, progress=progress)
        losses = net.losses(parsing, episode, progress)
    found = {
        "npm_out": parsing.npm[:, :, 3::8, 5::8],
        "agm_out": parsing.agm[:, :, 3::8, 5::8],
        "s1_qry_out": parsing.coarse[:, :, 3::8, 5::8],
        "query_features": parsing.extras["query_features"][:, ::8, 1::4, 2::4],
        "prototype_after_forward": net.bank,
        "s1_prototype_after_forward": net.coarse_bank.rows,
    }
    for name, value in found.items():
        torch.testing.assert_close(value.detach(), torch.tensor(case[f"out_{name}"]), atol=5e-5, rtol=0, msg=name)
    assert torch.equal(net.target(episode), torch.tensor(case["out_s2_qry_gt"][:, 0]).long())
    for ours, theirs in [
        ("agm", "agm"),
        ("npm", "npm"),
        ("coarse", "s1"),
        ("contrast", "contrast"),
        ("total", "total"),
    ]:
        assert float(losses[ours]) == pytest.approx(float(case[f"out_loss_{theirs}"]), abs=1e-5), ours
    with torch.no_grad():
        without = net(episode, compute_agm=False)
    assert without.agm is None
    torch.testing.assert_close(without.npm, parsing.npm)


def test_round_trip_is_bit_identical_and_parameters_count(kway_state: dict[str, Tensor]) -> None:
    net = EOPNet.from_official({"state_dict": {f"module.{name}": value for name, value in kway_state.items()}})
    assert sum(p.numel() for p in net.parameters()) == 44_223_421
    assert sum(p.numel() for p in net.parameters() if p.requires_grad) == 44_218_301
    back = net.to_official()
    assert list(back) == list(kway_state)
    assert all(torch.equal(back[name], kway_state[name]) for name in back)
    assert all(back[name].dtype == kway_state[name].dtype for name in back)


@cache
def small_state(way: str, *, n_ids: int = 6, width: int = 16) -> dict[str, Tensor]:
    shapes = nn_reference.resized_shapes(official_shapes(way), n_ids=n_ids, width=width)
    return nn_reference.recipe(shapes, torch.float64)


def small_batch(way: str, *, query: tuple[int, int], support: tuple[int, int], n_ids: int = 6) -> dict[str, Tensor]:
    """Two episodes with blocks of classes, 255 in every mask, and one support class that the resize removes."""
    draw = np.random.RandomState(5)

    def masks(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        cells = draw.randint(0, n_ids, (2, size[0] // 12 + 1, size[1] // 12 + 1))
        full = np.kron(cells, np.ones((1, 12, 12), int))[:, : size[0], : size[1]]
        person = np.kron(draw.randint(0, 2, cells.shape), np.ones((1, 12, 12), int))[:, : size[0], : size[1]]
        person[full > 0] = 1
        full[:, 5:9, 3:20] = 255
        person[:, 20:26, 8:11] = 255
        return torch.tensor(full), torch.tensor(person)

    query_mask, query_foreground = masks(query)
    support_mask, support_foreground = masks(support)
    support_mask[0][support_mask[0] == 2] = 0
    support_mask[0, 1:3, 1:3] = 2  # no pixel of it survives the stride
    support_mask[1][support_mask[1] == 4] = 1
    batch = {
        "query_image": torch.tensor(draw.uniform(-1, 1, (2, 3, *query))),
        "support_image": torch.tensor(draw.uniform(-1, 1, (2, 3, *support))),
        "query_mask": query_mask,
        "query_foreground": query_foreground,
        "support_mask": support_mask,
        "support_foreground": support_foreground,
    }
    if way == "1":
        batch["class_ids"] = torch.tensor([3, 3])
        for name, asked in (("query_mask", 3), ("support_mask", 3)):
            mask = batch[name]
            batch[name] = torch.where(mask == 255, 255, (mask == asked).long())
    return batch


def compare(net: EOPNet, epoch: int, names: dict[str, str], batch: dict[str, Tensor]) -> None:
    """Run the network and the oracle from the same state; compare answers, losses, state afterwards and gradients.

    `names` gives official -> our name of what the oracle holds; an encoder it does not cover is copied into it.
    """
    epochs, config = 50, net.config
    state = net.state_dict()
    truth = {theirs: state[ours].clone() for theirs, ours in names.items()}
    for name, value in truth.items():
        if value.is_floating_point() and "running" not in name and name not in ("prototype", "s1_prototype"):
            value.requires_grad_()
    stand_in = None if config.encoder == "xception" else copy.deepcopy(net.encoder)
    oracle = nn_reference.Reference(truth, config.way == "1", config.feature_level, net.training, encoder=stand_in)
    want = oracle(batch, epoch, epochs)
    episode = Episode(**batch)
    parsing = net(episode, progress=epoch / epochs)
    losses = net.losses(parsing, episode, epoch / epochs)
    for name in ("npm", "agm", "coarse"):
        torch.testing.assert_close(getattr(parsing, name), want[name], atol=1e-8, rtol=1e-8)
    assert torch.equal(net.target(episode), want["target"])
    for term in ("agm", "npm", "coarse", "contrast", "total"):
        torch.testing.assert_close(losses[term], want[f"loss_{term}"], atol=1e-9, rtol=1e-9, msg=term)
    after = net.state_dict()
    for theirs, ours in names.items():
        assert bool(((after[ours] - truth[theirs].detach()).abs() < 1e-9).all()), theirs
    losses["total"].backward()
    want["loss_total"].backward()
    expected = {ours: truth[theirs].grad for theirs, ours in names.items()}
    if stand_in is not None:
        expected.update({f"encoder.{name}": p.grad for name, p in stand_in.named_parameters()})
    for name, parameter in net.named_parameters():
        assert (parameter.grad is None) == (expected[name] is None), name
        if parameter.grad is not None:
            scale = float(expected[name].norm()) + 1e-6
            assert float((parameter.grad - expected[name]).norm()) / scale < 1e-6, name


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("epoch", [0, 1, 25, 26, 49])
@pytest.mark.parametrize("sizes", [((49, 67), (60, 44)), ((64, 48), (64, 48))])
def test_heads_agree_with_the_literal_reference(
    way: str, training: bool, epoch: int, sizes: tuple[tuple[int, int], tuple[int, int]]
) -> None:
    config = EOPNetConfig.official(n_ids=6, width=16, encoder="lite", lite_channels=(4, 8, 8, 8), way=way)
    net = EOPNet(config, seed=epoch).double().train(training)
    with torch.no_grad():  # some rows of the bank are filled already
        net.bank[[1, 3]] = torch.tensor(np.random.RandomState(1).randn(2, 16))
        net.coarse_bank.rows[0] = torch.tensor(np.random.RandomState(2).randn(16))
    names = EOPNET.names(net, whole=False)
    compare(net, epoch, names, small_batch(way, query=sizes[0], support=sizes[1]))


@pytest.mark.parametrize(
    ("way", "level", "training", "epoch"),
    [("k", "mid", True, 0), ("k", "high", True, 3), ("1", "mid", True, 30), ("1", "high", False, 49)],
)
@pytest.mark.slow
def test_whole_network_agrees_with_the_literal_reference(way: str, level: Any, training: bool, epoch: int) -> None:
    net = EOPNet.from_official(small_state(way), feature_level=level).train(training)
    compare(net, epoch, EOPNET.names(net), small_batch(way, query=(33, 43), support=(44, 28)))


@pytest.mark.slow
def test_whole_network_agrees_with_the_literal_reference_at_odd_sizes() -> None:
    net = EOPNet.from_official(small_state("k")).train()
    compare(net, 26, EOPNET.names(net), small_batch("k", query=(65, 83), support=(72, 56)))


def test_foreign_and_damaged_checkpoints_are_told(tmp_path: Path, kway_state: dict[str, Tensor]) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"state_dict": Payload()}, tmp_path / "code.pth")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "foreign.pth")
    (tmp_path / "broken.pth").write_bytes(b"PK\x03\x04 not really")
    (tmp_path / "empty.pth").write_bytes(b"")
    short = dict(list(kway_state.items())[:-1])
    wrong = {**kway_state, "s2_trans.bias": torch.zeros(3)}
    extra = {**kway_state, "s3_trans.bias": torch.zeros(3)}
    torch.save({"a": [1, 2]}, tmp_path / "list.pth")
    cases: list[tuple[Any, str]] = [
        (tmp_path / "code.pth", "not plain weights"),
        (tmp_path / "foreign.pth", "released form"),
        (tmp_path / "broken.pth", "damaged"),
        (tmp_path / "empty.pth", "damaged"),
        (tmp_path / "none.pth", "does not exist"),
        (tmp_path / "list.pth", "no network weights"),
        (short, "lacks"),
        (wrong, "shape"),
        (extra, "does not have"),
    ]
    for source, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            EOPNet.from_official(source)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_reads_a_file_and_tells_way_ids_and_width(tmp_path: Path) -> None:
    state = small_state("1", n_ids=7, width=8)
    torch.save({"epoch": 39, "model": {f"module.{n}": v for n, v in state.items()}}, tmp_path / "one.pth")
    net = EOPNet.from_official(tmp_path / "one.pth")
    assert (net.config.way, net.config.n_ids, net.config.width) == ("1", 7, 8)
    back = net.to_official()
    assert list(back) == list(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    # the caller's tensors are not the network's
    with torch.no_grad():
        net.scale.add_(1)
    assert float(state["scaler"]) == 10


def test_configurations_without_an_official_form_say_so() -> None:
    with pytest.raises(ValueError, match="no counterpart"):
        EOPNet(variant="lite", n_ids=5).to_official()


def test_block20_cannot_come_from_a_released_checkpoint() -> None:
    with pytest.raises(UserError, match="block20"):
        EOPNet.from_official({}, feature_level="block20")
