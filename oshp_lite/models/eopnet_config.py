"""Every choice an EOP-Net can be built with, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_type_hints

from oshp_lite.errors import UserError
from oshp_lite.models.encoders.xception import FeatureLevel
from oshp_lite.models.modules.metric import TrunkKind
from oshp_lite.models.modules.prototypes import WarmupRule

Variant = Literal["official", "paper", "lite"]


def check_kinds(config: Any) -> None:
    """Raise UserError when a field of a configuration holds a value of another kind than its annotation says."""
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if getattr(kind, "__origin__", None) is Literal and value not in get_args(kind):
            choices = ", ".join(str(choice) for choice in get_args(kind))
            raise UserError(f"model option {name} is {value!r}; choose one of: {choices}")
        if kind is bool and not isinstance(value, bool):
            raise UserError(f"model option {name} is {value!r}; it must be true or false")
        if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, int | kind)):
            raise UserError(f"model option {name} is {value!r}; it must be a number of type {kind.__name__}")


@dataclass(frozen=True)
class EOPNetConfig:
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
    | screening           | True         | True (1)         | non-person pixels of the answer become 0 |
    | skip_agm_at_test    | True (2)     | True             | `predict` leaves the AGM out |
    | feature_level       | mid          | block20          | depth of the embedding (Table 7: 62 layers) |
    | joint_encode        | False        | False (1)        | query and support in one pass |
    | bn_sync             | False        | False (1)        | BatchNorm synchronised between processes |
    | temperature         | 0.1          | 0.1              | tau of the contrastive term (Eq. 12) |
    | coarse_weight       | 1            | 1                | weight of the coarse term |
    | contrast_weight     | 1            | 1                | weight of the contrastive term |

    Two rows are two fields each: `proto_warmup` with `warmup_inclusive`, `npm_scale` with `npm_scale_learnable`.
    (1) not stated in the journal, the released code's value. (2) the released code computes it and throws it away;
    the NPM's answer is the same. contrast_bg False also takes the mean over the rows both images have, as Eq. 12 does.

    Size: `n_ids` raw ids, `way` "k" or "1", `width` D of the metric spaces, `encoder` "xception" or "lite",
    `all_branches` holds the unused parts of the encoder too, `lite_channels` (strides 2, 4, 8, 16), `lite_depth`
    residual blocks at stride 16.
    `epochs` turns progress (epoch / epochs) back into the epoch the warm-up is counted in; a run of any length may keep
    50, warm-up then lasts the same share of it.

    Ours, in neither source:
    trunk_bn               "per_id": in training the fine trunk runs once per id, absent ones too, as released;
                           "joint": one pass over what the support shows. Without training both give the same.
    unlabelled_foreground  what a k-way network makes of training pixels that are person in the coarse mask and
                           background in the class mask, where novel garments hide: "background" (both sources),
                           "ignore", or "class": one more class that support and query share, so that such pixels are
                           matched too. Nothing but the coarse mask is used, which EOP-Net gets anyway
    predict_from           "npm" or "agm"
    fixed_beta             None shifts the weight from AGM to NPM over training; a number in [0,1] keeps beta there
    scalar_init            "random" (released code, N(0, 2): any sign) or "unit": affine maps start as identity
    """

    n_ids: int = 18
    way: Literal["k", "1"] = "k"
    width: int = 256
    encoder: Literal["xception", "lite"] = "xception"
    all_branches: bool = True
    lite_channels: tuple[int, int, int, int] = (24, 48, 96, 144)
    lite_depth: int = 2
    epochs: int = 50
    momentum: float = 0.999
    proto_warmup: int = 25
    warmup_inclusive: bool = True
    bank_during_warmup: WarmupRule = "overwrite"
    coarse_proto: Literal["static", "momentum"] = "static"
    coarse_attention: Literal["fg_only", "both"] = "fg_only"
    coarse_bg_pass: bool = True
    agm_trunk: TrunkKind = "plain2+sep1"
    bg_mean: Literal["all_ids", "present"] = "all_ids"
    npm_scale: float = 10.0
    npm_scale_learnable: bool = True
    restrict_to_support: bool = False
    oneway_head: Literal["code", "kway"] = "code"
    contrast_bg: bool = True
    absent_test: Literal["resized", "full"] = "resized"
    screening: bool = True
    skip_agm_at_test: bool = True
    feature_level: FeatureLevel = "mid"
    joint_encode: bool = False
    bn_sync: bool = False
    temperature: float = 0.1
    coarse_weight: float = 1.0
    contrast_weight: float = 1.0
    trunk_bn: Literal["per_id", "joint"] = "per_id"
    unlabelled_foreground: Literal["background", "ignore", "class"] = "background"
    predict_from: Literal["npm", "agm"] = "npm"
    fixed_beta: float | None = None
    scalar_init: Literal["random", "unit"] = "random"

    def __post_init__(self) -> None:
        check_kinds(self)
        object.__setattr__(self, "lite_channels", tuple(self.lite_channels))
        positive = ("width", "lite_depth", "epochs", "temperature", "npm_scale")
        wrong = [name for name in positive if not getattr(self, name) > 0]
        if self.n_ids < 2 or self.n_ids > 255:
            raise UserError(f"model option n_ids is {self.n_ids}; a label space has between 2 and 255 ids")
        if wrong:
            raise UserError(f"model option {wrong[0]} is {getattr(self, wrong[0])}; it must be above 0")
        if not 0 <= self.momentum < 1:
            raise UserError(f"model option momentum is {self.momentum}; it must lie in [0,1)")
        if self.fixed_beta is not None and not 0 <= self.fixed_beta <= 1:
            raise UserError(f"model option fixed_beta is {self.fixed_beta}; it must lie in [0,1] or be null")

    @property
    def channels(self) -> int:
        """Channels of the answer: raw ids in k-way, background and the asked class in 1-way."""
        return self.n_ids if self.way == "k" else 2

    @property
    def warmup_epochs(self) -> int:
        """Number of epochs whose prototypes are static."""
        return self.proto_warmup + int(self.warmup_inclusive)

    @classmethod
    def preset(cls, variant: Variant | str = "official", **changes: Any) -> EOPNetConfig:
        """Return a preset with some fields changed. Raises UserError for an unknown variant, field or value."""
        if variant not in PRESETS:
            raise UserError(f"unknown model variant {variant!r}; choose one of: {', '.join(PRESETS)}")
        unknown = sorted(set(changes) - {field.name for field in fields(cls)})
        if unknown:
            raise UserError(f"unknown model option {unknown[0]!r}; see EOPNetConfig for the options there are")
        return replace(cls(), **{**PRESETS[variant], **changes})

    @classmethod
    def official(cls, **changes: Any) -> EOPNetConfig:
        """The released code's choices (the bold values of the comparison)."""
        return cls.preset("official", **changes)

    @classmethod
    def paper(cls, **changes: Any) -> EOPNetConfig:
        """The journal's choices where it states one, else the released code's."""
        return cls.preset("paper", **changes)

    @classmethod
    def lite(cls, **changes: Any) -> EOPNetConfig:
        """A model that trains on a CPU: the lite encoder under the same heads, all ids in one pass."""
        return cls.preset("lite", **changes)


PRESETS: dict[str, dict[str, Any]] = {
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
        "unlabelled_foreground": "class",
        "scalar_init": "unit",
    },
}
"""What each variant changes against the plain constructor (the released code)."""
