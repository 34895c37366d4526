"""Every choice an EOP-Net can be built with, and the presets over them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from oshp_lite.fields import bounded
from oshp_lite.models.dual import DualMetricConfig

_MOMENTUM = {"proto_warmup": 3, "warmup_inclusive": False, "coarse_proto": "momentum", "coarse_bg_pass": False}


@dataclass(frozen=True)
class EOPNetConfig(DualMetricConfig):
    """Configuration of an EOP-Net; the plain constructor is the `official` preset.

    Fields that are not about the model (learning-rate steps, pairing, padding, test size, folds) belong to the
    configuration of a run in `engine`. `width` is D of the metric spaces too; feature level "block20" is the 62 layers
    of the journal's Table 7.
    """

    name: ClassVar[str] = "eopnet"
    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": DualMetricConfig.PRESETS["paper"]
        | _MOMENTUM
        | {"coarse_attention": "both", "contrast_bg": False, "feature_level": "block20"},
        "lite": DualMetricConfig.PRESETS["lite"] | _MOMENTUM | {"unlabelled": "class"},
    }

    # turns progress (epoch / epochs) back into an epoch of the warm-up; a run of any length may keep 50
    epochs: int = bounded(50, 1)
    # epochs with static prototypes, and one more where the bound itself belongs to them: 26 in all; the paper has 3
    proto_warmup: int = 25
    warmup_inclusive: bool = True
    coarse_proto: Literal["static", "momentum"] = "static"  # the coarse prototypes; static ones are detached
    coarse_attention: Literal["fg_only", "both"] = "fg_only"  # attention behind the coarse logits
    coarse_bg_pass: bool = True  # a superfluous pass over the background, which feeds BatchNorm only
    # factor on the NPM's logits; not stated in the journal
    npm_scale: float = bounded(10.0, 0, above=True)
    npm_scale_learnable: bool = True
    # background row in the contrastive term; without it the mean runs over the rows both images have, as in Eq. 12
    contrast_bg: bool = True
    joint_encode: bool = False  # query and support in one pass; not stated in the journal
    temperature: float = bounded(0.1, 0, above=True)  # tau of the contrastive term (Eq. 12)
    # of the terms beside AGM and NPM in the total (Eq. 13)
    coarse_weight: float = bounded(1.0, 0)
    contrast_weight: float = bounded(1.0, 0)

    @property
    def warmup_epochs(self) -> int:
        """Number of epochs whose prototypes are static."""
        return self.proto_warmup + int(self.warmup_inclusive)
