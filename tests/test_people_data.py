"""Several people in a photo: crowds that overlap, their boxes and masks, and training items of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from raw_trees import cihp_tree

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.people import PeopleTruth, crowdedness
from oshp_lite.data.people_batches import PeopleItems, people_batch
from oshp_lite.data.prepare.raw import CIHP, tailor
from oshp_lite.data.synthetic import SPECS, generate, scene
from oshp_lite.data.synthetic.scenes import CrowdSpec
from oshp_lite.data.transforms import Recipe, to_photo
from oshp_lite.engine.instance_files import open_truth
from oshp_lite.errors import UserError
from oshp_lite.labels import label_space

SPACE = label_space("cihp")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return generate("synth-crowd", tmp_path_factory.mktemp("people") / "crowd", 10, 8, 64, progress=False)


def truth(name: str, index: int, size: int = 64) -> PeopleTruth:
    drawn = scene(name, 0, index, size)
    return PeopleTruth(drawn.mask("cihp"), drawn.persons)


def test_crowds_have_one_to_eight_people_who_overlap() -> None:
    what = SPECS["synth-crowd"]
    assert isinstance(what, CrowdSpec)
    truths = [truth("synth-crowd", index, 48) for index in range(20)]
    counts = [len(one.ids) for one in truths]
    assert min(counts) == 1
    assert max(counts) >= 7
    largest = [crowdedness(one.boxes()).max() for one in truths if len(one.ids) > 1]
    assert min(largest) >= what.overlap
    calm = [crowdedness(truth("synth-cihp", index, 48).boxes()).max() for index in range(8)]
    assert np.median(largest) > 1.5 * np.median(calm)
    heights = np.concatenate([(one.boxes()[:, 3] - one.boxes()[:, 1]) / 48 for one in truths])
    assert (heights < 0.25).mean() > 0.05, "the one-shot experiment needs small people"


def test_boxes_hold_their_people_exactly() -> None:
    for index in range(6):
        one = truth("synth-cihp", index)
        for person, (left, top, right, bottom) in zip(one.ids, one.boxes().astype(int), strict=True):
            here = one.persons == person
            inside = np.zeros_like(here)
            inside[top:bottom, left:right] = True
            assert not (here & ~inside).any()
            edges = (here[top, :], here[bottom - 1, :], here[:, left], here[:, right - 1])
            assert all(edge.any() for edge in edges)
        areas = one.parts(20)
        for row, person in enumerate(one.ids):
            labels, pixels = np.unique(one.person(person), return_counts=True)
            assert {c: n for c, n in enumerate(areas[row]) if c and n} == {
                int(c): int(n) for c, n in zip(labels, pixels, strict=True) if 0 < c < 20
            }


def test_a_crowd_is_a_dataset_with_person_ids(dataset: OneShotDataset) -> None:
    assert dataset.space is label_space("cihp")
    assert dataset.description["counts"] == {"train": 10, "test": 8}
    persons = dataset.instances("test_000000")
    assert persons is not None
    assert persons.max() >= 1


def test_items_depend_on_seed_epoch_and_position_alone(dataset: OneShotDataset) -> None:
    recipe = Recipe("mild", (48, 64), jitter=0.2)
    items, again = (PeopleItems(dataset, "train", recipe, seed=3) for _ in range(2))
    first = items[2, 5]
    _ = items[2, 6]
    torch.testing.assert_close(again[2, 5].images, first.images)
    assert not torch.equal(items[3, 5].images, first.images)
    assert not torch.equal(PeopleItems(dataset, "train", recipe, seed=4)[2, 5].images, first.images)
    assert first.images.shape == (1, 3, 48, 64)
    batch = people_batch([items[0, n] for n in range(4)])
    assert len(batch) == 4
    assert batch.boxes is not None
    assert batch.ids is not None
    for persons, boxes, ids in zip(batch.persons, batch.boxes, batch.ids, strict=True):
        present = [i for i in persons.unique().tolist() if i not in (0, 255)]
        assert present == ids.tolist()
        for index, box in zip(ids, boxes, strict=True):
            rows, columns = (persons == index).nonzero().T
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert (persons == index).sum() >= 30


def test_mirrored_items_exchange_left_and_right(dataset: OneShotDataset) -> None:
    """A mirrored photo exchanges the shoes' places and their names, so their order stays in every item."""
    items, plain = (PeopleItems(dataset, "train", recipe, least=1) for recipe in (Recipe("mild", (64, 64)), None))

    def places(classes: torch.Tensor | None) -> list[float]:
        assert classes is not None
        return [float((classes[0] == c).nonzero()[:, 1].float().mean()) for c in (18, 19)]

    mirrored = []
    for position in range(10):
        whole, item = plain[position], items[0, position]
        left, right = places(whole.classes)
        moved = places(item.classes)
        if abs(left - right) < 4 or np.isnan([left, right, *moved]).any():
            continue
        assert (left < right) == (moved[0] < moved[1])
        likeness = [float((item.images * image).mean()) for image in (whole.images, whole.images.flip(-1))]
        mirrored.append(likeness[1] > likeness[0])
    assert {True, False} == set(mirrored)


def test_the_whole_photo_is_read_without_a_recipe(dataset: OneShotDataset) -> None:
    item, stem = PeopleItems(dataset, "test", None, least=1)[0], dataset.stems("test")[0]
    np.testing.assert_array_equal(to_photo(item.images[0]), dataset.image(stem))
    assert item.classes is not None
    np.testing.assert_array_equal(item.classes[0].numpy(), dataset.mask(stem))
    assert item.names == [stem]
    fitted = PeopleItems(dataset, "test", Recipe("none", (32, 48)))[0]
    assert fitted.images.shape == (1, 3, 32, 48)


def test_datasets_without_person_ids_are_refused(tmp_path: Path) -> None:
    alone = generate("synth-atr", tmp_path / "alone", 8, 8, 48, progress=False)
    with pytest.raises(UserError, match="has no person ids"):
        PeopleItems(alone, "train", None)


def test_cihp_as_it_unpacks_is_trained_on_and_scored(tmp_path: Path) -> None:
    """Its Human_ids become the dataset's person ids; its own folders serve as a truth as they are."""
    cihp_tree(tmp_path / "raw", train=4, test=4)
    tailor(CIHP, tmp_path / "raw", tmp_path / "cihp", train_split=2, test_split=2)
    made = open_dataset(tmp_path / "cihp")
    item = PeopleItems(made, "train", Recipe("mild", (32, 32)), least=1)[0, 0]
    assert item.ids is not None
    assert item.ids[0].tolist() == [1]
    place = next((tmp_path / "raw").rglob("Validation"))
    raw, own = open_truth(place, 20), open_truth(made.root, 20)
    assert set(raw.names) == set(own.names) == set(made.stems("test"))
    for name in raw.names:
        np.testing.assert_array_equal(raw.read(name).persons, own.read(name).persons)
        np.testing.assert_array_equal(raw.read(name).classes, own.read(name).classes)
