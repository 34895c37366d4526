"""What a score is compared with: trivial predictions below, the supervised ceiling above; computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from oshp_lite.data.dataset import OneShotDataset
from oshp_lite.data.registry import find_dataset
from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.provenance import PACKAGE, source_digest
from oshp_lite.engine.runs import RunStore, present_code
from oshp_lite.files import read_json, sha256_json, write_json_atomic
from oshp_lite.study.plan import Finder, Row

TRIVIAL = ("background", "copy", "mean map", "colour")
"""All background; the support mask laid on the query; the mean label map; the nearest mean colour."""


def ceiling_config(profile: str, dataset: str, fold: int, overrides: Iterable[str] = ()) -> RunConfig:
    """The run that marks the ceiling: the same encoder, supervised with every class visible.

    Of `overrides` only those of data, evaluation and the model's own options count.
    """
    same = [item for item in overrides if item.startswith(("data.", "eval.", "model.options."))]
    wanted = [f"data.fold={fold}", "train.visible=all", *same]
    return load_profile(profile, wanted, dataset=dataset, way="k", task="segment")


def ceiling_rows(profile: str, trained: Iterable[Row]) -> list[Row]:
    """The ceilings beside some trainings, for estimates: what a training lacks, its ceiling lacks too."""
    rows = {}
    for row in trained:
        of = row.config.data
        name = f"ceiling-{of.dataset}-fold{of.fold}"
        rows[name] = Row(name, ceiling_config(profile, of.dataset, of.fold), reason=row.reason)
    return list(rows.values())


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

    def judged(name: str) -> dict[str, Any]:
        return baseline_evaluation(name, dataset, config, progress=progress).scores.as_dict()

    kept = {name: _kept(store, config, dataset, name, judged if make else None) for name in names}
    return {name: scores for name, scores in kept.items() if scores}


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
    from oshp_lite.engine.evaluate import evaluate

    store = store or RunStore()
    run = store.ensure(ceiling, data, progress=progress) if make else store.find(ceiling, data)
    if run is None or config.data.way == ceiling.data.way:
        return run.scores if run else {}
    dataset = find_dataset(config.data, data, progress=progress)

    def judged(_: str) -> dict[str, Any]:
        return evaluate(run.parser(), dataset, replace(config, model=ceiling.model), progress=progress).as_dict()

    return _kept(store, config, dataset, f"ceiling {run.identity}", judged if make else None)


def ensure(
    profile: str, dataset: str, fold: int, way: str, overrides: Sequence[str], what: str, look: Finder | None = None
) -> bool:
    """Make the ceiling ("ceiling") or the trivial baselines of a dataset, fold and way, where the environment says.

    `look` says instead where to look for them, and nothing is made. Returns whether they are there.
    """
    config = load_profile(profile, [f"data.fold={fold}", *overrides], dataset=dataset, way=way)
    how: Any = {"progress": False} | ({"data": look.data, "store": look.store, "make": False} if look else {})
    if what == "ceiling":
        return bool(ceiling_scores(config, ceiling_config(profile, dataset, fold, overrides), **how))
    return len(baseline_scores(config, **how)) == len(TRIVIAL)


def _kept(
    store: RunStore | None,
    config: RunConfig,
    dataset: OneShotDataset,
    name: str,
    judged: Callable[[str], dict[str, Any]] | None,
) -> dict[str, Any]:
    """A reference's scores from a file that is named by everything that decides them, made by `judged` first; or {}."""
    settings = config.as_dict()
    key = {
        "name": name,
        "data": {part: settings["data"][part] for part in ("fold", "protocol", "way", "size", "split")},
        "eval": settings["eval"],
        "dataset": dataset.fingerprint,
        "code": [present_code(), source_digest((PACKAGE / "engine" / "trivial.py").read_text(encoding="utf-8"))],
    }
    path = (store or RunStore()).root / ".references" / f"{name.replace(' ', '-')}-{sha256_json(key)[:16]}.json"
    if judged and not path.is_file():
        write_json_atomic(path, judged(name))
    return dict(read_json(path)) if path.is_file() else {}
