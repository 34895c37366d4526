"""Notebook 14: a small network that parses people one by one, to look into.

Its backbone starts from that of the book's one-shot network, so that a few minutes of one processor are enough. First
the rest is trained (pyramid, proposals, the three branches) on drawn crowds of one to eight people, with the backbone
frozen; then all of it on crowds of two to six. Both sets have seed 0, and PASCAL's labels.

    python -m oshp_lite.book.lessons.people DATA_FOLDER

draws the crowds there, trains, judges, and keeps the network beside its record.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from oshp_lite.assets import checkpoint
from oshp_lite.book.lessons.record import Lesson, lessons_folder, read_lesson, write_lesson
from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.loading import EpochBatches
from oshp_lite.data.people_batches import PeopleItems, people_batch
from oshp_lite.data.registry import find_dataset
from oshp_lite.data.transforms import Recipe
from oshp_lite.engine.checkpoint import put_weights, read_weights, save_weights
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.instance_train import by_crowdedness, judge_people, judged_data
from oshp_lite.engine.presets import load_profile
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.script import exit_code

NAME = "people"
SIDE = 96
"""Side of a photo as the finished network sees it."""
OPTIONS: dict[str, Any] = {"variant": "lite", "n_ids": 7, "box_hidden": 64, "labels": "pascal"}
ENCODER = "pyramid.encoder."


class Stage(NamedTuple):
    """Training steps of 4 photos of a dataset, seen at a side; the rate is the branches', the backbone's a third."""

    dataset: str
    steps: int
    side: int
    frozen: bool = False
    rate: float = 2e-3
    decay: float = 1e-4


STAGES = (Stage("synth-crowd", 2000, 128, frozen=True), Stage("synth-cihp", 620, SIDE, decay=1e-2))
"""One after the other; the last one's test photos judge."""
SCORES = ("ap_p", "pcp", "ap_r", "ap_p_vol", "pcp_vol", "ap_r_vol", "miou")


def weights_file(folder: Path | None = None) -> Path:
    """Where the network's weights lie, beside the record."""
    return (folder or lessons_folder()) / f"{NAME}.safetensors"


def backbone() -> dict[str, Tensor]:
    """Where the backbone starts: the packaged one-shot network's encoder, as far as this network has it."""
    there = {f"pyramid.{name}": one.float() for name, one in read_weights(checkpoint()).items()}
    return {name: there[name] for name in untrained().state_dict() if name.startswith(ENCODER) and name in there}


def untrained(seed: int = 0) -> InstanceNet:
    """The network before it is trained, its backbone random."""
    made = InstanceNet(seed=seed, **OPTIONS)
    assert isinstance(made, InstanceNet)
    return made


def record() -> CheckpointRecord:
    """What the network is, as a checkpoint says it."""
    return CheckpointRecord("instance", dict(OPTIONS), "k", int(OPTIONS["n_ids"]), "pascal", size=SIDE)


def kept_network(folder: Path | None = None) -> InstanceNet:
    """Read the network that comes with the book. UserError when its file is missing or damaged."""
    path, network = weights_file(folder), untrained()
    put_weights(network, backbone() | read_weights(path), path)
    network.record = record()
    return network.eval()


def settings(stage: Stage) -> RunConfig:
    """A stage's set of drawn people, and how it is judged."""
    data = {"data.dataset": stage.dataset, "data.synthetic.n_train": 700, "data.synthetic.n_test": 100}
    sizes = {"data.size": stage.side, "data.synthetic.size": 128, "eval.test_size": stage.side}
    return load_profile("lite", data | sizes | {"model.method": "instance", "model.options.labels": "pascal"})


def train(network: InstanceNet, dataset: OneShotDataset, stage: Stage, seed: int = 0) -> list[float]:
    """Train on a dataset of people; the mean loss of every 100 steps of 4 photos."""
    encoder = network.pyramid.encoder.requires_grad_(not stage.frozen)
    own, rest = list(encoder.parameters()), [one for n, one in network.named_parameters() if not n.startswith(ENCODER)]
    groups = [{"params": rest}, *([] if stage.frozen else [{"params": own}])]
    rates = [stage.rate, stage.rate / 3][: len(groups)]
    optimizer = torch.optim.AdamW(groups, lr=stage.rate, weight_decay=stage.decay)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, stage.steps, pct_start=0.1)
    items, losses = PeopleItems(dataset, "train", Recipe("mild", (stage.side, stage.side)), seed=seed), []
    sampler = EpochBatches(len(items), 4, seed)
    loader: Any = torch.utils.data.DataLoader(items, batch_sampler=sampler, collate_fn=people_batch)
    network.train()
    encoder.train(not stage.frozen)  # a frozen backbone's batch statistics stay
    torch.manual_seed(seed)
    for step in tqdm(range(stage.steps), mininterval=10):
        epoch, place = divmod(step, len(sampler))
        if not place:
            sampler.at(epoch)
            batches = iter(loader)
        batch = next(batches)
        terms = network.losses(network(batch), batch, 0.0)
        optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        rate.step()
        losses.append(float(terms["total"].detach()))
    network.record = record()
    network.eval()
    return [sum(losses[i : i + 100]) / len(losses[i : i + 100]) for i in range(0, len(losses), 100)]


def keep(network: InstanceNet, facts: dict[str, Any], folder: Path | None = None) -> Path:
    """Keep the network at half precision, and the record; returns the record."""
    half = {name: one.half() if one.is_floating_point() else one for name, one in network.state_dict().items()}
    save_weights(weights_file(folder), half, record())
    return write_lesson(NAME, Lesson({"lesson": NAME, **facts}), folder)


def make(data: str, folder: Path | None = None, stages: Sequence[Stage] = STAGES, behind: int = 0) -> Path:
    """Draw, train, keep and judge; returns the record. Scores lie in [0,1].

    behind  stages that the kept network has behind it already; the others follow
    """
    facts: dict[str, Any] = {"steps": {}, "loss": {}, "seconds": 0}
    network = untrained()
    network.load_state_dict(backbone(), strict=False)
    if behind:
        facts |= {name: read_lesson(NAME, folder).content[name] for name in facts}
        network = kept_network(folder)
    for stage in stages[behind:]:
        config, began = settings(stage), time.process_time()
        dataset = judged_data(config, find_dataset(config.data, data, progress=False), progress=False)
        facts["loss"][stage.dataset] = train(network, dataset, stage)
        facts["steps"][stage.dataset] = stage.steps
        facts["seconds"] += round(time.process_time() - began)
        keep(network, facts, folder)
        network = kept_network(folder)  # rounded, as the reader has it
    facts |= {"data": dataset.fingerprint, "options": OPTIONS}
    for name, given in (("true boxes", True), ("detected", False)):
        meter, crowded = judge_people(network, dataset, config, given_boxes=given, progress=False)
        facts |= {name: _brief(meter.scores()), "photos": meter.scores().counts}
    bins = by_crowdedness(crowded)
    facts["crowdedness"] = {name: _brief(meter.scores(stems)) for name, stems in bins.items()}
    return write_lesson(NAME, Lesson({"lesson": NAME, **facts}), folder)


def _brief(scores: Any) -> dict[str, Any]:
    values = scores.as_dict()
    return {name: values[name] for name in SCORES}


@exit_code
def main(words: list[str] | None = None) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.book.lessons.people", description=main.__doc__)
    parser.add_argument("data", metavar="DATA_FOLDER", help="where the crowds are drawn")
    parser.add_argument("--out", type=Path, help="folder of the records (default: notebooks/results/lessons)")
    parser.add_argument("--behind", type=int, default=0, help="stages that the kept network has behind it (default: 0)")
    given = parser.parse_args(words)
    print(f"kept {make(given.data, given.out, behind=given.behind)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
