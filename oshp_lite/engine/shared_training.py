"""A training step of several processes: that of one process on the whole batch, up to the order of its sums.

Each process loads and parses its share of a batch; the rest follows from where a network mixes samples:

* losses are means over a batch's pixels: they are computed from the gathered parsings, and gradients are added up;
* BatchNorm in training mode takes the statistics of all shares together;
* prototype banks meet the samples in the batch's order, whichever process has them;
* ids that a support of any share shows are treated alike by all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from oshp_lite.data.episode import Episode
from oshp_lite.data.loading import EpochBatches
from oshp_lite.engine.distributed import current, own_part, processes, seen_anywhere, sent, whole
from oshp_lite.errors import UserError
from oshp_lite.models.modules.layers import BatchNorm
from oshp_lite.models.modules.prototypes import PrototypeBank

T = TypeVar("T")


def spread(training: Any) -> None:
    """Make a `Training` that the lead has restored one of all processes. Alone it does nothing.

    From here on every process has the lead's weights, optimiser state and position, takes its share of every batch, and
    `training.compute` gives the losses of the whole batch. Raises UserError for what several processes cannot train.
    """
    here = current()
    if here is None or not training.parser.trainable:
        return
    network, sampler = training.parser, training.batches.sampler
    if fault := why_alone(training.config, network, training.device, sampler.batch_size, here.size):
        raise UserError(fault)
    sampler.__class__ = _Share
    state = sent((network.state_dict(), training.optimizer.state_dict(), training.position, training.code))
    if here.rank:
        network.load_state_dict(state[0])
        training.optimizer.load_state_dict(state[1])
        training.position, training.code = state[2:]
        sums = training.position.sums
        training.position.sums = {name: value.to(training.device) for name, value in sums.items()}
    training.compute = share(network)


def share(network: nn.Module) -> Callable[[Episode, float], dict[str, Tensor]]:
    """Make a network one of all processes; returns what gives the losses of the whole batch for a share of it.

    Their gradients are those of the whole batch on every process, and so are banks and statistics afterwards.
    """
    _mix(network)
    return DistributedDataParallel(_Step(network), find_unused_parameters=True)


def why_alone(config: Any, network: nn.Module, device: torch.device, batch: int, size: int) -> str:
    """Say what keeps `size` processes from training a network in batches of `batch`; "" for nothing."""
    alone = f"method {config.model.method} in {config.data.way}-way is trained by one process"
    if config.train.minutes:
        return "train.minutes goes by one process's clock; set train.epochs for several processes"
    if device.index is not None:
        return f"train.device is {device}, but every process takes a GPU of its own; set train.device=cuda"
    if batch % size:
        return f"train.batch_size is {batch}, which {size} processes cannot share evenly; choose a multiple of {size}"
    if any(isinstance(part, nn.modules.dropout._DropoutNd) and part.p for part in network.modules()):
        return f"{alone}: it drops features at random over the whole batch"
    if config.data.way == "1" and hasattr(network, "seen"):
        return f"{alone}: its softmax depends on the ids of earlier samples in the batch"
    return ""


class _Share(EpochBatches):
    """Batches of which this process takes its part, in rank order."""

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        here = current()
        assert here is not None
        for batch in super().__iter__():
            part = len(batch) // here.size
            yield batch[here.rank * part : (here.rank + 1) * part]


class _Step(nn.Module):
    """Losses of the whole batch, by parsing this process's share of it.

    Every process computes them from all parsings, and its backward pass goes into its own: gradients of the processes
    add up. DistributedDataParallel takes their mean, so they are multiplied by the number of processes here.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Episode, progress: float) -> dict[str, Tensor]:
        network = cast(Any, self.network)
        parsing = _gathered(network(batch, progress=progress))
        losses: dict[str, Tensor] = network.losses(parsing, _gathered(batch), progress)
        return {name: value if name == "total" else value.detach() for name, value in losses.items()}


def _gathered(value: T) -> T:
    """An Episode or a Parsing of all shares in rank order."""
    if isinstance(value, Tensor):
        return cast(T, whole(_multiplied(value)))
    if isinstance(value, dict):
        return cast(T, {name: _gathered(one) for name, one in value.items()})
    if is_dataclass(value) and not isinstance(value, type):
        changes = {one.name: getattr(value, one.name) for one in fields(value)}
        kept = {name: one for name, one in changes.items() if isinstance(one, (Tensor, dict))}
        return cast(T, replace(value, **{name: _gathered(one) for name, one in kept.items()}))
    return value


def _multiplied(value: Tensor) -> Tensor:
    if value.requires_grad:
        value = value.view_as(value)
        value.register_hook(lambda gradient: gradient * processes())
    return value


def _mix(network: nn.Module) -> None:
    """Let the parts of a network that mix samples mix those of all processes: each becomes a subclass of itself.

    Names, parameters and hooks stay, and so does whatever holds them (the optimiser, a cache).
    """
    for part in network.modules():
        if type(part) is BatchNorm:
            part.__class__ = _Norm
        elif type(part) is PrototypeBank:
            part.__class__ = _Bank
        elif hasattr(type(part), "metric_parts"):  # a DualMetric
            part.__class__ = type(f"Shared{type(part).__name__}", (_Dual, type(part)), {})


class _Norm(BatchNorm):
    """BatchNorm over all processes' samples in training mode; on CPUs too, unlike torch's SyncBatchNorm."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        made, mean, square, count = _Normalised.apply(input, self.weight, self.bias, self.eps)
        for running, value in ((self.running_mean, mean), (self.running_var, square / (count - 1))):
            if running is not None:
                running.lerp_(value, self.momentum or 0.0)
        return cast(Tensor, made)


class _Normalised(torch.autograd.Function):
    """(x - m) / sqrt(v + eps) * weight + bias with mean m and variance v over all processes' float [b,C,h,w].

    Returns it with m, the sum of squared deviations and the number of values behind them. Numbers of samples may
    differ. Means and deviations of the parts are combined as in Chan, Golub and LeVeque (1983).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        wide, channels = x.to(weight.dtype), x.shape[1]
        mean = wide.mean((0, 2, 3))
        square = (wide - _maps(mean)).square().sum((0, 2, 3))
        number = mean.new_tensor([x.numel() / channels])
        table = whole(torch.cat([mean, square, number])[None])
        means, squares, counts = table[:, :channels], table[:, channels:-1], table[:, -1:]
        count = counts.sum()
        mean = (counts * means).sum(0) / count
        square = (squares + counts * (means - mean).square()).sum(0)
        scale = (square / count + eps).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, square, count)
        return ((wide - _maps(mean)) * _maps(scale * weight) + _maps(bias)).to(x.dtype), mean, square, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        gradient = gradients[0].to(weight.dtype)
        normal = (x.to(weight.dtype) - _maps(mean)) * _maps(scale)
        of_bias, of_weight = gradient.sum((0, 2, 3)), (gradient * normal).sum((0, 2, 3))
        sums = torch.stack([of_bias, of_weight])
        dist.all_reduce(sums)
        constant, slope = sums / count
        of_x = _maps(scale * weight) * (gradient - _maps(constant) - normal * _maps(slope))
        return of_x.to(x.dtype), of_weight, of_bias, None


def _maps(values: Tensor) -> Tensor:
    """float [C] to go with float [b,C,h,w]."""
    return values[:, None, None]


class _Bank(PrototypeBank):
    """A bank that takes in all processes' samples in the batch's order, in training mode."""

    def forward(self, static: Tensor, *, use_static: bool) -> Tensor:
        if not self.training:
            return super().forward(static, use_static=use_static)
        return own_part(super().forward(whole(static), use_static=use_static))


class _Dual(nn.Module):
    """What `DualMetric` and POPNet's stage make of an id in training, after a look at all processes' samples."""

    def dual(self, query: Tensor, prototypes: Tensor, *more: Any) -> Any:
        """An id that one process takes by itself every process does: BatchNorm sees the whole batch of each id.

        A prototype of 1e-30 counts as one and is similar to nothing: its map vanishes beside the features.
        """
        if self.training and cast(Any, self.config).trunk_bn == "per_id":
            present = prototypes.sum(-1) != 0
            elsewhere = seen_anywhere(present) & ~present
            prototypes = prototypes + 1e-30 * elsewhere[..., None].to(prototypes.dtype)
        return cast(Any, super()).dual(query, prototypes, *more)

    def k_way(self, query: Tensor, means: Tensor, present: Tensor, *more: Any) -> Any:
        """The ids that some support of the batch shows are those of the whole batch (POPNet's "ucs")."""
        if self.training and getattr(self.config, "screening_ids", "fixed") == "ucs":
            present = present | seen_anywhere(present)
        return cast(Any, super()).k_way(query, means, present, *more)

    def _by_place(self, means: Tensor, *more: Any) -> Any:
        """The released slip writes the bank by itself."""
        made = cast(Any, super())._by_place
        return own_part(made(whole(means), *more)) if self.training else made(means, *more)
