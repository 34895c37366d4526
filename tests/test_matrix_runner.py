"""The matrix survives: killed runners and workers, failing rows, a full disk, two runners at once."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matrix_fake
import pytest

HERE = Path(__file__).resolve().parent


def started(folder: Path, rows: list[list], *, file_size: int = 0, **more: Any) -> subprocess.Popen[str]:
    """A runner in a process of its own."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

    return subprocess.Popen(
        [sys.executable, "-m", "matrix_fake", "--schedule", json.dumps({"folder": str(folder), "rows": rows, **more})],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=small_files if file_size else None,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, list[str]]:
    """Status and reason of each row, by name."""
    told, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    found: dict[str, list[str]] = json.loads(told)
    return found


def statuses(found: dict[str, list[str]]) -> dict[str, str]:
    return {name: status for name, (status, _) in found.items()}


def made(folder: Path) -> list[str]:
    path = folder / "runs" / "made.txt"
    return path.read_text().splitlines() if path.is_file() else []


def begun(folder: Path) -> dict[str, int]:
    """Process of each row begun so far."""
    return {line.split()[1]: int(line.split()[-1]) for line in made(folder) if line.startswith("begin")}


def until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_rows_in_order_failures_apart_and_found_again(tmp_path: Path) -> None:
    rows = [["init", 0, 1], ["init", 1, 1], ["a", 0, 1, "init-0"], ["broken", 0, 1], ["b", 1, 1, "init-1"]]
    first = ended(started(tmp_path, rows))
    assert statuses(first) == {"init-0": "made", "init-1": "made", "a-0": "made", "broken-0": "failed", "b-1": "made"}
    assert first["broken-0"][1] == "Error: there is no such thing; take another"
    assert [line for line in made(tmp_path) if line.startswith("end")] == [
        "end init-0",
        "end init-1",
        "end a-0",
        "end b-1",
    ]
    kept = tmp_path / "reports"
    assert (kept / "broken-0.failed.txt").read_text().startswith("Error: there is no such thing")
    assert json.loads((kept / "a-0.done.json").read_text())["status"] == "done"
    assert not (kept / "broken-0.done.json").exists()

    before = (kept / "a-0.done.json").stat().st_mtime_ns
    again = ended(started(tmp_path, rows, jobs=2))
    assert (kept / "a-0.done.json").stat().st_mtime_ns == before, "engines that compare times see nothing new"
    assert statuses(again) == {
        "init-0": "found",
        "init-1": "found",
        "a-0": "found",
        "broken-0": "failed",
        "b-1": "found",
    }


def test_rows_do_not_queue_for_one_initialisation(tmp_path: Path) -> None:
    rows = [["init", 0, 30], ["a", 0, 1, "init-0"], ["b", 0, 1, "init-0"], ["init", 1, 1], ["c", 1, 1, "init-1"]]
    ended(started(tmp_path, rows, jobs=2))
    order = [line.split()[1] for line in made(tmp_path) if line.startswith("begin")]
    assert order.index("c-1") < order.index("a-0"), "the second place did not wait for the first initialisation"
    assert set(order[:2]) == {"init-0", "init-1"}


def test_a_failed_initialisation_fails_its_rows_only(tmp_path: Path) -> None:
    found = ended(started(tmp_path, [["broken", 0, 1], ["a", 0, 1, "broken-0"], ["b", 0, 1]]))
    assert statuses(found) == {"broken-0": "failed", "a-0": "failed", "b-0": "made"}
    assert "its initialisation broken-0 failed" in found["a-0"][1]


def test_the_runner_is_killed(tmp_path: Path) -> None:
    rows = [["a", 0, 120], ["b", 0, 120], ["c", 0, 1]]
    runner = started(tmp_path, rows, jobs=2)
    workers = until(lambda: begun(tmp_path) if len(begun(tmp_path)) == 2 else None)
    counted = until(lambda: sorted((tmp_path / "runs/.partial").glob("a-*/resume.pt")))
    until(lambda: int(counted[0].read_text() or 0) > 5)
    runner.send_signal(signal.SIGKILL)
    runner.communicate()
    until(lambda: not any(alive(pid) for pid in workers.values()), 20)
    assert not [line for line in made(tmp_path) if line.startswith("end")]

    assert set(statuses(ended(started(tmp_path, rows, jobs=2))).values()) == {"made"}
    going_on = [line for line in made(tmp_path) if line.startswith("begin a-0")]
    assert len(going_on) == 2
    assert int(going_on[1].split()[3]) > 0, "it went on from the saved state"
    assert len([line for line in made(tmp_path) if line.startswith("end")]) == 3


def test_a_worker_is_killed(tmp_path: Path) -> None:
    rows = [["a", 0, 40], ["b", 0, 1]]
    runner = started(tmp_path, rows, jobs=2)
    worker = until(lambda: begun(tmp_path).get("a-0"))
    os.kill(worker, signal.SIGKILL)
    found = ended(runner)
    assert statuses(found) == {"a-0": "failed", "b-0": "made"}
    assert found["a-0"][1] == "the process was ended by signal 9"
    assert statuses(ended(started(tmp_path, rows))) == {"a-0": "made", "b-0": "found"}


def test_a_row_takes_too_long(tmp_path: Path) -> None:
    found = ended(started(tmp_path, [["a", 0, 2000], ["b", 0, 1]], limit=6))
    assert statuses(found) == {"a-0": "failed", "b-0": "made"}
    assert "longer than 6 seconds" in found["a-0"][1]


def test_a_full_disk(tmp_path: Path) -> None:
    rows = [["big", 0, 1], ["a", 0, 1]]
    found = ended(started(tmp_path, rows, file_size=100_000))
    assert statuses(found) == {"big-0": "failed", "a-0": "made"}
    assert "file-size limit" in found["big-0"][1]
    assert not list((tmp_path / "runs").glob("big-*")), "nothing half-written is published"
    assert statuses(ended(started(tmp_path, rows))) == {"big-0": "made", "a-0": "found"}

    # not even the markers can be written: the runner still ends in order
    found = ended(started(tmp_path / "full", [["a", 0, 1]], file_size=1))
    assert statuses(found) == {"a-0": "failed"}


def test_two_runners_at_once(tmp_path: Path) -> None:
    rows = [["init", 0, 5], *[["a", seed, 5, "init-0"] for seed in range(6)]]
    both = [started(tmp_path, rows, jobs=2) for _ in range(2)]
    first, second = (ended(runner) for runner in both)
    assert set(statuses(first)) == set(statuses(second)) == {"init-0", *(f"a-{seed}" for seed in range(6))}
    assert {*statuses(first).values(), *statuses(second).values()} <= {"made", "found"}
    assert sorted(line for line in made(tmp_path) if line.startswith("end")) == [
        *(f"end a-{seed}" for seed in range(6)),
        "end init-0",
    ], "each row was made once"


def test_what_cannot_be_run_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from oshp_lite.engine.runs import RunStore
    from oshp_lite.study.execute import Executor
    from oshp_lite.study.plan import Finder

    runner = Executor(tmp_path / "reports", "smoke", Finder(RunStore(tmp_path / "runs")), tell=lambda text: None)
    lacking = replace(matrix_fake.row("persam", 0, 1), reason="needs SAM weights")
    (ending,) = runner.run([lacking])
    assert (ending.status, ending.reason) == ("not run", "needs SAM weights")
    assert json.loads(runner.marker(lacking).read_text())["status"] == "not run"
