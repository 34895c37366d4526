"""`oshp-lite data synthetic | draw | verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

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
def draw(
    *,
    out: Annotated[Path, typer.Option(metavar="DIR", help="folder of the pictures")],
    name: Annotated[str, typer.Option(help=DRAWN)] = "synth-atr",
    count: Annotated[int, number(1, "N", "how many scenes")] = 8,
    first: Annotated[int, number(0, "N", "index of the first scene")] = 0,
    size: Annotated[int, number(1, "S", "side in pixels")] = 512,
    seed: Annotated[int, number(0, "N")] = 0,
    version: Annotated[Literal["4", "5"], typer.Option(help="4: the study's people; 5: drawn to be looked at")] = "5",
    cloth: Annotated[
        str, typer.Option(help="version 5: 'as in life', or 'says nothing' of the garment")
    ] = "as in life",
) -> None:
    """Draw scenes of procedural people as pictures to look at, each with its coloured mask."""
    from oshp_lite.data.synthetic.pictures import draw_pictures

    files = draw_pictures(out, name, range(first, first + count), size, seed, int(version), cloth)
    print(f"{out}: {len(files)} pictures with their masks, {files[0].name} first")


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
