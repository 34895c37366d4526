"""What a GPU does here: agreement with the CPU, bf16, speed, memory, then real training for the minutes left.

Every part takes a device, so the tests run the same code on a CPU at a small size.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from oshp_lite.errors import UserError
from oshp_lite.files import write_json_atomic
from oshp_lite.models.eopnet import EOPNet, EOPNetConfig
from oshp_lite.study.speed import device_or_error, measure, reference_episode

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

PARITY = 2e-3
"""Largest relative difference between device and CPU that float32 sums in another order explain (60 layers deep)."""


@dataclass(frozen=True)
class Plan:
    """How large the check is. The defaults are the real one; tests take a small network and seconds."""

    variant: str = "official"
    parity_size: int = 128
    speed_size: int = 512
    batch: int = 2
    seconds: float = 5.0
    profile: str = "gpu"
    dataset: str = "ccp-os"
    overrides: tuple[str, ...] = ()


def gpu_check(
    device_name: str,
    minutes: float,
    out: Path,
    *,
    data: str | None = None,
    plan: Plan | None = None,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Run the whole check and write `out`/gpu_check.json with pictures beside it; returns what it found.

    Raises UserError when the device or the dataset is not there. minutes <= 0 leaves the training out.
    """
    plan = plan or Plan()
    started = time.monotonic()
    device = device_or_error(device_name)
    from oshp_lite.engine.provenance import provenance

    found: dict[str, Any] = {"provenance": provenance(device=str(device)), "plan": asdict(plan)}
    tell(f"device: {found['provenance']['device']}, torch {torch.__version__}")
    with exact_float32():
        found["parity"] = parity(device, plan)
    tell("parity with the CPU: " + ", ".join(f"{name} {value:.1e}" for name, value in found["parity"].items()))
    found["parity_ok"] = max(found["parity"].values()) < PARITY
    found["bf16"] = half_precision(device, plan)
    tell(f"bf16 against float32: {found['bf16']['same_answer']:.2%} of pixels get the same answer")
    found["speed"] = {}
    for precision in ("float32", "bf16"):
        config = EOPNetConfig.preset(plan.variant)
        speed = measure(
            config, size=plan.speed_size, batch=plan.batch, device=device, precision=precision, seconds=plan.seconds
        )
        found["speed"][precision] = asdict(speed)
        memory = "" if speed.memory is None else f", peak memory {speed.memory:.0f} MiB"
        tell(
            f"{precision} at {plan.speed_size}x{plan.speed_size}, batch {plan.batch}: {1 / speed.train:.1f} episodes/s "
            f"training, {1 / speed.parse:.1f} parsing{memory}"
        )
    write_json_atomic(out / "gpu_check.json", found)
    left = minutes * 60 - (time.monotonic() - started)
    if minutes > 0:
        found["training"] = timed_training(device_name, left / 60, out, plan, data, tell)
        write_json_atomic(out / "gpu_check.json", found)
    tell(f"{out / 'gpu_check.json'} after {(time.monotonic() - started) / 60:.1f} minutes")
    return found


def parity(device: torch.device, plan: Plan) -> dict[str, float]:
    """Largest difference between device and CPU, over the largest value: logits, losses and gradients."""
    episode = reference_episode(plan.parity_size, plan.batch)
    sides = []
    for where in (torch.device("cpu"), device):
        net = EOPNet(EOPNetConfig.preset(plan.variant), seed=1).to(where).eval()
        there = episode.to(where)
        parsing = net(there)
        losses = net.losses(parsing, there, 0.5)
        losses["total"].backward()
        gradients = {name: value.grad for name, value in net.named_parameters() if value.grad is not None}
        sides.append(
            {
                "npm logits": parsing.fine.detach().cpu(),
                "agm logits": parsing.agm.detach().cpu() if parsing.agm is not None else torch.zeros(1),
                "coarse logits": parsing.coarse.detach().cpu() if parsing.coarse is not None else torch.zeros(1),
                "losses": torch.stack([value.detach().cpu() for _, value in sorted(losses.items())]),
                "gradient norms": torch.stack([value.detach().norm().cpu() for _, value in sorted(gradients.items())]),
            }
        )
    return {name: _distance(sides[0][name], sides[1][name]) for name in sides[0]}


def half_precision(device: torch.device, plan: Plan) -> dict[str, float]:
    """bf16 autocast against float32 on the same device: logit distance and the share of equal answers."""
    episode = reference_episode(plan.parity_size, plan.batch).to(device)
    net = EOPNet(EOPNetConfig.preset(plan.variant), seed=1).to(device).eval()
    with torch.no_grad():
        full = net(episode).fine.float()
        with torch.autocast(device.type, torch.bfloat16):
            half = net(episode).fine.float()
    same = (full.argmax(1) == half.argmax(1)).float().mean()
    return {"npm logits": _distance(full, half), "same_answer": float(same)}


def timed_training(
    device: str, minutes: float, out: Path, plan: Plan, data: str | None, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Train fold 1, k-way, within `minutes`: a supervised start, then episodes, then scores and sample parses.

    The clock ends the training, so its numbers cannot be repeated exactly; they are kept apart from the run store.
    """
    from oshp_lite.data.registry import find_dataset
    from oshp_lite.engine import run
    from oshp_lite.engine.presets import init_config, load_profile

    began = time.monotonic()
    minutes = max(minutes, 0.05)
    overrides = [*plan.overrides, "data.fold=1", "init.synthetic_epochs=0", f"train.device={device}"]
    config = load_profile(plan.profile, overrides, dataset=plan.dataset, way="k")
    dataset = find_dataset(config.data, data)
    # evaluation and start-up take their share of the minutes too
    usable = minutes * 0.85
    first = init_config(config)
    weights = None
    if first is not None:
        first = _within(first, usable * 0.35)
        tell(f"training: supervised start on the base classes, {first.train.minutes:.1f} minutes")
        run.execute(first, dataset, _fresh(out / "start"), progress=True)
        weights = out / "start" / "weights.safetensors"
        config = _within(config, usable * 0.65)
    else:
        config = _within(config, usable)
    tell(f"training: episodes, {config.train.minutes:.1f} minutes")
    scores = run.execute(config, dataset, _fresh(out / "eopnet"), weights, progress=True)
    tell(f"novel mIoU {scores.novel_miou:.3f}, base {scores.base_miou:.3f}, human {scores.human_miou:.3f}")
    return {
        "dataset": dataset.name,
        "fold": 1,
        "way": "k",
        "scores": scores.as_dict(),
        "minutes": round((time.monotonic() - began) / 60, 2),
        "samples": [path.name for path in sorted((out / "eopnet").glob("sample_*.png"))],
    }


def _within(config: RunConfig, minutes: float) -> RunConfig:
    return replace(config, train=replace(config.train, minutes=round(minutes, 3), eval_every=0))


def _fresh(folder: Path) -> Path:
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
    """Switch TF32 off inside the block: parity is asked of float32 itself."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _distance(left: Tensor, right: Tensor) -> float:
    left, right = left.double().cpu(), right.double().cpu()
    return float((left - right).abs().max() / left.abs().max().clamp(min=1e-12))
