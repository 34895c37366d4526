"""Shared by all tests: quiet drawing, one thread where the machine is shared, real data when it is at hand."""

from __future__ import annotations

import gc
import os
import signal
import sys
from itertools import chain, groupby, islice
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]  # see `study.notebooks.papermill_here`

# a shell that starts the suite in the background leaves Ctrl-C ignored; the tests and their children want it as usual
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def _folder_from(variable: str, what: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f"{variable} is not set: it names {what}")
    if not Path(value).is_dir():
        pytest.skip(f"{variable} names {value}, which is not a folder")
    return Path(value)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Several workers begin with the slow tests, those with the longest time limit first; quick ones fill the rest.

    xdist gives each worker one stretch of the list, and one that has done its own takes from another's end. What is
    long and comes late would leave the others idle.
    """
    workers = int(getattr(config, "workerinput", {}).get("workercount", 1))
    slow = [item for item in items if item.get_closest_marker("slow")]
    if workers == 1 or not slow:
        return

    def limit(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return float(mark.args[0]) if mark else 0.0

    def together(item: pytest.Item) -> str:
        """Tests that may share what their module sets up; a notebook shares nothing."""
        return item.nodeid if item.get_closest_marker("notebook") else item.nodeid.partition("::")[0]

    groups = [list(group) for _, group in groupby(sorted(slow, key=limit, reverse=True), key=together)]
    quick = iter([item for item in items if not item.get_closest_marker("slow")])
    stretches, left = [[item for group in groups[n::workers] for item in group] for n in range(workers)], len(items)
    for n, stretch in enumerate(stretches):
        stretch += islice(quick, max(left // (workers - n) - len(stretch), 0))
        left -= len(stretch)
    items[:] = [*chain(*stretches), *quick]


def pytest_collection_finish() -> None:
    """Thousands of modules and tests live as long as the suite: the garbage collector need not walk them each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def drawn_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of all notebooks that a run of the tests executes: equal people are drawn once."""
    shared = tmp_path_factory.getbasetemp()
    return (shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared) / "drawn"


@pytest.fixture(scope="session")
def project() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def ccp_root() -> Path:
    """A clone of clothing-co-parsing (real photos), or a skip."""
    return _folder_from("OSHP_CCP_ROOT", "a clone of bearpaw/clothing-co-parsing")


@pytest.fixture(scope="session")
def official_lists() -> Path:
    """The authors' list files and support indexes, or a skip."""
    return _folder_from("OSHP_OFFICIAL_LISTS", "the folder of the authors' list files")
