"""The drawn counterparts of the papers' architecture figures."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from oshp_lite.book import diagrams

ALL = [
    diagrams.eopnet_overview,
    diagrams.popnet_stages,
    diagrams.knowledge_infusion,
    diagrams.dual_metric_learning,
]


def words_of(figure: Figure) -> list[Text]:
    figure.canvas.draw()
    return [text for text in figure.axes[0].texts if text.get_text()]


def numbers_of(figure: Figure) -> set[int]:
    """Equation numbers named in a diagram; ranges such as 5–7 are filled."""
    numbers: set[int] = set()
    for text in words_of(figure):
        for first, last in re.findall(r"\((?:Eqs?\. )?(\d+)(?:–(\d+))?\)", text.get_text()):
            numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


@pytest.mark.parametrize("draw", ALL)
def test_every_word_stays_on_the_sheet(draw: Callable[[], Figure]) -> None:
    figure = draw()
    width, height = figure.get_size_inches() * figure.dpi
    for text in words_of(figure):
        box = text.get_window_extent()
        assert box.x0 >= 0, text.get_text()
        assert box.y0 >= 0, text.get_text()
        assert box.x1 <= width, text.get_text()
        assert box.y1 <= height, text.get_text()


@pytest.mark.parametrize("draw", ALL)
def test_no_two_labels_lie_on_each_other(draw: Callable[[], Figure]) -> None:
    boxes = [(text.get_window_extent(), text.get_text()) for text in words_of(draw())]
    for index, (box, words) in enumerate(boxes):
        for other, other_words in boxes[index + 1 :]:
            assert not box.overlaps(other), (words, other_words)


def test_the_overview_places_every_equation_of_the_journal() -> None:
    # Eq. 13 is the sum of the three red boxes and has no place of its own.
    assert numbers_of(diagrams.eopnet_overview()) == set(range(1, 13))


def test_the_dual_metric_diagram_places_equations_4_to_10() -> None:
    assert numbers_of(diagrams.dual_metric_learning()) == set(range(4, 11))


def test_the_stages_name_what_each_of_them_parses() -> None:
    words = " ".join(text.get_text() for text in words_of(diagrams.popnet_stages()))
    for needed in ("stage 1", "stage 2", "stage 3", "KIM", "head, body, arms, legs"):
        assert needed in words


def test_knowledge_infusion_names_its_channels() -> None:
    words = " ".join(text.get_text() for text in words_of(diagrams.knowledge_infusion()))
    for needed in ("512 → 256", "256 → 256", "depthwise"):
        assert needed in words


def test_the_map_of_the_book_names_every_notebook() -> None:
    written = " ".join(text.get_text() for text in words_of(diagrams.book_map()))
    folder = Path(__file__).parents[1] / "notebooks"
    numbers = {path.name[:2] for path in folder.glob("[0-9]*.ipynb")} - {"00"}
    assert numbers
    assert {number for number in numbers if number not in written} == set()


def test_the_life_of_a_run_ends_in_the_store() -> None:
    written = " ".join(text.get_text() for text in words_of(diagrams.run_life()))
    for word in ("configuration", "identity", "initialisation", "training", "weights"):
        assert word in written
