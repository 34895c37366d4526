"""Episodes: what they hide, how they pair, and that workers change nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from engine_fixtures import tiny_config, tiny_dataset
from torch.utils.data import DataLoader

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.loading import EpisodeDataset, EpochBatches, SegmentDataset
from oshp_lite.data.transforms import Recipe
from oshp_lite.engine.loading import TrainingBatches, training_set
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold, fold

ATR1 = fold("atr", 1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("episodes") / "bars")


def same(one: Episode, other: Episode) -> bool:
    tensors = ("query_image", "support_image", "support_mask", "support_foreground", "query_mask", "query_foreground")
    return one.names == other.names and all(torch.equal(getattr(one, n), getattr(other, n)) for n in tensors)


@pytest.mark.parametrize("way", ["k", "1"])
def test_items_depend_on_seed_epoch_and_position_alone(way: Any, dataset: OneShotDataset) -> None:
    jittered = Recipe("mild", jitter=0.2)

    def make(seed: int) -> EpisodeDataset:
        return EpisodeDataset(dataset, ATR1, way, "train", 32, augment=jittered, pairing="each epoch", seed=seed)

    one, other, foreign = make(3), make(3), make(4)
    backwards = [other[2, i] for i in reversed(range(4))][::-1]
    first = make(3)
    assert all(same(one[2, i], backwards[i]) and same(first[i], one[0, i]) for i in range(4))
    assert not any(same(one[2, i], one[1, i]) for i in range(4))
    assert not any(same(one[2, i], foreign[2, i]) for i in range(4))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_four_workers_load_what_none_loads(dataset: OneShotDataset) -> None:
    for changes in (
        {"data": {"way": "k"}},
        {"data": {"way": "1"}},
        {"train": {"task": "segment"}, "model": {"method": "segment"}},
    ):
        loaded = []
        for workers in (0, 4):
            config = tiny_config(**{**changes, "data": {**changes.get("data", {}), "workers": workers}})
            items = training_set(config, dataset, ATR1)
            batches = TrainingBatches(items, config)
            loaded.append([b for epoch, start in ((0, 0), (3, 1)) for b in batches.of(epoch, start)])
        assert len(loaded[0]) == len(loaded[1]) > 2
        for one, other in zip(*loaded, strict=True):
            assert same(one, other)


def test_novel_classes_are_hidden_in_training_and_shown_at_test(dataset: OneShotDataset) -> None:
    novel = set(ATR1.novel)
    training = EpisodeDataset(dataset, ATR1, "k", "train", 32)
    test = EpisodeDataset(dataset, ATR1, "k", "test", 32)
    seen_at_test: set[int] = set()
    hidden_person = 0
    for i in range(len(training)):
        episode = training[i]
        for mask in (episode.query_mask, episode.support_mask):
            assert mask is not None
            assert not novel & set(mask.unique().tolist())
        assert episode.query_mask is not None
        assert episode.query_foreground is not None
        hidden_person += int(((episode.query_mask == 0) & (episode.query_foreground == 1)).sum())
    for i in range(len(test)):
        seen_at_test |= set(test[i].support_mask.unique().tolist())
    assert novel <= seen_at_test
    assert hidden_person > 0, "the foreground must show novel garments too"


def test_one_way_masks_say_whether_a_pixel_is_of_the_asked_class(dataset: OneShotDataset) -> None:
    training = EpisodeDataset(dataset, ATR1, "1", "train", 32, cap=4, augment="none")
    wanted = [pair.class_id for pair in training.pairs()]
    assert set(wanted) <= set(ATR1.base_foreground)
    assert max(wanted.count(c) for c in set(wanted)) == 4
    stems = dataset.stems("train")
    for i, pair in enumerate(training.pairs()):
        episode = training[i]
        assert int(episode.class_ids) == pair.class_id  # type: ignore[arg-type]
        assert set(episode.support_mask.unique().tolist()) <= {0, 1, 255}
        assert bool((episode.support_mask == 1).any())
        assert pair.class_id in dataset.space.present(dataset.mask(stems[pair.support]))


def test_pairing_once_or_each_epoch(dataset: OneShotDataset) -> None:
    once = EpisodeDataset(dataset, ATR1, "k", "train", 32, pairing="once")
    each = EpisodeDataset(dataset, ATR1, "k", "train", 32, pairing="each epoch")
    assert once.pairs(0) == once.pairs(5)
    assert each.pairs(0) != each.pairs(5)
    split, count = dataset.split("train"), len(dataset.stems("train"))
    for pairs in (once.pairs(0), each.pairs(5)):
        assert [pair.query for pair in pairs] == list(range(split))
        assert all(split <= pair.support < count for pair in pairs)
    assert len(EpisodeDataset(dataset, ATR1, "k", "train", 32, split=5)) == 5


def test_test_photos_at_native_size_or_fitted(dataset: OneShotDataset) -> None:
    native = EpisodeDataset(dataset, ATR1, "k", "test", None)
    fitted = EpisodeDataset(dataset, ATR1, "k", "test", (48, 32))
    stem = native[0].names[0]  # type: ignore[index]
    assert tuple(native[0].query_image.shape[1:]) == dataset.mask(stem).shape
    truth = native[0].query_mask
    assert truth is not None
    assert np.array_equal(truth.numpy(), dataset.space.merge(dataset.mask(stem)))
    episode = fitted[0]
    assert tuple(episode.query_image.shape) == (3, 48, 32)
    assert episode.query_mask is not None
    assert bool((episode.query_mask == 255).any())
    assert same(fitted[0], EpisodeDataset(dataset, ATR1, "k", "test", (48, 32), seed=9)[0])


def test_test_pair_rules(dataset: OneShotDataset) -> None:
    spread = EpisodeDataset(dataset, ATR1, "k", "test", 32, queries=2, repeats=3)
    per_class = [pair.class_id for pair in spread.pairs()]
    assert max(per_class.count(c) for c in set(per_class)) == 6
    thin = EpisodeDataset(dataset, ATR1, "k", "test", 32, queries=2, repeats=3, per_class=2)
    assert len(thin) == 2 * len(set(per_class))
    with pytest.raises(UserError, match="unused"):
        EpisodeDataset(dataset, ATR1, "k", "test", 32, rule="journal")


def test_segment_items_follow_visible_and_unlabelled(dataset: OneShotDataset) -> None:
    recipe = Recipe("none", (32, 32))

    def labels(**options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        items = SegmentDataset(dataset, ATR1, recipe, **options)
        assert len(items) == len(dataset.stems("train"))
        batch = collate([items[i] for i in range(len(items))])
        assert batch.query_mask is not None
        assert batch.query_foreground is not None
        assert torch.equal(batch.query_image, batch.support_image)
        return batch.query_mask, batch.query_foreground

    base, person = labels()
    ignored, _ = labels(unlabelled="ignore")
    everything, _ = labels(visible="all")
    novel = sum(everything == c for c in ATR1.novel).bool()
    assert bool(novel.any())
    assert bool((base[novel] == 0).all())
    assert bool((ignored[novel] == 255).all())
    assert bool((person[novel] == 1).all())
    assert torch.equal(base[~novel], everything[~novel])


def test_the_mirrored_label_file_is_read_by_the_paper_preset(tmp_path: Path) -> None:
    dataset = tiny_dataset(tmp_path / "bars", 8, 8)
    turned = EpisodeDataset(dataset, ATR1, "k", "train", 32, augment="paper")
    assert turned.recipe is not None
    stem = dataset.stems("train")[0]
    flipped = turned.cache.read(stem, True)
    assert np.array_equal(flipped.mask, turned.cache.read(stem).mask[:, ::-1])
    (dataset.root / "Category_rev_ids" / f"{stem}.png").unlink()
    assert np.array_equal(
        EpisodeDataset(dataset, ATR1, "k", "train", 32, augment="paper").cache.read(stem, True).mask, flipped.mask
    )


def test_a_small_cache_gives_the_same_episodes(dataset: OneShotDataset) -> None:
    full = EpisodeDataset(dataset, ATR1, "k", "train", 32)
    none = EpisodeDataset(dataset, ATR1, "k", "train", 32, cache_mb=0)
    for _ in range(2):
        assert all(same(full[0, i], none[0, i]) for i in range(4))
    assert not none.cache._kept


def test_epoch_batches_are_permutations_that_can_start_anywhere() -> None:
    batches = EpochBatches(23, 4, seed=1)
    whole = list(batches.at(2))
    assert len(whole) == len(batches) == 5
    flat = [position for batch in whole for _, position in batch]
    assert len(set(flat)) == 20
    assert list(batches.at(2, 3)) == whole[3:]
    assert list(batches.at(3)) != whole
    assert len(EpochBatches(3, 16, seed=0)) == 1
    assert len(list(EpochBatches(23, 4, seed=1, limit=2).at(0))) == 2


def test_what_does_not_fit_is_refused(dataset: OneShotDataset) -> None:
    lip: Fold = fold("lip", 1)
    with pytest.raises(UserError, match="choose a fold"):
        EpisodeDataset(dataset, lip, "k", "train", 32)
    with pytest.raises(UserError, match="size"):
        EpisodeDataset(dataset, ATR1, "k", "train", None)


def test_a_loader_of_plain_indices_sees_the_first_epoch(dataset: OneShotDataset) -> None:
    items = EpisodeDataset(dataset, ATR1, "k", "train", 32)
    loader: DataLoader[Episode] = DataLoader(items, batch_size=2, collate_fn=collate)
    first = next(iter(loader))
    assert same(first, collate([items[0, 0], items[0, 1]]))
