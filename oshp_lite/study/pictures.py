"""The papers' pictures of answers, from the answers that finished runs left, or from those kept with the project.

Which pairs are shown is decided by the scores of the figure's leading run, by rule (`papers.figures.typical_pairs`).
A run's folder holds all its answers; `keep_answers` copies the few that the figures show, so that another machine,
which draws the same procedural photos, can show them without the run.

    python -m oshp_lite.study.pictures --profile lite
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from oshp_lite.errors import UserError
from oshp_lite.files import project_root, write_atomic
from oshp_lite.study import figures
from oshp_lite.study.experiments import FIGURE_METHODS, METHODS, families, label, runs_of
from oshp_lite.study.figures import Sample
from oshp_lite.study.plan import Finder, config_of
from oshp_lite.study.records import Measured, NotRun, Results, RunKey

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

PICTURES = ("popnet3f", "popnet4f", "eopnet4f", "eopnet5f", "eopnet6f", "eopnet7f")
"""Figures that show answers; every one takes procedural ATR, fold 1."""

LARGEST_FIRST = 3
SUPPORTS = 5


@dataclass(frozen=True)
class Panel:
    """One setting of a figure: the runs in the order of its columns, and the one whose scores choose the pairs."""

    way: str
    keys: tuple[RunKey, ...]
    lead: RunKey


def panels_of(name: str, profile: str, protocol: str | None = None) -> dict[str, Panel]:
    """Return a figure's settings by way. `protocol` "journal" takes the journal's runs for a figure of POPNet's paper.

    Raises UserError for a figure that shows no answers.
    """
    if name not in PICTURES:
        raise UserError(f"the figure {name!r} shows no answers; those that do are {', '.join(PICTURES)}")
    keys = runs_of(name, profile, dataset=families(profile)["atr"])
    if protocol is not None:
        keys = [replace(key, protocol=protocol, ablation="") for key in keys]
    found = {}
    for way in dict.fromkeys(key.way for key in keys):
        mine = tuple(key for key in keys if key.way == way)
        lead = next(key for key in mine if key.method == FIGURE_METHODS[name][-1])
        found[str(way)] = Panel(str(way), mine, lead)
    return found


def positions_of(name: str, lead: Measured) -> list[int]:
    """Return the numbers of the test pairs that a figure shows, chosen by the scores of its leading run."""
    if name == "eopnet7f":
        return figures.one_query(lead, SUPPORTS)
    count = 2 if len(runs_ways(name)) > 1 else LARGEST_FIRST
    return figures.typical_pairs(lead, (0.9, 0.5, 0.1)[:count])


def runs_ways(name: str) -> tuple[str, ...]:
    """Return the ways that a figure shows."""
    return tuple(dict.fromkeys(str(key.way) for key in runs_of(name)))


def picture(
    name: str,
    results: Results,
    profile: str,
    *,
    protocol: str | None = None,
    finder: Finder | None = None,
    kept: Path | None = None,
) -> Figure:
    """Draw one of `PICTURES`; what has no answers here says so in its place.

    results   what `load_results(profile)` gave; kept: the folder of kept answers (see `predictions_folder`)
    protocol  as in `panels_of`
    """
    finder = finder or Finder(older=True)
    panels = panels_of(name, profile, protocol)
    shown = {way: _samples(name, panel, results, profile, finder, kept) for way, panel in panels.items()}
    if name == "popnet3f":
        return figures.popnet3f(shown["1"], shown["k"])
    if name == "eopnet4f":
        return figures.eopnet4f(shown["k"], shown["1"])
    maker = {
        "popnet4f": figures.popnet4f,
        "eopnet5f": figures.eopnet5f,
        "eopnet6f": figures.eopnet6f,
        "eopnet7f": figures.eopnet7f,
    }[name]
    (samples,) = shown.values()
    return maker(samples)


def _samples(
    name: str, panel: Panel, results: Results, profile: str, finder: Finder, kept: Path | None
) -> Sequence[Sample] | NotRun:
    lead = results.get(panel.lead)
    if isinstance(lead, NotRun):
        return NotRun(f"{label(panel.lead.method)}, {panel.way}-way: {lead.reason}")
    config = config_of(panel.lead, lead.profile)
    dataset = finder.dataset(config.data)
    if dataset is None:
        return NotRun(f"the photos of {config.data.dataset} are not on this machine")
    positions = positions_of(name, lead)
    nobody = {METHODS[key.method].label: NotRun("no answers") for key in panel.keys}
    samples = figures.read_samples(dataset, config, nobody, positions)
    given = {
        METHODS[key.method].label: _answers(key, results, profile, finder, positions, dataset.fingerprint, kept)
        for key in panel.keys
    }
    return [
        replace(
            sample, answers={row: found if isinstance(found, NotRun) else found[at] for row, found in given.items()}
        )
        for at, sample in zip(positions, samples, strict=True)
    ]


def _answers(
    key: RunKey,
    results: Results,
    profile: str,
    finder: Finder,
    positions: Sequence[int],
    fingerprint: str,
    kept: Path | None,
) -> dict[int, Any] | NotRun:
    """Return {position: ids [H,W]} of a run from its folder, else from the kept answers, or why there are none."""
    measured = results.get(key)
    if isinstance(measured, NotRun):
        return measured
    from oshp_lite.engine.evaluate import load_answers

    run = finder.find(config_of(key, measured.profile))
    if run is not None and (run.folder / "answers.npz").is_file():
        every, _ = load_answers(run.folder / "answers.npz")
        return {at: every[at] for at in positions}
    path = (kept or predictions_folder()) / f"{key.slug}.npz"
    try:
        with np.load(path, allow_pickle=False) as found:
            if str(found["data"]) == fingerprint:
                return {at: found[f"prediction_{at:05d}"] for at in positions}
    except (OSError, KeyError, ValueError):
        pass
    return NotRun("measured elsewhere; its answers to these pairs are not on this machine")


# ---------------------------------------------------------------------------------------------- kept answers


def predictions_folder() -> Path:
    """Where the few answers are kept that the figures show: `notebooks/results/predictions`."""
    return project_root() / "notebooks" / "results" / "predictions"


def keep_answers(
    results: Results, profile: str, *, finder: Finder | None = None, folder: Path | None = None
) -> list[Path]:
    """Write the answers that the figures show, `<slug>.npz` each (some kilobytes); return the files written.

    Runs whose folder is not in the store keep the file they have.
    """
    finder = finder or Finder(older=True)
    wanted: dict[RunKey, set[int]] = {}
    settings: dict[RunKey, RunConfig] = {}
    for name, protocol in _variants():
        for panel in panels_of(name, profile, protocol).values():
            lead = results.get(panel.lead)
            if isinstance(lead, NotRun):
                continue
            for key in panel.keys:
                measured = results.get(key)
                if isinstance(measured, Measured):
                    wanted.setdefault(key, set()).update(positions_of(name, lead))
                    settings[key] = config_of(key, measured.profile)
    return [path for key in wanted for path in _keep(key, wanted[key], settings[key], finder, folder)]


def _variants() -> Iterator[tuple[str, str | None]]:
    for name in PICTURES:
        yield name, None
        if name.startswith("popnet"):
            yield name, "journal"


def _keep(key: RunKey, positions: set[int], config: RunConfig, finder: Finder, folder: Path | None) -> list[Path]:
    from oshp_lite.engine.evaluate import load_answers

    run, dataset = finder.find(config), finder.dataset(config.data)
    if run is None or dataset is None or not (run.folder / "answers.npz").is_file():
        return []
    every, _ = load_answers(run.folder / "answers.npz")
    arrays = {f"prediction_{at:05d}": every[at] for at in sorted(positions)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, data=np.array(dataset.fingerprint), **arrays)  # type: ignore[arg-type]
    path = (folder or predictions_folder()) / f"{key.slug}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != buffer.getvalue():
        write_atomic(path, buffer.getvalue())
        return [path]
    return []


def main(words: list[str] | None = None) -> int:
    """Keep the answers of a profile's runs; the command line of this module."""
    from oshp_lite.study.results import load_results

    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.pictures", description=__doc__.splitlines()[0])
    parser.add_argument("--profile", default="lite")
    given = parser.parse_args(words)
    try:
        for path in keep_answers(load_results(given.profile, screen=False), given.profile):
            print(f"wrote {path}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
