"""Training: exact resume after a kill at any moment, Ctrl-C, histories, refusals."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from engine_fixtures import tiny_config, tiny_dataset

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.engine import train as train_module
from oshp_lite.engine.checkpoint import load_parser, load_state, read_weights
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.evaluate import evaluate
from oshp_lite.engine.runs import read_history
from oshp_lite.engine.schedule import make_optimizer
from oshp_lite.engine.train import Interrupted, Training, train
from oshp_lite.errors import UserError


class Killed(BaseException):
    """Stands in for a kill inside this process: nothing of ours catches it."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> OneShotDataset:
    return tiny_dataset(tmp_path_factory.mktemp("engine") / "bars")


def ending(folder: Path) -> dict[str, Any]:
    """Everything of a finished run that has to be the same bit by bit."""
    state = load_state(folder / "resume.pt")
    here = state["position"]
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in here["rows"]]
    return {
        "weights": read_weights(folder / "weights.safetensors"),
        "model": state["model"],
        "optimizer": state["optimizer"],
        "rows": rows,
        "place": [here[name] for name in ("epoch", "batch", "step", "stage", "stage_step")],
    }


def assert_same(one: Any, other: Any, where: str = "") -> None:
    if isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other), where
        for index, (left, right) in enumerate(zip(one, other, strict=True)):
            assert_same(left, right, f"{where}[{index}]")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    else:
        assert one == other, where


def killed_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Make training die right after so many more steps, before anything is saved."""
    step = Training._step
    left = [steps]

    def dying(self: Training, batch: Any) -> Any:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        return step(self, batch)

    monkeypatch.setattr(Training, "_step", dying)


CONFIGS = {
    "adamw k-way": tiny_config(train={"save_steps": 2, "eval_every": 2}),
    "sgd k-way": tiny_config(
        train={
            "optimizer": "sgd",
            "schedule": "poly",
            "poly_step": 2,
            "lr": 0.01,
            "warmup_steps": 0,
            "save_steps": 2,
            "channels_last": False,
        }
    ),
    "official heads": tiny_config(
        variant="official",
        model={"options": {"encoder": "lite"}},
        train={
            "optimizer": "sgd",
            "schedule": "poly",
            "poly_step": 3,
            "epochs": 2,
            "batch_size": 2,
            "clip": None,
            "warmup_steps": 0,
            "save_steps": 2,
        },
    ),
    "1-way, two workers": tiny_config(
        data={"way": "1", "cap": 3, "workers": 2}, train={"epochs": 2, "save_steps": 3, "clip": None}
    ),
    "segment": tiny_config(model={"method": "segment"}, train={"task": "segment", "epochs": 2, "save_steps": 4}),
}


@pytest.mark.parametrize("name", list(CONFIGS))
def test_a_run_killed_again_and_again_ends_with_the_same_bits(
    name: str, dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIGS[name]
    train(config, dataset, tmp_path / "whole", progress=False)
    for steps in (1, 2, 5, 4):
        with monkeypatch.context() as patched:
            killed_after(patched, steps)
            try:
                train(config, dataset, tmp_path / "killed", progress=False)
            except Killed:
                continue
    train(config, dataset, tmp_path / "killed", progress=False)
    assert_same(ending(tmp_path / "whole"), ending(tmp_path / "killed"))
    parsers = [load_parser(tmp_path / run / "weights.safetensors") for run in ("whole", "killed")]
    one, other = (evaluate(parser, dataset, config, progress=False).as_dict() for parser in parsers)
    one.pop("details"), other.pop("details")
    assert one == other


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from engine_fixtures import tiny_config
from oshp_lite import files
from oshp_lite.data.dataset import open_dataset
from oshp_lite.engine import train as module

root, folder, where, count = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
left = [count]

def dying(function):
    def wrapped(*args, **options):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return function(*args, **options)
    return wrapped

if where == "step":
    module.Training._step = dying(module.Training._step)
elif where == "replace":
    files.os.replace = dying(files.os.replace)
module.train(tiny_config(train={"save_steps": 2}), open_dataset(root), folder, progress=False)
"""


def test_sigkill_inside_steps_and_inside_writing_changes_nothing(dataset: OneShotDataset, tmp_path: Path) -> None:
    def child(where: str, count: int) -> int:
        tests = Path(__file__).parent
        command = [
            sys.executable,
            "-c",
            CHILD,
            str(tests),
            str(dataset.root),
            str(tmp_path / "killed"),
            where,
            str(count),
        ]
        environment = {**os.environ, "PYTHONPATH": str(tests.parent), "OMP_NUM_THREADS": "1"}
        return subprocess.run(command, env=environment, timeout=120).returncode

    assert child("step", 5) == -signal.SIGKILL
    assert child("replace", 2) == -signal.SIGKILL  # while a new resume.pt lies beside the old one
    assert child("never", 0) == 0
    train(tiny_config(train={"save_steps": 2}), dataset, tmp_path / "whole", progress=False)
    assert_same(ending(tmp_path / "whole"), ending(tmp_path / "killed"))


def test_ctrl_c_saves_says_how_to_go_on_and_loses_nothing(
    dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config()
    train(config, dataset, tmp_path / "whole", progress=False)
    step = Training._step
    with monkeypatch.context() as patched:

        def interrupted(self: Training, batch: Any) -> Any:
            if self.position.step == 4:
                signal.raise_signal(signal.SIGINT)
            return step(self, batch)

        patched.setattr(Training, "_step", interrupted)
        with pytest.raises(Interrupted, match="start the same run again"):
            train(config, dataset, tmp_path / "stopped", progress=False)
    assert load_state(tmp_path / "stopped" / "resume.pt")["position"]["step"] == 5
    assert not (tmp_path / "stopped" / "weights.safetensors").exists()
    train(config, dataset, tmp_path / "stopped", progress=False)
    assert_same(ending(tmp_path / "whole"), ending(tmp_path / "stopped"))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_finished_run_is_left_alone_and_another_one_is_refused(
    dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(train={"epochs": 1})
    train(config, dataset, tmp_path, progress=False)
    before = (tmp_path / "weights.safetensors").stat().st_mtime_ns
    with monkeypatch.context() as patched:
        killed_after(patched, 0)
        train(config, dataset, tmp_path, progress=False)
    assert (tmp_path / "weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(UserError, match="another configuration"):
        train(tiny_config(train={"epochs": 2}), dataset, tmp_path, progress=False)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="another configuration"):
        train(tiny_config(train={"epochs": 2}), dataset, tmp_path, progress=False)


def test_the_history_tells_losses_and_beta(dataset: OneShotDataset, tmp_path: Path) -> None:
    train(tiny_config(train={"epochs": 4, "eval_every": 2}), dataset, tmp_path, progress=False)
    rows = read_history(tmp_path)
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    assert [row["beta"] for row in rows] == [1.0, 0.75, 0.5, 0.25]
    for row in rows:
        both = row["beta"] * row["loss_agm"] + (1 - row["beta"]) * row["loss_npm"]
        assert row["loss_total"] == pytest.approx(both + row["loss_coarse"] + row["loss_contrast"], rel=1e-4)
    assert ["novel_miou" in row for row in rows] == [False, True, False, True]


def test_periodic_evaluation_and_saving_do_not_touch_the_weights(dataset: OneShotDataset, tmp_path: Path) -> None:
    train(tiny_config(train={"epochs": 2}), dataset, tmp_path / "a", progress=False)
    train(tiny_config(train={"epochs": 2, "eval_every": 1, "save_steps": 1}), dataset, tmp_path / "b", progress=False)
    assert_same(read_weights(tmp_path / "a/weights.safetensors"), read_weights(tmp_path / "b/weights.safetensors"))


def test_the_global_generator_is_left_as_it_was(dataset: OneShotDataset, tmp_path: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    train(tiny_config(train={"epochs": 1}), dataset, tmp_path, progress=False)
    assert torch.equal(before, torch.get_rng_state())


def test_encoder_weights_travel_from_a_segment_run(dataset: OneShotDataset, tmp_path: Path) -> None:
    from oshp_lite.engine.presets import init_config

    config = tiny_config(train={"epochs": 1}, init={"kind": "segment", "dataset_epochs": 1, "batch_size": 4})
    first = init_config(config)
    assert first is not None
    assert init_config(first) is None
    train(first, dataset, tmp_path / "init", progress=False)
    source = tmp_path / "init/weights.safetensors"
    training = Training(config, dataset, tmp_path / "run", source)
    encoder = {name: value for name, value in read_weights(source).items() if name.startswith("encoder.")}
    assert len(encoder) > 10
    own = training.parser.state_dict()
    assert all(torch.equal(own[name], value) for name, value in encoder.items())
    with pytest.raises(UserError, match="encoder"):
        Training(tiny_config(model={"options": {"width": 12}}), dataset, tmp_path / "other", source)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"lr": 1000, "optimizer": "sgd", "clip": None, "warmup_steps": 0}}, "lower train.lr"),
        ({"train": {"device": "cuda:7"}}, "CUDA"),
        ({"train": {"device": "toaster"}}, "toaster"),
        ({"data": {"fold": 9}}, "fold"),
        ({"data": {"split": 400}}, "split"),
        ({"model": {"method": "oracle"}}, "unknown method"),
        ({"model": {"options": {"depth": 3}}}, "depth"),
    ],
)
def test_bad_runs_get_a_sentence(
    changes: dict[str, Any], message: str, dataset: OneShotDataset, tmp_path: Path
) -> None:
    if "device" in changes.get("train", {}) and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(UserError, match=message):
        train(tiny_config(**changes), dataset, tmp_path, progress=False)
    assert not (tmp_path / "weights.safetensors").exists()


def test_bf16_and_paper_settings_train(dataset: OneShotDataset, tmp_path: Path) -> None:
    config: RunConfig = tiny_config(
        data={"augment": "paper", "scale": "independent", "pad_label": 0, "channels": "bgr", "pairing": "once"},
        train={"epochs": 1, "precision": "bf16", "steps_per_epoch": 2},
    )
    train(config, dataset, tmp_path, progress=False)
    assert load_state(tmp_path / "resume.pt")["position"]["step"] == 2
    assert read_history(tmp_path)[0]["loss_total"] > 0


def test_a_limit_in_minutes_ends_training(
    dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tiny_config(train={"minutes": 0.02, "epochs": 1})
    monkeypatch.setattr(Training, "_elapsed", lambda self: 0.1 * self.position.step)
    train(config, dataset, tmp_path, progress=False)
    rows = read_history(tmp_path)
    assert len(rows) > 1
    assert rows[-1]["seconds"] >= 1.2
    assert rows[0]["beta"] > rows[-1]["beta"]
    assert (tmp_path / "weights.safetensors").exists()


def test_a_full_disk_leaves_the_last_good_state(dataset: OneShotDataset, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    config = tiny_config(train={"epochs": 2, "save_steps": 1})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    folder = tmp_path / "run"
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(UserError, match="file-size limit"):
            train(config, dataset, folder, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert {path.name for path in folder.iterdir()} <= {"config.yaml"}
    train(config, dataset, folder, progress=False)
    assert (folder / "weights.safetensors").exists()


def test_an_output_beneath_a_file_gets_a_sentence(dataset: OneShotDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot write"):
        train(tiny_config(train={"epochs": 1}), dataset, tmp_path / "file" / "run", progress=False)


def test_a_damaged_state_is_set_aside_and_training_begins_anew(
    dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config(train={"epochs": 1, "save_steps": 1})
    train(config, dataset, tmp_path / "whole", progress=False)
    folder = tmp_path / "run"

    def damage(entry: str | None) -> None:
        with monkeypatch.context() as patched:
            killed_after(patched, 2)
            with pytest.raises(Killed):
                train(config, dataset, folder, progress=False)
        if entry is None:
            (folder / "resume.pt").write_bytes(b"PK no zip at all")
            return
        state = load_state(folder / "resume.pt")
        del state[entry]
        torch.save(state, folder / "resume.pt")

    for entry in (None, "key", "model", "optimizer", "position", "code"):
        damage(entry)
        train(config, dataset, folder, progress=False)
        assert "resume.pt is damaged and was set aside; training begins anew" in capsys.readouterr().err
        assert_same(ending(tmp_path / "whole"), ending(folder))
        shutil.rmtree(folder)
    train(config, dataset, folder, progress=False)
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[:-20])
    train(config, dataset, folder, progress=False)
    assert "written again" in capsys.readouterr().err
    assert (folder / "weights.safetensors").read_bytes() == weights


def test_stages_rates_and_the_optimiser_follow_one_clock(
    dataset: OneShotDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `minutes` a stage's fresh optimiser comes when the network enters the stage, not after so many epochs."""
    config = tiny_config(model={"method": "popnet"}, train={"minutes": 1, "epochs": 50, "warmup_steps": 1})
    training = Training(config, dataset, tmp_path)
    monkeypatch.setattr(Training, "_elapsed", lambda self: 60 * training.position.step / 10)  # ten steps a minute
    made: list[int] = []
    monkeypatch.setattr(
        train_module, "make_optimizer", lambda *given: made.append(training.position.step) or make_optimizer(*given)
    )
    rates = []
    batches = list(training.batches.of(0))
    for step in range(10):
        training._step(batches[step % len(batches)])
        rates.append(training.optimizer.param_groups[0]["lr"])
        training.position.step += 1
    ends = training.parser.stage_ends
    assert made == [math.ceil(10 * end - 1e-9) for end in ends[:-1]], "renewed where POPNet's stages change"
    first = made[0]
    assert rates[0] == rates[first] == pytest.approx(config.train.lr), "the schedule begins anew with the stage"
    assert rates[first - 1] < rates[first]


class Evil:
    """Would run a command if anyone unpickled it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_state_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    torch.save({"key": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match="more than tensors"):
        load_state(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(UserError, match="no dictionary"):
        load_state(tmp_path / "list.pt")
    with pytest.raises(UserError, match="does not exist"):
        load_state(tmp_path / "none.pt")
