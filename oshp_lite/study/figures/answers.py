"""The papers' pictures of answers, drawn on our own test pairs: POPNet's Figs. 3 and 4, EOP-Net's Figs. 4 to 7."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oshp_lite.study.figures.pieces import PHOTOS, answer_panel, legend_below, mask_panel, not_run
from oshp_lite.study.figures.samples import Array, Box, Sample
from oshp_lite.study.records import NotRun
from oshp_lite.viz import new_figure, show_image, style

Samples = Sequence[Sample] | NotRun
TITLES = {
    "popnet3f": "POPNet's Fig. 3: answers in 1-way and k-way",
    "popnet4f": "POPNet's Fig. 4: methods side by side",
    "eopnet4f": "EOP-Net's Fig. 4: answers in k-way and 1-way",
    "eopnet5f": "EOP-Net's Fig. 5: PerSAM and EOP-Net, 1-way",
    "eopnet6f": "EOP-Net's Fig. 6: methods side by side, k-way",
    "eopnet7f": "EOP-Net's Fig. 7: one query, several supports",
}


def _missing(samples: Samples) -> str | None:
    """Return why there is nothing to draw, or None: no samples, or nobody's answer to any of them."""
    if isinstance(samples, NotRun):
        return samples.reason
    if not samples:
        return "no test pair fits the figure"
    given = [answer for sample in samples for answer in sample.answers.values()]
    if given and all(isinstance(answer, NotRun) for answer in given):
        reasons = dict.fromkeys(answer.reason for answer in given if isinstance(answer, NotRun))
        return "; ".join(reasons)
    return None


def side_by_side(samples: Samples, name: str) -> Figure:
    """Draw one pair a row: support with its mask, query, truth, then every method's answer (in the samples' order)."""
    title = TITLES.get(name, name)
    reason = _missing(samples)
    if reason is not None:
        return not_run(title, reason)
    assert not isinstance(samples, NotRun)
    samples = [sample.cropped() for sample in samples]
    rows = list(dict.fromkeys(row for sample in samples for row in sample.answers))
    figure, axes = _panels(_photos(samples), 3 + len(rows))
    for number, (place, sample) in enumerate(zip(axes, samples, strict=True)):
        first = number == 0
        mask_panel(place[0], sample.support, sample.support_mask, sample, "support" if first else None)
        show_image(place[1], sample.query, "query" if first else None)
        mask_panel(place[2], sample.query, sample.truth, sample, "true parts" if first else None)
        for panel, row in zip(place[3:], rows, strict=True):
            answer_panel(panel, sample, row, row if first else None)
        _row_name(place[0], sample)
    return _finished(figure, samples, title)


def both_ways(first: Samples, second: Samples, name: str, captions: tuple[str, str]) -> Figure:
    """Draw answers of one method in two settings, one above the other: support, its mask, query, truth, answer.

    first, second  the samples of each setting, all with the same single row of answers, or why there are none
    captions       what the settings are called, "(a) 1-way" and "(b) k-way"
    """
    title = TITLES.get(name, name)
    reasons = [_missing(samples) for samples in (first, second)]
    if all(reason is not None for reason in reasons):
        return not_run(title, "; ".join(dict.fromkeys(str(reason) for reason in reasons)))
    lists = [
        [] if reason or isinstance(given, NotRun) else [sample.cropped() for sample in given]
        for given, reason in zip((first, second), reasons, strict=True)
    ]
    figure, axes = _panels([row for samples in lists for row in ([], *_photos(samples))], 5)
    row = 0
    for samples, reason, caption in zip(lists, reasons, captions, strict=True):
        _caption(axes[row], caption if reason is None else f"{caption}: not run ({reason.removeprefix('not run: ')})")
        row += 1
        for number, sample in enumerate(samples):
            place, top = axes[row], number == 0
            method = next(iter(sample.answers))
            show_image(place[0], sample.support, "support" if top else None)
            mask_panel(place[1], sample.support, sample.support_mask, sample, "its mask" if top else None)
            show_image(place[2], sample.query, "query" if top else None)
            mask_panel(place[3], sample.query, sample.truth, sample, "true parts" if top else None)
            answer_panel(place[4], sample, method, method if top else None)
            _row_name(place[0], sample)
            row += 1
    return _finished(figure, [*lists[0], *lists[1]], title)


def over_supports(samples: Samples, name: str = "eopnet7f") -> Figure:
    """Draw one query under several supports: the query and its truth, then each support above the answer it led to.

    samples  pairs of one query, all with the same single row of answers
    """
    title = TITLES.get(name, name)
    reason = _missing(samples)
    if reason is not None:
        return not_run(title, reason)
    assert not isinstance(samples, NotRun)
    boxes = [sample.box() for sample in samples]  # all supports' answers side by side on one cut of the query
    around = tuple(pick(box[side] for box in boxes) for side, pick in enumerate((min, max, min, max)))
    samples = [sample.cropped(cast(Box, around)) for sample in samples]
    figure, axes = _panels([[sample.support for sample in samples], [samples[0].query]], 1 + len(samples))
    method = next(iter(samples[0].answers))
    show_image(axes[0, 0], samples[0].query, "query")
    mask_panel(axes[1, 0], samples[0].query, samples[0].truth, samples[0], "true parts")
    for column, sample in enumerate(samples, start=1):
        mask_panel(axes[0, column], sample.support, sample.support_mask, sample, f"support {column}")
        answer_panel(axes[1, column], sample, method, f"{method}, {column}")
    return _finished(figure, samples, title)


def popnet3f(oneway: Samples, kway: Samples) -> Figure:
    """Draw POPNet's answers in 1-way (a) and k-way (b)."""
    return both_ways(oneway, kway, "popnet3f", ("(a) 1-way", "(b) k-way"))


def popnet4f(samples: Samples) -> Figure:
    """Draw POPNet beside the baselines of its own paper."""
    return side_by_side(samples, "popnet4f")


def eopnet4f(kway: Samples, oneway: Samples) -> Figure:
    """Draw EOP-Net's answers in k-way (a) and 1-way (b)."""
    return both_ways(kway, oneway, "eopnet4f", ("(a) k-way", "(b) 1-way"))


def eopnet5f(samples: Samples) -> Figure:
    """Draw PerSAM beside EOP-Net in 1-way."""
    return side_by_side(samples, "eopnet5f")


def eopnet6f(samples: Samples) -> Figure:
    """Draw AMP, POPNet and EOP-Net on the same queries."""
    return side_by_side(samples, "eopnet6f")


def eopnet7f(samples: Samples) -> Figure:
    """Draw one query under several supports."""
    return over_supports(samples, "eopnet7f")


def _panels(rows: Sequence[Sequence[Array]], columns: int) -> Any:
    """Return a figure and its axes; every row is as tall as the tallest of its photos asks for, empty rows are low."""
    ratios = [max((photo.shape[0] / photo.shape[1] for photo in row), default=0.0) for row in rows]
    width = 1.7 if max(ratios) < 1.5 else 1.35
    heights = [min(3.2, width * ratio) + 0.4 if ratio else 0.2 for ratio in ratios]
    tall = (sum(heights) + 0.9) / len(rows)
    figure, axes = new_figure(len(rows), columns, width=width + 0.1, height=tall, height_ratios=heights)
    for place in axes.flat:
        place.set_anchor("N")  # titles of unlike photos stand in one line
    return figure, axes


def _caption(row: Sequence[Axes], text: str) -> None:
    """Write a line across a row of empty panels; the layout does not see it, so it moves no column."""
    for panel in row:
        panel.set_axis_off()
    with style():
        lines = "\n".join(textwrap.wrap(text, 80))
        row[0].text(0, 0, lines, transform=row[0].transAxes, fontweight="bold", va="bottom").set_in_layout(False)


def _photos(samples: Sequence[Sample]) -> list[list[Array]]:
    return [[sample.query, sample.support] for sample in samples]


def _row_name(axes: Axes, sample: Sample) -> None:
    if sample.title:
        with style():
            look: dict[str, Any] = {"rotation": 90, "ha": "right", "va": "center", "fontsize": 7}
            axes.text(-0.04, 0.5, sample.title, transform=axes.transAxes, **look)


def _finished(figure: Figure, samples: Sequence[Sample], title: str) -> Figure:
    with style():
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    legend_below(figure, samples)
    figure.set_gid("drawn" if all(sample.drawn for sample in samples) else PHOTOS)
    return figure
