"""Clothing Co-Parsing (CCP) -> CCP-OS: 1,003 street photos, 12 classes, two folds.

A clone of bearpaw/clothing-co-parsing holds `photos/NNNN.jpg` and `annotations/pixel-level/NNNN.mat` (variable
`groundtruth`, one of 59 tags per pixel). Tags become the classes of `labels.CCP_CLASSES`; the coarse mask keeps every
tag, dropped ones too (facts A.7). Photos stay in file order and are cut into contiguous parts, because neighbouring
photos show the same person.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from oshp_lite.data.dataset import Phase, open_dataset, size_mismatch
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import atomic_folder, cannot_read, read_image, sha256_json
from oshp_lite.labels import BACKGROUND, CCP_CLASSES, label_space

SOURCE = "https://github.com/bearpaw/clothing-co-parsing"
PHOTOS, ANNOTATIONS = Path("photos"), Path("annotations") / "pixel-level"
VERSION = 1
NO_FOREGROUND = "its annotation has no foreground"

Progress = Callable[[Iterable[Any], str], Iterable[Any]]


@dataclass(frozen=True)
class CcpPlan:
    """How CCP is cut: the numbers of the issue's protocol, changed only by tests on tiny clones.

    train      usable photos for training, the first ones; the rest are for testing
    *_queries  how many of each phase's photos are queries, the first ones
    margin     the foreground's box grows by this share of its width (height) on each side, inside the photo
    """

    train: int = 700
    train_queries: int = 350
    test_queries: int = 100
    margin: float = 0.1
    quality: int = 92


@dataclass(frozen=True)
class CcpReport:
    """What tailoring did: photos per phase and the ones left out with the reason."""

    root: Path
    counts: dict[str, int]
    left_out: dict[str, str]
    fresh: bool

    @property
    def usable(self) -> int:
        """Photos in the dataset."""
        return sum(self.counts.values())


def read_annotation(path: Path) -> np.ndarray:
    """The tags of one .mat file, uint8 [H,W] in 0..58. Raises UserError without scipy or for a damaged file."""
    try:
        from scipy.io import loadmat
    except ImportError:
        raise UserError("reading CCP's .mat files needs scipy, which is not installed; pip install scipy") from None
    try:
        tags = loadmat(path)["groundtruth"]
    except KeyError:
        raise UserError(f"annotation {path} has no variable 'groundtruth'; clone {SOURCE} again") from None
    except Exception as error:  # scipy raises nearly anything on a damaged file
        raise cannot_read(path, error, "annotation") from None
    if tags.ndim != 2 or tags.dtype.kind not in "iuf":
        raise UserError(f"annotation {path} is no map of tags (H x W whole numbers); clone {SOURCE} again")
    space = label_space("ccp")
    if tags.size and not (tags.min() >= 0 and tags.max() < space.n_raw):
        raise UserError(f"annotation {path} holds a tag outside 0..{space.n_raw - 1}; clone {SOURCE} again")
    return np.ascontiguousarray(tags.astype(np.uint8))


def foreground_box(tags: np.ndarray, margin: float) -> tuple[int, int, int, int] | None:
    """Rows and columns (top, bottom, left, right; ends excluded) of the foreground's box, enlarged; None if empty.

    Each side moves outwards by `margin` times the box's own height or width (rounded), but not out of the photo.
    """
    rows = np.flatnonzero((tags != BACKGROUND).any(axis=1))
    columns = np.flatnonzero((tags != BACKGROUND).any(axis=0))
    if not rows.size:
        return None
    top, bottom, left, right = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
    down, across = round(margin * (bottom - top)), round(margin * (right - left))
    height, width = tags.shape
    return max(0, top - down), min(height, bottom + down), max(0, left - across), min(width, right + across)


def shrink(array: np.ndarray, max_side: int | None) -> np.ndarray:
    """Scale an image [H,W,3] (antialiased) or a mask [H,W] (nearest) so that no side passes `max_side`; never up."""
    height, width = array.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return array
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(size, how))


def annotation_files(root: Path) -> list[Path]:
    """The pixel-level annotation files in file order. Raises UserError when `root` is no clone of CCP."""
    folder = root / ANNOTATIONS
    if not folder.is_dir() or not (root / PHOTOS).is_dir():
        missing = folder if not folder.is_dir() else root / PHOTOS
        raise UserError(f"{root} is no clone of CCP ({missing} is missing); git clone {SOURCE} and give --root")
    found = sorted(path for path in folder.iterdir() if path.suffix == ".mat")
    if not found:
        raise UserError(f"{folder} holds no .mat file; git clone {SOURCE} again and give --root")
    return found


def _photo(root: Path, stem: str) -> Path:
    path = root / PHOTOS / f"{stem}.jpg"
    if not path.exists():
        raise UserError(f"photo {path} does not exist though it is annotated; git clone {SOURCE} again")
    return path


def _recipe(root: Path, files: list[Path], max_side: int | None, plan: CcpPlan) -> dict[str, Any]:
    """Everything the result depends on; file sizes stand for the files."""
    sizes = [[path.stem, path.stat().st_size, _photo(root, path.stem).stat().st_size] for path in files]
    return {
        "tailor": "ccp",
        "version": VERSION,
        "plan": asdict(plan),
        "max_side": max_side,
        "classes": dict(CCP_CLASSES),
        "source": sha256_json(sizes),
    }


def tailor(
    root: Path | str,
    out: Path | str,
    *,
    max_side: int | None = None,
    plan: CcpPlan = CcpPlan(),
    force: bool = False,
    progress: Progress | None = None,
) -> CcpReport:
    """Make CCP-OS at `out` from the clone at `root`; photos longer than `max_side` are made smaller.

    Raises UserError for a missing or damaged file, a photo and annotation of different sizes, too few usable photos,
    or an `out` that is taken. Interrupted, it goes on where it stopped; finished, it returns at once.
    """
    root, out = Path(root), Path(out)
    if max_side is not None and max_side < 32:
        raise UserError(f"--max-side {max_side} is too small to show anything; use at least 32")
    files = annotation_files(root)
    if len(files) <= plan.train:
        raise UserError(f"{root} has only {len(files)} annotations, {plan.train} are for training alone; clone again")
    space = label_space("ccp")
    left_out: dict[str, str] = {}
    about = {"source": SOURCE, "max_side": max_side, "left_out": left_out}
    writer = DatasetWriter(
        out,
        name="ccp-os",
        space="ccp-os",
        train_split=plan.train_queries,
        test_split=plan.test_queries,
        test_pairs="spread",
        recipe=_recipe(root, files, max_side, plan),
        force=force,
        about=about,
    )
    with writer:
        usable = 0
        for path in [] if writer.done else progress(files, "CCP-OS") if progress else files:
            phase: Phase = "train" if usable < plan.train else "test"
            if writer.has(path.stem):
                writer.keep(phase, path.stem)
                usable += 1
                continue
            tags = read_annotation(path)
            box = foreground_box(tags, plan.margin)
            if box is None:
                left_out[path.stem] = NO_FOREGROUND
                continue
            photo = _photo(root, path.stem)
            image = read_image(photo)
            if image.shape[:2] != tags.shape:
                raise UserError(size_mismatch(photo, image.shape, tags.shape, "annotation"))
            top, bottom, left, right = box
            small = shrink(tags[top:bottom, left:right], max_side)
            writer.add(
                phase,
                path.stem,
                shrink(image[top:bottom, left:right], max_side),
                space.merge(small),
                foreground=space.foreground(small),
                quality=plan.quality,
            )
            usable += 1
    made = open_dataset(out)
    return CcpReport(out, made.counts(), dict(made.description["left_out"]), fresh=not writer.done)


def clone(target: Path) -> Path:
    """Clone CCP into `target` (kept if it is a clone already). Raises UserError without git or without network."""
    if (target / ANNOTATIONS).is_dir() and (target / PHOTOS).is_dir():
        return target
    yourself = f"git clone {SOURCE} where there is network and give --root"
    if shutil.which("git") is None:
        raise UserError(f"git is not installed, so CCP cannot be fetched; {yourself}")
    with atomic_folder(target) as fresh:
        command = ["git", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
        command += ["clone", "--depth", "1", "--progress", SOURCE, str(fresh / "clone")]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        result = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"cannot clone CCP ({last}); {yourself}")
        for entry in (fresh / "clone").iterdir():
            entry.rename(fresh / entry.name)
        (fresh / "clone").rmdir()
    return target
