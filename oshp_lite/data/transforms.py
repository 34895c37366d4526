"""Joint changes of an image, its class mask and its foreground mask, from native size to the network's input.

Three presets. `paper` is the official training augmentation (facts A.8): mirror, scale width and height, crop or pad
on the right and bottom. `mild` is for small images: the photo is shrunk to fit the target rectangle (its shape kept,
the rest padded around it), then a little scale, shift, mirroring and colour. `none` only fits. Images stay uint8 until
`to_tensors`, which maps them to [-1, 1]; padding is black, i.e. -1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from oshp_lite.data.dataset import Sample
from oshp_lite.data.episode import IGNORE

Size = tuple[int, int]
Preset = Literal["paper", "mild", "none"]
Channels = Literal["rgb", "bgr"]


@dataclass(frozen=True)
class Recipe:
    """How training samples are changed; the names and values are those of `engine.config.DataConfig`.

    `size` is the height and width handed to the network. `pad_label` is what masks hold where the photo has no
    pixels: 0 as the official code does, 255 to ignore them.
    """

    preset: Preset = "mild"
    size: Size = (128, 128)
    pad_label: int = IGNORE
    pre_resize: int | None = None
    scale: Literal["independent", "joint"] = "joint"
    jitter: float = 0.0


def as_size(size: int | tuple[int, int]) -> Size:
    """[height, width] from one number or two."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def mirrored(sample: Sample) -> Sample:
    """Turn a sample left to right. Its mask must not tell left from right (merged ids never do)."""
    return Sample(*(np.ascontiguousarray(array[:, ::-1]) for array in (sample.image, sample.mask, sample.foreground)))


def augment(read: Callable[[bool], Sample], recipe: Recipe, rng: np.random.Generator) -> Sample:
    """A training sample of exactly `recipe.size`, changed by chance drawn from `rng`.

    `read(flip)` returns the native sample, or that of the mirrored photo (left and right ids exchanged).
    """
    if recipe.preset == "none":
        return fit(read(False), recipe.size, recipe.pad_label)
    flip = bool(rng.random() < 0.5)
    if recipe.preset == "paper":  # reads the mirror image's own label file
        return _paper(read(flip), recipe, rng)
    return _mild(mirrored(read(False)) if flip else read(False), recipe, rng)


def _paper(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Scale width and height in [0.5, 2] of the native size, then crop or pad on the right and bottom (facts A.8)."""
    if recipe.pre_resize is not None:
        sample = resize(sample, (recipe.pre_resize, recipe.pre_resize))
    wide = rng.uniform(0.5, 2.0)
    high = wide if recipe.scale == "joint" else rng.uniform(0.5, 2.0)
    height, width = sample.size
    scaled = max(1, int(height * high)), max(1, int(width * wide))
    spare = scaled[0] - recipe.size[0], scaled[1] - recipe.size[1]
    left = int(rng.integers(0, spare[1] + 1)) if spare[1] > 0 else 0
    top = int(rng.integers(0, spare[0] + 1)) if spare[0] > 0 else 0
    return place(sample, scaled, recipe.size, (-top, -left), recipe.pad_label)


def _mild(sample: Sample, recipe: Recipe, rng: np.random.Generator) -> Sample:
    """Fit into the target, scale by 0.8 to 1.25, shift by up to 8 % of the target, change colours a little."""
    height, width = sample.size
    base = min(recipe.size[0] / height, recipe.size[1] / width)
    high = base * np.exp(rng.uniform(np.log(0.8), np.log(1.25)))
    wide = high * (1.0 if recipe.scale == "joint" else np.exp(rng.uniform(-0.1, 0.1)))
    scaled = max(1, round(height * high)), max(1, round(width * wide))

    def shifted(inner: int, outer: int) -> int:
        reach = max(inner - outer, 0) / 2 + 0.08 * outer
        return round((outer - inner) / 2 + rng.uniform(-reach, reach))

    offset = shifted(scaled[0], recipe.size[0]), shifted(scaled[1], recipe.size[1])
    sample = place(sample, scaled, recipe.size, offset, recipe.pad_label)
    return Sample(_recoloured(sample.image, recipe.jitter, rng), sample.mask, sample.foreground)


def _recoloured(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Change brightness, contrast and saturation by up to +-`strength` each; black padding stays black."""
    if strength <= 0:
        return image
    bright, contrast, saturation = 1 + rng.uniform(-strength, strength, 3)
    values = image.astype(np.float32)
    grey = values.mean(2, keepdims=True)
    values = grey + saturation * (values - grey)
    values = bright * (contrast * values + (1 - contrast) * grey.mean())
    values[~image.any(2)] = 0
    return np.clip(values, 0, 255).astype(np.uint8)


def fit(sample: Sample, size: Size, pad_label: int = IGNORE) -> Sample:
    """Shrink or enlarge a photo so that it just fits `size` (its shape kept), centred on black."""
    scaled, offset = fitting(sample.size, size)
    return place(sample, scaled, size, offset, pad_label)


def fitting(native: Size, size: Size) -> tuple[Size, Size]:
    """The scaled height and width of a photo that fits `size`, and its top left corner there."""
    factor = min(size[0] / native[0], size[1] / native[1])
    scaled = tuple(min(outer, max(1, round(inner * factor))) for inner, outer in zip(native, size, strict=True))
    offset = tuple((outer - inner) // 2 for inner, outer in zip(scaled, size, strict=True))
    return (scaled[0], scaled[1]), (offset[0], offset[1])


def resize(sample: Sample, size: Size) -> Sample:
    """Resize image (bilinear, antialiased) and masks (nearest) to `size` without regard to shape."""
    return place(sample, size, size, (0, 0), 0)


def place(sample: Sample, scaled: Size, size: Size, offset: Size, pad_label: int) -> Sample:
    """Scale a sample to `scaled` and show it through a window of `size` with its top left corner at `offset`.

    Negative offsets crop, positive ones pad. Images are resampled bilinearly with antialiasing, masks by nearest.
    """
    source, target = zip(*(_overlap(*triple) for triple in zip(scaled, size, offset, strict=True)), strict=True)

    def seen(array: np.ndarray, how: Image.Resampling, padding: int) -> np.ndarray:
        if array.shape[:2] != scaled:
            array = np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(scaled[::-1], how))
        if scaled == size and offset == (0, 0):
            return array
        window = np.full((*size, *array.shape[2:]), padding, np.uint8)
        window[target] = array[source]
        return window

    masks = (seen(mask, Image.Resampling.NEAREST, pad_label) for mask in (sample.mask, sample.foreground))
    return Sample(seen(sample.image, Image.Resampling.BILINEAR, 0), *masks)


def _overlap(inner: int, outer: int, offset: int) -> tuple[slice, slice]:
    """Which part of a scaled side is seen, and where it lands in the window."""
    start, stop = max(0, offset), min(outer, offset + inner)
    stop = max(start, stop)
    return slice(start - offset, stop - offset), slice(start, stop)


def resize_labels(labels: Tensor, size: Size) -> Tensor:
    """Resize integer labels [...,H,W], same dtype, by nearest neighbour at pixel centres: floor((i + 1/2) in / out)."""
    rows, columns = (
        (2 * torch.arange(out, device=labels.device) + 1) * inside // (2 * out)
        for inside, out in zip(labels.shape[-2:], size, strict=True)
    )
    return labels[..., rows[:, None], columns]


def to_tensors(sample: Sample, channels: Channels = "rgb") -> tuple[Tensor, Tensor, Tensor]:
    """Image float32 [3,H,W] in [-1,1] in the given colour order, mask int64 [H,W], foreground int64 [H,W]."""
    pixels = sample.image if channels == "rgb" else sample.image[..., ::-1]
    image = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).float().mul_(2 / 255).sub_(1)
    return image, torch.from_numpy(sample.mask.astype(np.int64)), torch.from_numpy(sample.foreground.astype(np.int64))


def to_photo(image: Tensor, channels: Channels = "rgb") -> np.ndarray:
    """Turn an image float [3,H,W] in [-1,1] back into uint8 [H,W,3] RGB."""
    pixels = ((image.detach().cpu().float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array = pixels.permute(1, 2, 0).numpy()
    return np.ascontiguousarray(array if channels == "rgb" else array[..., ::-1])
