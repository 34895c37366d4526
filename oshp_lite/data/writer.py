"""Writing a dataset in the on-disk form: hidden while it grows, resumed after an interruption, published when whole."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from oshp_lite.data.dataset import (
    CLASSES,
    DESCRIPTION,
    FOREGROUND,
    FORM,
    IMAGES,
    INSTANCES,
    MIRRORED,
    PHASES,
    PICTURES,
    OneShotDataset,
    Phase,
    list_path,
    open_dataset,
    pair_rule,
    size_mismatch,
    support_path,
)
from oshp_lite.data.pairs import build_support_index
from oshp_lite.errors import UserError
from oshp_lite.files import (
    cannot_write,
    check_photo,
    encode_jpeg,
    publish_folder,
    read_bytes,
    read_json,
    read_mask,
    sha256_json,
    write_atomic,
    write_json_atomic,
    write_mask,
)
from oshp_lite.labels import label_space
from oshp_lite.lock import locked

_RECIPE = "recipe.json"
_LOCK = ".lock"


def finished_dataset(root: Path | str, recipe: Any) -> OneShotDataset | None:
    """The dataset at `root` when it was written whole from just this recipe, else None."""
    try:
        dataset = open_dataset(root)
    except UserError:
        return None
    return dataset if dataset.description.get("recipe_sha256") == sha256_json(recipe) else None


class DatasetWriter:
    """Context manager that writes one dataset; the folder `root` appears, complete, when the block ends well.

    recipe     anything json-able that says how the data are made; a broken-off run with an equal recipe is resumed,
               an existing dataset with an equal recipe is kept as it is (`done` is then True and `add` does nothing)
    *_split    number of query photos of each phase; `inclusive` as in `build_support_index`
    fingerprint  what the data are (default: the recipe's hash)
    force      replace another dataset at `root`; files that are no dataset of ours are never removed
    replaces   a dataset whose description has this entry is replaced unasked (an older version of the same)
    details    further entries of the description
    An error inside the block removes what was written; Ctrl-C or a kill leaves a hidden `.NAME.partial` to resume.
    Raises UserError: target taken by something else, two writers, full disk, path beneath a file.
    """

    def __init__(
        self,
        root: Path | str,
        *,
        name: str,
        space: str,
        train_split: int,
        test_split: int,
        test_pairs: str | dict[str, Any] = "journal",
        recipe: Any,
        fingerprint: str | None = None,
        inclusive: bool = False,
        force: bool = False,
        replaces: str = "",
        details: dict[str, Any] | None = None,
    ) -> None:
        self.root = Path(os.path.abspath(root))
        self.name = name
        self.space = label_space(space)
        self.splits: dict[Phase, int] = {"train": train_split, "test": test_split}
        self.rule = pair_rule(test_pairs)
        self.recipe = recipe
        self.fingerprint = fingerprint or sha256_json([FORM, name, recipe])
        self.inclusive = inclusive
        self.force = force
        self.replaces = replaces
        self.details = dict(details or {})
        self.folder = self.root.with_name(f".{self.root.name}.partial")
        self.done = False
        self._presence: dict[Phase, dict[str, tuple[int, ...]]] = {phase: {} for phase in PHASES}
        self._indexes: dict[Phase, dict[int, list[int]]] = {}
        self._lock = ExitStack()

    def __enter__(self) -> Self:
        """Take the place, resume or start afresh."""
        self.done = self._is_there()
        if self.done:
            return self
        self._check_place()
        mine = False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock.enter_context(locked(self.folder / _LOCK, f"the dataset {self.root}", wait=False))
            mine = True
            if self._is_there():  # another process was faster
                self._drop()
                self.done = True
                return self
            recipe, wanted = self.folder / _RECIPE, sha256_json(self.recipe)
            if not recipe.exists() or read_json(recipe) != wanted:
                for entry in self.folder.iterdir():
                    if not entry.name.startswith(_LOCK):
                        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                write_json_atomic(recipe, wanted)
            for folder in (IMAGES, CLASSES, MIRRORED):
                (self.folder / folder).mkdir(exist_ok=True)
        except (OSError, UserError) as error:
            if mine:
                self._drop()
            if isinstance(error, OSError):
                raise cannot_write(self.root, error) from None
            raise
        return self

    def _is_there(self) -> bool:
        return not self.force and finished_dataset(self.root, self.recipe) is not None

    def _check_place(self) -> None:
        """Raise UserError unless the place is free, or holds a dataset that may be replaced."""
        if os.path.isfile(self.root):
            raise UserError(f"cannot write {self.root}: there is a file of that name; choose another place")
        if not os.path.isdir(self.root) or not os.listdir(self.root):
            return
        if not (os.path.isfile(self.root / DESCRIPTION) and os.path.isdir(self.root / CLASSES)):
            raise UserError(f"{self.root} already holds something else, no dataset; remove it or choose another place")
        try:
            replaced = self.force or self.replaces in open_dataset(self.root).description
        except UserError:
            replaced = False
        if not replaced:
            raise UserError(f"{self.root} already holds something else, a dataset; choose another place or --force")

    def _drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._lock.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Publish the finished dataset, or clear away what an error left."""
        if self.done:
            return
        if isinstance(error, KeyboardInterrupt):
            self._lock.close()
            return
        try:
            if error is None:
                self._finish()
                return
        except BaseException as failure:
            self._drop()
            if isinstance(failure, OSError):
                raise cannot_write(self.root, failure) from None
            raise
        self._drop()
        if isinstance(error, OSError):
            raise cannot_write(error.filename or self.root, error) from None

    def _finish(self) -> None:
        for phase, presence in self._presence.items():
            check_split(self.name, phase, self.splits[phase], len(presence))
            write_atomic(list_path(self.folder, phase), "".join(f"{stem}\n" for stem in presence).encode())
            index = self._indexes.get(phase) or build_support_index(
                list(presence.values()), self.splits[phase], self.space.n_foreground, inclusive=self.inclusive
            )
            write_json_atomic(support_path(self.folder, phase, self.space.key), index)
        description = {
            "name": self.name,
            "form": FORM,
            "label_space": self.space.name,
            "counts": {phase: len(presence) for phase, presence in self._presence.items()},
            "train_split": self.splits["train"],
            "test_split": self.splits["test"],
            "test_pairs": self.rule,
            "fingerprint": self.fingerprint,
            "recipe_sha256": sha256_json(self.recipe),
            **self.details,
        }
        write_json_atomic(self.folder / DESCRIPTION, description)
        listed = {stem for presence in self._presence.values() for stem in presence}
        pictures = (path for folder in PICTURES for path in self.folder.glob(f"{folder}/*"))
        spare = [path for path in pictures if path.stem not in listed]
        for path in (*spare, self.folder / _RECIPE, *self.folder.glob(f"{_LOCK}*")):
            path.unlink()
        publish_folder(self.folder, self.root)
        self._lock.close()

    def path(self, folder: str, stem: str) -> Path:
        """Where a file of a photo grows (jpg for photos, png for masks)."""
        return self.folder / folder / f"{stem}.{'jpg' if folder == IMAGES else 'png'}"

    def has(self, stem: str) -> bool:
        """True when a photo was written whole by a run that was broken off (its class mask is written last)."""
        return self.done or os.path.exists(self.path(CLASSES, stem))

    def keep(self, phase: Phase, stem: str) -> bool:
        """List a photo that is there already; False when it is not."""
        there = self.has(stem)
        if there and not self.done:
            self._register(phase, stem, read_mask(self.path(CLASSES, stem)))
        return there

    def add(
        self,
        phase: Phase,
        stem: str,
        image: np.ndarray | bytes,
        mask: np.ndarray,
        *,
        foreground: np.ndarray | None = None,
        instances: np.ndarray | None = None,
        quality: int = 92,
    ) -> None:
        """Write one photo with its masks; photos are listed in the order they are added.

        image uint8 [H,W,3] or ready JPEG bytes; mask uint8 [H,W] raw ids (its mirror image is made); foreground,
        instances uint8 [H,W]. Raises UserError for foreign ids or unequal sizes.
        """
        if self.keep(phase, stem):
            return
        shape = mask.shape if isinstance(image, bytes) else image.shape[:2]
        for name, other in (("mask", mask), ("foreground mask", foreground), ("instance mask", instances)):
            if other is not None and other.shape != shape:
                raise UserError(size_mismatch(f"{stem}.jpg", shape, other.shape, name))
        mirrored = self.space.mirror(mask, f"mask {stem}.png")
        photo = image if isinstance(image, bytes) else encode_jpeg(image, quality)
        write_atomic(self.path(IMAGES, stem), photo, durable=False)
        parts = {MIRRORED: mirrored, FOREGROUND: foreground, INSTANCES: instances, CLASSES: mask}
        for folder, part in parts.items():
            if part is not None:
                self._write(folder, stem, part)
        self._register(phase, stem, mask)

    def add_files(
        self,
        phase: Phase,
        stem: str,
        image: Path,
        mask: Path,
        *,
        mirrored: Path | None = None,
        instances: Path | None = None,
        copy: bool = False,
    ) -> None:
        """Take over one photo with its masks from other folders, as links or copies; else as `add`.

        Raises UserError when a file is missing or damaged, a mask holds foreign ids or does not fit its photo.
        """
        if self.keep(phase, stem):
            return
        ids, shape = read_mask(mask), check_photo(image)
        if ids.shape != shape:
            raise UserError(size_mismatch(image, shape, ids.shape))
        self.space.check(ids, f"mask {mask}")
        if mirrored is None:
            self._write(MIRRORED, stem, self.space.mirror(ids))
        files = {IMAGES: image, MIRRORED: mirrored, INSTANCES: instances, CLASSES: mask}
        for folder, source in files.items():
            if source is not None:
                place(source, self.path(folder, stem), copy)
        self._register(phase, stem, ids)

    def _write(self, folder: str, stem: str, mask: np.ndarray) -> None:
        palette = self.space.palette if folder in (CLASSES, MIRRORED) else None
        write_mask(self.path(folder, stem), mask, palette, durable=False)

    def _register(self, phase: Phase, stem: str, mask: np.ndarray) -> None:
        self._presence[phase][stem] = self.space.present(mask, f"mask {stem}.png")

    def use_index(self, phase: Phase, index: dict[int, list[int]]) -> None:
        """Use a given support index (the authors' one) instead of counting the masks."""
        self._indexes[phase] = index


def check_split(name: str, phase: Phase, split: int, photos: int) -> None:
    """Raise UserError unless a phase has at least one query and one support photo."""
    if not 0 < split < photos:
        raise UserError(
            f"{name} has {photos} {phase} photos, of which {split} should be queries; "
            "there must be at least one query and one support photo"
        )


def place(source: Path, target: Path, copy: bool) -> None:
    """Put a link to, or a copy of, `source` at `target`. Raises UserError when it cannot be read."""
    if copy:
        write_atomic(target, read_bytes(source), durable=False)
        return
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to(os.path.abspath(source))
