"""What a user calls the classes of a mask: names by id, checked, and as parts of file names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from oshp_lite.errors import UserError

LONGEST = 60
"""Characters of a class's name: more fit neither a summary line nor the page."""
WORD = 40
"""Characters of it in a file's name."""


def names_by_id(names: Mapping[int, str] | Sequence[str], ids: Collection[int]) -> dict[int, str]:
    """The names of the classes `ids`, by id; a sequence names all of them in ascending order of their ids.

    Raises UserError for a sequence of another length, and for a text that is no name (`check_name`).
    """
    if isinstance(names, Mapping):
        return {int(index): check_name(name) for index, name in names.items()}
    given = [names] if isinstance(names, str) else list(names)
    if len(given) != len(ids):
        one = "1 name is" if len(given) == 1 else f"{len(given)} names are"
        raise UserError(
            f"{one} given, but the support masks hold {held(ids)}; give one name a class, in the order of the ids, or "
            "name single ones by their id (1=skirt)"
        )
    return {index: check_name(name) for index, name in zip(sorted(ids), given, strict=True)}


def check_names(names: Mapping[int, str], ids: Collection[int]) -> None:
    """Raise UserError for a name of an id that no class has, and for a name that two classes share."""
    unknown = sorted(set(names) - set(ids))
    if unknown:
        raise UserError(
            f"id {unknown[0]} is named {names[unknown[0]]!r}, but the support masks hold {held(ids)}; name one of these"
        )
    name, count = Counter(names.values()).most_common(1)[0] if names else ("", 0)
    if count > 1:
        both = [str(index) for index, other in names.items() if other == name]
        raise UserError(f"classes {' and '.join(both[:2])} are both named {name!r}; give each a name of its own")


def check_name(name: str) -> str:
    """A class's name without blanks at its ends. UserError for one that is empty, too long or not printable."""
    made = str(name).strip()
    if not made or len(made) > LONGEST or not made.isprintable():
        raise UserError(f"{made[:LONGEST]!r} cannot name a class; use 1 to {LONGEST} printable characters")
    return made


def named(index: int, names: Mapping[int, str]) -> str:
    """A class in a sentence: "class 1", or "class 1 (skirt)" where it has a name."""
    return f"class {index} ({names[index]})" if index in names else f"class {index}"


def held(ids: Collection[int]) -> str:
    """The classes of masks in words: "1 class (id 3)"."""
    listed = ", ".join(map(str, sorted(ids)))
    return f"1 class (id {listed})" if len(ids) == 1 else f"{len(ids)} classes (ids {listed})"


def file_words(names: Mapping[int, str]) -> dict[int, str]:
    """The names as parts of file names, by id: letters and digits alone, no two alike on any file system."""
    words = {i: "".join(sign if sign.isalnum() else "-" for sign in name)[:WORD] for i, name in names.items()}
    unlike = len({word.casefold() for word in words.values()}) == len(words)
    return words if unlike else {i: f"{word}-{i}" for i, word in words.items()}
