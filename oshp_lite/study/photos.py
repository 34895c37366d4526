"""How well real photos are parsed from one marked one: a committed list of CCP photos, and the confidence's threshold.

    python -m oshp_lite.study.photos measure [--weights FILE] [--set mirror=false ...] [--keep]
    python -m oshp_lite.study.photos calibrate --weights FILE

The photos are CCP's own, whole, at a clone named by --ccp or OSHP_CCP_ROOT; the list (`photos.json`) holds file names
alone. `list` writes it again: rules and seed stand in it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from typing import Any, cast

import numpy as np

from oshp_lite.assets import checkpoint
from oshp_lite.data.prepare.ccp import ANNOTATIONS, PHOTOS, read_annotation, standard_plan
from oshp_lite.errors import UserError
from oshp_lite.files import file_sha256, project_root, read_image, read_json, write_json_atomic
from oshp_lite.labels import fold, label_space
from oshp_lite.models.base import CheckpointRecord
from oshp_lite.predict import ParseOptions, Parser, load_network
from oshp_lite.predict.confidence import EVIDENCE, SIGNS, calibration_file
from oshp_lite.script import exit_code

LIST = Path(__file__).with_name("photos.json")
KEPT_IN = Path("notebooks", "results", "photos.json")
"""What was measured and kept (`--keep`): an entry for each checkpoint, options and number of supports."""
BLOCKS = 5
CLASSES = {"trousers": "pants", "bag": "bag"}
"""What the list calls a class -> the class of CCP-OS."""
SUPPORTS, QUERIES = 5, 10
LEAST = {"trousers": 0.1, "bag": 0.03}
"""A class counts as present from this share of the person on; absent is not one pixel."""
SEED = 2026
SPACING = 4
"""Photos of the list lie at least this many file numbers apart: neighbours show one person on one day."""


KEPT, USEFUL = 0.9, 0.2
"""The threshold keeps this share of the parses with at least that IoU."""


class Ccp:
    """A clone of CCP: photos uint8 [H,W,3] and masks of CCP-OS's ids uint8 [H,W], read once."""

    def __init__(self, root: str | Path | None) -> None:
        chosen = root or os.environ.get("OSHP_CCP_ROOT")
        if chosen is None:
            raise UserError("the photos are CCP's; name a clone with --ccp or OSHP_CCP_ROOT")
        self.root, self.space = Path(chosen), label_space("ccp")
        self.photo = cache(lambda stem: read_image(self.root / PHOTOS / f"{stem}.jpg"))
        self.tags = cache(lambda stem: read_annotation(self.root / ANNOTATIONS / f"{stem}.mat"))

    def mask(self, stem: str) -> np.ndarray:
        """Ids of CCP-OS."""
        return self.space.merge(self.tags(stem))

    def share(self, stem: str, class_id: int) -> float:
        """A class's share of the person."""
        return float((self.mask(stem) == class_id).sum() / max(1, (self.tags(stem) != 0).sum()))


def parts() -> dict[str, list[str]]:
    """Photos that trainings leave out: "test" both of the standard split and of block 4; "block0" of block 0."""
    plan = standard_plan()
    stems = sorted([*plan.train, *plan.test])
    edges = [len(stems) * block // BLOCKS for block in range(BLOCKS + 1)]
    last = set(stems[edges[-2] :]) & set(plan.test)
    return {"test": sorted(last), "block0": stems[: edges[1]]}


def make_list(ccp: Ccp) -> dict[str, Any]:
    """Draw the list: for each part and class 5 supports and 10 queries that show it, and 10 queries that do not."""
    made: dict[str, Any] = {
        "source": "CCP (Clothing Co-Parsing), photos NNNN.jpg",
        "rule": {"seed": SEED, "least share of the person": LEAST, "spacing": SPACING, "absent": "not one pixel"},
        "parts": {},
    }
    for number, (part, stems) in enumerate(parts().items()):
        made["parts"][part] = {}
        for name, wanted in CLASSES.items():
            class_id = label_space("ccp-os").id_of(wanted)
            order = [stems[i] for i in np.random.default_rng([SEED, number, class_id]).permutation(len(stems))]
            shares = {stem: ccp.share(stem, class_id) for stem in order}
            with_it = [stem for stem in order if shares[stem] >= LEAST[name]]
            without = [stem for stem in order if shares[stem] == 0]
            taken: list[str] = []
            made["parts"][part][name] = {
                "supports": _draw(SUPPORTS, with_it, taken),
                "present": _draw(QUERIES, with_it, taken),
                "absent": _draw(QUERIES, without, taken),
            }
    return made


def _draw(count: int, order: Sequence[str], taken: list[str]) -> list[str]:
    """The first `count` photos that lie apart from all taken ones, which they join."""
    chosen: list[str] = []
    for stem in order:
        if len(chosen) < count and all(abs(int(stem) - int(other)) >= SPACING for other in taken):
            chosen.append(stem)
            taken.append(stem)
    if len(chosen) < count:
        raise UserError("too few photos lie apart; lower the spacing")
    return sorted(chosen)


def part_for(record: CheckpointRecord) -> str:
    """The part of the list that a checkpoint has not been trained on. UserError where it has seen both."""
    data = record.config.get("data", {})
    if not str(record.dataset).startswith("ccp"):
        return "test"
    block = data.get("block")
    if block in (None, BLOCKS - 1):
        return "test"
    if block == 0:
        return "block0"
    raise UserError(f"this checkpoint was trained on block {block}'s complement, which holds all photos of the list")


def knowledge(record: CheckpointRecord, wanted: str) -> str:
    """Whether training labelled a class of CCP-OS: "novel", "base", or "never seen" for other data."""
    if not str(record.dataset).startswith("ccp"):
        return "never seen on photos"
    if record.config.get("train", {}).get("visible") == "all":
        return "base"
    chosen = fold("ccp-os", int(record.fold["number"]), str(record.fold.get("protocol", "journal")))
    return "base" if label_space("ccp-os").id_of(wanted) in chosen.training else "novel"


def measure(
    weights: Path | str,
    ccp: Ccp,
    options: ParseOptions | None = None,
    *,
    supports: int = 1,
    share: dict[str, Any] | None = None,
    foreground: bool = False,
) -> dict[str, dict[str, Any]]:
    """IoU where a class is present, marks where it is absent, per class of the list, for a checkpoint and options.

    supports  marked photos at a time (2: each with the next of the list)
    share     a dict kept between calls on one checkpoint, so that its photos are encoded once
    foreground  give the supports' whole person too

    iou: mean over 5 x 10 pairs; by_support: the mean over the ten photos of each support, without the threshold;
    pooled: one IoU over all their pixels; false_marks: mean share of the photo that is
    marked where the class is absent. The first two numbers of each are without the threshold and with it (pixels of
    unlikely classes left out). lost, warned: share of the pairs with and without the class that are called unlikely.
    """
    network = load_network(weights)
    record, options = cast(CheckpointRecord, network.record), replace(options or ParseOptions(), drop_unlikely=False)
    part = part_for(record)
    found: dict[str, dict[str, Any]] = {}
    for name, entry in read_json(LIST)["parts"][part].items():
        class_id = label_space("ccp-os").id_of(CLASSES[name])
        overlaps, marks, lost, warned = [], [], [], []
        for number in range(SUPPORTS):
            parser = Parser(network, options)
            if share is not None:
                parser.encoded = share.setdefault("encoded", parser.encoded)
            for more in range(supports):
                stem = entry["supports"][(number + more) % SUPPORTS]
                whole = (ccp.tags(stem) != 0).astype(np.uint8) if foreground else None
                parser.support(ccp.photo(stem), (ccp.mask(stem) == class_id).astype(np.uint8), foreground=whole)
            for stem in entry["present"]:
                parsing, truth = parser.parse(ccp.photo(stem)), ccp.mask(stem) == class_id
                own = parsing.mask == 1
                overlaps.append([(own & truth).sum(), (own | truth).sum(), truth.sum()])
                lost.append(bool(parsing.unlikely) or not own.any())
            for stem in entry["absent"]:
                parsing = parser.parse(ccp.photo(stem))
                marks.append((parsing.mask == 1).mean())
                warned.append(bool(parsing.unlikely) or not parsing.mask.any())
        both, either, wanted = np.array(overlaps).T
        kept, quiet = ~np.array(lost), np.array(warned)
        after = both * kept / np.where(kept, either, wanted)
        found[name] = {
            "part": part,
            "training": knowledge(record, CLASSES[name]),
            "iou": [float(np.mean(both / either)), float(after.mean())],
            "by_support": (both / either).reshape(SUPPORTS, -1).mean(1).round(4).tolist(),
            "pooled": [
                float(both.sum() / either.sum()),
                float((both * kept).sum() / np.where(kept, either, wanted).sum()),
            ],
            "false_marks": [float(np.mean(marks)), float(np.mean(np.array(marks) * ~quiet))],
            "lost": float(np.mean(lost)),
            "warned": float(np.mean(warned)),
        }
    return found


def fit(values: np.ndarray, truth: np.ndarray, ridge: float = 1.0) -> tuple[np.ndarray, float]:
    """Logistic regression by Newton's method: values float [N,D] standardised, truth bool [N] -> weights [D], bias."""
    rows = np.c_[values, np.ones(len(values))]
    weights, penalty = np.zeros(rows.shape[1]), np.r_[np.full(values.shape[1], ridge), 0]
    for _ in range(50):
        chance = 1 / (1 + np.exp(-rows @ weights))
        slope = rows.T @ (chance - truth) + penalty * weights
        bend = (rows * (chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty + 1e-9)
        weights = weights - np.linalg.solve(bend, slope)
    return weights[:-1], float(weights[-1])


def fit_signed(values: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """`fit` with the numbers of EVIDENCE; one that would count against its SIGN is left out (weight 0)."""
    used = list(range(values.shape[1]))
    while True:
        fitted, bias = fit(values[:, used], truth)
        right = [place for place, weight in zip(used, fitted, strict=True) if weight * SIGNS[place] > 0]
        if right == used:
            weights = np.zeros(values.shape[1])
            weights[used] = fitted
            return weights, bias
        used = right


def roc_area(score: np.ndarray, truth: np.ndarray) -> float:
    """Probability that a true one scores above a false one (ties count half)."""
    above = score[truth][:, None] - score[~truth][None]
    return float((above > 0).mean() + 0.5 * (above == 0).mean())


def gather(weights: Path | str, ccp: Ccp, options: ParseOptions) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Evidence float [N,4], whether the class was there bool [N], IoU float [N] and class id; and where they are from.

    The checkpoint is a run's of the tuning protocol, whose base classes in the novel's place are held out of training;
    the photos are those that the protocol tests on (the last quarter of CCP-OS's training photos). Per class 4 supports
    with 15 queries that show it and 15 that do not. UserError for a checkpoint of another protocol.
    """
    network = load_network(weights)
    record = cast(CheckpointRecord, network.record)
    if record.fold.get("protocol") != "tuning":
        raise UserError(f"{weights} was not trained under the tuning protocol, so it has no held-out base classes")
    chosen = fold("ccp-os", int(record.fold["number"]), "tuning")
    train = standard_plan().train
    stems = train[round(len(train) * 0.75) :]
    rows: list[tuple[np.ndarray, bool, float, int]] = []
    rng, encoded, counts = np.random.default_rng(SEED), None, {}
    for class_id in chosen.novel:
        shares = {stem: ccp.share(stem, class_id) for stem in stems}
        with_it = [stems[i] for i in rng.permutation(len(stems)) if shares[stems[i]] >= 0.02]
        without = [stems[i] for i in rng.permutation(len(stems)) if shares[stems[i]] == 0]
        counts[chosen.space.class_name(class_id)] = len(with_it)
        for number in range(min(4, len(with_it) // 2)):
            parser = Parser(network, replace(options, drop_unlikely=False))
            parser.encoded = encoded = encoded or parser.encoded
            parser.support(ccp.photo(with_it[number]), (ccp.mask(with_it[number]) == class_id).astype(np.uint8))
            for stem in [*with_it[4:19], *without[:15]]:
                parsing, here = parser.parse(ccp.photo(stem)), ccp.mask(stem) == class_id
                if parsing.evidence:
                    own = parsing.mask == 1
                    iou = float((own & here).sum() / max(1, (own | here).sum()))
                    rows.append((parsing.evidence[1], bool(here.any()), iou, class_id))
    names = ("evidence", "present", "iou", "class_id")
    about = {
        "weights": file_sha256(weights),
        "run": f"{record.method}, {record.dataset}, fold {chosen.number}, protocol tuning",
        "seed": record.config["train"]["seed"],
        "options": as_plain(options),
        "photos": f"{stems[0]} to {stems[-1]} of CCP-OS's training photos, in no training of this run",
        "photos with the held-out base class": counts,
    }
    return {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}, about


def calibration_of(rows: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> dict[str, Any]:
    """Fit the confidence to what `gather` gave, and choose the threshold.

    The regression predicts whether a parse is of use (IoU from USEFUL on; never so without the class), since an absent
    class can hardly be distinguished from a parse that missed it. The threshold keeps KEPT of the parses that are of
    use, so that "probably not in this photo" is seldom wrong and misses many absent classes.
    """
    values, right, useful = rows["evidence"], rows["present"], rows["iou"] >= USEFUL
    mean, scale = values.mean(0), values.std(0)
    standard = (values - mean) / scale
    weights, bias = fit_signed(standard, useful)
    score = 1 / (1 + np.exp(-(standard @ weights + bias)))
    threshold = float(np.quantile(score[useful], 1 - KEPT))
    areas = {n: round(roc_area(values[:, i] * SIGNS[i], useful), 3) for i, n in enumerate(EVIDENCE)}
    held_out = {}
    for one in np.unique(rows["class_id"]):
        own = rows["class_id"] == one
        if useful[own].all() or not useful[own].any():
            continue  # nothing to tell apart
        others, _ = fit_signed(standard[~own], useful[~own])
        held_out[label_space("ccp-os").class_name(int(one))] = round(roc_area(standard[own] @ others, useful[own]), 3)
    return {
        "evidence": list(EVIDENCE),
        "mean": mean.round(4).tolist(),
        "scale": scale.round(4).tolist(),
        "weights": weights.round(4).tolist(),
        "bias": round(bias, 4),
        "threshold": round(threshold, 3),
        "provenance": {
            "command": "python -m oshp_lite.study.photos calibrate --weights FILE",
            **about,
            "pairs with and without the class": [int(right.sum()), int((~right).sum())],
            "parses of use": f"{int(useful.sum())}, those of IoU {USEFUL} and more",
            "roc area": round(roc_area(score, useful), 3),
            "roc area on a class left out of the fit": held_out,
            "roc area of each number": areas,
            "kept of those of use": round(float((score[useful] >= threshold).mean()), 3),
            "refused of the others where present": round(float((score[right & ~useful] < threshold).mean()), 3),
            "refused where absent": round(float((score[~right] < threshold).mean()), 3),
            "mean IoU where present": round(float(rows["iou"][right].mean()), 3),
        },
    }


def keep(
    path: Path, weights: Path | str, options: ParseOptions, supports: int, found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write a measurement into the record, in place of an earlier one of the same checkpoint, options and supports."""
    record = cast(CheckpointRecord, load_network(weights).record)
    about = {"method": record.method, "dataset": record.dataset, "fold": record.fold.get("number")}
    seed = record.config.get("train", {}).get("seed")
    place = {"weights": file_sha256(weights), "options": as_plain(options), "supports": supports}
    known = read_json(path)["measured"] if path.is_file() else []
    others = [one for one in known if {name: one[name] for name in place} != place]
    entry = {**place, "checkpoint": {**about, "seed": seed}, "found": dict(found)}
    command = "python -m oshp_lite.study.photos measure --keep"
    write_json_atomic(path, {"command": command, "measured": [*others, entry]})


def as_plain(options: ParseOptions) -> dict[str, Any]:
    """Options as JSON takes them."""
    return {item.name: getattr(options, item.name) for item in fields(options)}


def read_options(settings: Sequence[str]) -> ParseOptions:
    """Options from words NAME=VALUE (JSON values). UserError for unknown names and other kinds of values."""
    given: dict[str, Any] = {}
    known: Mapping[str, Any] = as_plain(ParseOptions())
    for word in settings:
        name, _, value = word.partition("=")
        if name not in known:
            raise UserError(f"--set {word}: options are {', '.join(known)}")
        try:
            given[name] = json.loads(value)
        except ValueError:
            raise UserError(f"--set {word}: the value must be true, false, null or a number") from None
    return replace(ParseOptions(), **given)


@exit_code
def main(words: Sequence[str] | None = None) -> int:
    """Run one of the commands."""
    parser = argparse.ArgumentParser(prog="python -m oshp_lite.study.photos", description=__doc__)
    parser.add_argument("what", choices=("measure", "calibrate", "list"))
    parser.add_argument("--weights", type=Path, help="checkpoint (default: the one in the package)")
    parser.add_argument("--ccp", help="a clone of CCP (default: OSHP_CCP_ROOT)")
    parser.add_argument("--rows", type=Path, help="calibrate: keep the evidence there too (npz)")
    parser.add_argument("--keep", action="store_true", help=f"measure: keep the result in {KEPT_IN}")
    parser.add_argument("--supports", type=int, default=1, help="marked photos at a time")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="an option of ParseOptions")
    given = parser.parse_args(words)
    ccp = Ccp(given.ccp)
    weights, options = given.weights or checkpoint("photos"), read_options(given.set)
    if given.what == "list":
        write_json_atomic(LIST, make_list(ccp))
    elif given.what == "calibrate":
        rows, about = gather(weights, ccp, options)
        if given.rows:
            np.savez(given.rows, **cast(Any, rows))
        place = calibration_file(cast(CheckpointRecord, load_network(weights).record).method)
        write_json_atomic(place, calibration_of(rows, about))
        print(place.read_text(encoding="utf-8"))
    else:
        began = time.monotonic()
        found = measure(weights, ccp, options, supports=given.supports)
        for name, row in found.items():
            print(f"{name}: {json.dumps(row, default=str)}")
        if given.keep:
            keep(project_root() / KEPT_IN, weights, options, given.supports, found)
        print(f"{time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
