"""Measured results for tables, figures and claims: from the run store first, else those that are committed.

`record` keeps what the store holds under `notebooks/results/runs/`, with the settings, the commit and the code that
made it, so that tables can be drawn on a machine that has trained nothing. A result that cannot be read stops nothing:
its row says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oshp_lite.engine.runs import Run, is_older
from oshp_lite.errors import UserError
from oshp_lite.files import project_root
from oshp_lite.models.registry import method
from oshp_lite.study import experiments
from oshp_lite.study.plan import Finder, config_of, why_not
from oshp_lite.study.records import Measured, Results, RunKey, load_measured, measured_of, save_measured
from oshp_lite.study.screening import screened_matrices
from oshp_lite.study.tuning import PROFILES, notes_by_method

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

COMMITTED_FOR = {"smoke": (), "quick": ("lite",), "lite": ("lite",), "gpu": ("gpu", "lite"), "paper": ("paper",)}
"""Profiles whose committed results stand in for runs that a profile has not made; smoke shows its own alone."""
LIKE = {"quick": "lite"}
"""Profiles that take another one's settings, with a smaller test: its committed results come first, so that rows which
were tested on different photos never stand beside each other."""
SCORES = ("novel_miou", "base_miou", "human_miou", "overall_accuracy", "bi_miou", "coarse_miou", "n_pairs", "iou")
PEOPLE = "oshp_lite.engine.instance_train"
"""The trainer whose runs judge people one by one."""
SETTINGS = ("epochs", "batch_size", "lr", "encoder_lr", "optimizer", "schedule", "weight_decay")


def committed_folder() -> Path:
    """Return where committed results lie."""
    return project_root() / "notebooks" / "results" / "runs"


def load_results(
    profile: str,
    keys: Sequence[RunKey] | None = None,
    *,
    finder: Finder | None = None,
    committed: Path | None = None,
    screen: bool = True,
) -> Results:
    """Return every result of a profile that is at hand, and the reason for each that is not.

    A run of the present store comes first (of the present code, else of earlier code with the same settings and data,
    whose provenance says so), then a committed one; the other way round for a profile of `LIKE`. `screen` False leaves
    the screened counts of store runs out.
    """
    finder, (kept, damaged) = finder or Finder(), read_committed(profile, committed, keys)
    before = kept if profile in LIKE else {}
    results: list[Measured] = []
    reasons: dict[RunKey, str] = {}
    for key in dict.fromkeys([*declared(profile), *kept]) if keys is None else keys:
        measured, reason = before.get(key), None
        try:
            config = config_of(key, profile)
            measured, reason = measured or _read(key, profile, config, finder, screen), why_not(key, config)
        except UserError as error:
            reason = str(error)
        if measured := measured or kept.get(key):
            results.append(measured)
        else:
            reason = damaged.get(key.slug) or reason
            reasons[key] = f"not run: {reason}" if reason else "not run yet"
    profiles = {LIKE.get(one.profile, one.profile) for one in results} & set(PROFILES)
    tuned = {method: words for name in sorted(profiles) for method, words in notes_by_method(name).items()}
    return Results(results, reasons, tuned=tuned)


def declared(profile: str) -> list[RunKey]:
    """Return every run that the profile's matrix or any table or figure needs, each once."""
    needed = [key for exhibit in experiments.EXHIBITS for key in experiments.runs_of(exhibit, profile)]
    whole = experiments.matrix(profile, None if profile == "smoke" else experiments.STEPS)
    return list(dict.fromkeys([*whole, *needed]))


def read_committed(
    profile: str, folder: Path | None = None, keys: Iterable[RunKey] | None = None
) -> tuple[dict[RunKey, Measured], dict[str, str]]:
    """Return the committed results (or those of `keys`) that may stand in for a profile's runs, by key.

    With them, by slug, why others cannot. Files that have not changed are read once in a process, so that redrawn
    scores are kept as well.
    """
    wanted, slugs = COMMITTED_FOR.get(profile, ()), None if keys is None else {key.slug for key in keys}
    paths = sorted((folder or committed_folder()).glob("*")) if wanted else []
    stats = [(path, path.stat()) for path in paths if slugs is None or path.stem in slugs]
    kept, damaged = _committed(wanted, tuple((path, stat.st_mtime_ns, stat.st_size) for path, stat in stats))
    return dict(kept), dict(damaged)


@lru_cache(maxsize=2)
def _committed(
    wanted: tuple[str, ...], files: tuple[tuple[Path, int, int], ...]
) -> tuple[dict[RunKey, Measured], dict[str, str]]:
    kept: dict[RunKey, Measured] = {}
    damaged: dict[str, str] = {}
    for path in (path for path, *_ in files if path.suffix == ".json"):
        try:
            measured = load_measured(path)
        except UserError as error:
            damaged[path.stem] = f"its committed result is damaged: {str(error).replace(f'{path.parent}/', '')}"
            continue
        if measured.profile in wanted:
            if is_older(measured.provenance, config_of(measured.key, measured.profile).model.method):
                measured.provenance["older_code"] = True
            kept[measured.key] = measured
    return kept, damaged


def _read(key: RunKey, profile: str, config: RunConfig, finder: Finder, screen: bool = True) -> Measured | None:
    """Return the result of a key's finished run in the store, or None when there is none or it kept no pairs."""
    from oshp_lite.engine.domain_runs import pairs_file
    from oshp_lite.engine.evaluate import load_pairs
    from oshp_lite.engine.loading import run_fold, test_set

    if method(key.method).trainer == PEOPLE:
        return _read_people(key, profile, config, finder)
    domains = method(key.method).domains
    run, dataset = finder.find(config), finder.dataset(config.data)
    pairs = pairs_file(config, key.dataset)
    if run is None or not (run.folder / pairs).is_file():
        return None
    matrices, class_ids = load_pairs(run.folder / pairs)
    more: dict[str, Any] = {
        "scores": {name: run.scores[name] for name in SCORES if run.scores.get(name) is not None},
        "history": [{name: float(f"{value:.6g}") for name, value in row.items()} for row in run.history],
    }
    listed = [] if domains else test_set(config, dataset, run_fold(config, dataset)).pairs()
    if domains:  # each test photo once
        more["queries"] = np.arange(len(class_ids))
    elif len(listed) == len(class_ids):  # else which pairs share a photo is in doubt
        lines = np.array([pair.query for pair in listed])  # blocks: neighbours follow from their places in the list
        more["queries"] = lines if key.protocol == "blocks" else np.unique(lines, return_inverse=True)[1].reshape(-1)
    mask_key = replace(key, method="eopnet", ablation="", condition="")
    if screen and not domains and (masks := finder.find(config_of(mask_key, profile))):
        more["screened"] = screened_matrices(run, masks, config, dataset, finder.store.root / ".references")
    more["provenance"] = _provenance(run, config)
    return measured_of(key, profile, matrices, class_ids, **more)


def _read_people(key: RunKey, profile: str, config: RunConfig, finder: Finder) -> Measured | None:
    """Return the result of a finished run of people one by one: its photos stand in the place of pairs."""
    from oshp_lite.engine.instance_train import KEPT, load_tally

    run = finder.find(config)
    if run is None or not (run.folder / KEPT).is_file():
        return None
    kept, classes = load_tally(run.folder / KEPT), key.split.classes
    pixels = kept["pixels"].astype(np.int64)
    counts = np.zeros((len(pixels), len(classes), 3), np.int64)
    counts[:, : pixels.shape[1]] = pixels  # fewer labels than the dataset's own: the others occur nowhere
    history = [{name: float(f"{value:.6g}") for name, value in row.items()} for row in run.history]
    places = np.arange(len(counts))
    more: dict[str, Any] = {"queries": places, "people": kept, "history": history}
    more["provenance"] = _provenance(run, config)
    return Measured(key, profile, counts, np.zeros(len(counts), np.int64), classes, (), **more)


def _provenance(run: Run, config: RunConfig) -> dict[str, Any]:
    """What made a run, its settings among it."""
    settings = {name: getattr(config.train, name) for name in SETTINGS}
    settings |= {"size": config.data.size, "augment": config.data.augment, "init": config.init.kind}
    settings["init_epochs"] = config.init.dataset_epochs if config.init.kind == "segment" else 0
    settings |= {"variant": config.variant, "condition": config.data.condition, "options": dict(config.model.options)}
    older = {"older_code": True} if run.older_code else {}
    return {**run.provenance, "run": run.folder.name, "settings": settings, **older}


def record(profile: str, *, finder: Finder | None = None, folder: Path | None = None) -> list[Path]:
    """Keep every finished run of the profile's matrix under `folder`; returns the files that were new or changed.

    Idempotent: a result that is kept already with the same counts and settings is left alone. A run whose commit is
    unknown is kept all the same; the tables then say so.
    """
    target, finder, changed = folder or committed_folder(), finder or Finder(), []
    for key in declared(profile):
        try:
            measured = _read(key, profile, config_of(key, profile), finder)
        except UserError:
            continue
        if measured is not None and not _kept(target / f"{key.slug}.json", measured):
            measured.provenance.pop("older_code", None)  # whoever reads it compares with the code of that day
            changed.append(save_measured(target, measured))
    return changed


def _kept(path: Path, measured: Measured) -> bool:
    """Return whether the file holds this very result: same run, same counts, screened as far as it can be."""
    try:
        before = load_measured(path)
    except UserError:
        return False
    same = [
        json.dumps([one.profile, one.provenance.get("identity"), one.provenance.get("settings")], sort_keys=True)
        for one in (before, measured)
    ]
    if same[0] != same[1] or not np.array_equal(before.counts, measured.counts):
        return False
    return measured.screened is None or np.array_equal(np.asarray(before.screened), measured.screened)
