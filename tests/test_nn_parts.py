"""Encoders, prototypes, metric modules and losses against independent float64 NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.complexity import (
    count_parameters,
)
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.models.encoders.xception import Block, XceptionEncoder
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import (
    contrast_prototypes,
    pixel_loss,
    prototype_contrast,
    restrict_target,
    shift_weights,
)
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, attend, class_mean, cosine_maps
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average, present_ids, shrink_mask

Array = NDArray[np.float64]


def draw(seed: int, *shape: int) -> Tensor:
    return torch.tensor(np.random.RandomState(seed).randn(*shape))


# --------------------------------------------------------------------------------------------------- prototypes


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_shrinking_keeps_ids_and_picks_the_cells_first_pixel(height: int, width: int, seed: int) -> None:
    mask = torch.tensor(np.random.RandomState(seed).choice([0, 1, 7, 255], (2, 4 * height, 4 * width)))
    small = shrink_mask(mask, (height, width))
    assert small.dtype == torch.int64
    assert torch.equal(small, mask[:, ::4, ::4])
    assert shrink_mask(small, (height, width)) is small


def test_shrinking_odd_sizes_takes_the_floor() -> None:
    mask = torch.arange(97 * 13).reshape(1, 97, 13) % 251
    small = shrink_mask(mask, (25, 4))
    for i in range(25):
        for j in range(4):
            assert int(small[0, i, j]) == int(mask[0, i * 97 // 25, j * 13 // 4])


@given(st.integers(0, 999), st.integers(1, 4), st.integers(2, 7))
@settings(max_examples=30, deadline=None)
def test_masked_average_is_the_mean_of_the_members(seed: int, batch: int, n_ids: int) -> None:
    state = np.random.RandomState(seed)
    features, mask = state.randn(batch, 3, 5, 4), state.choice([*range(n_ids), 255], (batch, 5, 4))
    found = masked_average(torch.tensor(features), torch.tensor(mask), n_ids).numpy()
    for b in range(batch):
        for c in range(n_ids):
            members = [features[b, :, i, j] for i in range(5) for j in range(4) if mask[b, i, j] == c]
            expected = np.mean(members, 0) if members else np.zeros(3)
            np.testing.assert_allclose(found[b, c], expected, atol=1e-12)
            assert members or (found[b, c] == 0).all()
    shown = present_ids(torch.tensor(mask), n_ids)
    assert shown.tolist() == [[bool((mask[b] == c).any()) for c in range(n_ids)] for b in range(batch)]


def walk_bank(static: Array, bank: Array, momentum: float, use_static: bool, rule: str) -> tuple[Array, Array]:
    """The bank's rule as the loop it is in the papers' code: classes outside, samples inside."""
    bank, used = bank.copy(), np.zeros_like(static)
    for c in range(static.shape[1]):
        for b in range(static.shape[0]):
            p = static[b, c]
            if p.sum() == 0:
                continue
            smooth = p if bank[c].sum() == 0 else momentum * bank[c] + (1 - momentum) * p
            used[b, c] = p if use_static else smooth
            if not use_static or rule == "average":
                bank[c] = smooth
            elif rule == "overwrite":
                bank[c] = p
    return used, bank


@given(
    st.integers(0, 999),
    st.integers(1, 6),
    st.sampled_from([0.0, 0.5, 0.999]),
    st.booleans(),
    st.sampled_from(["overwrite", "average", "untouched"]),
)
@settings(max_examples=60, deadline=None)
def test_bank_without_a_loop_equals_the_loop(
    seed: int, batch: int, momentum: float, use_static: bool, rule: str
) -> None:
    state = np.random.RandomState(seed)
    static, stored = state.randn(batch, 5, 3), state.randn(5, 3)
    static[state.rand(batch, 5) < 0.4] = 0
    stored[state.rand(5) < 0.4] = 0
    bank = PrototypeBank(5, 3, momentum=momentum, warmup=rule).double()  # type: ignore[arg-type]
    with torch.no_grad():
        bank.rows.copy_(torch.tensor(stored))
    given_static = torch.tensor(static, requires_grad=True)
    used = bank.train()(given_static, use_static=use_static)
    expected, after = walk_bank(static, stored, momentum, use_static, rule)
    np.testing.assert_allclose(used.detach(), expected, atol=1e-12)
    np.testing.assert_allclose(bank.rows.detach(), after, atol=1e-12)
    # a gradient comes through the sample's own static prototype only
    used.sum().backward()
    taken = np.zeros((batch, 5, 1))
    met = stored.sum(1) != 0
    for b in range(batch):
        for c in range(5):
            if static[b, c].sum() != 0:
                taken[b, c] = 1 if use_static or not met[c] else 1 - momentum
                met[c] = met[c] or not use_static
    assert given_static.grad is not None
    np.testing.assert_allclose(given_static.grad, np.broadcast_to(taken, static.shape), atol=1e-12)


def test_bank_outside_training_only_reads() -> None:
    bank = PrototypeBank(3, 2).double().eval()
    with torch.no_grad():
        bank.rows[1] = torch.tensor([2.0, 4.0])
    static = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [0.0, 0.0]]]).double()
    used = bank(static, use_static=False)
    torch.testing.assert_close(used, torch.tensor([[[1, 1], [1.999, 3.997], [0, 0]]]).double())
    assert torch.equal(bank(static, use_static=True), static)
    assert bank.rows.tolist() == [[0, 0], [2, 4], [0, 0]]


# ------------------------------------------------------------------------------------------------ metric modules


def test_cosine_maps_and_attention() -> None:
    features, prototypes = draw(0, 2, 4, 3, 5), draw(1, 2, 3, 4)
    prototypes[0, 2] = 0
    maps = cosine_maps(features, prototypes).numpy()
    for b in range(2):
        for c in range(3):
            p = prototypes[b, c].numpy()
            for i in range(3):
                for j in range(5):
                    z = features[b, :, i, j].numpy()
                    norm = np.linalg.norm(z) * np.linalg.norm(p)
                    assert maps[b, c, i, j] == pytest.approx(z @ p / norm if norm else 0.0, abs=1e-12)
    assert (maps[0, 2] == 0).all()
    m = torch.tensor(maps[:, 0])
    torch.testing.assert_close(attend(features, m), features * (1 + m[:, None]))
    torch.testing.assert_close(attend(features, m, residual=False), features * m[:, None])


@pytest.mark.parametrize("some", [False, True])
def test_nearest_prototype_logits(some: bool) -> None:
    module = NearestPrototype().double()
    m = draw(3, 2, 4, 3, 3)
    counted = torch.tensor([[True, not some, True, not some], [not some] * 4])
    logits = module(m, counted).detach().numpy()
    wf, bf, wb, bb, wF, bF = [
        float(value.detach())
        for layer in (module.foreground, module.background, module.fusion)
        for value in (layer.weight.reshape(()), layer.bias.reshape(()))  # type: ignore[union-attr]
    ]
    for b in range(2):
        ids = [c for c in range(4) if bool(counted[b, c])] or list(range(4))
        background = np.mean([wb * (1 - m[b, c].numpy()) + bb for c in ids], 0)
        np.testing.assert_allclose(logits[b, 0], wF * background + bF, atol=1e-12)
        for c in range(4):
            np.testing.assert_allclose(logits[b, c + 1], wf * m[b, c].numpy() + bf, atol=1e-12)
    torch.testing.assert_close(class_mean(m, torch.ones(2, 4, dtype=torch.bool)), m.mean(1, keepdim=True))


@pytest.mark.parametrize(("kind", "layers"), [("plain2+sep1", 4), ("separable", 6), ("plain1", 1)])
def test_attention_guidance_trunks(kind: str, layers: int) -> None:
    module = AttentionGuidance(8, kind)  # type: ignore[arg-type]
    assert module(torch.rand(3, 8, 5, 7)).shape == (3, 2, 5, 7)
    assert sum(isinstance(m, nn.Conv2d) for m in module.trunk.modules()) == layers
    with pytest.raises(UserError, match="agm_trunk"):
        EOPNetConfig(agm_trunk="deep")  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------------------- losses


@given(st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_restricted_target_merges_what_the_support_lacks(seed: int) -> None:
    state = np.random.RandomState(seed)
    label, support = state.choice([0, 1, 2, 3, 255], (2, 6, 6)), state.choice([0, 1, 3, 255], (2, 2, 2))
    found = restrict_target(torch.tensor(label), torch.tensor(support), 5).numpy()
    for b in range(2):
        for value in (0, 1, 2, 3, 255):
            kept = value == 255 or value in support[b]
            assert (found[b][label[b] == value] == (value if kept else 0)).all()


def test_pixel_loss_is_the_mean_over_labelled_pixels() -> None:
    logits, target = draw(0, 2, 3, 4, 4), torch.tensor(np.random.RandomState(1).choice([0, 1, 2, 255], (2, 4, 4)))
    terms = []
    for b in range(2):
        for i in range(4):
            for j in range(4):
                if int(target[b, i, j]) != 255:
                    x = logits[b, :, i, j].numpy()
                    terms.append(math.log(np.exp(x).sum()) - x[int(target[b, i, j])])
    assert float(pixel_loss(logits, target)) == pytest.approx(np.mean(terms), abs=1e-12)
    assert float(pixel_loss(logits, torch.full_like(target, 255))) == 0


def test_weights_shift_from_agm_to_npm() -> None:
    assert shift_weights(0.0) == (1.0, 0.0)
    beta, rest = shift_weights(49 / 50)
    assert beta == pytest.approx(0.02)
    assert beta + rest == 1


@given(st.integers(0, 999), st.booleans())
@settings(max_examples=40, deadline=None)
def test_contrast_equals_its_definition(seed: int, both_sides: bool) -> None:
    state = np.random.RandomState(seed)
    q, s = state.randn(3, 5, 4), state.randn(3, 5, 4)
    q[state.rand(3, 5) < 0.4] = 0
    s[state.rand(3, 5) < 0.4] = 0
    samples = []
    for b in range(3):
        rows_q = [c for c in range(5) if q[b, c].sum() != 0]
        rows_s = [c for c in range(5) if s[b, c].sum() != 0]
        losses = []
        for i in rows_q:
            if i in rows_s:
                cosines = [q[b, i] @ s[b, j] / np.linalg.norm(q[b, i]) / np.linalg.norm(s[b, j]) for j in rows_s]
                weights = np.exp(np.array(cosines) / 0.1)
                losses.append(-math.log(weights[rows_s.index(i)] / weights.sum()))
            elif not both_sides:
                losses.append(0.0)
        samples.append(np.mean(losses) if losses else 0.0)
    query = torch.tensor(q, requires_grad=True)
    found = prototype_contrast(query, torch.tensor(s), 0.1, both_sides=both_sides)
    assert float(found.detach()) == pytest.approx(np.mean(samples), abs=1e-9)
    found.backward()
    assert query.grad is not None
    assert bool(query.grad.isfinite().all())


def test_contrast_background_row_comes_from_the_coarse_mask() -> None:
    features = draw(0, 1, 3, 4, 4)
    mask, foreground = torch.zeros(1, 4, 4, dtype=torch.int64), torch.zeros(1, 4, 4, dtype=torch.int64)
    mask[0, 0], foreground[0, :2] = 1, 1
    foreground[0, 3] = 255
    rows = contrast_prototypes(features, mask, foreground, 3)
    torch.testing.assert_close(rows[0, 0], features[0, :, 2].mean(1))
    torch.testing.assert_close(rows[0, 1], features[0, :, 0].mean(1))
    assert bool((contrast_prototypes(features, mask, foreground, 3, background=False)[0, 0] == 0).all())


# ------------------------------------------------------------------------------------------------------ encoders


@pytest.mark.parametrize("size", [(64, 64), (97, 131), (33, 18)])
def test_lite_encoder_contract(size: tuple[int, int]) -> None:
    net = LiteEncoder()
    assert 1e6 < count_parameters(net) < 2e6
    assert net(torch.rand(1, 3, *size)).shape == (1, 64, math.ceil(size[0] / 4), math.ceil(size[1] / 4))
    assert count_parameters(LiteEncoder(depth=3)) > count_parameters(net), "a block more at stride 16"
    narrow = LiteEncoder(12, (4, 8, 8, 8))
    image = torch.rand(2, 3, *size)
    plain = narrow.eval()(image)
    last = narrow.to(memory_format=torch.channels_last)(image.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(plain, last, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("level", ["mid", "high", "block20"])
@pytest.mark.parametrize("every", [True, False])
def test_xception_levels_and_odd_sizes(level: str, every: bool) -> None:
    with torch.device("meta"):
        net = XceptionEncoder(level, all_branches=every).eval()  # type: ignore[arg-type]
    for height, width, rows, columns in ((321, 487, 81, 122), (500, 333, 125, 84), (576, 384, 144, 96)):
        assert net(torch.empty(1, 3, height, width, device="meta")).shape == (1, 256, rows, columns)
    with pytest.raises(ValueError, match="feature_level"):
        XceptionEncoder("low")  # type: ignore[arg-type]


def test_block20_has_its_own_adaptation_and_stops_there() -> None:
    with torch.device("meta"):
        short, full = XceptionEncoder("block20", all_branches=False), XceptionEncoder("mid", all_branches=False)
    names = {name for name, _ in short.named_modules()}
    assert "block20_adapt" in names
    assert not {"backbone.conv3", "mid_adapt", "aspp1"} & names
    assert short.block20_adapt.weight.shape == (256, 1024, 1, 1)
    assert count_parameters(short) == count_parameters(full) - (1_587_200 + 2_379_264 + 3_166_720) - 1024 * 256


def test_shortcut_sees_the_rectified_input() -> None:
    x = -torch.rand(1, 4, 6, 6)
    opening, first = Block((4, 4, 4, 4), projected=False).eval(), Block((4, 4, 4, 4), rectify=False, projected=False)
    with torch.no_grad():
        for block in (opening, first):
            block.units[2].pointwise.weight.zero_()  # type: ignore[union-attr]
    assert bool((opening(x)[0] == 0).all())  # f gives 0, the shortcut relu(x) = 0
    torch.testing.assert_close(first.eval()(x)[0], x)
    y = x.clone().requires_grad_()
    opening.train()(y)[0].sum().backward()  # no in-place rectification: the backward pass works
    assert torch.equal(y, x)
