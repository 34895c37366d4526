"""The ids of every dataset, as data. Nothing else in the package writes an id down. Sources: facts A.1, A.2, A.6."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

GROUPS = ("head", "body", "arms", "legs")
"""The parents of POPNet's second stage (AAAI, section 4)."""

Folds = Mapping[tuple[str, int], tuple[int, ...]]
"""(protocol, fold) -> ids visible in training (background and base), in the official order; the rest is novel."""


class Table(NamedTuple):
    """One dataset's ids; all but `folds` and `test_order` by name, comma-separated.

    names       raw names, the first has id 0; "left X" and "right X" become the class "Xs", which has the left one's id
    groups      the classes of head, body, arms and legs
    dropped     raw names that become background
    test_order  kept foreground ids, rare classes first, as the journal's test pairs walk them (empty: by id)
    folds       the folds of the dataset whose one-shot form has these classes
    made_of     class -> the raw names it is made of, where classes have ids of their own: their positions here
    """

    names: str
    groups: tuple[str, str, str, str]
    dropped: str = ""
    test_order: tuple[int, ...] = ()
    folds: Folds = {}
    made_of: Mapping[str, str] = {}


def split(names: str) -> tuple[str, ...]:
    """The comma-separated names."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _lip_like(tenth: str, test_order: tuple[int, ...], second_fold: tuple[int, ...]) -> Table:
    """LIP and CIHP share every id but one: 10 is a jumpsuit in LIP, bare torso in CIHP."""
    return Table(
        f"background,hat,hair,glove,sunglasses,upper-clothes,dress,coat,socks,pants,{tenth},scarf,skirt,face,"
        "left arm,right arm,left leg,right leg,left shoe,right shoe",
        ("hat,hair,face", f"upper-clothes,dress,coat,{tenth},skirt", "arms", "pants,legs,shoes"),
        "glove,sunglasses,socks,scarf",
        test_order,
        {("journal", 1): (0, 1, 2, 5, 7, 10, 13, 14, 16, 18), ("journal", 2): second_fold},
    )


CCP_TAGS = split(
    "null,accessories,bag,belt,blazer,blouse,bodysuit,boots,bra,bracelet,cape,cardigan,clogs,coat,dress,"
    "earrings,flats,glasses,gloves,hair,hat,heels,hoodie,intimate,jacket,jeans,jumper,leggings,loafers,"
    "necklace,panties,pants,pumps,purse,ring,romper,sandals,scarf,shirt,shoes,shorts,skin,skirt,sneakers,"
    "socks,stockings,suit,sunglasses,sweater,sweatshirt,swimwear,t-shirt,tie,tights,top,vest,wallet,watch,"
    "wedges"
)
"""CCP's label_list.mat: the pixel value is the position, 0 is "null" (no tag)."""

CCP_CLASSES: Mapping[str, str] = {
    "background": "null",
    "hat": "hat",
    "hair": "hair",
    "skin": "skin",
    "upper-clothes": "blouse,shirt,sweater,t-shirt,top,sweatshirt,jumper,hoodie,bodysuit,vest,bra,intimate",
    "coat": "coat,blazer,jacket,cape,cardigan,suit",
    "dress": "dress,romper,swimwear",
    "skirt": "skirt",
    "pants": "pants,jeans,leggings,shorts,panties",
    "legwear": "socks,stockings,tights",
    "shoes": "boots,clogs,flats,heels,loafers,pumps,sandals,shoes,sneakers,wedges",
    "bag": "bag,purse,wallet",
}
"""CCP-OS: class (its id is its position) -> the tags it is made of. All other tags are dropped.

Folds follow ATR's idea: garments novel, body classes always base. CCP has one tag for bare skin wherever it shows; it
takes the arms' place so that the groups stay a partition.
"""
_CCP_GROUPS = ("hat,hair", "upper-clothes,coat,dress,skirt,bag", "skin", "pants,legwear,shoes")
_CCP_FOLDS = {("journal", 1): (0, 1, 2, 3, 4, 5, 9, 10, 11), ("journal", 2): (0, 2, 3, 5, 6, 7, 8, 9, 10)}

COLOURED_AS = {"gloves": "glove"} | {name: name for name in ("belt", "scarf", "sunglasses")}
"""Raw names outside every class that have a colour of their own; all others are drawn as accessories."""

SPACES: dict[str, Table] = {
    "atr": Table(
        "background,hat,hair,sunglasses,upper-clothes,skirt,pants,dress,belt,left shoe,right shoe,face,"
        "left leg,right leg,left arm,right arm,bag,scarf",
        ("hat,hair,face", "upper-clothes,skirt,dress,bag", "arms", "pants,shoes,legs"),
        "sunglasses,belt,scarf",
        (1, 7, 5, 16, 9, 4, 2, 6, 11, 12, 14),
        {
            ("journal", 1): (0, 1, 2, 4, 9, 11, 12, 14, 16),
            ("journal", 2): (0, 2, 5, 6, 7, 9, 11, 12, 14),
            ("aaai", 1): (0, 1, 2, 4, 5, 7, 11, 14, 16),
            ("aaai", 2): (0, 4, 5, 6, 7, 9, 12, 14, 16),
        },
    ),
    "lip": _lip_like("jumpsuits", (10, 6, 12, 1, 2, 5, 7, 9, 13, 14, 16, 18), (0, 1, 2, 6, 9, 12, 13, 14, 16, 18)),
    "cihp": _lip_like("torso-skin", (12, 6, 1, 2, 5, 7, 9, 10, 13, 14, 16, 18), (0, 2, 6, 9, 10, 12, 13, 14, 16, 18)),
    "pascal": Table(
        "background,head,torso,upper-arms,lower-arms,upper-legs,lower-legs",
        ("head", "torso", "upper-arms,lower-arms", "upper-legs,lower-legs"),
        folds={("journal", 1): (0, 1, 2, 3, 4, 5, 6)},  # no class of it is ever novel
    ),
    "ccp": Table(",".join(CCP_TAGS), _CCP_GROUPS, made_of=CCP_CLASSES),
    "ccp-os": Table(",".join(CCP_CLASSES), _CCP_GROUPS, folds=_CCP_FOLDS),
}
"""Every label space. Where raw masks have a space of their own (CCP's tags), the one-shot classes are NAME-os."""

STANDS_FOR = {"crowd": "cihp"}
"""Parts of datasets' names that are no label space, and the space of their labels: synth-crowd has CIHP's."""

RENAMED = {f"figures-{name}": f"synth-{name}" for name in ("atr", "lip", "cihp")}
"""Datasets that had another name once."""
