"""What is tried while a method's settings are chosen: on held-out base classes, the same number of trials for each.

`trials.yaml` declares them, apart for each dataset and way. A trial is a run under the protocol "tuning": training
photos only, novel classes erased, some base classes playing novel. `record` keeps them with the results, and `chosen`
is the one rule that reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from oshp_lite.engine.config import RunConfig, identity_dict
from oshp_lite.engine.presets import load_profile
from oshp_lite.engine.runs import Run, RunStore
from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml, project_root, read_json, write_json_atomic

START = "start"
"""Name of the trial that the others change in one thing."""

MARGIN = 0.01
"""Score by which another trial must beat the start to take its place; seeds alone differ by about half of it."""

_OPTION = "model.options."
_DECLARED: dict[str, Any] = parse_yaml(
    resources.files("oshp_lite.study").joinpath("trials.yaml").read_text(encoding="utf-8")
)
PROFILES = tuple(_DECLARED)
"""Profiles that declare trials."""


@dataclass(frozen=True)
class Trial:
    """One setting of a method that is tried under a profile: what it sets, as dotted names of a run's configuration.

    same  what holds in every trial: the protocol, and how short it is
    """

    profile: str
    dataset: str
    way: str
    method: str
    name: str
    settings: dict[str, Any]
    same: dict[str, Any]

    @property
    def config(self) -> RunConfig:
        """The run that tries it."""
        # a trial names all options it has, so that it stays the same trial whatever the profile has taken since
        settings = {**self.settings, **self.same}
        options = {name.removeprefix(_OPTION): value for name, value in settings.items() if name.startswith(_OPTION)}
        others = {name: value for name, value in settings.items() if not name.startswith(_OPTION)}
        named = {"model.method": self.method, **others}
        config = load_profile(self.profile, named, dataset=self.dataset, way=self.way)
        return replace(config, model=replace(config.model, options=options))


def trials(profile: str) -> list[Trial]:
    """Every trial of a profile, place by place and method by method, the start of each first.

    Raises UserError where none is declared.
    """
    if profile not in PROFILES:
        raise UserError(f"nothing is tried under the profile {profile!r}; profiles with trials: {', '.join(PROFILES)}")
    declared = _DECLARED[profile]
    common = declared["trained"]
    tried = {
        method: {**common, **own, START: {**common[START], **own.get(START, {})}}
        for method, own in declared["methods"].items()
    }
    return [
        Trial(profile, dataset, way, method, name, {**settings[START], **change}, declared["same"])
        for dataset, way in declared["places"]
        for method, settings in (tried | declared["untrained"]).items()
        for name, given in settings.items()
        for change in [{key: value for key, value in given.items() if key != "way"}]
        if given.get("way", way) == way
    ]


def make_trials(
    wanted: Sequence[Trial],
    store: RunStore,
    data: str | Path | None = None,
    *,
    fresh: bool = False,
    tell: Callable[[str], None] = print,
) -> None:
    """Make (or find) the run of each trial, printing what it scored; `fresh` makes each anew."""
    for trial in wanted:
        scores = store.ensure(trial.config, data, progress=False, tell=tell, fresh=fresh).scores
        novel, human = 100 * scores["novel_miou"], 100 * scores["human_miou"]
        place = f"{trial.dataset} {trial.way}-way"
        tell(f"{place:15s} {trial.method:15s} {trial.name:18s} novel {novel:5.1f}  human {human:5.1f}")


def tuning_file() -> Path:
    """Where the record of all trials lies."""
    return project_root() / "notebooks" / "results" / "tuning.json"


def kept_trials(path: Path | None = None) -> list[dict[str, Any]]:
    """Every recorded trial; none without a record. UserError for a record that is damaged."""
    path = path or tuning_file()
    records = read_json(path) if path.is_file() else []
    if not isinstance(records, list) or not all(isinstance(one, dict) for one in records):
        raise UserError(f"{path} is not a record of trials; restore it, or remove it and call oshp-lite tune record")
    return records


def record(profile: str, store: RunStore, path: Path | None = None) -> Path:
    """Keep every tuning run of the store with the results, the declared trials by name; return the file.

    Runs that are not declared trials were made by hand while a method was examined; they are kept too. Trials of an
    earlier record that the store does not hold stay; one that is made anew there, or declared no more, loses its name.
    Raises UserError when there is nothing to keep.
    """
    path = path or tuning_file()
    kept = {one["provenance"]["identity"]: one for one in kept_trials(path)}
    declared = [(trial.name, identity_dict(trial.config)) for trial in trials(profile)]
    due = {(trial.dataset, trial.way, trial.method, trial.name) for trial in trials(profile)}
    made = set[str]()
    for run in store.runs():
        if run.settings["data"]["protocol"] == "tuning" and run.settings["train"]["task"] == "parse":
            names = [name for name, settings in declared if settings == identity_dict(run.config)]
            before = kept.get(run.identity, {"profile": None, "trial": None})  # by hand
            name = (profile, names[0]) if names else (before["profile"], before["trial"])
            kept[run.identity] = {"profile": name[0], "trial": name[1], **_recorded(run)}
            due -= {_trial_of(kept[run.identity])}
            made |= {run.identity} if names else set()
    for identity, one in kept.items():
        if one["profile"] == profile and identity not in made and _trial_of(one) not in due:
            one.update(profile=None, trial=None)
    if not kept:
        raise UserError(f"no tuning run is in {store.root}; make some with: oshp-lite tune --profile {profile}")
    write_json_atomic(path, sorted(kept.values(), key=lambda one: str(one["provenance"]["finished"])))
    return path


def _trial_of(one: dict[str, Any]) -> tuple[str, ...]:
    return one["dataset"], one["way"], one["method"], one["trial"]


def _recorded(run: Run) -> dict[str, Any]:
    data, train = run.settings["data"], run.settings["train"]
    kept = ("epochs", "lr", "encoder_lr", "batch_size", "precision", "optimizer", "seed")
    origin = ("identity", "commit", "code", "data", "finished")
    return {
        "method": run.settings["model"]["method"],
        **{name: data[name] for name in ("dataset", "fold", "way")},
        "options": run.settings["model"]["options"],
        "train": {name: train[name] for name in kept},
        "test_pairs_per_class": run.settings["eval"]["per_class"],
        "scores": {name: run.scores.get(name) for name in ("novel_miou", "base_miou", "human_miou", "n_pairs")},
        "provenance": {name: run.provenance.get(name) for name in origin},
    }


def chosen(tried: dict[str, float]) -> str:
    """The rule: of {trial: score}, the best one where it beats the start by MARGIN, else the start."""
    best = max(tried, key=lambda name: tried[name])
    return best if tried[best] - tried[START] >= MARGIN else START


def outcome(records: Sequence[dict[str, Any]], profile: str, dataset: str, way: str, method: str) -> dict[str, float]:
    """Score of a method's declared trials at a place, {} when the start is not among them.

    It is the mean of human mIoU and of the mIoU of the classes that play novel, so that neither is bought by the other.
    """
    place = {"profile": profile, "dataset": dataset, "way": way, "method": method}
    mine = [one for one in records if all(one[key] == value for key, value in place.items())]
    scores = {one["trial"]: (one["scores"]["human_miou"] + one["scores"]["novel_miou"]) / 2 for one in mine}
    return scores if START in scores else {}


def notes_by_method(profile: str, path: Path | None = None) -> dict[str, str]:
    """By method, in words for the tables: how many settings were tried and which were chosen; {} without a record."""
    records, notes = kept_trials(path), dict[str, str]()
    places = {(trial.method, trial.dataset, trial.way): None for trial in trials(profile)}
    for method, dataset, way in places:
        scores = outcome(records, profile, dataset, way, method)
        if scores:
            name = chosen(scores)
            kept = (
                f"{dataset} {way}-way: {len(scores)} trials, {'the first kept' if name == START else f'{name} chosen'}"
            )
            notes[method] = "; ".join(filter(None, [notes.get(method, ""), kept]))
    return notes
