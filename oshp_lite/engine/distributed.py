"""One training or evaluation by several processes, each on a device of its own: `torchrun ... -m -- oshp_lite train`.

The first process leads: it owns the run store and writes every file. `company` joins the processes; whatever the lead
then calls of the functions marked `together`, the others call too. Alone, nothing in here does anything. How a training
step is shared: `shared_training`.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from itertools import chain, islice
from typing import Any, ParamSpec, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import Subset

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.registry import method

P = ParamSpec("P")
T = TypeVar("T")
PATIENCE = timedelta(days=7)
"""How long a process waits for the lead, which may be drawing people or waiting for another run meanwhile."""


@dataclass
class _Company:
    """This process among the others; `joined` while all of them are in one call."""

    rank: int
    size: int
    joined: bool = False


_company: _Company | None = None


def wanted() -> int:
    """Number of processes that the launcher has started (1: none)."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def check_shared(name: str) -> None:
    """Raise UserError for a method with a trainer of its own where the launcher has started several processes."""
    if wanted() > 1 and (method(name).trainer or method(name).domains):
        raise UserError(f"method {name} is trained by one process; start it without torchrun")


@contextmanager
def company() -> Iterator[bool]:
    """Join the processes that torchrun has started; yields whether this one leads. Alone it yields True.

    The others serve the lead until it leaves the block, then get False. A process that fails ends with its error, and
    the launcher ends the rest.
    """
    global _company
    if wanted() == 1:
        yield True
        return
    gpu = torch.cuda.is_available()
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
    _company = here = _Company(dist.get_rank(), dist.get_world_size())
    try:
        if here.rank == 0:
            try:
                yield True
            finally:
                if not here.joined:  # an error inside a common call leaves nobody to talk to
                    sent(None)
        else:
            _serve(here)
            yield False
    finally:
        _company = None
        dist.destroy_process_group()


def _serve(here: _Company) -> None:
    here.joined = True
    while (order := sent(None)) is not None:
        function, given, named, gpu = order
        try:  # what the lead has on its GPU, this process has on its own
            function(*(one.cuda() if gpu and isinstance(one, nn.Module) else one for one in given), **named)
        except UserError as error:
            raise UserError(f"process {here.rank}: {error}") from None


def sent(value: Any) -> Any:
    """The lead's value, for every process; the others get its tensors on the CPU."""
    held = [b""]
    if _company is not None and _company.rank == 0:
        torch.save(value, buffer := io.BytesIO())
        held = [buffer.getvalue()]
    dist.broadcast_object_list(held, src=0, device=torch.device("cpu"))
    if _company is not None and _company.rank == 0:
        return value
    return torch.load(io.BytesIO(held[0]), map_location="cpu", weights_only=False)  # by our own processes alone


def together(function: Callable[P, T]) -> Callable[P, T]:
    """Let every process of the company make this call when the lead makes it. Arguments are pickled."""

    @wraps(function)
    def call(*given: P.args, **named: P.kwargs) -> T:
        here = _company
        if here is None or here.joined:
            return function(*given, **named)
        here.joined = True
        gpu = any(isinstance(one, nn.Module) and any(part.is_cuda for part in one.parameters()) for one in given)
        sent((call, given, named, gpu))
        result = function(*given, **named)
        here.joined = False
        return result

    return call


def current() -> _Company | None:
    """The company while all of it is in one call, else None."""
    return _company if _company is not None and _company.joined else None


def leads() -> bool:
    """Whether this process decides and writes: alone, or the first of several."""
    here = current()
    return here is None or here.rank == 0


def processes() -> int:
    """Number of processes in the company (1: alone)."""
    return 1 if _company is None else _company.size


def decided(work: Callable[[], T]) -> T:
    """What the lead gets from `work`, which it alone does, for every process; so is its UserError."""
    here, result = current(), cast(Any, None)
    if here is None:
        return work()
    if here.rank == 0:
        try:
            result = work()
        except UserError as error:
            result = error
    result = sent(result)
    if isinstance(result, UserError):
        raise result
    return cast(T, result)


def anywhere(flag: bool) -> bool:
    """Whether any process has the flag set."""
    return flag if current() is None else bool(seen_anywhere(torch.tensor([[flag]])))


def whole(value: Tensor) -> Tensor:
    """A tensor [b,...] of every process as [B,...], in rank order; only this process's part carries a gradient."""
    assert _company is not None
    mine = value.detach().contiguous()
    parts = [torch.empty_like(mine) for _ in range(_company.size)]
    dist.all_gather(parts, mine)
    parts[_company.rank] = value
    return torch.cat(parts)


def own_part(value: Tensor) -> Tensor:
    """This process's part of a tensor [B,...]."""
    assert _company is not None
    return value.chunk(_company.size)[_company.rank]


def seen_anywhere(present: Tensor) -> Tensor:
    """Which ids any sample of any process has, bool [K], of bool [b,K]."""
    seen = present.any(0).byte()
    dist.all_reduce(seen, dist.ReduceOp.MAX)
    return seen.bool()


def own_batches(
    batches: Callable[[Any, Any], Iterator[tuple[list[int], Episode]]], episodes: Any, config: Any
) -> Iterator[tuple[list[int], Episode]]:
    """Yield this process's part of `batches(episodes, config)`, each batch as one process would make it.

    Photos are loaded by the process that parses them, except at native sizes in batches of several: there the sizes
    decide which pairs share a batch, and every process looks at all.
    """
    here, size = current(), config.eval.batch_size
    if here is None:
        yield from batches(episodes, config)
    elif size > 1 and getattr(episodes, "size", None) is None:
        yield from islice(batches(episodes, config), here.rank, None, here.size)
    else:
        starts = range(here.rank * size, len(episodes), here.size * size)
        own = [at for start in starts for at in range(start, min(start + size, len(episodes)))]
        for positions, batch in batches(Subset(episodes, own), config):
            yield [own[at] for at in positions], batch


def merged(positions: list[int], rows: list[T], *, lead_only: bool = False) -> list[T]:
    """All processes' rows in the order of their positions; with `lead_only` the others get none."""
    here = current()
    if here is None:
        return rows
    kept = [row.clone() if isinstance(row, Tensor) else row for row in rows]  # a view would take its batch along
    parts: list[Any] = [[]] * here.size
    own = list(zip(positions, kept, strict=True))
    if lead_only:
        dist.gather_object(own, parts if here.rank == 0 else None)
    else:
        dist.all_gather_object(parts, own)
    return [row for _, row in sorted(chain.from_iterable(parts), key=lambda one: one[0])]


def added(counts: Tensor) -> Tensor:
    """The sum of all processes' counts."""
    if current() is not None:
        dist.all_reduce(counts)
    return counts
