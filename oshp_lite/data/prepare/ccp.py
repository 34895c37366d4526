"""Clothing Co-Parsing (CCP) -> CCP-OS: 1,003 street photos, 12 classes, two folds.

A clone of bearpaw/clothing-co-parsing holds `photos/NNNN.jpg` and `annotations/pixel-level/NNNN.mat` (variable
`groundtruth`, one of 59 tags per pixel). Tags become the classes of `labels.CCP_CLASSES`; the coarse mask keeps every
tag, dropped ones too (facts A.7). Which photo is for training and which for testing stands in `ccp_split.txt`: the
first 700 and the other 303 in file order, since neighbouring photos show the same person.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from oshp_lite.data.dataset import check_sizes, open_dataset
from oshp_lite.data.prepare import Preparation, TailorReport, whole_number
from oshp_lite.data.registry import dataset_spec
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import cannot_read, cannot_write, make_folder, publish_folder, read_image, sha256_json
from oshp_lite.labels import BACKGROUND, CCP_CLASSES, label_space

SOURCE = "https://github.com/bearpaw/clothing-co-parsing"
PHOTOS, ANNOTATIONS = Path("photos"), Path("annotations") / "pixel-level"
_SUFFIXES = {ANNOTATIONS: ".mat", PHOTOS: ".jpg"}
VERSION = 1
STUDIED_SIDE = 400
"""Longest side of the photos that the study uses; every profile trains on smaller ones."""
MARGIN = 0.1
"""The foreground's box grows by this share of its width (height) on each side, inside the photo."""
QUALITY = 92
NO_FOREGROUND = "its annotation has no foreground"


class CcpPlan(NamedTuple):
    """How CCP is cut; `standard_plan` has the committed lists, other plans are for tests on tiny clones.

    train, test  names of the photos; left_out: annotated photos without a foreground
    *_queries    how many of each phase's photos are queries, the first ones
    """

    train: tuple[str, ...]
    test: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    train_queries: int = 350
    test_queries: int = 100


def standard_plan() -> CcpPlan:
    """The plan of CCP-OS."""
    parts: dict[str, list[str]] = {}
    for line in Path(__file__).with_name("ccp_split.txt").read_text(encoding="utf-8").splitlines():
        name, _, stems = line.partition(":")
        parts.setdefault(name, []).extend(stems.split())
    queries = dataset_spec("ccp-os").train_queries or 0
    return CcpPlan(tuple(parts["train"]), tuple(parts["test"]), tuple(parts["left out"]), queries)


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
    box: list[int] = []
    for axis, side in enumerate(tags.shape):
        lines = np.flatnonzero((tags != BACKGROUND).any(axis=1 - axis))
        if not lines.size:
            return None
        first, last = int(lines[0]), int(lines[-1]) + 1
        grow = round(margin * (last - first))
        box += [max(0, first - grow), min(side, last + grow)]
    return box[0], box[1], box[2], box[3]


def shrink(array: np.ndarray, max_side: int | None) -> np.ndarray:
    """Scale an image [H,W,3] (antialiased) or a mask [H,W] (nearest) so that no side passes `max_side`; never up."""
    height, width = array.shape[:2]
    if max_side is None or max(height, width) <= max_side:
        return array
    scale = max_side / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = Image.Resampling.NEAREST if array.ndim == 2 else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(size, how))


def _check_clone(root: Path, stems: list[str]) -> list[str]:
    """Raise UserError unless every listed photo and annotation is there; returns what else is annotated."""
    names = {}
    for part, suffix in _SUFFIXES.items():
        folder = root / part
        if not os.path.isdir(folder):
            raise UserError(f"{root} is no clone of CCP ({folder} is missing); git clone {SOURCE} and give --root")
        names[part] = {path.stem for path in folder.iterdir() if path.suffix == suffix}
        missing = [stem for stem in stems if stem not in names[part]]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(stems)} {suffix} files of CCP's list are missing in {folder}, "
                f"{missing[0]}{suffix} among them; git clone {SOURCE} again and give --root"
            )
    return sorted(names[ANNOTATIONS] - set(stems))


def _recipe(root: Path, stems: list[str], max_side: int | None, plan: CcpPlan) -> dict[str, Any]:
    """Everything the result depends on; file sizes stand for the files."""
    queries = {"train_queries": plan.train_queries, "test_queries": plan.test_queries}
    files = ((stem, [root / part / f"{stem}{suffix}" for part, suffix in _SUFFIXES.items()]) for stem in stems)
    return {
        "tailor": "ccp",
        "version": VERSION,
        "plan": {"train": len(plan.train), **queries, "margin": MARGIN, "quality": QUALITY},
        "max_side": max_side,
        "classes": dict(CCP_CLASSES),
        "source": sha256_json([[stem, *(path.stat().st_size for path in paths)] for stem, paths in files]),
    }


def tailor(
    root: Path | str,
    out: Path | str,
    *,
    max_side: int | None = None,
    plan: CcpPlan | None = None,
    force: bool = False,
    progress: bool = False,
) -> TailorReport:
    """Make CCP-OS at `out` from the clone at `root`; photos longer than `max_side` are made smaller.

    Raises UserError for a missing or damaged file, a photo and annotation of different sizes, an annotation that lost
    its foreground, or an `out` that is taken. Interrupted, it goes on where it stopped; finished, it returns at once.
    """
    root, out, plan = Path(root), Path(out), plan or standard_plan()
    if max_side is not None and max_side < 32:
        raise UserError(f"--max-side {max_side} is too small to show anything; use at least 32")
    stems = sorted([*plan.train, *plan.test, *plan.left_out])
    others = _check_clone(root, stems)
    writer = DatasetWriter(
        out,
        name="ccp-os",
        space="ccp-os",
        train_split=plan.train_queries,
        test_split=plan.test_queries,
        test_pairs="spread",
        recipe=_recipe(root, stems, max_side, plan),
        force=force,
        details={"source": SOURCE, "max_side": max_side, "left_out": dict.fromkeys(plan.left_out, NO_FOREGROUND)},
    )
    with writer:
        tagged = label_space("ccp")
        for phase, stem in writer.missing({"train": plan.train, "test": plan.test}, progress=progress):
            image, tags = (shrink(array, max_side) for array in _crop(root, stem))
            writer.add(phase, stem, image, tagged.merge(tags), foreground=tagged.foreground(tags), quality=QUALITY)
    made = open_dataset(out)
    notes = [f"left out: {stem} ({reason})" for stem, reason in made.description["left_out"].items()]
    notes += [f"{len(others)} annotations are in no list and were left out, {others[0]} among them"] if others else []
    return TailorReport(out, made.counts(), tuple(notes), fresh=not writer.done)


def _crop(root: Path, stem: str) -> tuple[np.ndarray, np.ndarray]:
    """A photo uint8 [H,W,3] and its tags uint8 [H,W], cut to the foreground's box. Raises UserError."""
    annotation, photo = root / ANNOTATIONS / f"{stem}.mat", root / PHOTOS / f"{stem}.jpg"
    tags = read_annotation(annotation)
    box = foreground_box(tags, MARGIN)
    if box is None:
        raise UserError(f"annotation {annotation} has no foreground, though CCP's has; git clone {SOURCE} again")
    image = read_image(photo)
    check_sizes(photo, image.shape, annotation=tags)
    top, bottom, left, right = box
    return image[top:bottom, left:right], tags[top:bottom, left:right]


def clone(target: Path) -> Path:
    """Clone CCP into `target` (kept if it is a clone already). Raises UserError without git or without network."""
    if (target / ANNOTATIONS).is_dir() and (target / PHOTOS).is_dir():
        return target
    yourself = f"git clone {SOURCE} where there is network and give --root"
    if shutil.which("git") is None:
        raise UserError(f"git is not installed, so CCP cannot be fetched; {yourself}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target} exists already and is no clone of CCP; remove it or {yourself}")
    make_folder(target.parent)
    try:
        scratch = TemporaryDirectory(dir=target.parent, prefix=".clone-")
    except OSError as error:
        raise cannot_write(target, error) from None
    with scratch as folder:
        fresh = Path(folder) / "clone"
        command = ["git", "-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
        command += ["clone", "--depth", "1", "--progress", SOURCE, str(fresh)]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        result = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
        if result.returncode != 0:
            last = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UserError(f"cannot clone CCP ({last}); {yourself}")
        publish_folder(fresh, target)
    return target


class _Ccp(Preparation):
    """The command's side of it."""

    about = "Make CCP-OS of a clone of Clothing Co-Parsing: 1,003 street photos, 12 classes."

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Add the options beside --out and --force."""
        parser.add_argument("--root", type=Path, help=f"a clone of {SOURCE} (default: cloned beside --out)")
        about = f"make photos smaller so that no side is longer (default {STUDIED_SIDE}, as in the committed results)"
        parser.add_argument("--max-side", type=whole_number, default=STUDIED_SIDE, help=about)

    def run(self, options: argparse.Namespace) -> TailorReport:
        """Tailor as the options say, cloning first when no clone is named."""
        root = options.root or clone(options.out.absolute().parent / "clothing-co-parsing")
        return tailor(root, options.out, max_side=options.max_side, force=options.force, progress=True)


CCP = _Ccp()
