"""The command line: thin, quick to start, one sentence for bad input, exit codes that mean something."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oshp_lite import __version__
from oshp_lite.assets import checkpoint
from oshp_lite.cli import main

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ("data", "train", "evaluate", "parse", "export", "reproduce", "tune", "matrix", "report", "doctor", "bench")
COMMANDS += ("score-instances", "score-crowds", "book")


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """Run a command that must leave with 2 and one sentence; returns the sentence."""
    code = main(words)
    told = capsys.readouterr()
    assert code == 2, told.out
    lines = told.err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert "Traceback" not in told.err
    return lines[-1]


def test_module_and_version() -> None:
    command = [sys.executable, "-m", "oshp_lite", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == f"oshp-lite {__version__}"


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    told = capsys.readouterr().out
    assert all(command in told for command in COMMANDS)


@pytest.mark.parametrize("command", list(COMMANDS))
def test_each_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert f"oshp-lite {command}" in capsys.readouterr().out


UNFIT = [
    *(("train.poly_step", 0), ("train.encoder_lr", -1), ("train.momentum", 2), ("train.weight_decay", -1)),
    *(("train.poly_power", ".nan"), ("train.clip", -1), ("train.seed", -1), ("train.seed", 10**20)),
    *(("eval.queries", -3), ("eval.repeats", 0), ("eval.per_class", 0), ("data.size", 10**8)),
    *(("init.lr", -1), ("init.batch_size", 0)),
]
"""Settings that no training could use, or that would have been found out only after it."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "Missing command"),
        (["fly"], "fly"),
        (["train", "--profil"], "--profil"),
        (["train", "--profile", "huge"], "unknown profile 'huge'"),
        (["train", "--dataset", "modanet"], "unknown dataset 'modanet'"),
        (["train", "--profile", "smoke", "--fold", "3"], "fold 3"),
        (["train", "--profile", "smoke", "--way", "2"], "--way"),
        (["train", "--profile", "smoke", "--method", "magic"], "magic"),
        (["train", "--set", "train.epoch=3"], "unknown name 'epoch'"),
        (["train", "--set", "train.epochs=many"], "train.epochs"),
        (["train", "--set", "train.epochs"], "name=value"),
        (["train", "--set", "train.epochs=0"], "train.epochs is 0; it must lie in"),
        *((["train", "--profile", "smoke", "--set", f"{name}={value}"], f"{name} is ") for name, value in UNFIT),
        (["train", "--profile", "smoke", "--device", "mps"], "train.device is 'mps'; it must be auto, cpu or cuda"),
        (["train", "--profile", "quick", "--dataset", "ccp-os"], "data_scripts/ccp.py"),
        (["train", "--profile", "smoke", "--method", "panet", "--set", "model.options.bg=blue"], "bg is 'blue'"),
        (["train", "--profile", "smoke", "--set", "model.options.nothing=1"], "'nothing'"),
        (["train", "--profile", "smoke", "--method", "persam"], "needs SAM weights"),
        (["train", "--profile", "smoke", "--method", "panet", "--set", "eval.source=agm"], "panet has no agm logits"),
        (["train", "--profile", "smoke", "--method", "panet", "--set", "eval.restrict=false"], "leave restrict open"),
        (["train", "--fold", "0"], "'--fold': takes a whole number, at least 1, not '0'"),
        (["train", "--seed", "1.5"], "'--seed': takes a whole number, at least 0, not '1.5'"),
        (["train", "--minutes", "inf"], "'--minutes': takes a number, at least 0, not 'inf'"),
        (["evaluate"], "--run"),
        (["evaluate", "--run", "R", "--fold", "2", "--way", "1", "--seed", "3"], "No such option: --seed"),
        (["evaluate", "--run", "R", "--fold", "2", "--way", "1"], "takes no --fold"),
        (["evaluate", "--run", "R", "--profile", "quick"], "takes no --profile"),
        (["evaluate", "--run", "R", "--labels", "lip"], "takes no --labels"),
        (["evaluate", "--run", "R", "--set", "train.epochs=3"], "takes no --set train.epochs=3"),
        (["evaluate", "--run", "R", "--baseline", "copy"], "one of --run, --weights and --baseline"),
        (["evaluate", "--weights", "W", "--runs", "R"], "takes no --runs"),
        (["evaluate", "--weights", "W", "--set", "model.options.n_ids=3"], "takes no --set model.options.n_ids=3"),
        (["evaluate", "--baseline", "copy", "--device", "cpu"], "takes no --device"),
        (["evaluate", "--baseline", "ceiling", "--labels", "lip"], "takes no --labels"),
        (["evaluate", "--baseline", "copy", "--set", "train.lr=1"], "takes no --set train.lr=1"),
        (["evaluate", "--baseline", "luck"], "unknown baseline 'luck'"),
        (["evaluate", "--run", "nowhere"], "is not a run"),
        (["evaluate", "--weights", "nowhere.safetensors"], "does not exist"),
        (["reproduce", "--profile", "huge"], "unknown profile 'huge'"),
        (["reproduce", "--only", "77"], "'77'"),
        (["reproduce", "--jobs", "-1"], "'--jobs': takes a whole number, at least 0, not '-1'"),
        (["reproduce", "--minutes", "nan"], "not 'nan'"),
        (["reproduce", "--steps", "z"], "no step 'z'"),
        (["reproduce", "--steps", ""], "names no step"),
        (["reproduce", "--steps", "a", "--only", "03"], "leave --steps out"),
        (["reproduce", "--steps", "a", "--minutes", "1"], "leave --steps out"),
        (["reproduce", "--profile", "smoke", "--set", "model.options.nothing=1"], "'nothing'"),
        (["matrix", "--jobs", "-3"], "'--jobs': takes a whole number, at least 1, not '-3'"),
        (["matrix", "--jobs", "0"], "--jobs"),
        (["matrix", "--threads", "-5"], "--threads"),
        (["matrix", "--limit", "-3"], "'--limit': takes a number, at least 0, not '-3'"),
        (["matrix", "--limit", "nan"], "--limit"),
        (["matrix", "--steps", " , "], "names no step"),
        (["matrix", "--index", "1", "--row", "x"], "say one of them"),
        (["matrix", "--list", "text", "--index", "1"], "takes no --index"),
        (["matrix", "--dry-run", "--fresh"], "takes no --fresh"),
        (["matrix", "--snakefile", "--profile", "lite"], "takes no --profile"),
        (["report", "--profile", "paper"], "reproduce"),
        (["report", "--readme", "--profile", "lite"], "takes no --profile"),
        (["reproduce", "--profile", "smoke", "--only", "00", "--out", "/proc/x"], "cannot write"),
        (["reproduce", "--profile", "smoke", "--only", "00", "--out", "x" * 300], "too long"),
        (["data", "verify", "nowhere"], "nowhere"),
        (["data", "synthetic", "--name", "synth-cats", "--out", "x"], "synth-cats"),
        (["data", "synthetic", "--train", "-8", "--out", "x"], "--train"),
        (["bench", "--batch", "0"], "--batch"),
        (["bench", "--batch", "2"], "takes no --batch"),
        (["bench", "--what", "speed"], "--what"),
        (["bench", "--what", "infer", "--size", "64"], "at the sizes paper and lite"),
        (["bench", "--size", "large"], "paper, lite or a whole number"),
        (["bench", "instances", "--size", "paper"], "takes the side in pixels"),
        (["bench", "methods", "--what", "infer"], "takes no --what"),
        (["bench", "--device", "cuda", "--size", "64"], "takes no --size"),
        (["bench", "--what", "infer", "--device", "tpu7"], "tpu7"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_sentence(
    words: list[str],
    expected: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))
    monkeypatch.setenv("OSHP_SAM_WEIGHTS", str(tmp_path / "none"))
    assert expected in fails(capsys, *words)
    left = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, "nothing is written for bad input"


@pytest.mark.parametrize("device", ["mps", "nonsense", "cuda:99"])
def test_a_device_that_is_not_there(device: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    places = ["--data", str(tmp_path)]
    sentence = fails(capsys, "evaluate", "--weights", str(checkpoint()), "--device", device, *places)
    assert device in sentence
    assert not list(tmp_path.iterdir())


def test_list_options_take_words(capsys: pytest.CaptureFixture[str]) -> None:
    """`--only a b`, as README writes it, and once for each are the same."""
    listed = []
    for words in (["--only", "panet", "sgone"], ["--only", "panet", "--only=sgone"]):
        assert main(["matrix", "--profile", "lite", "--no-notebooks", "--list", "text", *words]) == 0
        listed.append(capsys.readouterr().out)
    assert listed[0] == listed[1]
    assert "panet" in listed[0]
    assert "amp" not in listed[0]


def test_no_cuda_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    assert "no CUDA device" in fails(capsys, "bench", "--device", "cuda")
    places = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert "no CUDA device" in fails(capsys, "train", "--profile", "smoke", "--device", "cuda", *places)
    assert not list(tmp_path.iterdir()), "told before people are drawn"


def test_ctrl_c_leaves_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from oshp_lite.cli import doctor

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "_installed", interrupted)
    assert main(["doctor"]) == 130
    assert "stopped" in capsys.readouterr().err


def test_ctrl_c_in_a_training_says_how_to_go_on_and_leaves_with_130(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from oshp_lite.engine.train import Training

    step = Training._step
    monkeypatch.setattr(Training, "_step", lambda *given: signal.raise_signal(signal.SIGINT) or step(*given))
    few = [f"data.synthetic.{name}=16" for name in ("n_train", "n_test")] + ["init.kind=none"]
    words = ["train", "--profile", "smoke", "--quiet", *(word for item in few for word in ("--set", item))]
    assert main([*words, "--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]) == 130
    assert "start the same run again to go on" in capsys.readouterr().err


@pytest.mark.slow
def test_data_synthetic_and_verify(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "people"
    order = ["data", "synthetic", "--out", str(folder), "--train", "8", "--test", "8", "--size", "64"]
    assert main(order) == 0
    assert "8 training and 8 test scenes" in capsys.readouterr().out
    assert main(["data", "verify", str(folder)]) == 0
    next((folder / "trainval_images").glob("*.jpg")).unlink()
    assert "error" in fails(capsys, "data", "verify", str(folder))


def test_doctor_tells_about_data_and_versions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "ccp-os"
    broken.mkdir()
    (broken / "dataset.json").write_text("{")
    weights = tmp_path / "coco.pth"
    weights.write_bytes(b"no checkpoint")
    monkeypatch.setenv("OSHP_COCO_WEIGHTS", str(weights))
    assert main(["doctor", "--data", str(tmp_path), "--runs", str(tmp_path / "runs")]) == 0
    told = capsys.readouterr().out
    assert "NOT VALID" in told
    assert "data_scripts/atr.py" in told
    assert "torch" in told
    assert "cannot use coco.pth" in told
    assert {"OSHP_SAM_WEIGHTS", "OSHP_DINO_WEIGHTS"} <= {*told.split()}
