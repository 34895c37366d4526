"""Every choice an EOP-Net can be built with, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from oshp_lite.fields import bounded
from oshp_lite.models.base import MethodConfig
from oshp_lite.models.modules.metric import TrunkKind
from oshp_lite.models.modules.prototypes import WarmupRule


@dataclass(frozen=True)
class EOPNetConfig(MethodConfig):
    """Configuration of a model; the plain constructor is the `official` preset.

    Where the journal and the released code differ, the choice is a field here. Fields that are not about the model
    (learning-rate steps, pairing, padding, test size, folds) belong to the configuration of a run in `engine`.

    | field               | official     | paper            | what it decides |
    |---------------------|--------------|------------------|-----------------------------------------------------|
    | momentum            | 0.999        | 0.999            | share of the old bank value kept (Eq. 3) |
    | proto_warmup        | 25 inclusive | 3 exclusive      | epochs with static prototypes: 26 and 3 |
    | bank_during_warmup  | overwrite    | overwrite (1)    | the bank while prototypes are static |
    | coarse_proto        | static       | momentum         | coarse prototypes; static ones are detached |
    | coarse_attention    | fg_only      | both             | attention behind the coarse logits |
    | coarse_bg_pass      | True         | False            | superfluous background pass (feeds BatchNorm only) |
    | agm_trunk           | plain2+sep1  | separable        | the layers of phi |
    | bg_mean             | all_ids      | present          | ids in the background's mean |
    | npm_scale           | 10 learnable | 10 learnable (1) | factor on the NPM's logits |
    | restrict_to_support | False        | True             | softmax and argmax over the support's ids only |
    | oneway_head         | code         | kway             | 1-way: own 1-to-2 head, or the k-way scheme |
    | contrast_bg         | True         | False            | background row in the contrastive term |
    | absent_test         | resized      | full             | mask that says which ids the support shows |
    | feature_level       | mid          | block20          | depth of the embedding (Table 7: 62 layers) |
    | joint_encode        | False        | False (1)        | query and support in one pass |
    | temperature         | 0.1          | 0.1              | tau of the contrastive term (Eq. 12) |
    | coarse_weight       | 1            | 1                | weight of the coarse term |
    | contrast_weight     | 1            | 1                | weight of the contrastive term |

    Two rows are two fields each: `proto_warmup` with `warmup_inclusive`, `npm_scale` with `npm_scale_learnable`.
    (1) not stated in the journal, the released code's value. contrast_bg False also takes the mean over the rows both
    images have, as Eq. 12 does. `width` is D of the metric spaces too. What is not listed stands in MethodConfig and
    EncoderConfig.
    `epochs` turns progress (epoch / epochs) back into the epoch the warm-up is counted in; a run of any length may keep
    50, warm-up then lasts the same share of it.

    Ours, in neither source:
    trunk_bn     "per_id": in training the fine trunk runs once per id, absent ones too, as released;
                 "joint": one pass over what the support shows. Without training both give the same.
    fixed_beta   None shifts the weight from AGM to NPM over training; a number in [0,1] keeps beta there
    scalar_init  "random" (released code, N(0, 2): any sign) or "unit": affine maps start as identity
    """

    name: ClassVar[str] = "eopnet"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": {
            "all_branches": False,
            "proto_warmup": 3,
            "warmup_inclusive": False,
            "coarse_proto": "momentum",
            "coarse_attention": "both",
            "coarse_bg_pass": False,
            "agm_trunk": "separable",
            "bg_mean": "present",
            "restrict_to_support": True,
            "oneway_head": "kway",
            "contrast_bg": False,
            "absent_test": "full",
            "feature_level": "block20",
            "trunk_bn": "joint",
        },
        "lite": {
            "encoder": "lite",
            "width": 64,
            "all_branches": False,
            "proto_warmup": 3,
            "warmup_inclusive": False,
            "coarse_proto": "momentum",
            "coarse_bg_pass": False,
            "agm_trunk": "plain1",
            "bg_mean": "present",
            "restrict_to_support": True,
            "oneway_head": "kway",
            "trunk_bn": "joint",
            "unlabelled": "class",
            "scalar_init": "unit",
        },
    }
    """What each variant changes against the plain constructor (the released code)."""

    epochs: int = bounded(50, 1)
    momentum: float = bounded(0.999, 0, 1, below=True)
    proto_warmup: int = 25
    warmup_inclusive: bool = True
    bank_during_warmup: WarmupRule = "overwrite"
    coarse_proto: Literal["static", "momentum"] = "static"
    coarse_attention: Literal["fg_only", "both"] = "fg_only"
    coarse_bg_pass: bool = True
    agm_trunk: TrunkKind = "plain2+sep1"
    bg_mean: Literal["all_ids", "present"] = "all_ids"
    npm_scale: float = bounded(10.0, 0, above=True)
    npm_scale_learnable: bool = True
    restrict_to_support: bool = False
    oneway_head: Literal["code", "kway"] = "code"
    contrast_bg: bool = True
    joint_encode: bool = False
    temperature: float = bounded(0.1, 0, above=True)
    coarse_weight: float = bounded(1.0, 0)
    contrast_weight: float = bounded(1.0, 0)
    trunk_bn: Literal["per_id", "joint"] = "per_id"
    fixed_beta: float | None = bounded(None, 0, 1)
    scalar_init: Literal["random", "unit"] = "random"

    @property
    def warmup_epochs(self) -> int:
        """Number of epochs whose prototypes are static."""
        return self.proto_warmup + int(self.warmup_inclusive)
