"""Multi-scale and mirrored testing of the instance-level parser (the rows "+ ms + flip" of the paper's Table 1).

The paper names no scales and no way to join the views; both are our choice. Every view proposes its people, one
suppression chooses among all of them, and the chosen boxes are parsed in every view, whose class probabilities are
averaged: one box, one set of parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from oshp_lite.data.people import PeopleResult
from oshp_lite.models.instance.boxes import suppress
from oshp_lite.models.instance.core import ParsedBoxes, RegionNet, put_together
from oshp_lite.models.instance.regions import RegionRules

SCALES = (0.75, 1.0, 1.25)


def mirrored_boxes(boxes: Tensor, width: float) -> Tensor:
    """Boxes float [N,4] of a photo as they lie in its mirror image."""
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)


def swapped_classes(n_ids: int, sides: Sequence[tuple[int, int]]) -> Tensor:
    """Return the class int64 [n_ids] that each becomes in a mirror: left and right change places."""
    order = torch.arange(n_ids)
    for left, right in sides:
        order[left], order[right] = right, left
    return order


@torch.no_grad()
def predict_views(
    net: RegionNet,
    image: Tensor,
    sides: Sequence[tuple[int, int]],
    rules: RegionRules | None = None,
    size: tuple[int, int] | None = None,
    scales: Sequence[float] = SCALES,
    mirror: bool = True,
) -> PeopleResult:
    """Parse a photo float [1,3,H,W] in several views and assemble it at `size`; sides: (left, right) classes."""
    height, width = int(image.shape[-2]), int(image.shape[-1])
    swap = swapped_classes(net.n_ids, sides).to(image.device)
    views = []
    for scale, turned in product(scales, (False, True) if mirror else (False,)):
        extent = [max(32, round(side * scale)) for side in (height, width)]
        view = image if scale == 1 else F.interpolate(image, extent, mode="bilinear", antialias=scale < 1).clamp(-1, 1)
        factor = image.new_tensor([view.shape[-1] / width, view.shape[-2] / height] * 2)
        views.append((view.flip(-1) if turned else view, factor, turned))

    def moved(boxes: Tensor, factor: Tensor, turned: bool, *, back: bool) -> Tensor:
        own = boxes / factor if back else boxes
        own = mirrored_boxes(own, width) if turned else own
        return own if back else own * factor

    seen = [net.detect(view)[0] for view, _, _ in views]
    rows = zip(seen, views, strict=True)
    boxes = torch.cat([moved(one.boxes, factor, turned, back=True) for one, (_, factor, turned) in rows])
    scores = torch.cat([one.scores for one in seen])
    best = suppress(boxes, scores, net.config.nms)[: net.config.detections]
    boxes, scores, chances = boxes[best], scores[best], image.new_zeros(())
    for view, factor, turned in views:
        own = net.detect(view, [moved(boxes, factor, turned, back=False)])[0].probabilities if len(boxes) else None
        if own is not None:
            chances = chances + (own[:, swap].flip(-1) if turned else own) / len(views)
    if not len(boxes):
        chances = seen[0].probabilities[:0]
    parsed = ParsedBoxes(boxes, scores, chances, None)
    return put_together(parsed, (height, width), size or (height, width), rules, net.n_ids)
