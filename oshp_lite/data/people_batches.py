"""Photos of several people as training items: augmented, with a box and an id for each person seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from oshp_lite.data.dataset import OneShotDataset, Phase, Sample
from oshp_lite.data.loading import Index
from oshp_lite.data.people import mask_boxes
from oshp_lite.data.transforms import Channels, Recipe, _mild, _paper, fit, to_tensors
from oshp_lite.errors import UserError
from oshp_lite.labels import BACKGROUND, IGNORE

_ITEM = 12  # keeps this stream of random numbers apart from those of episodes


@dataclass
class PeopleBatch:
    """Photos of several people.

    images float [B,3,H,W] in [-1,1]; classes int64 [B,H,W] and persons int64 [B,H,W] (0 nobody, 255 ignore) with the
    people's boxes float [P,4] (left, top, right, bottom) and ids int64 [P] of each photo, all None at inference.
    """

    images: Tensor
    classes: Tensor | None = None
    persons: Tensor | None = None
    boxes: Sequence[Tensor] | None = None
    ids: Sequence[Tensor] | None = None
    names: Sequence[str] = ()

    def _changed(self, change: Callable[[Tensor], Tensor]) -> PeopleBatch:
        values: dict[str, Any] = {}
        for name in ("images", "classes", "persons", "boxes", "ids"):
            value = getattr(self, name)
            if value is not None:
                values[name] = change(value) if isinstance(value, Tensor) else [change(one) for one in value]
        return replace(self, **values)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> PeopleBatch:
        """Return a copy with every tensor on `device`."""
        return self._changed(lambda value: value.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> PeopleBatch:
        """Return a copy in page-locked memory."""
        return self._changed(Tensor.pin_memory)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.images)


def people_batch(items: Sequence[PeopleBatch]) -> PeopleBatch:
    """Join batches of photos of one size, each with its truth."""

    def joined(name: str) -> Tensor:
        return torch.cat([getattr(item, name) for item in items])

    boxes, ids = ([one for item in items for one in getattr(item, name) or ()] for name in ("boxes", "ids"))
    names = [name for item in items for name in item.names]
    return PeopleBatch(joined("images"), joined("classes"), joined("persons"), boxes, ids, names)


def labelled_photo(
    image: Tensor, classes: np.ndarray, persons: np.ndarray, *, name: str = "", least: int = 1
) -> PeopleBatch:
    """A batch of one photo float [3,H,W]; people with fewer than `least` pixels in the map become background."""
    ids, counts = np.unique(persons, return_counts=True)
    people = [(int(index), int(n)) for index, n in zip(ids, counts, strict=True) if index not in (BACKGROUND, IGNORE)]
    seen = [index for index, n in people if n >= least]
    gone = [index for index, n in people if n < least]
    persons = np.where(np.isin(persons, gone), BACKGROUND, persons)
    return PeopleBatch(
        image[None],
        torch.from_numpy(classes.astype(np.int64))[None],
        torch.from_numpy(persons.astype(np.int64))[None],
        [torch.from_numpy(mask_boxes(persons, seen)).float()],
        [torch.tensor(seen, dtype=torch.int64)],
        [name],
    )


class PeopleItems(Dataset[PeopleBatch]):
    """A phase's photos with all raw classes visible; item i of epoch e depends on (seed, e, i) alone.

    recipe: how photos are changed (None: as they are); least: pixels below which a person is left out (facts C.2).
    Raises UserError for a dataset without person ids.
    """

    def __init__(
        self,
        dataset: OneShotDataset,
        phase: Phase,
        recipe: Recipe | None,
        *,
        seed: int = 0,
        channels: Channels = "rgb",
        least: int = 30,
    ) -> None:
        self.dataset, self.stems, self.recipe = dataset, dataset.stems(phase), recipe
        self.seed, self.channels, self.least = seed, channels, least
        if dataset.instances(self.stems[0]) is None:
            raise UserError(f"{dataset.root} has no person ids (no folder instances); use a dataset of several people")

    def __len__(self) -> int:
        return len(self.stems)

    def _read(self, stem: str, flip: bool) -> Sample:
        """Image, class map, and the person map in the place of the foreground, so that all change alike."""
        persons = self.dataset.instances(stem)
        assert persons is not None
        mask = self.dataset.mirrored(stem) if flip else self.dataset.mask(stem)
        side = -1 if flip else 1
        return Sample(self.dataset.image(stem)[:, ::side], mask, persons[:, ::side])

    def __getitem__(self, index: Index) -> PeopleBatch:
        epoch, position = index if isinstance(index, tuple) else (0, index)
        stem, recipe = self.stems[position], self.recipe
        if recipe is None or recipe.preset == "none":
            sample = self._read(stem, False)
            sample = sample if recipe is None else fit(sample, recipe.size, recipe.pad_label)
        else:
            rng = np.random.default_rng([self.seed, _ITEM, epoch, position])
            change = _paper if recipe.preset == "paper" else _mild
            # mirrored here and not by `augment`: raw ids tell left from right
            sample = change(self._read(stem, bool(rng.random() < 0.5)), recipe, rng)
        image, _, _ = to_tensors(sample, self.channels)
        return labelled_photo(image, sample.mask, sample.foreground, name=stem, least=self.least)
