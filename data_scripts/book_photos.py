"""The few street photos that the book shows: crops of Clothing Co-Parsing, small, with every face pixelated.

`python data_scripts/book_photos.py --root CLONE` makes `oshp_lite/assets/photos` again from a clone of CCP. The photos
are test photos of CCP-OS. Trainings on four of its five blocks have seen those in these blocks. `assets.photos.unseen`
names those that the shipped checkpoint for street photos has not seen.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from oshp_lite.assets import photos
from oshp_lite.data.prepare.ccp import ANNOTATIONS, MARGIN, PHOTOS, SOURCE, foreground_box, read_annotation, shrink
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, encode_png, make_folder, read_image, write_together
from oshp_lite.labels import label_space

NAMES = ("0702", "0717", "0718", "0720", "0776", "0806", "0845", "0854", "0855", "0862", "0886", "0929")
SIDE = 384
"""Height of the photos."""
HEAD = 0.165
"""Share of a person's height that the head lies within."""
CREDITS = f"""The photos in this folder come from Clothing Co-Parsing (CCP), {SOURCE}
W. Yang, P. Luo, L. Lin: Clothing Co-Parsing by Joint Image Segmentation and Labeling. CVPR 2014.
Licence of the dataset: Apache-2.0, https://www.apache.org/licenses/LICENSE-2.0

Changed for this book by data_scripts/book_photos.py: cut to the person, scaled to {SIDE} pixels, faces pixelated. The
masks are the dataset's 59 tags merged into the 12 classes of ccp-os. Names are the dataset's own.
"""


def hide_face(image: np.ndarray, tags: np.ndarray) -> np.ndarray:
    """Return the photo uint8 [H,W,3] with the face pixelated: skin and glasses in the top part of the foreground."""
    names = label_space("ccp").names
    rows = np.flatnonzero((tags != 0).any(1))
    head = rows[0] + round(HEAD * (rows[-1] + 1 - rows[0]))
    face = np.isin(tags, [names.index(name) for name in ("skin", "glasses", "sunglasses")])
    face[head:] = False
    ys, xs = np.nonzero(face)
    if not ys.size:
        raise UserError("a photo of the book shows no face where one is expected; choose another photo")
    middle, reach = np.median(xs), 0.55 * (head - ys.min())
    xs = xs[abs(xs - middle) < reach]  # not a raised hand
    area = slice(max(0, ys.min() - 3), head + 1), slice(max(0, xs.min() - 3), xs.max() + 4)
    height, width = image[area].shape[:2]
    coarse = Image.fromarray(image[area]).resize((7, max(1, round(7 * height / width))), Image.Resampling.BOX)
    hidden = image.copy()
    hidden[area] = np.asarray(coarse.resize((width, height), Image.Resampling.NEAREST))
    return hidden


def make(root: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return one photo uint8 [H,W,3] and its mask uint8 [H,W] with the ids of ccp-os."""
    tags = read_annotation(root / ANNOTATIONS / f"{name}.mat")
    image = read_image(root / PHOTOS / f"{name}.jpg")
    box = foreground_box(tags, MARGIN)
    if box is None:
        raise UserError(f"the annotation of {name} has no foreground; clone {SOURCE} again")
    top, bottom, left, right = box
    image, tags = (shrink(array[top:bottom, left:right], SIDE) for array in (image, tags))
    return hide_face(image, tags), label_space("ccp").merge(tags)


def main() -> int:
    """Make all photos; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--root", type=Path, required=True, help=f"a clone of {SOURCE}")
    parser.add_argument("--out", type=Path, default=photos.FOLDER, help="where the photos go")
    options = parser.parse_args()
    try:
        made: dict[Path, bytes] = {options.out / "CREDITS": CREDITS.encode()}
        palette = label_space("ccp-os").class_palette
        for name in NAMES:
            image, mask = make(options.root, name)
            made[options.out / f"{name}.jpg"] = encode_jpeg(image, 90)
            made[options.out / f"{name}.png"] = encode_png(mask, palette)
        make_folder(options.out)
        write_together(made)
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(NAMES)} photos in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
