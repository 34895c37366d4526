"""PerSAM: Segment Anything, prompted by one example (Zhang et al., ICLR 2024); nothing is trained.

Per class: t = mean feature of its pixels in the support, sim = cos(t, query features); the most and the least similar
place prompt SAM's decoder, whose attention is guided by sim and whose tokens carry t; two further passes refine.
Choices of ours stand at `mask_rule`, `guidance` and `kway_rule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import ABSENT, Parsing
from oshp_lite.models.baselines.common import Contender, ContenderConfig, learning, members, present_pairs
from oshp_lite.models.baselines.external import HOW, IMAGENET, Frame, Sam, where_weights


def cells_by_area(masks: Tensor, frame: Frame) -> Tensor:
    """Tokens that a mask covers by more than half, else the one it covers most: bool [P,H,W] -> bool [P,g,g]."""
    inner = F.interpolate(masks[:, None].float(), size=frame.inner, mode="nearest")
    share = F.avg_pool2d(frame.pad(inner), frame.patch)[:, 0].flatten(1)
    best = (share == share.amax(1, keepdim=True)) & (share > 0)
    first = best & (best.cumsum(1) == 1)
    cells = torch.where((share > 0.5).any(1, keepdim=True), share > 0.5, first)
    return cells.view(-1, frame.tokens, frame.tokens)


def cells_as_released(masks: Tensor, frame: Frame) -> Tensor:
    """Tokens by the released code's rule, bool [P,H,W] -> bool [P,g,g]: the mask treated like a photo.

    White on black, resized, normalised with SAM's first channel's mean and deviation, sampled at the tokens without
    smoothing, above 0. Thin parts can lose all their tokens.
    """
    inner = F.interpolate(masks[:, None].float(), size=frame.inner, mode="bilinear", antialias=True)
    normal = frame.pad((inner - IMAGENET[0][0]) / IMAGENET[1][0])
    return F.interpolate(normal, size=(frame.tokens, frame.tokens), mode="bilinear", align_corners=False)[:, 0] > 0


def extreme_points(similarity: Tensor, frame: Frame) -> Tensor:
    """Most and least similar place in the square's coordinates: float [P,H,W] -> float [P,2,2] as (x, y)."""
    flat, width = similarity.flatten(1), similarity.shape[-1]
    index = torch.stack([flat.argmax(1), flat.argmin(1)], 1)
    return frame.points(torch.stack([index % width, index // width], 2).float())


def guidance_of(similarity: Tensor, frame: Frame, how: str = "block") -> Tensor:
    """Attention guidance sigmoid((sim - mean) / deviation) on the tokens: float [P,H,W] -> float [P,g*g].

    "block" lays it on the tokens that hold the image, zeros elsewhere; "stretched" over all tokens, as released (the
    two agree for square images).
    """
    mean, deviation = similarity.mean((1, 2), keepdim=True), similarity.std((1, 2), keepdim=True)
    normal = ((similarity - mean) / deviation.clamp(min=1e-8))[:, None]
    # the block of tokens that hold any of the image
    size = [frame.tokens if how == "stretched" else -(-side // frame.patch) for side in frame.inner]
    guide = F.interpolate(normal, size=size, mode="bilinear", align_corners=False).sigmoid()
    return F.pad(guide, (0, frame.tokens - size[1], 0, frame.tokens - size[0])).flatten(1)


def boxes_of(masks: Tensor, frame: Frame) -> Tensor:
    """Corners (x0, y0, x1, y1) of non-empty masks bool [P,H,W] in the square's coordinates, float [P,4]."""
    places = [mask.nonzero().flip(1) for mask in masks]
    corners = torch.stack([torch.stack([place.amin(0), place.amax(0)]) for place in places])
    return frame.points(corners.float()).view(-1, 4)


def _best(logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """The mask of the largest predicted IoU: [P,M,g,g], [P,M] -> [P,1,g,g], [P]."""
    value, index = iou.max(1)
    return logits[torch.arange(len(logits), device=logits.device), index][:, None], value


@dataclass(frozen=True)
class PerSAMConfig(ContenderConfig):
    """Configuration of PerSAM."""

    name: ClassVar[str] = "persam"

    # folder or cached hub name of a SAM model; else OSHP_SAM_WEIGHTS, else facebook/sam-vit-huge if cached
    weights: str | None = None
    # tokens more than half covered, at least one (ours); or the released code's rule, by which a class may have no
    # token (it then cannot win)
    mask_rule: Literal["area", "paper"] = "area"
    # where the guidance lies, "stretched" as released, see guidance_of
    guidance: Literal["block", "stretched"] = "block"
    # the largest logit times predicted IoU, or the largest cosine, among the classes whose mask covers a pixel;
    # background where no mask lies (ours; the paper is 1-way)
    kway_rule: Literal["logit", "similarity"] = "logit"
    # True mixes SAM's three masks with weights fitted to the support's mask (f_steps of AdamW)
    persam_f: bool = False
    f_steps: int = bounded(1000, 1)
    cache: int = bounded(64, 0)  # image embeddings to remember
    channels: Literal["rgb", "bgr"] = "rgb"  # channel order of the loader's images


class PerSAM(Contender):
    """Personalised SAM; `persam_f` adds its two scalars per class fitted on the support.

    SAM's weights are in no state: the network holds two numbers. Raises UserError ("needs SAM weights ...").
    """

    Config = PerSAMConfig
    config: PerSAMConfig
    trainable = False

    @classmethod
    def lacking(cls, options: Mapping[str, Any]) -> str:
        """Why PerSAM cannot run here with these options, beginning "needs SAM weights", or "" when it can."""
        if find_spec("transformers") is None or where_weights(options.get("weights")) is None:
            return f"needs SAM weights: {HOW}"
        return ""

    def build(self) -> None:
        """Load SAM."""
        config = self.config
        if lacking := self.lacking({"weights": config.weights}):
            raise UserError(lacking)
        self.sam = Sam(where_weights(config.weights), channels=config.channels, cache=config.cache)
        self.encoder = nn.Identity()  # type: ignore[assignment]  # the common initialisation finds an encoder without weights
        self.mix = nn.Parameter(torch.full((2,), 1 / 3))  # PerSAM-F starts from it; also tells the device

    @torch.no_grad()
    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query; `.fine` float [B,C,H,W], background 0, a class above 0 where its mask lies."""
        batch = self.checked(batch)
        present = self.support_classes(batch)
        height, width = batch.query_image.shape[-2:]
        logits = batch.query_image.new_full((len(batch), self.rows, height, width), ABSENT)
        logits[:, 0] = 0
        masks = members(self.support_mask(batch), self.rows)
        for row in range(len(batch)):
            channel = present_pairs(present[row : row + 1])[1]
            if len(channel):
                known, scores = self.one_image(batch.query_image[row], batch.support_image[row], masks[row, channel])
                logits[row, channel[known]] = scores.to(logits.dtype)
        return self.parsing(logits, batch)

    def one_image(self, query: Tensor, support: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Score P classes of one episode: images float [3,H,W], masks bool [P,H',W'].

        Returns which classes have any token, bool [P], and the logits of those, float [known,H,W], positive inside.
        """
        sam = self.sam
        there, here = (sam.frame(image) for image in (support, query))
        source, place = sam.embed(support), sam.embed(query)
        cells = (cells_by_area if self.config.mask_rule == "area" else cells_as_released)(masks, there)
        known = cells.flatten(1).any(1)
        if not known.any():
            return known, place.new_zeros(0, *here.size)
        of_class = cells[known].flatten(1).float()
        target = of_class @ source[0].flatten(1).T.float() / of_class.sum(1, keepdim=True)
        if self.config.persam_f:
            tokens = source[0].flatten(1).float()
            peak = torch.stack([tokens[:, inside > 0].amax(1) for inside in of_class])
            target = (target + peak) / 2
        similarity = self._similarity(target, place, here)
        if self.config.persam_f:
            mix = self._fit(self._similarity(target, source, there), source, masks[known], there)
            logits, iou = self._refined_f(similarity, place, here, mix)
        else:
            logits, iou = self._refined(similarity, target, place, here)
        full = here.back(logits)[:, 0]
        if self.config.kway_rule == "similarity":
            return known, torch.where(full > 0, 2 + similarity, -1.0)
        return known, full * iou.clamp(min=1e-3)[:, None, None]

    def _similarity(self, target: Tensor, embedding: Tensor, frame: Frame) -> Tensor:
        """Cosine of the target with every token, at the image's size: float [P,C], [1,C,g,g] -> float [P,H,W]."""
        tokens = F.normalize(embedding[0].float(), dim=0)
        maps = torch.einsum("pc,chw->phw", F.normalize(target, dim=1), tokens)
        finer = F.interpolate(maps[:, None], scale_factor=4, mode="bilinear", align_corners=False)
        return frame.back(finer)[:, 0]

    def _refined(self, similarity: Tensor, target: Tensor, embedding: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
        """The three passes of the training-free form: low-resolution logits [P,1,4g,4g] and predicted IoU [P]."""
        points = extreme_points(similarity, frame)
        labels = torch.tensor([[1, 0]], device=points.device).expand(len(points), 2)
        guide = guidance_of(similarity, frame, self.config.guidance)
        first, rated = self.sam.decode(embedding, points, labels, guidance=guide, target=target)
        second, better = _best(*self.sam.decode(embedding, points, labels, masks=first, several=True))
        # the released code does not provide for an empty second mask
        empty = ~(frame.back(second) > 0).flatten(1).any(1)
        second = torch.where(empty[:, None, None, None], first, second)
        better = torch.where(empty, rated[:, 0], better)
        return self._boxed(second, better, (points, labels), embedding, frame)

    def _boxed(
        self, logits: Tensor, iou: Tensor, prompt: tuple[Tensor, Tensor], embedding: Tensor, frame: Frame
    ) -> tuple[Tensor, Tensor]:
        """Pass with points, mask and the mask's box; a class whose mask is empty keeps what it has."""
        inside = frame.back(logits)[:, 0] > 0
        some = inside.flatten(1).any(1)
        if not some.any():
            return logits, iou
        points, labels = (part[some] for part in prompt)
        boxes = boxes_of(inside[some], frame)
        again = self.sam.decode(embedding, points, labels, boxes=boxes, masks=logits[some], several=True)
        logits, iou = logits.clone(), iou.clone()
        logits[some], iou[some] = _best(*again)
        return logits, iou

    def _fit(self, similarity: Tensor, embedding: Tensor, masks: Tensor, frame: Frame) -> Tensor:
        """Fit the weights of SAM's three masks to the support's mask, one pair (w1, w2) per class: float [P,3].

        Dice (smoothing 1) plus focal loss (0.25, 2); AdamW, 1e-3, cosine. SAM's logits are constant, so they are made
        once. Weights are 1 - w1 - w2, w1, w2.
        """
        points = extreme_points(similarity, frame)[:, :1]
        labels = torch.ones(points.shape[:2], dtype=torch.int64, device=points.device)
        low, _ = self.sam.decode(embedding, points, labels, several=True)
        with learning():
            logits = frame.back(low).flatten(2).clone()
            truth = masks.flatten(1).to(logits.dtype).clone()
            weights = self.mix.detach().to(logits).expand(len(logits), 2).clone().requires_grad_()
            optimizer = torch.optim.AdamW([weights], lr=1e-3, eps=1e-4)
            schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.config.f_steps)
            for _ in range(self.config.f_steps):
                loss = mask_loss(torch.einsum("pm,pmn->pn", _three(weights), logits), truth).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
            return _three(weights).detach()

    def _refined_f(self, similarity: Tensor, embedding: Tensor, frame: Frame, mix: Tensor) -> tuple[Tensor, Tensor]:
        """PerSAM-F's passes: the mixed mask of one point, then two with point, box and mask."""
        points = extreme_points(similarity, frame)[:, :1]
        labels = torch.ones(points.shape[:2], dtype=torch.int64, device=points.device)
        low, iou = self.sam.decode(embedding, points, labels, several=True)
        mixed = torch.einsum("pm,pmhw->phw", mix.to(low), low)[:, None]
        again = self._boxed(mixed, (mix.to(iou) * iou).sum(1), (points, labels), embedding, frame)
        return self._boxed(*again, (points, labels), embedding, frame)


def _three(weights: Tensor) -> Tensor:
    return torch.cat([1 - weights.sum(1, keepdim=True), weights], 1)


def mask_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Dice plus focal loss of each mask, float [P,N], [P,N] -> float [P] (PerSAM-F)."""
    chance = logits.sigmoid()
    dice = 1 - (2 * (chance * truth).sum(1) + 1) / (chance.sum(1) + truth.sum(1) + 1)
    right = chance * truth + (1 - chance) * (1 - truth)
    share = 0.25 * truth + 0.75 * (1 - truth)
    plain = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    return dice + (share * (1 - right).square() * plain).mean(1)
