"""Checkers of notebook 05, POPNet's stages: parent masks, cluster-disjoint folds, infusion, the units' size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from oshp_lite.book.exercises.common import Verdict, ask, checker, close, require, tensor_of
from oshp_lite.models.modules.layers import resize

__all__ = ["Verdict", "check_cluster_disjoint", "check_infuse", "check_parent_mask", "check_unit_parameters"]

_GROUPS = {"head": (2, 3), "body": (1, 6), "arms": (8,), "legs": (4, 5)}


def _parents(mask: Tensor) -> Tensor:
    """Return the right parent mask of a mask over `_GROUPS`."""
    result = torch.zeros_like(mask)
    for parent, ids in enumerate(_GROUPS.values(), start=1):
        for class_id in ids:
            result[mask == class_id] = parent
    result[mask == 255] = 255
    return result


@checker
def check_parent_mask(answer: Any) -> str:
    """Check `f(mask int64 [h,w], groups: dict[str, tuple of ids]) -> int64 [h,w]`: parents 1, 2, ... in dict order."""
    mask = torch.tensor([[0, 1, 2, 3, 4], [5, 6, 8, 255, 0], [7, 2, 255, 1, 8]])
    truth = _parents(mask)
    raw = ask(answer, mask, _GROUPS)
    require(isinstance(raw, Tensor), f"return a tensor, not {type(raw).__name__}")
    require(raw.dtype == torch.int64, f"a mask is int64; yours is {raw.dtype}")
    result = tensor_of(raw, (3, 5), "the parent mask").to(torch.int64)
    require(
        not torch.equal(result, torch.where((truth > 0) & (truth != 255), truth - 1, truth)),
        "your first parent has id 0, but 0 is the background. Count the parents from 1",
    )
    ignored = mask == 255
    require(
        bool((result[ignored] == 255).all()),
        "pixels marked 255 make no statement, at any granularity: they must stay 255",
    )
    chained = mask.clone()
    for parent, ids in enumerate(_GROUPS.values(), start=1):
        for class_id in ids:
            chained[chained == class_id] = parent
    require(
        not torch.equal(result, chained) and not torch.equal(result, torch.where(mask == 7, 0, chained)),
        "you write into the mask that you read from: a fine id that was turned into parent 2 is taken for class 2 "
        "in the next round. Write into a fresh tensor",
    )
    require(bool((result[mask == 7] == 0).all()), "class 7 belongs to no group, so it becomes background (0)")
    wrong = sorted({int(value) for value in mask[result != truth].tolist()})
    require(not wrong, f"these fine ids got the wrong parent: {wrong}")
    return "each class carries its area's id, the rest is background, and 255 stays silent"


@checker
def check_cluster_disjoint(answer: Any) -> str:
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
        value = ask(answer, set(novel), dict(_GROUPS))
        require(isinstance(value, bool), f"True or False is asked for, not {type(value).__name__}")
        require(value is truth, f"for novel classes {sorted(novel) or 'none'} you say {value}; but {why}")
    return "no class of a base area is hidden, and no class of a novel area is shown"


@checker
def check_infuse(answer: Any) -> str:
    """Check `f(previous [B,D,h,w], current [B,D,H,W]) -> [B,2D,H,W]`: what enters the two units of the KIM."""
    draw = torch.Generator().manual_seed(7)
    previous, current = torch.randn(2, 3, 4, 5, generator=draw), torch.randn(2, 3, 7, 9, generator=draw)
    raw = ask(answer, previous, current)
    require(
        not (isinstance(raw, Tensor) and raw.shape == current.shape),
        "the two features are added or mixed; the module concatenates them, so the channels become twice as many",
    )
    require(
        not (isinstance(raw, Tensor) and tuple(raw.shape) == (2, 6, 4, 5)),
        "you shrank the present stage's features to the earlier stage's size; it is the earlier ones that are resized",
    )
    result = tensor_of(raw, (2, 6, 7, 9), "the concatenated features")
    right = resize(previous, current.shape[-2:])
    require(
        not close(result, torch.cat([current, right], 1)),
        "the order is reversed: the coarser stage's channels come first, [h of the last stage ; g of this one]",
    )
    half = torch.nn.functional.interpolate(previous, size=(7, 9), mode="bilinear", align_corners=False)
    require(
        not close(result[:, :3], half),
        "bilinear, but with half-pixel centres; every resize in these networks is made with align_corners=True",
    )
    nearest = torch.nn.functional.interpolate(previous, size=(7, 9), mode="nearest")
    require(not close(result[:, :3], nearest), "nearest-neighbour resize; use bilinear with align_corners=True")
    require(close(result, torch.cat([right, current], 1)), "the channels are not [resized previous ; current]")
    return "the coarser stage's features, brought to size, stand before the present stage's own"


@checker
def check_unit_parameters(answer: Any) -> str:
    """Check `f(n_in, n_out) -> int`: parameters of one separable unit (depthwise 3x3, BN, pointwise 1x1, BN)."""
    for n_in, n_out in ((512, 256), (256, 256), (3, 5)):
        truth = 9 * n_in + 2 * n_in + n_in * n_out + 2 * n_out
        value = ask(answer, n_in, n_out)
        require(isinstance(value, int), f"a whole number is asked for, not {type(value).__name__}")
        require(
            value != 9 * n_in * n_out,
            "that is an ordinary 3x3 convolution, where every output sees every input. A depthwise one has a single "
            "3x3 filter per channel; mixing channels is left to the 1x1",
        )
        require(
            value != 9 * n_in + n_in * n_out,
            "the two batch normalisations are missing: each has a weight and a bias per channel",
        )
        require(
            value != truth + n_in + n_out and value != 9 * n_in + n_in + n_in * n_out + n_out,
            "the convolutions have no bias of their own, since a batch normalisation with weight and bias follows each",
        )
        require(
            value != 9 * n_in + 4 * n_in + n_in * n_out + 4 * n_out,
            "running mean and variance are buffers, not parameters: nothing is learnt in them by gradient",
        )
        require(value == truth, f"for {n_in} -> {n_out} channels the unit has {truth:,} parameters, you say {value:,}")
    return "137,216 + 68,864 = 206,080 parameters make one knowledge infusion module"
