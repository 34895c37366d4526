"""Mistakes found once by comparing with an independent reference of the released network; none may come back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from oshp_lite import EOPNet
from oshp_lite.errors import UserError
from oshp_lite.models.modules.prototypes import smooth_prototypes
from oshp_lite.models.released import read_state


def test_momentum_is_as_exact_as_the_prototypes() -> None:
    """Float64 prototypes are blended in float64: a weight rounded to float32 showed at 1e-10 in the logits."""
    generator = torch.Generator().manual_seed(3)
    static = torch.randn(3, 4, 8, generator=generator, dtype=torch.float64).requires_grad_()
    bank = torch.randn(4, 8, generator=generator, dtype=torch.float64)
    bank[2] = 0
    used, rows = smooth_prototypes(static, bank, 0.999)
    wanted = bank.clone()
    for c in range(4):
        for b in range(3):
            row = static.detach()[b, c]
            wanted[c] = row if wanted[c].sum() == 0 else 0.999 * wanted[c] + 0.001 * row
            torch.testing.assert_close(used[b, c].detach(), wanted[c], rtol=0, atol=1e-14)
    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-14)
    used.sum().backward()
    share = torch.full_like(static, 0.001).detach()
    share[0, 2] = 1
    assert static.grad is not None
    torch.testing.assert_close(static.grad, share, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "best": torch.tensor(0.3)},
        lambda state: {"checkpoint": {"model": state}, "epoch": 3},
        lambda state: {"optimizer": {"state": {0: {"momentum": torch.ones(1)}}}, "weights_of_net": state},
        lambda state: {"ema": {name: -value for name, value in state.items()}, "model": state},
    ],
)
def test_weights_are_found_in_whatever_dict_wraps_them(wrap: Any) -> None:
    """A tensor beside the wrapped state hid it, and only some names of a wrapping dict were known."""
    state = {"prototype": torch.ones(3, 2), "scaler": torch.tensor(10.0)}
    found = read_state(wrap({f"module.{name}": value for name, value in state.items()}))
    assert list(found) == list(state)
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_tensors_that_cannot_be_weights_are_told() -> None:
    """They ended in a RuntimeError of several lines, or were taken and failed in the first forward pass."""
    names = json.loads((Path(__file__).parent / "data" / "official_names.json").read_text())["kway"]
    state = {name: torch.zeros(shape) for name, shape in names.items()}
    bias = torch.zeros(256)
    wrong: list[tuple[Tensor, str]] = [
        (bias.long(), "int64"),
        (bias.to(torch.complex64), "complex64"),
        (bias.to_sparse(), "sparse"),
        (bias.to("meta"), "without data"),
    ]
    for value, words in wrong:
        with pytest.raises(UserError, match=words) as caught:
            EOPNet.from_official({**state, "s2_trans.bias": value})
        assert "s2_trans.bias" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="block20"):
        EOPNet.from_official(state, feature_level="block20")
