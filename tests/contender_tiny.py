"""Contenders small enough for tests in milliseconds, and slow NumPy forms of what they compute."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from nn_tiny import episode
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.baselines.common import Contender
from oshp_lite.models.registry import build

SMALL: dict[str, Any] = {"variant": "lite", "n_ids": 6, "width": 8, "lite_channels": (4, 8, 8, 8)}


def contender(method: str, way: str = "k", **options: Any) -> Any:
    """A tiny contender in float64."""
    net = build(method, **{**SMALL, "way": way, **options})
    assert isinstance(net, Contender)
    return net.double()


class Cells(nn.Module):
    """A perfect encoder: the mean colour of every 4x4 cell, so that one-hot colours are one-hot features."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out_channels = channels

    def forward(self, image: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(image, 4)


def block_mask(cells: list[list[int]]) -> Tensor:
    """An int64 mask [1,H,W] of 4x4 blocks."""
    return torch.tensor(cells).repeat_interleave(4, 0).repeat_interleave(4, 1)[None]


def colours(mask: Tensor, n: int) -> Tensor:
    """One-hot colours float64 [B,n,H,W] of a mask."""
    return nn.functional.one_hot(mask, n).permute(0, 3, 1, 2).double()


def shown_ids(mask: Tensor, n: int = 6) -> list[int]:
    return [i for i in mask.unique().tolist() if 0 < i < n]


def evaluated(method: str, way: str = "k", **options: Any) -> tuple[Any, Episode, np.ndarray, np.ndarray]:
    """A network in evaluation mode, a batch, and the encoder's features of it."""
    net = contender(method, way, absent_test="full", **options).eval()
    batch = episode(way)
    with torch.no_grad():
        query, support = net.encode(batch)
    return net, batch, array(query), array(support)


# ------------------------------------------------------------------------------------- slow reference forms


def line_weights(cells: int, full: int, mode: str) -> np.ndarray:
    """1-D up-sampling as a matrix [full,cells], from its definition."""
    matrix = np.zeros((full, cells))
    for x in range(full):
        if mode == "nearest":
            matrix[x, int(np.floor(x * cells / full))] = 1
            continue
        if mode == "aligned":
            at = x * (cells - 1) / (full - 1) if full > 1 else 0.0
        else:
            at = max((x + 0.5) * cells / full - 0.5, 0.0)
        low = min(int(np.floor(at)), cells - 1)
        high = min(low + 1, cells - 1)
        matrix[x, low] += 1 - (at - low)
        matrix[x, high] += at - low
    return matrix


def np_upsample(maps: np.ndarray, size: tuple[int, int], mode: str) -> np.ndarray:
    """Up-sample [..., h, w] to [..., H, W]."""
    rows, columns = line_weights(maps.shape[-2], size[0], mode), line_weights(maps.shape[-1], size[1], mode)
    return np.einsum("Yy,...yx,Xx->...YX", rows, maps, columns)


def np_pool(features: np.ndarray, mask: np.ndarray, mode: str, eps: float = 1e-5) -> np.ndarray:
    """Up-sample features [D,h,w], then average under a 0/1 mask [H,W]: [D]."""
    full = np_upsample(features, mask.shape, mode)
    return (full * mask).sum((1, 2)) / (mask.sum() + eps)


def np_cosine(features: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Cosine of every pixel of [D,h,w] with [D]: [h,w]."""
    top = np.einsum("dhw,d->hw", features, vector)
    length = np.linalg.norm(features, axis=0) * np.linalg.norm(vector)
    return np.where(length > 0, top / np.where(length > 0, length, 1), 0.0)


def np_conv(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, padding: int) -> np.ndarray:
    """Plain convolution of [C,h,w] with [O,C,k,k]: [O,h',w']."""
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    out = np.zeros((weight.shape[0], x.shape[1] - k + 1, x.shape[2] - k + 1))
    for dy in range(k):
        for dx in range(k):
            part = x[:, dy : dy + out.shape[1], dx : dx + out.shape[2]]
            out += np.einsum("oc,chw->ohw", weight[:, :, dy, dx], part)
    return out if bias is None else out + bias[:, None, None]


def np_cross_entropy(logits: np.ndarray, label: np.ndarray) -> float:
    """Mean cross-entropy of [C,H,W] against [H,W] over the pixels that are not 255."""
    total, count = 0.0, 0
    for y, x in zip(*np.nonzero(label != 255), strict=True):
        column = logits[:, y, x]
        total += np.log(np.exp(column - column.max()).sum()) + column.max() - column[label[y, x]]
        count += 1
    return total / max(count, 1)


def np_unit(rows: np.ndarray) -> np.ndarray:
    """Bring the last dimension to unit length; zero rows stay zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return rows / np.where(length > 0, length, 1)


def array(value: Tensor) -> np.ndarray:
    return value.detach().numpy()
