"""How an episode's masks are read and what a forward pass gives: the rules that methods and their stages share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.fields import bounded
from oshp_lite.models.encoders import EncoderConfig
from oshp_lite.models.modules.layers import Resampling, resize
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.models.modules.prototypes import present_ids, shrink_mask

ABSENT = -1.0e4
"""Logit of an id that may not win; finite, so that resampling it stays finite."""


@dataclass
class Parsing:
    """What a forward pass gives: named logits at the query's size."""

    fine: Tensor  # float [B,C,H,W] over raw ids (1-way: C = 2, background and the target class)
    agm: Tensor | None = None  # float [B,C,H,W] of the attention guidance module
    coarse: Tensor | None = None  # float [B,2,H,W] scene against person
    extras: dict[str, Tensor] = field(default_factory=dict)  # what the method's own losses need, for them alone

    @property
    def npm(self) -> Tensor:
        """The nearest prototype module's logits: EOP-Net's `fine`."""
        return self.fine

    ncm = npm  # POPNet's nearest centroid module


@dataclass(frozen=True)
class MethodConfig(EncoderConfig):
    """What every method's configuration has beside its encoder."""

    # raw ids of the label space, background included, and the kind of episodes
    n_ids: int = bounded(18, 2, 255)
    way: Literal["k", "1"] = "k"
    # what k-way training makes of pixels that are person in the coarse mask and background in the class mask, where
    # novel garments hide: background (the papers), 255, or one more class behind the raw ids, which support and query
    # share (ours; nothing but the coarse mask is used for it)
    unlabelled: Literal["background", "ignore", "class"] = "background"
    # mask that says which ids the support shows: at stride 4 (the released code's), or in full
    absent_test: Literal["resized", "full"] = "resized"

    @property
    def n_logits(self) -> int:
        """Logits a pixel has: one for each raw id in k-way; background and the target class in 1-way."""
        return self.n_ids if self.way == "k" else 2


def mask_absent_logits(logits: Tensor, present: Tensor) -> Tensor:
    """Set the channels of absent ids to `ABSENT`; logits float [B,C,h,w], present bool [B,C]."""
    return logits.masked_fill(~present[..., None, None], ABSENT)


class EpisodeRules(nn.Module):
    """How an episode's masks are read, for methods and for the stages of one."""

    config: MethodConfig
    resampling: ClassVar[Resampling] = "aligned"  # how logits are brought to the image's size
    image_channels = 3

    @property
    def n_logits(self) -> int:
        """Logits a pixel has in `Parsing.fine`."""
        return self.config.n_logits

    @property
    def unlabelled_class(self) -> bool:
        """Whether the person's unlabelled pixels are one more class behind the raw ids (k-way training only)."""
        return self.training and self.config.way == "k" and self.config.unlabelled == "class"

    @property
    def rows(self) -> int:
        """Logits to compute with: `n_logits`, and one more for the unlabelled class while there is one."""
        return self.n_logits + int(self.unlabelled_class)

    def label_unlabelled(self, mask: Tensor, foreground: Tensor) -> Tensor:
        """Give the person's unlabelled pixels the id that `unlabelled` says, in k-way training; int64, shape kept."""
        if not self.training or self.config.way != "k" or self.config.unlabelled == "background":
            return mask
        label = self.config.n_ids if self.unlabelled_class else IGNORE
        return mask.masked_fill((mask == 0) & (foreground == 1), label)

    def support_mask(self, batch: Episode) -> Tensor:
        """The support mask to learn from: int64 [B,H',W'] with ids below `rows`, and 255."""
        return self.label_unlabelled(batch.support_mask, batch.support_foreground)

    def tested(self, mask: Tensor) -> Tensor:
        """The mask that says which ids the support shows: itself, or at stride 4."""
        full = self.config.absent_test == "full"
        return mask if full else shrink_mask(mask, [math.ceil(side / 4) for side in mask.shape[-2:]])

    def support_classes(self, batch: Episode) -> Tensor:
        """Which ids the support shows, bool [B,rows]; the background always."""
        present = present_ids(self.tested(self.support_mask(batch)), self.rows)
        present[:, 0] = True
        return present

    def target(self, batch: Episode) -> Tensor:
        """The target int64 [B,H,W]: the query mask with ids that the support does not show as background; 255 stays.

        Unlabelled pixels of the person are what `unlabelled` says, in k-way training; else background. Raises
        ValueError when the batch has no query masks.
        """
        batch = self.checked(batch, images=False)
        label, foreground = batch.query_mask, batch.query_foreground
        if label is None or foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        label = self.label_unlabelled(label, foreground)
        target = restrict_target(label, self.tested(self.support_mask(batch)), self.rows)
        if not self.unlabelled_class:
            return target
        # without such pixels in the support nothing is known of those of the query
        return target.masked_fill((label == self.config.n_ids) & (target == 0), IGNORE)

    def parsing(
        self,
        fine: Tensor,
        batch: Episode,
        *,
        present: Tensor | None = None,
        agm: Tensor | None = None,
        coarse: Tensor | None = None,
        **extras: Tensor,
    ) -> Parsing:
        """Make a Parsing of logits float [B,rows,h,w]: mask absent ids, resize, put the unlabelled class aside.

        `present` bool [B,rows] masks the other channels; None masks none. `fine` and `agm` of the result have
        `n_logits` channels; that of the unlabelled class goes into the extras, whence `with_unlabelled` takes it.
        """
        size = batch.query_image.shape[-2:]
        named = {"fine": fine} if agm is None else {"fine": fine, "agm": agm}
        for name, logits in named.items():
            logits = logits if present is None else mask_absent_logits(logits, present)
            logits = resize(logits, size, self.resampling)
            if logits.shape[1] > self.n_logits:
                extras[f"{name}_unlabelled"], logits = logits[:, self.n_logits :], logits[:, : self.n_logits]
            named[name] = logits
        return Parsing(**named, coarse=None if coarse is None else resize(coarse, size, self.resampling), extras=extras)

    @staticmethod
    def with_unlabelled(parsing: Parsing, name: Literal["fine", "agm"] = "fine") -> Tensor:
        """The logits of a parsing with the unlabelled class's channel behind: float [B,rows,H,W]."""
        logits = cast(Tensor, parsing.fine if name == "fine" else parsing.agm)
        extra = parsing.extras.get(f"{name}_unlabelled")
        return logits if extra is None else torch.cat([logits, extra], 1)

    def checked(self, batch: Episode, *, images: bool = True) -> Episode:
        """Batch the episode and check that it fits itself and the network; masks and class ids become int64.

        `images` False leaves the values of the photos unread. Raises ValueError naming the field that does not fit.
        """
        required = {"query_image", "support_image", "support_mask", "support_foreground"}
        for name, value in vars(batch).items():
            if value is None and name in required:
                raise ValueError(f"{name} is missing; an episode needs it")
            if name not in ("classes", "names") and not isinstance(value, Tensor | None):
                raise ValueError(f"{name} is of type {type(value).__name__}; give a torch tensor")
        batch, weight = batch.batched(), next(self.parameters(), None)
        for name in ("query_image", "support_image") if images else ():
            image: Tensor = getattr(batch, name)
            kind, channels = str(image.dtype).removeprefix("torch."), self.image_channels
            if image.dim() != 4 or image.shape[1] != channels or 0 in image.shape:
                raise ValueError(f"{name} has shape {tuple(image.shape)}; it must be [B,{channels},H,W], or without B")
            if len(image) != len(batch.query_image):
                raise ValueError(f"{name} has a batch of {len(image)}, query_image one of {len(batch.query_image)}")
            if not image.is_floating_point():
                raise ValueError(f"{name} is of type {kind}; give floating-point numbers, usually in [-1,1]")
            if weight is not None and image.dtype != weight.dtype and not torch.is_autocast_enabled(image.device.type):
                own = str(weight.dtype).removeprefix("torch.")
                raise ValueError(f"{name} is of type {kind}, the network's weights of type {own}; convert one of them")
            if not bool(torch.isfinite(image).all()):
                raise ValueError(f"{name} holds NaN or infinite values")
        whole: dict[str, Any] = {}
        for name in ("support_mask", "support_foreground", "query_mask", "query_foreground"):
            mask: Tensor | None = getattr(batch, name)
            if mask is None:
                continue
            image = batch.support_image if name.startswith("support") else batch.query_image
            if mask.shape != (image.shape[0], *image.shape[-2:]):
                raise ValueError(f"{name} has shape {tuple(mask.shape)}, its image {tuple(image.shape)}")
            limit = self.n_logits if name.endswith("mask") else 2
            whole[name] = mask = mask.long()
            wrong = mask[(mask != IGNORE) & ((mask < 0) | (mask >= limit))]
            if len(wrong):
                raise ValueError(f"{name} holds id {int(wrong[0])}; ids below {limit} and 255 (ignore) are allowed")
        if self.config.way == "1":
            target, last = batch.class_ids, self.config.n_ids - 1
            if target is None:
                raise ValueError("a 1-way network needs class_ids, the raw id of each episode's target class")
            if len(target) != len(batch) or bool(((target < 1) | (target > last)).any()):
                raise ValueError(f"class_ids must be one id in 1..{last} per episode")
            whole["class_ids"] = target.long()
        return replace(batch, **whole)
