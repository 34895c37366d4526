"""One place that describes and builds an encoder, so that every method names and builds it alike."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

from oshp_lite.errors import UserError
from oshp_lite.fields import bounded, check_fields
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.models.encoders.xception import FeatureLevel, XceptionEncoder

MOVED = {
    "predict_from": "eval.source",
    "screening": "eval.screening",
    "restrict": "eval.restrict",
    "unlabelled_foreground": "data.condition",
}
"""Choices that were options of methods, and what holds them."""


@dataclass(frozen=True)
class EncoderConfig:
    """What an encoder is built from; the plain constructor is the `official` preset."""

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "official": {},
        "paper": {"all_branches": False, "feature_level": "block20"},
        "lite": {"encoder": "lite", "width": 64, "all_branches": False},
    }
    """What each variant changes against the plain constructor."""
    name: ClassVar[str] = "encoder"
    variant: ClassVar[str] = "official"
    """The preset when none is named."""

    encoder: Literal["xception", "lite"] = "xception"  # the papers', or ours for CPUs
    width: int = bounded(256, 1)  # channels of the lite encoder's features; the Xception encoder has 256
    # depth of the Xception embedding, and whether its unused parts are held too, see XceptionEncoder
    feature_level: FeatureLevel = "mid"
    all_branches: bool = True
    # of the lite encoder at strides 2, 4, 8 and 16, and its residual blocks at stride 16
    lite_channels: tuple[int, int, int, int] = bounded((24, 48, 96, 144), 1)
    lite_depth: int = bounded(2, 1)

    def __post_init__(self) -> None:
        check_fields(self, "model option ")

    @classmethod
    def preset(cls, variant: str | None = None, **changes: Any) -> Self:
        """Return a preset with some fields changed. Raises UserError for an unknown variant, field or value."""
        variant = cls.variant if variant is None else variant
        if variant not in cls.PRESETS:
            raise UserError(f"unknown model variant {variant!r}; choose one of: {', '.join(cls.PRESETS)}")
        known = sorted(field.name for field in fields(cls))
        for unknown in sorted(set(changes) - set(known)):
            if unknown in MOVED:
                raise UserError(f"{unknown} is no option of a method; set {MOVED[unknown]}")
            raise UserError(f"method {cls.name} has no option {unknown!r}; known: {', '.join(known)}")
        return cls(**{**cls.PRESETS[variant], **changes})

    @classmethod
    def official(cls, **changes: Any) -> Self:
        """The released code's choices."""
        return cls.preset("official", **changes)

    @classmethod
    def paper(cls, **changes: Any) -> Self:
        """The paper's choices where it states one, else the released code's."""
        return cls.preset("paper", **changes)

    @classmethod
    def lite(cls, **changes: Any) -> Self:
        """Choices that train on a CPU: the lite encoder."""
        return cls.preset("lite", **changes)


ENCODER_OPTIONS = tuple(field.name for field in fields(EncoderConfig))
"""Those options of a model that describe its encoder."""


def build_encoder(config: EncoderConfig) -> LiteEncoder | XceptionEncoder:
    """Build the encoder that a configuration describes; `.out_channels` says its width.

    Draws from torch's global generator, so callers fork and seed it.
    """
    if config.encoder == "lite":
        return LiteEncoder(config.width, config.lite_channels, config.lite_depth)
    return XceptionEncoder(config.feature_level, all_branches=config.all_branches)
