"""The canvas: soft-edged layers over a picture, with exact masks.

Each layer's outline is drawn without anti-aliasing on a grid three times as fine as the picture. Those samples decide
both the layer's coverage of every pixel (the picture's soft edges) and the masks: a pixel belongs to the atom that
holds at least five of its nine samples, that is, more than half of it. Where three or more atoms meet and none has
five, the one with most samples wins (ties: the lowest code).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

FINE = 3  # samples per pixel and axis; odd, so that two atoms never tie
Shape = tuple[np.ndarray, int]  # polygon in pixels [n, 2], atom (0 cuts a hole into this layer)


class Paint(Protocol):
    """What fills a layer: colours for a box of the picture."""

    def colours(self, x: int, y: int, w: int, h: int) -> np.ndarray:
        """float32 [h, w, 3] (or [1, 1, 3]), 0..255, for the box with its corner at (x, y)."""


class Canvas:
    """A picture in the making: `image` float32 [H, W, 3] in 0..255 and the fine map of (person, atom) codes."""

    def __init__(self, image: np.ndarray, light: tuple[float, float]) -> None:
        self.image = image
        self.height, self.width = image.shape[:2]
        self.light = light
        self.person = 0
        self.codes = np.zeros((self.height * FINE, self.width * FINE), dtype=np.uint16)

    def layer(
        self,
        shapes: Sequence[Shape],
        paint: Paint,
        *,
        soft: float,
        relief: float = 1.0,
        folds: Sequence[tuple[np.ndarray, float]] = (),
        shadow: float = 0.25,
        mark: bool | None = True,
        opacity: float = 1.0,
    ) -> None:
        """Draw one layer: its shapes together, one paint, one relief.

        `soft` is the rounding of its relief in pixels, `relief` the strength of the shading, `folds` are polylines
        with a strength (negative: a groove), `shadow` is how much it darkens what lies beneath along the light.
        `mark=None` paints without touching the masks (a face's features), `mark=False` makes the pixels
        background (a thing in front of people); `opacity=0` casts the shadow only.
        """
        pad = int(soft) + 2
        pts = np.concatenate([s[0] for s in shapes if s[1]])
        low, high = pts.min(0), pts.max(0)
        x0, y0 = max(int(low[0]) - pad, 0), max(int(low[1]) - pad, 0)
        x1, y1 = min(int(high[0]) + pad + 1, self.width), min(int(high[1]) + pad + 1, self.height)
        if x1 <= x0 or y1 <= y0:
            return
        w, h = x1 - x0, y1 - y0
        local = Image.new("L", (w * FINE, h * FINE))
        draw = ImageDraw.Draw(local)
        origin = np.array([x0, y0]) * float(FINE)
        for polygon, atom in shapes:
            draw.polygon((polygon * FINE - origin).ravel().tolist(), fill=atom)
        fine = np.asarray(local)
        if mark is not None:
            box = self.codes[y0 * FINE : y1 * FINE, x0 * FINE : x1 * FINE]
            code = fine + np.uint16(self.person << 8) if mark else np.uint16(0)
            np.copyto(box, code, where=fine > 0)
        cover = Image.fromarray(np.multiply(fine > 0, 255, dtype=np.uint8)).reduce(FINE)
        alpha = np.asarray(cover, dtype=np.float32) * np.float32(1 / 255)
        target = self.image[y0:y1, x0:x1]
        lx, ly = self.light
        if relief or shadow:
            round_off = ImageFilter.BoxBlur(max(soft * 0.62, 0.5))
            bump = np.asarray(cover.filter(round_off).filter(round_off), dtype=np.float32) * np.float32(1 / 255)
        if shadow:
            dx, dy = -lx * soft * 0.7, -ly * soft * 0.7
            target *= (1 - np.float32(shadow) * _shifted(bump, round(dx), round(dy)))[..., None]
        if not opacity:
            return
        colours = paint.colours(x0, y0, w, h)
        if relief:
            bump *= np.float32(relief * soft * 0.66)
            if folds:
                bump += _crease(folds, x0, y0, w, h)
            shade = np.ones_like(alpha)
            shade[:, 1:-1] -= (bump[:, 2:] - bump[:, :-2]) * np.float32(lx)
            shade[1:-1] -= (bump[2:] - bump[:-2]) * np.float32(ly * 0.5)
            np.clip(shade, 0.5, 1.28, out=shade)
            colours = colours * shade[..., None]
        target += (colours - target) * alpha[..., None]

    def masks(self) -> tuple[np.ndarray, np.ndarray]:
        """Atom map uint8 [H, W] and person map uint8 [H, W] by the majority rule of this module."""
        code = majority(self.codes)
        return (code & 255).astype(np.uint8), (code >> 8).astype(np.uint8)


def majority(codes: np.ndarray) -> np.ndarray:
    """The owner of every pixel: [3H, 3W] samples -> [H, W], by the rule of this module."""
    h, w = codes.shape[0] // FINE, codes.shape[1] // FINE
    parts = [codes[i::FINE, j::FINE] for i in range(FINE) for j in range(FINE)]
    owner = parts[4].copy()
    mixed = np.zeros((h, w), dtype=bool)
    for part in parts:
        mixed |= part != owner
    at = np.flatnonzero(mixed)
    if len(at):
        samples = np.stack([p.ravel()[at] if p.flags.c_contiguous else p[mixed] for p in parts], 1)
        samples.sort(axis=1)
        best = samples[:, 4].copy()  # the median is the majority wherever there is one
        torn = np.flatnonzero((samples == best[:, None]).sum(1) * 2 < FINE * FINE)
        if len(torn):
            few = samples[torn]
            votes = (few[:, :, None] == few[:, None, :]).sum(2)
            best[torn] = few[np.arange(len(few)), votes.argmax(1)]
        owner.ravel()[at] = best
    return owner


def _shifted(a: np.ndarray, dx: int, dy: int) -> np.ndarray:
    """The array moved by whole pixels, zeros where nothing comes in."""
    h, w = a.shape
    out = np.zeros_like(a)
    if abs(dx) < w and abs(dy) < h:
        seen = a[max(-dy, 0) : h - max(dy, 0), max(-dx, 0) : w - max(dx, 0)]
        out[max(dy, 0) : h + min(dy, 0), max(dx, 0) : w + min(dx, 0)] = seen
    return out


def _crease(folds: Sequence[tuple[np.ndarray, float]], x0: int, y0: int, w: int, h: int) -> np.ndarray:
    """A height map of fold lines, float32 [h, w]; a fold of strength 1 changes the shading by about a quarter."""
    sheet = Image.new("L", (w, h), 128)
    draw = ImageDraw.Draw(sheet)
    width = 1 if h < 120 else 2
    for line, strength in folds:
        flat = (line - (x0, y0)).ravel().tolist()
        draw.line(flat, fill=max(0, min(255, 128 + int(strength * 127))), width=width)
    soften = ImageFilter.BoxBlur(0.8 * width)
    blurred = sheet.filter(soften).filter(soften)
    return (np.asarray(blurred, dtype=np.float32) - np.float32(128)) * np.float32(3.6 / 127)
