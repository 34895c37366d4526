"""Counting parameters and multiply-accumulates, part by part (journal, Table 8)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.eopnet_config import EOPNetConfig


@dataclass(frozen=True)
class Part:
    """One line of a complexity table: what is counted, how many, and whether the forward pass uses it."""

    name: str
    count: int
    used: bool = True


def count_parameters(module: nn.Module, *, trainable_only: bool = False) -> int:
    """Number of parameters, prototype banks included unless only the trainable ones are asked for."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad or not trainable_only)


def on_meta(config: EOPNetConfig) -> EOPNet:
    """Build a network without memory behind its weights: shapes only."""
    with torch.device("meta"):
        return EOPNet(config)


def parameter_table(config: EOPNetConfig) -> list[Part]:
    """Parameters by module, the Xception backbone block by block; unused branches are marked."""
    needed = {name for name, _ in on_meta(replace(config, all_branches=False)).named_parameters()}
    parts: dict[str, Part] = {}
    for name, parameter in on_meta(config).named_parameters():
        pieces = name.split(".")
        depth = 3 if pieces[:2] == ["encoder", "backbone"] else 2 if pieces[0] == "encoder" else 1
        label = ".".join(pieces[:depth]) if len(pieces) > depth else name
        before = parts[label].count if label in parts else 0
        parts[label] = Part(label, before + parameter.numel(), name in needed)
    return list(parts.values())


def used_parameters(config: EOPNetConfig) -> int:
    """Parameters of the modules that run with this configuration's feature level."""
    return sum(part.count for part in parameter_table(config) if part.used)


@contextmanager
def counting_macs(module: nn.Module) -> Iterator[list[int]]:
    """Count the multiply-accumulates of every convolution that runs inside the block, one list entry a call."""
    calls: list[int] = []

    def hook(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        weight: Tensor = layer.weight  # type: ignore[assignment]
        calls.append(output.numel() * weight[0].numel())

    handles = [layer.register_forward_hook(hook) for layer in module.modules() if isinstance(layer, nn.Conv2d)]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def module_macs(module: nn.Module, *shapes: Sequence[int]) -> int:
    """MACs of one call with inputs of these shapes; the module may live on the meta device (nothing is computed)."""
    device = next(module.parameters()).device
    with counting_macs(module) as calls, torch.no_grad():
        module.eval()(*[torch.zeros(tuple(shape), device=device) for shape in shapes])
    return sum(calls)


def mac_table(config: EOPNetConfig, size: tuple[int, int] = (512, 512), classes: int | None = None) -> list[Part]:
    """MACs of one episode at this size, convolutions only, part by part.

    classes: number of ids that get an AGM pass of their own (default: all foreground ids, as the released code loops).
    """
    encoder, projection, trunk = _once(config, size)
    passes = 1 if config.way == "1" else config.n_ids - 1 if classes is None else classes
    return [
        Part("encoder, query and support", 2 * encoder),
        Part("projections into both spaces", 4 * projection),
        Part("coarse trunk, person", trunk),
        Part("coarse trunk, scene", trunk, used=config.coarse_attention == "both"),
        Part(f"fine trunk (AGM), {passes} passes", passes * trunk, used=False),
    ]


@cache
def _once(config: EOPNetConfig, size: tuple[int, int]) -> list[int]:
    """MACs of one pass of the encoder, of a projection and of a trunk."""
    net, small = on_meta(config), [-(-side // 4) for side in size]
    parts = (net.encoder, 3, size), (net.fine_projection, net.encoder.out_channels, small)
    return [module_macs(part, (1, wide, *of)) for part, wide, of in (*parts, (net.fine_guidance, config.width, small))]


def total_macs(config: EOPNetConfig, size: tuple[int, int] = (512, 512), classes: int | None = None) -> dict[str, int]:
    """MACs of an episode: `full` as the released code runs it, `no_agm` without the fine AGM, `inference` as we do."""
    table = mac_table(config, size, classes)
    full = sum(part.count for part in table)
    return {"full": full, "no_agm": full - table[-1].count, "inference": sum(part.count for part in table if part.used)}
