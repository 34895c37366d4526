"""Works timed in turn within one run; their multiply-accumulates; their peak memory."""

from __future__ import annotations

import multiprocessing
import re
import resource
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Work = Callable[[], object]


@dataclass(frozen=True)
class Timing:
    """Seconds of a work in every round."""

    seconds: tuple[float, ...]

    @property
    def middle(self) -> float:
        """The median."""
        return median(self.seconds)

    @property
    def spread(self) -> tuple[float, float]:
        """Lower and upper quartile."""
        if len(self.seconds) < 2:
            return self.middle, self.middle
        low, _, high = quantiles(self.seconds, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True)
class Figure:
    """A row of the benchmark. Seconds per call with quartiles; ratios within the run; billions of multiply-accumulates.

    `speedup` over the path's reference, `above_floor` the multiple of the floor's time, `gmac` for networks, `memory`
    MiB, `points` how far scores are from those of float32, in points of mIoU; None where the path has no such thing.
    """

    path: str
    name: str
    seconds: float
    low: float
    high: float
    speedup: float | None = None
    above_floor: float | None = None
    gmac: float | None = None
    memory: float | None = None
    points: float | None = None


def in_turn(works: Mapping[str, Work], *, rounds: int = 5, device: str = "cpu") -> dict[str, Timing]:
    """Run every work once to warm up, then all of them one after another, `rounds` times.

    Whatever else slows the machine for a while slows all of them, so their ratios stay. On a GPU a work lasts until
    the device has finished.
    """

    def wait() -> None:
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)

    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            wait()
            began = time.perf_counter()
            work()
            wait()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def multiply_accumulates(work: Work) -> int:
    """Multiply-accumulates of a work's convolutions and matrix products, backward passes included."""
    with FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops()) // 2


def peak_memory(make: Callable[..., Work], *options: Any, device: str = "cpu") -> float:
    """MiB that a work adds to what its process held before: `make(*options)` builds it, then it runs twice.

    On a CPU the largest resident set of a new process, since torch counts none; on a GPU torch's own count.
    """
    if device.startswith("cuda"):
        work = make(*options)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        for _ in range(2):
            work()
        return (torch.cuda.max_memory_allocated(device) - held) / 2**20
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send_peak, args=(sender, torch.get_num_threads(), make, options))
    process.start()
    sender.close()
    try:
        return float(receiver.recv())
    except EOFError:
        raise RuntimeError("the process whose memory was to be measured has stopped") from None
    finally:
        process.join()


def _send_peak(sender: Any, threads: int, make: Callable[..., Work], options: tuple[Any, ...]) -> None:
    torch.set_num_threads(threads)
    work = make(*options)
    before = _resident()
    for _ in range(2):
        work()
    sender.send(_resident() - before)


def _resident() -> float:
    """The largest resident set of this process so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux: `getrusage` would start from the parent's
        return float(re.findall(r"VmHWM:\s*(\d+) kB", status.read_text())[0]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
