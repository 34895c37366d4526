"""Boxes of differences: on pixels where methods' errors differ, nowhere else, the largest difference first."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.study.figures.boxes import Box, difference_boxes, difference_map
from oshp_lite.study.figures.panels import apart

TRUTH = np.zeros((60, 40), np.uint8)
TRUTH[10:30, 5:20], TRUTH[35:55, 10:30] = 4, 6


@settings(deadline=None)  # SciPy is imported at the first call
@given(seed=st.integers(0, 10_000), methods=st.integers(2, 4), scale=st.integers(2, 8))
def test_boxes_lie_where_errors_differ(seed: int, methods: int, scale: int) -> None:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 4, (methods + 1, 6, 5))
    truth, *predictions = np.kron(coarse, np.ones((scale, scale), int))
    wrong = np.stack([mask != truth for mask in predictions]).astype(np.float64)
    np.testing.assert_allclose(difference_map(truth, predictions), wrong.var(0))
    boxes = difference_boxes(truth, predictions, most=3, margin=0)
    assert len(boxes) <= 3
    seen = np.zeros(truth.shape, int)
    for box in boxes:
        assert 0 <= box.top < box.bottom <= truth.shape[0]
        assert 0 <= box.left < box.right <= truth.shape[1]
        seen[box.top : box.bottom, box.left : box.right] += 1
        edges = wrong.var(0)[box.top : box.bottom, box.left : box.right] > 0
        assert all(edge.any() for edge in (edges[0], edges[-1], edges[:, 0], edges[:, -1])), "no wider than the region"
    assert seen.max(initial=0) <= 1, "no two boxes overlap"


def test_the_largest_difference_comes_first_and_seams_get_none() -> None:
    poor = TRUTH.copy()
    poor[36:46, 12:22] = 0  # 100 pixels of one part
    poor[12:18, 6:12] = 6  # 36 of another
    poor[:, 35] = 9  # a seam
    assert difference_boxes(TRUTH, [TRUTH, poor], most=1, margin=0) == [Box(36, 12, 46, 22)]
    assert difference_boxes(TRUTH, [TRUTH, poor], margin=2) == [Box(34, 10, 48, 24), Box(10, 4, 20, 14)]


def test_a_rim_around_the_person_is_cut_into_pieces() -> None:
    truth = np.zeros((120, 80), np.uint8)
    truth[20:110, 25:55] = 4
    rim = truth.copy()
    rim[10:120, 15:65] = 4  # the person is taken for wider than it is
    rim[60:80, 5:75] = 4
    boxes = difference_boxes(truth, [truth, rim], margin=0)
    assert len(boxes) == 2
    assert all((box.bottom - box.top) * (box.right - box.left) < 0.25 * truth.size for box in boxes)
    solid = truth.copy()
    solid[20:110, 25:55] = 0  # one thick part stays whole, however large
    assert difference_boxes(truth, [truth, solid], margin=0) == [Box(20, 25, 110, 55)]


def test_equal_errors_and_padding_get_none() -> None:
    poor, ignored = TRUTH.copy(), TRUTH.copy()
    poor[36:46, 12:22], ignored[36:46, 12:22] = 0, 255
    other = poor.copy()
    other[36:46, 12:22] = 9  # wrong too, in another way
    assert difference_boxes(TRUTH, [poor, other]) == []
    assert difference_boxes(TRUTH, [poor]) == []
    assert difference_boxes(ignored, [TRUTH, poor]) == []


@given(values=st.lists(st.floats(-50, 50), min_size=1, max_size=12), least=st.floats(0.1, 10))
def test_labels_keep_their_distance_and_their_mean(values: list[float], least: float) -> None:
    values = sorted(values)
    moved = apart(values, least)
    assert len(moved) == len(values)
    assert np.diff(moved).min(initial=np.inf) >= least - 1e-9
    np.testing.assert_allclose(np.mean(moved), np.mean(values), atol=1e-9)
    if np.diff(values).min(initial=np.inf) >= least:
        np.testing.assert_allclose(moved, values, atol=1e-9)
