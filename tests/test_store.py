"""The run store: found again, never half there, one maker at a time, older code still shown."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from oshp_lite.data.registry import dataset_folder
from oshp_lite.engine import runs as store_module
from oshp_lite.engine.config import InitConfig, ModelConfig, RunConfig, identity_of
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import RunStore, is_older
from oshp_lite.errors import UserError
from oshp_lite.files import file_sha256
from oshp_lite.lock import Busy, locked

FAKE = textwrap.dedent(
    """
    import json, os, sys, time
    from pathlib import Path
    from types import SimpleNamespace
    from oshp_lite.engine import runs as store

    def find_dataset(data, root=None, progress=True):
        return SimpleNamespace(fingerprint="data of " + data.dataset)

    def execute(config, dataset, folder, init_weights, progress, init_identity=None):
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder.parent.parent / "made.txt", "a") as stream:
            stream.write(f"{config.train.task} {config.data.way} {init_weights}\\n")
        (folder / "config.yaml").write_text(config.to_yaml())
        (folder / "resume.pt").write_text("half way")
        while os.environ.get("GO") and not Path(os.environ["GO"]).exists():
            time.sleep(0.05)
        (folder / "history.csv").write_text("epoch,loss_total,novel_miou\\n1,2.5,\\n2,1.5,0.2\\n")
        for name in ("weights.safetensors", "pairs.npz", "predictions.npz"):
            (folder / name).write_bytes(b"content of " + name.encode())
        (folder / "scores.json").write_text(json.dumps({"way": config.data.way, "human_miou": 0.5}))
        (folder / "provenance.json").write_text(json.dumps({"code": store.present_code(), "data": dataset.fingerprint}))

    store.find_dataset, store.execute = find_dataset, execute
    """
)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """A store whose trainings are quick pretences."""
    monkeypatch.setattr(store_module, "find_dataset", store_module.find_dataset)  # restored afterwards
    monkeypatch.setattr(store_module, "execute", store_module.execute)
    monkeypatch.setattr(store_module, "present_code", lambda method="": "this code")
    exec(FAKE, {})
    return RunStore(tmp_path / "runs")


def made(runs: RunStore) -> list[str]:
    path = runs.root / "made.txt"
    return path.read_text().splitlines() if path.is_file() else []


def config(**changes: object) -> RunConfig:
    return replace(load_profile("smoke"), **changes)


PLAIN = InitConfig(kind="none")


def test_a_second_call_finds_the_run_and_does_not_train(runs: RunStore) -> None:
    first = runs.ensure(config(init=PLAIN), progress=False)
    again = runs.ensure(config(init=PLAIN), progress=False)
    assert first.folder == again.folder
    assert len(made(runs)) == 1
    assert first.scores["human_miou"] == 0.5
    assert first.history == [{"epoch": 1.0, "loss_total": 2.5}, {"epoch": 2.0, "loss_total": 1.5, "novel_miou": 0.2}]
    assert first.config == config(init=PLAIN)
    assert not first.older_code
    assert first.provenance["identity"] == first.folder.name.rpartition("-")[2]


def test_another_configuration_is_another_run(runs: RunStore) -> None:
    base = config(init=PLAIN)
    runs.ensure(base, progress=False)
    runs.ensure(replace(base, train=replace(base.train, seed=1)), progress=False)
    assert len(made(runs)) == 2
    assert len(runs.runs()) == 2


def test_what_only_affects_speed_is_the_same_run(runs: RunStore) -> None:
    base = config(init=PLAIN)
    runs.ensure(base, progress=False)
    runs.ensure(replace(base, data=replace(base.data, workers=3)), progress=False)
    assert len(made(runs)) == 1


def test_the_initialisation_is_a_run_shared_by_both_ways(runs: RunStore) -> None:
    kway = load_profile("smoke", way="k")
    oneway = load_profile("smoke", way="1")
    one, other = runs.ensure(kway, progress=False), runs.ensure(oneway, progress=False)
    assert [line.split()[0] for line in made(runs)] == ["segment", "parse", "parse"]
    assert made(runs)[1].endswith("weights.safetensors")
    assert one.provenance["init"] == other.provenance["init"] is not None


def test_a_failed_training_shows_nothing_and_goes_on_later(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    good = store_module.execute

    def breaks(config: RunConfig, dataset: object, folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "resume.pt").write_text("half way")
        raise UserError("the disk is full")

    monkeypatch.setattr(store_module, "execute", breaks)
    with pytest.raises(UserError, match="disk is full"):
        runs.ensure(config(init=PLAIN), progress=False)
    assert runs.runs() == []
    assert not list(runs.root.glob("[!.]*/scores.json"))
    partial = next((runs.root / ".partial").iterdir())
    assert (partial / "resume.pt").read_text() == "half way", "kept, so that training can go on"
    monkeypatch.setattr(store_module, "execute", good)
    assert runs.ensure(config(init=PLAIN), progress=False).seconds >= 0
    assert not partial.exists()


def test_a_run_of_older_code_is_found_and_marked_and_fresh_trains_it_anew(
    runs: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, started = config(init=PLAIN), load_profile("smoke")
    runs.ensure(plain, progress=False)
    runs.ensure(started, progress=False)
    assert len(made(runs)) == 3
    assert not any(run.older_code for run in runs.runs())
    monkeypatch.setattr(store_module, "present_code", lambda method="": "newer code")
    assert [run.older_code for run in runs.runs()] == [True] * 3
    found = runs.find(plain)
    assert found is not None
    assert found.older_code
    assert runs.ensure(plain, progress=False).older_code
    assert len(made(runs)) == 3, "found, not made"
    again = runs.ensure(plain, progress=False, fresh=True)
    assert not again.older_code
    assert again.folder == found.folder
    assert not runs.ensure(started, progress=False, fresh=True).older_code
    assert len(made(runs)) == 6, "its initialisation of older code was made anew as well"
    assert not any(run.older_code for run in runs.runs())
    assert is_older({"code": "old"}, "eopnet")
    assert not is_older({"code": "old", "code_equivalent": "newer code"}, "eopnet")


FILES = ("config.yaml", "history.csv", "weights.safetensors", "scores.json", "pairs.npz", "predictions.npz")
FILES += ("provenance.json",)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["deleted", "cut", "changed"])
def test_a_damaged_run_is_not_finished_and_heals(runs: RunStore, name: str, how: str) -> None:
    base = config(init=PLAIN)
    whole = runs.ensure(replace(base, train=replace(base.train, seed=1)), progress=False)
    run = runs.ensure(base, progress=False)
    path = run.folder / name
    content = path.read_bytes()
    if how == "deleted":
        path.unlink()
    else:
        path.write_bytes(content[:-5] if how == "cut" else b"null")
    assert runs.find(base) is None
    assert [one.folder for one in runs.runs()] == [whole.folder], "the other runs are still listed"
    (told,) = runs.damaged().items()
    assert told[0] == run.folder
    with pytest.raises(UserError, match=r"is damaged.*--fresh") as refusal:
        runs.ensure(base, progress=False)
    assert "\n" not in str(refusal.value)
    healed = runs.ensure(base, progress=False, fresh=True)
    assert healed.folder == run.folder
    assert not runs.damaged()
    assert runs.find(base) is not None
    assert len(made(runs)) == 3


def test_a_damaged_initialisation_heals_with_the_run_that_starts_from_it(runs: RunStore) -> None:
    kway, oneway = load_profile("smoke", way="k"), load_profile("smoke", way="1")
    runs.ensure(kway, progress=False)
    first = next(run for run in runs.runs() if run.settings["train"]["task"] == "segment")
    first.weights.unlink()
    with pytest.raises(UserError, match=r"damaged: weights.safetensors is missing; make it anew with --fresh"):
        runs.ensure(oneway, progress=False)
    runs.ensure(oneway, progress=False, fresh=True)
    assert [line.split()[0] for line in made(runs)] == ["segment", "parse", "segment", "parse"]


def test_a_fresh_training_that_was_interrupted_goes_on(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    base, good = config(init=PLAIN), store_module.execute
    runs.ensure(base, progress=False)

    def interrupted(config: RunConfig, dataset: object, folder: Path, *_: object) -> None:
        folder.mkdir(parents=True)
        (folder / "resume.pt").write_text("half way")
        raise KeyboardInterrupt

    monkeypatch.setattr(store_module, "execute", interrupted)
    with pytest.raises(KeyboardInterrupt):
        runs.ensure(base, progress=False, fresh=True)
    assert runs.find(base) is not None, "what was there is still there"
    told: list[str] = []
    monkeypatch.setattr(store_module, "execute", good)
    runs.ensure(base, fresh=True, tell=told.append)
    assert told[0].startswith("going on with")


def test_the_kind_of_device_is_part_of_a_run(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu, anywhere = (replace(config(init=PLAIN), train=replace(config().train, device=d)) for d in ("cpu", "auto"))
    run = runs.ensure(on_cpu, progress=False)
    assert runs.find(anywhere) is not None
    on_cuda = replace(on_cpu, train=replace(on_cpu.train, device="cuda:0"))
    assert runs.find(on_cuda) is None
    assert identity_of(on_cuda, "x", "", "cuda") != run.identity
    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"train\.device is cuda:0, but torch finds no CUDA device here"):
            runs.ensure(on_cuda, progress=False)


def test_a_run_whose_settings_have_other_names_is_still_listed(runs: RunStore) -> None:
    run = runs.ensure(config(init=PLAIN), progress=False)
    path, described = run.folder / "config.yaml", run.folder / "provenance.json"
    path.write_text(path.read_text() + "gone: 1\n")
    provenance = json.loads(described.read_text())
    provenance["files"]["config.yaml"] = file_sha256(path)
    described.write_text(json.dumps(provenance))
    (listed,) = runs.runs()
    assert listed.settings["gone"] == 1
    with pytest.raises(UserError, match="gone"):
        _ = listed.config


def test_what_cannot_begin_is_told_before_anything_is_drawn(tmp_path: Path) -> None:
    store, base = RunStore(tmp_path / "runs"), config(init=PLAIN)
    for method, options, told in (
        ("panet", {"bg": "blue"}, "bg is 'blue'"),
        ("eopnet", {"nothing": 1}, "nothing"),
        ("persam", {"weights": str(tmp_path / "none")}, "needs SAM weights"),
    ):
        with pytest.raises(UserError, match=told):
            store.ensure(replace(base, model=ModelConfig(method, options)), tmp_path / "data", progress=False)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_found_where_it_could_not_be_made(
    runs: RunStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = dataset_folder(config().data, tmp_path / "data") / "dataset.json"
    described.parent.mkdir(parents=True)
    described.write_text("{}")
    made_once = runs.ensure(config(init=PLAIN), tmp_path / "data", progress=False)

    def lacks(config: RunConfig) -> None:
        raise UserError("needs weights")

    monkeypatch.setattr(store_module, "check_start", lacks)
    assert runs.ensure(config(init=PLAIN), tmp_path / "data", progress=False).folder == made_once.folder
    with pytest.raises(UserError, match="needs weights"):
        runs.ensure(load_profile("smoke"), tmp_path / "data", progress=False)
    assert len(made(runs)) == 1, "not even the initialisation was made"


def test_an_initial_checkpoint_counts_by_its_content(runs: RunStore, tmp_path: Path) -> None:
    weights = tmp_path / "first.pth"
    from_file = config(init=InitConfig(kind="file", path=str(weights)))
    with pytest.raises(UserError, match=r"first\.pth"):
        runs.ensure(from_file, progress=False)
    for content in (b"one", b"two", b"one"):
        weights.write_bytes(content)
        runs.ensure(from_file, progress=False)
    assert len(made(runs)) == 2


# --------------------------------------------------------------------------------------------- two processes

WORKER = FAKE + textwrap.dedent(
    """
    from dataclasses import replace
    from oshp_lite.engine.config import InitConfig
    from oshp_lite.engine.presets import load_profile
    from oshp_lite.errors import UserError
    config = replace(load_profile("smoke"), init=InitConfig(kind="none"))
    try:
        run = store.RunStore(Path(sys.argv[1])).ensure(config, wait="nowait" not in sys.argv, progress=False)
        print("has", run.folder.name, flush=True)
    except UserError as error:
        print(type(error).__name__, error, flush=True)
    """
)


def start(root: Path, *words: str, go: Path | None = None) -> subprocess.Popen[str]:
    """A process that wants the run; its training lasts until the file `go` appears."""
    command = [sys.executable, "-c", WORKER, str(root), *words]
    environment = {**os.environ, "GO": str(go or "")}
    cwd = Path(__file__).resolve().parents[1]
    return subprocess.Popen(
        command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(path: Path, pattern: str, seconds: float = 120) -> None:
    limit = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert time.monotonic() < limit, f"{pattern} did not appear"
        time.sleep(0.05)


@pytest.mark.slow
def test_two_processes_one_trains_the_other_waits_or_skips(tmp_path: Path) -> None:
    root, go = tmp_path / "runs", tmp_path / "go"
    first = start(root, go=go)
    wait_for(root, ".partial/*/resume.pt")
    waiting = start(root)
    told, _ = start(root, "nowait").communicate(timeout=120)
    assert told.startswith("Busy")
    assert f"process {first.pid}" in told
    assert waiting.stderr is not None
    assert "waiting" in waiting.stderr.readline()
    go.touch()
    answers = [child.communicate(timeout=120)[0] for child in (first, waiting)]
    assert answers[0].startswith("has")
    assert answers[0] == answers[1]
    assert len((root / "made.txt").read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_dead_owner_holds_nothing_up(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    first = start(root, go=tmp_path / "never")
    wait_for(root, ".partial/*/resume.pt")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    told, _ = start(root).communicate(timeout=120)
    assert told.startswith("has")


def test_the_lock_names_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    with locked(path, "the thing"):
        assert path.with_name("x.lock.owner").read_text().startswith(f"process {os.getpid()} on ")
        with (
            pytest.raises(Busy, match=f"the thing is being made by process {os.getpid()}"),
            locked(path, "the thing", wait=False),
        ):
            pass
    with locked(path, "the thing", wait=False) as waited:
        assert not waited


def test_a_store_beneath_a_file_is_refused(runs: RunStore, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="file"):
        RunStore(tmp_path / "file" / "runs").ensure(config(init=PLAIN), progress=False)


@pytest.mark.slow
def test_a_real_run_from_nothing(tmp_path: Path) -> None:
    small = load_profile(
        "smoke",
        {"train.epochs": 1, "train.steps_per_epoch": 2, "data.synthetic.n_train": 16, "data.synthetic.n_test": 16},
    )
    runs = RunStore(tmp_path / "runs")
    run = runs.ensure(small, tmp_path / "data", progress=False)
    names = {path.name for path in run.folder.iterdir()}
    assert {"config.yaml", "history.csv", "weights.safetensors", "resume.pt", "scores.json", "provenance.json"} <= names
    assert run.samples
    assert run.parser().training is False
    before = run.weights.stat().st_mtime_ns
    assert runs.ensure(small, tmp_path / "data", progress=False).weights.stat().st_mtime_ns == before
    assert isinstance(SimpleNamespace(run=run).run.seconds, float)
