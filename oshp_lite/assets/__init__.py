"""What the package ships: one small trained checkpoint, for the tour and for `oshp-lite parse`."""

from __future__ import annotations

from pathlib import Path

from oshp_lite.errors import UserError

CHECKPOINT = Path(__file__).with_name("lite.safetensors")
PROVENANCE = Path(__file__).with_name("lite.json")
"""How the checkpoint was made and what it scores; never the start of a measured run."""


def checkpoint() -> Path:
    """Path of the shipped checkpoint. Raises UserError when this copy of the package has none."""
    if not CHECKPOINT.is_file():
        raise UserError("this copy of the package ships no checkpoint; train one and name it with --weights")
    return CHECKPOINT
