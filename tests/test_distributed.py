"""Two processes on the CPU train and judge like one: gradients, banks, statistics, scores; refusals."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from engine_fixtures import tiny_config, tiny_dataset
from nn_tiny import tiny
from two_processes import CASES, NATIVE, RUN, first_network, small, steps

from oshp_lite.cli import main
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine import distributed
from oshp_lite.engine.checkpoint import load_parser, load_state, read_weights
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import load_pairs, load_predictions, run_evaluation
from oshp_lite.engine.runs import RunStore, read_history
from oshp_lite.engine.shared_training import why_alone
from oshp_lite.engine.train import train
from oshp_lite.errors import UserError

TESTS = Path(__file__).parent
CPU = torch.device("cpu")
pytestmark = pytest.mark.timeout(1500)  # two processes wait for each other at every layer, long on a busy machine


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("data") / "atr-os")


@pytest.fixture(scope="module")
def made(dataset: OneShotDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes have filled, see `two_processes`."""
    folder = tmp_path_factory.mktemp("made")
    words = [sys.executable, str(TESTS / "two_processes.py"), str(dataset.root.parent), str(folder)]
    with socket.socket() as one, socket.socket() as two:
        for free in (one, two):
            free.bind(("127.0.0.1", 0))
        ports = [str(free.getsockname()[1]) for free in (one, two)]
    about = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": ports[0], "SECOND_PORT": ports[1]}
    about |= {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "OMP_NUM_THREADS": "1"}
    about |= {"TORCH_CPP_LOG_LEVEL": "ERROR"}
    children = [
        subprocess.Popen(
            words,
            env={**os.environ, **about, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    try:
        said = [child.communicate()[0] for child in children]  # the test's own limit of time holds
    finally:
        for child in children:
            child.kill()
    assert [child.returncode for child in children] == [0, 0], "\n".join(text[-3000:] for text in said)
    assert ["run: " in text for text in said] == [True, False], "the lead alone speaks"
    return folder


@pytest.mark.parametrize("case", CASES)
def test_a_step_is_that_of_one_process_on_the_whole_batch(case: str, made: Path) -> None:
    """Losses, every gradient, weights, banks and statistics in float64, BatchNorm in training mode."""
    alone, first, second = steps(case), *(torch.load(made / f"steps-{rank}.pt")[case] for rank in (0, 1))
    assert list(alone) == list(first) == list(second)
    assert any("gradient" in name for name in alone)
    for name, value in alone.items():
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-10, msg=name)
        assert torch.equal(first[name], second[name]), f"{name} differs between the processes"


def test_a_training_is_that_of_one_process(dataset: OneShotDataset, made: Path, tmp_path: Path) -> None:
    train(tiny_config(**RUN), dataset, tmp_path, progress=False)
    alone, shared = (read_weights(folder / "weights.safetensors") for folder in (tmp_path, made / "whole"))
    for name, value in alone.items():
        torch.testing.assert_close(shared[name], value, rtol=1e-3, atol=1e-4, msg=name)
    rows, theirs = read_history(tmp_path), read_history(made / "whole")
    assert [row["loss_total"] for row in theirs] == pytest.approx([row["loss_total"] for row in rows], rel=1e-4)
    assert all(0 < row["human_miou"] < 1 for row in theirs)


def test_a_killed_training_goes_on_with_the_same_bits(made: Path) -> None:
    states = [load_state(made / name / "resume.pt") for name in ("whole", "killed")]
    assert states[0]["position"]["step"] == states[1]["position"]["step"] == 4
    for name, value in states[0]["model"].items():
        assert torch.equal(states[1]["model"][name], value), name
    momenta = [[one["momentum_buffer"] for one in state["optimizer"]["state"].values()] for state in states]
    assert all(torch.equal(one, other) for one, other in zip(*momenta, strict=True))


def test_scores_do_not_depend_on_the_number_of_processes(dataset: OneShotDataset, made: Path) -> None:
    run = RunStore(made / "runs").runs()[0]
    assert run.provenance["processes"] == 2
    config: RunConfig = run.config
    alone = run_evaluation(load_parser(run.weights), dataset, config, progress=False)
    own = alone.scores.as_dict()
    assert {name: value for name, value in run.scores.items() if name != "details"} == {
        name: own[name] for name in run.scores if name != "details"
    }
    assert torch.equal(load_pairs(run.folder / "pairs.npz")[0], alone.matrices)
    for kind, values in (("prediction", alone.predictions), ("person", alone.persons)):
        kept = list(load_predictions(run.folder, kind))  # type: ignore[arg-type]
        assert len(kept) == len(values) == len(alone.matrices)
        assert all((one == other.numpy()).all() for one, other in zip(kept, values, strict=True))
    assert len(run.samples) == len(alone.samples)


def test_native_sizes_share_their_batches_as_in_one_process(dataset: OneShotDataset, made: Path) -> None:
    alone = run_evaluation(first_network(dataset), dataset, tiny_config(**NATIVE), progress=False)
    lead, other = (torch.load(made / f"native-{rank}.pt", weights_only=False) for rank in (0, 1))
    for matrices, *_ in (lead, other):
        assert torch.equal(torch.stack(matrices.unbind()), alone.matrices)
    assert all(torch.equal(one, two) for one, two in zip(lead[1], alone.predictions, strict=True))
    assert all(torch.equal(one[2], two[2]) for one, two in zip(lead[3], alone.samples, strict=True))
    assert other[1:3] == ([], []), "predictions are gathered where they are kept"


def test_alone_nothing_is_shared() -> None:
    assert distributed.leads()
    assert distributed.processes() == 1
    assert [distributed.anywhere(flag) for flag in (True, False)] == [True, False]
    assert distributed.decided(lambda: 3) == 3
    with distributed.company() as leads:
        assert leads


def test_what_several_processes_cannot_train_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    net, config = tiny("lite"), tiny_config()
    assert why_alone(config, net, CPU, 4, 2) == ""
    assert "choose a multiple of 2" in why_alone(config, net, CPU, 3, 2)
    assert "set train.epochs" in why_alone(tiny_config(train={"minutes": 1.0}), net, CPU, 4, 2)
    assert "set train.device=cuda" in why_alone(config, net, torch.device("cuda:1"), 4, 2)
    assert "drops features" in why_alone(config, small("pfenet"), CPU, 4, 2)
    one_way = tiny_config(data={"way": "1"})
    assert "earlier samples" in why_alone(one_way, small("amp", way="1"), CPU, 4, 2)
    distributed.check_shared("instance")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="method instance is trained by one process"):
        distributed.check_shared("instance")
    assert main(["matrix", "--profile", "smoke"]) == 2
    assert "only the commands train and evaluate share" in capsys.readouterr().err
