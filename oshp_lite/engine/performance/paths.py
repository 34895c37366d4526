"""What the benchmark compares: EOP-Net parsing and training, and what stands around the network.

Every path has its reference (the plain form), ours (what users and trainings run) and, where there is one, its floor:
for parsing the encoder alone, as fast as it can be made, on the photos that have to be encoded; for a loaded batch the
training step that waits for it; for counted pixels the network that predicts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from oshp_lite.data.episode import Episode, collate
from oshp_lite.data.loading import EpisodeDataset, SegmentDataset
from oshp_lite.data.synthetic import bench, generate
from oshp_lite.engine.loading import run_fold, training_set
from oshp_lite.engine.metrics import confusion
from oshp_lite.engine.performance.clock import Figure, Work, in_turn, multiply_accumulates, peak_memory
from oshp_lite.engine.performance.plain import plain_forward
from oshp_lite.engine.performance.scores import judge_shipped
from oshp_lite.engine.presets import load_profile
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.inference import Precision, encode_once, for_inference, has_bf16


@dataclass(frozen=True)
class Plan:
    """How large the benchmark is: the encoder, the sides in pixels of photos parsed and trained on, the batch."""

    encoder: Literal["xception", "lite"]
    parsed: int
    trained: int
    batch: int


PLANS = {"paper": Plan("xception", 512, 256, 2), "lite": Plan("lite", 128, 128, 16)}
SHOWN = 7
"""Classes of a support with the background: about as many as a person of ATR wears."""
CLASSES = (1, 5, 11, 19)
"""Classes of the support, the background apart, that scaling is measured at."""
PROGRESS = 0.6
"""Where in the training a step is taken: behind the warm-up, both metric modules weighing in."""


def made_up_episode(size: int, batch: int, n_ids: int = 18, *, shown: int | None = None, seed: int = 0) -> Episode:
    """A batch of made-up episodes with blocky masks; the same numbers on every machine. Tensors as in Episode.

    `shown` ids occur, background included (default: all).
    """
    source = torch.Generator().manual_seed(seed)
    cells = max(2, size // 16)

    def photo() -> Tensor:
        return torch.rand(batch, 3, size, size, generator=source) * 2 - 1

    def mask() -> Tensor:
        coarse = torch.randint(0, shown or n_ids, (batch, cells, cells), generator=source)
        return coarse.repeat_interleave(-(-size // cells), 1).repeat_interleave(-(-size // cells), 2)[:, :size, :size]

    query, support = mask(), mask()
    return Episode(photo(), photo(), support, (support > 0).long(), query, (query > 0).long())


def measure_paths(
    plan: Plan = PLANS["paper"], what: Sequence[str] = ("infer", "train"), *, rounds: int = 5, device: str = "cpu"
) -> Iterator[Figure]:
    """Yield every row of the chosen KINDS, path by path, as soon as it is measured."""
    for kind in what:
        yield from KINDS[kind](plan, rounds, device)


def _network(plan: Plan, variant: str, **more: Any) -> EOPNet:
    changes: dict[str, Any] = {"encoder": "lite", "width": 64} if plan.encoder == "lite" else {"all_branches": False}
    return EOPNet(variant=variant, **changes, **more)


def _parsing(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    network = _network(plan, "official").to(device).eval()
    pair = made_up_episode(plan.parsed, 1, network.n_ids, shown=SHOWN).to(device)
    numbers = count(1)

    @torch.no_grad()
    def plainly(batch: Callable[[], Episode]) -> None:
        plain_forward(network, batch())

    def fastly(fast: EOPNet, batch: Callable[[], Episode]) -> None:
        fast.predict(batch())

    def following() -> Episode:
        return replace(pair, query_image=pair.query_image + 1e-4 * next(numbers))  # a photo that no cache holds

    precisions: tuple[Precision, ...] = ("float32", "bf16") if has_bf16(device) else ("float32",)
    for path, batch, photos in (("new support", lambda: pair, 2), ("same support", following, 1)):
        works: dict[str, Work] = {"reference": partial(plainly, batch)}
        for precision in precisions:
            fast = for_inference(network, precision)
            encoder = for_inference(network, precision).encoder
            if path == "same support":
                encode_once(fast)
            works[precision] = partial(fastly, fast, batch)
            works[f"floor {precision}"] = partial(_encode, encoder, pair, photos)
        yield from _figures(path, works, rounds, device)


@torch.inference_mode()
def _encode(encoder: torch.nn.Module, pair: Episode, photos: int) -> None:
    for photo in (pair.query_image, pair.support_image)[:photos]:
        encoder(photo)


def _training(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    gpu = device.startswith("cuda")
    forms = ("reference", "official", "lite" if plan.encoder == "lite" else "paper", *(["bf16"] if gpu else []))
    works = {form: training_step(plan, form, device) for form in forms}
    memory = {form: peak_memory(training_step, plan, form, device, device=device) for form in forms}
    for figure in _figures("training step", works, rounds, device):
        yield replace(figure, memory=memory[figure.name])
    if gpu:
        yield from _figures("encoder in training", encoder_works(plan, device), rounds, device)


def encoder_works(plan: Plan, device: str) -> dict[str, Work]:
    """The encoder of a training step in bf16, forward and backward, and a bf16 product of large matrices."""
    encoder = cast(Any, _network(plan, "official").encoder).to(device, memory_format=torch.channels_last)
    photos = made_up_episode(plan.trained, plan.batch).query_image.to(device)
    square = torch.ones(16 * plan.trained, 16 * plan.trained, device=device, dtype=torch.bfloat16)

    def step() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            features = encoder(photos.contiguous(memory_format=torch.channels_last))
        features.float().sum().backward()

    return {"bf16": step, "matrix product": lambda: square @ square}


def training_step(plan: Plan, form: str, device: str) -> Work:
    """A work that takes one training step of a batch: `reference` is the plain form of variant `official`.

    `bf16` is that variant under autocast, channels last.
    """
    half, kind = form == "bf16", torch.device(device).type
    network = _network(plan, "official" if half or form == "reference" else form).to(device).train()
    if half:
        cast(Any, network).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=1e-6)
    batch = made_up_episode(plan.trained, plan.batch, network.n_ids, shown=SHOWN).to(device)

    def work() -> None:
        with torch.autocast(kind, torch.bfloat16, enabled=half):
            parsing = plain_forward(network, batch) if form == "reference" else network(batch, progress=PROGRESS)
            total = network.losses(parsing, batch, PROGRESS)["total"]
        total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return work


def _figures(path: str, works: dict[str, Work], rounds: int, device: str) -> Iterator[Figure]:
    times = in_turn(works, rounds=rounds, device=device)
    plain = times.get("reference")
    for name, timing in times.items():
        floor = times.get(f"floor {name}")
        yield Figure(
            path,
            name,
            timing.middle,
            *timing.spread,
            speedup=None if plain is None else plain.middle / timing.middle,
            above_floor=None if floor is None else timing.middle / floor.middle,
            gmac=multiply_accumulates(works[name]) / 1e9 or None,
        )


def _loading(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    """A batch of training episodes, photos decoded each time or kept; against the step that waits for it."""
    with TemporaryDirectory(prefix="oshp-bench-") as folder:
        works: dict[str, Work] = {}
        for name, megabytes in (("reference", 0), ("cached", 1024)):
            works[name] = _batches(_training_items(plan, Path(folder), megabytes), plan.batch)
        works["floor cached"] = training_step(plan, "lite" if plan.encoder == "lite" else "paper", device)
        yield from _figures("loading a batch", works, rounds, device)


def _training_items(plan: Plan, folder: Path, megabytes: int) -> EpisodeDataset | SegmentDataset:
    """Training episodes of a few drawn people, as the profile lite loads them; drawn where the folder has none."""
    dataset = generate("synth-atr", folder, n_train=16, n_test=8, size=max(64, plan.trained), progress=False)
    settings = [f"data.size={plan.trained}", f"data.cache_mb={megabytes}"]
    config = load_profile("lite", settings, dataset="synth-atr")
    return training_set(config, dataset, run_fold(config, dataset))


def _batches(items: Any, size: int) -> Work:
    """A work that loads the next batch in this process."""
    numbers = count()
    return lambda: collate([items[next(numbers) % len(items)] for _ in range(size)])


def _scoring(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    """Counting the pixels of a prediction, one id after another or in one matrix; against the network's own time."""
    network = for_inference(_network(plan, "official").to(device).eval())
    pair = made_up_episode(plan.parsed, 1, network.n_ids, shown=SHOWN)
    truth, prediction = pair.support_mask, pair.query_mask
    assert prediction is not None

    def one_by_one() -> list[tuple[int, int, int]]:
        rows = []
        for index in range(network.n_ids):
            mine, true = prediction == index, truth == index
            rows.append((int((mine & true).sum()), int((mine & ~true).sum()), int((~mine & true).sum())))
        return rows

    works: dict[str, Work] = {
        "reference": one_by_one,
        "confusion matrix": lambda: confusion(prediction, truth, network.n_ids),
        "floor confusion matrix": partial(network.predict, pair.to(device)),
    }
    yield from _figures("counting pixels", works, rounds, device)


def _drawing(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    """One scene of each synthetic dataset, in seconds of one core."""
    for name, rate in bench(rounds / 2, plan.trained).items():
        yield Figure("drawing a scene", name, 1 / rate, 1 / rate, 1 / rate)


def _judging(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    """The shipped network's scores in float32 and bf16, whatever the plan's size."""
    yield from judge_shipped(device)


def _scaling(plan: Plan, rounds: int, device: str) -> Iterator[Figure]:
    """The fast form's cost against classes in the support, side of the photos and pairs at a time; then loaders."""
    network = for_inference(_network(plan, "official", n_ids=20).to(device).eval())
    side, ids = plan.parsed, network.n_ids
    growing = {
        "classes": {n: made_up_episode(side, 1, ids, shown=n + 1) for n in CLASSES},
        "side in pixels": {s: made_up_episode(s, 1, ids, shown=SHOWN) for s in (side // 2, side, side * 2)},
        "pairs": {n: made_up_episode(side, n, ids, shown=SHOWN) for n in (1, 2, 4)},
    }
    for what, episodes in growing.items():
        works: dict[str, Work] = {str(n): partial(network.predict, one.to(device)) for n, one in episodes.items()}
        yield from _figures(f"scaling, {what}", works, rounds, device)
    with TemporaryDirectory(prefix="oshp-bench-") as folder:
        items = _training_items(plan, Path(folder), 0)
        works = {}
        for workers in (0, 1, 2, 4):
            more: dict[str, Any] = {"num_workers": workers, "persistent_workers": workers > 0}
            loader = DataLoader(items, plan.batch, collate_fn=collate, **more)
            works[str(workers)] = partial(deque, loader, maxlen=0)
        yield from _figures("scaling, workers", works, rounds, device)


KINDS: dict[str, Callable[[Plan, int, str], Iterator[Figure]]] = {
    "infer": _parsing, "train": _training, "data": _loading, "metrics": _scoring, "scores": _judging,
    "generator": _drawing, "scaling": _scaling,
}  # fmt: skip
