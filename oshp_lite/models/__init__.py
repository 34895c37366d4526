"""Floor 2: encoders, prototypes, metric modules, losses and the networks; importing it fills the method registry."""

from oshp_lite.models.base import OneShotParser, Parsing, build, methods, register
from oshp_lite.models.eopnet import EOPNet, build_eopnet
from oshp_lite.models.eopnet_config import EOPNetConfig

__all__ = ["EOPNet", "EOPNetConfig", "OneShotParser", "Parsing", "build", "build_eopnet", "methods", "register"]
