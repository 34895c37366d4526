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
class LabelSpace:
    """One dataset's ids. Masks hold raw ids; a network sees kept ids, which are not renumbered. Facts A.1.

    name        "atr", "lip", "cihp", "pascal", "ccp" (the 59 tags) or "ccp-os" (the 12 classes made of them)
    names       raw id -> name; meanings: raw id -> what its colour stands for
    n_ids       logits of a network over kept ids (dropped ids keep an idle one)
    kept_as     raw id -> kept id (dropped ids -> background), which `merge` applies
    classes     kept ids incl. background, in the official order; class_names beside them
    test_order  kept foreground ids, rare classes first; folds: both as in `tables.Table`
    sides       (left, right) pairs of raw ids that a mirror swaps
    groups      head, body, arms, legs -> kept ids
    palette     uint8 [256,3], raw id -> colour (255 included); class_palette the same for kept ids
    """

    name: str
    names: tuple[str, ...]
    meanings: tuple[str, ...]
    n_ids: int
    kept_as: Mapping[int, int]
    classes: tuple[int, ...]
    class_names: tuple[str, ...]
    test_order: tuple[int, ...]
    sides: tuple[tuple[int, int], ...]
    groups: Mapping[str, tuple[int, ...]]
    folds: tables.Folds
    palette: np.ndarray = field(init=False, repr=False)
    class_palette: np.ndarray = field(init=False, repr=False)
    _merge: np.ndarray = field(init=False, repr=False)
    _foreground: np.ndarray = field(init=False, repr=False)
    _swap: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the look-ups."""
        raw, kept = range(self.n_raw), dict(zip(self.classes, self.class_names, strict=True))
        swap = {a: b for pair in self.sides for a, b in (pair, pair[::-1])}
        values = {
            "palette": _palette(self.meanings),
            "class_palette": _palette([kept.get(index, "accessory") for index in range(self.n_ids)]),
            "_merge": _table(self.kept_as),
            "_foreground": _table({index: int(index != BACKGROUND) for index in raw}),
            "_swap": _table({index: swap.get(index, index) for index in raw}),
        }
        if self.n_ids == self.n_raw:
            values["class_palette"] = values["palette"]
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
        small = mask if mask.dtype == np.uint8 else np.where((mask < 0) | (mask > IGNORE), _UNKNOWN, mask)
        result = table[small]
        if (result == _UNKNOWN).any():
            raise UserError(
                f"{what} holds id {mask[result == _UNKNOWN][0]}, which is outside the label space {self.name} "
                f"(0..{self.n_raw - 1} and {IGNORE} for ignore); check that it belongs to this dataset"
            )
        return result.astype(mask.dtype, copy=False)

    def merge(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Raw ids -> kept ids, any integer array, same dtype; 255 passes. Raises UserError for foreign ids."""
        return self._look_up(self._merge, mask, what)

    def foreground(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Raw ids -> 1 for every person or garment id (dropped ones too), 0 background, 255 passes. Facts A.7."""
        return self._look_up(self._foreground, mask, what)

    def mirror(self, mask: np.ndarray, what: str = "the mask") -> np.ndarray:
        """Mask [H,W] of the mirrored photo: turned left to right, left and right raw ids exchanged. Facts A.8."""
        return np.ascontiguousarray(self._look_up(self._swap, mask, what)[:, ::-1])

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
    table = tables.SPACES[name]
    names, gone = tables.split(table.names), tables.split(table.dropped)
    left_of = {f"right {part}": f"left {part}" for part in (entry.removeprefix("left ") for entry in names)}
    sides = tuple((names.index(left_of[entry]), right) for right, entry in enumerate(names) if entry in left_of)
    if table.made_of:
        class_of = {raw: one for one, parts in table.made_of.items() for raw in tables.split(parts)}
        id_of = {one: index for index, one in enumerate(table.made_of)}
        kept_as = {index: id_of[class_of.get(entry, "background")] for index, entry in enumerate(names)}
        meanings = [class_of.get(entry, tables.COLOURED_AS.get(entry, "accessory")) for entry in names]
    else:
        kept_as = {index: BACKGROUND if entry in gone else index for index, entry in enumerate(names)}
        kept_as |= {right: left for left, right in sides}
        meanings = list(names)
        for left, right in sides:
            meanings[left] = meanings[right] = f"{names[left].removeprefix('left ')}s"
        id_of = {meanings[index]: index for index in sorted(set(kept_as.values()))}
    parts = map(tables.split, table.groups)
    groups = {group: tuple(id_of[one] for one in ones) for group, ones in zip(tables.GROUPS, parts, strict=True)}
    classes, n_ids = tuple(id_of.values()), len(table.made_of) or len(names)
    if sorted(index for ids in groups.values() for index in ids) != sorted(classes)[1:]:
        raise ValueError(f"label space {name}: the groups are no partition of the classes")
    order = table.test_order or classes[1:]
    colours = tuple(meanings)
    return LabelSpace(name, names, colours, n_ids, kept_as, classes, tuple(id_of), order, sides, groups, table.folds)


def canonical(dataset: str) -> str:
    """The label space that a dataset's name contains: "synth-atr", "atr-os", "ATR_OS" -> "atr"; "synth-crowd": "cihp".

    Any other name comes back as it is. Raises UserError for a name that a dataset had once.
    """
    name = dataset.lower().replace("_", "-")
    if name in tables.RENAMED:
        raise UserError(f"the dataset {name} is now called {tables.RENAMED[name]}; use that name")
    parts = (tables.STANDS_FOR.get(part, part) for part in name.split("-"))
    return next((part for part in parts if part in tables.SPACES), dataset)


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
