"""Networks made fast for parsing predict what they predicted; the benchmark's plain form is the same network."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from contenders_tiny import small
from engine_fixtures import tiny_config, tiny_dataset
from nn_tiny import episode, tiny
from torch import nn

from oshp_lite.data.episode import Episode
from oshp_lite.engine.evaluate import run_evaluation
from oshp_lite.engine.loading import run_fold
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.performance.clock import in_turn, multiply_accumulates, peak_memory
from oshp_lite.engine.performance.paths import Plan, encoder_works, measure_paths, training_step
from oshp_lite.engine.performance.plain import plain_forward
from oshp_lite.engine.performance.scores import JUDGED, judge
from oshp_lite.models.base import OneShotModel, PredictOptions
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.inference import Precision, encode_once, for_inference
from oshp_lite.models.registry import METHODS

PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")
SCORED = PredictOptions(screening=False, scores=True)
NETWORKS = sorted(name for name, spec in METHODS.items() if spec.one_shot and spec.trainable)


def with_statistics(network: OneShotModel) -> OneShotModel:
    """Statistics and affine maps as after training, prototypes for some ids."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                for value, low, high in (
                    (part.running_mean, -0.5, 0.5),
                    (part.running_var, 0.5, 1.5),
                    (part.weight, 0.5, 1.5),
                    (part.bias, -0.5, 0.5),
                ):
                    assert value is not None
                    value.copy_(torch.rand(value.shape, generator=draw, dtype=value.dtype) * (high - low) + low)
        bank = getattr(network, "prototype_bank", lambda: None)()  # detectors have none
        if bank is not None:
            bank[1:4] = torch.randn(bank[1:4].shape, generator=draw, dtype=bank.dtype)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(part, nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize("way", ["k", "1"])
@pytest.mark.parametrize("method", NETWORKS)
def test_the_copy_gives_the_same_logits_and_leaves_the_original_alone(method: str, way: str) -> None:
    network, batch = with_statistics(small(method, way=way)), episode(way)
    before = copy.deepcopy(network.state_dict())
    fast = for_inference(network)
    assert norms(fast) < norms(network)
    ours, theirs = network.predict(batch, SCORED), fast.predict(batch, SCORED)
    assert ours.scores is not None
    assert theirs.scores is not None
    torch.testing.assert_close(theirs.scores, ours.scores, rtol=1e-9, atol=1e-9)
    assert torch.equal(theirs.ids, ours.ids)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("variant", ["official", "paper"])
def test_channels_last_trains_the_same_network(variant: str) -> None:
    """Losses, every gradient, banks and statistics in float64."""
    network, batch = with_statistics(tiny(variant)).train(), episode()
    other = copy.deepcopy(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = (batch.query_image, batch.support_image)
    query, support = (image.contiguous(memory_format=torch.channels_last) for image in images)
    losses = network.losses(network(batch, progress=0.6), batch, 0.6)
    laid = replace(batch, query_image=query, support_image=support)
    theirs = other.losses(other(laid, progress=0.6), laid, 0.6)
    for name, value in losses.items():
        torch.testing.assert_close(theirs[name], value, rtol=1e-9, atol=1e-9, msg=name)
    losses["total"].backward()
    theirs["total"].backward()
    for (name, mine), same in zip(network.named_parameters(), other.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(same.grad, mine.grad, rtol=1e-8, atol=1e-10, msg=name)
    for (name, mine), same in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(same, mine, rtol=1e-10, atol=1e-12, msg=name)


def test_the_papers_encoder_loses_every_normalisation() -> None:
    network = with_statistics(tiny("official", encoder="xception", width=8))
    fast = for_inference(network)
    assert norms(fast.encoder) == norms(network.encoder.high_decoder) + norms(network.encoder.aspp2) * 3 + 3, (
        "only the branch that never runs keeps its own"
    )
    photo = episode().query_image
    torch.testing.assert_close(fast.encoder(photo), network.encoder(photo), rtol=1e-9, atol=1e-9)


def test_bf16_keeps_prototypes_in_float32_and_nearly_every_pixel() -> None:
    network, batch = with_statistics(tiny("lite", lite_channels=(16, 16, 16, 16))).float(), as_float32(episode())
    fast = for_inference(network, "bf16")
    assert next(fast.encoder.parameters()).dtype == torch.bfloat16
    assert fast.fine_projection(fast.encoder(batch.query_image)).dtype == torch.float32
    same = (fast.predict(batch).ids == network.predict(batch).ids).double().mean()
    assert same > 0.97
    with pytest.raises(ValueError, match="query_image is of type float64, the network's weights of type float32"):
        fast.predict(episode())


def as_float32(batch: Episode) -> Episode:
    return replace(batch, query_image=batch.query_image.float(), support_image=batch.support_image.float())


def test_photos_are_encoded_once() -> None:
    network, batch = with_statistics(tiny("lite")), episode()
    expected, other = network.predict(batch).ids, episode(seed=1)
    fast, runs = for_inference(network), []
    fast.encoder.stem.register_forward_hook(lambda *_: runs.append(1))
    encode_once(fast)
    for _ in range(3):
        assert torch.equal(fast.predict(batch).ids, expected)
    assert len(runs) == 4, "two queries and two supports"
    fast.predict(replace(batch, query_image=other.query_image))
    assert len(runs) == 6, "two new queries"
    again = for_inference(fast)
    assert "forward" not in vars(again.encoder), "a copy has features of its own"


# --------------------------------------------------------------------------------------------- the plain form


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("static", [False, True])
def test_the_plain_form_is_the_same_network(training: bool, static: bool) -> None:
    """Logits, losses, every gradient, banks and statistics, in float64."""
    network = with_statistics(tiny("official"))
    with torch.no_grad():
        network.coarse_bank.rows.normal_(generator=torch.Generator().manual_seed(1))
    other, batch = copy.deepcopy(network), episode()
    for one in (network, other):
        one.train(training)
    ours = network(batch, progress=0.6 if training else None, static_prototypes=static)
    plain = plain_forward(other, batch, static=static)
    for name in ("fine", "agm", "coarse"):
        torch.testing.assert_close(getattr(ours, name), getattr(plain, name), rtol=1e-9, atol=1e-9)
    for one, parsing in ((network, ours), (other, plain)):
        one.losses(parsing, batch, 0.6)["total"].backward()
    for (name, mine), theirs in zip(network.named_parameters(), other.parameters(), strict=True):
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-8, atol=1e-10, msg=name)
    for (name, mine), theirs in zip(network.state_dict().items(), other.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12, msg=name)


def test_the_plain_form_is_for_the_released_code_only() -> None:
    with pytest.raises(ValueError, match="variant official"):
        plain_forward(tiny("lite"), episode())


# ------------------------------------------------------------------------------------------------- the clock


def test_works_are_timed_in_turn_after_a_round_that_does_not_count() -> None:
    order: list[str] = []
    times = in_turn({name: lambda name=name: order.append(name) for name in "abc"}, rounds=3)
    assert order == list("abc") * 4
    assert all(len(timing.seconds) == 3 for timing in times.values())
    assert all(timing.spread[0] <= timing.middle <= timing.spread[1] for timing in times.values())


def test_multiply_accumulates_are_those_of_the_formula() -> None:
    layer, photo = nn.Conv2d(3, 8, 3, padding=1), torch.zeros(2, 3, 10, 12)
    assert multiply_accumulates(lambda: layer(photo)) == 2 * 10 * 12 * 8 * 3 * 9


def megabytes(count: int) -> object:
    return lambda: torch.ones(count * 2**18).sum()


def test_peak_memory_is_what_a_work_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):  # the Makefile's, under which memory is not given back
        monkeypatch.delenv(name, raising=False)
    assert peak_memory(megabytes, 200) == pytest.approx(200, abs=20)
    with pytest.raises(RuntimeError, match="has stopped"):
        peak_memory(stopping)


def test_what_stands_around_the_network_has_its_floor() -> None:
    made = list(measure_paths(Plan("lite", 48, 64, 2), ["data", "metrics"], rounds=1))
    figures = {(one.path, one.name): one for one in made}
    for path, name in (("loading a batch", "cached"), ("counting pixels", "confusion matrix")):
        ours, floor = figures[path, name], figures[path, f"floor {name}"]
        assert ours.above_floor == pytest.approx(ours.seconds / floor.seconds)
        assert ours.speedup == pytest.approx(figures[path, "reference"].seconds / ours.seconds)
        assert (ours.gmac, bool(floor.gmac)) == (None, True), "no network in it; one behind it"


def test_scaling_is_measured_along_four_axes() -> None:
    made = list(measure_paths(Plan("lite", 48, 64, 2), ["scaling"], rounds=1))
    rows = {(one.path.removeprefix("scaling, "), int(one.name)): one for one in made}
    assert {axis for axis, _ in rows} == {"classes", "side in pixels", "pairs", "workers"}
    assert rows["classes", 19].gmac < 1.1 * rows["classes", 1].gmac, "nearly flat in the number of classes"  # type: ignore[operator]
    assert rows["side in pixels", 96].gmac > 3 * rows["side in pixels", 48].gmac  # type: ignore[operator]
    assert rows["pairs", 4].gmac == pytest.approx(4 * rows["pairs", 1].gmac)
    assert all(one.speedup is None for one in made)


def test_every_path_has_its_reference_and_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oshp_lite.engine.performance.paths.peak_memory", lambda make, *_, device: 1.0)
    figures = {(one.path, one.name): one for one in measure_paths(Plan("lite", 48, 48, 2), rounds=1)}
    assert {path for path, _ in figures} == {"new support", "same support", "training step"}
    for path in ("new support", "same support"):
        ours = figures[path, "float32"]
        assert ours.speedup == pytest.approx(figures[path, "reference"].seconds / ours.seconds)
        assert ours.above_floor == pytest.approx(ours.seconds / figures[path, "floor float32"].seconds)
        assert ours.gmac < figures[path, "reference"].gmac
    assert figures["same support", "float32"].gmac < 0.7 * figures["new support", "float32"].gmac, "one photo of two"
    steps = [figures["training step", form] for form in ("reference", "official", "lite")]
    assert steps[0].gmac > steps[1].gmac > steps[2].gmac, "equal batches are computed once; absent ids left out"
    assert all(step.memory == 1.0 for step in steps)


def test_steps_and_encoder_have_a_form_in_bf16() -> None:
    """What a GPU is measured with: the step of variant official, and the encoder beside a matrix product."""
    plan = Plan("lite", 48, 32, 2)
    training_step(plan, "bf16", "cpu")()
    works = encoder_works(plan, "cpu")
    assert multiply_accumulates(works["matrix product"]) == (16 * 32) ** 3
    works["bf16"]()
    encoder = EOPNet(variant="official", encoder="lite", width=64).encoder
    forward = multiply_accumulates(partial(encoder, torch.zeros(2, 3, 32, 32)))
    assert 2 * forward < multiply_accumulates(works["bf16"]) < 3.2 * forward


def test_the_cost_of_precision_is_that_of_the_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oshp_lite.engine.performance.scores.has_bf16", lambda device: True)
    dataset, config = tiny_dataset(tmp_path / "bars"), tiny_config(eval={"bootstrap": 0})
    network = build_parser(config, run_fold(config, dataset)).eval()
    figures = {(one.path, one.name): one for one in judge(network, dataset, config, "cpu")}
    exact, half = (run_evaluation(for_inference(network, form), dataset, config, progress=False) for form in PRECISIONS)
    off = [abs(getattr(exact.scores, name) - getattr(half.scores, name)) for name in JUDGED]
    assert figures["test pair, shipped", "float32"].points == 0
    assert figures["test pair, shipped", "bf16"].points == pytest.approx(100 * max(off))
    rest, pair = figures["evaluation", "around the network"], figures["test pair, shipped", "float32"]
    assert rest.above_floor == pytest.approx(rest.seconds / pair.seconds)


def stopping() -> object:
    import os

    return lambda: os._exit(3)
