"""Encoders, prototypes, metric modules, losses and the networks; names are loaded when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oshp_lite.models.base import OneShotModel, Parsing, Prediction, PredictOptions
    from oshp_lite.models.eopnet import EOPNet
    from oshp_lite.models.eopnet_config import EOPNetConfig
    from oshp_lite.models.registry import METHODS, MethodSpec, build

_HOMES = {
    "OneShotModel": "base",
    "Parsing": "base",
    "Prediction": "base",
    "PredictOptions": "base",
    "EOPNet": "eopnet",
    "EOPNetConfig": "eopnet_config",
    "METHODS": "registry",
    "MethodSpec": "registry",
    "build": "registry",
}

__all__ = [
    "METHODS",
    "EOPNet",
    "EOPNetConfig",
    "MethodSpec",
    "OneShotModel",
    "Parsing",
    "PredictOptions",
    "Prediction",
    "build",
]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it."""
    if name in _HOMES:
        return getattr(import_module(f"oshp_lite.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
