"""A map of the book: which notebook builds on which, and where the package's rooms come in."""

from __future__ import annotations

from matplotlib.figure import Figure

from oshp_lite.viz.diagrams import BANK, COARSE_DEEP, FINE_DEEP, MIDDLE_DEEP, SHARED, Board

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
    "04": (1, 6.6, 6.0, "04 AGM and NPM\ntwo ways to compare"),
    "05": (2, 17.6, 6.0, "05 POPNet\nin three stages"),
    "06": (2, 6.6, 6.0, "06 EOP-Net\nin two spaces"),
    "07": (3, 9.4, 11.4, "07 train and\nevaluate\n\ncurves, scores,\nparses"),
    "08": (4, 20.4, 5.0, "08\ncontenders"),
    "09": (4, 14.6, 5.0, "09, 10 the\npapers' tables"),
    "11": (4, 8.8, 5.0, "11 inspect\n12 parse yours"),
    "13": (4, 3.0, 5.0, "13 transfer\n14 instances"),
}


def book_map() -> Figure:
    """Draw the reading order of the notebooks; dashed boxes belong to later parts of the book."""
    board = Board(_X * 2 + _STEP * len(_COLUMNS) - 1.6, 31)
    for column, (title, light, _) in enumerate(_COLUMNS):
        board.area(_X + _STEP * column, 1.6, _WIDTH, 28.4, title, fill=light)
    for name, (column, y, height, words) in _PLACES.items():
        board.box(
            _X + _STEP * column + 0.6,
            y,
            _WIDTH - 1.2,
            height,
            words,
            fill=_COLUMNS[column][2],
            size=8,
            dashed=name >= "08",
        )
    for start, end in (("01", "03"), ("02", "04"), ("03", "05"), ("04", "06")):
        board.arrow(_right(start), _left(end))
    for start, end in (("01", "02"), ("03", "04"), ("05", "06")):
        column, y, _, _ = _PLACES[start]
        middle = _X + _STEP * column + _WIDTH / 2
        board.arrow((middle, y), (middle, _PLACES[end][1] + _PLACES[end][2] + 0.2))
    column, y, height, _ = _PLACES["07"]
    board.arrow(
        _right("06"),
        (_left("07")[0] - 0.9, _right("06")[1]),
        (_left("07")[0] - 0.9, 13.0),
        (_left("07")[0] + 0.1, 13.0),
    )
    board.arrow(_right("07"), (_left("08")[0] - 0.2, y + height / 2))
    board.text(_X + _STEP * column + _WIDTH / 2, 6.4, "executed once\nfor every run", size=7.5, style="italic")
    return board.figure


def _left(name: str) -> tuple[float, float]:
    column, y, height, _ = _PLACES[name]
    return _X + _STEP * column + 0.4, y + height / 2


def _right(name: str) -> tuple[float, float]:
    column, y, height, _ = _PLACES[name]
    return _X + _STEP * column + _WIDTH - 0.6, y + height / 2
