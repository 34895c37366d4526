"""Random numbers that depend on (name, seed, index, purpose) and on nothing else."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class Rng:
    """A stream of draws, made from uniform doubles of PCG64 only.

    NumPy promises the raw stream of a bit generator, not that of `Generator.normal` and its like; so everything is
    derived here from `random()`, and a scene stays the same across NumPy versions.
    """

    def __init__(self, *key: int | str) -> None:
        words = [_word(k) for k in key]
        self._source = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
        self._pool: list[float] = []

    def u(self) -> float:
        """One uniform number in [0, 1)."""
        if not self._pool:
            self._pool = self._source.random(128).tolist()
        return self._pool.pop()

    def uniform(self, low: float, high: float) -> float:
        """One uniform number in [low, high)."""
        return low + (high - low) * self.u()

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return self.u() < p

    def integer(self, low: int, high: int) -> int:
        """One integer in low..high, both ends included."""
        return low + min(int(self.u() * (high - low + 1)), high - low)

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> float:
        """About normal (sum of four uniforms, so bounded by 3.46 sd: no freak bodies)."""
        return mean + sd * (self.u() + self.u() + self.u() + self.u() - 2.0) * math.sqrt(3.0)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all alike."""
        return items[self.integer(0, len(items) - 1)]

    def weighted(self, table: dict[T, float]) -> T:
        """A key of the table, with probability proportional to its value."""
        x = self.u() * sum(table.values())
        for key, weight in table.items():
            x -= weight
            if x < 0:
                return key
        return key

    def field(self, side: int) -> np.ndarray:
        """Uniform numbers in [0, 1), float64 [side, side], straight from the source."""
        return self._source.random((side, side))

    def array(self, *shape: int) -> np.ndarray:
        """Uniform numbers in [-1, 1), float64, of the given shape."""
        n = math.prod(shape)
        return np.array([self.u() for _ in range(n)]).reshape(shape) * 2.0 - 1.0


def _word(key: int | str) -> int:
    """A 64-bit word for a part of a stream's key (Python's own string hash differs between processes)."""
    if isinstance(key, str):
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    return int(key) & 0xFFFFFFFFFFFFFFFF
