"""Photos of several label domains: one image at a time with its raw ids, and batches that hold every domain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from oshp_lite.data.dataset import OneShotDataset, Phase
from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.loading import PhotoCache, SegmentDataset
from oshp_lite.data.pairs import Pair
from oshp_lite.data.transforms import Channels, Recipe, as_size, fit, to_tensors
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold
from oshp_lite.labels.whole import whole_space

_LAP = 11  # keeps these random numbers apart from those of other loaders


@dataclass
class DomainBatch(Episode):
    """Photos of several domains: an Episode whose support is its query, and the domain of each photo.

    domain  int64 [B], which of the network's domains a photo's ids belong to; on the CPU
    """

    domain: Tensor | None = None


def in_full(dataset: OneShotDataset) -> OneShotDataset:
    """The dataset with every raw id a class of its own."""
    return replace(dataset, space=whole_space(dataset.space.name))


class DomainPhotos(SegmentDataset):
    """Training photos of one domain with raw ids, classes that the fold hides as background.

    `chosen` are positions in the training list (None: all). Raises UserError for an augmentation that mirrors photos
    without exchanging the ids of left and right.
    """

    def __init__(
        self,
        dataset: OneShotDataset,
        fold: Fold,
        recipe: Recipe,
        *,
        chosen: Sequence[int] | None = None,
        seed: int = 0,
        channels: Channels = "rgb",
        cache_mb: int = 1024,
    ) -> None:
        if recipe.preset == "mild":
            raise UserError("data.augment is mild, which cannot tell left from right; set it to paper or none")
        super().__init__(in_full(dataset), fold, recipe, seed=seed, channels=channels, cache_mb=cache_mb)
        if chosen is not None:
            self.stems = tuple(self.stems[position] for position in chosen)


class TestPhotos(Dataset[Episode]):
    """Test photos of one domain with raw ids, each an Episode whose support is itself; the form an evaluation walks.

    `size` None gives photos at native size; a size gives photos fitted into it. `limit` takes the first few.
    """

    __test__ = False  # not a test, whatever its name

    def __init__(
        self,
        dataset: OneShotDataset,
        size: int | tuple[int, int] | None,
        *,
        phase: Phase = "test",
        channels: Channels = "rgb",
        cache_mb: int = 1024,
        limit: int | None = None,
    ) -> None:
        self.size = None if size is None else as_size(size)
        self.stems, self.channels = dataset.stems(phase)[:limit], channels
        self.cache = PhotoCache(in_full(dataset), cache_mb, self.size)

    def pairs(self) -> list[Pair]:
        """Each photo with itself."""
        return [Pair(position, position, 0) for position in range(len(self.stems))]

    def __len__(self) -> int:
        return len(self.stems)

    def __getitem__(self, position: int) -> Episode:
        sample = self.cache.read(self.stems[position])
        sample = sample if self.size is None else fit(sample, self.size)
        image, mask, person = to_tensors(sample, self.channels)
        return Episode(image, image, mask, person, mask, person, names=(self.stems[position],) * 2)


def shares(batch_size: int, domains: int) -> tuple[int, ...]:
    """Photos of each domain in a batch: as equal as can be, the later (finer, larger) domains first served.

    Raises UserError when a domain would have none: SCR compares two images of two domains in every step.
    """
    if batch_size < domains:
        raise UserError(
            f"train.batch_size is {batch_size} but every batch must hold each of the {domains} domains; "
            f"set it to {domains} or more"
        )
    least, more = divmod(batch_size, domains)
    return tuple(least + (position >= domains - more) for position in range(domains))


class _MixedOrder(Sampler[list[tuple[int, int, int]]]):
    """Batches of (domain, epoch, position): each domain walks through its own photos again and again."""

    def __init__(self, counts: Sequence[int], batch_size: int, seed: int, limit: int | None) -> None:
        self.counts, self.seed, self.each = counts, seed, shares(batch_size, len(counts))
        whole = max(-(-count // each) for count, each in zip(counts, self.each, strict=True))
        self.batches = whole if limit is None else limit
        self.epoch, self.start = 0, 0

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        orders: dict[int, tuple[int, np.ndarray]] = {}  # of each domain, that of the lap it is on
        for batch in range(self.start, self.batches):
            step, chosen = self.epoch * self.batches + batch, []
            for domain, (count, each) in enumerate(zip(self.counts, self.each, strict=True)):
                for number in range(step * each, (step + 1) * each):
                    lap, place = divmod(number, count)
                    if domain not in orders or orders[domain][0] != lap:
                        orders[domain] = lap, np.random.default_rng([self.seed, _LAP, domain, lap]).permutation(count)
                    chosen.append((domain, lap, int(orders[domain][1][place])))
            yield chosen


class _Mixed(Dataset[tuple[int, Episode]]):
    def __init__(self, domains: Sequence[DomainPhotos]) -> None:
        self.domains = domains

    def __getitem__(self, index: tuple[int, int, int]) -> tuple[int, Episode]:
        domain, lap, position = index
        return domain, self.domains[domain][lap, position]


def mix(photos: Sequence[tuple[int, Episode]]) -> DomainBatch:
    """Stack single photos of equal size, each with the number of its domain, into one batch."""
    batch = collate([photo for _, photo in photos])
    return DomainBatch(**vars(batch), domain=torch.tensor([domain for domain, _ in photos]))


class DomainBatches:
    """Batches of any epoch, from any position in it, each with photos of every domain (section 4.1).

    An epoch has `limit` batches (None: until the domain with most of them has been seen once), however few photos there
    are: rows with one domain and with several can share a budget. What a batch holds depends on (seed, epoch, position)
    alone. `how` goes to the DataLoader.
    """

    def __init__(
        self, domains: Sequence[DomainPhotos], batch_size: int, seed: int, *, limit: int | None = None, **how: Any
    ) -> None:
        self.order = _MixedOrder([len(domain) for domain in domains], batch_size, seed, limit)
        draw = torch.Generator().manual_seed(seed)
        self.loader: DataLoader[Any] = DataLoader(
            _Mixed(domains), batch_sampler=self.order, collate_fn=mix, generator=draw, **how
        )

    def __len__(self) -> int:
        return self.order.batches

    def of(self, epoch: int, start: int = 0) -> Iterator[DomainBatch]:
        """Yield the batches of an epoch from number `start` on."""
        if start < self.order.batches:
            self.order.epoch, self.order.start = epoch, start
            yield from self.loader
