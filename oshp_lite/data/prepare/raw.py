"""ATR, LIP and CIHP, as their archives unpack -> the one-shot form, made of links or copies.

A raw dataset of photos and PNG masks is one `RawLayout`. The authors' lists and support indexes are used where given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from oshp_lite.data.dataset import (
    CLASSES,
    IMAGES,
    MIRRORED,
    PHASES,
    Phase,
    check_split,
    open_dataset,
    read_list,
    read_support_index,
)
from oshp_lite.data.pairs import Pair, build_support_index, journal_pairs
from oshp_lite.data.prepare import Preparation, TailorReport
from oshp_lite.data.prepare.command import whole_number
from oshp_lite.data.registry import dataset_spec
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read, read_mask, sha256_json
from oshp_lite.labels import LabelSpace

VERSION = 1
OFFICIAL = "https://github.com/Charleshhy/One-shot-Human-Parsing"
_DEPTH = 3  # how far below --root the raw folders may lie (archives unpack into folders of their own name)
_LAST_SHARE = 0.15  # of the photos are for testing where neither folders nor lists say which
_PARTS = {"all": "", "train": "training ", "test": "validation "}


@dataclass(frozen=True)
class RawLayout(Preparation):
    """A raw dataset: its folders (path endings) and the numbers of the papers' protocol (facts A.3 to A.5).

    images, masks  the folders that hold them: one a phase where the raw dataset is cut already, one under "all" where
                   only the official lists say which is which
    mirrored       folders with mirrored masks, where at hand: alternatives of each, the likeliest first
    instances      folders with person ids, where at hand
    test_split     query photos in testing; None: the smallest multiple of 100 from 200 on for which the journal's test
                   pairs exist (the authors' LIP and CIHP indexes are not public in the repository)
    """

    name: str
    where: str
    images: Mapping[str, str]
    masks: Mapping[str, str]
    mirrored: tuple[tuple[str, ...], ...] = ()
    instances: tuple[str, ...] = ()
    test_split: int | None = None
    published_pairs = True

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

    @property
    def about(self) -> str:  # type: ignore[override]
        """What the command does."""
        return f"Bring {self.source} into the one-shot form, as links or copies."

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Add the options beside --out and --force."""
        train = f"query photos in training (default {self.train_split})"
        parser.add_argument("--root", type=Path, required=True, help="folder with the unpacked raw dataset")
        parser.add_argument("--lists", type=Path, help="folder with the authors' list files and support indexes")
        parser.add_argument("--copy", action="store_true", help="copy the files instead of linking to them")
        parser.add_argument("--train-split", type=whole_number, help=train)
        parser.add_argument("--test-split", type=whole_number, help="query photos in testing")

    def run(self, options: argparse.Namespace) -> TailorReport:
        """Tailor as the options say."""
        return tailor(self, **vars(options), progress=True)

    def official_pairs(self, lists: Path) -> list[Pair]:
        """The test pairs of the authors' support index. Raises UserError when it is not in the folder `lists`."""
        stems = official_list(lists, self, "test")
        index = official_index(lists, self, "test", len(stems) if stems else sys.maxsize)
        if index is None:
            raise UserError(
                f"no meta_test_{self.space.key}_supports.pkl in {lists} (nor in its {self.list_folder}); download "
                f"it from the support files linked in the README of {OFFICIAL}"
            )
        return journal_pairs(index, self.space.test_order)


ATR = RawLayout(
    "atr-os",
    "ATR (humanparsing: JPEGImages, SegmentationClassAug)",
    images={"all": "JPEGImages"},
    masks={"all": "SegmentationClassAug"},
    mirrored=(("SegmentationClassAug_rev",),),
    test_split=200,
)
"""18 ids, 17,706 photos."""

LIP = RawLayout(
    "lip-os",
    "LIP's single-person zips (TrainVal_images.zip, TrainVal_parsing_annotations.zip)",
    images={"train": "train_images", "test": "val_images"},
    masks={"train": "train_segmentations", "test": "val_segmentations"},
    mirrored=(
        (
            "train_segmentations_reversed",
            "Train_parsing_reversed_labels/TrainVal_parsing_annotations",
            "Train_parsing_reversed_labels",
        ),
        ("val_segmentations_reversed",),
    ),
)
"""20 ids, 30,462 + 10,000 photos. Train_parsing_reversed_labels.zip has only the training part's mirrored masks."""

CIHP = RawLayout(
    "cihp-os",
    "CIHP (instance-level_human_parsing.zip)",
    images={"train": "Training/Images", "test": "Validation/Images"},
    masks={"train": "Training/Category_ids", "test": "Validation/Category_ids"},
    mirrored=(("Category_rev_ids",), ("Training/Category_rev_ids",), ("Validation/Category_rev_ids",)),
    instances=("Training/Human_ids", "Validation/Human_ids"),
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


def _find(folders: Sequence[Path], names: Sequence[str], ending: str = ".png", *, plain: bool = False) -> Path | None:
    """The first folder of one of these names that holds such files; `plain` passes over those of mirrored masks."""
    for name in names:
        for place in (folder / name for folder in folders):
            if plain and "revers" in str(place.relative_to(folders[0])).lower():
                continue  # LIP's reversed labels sit in folders named like the ordinary ones
            if place.is_dir() and any(path.suffix == ending for path in place.iterdir()):
                return place
    return None


def _files(folder: Path, ending: str = ".png") -> dict[str, Path]:
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
    arranged = _find(folders, (IMAGES,), ".jpg", plain=True)
    if arranged is not None:
        images, masks, mirrored, folders = {"all": IMAGES}, {"all": CLASSES}, ((MIRRORED,),), [arranged.parent]
    for what, ending, files, names in (("photos", ".jpg", raw.image, images), ("masks", ".png", raw.mask, masks)):
        for phase, name in names.items():
            place = _find(folders, (name,), ending, plain=True)
            if place is None:
                archives = {".zip", ".gz", ".tar", ".rar"}
                packed = sorted(path.name for path in folders[0].iterdir() if path.suffix in archives)
                piece = "class masks" if phase == "all" and what == "masks" else f"{_PARTS[phase]}{what}"
                first = f"unpack {', '.join(packed)} there, or " if packed else ""
                raise UserError(
                    f"{layout.name}: the {piece} are missing (no folder {name} with {ending} files "
                    f"beneath {folders[0]}); {first}download {layout.source}"
                )
            new = _files(place, ending)
            files |= new
            if what == "photos":
                raw.stems[phase] = sorted(new)
    for target, pieces in ((raw.mirrored, mirrored), (raw.instances, [(name,) for name in layout.instances])):
        for alternatives in pieces:
            place = _find(folders, alternatives)
            target |= {} if place is None else _files(place)
    return raw


def _official(lists: Path, layout: RawLayout, name: str) -> Path | None:
    """One of the authors' files beneath `lists`, if it is there. Raises UserError when there is no such folder."""
    if not os.path.isdir(lists):
        raise UserError(f"folder {lists} does not exist; give --lists the folder with the official list files")
    tops = [lists, lists / layout.list_folder, lists / "data" / "datasets" / layout.list_folder]
    places = (place / name for top in tops for place in (top, top / "list", top / "support"))
    return next((place for place in places if place.is_file()), None)


def official_list(lists: Path, layout: RawLayout, phase: Phase) -> tuple[str, ...] | None:
    """The authors' list of a phase, if it is there."""
    path = _official(lists, layout, f"meta_{phase}_id.txt")
    return None if path is None else read_list(path)


def official_index(lists: Path, layout: RawLayout, phase: Phase, n_photos: int) -> dict[int, list[int]] | None:
    """The authors' support index of a phase, if it is there; a pickle with code in it is refused."""
    path = _official(lists, layout, f"meta_{phase}_{layout.space.key}_supports.pkl")
    return None if path is None else read_support_index(path, layout.space.n_foreground, n_photos)


def _lists(
    raw: RawFiles, layout: RawLayout, lists: Path | None, places: Sequence[Path], notes: list[str]
) -> dict[Phase, tuple[str, ...]]:
    """Training and test list: the official ones, else as the folders are cut, else the last photos for testing."""
    given = {phase: official_list(place, layout, phase) for place in places for phase in PHASES}
    official = {phase: names for phase, names in given.items() if names is not None}
    if len(official) == len(PHASES):
        return official
    if lists is not None:
        raise UserError(
            f"{layout.name}: no meta_train_id.txt and meta_test_id.txt in {lists} (nor in its {layout.list_folder}); "
            f"take them from {OFFICIAL}"
        )
    _check_complete(sorted(raw.mask), raw.image, "photos", layout, "with a mask")
    published = dataset_spec(layout.name).photos or (0, 0)
    if len(raw.image) != sum(published):
        notes.append(f"{len(raw.image)} photos, while {layout.name} has {sum(published)}: the parts are not its own")
    if "all" not in raw.stems:
        return {phase: tuple(raw.stems[phase]) for phase in PHASES}
    stems = raw.stems["all"]
    last = max(1, round(_LAST_SHARE * len(stems)))
    notes.append(
        f"no official lists given: the last {last} photos in file order are for testing, so scores are not comparable "
        f"with the papers' (lists: {OFFICIAL})"
    )
    return {"train": tuple(stems[:-last]), "test": tuple(stems[-last:])}


def _check_complete(
    stems: Sequence[str], files: Mapping[str, Path], what: str, layout: RawLayout, where: str = "of the lists"
) -> None:
    missing = [stem for stem in stems if stem not in files]
    if missing:
        raise UserError(
            f"{layout.name}: {len(missing)} {what} {where} are missing, {missing[0]} among them; "
            f"download {layout.source}"
        )


def _query_part(index: Mapping[int, Sequence[int]], n_foreground: int) -> int:
    """Number of query photos an index speaks of, less the one the official files count twice (facts A.4)."""
    return max((max(index[key], default=0) for key in range(1, n_foreground + 1)), default=0)


def _test_rule(
    layout: RawLayout, presence: Sequence[tuple[int, ...]], given: int | None, notes: list[str]
) -> tuple[int, str]:
    """The test split of a dataset without an official index, and its rule for pairs: the journal's where they exist."""
    size = layout.space.n_foreground
    protocol = [layout.test_split] if layout.test_split else range(200, len(presence), 100)
    for split in [given] if given else protocol:
        if split < len(presence) and _has_journal_pairs(build_support_index(presence, split, size), layout):
            if not layout.test_split and not given:
                notes.append(f"test split {split}: none is published, this one was counted on the masks")
            return split, "journal"
    split = given or max(1, len(presence) // 3)
    notes.append(f"test split {split}, and the rule spread for test pairs: too few photos for the journal's")
    return split, "spread"


def _has_journal_pairs(index: Mapping[int, Sequence[int]], layout: RawLayout) -> bool:
    try:
        journal_pairs(index, layout.space.test_order)
    except UserError:
        return False
    return True


def tailor(
    layout: RawLayout,
    root: Path | str,
    out: Path | str,
    *,
    lists: Path | str | None = None,
    copy: bool = False,
    train_split: int | None = None,
    test_split: int | None = None,
    force: bool = False,
    progress: bool = False,
) -> TailorReport:
    """Bring a raw dataset into the on-disk form at `out`, as links (or copies) to the files beneath `root`.

    lists        folder with the authors' list files and support indexes (used where they lie there)
    *_split      query photos per phase, instead of the protocol's; a tree too small for it gets a split of its own, and
                 the pair rule "spread" where the journal's pairs do not exist
    Missing mirrored masks are made. Raises UserError for missing pieces, photos or masks that are damaged, do not fit
    each other or hold foreign ids, a pickle with code, an `out` that is taken. Interrupted, it goes on where it was.
    """
    root, out, lists = Path(root), Path(out), None if lists is None else Path(lists)
    raw, space = find_raw(root, layout), layout.space
    places = [lists] if lists is not None else [path for path in (root,) if (path / "list").is_dir()]
    notes: list[str] = []
    stems = _lists(raw, layout, lists, places, notes)
    everything = [stem for phase in PHASES for stem in stems[phase]]
    _check_complete(everything, raw.image, "photos", layout)
    _check_complete(everything, raw.mask, "class masks", layout)
    indexes = {phase: official_index(place, layout, phase, len(stems[phase])) for place in places for phase in PHASES}
    if len(raw.image) > len(everything):
        notes.append(f"{len(raw.image) - len(everything)} photos are in no list and were left out")

    splits: dict[Phase, int] = {}
    official_train, official_test = indexes.get("train"), indexes.get("test")
    if official_train is not None:
        splits["train"] = _query_part(official_train, space.n_foreground)
    elif train_split is not None or layout.train_split < len(stems["train"]):
        splits["train"] = train_split or layout.train_split
    else:  # a tree smaller than the papers' number
        splits["train"] = half = len(stems["train"]) // 2
        notes.append(f"train split {half}: half of the photos, since there are not more than {layout.train_split}")
    if official_test is not None:
        splits["test"] = _query_part(official_test, space.n_foreground)
        rule = "journal" if _has_journal_pairs(official_test, layout) else "spread"
    else:
        masks = tqdm([raw.mask[stem] for stem in stems["test"]], desc="counting", unit="mask", disable=not progress)
        presence = [space.present(read_mask(mask), f"mask {mask}") for mask in masks]
        splits["test"], rule = _test_rule(layout, presence, test_split, notes)
    for phase in PHASES:
        check_split(layout.name, phase, splits[phase], len(stems[phase]))
    sizes = [[stem, raw.mask[stem].stat().st_size, raw.image[stem].stat().st_size] for stem in everything]
    identity = {
        "tailor": layout.name,
        "version": VERSION,
        "stems": {phase: sha256_json(list(stems[phase])) for phase in PHASES},
        "splits": splits,
        "indexes": {phase: index and sha256_json(index) for phase, index in indexes.items()},
        "source": sha256_json(sizes),
    }
    writer = DatasetWriter(
        out,
        name=layout.name,
        space=space.name,
        train_split=splits["train"],
        test_split=splits["test"],
        test_pairs=rule,
        recipe={**identity, "copy": copy, "root": "" if copy else str(root.resolve())},
        fingerprint=sha256_json(identity),
        inclusive=True,
        indexes={phase: index for phase, index in indexes.items() if index is not None},
        force=force,
        details={"notes": notes},
    )
    with writer:
        work = [] if writer.done else [(phase, stem) for phase in PHASES for stem in stems[phase]]
        for phase, stem in tqdm(work, desc=layout.name, unit="photo", disable=not progress or writer.done):
            writer.add(
                phase,
                stem,
                raw.image[stem],
                raw.mask[stem],
                mirrored=raw.mirrored.get(stem),
                instances=raw.instances.get(stem) if len(raw.instances) >= len(everything) else None,
                copy=copy,
            )
    made = open_dataset(out)
    return TailorReport(out, made.counts(), tuple(made.description["notes"]), fresh=not writer.done)
