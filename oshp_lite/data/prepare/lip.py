"""LIP (20 ids, 30,462 + 10,000 photos) -> LIP-OS, from the folders its zips unpack to.

TrainVal_images.zip, TrainVal_parsing_annotations.zip and, if at hand, Train_parsing_reversed_labels.zip (only the
training part's mirrored masks; the validation part's are made).
"""

from __future__ import annotations

from oshp_lite.data.prepare.raw import OFFICIAL, Piece, RawLayout

LIP = RawLayout(
    name="lip-os",
    space="lip",
    where=(
        "LIP's single-person zips (TrainVal_images.zip, TrainVal_parsing_annotations.zip) as linked in the README of "
        f"{OFFICIAL}"
    ),
    images={
        "train": Piece("training photos", ("train_images",), ".jpg"),
        "test": Piece("validation photos", ("val_images",), ".jpg"),
    },
    masks={
        "train": Piece("training masks", ("train_segmentations",)),
        "test": Piece("validation masks", ("val_segmentations",)),
    },
    mirrored=(
        Piece(
            "mirrored training masks",
            (
                "train_segmentations_reversed",
                "Train_parsing_reversed_labels/TrainVal_parsing_annotations",
                "Train_parsing_reversed_labels",
            ),
            required=False,
        ),
        Piece("mirrored validation masks", ("val_segmentations_reversed",), required=False),
    ),
)
