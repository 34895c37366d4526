"""What a score is compared with: trivial answers below, the supervised ceiling above. Computed once, kept by key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.runs import RunStore, present_code
from oshp_lite.files import read_json, sha256_json, write_json_atomic

if TYPE_CHECKING:
    from oshp_lite.data.dataset import OneShotDataset
    from oshp_lite.engine.config import RunConfig

TRIVIAL = ("background", "copy", "mean map", "colour")
"""All background; the support mask laid on the query; the mean label map; the nearest mean colour."""


def ceiling_config(profile: str, dataset: str, fold: int, overrides: Iterable[str] = ()) -> RunConfig:
    """The run that marks the ceiling: the same encoder, supervised with every class visible.

    Of `overrides` only those of data, evaluation and the model's own options count.
    """
    from oshp_lite.engine.presets import load_profile

    same = [item for item in overrides if item.startswith(("data.", "eval.", "model.options."))]
    wanted = [f"data.fold={fold}", "train.visible=all", *same]
    return load_profile(profile, wanted, dataset=dataset, way="k", task="segment")


def baseline_scores(
    config: RunConfig,
    names: Iterable[str] = TRIVIAL,
    data: str | Path | None = None,
    *,
    store: RunStore | None = None,
    make: bool = True,
    progress: bool = True,
) -> dict[str, dict[str, Any]]:
    """Scores of trivial baselines on the test pairs of `config`: those at hand, and the others made if `make` says so.

    UserError for an unknown name.
    """
    from oshp_lite.engine.trivial import baseline_evaluation

    dataset = find_dataset(config.data, data, progress=progress)
    scores = {}
    for name in names:
        path = _path(store or RunStore(), config, dataset, name)
        if make and not path.is_file():
            judged = baseline_evaluation(name, dataset, config, progress=progress)
            write_json_atomic(path, judged.scores.as_dict())
        if path.is_file():
            scores[name] = read_json(path)
    return scores


def ceiling_scores(
    config: RunConfig,
    ceiling: RunConfig,
    data: str | Path | None = None,
    *,
    store: RunStore | None = None,
    make: bool = True,
    progress: bool = True,
) -> dict[str, Any]:
    """Scores of the ceiling's weights on the test pairs of `config` (1-way pairs too, without training again).

    Made where they are not there yet, if `make` says so; else {}.
    """
    store = store or RunStore()
    run = store.ensure(ceiling, data, progress=progress) if make else store.find(ceiling, data)
    if run is None or config.data.way == ceiling.data.way:
        return run.scores if run else {}
    from oshp_lite.engine.evaluate import evaluate

    dataset = find_dataset(config.data, data, progress=progress)
    path = _path(store, config, dataset, f"ceiling {run.identity}")
    if make and not path.is_file():
        judged = replace(config, model=ceiling.model)
        write_json_atomic(path, evaluate(run.parser(), dataset, judged, progress=progress).as_dict())
    return dict(read_json(path)) if path.is_file() else {}


def _path(store: RunStore, config: RunConfig, dataset: OneShotDataset, name: str) -> Path:
    """Where a reference's scores lie: named by everything that decides them."""
    from oshp_lite.engine.provenance import PACKAGE, source_digest

    settings = config.as_dict()
    own = source_digest((PACKAGE / "engine" / "trivial.py").read_text(encoding="utf-8"))
    key = sha256_json(
        {
            "name": name,
            "data": {part: settings["data"][part] for part in ("fold", "protocol", "way", "size", "split")},
            "eval": settings["eval"],
            "dataset": dataset.fingerprint,
            "code": [present_code(), own],
        }
    )
    return store.root / ".references" / f"{name.replace(' ', '-')}-{key[:16]}.json"
