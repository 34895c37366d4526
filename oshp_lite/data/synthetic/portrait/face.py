"""Heads of version 5: the face by age and sex, its expression, beards, glasses. Head units: see `body.Head`."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import Head
from oshp_lite.data.synthetic.outlines import ellipse, smooth
from oshp_lite.data.synthetic.portrait.easel import Easel, Tint
from oshp_lite.data.synthetic.portrait.frame import Physique
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng

SKIN = ("f3cfc0", "edc0ab", "e4ae93", "d59b7d", "c28868", "a97153", "8b5a43", "704939", "5a3b2f")
IRIS = ("4a3020", "5a3d26", "6b4a2c", "3f5c74", "5c7f94", "54704f", "2f2118")
_YS = np.array([-1.0, -0.94, -0.72, -0.32, 0.1, 0.44, 0.70, 0.87, 0.98])
_XS = {"man": np.array([0.24, 0.42, 0.63, 0.71, 0.69, 0.64, 0.53, 0.36, 0.15]),
    "woman": np.array([0.24, 0.42, 0.63, 0.70, 0.67, 0.58, 0.43, 0.26, 0.09]),
    "child": np.array([0.22, 0.45, 0.72, 0.78, 0.77, 0.70, 0.54, 0.33, 0.12])}
FACE = atom("face", "head")


def rgb(text: str) -> np.ndarray:
    """Colour of six hex digits: float32 [3]."""
    return np.array([int(text[i : i + 2], 16) for i in (0, 2, 4)], dtype=np.float32)


def kin(who: Physique) -> str:
    """Which of the three head shapes somebody has."""
    return "child" if who.age == "child" else "woman" if who.feminine > 0.5 else "man"


def skull(head: Head, who: Physique, grow: float = 0.0, upto: float = 1.0, taper: bool = False) -> np.ndarray:
    """The outline of skull and jaw down to the height `upto`, widened by `grow` (less below for `taper`)."""
    xs = _XS[kin(who)] * (1 + (who.weight - 1) * 0.35 * np.clip(_YS + 0.4, 0, 1))
    turn = abs(head.s)
    front = xs + turn * np.array([-0.04, -0.02, 0.0, 0.0, 0.02, 0.06, 0.12, 0.18, 0.20])
    back = xs + turn * np.array([0.08, 0.14, 0.24, 0.26, 0.14, -0.06, -0.18, -0.20, -0.14])
    right, left = (front, back) if head.s >= 0 else (back, front)
    keep = upto >= _YS
    wider = grow * (np.clip(0.3 - _YS, 0.1, 1.0) if taper else np.ones(len(_YS)))[keep]
    ys, right, left = _YS[keep], right[keep] + wider, left[keep] + wider
    ys = ys - grow * np.clip(-ys, 0, 1)
    top = [((right[0] - left[0]) / 2, ys[0] - 0.05 - 0.4 * grow)]
    return head.curve(np.concatenate([top, np.stack([right, ys], 1), np.stack([-left, ys], 1)[::-1]]), 4)


class Face:
    """One person's face; `draw` paints it, `over` what lies on it."""

    def __init__(self, easel: Easel, head: Head, who: Physique, tone: np.ndarray, hair: np.ndarray, rng: Rng) -> None:
        self.easel, self.head, self.who, self.tone, self.hair, self.rng = easel, head, who, tone, hair, rng
        self.u, self.kin = head.unit, kin(who)
        self.iris = rgb(rng.pick(IRIS[:3] if tone.mean() < 140 else IRIS))
        self.smile = rng.uniform(-0.01, 0.07)
        self.seen = head.c > 0.02

    def _spot(self, phi: float, y: float = 0.0) -> tuple[float, float]:
        x, _, w = self.head.spot(phi, y)
        return x, w

    def _line(self, points: Sequence[tuple[float, float]], width: float, colour: np.ndarray, opacity: float) -> None:
        px = self.head.points(points)
        if len(points) > 2:
            px = smooth(np.concatenate([px, px[::-1][1:-1]]), 5)[: (len(px) - 1) * 5 + 1]
        self.easel.stroke(px, max(width * self.u, 0.5), colour, opacity, only=[FACE])

    def _patch(
        self, points: Sequence[tuple[float, float]], colour: np.ndarray, opacity: float, soft: float = 0.0
    ) -> None:
        self.easel.glaze([self.head.curve(points, 5)], colour, opacity, soft * self.u, only=[FACE])

    def draw(self) -> None:
        """Skin, ears and features (or the back of the head)."""
        head, u = self.head, self.u
        skin, ears = Tint(self.tone, 0.03, flesh=True), []
        for phi in (-1.42, 1.42):
            x, _ = self._spot(phi, 0.1)
            if abs(head.s) < 0.85 or x * head.s < 0.3:
                at = head.points([(x * (1.08 if abs(head.s) < 0.6 else 0.5), 0.1)])[0]
                ears.append((ellipse(at, 0.11 * u, 0.19 * u, n=20), FACE))
        shapes: list[Shape] = [(skull(head, self.who), FACE)]
        if self.seen and abs(head.s) > 0.6:
            d, k = (1.0 if head.s > 0 else -1.0), (abs(head.s) - 0.6) / 0.4
            nose = [(0.58, 0.05), (0.62 + 0.14 * k, 0.2), (0.63 + 0.22 * k, 0.36), (0.6 + 0.1 * k, 0.43), (0.5, 0.46)]
            shapes.append((head.curve([(x * d, y) for x, y in nose]), FACE))
        if ears:
            self.easel.layer(ears, skin, u * 0.12, depth=1.0, cast=0.0)
            for polygon, _ in ears:
                inner = polygon * 0.55 + polygon.mean(0) * 0.45
                self.easel.glaze([inner], self.tone * np.array([0.72, 0.58, 0.54]), 0.55, 0.03 * u, only=[FACE])
        self.easel.layer(shapes, skin, u * 0.55, depth=0.85, rim=0.08, cast=0.5)
        if self.seen and u > 7:
            self._features()

    def _features(self) -> None:
        tone, red = self.tone, self.tone * np.array([0.98, 0.62, 0.58])
        for phi in (-0.72, 0.72):
            x, w = self._spot(phi, 0.36)
            if w > 0.15:
                r = 0.2 * max(w, 0.4)
                spot = [(x - r, 0.36), (x, 0.22), (x + r, 0.36), (x, 0.5)]
                self._patch(spot, red, 0.34 if self.kin != "man" else 0.2, 0.09)
        if self.who.age == "elder":
            self._age()
        for phi in (-0.46, 0.46):
            x, w = self._spot(phi, 0.05)
            if w > 0.22:
                self._eye(x, 0.05, w, 1.0 if phi > 0 else -1.0)
        self._nose()
        self._mouth()
        if self.kin == "man" and self.who.age != "child" and self.rng.chance(0.4):
            self._beard(self.rng.pick(("stubble", "beard", "moustache", "stubble")))
        if self.kin != "man" and tone.mean() > 150 and self.rng.chance(0.15):
            for _ in range(14):  # freckles
                x, w = self._spot(self.rng.uniform(-0.7, 0.7), 0.3)
                y = 0.28 + self.rng.uniform(-0.08, 0.1)
                self._line([(x, y), (x + 0.02, y)], 0.025, tone * 0.7, 0.6)

    def _eye(self, x: float, y: float, w: float, d: float) -> None:
        child = self.kin == "child"
        a, up, low = (0.165 if child else 0.15) * w, (0.095 if child else 0.076), 0.052
        lid = [(x - a * d, y + 0.012), (x - a * 0.45 * d, y - up * 0.9), (x + a * 0.3 * d, y - up),
            (x + a * d, y - 0.012)]
        under = [(x + a * 0.35 * d, y + low), (x - a * 0.4 * d, y + low * 0.9)]
        socket = [(x - a * 1.5, y), (x, y - 0.17), (x + a * 1.5, y), (x, y + 0.13)]
        self._patch(socket, self.tone * np.array([0.80, 0.70, 0.68]), 0.32, 0.05)
        white = self.head.curve([*lid, *under], 5)
        self.easel.glaze([white], (246, 242, 238), 1.0, only=[FACE])
        r = 0.085 if child else 0.074
        circle = np.stack([np.cos(np.linspace(0, 6.28, 24)) * r * max(w, 0.5), np.sin(np.linspace(0, 6.28, 24)) * r], 1)
        circle += np.array([x + 0.012 * self.head.s, y - 0.012])
        circle[:, 1] = np.clip(circle[:, 1], y - up * 0.92, y + low * 0.9)
        for scale, colour in ((1.0, self.iris), (0.52, np.array([18, 14, 14]))):
            middle = circle.mean(0)
            self.easel.glaze([self.head.points(middle + (circle - middle) * scale)], colour, 1.0, only=[FACE])
        lx = 0.03 if self.easel.light.towards[0] > 0 else -0.03
        self.easel.glaze([ellipse(self.head.points([(x + lx, y - 0.04)])[0], 0.022 * self.u, 0.022 * self.u, n=10)],
            (255, 255, 255), 0.95)
        dark = np.minimum(self.hair * 0.45, 60)
        lash = 0.062 if self.kin == "woman" else 0.045
        self._line(lid, lash, dark * 0.6, 0.95)
        if self.kin == "woman":
            self._line([(x + a * 0.8 * d, y - 0.035), (x + a * 1.28 * d, y - 0.075)], 0.04, dark * 0.6, 0.9)
        self._line([lid[0], under[1], under[0], lid[3]], 0.02, self.tone * 0.5, 0.5)
        self._line([(px, py - 0.05) for px, py in lid[:3]], 0.022, self.tone * np.array([0.66, 0.52, 0.48]), 0.6)
        h, t = y - 0.185, 0.038 if self.kin == "man" else 0.026
        brow = [(x - a * 1.1 * d, h + 0.03), (x - a * 0.2 * d, h - 0.025 - t), (x + a * 1.3 * d, h + 0.01)]
        brow += [(x + a * 0.3 * d, h - 0.03 + t), (x - a * 1.1 * d, h + 0.045 + t)]
        self._patch(brow, np.minimum(self.hair * 0.62, 150), 0.9)

    def _nose(self) -> None:
        x, w = self._spot(0.0, 0.4)
        lx = -1.0 if self.easel.light.towards[0] > 0 else 1.0
        wide = 0.1 if self.kin == "woman" else 0.115
        shade = self.tone * np.array([0.74, 0.62, 0.58])
        side = [(x * 0.8 + 0.02 * lx, 0.0), (x + 0.05 * lx, 0.22), (x + wide * lx, 0.41), (x + 0.02 * lx, 0.4),
            (x, 0.2)]
        self._patch(side, shade, 0.42, 0.035)
        base = [(x - wide * w, 0.395), (x - wide * 0.55 * w, 0.44), (x + 0.012, 0.455), (x + wide * 0.55 * w, 0.44),
            (x + wide * w, 0.395)]
        self._line(base, 0.028, shade * 0.75, 0.5)
        for d in (-1, 1):
            self._patch([(x + d * 0.035 * w, 0.435), (x + d * 0.06 * w, 0.42), (x + d * 0.085 * w, 0.435),
                (x + d * 0.06 * w, 0.447)], shade * 0.5, 0.6)
        self._patch([(x - 0.03, 0.36), (x, 0.33), (x + 0.03, 0.36), (x, 0.395)], np.minimum(self.tone * 1.18 + 10, 255),
            0.5, 0.02)

    def _mouth(self) -> None:
        x, w = self._spot(0.0, 0.62)
        a, y, up = (0.19 if self.kin == "child" else 0.225) * max(w, 0.4), 0.645, self.smile
        full = 0.06 if self.kin == "woman" else 0.045
        lips = self.tone * np.array([0.90, 0.60, 0.58])
        if self.kin == "woman" and self.who.age != "child" and self.rng.chance(0.45):
            lips = lips * 0.4 + rgb(self.rng.pick(("b2323f", "c4575a", "8f2f3c", "c96f6a"))) * 0.6
        corner = y - up
        top = [(x - a, corner), (x - a * 0.35, y - full), (x, y - full * 0.7), (x + a * 0.35, y - full),
            (x + a, corner)]
        low = [(x + a * 0.5, y + full * 1.1), (x, y + full * 1.5), (x - a * 0.5, y + full * 1.1)]
        self._patch([*top, *low], lips, 0.85)
        if up > 0.045 and self.rng.chance(0.6):
            teeth = [(x - a * 0.72, corner + 0.02), (x, y - 0.012), (x + a * 0.72, corner + 0.02), (x, y + 0.045)]
            self._patch(teeth, rgb("f6f1ea"), 1.0)
        self._line([(x - a, corner), (x - a * 0.4, y + 0.003), (x, y + 0.01), (x + a * 0.4, y + 0.003),
            (x + a, corner)], 0.024, lips * 0.5, 0.8)
        self._patch([(x - a * 0.4, y + full), (x, y + full * 0.6), (x + a * 0.4, y + full), (x, y + full * 1.3)],
            np.minimum(lips * 1.25 + 12, 255), 0.4, 0.02)
        self._patch([(x - a * 0.5, 0.79), (x, 0.75), (x + a * 0.5, 0.79), (x, 0.82)], self.tone * 0.82, 0.3, 0.03)

    def _age(self) -> None:
        crease = self.tone * np.array([0.68, 0.54, 0.50])
        for y in (-0.36, -0.27):
            self._line([(self.head.s * 0.4 - 0.26, y), (self.head.s * 0.45, y - 0.02), (self.head.s * 0.4 + 0.26, y)],
                0.016, crease, 0.4)
        for d in (-1, 1):
            x, w = self._spot(0.3 * d, 0.4)
            if w > 0.3:
                self._line([(x, 0.42), (x + 0.1 * d, 0.54), (x + 0.09 * d, 0.68)], 0.022, crease, 0.5)
            x, w = self._spot(0.8 * d, 0.05)
            if w > 0.2:
                for dy in (-0.03, 0.02, 0.06):
                    self._line([(x, 0.03 + dy * 0.5), (x + 0.07 * d, 0.03 + dy)], 0.014, crease, 0.45)

    def _beard(self, kind: str) -> None:
        x, w = self._spot(0.0, 0.6)
        xs = _XS["man"]
        moustache = [(x - 0.25 * w, 0.62), (x - 0.1, 0.52), (x, 0.535), (x + 0.1, 0.52), (x + 0.25 * w, 0.62),
            (x, 0.575)]
        if kind != "stubble":
            self._patch(moustache, self.hair * 0.8, 0.92, 0.012)
        if kind == "moustache":
            return
        side = [(xs[4] + 0.05, 0.12), (xs[5] + 0.06, 0.44), (xs[6] + 0.08, 0.72), (0.3, 1.0), (0.0, 1.1)]
        inner = [(0.0, 0.80), (0.26, 0.70), (0.3, 0.58), (0.42, 0.44), (0.57, 0.12)]
        right = [*side, *inner]
        for d in (-1, 1):
            piece = self.head.points([(px * d + (x * 0.5 if k > 4 else 0.0), py) for k, (px, py) in enumerate(right)])
            self.easel.glaze([piece], self.hair * 0.8, 0.30 if kind == "stubble" else 0.94, 0.035 * self.u, only=[FACE])


def draw_glasses(easel: Easel, head: Head, rng: Rng, sun: bool) -> None:
    """Sunglasses (a class of their own) or spectacles (part of the face)."""
    if head.c < 0.1:
        return
    a, u = atom("sunglasses", "head"), head.unit
    big, drop = rng.uniform(0.21, 0.25), rng.uniform(0.8, 0.95)
    frame = rgb(rng.pick(("1d1c20", "3b2a20", "5a3a22", "7d6a45")))
    lenses, rims = [], []
    for phi in (-0.46, 0.46):
        x, y, w = head.spot(phi, 0.06)
        r = big * max(w, 0.35)
        pts = [(x - r, y - big * 0.55), (x, y - big * 0.68), (x + r, y - big * 0.55),
            (x + r * 0.92, y + big * 0.3 * drop)]
        pts += [(x + r * 0.3, y + big * 0.72 * drop), (x - r * 0.3, y + big * 0.72 * drop),
            (x - r * 0.92, y + big * 0.3 * drop)]
        lenses.append(head.curve(pts, 5))
        rims.append((x, r))
    bridge = head.points([(rims[0][0] + rims[0][1] * 0.8, -0.03), (rims[1][0] - rims[1][1] * 0.8, -0.03)])
    if sun:
        bar = np.concatenate([bridge + head.down * 0.02 * u, bridge[::-1] - head.down * 0.035 * u])
        shapes: list[Shape] = [*((p, a) for p in lenses), (bar, a)]
        easel.layer(shapes, Tint(frame * 0.7 + 8, 0.0), 0.05 * u, depth=0.6, cast=0.4)
        for p in lenses:
            low, high = p.min(0), p.max(0)
            m = p * 0.86 + p.mean(0) * 0.14
            easel.glaze([m], frame * 0.3 + np.array([26, 30, 40]), 0.9, only=[a])
            shine = np.array([[0.15, 0.2], [0.45, 0.12], [0.3, 0.75], [0.12, 0.6]]) * (high - low) + low
            easel.glaze([shine], (214, 226, 238), 0.30, 0.03 * u, only=[a])
    else:
        for p in lenses:
            easel.stroke(np.concatenate([p, p[:2]]), max(0.035 * u, 1.0), frame, 0.95)
            easel.glaze([p], (235, 242, 248), 0.12)
        easel.stroke(bridge, max(0.04 * u, 1.0), frame, 0.95)
    for d, (x, r) in zip((-1.0, 1.0), rims, strict=True):
        ear = head.points([(x + d * r * 0.95, -0.05), (d * 0.70, -0.02)])
        if abs(ear[1][0] - ear[0][0]) > 0.03 * u and d * head.s < 0.5:
            easel.stroke(ear, max(0.04 * u, 1.0), frame, 0.9, only=[FACE])
