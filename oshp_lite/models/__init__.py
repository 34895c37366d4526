"""Encoders, prototypes, metric modules, losses and the networks; two names are loaded when asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from oshp_lite.models.base import PredictOptions
    from oshp_lite.models.eopnet import EOPNet

__all__ = ["EOPNet", "PredictOptions"]


def __getattr__(name: str) -> Any:
    """Load a public name from the module that holds it."""
    if name in __all__:
        return getattr(import_module("oshp_lite.models.eopnet" if name == "EOPNet" else "oshp_lite.models.base"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
