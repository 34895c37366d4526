"""Datasets made of the photos of another: one to choose settings on, and the blocks of a cross-validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.data.dataset import OneShotDataset, Phase, open_dataset
from oshp_lite.data.pairs import GROUP
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import read_bytes
from oshp_lite.labels import Fold

VERSION = 1
TEST_SHARE = 0.25
"""Share of the training photos that the tuning runs are judged on: the last ones."""


@dataclass(frozen=True)
class Derived:
    """What is made of a source: the suffix of its name, its parts (stems in list order), the test pairs' rule.

    test_split  number of query photos in testing
    erased      kept ids that become background in every mask (their pixels stay part of the person)
    recipe      all that the result depends on
    """

    suffix: str
    parts: Mapping[Phase, Sequence[str]]
    test_split: int
    test_pairs: Mapping[str, Any]
    recipe: Mapping[str, Any]
    erased: tuple[int, ...] = ()


def tuning(source: OneShotDataset, chosen: Fold) -> Derived:
    """Part of the training photos, every trace of the fold's novel classes taken out; test photos are never opened.

    Hyper-parameters may be tuned on base classes of training photos only. So the training part is cut in two, novel
    labels are erased, and some base classes play the novel ones (`fold(dataset, number, "tuning")`). Raises UserError
    when the training part is too small.
    """
    stems = source.stems("train")
    n_test = round(len(stems) * TEST_SHARE)
    n_train = len(stems) - n_test
    if n_train < 2 or n_test < 4:
        raise UserError(f"the training part of {source.root} has {len(stems)} photos, too few to hold some out")
    own = source.description["test_pairs"]
    recipe = {
        "version": VERSION,
        "source": source.fingerprint,
        "fold": chosen.number,
        "protocol": chosen.protocol,
        "novel": sorted(chosen.novel),
        "test": n_test,
    }
    return Derived(
        suffix="tuning",
        parts={"train": stems[:n_train], "test": stems[n_train:]},
        test_split=max(n_test // 4, 1),
        test_pairs={"rule": "spread"} | {key: own[key] for key in ("queries", "repeats") if key in own},
        recipe=recipe,
        erased=chosen.novel,
    )


def block(source: OneShotDataset, number: int, blocks: int) -> Derived:
    """Block `number` (from 0) of `blocks` as the test part, all other photos as the training part.

    Neighbours in a collection show the same person on the same day, so a block is a run of stems in order, and its test
    pairs take no support from the query's own neighbours (rule "each"). Training photos come in an order drawn once, so
    that both their halves hold all kinds of photos. UserError for too few photos.
    """
    stems = sorted([*source.stems("train"), *source.stems("test")])
    if len(stems) < 2 * GROUP * blocks:
        raise UserError(f"{source.root} has {len(stems)} photos; blocks need at least {2 * GROUP * blocks}")
    first, last = (len(stems) * edge // blocks for edge in (number, number + 1))
    others = [*stems[:first], *stems[last:]]
    order = np.random.default_rng([blocks, number]).permutation(len(others))
    return Derived(
        suffix=f"block{number}",
        parts={"train": [others[place] for place in order], "test": stems[first:last]},
        test_split=(last - first) // 2,
        test_pairs={"rule": "each"},
        recipe={"version": VERSION, "source": source.fingerprint, "blocks": blocks, "block": number},
    )


def make(source: OneShotDataset, derived: Derived, root: Path, *, progress: bool = False) -> OneShotDataset:
    """Make a derived dataset in the folder `root`; one that is there already is kept.

    Raises UserError when `root` holds something else.
    """
    writer = DatasetWriter(
        root,
        name=f"{source.name}-{derived.suffix}",
        space=source.space.name,
        train_split=len(derived.parts["train"]) // 2,
        test_split=derived.test_split,
        test_pairs=derived.test_pairs,
        recipe=derived.recipe,
        replaces="held_out_from",
        details={"held_out_from": source.name},
    )
    with writer:
        for phase, stem in writer.missing(derived.parts, progress=progress):
            mask, foreground = source.mask(stem), source.foreground(stem)
            gone = np.isin(source.space.merge(mask), derived.erased)
            photo = read_bytes(source.image_path(stem))
            writer.add(phase, stem, photo, np.where(gone, 0, mask).astype(mask.dtype), foreground=foreground)
    return open_dataset(root)
