"""Pretended rows for the tests of the matrix: quick, resumable, able to fail; also the executor's own process.

python -m matrix_fake --order JSON       what the executor starts for a row
python -m matrix_fake --schedule JSON    an executor over some rows; prints their outcomes as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from oshp_lite.engine import runs as store
from oshp_lite.engine.config import ModelConfig, RunConfig
from oshp_lite.engine.runs import RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import write_atomic, write_json_atomic
from oshp_lite.study import processes
from oshp_lite.study.execute import Executor, Outcome
from oshp_lite.study.plan import Finder, Row
from oshp_lite.study.records import RunKey

TICK = 0.05


def execute(
    config: RunConfig, dataset: Any, folder: Path, init_weights: Path | None, progress: bool, _origin: str | None = None
) -> None:
    """Count to `epochs`, one tick each, keeping the count; the method's name says how it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{config.model.method}-{config.train.seed}"
    (folder / "config.yaml").write_text(config.to_yaml())
    count = folder / "resume.pt"
    ticks = int(count.read_text()) if count.is_file() else 0
    note(folder, f"begin {name} at {ticks} by {os.getpid()}")
    if config.model.method == "broken":
        raise UserError("there is no such thing; take another")
    for tick in range(ticks, config.train.epochs):
        time.sleep(TICK)
        write_atomic(count, str(tick + 1).encode(), durable=False)
    if config.model.method == "big":
        write_atomic(folder / "weights.safetensors", bytes(200_000))
    write_atomic(folder / "history.csv", b"epoch,loss_total\n1,2.5\n")
    write_json_atomic(folder / "scores.json", {"way": config.data.way})
    write_json_atomic(folder / "provenance.json", {"code": "this code", "data": dataset.fingerprint})
    note(folder, f"end {name}")


def note(folder: Path, text: str) -> None:
    """Add a line to what happened."""
    with open(folder.parents[1] / "made.txt", "a", encoding="utf-8") as stream:
        stream.write(text + "\n")


def pretend() -> None:
    """Replace what would read data and train."""
    dataset = SimpleNamespace(fingerprint="data")
    store.find_dataset = lambda data, root=None, progress=True: dataset  # type: ignore[assignment]
    store.execute = execute
    store.present_code = lambda method="": "this code"
    store.check_start = lambda config: None
    store.method = lambda name: SimpleNamespace(domains=False)
    Finder.dataset = lambda self, data: dataset  # type: ignore[method-assign]


def row(method: str, seed: int, ticks: int, needs: tuple[str, ...] = ()) -> Row:
    """One row; the name is method-seed."""
    config = RunConfig(model=ModelConfig(method=method))
    # a named device: to choose one means to import torch, which takes longer than all else here
    config = replace(config, train=replace(config.train, seed=seed, epochs=ticks, device="cpu"))
    key = None if method == "init" else RunKey(method, "synth-atr", 1, "k", seed)
    return Row(f"{method}-{seed}", config, key, needs)


def schedule(told: dict[str, Any]) -> list[Outcome]:
    """Run the rows of {"folder", "rows": [[method, seed, ticks, needs]], "jobs", "limit"}."""
    pretend()
    folder = Path(told["folder"])
    executor = Executor(
        folder=folder / "reports",
        profile="smoke",
        finder=Finder(RunStore(folder / "runs")),
        limit=told.get("limit", 0),
        tell=lambda text: print(text, file=sys.stderr, flush=True),
        worker="matrix_fake",
    )
    rows = [row(method, seed, ticks, tuple(needs)) for method, seed, ticks, *needs in told["rows"]]
    return executor.run(rows, told.get("jobs", 1))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--order")
    parser.add_argument("--schedule", type=json.loads)
    chosen = parser.parse_args()
    if chosen.order:
        pretend()
        return processes.main()
    outcomes = schedule(chosen.schedule)
    print(json.dumps({outcome.name: [outcome.status, outcome.reason] for outcome in outcomes}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
