"""The ids of every dataset, as data. Nothing else in the package writes an id down. Sources: facts A.1, A.2, A.6."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

GROUPS = ("head", "body", "arms", "legs")
"""The parents of POPNet's second stage (AAAI, section 4)."""

Folds = Mapping[tuple[str, int], tuple[int, ...]]
"""(protocol, fold) -> ids visible in training (background and base), in the official order; the rest is novel."""


@dataclass(frozen=True, eq=False)
class SpaceTable:
    """One dataset's ids. Masks hold raw ids; a network sees kept ids, which are not renumbered.

    name        "atr", "lip", "cihp", "pascal", "ccp" (the 59 tags) or "ccp-os" (the 12 classes made of them)
    names       raw id -> name
    meanings    raw id -> what its colour stands for
    n_ids       logits of a network over kept ids (dropped ids keep an idle one)
    kept_as     raw id -> kept id (dropped ids -> background)
    classes     kept ids incl. background, in the official order; class_names beside them
    test_order  kept foreground ids, rare classes first, as the journal's test pairs walk them
    sides       (left, right) pairs of raw ids that a mirror swaps
    groups      head, body, arms, legs -> kept ids: the parents of POPNet's second stage
    folds       the folds of the dataset whose one-shot form has these classes
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
    folds: Folds = field(default_factory=dict)


def _split(names: str) -> tuple[str, ...]:
    """The comma-separated names."""
    return tuple(name.strip() for name in names.split(",") if name.strip())


def _table(
    name: str,
    names: str | Sequence[str],
    groups: Sequence[str],
    *,
    dropped: str = "",
    test_order: Sequence[int] = (),
    folds: Folds | None = None,
) -> SpaceTable:
    """A space whose "right X" ids merge into "left X" (class "Xs") and whose `dropped` ids become background.

    groups: the class names of head, body, arms and legs.
    """
    names = _split(names) if isinstance(names, str) else tuple(names)
    gone = _split(dropped)
    sides = tuple(
        (names.index(f"left {part}"), right)
        for right, (side, _, part) in enumerate(entry.partition(" ") for entry in names)
        if side == "right"
    )
    kept_as = {index: 0 if entry in gone else index for index, entry in enumerate(names)}
    kept_as |= {right: left for left, right in sides}
    meanings = list(names)
    for left, right in sides:
        meanings[left] = meanings[right] = f"{names[left].removeprefix('left ')}s"
    classes = tuple(sorted(set(kept_as.values())))
    id_of = {meanings[index]: index for index in classes}
    return SpaceTable(
        name=name,
        names=names,
        meanings=tuple(meanings),
        n_ids=len(names),
        kept_as=kept_as,
        classes=classes,
        class_names=tuple(id_of),
        test_order=tuple(test_order) or classes[1:],
        sides=sides,
        groups={
            group: tuple(id_of[part] for part in _split(parts)) for group, parts in zip(GROUPS, groups, strict=True)
        },
        folds=folds or {},
    )


def _lip_like(name: str, tenth: str, test_order: Sequence[int], second_fold: tuple[int, ...]) -> SpaceTable:
    """LIP and CIHP share every id but one: 10 is a jumpsuit in LIP, bare torso in CIHP."""
    return _table(
        name,
        f"background,hat,hair,glove,sunglasses,upper-clothes,dress,coat,socks,pants,{tenth},scarf,skirt,face,"
        "left arm,right arm,left leg,right leg,left shoe,right shoe",
        ("hat,hair,face", f"upper-clothes,dress,coat,{tenth},skirt", "arms", "pants,legs,shoes"),
        dropped="glove,sunglasses,socks,scarf",
        test_order=test_order,
        folds={("journal", 1): (0, 1, 2, 5, 7, 10, 13, 14, 16, 18), ("journal", 2): second_fold},
    )


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
"""CCP-OS: class (its id is its position) -> the tags it is made of. All other tags are dropped.

Folds follow ATR's idea: garments novel, body classes always base. CCP has one tag for bare skin wherever it shows; it
takes the arms' place so that the groups stay a partition.
"""


def _tags(name: str, names: tuple[str, ...], made: SpaceTable) -> SpaceTable:
    """The space of CCP's tags, whose classes are those of CCP-OS."""
    class_of = {tag: one for one, tags in CCP_CLASSES.items() for tag in _split(tags)}
    small = {"belt": "belt", "gloves": "glove", "scarf": "scarf", "sunglasses": "sunglasses"}
    return replace(
        made,
        name=name,
        names=names,
        meanings=tuple(class_of.get(tag, small.get(tag, "accessory")) for tag in names),
        kept_as={index: made.names.index(class_of.get(tag, "background")) for index, tag in enumerate(names)},
        folds={},
    )


_CCP_OS = _table(
    "ccp-os",
    tuple(CCP_CLASSES),
    ("hat,hair", "upper-clothes,coat,dress,skirt,bag", "skin", "pants,legwear,shoes"),
    folds={("journal", 1): (0, 1, 2, 3, 4, 5, 9, 10, 11), ("journal", 2): (0, 2, 3, 5, 6, 7, 8, 9, 10)},
)

SPACES: dict[str, SpaceTable] = {
    table.name: table
    for table in (
        _table(
            "atr",
            "background,hat,hair,sunglasses,upper-clothes,skirt,pants,dress,belt,left shoe,right shoe,face,"
            "left leg,right leg,left arm,right arm,bag,scarf",
            ("hat,hair,face", "upper-clothes,skirt,dress,bag", "arms", "pants,shoes,legs"),
            dropped="sunglasses,belt,scarf",
            test_order=(1, 7, 5, 16, 9, 4, 2, 6, 11, 12, 14),
            folds={
                ("journal", 1): (0, 1, 2, 4, 9, 11, 12, 14, 16),
                ("journal", 2): (0, 2, 5, 6, 7, 9, 11, 12, 14),
                ("aaai", 1): (0, 1, 2, 4, 5, 7, 11, 14, 16),
                ("aaai", 2): (0, 4, 5, 6, 7, 9, 12, 14, 16),
            },
        ),
        _lip_like("lip", "jumpsuits", (10, 6, 12, 1, 2, 5, 7, 9, 13, 14, 16, 18), (0, 1, 2, 6, 9, 12, 13, 14, 16, 18)),
        _lip_like(
            "cihp", "torso-skin", (12, 6, 1, 2, 5, 7, 9, 10, 13, 14, 16, 18), (0, 2, 6, 9, 10, 12, 13, 14, 16, 18)
        ),
        _table(
            "pascal",
            "background,head,torso,upper-arms,lower-arms,upper-legs,lower-legs",
            ("head", "torso", "upper-arms,lower-arms", "upper-legs,lower-legs"),
        ),
        _tags("ccp", CCP_TAGS, _CCP_OS),
        _CCP_OS,
    )
}
"""Every label space. Where raw masks have a space of their own (CCP's tags), the one-shot classes are NAME-os."""

RENAMED = {f"figures-{name}": f"synth-{name}" for name in ("atr", "lip", "cihp")}
"""Datasets that had another name once."""
