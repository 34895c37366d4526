"""The bare body: torso rows, limbs, hands, feet, head with its face, and hair."""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.outlines import across, ellipse, limb, smooth, strip, unit
from oshp_lite.data.synthetic.raster import Canvas, Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import Figure
from oshp_lite.data.synthetic.textures import Flat

# Half-widths as fractions of the stature, at equal steps along the bone.
UPPER_ARM = np.array([0.0285, 0.0285, 0.0255, 0.0225])
FOREARM = np.array([0.0225, 0.0240, 0.0195, 0.0145])
HAND = np.array([0.0135, 0.0185, 0.0190, 0.0130])
THIGH = np.array([0.0555, 0.0530, 0.0450, 0.0345])
SHIN = np.array([0.0330, 0.0365, 0.0290, 0.0185])
FOOT = np.array([0.0190, 0.0240, 0.0255, 0.0195])

# Torso: height 0 = root of the neck, 1 = crotch; half-width seen from the front and from the side.
ROWS = np.array([0.0, 0.045, 0.085, 0.13, 0.2, 0.3, 0.43, 0.6, 0.77, 0.9, 1.0])
FRONT = np.array([0.034, 0.060, 0.090, 0.108, 0.106, 0.092, 0.084, 0.072, 0.086, 0.096, 0.088])
FRONT_F = np.array([0.030, 0.053, 0.082, 0.098, 0.096, 0.084, 0.077, 0.062, 0.085, 0.099, 0.092])
DEPTH = np.array([0.034, 0.044, 0.052, 0.060, 0.066, 0.068, 0.064, 0.058, 0.066, 0.070, 0.062])


def _torso(fig: Figure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """What all rows of a figure's torso share: its ends, the direction across, half-widths at ROWS (pixels)."""
    b = fig.build
    neck, crotch = fig.at("neck"), fig.at("crotch")
    c, s = abs(cos(fig.yaw)), abs(sin(fig.yaw))
    wide = FRONT + (FRONT_F - FRONT) * b.feminine
    wide = wide * (1 + (b.bulk - 1) * 0.9) * (b.shoulders / (0.104 - 0.012 * b.feminine)) ** 0.5
    half = np.hypot(wide * c, DEPTH * (1 + (b.bulk - 1) * 1.4) * s) * fig.scale
    down = unit(crotch - neck)
    base = np.array([down[1], -down[0]])
    if base[0] < 0:
        base = -base
    return neck, crotch, base, half


def torso_rows(fig: Figure, v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Centre [n, 2], direction across (to the right of the picture) [n, 2] and half-width [n] at the heights v."""
    neck, crotch, base, half = fig.once("torso", _torso)
    vv = np.clip(v, 0, 1)
    tilt = np.radians(fig.pose.shoulders + (fig.pose.hips - fig.pose.shoulders) * vv) * cos(fig.yaw)
    u = np.stack([base[0] * np.cos(tilt) - base[1] * np.sin(tilt), base[0] * np.sin(tilt) + base[1] * np.cos(tilt)], 1)
    belly = np.sin(np.pi * vv) * 0.010 * fig.scale * sin(fig.yaw)
    centre = neck + v[:, None] * (crotch - neck) + u * belly[:, None]
    return centre, u, np.interp(v, ROWS, half)


def torso_shape(fig: Figure, v0: float, v1: float, ease: float | np.ndarray = 0.0, steps: int = 12) -> np.ndarray:
    """The torso between two heights as a polygon; `ease` widens it (fractions of the stature, number or [steps])."""
    v = np.linspace(v0, v1, steps)
    centre, u, half = torso_rows(fig, v)
    r = (half + np.asarray(ease) * fig.scale)[:, None]
    return strip(centre + u * r, centre - u * r)


def middle(fig: Figure, v: float) -> np.ndarray:
    """The point of the body's front middle line at a height of the torso (it wanders sideways as the body turns)."""
    centre, u, half = torso_rows(fig, np.array([v]))
    return centre[0] + u[0] * half[0] * sin(fig.yaw) * 0.75


def arm_shapes(fig: Figure, side: str) -> list[Shape]:
    """Bare arm and hand."""
    s, k = fig.scale, fig.scale * fig.build.bulk
    sh, el, wr, ha = (fig.at(n, side) for n in ("shoulder", "elbow", "wrist", "hand"))
    upper, lower = atom("skin", "upper-arm", side), atom("skin", "lower-arm", side)
    n = across(wr, ha)
    inward = n if float(n @ (fig.at("pelvis") - wr)) > 0 else -n
    thumb, tip = (wr + (ha - wr) * t + inward * out * s for t, out in ((0.25, 0.012), (0.72, 0.027)))
    return [
        (ellipse(sh, 0.0285 * k, 0.0285 * k), upper),
        (limb(sh, el, UPPER_ARM * k), upper),
        (ellipse(el, 0.0228 * k, 0.0228 * k), lower),
        (limb(el, wr, FOREARM * k), lower),
        (ellipse(wr, 0.0143 * k, 0.0143 * k, n=12), lower),
        (limb(wr, ha, HAND * s), lower),
        (ellipse(ha, 0.0135 * s, 0.0125 * s, n=12), lower),
        (limb(thumb, tip, np.array([0.008, 0.008, 0.0065, 0.005]) * s), lower),
    ]


def leg_shapes(fig: Figure, side: str) -> list[Shape]:
    """Bare leg and foot."""
    s, k = fig.scale, fig.scale * fig.build.bulk
    hip, kn, an, toe = (fig.at(n, side) for n in ("hip", "knee", "ankle", "toe"))
    upper, lower = atom("skin", "upper-leg", side), atom("skin", "lower-leg", side)
    return [
        (ellipse(hip, 0.054 * k, 0.054 * k), upper),
        (limb(hip, kn, THIGH * k), upper),
        (ellipse(kn, 0.034 * k, 0.034 * k), lower),
        (limb(kn, an, SHIN * k), lower),
        (ellipse(an, 0.019 * k, 0.019 * k, n=14), lower),
        (limb(an, toe, FOOT * s), lower),
        (ellipse(toe, 0.019 * s, 0.015 * s, n=14), lower),
    ]


Points = Sequence[tuple[float, float]] | np.ndarray


class Head:
    """The head's own frame: x to the right of the picture, y down, one unit = half the head's height."""

    def __init__(self, fig: Figure) -> None:
        crown, chin = fig.at("crown"), fig.at("chin")
        self.fig = fig
        self.centre = (crown + chin) / 2
        self.down = unit(chin - crown)
        self.right = np.array([self.down[1], -self.down[0]])
        self.unit = max(float(np.hypot(*(chin - crown))) / 2, fig.build.head * fig.scale * 0.42)
        self.s, self.c = sin(fig.head_yaw), cos(fig.head_yaw)

    @property
    def facing(self) -> bool:
        """True when the face can be seen."""
        return self.c > -0.25

    def points(self, xy: Points) -> np.ndarray:
        """Head coordinates [n, 2] -> pixels."""
        a = np.asarray(xy, dtype=float)
        return self.centre + (a[:, :1] * self.right + a[:, 1:] * self.down) * self.unit

    def curve(self, xy: Points, per: int = 4) -> np.ndarray:
        """The smooth closed curve through points of the head."""
        return smooth(self.points(xy), per)

    def outline(self, grow: float = 0.0, upto: float = 1.0) -> np.ndarray:
        """The skull and jaw as a smooth polygon; `grow` widens it."""
        ys = np.array([-0.98, -0.9, -0.62, -0.2, 0.2, 0.55, 0.82, 0.97])
        xs = np.array([0.18, 0.38, 0.64, 0.71, 0.67, 0.56, 0.36, 0.13])
        turn = abs(self.s)
        front = xs + turn * np.array([-0.02, 0.0, 0.02, 0.03, 0.06, 0.1, 0.16, 0.2])
        back = xs + turn * np.array([0.06, 0.12, 0.2, 0.22, 0.08, -0.12, -0.22, -0.18])
        right, left = (front, back) if self.s >= 0 else (back, front)
        keep = ys <= upto
        ys, right, left = ys[keep], right[keep] + grow, left[keep] + grow
        ys = ys - grow * np.clip(-ys, 0, 1)
        pts = np.concatenate([np.stack([right, ys], 1), np.stack([-left, ys], 1)[::-1]])
        return self.curve(pts, 3)

    def spot(self, phi: float, y: float) -> tuple[float, float, float]:
        """x, y and width factor of a feature at the angle phi (radians, from the face's middle to the right)."""
        a = self.fig.head_yaw + phi
        return sin(a) * 0.66, y, cos(a)


def draw_face(canvas: Canvas, head: Head, tone: np.ndarray, rng: Rng) -> None:
    """The face with ears and features, or the back of the head's skin."""
    face = atom("face", "head")
    u = head.unit
    shapes: list[Shape] = [(head.outline(), face)]
    for ear in (-1.45, 1.45):
        x, y, _ = head.spot(ear, 0.12)
        if abs(head.s) < 0.9 or x * head.s < 0.2:
            shapes.append((ellipse(head.points([(x * 1.04, y)])[0], 0.12 * u, 0.2 * u, n=12), face))
    if head.facing and abs(head.s) > 0.75:
        d = 1.0 if head.s > 0 else -1.0
        shapes.append((head.points([(0.66 * d, 0.02), (0.9 * d, 0.34), (0.64 * d, 0.42)]), face))
    canvas.layer(shapes, Flat(tone), soft=u * 0.34, relief=0.8, shadow=0.25)
    eye_y, gap = rng.uniform(-0.02, 0.06), rng.uniform(0.44, 0.5)
    mouth_y, mouth_w, red_r = rng.uniform(0.6, 0.66), rng.uniform(0.2, 0.27), rng.uniform(150, 200)
    if head.c < 0.05 or u < 4:
        return
    dark: list[Shape] = []
    white: list[Shape] = []
    for phi in (-gap, gap):
        x, y, w = head.spot(phi, eye_y)
        if w < 0.2:
            continue
        at, lid, brow = head.points([(x, y)])[0], 0.17 * w, 0.19 * w
        white.append((ellipse(at, 0.135 * u * w, 0.062 * u, n=12), face))
        dark.append((ellipse(at, 0.06 * u, 0.066 * u, n=10), face))
        dark.append((head.points([(x - lid, y - 0.055), (x, y - 0.1), (x + lid, y - 0.055), (x, y - 0.06)]), face))
        dark.append((head.points([(x - brow, y - 0.17), (x, y - 0.235), (x + brow, y - 0.18), (x, y - 0.185)]), face))
    nx, ny, nw = head.spot(0.0, 0.4)
    nose = head.points([(nx * 0.9 - 0.02, 0.0), (nx * 1.12 + 0.1 * nw, ny), (nx - 0.11 * nw, ny + 0.03)])
    mx, my, mw = head.spot(0.0, mouth_y)
    w = max(mw, 0.35) * mouth_w
    upper = [(mx - w, my), (mx - w * 0.3, my - 0.06), (mx + w * 0.3, my - 0.06), (mx + w, my)]
    lips = head.curve([*upper, (mx, my + 0.085)], 3)
    red = np.array([red_r, 60, 66], dtype=np.float32)
    for shapes, colour in (
        ([(nose, face)], tone * np.float32(0.87)),
        (white, tone * np.float32(0.3) + np.float32(165)),
        (dark, tone * np.float32(0.16) + np.float32(12)),
        ([(lips, face)], tone * np.float32(0.55) + red * np.float32(0.4)),
    ):
        canvas.layer(shapes, Flat(colour, 0), soft=0.6, relief=0.0, shadow=0.0, mark=None)


HAIR_STYLES = {"short": 3.0, "crop": 1.2, "side": 2.2, "bob": 2.2, "long": 4.5, "wavy": 2.5, "pony": 2.0}
HAIR_STYLES |= {"bun": 1.6, "afro": 0.9, "fringe": 2.0}
LONG = ("long", "wavy", "fringe")


def hair_back(head: Head, style: str, length: float, rng: Rng) -> list[Shape]:
    """Hair that hangs behind the neck and shoulders (drawn before the torso when the person faces us)."""
    hair = atom("hair", "head")
    b = -head.s * 0.18
    if style == "bun":
        at = head.points([(b * 3.4, -1.02 if rng.chance(0.6) else -0.5)])[0]
        return [(ellipse(at, 0.36 * head.unit, 0.34 * head.unit), hair)]
    if style == "afro":
        angle, r = np.arange(11) * (2 * np.pi / 11), 1 + rng.array(11) * 0.05
        return [(head.curve(np.stack([np.cos(angle) * r * 1.14 + b, np.sin(angle) * r * 1.12 - 0.24], 1), 3), hair)]
    if style in LONG:
        j = rng.array(6) * (0.1 if style == "wavy" else 0.03)
        w = 0.86 + (0.1 if style == "wavy" else 0)
        left = [(-0.7 + b, -0.6), (-w + b, 0.1 + j[0]), (-w - 0.06 + b + j[1], length * 0.6), (-0.6 + b + j[2], length)]
        right = [(0.6 + b + j[3], length + j[4]), (w + 0.06 + b + j[5], length * 0.6), (w + b, 0.1), (0.7 + b, -0.6)]
        pts = [*left, *right]
    elif style == "bob":
        half = [(0.84, 0.95), (0.9, 0.3), (0.75, -0.6)]
        pts = [(x + b, y) for x, y in [*((-x, y) for x, y in half[::-1]), *half]]
    elif style == "pony":
        x, low = b * 4.2 - 0.12 * (1 if head.s >= 0 else -1), length * 0.8
        pts = [(x - 0.2, -0.5), (x - 0.3, 0.3), (x - 0.15, low), (x + 0.1, low), (x + 0.24, 0.3), (x + 0.2, -0.5)]
    else:
        return []
    return [(head.curve(pts), hair)]


def hair_front(head: Head, style: str, length: float, rng: Rng) -> list[Shape]:
    """Hair on the skull, with a window cut out for the face."""
    hair = atom("hair", "head")
    grow = {"crop": 0.035, "afro": 0.3, "short": 0.09, "side": 0.11}.get(style, 0.1)
    low = 0.2 if style in ("short", "side", "crop", "afro", "bun", "pony") else 0.6
    shapes: list[Shape] = [(head.outline(grow, upto=low), hair)]
    if not head.facing:
        low = 1.0 if style == "bob" or style in LONG else 0.75
        return [*hair_back(head, style, length, rng), (head.outline(grow, upto=low), hair)]
    line = {"fringe": -0.14, "crop": -0.62, "afro": -0.5}.get(style, -0.52) + rng.uniform(-0.06, 0.06)
    part = rng.uniform(-0.35, 0.35)
    fx = head.s * 0.52
    w = 0.30 + 0.30 * abs(head.c)
    if style in LONG or style == "bob":
        w *= rng.uniform(0.86, 1.0)
    if style == "fringe":
        left, right = (rng.uniform(-0.05, 0.05) for _ in range(2))
        top = [(-0.9, 0.12), (-0.4, left), (0.0, 0.0), (0.4, right), (0.9, 0.12)]
    else:
        top = [(-0.82, 0.26), (-0.5, 0.06), (part, 0.0), (0.5, 0.06), (0.82, 0.26)]
    cheeks = [(1.0, 0.3), (0.98, 0.9), (0.4, 1.25), (-0.4, 1.25), (-0.98, 0.9), (-1.0, 0.3)]
    window = [(fx + w * x, line + y) for x, y in top] + [(fx + w * x, y) for x, y in cheeks]
    shapes.append((head.curve(window, 3), 0))
    if style in LONG and rng.chance(0.55):  # locks in front of the shoulders
        for d in (-1, 1):
            if rng.chance(0.75) and d * head.s < 0.3:
                reach = length * rng.uniform(0.75, 1.0)
                x, tip = d * 0.66 - head.s * 0.1, 0.1 * d
                lock = [(x - 0.14, 0.0), (x - 0.2, reach * 0.6), (x - 0.02 + tip, reach)]
                shapes.append((head.curve([*lock, (x + 0.2, reach * 0.6), (x + 0.14, 0.0)], 3), hair))
    return shapes
