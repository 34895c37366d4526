"""What precision costs in scores, and what an evaluation does beside its network: the shipped network on test pairs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from oshp_lite.assets import checkpoint
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import run_evaluation
from oshp_lite.engine.performance.clock import Figure
from oshp_lite.engine.presets import load_profile
from oshp_lite.models.base import OneShotModel
from oshp_lite.models.inference import Precision, for_inference, has_bf16

JUDGED = ("human_miou", "novel_miou", "base_miou")


def judge_shipped(device: str) -> Iterator[Figure]:
    """Yield the figures of `judge` for the checkpoint of the lessons, on the test pairs of the profile lite.

    Its people are drawn first where the data folder lacks them. No paper-size network has trained weights here.
    """
    config = load_profile("lite", [], dataset="synth-atr")
    yield from judge(load_parser(checkpoint(), device), find_dataset(config.data, progress=False), config, device)


def judge(network: OneShotModel, dataset: OneShotDataset, config: RunConfig, device: str) -> Iterator[Figure]:
    """Yield seconds of a test pair in float32 and bf16, where the device has it, and what surrounds the network.

    `points`: the largest difference of human, novel and base mIoU from float32, in points (per cent).
    """
    config = replace(config, eval=replace(config.eval, bootstrap=0, samples=0))
    precisions: tuple[Precision, ...] = ("float32", "bf16") if has_bf16(device) else ("float32",)
    first: Any = None
    for precision in precisions:
        fast, spent = for_inference(network, precision), [0.0]
        vars(fast)["predict"] = _timed(fast.predict, spent, device)
        began = time.perf_counter()
        made = run_evaluation(fast, dataset, config, progress=False)
        whole, pairs = time.perf_counter() - began, len(made.matrices)
        pair = spent[0] / pairs
        first = first or (pair, made.scores)
        points = max(abs(getattr(made.scores, name) - getattr(first[1], name)) for name in JUDGED)
        yield Figure("test pair, shipped", precision, pair, pair, pair, first[0] / pair, points=100 * points)
        if precision == "float32":
            rest = (whole - spent[0]) / pairs
            yield Figure("evaluation", "around the network", rest, rest, rest, above_floor=rest / pair)


def _timed(predict: Any, spent: list[float], device: str) -> Any:
    """`predict`, its seconds added to `spent`."""

    def work(*given: Any) -> Any:
        began = time.perf_counter()
        made = predict(*given)
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        spent[0] += time.perf_counter() - began
        return made

    return work
