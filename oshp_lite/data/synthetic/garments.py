"""Clothes that follow the body: tops, coats, dresses, skirts, trousers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import cos, sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import FOREARM, SHIN, THIGH, UPPER_ARM, middle, torso_rows, torso_shape
from oshp_lite.data.synthetic.outlines import across, ellipse, limb, smooth, strip, unit
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.skeleton import LEFT, RIGHT, Figure

Fold = tuple[np.ndarray, float]
NECKLINES = {"crew": 4.0, "scoop": 2.5, "v": 3.0, "boat": 1.2, "square": 0.8, "turtle": 1.0, "collar": 3.0}
NECKLINES |= {"straps": 1.2, "strapless": 0.4}
_CUTS = {"crew": (0.016, 0.034), "scoop": (0.055, 0.05), "v": (0.085, 0.036), "square": (0.06, 0.05)}
_CUTS |= {"collar": (0.06, 0.028)}
"""How deep and how wide a neckline is cut, as fractions of the stature."""


@dataclass
class Top:
    """The upper part of a garment: how it sits, its neckline and sleeves (0 none .. 1 elbow .. 2 wrist)."""

    material: str
    ease: float
    hem: float
    neck: str
    sleeve: float
    width: float
    flare: float = 0.0


def random_top(rng: Rng, material: str) -> Top:
    """A shirt, knit or dress top: sleeve length, neckline, looseness and hem."""
    neck = rng.weighted(NECKLINES)
    sleeve = rng.weighted({0.0: 1.6, 0.22: 0.8, 0.5: 2.2, 0.9: 1.0, 1.45: 1.6, 1.95: 4.2})
    if neck in ("straps", "strapless"):
        sleeve = 0.0
    if neck in ("turtle", "collar") and sleeve < 0.5 and rng.chance(0.7):
        sleeve = 1.95
    ease, hem = rng.pick((0.003, 0.007, 0.014, 0.024)), rng.uniform(0.8, 1.16)
    width, flare = rng.pick((0.003, 0.006, 0.011, 0.022)), rng.pick((0.0, 0.0, 0.012, 0.03))
    return Top(material, ease, hem, neck, sleeve, width, flare)


def top_shapes(fig: Figure, top: Top, rng: Rng, hem: float | None = None) -> list[Shape]:
    """The garment on the trunk with its neckline cut out."""
    a = atom(top.material, "torso")
    v1 = top.hem if hem is None else hem
    v0 = {"strapless": 0.2, "straps": 0.19, "boat": 0.05}.get(top.neck, 0.01)
    t = np.linspace(0, 1, 12)
    ease = top.ease * np.linspace(0.35, 1.0, 12) + top.flare * t**2 + rng.array(12) * 0.0016
    shapes: list[Shape] = [(torso_shape(fig, v0, v1, ease), a)]
    if top.neck == "straps":
        shapes += _straps(fig, a, rng)
    shapes += _neckline(fig, top.neck, a, rng)
    return shapes


def _straps(fig: Figure, a: int, rng: Rng) -> list[Shape]:
    w = rng.uniform(0.006, 0.014) * fig.scale
    centre, u, half = torso_rows(fig, np.array([0.05, 0.24]))
    out: list[Shape] = []
    for d in (-0.72, 0.72):
        p, q = centre[0] + u[0] * half[0] * d, centre[1] + u[1] * half[1] * d * 0.66
        n = across(p, q) * w
        out.append((np.stack([p + n, q + n, q - n, p - n]), a))
    return out


def _neckline(fig: Figure, kind: str, a: int, rng: Rng) -> list[Shape]:
    s = fig.scale
    centre, u, _ = torso_rows(fig, np.array([0.0, 0.06]))
    c, x = centre[0], u[0]
    spine = fig.at("crotch") - fig.at("neck")
    if kind == "turtle":
        chin = fig.at("chin")
        n, top = across(c, chin) * 0.034 * s, c + (chin - c) * 0.7
        return [(np.stack([c + n, top + n * 0.9, top - n * 0.9, c - n]), a)]
    deep, wide = _CUTS.get(kind, (0.0, 0.0))
    deep *= rng.uniform(0.8, 1.35)
    if not fig.facing:
        deep = min(deep, 0.012)
    if not wide:
        return []
    wide *= max(abs(cos(fig.yaw)), 0.55)
    down = unit(spine) * deep
    tip = c + (middle(fig, 0.1) - c - spine * 0.1) + down * s
    left, right = c - x * wide * s, c + x * wide * s
    above = -unit(spine) * 0.03 * s
    if kind in ("v", "collar") and fig.facing:
        return [(np.stack([left + above, left, tip, right, right + above]), 0)]
    if kind == "square":
        return [(np.stack([left + above, left + down * s, right + down * s, right + above]), 0)]
    low = tip * 0.65
    bow = down * 0.1 * s
    edge = [left + above * 1.6, left, left * 0.35 + low + bow, tip, right * 0.35 + low + bow, right]
    return [(smooth(np.stack([*edge, right + above * 1.6]), 3), 0)]


def sleeve_shapes(
    fig: Figure, side: str, material: str, length: float, width: float, flare: float = 0.0
) -> list[Shape]:
    """A sleeve over one arm: length 0 none, 1 elbow, 2 wrist."""
    if length <= 0:
        return []
    s, k = fig.scale, fig.scale * fig.build.bulk
    sh, el, wr = (fig.at(n, side) for n in ("shoulder", "elbow", "wrist"))
    up, low = atom(material, "upper-arm", side), atom(material, "lower-arm", side)
    r1 = UPPER_ARM * k + width * s * np.array([0.12, 0.5, 0.9, 1.0]) + 0.003 * s
    r2 = FOREARM * k + width * s * np.array([1.0, 0.9, 0.75, 0.65]) + flare * s * np.array([0, 0.2, 0.6, 1.0])
    r2 = r2 + 0.003 * s
    if length < 1:
        r1 = r1 + flare * s * np.array([0, 0.3, 0.6, 1.0])
    return _tube((sh, el, wr), length, (r1, up, 0.004 * s), (r2, low, 0.004 * s))


def _tube(joints: Sequence[np.ndarray], length: float, *bones: tuple[np.ndarray, int, float]) -> list[Shape]:
    """Cloth around a limb as far as `length` (1 the middle joint, 2 the end); bones: half-widths, atom, hem."""
    shapes: list[Shape] = []
    for bone, (r, a, hem) in enumerate(bones):
        if length > bone:
            start, end = joints[bone], joints[bone + 1]
            stop = min(length, 1.0) if bone == 0 else length - 1
            shapes += [(ellipse(start, r[0], r[0]), a), (limb(start, end, r, 0.0, stop, hem=hem), a)]
    return shapes


def sleeve_folds(fig: Figure, side: str, length: float, rng: Rng) -> list[Fold]:
    """Creases at the elbow and along the upper arm."""
    if length < 0.9:
        return []
    el, sh, wr = (fig.at(n, side) for n in ("elbow", "shoulder", "wrist"))
    n = across(sh, el) * 0.03 * fig.scale
    out: list[Fold] = []
    for t in (-0.35, -0.15, 0.1, 0.3):
        p = el + ((sh - el) * -t if t < 0 else (wr - el) * t)
        j = unit(sh - el) * rng.uniform(-0.02, 0.02) * fig.scale
        out.append((np.stack([p - n * rng.uniform(0.3, 1), p + n * rng.uniform(0.2, 1) + j]), rng.uniform(-0.7, 0.5)))
    return out


def trunk_folds(fig: Figure, v0: float, v1: float, rng: Rng, n: int = 5) -> list[Fold]:
    """Soft creases on the trunk: pulls towards the waist and hips."""
    out: list[Fold] = []
    for _ in range(n):
        v = rng.uniform(v0 + 0.1, v1)
        centre, u, half = torso_rows(fig, np.array([v, min(v + rng.uniform(-0.08, 0.12), 1.1)]))
        a = rng.uniform(-1, 1)
        b = a * rng.uniform(0.1, 0.8)
        line = np.stack([centre[0] + u[0] * half[0] * a, centre[1] + u[1] * half[1] * b])
        out.append((line, rng.uniform(-0.6, 0.45)))
    return out


def trouser_leg(fig: Figure, side: str, material: str, length: float, fit: np.ndarray) -> list[Shape]:
    """One trouser leg: length 0..1 thigh, 1..2 shin; `fit` widens at hip, knee and ankle (fractions of the stature)."""
    s, k = fig.scale, fig.scale * fig.build.bulk
    hip, kn, an = (fig.at(n, side) for n in ("hip", "knee", "ankle"))
    up, low = atom(material, "upper-leg", side), atom(material, "lower-leg", side)
    r1 = THIGH * k + s * np.interp([0, 0.33, 0.67, 1], [0, 1], fit[:2])
    r2 = SHIN * k + s * np.interp([0, 0.33, 0.67, 1], [0, 1], fit[1:])
    return _tube((hip, kn, an), length, (r1, up, 0.005 * s), (r2, low, 0.006 * s))


def trouser_folds(fig: Figure, side: str, length: float, rng: Rng) -> list[Fold]:
    """The seam of the waistband, creases at the crotch, the knee and above the hem."""
    s = fig.scale
    hip, kn, an = (fig.at(n, side) for n in ("hip", "knee", "ankle"))
    centre, u, half = torso_rows(fig, np.array([0.66]))
    r = half[0] + 0.004 * s
    band = [centre[0] - u[0] * r, centre[0] + np.array([0, 0.004 * s]), centre[0] + u[0] * r]
    out: list[Fold] = [(np.stack(band), -0.6), (np.stack([middle(fig, 0.7), middle(fig, 0.95)]), -0.4)]
    for _ in range(2):
        end = hip + (kn - hip) * rng.uniform(0.1, 0.35) + across(hip, kn) * rng.uniform(-0.03, 0.03) * s
        out.append((np.stack([fig.at("crotch"), end]), rng.uniform(-0.6, 0.2)))
    if length > 1.1:
        n, down = across(kn, an) * 0.035 * s, unit(an - kn)
        for t in (-0.1, 0.08, 0.7, 0.82, 0.9):
            p = kn + (an - kn) * t
            line = [p - n * rng.uniform(0.2, 1), p + n * rng.uniform(0.2, 1) + down * rng.uniform(-0.015, 0.015) * s]
            out.append((np.stack(line), rng.uniform(-0.6, 0.4)))
    return out


def seat_shapes(fig: Figure, material: str, waist: float, ease: float) -> list[Shape]:
    """The hip piece of trousers."""
    return [(torso_shape(fig, waist, 1.02, ease, 8), atom(material, "torso"))]


def _leg_line(fig: Figure, side: str, t: np.ndarray) -> np.ndarray:
    """Points down one leg: t in 0..1 thigh, 1..2 shin; beyond, straight on."""
    hip, kn, an = (fig.at(n, side) for n in ("hip", "knee", "ankle"))
    low = np.clip(t - 1, 0, None)[:, None]
    return hip + np.clip(t, 0, 1)[:, None] * (kn - hip) + low * (an - kn)


def skirt_shapes(
    fig: Figure, material: str, length: float, ease: float, flare: float, rng: Rng, waist: float
) -> tuple[list[Shape], list[Fold]]:
    """A skirt, or the skirt of a dress or coat: from the waist over both legs to `length` (1 knee, 2 ankle).

    Its pixels are shared out to the torso (above the hips) and to the two legs (split half-way between them).
    """
    s = fig.scale
    centre, u, half = torso_rows(fig, np.linspace(waist, 0.94, 5))
    r = (half + (ease + 0.15 * flare * np.linspace(0, 1, 5)) * s)[:, None]
    top_r, top_l = centre + u * r, centre - u * r
    t = np.linspace(0.16, length, 7)
    left, right = (_leg_line(fig, side, t) for side in (RIGHT, LEFT))  # as a viewer sees a person who faces them
    x = u[-1]
    k = fig.build.bulk * s
    body = np.interp(t, [0, 0.33, 0.67, 1, 1.33, 1.67, 2], np.concatenate([THIGH, SHIN[1:]]) * k)
    grow = (ease + 0.004) * s + flare * s * (t / 1.2)
    swap = (right @ x < left @ x)[:, None]
    left, right = np.where(swap, right, left), np.where(swap, left, right)
    wave = rng.array(7) * 0.003 * s
    edge_r = right + x * (body + grow + wave)[:, None]
    edge_l = left - x * (body + grow - wave)[:, None]
    mid = (right + left) / 2
    sides = (RIGHT, LEFT) if float(np.mean(swap)) > 0.5 else (LEFT, RIGHT)  # on the right and left of the picture
    sag = unit(mid[-1] - mid[0]) * rng.uniform(0.004, 0.014) * s
    hips = strip(np.concatenate([top_r, edge_r[:2]]), np.concatenate([top_l, edge_l[:2]]))
    shapes: list[Shape] = [(hips, atom(material, "torso"))]
    stop = min(int(np.searchsorted(t, 1.0)) + 1, 7)
    for side, edge in zip(sides, (edge_r, edge_l), strict=True):
        hem = [(edge[-1] + mid[-1]) / 2 + sag * 0.8, mid[-1] + sag]
        upper = np.stack([*edge[:stop], *(hem if stop == 7 else [mid[stop - 1]]), *mid[: stop - 1][::-1]])
        shapes.append((upper, atom(material, "upper-leg", side)))
        if stop < 7:
            lower = np.stack([*edge[stop - 1 :], *hem, *mid[stop - 1 : -1][::-1]])
            shapes.append((lower, atom(material, "lower-leg", side)))
    folds: list[Fold] = []
    n = rng.integer(2, 4) + int(flare * 120)
    for i in range(n):
        f = (i + 0.5 + rng.uniform(-0.3, 0.3)) / n
        p = top_l[2] + (top_r[2] - top_l[2]) * f
        q = edge_l[-1] + (edge_r[-1] - edge_l[-1]) * f + sag
        q2 = edge_l[3] + (edge_r[3] - edge_l[3]) * f
        folds.append((np.stack([p + (q2 - p) * rng.uniform(0, 0.6), q2, q]), rng.uniform(-0.8, 0.5)))
    return shapes, folds


def coat_opening(fig: Figure, v0: float, bottom: np.ndarray, gap_top: float, gap_low: float) -> np.ndarray:
    """The wedge through which an open coat shows what is under it, as a polygon."""
    s = fig.scale
    a, b = middle(fig, v0), middle(fig, 0.75)
    x = torso_rows(fig, np.array([0.5]))[1][0]
    shift = x * sin(fig.yaw) * 0.01 * s
    middles = ((a, 0.028), (b, gap_top), (bottom + shift, gap_low))
    right, left = (np.stack([at + x * sign * gap * s for at, gap in middles]) for sign in (1, -1))
    return strip(right, left)


def collar_shapes(fig: Figure, material: str, depth: float, width: float) -> list[Shape]:
    """The two flaps of a shirt collar or a coat's lapels, laid on top of the garment."""
    if not fig.facing:
        return []
    a = atom(material, "torso")
    s = fig.scale
    centre, u, half = torso_rows(fig, np.array([0.0, 0.05]))
    tip = middle(fig, depth)
    out: list[Shape] = []
    for d in (-1.0, 1.0):
        root = centre[0] + u[0] * half[0] * d * 0.75
        edge = centre[1] + u[1] * half[1] * d * 0.62
        low = tip + u[0] * d * width * s
        mid = middle(fig, depth * 0.55) + u[0] * d * (width + 0.03) * s
        out.append((np.stack([root, edge, mid, low, middle(fig, 0.02) + u[0] * d * width * s]), a))
    return out


def button_shapes(fig: Figure, v0: float, v1: float, offset: float, n: int) -> list[Shape]:
    """A row of buttons down the front."""
    r = max(0.0042 * fig.scale, 0.5)
    u = torso_rows(fig, np.array([0.5]))[1][0]
    return [(ellipse(middle(fig, v) + u * offset * fig.scale, r, r, n=8), 1) for v in np.linspace(v0, v1, n)]
