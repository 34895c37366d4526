"""The Snakefile under a real Snakemake (its own environment: OSHP_SNAKEMAKE or the PATH), with pretended rows."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from oshp_lite.cli import main

SNAKEFILE = Path(str(resources.files("oshp_lite.study"))) / "Snakefile"

PRETENDED = """#!{python}
# in place of `python -m oshp_lite matrix`: three rows, one of which fails and leaves its executed notebook
import json, sys
from pathlib import Path

folder = Path({folder!r})
names = {{"init-0": [], "a-0": ["init-0"], "broken-0": ["init-0"]}}
words = sys.argv[1:]
assert words[:3] == ["-m", "oshp_lite", "matrix"], words
if "--list" in words:
    marker = lambda name: str(folder / f"{{name}}.done.json")
    print(json.dumps([dict(name=name, needs=needs, marker=marker(name), code="1") for name, needs in names.items()]))
    sys.exit()
name = words[words.index("--row") + 1]
with open(folder.parent / "made.txt", "a") as stream:
    stream.write(f"{{name}} {{' '.join(words)}}\\n")
for needed in names[name]:
    assert (folder / f"{{needed}}.done.json").is_file()
if name == "broken-0":
    (folder / "broken-0.failed.ipynb").write_text("executed")
    sys.exit(1)
(folder / f"{{name}}.done.json").write_text("done")
"""


@pytest.fixture(scope="module")
def snakemake() -> str:
    found = os.environ.get("OSHP_SNAKEMAKE") or shutil.which("snakemake")
    if not found or not Path(found).is_file():
        pytest.skip("Snakemake is not installed; OSHP_SNAKEMAKE names it in an environment of its own")
    return found


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A stand-in for the project's Python."""
    path = tmp_path / "pretended"
    path.write_text(PRETENDED.format(python=sys.executable, folder=str(tmp_path / "matrix")))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def order(snakemake: str, python: Path, *words: str) -> list[str]:
    settings = [f"python={python}", "profile=smoke", "steps=a,b", "notebooks=false"]
    return [snakemake, "--snakefile", str(SNAKEFILE), "--keep-going", *words, "--config", *settings]


def call(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=400, check=False)


def made(folder: Path) -> list[str]:
    return [line.split()[0] for line in (folder / "made.txt").read_text().splitlines()]


def check(folder: Path) -> None:
    assert (folder / "matrix" / "a-0.done.json").is_file()
    assert (folder / "matrix" / "broken-0.failed.ipynb").is_file(), "a failed row keeps its executed notebook"
    assert not (folder / "matrix" / "broken-0.done.json").exists()
    assert made(folder)[0] == "init-0", "initialisations come first"


@pytest.mark.slow
def test_the_local_executor(snakemake: str, python: Path, tmp_path: Path) -> None:
    words = order(snakemake, python, "--cores", "2")
    first = call(words, tmp_path)
    assert first.returncode == 1, first.stderr
    check(tmp_path)
    told = (tmp_path / "made.txt").read_text()
    assert "--profile smoke --steps a,b --no-notebooks --row init-0 --threads 1" in told
    assert call(words, tmp_path).returncode == 1
    assert made(tmp_path).count("a-0") == 1, "what is done is not made again"
    assert made(tmp_path).count("broken-0") == 2


@pytest.mark.slow
def test_a_cluster_by_its_submit_command(snakemake: str, python: Path, tmp_path: Path) -> None:
    if "cluster-generic" not in call([snakemake, "--help"], tmp_path).stdout:
        pytest.skip("the plugin snakemake-executor-plugin-cluster-generic is not installed")
    submit = tmp_path / "submit.sh"
    submit.write_text(f'#!/bin/sh\nnohup sh "$1" > {tmp_path}/job-$$.txt 2>&1 &\necho $!\n')
    submit.chmod(0o755)
    words = ["--executor", "cluster-generic", "--cluster-generic-submit-cmd", str(submit), "--jobs", "2"]
    done = call(order(snakemake, python, *words, "--latency-wait", "30"), tmp_path)
    assert done.returncode == 1, done.stderr
    check(tmp_path)


def test_the_command_tells_where_the_snakefile_lies(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["matrix", "--snakefile"]) == 0
    assert Path(capsys.readouterr().out.strip()) == SNAKEFILE
    assert SNAKEFILE.is_file()


def test_the_list_has_what_the_snakefile_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OSHP_REPORTS", str(tmp_path))
    assert main(["matrix", "--profile", "smoke", "--only", "amp", "--list", "json"]) == 0
    for row in json.loads(capsys.readouterr().out):
        assert {"name", "needs", "marker", "code"} <= set(row)
