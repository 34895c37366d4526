"""The matrix as a part of `oshp-lite reproduce`: its rows beside the notebooks, on the same places of the machine."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.files import read_json
from oshp_lite.study.experiments import matrix, needs_curve
from oshp_lite.study.matrix import LIMIT_MINUTES, Row, config_of, rows_of
from oshp_lite.study.records import RunKey


def matrix_rows(profile: str, steps: Sequence[str] | None = None) -> list[Row]:
    """Return the rows of a profile. UserError for an unknown step."""
    return rows_of(matrix(profile, steps), profile)


def make_rows(
    rows: Sequence[Row],
    profile: str,
    folder: Path,
    workers: int,
    slots: threading.Semaphore,
    tell: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Make rows in the run store, without notebooks of their own; returns how each ended, for the manifest."""
    from oshp_lite.study.matrix_runner import Runner

    if not rows:
        return []
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    runner = Runner(
        folder=folder / "matrix",
        profile=profile,
        limit=60 * LIMIT_MINUTES[profile],
        threads=max(1, cores // workers),
        tell=lambda text: None if text.startswith("begun") else tell(text),
        slots=slots,
    )
    return [
        {
            "name": ending.row.name,
            "status": ending.status,
            "seconds": round(ending.seconds, 1),
            "reason": ending.reason,
            "kept": f"matrix/{ending.row.name}.failed.txt" if ending.status == "failed" else "",
        }
        for ending in runner.run(rows, workers)
    ]


def earlier_rows(folder: Path) -> list[dict[str, Any]]:
    """Return the rows that an earlier call of the profile left in its manifest."""
    try:
        return list(read_json(folder / "manifest.json").get("matrix", []))
    except UserError:
        return []


def curve_settings(profile: str, dataset: str, fold: int, way: str) -> list[str]:
    """Return the settings of a run whose curve is drawn, so that notebook 07 trains it as the matrix would."""
    key = RunKey("eopnet", dataset, fold, "k" if way == "k" else "1")
    return [f"train.eval_every={config_of(key, profile).train.eval_every}"] if needs_curve(key) else []
