"""Colours and cloth: one set of palettes and patterns for every garment, so that neither tells the class."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from PIL import Image, ImageFilter

from oshp_lite.data.synthetic.rng import Rng

TILE = 256
PATTERNS: dict[str, float] = {
    "plain": 0.36, "denim": 0.12, "stripes": 0.14, "checks": 0.09, "dots": 0.07, "gradient": 0.06,
    "floral": 0.07, "camo": 0.03, "knit": 0.06,
}  # fmt: skip


MUTED = (
    *((0.62, 0.55, 0.32), (0.61, 0.35, 0.55), (0.07, 0.5, 0.4), (0.09, 0.28, 0.8)),
    *((0.18, 0.35, 0.42), (0.97, 0.6, 0.42), (0.55, 0.2, 0.7), (0.03, 0.25, 0.85)),
)
"""Hue, saturation and value of navy, brown, beige, olive, wine."""


@cache
def noise_tile(kind: int) -> np.ndarray:
    """Periodic noise laid 2 x 2, float32 [512, 512], mean 0, sd 1. kind: 0 fine .. 3 coarse; 4 strands of hair."""
    field = (Rng("noise tile", kind).field(TILE).astype(np.float32) * 255).astype(np.uint8)
    big = Image.fromarray(np.tile(field, (3, 3)))
    radius: tuple[float, float] = ((0, 0), (1, 1), (3, 3), (9, 9), (0.4, 6))[kind]
    if radius[1]:
        for _ in range(2):
            big = big.filter(ImageFilter.BoxBlur(radius))
            a = np.asarray(big, dtype=np.float32)
            a = (a - a.mean()) / a.std() * 40 + 128
            big = Image.fromarray(a.clip(0, 255).astype(np.uint8))
    a = np.asarray(big, dtype=np.float32)[TILE : 2 * TILE, TILE : 2 * TILE]
    a = np.tile((a - a.mean()) / a.std(), (2, 2))
    a.setflags(write=False)
    return a


def tile_crop(tile: np.ndarray, x: int, y: int, w: int, h: int) -> np.ndarray:
    """A box of the endlessly repeated tile (a view where it can be)."""
    x, y = x % TILE, y % TILE
    if x + w <= 2 * TILE and y + h <= 2 * TILE:
        return tile[y : y + h, x : x + w]
    tile = tile[:TILE, :TILE]
    return tile[np.ix_(np.arange(y, y + h) % TILE, np.arange(x, x + w) % TILE)]


def cloth_colour(rng: Rng) -> np.ndarray:
    """A colour any garment, shoe, bag or wall may have: float32 [3], 0..255."""
    kind = rng.u()
    if kind < 0.36:  # black, grey, white
        v = rng.pick((0.07, 0.1, 0.16, 0.3, 0.5, 0.68, 0.85, 0.94)) + rng.uniform(-0.03, 0.03)
        return _rgb(rng.u(), rng.uniform(0, 0.06), v)
    if kind < 0.68:
        h, s, v = rng.pick(MUTED)
        return _rgb(h + rng.uniform(-0.03, 0.03), s + rng.uniform(-0.1, 0.1), v + rng.uniform(-0.1, 0.1))
    hue = rng.u()
    if 0.74 < hue < 0.9:  # few clothes are purple
        hue -= rng.pick((0.0, 0.15, 0.7))
    return _rgb(hue, rng.uniform(0.3, 0.78), rng.uniform(0.35, 0.88))


def place_colour(rng: Rng) -> np.ndarray:
    """A colour for walls, floors and things: a cloth colour, more often than not greyed."""
    c = cloth_colour(rng)
    if rng.chance(0.3):
        return c
    f = np.float32(rng.uniform(0.3, 0.75))
    return c + (np.float32(rng.uniform(70, 215)) - c) * f


def _rgb(h: float, s: float, v: float) -> np.ndarray:
    rgb = colorsys.hsv_to_rgb(h % 1.0, min(max(s, 0.0), 1.0), min(max(v, 0.03), 0.97))
    return np.array(rgb, dtype=np.float32) * 255


@dataclass
class Cloth:
    """A piece of fabric: pattern, two or three colours, its grain and where the pattern starts."""

    pattern: str
    colour: np.ndarray
    second: np.ndarray
    period: float
    angle: float
    phase: tuple[int, int]
    grain: float
    top: float = 0.0
    bottom: float = 1.0
    turn: float = 0.0

    def turned(self, angle: float) -> Cloth:
        """The same fabric cut at another angle (radians), as for a sleeve."""
        return replace(self, turn=angle)

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [h, w, 3], 0..255."""
        px, py = self.phase
        grain = tile_crop(noise_tile(1), x + px, y + py, w, h) * np.float32(self.grain)
        if self.pattern == "plain":
            return self.colour * (1 + grain)[..., None]
        mix = self._mix(x, y, w, h)
        base = self.colour + (self.second - self.colour) * mix[..., None]
        base *= (1 + grain)[..., None]
        return base

    def _mix(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        px, py = self.phase
        spots = tile_crop(noise_tile(2), x + px, y + py, w, h)
        if self.pattern == "denim":
            return np.clip(tile_crop(noise_tile(0), x + px, y + py, w, h) * 0.16 + spots * 0.09 + 0.3, 0, 1)
        if self.pattern == "floral":
            return np.clip((spots - 0.7) * 3, 0, 1)
        if self.pattern == "camo":
            return np.round(np.clip(spots * 0.5 + 0.5, 0, 1) * 2) / 2
        ys = np.arange(y, y + h, dtype=np.float32)[:, None]
        xs = np.arange(x, x + w, dtype=np.float32)[None, :]
        if self.pattern == "gradient":
            return np.clip((ys - self.top) / max(self.bottom - self.top, 1.0), 0, 1) + 0 * xs
        c, s = np.float32(np.cos(self.angle + self.turn)), np.float32(np.sin(self.angle + self.turn))
        u = (xs * c + ys * s + px) * np.float32(1 / self.period)
        if self.pattern == "stripes":
            return _bar(u, self.period)
        v = (ys * c - xs * s + py) * np.float32(1 / self.period)
        if self.pattern == "checks":
            return (_bar(u, self.period) + _bar(v, self.period)) * np.float32(0.5)
        if self.pattern == "knit":
            return np.float32(0.25) + np.float32(0.25) * np.abs((u - np.floor(u)) - (v * 2 - np.floor(v * 2)))
        fu, fv = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        return np.clip((np.float32(0.1) - fu * fu - fv * fv) * np.float32(self.period * 1.5), 0, 1)


def _bar(u: np.ndarray, period: float) -> np.ndarray:
    """A smooth-edged square wave of period one."""
    f = np.abs(u - np.floor(u) - np.float32(0.5))
    return np.clip((f - np.float32(0.25)) * np.float32(period) + np.float32(0.5), 0, 1)


def cloth(rng: Rng, scale: float) -> Cloth:
    """A random fabric for a person `scale` pixels tall; the same for every kind of garment."""
    pattern = rng.weighted(PATTERNS)
    colour, second = cloth_colour(rng), cloth_colour(rng)
    if pattern in ("denim", "knit"):
        second = np.clip(colour * rng.pick((0.6, 1.5)) + rng.uniform(-15, 35), 4, 250).astype(np.float32)
    elif float(np.abs(colour - second).sum()) < 90:
        second = np.float32(255) - colour
    period = max(scale * rng.pick((0.016, 0.024, 0.036, 0.055)), 2.6)
    if pattern == "dots":
        period = max(period, 5.0)
    angle = rng.pick((0.0, np.pi / 2, np.pi / 2, np.pi / 4)) + rng.uniform(-0.08, 0.08)
    phase = (rng.integer(0, 4095), rng.integer(0, 4095))
    return Cloth(pattern, colour, second, period, angle, phase, rng.uniform(0.015, 0.06))


@dataclass
class Flat:
    """One colour with a grain (skin, glass, leather, hair)."""

    colour: np.ndarray
    grain: float = 0.02
    kind: int = 1

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [h, w, 3], 0..255."""
        if not self.grain:
            return self.colour[None, None]
        return self.colour * (1 + tile_crop(noise_tile(self.kind), x, y, w, h) * np.float32(self.grain))[..., None]


SKIN = (
    *((241, 207, 184), (233, 189, 160), (222, 172, 138), (203, 150, 115)),
    *((176, 122, 88), (146, 96, 66), (110, 72, 50), (82, 54, 40)),
)
HAIR = (
    *((30, 24, 22), (46, 33, 27), (70, 48, 34), (98, 66, 42), (140, 96, 58), (186, 144, 92)),
    *((214, 182, 128), (122, 54, 34), (58, 40, 30), (84, 56, 36), (38, 28, 24), (150, 146, 142)),
)


def skin_tone(rng: Rng) -> np.ndarray:
    """A skin colour, float32 [3]."""
    return np.clip(np.array(rng.pick(SKIN), dtype=np.float32) * rng.uniform(0.93, 1.06) + rng.uniform(-6, 6), 0, 255)


def hair_tone(rng: Rng) -> np.ndarray:
    """A hair colour, float32 [3]; a few are dyed."""
    if rng.chance(0.05):
        return cloth_colour(rng)
    return np.clip(np.array(rng.pick(HAIR), dtype=np.float32) * rng.uniform(0.85, 1.15), 0, 255)
