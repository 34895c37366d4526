"""Procedural people as a dataset on disk, and how fast they are drawn."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from oshp_lite.data.dataset import FORM, OneShotDataset, Phase, open_dataset
from oshp_lite.data.synthetic.scenes import GENERATOR_VERSION, SPECS, Scene, scene, spec
from oshp_lite.data.writer import DatasetWriter
from oshp_lite.errors import UserError
from oshp_lite.files import sha256_json

TEST_FROM = 1_000_000
"""Index of the first test scene: the test part does not depend on how many training scenes there are."""


def recipe(name: str, n_train: int, n_test: int, size: int, seed: int) -> dict[str, Any]:
    """What a generated dataset is made from: generator version and specification, never JPEG bytes."""
    return {
        "generator": "figures",
        "version": GENERATOR_VERSION,
        "specification": {**asdict(spec(name)), "name": spec(name).stream},
        "n_train": n_train,
        "n_test": n_test,
        "size": size,
        "seed": seed,
    }


def fingerprint(name: str, n_train: int, n_test: int, size: int, seed: int) -> str:
    """The fingerprint of a generated dataset, by the name of its stream: the same as before the datasets' renaming."""
    return sha256_json([FORM, spec(name).stream, recipe(name, n_train, n_test, size, seed)])


def generate(
    name: str,
    root: Path | str,
    n_train: int,
    n_test: int,
    size: int,
    seed: int = 0,
    progress: bool = True,
    *,
    workers: int = 0,
    replaces: str = "",
) -> OneShotDataset:
    """Write `n_train` + `n_test` scenes of `name` in the one-shot form under `root`, and open them.

    Half of the training scenes and a quarter of the test scenes are query photos; test pairs follow the "spread" rule
    (10 queries x 5 supports of each class). An equal dataset already at `root` is kept, a broken-off one continued.
    `replaces` as in `DatasetWriter`.
    Raises UserError for an unknown name, fewer than 8 scenes in a part, a bad size, or a place that cannot be written.
    """
    what = spec(name)
    if min(n_train, n_test) < 8:
        raise UserError(f"{name} needs at least 8 training and 8 test scenes, not {n_train} and {n_test}; ask for more")
    if not 32 <= size <= 1024:
        raise UserError(f"a scene's size must be between 32 and 1024 pixels, not {size}; choose one in that range")
    indices = {f"train_{i:06d}": i for i in range(n_train)} | {f"test_{i:06d}": TEST_FROM + i for i in range(n_test)}
    stems = list(indices)
    writer = DatasetWriter(
        root,
        name=name,
        space=what.label_space,
        train_split=n_train // 2,
        test_split=max(n_test // 4, 1),
        test_pairs={"rule": "spread", "queries": 10, "repeats": 5},
        recipe=recipe(name, n_train, n_test, size, seed),
        fingerprint=fingerprint(name, n_train, n_test, size, seed),
        replaces=replaces,
        details={"generator": {"name": "figures", "version": GENERATOR_VERSION, "seed": seed, "size": size}},
    )
    with writer:
        scenes = _draw_all(name, seed, [indices[stem] for stem in stems if not writer.has(stem)], size, workers)
        parts: dict[Phase, list[str]] = {"train": stems[:n_train], "test": stems[n_train:]}
        for phase, stem in writer.missing(parts, unit="scene", progress=progress):
            drawn = next(scenes)
            persons = drawn.persons if what.people[1] > 1 else None
            writer.add(phase, stem, drawn.image, drawn.mask(what.label_space), instances=persons, quality=90)
    return open_dataset(root)


def _draw_all(name: str, seed: int, indices: list[int], size: int, workers: int) -> Iterator[Scene]:
    """The scenes in order, drawn here or by `workers` processes (the result is the same)."""
    draw = partial(scene, name, seed, size=size)
    if workers < 2 or len(indices) < 64:
        yield from map(draw, indices)
        return
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(draw, indices, chunksize=16)


def bench(seconds: float = 3.0, size: int = 256) -> dict[str, float]:
    """Scenes drawn per second of one core's time, by dataset name (drawing only, no files)."""
    rates = {}
    for name in SPECS:
        scene(name, 0, 0, size)
        start, n = time.process_time(), 0
        while time.process_time() - start < seconds:
            n += 1
            scene(name, 0, n, size)
        rates[name] = n / (time.process_time() - start)
    return rates
