"""Episodes as a torch dataset: which photos meet, what their masks say, how they are changed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from oshp_lite.data.dataset import OneShotDataset, Phase, Sample
from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.pairs import Pair, kway_training_pairs, oneway_training_pairs
from oshp_lite.data.transforms import Channels, Preset, Recipe, Size, as_size, augment, fit, resize, to_tensors
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold

Index = int | tuple[int, int]
"""Position in the first epoch, or (epoch, position): the second form works with long-lived loader workers."""

_PAIRING, _ITEM, _ORDER = 1, 2, 3  # keep the streams of random numbers apart


class PhotoCache:
    """Decoded photos with merged masks, kept in memory up to a limit so that small datasets are read once.

    `reach` (height, width) is the largest size at which a photo is handed over: larger ones are shrunk to fit it
    before they are kept. None keeps native sizes.
    """

    def __init__(self, dataset: OneShotDataset, limit_mb: int = 1024, reach: Size | None = None) -> None:
        self.dataset, self.reach, self._left = dataset, reach, limit_mb * 2**20
        self._kept: dict[tuple[str, bool], Sample] = {}

    def read(self, stem: str, flip: bool = False) -> Sample:
        """The photo (or the mirrored one, with the mask of its own file) with kept ids and its foreground."""
        if (stem, flip) in self._kept:
            return self._kept[stem, flip]
        raw = self.dataset.sample(stem, mirror=flip)
        mask = self.dataset.space.merge(raw.mask, f"the mask of photo {stem}")
        sample = Sample(*(np.ascontiguousarray(array, np.uint8) for array in (raw.image, mask, raw.foreground)))
        if self.reach is not None:
            height, width = sample.size
            factor = min(self.reach[0] / height, self.reach[1] / width)
            if factor < 1:
                sample = resize(sample, (max(1, round(height * factor)), max(1, round(width * factor))))
        size = sample.image.nbytes + sample.mask.nbytes + sample.foreground.nbytes
        if size <= self._left:
            self._left -= size
            self._kept[stem, flip] = sample
        return sample


class _Items(Dataset[Episode]):
    """What both kinds of items share: photos decoded once, changed by chance drawn from (seed, epoch, position)."""

    seed: int

    def __init__(
        self, dataset: OneShotDataset, phase: Phase, size: Size | None, recipe: Recipe | None, cache_mb: int
    ) -> None:
        self.stems, self.recipe, self.size = dataset.stems(phase), recipe, size
        reach = size  # beyond which the preset never hands over a photo
        if recipe is not None:
            height, width = (round(side * (1.3 if recipe.preset == "mild" else 1.0)) for side in recipe.size)
            reach = None if recipe.preset == "paper" else (height, width)
        self.cache = PhotoCache(dataset, cache_mb, reach)

    def __getitem__(self, index: Index) -> Episode:
        epoch, position = index if isinstance(index, tuple) else (0, index)
        return self._item(epoch, position, np.random.default_rng([self.seed, _ITEM, epoch, position]))

    def _item(self, epoch: int, position: int, rng: np.random.Generator) -> Episode:
        raise NotImplementedError

    def _sized(self, stem: str, rng: np.random.Generator) -> Sample:
        """The photo at the size it is handed over, augmented in training."""
        if self.recipe is not None:
            return augment(partial(self.cache.read, stem), self.recipe, rng)
        sample = self.cache.read(stem)
        return sample if self.size is None else fit(sample, self.size)


class EpisodeDataset(_Items):
    """Episodes of one fold (journal, section 3; facts A.5 to A.9), k-way or 1-way, for training or meta-test.

    Training: `size` is the network's input, `augment` a preset of `data.transforms` or a whole recipe, `pairing`
    whether a query keeps its partner for the whole run ("once", the official code) or meets a new one every epoch (the
    papers). Novel ids are background in both masks; the foreground masks show the whole person. What item i of epoch e
    is depends on (seed, e, i) alone, however many workers load it.

    Test: `size` None gives photos at native size; a size gives photos fitted into it (shape kept, padding black with
    label 255), and the truth in `query_mask` has that size too. `pairs` are the options of
    `OneShotDataset.test_pairs`: rule, queries, repeats, per_class. All ids are visible.

    `class_ids` is set in 1-way (masks are then 0/1), `names` holds the stems of query and support.
    Raises UserError when the dataset does not serve the fold, or has no pairs.
    """

    def __init__(
        self,
        dataset: OneShotDataset,
        fold: Fold,
        way: Literal["k", "1"] = "k",
        phase: Phase = "train",
        size: int | Size | None = None,
        *,
        augment: Preset | Recipe = "mild",
        pairing: Literal["once", "each epoch"] = "once",
        seed: int = 0,
        channels: Channels = "rgb",
        split: int | None = None,
        cap: int | None = 1500,
        cache_mb: int = 1024,
        **pairs: Any,
    ) -> None:
        if dataset.n_ids != fold.n_ids:
            raise UserError(
                f"the dataset at {dataset.root} has {dataset.n_ids} ids but fold {fold.number} of {fold.dataset} has "
                f"{fold.n_ids}; choose a fold of {dataset.name}"
            )
        frame, recipe = None if size is None else as_size(size), None
        if phase == "train":
            if frame is None:
                raise UserError("training needs a size in pixels (data.size); photos of different sizes make no batch")
            recipe = replace(augment, size=frame) if isinstance(augment, Recipe) else Recipe(augment, frame)
        super().__init__(dataset, phase, frame, recipe, cache_mb)
        self.dataset, self.fold, self.way, self.phase = dataset, fold, way, phase
        self.pairing, self.cap, self.seed, self.channels = pairing, cap, seed, channels
        self.split = dataset.split(phase) if split is None else split
        if split is not None and phase == "train" and not 0 < split < len(self.stems):
            raise UserError(f"data.split is {split} but there are {len(self.stems)} training photos; make it smaller")
        self._pairs: tuple[int, list[Pair]] = (-1, [])
        if phase == "test":
            self._pairs = (0, dataset.test_pairs(way=way, **pairs))
        if not len(self):
            raise UserError(f"the {phase} part of {dataset.root} gives no pairs; it needs more photos")

    def pairs(self, epoch: int = 0) -> list[Pair]:
        """The (query, support, class id) triples of an epoch; class id 0 in k-way training."""
        epoch = 0 if self.phase == "test" or self.pairing == "once" else epoch
        if self._pairs[0] != epoch:
            rng = np.random.default_rng([self.seed, _PAIRING, epoch])
            if self.way == "k":
                made = [Pair(q, s, 0) for q, s in kway_training_pairs(len(self.stems), self.split, rng)]
            else:
                index = self.dataset.support_index("train")
                made = oneway_training_pairs(index, self.fold.base_foreground, rng, cap=self.cap)
            self._pairs = (epoch, made)
        return self._pairs[1]

    def __len__(self) -> int:
        return len(self.pairs())

    def _item(self, epoch: int, position: int, rng: np.random.Generator) -> Episode:
        query, support, class_id = self.pairs(epoch)[position]
        stems = self.stems[query], self.stems[support]
        (image, mask, person), (other, other_mask, other_person) = (
            to_tensors(self._labelled(self._sized(stem, rng), class_id), self.channels) for stem in stems
        )
        return Episode(
            query_image=image,
            support_image=other,
            support_mask=other_mask,
            support_foreground=other_person,
            query_mask=mask,
            query_foreground=person,
            class_ids=torch.tensor(class_id) if self.way == "1" else None,
            classes=self.fold.training if self.phase == "train" else self.fold.classes,
            names=stems,
        )

    def _labelled(self, sample: Sample, class_id: int) -> Sample:
        """Hide what the phase must not see, then reduce the mask to 0/1 in 1-way."""
        mask = sample.mask if self.phase == "test" else self.fold.hide_novel(sample.mask)
        if self.way == "1":
            mask = np.where(mask == IGNORE, IGNORE, mask == class_id).astype(np.uint8)
        return Sample(sample.image, mask, sample.foreground)


class SegmentDataset(_Items):
    """Single photos for plain supervised segmentation: an Episode whose support is its query.

    All photos of the phase's list count, query and support part alike. `visible` "base" sets what the fold hides to
    background, or to 255 where there is a person and `unlabelled` is "ignore"; "all" shows every class. The foreground
    shows the whole person in any case. Items depend on (seed, epoch, position) alone.
    """

    def __init__(
        self,
        dataset: OneShotDataset,
        fold: Fold,
        recipe: Recipe,
        *,
        visible: Literal["base", "all"] = "base",
        unlabelled: Literal["background", "ignore"] = "background",
        seed: int = 0,
        channels: Channels = "rgb",
        cache_mb: int = 1024,
    ) -> None:
        super().__init__(dataset, "train", recipe.size, recipe, cache_mb)
        self.fold, self.visible, self.unlabelled, self.seed, self.channels = fold, visible, unlabelled, seed, channels

    def __len__(self) -> int:
        return len(self.stems)

    def _item(self, epoch: int, position: int, rng: np.random.Generator) -> Episode:
        stem = self.stems[position]
        sample = self._sized(stem, rng)
        mask = sample.mask
        if self.visible == "base":
            mask = self.fold.hide_novel(mask)
            if self.unlabelled == "ignore":
                mask = np.where((mask == self.fold.background) & (sample.foreground == 1), IGNORE, mask)
        image, labels, person = to_tensors(Sample(sample.image, mask, sample.foreground), self.channels)
        return Episode(image, image, labels, person, labels, person, names=(stem, stem))


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, position) in an order drawn from (seed, epoch); starts at batch `start` of its epoch.

    The last incomplete batch is dropped unless it is the only one; `limit` cuts the epoch short.
    """

    def __init__(self, n: int, batch_size: int, seed: int, limit: int | None = None) -> None:
        self.n, self.batch_size, self.seed = n, min(batch_size, n), seed
        self.batches = min(n // self.batch_size, n if limit is None else limit)
        self.epoch, self.start = 0, 0

    def at(self, epoch: int, start: int = 0) -> EpochBatches:
        """Choose the epoch and the first batch; returns itself."""
        self.epoch, self.start = epoch, start
        return self

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = np.random.default_rng([self.seed, _ORDER, self.epoch]).permutation(self.n)
        for batch in range(self.start, self.batches):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield [(self.epoch, int(position)) for position in chosen]
