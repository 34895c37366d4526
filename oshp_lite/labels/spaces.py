"""Label spaces: what the ids of each dataset mean, which are merged, dropped and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from oshp_lite.errors import UserError
from oshp_lite.labels import tables
from oshp_lite.labels.palettes import IGNORE_COLOUR, UNUSED_COLOUR, colour_of, shade

BACKGROUND = 0
"""The id of everything that is no class."""
IGNORE = 255
"""The mask value that says "no statement about this pixel"; it passes every mapping unchanged."""
_UNKNOWN = 254  # marks ids outside a space inside the lookup tables; no space is that large


@dataclass(frozen=True, eq=False)
class LabelSpace(tables.SpaceTable):
    """One dataset's ids (the fields are the table's) with its look-ups; `merge` turns raw ids into kept ids. Facts A.1.

    palette uint8 [256,3], raw id -> colour (255 included); class_palette the same for kept ids.
    """

    palette: np.ndarray = field(init=False, repr=False)
    class_palette: np.ndarray = field(init=False, repr=False)
    _merge: np.ndarray = field(init=False, repr=False)
    _foreground: np.ndarray = field(init=False, repr=False)
    _swap: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Check the table and make the look-ups."""
        if set(self.kept_as.values()) != set(self.classes) or self.kept_as[BACKGROUND] != BACKGROUND:
            raise ValueError(f"label space {self.name}: merges and class list disagree")
        if sorted(index for ids in self.groups.values() for index in ids) != sorted(self.foreground_classes):
            raise ValueError(f"label space {self.name}: the groups are no partition of the classes")
        by_id = ["accessory"] * self.n_ids
        for index, name in zip(self.classes, self.class_names, strict=True):
            by_id[index] = name
        raw = range(self.n_raw)
        swap = {a: b for pair in self.sides for a, b in (pair, pair[::-1])}
        values = {
            "palette": _palette(self.meanings),
            "class_palette": _palette(self.meanings if self.n_ids == self.n_raw else by_id),
            "_merge": _table(self.kept_as),
            "_foreground": _table({index: int(index != BACKGROUND) for index in raw}),
            "_swap": _table({index: swap.get(index, index) for index in raw}),
        }
        for name, value in values.items():
            value.setflags(write=False)
            object.__setattr__(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name: every process keeps one object per space (worker processes rely on it)."""
        return label_space, (self.name,)

    @property
    def n_raw(self) -> int:
        """Number of raw ids, background included."""
        return len(self.names)

    @property
    def n_foreground(self) -> int:
        """Number of foreground ids (the S of the support index, whose keys run over 0..2S)."""
        return self.n_ids - 1

    @property
    def key(self) -> str:
        """The short name in the support files' names (atr, lip, cihp, ccp, pascal)."""
        return self.name.removesuffix("-os")

    @property
    def foreground_classes(self) -> tuple[int, ...]:
        """The kept ids without the background, in the official order."""
        return tuple(index for index in self.classes if index != BACKGROUND)

    def class_name(self, index: int) -> str:
        """Name of a kept id. Raises UserError for any other."""
        if index not in self.classes:
            raise UserError(f"id {index} is no kept class of {self.name}; kept are {list(self.classes)}")
        return self.class_names[self.classes.index(index)]

    def id_of(self, name: str) -> int:
        """Id of a class name ("shoes" -> kept id) or of a raw name ("right shoe"). Raises UserError if unknown."""
        if name in self.class_names:
            return self.classes[self.class_names.index(name)]
        if name in self.names:
            return self.names.index(name)
        raise UserError(f"{self.name} has no class named {name!r}; it has {', '.join(self.class_names)}")

    def _look_up(self, table: np.ndarray, mask: np.ndarray, what: str) -> np.ndarray:
        mask = np.asarray(mask)
        if mask.dtype.kind not in "iu":
            raise UserError(f"{what} has values of type {mask.dtype} where whole class ids are expected")
        small = mask
        if mask.dtype != np.uint8:
            if mask.size and (int(mask.min()) < 0 or int(mask.max()) > IGNORE):
                wrong = int(mask.min()) if int(mask.min()) < 0 else int(mask.max())
                raise UserError(self._outside(wrong, what))
            small = mask.astype(np.uint8)
        result = table[small]
        if (result == _UNKNOWN).any():
            raise UserError(self._outside(int(small[result == _UNKNOWN][0]), what))
        return result.astype(mask.dtype, copy=False)

    def _outside(self, index: int, what: str) -> str:
        return (
            f"{what} holds id {index}, which is outside the label space {self.name} "
            f"(0..{self.n_raw - 1} and {IGNORE} for ignore); check that it belongs to this dataset"
        )

    def merge(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Raw ids -> kept ids, any integer array, same dtype; 255 passes. Raises UserError for foreign ids."""
        return self._look_up(self._merge, mask, what)

    def foreground(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Raw ids -> 1 for every person or garment id (dropped ones too), 0 background, 255 passes. Facts A.7."""
        return self._look_up(self._foreground, mask, what)

    def swap_sides(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Exchange left and right raw ids (the pixels stay where they are); its own inverse. Facts A.8."""
        return self._look_up(self._swap, mask, what)

    def mirror(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Mask [H,W] of the mirrored photo: turned left to right, left and right ids exchanged."""
        return np.ascontiguousarray(self.swap_sides(mask, what)[:, ::-1])

    def check(self, mask: np.ndarray, what: str = "the mask") -> None:
        """Raise UserError when the mask holds an id outside this space."""
        self._look_up(self._merge, mask, what)

    def present(self, mask: np.ndarray, what: str = "the mask") -> tuple[int, ...]:
        """Kept foreground ids with at least one pixel in a raw mask, ascending; 0 and 255 do not count. Facts A.4."""
        ids = np.unique(self.merge(mask, what))
        return tuple(int(index) for index in ids if index not in (BACKGROUND, IGNORE))


def _palette(meanings: Sequence[str]) -> np.ndarray:
    """Colours by id: the first id of a meaning gets its colour, further ones a neighbouring shade."""
    palette = np.tile(np.array(UNUSED_COLOUR, np.uint8), (256, 1))
    used: dict[str, int] = {}
    for index, meaning in enumerate(meanings):
        palette[index] = shade(colour_of(meaning), used.get(meaning, 0))
        used[meaning] = used.get(meaning, 0) + 1
    palette[IGNORE] = IGNORE_COLOUR
    return palette


def _table(mapping: Mapping[int, int]) -> np.ndarray:
    table = np.full(256, _UNKNOWN, np.uint8)
    for source, target in mapping.items():
        table[source] = target
    table[IGNORE] = IGNORE
    return table


@cache
def _space(name: str) -> LabelSpace:
    return LabelSpace(**vars(tables.SPACES[name]))


def canonical(dataset: str) -> str:
    """The label space that a dataset's name contains: "synth-atr", "atr-os", "ATR_OS" -> "atr"; "ccp-os" -> "ccp".

    Any other name comes back as it is. Raises UserError for a name that a dataset had once.
    """
    name = dataset.lower().replace("_", "-")
    if name in tables.RENAMED:
        raise UserError(f"the dataset {name} is now called {tables.RENAMED[name]}; use that name")
    return next((part for part in name.split("-") if part in tables.SPACES), dataset)


def one_shot_space(dataset: str) -> LabelSpace:
    """The label space of a dataset's one-shot form: the classes made of its raw ids. Raises UserError if unknown."""
    short = canonical(dataset)
    return label_space(f"{short}-os" if f"{short}-os" in tables.SPACES else short)


def label_space(name: str) -> LabelSpace:
    """The label space of "atr", "lip", "cihp", "pascal", "ccp" (59 tags) or "ccp-os" (12 classes).

    Datasets' names (synth-atr, atr-os, ...) give their space. Raises UserError for an unknown name.
    """
    exact = name.lower().replace("_", "-")
    short = exact if exact in tables.SPACES else canonical(name)
    if short not in tables.SPACES:
        raise UserError(f"unknown label space {name!r}; known are {', '.join(tables.SPACES)}")
    return _space(short)


def label_spaces() -> tuple[LabelSpace, ...]:
    """Every label space."""
    return tuple(map(_space, tables.SPACES))
