"""What every method's prediction costs: multiply-accumulates, parameters, frames per second (journal, Table 8).

`oshp-lite bench methods` writes one JSON that the maker of Table 8 reads.
"""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from oshp_lite.engine.checkpoint import pick_device
from oshp_lite.engine.performance.paths import made_up_episode
from oshp_lite.engine.provenance import provenance
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_json_atomic
from oshp_lite.models.complexity import count_parameters, total_macs
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.registry import build
from oshp_lite.study.experiments import METHODS
from oshp_lite.study.forecast import CLASSES

COUNTED_AT = 128
"""Largest side in pixels at which a training step is counted: the memory that it needs grows with the area."""

NUMBERS = ("macs_g", "convs_g", "params_m", "used_m", "fps", "relative")


def measure_costs(
    variant: str = "lite",
    *,
    size: int = 128,
    device: str = "cpu",
    seconds: float = 1.0,
    methods: Sequence[str] | None = None,
    tell: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure all methods (or those named) on one made-up k-way pair; returns what `write_costs` keeps.

    variant  "official", "paper" (Xception encoders) or "lite"; size: side of both photos in pixels
    seconds  least time of timing a method after one prediction that is not timed; 0 times that one, the only one

    A row of a method holds numbers, or None for each and a `reason` why they are missing ("" where they are not):
    macs_g, convs_g  10^9 multiply-accumulates of one prediction, and the share of convolutions
    params_m         10^6 parameters held; used_m those of layers that one prediction runs through
    fps, relative    predictions a second with batch size 1 (the median one's), and against EOP-Net's in the same run
    training         {way: what `count_training` counts}, for methods that are trained

    Raises UserError for an unknown method, variant or device.
    """
    unknown = sorted(set(methods or ()) - set(METHODS))
    if unknown:
        raise UserError(f"unknown method {unknown[0]!r}; there are {', '.join(METHODS)}")
    if size < 32:
        raise UserError(f"size {size} is too small for a pair; take at least 32 pixels")
    counts = total_macs(EOPNetConfig.preset(variant, n_ids=CLASSES + 1), (size, size), CLASSES)
    full, no_agm, inference = (f"{counts[name] / 1e9:.4g} G" for name in ("full", "no_agm", "inference"))
    place, rows = pick_device(device, "--device"), dict[str, dict[str, Any]]()
    for name in METHODS if methods is None else methods:
        row = rows[name] = _measure(name, variant, size, place, seconds)
        if METHODS[name].training_free or row["reason"]:
            row["training"] = {}
        else:
            row["training"] = {way: count_training(name, variant, way, size) for way in ("k", "1")}
        if tell is not None:
            numbers = "{macs_g:.4g} G MACs, {params_m:.4g} M parameters, {fps:.3g} frames/s"
            tell(f"{row['label']}: {row['reason'] or numbers.format(**row)}")
    own = rows.get("eopnet", {}).get("fps")
    for row in rows.values():
        row["relative"] = row["fps"] / own if row["fps"] and own else None
    about = provenance(device=str(place))
    made = {"kind": "cost", "variant": variant, "size": size, "classes": CLASSES}
    made |= {"device": place.type, "machine": about["device"], "date": about["date"], "seconds": seconds}
    return made | {
        "clock": "one thread's own seconds" if _clock(place) is time.process_time else "seconds on the wall",
        "rows": list(rows.values()),
        "notes": [
            f"EOP-Net, {variant}, {size} px, {CLASSES} classes, convolutions alone: {full} with both modules and both "
            f"coarse passes, {no_agm} without the fine AGM, {inference} as run here."
        ],
        "provenance": about,
    }


def _measure(name: str, variant: str, size: int, place: torch.device, seconds: float) -> dict[str, Any]:
    """Return a method's row, `relative` apart; one that cannot be built has a reason instead of numbers."""
    row: dict[str, Any] = {"method": name, "label": METHODS[name].label}
    try:
        net = build(name, variant=variant, seed=0, n_ids=CLASSES + 1, way="k").to(place).eval()
    except UserError as error:
        return {**row, **dict.fromkeys(NUMBERS), "reason": str(error)}
    held, tick, spent = count_parameters(net), _clock(place), list[float]()

    def predict() -> None:
        # a pair of its own each time: POPNet keeps the features of photos that it has seen
        episode = made_up_episode(size, 1, CLASSES + 1, seed=len(spent)).to(place)
        started = tick()
        net.predict(episode)
        if place.type == "cuda":
            torch.cuda.synchronize(place)
        spent.append(max(tick() - started, 1e-9))

    with _idle_layers(net) as idle, FlopCounterMode(display=False) as counter:
        predict()
    used = held - sum(p.numel() for layer in idle for p in layer.parameters(recurse=False))
    while sum(spent[1:]) < seconds:
        predict()
    by_kind = counter.get_flop_counts()["Global"]
    convs = sum(count for kind, count in by_kind.items() if "convolution" in str(kind))
    values = (counter.get_total_flops() / 2e9, convs / 2e9, held / 1e6, used / 1e6)
    fps = 1 / statistics.median(spent[1:] or spent)
    return {**row, **dict(zip(NUMBERS, (*values, fps, None), strict=True)), "reason": ""}


def count_training(name: str, variant: str, way: str, size: int) -> dict[str, float]:
    """Count a method's training forward pass on made-up episodes, on the CPU; both numbers are those of one episode.

    macs_g     10^9 multiply-accumulates; the backward pass needs about twice as many again
    saved_gib  GiB that wait for the backward pass, float32, parameters apart

    k-way episodes have CLASSES support classes. Batches of two, since some layers normalise over the batch. Counted at
    COUNTED_AT pixels at most and scaled with the area, as convolutions are.
    """
    shown, side = CLASSES if way == "k" else 1, min(size, COUNTED_AT)
    net = build(name, variant=variant, seed=0, n_ids=CLASSES + 1, way=way).train()
    episode = made_up_episode(side, 2, shown + 1)
    if way == "1":
        episode = replace(episode, class_ids=torch.ones(2, dtype=torch.long))
    held = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> None:  # there is no backward pass, and a graph that held the tensors would never go
        storage = tensor.untyped_storage()  # alive, so that no other takes its place
        kept[storage.data_ptr()] = storage

    saving = torch.autograd.graph.saved_tensors_hooks(keep, lambda nothing: nothing)
    with saving, FlopCounterMode(display=False) as counter:
        net.losses(net(episode, progress=0.6), episode, 0.6)
    saved = sum(storage.nbytes() for place, storage in kept.items() if place not in held)
    area = (size / side) ** 2 / len(episode.query_image)
    return {"macs_g": area * counter.get_total_flops() / 2e9, "saved_gib": area * saved / 2**30}


def _clock(place: torch.device) -> Callable[[], float]:
    """Seconds of this process on one thread, which other work on the machine hardly moves; else those of the wall."""
    return time.process_time if place.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter


@contextmanager
def _idle_layers(net: nn.Module) -> Iterator[set[nn.Module]]:
    """Convolutions and normalisations that have not run since the block began."""
    kinds = (nn.Conv2d, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
    idle: set[nn.Module] = {layer for layer in net.modules() if isinstance(layer, kinds)}
    handles = [layer.register_forward_hook(lambda layer, *_: idle.discard(layer)) for layer in idle]
    try:
        yield idle
    finally:
        for handle in handles:
            handle.remove()


def costs_folder() -> Path:
    """Where measured costs are kept with the project: `notebooks/results/costs`."""
    return project_root() / "notebooks" / "results" / "costs"


def write_costs(costs: dict[str, Any], folder: Path | str | None = None) -> Path:
    """Write the result of `measure_costs` as `<variant>-<size>px-<device>.json` in one step; returns the path."""
    path = Path(folder or costs_folder()) / f"{costs['variant']}-{costs['size']}px-{costs['device']}.json"
    write_json_atomic(path, costs)
    return path


def load_costs(folder: Path | str | None = None) -> list[dict[str, Any]]:
    """Read every kept cost, the Xception variants first; a file that is something else is left out with a warning."""
    costs = []
    for path in sorted(Path(folder or costs_folder()).glob("*.json")):
        with suppress(UserError):
            content = read_json(path)
            if isinstance(content, dict) and content.get("kind") == "cost" and isinstance(content.get("rows"), list):
                costs.append(content)
                continue
        warnings.warn(f"left out: {path} is not a result of `oshp-lite bench methods`; measure anew", stacklevel=2)
    return sorted(costs, key=lambda cost: (cost["variant"] == "lite", cost["variant"], cost["size"], cost["device"]))
