"""Checkers of notebook 05, POPNet's stages: parent masks, cluster-disjoint folds, infusion, the units' size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from oshp_lite.book.exercises.frame import call, checker, is_close, number, refuse, require, same_ids, tensor_of
from oshp_lite.models.modules.layers import resize

_GROUPS = {"head": (2, 3), "body": (1, 6), "arms": (8,), "legs": (4, 5)}


@checker
def check_parent_mask(attempt: Any) -> str:
    """Check `f(mask int64 [h,w], groups: dict[str, tuple of ids]) -> int64 [h,w]`: parents 1, 2, ... in dict order."""
    mask = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 8, 255, 0], [7, 2, 255, 1, 8]])
    truth, chained = torch.where(mask == 255, 255, 0), mask.clone()
    for parent, ids in enumerate(_GROUPS.values(), start=1):
        for class_id in ids:
            truth[mask == class_id] = parent
            chained[chained == class_id] = parent
    result = tensor_of(call(attempt, mask, _GROUPS), (3, 5), "the parent mask", torch.int64)
    from_zero = torch.where((truth > 0) & (truth != 255), truth - 1, truth)
    refuse(result, (from_zero, "0 is the background. Count the parents from 1"))
    require((result[mask == 255] == 255).all(), "255 makes no statement, at any granularity: it must stay 255")
    in_place = (
        "you write into the mask that you read from: a fine id that was turned into parent 2 is taken for class 2 "
        "in the next round. Write into a fresh tensor"
    )
    refuse(result, (chained, in_place), (torch.where(mask == 7, 0, chained), in_place))
    require((result[mask == 7] == 0).all(), "class 7 belongs to no group, so it becomes background (0)")
    same_ids(result, truth, mask, "these fine ids got the wrong parent")
    return "each class carries its area's id, the rest is background, and 255 stays silent"


@checker
def check_cluster_disjoint(attempt: Any) -> str:
    """Check `f(novel: set of ids, groups) -> bool`: True when every area is wholly novel or wholly base."""
    cases: list[tuple[set[int], bool, str]] = [
        ({4, 5}, True, "all of the legs and nothing else is novel: that is the AAAI paper's fold 1 in small"),
        ({2, 3, 8}, True, "two areas, head and arms, are wholly novel: no area is split"),
        (set(), True, "nothing is novel, so no area is split"),
        ({4}, False, "one leg class is novel, the other base: the base one gives the novel one away"),
        ({4, 6}, False, "two areas are split, although the number of novel classes equals a whole area's"),
        ({2, 3, 4}, False, "the head is whole, but the legs are split; one split area is enough"),
    ]
    for novel, truth, why in cases:
        value = call(attempt, novel, _GROUPS)
        require(isinstance(value, bool), f"return True or False, not {type(value).__name__}")
        require(value is truth, f"for novel classes {sorted(novel) or 'none'} you say {value}; but {why}")
    return "no class of a base area is hidden, and no class of a novel area has labels"


@checker
def check_infuse(attempt: Any) -> str:
    """Check `f(previous [B,D,h,w], current [B,D,H,W]) -> [B,2D,H,W]`: what enters the two units of the KIM."""
    draw = torch.Generator().manual_seed(7)
    previous, current = torch.randn(2, 3, 4, 5, generator=draw), torch.randn(2, 3, 7, 9, generator=draw)
    raw = call(attempt, previous, current)
    shape = tuple(raw.shape) if isinstance(raw, Tensor) else ()
    require(shape != tuple(current.shape), "the features are added; the module concatenates them, 2D channels")
    require(shape != (2, 6, 4, 5), "you shrank the present stage's features; resize the earlier stage's")
    result = tensor_of(raw, (2, 6, 7, 9), "the concatenated features")
    right = resize(previous, current.shape[-2:])
    refuse(result, (torch.cat([current, right], 1), "the order is reversed: the coarser stage's channels come first"))
    refuse(
        result[:, :3],
        (interpolate(previous, size=(7, 9), mode="bilinear"), "half-pixel centres; use align_corners=True"),
        (interpolate(previous, size=(7, 9), mode="nearest"), "nearest-neighbour resize; use bilinear"),
    )
    require(is_close(result, torch.cat([right, current], 1)), "the channels are not [resized previous ; current]")
    return "the coarser stage's features, brought to size, stand before the present stage's own"


@checker
def check_unit_parameters(attempt: Any) -> str:
    """Check `f(n_in, n_out) -> int`: parameters of one separable unit (depthwise 3x3, BN, pointwise 1x1, BN)."""
    for n_in, n_out in ((512, 256), (256, 256), (3, 5)):
        weights, channels = 9 * n_in + n_in * n_out, n_in + n_out
        truth = weights + 2 * channels
        value = number(call(attempt, n_in, n_out), "the number of parameters", whole=True)
        bias = "the convolutions have no bias, since a batch normalisation with weight and bias follows each of them"
        refuse(
            value,
            (9 * n_in * n_out, "that is an ordinary 3x3 convolution; a depthwise one has one filter per channel"),
            (weights, "the two batch normalisations are missing: each has a weight and a bias per channel"),
            (truth + channels, bias),
            (weights + channels, bias),
            (weights + 4 * channels, "running mean and variance are buffers, not parameters: no gradient reaches them"),
            tolerance=0,
        )
        require(value == truth, f"for {n_in} -> {n_out} channels the unit has {truth:,} parameters, not {value:,.0f}")
    return "137,216 + 68,864 = 206,080 parameters make one knowledge infusion module"
