"""PASCAL-Person-Part, as its archives unpack, in the on-disk form: body parts for parsing over several label domains.

Its fold has no novel class, so it serves no one-shot study; masks hold 7 ids (Chen et al., CVPR 2014).
"""

from __future__ import annotations

import argparse
import copy
import os
from collections.abc import Mapping

from oshp_lite.data.dataset import Phase
from oshp_lite.data.prepare import TailorReport
from oshp_lite.data.prepare.raw import RawLayout

ORIGIN = "http://liangchiehchen.com/projects/DeepLab.html"
MASKS = ("pascal_person_part_gt", "SegmentationPart", "SegmentationPersonPart")
"""What the folder of masks is called: in the archive, by Graphonomy, and where it was moved into VOCdevkit."""
DEPTH = 4
"""How far below --root the lists may lie: VOCdevkit/VOC2010/ImageSets/SegmentationPersonPart."""


class PascalLayout(RawLayout):
    """The masks and lists of pascal_person_part.zip beside the photos of PASCAL VOC 2010 (or 2012)."""

    published_pairs = False
    lists: Mapping[Phase, str] = {"train": "train_id.txt", "test": "val_id.txt"}

    def run(self, options: argparse.Namespace) -> TailorReport:
        """Tailor as the options say, with the names and lists that lie beneath --root."""
        layout, root = copy.copy(self), options.root
        below = [root, *(folder for depth in range(1, DEPTH + 1) for folder in sorted(root.glob("*/" * depth)))]
        names = {folder.name for folder in below}
        layout.masks = {"all": next((name for name in MASKS if name in names), MASKS[0])}
        if options.lists is None:
            wanted = tuple(self.lists.values())
            places = (place for place in below if all(os.path.isfile(place / name) for name in wanted))
            options.lists = next(places, None)
        return RawLayout.run(layout, options)


PASCAL = PascalLayout(
    "pascal-parts",
    "PASCAL VOC's JPEGImages and pascal_person_part.zip (masks and lists)",
    images={"all": "JPEGImages"},
    masks={"all": MASKS[0]},
    instances=(("Human_ids",),),
    origin=ORIGIN,
)
"""7 ids, 1,716 + 1,817 photos of several people; SST counts 1,717 for training. Person ids, which instance-level
parsing needs, are taken from a folder Human_ids of 8-bit maps as in CIHP, where there is one for every photo."""
