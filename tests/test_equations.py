"""Every numbered equation of both papers against an independent float64 computation in plain NumPy.

The computations are loops over pixels and classes, written from the papers; they share no code with the package.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from oshp_lite.book.as_printed import background_distance, linear_background_probabilities
from oshp_lite.book.equations import AAAI, EQUATIONS, JOURNAL, equation, equation_table
from oshp_lite.data.episode import Episode
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import pixel_loss, prototype_contrast, shift_weights
from oshp_lite.models.modules.metric import AttentionGuidance, NearestPrototype, attend, class_mean, cosine_maps
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average

ROOT = Path(__file__).resolve().parents[1]
Array = NDArray[np.float64]


def random(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


def tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values))


def agree(computed: torch.Tensor, expected: Array | float, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(computed.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def mean_over(features: Array, member: NDArray[np.bool_]) -> Array:
    """Mean feature of the marked cells, cell by cell; features [D,h,w]."""
    total, count = np.zeros(features.shape[0]), 0
    for row in range(member.shape[0]):
        for column in range(member.shape[1]):
            if member[row, column]:
                total += features[:, row, column]
                count += 1
    return total / count if count else total


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / (np.sqrt(a @ a) * np.sqrt(b @ b)))


def maps_of(features: Array, prototypes: Array) -> Array:
    """Cosine of each cell with each prototype, [C,h,w]."""
    _, height, width = features.shape
    result = np.zeros((len(prototypes), height, width))
    for c, prototype in enumerate(prototypes):
        for row in range(height):
            for column in range(width):
                result[c, row, column] = cosine(features[:, row, column], prototype)
    return result


def conv(x: Array, weight: Array, bias: Array | None, groups: int = 1) -> Array:
    """A convolution of stride 1 that keeps the size; x [C,h,w], weight [out,in/groups,k,k]."""
    outs, ins, k, _ = weight.shape
    pad = k // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    result = np.zeros((outs, *x.shape[1:]))
    for out in range(outs):
        first = out // (outs // groups) * ins
        for row in range(x.shape[1]):
            for column in range(x.shape[2]):
                window = padded[first : first + ins, row : row + k, column : column + k]
                result[out, row, column] = (window * weight[out]).sum()
        if bias is not None:
            result[out] += bias[out]
    return result


def softmax(scores: Array) -> Array:
    """Softmax over axis 0, term by term as printed."""
    return np.exp(scores) / np.exp(scores).sum(0)


def mask_of(classes: int, *shape: int, seed: int = 1) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, classes, shape)


# ------------------------------------------------------------------------------------------- prototypes


def check_pooling(classes: int) -> None:
    features, mask = random(2, 4, 5, 6), mask_of(classes, 2, 5, 6)
    mask[0][mask[0] == classes - 1] = 0  # the last class is absent from the first sample
    mask[1, 0, :3] = 255
    computed = masked_average(tensor(features), torch.from_numpy(mask), classes)
    for b in range(2):
        for c in range(classes):
            agree(computed[b, c], mean_over(features[b], mask[b] == c))


def test_journal_1() -> None:
    check_pooling(2)


def test_journal_2() -> None:
    check_pooling(5)


def test_journal_3() -> None:
    alpha, bank = 0.9, random(3, 4)
    module = PrototypeBank(3, 4, momentum=alpha).double().train()
    with torch.no_grad():
        module.rows.copy_(tensor(bank))
    expected = bank.copy()
    for episode in range(3):
        static = random(2, 3, 4, seed=10 + episode)
        used = module(tensor(static), use_static=False)
        for b in range(2):
            expected = alpha * expected + (1 - alpha) * static[b]
            agree(used[b], expected)
    agree(module.rows, expected)


def test_journal_11() -> None:
    check_pooling(4)


def test_aaai_1() -> None:
    check_pooling(5)


def test_aaai_2() -> None:
    test_journal_3()


# --------------------------------------------------------------------------------- maps, AGM and NPM


def test_journal_4() -> None:
    features, prototypes = random(2, 4, 3, 5), random(2, 3, 4, seed=2)
    prototypes[1, 2] = 0
    computed = cosine_maps(tensor(features), tensor(prototypes))
    for b in range(2):
        known = 3 - b
        agree(computed[b, :known], maps_of(features[b], prototypes[b, :known]))
    agree(computed[1, 2], 0.0)


def test_journal_5() -> None:
    features, similarity = random(4, 3, 5), random(3, 5, seed=3)
    computed = attend(tensor(features)[None], tensor(similarity)[None])[0]
    for row in range(3):
        for column in range(5):
            cell = features[:, row, column]
            agree(computed[:, row, column], similarity[row, column] * cell + cell)


def test_journal_6() -> None:
    module = AttentionGuidance(4, "plain2+sep1").double().eval()
    residuals = random(3, 4, 5, 5, seed=4)
    scores = module(tensor(residuals))
    state = {name: value.detach().numpy() for name, value in module.state_dict().items()}
    expected = np.stack([_trunk(state, residual) for residual in residuals])
    agree(scores, expected, 1e-10)
    # l_0 averages the background channel over the classes
    background = class_mean(scores[None, :, 1], torch.ones(1, 3, dtype=torch.bool))
    agree(background[0, 0], expected[:, 1].sum(0) / 3, 1e-10)


def _trunk(state: dict[str, Array], x: Array) -> Array:
    for layer in ("trunk.0", "trunk.1"):
        x = conv(x, state[f"{layer}.weight"], state[f"{layer}.bias"])
    for part, groups in (("depthwise", 4), ("pointwise", 1)):
        x = conv(x, state[f"trunk.2.{part}.weight"], None, groups)
        bn = {key: state[f"trunk.2.{part}_bn.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
        scale = bn["weight"] / np.sqrt(bn["running_var"] + 1e-5)
        x = (x - bn["running_mean"][:, None, None]) * scale[:, None, None] + bn["bias"][:, None, None]
        x = np.maximum(x, 0)
    return conv(x, state["classify.weight"], state["classify.bias"])


def test_journal_7() -> None:
    scores, target = random(1, 4, 3, 5, seed=5), mask_of(4, 1, 3, 5)
    target[0, 0, 0] = 255
    probabilities, terms = softmax(scores[0]), []
    for row in range(3):
        for column in range(5):
            if target[0, row, column] != 255:
                terms.append(-np.log(probabilities[target[0, row, column], row, column]))
    agree(pixel_loss(tensor(scores), torch.from_numpy(target)), np.mean(terms))


def _identity_npm() -> NearestPrototype:
    module = NearestPrototype().double()
    for part in (module.foreground, module.background, module.fusion):
        torch.nn.init.ones_(part.weight)
        torch.nn.init.zeros_(part.bias)  # type: ignore[arg-type]
    return module


def test_journal_8() -> None:
    similarity, counted = random(1, 4, 3, 5, seed=6), torch.tensor([[True, True, False, True]])
    computed = _identity_npm()(tensor(similarity), counted)[0, 0]
    expected = np.zeros((3, 5))
    for c in (0, 1, 3):
        expected += 1 - similarity[0, c]
    agree(computed, expected / 3)


def test_journal_9() -> None:
    module, similarity = NearestPrototype().double(), random(1, 3, 2, 4, seed=7)
    computed = module(tensor(similarity), torch.ones(1, 3, dtype=torch.bool))[0].softmax(0)
    value = {name: float(weight) for name, weight in module.state_dict().items()}
    mean = np.zeros((2, 4))
    for c in range(3):
        mean += value["background.weight"] * (1 - similarity[0, c]) + value["background.bias"]
    background = value["fusion.weight"] * mean / 3 + value["fusion.bias"]
    classes = value["foreground.weight"] * similarity[0] + value["foreground.bias"]
    agree(computed, softmax(np.concatenate([background[None], classes])), 1e-7)


# ---------------------------------------------------------------------------------------------- losses


def test_journal_10() -> None:
    for epoch, epochs in ((0, 50), (13, 50), (49, 50)):
        agm, npm = shift_weights(epoch / epochs)
        assert agm == pytest.approx(1 - epoch / epochs)
        assert agm + npm == pytest.approx(1)


def test_journal_12() -> None:
    query, support, tau = random(4, 6, seed=8), random(4, 6, seed=9), 0.1
    total = 0.0
    for c in range(4):
        terms = [np.exp(cosine(query[c], support[k]) / tau) for k in range(4)]
        total += -np.log(terms[c] / sum(terms))
    agree(prototype_contrast(tensor(query)[None], tensor(support)[None], tau), total / 4)


def test_journal_13() -> None:
    draw = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 4, (2, 32, 32), generator=draw)
    batch = Episode(
        query_image=torch.randn(2, 3, 32, 32, generator=draw),
        support_image=torch.randn(2, 3, 32, 32, generator=draw),
        support_mask=mask,
        support_foreground=(mask > 0).long(),
        query_mask=mask.flip(2),
        query_foreground=(mask.flip(2) > 0).long(),
    )
    torch.manual_seed(0)
    net = EOPNet(EOPNetConfig.lite(n_ids=5)).train()
    for progress in (0.0, 0.3):
        terms = {
            name: float(value.detach())
            for name, value in net.losses(net(batch, progress=progress), batch, progress).items()
        }
        beta = 1 - progress
        expected = 1.0 * terms["contrast"] + 1.0 * terms["coarse"] + beta * terms["agm"] + (1 - beta) * terms["npm"]
        assert terms["total"] == pytest.approx(expected, rel=1e-5)
        assert terms["contrast"] > 0


def test_aaai_3() -> None:
    scores, background = random(1, 3, 2, 4, seed=11), np.abs(random(1, 2, 4, seed=12))
    computed = linear_background_probabilities(tensor(scores), tensor(background))[0]
    denominator = np.exp(scores[0]).sum(0) + background[0]
    for c in range(3):
        agree(computed[1 + c], np.exp(scores[0, c]) / denominator)
    agree(computed.sum(0), 1.0)


def test_aaai_4() -> None:
    maps = np.tanh(random(1, 3, 2, 4, seed=13))
    background = (1 - maps[0, 0] + 1 - maps[0, 1] + 1 - maps[0, 2]) / 3
    agree(background_distance(tensor(maps))[0], background)
    computed = linear_background_probabilities(tensor(maps), background_distance(tensor(maps)))[0]
    agree(computed[1], np.exp(maps[0, 0]) / (np.exp(maps[0]).sum(0) + background))


def test_aaai_5() -> None:
    agm, ncm, target = random(1, 3, 2, 4, seed=14), random(1, 3, 2, 4, seed=15), mask_of(3, 1, 2, 4)
    beta, rest = shift_weights(12 / 30)
    computed = beta * pixel_loss(tensor(agm), torch.from_numpy(target)) + rest * pixel_loss(
        tensor(ncm), torch.from_numpy(target)
    )
    total = 0.0
    for row in range(2):
        for column in range(4):
            c = target[0, row, column]
            total -= beta * np.log(softmax(agm[0])[c, row, column])
            total -= rest * np.log(softmax(ncm[0])[c, row, column])
    agree(computed, total / 8)  # printed as a sum over the pixels; the code takes the mean


# ----------------------------------------------------------------------------------------------- table


def test_no_number_is_missing() -> None:
    assert [e.number for e in EQUATIONS if e.paper == JOURNAL] == list(range(1, 14))
    assert [e.number for e in EQUATIONS if e.paper == AAAI] == list(range(1, 6))


def test_each_function_can_be_imported_and_each_formula_drawn() -> None:
    from matplotlib.mathtext import MathTextParser

    for entry in EQUATIONS:
        assert callable(entry.load())
        MathTextParser("path").parse(f"${entry.latex}$")


def test_each_test_exists() -> None:
    wanted = {entry.test for entry in EQUATIONS}
    files = sorted({node.partition("::")[0] for node in wanted})
    listing = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-p", "no:cacheprovider", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    collected = {line.partition("[")[0].strip() for line in listing.splitlines()}
    assert not wanted - collected


def test_looking_up_and_tabulating() -> None:
    assert equation(JOURNAL, 12).name == "prototype_contrast"
    with pytest.raises(KeyError):
        equation(AAAI, 6)
    assert equation_table().count("\n") == 1 + len(EQUATIONS)
    assert "aaai" not in equation_table(JOURNAL)
