"""AP^p, PCP, AP^r and mIoU of people: the worked example, the public algorithm, and what must hold for any result."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.data.people import PartMap, PeopleResult, PeopleTruth, PersonMap, cut_out, whole_map
from oshp_lite.engine.instance_metrics import THRESHOLDS, PeopleMeter, PeopleScores, average_precision
from oshp_lite.engine.instance_plain import made_up_photos, measure_speed, plain_scores

MEASURES = ("ap_p", "pcp", "ap_r", "ap_r_pgn")
Photos = dict[str, tuple[PeopleTruth, PeopleResult]]


def score(photos: Photos, n_classes: int = 4, *, background: bool = True) -> PeopleScores:
    meter = PeopleMeter(n_classes, background=background)
    for name, (truth, result) in photos.items():
        meter.add(name, truth, result)
    return meter.scores()


def parts_of(people: tuple[PersonMap, ...], scores: dict[tuple[int, int], float] | None = None) -> tuple[PartMap, ...]:
    """Every person's classes as parts with the person's score, one map a person."""
    maps = []
    for one in people:
        classes = np.unique(one.labels[one.labels > 0]).astype(np.int64)
        ids = np.searchsorted(classes, one.labels) + 1
        maps.append(
            PartMap(np.where(one.labels > 0, ids, 0), one.top, one.left, classes, np.full(len(classes), one.score))
        )
    return tuple(maps)


def perfect(truth: PeopleTruth) -> PeopleResult:
    """Everybody with a visible part, as they are."""
    maps = {index: truth.person(index) % 255 for index in truth.ids}
    people = tuple(cut_out(labels, 1 - index / 300) for index, labels in maps.items() if labels.any())
    return PeopleResult(np.where(truth.classes == 255, 0, truth.classes), people, parts_of(people))


# -------------------------------------------------------------------------------------- the worked example


def row(**parts: tuple[int, ...]) -> np.ndarray:
    labels = np.zeros((1, 12), np.uint8)
    for c, pixels in zip((1, 2, 3), (parts.get(name, ()) for name in ("head", "torso", "legs")), strict=True):
        labels[0, list(pixels)] = c
    return labels


@pytest.fixture
def example() -> Photos:
    """Twelve pixels, two people, three predictions (facts B.4)."""
    a, b = row(head=(1, 2), torso=(3, 4), legs=(5, 6)), row(head=(8,), torso=(9, 10))
    said = (
        (row(head=(1, 2), torso=(3, 4, 5), legs=(6,)), 0.9),
        (row(head=(1,), torso=(3, 4), legs=(5, 6)), 0.8),
        (row(head=(8,), torso=(9,), legs=(10,)), 0.7),
    )
    people = tuple(cut_out(labels, value) for labels, value in said)
    merged = np.array([[0, 1, 1, 2, 2, 2, 3, 0, 1, 2, 3, 0]], np.uint8)
    truth = PeopleTruth(a + b, ((a > 0) + 2 * (b > 0)).astype(np.uint8))
    return {"twelve": (truth, PeopleResult(merged, people, parts_of(people)))}


def test_worked_example_with_background(example: Photos) -> None:
    scores = score(example)
    np.testing.assert_allclose(scores.ap_p, [5 / 6] * 6 + [1 / 2, 1 / 4, 0], rtol=0, atol=1e-15)
    np.testing.assert_allclose(scores.pcp, [1, 1, 1, 1, 7 / 12, 7 / 12, 1 / 6, 1 / 3, 0], rtol=0, atol=1e-15)
    assert [f"{scores.volume(name):.4f}" for name in MEASURES] == ["0.6389", "0.6296", "0.7068", "1.0895"]
    assert [f"{scores.at(name, 0.5):.4f}" for name in MEASURES] == ["0.8333", "0.5833", "0.6111", "0.7778"]
    np.testing.assert_allclose(scores.iou, [1, 1, 3 / 5, 1 / 3])
    assert f"{scores.miou:.4f}" == "0.7333"


def test_worked_example_without_background(example: Photos) -> None:
    scores = score(example, background=False)
    assert scores.at("ap_p", 0.5) == 0.5  # P3 and B overlap by exactly one half, which is not above it
    assert f"{scores.at('pcp', 0.5):.4f}" == "0.3333"


def test_merged_parts_do_not_see_the_duplicate(example: Photos) -> None:
    """P2 lies wholly beneath P1 in the merged map; in that format both conventions agree from one half on."""
    from oshp_lite.engine.instance_files import one_part_map

    truth, result = example["twelve"]
    assert result.parts is not None
    merged = one_part_map(result.parts, truth.size)
    assert len(merged.classes) == 6
    scores = score({"twelve": (truth, replace(result, parts=(merged,)))})
    assert scores.ap_r[4:] == scores.ap_r_pgn[4:]


# --------------------------------------------------------------------------------- against the public algorithm


@pytest.mark.parametrize("background", [True, False])
def test_fast_and_plain_agree(background: bool) -> None:
    photos = made_up_photos(3, 64, copies=2)
    fast, plain = score(photos, 20, background=background), plain_scores(photos, 20, background=background)
    for name in (*MEASURES, "iou"):
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), atol=1e-12)
    assert 0 < fast.volume("ap_p") < 1


def test_five_times_as_fast() -> None:
    speed = measure_speed(count=2, size=256)
    assert speed["difference"] < 1e-12
    assert speed["ratio"] >= 5


@st.composite
def crowds(draw: st.DrawFn, ignore: bool = True) -> PeopleTruth:
    """Small photos with 0 to 3 people; some have no visible part, some pixels are ignored."""
    height, width = draw(st.integers(2, 6)), draw(st.integers(2, 8))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    persons = rng.integers(0, draw(st.integers(1, 4)), (height, width)).astype(np.uint8)
    classes = rng.integers(0, 4, (height, width)).astype(np.uint8)
    classes[persons == draw(st.integers(1, 4))] = 0
    if ignore:
        classes[rng.random(classes.shape) < 0.05] = 255
        persons[rng.random(classes.shape) < 0.05] = 255
    return PeopleTruth(classes, persons)


@st.composite
def results(draw: st.DrawFn, truth: PeopleTruth) -> PeopleResult:
    """Anything a parser may say; scores repeat often."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    people = []
    for _ in range(draw(st.integers(0, 4))):
        labels = truth.person(int(rng.integers(1, 4))) if rng.random() < 0.5 else rng.integers(0, 4, truth.size)
        labels = np.where((rng.random(truth.size) < 0.3) | (labels > 3), 0, labels)
        people.append(cut_out(labels.astype(np.uint8), float(rng.choice([0.2, 0.5, 0.9]))))
    return PeopleResult(rng.integers(0, 4, truth.size).astype(np.uint8), tuple(people), parts_of(tuple(people)))


@st.composite
def judged(draw: st.DrawFn) -> Photos:
    photos: Photos = {}
    for name in draw(st.permutations(("b", "a", "c")))[: draw(st.integers(1, 3))]:
        truth = draw(crowds())
        photos[name] = truth, draw(results(truth))
    return photos


@settings(max_examples=60, deadline=None)
@given(judged(), st.booleans())
def test_any_result_is_scored_as_the_public_code_does(photos: Photos, background: bool) -> None:
    fast, plain = score(photos, background=background), plain_scores(photos, 4, background=background)
    for name in (*MEASURES, "iou"):
        np.testing.assert_allclose(getattr(fast, name), getattr(plain, name), atol=1e-12)


# ------------------------------------------------------------------------------------------- what must hold


def values(scores: PeopleScores) -> np.ndarray:
    return np.array([getattr(scores, name) for name in MEASURES])


@settings(max_examples=30, deadline=None)
@given(crowds())
def test_a_perfect_prediction_has_one(truth: PeopleTruth) -> None:
    scores = score({"a": (truth, perfect(truth))})
    if scores.counts["people"]:
        np.testing.assert_allclose(values(scores), 1)
        np.testing.assert_allclose(scores.miou, 1)
    else:
        assert np.isnan(values(scores)).all()


@settings(max_examples=30, deadline=None)
@given(crowds(ignore=False), st.integers(0, 2**32))
def test_splitting_a_perfect_prediction_lowers_ap_p(truth: PeopleTruth, seed: int) -> None:
    """Half of one person's classes go to a second prediction of the same score."""
    whole = perfect(truth)
    assert whole.people is not None
    splittable = [n for n, one in enumerate(whole.people) if len(np.unique(one.labels[one.labels > 0])) >= 2]
    if not splittable:
        return
    which = int(np.random.default_rng(seed).choice(splittable))
    one = whole.people[which]
    classes = np.unique(one.labels[one.labels > 0])
    first = np.isin(one.labels, classes[: len(classes) // 2])
    halves = [one._replace(labels=np.where(half, one.labels, 0)) for half in (first, ~first)]
    split = replace(whole, people=(*whole.people[:which], *halves, *whole.people[which + 1 :]))
    before, after = score({"a": (truth, whole)}), score({"a": (truth, split)})
    assert (np.array(after.ap_p) <= np.array(before.ap_p) + 1e-12).all()
    assert after.volume("ap_p") < before.volume("ap_p")


@settings(max_examples=40, deadline=None)
@given(judged(), st.integers(0, 2**32))
def test_duplicates_never_raise_the_one_to_one_ap_r_from_one_half_on(photos: Photos, seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = str(rng.choice(sorted(photos)))
    truth, result = photos[name]
    assert result.parts is not None
    if not result.parts:
        return
    one = result.parts[int(rng.integers(len(result.parts)))]
    copied = one._replace(scores=one.scores * rng.choice([1.0, 0.5]))
    doubled = {**photos, name: (truth, replace(result, parts=(*result.parts, copied)))}
    before, after = score(photos).ap_r[4:], score(doubled).ap_r[4:]
    assert all(b <= a + 1e-12 or math.isnan(a) for a, b in zip(before, after, strict=True))


@settings(max_examples=30, deadline=None)
@given(judged(), st.randoms())
def test_the_order_of_the_photos_does_not_matter(photos: Photos, random: object) -> None:
    names = list(photos)
    random.shuffle(names)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(values(score(photos)), values(score({name: photos[name] for name in names})))


def test_equal_scores_are_ordered_by_photo_then_id() -> None:
    """A wrong person and a right one of the same score: the first in order decides the precision."""
    labels = np.array([[1, 1, 0, 0]], np.uint8)
    truth = PeopleTruth(labels, labels)
    right, wrong = cut_out(labels, 0.5), cut_out(labels[:, ::-1], 0.5)
    first = score({"a": (truth, PeopleResult(people=(right, wrong)))}, 2).at("ap_p", 0.5)
    second = score({"a": (truth, PeopleResult(people=(wrong, right)))}, 2).at("ap_p", 0.5)
    assert (first, second) == (1.0, 0.5)
    empty = PeopleTruth(np.zeros_like(labels), np.zeros_like(labels))
    photos = {"z": (truth, PeopleResult(people=(right,))), "a": (empty, PeopleResult(people=(wrong,)))}
    assert score(photos, 2).at("ap_p", 0.5) == 0.5  # photo a comes before photo z, added first or not


def test_one_prediction_takes_one_truth_below_one_half() -> None:
    """A part over two people's heads exceeds .3 with both and may take only one of them."""
    classes = np.ones((1, 4), np.uint8)
    truth = PeopleTruth(classes, np.array([[1, 1, 2, 2]], np.uint8))
    part = PartMap(np.ones((1, 4), np.int64), 0, 0, np.array([1]), np.array([0.9]))
    twice = part._replace(scores=np.array([0.8]))
    scores = score({"a": (truth, PeopleResult(parts=(part, twice)))}, 2)
    assert scores.ap_r[:5] == (1, 1, 1, 1, 0)
    assert scores.ap_r_pgn[:5] == (1, 1, 1, 1, 0)
    thrice = PeopleResult(parts=(part, twice, twice))
    assert score({"a": (truth, thrice)}, 2).ap_r_pgn[0] == 1.5  # more than all of them: PGN's convention


# ------------------------------------------------------------------------------------------------ edges


def test_empty_photos_and_nobody_predicted() -> None:
    nobody = PeopleTruth(np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8))
    nothing = PeopleResult(np.zeros((4, 5), np.uint8), (), ())
    scores = score({"a": (nobody, nothing)})
    assert np.isnan(values(scores)).all()
    somebody = PeopleTruth(np.ones((4, 5), np.uint8), np.ones((4, 5), np.uint8))
    scores = score({"a": (nobody, nothing), "b": (somebody, nothing)})
    assert (values(scores) == 0).all()
    spurious = replace(nothing, people=(cut_out(np.ones((4, 5), np.uint8), 0.9),))
    right = replace(nothing, people=(cut_out(np.ones((4, 5), np.uint8), 0.8),))
    assert score({"a": (nobody, spurious), "b": (somebody, right)}).at("ap_p", 0.5) == 0.5


def test_people_without_visible_parts_are_left_out() -> None:
    persons = np.array([[1, 1, 2, 2]], np.uint8)
    truth = PeopleTruth(np.array([[1, 2, 0, 0]], np.uint8), persons)
    scores = score({"a": (truth, perfect(truth))})
    assert scores.counts["people"] == 1
    assert scores.volume("pcp") == scores.volume("ap_p") == 1


def test_a_predicted_person_without_a_pixel_counts_as_a_prediction() -> None:
    labels = np.array([[1, 2, 3, 0, 0, 0, 0, 0]], np.uint8)
    truth = PeopleTruth(labels, (labels > 0).astype(np.uint8))
    nothing = cut_out(np.zeros_like(labels), 0.9)
    scores = score({"a": (truth, PeopleResult(people=(nothing, cut_out(labels, 0.8))))})
    assert scores.at("ap_p", 0.5) == 0.5


def test_three_hundred_parts() -> None:
    """More instances than an 8-bit map holds: 100 people of three parts each."""
    persons = np.repeat(np.arange(1, 101, dtype=np.uint8).reshape(10, 10), 3, 1)
    truth = PeopleTruth(np.tile(np.array([1, 2, 3], np.uint8), (10, 10)), persons)
    ids = (np.arange(300) + 1).reshape(10, 30)
    one = PartMap(ids, 0, 0, np.tile([1, 2, 3], 100), np.linspace(1, 0.1, 300))
    scores = score({"a": (truth, PeopleResult(parts=(one,)))})
    assert scores.counts["parts"] == 300
    assert scores.ap_r == (1.0,) * 9
    assert math.isnan(scores.at("ap_p", 0.5))


def test_maps_that_do_not_fit_are_refused(example: Photos) -> None:
    truth, _ = example["twelve"]
    meter = PeopleMeter(4)
    with pytest.raises(ValueError, match="leaves a photo"):
        meter.add("a", truth, PeopleResult(people=(PersonMap(np.ones((1, 5), np.uint8), 0, 9, 0.5),)))
    with pytest.raises(ValueError, match="ids below 4"):
        meter.add("b", truth, PeopleResult(people=(PersonMap(np.full((1, 5), 7, np.uint8), 0, 0, 0.5),)))
    one = PartMap(np.array([[2]]), 0, 3, np.array([1]), np.array([0.5]))
    with pytest.raises(ValueError, match="describes 1 parts"):
        meter.add("c", truth, PeopleResult(parts=(one,)))
    meter.add("d", truth, PeopleResult())
    with pytest.raises(ValueError, match="added before"):
        meter.add("d", truth, PeopleResult())


def test_average_precision_by_hand() -> None:
    assert average_precision(np.array([True, False, True]), 2) == pytest.approx(1 / 2 + 1 / 2 * 2 / 3)
    assert average_precision(np.zeros(0, bool), 3) == 0
    assert math.isnan(average_precision(np.zeros(2, bool), 0))
    assert len(THRESHOLDS) == 9


def test_cut_outs_go_back_where_they_were() -> None:
    labels = np.zeros((7, 9), np.uint8)
    labels[2:5, 3:6] = 3
    assert cut_out(labels).labels.shape == (3, 3)
    np.testing.assert_array_equal(whole_map(cut_out(labels), (7, 9)), labels)
    assert whole_map(cut_out(np.zeros((7, 9), np.uint8)), (7, 9)).max() == 0
