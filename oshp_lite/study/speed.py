"""How fast this machine is: one training step, one parse, and what a profile would take."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.eopnet import EOPNet, EOPNetConfig

TEST_PAIRS = 600
"""Order of magnitude of a profile's test pairs, for the estimate only."""
QUERIES = {"ccp-os": 350, "atr-os": 7500, "lip-os": 14000, "cihp-os": 14000}
PHOTOS = {"ccp-os": 700, "atr-os": 15000, "lip-os": 30462, "cihp-os": 28280}


@dataclass(frozen=True)
class Speed:
    """Seconds per episode while training and while parsing, and the peak of device memory in MiB (None on a CPU)."""

    train: float
    parse: float
    memory: float | None


def device_or_error(name: str) -> torch.device:
    """The torch device of that name. Raises UserError with the reason when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"unknown device {name!r}; say cpu, cuda or cuda:N") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        why = "its build has no CUDA" if torch.version.cuda is None else "its driver finds no GPU"
        raise UserError(f"there is no CUDA device for torch {torch.__version__} here ({why}); use --device cpu")
    return device


def reference_episode(size: int, batch: int, n_ids: int = 18, *, seed: int = 0) -> Episode:
    """A batch of made-up episodes with blocky masks; the same numbers on every machine. Tensors as in Episode."""
    source = torch.Generator().manual_seed(seed)
    cells = max(2, size // 16)

    def photo() -> Tensor:
        return torch.rand(batch, 3, size, size, generator=source) * 2 - 1

    def mask() -> Tensor:
        coarse = torch.randint(0, n_ids, (batch, cells, cells), generator=source)
        return coarse.repeat_interleave(-(-size // cells), 1).repeat_interleave(-(-size // cells), 2)[:, :size, :size]

    query, support = mask(), mask()
    return Episode(photo(), photo(), support, (support > 0).long(), query, (query > 0).long())


def measure(
    config: EOPNetConfig, *, size: int, batch: int, device: torch.device, precision: str = "float32", seconds: float = 3
) -> Speed:
    """Time training steps and parses of one EOP-Net on made-up episodes, at least `seconds` each after one warm-up."""
    net = EOPNet(config).to(device)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    episode = reference_episode(size, batch, config.n_ids).to(device)
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=1e-6)
    half = torch.bfloat16 if precision == "bf16" else None

    def step() -> None:
        net.train()
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            loss = net.losses(net(episode, progress=0.6), episode, 0.6)["total"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def parse() -> None:
        with torch.autocast(device.type, half or torch.bfloat16, enabled=half is not None):
            net.predict(episode)

    trained = _seconds(step, device, seconds) / batch
    parsed = _seconds(parse, device, seconds) / batch
    memory = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return Speed(trained, parsed, memory)


def _seconds(work: Callable[[], None], device: torch.device, least: float) -> float:
    """Mean seconds of one call, over as many as fit `least` seconds (at least one)."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    work()
    wait()
    started, calls = time.perf_counter(), 0
    while calls < 1 or time.perf_counter() - started < least:
        work()
        wait()
        calls += 1
    return (time.perf_counter() - started) / calls


def estimate(profile: str, device: torch.device, *, seconds: float = 1.0) -> tuple[float, str]:
    """Seconds that the profile's first training takes here, roughly, and which training that is.

    A short probe of the profile's own network is scaled to its number of steps; data preparation is not counted.
    """
    from oshp_lite.engine.presets import load_profile
    from oshp_lite.study.plan import TRAININGS

    dataset, fold, way = TRAININGS[profile][0]
    config = load_profile(profile, {"data.fold": fold}, dataset=dataset, way=way)
    data, train, init = config.data, config.train, config.init
    queries = QUERIES.get(dataset, data.synthetic.n_train // 2)
    photos = PHOTOS.get(dataset, data.synthetic.n_train)
    steps = min(queries // train.batch_size, train.steps_per_epoch or queries) * train.epochs
    seen = float(steps * train.batch_size)
    # a supervised photo costs about half an episode, which encodes two
    if init.kind == "segment":
        seen += 0.5 * photos * init.dataset_epochs + 0.5 * data.synthetic.n_train * init.synthetic_epochs
    side = data.size if isinstance(data.size, int) else int((data.size[0] * data.size[1]) ** 0.5)
    model = EOPNetConfig.preset(config.variant, **_model_options(config.model.options))
    heavy = model.encoder == "xception" and device.type == "cpu"
    probe_side = min(side, 64 if heavy else 128) // 16 * 16
    speed = measure(model, size=probe_side, batch=2 if heavy else 4, device=device, seconds=0 if heavy else seconds)
    scale = (side / probe_side) ** 2
    return scale * (speed.train * seen + speed.parse * TEST_PAIRS), f"{dataset} fold {fold} {way}-way"


def _model_options(options: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}
