"""Figures of notebooks 03 and 04, and the people they show: what a reader relies on."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from oshp_lite.book import metric_charts as charts
from oshp_lite.book.maps import SIGNED, Panel, feature_space, module_rows, panel_grid
from oshp_lite.book.typical import FOLD, SHOWN, Person, as_seen, draw_person, street_pair, typical_pair
from oshp_lite.viz.style import fig_to_png

PHOTO = np.full((32, 24, 3), 120, np.uint8)
MAP = torch.linspace(-1, 1, 48).reshape(8, 6)


def titles(figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def test_zero_is_black_and_both_signs_grow_lighter() -> None:
    lightness = SIGNED(np.linspace(0, 1, 64))[:, :3] @ [0.299, 0.587, 0.114]
    assert lightness[31:33].max() < 0.05
    assert (np.diff(lightness[:32]) < 0.01).all()
    assert (np.diff(lightness[32:]) > -0.01).all()


def test_every_kind_of_map_has_its_own_bar_below_its_columns() -> None:
    outline = np.zeros((32, 24), bool)
    outline[5:20, 5:15] = True
    row = [Panel(PHOTO, "photo"), Panel(MAP, "cosines", "cosine", outline), Panel(MAP.abs(), "shares", "share")]
    figure = panel_grid([row, row[:2]])
    assert {"photo", "cosines", "shares"} <= set(titles(figure))
    assert [axes.get_xlabel() for axes in figure.axes if axes.get_xlabel()] == ["cosine", "probability"]
    assert fig_to_png(figure, dpi=50).startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="two kinds"):
        panel_grid([row, [row[0], row[2]]])


def test_the_same_value_has_the_same_colour_in_every_panel() -> None:
    figure = panel_grid([[Panel(PHOTO), Panel(MAP, "whole", "cosine"), Panel(MAP[:4], "part", "cosine")]])
    ranges = [axes.images[0].get_clim() for axes in figure.axes if axes.get_title(loc="left") in ("whole", "part")]
    assert ranges == [(-1.0, 1.0)] * 2


def test_module_rows_say_the_iou_of_the_most_probable_class() -> None:
    mask = torch.zeros(32, 24, dtype=torch.int64)
    mask[8:16] = 4
    perfect = torch.stack([(mask == 0).float(), (mask == 4).float()])
    rows = module_rows(
        Person(PHOTO, mask, mask), MAP[None], {"AGM": perfect, "NPM": perfect.flip(0)}, [4], [4], FOLD.space
    )
    assert [panel.title for panel in rows[0]] == ["upper-clothes", "cosine map", "AGM, IoU 1.00", "NPM, IoU 0.00"]


def test_the_feature_space_shows_people_but_no_scene() -> None:
    draw = torch.Generator().manual_seed(0)
    features = [torch.randn(6, 8, 6, generator=draw) for _ in range(2)]
    cells = [torch.zeros(8, 6, dtype=torch.int64) for _ in range(2)]
    cells[0][2:4], cells[1][5] = 4, 255
    figure = feature_space([PHOTO, PHOTO], features, cells, FOLD.space)
    assert [len(group.get_offsets()) for place in figure.axes for group in place.collections] == [12, 0]
    assert len(figure.axes) == 5


def test_charts_carry_their_labels() -> None:
    draw = torch.Generator().manual_seed(0)
    likeness = charts.likeness_chart(
        {"hat": torch.randn(3, 4, generator=draw), "hair": torch.randn(2, 4, generator=draw)}
    )
    assert [tick.get_text() for tick in likeness.axes[0].get_yticklabels()] == ["hat", "hair"]
    (memory,) = charts.memory_chart((0.5, 0.999)).axes
    assert [line.get_text() for line in memory.get_legend().get_texts()] == [
        "α = 0.5: below one half after 2",
        "α = 0.999: below one half after 693",
    ]
    (bars,) = charts.class_bars({"hat": 0.9, "skirt": 0.5, "background": 0.7}, ["skirt"], "cosine").axes
    assert [bar.get_hatch() for bar in bars.patches[:3]] == ["//", "xx", ""]
    moment = {"novel": 0.1, "human": 0.2, "missed": 0.3}
    course = charts.course_chart([{"beta": beta, "agm": moment, "npm": moment} for beta in (1.0, 0.5, 0.0)])
    assert titles(course)[0] == "novel mIoU, %"
    assert course.axes[0].lines[0].get_ydata()[0] == pytest.approx(10)
    (tracks,) = charts.track_chart({"static": [1, 2], "α = 0.9": [2, 1]}, across="photos", up="distance").axes
    (weights,) = charts.weights_chart([1.0, 0.5]).axes
    assert len(tracks.lines) == len(weights.lines) == 2


def test_people_are_drawn_large_and_read_small() -> None:
    person = draw_person(3)
    assert person.photo.shape == (SHOWN, SHOWN, 3)
    assert set(person.mask.unique().tolist()) <= set(FOLD.space.classes)
    seen = as_seen(person.photo)
    assert seen.shape == (3, 128, 128)
    assert -1 <= float(seen.min()) < float(seen.max()) <= 1
    support, query, space = street_pair("0702", "0717")
    assert support.photo.shape == (384, 384, 3) == query.photo.shape
    assert set(query.mask.unique().tolist()) <= set(space.classes)


def test_the_typical_pair_is_the_one_in_the_middle() -> None:
    """A made-up parser gets right as many rows of the novel class as the support's brightness says."""
    people = []
    for level in (10, 90, 170, 250):
        mask = torch.zeros(SHOWN, SHOWN, dtype=torch.int64)
        mask[:128] = 6
        mask[128:160] = 4
        people.append(Person(np.full((SHOWN, SHOWN, 3), level, np.uint8), mask, (mask > 0).long()))

    def predict(batch):
        rows = int((batch.support_image.mean() + 1) * 32)
        ids = torch.zeros(1, 128, 128, dtype=torch.int64)
        ids[:, :rows] = 6
        return SimpleNamespace(ids=ids)

    _, support = typical_pair(SimpleNamespace(predict=predict), people, FOLD, shared=2)
    assert support in (1, 2)
    with pytest.raises(ValueError, match="share 7 classes"):
        typical_pair(SimpleNamespace(predict=predict), people, FOLD)
