"""Executing notebooks: parameters checked first, success judged by what happened, outputs fit to be kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stale import stale_cells

from oshp_lite.errors import UserError
from oshp_lite.study import execute, notebooks
from oshp_lite.study.execute import run_jobs
from oshp_lite.study.notebooks import (
    Job,
    check_parameters,
    default_parameters,
    load_notebook,
    notebook_sha,
    run_job,
    save_notebook,
    source_sha,
    tidy,
)

PARAMETERS = 'profile = "smoke"  # which\nseed = 0\nrate = 0.5\nname = None\nflags = [1, 2]'


def notebook(*cells: str, parameters: str = PARAMETERS) -> dict:
    made = [
        {"cell_type": "markdown", "id": "title", "metadata": {}, "source": "# A title"},
        {
            "cell_type": "code",
            "id": "parameters",
            "metadata": {"tags": ["parameters"]},
            "source": parameters,
            "outputs": [],
            "execution_count": None,
        },
    ]
    for number, source in enumerate(cells):
        made.append(
            {
                "cell_type": "code",
                "id": f"cell{number}",
                "metadata": {},
                "source": source,
                "outputs": [],
                "execution_count": None,
            }
        )
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return {"cells": made, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


def written(folder: Path, *cells: str, name: str = "nb.ipynb") -> Path:
    path = folder / name
    save_notebook(path, notebook(*cells))
    return path


# ------------------------------------------------------------------------------------------------ parameters


def test_defaults_are_python_values() -> None:
    assert default_parameters(notebook()) == {
        "profile": "smoke",
        "seed": 0,
        "rate": 0.5,
        "name": None,
        "flags": [1, 2],
    }


@pytest.mark.parametrize("cell", ["x = 1 + y", "import os", "x.y = 2", "x = y = 3", "print(1)", "x ="])
def test_a_parameters_cell_with_more_than_literals_is_refused(cell: str) -> None:
    with pytest.raises(UserError, match="literal"):
        default_parameters(notebook(parameters=cell))


def test_unknown_parameter_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"'stpes'.*profile, seed"):
        check_parameters(notebook(), {"stpes": 1})


@pytest.mark.parametrize(
    "given", [{"seed": "7"}, {"seed": True}, {"seed": 1.5}, {"profile": 3}, {"flags": "[1]"}, {"rate": "fast"}]
)
def test_wrong_types_are_refused(given: dict) -> None:
    with pytest.raises(UserError, match="is a"):
        check_parameters(notebook(), given)


def test_an_int_stands_for_a_float_and_anything_for_none() -> None:
    assert check_parameters(notebook(), {"rate": 1, "name": "x"}) == {"rate": 1.0, "name": "x"}


# ------------------------------------------------------------------------------------------------- tidying


def test_tidy_joins_streams_and_drops_dead_widgets() -> None:
    told = notebook("print(1)")
    told["metadata"] |= {"papermill": {"x": 1}, "widgets": {"y": 2}}
    cell = told["cells"][2]
    cell["metadata"] = {"papermill": {}, "execution": {}, "tags": []}
    cell["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "one\n"},
        {"output_type": "stream", "name": "stdout", "text": "10%\r50%\r100%\n"},
        {"output_type": "display_data", "metadata": {}, "data": {"application/vnd.jupyter.widget-view+json": {}}},
        {"output_type": "stream", "name": "stderr", "text": ["two"]},
    ]
    clean = tidy(told)
    assert set(clean["metadata"]) == {"kernelspec"}
    assert [output["text"] for output in clean["cells"][2]["outputs"]] == [["one\n", "100%\n"], ["two"]]
    assert clean["cells"][2]["metadata"] == {"oshp": {"source_sha": source_sha(cell)}}
    assert told["cells"][2]["metadata"]["papermill"] == {}, "the given notebook is left alone"


def test_tidy_keeps_what_stands_beside_a_widget() -> None:
    executed = notebook("1")
    view, page = {"application/vnd.jupyter.widget-view+json": {}, "text/plain": "<lens>"}, {"text/html": "<p>page</p>"}
    outputs = [{"output_type": "execute_result", "metadata": {}, "data": data} for data in (view, {**view, **page})]
    executed["cells"][2]["outputs"] = outputs
    (kept,) = tidy(executed)["cells"][2]["outputs"]
    assert kept["data"] == {"text/plain": "<lens>", **page}


def test_a_changed_cell_is_stale_and_prose_is_not() -> None:
    fresh = tidy(notebook("a = 1", "b = 2"))
    assert stale_cells(fresh) == []
    fresh["cells"][0]["source"] = "# Another title"
    assert stale_cells(fresh) == []
    fresh["cells"][2]["source"] = "a = 3"
    assert stale_cells(fresh) == [2]


def test_the_hash_of_a_notebook_ignores_outputs() -> None:
    one, other = notebook("a = 1"), notebook("a = 1")
    other["cells"][2]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "x"}]
    other["cells"][2]["execution_count"] = 5
    assert notebook_sha(one) == notebook_sha(other) != notebook_sha(notebook("a = 2"))


# ----------------------------------------------------------------------------------------------- executing


@pytest.mark.slow
def test_execute_skip_force_and_stale(tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    source = written(tmp_path, "print(profile, seed, rate)")
    job = Job(source, tmp_path / "out" / "nb.ipynb", {"seed": 4})
    (first,) = run_jobs([job])
    assert first.status == "done"
    made = load_notebook(job.target)
    assert any("smoke 4 0.5" in "".join(o.get("text", "")) for cell in made["cells"] for o in cell.get("outputs", []))
    assert job.is_finished()
    assert [again.status for again in run_jobs([job])] == ["skipped"]
    assert [anew.status for anew in run_jobs([job], force=True)] == ["done"]
    assert not Job(source, job.target, {"seed": 5}).is_finished(), "other parameters"
    assert not Job(source, job.target, {"seed": 4}, identity={"code": "new"}).is_finished(), "other code"
    save_notebook(source, notebook("print(profile, seed, rate, 1)"))
    assert not job.is_finished(), "other source"
    job.target.unlink()
    assert not job.is_finished(), "the target is gone"


@pytest.mark.slow
def test_in_place_keeps_cells_and_fills_outputs(tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    source = written(tmp_path, "print(seed)", "1 + 1")
    command = [sys.executable, "-m", "oshp_lite.study.execute", "--in-place", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = load_notebook(source)
    assert [cell.get("execution_count") for cell in made["cells"]] == [None, 1, 2, 3]
    assert stale_cells(made) == []
    assert len(made["cells"]) == 4, "no injected cell"


@pytest.mark.slow
def test_failures_are_told_isolated_and_leave_no_marker(tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    jobs = [
        Job(written(tmp_path, "x = 1", "raise ValueError('too dark')", name="bad.ipynb"), tmp_path / "out/bad.ipynb"),
        Job(written(tmp_path, "import os", "os._exit(3)", name="dead.ipynb"), tmp_path / "out/dead.ipynb"),
        Job(written(tmp_path, "import time", "time.sleep(60)", name="slow.ipynb"), tmp_path / "out/slow.ipynb", {}, 2),
        Job(written(tmp_path, "print('fine')", name="good.ipynb"), tmp_path / "out/good.ipynb"),
    ]
    outcomes = run_jobs(jobs, workers=2)
    told = [(outcome.status, outcome.reason) for outcome in outcomes]
    assert [status for status, _ in told] == ["failed", "failed", "failed", "done"], told
    assert "ValueError: too dark" in outcomes[0].reason
    assert "raise ValueError" in outcomes[0].reason
    for job, outcome in zip(jobs[:3], outcomes, strict=False):
        assert not job.target.exists()
        assert not job.marker.exists()
        assert outcome.reason
    assert jobs[0].failed.is_file(), "the outputs of the failed one can be read"


@pytest.mark.slow
def test_a_failed_execution_in_place_leaves_the_notebook_as_it_was(tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    source = written(tmp_path, "print(1)", "1 / 0")
    before = source.read_bytes()
    assert "ZeroDivisionError" in run_job(Job(source, source))
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["nb.ipynb"]


def test_parameters_are_checked_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks, "run_child", lambda *_, **__: pytest.fail("nothing may run"))
    good = Job(written(tmp_path, name="good.ipynb"), tmp_path / "out/good.ipynb")
    bad = Job(written(tmp_path, name="bad.ipynb"), tmp_path / "out/bad.ipynb", {"sed": 1})
    with pytest.raises(UserError, match="'sed'"):
        run_jobs([good, bad])


def test_missing_and_broken_notebooks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "broken.ipynb").write_text("{}")
    for name in ("none.ipynb", "broken.ipynb"):
        assert execute.main(["--in-place", str(tmp_path / name)]) == 2
        assert name in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_stops_the_children(tmp_path: Path) -> None:
    pytest.importorskip("papermill")
    flag = tmp_path / "started"
    source = written(tmp_path, f"open({str(flag)!r}, 'w').close()", "import time; time.sleep(120)")
    command = [sys.executable, "-m", "oshp_lite.study.execute", "--out", str(tmp_path / "out"), str(source)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
    limit = time.monotonic() + 60
    while not flag.exists() and time.monotonic() < limit:
        time.sleep(0.1)
    assert flag.exists()
    os.kill(child.pid, signal.SIGINT)
    _, told = child.communicate(timeout=60)
    assert child.returncode == 130, told
    assert not list((tmp_path / "out").glob("*.done.json"))
    assert json.loads(source.read_text()) == notebook(
        f"open({str(flag)!r}, 'w').close()", "import time; time.sleep(120)"
    )
