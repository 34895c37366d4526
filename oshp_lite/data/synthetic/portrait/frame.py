"""Bodies of version 5: ages and shapes, poses, the torso's outline, limbs as tubes, hands."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import ROWS
from oshp_lite.data.synthetic.outlines import across, ellipse, limb, strip, unit
from oshp_lite.data.synthetic.portrait.easel import Easel, Tint
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import ARM_POSES, LEG_POSES, SIDES, Build, Figure, Pose

AGES = {"child": 0.0, "young": 3.0, "adult": 4.0, "elder": 1.4}
SHAPES = {"average": 5.0, "thin": 2.0, "heavy": 2.2, "athletic": 1.5}

# Half-widths of the torso at body.ROWS, fractions of the stature: seen from the front (man, woman, child), from aside.
MAN = np.array([0.031, 0.058, 0.089, 0.112, 0.109, 0.101, 0.094, 0.088, 0.091, 0.094, 0.090])
WOMAN = np.array([0.027, 0.051, 0.078, 0.097, 0.096, 0.092, 0.080, 0.069, 0.088, 0.102, 0.098])
CHILD = np.array([0.030, 0.054, 0.080, 0.094, 0.092, 0.088, 0.086, 0.084, 0.088, 0.090, 0.086])
DEEP = np.array([0.034, 0.044, 0.052, 0.062, 0.068, 0.070, 0.064, 0.058, 0.066, 0.071, 0.064])
BELLY = np.array([0.0, 0.0, 0.0, 0.002, 0.006, 0.014, 0.026, 0.034, 0.026, 0.012, 0.006])

UPPER_ARM = np.array([0.0232, 0.0275, 0.0245, 0.0210])
FOREARM = np.array([0.0210, 0.0225, 0.0180, 0.0130])
THIGH = np.array([0.0550, 0.0530, 0.0445, 0.0335])
SHIN = np.array([0.0325, 0.0365, 0.0280, 0.0165])


@dataclass(frozen=True)
class Physique:
    """Who somebody is: age, sex (0 man .. 1 woman), weight (1 average) and stature (1 a tall adult's)."""

    age: str
    feminine: float
    weight: float
    stature: float

    @classmethod
    def random(cls, rng: Rng, child: bool = False) -> Physique:
        """Adults of every shape; a child where it is one."""
        age = "child" if child else rng.weighted(AGES)
        feminine = 0.5 if child else (rng.uniform(0.8, 1.0) if rng.chance(0.58) else rng.uniform(0.0, 0.15))
        low, high = {"average": (0.94, 1.05), "thin": (0.84, 0.91), "heavy": (1.14, 1.34),
            "athletic": (1.0, 1.06)}[rng.weighted(SHAPES)]
        tall = rng.uniform(0.66, 0.82) if child else rng.uniform(0.91, 1.0) + (0.0 if feminine > 0.5 else 0.03)
        return cls(age, feminine, rng.uniform(low, high), tall)

    def build(self, rng: Rng) -> Build:
        """Proportions for the skeleton."""
        child, f = self.age == "child", self.feminine
        return Build(
            feminine=f,
            bulk=1 + (self.weight - 1) * 0.62,
            head=1 / (rng.uniform(5.1, 5.5) if child else rng.uniform(6.6, 6.95)),
            shoulders=(0.098 if child else 0.108 - 0.014 * f) * (1 + (self.weight - 1) * 0.3),
            hips=0.046 + 0.005 * f,
            arm=rng.uniform(0.97, 1.01) * (0.94 if child else 1.0),
            leg=0.92 if child else rng.uniform(0.99, 1.03),
        )


def shape_torso(fig: Figure, who: Physique) -> None:
    """Give a figure this person's torso: from here on `body.torso_rows` follows it."""
    turn, side = abs(cos(fig.yaw)), abs(sin(fig.yaw))
    wide = CHILD if who.age == "child" else MAN + (WOMAN - MAN) * who.feminine
    more = max(who.weight - 1, -0.16)
    wide = wide * (1 + more * 0.55) + BELLY * max(more, 0) * 1.2
    deep = DEEP * (1 + more * 0.9) + BELLY * max(more, 0) * 2.2
    half = np.hypot(wide * turn, deep * side) * fig.scale
    neck, crotch = fig.at("neck"), fig.at("crotch")
    down = unit(crotch - neck)
    base = np.array([down[1], -down[0]])
    known = (neck, crotch, base if base[0] >= 0 else -base, half)
    assert len(half) == len(ROWS)
    fig.once("torso", lambda _: known)


CALM_ARMS = {"hang": 7.0, "loose": 3.0, "hip": 4.0, "pocket": 4.5, "clasp": 0.6, "wave": 0.4, "phone": 0.7}
CALM_LEGS = {"straight": 3.0, "apart": 1.0, "relaxed": 6.0, "walk": 2.0}


def calm_pose(rng: Rng, yaw: float, back: float) -> tuple[Pose, dict[str, str]]:
    """A stand as in a portrait: the weight on one leg, hands at rest; also what each hand does."""
    pose = Pose("stand", yaw=rng.normal(0, yaw * 0.8) + (180 if rng.chance(back) else 0))
    hands = {s: rng.weighted(CALM_ARMS) for s in SIDES}
    if "clasp" in hands.values():
        hands = dict.fromkeys(SIDES, "clasp")
    legs = LEG_POSES[rng.weighted(CALM_LEGS)]
    first = rng.chance(0.5)
    for side in SIDES:
        arm, fore = ARM_POSES[hands[side]]
        thigh, shin = legs[0 if (side == SIDES[0]) == first else 1]
        pose.arm[side] = (arm[0] + rng.normal(0, 2), arm[1] + rng.normal(0, 4))
        pose.fore[side] = (fore[0] + rng.normal(0, 3), fore[1] + rng.normal(0, 4))
        pose.thigh[side] = (thigh[0] * 0.75 + rng.normal(0, 1), thigh[1] + rng.normal(0, 2))
        pose.shin[side] = (shin[0] + rng.normal(0, 1), shin[1] + rng.normal(0, 2))
    tilt = 3.5 * (1 if first else -1) * rng.u()
    pose.hips, pose.shoulders = tilt, -0.7 * tilt
    pose.lean, pose.bend = rng.normal(0, 0.8), rng.normal(1.0, 1.0)
    pose.head_yaw, pose.head_tilt = rng.normal(0, 12), rng.normal(0, 3)
    return pose, hands


def spine(joints: Sequence[np.ndarray], t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points and unit normals along a limb of two bones (t 0..2), rounded at the joint: float64 [n, 2] each."""
    a, b, c = joints
    reach = 0.22

    def at(q: float) -> np.ndarray:
        if abs(q - 1) < reach:  # a quadratic curve round the joint
            s = (q - 1 + reach) / (2 * reach)
            p, r = b + (a - b) * reach, b + (c - b) * reach
            return np.asarray((1 - s) ** 2 * p + 2 * s * (1 - s) * b + s * s * r)
        return np.asarray(a + (b - a) * q if q < 1 else b + (c - b) * (q - 1))

    points = np.stack([at(float(q)) for q in t])
    ahead, behind = (np.stack([at(float(q) + d) for q in t]) for d in (0.04, -0.04))
    way = ahead - behind
    way = way / np.maximum(np.hypot(way[:, :1], way[:, 1:]), 1e-6)
    return points, np.stack([way[:, 1], -way[:, 0]], 1)


def tube(
    joints: Sequence[np.ndarray],
    radii: tuple[np.ndarray, np.ndarray],
    atoms: tuple[int, int],
    t0: float = 0.0,
    t1: float = 2.0,
    *,
    cap: bool = True,
    hem: float = 0.0,
) -> list[Shape]:
    """A limb or the cloth around it between t0 and t1 (1 the middle joint, 2 the end), as many small pieces.

    radii are half-widths in pixels at equal steps along either bone; `cap` rounds the start, `hem` bulges the end.
    """
    t = np.unique(np.concatenate([np.linspace(t0, t1, 25), [1.0] if t0 < 1 < t1 else []]))
    steps = np.linspace(0, 1, len(radii[0]))
    r = np.where(t < 1, np.interp(t, steps, radii[0]), np.interp(t - 1, steps, radii[1]))
    near = np.abs(t - 1) < 0.16  # no step in the width where the bones meet
    joint = (radii[0][-1] + radii[1][0]) / 2
    r = np.where(near, joint + (r - joint) * np.abs(t - 1) / 0.16, r)
    p, n = spine(joints, t)
    left, right = p + n * r[:, None], p - n * r[:, None]
    out: list[Shape] = [(ellipse(p[0], r[0], r[0]), atoms[int(t[0] >= 1)])] if cap else []
    for k in range(len(t) - 1):
        a = atoms[int((t[k] + t[k + 1]) / 2 >= 1)]
        if near[k]:
            out.append((ellipse(p[k], r[k], r[k], n=16), a))
        out.append((np.stack([left[k], left[k + 1], right[k + 1], right[k]]), a))
    if hem:
        way = np.array([-n[-1][1], n[-1][0]]) * hem
        arc = np.linspace(0, np.pi, 9)
        edge = [p[-1] + n[-1] * r[-1] * cos(x) + way * sin(x) for x in arc.tolist()]
        out.append((np.stack(edge), atoms[int(t[-1] > 1)]))
    return out


def arm_joints(fig: Figure, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shoulder, elbow and wrist."""
    return fig.at("shoulder", side), fig.at("elbow", side), fig.at("wrist", side)


def leg_joints(fig: Figure, side: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hip, knee and ankle."""
    return fig.at("hip", side), fig.at("knee", side), fig.at("ankle", side)


def arm_radii(fig: Figure, who: Physique) -> tuple[np.ndarray, np.ndarray]:
    """Half-widths of the bare arm, pixels."""
    k = fig.scale * fig.build.bulk * (0.93 if who.feminine > 0.5 else 1.04)
    return UPPER_ARM * k, FOREARM * k


def leg_radii(fig: Figure, who: Physique) -> tuple[np.ndarray, np.ndarray]:
    """Half-widths of the bare leg, pixels."""
    k = fig.scale * fig.build.bulk * (0.92 if who.age == "child" else 0.97)
    return THIGH * k, SHIN * k


def draw_hand(easel: Easel, fig: Figure, side: str, skin: Tint, grip: str, kind: str, cuff: float = 0.0) -> None:
    """A hand with four fingers and a thumb; grip: rest, spread or fist; kind: skin or glove."""
    s, a = fig.scale, atom(kind, "lower-arm", side)
    wrist, end = fig.at("wrist", side), fig.at("hand", side)
    reach = max(float(np.hypot(*(end - wrist))), 0.055 * s)
    way = unit(end - wrist)
    n = across(wrist, end)
    inward = n if float(n @ (fig.at("pelvis") - wrist)) > 0 else -n
    size = reach * 1.12

    def at(along: float, over: float) -> np.ndarray:
        return np.asarray(wrist + way * along * size + inward * over * s)

    fat = 0.0061 * s * (1.12 if kind == "glove" else 1.0)
    shapes: list[Shape] = [(limb(at(-0.2 - cuff, 0), at(0.25, 0), np.array([0.0135, 0.0135, 0.015, 0.0175]) * s), a)]
    palm = [at(0.02, -0.0125), at(0.5, -0.0190), at(0.58, 0.0), at(0.54, 0.0195), at(0.2, 0.0185), at(0.02, 0.0125)]
    shapes.append((np.stack(palm), a))
    gaps: list[np.ndarray] = []
    if grip == "fist":
        shapes.append((ellipse(at(0.5, 0.0), 0.0205 * s, 0.0185 * s), a))
        thumb = limb(at(0.22, 0.017), at(0.58, 0.010), np.array([1.1, 1.15, 1.0, 0.8]) * fat)
        gaps = [np.stack([at(0.42, x), at(0.62, x * 0.9)]) for x in (-0.009, -0.001, 0.007)]
    else:
        fan = 0.0045 if grip == "spread" else 0.0008
        for k, length in enumerate((0.86, 0.98, 1.0, 0.92)):
            x = -0.0145 + 0.0097 * k
            tip = at(length, x + (k - 1.5) * fan - (0.002 if grip == "rest" else 0.0))
            shapes += [(limb(at(0.42, x), tip, np.array([1.0, 0.98, 0.9, 0.72]) * fat), a),
                (ellipse(tip, 0.74 * fat, 0.74 * fat, n=10), a)]
            if k:
                gaps.append(np.stack([at(0.55, x - 0.0048), at(length - 0.06, x - 0.0048 + (k - 2) * fan)]))
        open_ = 0.034 if grip == "spread" else 0.0235
        thumb = limb(at(0.16, 0.0125), at(0.62, open_), np.array([1.25, 1.2, 1.05, 0.75]) * fat)
        shapes.append((ellipse(at(0.62, open_), 0.78 * fat, 0.78 * fat, n=10), a))
    shapes.append((thumb, a))
    easel.layer(shapes, skin, 0.016 * s, depth=1.3, rim=0.1)
    dark = skin.colour * np.array([0.70, 0.58, 0.54])
    for line in gaps:
        easel.stroke(line, max(0.0018 * s, 1.0), dark, 0.55, only=[a])


def torso_strip(fig: Figure, v: np.ndarray, ease: np.ndarray | float) -> np.ndarray:
    """The torso between the heights v as a polygon, widened by `ease` (fractions of the stature)."""
    from oshp_lite.data.synthetic.body import torso_rows

    centre, u, half = torso_rows(fig, v)
    r = (half + np.asarray(ease) * fig.scale)[:, None]
    return strip(centre + u * r, centre - u * r)
