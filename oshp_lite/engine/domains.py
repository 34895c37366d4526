"""The photos of a run over several label domains, and the weights that it starts from (SST, sections 3.1 and 3.3).

A domain run is a `RunConfig` whose method is "sst": `model.options` name the domains (datasets), `data.dataset` the one
that predictions and scores are of, `train.visible` whether classes that the fold hides are labelled in any domain.
Dedicated parsing is two runs: the first over the source domains, the second with `model.options.source` and
`init.kind=domains` (or `init.kind=file` and the weights of the first in `init.path`); without `source` the second is
plain fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.domains import DomainPhotos
from oshp_lite.data.registry import dataset_spec, domain_data, find_dataset
from oshp_lite.data.transforms import Recipe, as_size
from oshp_lite.engine.checkpoint import load_state, put_weights, read_record, read_weights
from oshp_lite.engine.config import DataConfig, RunConfig
from oshp_lite.engine.loading import run_fold
from oshp_lite.engine.models import load_encoder
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json
from oshp_lite.labels import LabelSpace
from oshp_lite.labels.whole import whole_fold, whole_space
from oshp_lite.models.sst.backbone import ResNetPyramid
from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.network import SST
from oshp_lite.models.sst.priors import contacts

MEASURED = 60
"""Training masks that contacts are measured in."""


def network_config(config: RunConfig) -> SSTConfig:
    """The network's configuration of a domain run. UserError when its domains and the data do not fit each other."""
    options = SSTConfig.preset(config.variant, **config.model.options)
    if not options.domains:
        raise UserError("model.options.domains is empty; name datasets to train on, such as [synth-pascal, synth-atr]")
    for name in (*options.domains, *options.source):
        dataset_spec(name)
    if options.target != config.data.dataset:
        raise UserError(
            f"data.dataset is {config.data.dataset} but the network predicts {options.target}; set data.dataset to it, "
            "or model.options.head to a domain"
        )
    return options


@dataclass(frozen=True)
class DomainSet:
    """The opened datasets of a domain run, by name; `target` is that of `data.dataset`."""

    target: OneShotDataset
    members: Mapping[str, OneShotDataset]

    @property
    def name(self) -> str:
        """The target's name."""
        return self.target.name

    @property
    def space(self) -> LabelSpace:
        """The target's label space in full."""
        return whole_space(self.target.space.name)

    @property
    def fingerprint(self) -> str:
        """What the data of all domains are, in one hash."""
        return sha256_json([[name, dataset.fingerprint] for name, dataset in self.members.items()])


def members_of(config: RunConfig) -> dict[str, DataConfig]:
    """What the datasets of a domain run are, by name. UserError as `network_config`."""
    options = network_config(config)
    names = (*options.domains, *(options.source if options.source_image == "source" else ()))
    return {name: domain_data(config.data, name) for name in names}


def open_domains(config: RunConfig, data: str | Path | None = None, *, progress: bool = True) -> DomainSet:
    """Open the datasets of a domain run; procedural people are drawn first. UserError for real ones not there."""
    members = {name: find_dataset(one, data, progress=progress) for name, one in members_of(config).items()}
    return DomainSet(members[network_config(config).target], members)


def training_photos(config: RunConfig, domains: DomainSet) -> list[DomainPhotos]:
    """The training photos of every domain, in the order of the network's batches.

    With `train.visible` "base" the fold's novel classes are background in every domain that has them by name; a coarse
    domain (PASCAL's "head" holds hats) keeps them unnamed.
    """
    data, options = config.data, network_config(config)
    recipe = Recipe(data.augment, as_size(data.size), data.pad_label, data.pre_resize, data.scale, data.jitter)
    fold = run_fold(config, domains.target)
    hidden = fold.names(fold.novel) if config.train.visible == "base" else ()
    photos = []
    for name, dataset in domains.members.items():
        chosen = None
        if name == options.target and options.target_share < 1:
            count = len(dataset.stems("train"))
            order = np.random.default_rng([config.train.seed, 12]).permutation(count)
            chosen = sorted(order[: max(1, round(options.target_share * count))].tolist())  # smaller shares lie inside
        own = whole_fold(dataset.space.name, hidden)
        how: dict[str, Any] = {"seed": config.train.seed, "channels": data.channels, "cache_mb": data.cache_mb}
        photos.append(DomainPhotos(dataset, own, recipe, chosen=chosen, **how))
    return photos


def measure_contacts(photos: DomainPhotos, count: int, *, self_loops: bool = True) -> Tensor:
    """M_intra of a domain in its training masks, float [Z,Z]: see `contacts`."""
    stems = photos.stems[:: max(1, len(photos.stems) // MEASURED)][:MEASURED]
    masks = (photos.fold.hide_novel(photos.cache.read(stem).mask) for stem in stems)
    return contacts(masks, count, self_loops=self_loops)


def begin_from(network: SST, path: Path | str) -> str:
    """Give a network its first weights and say in one line where they came from.

    `path`: a transformers ResNet file for the backbone; a run of another method, whose encoder is copied; or a run over
    other domains, whose parsing network is copied, and heads and modules too where the network has a frozen `source`.
    UserError when they do not fit.
    """
    state, name = read_weights(path) if str(path).endswith(".safetensors") else load_state(path), Path(path).name
    try:
        record = read_record(path)
    except UserError:
        if not isinstance(network.encoder, ResNetPyramid):
            raise
        return f"{network.encoder.load(state, path)} backbone tensors from {name}"
    source, theirs = network.config.source, tuple(record.options.get("domains", ()))
    if record.method != SSTConfig.name and not source:
        return f"{load_encoder(network, path)} encoder tensors from {name}"
    if source and source != theirs:
        raise UserError(
            f"{path} holds a network of {'the domains ' + ', '.join(theirs) if theirs else record.method}, but "
            f"model.options.source is {', '.join(source)}; name the same ones in the same order"
        )
    shared = ("encoder.", "pixels.", "decoder.")
    kept = {key: value for key, value in network.state_dict().items() if not key.startswith(shared)}
    given = {key: value for key, value in state.items() if key.startswith(shared)}
    put_weights(network, kept | given, path)
    if source:
        apart = ("transfers.", "source.")
        put_weights(network.source, {key: value for key, value in state.items() if not key.startswith(apart)}, path)
    return f"{len(given)} tensors of the parsing network from {name}"
