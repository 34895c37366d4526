"""Agreement with the released one-stage POPNet: names, sizes, a second writing of the stage in float64."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import nn_reference
import numpy as np
import pytest
import torch
from nn_popnet_reference import StageReference, popnet_shapes
from torch import Tensor

from oshp_lite import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.complexity import count_parameters, module_macs
from oshp_lite.models.popnet import POPNet
from oshp_lite.models.popnet_config import POPNetConfig
from oshp_lite.models.released import POPNET

WIDTH, N_IDS = 8, 18


@cache
def whole_state(dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    return nn_reference.recipe(popnet_shapes(), dtype)


def small_net(mode: str, bank: str = "recipe", way: str = "k", **changes: Any) -> POPNet:
    """The released stage on a small encoder, its heads drawn by the recipe of the official names."""
    config = POPNetConfig.official(
        stages=1, n_ids=N_IDS, width=WIDTH, encoder="lite", lite_channels=(4, 8, 8, 8), screening_ids=mode, way=way
    )
    net = POPNet(config, **changes).double()
    state = net.state_dict()
    drawn = nn_reference.recipe({theirs: list(state[ours].shape) for theirs, ours in head_names(net).items()})
    for theirs, ours in head_names(net).items():
        state[ours].copy_(drawn[theirs])
    with torch.no_grad():
        if bank == "empty":
            net.bank.zero_()
        elif bank == "holes":
            net.bank[[1, 2, 7]] = 0
    return net


def head_names(net: POPNet) -> dict[str, str]:
    return POPNET.names(net, whole=False)


def masks(size: tuple[int, int], ids: tuple[tuple[int, ...], ...], draw: np.random.RandomState) -> Tensor:
    """Blocks of ids, one list of ids a sample; a support of another sample shows other classes."""
    planes = []
    for own in ids:
        cells = draw.choice([0, *own], (-(-size[0] // 12), -(-size[1] // 12)))
        planes.append(np.kron(cells, np.ones((12, 12), int))[: size[0], : size[1]])
    return torch.tensor(np.stack(planes))


def batch_of(query: tuple[int, int], support: tuple[int, int], dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    draw = np.random.RandomState(3)
    given = masks(support, ((2, 4, 6, 9, 11), (1, 7, 11, 12, 14)), draw)
    given[0, 1:3, 1:3] = 5  # no pixel of it survives the stride
    return {
        "query_image": torch.tensor(draw.uniform(-1, 1, (2, 3, *query)), dtype=dtype),
        "support_image": torch.tensor(draw.uniform(-1, 1, (2, 3, *support)), dtype=dtype),
        "support_mask": given,
        "support_foreground": (given > 0).long(),
    }


def earlier(batch: dict[str, Tensor], width: int, shift: int) -> tuple[Tensor, Tensor]:
    """Features of an earlier stage, `shift` cells larger than this stage's."""
    draw = torch.Generator().manual_seed(7)
    found = []
    for name in ("query_image", "support_image"):
        height, length = (-(-side // 4) + shift for side in batch[name].shape[-2:])
        found.append(torch.randn(2, width, height, length, generator=draw, dtype=torch.float64).to(batch[name].dtype))
    return found[0], found[1]


def compare(
    net: POPNet,
    names: dict[str, str],
    batch: dict[str, Tensor],
    static: bool,
    previous: tuple[Tensor, Tensor] | None,
    *,
    gradients: bool = True,
) -> None:
    """Answers, gradients and state afterwards against the oracle, from the same state."""
    state = net.state_dict()
    truth = {theirs: state[ours].clone() for theirs, ours in names.items()}
    learnt = [n for n, v in truth.items() if v.is_floating_point() and "running" not in n and n != "prototype"]
    for name in learnt:
        truth[name].requires_grad_()
    config = net.config
    stand_in = None if config.encoder == "xception" else copy.deepcopy(net.fine.encoder)
    oracle = StageReference(truth, training=net.training, encoder=stand_in, mode=config.screening_ids)
    agm, ncm = oracle.parse(batch, static, previous)
    answer = net(Episode(**batch), static_prototypes=static, previous=previous)
    torch.testing.assert_close(answer.agm, agm, atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(answer.ncm, ncm, atol=1e-8, rtol=1e-8)
    after = net.state_dict()
    for theirs, ours in names.items():
        assert bool(((after[ours] - truth[theirs].detach()).abs() < 1e-9).all()), theirs
    if not gradients:
        return
    weights = torch.randn(ncm.shape, generator=torch.Generator().manual_seed(2), dtype=ncm.dtype)
    ((answer.ncm + answer.agm) * weights).sum().backward()
    ((ncm + agm) * weights).sum().backward()
    ours_named = dict(net.named_parameters())
    for theirs in learnt:
        got, want = ours_named[names[theirs]].grad, truth[theirs].grad
        assert (got is None) == (want is None), theirs
        if got is not None and want is not None:
            assert float((got - want).norm()) <= 1e-6 * (float(want.norm()) + 1e-6), theirs


@pytest.mark.parametrize("mode", ["fixed", "ucs"])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("bank", "static", "shift"),
    [("recipe", True, None), ("recipe", False, 3), ("empty", False, None), ("holes", False, 0), ("empty", True, 3)],
)
def test_a_small_stage_agrees_with_the_literal_reference(
    mode: str, training: bool, bank: str, static: bool, shift: int | None
) -> None:
    net = small_net(mode, bank).train(training)
    batch = batch_of((49, 67), (60, 44))
    previous = None if shift is None else earlier(batch, WIDTH, shift)
    compare(net, head_names(net), batch, static, previous)
    with torch.no_grad():  # a second batch meets the bank that the first one left
        compare(net, head_names(net), batch, static, previous, gradients=False)


@pytest.mark.parametrize("mode", ["fixed", "ucs"])
def test_supports_without_any_class(mode: str) -> None:
    net = small_net(mode).eval()
    batch = batch_of((40, 40), (40, 40))
    batch["support_mask"] = torch.zeros_like(batch["support_mask"])
    compare(net, head_names(net), batch, False, None)


def test_the_ucs_bank_is_asked_at_the_place_and_read_at_the_id() -> None:
    """Ids 1, 2, 4, ... stand at the places 0, 1, 2, ...; row 0 is empty, so id 1 stays static though it has a row."""
    batch = Episode(**batch_of((48, 48), (48, 48)))
    found = {}
    for rows in ("position", "id"):
        net = small_net("ucs")
        net = POPNet(net.config, ucs_rows=rows).double()
        with torch.no_grad():
            net.bank[1] = torch.randn(WIDTH, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        found[rows] = net.eval()(batch, static_prototypes=False).ncm
        static = net(batch, static_prototypes=True).ncm
        assert torch.equal(found[rows], static) == (rows == "position")
    net = small_net("ucs", "empty").train()
    net(batch, static_prototypes=False)
    places = len(batch.support_mask[:, ::4, ::4].unique()) - 1  # without the background
    assert net.bank.sum(1).nonzero()[:, 0].tolist() == list(range(places))


def test_ucs_leaves_other_channels_at_zero() -> None:
    net = small_net("ucs").eval()
    parsing = net(Episode(**batch_of((48, 48), (48, 48))), static_prototypes=False)
    absent = [i for i in range(N_IDS) if i not in (0, 1, 2, 4, 6, 7, 9, 11, 12, 14)]
    for logits in (parsing.ncm, parsing.agm):
        assert not logits[:, absent].any()
        assert bool((logits[:, [1, 2, 4]] != 0).any())


# ------------------------------------------------------------------------------------------------ whole network


def test_names_sizes_and_the_way_back() -> None:
    state = whole_state(torch.float32)
    net = POPNet.from_official(state)
    assert count_parameters(net) == 43_047_867
    assert len(state) == 934
    back = net.to_official()
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    assert net.config.screening_ids == "fixed"
    assert POPNet.from_official(state, screening_ids="ucs").config.screening_ids == "ucs"


def test_the_two_stage_form_has_the_journals_85_8_million() -> None:
    with torch.device("meta"):
        net = POPNet(POPNetConfig.official(n_ids=18))
    assert [count_parameters(stage) for stage in net.stages] == [42_836_656 + 514, 43_047_867]
    assert 85.8e6 < count_parameters(net) < 85.9e6


def test_macs_of_a_stage_with_kim() -> None:
    """Facts E.3: 205.07 G at 512 x 512 with five classes looped."""
    with torch.device("meta"):
        stage = POPNet(POPNetConfig.official(stages=1, n_ids=6)).fine
    features = (1, 256, 128, 128)
    total = 2 * module_macs(stage.encoder, (1, 3, 512, 512))
    total += 2 * module_macs(stage.infusion, features, features) + 5 * module_macs(stage.guidance, features)
    assert round(total / 1e9, 2) == 205.07


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "training", "static", "shift"),
    [("fixed", False, False, None), ("fixed", True, False, 2), ("ucs", False, False, 0), ("ucs", True, True, None)],
)
def test_the_whole_network_agrees_with_the_literal_reference(
    mode: str, training: bool, static: bool, shift: int | None
) -> None:
    net = POPNet.from_official(whole_state(), screening_ids=mode).train(training)
    batch = batch_of((61, 67), (64, 60))
    previous = None if shift is None else earlier(batch, 256, shift)
    names = POPNET.names(net)
    with torch.no_grad():
        compare(net, names, batch, static, previous, gradients=False)


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "training"), [("fixed", False), ("fixed", True), ("ucs", False)])
def test_float32_stays_near_float64(mode: str, training: bool) -> None:
    answers = []
    for dtype in (torch.float32, torch.float64):
        net = POPNet.from_official(whole_state(dtype), screening_ids=mode).train(training)
        batch = batch_of((64, 64), (64, 64), dtype)
        with torch.no_grad():
            parsing = net(Episode(**batch), static_prototypes=False, previous=earlier(batch, 256, 0))
        answers.append(torch.cat([parsing.ncm, parsing.agm]).double())
    assert float((answers[0] - answers[1]).abs().max()) < (2e-2 if training else 1e-4)


def test_other_checkpoints_are_refused() -> None:
    state = whole_state(torch.float32)
    with pytest.raises(UserError, match="POPNet"):
        POPNet.from_official({"a.weight": torch.zeros(2)})
    with pytest.raises(UserError, match="lacks"):
        POPNet.from_official({name: value for name, value in state.items() if name != "scaler"})
    with pytest.raises(UserError, match="does not have"):
        POPNet.from_official({**state, "s1_prototype": torch.zeros(2, 256)})
    with pytest.raises(UserError, match="block20"):
        POPNet.from_official(state, feature_level="block20")
    with pytest.raises(UserError, match="screening_ids"):
        POPNet.from_official(state, screening_ids="all")
    with pytest.raises(ValueError, match="no counterpart"):
        POPNet(variant="lite", n_ids=5).to_official()


def test_the_one_way_form_loads() -> None:
    with torch.device("meta"):
        net = POPNet(POPNetConfig.official(stages=1, way="1", n_ids=18))
    names, state = POPNET.names(net), net.state_dict()
    assert len(names) == 928
    assert count_parameters(net) == 43_047_863
    drawn = nn_reference.recipe({theirs: list(state[ours].shape) for theirs, ours in names.items()})
    assert POPNet.from_official(drawn).config.way == "1"
