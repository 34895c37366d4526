"""What ATR, LIP and CIHP have in common: finding the raw folders, the lists and tailoring by link or copy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oshp_lite.data.dataset import CLASSES, IMAGES, MIRRORED, PHASES, Phase, open_dataset, read_list, read_support_index
from oshp_lite.data.pairs import build_support_index, journal_pairs
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read, read_mask, sha256_json
from oshp_lite.labels import label_space

OFFICIAL = "https://github.com/Charleshhy/One-shot-Human-Parsing"
VERSION = 1
_DEPTH = 3  # how far below --root the raw folders may lie (zips unpack into folders of their own name)

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class Piece:
    """One raw folder: what it holds and the names (path endings) it goes by, the likeliest first."""

    what: str
    names: tuple[str, ...]
    ending: str = ".png"
    required: bool = True


@dataclass(frozen=True)
class RawLayout:
    """A raw dataset: its folders and the numbers of the papers' protocol (facts A.3 to A.5).

    pieces       "image", "mask", "mirrored", "instances" -> the folders that hold them; a piece list per phase where
                 the raw dataset is cut already, one under "all" where only the official lists say which is which
    train_split  query photos in training; test_split None: the smallest multiple of 100 from 200 on for which the
                 journal's test pairs exist (the authors' LIP and CIHP indexes are not public in the repository)
    """

    name: str
    space: str
    where: str
    images: Mapping[str, Piece]
    masks: Mapping[str, Piece]
    mirrored: tuple[Piece, ...]
    instances: tuple[Piece, ...] = ()
    train_split: int = 14000
    test_split: int | None = None
    test_share: float = 0.15

    @property
    def list_folder(self) -> str:
        """Name of the dataset's folder in the official tree (ATR_OS)."""
        return self.name.upper().replace("-", "_")


@dataclass(frozen=True)
class TailorReport:
    """What tailoring did, in words and numbers."""

    root: Path
    counts: dict[str, int]
    notes: tuple[str, ...]
    fresh: bool


@dataclass
class _Found:
    """Stem -> file of every kind, and the phase each photo's folder speaks of."""

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
            f"files beneath {folders[0]}); {first}download {layout.where}"
        )
    return place


def _files(folder: Path, ending: str) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix == ending and path.name[0] != "."}


def find_raw(root: Path, layout: RawLayout) -> _Found:
    """Every raw file of a dataset by its stem. Raises UserError that names the missing piece and where it is had.

    A tree already arranged as the official README asks (trainval_images, ...) is understood as well.
    """
    if not root.is_dir():
        raise UserError(f"folder {root} does not exist; give --root the folder with {layout.where}")
    try:
        folders = _subfolders(root)
    except OSError as error:
        raise cannot_read(root, error, "folder") from None
    found = _Found()
    arranged = _find(folders, Piece("photos", (IMAGES,), ".jpg"))
    if arranged is not None:
        images = {"all": Piece("photos", (IMAGES,), ".jpg")}
        masks = {"all": Piece("class masks", (CLASSES,))}
        mirrored: tuple[Piece, ...] = (Piece("mirrored masks", (MIRRORED,), required=False),)
        folders = [arranged.parent]
    else:
        images, masks, mirrored = dict(layout.images), dict(layout.masks), layout.mirrored
    for phase, piece in images.items():
        new = _files(_need(folders, piece, layout), piece.ending)
        found.image |= new
        found.stems[phase] = sorted(new)
    for piece in masks.values():
        found.mask |= _files(_need(folders, piece, layout), piece.ending)
    for target, pieces in ((found.mirrored, mirrored), (found.instances, layout.instances)):
        for piece in pieces:
            place = _find(folders, piece)
            if place is not None:
                target |= _files(place, piece.ending)
    return found


# ----------------------------------------------------------------------------------------------- lists


def list_folders(lists: Path, layout: RawLayout) -> list[Path]:
    """Places beneath `lists` where the official files may lie. Raises UserError when there is no such folder."""
    if not lists.is_dir():
        raise UserError(f"folder {lists} does not exist; give --lists the folder with the official list files")
    tops = [lists, lists / layout.list_folder, lists / "data" / "datasets" / layout.list_folder]
    return [place for top in tops for place in (top, top / "list", top / "support") if place.is_dir()]


def _first(folders: Iterable[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def official_list(lists: Path, layout: RawLayout, phase: Phase) -> tuple[str, ...] | None:
    """The authors' list of a phase, if it is there."""
    path = _first(list_folders(lists, layout), f"meta_{phase}_id.txt")
    return None if path is None else read_list(path)


def official_index(lists: Path, layout: RawLayout, phase: Phase, n_photos: int) -> dict[int, list[int]] | None:
    """The authors' support index of a phase, if it is there; a pickle with code in it is refused."""
    space = label_space(layout.space)
    path = _first(list_folders(lists, layout), f"meta_{phase}_{space.key}_supports.pkl")
    return None if path is None else read_support_index(path, space.n_foreground, n_photos)


def _lists_from_folders(found: _Found, layout: RawLayout) -> dict[Phase, tuple[str, ...]]:
    """Train and test lists without the official ones: the raw cut, else the last share in file order for testing."""
    if "all" not in found.stems:
        return {phase: tuple(found.stems[phase]) for phase in PHASES}
    stems = found.stems["all"]
    cut = len(stems) - max(1, round(layout.test_share * len(stems)))
    return {"train": tuple(stems[:cut]), "test": tuple(stems[cut:])}


# ----------------------------------------------------------------------------------------------- tailoring


def _check_complete(stems: Sequence[str], files: Mapping[str, Path], what: str, layout: RawLayout) -> None:
    missing = [stem for stem in stems if stem not in files]
    if missing:
        raise UserError(
            f"{layout.name}: {len(missing)} {what} of the lists are missing, {missing[0]} among them; "
            f"download {layout.where}"
        )


def _query_part(index: Mapping[int, Sequence[int]], n_foreground: int) -> int:
    """Number of query photos an index speaks of, less the one the official files count twice (facts A.4)."""
    return max((max(index[key], default=0) for key in range(1, n_foreground + 1)), default=0)


def _test_split(masks: Sequence[Path], layout: RawLayout, progress: Progress | None) -> tuple[int, bool]:
    """The test split of a dataset without an official one, and whether the journal's pairs exist for it."""
    space = label_space(layout.space)
    shown = progress(masks, "classes in the test part") if progress else masks
    presence = [space.present(read_mask(path), f"mask {path}") for path in shown]
    for split in range(200, max(len(masks) - 1, 201), 100):
        try:
            journal_pairs(build_support_index(presence, split, space.n_foreground), space.test_order)
        except UserError:
            continue
        return split, True
    return max(1, len(masks) // 3), False


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
    progress: Progress | None = None,
) -> TailorReport:
    """Bring a raw dataset into the on-disk form at `out`, as links (or copies) to the files beneath `root`.

    lists        folder with the authors' list files and support indexes (used where they are found)
    *_split      query photos per phase, instead of the protocol's
    Missing mirrored masks are made. Raises UserError for missing pieces, photos or masks that are damaged, do not fit
    each other or hold foreign ids, a pickle with code, an `out` that is taken. Interrupted, it goes on where it was.
    """
    root, out = Path(root), Path(out)
    space = label_space(layout.space)
    found = find_raw(root, layout)
    places = [Path(lists)] if lists is not None else [path for path in (root,) if (path / "list").is_dir()]
    notes: list[str] = []
    stems = _lists_from_folders(found, layout)
    given = {phase: official_list(place, layout, phase) for place in places for phase in PHASES}
    official = {phase: names for phase, names in given.items() if names is not None}
    if len(official) == len(PHASES):
        stems = {phase: official[phase] for phase in PHASES}
    elif lists is not None:
        raise UserError(
            f"{layout.name}: no meta_train_id.txt and meta_test_id.txt in {lists} (nor in its {layout.list_folder}); "
            f"take them from {OFFICIAL}"
        )
    elif "all" in found.stems:
        notes.append(
            f"no official lists given: the last {len(stems['test'])} photos in file order are for testing, so scores "
            f"are not comparable with the papers' (lists: {OFFICIAL})"
        )
    everything = [stem for phase in PHASES for stem in stems[phase]]
    _check_complete(everything, found.image, "photos", layout)
    _check_complete(everything, found.mask, "class masks", layout)
    indexes = {phase: official_index(place, layout, phase, len(stems[phase])) for place in places for phase in PHASES}
    if len(found.image) > len(everything):
        notes.append(f"{len(found.image) - len(everything)} photos are in no list and were left out")

    journal = True
    splits = {"train": train_split or layout.train_split, "test": test_split or layout.test_split or 0}
    for phase in PHASES:
        index = indexes.get(phase)
        if index is not None:
            splits[phase] = _query_part(index, space.n_foreground)
    if not splits["test"]:
        splits["test"], journal = _test_split([found.mask[stem] for stem in stems["test"]], layout, progress)
        notes.append(f"test split {splits['test']}: none is published, this one was counted on the masks")
    sizes = [[stem, found.mask[stem].stat().st_size, found.image[stem].stat().st_size] for stem in everything]
    identity = {
        "tailor": layout.name,
        "version": VERSION,
        "stems": {phase: sha256_json(list(stems[phase])) for phase in PHASES},
        "splits": splits,
        "indexes": {phase: index and sha256_json(index) for phase, index in indexes.items()},
        "source": sha256_json(sizes),
    }
    recipe = {**identity, "copy": copy, "root": "" if copy else str(root.resolve())}
    writer = DatasetWriter(
        out,
        name=layout.name,
        space=layout.space,
        train_split=splits["train"],
        test_split=splits["test"],
        test_pairs="journal" if journal else "spread",
        recipe=recipe,
        fingerprint=sha256_json(identity),
        inclusive=True,
        force=force,
        about={"notes": notes},
    )
    with writer:
        work = [(phase, stem) for phase in PHASES for stem in stems[phase]]
        for phase, stem in [] if writer.done else progress(work, layout.name) if progress else work:
            writer.add_files(
                phase,
                stem,
                found.image[stem],
                found.mask[stem],
                mirrored=found.mirrored.get(stem),
                instances=found.instances.get(stem) if len(found.instances) >= len(everything) else None,
                copy=copy,
            )
        for phase, index in indexes.items():
            if index is not None:
                writer.use_index(phase, index)
    made = open_dataset(out)
    return TailorReport(out, made.counts(), tuple(made.description["notes"]), fresh=not writer.done)
