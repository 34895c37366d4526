"""Shared by all tests: quiet drawing, one thread where the machine is shared, real data when it is at hand."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

os.environ.setdefault("MPLBACKEND", "Agg")

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
