"""ATR, LIP and CIHP, as their archives unpack -> the one-shot form, made of links or copies.

A raw dataset of photos and PNG masks is one `RawLayout`. The authors' lists and support indexes are used where given.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from oshp_lite.data import dataset as form
from oshp_lite.data.dataset import PHASES, Phase, open_dataset
from oshp_lite.data.pairs import Pair, build_support_index, journal_pairs
from oshp_lite.data.prepare import Preparation, TailorReport, whole_number
from oshp_lite.data.registry import dataset_spec
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read, read_mask, sha256_json

VERSION = 1
OFFICIAL = "https://github.com/Charleshhy/One-shot-Human-Parsing"
_DEPTH = 3  # how far below --root the raw folders may lie (archives unpack into folders of their own name)
_LAST_SHARE = 0.15  # of the photos are for testing where neither folders nor lists say which
_PARTS = {"all": "", "train": "training ", "test": "validation "}
_ARCHIVES = {".zip", ".gz", ".tar", ".rar"}


class RawLayout(Preparation):
    """A raw dataset: its folders (path endings) and the numbers of the papers' protocol (facts A.3 to A.5).

    where          what it is and where it is had, before "as linked in the README of ..."
    images, masks  the folders that hold them: one a phase where the raw dataset is cut already, one under "all" where
                   only the official lists say which is which
    mirrored       folders with mirrored masks, where at hand: alternatives of each, the likeliest first
    instances      folders with person ids, where at hand
    origin         where the lists of its phases come from
    test_split     query photos in testing; None: the smallest multiple of 100 from 200 on for which the journal's test
                   pairs exist (the authors' LIP and CIHP indexes are not public in the repository)
    """

    published_pairs = True
    lists: Mapping[Phase, str] = {"train": "meta_train_id.txt", "test": "meta_test_id.txt"}
    """Files with the stems of each phase."""

    def __init__(
        self,
        name: str,
        where: str,
        images: Mapping[str, str],
        masks: Mapping[str, str],
        mirrored: Sequence[Sequence[str]] = (),
        instances: Sequence[Sequence[str]] = (),
        test_split: int | None = None,
        origin: str = OFFICIAL,
    ) -> None:
        self.name, self.images, self.masks, self.mirrored, self.instances = name, images, masks, mirrored, instances
        self.spec, self.test_split = dataset_spec(name), test_split
        self.space, self.train_split = self.spec.space, self.spec.train_queries or 0
        self.list_folder = name.upper().replace("-", "_")  # in the official tree
        self.origin = origin
        linked = "as linked in the README of" if origin == OFFICIAL else "from"
        self.source = f"{where} {linked} {origin}"
        self.about = f"Bring {self.source} into the one-shot form, as links or copies."

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

_LIP_REVERSED = "Train_parsing_reversed_labels"  # its zip has only the training part's mirrored masks
LIP = RawLayout(
    "lip-os",
    "LIP's single-person zips (TrainVal_images.zip, TrainVal_parsing_annotations.zip)",
    images={"train": "train_images", "test": "val_images"},
    masks={"train": "train_segmentations", "test": "val_segmentations"},
    mirrored=(
        ("train_segmentations_reversed", f"{_LIP_REVERSED}/TrainVal_parsing_annotations", _LIP_REVERSED),
        ("val_segmentations_reversed",),
    ),
)
"""20 ids, 30,462 + 10,000 photos."""

CIHP = RawLayout(
    "cihp-os",
    "CIHP (instance-level_human_parsing.zip)",
    images={"train": "Training/Images", "test": "Validation/Images"},
    masks={"train": "Training/Category_ids", "test": "Validation/Category_ids"},
    mirrored=(("Category_rev_ids",), ("Training/Category_rev_ids",), ("Validation/Category_rev_ids",)),
    instances=(("Training/Human_ids",), ("Validation/Human_ids",)),
)
"""20 ids, 28,280 + 5,000 photos of several people, with person ids where they are at hand."""


class RawFiles(NamedTuple):
    """Stem -> file of every kind, and the photos of each phase's folder in file order."""

    image: dict[str, Path]
    mask: dict[str, Path]
    mirrored: dict[str, Path]
    instances: dict[str, Path]
    stems: dict[str, list[str]]


def _files(
    folders: Sequence[Path], names: Sequence[str], suffix: str = ".png", *, plain: bool = False
) -> tuple[Path, dict[str, Path]] | None:
    """The first folder of one of these names with such files, and the files by stem; None without any.

    `plain` passes over folders of mirrored masks: LIP's reversed labels sit in folders named like the ordinary ones.
    """
    for place in (folder / name for name in names for folder in folders):
        if place.is_dir() and not (plain and "revers" in str(place.relative_to(folders[0])).lower()):
            paths = (path for path in sorted(place.iterdir()) if path.suffix == suffix and path.name[0] != ".")
            files = {path.stem: path for path in paths}
            if files:
                return place, files
    return None


def find_raw(root: Path, layout: RawLayout) -> RawFiles:
    """Every raw file of a dataset by its stem. Raises UserError that names the missing piece and where it is had.

    A tree already arranged as the official README asks (trainval_images, ...) is understood as well.
    """
    if not os.path.isdir(root):
        raise UserError(f"folder {root} does not exist; give --root the folder with {layout.source}")
    try:
        packed = sorted(name for name in os.listdir(root) if Path(name).suffix in _ARCHIVES)
    except OSError as error:
        raise cannot_read(root, error, "folder") from None
    below = [path for depth in range(1, _DEPTH + 1) for path in sorted(root.glob("*/" * depth))]
    folders = [root, *(path for path in below if not any(part[0] == "." for part in path.relative_to(root).parts))]
    images, masks, mirrored = layout.images, layout.masks, layout.mirrored
    arranged = _files(folders, (form.IMAGES,), ".jpg", plain=True)
    if arranged is not None:
        images, masks, mirrored = {"all": form.IMAGES}, {"all": form.CLASSES}, ((form.MIRRORED,),)
        folders = [arranged[0].parent]

    def needed(phase: str, what: str, name: str, suffix: str) -> dict[str, Path]:
        there = _files(folders, (name,), suffix, plain=True)
        if there is None:
            piece = "class masks" if phase == "all" and what == "masks" else f"{_PARTS[phase]}{what}"
            first = f"unpack {', '.join(packed)} there, or " if packed else ""
            raise UserError(
                f"{layout.name}: the {piece} are missing (no folder {name} with {suffix} files "
                f"beneath {folders[0]}); {first}download {layout.source}"
            )
        return there[1]

    def optional(pieces: Sequence[Sequence[str]]) -> dict[str, Path]:
        places = (_files(folders, alternatives) for alternatives in pieces)
        return {stem: path for place in places if place is not None for stem, path in place[1].items()}

    photos = {phase: needed(phase, "photos", name, ".jpg") for phase, name in images.items()}
    ids = {phase: needed(phase, "masks", name, ".png") for phase, name in masks.items()}
    image, mask = ({stem: path for part in parts.values() for stem, path in part.items()} for parts in (photos, ids))
    stems = {phase: sorted(part) for phase, part in photos.items()}
    return RawFiles(image, mask, optional(mirrored), optional(layout.instances), stems)


def _official(lists: Path, layout: RawLayout, name: str) -> Path | None:
    """One of the authors' files beneath `lists`, if it is there. Raises UserError when there is no such folder."""
    if not os.path.isdir(lists):
        raise UserError(f"folder {lists} does not exist; give --lists the folder with the official list files")
    tops = [lists, lists / layout.list_folder, lists / "data" / "datasets" / layout.list_folder]
    places = (place / name for top in tops for place in (top, top / "list", top / "support"))
    return next((place for place in places if place.is_file()), None)


def official_list(lists: Path, layout: RawLayout, phase: Phase) -> tuple[str, ...] | None:
    """The authors' list of a phase, if it is there."""
    path = _official(lists, layout, layout.lists[phase])
    return None if path is None else form.read_list(path)


def official_index(lists: Path, layout: RawLayout, phase: Phase, n_photos: int) -> dict[int, list[int]] | None:
    """The authors' support index of a phase, if it is there; a pickle with code in it is refused."""
    path = _official(lists, layout, f"meta_{phase}_{layout.space.key}_supports.pkl")
    return None if path is None else form.read_support_index(path, layout.space.n_foreground, n_photos)


def _lists(
    raw: RawFiles, layout: RawLayout, places: Sequence[Path], given: bool, notes: list[str]
) -> dict[Phase, tuple[str, ...]]:
    """Training and test list: the official ones, else as the folders are cut, else the last photos for testing."""
    official = {phase: official_list(place, layout, phase) for place in places for phase in PHASES}
    if official and all(names is not None for names in official.values()):
        return {phase: names for phase, names in official.items() if names is not None}
    if given:
        raise UserError(
            f"{layout.name}: no {layout.lists['train']} and {layout.lists['test']} in {places[0]} (nor in its "
            f"{layout.list_folder}); take them from {layout.origin}"
        )
    _check_complete(sorted(raw.mask), raw.image, "photos with a mask", layout)
    published = sum(layout.spec.photos or (0, 0))
    if len(raw.image) != published:
        notes.append(f"{len(raw.image)} photos, while {layout.name} has {published}: the parts are not its own")
    if "all" not in raw.stems:
        return {phase: tuple(raw.stems[phase]) for phase in PHASES}
    stems = raw.stems["all"]
    last = max(1, round(_LAST_SHARE * len(stems)))
    notes.append(
        f"no official lists given: the last {last} photos in file order are for testing, so scores are not comparable "
        f"with the papers' (lists: {layout.origin})"
    )
    return {"train": tuple(stems[:-last]), "test": tuple(stems[-last:])}


def _check_complete(stems: Sequence[str], files: Mapping[str, Path], what: str, layout: RawLayout) -> None:
    missing = [stem for stem in stems if stem not in files]
    if missing:
        more = f"{len(missing)} {what} are missing, {missing[0]} among them"
        raise UserError(f"{layout.name}: {more}; download {layout.source}")


def _test_rule(
    layout: RawLayout, presence: Sequence[tuple[int, ...]], given: int | None, notes: list[str]
) -> tuple[int, str]:
    """The test split of a dataset without an official index, and its rule for pairs: the journal's where they exist."""
    size, own = layout.space.n_foreground, given or layout.test_split
    for split in [own] if own else range(200, len(presence), 100):
        if split < len(presence) and _has_journal_pairs(build_support_index(presence, split, size), layout):
            if not own:
                notes.append(f"test split {split}: none is published, this one was counted on the masks")
            return split, "journal"
    split = given or max(1, len(presence) // 3)
    notes.append(f"test split {split}, and the rule spread for test pairs: too few photos for the journal's")
    return split, "spread"


def _has_journal_pairs(index: Mapping[int, Sequence[int]], layout: RawLayout) -> bool:
    try:
        return bool(journal_pairs(index, layout.space.test_order))
    except UserError:
        return False


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
    root, out = Path(root), Path(out)
    raw, space = find_raw(root, layout), layout.space
    places = [Path(lists)] if lists is not None else [root] if (root / "list").is_dir() else []
    notes: list[str] = []
    stems = _lists(raw, layout, places, lists is not None, notes)
    work = [(phase, stem) for phase in PHASES for stem in stems[phase]]
    for what, files in (("photos", raw.image), ("class masks", raw.mask)):
        _check_complete([stem for _, stem in work], files, f"{what} of the lists", layout)
    official = {phase: official_index(place, layout, phase, len(stems[phase])) for place in places for phase in PHASES}
    indexes = {phase: index for phase, index in official.items() if index is not None}
    if len(raw.image) > len(work):
        notes.append(f"{len(raw.image) - len(work)} photos are in no list and were left out")

    splits: dict[Phase, int] = {}
    for (
        phase,
        index,
    ) in indexes.items():  # the official files count one too many (facts A.4)
        splits[phase] = max((line for key in range(1, space.n_foreground + 1) for line in index[key]), default=0)
    if "train" not in splits:
        splits["train"] = train_split or layout.train_split
        if train_split is None and layout.train_split >= len(stems["train"]):  # a tree smaller than the papers' number
            splits["train"] = half = len(stems["train"]) // 2
            notes.append(f"train split {half}: half of the photos, since there are not more than {layout.train_split}")
    if "test" in splits:
        rule = "journal" if _has_journal_pairs(indexes["test"], layout) else "spread"
    else:
        masks = tqdm([raw.mask[stem] for stem in stems["test"]], desc="counting", unit="mask", disable=not progress)
        presence = [space.present(read_mask(mask), f"mask {mask}") for mask in masks]
        splits["test"], rule = _test_rule(layout, presence, test_split, notes)
    for phase in PHASES:
        form.check_split(layout.name, phase, splits[phase], len(stems[phase]))
    identity = {
        "tailor": layout.name,
        "version": VERSION,
        "stems": {phase: sha256_json(list(stems[phase])) for phase in PHASES},
        "splits": splits,
        "indexes": {phase: index and sha256_json(index) for phase, index in official.items()},
        "source": sha256_json([[s, raw.mask[s].stat().st_size, raw.image[s].stat().st_size] for _, s in work]),
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
        indexes=indexes,
        force=force,
        details={"notes": notes},
    )
    instances = raw.instances if len(raw.instances) >= len(work) else {}
    with writer:
        for phase, stem in writer.missing(stems, progress=progress):
            mirror, persons = raw.mirrored.get(stem), instances.get(stem)
            writer.add(phase, stem, raw.image[stem], raw.mask[stem], mirrored=mirror, instances=persons, copy=copy)
    made = open_dataset(out)
    return TailorReport(out, made.counts(), tuple(made.description["notes"]), fresh=not writer.done)
