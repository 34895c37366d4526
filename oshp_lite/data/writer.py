"""Writing a dataset in the on-disk form: hidden while it grows, resumed after an interruption, shown when whole."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

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
    cannot_read,
    cannot_write,
    check_photo,
    encode_jpeg,
    publish_folder,
    read_json,
    read_mask,
    sha256_json,
    write_atomic,
    write_json_atomic,
    write_mask,
)
from oshp_lite.labels import label_space

try:
    import fcntl
except ImportError:  # not a POSIX system: two writers of one folder are then not told apart
    fcntl = None  # type: ignore[assignment]

_RECIPE = "recipe.json"
_LOCK = ".lock"


def finished_dataset(root: Path | str, recipe: Any) -> OneShotDataset | None:
    """The dataset at `root` when it was written whole from just this recipe, else None."""
    root = Path(root)
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
    An error inside the block removes what was written; Ctrl-C or a kill leaves a hidden `.NAME.partial` to resume.
    Raises UserError: target taken by something else (unless `force`), two writers, full disk, path beneath a file.
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
        about: dict[str, Any] | None = None,
    ) -> None:
        self.root = Path(os.path.abspath(root))
        self.name = name
        self.space = label_space(space)
        self.splits = {"train": train_split, "test": test_split}
        self.rule = pair_rule(test_pairs)
        self.recipe = recipe
        self.fingerprint = fingerprint or sha256_json([FORM, name, recipe])
        self.inclusive = inclusive
        self.force = force
        self.about = dict(about or {})
        self.folder = self.root.with_name(f".{self.root.name}.partial")
        self.done = False
        self._stems: dict[str, list[str]] = {phase: [] for phase in PHASES}
        self._presence: dict[str, list[tuple[int, ...]]] = {phase: [] for phase in PHASES}
        self._indexes: dict[str, dict[int, list[int]]] = {}
        self._lock: IO[bytes] | None = None

    # ------------------------------------------------------------------------------------- beginning, ending

    def __enter__(self) -> Self:
        """Take the place, resume or start afresh."""
        if finished_dataset(self.root, self.recipe) is not None and not self.force:
            self.done = True
            return self
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"cannot write {self.root}: there is a file of that name; choose another place")
        if self.root.is_dir() and any(self.root.iterdir()) and not self.force:
            raise UserError(f"{self.root} already holds something else; remove it, choose another place or use --force")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            if finished_dataset(self.root, self.recipe) is not None and not self.force:  # another one was faster
                self._drop()
                self.done = True
                return self
            recipe = self.folder / _RECIPE
            mine = sha256_json(self.recipe)
            if not recipe.exists() or read_json(recipe) != mine:
                for entry in self.folder.iterdir():
                    if entry.name != _LOCK:
                        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
                write_json_atomic(recipe, mine)
            for folder in (IMAGES, CLASSES, MIRRORED):
                (self.folder / folder).mkdir(exist_ok=True)
        except OSError as error:
            self._drop()
            raise cannot_write(self.root, error) from None
        except UserError:
            if self._lock is not None:
                self._drop()
            raise
        return self

    def _take_lock(self) -> None:
        lock = open(self.folder / _LOCK, "wb")  # noqa: SIM115 - held until the writer ends
        if fcntl is not None:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                lock.close()
                raise UserError(
                    f"another process is writing {self.root}; wait for it or choose another place"
                ) from None
        self._lock = lock

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _drop(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._release()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the finished dataset, or clear away what an error left."""
        if self.done:
            return
        if isinstance(error, KeyboardInterrupt):
            self._release()
            return
        try:
            if error is None:
                self._finish()
                return
        except OSError as failure:
            self._drop()
            raise cannot_write(self.root, failure) from None
        except BaseException:
            self._drop()
            raise
        self._drop()
        if isinstance(error, OSError):
            raise cannot_write(error.filename or self.root, error) from None

    def _finish(self) -> None:
        counts = {phase: len(stems) for phase, stems in self._stems.items()}
        for phase in PHASES:
            if not 0 < self.splits[phase] < counts[phase]:
                raise UserError(
                    f"{self.name} has {counts[phase]} {phase} photos, of which {self.splits[phase]} should be queries; "
                    "there must be at least one query and one support photo"
                )
            write_atomic(list_path(self.folder, phase), "".join(f"{stem}\n" for stem in self._stems[phase]).encode())
            index = self._indexes.get(phase) or build_support_index(
                self._presence[phase], self.splits[phase], self.space.n_foreground, inclusive=self.inclusive
            )
            write_json_atomic(support_path(self.folder, phase, self.space.key), index)
        description = {
            "name": self.name,
            "form": FORM,
            "label_space": self.space.name,
            "counts": counts,
            "train_split": self.splits["train"],
            "test_split": self.splits["test"],
            "test_pairs": self.rule,
            "fingerprint": self.fingerprint,
            "recipe_sha256": sha256_json(self.recipe),
            **self.about,
        }
        write_json_atomic(self.folder / DESCRIPTION, description)
        wanted = {stem for stems in self._stems.values() for stem in stems}
        for folder in (IMAGES, CLASSES, MIRRORED, FOREGROUND, INSTANCES):
            if (self.folder / folder).is_dir():
                for entry in (self.folder / folder).iterdir():
                    if entry.stem not in wanted:
                        entry.unlink()
        (self.folder / _RECIPE).unlink()
        (self.folder / _LOCK).unlink()
        publish_folder(self.folder, self.root, replace=True)
        self._release()

    # ------------------------------------------------------------------------------------------- filling it

    def path(self, folder: str, stem: str) -> Path:
        """Where a file of a photo grows (jpg for photos, png for masks)."""
        return self.folder / folder / f"{stem}.{'jpg' if folder == IMAGES else 'png'}"

    def has(self, stem: str) -> bool:
        """True when a photo was written whole by a run that was broken off (its class mask is written last)."""
        return self.done or self.path(CLASSES, stem).exists()

    def keep(self, phase: Phase, stem: str) -> None:
        """List a photo that `has` says is there already."""
        if not self.done:
            self._register(phase, stem, read_mask(self.path(CLASSES, stem)))

    def add(
        self,
        phase: Phase,
        stem: str,
        image: np.ndarray | bytes,
        mask: np.ndarray,
        *,
        mirrored: np.ndarray | None = None,
        foreground: np.ndarray | None = None,
        instances: np.ndarray | None = None,
        quality: int = 92,
    ) -> None:
        """Write one photo with its masks; photos are listed in the order they are added.

        image uint8 [H,W,3] or ready JPEG bytes; mask uint8 [H,W] raw ids; mirrored: the mask of the mirrored photo
        (made when not given); foreground, instances uint8 [H,W]. Raises UserError for foreign ids or unequal sizes.
        """
        if self.done:
            return
        if self.has(stem):
            self.keep(phase, stem)
            return
        masks = {"mask": mask, "mirrored mask": mirrored, "foreground mask": foreground, "instance mask": instances}
        shape = mask.shape if isinstance(image, bytes) else image.shape[:2]
        for name, other in masks.items():
            if other is not None and other.shape != shape:
                raise UserError(size_mismatch(f"{stem}.jpg", shape, other.shape, name))
        flipped = self.space.mirror(mask, f"mask {stem}.png") if mirrored is None else mirrored
        write_atomic(
            self.path(IMAGES, stem), image if isinstance(image, bytes) else encode_jpeg(image, quality), durable=False
        )
        write_mask(self.path(MIRRORED, stem), flipped, self.space.palette, durable=False)
        if foreground is not None:
            write_mask(self.path(FOREGROUND, stem), foreground, durable=False)
        if instances is not None:
            write_mask(self.path(INSTANCES, stem), instances, durable=False)
        write_mask(self.path(CLASSES, stem), mask, self.space.palette, durable=False)
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
        if self.done:
            return
        if self.has(stem):
            self.keep(phase, stem)
            return
        ids = read_mask(mask)
        shape = check_photo(image)
        if ids.shape != shape:
            raise UserError(size_mismatch(image, shape, ids.shape))
        present = self.space.present(ids, f"mask {mask}")
        self._place(image, self.path(IMAGES, stem), copy)
        if mirrored is None:
            write_mask(self.path(MIRRORED, stem), self.space.mirror(ids), self.space.palette, durable=False)
        else:
            self._place(mirrored, self.path(MIRRORED, stem), copy)
        if instances is not None:
            self._place(instances, self.path(INSTANCES, stem), copy)
        self._place(mask, self.path(CLASSES, stem), copy)
        self._stems[phase].append(stem)
        self._presence[phase].append(present)

    @staticmethod
    def _place(source: Path, target: Path, copy: bool) -> None:
        """Put a link to, or a copy of, `source` at `target`."""
        if copy:
            try:
                content = source.read_bytes()
            except OSError as error:
                raise cannot_read(source, error) from None
            write_atomic(target, content, durable=False)
            return
        target.parent.mkdir(exist_ok=True)
        target.unlink(missing_ok=True)
        target.symlink_to(os.path.abspath(source))

    def _register(self, phase: Phase, stem: str, mask: np.ndarray) -> None:
        self._stems[phase].append(stem)
        self._presence[phase].append(self.space.present(mask, f"mask {stem}.png"))

    def use_index(self, phase: Phase, index: dict[int, list[int]]) -> None:
        """Use a given support index (the authors' one) instead of counting the masks."""
        self._indexes[phase] = index
