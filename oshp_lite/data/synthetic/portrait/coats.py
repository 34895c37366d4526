"""Coats and jackets of version 5, worn over everything: open or closed, with lapels, buttons, zips and pockets."""

# Points of an outline are easier to read side by side than one to a line.
# fmt: off

from __future__ import annotations

from math import sin

import numpy as np

from oshp_lite.data.synthetic.atoms import atom
from oshp_lite.data.synthetic.body import torso_rows
from oshp_lite.data.synthetic.outlines import strip, unit
from oshp_lite.data.synthetic.portrait.bottoms import Skirt, finish_hem, skirt
from oshp_lite.data.synthetic.portrait.clothes import (
    Cut,
    Wearer,
    collar_flaps,
    collar_tube,
    neckline,
    trunk_folds,
)
from oshp_lite.data.synthetic.portrait.fabrics import Fabric
from oshp_lite.data.synthetic.portrait.frame import torso_strip
from oshp_lite.data.synthetic.raster import Shape

METAL = np.array([186.0, 186, 190])
GOLD = np.array([202.0, 172, 104])


class Coat:
    """One coat on one wearer; `open_` is the half-width of the gap at the chest (statures, 0 closed)."""

    def __init__(self, w: Wearer, cut: Cut, cloth: Fabric, open_: float) -> None:
        self.w, self.cut, self.cloth, self.open = w, cut, cloth, open_
        self.a = atom("coat", "torso")
        self.tail: Skirt | None = None
        if cut.hem > 1.04:
            self.tail = skirt(w, "coat", 0.62, cut.hem - 1, cut.ease, 0.022, 0)

    def behind(self) -> None:
        """The inside of the back, seen between the legs."""
        if self.tail is not None and (self.open or not self.w.fig.facing):
            self.w.easel.layer(self.tail.shapes, self.cloth.shaded(0.5), 0.05 * self.w.s, cast=0.0)

    def _gap(self, v: float) -> float:
        return self.open * float(np.interp(v, [0.0, 0.3, 0.75, 1.3], [0.55, 0.8, 1.0, 1.25]))

    def front(self) -> None:
        """Both fronts with everything on them."""
        w, cut, cloth, s = self.w, self.cut, self.cloth, self.w.s
        v1 = min(cut.hem, 1.03)
        t = np.linspace(0, 1, 16)
        ease = cut.ease * np.linspace(0.35, 1.0, 16)
        if cut.kind == "puffer":
            ease = ease + 0.004 * np.abs(np.sin(t * v1 * np.pi * 0.366 * 170 / 8.5))
        shapes: list[Shape] = [(torso_strip(w.fig, t * v1, ease), self.a)]
        if cut.kind == "puffer":
            shapes.append((collar_tube(w, 0.046, 0.42), self.a))
        folds = trunk_folds(w, 0.3, v1, 6, 0.7)
        bottom = v1
        if self.tail is not None:
            shapes += self.tail.shapes
            folds += self.tail.folds
        low = w.mid(bottom) + np.array([0, 0.02 * s])
        if self.tail is not None:
            low = np.array([self.tail.hem[12][0], self.tail.hem[:, 1].max() + 2]) + w.across * sin(w.fig.yaw) * 0.02 * s
        if w.fig.facing:
            if self.open:
                shapes.append((self._opening(low), 0))
            else:
                hole = neckline(w, "v" if cut.neck in ("lapel", "v") else "crew")
                if hole is not None:
                    shapes.append((hole, 0))
        else:
            hole = neckline(w, "crew")
            if hole is not None:
                shapes.append((hole, 0))
        w.easel.layer(shapes, cloth, 0.06 * s, folds=folds, cast=0.55)
        only = [a for _, a in shapes if a]
        if self.tail is not None:
            finish_hem(w, cloth, self.tail.hem, only)
        if w.fig.facing:
            self._details(only, v1, low)

    def _opening(self, low: np.ndarray) -> np.ndarray:
        w, s = self.w, self.w.s
        x = w.across * s
        vs = (-0.06, 0.0, 0.15, 0.3, 0.5, 0.75, 0.95)
        mids = [w.mid(v) for v in vs] + [low]
        gaps = [self._gap(v) for v in vs] + [self._gap(1.3)]
        right, left = (np.stack([m + x * d * g for m, g in zip(mids, gaps, strict=True)]) for d in (1, -1))
        return strip(right, left)

    def _edge(self, v: float, d: float, more: float = 0.0) -> np.ndarray:
        """A point beside the opening, `more` statures away from it."""
        return self.w.mid(v, d * (self._gap(v) + more))

    def _details(self, only: list[int], v1: float, low: np.ndarray) -> None:
        w, cut, cloth, s = self.w, self.cut, self.cloth, self.w.s
        if not self.open:
            w.seam([w.mid(0.16 if cut.neck == "lapel" else 0.06, 0.004), w.mid(v1 - 0.02, 0.004), low], cloth, only,
                0.75)
        if cut.neck == "lapel":
            self._lapels(0.5 if cut.kind in ("blazer", "overcoat") else 0.36)
        elif cut.neck == "collar":
            collar_flaps(w, cloth, self.a, 0.14, max(self._gap(0.1), 0.01) + 0.03, 0.016)
        elif cut.neck == "v":
            for d in (-1, 1):
                w.seam([self._edge(v, d, 0.012) for v in (0.02, 0.2, 0.4, 0.6, v1)], cloth, only, 0.7)
        horn = cloth.ink if cloth.colour.mean() > 70 else np.array([96.0, 92, 90])
        if cut.kind in ("blazer", "overcoat", "cardigan", "trench"):
            rows = {"blazer": (0.56, 0.68), "cardigan": (0.45, 0.58, 0.71, 0.84)}.get(cut.kind,
                (0.48, 0.62, 0.78, 0.94))
            for v in rows:
                w.button(self._edge(v, 1, 0.010), horn, 0.006)
                if cut.kind == "trench":
                    w.button(self._edge(v, -1, 0.030), horn, 0.006)
        if cut.kind in ("blazer", "overcoat", "trench", "cardigan"):
            for d in (-1, 1):
                flap = [self._edge(0.80, d, 0.022), self._edge(0.79, d, 0.062), self._edge(0.83, d, 0.062),
                    self._edge(0.84, d, 0.022)]
                if min(abs(float((p - w.mid(0.8)) @ unit(w.across))) for p in flap) < 0.11 * s:
                    w.seam([*flap, flap[0]], cloth, only, 0.75)
        if cut.kind == "blazer":
            w.easel.stroke(np.stack([self._edge(0.36, 1, 0.04), self._edge(0.345, 1, 0.062)]), 0.006 * s, cloth.ink,
                0.5, only=only)
        if cut.kind in ("puffer", "leather jacket"):
            for d in (-1, 1) if self.open else (1,):
                zip_ = np.stack([self._edge(v, d, 0.004) for v in np.linspace(0.10, v1 - 0.01, 8)])
                w.easel.stroke(zip_, 0.006 * s, (52, 52, 56), 0.9, only=only)
                w.easel.stroke(zip_, 0.0024 * s, METAL, 0.95, only=only)
            for d in (-1, 1):
                pocket = np.stack([self._edge(0.56, d, 0.05), self._edge(0.70, d, 0.036)])
                w.easel.stroke(pocket, 0.005 * s, cloth.ink, 0.85, only=only)
        if cut.kind == "denim jacket":
            self._denim(only, v1)
        if cut.kind == "trench":
            self._belt()

    def _lapels(self, depth: float) -> None:
        w, s, cloth = self.w, self.w.s, self.cloth
        c = torso_rows(w.fig, np.array([0.0]))[0][0]
        x, up = w.across * s, -unit(w.fig.at("crotch") - w.fig.at("neck")) * s
        for d in (-1.0, 1.0):
            g = 0.0 if not self.open else 1.0
            root = c + x * 0.036 * d + up * 0.022
            tip = self._edge(depth, d * g if g else 0.0, 0.0) if g else w.mid(min(depth, 0.3) + 0.1, 0.004 * d)
            inner = [root, (root + tip) / 2 + x * 0.004 * d, tip]
            wide = 0.058 if depth > 0.4 else 0.05
            peak = (root * 0.62 + tip * 0.38) + x * wide * d
            notch = (root * 0.68 + tip * 0.32) + x * (wide - 0.018) * d
            collar = [root, notch, root * 0.76 + tip * 0.24 + x * (wide + 0.004) * d, c + x * 0.066 * d + up * 0.004]
            lapel = np.stack([*inner, (tip + peak) / 2 + x * 0.012 * d, peak, notch])
            w.easel.layer([(lapel, self.a)], cloth.shaded(1.05), 0.018 * s, depth=0.7, rim=0.3, cast=0.5)
            w.easel.layer([(np.stack(collar), self.a)], cloth.shaded(0.97), 0.014 * s, depth=0.7, rim=0.3, cast=0.35)

    def _denim(self, only: list[int], v1: float) -> None:
        w, cloth = self.w, self.cloth
        w.seam([w.mid(0.26, -0.13), w.mid(0.28), w.mid(0.26, 0.13)], cloth, only, 0.6)
        for d in (-1, 1):
            g = self._gap(0.3)
            box = [w.mid(0.28, d * (g + 0.022)), w.mid(0.28, d * (g + 0.062)), w.mid(0.34, d * (g + 0.062)),
                w.mid(0.37, d * (g + 0.042)), w.mid(0.34, d * (g + 0.022)), w.mid(0.28, d * (g + 0.022))]
            w.seam(box, cloth, only, 0.8)
            w.stitch(np.stack([self._edge(v, d, 0.012) for v in np.linspace(0.12, v1, 8)]), only)
            w.seam([w.mid(0.4, d * (g + 0.03)), w.mid(v1 - 0.06, d * (g + 0.02))], cloth, only, 0.5)
        w.seam([w.mid(v1 - 0.05, -0.14), w.mid(v1 - 0.045), w.mid(v1 - 0.05, 0.14)], cloth, only, 0.8)
        for v in np.arange(0.16, v1, 0.12).tolist():
            w.button(self._edge(v, 1, 0.006), GOLD, 0.0045)

    def _belt(self) -> None:
        """The cloth belt of a trench coat, with its buckle; it hangs loose on an open one."""
        w, s, cloth = self.w, self.w.s, self.cloth
        c, u, h = torso_rows(w.fig, np.array([0.60, 0.665]))
        r = (h + (self.cut.ease * 0.8 + 0.003) * s)[:, None]
        band = strip(c + u * r, c - u * r)
        shapes: list[Shape] = [(band, self.a)]
        if self.open:
            x = w.across * s
            hole = [w.mid(v) + x * d * self._gap(v) for v, d in ((0.55, -1), (0.55, 1), (0.72, 1), (0.72, -1))]
            shapes.append((np.stack(hole), 0))
        w.easel.layer(shapes, cloth.shaded(0.93), 0.016 * s, depth=0.8, rim=0.3, cast=0.4)
        if not self.open:
            at = w.mid(0.632, 0.01)
            box = np.stack([at + w.across * a * s + np.array([0, b * s]) for a,
                b in ((-0.012, -0.013), (0.012, -0.013), (0.012, 0.013), (-0.012, 0.013), (-0.012, -0.013))])
            w.easel.stroke(box, 0.005 * s, (92, 72, 52), 0.95, only=[self.a])
