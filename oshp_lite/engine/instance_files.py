"""Truths and results of people as files, in the layouts of the public evaluations, so that any parser can be scored.

Truth, one of:
    Category_ids/NAME.png, Human_ids/NAME.png      CIHP: class and person ids
    Instance_ids/NAME.png, Instance_ids/NAME.txt   CIHP: part ids, and a line "part-id class person-id" for each
    a dataset in this package's form with person ids; its test photos count
Results, whatever there is of:
    Category_ids/NAME.png                          semantic map (mIoU)
    Instance_ids/NAME.png, Instance_ids/NAME.txt   part ids; line i is "class score" of part i (AP^r; PGN's output)
    people/NAME_N.png, people/NAME.txt             the label map of person N alone; line N is its score (AP^p, PCP)
    global_seg/, global_tag/NAME.png, results.txt  MHP's submission: classes, person ids, "NAME id score id score ..."
PGN's part maps may also lie in the results folder itself. Every map is an 8-bit PNG.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oshp_lite.data.dataset import DESCRIPTION, check_sizes, open_dataset
from oshp_lite.data.people import PartMap, PeopleResult, PeopleTruth, PersonMap, cut_out, whole_map
from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, read_bytes, read_mask, write_together

CLASSES, PERSONS, PARTS, PEOPLE = "Category_ids", "Human_ids", "Instance_ids", "people"
SEG, TAG, LIST = "global_seg", "global_tag", "results.txt"
MOST = 255
"""Ids that an 8-bit map can hold beside 0."""


def _stems(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png")} if folder.is_dir() else set()


def _rows(path: Path, kinds: tuple[Callable[[str], float], ...], form: str) -> list[tuple[float, ...]]:
    """The numbers of a text file's lines. Raises UserError for a line of another form."""
    rows = []
    for number, line in enumerate(read_bytes(path).decode("utf-8", "replace").splitlines(), 1):
        words = line.split()
        try:
            row = tuple(kind(word) for kind, word in zip(kinds, words, strict=True))
        except ValueError:
            row = (math.nan,)
        if not all(map(math.isfinite, row)):
            raise UserError(f"line {number} of {path} is {line.strip()!r}; it must be {form!r} in numbers")
        rows.append(row)
    return rows


def _class_map(path: Path, n_classes: int, ignored: bool) -> np.ndarray:
    ids = read_mask(path)
    wrong = ids[(ids >= n_classes) & ~((ids == MOST) & ignored)]
    if len(wrong):
        raise UserError(f"{path} holds class {wrong[0]}, but the label space ends at {n_classes - 1}; see --labels")
    return ids


@dataclass(frozen=True)
class TruthFolder:
    """The truth of some photos: `names`, and a function that reads one of them."""

    names: tuple[str, ...]
    read: Callable[[str], PeopleTruth]


def open_truth(root: Path | str, n_classes: int) -> TruthFolder:
    """Open a folder of truths, see the module. Raises UserError when it has no person ids."""
    root = Path(root)
    if (root / DESCRIPTION).is_file():
        dataset = open_dataset(root)

        def of_dataset(name: str) -> PeopleTruth:
            persons = dataset.instances(name)
            if persons is None:
                raise UserError(f"{root} has no person ids (no folder instances); use a dataset of several people")
            check_sizes(f"{name}.png", dataset.mask(name).shape, person_map=persons)
            return PeopleTruth(dataset.mask(name), persons)

        return TruthFolder(dataset.stems("test"), of_dataset)
    if not root.is_dir():
        raise UserError(f"truth folder {root} does not exist; check the path")
    if _stems(root / CLASSES) and _stems(root / PERSONS):
        names = _stems(root / CLASSES)
        lacking = sorted(names - _stems(root / PERSONS))
        if lacking:
            raise UserError(f"{root / PERSONS} has no person ids of {lacking[0]}; every photo needs {lacking[0]}.png")

        def of_maps(name: str) -> PeopleTruth:
            classes = _class_map(root / CLASSES / f"{name}.png", n_classes, ignored=True)
            persons = read_mask(root / PERSONS / f"{name}.png")
            check_sizes(root / CLASSES / f"{name}.png", classes.shape, person_map=persons)
            return PeopleTruth(classes, persons)

        return TruthFolder(tuple(sorted(names)), of_maps)
    names = {name for name in _stems(root / PARTS) if (root / PARTS / f"{name}.txt").is_file()}
    if not names:
        raise UserError(
            f"{root} has no person ids: neither {PERSONS} beside {CLASSES} nor {PARTS} with text files; "
            "give a folder in CIHP's layout or a dataset with person ids"
        )
    return TruthFolder(tuple(sorted(names)), lambda name: _truth_of_parts(root / PARTS, name, n_classes))


def _truth_of_parts(folder: Path, name: str, n_classes: int) -> PeopleTruth:
    ids, listed = read_mask(folder / f"{name}.png"), folder / f"{name}.txt"
    table = np.zeros((2, 256), np.uint8)
    for part, c, person in _rows(listed, (int, int, int), "part-id class person-id"):
        if not (0 < part <= MOST and 0 < person <= MOST):
            raise UserError(f"{listed} names part {part:g} of person {person:g}; 8-bit maps hold ids of 1..{MOST}")
        if not 0 < c < n_classes:
            raise UserError(f"{listed} names class {c:g}; the label space has 1..{n_classes - 1}, see --labels")
        table[:, int(part)] = c, person
    unknown = np.setdiff1d(ids, [0, *np.flatnonzero(table[0])])
    if len(unknown):
        raise UserError(f"{folder / name}.png holds part {unknown[0]}, which {listed.name} does not name; add its line")
    return PeopleTruth(table[0][ids], table[1][ids])


class ResultFolder:
    """Somebody's results, see the module. `names` are the photos with any result, `says` what there is of them.

    Raises UserError when there is nothing to score.
    """

    def __init__(self, root: Path | str, n_classes: int) -> None:
        self.root, self.n_classes = Path(root), n_classes
        if not self.root.is_dir():
            raise UserError(f"results folder {self.root} does not exist; check the path")
        self.parts = self.root / PARTS if (self.root / PARTS).is_dir() else self.root
        submitted = (self.root / LIST).is_file()
        self.classes = self.root / (SEG if submitted else CLASSES)
        self._tags = self._submission() if submitted else None
        with_text = {path.stem for path in self.parts.glob("*.txt")} & _stems(self.parts)
        people = {path.stem for path in (self.root / PEOPLE).glob("*.txt")}
        of_kind = {
            "classes": _stems(self.classes),
            "people": people if self._tags is None else set(self._tags),
            "parts": with_text,
        }
        self.says = {what for what, names in of_kind.items() if names}
        self.names = set().union(*of_kind.values())
        if not self.names:
            raise UserError(
                f"{self.root} has nothing to score: no {CLASSES}, no {PARTS} with text files, no {PEOPLE}, no {LIST}"
            )

    def check(self, truth: TruthFolder) -> None:
        """Raise UserError for a result of a photo that the truth does not have."""
        foreign = sorted(self.names - set(truth.names))
        if foreign:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise UserError(
                f"{self.root} has results of {foreign[0]}{more}, which the truth does not have; leave them out"
            )

    def read(self, name: str, size: tuple[int, int]) -> PeopleResult:
        """One photo's result; a photo without any counts as empty. UserError for damaged or ill-fitting files."""
        path = self.classes / f"{name}.png"
        classes = _class_map(path, self.n_classes, ignored=False) if path.is_file() else np.zeros(size, np.uint8)
        check_sizes(name, size, class_map=classes)
        people = self._people(name, size, classes) if "people" in self.says else None
        parts = self._parts(name, size) if "parts" in self.says else None
        return PeopleResult(classes if "classes" in self.says else None, people, parts)

    def _parts(self, name: str, size: tuple[int, int]) -> tuple[PartMap, ...]:
        path, listed = self.parts / f"{name}.png", self.parts / f"{name}.txt"
        if not listed.is_file():
            return ()
        ids, rows = read_mask(path), _rows(listed, (int, float), "class score")
        check_sizes(name, size, part_map=ids)
        if len(rows) > MOST:
            raise UserError(f"{listed} describes {len(rows)} parts, but ids end at {MOST} in an 8-bit map; keep fewer")
        if int(ids.max(initial=0)) > len(rows):
            raise UserError(f"{path} holds part {ids.max()}, but {listed.name} has {len(rows)} lines; add the others")
        wrong = [c for c, _ in rows if not 0 < c < self.n_classes]
        if wrong:
            raise UserError(f"{listed} names class {wrong[0]:g}; there are 1..{self.n_classes - 1}, see --labels")
        classes, scores = np.array(rows, np.float64).reshape(-1, 2).T
        return (PartMap(ids.astype(np.int64), 0, 0, classes.astype(np.int64), scores),)

    def _people(self, name: str, size: tuple[int, int], classes: np.ndarray) -> tuple[PersonMap, ...]:
        if self._tags is not None:
            path = self.root / TAG / f"{name}.png"
            persons = read_mask(path) if self._tags.get(name) else np.zeros(size, np.uint8)
            check_sizes(name, size, person_map=persons)
            known = [(person, score) for person, score in self._tags.get(name, []) if (persons == person).any()]
            return tuple(cut_out(np.where(persons == person, classes, 0), score) for person, score in known)
        listed, people = self.root / PEOPLE / f"{name}.txt", []
        for number, (score,) in enumerate(_rows(listed, (float,), "score") if listed.is_file() else [], 1):
            labels = _class_map(self.root / PEOPLE / f"{name}_{number}.png", self.n_classes, ignored=False)
            check_sizes(name, size, person_map=labels)
            people.append(cut_out(labels, score))
        return tuple(people)

    def _submission(self) -> Mapping[str, list[tuple[int, float]]]:
        """Person ids with scores by photo, of MHP's list."""
        people: dict[str, list[tuple[int, float]]] = {}
        for number, line in enumerate(read_bytes(self.root / LIST).decode("utf-8", "replace").splitlines(), 1):
            name, *words = line.split() or [""]
            try:
                pairs = zip(words[::2], words[1::2], strict=True)
                listed = [(int(person), float(score)) for person, score in pairs]
            except ValueError:
                listed = [(0, math.nan)]
            if not all(0 < person <= MOST and math.isfinite(score) for person, score in listed):
                form = f"a photo's name, then an id of 1..{MOST} and a score for each person"
                raise UserError(f"line {number} of {self.root / LIST} must be {form}; it is {line.strip()[:60]!r}")
            if name:
                people[name] = listed
        return people


def one_part_map(parts: tuple[PartMap, ...], size: tuple[int, int]) -> PartMap:
    """Parts in one map without overlap, painted in ascending order of their scores; those covered wholly are dropped.

    Of more than 255 the best-scored are kept, since the public formats have 8-bit maps.
    """
    listed = [(float(one.scores[i]), one, i) for one in parts for i in range(len(one.classes))]
    listed = sorted(listed, key=lambda entry: entry[0])[-MOST:]
    ids = np.zeros(size, np.int64)
    for number, (_, one, i) in enumerate(listed, 1):
        window = ids[one.top : one.top + one.ids.shape[0], one.left : one.left + one.ids.shape[1]]
        window[one.ids == i + 1] = number
    seen = [number for number in range(1, len(listed) + 1) if (ids == number).any()]
    table = np.zeros(len(listed) + 1, np.int64)
    table[seen] = np.arange(1, len(seen) + 1)
    classes = np.array([listed[number - 1][1].classes[listed[number - 1][2]] for number in seen], np.int64)
    return PartMap(table[ids], 0, 0, classes, np.array([listed[number - 1][0] for number in seen]))


def write_truth(root: Path | str, name: str, truth: PeopleTruth) -> None:
    """Write a truth in CIHP's layout: class, person and part ids, parts numbered by person and class.

    Raises UserError for more than 255 parts.
    """
    root, pairs = Path(root), []
    parts = np.zeros(truth.size, np.uint8)
    for person in truth.ids:
        for c in np.unique(truth.classes[truth.persons == person]):
            if 0 < c < MOST:
                pairs.append((int(c), person))
                parts[(truth.persons == person) & (truth.classes == c)] = len(pairs) % 256
    if len(pairs) > MOST:
        raise UserError(f"photo {name} has {len(pairs)} parts, but ids end at {MOST} in an 8-bit map")
    text = "".join(f"{number} {c} {person}\n" for number, (c, person) in enumerate(pairs, 1))
    maps = {CLASSES: truth.classes, PERSONS: truth.persons, PARTS: parts}
    files = {root / folder / f"{name}.png": encode_png(ids) for folder, ids in maps.items()}
    write_together({**files, root / PARTS / f"{name}.txt": text.encode()}, durable=False)


def write_result(root: Path | str, name: str, size: tuple[int, int], result: PeopleResult) -> None:
    """Write what a parser says of a photo of `size` (height, width), in the layout that `ResultFolder` reads."""
    root = Path(root)
    files: dict[Path, bytes] = {}
    if result.classes is not None:
        files[root / CLASSES / f"{name}.png"] = encode_png(result.classes)
    if result.people is not None:
        for number, person in enumerate(result.people, 1):
            files[root / PEOPLE / f"{name}_{number}.png"] = encode_png(whole_map(person, size))
        files[root / PEOPLE / f"{name}.txt"] = "".join(f"{float(one.score)!r}\n" for one in result.people).encode()
    if result.parts is not None:
        one = one_part_map(result.parts, size)
        lines = (f"{c} {float(score)!r}\n" for c, score in zip(one.classes, one.scores, strict=True))
        files |= {
            root / PARTS / f"{name}.png": encode_png(one.ids),
            root / PARTS / f"{name}.txt": "".join(lines).encode(),
        }
    write_together(files, durable=False)
