"""From raw datasets, as people have them, to the one-shot form: a file a dataset, and the commands over them.

`Preparation` is what such a file offers; the registry names it ("raw:ATR"), `data_scripts` and `command.main` run it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from oshp_lite.data.pairs import Pair


@dataclass(frozen=True)
class TailorReport:
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

    def declare(self, parser: argparse.ArgumentParser) -> None:
        """Add the options beside --out and --force."""

    def run(self, options: argparse.Namespace) -> TailorReport:
        """Make the dataset at `options.out`. Raises UserError for raw data that are missing or damaged."""
        raise NotImplementedError

    def official_pairs(self, lists: Path) -> list[Pair]:
        """The test pairs of the authors' support index in the folder `lists`."""
        raise NotImplementedError
