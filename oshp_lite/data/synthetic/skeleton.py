"""The articulated person: proportions, pose families, and the joints as they fall on the picture.

Lengths are fractions of the stature. The body frame has x to the person's left, y down, z to the person's front; the
picture has x right, y down, z towards the viewer. A limb's direction is (abduction, flexion) in degrees: abduction
swings it out to its own side, flexion to the front; hanging down is (0, 0).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import cos, radians, sin
from typing import Any

import numpy as np

from oshp_lite.data.synthetic.rng import Rng

Angles = tuple[float, float]
LEFT, RIGHT = "left", "right"
SIDES = (LEFT, RIGHT)
SIGN = {LEFT: 1.0, RIGHT: -1.0}
LOW = ("ankle", "toe", "knee", "pelvis")  # the joints a body may stand on


@dataclass
class Build:
    """Body proportions (fractions of the stature)."""

    feminine: float
    bulk: float
    head: float
    shoulders: float
    hips: float
    arm: float
    leg: float

    @classmethod
    def random(cls, rng: Rng, child: bool = False) -> Build:
        """An adult of about 7.5 heads, or a child of about 5.7."""
        fem = min(max(rng.normal(0.6 if rng.chance(0.62) else 0.1, 0.3), 0.0), 1.0)
        bulk = min(max(rng.normal(1.0, 0.09), 0.84), 1.3)
        heads = rng.normal(5.8, 0.3) if child else rng.normal(7.35, 0.25)
        return cls(
            feminine=0.4 if child else fem,
            bulk=bulk,
            head=1.0 / heads,
            shoulders=(0.104 - 0.012 * fem) * (1 + (bulk - 1) * 0.4) * (0.95 if child else 1.0),
            hips=0.048 + 0.005 * fem,
            arm=rng.normal(1.0, 0.03),
            leg=rng.normal(0.93 if child else 1.0, 0.025),
        )


@dataclass
class Pose:
    """Joint angles in degrees; `arm`/`fore`/`thigh`/`shin` by side."""

    name: str
    yaw: float = 0.0
    lean: float = 0.0
    bend: float = 0.0
    shoulders: float = 0.0
    hips: float = 0.0
    head_yaw: float = 0.0
    head_tilt: float = 0.0
    arm: dict[str, Angles] = field(default_factory=dict)
    fore: dict[str, Angles] = field(default_factory=dict)
    thigh: dict[str, Angles] = field(default_factory=dict)
    shin: dict[str, Angles] = field(default_factory=dict)


ARM_POSES: dict[str, tuple[Angles, Angles]] = {
    "hang": ((11, 0), (5, 14)),
    "loose": ((17, -6), (8, 22)),
    "hip": ((46, -18), (-46, 14)),
    "pocket": ((24, -14), (-14, 22)),
    "behind": ((20, -28), (-34, -30)),
    "folded": ((10, 22), (-68, 66)),
    "clasp": ((8, 12), (-34, 42)),
    "face": ((22, 34), (-24, 146)),
    "hair": ((112, 12), (-38, 172)),
    "wave": ((98, 8), (12, 172)),
    "up": ((158, 6), (168, 4)),
    "bag": ((10, 2), (6, 78)),
    "phone": ((14, 20), (-12, 112)),
    "out": ((84, 4), (80, 6)),
    "run-front": ((12, 42), (-6, 122)),
    "run-back": ((18, -52), (4, 34)),
    "walk-front": ((9, 24), (-2, 44)),
    "walk-back": ((11, -24), (6, 4)),
    "reach": ((30, 76), (8, 86)),
    "knees": ((10, 34), (-8, 48)),
}

LEG_POSES: dict[str, tuple[tuple[Angles, Angles], tuple[Angles, Angles]]] = {
    "straight": (((3, 0), (1, -2)), ((3, 0), (1, -2))),
    "apart": (((10, 2), (6, -3)), ((10, 2), (6, -3))),
    "relaxed": (((3, 1), (1, -3)), ((11, 9), (3, -9))),
    "crossed": (((-3, 4), (-5, 2)), ((0, -3), (-4, -6))),
    "walk": (((3, 22), (1, 12)), ((2, -14), (1, -34))),
    "stride": (((3, 32), (1, 16)), ((3, -22), (1, -44))),
    "run": (((4, 58), (2, -26)), ((4, -22), (2, -92))),
    "lunge": (((5, 62), (2, -6)), ((5, -30), (3, -58))),
    "kick": (((8, 70), (4, 58)), ((3, -4), (2, -12))),
    "squat": (((34, 74), (-8, -22)), ((34, 74), (-8, -22))),
    "sit": (((9, 82), (2, -6)), ((9, 82), (2, 4))),
    "kneel": (((8, 30), (4, -78)), ((10, 68), (4, -22))),
    "jump": (((24, 20), (8, -52)), ((20, 44), (10, -66))),
    "wide": (((27, 8), (22, 0)), ((27, 8), (22, 0))),
    "side": (((38, 18), (8, -16)), ((14, 2), (10, -2))),
}

STAND_ARMS = {"hang": 9.0, "loose": 6, "hip": 5, "pocket": 4, "behind": 1.5, "clasp": 1.2, "face": 0.6, "hair": 0.6}
STAND_ARMS |= {"bag": 2.0, "phone": 1.0}
STAND_LEGS = {"straight": 4.0, "apart": 3, "relaxed": 6, "crossed": 1.2, "walk": 1.5}
SPORTS = {
    "run": ("run", "run-front", "run-back"),
    "walk": ("stride", "walk-front", "walk-back"),
    "lunge": ("lunge", "run-back", "reach"),
    "kick": ("kick", "out", "loose"),
    "squat": ("squat", "reach", "reach"),
    "sit": ("sit", "knees", "knees"),
    "kneel": ("kneel", "knees", "loose"),
    "jump": ("jump", "up", "up"),
    "dance": ("side", "up", "out"),
    "serve": ("lunge", "up", "loose"),
    "stretch": ("wide", "out", "up"),
    "bend": ("apart", "reach", "knees"),
}


def fashion_pose(rng: Rng, yaw_spread: float = 22.0, back: float = 0.005) -> Pose:
    """A stand as in fashion photos: weight on one leg, hands at rest."""
    pose = Pose("stand", yaw=rng.normal(0, yaw_spread))
    if rng.chance(back):
        pose.yaw += 180
    both = rng.weighted({"folded": 0.04, "pocket": 0.05, "hang": 0.08, "": 0.83})
    hands = {s: both or rng.weighted(STAND_ARMS) for s in SIDES}
    return _posed(rng, pose, hands, rng.weighted(STAND_LEGS), 5.0)


def strong_pose(rng: Rng, yaw_spread: float = 70.0, back: float = 0.1) -> Pose:
    """A pose of sport and daily life."""
    kind = rng.pick(tuple(SPORTS))
    legs, a, b = SPORTS[kind]
    pose = Pose(kind, yaw=rng.normal(0, yaw_spread / 1.5))
    if kind in ("run", "walk", "kick", "sit", "lunge"):
        pose.yaw = rng.pick((-1, 1)) * rng.uniform(25, 85)
    if rng.chance(back):
        pose.yaw += 180
    if kind == "bend":
        pose.bend = rng.uniform(35, 70)
    if kind == "squat":
        pose.bend = rng.uniform(15, 35)
    hands = {LEFT: b, RIGHT: a} if rng.chance(0.5) else {LEFT: a, RIGHT: b}
    if rng.chance(0.25):
        hands[rng.pick(SIDES)] = rng.pick(tuple(ARM_POSES))
    return _posed(rng, pose, hands, legs, 9.0)


def _posed(rng: Rng, pose: Pose, hands: dict[str, str], legs: str, spread: float) -> Pose:
    first = rng.chance(0.5)
    for side in SIDES:
        arm, fore = ARM_POSES[hands[side]]
        thigh, shin = LEG_POSES[legs][0 if (side == LEFT) == first else 1]
        pose.arm[side] = _jitter(rng, arm, spread)
        pose.fore[side] = _jitter(rng, fore, spread * 1.2)
        pose.thigh[side] = _jitter(rng, thigh, spread * 0.6)
        pose.shin[side] = _jitter(rng, shin, spread * 0.6)
    tilt = rng.normal(0, 3.5 + spread * 0.2)
    pose.hips, pose.shoulders = tilt, -0.6 * tilt + rng.normal(0, 1.5)
    pose.lean += rng.normal(0, 1.2 + spread * 0.25)
    pose.bend += rng.normal(1.0, 2.0)
    pose.head_yaw = rng.normal(0, 16)
    pose.head_tilt = rng.normal(0, 4.5)
    return pose


def _jitter(rng: Rng, angles: Angles, sd: float) -> Angles:
    return angles[0] + rng.normal(0, sd * 0.6), angles[1] + rng.normal(0, sd)


def _direction(angles: Angles, sign: float) -> np.ndarray:
    a, f = radians(angles[0]), radians(angles[1])
    return np.array([sign * sin(a), cos(a) * cos(f), cos(a) * sin(f)])


@dataclass
class Figure:
    """A posed body on the picture: joints `p[name, side]` as (x, y) pixels and their depth `z` (larger: nearer)."""

    build: Build
    pose: Pose
    scale: float
    p: dict[tuple[str, str], np.ndarray]
    z: dict[tuple[str, str], float]
    yaw: float
    head_yaw: float
    _known: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[Figure], Any]) -> Any:
        """A value computed from this figure at its first use only."""
        if name not in self._known:
            self._known[name] = make(self)
        return self._known[name]

    @property
    def facing(self) -> bool:
        """True when the viewer sees the front of the body."""
        return cos(self.yaw) >= 0

    def at(self, name: str, side: str = "") -> np.ndarray:
        """A joint on the picture, pixels."""
        return self.p[name, side]

    def order(self, name: str) -> tuple[str, str]:
        """The two sides, the farther first, by the depth of a joint."""
        return (LEFT, RIGHT) if self.z[name, LEFT] <= self.z[name, RIGHT] else (RIGHT, LEFT)


def stand_up(build: Build, pose: Pose, scale: float, foot: tuple[float, float]) -> Figure:
    """Joints of the posed body: its lowest point stands at `foot`, `scale` is the stature in pixels."""
    b = build
    joints: dict[tuple[str, str], np.ndarray] = {("pelvis", ""): np.zeros(3)}
    lean, bend = radians(pose.lean), radians(pose.bend)
    up = np.array([sin(lean), -cos(lean) * cos(bend), cos(lean) * sin(bend)])
    front = np.array([0.0, sin(bend), cos(bend)])
    spine = 1.0 - 0.031 - b.head - 0.49 * b.leg - 0.005
    joints["neck", ""] = up * spine
    joints["crotch", ""] = -up * 0.028
    joints["chin", ""] = up * (spine + 0.034) + front * 0.012
    ht = radians(pose.head_tilt)
    head_up = np.array([up[0] * cos(ht) - up[1] * sin(ht), up[0] * sin(ht) + up[1] * cos(ht), up[2] * 0.6])
    joints["head", ""] = joints["chin", ""] + head_up * b.head * 0.5
    joints["crown", ""] = joints["chin", ""] + head_up * b.head
    for side in SIDES:
        s = SIGN[side]
        st, hp = radians(pose.shoulders), radians(pose.hips)
        shoulder = up * (spine - 0.049) + s * (b.shoulders - 0.012) * np.array([cos(st), sin(st), 0])
        raise_ = max(0.0, pose.arm[side][0] - 60) / 120
        shoulder = shoulder + up * 0.03 * raise_ - s * np.array([0.012 * raise_, 0, 0])
        hip = s * b.hips * np.array([cos(hp), sin(hp), 0]) + np.array([0, 0.008, 0])
        elbow = shoulder + _direction(pose.arm[side], s) * 0.168 * b.arm
        wrist = elbow + _direction(pose.fore[side], s) * 0.142 * b.arm
        joints["shoulder", side], joints["elbow", side], joints["wrist", side] = shoulder, elbow, wrist
        joints["hand", side] = wrist + _direction(pose.fore[side], s) * 0.088 * b.arm
        knee = hip + _direction(pose.thigh[side], s) * 0.236 * b.leg
        shin = _direction(pose.shin[side], s)
        ankle = knee + shin * 0.225 * b.leg
        joints["hip", side], joints["knee", side], joints["ankle", side] = hip, knee, ankle
        forward = np.array([s * 0.35, 0.0, 1.0])
        tipped = forward - shin * float(forward @ shin) * 0.8 + shin * 0.25
        joints["toe", side] = ankle + shin * 0.03 + tipped / np.linalg.norm(tipped) * 0.098
    yaw = radians(pose.yaw)
    turn = np.array([[cos(yaw), 0, sin(yaw)], [0, 1, 0], [-sin(yaw), 0, cos(yaw)]])
    view = radians(9.0)  # the camera looks a little down, so feet and laps are seen from above
    tilt = np.array([[1, 0, 0], [0, cos(view), sin(view)], [0, -sin(view), cos(view)]])
    names = list(joints)
    xyz = np.stack([joints[n] for n in names]) @ turn.T @ tilt.T
    lowest = max(y for (name, _), y in zip(names, xyz[:, 1].tolist(), strict=True) if name in LOW)
    centre = float(np.mean([xyz[names.index(("ankle", s)), 0] for s in SIDES]) * 0.4)
    xy = (xyz[:, :2] - (centre, lowest + 0.012)) * scale + np.array(foot)
    at, depth = dict(zip(names, xy, strict=True)), dict(zip(names, xyz[:, 2].tolist(), strict=True))
    return Figure(b, pose, scale, at, depth, yaw, yaw + radians(pose.head_yaw))
