"""A map of the book (in which order its notebooks are read) and the life of a run, drawn by code."""

from __future__ import annotations

from matplotlib.figure import Figure

from oshp_lite.book.diagrams.board import BANK, COARSE_DEEP, FINE_DEEP, MIDDLE_DEEP, SHARED, Board
from oshp_lite.files import project_root

_COLUMNS = (
    ("the task", "#f4f6f8", SHARED),
    ("the parts", "#edf7ee", FINE_DEEP),
    ("the networks", "#f3ecf8", MIDDLE_DEEP),
    ("a run", "#eaf2fb", COARSE_DEEP),
    ("what follows", "#fffbe6", BANK),
)
_X, _WIDTH, _STEP = 1.0, 14.6, 16.2

_PLACES: dict[str, tuple[int, float, float, str]] = {
    # number: column, y, height, words
    "01": (0, 17.6, 6.0, "01 problem\nbase, novel, episode"),
    "02": (0, 6.6, 6.0, "02 datasets\nmasks, folds, pairs"),
    "03": (1, 17.6, 6.0, "03 prototypes\none photo, one vector"),
    "04": (1, 6.6, 6.0, "04 AGM and NPM\ntwo readings of a map"),
    "05": (2, 17.6, 6.0, "05 POPNet\nin three stages"),
    "06": (2, 6.6, 6.0, "06 EOP-Net\nin two spaces"),
    "07": (3, 9.4, 11.4, "07 train and\nevaluate\n\ncurves, scores,\nparses"),
    "08": (4, 20.4, 5.0, "08\ncontenders"),
    "09": (4, 14.6, 5.0, "09, 10 the\npapers' tables"),
    "11": (4, 8.8, 5.0, "11 inspect\n12 parse yours"),
    "13": (4, 3.0, 5.0, "13 transfer\n14 instances"),
}


def book_map() -> Figure:
    """Draw the reading order of the notebooks; notebook 14 only where it exists."""
    board = Board(_X * 2 + _STEP * len(_COLUMNS) - 1.6, 31)
    for column, (title, light, _) in enumerate(_COLUMNS):
        board.area(_X + _STEP * column, 1.6, _WIDTH, 28.4, title, fill=light)
    places = dict(_PLACES)
    if not any((project_root() / "notebooks").glob("14_*.ipynb")):
        places["13"] = (*places["13"][:3], "13 transfer")
    for column, y, height, words in places.values():
        x, fill = _X + _STEP * column + 0.6, _COLUMNS[column][2]
        board.box(x, y, _WIDTH - 1.2, height, words, fill=fill, size=8)
    for start, end in (("02", "03"), ("04", "05")):
        turn = _right(start)[0] + 0.8
        board.arrow(_right(start), (turn, _right(start)[1]), (turn, _left(end)[1]), _left(end))
    for start, end in (("01", "02"), ("03", "04"), ("05", "06")):
        column, y, _, _ = _PLACES[start]
        middle = _X + _STEP * column + _WIDTH / 2
        board.arrow((middle, y), (middle, _PLACES[end][1] + _PLACES[end][2] + 0.2))
    column, y, height, _ = _PLACES["07"]
    turn = _left("07")[0] - 0.9
    board.arrow(_right("06"), (turn, _right("06")[1]), (turn, 13.0), (turn + 1.0, 13.0))
    board.arrow(_right("07"), (_left("08")[0] - 0.2, y + height / 2))
    board.text(_X + _STEP * column + _WIDTH / 2, 6.4, "executed once\nfor every run", size=7.5, style="italic")
    return board.figure


def _left(name: str) -> tuple[float, float]:
    column, y, height, _ = _PLACES[name]
    return _X + _STEP * column + 0.4, y + height / 2


def _right(name: str) -> tuple[float, float]:
    column, y, height, _ = _PLACES[name]
    return _X + _STEP * column + _WIDTH - 0.6, y + height / 2


def run_life() -> Figure:
    """Draw how a run comes about: from profile and parameters to an identity, and from there to a finished folder."""
    board = Board(92, 27)
    board.box(1, 17.5, 13, 6, "profile\n(a YAML file)", fill=SHARED)
    board.box(1, 9.0, 13, 6, "your parameters\nand overrides", fill=SHARED)
    board.box(20, 13.2, 13, 6, "configuration", fill=FINE_DEEP, bold=True)
    board.arrow((14, 20.5), (17, 20.5), (17, 17.2), (19.8, 17.2))
    board.arrow((14, 12.0), (17, 12.0), (17, 15.2), (19.8, 15.2))
    board.box(20, 4.4, 13, 5.4, "data and first\nweights (hashes)", fill=SHARED)
    board.box(39, 12.2, 12, 8, "identity\n(one hash)", fill=MIDDLE_DEEP, bold=True)
    board.arrow((33, 16.2), (38.8, 16.2))
    board.arrow((33, 7.1), (45, 7.1), (45, 12.0))
    board.box(57, 12.2, 12, 8, "is it in\nthe store?", fill=BANK, bold=True)
    board.arrow((51, 16.2), (56.8, 16.2))
    board.box(76, 12.2, 15.4, 8, "the run\nweights, history,\nscores, pairs, samples", fill=COARSE_DEEP, size=8)
    board.arrow((69, 17.4), (75.8, 17.4))
    board.text(72.3, 18.9, "yes", size=8.5, style="italic")
    board.box(52, 1.4, 10.6, 5.4, "initialisation\n(a run, too)", fill=SHARED, size=8)
    board.box(65.6, 1.4, 9.4, 5.4, "training", fill=SHARED, size=8.5)
    board.box(78.4, 1.4, 10.2, 5.4, "test", fill=SHARED, size=8.5)
    board.arrow((60, 12.2), (60, 9.4), (57.3, 9.4), (57.3, 7.0))
    board.text(62.2, 10.4, "no", size=8.5, style="italic")
    board.arrow((62.6, 4.1), (65.4, 4.1))
    board.arrow((75, 4.1), (78.2, 4.1))
    board.arrow((83.5, 6.8), (83.5, 12.0))
    board.text(89.0, 9.4, "whole or\nnot at all", size=7.5, style="italic")
    return board.figure
