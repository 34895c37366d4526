"""From a run's configuration to its network, first weights for its encoder, and what its weights file says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oshp_lite.engine.checkpoint import read_weights
from oshp_lite.engine.config import RunConfig, as_plain
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.encoders import ENCODER_OPTIONS, EncoderConfig
from oshp_lite.models.registry import build
from oshp_lite.models.released import load_deeplab

UNLABELLED = {"papers": "background", "person-class": "class", "ignore": "ignore"}
"""What each label condition makes of a person's unlabelled pixels: every method's option `unlabelled`."""


def model_options(config: RunConfig, n_ids: int) -> dict[str, Any]:
    """Return everything a method is built from: variant, seed, label condition, n_ids, way and its own options.

    Raises UserError for an option that is decided elsewhere.
    """
    for name, owner in {"way": "data.way", "n_ids": "data.dataset"}.items():
        if name in config.model.options:
            raise UserError(f"model.options.{name} would change nothing; set {owner}")
    return {
        "variant": config.variant,
        "seed": config.train.seed,
        **config.model.options,
        "unlabelled": UNLABELLED[config.data.condition],
        "n_ids": n_ids,
        "way": config.data.way,
    }


def build_parser(config: RunConfig, fold: Fold) -> OneShotModel:
    """Build the run's network with its first (random, seeded) weights. UserError for an unknown method or option."""
    return build(config.model.method, **model_options(config, fold.n_ids))


def resolve_encoder(config: RunConfig) -> dict[str, Any]:
    """Return the run's encoder options in full, as plain values, so that equal encoders have equal descriptions."""
    given = {name: value for name, value in config.model.options.items() if name in ENCODER_OPTIONS}
    encoder = EncoderConfig.preset(config.variant, **given)
    idle = ("feature_level",) if encoder.encoder == "lite" else ("lite_channels", "lite_depth")
    kept = {name: value for name, value in vars(encoder).items() if name not in idle}
    return dict(as_plain(kept))


def load_encoder(parser: OneShotModel, path: Path | str) -> int:
    """Copy the encoder of a checkpoint of ours into each of the parser's, by name; returns how many tensors that were.

    Raises UserError when the method has no encoder, the file has none, or its shapes differ.
    """
    encoders = parser.encoders()
    if not encoders:
        raise UserError("this method has no encoder that could be initialised; use init.kind=none")
    prefix = "encoder."
    state = {name.removeprefix(prefix): value for name, value in read_weights(path).items() if name.startswith(prefix)}
    for encoder in encoders:
        own = encoder.state_dict()
        wrong = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
        if wrong:
            what = f"{wrong[0]} is missing or differs; use a run with the same encoder options"
            raise UserError(f"checkpoint {path} does not hold this run's encoder: {what}")
        encoder.load_state_dict({name: state[name] for name in own})
    return sum(len(encoder.state_dict()) for encoder in encoders)


def initialise(parser: OneShotModel, config: RunConfig, init_weights: Path | str | None) -> str:
    """Give the encoder its first weights and say in one line where they came from.

    A safetensors file of ours fits by name exactly; of any other, a DeepLab v3+ Xception checkpoint, known names do.
    """
    path = init_weights if init_weights is not None else (config.init.path if config.init.kind == "file" else None)
    if path is None:
        return "random weights"
    if str(path).endswith(".safetensors"):
        return f"{load_encoder(parser, path)} encoder tensors from {Path(path).name}"
    return load_deeplab(parser.encoders(), path)


def run_record(config: RunConfig, fold: Fold, dataset: str, **more: Any) -> CheckpointRecord:
    """Return the record that travels inside a run's weights file."""
    space, size = fold.space, config.eval.test_size
    return CheckpointRecord(
        method=config.model.method,
        options=model_options(config, fold.n_ids),
        way=config.data.way,
        n_ids=fold.n_ids,
        space=space.name,
        channels=config.data.channels,
        size=config.data.size if size is None else size,
        dataset=dataset,
        fold={"dataset": fold.dataset, "number": fold.number, "protocol": fold.protocol},
        classes={str(c): space.class_name(c) for c in fold.classes},
        config=config.as_dict(),
        more={"format": 1, **more},
    )
