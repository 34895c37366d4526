"""One-shot parsing person by person: every person of a crowd is compared with the support at one size (ours).

EOP-Net names small people in groups as its failure and boxes around people as the way (sections 6.5.2 and 7). The class
"person" is a base class, so a detector learns no novel one. Features of the query are computed once; RoIAlign reads a
square of them for every box, so that each person has as many cells. The people of the support are read the same way
and pooled, so that prototypes are normalised in scale. Everything behind the features is EOP-Net's own, on squares in
the place of images; nothing is trained anew.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import evaluating
from oshp_lite.models.eopnet import EOPNet
from oshp_lite.models.instance.align import roi_align
from oshp_lite.models.instance.boxes import clip
from oshp_lite.models.instance.heads import crop_targets
from oshp_lite.models.modules.layers import resize

CELLS = 28
"""Cells of a person's square, as in the parsing branch of the BMVC paper."""
STRIDE = 4
"""Pixels of a cell."""


class People(NamedTuple):
    """The people of a photo: boxes float [P,4] in its pixels, person ids int64 [P], and the person map int64 [H,W]."""

    boxes: Tensor
    ids: Tensor
    persons: Tensor


def parse_people(
    net: EOPNet, batch: Episode, boxes: Tensor, support: People | None = None, *, crops: bool = False
) -> tuple[Tensor, Tensor]:
    """Parse each person of one episode's query in a square of its own.

    batch: one episode (query masks are not read); boxes float [N,4] of the query in pixels; support: the people of
    its support, else its whole photo is one. crops: squares of the photos are encoded, in the place of squares of
    the photos' features, at N times the cost. Returns class probabilities float [N,C,4s,4s] and the probability of
    the person in the coarse space float [N,1,4s,4s], s = CELLS. Raises UserError for a 1-way network.
    """
    if net.config.way != "k":
        raise UserError("people are parsed by a k-way network; name weights of one")
    batch = net.checked(batch)
    with evaluating(net), torch.no_grad():
        boxes = clip(boxes.to(batch.query_image), batch.query_image.shape[-2:])
        given = support or _everyone(batch)
        query = _squares(net, batch.query_image, boxes, crops)
        shown = _squares(net, batch.support_image, given.boxes.to(batch.query_image), crops)
        masks, foregrounds = (_masks(one[0], given) for one in (batch.support_mask, batch.support_foreground))
        side, count = CELLS * STRIDE, len(boxes)
        tall = shown.transpose(0, 1).flatten(1, 2)[None]  # people below one another: one support of them all
        episode = replace(
            batch,
            query_image=query.new_zeros(count, 3, side, side),
            support_image=query.new_zeros(count, 3, len(shown) * side, side),
            support_mask=masks.flatten(0, 1).expand(count, -1, -1),
            support_foreground=foregrounds.flatten(0, 1).expand(count, -1, -1),
            query_mask=None,
            query_foreground=None,
        )
        shown = tall.expand(count, -1, -1, -1)
        coarse = net._coarse(query, shown, episode, False, None, False)
        pair = net.fine_projection(query), net.fine_projection(shown)
        parsing = net.compared(*pair, episode, static=False, compute_agm=False, restrict=None, coarse=coarse)
        person = resize(coarse, (side, side), net.resampling).float().softmax(1)[:, 1:]
        return parsing.fine.float().softmax(1), person


def attended(probabilities: Tensor, *maps: Tensor) -> Tensor:
    """Class probabilities float [N,C,h,w] of this person alone: the classes times each map float [N,1,a,a] in [0,1].

    What is taken from them is the background's. Maps of other sizes are brought to [h,w].
    """
    weight = probabilities.new_ones(())
    for one in maps:
        weight = weight * resize(one.to(probabilities), probabilities.shape[-2:], "bilinear")
    classes = probabilities[:, 1:] * weight
    return torch.cat([1 - classes.sum(1, keepdim=True), classes], 1)


def _everyone(batch: Episode) -> People:
    """The support's whole photo as one person."""
    height, width = batch.support_image.shape[-2:]
    boxes = batch.support_image.new_tensor([[0, 0, width, height]])
    ids = torch.ones(1, dtype=torch.int64, device=boxes.device)
    return People(boxes, ids, torch.ones_like(batch.support_mask[0]))


def _squares(net: EOPNet, image: Tensor, boxes: Tensor, crops: bool) -> Tensor:
    """Encoder features float [N,D,s,s] of boxes of one photo float [1,3,H,W]; the whole photo's are its own."""
    if crops and len(boxes):
        return net.encoder(roi_align(image[0], boxes, CELLS * STRIDE, 1, 1))
    return roi_align(net.encoder(image)[0], boxes, CELLS, STRIDE, 1)


def _masks(mask: Tensor, people: People) -> Tensor:
    """What a mask int64 [H,W] says of each of the people, others being background: int64 [P,4s,4s]."""
    boxes, persons = people.boxes.to(mask.device), people.persons.to(mask)
    return crop_targets(mask, persons, boxes, people.ids.to(mask), CELLS * STRIDE)[1]
