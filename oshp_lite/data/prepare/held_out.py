"""A dataset to choose settings on: part of the training photos, every trace of the fold's novel classes taken out.

Hyper-parameters may be tuned on base classes of training photos only. So the training part is cut in two, novel labels
are erased from both (the pixels stay part of the person), and some base classes play the novel ones: the fold
`fold(dataset, number, "tuning")`. Test photos are never opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import read_bytes
from oshp_lite.labels import Fold

VERSION = 1
TEST_SHARE = 0.25
"""Share of the training photos that the tuning runs are judged on: the last ones."""


def recipe(source: OneShotDataset, chosen: Fold) -> dict[str, Any]:
    """All that the tuning dataset of `source` and a fold depends on."""
    return {
        "version": VERSION,
        "source": source.fingerprint,
        "fold": chosen.number,
        "protocol": chosen.protocol,
        "novel": sorted(chosen.novel),
        "test": round(len(source.stems("train")) * TEST_SHARE),
    }


def hold_out(source: OneShotDataset, chosen: Fold, root: Path, *, progress: bool = False) -> OneShotDataset:
    """Make the tuning dataset of `source` and a fold in the folder `root`; one that is there already is kept.

    Raises UserError when the training part is too small, or `root` holds something else.
    """
    stems, made_of = source.stems("train"), recipe(source, chosen)
    n_test: int = made_of["test"]
    n_train = len(stems) - n_test
    if n_train < 2 or n_test < 4:
        raise UserError(f"the training part of {source.root} has {len(stems)} photos, too few to hold some out")
    rule = {**source.description["test_pairs"], "rule": "spread"}
    writer = DatasetWriter(
        root,
        name=f"{source.name}-tuning",
        space=source.space.name,
        train_split=n_train // 2,
        test_split=max(n_test // 4, 1),
        test_pairs={key: rule[key] for key in ("rule", "queries", "repeats") if key in rule},
        recipe=made_of,
        replaces="held_out_from",
        details={"held_out_from": source.name},
    )
    with writer:
        for phase, stem in writer.missing({"train": stems[:n_train], "test": stems[n_train:]}, progress=progress):
            mask, foreground = source.mask(stem), source.foreground(stem)
            gone = np.isin(source.space.merge(mask), chosen.novel)
            photo = read_bytes(source.image_path(stem))
            writer.add(phase, stem, photo, np.where(gone, 0, mask).astype(mask.dtype), foreground=foreground)
    return open_dataset(root)
