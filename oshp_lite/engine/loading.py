"""From a configuration to loaders of episodes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.loading import EpisodeDataset, EpochBatches, SegmentDataset
from oshp_lite.data.transforms import Recipe, as_size
from oshp_lite.engine.config import RunConfig
from oshp_lite.labels import Fold, fold


def run_fold(config: RunConfig, dataset: OneShotDataset) -> Fold:
    """Return the fold a run works on. UserError when the dataset has none of that number and protocol."""
    return fold(dataset.space.name, config.data.fold, config.data.protocol)


def training_set(config: RunConfig, dataset: OneShotDataset, chosen: Fold) -> EpisodeDataset | SegmentDataset:
    """Return the training items of a run: episodes, or single photos for the task "segment"."""
    data, train = config.data, config.train
    recipe = Recipe(data.augment, as_size(data.size), data.pad_label, data.pre_resize, data.scale, data.jitter)
    common: dict[str, Any] = {"seed": train.seed, "channels": data.channels, "cache_mb": data.cache_mb}
    if train.task == "segment":
        return SegmentDataset(dataset, chosen, recipe, visible=train.visible, unlabelled=train.unlabelled, **common)
    pairs: dict[str, Any] = {"pairing": data.pairing, "split": data.split, "cap": data.cap}
    return EpisodeDataset(dataset, chosen, data.way, "train", data.size, augment=recipe, **pairs, **common)


def test_set(config: RunConfig, dataset: OneShotDataset, chosen: Fold) -> EpisodeDataset:
    """Return the fixed meta-test episodes of a run."""
    data, choice = config.data, config.eval
    rule: dict[str, Any] = {name: getattr(choice, name) for name in ("queries", "repeats", "per_class")}
    common: dict[str, Any] = {"channels": data.channels, "cache_mb": data.cache_mb, "rule": choice.pairs}
    return EpisodeDataset(dataset, chosen, data.way, "test", choice.test_size, **common, **rule)


test_set.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever its name


def quiet_worker(_: int) -> None:
    """Leave Ctrl-C to the main process, which saves and stops the workers itself."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class TrainingBatches:
    """Batches of any epoch, from any position in it; the same ones with and without workers. `join` stacks items."""

    def __init__(
        self, items: Any, config: RunConfig, *, pin: bool = False, join: Callable[[Any], Any] = collate
    ) -> None:
        train, workers = config.train, config.data.workers
        self.sampler = EpochBatches(len(items), train.batch_size, train.seed, train.steps_per_epoch)
        self.loader: DataLoader[Episode] = DataLoader(
            items,
            batch_sampler=self.sampler,
            collate_fn=join,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=quiet_worker,
            generator=torch.Generator().manual_seed(train.seed),
            pin_memory=pin,
        )

    def __len__(self) -> int:
        return self.sampler.batches

    def of(self, epoch: int, start: int = 0) -> Iterator[Episode]:
        """Yield the batches of an epoch from number `start` on."""
        if start < self.sampler.batches:
            self.sampler.at(epoch, start)
            yield from self.loader
