"""What the explorers look at: a network, the test photos of a dataset, and any two of these photos as an episode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.assets import checkpoint, photos
from oshp_lite.data.dataset import OneShotDataset, Sample
from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.data.registry import DataConfig, SyntheticConfig, dataset_spec, find_dataset
from oshp_lite.data.transforms import Channels, Size, as_size, fit, to_tensors
from oshp_lite.engine.checkpoint import load_parser
from oshp_lite.engine.runs import Run
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold, LabelSpace, fold, label_space
from oshp_lite.models.base import CheckpointRecord, OneShotModel, PredictOptions
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.inference import encode_once
from oshp_lite.models.popnet import POPNet
from oshp_lite.models.registry import METHODS, build, method

RGB = NDArray[np.uint8]
SIDE = 320
"""Longer side of a photo as the explorers show it, in pixels."""
STREET, STREET_SIZE = "street", (192, 96)
"""The book's own photos, and the size at which a network of other photos sees them."""
PEOPLE = SyntheticConfig(n_train=8, n_test=24, size=256, seed=1)
"""Procedural people for looking at; those that checkpoints were trained on have another seed."""


@dataclass(frozen=True, eq=False)
class GivenPhotos:
    """Photos at hand with masks of kept ids, read like the test part of a dataset; `name` says which they are."""

    name: str
    space: LabelSpace
    samples: Sequence[Sample]

    @property
    def n_ids(self) -> int:
        """Number of the label space's ids."""
        return self.space.n_ids

    @property
    def fingerprint(self) -> str:
        """The name."""
        return self.name

    def stems(self, phase: str) -> tuple[str, ...]:
        """Numbers of the photos, as texts."""
        return tuple(map(str, range(len(self.samples))))

    def sample(self, stem: str) -> Sample:
        """Photo, mask and foreground."""
        return self.samples[int(stem)]


class StreetPhotos:
    """The book's twelve street photos, read like the test part of a dataset (classes of CCP-OS)."""

    name = STREET
    fingerprint = STREET
    space = label_space("ccp-os")
    n_ids = space.n_ids

    def stems(self, phase: str) -> tuple[str, ...]:
        """Names of the photos."""
        return tuple(photos.names())

    def sample(self, stem: str) -> Sample:
        """Photo, mask and foreground."""
        mask = photos.mask(stem)
        return Sample(photos.photo(stem), mask, (mask > 0).astype(np.uint8))


@dataclass(kw_only=True)
class Photos:
    """The test photos of a dataset, counted from 0 in the order of its list, and the fold they are looked at in.

    `size` is a network's input (height, width) into which a photo is fitted; None keeps its own.
    """

    dataset: OneShotDataset | StreetPhotos | GivenPhotos
    fold: Fold
    size: Size | None = None
    channels: Channels = "rgb"
    _samples: dict[int, Sample] = field(init=False, default_factory=dict, repr=False)
    _framed: dict[tuple[int, int], Sample] = field(init=False, default_factory=dict, repr=False)
    _tensors: dict[int, tuple[Tensor, Tensor, Tensor]] = field(init=False, default_factory=dict, repr=False)

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

    def framed(self, index: int, side: int = SIDE) -> Sample:
        """Return a photo and its masks framed as the network sees them, the longer side `side` pixels."""
        if (index, side) not in self._framed:
            sample = self.sample(index)
            frame = self.size or sample.size
            factor = side / max(frame)
            self._framed[index, side] = fit(sample, (round(frame[0] * factor), round(frame[1] * factor)))
        return self._framed[index, side]

    def photo(self, index: int, side: int = SIDE) -> RGB:
        """Return the photo alone: uint8 [H,W,3]; see `framed`."""
        return np.ascontiguousarray(self.framed(index, side).image)

    def classes_of(self, index: int) -> list[int]:
        """Return the foreground classes in a photo's mask, in the label space's order."""
        there = set(np.unique(self.sample(index).mask).tolist())
        return [c for c in self.fold.foreground if c in there]

    def tensors(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return a photo as a network sees it: image float [3,H,W], mask and foreground int64 [H,W]."""
        if index not in self._tensors:
            sample = self.sample(index)
            self._tensors[index] = to_tensors(fit(sample, self.size) if self.size else sample, self.channels)
        return self._tensors[index]

    def truth(self, query: int, support: int) -> Tensor:
        """The query's classes as far as the support shows them: int64 [H,W] at the network's size, 255 kept."""
        mask, visible = self.tensors(query)[1], torch.zeros(256, dtype=torch.bool)
        visible[self.tensors(support)[1].flatten()] = True
        visible[IGNORE] = True
        return torch.where(visible[mask], mask, 0)


@dataclass(kw_only=True)
class Recording(Photos):
    """Photos with one method's parses of some pairs of them, made earlier: no network is at hand.

    parses  (query, support) -> uint8 [H,W] ids at the photos' size
    """

    parses: Mapping[tuple[int, int], NDArray[np.uint8]]

    def parse(self, query: int, support: int, options: PredictOptions | None = None) -> Tensor:
        """Return the recorded parse, int64 [H,W]. UserError for a pair that was not recorded."""
        if (query, support) not in self.parses:
            raise UserError(f"no parse of photo {query} from photo {support} was recorded; choose a recorded pair")
        return torch.from_numpy(self.parses[query, support]).long()


@dataclass(kw_only=True)
class Source(Photos):
    """A network and the photos to try it on; what is computed of a photo is kept.

    Where the photos' classes are not those that the network was trained on (`foreign`), it has no memory of them.
    """

    parser: OneShotModel
    label: str = ""
    foreign: bool = False
    _features: dict[int, Tensor] = field(init=False, default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Let the network encode every photo once."""
        encode_once(self.parser)

    def episode(self, query: int, support: int, class_id: int | None = None) -> Episode:
        """Return two test photos as an episode at the network's size, all classes visible; `class_id` for 1-way."""
        (image, mask, person), (other, other_mask, other_person) = self.tensors(query), self.tensors(support)
        ids = None
        if class_id is not None:
            ids = torch.tensor(class_id)
            one_way = (torch.where(ids_ == IGNORE, IGNORE, (ids_ == class_id).long()) for ids_ in (mask, other_mask))
            mask, other_mask = one_way
        names = (self.stem(query), self.stem(support))
        return Episode(image, other, other_mask, other_person, mask, person, ids, self.fold.classes, names)

    def parse(self, query: int, support: int, options: PredictOptions | None = None) -> Tensor:
        """Parse a photo from another: int64 [H,W] ids; a 1-way network takes the support's classes one by one."""
        if self.foreign:
            raise UserError(f"{self.label} was trained on other classes than those of {self.dataset.name}; name a run")
        with torch.inference_mode():
            if self.parser.way == "k":
                # without the query's masks, which are not looked at and whose check costs time
                episode = replace(self.episode(query, support), query_mask=None, query_foreground=None)
                return self.parser.predict(episode, options).ids[0]
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
                image = self.tensors(index)[0][None]
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
        raise UserError(f"the method {parser.Config.name} has no encoder whose features could be drawn")
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
             `people` says; "street" are the book's photos; any other dataset lies under `data`

    Raises UserError for weights or data that are not there, and for a dataset of another label space.
    """
    parser = _parser(what)
    record = parser.record
    if dataset == STREET:
        foreign = record is None or record.space != StreetPhotos.space.name
        size = STREET_SIZE if foreign or record is None else as_size(record.size)
        how: dict[str, Any] = {"label": label or _label(what, record), "foreign": foreign, "size": size}
        return Source(parser=parser, dataset=StreetPhotos(), fold=fold("ccp-os", 1), **how)
    # a run on a part of a dataset (a block, a tuning) is looked at on the dataset itself, with its own novel classes
    whole = record.config.get("data", {}).get("dataset", record.dataset) if record else "synth-atr"
    known = dataset or whole
    spec = dataset_spec(known)
    opened = find_dataset(DataConfig(known, synthetic=people), data, progress=False)
    if opened.n_ids != parser.n_ids or (record and record.space != opened.space.name):
        raise UserError(f"the network parses {record.space if record else 'other'} classes, not those of {known}")
    number = int(record.fold.get("number", 1)) if record else 1
    protocol = "aaai" if record and record.fold.get("protocol") == "aaai" else "journal"
    frame = as_size(record.size) if record and record.size else (128, 128)
    name = label or _label(what, record)
    channels = cast(Channels, record.channels if record else "rgb")
    chosen = fold(spec.name, number, protocol)
    return Source(parser=parser, dataset=opened, fold=chosen, size=frame, channels=channels, label=name)


def _label(what: Any, record: CheckpointRecord | None) -> str:
    return METHODS[record.method if record else str(what.Config.name)].label


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
