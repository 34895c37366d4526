"""The picture at the top of README: one marked photo, and what the network for street photos finds in three others.

`python data_scripts/cover.py` makes `oshp_lite/assets/cover.jpg` from the book's photos and prints the scores.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oshp_lite import assets
from oshp_lite.assets import photos
from oshp_lite.files import encode_jpeg, write_atomic
from oshp_lite.labels import label_space
from oshp_lite.predict import Parser, load_network
from oshp_lite.viz import overlay

SUPPORT, QUERIES = "0845", ("0862", "0855", "0806")
MARKED = {1: "pants", 2: "bag"}
"""All four photos are in no training of the network; the scores are those of all such photos of the book."""
PLACE = assets.CHECKPOINT.with_name("cover.jpg")


def marks(name: str) -> np.ndarray:
    """What is marked of a photo: uint8 [H,W] of the ids of MARKED."""
    mask, space = photos.mask(name), label_space("ccp-os")
    return sum((mask == space.id_of(word)).astype(np.uint8) * np.uint8(index) for index, word in MARKED.items())  # type: ignore[return-value]


def main() -> int:
    """Make the picture; the exit code."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--out", type=Path, default=PLACE, help="where the picture goes")
    place = options.parse_args().out
    parser = Parser(load_network(assets.checkpoint("photos"))).support(photos.photo(SUPPORT), marks(SUPPORT))
    shown = {SUPPORT: [overlay(photos.photo(SUPPORT), marks(SUPPORT), parser.palette)]}
    for name in photos.unseen():
        if name == SUPPORT:
            continue
        found, true = parser.parse(photos.photo(name)).mask, marks(name)
        shown[name] = [photos.photo(name), overlay(photos.photo(name), found, parser.palette)]
        for index, word in MARKED.items():
            one, other = found == index, true == index
            if other.any():
                print(f"{name}, {word}: IoU {(one & other).sum() / (one | other).sum():.2f}")
            else:
                print(f"{name}, no {word}: {100 * one.mean():.1f} % of the photo marked")
    gap, wide = (np.full((384, width, 3), 255, np.uint8) for width in (10, 30))
    row = list(shown[SUPPORT])
    for name in QUERIES:
        row += [wide, shown[name][0], gap, shown[name][1]]
    write_atomic(place, encode_jpeg(np.concatenate(row, 1), 88))
    return 0


if __name__ == "__main__":
    sys.exit(main())
