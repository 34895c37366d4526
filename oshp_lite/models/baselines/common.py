"""What all contenders share: options, the encoder, what the support shows, exact pooling, losses and answers."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.data.episode import IGNORE, Episode
from oshp_lite.errors import UserError
from oshp_lite.models.base import Parsing
from oshp_lite.models.checks import checked
from oshp_lite.models.encoders import ENCODER_OPTIONS, build_encoder
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.losses import pixel_loss, restrict_target
from oshp_lite.models.modules.prototypes import present_ids, shrink_mask

CLOSED = -1.0e4
"""Logit of an id that may not be answered; finite, so that resampling it stays finite."""

Mode = Literal["bilinear", "aligned", "nearest"]


# ------------------------------------------------------------------------------------------------- options


def choice(name: str, value: Any, allowed: Sequence[Any]) -> Any:
    """Return an option's value. Raises UserError when it is none of the allowed ones."""
    if value not in allowed or isinstance(value, bool) != isinstance(allowed[0], bool):
        raise UserError(f"model option {name} is {value!r}; choose one of: {', '.join(map(str, allowed))}")
    return value


def number(name: str, value: Any, low: float, high: float = math.inf, *, whole: bool = False) -> Any:
    """Return a numeric option in [low, high]. Raises UserError for anything else."""
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        kind = "a whole number" if whole else "a number"
        raise UserError(f"model option {name} is {value!r}; it must be {kind} in [{low:g}, {high:g}]")
    return value


# ------------------------------------------------------------------------------------------------- pooling


def upsampling_matrix(cells: int, full: int, mode: Mode, like: Tensor) -> Tensor:
    """The matrix A float [full,cells] of 1-D up-sampling, in the dtype and on the device of `like`.

    "bilinear" is torch's linear interpolation with align_corners False, "aligned" with True, "nearest" the legacy
    nearest neighbour. Read off torch itself by resampling the unit vectors, so that the two agree exactly.
    """
    unit = torch.eye(cells, dtype=like.dtype, device=like.device)[None]
    if mode == "nearest":
        rows = F.interpolate(unit, size=full, mode="nearest")
    else:
        rows = F.interpolate(unit, size=full, mode="linear", align_corners=mode == "aligned")
    return rows[0].T


def shrink_weights(masks: Tensor, size: Sequence[int], mode: Mode = "bilinear") -> Tensor:
    """Adjoint of up-sampling: how much of each mask falls to each cell; float [B,K,H,W] -> float [B,K,h,w].

    sum_x up(F)(x) M(x) = sum_y F(y) m(y) with m = A_h^T M A_w, so pooling at mask resolution never needs features of
    that size (contenders' facts 0.1). The total weight is kept: sum m = sum M.
    """
    rows = upsampling_matrix(size[0], masks.shape[-2], mode, masks)
    columns = upsampling_matrix(size[1], masks.shape[-1], mode, masks)
    return rows.T @ masks @ columns


def pool(features: Tensor, masks: Tensor, mode: Mode = "bilinear", eps: float = 1e-5) -> Tensor:
    """Masked average pooling at mask resolution: sum_x up(F)(x) M(x) / (sum_x M(x) + eps), exactly.

    features float [B,D,h,w], masks float or bool [B,K,H,W] of any size -> float [B,K,D], at least float32. An empty
    mask gives a zero row.
    """
    with torch.autocast(features.device.type, enabled=False):
        if features.dtype in (torch.float16, torch.bfloat16):
            features = features.float()
        masks = masks.to(features.dtype)
        area = masks.sum((2, 3)) + eps
        # the weights are divided first, so that a row is a mean of bounded terms and not a quotient of large sums
        weights = shrink_weights(masks, features.shape[-2:], mode) / area[..., None, None]
        return torch.einsum("bkhw,bdhw->bkd", weights, features)


def members(mask: Tensor, n: int) -> Tensor:
    """Binary masks of the ids 0..n-1 of int64 [B,H,W]: bool [B,n,H,W]; 255 belongs to none."""
    return mask[:, None] == torch.arange(n, device=mask.device)[:, None, None]


def upsample(maps: Tensor, size: Sequence[int], mode: Mode = "bilinear") -> Tensor:
    """Resample float [B,C,h,w] to [B,C,*size]; "aligned" is what the papers' own code uses."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    if mode == "nearest":
        return F.interpolate(maps, size=tuple(size), mode="nearest")
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=mode == "aligned")


# -------------------------------------------------------------------------------------------- modes of torch


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; afterwards every submodule has its own mode back."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode


@contextmanager
def learning() -> Iterator[None]:
    """Gradients inside the block, also within `torch.inference_mode()`; clone tensors that come from outside."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from a generator of its own inside the block; the global one is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


# ---------------------------------------------------------------------------------------------- the contender


class Contender(nn.Module):
    """Base of all contenders: a OneShotParser with the shared encoder. A subclass writes `forward`.

    n_ids, way             raw ids of the label space; "k" or "1"
    variant                preset of the encoder options: "lite", "official" or "paper"
    seed                   fixes the initial weights without touching the global generator
    unlabelled_foreground  what k-way training makes of pixels that are person in the coarse mask and background in
                           the class mask, on both images: "background" (the papers), "ignore" (255) or "class" (one
                           more class behind the raw ids); the meaning is that of EOPNetConfig
    absent_test            mask that says which ids the support shows: "resized" (stride 4, the released code's) or
                           "full"; 1-way always asks the full mask
    encoder options        see nn.encoders

    Raises UserError for an unknown option (naming the known ones) or value.
    """

    method: ClassVar[str] = "contender"
    training_free: ClassVar[bool] = False
    resampling: ClassVar[Mode] = "aligned"
    """How this method brings its logits to the image's size."""

    def __init__(
        self,
        *,
        n_ids: int = 18,
        way: str = "k",
        variant: str = "lite",
        seed: int = 0,
        unlabelled_foreground: str = "background",
        absent_test: str = "resized",
        **encoder_options: Any,
    ) -> None:
        super().__init__()
        unknown = sorted(set(encoder_options) - set(ENCODER_OPTIONS))
        if unknown:
            known = ", ".join(self.options())
            raise UserError(f"method {self.method} has no option {unknown[0]!r}; known: {known}")
        self.config = EOPNetConfig.preset(
            variant,
            n_ids=n_ids,
            way=way,
            unlabelled_foreground=unlabelled_foreground,
            absent_test=absent_test,
            **encoder_options,
        )
        self.n_ids, self.way, self.seed = n_ids, way, seed
        with seeded(seed):
            self.encoder = build_encoder(variant, **encoder_options)

    @classmethod
    def options(cls) -> tuple[str, ...]:
        """Names of all options of this method, sorted."""
        named = [inspect.signature(c.__init__).parameters.values() for c in cls.__mro__ if issubclass(c, Contender)]
        keywords = {p.name for part in named for p in part if p.kind is inspect.Parameter.KEYWORD_ONLY}
        return tuple(sorted(keywords | set(ENCODER_OPTIONS)))

    @property
    def channels(self) -> int:
        """Channels of `Parsing.fine`: n_ids in k-way, 2 in 1-way."""
        return self.config.channels

    @property
    def leftover(self) -> bool:
        """Whether unlabelled person pixels count as one more class behind the raw ids (k-way training only)."""
        return self.training and self.way == "k" and self.config.unlabelled_foreground == "class"

    @property
    def rows(self) -> int:
        """Channels to compute with: `channels`, and one more while `leftover` holds."""
        return self.channels + int(self.leftover)

    # ------------------------------------------------------------------------------------------- the episode

    def checked(self, batch: Episode) -> Episode:
        """Batch the episode and check that it fits; masks and class ids become int64. Raises ValueError."""
        return checked(batch, self.config)

    def encode(self, batch: Episode) -> tuple[Tensor, Tensor]:
        """Encode query and support, one after the other as EOP-Net does; float [B,C,h,w] each."""
        return self.encoder(batch.query_image), self.encoder(batch.support_image)

    def named(self, mask: Tensor, foreground: Tensor) -> Tensor:
        """Give unlabelled person pixels what `unlabelled_foreground` says, in k-way training; int64 [B,H,W]."""
        how = self.config.unlabelled_foreground
        if not self.training or self.way != "k" or how == "background":
            return mask
        new = IGNORE if how == "ignore" else self.n_ids
        return mask.masked_fill((mask == 0) & (foreground == 1), new)

    def support_mask(self, batch: Episode) -> Tensor:
        """The support mask to learn from: int64 [B,H',W'] with ids below `rows`, and 255."""
        return self.named(batch.support_mask, batch.support_foreground)

    def _asked(self, mask: Tensor) -> Tensor:
        if self.way == "1" or self.config.absent_test == "full":
            return mask
        return shrink_mask(mask, [math.ceil(side / 4) for side in mask.shape[-2:]])

    def shown(self, batch: Episode) -> Tensor:
        """Which channels may be answered: bool [B,rows], what the support shows and always the background."""
        shown = present_ids(self._asked(self.support_mask(batch)), self.rows)
        shown[:, 0] = True
        return shown

    def target(self, batch: Episode) -> Tensor:
        """The query's target int64 [B,H,W]: ids the support does not show are background (leftover: 255), 255 stays.

        Raises ValueError when the batch has no query masks.
        """
        if batch.query_mask is None or batch.query_foreground is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        label = self.named(batch.query_mask, batch.query_foreground)
        target = restrict_target(label, self._asked(self.support_mask(batch)), self.rows)
        # the extra class means "a person's unlabelled pixels": where the support has none, nothing is known of them
        return target.masked_fill((label == self.n_ids) & (target == 0), IGNORE) if self.leftover else target

    # ------------------------------------------------------------------------------------------- the answer

    def parsing(self, logits: Tensor, batch: Episode, *, shown: Tensor | None = None, **extras: Tensor) -> Parsing:
        """Make the answer from logits float [B,rows,h,w]: close ids, resize, put the extra channel aside.

        `shown` bool [B,rows] closes the other channels; None closes none. `Parsing.fine` always has `channels`
        channels; the extra one is `extras["leftover"]`, which `joined` puts back.
        """
        logits = logits if shown is None else close(logits, shown)
        logits = upsample(logits, batch.query_image.shape[-2:], self.resampling)
        if logits.shape[1] > self.channels:
            extras["leftover"], logits = logits[:, self.channels :], logits[:, : self.channels]
        return Parsing(fine=logits, extras=extras)

    @staticmethod
    def joined(parsing: Parsing) -> Tensor:
        """All logits of an answer with the extra channel behind: float [B,rows,H,W]."""
        extra = parsing.extras.get("leftover")
        return parsing.fine if extra is None else torch.cat([parsing.fine, extra], 1)

    def cross_entropy(self, parsing: Parsing, batch: Episode) -> Tensor:
        """Mean cross-entropy of an answer against `target(batch)`, float []."""
        return pixel_loss(self.joined(parsing), self.target(self.checked(batch)))

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return the terms of the objective, here the cross-entropy `ce` alone, and `total`, each float []."""
        ce = self.cross_entropy(parsing, batch)
        return {"ce": ce, "total": ce}

    @torch.no_grad()
    def predict(self, batch: Episode) -> Tensor:
        """Answer with ids int64 [B,H,W] among those the support shows (1-way: 0/1); writes nothing, keeps all modes."""
        with evaluating(self):
            batch = self.checked(batch)
            logits = self(batch).fine
            return close(logits, self.answerable(batch)).argmax(1)

    def answerable(self, batch: Episode) -> Tensor:
        """Which ids `predict` may answer with, bool [B,channels]; what the support shows unless a method says more."""
        return self.shown(batch)[:, : self.channels]


def close(logits: Tensor, shown: Tensor) -> Tensor:
    """Set the channels that are not shown to `CLOSED`; logits float [B,C,h,w], shown bool [B,C]."""
    return logits.masked_fill(~shown[..., None, None], CLOSED)


def shown_pairs(shown: Tensor) -> tuple[Tensor, Tensor]:
    """The foreground channels that are shown, as two int64 [N]: sample and channel; shown bool [B,C]."""
    sample, k = shown[:, 1:].nonzero(as_tuple=True)
    return sample, k + 1


def spread(values: Tensor, sample: Tensor, channel: Tensor, shown: Tensor, fill: float = CLOSED) -> Tensor:
    """Put maps float [N,h,w] at their (sample, channel) of float [B,C,h,w], `fill` elsewhere; inverse of a gather."""
    whole = values.new_full((*shown.shape, *values.shape[-2:]), fill)
    return whole.index_put((sample, channel), values)


def mean_of_pairs(values: Tensor, sample: Tensor, n: int) -> Tensor:
    """Mean over each sample's pairs, zero for a sample without any: float [N,h,w], int64 [N] -> float [n,h,w]."""
    total = values.new_zeros(n, *values.shape[-2:]).index_add(0, sample, values)
    count = torch.bincount(sample, minlength=n).clamp(min=1)
    return total / count[:, None, None].to(values.dtype)


def one(batch: Episode, row: int) -> Episode:
    """One episode of a batch, still with a leading dimension of 1."""
    changes = {name: value[row : row + 1] for name, value in vars(batch).items() if isinstance(value, Tensor)}
    return replace(batch, **cast(dict[str, Any], changes), names=None if batch.names is None else [batch.names[row]])
