"""Optimisers and learning rates: the released code's SGD with stepped poly, AdamW with warm-up, cosine or a step."""

from __future__ import annotations

import math

import torch
from torch import nn

from oshp_lite.engine.config import TrainConfig


def rate(
    config: TrainConfig,
    epoch: int,
    step: int,
    steps_per_epoch: int,
    share: float | None = None,
    epochs: int | None = None,
) -> float:
    """Return the learning rate of a step, counted from 0 over the whole run, or over a stage of `epochs` epochs.

    poly with `poly_step` n (facts B.9): the rate changes only after epochs with epoch mod n = n - 1, then to
    lr (1 - epoch / epochs)^power; with "iteration" in every step. cosine falls to a hundredth. step falls to a tenth
    after five sixths (SST, section 4.1: epoch 125 of 150). The linear warm-up applies to all. `share` replaces
    step / steps where time, not steps, is the budget.
    """
    epochs = config.epochs if epochs is None else epochs
    done = step / max(1, epochs * steps_per_epoch) if share is None else share
    value = config.lr
    if config.schedule == "poly":
        if config.poly_step == "iteration" or share is not None:
            value *= (1 - min(done, 1.0)) ** config.poly_power
        else:
            last = (epoch + 1) // config.poly_step * config.poly_step - 1  # the latest epoch that changes the rate
            value *= (1 - last / epochs) ** config.poly_power if last >= 0 else 1.0
    elif config.schedule == "cosine":
        value *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    elif config.schedule == "step" and done >= 5 / 6:
        value *= 0.1
    if config.warmup_steps:
        value *= min(1.0, (step + 1) / config.warmup_steps)
    return value


def renews_optimizer(config: TrainConfig, epoch: int) -> bool:
    """Whether the released code makes a fresh optimiser (momentum lost) at the start of this epoch.

    Never where time is the budget: the rate then changes with every step, as under "iteration".
    """
    if config.schedule != "poly" or not config.reset_momentum or config.poly_step == "iteration" or config.minutes:
        return False
    return epoch % config.poly_step == config.poly_step - 1


def make_optimizer(config: TrainConfig, module: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser over all parameters that learn.

    SGD decays every weight (biases, BatchNorm and scale too), as released; AdamW decays matrices and kernels only. Each
    group's `factor` multiplies the rate: `encoder_lr` for the parameters of an encoder, 1 for the others.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        factor = config.encoder_lr if "encoder" in name.split(".") else 1.0  # a stage's encoder too
        decays = config.optimizer == "sgd" or parameter.dim() > 1
        groups.setdefault((factor, config.weight_decay if decays else 0.0), []).append(parameter)
    listed = [{"params": own, "factor": factor, "weight_decay": decay} for (factor, decay), own in groups.items()]
    if config.optimizer == "sgd":
        return torch.optim.SGD(listed, lr=config.lr, momentum=config.momentum)
    return torch.optim.AdamW(listed, lr=config.lr)
