"""Photos of single objects, drawn: what ordinary one-shot segmentation is about, for comparison with people."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, sin

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.synthetic.backgrounds import background
from oshp_lite.data.synthetic.camera import photograph
from oshp_lite.data.synthetic.outlines import ellipse, smooth
from oshp_lite.data.synthetic.raster import Canvas, Shape
from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import cloth

Part = list[Shape]


def _boat() -> list[Part]:
    """Hull, mast and two sails in a frame of [-1,1] x [-1,1], y downwards."""
    hull = np.array([(-0.95, 0.35), (-0.7, 0.8), (0.6, 0.8), (0.95, 0.3)])
    mast = np.array([(-0.04, -0.95), (0.03, -0.95), (0.03, 0.4), (-0.04, 0.4)])
    main = smooth(np.array([(0.05, -0.9), (0.62, -0.25), (0.8, 0.2), (0.05, 0.24)]), 3)
    fore = smooth(np.array([(-0.07, -0.75), (-0.07, 0.22), (-0.72, 0.2), (-0.4, -0.3)]), 3)
    return [[(mast, 1)], [(main, 1)], [(fore, 1)], [(hull, 1)]]


def _fish() -> list[Part]:
    """Body, tail, fin and eye."""
    body = smooth(np.array([(-0.95, 0.05), (-0.5, -0.42), (0.2, -0.42), (0.62, 0.0), (0.2, 0.45), (-0.5, 0.42)]), 5)
    tail = np.array([(0.5, 0.0), (0.98, -0.5), (0.86, 0.0), (0.98, 0.5)])
    fin = np.array([(-0.3, -0.38), (0.1, -0.75), (0.25, -0.36)])
    eye = ellipse(np.array([-0.6, -0.08]), 0.06, 0.06)
    return [[(tail, 1)], [(fin, 1)], [(body, 1)], [(eye, 1)]]


def _mug() -> list[Part]:
    """Handle (a ring) and body."""
    ring: Part = [(ellipse(np.array([0.5, 0.05]), 0.42, 0.45), 1), (ellipse(np.array([0.5, 0.05]), 0.24, 0.27), 0)]
    body = np.array([(-0.75, -0.7), (0.5, -0.7), (0.42, 0.78), (-0.66, 0.78)])
    rim = ellipse(np.array([-0.125, -0.7]), 0.625, 0.14)
    return [ring, [(body, 1), (rim, 1)]]


_SHAPES: dict[str, Callable[[], list[Part]]] = {"boat": _boat, "fish": _fish, "mug": _mug}
OBJECTS = tuple(_SHAPES)
"""The objects that can be drawn."""


def object_scene(kind: str, seed: int, index: int, size: int = 128) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Draw one object in a place: photo uint8 [size,size,3] and its 0/1 mask uint8 [size,size].

    The object fills about two thirds of the photo's width, by choice: intact, salient, alone. The same for the same
    (kind, seed, index). Raises ValueError for an unknown kind.
    """
    if kind not in _SHAPES:
        raise ValueError(f"there is no object called {kind!r}; choose one of {', '.join(OBJECTS)}")
    rng = Rng("object", kind, seed, index)
    place = background(Rng("object place", kind, seed, index), size, size)
    angle = rng.uniform(-2.6, -0.5)
    canvas = Canvas(place, (cos(angle), sin(angle)))
    canvas.person = 1
    reach = rng.uniform(0.3, 0.38) * size
    turn, flip = rng.uniform(-0.15, 0.15), rng.pick((-1.0, 1.0))
    turned = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])
    centre = np.array([rng.uniform(0.44, 0.56), rng.uniform(0.46, 0.56)]) * size
    for part in _SHAPES[kind]():
        placed = [((points * (flip, 1.0)) @ turned * reach + centre, code) for points, code in part]
        canvas.layer(placed, cloth(rng, size), soft=0.04 * size)
    return photograph(canvas.image, Rng("object camera", kind, seed, index), 0.2), canvas.masks()[1]
