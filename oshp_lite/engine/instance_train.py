"""Training and judging the instance-level parser by the trainer that every method has: killed at any moment, resumed.

What differs from one-shot methods: an item is a photo of several people, all classes have labels, and the judgement
goes over the test photos one by one, not over pairs.
"""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.people import PeopleTruth, crowdedness
from oshp_lite.data.people_batches import PeopleBatch, PeopleItems, people_batch
from oshp_lite.data.transforms import Recipe, as_size
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.instance_files import write_result, write_truth
from oshp_lite.engine.instance_metrics import PeopleMeter
from oshp_lite.engine.loading import TrainingBatches
from oshp_lite.engine.outcome import WEIGHTS, keep_scores
from oshp_lite.engine.train import Training, threads_set
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
from oshp_lite.models.instance.network import InstanceNet
from oshp_lite.models.instance.regions import RegionRules

MEASURES = ("ap_p", "pcp", "ap_r", "ap_r_pgn")


class PeopleTraining(Training):
    """The training of an instance-level parser: other batches and another judgement, all else as for every method.

    Photos are laid out channel by channel, whatever `train.channels_last` says: the heads cut small boxes out of them.
    Raises UserError for a configuration that episodes alone can have.
    """

    def __init__(self, config: RunConfig, dataset: OneShotDataset, folder: Path, *first: Any) -> None:
        if config.data.way != "k" or config.data.protocol == "tuning":
            raise UserError("method instance has every class at once: set data.way=k and another protocol than tuning")
        config = replace(config, train=replace(config.train, channels_last=False))
        super().__init__(config, dataset, folder, *first)

    def make_batches(self) -> TrainingBatches:
        """Return batches of photos of people."""
        data = self.config.data
        recipe = Recipe(data.augment, as_size(data.size), data.pad_label, data.pre_resize, data.scale, data.jitter)
        items = PeopleItems(self.dataset, "train", recipe, seed=self.config.train.seed, channels=data.channels)
        return TrainingBatches(items, self.config, pin=self.device.type == "cuda", join=people_batch)

    def _evaluate(self) -> dict[str, float]:
        """Scores on the first test photos, to draw curves with."""
        net, most = self.parser, self.config.train.eval_queries or self.config.eval.queries
        assert isinstance(net, nn.Module)
        scores = judge_people(net, self.dataset, self.config, most=most, progress=False)[0].scores()
        return {f"{name}_vol": scores.volume(name) for name in MEASURES} | {"miou": scores.miou}


def resized(image: Tensor, size: int | tuple[int, int] | None) -> Tensor:
    """A photo float [1,3,H,W] that fits `size` (height, width, or one number for both), its shape kept."""
    if size is None:
        return image
    (height, width), native = as_size(size), image.shape[-2:]
    factor = min(height / native[0], width / native[1])
    if factor == 1:
        return image
    target = [max(1, round(side * factor)) for side in native]
    return F.interpolate(image, size=target, mode="bilinear", antialias=factor < 1).clamp(-1, 1)


def judge_people(
    net: Any,
    dataset: OneShotDataset,
    config: RunConfig,
    *,
    rules: RegionRules | None = None,
    given_boxes: bool = False,
    most: int | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> tuple[PeopleMeter, dict[str, float]]:
    """Parse the test photos (the first `most`) and return the meter, and each photo's largest crowdedness by stem.

    Photos are fitted into `eval.test_size` and judged at native size. given_boxes: the true boxes take the place of
    detected ones, an upper bound. folder: where truths and results are written in the public layouts.
    """
    assert isinstance(net, InstanceNet)
    device = next(net.parameters()).device
    items = PeopleItems(dataset, "test", None, channels=config.data.channels, least=1)
    meter, crowded = PeopleMeter(net.n_ids), {}
    for position in tqdm(range(min(most or len(items), len(items))), desc="people", disable=not progress, leave=False):
        item: PeopleBatch = items[position]
        assert item.classes is not None
        assert item.persons is not None
        assert item.boxes is not None
        stem = item.names[0]
        truth = PeopleTruth(*(one[0].to(torch.uint8).numpy() for one in (item.classes, item.persons)))
        image = resized(item.images, config.eval.test_size)
        scale = torch.tensor([image.shape[-1] / truth.size[1], image.shape[-2] / truth.size[0]] * 2)
        boxes = [item.boxes[0] * scale] if given_boxes else None
        result = net.predict(image.to(device), rules, boxes, truth.size)[0]
        meter.add(stem, truth, result)
        crowded[stem] = float(crowdedness(truth.boxes()).max(initial=0.0))
        if folder is not None:
            write_truth(folder / "truth", stem, truth)
            write_result(folder / "results", stem, truth.size, result)
    return meter, crowded


def execute(
    config: RunConfig,
    dataset: OneShotDataset,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    init_identity: str | None = None,
) -> dict[str, Any]:
    """Train (or go on with) and judge an instance-level parser, and write what a run's folder holds.

    scores.json holds detected boxes' scores, `given_boxes` those with the true boxes, and `bins` by crowdedness.
    """
    folder = Path(folder)
    training = PeopleTraining(config, dataset, folder, init_weights, init_identity)
    with threads_set(config.train.threads), torch.random.fork_rng():
        training.run(progress)
    began = time.monotonic()
    with threads_set(config.train.threads):
        net = load_parser(folder / WEIGHTS, config.train.device)
        meter, crowded = judge_people(net, dataset, config, progress=progress)
        given, _ = judge_people(net, dataset, config, given_boxes=True, progress=progress)
    details = {
        "device": next(net.parameters()).device.type,
        "seconds": round(time.monotonic() - began, 1),
        "test_data": dataset.fingerprint,
        "test_photos": sha256_json(list(crowded)),
        "rules": vars(RegionRules()),
    }
    scores = {**meter.scores().as_dict(), "given_boxes": given.scores().as_dict(), "details": details}
    scores["bins"] = {name: meter.scores(stems).as_dict() for name, stems in by_crowdedness(crowded).items()}
    keep_scores(folder, config, dataset, scores)
    return scores


BINS = (0.0, 0.1, 0.3, 0.5, 1.0)
"""Borders of crowdedness: the largest IoU of any two people's boxes in a photo."""


def by_crowdedness(crowded: dict[str, float]) -> dict[str, list[str]]:
    """The stems of each bin that has any, by its name "0.1-0.3" (the lower border belongs to it)."""
    bins: dict[str, list[str]] = {}
    for low, high in pairwise(BINS):
        stems = [stem for stem, value in crowded.items() if low <= value < high or value == high == BINS[-1]]
        if stems:
            bins[f"{low:g}-{high:g}"] = stems
    return bins
