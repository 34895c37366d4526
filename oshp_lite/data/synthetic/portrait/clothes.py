"""Garments of version 5: tops, trousers, skirts, dresses and coats with their collars, closures, pockets and hems."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import middle, torso_rows
from oshp_lite.data.synthetic.outlines import across, ellipse, smooth, unit
from oshp_lite.data.synthetic.portrait.easel import Easel, Fold
from oshp_lite.data.synthetic.portrait.fabrics import Fabric
from oshp_lite.data.synthetic.portrait.frame import (
    Physique,
    arm_joints,
    arm_radii,
    torso_strip,
    tube,
)
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import Figure

TRUNK = np.linspace(0.0, 0.34, 7)
"""Heights of the upper trunk: a sleeve and the trunk are one volume there."""


@dataclass
class Wearer:
    """Who is being dressed, and where it is painted."""

    easel: Easel
    fig: Figure
    who: Physique
    rng: Rng

    @property
    def s(self) -> float:
        """Stature in fine pixels."""
        return self.fig.scale

    def mid(self, v: float, x: float = 0.0) -> np.ndarray:
        """A point of the front's middle line at a height of the trunk, x statures to the right."""
        return np.asarray(middle(self.fig, v) + self.across * x * self.s)

    @property
    def across(self) -> np.ndarray:
        """Unit vector across the trunk, to the right of the picture; shorter as the body turns."""
        u = torso_rows(self.fig, np.array([0.4]))[1][0]
        return np.asarray(u * max(abs(cos(self.fig.yaw)), 0.35))

    def seam(self, line: Sequence[np.ndarray], cloth: Fabric, only: Sequence[int], opacity: float = 0.5) -> None:
        """A sewn line."""
        self.easel.stroke(np.stack(line), max(0.0026 * self.s, 1.0), cloth.ink, opacity, only=only)

    def stitch(self, line: np.ndarray, only: Sequence[int]) -> None:
        """A topstitched seam in thread of another colour."""
        self.easel.stroke(line, max(0.0018 * self.s, 0.8), (205, 158, 100), 0.6, only=only)

    def button(self, at: np.ndarray, colour: np.ndarray, size: float = 0.0055) -> None:
        """One button with its shade and its shine."""
        r = size * self.s
        self.easel.glaze([ellipse(at + np.array([0.2, 0.35]) * r, r * 1.15, r * 1.15, n=14)], (0, 0, 0), 0.35)
        self.easel.glaze([ellipse(at, r, r, n=14)], colour, 1.0)
        self.easel.glaze([ellipse(at - 0.3 * r, r * 0.35, r * 0.3, n=8)], np.minimum(colour + 70, 255), 0.8)


@dataclass(frozen=True)
class Cut:
    """How a top or coat is cut: neckline, looseness (statures), hem (height of the trunk), sleeve (0..2), its width."""

    kind: str
    neck: str
    ease: float
    hem: float
    sleeve: float
    width: float


TOPS: dict[str, tuple[float, Cut]] = {"tee": (4.0, Cut("tee", "crew", 0.008, 0.93, 0.62, 0.011)),
    "long tee": (2.0, Cut("tee", "crew", 0.004, 0.93, 1.96, 0.004)),
    "v tee": (1.2, Cut("tee", "v", 0.006, 0.93, 0.5, 0.009)), "shirt": (3.0,
    Cut("shirt", "collar", 0.010, 1.02, 1.97, 0.010)), "blouse": (2.0, Cut("blouse", "scoop", 0.012, 0.92, 1.7, 0.016)),
    "sweater": (2.6, Cut("sweater", "crew", 0.015, 0.90, 1.99, 0.014)),
    "turtleneck": (1.0, Cut("sweater", "turtle", 0.006, 0.92, 1.98, 0.006)),
    "hoodie": (1.5, Cut("hoodie", "hood", 0.017, 0.93, 1.99, 0.016)),
    "tank": (1.2, Cut("tee", "tank", 0.003, 0.92, 0.0, 0.0))}
COATS: dict[str, tuple[float, Cut]] = {"blazer": (3.0, Cut("blazer", "lapel", 0.014, 0.99, 1.95, 0.012)),
    "overcoat": (2.0, Cut("overcoat", "lapel", 0.020, 1.95, 1.97, 0.016)),
    "trench": (1.5, Cut("trench", "lapel", 0.018, 1.75, 1.96, 0.015)),
    "puffer": (1.4, Cut("puffer", "stand", 0.030, 0.95, 1.98, 0.024)),
    "denim jacket": (1.8, Cut("denim jacket", "collar", 0.013, 0.80, 1.96, 0.012)),
    "leather jacket": (1.4, Cut("leather jacket", "lapel", 0.011, 0.80, 1.96, 0.010)),
    "cardigan": (1.8, Cut("cardigan", "v", 0.014, 0.97, 1.97, 0.012))}
"""How often a cut is worn; a hem above 1.04 falls over the legs (1 + t, t as in `skirt`)."""
_NECKS = {"crew": (0.037, 0.020), "v": (0.036, 0.085), "scoop": (0.050, 0.050), "tank": (0.052, 0.060)}
_NECKS |= {"collar": (0.030, 0.052), "hood": (0.036, 0.024), "lapel": (0.034, 0.02), "turtle": (0.0, 0.0)}


def neckline(w: Wearer, kind: str) -> np.ndarray | None:
    """The polygon that a neckline leaves free; None where there is none."""
    wide, deep = _NECKS.get(kind, (0.0, 0.0))
    if not wide:
        return None
    if not w.fig.facing:
        deep = min(deep, 0.010)
    centre, u, _ = torso_rows(w.fig, np.array([0.0]))
    x, c = u[0] * wide * w.s * max(abs(cos(w.fig.yaw)), 0.6), centre[0]
    up = -unit(w.fig.at("crotch") - w.fig.at("neck")) * 0.09 * w.s
    shift = (middle(w.fig, 0.15) - torso_rows(w.fig, np.array([0.15]))[0][0]) * 0.8
    tip = c + shift - up / 0.09 * deep
    if kind in ("v", "collar"):
        return np.stack([c - x + up, c - x * 1.05, tip, c + x * 1.05, c + x + up])
    low = c * 0.3 + tip * 0.7
    points = [c - x + up, c - x * 1.04, low - x * 0.72, tip, low + x * 0.72, c + x * 1.04, c + x + up]
    return smooth(np.stack(points), 6)


def trunk_folds(w: Wearer, v0: float, v1: float, n: int, strength: float = 0.6) -> list[Fold]:
    """Soft creases that run from the sides towards the middle and from the armpits downwards."""
    rng, out = w.rng, []
    for k in range(n):
        d = 1.0 if k % 2 else -1.0
        v = rng.uniform(v0, v1)
        centre, u, half = torso_rows(w.fig, np.array([v, min(v + rng.uniform(0.02, 0.10), 1.1)]))
        a, b = rng.uniform(0.75, 1.0) * d, rng.uniform(0.1, 0.5) * d
        p, q = centre[0] + u[0] * half[0] * a, centre[1] + u[1] * half[1] * b
        out.append((np.stack([p, (p + q) / 2 + np.array([0, 0.008 * w.s]), q]), rng.uniform(-1, -0.4) * strength))
    return out


def hem_band(w: Wearer, cut: Cut, cloth: Fabric, hem: float, only: Sequence[int]) -> None:
    """The finish of a lower edge: a ribbed band or a seam."""
    lines = [torso_rows(w.fig, np.array([v])) for v in (hem - (0.055 if cut.kind in ("sweater", "hoodie") else 0.02),
        hem)]
    (c0, u0, h0), (c1, u1, h1) = lines
    r0, r1 = h0[0] + cut.ease * w.s, h1[0] + cut.ease * w.s
    w.seam([c0[0] - u0[0] * r0, c0[0] + np.array([0, 0.004 * w.s]), c0[0] + u0[0] * r0], cloth, only, 0.45)
    if cut.kind in ("sweater", "hoodie"):
        for f in np.linspace(-0.97, 0.97, 26).tolist():
            w.seam([c0[0] + u0[0] * r0 * f, c1[0] + u1[0] * r1 * f], cloth, only, 0.22)


def draw_top(
    w: Wearer, cut: Cut, cloth: Fabric, material: str, hem: float,
    low: Sequence[Shape] = (), folds: Sequence[Fold] = (), printed: bool = False,
) -> None:
    """A top on the trunk; `low`: a skirt that is one piece with it; `printed`: there may be a picture on it."""
    a, rng, s = atom(material, "torso"), w.rng, w.s
    t = np.linspace(0, 1, 16)
    v0 = 0.0 if cut.neck != "tank" else 0.03
    ease = cut.ease * np.linspace(0.3, 1.0, 16) + (0.004 * rng.array(16) * t if cut.kind != "tee" else 0)
    if cut.kind in ("sweater", "hoodie"):
        ease[-2:] *= 0.72
    shapes: list[Shape] = [(torso_strip(w.fig, v0 + (hem - v0) * t, ease), a)]
    if cut.neck == "turtle":
        shapes.append((collar_tube(w, 0.036, 0.62), a))
    if cut.neck == "tank":
        shapes += _armholes(w)
    hole = neckline(w, cut.neck)
    if hole is not None:
        shapes.append((hole, 0))
    creases = [*trunk_folds(w, 0.25, min(hem, 1.0), 7), *folds]
    if w.who.feminine > 0.5 and w.who.age != "child" and w.fig.facing:
        for d in (-1, 1):
            creases.append((np.stack([w.mid(0.31, 0.066 * d), w.mid(0.345, 0.045 * d), w.mid(0.335, 0.016 * d)]),
                -0.45))
    w.easel.layer([*shapes, *low], cloth, 0.06 * s, folds=creases, cast=0.3)
    only = [a]
    if hole is not None and cut.neck in ("crew", "scoop", "v", "tank"):
        band = 0.010 if cut.kind == "sweater" else 0.006
        w.easel.stroke(np.concatenate([hole, hole[:1]]), 2 * band * s, cloth.colour * np.float32(0.86), 0.75, only=only)
        w.easel.stroke(_grown(hole, band * s), max(0.002 * s, 1.0), cloth.ink, 0.5, only=only)
    if material == "upper-clothes" and not low:
        hem_band(w, cut, cloth, hem, only)
    if cut.neck == "turtle":
        c, _, _ = torso_rows(w.fig, np.array([0.0]))
        x = w.across * 0.037 * s
        w.seam([c[0] - x, c[0] + np.array([0, 0.012 * s]), c[0] + x], cloth, only, 0.6)
    if not w.fig.facing:
        return
    if cut.kind == "shirt":
        _shirt_front(w, cloth, a, hem)
    if cut.kind == "hoodie":
        _hoodie_front(w, cloth, only)
    if cut.kind == "blouse" and hole is not None:
        w.seam([w.mid(0.13), w.mid(0.34)], cloth, only, 0.6)
        for v in (0.18, 0.25, 0.32):
            w.button(w.mid(v), np.array([238.0, 232, 222]), 0.004)
    if printed and cut.kind == "tee" and cut.neck == "crew" and material == "upper-clothes" and rng.chance(0.4):
        _print(w, cloth, only)


def _grown(polygon: np.ndarray, by: float) -> np.ndarray:
    c = polygon.mean(0)
    d = polygon - c
    closed = c + d * (1 + by / np.maximum(np.hypot(d[:, :1], d[:, 1:]), 1.0))
    return np.concatenate([closed, closed[:1]])


def _armholes(w: Wearer) -> list[Shape]:
    out: list[Shape] = []
    centre, u, half = torso_rows(w.fig, np.array([0.0, 0.10, 0.17]))
    for d in (-1.0, 1.0):
        inner, out_ = 0.66, 1.6
        p = [centre[0] + u[0] * half[1] * d * inner * 0.9, centre[1] + u[1] * half[1] * d * inner]
        p += [centre[2] + u[2] * half[2] * d * 0.86, centre[2] + u[2] * half[2] * d * out_,
            centre[0] + u[0] * half[1] * d * out_]
        out.append((np.stack(p), 0))
    return out


def collar_tube(w: Wearer, half: float, up: float) -> np.ndarray:
    """A collar round the neck, as far up as the fraction `up` of the way to the chin."""
    c, chin = torso_rows(w.fig, np.array([0.0]))[0][0], w.fig.at("chin")
    n = across(c, chin) * half * w.s
    top, low = c + (chin - c) * up, c - (chin - c) * 0.35
    dip = unit(low - top) * 0.012 * w.s
    return np.stack([low + n * 0.8, c + n, top + n * 0.9, top + dip, top - n * 0.9, c - n, low - n * 0.8])


def collar_flaps(w: Wearer, cloth: Fabric, a: int, tip: float, spread: float, width: float) -> None:
    """The two flaps of a shirt collar."""
    centre = torso_rows(w.fig, np.array([0.0]))[0]
    x, up = w.across * w.s, -unit(w.fig.at("crotch") - w.fig.at("neck")) * w.s
    shapes: list[Shape] = []
    for d in (-1.0, 1.0):
        root = centre[0] + x * 0.036 * d + up * 0.020
        edge = [root, w.mid(0.055, 0.006 * d), w.mid(tip, spread * d), w.mid(0.03, (0.04 + width) * d),
            root + x * 0.014 * d - up * 0.012]
        shapes.append((np.stack(edge), a))
    w.easel.layer(shapes, cloth.shaded(1.04), 0.014 * w.s, depth=0.8, rim=0.3, cast=0.5)


def _shirt_front(w: Wearer, cloth: Fabric, a: int, hem: float) -> None:
    only = [a]
    ys = np.linspace(0.12, hem, 8).tolist()
    for x in (-0.008, 0.008):
        w.seam([w.mid(v, x) for v in ys], cloth, only, 0.4)
    white = np.array([238.0, 234, 226]) if cloth.colour.mean() < 190 else np.array([120.0, 116, 110])
    for v in np.arange(0.16, hem - 0.03, 0.115).tolist():
        w.button(w.mid(v), white, 0.0040)
    collar_flaps(w, cloth, a, 0.115, 0.036, 0.010)
    if w.rng.chance(0.5):
        side = w.across * w.s
        p = w.mid(0.32, 0.048)
        down = unit(w.mid(0.6) - w.mid(0.2)) * w.s
        right, low = side * 0.021, down * 0.036
        box = [p - right, p + right, p + right + low, p + down * 0.043, p - right + low, p - right]
        w.seam(box, cloth, only, 0.6)


def _hoodie_front(w: Wearer, cloth: Fabric, only: Sequence[int]) -> None:
    centre = torso_rows(w.fig, np.array([0.0]))[0]
    x, up = w.across * w.s, -unit(w.fig.at("crotch") - w.fig.at("neck")) * w.s
    shapes: list[Shape] = []
    for d in (-1.0, 1.0):
        root = centre[0] + x * 0.042 * d + up * 0.034
        edge = [root, centre[0] + x * 0.075 * d + up * 0.004, w.mid(0.12, 0.046 * d), w.mid(0.15, 0.002 * d),
            w.mid(0.07, 0.022 * d)]
        shapes.append((smooth(np.stack(edge), 5), only[0]))
    w.easel.layer(shapes, cloth.shaded(0.95), 0.02 * w.s, depth=1.2, rim=0.3, cast=0.4)
    for d in (-1, 1):
        w.easel.stroke(np.stack([w.mid(0.13, 0.014 * d), w.mid(0.3, 0.018 * d)]), 0.005 * w.s, (236, 232, 224), 0.95,
            only=only)
    pocket = [w.mid(0.6, -0.05), w.mid(0.6, 0.05), w.mid(0.68, 0.068), w.mid(0.83, 0.07), w.mid(0.83, -0.07),
        w.mid(0.68, -0.068), w.mid(0.6, -0.05)]
    w.seam(pocket, cloth, only, 0.7)


def _print(w: Wearer, cloth: Fabric, only: Sequence[int]) -> None:
    """A picture on the chest: a sun over hills, a circle, or bars."""
    r, at, x = 0.032 * w.s, w.mid(0.36), w.across
    ring = ellipse(at, r * float(np.hypot(*x)), r, n=30)
    kind = w.rng.integer(0, 2)
    if kind == 0:
        w.easel.glaze([ring], cloth.second, 0.9, only=only)
        low = ring.copy()
        low[:, 1] = np.maximum(low[:, 1], at[1] + r * 0.2)
        w.easel.glaze([low], cloth.third, 0.95, only=only)
    elif kind == 1:
        w.easel.stroke(np.concatenate([ring, ring[:1]]), 0.006 * w.s, cloth.second, 0.9, only=only)
        w.easel.glaze([ellipse(at, r * 0.5, r * 0.5)], cloth.third, 0.9, only=only)
    else:
        for k in range(3):
            line = np.stack([w.mid(0.30 + 0.05 * k, -0.045), w.mid(0.30 + 0.05 * k, 0.045)])
            w.easel.stroke(line, 0.011 * w.s, (cloth.second, cloth.third)[k % 2], 0.95, only=only)


def draw_sleeve(w: Wearer, side: str, cut: Cut, cloth: Fabric, material: str, trunk: bool = True) -> None:
    """A sleeve: one volume with the trunk at the shoulder, creased at the elbow, with a cuff."""
    if cut.sleeve <= 0:
        return
    s, joints, bare = w.s, arm_joints(w.fig, side), arm_radii(w.fig, w.who)
    atoms = atom(material, "upper-arm", side), atom(material, "lower-arm", side)
    grow = cut.width * s
    up = bare[0] + grow * np.array([0.05, 0.35, 0.7, 0.8]) + 0.002 * s
    low = bare[1] + grow * np.array([0.8, 0.8, 0.75, 0.7]) + 0.003 * s
    if cut.sleeve > 1.8 and cut.kind in ("sweater", "hoodie", "puffer", "shirt", "blouse"):
        low[-1] = bare[1][-1] + 0.005 * s
    shapes = tube(joints, (up, low), atoms, 0.0, cut.sleeve, hem=0.004 * s)
    thrown = tube(joints, (up, low), atoms, 0.45, cut.sleeve, cap=False) if cut.sleeve > 0.6 else []
    form: list[Shape] = [(torso_strip(w.fig, TRUNK, 0.003), 1)] if trunk else []
    rng, folds = w.rng, []
    if cut.sleeve > 0.9:
        n = across(joints[0], joints[2]) * 0.03 * s
        for t in (0.72, 0.88, 1.02, 1.14, 1.32, 1.7):
            if t < cut.sleeve:
                p = joints[0] + (joints[1] - joints[0]) * t if t < 1 else joints[1] + (joints[2] - joints[1]) * (t - 1)
                tilt = unit(joints[1] - joints[0]) * rng.uniform(-0.016, 0.016) * s
                folds.append((np.stack([p - n * rng.uniform(0.4, 1.0), p + n * rng.uniform(0.2, 0.9) + tilt]),
                    -rng.uniform(0.3, 0.8)))
    d = joints[1] - joints[0]
    angle = float(np.arctan2(-d[0], max(d[1], 1e-3))) if d[1] > 0 else 0.0
    turned = cloth.turned(angle)
    w.easel.layer(shapes, turned, 0.026 * s, folds=folds, form=form, caster=thrown, cast=0.4 if thrown else 0.0)
    end = cut.sleeve
    for back in (0.05, 0.16) if cut.kind in ("shirt", "sweater", "hoodie", "denim jacket") else (0.06,):
        ring(w, joints, (up, low), end - back, cloth, atoms)


def ring(
    w: Wearer,
    joints: Sequence[np.ndarray],
    radii: tuple[np.ndarray, np.ndarray],
    t: float,
    cloth: Fabric,
    atoms: Sequence[int],
) -> None:
    """A seam around a limb."""
    k = int(t >= 1)
    a, b = joints[k], joints[k + 1]
    p, n, q = a + (b - a) * (t - k), across(a, b), float(np.interp(t - k, np.linspace(0, 1, len(radii[k])), radii[k]))
    w.seam([p - n * q, p + unit(b - a) * 0.006 * w.s, p + n * q], cloth, atoms, 0.55)
