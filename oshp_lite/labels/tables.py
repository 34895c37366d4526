"""The ids of every dataset, as data. Nothing else in the package writes an id down. Sources: facts A.1, A.2, A.6."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

GROUPS = ("head", "body", "arms", "legs")
"""The parents of POPNet's second stage (AAAI, section 4)."""


@dataclass(frozen=True)
class SpaceSpec:
    """The raw table behind a LabelSpace; `kept_as` lists only the raw ids that do not stay as they are."""

    name: str
    names: Sequence[str]
    meanings: Sequence[str]
    n_ids: int
    kept_as: Mapping[int, int]
    classes: Sequence[int]
    class_names: Sequence[str]
    test_order: Sequence[int]
    sides: Sequence[tuple[int, int]]
    groups: Mapping[str, Sequence[int]]


def _split(names: str) -> tuple[str, ...]:
    """The comma-separated names."""
    return tuple(names.split(","))


def _by_name(names: Sequence[str], wanted: str) -> tuple[int, ...]:
    """Ids of the comma-separated names."""
    return tuple(names.index(name.strip()) for name in wanted.split(",") if name.strip())


# ------------------------------------------------------------------------------------------------- ATR


def _atr() -> SpaceSpec:
    names = _split(
        "background,hat,hair,sunglasses,upper-clothes,skirt,pants,dress,belt,left shoe,right shoe,face,"
        "left leg,right leg,left arm,right arm,bag,scarf"
    )
    merged = {"right shoe": "left shoe", "right leg": "left leg", "right arm": "left arm"}
    merged |= dict.fromkeys(("sunglasses", "belt", "scarf"), "background")
    meaning = {"left shoe": "shoes", "right shoe": "shoes", "left leg": "legs", "right leg": "legs"}
    meaning |= {"left arm": "arms", "right arm": "arms"}
    classes = (0, 1, 2, 4, 5, 6, 7, 9, 11, 12, 14, 16)
    return SpaceSpec(
        name="atr",
        names=names,
        meanings=[meaning.get(name, name) for name in names],
        n_ids=len(names),
        kept_as={names.index(source): names.index(target) for source, target in merged.items()},
        classes=classes,
        class_names=[meaning.get(names[index], names[index]) for index in classes],
        test_order=(1, 7, 5, 16, 9, 4, 2, 6, 11, 12, 14),
        sides=((9, 10), (12, 13), (14, 15)),
        groups={
            "head": _by_name(names, "hat,hair,face"),
            "body": _by_name(names, "upper-clothes,skirt,dress,bag"),
            "arms": _by_name(names, "left arm"),
            "legs": _by_name(names, "pants,left shoe,left leg"),
        },
    )


# ------------------------------------------------------------------------------------------- LIP, CIHP


def _lip_like(name: str, tenth: str, test_order: Sequence[int]) -> SpaceSpec:
    """LIP and CIHP share every id but one: 10 is a jumpsuit in LIP, bare torso in CIHP."""
    names = _split(
        f"background,hat,hair,glove,sunglasses,upper-clothes,dress,coat,socks,pants,{tenth},scarf,skirt,face,"
        "left arm,right arm,left leg,right leg,left shoe,right shoe"
    )
    merged = {"right shoe": "left shoe", "right leg": "left leg", "right arm": "left arm"}
    merged |= dict.fromkeys(("glove", "sunglasses", "socks", "scarf"), "background")
    meaning = {"left shoe": "shoes", "right shoe": "shoes", "left leg": "legs", "right leg": "legs"}
    meaning |= {"left arm": "arms", "right arm": "arms"}
    classes = (0, 1, 2, 5, 6, 7, 9, 10, 12, 13, 14, 16, 18)
    return SpaceSpec(
        name=name,
        names=names,
        meanings=[meaning.get(entry, entry) for entry in names],
        n_ids=len(names),
        kept_as={names.index(source): names.index(target) for source, target in merged.items()},
        classes=classes,
        class_names=[meaning.get(names[index], names[index]) for index in classes],
        test_order=test_order,
        sides=((14, 15), (16, 17), (18, 19)),
        groups={
            "head": _by_name(names, "hat,hair,face"),
            "body": _by_name(names, f"upper-clothes,dress,coat,{tenth},skirt"),
            "arms": _by_name(names, "left arm"),
            "legs": _by_name(names, "pants,left leg,left shoe"),
        },
    )


# ---------------------------------------------------------------------------------------------- PASCAL


def _pascal() -> SpaceSpec:
    names = _split("background,head,torso,upper-arms,lower-arms,upper-legs,lower-legs")
    return SpaceSpec(
        name="pascal",
        names=names,
        meanings=names,
        n_ids=len(names),
        kept_as={},
        classes=range(len(names)),
        class_names=names,
        test_order=range(1, len(names)),
        sides=(),
        groups={
            "head": _by_name(names, "head"),
            "body": _by_name(names, "torso"),
            "arms": _by_name(names, "upper-arms,lower-arms"),
            "legs": _by_name(names, "upper-legs,lower-legs"),
        },
    )


# ------------------------------------------------------------------------------------------------- CCP

CCP_TAGS = _split(
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
"""CCP-OS: class (its id is its position) -> the tags it is made of. All other tags are dropped."""

_CCP_SMALL = {"belt": "belt", "gloves": "glove", "scarf": "scarf", "sunglasses": "sunglasses"}

# CCP has one tag for bare skin wherever it shows; it takes the arms' place so that the groups stay a partition.
_CCP_GROUPS = {
    "head": "hat,hair",
    "body": "upper-clothes,coat,dress,skirt,bag",
    "arms": "skin",
    "legs": "pants,legwear,shoes",
}


def _ccp_os() -> SpaceSpec:
    names = tuple(CCP_CLASSES)
    return SpaceSpec(
        name="ccp-os",
        names=names,
        meanings=names,
        n_ids=len(names),
        kept_as={},
        classes=range(len(names)),
        class_names=names,
        test_order=range(1, len(names)),
        sides=(),
        groups={group: _by_name(names, wanted) for group, wanted in _CCP_GROUPS.items()},
    )


def _ccp() -> SpaceSpec:
    made = _ccp_os()
    class_of = {tag: name for name, tags in CCP_CLASSES.items() for tag in tags.split(",")}
    target = [class_of.get(tag, "background") for tag in CCP_TAGS]
    return SpaceSpec(
        name="ccp",
        names=CCP_TAGS,
        meanings=[class_of.get(tag, _CCP_SMALL.get(tag, "accessory")) for tag in CCP_TAGS],
        n_ids=made.n_ids,
        kept_as={tag: made.names.index(name) for tag, name in enumerate(target)},
        classes=made.classes,
        class_names=made.class_names,
        test_order=made.test_order,
        sides=(),
        groups=made.groups,
    )


SPACES: Mapping[str, Callable[[], SpaceSpec]] = {
    "atr": _atr,
    "lip": lambda: _lip_like("lip", "jumpsuits", (10, 6, 12, 1, 2, 5, 7, 9, 13, 14, 16, 18)),
    "cihp": lambda: _lip_like("cihp", "torso-skin", (12, 6, 1, 2, 5, 7, 9, 10, 13, 14, 16, 18)),
    "pascal": _pascal,
    "ccp": _ccp,
    "ccp-os": _ccp_os,
}

# ----------------------------------------------------------------------------------------------- folds

TRAINING_IDS: Mapping[tuple[str, str, int], tuple[int, ...]] = {
    ("journal", "atr", 1): (0, 1, 2, 4, 9, 11, 12, 14, 16),
    ("journal", "atr", 2): (0, 2, 5, 6, 7, 9, 11, 12, 14),
    ("journal", "lip", 1): (0, 1, 2, 5, 7, 10, 13, 14, 16, 18),
    ("journal", "lip", 2): (0, 1, 2, 6, 9, 12, 13, 14, 16, 18),
    ("journal", "cihp", 1): (0, 1, 2, 5, 7, 10, 13, 14, 16, 18),
    ("journal", "cihp", 2): (0, 2, 6, 9, 10, 12, 13, 14, 16, 18),
    ("journal", "ccp", 1): (0, 1, 2, 3, 4, 5, 9, 10, 11),
    ("journal", "ccp", 2): (0, 2, 3, 5, 6, 7, 8, 9, 10),
    ("aaai", "atr", 1): (0, 1, 2, 4, 5, 7, 11, 14, 16),
    ("aaai", "atr", 2): (0, 4, 5, 6, 7, 9, 12, 14, 16),
}
"""(protocol, dataset, fold) -> ids visible in training (background and base), in the official order. Facts A.2."""

NOVEL_IDS: Mapping[tuple[str, str, int], tuple[int, ...]] = {
    ("journal", "atr", 1): (5, 6, 7),
    ("journal", "atr", 2): (1, 4, 16),
    ("journal", "lip", 1): (6, 9, 12),
    ("journal", "lip", 2): (5, 7, 10),
    ("journal", "cihp", 1): (6, 9, 12),
    ("journal", "cihp", 2): (1, 5, 7),
    ("journal", "ccp", 1): (6, 7, 8),
    ("journal", "ccp", 2): (1, 4, 11),
    ("aaai", "atr", 1): (6, 9, 12),
    ("aaai", "atr", 2): (1, 2, 11),
}
"""(protocol, dataset, fold) -> novel ids. CCP-OS folds follow ATR's idea: garments novel, body classes always base."""
