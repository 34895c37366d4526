"""What each of two processes does in `test_distributed`, started as torchrun does: `two_processes.py DATA FOLDER`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from contenders_tiny import small
from engine_fixtures import tiny_config
from nn_tiny import episode, one, tiny

from oshp_lite.cli import main
from oshp_lite.data.dataset import OneShotDataset, open_dataset
from oshp_lite.data.episode import Episode
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.distributed import company, together
from oshp_lite.engine.evaluate import run_evaluation
from oshp_lite.engine.loading import run_fold
from oshp_lite.engine.models import build_parser
from oshp_lite.engine.shared_training import share
from oshp_lite.engine.train import Training, train

CASES: dict[str, Any] = {
    "eopnet official": lambda: tiny("official"),
    "eopnet lite": lambda: tiny("lite", unlabelled="class"),
    "eopnet 1-way": lambda: tiny("official", way="1"),
    "popnet lite": lambda: small("popnet"),
    "popnet official": lambda: small("popnet", variant="official", encoder="lite", screening_ids="ucs"),
    **{name: lambda name=name: small(name) for name in ("segment", "panet", "ppnet", "sgone", "amp", "finetune")},
}
"""Every method that several processes train, on random weights in float64."""
STEPS = (0.1, 0.9)
"""Progress of the papers' networks: in the warm-up, where POPNet trains its first stage, and behind it."""
RUN: dict[str, Any] = {
    "train": {"optimizer": "sgd", "lr": 0.05, "epochs": 2, "batch_size": 4, "eval_every": 1, "save_steps": 2},
    "eval": {"batch_size": 3},
}
NATIVE: dict[str, Any] = {"eval": {"test_size": None, "batch_size": 2, "bootstrap": 0}}


class Killed(BaseException):
    """Stands in for a kill of all processes: nothing of ours catches it."""


def batch_of(case: str, step: int) -> Episode:
    """The whole batch of a step: its two samples show other ids, and other numbers of their pixels count."""
    batch = episode("1" if "1-way" in case else "k", seed=step)
    assert batch.query_mask is not None
    batch.query_mask[1, :9] = 255
    for sample, gone in ((0, 3), (1, 2)) if "1-way" not in case else ():
        batch.support_mask[sample][batch.support_mask[sample] == gone] = 1
    return batch


def steps(case: str, rank: int | None = None) -> dict[str, torch.Tensor]:
    """Losses and gradients of some steps and the state after each: of the whole batch, or by the share of a process."""
    network = CASES[case]()

    def whole(batch: Episode, progress: float) -> dict[str, torch.Tensor]:
        return dict(network.losses(network(batch, progress=progress), batch, progress))

    compute = whole if rank is None else share(network)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], 0.01, 0.9, weight_decay=0.1)
    made: dict[str, torch.Tensor] = {}
    for number, progress in enumerate(STEPS if case.startswith(("eopnet", "popnet")) else STEPS[1:]):
        network.train()
        batch = batch_of(case, number)
        losses = compute(batch if rank is None else one(batch, rank), progress)
        losses["total"].backward()
        made |= {f"{number} loss {name}": value.detach() for name, value in losses.items()}
        made |= {f"{number} gradient {n}": p.grad.clone() for n, p in network.named_parameters() if p.grad is not None}
        optimizer.step()
        optimizer.zero_grad()
        made |= {f"{number} state {name}": value.clone() for name, value in network.state_dict().items()}
    return made


@together
def everything(dataset: OneShotDataset, folder: Path) -> None:
    """Steps of every network; a training that is killed and goes on; an evaluation at native sizes."""
    rank = torch.distributed.get_rank()
    torch.save({case: steps(case, rank) for case in CASES}, folder / f"steps-{rank}.pt")
    config, step = tiny_config(**RUN), Training._step

    def dying(self: Training, batch: Any) -> Any:
        if self.position.step == 3:
            raise Killed
        return step(self, batch)

    Training._step = dying  # type: ignore[method-assign]
    try:
        train(config, dataset, folder / "killed", progress=False)
    except Killed:
        Training._step = step  # type: ignore[method-assign]
    for name in ("killed", "whole"):
        train(config, dataset, folder / name, progress=False)
    made = run_evaluation(first_network(dataset), dataset, tiny_config(**NATIVE), progress=False)
    torch.save((made.matrices, made.predictions, made.persons, made.samples), folder / f"native-{rank}.pt")


def first_network(dataset: OneShotDataset) -> Any:
    """A network as it comes."""
    config: RunConfig = tiny_config(**NATIVE)
    return build_parser(config, run_fold(config, dataset)).eval()


if __name__ == "__main__":
    data, results = map(Path, sys.argv[1:])
    torch.set_num_threads(1)
    with company() as first:
        if first:
            everything(open_dataset(data / "atr-os"), results)
    os.environ["MASTER_PORT"] = os.environ["SECOND_PORT"]
    settings = ["model.options={width: 8, lite_channels: [4, 6, 8, 8]}", "data.size=32", "init.kind=none"]
    settings += [f"train.{one}" for one in ("epochs=1", "batch_size=4", "threads=1", "optimizer=sgd")]
    settings += ["eval.test_size=32", "eval.queries=2", "eval.repeats=2", "eval.bootstrap=20", "eval.batch_size=3"]
    words = ["train", "--profile", "lite", "--dataset", "atr-os", *(f"--set={one}" for one in settings)]
    sys.exit(main([*words, "--data", str(data), "--runs", str(results / "runs"), "--quiet", "--device", "cpu"]))
