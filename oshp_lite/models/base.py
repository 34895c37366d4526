"""What every one-shot parser offers, and what it answers with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from oshp_lite.data.episode import Episode


@dataclass
class Parsing:
    """A parser's answer: named logits at the query's size.

    fine   float [B,C,H,W] logits over raw ids (1-way: C = 2, background and the asked class)
    agm    float [B,C,H,W] of the attention guidance module, or None
    coarse float [B,2,H,W] scene against person, or None
    extras what the parser's own losses need (projected features, prototypes); no reader relies on its keys
    """

    fine: Tensor
    agm: Tensor | None = None
    coarse: Tensor | None = None
    extras: dict[str, Tensor] = field(default_factory=dict)

    @property
    def npm(self) -> Tensor:
        """The nearest prototype module's logits: the `fine` answer of EOP-Net."""
        return self.fine

    @property
    def ncm(self) -> Tensor:
        """The nearest centroid module's logits, scale included: the `fine` answer of POPNet."""
        return self.fine


@runtime_checkable
class OneShotParser(Protocol):
    """The contract of every method: forward never sees the query's mask.

    `progress` is epoch / epochs in [0,1), None at test. `losses` holds at least `total`, which the trainer minimises.
    """

    training: bool

    def __call__(self, batch: Episode, progress: float | None = None) -> Parsing:
        """Parse every query of the batch."""
        ...

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the terms of the objective; `total` is what the trainer minimises."""
        ...

    def predict(self, batch: Episode) -> Tensor:
        """Answer with ids, int64 [B,H,W]."""
        ...


_BUILDERS: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Enter a builder `f(**model_options) -> parser` under a method's name; refuses a name taken already."""

    def enter(builder: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        if name in _BUILDERS:
            raise ValueError(f"a method named {name!r} is registered already")
        _BUILDERS[name] = builder
        return builder

    return enter


def methods() -> tuple[str, ...]:
    """Names of all registered methods, sorted."""
    return tuple(sorted(_BUILDERS))


def builder(name: str) -> Callable[..., nn.Module]:
    """The builder registered under a method's name. Raises KeyError for an unknown name."""
    if name not in _BUILDERS:
        raise KeyError(f"unknown method {name!r}; known: {', '.join(methods())}")
    return _BUILDERS[name]


def build(name: str, **options: object) -> nn.Module:
    """Build the method `name` with its own options. Raises KeyError for an unknown name."""
    return builder(name)(**options)
