"""Overlays, heat maps, panels and PNG bytes: what a reader of a figure relies on."""

from __future__ import annotations

import io
import sys

import matplotlib
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from oshp_lite import viz
from oshp_lite.labels import label_space
from oshp_lite.viz.style import with_palette

SPACE = label_space("atr")


@pytest.fixture
def photo():
    return np.random.default_rng(0).integers(0, 256, (24, 16, 3), dtype=np.uint8)


@pytest.fixture
def mask():
    ids = np.zeros((24, 16), dtype=np.uint8)
    ids[4:12, 4:12] = 4
    ids[12:20, 4:12] = 6
    ids[20:22, 4:12] = 9
    return ids


def test_a_photo_survives_the_way_through_a_tensor(photo):
    tensor = torch.from_numpy(photo).permute(2, 0, 1).float() / 127.5 - 1
    assert np.array_equal(viz.to_rgb(tensor), photo)
    assert np.array_equal(viz.to_rgb(tensor.flip(0), channels="bgr"), photo)
    assert np.array_equal(viz.to_rgb(photo), photo)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((3, 4, 4), np.uint8)])
def test_other_shapes_of_photo_are_refused(bad):
    with pytest.raises(ValueError, match="a photo is"):
        viz.to_rgb(bad)


def test_unknown_channel_order_is_refused(photo):
    with pytest.raises(ValueError, match="channels"):
        viz.to_rgb(photo, channels="gbr")


def test_overlay_leaves_the_background_alone_and_blends_the_rest(photo, mask):
    laid = viz.overlay(photo, mask, SPACE, alpha=0.5, edges=False)
    assert np.array_equal(laid[mask == 0], photo[mask == 0])
    wanted = (photo[5, 5].astype(float) + SPACE.class_palette[4]) / 2
    assert np.abs(laid[5, 5] - wanted).max() <= 0.5


@given(alpha=st.floats(0, 1), edges=st.booleans())
def test_overlay_is_a_photo_of_the_same_size(alpha, edges):
    image = np.full((6, 5, 3), 90, dtype=np.uint8)
    ids = np.arange(30, dtype=np.int64).reshape(6, 5) % 3
    laid = viz.overlay(image, torch.from_numpy(ids), SPACE, alpha, edges=edges)
    assert laid.shape == image.shape
    assert laid.dtype == np.uint8


def test_overlay_draws_a_dark_line_between_parts(photo, mask):
    plain = viz.overlay(photo, mask, SPACE, edges=False).astype(int)
    lined = viz.overlay(photo, mask, SPACE).astype(int)
    border = viz.outlines(mask)
    assert (lined[border] <= plain[border]).all()
    assert np.array_equal(lined[~border], plain[~border])


def test_overlay_refuses_sizes_that_differ_and_a_wrong_alpha(photo, mask):
    with pytest.raises(ValueError, match="differ in size"):
        viz.overlay(photo, mask[:10], SPACE)
    with pytest.raises(ValueError, match="alpha"):
        viz.overlay(photo, mask, SPACE, alpha=1.5)


def test_masks_are_painted_in_kept_or_raw_colours(mask):
    assert np.array_equal(viz.mask_to_rgb(mask, SPACE), SPACE.class_palette[mask])
    assert np.array_equal(viz.mask_to_rgb(mask, viz.raw(SPACE)), SPACE.palette[mask])
    with pytest.raises(ValueError, match=r"\[H,W\]"):
        viz.mask_to_rgb(mask[None], SPACE)
    with pytest.raises(ValueError, match="palette"):
        viz.palette_of(np.zeros((3, 3)))


def test_names_follow_the_merge():
    assert viz.name_of(SPACE, 9) == "shoes"
    assert viz.name_of(viz.raw(SPACE), 9) == SPACE.names[9] != "shoes"
    assert viz.name_of(viz.kept(SPACE), 9) == "shoes"


def test_enlarging_keeps_ids():
    small = np.array([[0, 7], [9, 255]], dtype=np.uint8)
    large = viz.enlarge(small, (6, 4))
    assert large.dtype == np.uint8
    assert (large[:3, :2] == 0).all()
    assert (large[3:, 2:] == 255).all()


def test_heat_is_brightest_where_the_map_is_highest(photo):
    grey = np.full_like(photo, 128)
    heat = torch.zeros(6, 4)
    heat[2, 1] = 1.0
    drawn = viz.heat_on_photo(grey, heat).astype(int).sum(2)
    assert drawn[8:12, 4:8].min() > drawn[0, 0]
    flat = viz.heat_on_photo(grey, torch.zeros(6, 4))
    assert (flat == flat[0, 0]).all()


def test_a_grey_photo_keeps_the_order_of_lightness_and_can_be_faded(photo):
    lightness = photo.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    plain, faded = viz.grey(photo), viz.grey(photo, 0.5)
    assert (plain == plain[:, :, :1]).all()
    assert np.abs(plain[:, :, 0] - lightness).max() <= 0.5
    assert np.abs(faded[:, :, 0] - (lightness + 255) / 2).max() <= 0.5
    assert (viz.grey(photo, 1.0) == 255).all()
    assert np.array_equal(viz.grey(photo[:, :, ::-1], channels="bgr"), plain)
    with pytest.raises(ValueError, match="white"):
        viz.grey(photo, 1.5)


def test_the_colour_maps_grow_lighter_step_by_step():
    for name in ("magma", "viridis"):
        grey = matplotlib.colormaps[name](np.linspace(0, 1, 32))[:, :3] @ [0.299, 0.587, 0.114]
        assert (np.diff(grey) > 0).all()


def test_line_colours_differ_in_lightness():
    grey = sorted(np.dot([int(ink[i : i + 2], 16) for i in (1, 3, 5)], [0.299, 0.587, 0.114]) for ink in viz.INK)
    assert min(np.diff(grey)) > 10


def test_png_bytes_are_a_picture_of_the_figures_size(photo):
    figure, axes = viz.new_figure(width=2, height=1.5)
    viz.show_image(axes[0, 0], photo, "a photo")
    with Image.open(io.BytesIO(viz.fig_to_png(figure, dpi=50))) as picture:
        assert picture.size == (100, 75)
        assert picture.mode == "P"
    with Image.open(io.BytesIO(viz.fig_to_png(figure, dpi=50, colours=None))) as picture:
        assert picture.mode == "RGB"


@pytest.mark.parametrize("colours", [2, 16, 256])
@pytest.mark.parametrize("own", [2, 16, 5000])
def test_a_palette_keeps_few_colours_and_the_most_frequent_ones_exactly(own: int, colours: int):
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 256, (own, 3), dtype=np.uint8)
    pixels = shades[rng.integers(0, own, (90, 120))]
    pixels[:60] = (255, 255, 255)
    reduced = np.asarray(with_palette(Image.fromarray(pixels), colours).convert("RGB"))
    assert (reduced[:60] == 255).all(), "the page stays white"
    assert len(np.unique(reduced.reshape(-1, 3), axis=0)) <= colours
    if own < colours:
        assert (reduced == pixels).all()
    elif colours == 256:
        assert np.abs(reduced.astype(int) - pixels).max(-1).mean() < 12


def test_one_layout_serves_all_formats_and_is_the_one_that_savefig_computes(photo):
    def drawn() -> tuple[Figure, io.BytesIO]:
        figure, axes = viz.new_figure(1, 2)
        viz.show_image(axes[0, 0], photo, "a photo")
        axes[0, 1].set(xlabel="step", ylabel="loss", title="losses")
        return figure, io.BytesIO()

    plain, expected = drawn()
    plain.savefig(expected, format="png", dpi=60)
    figure, made = drawn()
    engine, before = figure.get_layout_engine(), figure.dpi
    with viz.laid_out(figure, 60):
        places = [axes.get_position().bounds for axes in figure.axes]
        figure.savefig(io.BytesIO(), format="svg")
        figure.savefig(made, format="png", dpi=60)
        assert [axes.get_position().bounds for axes in figure.axes] == places
    assert made.getvalue() == expected.getvalue()
    assert (figure.get_layout_engine(), figure.dpi) == (engine, before)


def test_figures_need_no_pyplot_and_leave_the_settings_alone(photo, mask):
    before = dict(matplotlib.rcParams)
    loaded = "matplotlib.pyplot" in sys.modules
    figure = viz.episode_figure(photo, mask, photo, mask, mask, space=SPACE, named=True)
    assert isinstance(figure, Figure)
    viz.fig_to_png(figure)
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert dict(matplotlib.rcParams) == before


def test_an_episode_figure_has_a_panel_for_what_is_known(photo, mask):
    titles = lambda figure: [axes.get_title(loc="left") for axes in figure.axes]  # noqa: E731
    bare = viz.episode_figure(photo, mask, photo, space=SPACE)
    assert titles(bare) == ["support photo", "support mask", "query photo"]
    full = viz.episode_figure(photo, mask, photo, mask, mask, space=SPACE)
    assert len(full.axes) == 5
    words = [text.get_text() for text in full.legends[0].get_texts()]
    assert words == ["upper-clothes", "pants", "shoes"]


def test_ids_in_leaves_out_background_and_ignore():
    assert viz.ids_in(np.array([[0, 255, 3]]), None, torch.tensor([[5]])) == [3, 5]


def test_a_legend_and_a_grid_show_what_they_are_given(photo):
    assert [patch.get_label() for patch in viz.legend_handles(SPACE, SPACE.classes)] == list(SPACE.class_names)
    grid = viz.photo_grid([photo] * 5, titles=list("abcde"), columns=3)
    assert len(grid.axes) == 6
    assert sum(bool(axes.images) for axes in grid.axes) == 5


def test_panels_whose_colours_differ_have_a_legend_each(photo):
    figure, axes = viz.new_figure(1, 2)
    for place, ids in zip(axes[0], ([1], [4, 9]), strict=True):
        viz.show_image(place, photo)
        viz.legend_below(place, SPACE, ids)
    legends = [[text.get_text() for text in place.get_legend().get_texts()] for place in axes[0]]
    assert legends == [["hat"], ["upper-clothes", "shoes"]]
    figure.canvas.draw()
    for place in axes[0]:
        assert place.get_legend().get_window_extent().y1 <= place.get_window_extent().y0 + 1


def test_a_picture_shows_itself_and_says_what_it_is():
    figure, _ = viz.new_figure()
    shown = viz.Picture(viz.fig_to_png(figure), "an empty plot")
    assert shown._repr_png_().startswith(b"\x89PNG")
    assert shown._repr_jpeg_() is None
    assert repr(shown) == "<an empty plot>"


def test_a_photo_is_shown_as_jpeg_at_the_page_s_width(photo):
    figure, axes = viz.new_figure(width=2, height=1.5)
    assert viz.picture_of(figure)._repr_jpeg_() is None
    viz.show_image(axes[0, 0], photo[:, :, 0], "a map")
    assert viz.picture_of(figure)._repr_jpeg_() is None
    viz.show_image(axes[0, 0], photo, "a photo")
    shown = viz.picture_of(figure)
    assert shown._repr_png_() is None
    data, page = shown._repr_jpeg_()
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (300, 225))
    assert page == {"width": 200}


def test_names_stand_beside_the_panel_and_apart():
    mask = np.zeros((60, 40), np.uint8)
    for row, class_id in enumerate((1, 2, 4, 5, 6, 9)):
        mask[10 + 3 * row : 13 + 3 * row, 10:30] = class_id
    _figure, axes = viz.new_figure(width=2, height=2)
    viz.show_image(axes[0, 0], SPACE.class_palette[mask])
    viz.name_beside(axes[0, 0], mask, SPACE)
    notes = axes[0, 0].texts
    assert [note.get_text() for note in notes] == [SPACE.class_name(c) for c in (1, 2, 4, 5, 6, 9)]
    assert min(np.diff([note.xyann[1] for note in notes])) > 4
    assert all(note.xyann[0] > 40 for note in notes)
