"""Training that can be killed at any moment and goes on as if nothing had happened.

Exact resume rests on four habits: what an item is depends on (seed, epoch, position) alone; the order of an epoch on
(seed, epoch); the torch generator is set anew from (seed, step) before every step; and everything else that a step
changes (weights, banks, BatchNorm statistics, optimiser state, loss sums) is in `resume.pt`, which is replaced in one
piece between two steps.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode
from oshp_lite.engine.checkpoint import load_state, pick_device, read_record, save_state, save_weights
from oshp_lite.engine.config import RunConfig, identity_of
from oshp_lite.engine.distributed import anywhere, decided, leads, together
from oshp_lite.engine.evaluate import run_evaluation
from oshp_lite.engine.loading import TrainingBatches, run_fold, training_set
from oshp_lite.engine.metrics import mean_accuracy
from oshp_lite.engine.models import build_parser, initialise, run_record
from oshp_lite.engine.outcome import CONFIG, HISTORY, WEIGHTS
from oshp_lite.engine.provenance import code_of
from oshp_lite.engine.schedule import make_optimizer, rate, renews_optimizer
from oshp_lite.engine.shared_training import spread
from oshp_lite.errors import UserError
from oshp_lite.fields import check_fields
from oshp_lite.files import file_sha256, write_atomic
from oshp_lite.models.base import OneShotModel

RESUME = "resume.pt"


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C; the message says where it stands and how to go on."""


@dataclass
class Position:
    """Where a training stands: `batch` batches of `epoch` done, `step` steps in all, loss sums of this epoch so far.

    `stage` is the stage of a method trained in sequence, begun with step `stage_step`; `rows` is the history so far.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    stage: int = 0
    stage_step: int = 0
    elapsed: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    rows: list[dict[str, float]] = field(default_factory=list)


@contextmanager
def threads_set(count: int | None) -> Iterator[None]:
    """Compute with `count` torch threads inside the block (None: leave them)."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _stop_wanted() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into a wish that is granted between two steps; a second one breaks off at once."""
    wanted = threading.Event()

    def note(number: int, frame: Any) -> None:
        if wanted.is_set():
            raise KeyboardInterrupt
        wanted.set()

    if threading.current_thread() is not threading.main_thread():
        yield wanted
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield wanted
    finally:
        signal.signal(signal.SIGINT, before)


@together
def train(
    config: RunConfig,
    dataset: OneShotDataset,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    *,
    init_identity: str | None = None,
) -> None:
    """Train a run in `folder`, from wherever an earlier call left it; returns at once when it is finished.

    Writes config.yaml, history.csv (a row per epoch), resume.pt and, at the end, weights.safetensors. `init_weights`:
    checkpoint whose encoder starts the run, known as `init_identity` (default: the file's SHA-256). A run killed at any
    moment and started again ends with the bits of one never killed (CPU, same torch, same number of threads). A damaged
    state is set aside. Raises Interrupted after Ctrl-C, UserError for a folder of another run, a diverging loss, a full
    disk.
    """
    training = Training(config, dataset, Path(folder), init_weights, init_identity)
    with threads_set(config.train.threads), torch.random.fork_rng():
        training.run(progress)


class Training:
    """One training: network, optimiser, data and position; `run` goes through all of it."""

    def __init__(
        self,
        config: RunConfig,
        dataset: OneShotDataset,
        folder: Path,
        init_weights: Path | str | None = None,
        init_identity: str | None = None,
    ) -> None:
        self.config, self.dataset, self.folder = config, dataset, folder
        self.fold = run_fold(config, dataset)
        self.device = pick_device(config.train.device, "train.device")
        self.init_weights = config.init.path if init_weights is None and config.init.kind == "file" else init_weights
        if init_identity is None:
            init_identity = file_sha256(self.init_weights, "checkpoint") if self.init_weights else ""
        self.key = identity_of(config, dataset.fingerprint, init_identity, self.device.type)
        self.batches = self.make_batches()
        self._begin()

    def make_batches(self) -> TrainingBatches:
        """Return what the network is trained on."""
        items = training_set(self.config, self.dataset, self.fold)
        return TrainingBatches(items, self.config, pin=self.device.type == "cuda")

    def make_parser(self) -> tuple[OneShotModel, str]:
        """Return the network with its first weights, and in words where those come from."""
        parser = build_parser(self.config, self.fold)
        return parser, initialise(parser, self.config, self.init_weights)

    def _begin(self) -> None:
        """Set everything that training changes to where a new run starts."""
        self.code = code_of(self.config.model.method)
        self.position = Position()
        parser, self.start_from = self.make_parser()
        layout = torch.channels_last if self.config.train.channels_last else torch.contiguous_format
        self.parser = parser.to(self.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = make_optimizer(self.config.train, self.parser)
        self._saved = self._begun = time.monotonic()

    # ---------------------------------------------------------------------------------------------- the loop

    def run(self, progress: bool) -> None:
        """Train to the end of the budget, then write the weights."""
        if decided(self._finished):
            return
        decided(self._restore)
        if leads():
            write_atomic(self.folder / CONFIG, self.config.to_yaml().encode())
        spread(self)
        if not self.parser.trainable:
            self._save()
        bar = tqdm(
            total=None if self.config.train.minutes else self.config.train.epochs * len(self.batches),
            initial=self.position.step,
            desc=f"{self.config.model.method} {self.config.data.dataset} fold {self.config.data.fold}",
            disable=not (progress and leads()),
            mininterval=0.5,
            leave=False,
        )
        self._saved = self._begun = time.monotonic()
        with _stop_wanted() as stop, bar:
            while self.parser.trainable and self._time_left():
                self._epoch(bar, stop)
        self._save()
        self._write_history()
        if not leads():
            return
        record = run_record(
            self.config,
            self.fold,
            self.dataset.name,
            data_fingerprint=self.dataset.fingerprint,
            steps=self.position.step,
            key=self.key,
            code=self.code,
            start=self.start_from,
        )
        save_weights(self.folder / WEIGHTS, self.parser.state_dict(), record)

    def _epoch(self, bar: Any, stop: threading.Event) -> None:
        here = self.position
        if here.batch == 0 and renews_optimizer(self.config.train, here.epoch):
            self.optimizer = make_optimizer(self.config.train, self.parser)
        self.parser.train()
        for batch in self.batches.of(here.epoch, here.batch):
            losses = self._step(batch)
            here.batch += 1
            here.step += 1
            bar.update()
            if not bar.disable and (here.batch == 1 or here.step % 5 == 0):
                terms = {name: f"{value.item():.3f}" for name, value in losses.items()}
                bar.set_postfix({"epoch": here.epoch + 1, "beta": f"{1 - self.progress():.2f}", **terms})
            if anywhere(stop.is_set()):
                self._save()
                self._stop(f"at step {here.step} (epoch {here.epoch + 1} of {self.config.train.epochs})")
            if self._due():
                self._save()
            if not self._time_left():
                break
        self._end_epoch()
        if anywhere(stop.is_set()):
            self._stop(f"after epoch {here.epoch} of {self.config.train.epochs}")

    def _stop(self, where: str) -> None:
        raise Interrupted(f"training stopped {where} and saved in {self.folder}; start the same run again to go on")

    def _step(self, batch: Episode) -> dict[str, Tensor]:
        """Take one step and add its losses to the epoch's sums."""
        train, here = self.config.train, self.position
        progress = self.progress()
        self._enter_stage(progress)
        batch = batch.to(self.device, non_blocking=True)
        if train.channels_last:
            images = (batch.query_image, batch.support_image)
            query, support = (image.contiguous(memory_format=torch.channels_last) for image in images)
            batch = replace(batch, query_image=query, support_image=support)
        torch.manual_seed(train.seed * 1_000_003 + here.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(here.step, progress) * group["factor"]
        half = torch.autocast(self.device.type, torch.bfloat16) if train.precision == "bf16" else nullcontext()
        with half:
            losses = self.compute(batch, progress)
        total = losses["total"]
        if self.device.type == "cpu" and not math.isfinite(total.item()):
            raise UserError(f"the loss became {total.item()} in step {here.step + 1}; lower train.lr or set train.clip")
        total.backward()
        if train.clip is not None:
            nn.utils.clip_grad_norm_([p for g in self.optimizer.param_groups for p in g["params"]], train.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for name, value in losses.items():
            value = value.detach().double()
            here.sums[name] = here.sums[name] + value if name in here.sums else value
        return losses

    def compute(self, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the losses of a batch; where several processes train, `spread` puts that of all of them here."""
        losses: dict[str, Tensor] = self.parser.losses(self.parser(batch, progress=progress), batch, progress)
        return losses

    def _end_epoch(self) -> None:
        """Turn the sums into a row of the history, evaluate when it is time, and move on."""
        here, train = self.position, self.config.train
        progress = self.progress()
        row: dict[str, float] = {"epoch": here.epoch + 1, "step": here.step, "progress": progress, "beta": 1 - progress}
        row["lr"] = self.rate(max(here.stage_step, here.step - 1), progress)
        row |= {f"loss_{name}": value.item() / max(1, here.batch) for name, value in sorted(here.sums.items())}
        if not math.isfinite(row.get("loss_total", 0.0)):
            raise UserError(f"the loss of epoch {here.epoch + 1} is not a number; lower train.lr or set train.clip")
        if train.eval_every and ((here.epoch + 1) % train.eval_every == 0):
            row |= self._evaluate()
        row["seconds"] = round(self._elapsed(), 2)
        here.rows.append(row)
        here.epoch, here.batch, here.sums = here.epoch + 1, 0, {}
        self._save()
        self._write_history()

    def _evaluate(self) -> dict[str, float]:
        """Scores on the test pairs, to draw curves with: mIoUs, and mean class accuracies in k-way."""
        choice = self.config.eval
        queries = self.config.train.eval_queries or choice.queries
        config = replace(self.config, eval=replace(choice, bootstrap=0, samples=0, queries=queries))
        result = run_evaluation(self.parser, self.dataset, config, progress=False)
        self.parser.train()
        row = {name: getattr(result.scores, name) for name in ("human_miou", "novel_miou", "base_miou")}
        if self.config.data.way == "k":
            total = result.matrices.sum(0)
            row["base_accuracy"] = mean_accuracy(total, self.fold.base)
            row["novel_accuracy"] = mean_accuracy(total, self.fold.novel)
        return row

    # ------------------------------------------------------------------------------------------- rates, time

    def progress(self) -> float:
        """Return epoch / epochs (or the share of the minutes used): the one clock of losses, stages and rates."""
        if self.config.train.minutes:
            return min(0.999, self._elapsed() / (60 * self.config.train.minutes))
        return self.position.epoch / self.config.train.epochs

    def _enter_stage(self, progress: float) -> None:
        """Begin a new stage, with a fresh optimiser, when the clock has passed the end of the last one."""
        stage = sum(progress >= end - 1e-9 for end in self.parser.stage_ends[:-1])
        if stage != self.position.stage:
            self.position.stage, self.position.stage_step = stage, self.position.step
            self.optimizer = make_optimizer(self.config.train, self.parser)

    def rate(self, step: int, progress: float) -> float:
        """Return the learning rate of a step; a method trained in stages begins its schedule anew with each."""
        here, train = self.position, self.config.train
        start, end = (0.0, *self.parser.stage_ends)[here.stage : here.stage + 2]
        share = (progress - start) / (end - start) if train.minutes else None
        first, last = (math.ceil(part * train.epochs - 1e-9) for part in (start, end))
        return rate(train, here.epoch - first, step - here.stage_step, len(self.batches), share, last - first)

    def _elapsed(self) -> float:
        return self.position.elapsed + time.monotonic() - self._begun

    def _time_left(self) -> bool:
        train = self.config.train
        return self._elapsed() < 60 * train.minutes if train.minutes else self.position.epoch < train.epochs

    # --------------------------------------------------------------------------------------- saving, going on

    def _due(self) -> bool:
        train = self.config.train
        enough = train.save_steps and self.position.step % train.save_steps == 0
        return bool(enough) or time.monotonic() - self._saved > train.save_seconds

    def _save(self) -> None:
        if not leads():
            return
        state = {
            "key": self.key,
            "code": self.code,
            "start": self.start_from,
            "model": self.parser.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "position": {**vars(self.position), "elapsed": self._elapsed()},
        }
        save_state(self.folder / RESUME, state)
        self._saved = time.monotonic()

    def _restore(self) -> None:
        """Go on from resume.pt; one that is damaged is set aside, and training begins anew."""
        path = self.folder / RESUME
        if not path.exists():
            return
        try:
            state = load_state(path)
            key = str(state["key"])
            if key == self.key:
                self.parser.load_state_dict(state["model"])
                self.optimizer.load_state_dict(state["optimizer"])
                position = Position(**state["position"])
                check_fields(position)
                position.sums = {name: value.to(self.device) for name, value in position.sums.items()}
                self.code, self.start_from, self.position = str(state["code"]), str(state["start"]), position
        except (UserError, AttributeError, KeyError, RuntimeError, TypeError, ValueError):
            self._set_aside(path, "training begins anew")
            self._begin()
        else:
            self._check_key(key)

    def _finished(self) -> bool:
        """Return whether this run's weights are there; damaged ones are set aside and written again from the state."""
        path = self.folder / WEIGHTS
        if not path.exists():
            return False
        try:
            key = str(read_record(path).more.get("key"))
        except UserError:
            self._set_aside(path, "it is written again")
            return False
        self._check_key(key)
        return True

    def _set_aside(self, path: Path, then: str) -> None:
        os.replace(path, path.with_name(f"{path.name}.damaged"))
        print(f"{path} is damaged and was set aside; {then}", file=sys.stderr, flush=True)

    def _check_key(self, key: str) -> None:
        if key != self.key:
            other = "another configuration, dataset, initialisation or device"
            raise UserError(f"{self.folder} holds a run of {other}; choose another folder or remove this one")

    def _write_history(self) -> None:
        if not leads():
            return
        rows = self.position.rows
        names = list(dict.fromkeys(name for row in rows for name in row))
        lines = [names, *([repr(row[name]) if name in row else "" for name in names] for row in rows)]
        write_atomic(self.folder / HISTORY, "".join(",".join(cells) + "\n" for cells in lines).encode())
