"""Outlines: smooth closed curves through a few control points, and tapered limbs.

All coordinates are pixels, float64 [n, 2] as (x, y), y downwards.
"""

from __future__ import annotations

from functools import cache

import numpy as np


@cache
def _spline_matrix(n: int, per: int, closed: bool) -> np.ndarray:
    """Catmull-Rom as a matrix [samples, n]: the curve is this times the control points."""
    spans = n if closed else n - 1
    rows = np.zeros((spans * per + (0 if closed else 1), n))
    for s in range(spans):
        for j in range(per):
            t = j / per
            w = (-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3)
            for k, weight in enumerate(w):
                i = s + k - 1
                i = i % n if closed else min(max(i, 0), n - 1)
                rows[s * per + j, i] += weight / 2
    if not closed:
        rows[-1, -1] = 1.0
    return rows


def smooth(points: np.ndarray, per: int = 4) -> np.ndarray:
    """A closed Catmull-Rom curve through the control points [n, 2], `per` samples to a span."""
    return _spline_matrix(len(points), per, True) @ points


@cache
def _circle(n: int) -> np.ndarray:
    a = np.arange(n) * (2 * np.pi / n)
    return np.stack([np.cos(a), np.sin(a)], 1)


@cache
def _steps(n: int) -> np.ndarray:
    return np.linspace(0.0, 1.0, n)


def ellipse(center: np.ndarray, rx: float, ry: float, angle: float = 0.0, n: int = 20) -> np.ndarray:
    """An ellipse as a polygon [n, 2]; `angle` in radians turns it clockwise on the picture."""
    p = _circle(n) * (rx, ry)
    if angle:
        c, s = np.cos(angle), np.sin(angle)
        p = p @ np.array([[c, s], [-s, c]])
    return p + center


def unit(v: np.ndarray) -> np.ndarray:
    """The vector made one long (a zero vector becomes 'down')."""
    length = float(np.hypot(v[0], v[1]))
    return v / length if length > 1e-6 else np.array([0.0, 1.0])


def across(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The unit vector across the line a -> b, to its right on the picture when it runs upwards-down reversed."""
    d = unit(b - a)
    return np.array([d[1], -d[0]])


def limb(
    a: np.ndarray, b: np.ndarray, radii: np.ndarray, t0: float = 0, t1: float = 1, bow: float = 0, hem: float = 0
) -> np.ndarray:
    """A tapered strip along a -> b between the fractions t0 and t1, as a polygon.

    `radii` holds half-widths in pixels at equal steps from a to b; `bow` bends the axis sideways (pixels); `hem` lets
    the far end bulge along the axis (pixels), as the round opening of a sleeve or trouser leg does.
    """
    fine = _spline_matrix(len(radii), 3, False) @ radii
    t = t0 + (t1 - t0) * _steps(9)
    r = np.interp(t, _steps(len(fine)), fine)
    n = across(a, b)
    axis = a + t[:, None] * (b - a) + (bow * np.sin(np.pi * t))[:, None] * n
    left, right = axis + n * r[:, None], axis - n * r[:, None]
    if hem:
        down = unit(b - a) * hem
        tip = axis[-1] + down
        left = np.stack([*left, (left[-1] + tip) / 2 + down * 0.3, tip, (right[-1] + tip) / 2 + down * 0.3])
    return strip(left, right)


def strip(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The polygon between two edges, both running the same way."""
    return np.concatenate([left, right[::-1]])
