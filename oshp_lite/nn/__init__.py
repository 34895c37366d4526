"""Floor 2: encoders, prototypes, metric modules, losses and the networks; importing it fills the method registry."""

from oshp_lite.nn.eopnet import EOPNet, build_eopnet
from oshp_lite.nn.eopnet_config import EOPNetConfig
from oshp_lite.nn.parser import OneShotParser, Parsing, build, methods, register

__all__ = ["EOPNet", "EOPNetConfig", "OneShotParser", "Parsing", "build", "build_eopnet", "methods", "register"]
