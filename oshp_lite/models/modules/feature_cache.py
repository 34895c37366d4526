"""Features of frozen networks, kept by the content of the photo they belong to."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn


class FeatureCache:
    """Least recently used features first out; at most `limit_mb` are held, on the device they were made on.

    Everything held is dropped when a weight or statistic of `owners` has changed since, in place or by replacement.
    """

    def __init__(self, owners: list[nn.Module], limit_mb: float) -> None:
        self._owners = owners
        self._limit = int(limit_mb * 2**20)
        self._held: OrderedDict[bytes, list[Tensor]] = OrderedDict()
        self._bytes = 0
        self._state: object = None
        self.hits = 0
        self.misses = 0

    def __len__(self) -> int:
        """Number of photos whose features are held."""
        return len(self._held)

    def __deepcopy__(self, memo: dict[int, object]) -> FeatureCache:
        """A copied network starts with an empty cache over its own stages."""
        import copy

        return FeatureCache(copy.deepcopy(self._owners, memo), self._limit / 2**20)

    def __getstate__(self) -> dict[str, object]:
        """Pickle without what is held."""
        return {**self.__dict__, "_held": OrderedDict(), "_bytes": 0, "_state": None}

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self._bytes = 0

    def __call__(self, images: Tensor, make: Callable[[Tensor], list[Tensor]]) -> list[Tensor]:
        """Return `make(images)`, a list of tensors [B,...]; photos met before are not computed again.

        On the CPU photos are computed one by one, so that a result does not depend, not even in its last bit, on which
        photos shared a batch or were held.
        """
        state = self._fingerprint()
        if state is None:
            return make(images)
        if state != self._state:
            self.clear()
            self._state = state
        keys = [_key(image) for image in images]
        wanted = [place for place, key in enumerate(keys) if key not in self._held]
        self.misses += len(wanted)
        self.hits += len(keys) - len(wanted)
        fresh: dict[int, list[Tensor]] = {}
        for places in [[place] for place in wanted] if images.device.type == "cpu" else [wanted] if wanted else []:
            made = make(images[places])
            fresh |= {place: [part[row : row + 1] for part in made] for row, place in enumerate(places)}
        parts = [fresh[place] if place in fresh else self._held[key] for place, key in enumerate(keys)]
        for place, key in enumerate(keys):
            if place in fresh and key not in self._held:
                # a slice would keep its whole batch alive
                self._hold(key, [part.clone() for part in fresh[place]])
            elif key in self._held:
                self._held.move_to_end(key)
        return [torch.cat(column) for column in zip(*parts, strict=True)]

    def _hold(self, key: bytes, parts: list[Tensor]) -> None:
        self._held[key] = parts
        self._bytes += _size(parts)
        while self._bytes > self._limit and self._held:
            _, oldest = self._held.popitem(last=False)
            self._bytes -= _size(oldest)

    def _fingerprint(self) -> object:
        """What changes when a weight does; None when torch does not count changes (inference tensors)."""
        tensors = [t for owner in self._owners for t in (*owner.parameters(), *owner.buffers())]
        if any(t.is_inference() for t in tensors):
            return None
        return [(t.data_ptr(), t._version, t.dtype, t.device) for t in tensors]


def _size(parts: list[Tensor]) -> int:
    return sum(part.numel() * part.element_size() for part in parts)


def _key(image: Tensor) -> bytes:
    """A digest of a photo float [3,H,W]: values, size, number type, and what autocast would make of it."""
    plain = image.detach().contiguous()
    half = torch.get_autocast_dtype(image.device.type) if torch.is_autocast_enabled(image.device.type) else None
    digest = hashlib.blake2b(f"{tuple(plain.shape)} {plain.dtype} {half}".encode(), digest_size=16)
    digest.update(plain.cpu().flatten().view(torch.uint8).numpy().data)
    return digest.digest()
