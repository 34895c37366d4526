"""The checkpoint for street photos: how it is trained, once with every class and once a fold, and how it is shipped.

    python -m oshp_lite.study.photo_recipe train all|fold1|fold2|tuning --out FOLDER [--data DATA] [--set NAME=VALUE]
    python -m oshp_lite.study.photo_recipe ship --all FOLDER --fold1 FOLDER --fold2 FOLDER [--ccp CLONE]

One recipe (photo_recipe.yaml) makes all of them. The shipped one knows every class of CCP-OS; what it does with a class
that it does not know is measured on the two others, of whose training trousers and bags were left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any, cast

import torch

from oshp_lite.assets import PHOTOS_CARD, PHOTOS_CHECKPOINT
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.checkpoint import read_record, read_weights, save_weights
from oshp_lite.engine.config import RunConfig, from_dict, override
from oshp_lite.engine.matching_train import train_matching
from oshp_lite.engine.outcome import WEIGHTS
from oshp_lite.engine.provenance import provenance
from oshp_lite.engine.runs import read_history
from oshp_lite.errors import UserError
from oshp_lite.files import file_sha256, parse_yaml, read_json, write_json_atomic
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.predict import ParseOptions
from oshp_lite.predict.confidence import calibration
from oshp_lite.script import exit_code
from oshp_lite.study.photos import CLASSES, LIST, Ccp, as_plain, knowledge, measure, part_for

PARTS = ("all", "fold1", "fold2", "tuning")
MOST_BYTES = 5_000_000
NOVEL_IN = {"trousers": "fold1", "bag": "fold2"}
"""The training that a class of the list is held out of."""


def recipe(part: str, changes: Sequence[str] = ()) -> RunConfig:
    """The configuration of a part, with dotted changes laid over it. UserError for an unknown part or name."""
    content = parse_yaml(resources.files("oshp_lite.study").joinpath("photo_recipe.yaml").read_text(encoding="utf-8"))
    if part not in PARTS:
        raise UserError(f"unknown part {part!r} of the recipe; there are {', '.join(PARTS)}")
    config = from_dict(content["run"], where="photo_recipe.yaml")
    return override(from_dict(content["parts"][part], config, "photo_recipe.yaml"), changes)


def check_unseen(dataset: OneShotDataset, record: CheckpointRecord) -> list[str]:
    """The photos that the checkpoint is measured on. UserError where one of them was trained on."""
    lists = read_json(LIST)["parts"][part_for(record)]
    measured = sorted({stem for entry in lists.values() for stems in entry.values() for stem in stems})
    seen = sorted(set(measured) & set(dataset.stems("train")))
    if seen:
        raise UserError(f"{len(seen)} photos of the list were trained on, {seen[0]} among them; leave them out")
    return measured


def train(part: str, out: Path, data: Path | None = None, changes: Sequence[str] = (), progress: bool = True) -> Path:
    """Train a part of the recipe in `out` (resumed where it stopped); returns the weights. Raises as training does."""
    config = recipe(part, changes)
    dataset = find_dataset(config.data, data, progress=progress)
    weights = train_matching(config, dataset, out, progress)
    if part != "tuning":
        check_unseen(dataset, read_record(weights))
    seconds = read_history(out)[-1]["seconds"]
    about = {"part": part, "seconds": seconds, **provenance(dataset.fingerprint, seed=config.train.seed)}
    write_json_atomic(out / "made.json", about)
    return weights


def ship(folders: dict[str, Path], ccp: Ccp, weights: Path = PHOTOS_CHECKPOINT, card: Path = PHOTOS_CARD) -> None:
    """Write the checkpoint that knows every class in half precision, and its card with the scores of all three.

    folders: "all", "fold1" and "fold2" -> the folder of a finished training. Raises UserError for a training that is
    not finished, has another recipe than the others, or gives a file that is too large.
    """
    made = {part: read_json(folder / "made.json") for part, folder in folders.items()}
    records = {part: read_record(folder / WEIGHTS) for part, folder in folders.items()}
    plain = {part: _common(record) for part, record in records.items()}
    odd = next((part for part in plain if plain[part] != plain["all"]), None)
    if odd is not None:
        raise UserError(f"{folders[odd]} was trained by another recipe than {folders['all']}; train both alike")
    state = read_weights(folders["all"] / WEIGHTS)
    half = {name: value.half() if value.dtype == torch.float32 else value for name, value in state.items()}
    size = sum(value.nbytes for value in half.values())
    if size > MOST_BYTES:
        raise UserError(f"the checkpoint would have {size} bytes, more than {MOST_BYTES}; make the network smaller")
    save_weights(weights, half, records["all"])
    scores: dict[str, Any] = {"every class known": measure(weights, ccp)}
    for name, part in NOVEL_IN.items():
        one, several = (measure(folders[part] / WEIGHTS, ccp, supports=n)[name] for n in (1, 3))
        assert knowledge(records[part], CLASSES[name]) == "novel"
        scores[f"{name} held out of training"] = {"1 support": one, "3 supports": several}
    write_json_atomic(card, _card(records["all"], made, scores, weights))


def _common(record: CheckpointRecord) -> dict[str, Any]:
    """A configuration without what parts of the recipe differ in."""
    config = {group: dict(values) for group, values in record.config.items() if isinstance(values, dict)}
    config["data"].pop("fold")
    config["train"].pop("visible")
    return config


def _card(record: CheckpointRecord, made: dict[str, Any], scores: dict[str, Any], weights: Path) -> dict[str, Any]:
    return {
        "purpose": "parsing street photos of one person each from one marked photo; never the start of a measured run",
        "network": "models.matching: a plain parser with one class for what has no name, matched by place and look",
        "trained on": {
            "photos": "CCP-OS, made of Clothing Co-Parsing (CCP) by data_scripts/ccp.py: all but its last block of 201",
            "source": "https://github.com/bearpaw/clothing-co-parsing",
            "paper": "W. Yang, P. Luo, L. Lin: Clothing Co-Parsing by Joint Image Segmentation and Labeling. CVPR 2014",
            "licence": "Apache-2.0",
            "labels": list(record.classes.values()),
            "left out": "every photo of the part test of oshp_lite/study/photos.json",
        },
        "limits": (
            "about 800 photos of young women in fashion photographs, one person a photo, standing and in full: "
            "other people, poses, several people, children and cropped photos are untested"
        ),
        "commands": [f"python -m oshp_lite.study.photo_recipe train {part} --out FOLDER" for part in made],
        "measured by": "python -m oshp_lite.study.photos measure; pairs of numbers: without and with the threshold",
        "matching chosen on": "other photos of the last block, after a first look at the scores of this list",
        "options": as_plain(replace(ParseOptions(), drop_unlikely=False)),
        "scores": scores,
        "threshold": calibration(record.method).threshold,
        "config": record.config,
        "sha256": file_sha256(weights),
        "made": made,
    }


@exit_code
def main(words: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.photo_recipe", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    one = commands.add_parser("train", help="train one part of the recipe")
    one.add_argument("part", choices=PARTS)
    one.add_argument("--out", type=Path, required=True, help="folder of the training; started again, it goes on")
    one.add_argument("--data", type=Path, help="folder of the datasets")
    one.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting, e.g. train.epochs=60")
    two = commands.add_parser("ship", help="write the package's checkpoint and its card")
    for part in ("all", "fold1", "fold2"):
        two.add_argument(f"--{part}", type=Path, required=True, help="folder of a finished training")
    two.add_argument("--ccp", help="a clone of CCP (default: OSHP_CCP_ROOT)")
    given = parser.parse_args(words)
    if given.what == "train":
        print(train(given.part, given.out, given.data, given.set))
    else:
        ship({part: cast(Path, getattr(given, part)) for part in ("all", "fold1", "fold2")}, Ccp(given.ccp))
        print(PHOTOS_CARD)
    return 0


if __name__ == "__main__":
    sys.exit(main())
