"""Plain supervised segmentation: first weights for the encoders of the one-shot methods, and their ceiling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import MethodConfig, OneShotModel, Parsing, PredictOptions
from oshp_lite.models.encoders import build_encoder
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss


@dataclass(frozen=True)
class SegmentConfig(MethodConfig):
    """Configuration of a segmenter: an encoder's."""

    name: ClassVar[str] = "segment"
    variant: ClassVar[str] = "lite"

    absent_test: Literal["resized", "full"] = "full"


class SegmentNet(OneShotModel):
    """A method's encoder with two 1x1 heads (kept ids; scene against person).

    Not one-shot: it initialises encoders (base classes labelled) and marks the ceiling (all classes labelled). Judged
    as a one-shot method all its ids compete, and what the support does not have becomes background; in 1-way it gives 1
    where the target class wins.
    """

    Config = SegmentConfig
    has_person_mask = True
    unrestricted = True

    def build(self) -> None:
        """Make the encoder and both heads."""
        self.config = replace(self.config, way="k")  # it knows all its classes, whatever way is requested
        self.encoder = build_encoder(self.config)
        width = self.encoder.out_channels
        self.class_head = nn.Conv2d(width, self.n_ids, 1)
        self.foreground_head = nn.Conv2d(width, 2, 1)

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Segment the query; `.fine` float [B,n_ids,H,W], `.coarse` float [B,2,H,W]. The support is not looked at."""
        batch = self.checked(batch)
        features = self.encoder(batch.query_image)
        heads = (self.class_head, self.foreground_head)
        fine, coarse = (resize(head(features), batch.query_image.shape[-2:]) for head in heads)
        return Parsing(fine=fine, coarse=coarse)

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `classes`, `foreground` (mean cross-entropies, 255 ignored) and their sum `total`, each float []."""
        if batch.query_mask is None or batch.query_foreground is None or parsing.coarse is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        classes = pixel_loss(parsing.fine, batch.query_mask)
        foreground = pixel_loss(parsing.coarse, batch.query_foreground)
        return {"classes": classes, "foreground": foreground, "total": classes + foreground}

    def winning_classes(self, batch: Episode, options: PredictOptions) -> Tensor | None:
        """Which of all its ids may win: every one, but in k-way with `restrict` those of the support."""
        return super().winning_classes(batch, options) if options.restrict and not batch.one_way else None

    def decide(self, logits: Tensor, batch: Episode, options: PredictOptions) -> Tensor:
        """The ids, 0 where the support lacks them unless `restrict` is False; in 1-way 1 where the target class wins.

        So a class that the support lacks may take pixels from one that it has: nothing helps the ceiling to reject.
        """
        ids = super().decide(logits, batch, options)
        if batch.class_ids is not None:
            return (ids == batch.class_ids[:, None, None]).long()
        if options.restrict is False:
            return ids
        present = self.support_classes(batch)
        return ids * present.gather(1, ids.flatten(1)).view_as(ids)
