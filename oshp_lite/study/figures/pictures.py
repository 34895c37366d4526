"""The papers' pictures of predictions, drawn on our own test pairs: POPNet's Figs. 3 and 4, EOP-Net's Figs. 4 to 7.

Which pairs are shown is decided by the scores of the figure's leading run, by rule (`pairs.typical_pairs`). A run's
folder holds all its predictions; `oshp-lite matrix record` keeps the few that the figures show, so that another
machine, which draws the same procedural photos, can show them without the run.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, write_atomic
from oshp_lite.study.experiments import METHODS, families, label, runs_of
from oshp_lite.study.figures.layouts import BOTH_WAYS, ONE_QUERY, RANKS, Pairs, draw, drawable
from oshp_lite.study.figures.pairs import SMALLEST, Array, both_ways, one_query, read_pairs, typical_pairs
from oshp_lite.study.figures.panels import PLAIN
from oshp_lite.study.plan import Finder, config_of
from oshp_lite.study.records import Measured, NotRun, Results, RunKey

if TYPE_CHECKING:
    from oshp_lite.data.pairs import Pair
    from oshp_lite.engine.config import RunConfig

PICTURES = ("popnet3f", "popnet4f", "eopnet4f", "eopnet5f", "eopnet6f", "eopnet7f")
"""Figures that show predictions."""


def panels_of(name: str, profile: str, protocol: str | None = None, data: str = "atr") -> dict[str, list[RunKey]]:
    """Return a figure's runs by way, in the order of its columns; the scores of the last one at hand choose the pairs.

    protocol  "journal" takes the journal's runs for a figure of POPNet's paper
    data      the family of the dataset, of which others than the figure's own are tested by their own protocol

    Raises UserError for a figure that shows no predictions.
    """
    if name not in PICTURES:
        raise UserError(f"the figure {name!r} shows no predictions; those that do are {', '.join(PICTURES)}")
    by_way: dict[str, list[RunKey]] = {}
    for key in sorted(runs_of(name, profile), key=lambda key: key.way):
        own = key
        if protocol is not None or data != "atr":
            ablation = "" if key.protocol == "aaai" else key.ablation
            own = replace(key, dataset=families(profile)[data], protocol=protocol or "", ablation=ablation)
        by_way.setdefault(key.way, []).append(own)
    return by_way


class Chosen(NamedTuple):
    """What a figure shows: the run whose scores decided, and by way the numbers of the test pairs."""

    lead: Measured
    positions: dict[str, list[int]]


def choose(name: str, panels: Mapping[str, Sequence[RunKey]], results: Results, finder: Finder) -> Chosen | NotRun:
    """Choose the test pairs that a figure shows, or say why there are none.

    Of figures in both ways k-way decides, among pairs that show a novel class which 1-way tests on the same query.
    """
    leads = {way: lead for way, keys in panels.items() if isinstance(lead := _lead(keys, results), Measured)}
    if not leads:
        reasons = dict.fromkeys(getattr(_lead(keys, results), "reason", "") for keys in panels.values())
        plain = "; ".join(reason.removeprefix("not run: ") for reason in reasons)
        if plain in PLAIN and any(key.protocol == "aaai" for keys in panels.values() for key in keys):
            plain = "no run of POPNet by its own paper's protocol is at hand"
        return NotRun(plain)
    way = max(leads)
    lead, shares = leads[way], [share for share, _ in RANKS]
    if name == ONE_QUERY:
        return Chosen(lead, {way: one_query(lead)})
    if name not in BOTH_WAYS or len(leads) == 1:  # one way alone has room for all ranks
        return Chosen(lead, {way: typical_pairs(lead, shares)})
    lists = {each: _test_pairs(keys[-1], lead.profile, finder) for each, keys in panels.items()}
    kway, oneway = lists["k"], lists["1"]
    if kway is None or oneway is None:
        return NotRun(f"the photos of {lead.key.dataset} are not on this machine")
    if len(kway if way == "k" else oneway) != len(lead.counts):
        return NotRun(f"{lead.key.slug} was measured on other test pairs than those listed now")
    places = both_ways(kway, oneway, lead.novel)
    if way == "1":
        chosen = typical_pairs(lead, shares[:2], places.values())
        found = {place: number for number, place in places.items()}
        return Chosen(lead, {"k": [found[place] for place in chosen], "1": chosen})
    column = [lead.classes.index(oneway[place].class_id) for place in places.values()]
    pixels = lead.counts[list(places), column][:, [0, 2]].sum(1)
    visible = [number for number, count in zip(places, pixels, strict=True) if count >= SMALLEST]
    chosen = typical_pairs(lead, shares[:2], visible)
    return Chosen(lead, {"k": chosen, "1": [places[number] for number in chosen]})


def _lead(keys: Sequence[RunKey], results: Results) -> Measured | NotRun:
    """Return the result of the last of a figure's runs that has one, else why its last one has none."""
    found = [results.get(key) for key in reversed(keys)]
    return next((one for one in found if isinstance(one, Measured)), found[0])


def _test_pairs(key: RunKey, profile: str, finder: Finder) -> list[Pair] | None:
    """Return the list of a run's test pairs, or None where its dataset is not on disk."""
    from oshp_lite.engine.loading import run_fold, test_set

    config = config_of(key, profile)
    dataset = finder.dataset(config.data)
    return None if dataset is None else test_set(config, dataset, run_fold(config, dataset)).pairs()


def picture(
    name: str,
    results: Results,
    profile: str,
    *,
    protocol: str | None = None,
    finder: Finder | None = None,
    kept: Path | None = None,
) -> Figure:
    """Draw one of `PICTURES`; what has no predictions here is left out and named below.

    results   what `load_results(profile)` gave; kept: the folder of kept predictions (see `predictions_folder`)
    protocol  as in `panels_of`
    """
    return draw(name, *_shown(panels_of(name, profile, protocol), name, results, finder or Finder(), kept))


def drawn_picture(
    name: str,
    results: Results,
    profile: str,
    *,
    protocol: str | None = None,
    data: str = "atr",
    finder: Finder | None = None,
    kept: Path | None = None,
) -> Figure | None:
    """Draw one of `PICTURES` as `picture` does; None where the photos, or all predictions, are missing."""
    shown = _shown(panels_of(name, profile, protocol, data), name, results, finder or Finder(), kept)
    return draw(name, *shown) if drawable(shown[0]) else None


def real_picture(
    name: str, results: Results, profile: str, *, finder: Finder | None = None, kept: Path | None = None
) -> Figure | None:
    """Draw one of `PICTURES` on real photos (CCP), for this machine alone: nothing that shows them is committed."""
    return drawn_picture(name, results, profile, data="ccp", finder=finder, kept=kept)


def _shown(
    panels: Mapping[str, Sequence[RunKey]], name: str, results: Results, finder: Finder, kept: Path | None
) -> tuple[dict[str, Pairs], str, str]:
    """Return the pairs of a figure by way, the label of the method whose scores chose them, and their dataset."""
    chosen = choose(name, panels, results, finder)
    if isinstance(chosen, NotRun):
        return dict.fromkeys(panels, chosen), "", ""
    lead, positions = chosen
    pairs = {
        way: _pairs(keys, positions[way], lead.profile, results, finder, kept)
        if way in positions
        else NotRun(getattr(_lead(keys, results), "reason", "not run yet"))
        for way, keys in panels.items()
    }
    beside = ", by the journal's protocol" if name.startswith("popnet") and lead.key.protocol != "aaai" else ""
    return pairs, _label(lead.key), lead.key.dataset + beside


def _label(key: RunKey) -> str:
    """Return what a run's column is called."""
    own = METHODS[key.method].label
    return own if key.ablation in ("", "three-stage") else f"{own} {label(key.method, key.ablation)}"


def _pairs(
    keys: Sequence[RunKey], positions: Sequence[int], profile: str, results: Results, finder: Finder, kept: Path | None
) -> Pairs:
    """Return test pairs of one way with the runs' predictions, from their folders, else from the kept ones."""
    config = config_of(keys[-1], profile)
    dataset = finder.dataset(config.data)
    if dataset is None:
        return NotRun(f"the photos of {config.data.dataset} are not on this machine")

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

    return read_pairs(dataset, config, {_label(key): predictions(key) for key in keys}, positions)


def _of_run(config: RunConfig, finder: Finder) -> Sequence[Array] | None:
    """Return all predictions that a finished run of the store left, or None."""
    from oshp_lite.engine.evaluate import load_predictions

    run = finder.find(config)
    try:
        return None if run is None else list(load_predictions(run.folder))
    except UserError:  # it kept none
        return None


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
    for name in PICTURES:
        own = (None, "journal") if name.startswith("popnet") else (None,)
        for panels in (
            *(panels_of(name, profile, protocol) for protocol in own),
            panels_of(name, profile, data="ccp"),
        ):
            if not isinstance(chosen := choose(name, panels, results, finder), NotRun):
                for way, places in chosen.positions.items():
                    for key in panels[way]:
                        wanted.setdefault(key, set()).update(places)
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
