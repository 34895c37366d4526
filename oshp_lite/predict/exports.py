"""Masks in the forms that other programs read and write: cut-outs, soft masks, COCO (RLE) and labelme JSON."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from oshp_lite.data.episode import IGNORE
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, read_image, read_json, read_mask

LABELME = "5.4.1"
"""The version of labelme's format that is written: its shapes of type "mask" keep every pixel."""

PAINTED = ("RGB", "RGBA", "LA", "PA", "1", "I", "I;16")
WHITE = 128
MOST_IDS = 24
"""A mask of more values from 0 to 255 is white on black with soft edges: no checkpoint tells so many classes apart."""


def read_photo(path: Path | str) -> np.ndarray:
    """A user's photo, uint8 [H,W,3] RGB, turned upright as its camera noted; see-through parts lie on white.

    Raises UserError as `files.read_image` does.
    """
    image = read_image(path, upright=True)
    with Image.open(path, formats=["PNG", "JPEG"]) as picture:
        if picture.has_transparency_data:
            layered = ImageOps.exif_transpose(picture).convert("RGBA")
            white = Image.new("RGBA", layered.size, "white")
            return np.array(Image.alpha_composite(white, layered).convert("RGB"))
    return image


def read_painted(path: Path) -> np.ndarray:
    """A mask uint8 [H,W] of ids as `files.read_mask` has it, or as a paint program saves it: then 0 and 255 alone.

    That is white on black in RGB, 1 or 16 bits, with soft edges or without (white from 128 on), or a cut-out, whose
    opaque part counts. Raises UserError as `read_mask`, and for a mask in colours.
    """
    try:
        mask = read_mask(path)
    except UserError:
        if path.suffix.lower() != ".png" or not path.is_file():
            raise
        bands = read_image(path)  # refuses what cannot be read
        with Image.open(path, formats=["PNG", "JPEG"]) as picture:
            if picture.mode not in PAINTED:
                raise
            mode = picture.mode
            if mode.startswith("I") and (ids := np.array(picture)).max() <= IGNORE:
                return ids.astype(np.uint8)
            alpha = np.array(picture.convert("RGBA"))[..., 3]
        if (alpha < IGNORE).any():
            return np.where(alpha >= WHITE, 255, 0).astype(np.uint8)
        if (bands != bands[..., :1]).any():
            raise UserError(
                f"mask {path} has colour mode {mode} and colours in it; paint the class white on black, or save an "
                "indexed or greyscale PNG whose values are the ids"
            ) from None
        mask = np.ascontiguousarray(bands[..., 0])
    values = np.unique(mask)
    if len(values) > MOST_IDS and values[0] == 0 and values[-1] == IGNORE:
        return np.where(mask >= WHITE, 255, 0).astype(np.uint8)
    return mask


def cutout(photo: np.ndarray, alpha: np.ndarray) -> bytes:
    """PNG bytes of a photo uint8 [H,W,3] with an alpha channel: bool [H,W], or float [H,W] in [0,1] for soft edges."""
    opaque = np.rint(np.asarray(alpha, np.float32) * 255).astype(np.uint8)
    return encode_png(np.dstack([photo, opaque]))


def soft_mask(chances: np.ndarray) -> bytes:
    """PNG bytes of a class's probabilities float [H,W], 0 black to 1 white."""
    return encode_png(np.rint(chances.astype(np.float32) * 255).astype(np.uint8))


def run_lengths(mask: np.ndarray) -> list[int]:
    """Lengths of the runs of a mask bool [H,W] column by column, zeros first (COCO's uncompressed RLE)."""
    flat = np.asarray(mask, bool).ravel(order="F")
    edges = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    return [0, *lengths] if flat.size and flat[0] else lengths


def pack(lengths: Sequence[int]) -> str:
    """Run lengths as the text that pycocotools reads: differences to the last but one, five bits a character."""
    text = []
    for place, length in enumerate(lengths):
        value, more = length - (lengths[place - 2] if place > 2 else 0), True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(48 + bits + 32 * more))
    return "".join(text)


def unpack(text: str) -> list[int]:
    """Run lengths from such a text. ValueError for a cut one."""
    lengths: list[int] = []
    value = shift = 0
    for sign in text:
        bits = ord(sign) - 48
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (1 << shift) if bits & 16 else 0
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the text ends within a number")
    return lengths


def from_run_lengths(lengths: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """The mask bool [H,W] of run lengths. ValueError where they do not fill it."""
    flat = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    if flat.size != size[0] * size[1]:
        raise ValueError(f"runs of {flat.size} pixels in all do not fill {size[1]}x{size[0]}")
    return flat.reshape(size, order="F")


def coco(items: Sequence[tuple[str, np.ndarray, Mapping[int, float]]], names: Mapping[int, str]) -> dict[str, Any]:
    """COCO's annotations of (file name, mask uint8 [H,W] of ids, confidence by id); one RLE a class and photo."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (file, mask, confidence) in enumerate(items, 1):
        images.append({"id": number, "file_name": file, "height": mask.shape[0], "width": mask.shape[1]})
        for index in names:
            own = mask == index
            if not own.any():
                continue
            rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
            box = [columns[0], rows[0], columns[-1] + 1 - columns[0], rows[-1] + 1 - rows[0]]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": index,
                    "segmentation": {"size": [*mask.shape], "counts": pack(run_lengths(own))},
                    "area": int(own.sum()),
                    "bbox": [int(value) for value in box],
                    "iscrowd": 0,
                    "score": round(confidence.get(index, 1.0), 4),
                }
            )
    return {
        "info": {"description": "parsed by oshp-lite"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in names.items()],
    }


def _coco_mask(content: Mapping[str, Any], photo: Path, size: tuple[int, int]) -> tuple[np.ndarray, dict[int, str]]:
    images = content["images"]
    own = [one for one in images if Path(str(one["file_name"])).name == photo.name] or (
        images if len(images) == 1 else []
    )
    if not own:
        raise UserError(f"holds no image named {photo.name}; export that photo's annotations")
    labels = {int(one["id"]): str(one["name"]) for one in content["categories"]}
    wrong = [index for index in labels if not 1 <= index < IGNORE]
    if wrong:
        raise UserError(f"has a category of id {wrong[0]}; ids must lie in 1..254")
    mask = np.zeros(size, np.uint8)
    for one in content["annotations"]:
        if one["image_id"] != own[0]["id"]:
            continue
        region = one["segmentation"]
        if isinstance(region, list):
            filled = _polygons([np.reshape(points, (-1, 2)) for points in region], size)
        else:
            counts = region["counts"]
            filled = from_run_lengths(unpack(counts) if isinstance(counts, str) else counts, size)
        mask[filled] = int(one["category_id"])
    return mask, {index: labels[index] for index in sorted(labels) if (mask == index).any()}


def labelme(file: str, mask: np.ndarray, names: Mapping[int, str]) -> dict[str, Any]:
    """labelme's annotation of one photo: a shape of type "mask" a class, which keeps holes and every pixel."""
    shapes: list[dict[str, Any]] = []
    for index, name in names.items():
        own = mask == index
        if not own.any():
            continue
        rows, columns = np.flatnonzero(own.any(1)), np.flatnonzero(own.any(0))
        top, bottom, left, right = (int(value) for value in (rows[0], rows[-1], columns[0], columns[-1]))
        part = encode_png(own[top : bottom + 1, left : right + 1].astype(np.uint8) * 255)
        shapes.append(
            {
                "label": name,
                "points": [[left, top], [right, bottom]],
                "group_id": None,
                "description": "",
                "shape_type": "mask",
                "flags": {},
                "mask": base64.b64encode(part).decode("ascii"),
            }
        )
    return {
        "version": LABELME,
        "flags": {},
        "shapes": shapes,
        "imagePath": file,
        "imageData": None,
        "imageHeight": mask.shape[0],
        "imageWidth": mask.shape[1],
    }


def _labelme_mask(content: Mapping[str, Any], size: tuple[int, int]) -> tuple[np.ndarray, dict[int, str]]:
    mask, ids = np.zeros(size, np.uint8), dict[str, int]()
    for shape in content["shapes"]:
        kind, points = shape["shape_type"], np.array(shape["points"], dtype=float)
        if kind == "polygon":
            filled = _polygons([points], size)
        elif kind == "rectangle":
            filled = _polygons(
                [np.array([points[0], [points[1][0], points[0][1]], points[1], [points[0][0], points[1][1]]])], size
            )
        elif kind == "mask":
            with Image.open(io.BytesIO(base64.b64decode(shape["mask"])), formats=["PNG"]) as part:
                inside = np.array(part.convert("L")) > 0
            left, top = (int(value) for value in points[0])
            filled = np.zeros(size, bool)
            place = filled[top : top + inside.shape[0], left : left + inside.shape[1]]
            place |= inside[: place.shape[0], : place.shape[1]]
        else:
            raise UserError(f"has a shape of type {kind!r}; polygon, rectangle and mask are read")
        mask[filled] = ids.setdefault(str(shape["label"]), len(ids) + 1)
    return mask, {index: name for name, index in ids.items() if (mask == index).any()}


def _polygons(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The inside of polygons, float [N,2] of x, y each: bool [H,W]."""
    canvas = Image.new("1", (size[1], size[0]))
    for points in polygons:
        ImageDraw.Draw(canvas).polygon([(float(x), float(y)) for x, y in points], fill=1)
    return np.array(canvas)


def read_support_mask(
    path: Path, photo: Path, size: tuple[int, int], known: Mapping[int, str] | None = None
) -> tuple[np.ndarray, dict[int, str]]:
    """The mask uint8 [H,W] of a support photo and its classes' names: a PNG of ids, COCO JSON or labelme JSON.

    size: the photo's height and width; known: names of earlier supports, whose ids a JSON's equal names take. A PNG
    (`read_painted`) names nothing. Raises UserError for a file that is none of them or does not fit the photo.
    """
    if path.suffix.lower() != ".json":
        return read_painted(path), {}
    content = read_json(path)
    try:
        if "shapes" in content:
            tall, wide = int(content["imageHeight"]), int(content["imageWidth"])
            if (tall, wide) != size:
                raise UserError(f"is for a photo of {wide}x{tall} pixels, {photo.name} has {size[1]}x{size[0]}")
            mask, names = _labelme_mask(content, size)
        elif "annotations" in content:
            mask, names = _coco_mask(content, photo, size)
        else:
            raise UserError("is neither COCO nor labelme JSON")
    except UserError as error:
        raise UserError(f"mask {path} {error}") from None
    except (KeyError, TypeError, ValueError, IndexError, OSError) as error:
        raise UserError(f"mask {path} is not a usable COCO or labelme JSON ({type(error).__name__}: {error})") from None
    taken = {name: index for index, name in (known or {}).items()}
    free = (index for index in range(1, IGNORE) if index not in taken.values())
    same = {
        old: taken[name] if name in taken else (old if old not in taken.values() else next(free))
        for old, name in names.items()
    }
    moved = mask.copy()
    for old, new in same.items():
        moved[mask == old] = new
    return moved, {same[old]: name for old, name in names.items()}


def json_bytes(value: Any) -> bytes:
    """Compact JSON, UTF-8."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
