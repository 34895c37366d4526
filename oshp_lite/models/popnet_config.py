"""Every choice a POPNet can be built with, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.labels import label_spaces
from oshp_lite.models.base import MethodConfig
from oshp_lite.models.modules.metric import TrunkKind
from oshp_lite.models.modules.prototypes import WarmupRule

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
class POPNetConfig(MethodConfig):
    """Configuration of a model; the plain constructor is the `official` preset.

    | field               | official    | paper     | lite    | what it decides |
    |---------------------|-------------|-----------|---------|---------------------------------------------------|
    | stages              | 2           | 2         | 2       | 1: fine only, 2: the journal's, 3: the AAAI paper's |
    | dynamic             | True        | True      | True    | smooth prototypes over training (AAAI, Eq. 2) |
    | momentum            | 0.999       | 0.999     | 0.999   | share of the old bank value kept |
    | warmup              | 0.5         | 0.5       | 0.5     | share of a stage with static prototypes: 15 of 30 |
    | bank_during_warmup  | overwrite   | overwrite | overwrite | the bank while prototypes are static |
    | agm_trunk           | plain2+sep1 | separable | plain1  | the layers of phi |
    | kim                 | separable   | separable | plain   | the two layers of a knowledge infusion module |
    | screening_ids       | fixed       | fixed     | fixed   | ids that are compared: all, or "ucs" (see below) |
    | ucs_rows            | position    | id        | id      | bank row of a compared id under "ucs" |
    | bg_mean             | all_ids     | present   | present | ids in the background's mean under "fixed" |
    | restrict_to_support | False       | True      | True    | softmax and argmax over the support's ids only |
    | oneway_head         | code        | kway      | kway    | 1-way: own 1-to-2 head, or the k-way scheme |
    | ncm_scale           | 10          | 10        | 10      | learnable factor on the NCM's logits |
    | absent_test         | resized     | full      | resized | mask that says which ids the support shows |
    | trunk_bn            | per_id      | joint     | joint   | phi's BatchNorm sees each id apart, or all at once |
    | feature_level       | mid         | mid       | (lite)  | depth of the embedding |
    | head_init           | default     | default   | kaiming | first weights of KIM, classifiers and scalars |
    | scalar_init         | random      | random    | unit    | scalars at start, as in EOPNetConfig |

    screening_ids "ucs" (unseen-class screening, released code): only ids that some support of the batch shows are
    compared and averaged, every other channel's logit is 0. ucs_rows "position" keeps a slip of the released code: the
    bank is tested and written at the id's place among those ids, and read at the id.
    oneway_head "code": with dynamic prototypes no residual and a scaled NCM, without them a residual and no scale.

    Not in the sources: `stage_ends` (shares of the budget, ascending, last 1.0; None: `STAGE_ENDS`), `fixed_beta` (None
    shifts the weight from AGM to NCM over a stage), `areas` (raw id -> area, 0 the background; None: the label space
    with `n_ids` ids), and `cache` with `cache_mb`: features of earlier stages are kept by the photo's content in
    "test", "always" (pays in training if photos are not augmented) or "never". The Xception encoder fixes the width at
    256, since no projection follows. What is not listed stands in MethodConfig and EncoderConfig.
    """

    name: ClassVar[str] = "popnet"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": {
            "all_branches": False,
            "agm_trunk": "separable",
            "ucs_rows": "id",
            "bg_mean": "present",
            "restrict_to_support": True,
            "oneway_head": "kway",
            "absent_test": "full",
            "trunk_bn": "joint",
        },
        "lite": {
            "encoder": "lite",
            "width": 64,
            "all_branches": False,
            "agm_trunk": "plain1",
            "kim": "plain",
            "ucs_rows": "id",
            "bg_mean": "present",
            "restrict_to_support": True,
            "oneway_head": "kway",
            "trunk_bn": "joint",
            "head_init": "kaiming",
            "scalar_init": "unit",
        },
    }
    """What each variant changes against the plain constructor (the released code)."""

    stages: Literal[1, 2, 3] = 2
    stage_ends: tuple[float, ...] | None = None
    areas: tuple[int, ...] | None = None
    dynamic: bool = True
    momentum: float = bounded(0.999, 0, 1, below=True)
    warmup: float = bounded(0.5, 0, 1)
    bank_during_warmup: WarmupRule = "overwrite"
    agm_trunk: TrunkKind = "plain2+sep1"
    kim: Literal["separable", "plain"] = "separable"
    screening_ids: Literal["fixed", "ucs"] = "fixed"
    ucs_rows: Literal["position", "id"] = "position"
    bg_mean: Literal["all_ids", "present"] = "all_ids"
    restrict_to_support: bool = False
    oneway_head: Literal["code", "kway"] = "code"
    ncm_scale: float = bounded(10.0, 0, above=True)
    trunk_bn: Literal["per_id", "joint"] = "per_id"
    head_init: Literal["default", "kaiming"] = "default"
    scalar_init: Literal["random", "unit"] = "random"
    fixed_beta: float | None = bounded(None, 0, 1)
    cache: Literal["test", "always", "never"] = "test"
    cache_mb: int = bounded(256, 0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder == "xception" and self.width != 256:
            raise UserError(f"model option width is {self.width}; POPNet on the Xception encoder has width 256")
        self._check_ends()
        self._check_areas()

    def _check_ends(self) -> None:
        ends = STAGE_ENDS[self.stages] if self.stage_ends is None else self.stage_ends
        rising = all(0 < a < b for a, b in pairwise(ends))
        if len(ends) != self.stages or not rising or ends[-1] != 1:
            raise UserError(
                f"model option stage_ends is {self.stage_ends}; give {self.stages} rising shares, the last one 1.0"
            )
        object.__setattr__(self, "stage_ends", ends)

    def _check_areas(self) -> None:
        areas = self.areas
        if areas is None:
            areas = _areas_of(self.n_ids) if self.stages == 3 else (0,) * self.n_ids
        if len(areas) != self.n_ids or areas[0] != 0 or not all(0 <= area < 255 for area in areas):
            raise UserError(
                f"model option areas must name one area (0: background) for each of the {self.n_ids} ids, 0 for id 0"
            )
        if self.stages == 3 and not any(areas):
            raise UserError("model option areas is all background; the second of three stages would have no classes")
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
