"""`oshp-lite doctor`: what is installed, which data are there, what this machine can run."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.cli import common as options
from oshp_lite.cli.common import print_table
from oshp_lite.cli.data import DRAWN
from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.engine.runs import RunStore
    from oshp_lite.study.plan import Finder, Row

CORE = ("torch", "numpy", "pillow", "matplotlib", "tqdm", "safetensors", "pyyaml", "filelock", "typer", "rich")
EXTRAS: tuple[str, ...] = ("jupyterlab", "ipykernel", "ipywidgets", "papermill", "nbconvert", "jinja2", "pandas")
EXTRAS += ("scipy", "sphinx", "myst-nb", "furo", "onnxruntime", "pytest", "playwright")
PARTS = {"gpu": "notebook 07 on one GPU", "paper": "Table 2 on ATR on one GPU"}
"""The part of a profile that is timed where the whole is never made at once."""


def doctor(
    *,
    data: options.Data = None,
    runs: options.Runs = None,
) -> int:
    """Report what is installed, which data are present and what can run here."""
    missing = _installed()
    _data(data)
    finder = None if missing else options.finder(data, runs, looks_only=True)
    if finder is not None:
        _weights()
        _runs(finder.store)
    device = _machine()
    if finder is not None:
        _times(device, finder)
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


def _runs(store: RunStore) -> None:
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


def _times(device: str, finder: Finder) -> None:
    from oshp_lite.engine.presets import PROFILES
    from oshp_lite.study import forecast
    from oshp_lite.study.plan import SIGNS, Estimates, whole

    print("\ntime of what is still to train, one run after the other (executing the notebooks comes on top)")
    estimates, rows, signs = Estimates(finder.store), [], set()
    for profile in PROFILES:
        what, large = PARTS.get(profile, "reproduce"), profile in PARTS
        made = whole(_rows(profile, finder), finder, estimates, "cuda" if large else "")
        signs |= {*made.known}
        marks = "".join(SIGNS[known][0] for known in made.known if known in SIGNS)
        took = (
            f"{forecast.words(made.seconds)} {marks}" if made.runs > made.unknown else "?" if made.runs else "nothing"
        )
        notes = [f"{made.lacking} rows lack something here"] if made.lacking else []
        notes += [f"{made.unknown} without an estimate"] if made.unknown else []
        rows.append([profile, what, f"{made.runs} runs", took.strip() if made.runs else "nothing", "; ".join(notes)])
    print_table(rows)
    for known, (sign, words) in SIGNS.items():
        if known in signs:
            print(f"{sign} {words}")
    if pace := forecast.pace("cuda"):
        print(f"pace of a GPU: {pace.source}")
    print("oshp-lite matrix --profile NAME --dry-run names every run with its time and what it lacks")


def _rows(profile: str, finder: Finder) -> list[Row]:
    """What a call for the profile makes: all of `reproduce`, or the part that PARTS names."""
    from oshp_lite.study.experiments import matrix, runs_of
    from oshp_lite.study.plan import rows_of, trainings
    from oshp_lite.study.references import ceiling_rows

    if profile == "paper":
        return rows_of(runs_of("eopnet2", profile), profile, data=finder.data)
    trained = trainings(profile, data=finder.data)
    rows = [] if profile in PARTS else rows_of(matrix(profile), profile, data=finder.data)
    return [*rows, *trained, *ceiling_rows(profile, trained)]


def _weights() -> None:
    from oshp_lite.study.weights import external_weights

    print("\nweights from elsewhere, which some rows need")
    print_table([[one.name, one.variable, one.found] for one in external_weights()])
