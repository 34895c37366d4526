"""From a configuration to the dataset on disk: found where it lies, or, when procedural, drawn."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from oshp_lite.errors import UserError
from oshp_lite.files import data_root
from oshp_lite.lock import locked

if TYPE_CHECKING:
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.config import DataConfig

DATASETS = ("synth-atr", "synth-lip", "synth-cihp", "ccp-os", "atr-os", "lip-os", "cihp-os")
"""The datasets a run may name."""


def dataset_folder(data: DataConfig, root: str | Path | None = None) -> Path:
    """Where this dataset lies under the data folder; procedural ones carry their size in the name.

    `root` may be the dataset's own folder (one that holds `dataset.json`) when the dataset is not procedural.
    """
    base = data_root(root)
    if data.dataset.startswith("synth-"):
        spec = data.synthetic
        return base / f"{data.dataset}-{spec.n_train}+{spec.n_test}-{spec.size}px-seed{spec.seed}"
    if (base / "dataset.json").is_file():
        return base
    spellings = (data.dataset, data.dataset.removesuffix("-os"), f"{data.dataset}-os", data.dataset.upper())
    return next((base / name for name in spellings if (base / name / "dataset.json").is_file()), base / data.dataset)


def check_names(data: DataConfig) -> None:
    """Raise UserError for a dataset that does not exist or has no such fold, before any time is spent."""
    from oshp_lite.labels import fold

    if data.dataset not in DATASETS:
        raise UserError(f"unknown dataset {data.dataset!r}; known: {', '.join(DATASETS)}")
    fold(data.dataset, data.fold, data.protocol)


def find_dataset(data: DataConfig, root: str | Path | None = None, *, progress: bool = True) -> OneShotDataset:
    """Open the dataset; procedural people are drawn first when they are not there (or by an older generator).

    Under the protocol "tuning" the answer is what `hold_out` makes of the dataset's training part, beside the dataset.
    Raises UserError naming the folder and the script to run when a real dataset is missing.
    """
    from oshp_lite.data.dataset import open_dataset

    check_names(data)
    if data.protocol == "tuning":
        return _tuning_dataset(data, root, progress=progress)
    folder = dataset_folder(data, root)
    if data.dataset.startswith("synth-"):
        spec = data.synthetic
        with locked(folder.parent / ".locks" / f"{folder.name}.lock", f"the dataset {folder.name}"):
            return draw(data.dataset, folder, spec.n_train, spec.n_test, spec.size, spec.seed, progress=progress)
    if not (folder / "dataset.json").is_file():
        script = data.dataset.removesuffix("-os")
        raise UserError(
            f"the dataset {data.dataset} is not at {folder}; make it with data_scripts/{script}.py or name its folder "
            "by --data"
        )
    return open_dataset(folder)


def _tuning_dataset(data: DataConfig, root: str | Path | None, *, progress: bool) -> OneShotDataset:
    from oshp_lite.data.prepare.held_out import hold_out
    from oshp_lite.labels import fold

    whole = find_dataset(replace(data, protocol="journal"), root, progress=progress)
    folder = whole.root.with_name(f"{whole.root.name}-tuning-fold{data.fold}")
    with locked(folder.parent / ".locks" / f"{folder.name}.lock", f"the dataset {folder.name}"):
        return hold_out(whole, fold(data.dataset, data.fold), folder, progress=progress)


def draw(
    name: str, folder: Path, n_train: int, n_test: int, size: int, seed: int = 0, *, progress: bool = True
) -> OneShotDataset:
    """Draw procedural people into `folder`, or keep what an equal order by the same generator left there."""
    from oshp_lite.data.synthetic.generate import generate, recipe
    from oshp_lite.data.writer import finished_dataset

    there = finished_dataset(folder, recipe(name, n_train, n_test, size, seed))
    if there is not None:
        return there
    stale = _is_generated(folder)
    return generate(name, folder, n_train, n_test, size, seed, progress, workers=_workers(), force=stale)


def _is_generated(folder: Path) -> bool:
    """True when the folder holds an older generator's scenes, which may be replaced; anything else may not."""
    from oshp_lite.data.dataset import open_dataset

    try:
        return "generator" in open_dataset(folder).description
    except UserError:
        return False


def _workers() -> int:
    """Processes that draw; OMP_NUM_THREADS says how much of the machine is ours."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
