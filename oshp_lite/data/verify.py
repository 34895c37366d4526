"""Looking through a whole dataset: are all files there, readable, of one size, with ids of its label space."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.data.dataset import (
    CLASSES,
    FOREGROUND,
    IMAGES,
    INSTANCES,
    MIRRORED,
    PHASES,
    OneShotDataset,
    Phase,
    open_dataset,
)
from oshp_lite.data.pairs import build_support_index
from oshp_lite.errors import UserError
from oshp_lite.files import picture_size, read_image, read_mask, sha256_json

Progress = Callable[[Iterable[Any], str], Iterable[Any]]
"""progress(items, title) yields the items and shows how far it is."""


@dataclass(frozen=True)
class Row:
    """One line of the report: what was looked at, what was found, and whether it is as it should be."""

    what: str
    found: str
    ok: bool = True


@dataclass
class Report:
    """What `verify` found; `problems` are sentences a user can act on."""

    root: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems

    def table(self) -> str:
        """The rows as plain text."""
        wide = max(len(row.what) for row in self.rows)
        return "\n".join(f"{'ok ' if row.ok else 'BAD'}  {row.what:<{wide}}  {row.found}" for row in self.rows)


def _folders(dataset: OneShotDataset, report: Report) -> None:
    """Files listed but missing, and pictures that no list names."""
    listed = {stem for phase in PHASES for stem in dataset.stems(phase)}
    for folder, ending in (
        (IMAGES, "jpg"),
        (CLASSES, "png"),
        (MIRRORED, "png"),
        (FOREGROUND, "png"),
        (INSTANCES, "png"),
    ):
        place = dataset.root / folder
        if not place.is_dir():
            optional = folder in (MIRRORED, FOREGROUND, INSTANCES)
            report.rows.append(Row(folder, "not there" + (" (optional)" if optional else ""), optional))
            if not optional:
                report.problems.append(f"folder {place} does not exist; make the dataset again")
            continue
        names = {path.stem for path in place.iterdir() if path.suffix == f".{ending}" and not path.name.startswith(".")}
        missing, extra = sorted(listed - names), sorted(names - listed)
        found = f"{len(names & listed)} of {len(listed)} listed"
        found += f", {len(extra)} not listed ({', '.join(extra[:3])})" if extra else ""
        report.rows.append(Row(folder, found, not missing and not extra))
        if missing:
            report.problems.append(
                f"{len(missing)} files are missing in {place} ({', '.join(missing[:3])}); make the dataset again"
            )
        if extra:
            report.problems.append(
                f"{place} holds {len(extra)} files no list names ({', '.join(extra[:3])}); remove them"
            )


def _photo(dataset: OneShotDataset, stem: str, decode: bool) -> tuple[int, ...]:
    """Check one photo with its masks; returns the classes in it. Raises UserError at the first fault."""
    path = dataset.image_path(stem)
    shape = read_image(path).shape[:2] if decode else picture_size(path)
    mask = dataset.mask(stem)
    others = {"mask": mask, "mirrored mask": dataset.mirrored(stem)}
    if dataset.has_foreground:
        others["foreground mask"] = dataset.foreground(stem)
    if dataset.has_instances:
        others["instance mask"] = read_mask(dataset.mask_path(stem, INSTANCES))
    for name, other in others.items():
        if other.shape != shape:
            raise UserError(
                f"{name} of {path} is {other.shape[1]}x{other.shape[0]} but the photo is {shape[1]}x{shape[0]}"
            )
    if not np.array_equal(others["mirrored mask"], dataset.space.mirror(mask)):
        raise UserError(
            f"mirrored mask {dataset.mask_path(stem, MIRRORED)} is not its mask mirrored with left and right exchanged"
        )
    return dataset.space.present(mask)


def _pairs(dataset: OneShotDataset, presence: dict[Phase, list[tuple[int, ...]]], report: Report) -> None:
    """The support indexes against the masks, and the test pairs."""
    space = dataset.space
    for phase in PHASES:
        try:
            index = dataset.support_index(phase)
        except UserError as error:
            report.rows.append(Row(f"{phase} support index", str(error), False))
            report.problems.append(str(error))
            continue
        queries = {line for class_id in space.foreground_classes for line in index[class_id]}
        size = max(queries, default=0) + 1
        ok = True
        if presence:
            counted = build_support_index(presence[phase], size, space.n_foreground, inclusive=False)
            kept = [key + part for key in space.foreground_classes for part in (0, space.n_foreground)]
            ok = all(counted[key] == index[key] for key in kept)
        report.rows.append(Row(f"{phase} support index", f"query part {size} photos, agrees with the masks: {ok}", ok))
        if not ok:
            report.problems.append(f"the {phase} support index of {dataset.root} does not agree with the masks")
    try:
        pairs = dataset.test_pairs()
    except UserError as error:
        report.rows.append(Row("test pairs", str(error), False))
        report.problems.append(str(error))
        return
    classes = len({pair.class_id for pair in pairs})
    report.rows.append(
        Row("test pairs", f"{len(pairs)} over {classes} classes, {len({p.query for p in pairs})} different queries")
    )
    report.rows.append(Row("test pairs' SHA-256", sha256_json(pairs)))


def verify(root: Path | str, *, decode: bool = True, progress: Progress | None = None) -> Report:
    """Look through a dataset and say what is there and what is wrong.

    decode=False reads only the photos' headers (a cut-short JPEG then goes unnoticed). Raises UserError only when
    `root` is no dataset at all; every other fault is a row and a problem of the report.
    """
    dataset = open_dataset(root)
    report = Report(Path(root))
    space, counts = dataset.space, dataset.counts()
    rule = dataset.description["test_pairs"]["rule"]
    report.rows.append(Row("dataset", f"{dataset.name}, label space {space.name}, {len(space.classes)} classes"))
    for phase in PHASES:
        report.rows.append(Row(f"{phase} photos", f"{counts[phase]}, the first {dataset.split(phase)} are queries"))
    report.rows.append(Row("rule of the test pairs", rule))
    _folders(dataset, report)
    presence: dict[Phase, list[tuple[int, ...]]] = {phase: [] for phase in PHASES}
    faults: list[str] = []
    if all((dataset.root / folder).is_dir() for folder in (IMAGES, CLASSES)):
        work = [(phase, stem) for phase in PHASES for stem in dataset.stems(phase)]
        for phase, stem in progress(work, "verify") if progress else work:
            try:
                presence[phase].append(_photo(dataset, stem, decode))
            except UserError as error:
                presence[phase].append(())
                faults.append(str(error))
        report.rows.append(Row("photos and masks that fit", f"{len(work) - len(faults)} of {len(work)}", not faults))
        report.problems.extend(faults)
    _pairs(dataset, {} if faults else presence, report)
    for class_id in space.foreground_classes:
        photos = sum(class_id in found for phase in PHASES for found in presence[phase])
        report.rows.append(Row(f"  photos with {space.class_name(class_id)}", str(photos)))
    report.rows.append(Row("fingerprint", dataset.fingerprint))
    return report
