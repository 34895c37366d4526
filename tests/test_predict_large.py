"""Photos of up to 4,000 pixels: decided in bands, equal to the whole, in little memory."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_predict import network, wearing

from oshp_lite.assets import checkpoint
from oshp_lite.data.episode import Episode
from oshp_lite.engine.performance.clock import peak_memory
from oshp_lite.predict import ParseOptions, Parser, load_network, maps
from oshp_lite.predict.decide import decide, probabilities
from oshp_lite.predict.maps import Maps
from oshp_lite.predict.photos import Box
from oshp_lite.viz import overlay


def made_up(cells: tuple[int, int], size: tuple[int, int], box: Box, seed: int = 0) -> Maps:
    source = torch.Generator().manual_seed(seed)
    margins, coarse, rivals = (torch.randn(count, *cells, generator=source).double() for count in (3, 2, 1))
    return Maps(margins, coarse, rivals[0], size, box)


def whole(made: Maps, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Ids and probabilities with every map enlarged as a whole by torch, float64."""

    def seen(x: torch.Tensor) -> torch.Tensor:
        full = F.interpolate(x[None], size=made.size, mode="bilinear", align_corners=True)[0]
        return full[:, made.box[0] : made.box[1], made.box[2] : made.box[3]]  # type: ignore[index]

    def photo(x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]

    logits = seen(made.margins) - seen(made.rivals[None]).clamp(min=0)  # type: ignore[index]
    coarse = seen(made.coarse)  # type: ignore[arg-type]
    best, index = photo(logits).max(0)
    ids = (index + 1) * (best > 0) * (photo(coarse[1:] - coarse[:1])[0] > 0)
    chances = F.softmax(F.pad(logits, (0, 0, 0, 0, 1, 0)), 0)[1:] * F.softmax(coarse, 0)[1]
    return ids.numpy(), photo(chances).numpy()


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(2, 9), st.integers(2, 9)), st.tuples(st.integers(9, 40), st.integers(9, 40)),
    st.tuples(st.integers(5, 90), st.integers(5, 90)), st.integers(1, 2000), st.integers(0, 99),
)  # fmt: skip
def test_bands_add_up_to_the_whole(
    cells: tuple[int, int], size: tuple[int, int], photo: tuple[int, int], band: int, seed: int
) -> None:
    made = made_up(cells, size, Box(1, size[0] - 2, 2, size[1]), seed)
    before, maps.BAND = maps.BAND, band
    try:
        ids = decide(made, [1, 2, 3], photo, screening=True)
        chances = probabilities(made, [1, 2, 3], Box(0, photo[0], 0, photo[1]), photo, screening=True)
    finally:
        maps.BAND = before
    expected, likely = whole(made, photo)
    assert (ids != expected).sum() <= max(1, 0.001 * ids.size), "bands are enlarged in float32"
    np.testing.assert_allclose(chances, likely, atol=2e-3)
    assert np.array_equal(ids, decide(made, [1, 2, 3], photo, screening=True)), "however large a band is"


def test_logits_at_the_cells_are_the_networks_own() -> None:
    """EOP-Net's head stops at the feature cells; enlarged they are what the network itself gives."""
    people = wearing()
    options = ParseOptions(crop=False, mirror=False, pad=False, rest=False)
    parser = Parser(network(), options).support(*people[0][:2], foreground=people[0][2])
    head, view, photo = parser.head, parser.views[0], parser.views[0].picture.flip(-1)
    made = head(photo)
    assert made.margins.shape[-2:] == (photo.shape[-2] // 4, photo.shape[-1] // 4)
    plain = head.network.__class__.__mro__[0]  # the copy's own `_encode` is set aside
    encode = head.network._encode
    object.__setattr__(head.network, "_encode", plain._encode.__get__(head.network))
    mask = torch.where(view.marked == 1, head.slots[1], 0)
    parsing = head.network(Episode(photo, view.picture, mask, view.person).batched(), compute_agm=False)
    object.__setattr__(head.network, "_encode", encode)
    slot = head.slots[1]
    expected = (parsing.fine[:, slot] - parsing.fine[:, 0]).detach()
    torch.testing.assert_close(made.pixels().margins, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made.pixels().coarse, parsing.coarse[0].detach(), rtol=1e-4, atol=1e-4)


def test_an_overlay_in_bands_is_the_whole() -> None:
    source = np.random.default_rng(0)
    photo, mask = source.integers(0, 256, (600, 20, 3), np.uint8), source.integers(0, 3, (600, 20)).astype(np.uint8)
    palette = source.integers(0, 256, (256, 3), np.uint8)
    made = overlay(photo, mask, palette, edges=False)
    expected = np.where(mask[..., None] > 0, 0.4 * photo + 0.6 * palette[mask], photo)
    np.testing.assert_allclose(made, expected, atol=0.51)


HIGH, WIDE = 4000, 3000
BYTES, FIXED = 8, 100
"""The stated bound: bytes a pixel of the photo, and MiB beside that, over what the loaded parser holds."""


def large() -> Callable[[], object]:
    parser, people = Parser(load_network(checkpoint())), wearing(2)
    parser.support(*people[0][:2])
    parser.parse(people[1][0])
    places = (np.arange(HIGH) * 128 // HIGH)[:, None], (np.arange(WIDE) * 128 // WIDE)[None]
    photo = np.ascontiguousarray(people[1][0][places])

    def work() -> None:
        parsing = parser.parse(photo)
        assert parsing.mask.any()
        overlay(photo, parsing.mask, parsing.palette)

    return work


def test_a_photo_of_4000_pixels_stays_below_the_bound() -> None:
    added = peak_memory(large)
    assert added < FIXED + BYTES * HIGH * WIDE / 2**20, f"{added:.0f} MiB"


def test_confidence_looks_at_no_more_than_1024_pixels() -> None:
    made = made_up((64, 48), (2048, 1536), Box(0, 2048, 0, 1536))
    small = made.pixels(most=1024)
    assert small.margins.shape == (3, 1024, 768)
    full = F.interpolate(made.margins[None], size=(2048, 1536), mode="bilinear", align_corners=True)
    expected = F.interpolate(full, size=(1024, 768), mode="bilinear", align_corners=False)[0]
    assert float((small.margins - expected).abs().mean()) < 0.002


@pytest.mark.parametrize("size", [(40, 30), (7, 9)])
def test_a_map_of_pixels_is_read_as_it_is(size: tuple[int, int]) -> None:
    made = Maps(torch.rand(2, *size))
    assert made.pixels().margins is not None
    assert torch.equal(made.inside(Box(1, 5, 2, 6)).pixels().margins, made.margins[:, 1:5, 2:6])
