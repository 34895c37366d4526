"""The folders that the archives of ATR, LIP and CIHP unpack to, and finding them.

A raw dataset of photos and PNG masks is one `RawLayout`; `raw.tailor` brings it into the one-shot form.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oshp_lite.data.dataset import CLASSES, IMAGES, MIRRORED
from oshp_lite.data.registry import dataset_spec
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read
from oshp_lite.labels import LabelSpace

OFFICIAL = "https://github.com/Charleshhy/One-shot-Human-Parsing"
_DEPTH = 3  # how far below --root the raw folders may lie (archives unpack into folders of their own name)


@dataclass(frozen=True)
class Piece:
    """One raw folder: what it holds and the names (path endings) it goes by, the likeliest first."""

    what: str
    names: tuple[str, ...]
    ending: str = ".png"
    required: bool = True


def _optional(what: str, *names: str) -> Piece:
    return Piece(what, names, required=False)


@dataclass(frozen=True)
class RawLayout:
    """A raw dataset: its folders and the numbers of the papers' protocol (facts A.3 to A.5).

    images, masks  the folders that hold them: one a phase where the raw dataset is cut already, one under "all" where
                   only the official lists say which is which
    test_split     query photos in testing; None: the smallest multiple of 100 from 200 on for which the journal's test
                   pairs exist (the authors' LIP and CIHP indexes are not public in the repository)
    """

    name: str
    where: str
    images: Mapping[str, Piece]
    masks: Mapping[str, Piece]
    mirrored: tuple[Piece, ...]
    instances: tuple[Piece, ...] = ()
    test_split: int | None = None

    @property
    def source(self) -> str:
        """What it is and where it is had."""
        return f"{self.where} as linked in the README of {OFFICIAL}"

    @property
    def space(self) -> LabelSpace:
        """Label space of the masks."""
        return dataset_spec(self.name).space

    @property
    def list_folder(self) -> str:
        """Name of the dataset's folder in the official tree (ATR_OS)."""
        return self.name.upper().replace("-", "_")

    @property
    def train_split(self) -> int:
        """Query photos in training, by the papers."""
        return dataset_spec(self.name).train_queries or 0


ATR = RawLayout(
    name="atr-os",
    where="ATR (humanparsing: JPEGImages, SegmentationClassAug)",
    images={"all": Piece("photos", ("JPEGImages",), ".jpg")},
    masks={"all": Piece("class masks", ("SegmentationClassAug",))},
    mirrored=(_optional("mirrored masks", "SegmentationClassAug_rev"),),
    test_split=200,
)
"""18 ids, 17,706 photos."""

LIP = RawLayout(
    name="lip-os",
    where="LIP's single-person zips (TrainVal_images.zip, TrainVal_parsing_annotations.zip)",
    images={
        "train": Piece("training photos", ("train_images",), ".jpg"),
        "test": Piece("validation photos", ("val_images",), ".jpg"),
    },
    masks={
        "train": Piece("training masks", ("train_segmentations",)),
        "test": Piece("validation masks", ("val_segmentations",)),
    },
    mirrored=(
        _optional(
            "mirrored training masks",
            "train_segmentations_reversed",
            "Train_parsing_reversed_labels/TrainVal_parsing_annotations",
            "Train_parsing_reversed_labels",
        ),
        _optional("mirrored validation masks", "val_segmentations_reversed"),
    ),
)
"""20 ids, 30,462 + 10,000 photos. Train_parsing_reversed_labels.zip has only the training part's mirrored masks."""

CIHP = RawLayout(
    name="cihp-os",
    where="CIHP (instance-level_human_parsing.zip)",
    images={
        "train": Piece("training photos", ("Training/Images",), ".jpg"),
        "test": Piece("validation photos", ("Validation/Images",), ".jpg"),
    },
    masks={
        "train": Piece("training masks", ("Training/Category_ids",)),
        "test": Piece("validation masks", ("Validation/Category_ids",)),
    },
    mirrored=(
        _optional("mirrored masks", "Category_rev_ids"),
        _optional("mirrored training masks", "Training/Category_rev_ids"),
        _optional("mirrored validation masks", "Validation/Category_rev_ids"),
    ),
    instances=(
        _optional("training person ids", "Training/Human_ids"),
        _optional("validation person ids", "Validation/Human_ids"),
    ),
)
"""20 ids, 28,280 + 5,000 photos of several people, with person ids where they are at hand."""


# ----------------------------------------------------------------------------------------------- raw files


@dataclass
class RawFiles:
    """Stem -> file of every kind, and the photos of each phase's folder."""

    image: dict[str, Path] = field(default_factory=dict)
    mask: dict[str, Path] = field(default_factory=dict)
    mirrored: dict[str, Path] = field(default_factory=dict)
    instances: dict[str, Path] = field(default_factory=dict)
    stems: dict[str, list[str]] = field(default_factory=dict)


def _subfolders(root: Path, depth: int = _DEPTH) -> list[Path]:
    """`root` and the folders below it, shallow ones first."""
    level, everything = [root], [root]
    for _ in range(depth):
        below: list[Path] = []
        for folder in level:
            if not os.access(folder, os.R_OK | os.X_OK):
                continue
            with os.scandir(folder) as entries:
                below += sorted(Path(entry.path) for entry in entries if entry.is_dir() and entry.name[0] != ".")
        everything += below
        level = below
    return everything


def _find(folders: Sequence[Path], piece: Piece) -> Path | None:
    for name in piece.names:
        for folder in folders:
            place = folder / name
            mirrored = "revers" in str(place.relative_to(folders[0])).lower()
            if mirrored and piece.required:  # LIP's reversed labels sit in folders named like the ordinary ones
                continue
            if place.is_dir() and any(path.suffix == piece.ending for path in place.iterdir()):
                return place
    return None


def _need(folders: Sequence[Path], piece: Piece, layout: RawLayout) -> Path:
    place = _find(folders, piece)
    if place is None:
        packed = sorted(path.name for path in folders[0].iterdir() if path.suffix in {".zip", ".gz", ".tar", ".rar"})
        first = f"unpack {', '.join(packed)} there, or " if packed else ""
        raise UserError(
            f"{layout.name}: the {piece.what} are missing (no folder {' or '.join(piece.names)} with {piece.ending} "
            f"files beneath {folders[0]}); {first}download {layout.source}"
        )
    return place


def _files(folder: Path, ending: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == ending and path.name[0] != "."}


def find_raw(root: Path, layout: RawLayout) -> RawFiles:
    """Every raw file of a dataset by its stem. Raises UserError that names the missing piece and where it is had.

    A tree already arranged as the official README asks (trainval_images, ...) is understood as well.
    """
    if not os.path.isdir(root):
        raise UserError(f"folder {root} does not exist; give --root the folder with {layout.source}")
    try:
        folders = _subfolders(root)
    except OSError as error:
        raise cannot_read(root, error, "folder") from None
    raw = RawFiles()
    images, masks, mirrored = layout.images, layout.masks, layout.mirrored
    arranged = _find(folders, Piece("photos", (IMAGES,), ".jpg"))
    if arranged is not None:
        images, masks = {"all": Piece("photos", (IMAGES,), ".jpg")}, {"all": Piece("class masks", (CLASSES,))}
        mirrored, folders = (_optional("mirrored masks", MIRRORED),), [arranged.parent]
    for phase, piece in images.items():
        new = _files(_need(folders, piece, layout), piece.ending)
        raw.image |= new
        raw.stems[phase] = sorted(new)
    for piece in masks.values():
        raw.mask |= _files(_need(folders, piece, layout), piece.ending)
    for target, pieces in ((raw.mirrored, mirrored), (raw.instances, layout.instances)):
        for piece in pieces:
            place = _find(folders, piece)
            if place is not None:
                target |= _files(place, piece.ending)
    return raw
