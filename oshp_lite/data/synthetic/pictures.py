"""Scenes as picture files, of either version of the generator."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from oshp_lite.data.synthetic import portrait
from oshp_lite.data.synthetic.scenes import scene, spec
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, make_folder, write_atomic, write_mask
from oshp_lite.labels import label_space


def draw_pictures(
    folder: Path, name: str, indices: Iterable[int], size: int, seed: int, version: int = 5, cloth: str = portrait.LIFE
) -> list[Path]:
    """Write `NAME_INDEX.png` and `NAME_INDEX_mask.png` (raw ids with the label space's palette); returns the pictures.

    Raises UserError for an unknown name, size, version or cloth, a cloth for version 4, or a place without room.
    """
    if version not in (4, portrait.GENERATOR_VERSION):
        raise UserError(f"there is no version {version} of the drawn people; choose 4 or 5")
    if version == 4 and cloth != portrait.LIFE:
        raise UserError("in version 4 cloth always says nothing of the garment; choose version 5 or leave --cloth out")
    key, files = spec(name).label_space, []
    for index in indices:
        drawn = scene(name, seed, index, size) if version == 4 else portrait.scene(name, seed, index, size, cloth)
        make_folder(folder)
        files.append(folder / f"{spec(name).name}_{index:06d}.png")
        write_atomic(files[-1], encode_png(drawn.image))
        mask_file = files[-1].with_name(f"{files[-1].stem}_mask.png")
        write_mask(mask_file, drawn.mask(key), label_space(key).palette)
    return files
