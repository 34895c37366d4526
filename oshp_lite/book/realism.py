"""What drawn people give away, and what a network learns from them about photos: `python -m oshp_lite.book.realism`.

Three measurements of notebook 02, kept in `notebooks/results/people.json`: a texture probe and a silhouette probe
(`data.synthetic.probes`), and transfer: a small network trained on drawn people is scored on photos of CCP.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torch.nn import functional as F

from oshp_lite.data.prepare.ccp import ANNOTATIONS, MARGIN, PHOTOS, foreground_box, read_annotation, standard_plan
from oshp_lite.data.synthetic import ATOMS, portrait, scene
from oshp_lite.data.synthetic.audit import colour_audit
from oshp_lite.data.synthetic.probes import silhouette_probe, texture_probe
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_image, read_json, write_json_atomic
from oshp_lite.labels import CCP_CLASSES, label_space
from oshp_lite.models.encoders.lite import LiteEncoder
from oshp_lite.script import exit_code

Array = NDArray[Any]
SIZE = (80, 40)
"""Height and width of the crops for the transfer."""
BATCH = 12
SEED = 9
"""Seed of the scenes: no other measurement uses it."""
PROBED = ("hat", "upper-clothes", "skirt", "pants", "dress", "shoes", "bag")
"""Garments of both probes, by CCP-OS's names; coats count as upper-clothes, as in ATR."""
OF_ATOMS = {"face": "skin", "socks": "legwear", "shoe": "shoes", "jumpsuit": "dress"}
"""Drawn materials that have another name in CCP-OS (CCP's rompers count as dresses); others it lacks: background."""
DRAWN: dict[str, Callable[[int, int], Any]] = {
    "version 4": lambda index, size: scene("synth-atr", SEED, index, size),
    "version 5, cloth says nothing": lambda i, size: portrait.scene("synth-atr", SEED, i, size, portrait.NOTHING),
    "version 5, cloth as in life": lambda i, size: portrait.scene("synth-atr", SEED, i, size, portrait.LIFE),
}
REAL = "photos of CCP"
CUES = ("colour", "texture", "silhouette")


class People(NamedTuple):
    """Crops to the person: photos uint8 [N,H,W,3] with the ids of CCP-OS uint8 [N,H,W]."""

    photos: Array
    masks: Array


def ccp_ids_of_atoms() -> Array:
    """Ids of CCP-OS by atom, uint8 [256]: a look-up table for the atom maps of drawn scenes."""
    names, table = list(CCP_CLASSES), np.zeros(256, dtype=np.uint8)
    for index, atom in enumerate(ATOMS):
        name = OF_ATOMS.get(atom.material, atom.material)
        table[index] = names.index(name) if name in names else 0
    return table


def cut_out(photo: Array, ids: Array, person: Array) -> tuple[Array, Array]:
    """Cut photo and ids to the person's box, a tenth larger, and bring both to `SIZE`."""
    box = foreground_box(person, MARGIN)
    top, bottom, left, right = box or (0, *person.shape[:1], 0, person.shape[1])
    size = SIZE[::-1]
    small = Image.fromarray(np.ascontiguousarray(photo[top:bottom, left:right])).resize(size, Image.Resampling.BOX)
    mask = Image.fromarray(np.ascontiguousarray(ids[top:bottom, left:right])).resize(size, Image.Resampling.NEAREST)
    return np.asarray(small), np.asarray(mask)


def drawn_people(make: Callable[[int, int], Any], n: int, size: int = 128) -> tuple[People, People]:
    """Return `n` drawn people whole (square, `size`) and as crops for the transfer."""
    table, whole, crops = ccp_ids_of_atoms(), [], []
    for index in range(n):
        drawn = make(index, size)
        ids = table[drawn.atoms]
        whole.append((drawn.image, ids))
        crops.append(cut_out(drawn.image, ids, drawn.persons))
    return _stacked(whole), _stacked(crops)


def _stacked(pairs: Sequence[tuple[Array, Array]]) -> People:
    return People(np.stack([photo for photo, _ in pairs]), np.stack([ids for _, ids in pairs]))


def photos_of_ccp(root: Path, stems: Sequence[str]) -> tuple[list[tuple[Array, Array]], People]:
    """Return photos as tall as drawn people (119 pixels from head to foot) with ids, and crops for the transfer.

    Raises UserError where a photo or an annotation cannot be read.
    """
    space, whole, crops = label_space("ccp"), [], []
    for stem in stems:
        tags = read_annotation(root / ANNOTATIONS / f"{stem}.mat")
        photo = read_image(root / PHOTOS / f"{stem}.jpg")
        ids = space.merge(tags)
        crops.append(cut_out(photo, ids, tags))
        top, bottom, _, _ = foreground_box(tags, 0.0) or (0, tags.shape[0], 0, 0)
        scale = 119 / (bottom - top)
        size = max(round(photo.shape[1] * scale), 8), max(round(photo.shape[0] * scale), 8)
        small = Image.fromarray(photo).resize(size, Image.Resampling.BOX)
        whole.append((np.asarray(small), np.asarray(Image.fromarray(ids).resize(size, Image.Resampling.NEAREST))))
    return whole, _stacked(crops)


def probe_ids(masks: Array) -> Array:
    """Coats joined with upper-clothes: the classes of the probes."""
    names = list(CCP_CLASSES)
    return np.where(masks == names.index("coat"), names.index("upper-clothes"), masks)


def probes(photos: Sequence[Array] | Array, masks: Sequence[Array] | Array) -> dict[str, dict[str, float]]:
    """Run the three tests of what a single cue tells: colour, texture, outline."""
    classes = [list(CCP_CLASSES).index(name) for name in PROBED]
    high, wide = (max(mask.shape[axis] for mask in masks) for axis in (0, 1))
    images = np.zeros((len(masks), high, wide, 3), dtype=np.uint8)
    ids = np.zeros((len(masks), high, wide), dtype=np.uint8)
    for k, (photo, mask) in enumerate(zip(photos, masks, strict=True)):
        images[k, : mask.shape[0], : mask.shape[1]], ids[k, : mask.shape[0], : mask.shape[1]] = photo, probe_ids(mask)
    return {
        "colour": colour_audit(images, ids, "ccp-os") | {"chance": 1 / len(classes)},  # coats are not among them
        "texture": texture_probe(images, ids, classes),
        "silhouette": silhouette_probe(ids, classes),
    }


def mean_iou(truth: Array, guess: Array) -> tuple[float, dict[str, float]]:
    """Mean IoU over CCP-OS's foreground classes that occur in the truth, and the IoU of each, in percent."""
    ious = {}
    for class_id, name in enumerate(CCP_CLASSES):
        here, there = truth == class_id, guess == class_id
        if class_id and here.any():
            ious[name] = round(100 * float((here & there).sum() / (here | there).sum()), 1)
    return round(float(np.mean(list(ious.values()))), 1), ious


def mean_map(people: People) -> Array:
    """Return the most frequent class at every pixel [H,W]: what parses without looking."""
    counts = np.stack([(people.masks == c).sum(0) for c in range(len(CCP_CLASSES))])
    return counts.argmax(0).astype(np.uint8)


def train(people: People, steps: int, seed: int) -> Callable[[Array], Array]:
    """Train a small parser on crops, every class known; returns photos uint8 [N,H,W,3] -> ids [N,H,W]."""
    torch.manual_seed(seed)
    network = nn.Sequential(LiteEncoder(32, (16, 24, 32, 48)), nn.Conv2d(32, len(CCP_CLASSES), 1))
    optimiser = torch.optim.AdamW(network.parameters(), lr=4e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 4e-3, total_steps=steps)
    photos = torch.from_numpy(people.photos.copy()).permute(0, 3, 1, 2)
    masks = torch.from_numpy(people.masks.copy()).long()
    for _ in range(steps):
        batch = torch.randint(0, len(photos), (BATCH,))
        x, y = photos[batch] / 127.5 - 1, masks[batch]
        x = x * (1 + 0.2 * torch.randn(BATCH, 3, 1, 1)) + 0.2 * torch.randn(
            BATCH, 3, 1, 1
        )  # exposure and white balance
        if torch.rand(()) < 0.5:
            x, y = x.flip(3), y.flip(2)
        scores = F.interpolate(network(x), size=SIZE, mode="bilinear", align_corners=True)
        loss = F.cross_entropy(scores, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    network.eval()

    @torch.inference_mode()
    def parse(images: Array) -> Array:
        x = torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 127.5 - 1
        scores = F.interpolate(network(x), size=SIZE, mode="bilinear", align_corners=True)
        return np.asarray(scores.argmax(1).numpy(), dtype=np.uint8)

    return parse


def transfer(sources: Mapping[str, People], test: People, steps: int, seeds: int) -> dict[str, Any]:
    """Score networks and mean label maps of every source on the test crops: {source: {mean, sd, map, classes}}."""
    rows: dict[str, Any] = {}
    for name, people in sources.items():
        runs = [mean_iou(test.masks, train(people, steps, seed)(test.photos)) for seed in range(seeds)]
        scores = [score for score, _ in runs]
        flat = np.broadcast_to(mean_map(people), test.masks.shape)
        rows[name] = {
            "miou": scores,
            "mean": round(float(np.mean(scores)), 1),
            "mean_map": mean_iou(test.masks, flat)[0],
            "classes": {c: round(float(np.mean([ious[c] for _, ious in runs])), 1) for c in runs[0][1]},
        }
    return rows


def measure(root: Path, scenes: int, photos: int, tests: int, steps: int, seeds: int) -> dict[str, Any]:
    """Return everything that stands in the record."""
    began, plan = time.process_time(), standard_plan()
    rows, sources = {}, {}
    for name, make in DRAWN.items():
        whole, sources[name] = drawn_people(make, scenes)
        rows[name] = probes(whole.photos, whole.masks)
    real, sources[REAL] = photos_of_ccp(root, plan.train[:photos])
    rows[REAL] = probes([photo for photo, _ in real], [ids for _, ids in real])
    _, test = photos_of_ccp(root, plan.test[:tests])
    settings = {"scenes": scenes, "photos": photos, "test photos": tests, "steps": steps, "seeds": seeds, "seed": SEED}
    return {
        "settings": settings,
        "probes": rows,
        "transfer": transfer(sources, test, steps, seeds),
        "cpu_seconds": round(time.process_time() - began),
        "made": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def record_file() -> Path:
    """Where the record is kept."""
    return project_root() / "notebooks" / "results" / "people.json"


def read_record() -> dict[str, Any]:
    """Read the committed record. UserError where there is none."""
    return read_json(record_file())


def table(record: Mapping[str, Any]) -> str:
    """Return the record as a Markdown table, in percent; behind each probe stands what guessing scores."""
    rows = [
        "| people | colour | texture | outline | network on CCP, mIoU | majority map on CCP, mIoU |",
        "|---|---|---|---|---|---|",
    ]
    for name, probed in record["probes"].items():
        shares = [(100 * probed[cue]["balanced_accuracy"], 100 * probed[cue]["chance"]) for cue in CUES]
        cells = [f"{share:.0f} % ({chance:.0f} %)" for share, chance in shares]
        moved = record["transfer"][name]
        cells += [
            f"{moved['mean']:.1f} % ({min(moved['miou']):.1f} to {max(moved['miou']):.1f})",
            f"{moved['mean_map']:.1f} %",
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


@exit_code
def main(words: list[str] | None = None) -> int:
    """Measure and keep the record."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.book.realism", description=__doc__)
    parser.add_argument("--ccp", type=Path, help="a clone of CCP (default: OSHP_CCP_ROOT)")
    parser.add_argument("--out", type=Path, help="the record (default: notebooks/results/people.json)")
    for name, value in (("scenes", 240), ("photos", 240), ("tests", 150), ("steps", 250), ("seeds", 2)):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args(words)
    root = given.ccp or os.environ.get("OSHP_CCP_ROOT")
    if not root:
        raise UserError("photos of CCP are needed; clone it and give --ccp or set OSHP_CCP_ROOT")
    made = measure(Path(root), given.scenes, given.photos, given.tests, given.steps, given.seeds)
    write_json_atomic(given.out or record_file(), made)
    print(table(made))
    return 0


if __name__ == "__main__":
    sys.exit(main())
