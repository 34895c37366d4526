"""The on-disk form of a one-shot dataset, and reading it. The official README's tree plus `dataset.json`.

dataset.json                        name, label space, counts, splits, pair rule, fingerprint
list/meta_{train,test}_id.txt       one stem a line; the line number is the photo's index everywhere
trainval_images/STEM.jpg            photos
trainval_classes/STEM.png           class masks, raw ids of the label space
Category_rev_ids/STEM.png           class masks of the mirrored photos (left and right ids exchanged)
trainval_foreground/STEM.png        0/1/255, only where the class mask cannot tell the whole person (CCP-OS)
instances/STEM.png                  person ids, where known
support/meta_{train,test}_KEY_supports.{json,pkl}
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from oshp_lite.data.pairs import Pair, aaai_pairs, each_pairs, journal_pairs, spread_pairs, thin_pairs
from oshp_lite.errors import UserError
from oshp_lite.files import read_image, read_json, read_mask, read_plain_pickle
from oshp_lite.labels import BACKGROUND, IGNORE, LabelSpace, label_space

Phase = Literal["train", "test"]
PHASES: tuple[Phase, ...] = ("train", "test")
PairRule = Literal["dataset", "journal", "spread", "each", "aaai"]
FORM = 1
"""Version of the on-disk form; written into every dataset.json and part of every fingerprint."""
SPREAD, EACH = {"queries": 10, "repeats": 5}, {"repeats": 3}
"""Photos of a class and supports of each under the rules "spread" and "each", where a description has no numbers."""
AGAIN = "make the dataset again with its script in data_scripts"

DESCRIPTION = "dataset.json"
IMAGES, CLASSES, MIRRORED = "trainval_images", "trainval_classes", "Category_rev_ids"
FOREGROUND, INSTANCES = "trainval_foreground", "instances"
PICTURES = (IMAGES, CLASSES, MIRRORED, FOREGROUND, INSTANCES)


def picture_path(root: Path, folder: str, stem: str) -> Path:
    """Where a photo (jpg) or one of its masks (png) lies."""
    return root / folder / f"{stem}.{'jpg' if folder == IMAGES else 'png'}"


def list_path(root: Path, phase: str) -> Path:
    """Where a phase's list of stems lies."""
    return root / "list" / f"meta_{phase}_id.txt"


def support_path(root: Path, phase: str, key: str, suffix: str = "json") -> Path:
    """Where a phase's support index lies (`key` is the label space's short name)."""
    return root / "support" / f"meta_{phase}_{key}_supports.{suffix}"


def check_split(where: object, phase: str, split: int, photos: int) -> None:
    """Raise UserError unless a phase has at least one query and one support photo."""
    if not 0 < split < photos:
        raise UserError(
            f"{where} has {photos} {phase} photos, of which {split} should be queries ({phase}_split); "
            "there must be at least one query and one support photo"
        )


def check_sizes(photo: Path | str, shape: tuple[int, ...], **masks: np.ndarray | None) -> None:
    """Raise UserError unless every mask has the height and width of its photo's shape."""
    for name, mask in masks.items():
        if mask is not None and mask.shape != shape[:2]:
            height, width = mask.shape[:2]
            raise UserError(
                f"{name.replace('_', ' ')} of {photo} is {width}x{height} but the photo is {shape[1]}x{shape[0]}; "
                "they must have the same size"
            )


def read_list(path: Path) -> tuple[str, ...]:
    """Stems of a list file, one a line. Raises UserError when it is missing, empty, repeats or misnames a stem."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else "cannot be read"
        raise UserError(f"list file {path} {reason}; {AGAIN}") from None
    stems = tuple(line.strip() for line in lines if line.strip())
    if not stems:
        raise UserError(f"list file {path} is empty; {AGAIN}")
    for stem, count in Counter(stems).items():
        if stem in {".", ".."} or set(stem) & set("/\\\0"):
            raise UserError(f"list file {path} names {stem!r}, which is no file stem; take the slash out")
        if count > 1:
            raise UserError(f"list file {path} names {stem!r} twice; every photo may occur once")
    return stems


def read_support_index(path: Path, n_foreground: int, n_photos: int) -> dict[int, list[int]]:
    """Support index {0..2S: sorted line numbers} of a .json or official .pkl file. Raises UserError when malformed."""
    content = read_plain_pickle(path) if path.suffix == ".pkl" else read_json(path)
    again = "make it again from the masks or use the authors' file"
    try:
        index = {int(key): list(lines) for key, lines in content.items()}
    except (AttributeError, TypeError, ValueError):
        raise UserError(f"support file {path} does not hold a dictionary of lists; {again}") from None
    if sorted(index) != list(range(2 * n_foreground + 1)):
        raise UserError(f"support file {path} must have the keys 0 to {2 * n_foreground}; {again}")
    for key, lines in index.items():
        if not all(type(line) is int and 0 <= line < n_photos for line in lines):
            raise UserError(f"support file {path}, key {key}: line numbers must lie in 0..{n_photos - 1}; {again}")
    return index


@dataclass(frozen=True)
class Sample:
    """One photo with its masks, all of one height and width.

    image uint8 [H,W,3] RGB; mask uint8 [H,W] ids, 255 = ignore; foreground uint8 [H,W] in {0,1,255}.
    """

    image: np.ndarray
    mask: np.ndarray
    foreground: np.ndarray

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return int(self.mask.shape[0]), int(self.mask.shape[1])


@dataclass(frozen=True, eq=False)
class OneShotDataset:
    """A dataset in the on-disk form, opened by `open_dataset`. Pictures are read when needed.

    `space` is the label space of the class masks, `description` the content of dataset.json.
    Every reading method raises UserError for a missing, damaged or ill-fitting file.
    """

    root: Path
    name: str
    space: LabelSpace
    description: dict[str, Any] = field(repr=False)
    _stems: Mapping[Phase, tuple[str, ...]] = field(repr=False)
    _index: dict[Phase, dict[int, list[int]]] = field(default_factory=dict, repr=False)

    @property
    def n_ids(self) -> int:
        """Logits of a network for this dataset."""
        return self.space.n_ids

    @property
    def fingerprint(self) -> str:
        """What the data are, in one hash: part of every run's identity."""
        return str(self.description["fingerprint"])

    def stems(self, phase: Phase) -> tuple[str, ...]:
        """The photos of a phase in list order. Raises UserError for an unknown phase."""
        if phase not in self._stems:
            raise UserError(f"unknown phase {phase!r}; it is train or test")
        return self._stems[phase]

    def split(self, phase: Phase) -> int:
        """Number of query photos of a phase: photos 0..split-1 are queries, the rest supports."""
        self.stems(phase)
        return int(self.description[f"{phase}_split"])

    @cached_property
    def has_foreground(self) -> bool:
        """True when foreground masks lie beside the class masks."""
        return (self.root / FOREGROUND).is_dir()

    def image_path(self, stem: str) -> Path:
        """Where a photo lies."""
        return picture_path(self.root, IMAGES, stem)

    def mask_path(self, stem: str, folder: str = CLASSES) -> Path:
        """Where a photo's mask lies in one of the mask folders."""
        return picture_path(self.root, folder, stem)

    def image(self, stem: str) -> np.ndarray:
        """The photo, RGB uint8 [H,W,3]."""
        return read_image(self.image_path(stem))

    def mask(self, stem: str) -> np.ndarray:
        """The class mask, raw ids, uint8 [H,W]; 255 is ignore."""
        return self._ids(self.mask_path(stem))

    def _ids(self, path: Path) -> np.ndarray:
        mask = read_mask(path)
        self.space.merge(mask, f"mask {path}")  # refuses foreign ids
        return mask

    def mirrored(self, stem: str) -> np.ndarray:
        """The class mask of the mirrored photo, uint8 [H,W]; made from the class mask when the file is not there."""
        path = self.mask_path(stem, MIRRORED)
        return self._ids(path) if path.exists() else self.space.mirror(self.mask(stem))

    def foreground(self, stem: str) -> np.ndarray:
        """Person and everything worn or carried 1, scene 0, ignore 255, uint8 [H,W]."""
        if not self.has_foreground:
            return self.space.foreground(self.mask(stem))
        path = self.mask_path(stem, FOREGROUND)
        mask = read_mask(path)
        if not np.isin(mask, (BACKGROUND, 1, IGNORE)).all():
            raise UserError(f"foreground mask {path} may hold only 0, 1 and {IGNORE}; make the dataset again")
        return mask

    def instances(self, stem: str) -> np.ndarray | None:
        """Person ids (0 nobody, 1, 2, ..., 255 ignore), uint8 [H,W]; None when the dataset has no person ids."""
        path = self.mask_path(stem, INSTANCES)
        return read_mask(path) if path.parent.is_dir() else None

    def sample(self, stem: str, *, mirror: bool = False) -> Sample:
        """Photo, class mask and foreground of one size, or those of the mirrored photo.

        Raises UserError when a file is missing or damaged, or when photo and mask differ in size.
        """
        image = self.image(stem)
        mask = self.mirrored(stem) if mirror else self.mask(stem)
        if not self.has_foreground:
            foreground = self.space.foreground(mask)
        else:
            foreground = self.foreground(stem)[:, :: -1 if mirror else 1]
        check_sizes(self.image_path(stem), image.shape, mask=mask, foreground_mask=foreground)
        return Sample(image[:, ::-1] if mirror else image, mask, foreground)

    def support_index(self, phase: Phase) -> dict[int, list[int]]:
        """The support index in the official form: keys 0..2S, values sorted line numbers. Facts A.4."""
        if phase not in self._index:
            paths = [support_path(self.root, phase, self.space.key, suffix) for suffix in ("json", "pkl")]
            path = next((path for path in paths if path.exists()), None)
            if path is None:
                raise UserError(f"support file {paths[0]} does not exist; {AGAIN}")
            self._index[phase] = read_support_index(path, self.space.n_foreground, len(self.stems(phase)))
        return self._index[phase]

    def test_pairs(
        self,
        rule: PairRule = "dataset",
        *,
        way: Literal["k", "1"] = "k",
        queries: int | None = None,
        repeats: int | None = None,
        per_class: int | None = None,
    ) -> list[Pair]:
        """The test pairs that are scored: (query, support, class), indices into `stems("test")`. Facts A.6.

        rule       "dataset": its own, as its description says; "aaai": k-way only
        queries    shape the rule "spread": photos of a class and supports of each (None: the description's numbers);
        repeats    "each" knows the supports only, the papers' rules have numbers of their own
        per_class  at most so many pairs of each class, evenly spaced; the AAAI's pairs name no class, of them so many
                   times the number of classes are left
        """
        shape = self._rule(rule, queries, repeats)
        name = shape.pop("rule")
        if name == "aaai":
            if way == "1":
                raise UserError("the aaai test pairs name no class, so they serve k-way only; use eval.pairs=journal")
            pairs = aaai_pairs(len(self.stems("test")))
            per_class = per_class and per_class * len(self.space.foreground_classes)
        else:
            rules: dict[str, Callable[..., list[Pair]]]
            rules = {"journal": journal_pairs, "spread": spread_pairs, "each": each_pairs}
            pairs = rules[name](self.support_index("test"), self.space.test_order, **shape)
        return pairs if per_class is None else thin_pairs(pairs, per_class)

    def _rule(self, rule: str, queries: int | None, repeats: int | None) -> dict[str, Any]:
        own = self.description["test_pairs"]
        return pair_rule({**own, "rule": own["rule"] if rule == "dataset" else rule}, queries=queries, repeats=repeats)

    def describe_rule(
        self, rule: PairRule = "dataset", *, queries: int | None = None, repeats: int | None = None, **_: object
    ) -> str:
        """The rule of the test pairs in words, e.g. "spread, 10 queries x 5 supports of a class"."""
        shape = self._rule(rule, queries, repeats)
        words = "{rule}, {queries} queries x {repeats} supports of a class" if "queries" in shape else "{rule}"
        words += ", {repeats} supports for every photo" * (shape["rule"] == "each")
        return words.format(**shape)

    def counts(self) -> dict[str, int]:
        """Photos per phase."""
        return {phase: len(self.stems(phase)) for phase in PHASES}


def pair_rule(rule: Any, **numbers: int | None) -> dict[str, Any]:
    """A rule for test pairs, name or mapping, in its full form: "rule", and the numbers of "spread" and "each".

    `numbers` that are not None replace the rule's own. Raises UserError for an unknown rule.
    """
    given = rule if isinstance(rule, Mapping) else {"rule": rule}
    name = given.get("rule")
    if name not in ("journal", "spread", "each", "aaai"):
        raise UserError(f"unknown rule {name!r} for test pairs; it is journal, spread, each or aaai")
    if name not in ("spread", "each"):
        return {"rule": name}
    defaults = SPREAD if name == "spread" else EACH
    full = {key: numbers.get(key) or given.get(key, default) for key, default in defaults.items()}
    if not all(type(number) is int and number > 0 for number in full.values()):
        raise UserError(f"{' and '.join(full)} of the rule {name} must be whole numbers above 0, not {full}")
    return {"rule": name, **full}


_NEEDED = {"name": str, "label_space": str, "counts": dict, "train_split": int, "test_split": int, "fingerprint": str}


def open_dataset(root: Path | str) -> OneShotDataset:
    """Open a dataset folder. Raises UserError when it is no dataset or its description and lists do not agree."""
    root = Path(root)
    path = root / DESCRIPTION
    if not os.path.isdir(root):
        raise UserError(f"dataset folder {root} does not exist; make it with a script of data_scripts, or name another")
    if not os.path.exists(path):
        raise UserError(f"{root} is no tailored dataset (it has no {DESCRIPTION}); make it with data_scripts")
    description = read_json(path)
    lacking = sorted({*_NEEDED, "test_pairs"} - set(description)) if isinstance(description, dict) else ["everything"]
    if lacking:
        raise UserError(f"{path} lacks {', '.join(lacking)}; {AGAIN}")
    for key, kind in _NEEDED.items():
        if type(description[key]) is not kind:
            raise UserError(f"{path}: {key} is {description[key]!r}, a value of the wrong type; {AGAIN}")
    if description.get("form", FORM) != FORM:
        raise UserError(f"{path} is of form {description['form']}, this code reads form {FORM}; {AGAIN}")
    try:
        description = {**description, "test_pairs": pair_rule(description["test_pairs"])}
        if description["test_pairs"]["rule"] == "aaai":
            raise UserError("no dataset can have the rule aaai as its own, which serves k-way only; set eval.pairs")
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    stems = {phase: read_list(list_path(root, phase)) for phase in PHASES}
    for phase, names in stems.items():
        count = description["counts"].get(phase)
        if count != len(names):
            raise UserError(f"{root} lists {len(names)} {phase} photos but {DESCRIPTION} counts {count}; {AGAIN}")
        check_split(path, phase, description[f"{phase}_split"], len(names))
    shared = set(stems["train"]) & set(stems["test"])
    if shared:
        raise UserError(f"{root} lists photo {min(shared)!r} for training and for testing; {AGAIN}")
    space = label_space(description["label_space"])
    return OneShotDataset(root, description["name"], space, description, stems)
