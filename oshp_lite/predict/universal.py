"""Photos parsed in every label space of one network at once: universal parsing (SST, CVPR 2023, section 3.1)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from tqdm.auto import tqdm

from oshp_lite.errors import UserError
from oshp_lite.files import encode_png, write_together
from oshp_lite.predict.exports import read_photo
from oshp_lite.predict.folder import photos_in
from oshp_lite.predict.network import load_network
from oshp_lite.predict.parser import frame_of
from oshp_lite.predict.photos import picture
from oshp_lite.viz import overlay

if TYPE_CHECKING:
    from oshp_lite.models.base import CheckpointRecord
    from oshp_lite.models.inference import Precision
    from oshp_lite.models.sst.network import SST


def load_universal(path: Path | str, device: str = "cpu", precision: Precision | None = "float32") -> SST:
    """A trained network over label domains, ready to predict, as by `load_network`. UserError for another one."""
    from oshp_lite.models.sst.network import SST

    network = load_network(path, device, precision=precision)
    if not isinstance(network, SST):
        method = getattr(network.record, "method", "another method")
        raise UserError(f"{path} is a checkpoint of {method}, which has one label space; name a network of method sst")
    return network


@torch.no_grad()
def parse_universal(network: SST, photo: np.ndarray) -> dict[str, np.ndarray]:
    """Photo uint8 [H,W,3] -> ids uint8 [H,W] by domain, in the order of the network's heads.

    The photo is seen with the longer side of the network's test photos; logits are brought to the photo's size.
    """
    record = cast("CheckpointRecord", network.record)
    seen = picture(photo, max(frame_of(record)), record.channels)[None].to(next(network.parameters()).device)
    high = network.features(seen)[-1]
    masks = {name: network.logits(high, name, photo.shape[:2]).argmax(1)[0] for name in network.config.names}
    return {name: mask.byte().cpu().numpy() for name, mask in masks.items()}


def write_universal(network: SST, query: Path, place: Callable[[str], Path]) -> dict[str, Path]:
    """Parse one photo and write a mask (indexed PNG) and an overlay for each domain, all or none.

    place  where a file lies, by the end of its name ("atr.png", "atr_overlay.png"). Returns the masks by domain.
    UserError for a photo that cannot be read or would be overwritten.
    """
    photo = read_photo(query)
    files: dict[Path, bytes] = {}
    masks: dict[str, Path] = {}
    for name, mask in parse_universal(network, photo).items():
        space = network.config.space(name)
        colours = np.zeros((0, 3), np.uint8) if space is None else space.class_palette
        palette = np.full((256, 3), 128, np.uint8)
        palette[: len(colours)] = colours
        masks[name] = place(f"{name}.png")
        files[masks[name]] = encode_png(mask, palette)
        files[place(f"{name}_overlay.png")] = encode_png(overlay(photo, mask, palette))
    if query.resolve() in {path.resolve() for path in files}:
        raise UserError(f"a result would overwrite the photo {query}; choose another --out")
    write_together(files)
    return masks


def universal_folder(network: SST, folder: Path, out: Path, *, progress: bool = True) -> tuple[int, dict[str, str]]:
    """Parse every photo of a folder into `out`; returns how many, and by file why others could not be.

    UserError where the folder has no photos, or is `out` itself.
    """
    names, _ = photos_in(folder)
    if out.resolve() == folder.resolve():
        raise UserError(f"--out {out} is the folder of the photos itself; choose another one")
    failed: dict[str, str] = {}
    for name, path in tqdm(names.items(), desc="photos", disable=not progress, leave=False):
        try:
            write_universal(network, path, lambda end, name=name: out / f"{name}_{end}")  # type: ignore[misc]
        except UserError as error:
            failed[path.name] = str(error)
    return len(names) - len(failed), failed
