"""Image and masks stay together; the paper's augmentation as stated; fitting keeps shapes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from oshp_lite.data.transforms import (
    Recipe,
    Sample,
    augment,
    fit,
    fitting,
    mirrored,
    place,
    resize_labels,
    to_photo,
    to_tensors,
)


def sample(height: int, width: int, seed: int = 0) -> Sample:
    """A photo whose brightness tells its label: red = 20 * id, so that every pixel can be checked."""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(1, 9, (height // 8 + 1, width // 8 + 1)).astype(np.uint8)
    mask = np.kron(blocks, np.ones((8, 8), np.uint8))[:height, :width]
    image = np.stack([mask * 20, mask * 5, 255 - mask * 10], 2)
    return Sample(image, mask, (mask > 4).astype(np.uint8))


class Fixed:
    """A generator that answers with the given numbers, to look at single draws."""

    def __init__(self, flip: float, factors: list[float], offsets: list[int]) -> None:
        self.flip, self.factors, self.offsets = flip, list(factors), list(offsets)
        self.ranges: list[tuple[int, int]] = []

    def random(self) -> float:
        return self.flip

    def uniform(self, low: float, high: float) -> float:
        assert (low, high) == (0.5, 2.0)
        return self.factors.pop(0)

    def integers(self, low: int, high: int) -> int:
        self.ranges.append((low, high))
        return self.offsets.pop(0)


def read_of(native: Sample) -> Any:
    return lambda flip: mirrored(native) if flip else native


def test_the_paper_preset_scales_width_then_height_and_pads_right_and_bottom() -> None:
    native = sample(50, 41)
    rng: Any = Fixed(0.9, [0.5, 1.5], [])
    out = augment(read_of(native), Recipe("paper", (80, 64), 0, scale="independent"), rng)
    image = np.asarray(Image.fromarray(native.image).resize((20, 75), Image.Resampling.BILINEAR))
    mask = np.asarray(Image.fromarray(native.mask).resize((20, 75), Image.Resampling.NEAREST))
    assert np.array_equal(out.image[:75, :20], image)
    assert np.array_equal(out.mask[:75, :20], mask)
    assert out.image[75:].max() == out.image[:, 20:].max() == 0
    assert out.mask[75:].max() == out.mask[:, 20:].max() == 0
    assert out.foreground[75:].max() == 0


def test_the_paper_preset_crops_at_an_offset_drawn_with_both_ends() -> None:
    native = sample(50, 41)
    rng: Any = Fixed(0.1, [2.0, 1.9], [3, 7])
    out = augment(read_of(native), Recipe("paper", (64, 64), 0, scale="independent"), rng)
    turned = np.asarray(Image.fromarray(native.mask[:, ::-1]).resize((82, 95), Image.Resampling.NEAREST))
    assert np.array_equal(out.mask, turned[7 : 7 + 64, 3 : 3 + 64])
    assert rng.ranges == [(0, 82 - 64 + 1), (0, 95 - 64 + 1)]


def test_switches_of_the_paper_preset() -> None:
    native = sample(50, 41)
    joint: Any = Fixed(0.9, [0.5], [])
    out = augment(read_of(native), Recipe("paper", (64, 64), 255, scale="joint"), joint)
    assert (out.mask != 255).sum() == 25 * 20
    assert (out.foreground[25:] == 255).all()
    first: Any = Fixed(0.9, [0.5, 0.5], [])
    out = augment(read_of(native), Recipe("paper", (64, 64), 255, pre_resize=100, scale="independent"), first)
    assert (out.mask != 255).sum() == 50 * 50


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(20, 90),
    width=st.integers(20, 90),
    out_h=st.integers(16, 70),
    out_w=st.integers(16, 70),
    preset=st.sampled_from(["paper", "mild", "none"]),
    seed=st.integers(0, 10_000),
)
def test_masks_follow_their_image(height: int, width: int, out_h: int, out_w: int, preset: Any, seed: int) -> None:
    native = sample(height, width, seed)
    out = augment(read_of(native), Recipe(preset, (out_h, out_w)), np.random.default_rng(seed))
    assert out.image.shape == (out_h, out_w, 3)
    assert out.mask.shape == out.foreground.shape == (out_h, out_w)
    known = out.mask != 255
    assert np.array_equal(out.foreground[known], (out.mask[known] > 4).astype(np.uint8))
    assert (out.foreground[~known] == 255).all()
    assert (out.image[~known] == 0).all()
    assert set(np.unique(out.mask[known])) <= set(np.unique(native.mask))
    red = out.image[..., 0].astype(int)
    if known.sum() > 50:
        off = np.abs(red - 20 * out.mask.astype(int))[known]
        assert np.median(off) <= 40  # edges mix, the middle of a block does not


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 300), width=st.integers(1, 300), out=st.tuples(st.integers(16, 200), st.integers(16, 200)))
def test_fitting_keeps_the_shape_and_touches_two_sides(height: int, width: int, out: tuple[int, int]) -> None:
    (inner_h, inner_w), (top, left) = fitting((height, width), out)
    assert inner_h == out[0] or inner_w == out[1]
    assert 0 <= top <= (out[0] - inner_h) / 2
    assert 0 <= left <= (out[1] - inner_w) / 2
    if min(inner_h, inner_w) > 10:
        assert inner_h / inner_w == pytest.approx(height / width, rel=0.06)


def test_fit_of_the_right_size_changes_nothing() -> None:
    native = sample(40, 24)
    out = fit(native, (40, 24))
    assert np.array_equal(out.image, native.image)
    assert np.array_equal(out.mask, native.mask)


def test_jitter_moves_colours_but_no_labels_and_no_padding() -> None:
    native = sample(40, 20)
    plain = augment(read_of(native), Recipe("mild", (48, 48)), np.random.default_rng(1))
    bright = augment(read_of(native), Recipe("mild", (48, 48), jitter=0.3), np.random.default_rng(1))
    assert np.array_equal(plain.mask, bright.mask)
    assert not np.array_equal(plain.image, bright.image)
    assert bright.image[plain.mask == 255].max() == 0


def test_place_crops_and_pads_at_once() -> None:
    native = sample(20, 20)
    out = place(native, (20, 20), (16, 30), (-4, 5), 255)
    assert np.array_equal(out.mask[:, 5:25], native.mask[4:20])
    assert (out.mask[:, :5] == 255).all()
    away = place(native, (20, 20), (16, 16), (40, 0), 255)
    assert (away.mask == 255).all()


def test_tensors_are_in_minus_one_to_one_and_photos_come_back() -> None:
    native = sample(24, 16)
    for channels in ("rgb", "bgr"):
        image, mask, person = to_tensors(native, channels)  # type: ignore[arg-type]
        assert image.dtype == torch.float32
        assert mask.dtype == person.dtype == torch.int64
        assert -1 <= float(image.min()) < float(image.max()) <= 1
        assert np.array_equal(to_photo(image, channels), native.image)  # type: ignore[arg-type]
    red, _, _ = to_tensors(native, "rgb")
    blue, _, _ = to_tensors(native, "bgr")
    assert torch.equal(red[0], blue[2])
    exact = native.image[..., 0].astype(np.float64) * 2 / 255 - 1
    assert np.abs(red[0].numpy() - exact).max() < 1e-6


@settings(max_examples=30, deadline=None)
@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), out=st.tuples(st.integers(1, 60), st.integers(1, 60)))
def test_resize_labels_agrees_with_pillow_away_from_ties(shape: tuple[int, int], out: tuple[int, int]) -> None:
    labels = np.random.default_rng(0).integers(0, 255, shape).astype(np.uint8)
    expected = np.asarray(Image.fromarray(labels).resize((out[1], out[0]), Image.Resampling.NEAREST))
    resized = resize_labels(torch.from_numpy(labels), out).numpy()
    ties = [
        [(2 * i + 1) * inside % (2 * outer) == 0 for i in range(outer)]
        for inside, outer in zip(shape, out, strict=True)
    ]
    clear = ~(np.array(ties[0])[:, None] | np.array(ties[1])[None])
    assert np.array_equal(resized[clear], expected[clear])
