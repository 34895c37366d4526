"""Where the people of version 5 stand, and the light that falls there."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Sequence
from math import cos, pi, sin

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from oshp_lite.data.synthetic.portrait.easel import Light
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import TILE, noise_tile

KINDS = {"studio": 2.2, "room": 2.2, "street": 2.6, "park": 2.2, "evening": 1.2, "seaside": 1.0}
WALLS = ("e9e2d6", "dfe3df", "d8c9b8", "c9d3cf", "b9c4cc", "e6d3c8", "a9b3a0", "8fa0a8", "c8a892", "ddd6c0")
FACADES = ("c9b79c", "b98a72", "9c6a58", "d9cdb8", "a8a29a", "8c8f94", "c2a58a", "b7bdbd", "7f6a5f", "d4b8a0")
BACKDROPS = ("d9d4cc", "c9c2ba", "b4bcc0", "cdb9a8", "a7b0a2", "c7a59a", "8f959c", "dcd3bf", "98a7b5", "6e6a70")
Colour = tuple[int, int, int]


def _colour(value: str | np.ndarray, factor: float = 1.0, plus: float = 0.0) -> Colour:
    rgb = [int(value[i : i + 2], 16) for i in (0, 2, 4)] if isinstance(value, str) else value.tolist()
    r, g, b = (int(min(max(c * factor + plus, 0), 255)) for c in rgb)
    return r, g, b


def _ramp(w: int, h: int, rows: Sequence[tuple[float, str]]) -> Image.Image:
    """A picture whose colour runs through the stops (height 0..1, colour) from top to bottom."""
    at = [t for t, _ in rows]
    colours = np.array([_colour(c) for _, c in rows], dtype=float)
    ys = (np.arange(h) + 0.5) / h
    column = np.stack([np.interp(ys, at, colours[:, k]) for k in range(3)], 1)
    return Image.fromarray(np.repeat(column[:, None].round().astype(np.uint8), w, 1))


class Place:
    """A backdrop uint8 [height, width, 3] with its light; `horizon` is where the floor begins (share of the height)."""

    def __init__(self, rng: Rng, height: int, width: int) -> None:
        self.rng, self.w, self.h = rng, max(width * 2 // 3, 16), max(height * 2 // 3, 16)
        self.kind = rng.weighted(KINDS)
        self.horizon = rng.uniform(0.66, 0.78)
        self.side = rng.pick((-1.0, 1.0))  # where the light comes from: left or right
        self.picture: Image.Image
        self.light: Light
        indoors = {"studio": self._studio, "room": self._room}
        outdoors = {"street": self._street, "park": self._park, "evening": self._evening, "seaside": self._seaside}
        blur = (indoors | outdoors)[self.kind]()
        if blur:
            self.picture = self.picture.filter(ImageFilter.GaussianBlur(blur * self.h / 512))
        big = self.picture.resize((width, height), Image.Resampling.BICUBIC)
        self.image = self._lit(np.asarray(big, dtype=np.float32))

    def _light(self, height: float, front: float, tint: str, shade: tuple[float, float, float], hard: float) -> Light:
        v = np.array([self.side * self.rng.uniform(0.55, 0.8), -height, front])
        x, y, z = (v / np.linalg.norm(v)).tolist()
        warm = np.array(_colour(tint), dtype=float) / 240
        return Light((x, y, z), (float(warm[0]), float(warm[1]), float(warm[2])), shade, hard)

    def _lit(self, image: np.ndarray) -> np.ndarray:
        """Falling-off of the light across the place, a vignette and a little unevenness."""
        h, w = image.shape[:2]
        xs, ys = np.linspace(-1, 1, w, dtype=np.float32)[None, :], np.linspace(-1, 1, h, dtype=np.float32)[:, None]
        slope = {"studio": 0.16, "room": 0.15, "evening": 0.08}.get(self.kind, 0.05)
        glow = 1 + np.float32(slope * self.side) * xs - np.float32(slope * 0.4) * ys
        vignette = 1 - np.float32(0.10) * np.clip(xs * xs + ys * ys - 0.6, 0, 2)
        tile = noise_tile(3)
        at = (np.arange(max(h, w)) * (512 / max(h, w))).astype(int) % TILE
        cloud = tile[np.ix_(at[:h], at[:w])] * np.float32(0.004)
        return np.asarray(image * (glow * vignette + cloud)[..., None], dtype=np.float32)

    def _draw(self) -> ImageDraw.ImageDraw:
        return ImageDraw.Draw(self.picture)

    # -- indoors ----------------------------------------------------------------------------------------------------

    def _studio(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        base = rng.pick(BACKDROPS)
        y = self.horizon
        dark, pale = (f"{r:02x}{g:02x}{b:02x}" for r, g, b in (_colour(base, 0.9), _colour(base, 1.05)))
        rows = ((0.0, dark), (y - 0.2, base), (y, base), (y + 0.08, pale), (1.0, dark))
        self.picture = _ramp(w, h, rows)
        glow = Image.new("L", (w, h))
        cx, cy, r = (0.5 + 0.16 * self.side) * w, 0.36 * h, 0.42 * h
        ImageDraw.Draw(glow).ellipse((cx - r, cy - r, cx + r, cy + r), fill=90)
        glow = glow.filter(ImageFilter.GaussianBlur(0.16 * h))
        self.picture.paste(Image.new("RGB", (w, h), _colour(base, 1.2, 8)), mask=glow)
        self.light = self._light(0.62, 0.72, "f8f2ea", (0.60, 0.58, 0.61), 0.25)
        return 0.0

    def _room(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        wall, y = rng.pick(WALLS), self.horizon * self.h
        self.picture = Image.new("RGB", (w, h), _colour(wall))
        d = self._draw()
        self._boards(d, y, rng.pick(("b08a62", "8c6546", "c7a983", "6f5442", "a58f7a")))
        if rng.chance(0.45):  # panelling below
            top, c = y - rng.uniform(0.2, 0.28) * h, _colour(wall, 0.93)
            d.rectangle((0, top, w, y), fill=c)
            d.rectangle((0, top, w, top + 0.012 * h), fill=_colour(wall, 1.05))
            for k in range(7):
                x = (k - 0.5) * w / 6
                d.rectangle((x + 0.015 * w, top + 0.04 * h, x + w / 6 - 0.015 * w, y - 0.045 * h),
                    outline=_colour(wall, 0.84))
        d.rectangle((0, y - 0.026 * h, w, y), fill=_colour(wall, 1.06, 6))
        d.line((0, y, w, y), fill=_colour(wall, 0.55), width=max(h // 256, 1))
        x = (0.5 + self.side * 0.36) * w
        self._window(d, x, 0.08 * h, 0.26 * w, 0.40 * h) if rng.chance(0.7) else self._curtain(d, x, y)
        x = (0.5 - self.side * rng.uniform(0.26, 0.36)) * w
        piece = rng.pick((self._plant, self._sofa, self._shelf, self._lamp))
        if rng.chance(0.7):
            self._frame(d, x, rng.uniform(0.12, 0.2) * h)
        piece(d, x, y)
        self._beam()
        self.light = self._light(0.5, 0.68, "fbf1e2", (0.58, 0.55, 0.57), 0.35)
        return rng.uniform(1.4, 3.0)

    def _boards(self, d: ImageDraw.ImageDraw, y: float, wood: str) -> None:
        rng, h, w = self.rng, self.h, self.w
        d.rectangle((0, y, w, h), fill=_colour(wood))
        vx, vy = w * rng.uniform(0.3, 0.7), y - 0.5 * h
        for k in range(-16, 33):
            f = (k - 8) / 10
            a, b = (vx + f * w * (q - vy) / (h - vy) for q in (y, h))
            c, e = (vx + (f + 0.1) * w * (q - vy) / (h - vy) for q in (y, h))
            d.polygon([(a, y), (c, y), (e, h), (b, h)], fill=_colour(wood, rng.uniform(0.92, 1.07)))
            d.line((a, y, b, h), fill=_colour(wood, 0.78))

    def _window(self, d: ImageDraw.ImageDraw, x: float, top: float, w: float, h: float) -> None:
        d.rectangle((x - w / 2, top, x + w / 2, top + h), fill=(206, 224, 238))
        for k in range(14):
            r = 0.05 * w * self.rng.uniform(0.8, 1.6)
            at, low = x - w / 2 + (k + 0.5) * w / 14, top + h - r - self.rng.uniform(0, 0.12) * h
            at = min(max(at, x - w / 2 + r), x + w / 2 - r)
            d.rectangle((at - r, low, at + r, top + h), fill=(186, 206, 180))
            d.ellipse((at - r, low - r, at + r, low + r), fill=(186, 206, 180))
        for at in (x - w / 2, x, x + w / 2):
            d.rectangle((at - 0.02 * w, top, at + 0.02 * w, top + h), fill=(250, 248, 244))
        for at in (top, top + h / 2, top + h):
            d.rectangle((x - w / 2, at - 0.02 * w, x + w / 2, at + 0.02 * w), fill=(250, 248, 244))
        d.rectangle((x - 0.58 * w, top + h, x + 0.58 * w, top + h * 1.035), fill=(238, 234, 228))

    def _curtain(self, d: ImageDraw.ImageDraw, x: float, y: float) -> None:
        cloth, w = self.rng.pick(("c7b8a6", "7f8f86", "a5736a", "5d6b7d", "d8d2c4")), 0.3 * self.w
        for k in range(26):
            a = x - w / 2 + k * w / 26
            d.rectangle((a, 0, a + w / 25, y * 1.02), fill=_colour(cloth, 0.94 + 0.12 * sin(k * 1.9)))

    def _frame(self, d: ImageDraw.ImageDraw, x: float, top: float) -> None:
        rng, h = self.rng, self.h
        w, t = rng.uniform(0.08, 0.12) * h, rng.uniform(0.12, 0.18) * h
        d.rectangle((x - w - 4, top - 4, x + w + 4, top + t + 4), fill=_colour(rng.pick(("4a3b30", "f4f1ea",
            "b58d55"))))
        d.rectangle((x - w, top, x + w, top + t), fill=(240, 236, 226))
        for _ in range(4):
            r, a, b = rng.uniform(0.15, 0.4) * t, x + rng.uniform(-0.6, 0.6) * w, top + rng.uniform(0.3, 0.75) * t
            r = min(r, b - top, top + t - b, a - x + w, x + w - a)
            if r > 2:
                d.ellipse((a - r, b - r, a + r, b + r), fill=_colour(rng.pick(("c0714f", "2f6f73", "e0b15a", "33415c",
                    "a9bfa4"))))

    def _plant(self, d: ImageDraw.ImageDraw, x: float, y: float) -> None:
        rng, h = self.rng, self.h
        foot, pot = y + 0.06 * h, rng.pick(("c98d68", "e8e2d8", "4c5359"))
        for k in range(17):
            a = -pi / 2 + (k - 8) * 0.17 + rng.uniform(-0.08, 0.08)
            reach, green = rng.uniform(0.16, 0.32) * h, rng.uniform(0.7, 1.25)
            tip = (x + cos(a) * reach * 0.75, foot - 0.12 * h + sin(a) * reach)
            mid = (x + cos(a) * reach * 0.3, foot - 0.12 * h + sin(a) * reach * 0.62)
            n = (sin(a) * 0.02 * h, -cos(a) * 0.02 * h)
            leaf = [(x, foot - 0.1 * h), (mid[0] + n[0], mid[1] + n[1]), tip, (mid[0] - n[0], mid[1] - n[1])]
            d.polygon(leaf, fill=_colour("5f8257", green))
        w = 0.05 * h
        d.polygon([(x - w, foot - 0.11 * h), (x + w, foot - 0.11 * h), (x + w * 0.75, foot), (x - w * 0.75, foot)],
            fill=_colour(pot))
        d.rectangle((x - w * 1.1, foot - 0.12 * h, x + w * 1.1, foot - 0.095 * h), fill=_colour(pot, 1.08))

    def _sofa(self, d: ImageDraw.ImageDraw, x: float, y: float) -> None:
        h, c = self.h, self.rng.pick(("6f7f78", "a66f58", "59657a", "b7a58d", "7d5a5f"))
        w, foot, r = 0.24 * h, y + 0.07 * h, 0.03 * h
        d.rounded_rectangle((x - w, foot - 0.27 * h, x + w, foot - 0.04 * h), r, fill=_colour(c, 0.92))
        for k in (-1, 0):
            d.rounded_rectangle((x + k * w * 0.86, foot - 0.15 * h, x + (k + 1) * w * 0.86, foot - 0.07 * h), r * 0.6,
                fill=_colour(c, 1.1))
        for k in (-1, 1):
            d.rounded_rectangle((x + k * w - r * 1.3, foot - 0.18 * h, x + k * w + r * 1.3, foot - 0.02 * h), r,
                fill=_colour(c))
        d.rectangle((x - w, foot - 0.075 * h, x + w, foot - 0.02 * h), fill=_colour(c, 0.85))

    def _shelf(self, d: ImageDraw.ImageDraw, x: float, y: float) -> None:
        rng, h = self.rng, self.h
        w, top = 0.15 * h, y - rng.uniform(0.42, 0.5) * h
        d.rectangle((x - w, top, x + w, y + 0.03 * h), fill=_colour("8a6a4c"))
        for k in range(4):
            a = top + 0.012 * h + k * (y - top) / 4
            b = a + (y - top) / 4 - 0.014 * h
            d.rectangle((x - w * 0.94, a, x + w * 0.94, b), fill=_colour("5c4634"))
            at = x - w * 0.9
            while at < x + w * 0.7:
                t, tall = rng.uniform(0.012, 0.026) * h, rng.uniform(0.55, 0.92)
                c = rng.pick(("b4523e", "d9b26a", "40606e", "e4dccb", "6d7f5c", "2d3548", "a88fa0"))
                d.rectangle((at, b - (b - a) * tall, at + t, b), fill=_colour(c))
                at += t + 1 if rng.chance(0.85) else t * 3

    def _lamp(self, d: ImageDraw.ImageDraw, x: float, y: float) -> None:
        h = self.h
        foot, top = y + 0.05 * h, y - 0.44 * h
        d.line((x, foot, x, top), fill=(70, 62, 56), width=max(h // 130, 2))
        d.ellipse((x - 0.05 * h, foot - 0.012 * h, x + 0.05 * h, foot + 0.012 * h), fill=(70, 62, 56))
        d.polygon([(x - 0.05 * h, top - 0.05 * h), (x + 0.05 * h, top - 0.05 * h), (x + 0.08 * h, top + 0.08 * h),
            (x - 0.08 * h, top + 0.08 * h)], fill=(250, 232, 190))

    def _beam(self) -> None:
        """The window's light on wall and floor."""
        h, w = self.h, self.w
        mask = Image.new("L", (w, h))
        d, x = ImageDraw.Draw(mask), (0.5 - self.side * 0.02) * w
        for k in (0, 1):
            a = x - self.side * k * 0.17 * w
            quad = [(a, 0.2 * h), (a - self.side * 0.14 * w, 0.3 * h), (a - self.side * 0.14 * w, 0.66 * h),
                (a, 0.56 * h)]
            d.polygon(quad, fill=62)
        d.polygon([(x, self.horizon * h + 0.04 * h), (x - self.side * 0.36 * w, self.horizon * h + 0.08 * h),
            (x - self.side * 0.5 * w, h), (x - self.side * 0.06 * w, h)], fill=52)
        mask = mask.filter(ImageFilter.GaussianBlur(0.012 * h))
        self.picture.paste(Image.new("RGB", (w, h), (255, 240, 208)), mask=mask)

    # -- outdoors ---------------------------------------------------------------------------------------------------

    def _street(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        y = self.horizon * h
        self.picture = _ramp(w, h, ((0.0, "a9c8e4"), (0.5, "e3ebee"), (1.0, "e3ebee")))
        d, x = self._draw(), -rng.uniform(0, 0.15) * w
        while x < w:
            wide = rng.uniform(0.26, 0.42) * w
            self._house(d, x, wide, y)
            x += wide
        self._pavement(d, y)
        for _ in range(rng.integer(0, 2)):
            self._tree(d, rng.pick((rng.uniform(0.03, 0.22), rng.uniform(0.78, 0.97))) * w, y, rng.uniform(0.9, 1.3))
        self.light = self._light(0.75, 0.62, "fff4e2", (0.55, 0.55, 0.62), 0.8)
        return rng.uniform(3.5, 6.0)

    def _house(self, d: ImageDraw.ImageDraw, x: float, wide: float, y: float) -> None:
        rng, h = self.rng, self.h
        wall, top = rng.pick(FACADES), rng.uniform(-0.2, 0.16) * h
        d.rectangle((x, top, x + wide, y), fill=_colour(wall))
        d.rectangle((x, top, x + wide, top + 0.02 * h), fill=_colour(wall, 0.8))
        shop, n, trim = y - 0.24 * h, rng.integer(2, 3), _colour(wall, 1.16, 8)
        floor = top + 0.05 * h
        while floor < shop - 0.14 * h:
            for k in range(n):
                a, ww = x + wide * (k + 0.24) / n, wide * 0.52 / n
                d.rectangle((a - 3, floor - 3, a + ww + 3, floor + 0.125 * h), fill=trim)
                d.rectangle((a, floor, a + ww, floor + 0.115 * h), fill=_colour("5b7186", rng.uniform(0.75, 1.35)))
                d.line((a + ww / 2, floor, a + ww / 2, floor + 0.115 * h), fill=trim, width=2)
            floor += 0.19 * h
        front = rng.pick(("2f4f41", "33415c", "7a3b35", "4a4a4f", "d8cfbe", "2f6f73"))
        d.rectangle((x + 0.04 * wide, shop, x + 0.96 * wide, y), fill=_colour(front))
        glass = rng.pick(("f0d9a8", "9db3bd", "cbb38c", "71858f"))
        d.rectangle((x + 0.1 * wide, shop + 0.06 * h, x + 0.62 * wide, y - 0.03 * h), fill=_colour(glass))
        for _ in range(5):
            a, r = x + rng.uniform(0.14, 0.58) * wide, rng.uniform(0.01, 0.03) * h
            d.rectangle((a - r, y - 0.03 * h - 3 * r, a + r, y - 0.03 * h), fill=_colour(rng.pick(FACADES), 0.8))
        d.rectangle((x + 0.7 * wide, shop + 0.05 * h, x + 0.9 * wide, y), fill=_colour(front, 0.66))
        if rng.chance(0.55):
            c = rng.pick(("c0503f", "e8e0d0", "3f6b5a", "d9a441", "4b6b99"))
            for k in range(10):
                a = x + (0.06 + 0.06 * k) * wide
                stripe = _colour(c) if k % 2 else (244, 240, 232)
                d.polygon([(a, shop + 0.02 * h), (a + 0.06 * wide, shop + 0.02 * h),
                    (a + 0.07 * wide, shop + 0.085 * h), (a, shop + 0.085 * h)], fill=stripe)

    def _pavement(self, d: ImageDraw.ImageDraw, y: float) -> None:
        rng, h, w = self.rng, self.h, self.w
        stone = rng.pick(("b9b2a8", "a7a6a3", "c4b7a4", "9a9897"))
        d.rectangle((0, y, w, h), fill=_colour(stone))
        d.rectangle((0, y, w, y + 0.012 * h), fill=_colour(stone, 0.7))
        vx, vy = 0.5 * w, y - 0.35 * h
        for k in range(-14, 15):
            a, b = (vx + k * 0.13 * w * (q - vy) / (h - vy) for q in (y, h))
            d.line((a, y, b, h), fill=_colour(stone, 0.88), width=max(h // 300, 1))
        for t in (0.1, 0.24, 0.44, 0.72):
            d.line((0, y + (h - y) * t, w, y + (h - y) * t), fill=_colour(stone, 0.88), width=max(h // 300, 1))

    def _tree(self, d: ImageDraw.ImageDraw, x: float, y: float, size: float) -> None:
        rng, h = self.rng, self.h
        d.polygon([(x - 0.013 * h, y + 0.02 * h), (x - 0.008 * h, y - 0.4 * h), (x + 0.008 * h, y - 0.4 * h),
            (x + 0.013 * h, y + 0.02 * h)], fill=(92, 74, 60))
        green = rng.pick(("6f8f55", "7d9a5c", "5d8060", "9aa256"))
        self._foliage(d, x, y - 0.46 * h * size, 0.17 * h * size, green, 60)

    def _foliage(self, d: ImageDraw.ImageDraw, x: float, y: float, r: float, green: str, n: int) -> None:
        """A crown of leaves: dark below, bright where the light comes from."""
        rng, dabs = self.rng, []
        for _ in range(n):
            a, q = rng.uniform(0, 2 * pi), rng.u() ** 0.5
            dx, dy = cos(a) * q, sin(a) * q * 0.85
            dabs.append((self.side * dx - dy * 1.2, dx, dy))
        for bright, dx, dy in sorted(dabs):
            s = r * rng.uniform(0.16, 0.3)
            c = _colour(green, 0.82 + 0.24 * bright + rng.uniform(-0.06, 0.06), 6 * bright)
            d.ellipse((x + dx * r - s, y + dy * r - s, x + dx * r + s, y + dy * r + s), fill=c)

    def _park(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        y = self.horizon * h
        self.picture = _ramp(w, h, ((0.0, "9cc3e6"), (0.45, "dfeaf0"), (self.horizon, "eef0e4"), (1.0, "eef0e4")))
        d = self._draw()
        for k in range(14):
            green = rng.pick(("8aa886", "7f9f7c", "98b08c"))
            self._foliage(d, (k + rng.uniform(-0.3, 0.3)) * w / 13, y - 0.09 * h, rng.uniform(0.09, 0.17) * h, green,
                26)
        grass = _ramp(w, max(h - int(y), 1), ((0.0, "9fb574"), (0.3, "8aa75f"), (1.0, "6f8f4c")))
        self.picture.paste(grass, (0, int(y)))
        d = self._draw()
        if rng.chance(0.6):  # a path
            x = rng.uniform(0.3, 0.7) * w
            d.polygon([(x - 0.02 * w, y), (x + 0.02 * w, y), (x + 0.5 * w, h), (x - 0.45 * w, h)], fill=(214, 200, 172))
        for _ in range(rng.integer(2, 3)):
            self._tree(d, rng.pick((rng.uniform(0.0, 0.24), rng.uniform(0.76, 1.0))) * w, y, rng.uniform(1.0, 1.6))
        for _ in range(90):
            t = rng.u()
            a, b, s = rng.u() * w, y + t * (h - y), (0.003 + 0.006 * t) * h
            d.ellipse((a - s, b - s * 0.5, a + s, b + s * 0.5), fill=_colour("b4c77f", rng.uniform(0.75, 1.15)))
        self.light = self._light(0.8, 0.6, "fff4e2", (0.55, 0.57, 0.57), 0.65)
        return rng.uniform(3.5, 6.0)

    def _evening(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        y = self.horizon * h
        self.picture = _ramp(w, h, ((0.0, "2e3a5c"), (0.4, "6a6384"), (self.horizon, "c08b78"), (1.0, "4a4656")))
        d, x = self._draw(), 0.0
        while x < w:
            wide, top = rng.uniform(0.12, 0.26) * w, rng.uniform(0.0, 0.42) * h
            d.rectangle((x, top, x + wide, y), fill=_colour("4a4863", rng.uniform(0.75, 1.15)))
            for _ in range(12):
                a, b = x + rng.u() * wide * 0.9, rng.uniform(top, y)
                d.rectangle((a, b, a + 0.02 * w, b + 0.026 * h), fill=_colour("f2c27a", rng.uniform(0.6, 1.0)))
            x += wide
        d.rectangle((0, y, w, h), fill=_colour("565264"))
        blurred = self.picture.filter(ImageFilter.GaussianBlur(0.008 * h))
        lamps = Image.new("L", (w, h))
        ld, tint = ImageDraw.Draw(lamps), Image.new("RGB", (w, h), (255, 212, 150))
        for _ in range(26):
            a, b, r = rng.u() * w, rng.uniform(0.08, self.horizon) * h, rng.uniform(0.012, 0.04) * h
            ld.ellipse((a - r, b - r, a + r, b + r), fill=rng.integer(60, 150))
            ld.ellipse((a - r * 1.6, 2 * y - b * 0.9 - r * 0.3, a + r * 1.6, 2 * y - b * 0.9 + r * 0.3), fill=34)
        blurred.paste(tint, mask=lamps.filter(ImageFilter.GaussianBlur(0.003 * h)))
        self.picture = blurred
        self.light = self._light(0.35, 0.62, "ffe6c8", (0.47, 0.45, 0.58), 0.35)
        return 2.0

    def _seaside(self) -> float:
        rng, h, w = self.rng, self.h, self.w
        sea = self.horizon - rng.uniform(0.14, 0.2)
        rows = ((0.0, "7fb2df"), (sea - 0.002, "d5e8f2"), (sea, "4d8fb0"), (self.horizon - 0.02, "8cc3c6"))
        self.picture = _ramp(w, h, (*rows, (self.horizon, "d9c49a"), (1.0, "e6d3ab")))
        d, y = self._draw(), self.horizon * h
        for k in range(9):
            b = sea * h + (k + 1) ** 1.6 * 0.0042 * h
            a = rng.uniform(-0.2, 0.8) * w
            d.line((a, b, a + rng.uniform(0.1, 0.4) * w, b), fill=(196, 224, 230), width=max(h // 300, 1))
        d.ellipse((-0.4 * w, y - 0.025 * h, 1.4 * w, y + 0.012 * h), fill=(240, 244, 240))
        d.ellipse((-0.4 * w, y - 0.008 * h, 1.4 * w, y + 0.02 * h), fill=(196, 172, 132))
        if rng.chance(0.6):  # a parasol
            x, top, c = (0.5 - self.side * 0.34) * w, 0.34 * h, rng.pick(("d9584a", "e9b44c", "4b86a8"))
            d.line((x, top, x, y + 0.08 * h), fill=(230, 224, 214), width=max(h // 110, 2))
            for k in range(6):
                d.pieslice((x - 0.2 * h, top - 0.1 * h, x + 0.2 * h, top + 0.14 * h), 180 + 30 * k, 210 + 30 * k,
                    fill=_colour(c) if k % 2 else (246, 242, 234))
        for _ in range(3):
            cx, cy = rng.u() * w, rng.uniform(0.05, 0.3) * h
            for _ in range(7):
                r = rng.uniform(0.02, 0.04) * h
                a, b = cx + rng.uniform(-0.11, 0.11) * w, cy + rng.uniform(-0.012, 0.012) * h
                d.ellipse((a - 1.6 * r, b - r * 0.6, a + 1.6 * r, b + r * 0.6), fill=(244, 247, 249))
        self.light = self._light(0.85, 0.6, "fff6e6", (0.58, 0.59, 0.65), 0.85)
        return rng.uniform(3.0, 5.0)
