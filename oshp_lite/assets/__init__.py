"""What the package ships: small trained checkpoints, for lessons and for a user's own photos."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from oshp_lite.errors import UserError

CHECKPOINT = Path(__file__).with_name("lite.safetensors")
PROVENANCE = Path(__file__).with_name("lite.json")
"""How the checkpoint of the lessons was made and what it scores; never the start of a measured run."""
PHOTOS_CHECKPOINT = Path(__file__).with_name("photos.safetensors")
PHOTOS_CARD = Path(__file__).with_name("photos.json")
"""The same of the checkpoint for street photos."""


def checkpoint(kind: Literal["lessons", "photos"] = "lessons") -> Path:
    """Path of a shipped checkpoint: "lessons" knows drawn people, "photos" street photos.

    A copy of the package that has none for photos gives that of the lessons. UserError when it has none at all.
    """
    if kind == "photos" and PHOTOS_CHECKPOINT.is_file():
        return PHOTOS_CHECKPOINT
    if not CHECKPOINT.is_file():
        raise UserError("this copy of the package ships no checkpoint; train one and name it with --weights")
    return CHECKPOINT
