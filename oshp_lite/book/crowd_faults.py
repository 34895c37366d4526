"""What went wrong in a crowd, measured: the fate of every true person, and whose pixels were given to somebody else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from oshp_lite.book.crowd import Array, class_ious, matches
from oshp_lite.data.people import PeopleResult, PeopleTruth, whole_map

SEEN = 0.2
"""IoU of two silhouettes from which a prediction is of that person at all."""
FITS = 0.5
"""IoU of two silhouettes above which a mask fits; the same threshold judges parts and people."""
TINY = 1 / 256
"""Share of the photo below which a part is tiny: 16 x 16 of 256 x 256 pixels, or 6 x 6 of 96 x 96."""
FATES: Mapping[str, str] = {
    "right": "right",
    "missed": "missed",
    "merged": "merged with a neighbour",
    "loose": "mask off",
    "parts": "mask fits, parts wrong",
}
"""What can become of a true person, in words."""


class Diagnosis(NamedTuple):
    """A crowd's faults at 0.5.

    fates        how many true people met each of `FATES`
    failed, tiny parts of the people whose mask fits and whose parts do not: those below 0.5, and the tiny ones of them
    duplicates   predictions of a person who has a right one already; nobody: predictions of nobody
    wrong_owner  share of the people's painted pixels whose painter is somebody else
    """

    fates: Mapping[str, int]
    failed: int
    tiny: int
    duplicates: int
    nobody: int
    wrong_owner: float

    def __str__(self) -> str:
        """Say it in a few words."""
        people = sum(self.fates.values())
        words = [f"{self.fates['right']} of {people} right"]
        words += [f"{count} {FATES[name]}" for name, count in self.fates.items() if count and name != "right"]
        if self.failed:
            words[-1] += f" ({self.failed} parts fail, {self.tiny} of them tiny)"
        words += [
            f"{count} {name}" for name, count in (("duplicate", self.duplicates), ("of nobody", self.nobody)) if count
        ]
        return ", ".join(words)


def diagnose(truth: PeopleTruth, result: PeopleResult, n_classes: int, least: float = 0.3) -> Diagnosis:
    """Say what became of every true person, counting predictions that score at least `least`.

    A person without a right prediction is *missed* where no silhouette overlaps it by `SEEN`; *merged* where the best
    silhouette lies mostly on another person, or another's covers half of it; *loose* where the silhouette does not fit;
    and has wrong *parts* where it does.
    """
    people = sorted((one for one in result.people or () if one.score >= least), key=lambda one: -one.score)
    made = matches(truth, PeopleResult(None, tuple(people)), n_classes)
    true = [labels for labels in map(truth.person, truth.ids) if (labels > 0).any()]
    said = [whole_map(one, truth.size) for one in people]
    both = np.array([[((a > 0) & (b > 0)).sum() for b in true] for a in said], float).reshape(len(said), len(true))
    own, theirs = (np.array([(one > 0).sum() for one in maps], float) for maps in (said, true))
    ious = both / np.maximum(own[:, None] + theirs[None] - both, 1)
    owner = both.argmax(1) if both.size else np.zeros(len(said), int)
    right = {one.person for one in made if one.verdict == "right"}
    fates, failed, tiny = dict.fromkeys(FATES, 0), 0, 0
    for i, labels in enumerate(true):
        best = int(ious[:, i].argmax()) if len(said) else -1
        fit = ious[best, i] if len(said) else 0.0
        if i in right:
            fate = "right"
        elif fit < SEEN:
            fate = "merged" if len(said) and both[:, i].max() >= theirs[i] / 2 else "missed"
        else:
            fate = "merged" if owner[best] != i else "parts" if fit > FITS else "loose"
        fates[fate] += 1
        if fate == "parts":
            parts = [c for c in range(1, n_classes) if (labels == c).any()]
            low = [c for c in parts if class_ious(labels, said[best], n_classes)[c] <= FITS]
            failed += len(low)
            tiny += sum(int((labels == c).sum()) < TINY * labels.size for c in low)
    wrong = [j for j, one in enumerate(made) if one.verdict != "right"]
    nobody = sum(ious[j].max(initial=0.0) < SEEN for j in wrong)
    duplicates = sum(ious[j].max(initial=0.0) >= SEEN and int(owner[j]) in right for j in wrong)
    return Diagnosis(fates, failed, tiny, duplicates, nobody, _wrong_owner(true, said, owner))


def _wrong_owner(true: Sequence[Array], said: Sequence[Array], owner: Array) -> float:
    """Share of the true people's painted pixels that a person painted who is mostly somebody else."""
    painter = np.full(true[0].shape if true else (0, 0), -1)
    for j in reversed(range(len(said))):  # best first, so the best is painted last
        painter[said[j] > 0] = owner[j]
    counted = wrong = 0
    for i, labels in enumerate(true):
        mine = painter[(labels > 0) & (painter >= 0)]
        counted, wrong = counted + mine.size, wrong + int((mine != i).sum())
    return wrong / counted if counted else 0.0


def fault_table(crowds: Mapping[str, Diagnosis]) -> str:
    """The faults of some crowds as a Markdown table, a column a fault."""
    columns = [*FATES.values(), "failed parts (tiny)", "duplicates", "of nobody", "wrong owner"]
    lines = ["| crowd | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for name, one in crowds.items():
        cells = [*one.fates.values(), f"{one.failed} ({one.tiny})", one.duplicates, one.nobody]
        lines.append(f"| {name} | {' | '.join(map(str, cells))} | {one.wrong_owner:.0%} |")
    return "\n".join(lines)
