"""The decoder: three stages of window and shifted-window attention (Swin, ICCV 2021) on the way from 1/32 to 1/4."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.models.modules.layers import resize

APART = -1.0e4  # logit between cells that do not see each other; finite, for windows of padding alone


def cut(x: Tensor, side: int) -> Tensor:
    """Cut float [B,H,W,C], sides multiples of `side`, into windows float [B*n,side^2,C]."""
    batch, tall, wide, channels = x.shape
    parts = x.view(batch, tall // side, side, wide // side, side, channels)
    return parts.transpose(2, 3).reshape(-1, side**2, channels)


@cache
def barriers(size: tuple[int, int], side: int, shift: int, device: torch.device) -> Tensor:
    """0 where a cell of a window may see another, `APART` where not: float [n,1,side^2,side^2] of a padded map."""
    (height, width), (tall, wide) = size, (-(-length // side) * side for length in size)
    with torch.inference_mode(False):
        label, real = torch.zeros(tall, wide), torch.zeros(tall, wide)
        if shift:
            label[-shift:] += 1
            label[:, -shift:] += 2
        real[:height, :width] = 1
        cells = torch.stack([label, real.roll((-shift, -shift), (0, 1))], -1)
        regions, filled = cut(cells[None], side).unbind(-1)
        seen = (regions[:, :, None] == regions[:, None]) & (filled[:, None] > 0)
        return torch.where(seen, 0.0, APART)[:, None].to(device)


class WindowBlock(nn.Module):
    """Attention inside windows of `side` x `side` cells, moved by `shift`, and a feed-forward part, after LayerNorm.

    Cells that a shift brings together from opposite edges do not see each other, nor does any see the padding of a
    map whose sides are no multiples of `side`. The logits have a bias learnt for each relative place.
    """

    def __init__(self, dim: int, hidden: int, *, heads: int, side: int, shift: int) -> None:
        super().__init__()
        self.heads, self.side, self.shift = heads, side, shift
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2))
        self.inward, self.outward = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.forth = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.bias = nn.Parameter(torch.empty(heads, (2 * side - 1) ** 2))
        nn.init.trunc_normal_(self.bias, std=0.02)
        at = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + side - 1
        self.register_buffer("relative", apart[0] * (2 * side - 1) + apart[1], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Cells float [B,h,w,D] -> the same shape."""
        x = x + self.attention(self.norms[0](x))
        return torch.as_tensor(x + self.forth(self.norms[1](x)))

    def attention(self, x: Tensor) -> Tensor:
        """The attention alone: float [B,h,w,D] -> float [B,h,w,D]."""
        batch, height, width, dim = x.shape
        side = self.side
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        tall, wide = x.shape[1:3]
        shift = self.shift if max(tall, wide) > side else 0  # one window sees all as it is
        x = x.roll((-shift, -shift), (1, 2))
        tokens = cut(x, side).unflatten(0, (batch, -1))  # [B,n,side^2,D]
        query, key, value = self.inward(tokens).unflatten(3, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        bias = self.bias[:, torch.as_tensor(self.relative)]
        bias = bias[None] + barriers((height, width), side, shift, x.device).to(x.dtype)  # [n,heads,side^2,side^2]
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=bias)  # [B,n,heads,side^2,d]
        out: Tensor = self.outward(mixed.transpose(2, 3).flatten(3))
        out = out.view(batch, tall // side, wide // side, side, side, dim).transpose(2, 3).reshape(x.shape)
        return out.roll((shift, shift), (1, 2))[:, :height, :width]


class Decoder(nn.Module):
    """From the encoder's maps and the backbone's at 1/4 to H_1, H_2 and H_3 at 1/16, 1/8 and 1/4 (section 3.2.1).

    Each stage brings its input to twice the size, adds the map that has this size, and passes a plain and a shifted
    block.
    """

    def __init__(self, width: int, dim: int, *, heads: int, hidden: int, window: int) -> None:
        super().__init__()
        self.lateral = nn.Conv2d(width, dim, 1)
        shifts = (0, window // 2)
        self.stages = nn.ModuleList(
            nn.Sequential(*(WindowBlock(dim, hidden, heads=heads, side=window, shift=shift) for shift in shifts))
            for _ in range(3)
        )

    def forward(self, at4: Tensor, mixed: Sequence[Tensor]) -> list[Tensor]:
        """at4 float [B,C,h,w]; mixed: maps float [B,D,h,w] at strides 8, 16, 32 -> [H_1, H_2, H_3], float [B,D,h,w]."""
        at8, at16, now = mixed
        maps = []
        for stage, lateral in zip(self.stages, (at16, at8, self.lateral(at4)), strict=True):
            now = resize(now, lateral.shape[-2:], "bilinear") + lateral
            now = stage(now.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            maps.append(now)
        return maps
