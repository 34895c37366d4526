"""`oshp-lite data synthetic | verify`."""

from __future__ import annotations

import argparse
from pathlib import Path

from oshp_lite.cli.common import at_least
from oshp_lite.data.registry import DATASETS


def options(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="synthetic|verify")
    synthetic = kinds.add_parser("synthetic", help="draw a dataset of procedural people")
    synthetic.add_argument(
        "--name", default="synth-atr", help=", ".join(spec.name for spec in DATASETS.values() if spec.synthetic)
    )
    synthetic.add_argument("--out", required=True, type=Path, metavar="DIR", help="the dataset's folder")
    synthetic.add_argument("--train", type=at_least(1), default=1200, metavar="N", help="training scenes")
    synthetic.add_argument("--test", type=at_least(1), default=300, metavar="N", help="test scenes")
    synthetic.add_argument("--size", type=at_least(1), default=128, metavar="S", help="side in pixels")
    synthetic.add_argument("--seed", type=at_least(0), default=0)
    verify = kinds.add_parser("verify", help="count, check sizes, ids and pairs of a dataset on disk")
    verify.add_argument("folder", type=Path)
    verify.add_argument("--quick", action="store_true", help="read only the photos' headers")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    if options.kind == "synthetic":
        from oshp_lite.data.registry import draw

        dataset = draw(options.name, options.out, options.train, options.test, options.size, options.seed)
        print(f"{dataset.root}: {len(dataset.stems('train'))} training and {len(dataset.stems('test'))} test scenes")
        return 0
    from oshp_lite.data.prepare.command import print_verified

    print_verified(options.folder, quick=options.quick)
    return 0
