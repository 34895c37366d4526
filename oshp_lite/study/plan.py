"""The plan: each declared run with its configuration, its first weights, what it lacks here, and how long it will take.

Rows come from `experiments`; `execute` makes them. Nothing here computes or draws anything.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from oshp_lite.engine.runs import Run, RunStore, check_network
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, sha256_json
from oshp_lite.models import registry
from oshp_lite.study import experiments
from oshp_lite.study.records import RunKey

if TYPE_CHECKING:
    from oshp_lite.engine.config import DataConfig, RunConfig

CURVE_POINTS = 10
"""Evaluations during the trainings whose curve is drawn."""

COCO = "OSHP_COCO_WEIGHTS"
"""Environment variable with the checkpoint that the papers start from; rows of the profile "paper" need it."""

LIMIT_MINUTES = {"smoke": 10, "quick": 60, "lite": 180, "gpu": 180, "paper": 0}
"""Minutes one run may take, 0 for no limit."""


@dataclass(frozen=True)
class Row:
    """One run to make.

    key     what the tables call it; None for an initialisation, which other rows start from
    needs   names of the initialisations that have to be there first, in order
    reason  why it cannot be run here; empty when it can
    """

    name: str
    config: RunConfig = field(repr=False)
    key: RunKey | None = None
    needs: tuple[str, ...] = ()
    reason: str = ""


def config_of(key: RunKey, profile: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a declared run under a profile. UserError for settings that do not exist."""
    from oshp_lite.engine.presets import load_profile

    wanted = [*experiments.overrides_of(key, profile), *overrides]
    coco = os.environ.get(COCO)
    if profile == "paper" and coco:
        wanted = ["init.kind=file", f"init.path={Path(coco).expanduser()}", *wanted]
    config = load_profile(profile, wanted, dataset=key.dataset, way=key.way)
    if experiments.needs_curve(key) and not config.train.eval_every:
        every = max(1, config.train.epochs // CURVE_POINTS)
        config = replace(config, train=replace(config.train, eval_every=every))
    return config


def rows_of(
    keys: Iterable[RunKey], profile: str, overrides: Sequence[str] = (), data: str | Path | None = None
) -> list[Row]:
    """Return the rows of some runs in order, each initialisation before the first row that starts from it.

    `data` is the folder of datasets. UserError for settings that do not exist, or that a row's method does not know.
    """
    rows: dict[str, Row] = {}
    checked: set[str] = set()
    for key in keys:
        config = config_of(key, profile, overrides)
        reason = why_not(key, config, data)
        network = repr((config.variant, config.model, config.data.way))
        lacks = overrides and registry.method(key.method).lacking(config.model.options)
        if overrides and network not in checked and not lacks:  # declared settings are good
            try:
                check_network(config)
            except UserError as error:
                raise UserError(f"{error} (row {key.slug}; --only chooses methods)") from None
            checked.add(network)
        needs: list[str] = []
        for first in [] if reason else _chain(config):
            name = _initial_name(first)
            rows.setdefault(name, Row(name, first, None, tuple(needs)))
            needs.append(name)
        rows[key.slug] = Row(key.slug, config, key, tuple(needs), reason)
    return list(rows.values())


def numbered(rows: Iterable[Row]) -> list[tuple[int, Row]]:
    """Rows with their index; initialisations are made with the rows that need them and have none (-1)."""
    number, listed = 0, []
    for row in rows:
        listed.append((number if row.key else -1, row))
        number += row.key is not None
    return listed


def _chain(config: RunConfig) -> list[RunConfig]:
    """Return the initialisations of a run, the earliest first."""
    from oshp_lite.engine.presets import init_config

    first = init_config(config)
    return [] if first is None else [*_chain(first), first]


def _initial_name(config: RunConfig) -> str:
    from oshp_lite.engine.config import identity_dict

    data = config.data
    protocol = "" if data.protocol == "journal" else f"-{data.protocol}"
    digest = sha256_json(identity_dict(config))[:8]
    return f"init-{data.dataset}-fold{data.fold}{protocol}-seed{config.train.seed}-{digest}"


def why_not(key: RunKey, config: RunConfig, data: str | Path | None = None) -> str:
    """Return why a run cannot be made here (no weights, no data, no such method), or nothing; a look, no work."""
    from oshp_lite.data.registry import missing_dataset

    if key.method not in registry.METHODS:
        return f"the method {key.method} is not part of this package"
    lacking = registry.method(key.method).lacking(config.model.options)
    if lacking:
        return lacking
    if config.variant == "paper" and config.init.kind == "none" and key.method != "persam":
        return (
            f"needs the weights that the papers start from: set {COCO} to the DeepLab v3+ Xception checkpoint "
            "trained on COCO that the official repository's README links"
        )
    if config.init.kind == "file" and not Path(str(config.init.path)).is_file():
        return f"needs the first weights {config.init.path}, which are not there; check {COCO}"
    if missing_dataset(config.data, data):
        return f"needs the dataset {config.data.dataset} in the data folder; data_scripts/ has the script that makes it"
    return ""


class Finder:
    """Looks rows up in a run store, with each dataset opened once; never draws or trains anything."""

    def __init__(self, store: RunStore | None = None, data: str | Path | None = None) -> None:
        self.store, self.data = store or RunStore(), data
        self._datasets: dict[tuple[Path, int], Any] = {}

    def find(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, or None."""
        dataset = self.dataset(config.data)
        return None if dataset is None else self.store.find(config, self.data, dataset)

    def dataset(self, data: DataConfig) -> Any:
        """Return the dataset of a configuration, opened once, or None when it is not on disk."""
        from oshp_lite.data.dataset import open_dataset
        from oshp_lite.data.registry import dataset_folder

        described = dataset_folder(data, self.data) / "dataset.json"
        try:
            written = described.stat().st_mtime_ns
        except OSError:
            return None
        if (described, written) not in self._datasets:
            self._datasets[described, written] = open_dataset(described.parent)
        return self._datasets[described, written]


# ------------------------------------------------------------------------------------ trainings of notebook 07

_SYNTH = ("synth-atr", 1)
_CCP = ("ccp-os", 1)
TRAININGS: dict[str, list[tuple[str, int, str]]] = {
    "smoke": [(*_SYNTH, "k"), (*_SYNTH, "1")],
    "quick": [(*_SYNTH, "k"), (*_CCP, "k")],
    "lite": [(*_SYNTH, "k"), (*_SYNTH, "1"), (*_CCP, "k"), (*_CCP, "1")],
    "gpu": [(*_CCP, "k"), (*_CCP, "1"), (*_SYNTH, "k")],
    "paper": [(name, fold, way) for name in ("atr-os", "lip-os", "cihp-os") for fold in (1, 2) for way in ("k", "1")],
}
"""What each profile trains: dataset, fold, way. A dataset that is not at hand is listed as not run."""


@dataclass(frozen=True)
class Training:
    """One training of a profile and whether its data are at hand."""

    dataset: str
    fold: int
    way: str
    missing: str = ""
    overrides: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """A file-safe name; other settings than the profile's get a name of their own."""
        changed = f"-{sha256_json(list(self.overrides))[:8]}" if self.overrides else ""
        return f"{self.dataset}-fold{self.fold}-{self.way}way{changed}"

    @classmethod
    def read(cls, about: dict[str, Any]) -> Training:
        """Rebuild a training from a manifest."""
        return cls(**{**about, "overrides": tuple(about.get("overrides", ()))})


def trainings(profile: str, overrides: Sequence[str] = (), data: str | Path | None = None) -> list[Training]:
    """What the profile trains; real datasets that are not found carry the reason."""
    from oshp_lite.data.registry import missing_dataset
    from oshp_lite.engine.config import DataConfig

    listed = []
    for dataset, fold, way in TRAININGS[profile]:
        lacking = missing_dataset(DataConfig(dataset=dataset), data)
        missing = f"the dataset {dataset} is not in the data folder" if lacking else ""
        listed.append(Training(dataset, fold, way, missing, tuple(overrides)))
    return listed


def training_config(profile: str, training: Training) -> RunConfig:
    """The configuration that notebook 07 uses for this training."""
    from oshp_lite.engine.presets import load_profile

    wanted = [f"data.fold={training.fold}", *training.overrides]
    return load_profile(profile, wanted, dataset=training.dataset, way=training.way)


# ----------------------------------------------------------------------------------------------- estimates


@dataclass(frozen=True)
class Planned:
    """A row with its state ("done", "due" or "not run") and the seconds it takes or took; None: no idea.

    elsewhere  the seconds are those of another machine
    """

    row: Row
    state: str
    seconds: float | None = None
    elsewhere: bool = False
    reason: str = ""


LIKENESS: tuple[Callable[[RunConfig], tuple[object, ...]], ...] = (
    lambda c: (c.model.method, c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.model.method, c.train.task, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.train.task, c.data.dataset, c.data.way, c.data.size, c.data.synthetic.n_train),
    lambda c: (c.train.task, c.data.size, c.data.synthetic.n_train),
)
"""What two runs have in common to take about equally long, the closest likeness first."""


def guess(config: RunConfig, known: Sequence[tuple[RunConfig, float]]) -> float | None:
    """Return the median seconds of the most similar finished runs, scaled to the epochs asked for; else None."""
    for like in LIKENESS:
        seconds = [
            took * config.train.epochs / max(1, other.train.epochs)
            for other, took in known
            if like(other) == like(config)
        ]
        if seconds:
            return median(seconds)
    return None


def estimated(
    rows: Iterable[Row], finder: Finder, is_done: Callable[[Row], bool], unreadable: list[str] | None = None
) -> list[Planned]:
    """Say of each row what would happen; the seconds of this machine's runs come first, then the committed ones'.

    Committed results that cannot be read are left out and named in `unreadable`.
    """
    here, elsewhere = list(_finished(finder.store)), list(_committed([] if unreadable is None else unreadable))
    planned = []
    for row in rows:
        if row.reason:
            planned.append(Planned(row, "not run", reason=row.reason))
            continue
        try:
            run = finder.find(row.config)
            if run is not None and is_done(row):
                planned.append(Planned(row, "done", run.seconds))
                continue
        except UserError as error:  # a damaged run or dataset is one row's trouble
            planned.append(Planned(row, "due", reason=str(error)))
            continue
        seconds = (
            20.0 if run is not None else guess(row.config, here)
        )  # the notebook of a finished run is soon executed
        other = guess(row.config, elsewhere) if seconds is None else None
        planned.append(Planned(row, "due", other if seconds is None else seconds, other is not None))
    return planned


def _finished(store: RunStore) -> Iterator[tuple[RunConfig, float]]:
    for run in store.runs():
        with contextlib.suppress(UserError):  # settings of older code that have other names now
            yield run.config, run.seconds


def _committed(unreadable: list[str]) -> Iterator[tuple[RunConfig, float]]:
    for path in sorted((project_root() / "notebooks" / "results" / "runs").glob("*.json")):
        try:
            about = read_json(path)
            yield config_of(RunKey(**about["key"]), about["profile"]), float(about["provenance"].get("seconds", 0.0))
        except (UserError, AttributeError, KeyError, TypeError, ValueError) as error:
            reason = str(error) if isinstance(error, UserError) else f"{path} is no result of a run; restore it"
            unreadable.append(reason)


def plan_text(rows: Sequence[Row], finder: Finder, is_done: Callable[[Row], bool], jobs: int) -> str:
    """Return the plan of a call with `jobs` rows at a time, for people."""
    unreadable: list[str] = []
    planned = estimated(rows, finder, is_done, unreadable)
    lines = []
    for (number, row), item in zip(numbered(rows), planned, strict=True):
        minutes = "" if item.state == "not run" else "?" if item.seconds is None else f"{item.seconds / 60:.1f} min"
        index, mark = "" if number < 0 else str(number), "*" if item.elsewhere else " "
        lines.append(f"{index:>4s}  {item.state:8s}{minutes:>10s}{mark} {row.name}  {item.reason}".rstrip())
    counts = {state: sum(item.state == state for item in planned) for state in ("done", "due", "not run")}
    lines.append(f"{len(planned)} rows: " + ", ".join(f"{number} {state}" for state, number in counts.items()))
    due = [item for item in planned if item.state == "due"]
    known = [item.seconds for item in due if item.seconds is not None]
    missing = len(due) - len(known)
    if known:
        total = sum(known) / len(known) * len(due) / max(1, min(jobs, len(due)))
        rest = f" ({missing} rows, like none that has run yet, counted with the mean)" if missing else ""
        lines.append(f"about {total / 60:.0f} minutes, {jobs} at a time{rest}")
        if any(item.elsewhere for item in due):
            lines.append("* as long as the committed runs took, which were made on another machine")
    elif due:
        lines.append(
            "no run of this kind has finished here yet, so there is no estimate; oshp-lite doctor measures one"
        )
    lines += [f"damaged: {reason}" for reason in finder.store.damaged().values()]
    lines += [f"left out: {reason}" for reason in unreadable]
    return "\n".join(lines)
