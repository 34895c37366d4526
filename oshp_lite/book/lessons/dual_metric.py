"""Notebook 04, sections 9 to 11: AGM and NPM alone and together, and how they develop while the weight shifts."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from oshp_lite.book.lessons.background import COPY, WHOLE
from oshp_lite.book.lessons.heads import Bench, Head, Moment, copy_matrices, matrices_of, train_head, truths_of
from oshp_lite.book.lessons.record import Lesson, Row, compared, kway_scores, pair_weights
from oshp_lite.book.scenes import scene_index, shot
from oshp_lite.book.widgets.dual_metric import DualMetricState
from oshp_lite.book.widgets.dual_metric import Moment as Shown
from oshp_lite.labels import Fold
from oshp_lite.models.modules.losses import restrict_target, shift_weights
from oshp_lite.models.modules.prototypes import shrink_mask

Array = NDArray[Any]
SCHEDULES = {
    "AGM alone": lambda progress: 1.0,
    "NPM alone": lambda progress: 0.0,
    "half and half": lambda progress: 0.5,
    "weight shifting": lambda progress: shift_weights(progress)[0],
}
"""The schedules of the journal's Table 5 that concern dual metric learning: share of the training done -> beta."""
START = "NPM before training"
MOMENTS = 11
WORKS, FAILS = 0.3, 0.05
"""IoU of a novel class on a test pair from which on the example works, and below which it fails."""
SMALLEST = 40
"""Pixels of a novel class that an example's truth must hold."""


def measure(bench: Bench, *, steps: int, seeds: int, every: int = 4, whole: Any = None) -> Lesson:
    """Return the four schedules' scores and differences, the course of weight shifting, and two example pairs.

    every  the course is scored on every n-th pair only; whole: the run's own matrices int64 [P,C,C] on the same pairs
    """
    learn = partial(train_head, bench, steps=steps)
    untrained = [learn(Head, SCHEDULES["NPM alone"], seed=seed, steps=0)[0] for seed in range(seeds)]
    rows = [Row(COPY, [copy_matrices(bench)]), Row(START, [matrices_of(bench, head)["npm"] for head in untrained])]
    shifting: tuple[Head, list[Moment]] | None = None
    for name, beta_of in SCHEDULES.items():
        own = partial(Head, guided=name != "NPM alone")  # nothing of the AGM would learn, so there is none
        made = [
            learn(own, beta_of, seed=seed, moments=MOMENTS if name == "weight shifting" and not seed else 0)
            for seed in range(seeds)
        ]
        each = [matrices_of(bench, head) for head, _ in made]
        for module in ("agm", "npm"):
            if name != f"{'NPM' if module == 'agm' else 'AGM'} alone":
                rows.append(Row(f"{name}: {module.upper()}", [one[module] for one in each]))
        shifting = made[0]
    assert shifting is not None
    npm = next(row.matrices[0] for row in rows if row.name == "weight shifting: NPM")
    examples = {name: place for name, place in _examples(npm, bench).items() if place is not None}
    course = _course(bench.some(every), *shifting)
    if whole is not None:
        rows.append(Row(WHOLE, [whole]))
    pairs = [("weight shifting: NPM", "NPM alone: NPM"), ("half and half: NPM", "NPM alone: NPM")]
    pairs += [("NPM alone: NPM", "AGM alone: AGM"), ("NPM alone: NPM", START), ("weight shifting: NPM", COPY)]
    content = compared(rows, pairs, bench.queries, bench.fold)
    arrays: dict[str, Any] = {}
    for name, (place, _) in examples.items():
        arrays |= {f"{name}_{key}": value for key, value in _pictures(bench, place, *shifting).items()}
    shares = _shares(npm, bench.fold)
    chosen = {n: {"pair": p, "class": c, **_photos(bench, p)} for n, (p, c) in examples.items()}
    content |= {"course": course, "examples": chosen}
    return Lesson(content | {"shares": shares, "learned": _learned(shifting[0])}, arrays)


def reading(lesson: Lesson) -> str:
    """Return in words what a record says about the modules alone and about shifting the weight between them."""
    lines = []
    for name in ("AGM alone: AGM", "NPM alone: NPM", "weight shifting: NPM"):
        schedule, module = name.split(": ")
        novel, missed = lesson.score(name), lesson.score(name, "missed")
        lines.append(f"{schedule}: {module} has a novel mIoU of {novel:.1f} % and calls {missed:.0f} % background")
    differences = (f"NPM alone: NPM minus {START}", "NPM alone: NPM minus AGM alone: AGM")
    for name in (*differences, "weight shifting: NPM minus NPM alone: NPM", "half and half: NPM minus NPM alone: NPM"):
        lines.append(lesson.says(name))
    trained = [row["name"] for row in lesson.content["rows"] if row["name"] not in (COPY, START, WHOLE)]
    best = max(trained, key=lesson.score)
    side = "below" if lesson.score(best) < lesson.score(COPY) else "above"
    lines.append(
        f"novel mIoU: the best trained head ({best}, {lesson.score(best):.1f} %) is {side} copying the support's mask "
        f"({lesson.score(COPY):.1f} %); {START} has {lesson.score(START):.1f} %"
    )
    return "\n".join(lines)


def _learned(head: Head) -> dict[str, float]:
    """Return the scalars of a trained NPM: a A + b for a class, a0 A0 + b0 for the background, both times the scale."""
    (a, b), (slope, offset), (outer, shift) = (
        (one.weight.item(), cast(Tensor, one.bias).item())
        for one in (head.npm.foreground, head.npm.background, head.npm.fusion)
    )
    return {"a": a, "b": b, "a0": outer * slope, "b0": outer * offset + shift, "scale": head.scale.item()}


def _ious(matrices: np.ndarray, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    """Return each pair's IoU of its largest novel class, float [P] (nan where the truth holds little), and its id."""
    novel = np.array(fold.novel)
    wanted, claimed = matrices.sum(2)[:, novel], matrices.sum(1)[:, novel]
    hits = np.diagonal(matrices, axis1=1, axis2=2)[:, novel]
    largest = wanted.argmax(1)
    row = np.arange(len(matrices))
    union = (wanted + claimed - hits)[row, largest]
    iou = np.where(wanted[row, largest] >= SMALLEST, hits[row, largest] / np.maximum(union, 1), np.nan)
    return iou, novel[largest]


def _shares(matrices: np.ndarray, fold: Fold) -> dict[str, float]:
    """Return which share of the pairs with a novel class works, and which fails."""
    iou = _ious(matrices, fold)[0]
    iou = iou[~np.isnan(iou)]
    return {"pairs": len(iou), "works": float((iou >= WORKS).mean()), "fails": float((iou < FAILS).mean())}


def _examples(matrices: np.ndarray, bench: Bench) -> dict[str, tuple[int, int] | None]:
    """Return (pair, class) of the middle one of the pairs that work, by IoU, and of those that fail, by size."""
    iou, classes = _ious(matrices, bench.fold)
    sizes = matrices.sum(2)[np.arange(len(classes)), classes]

    def middle(chosen: np.ndarray, order: np.ndarray) -> tuple[int, int] | None:
        places = np.flatnonzero(chosen)
        if not len(places):
            return None
        place = int(places[np.argsort(order[places], kind="stable")][len(places) // 2])
        return place, int(classes[place])

    return {"works": middle(iou >= WORKS, iou), "fails": middle(iou < FAILS, sizes)}


@torch.inference_mode()
def _course(bench: Bench, head: Head, moments: Sequence[Moment]) -> list[dict[str, Any]]:
    """Return beta and both modules' scores at every kept moment of a training."""
    finished = {name: value.clone() for name, value in head.state_dict().items()}
    once, course = pair_weights(bench.queries, 1)[:1], []
    for moment in moments:
        head.load_state_dict(moment.weights)
        scores = {name: kway_scores(one, once, bench.fold) for name, one in matrices_of(bench, head).items()}
        course.append(
            {"beta": moment.beta, **{n: {m: float(v[0]) for m, v in own.items()} for n, own in scores.items()}}
        )
    head.load_state_dict(finished)
    return course


@torch.inference_mode()
def _pictures(bench: Bench, place: int, head: Head, moments: Sequence[Moment]) -> dict[str, np.ndarray]:
    """Return the photos, masks and both modules' probabilities (uint8, 255 is 1) of a pair at every kept moment."""
    query, support = bench.pairs[place].tolist()
    visible, truth = truths_of(bench, slice(place, place + 1))
    seen = [bench.test.features[i][None].float() for i in (query, support)]
    finished = {name: value.clone() for name, value in head.state_dict().items()}
    made: dict[str, list[Tensor]] = {"npm": [], "agm": []}
    for moment in moments:
        head.load_state_dict(moment.weights)
        for name, logits in head(*seen, visible).items():
            made[name].append((255 * logits[0].softmax(0)).round().to(torch.uint8))
    head.load_state_dict(finished)
    return {
        "query": bench.test.images[query].numpy(),
        "support": bench.test.images[support].numpy(),
        "support_mask": bench.test.masks[support].numpy(),
        "truth": truth[0].numpy().astype(np.uint8),
        "beta": np.array([moment.beta for moment in moments], np.float32),
        **{name: torch.stack(maps).numpy() for name, maps in made.items()},
    }


def _photos(bench: Bench, place: int) -> dict[str, str]:
    """Return the names of a pair's photos in the dataset, where the bench knows them."""
    names = (bench.stems[line] for line in bench.pairs[place].tolist()) if bench.stems else ()
    return dict(zip(("query", "support"), names, strict=False))


def pair_of(lesson: Lesson, name: str, fold: Fold) -> tuple[Array, Array, Array, Array]:
    """Return an example's support, its mask, its query and the restricted target; drawn people anew at 256 pixels.

    photos uint8 [H,W,3], masks integer [H,W]
    """
    keys = ("support", "support_mask", "query", "truth")
    support, seen, query, truth = (lesson.arrays[f"{name}_{key}"] for key in keys)
    example, run = lesson.content["examples"][name], lesson.content.get("run", {})
    if run.get("scene_seed") is None or "query" not in example:
        return support, seen, query, truth
    kind = {"name": run["dataset"], "space": fold.space.name, "seed": run["scene_seed"]}
    large = {key: shot(scene_index(example[key]), **kind) for key in ("support", "query")}
    visible = shrink_mask(torch.from_numpy(seen).long()[None], lesson.arrays[f"{name}_npm"].shape[-2:])
    target = restrict_target(torch.from_numpy(large["query"].mask).long()[None], visible, fold.n_ids)[0].numpy()
    return large["support"].image, large["support"].mask, large["query"].image, target


def state_of(lesson: Lesson, name: str, fold: Fold) -> DualMetricState:
    """Return the explorer's state of an example ("works" or "fails"): its novel class, every second moment."""
    array = {key.removeprefix(f"{name}_"): lesson.arrays[key] for key in lesson.arrays if key.startswith(f"{name}_")}
    photo, target = pair_of(lesson, name, fold)[2:]
    maps = [torch.from_numpy(array[module]).float() / 255 for module in ("agm", "npm")]
    cells = shrink_mask(torch.from_numpy(array["truth"]).long()[None], maps[0].shape[-2:])[0]
    ids = [c for c in fold.foreground if (array["support_mask"] == c).any()]
    names = {c: fold.space.class_name(c) + (" (novel)" if c in fold.novel else "") for c in ids}
    moments = [Shown(float(beta), *each) for beta, *each in zip(array["beta"], *maps, strict=True)]
    shown = lesson.content["examples"][name]["class"]
    return DualMetricState(photo, cells, moments[::2], names, step=1, class_id=shown, target=target)
