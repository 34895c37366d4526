"""The finest labels of a procedural scene, and the merges that turn them into every label space.

An atom is (material, body part, side). It keeps what the label spaces disagree about: ATR asks which garment lies over
the limb, PASCAL-Person-Part which limb lies under the garment, so "coat sleeve over the left lower arm" serves both.
Left and right are the person's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from oshp_lite.labels import label_space

SIDES = ("left", "right")
ARMS = ("upper-arm", "lower-arm")
LEGS = ("upper-leg", "lower-leg")
SIDED = ("arm", "leg", "shoe")  # classes that ATR, LIP and CIHP split into left and right


@dataclass(frozen=True)
class Atom:
    """One finest label: material, body part under it ("none" for a bag) and the person's own side ("" if neither)."""

    material: str
    part: str
    side: str = ""

    @property
    def name(self) -> str:
        """A readable name, such as `coat/lower-arm/left`."""
        return "/".join(x for x in (self.material, self.part, self.side) if x)


def _table() -> tuple[Atom, ...]:
    atoms = [Atom("background", "none")]
    atoms += [Atom(m, "head") for m in ("hair", "face", "hat", "sunglasses")]
    atoms += [Atom("skin", "neck"), Atom("bag", "none")]
    on_torso = ("skin", "upper-clothes", "coat", "dress", "jumpsuit", "pants", "skirt", "belt", "sash", "scarf")
    atoms += [Atom(m, "torso") for m in on_torso]
    for part in ARMS:
        for material in ("skin", "upper-clothes", "coat", "dress", "jumpsuit"):
            atoms += [Atom(material, part, side) for side in SIDES]
    atoms += [Atom("glove", "lower-arm", side) for side in SIDES]
    for part in LEGS:
        for material in ("skin", "upper-clothes", "coat", "dress", "jumpsuit", "pants", "skirt", "socks"):
            atoms += [Atom(material, part, side) for side in SIDES]
    atoms += [Atom("shoe", "lower-leg", side) for side in SIDES]
    return tuple(atoms)


ATOMS: tuple[Atom, ...] = _table()
_INDEX = {(a.material, a.part, a.side): i for i, a in enumerate(ATOMS)}


def atom(material: str, part: str, side: str = "") -> int:
    """The index of an atom in ATOMS; KeyError where there is no such atom."""
    return _INDEX[material, part, side]


def _garment_class(a: Atom, space: str) -> str:
    """The meaning an atom takes in the ATR, LIP or CIHP label space (before sides are added)."""
    m = a.material
    if m == "skin":
        if a.part == "neck":
            return "torso-skin" if space == "cihp" else "face"
        if a.part == "torso":  # only CIHP has a word for bare chest and midriff; the others count it with the neck
            return "torso-skin" if space == "cihp" else "face"
        return "arm" if a.part in ARMS else "leg"
    if m == "jumpsuit" and space != "lip":  # only LIP has jumpsuits; elsewhere one is labelled as its two halves
        return "pants" if a.part in LEGS else "upper-clothes"
    if space == "atr":
        return {"coat": "upper-clothes", "glove": "arm", "socks": "leg", "sash": "belt"}.get(m, m)
    # LIP and CIHP know no belt (it counts with the garment it holds) and no bag (background)
    return {"jumpsuit": "jumpsuits", "belt": "pants", "sash": "dress", "bag": "background"}.get(m, m)


def _pascal_class(a: Atom) -> str:
    """PASCAL-Person-Part: the limb under the garment; the neck counts as torso, a carried bag as background."""
    if a.part in ARMS or a.part in LEGS:
        return f"{a.part}s"
    return {"none": "background", "neck": "torso"}.get(a.part, a.part)


@cache
def merge_table(space: str) -> np.ndarray:
    """Raw ids of a label space by atom: uint8 [256] (index with an atom map). Space: atr, lip, cihp or pascal."""
    target = label_space(space)
    table = np.zeros(256, dtype=np.uint8)
    for i, a in enumerate(ATOMS):
        meaning = _pascal_class(a) if space == "pascal" else _garment_class(a, space)
        name = f"{a.side} {meaning}" if meaning in SIDED and space != "pascal" else meaning
        table[i] = target.id_of(name)
    table.setflags(write=False)
    return table


@cache
def mirror_table() -> np.ndarray:
    """The atom with left and right exchanged, by atom: uint8 [256]."""
    table = np.arange(256, dtype=np.uint8)
    other = {"left": "right", "right": "left", "": ""}
    for i, a in enumerate(ATOMS):
        table[i] = atom(a.material, a.part, other[a.side])
    table.setflags(write=False)
    return table
