"""The networks that can parse a user's photos: trained ones from their files, training-free ones by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from oshp_lite.engine.checkpoint import load_parser, pick_device, put_weights, read_record, read_weights
from oshp_lite.errors import UserError
from oshp_lite.models.base import CheckpointRecord, OneShotModel
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.inference import Precision, for_inference, has_bf16
from oshp_lite.models.matching.network import Matching
from oshp_lite.models.registry import METHODS, build, method

RELEASED = {18: ("atr",), 20: ("lip", "cihp")}
"""Number of ids of a released checkpoint -> the label spaces it may have."""
EXTERNAL_SIDE = 448
"""Longer side, in pixels, of the photos that a training-free method on someone else's features is given."""


def load_network(
    path: str | Path, device: str = "cpu", labels: str | None = None, precision: Precision | None = "float32"
) -> OneShotModel:
    """A checkpoint of ours (safetensors), or a released one (.pth, .pt, .tar), ready to predict.

    The file's own description is `.record`. `labels` names a released one's label space, since LIP and CIHP
    share their number of ids. `precision` is that of the fast form (`models.inference`); None leaves the network as
    it was trained, bit for bit. UserError for a missing, damaged or foreign file, for a device, labels or a precision
    that do not fit.
    """
    place = pick_device(device, "--device")
    if precision == "bf16" and not has_bf16(place):
        where = "this CPU" if place.type == "cpu" else f"device {device}"
        raise UserError(f"{where} does not multiply bfloat16 numbers itself, which would only be slow; use float32")
    network = _as_trained(path, place, labels)
    if precision == "bf16" and not isinstance(network, EOPNet | Matching):
        own = getattr(network.record, "method", "")
        raise UserError(f"{path} is a checkpoint of {own}; bf16 is for those of eopnet and matching, use float32")
    return network if precision is None else for_inference(network, precision)


def _as_trained(path: str | Path, place: torch.device, labels: str | None) -> OneShotModel:
    if Path(path).suffix not in {".pth", ".pt", ".tar"}:
        if labels is not None:
            raise UserError(f"{path} records its label space; leave --labels out")
        record = read_record(path)
        if record.method != Matching.Config.name:
            return load_parser(path, place)
        matching = Matching(**record.options)
        put_weights(matching, read_weights(path), path)
        matching.record = record
        return matching.to(place).eval()
    try:
        network = EOPNet.from_official(path)
    except UserError as error:
        raise error if str(path) in str(error) else UserError(f"{path} cannot be used: {error}") from None
    spaces = RELEASED.get(network.n_ids, ())
    if labels is None and len(spaces) == 1:
        labels = spaces[0]
    if labels not in spaces:
        fitting = f"say --labels {' or '.join(spaces)}" if spaces else "no label space of the papers has so many"
        raise UserError(f"{path} is a released checkpoint of {network.n_ids} ids; {fitting}")
    network.record = CheckpointRecord("eopnet", {}, network.way, network.n_ids, str(labels), channels="bgr", size=512)
    return network.to(place).eval()


def is_one_shot(network: OneShotModel) -> bool:
    """Whether a network parses what a support marks; a plain segmenter does not."""
    return isinstance(network, Matching) or method(str(getattr(network.record, "method", ""))).one_shot


def training_free(name: str, device: str = "cpu") -> OneShotModel:
    """A method of the registry that needs no training, on the foreign features it is made for (DINO, SAM).

    Its weights are looked for on this machine alone and never fetched. UserError for a method that has to be trained,
    or whose foreign weights are not here (the sentence says how to get them).
    """
    spec = method(name)
    if spec.trainable or not spec.one_shot:
        free = ", ".join(one.name for one in METHODS.values() if one.one_shot and not one.trainable)
        raise UserError(
            f"method {name} has to be trained; name a checkpoint of it with --weights, or use one of {free}"
        )
    options: dict[str, Any] = {"variant": "lite"}
    if hasattr(spec.load().Config(), "source"):
        options["source"] = "dino"
    lacking = spec.lacking(options)
    if lacking:
        raise UserError(f"method {name} {lacking}")
    network = build(name, **options)
    network.record = CheckpointRecord(name, options, network.way, network.n_ids, "atr", size=EXTERNAL_SIDE)
    return network.to(pick_device(device, "--device")).eval()
