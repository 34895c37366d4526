"""How pictures of predictions are laid out: pairs in rows, one query under several supports, both ways side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oshp_lite.study.figures.boxes import Box, difference_boxes
from oshp_lite.study.figures.captions import BOXES, TITLES, reading_of, title_of
from oshp_lite.study.figures.pairs import Array, PredictedPair
from oshp_lite.study.figures.panels import (
    box_panel,
    headed,
    legend_below,
    mask_panel,
    missing_note,
    not_run,
    photo_panel,
    prediction_panel,
)
from oshp_lite.study.records import NotRun
from oshp_lite.viz import new_figure, style

BOTH_WAYS = ("popnet3f", "eopnet4f")
"""Figures that show one query in both ways, side by side."""
ONE_QUERY = "eopnet7f"
RANKS = ((0.9, "good"), (0.5, "typical"), (0.1, "poor"))
"""Which pairs a figure shows: the share of all pairs whose score is lower, and a word for it."""
TALL, GAP = 2.35, 0.12
"""Inches of the tallest panel of a row; width of the gap between both ways, in panels."""

Pairs = Sequence[PredictedPair] | NotRun


@dataclass(frozen=True)
class _Panel:
    """One picture: a photo of the pair with nothing, a mask, or a method's prediction (its label) over it.

    boxes  where the methods differ; head: words above a whole row, not only its panel
    """

    pair: PredictedPair
    photo: Array
    over: Array | str | None
    title: str = ""
    boxes: Sequence[Box] = ()
    head: str = ""


Row = list[_Panel | None]
"""Panels from left to right; None is the gap."""


def draw(name: str, pairs: Mapping[str, Pairs], lead: str = "the leading method", dataset: str = "") -> Figure:
    """Draw a figure of `PICTURES` from its pairs by way ("k", "1"); what has none is left out and named below.

    lead     label of the method whose scores chose the pairs
    dataset  where they are from, for the title
    """
    given, missing = _present(pairs)
    if not given:
        return not_run(TITLES[name], "; ".join(dict.fromkeys(missing.values())))
    if name == ONE_QUERY:
        (some,) = given.values()
        cut = [pair.cropped(*some) for pair in some]  # all predictions on one cut of the query
        rows, shown = _over_supports(cut), cut
    elif name in BOTH_WAYS:
        rows, shown = _side_by_side(given)
    else:
        (some,) = given.values()
        shown = [pair.cropped() for pair in some]
        rows = [_row(pair, word, number == 0) for number, (pair, word) in enumerate(zip(shown, _words(), strict=False))]
    boxed = any(panel and panel.boxes for row in rows for panel in row)
    words = reading_of(name, given).format(lead=lead, boxes=BOXES * boxed)
    figure = headed(
        _sheet(rows, " ".join(filter(None, (words, missing_note(missing))))),
        f"{title_of(name, given)}{f', {dataset}' * bool(dataset)}\n",
    )
    legend_below(figure, shown)
    return figure


def drawable(pairs: Mapping[str, Pairs]) -> bool:
    """Return whether any way has a prediction to draw."""
    return bool(_present(pairs)[0])


def _present(pairs: Mapping[str, Pairs]) -> tuple[dict[str, list[PredictedPair]], dict[str, str]]:
    """Return the pairs by way, k-way first, with the methods that have predictions, and {what is missing: why}."""
    given, missing = dict[str, list[PredictedPair]](), dict[str, str]()
    for way in sorted(pairs, reverse=True):
        some, place = pairs[way], f"{way}-way"
        if isinstance(some, NotRun) or not some:
            missing[place] = some.reason if isinstance(some, NotRun) else "no test pair fits the figure"
            continue
        absent = {name: mask.reason for name, mask in some[0].predictions.items() if isinstance(mask, NotRun)}
        if len(absent) < len(some[0].predictions):
            given[way] = [pair.without(absent) for pair in some]
        missing |= {f"{name}, {place}" if len(pairs) > 1 else name: reason for name, reason in absent.items()}
    return given, missing


def _words() -> list[str]:
    """Return what is said of the pairs that the ranks choose."""
    return [
        f"A {word} pair: novel parts "
        + ("in the middle" if share == 0.5 else f"better than in {100 * share:.0f} % of all")
        for share, word in RANKS
    ]


def _row(pair: PredictedPair, head: str, titled: bool) -> Row:
    """Lay out a pair: the support under its mask, the query, the truth and each prediction, with difference boxes."""
    predictions = [mask for mask in pair.predictions.values() if not isinstance(mask, NotRun)]
    boxes = difference_boxes(pair.truth, predictions)
    panels: Row = [
        _Panel(pair, pair.support, pair.support_mask, "support", head=head),
        _Panel(pair, pair.query, None, "query"),
        _Panel(pair, pair.query, pair.truth, "true part" if pair.class_id else "true parts", boxes),
        *(_Panel(pair, pair.query, method, method, boxes) for method in pair.predictions),
    ]
    return panels if titled else _untitled(panels)


def _untitled(panels: Row) -> Row:
    return [panel and _Panel(panel.pair, panel.photo, panel.over, "", panel.boxes, panel.head) for panel in panels]


def _side_by_side(given: Mapping[str, Sequence[PredictedPair]]) -> tuple[list[Row], list[PredictedPair]]:
    """Lay out queries in k-way and, after a gap, in 1-way; return the rows and the pairs that they show."""
    rows: list[Row] = []
    shown: list[PredictedPair] = []
    for head, *some in zip(_words(), *given.values(), strict=False):
        cut = [pair.cropped(*some) for pair in some]
        row: Row = []
        for way, pair in zip(given, cut, strict=True):
            what, method = "one class" if pair.class_id else "all parts", next(iter(pair.predictions))
            half: Row = [
                _Panel(pair, pair.support, pair.support_mask, f"support, {what}", head="" if row else head),
                _Panel(pair, pair.query, None, "query"),
                _Panel(pair, pair.query, pair.truth, f"true, {what}"),
                _Panel(pair, pair.query, method, f"{method}, {way}-way"),
            ]
            row += [None, half[0], *half[2:]] if row else half
        rows.append(_untitled(row) if rows else row)
        shown += cut
    return rows, shown


def _over_supports(pairs: Sequence[PredictedPair]) -> list[Row]:
    """Lay out one query under several supports: the query above its truth, each support above the predictions."""
    first = pairs[0]
    rows: list[Row] = [[_Panel(first, first.query, None, "query")]]
    rows[0] += [_Panel(pair, pair.support, pair.support_mask, f"support {n}") for n, pair in enumerate(pairs, 1)]
    for number, method in enumerate(reversed([*first.predictions])):  # the leading method above
        masks = [pair.predictions[method] for pair in pairs]
        scores = [
            100 * p.mean_iou(m, novel=True) for p, m in zip(pairs, masks, strict=True) if not isinstance(m, NotRun)
        ]
        spread = f"novel {min(scores):.0f} to {max(scores):.0f}"  # a mean behind it would be cut off
        row: Row = [_Panel(first, first.query, first.truth, "true parts") if number == 0 else None]
        row += [_Panel(pair, pair.query, method, head=f"{method}: {spread}" if pair is first else "") for pair in pairs]
        rows.append(row)
    return rows


def _sheet(rows: Sequence[Row], note: str) -> Figure:
    """Draw rows of panels, as tall as the tallest of each row needs, with the rows' heads above and a note below."""
    shapes = [panel.photo.shape for row in rows for panel in row if panel]
    slimmest = max(shape[0] / shape[1] for shape in shapes)
    width = TALL / max(1.25, min(slimmest, 2.0))
    columns = max(map(len, rows))
    empty = [column for column in range(columns) if all(len(row) <= column or row[column] is None for row in rows)]
    widths = [GAP if column in empty else 1.0 for column in range(columns)]
    ratios = [max(panel.photo.shape[0] / panel.photo.shape[1] for panel in row if panel) for row in rows]
    wide = (width + 0.08) * sum(widths)
    lines = textwrap.wrap(note, int(17 * wide))
    heights = [*(width * min(ratio, TALL / width) + 0.5 for ratio in ratios), 0.05 + 0.13 * len(lines)]
    size = {"width": wide / columns, "height": (sum(heights) + 0.8) / len(heights)}
    figure, axes = new_figure(len(heights), columns, **size, height_ratios=heights, width_ratios=widths)
    for place in axes.flat:
        place.set_anchor("NW")  # titles of unlike photos stand in one line
        place.set_axis_off()
    with style():
        place = axes[-1, 0]
        place.text(0, 1, "\n".join(lines), fontsize=7, va="top", transform=place.transAxes, in_layout=False)
    for places, row in zip(axes[:-1], rows, strict=True):
        for place, panel in zip(places, row, strict=False):
            if panel:
                _panel(place, panel)
    return figure


def _panel(axes: Axes, panel: _Panel) -> None:
    if panel.over is None:
        photo_panel(axes, panel.photo)
    elif isinstance(panel.over, str):
        prediction_panel(axes, panel.pair, panel.over)
    else:
        mask_panel(axes, panel.photo, panel.over, panel.pair)
    box_panel(axes, panel.boxes)
    with style():
        axes.set_title(panel.title or " " * bool(panel.head), fontsize=8)
        if panel.head:  # the layout does not see it, so it moves no column
            place = {"xytext": (0, 16 if panel.title else 4), "textcoords": "offset points", "va": "bottom"}
            head = axes.annotate(panel.head, (0, 1), xycoords="axes fraction", fontsize=7, **place)  # type: ignore[arg-type]
            head.set(fontweight="bold", in_layout=False)
