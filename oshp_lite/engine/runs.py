"""The run store: a configuration goes in, its finished run comes out, trained at most once.

A run's identity (`config.identity_of`) names its folder, which appears when everything is in it:

    config.yaml   history.csv      weights.safetensors      resume.pt
    scores.json   provenance.json  sample_NN.png  notebook.ipynb
    pairs.npz     predictions.npz  (each test pair's confusion matrix; its ids and person mask)

Until then the work lies in `.partial/`, from where a killed training goes on. provenance.json holds the files' digests
(a run whose files do not verify is damaged) and the code that made it: a run of older code is marked, and `fresh`
trains it anew.
"""

from __future__ import annotations

import csv
import functools
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import yaml

from oshp_lite.data.registry import check_names, dataset_folder, find_dataset
from oshp_lite.engine.config import RunConfig, from_dict, identity_of
from oshp_lite.engine.outcome import CONFIG, HISTORY, PROVENANCE, SCORES, VERIFIED, WEIGHTS, keep_evaluation
from oshp_lite.engine.presets import init_config
from oshp_lite.errors import UserError
from oshp_lite.files import file_sha256, parse_yaml, publish_folder, read_json, runs_root, write_json_atomic
from oshp_lite.lock import locked
from oshp_lite.models.registry import method

if TYPE_CHECKING:
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.metrics import Scores


@dataclass(frozen=True)
class Run:
    """A finished run: its folder and what stands in it. `older_code`: made by other code than the present."""

    folder: Path
    settings: dict[str, Any]
    scores: dict[str, Any]
    provenance: dict[str, Any]
    older_code: bool = False

    @property
    def config(self) -> RunConfig:
        """The configuration. Raises UserError for a run of older code whose settings have other names."""
        return from_dict(self.settings, where="configuration")

    @property
    def identity(self) -> str:
        """What the run is: see `config.identity_of`."""
        return str(self.provenance.get("identity", ""))

    @property
    def weights(self) -> Path:
        """The trained weights (safetensors, with their `CheckpointRecord` inside)."""
        return self.folder / WEIGHTS

    @property
    def history(self) -> list[dict[str, float]]:
        """One row per epoch: see `read_history`."""
        return read_history(self.folder)

    @property
    def samples(self) -> list[Path]:
        """Pictures of sample parses, in order."""
        return sorted(self.folder.glob("sample_*.png"))

    @property
    def notebook(self) -> Path | None:
        """The executed notebook that shows this run, when it has been made by one."""
        return next(self.folder.glob("notebook.ipynb"), None)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training and evaluation, over all starts."""
        return float(self.provenance.get("seconds", 0.0))

    def parser(self) -> Any:
        """The trained parser, ready to predict."""
        from oshp_lite.engine.checkpoint import load_parser

        return load_parser(self.weights)


def read_history(folder: Path | str) -> list[dict[str, float]]:
    """Return the rows of a run's history.csv, one per epoch; empty cells are left out. UserError if none or damaged."""
    path = Path(folder) / HISTORY
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(stream)]
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; the run has not finished its first epoch") from None
    except (OSError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read ({type(error).__name__}); train the run again") from None


def execute(
    config: RunConfig,
    dataset: OneShotDataset,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    init_identity: str | None = None,
) -> Scores:
    """Train a run (or go on with it), evaluate it, and write everything a run's folder holds; returns the scores.

    A method with a trainer of its own is handed to that. Raises what `train` raises.
    """
    from oshp_lite.engine.checkpoint import load_parser
    from oshp_lite.engine.evaluate import run_evaluation
    from oshp_lite.engine.loading import run_fold, test_set
    from oshp_lite.engine.train import threads_set, train

    folder, spec = Path(folder), method(config.model.method)
    if spec.trainer:
        own: Scores = import_module(spec.trainer).execute(
            config, dataset, folder, init_weights, progress, init_identity
        )
        return own
    episodes = test_set(config, dataset, run_fold(config, dataset))  # a list that cannot be is refused before training
    train(config, dataset, folder, init_weights, progress, init_identity=init_identity)
    with threads_set(config.train.threads):
        parser = load_parser(folder / WEIGHTS, config.train.device)
        evaluation = run_evaluation(parser, dataset, config, progress=progress, episodes=episodes)
        return keep_evaluation(folder, config, dataset, evaluation, episodes.pairs())


def run_data(config: RunConfig, data: str | Path | None = None, *, progress: bool = True) -> OneShotDataset:
    """Open the dataset of a run, drawn first where it is procedural; those of all its domains where it has several."""
    if method(config.model.method).domains:
        from oshp_lite.engine.domains import open_domains

        return cast("OneShotDataset", open_domains(config, data, progress=progress))
    return find_dataset(config.data, data, progress=progress)


def _there(config: RunConfig, data: str | Path | None) -> bool:
    """Whether all that `run_data` opens is on disk."""
    places = [config.data]
    if method(config.model.method).domains:
        from oshp_lite.engine.domains import members_of

        places = [*members_of(config).values()]
    return all((dataset_folder(one, data) / "dataset.json").is_file() for one in places)


def present_code(method: str = "segment") -> str:
    """Return the digest of the code that decides the numbers of a method's runs: see `provenance.code_of`."""
    from oshp_lite.engine.provenance import code_of

    return code_of(method)


def is_older(provenance: dict[str, Any], method: str) -> bool:
    """Return whether a result was made by other code than the present, or by a method that is no more.

    `code_equivalent` in a provenance names later code that is known to give the same numbers, and counts for `code`.
    """
    try:
        return provenance.get("code_equivalent", provenance.get("code")) != present_code(method)
    except UserError:
        return True


def check_network(config: RunConfig) -> None:
    """Raise UserError for an unknown method, dataset or option, or weights that are lacking: build the network once."""
    from oshp_lite.engine.models import build_parser
    from oshp_lite.labels import fold
    from oshp_lite.models.base import PredictOptions

    check_names(config.data)
    parser = build_parser(config, fold(config.data.dataset, config.data.fold, config.data.protocol))
    parser.check_options(PredictOptions(config.eval.source, restrict=config.eval.restrict))


def check_start(config: RunConfig) -> None:
    """Raise UserError where a run could not begin here: a device that is not there, a network that cannot be built."""
    from oshp_lite.engine.checkpoint import pick_device

    pick_device(config.train.device, "train.device")
    check_network(config)


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
        fresh: bool = False,
    ) -> Run:
        """Return the finished run of `config`; train and evaluate it first when there is none.

        `data` is the folder of datasets. Runs that `config` starts from are made the same way first. `fresh` trains
        anew what is there already, and an initialisation that is damaged or of older code. When another process is
        making the run, wait for it, or raise Busy if `wait` is False. Raises UserError for missing data and for a
        damaged run, unless `fresh`.
        """
        say = tell or functools.partial(print, file=sys.stderr, flush=True)
        check_names(config.data)
        method(config.model.method)  # before any data are drawn
        if not (dataset_folder(config.data, data) / "dataset.json").is_file():
            check_start(config)  # without data there is no finished run either; refuse before people are drawn
        dataset = run_data(config, data, progress=progress)
        folders = list(self._folders(config, dataset, data, draw=True))
        folder = folders[0]
        for place in folders if not fresh else ():
            if run := self._open(place):
                return run
        check_start(config)
        first = self._initial(config, data, wait=wait, progress=progress, tell=say, fresh=fresh)
        with locked(self.root / ".locks" / f"{folder.name}.lock", f"the run {folder.name}", wait=wait, tell=say) as had:
            if (had or not fresh) and (run := self._open(folder)):
                return run
            work = self.root / ".partial" / folder.name
            if fresh and not folder.exists():  # where it does, the work is that of a fresh training cut short
                shutil.rmtree(work, ignore_errors=True)
            if progress:
                again = "going on with" if (work / "resume.pt").is_file() else "making"
                say(f"{again} the run {folder.name}")
            self._make(config, dataset, work, first, progress)
            publish_folder(work, folder)
        return cast(Run, self._open(folder))

    def find(
        self, config: RunConfig, data: str | Path | None = None, dataset: OneShotDataset | None = None
    ) -> Run | None:
        """The finished run of `config`, or None (a damaged one counts for none); trains nothing.

        With its dataset open already (`dataset`) nothing is drawn either.
        """
        if dataset is None:
            dataset = run_data(config, data, progress=False)
        elif method(config.model.method).domains:
            if not _there(config, data):
                return None
            dataset = run_data(config, data, progress=False)
        for folder in self._folders(config, dataset, data, draw=False):
            with suppress(UserError):
                if run := self._open(folder):
                    return run
        return None

    def runs(self) -> list[Run]:
        """Every finished run, oldest first; those made by other code than the present carry `older_code`."""
        return self._all()[0]

    def damaged(self) -> dict[Path, str]:
        """Folders of damaged runs, each with the sentence that says what is wrong and how to heal it."""
        return self._all()[1]

    def _all(self) -> tuple[list[Run], dict[Path, str]]:
        runs: list[Run] = []
        damaged: dict[Path, str] = {}
        for folder in sorted(self.root.glob("[!.]*")):
            try:
                run = self._open(folder)
                runs += [run] if run else []
            except UserError as error:
                if any((folder / name).is_file() for name in (*VERIFIED, PROVENANCE)):
                    damaged[folder] = str(error)
        return sorted(runs, key=lambda run: str(run.provenance.get("finished", ""))), damaged

    def _initial(self, config: RunConfig, data: str | Path | None, *, fresh: bool, **how: Any) -> Run | None:
        first = init_config(config)
        if first is None:
            return None
        if config.train.device == "auto":  # of the same kind as the run that starts from it
            first = replace(first, train=replace(first.train, device=_device_kinds(config)[0]))
        there = self.find(first, data) if fresh else None
        return self.ensure(first, data, fresh=fresh and (there is None or there.older_code), **how)

    def _folders(
        self, config: RunConfig, dataset: OneShotDataset, data: str | Path | None, *, draw: bool
    ) -> Iterator[Path]:
        """Yield where the run of `config` may lie, by kind of device; that of a run made now first.

        Nowhere when an initialisation's dataset is not there and may not be drawn.
        """
        for kind in _device_kinds(config):
            identity = _identity(config, dataset, kind, data, draw)
            if identity is not None:
                yield self.root / _folder_name(config, identity)

    def _open(self, folder: Path) -> Run | None:
        """Return the run in a folder, None when there is no folder. UserError when its files do not verify."""
        if not folder.is_dir():
            return None
        try:
            provenance = read_json(folder / PROVENANCE)
            for name, digest in provenance["files"].items():
                if _digest(folder / name) != digest:
                    raise UserError(f"{name} is not as it was written")
            settings = parse_yaml((folder / CONFIG).read_text(encoding="utf-8"))
            scores = read_json(folder / SCORES)
            older = is_older(provenance, str(settings["model"]["method"]))
        except (UserError, OSError, AttributeError, KeyError, TypeError, ValueError, yaml.YAMLError) as error:
            reason = str(error) if isinstance(error, UserError) else f"{PROVENANCE} or {CONFIG} is incomplete"
            heal = "make it anew with --fresh (ensure(..., fresh=True))"
            raise UserError(f"the run {folder} is damaged: {reason}; {heal}") from None
        return Run(folder, settings, scores, provenance, older)

    def _make(self, config: RunConfig, dataset: OneShotDataset, work: Path, first: Run | None, progress: bool) -> None:
        """Train and evaluate into `work`, which keeps its content when this is interrupted."""
        origin = first.identity if first else None
        execute(config, dataset, work, first.weights if first else None, progress, origin)
        trained = sum(row.get("seconds", 0.0) for row in read_history(work)[-1:])
        judged = read_json(work / SCORES).get("details", {}).get("seconds", 0.0)
        written = [work / name for name in VERIFIED if (work / name).is_file()] + sorted(work.glob("pairs-*.npz"))
        record = {
            "identity": work.name.rpartition("-")[2],
            "init": origin,
            "seconds": round(trained + judged, 1),
            "finished": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "files": {path.name: _digest(path) for path in written},
        }
        write_json_atomic(work / PROVENANCE, {**read_json(work / PROVENANCE), **record})


def _device_kinds(config: RunConfig) -> list[str]:
    """Return the kinds of device a run may have been made on, the one it would be made on now first."""
    if config.train.device != "auto":
        return [config.train.device.partition(":")[0]]
    from oshp_lite.engine.checkpoint import pick_device

    return ["cuda", "cpu"] if pick_device("auto").type == "cuda" else ["cpu", "cuda"]


def _identity(config: RunConfig, dataset: OneShotDataset, kind: str, data: str | Path | None, draw: bool) -> str | None:
    """Return `identity_of` with that of the initialisation; None when its dataset is not there and may not be drawn."""
    first, origin = init_config(config), ""
    if first is not None:
        of_first, domains = dataset, method(first.model.method).domains
        if domains or dataset_folder(first.data, data) != dataset_folder(config.data, data):
            if not draw and not _there(first, data):
                return None
            of_first = run_data(first, data, progress=draw)
        origin = _identity(first, of_first, kind, data, draw) or ""
        if not origin:
            return None
    elif config.init.kind == "file" and config.init.path:
        path = Path(config.init.path)
        origin = _digest(path) if path.is_file() else file_sha256(path, "init.path")
    return identity_of(config, dataset.fingerprint, origin, kind)


def _folder_name(config: RunConfig, identity: str) -> str:
    data = config.data
    size = data.size if isinstance(data.size, int) else "x".join(map(str, data.size))
    way = f"{data.way}way" if config.train.task == "parse" else f"segment-{config.train.visible}"
    method = f"{config.model.method}-" if config.train.task == "parse" else ""
    return f"{method}{data.dataset}-fold{data.fold}-{way}-{size}px-seed{config.train.seed}-{identity}"


def _digest(path: Path) -> str:
    """Return a file's SHA-256, read again only when its size or time has changed. UserError when it is missing."""
    try:
        there = path.stat()
    except OSError:
        raise UserError(f"{path.name} is missing") from None
    return _digest_at(path, there.st_size, there.st_mtime_ns, there.st_ino)


@functools.cache
def _digest_at(path: Path, *_: int) -> str:
    return file_sha256(path)
