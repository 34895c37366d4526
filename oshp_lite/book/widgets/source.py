"""What the explorers look at: a network, the test photos of a dataset, and any two of these photos as an episode."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.assets import checkpoint
from oshp_lite.data.dataset import OneShotDataset, Sample
from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.registry import DataConfig, SyntheticConfig, dataset_spec, find_dataset
from oshp_lite.data.transforms import Channels, Size, as_size, fit, to_tensors
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold, fold
from oshp_lite.models.base import OneShotModel, PredictOptions
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.popnet import POPNet
from oshp_lite.models.registry import METHODS, build, method

RGB = NDArray[np.uint8]
SIDE = 320
"""Longer side of a photo as the explorers show it, in pixels."""
PEOPLE = SyntheticConfig(n_train=8, n_test=24, size=256, seed=1)
"""Procedural people for looking at; those that checkpoints were trained on have another seed."""


@dataclass
class Source:
    """A network and the photos to try it on; photos count from 0 in the order of the dataset's test list.

    `size` is the network's input (height, width); None keeps the photos' own. What is computed of a photo is kept.
    """

    parser: OneShotModel
    dataset: OneShotDataset
    fold: Fold
    size: Size | None = None
    channels: Channels = "rgb"
    label: str = ""
    _features: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _samples: dict[int, Sample] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.dataset.stems("test"))

    @property
    def names(self) -> dict[int, str]:
        """Names of the foreground classes, by id; novel ones with a star."""
        novel = set(self.fold.novel)
        return {c: self.dataset.space.class_name(c) + "*" * (c in novel) for c in self.fold.foreground}

    def stem(self, index: int) -> str:
        """Name of a photo. UserError for a number that is not there."""
        if not 0 <= index < len(self):
            raise UserError(f"there is no photo {index}; {self.dataset.name} has the test photos 0 to {len(self) - 1}")
        return self.dataset.stems("test")[index]

    def sample(self, index: int) -> Sample:
        """Photo, mask of kept ids and foreground at their native size."""
        if index not in self._samples:
            raw = self.dataset.sample(self.stem(index))
            mask = self.dataset.space.merge(raw.mask).astype(np.uint8)
            self._samples[index] = Sample(np.ascontiguousarray(raw.image), mask, raw.foreground.astype(np.uint8))
        return self._samples[index]

    def photo(self, index: int, side: int = SIDE) -> RGB:
        """Return the photo framed as the network sees it, its longer side `side` pixels: uint8 [H,W,3]."""
        sample = self.sample(index)
        frame = self.size or sample.size
        factor = side / max(frame)
        return np.ascontiguousarray(fit(sample, (round(frame[0] * factor), round(frame[1] * factor))).image)

    def classes_of(self, index: int) -> list[int]:
        """Return the foreground classes in a photo's mask, in the label space's order."""
        there = set(np.unique(self.sample(index).mask).tolist())
        return [c for c in self.fold.foreground if c in there]

    def episode(self, query: int, support: int, class_id: int | None = None) -> Episode:
        """Return two test photos as an episode at the network's size, all classes visible; `class_id` for 1-way."""
        parts = []
        for index in (query, support):
            sample = self.sample(index)
            if class_id is not None:
                mask = np.where(sample.mask == IGNORE, IGNORE, sample.mask == class_id).astype(np.uint8)
                sample = replace(sample, mask=mask)
            parts += to_tensors(fit(sample, self.size) if self.size else sample, self.channels)
        image, mask_, person, other, other_mask, other_person = parts
        ids = None if class_id is None else torch.tensor(class_id)
        names = (self.stem(query), self.stem(support))
        return Episode(image, other, other_mask, other_person, mask_, person, ids, self.fold.classes, names)

    def truth(self, query: int, support: int) -> Tensor:
        """The query's classes as far as the support shows them: int64 [H,W] at the network's size, 255 kept."""
        episode = self.episode(query, support)
        shown = torch.tensor([0, IGNORE, *episode.support_mask.unique().tolist()])
        mask = cast(Tensor, episode.query_mask)
        return torch.where(torch.isin(mask, shown), mask, 0)

    def parse(self, query: int, support: int, options: PredictOptions | None = None) -> Tensor:
        """Parse a photo from another: int64 [H,W] ids; a 1-way network takes the support's classes one by one."""
        with torch.inference_mode():
            if self.parser.way == "k":
                return self.parser.predict(self.episode(query, support), options).ids[0]
            best, ids = torch.tensor(0.0), torch.tensor(0)
            for class_id in self.classes_of(support):
                options = replace(options or PredictOptions(), scores=True)
                made = self.parser.predict(self.episode(query, support, class_id).batched(), options)
                margin = cast(Tensor, made.scores)[0, 1] - cast(Tensor, made.scores)[0, 0]
                wins = (made.ids[0] == 1) & (margin > best)
                best, ids = torch.where(wins, margin, best), torch.where(wins, class_id, ids)
            return ids

    def features(self, index: int) -> Tensor:
        """Return a photo's features in the space of the prototypes, float [D,h,w]; encoded once."""
        if index not in self._features:
            with torch.inference_mode():
                image = self.episode(index, index).query_image[None]
                self._features[index] = features_of(self.parser, image)[0].clone()
        return self._features[index]


def features_of(parser: OneShotModel, image: Tensor) -> Tensor:
    """Return the features that a method compares with prototypes: float [B,3,H,W] -> [B,D,h,w].

    Those of the fine metric space for EOP-Net, of the last (infused) stage for POPNet, else of the method's encoder
    behind its projection. Raises UserError for a method without an encoder of this kind.
    """
    if isinstance(parser, EOPNet):
        return cast(Tensor, parser.fine_projection(parser.encoder(image)))
    if isinstance(parser, POPNet):
        made = None
        for stage in parser.stages:
            made = stage.features(image, made)  # type: ignore[operator]
        return cast(Tensor, made)
    own = getattr(parser, "features", None)
    if callable(own):
        return cast(Tensor, own(image))
    if not parser.encoders():
        raise UserError(f"the method {parser.Config.name} has no encoder whose features could be shown")
    made = cast(Tensor, parser.encoders()[0](image))
    projection = getattr(parser, "projection", None)
    return made if projection is None else cast(Tensor, projection(made))


def open_source(
    what: Run | Path | str | OneShotModel | None = None,
    *,
    dataset: str | None = None,
    data: str | Path | None = None,
    people: SyntheticConfig = PEOPLE,
    label: str = "",
) -> Source:
    """Open what the explorers look at.

    what     a run of the store, a weights file, a training-free method of the registry by name, or a network;
             None: the checkpoint that ships with the package
    dataset  whose test photos; by default those that the network was made for. Procedural people are drawn, as
             `people` says; any other dataset lies under `data`

    Raises UserError for weights or data that are not there, and for a dataset of another label space.
    """
    parser = _parser(what)
    record = parser.record
    known = dataset or (record.dataset if record else "synth-atr")
    spec = dataset_spec(known)
    found = find_dataset(DataConfig(known, synthetic=people), data, progress=False)
    if found.n_ids != parser.n_ids or (record and record.space != found.space.name):
        raise UserError(f"the network parses {record.space if record else 'other'} classes, not those of {known}")
    number = int(record.fold.get("number", 1)) if record else 1
    protocol = str(record.fold.get("protocol", "journal")) if record else "journal"
    size = as_size(record.size) if record and record.size else None
    name = label or (METHODS[record.method].label if record else METHODS[_name(what)].label)
    channels = cast(Channels, record.channels if record else "rgb")
    return Source(parser, found, fold(spec.name, number, protocol), size or (128, 128), channels, name)


def _name(what: Any) -> str:
    return what if isinstance(what, str) and what in METHODS else str(getattr(what, "Config", EOPNet.Config).name)


def _parser(what: Run | Path | str | OneShotModel | None) -> OneShotModel:
    if isinstance(what, OneShotModel):
        return what.eval()
    if isinstance(what, Run):
        return load_parser(what.weights)
    if isinstance(what, str) and what in METHODS:
        spec = method(what)
        if spec.trainable:
            raise UserError(f"{spec.label} has to be trained; name one of its runs or weights files")
        return _training_free(what)
    return load_parser(checkpoint() if what is None else what)


def _training_free(name: str) -> OneShotModel:
    """Build a method that needs no training, on the shipped checkpoint's encoder where it stands on one of ours."""
    from oshp_lite.engine.models import load_encoder

    shipped = load_parser(checkpoint())
    if lacks := method(name).lacking({}):
        raise UserError(f"{method(name).label} cannot run here: it {lacks}")
    parser = build(name, variant="lite", n_ids=shipped.n_ids, way="k")
    if parser.encoders():
        load_encoder(parser, checkpoint())
    parser.record = replace(shipped.record, method=name) if shipped.record else None
    return parser.eval()
