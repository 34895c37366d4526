"""The papers' pictures of predictions, drawn on our own test pairs: POPNet's Figs. 3 and 4, EOP-Net's Figs. 4 to 7.

Which pairs are shown is decided by the scores of the figure's leading run, by rule (`pairs.typical_pairs`). A run's
folder holds all its predictions; `oshp-lite matrix record` keeps the few that the figures show, so that another
machine, which draws the same procedural photos, can show them without the run.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, write_atomic
from oshp_lite.study.experiments import METHODS, runs_of
from oshp_lite.study.figures.pairs import Array, PredictedPair, one_query, read_pairs, typical_pairs
from oshp_lite.study.figures.panels import headed, legend_below, mask_panel, not_run, prediction_panel
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

Pairs = Sequence[PredictedPair] | NotRun


# ------------------------------------------------------------------------------------------ what a figure shows


def panels_of(name: str, profile: str, protocol: str | None = None) -> dict[str, list[RunKey]]:
    """Return a figure's runs by way, in the order of its columns; the last one's scores choose the pairs.

    `protocol` "journal" takes the journal's runs for a figure of POPNet's paper. Raises UserError for a figure that
    shows no predictions.
    """
    if name not in TITLES:
        raise UserError(f"the figure {name!r} shows no predictions; those that do are {', '.join(TITLES)}")
    by_way: dict[str, list[RunKey]] = {}
    for key in sorted(runs_of(name, profile), key=lambda key: key.way):
        own = key if protocol is None else replace(key, protocol=protocol, ablation="")
        by_way.setdefault(key.way, []).append(own)
    return by_way


def positions_of(name: str, lead: Measured) -> list[int]:
    """Return the numbers of the test pairs that a figure shows, chosen by the scores of its leading run."""
    if name == ONE_QUERY:
        return one_query(lead)
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
    return draw(name, {way: _pairs(name, keys, results, finder, kept) for way, keys in panels.items()})


def _pairs(name: str, keys: Sequence[RunKey], results: Results, finder: Finder, kept: Path | None) -> Pairs:
    """Return the test pairs of one way with the runs' predictions, from their folders, else from the kept ones."""
    lead = results.get(keys[-1])
    if isinstance(lead, NotRun):
        return NotRun(f"{METHODS[keys[-1].method].label}, {keys[-1].way}-way: {lead.reason}")
    config = config_of(keys[-1], lead.profile)
    dataset = finder.dataset(config.data)
    if dataset is None:
        return NotRun(f"the photos of {config.data.dataset} are not on this machine")
    positions = positions_of(name, lead)

    def predictions(key: RunKey) -> dict[int, Array] | NotRun:
        measured = results.get(key)
        if isinstance(measured, NotRun):
            return measured
        try:
            every = _of_run(config_of(key, measured.profile), finder)
            if every is not None:
                return {at: every[at] for at in positions}
            with np.load((kept or predictions_folder()) / f"{key.slug}.npz", allow_pickle=False) as content:
                if str(content["data"]) == dataset.fingerprint:
                    return {at: content[f"prediction_{at:05d}"] for at in positions}
        except UserError as error:
            return NotRun(str(error))
        except (OSError, KeyError, IndexError, ValueError):  # missing, damaged, or of other pairs
            pass
        return NotRun("measured elsewhere; its predictions of these pairs are not on this machine")

    return read_pairs(dataset, config, {METHODS[key.method].label: predictions(key) for key in keys}, positions)


def _of_run(config: RunConfig, finder: Finder) -> Sequence[Array] | None:
    """Return all predictions that a finished run of the store left, or None."""
    from oshp_lite.engine.evaluate import load_predictions

    run = finder.find(config)
    try:
        return None if run is None else list(load_predictions(run.folder))
    except UserError:  # it kept none
        return None


# ----------------------------------------------------------------------------------------------------- layouts


class _Panel(NamedTuple):
    """One picture: a photo of the pair, with nothing, a mask, or a method's prediction (its label) over it."""

    pair: PredictedPair
    photo: Array
    over: Array | str | None
    title: str | None


def draw(name: str, pairs: Mapping[str, Pairs]) -> Figure:
    """Draw a figure from its pairs by way ("k", "1"), or from the reason why a way has none."""
    ways = sorted(pairs, key=lambda way: way != FIRST_WAY.get(name))
    missing = {way: _missing(pairs[way]) for way in ways}
    if all(missing.values()):
        return not_run(TITLES[name], "; ".join(dict.fromkeys(map(str, missing.values()))))
    shown: list[PredictedPair] = []
    rows: list[list[_Panel]] = []
    captions: dict[int, str] = {}  # a row of nothing else
    for letter, way in zip("ab", ways, strict=False):
        given, reason = pairs[way], missing[way]
        some = [] if reason or isinstance(given, NotRun) else list(given)
        if name in FIRST_WAY:
            why = f": not run ({reason.removeprefix('not run: ')})" if reason else ""
            captions[len(rows)] = f"({letter}) {way}-way{why}"
            rows.append([])
        if name == ONE_QUERY:
            some = [pair.cropped(*some) for pair in some]  # all predictions on one cut of the query
            rows += _over_supports(some)
        else:
            some = [pair.cropped() for pair in some]
            rows += [_row(pair, titled=number == 0, apart=name in FIRST_WAY) for number, pair in enumerate(some)]
        shown += some
    figure = headed(_sheet(rows, captions), TITLES[name])
    legend_below(figure, shown)
    return figure


def _missing(pairs: Pairs) -> str | None:
    """Return why there is nothing to draw, or None: no pairs, or nobody's prediction of any of them."""
    if isinstance(pairs, NotRun):
        return pairs.reason
    given = [prediction for pair in pairs for prediction in pair.predictions.values()]
    reasons = dict.fromkeys(one.reason for one in given if isinstance(one, NotRun))
    if given and all(isinstance(one, NotRun) for one in given):
        return "; ".join(reasons)
    return None if pairs else "no test pair fits the figure"


def _row(pair: PredictedPair, *, titled: bool, apart: bool) -> list[_Panel]:
    """Lay out a pair: the support under its mask (or beside it, `apart`), the query, the truth, each prediction."""
    panels: list[tuple[str, Array, Array | str | None]] = [("support", pair.support, None)] if apart else []
    panels.append(("its mask" if apart else "support", pair.support, pair.support_mask))
    panels += [("query", pair.query, None), ("true parts", pair.query, pair.truth)]
    panels += [(method, pair.query, method) for method in pair.predictions]
    return [_Panel(pair, photo, over, title if titled else None) for title, photo, over in panels]


def _over_supports(pairs: Sequence[PredictedPair]) -> list[list[_Panel]]:
    """Lay out one query under several supports: the query and its truth, then each support above its prediction."""
    first, method = pairs[0], next(iter(pairs[0].predictions))
    above = [_Panel(first, first.query, None, "query")]
    below = [_Panel(first, first.query, first.truth, "true parts")]
    for number, pair in enumerate(pairs, start=1):
        above.append(_Panel(pair, pair.support, pair.support_mask, f"support {number}"))
        below.append(_Panel(pair, pair.query, method, f"{method}, {number}"))
    return [above, below]


def _sheet(rows: Sequence[Sequence[_Panel]], captions: Mapping[int, str]) -> Figure:
    """Draw rows of panels, each as tall as the tallest of its photos needs, and captions in the rows without any."""
    shapes = [[panel.photo.shape for panel in row] for row in rows]
    ratios = [max((shape[0] / shape[1] for shape in row), default=0.0) for row in shapes]
    width = 1.7 if max(ratios) < 1.5 else 1.35
    heights = [min(3.2, width * ratio) + 0.4 if ratio else 0.2 for ratio in ratios]
    size = {"width": width + 0.1, "height": (sum(heights) + 0.9) / len(rows)}
    figure, axes = new_figure(len(rows), max(map(len, rows)), **size, height_ratios=heights)
    for place in axes.flat:
        place.set_anchor("N")  # titles of unlike photos stand in one line
        place.set_axis_off()
    for number, text in captions.items():  # the layout does not see a caption, so it moves no column
        with style():
            line = axes[number, 0].text(0, 0, textwrap.fill(text, 80), transform=axes[number, 0].transAxes, va="bottom")
            line.set(fontweight="bold", in_layout=False)
    for places, row in zip(axes, rows, strict=True):
        for place, (pair, photo, over, title) in zip(places, row, strict=False):
            if over is None:
                show_image(place, photo, title)
            elif isinstance(over, str):
                prediction_panel(place, pair, over, title)
            else:
                mask_panel(place, photo, over, pair, title)
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
            for keys in panels_of(name, profile, protocol).values():
                if isinstance(lead := results.get(keys[-1]), Measured):
                    for key in keys:
                        wanted.setdefault(key, set()).update(positions_of(name, lead))
    written = []
    for key, positions in wanted.items():
        if isinstance(measured := results.get(key), NotRun):
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
