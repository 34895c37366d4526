"""Scripts for clusters: hours and GiB from the plan, submitted to schedulers that are only pretended."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from oshp_lite.book.site import pages
from oshp_lite.cli import main
from oshp_lite.study import cluster, forecast
from oshp_lite.study.cluster import Need, limit, need_of
from oshp_lite.study.experiments import matrix, runs_of
from oshp_lite.study.plan import Estimates, Row, config_of, rows_of
from oshp_lite.study.records import RunKey

PAGE = Path(pages.__file__).with_name("pages") / "cluster.md"
CHOICE = ["--profile", "smoke", "--only", "panet", "--no-notebooks"]
OSHP = """#!/bin/sh
echo "$@" >> {log}
"""
KUBECTL = """#!{python}
# runs a Job's command once for every index, in the shell that the manifest names
import os, subprocess, sys, yaml
if sys.argv[1] == "apply":
    job = yaml.safe_load(sys.stdin)
    (box,) = job["spec"]["template"]["spec"]["containers"]
    assert box["workingDir"] == "/oshp" and box["image"] == "oshp:1"
    for index in range(job["spec"].get("completions", 1)):
        subprocess.run(box["command"], env={{**os.environ, "JOB_COMPLETION_INDEX": str(index)}}, check=True)
"""


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins first on the PATH: sbatch from the page, kubectl, and an oshp-lite that notes its words."""
    folder = tmp_path / "pretended"
    folder.mkdir()
    (sbatch,) = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    for name, text in (
        ("sbatch", sbatch),
        ("oshp-lite", OSHP.format(log=tmp_path / "called.txt")),
        ("kubectl", KUBECTL.format(python=sys.executable)),
    ):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    for name in ("DATA", "RUNS", "REPORTS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))
    return tmp_path


def written(capsys: pytest.CaptureFixture[str], scheduler: str, *words: str) -> str:
    assert main(["matrix", *(words or CHOICE), "--script", scheduler]) == 0
    return capsys.readouterr().out


def rows_of_choice() -> list[Row]:
    return rows_of([key for key in matrix("smoke", None, None) if key.method == "panet"], "smoke")


def run(script: str, folder: Path, **more: str) -> list[str]:
    """What `oshp-lite` was called with."""
    environment = {**os.environ, **more}
    done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "called.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.skipif(not shutil.which("seq"), reason="the page's stand-in counts with seq")
def test_slurm_makes_every_row_once_behind_the_initialisations(
    pretended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = written(capsys, "slurm")
    rows = [row for row in rows_of_choice() if row.key]
    called = run(script, pretended)
    call = f"matrix {' '.join(CHOICE)}"
    assert called == [f"{call} --inits", *(f"{call} --index {row.index}" for row in rows)]
    assert '--dependency="afterok:$first"' in script
    assert f"--array=0-{len(rows) - 1} " in script


def test_kubernetes_makes_every_row_once(pretended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = written(capsys, "kubernetes")
    called = run(script, pretended, OSHP_IMAGE="oshp:1", OSHP_CLAIM="data")
    call = f"matrix {' '.join(CHOICE)}"
    rows = [row for row in rows_of_choice() if row.key]
    assert called == [f"{call} --inits", *(f"{call} --index {row.index}" for row in rows)]
    jobs = [yaml.safe_load(text) for text in re.findall(r"<<JOB\n(.*?)\nJOB", script, re.S)]
    assert [job["metadata"]["name"] for job in jobs] == ["oshp-first", "oshp-rows"]
    assert jobs[1]["spec"]["completionMode"] == "Indexed"
    refused = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert refused.returncode
    assert "OSHP_IMAGE" in refused.stderr


def test_hours_and_gib_are_those_of_the_plan(pretended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = written(capsys, "slurm")
    assert main(["matrix", *CHOICE, "--dry-run"]) == 0
    plan = capsys.readouterr().out
    row = next(row for row in rows_of_choice() if row.key)
    need = need_of(row, Estimates(SimpleNamespace(runs=list)), "cpu")  # type: ignore[arg-type]
    assert need.hours is not None
    line = next(line for line in script.splitlines() if line.endswith(row.name))
    assert (
        line
        == f"#    0  {forecast.words(3600 * need.hours)}{cluster.SIGNS['computed'][0]}, {need.host:.1f} GiB  {row.name}"
    )
    assert f"{60 * need.hours:.1f} min" in next(line for line in plan.splitlines() if row.name in line)


def test_a_gpu_is_requested_where_the_profile_needs_one(tmp_path: Path) -> None:
    rows = [row for row in rows_of(runs_of("eopnet2", "paper"), "paper") if row.key and row.key.method == "eopnet"]
    need = need_of(rows[0], Estimates(SimpleNamespace(runs=list)), "cuda")  # type: ignore[arg-type]
    work = forecast.work_of(rows[0].config)
    assert work is not None
    assert need.gpu == work.memory
    assert need.host == 7 * (0.5 + rows[0].config.data.cache_mb / 1024), "six workers and the process itself"
    able = [SimpleNamespace(**{**vars(row), "reason": ""}) for row in rows]
    finder = SimpleNamespace(store=SimpleNamespace(runs=list))
    script = cluster.script("slurm", "oshp-lite matrix --profile paper", "paper", able, finder)  # type: ignore[arg-type]
    assert "--gres=gpu:1 --job-name=oshp-rows" in script
    assert f"{need.gpu:.1f} GiB of a GPU" in script
    needs = [need_of(row, Estimates(SimpleNamespace(runs=list)), "cuda") for row in rows]  # type: ignore[arg-type]
    assert f"--time={limit(needs)}:00:00" in script
    assert "oshp-first" not in script, "the papers' rows start from a file"


def test_gib_of_a_gpu_follow_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    work = forecast.work_of(config_of(RunKey("eopnet", "atr-os", 1, "k"), "paper"))
    assert work is not None
    assert cluster.gpu_memory(work) == work.memory, "counted"
    pace = forecast.Pace(1e12, 1e12, "measured", measured=True, memory=9.5)
    monkeypatch.setattr(forecast, "pace", lambda *_: pace)
    assert cluster.gpu_memory(work) == pytest.approx(9.5)
    assert cluster.gpu_memory(replace(work, memory=work.memory / 2)) == pytest.approx(9.5 / 2)  # type: ignore[operator]
    assert cluster.gpu_memory(replace(work, memory=None)) is None


def test_limits_and_spans() -> None:
    needs = [Need("x", at, hours, "here", 1.0, None) for at, hours in ((4, 2.0), (0, None), (1, 3.1), (2, 0.1))]
    assert limit(needs) == 5
    assert limit(needs[1:2]) == cluster.UNKNOWN_HOURS
    assert cluster._indices(needs) == "0-2,4"


def test_rows_that_cannot_be_run_are_not_submitted(pretended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["matrix", "--profile", "paper", "--exhibits", "eopnet2", "--script", "slurm"]
    assert main(words) == 2
    assert "no row of this choice can be run, so there is nothing to submit" in capsys.readouterr().err
    assert main([*words, "--index", "1"]) == 2
    assert "--script hands every row of the choice to a cluster" in capsys.readouterr().err
