"""A trained network made to predict with less work: normalisation folded away, photos encoded once.

At test, batch normalisation is a fixed scale and shift per channel, so the convolution before it can carry both
(y = g (W x - m) / s + b is W' x + b' with W' = g W / s). Features with the channels innermost suit the matrix products
that a convolution is made of.
"""

from __future__ import annotations

import copy
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from oshp_lite.data.episode import Episode
from oshp_lite.models.base import OneShotModel
from oshp_lite.models.baselines.common import AlignedContender
from oshp_lite.models.dual import PapersNetwork
from oshp_lite.models.instance.core import RegionNet
from oshp_lite.models.modules.feature_cache import FeatureCache
from oshp_lite.models.modules.metric import AttentionGuidance

Precision = Literal["float32", "bf16"]
"""What encoders and guidance modules compute in."""
M = TypeVar("M", bound=OneShotModel)
KEPT_MB = 512
"""Megabytes of features that an encoder keeps."""
KNOWN = 64
"""Photos that it knows by their place in memory."""
SIDE = 64
"""Side in pixels of the made-up photos that the network is run on once, to see which layer feeds which."""


def for_inference(network: M, precision: Precision = "float32") -> M:
    """Return a copy that gives the same predictions with less work; `network` is left as it is.

    Every BatchNorm that a convolution feeds directly is folded into it, and the weights lie channels last. With
    "bf16" encoders and guidance modules compute in bfloat16 and hand on float32; prototypes and cosines stay float32.
    The copy cannot be trained further.
    """
    fast = copy.deepcopy(network).eval()
    for encoder in fast.encoders():
        vars(encoder).pop("forward", None)  # `encode_once`: the original's features are no longer those of the copy
    for convolution, norm in _pairs(fast):
        layers = cast(Any, fast.get_submodule(convolution)), cast(Any, fast.get_submodule(norm))
        fast.set_submodule(convolution, fuse_conv_bn_eval(*layers))
        fast.set_submodule(norm, nn.Identity())
    cast(Any, fast).to(memory_format=torch.channels_last)  # an overload that the stubs of Module lack
    fast.photo_type = next(fast.parameters()).dtype
    for encoder in fast.encoders():
        encoder.register_forward_pre_hook(_channels_last)
    for part in _convolutional(fast) if precision == "bf16" else ():
        part.bfloat16()
        part.register_forward_pre_hook(lambda _, given: tuple(x.bfloat16() for x in given))
        part.register_forward_hook(lambda _, given, made: made.float())
    return fast


def has_bf16(device: torch.device | str) -> bool:
    """Whether a device multiplies bfloat16 numbers itself; a CPU that emulates them only loses time."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def _convolutional(network: OneShotModel) -> list[nn.Module]:
    """The parts with nearly all of the work: encoders, and the guidance modules of the papers' networks."""
    return [*network.encoders(), *(part for part in network.modules() if isinstance(part, AttentionGuidance))]


def encode_once(network: OneShotModel, megabytes: float = KEPT_MB) -> None:
    """Make a network keep the features of the photos it has encoded, as long as its weights stay; see `FeatureCache`.

    For methods that read the encoder's last features only; the others look into it and encode anew.
    """
    if not isinstance(network, PapersNetwork | AlignedContender):
        return
    for encoder in network.encoders():
        if "forward" not in vars(encoder):
            encoder.forward = _Kept(encoder, megabytes)


class _Kept:
    """An encoder's forward pass that knows photos again: by their place in memory, else by their content."""

    def __init__(self, encoder: nn.Module, megabytes: float) -> None:
        self.encoder, self.forward = encoder, encoder.forward
        self.cache = FeatureCache([encoder], megabytes)
        self.known: dict[tuple[int, torch.Size], tuple[Tensor, Tensor]] = {}
        self.state: list[tuple[int, int]] = []

    def __call__(self, image: Tensor) -> Tensor:
        """Image float [B,3,H,W] -> features float [B,D,h,w]."""
        tensors = (*self.encoder.parameters(), *self.encoder.buffers())
        if not image.is_inference() or any(one.is_inference() for one in tensors):  # the former may be written to
            return self.cache(image, lambda images: [self.forward(images)])[0]
        state = [(one.data_ptr(), one._version) for one in tensors]
        if state != self.state:
            self.state, self.known = state, {}
        place = (image.data_ptr(), image.shape)
        if place not in self.known:  # the photo is held, so that no other one can take its place
            if len(self.known) >= KNOWN:
                self.known.pop(next(iter(self.known)))
            self.known[place] = image, self.cache(image, lambda images: [self.forward(images)])[0]
        return self.known[place][1]


def _channels_last(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.contiguous(memory_format=torch.channels_last) for x in given)


def _pairs(network: OneShotModel) -> list[tuple[str, str]]:
    """Names of the convolutions and of the BatchNorm that takes each one's output, as seen in one prediction.

    A convolution that runs twice with different readers, or whose output something else reads as well, cannot be told
    from here; the networks of this package have none, and a test compares every method's copy with the original.
    """
    made: dict[int, tuple[str, Tensor]] = {}
    pairs: dict[str, str] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(lambda _, x, y, name=name: made.update({id(y): (name, y)})))
        elif isinstance(module, nn.BatchNorm2d):

            def read(_: nn.Module, given: tuple[Tensor, ...], name: str = name) -> None:
                if id(given[0]) in made:
                    pairs[made[id(given[0])][0]] = name

            hooks.append(module.register_forward_pre_hook(read))
    try:
        if isinstance(network, RegionNet):  # whose photos come without a support
            network.predict(_made_up_photos(network, 3)[0])
        else:
            network.predict(_made_up_episode(network))
    finally:
        for hook in hooks:
            hook.remove()
    return list(pairs.items())


def _made_up_photos(network: nn.Module, channels: int) -> Tensor:
    """Noise, float [2,1,C,64,64] in [-1,1]."""
    source = torch.Generator().manual_seed(0)
    return torch.rand(2, 1, channels, SIDE, SIDE, generator=source).to(next(network.parameters())) * 2 - 1


def _made_up_episode(network: OneShotModel) -> Episode:
    """Noise as photos, and a support whose halves are person and scene. Tensors as in Episode, batch of one."""
    photos = _made_up_photos(network, network.image_channels)
    mask = torch.zeros(1, SIDE, SIDE, dtype=torch.long, device=photos.device)
    mask[:, SIDE // 2 :] = 1
    target = torch.ones(1, dtype=torch.long, device=photos.device) if network.way == "1" else None
    return Episode(photos[0], photos[1], mask, mask, class_ids=target)
