"""Looking through a whole dataset: are all files there, readable, of one size, with ids of its label space."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from oshp_lite.data import dataset as form
from oshp_lite.data.dataset import OneShotDataset, Phase, open_dataset
from oshp_lite.data.pairs import build_support_index, pairs_hash
from oshp_lite.errors import UserError
from oshp_lite.files import picture_size, read_image


@dataclass
class Report:
    """What `verify` saw: lines (what, its state, whether it is right), and problems as sentences a user can act on."""

    lines: list[tuple[str, str, bool]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems

    def note(self, what: str, state: object, *problems: str) -> None:
        """Add a line, and its problems if there are any."""
        self.lines.append((what, str(state), not problems))
        self.problems += problems

    def table(self) -> str:
        """The lines as plain text."""
        wide = max(len(what) for what, _, _ in self.lines)
        return "\n".join(f"{'ok ' if ok else 'BAD'}  {what:<{wide}}  {state}" for what, state, ok in self.lines)


def _folder(dataset: OneShotDataset, folder: str, listed: set[str], report: Report) -> None:
    """Files listed but missing, and pictures that no list names."""
    place = dataset.root / folder
    if not os.path.isdir(place):
        needed = folder in (form.IMAGES, form.CLASSES)
        problems = [f"folder {place} does not exist; make the dataset again"] if needed else []
        report.note(folder, "not there" if needed else "not there (optional)", *problems)
        return
    suffix = form.picture_path(place, folder, "x").suffix
    names = {path.stem for path in place.iterdir() if path.suffix == suffix and not path.name.startswith(".")}
    missing, extra = sorted(listed - names), sorted(names - listed)
    state, problems = f"{len(names & listed)} of {len(listed)} listed", []
    if missing:
        problems.append(f"{len(missing)} files are missing in {place} ({', '.join(missing[:3])}); make it again")
    if extra:
        state += f", {len(extra)} not listed ({', '.join(extra[:3])})"
        problems.append(f"{place} holds {len(extra)} files no list names ({', '.join(extra[:3])}); remove them")
    report.note(folder, state, *problems)


def _photo(dataset: OneShotDataset, stem: str, decode: bool) -> tuple[int, ...]:
    """Check one photo with its masks; returns the classes in it. Raises UserError at the first fault."""
    path = dataset.image_path(stem)
    shape = read_image(path).shape if decode else picture_size(path)
    mask, mirrored = dataset.mask(stem), dataset.mirrored(stem)
    coarse = dataset.foreground(stem) if dataset.has_foreground else None
    persons = dataset.instances(stem)
    form.check_sizes(path, shape, mask=mask, mirrored_mask=mirrored, foreground_mask=coarse, instance_mask=persons)
    if not np.array_equal(mirrored, dataset.space.mirror(mask)):
        raise UserError(
            f"mirrored mask {dataset.mask_path(stem, form.MIRRORED)} is not its mask mirrored "
            "with left and right exchanged"
        )
    return dataset.space.present(mask)


def _index(dataset: OneShotDataset, phase: Phase, presence: list[tuple[int, ...]], report: Report) -> None:
    """A support index against the masks."""
    space, what = dataset.space, f"{phase} support index"
    try:
        index = dataset.support_index(phase)
    except UserError as error:
        report.note(what, error, str(error))
        return
    size = max((line for class_id in space.foreground_classes for line in index[class_id]), default=-1) + 1
    counted = build_support_index(presence, size, space.n_foreground, inclusive=False)
    keys = [class_id + part for class_id in space.foreground_classes for part in (0, space.n_foreground)]
    agrees = not presence or all(counted[key] == index[key] for key in keys)
    fault = f"the {phase} support index of {dataset.root} does not agree with the masks"
    report.note(what, f"query part {size} photos, agrees with the masks: {agrees}", *([] if agrees else [fault]))


def verify(root: Path | str, *, decode: bool = True, progress: bool = False, **pairs: Any) -> Report:
    """Look through a dataset and say what is there and what is wrong.

    decode=False reads only the photos' headers (a cut-short JPEG then goes unnoticed). `pairs` are the options of
    `OneShotDataset.test_pairs` (rule, queries, repeats, per_class): the list whose hash is given is the one that a run
    with these values of `eval` is scored on. Raises UserError only when `root` is no dataset at all; every other fault
    is a line and a problem of the report.
    """
    dataset = open_dataset(root)
    report, space = Report(), dataset.space
    report.note("dataset", f"{dataset.name}, label space {space.name}, {len(space.classes)} classes")
    for phase in form.PHASES:
        report.note(f"{phase} photos", f"{len(dataset.stems(phase))}, the first {dataset.split(phase)} are queries")
    work = [(phase, stem) for phase in form.PHASES for stem in dataset.stems(phase)]
    for folder in form.PICTURES:
        _folder(dataset, folder, {stem for _, stem in work}, report)
    presence: dict[Phase, list[tuple[int, ...]]] = {phase: [] for phase in form.PHASES}
    faults: list[str] = []
    if all(os.path.isdir(dataset.root / folder) for folder in (form.IMAGES, form.CLASSES)):
        for phase, stem in tqdm(work, desc="verify", unit="photo", disable=not progress):
            try:
                presence[phase].append(_photo(dataset, stem, decode))
            except UserError as error:
                faults.append(str(error))
        report.note("photos and masks that fit", f"{len(work) - len(faults)} of {len(work)}", *faults)
    for phase in form.PHASES:
        _index(dataset, phase, [] if faults else presence[phase], report)
    report.note("rule of the test pairs", dataset.describe_rule(**pairs))
    try:
        scored = dataset.test_pairs(**pairs)
        classes, queries = len({pair.class_id for pair in scored}), len({pair.query for pair in scored})
        report.note("test pairs", f"{len(scored)} over {classes} classes, {queries} different queries")
        report.note("test pairs' SHA-256", pairs_hash(scored))
    except UserError as error:
        report.note("test pairs", error, str(error))
    for class_id in space.foreground_classes:
        photos = sum(class_id in classes for phase in form.PHASES for classes in presence[phase])
        report.note(f"  photos with {space.class_name(class_id)}", photos)
    report.note("fingerprint", dataset.fingerprint)
    return report
