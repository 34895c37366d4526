"""`oshp-lite score-instances`: score instance-level parsings of any origin; `score-crowds`: one-shot, four ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from oshp_lite.cli import common as options
from oshp_lite.cli.common import print_table
from oshp_lite.errors import UserError

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


def score_crowds(
    *,
    weights: Annotated[Path, typer.Option(metavar="FILE", help="a k-way EOP-Net trained on people with CIHP's labels")],
    people: Annotated[Path, typer.Option(metavar="FILE", help="weights of method instance, which detects people")],
    dataset: Annotated[str, typer.Option(help="dataset with person ids; its test pairs are parsed")] = "synth-crowd",
    data: options.Data = None,
    pairs: Annotated[int | None, typer.Option(min=1, metavar="N", help="the first N test pairs only")] = None,
    json: Annotated[Path | None, typer.Option(metavar="FILE", help="also write every number to this file")] = None,
    quiet: options.Quiet = False,
) -> None:
    """Compare one-shot parsing of whole photos with that of each person: AP^p, PCP, mIoU by height and crowdedness."""
    from dataclasses import replace

    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine.config import from_dict
    from oshp_lite.engine.crowds import judge_crowds
    from oshp_lite.models.eopnet import EOPNet
    from oshp_lite.predict import load_network
    from oshp_lite.predict.people import load_detector

    net = load_network(weights, precision=None)
    if not isinstance(net, EOPNet) or net.config.way != "k" or net.record is None:
        raise UserError(f"{weights} is no checkpoint of a k-way EOP-Net, whose features people are parsed from")
    config = from_dict(net.record.config)
    config = replace(config, data=replace(config.data, dataset=dataset))
    opened = find_dataset(config.data, data, progress=not quiet)
    if opened.space.name != net.record.space:
        raise UserError(f"{dataset} has the labels of {opened.space.name}, {weights} those of {net.record.space}")
    scores = judge_crowds(net, load_detector(people), opened, config, most=pairs, progress=not quiet)
    print(f"{next(iter(scores.values()))['pairs']} test pairs of {dataset}, fold {config.data.fold}, in per cent")
    heights = list(scores["whole"]["by_height"])

    def per_cent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    names = ("novel_miou", "human_miou", "ap_p_50", "ap_p_vol", "pcp_50", "novel_pcp_50")
    rows = [
        [way, *(per_cent(one[name]) for name in names)]
        + [per_cent(one["by_height"][at]["novel_miou"]) for at in heights]
        for way, one in scores.items()
    ]
    header = ["way", "novel mIoU", "human mIoU", "AP^p .5", "AP^p mean", "PCP .5", "novel PCP .5"]
    print_table(rows, [*header, *(f"novel mIoU, height {at}" for at in heights)])
    if json is not None:
        from oshp_lite.files import write_json_atomic

        write_json_atomic(json, scores)


def print_people(scores: Mapping[str, Any]) -> None:
    """Print the measures at three thresholds and their volumes, in per cent, from the form that JSON takes."""
    names = {"ap_p": "AP^p", "pcp": "PCP", "ap_r": "AP^r, one truth a part", "ap_r_pgn": "AP^r, PGN's convention"}

    def per_cent(value: float | None) -> str:
        return "-" if value is None else f"{100 * value:.2f}"

    rows = [[label, *map(per_cent, (*scores[name][4:7], scores[f"{name}_vol"]))] for name, label in names.items()]
    print_table([*rows, ["mIoU", "", "", "", per_cent(scores["miou"])]], ["measure", "0.5", "0.6", "0.7", "mean"])
