"""Options that several commands share, the values they take, and how a table is printed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from oshp_lite.data.registry import DATASETS
from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

PROFILES = ("smoke", "quick", "lite", "gpu", "paper")


def at_least(least: float, kind: Callable[[str], float] = int) -> Callable[[str], float]:
    """Return the `type` of an option that takes a whole number (`kind` float: any number, but not nan or inf)."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not least <= value < math.inf:
            words = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"takes {words}, at least {least:g}, not {text!r}")
        return value

    return read


def steps(text: str) -> list[str]:
    """Read the words of --steps; whether there are such steps is for the matrix to say."""
    found = text.replace(",", " ").split()
    if not found:
        raise argparse.ArgumentTypeError("names no step; say --steps a,b or leave it out for all")
    return found


def places(parser: argparse.ArgumentParser, *, runs: bool = True) -> None:
    """Add --data and --runs."""
    parser.add_argument("--data", metavar="ROOT", help="folder of datasets (default: OSHP_DATA or data/)")
    if runs:
        parser.add_argument("--runs", metavar="DIR", help="folder of runs (default: OSHP_RUNS or runs/)")


def configuration(parser: argparse.ArgumentParser, profile: str = "quick") -> None:
    """Add the options that choose a run's configuration."""
    parser.add_argument("--profile", default=profile, help=f"one of {', '.join(PROFILES)} (default: {profile})")
    parser.add_argument("--dataset", help=", ".join(DATASETS))
    parser.add_argument("--fold", type=at_least(1), help="1 or 2")
    parser.add_argument("--way", choices=["k", "1"], help="k-way or 1-way")
    parser.add_argument("--method", help="a registered method (default: eopnet)")
    parser.add_argument("--seed", type=at_least(0))
    parser.add_argument("--device", help="auto, cpu or cuda")
    parser.add_argument(
        "--minutes", type=at_least(0, float), metavar="N", help="end training after N minutes (not repeatable)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="A.B=VALUE", help="any other setting, e.g. train.epochs=5"
    )


def chosen_config(options: argparse.Namespace) -> RunConfig:
    """The configuration the options ask for. Raises UserError for unknown names and values."""
    from oshp_lite.engine.presets import load_profile

    named: dict[str, Any] = {
        "data.fold": options.fold,
        "model.method": options.method,
        "train.seed": options.seed,
        "train.device": options.device,
        "train.minutes": options.minutes,
    }
    overrides = [f"{name}={value}" for name, value in named.items() if value is not None] + list(options.set)
    task = getattr(options, "task", None)
    return load_profile(options.profile, overrides, dataset=options.dataset, way=options.way, task=task)


def refuse_others(
    chosen: argparse.Namespace, declare: Callable[[argparse.ArgumentParser], None], takes: Sequence[str], why: str
) -> None:
    """Raise UserError where an option is given that the command's action does not look at, rather than ignore it."""
    parser = argparse.ArgumentParser()
    declare(parser)
    for name, value in vars(chosen).items():
        if name not in takes and value != parser.get_default(name):
            raise UserError(f"{why}; it takes no --{name.replace('_', '-')}, leave that out")


def table(rows: Sequence[Sequence[object]], header: Sequence[str] = ()) -> str:
    """Rows as aligned text; numbers to the right."""
    texts = [[_cell(value) for value in row] for row in rows]
    if header:
        texts.insert(0, list(header))
    if not texts:
        return ""
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    right = [any(isinstance(row[column], (int, float)) for row in rows) for column in range(len(texts[0]))]
    lines = [
        "  ".join(text.rjust(w) if r else text.ljust(w) for text, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in texts
    ]
    if header:
        lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def _cell(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
