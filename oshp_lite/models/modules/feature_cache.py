"""Tensors of frozen networks, kept by the content of what they were made from."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf

import torch
from torch import Tensor, nn


def digest(*parts: object) -> bytes:
    """A hash of tensors (values, sizes, number types) and of whatever else says what it is by its `repr`."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, Tensor):
            made.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
            part = tuple(part.shape), part.dtype
        made.update(repr(part).encode())
    return made.digest()


class Recent(OrderedDict[bytes, Sequence[Tensor]]):
    """Tensors by digest; the least recently kept go when all together exceed `limit` bytes."""

    def __init__(self, limit: float = inf) -> None:
        super().__init__()
        self.limit = limit

    def keep(self, key: bytes, parts: Sequence[Tensor]) -> Sequence[Tensor]:
        """Hold tensors, or hold them longer; returns them."""
        self[key] = parts
        self.move_to_end(key)
        while self and sum(part.nbytes for held in self.values() for part in held) > self.limit:
            self.popitem(last=False)
        return parts


class FeatureCache:
    """Features of photos, at most `limit_mb` of them, on the device they were made on.

    Everything held is dropped when a weight or statistic of `owners` has changed since, in place or by replacement.
    """

    def __init__(self, owners: list[nn.Module], limit_mb: float) -> None:
        self._owners = owners
        self._held = Recent(int(limit_mb * 2**20))
        self._state: object = None
        self.hits = self.misses = 0

    def __len__(self) -> int:
        """Number of photos whose features are held."""
        return len(self._held)

    def __call__(self, images: Tensor, make: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Return `make(images)`, a list of tensors [B,...]; photos met before are not computed again.

        On the CPU photos are computed one by one, so that a result does not depend, not even in its last bit, on which
        photos shared a batch or were held.
        """
        tensors = [t for owner in self._owners for t in (*owner.parameters(), *owner.buffers())]
        if any(t.is_inference() for t in tensors):  # torch does not count their changes
            return make(images)
        state = [(t.data_ptr(), t._version, t.dtype, t.device) for t in tensors]
        if state != self._state:
            self._held.clear()
            self._state = state
        kind = images.device.type
        half = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        keys = [digest(image, half) for image in images]
        rows = {key: self._held[key] for key in keys if key in self._held}
        places = [place for place, key in enumerate(keys) if key not in rows]
        self.hits, self.misses = self.hits + len(keys) - len(places), self.misses + len(places)
        for group in [[place] for place in places] if kind == "cpu" else [places] * bool(places):
            made = make(images[group])
            # a slice would keep its whole batch alive
            rows |= {keys[place]: [part[row : row + 1].clone() for part in made] for row, place in enumerate(group)}
        for key in keys:
            self._held.keep(key, rows[key])
        return [torch.cat(column) for column in zip(*(rows[key] for key in keys), strict=True)]
