"""One place that turns encoder options into an encoder, so that every method names and builds it alike."""

from __future__ import annotations

from typing import Any

from oshp_lite.errors import UserError
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.models.encoders.xception import XceptionEncoder
from oshp_lite.models.eopnet_config import EOPNetConfig

ENCODER_OPTIONS = ("encoder", "width", "feature_level", "all_branches", "lite_channels", "lite_depth")
"""Those options of a model that describe its encoder."""


def build_encoder(variant: str = "lite", **options: Any) -> LiteEncoder | XceptionEncoder:
    """Build the encoder of a variant with some of `ENCODER_OPTIONS` changed; `.out_channels` tells its width.

    Draws from torch's global generator, so callers fork and seed it. Raises UserError for another option or value.
    """
    unknown = sorted(set(options) - set(ENCODER_OPTIONS))
    if unknown:
        raise UserError(f"unknown encoder option {unknown[0]!r}; known: {', '.join(ENCODER_OPTIONS)}")
    return encoder_of(EOPNetConfig.preset(variant, **options))


def encoder_of(config: EOPNetConfig) -> LiteEncoder | XceptionEncoder:
    """Build the encoder that a configuration describes."""
    if config.encoder == "lite":
        return LiteEncoder(config.width, config.lite_channels, config.lite_depth)
    return XceptionEncoder(config.feature_level, all_branches=config.all_branches)
