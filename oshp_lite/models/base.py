"""What every one-shot method is: its contract, its prediction, and what its weights file says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import MISFIT, annotations_of, fitted
from oshp_lite.models.rules import EpisodeRules, MethodConfig, Parsing, mask_absent_logits

Source = Literal["npm", "agm"]


@dataclass(frozen=True)
class Prediction:
    """What `predict` gives."""

    ids: Tensor  # int64 [B,H,W] raw ids in k-way, 0 / 1 in 1-way
    person: Tensor | None = None  # bool [B,H,W] the person mask that screening goes by, for methods that have one
    scores: Tensor | None = None  # float [B,C,H,W] the logits behind the ids, where they were asked for


@dataclass(frozen=True)
class PredictOptions:
    """Choices of an evaluation; no method's configuration repeats them."""

    source: Source = "npm"  # which logits decide: "npm" (every method's own) or "agm"
    screening: bool = True  # pixels outside the person mask become 0, for methods that have such a mask
    restrict: bool | None = None  # only the support's ids may win; None: as the method's configuration or paper has it
    scores: bool = False  # keep the logits in the prediction


@dataclass(frozen=True)
class CheckpointRecord:
    """What a weights file says about itself: how the network is built, and what it was trained on."""

    method: str
    options: dict[str, Any]
    way: str
    n_ids: int
    space: str  # the label space of its ids
    channels: str = "rgb"  # order of the photos it was made for
    size: int | tuple[int, int] = 512  # of those photos: one number, or height and width
    dataset: str = ""
    fold: dict[str, Any] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)  # the whole configuration of the run
    more: dict[str, Any] = field(default_factory=dict)  # whatever else stands in the file

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CheckpointRecord:
        """Read what `as_dict` wrote. UserError naming an entry that is missing or of another kind."""
        if not isinstance(values, Mapping):
            raise UserError("it is no group of entries")
        hints = annotations_of(cls)
        kept: dict[str, Any] = {"more": {name: value for name, value in values.items() if name not in hints}}
        for name in [item.name for item in fields(cls) if item.name != "more"]:
            if name in values:
                kept[name] = fitted(hints[name], values[name])
                if kept[name] is MISFIT:
                    raise UserError(f"the entry {name!r} cannot be {values[name]!r}")
            elif name in ("method", "options", "way", "n_ids", "space"):
                raise UserError(f"the entry {name!r} is missing")
        return cls(**kept)

    def as_dict(self) -> dict[str, Any]:
        """A form that JSON takes."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {**values.pop("more"), **values}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator of its own inside the block; the global one is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule has its own mode back (some may be frozen)."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


class OneShotModel(EpisodeRules):
    """Base class of every method.

    A method has a `Config`, builds its parts in `build`, and writes `forward` and `losses`. `Model(config)` or
    `Model(variant="lite", n_ids=18, ...)` with the fields of its Config; `seed` fixes the initial weights without
    touching the global generator.
    """

    Config: ClassVar[type[MethodConfig]]
    trainable: ClassVar[bool] = True  # False for methods whose weights are those they start with
    sources: ClassVar[tuple[Source, ...]] = ("npm",)  # whose logits may decide a prediction
    has_person_mask: ClassVar[bool] = False  # whether `Prediction.person` is given and can screen a prediction
    unrestricted: ClassVar[bool] = False  # whether ids that the support does not show can win (`restrict` False)
    stage_ends: tuple[float, ...] = (1.0,)  # shares of the training budget at which stages trained in sequence end
    record: CheckpointRecord | None = None  # what the weights file says of the weights

    def __init__(self, config: MethodConfig | None = None, *, seed: int = 0, **options: Any) -> None:
        super().__init__()
        self.config = config = self.Config.preset(**options) if config is None else replace(config, **options)
        self.seed = seed
        self.n_ids, self.way = config.n_ids, config.way
        with seeded(seed):
            self.build()

    def build(self) -> None:
        """Make the parts; torch's generator is seeded already."""
        raise NotImplementedError

    @classmethod
    def lacking(cls, options: Mapping[str, Any]) -> str:
        """Why it cannot run here with these options ("needs ..."), or "" when it can; a look at files, no loading."""
        return ""

    def encoders(self) -> list[nn.Module]:
        """The encoders that first weights go into."""
        return [part for name, part in self.named_children() if name == "encoder"]

    def prototype_bank(self) -> Tensor | None:
        """The stored prototypes of the classes, float [n_ids,D]; None for methods that store none."""
        return None

    def coarse_prototypes(self) -> Tensor | None:
        """The stored prototypes of scene and person, float [2,D]; None for methods that store none."""
        return None

    def forward(self, batch: Episode, *, progress: float | None = None) -> Parsing:
        """Parse every query of the batch; its masks are not looked at. progress: epoch / epochs in [0,1), None at test.

        Raises ValueError for an episode that does not fit.
        """
        raise NotImplementedError

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the terms of the objective, each float []; `total` is what the trainer minimises."""
        raise NotImplementedError

    def check_options(self, options: PredictOptions) -> None:
        """Raise UserError for options that the method does not have."""
        name = self.Config.name
        if options.source not in self.sources:
            raise UserError(f"method {name} has no {options.source} logits; use {' or '.join(self.sources)}")
        if options.restrict is False and not self.unrestricted:
            raise UserError(f"method {name} compares with the support's classes only; leave restrict open")

    @torch.no_grad()
    def predict(self, batch: Episode, options: PredictOptions | None = None) -> Prediction:
        """Parse with ids. Runs in evaluation mode and writes nothing, whatever mode the network is in.

        Raises UserError for options that the method does not have.
        """
        options = options or PredictOptions()
        self.check_options(options)
        with evaluating(self):
            batch = self.checked(batch)
            parsing = self.parse_at_test(batch, options)
            logits = parsing.fine if options.source == "npm" else cast(Tensor, parsing.agm)
            present = self.winning_classes(batch, options)
            logits = logits if present is None else mask_absent_logits(logits, present)
            ids = self.decide(logits, batch)
        person = None
        if self.has_person_mask:
            person = cast(Tensor, parsing.coarse).argmax(1) == 1
            ids = ids * person if options.screening else ids
        return Prediction(ids, person, logits if options.scores else None)

    def parse_at_test(self, batch: Episode, options: PredictOptions) -> Parsing:
        """The forward pass of a prediction."""
        parsing: Parsing = self(batch)
        return parsing

    def winning_classes(self, batch: Episode, options: PredictOptions) -> Tensor | None:
        """Which ids may win a prediction, bool [B,n_logits]; None: those whose logits the forward pass left open."""
        return None if options.restrict is False else self.support_classes(batch)

    def decide(self, logits: Tensor, batch: Episode) -> Tensor:
        """The ids int64 [B,H,W] that logits float [B,C,H,W] stand for."""
        return logits.argmax(1)
