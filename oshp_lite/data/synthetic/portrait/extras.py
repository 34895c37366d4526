"""Shoes, socks, bags, scarves and belts of version 5."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from math import cos

import numpy as np

from oshp_lite.data.synthetic.accessories import bag_body, strap
from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import torso_rows
from oshp_lite.data.synthetic.outlines import across, ellipse, limb, smooth, unit
from oshp_lite.data.synthetic.portrait.clothes import Wearer
from oshp_lite.data.synthetic.portrait.easel import Tint
from oshp_lite.data.synthetic.portrait.fabrics import Fabric
from oshp_lite.data.synthetic.portrait.frame import leg_joints, leg_radii, tube
from oshp_lite.data.synthetic.raster import Shape

SHOES = {"sneaker": 4.0, "loafer": 2.0, "pump": 1.6, "ankle-boot": 2.0, "boot": 1.2, "sandal": 0.8}
BAGS = {"hand": 2.0, "tote": 2.5, "crossbody": 2.4, "backpack": 1.0}
BRASS = np.array([206.0, 176, 108])


def _foot(w: Wearer, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, float]:
    """Ankle, direction along the foot, direction across, downwards, and the foot's length on the picture."""
    knee, ankle, toe = (w.fig.at(n, side) for n in ("knee", "ankle", "toe"))
    way = toe - ankle
    reach = float(np.hypot(*way))
    along = unit(way) if reach > 0.02 * w.s else unit(ankle - knee)
    return ankle, along, across(ankle, ankle + along), unit(ankle - knee), max(reach, 0.045 * w.s)


def foot_shape(w: Wearer, side: str, grow: float, toe: float = 1.0, reach: float = 1.0) -> np.ndarray:
    """A foot seen from above and in front as a smooth polygon, `grow` statures wider than the bare one."""
    a, along, n, down, length = _foot(w, side)
    s, g = w.s, grow * w.s
    length = length * reach

    def at(t: float, x: float) -> np.ndarray:
        return np.asarray(a + along * length * t + n * x)

    heel, ball, tip = 0.0175 * s + g, 0.0240 * s + g, 0.0165 * s * toe + g
    back = a - down * 0.012 * s
    pts = [back - n * heel * 0.9, at(0.2, -heel), at(0.66, -ball), at(0.95, -tip), at(1.07, 0.0) + along * g]
    pts += [at(0.95, tip), at(0.66, ball), at(0.2, heel), back + n * heel * 0.9]
    return smooth(np.stack(pts), 5)


def draw_bare_foot(w: Wearer, side: str, skin: Tint) -> None:
    """A bare foot with its toes."""
    a = atom("skin", "lower-leg", side)
    w.easel.layer([(foot_shape(w, side, 0.0), a)], skin, 0.02 * w.s, depth=1.2, cast=0.0)
    at, along, n, _, length = _foot(w, side)
    for k in range(4):
        p = at + along * length * 0.92 + n * (k - 1.5) * 0.0085 * w.s
        w.easel.stroke(np.stack([p, p + along * 0.014 * w.s]), 0.002 * w.s, skin.colour * 0.65, 0.7, only=[a])


def draw_socks(w: Wearer, side: str, cloth: Fabric, height: float) -> None:
    """A sock that covers `height` of the shin (above 1: a stocking over the knee)."""
    low, up, s = atom("socks", "lower-leg", side), atom("socks", "upper-leg", side), w.s
    r = leg_radii(w.fig, w.who)
    r = r[0] + 0.0015 * s, r[1] + 0.002 * s
    joints = leg_joints(w.fig, side)
    shapes: list[Shape] = [(foot_shape(w, side, 0.0), low), *tube(joints, r, (up, low), 2 - height, 2.0, cap=False)]
    w.easel.layer(shapes, cloth, 0.024 * s, cast=0.0, depth=1.3)
    if height < 1.5:
        t = 2 - height
        p = joints[1] + (joints[2] - joints[1]) * (t - 1)
        n, q = across(joints[1], joints[2]), float(np.interp(t - 1, np.linspace(0, 1, 4), r[1]))
        down = unit(joints[2] - joints[1])
        line = [p - n * q + down * 0.016 * s, p + down * 0.02 * s, p + n * q + down * 0.016 * s]
        w.seam(line, cloth, [low], 0.6)


def draw_shoe(w: Wearer, side: str, kind: str, cloth: Fabric, shaft: float, inner: Tint) -> None:
    """One shoe: sole, upper, toe cap, laces or strap; boots have a shaft over `shaft` of the shin; in it is `inner`."""
    a, s, easel = atom("shoe", "lower-leg", side), w.s, w.easel
    ankle, along, n, down, length = _foot(w, side)
    fall = np.array([0.0, 1.0]) * s
    only = [a]
    if kind == "sandal":
        sole = foot_shape(w, side, 0.003) + fall * 0.006
        easel.layer([(sole, a)], cloth.shaded(0.8), 0.01 * s, depth=0.6)
        draw_bare_foot(w, side, inner)
        bands: list[Shape] = []
        for t in (0.3, 0.78):
            p = ankle + along * length * t
            bands.append((limb(p - n * 0.026 * s, p + n * 0.026 * s, np.array([0.006, 0.0065, 0.006]) * s), a))
        easel.layer(bands, cloth, 0.008 * s, depth=0.8)
        return
    sole_colour = np.array([240.0, 237, 230]) if kind == "sneaker" else cloth.colour * 0.42
    grow, toe = (0.005, 1.12) if kind == "sneaker" else (0.0035, 0.72 if kind == "pump" else 1.0)
    upper = foot_shape(w, side, grow, toe)
    thick = 0.009 if kind == "sneaker" else 0.005
    if kind == "pump":
        heel = ankle + down * 0.012 * s
        spike = np.stack([heel - n * 0.008 * s, heel + n * 0.008 * s, heel + n * 0.003 * s + fall * 0.034,
            heel - n * 0.003 * s + fall * 0.034])
        easel.layer([(spike, a)], cloth.shaded(0.8), 0.006 * s, cast=0.0)
    easel.layer([(upper + fall * thick, a), (upper + fall * thick * 0.5, a)], Tint(sole_colour), 0.012 * s, depth=0.6)
    shapes: list[Shape] = [(upper, a)]
    if kind in ("boot", "ankle-boot"):
        joints, r = leg_joints(w.fig, side), leg_radii(w.fig, w.who)
        tall = shaft if kind == "boot" else 0.26
        shapes += tube(joints, (r[0], r[1] + np.array([0.007, 0.007, 0.009, 0.010]) * s), (a, a), 2 - tall, 2.0,
            cap=False)
        shapes.append((ellipse(ankle, 0.027 * s, 0.025 * s), a))
    easel.layer(shapes, cloth, 0.024 * s, depth=1.4, cast=0.2)

    def bow(t: float, half: float, dip: float = 0.006) -> np.ndarray:
        p = ankle + along * length * t
        return np.stack([p - n * half * s, p + along * dip * s, p + n * half * s])

    if kind == "sneaker":
        easel.stroke(bow(0.74, 0.024, 0.012), max(0.003 * s, 1), cloth.ink, 0.5, only=only)
        for t in (0.18, 0.32, 0.46, 0.58):
            easel.stroke(bow(t, 0.0125, 0.003), 0.0045 * s, (246, 244, 240) if cloth.colour.mean() < 170 else (150, 150,
                154), 0.95, only=only)
        for d in (-1, 1):
            side_line = np.stack([ankle + n * d * 0.016 * s, ankle + along * length * 0.6 + n * d * 0.017 * s])
            easel.stroke(side_line, max(0.0025 * s, 1), cloth.ink, 0.35, only=only)
    elif kind in ("pump", "loafer"):
        throat = ankle + along * length * (0.16 if kind == "pump" else 0.06)
        hole = ellipse(throat, 0.0155 * s, (0.020 if kind == "pump" else 0.012) * s, float(np.arctan2(n[1], n[0])))
        easel.glaze([hole], inner.colour * 0.92, 1.0, only=only)
        easel.stroke(np.concatenate([hole, hole[:1]]), max(0.003 * s, 1), cloth.ink, 0.7, only=only)
        if kind == "loafer":
            easel.stroke(bow(0.52, 0.02), 0.010 * s, cloth.colour * 0.8, 0.9, only=only)
            easel.stroke(bow(0.52, 0.008), 0.005 * s, BRASS, 0.9, only=only)
    elif kind == "ankle-boot":
        for t in (0.05, 0.2, 0.36, 0.5):
            easel.stroke(bow(t, 0.011, 0.003), 0.0035 * s, cloth.ink, 0.9, only=only)
    else:
        easel.stroke(bow(0.08, 0.03, 0.004), max(0.003 * s, 1), cloth.ink, 0.5, only=only)


def draw_belt(w: Wearer, material: str, cloth: Fabric, v: float, ease: float) -> None:
    """A belt with its buckle ("belt" over trousers, "sash" over a dress, tied in a bow)."""
    a, s = atom(material, "torso"), w.s
    c, u, h = torso_rows(w.fig, np.linspace(v - 0.026, v + 0.026, 3))
    r = (h + (ease + 0.004) * s)[:, None]
    sag = np.array([0.0, 0.004 * s])
    mids = c + np.array([0.0, 0.005 * s])
    band = np.concatenate([c - u * r, mids[-1:] + sag, (c + u * r)[::-1], mids[:1] + sag])
    w.easel.layer([(band, a)], cloth, 0.012 * s, depth=0.9, cast=0.4)
    if not w.fig.facing:
        return
    at = w.mid(v) + sag
    if material == "belt":
        x = w.across * s
        box = np.stack([at + x * p + np.array([0, q * s]) for p, q in ((-0.012, -0.0105), (0.012, -0.0105),
            (0.012, 0.0105), (-0.012, 0.0105), (-0.012, -0.0105))])
        w.easel.stroke(box, 0.0055 * s, BRASS * 0.5, 0.9, only=[a])
        w.easel.stroke(box, 0.0038 * s, BRASS, 1.0, only=[a])
        w.easel.stroke(np.stack([at, at + x * 0.012]), 0.003 * s, BRASS, 1.0, only=[a])
        return
    shapes: list[Shape] = []
    for d in (-1.0, 1.0):
        x = w.across * s * d
        loop = smooth(np.stack([at, at + x * 0.022 - [0, 0.016 * s], at + x * 0.042 - [0, 0.006 * s],
            at + x * 0.024 + [0, 0.008 * s]]), 5)
        tail = limb(at, at + x * 0.02 + np.array([0, 0.075 * s]), np.array([0.004, 0.006, 0.008, 0.009]) * s)
        shapes += [(loop, a), (tail, a)]
    shapes.append((ellipse(at, 0.009 * s, 0.009 * s), a))
    w.easel.layer(shapes, cloth.shaded(0.95), 0.01 * s, rim=0.3, cast=0.3)


def draw_scarf(w: Wearer, cloth: Fabric) -> None:
    """A scarf wound around the neck, with one or two fringed ends."""
    a, s, rng, fig = atom("scarf", "torso"), w.s, w.rng, w.fig
    neck, chin = fig.at("neck"), fig.at("chin")
    c = neck + (chin - neck) * 0.3
    tilt = rng.uniform(-0.12, 0.12)
    if fig.facing:
        for d in (-1.0, 1.0):
            if d > 0 or rng.chance(0.55):
                root, end = w.mid(0.05, 0.020 * d), w.mid(rng.uniform(0.45, 0.75), 0.036 * d)
                easel_limb = limb(root, end, np.array([0.022, 0.024, 0.027, 0.029]) * s)
                w.easel.layer([(easel_limb, a)], cloth, 0.02 * s, folds=[(np.stack([root, end]), -0.5)], cast=0.5)
                way, n = unit(end - root), across(root, end)
                for k in np.linspace(-0.026, 0.026, 9).tolist():
                    p = end + n * k * s
                    w.easel.layer([(limb(p - way * 0.004 * s, p + way * 0.022 * s,
                        np.array([0.0022, 0.0022, 0.0014]) * s), a)], cloth, 0.003 * s, cast=0.0, rim=0.0)
    for centre, rx, ry, turn in ((c + (neck - chin) * 0.32, 0.066, 0.030, -tilt), (c, 0.058, 0.031, tilt)):
        shape = ellipse(centre, rx * s, ry * s, turn, n=30)
        t = np.linspace(0.15, 0.85, 5) * np.pi
        arcs = [(centre + np.stack([np.cos(t) * rx * 0.85, np.sin(t) * ry * q], 1) * s, -0.8) for q in (0.1, 0.55)]
        w.easel.layer([(shape, a)], cloth, 0.026 * s, folds=arcs, rim=0.25, cast=0.5)


class Bag:
    """A bag: `under` says whether it is drawn before the arms; `grip` the hand that holds it, or ""."""

    def __init__(self, w: Wearer, kind: str, side: str, cloth: Fabric) -> None:
        self.w, self.kind, self.side, self.cloth = w, kind, side, cloth
        self.a = atom("bag", "none")
        fig = w.fig
        raised = fig.at("hand", side)[1] < fig.at("elbow", side)[1] + 0.02 * w.s
        if kind == "hand" and (raised or abs(float(fig.at("hand", side)[0] - fig.at("pelvis")[0])) < 0.1 * w.s):
            self.kind = "crossbody"
        self.grip = side if self.kind == "hand" else ""
        self.under = self.kind != "tote"

    def _body(self, at: np.ndarray, wide: float, tall: float, strap_to: list[np.ndarray], width: float) -> None:
        w, s, rng = self.w, self.w.s, self.w.rng
        box = bag_body(at, wide * s, tall * s, rng, rng.uniform(-0.06, 0.06))
        for end in strap_to:
            for k, d in enumerate((-1, 1) if len(strap_to) == 1 and self.kind in ("tote", "hand") else (0,)):
                root = at + np.array([d * wide * 0.28, 0.012]) * s
                bow = np.array([d * 0.012 * s, -0.01 * s]) if self.kind == "hand" else np.zeros(2)
                layer = strap(root, end, width * s, bow)
                w.easel.layer([(layer, self.a)], self.cloth.shaded(0.85 if k else 0.95), 0.006 * s, depth=0.8,
                    cast=0.35)
        w.easel.layer([(box, self.a)], self.cloth, 0.035 * s, depth=1.3, cast=0.5)
        self._flap(at, wide * s, tall * s, box)

    def _flap(self, at: np.ndarray, wide: float, tall: float, box: np.ndarray) -> None:
        w, s, only = self.w, self.w.s, [self.a]
        inner = box * 0.90 + box.mean(0) * 0.10
        w.stitch(np.concatenate([inner, inner[:1]]), only)
        if self.kind == "tote":
            if w.rng.chance(0.5):
                w.easel.glaze([ellipse(at + np.array([0, tall * 0.55]), wide * 0.2, wide * 0.2)], self.cloth.second,
                    0.85, only=only)
            return
        t = np.linspace(-1, 1, 11)
        low = at + np.stack([t * wide * 0.54, tall * (0.30 + 0.22 * (1 - t * t))], 1)
        top = at + np.stack([t * wide * 0.48, 0 * t - 0.02 * tall], 1)
        flap = np.concatenate([top, low[::-1]])
        w.easel.glaze([flap], self.cloth.colour * 1.06, 0.35, only=only)
        w.easel.stroke(low, max(0.004 * s, 1), self.cloth.ink, 0.8, only=only)
        w.button(at + np.array([0, tall * 0.5]), BRASS, 0.008)

    def draw(self) -> None:
        """The bag with its strap."""
        w, s, fig = self.w, self.w.s, self.w.fig
        centre, u, half = torso_rows(fig, np.array([0.06, 0.85]))
        out = float(np.sign((fig.at("shoulder", self.side) - centre[0]) @ u[0])) or 1.0
        down = np.array([0.0, 1.0])
        big = w.rng.uniform(0.9, 1.15)
        if self.kind == "hand":
            hand = fig.at("wrist", self.side) * 0.45 + fig.at("hand", self.side) * 0.55
            self._body(hand + down * 0.058 * s, 0.17 * big, 0.13 * big, [hand], 0.011)
        elif self.kind == "tote":
            root = fig.at("shoulder", self.side) - down * 0.026 * s - u[0] * out * 0.010 * s
            at = centre[1] + u[1] * out * (half[1] + 0.035 * s) - down * 0.075 * s
            self._body(at, 0.17 * big, 0.19 * big, [root], 0.011)
        elif self.kind == "crossbody":
            root = centre[0] - u[0] * out * half[0] * 0.55
            at = centre[1] + u[1] * out * half[1] * 0.92 - down * 0.01 * s
            self._body(at, 0.135 * big, 0.105 * big, [root], 0.010)
        elif fig.facing:
            for d in (-1.0, 1.0):
                chest, v, h = torso_rows(fig, np.array([0.05, 0.52]))
                p, q = chest[0] + v[0] * d * h[0] * 0.92, chest[1] + v[1] * d * h[1] * 0.86
                band = strap(p, q, 0.021 * s, v[0] * -d * 0.006 * s * cos(fig.yaw))
                w.easel.layer([(band, self.a)], self.cloth, 0.012 * s, depth=0.9, cast=0.5)
                w.stitch(band[:9] * 0.85 + band[:8:-1] * 0.15, [self.a])
                m = (p + q) / 2 + np.array([0, 0.03 * s])
                w.easel.stroke(np.stack([m - v[0] * 0.012 * s, m + v[0] * 0.012 * s]), 0.008 * s, BRASS * 0.6, 0.9,
                    only=[self.a])
        else:
            at = centre[0] + down * 0.005 * s
            self.kind = "back"
            self._body(at, 0.21 * big, 0.27 * big, [], 0.01)
