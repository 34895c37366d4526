"""Colours for overlays that colour-blind readers can tell apart, and hatching for those who see no colour at all."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from oshp_lite import viz
from oshp_lite.labels import IGNORE, LabelSpace

SAFE = (
    *("#449999", "#771100", "#0000ff", "#eeee00", "#aaee77", "#ff99ff"),
    *("#443344", "#cc7700", "#889966", "#00ffcc", "#990099", "#aa55ff"),
)
"""Twelve colours whose smallest CIELAB distance is 30, as seen with any of the three colour deficiencies or none.

Chosen by search over the RGB cube; the test measures the distance under Machado's simulations (2009) at full severity.
"""
ERRORS = {"missed": "#cc3311", "false": "#33bbee", "confused": "#000000"}
"""Kinds of error of a parse: a class taken for background, background for a class, one class for another.

None is the colour of a class (`SAFE`).
"""

Mask = NDArray[np.integer]


def rgb(colour: str) -> tuple[int, int, int]:
    """Turn "#rrggbb" into red, green, blue in 0..255."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def safe_colours(space: LabelSpace) -> dict[int, str]:
    """Return "#rrggbb" by kept foreground id; with more than twelve classes colours repeat and the hatching differs."""
    return {class_id: SAFE[place % len(SAFE)] for place, class_id in enumerate(space.foreground_classes)}


def safe_space(space: LabelSpace) -> viz.Colours:
    """Return a label space's kept ids in the safe colours, for the functions of `oshp_lite.viz`."""
    palette = space.class_palette.copy()
    for class_id, colour in safe_colours(space).items():
        palette[class_id] = rgb(colour)
    return viz.Colours(palette, viz.kept(space).names)


def hatch(picture: NDArray[np.uint8], mask: Mask, classes: tuple[int, ...], spacing: int = 8) -> NDArray[np.uint8]:
    """Draw each class's own stripes over it: uint8 [H,W,3] of the same and an integer mask [H,W] of ids.

    Eight slopes and spacings, by the class's place in `classes`; stripes are dark on light and light on dark ground.
    """
    rows, columns = np.indices(mask.shape)
    fields = (rows + columns, rows - columns, rows, columns)
    marked = picture.astype(np.float32)
    for place, class_id in enumerate(classes):
        step = spacing if place % 8 < 4 else 2 * spacing
        stripe = (mask == class_id) & (fields[place % 4] % step < max(1, spacing // 5))
        light = marked[stripe].mean(-1, keepdims=True)
        marked[stripe] = np.where(light > 127, 0.35 * marked[stripe], 0.35 * marked[stripe] + 165)
    return np.rint(marked).astype(np.uint8)


def laid_over(
    photo: NDArray[np.uint8], mask: Mask, space: LabelSpace, opacity: float, *, hatched: bool = False
) -> NDArray[np.uint8]:
    """Lay a mask, integer [h,w] of kept ids, over its photo uint8 [H,W,3] in the safe colours; uint8 [H,W,3]."""
    full = viz.enlarge(mask, photo.shape[:2])
    made = viz.overlay(photo, np.where(full == IGNORE, 0, full), safe_space(space), opacity)
    return hatch(made, full, space.foreground_classes) if hatched else made
