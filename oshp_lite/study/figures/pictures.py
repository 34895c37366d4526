"""The papers' pictures of predictions, drawn on our own test pairs: POPNet's Figs. 3 and 4, EOP-Net's Figs. 4 to 7.

Which pairs are shown is decided by the scores of the figure's leading run, by rule (`pairs.typical_pairs`). A run's
folder holds all its predictions; `oshp-lite matrix record` keeps the few that the figures show, so that another
machine, which draws the same procedural photos, can show them without the run.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, write_atomic
from oshp_lite.study.experiments import FIGURE_METHODS, METHODS, families, label, runs_of
from oshp_lite.study.figures.pairs import (
    Array,
    Box,
    PredictedPair,
    one_query,
    read_pairs,
    typical_pairs,
)
from oshp_lite.study.figures.panels import PHOTOS, legend_below, mask_panel, not_run, prediction_panel
from oshp_lite.study.plan import Finder, config_of
from oshp_lite.study.records import Measured, NotRun, Results, RunKey
from oshp_lite.viz import new_figure, show_image, style

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

TITLES = {
    "popnet3f": "POPNet's Fig. 3: predictions in 1-way and k-way",
    "popnet4f": "POPNet's Fig. 4: methods side by side",
    "eopnet4f": "EOP-Net's Fig. 4: predictions in k-way and 1-way",
    "eopnet5f": "EOP-Net's Fig. 5: PerSAM and EOP-Net, 1-way",
    "eopnet6f": "EOP-Net's Fig. 6: methods side by side, k-way",
    "eopnet7f": "EOP-Net's Fig. 7: one query, several supports",
}
FIRST_WAY = {"popnet3f": "1", "eopnet4f": "k"}
"""Figures of both ways: which of them stands above."""
ONE_QUERY = "eopnet7f"
SUPPORTS = 5

Pairs = Sequence[PredictedPair] | NotRun


# ------------------------------------------------------------------------------------------ what a figure shows


@dataclass(frozen=True)
class Panel:
    """One setting of a figure: the runs in the order of its columns, and the one whose scores choose the pairs."""

    way: str
    keys: tuple[RunKey, ...]
    lead: RunKey


def panels_of(name: str, profile: str, protocol: str | None = None) -> dict[str, Panel]:
    """Return a figure's settings by way. `protocol` "journal" takes the journal's runs for a figure of POPNet's paper.

    Raises UserError for a figure that shows no predictions.
    """
    if name not in TITLES:
        raise UserError(f"the figure {name!r} shows no predictions; those that do are {', '.join(TITLES)}")
    keys = runs_of(name, profile, dataset=families(profile)["atr"])
    if protocol is not None:
        keys = [replace(key, protocol=protocol, ablation="") for key in keys]
    by_way = {way: tuple(key for key in keys if key.way == way) for way in sorted({key.way for key in keys})}
    last = FIGURE_METHODS[name][-1]
    return {way: Panel(way, mine, next(k for k in mine if k.method == last)) for way, mine in by_way.items()}


def positions_of(name: str, lead: Measured) -> list[int]:
    """Return the numbers of the test pairs that a figure shows, chosen by the scores of its leading run."""
    if name == ONE_QUERY:
        return one_query(lead, SUPPORTS)
    return typical_pairs(lead, (0.9, 0.5) if name in FIRST_WAY else (0.9, 0.5, 0.1))


def picture(
    name: str,
    results: Results,
    profile: str,
    *,
    protocol: str | None = None,
    finder: Finder | None = None,
    kept: Path | None = None,
) -> Figure:
    """Draw one of `TITLES`; what has no predictions here says so in its place.

    results   what `load_results(profile)` gave; kept: the folder of kept predictions (see `predictions_folder`)
    protocol  as in `panels_of`
    """
    finder = finder or Finder()
    panels = panels_of(name, profile, protocol)
    return draw(name, {way: _pairs(name, panel, results, finder, kept) for way, panel in panels.items()})


def _pairs(name: str, panel: Panel, results: Results, finder: Finder, kept: Path | None) -> Pairs:
    lead = results.get(panel.lead)
    if isinstance(lead, NotRun):
        return NotRun(f"{label(panel.lead.method)}, {panel.way}-way: {lead.reason}")
    config = config_of(panel.lead, lead.profile)
    dataset = finder.dataset(config.data)
    if dataset is None:
        return NotRun(f"the photos of {config.data.dataset} are not on this machine")
    positions = positions_of(name, lead)
    predictions = {
        METHODS[key.method].label: _predictions(key, results, finder, positions, dataset.fingerprint, kept)
        for key in panel.keys
    }
    return read_pairs(dataset, config, predictions, positions)


def _predictions(
    key: RunKey, results: Results, finder: Finder, positions: Sequence[int], fingerprint: str, kept: Path | None
) -> dict[int, Array] | NotRun:
    """Return {position: ids [H,W]} of a run from its folder, else from the kept ones, or why there are none."""
    measured = results.get(key)
    if isinstance(measured, NotRun):
        return measured
    try:
        every = _of_run(config_of(key, measured.profile), finder)
        if every is not None:
            return {at: every[at] for at in positions}
        with np.load((kept or predictions_folder()) / f"{key.slug}.npz", allow_pickle=False) as content:
            if str(content["data"]) == fingerprint:
                return {at: content[f"prediction_{at:05d}"] for at in positions}
    except UserError as error:
        return NotRun(str(error))
    except (OSError, KeyError, IndexError, ValueError):  # missing, damaged, or of other pairs
        pass
    return NotRun("measured elsewhere; its predictions of these pairs are not on this machine")


def _of_run(config: RunConfig, finder: Finder) -> Sequence[Array] | None:
    """Return all predictions that a finished run of the store left, or None."""
    from oshp_lite.engine.evaluate import load_answers

    run = finder.find(config)
    path = None if run is None else run.folder / "answers.npz"
    return load_answers(path)[0] if path is not None and path.is_file() else None


# ----------------------------------------------------------------------------------------------------- layouts


def draw(name: str, pairs: Mapping[str, Pairs]) -> Figure:
    """Draw a figure from its pairs by way ("k", "1"), or from the reason why a way has none."""
    if name in FIRST_WAY:
        return _both_ways(name, pairs)
    (only,) = pairs.values()
    reason = _missing(only)
    if reason is not None or isinstance(only, NotRun):
        return not_run(TITLES[name], str(reason))
    return _over_supports(name, only) if name == ONE_QUERY else _side_by_side(name, only)


def _missing(pairs: Pairs) -> str | None:
    """Return why there is nothing to draw, or None: no pairs, or nobody's prediction of any of them."""
    if isinstance(pairs, NotRun):
        return pairs.reason
    given = [prediction for pair in pairs for prediction in pair.predictions.values()]
    reasons = dict.fromkeys(one.reason for one in given if isinstance(one, NotRun))
    if given and all(isinstance(one, NotRun) for one in given):
        return "; ".join(reasons)
    return None if pairs else "no test pair fits the figure"


def _side_by_side(name: str, pairs: Sequence[PredictedPair]) -> Figure:
    """Draw one pair a row: support with its mask, query, truth, then every method's prediction."""
    pairs = [pair.cropped() for pair in pairs]
    methods = list(dict.fromkeys(method for pair in pairs for method in pair.predictions))
    figure, axes = _panels([[pair.query, pair.support] for pair in pairs], 3 + len(methods))
    for number, (place, pair) in enumerate(zip(axes, pairs, strict=True)):
        _pair_row(place, pair, methods, titled=number == 0)
    return _finished(figure, pairs, name)


def _both_ways(name: str, pairs: Mapping[str, Pairs]) -> Figure:
    """Draw one method's predictions in both ways, one above the other: support, its mask, query, truth, prediction."""
    ways = sorted(pairs, key=lambda way: way != FIRST_WAY[name])
    reasons = [_missing(pairs[way]) for way in ways]
    if all(reason is not None for reason in reasons):
        return not_run(TITLES[name], "; ".join(dict.fromkeys(map(str, reasons))))
    lists = [
        [] if reason else [pair.cropped() for pair in cast(Sequence[PredictedPair], pairs[way])]
        for way, reason in zip(ways, reasons, strict=True)
    ]
    figure, axes = _panels([row for some in lists for row in ([], *([one.query, one.support] for one in some))], 5)
    rows = iter(axes)
    for letter, way, some, reason in zip("ab", ways, lists, reasons, strict=True):
        caption = f"({letter}) {way}-way"
        _caption(next(rows), f"{caption}: not run ({reason.removeprefix('not run: ')})" if reason else caption)
        for number, (pair, place) in enumerate(zip(some, rows, strict=False)):
            _pair_row(place, pair, list(pair.predictions)[:1], titled=number == 0, apart=True)
    return _finished(figure, [*lists[0], *lists[1]], name)


def _pair_row(
    place: Sequence[Axes], pair: PredictedPair, methods: Sequence[str], *, titled: bool, apart: bool = False
) -> None:
    """Draw a pair: the support under its mask (or beside it, `apart`), the query, the truth, each prediction."""
    support = partial(mask_panel, photo=pair.support, mask=pair.support_mask, pair=pair)
    panels: list[tuple[str, Callable[..., Any]]] = [("support", support)]
    if apart:
        panels = [("support", partial(show_image, picture=pair.support)), ("its mask", support)]
    panels.append(("query", partial(show_image, picture=pair.query)))
    panels.append(("true parts", partial(mask_panel, photo=pair.query, mask=pair.truth, pair=pair)))
    panels += [(method, partial(prediction_panel, pair=pair, name=method)) for method in methods]
    for axes, (title, panel) in zip(place, panels, strict=True):
        panel(axes, title=title if titled else None)


def _over_supports(name: str, pairs: Sequence[PredictedPair]) -> Figure:
    """Draw one query under several supports: the query and its truth, then each support above its prediction."""
    boxes = [pair.box() for pair in pairs]  # all supports' predictions side by side on one cut of the query
    around = tuple(pick(box[side] for box in boxes) for side, pick in enumerate((min, max, min, max)))
    pairs = [pair.cropped(cast(Box, around)) for pair in pairs]
    figure, axes = _panels([[pair.support for pair in pairs], [pairs[0].query]], 1 + len(pairs))
    method = next(iter(pairs[0].predictions))
    show_image(axes[0, 0], pairs[0].query, "query")
    mask_panel(axes[1, 0], pairs[0].query, pairs[0].truth, pairs[0], "true parts")
    for column, pair in enumerate(pairs, start=1):
        mask_panel(axes[0, column], pair.support, pair.support_mask, pair, f"support {column}")
        prediction_panel(axes[1, column], pair, method, f"{method}, {column}")
    return _finished(figure, pairs, name)


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


def _finished(figure: Figure, pairs: Sequence[PredictedPair], name: str) -> Figure:
    with style():
        figure.suptitle(TITLES[name], x=0.01, ha="left", fontsize=10)
    legend_below(figure, pairs)
    figure.set_gid("drawn" if all(pair.drawn for pair in pairs) else PHOTOS)
    return figure


# ------------------------------------------------------------------------------------------- kept predictions


def predictions_folder() -> Path:
    """Where the few predictions are kept that the figures show: `notebooks/results/predictions`."""
    return project_root() / "notebooks" / "results" / "predictions"


def keep_predictions(
    results: Results, profile: str, *, finder: Finder | None = None, folder: Path | None = None
) -> list[Path]:
    """Write the predictions that the figures show, `<slug>.npz` each (some kilobytes); return the files written.

    Runs whose folder is not in the store keep the file they have.
    """
    finder = finder or Finder()
    wanted: dict[RunKey, set[int]] = {}
    for name in TITLES:
        for protocol in (None, "journal") if name.startswith("popnet") else (None,):
            for panel in panels_of(name, profile, protocol).values():
                lead = results.get(panel.lead)
                for key in panel.keys if isinstance(lead, Measured) else ():
                    wanted.setdefault(key, set()).update(positions_of(name, cast(Measured, lead)))
    written = []
    for key, positions in wanted.items():
        measured = results.get(key)
        if isinstance(measured, NotRun):
            continue
        config = config_of(key, measured.profile)
        every, dataset = _of_run(config, finder), finder.dataset(config.data)
        if every is None or dataset is None:
            continue
        arrays = {f"prediction_{at:05d}": every[at] for at in sorted(positions)}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, data=np.array(dataset.fingerprint), **arrays)  # type: ignore[arg-type]
        path = (folder or predictions_folder()) / f"{key.slug}.npz"
        if not path.is_file() or path.read_bytes() != buffer.getvalue():
            write_atomic(path, buffer.getvalue())
            written.append(path)
    return written
