"""Masks, heat maps and photos turned into plain RGB arrays: no figure needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.labels import LabelSpace

RGB = NDArray[np.uint8]
Pixels = Tensor | NDArray[Any]
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def to_array(values: Pixels) -> NDArray[Any]:
    """A NumPy view of a tensor (detached, on the CPU) or the array itself."""
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def to_rgb(image: Pixels, channels: str = "rgb") -> RGB:
    """A photo as uint8 [H,W,3]: from the same, or from float [3,H,W] in [-1,1] as an Episode holds it (clipped).

    `channels` is the order of the incoming channels, "rgb" or "bgr". Raises ValueError for anything else.
    """
    if channels not in ("rgb", "bgr"):
        raise ValueError(f"channels must be 'rgb' or 'bgr', not {channels!r}")
    array = to_array(image)
    if array.dtype == np.uint8 and array.ndim == 3 and array.shape[2] == 3:
        rgb = array
    elif np.issubdtype(array.dtype, np.floating) and array.ndim == 3 and array.shape[0] == 3:
        rgb = np.rint((np.clip(array, -1, 1).transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
    else:
        raise ValueError(f"a photo is uint8 [H,W,3] or float [3,H,W], not {array.dtype} {list(array.shape)}")
    return np.ascontiguousarray(rgb[:, :, ::-1] if channels == "bgr" else rgb)


def grey(image: Pixels, white: float = 0.0, *, channels: str = "rgb") -> RGB:
    """A photo (see `to_rgb`) without its colours, uint8 [H,W,3], faded towards white by `white` in [0,1].

    Colours laid over it are then the only ones. Raises ValueError when white is out of range.
    """
    if not 0.0 <= white <= 1.0:
        raise ValueError(f"white must lie in [0, 1], not {white}")
    values = to_rgb(image, channels).astype(np.float32) @ _LUMINANCE
    return np.rint(np.repeat(((1 - white) * values + white * 255)[:, :, None], 3, 2)).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Colours:
    """What a mask's ids look like and are called: `palette` uint8 [256,3] and `names` by id."""

    palette: RGB
    names: Mapping[int, str]


Space = LabelSpace | Colours
"""What gives a mask colours and names; a label space stands for `kept` of it."""


def raw(space: LabelSpace) -> Colours:
    """Colours and names of a label space's raw ids, for masks before the merge ("left shoe" and "right shoe")."""
    return Colours(space.palette, dict(enumerate(space.names)))


def kept(space: LabelSpace) -> Colours:
    """Colours and names of a label space's kept ids, for masks after the merge ("shoes")."""
    names = {**dict(enumerate(space.names)), **dict(zip(space.classes, space.class_names, strict=True))}
    return Colours(space.class_palette, names)


def name_of(space: Space, class_id: int) -> str:
    """Name of an id: of the kept class in a label space, or as `raw` or `kept` say."""
    return (kept(space) if isinstance(space, LabelSpace) else space).names[class_id]


def palette_of(colours: Space | NDArray[Any]) -> RGB:
    """The palette of a label space (kept ids), of `Colours`, or itself. Raises ValueError unless it is [256,3]."""
    if isinstance(colours, LabelSpace):
        colours = colours.class_palette
    palette = np.asarray(colours.palette if isinstance(colours, Colours) else colours, dtype=np.uint8)
    if palette.shape != (256, 3):
        raise ValueError(f"a palette is uint8 [256,3], not {list(palette.shape)}")
    return palette


def mask_to_rgb(mask: Pixels, colours: Space | NDArray[Any]) -> RGB:
    """Paint a mask of ids 0..255, integer [H,W], with a palette (see `palette_of`): uint8 [H,W,3]."""
    array = to_array(mask)
    if array.ndim != 2:
        raise ValueError(f"a mask is [H,W], not {list(array.shape)}")
    return palette_of(colours)[array.astype(np.uint8)]


def outlines(mask: Pixels) -> NDArray[np.bool_]:
    """Mark the pixels whose right or lower neighbour holds another id: bool [H,W]."""
    array = to_array(mask)
    edge = np.zeros(array.shape, dtype=bool)
    edge[:, :-1] |= array[:, 1:] != array[:, :-1]
    edge[:-1, :] |= array[1:, :] != array[:-1, :]
    return edge


BAND = 256
"""Rows of a photo that are mixed with colours at a time: floating-point numbers take room."""


def overlay(
    image: Pixels,
    mask: Pixels,
    colours: Space | NDArray[Any],
    alpha: float = 0.6,
    *,
    channels: str = "rgb",
    edges: bool = True,
) -> RGB:
    """Lay a mask, integer [H,W] of ids, over its photo (see `to_rgb`): uint8 [H,W,3].

    colours palette uint8 [256,3], a label space (kept ids), or `raw(space)` for a mask before the merge
    alpha   weight of the colour in [0,1]; pixels of id 0 keep the photo
    edges   draw a thin dark line between regions, so that the parts stay apart in a grey print

    Raises ValueError when sizes differ or alpha is out of range.
    """
    if not 0.0 <= alpha <= 1.0:
        raise ValueError(f"alpha must lie in [0, 1], not {alpha}")
    photo, ids = to_rgb(image, channels), to_array(mask)
    if photo.shape[:2] != ids.shape:
        raise ValueError(f"photo {list(photo.shape[:2])} and mask {list(ids.shape)} differ in size")
    result, dark = np.empty(photo.shape, np.uint8), outlines(ids)
    for top in range(0, len(ids), BAND):
        rows = slice(top, top + BAND)
        plain, own = photo[rows].astype(np.float32), ids[rows]
        mixed = np.where((own > 0)[:, :, None], (1 - alpha) * plain + alpha * mask_to_rgb(own, colours), plain)
        if edges:
            mixed[dark[rows]] *= 0.25
        result[rows] = np.rint(mixed)
    return result


def enlarge(values: Pixels, size: tuple[int, int]) -> NDArray[Any]:
    """Resize a map [h,w] to `size` = (height, width) by the nearest value; the dtype stays."""
    array = to_array(values)
    rows, columns = (np.arange(size[axis]) * array.shape[axis] // size[axis] for axis in (0, 1))
    return array[rows[:, None], columns]


def heat_on_photo(image: Pixels, heat: Pixels, *, low: float | None = None, high: float | None = None) -> RGB:
    """Lay a heat map, float [h,w] of any size, over a grey version of its photo (see `to_rgb`): uint8 [H,W,3].

    low, high are the values drawn darkest and brightest, by default the map's own extremes; the colours (magma) grow
    steadily lighter, so that the map survives a grey print.
    """
    photo = grey(image).astype(np.float32)
    values = enlarge(heat, photo.shape[:2]).astype(np.float32)
    low = float(np.nanmin(values)) if low is None else low
    high = float(np.nanmax(values)) if high is None else high
    scaled = np.clip((values - low) / max(high - low, 1e-12), 0.0, 1.0)
    coloured = matplotlib.colormaps["magma"](scaled)[:, :, :3] * 255.0
    alpha = 0.7
    return np.rint((1 - alpha) * photo + alpha * coloured).astype(np.uint8)
