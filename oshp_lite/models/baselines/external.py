"""Models from elsewhere, through `transformers`: loaded lazily, from this machine only, never part of our weights."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from oshp_lite.errors import UserError

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of RGB in [0,1], as DINO and SAM models want them."""


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
    place = Path(source).expanduser()
    package = transformers(who)
    bar = package.logging.is_progress_bar_enabled()
    package.logging.disable_progress_bar()
    try:
        model: Any = getattr(package, kind).from_pretrained(
            str(place) if place.is_dir() else str(source), local_files_only=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        raise UserError(f"{who}: nothing usable at {source} on this machine ({reason}); {how}") from None
    finally:
        if bar:
            package.logging.enable_progress_bar()
    module: nn.Module = model
    return module.eval().requires_grad_(False)


class ExternalModel:
    """A model from elsewhere beside a network, not a submodule of it: its weights stay out of every state."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def on(self, device: torch.device) -> nn.Module:
        """Return the model, moved to `device`."""
        return self.model.to(device)


def standard_rgb(image: Tensor, channels: str) -> Tensor:
    """Turn images float [B,3,H,W] in [-1,1], in the loader's channel order, into RGB with ImageNet's mean 0, std 1."""
    rgb = (image if channels == "rgb" else image.flip(1)).float() * 0.5 + 0.5
    mean, std = (rgb.new_tensor(values)[:, None, None] for values in IMAGENET)
    return (rgb - mean) / std
