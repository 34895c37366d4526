"""The common base of all contenders: pooling, options, what the support shows, answers, a toy contender."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from contender_tiny import array, contender, line_weights, np_pool
from hypothesis import given, settings
from hypothesis import strategies as st
from nn_tiny import episode, one, tiny

from oshp_lite.errors import UserError
from oshp_lite.models.base import ABSENT
from oshp_lite.models.baselines import common
from oshp_lite.models.baselines.common import members, pool, shrink_weights, upsampling_matrix
from oshp_lite.models.modules.layers import resize

ROOT = Path(__file__).resolve().parents[1]
CONTRIBUTING = ROOT / "CONTRIBUTING.md"
MINE = ("finetune", "sgone", "panet", "amp")
SIDES = st.integers(1, 7)
QUICK: dict[str, dict[str, Any]] = {"finetune": {"steps": 3}}
MODES = ("bilinear", "aligned", "nearest")

# ------------------------------------------------------------------------------------------------- pooling


@pytest.mark.parametrize("mode", MODES)
@given(cells=st.integers(1, 9), more=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_the_upsampling_matrix_is_the_definition(mode: Any, cells: int, more: int) -> None:
    found = upsampling_matrix(cells, cells + more, mode, torch.zeros((), dtype=torch.float64))
    np.testing.assert_allclose(array(found), line_weights(cells, cells + more, mode), atol=1e-12)


@pytest.mark.parametrize("mode", MODES)
@given(
    h=st.integers(1, 7), w=st.integers(1, 7), factor=st.integers(1, 6), odd=st.integers(0, 3), seed=st.integers(0, 9)
)
@settings(max_examples=30, deadline=None)
def test_cheap_pooling_is_upsampling_then_pooling(mode: Any, h: int, w: int, factor: int, odd: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    size = (h * factor + odd, w * factor)
    features = torch.randn(2, 3, h, w, generator=draw, dtype=torch.float64)
    mask = torch.randint(0, 4, (2, *size), generator=draw)
    masks = members(mask, 3)
    found = pool(features, masks, mode)
    full = resize(features, size, mode)
    area = masks.double().sum((2, 3)) + 1e-5
    direct = torch.einsum("bdhw,bkhw->bkd", full, masks.double()) / area[..., None]
    assert (found - direct).abs().max() < 1e-12
    slow = np_pool(array(features[1]), array(masks[1, 2]).astype(float), mode)
    np.testing.assert_allclose(array(found[1, 2]), slow, atol=1e-12)
    kept = shrink_weights(masks.double(), (h, w), mode).sum((2, 3))
    assert torch.allclose(kept, masks.sum((2, 3)).double(), atol=1e-9)


def test_pooling_in_half_precision_is_done_in_float32_and_an_empty_mask_gives_zero() -> None:
    features = torch.full((1, 2, 4, 4), 200.0, dtype=torch.float16)
    masks = torch.stack([torch.ones(1, 64, 64), torch.zeros(1, 64, 64)], 1)
    found = pool(features, masks)
    assert found.dtype == torch.float32
    assert torch.allclose(found[0, 0], torch.tensor(200.0), rtol=1e-4)
    assert not found[0, 1].any()


def test_pairs_spread_back_to_where_they_were() -> None:
    shown = torch.tensor([[True, False, True, True], [True, False, False, False]])
    sample, channel = common.present_pairs(shown)
    assert sample.tolist() == [0, 0]
    assert channel.tolist() == [2, 3]
    values = torch.arange(8.0).view(2, 2, 2)
    whole = common.spread(values, sample, channel, shown)
    assert torch.equal(whole[0, 2], values[0])
    assert (whole[1] == ABSENT).all()
    means = common.mean_of_pairs(values, sample, 2)
    assert torch.equal(means[0], values.mean(0))
    assert not means[1].any()


# ------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize("method", MINE)
def test_unknown_options_are_named_with_the_known_ones(method: str) -> None:
    with pytest.raises(UserError, match=r"no option 'colour'.*known: .*unlabelled.*width"):
        contender(method, colour="red")


@pytest.mark.parametrize(
    ("method", "wrong"),
    [
        ("panet", {"bg": "mixed"}),
        ("panet", {"par_weight": -1}),
        ("panet", {"scale": "big"}),
        ("sgone", {"combine": "sum"}),
        ("sgone", {"exit_padding": 2}),
        ("amp", {"alpha": 1.5}),
        ("amp", {"levels": 2}),
        ("finetune", {"steps": 1.5}),
        ("finetune", {"novel_rows": "guess"}),
        ("finetune", {"lr": float("nan")}),
        ("panet", {"unlabelled": "hide"}),
        ("panet", {"way": "2"}),
        ("panet", {"variant": "huge"}),
    ],
)
def test_wrong_values_are_refused_in_one_sentence(method: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(wrong))):
        contender(method, **wrong)


@pytest.mark.parametrize("method", MINE)
def test_construction_is_seeded_and_leaves_the_global_generator_alone(method: str) -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = contender(method, seed=1), contender(method, seed=1), contender(method, seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert not torch.equal(one.encoder.stem[0].weight, other.encoder.stem[0].weight)
    # the same seed gives every method the same encoder
    assert torch.equal(one.encoder.stem[0].weight, contender("panet", seed=1).encoder.stem[0].weight)


# ------------------------------------------------------------------------------------- what the support shows


@pytest.mark.parametrize("absent", ["resized", "full"])
@pytest.mark.parametrize("how", ["background", "ignore", "class"])
def test_targets_are_those_of_eopnet(how: str, absent: str) -> None:
    batch = episode("k")
    batch.query_mask[0, :3, :3] = 5  # type: ignore[index]  # an id the support does not show
    batch.support_mask[1, 1, 1] = 5  # shown by one pixel off the stride-4 grid
    net = contender("panet", unlabelled=how, absent_test=absent)
    reference = tiny("lite", unlabelled=how, absent_test=absent)
    assert torch.equal(net.target(batch), reference.target(batch))
    assert net.support_classes(batch)[1, 5] == (absent == "full")
    net.eval()  # in evaluation unlabelled pixels are background, whatever training made of them
    plain = contender("panet", unlabelled="background", absent_test=absent)
    assert torch.equal(net.target(batch), plain.target(batch))


def test_the_extra_class_has_its_channel_behind_the_raw_ids() -> None:
    batch = episode("k")
    batch.support_foreground[:, :5] = 1
    net = contender("panet", unlabelled="class")
    parsing = net(batch)
    assert parsing.fine.shape[1] == 6
    assert net.with_unlabelled(parsing).shape[1] == 7
    assert (net.target(batch) == 6).any()
    assert net.support_classes(batch)[:, 6].all()
    net.eval()
    assert "fine_unlabelled" not in net(batch).extras
    assert "fine_unlabelled" not in contender("panet", "1", unlabelled="class")(episode("1")).extras


def test_ignored_pixels_leave_the_support_too() -> None:
    batch = episode("k")
    batch.support_foreground[:] = 1
    net = contender("panet", unlabelled="ignore")
    assert not (net.support_mask(batch) == 0).any()
    assert (net.support_mask(batch) == 255).any()


# ------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("method", MINE)
def test_predict_answers_what_is_shown_and_writes_nothing(method: str, way: str) -> None:
    batch = episode(way)
    net = contender(method, way, **QUICK.get(method, {}))
    net.losses(net(batch, progress=0.0), batch, 0.0)
    net.encoder.stem[1].eval()
    modes = {name: part.training for name, part in net.named_modules()}
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    answer = net.predict(batch).ids
    assert torch.equal(torch.rand(1), expected)
    assert answer.shape == (2, 40, 52)
    assert answer.dtype == torch.int64
    for b in range(2):
        allowed = {0, *batch.support_mask[b].unique().tolist()} - {255}
        assert set(answer[b].unique().tolist()) <= allowed
    assert modes == {name: part.training for name, part in net.named_modules()}
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(value.grad is None for value in net.parameters())
    with torch.inference_mode():
        inside = net.predict(batch.to("cpu")).ids
    assert torch.equal(inside, answer)
    alone = net.predict(one(batch, 1)).ids
    assert torch.equal(alone[0], answer[1])


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("method", MINE)
def test_losses_are_finite_and_reach_the_encoder(method: str, way: str) -> None:
    net = contender(method, way)
    batch = episode(way)
    terms = net.losses(net(batch, progress=0.0), batch, 0.0)
    terms["total"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    grads = [value.grad for value in net.encoder.parameters()]
    assert all(grad is not None and torch.isfinite(grad).all() for grad in grads)
    assert net.encoder.stem[0].weight.grad.abs().sum() > 0


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("method", MINE)
def test_an_empty_support_is_answered_with_background(method: str, way: str) -> None:
    net = contender(method, way, **QUICK.get(method, {}))
    batch = episode(way)
    batch.support_mask[:] = 0
    terms = net.losses(net(batch, progress=0.0), batch, 0.0)
    terms["total"].backward()
    assert all(torch.isfinite(value) for value in terms.values())
    assert not net.predict(batch).ids.any()
    batch.support_mask[:] = 255
    batch.query_mask[:] = 255  # type: ignore[index]
    terms = net.losses(net(batch, progress=0.0), batch, 0.0)
    assert all(torch.isfinite(value) for value in terms.values())
    assert not net.predict(batch).ids.any()


@pytest.mark.parametrize("method", MINE)
def test_masks_that_do_not_fit_are_refused(method: str) -> None:
    batch = episode("k")
    net = contender(method)
    batch.support_mask[0, 0, 0] = 6
    with pytest.raises(ValueError, match="support_mask holds id 6"):
        net.predict(batch)
    with pytest.raises(ValueError, match="class_ids"):
        contender(method, "1").predict(replace(episode("1"), class_ids=None))
    blind = episode("k")
    blind.query_mask = None
    parsing = net(blind, progress=0.0)
    with pytest.raises(ValueError, match="query_mask"):
        net.losses(parsing, blind, 0.0)


# ------------------------------------------------------------------------------------------- a toy contender


def toy_source() -> str:
    """The complete example of CONTRIBUTING.md."""
    blocks = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in blocks if 'name: ClassVar[str] = "colour"' in block)


USE = """
import sys, torch
sys.path.insert(0, {tests!r})
from nn_tiny import episode
from oshp_lite.models.registry import METHODS, build
assert "colour" in METHODS, METHODS
for way in ("k", "1"):
    net = build("colour", variant="lite", n_ids=6, way=way, width=8, lite_channels=[4, 8, 8, 8]).double()
    batch = episode(way)
    net.losses(net(batch, progress=0.0), batch, 0.0)["total"].backward()
    assert net.predict(batch).ids.shape == (2, 40, 52)
from oshp_lite.study.experiments import matrix
from oshp_lite.study.records import Results
from oshp_lite.study.tables import make_table
rows = [row.cells[0].shown for row in make_table("eopnet2", Results()).rows]
assert any(row.startswith("Colour†") for row in rows), rows
assert any(key.method == "colour" for key in matrix("smoke"))
print("fits")
"""


def test_adding_a_contender_is_one_file_and_one_line(tmp_path: Path) -> None:
    copy = tmp_path / "oshp_lite"
    shutil.copytree(ROOT / "oshp_lite", copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "models" / "baselines" / "colour.py").write_text(toy_source(), encoding="utf-8")
    line = next(line for line in CONTRIBUTING.read_text(encoding="utf-8").splitlines() if 'MethodSpec("colour"' in line)
    registry = copy / "models" / "registry.py"
    first = '        MethodSpec("finetune"'
    text = registry.read_text(encoding="utf-8").replace(first, f"        {line.strip()}\n{first}")
    registry.write_text(text, encoding="utf-8")
    code = USE.format(tests=str(ROOT / "tests"))
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "fits", done.stderr[-2000:]
