"""The run matrix as work: each declared run with its configuration, its first weights, and what is done already."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.engine.runs import Run, RunStore, check_network
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
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


def rows_of(keys: Iterable[RunKey], profile: str, overrides: Sequence[str] = ()) -> list[Row]:
    """Return the rows of some runs in order, each initialisation before the first row that starts from it.

    UserError for settings that do not exist, or that a row's method does not know.
    """
    rows: dict[str, Row] = {}
    fine: set[str] = set()
    for key in keys:
        config = config_of(key, profile, overrides)
        reason = why_not(key, config)
        network = repr((config.variant, config.model, config.data.way))
        if overrides and network not in fine and not _lacks(key.method, config):  # declared settings are good
            _refuse(key, config)
            fine.add(network)
        needs: list[str] = []
        for first in [] if reason else _chain(config):
            name = _initial_name(first)
            rows.setdefault(name, Row(name, first, None, tuple(needs)))
            needs.append(name)
        rows[key.slug] = Row(key.slug, config, key, tuple(needs), reason)
    return list(rows.values())


def _refuse(key: RunKey, config: RunConfig) -> None:
    """Raise UserError, naming the row, when its method does not know the settings."""
    try:
        check_network(config)
    except UserError as error:
        raise UserError(f"{error} (row {key.slug}; --only chooses methods)") from None


def _chain(config: RunConfig) -> list[RunConfig]:
    """Return the initialisations of a run, the earliest first."""
    from oshp_lite.engine.presets import init_config

    found: list[RunConfig] = []
    first = init_config(config)
    while first is not None:
        found.insert(0, first)
        first = init_config(first)
    return found


def _initial_name(config: RunConfig) -> str:
    from oshp_lite.engine.config import identity_dict

    data = config.data
    protocol = "" if data.protocol == "journal" else f"-{data.protocol}"
    told = sha256_json(identity_dict(config))[:8]
    return f"init-{data.dataset}-fold{data.fold}{protocol}-seed{config.train.seed}-{told}"


def why_not(key: RunKey, config: RunConfig) -> str:
    """Return why a run cannot be made here (no weights, no data, no such method), or nothing; a look, no work."""
    from oshp_lite.data.registry import dataset_folder
    from oshp_lite.engine.models import known_methods

    if key.method not in known_methods():
        return f"the method {key.method} is not part of this package"
    lacking = _lacks(key.method, config)
    if lacking:
        return lacking
    data = config.data
    if config.variant == "paper" and config.init.kind == "none" and key.method != "persam":
        return (
            f"needs the weights that the papers start from: set {COCO} to the DeepLab v3+ Xception checkpoint "
            "trained on COCO that the official repository's README links"
        )
    if config.init.kind == "file" and not Path(str(config.init.path)).is_file():
        return f"needs the first weights {config.init.path}, which are not there; check {COCO}"
    if not data.dataset.startswith("synth-") and not (dataset_folder(data) / "dataset.json").is_file():
        return f"needs the dataset {data.dataset} in the data folder; data_scripts/ has the script that makes it"
    return ""


def _lacks(method: str, config: RunConfig) -> str:
    """Ask the method's own module (its `needs_weights`, if it has one) what it lacks with these options."""
    try:
        asked = getattr(import_module(f"oshp_lite.models.baselines.{method}"), "needs_weights", None)
    except ImportError:
        return ""
    return str(asked(config.model.options) or "") if asked is not None else ""


class Finder:
    """Looks rows up in a run store, with each dataset opened once; never draws or trains anything.

    older  take a run made by earlier code with the same configuration and data, when the present code has none
    """

    def __init__(self, store: RunStore | None = None, data: str | Path | None = None, *, older: bool = False) -> None:
        self.store, self.data, self.older = store or RunStore(), data, older
        self._datasets: dict[tuple[Path, int], Any] = {}
        self._earlier: dict[str, Run] | None = None

    def find(self, config: RunConfig) -> Run | None:
        """Return the finished run of a configuration, or None."""
        dataset = self.dataset(config.data)
        if dataset is None:
            return None
        found = self.store.find_in(config, dataset)
        if found is None and self.older:
            found = self._before().get(_told(config, dataset.fingerprint))
        return found

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

    def _before(self) -> dict[str, Run]:
        """Return the store's runs by what they were asked for, the latest of each."""
        if self._earlier is None:
            self._earlier = dict(self._listed())
        return self._earlier

    def _listed(self) -> Iterator[tuple[str, Run]]:
        for run in self.store.runs():
            try:
                yield _told(run.config, str(run.provenance.get("data", ""))), run
            except UserError:
                continue  # settings of older code that have other names now


def _told(config: RunConfig, data: str) -> str:
    from oshp_lite.engine.config import identity

    return identity(config, data, "")
