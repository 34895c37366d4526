"""What each figure is called, and how to read it: one sentence or two below the drawing."""

from __future__ import annotations

from collections.abc import Collection

TITLES = {
    "ranks": "Rank of each method in the paper and here",
    "popnet3f": "POPNet's Fig. 3: one query in k-way and in 1-way",
    "popnet4f": "POPNet's Fig. 4: methods side by side",
    "eopnet4f": "EOP-Net's Fig. 4: one query in k-way and in 1-way",
    "eopnet5f": "EOP-Net's Fig. 5: PerSAM and EOP-Net, 1-way",
    "eopnet6f": "EOP-Net's Fig. 6: methods side by side, k-way",
    "eopnet7f": "EOP-Net's Fig. 7: one query, several supports",
    "eopnet8f": "EOP-Net's Fig. 8: scores during training, with and without momentum prototypes",
    "bias": "Where the pixels of novel classes go",
    "per_class": "IoU of every class and method",
    "confusion": "Which parts are taken for which",
    "size_iou": "IoU against the size of a part",
    "budget": "Scores against the training budget",
    "starts": "Three initialisations, scored on base classes held out of training",
}
"""Titles of all figures."""


def title_of(name: str, ways: Collection[str]) -> str:
    """Return the title of a figure of predictions that are at hand in some of its ways ("k", "1")."""
    (way, *others) = ways
    return TITLES[name] if others else TITLES[name].replace("one query in k-way and in 1-way", f"{way}-way alone")


_CHOSEN = "Test pairs were chosen by {lead}'s own IoU of the novel parts. "
_BELOW = "Below a prediction: mean IoU of all parts and of novel ones, %. "
_ONE_CLASS = "Below a prediction: IoU of the class, %. "
_BOTH = "Below a prediction: mean IoU of all parts and of novel ones, or IoU of the one class, %. "
_STARRED = "* novel class; a part that the support lacks counts as background."
BOXES = "White boxes: where the methods' errors differ most. "
"""The sentence for a picture that has boxes."""
READINGS = {
    "popnet3f": _CHOSEN + _BOTH + _STARRED,
    "popnet4f": _CHOSEN + _BELOW + "{boxes}" + _STARRED,
    "eopnet4f": _CHOSEN + _BOTH + _STARRED,
    "eopnet5f": _CHOSEN + _ONE_CLASS + "{boxes}* novel class.",
    "eopnet6f": _CHOSEN + _BELOW + "{boxes}" + _STARRED,
    "eopnet7f": "Of all queries, ranked by how much {lead}'s score depends on the support, this one is in the middle. "
    + _BELOW
    + _STARRED,
    "eopnet8f": "Line: mean over {seeds}{band}. {points} evaluations, each on fewer test pairs than the final score.",
    "bias": "k-way, fold 1. Black line: 95 % interval of the share called background.",
    "per_class": "k-way, fold 1, mean over seeds or blocks. Methods stand in the order of human mIoU, classes in that "
    "of their means; * novel class. {lead}: the typical cell has a 95 % interval of ±{width:.0f} points.",
    "confusion": "k-way, fold 1. Rows: true class; columns: predicted class; % of the row's pixels. * novel class.",
    "size_iou": "k-way, fold 1. All parts of all test pairs, in six equally full groups by true size; bars: two "
    "standard errors.",
    "budget": "k-way, fold 1, {seeds}. Budgets are multiples of the study's epochs. The number in a mark is the rank, "
    "where all lines of the panel were run; whiskers: 95 % intervals.",
    "starts": "k-way, fold 1, one seed. Novel classes take no part: some base classes are held out of training and "
    "play their role (pseudo-novel). Lines: 95 % intervals.",
}
"""How to read each figure; names in braces are filled in by its maker."""


def reading_of(name: str, ways: Collection[str]) -> str:
    """Return how to read a figure of predictions that are at hand in some of its ways ("k", "1")."""
    (way, *others) = ways
    return READINGS[name] if others else READINGS[name].replace(_BOTH, _BELOW if way == "k" else _ONE_CLASS)
