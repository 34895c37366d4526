"""Scenes of the book: drawn as large as a figure needs them, and outfits brought to one frame to be compared."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.synthetic import Scene, portrait, scene
from oshp_lite.data.synthetic.generate import TEST_FROM
from oshp_lite.labels import LabelSpace, label_space

Array = NDArray[Any]
LARGE = 256
"""Side of a scene in the book's figures, in pixels."""


class Shot(NamedTuple):
    """A drawn photo uint8 [H,W,3] with its mask of kept ids uint8 [H,W] and its person mask uint8 [H,W] in {0,1}."""

    image: Array
    mask: Array
    person: Array


def shot(index: int, size: int = LARGE, *, name: str = "synth-atr", space: str = "atr", seed: int = 0) -> Shot:
    """Draw scene `index` of a procedural dataset in a label space. UserError for an unknown name or size."""
    return shot_from(scene(name, seed, index, size), space)


def portrait_shot(index: int, size: int = LARGE, *, name: str = "synth-atr", space: str = "atr", seed: int = 0) -> Shot:
    """Draw scene `index` as version 5 does, for figures in which no network takes part. UserError as in `shot`."""
    return shot_from(portrait.scene(name, seed, index, size), space)


def shot_from(drawn: Scene, space: str) -> Shot:
    """Return a scene's photo with its masks in a label space."""
    labels, raw = label_space(space), drawn.mask(space)
    return Shot(drawn.image, labels.merge(raw), labels.foreground(raw))


def scene_index(stem: str) -> int:
    """Return which scene a procedural dataset's photo shows: "train_000012" is scene 12, "test_000012" 1,000,012."""
    phase, _, number = stem.partition("_")
    return int(number) + (TEST_FROM if phase == "test" else 0)


def redrawn(dataset: OneShotDataset, stem: str, size: int = LARGE) -> Shot:
    """Draw the scene of a procedural dataset's photo once more, larger: the same person in the same place."""
    seed = dataset.description["generator"]["seed"]
    return shot(scene_index(stem), size, name=dataset.name, space=dataset.description["label_space"], seed=seed)


def large(dataset: OneShotDataset, stem: str) -> Shot:
    """Return a dataset's photo as a figure needs it: a drawn person drawn anew at 256 pixels, a photo as it is."""
    if dataset.description.get("generator"):
        return redrawn(dataset, stem)
    sample = dataset.sample(stem)
    return Shot(sample.image, dataset.space.merge(sample.mask), sample.foreground)


def in_person_frame(values: Array, person: Array, height: int = 48, width: int = 24) -> Array:
    """Cut every person out by the box around them and sample it on one grid.

    values [N,H,W,...] photos or masks; person [N,H,W], 1 on the person (at least one pixel each)
    Returns [N,height,width,...].
    """
    framed = []
    for content, inside in zip(values, person == 1, strict=True):
        ys, xs = np.nonzero(inside)
        rows = ys.min() + (np.arange(height) + 0.5) * (ys.max() + 1 - ys.min()) / height
        columns = xs.min() + (np.arange(width) + 0.5) * (xs.max() + 1 - xs.min()) / width
        framed.append(content[rows.astype(int)][:, columns.astype(int)])
    return np.stack(framed)


def look_alikes(photos: Array, masks: Array, usable: Array, space: LabelSpace) -> tuple[int, int]:
    """Return the positions of a dress and of a top with a skirt that look most alike in outline and colour.

    photos uint8 [N,h,w,3] and masks [N,h,w] of kept ids, in one frame (`in_person_frame`); usable bool [N]
    """
    dress, skirt, top = (space.id_of(name) for name in ("dress", "skirt", "upper-clothes"))
    wears = {c: (masks == c).mean((1, 2)) > 0.08 for c in (dress, skirt, top)}
    dresses = np.flatnonzero(usable & wears[dress] & ~wears[top])
    pairs = np.flatnonzero(usable & wears[skirt] & wears[top])
    outfit = np.isin(masks, (dress, skirt, top))[..., None]
    worn = photos * outfit.astype(float)
    distance = [[np.abs(worn[a] - worn[b]).mean() for b in pairs] for a in dresses]
    first, second = np.unravel_index(np.argmin(distance), (len(dresses), len(pairs)))
    return int(dresses[first]), int(pairs[second])
