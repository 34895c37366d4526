"""The finest labels of a procedural scene, and the merges that turn them into every label space.

An atom is (material, body part, side). It keeps what the label spaces disagree about: ATR asks which garment lies over
the limb, PASCAL-Person-Part which limb lies under the garment, so "coat sleeve over the left lower arm" serves both.
Left and right are the person's own.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from oshp_lite.labels import label_space

SIDES = ("left", "right")
ARMS = ("upper-arm", "lower-arm")
LEGS = ("upper-leg", "lower-leg")
SIDED = ("arm", "leg", "shoe")  # classes that ATR, LIP and CIHP split into left and right


class Atom(NamedTuple):
    """One finest label: material, body part under it ("none" for a bag) and the person's own side ("" if neither)."""

    material: str
    part: str
    side: str = ""

    @property
    def name(self) -> str:
        """A readable name, such as `coat/lower-arm/left`."""
        return "/".join(x for x in (self.material, self.part, self.side) if x)


def _table() -> tuple[Atom, ...]:
    cloth = ("skin", "upper-clothes", "coat", "dress", "jumpsuit")
    limbs = [(part, material) for part in ARMS for material in cloth] + [("lower-arm", "glove")]
    limbs += [(part, material) for part in LEGS for material in (*cloth, "pants", "skirt", "socks")]
    return (
        Atom("background", "none"),
        *(Atom(material, "head") for material in ("hair", "face", "hat", "sunglasses")),
        *(Atom("skin", "neck"), Atom("bag", "none")),
        *(Atom(material, "torso") for material in (*cloth, "pants", "skirt", "belt", "sash", "scarf")),
        *(Atom(material, part, side) for part, material in (*limbs, ("lower-leg", "shoe")) for side in SIDES),
    )


ATOMS: tuple[Atom, ...] = _table()
_INDEX = {known: index for index, known in enumerate(ATOMS)}


def atom(material: str, part: str, side: str = "") -> int:
    """The index of an atom in ATOMS; KeyError where there is no such atom."""
    return _INDEX[Atom(material, part, side)]


def _garment_class(a: Atom, space: str) -> str:
    """The meaning an atom takes in the ATR, LIP or CIHP label space (before sides are added)."""
    m = a.material
    if m == "skin":
        if a.part in ("neck", "torso"):  # only CIHP has a word for bare chest and midriff
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
