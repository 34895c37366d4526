"""The plan: each declared run with its configuration, its first weights, what it lacks here, how long it will take."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.registry import dataset_folder, missing_dataset
from oshp_lite.engine.config import DataConfig, RunConfig, identity_dict
from oshp_lite.engine.presets import init_config, load_profile
from oshp_lite.engine.runs import Run, RunStore, check_network
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, sha256_json
from oshp_lite.models import registry
from oshp_lite.study import experiments
from oshp_lite.study.records import RunKey

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
    index   its number among the rows; initialisations are made with the rows that need them and have none (-1)
    """

    name: str
    config: RunConfig = field(repr=False)
    key: RunKey | None = None
    needs: tuple[str, ...] = ()
    reason: str = ""
    index: int = -1


def config_of(key: RunKey, profile: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a declared run under a profile. UserError for settings that do not exist."""
    wanted = [*experiments.overrides_of(key, profile), *overrides]
    coco = os.environ.get(COCO)
    if profile == "paper" and coco:
        wanted = ["init.kind=file", f"init.path={Path(coco).expanduser()}", *wanted]
    return _loaded(key, profile, wanted)


def _loaded(key: RunKey, profile: str, overrides: Sequence[str]) -> RunConfig:
    """Return a profile's configuration, evaluated during the training where the curve of its scores is drawn."""
    config = load_profile(profile, overrides, dataset=key.dataset, way=key.way)
    budget = experiments.ablation_of(key.method, key.ablation).budget
    config = replace(config, train=replace(config.train, epochs=budget * config.train.epochs))
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
        if overrides and network not in checked and not registry.method(key.method).lacking(config.model.options):
            checked.add(network)  # declared settings alone are good
            try:
                check_network(config)
            except UserError as error:
                raise UserError(f"{error} (row {key.slug}; --only chooses methods)") from None
        chain, first = list[RunConfig](), None if reason else init_config(config)
        while first is not None:
            chain, first = [first, *chain], init_config(first)
        needs: list[str] = []
        for first in chain:
            of, digest = first.data, sha256_json(identity_dict(first))[:8]
            protocol = "" if of.protocol == "journal" else f"-{of.protocol}"
            name = f"init-{of.dataset}-fold{of.fold}{protocol}-seed{first.train.seed}-{digest}"
            rows.setdefault(name, Row(name, first, None, tuple(needs)))
            needs.append(name)
        number = sum(row.key is not None for row in rows.values())
        rows[key.slug] = Row(key.slug, config, key, tuple(needs), reason, number)
    return list(rows.values())


def trainings(profile: str, overrides: Sequence[str] = (), data: str | Path | None = None) -> list[Row]:
    """Return what notebook 07 trains under a profile; other settings than the profile's get names of their own.

    UserError for settings that do not exist.
    """
    changed = f"-{sha256_json(list(overrides))[:8]}" if overrides else ""
    rows = []
    for key in experiments.expand(experiments.DECLARED["trainings"][profile], profile):
        config = _loaded(key, profile, [f"data.fold={key.fold}", *overrides])
        lacking = f"the dataset {key.dataset} is not in the data folder" if missing_dataset(config.data, data) else ""
        name = f"{key.dataset}-fold{key.fold}-{key.way}way{changed}"
        rows.append(Row(name, config, key, reason=lacking))
    return rows


def why_not(key: RunKey, config: RunConfig, data: str | Path | None = None) -> str:
    """Return why a run cannot be made here (no weights, no data), or nothing; a look, no work."""
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
        self._datasets: dict[tuple[Path, int], OneShotDataset] = {}

    def find(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, or None."""
        dataset = self.dataset(config.data)
        return None if dataset is None else self.store.find(config, self.data, dataset)

    def dataset(self, data: DataConfig) -> Any:
        """Return the dataset of a configuration, opened once, or None when it is not on disk.

        Under the protocol "tuning", or with a block, it is what `data.registry.find_dataset` made of the whole.
        """
        folder = dataset_folder(data, self.data)
        derived = f"block{data.block}" if data.block is not None else f"tuning-fold{data.fold}"
        if data.block is not None or data.protocol == "tuning":
            folder = folder.with_name(f"{folder.name}-{derived}")
        described = folder / "dataset.json"
        try:
            written = described.stat().st_mtime_ns
        except OSError:
            return None
        if (described, written) not in self._datasets:
            self._datasets[described, written] = open_dataset(described.parent)
        return self._datasets[described, written]


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

    def __str__(self) -> str:
        minutes = "" if self.state == "not run" else "?" if self.seconds is None else f"{self.seconds / 60:.1f} min"
        index, mark = str(self.row.index) if self.row.key else "", "*" if self.elsewhere else " "
        return f"{index:>4s}  {self.state:8s}{minutes:>10s}{mark} {self.row.name}  {self.reason}".rstrip()


def guess(config: RunConfig, known: Sequence[tuple[RunConfig, float]]) -> float | None:
    """Return the median seconds of the most similar finished runs, scaled to its number of epochs; else None."""

    def about(one: RunConfig) -> list[object]:
        data = one.data
        return [one.train.task, data.size, data.synthetic.n_train, data.way, one.model.method, data.dataset]

    for alike in (6, 5, 4, 3):
        seconds = [
            took * config.train.epochs / max(1, other.train.epochs)
            for other, took in known
            if about(other)[:alike] == about(config)[:alike]
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

    def planned(row: Row) -> Planned:
        if row.reason:
            return Planned(row, "not run", reason=row.reason)
        try:
            run = finder.find(row.config)
            if run is not None:  # the notebook of a finished run is soon executed
                return Planned(row, "done", run.seconds) if is_done(row) else Planned(row, "due", 20.0)
        except UserError as error:  # a damaged run or dataset is one row's trouble
            return Planned(row, "due", reason=str(error))
        seconds = guess(row.config, here)
        if seconds is not None:
            return Planned(row, "due", seconds)
        other = guess(row.config, elsewhere)
        return Planned(row, "due", other, other is not None)

    return [planned(row) for row in rows]


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
    lines = [str(item) for item in planned]
    states = Counter(item.state for item in planned)
    lines.append(f"{len(planned)} rows: " + ", ".join(f"{states[name]} {name}" for name in ("done", "due", "not run")))
    due = [item for item in planned if item.state == "due"]
    known = [item.seconds for item in due if item.seconds is not None]
    if known:
        minutes = mean(known) * len(due) / max(1, min(jobs, len(due))) / 60
        missing = len(due) - len(known)
        rest = f" ({missing} rows, like none that has run yet, counted with the mean)" if missing else ""
        lines.append(f"about {minutes:.0f} minutes, {jobs} at a time{rest}")
        if any(item.elsewhere for item in due):
            lines.append("* as long as the committed runs took, which were made on another machine")
    elif due:
        lines.append("no run of this kind has finished here, so there is no estimate; oshp-lite doctor measures one")
    lines += [f"damaged: {reason}" for reason in finder.store.damaged().values()]
    return "\n".join([*lines, *(f"left out: {reason}" for reason in unreadable)])
