"""`oshp-lite doctor`: what is installed, which data are there, what this machine can run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import print_table
from oshp_lite.cli.data import DRAWN
from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError

CORE = ("torch", "numpy", "pillow", "matplotlib", "tqdm", "safetensors", "pyyaml", "filelock", "typer", "rich")
EXTRAS: tuple[str, ...] = ("jupyterlab", "ipykernel", "ipywidgets", "papermill", "nbconvert", "jinja2", "pandas")
EXTRAS += ("scipy", "sphinx", "myst-nb", "furo", "pytest", "playwright")


def doctor(
    *,
    no_probe: Annotated[bool, typer.Option("--no-probe", help="skip the speed probe (about ten seconds)")] = False,
    data: options.Data = None,
    runs: options.Runs = None,
) -> int:
    """Say what is installed, which data are there, what can run here."""
    missing = _installed()
    _data(data)
    if not missing:
        _runs(runs)
    device = _machine()
    if not no_probe and not missing:
        _times(device)
    if missing:
        extras = "notebooks,ccp,study,book,test"
        print(f"\nmissing: {', '.join(missing)}; install the package with pip install -e '.[{extras}]'")
        return 1
    return 0


def _installed() -> list[str]:
    from oshp_lite import __version__

    print(f"oshp-lite {__version__}, Python {platform.python_version()} at {sys.executable}")
    rows, missing, wanted = [], [], _ranges()
    for name in (*CORE, *EXTRAS):
        try:
            version = metadata.version(name)
            fits = name not in wanted or version in wanted[name]
            rows.append([name, version, "" if fits else f"outside {wanted[name]}"])
        except metadata.PackageNotFoundError:
            rows.append([name, "-", "not installed"])
            missing += [name] if name in CORE else []
    browser = any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome")))
    rows.append(["browser", "there" if browser else "-", "" if browser else "the browser test is skipped"])
    print_table(rows)
    return missing


def _ranges() -> dict[str, Any]:
    """Version ranges that the installed package asks for; empty when it runs from a plain checkout."""
    try:
        from packaging.requirements import Requirement

        requirements = [Requirement(text) for text in metadata.requires("oshp-lite") or []]
        return {requirement.name.lower(): requirement.specifier for requirement in requirements}
    except (ImportError, metadata.PackageNotFoundError):
        return {}


def _data(given: str | None) -> None:
    from oshp_lite.files import data_root

    root = data_root(given)
    print(f"\ndata in {root}")
    folders = [path.parent for path in (*sorted(root.glob("*/dataset.json")), *root.glob("dataset.json"))]
    rows = [[folder.name, _state(folder)] for folder in folders]
    present = {folder.name for folder in folders}
    for spec in DATASETS.values():
        if not spec.synthetic and not {spec.name, spec.family} & present:
            rows.append([spec.name, f"not there ({spec.command} makes it)"])
    rows.append([DRAWN, "procedural people need no data: they are drawn on first use"])
    print_table(rows)


def _state(folder: Path) -> str:
    from oshp_lite.data.dataset import open_dataset

    try:
        dataset = open_dataset(folder)
        stems = [*dataset.stems("train"), *dataset.stems("test")]
        files = ((stem, (dataset.image_path(stem), dataset.mask_path(stem))) for stem in stems)
        lacking = [stem for stem, paths in files if not all(path.is_file() for path in paths)]
        if lacking:
            return f"NOT VALID: {len(lacking)} photos or masks are missing, e.g. {lacking[0]}"
        dataset.support_index("train"), dataset.support_index("test")
        counts = dataset.counts()
        return f"valid: {counts['train']} training and {counts['test']} test photos, {dataset.space.name}"
    except UserError as error:
        return f"NOT VALID: {error}"


def _runs(given: str | None) -> None:
    store = options.run_store(given)
    finished, damaged = store.runs(), store.damaged()
    older = sum(run.older_code for run in finished)
    note = f", {older} of them made by older code" if older else ""
    print(f"\n{len(finished)} finished runs in {store.root}{note}")
    for reason in damaged.values():
        print(f"NOT VALID: {reason}")


def _machine() -> str:
    try:
        import torch
    except ImportError:
        return "cpu"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    print(f"\n{cores} CPU cores, {torch.get_num_threads()} torch threads, torch {torch.__version__}")
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            print(f"GPU {index}: {gpu.name}, {gpu.total_memory / 2**30:.0f} GiB")
        return "cuda"
    print("no GPU: smoke, quick and lite run here; gpu and paper want one")
    return "cpu"


def _times(device: str) -> None:
    import torch

    from oshp_lite.engine.presets import PROFILES
    from oshp_lite.study.speed import estimate

    print("\nrough time of each profile's first training here (data preparation and other notebooks not counted)")
    rows = []
    for profile in PROFILES:
        try:
            seconds, what = estimate(profile, torch.device(device))
            rows.append([profile, what, _words(seconds)])
        except UserError as error:
            rows.append([profile, "-", str(error)])
    print_table(rows)


def _words(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
