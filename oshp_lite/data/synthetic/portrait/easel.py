"""The canvas of version 5: everything is painted three times as fine as the picture, lit by one light of the place.

Coordinates are fine pixels. A layer's outline decides the colours and the masks with the same samples, as in
`raster`: a pixel belongs to the atom that holds more than half of its nine samples.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw

from oshp_lite.data.synthetic.raster import FINE, Shape, majority

Box = tuple[int, int, int, int]
Fold = tuple[np.ndarray, float]


class Paint(Protocol):
    """What fills a layer."""

    @property
    def gloss(self) -> float:
        """How much it shines, 0 dull."""

    @property
    def flesh(self) -> bool:
        """Whether its shades stay warm."""

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [h, w, 3] (or [1, 1, 3]), 0..255, for the box of fine pixels with its corner at (x, y)."""


@dataclass(frozen=True)
class Light:
    """The one light of a scene: unit vector towards it (x right, y down, z to the viewer), its colour, its shade's."""

    towards: tuple[float, float, float]
    tint: tuple[float, float, float] = (1.03, 1.0, 0.96)
    shade: tuple[float, float, float] = (0.55, 0.54, 0.60)
    hard: float = 0.5


@dataclass
class Tint:
    """One colour; `flesh` keeps its shades warm, as light does that comes through skin."""

    colour: np.ndarray
    gloss: float = 0.0
    flesh: bool = False

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [1, 1, 3]."""
        return self.colour[None, None].astype(np.float32)


def blurred(a: np.ndarray, radius: float) -> np.ndarray:
    """A float32 array smoothed by three box means along either axis (edges repeat)."""
    r = max(round(radius), 1)
    for axis in (0, 1):
        n = a.shape[axis]
        low, high = ((slice(None),) * axis + (slice(start, start + n),) for start in (0, 2 * r + 1))
        for _ in range(3):
            first, last = (np.take(a, [end] * count, axis) for end, count in ((0, r + 1), (-1, r)))
            total = np.concatenate((first, a, last), axis).cumsum(axis, dtype=np.float64)
            a = ((total[high] - total[low]) / (2 * r + 1)).astype(np.float32)
    return a


def _larger(a: np.ndarray, w: int, h: int) -> np.ndarray:
    return np.asarray(Image.fromarray(a.astype(np.float32)).resize((w, h), Image.Resampling.BILINEAR))


class Easel:
    """A picture in the making: `image` float32 [3H, 3W, 3] in 0..255 and the map of (person, atom) codes."""

    def __init__(self, place: np.ndarray, light: Light) -> None:
        self.image = place.astype(np.float32)
        self.height, self.width = place.shape[:2]
        self.light = light
        self.person = 0
        self.codes = np.zeros((self.height, self.width), dtype=np.uint16)

    def _box(self, points: np.ndarray, pad: float) -> Box | None:
        low, high = points.min(0) - pad, points.max(0) + pad
        x0, y0 = (max(int(v) // FINE * FINE, 0) for v in low)
        x1, y1 = (min((int(v) // FINE + 1) * FINE, m) for v, m in zip(high, (self.width, self.height), strict=True))
        return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None

    @staticmethod
    def _raster(shapes: Iterable[Shape], box: Box) -> Image.Image:
        x0, y0, x1, y1 = box
        local = Image.new("L", (x1 - x0, y1 - y0))
        draw = ImageDraw.Draw(local)
        for polygon, atom in shapes:
            draw.polygon((polygon - (x0, y0)).ravel().tolist(), fill=atom)
        return local

    def _allowed(self, box: Box, only: Sequence[int] | None) -> np.ndarray | float:
        """1 where a detail may be painted: on these atoms of the present person."""
        if only is None:
            return 1.0
        x0, y0, x1, y1 = box
        table = np.zeros(256, dtype=bool)
        table[list(only)] = True
        codes = self.codes[y0:y1, x0:x1]
        return np.asarray(table[codes & 255] & (codes >> 8 == self.person), dtype=np.float32)

    def layer(
        self,
        shapes: Sequence[Shape],
        paint: Paint,
        soft: float,
        *,
        depth: float = 1.5,
        rim: float = 0.16,
        cast: float = 0.3,
        caster: Sequence[Shape] | None = None,
        form: Sequence[Shape] = (),
        folds: Sequence[Fold] = (),
        mark: bool | None = True,
    ) -> None:
        """Paint shapes as one rounded piece.

        soft    how far its rounding reaches inwards, fine pixels
        depth   how strongly it bulges; rim: how much its edge darkens; folds: lines with a strength (negative: groove)
        cast    how much it darkens what lies behind on people; caster: the shapes that do so, if not all
        form    further shapes that belong to the same volume: no edge is shaded towards them
        mark    None paints without touching the masks; False makes the pixels background
        """
        solid = [s for s in shapes if s[1]]
        if not solid or (box := self._box(np.concatenate([p for p, _ in solid]), soft + 4)) is None:
            return
        x0, y0, x1, y1 = box
        w, h = x1 - x0, y1 - y0
        raster = self._raster(shapes, box)
        fine = np.asarray(raster)
        inside = fine > 0
        if not inside.any():
            return
        cover = Image.fromarray(np.multiply(inside, 255, dtype=np.uint8))
        thrower = cover if caster is None else self._raster([(p, 255 if a else 0) for p, a in caster], box)
        if cast:
            self._shadow(thrower, box, soft, cast)
        codes = self.codes[y0:y1, x0:x1]
        if mark is not None:
            np.copyto(codes, fine + np.uint16(self.person << 8) if mark else np.uint16(0), where=inside)
        volume = cover
        if form:
            volume = self._raster([(p, 255) for p, _ in form], box)
            volume.paste(255, mask=cover)
        shade = self._shading(volume, soft, depth, rim, folds, box, paint)
        colours = paint.colours(x0, y0, w, h) * shade
        np.copyto(self.image[y0:y1, x0:x1], np.minimum(colours, 255), where=inside[..., None])

    def _shadow(self, thrower: Image.Image, box: Box, soft: float, strength: float) -> None:
        """Occlusion on the people behind: the shape's own blur, moved away from the light."""
        x0, y0, x1, y1 = box
        small = np.asarray(thrower.reduce(FINE), dtype=np.float32) / 255
        reach = max(soft / FINE * 0.45, 1.0)
        dark = blurred(small, reach)
        lx, ly, _ = self.light.towards
        dx, dy = round(-lx * reach * 1.4), round(-ly * reach * 1.4)
        moved = np.roll(dark, (dy, dx), (0, 1))
        on = (self.codes[y0:y1, x0:x1] > 0) * _larger(np.maximum(moved, dark * 0.7), x1 - x0, y1 - y0)
        tint = 1 - np.array(self.light.shade, dtype=np.float32)
        self.image[y0:y1, x0:x1] *= 1 - (on * np.float32(strength * 1.5))[..., None] * tint

    def _shading(
        self, volume: Image.Image, soft: float, depth: float, rim: float, folds: Sequence[Fold], box: Box, paint: Paint
    ) -> np.ndarray:
        """Light on the rounded piece: float32 [h, w, 3], about 1 where it faces the viewer."""
        x0, y0, x1, y1 = box
        full = np.asarray(volume.reduce(FINE), dtype=np.float32) / 255
        r = max(soft / FINE, 1.0)
        height = blurred(full, r * 0.5) * np.float32(depth * r)
        if folds:
            height = height + self._creases(folds, box, r)
        wide = np.pad(height, 1, mode="edge")
        nx, ny = (wide[1:-1, :-2] - wide[1:-1, 2:]) / 2, (wide[:-2, 1:-1] - wide[2:, 1:-1]) / 2
        lx, ly, lz = self.light.towards
        length = np.sqrt(1 + nx * nx + ny * ny)
        lit = (nx * lx + ny * ly + lz) / (length * lz)
        edge = np.clip(1.9 - 2 * blurred(full, max(r * 0.12, 1.0)), 0, 1)
        lit = np.asarray(np.clip(lit, 0, 1.3) - np.float32(rim) * edge, dtype=np.float32)
        dull, bright = (np.array(c, dtype=np.float32) for c in (self.light.shade, self.light.tint))
        if paint.flesh:
            dull = dull * np.array([1.22, 1.0, 0.86], dtype=np.float32)
        w, h, gloss = x1 - x0, y1 - y0, paint.gloss
        lit = _larger(np.clip(lit, 0, 1.3), w, h)[..., None]
        shade = dull + (bright - dull) * np.minimum(lit, 1) + np.clip(lit - 1, 0, 1) * np.float32(0.55)
        if gloss:
            hx, hy, hz = lx * 0.5, ly * 0.5, (lz + 1) * 0.5
            half = (nx * hx + ny * hy + hz) / (length * float(np.sqrt(hx * hx + hy * hy + hz * hz)))
            shade = shade + np.float32(gloss) * _larger(np.clip(half, 0, 1) ** 24, w, h)[..., None]
        return np.asarray(shade, dtype=np.float32)

    def _creases(self, folds: Sequence[Fold], box: Box, r: float) -> np.ndarray:
        x0, y0, x1, y1 = box
        sheet = Image.new("L", ((x1 - x0) // FINE, (y1 - y0) // FINE), 128)
        draw = ImageDraw.Draw(sheet)
        width = max(round(r * 0.16), 1)
        for line, strength in folds:
            flat = ((line - (x0, y0)) / FINE).ravel().tolist()
            draw.line(flat, fill=max(0, min(255, 128 + int(strength * 127))), width=width, joint="curve")
        lines = (np.asarray(sheet, dtype=np.float32) - 128) / 127
        return blurred(lines, max(r * 0.12, 1.0)) * np.float32(max(r * 0.32, 1.4))

    def glaze(
        self,
        polygons: Sequence[np.ndarray],
        colour: Sequence[float] | np.ndarray,
        opacity: float = 1.0,
        soft: float = 0.0,
        *,
        only: Sequence[int] | None = None,
        multiply: bool = False,
    ) -> None:
        """A transparent patch of colour with edges `soft` fine pixels wide; the masks stay as they are."""
        box = self._box(np.concatenate(polygons), soft * 3 + 3)
        if box is None:
            return
        x0, y0, x1, y1 = box
        raster = self._raster([(p, 255) for p in polygons], box)
        if soft > 1.5 * FINE:
            small = blurred(np.asarray(raster.reduce(FINE), dtype=np.float32) / 255, soft / FINE)
            cover = _larger(small, x1 - x0, y1 - y0)
        else:
            cover = np.asarray(raster, dtype=np.float32) / 255
        self._blend(box, cover * self._allowed(box, only), colour, opacity, multiply)

    def stroke(
        self,
        line: np.ndarray,
        width: float,
        colour: Sequence[float] | np.ndarray,
        opacity: float = 1.0,
        *,
        only: Sequence[int] | None = None,
        multiply: bool = False,
    ) -> None:
        """A drawn line of some fine pixels' width (a seam, a lash, a strand); the masks stay as they are."""
        if (box := self._box(line, width + 2)) is None:
            return
        x0, y0, x1, y1 = box
        local = Image.new("L", (x1 - x0, y1 - y0))
        flat = (line - (x0, y0)).ravel().tolist()
        ImageDraw.Draw(local).line(flat, fill=255, width=max(round(width), 1), joint="curve")
        cover = np.asarray(local, dtype=np.float32) / 255 * min(width, 1.0)
        self._blend(box, cover * self._allowed(box, only), colour, opacity, multiply)

    def _blend(
        self, box: Box, cover: np.ndarray, colour: Sequence[float] | np.ndarray, opacity: float, multiply: bool
    ) -> None:
        x0, y0, x1, y1 = box
        target = self.image[y0:y1, x0:x1]
        amount = (cover * np.float32(opacity))[..., None]
        paint = np.asarray(colour, dtype=np.float32)
        target += ((target * (paint / 255) if multiply else paint) - target) * amount

    def finish(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Picture float32 [H, W, 3] in 0..255, atom map uint8 [H, W] and person map uint8 [H, W]."""
        h, w = self.height // FINE, self.width // FINE
        image = self.image.reshape(h, FINE, w, FINE, 3).mean((1, 3))
        owner = majority(self.codes)
        return image, (owner & 255).astype(np.uint8), (owner >> 8).astype(np.uint8)
