"""Hats, bags, shoes, socks, scarves, belts, gloves, sunglasses."""

from __future__ import annotations

from math import sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import FOOT, FOREARM, SHIN, THIGH, Head, middle, torso_rows
from oshp_lite.data.synthetic.outlines import across, ellipse, limb, smooth, strip, unit
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import Figure

HATS = {"cap": 2.0, "beanie": 2.0, "fedora": 2.0, "sun": 1.2, "bucket": 1.0, "beret": 1.0}
SHOES = {"sneaker": 3.0, "pump": 3.0, "flat": 2.0, "ankle-boot": 2.0, "boot": 1.4, "sandal": 1.0}
_CROWNS = {
    "cap": (0.8, -1.12, 0.0),
    "fedora": (0.74, -1.32, 1.12),
    "sun": (0.74, -1.2, 1.5),
    "bucket": (0.8, -1.2, 1.05),
}
"""Half-width and top of a crown, and half-width of its brim (head units)."""
BAGS = {"hand": 2.0, "tote": 2.5, "crossbody": 2.2, "clutch": 1.0, "backpack": 0.8}


def hat_shapes(head: Head, kind: str, rng: Rng) -> list[Shape]:
    """A hat on the head."""
    a = atom("hat", "head")
    y = rng.uniform(-0.42, -0.28)
    t = head.s
    if kind in ("beanie", "beret"):
        high, w, lop = (-1.28, 0.8, 0.0) if kind == "beanie" else (-1.12, 0.98, rng.uniform(0.1, 0.35))
        if kind == "beret" and not rng.chance(0.5):
            lop = -lop
        left = [(-0.78, y + 0.05), (-w + lop * 0.5, -0.75), (-0.42 + lop, high + 0.06), (0.1 + lop, high)]
        pts = [*left, (0.5 + lop, high + 0.1), (w + lop * 0.5, -0.75), (0.78, y + 0.05), (0, y + 0.12)]
        return [(head.curve([(px - t * 0.08, py) for px, py in pts]), a)]
    w, top, brim = _CROWNS[kind]
    half = [(w, y + 0.06), (w * 0.97, -0.8), (w * 0.7, top + 0.06)]
    middle_top = (0.0, top + (0.1 if kind == "fedora" else -0.02))
    crown = [*((-px, py) for px, py in half), middle_top, *half[::-1], (0.0, y + 0.14)]
    shapes: list[Shape] = [(head.curve([(px - t * 0.1, py) for px, py in crown]), a)]
    if brim:
        angle = float(np.arctan2(head.right[1], head.right[0]))
        rx = brim * rng.uniform(0.92, 1.1)
        shapes.append((ellipse(head.points([(t * 0.1, y)])[0], rx * head.unit, rx * 0.22 * head.unit, angle), a))
    elif head.c > -0.2:  # a cap's peak
        x, w = t * 0.95, 0.5 + 0.14 * abs(head.c)
        peak = [(x * 0.55 - w, y - 0.02), (x - w * 0.6, y + 0.22), (x, y + 0.27), (x + w * 0.6, y + 0.22)]
        shapes.append((head.curve([*peak, (x * 0.55 + w, y - 0.02), (x * 0.6, y - 0.06)]), a))
    return shapes


def sunglasses_shapes(head: Head, rng: Rng) -> list[Shape]:
    """Two lenses, a bridge and a temple."""
    if head.c < 0.1:
        return []
    a = atom("sunglasses", "head")
    u, out = head.unit, []
    big = rng.uniform(0.2, 0.27)
    xs = []
    for phi in (-0.46, 0.46):
        x, y, w = head.spot(phi, 0.04)
        w = max(w, 0.3)
        xs.append(x)
        out.append((ellipse(head.points([(x, y)])[0], big * u * w, big * 0.8 * u, n=14), a))
    y = -0.03
    out.append((head.points([(xs[0], y - 0.05), (xs[1], y - 0.05), (xs[1], y + 0.05), (xs[0], y + 0.05)]), a))
    if abs(head.s) > 0.3:
        d = -1.0 if head.s > 0 else 1.0
        x0 = xs[0] if d < 0 else xs[1]
        out.append((head.points([(x0, y - 0.05), (d * 0.62, y - 0.02), (d * 0.62, y + 0.05), (x0, y + 0.06)]), a))
    return out


def shoe_shapes(fig: Figure, side: str, kind: str, shaft: float, rng: Rng) -> list[Shape]:
    """One shoe; boots have a shaft that covers `shaft` of the shin."""
    a = atom("shoe", "lower-leg", side)
    s = fig.scale
    kn, an, toe = (fig.at(n, side) for n in ("knee", "ankle", "toe"))
    skin, down, forward = atom("skin", "lower-leg", side), unit(an - kn), unit(toe - an)
    radii = FOOT * s + np.array([0.004, 0.003, 0.003, 0.002]) * s
    end, heel = toe + (toe - an) * 0.08, an + down * 0.018 * s
    if kind == "sandal":
        sole = limb(heel, end, radii * np.array([1.0, 1.05, 1.05, 1.0])) + np.array([0, 0.010 * s])
        bare = limb(an, end, radii * np.array([0.95, 1, 1, 0.9]))
        bands = (an + (toe - an) * t for t in (0.35, 0.85))
        straps = [(limb(p - forward * 0.008 * s, p + forward * 0.008 * s, radii[1:3]), a) for p in bands]
        return [(sole, a), (bare, skin), *straps]
    point = 0.6 if kind == "pump" else 1.0
    tip = ellipse(end, 0.0215 * s * point, 0.018 * s * point, n=16)
    shapes: list[Shape] = [(limb(heel, end, radii), a), (tip, a)]
    if kind == "pump":
        n = across(kn, an)
        shapes.append((np.stack([heel + n * 0.008 * s, heel + down * 0.03 * s, heel - n * 0.008 * s]), a))
        instep = an + (toe - an) * 0.2 - down * 0.004 * s
        shapes.append((ellipse(instep, 0.013 * s, 0.013 * s, n=12), skin))
    else:
        shapes.append((ellipse(an + down * 0.008 * s, 0.023 * s, 0.02 * s, n=16), a))
    if kind in ("boot", "ankle-boot"):
        k = SHIN * s * fig.build.bulk + np.array([0.008, 0.007, 0.007, 0.008]) * s
        shapes.append((limb(kn, an, k, 1 - shaft, 1.0), a))
    return shapes


def sock_shapes(fig: Figure, side: str, height: float) -> list[Shape]:
    """A sock that covers `height` of the shin (above 1: a stocking that goes on over the knee)."""
    low, up = atom("socks", "lower-leg", side), atom("socks", "upper-leg", side)
    s = fig.scale * fig.build.bulk
    hip, kn, an, toe = (fig.at(n, side) for n in ("hip", "knee", "ankle", "toe"))
    shapes: list[Shape] = []
    if height > 1:
        shapes.append((limb(hip, kn, THIGH * s + 0.001 * s, 2 - height, 1.0), up))
        shapes.append((ellipse(kn, 0.035 * s, 0.035 * s), low))
    shapes += [
        (limb(kn, an, SHIN * s + 0.002 * s, max(1 - height, 0), 1.0), low),
        (ellipse(an, 0.02 * s, 0.02 * s, n=14), low),
        (limb(an, toe, FOOT * fig.scale), low),
    ]
    return shapes


def glove_shapes(fig: Figure, side: str, bare: list[Shape], length: float) -> list[Shape]:
    """A glove: the hand's own shapes again, a little way up the forearm."""
    a = atom("glove", "lower-arm", side)
    el, wr = fig.at("elbow", side), fig.at("wrist", side)
    cuff = limb(el, wr, FOREARM * fig.scale * fig.build.bulk + 0.003 * fig.scale, 1 - length, 1.0)
    return [(cuff, a), *((p, a) for p, _ in bare[-4:])]


def belt_shapes(fig: Figure, material: str, v: float, ease: float) -> list[Shape]:
    """A belt around the waist: "belt" over trousers, "sash" over a dress."""
    v_ = np.linspace(v - 0.022, v + 0.022, 3)
    centre, u, half = torso_rows(fig, v_)
    r = (half + (ease + 0.004) * fig.scale)[:, None]
    sag = np.array([[0, 0.004 * fig.scale]])
    edge = strip(centre + u * r, centre - u * r)
    return [(edge + sag, atom(material, "torso"))]


def scarf_shapes(fig: Figure, rng: Rng) -> list[Shape]:
    """A scarf around the neck, often with one or two hanging ends."""
    a = atom("scarf", "torso")
    s = fig.scale
    neck, chin = fig.at("neck"), fig.at("chin")
    c = neck + (chin - neck) * 0.25
    angle = rng.uniform(-0.2, 0.2)
    shapes: list[Shape] = [
        (ellipse(c, 0.058 * s, 0.03 * s, angle), a),
        (ellipse(c + (neck - chin) * 0.35, 0.05 * s, 0.028 * s, -angle), a),
    ]
    if fig.facing:
        for d in (-1, 1):
            if rng.chance(0.6):
                low = middle(fig, rng.uniform(0.4, 0.85))
                x = torso_rows(fig, np.array([0.3]))[1][0] * d
                root, end = middle(fig, 0.03) + x * 0.015 * s, low + x * rng.uniform(0.01, 0.04) * s
                shapes.append((limb(root, end, np.array([0.02, 0.021, 0.023, 0.025]) * s, hem=0.004 * s), a))
    return shapes


def bag_body(at: np.ndarray, w: float, h: float, rng: Rng, angle: float = 0.0) -> np.ndarray:
    """The bag itself, hanging from the point `at`: a soft box, pixels."""
    r = rng.uniform(0.75, 1.0)
    sag = rng.uniform(0.0, 0.12)
    half = [(0.5 * r, 0.02), (0.53, 0.5), (0.5, 0.95), (0.3, 1.0 + sag)]
    left = [(-x, y) for x, y in half]
    pts = np.array([left[0], (0, sag * 0.5), *half, *left[:0:-1]]) * (w, h)
    c, s = np.cos(angle), np.sin(angle)
    return smooth(pts @ np.array([[c, s], [-s, c]]), 3) + at


def strap(p: np.ndarray, q: np.ndarray, width: float, sag: np.ndarray) -> np.ndarray:
    """A strap from p to q, hanging through by `sag`, as a polygon."""
    t = np.linspace(0, 1, 9)[:, None]
    line = p + (q - p) * t + sag * (4 * t * (1 - t))
    d = np.gradient(line, axis=0)
    n = np.stack([d[:, 1], -d[:, 0]], 1) / np.maximum(np.hypot(d[:, 0], d[:, 1]), 1e-6)[:, None] * width / 2
    return strip(line + n, line - n)


def bag_shapes(fig: Figure, kind: str, side: str, rng: Rng) -> tuple[list[Shape], bool]:
    """A bag at the given side; the second result says whether it is drawn before (under) the arms."""
    a = atom("bag", "none")
    s = fig.scale
    down, x = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    big = rng.uniform(0.85, 1.25)
    if kind in ("hand", "clutch") and fig.at("hand", side)[1] < fig.at("elbow", side)[1]:
        side = "left" if side == "right" else "right"  # a raised hand gives the bag to the other one
        kind = kind if fig.at("hand", side)[1] > fig.at("elbow", side)[1] else "crossbody"
    if kind in ("hand", "clutch"):
        hand = (fig.at("wrist", side) + fig.at("hand", side) * 2) / 3
        if kind == "clutch":
            body = bag_body(hand - down * 0.03 * s, 0.14 * s * big, 0.08 * s * big, rng, rng.uniform(-0.3, 0.3))
            return [(body, a)], True
        top, w = hand + down * 0.055 * s, 0.15 * s * big
        box = bag_body(top, w, 0.125 * s * big, rng, rng.uniform(-0.1, 0.1))
        handles = ((hand + x * d * 0.004 * s, top + x * d * w * 0.32 + down * 0.012 * s, d) for d in (-1, 1))
        return [(box, a), *((strap(p, q, 0.011 * s, x * d * 0.012 * s), a) for p, q, d in handles)], True
    sh = fig.at("shoulder", side)
    centre, u, half = torso_rows(fig, np.array([0.06, 0.85]))
    out = np.sign(float((sh - centre[0]) @ u[0])) or 1.0
    if kind == "tote":
        root = centre[0] + u[0] * out * half[0] * 0.86
        top = centre[1] + u[1] * out * (half[1] + rng.uniform(-0.01, 0.035) * s) - down * rng.uniform(0.02, 0.10) * s
        w = 0.17 * s * big
        box = bag_body(top, w, 0.16 * s * big, rng, rng.uniform(-0.12, 0.12))
        ends = (top + x * d * w * 0.3 + down * 0.01 * s for d in (-1, 1))
        return [*((strap(root, end, 0.012 * s, x * 0), a) for end in ends), (box, a)], rng.chance(0.6)
    if kind == "crossbody":
        root = centre[0] - u[0] * out * half[0] * 0.66
        top = centre[1] + u[1] * out * (half[1] * rng.uniform(0.5, 1.05)) + down * rng.uniform(-0.03, 0.05) * s
        bulge = u[0] * sin(fig.yaw) * 0.02 * s
        band = strap(root, top + down * 0.01 * s, rng.uniform(0.008, 0.016) * s, bulge)
        return [(band, a), (bag_body(top, 0.13 * s * big, 0.10 * s * big, rng, rng.uniform(-0.15, 0.15)), a)], True
    if not fig.facing:  # a backpack: the sack covers the back, or two straps show in front
        return [(bag_body(centre[0] + down * 0.01 * s, 0.2 * s * big, 0.25 * s * big, rng), a)], True
    chest, u, half = torso_rows(fig, np.array([0.06, 0.5]))
    bands = ((chest[0] + u[0] * d * half[0] * 0.62, chest[1] + u[1] * d * half[1] * 0.86, d) for d in (-1, 1))
    return [(strap(p, q, 0.019 * s, u[0] * d * 0.004 * s), a) for p, q, d in bands], True
