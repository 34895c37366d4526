"""The registered network of people one by one: the paper's, or by its option `design` one that it is compared with."""

from __future__ import annotations

from typing import Any

from oshp_lite.models.instance.config import InstanceConfig
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.instance.rivals import RIVALS


class InstanceNet(RegionNet):
    """The paper's network; with the option `design` another one, which is made in its place."""

    def __new__(cls, config: InstanceConfig | None = None, **options: Any) -> RegionNet:  # type: ignore[misc]
        """Make the network of the design. An unknown one is refused by the configuration."""
        design = options.get("design", "regions" if config is None else config.design)
        if design in RIVALS:
            return RIVALS[design](config, **options)
        return super().__new__(cls)
