"""`oshp-lite score-instances`: score instance-level parsings of any origin against a truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from oshp_lite.cli.common import print_table

TRUTH = "Category_ids and Human_ids (or Instance_ids with text files) as in CIHP, or a dataset with person ids"
RESULTS = (
    "Category_ids, Instance_ids with text files (PGN), people/NAME_N.png with people/NAME.txt, or MHP's results.txt"
)


def score_instances(
    *,
    truth: Annotated[Path, typer.Option(metavar="DIR", help=TRUTH)],
    results: Annotated[Path, typer.Option(metavar="DIR", help=RESULTS)],
    labels: Annotated[Literal["atr", "lip", "cihp", "pascal"], typer.Option(help="the label space")] = "cihp",
    no_background: Annotated[
        bool, typer.Option("--no-background", help="leave the background out of AP^p's and PCP's overlaps")
    ] = False,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="also write every number to this file")] = None,
) -> None:
    """Score instance-level parsings: AP^p, PCP, AP^r, mIoU."""
    from oshp_lite.engine.instance_files import ResultFolder, open_truth
    from oshp_lite.engine.instance_metrics import PeopleMeter
    from oshp_lite.labels import label_space

    n_classes = label_space(labels).n_raw
    photos, result = open_truth(truth, n_classes), ResultFolder(results, n_classes)
    result.check(photos)
    meter = PeopleMeter(n_classes, background=not no_background)
    for name in photos.names:
        true = photos.read(name)
        meter.add(name, true, result.read(name, true.size))
    scores = meter.scores()
    missing = len(photos.names) - len(result.names)
    counts = scores.counts
    print(f"{counts['photos']} photos with {counts['people']} people and {counts['parts']} parts, in per cent")
    if missing:
        print(f"{missing} photos have no result and count as empty")
    print_people(scores.as_dict())
    if json is not None:
        from oshp_lite.files import write_json_atomic

        write_json_atomic(json, scores.as_dict())


def print_people(scores: Mapping[str, Any]) -> None:
    """Print the measures at three thresholds and their volumes, in per cent, from the form that JSON takes."""
    names = {"ap_p": "AP^p", "pcp": "PCP", "ap_r": "AP^r, one truth a part", "ap_r_pgn": "AP^r, PGN's convention"}

    def per_cent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    rows = [[label, *map(per_cent, (*scores[name][4:7], scores[f"{name}_vol"]))] for name, label in names.items()]
    print_table([*rows, ["mIoU", "", "", "", per_cent(scores["miou"])]], ["measure", "0.5", "0.6", "0.7", "mean"])
