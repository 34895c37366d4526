"""One-shot parsing of crowds, person by person against the whole photo: four ways, on the same test pairs (ours).

    whole     the whole photo is parsed, as always; its map in each detected box, times the attention, is a person
    crops     each detected box is cut out of the photo, brought to one size, and parsed as a photo
    regions   the features of each detected box are parsed (`models.instance.one_shot`)
    given     the same with the true boxes, an upper bound

All ways have the boxes' attention maps from one detector, which was trained on whole silhouettes of people and on no
class. That is use of more than an episode shows, and the same for all four. What no box covers keeps the whole photo's
classes, so a missed person is parsed as always.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.episode import Episode
from oshp_lite.data.people import PeopleResult, PeopleTruth, crowdedness, mask_boxes
from oshp_lite.engine.config import RunConfig, as_plain
from oshp_lite.engine.evaluate import truth_of
from oshp_lite.engine.instance_metrics import PeopleMeter
from oshp_lite.engine.instance_tally import BINS, bin_of
from oshp_lite.engine.instance_train import resized
from oshp_lite.engine.loading import run_fold, test_set
from oshp_lite.engine.metrics import confusion, scores_from_kway_matrices
from oshp_lite.errors import UserError
from oshp_lite.labels import BACKGROUND, IGNORE
from oshp_lite.models.base import PredictOptions
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.instance.align import roi_align
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.one_shot import People, attended, parse_people
from oshp_lite.models.instance.regions import RegionRules, assemble, paste

WAYS = ("whole", "crops", "regions", "given")
HEIGHTS = (0.0, 0.25, 0.5, 10.0)
"""Borders of people's heights in heights of the photo; those below the first quarter are the small ones."""


class Crowd:
    """One test pair: the query, its truth, and the people of both photos."""

    def __init__(self, dataset: OneShotDataset, episode: Episode, truth: Tensor, query: str, support: str) -> None:
        self.episode, self.name = episode, f"{query} {support}"
        persons = [_persons(dataset, stem) for stem in (query, support)]
        self.truth = PeopleTruth(truth[0].to(torch.uint8).numpy(), persons[0])
        self.support = people_of(persons[1])

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the query."""
        return self.truth.size


def _persons(dataset: OneShotDataset, stem: str) -> np.ndarray:
    persons = dataset.instances(stem)
    if persons is None:
        raise UserError(f"{dataset.root} has no person ids (no folder instances); use a dataset of several people")
    return persons


def people_of(persons: np.ndarray) -> People:
    """Everybody in a person map uint8 [H,W]."""
    ids = [int(index) for index in np.unique(persons) if index not in (BACKGROUND, IGNORE)]
    boxes = torch.from_numpy(mask_boxes(persons, ids)).float()
    return People(boxes, torch.tensor(ids, dtype=torch.int64), torch.from_numpy(persons.astype(np.int64)))


def parse_crowd(
    net: EOPNet,
    detector: RegionNet,
    batch: Episode,
    way: str,
    *,
    support: People | None = None,
    boxes: Tensor | None = None,
    rules: RegionRules | None = None,
) -> PeopleResult:
    """Parse one episode's query in one of the `WAYS`; boxes float [N,4]: the true ones, for "given".

    Raises UserError for another way.
    """
    if way not in WAYS:
        raise UserError(f"there is no way {way!r} to parse a crowd; there are {', '.join(WAYS)}")
    image = batch.batched().query_image
    size = (int(image.shape[-2]), int(image.shape[-1]))
    seen = resized(image, detector.record.size if detector.record else None)  # the side that it was trained with
    scale = image.new_tensor([seen.shape[-1] / size[1], seen.shape[-2] / size[0]] * 2)
    found = detector.detect(seen, None if way != "given" or boxes is None else [boxes.to(image) * scale])[0]
    found = found._replace(boxes=found.boxes / scale)
    whole = net.predict(batch, PredictOptions(scores=True))
    maps = [] if found.attention is None else [found.attention]
    if way == "whole":
        assert whole.scores is not None
        chances = whole.scores.float().softmax(1)
        person = torch.ones_like(chances[:, :1]) if whole.person is None else whole.person[:, None].to(chances)
        alone = attended(chances, person)[0]
        own = torch.stack([_window(alone, box) for box in found.boxes]) if len(found.boxes) else alone.new_zeros(0)
        squares = attended(own, *maps) if len(own) else own
    elif len(found.boxes):
        own, person = parse_people(net, batch, found.boxes, support, crops=way == "crops")
        squares = attended(own, person, *maps)
    else:
        squares = image.new_zeros(0)
    rows = zip(squares, found.boxes.tolist(), found.scores.tolist(), strict=True)
    rules = rules or RegionRules()
    pasted = [paste(chance, box, size, score) for chance, box, score in rows]
    result = assemble(pasted, size, rules, net.config.n_ids)
    covered = np.zeros(size, bool)
    for one in pasted:
        if one.score >= rules.least:
            covered[one.top : one.top + one.labels.shape[0], one.left : one.left + one.labels.shape[1]] = True
    everywhere = whole.ids[0].cpu().numpy().astype(np.uint8)
    assert result.classes is not None
    semantic = everywhere if way == "whole" else np.where(covered, result.classes, everywhere)
    return PeopleResult(semantic, result.people, result.parts, result.persons)


def _window(chances: Tensor, box: Tensor, side: int = 112) -> Tensor:
    """Read class probabilities float [C,H,W] of a photo in a box: [C,side,side]."""
    return roi_align(chances, box[None], side, 1, 1)[0]


def judge_crowds(
    net: EOPNet,
    detector: RegionNet,
    dataset: OneShotDataset,
    config: RunConfig,
    *,
    ways: Sequence[str] = WAYS,
    most: int | None = None,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Parse the test pairs (the first `most`) in every way, and return the scores by way; see `CrowdScores`.

    Photos are parsed and judged at their own size, whatever `eval.test_size` says. Raises UserError for a dataset
    without person ids.
    """
    config = replace(config, eval=replace(config.eval, test_size=None))
    fold = run_fold(config, dataset)
    episodes, stems = test_set(config, dataset, fold), dataset.stems("test")
    pairs = episodes.pairs()[:most]
    scores = {way: CrowdScores(fold) for way in ways}
    for position, pair in enumerate(tqdm(pairs, desc="crowds", disable=not progress, leave=False)):
        batch = episodes[position].batched()
        crowd = Crowd(dataset, batch, truth_of(batch, fold.n_ids, config), stems[pair.query], stems[pair.support])
        true = torch.from_numpy(crowd.truth.boxes()).float()
        for way in ways:
            result = parse_crowd(net, detector, batch, way, support=crowd.support, boxes=true)
            scores[way].add(f"{position:06d}", crowd, result)
    return {way: one.as_dict() for way, one in scores.items()}


class CrowdScores:
    """Adds test pairs up: novel and human mIoU, AP^p and PCP over all kept classes, PCP of novel parts.

    Of all people, and apart: mIoU by people's height (`HEIGHTS`) in the pixels of these people and in those of
    their boxes that are nobody's; mIoU, AP^p and PCP by the photo's crowdedness (`BINS`).
    """

    def __init__(self, fold: Any) -> None:
        self.fold = fold
        self.people, self.novel = PeopleMeter(fold.n_ids), PeopleMeter(fold.n_ids)
        self.matrices: list[Tensor] = []
        self.by_height: list[list[Tensor]] = [[] for _ in range(len(HEIGHTS) - 1)]
        self.bins: list[int] = []
        self.names: list[str] = []

    def add(self, name: str, crowd: Crowd, result: PeopleResult) -> None:
        """Add a pair under its name."""
        truth, n = crowd.truth, self.fold.n_ids
        assert result.classes is not None
        self.names.append(name)
        self.people.add(name, truth, result)
        self.novel.add(name, PeopleTruth(self._novel(truth.classes), truth.persons), self._novel_alone(result))
        self.matrices.append(confusion(result.classes, truth.classes, n))
        boxes = truth.boxes()
        self.bins.append(int(bin_of(np.array([crowdedness(boxes).max(initial=0.0)]))[0]))
        heights = (boxes[:, 3] - boxes[:, 1]) / truth.size[0]
        for at, (low, high) in enumerate(pairwise(HEIGHTS)):
            counted = self._pixels(truth, boxes, (heights >= low) & (heights < high))
            self.by_height[at].append(confusion(result.classes, np.where(counted, truth.classes, IGNORE), n))

    @staticmethod
    def _pixels(truth: PeopleTruth, boxes: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Where some people are, and what is nobody's in their boxes: bool [H,W]."""
        near = np.zeros(truth.size, bool)
        for left, top, right, bottom in boxes[chosen].astype(int):
            near[top:bottom, left:right] = True
        own = np.isin(truth.persons, np.array(truth.ids, int)[chosen])
        return np.asarray(own | (near & (truth.persons == BACKGROUND)))

    def _novel(self, ids: np.ndarray) -> np.ndarray:
        return np.where(np.isin(ids, [*self.fold.novel, IGNORE]), ids, BACKGROUND).astype(np.uint8)

    def _novel_alone(self, result: PeopleResult) -> PeopleResult:
        people = tuple(one._replace(labels=self._novel(one.labels)) for one in result.people or ())
        return PeopleResult(None, people)

    def as_dict(self) -> dict[str, Any]:
        """Everything, in [0,1], nan as null."""
        whole = self._miou(self.matrices) | self._parsed(self.names)
        names = [f"{low:g}-{high:g}" for low, high in pairwise(HEIGHTS)]
        heights = {name: self._miou(rows) for name, rows in zip(names, self.by_height, strict=True)}
        crowds = {}
        for at, (low, high) in enumerate(pairwise(BINS)):
            mine = [place for place, number in enumerate(self.bins) if number == at]
            if mine:
                own = [self.matrices[place] for place in mine]
                crowds[f"{low:g}-{high:g}"] = self._miou(own) | self._parsed([self.names[place] for place in mine])
        return dict(as_plain({**whole, "by_height": heights, "by_crowdedness": crowds, "pairs": len(self.names)}))

    def _miou(self, matrices: Sequence[Tensor]) -> dict[str, float]:
        scores = scores_from_kway_matrices(torch.stack(list(matrices)), self.fold)
        return {"novel_miou": scores.novel_miou, "human_miou": scores.human_miou}

    def _parsed(self, names: Sequence[str]) -> dict[str, float]:
        people, novel = self.people.scores(names), self.novel.scores(names)
        return {
            "ap_p_50": people.at("ap_p", 0.5),
            "ap_p_vol": people.volume("ap_p"),
            "pcp_50": people.at("pcp", 0.5),
            "novel_pcp_50": novel.at("pcp", 0.5),
        }
