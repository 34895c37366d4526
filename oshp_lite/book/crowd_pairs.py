"""One-shot parsing of drawn crowds for notebook 14: a support of one person, a query of many, in ATR's kept ids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from oshp_lite.book.crowd import SEED
from oshp_lite.data.episode import Episode
from oshp_lite.data.people import PeopleResult, PeopleTruth
from oshp_lite.data.synthetic import scene
from oshp_lite.engine.crowds import WAYS, Crowd, CrowdScores, parse_crowd, people_of
from oshp_lite.labels import Fold, label_space
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.instance.core import RegionNet

WORDS = {
    "whole": "the whole photo",
    "crops": "each person cut out of the photo",
    "regions": "each person's features",
    "given": "each person's features, true boxes",
}
"""The four ways of `engine.crowds`, in words."""


class DrawnPair(Crowd):
    """A support of one drawn person and a query of a drawn crowd, in ATR's kept ids, as a test pair."""

    def __init__(self, query: int, support: int, size: int = 128, seed: int = SEED) -> None:
        space = label_space("atr")
        drawn = scene("synth-crowd", seed, query, size), scene("synth-atr", seed, support, size)
        photos = [torch.from_numpy(one.image.copy()).permute(2, 0, 1).float() / 127.5 - 1 for one in drawn]
        masks = [space.merge(one.mask("atr")) for one in drawn]
        people = [torch.from_numpy((one.persons > 0).astype(np.int64)) for one in drawn]
        ids = [torch.from_numpy(one.astype(np.int64)) for one in masks]
        episode = Episode(photos[0], photos[1], ids[1], people[1], ids[0], people[0])
        self.episode, self.name = episode.batched(), f"{query} {support}"
        self.image, self.support_photo = drawn[0].image, drawn[1].image
        self.truth = PeopleTruth(masks[0].astype(np.uint8), drawn[0].persons)
        self.support, self.support_mask = people_of(drawn[1].persons), masks[1]

    def parse(self, net: EOPNet, detector: RegionNet, way: str) -> PeopleResult:
        """Parse the query in one of the ways of `engine.crowds`."""
        true = torch.from_numpy(self.truth.boxes()).float()
        return parse_crowd(net, detector, self.episode, way, support=self.support, boxes=true)


def drawn_pairs(count: int, novel: Sequence[int], size: int = 128, seed: int = SEED) -> list[DrawnPair]:
    """Pairs whose photos share a novel class: crowd after crowd, each with the next support that fits it."""
    pairs: list[DrawnPair] = []
    query = support = 0
    while len(pairs) < count:
        for _ in range(12):  # a crowd without any novel class fits no support
            pair = DrawnPair(query, support, size, seed)
            support += 1
            if set(np.unique(pair.truth.classes)) & set(np.unique(pair.support_mask)) & set(novel):
                pairs.append(pair)
                break
        query += 1
    return pairs


def way_table(scores: dict[str, dict[str, Any]]) -> str:
    """The scores of `compare_ways` in per cent, as a Markdown table; novel and human mIoU also by people's height."""
    names = {"novel_miou": "novel mIoU", "human_miou": "human mIoU", "ap_p_vol": "AP^p mean", "pcp_50": "PCP .5"}
    heights = [(name, height) for name in ("novel_miou", "human_miou") for height in scores["whole"]["by_height"]]
    columns = [*names.values(), *(f"{names[name]}, height {one.replace('-10', ' on')}" for name, one in heights)]
    lines = ["| parsed | " + " | ".join(columns) + " |", "|---" * (1 + len(columns)) + "|"]
    for way, own in scores.items():
        values = [own[name] for name in names] + [own["by_height"][one][name] for name, one in heights]
        cells = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        lines.append(f"| {WORDS[way]} | {' | '.join(cells)} |")
    return "\n".join(lines)


def compare_ways(net: EOPNet, detector: RegionNet, pairs: Sequence[DrawnPair], fold: Fold) -> dict[str, dict[str, Any]]:
    """Parse every pair in the four ways; the scores of each, see `engine.crowds.CrowdScores`."""
    scores = {way: CrowdScores(fold) for way in WAYS}
    for number, pair in enumerate(pairs):
        for way in WAYS:
            scores[way].add(f"{number:06d}", pair, pair.parse(net, detector, way))
    return {way: one.as_dict() for way, one in scores.items()}
