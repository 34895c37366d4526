"""From raw datasets, as people have them, to the one-shot form: a file a dataset, and the commands over them.

`Preparation` is what such a file offers; the registry names it ("raw:ATR"), `data_scripts` and `command.main` run it.
"""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import NamedTuple

from oshp_lite.data.pairs import Pair


class TailorReport(NamedTuple):
    """What tailoring did: photos per phase, what a user should know about them, and whether anything was made."""

    root: Path
    counts: dict[str, int]
    notes: tuple[str, ...]
    fresh: bool


class Preparation:
    """How raw data become a dataset: the words its command prints, the options it takes, what it does."""

    about: str = ""
    published_pairs: bool = False
    """True when the authors published the support index that the test pairs follow from."""

    def declare(self, parser: ArgumentParser) -> None:
        """Add the options beside --out and --force."""

    def run(self, options: Namespace) -> TailorReport:
        """Make the dataset at `options.out`. Raises UserError for raw data that are missing or damaged."""
        raise NotImplementedError

    def official_pairs(self, lists: Path) -> list[Pair]:
        """The test pairs of the authors' support index. Raises UserError when it is not in the folder `lists`."""
        raise NotImplementedError


def whole_number(text: str) -> int:
    """Read an option that takes a whole number of at least 1."""
    if int(text) < 1:
        raise ArgumentTypeError("must be at least 1")
    return int(text)
