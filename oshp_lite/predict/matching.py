"""Photos parsed by `models.matching`: a photo is parsed once without any support, then compared with the supports."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from oshp_lite.data.episode import IGNORE
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace
from oshp_lite.models.matching.network import Matching, Parsed, marked
from oshp_lite.models.modules.feature_cache import Recent, digest
from oshp_lite.models.modules.layers import resize
from oshp_lite.predict.heads import View
from oshp_lite.predict.maps import Maps


class ParsedPhotos:
    """The plain parser with a memory: the last pictures' logits, at most `limit_mb` MB of them."""

    def __init__(self, network: Matching, limit_mb: int = 256) -> None:
        self.network, self.held, self.made = network, Recent(limit_mb * 2**20), 0
        self.people: dict[bytes, np.ndarray] = {}  # where the person is in the photos met so far

    @torch.no_grad()
    def logits(self, picture: Tensor) -> Sequence[Tensor]:
        """Class logits, scene against person, and features, as `Matching.logits`, of a picture float [3,H,W]."""
        key = digest(picture[None])
        if key not in self.held:
            self.made += 1
            made = self.network.logits(picture[None])
            if not all(bool(torch.isfinite(one).all()) for one in made):
                raise UserError(
                    "the network's output is not finite: its weights are damaged; train it again or name another"
                )
            self.held.keep(key, list(made))
        return self.held.keep(key, self.held[key])

    def __call__(self, picture: Tensor) -> Parsed:
        """Probabilities of a picture float [3,H,W], at stride 4."""
        return self.network.parsed(*self.logits(picture))

    def person(self, picture: Tensor) -> Tensor:
        """Where the person is, bool [H,W]."""
        foreground = resize(self.logits(picture)[1], picture.shape[-2:])[0]
        return foreground[1] > foreground[0]


class MatchedHead:
    """The network set up for the classes of some supports; called with a picture it gives its `Maps`.

    A class's share of each known class and its log-odds are averaged over the supports that show it. `taken_for` names
    the known class that a mark without a name of `named` is taken to mean.
    Raises UserError for class names that do not fit.
    """

    def __init__(self, photos: ParsedPhotos, views: Sequence[View], named: dict[int, str], space: LabelSpace) -> None:
        self.photos, self.network = photos, photos.network
        ids = sorted({int(v) for view in views for v in view.marked.unique() if v > 0 and v != IGNORE})
        unknown = sorted(set(named) - set(ids))
        if unknown:
            raise UserError(f"--classes names id {unknown[0]}, which the support mask does not hold; it holds {ids}")
        self.slots = {index: space.kept_as[space.id_of(named[index])] if index in named else index for index in ids}
        meant = [self.slots[index] for index in named]
        for index, name in named.items():
            if self.slots[index] == 0 or meant.count(self.slots[index]) > 1:
                raise UserError(f"--classes {index}={name}: this class is dropped or named twice; leave it unmapped")
        supports = [self._support(view) for view in views]
        self.shown = {
            index: [
                (parsed, marked(view.marked[None] == index, parsed.rows.shape[-2:]))
                for parsed, view in zip(supports, views, strict=True)
                if bool((view.marked == index).any())
            ]
            for index in ids
        }
        self.shares = torch.stack([self._shares(index, index in named) for index in ids])
        best = {
            index: row for index, row in zip(ids, self.shares, strict=True) if index not in named and row.max() > 0.5
        }
        self.taken_for = {index: space.class_name(int(row.argmax())) for index, row in best.items()}

    def _support(self, view: View) -> Parsed:
        """A support parsed, with the person that the user marked where there is one."""
        parsed = self.photos(view.picture)
        if not view.given:
            return parsed
        return parsed._replace(person=marked(view.person[None] == 1, parsed.person.shape[-2:]))

    def _shares(self, index: int, is_named: bool) -> Tensor:
        if is_named and bool(self.network.known[self.slots[index]]):
            share = torch.zeros(self.network.n_ids + 1, device=self.network.known.device)
            share[self.slots[index]] = 1
            return share
        return torch.cat([self.network.shares(*one) for one in self.shown[index]]).mean(0)

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> Maps:
        """Parse a picture float [3,h,w]. Raises UserError where the logits are not finite."""
        query, size = self.photos(picture), picture.shape[-2:]
        odds = [
            torch.stack([self.network.odds(query, *one)[0] for one in self.shown[index]]).mean(0)
            for index in self.slots
        ]
        margins = self.network.margins(query, self.shares, torch.stack(odds))
        coarse = resize(self.photos.logits(picture)[1], size, "bilinear")[0]
        return Maps(resize(margins[None], size, "bilinear")[0], coarse)
