"""How fast this machine is, and what a GPU does here: agreement with the CPU, then training.

Every part takes a device, so the tests run the same code on a CPU at a small size.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.benchmark import Timer

from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.checkpoint import pick_device
from oshp_lite.engine.performance.paths import made_up_episode
from oshp_lite.engine.presets import init_config, load_profile
from oshp_lite.engine.provenance import provenance
from oshp_lite.engine.runs import execute
from oshp_lite.errors import UserError
from oshp_lite.files import write_json_atomic
from oshp_lite.models.eopnet import EOPNet, EOPNetConfig

PARITY = 2e-3
"""Largest relative difference between device and CPU that float32 sums in another order explain (60 layers deep)."""


@dataclass(frozen=True)
class Speed:
    """Seconds per episode while training and while parsing, and the peak of device memory in MiB (None on a CPU)."""

    train: float
    parse: float
    memory: float | None


def measure(
    config: EOPNetConfig, *, size: int, batch: int, device: torch.device, precision: str = "float32", seconds: float = 3
) -> Speed:
    """Time training steps and parses of one EOP-Net on made-up episodes, at least `seconds` each after one warm-up."""
    net = EOPNet(config).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    episode = made_up_episode(size, batch, config.n_ids).to(device)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-6)
    half = precision == "bf16"

    def step() -> None:
        net.train()
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            loss = net.losses(net(episode, progress=0.6), episode, 0.6)["total"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def parse() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=half):
            net.predict(episode)

    clocks = [Timer("work()", globals={"work": work}, num_threads=torch.get_num_threads()) for work in (step, parse)]
    trained, parsed = (clock.blocked_autorange(min_run_time=seconds).mean / batch for clock in clocks)
    return Speed(trained, parsed, torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None)


@dataclass(frozen=True)
class Check:
    """How large the check is. The defaults are the real one; tests take a small network and seconds."""

    variant: str = "official"
    parity_size: int = 128
    speed_size: int = 512
    batch: int = 2
    seconds: float = 5.0
    profile: str = "gpu"
    dataset: str = "ccp-os"


def gpu_check(
    device_name: str,
    minutes: float,
    out: Path,
    *,
    data: str | None = None,
    plan: Check | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the whole check and write `out`/gpu_check.json with pictures beside it; returns its content.

    Raises UserError when the device or the dataset is not there. minutes <= 0 leaves the training out.
    """
    plan, started, device = plan or Check(), time.monotonic(), pick_device(device_name, "--device")
    record: dict[str, Any] = {"provenance": provenance(device=str(device)), "plan": asdict(plan), "speed": {}}
    tell(f"device: {record['provenance']['device']}, torch {torch.__version__}")
    with exact_float32():
        record["parity"] = parity(device, plan)
    tell("parity with the CPU: " + ", ".join(f"{name} {value:.1e}" for name, value in record["parity"].items()))
    record["parity_ok"] = max(record["parity"].values()) < PARITY
    record["bf16"] = half_precision(device, plan)
    tell(f"bf16 against float32: the same prediction at {record['bf16']['same_prediction']:.2%} of the pixels")
    config, size, batch = EOPNetConfig.preset(plan.variant), plan.speed_size, plan.batch
    for precision in ("float32", "bf16"):
        speed = measure(config, size=size, batch=batch, device=device, precision=precision, seconds=plan.seconds)
        record["speed"][precision] = asdict(speed)
        memory = "" if speed.memory is None else f", peak memory {speed.memory:.0f} MiB"
        tell(
            f"{precision} at {size}x{size}, batch {batch}: {1 / speed.train:.1f} episodes/s training, "
            f"{1 / speed.parse:.1f} parsing{memory}"
        )
    write_json_atomic(out / "gpu_check.json", record)
    if minutes > 0:
        left = minutes - (time.monotonic() - started) / 60
        record["training"] = timed_training(device_name, left, out, plan, data, tell)
        write_json_atomic(out / "gpu_check.json", record)
    tell(f"{out / 'gpu_check.json'} after {(time.monotonic() - started) / 60:.1f} minutes")
    return record


def parity(device: torch.device, plan: Check) -> dict[str, float]:
    """Largest difference between device and CPU, over the largest value: logits, losses and gradients."""
    episode = made_up_episode(plan.parity_size, plan.batch)
    sides = []
    for where in (torch.device("cpu"), device):
        net, there = _net(plan, where), episode.to(where)
        parsing = net(there)
        losses = net.losses(parsing, there, 0.5)
        losses["total"].backward()
        branches = {"npm": parsing.fine, "agm": parsing.agm, "coarse": parsing.coarse}
        side = {f"{name} logits": logits.detach() for name, logits in branches.items() if logits is not None}
        side["losses"] = torch.stack([value.detach() for _, value in sorted(losses.items())])
        gradients = [p.grad.norm() for _, p in sorted(net.named_parameters()) if p.grad is not None]
        sides.append({**side, "gradient norms": torch.stack(gradients)})
    return {name: _distance(sides[0][name], sides[1][name]) for name in sides[0]}


def half_precision(device: torch.device, plan: Check) -> dict[str, float]:
    """bf16 autocast against float32 on the same device: logit distance and the share of equal predictions."""
    episode, net = made_up_episode(plan.parity_size, plan.batch).to(device), _net(plan, device)
    with torch.no_grad():
        full = net(episode).fine.float()
        with torch.autocast(device.type, torch.bfloat16):
            half = net(episode).fine.float()
    same = (full.argmax(1) == half.argmax(1)).float().mean()
    return {"npm logits": _distance(full, half), "same_prediction": float(same)}


def _net(plan: Check, device: torch.device) -> EOPNet:
    return EOPNet(EOPNetConfig.preset(plan.variant), seed=1).to(device).eval()


def timed_training(
    device: str, minutes: float, out: Path, plan: Check, data: str | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train fold 1, k-way, within `minutes`: a supervised start, then episodes, then scores and sample parses.

    The clock ends the training, so its numbers cannot be repeated exactly; they are kept apart from the run store.
    """
    began, scores = time.monotonic(), {}
    overrides = {"data.fold": 1, "init.synthetic_epochs": 0, "train.device": device}
    config = load_profile(plan.profile, overrides, dataset=plan.dataset, way="k")
    dataset, first, weights = find_dataset(config.data, data), init_config(config), None
    usable = max(minutes, 0.05) * 0.85  # evaluation and start-up take their share of the minutes too
    for name, one, share in (("start", first, 0.35), ("eopnet", config, 0.65 if first else 1.0)):
        if one is not None:
            one = replace(one, train=replace(one.train, minutes=round(usable * share, 3), eval_every=0))
            tell(f"training: {name}, {one.train.minutes:.1f} minutes")
            scores = execute(one, dataset, _emptied(out / name), weights, progress=True).as_dict()
            weights = out / name / "weights.safetensors"
    tell(", ".join(f"{name} mIoU {scores[f'{name}_miou']:.3f}" for name in ("novel", "base", "human")))
    return {
        "dataset": dataset.name,
        "fold": 1,
        "way": "k",
        "scores": scores,
        "minutes": round((time.monotonic() - began) / 60, 2),
        "samples": [path.name for path in sorted((out / "eopnet").glob("sample_*.png"))],
    }


def _emptied(folder: Path) -> Path:
    """An empty folder: a check starts anew and does not go on with an older one."""
    if folder.exists() and not (folder / "config.yaml").is_file() and any(folder.iterdir()):
        raise UserError(f"{folder} holds something else; name another --out")
    for path in folder.glob("*"):
        if path.is_file():
            path.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Switch TF32 off inside the block: parity is a matter of float32 itself."""
    backends: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn]
    before = [backend.allow_tf32 for backend in backends]
    try:
        for backend in backends:
            backend.allow_tf32 = False
        yield
    finally:
        for backend, allowed in zip(backends, before, strict=True):
            backend.allow_tf32 = allowed


def _distance(left: Tensor, right: Tensor) -> float:
    left, right = left.double().cpu(), right.double().cpu()
    return float((left - right).abs().max() / left.abs().max().clamp(min=1e-12))
