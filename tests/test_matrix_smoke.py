"""Every declared row at the smallest size, in one process, and all tables, figures and claims drawn from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from oshp_lite.engine.runs import RunStore
from oshp_lite.study.exhibits import make_exhibits
from oshp_lite.study.experiments import EXHIBITS, matrix
from oshp_lite.study.plan import Finder, rows_of
from oshp_lite.study.records import NotRun, RunKey


def needs(key: RunKey) -> str:
    """Whose weights a row cannot do without."""
    return "SAM" if key.method == "persam" else "DINO" if key.ablation == "dino" else ""


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_smoke_makes_every_row_and_every_exhibit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA", "RUNS"):
        monkeypatch.setenv(f"OSHP_{name}", str(tmp_path / name.lower()))
    for name in ("SAM", "DINO"):
        monkeypatch.setenv(f"OSHP_{name}_WEIGHTS", str(tmp_path / "none"))
    store = RunStore()
    failed = {}
    for row in rows_of(matrix("smoke"), "smoke"):
        if row.reason:
            assert row.key is not None
            assert needs(row.key), row.reason
            continue
        try:
            store.ensure(row.config, progress=False)
        except Exception as error:
            failed[row.name] = repr(error)
    assert not failed, "\n".join(f"{name}: {reason}" for name, reason in failed.items())

    made = make_exhibits("smoke", tmp_path / "report", Finder(store))
    for key in matrix("smoke"):
        found = made.results.get(key)
        if needs(key):
            assert isinstance(found, NotRun)
            assert f"needs {needs(key)} weights" in found.reason
        else:
            assert not isinstance(found, NotRun), f"{key.slug}: {found.reason}"
            assert found.screened is not None or key.protocol == "aaai", key.slug
    assert {*made.tables, *made.figures} >= set(EXHIBITS) | {"per_class", "confusion", "size_iou"}
    assert {verdict.word for verdict in made.verdicts} - {"not run"}, "smoke runs decide something, if only by chance"
    for name in made.tables:
        assert (tmp_path / "report" / "tables" / f"{name}.tex").is_file()
    for name in made.figures:
        assert (tmp_path / "report" / "figures" / f"{name}.svg").is_file()
