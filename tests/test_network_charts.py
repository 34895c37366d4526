"""The figures of notebooks 05 and 06, the people in them, and what a cut stage is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from oshp_lite.assets import photos
from oshp_lite.book import network_charts as charts
from oshp_lite.book.lessons import stages
from oshp_lite.book.people import drawn_episode, real_episode, shot_of, typical_pair
from oshp_lite.data.synthetic import scene
from oshp_lite.labels import label_space
from oshp_lite.models.base import Prediction
from oshp_lite.viz import kept

SPACE = label_space("atr")
PHOTO = np.full((40, 30, 3), 128, np.uint8)


def test_colours_that_several_columns_share_are_explained_once() -> None:
    classes, areas = kept(SPACE), charts.area_colours(["head", "legs"])
    mask, area = np.zeros((40, 30), np.uint8), np.zeros((40, 30), np.uint8)
    mask[:9], mask[9:20], area[:9] = 2, 6, 1
    steps = charts.Step("truth", PHOTO, mask, classes), charts.Step("area", PHOTO, area, areas)
    figure = charts.steps_figure([[charts.Step("photo", PHOTO), *steps, charts.Step("parse", PHOTO, mask, classes)]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["hair", "pants"]
    assert [axes.get_legend() is not None for axes in figure.axes] == [False, False, True, False]
    assert [text.get_text() for text in figure.axes[2].get_legend().get_texts()] == ["head"]


def test_a_box_marks_where_a_prediction_changes_most() -> None:
    first = np.zeros((40, 40), np.uint8)
    second = first.copy()
    second[20:28, 24:32] = 4
    figure = charts.predictions(np.zeros((40, 40, 3), np.uint8), {"a": first, "b": second, "c": second}, kept(SPACE))
    assert [len(axes.patches) for axes in figure.axes] == [0, 2, 0]
    left, top, right, bottom = figure.axes[1].patches[0].get_bbox().extents
    assert left <= 24 < 32 <= right
    assert top <= 20 < 28 <= bottom


def test_zero_is_neutral_in_maps_of_cosines() -> None:
    figure = charts.cosine_panels(PHOTO, [np.linspace(-0.2, 0.9, 12).reshape(3, 4)], ["hat"])
    image = figure.axes[1].images[0]
    assert image.get_clim() == (-1, 1)
    light = [sum(image.cmap(image.norm(value))[:3]) for value in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    assert light[0] > light[1] > light[2] < light[3] < light[4]


def test_a_drawn_episode_holds_two_different_people_in_one_range() -> None:
    episode = drawn_episode(1, 2, 64)
    assert episode.query_image.shape == (3, 64, 64)
    assert -1 <= float(episode.query_image.min()) < float(episode.query_image.max()) <= 1
    drawn = scene("synth-atr", 1000, 2, 64).mask("atr")
    assert np.array_equal(episode.support_mask.numpy(), SPACE.merge(drawn))
    assert not torch.equal(episode.query_image, episode.support_image)


def test_a_real_episode_keeps_the_photo_s_shape_and_ids() -> None:
    name, other = photos.names()[:2]
    episode = real_episode(name, other, 96)
    height, width = photos.mask(name).shape
    assert episode.query_image.shape == (3, 96, round(96 * width / height))
    assert set(episode.query_mask.unique().tolist()) <= set(np.unique(photos.mask(name)).tolist())
    assert torch.equal(episode.query_foreground, (episode.query_mask > 0).long())


def test_the_typical_pair_is_the_median_and_shares_a_novel_class() -> None:
    class Copies:
        """A parser that lays the support's mask on the query: some pairs come out better than others."""

        def predict(self, batch: object) -> Prediction:
            return Prediction(ids=batch.support_mask)  # type: ignore[attr-defined]

    novel = [SPACE.id_of(name) for name in ("skirt", "pants", "dress")]
    query, support, scores = typical_pair(Copies(), novel, 5)
    worn = [set(shot_of(index, 128)[1].unique().tolist()) & set(novel) for index in (query, support)]
    assert worn[0] & worn[1]
    assert len(scores) == 5
    assert all(0 <= score <= 1 for score in scores)
    again = typical_pair(Copies(), novel, 1)
    assert again[2] == scores[:1]


@pytest.mark.parametrize("place", [2, 3])
def test_a_cut_takes_the_coarser_features_away_and_gives_them_back(place: int) -> None:
    class Sum(nn.Module):
        def forward(self, coarser: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
            return coarser + own

    network = SimpleNamespace(stages=[None, *(SimpleNamespace(infusion=Sum()) for _ in range(2))], _cache="held")
    one, two = torch.ones(2), torch.full((2,), 2.0)
    with stages.cut(network, place):  # type: ignore[arg-type]
        sums = [float(stage.infusion(one, two)[0]) for stage in network.stages[1:]]
        assert network._cache is None
    assert sums == [2.0 if stage == place else 3.0 for stage in (2, 3)]
    assert float(network.stages[place - 1].infusion(one, two)[0]) == 3.0
    assert network._cache == "held"
