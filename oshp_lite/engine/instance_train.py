"""Training and judging the instance-level parser by the trainer that every method has: killed at any moment, resumed.

What differs from one-shot methods: an item is a photo of several people, all classes have labels, and the judgement
goes over the test photos one by one, not over pairs.
"""

from __future__ import annotations

import io
import time
import zipfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.people import PeopleTruth, crowdedness
from oshp_lite.data.people_batches import PeopleBatch, PeopleItems, people_batch
from oshp_lite.data.synthetic.relabelled import relabelled
from oshp_lite.data.transforms import Recipe, as_size
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.instance_files import write_result, write_truth
from oshp_lite.engine.instance_metrics import PeopleMeter
from oshp_lite.engine.instance_tally import BINS, bin_of, tally
from oshp_lite.engine.instance_views import predict_views
from oshp_lite.engine.loading import TrainingBatches
from oshp_lite.engine.outcome import WEIGHTS, keep_scores
from oshp_lite.engine.train import Training, threads_set
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json, write_atomic
from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.regions import RegionRules

KEPT = "pairs-people.npz"
"""Where a run keeps its `instance_tally.tally`; runs verify every file of such a name."""
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
    views: bool = False,
    most: int | None = None,
    folder: Path | None = None,
    progress: bool = True,
) -> tuple[PeopleMeter, dict[str, float]]:
    """Parse the test photos (the first `most`) and return the meter, and each photo's largest crowdedness by stem.

    Photos are fitted into `eval.test_size` and judged at native size. given_boxes: the true boxes take the place of
    detected ones, an upper bound. views: several scales, and mirrored. folder: where
    truths and results are written in the public layouts.
    """
    assert isinstance(net, RegionNet)
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
        if views:
            result = predict_views(net, image.to(device), dataset.space.sides, rules, truth.size)
        else:
            result = net.predict(image.to(device), rules, boxes, truth.size)[0]
        meter.add(stem, truth, result)
        crowded[stem] = float(crowdedness(truth.boxes()).max(initial=0.0))
        if folder is not None:
            write_truth(folder / "truth", stem, truth)
            write_result(folder / "results", stem, truth.size, result)
    return meter, crowded


def judged_data(config: RunConfig, dataset: OneShotDataset, *, progress: bool = True) -> OneShotDataset:
    """Return the dataset in the label space that the network has: its own, or the one that `labels` names."""
    labels = str(config.model.options.get("labels", "own"))
    return dataset if labels == "own" else relabelled(dataset, labels, progress=progress)


def variants_of(net: RegionNet) -> tuple[str, ...]:
    """Return how a network is judged: detected boxes; true ones where it uses boxes; views for the paper's own form."""
    config, paper = net.config, InstanceConfig.preset("paper")
    own = all(getattr(config, name) == getattr(paper, name) for name in ("design", "fusion", "join"))
    return ("", *(["given"] if config.design != "bottom-up" else []), *(["views"] if own else []))


def execute(
    config: RunConfig,
    dataset: OneShotDataset,
    folder: Path | str,
    init_weights: Path | str | None = None,
    progress: bool = True,
    init_identity: str | None = None,
) -> dict[str, Any]:
    """Train (or go on with) and judge an instance-level parser, and write what a run's folder holds.

    scores.json holds detected boxes' scores, those of the other `variants_of` the network under "given_boxes" and
    "views", and under "bins" those of each bin of crowdedness; pairs-people.npz what they are counted from (see
    `instance_tally`).
    """
    folder, dataset = Path(folder), judged_data(config, dataset, progress=progress)
    training = PeopleTraining(config, dataset, folder, init_weights, init_identity)
    with threads_set(config.train.threads), torch.random.fork_rng():
        training.run(progress)
    began, scores, kept = time.monotonic(), dict[str, Any](), dict[str, np.ndarray]()
    with threads_set(config.train.threads):
        net = load_parser(folder / WEIGHTS, config.train.device)
        assert isinstance(net, RegionNet)
        for variant in variants_of(net):
            how = {"given_boxes": variant == "given", "views": variant == "views"}
            meter, crowded = judge_people(net, dataset, config, progress=progress, **how)
            kept |= tally(meter, crowded, variant)
            own = meter.scores().as_dict()
            scores |= {"given_boxes" if variant == "given" else variant: own} if variant else own
            if not variant:
                bins = by_crowdedness(crowded)
                scores["bins"] = {name: meter.scores(stems).as_dict() for name, stems in bins.items()}
    scores["details"] = {
        "device": next(net.parameters()).device.type,
        "seconds": round(time.monotonic() - began, 1),
        "test_data": dataset.fingerprint,
        "test_photos": sha256_json(list(crowded)),
        "rules": vars(RegionRules()),
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept)
    write_atomic(folder / KEPT, buffer.getvalue())
    keep_scores(folder, config, dataset, scores)
    return scores


def load_tally(path: Path | str) -> dict[str, np.ndarray]:
    """Read pairs-people.npz of a run. UserError when it is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise UserError(f"{path} cannot be read as counts of people ({type(error).__name__}); train again") from None


def by_crowdedness(crowded: dict[str, float]) -> dict[str, list[str]]:
    """The stems of each bin that has any, by its name "0.1-0.3" (the lower border belongs to it)."""
    places = dict(zip(crowded, bin_of(np.array(list(crowded.values()))).tolist(), strict=True))
    names = [f"{low:g}-{high:g}" for low, high in pairwise(BINS)]
    bins = {name: [stem for stem, at in places.items() if at == number] for number, name in enumerate(names)}
    return {name: stems for name, stems in bins.items() if stems}
