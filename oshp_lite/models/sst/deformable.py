"""Multi-scale deformable attention (Zhu et al., ICLR 2021, Eq. 3), written on `grid_sample`, and the encoder of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Sizes = Sequence[tuple[int, int]]


def directions(heads: int, levels: int, points: int) -> Tensor:
    """Where a fresh layer looks, in cells, float [heads,levels,points,2] (x, y).

    Head m looks along the angle 2 pi m / M, the longer coordinate scaled to 1; its points lie 1, 2, ... steps out.
    """
    angle = torch.arange(heads) * (2 * math.pi / heads)
    way = torch.stack([angle.cos(), angle.sin()], -1)
    way = way / way.abs().amax(-1, keepdim=True)
    return way[:, None, None] * torch.arange(1, points + 1)[None, None, :, None] * torch.ones(1, levels, 1, 1)


class DeformableAttention(nn.Module):
    """Every cell reads all levels at a few learnt places around its own.

    Per head: sum over levels and points of A_lp V_l(p + offset_lp / (W_l, H_l)), A softmax over levels x points
    together, V read bilinearly with zeros outside. Fresh weights as published: offsets are constant `directions`,
    attention is uniform, value and output are Xavier.
    """

    def __init__(self, dim: int, *, levels: int = 3, heads: int = 8, points: int = 4) -> None:
        super().__init__()
        self.levels, self.heads, self.points = levels, heads, points
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)
        for layer in (self.offsets, self.weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value, self.out):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.offsets.bias.copy_(directions(heads, levels, points).flatten())

    def forward(self, query: Tensor, places: Tensor, source: Tensor, sizes: Sizes) -> Tensor:
        """Return float [B,Q,D].

        query float [B,Q,D]; places float [Q,2], (x, y) in [0,1]; source float [B,T,D], the levels' cells in rows, one
        level after the other; sizes: their (height, width).
        """
        batch, count, _ = query.shape
        value = self.value(source).unflatten(2, (self.heads, -1)).permute(0, 2, 3, 1).flatten(0, 1)  # [B*M,d,T]
        shape = (self.heads, self.levels, self.points)
        offsets = self.offsets(query).view(batch, count, *shape, 2).transpose(1, 2).flatten(0, 1)
        weights = self.weights(query).view(batch, count, self.heads, -1).softmax(-1)
        weights = weights.unflatten(3, shape[1:]).transpose(1, 2).flatten(0, 1)  # [B*M,Q,L,P]
        read = []
        for level, part in enumerate(value.split([h * w for h, w in sizes], 2)):
            height, width = sizes[level]
            at = places[:, None] + offsets[:, :, level] / offsets.new_tensor([width, height])
            cells = part.unflatten(2, (height, width))
            found = F.grid_sample(cells, 2 * at - 1, mode="bilinear", padding_mode="zeros", align_corners=False)
            read.append((found * weights[:, None, :, level]).sum(-1))  # [B*M,d,Q]
        mixed = torch.stack(read).sum(0).unflatten(0, (batch, self.heads)).flatten(1, 2)
        return torch.as_tensor(self.out(mixed.transpose(1, 2)))


def cell_places(sizes: Sizes, like: Tensor) -> Tensor:
    """Centres of all cells of all levels, float [T,2], (x, y) in [0,1]."""
    rows = []
    for height, width in sizes:
        y, x = ((torch.arange(n, device=like.device, dtype=like.dtype) + 0.5) / n for n in (height, width))
        rows.append(torch.stack([x.repeat(height), y.repeat_interleave(width)], -1))
    return torch.cat(rows)


def sine_code(places: Tensor, dim: int) -> Tensor:
    """Position code of places in [0,1]: float [T,dim], half for y and half for x, wavelengths 1 to 10000 in 2 pi."""
    quarter = dim // 4
    rates = 10000 ** (torch.arange(quarter, device=places.device, dtype=places.dtype) / quarter)
    angle = 2 * math.pi * places.flip(-1)[..., None] / rates
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


class DeformableLayer(nn.Module):
    """Attention and a feed-forward part, each added and then normalised. The position goes into the query alone."""

    def __init__(self, dim: int, hidden: int, *, levels: int, heads: int, points: int) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, levels=levels, heads=heads, points=points)
        self.forth = nn.Sequential(nn.Linear(dim, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))

    def forward(self, cells: Tensor, code: Tensor, places: Tensor, sizes: Sizes) -> Tensor:
        """cells float [B,T,D], code float [T,D] -> float [B,T,D]."""
        cells = self.norms[0](cells + self.attention(cells + code, places, cells, sizes))
        return torch.as_tensor(self.norms[1](cells + self.forth(cells)))


class PixelEncoder(nn.Module):
    """Mixes the maps at strides 8, 16 and 32 (section 4.1: "multi-scale deformable attention Transformer").

    `widths` are the channels at strides 8, 16 and, where the backbone has it, 32; else stride 32 is made of 16 by a
    3x3 convolution of stride 2. Each map passes a convolution and GroupNorm first.
    """

    def __init__(self, widths: Sequence[int], dim: int, *, layers: int, heads: int, points: int, hidden: int) -> None:
        super().__init__()
        groups = math.gcd(dim, max(1, dim // 8))  # 32 of 256 channels
        self.deeper = len(widths) == 2
        inputs: list[nn.Conv2d] = [nn.Conv2d(width, dim, 1) for width in widths]
        if self.deeper:
            inputs.append(nn.Conv2d(widths[-1], dim, 3, stride=2, padding=1))
        self.inputs = nn.ModuleList(nn.Sequential(conv, nn.GroupNorm(groups, dim)) for conv in inputs)
        self.level = nn.Parameter(torch.randn(3, dim))
        how = {"levels": 3, "heads": heads, "points": points}
        self.layers = nn.ModuleList(DeformableLayer(dim, hidden, **how) for _ in range(layers))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps float [B,C,h,w] at strides 8, 16 (and 32) -> float [B,D,h,w] at strides 8, 16 and 32."""
        given = [*maps, maps[-1]] if self.deeper else list(maps)
        inner = [layer(one) for layer, one in zip(self.inputs, given, strict=True)]
        sizes = [(int(one.shape[2]), int(one.shape[3])) for one in inner]
        counts = [height * width for height, width in sizes]
        cells = torch.cat([one.flatten(2).transpose(1, 2) for one in inner], 1)
        places = cell_places(sizes, cells)
        code = sine_code(places, cells.shape[2]) + self.level.repeat_interleave(
            torch.tensor(counts, device=cells.device), 0
        )
        for layer in self.layers:
            cells = layer(cells, code, places, sizes)
        parts = cells.transpose(1, 2).split(counts, 2)
        return [part.unflatten(2, size) for part, size in zip(parts, sizes, strict=True)]
