"""`oshp-lite data synthetic | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from oshp_lite.cli.common import Count, number
from oshp_lite.data.registry import DATASETS

DRAWN = ", ".join(spec.name for spec in DATASETS.values() if spec.synthetic)

app = typer.Typer(help="draw procedural people; verify a dataset")


@app.command()
def synthetic(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="the dataset's folder")],
    name: Annotated[str, typer.Option(help=DRAWN)] = "synth-atr",
    train: Count = 1200,
    test: Count = 300,
    size: Annotated[int, number(1, "S", "side in pixels")] = 128,
    seed: Annotated[int, number(0, "N")] = 0,
) -> None:
    """Draw a dataset of procedural people."""
    from oshp_lite.data.registry import draw

    dataset = draw(name, out, train, test, size, seed)
    print(f"{dataset.root}: {len(dataset.stems('train'))} training and {len(dataset.stems('test'))} test scenes")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(help="the dataset's folder")],
    *,
    quick: Annotated[bool, typer.Option("--quick", help="read only the photos' headers")] = False,
    rule: Annotated[str, typer.Option(help="eval.pairs: dataset, journal, spread, each or aaai")] = "dataset",
    queries: Annotated[int | None, number(1, "N", "eval.queries of the run")] = None,
    repeats: Annotated[int | None, number(1, "N", "eval.repeats of the run")] = None,
    per_class: Annotated[int | None, number(1, "N", "eval.per_class of the run")] = None,
) -> None:
    """Count, check sizes, ids and pairs of a dataset on disk; the pairs' hash is that of a run with these values."""
    from oshp_lite.data.prepare.command import print_verified

    print_verified(folder, quick=quick, rule=rule, queries=queries, repeats=repeats, per_class=per_class)
