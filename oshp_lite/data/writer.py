"""Writing a dataset in the on-disk form: hidden while it grows, resumed after an interruption, published when whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm import tqdm

from oshp_lite import files
from oshp_lite.data import dataset as form
from oshp_lite.data.dataset import PHASES, OneShotDataset, Phase, open_dataset
from oshp_lite.data.pairs import build_support_index
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
from oshp_lite.labels import label_space
from oshp_lite.lock import locked

_RECIPE, _LOCK = "recipe.json", ".lock"


def finished_dataset(root: Path | str, recipe: Any) -> OneShotDataset | None:
    """The dataset at `root` when it was written whole from just this recipe, else None."""
    try:
        dataset = open_dataset(root)
    except UserError:
        return None
    return dataset if dataset.description.get("recipe_sha256") == sha256_json(recipe) else None


@dataclass
class DatasetWriter:
    """Context manager that writes one dataset; the folder `root` appears, complete, when the block ends well.

    space      name of the label space; *_split: number of query photos of each phase
    recipe     anything json-able that says how the data are made; a broken-off run with an equal recipe is resumed,
               an existing dataset with an equal recipe is kept as it is (`done` is then True and `add` does nothing)
    fingerprint  what the data are (default: the recipe's hash)
    inclusive  as in `build_support_index`; indexes: given support indexes (the authors' ones) of some phases
    force      replace another dataset at `root`; files that are no dataset of ours are never removed
    replaces   a dataset whose description has this entry is replaced unasked (an older version of the same)
    details    further entries of the description
    An error inside the block removes what was written; Ctrl-C or a kill leaves a hidden `.NAME.partial` to resume.
    Raises UserError: target taken by something else, two writers, full disk, path beneath a file.
    """

    root: Path | str
    _: KW_ONLY
    name: str
    space: str
    train_split: int
    test_split: int
    recipe: Any
    test_pairs: str | Mapping[str, Any] = "journal"
    fingerprint: str | None = None
    inclusive: bool = False
    indexes: Mapping[Phase, dict[int, list[int]]] = field(default_factory=dict)
    force: bool = False
    replaces: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    done: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        """Settle the place and what is written into the description."""
        self.root = Path(os.path.abspath(self.root))
        self.folder = self.root.with_name(f".{self.root.name}.partial")
        self._space, self._rule = label_space(self.space), form.pair_rule(self.test_pairs)
        self._presence: dict[Phase, dict[str, tuple[int, ...]]] = {phase: {} for phase in PHASES}

    def __enter__(self) -> Self:
        """Take the place, resume or start afresh."""
        self._block = self._writing(Path(self.root))
        self._block.__enter__()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        """Publish the finished dataset, or clear away what an error left."""
        return self._block.__exit__(*error)

    @contextmanager
    def _writing(self, root: Path) -> Iterator[None]:
        self.done = self._is_there()
        if self.done:
            yield
            return
        self._check_place(root)
        files.make_folder(root.parent)
        files.make_folder(self.folder)
        with locked(self.folder / _LOCK, f"the dataset {root}", wait=False):
            resumable = False
            try:
                self.done = self._is_there()  # another process was faster
                if not self.done:
                    self._start()
                yield
                if not self.done:
                    self._finish(root)
            except KeyboardInterrupt:
                resumable = True
                raise
            except OSError as error:
                raise files.cannot_write(error.filename or root, error) from None
            finally:
                if not resumable:
                    shutil.rmtree(self.folder, ignore_errors=True)

    def _is_there(self) -> bool:
        return not self.force and finished_dataset(self.root, self.recipe) is not None

    def _check_place(self, root: Path) -> None:
        """Raise UserError unless the place is free, or holds a dataset that may be replaced."""
        if os.path.isfile(root):
            raise UserError(f"cannot write {root}: there is a file of that name; choose another place")
        if not os.path.isdir(root) or not os.listdir(root):
            return
        if not (os.path.isfile(root / form.DESCRIPTION) and os.path.isdir(root / form.CLASSES)):
            raise UserError(f"{root} already holds something else, no dataset; remove it or choose another place")
        try:
            replaced = self.force or self.replaces in open_dataset(root).description
        except UserError:
            replaced = False
        if not replaced:
            raise UserError(f"{root} already holds something else, a dataset; choose another place or --force")

    def _start(self) -> None:
        """Keep what was begun with an equal recipe, and nothing else."""
        begun, recipe = self.folder / _RECIPE, sha256_json(self.recipe)
        if not begun.exists() or files.read_json(begun) != recipe:
            for entry in self.folder.iterdir():
                if not entry.name.startswith(_LOCK):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            files.write_json_atomic(begun, recipe)

    def _finish(self, root: Path) -> None:
        splits: dict[Phase, int] = {"train": self.train_split, "test": self.test_split}
        for phase, presence in self._presence.items():
            form.check_split(self.name, phase, splits[phase], len(presence))
            files.write_atomic(form.list_path(self.folder, phase), "".join(f"{stem}\n" for stem in presence).encode())
            index = self.indexes.get(phase) or build_support_index(
                list(presence.values()), splits[phase], self._space.n_foreground, inclusive=self.inclusive
            )
            files.write_json_atomic(form.support_path(self.folder, phase, self._space.key), index)
        description = {
            "name": self.name,
            "form": form.FORM,
            "label_space": self._space.name,
            "counts": {phase: len(presence) for phase, presence in self._presence.items()},
            **{f"{phase}_split": split for phase, split in splits.items()},
            "test_pairs": self._rule,
            "fingerprint": self.fingerprint or sha256_json([form.FORM, self.name, self.recipe]),
            "recipe_sha256": sha256_json(self.recipe),
            **self.details,
        }
        files.write_json_atomic(self.folder / form.DESCRIPTION, description)
        listed = {stem for presence in self._presence.values() for stem in presence}
        pictures = (path for folder in form.PICTURES for path in self.folder.glob(f"{folder}/*"))
        spare = [path for path in pictures if path.stem not in listed]
        for path in (*spare, self.folder / _RECIPE, *self.folder.glob(f"{_LOCK}*")):
            path.unlink()
        files.publish_folder(self.folder, root)

    def has(self, stem: str) -> bool:
        """True when a photo was written whole by a run that was broken off (its class mask is written last)."""
        return self.done or os.path.exists(form.picture_path(self.folder, form.CLASSES, stem))

    def keep(self, phase: Phase, stem: str) -> bool:
        """List a photo that is there already; False when it is not."""
        there = self.has(stem)
        if there and not self.done:
            path = form.picture_path(self.folder, form.CLASSES, stem)
            self._presence[phase][stem] = self._space.present(files.read_mask(path), f"mask {path}")
        return there

    def missing(
        self, stems: Mapping[Phase, Sequence[str]], *, unit: str = "photo", progress: bool = False
    ) -> Iterator[tuple[Phase, str]]:
        """The photos that are yet to be added, in list order and with a bar; those that are there already are kept."""
        work = [] if self.done else [(phase, stem) for phase in PHASES for stem in stems[phase]]
        for phase, stem in tqdm(work, desc=self.name, unit=unit, disable=not progress or self.done):
            if not self.keep(phase, stem):
                yield phase, stem

    def add(
        self,
        phase: Phase,
        stem: str,
        image: np.ndarray | bytes | Path,
        mask: np.ndarray | Path,
        *,
        mirrored: Path | None = None,
        foreground: np.ndarray | None = None,
        instances: np.ndarray | Path | None = None,
        quality: int = 92,
        copy: bool = False,
    ) -> None:
        """Write one photo with its masks; photos are listed in the order they are added.

        image uint8 [H,W,3] or ready JPEG bytes; mask uint8 [H,W] raw ids; mirrored: that of the mirrored photo, made
        where none is given; foreground, instances uint8 [H,W]. Files in their place are linked to, or copied.
        Raises UserError for foreign ids, unequal sizes, and files that are missing or damaged.
        """
        if self.keep(phase, stem):
            return
        ids, where = (files.read_mask(mask), mask) if isinstance(mask, Path) else (mask, f"{stem}.png")
        if isinstance(image, Path):
            form.check_sizes(image, files.check_photo(image), mask=ids)
        else:
            persons = instances if isinstance(instances, np.ndarray) else None
            shape = ids.shape if isinstance(image, bytes) else image.shape
            form.check_sizes(f"{stem}.jpg", shape, mask=ids, foreground_mask=foreground, instance_mask=persons)
        classes = self._space.present(ids, f"mask {where}")
        parts: dict[str, np.ndarray | bytes | Path | None] = {
            form.IMAGES: files.encode_jpeg(image, quality) if isinstance(image, np.ndarray) else image,
            form.MIRRORED: self._space.mirror(ids) if mirrored is None else mirrored,
            form.FOREGROUND: foreground,
            form.INSTANCES: instances,
            form.CLASSES: mask,
        }
        for folder, part in parts.items():
            path = form.picture_path(self.folder, folder, stem)
            if isinstance(part, Path) and not copy:
                path.parent.mkdir(exist_ok=True)
                path.unlink(missing_ok=True)
                path.symlink_to(os.path.abspath(part))
            elif isinstance(part, np.ndarray):
                palette = self._space.palette if folder in (form.CLASSES, form.MIRRORED) else None
                files.write_mask(path, part, palette, durable=False)
            elif part is not None:
                files.write_atomic(path, files.read_bytes(part) if isinstance(part, Path) else part, durable=False)
        self._presence[phase][stem] = classes
