"""Where data, runs and reports lie when nobody says otherwise."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE_PARENT = Path(__file__).resolve().parents[2]
"""The folder that holds the package: the checkout's root when the package runs from a checkout."""


def project_root() -> Path:
    """The checkout: nearest folder above the working folder (or the package) with `notebooks/` and `pyproject.toml`.

    Falls back to the working folder when there is no checkout (package installed alone).
    """
    here = Path.cwd().resolve()
    for folder in (here, *here.parents, PACKAGE_PARENT):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    return here


def data_root(given: str | Path | None = None) -> Path:
    """The folder of datasets: what was given, else OSHP_DATA, else `data/` in the checkout."""
    return _place(given, "OSHP_DATA", "data")


def runs_root(given: str | Path | None = None) -> Path:
    """The folder of runs: what was given, else OSHP_RUNS, else `runs/` in the checkout."""
    return _place(given, "OSHP_RUNS", "runs")


def reports_root(given: str | Path | None = None) -> Path:
    """The folder of reports: what was given, else OSHP_REPORTS, else `reports/` in the checkout."""
    return _place(given, "OSHP_REPORTS", "reports")


def _place(given: str | Path | None, variable: str, name: str) -> Path:
    chosen = given or os.environ.get(variable) or project_root() / name
    return Path(chosen).expanduser().resolve()
