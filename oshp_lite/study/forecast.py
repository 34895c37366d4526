"""How long a run takes and what memory: by counted operations and the pace of a device, where none like it has run.

A run's operations are counted, not measured: multiply-accumulates (MACs) of a method's prediction and of its training
forward pass (`study.cost`, at a reference size; both grow with the area), times three for forward and backward, times
the episodes that its configuration asks for. The pace of a device turns them into seconds; a `Pace` says where it
comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from oshp_lite.data.registry import dataset_spec
from oshp_lite.engine.config import RunConfig
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, reports_root
from oshp_lite.labels import fold
from oshp_lite.models.registry import METHODS
from oshp_lite.study.printed.numbers import printed_table

BACKWARD = 3
"""A training step in forward passes: its own and about two for the gradients of activations and weights."""

CLASSES = 5
"""Support classes of a counted k-way episode, as in the journal's Table 8 (section 6.7)."""

GIB = 2**30
OPTIMISER_COPIES = 3
"""Copies of the trained parameters in memory: the weights, their gradients, one momentum."""

AAAI_PAIRS = 5000


@dataclass(frozen=True)
class Pace:
    """Multiply-accumulates a second in training and in parsing, and where that is known from.

    measured  by a benchmark on a device of this kind; memory: its peak in GiB for EOP-Net's training, None if unknown
    """

    train: float
    parse: float
    source: str
    measured: bool = False
    memory: float | None = None


@dataclass(frozen=True)
class Work:
    """What a run computes: MACs of training and tests, episodes, test pairs, GiB in memory (None: no training)."""

    train: float
    parse: float
    episodes: int
    pairs: int
    memory: float | None

    def seconds(self, pace: Pace) -> float:
        """Seconds at a pace, loading of data apart."""
        return self.train / pace.train + self.parse / pace.parse


def _costs(variant: str) -> dict[str, Any]:
    """The committed counts of a variant's methods; empty where there are none."""
    return _costs_in(project_root() / "notebooks" / "results" / "costs", variant)


@cache
def _costs_in(folder: Path, variant: str) -> dict[str, Any]:
    for name in dict.fromkeys((variant.replace("paper", "official"), "official")):
        for path in sorted(folder.glob(f"{name}-*-cpu.json")):
            with suppress(UserError):
                content = read_json(path)
                if isinstance(content, dict) and isinstance(content.get("rows"), list):
                    return content
    return {}


def _row(costs: Mapping[str, Any], method: str) -> dict[str, Any]:
    return next((row for row in costs.get("rows", ()) if row["method"] == method), {})


def episodes_of(config: RunConfig) -> tuple[int, int]:
    """Return the episodes of a run's training (photos, for a segmenter) and its test pairs; 1-way: at most so many."""
    data, train, spec = config.data, config.train, dataset_spec(config.data.dataset)
    photos = spec.photos[0] if spec.photos else data.synthetic.n_train
    queries = min(data.split or photos, spec.train_queries or photos // 2)
    split = fold(data.dataset, data.fold, data.protocol if data.protocol != "tuning" else "journal")
    base, classes = len(split.training) - 1, len(split.classes) - 1
    if train.task == "segment":
        queries = photos
    elif data.way == "1":
        queries = base * min(data.cap or queries, queries)
    seen = min(queries // train.batch_size, train.steps_per_epoch or queries) * train.batch_size * train.epochs
    pairs = AAAI_PAIRS if config.eval.pairs == "aaai" else classes * config.eval.queries * config.eval.repeats
    rounds = max(1, train.epochs // train.eval_every) if train.eval_every else 1
    return (seen if METHODS[config.model.method].trainable else 0), pairs * rounds


def work_of(config: RunConfig) -> Work | None:
    """Return what a run computes, or None for a method whose operations have not been counted."""
    costs, method = _costs(config.variant), config.model.method
    # a segmenter is an encoder on one photo, PANet little more than one on two
    row, share = (_row(costs, "panet"), 0.5) if method == "segment" else (_row(costs, method), 1.0)
    counted = (row.get("training") or {}).get(config.data.way, {})
    if not row.get("macs_g"):
        return None
    episodes, pairs = episodes_of(config)
    if episodes and not counted:
        return None
    size = config.data.size
    pixels = size * size if isinstance(size, int) else size[0] * size[1]
    area = share * pixels / costs["size"] ** 2
    memory = None
    if counted:
        held = OPTIMISER_COPIES * 4e6 * row["params_m"] / GIB
        memory = held + area * config.train.batch_size * counted["saved_gib"]
    train = BACKWARD * 1e9 * counted.get("macs_g", 0.0) * area * episodes
    return Work(train, 1e9 * row["macs_g"] * area * pairs, episodes, pairs, memory if episodes else None)


def benchmarks() -> list[Path]:
    """Return where `oshp-lite bench gpu-check` leaves its record: here, and the one kept with the project."""
    return [
        reports_root() / "gpu-check" / "gpu_check.json",
        project_root() / "notebooks" / "results" / "gpu_check.json",
    ]


def pace(device: str, variant: str = "official", precision: str = "float32") -> Pace | None:
    """Return the pace of a kind of device ("cuda", "cpu") for networks of a variant; None where nothing is known.

    A GPU's is that of the benchmark where there is a record of one, else the one that the journal's Table 8 implies
    for its V100. A CPU's is that of the committed counts, whose predictions were timed on one thread.
    """
    costs = _costs(variant)
    own = _row(costs, "eopnet")
    if device == "cpu":
        if not own:
            return None
        rate = 1e9 * own["macs_g"] * own["fps"]
        return Pace(rate, rate, f"one thread of {costs['machine']}, timed on predictions of {costs['size']} pixels")
    for path in benchmarks():
        with suppress(UserError, KeyError, TypeError, ZeroDivisionError):
            record = read_json(path)
            speed, plan = record["speed"][precision], record["plan"]
            counts = _costs(plan["variant"])
            timed, area = _row(counts, "eopnet"), (plan["speed_size"] / counts["size"]) ** 2
            return Pace(
                BACKWARD * 1e9 * timed["training"]["k"]["macs_g"] * area / speed["train"],
                1e9 * timed["macs_g"] * area / speed["parse"],
                f"measured on {record['provenance']['device']} ({precision}, {plan['speed_size']} pixels, "
                f"batch {plan['batch']})",
                measured=True,
                memory=speed["memory"] / 1024 if speed.get("memory") else None,
            )
    printed = printed_table("eopnet8")
    macs, fps = (printed.get("eopnet", f"cost.{what}") for what in ("macs", "fps"))
    if macs is None or fps is None:
        return None
    rate = 1e9 * macs.value * fps.value
    words = f"computed: the journal's V100 parses {fps.text} pairs of {macs.text} G MACs a second (Table 8)"
    return Pace(rate, rate, words)


def total(seconds: Sequence[float | None]) -> tuple[float, int]:
    """Return the sum of what is known and how many are not."""
    known = [one for one in seconds if one is not None]
    return sum(known), len(seconds) - len(known)


def words(seconds: float) -> str:
    """Return a time in the unit that a reader wants: "40 seconds", "12 minutes", "3.5 hours", "2.1 days"."""
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.{0 if unit == 'minutes' else 1}f} {unit}"
    return f"{seconds:.0f} seconds"
