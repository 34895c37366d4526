"""Every choice a POPNet can be built with, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.labels import label_spaces
from oshp_lite.models.dual import DualMetricConfig

StageKind = Literal["foreground", "areas", "fine"]

STAGES: dict[int, tuple[StageKind, ...]] = {
    1: ("fine",),
    2: ("foreground", "fine"),
    3: ("foreground", "areas", "fine"),
}
"""What the stages of a network of one, two (journal) or three (AAAI) stages are trained for, coarse to fine."""

STAGE_ENDS: dict[int, tuple[float, ...]] = {1: (1.0,), 2: (0.3, 1.0), 3: (0.2, 0.5, 1.0)}
"""Shares of the training budget at which a stage ends when `stage_ends` is not given. Ours: no source says."""


@dataclass(frozen=True)
class POPNetConfig(DualMetricConfig):
    """Configuration of a POPNet; the plain constructor is the `official` preset.

    The Xception encoder fixes the width at 256, since no projection follows.
    """

    name: ClassVar[str] = "popnet"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": DualMetricConfig.PRESETS["paper"] | {"ucs_rows": "id"},
        "lite": DualMetricConfig.PRESETS["lite"] | {"kim": "plain", "ucs_rows": "id", "head_init": "kaiming"},
    }

    stages: Literal[1, 2, 3] = 2  # 1: the classes only, 2: the journal's, 3: the AAAI paper's
    # rising shares of the training budget, the last one 1.0; None: STAGE_ENDS
    stage_ends: tuple[float, ...] | None = None
    # raw id -> area, 0 the background; None: those of the label space with `n_ids` ids
    areas: tuple[int, ...] | None = None
    # smooth prototypes over training (AAAI, Eq. 2); the released 1-way head differs with it, see DualMetric
    dynamic: bool = True
    warmup: float = bounded(0.5, 0, 1)  # share of a stage with static prototypes: 15 of 30 epochs
    kim: Literal["separable", "plain"] = "separable"  # the two layers of a knowledge infusion module
    # ids that are compared: all, or with "ucs" (unseen-class screening, released code) those that some support of the
    # batch shows; every other channel's logit is 0
    screening_ids: Literal["fixed", "ucs"] = "fixed"
    # "position" keeps a slip of the released "ucs": the bank is tested and written at the id's place among the compared
    # ids, and read at the id
    ucs_rows: Literal["position", "id"] = "position"
    ncm_scale: float = bounded(10.0, 0, above=True)  # learnable factor on the NCM's logits
    head_init: Literal["default", "kaiming"] = "default"  # first weights of KIM, classifiers and scalars
    # when features of earlier stages are kept by the photo's content; "always" pays if photos are not augmented (ours)
    cache: Literal["test", "always", "never"] = "test"
    cache_mb: int = bounded(256, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "xception" and self.width != 256:
            raise UserError(f"model option width is {self.width}; POPNet on the Xception encoder has width 256")
        ends = STAGE_ENDS[self.stages] if self.stage_ends is None else self.stage_ends
        if len(ends) != self.stages or not all(0 < a < b for a, b in pairwise(ends)) or ends[-1] != 1:
            raise UserError(
                f"model option stage_ends is {self.stage_ends}; give {self.stages} rising shares, the last one 1.0"
            )
        areas = self.areas
        if areas is None:
            areas = _areas_of(self.n_ids) if self.stages == 3 else (0,) * self.n_ids
        if len(areas) != self.n_ids or areas[0] != 0 or not all(0 <= area < 255 for area in areas):
            raise UserError(
                f"model option areas must name one area (0: background) for each of the {self.n_ids} ids, 0 for id 0"
            )
        if self.stages == 3 and not any(areas):
            raise UserError("model option areas is all background; the second of three stages would have no classes")
        object.__setattr__(self, "stage_ends", ends)
        object.__setattr__(self, "areas", areas)

    @property
    def kinds(self) -> tuple[StageKind, ...]:
        """What each stage is trained for, coarse to fine."""
        return STAGES[self.stages]

    @property
    def n_areas(self) -> int:
        """Ids of the area stage, background included."""
        return 1 + max(self.areas or (0,))

    def stage_at(self, progress: float | None) -> tuple[int, float]:
        """Which stage trains at a progress in [0,1), and its own progress in [0,1); the last one's end for None."""
        ends = self.stage_ends or (1.0,)
        if progress is None:
            return self.stages - 1, 1.0
        # a boundary that is a rounded fraction of the epochs still belongs to the next stage
        index = next((i for i, end in enumerate(ends) if progress < end - 1e-9), len(ends) - 1)
        start = ends[index - 1] if index else 0.0
        return index, min(1.0, max(0.0, (progress - start) / (ends[index] - start)))


def _areas_of(n_ids: int) -> tuple[int, ...]:
    """Raw id -> main area (head, body, arms, legs from 1 on) of the label space with this many ids."""
    for space in label_spaces():
        if space.n_ids == n_ids:
            table = dict.fromkeys(range(n_ids), 0)
            table |= {index: area for area, ids in enumerate(space.groups.values(), start=1) for index in ids}
            return tuple(table.values())
    raise UserError(f"no label space with {n_ids} ids is known; give the areas of three stages as model option areas")
