"""Label spaces in full: every raw id a class of its own, left and right apart and nothing dropped.

One-shot parsing merges ids (facts A.1); parsing over several label domains (SST) keeps them: 18 in ATR, 20 in CIHP.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from oshp_lite.labels.folds import Fold
from oshp_lite.labels.spaces import LabelSpace, one_shot_space


@dataclass(frozen=True, eq=False)
class WholeSpace(LabelSpace):
    """A label space whose kept ids are its raw ids."""

    def __post_init__(self) -> None:
        """Make the look-ups, whose colours go by meaning, and name each id by itself: "left shoe", not "shoes"."""
        super().__post_init__()
        object.__setattr__(self, "class_names", self.names)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by name, as a whole space: a worker process must not merge what its parent keeps apart."""
        return whole_space, (self.name,)


@cache
def whole_space(dataset: str) -> WholeSpace:
    """All labels of a dataset ("synth-atr", "atr": 18; "ccp-os": 12). Raises UserError for an unknown name."""
    space = one_shot_space(dataset)
    values = {item.name: getattr(space, item.name) for item in fields(LabelSpace) if item.init}
    raw = tuple(range(space.n_raw))
    values |= {"classes": raw, "class_names": space.meanings, "n_ids": space.n_raw, "test_order": raw[1:]}
    return WholeSpace(**values | {"kept_as": dict(zip(raw, raw, strict=True))})


def whole_fold(dataset: str, hidden: Collection[str] = ()) -> Fold:
    """Every raw id of a dataset, those of the classes named in `hidden` ("skirt", "shoes") novel, the rest base."""
    space = whole_space(dataset)
    novel = tuple(index for index, meaning in enumerate(space.meanings) if index and meaning in hidden)
    seen = tuple(index for index in space.classes if index not in novel)
    return Fold(space.key, 1, "whole", space.n_raw, space.classes, seen, novel)
