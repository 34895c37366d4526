"""Every choice of the instance-level parser, the paper's and the one that trains on a CPU.

Source: "A Top-down Unified Framework for Instance-level Human Parsing" (BMVC 2019), sections 3.1 and 3.2. [P] is
stated there; [F] are the usual values of Faster R-CNN with a feature pyramid where the paper is silent; [C] is our
choice, with its reason beside the field.

    option              paper                          lite                  source
    trunk               resnet101                      lite                  [P]
    pyramid             256                            32                    [F]
    extra_level         True                           False                 [F]
    anchor_sizes        (32, 64, 128, 256, 512)        (14, 28, 48, 80)      [F]
    anchor_ratios       (0.5, 1.0, 2.0)                (1.0, 2.0, 3.5)       [F]
    rpn_samples         256                            48                    [F]
    rpn_before          (2000, 1000)                   (60, 60)              [F]
    rpn_after           (2000, 1000)                   (80, 60)              [F], 1000 at test [P]
    rois                512                            48                    [P]
    parsed              16                             6                     [C]
    canonical           224                            112                   [F]
    box_size            14                             7                     [P]
    attention_size      14                             7                     [P]
    parsing_size        28                             14                    [P]
    samples             2                              1                     [F]
    box_convs           4                              2                     [P]
    convs               4                              4                     [P]
    box_hidden          1024                           128                   [F]
    groups              32                             8                     [F]
    detections          100                            30                    [F]

The same in both: rpn_iou (0.7, 0.3), rpn_nms 0.7 [F]; roi_iou 0.5, roi_share 0.25 [P]; fusion "max", join
"concat_after_conv4", alpha 5 [P]; score 0.05, nms 0.5 [F].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded
from oshp_lite.models.base import MethodConfig

Join = Literal["none", "dot_after_conv3_sum", "dot_after_conv4_sum", "concat_after_conv4_trans", "concat_after_conv4"]
Fusion = Literal["max", "conv_max", "single"]

_LITE: dict[str, Any] = {
    "encoder": "lite",
    "width": 64,
    "all_branches": False,
    "trunk": "lite",
    "pyramid": 32,
    "extra_level": False,
    "anchor_sizes": (14.0, 28.0, 48.0, 80.0),
    "anchor_ratios": (1.0, 2.0, 3.5),
    "rpn_samples": 48,
    "rpn_before": (60, 60),
    "rpn_after": (80, 60),
    "rois": 48,
    "parsed": 6,
    "canonical": 112.0,
    "box_size": 7,
    "attention_size": 7,
    "parsing_size": 14,
    "samples": 1,
    "box_convs": 2,
    "box_hidden": 128,
    "groups": 8,
    "detections": 30,
}


@dataclass(frozen=True)
class InstanceConfig(MethodConfig):
    """Configuration of the instance-level parser; the plain constructor is the paper's. See the module's table."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {"official": {}, "paper": {}, "lite": _LITE}
    """The authors released no code, so "official" is the paper."""
    name: ClassVar[str] = "instance"
    variant: ClassVar[str] = "lite"

    # backbone: the lite encoder's stages, or ResNet-101 with a file of ImageNet weights (transformers' safetensors)
    trunk: Literal["lite", "resnet101"] = "resnet101"
    trunk_weights: str = ""
    pyramid: int = bounded(256, 1)  # channels of every level
    extra_level: bool = True  # a fifth level at stride 64, for proposals alone
    # anchors: one size a level, in pixels, and ratios height / width (people are upright, hence the lite ones)
    anchor_sizes: tuple[float, ...] = bounded((32.0, 64.0, 128.0, 256.0, 512.0), 1)
    anchor_ratios: tuple[float, ...] = bounded((0.5, 1.0, 2.0), 0.01)
    # proposals: IoU from which an anchor is positive and below which it is negative; anchors that learn, a photo
    rpn_iou: tuple[float, float] = bounded((0.7, 0.3), 0, 1)
    rpn_samples: int = bounded(256, 2)
    rpn_nms: float = bounded(0.7, 0, 1)
    rpn_before: tuple[int, int] = bounded((2000, 1000), 1)  # best anchors of a level, in training and at test
    rpn_after: tuple[int, int] = bounded((2000, 1000), 1)  # proposals of a photo behind NMS
    # regions of a photo that the box head learns from, the share of positives, and the IoU that they exceed
    rois: int = bounded(512, 2)
    roi_share: float = bounded(0.25, 0, 1, above=True)
    roi_iou: float = bounded(0.5, 0, 1)
    parsed: int = bounded(16, 1)  # positives of a photo that are parsed: 128 of 28x28x256x4 levels are too heavy
    # side of a region that belongs to stride 16 (boxes.levels_of): as many cells of it as bins of 14, or 7
    canonical: float = bounded(224.0, 1)
    box_size: int = bounded(14, 1)
    attention_size: int = bounded(14, 1)
    parsing_size: int = bounded(28, 1)
    samples: int = bounded(2, 1)  # sampling points a bin and axis of RoIAlign
    box_convs: int = bounded(4, 0)
    convs: int = bounded(4, 1)  # of the attention and the parsing branch
    box_hidden: int = bounded(1024, 1)
    groups: int = bounded(32, 1)  # of the parsing branch's group normalisation
    # "regions" is the paper's; "separate" and "bottom-up" are what it is compared with (`instance.rivals`)
    design: Literal["regions", "separate", "bottom-up"] = "regions"
    # label space of a procedural dataset's masks: its own, or PASCAL-Person-Part's 7 on the same scenes (Table 4)
    labels: Literal["own", "pascal"] = "own"
    edge: float = bounded(0.5, 0, 1)  # bottom-up: probability from which a pixel is an edge between people
    least: int = bounded(30, 1)  # bottom-up: pixels below which a group is nobody
    # how the parsing branch sees the levels: their maximum; the maximum behind a convolution each (PANet); one level
    fusion: Fusion = "max"
    # where and how the attention map enters the parsing branch (Table 5); "none": no attention branch at all.
    # "_sum" is read as product plus the features themselves, "_trans" as a convolution behind the concatenation [C]
    join: Join = "concat_after_conv4"
    alpha: float = bounded(5.0, 0)  # weight of the parsing loss (Eq. 1)
    # detections at test: least score, NMS, how many a photo
    score: float = bounded(0.05, 0, 1)
    nms: float = bounded(0.5, 0, 1)
    detections: int = bounded(100, 1, 254)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.join != "none" and self.parsing_size != 2 * self.attention_size:
            raise UserError("model option parsing_size must be twice attention_size: attention is joined at its double")
        if self.pyramid % self.groups:
            raise UserError(f"model option pyramid is {self.pyramid}; it must be a multiple of groups, {self.groups}")
        if self.convs < 3 and "conv3" in self.join:
            raise UserError(f"model option join {self.join} needs convs of at least 3")
        if len(self.anchor_sizes) != self.levels:
            raise UserError(f"model option anchor_sizes must have {self.levels} entries, one a level")

    @property
    def levels(self) -> int:
        """Levels that propose: four, from stride 4 to 32, and the extra one."""
        return 4 + int(self.extra_level)
