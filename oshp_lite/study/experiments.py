"""The declared runs (`experiments.yaml`): methods, ablations, steps, and which runs each table and figure needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from itertools import product
from math import prod
from typing import Any

from oshp_lite.data.registry import DATASETS, dataset_spec
from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml
from oshp_lite.models.registry import METHODS as REGISTERED
from oshp_lite.study.records import RunKey

DECLARED: Mapping[str, Any] = parse_yaml(
    resources.files("oshp_lite.study").joinpath("experiments.yaml").read_text(encoding="utf-8")
)


@dataclass(frozen=True)
class Method:
    """A row of the comparisons: a registered method and what the papers say of it.

    kway_in_papers  the papers report it in k-way; the k-way form of the others is ours, and the tables mark it
    training_free   it has no meta-training of its own
    ours            in neither paper
    """

    name: str
    label: str
    kway_in_papers: bool
    training_free: bool
    ours: bool


@dataclass(frozen=True)
class Ablation:
    """A change against a method's full form: `overrides` are "dotted.name=value" over the profile's settings.

    `large` replaces them in the profile "paper", whose encoder has other depths to choose from; `budget` multiplies the
    epochs. Of a network over label domains: `alone`, it is trained on the dataset of its key only; `first`, families of
    the datasets that it was trained on before; `frozen`, that earlier network stays beside it.
    """

    label: str
    overrides: tuple[str, ...] = ()
    large: tuple[str, ...] = ()
    budget: int = 1
    alone: bool = False
    first: tuple[str, ...] = ()
    frozen: bool = False


def _flat(items: Any) -> Iterator[Any]:
    """Yield the items of a list, those of the lists in it too; of anything else itself."""
    if isinstance(items, list):
        for item in items:
            yield from _flat(item)
    else:
        yield items


METHODS: dict[str, Method] = {
    name: Method(
        name,
        spec.label,
        kway_in_papers=name in DECLARED["in_journal"]["k"],
        training_free=not spec.trainable,
        ours=name not in DECLARED["in_journal"]["1"],
    )
    for name, spec in REGISTERED.items()
    if spec.one_shot
}
"""Every registered one-shot method, in the registry's order: a new contender is a row of the matrix and the tables."""

ABLATIONS: dict[tuple[str, str], Ablation] = {
    (method, name): Ablation(
        one["label"],
        tuple(_flat(one.get("set", []))),
        tuple(one.get("paper", ())),
        one.get("budget", 1),
        one.get("alone", False),
        tuple(one.get("first", ())),
        one.get("frozen", False),
    )
    for owner, ablations in DECLARED["ablations"].items()
    for method in (METHODS if owner == "any" else [owner])
    for name, one in ablations.items()
}
"""(method, name) -> what the row changes; the name "" is a method's full form and needs no entry."""


def ablation_of(method: str, names: str) -> Ablation:
    """Return what a row changes, one ablation or several ("static+x4"). UserError for one that is not declared."""
    unknown = [name for name in names.split("+") if names and (method, name) not in ABLATIONS]
    if method not in REGISTERED or unknown:
        raise UserError(f"there is no method {method!r} with the ablation {names!r} among the declared runs")
    parts = [ABLATIONS[method, name] for name in names.split("+") if names]
    overrides, large = (tuple(one for part in parts for one in getattr(part, kind)) for kind in ("overrides", "large"))
    return Ablation(
        ", ".join(part.label for part in parts),
        overrides,
        large,
        prod(part.budget for part in parts),
        any(part.alone for part in parts),
        next((part.first for part in parts if part.first), ()),
        any(part.frozen for part in parts),
    )


RUN_ORDER = tuple(dict.fromkeys((*DECLARED["first"], *METHODS)))
"""The order in which a step makes its rows: what most other exhibits share comes first."""

TABLE5, TABLE6, TABLE7, FIGURE8, POPNET3, SEEDS = (
    tuple(DECLARED[name]) for name in ("table5", "table6", "table7", "figure8", "popnet3", "seeds")
)
STEPS = tuple(DECLARED["steps"])
EXHIBITS = (*DECLARED["tables"], *DECLARED["figures"])

_GROUPS = {
    "listed": tuple(METHODS),
    "all": RUN_ORDER,
    "untrained": tuple(name for name in RUN_ORDER if METHODS[name].training_free),
    **{f"{owner}/*": tuple(f"{owner}/{name}" for name in own) for owner, own in DECLARED["ablations"].items()},
}


def _methods(names: Any) -> list[str]:
    return [method for name in _flat(names) for method in _GROUPS.get(name, (name,))]


FIGURE_METHODS = {
    name: tuple(method.partition("/")[0] for method in _methods([block.get("method", "eopnet") for block in blocks]))
    for name, blocks in DECLARED["figures"].items()
}
"""Methods whose predictions a figure has."""


def families(profile: str) -> dict[str, str]:
    """Return {family: dataset} of a profile: the papers' own datasets, or their procedural counterparts and CCP-OS."""
    large = profile == "paper"
    used = [(spec.family, name) for name, spec in DATASETS.items() if (not spec.synthetic if large else spec.own_rules)]
    firsts = dict(reversed(used))  # of a family's several datasets the first is meant; its place is kept below
    return {family: firsts[family] for family, _ in used}


def label_domains(profile: str) -> dict[str, str]:
    """Return {family: dataset} of the label domains that a profile trains SST over, coarse to fine."""
    drawn = {spec.family: name for name, spec in reversed(DATASETS.items()) if spec.synthetic is (profile != "paper")}
    return {family: drawn[family] for family in DECLARED["domains"]}


def trained_over(key: RunKey, profile: str) -> tuple[str, ...]:
    """Return the datasets that a network over label domains is trained on, coarse to fine; () for other methods.

    The last one is the run's own: a run over several serves as the result on each of them.
    """
    if not REGISTERED[key.method].domains:
        return ()
    names = tuple(label_domains(profile).values())
    if ablation_of(key.method, key.ablation).alone:
        return (key.dataset,)
    return names if key.dataset in names else (*names, key.dataset)


def expand(blocks: Any, profile: str) -> list[RunKey]:
    """Return the runs that some blocks of `experiments.yaml` declare under a profile, in order, each once."""
    data, keys = label_domains(profile) | families(profile), []
    for block in _flat(blocks):
        axes = {axis: _methods(given) if axis == "method" else list(_flat(given)) for axis, given in block.items()}
        for values in product(*axes.values()):
            one: dict[str, Any] = {"data": "atr", "method": "eopnet", "fold": 1, "way": "k"}
            one |= dict(zip(axes, values, strict=True))
            method, _, ablation = one.pop("method").partition("/")
            if REGISTERED[method].trainer:
                one.setdefault("protocol", "whole")
            keys.append(RunKey(method, data[one.pop("data")], **{"ablation": ablation, **one}))
    return list(dict.fromkeys(keys))


def label(method: str, ablation: str = "", condition: str = "") -> str:
    """Return what a row is called: by its condition, if given. UserError for a method or ablation not declared."""
    if condition:
        return str(DECLARED["conditions"][condition])
    return ablation_of(method, ablation).label or REGISTERED[method].label


def overrides_of(key: RunKey, profile: str = "lite") -> tuple[str, ...]:
    """Return what turns a profile's configuration into that of `key`, as "dotted.name=value" (dataset, way apart)."""
    settings = [f"data.fold={key.fold}", f"model.method={key.method}", f"train.seed={key.seed}"]
    settings.append(f"data.condition={key.condition}")
    ablation = ablation_of(key.method, key.ablation)
    changed = (profile == "paper" and ablation.large) or ablation.overrides
    if domains := trained_over(key, profile):
        return (*settings, *_over_domains(domains, profile, ablation))
    if REGISTERED[key.method].trainer:  # people one by one: no episodes, no folds
        return (*settings, *changed)
    if profile == "paper":  # the tables are compared with the papers' word, not with the released code's
        settings.insert(0, "variant=paper")
    if key.protocol == "blocks":
        settings.append(f"data.block={key.seed}")
    elif key.protocol != "journal":
        settings += [f"data.protocol={key.protocol}", *_as_aaai(key, changed)]
    settings += changed
    if "init.kind=domains" in changed:
        names = label_domains(profile).values()
        settings.append(f"init.domains={list(dict.fromkeys([*names, key.dataset]))}")
    if profile == "paper" and (key.method == "persam" or key.ablation == "dino"):
        settings.append("model.options.channels=bgr")  # models from elsewhere need the order of the papers' loader
    return tuple(settings)


def _over_domains(domains: Sequence[str], profile: str, change: Ablation) -> Iterator[str]:
    """Yield the settings of a run over label domains."""
    yield f"model.options.domains={list(domains)}"
    yield f"model.options.head={domains[-1]}"
    if change.first:
        before = [label_domains(profile)[family] for family in change.first]
        yield "init.kind=domains"
        yield f"init.domains={before}"
        if change.frozen:
            yield f"model.options.source={before}"
    yield from change.overrides


AAAI_EPOCHS = 30
"""Epochs of a training by POPNet's own paper (AAAI, implementation details); static prototypes in the first half."""


def _as_aaai(key: RunKey, changed: Sequence[str]) -> list[str]:
    """POPNet's own protocol on the papers' ATR; small datasets keep their split, budget and rule for test pairs.

    The paper trains its stages one after the other; each gets the epochs here. In 1-way it tests 500 pairs of a class
    without saying how they are drawn, so the journal's are taken.
    """
    if dataset_spec(key.dataset).own_rules:
        return []
    stages = 3 if "model.options.stages=3" in changed else 1
    budget = ["data.split=8000", f"train.epochs={AAAI_EPOCHS * stages}"]
    budget += ["model.options.stage_ends=[0.333333, 0.666666, 1.0]"] if stages == 3 else []
    return [*budget, "eval.pairs=aaai" if key.way == "k" else "data.size=576"]


def step_runs(step: str, profile: str = "lite") -> list[RunKey]:
    """Return the runs of one step, in order. UserError for an unknown step."""
    steps = {**DECLARED["before"], **DECLARED["steps"]}
    if step not in steps:
        raise UserError(f"there is no step {step!r}; steps are {', '.join(steps)}")
    return expand(steps[step], profile)


def runs_of(exhibit: str, profile: str = "lite") -> list[RunKey]:
    """Return the runs that a table or figure needs, first seeds only, in its rows' order. UserError for an unknown."""
    if exhibit not in EXHIBITS:
        raise UserError(f"there is no table or figure {exhibit!r} among {', '.join(EXHIBITS)}")
    return expand({**DECLARED["tables"], **DECLARED["figures"]}[exhibit], profile)


def needs_curve(key: RunKey) -> bool:
    """True for the runs whose scores during training are drawn (Figure 8 of the journal)."""
    return (key.method, key.way, key.fold, key.protocol) == ("eopnet", "k", 1, "journal") and key.ablation in FIGURE8


def matrix(profile: str, steps: Sequence[str] | None = None, datasets: Sequence[str] | None = None) -> list[RunKey]:
    """Return the runs of a profile in their order, each once; `steps` and `datasets` keep a part.

    UserError for an unknown step or a dataset that the profile does not use.
    """
    known = dict.fromkeys([*families(profile).values(), *label_domains(profile).values()])
    strange = sorted(set(datasets or ()) - set(known))
    if strange:
        raise UserError(f"profile {profile} has no runs on {strange[0]!r}; it uses {', '.join(known)}")
    if steps is None and profile in DECLARED["profiles"]:
        runs = expand(DECLARED["profiles"][profile], profile)
    else:
        runs = [key for step in (STEPS if steps is None else steps) for key in step_runs(step, profile)]
    return [key for key in dict.fromkeys(runs) if not datasets or key.dataset in datasets]
