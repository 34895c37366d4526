"""The run store: a configuration goes in, its finished run comes out, trained at most once.

A run's identity is the hash of its configuration, its data's fingerprint and the fingerprint of the code it uses
(comments and docstrings do not count). Its folder appears under its final name only when everything is in it:

    config.yaml   history.csv      weights.safetensors      resume.pt
    scores.json   provenance.json  sample_NN.png  notebook.ipynb
    pairs.npz     answers.npz      (each test pair's confusion matrix, and its answer)

Until then the work lies in `.partial/`, from where a killed training goes on.
"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from oshp_lite.data.registry import check_names, dataset_folder, find_dataset
from oshp_lite.errors import UserError
from oshp_lite.files import publish_folder, read_json, runs_root, write_json_atomic
from oshp_lite.lock import locked
from oshp_lite.models.registry import method

if TYPE_CHECKING:
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.config import RunConfig

_SECONDS = "seconds.json"


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what stands in it."""

    folder: Path
    settings: dict[str, Any]
    scores: dict[str, Any]
    provenance: dict[str, Any]
    older_code: bool = False

    @property
    def config(self) -> RunConfig:
        """The configuration. Raises UserError for a run of older code whose settings have other names."""
        from oshp_lite.engine.config import from_dict

        return from_dict(self.settings, where="configuration")

    @property
    def identity(self) -> str:
        """Hash of configuration, data and code."""
        return str(self.provenance.get("identity", ""))

    @property
    def weights(self) -> Path:
        """The trained weights (safetensors, with method and configuration in its metadata)."""
        return self.folder / "weights.safetensors"

    @property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch of `history.csv`; cells that are no numbers are left out."""
        try:
            with open(self.folder / "history.csv", newline="", encoding="utf-8") as stream:
                return [dict(_numbers(row)) for row in csv.DictReader(stream)]
        except FileNotFoundError:
            return []

    @property
    def samples(self) -> list[Path]:
        """Pictures of sample parses, in order."""
        return sorted(self.folder.glob("sample_*.png"))

    @property
    def notebook(self) -> Path | None:
        """The executed notebook that shows this run, when it has been made by one."""
        path = self.folder / "notebook.ipynb"
        return path if path.is_file() else None

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training and evaluation, over all starts."""
        return float(self.provenance.get("seconds", 0.0))

    def parser(self) -> Any:
        """The trained parser, ready to predict."""
        from oshp_lite.engine.checkpoint import load_parser

        return load_parser(self.weights)


@dataclass
class RunStore:
    """A folder of runs. `ensure` finds or makes one; `runs` lists what is there, made by older code too."""

    root: Path = field(default_factory=runs_root)

    def __post_init__(self) -> None:
        self.root = Path(self.root)

    def ensure(
        self,
        config: RunConfig,
        data: str | Path | None = None,
        *,
        wait: bool = True,
        progress: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> Run:
        """Return the finished run of `config`; train and evaluate it first when there is none.

        `data` is the folder of datasets. Runs that `config` starts from are made the same way first. When another
        process is making the run, wait for it, or raise Busy if `wait` is False. Raises UserError for missing data.
        """
        say = tell or _say
        _check(config)
        if not (dataset_folder(config.data, data) / "dataset.json").is_file():
            check_start(config)  # without data there is no finished run either; refuse before people are drawn
        dataset = find_dataset(config.data, data, progress=progress)
        identity = self._identity(config, dataset)
        name = _folder_name(config, identity)
        found = self._open(self.root / name)
        if found is not None:
            return found
        check_start(config)
        first = self._initial(config, data, wait=wait, progress=progress, tell=say)
        with locked(self.root / ".locks" / f"{name}.lock", f"the run {name}", wait=wait, tell=say):
            found = self._open(self.root / name)
            if found is not None:
                return found
            work = self.root / ".partial" / name
            if progress:
                again = "going on with" if (work / "resume.pt").is_file() else "making"
                say(f"{again} the run {name}")
            self._make(config, dataset, work, first, progress)
            publish_folder(work, self.root / name, replace=True)
        made = self._open(self.root / name)
        if made is None:
            raise UserError(f"{self.root / name} was made but cannot be read back; check the disk")
        return made

    def find(self, config: RunConfig, data: str | Path | None = None) -> Run | None:
        """The finished run of `config` made by the present code, or None; trains nothing."""
        return self.find_in(config, find_dataset(config.data, data, progress=False))

    def find_in(self, config: RunConfig, dataset: OneShotDataset) -> Run | None:
        """The same for a dataset that is open already."""
        return self._open(self.root / _folder_name(config, self._identity(config, dataset)))

    def runs(self) -> list[Run]:
        """Every finished run, oldest first; those made by other code than the present carry `older_code`."""
        folders = sorted(path for path in self.root.glob("[!.]*") if (path / "scores.json").is_file())
        found = [run for run in map(self._open, folders) if run is not None]
        return sorted(found, key=lambda run: str(run.provenance.get("finished", "")))

    def _initial(
        self, config: RunConfig, data: str | Path | None, *, wait: bool, progress: bool, tell: Callable[[str], None]
    ) -> Run | None:
        from oshp_lite.engine.presets import init_config

        first = init_config(config)
        return None if first is None else self.ensure(first, data, wait=wait, progress=progress, tell=tell)

    def _identity(self, config: RunConfig, dataset: OneShotDataset) -> str:
        from oshp_lite.engine.config import identity

        data = dataset.fingerprint
        if config.init.kind == "file" and config.init.path:
            data = f"{data} from {_file_sha(Path(config.init.path))}"
        return identity(config, data, present_code(config.model.method))

    def _open(self, folder: Path) -> Run | None:
        if not (folder / "scores.json").is_file():
            return None
        settings = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        provenance = read_json(folder / "provenance.json")
        older = provenance.get("code") != _code_now(settings)
        return Run(folder, settings, read_json(folder / "scores.json"), provenance, older)

    def _make(
        self,
        config: RunConfig,
        dataset: OneShotDataset,
        work: Path,
        first: Run | None,
        progress: bool,
    ) -> None:
        """Train and evaluate into `work`, which keeps its content when this is interrupted."""
        started, before = time.monotonic(), _seconds_before(work)
        try:
            execute(config, dataset, work, first.weights if first else None, progress)
        finally:
            seconds = round(before + time.monotonic() - started, 1)
            write_json_atomic(work / _SECONDS, seconds)
        told = {
            "identity": work.name.rpartition("-")[2],
            "init": first.identity if first else None,
            "seconds": seconds,
            "finished": _now(),
        }
        write_json_atomic(work / "provenance.json", {**read_json(work / "provenance.json"), **told})
        (work / _SECONDS).unlink()


def execute(
    config: RunConfig, dataset: OneShotDataset, folder: Path, init_weights: Path | None, progress: bool
) -> None:
    """Train (or go on), evaluate, and fill the run's folder; a seam for tests."""
    from oshp_lite.engine import run

    run.execute(config, dataset, folder, init_weights, progress)


def present_code(method: str = "segment") -> str:
    """Fingerprint of the code that decides the numbers of a method's runs, comments and docstrings left out."""
    from oshp_lite.engine.provenance import code_of

    return str(code_of(method))


def _code_now(settings: dict[str, Any]) -> str:
    """The present code of a run's method; empty when the method is no more."""
    try:
        return present_code(str(settings["model"]["method"]))
    except (UserError, KeyError, TypeError):
        return ""


def _check(config: RunConfig) -> None:
    """Raise UserError for a method, dataset or fold that does not exist, before any data are drawn."""
    check_names(config.data)
    method(config.model.method)


def check_start(config: RunConfig) -> None:
    """Raise UserError where a run could not begin here: a device that is not there, a network that cannot be built."""
    from oshp_lite.engine.train import pick_device

    pick_device(config.train.device)
    check_network(config)


def check_network(config: RunConfig) -> None:
    """Raise UserError for options that the method does not know, or weights that it lacks.

    Builds the network once (two seconds for the largest), since only the method itself knows its options.
    """
    from oshp_lite.engine.models import build_parser
    from oshp_lite.labels import fold

    _check(config)
    build_parser(config, fold(config.data.dataset, config.data.fold, config.data.protocol))


def _folder_name(config: RunConfig, identity: str) -> str:
    data = config.data
    size = data.size if isinstance(data.size, int) else "x".join(map(str, data.size))
    way = f"{data.way}way" if config.train.task == "parse" else f"segment-{config.train.visible}"
    method = f"{config.model.method}-" if config.train.task == "parse" else ""
    return f"{method}{data.dataset}-fold{data.fold}-{way}-{size}px-seed{config.train.seed}-{identity}"


def _numbers(row: dict[str, str]) -> Iterator[tuple[str, float]]:
    for key, text in row.items():
        try:
            yield key, float(text)
        except (TypeError, ValueError):
            continue


def _seconds_before(work: Path) -> float:
    try:
        return float(json.loads((work / _SECONDS).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return 0.0


def _file_sha(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"init.path {path} cannot be read ({error.strerror}); name an existing checkpoint") from None


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
