"""White boxes where methods differ, as in EOP-Net's Fig. 6: found by a rule, not by eye."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from oshp_lite.labels import IGNORE
from oshp_lite.study.figures.pairs import Array

SMALLEST_SHARE = 0.002
"""Share of the photo that a region must cover to get a box."""
LARGEST_SHARE, WIDEST = 0.25, 17
"""A region whose box takes a larger share is cut where it is narrow, up to this many pixels."""


class Box(NamedTuple):
    """Pixels from row `top` to `bottom` and column `left` to `right`, the latter of both left out."""

    top: int
    left: int
    bottom: int
    right: int


def difference_map(truth: Array, predictions: Sequence[Array]) -> Array:
    """Return float64 [H,W] in 0..0.25: the variance over methods of being wrong.

    0 where all are right, or all wrong; the most where half of them are. Ignored pixels count as right.
    """
    wrong = np.stack([(mask != truth) & (truth != IGNORE) for mask in predictions]).mean(0)
    return np.asarray(wrong * (1 - wrong))


def difference_boxes(truth: Array, predictions: Sequence[Array], most: int = 2, margin: int = 2) -> list[Box]:
    """Return the boxes around the regions in which the methods' errors differ most, at most `most`.

    A region is connected, lies within one true part and survives an opening by 3x3 pixels, which removes the thin seams
    between parts; a wider opening cuts one whose box would take in most of a person, such as a rim around the body.
    Regions are ranked by the sum of `difference_map`; one whose box overlaps a higher one's gets none.

    truth, predictions  integer [H,W]; fewer than two predictions have no difference
    margin              pixels between a region and its box
    """
    if len(predictions) < 2:
        return []
    size, differs = truth.shape, difference_map(truth, predictions)
    regions: list[tuple[float, Box]] = []
    for part in np.unique(truth[differs > 0]):
        for mine, (rows, columns) in _regions((truth == part) & (differs > 0)):
            ends = rows.stop + margin, columns.stop + margin
            box = Box(max(0, rows.start - margin), max(0, columns.start - margin), *map(min, ends, size))
            regions.append((float(differs[mine].sum()), box))
    chosen: list[Box] = []
    for _, box in sorted(regions, reverse=True):
        if len(chosen) < most and not any(_overlap(one, box) for one in chosen):
            chosen.append(box)
    return chosen


def _regions(mask: Array, width: int = 3) -> Iterator[tuple[Array, tuple[slice, slice]]]:
    """Connected pieces of a mask bool [H,W], each with its rows and columns, opened by `width` pixels or more."""
    from scipy.ndimage import binary_opening, find_objects, label

    numbered, _ = label(binary_opening(mask, np.ones((width, width))), np.ones((3, 3)))
    for number, (rows, columns) in enumerate(find_objects(numbered), start=1):
        mine = numbered == number
        if (rows.stop - rows.start) * (columns.stop - columns.start) > LARGEST_SHARE * mask.size and width < WIDEST:
            yield from _regions(mine, width + 2)
        elif mine.sum() >= SMALLEST_SHARE * mask.size:
            yield mine, (rows, columns)


def _overlap(one: Box, two: Box) -> bool:
    return one.top < two.bottom and two.top < one.bottom and one.left < two.right and two.left < one.right
