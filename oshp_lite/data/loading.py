"""Episodes as a torch dataset: which photos meet, what their masks say, how they are changed on the way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from oshp_lite.data.dataset import OneShotDataset, PairRule, Phase, Sample
from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.pairs import Pair, kway_training_pairs, oneway_training_pairs
from oshp_lite.data.transforms import Preset, Recipe, as_size, augment, fit, mirrored, resize, to_tensors
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold

Index = int | tuple[int, int]
"""Position in an epoch, or (epoch, position): the second form works with long-lived loader workers."""

_PAIRING, _ITEM, _ORDER = 1, 2, 3  # keep the streams of random numbers apart


class PhotoCache:
    """Decoded photos with merged masks, kept in memory up to a limit so that small datasets are read once.

    `reach` (height, width) is the largest size at which a photo is handed over: larger ones are shrunk to fit it
    before they are kept. None keeps native sizes.
    """

    def __init__(self, dataset: OneShotDataset, limit_mb: int = 1024, reach: tuple[int, int] | None = None) -> None:
        self.dataset = dataset
        self.reach = reach
        self._left = limit_mb * 2**20
        self._kept: dict[tuple[str, bool], Sample] = {}

    def read(self, stem: str, flip: bool = False) -> Sample:
        """Return the photo (or the mirrored one, with the mask of its own file) with kept ids and its foreground."""
        key = (stem, flip)
        sample = self._kept.get(key)
        if sample is None:
            sample = self._shrunk(self._decode(stem, flip))
            size = sample.image.nbytes + sample.mask.nbytes + sample.foreground.nbytes
            if size <= self._left:
                self._left -= size
                self._kept[key] = sample
        return sample

    def _decode(self, stem: str, flip: bool) -> Sample:
        raw = self.dataset.sample(stem, mirror=flip)
        mask = self.dataset.space.merge(raw.mask, f"the mask of photo {stem}")
        return Sample(*(np.ascontiguousarray(array, np.uint8) for array in (raw.image, mask, raw.foreground)))

    def _shrunk(self, sample: Sample) -> Sample:
        if self.reach is None:
            return sample
        height, width = sample.size
        factor = min(self.reach[0] / height, self.reach[1] / width)
        return (
            sample if factor >= 1 else resize(sample, (max(1, round(height * factor)), max(1, round(width * factor))))
        )


def _reach(recipe: Recipe) -> tuple[int, int] | None:
    """Return the size beyond which a preset never hands over a photo."""
    if recipe.preset == "paper":
        return None
    largest = 1.3 if recipe.preset == "mild" else 1.0
    return round(recipe.size[0] * largest), round(recipe.size[1] * largest)


class EpisodeDataset(Dataset[Episode]):
    """Episodes of one fold (journal, section 3; facts A.5 to A.9), k-way or 1-way, for training or meta-test.

    Training: `size` is the network's input, `augment` the preset of `data.transforms`, `pairing` whether a query keeps
    its partner for the whole run ("once", the official code) or meets a new one every epoch (the papers). Novel ids
    are background in both masks; the foreground masks show the whole person. What item i of epoch e is depends on
    (seed, e, i) alone, however many workers load it.

    Test: `size` None gives photos at native size; a size gives photos fitted into it (shape kept, padding black with
    label 255), and the truth in `query_mask` has that size too. `pairs`, `queries`, `repeats` and `pairs_per_class` are
    the options of `OneShotDataset.test_pairs`. All ids are visible.

    `class_ids` is set in 1-way (masks are then 0/1), `names` holds the stems of query and support.
    Raises UserError when the dataset does not serve the fold, or has no pairs.
    """

    def __init__(
        self,
        dataset: OneShotDataset,
        fold: Fold,
        way: Literal["k", "1"] = "k",
        phase: Phase = "train",
        size: int | tuple[int, int] | None = None,
        *,
        augment: Preset = "mild",
        pairing: Literal["once", "each epoch"] = "once",
        seed: int = 0,
        channels: Literal["rgb", "bgr"] = "rgb",
        pad_label: int = IGNORE,
        pre_resize: int | None = None,
        scale: Literal["independent", "joint"] = "joint",
        jitter: float = 0.0,
        split: int | None = None,
        cap: int | None = 1500,
        pairs: PairRule = "dataset",
        pairs_per_class: int | None = None,
        queries: int | None = None,
        repeats: int | None = None,
        cache_mb: int = 1024,
    ) -> None:
        if dataset.n_ids != fold.n_ids:
            raise UserError(
                f"the dataset at {dataset.root} has {dataset.n_ids} ids but fold {fold.number} of {fold.dataset} has "
                f"{fold.n_ids}; choose a fold of {dataset.name}"
            )
        if phase == "train" and size is None:
            raise UserError("training needs a size in pixels (data.size); photos of different sizes make no batch")
        self.dataset, self.fold, self.way, self.phase = dataset, fold, way, phase
        self.seed, self.channels, self.pairing, self.cap = seed, channels, pairing, cap
        self.stems = tuple(dataset.stems(phase))
        self.size = None if size is None else as_size(size)
        self.recipe = None
        reach = self.size
        if phase == "train" and self.size is not None:
            self.recipe = Recipe(augment, self.size, pad_label, pre_resize, scale, jitter)
            reach = _reach(self.recipe)
        self.cache = PhotoCache(dataset, cache_mb, reach)
        self.split = self._usable_split(split)
        self.epoch = 0
        self._epoch_pairs: tuple[int, list[Pair]] = (-1, [])
        self._test_pairs: list[Pair] = []
        if phase == "test":
            self._test_pairs = dataset.test_pairs(
                pairs, way=way, queries=queries, repeats=repeats, per_class=pairs_per_class
            )
        if not len(self):
            raise UserError(f"the {phase} part of {dataset.root} gives no pairs; it needs more photos")

    def _usable_split(self, split: int | None) -> int:
        if split is None:
            return self.dataset.split(self.phase)
        if not 0 < split < len(self.stems) and self.phase == "train":
            raise UserError(
                f"data.split is {split} but the training part has {len(self.stems)} photos; make it smaller"
            )
        return split

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that plain integer indices refer to."""
        self.epoch = epoch

    def pairs(self, epoch: int = 0) -> list[Pair]:
        """Return the (query, support, class id) triples of an epoch; class id 0 in k-way training."""
        if self.phase == "test":
            return self._test_pairs
        epoch = 0 if self.pairing == "once" else epoch
        if self._epoch_pairs[0] != epoch:
            rng = np.random.default_rng([self.seed, _PAIRING, epoch])
            if self.way == "k":
                made = [Pair(q, s, 0) for q, s in kway_training_pairs(len(self.stems), self.split, rng)]
            else:
                index, base = self.dataset.support_index("train"), self.fold.base_foreground
                size = self.dataset.space.n_foreground
                made = oneway_training_pairs(index, base, rng, cap=self.cap, n_foreground=size)
            self._epoch_pairs = (epoch, made)
        return self._epoch_pairs[1]

    def __len__(self) -> int:
        return len(self.pairs(0))

    def __getitem__(self, index: Index) -> Episode:
        epoch, position = index if isinstance(index, tuple) else (self.epoch, index)
        query, support, class_id = self.pairs(epoch)[position]
        rng = np.random.default_rng([self.seed, _ITEM, epoch, position])
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

    def _sized(self, stem: str, rng: np.random.Generator) -> Sample:
        """Return the photo at the size it is handed over, augmented in training."""
        if self.recipe is None:
            sample = self.cache.read(stem)
            return sample if self.size is None else fit(sample, self.size)
        return augment(lambda flip: _oriented(self.cache, self.recipe, stem, flip), self.recipe, rng)

    def _labelled(self, sample: Sample, class_id: int) -> Sample:
        """Hide what the phase must not see, then reduce the mask to 0/1 in 1-way."""
        mask = sample.mask if self.phase == "test" else self.fold.hide_novel(sample.mask)
        if self.way == "1":
            mask = np.where(mask == IGNORE, IGNORE, mask == class_id).astype(np.uint8)
        return Sample(sample.image, mask, sample.foreground)


def _oriented(cache: PhotoCache, recipe: Recipe | None, stem: str, flip: bool) -> Sample:
    """Read a photo or its mirror image: from its own label file in the paper's preset, else by turning the sample."""
    if flip and not (recipe is not None and recipe.preset == "paper"):
        return mirrored(cache.read(stem))
    return cache.read(stem, flip)


class SegmentDataset(Dataset[Episode]):
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
        channels: Literal["rgb", "bgr"] = "rgb",
        cache_mb: int = 1024,
    ) -> None:
        self.fold, self.recipe, self.visible, self.unlabelled = fold, recipe, visible, unlabelled
        self.seed, self.channels, self.epoch = seed, channels, 0
        self.stems = tuple(dataset.stems("train"))
        self.cache = PhotoCache(dataset, cache_mb, _reach(recipe))
        if not self.stems:
            raise UserError(f"the training part of {dataset.root} is empty; it needs photos")

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that plain integer indices refer to."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, index: Index) -> Episode:
        epoch, position = index if isinstance(index, tuple) else (self.epoch, index)
        stem = self.stems[position]
        rng = np.random.default_rng([self.seed, _ITEM, epoch, position])
        sample = augment(lambda flip: _oriented(self.cache, self.recipe, stem, flip), self.recipe, rng)
        mask = sample.mask
        if self.visible == "base":
            mask = self.fold.hide_novel(mask)
            if self.unlabelled == "ignore":
                mask = np.where((mask == self.fold.background) & (sample.foreground == 1), IGNORE, mask)
        image, labels, person = to_tensors(Sample(sample.image, mask, sample.foreground), self.channels)
        return Episode(
            query_image=image,
            support_image=image,
            support_mask=labels,
            support_foreground=person,
            query_mask=labels,
            query_foreground=person,
            names=(stem, stem),
        )


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Batches of (epoch, position) in an order drawn from (seed, epoch); starts at batch `start` of its epoch.

    The last incomplete batch is dropped unless it is the only one; `limit` cuts the epoch short.
    """

    def __init__(self, n: int, batch_size: int, seed: int, limit: int | None = None) -> None:
        self.n, self.batch_size, self.seed = n, min(batch_size, n), seed
        self.batches = self.n // self.batch_size
        if limit is not None:
            self.batches = min(self.batches, limit)
        self.epoch = 0
        self.start = 0

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
