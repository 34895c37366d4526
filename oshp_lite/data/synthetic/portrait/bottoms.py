"""Trousers and skirts of version 5, with their waistbands, pockets, pleats and hems."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import torso_rows
from oshp_lite.data.synthetic.outlines import across, ellipse, strip, unit
from oshp_lite.data.synthetic.portrait.clothes import Wearer, ring
from oshp_lite.data.synthetic.portrait.easel import Fold
from oshp_lite.data.synthetic.portrait.fabrics import Fabric
from oshp_lite.data.synthetic.portrait.frame import leg_joints, leg_radii, torso_strip, tube
from oshp_lite.data.synthetic.raster import Shape
from oshp_lite.data.synthetic.skeleton import LEFT, RIGHT

FITS = {"skinny": (0.001, 0.002, 0.003), "straight": (0.004, 0.011, 0.016), "wide": (0.007, 0.024, 0.038)}
FITS |= {"tapered": (0.007, 0.012, 0.006)}


def draw_trousers(w: Wearer, kind: str, cloth: Fabric, material: str, length: float, fit: str, waist: float) -> None:
    """Trousers: both legs, the seat with waistband, fly, pockets, creases; the top edge at the height `waist`."""
    s, fig, rng, add = w.s, w.fig, w.rng, FITS[fit]
    bare = leg_radii(fig, w.who)
    up = bare[0] + s * np.interp([0, 0.33, 0.67, 1], [0, 1], add[:2])
    low = bare[1] + s * np.interp([0, 0.33, 0.67, 1], [0, 1], add[1:])
    seat = (torso_strip(fig, np.linspace(waist, 1.03, 9), 0.004), atom(material, "torso"))
    order = fig.order("knee")
    torso = [atom(material, "torso")]
    tubes = {side: tube(leg_joints(fig, side), (up, low), (atom(material, "upper-leg", side),
        atom(material, "lower-leg", side)), 0.0, length, hem=0.006 * s) for side in order}
    for side in order:
        hip, knee, ankle = leg_joints(fig, side)
        folds: list[Fold] = []
        n = across(hip, knee) * 0.035 * s
        marks = [(0.06, 0.8), (0.86, 0.5), (1.0, 0.7), (1.1, 0.6)] + ([(1.72, 0.7), (1.82, 0.8),
            (1.9, 0.7)] if length > 1.9 else [])
        for t, q in marks:
            if t < length - 0.05:
                p = hip + (knee - hip) * t if t < 1 else knee + (ankle - knee) * (t - 1)
                d, e = rng.pick((-1.0, 1.0)), rng.uniform(-0.014, 0.014)
                folds.append((np.stack([p - n * d * rng.uniform(0.6, 1.0),
                    p + n * d * rng.uniform(0.0, 0.6) + np.array([0, e * s])]), -q * rng.uniform(0.5, 1.0)))
        w.easel.layer(tubes[side], cloth, 0.045 * s, folds=folds, form=[seat], cast=0.45, caster=tubes[side][8:])
        atoms = [atom(material, part, side) for part in ("upper-leg", "lower-leg")]
        if kind == "jeans":
            fade = hip + (knee - hip) * 0.55
            w.easel.glaze([ellipse(fade, 0.024 * s, 0.10 * s)], cloth.colour * 0.55 + 112, 0.35, 0.03 * s, only=atoms)
        if kind == "trousers" and fit != "skinny" and length > 1.5:
            w.seam([hip + (knee - hip) * 0.15, knee, ankle], cloth, atoms, 0.28)
        for back in (0.04,) if kind == "jeans" else (0.07,):
            ring(w, (hip, knee, ankle), (up, low), length - back, cloth, atoms)
    folds = [(np.stack([w.mid(0.98), w.mid(0.93, d * 0.05)]), -0.6) for d in (-1, 1)]
    legs = [(p, 1) for side in order for p, _ in tubes[side]]
    w.easel.layer([seat], cloth, 0.045 * s, folds=folds, form=legs, cast=0.0)
    thighs = [atom(material, "upper-leg", side) for side in order]
    w.seam([w.mid(0.97), (leg_joints(fig, order[0])[0] + leg_joints(fig, order[1])[0]) / 2 + np.array([0, 0.05 * s])],
        cloth, [*torso, *thighs], 0.6)
    if material == "pants":
        _waistband(w, kind, cloth, waist, [*torso, *thighs])


def _waistband(w: Wearer, kind: str, cloth: Fabric, waist: float, only: Sequence[int]) -> None:
    low = waist + 0.075
    c, u, h = torso_rows(w.fig, np.array([low]))
    line = np.stack([c[0] - u[0] * h[0] * 1.1, c[0] + np.array([0, 0.004 * w.s]), c[0] + u[0] * h[0] * 1.1])
    w.easel.stroke(line, max(0.003 * w.s, 1), cloth.ink, 0.6, only=only)
    if not w.fig.facing:
        for d in (-1, 1):
            x, v = 0.045 * d, low + 0.1
            box = [w.mid(v, x - 0.026), w.mid(v, x + 0.026), w.mid(v + 0.13, x + 0.024), w.mid(v + 0.16, x),
                w.mid(v + 0.13, x - 0.024), w.mid(v, x - 0.026)]
            w.seam(box, cloth, only, 0.6)
        return
    fly = np.stack([w.mid(low, 0.012), w.mid(low + 0.13, 0.012), w.mid(low + 0.18, 0.0)])
    w.seam([w.mid(low), w.mid(0.97)], cloth, only, 0.6)
    (w.stitch(fly, only) if kind == "jeans" else w.seam(list(fly), cloth, only, 0.5))
    w.button(w.mid(waist + 0.038, 0.004), np.array([196.0, 176, 130]) if kind == "jeans" else cloth.ink, 0.0042)
    for d in (-1, 1):
        pocket = np.stack([w.mid(low, 0.046 * d), w.mid(low + 0.09, 0.066 * d), w.mid(low + 0.15, 0.10 * d)])
        (w.stitch(pocket + 1.5, only) if kind == "jeans" else None)
        w.seam(list(pocket), cloth, only, 0.7)
        for x in (0.03, 0.07):
            w.seam([w.mid(waist, x * d), w.mid(low + 0.01, x * d)], cloth, only, 0.6)


@dataclass
class Skirt:
    """The drawn form of a skirt: its shapes, its pleats, and the points of its hem from left to right."""

    shapes: list[Shape]
    folds: list[Fold]
    hem: np.ndarray
    lines: list[np.ndarray]


def skirt(w: Wearer, material: str, waist: float, length: float, ease: float, flare: float, pleats: int) -> Skirt:
    """A skirt, or that of a dress or coat, from the waist over both legs to `length` (1 knee, 2 ankle)."""
    fig, s, rng = w.fig, w.s, w.rng
    centre, u, half = torso_rows(fig, np.linspace(waist, 0.92, 6))
    hips = half + (ease + 0.3 * flare * np.linspace(0, 1, 6)) * s
    t = np.linspace(0.2, length, 11)
    legs = {side: np.stack([_down(leg_joints(fig, side), float(q)) for q in t]) for side in (LEFT, RIGHT)}
    x = u[-1]
    bare = np.interp(t, np.linspace(0, 2, 8), np.concatenate(leg_radii(fig, w.who)))
    here, there = (LEFT, RIGHT) if float(((legs[LEFT] - legs[RIGHT]) @ x).mean()) > 0 else (RIGHT, LEFT)
    grow = (ease + 0.004) * s + flare * s * t / 1.1
    right, left = legs[here] @ x + bare + grow, legs[there] @ x - bare - grow
    mid = (legs[here] + legs[there]) / 2
    along = mid @ x
    if flare > 0.01:  # cloth hangs, it does not follow the legs back in
        first = hips[-1]
        right, left = (along + np.maximum.accumulate(np.maximum(right - along, first)),
            along - np.maximum.accumulate(np.maximum(along - left, first)))
    wave = rng.array(11) * 0.0022 * s
    low_r, low_l = mid + x * (right - along + wave)[:, None], mid + x * (left - along + wave)[:, None]
    edge_r = np.concatenate([centre + u * hips[:, None], low_r])
    edge_l = np.concatenate([centre - u * hips[:, None], low_l])
    rows = np.concatenate([centre, mid])
    sag = unit(mid[-1] - mid[0]) * (0.008 + 0.16 * flare) * s
    f = np.linspace(0, 1, 25)
    ripple = np.sin(f * np.pi * (5 + pleats)) * flare * 0.09 * s
    hem = (edge_l[-1] + (edge_r[-1] - edge_l[-1]) * f[:, None] + sag * (4 * f * (1 - f))[:,
        None] + unit(sag) * ripple[:, None])
    k = 5  # rows that belong to the trunk
    shapes: list[Shape] = [(strip(edge_r[: k + 2], edge_l[: k + 2]), atom(material, "torso"))]
    knee = 6 + int(np.searchsorted(t, 1.0))
    knee = min(knee, len(rows) - 1)
    for side, edge, part in ((there, edge_l, hem[:13]), (here, edge_r, hem[:11:-1])):
        body = [*edge[k : knee + 1], *rows[k : knee + 1][::-1]]
        if length <= 1.02:
            body = [*edge[k:], *part, *rows[k:-1][::-1]]
        shapes.append((np.stack(body), atom(material, "upper-leg", side)))
        if length > 1.02:
            shapes.append((np.stack([*edge[knee:], *part, *rows[knee:-1][::-1]]), atom(material, "lower-leg", side)))
    folds, lines = [], []
    count = pleats or 3 + int(flare * 90)
    for i in range(count):
        g = (i + 0.5 + (0 if pleats else rng.uniform(-0.3, 0.3))) / count
        start = 0 if pleats else rng.integer(2, 8)
        line = edge_l + (edge_r - edge_l) * g
        line = np.concatenate([line[start:-1], hem[[round(g * 24)]]])
        folds.append((line, -0.75 if pleats else rng.uniform(-0.9, -0.3)))
        lines.append(line)
    return Skirt(shapes, folds, hem, lines)


def _down(joints: Sequence[np.ndarray], t: float) -> np.ndarray:
    hip, knee, ankle = joints
    return hip + min(t, 1.0) * (knee - hip) + max(t - 1, 0) * (ankle - knee)


def draw_skirt(w: Wearer, cloth: Fabric, waist: float, length: float, style: str) -> None:
    """A skirt: pencil, straight, full or pleated, with waistband and hem; a denim one with pockets."""
    flare = {"pencil": 0.0, "straight": 0.018, "full": 0.062, "pleated": 0.04}[style]
    cut = skirt(w, "skirt", waist, length, 0.004, flare, 13 if style == "pleated" else 0)
    w.easel.layer(cut.shapes, cloth, 0.055 * w.s, folds=cut.folds, cast=0.45)
    only = [a for _, a in cut.shapes]
    finish_hem(w, cloth, cut.hem, only)
    for line in cut.lines if style == "pleated" else ():
        w.seam(list(line), cloth, only, 0.35)
    c, u, h = torso_rows(w.fig, np.array([waist + 0.06]))
    w.seam([c[0] - u[0] * h[0] * 1.1, c[0] + np.array([0, 0.004 * w.s]), c[0] + u[0] * h[0] * 1.1], cloth, only, 0.55)
    if cloth.weave == "denim" and w.fig.facing:
        _waistband(w, "jeans", cloth, waist, only)


def finish_hem(w: Wearer, cloth: Fabric, hem: np.ndarray, only: Sequence[int]) -> None:
    """The sewn line above a hem."""
    w.easel.stroke(hem + np.array([0.0, -0.009 * w.s]), max(0.0024 * w.s, 1.0), cloth.ink, 0.35, only=only)
