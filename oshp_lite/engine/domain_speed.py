"""What SST's modules cost: training speed and memory with and without them; at test nothing is left of them."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from oshp_lite.data.domains import DomainBatch
from oshp_lite.data.synthetic import scene
from oshp_lite.models.sst.config import SSTConfig
from oshp_lite.models.sst.network import SST

DOMAINS = ("pascal", "atr", "cihp")
FORMS: dict[str, dict[str, Any]] = {
    "network alone": {"auxiliary": False, "transfer": "none"},
    "with MSA and MSE": {"transfer": "none"},
    "with MSA, MSE and MST": {},
}
"""What is trained -> changes against the full form; the first is the parsing network that is left at test."""


class ModuleCost(NamedTuple):
    """One form: training steps a second, MiB kept for the backward pass, parameters, seconds a photo at test.

    same  the prediction is that of the network without modules, to the bit
    """

    form: str
    steps_per_second: float
    kept_mib: float
    parameters: int
    test_seconds: float
    same: bool


def drawn_batch(size: int, each: int) -> DomainBatch:
    """`each` drawn people of every domain, with their labels."""
    images, masks, people = [], [], []
    for place, name in enumerate(DOMAINS):
        for index in range(each):
            made = scene("synth-atr", 31 + place, index, size)
            images.append(torch.tensor(made.image.copy()).permute(2, 0, 1).float() * (2 / 255) - 1)
            masks.append(torch.tensor(made.mask(name)).long())
            people.append((masks[-1] > 0).long())
    image, mask, person = torch.stack(images), torch.stack(masks), torch.stack(people)
    return DomainBatch(
        image, image, mask, person, mask, person, domain=torch.arange(len(DOMAINS)).repeat_interleave(each)
    )


def measure_modules(size: int = 128, each: int = 2, seconds: float = 3.0, device: str = "cpu") -> list[ModuleCost]:
    """Measure every form in turn on the same photos, `each` a domain, for `seconds` of training steps each.

    Memory is counted, not sampled: the bytes of what one step's backward pass needs, parameters left out. On a CPU
    seconds are those of the processor.
    """
    batch = drawn_batch(size, each).to(device)
    return [_measured(form, changes, cast(DomainBatch, batch), seconds) for form, changes in FORMS.items()]


def _measured(form: str, changes: dict[str, Any], batch: DomainBatch, seconds: float) -> ModuleCost:
    place = batch.query_image.device
    network = SST(SSTConfig.preset("lite", domains=DOMAINS, **changes), seed=0).to(place)
    chosen = torch.optim.AdamW(network.parameters(), lr=1e-3)
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, Tensor] = {}  # the tensors themselves, so that no address is given away twice

    def note(tensor: Tensor) -> Tensor:
        if (address := tensor.untyped_storage().data_ptr()) not in own:
            kept[address] = tensor
        return tensor

    def step() -> None:
        chosen.zero_grad()
        network.losses(network(batch, progress=0.0), batch, 0.0)["total"].backward()
        chosen.step()

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        step()  # it warms up, too
    bytes_kept = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    kept.clear()
    began, count = _now(place), 0
    while not count or _now(place) - began < seconds:
        step()
        count += 1
    pace = count / max(_now(place) - began, 1e-9)
    network.eval()
    photo, bare = batch.query_image[:1], network.plain().to(place).eval()
    began = _now(place)
    made = network.parse(photo)
    took = _now(place) - began
    same = all(torch.equal(ids, made[name]) for name, ids in bare.parse(photo).items())
    total = sum(parameter.numel() for parameter in network.parameters())
    return ModuleCost(form, pace, bytes_kept / 2**20, total, took, same)


def _now(place: torch.device) -> float:
    if place.type == "cuda":
        torch.cuda.synchronize(place)
        return time.perf_counter()
    return time.process_time()
