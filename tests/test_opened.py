"""Commands that only look at runs open each of them once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import matrix_fake
import pytest

from oshp_lite.cli import main
from oshp_lite.engine import runs as store
from oshp_lite.engine.opened import OpenedOnce
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.study.plan import Finder, rows_of
from oshp_lite.study.records import RunKey


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Two finished runs of the smoke profile and a damaged one, pretended, in a store of their own."""
    dataset = SimpleNamespace(fingerprint="data")
    monkeypatch.setattr(store, "find_dataset", lambda data, root=None, progress=True: dataset)
    monkeypatch.setattr(store, "execute", matrix_fake.execute)
    monkeypatch.setattr(store, "check_start", lambda config: None)
    monkeypatch.setattr(store, "present_code", lambda method="": "this code")
    monkeypatch.setattr(Finder, "dataset", lambda self, data: dataset)
    monkeypatch.setenv("OSHP_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("OSHP_REPORTS", str(tmp_path / "reports"))
    keys = [RunKey(name, "synth-atr", 1, "k") for name in ("panet", "sgone", "amp")]
    rows = [row for row in rows_of(keys, "smoke") if row.key]
    made = [RunStore(tmp_path / "runs").ensure(row.config, progress=False) for row in rows]
    (made[-1].folder / "history.csv").write_text("cut")
    return [run.folder for run in made]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[Path]:
    """How often each folder of a run is opened."""
    count: Counter[Path] = Counter()
    openly = RunStore._open

    def counted(self: RunStore, folder: Path) -> Run | None:
        count[folder] += folder.is_dir()
        return openly(self, folder)

    monkeypatch.setattr(RunStore, "_open", counted)
    return count


def test_a_dry_run_opens_each_run_once(
    made: list[Path], opened: Counter[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["matrix", "--profile", "smoke", "--only", "panet", "sgone", "amp", "--dry-run", "--no-notebooks"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert sum(" done " in line and "-synth-atr-fold1-kway" in line for line in told.splitlines()) == 2
    assert "damaged: " in told
    assert "history.csv is not as it was written" in told
    assert set(made) < {folder for folder, count in opened.items() if count}, "these and the start they share"
    assert max(opened.values()) == 1


def test_doctor_opens_each_run_once(
    made: list[Path], opened: Counter[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oshp_lite.cli.doctor._installed", list)
    rows = rows_of([RunKey("panet", "synth-atr", 1, "k")], "smoke")
    monkeypatch.setattr("oshp_lite.cli.doctor._rows", lambda profile, finder: rows)  # those of all profiles take long
    main(["doctor"])
    assert "3 finished runs" in capsys.readouterr().out
    assert all(opened[folder] == 1 for folder in made)


def test_what_is_remembered_is_what_a_plain_store_says(made: list[Path]) -> None:
    plain, once = RunStore(made[0].parent), OpenedOnce(made[0].parent)
    for _ in range(2):
        assert [run.folder for run in once.runs()] == [run.folder for run in plain.runs()]
        assert once.damaged() == plain.damaged()
        assert set(once.damaged()) == {made[-1]}
        with pytest.raises(UserError, match="is damaged"):
            once._open(made[-1])
        assert once._open(made[0].parent / "nothing") is None
