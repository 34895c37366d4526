"""Drawn objects, contact sheets and charts of notebooks 01 and 02."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from oshp_lite.book.charts import (
    Task,
    class_matrix,
    contact_sheet,
    fold_chart,
    many_colours,
    pair_chart,
    problem_comparison,
)
from oshp_lite.book.objects import OBJECTS, object_scene
from oshp_lite.labels import fold, label_space
from oshp_lite.viz.images import Colours
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


def test_the_pair_chart_draws_every_class():
    pairs = [(0, 5, 1), (0, 6, 1), (1, 7, 7)]
    figure = pair_chart(pairs, {1: "hat", 7: "dress"}, title="pairs")
    assert sum(len(points.get_offsets()) for points in figure.axes[0].collections) == 3
    assert {"hat", "dress", "pairs"} <= words_of(figure)
