"""What is tried while a method's settings are chosen: on held-out base classes, the same number of trials for each.

`trials.yaml` declares them. A trial is a run under the protocol "tuning": training photos only, novel classes erased,
some base classes playing novel. `record` keeps them with the results, and `chosen` is the one rule that reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from oshp_lite.engine.config import RunConfig
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import project_root, read_json, write_json_atomic

START = "start"
"""Name of the trial that the others change in one thing."""

MARGIN = 0.01
"""Human mIoU by which another trial must beat the start to take its place; seeds alone differ by about half of it."""

BY_HAND = {"profile": None, "trial": None}
"""How a record names a tuning run that is no declared trial."""

_OPTION = "model.options."

SCORES = ("novel_miou", "base_miou", "human_miou", "n_pairs")


@dataclass(frozen=True)
class Trial:
    """One setting of a method that is tried under a profile: what it sets, as dotted names of a run's configuration."""

    profile: str
    method: str
    name: str
    dataset: str
    settings: dict[str, Any]
    same: dict[str, Any]

    @property
    def config(self) -> RunConfig:
        """The run that tries it."""
        return self._laid({**self.settings, **self.same})

    @property
    def settled(self) -> RunConfig:
        """The profile's own run of the method, were this trial's settings its settings."""
        return self._laid(self.settings)

    def _laid(self, settings: dict[str, Any]) -> RunConfig:
        # a trial names all options it has, so that it stays the same trial whatever the profile has taken since
        options = {name.removeprefix(_OPTION): value for name, value in settings.items() if name.startswith(_OPTION)}
        others = {name: value for name, value in settings.items() if not name.startswith(_OPTION)}
        config = load_profile(self.profile, {"model.method": self.method, **others}, dataset=self.dataset)
        return replace(config, model=replace(config.model, options=options))


def trials(profile: str) -> list[Trial]:
    """Every trial of a profile, method by method, the start of each first. Raises UserError where none is declared."""
    content = _declared()
    if profile not in content:
        raise UserError(f"nothing is tried under the profile {profile!r}; profiles with trials: {', '.join(content)}")
    told = content[profile]
    tried = {method: _joined(told["trained"], own) for method, own in told["methods"].items()} | told["untrained"]
    return [
        Trial(profile, method, name, told["dataset"], {**settings[START], **change}, told["same"])
        for method, settings in tried.items()
        for name, change in settings.items()
    ]


@cache
def _declared() -> dict[str, Any]:
    """What trials.yaml says; nobody writes into it."""
    text = resources.files("oshp_lite.study").joinpath("trials.yaml").read_text(encoding="utf-8")
    return dict(yaml.safe_load(text))


def profiles_with_trials() -> tuple[str, ...]:
    """Profiles that declare trials."""
    return tuple(_declared())


def _joined(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    return {**common, **own, START: {**common[START], **own.get(START, {})}}


def run(
    wanted: Sequence[Trial], store: RunStore, data: str | Path | None = None, *, tell: Callable[[str], None] = print
) -> list[Run]:
    """Make (or find) the run of each trial, telling what it scored."""
    made = []
    for trial in wanted:
        made.append(store.ensure(trial.config, data, progress=False, tell=tell))
        scores = made[-1].scores
        tell(
            f"{trial.method:15s} {trial.name:18s} novel {100 * scores['novel_miou']:5.1f}  "
            f"human {100 * scores['human_miou']:5.1f}"
        )
    return made


def record(profile: str, store: RunStore, path: Path | None = None) -> Path:
    """Keep every tuning run of the store with the results, the declared trials by name; return the file.

    Runs that are no declared trial were made by hand while a method was looked into; they are kept too.
    Trials of an earlier record that the store does not hold stay. Raises UserError when there is nothing to keep.
    """
    path = path or tuning_file()
    kept = {one["provenance"]["identity"]: one for one in (read_json(path) if path.is_file() else [])}
    declared = [(trial.name, trial.config) for trial in trials(profile)]
    for run in store.runs():
        if run.settings["data"]["protocol"] == "tuning" and run.settings["train"]["task"] == "parse":
            names = [] if run.older_code else [name for name, config in declared if config == run.config]
            before = kept.get(run.identity, BY_HAND)
            name = {"profile": profile, "trial": names[0]} if names else {key: before[key] for key in BY_HAND}
            kept[run.identity] = {**name, **_told(run)}
    if not kept:
        raise UserError(f"no tuning run is in {store.root}; make some with: oshp-lite tune --profile {profile}")
    write_json_atomic(path, sorted(kept.values(), key=lambda one: str(one["provenance"]["finished"])))
    return path


def tuning_file() -> Path:
    """Where the record of all trials lies."""
    return project_root() / "notebooks" / "results" / "tuning.json"


def _told(run: Run) -> dict[str, Any]:
    settings, data = run.settings, run.settings["data"]
    kept = ("epochs", "lr", "encoder_lr", "batch_size", "precision", "optimizer", "seed")
    return {
        "method": settings["model"]["method"],
        "dataset": data["dataset"],
        "fold": data["fold"],
        "way": data["way"],
        "options": settings["model"]["options"],
        "train": {name: settings["train"][name] for name in kept},
        "test_pairs_per_class": settings["eval"]["per_class"],
        "scores": {name: run.scores.get(name) for name in SCORES},
        "provenance": {name: run.provenance.get(name) for name in ("identity", "commit", "code", "data", "finished")},
    }


def chosen(tried: dict[str, float]) -> str:
    """The rule: of {trial: human mIoU}, the best one where it beats the start by MARGIN, else the start."""
    best = max(tried, key=lambda name: tried[name])
    return best if tried[best] - tried[START] >= MARGIN else START


def outcome(records: Sequence[dict[str, Any]], profile: str, method: str) -> dict[str, float]:
    """Human mIoU of a method's declared trials in a record, {} when the start is not among them."""
    mine = [one for one in records if one["profile"] == profile and one["method"] == method]
    found = {one["trial"]: float(one["scores"]["human_miou"]) for one in mine}
    return found if START in found else {}


def told_by_method(profile: str, path: Path | None = None) -> dict[str, str]:
    """By method, in words for the tables: how many settings were tried and which was chosen; {} without a record."""
    path = path or tuning_file()
    records = read_json(path) if path.is_file() else []
    told = {}
    for method in dict.fromkeys(trial.method for trial in trials(profile)):
        scores = outcome(records, profile, method)
        if scores:
            by_hand = sum(one["method"] == method and one["trial"] is None for one in records)
            name = chosen(scores)
            kept = "the first kept" if name == START else f'"{name}" chosen'
            told[method] = f"{len(scores)} trials{f' and {by_hand} by hand' if by_hand else ''}, {kept}"
    return told
