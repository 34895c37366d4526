"""ATR (18 ids, 17,706 photos) -> ATR-OS. Raw folders: JPEGImages, SegmentationClassAug, SegmentationClassAug_rev."""

from __future__ import annotations

from oshp_lite.data.prepare.raw import OFFICIAL, Piece, RawLayout

ATR = RawLayout(
    name="atr-os",
    space="atr",
    where=f"ATR (humanparsing: JPEGImages, SegmentationClassAug) as linked in the README of {OFFICIAL}",
    images={"all": Piece("photos", ("JPEGImages",), ".jpg")},
    masks={"all": Piece("class masks", ("SegmentationClassAug",))},
    mirrored=(Piece("mirrored masks", ("SegmentationClassAug_rev",), required=False),),
    train_split=7500,
    test_split=200,
)
