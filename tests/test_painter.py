"""The painter in layers: strokes and canvases, the state without a widget, and the view without a browser."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from PIL import Image

from oshp_lite import assets
from oshp_lite.book.widgets.painter import KINDS, MOST, Canvas, PaintState, Stroke, along, inside_polygon, load_photo
from oshp_lite.data.synthetic import scene
from oshp_lite.errors import UserError
from oshp_lite.files import encode_jpeg, read_mask
from oshp_lite.labels import label_space
from oshp_lite.predict import load_network

# no coordinate lies on a pixel's centre, where a rule would have to decide
coordinates = st.integers(-40, 340).map(lambda value: value / 10 + 0.03)
polygons = st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=3).map(np.array)


def centres(size: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return np.stack([x.ravel(), y.ravel()], 1)


@settings(max_examples=100, deadline=None)
@given(points=polygons)
def test_a_polygon_holds_the_pixels_whose_centres_it_holds(points: np.ndarray) -> None:
    size = (24, 30)
    edges = np.roll(points, -1, 0) - points
    to = centres(size)[:, None] - points[None]
    sides = np.sign(edges[None, :, 0] * to[..., 1] - edges[None, :, 1] * to[..., 0])
    wanted = (np.abs(sides.sum(1)) == 3).reshape(size)
    on_edge = (sides == 0).any(1).reshape(size)
    assert np.array_equal(inside_polygon(points, size)[~on_edge], wanted[~on_edge])


def test_a_bent_outline_is_that_of_matplotlib() -> None:
    angle = np.linspace(0, 2 * np.pi, 23)[:-1]
    radius = np.where(np.arange(22) % 2, 5.3, 11.7)
    points = np.stack([15.2 + radius * np.cos(angle), 12.1 + radius * np.sin(angle)], 1)
    wanted = Outline(points).contains_points(centres((24, 30))).reshape(24, 30)
    assert np.array_equal(inside_polygon(points, (24, 30)), wanted)


def test_a_brush_covers_what_is_near_its_line() -> None:
    points, radius, size = np.array([[5.0, 5.0], [20.0, 8.0], [20.0, 8.0], [12.0, 21.0]]), 2.7, (24, 30)
    steps = np.concatenate([a + np.linspace(0, 1, 400)[:, None] * (b - a) for a, b in pairwise(points)])
    gap = np.sqrt(((centres(size)[:, None] - steps[None]) ** 2).sum(2)).min(1).reshape(size)
    made = along(points, radius, size)
    clear = np.abs(gap - radius) > 0.01
    assert np.array_equal(made[clear], (gap <= radius)[clear])
    assert along(np.array([[3.5, 3.5]]), 1.2, size).sum() == 5


def stroke(kind: str, class_id: int, *points: tuple[float, float], radius: float = 3.0) -> Stroke:
    numbers = [1.0, KINDS.index(kind), class_id, radius, *(value for point in points for value in point)]
    return Stroke.from_bytes(np.array(numbers, "<f4").tobytes())


def test_strokes_lie_in_order_and_are_taken_back() -> None:
    canvas = Canvas(np.zeros((20, 20, 3), np.uint8))
    square = ((2.2, 2.2), (15.2, 2.2), (15.2, 15.2), (2.2, 15.2))
    canvas.strokes.append(stroke("polygon", 1, *square))
    first = canvas.mask
    canvas.strokes.append(stroke("brush", 2, (8, 8)))
    canvas.strokes.append(stroke("erase", 2, (3, 3)))
    assert set(np.unique(canvas.mask)) == {0, 1, 2}
    assert canvas.mask[3, 3] == 0
    canvas.undo()
    canvas.undo()
    assert np.array_equal(canvas.mask, first)
    canvas.undo()
    canvas.undo()
    assert not canvas.mask.any()


@pytest.mark.parametrize("numbers", [[], [1, 0, 1, 3], [1, 0, 1, 3, 2], [1, 9, 1, 3, 2, 2], [1, 0, 1, 3, np.nan, 2]])
def test_what_is_no_stroke_is_refused(numbers: list[float]) -> None:
    with pytest.raises(ValueError, match="do not make a stroke"):
        Stroke.from_bytes(np.array(numbers, "<f4").tobytes())


@cache
def people() -> list[tuple[np.ndarray, np.ndarray]]:
    space, made = label_space("atr"), []
    for index in range(8):
        drawn = scene("synth-atr", 5, index, 128)
        mask = np.isin(drawn.mask("atr"), [space.id_of("upper-clothes"), space.id_of("dress")])
        made.append((drawn.image.copy(), mask.astype(np.uint8)))
    return [pair for pair in made if pair[1].mean() > 0.05]


@pytest.fixture
def state() -> PaintState:
    photos = people()
    made = PaintState(
        load_network(assets.checkpoint()), Canvas(photos[0][0]), [Canvas(p) for p, _ in photos[1:3]], ["top"]
    )
    made.parse()
    return made


def paint_top(state: PaintState) -> None:
    """One polygon around the top: the box of its mask."""
    rows, columns = np.nonzero(people()[0][1])
    left, right, top, bottom = columns.min() + 0.2, columns.max() + 0.8, rows.min() + 0.2, rows.max() + 0.8
    state.paint(state.support, stroke("lasso", 1, (left, top), (right, top), (right, bottom), (left, bottom)))


def test_the_parse_follows_the_strokes(state: PaintState) -> None:
    assert state.parsing is None
    assert "paint a class" in state.summary()
    paint_top(state)
    assert state.parsing is not None
    assert state.parsing.names == {1: "top"}
    assert "top:" in state.summary()
    state.undo(state.support)
    assert state.parsing is None


def test_a_speck_is_said_to_be_too_small(state: PaintState) -> None:
    state.paint(state.support, stroke("brush", 1, (1.5, 1.5), radius=0.8))
    assert state.parsing is None
    assert "smaller than one feature cell" in state.problem


def test_a_corrected_query_becomes_a_second_support(state: PaintState) -> None:
    paint_top(state)
    with pytest.raises(UserError, match="nothing is marked"):
        PaintState(state.network, state.support, [Canvas(people()[1][0])]).use_query()
    state.paint(state.query, stroke("brush", 1, (64, 60), radius=9))
    corrected = state.query.mask
    assert corrected[60, 64] == 1
    before, encoded = state.queries[1].photo, state._encoded.made
    state.use_query()
    assert state.query.photo is before, "the next query is in view"
    assert np.array_equal(state.more[0][1], corrected)
    assert "2 supports" in state.summary()
    alone = PaintState(state.network, Canvas(state.support.photo, state.support.mask), [Canvas(before)], ["top"])
    alone.parse()
    assert state.parsing is not None
    assert alone.parsing is not None
    assert (state.parsing.mask != alone.parsing.mask).any() or state.parsing.confidence != alone.parsing.confidence
    assert state._encoded.made > encoded


def test_at_most_twelve_classes(state: PaintState) -> None:
    for _ in range(20):
        state.add_class()
    assert len(state.names) == MOST
    assert len({tuple(colour) for colour in state.palette()[1 : MOST + 1]}) == MOST


def test_what_is_saved_can_be_given_to_the_command(state: PaintState, tmp_path: Path) -> None:
    paint_top(state)
    files = {path.name for path in state.save(tmp_path / "own")}
    assert {"support.jpg", "support_mask.png", "result.png"} <= files
    assert np.array_equal(read_mask(tmp_path / "own" / "support_mask.png"), state.support.mask)
    assert np.array_equal(read_mask(tmp_path / "own" / "result.png"), state.query.mask)


def test_a_phone_s_photo_is_made_smaller_and_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((1500, 3000, 3), np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert load_photo(tmp_path / "a.jpg").shape == (1280, 640, 3)
    (tmp_path / "b.jpg").write_bytes(encode_jpeg(np.zeros((40, 30, 3), np.uint8)))
    assert load_photo(tmp_path / "b.jpg").shape == (40, 30, 3)


def test_messages_from_the_browser_move_the_view(state: PaintState, tmp_path: Path) -> None:
    pytest.importorskip("anywidget")
    from oshp_lite.book.widgets.painter import painter_view

    view = painter_view(state, folder=tmp_path / "own")
    support, query = view.children[0].children
    chooser, use, save, load, add = view.children[1].children
    blank = support.overlay
    rows, columns = np.nonzero(people()[0][1])
    corners = [(columns.min(), rows.min()), (columns.max(), rows.min()), (columns.max(), rows.max())]
    numbers = [1, 0, 1, 3, *(value for corner in corners for value in corner)]
    support.set_state({"stroke": memoryview(np.array(numbers, "<f4").tobytes())})
    assert support.overlay != blank
    assert len(state.support.strokes) == 1
    assert "top:" in view.children[2].value
    support.set_state({"classes": [{"name": "my <top>", "colour": "#102030"}]})
    assert state.names == ["my <top>"]
    assert state.palette()[1].tolist() == [16, 32, 48]
    assert query.classes == support.classes
    support.set_state({"command": "class 2"})
    assert len(query.classes) == 2
    save.click()
    assert (tmp_path / "own" / "support_mask.png").is_file()
    chooser.set_state({"index": 1})
    assert state.chosen == 1
    use.click()
    assert len(state.more) == int(state.more != [])
    support.set_state({"command": "undo 3"})
    assert state.support.strokes == []
    item = {"name": "a.jpg", "type": "image/jpeg", "size": 9, "last_modified": datetime.now(tz=UTC)}
    add.value = ({**item, "content": memoryview(encode_jpeg(people()[3][0]))},)
    assert state.chosen == len(state.queries) - 1 == 2
    assert query.photo != support.photo
    load.value = ({**item, "content": memoryview(b"no picture")},)
    assert "give a JPEG or PNG file" in view.children[2].value
    assert "/" not in view.children[2].value.replace("</", "")
    load.value = ({**item, "content": memoryview(encode_jpeg(people()[1][0]))},)
    assert state.support.photo.shape == people()[1][0].shape
    assert not state.more
