"""Folds: which classes are seen in training (base) and which are met for the first time at test (novel)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.labels.spaces import BACKGROUND, IGNORE, LabelSpace, canonical, label_spaces, one_shot_space


@dataclass(frozen=True)
class Fold:
    """One split of a dataset's kept ids. Source: facts A.2 (journal section 6.1; AAAI section 5.1).

    classes   all kept ids incl. background, in the official order
    training  ids visible in training: background and base
    novel     ids hidden in training

    Raises UserError when base and novel overlap, leave a class out or name an unknown one.
    """

    dataset: str
    number: int
    protocol: str
    n_ids: int
    classes: tuple[int, ...]
    training: tuple[int, ...]
    novel: tuple[int, ...]
    background: int = BACKGROUND
    _visible: np.ndarray = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse folds that would leak or lose a class."""
        base, novel, classes = set(self.training), set(self.novel), set(self.classes)
        lists = (self.classes, self.training, self.novel)
        faults = {
            "an id occurs twice in one of its lists": any(len(set(ids)) != len(ids) for ids in lists),
            f"ids {sorted(base & novel)} are both base and novel; a class must be one of them": base & novel,
            f"the background {self.background} must be among the training ids": self.background not in base,
            f"ids {sorted((base | novel) ^ classes)} are not exactly once among base and novel classes": (
                base | novel != classes
            ),
            f"ids must lie in 0..{self.n_ids - 1}": not all(0 <= index < self.n_ids for index in classes),
        }
        fault = next((words for words, there in faults.items() if there), None)
        if fault is not None:
            raise UserError(f"fold {self.number} of {self.dataset} ({self.protocol}): {fault}")
        visible = np.zeros(256, np.uint8)
        for index in (*self.training, IGNORE):
            visible[index] = index
        object.__setattr__(self, "_visible", visible)

    @property
    def base(self) -> tuple[int, ...]:
        """Ids averaged as "base": the training ids, background included (facts B.10)."""
        return self.training

    @property
    def base_foreground(self) -> tuple[int, ...]:
        """Training ids without the background."""
        return tuple(index for index in self.training if index != self.background)

    @property
    def foreground(self) -> tuple[int, ...]:
        """All kept ids without the background, in the official order."""
        return tuple(index for index in self.classes if index != self.background)

    @property
    def space(self) -> LabelSpace:
        """Label space of the masks this fold works on (CCP: the 12 classes of CCP-OS)."""
        return one_shot_space(self.dataset)

    def hide_novel(self, mask: np.ndarray) -> np.ndarray:
        """Merged ids (integers 0..255) -> the same with all but training ids background; 255 passes. Facts A.7.

        UserError for other values.
        """
        mask = np.asarray(mask)
        whole = mask.dtype.kind in "iu" and (not mask.size or (mask.min() >= 0 and mask.max() <= IGNORE))
        if mask.dtype != np.uint8 and not whole:
            raise UserError(f"a mask of whole ids in 0..255 is expected, not {mask.dtype} values outside it")
        return self._visible[mask].astype(mask.dtype, copy=False)

    def names(self, ids: tuple[int, ...] | None = None) -> tuple[str, ...]:
        """Class names of some kept ids (all of them when none are given)."""
        return tuple(self.space.class_name(index) for index in (self.classes if ids is None else ids))


def fold(dataset: str, number: int, protocol: str = "journal") -> Fold:
    """Fold 1 or 2 of a dataset, by the name of its labels ("atr") or its own ("synth-atr", "atr-os").

    protocol: "journal" (all datasets), "aaai" (ATR only) or "tuning": the journal fold's base classes alone, every
    third of them (rarest first) playing novel, so that settings can be chosen without a look at a novel class. Raises
    UserError for a combination that does not exist.
    """
    if protocol == "tuning":
        whole = fold(dataset, number)
        played = tuple(index for index in whole.space.test_order if index in whole.base_foreground)[::3]
        seen = tuple(index for index in whole.training if index not in played)
        return replace(whole, protocol="tuning", classes=whole.training, training=seen, novel=played)
    short = canonical(dataset)
    spaces = {(space.key, *key): space for space in label_spaces() for key in space.folds}
    space = spaces.get((short, protocol, number))
    if space is None:
        known = ", ".join(f"{name} {count} ({rule})" for name, rule, count in spaces)
        raise UserError(f"there is no fold {number!r} of {dataset!r} in protocol {protocol!r}; there are {known}")
    training = space.folds[protocol, number]
    novel = tuple(index for index in space.classes if index not in training)
    return Fold(short, number, protocol, space.n_ids, space.classes, training, novel)
