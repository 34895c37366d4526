"""From a run's configuration to its network, and first weights for its encoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from oshp_lite.data.episode import Episode
from oshp_lite.engine.checkpoint import read_weights
from oshp_lite.engine.config import RunConfig
from oshp_lite.errors import UserError
from oshp_lite.labels import Fold
from oshp_lite.models.base import Parsing, build, builder, methods, register
from oshp_lite.models.encoders import ENCODER_OPTIONS, build_encoder
from oshp_lite.models.eopnet_config import EOPNetConfig
from oshp_lite.models.modules.layers import resize
from oshp_lite.models.modules.losses import pixel_loss
from oshp_lite.models.modules.prototypes import present_ids


class SegmentNet(nn.Module):
    """Plain supervised segmentation: a method's encoder with two 1x1 heads (kept ids; scene against person).

    Not one-shot: it answers with the classes it was trained on. It initialises encoders (base classes labelled) and
    marks the ceiling (all classes labelled). As a OneShotParser it may only answer ids that the support shows, so that
    it is judged by the same truth as the others; in 1-way it answers 1 where the asked class wins.
    """

    def __init__(self, n_ids: int, way: str = "k", seed: int = 0, variant: str = "lite", **options: Any) -> None:
        super().__init__()
        unknown = sorted(set(options) - set(ENCODER_OPTIONS))
        if unknown:
            raise UserError(f"unknown option {unknown[0]!r} of method segment; known: {', '.join(ENCODER_OPTIONS)}")
        self.n_ids = n_ids
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.encoder = build_encoder(variant, **options)
            width = self.encoder.out_channels
            self.class_head = nn.Conv2d(width, n_ids, 1)
            self.foreground_head = nn.Conv2d(width, 2, 1)

    def forward(self, batch: Episode, progress: float | None = None) -> Parsing:
        """Segment the query; `.fine` float [B,n_ids,H,W], `.coarse` float [B,2,H,W]. The support is not looked at."""
        features = self.encoder(batch.query_image)
        size = batch.query_image.shape[-2:]
        return Parsing(
            fine=resize(self.class_head(features), size), coarse=resize(self.foreground_head(features), size)
        )

    def losses(self, parsing: Parsing, batch: Episode, progress: float) -> dict[str, Tensor]:
        """Return `classes`, `foreground` (mean cross-entropies, 255 ignored) and their sum `total`, each float []."""
        if batch.query_mask is None or batch.query_foreground is None or parsing.coarse is None:
            raise ValueError("losses need query_mask and query_foreground in the episode")
        terms = {
            "classes": pixel_loss(parsing.fine, batch.query_mask),
            "foreground": pixel_loss(parsing.coarse, batch.query_foreground),
        }
        return {**terms, "total": terms["classes"] + terms["foreground"]}

    @torch.no_grad()
    def predict(self, batch: Episode, *, screening: bool = False) -> Tensor:
        """Answer with ids int64 [B,H,W] among those the support shows (1-way: 0/1)."""
        return self.answer(batch, screening=screening)[0]

    @torch.no_grad()
    def answer(self, batch: Episode, *, screening: bool = False) -> tuple[Tensor, Tensor]:
        """Return `predict`'s ids int64 [B,H,W] and the person mask bool [B,H,W] that screening goes by."""
        batch = batch.batched()
        was_training = self.training
        self.eval()
        parsing = self(batch)
        self.train(was_training)
        person = cast(Tensor, parsing.coarse).argmax(1) == 1
        if batch.class_ids is not None:
            answer = (parsing.fine.argmax(1) == batch.class_ids[:, None, None]).long()
        else:
            shown = present_ids(batch.support_mask, self.n_ids)
            shown[:, 0] = True
            answer = parsing.fine.masked_fill(~shown[:, :, None, None], -torch.inf).argmax(1)
        return (answer * person if screening else answer), person


@register("segment")
def _build_segment(**options: Any) -> SegmentNet:
    return SegmentNet(**options)


def known_methods() -> tuple[str, ...]:
    """Return the names of all methods, after importing the rooms that register them."""
    import_module("oshp_lite.models.eopnet")
    for room in ("oshp_lite.models.popnet", "oshp_lite.models.baselines"):
        if find_spec(room) is not None:
            import_module(room)
    return methods()


def method_module(method: str) -> str:
    """Return the name of the module that a registered method comes from. UserError for an unknown method."""
    if method not in known_methods():
        raise UserError(f"unknown method {method!r}; known: {', '.join(known_methods())}")
    return builder(method).__module__


def model_options(config: RunConfig, n_ids: int) -> dict[str, Any]:
    """Return everything the registry's builder gets: variant, seed, n_ids, way and the model's own options."""
    return {
        "variant": config.variant,
        "seed": config.train.seed,
        **config.model.options,
        "n_ids": n_ids,
        "way": config.data.way,
    }


def build_model(method: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a registered method. UserError for an unknown method or option."""
    if method not in known_methods():
        raise UserError(f"unknown method {method!r}; known: {', '.join(known_methods())}")
    try:
        return build(method, **options)
    except TypeError as error:
        raise UserError(f"method {method} cannot be built with these model.options: {error}") from None


def build_parser(config: RunConfig, fold: Fold) -> nn.Module:
    """Build the run's network with its first (random, seeded) weights."""
    return build_model(config.model.method, model_options(config, fold.n_ids))


def resolve_encoder(config: RunConfig) -> dict[str, Any]:
    """Return the run's encoder options in full, as plain values, so that equal encoders have equal descriptions."""
    given = {name: value for name, value in config.model.options.items() if name in ENCODER_OPTIONS}
    if "lite_channels" in given:
        given["lite_channels"] = tuple(given["lite_channels"])
    resolved = asdict(EOPNetConfig.preset(config.variant, **given))
    kept = {name: resolved[name] for name in ENCODER_OPTIONS}
    if kept["encoder"] == "lite":
        kept.pop("feature_level")
        kept["lite_channels"] = list(kept["lite_channels"])
    else:
        kept.pop("lite_channels")
        kept.pop("lite_depth")
    return kept


def load_encoder(parser: nn.Module, path: Path | str) -> int:
    """Copy the encoder of a checkpoint of ours into the parser's, by name; returns the number of tensors copied.

    A method of several stages lists its encoders as `encoders()` and gets the weights in each; others have `encoder`.
    Raises UserError when the file has no such encoder or its shapes differ.
    """
    own = parser.encoders() if hasattr(parser, "encoders") else [getattr(parser, "encoder", None)]  # type: ignore[operator]
    encoders = [encoder for encoder in own if isinstance(encoder, nn.Module)]
    if not encoders:
        raise UserError("this method has no encoder that could be initialised; use init.kind=none")
    prefix = "encoder."
    found = {name.removeprefix(prefix): value for name, value in read_weights(path).items() if name.startswith(prefix)}
    for encoder in encoders:
        own_state = encoder.state_dict()
        wrong = [name for name, value in own_state.items() if name not in found or found[name].shape != value.shape]
        if wrong:
            raise UserError(
                f"checkpoint {path} does not hold this run's encoder (for example {wrong[0]} is missing or differs); "
                "use a run with the same encoder options"
            )
        encoder.load_state_dict({name: found[name] for name in own_state})
    return sum(len(encoder.state_dict()) for encoder in encoders)


def initialise(parser: nn.Module, config: RunConfig, init_weights: Path | str | None) -> str:
    """Give the encoder its first weights and say in one line where they came from.

    A safetensors file of ours fits by name exactly; any other file is taken as a DeepLab v3+ Xception checkpoint, of
    which the tensors with known names are copied.
    """
    path = init_weights if init_weights is not None else (config.init.path if config.init.kind == "file" else None)
    if path is None:
        return "random weights"
    if str(path).endswith(".safetensors"):
        return f"{load_encoder(parser, path)} encoder tensors from {Path(path).name}"
    return str(import_module("oshp_lite.models.encoders.pretrained").load_deeplab(parser, path))


def about_run(config: RunConfig, fold: Fold, dataset: str, **more: Any) -> dict[str, Any]:
    """Return the description that travels inside a weights file."""
    space = fold.space
    return {
        "format": 1,
        "method": config.model.method,
        "options": model_options(config, fold.n_ids),
        "way": config.data.way,
        "n_ids": fold.n_ids,
        "dataset": dataset,
        "space": space.name,
        "fold": {"dataset": fold.dataset, "number": fold.number, "protocol": fold.protocol},
        "classes": {str(c): space.class_name(c) for c in fold.classes},
        "channels": config.data.channels,
        "size": config.eval.test_size if config.eval.test_size is not None else config.data.size,
        "config": config.as_dict(),
        **more,
    }


def build_from_about(about: Mapping[str, Any]) -> nn.Module:
    """Rebuild the network that a weights file describes (weights still random)."""
    return build_model(str(about["method"]), dict(about["options"]))
