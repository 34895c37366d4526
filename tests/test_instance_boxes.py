"""Boxes, suppression, RoIAlign and pasting against float64 versions written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from oshp_lite.data.people import box_iou, crowdedness
from oshp_lite.models.instance.align import STRIDES, pool_all, pool_single, roi_align
from oshp_lite.models.instance.boxes import (
    MOST_GROWTH,
    WEIGHTS,
    clip,
    decode,
    encode,
    levels_of,
    make_anchors,
    overlaps,
    suppress,
)
from oshp_lite.models.instance.regions import paste


@st.composite
def boxes(draw: st.DrawFn, count: int | None = None, low: float = 0, high: float = 40) -> np.ndarray:
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(1, 12)) if count is None else count
    corners = rng.uniform(low, high, (n, 2))
    return np.concatenate([corners, corners + rng.uniform(0.5, 30, (n, 2))], 1)


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


# --------------------------------------------------------------------------------------------- coding, overlaps


@settings(max_examples=50, deadline=None)
@given(boxes(count=6), boxes(count=6))
def test_coding_is_undone_by_decoding(these: np.ndarray, those: np.ndarray) -> None:
    offsets = encode(torch.tensor(these), torch.tensor(those))
    centre, side = (these[:, :2] + these[:, 2:]) / 2, these[:, 2:] - these[:, :2]
    origin, unit = (those[:, :2] + those[:, 2:]) / 2, those[:, 2:] - those[:, :2]
    own = np.concatenate([(centre - origin) / unit, np.log(side / unit)], 1) * WEIGHTS
    np.testing.assert_allclose(offsets.numpy(), own, atol=1e-12)
    np.testing.assert_allclose(decode(offsets, torch.tensor(those)).numpy(), these, atol=1e-9)


def test_decoded_boxes_are_bounded() -> None:
    wild = torch.tensor([[0.0, 0.0, 1e9, 1e9]])
    box = decode(wild, torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    assert box[0, 2] - box[0, 0] == pytest.approx(16 * math.exp(MOST_GROWTH))


@settings(max_examples=50, deadline=None)
@given(boxes(), boxes())
def test_overlaps_by_counting_areas(these: np.ndarray, those: np.ndarray) -> None:
    own = np.zeros((len(these), len(those)))
    for i, a in enumerate(these):
        for j, b in enumerate(those):
            wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
            both = max(wide, 0) * max(high, 0)
            own[i, j] = both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)
    np.testing.assert_allclose(overlaps(torch.tensor(these), torch.tensor(those)).numpy(), own, atol=1e-12)
    np.testing.assert_allclose(box_iou(these, those), own, atol=1e-12)


def test_crowdedness_is_the_largest_overlap_with_another() -> None:
    people = np.array([[0, 0, 2, 2], [1, 0, 3, 2], [10, 10, 12, 12]], float)
    np.testing.assert_allclose(crowdedness(people), [1 / 3, 1 / 3, 0])
    np.testing.assert_allclose(crowdedness(people[:1]), [0])
    assert crowdedness(people[:0]).shape == (0,)


def test_clipping_leaves_a_box_outside_without_an_area() -> None:
    cut = clip(torch.tensor([[-5.0, 2.0, 4.0, 50.0], [30.0, 0.0, 40.0, 5.0]]), (20, 10))
    np.testing.assert_array_equal(cut.numpy(), [[0, 2, 4, 20], [10, 0, 10, 5]])


def test_anchors_sit_on_cell_centres() -> None:
    anchors = make_anchors((2, 3), 8, 16.0, (0.5, 1.0, 2.0), torch.zeros(0, dtype=torch.float64)).numpy()
    assert anchors.shape == (2 * 3 * 3, 4)
    sides = anchors[:, 2:] - anchors[:, :2]
    np.testing.assert_allclose(sides.prod(1), 256)
    np.testing.assert_allclose(sides[:3, 1] / sides[:3, 0], [0.5, 1, 2])
    centres = ((anchors[:, :2] + anchors[:, 2:]) / 2)[::3]
    np.testing.assert_allclose(centres, [[x, y] for y in (4, 12) for x in (4, 12, 20)])


def test_levels_follow_the_formula() -> None:
    sides = [20.0, 111.0, 113.0, 223.0, 225.0, 447.0, 449.0, 2000.0]
    squares = torch.tensor([[0, 0, side, side] for side in sides])
    expected = [min(3, max(0, math.floor(4 + math.log2(side / 224)) - 2)) for side in sides]
    assert levels_of(squares, 224.0).tolist() == expected == [0, 0, 1, 1, 2, 2, 3, 3]


# -------------------------------------------------------------------------------------------------- suppression


def suppressed(these: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    kept: list[int] = []
    for place in sorted(range(len(these)), key=lambda i: (-scores[i], i)):
        if all(box_iou(these[[place]], these[[other]])[0, 0] <= threshold for other in kept):
            kept.append(place)
    return kept


@settings(max_examples=60, deadline=None)
@given(boxes(), st.integers(0, 2**32), st.sampled_from([0.2, 0.5, 0.7]))
def test_suppression_by_definition(these: np.ndarray, seed: int, threshold: float) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, len(these)) / 4  # many are equal
    kept = suppress(torch.tensor(these), torch.tensor(scores), threshold)
    assert kept.tolist() == suppressed(these, scores, threshold)


def test_three_boxes_keep_drop_keep() -> None:
    three = torch.tensor([[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert suppress(three, scores, 0.5).tolist() == [0, 2]
    assert suppress(three, scores, 0.5, torch.tensor([0, 1, 0])).tolist() == [0, 1, 2]
    assert suppress(three[:0], scores[:0], 0.5).tolist() == []


# ----------------------------------------------------------------------------------------------------- RoIAlign


def aligned(features: np.ndarray, box: np.ndarray, size: int, stride: int, samples: int) -> np.ndarray:
    """The aligned definition, one reading after the other: half a cell is taken off, readings clamp to the border."""
    channels, height, width = features.shape
    left, top, right, bottom = box / stride - 0.5
    out = np.zeros((channels, size, size))
    for i in range(size):
        for j in range(size):
            for p in range(samples):
                for q in range(samples):
                    y = top + (bottom - top) / size * (i + (p + 0.5) / samples)
                    x = left + (right - left) / size * (j + (q + 0.5) / samples)
                    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
                    low, first = int(y), int(x)
                    high, last = min(low + 1, height - 1), min(first + 1, width - 1)
                    dy, dx = y - low, x - first
                    upper = features[:, low, first] * (1 - dx) + features[:, low, last] * dx
                    lower = features[:, high, first] * (1 - dx) + features[:, high, last] * dx
                    out[:, i, j] += (upper * (1 - dy) + lower * dy) / samples**2
    return out


@settings(max_examples=25, deadline=None)
@given(boxes(), st.sampled_from([1, 2, 3]), st.sampled_from([1, 4, 7]), st.integers(0, 2**32))
def test_roi_align_is_the_aligned_definition(these: np.ndarray, samples: int, size: int, seed: int) -> None:
    """Boxes that leave the 44 x 52 photo are clipped first, as the network does."""
    features = np.random.default_rng(seed).normal(size=(3, 11, 13))
    inside = clip(tensor(these), (44, 52))
    read = roi_align(tensor(features), inside, size, 4, samples).numpy()
    own = [aligned(features, box, size, 4, samples) for box in inside.double().numpy()]
    np.testing.assert_allclose(read, own, atol=1e-5)


def test_roi_align_equals_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops", exc_type=Exception)
    features, own = torch.randn(2, 3, 11, 13), torch.tensor([[1.0, 2.0, 30.0, 40.0], [0.0, 0.0, 52.0, 44.0]])
    theirs = ops.roi_align(features, [own, own], 7, 1 / 4, 2, aligned=True)
    mine = torch.cat([roi_align(one, own, 7, 4, 2) for one in features])
    torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=0)


def test_roi_align_reads_a_ramp_exactly() -> None:
    """Features that are the pixel's own x give each bin's centre."""
    ramp = ((torch.arange(16.0) + 0.5) * 4).expand(1, 16, 16).contiguous()
    bins = roi_align(ramp, torch.tensor([[10.0, 6.0, 38.0, 50.0]]), 7, 4, 2)[0, 0]
    torch.testing.assert_close(bins, (10 + (torch.arange(7.0) + 0.5) * 4).expand(7, 7), atol=1e-4, rtol=0)
    assert roi_align(ramp, torch.zeros(0, 4), 7, 4).shape == (0, 1, 7, 7)


def test_half_precision_reads_at_the_right_place() -> None:
    ramp = ((torch.arange(64.0) + 0.5) * 4).expand(1, 64, 64).contiguous()
    read = roi_align(ramp.bfloat16(), torch.tensor([[201.3, 100.0, 229.3, 128.0]]), 7, 4)[0, 0, 0]
    torch.testing.assert_close(read, 201.3 + (torch.arange(7.0) + 0.5) * 4, atol=1.0, rtol=0)


def test_boxes_are_pooled_from_the_level_of_their_size_and_in_order() -> None:
    levels = [torch.full((2, 1, 64 // stride, 64 // stride), float(stride)) for stride in STRIDES]
    own = [torch.tensor([[0.0, 0.0, 60.0, 60.0], [0.0, 0.0, 4.0, 4.0]]), torch.tensor([[0.0, 0.0, 15.0, 15.0]])]
    assert pool_single(levels, own, 2, 32.0, 1)[:, 0, 0, 0].tolist() == [16.0, 4.0, 4.0]
    assert [one[:, 0, 0, 0].tolist() for one in pool_all(levels, own, 2, 1)] == [[float(s)] * 3 for s in STRIDES]


# ------------------------------------------------------------------------------------------------------ pasting


def pasted(chances: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Labels of a whole photo by definition: every pixel centre inside the box reads the map bilinearly."""
    side = chances.shape[1]
    left, top, right, bottom = box
    labels = np.zeros(size, np.uint8)
    for row in range(size[0]):
        for column in range(size[1]):
            y, x = row + 0.5, column + 0.5
            if not (left <= x < right and top <= y < bottom):
                continue
            v = min(max((y - top) / (bottom - top) * side - 0.5, 0), side - 1)
            u = min(max((x - left) / (right - left) * side - 0.5, 0), side - 1)
            low, first = int(v), int(u)
            high, last = min(low + 1, side - 1), min(first + 1, side - 1)
            dv, du = v - low, u - first
            upper = chances[:, low, first] * (1 - du) + chances[:, low, last] * du
            lower = chances[:, high, first] * (1 - du) + chances[:, high, last] * du
            labels[row, column] = np.argmax(upper * (1 - dv) + lower * dv)
    return labels


@settings(max_examples=40, deadline=None)
@given(boxes(count=1, low=-20, high=30), st.integers(0, 2**32))
def test_pasting_by_definition(box: np.ndarray, seed: int) -> None:
    """Boxes may leave the photo of 20 x 25, or lie outside it."""
    chances = np.random.default_rng(seed).dirichlet(np.ones(4), (6, 6)).transpose(2, 0, 1)
    one = paste(torch.tensor(chances), box[0].tolist(), (20, 25), 0.5)
    labels = np.zeros((20, 25), np.uint8)
    labels[one.top : one.top + one.labels.shape[0], one.left : one.left + one.labels.shape[1]] = one.labels
    np.testing.assert_array_equal(labels, pasted(chances, box[0], (20, 25)))
    assert one.labels.size == 0 or one.chance.min() >= 1 / 4 - 1e-9


def test_a_square_of_labels_comes_back_as_itself() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (8, 8))
    one = paste(torch.tensor(np.eye(5)[labels].transpose(2, 0, 1)), (3, 2, 11, 10), (20, 20))
    assert (one.top, one.left) == (2, 3)
    np.testing.assert_array_equal(one.labels, labels)


def test_a_box_between_two_pixel_centres_pastes_nothing() -> None:
    assert paste(torch.ones(3, 4, 4), (3.6, 2.0, 4.4, 9.0), (20, 20)).labels.size == 0
