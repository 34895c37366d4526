"""The one list of methods: names, labels, and what each needs. Reading it imports no network, nor torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from oshp_lite.errors import UserError

if TYPE_CHECKING:
    from oshp_lite.models.base import OneShotModel


@dataclass(frozen=True)
class MethodSpec:
    """A method of the registry."""

    name: str  # what configurations call it
    label: str  # what tables call it
    module: str  # the module below `oshp_lite.models` that holds it
    cls: str  # its class there, a OneShotModel
    trainable: bool = True  # False for methods whose weights are those they start with
    needs: str = ""  # what it needs beside the package with some or all of its options, in words
    ways: tuple[str, ...] = ("k", "1")  # the kinds of episodes it parses
    one_shot: bool = True  # False for plain segmenters, which parse the classes they were trained on
    domains: bool = False  # True where one network trains over several label domains, see `engine.domains`
    trainer: str = ""  # the module whose `execute` trains and judges it, where that is not the ordinary trainer

    @property
    def path(self) -> str:
        """The full name of its module."""
        return f"oshp_lite.models.{self.module}"

    def load(self) -> type[OneShotModel]:
        """Import the module and return the class."""
        return cast("type[OneShotModel]", getattr(import_module(self.path), self.cls))

    def lacking(self, options: Mapping[str, Any]) -> str:
        """Why it cannot run here with these options ("needs ..."), or "" when it can; a look at files, no loading."""
        return self.load().lacking(options) if self.needs else ""


METHODS: dict[str, MethodSpec] = {
    spec.name: spec
    for spec in (
        MethodSpec("finetune", "Fine-tuning", "baselines.finetune", "FineTuning"),
        MethodSpec("persam", "PerSAM", "baselines.persam", "PerSAM", trainable=False, needs="SAM weights"),
        MethodSpec("panet", "PANet", "baselines.panet", "PANet"),
        MethodSpec("ppnet", "PPNet", "baselines.ppnet", "PPNet"),
        MethodSpec("sgone", "SG-One", "baselines.sgone", "SGOne"),
        MethodSpec("amp", "AMP", "baselines.amp", "AMP"),
        MethodSpec("pfenet", "PFENet", "baselines.pfenet", "PFENet"),
        MethodSpec(
            "label_transfer",
            "Nearest-patch label transfer",
            "baselines.label_transfer",
            "LabelTransfer",
            trainable=False,
            needs="DINO weights where source is not the encoder",
        ),
        MethodSpec(
            "insid3",
            "INSID3",
            "baselines.insid3",
            "Insid3",
            trainable=False,
            needs="DINO weights where source is not the encoder",
        ),
        MethodSpec("popnet", "POPNet", "popnet", "POPNet"),
        MethodSpec("eopnet", "EOP-Net", "eopnet", "EOPNet"),
        MethodSpec("segment", "Supervised segmentation", "segment", "SegmentNet", one_shot=False),
        MethodSpec(
            "sst",
            "SST",
            "sst.network",
            "SST",
            one_shot=False,
            domains=True,
            trainer="oshp_lite.engine.domain_runs",
        ),
        MethodSpec(
            "instance",
            "Instance-level parsing",
            "instance.network",
            "InstanceNet",
            ways=("k",),
            one_shot=False,
            trainer="oshp_lite.engine.instance_train",
        ),
    )
}
"""In the order of the journal's Table 2, our own row before the two papers' methods. A new method is one line here."""


def method(name: str) -> MethodSpec:
    """The method of this name. UserError for an unknown one."""
    if name not in METHODS:
        raise UserError(f"unknown method {name!r}; known: {', '.join(sorted(METHODS))}")
    return METHODS[name]


def build(name: str, **options: Any) -> OneShotModel:
    """Build a method with its options, `variant` and `seed` among them. UserError for an unknown name or option."""
    return method(name).load()(**options)
