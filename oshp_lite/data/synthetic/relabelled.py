"""The scenes of a drawn dataset of people under another label space: the counterpart of a second dataset's labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from oshp_lite.data.dataset import OneShotDataset, Phase, open_dataset
from oshp_lite.data.synthetic.generate import TEST_FROM
from oshp_lite.data.synthetic.scenes import SPECS, scene
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
from oshp_lite.lock import locked


def relabelled(dataset: OneShotDataset, space: str, *, progress: bool = True) -> OneShotDataset:
    """Return the dataset with its scenes' masks in the label space `space`, made beside it when it is not there.

    Photos and person ids are linked, masks are drawn from the same scenes' finest labels. UserError for a dataset that
    was not drawn.
    """
    made = dataset.description.get("generator")
    if dataset.name not in SPECS or not isinstance(made, dict):
        raise UserError(f"{dataset.root} was not drawn, so its masks cannot be drawn in {space}'s labels; leave labels")
    place = dataset.root.with_name(f"{dataset.root.name}-{space}")
    recipe = {"relabelled": dataset.fingerprint, "space": space}
    with locked(place.parent / ".locks" / f"{place.name}.lock", f"the dataset {place.name}"):
        _make(dataset, space, place, recipe, int(made["seed"]), int(made["size"]), progress)
    return open_dataset(place)


def _make(
    dataset: OneShotDataset, space: str, place: Path, recipe: dict[str, str], seed: int, size: int, progress: bool
) -> None:
    parts: dict[Phase, list[str]] = {phase: list(dataset.stems(phase)) for phase in ("train", "test")}
    writer = DatasetWriter(
        place,
        name=f"{dataset.name}-{space}",
        space=space,
        train_split=len(parts["train"]) // 2,
        test_split=max(1, len(parts["test"]) // 4),
        test_pairs={"rule": "spread", "queries": 10, "repeats": 5},
        recipe=recipe,
        fingerprint=sha256_json(["relabelled", recipe]),
        replaces="relabelled",
        details={"relabelled": dataset.fingerprint},
    )
    with writer:
        for phase, stem in writer.missing(parts, unit="scene", progress=progress):
            kind, _, number = stem.partition("_")
            drawn = scene(dataset.name, seed, int(number) + (TEST_FROM if kind == "test" else 0), size)
            persons = dataset.instances(stem)
            if persons is None or not np.array_equal(persons, drawn.persons):
                raise UserError(f"{dataset.root} has other scenes than are drawn now; draw it anew")
            path = dataset.image_path(stem)
            writer.add(phase, stem, path, drawn.mask(space), instances=drawn.persons, copy=True)
