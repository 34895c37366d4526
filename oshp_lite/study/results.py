"""Measured results for tables, figures and claims: from the run store first, else those that are committed.

`record` keeps what the store holds under `notebooks/results/runs/`, with the settings, the commit and the code that
made it, so that tables can be drawn on a machine that has trained nothing. A result that cannot be read stops nothing:
its row says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from oshp_lite.engine.runs import Run, is_older
from oshp_lite.errors import UserError
from oshp_lite.files import project_root
from oshp_lite.study import experiments
from oshp_lite.study.plan import Finder, config_of, why_not
from oshp_lite.study.records import Measured, Results, RunKey, load_measured, measured_of, save_measured
from oshp_lite.study.screening import screened_matrices
from oshp_lite.study.tuning import notes_by_method, profiles_with_trials

if TYPE_CHECKING:
    from oshp_lite.engine.config import RunConfig

COMMITTED_FOR = {"smoke": (), "quick": ("lite",), "lite": ("lite",), "gpu": ("gpu", "lite"), "paper": ("paper",)}
"""Profiles whose committed results stand in for runs that a profile has not made; smoke shows its own alone."""

LIKE = {"quick": "lite"}
"""Profiles that take another one's settings whole."""

SCORES = ("novel_miou", "base_miou", "human_miou", "overall_accuracy", "bi_miou", "coarse_miou", "n_pairs", "iou")
SETTINGS = ("epochs", "batch_size", "lr", "encoder_lr", "optimizer", "schedule", "weight_decay")


def committed_folder() -> Path:
    """Return where committed results lie."""
    return project_root() / "notebooks" / "results" / "runs"


def load_results(
    profile: str,
    keys: Iterable[RunKey] | None = None,
    *,
    finder: Finder | None = None,
    committed: Path | None = None,
    screen: bool = True,
) -> Results:
    """Return every result of a profile that is at hand, and the reason for each that is not.

    A run of the present store comes first (of the present code, else of earlier code with the same settings and data,
    whose provenance says so), then a committed one. `screen` False leaves the screened counts of store runs out.
    """
    reader = _Reader(profile, finder or Finder(), screen)
    kept, damaged = read_committed(profile, committed)
    results: list[Measured] = []
    reasons: dict[RunKey, str] = {}
    for key in dict.fromkeys([*declared(profile), *kept]) if keys is None else keys:
        try:
            config = config_of(key, profile)
            measured, reason = reader.read(key, config), why_not(key, config)
        except UserError as error:
            measured, reason = None, str(error)
        measured = measured or kept.get(key)
        if measured is not None:
            results.append(measured)
        else:
            reason = damaged.get(key.slug) or reason
            reasons[key] = f"not run: {reason}" if reason else "not run yet"
    return Results(results, reasons, tuned=_tuned(results))


def _tuned(results: Iterable[Measured]) -> dict[str, str]:
    """Return what was tried for each method under the results' profiles, or those whose settings they take."""
    profiles = {LIKE.get(measured.profile, measured.profile) for measured in results} & set(profiles_with_trials())
    return {method: words for profile in sorted(profiles) for method, words in notes_by_method(profile).items()}


def declared(profile: str) -> list[RunKey]:
    """Return every run that the profile's matrix or any table or figure needs, each once."""
    needed = [key for exhibit in experiments.EXHIBITS for key in experiments.runs_of(exhibit, profile)]
    whole = experiments.matrix(profile, None if profile == "smoke" else experiments.STEPS)
    return list(dict.fromkeys([*whole, *needed]))


def read_committed(profile: str, folder: Path | None = None) -> tuple[dict[RunKey, Measured], dict[str, str]]:
    """Return the committed results that may stand in for a profile's runs by key, and by slug why others cannot."""
    kept: dict[RunKey, Measured] = {}
    damaged: dict[str, str] = {}
    wanted = COMMITTED_FOR.get(profile, ())
    places = (folder or committed_folder()).glob("*.json") if wanted else ()
    for path in sorted(places):
        try:
            measured = load_measured(path)
        except UserError as error:
            damaged[path.stem] = f"its committed result is damaged: {str(error).replace(f'{path.parent}/', '')}"
            continue
        if measured.profile in wanted:
            method = config_of(measured.key, measured.profile).model.method
            if is_older(measured.provenance, method):
                measured.provenance["older_code"] = True
            kept[measured.key] = measured
    return kept, damaged


class _Reader:
    """Turns finished runs of the store into `Measured`."""

    def __init__(self, profile: str, finder: Finder, screen: bool) -> None:
        self.profile, self.finder, self.screen = profile, finder, screen
        self._masks: dict[RunKey, Run | None] = {}

    def read(self, key: RunKey, config: RunConfig) -> Measured | None:
        """Return the result of a key's finished run, or None when there is no such run or it kept no pairs."""
        from oshp_lite.engine.evaluate import load_pairs

        run = self.finder.find(config)
        if run is None or not (run.folder / "pairs.npz").is_file():
            return None
        matrices, class_ids = load_pairs(run.folder / "pairs.npz")
        return measured_of(
            key,
            self.profile,
            matrices,
            class_ids,
            screened=self._screened(key, run, config) if self.screen else None,
            queries=self._queries(config, len(class_ids)),
            scores={name: run.scores[name] for name in SCORES if run.scores.get(name) is not None},
            history=[{name: float(f"{value:.6g}") for name, value in row.items()} for row in run.history],
            provenance=provenance_of(run, config),
        )

    def _screened(self, key: RunKey, run: Run, config: RunConfig) -> Any:
        mask_key = RunKey("eopnet", key.dataset, key.fold, key.way, key.seed, "", key.protocol)
        if mask_key not in self._masks:
            self._masks[mask_key] = self.finder.find(config_of(mask_key, self.profile))
        mask_run, dataset = self._masks[mask_key], self.finder.dataset(config.data)
        if mask_run is None or dataset is None:
            return None
        return screened_matrices(run, mask_run, config, dataset, self.finder.store.root / ".references")

    def _queries(self, config: RunConfig, pairs: int) -> Any:
        """Return int [N]: the number of each pair's query photo among the test pairs' photos; None when in doubt."""
        from oshp_lite.engine.loading import run_fold, test_set

        dataset = self.finder.dataset(config.data)
        listed = test_set(config, dataset, run_fold(config, dataset)).pairs()
        if len(listed) != pairs:
            return None
        return np.unique([pair.query for pair in listed], return_inverse=True)[1].reshape(-1)


def provenance_of(run: Run, config: RunConfig) -> dict[str, Any]:
    """Return a run's provenance with the settings that were chosen for its method, and whether its code is older."""
    settings = {
        **{name: getattr(config.train, name) for name in SETTINGS},
        "size": config.data.size,
        "augment": config.data.augment,
        "init": config.init.kind,
        "init_epochs": config.init.dataset_epochs if config.init.kind == "segment" else 0,
        "variant": config.variant,
        "condition": config.data.condition,
        "options": dict(config.model.options),
    }
    older = {"older_code": True} if run.older_code else {}
    return {**run.provenance, "run": run.folder.name, "settings": settings, **older}


def record(profile: str, *, finder: Finder | None = None, folder: Path | None = None) -> list[Path]:
    """Keep every finished run of the profile's matrix under `folder`; returns the files that were new or changed.

    Idempotent: a result that is kept already with the same counts and provenance is left alone. A run whose commit
    is unknown is kept all the same; the tables then say so.
    """
    target = folder or committed_folder()
    reader, changed = _Reader(profile, finder or Finder(), screen=True), []
    for key in declared(profile):
        try:
            measured = reader.read(key, config_of(key, profile))
        except UserError:
            continue
        if measured is not None and not _kept(target / f"{key.slug}.json", measured):
            changed.append(save_measured(target, measured))
    return changed


def _kept(path: Path, measured: Measured) -> bool:
    """Return whether the file holds this very result: same run, same counts, screened as far as it can be."""
    try:
        before = load_measured(path)
    except UserError:
        return False
    settings = json.loads(json.dumps(measured.provenance["settings"]))
    same = before.provenance.get("identity") == measured.provenance.get("identity")
    same = same and before.profile == measured.profile and np.array_equal(before.counts, measured.counts)
    same = same and before.provenance.get("settings") == settings
    if before.screened is None or measured.screened is None:
        return bool(same and (measured.screened is None or before.screened is not None))
    return bool(same and np.array_equal(before.screened, measured.screened))
