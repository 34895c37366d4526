"""What a judgement of people keeps: its scores are the meter's, under any number of times that a photo counts."""

from __future__ import annotations

import numpy as np
import pytest

from oshp_lite.data.people import PartMap, PeopleResult, PeopleTruth, PersonMap
from oshp_lite.engine.instance_metrics import THRESHOLDS, PeopleMeter, average_precision
from oshp_lite.engine.instance_tally import Measure, bin_of, measure_of, precisions, score_tally, tally

K = 5


def photo(rng: np.random.Generator) -> tuple[PeopleTruth, PeopleResult]:
    """A small photo of one to three people, and a result that has much of it right; scores are all different."""
    persons = np.repeat(np.arange(4, dtype=np.uint8), 6)[rng.permutation(24).argsort() // 2 * 2][None].repeat(6, 0)
    persons[persons > rng.integers(1, 4)] = 0
    classes = np.where(persons > 0, rng.integers(1, K, persons.shape), 0).astype(np.uint8)
    said = np.where(rng.random(persons.shape) < 0.3, rng.integers(0, K, persons.shape), classes).astype(np.uint8)
    people, parts = [], []
    for index in np.unique(persons[persons > 0]):
        labels = np.where(persons == index, said, 0).astype(np.uint8)
        people.append(PersonMap(labels, 0, 0, float(rng.random())))
        known = np.unique(labels[labels > 0]).astype(np.int64)
        ids = np.where(labels > 0, np.searchsorted(known, labels) + 1, 0)
        parts.append(PartMap(ids, 0, 0, known, rng.random(len(known))))
    return PeopleTruth(classes, persons), PeopleResult(said, tuple(people), tuple(parts))


PHOTOS = {f"{n:02d}": photo(np.random.default_rng([7, n])) for n in range(6)}
CROWDED = dict(zip(PHOTOS, (0.0, 0.05, 0.2, 0.35, 0.6, 1.0), strict=True))


def measured(counts: list[int]) -> PeopleMeter:
    """Every photo added as often as it counts, under names of their own."""
    meter = PeopleMeter(K)
    for (name, pair), count in zip(PHOTOS.items(), counts, strict=True):
        for again in range(count):
            meter.add(f"{name}-{again}", *pair)
    return meter


COUNTS = ([1] * 6, [2, 0, 1, 3, 0, 1], [0, 0, 0, 0, 2, 0])


@pytest.fixture(scope="module")
def kept() -> dict[str, np.ndarray]:
    meter = PeopleMeter(K)
    for name, pair in PHOTOS.items():
        meter.add(name, *pair)
    return tally(meter, CROWDED)


@pytest.mark.parametrize("name", ["ap_p", "pcp", "ap_r", "ap_r_pgn"])
def test_a_photo_that_counts_twice_is_a_photo_added_twice(kept: dict[str, np.ndarray], name: str) -> None:
    truth = [measured(counts).scores() for counts in COUNTS]
    weights = np.array(COUNTS, float)
    np.testing.assert_allclose(
        score_tally(kept, weights, Measure("", name, None, None)), [one.volume(name) for one in truth]
    )
    for at in THRESHOLDS:
        wanted = [one.at(name, at) for one in truth]
        np.testing.assert_allclose(score_tally(kept, weights, Measure("", name, at, None)), wanted, atol=1e-12)


def test_the_mean_iou_too(kept: dict[str, np.ndarray]) -> None:
    wanted = [measured(counts).scores().miou for counts in COUNTS]
    np.testing.assert_allclose(score_tally(kept, np.array(COUNTS, float), Measure("", "miou", None, None)), wanted)


def test_a_bin_is_its_photos_alone(kept: dict[str, np.ndarray]) -> None:
    assert bin_of(np.array([0, 0.099, 0.1, 0.3, 0.5, 1.0])).tolist() == [0, 0, 1, 2, 3, 3]
    alone = measured([1, 1, 0, 0, 0, 0]).scores().volume("ap_p")
    every = np.ones((1, 6))
    assert score_tally(kept, every, Measure("", "ap_p", None, 0))[0] == pytest.approx(alone)
    assert np.isfinite(score_tally(kept, every, Measure("", "pcp", 0.5, 3))[0])


def test_average_precision_under_weights_of_one_is_the_plain_one() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random((3, 20)) < 0.5
    own = precisions(np.ones((1, 20)), hits, np.array([12.0]))[:, 0]
    np.testing.assert_allclose(own, [average_precision(row, 12) for row in hits])


def test_what_was_not_judged_is_no_number(kept: dict[str, np.ndarray]) -> None:
    with pytest.raises(KeyError):
        score_tally(kept, np.ones((1, 6)), Measure("given", "ap_p", 0.5, None))
    meter = PeopleMeter(K)
    meter.add("a", PHOTOS["00"][0], PeopleResult(PHOTOS["00"][1].classes))
    with pytest.raises(ValueError, match="a class map, people and parts"):
        meter.matches()


def test_names_of_measures() -> None:
    assert measure_of("given_ap_r_vol_bin2") == Measure("given", "ap_r", None, 2)
    assert measure_of("ap_r_pgn_50") == Measure("", "ap_r_pgn", 0.5, None)
    assert measure_of("views_miou") == Measure("views", "miou", None, None)
    assert measure_of("human") is measure_of("ap_p") is measure_of("ap_p_55") is None


def test_variants_stand_side_by_side_in_small_whole_numbers(kept: dict[str, np.ndarray]) -> None:
    meter = measured([1] * 6)
    other = tally(meter, {f"{name}-0": value for name, value in CROWDED.items()}, "given")
    assert set(other) == {"bins"} | {f"given.{name}" for name in kept if name != "bins"}
    assert all(one.dtype.kind == "u" for one in other.values())
    both = kept | other
    every = np.ones((1, 6))
    one, two = (score_tally(both, every, Measure(name, "ap_r", None, None)) for name in ("", "given"))
    assert one == two
