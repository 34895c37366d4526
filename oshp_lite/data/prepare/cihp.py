"""CIHP (20 ids, 28,280 + 5,000 photos of several people) -> CIHP-OS, with person ids where they are at hand.

instance-level_human_parsing.zip unpacks to Training and Validation, each with Images, Category_ids and Human_ids.
"""

from __future__ import annotations

from oshp_lite.data.prepare.raw import OFFICIAL, Piece, RawLayout

CIHP = RawLayout(
    name="cihp-os",
    space="cihp",
    where=f"CIHP (instance-level_human_parsing.zip) as linked in the README of {OFFICIAL}",
    images={
        "train": Piece("training photos", ("Training/Images",), ".jpg"),
        "test": Piece("validation photos", ("Validation/Images",), ".jpg"),
    },
    masks={
        "train": Piece("training masks", ("Training/Category_ids",)),
        "test": Piece("validation masks", ("Validation/Category_ids",)),
    },
    mirrored=(
        Piece("mirrored masks", ("Category_rev_ids",), required=False),
        Piece("mirrored training masks", ("Training/Category_rev_ids",), required=False),
        Piece("mirrored validation masks", ("Validation/Category_rev_ids",), required=False),
    ),
    instances=(
        Piece("training person ids", ("Training/Human_ids",), required=False),
        Piece("validation person ids", ("Validation/Human_ids",), required=False),
    ),
)
