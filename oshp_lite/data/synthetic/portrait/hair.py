"""Hair and hats of version 5."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from math import cos, pi, sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import Head
from oshp_lite.data.synthetic.outlines import ellipse, smooth
from oshp_lite.data.synthetic.portrait.easel import Easel, Tint
from oshp_lite.data.synthetic.portrait.fabrics import Fabric
from oshp_lite.data.synthetic.portrait.face import kin, skull
from oshp_lite.data.synthetic.portrait.frame import Physique
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng

COLOURS = {"241c1a": 3.0, "3a2a22": 3.0, "553a2a": 2.5, "7a5234": 1.6, "a67c4a": 1.2, "d0ab72": 1.2, "8c4426": 0.8}
GREY = {"a9a6a3": 2.0, "d7d4cf": 2.0, "77736f": 1.5}
MEN = {"short": 4.0, "side": 3.0, "quiff": 2.0, "curls": 1.5, "buzz": 1.4, "afro": 0.5, "ring": 0.0, "long": 0.3}
WOMEN = {"long": 3.0, "wavy": 3.0, "bob": 2.4, "pony": 2.0, "bun": 1.8, "braids": 1.0, "pixie": 1.0, "curls": 1.0}
WOMEN |= {"afro": 0.9, "fringe": 1.6}
HANGING = ("long", "wavy", "fringe", "braids")
HAIR = atom("hair", "head")
HAT = atom("hat", "head")
HATS = {"cap": 2.0, "beanie": 2.2, "fedora": 1.8, "sun": 1.4, "bucket": 1.0, "beret": 1.0}
HAT_CLOTH = {"cap": "cap", "beanie": "beanie", "fedora": "felt hat", "sun": "straw hat", "bucket": "cap",
    "beret": "felt hat"}


def pick_style(rng: Rng, who: Physique, hat: str) -> str:
    """A style for the person; flat ones go under a hat."""
    table = dict(MEN if kin(who) == "man" else WOMEN)
    if kin(who) == "child" and rng.chance(0.5):
        table = {"short": 2.0, "side": 1.0, "curls": 1.0, "quiff": 0.5}
    if who.age == "elder":
        table = ({"ring": 2.0, "short": 2.0, "side": 2.0} if kin(who) == "man" else {"bob": 2.0, "bun": 2.0,
            "pixie": 2.0})
    style = rng.weighted(table)
    return {"afro": "curls", "quiff": "short", "bun": "pony"}.get(style, style) if hat else style


class Hair:
    """One person's hair: `behind` hangs down the back, `front` lies on the head."""

    def __init__(self, easel: Easel, head: Head, who: Physique, style: str, colour: np.ndarray, rng: Rng) -> None:
        self.easel, self.head, self.who, self.style, self.colour, self.rng = easel, head, who, style, colour, rng
        self.length = rng.uniform(1.9, 3.1) if style in HANGING else rng.uniform(1.4, 2.4)
        self.part = rng.pick((-0.32, 0.32, 0.1, -0.1))
        self.paint = Tint(colour, 0.10)
        self.grow = {"buzz": 0.03, "afro": 0.34, "curls": 0.15, "quiff": 0.10, "ring": 0.06}.get(style, 0.11)

    def _layer(self, shapes: list[Shape], soft: float, cast: float = 0.3) -> None:
        self.easel.layer(shapes, self.paint, soft * self.head.unit, depth=1.2, rim=0.14, cast=cast)

    def _strand(self, points: list[tuple[float, float]]) -> None:
        px = self.head.points(points)
        px = smooth(np.concatenate([px, px[::-1][1:-1]]), 6)[: (len(px) - 1) * 6 + 1]
        bright = self.rng.chance(0.45)
        colour = np.minimum(self.colour * 1.35 + 14, 255) if bright else self.colour * 0.6
        width = max(self.rng.uniform(0.018, 0.045) * self.head.unit, 0.7)
        self.easel.stroke(px, width, colour, self.rng.uniform(0.25, 0.55), only=[HAIR])

    def _cloud(self, cx: float, cy: float, rx: float, ry: float, n: int, r: float) -> list[Shape]:
        """Curls: discs around an ellipse and inside it."""
        out: list[Shape] = [(ellipse(self.head.points([(cx, cy)])[0], rx * self.head.unit, ry * self.head.unit, n=30),
            HAIR)]
        for k in range(n):
            a = 2 * pi * k / n
            at = self.head.points([(cx + cos(a) * rx, cy + sin(a) * ry)])[0]
            size = r * self.rng.uniform(0.8, 1.25) * self.head.unit
            out.append((ellipse(at, size, size, n=14), HAIR))
        return out

    def behind(self) -> None:
        """What hangs behind neck and shoulders (for who faces us), or over the back (for who does not)."""
        head, style, b = self.head, self.style, -self.head.s * 0.2
        low = self.length
        if style in ("long", "wavy", "fringe"):
            j, w = (0.09 if style == "wavy" else 0.03), 0.92 if style == "wavy" else 0.84
            edge = [(0.66, -0.6), (w, 0.1), (w + 0.05, low * 0.45), (w + j, low * 0.75), (0.62, low),
                (0.22, low * 1.03)]
            right = [(x + b + self.rng.uniform(-j, j), y) for x, y in edge]
            left = [(-x + b + self.rng.uniform(-j, j), y) for x, y in edge[::-1]]
            self._layer([(head.curve([*right, *left], 5), HAIR)], 0.3)
            for k in range(34):
                x = -0.8 + 1.6 * k / 33
                wave = 0.08 if style == "wavy" else 0.015
                knots = [(x * (0.75 + 0.25 * t) + b + wave * sin(5 * t + k), -0.5 + t * (low + 0.5)) for t in (0, 0.25,
                    0.5, 0.75, 1.0)]
                self._strand(knots)
        elif style == "bob":
            half = [(0.6, 1.02), (0.88, 0.85), (0.9, 0.2), (0.74, -0.6)]
            pts = [(x + b, y) for x, y in [*((-x, y) for x, y in half[::-1]), *half]]
            self._layer([(head.curve(pts, 5), HAIR)], 0.3)
        elif style == "pony":
            x = b * 4.2 + (0.3 if b == 0 else 0.12 * float(np.sign(b)))
            pts = [(x - 0.16, -0.55), (x - 0.3, 0.2), (x - 0.2, low * 0.7), (x, low), (x + 0.18, low * 0.7),
                (x + 0.24, 0.2), (x + 0.16, -0.55)]
            self._layer([(head.curve(pts, 5), HAIR)], 0.16)
            for k in range(9):
                self._strand([(x + (k - 4) * 0.03, -0.4), (x + (k - 4) * 0.055, 0.5), (x + (k - 4) * 0.02, low * 0.9)])
        elif style == "bun":
            self._layer(self._cloud(b * 2.2, -1.1, 0.27, 0.24, 9, 0.1), 0.16)
        elif style == "afro":
            self._layer(self._cloud(b, -0.28, 1.0, 0.98, 26, 0.13), 0.4)
        if not head.facing:
            self.front()

    def front(self) -> None:
        """Hair on the skull, with a window for the face."""
        head, style = self.head, self.style
        if style == "ring":
            return self._ring()
        low = {"bob": 0.75, "long": 0.7, "wavy": 0.7, "fringe": 0.7, "braids": 0.3}.get(style, 0.22)
        flat = style not in HANGING and style != "bob"
        shapes: list[Shape] = [(skull(head, self.who, self.grow, low, taper=flat), HAIR)]
        if style in ("curls", "afro"):
            shapes += self._curls()
        if style == "quiff":
            x = head.s * 0.25
            shapes.append((head.curve([(-0.6 + x, -0.6), (-0.45 + x, -1.12), (0.05 + x, -1.28), (0.5 + x, -1.14),
                (0.62 + x, -0.6)], 5), HAIR))
        if flat and abs(head.s) > 0.25 and head.facing:  # the back of the head, down to the nape
            d = -float(np.sign(head.s)) * min(abs(head.s) + 0.35, 1.0)
            nape = [(0.3, -0.5), (0.92, -0.35), (0.94, 0.1), (0.80, 0.5), (0.52, 0.56), (0.42, 0.1)]
            shapes.append((head.curve([(x * d, y) for x, y in nape], 5), HAIR))
        if not head.facing:
            if style in HANGING or style in ("bob", "pony"):
                return None
            self._layer([(skull(head, self.who, self.grow, 0.7), HAIR)], 0.35)
            return None
        shapes.append((self._window(), 0))
        if style in ("long", "wavy", "fringe"):
            shapes += self._locks()
        self._layer(shapes, 0.34, 0.5)
        self._flow()
        if style == "braids":
            self._braids()
        if style == "bun" or style == "pony":
            for k in range(12):
                x = -0.55 + 0.1 * k
                self._strand([(x, -0.5), (x * 0.7, -0.85), (x * 0.2 - head.s * 0.5, -1.02)])
        return None

    def _window(self) -> np.ndarray:
        """The part of the head that hair leaves free."""
        rng, s, c = self.rng, self.head.s, abs(self.head.c)
        fx = s * 0.46
        w = 0.34 + 0.28 * c
        y = {"fringe": -0.10, "buzz": -0.60, "quiff": -0.62, "afro": -0.42, "curls": -0.45,
            "pixie": -0.3}.get(self.style, -0.56)
        y += rng.uniform(-0.04, 0.04)
        if self.style in ("short", "quiff", "buzz", "side", "pixie", "curls", "afro", "bun", "pony"):
            w += 0.06 * c
        if self.style == "fringe":
            top = [(-0.98, 0.2), (-0.7, 0.03), (0.0, 0.0), (0.7, 0.03), (0.98, 0.2)]
        elif self.style in ("side", "pixie"):
            d = 1.0 if self.part > 0 else -1.0
            top = sorted([(-0.98 * d, 0.5), (-0.72 * d, 0.24), (0.0, 0.1), (0.55 * d, -0.06), (0.96 * d, 0.3)])
        elif self.style in ("long", "wavy", "bob", "braids"):
            p = self.part
            top = [(-0.98, 0.62), (-0.8, 0.28), (p, -0.1), (0.8, 0.28), (0.98, 0.62)]
        else:
            top = [(-0.98, 0.44), (-0.82, 0.12), (-0.3, 0.0), (0.3, 0.0), (0.82, 0.12), (0.98, 0.44)]
        jaw = [(1.0, 0.5), (1.0, 1.0), (0.5, 1.3), (-0.5, 1.3), (-1.0, 1.0), (-1.0, 0.5)]
        return self.head.curve([(fx + w * x, y + dy) for x, dy in top] + [(fx + w * x, dy) for x, dy in jaw], 5)

    def _curls(self) -> list[Shape]:
        out: list[Shape] = []
        r = 0.75 + self.grow
        for k in range(24):
            a = pi * (1.0 + k / 23) if k < 24 else 0.0
            at = self.head.points([(cos(a) * r * 0.95 - self.head.s * 0.12, -0.2 + sin(a) * r * 0.98)])[0]
            size = self.rng.uniform(0.09, 0.16) * self.head.unit
            out.append((ellipse(at, size, size, n=14), HAIR))
        return out

    def _locks(self) -> list[Shape]:
        """Hair that falls in front of the shoulders."""
        out: list[Shape] = []
        s, wave = self.head.s, 0.1 if self.style == "wavy" else 0.03
        for d in (-1.0, 1.0):
            if d * s > 0.45 or self.rng.chance(0.25):
                continue
            low, x = self.length * self.rng.uniform(0.7, 1.0), 0.72 * d - s * 0.12
            pts = [(x - 0.08 * d, -0.45), (x + 0.12 * d, 0.3), (x + (0.14 + wave) * d, low * 0.6), (x + 0.02 * d, low)]
            pts += [(x - 0.14 * d, low * 0.92), (x - (0.1 - wave) * d, low * 0.55), (x - 0.12 * d, 0.5),
                (x - 0.16 * d, 0.0)]
            out.append((self.head.curve(pts, 5), HAIR))
        return out

    def _flow(self) -> None:
        """Strands from the parting to the sides, or small arcs where hair is curly."""
        rng, s = self.rng, self.head.s
        if self.style in ("curls", "afro"):
            for _ in range(70):
                a, q = rng.uniform(pi, 2 * pi), rng.uniform(0.55, 1.0 + self.grow)
                x, y, r = cos(a) * q * 0.85, -0.25 + sin(a) * q * 0.9, rng.uniform(0.05, 0.09)
                self._strand([(x - r, y), (x, y - r), (x + r, y), (x, y + r * 0.6)])
            return
        if self.style == "buzz":
            return
        falls = self.style in ("long", "wavy", "fringe", "bob", "braids")
        lean = -0.35 * float(np.sign(self.part)) if self.style in ("side", "pixie", "quiff") else 0.0
        for k in range(46):
            x = rng.uniform(-1, 1)
            if self.style == "fringe" and k % 2:
                self._strand([(x * 0.3, -1.0), (x * 0.55, -0.6), (x * 0.62, -0.1)])
            elif falls:  # from the parting down to the sides
                d = 1.0 if x > self.part else -1.0
                out = abs(x) * 0.35
                self._strand([(self.part + x * 0.2, -1.06 + 0.3 * abs(x)), (d * (0.52 + out * 0.6), -0.74),
                    (d * (0.62 + out), -0.2), (d * (0.62 + out), 0.7)])
            else:  # combed up from the forehead
                x -= s * 0.15
                self._strand([(x * 0.82 + lean * 0.4, -0.42 + 0.3 * x * x), (x * 0.86, -0.78),
                    (x * 0.62 - lean, -1.08)])
        if self.style in ("long", "wavy", "fringe"):
            for k in range(20):
                d = 1.0 if k % 2 else -1.0
                x, wave = d * rng.uniform(0.6, 0.86) - s * 0.12, 0.05 if self.style == "wavy" else 0.01
                self._strand([(x, 0.0), (x + wave, self.length * 0.4), (x - wave, self.length * 0.7),
                    (x, self.length * 0.95)])

    def _braids(self) -> None:
        for d in (-1.0, 1.0):
            if d * self.head.s > 0.5:
                continue
            x, shapes = 0.74 * d - self.head.s * 0.1, []
            steps = 9
            for k in range(steps):
                at = self.head.points([(x + 0.03 * d * (k % 2 * 2 - 1), 0.35 + k * self.length * 0.07)])[0]
                r = (0.155 - 0.006 * k) * self.head.unit
                shapes.append((ellipse(at, r, r * 0.92, n=16), HAIR))
            self._layer(shapes, 0.1)
            for k in range(steps):
                y = 0.38 + k * self.length * 0.07
                self._strand([(x - 0.11, y - 0.05), (x, y + 0.05), (x + 0.11, y - 0.05)])

    def _ring(self) -> None:
        """Hair round a bald crown."""
        s = self.head.s
        if not self.head.facing:
            self._layer([(skull(self.head, self.who, 0.05, 0.6), HAIR)], 0.3)
            return
        shapes: list[Shape] = []
        for d in (-1.0, 1.0):
            if d * s < 0.7:
                pts = [(0.60 * d, -0.42), (0.78 * d, -0.35), (0.80 * d, 0.1), (0.70 * d, 0.3), (0.62 * d, 0.05)]
                shapes.append((self.head.curve([(x - s * 0.1, y) for x, y in pts], 5), HAIR))
        self._layer(shapes, 0.14)


def draw_hat(easel: Easel, head: Head, kind: str, cloth: Fabric, band: Fabric, rng: Rng) -> None:
    """A hat on the head."""
    u, t, y = head.unit, head.s * 0.1, rng.uniform(-0.46, -0.38)
    ink, soft = cloth.ink, 0.42 * u

    def crown(half: list[tuple[float, float]], top: tuple[float, float], low: float) -> np.ndarray:
        return head.curve([*((-px - t, py) for px, py in half), (top[0] - t, top[1]),
            *((px - t, py) for px, py in half[::-1]), (-t, low)], 5)

    def arc(rx: float, y0: float, dip: float) -> np.ndarray:
        xs = np.linspace(-rx, rx, 13)
        return head.points(np.stack([xs - t, y0 + dip * (1 - (xs / rx) ** 2)], 1))

    if kind == "beanie":
        easel.layer([(crown([(0.82, y + 0.1), (0.86, -0.75), (0.56, -1.2)], (0.0, -1.32), y + 0.2), HAT)], cloth, soft,
            depth=1.3)
        upper, lower = arc(0.86, y - 0.16, 0.12), arc(0.86, y + 0.16, 0.1)
        easel.layer([(np.concatenate([upper, lower[::-1]]), HAT)], cloth.shaded(1.05), 0.12 * u, depth=1.0)
        if rng.chance(0.35):
            easel.layer([(ellipse(head.points([(-t, -1.36)])[0], 0.2 * u, 0.2 * u), HAT)], band, 0.16 * u)
        return
    if kind == "beret":
        lop = rng.pick((-0.25, 0.25))
        pts = [(-0.8, y + 0.06), (-1.0 + lop * 0.6, -0.85), (-0.4 + lop, -1.22), (0.4 + lop, -1.22),
            (1.0 + lop * 0.6, -0.85), (0.8, y + 0.06), (0.0, y + 0.1)]
        easel.layer([(head.curve([(x - t, py) for x, py in pts], 5), HAT)], cloth, soft, depth=1.4)
        easel.stroke(arc(0.78, y + 0.06, 0.04), 0.05 * u, ink, 0.5, only=[HAT])
        stalk = head.points([(lop - t, -1.2), (lop - t + 0.03, -1.34)])
        easel.stroke(stalk, 0.06 * u, ink, 1.0, only=[HAT])
        return
    tall = {"cap": -1.16, "bucket": -1.2, "fedora": -1.42, "sun": -1.24}[kind]
    half = [(0.80, y + 0.1), (0.80, -0.8), (0.62, tall + 0.07)]
    wide = {"bucket": 1.06, "fedora": 1.16, "sun": 1.55}.get(kind, 0.0) * rng.uniform(0.95, 1.08)
    if wide:
        angle = float(np.arctan2(head.right[1], head.right[0]))
        rim = ellipse(head.points([(-t, y + 0.1)])[0], wide * u, wide * u * (0.24 if kind != "bucket" else 0.34), angle,
            n=40)
        easel.layer([(rim, HAT)], cloth.shaded(0.96), 0.16 * u, depth=0.9, cast=0.6)
        easel.glaze([ellipse(head.points([(-t, y + 0.05)])[0], 0.86 * u, 0.2 * u, angle)], ink, 0.35, 0.05 * u,
            only=[HAT])
    dent = tall + (0.12 if kind == "fedora" else -0.04)
    easel.layer([(crown(half, (0.0, dent), y + 0.18), HAT)], cloth, soft, depth=1.3)
    if kind in ("fedora", "sun"):
        upper, lower = arc(0.80, y - 0.12, 0.09), arc(0.81, y + 0.08, 0.1)
        easel.layer([(np.concatenate([upper, lower[::-1]]), HAT)], band, 0.08 * u, depth=0.5, cast=0.0)
    if kind == "cap":
        x = head.s * 0.75
        w = 0.62 + 0.1 * abs(head.s)
        peak = [(x * 0.6 - w, y + 0.04), (x - w * 0.7, y + 0.26), (x, y + 0.34), (x + w * 0.7, y + 0.26),
            (x * 0.6 + w, y + 0.04), (x * 0.6, y - 0.02)]
        for dx in (-0.34, 0.34):
            easel.stroke(head.points([(dx - t, y + 0.05), (dx * 0.8 - t, -0.85), (-t, tall)]), 0.025 * u, ink, 0.55,
                only=[HAT])
        if head.facing:
            easel.layer([(head.curve(peak, 5), HAT)], cloth.shaded(0.93), 0.16 * u, depth=1.0, cast=0.6)
            easel.stroke(head.points([(x * 0.8 + w * 0.8 * cos(a), y + 0.08 + 0.2 * sin(a)) for a in np.linspace(0.2,
                pi - 0.2, 9)]), 0.02 * u, ink, 0.4, only=[HAT])
    if kind == "bucket":
        easel.stroke(arc(0.81, y + 0.08, 0.1), 0.03 * u, ink, 0.6, only=[HAT])
