"""Drawn objects, contact sheets and charts of notebooks 01 and 02."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from oshp_lite.book import challenges
from oshp_lite.book.charts import (
    Task,
    contact_sheet,
    fold_chart,
    many_colours,
    pair_chart,
    presence_chart,
    problem_comparison,
)
from oshp_lite.book.objects import OBJECTS, object_scene
from oshp_lite.book.scenes import in_person_frame, look_alikes, redrawn, shot
from oshp_lite.data.synthetic import generate
from oshp_lite.labels import fold, label_space
from oshp_lite.viz.images import Colours
from oshp_lite.viz.panels import class_matrix
from oshp_lite.viz.style import fig_to_png, new_figure

ATR = label_space("atr")


def words_of(figure: Figure) -> set[str]:
    """Every piece of text in a figure."""
    return {text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))}


def person(size: int = 48) -> tuple[np.ndarray, np.ndarray]:
    """A block figure: photo and mask of kept ids."""
    mask = np.zeros((size, size), np.uint8)
    mask[8:20, 18:30], mask[20:36, 16:32], mask[36:44, 16:32] = 4, 7, 9
    return np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8), mask


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_object_is_large_whole_and_the_same_each_time(kind):
    photo, mask = object_scene(kind, 0, 3, 64)
    again = object_scene(kind, 0, 3, 64)
    assert photo.shape == (64, 64, 3)
    assert photo.dtype == mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}
    assert 0.08 < mask.mean() < 0.4
    assert not mask[[0, -1]].any()
    assert not mask[:, [0, -1]].any()
    assert all(np.array_equal(a, b) for a, b in zip((photo, mask), again, strict=True))
    assert not np.array_equal(photo, object_scene(kind, 0, 4, 64)[0])


def test_an_unknown_object_is_refused():
    with pytest.raises(ValueError, match="unicorn"):
        object_scene("unicorn", 0, 0)


def test_the_comparison_shows_both_tasks_and_all_sizes():
    photo, mask = person()
    thing, shape = object_scene("mug", 0, 0, 48)
    figure = problem_comparison(
        Task(photo, mask, photo, mask),
        Task(thing, shape, thing, shape),
        {"dress": 8.0, "hat": 0.5, "object: mug": 20.0},
        [("a dress", photo, mask), ("a skirt", photo, mask)],
        space=ATR,
        object_colours=Colours(ATR.class_palette, {1: "mug"}),
    )
    assert {"hat", "object: mug", "a dress", "a skirt", "shoes"} <= words_of(figure)
    assert fig_to_png(figure).startswith(b"\x89PNG")


def test_the_matrix_carries_its_numbers():
    figure, axes = new_figure()
    class_matrix(np.array([[1.0, 0.5], [0.5, 1.0]]), ["hat", "hair"], "overlap", axes=axes[0, 0])
    assert {"1.0", ".5", "hat", "hair"} <= words_of(figure)


def test_a_sheet_shows_every_photo_with_its_mask():
    photo, mask = person()
    figure = contact_sheet([photo] * 5, [mask] * 5, ATR, columns=3)
    assert sum(len(axes.images) for axes in figure.axes) == 10
    assert {"dress", "shoes"} <= words_of(figure)


def test_neighbouring_ids_get_different_colours():
    painted = many_colours(np.arange(80).reshape(8, 10)).reshape(-1, 3).astype(int)
    apart = np.abs(painted[1:] - painted[:-1]).sum(1)
    assert apart.min() > 60
    assert len(np.unique(painted, axis=0)) == 80


def test_the_fold_chart_marks_exactly_the_novel_classes():
    folds = [fold("atr", 1), fold("lip", 2)]
    figure = fold_chart(folds, ["one", "two"])
    letters = [text.get_text() for text in figure.axes[0].texts]
    assert letters == ["N"] * sum(len(chosen.novel) for chosen in folds)


def test_the_pair_chart_has_a_row_a_class_and_counts_photos():
    pairs = [(0, 5, 1), (0, 6, 1), (1, 7, 7)]
    figure = pair_chart(pairs, {1: "hat", 7: "dress"})
    drawn = [[list(line.get_xdata()) for line in axes.lines] for axes in figure.axes]
    assert drawn == [[[0], [1]], [[5, 6], [7]]]
    assert {"hat", "dress", "2 query photos", "3 support photos"} <= words_of(figure)


def test_the_presence_chart_sorts_and_leaves_unknown_classes_without_a_dot():
    figure = presence_chart({"hat": 0.2, "face": 1.0, "bag": 0.5}, {"hat": 0.25, "face": 0.9}, ("drawn", "real"))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [20, 50, 100]
    np.testing.assert_allclose(figure.axes[0].lines[0].get_xdata(), [25, np.nan, 90])
    assert {"drawn", "real"} <= words_of(figure)


def test_a_scene_is_drawn_again_larger_as_the_same_person(tmp_path):
    people = generate("synth-atr", tmp_path / "set", 8, 8, 64, seed=3, progress=False)
    for stem in ("train_000002", "test_000001"):
        mask, large = people.space.merge(people.mask(stem)), redrawn(people, stem, 128)
        assert large.image.shape == (128, 128, 3)
        assert np.array_equal(redrawn(people, stem, 64).mask, mask)
        agree = np.repeat(np.repeat(mask, 2, 0), 2, 1) == large.mask
        assert agree.mean() > 0.97


def test_people_are_brought_to_one_frame():
    small, large = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    small[4:12, 2:6], large[8:40, 20:36] = 1, 1
    small[4:8, 2:6], large[8:24, 20:36] = 2, 2
    framed = in_person_frame(np.stack([small, large]), (np.stack([small, large]) > 0).astype(np.uint8), 8, 4)
    assert np.array_equal(framed[0], framed[1])
    assert (framed[0][:4] == 2).all()
    assert (framed[0][4:] == 1).all()


def test_look_alikes_are_a_dress_and_two_pieces_of_one_colour():
    top, skirt, dress = (ATR.id_of(name) for name in ("upper-clothes", "skirt", "dress"))
    masks = np.full((5, 8, 4), dress, np.uint8)
    masks[2:, :4], masks[2:, 4:] = top, skirt
    photos = np.stack([np.full((8, 4, 3), shade, np.uint8) for shade in (10, 200, 90, 195, 12)])
    assert look_alikes(photos, masks, np.ones(5, bool), ATR) == (0, 4)
    assert look_alikes(photos, masks, np.array([True, True, True, True, False]), ATR) == (1, 3)


def test_the_charts_of_the_three_challenges_carry_their_numbers():
    sizes = challenges.size_chart({"hat": np.array([0, 7, 9]), "person": np.array([150, 176, 200])})
    assert {"hat", "person", "7", "176"} <= words_of(sizes)
    chosen = fold("atr", 1)
    shares = {name: dict.fromkeys(chosen.foreground, 50.0) for name in ("hidden", "labelled", "coarse")}
    bars = challenges.bias_chart(shares, chosen, title="denied")
    assert {"novel", "base", "hidden", "coarse", "denied", "skirt"} <= words_of(bars)
    assert len(bars.axes[0].patches) == 1 + 3 * len(chosen.foreground)
    table = np.array([[1.0, 0.62, -0.4], [0.62, 1.0, 0.3], [-0.4, 0.3, 1.0]])
    maps = challenges.similarity_maps({"place": table, "features": table}, ["hat", "hair", "bag"])
    written = [text.get_text() for text in maps.axes[0].texts if text.get_text()]
    assert written == ["0.6", "0.6", "0.3"]  # each row's nearest neighbour
    assert len(maps.axes) == 3  # two tables and one colour bar


def test_the_bias_is_drawn_with_four_panels_a_photo():
    drawn = shot(0, 64)
    row = (drawn.image, drawn.mask, drawn.mask, drawn.mask[::2, ::2], drawn.person[::2, ::2])
    figure = challenges.bias_photos([row, row], ATR)
    assert sum(len(axes.images) for axes in figure.axes) == 8
    assert {"labels in training", "coarse prediction"} <= words_of(figure)


def test_mean_shapes_share_one_colour_bar():
    figure = challenges.shape_maps(np.random.default_rng(0).random((3, 8, 4)), ["hat", "hair", "bag"])
    assert len(figure.axes) == 4
    assert {image.get_clim() for axes in figure.axes[:3] for image in axes.images} == {(0.0, 1.0)}
