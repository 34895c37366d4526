"""What every one-shot method is: how it reads an episode, its contract, its prediction, what its weights file says."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.errors import UserError
from oshp_lite.fields import MISFIT, annotations_of, bounded, fitted
from oshp_lite.models.encoders import EncoderConfig
from oshp_lite.models.modules.layers import Resampling, resize
from oshp_lite.models.modules.losses import restrict_target
from oshp_lite.models.modules.prototypes import present_ids, shrink_mask

ABSENT = -1.0e4  # logit of an id that may not win; finite, so that resampling it stays finite


@dataclass
class Parsing:
    """What a forward pass gives: named logits at the query's size."""

    fine: Tensor  # float [B,C,H,W] over raw ids (1-way: C = 2, background and the target class)
    agm: Tensor | None = None  # float [B,C,H,W] of the attention guidance module
    coarse: Tensor | None = None  # float [B,2,H,W] scene against person
    extras: dict[str, Tensor] = field(default_factory=dict)  # what the method's own losses need, for them alone

    @property
    def npm(self) -> Tensor:
        """The nearest prototype module's logits: EOP-Net's `fine`."""
        return self.fine

    ncm = npm  # POPNet's nearest centroid module


@dataclass(frozen=True)
class MethodConfig(EncoderConfig):
    """What every method's configuration has beside its encoder."""

    # raw ids of the label space, background included, and the kind of episodes
    n_ids: int = bounded(18, 2, 255)
    way: Literal["k", "1"] = "k"
    # what k-way training makes of pixels that are person in the coarse mask and background in the class mask, where
    # novel garments hide: background (the papers), 255, or one more class behind the raw ids, which support and query
    # share (ours; nothing but the coarse mask is used for it)
    unlabelled: Literal["background", "ignore", "class"] = "background"
    # mask that says which ids the support shows: at stride 4 (the released code's), or in full
    absent_test: Literal["resized", "full"] = "resized"

    @property
    def n_logits(self) -> int:
        """Logits a pixel has: one for each raw id in k-way; background and the target class in 1-way."""
        return self.n_ids if self.way == "k" else 2


def mask_absent_logits(logits: Tensor, present: Tensor) -> Tensor:
    """Set the channels of absent ids to `ABSENT`; logits float [B,C,h,w], present bool [B,C]."""
    return logits.masked_fill(~present[..., None, None], ABSENT)


class EpisodeRules(nn.Module):
    """How an episode's masks are read, for methods and for the stages of one."""

    config: MethodConfig
    resampling: ClassVar[Resampling] = "aligned"  # how logits are brought to the image's size
    image_channels = 3
    photo_type: torch.dtype | None = None  # of the photos' numbers; None: that of the weights

    @property
    def n_logits(self) -> int:
        """Logits a pixel has in `Parsing.fine`."""
        return self.config.n_logits

    @property
    def unlabelled_class(self) -> bool:
        """Whether the person's unlabelled pixels are one more class behind the raw ids (k-way training only)."""
        return self.training and self.config.way == "k" and self.config.unlabelled == "class"

    @property
    def rows(self) -> int:
        """Logits to compute with: `n_logits`, and one more for the unlabelled class while there is one."""
        return self.n_logits + int(self.unlabelled_class)

    def label_unlabelled(self, mask: Tensor, foreground: Tensor) -> Tensor:
        """Give the person's unlabelled pixels the id that `unlabelled` says, in k-way training; int64, shape kept."""
        if not self.training or self.config.way != "k" or self.config.unlabelled == "background":
            return mask
        label = self.config.n_ids if self.unlabelled_class else IGNORE
        return mask.masked_fill((mask == 0) & (foreground == 1), label)

    def support_mask(self, batch: Episode) -> Tensor:
        """The support mask to learn from: int64 [B,H',W'] with ids below `rows`, and 255."""
        return self.label_unlabelled(batch.support_mask, batch.support_foreground)

    def tested(self, mask: Tensor) -> Tensor:
        """The mask that says which ids the support shows: itself, or at stride 4."""
        full = self.config.absent_test == "full"
        return mask if full else shrink_mask(mask, [math.ceil(side / 4) for side in mask.shape[-2:]])

    def support_classes(self, batch: Episode) -> Tensor:
        """Which ids the support shows, bool [B,rows]; the background always."""
        present = present_ids(self.tested(self.support_mask(batch)), self.rows)
        present[:, 0] = True
        return present

    def target(self, batch: Episode) -> Tensor:
        """The target int64 [B,H,W]: the query mask with ids that the support does not show as background; 255 stays.

        Unlabelled pixels of the person are what `unlabelled` says, in k-way training; else background. Raises
        ValueError when the batch has no query masks.
        """
        batch = self.checked(batch, images=False)
        label, foreground = batch.query_mask, batch.query_foreground
        if label is None or foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        label = self.label_unlabelled(label, foreground)
        target = restrict_target(label, self.tested(self.support_mask(batch)), self.rows)
        if not self.unlabelled_class:
            return target
        # without such pixels in the support nothing is known of those of the query
        return target.masked_fill((label == self.config.n_ids) & (target == 0), IGNORE)

    def parsing(
        self,
        fine: Tensor,
        batch: Episode,
        *,
        present: Tensor | None = None,
        agm: Tensor | None = None,
        coarse: Tensor | None = None,
        **extras: Tensor,
    ) -> Parsing:
        """Make a Parsing of logits float [B,rows,h,w]: mask absent ids, resize, put the unlabelled class aside.

        `present` bool [B,rows] masks the other channels; None masks none. `fine` and `agm` of the result have
        `n_logits` channels; that of the unlabelled class goes into the extras; `with_unlabelled` appends it again.
        """
        size = batch.query_image.shape[-2:]
        named = {"fine": fine} if agm is None else {"fine": fine, "agm": agm}
        for name, logits in named.items():
            logits = logits if present is None else mask_absent_logits(logits, present)
            logits = resize(logits, size, self.resampling)
            if logits.shape[1] > self.n_logits:
                extras[f"{name}_unlabelled"], logits = logits[:, self.n_logits :], logits[:, : self.n_logits]
            named[name] = logits
        return Parsing(**named, coarse=None if coarse is None else resize(coarse, size, self.resampling), extras=extras)

    @staticmethod
    def with_unlabelled(parsing: Parsing, name: Literal["fine", "agm"] = "fine") -> Tensor:
        """The logits of a parsing with the unlabelled class's channel behind: float [B,rows,H,W]."""
        logits = cast(Tensor, parsing.fine if name == "fine" else parsing.agm)
        extra = parsing.extras.get(f"{name}_unlabelled")
        return logits if extra is None else torch.cat([logits, extra], 1)

    def checked(self, batch: Episode, *, images: bool = True) -> Episode:
        """Batch the episode and check that it fits itself and the network; masks and class ids become int64.

        `images` False leaves the values of the photos unread. Raises ValueError naming the field that does not fit.
        """
        required = {"query_image", "support_image", "support_mask", "support_foreground"}
        for name, value in vars(batch).items():
            if value is None and name in required:
                raise ValueError(f"{name} is missing; an episode needs it")
            if name not in ("classes", "names") and not isinstance(value, Tensor | None):
                raise ValueError(f"{name} is of type {type(value).__name__}; give a torch tensor")
        batch, weight = batch.batched(), next(self.parameters(), None)
        for name in ("query_image", "support_image") if images else ():
            image: Tensor = getattr(batch, name)
            kind, channels = str(image.dtype).removeprefix("torch."), self.image_channels
            if image.dim() != 4 or image.shape[1] != channels or 0 in image.shape:
                raise ValueError(f"{name} has shape {tuple(image.shape)}; it must be [B,{channels},H,W], or without B")
            if len(image) != len(batch.query_image):
                raise ValueError(f"{name} has a batch of {len(image)}, query_image one of {len(batch.query_image)}")
            if not image.is_floating_point():
                raise ValueError(f"{name} is of type {kind}; give floating-point numbers, usually in [-1,1]")
            expected = image.dtype if weight is None else self.photo_type or weight.dtype
            if image.dtype != expected and not torch.is_autocast_enabled(image.device.type):
                own = str(expected).removeprefix("torch.")
                raise ValueError(f"{name} is of type {kind}, the network's weights of type {own}; convert one of them")
            if not bool(torch.isfinite(image).all()):
                raise ValueError(f"{name} holds NaN or infinite values")
        whole: dict[str, Any] = {}
        for name in ("support_mask", "support_foreground", "query_mask", "query_foreground"):
            mask: Tensor | None = getattr(batch, name)
            if mask is None:
                continue
            image = batch.support_image if name.startswith("support") else batch.query_image
            if mask.shape != (image.shape[0], *image.shape[-2:]):
                raise ValueError(f"{name} has shape {tuple(mask.shape)}, its image {tuple(image.shape)}")
            limit = self.n_logits if name.endswith("mask") else 2
            whole[name] = mask = mask.long()
            wrong = mask[(mask != IGNORE) & ((mask < 0) | (mask >= limit))]
            if len(wrong):
                raise ValueError(f"{name} holds id {int(wrong[0])}; ids below {limit} and 255 (ignore) are allowed")
        if self.config.way == "1":
            target, last = batch.class_ids, self.config.n_ids - 1
            if target is None:
                raise ValueError("a 1-way network needs class_ids, the raw id of each episode's target class")
            if len(target) != len(batch) or bool(((target < 1) | (target > last)).any()):
                raise ValueError(f"class_ids must be one id in 1..{last} per episode")
            whole["class_ids"] = target.long()
        return replace(batch, **whole)


Source = Literal["npm", "agm"]


@dataclass(frozen=True)
class Prediction:
    """What `predict` gives."""

    ids: Tensor  # int64 [B,H,W] raw ids in k-way, 0 / 1 in 1-way
    person: Tensor | None = None  # bool [B,H,W] the person mask that screening goes by, for methods that have one
    scores: Tensor | None = None  # float [B,C,H,W] the logits behind the ids, where requested


@dataclass(frozen=True)
class PredictOptions:
    """Choices of an evaluation; `restrict` None takes the method's own default."""

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
            ids = self.decide(logits, batch, options)
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

    def decide(self, logits: Tensor, batch: Episode, options: PredictOptions) -> Tensor:
        """The ids int64 [B,H,W] that logits float [B,C,H,W] stand for."""
        return logits.max(1).indices  # as argmax, in a quarter of its time
