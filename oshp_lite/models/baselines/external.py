"""Models from elsewhere, through `transformers`: loaded lazily, from this machine only, never part of our weights.

`transformers` documents two inputs for PerSAM, but releases since 4.57 add `attention_similarity` before the one
softmax of an attention (PerSAM adds it after a first softmax and takes a second one), and none adds `target_embedding`
to the query of the final attention. Both are corrected here, without touching the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oshp_lite.errors import UserError
from oshp_lite.models.modules.feature_cache import Recent, digest

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))  # mean and deviation of RGB in [0,1], for DINO and SAM


def transformers(who: str) -> ModuleType:
    """Return the package. Raises UserError, naming who needs it, when it is missing or too old."""
    if find_spec("transformers") is None:
        raise UserError(f"{who} needs the package transformers; install it with: pip install 'oshp-lite[sam]'")
    module = import_module("transformers")
    if int(str(module.__version__).split(".")[0]) < 5:
        raise UserError(f"{who} needs transformers 5, here is {module.__version__}; pip install 'oshp-lite[sam]'")
    return module


def local_source(named: str) -> str | None:
    """The folder or the hub's name of a model, if its files are on this machine; None if not. Nothing is loaded."""
    folder = Path(named).expanduser()
    if folder.is_dir():
        return str(folder) if (folder / "config.json").is_file() else None
    if find_spec("huggingface_hub") is None or named.count("/") > 1 or named.startswith((".", "/", "~")):
        return None
    try:
        cached = import_module("huggingface_hub").try_to_load_from_cache(named, "config.json")
    except ValueError:  # not the form of a hub name
        return None
    return named if isinstance(cached, str) else None


def load(kind: str, source: str | Path, who: str, how: str) -> nn.Module:
    """Load a model of the transformers class `kind` from a folder, or from the local cache of a hub's name.

    Nothing is fetched. The model is frozen, in evaluation mode. Raises UserError ("who ...; how") when it is not here.
    """
    place, package = Path(source).expanduser(), transformers(who)
    bar = package.logging.is_progress_bar_enabled()
    package.logging.disable_progress_bar()
    try:
        named = str(place if place.is_dir() else source)
        model: nn.Module = getattr(package, kind).from_pretrained(named, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        raise UserError(f"{who}: nothing usable at {source} on this machine ({reason}); {how}") from None
    finally:
        if bar:
            package.logging.enable_progress_bar()
    return model.eval().requires_grad_(False)


def standard_rgb(image: Tensor, channels: str) -> Tensor:
    """Turn images float [B,3,H,W] in [-1,1], in the loader's channel order, into RGB with ImageNet's mean 0, std 1."""
    rgb = (image if channels == "rgb" else image.flip(1)).float() * 0.5 + 0.5
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in IMAGENET)
    return (rgb - mean) / std


HUB_NAME = "facebook/sam-vit-huge"  # the model the papers' comparison used
VARIABLE = "OSHP_SAM_WEIGHTS"
HOW = (
    f"pip install 'oshp-lite[sam]', then set {VARIABLE} to a folder with the files of {HUB_NAME} "
    f"(hf download {HUB_NAME} --local-dir FOLDER), or to the name of a SAM model in the local cache"
)
_ATTENTION = "oshp_persam"


def where_weights(given: str | None = None) -> str | None:
    """The folder or cached hub name to load from: the one given, the environment's, the cached ViT-H; None if none."""
    return local_source(given or os.environ.get(VARIABLE) or HUB_NAME)


def double_softmax(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **_: Any,
) -> tuple[Tensor, Tensor]:
    """Target-guided attention: A = softmax(q k^T scaling); with a guidance g given, softmax(A + g).

    query, key, value float [B,heads,T,d]; attention_mask is g, broadcast over [B,heads,T,S]. Returns the attended
    values [B,T,heads,d] and the weights. PerSAM's released code; `dropout` is always 0 in SAM.
    """
    weights = torch.softmax(query.float() @ key.float().transpose(2, 3) * scaling, -1)
    if attention_mask is not None:
        weights = torch.softmax(weights + attention_mask.float(), -1)
    weights = weights.to(query.dtype)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def patch_decoder(model: nn.Module) -> nn.Module:
    """Give the mask decoder of a SamModel (only it) PerSAM's attention; the same model is returned."""
    transformers("PerSAM").AttentionInterface.register(_ATTENTION, double_softmax)
    for module in cast(nn.Module, model.mask_decoder).modules():
        if getattr(module, "config", None) is not None:
            module.config._attn_implementation = _ATTENTION  # type: ignore[union-attr]
    return model


@contextmanager
def target_in_final_attention(model: nn.Module, target: Tensor | None) -> Iterator[None]:
    """Inside the block the query of the final token-to-image attention carries the target embedding too."""

    def add(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return args, kwargs if target is None else {**kwargs, "query": kwargs["query"] + target}

    final: nn.Module = model.mask_decoder.transformer.final_attn_token_to_image  # type: ignore[union-attr, assignment]
    handle = final.register_forward_pre_hook(add, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@dataclass(frozen=True)
class Frame:
    """How an image of `size` (height, width) lies in SAM's square: scaled to `inner`, at the top left of `side`."""

    size: tuple[int, int]
    side: int
    patch: int

    @property
    def inner(self) -> tuple[int, int]:
        """Height and width after scaling the longer side to `side`."""
        scale = self.side / max(self.size)
        return int(self.size[0] * scale + 0.5), int(self.size[1] * scale + 0.5)

    @property
    def tokens(self) -> int:
        """Tokens along a side of the square."""
        return self.side // self.patch

    def pad(self, x: Tensor) -> Tensor:
        """Zeros to the right and below, float [...,h,w] -> [...,side,side]."""
        return F.pad(x, (0, self.side - x.shape[-1], 0, self.side - x.shape[-2]))

    def back(self, maps: Tensor) -> Tensor:
        """Bring maps over the square, float [N,M,g,g], to the image's size as SAM does: [N,M,*size]."""
        square = F.interpolate(maps.float(), size=(self.side, self.side), mode="bilinear", align_corners=False)
        inner = square[..., : self.inner[0], : self.inner[1]]
        return F.interpolate(inner, size=self.size, mode="bilinear", align_corners=False)

    def points(self, xy: Tensor) -> Tensor:
        """Bring image coordinates (x, y), float [...,2], into the square."""
        ratio = xy.new_tensor([self.inner[1] / self.size[1], self.inner[0] / self.size[0]])
        return xy * ratio


class Sam:
    """A frozen SAM beside a network: image embeddings (`cache` of them kept), and the decoder as PerSAM corrects it.

    weights: folder or cached hub name; `model` instead of it takes a SamModel as it is. channels: the loader's order.
    """

    def __init__(
        self, weights: str | None = None, *, model: nn.Module | None = None, channels: str = "rgb", cache: int = 64
    ) -> None:
        sam: Any = patch_decoder(model or load("SamModel", str(weights), "needs SAM weights", HOW))
        self.model, self._channels, self._room, self._known = sam, channels, cache, Recent()
        config = sam.config.vision_config
        self.side, self.patch = int(config.image_size), int(config.patch_size)

    def frame(self, image: Tensor) -> Frame:
        """How an image float [...,H,W] lies in the square."""
        return Frame((image.shape[-2], image.shape[-1]), self.side, self.patch)

    def embed(self, image: Tensor) -> Tensor:
        """Image embedding float [1,C,g,g] of one image float [3,H,W] in [-1,1]; the last few are remembered."""
        key = digest(image.float())
        if key in self._known:
            return self._known.keep(key, self._known[key])[0].to(image.device)
        frame = self.frame(image)
        # the range is that of 8-bit pixels; SAM's own preprocessing rounds to them after resizing, which is left out
        pixels = F.interpolate(
            standard_rgb(image[None], self._channels), size=frame.inner, mode="bilinear", antialias=True
        )
        with torch.no_grad():
            embedding: Tensor = self.model.to(image.device).get_image_embeddings(frame.pad(pixels))
        self._known.limit = self._room * embedding.nbytes
        self._known.keep(key, [embedding.cpu()])
        return embedding

    @torch.no_grad()
    def decode(
        self,
        embedding: Tensor,
        points: Tensor,
        labels: Tensor,
        *,
        boxes: Tensor | None = None,
        masks: Tensor | None = None,
        several: bool = False,
        guidance: Tensor | None = None,
        target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Prompt the decoder for P masks of one image: low-resolution logits float [P,M,4g,4g], predicted IoU [P,M].

        embedding [1,C,g,g]; points float [P,N,2] (x, y in the square), labels int64 [P,N]; boxes float [P,4]; masks
        float [P,1,4g,4g] logits of an earlier pass; M is 3 with `several`, else 1. guidance float [P,g*g] and target
        float [P,C] are PerSAM's.
        """
        semantic = None if target is None else target.to(embedding.dtype)[:, None, None].clone()
        with target_in_final_attention(self.model, semantic):
            decoded = self.model.to(embedding.device)(
                image_embeddings=embedding.expand(len(points), -1, -1, -1),
                input_points=points[:, None].to(embedding.dtype),
                input_labels=labels[:, None],
                input_boxes=None if boxes is None else boxes[:, None].to(embedding.dtype),
                input_masks=None if masks is None else masks.to(embedding.dtype),
                multimask_output=several,
                attention_similarity=None if guidance is None else guidance[:, None, None].float(),
                target_embedding=semantic,
            )
        return decoded.pred_masks[:, 0], decoded.iou_scores[:, 0]
