"""Places: studio, room, street, clutter, from the same palettes and patterns as the clothes."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import cloth, noise_tile, place_colour, tile_crop

KINDS = {"studio": 3.0, "wall": 2.5, "room": 2.0, "street": 3.0, "nature": 1.5, "clutter": 1.5}
RGB = tuple[int, int, int]


def _rgb(c: np.ndarray) -> RGB:
    r, g, b = (int(min(max(v, 0), 255)) for v in c)
    return r, g, b


def background(rng: Rng, height: int, width: int) -> np.ndarray:
    """A place for people: float32 [H, W, 3] in 0..255."""
    kind = rng.weighted(KINDS)
    horizon = rng.uniform(0.58, 0.86) * height
    small = Image.new("RGB", (max(width // 2, 8), max(height // 2, 8)))
    draw = ImageDraw.Draw(small)
    w, h = small.size
    _PAINTERS[kind](draw, rng, w, h, horizon / 2)
    blur = rng.pick((0.0, 0.5, 1.0, 1.6, 2.4)) * h / 128
    if kind != "studio" and blur:
        small = small.filter(ImageFilter.BoxBlur(blur))
    image = np.asarray(small.resize((width, height), Image.Resampling.BILINEAR), dtype=np.float32).copy()
    if kind in ("wall", "room", "clutter") and rng.chance(0.6):  # patterned wall or curtain, as garments have
        paper = cloth(rng, height * rng.uniform(0.8, 2.0))
        a, b = sorted((rng.uniform(-0.3, 0.7), rng.uniform(0.3, 1.3)))
        x0, x1 = max(int(a * width), 0), min(int(b * width), width)
        y1 = int(horizon)
        if x1 - x0 > 4:
            mix = np.float32(rng.uniform(0.3, 0.9))
            image[:y1, x0:x1] += (paper.colours(x0, 0, x1 - x0, y1) - image[:y1, x0:x1]) * mix
    across = np.linspace(rng.uniform(-0.14, 0.14), rng.uniform(-0.14, 0.14), width, dtype=np.float32)
    down = np.linspace(rng.uniform(0, 0.1), rng.uniform(-0.16, 0.05), height, dtype=np.float32)
    patch = tile_crop(noise_tile(3), rng.integer(0, 255), rng.integer(0, 255), width, height)
    light = across[None, :] + down[:, None] + patch * np.float32(rng.uniform(0.0, 0.03))
    image *= (1 + light)[..., None]
    return image


def _studio(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    base = place_colour(rng) if rng.chance(0.5) else np.full(3, rng.uniform(150, 245), dtype=np.float32)
    draw.rectangle((0, 0, w, h), fill=_rgb(base))
    floor = base * rng.uniform(0.8, 1.1)
    for t in (i / 14 for i in range(14)):
        draw.rectangle((0, y + (h - y) * t, w, h), fill=_rgb(base + (floor - base) * t))


def _wall(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    wall, floor, joint = place_colour(rng), place_colour(rng), rng.uniform(0.75, 1.2)
    draw.rectangle((0, 0, w, y), fill=_rgb(wall))
    draw.rectangle((0, y, w, h), fill=_rgb(floor))
    if rng.chance(0.6):  # bricks or tiles
        bh = rng.uniform(0.03, 0.16) * h
        bw = bh * rng.pick((1.0, 2.0, 2.6))
        row, yy = 0, 0.0
        while yy < y:
            draw.line((0, yy, w, yy), fill=_rgb(wall * joint))
            x = -(row % 2) * bw / 2
            while x < w:
                if rng.chance(0.15):
                    draw.rectangle((x, yy, x + bw, min(yy + bh, y)), fill=_rgb(wall * rng.uniform(0.86, 1.12)))
                draw.line((x, yy, x, min(yy + bh, y)), fill=_rgb(wall * joint))
                x += bw
            row, yy = row + 1, yy + bh
    _floor(draw, rng, w, h, y, floor)
    if rng.chance(0.5):
        draw.rectangle((0, y - h * 0.02, w, y), fill=_rgb(wall * 0.75))


def _floor(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float, floor: np.ndarray) -> None:
    if rng.chance(0.6):
        vx = rng.uniform(-0.2, 1.2) * w
        line = _rgb(floor * rng.uniform(0.75, 1.15))
        for i in range(-8, 17):
            draw.line((vx + (i / 8 - 0.5) * w * 0.4, y, vx + (i / 8 - 0.5) * w * 2.4, h), fill=line)
        for t in (0.12, 0.32, 0.62):
            draw.line((0, y + (h - y) * t, w, y + (h - y) * t), fill=line)


def _room(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    _wall(draw, rng, w, h, y)
    for _ in range(rng.integer(1, 3)):  # windows, doors, pictures
        x, ww = rng.uniform(-0.1, 0.9) * w, rng.uniform(0.12, 0.35) * w
        hh, top = rng.uniform(0.2, 0.7) * h, rng.uniform(0.0, 0.3) * h
        low, c = min(top + hh, y), place_colour(rng)
        draw.rectangle((x, top, x + ww, low), fill=_rgb(c), outline=_rgb(c * 0.6))
        if rng.chance(0.5):
            draw.line((x + ww / 2, top, x + ww / 2, low), fill=_rgb(c * 0.6))
    _boxes(draw, rng, w, h, y, rng.integer(1, 4))


def _boxes(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float, n: int) -> None:
    for _ in range(n):  # furniture: box with a lit top and a dark side
        x, ww, hh = rng.uniform(-0.15, 0.9) * w, rng.uniform(0.1, 0.35) * w, rng.uniform(0.1, 0.45) * h
        base = y + rng.uniform(0.0, 0.7) * (h - y)
        c, d = place_colour(rng), rng.uniform(0.02, 0.07) * h
        draw.rectangle((x, base - hh, x + ww, base), fill=_rgb(c))
        edge = [(x + ww + d, base - hh - d), (x + ww, base - hh)]
        draw.polygon([(x, base - hh), (x + d, base - hh - d), *edge], fill=_rgb(c * 1.2))
        draw.polygon([*edge[::-1], (x + ww + d, base - d), (x + ww, base)], fill=_rgb(c * 0.7))
        for i in range(1, rng.integer(1, 4)):
            yy = base - hh * i / 4
            draw.line((x, yy, x + ww, yy), fill=_rgb(c * 0.7))


def _street(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    sky = place_colour(rng) * 0.3 + np.float32(rng.uniform(110, 175))
    ground = place_colour(rng) * 0.4 + np.float32(60)
    draw.rectangle((0, 0, w, y), fill=_rgb(sky))
    x = rng.uniform(-0.2, 0) * w
    while x < w:
        ww, top = rng.uniform(0.14, 0.45) * w, rng.uniform(-0.2, 0.45) * h
        c = place_colour(rng) * 0.7 + np.float32(40)
        draw.rectangle((x, top, x + ww, y), fill=_rgb(c))
        glass, lit = _rgb(place_colour(rng)), _rgb(c * 1.3)
        nx, step = rng.integer(2, 4), rng.uniform(0.08, 0.15) * h
        yy = top + step * 0.4
        while yy < y - step:
            for i in range(nx):
                xx = x + ww * (i + 0.2) / nx
                draw.rectangle((xx, yy, xx + ww * 0.55 / nx, yy + step * 0.6), fill=glass if rng.chance(0.8) else lit)
            yy += step
        x += ww + rng.uniform(0, 0.06) * w
    draw.rectangle((0, y, w, h), fill=_rgb(ground))
    draw.rectangle((0, y, w, y + 0.02 * h), fill=_rgb(ground * 1.25))
    for _ in range(rng.integer(0, 2)):  # a car
        cx, s = rng.uniform(0, 1) * w, rng.uniform(0.1, 0.22) * h
        c = place_colour(rng)
        draw.rounded_rectangle((cx - 1.4 * s, y - 0.55 * s, cx + 1.4 * s, y + 0.1 * s), 0.2 * s, fill=_rgb(c))
        low, top = y - 0.5 * s, y - 1.0 * s
        cabin = [(cx - 0.9 * s, low), (cx - 0.55 * s, top), (cx + 0.5 * s, top), (cx + 0.95 * s, low)]
        draw.polygon(cabin, fill=_rgb(c * 0.6))
        for d in (-0.8, 0.8):
            draw.ellipse((cx + d * s - 0.25 * s, y - 0.15 * s, cx + d * s + 0.25 * s, y + 0.32 * s), fill=(25, 25, 28))
    _poles(draw, rng, w, h, y)


def _poles(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    for _ in range(rng.integer(0, 3)):  # posts, trunks, passers-by far off
        x, ww, c = rng.uniform(0, 1) * w, rng.uniform(0.01, 0.05) * w, place_colour(rng)
        top = rng.uniform(-0.1, 0.6) * y
        draw.rectangle((x, top, x + ww, y + rng.uniform(0, 0.5) * (h - y)), fill=_rgb(c * 0.7))
        if rng.chance(0.4):
            r = rng.uniform(0.04, 0.14) * w
            draw.ellipse((x + ww / 2 - r, top - r, x + ww / 2 + r, top + r), fill=_rgb(place_colour(rng)))


def _nature(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    far = place_colour(rng) * 0.3 + np.float32(130)
    ground = place_colour(rng) * 0.6 + np.array([20, 40, 10], dtype=np.float32)
    draw.rectangle((0, 0, w, y), fill=_rgb(far))
    for _ in range(rng.integer(8, 26)):
        r, x, yy = rng.uniform(0.03, 0.2) * w, rng.u() * w, y - rng.uniform(-0.02, 0.6) * h * rng.u()
        green = rng.chance(0.75)
        c = np.array([rng.uniform(*b) for b in ((20, 120), (60, 150), (10, 80))]) if green else place_colour(rng)
        draw.ellipse((x - r, yy - r * rng.uniform(0.6, 1.2), x + r, yy + r), fill=_rgb(c))
    draw.rectangle((0, y, w, h), fill=_rgb(ground))
    _poles(draw, rng, w, h, y)


def _clutter(draw: ImageDraw.ImageDraw, rng: Rng, w: int, h: int, y: float) -> None:
    _wall(draw, rng, w, h, y)
    _boxes(draw, rng, w, h, y, rng.integer(3, 8))
    for _ in range(rng.integer(4, 12)):  # things of any shape and colour
        x, yy, r, c = rng.u() * w, rng.u() * h, rng.uniform(0.02, 0.12) * w, _rgb(place_colour(rng))
        if rng.chance(0.5):
            draw.ellipse((x - r, yy - r * 1.3, x + r, yy + r * 1.3), fill=c)
        else:
            pts = [(x + r * rng.uniform(-1.4, 1.4), yy + r * rng.uniform(-1.8, 1.8)) for _ in range(4)]
            draw.polygon(pts, fill=c)


_PAINTERS = {"studio": _studio, "wall": _wall, "room": _room, "street": _street, "nature": _nature, "clutter": _clutter}
