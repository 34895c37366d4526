"""The camera: exposure, white balance, blur, resolution, noise and JPEG."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from oshp_lite.data.synthetic.rng import Rng
from oshp_lite.data.synthetic.textures import noise_tile, tile_crop


def photograph(image: np.ndarray, rng: Rng, harsh: float = 0.3) -> np.ndarray:
    """The picture as a camera would give it: float32 [H, W, 3] -> uint8 [H, W, 3]; `harsh` in 0..1."""
    h, w = image.shape[:2]
    gain = np.float32(rng.normal(1.0, 0.10))
    balance = np.array([rng.normal(1, 0.035), 1.0, rng.normal(1, 0.035)], dtype=np.float32)
    contrast = np.float32(rng.normal(1.0, 0.08))
    image = (image * (gain * balance) - np.float32(118)) * contrast + np.float32(118)
    amount = rng.uniform(0.5, 2.0 + 6.0 * harsh * rng.u())
    tile = noise_tile(0)
    noise = tile_crop(tile, rng.integer(0, 255), rng.integer(0, 255), w, h)
    image = image + noise[..., None] * np.float32(amount)
    photo = Image.fromarray(np.clip(image + np.float32(0.5), 0, 255).astype(np.uint8))
    if rng.chance(0.25 + 0.4 * harsh):
        if rng.chance(harsh):  # taken from afar and enlarged
            f = 1 - harsh * rng.uniform(0.15, 0.62)
            for size in ((max(int(w * f), 8), max(int(h * f), 8)), (w, h)):
                photo = photo.resize(size, Image.Resampling.BILINEAR)
        else:
            photo = photo.filter(ImageFilter.BoxBlur(rng.uniform(0.15, 0.3 + 0.5 * harsh)))
    if rng.chance(0.5):
        buffer = io.BytesIO()
        photo.save(buffer, "JPEG", quality=rng.integer(60 if harsh < 0.5 else 40, 95))
        photo = Image.open(buffer, formats=["JPEG"]).convert("RGB")
    return np.asarray(photo)
