"""The street photos that the book shows: twelve crops of Clothing Co-Parsing with their masks, faces pixelated.

They are test photos of CCP-OS; `photos/CREDITS` names source and licence, `data_scripts/book_photos.py` makes them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_mask

FOLDER = Path(__file__).with_name("photos")
FIRST_UNSEEN = "0804"
"""From this one on a photo lies in CCP-OS's last block, which the checkpoint for street photos is tested on."""


def names() -> list[str]:
    """The photos' names in CCP, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.jpg"))


def unseen() -> list[str]:
    """Return the names of those that are in no training of the checkpoint for street photos."""
    return [name for name in names() if name >= FIRST_UNSEEN]


def photo(name: str) -> np.ndarray:
    """A photo, uint8 [384,W,3] RGB. UserError for a name that is not there."""
    return read_image(_path(name, ".jpg"))


def mask(name: str) -> np.ndarray:
    """Its mask, uint8 [384,W], ids of the label space ccp-os. UserError for a name that is not there."""
    return read_mask(_path(name, ".png"))


def _path(name: str, ending: str) -> Path:
    if name not in names():
        raise UserError(f"the book has no photo {name!r}; it has {', '.join(names())}")
    return FOLDER / f"{name}{ending}"
