"""From pictures to logits: a network set up once for the classes of some supports, then run on any number of queries.

EOP-Net's features are computed once a photo. Several supports are laid below one another as one map of features, so
that a class's prototype is the mean over all its marked cells (masked average pooling, journal, Eqs. 1 and 2), whatever
photo they stand in. Of other methods each support gives its own logits, and the logits are averaged.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.errors import UserError
from oshp_lite.labels import LabelSpace
from oshp_lite.models.base import OneShotModel
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.modules.feature_cache import Recent, digest
from oshp_lite.models.modules.metric import NearestPrototype, cosine_maps
from oshp_lite.models.modules.prototypes import PrototypeBank, masked_average
from oshp_lite.predict.maps import Maps
from oshp_lite.predict.photos import CELL, cells

STORED_SHARE = 0.75
"""Share of the stored prototype in that of a named class; the marked pixels have the rest."""
REST = -1
"""The support person's unmarked pixels, beside the user's ids."""
CLAIMED = 0.9
"""A stored class whose cosine with a marked class's prototype reaches this counts as that class and is not a rival."""


@dataclass(frozen=True)
class View:
    """A support as the network sees it: picture float [3,h,w]; marked int64 [h,w] of user ids, 0, 255 and REST; person.

    `person` int64 [h,w] in {0,1,255}; `given` says that the user marked it.
    """

    picture: Tensor
    marked: Tensor
    person: Tensor
    given: bool = False


def prepared(
    network: OneShotModel, ids: Sequence[int], named: dict[int, str], space: LabelSpace, *, rest: bool
) -> tuple[OneShotModel, dict[int, int]]:
    """A copy of the network for these classes, and {user id: network id}, in order, with `rest` REST last.

    A named class has its own id there, any other one whose stored prototype is empty, or is emptied in the copy. The
    copy shares all weights but the stored prototypes; nothing is written into the network. Raises UserError for names
    that do not fit.
    """
    unknown = sorted(set(named) - set(ids))
    if unknown:
        raise UserError(f"--classes names id {unknown[0]}, which the support mask does not hold; it holds {list(ids)}")
    taken: dict[int, int] = {}
    for index, name in named.items():
        slot = space.kept_as[space.id_of(name)]
        if slot == 0 or slot in taken.values():
            raise UserError(f"--classes {index}={name}: this class is dropped or named twice; leave it unmapped")
        taken[index] = slot
    stored = network.prototype_bank()
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers()) if tensor is not stored}
    network = copy.deepcopy(network, shared)
    bank = network.prototype_bank()
    free = [slot for slot in range(1, network.n_ids) if slot not in taken.values()]
    if bank is not None:
        free.sort(key=lambda slot: (bool(bank[slot].any()), slot))
    novel = [index for index in ids if index not in taken]
    novel += [REST] if rest and len(free) > len(novel) else []
    slots = {**taken, **dict(zip(novel, free, strict=False))}
    if bank is not None:
        with torch.no_grad():
            bank[[slots[index] for index in novel]] = 0
    for part in network.modules():
        if isinstance(part, PrototypeBank):  # a foreground that is given counts alone
            part.momentum = STORED_SHARE if part.rows is bank else 0.0
    return network, {index: slots[index] for index in (*ids, REST) if index in slots}


def can_find_people(network: OneShotModel) -> bool:
    """Whether the network knows what a person is without a support."""
    prototypes = network.coarse_prototypes()
    return network.has_person_mask if prototypes is None else bool(prototypes[1].any())


@torch.no_grad()
def find_person(network: OneShotModel, picture: Tensor, encoded: Encoded | None = None) -> Tensor:
    """Where the network sees a person in a picture float [3,h,w], by its stored prototypes: bool [h,w].

    `encoded` spares the pass over a support, which the picture stands in for.
    """
    size, given = (picture.shape[-2], picture.shape[-1]), picture
    if encoded is not None:
        network, features = copy.copy(network), encoded(picture)
        given = _standing_in(cast(EOPNet, network), features, features)
    nothing = torch.zeros(given.shape[-2:], dtype=torch.int64, device=picture.device)
    target = torch.ones((), dtype=torch.int64, device=picture.device) if network.way == "1" else None
    episode = Episode(given, given, nothing, nothing, class_ids=target).batched()
    stored = network.coarse_prototypes() is not None
    parsing = network(episode, **({"stored_foreground": True, "compute_agm": False} if stored else {}))
    coarse = cast(Tensor, parsing.coarse)[0]
    return Maps(coarse[1:] - coarse[:1], size=size).pixels().margins[0] > 0


def _standing_in(network: EOPNet, query: Tensor, support: Tensor) -> Tensor:
    """Give a copy of a network features float [1,C,h,w] in the place of photos; returns the blank to call it with.

    The blank is a picture of the features' own size, so that logits stay at the feature cells.
    """
    object.__setattr__(network, "_encode", lambda *_: (query, support))
    return query.new_zeros(3, *query.shape[-2:])


class Encoded:
    """The encoder of an EOP-Net with a memory: features of the last pictures, at most `limit_mb` MB of them."""

    def __init__(self, network: EOPNet, limit_mb: int = 256) -> None:
        self.network, self.held, self.made = network, Recent(limit_mb * 2**20), 0
        self.people: dict[bytes, np.ndarray] = {}  # where the person is in the photos met so far

    def __call__(self, picture: Tensor) -> Tensor:
        """Features float [1,C,ceil(h/4),ceil(w/4)] of a picture float [3,h,w] or [1,3,h,w]."""
        picture = picture[None] if picture.dim() == 3 else picture
        key = digest(picture)
        if key not in self.held:
            self.made += 1
            return self.held.keep(key, [self.network.encoder(picture)])[0]
        return self.held.keep(key, self.held[key])[0]


def _stacked(parts: Sequence[Tensor], fill: float) -> Tensor:
    """Maps [...,h,w] of different widths below one another, padded on the right."""
    widest = max(part.shape[-1] for part in parts)
    return torch.cat([F.pad(part, (0, widest - part.shape[-1]), value=fill) for part in parts], -2)


def _whole_cells(mask: Tensor, shape: torch.Size) -> Tensor:
    """A mask int64 [h,w] padded with 255 to whole feature cells of a map [...,h',w']."""
    below, right = (CELL * shape[side] - mask.shape[side] for side in (-2, -1))
    return F.pad(mask, (0, right, 0, below), value=IGNORE)


class Head:
    """A network set up for the classes of some supports; called with a picture it gives its `Maps`.

    rest    the unmarked person competes, and is background in the result
    rivals  stored classes that no support shows compete too, and are background in the result

    Raises UserError for class names that do not fit, and for a network without stored coarse prototypes where no
    support's person is given.
    """

    def __init__(
        self,
        network: OneShotModel,
        views: Sequence[View],
        named: dict[int, str],
        space: LabelSpace,
        *,
        rest: bool,
        rivals: bool,
        encoded: Encoded | None,
    ) -> None:
        self.views, self.encoded = list(views), encoded
        ids = sorted({int(v) for view in views for v in view.marked.unique() if v > 0 and v != IGNORE})
        rest = rest and any(bool((cells(view.marked) == REST).any()) for view in views)
        self.network, self.slots = prepared(network, ids, named, space, rest=rest)
        self.stored = not all(view.given for view in views)
        prototypes = network.coarse_prototypes()
        self.options: dict[str, Any] = {}
        if prototypes is not None:
            if self.stored and not bool(prototypes[1].any()):
                raise UserError(
                    "this checkpoint stores no coarse prototypes; mark the person with --support-foreground"
                )
            self.options = {"stored_foreground": self.stored, "compute_agm": False}
        self.closed: Tensor | None = None
        if encoded is not None:
            self._pool(cast(EOPNet, self.network), encoded)
            bank = network.prototype_bank()
            if rivals and network.way == "k" and bank is not None:
                self._find_rivals(bank, named)

    @torch.no_grad()
    def _pool(self, network: EOPNet, encoded: Encoded) -> None:
        """Lay the supports below one another, as one episode's support whose features are known already."""
        features = [encoded(view.picture) for view in self.views]
        masks = [view.marked for view in self.views]
        joint = _stacked([network.fine_projection(part) for part in features], 0.0)
        mask = _stacked([_whole_cells(m, f.shape) for m, f in zip(masks, features, strict=True)], IGNORE)
        person = _stacked([_whole_cells(v.person, f.shape) for v, f in zip(self.views, features, strict=True)], IGNORE)
        mask = mask if REST in self.slots else torch.where(mask == REST, 0, mask)
        self.support = _stacked(features, 0.0)
        blank = torch.zeros(3, *mask.shape, device=mask.device)
        self.views = [View(blank, mask, person)]
        self.fine_support = joint

    def prototypes(self) -> tuple[Tensor, Tensor]:
        """What a query is compared with: prototypes float [n_ids-1,D] by network id, absent ones zero, and [2,D].

        The latter are those of scene and person. EOP-Net in k-way alone.
        """
        network, view = cast(EOPNet, self.network), self.views[0]
        own = network.prototypes(masked_average(self.fine_support, self._mask(view)[None], network.n_ids), False)[0, 1:]
        if self.stored:
            return own.detach(), network.coarse_bank.rows.detach()
        means = masked_average(network.coarse_projection(self.support), view.person[None], 2)
        return own.detach(), network.coarse_bank(means, use_static=network.config.coarse_proto == "static")[0].detach()

    def _mask(self, view: View) -> Tensor:
        """A view's marks by network id, int64 [h,w]."""
        mask = torch.where(view.marked == IGNORE, IGNORE, 0)
        for index, slot in self.slots.items():
            mask[view.marked == index] = slot
        return mask

    def _find_rivals(self, bank: Tensor, named: dict[int, str]) -> None:
        """Stored classes that may compete: none that is named, none that is a marked class itself."""
        used = {self.slots[index] for index in named}
        rows = [row for row in range(1, len(bank)) if row not in used and bool(bank[row].any())]
        if not rows:
            return
        mask = self.views[0].marked
        novel = [index for index in self.slots if index > 0 and index not in named]
        own = torch.zeros_like(mask)
        for place, index in enumerate(novel, 1):
            own[mask == index] = place
        means = masked_average(self.fine_support, own[None], len(novel) + 1)[0, 1:]
        if novel:
            alike = F.cosine_similarity(means[:, None], bank[rows][None], dim=2)
            rows = [row for row, most in zip(rows, alike.amax(0).tolist(), strict=True) if most < CLAIMED]
        self.closed = bank[rows].detach() if rows else None

    @torch.no_grad()
    def __call__(self, picture: Tensor) -> Maps:
        """Parse a picture float [3,h,w]. Raises UserError where the logits are not finite."""
        seen = picture
        if self.encoded is not None:
            seen = _standing_in(cast(EOPNet, self.network), self.encoded(picture), self.support)
        parsed = [replace(self._one(seen, view), size=(picture.shape[-2], picture.shape[-1])) for view in self.views]
        made = parsed[0]
        if len(parsed) > 1:
            margins = torch.stack([one.margins for one in parsed])
            coarse = None if made.coarse is None else torch.stack([cast(Tensor, one.coarse) for one in parsed]).mean(0)
            made = replace(made, margins=margins.nanmean(0), coarse=coarse)
        if not bool(torch.isfinite(made.margins).all()):
            raise UserError(
                "the network's output is not finite: its weights are damaged; train it again or name another"
            )
        return made

    def _one(self, picture: Tensor, view: View) -> Maps:
        """The maps by one support; a class that it lacks is NaN where other supports have it."""
        network, episode = self.network, Episode(picture, view.picture, view.marked, view.person)
        marked = view.marked
        ignored = torch.where(marked == IGNORE, IGNORE, 0)
        shown = set(marked.unique().tolist())
        several = len(self.views) > 1
        margins: list[Tensor] = []
        if network.way == "1":
            for index, slot in self.slots.items():
                mask, target = ignored + (marked == index).long(), torch.tensor(slot, device=marked.device)
                one = replace(episode, support_mask=mask, class_ids=target)
                parsing = network(one.batched(), **self.options)
                margins.append(parsing.fine[0, 1] - parsing.fine[0, 0])
        else:
            parsing = network(replace(episode, support_mask=self._mask(view)).batched(), **self.options)
            margins = [parsing.fine[0, slot] - parsing.fine[0, 0] for slot in self.slots.values()]
        if several:
            margins = [
                m if index in shown else torch.full_like(m, torch.nan)
                for m, index in zip(margins, self.slots, strict=True)
            ]
        coarse = None if parsing.coarse is None else parsing.coarse[0]
        return Maps(torch.stack(margins).float(), coarse, self._rivals(parsing))

    def _rivals(self, parsing: Any) -> Tensor | None:
        """The best stored class's logit over the background's, float [h,w], by the NPM's own map (journal, Eq. 9)."""
        if self.closed is None:
            return None
        nearest = cast(EOPNet, self.network).metric_parts[1]
        if not isinstance(nearest, NearestPrototype):
            return None
        similarity = cosine_maps(parsing.extras["fine_query"], self.closed[None])
        best = (nearest.foreground.maps(similarity) * cast(EOPNet, self.network).scale).amax(1, keepdim=True)
        return cast(Tensor, (best[0, 0] - parsing.fine[0, 0]).float())
