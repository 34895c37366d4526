"""The picture at the top of README: one marked photo, and what the shipped network finds in three others.

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

SUPPORT, QUERIES = "0702", ("0717", "0720", "0845")
"""The picture has the first three of the book's photos with trousers; the scores are those of all its photos."""
PLACE = assets.CHECKPOINT.with_name("cover.jpg")


def main() -> int:
    """Make the picture; the exit code."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--out", type=Path, default=PLACE, help="where the picture goes")
    place = options.parse_args().out
    trousers = label_space("ccp-os").id_of("pants")
    parser = Parser(load_network(assets.checkpoint()))
    marked = (photos.mask(SUPPORT) == trousers).astype(np.uint8)
    parser.support(photos.photo(SUPPORT), marked)
    shown = [overlay(photos.photo(SUPPORT), marked, parser.parse(photos.photo(SUPPORT)).palette)]
    for name in photos.names():
        parsed, true = parser.parse(photos.photo(name)), photos.mask(name) == trousers
        found = parsed.mask == 1
        if name in QUERIES:
            shown += [photos.photo(name), overlay(photos.photo(name), parsed.mask, parsed.palette)]
        if name != SUPPORT and true.any():
            print(f"{name}: IoU {(found & true).sum() / (found | true).sum():.2f}")
        elif name != SUPPORT:
            print(f"{name}: no trousers, {100 * found.mean():.0f} % of the photo marked")
    gap = np.full((384, 10, 3), 255, np.uint8)
    wide = np.full((384, 30, 3), 255, np.uint8)
    row = [shown[0], *(part for number, one in enumerate(shown[1:]) for part in (gap if number % 2 else wide, one))]
    write_atomic(place, encode_jpeg(np.concatenate(row, 1), 88))
    return 0


if __name__ == "__main__":
    sys.exit(main())
