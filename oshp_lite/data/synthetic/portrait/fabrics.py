"""Cloth and colours of version 5: what people wear, either as in life or so that cloth says nothing of the garment."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import TILE, noise_tile

LIFE, NOTHING = "as in life", "says nothing"
CLOTH = (LIFE, NOTHING)
"""How cloth is chosen: by the garment, its colours in tune; or the same way for every garment, shoe and bag."""

_HEX = {
    "black": "26262b", "charcoal": "43464e", "grey": "8f939b", "silver": "c3c5c8", "white": "f2f0ea", "cream": "eadfc9",
    "sand": "cdb893", "camel": "b98b5a", "tan": "9a6a42", "brown": "65452f", "navy": "28365a", "denim": "4b6b99",
    "indigo": "2c4067", "sky": "a6c3de", "blue": "3a66a8", "teal": "2c6d70", "forest": "2f5040", "olive": "6c6c44",
    "sage": "9bad8d", "mustard": "cf9a34", "butter": "f0dc9c", "terracotta": "bf6d4b", "rust": "9f4c2d",
    "coral": "e17e66", "red": "b23238", "burgundy": "6e2436", "rose": "d29aa0", "blush": "ecd0c8", "lilac": "ab9fc7",
    "plum": "5f3d5d",
}  # fmt: skip
COLOURS = {name: np.array([int(h[i : i + 2], 16) for i in (0, 2, 4)], dtype=np.float32) for name, h in _HEX.items()}
SCHEMES = (("navy", "white", "denim", "red", "sand"), ("olive", "cream", "rust", "camel", "brown"),
    ("black", "white", "grey", "charcoal", "burgundy"), ("blush", "cream", "sky", "sage", "grey"),
    ("mustard", "burgundy", "forest", "denim", "cream"), ("coral", "teal", "butter", "navy", "white"),
    ("lilac", "charcoal", "white", "sky", "plum"), ("camel", "white", "black", "sand", "indigo"),
    ("terracotta", "sage", "cream", "indigo", "sand"), ("blue", "white", "grey", "mustard", "navy"),
    ("rose", "burgundy", "cream", "charcoal", "denim"), ("forest", "camel", "white", "black", "sky"))
LEATHER = {"black": 4.0, "brown": 3.0, "tan": 3.0, "burgundy": 0.7, "cream": 0.7, "navy": 0.5, "charcoal": 1.0}
TROUSERS = {"indigo": 3.0, "denim": 3.0, "black": 2.0, "charcoal": 2.0, "sand": 1.6, "navy": 1.5, "grey": 1.0}
TROUSERS |= {"olive": 1.0, "white": 0.6, "brown": 0.6, "sky": 0.8}

WEAVES: dict[str, dict[str, float]] = {"tee": {"plain": 5, "stripes": 3, "dots": 0.5},
    "shirt": {"plain": 3, "pinstripe": 2, "plaid": 2, "gingham": 1, "floral": 0.8},
    "blouse": {"plain": 3, "floral": 2.5, "dots": 1.5, "pinstripe": 0.7},
    "sweater": {"knit": 5, "rib": 2, "stripes": 1.5}, "hoodie": {"plain": 4}, "jeans": {"denim": 1},
    "trousers": {"plain": 4, "twill": 2, "pinstripe": 0.8, "corduroy": 1.2, "plaid": 0.5},
    "skirt": {"plain": 3, "plaid": 1.5, "floral": 1.5, "denim": 1, "dots": 0.8, "corduroy": 0.6, "stripes": 0.5},
    "dress": {"floral": 3.5, "plain": 3, "dots": 1.5, "stripes": 0.8, "gingham": 0.8},
    "blazer": {"plain": 3, "herringbone": 2, "plaid": 1, "twill": 1},
    "overcoat": {"plain": 3, "herringbone": 2, "twill": 1}, "denim jacket": {"denim": 1},
    "leather jacket": {"leather": 1}, "puffer": {"quilt": 1}, "trench": {"twill": 1}, "cardigan": {"knit": 3, "rib": 1},
    "shoe": {"leather": 1}, "sneaker": {"canvas": 1}, "bag": {"leather": 3, "canvas": 1},
    "tote": {"canvas": 3, "stripes": 0.6, "leather": 1}, "felt hat": {"plain": 1}, "straw hat": {"straw": 1},
    "beanie": {"knit": 1}, "cap": {"twill": 1}, "scarf": {"plaid": 2, "knit": 2, "plain": 1, "floral": 0.6},
    "socks": {"rib": 3, "stripes": 1}, "tights": {"plain": 1}, "gloves": {"leather": 2, "knit": 1},
    "belt": {"leather": 1}}
"""Which cloth each kind of garment is made of in life, and how often."""
ANY = {"plain": 6, "twill": 1.5, "denim": 1, "stripes": 1.6, "pinstripe": 0.8, "plaid": 1.2, "gingham": 0.8, "dots": 1}
ANY |= {"floral": 1.3, "knit": 1.2, "rib": 0.8, "corduroy": 0.5, "herringbone": 0.6, "canvas": 0.5, "leather": 0.6}
GLOSS = {"leather": 0.16, "quilt": 0.10, "floral": 0.02, "plain": 0.01}


def field(kind: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smooth noise (mean 0, sd 1) at real places u, v; one unit is one cell of `textures.noise_tile`."""
    return noise_tile(kind)[np.floor(v).astype(np.int64) % TILE, np.floor(u).astype(np.int64) % TILE]


def _bands(u: np.ndarray, share: float) -> np.ndarray:
    """1 inside a band that takes up `share` of each period of one."""
    return (np.abs(u - np.floor(u) - np.float32(0.5)) < share / 2).astype(np.float32)


@dataclass
class Fabric:
    """A piece of cloth. u runs across and v down the garment, in centimetres of a person 170 cm tall."""

    weave: str
    colour: np.ndarray
    second: np.ndarray
    third: np.ndarray
    cm: float
    period: float
    origin: tuple[float, float]
    angle: float = 0.0
    flesh: bool = False

    @property
    def gloss(self) -> float:
        """How much it shines."""
        return GLOSS.get(self.weave, 0.0)

    @property
    def ink(self) -> np.ndarray:
        """The colour of its seams and shadows, float32 [3]."""
        return self.colour * np.float32(0.5)

    def turned(self, angle: float) -> Fabric:
        """The same cloth cut at another angle (radians), as for a sleeve."""
        return replace(self, angle=angle)

    def shaded(self, factor: float) -> Fabric:
        """The same cloth, darker or lighter."""
        f = np.float32(factor)
        return replace(self, colour=self.colour * f, second=self.second * f, third=self.third * f)

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [h, w, 3], 0..255."""
        xs = (np.arange(x, x + w, dtype=np.float32)[None, :] - np.float32(self.origin[0])) / np.float32(self.cm)
        ys = (np.arange(y, y + h, dtype=np.float32)[:, None] - np.float32(self.origin[1])) / np.float32(self.cm)
        c, s = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        u, v = xs * c + ys * s, ys * c - xs * s
        drape = field(3, u * 4 + 40, v * 4 + 90)
        u, v = u + drape * np.float32(0.45), v + drape * np.float32(0.45)
        base = _WEAVES[self.weave](self, u, v)
        mottle = 1 + field(2, u * 2.5 + 17, v * 2.5 + 5) * np.float32(0.007) + drape * np.float32(0.008)
        return base * mottle[..., None]


def _mix(a: np.ndarray, b: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.asarray(a + (b - a) * t[..., None], dtype=np.float32)


def _tone(f: Fabric, t: np.ndarray) -> np.ndarray:
    return np.asarray(f.colour * t[..., None], dtype=np.float32)


def _plain(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _tone(f, 1 + field(1, u * 9, v * 9) * np.float32(0.012))


def _twill(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _tone(f, 1 + np.sin((u + v) * np.float32(4.2)) * np.float32(0.035) + field(1, u * 6, v * 6) * 0.015)


def _denim(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    fade = field(4, u * 15, v * 5) * np.float32(0.05) + field(0, u * 8, v * 8) * np.float32(0.05)
    twill = np.sin((u - v) * np.float32(5.0)) * np.float32(0.04)
    return _mix(f.colour, f.colour * 0.45 + 135, np.clip(0.14 + fade + twill, 0, 1))


def _stripes(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _mix(f.colour, f.second, _bands(v / np.float32(f.period), 0.42))


def _pinstripe(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _mix(f.colour, f.second, _bands(u / np.float32(f.period * 0.8), 0.2) * np.float32(0.75))


def _plaid(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    p, out = np.float32(f.period * 2.2), np.broadcast_to(f.colour, (*u.shape, 3))
    for axis in (u, v):
        t = axis / p
        broad, narrow = _bands(t, 0.46) * np.float32(0.42), _bands(t + np.float32(0.5), 0.07) * np.float32(0.6)
        out = _mix(_mix(out, f.second, broad), f.third, narrow)
    return out


def _gingham(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    p = np.float32(f.period * 0.9)
    light = np.float32(0.2) * f.colour + np.float32(0.8) * np.float32(245)
    return _mix(light, f.colour, (_bands(u / p, 0.5) + _bands(v / p, 0.5)) * np.float32(0.5))


def _dots(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    p = np.float32(f.period * 1.15)
    row = np.floor(v / p)
    du = u / p + row * np.float32(0.5)
    du, dv = du - np.floor(du) - np.float32(0.5), v / p - row - np.float32(0.5)
    return _mix(f.colour, f.second, (du * du + dv * dv < 0.052).astype(np.float32))


def _floral(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    out = np.broadcast_to(f.colour, (*u.shape, 3))
    leaf = np.array([84, 112, 78], dtype=np.float32) * np.float32(0.6) + f.colour * np.float32(0.4)
    for size, petal, dx, petals in ((0.55, leaf, 0.5, 2), (1.0, f.second, 0.0, 5), (0.62, f.third, 0.27, 5)):
        p = np.float32(f.period * 2.0)
        i, j = np.floor(u / p + dx), np.floor(v / p + dx * 1.7)
        a, b = (field(0, i * 7 + k, j * 5 + k * 3) for k in (1, 2))
        x = (u / p + dx - i - 0.5 - a * np.float32(0.13)) / np.float32(size)
        y = (v / p + dx * 1.7 - j - 0.5 - b * np.float32(0.13)) / np.float32(size)
        r, turn = np.hypot(x, y), np.arctan2(y, x) + a * 3
        shape = np.float32(0.27) * (np.float32(0.62) + np.float32(0.38) * np.abs(np.cos(turn * (petals / 2))))
        out = _mix(out, petal, (r < shape).astype(np.float32))
        if petals == 5:
            heart = np.array([238, 200, 92], dtype=np.float32)
            out = _mix(out, heart, (r < 0.075).astype(np.float32))
    return out


def _knit(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    p = np.float32(2.3)
    fu = np.abs(u / p - np.floor(u / p) - np.float32(0.5)) * 2
    row = v / np.float32(1.9) + fu * np.float32(0.75)
    stitch = np.abs(row - np.floor(row) - np.float32(0.5)) * 2
    return _tone(f, np.float32(1.07) - np.float32(0.26) * stitch**2 - np.float32(0.2) * (fu > 0.86))


def _rib(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _tone(f, 0.96 + np.cos(u * np.float32(2 * np.pi / 1.9)) * np.float32(0.09))


def _corduroy(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _tone(f, 0.95 + np.abs(np.sin(u * np.float32(np.pi / 1.5))) * np.float32(0.12))


def _herringbone(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    p = np.float32(3.2)
    fu = np.abs(u / p - np.floor(u / p) - np.float32(0.5)) * 2
    t = v / np.float32(1.1) + fu * np.float32(1.5)
    return _mix(f.colour, f.colour * 0.6 + 88, _bands(t, 0.42) * np.float32(0.4) + (field(0, u * 5,
        v * 5) > 1.2) * 0.25)


def _leather(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return _tone(f, 1 + field(1, u * 5, v * 5) * np.float32(0.02))


def _canvas(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    weave = np.sin(u * np.float32(6)) * np.sin(v * np.float32(6)) * np.float32(0.03)
    return _tone(f, 1 + weave + field(1, u * 6, v * 6) * np.float32(0.02))


def _quilt(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    t = v / np.float32(8.5)
    t = t - np.floor(t)
    return _tone(
        f, np.float32(1.1) - np.float32(0.2) * t - np.float32(0.34) * (t > 0.93) + (t < 0.2) * np.float32(0.05)
    )


def _straw(f: Fabric, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    t = np.sin((u * 0.4 + v) * np.float32(5)) * np.float32(0.07) + np.sin(u * np.float32(7)) * np.float32(0.04)
    return _tone(f, 1 + t)


_WEAVES: dict[str, Callable[[Fabric, np.ndarray, np.ndarray], np.ndarray]] = {
    "plain": _plain, "twill": _twill, "denim": _denim, "stripes": _stripes, "pinstripe": _pinstripe, "plaid": _plaid,
    "gingham": _gingham, "dots": _dots, "floral": _floral, "knit": _knit, "rib": _rib, "corduroy": _corduroy,
    "herringbone": _herringbone, "leather": _leather, "canvas": _canvas, "quilt": _quilt, "straw": _straw,
}  # fmt: skip


class Shop:
    """Where one person's clothes come from: `of(kind)` gives a fabric for a kind of garment.

    In the mode "as in life" the kind decides the weave and the colours are in tune; in "says nothing" the kind decides
    neither: every draw is the same draw.
    """

    def __init__(self, rng: Rng, scale: float, cloth: str) -> None:
        self.rng, self.cm, self.life = rng, scale / 170, cloth == LIFE
        scheme = list(rng.pick(SCHEMES))
        self.scheme = sorted(scheme, key=lambda _: rng.u())
        self.leather = rng.weighted(LEATHER)
        self.origin = (rng.uniform(0, 400), rng.uniform(0, 400))
        self.taken = 0

    def of(self, kind: str) -> Fabric:
        """A fabric for a kind of `WEAVES`."""
        rng = self.rng
        weave = rng.weighted(WEAVES[kind] if self.life else ANY)
        name = self._colour(kind) if self.life else rng.pick(tuple(COLOURS))
        if self.life and weave == "denim":
            name = rng.weighted({"denim": 4.0, "indigo": 4.0, "sky": 1.2, "black": 0.8})
        colour = self._worn(COLOURS[name])
        others = [c for c in self.scheme if c != name] if self.life else [c for c in COLOURS if c != name]
        second, third = self._contrast(colour, others), self._worn(COLOURS[rng.pick(others)])
        period = rng.pick((2.6, 3.4, 4.6))
        return Fabric(weave, colour, second, third, self.cm, period, self.origin)

    def _colour(self, kind: str) -> str:
        rng = self.rng
        if kind in ("shoe", "bag", "belt", "gloves", "leather jacket"):
            return self.leather if rng.chance(0.7) else rng.weighted(LEATHER)
        if kind == "sneaker" and rng.chance(0.6):
            return rng.pick(("white", "white", "cream", "black"))
        if kind == "tights":
            return rng.pick(("black", "charcoal", "navy", "brown"))
        if kind in ("jeans", "trousers"):
            return rng.weighted(TROUSERS)
        if kind == "straw hat":
            return rng.pick(("sand", "cream", "camel"))
        if kind == "trench":
            return rng.pick(("sand", "camel", "navy", "sand", "olive"))
        self.taken += 1
        return self.scheme[self.taken % len(self.scheme)]

    def _worn(self, colour: np.ndarray) -> np.ndarray:
        shift = np.array([self.rng.normal(0, 5) for _ in range(3)]) + self.rng.normal(0, 7)
        return np.clip(colour + shift, 14, 248).astype(np.float32)

    def _contrast(self, colour: np.ndarray, names: list[str]) -> np.ndarray:
        """Of three colours the one that stands out most, and at least somewhat."""
        some = [self._worn(COLOURS[self.rng.pick(names)]) for _ in range(3)]
        best = max(some, key=lambda c: float(np.abs(c - colour).sum()))
        if float(np.abs(best - colour).sum()) < 110:
            best = np.full(3, 240 if colour.mean() < 128 else 40, dtype=np.float32)
        return best
