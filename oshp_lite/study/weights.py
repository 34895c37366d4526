"""What the study needs from elsewhere, opened rather than only looked for: weights of other networks, raw datasets."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from oshp_lite.errors import UserError
from oshp_lite.files import read_json

COCO = "OSHP_COCO_WEIGHTS"
"""Environment variable with the checkpoint that the papers start from; rows of the profile "paper" need it."""


@dataclass(frozen=True)
class External:
    """Weights from elsewhere: what they are, the variable that names them, what was found, and whether it serves."""

    name: str
    variable: str
    found: str
    usable: bool


def external_weights() -> list[External]:
    """Return the state of the COCO, SAM and DINO weights on this machine."""
    from oshp_lite.models.baselines import external, frozen

    path = os.environ.get(COCO, "")
    coco = coco_fault(Path(path).expanduser()) if path else "not named; the profile paper starts from it"
    listed = [External("COCO (Xception)", COCO, coco or f"opened: {path}", not coco)]
    for name, module in (("SAM", external), ("DINO", frozen)):
        variable, usual = module.VARIABLE, module.HUB_NAME
        named = os.environ.get(variable) or usual
        source = external.local_source(named)
        fault = f"{named} is not on this machine" if source is None else _model_fault(source)
        listed.append(External(name, variable, fault or f"opened: {source}", not fault))
    return listed


def coco_fault(path: Path) -> str:
    """Return why a file cannot be the checkpoint that the papers start from, or nothing; it is opened once."""
    if not path.is_file():
        return f"needs the first weights {path}, which are not there; check {COCO}"
    return _once(path, _open_coco)


def dataset_fault(folder: Path) -> str:
    """Return why the tailored dataset in a folder cannot be used, or nothing; its first photo and mask are opened."""
    return _once(folder / "dataset.json", _open_dataset)


def _once(path: Path, look: Callable[[Path], str]) -> str:
    """Return what a look at a file says, taken anew only when the file has changed."""
    about = path.stat()
    return _remembered(path, (about.st_mtime_ns, about.st_size), look)


@cache
def _remembered(path: Path, _: tuple[int, int], look: Callable[[Path], str]) -> str:
    try:
        return look(path)
    except UserError as error:
        return f"cannot use {path.name}: {error}"


def _open_coco(path: Path) -> str:
    import torch
    from torch import nn

    from oshp_lite.models.eopnet import EOPNet, EOPNetConfig
    from oshp_lite.models.released import ENCODER_NAMES, official_names, read_state

    if path.suffix == ".safetensors":  # a run of ours; its encoder is compared when it is loaded
        read_state(path)
        return ""
    state = read_state(path)
    with torch.device("meta"):
        encoder = nn.ModuleDict({"encoder": EOPNet(EOPNetConfig.preset("official")).encoder})
    ours, known = encoder.state_dict(), official_names(encoder, ENCODER_NAMES)
    fits = sum(name in known and state[name].shape == ours[known[name]].shape for name in state)
    return "" if fits else f"needs a DeepLab v3+ Xception checkpoint: nothing in {path} fits the encoder by name"


def _open_dataset(described: Path) -> str:
    from PIL import Image

    from oshp_lite.data.dataset import open_dataset

    dataset = open_dataset(described.parent)
    for phase in ("train", "test"):
        stems = dataset.stems(phase)
        for path in (dataset.image_path(stems[0]), dataset.mask_path(stems[0])) if stems else ():
            try:
                with Image.open(path, formats=["PNG", "JPEG"]) as image:
                    image.load()
            except OSError as error:
                return f"cannot use the dataset {dataset.name}: {path.name} does not open ({error.strerror or error})"
    return ""


def _model_fault(source: str) -> str:
    """Return why a model of `transformers` cannot be opened, or nothing; its description and tensor names are read."""
    from safetensors import SafetensorError, safe_open

    folder = Path(source)
    if not folder.is_dir():  # a name in the local cache of the hub
        from huggingface_hub import try_to_load_from_cache

        cached = try_to_load_from_cache(source, "config.json")
        folder = Path(str(cached)).parent
    try:
        read_json(folder / "config.json")
        files = sorted(folder.glob("*.safetensors"))
        for file in files:
            with safe_open(str(file), "pt") as opened:
                if not opened.keys():
                    return f"{file} holds no tensors"
    except (UserError, OSError, SafetensorError) as error:
        return str(error)
    return "" if files or any(folder.glob("*.bin")) else f"{folder} holds no weights"
