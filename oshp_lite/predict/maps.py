"""Logits of a picture, kept at the cells they were computed at and enlarged a band of rows at a time.

So a large photo needs little memory: with K classes, about 4 (K + 8) MiB at a time beside what it holds itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from oshp_lite.predict.photos import Box, inside

BAND = 2**20
"""Pixels of a photo that are decided at a time: a class needs a few float32 maps of so many, 4 MiB each."""


@dataclass(frozen=True)
class Maps:
    """Logits of a picture: `margins` float [K,h,w] of the classes over background, in slot order.

    coarse   float [2,h,w] scene against person, or None
    rivals   float [h,w] the best stored class over background, or None
    size     height and width of the picture; cells lie on it with corners on corners (the papers' code), and where it
             has as many pixels as cells each pixel is one
    box      the part of the picture that counts; None: all of it
    """

    margins: Tensor
    coarse: Tensor | None = None
    rivals: Tensor | None = None
    size: tuple[int, int] | None = None
    box: Box | None = None

    def _each(self, change: Callable[[Tensor], Tensor]) -> Maps:
        given = {name: getattr(self, name) for name in ("margins", "coarse", "rivals")}
        made: dict[str, Any] = {name: None if value is None else change(value) for name, value in given.items()}
        return replace(self, **made)

    @property
    def part(self) -> Box:
        """The part of the picture that counts."""
        high, wide = self.size or (self.margins.shape[-2], self.margins.shape[-1])
        return self.box or Box(0, high, 0, wide)

    def inside(self, box: Box) -> Maps:
        """The maps of a part of the picture."""
        return replace(self, box=box)

    def mirrored(self) -> Maps:
        """The maps of the mirrored picture."""
        return self._each(lambda x: x.flip(-1))

    def mean(self, other: Maps) -> Maps:
        """The average of two maps of one picture."""
        pairs = ((self.margins, other.margins), (self.coarse, other.coarse), (self.rivals, other.rivals))
        margins, coarse, rivals = (None if a is None or b is None else (a + b) / 2 for a, b in pairs)
        return replace(self, margins=cast(Tensor, margins), coarse=coarse, rivals=rivals)

    @property
    def logits(self) -> Tensor:
        """Margins over the better of background and rival, float [K,h,w]; for maps of pixels."""
        return self.margins if self.rivals is None else self.margins - self.rivals.clamp(min=0)

    def pixels(self, first: int = 0, last: int | None = None, *, most: int | None = None) -> Maps:
        """One value a pixel of the part that counts, of its rows from `first` to before `last`.

        most: the longer side from which on pixels are left out, as many as make the part so large.
        """
        box = self.part
        last = box.shape[0] if last is None else last
        size = self.size or (self.margins.shape[-2], self.margins.shape[-1])
        factor = 1 if most is None else max(1.0, max(box.shape) / most)
        if size == tuple(self.margins.shape[-2:]) and factor == 1:
            return replace(self._each(lambda x: inside(x, box)[..., first:last, :]), size=None, box=None)
        axes = []
        for side, start, count, cells in zip(size, (box.top + first, box.left), (last - first, box.shape[1]),
                                             self.margins.shape[-2:], strict=True):  # fmt: skip
            at = start + positions(count, math.ceil(count / factor))
            axes.append(at * ((cells - 1) / max(1, side - 1)))
        rows, columns = axes
        return replace(self._each(lambda x: read(read(x, rows, -2), columns, -1)), size=None, box=None)

    def bands(self, size: tuple[int, int]) -> Iterator[tuple[slice, Maps, Callable[[Tensor], Tensor]]]:
        """The rows of a photo of `size`, BAND pixels at a time: which ones, the pixels they are made of, and how.

        Whoever adds up the bands has what the whole would give: bilinear, pixels as areas.
        """
        high, wide = self.part.shape
        rows, columns = positions(high, size[0]), positions(wide, size[1])
        step = max(1, BAND // size[1])
        for top in range(0, size[0], step):
            at = rows[top : top + step]
            first = int(at[0])
            part = self.pixels(first, min(high, int(at[-1]) + 2))
            own = at - first
            yield (
                slice(top, top + len(at)),
                part,
                lambda one, own=own: read(read(one.float(), own, -2), columns, -1),  # type: ignore[misc]
            )


def positions(count: int, wanted: int) -> Tensor:
    """Where `wanted` evenly spaced pixels lie on `count` of them, as areas: float64 [wanted] from 0 to count - 1."""
    at = (torch.arange(wanted, dtype=torch.float64) + 0.5) * (count / wanted) - 0.5
    return at.clamp(0, count - 1)


def read(values: Tensor, at: Tensor, axis: int) -> Tensor:
    """Values read at positions float64 [n] along an axis, linearly between neighbours."""
    low = at.floor().long()
    shape = [1] * values.dim()
    shape[axis] = len(at)
    share = (at - low).to(values.dtype).view(shape).to(values.device)
    high = (low + 1).clamp(max=values.shape[axis] - 1)
    below, above = (values.index_select(axis, place.to(values.device)) for place in (low, high))
    return torch.lerp(below, above, share)
