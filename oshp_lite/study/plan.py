"""The plan: each declared run with its configuration, its first weights, what it lacks here, how long it will take."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any, Literal, cast

from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.registry import dataset_folder, dataset_spec, domain_data, missing_dataset
from oshp_lite.engine.config import DataConfig, RunConfig, identity_dict
from oshp_lite.engine.presets import init_config, load_profile
from oshp_lite.engine.runs import Run, RunStore, check_network
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, sha256_json
from oshp_lite.models import registry
from oshp_lite.study import experiments, forecast
from oshp_lite.study.records import RunKey
from oshp_lite.study.weights import COCO, coco_fault, dataset_fault

CURVE_POINTS = 20
"""Evaluations during the trainings whose curve is drawn."""

LIMIT_MINUTES = {"smoke": 10, "quick": 60, "lite": 180, "gpu": 180, "paper": 0}
"""Minutes one run may take, 0 for no limit."""


@dataclass(frozen=True)
class Row:
    """One run to make.

    key     what the tables call it; None for an initialisation, which other rows start from
    needs   names of the initialisations that have to be there first, in order
    reason  why it cannot be run here; empty when it can
    index   its number among the rows; initialisations are made with the rows that need them and have none (-1)
    step    the letter of the first step of the study that has it, "" for none
    """

    name: str
    config: RunConfig = field(repr=False)
    key: RunKey | None = None
    needs: tuple[str, ...] = ()
    reason: str = ""
    index: int = -1
    step: str = ""


def config_of(key: RunKey, profile: str, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a declared run under a profile. UserError for settings that do not exist."""
    wanted = [*experiments.overrides_of(key, profile), *overrides]
    coco = os.environ.get(COCO)
    if profile == "paper" and coco and key.method != "persam":  # SAM has no encoder of ours to start
        wanted = ["init.kind=file", f"init.path={Path(coco).expanduser()}", *wanted]
    return _loaded(key, profile, wanted)


def _loaded(key: RunKey, profile: str, overrides: Sequence[str]) -> RunConfig:
    """Return a profile's configuration, evaluated during the training where the curve of its scores is drawn."""
    domains = experiments.trained_over(key, profile)
    largest = [*experiments.label_domains(profile).values()][-1]  # whose number of photos a profile states
    config = load_profile(profile, overrides, dataset=largest if domains else key.dataset, way=key.way)
    if domains:
        config = replace(config, data=domain_data(config.data, domains[-1]))
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
        needs: list[str] = []
        for first in [] if reason else initialisations(config):
            of, digest = first.data, sha256_json(identity_dict(first))[:8]
            protocol = "" if of.protocol == "journal" else f"-{of.protocol}"
            name = f"init-{of.dataset}-fold{of.fold}{protocol}-seed{first.train.seed}-{digest}"
            rows.setdefault(name, Row(name, first, None, tuple(needs)))
            needs.append(name)
        number = sum(row.key is not None for row in rows.values())
        rows[key.slug] = Row(key.slug, config, key, tuple(needs), reason, number, _letters(profile).get(key, ""))
    return list(rows.values())


@cache
def _letters(profile: str) -> dict[RunKey, str]:
    """Return the first step that declares each run of a profile."""
    return {key: step for step in reversed(experiments.STEPS) for key in experiments.step_runs(step, profile)}


def initialisations(config: RunConfig) -> list[RunConfig]:
    """Return the runs that a run's first weights come from, in the order in which they are made."""
    chain, first = list[RunConfig](), init_config(config)
    while first is not None:
        chain, first = [first, *chain], init_config(first)
    return chain


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
    """Return all that a run lacks here (weights, data), or nothing."""
    return "; ".join(blockers(key, config, data))


def blockers(key: RunKey, config: RunConfig, data: str | Path | None = None) -> list[str]:
    """Return everything that keeps a run from being made here; files are opened, no network is built."""
    found = [registry.method(key.method).lacking(config.model.options)]
    if config.variant == "paper" and config.init.kind == "none" and key.method != "persam":
        found.append(
            f"needs the weights that the papers start from: set {COCO} to the DeepLab v3+ Xception checkpoint "
            "trained on COCO that the official repository's README links"
        )
    if config.init.kind == "file":
        found.append(coco_fault(Path(str(config.init.path))))
    known = (*config.model.options.get("domains", ()), *config.init.domains)
    for of in (domain_data(config.data, name) for name in dict.fromkeys((config.data.dataset, *known))):
        spec = dataset_spec(of.dataset)
        if missing_dataset(of, data):
            found.append(f"needs the dataset {spec.name} in the data folder, where {spec.command} puts it")
        elif not spec.synthetic:
            found.append(dataset_fault(dataset_folder(of, data)))
    return [one for one in found if one]


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


Known = Literal["here", "elsewhere", "computed", ""]
"""Where an estimate is from: runs like it on this machine, or committed ones, or counted operations; "" for none."""
SIGNS = {
    "elsewhere": ("*", "as long as the committed runs took, which were made on another machine"),
    "computed": ("~", "computed from counted operations at this machine's kind of pace, since no run like it is known"),
}


@dataclass(frozen=True)
class Planned:
    """A row with its state ("done", "due" or "not run"), the seconds it takes or took and how they are known.

    seconds is None where nothing is known.
    """

    row: Row
    state: str
    seconds: float | None = None
    known: Known = "here"
    reason: str = ""

    def __str__(self) -> str:
        minutes = "" if self.state == "not run" else "?" if self.seconds is None else f"{self.seconds / 60:.1f} min"
        index, mark = str(self.row.index) if self.row.key else "", SIGNS.get(self.known, " ")[0]
        step = self.row.step or ("" if self.row.key else "init")
        return f"{index:>4s} {step:>4s}  {self.state:8s}{minutes:>10s}{mark} {self.row.name}  {self.reason}".rstrip()


def guess(
    config: RunConfig, known: Sequence[tuple[RunConfig, float]], of: Callable[[list[float]], float] = median
) -> float | None:
    """Return `of` the seconds of the most similar finished runs, scaled to its number of epochs; None without any."""

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
            return of(seconds)
    return None


class Estimates:
    """Seconds that runs take: like this machine's own runs, else the committed ones, else by counted operations.

    Committed results that cannot be read are left out and named in `unreadable`.
    """

    def __init__(self, store: RunStore) -> None:
        self.unreadable: list[str] = []
        self._here, self._elsewhere = list(_finished(store)), list(_committed(self.unreadable))

    def of(self, config: RunConfig, device: str = "") -> tuple[float | None, Known]:
        """Return the seconds of a run and how they are known; `device` "cuda" or "cpu", this machine's by default."""
        kind = device or _kind()
        likely = (self._here, "here", median), (self._elsewhere, "elsewhere", min)  # other work there only took longer
        for known, name, of in likely if kind == _kind() else ():
            if (seconds := guess(config, known, of)) is not None:
                return seconds, cast("Known", name)
        work, pace = forecast.work_of(config), forecast.pace(kind, config.variant)
        return (work.seconds(pace), "computed") if work and pace else (None, "")


@cache
def _kind() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def estimated(
    rows: Iterable[Row], finder: Finder, is_done: Callable[[Row], bool], estimates: Estimates | None = None
) -> list[Planned]:
    """Say of each row what would happen, and how long it takes."""
    estimates = estimates or Estimates(finder.store)

    def planned(row: Row) -> Planned:
        if row.reason:
            return Planned(row, "not run", reason=row.reason)
        try:
            run = finder.find(row.config)
            if run is not None:  # the notebook of a finished run is soon executed
                return Planned(row, "done", run.seconds) if is_done(row) else Planned(row, "due", 20.0)
        except UserError as error:  # a damaged run or dataset is one row's trouble
            return Planned(row, "due", reason=str(error))
        return Planned(row, "due", *estimates.of(row.config))

    return [planned(row) for row in rows]


@dataclass(frozen=True)
class Whole:
    """What some rows take in all: `seconds`, one run after the other, of `runs` that are still to be made.

    lacking  rows that cannot be made here; where it is all of them, the seconds are theirs
    unknown  runs that are not in the seconds; known: how these are known
    """

    seconds: float
    runs: int
    lacking: int
    unknown: int
    known: tuple[Known, ...]


def whole(rows: Sequence[Row], finder: Finder, estimates: Estimates, device: str = "") -> Whole:
    """Return what rows and trainings take with the initialisations that they need, each run once."""
    able = [row for row in rows if not row.reason]
    listed = {row.name for row in able}
    open_starts = [row for row in able or rows if not row.needs or not {*row.needs} <= listed]
    before = [config for row in open_starts for config in initialisations(row.config)]
    configs = [*before, *(row.config for row in able or rows)]
    once = {sha256_json(identity_dict(config)): config for config in configs}
    due = [config for config in once.values() if _undone(config, finder)]
    found = [estimates.of(config, device) for config in due]
    seconds, unknown = forecast.total([one for one, _ in found])
    return Whole(
        seconds, len(due), len(rows) - len(able), unknown, tuple(sorted({known for _, known in found if known}))
    )


def _undone(config: RunConfig, finder: Finder) -> bool:
    try:
        return finder.find(config) is None
    except UserError:  # damaged: to be made again
        return True


def before_training(configs: Iterable[RunConfig], finder: Finder) -> str:
    """Say how long the initialisations take that some trainings still lack, "" when none does.

    A limit of minutes on a training does not count them.
    """
    chains = (first for config in configs for first in initialisations(config))
    due = {sha256_json(identity_dict(first)): first for first in chains if _undone(first, finder)}
    if not due:
        return ""
    estimates = Estimates(finder.store)
    seconds, unknown = forecast.total([estimates.of(first)[0] for first in due.values()])
    took = f"about {forecast.words(seconds)}" if seconds else "a time that nothing here tells"
    return (
        f"before the minutes begin: {len(due)} initialisation{'s' if len(due) > 1 else ''} that the training starts "
        f"from, {took}{f' and {unknown} more' if unknown and seconds else ''}; made once and kept"
    )


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
            reason = str(error) if isinstance(error, UserError) else f"{path} is not the result of a run; restore it"
            unreadable.append(reason)


def plan_text(rows: Sequence[Row], finder: Finder, is_done: Callable[[Row], bool], jobs: int) -> str:
    """Return the plan of a call with `jobs` rows at a time, for people."""
    estimates = Estimates(finder.store)
    planned = estimated(rows, finder, is_done, estimates)
    lines = [" row step", *map(str, planned)]
    states = Counter(item.state for item in planned)
    lines.append(f"{len(planned)} rows: " + ", ".join(f"{states[name]} {name}" for name in ("done", "due", "not run")))
    due = [item for item in planned if item.state == "due"]
    known = [item.seconds for item in due if item.seconds is not None]
    if known:
        took = forecast.words(mean(known) * len(due) / max(1, min(jobs, len(due))))
        missing = len(due) - len(known)
        rest = f" ({missing} rows, like none that has run yet, counted with the mean)" if missing else ""
        lines.append(f"about {took}, {jobs} at a time{rest}")
    elif due:
        lines.append("no run of this kind has finished here and its operations are not counted: there is no estimate")
    lines += [f"{sign} {what}" for name, (sign, what) in SIGNS.items() if any(item.known == name for item in due)]
    lines += [f"damaged: {reason}" for reason in finder.store.damaged().values()]
    return "\n".join([*lines, *(f"left out: {reason}" for reason in estimates.unreadable)])
