"""Variants, profiles, and the initialisation runs that follow from a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib import resources
from typing import Any

from oshp_lite.data.registry import dataset_spec, domain_data
from oshp_lite.engine.config import InitConfig, ModelConfig, RunConfig, check, from_dict, lay, nest, parse_overrides
from oshp_lite.errors import UserError
from oshp_lite.files import parse_yaml

_KEPT = ("seed", "precision", "channels_last", "device", "threads", "save_seconds", "save_steps")
"""What an initialisation's training takes over from its run's."""
_ORDINARY: dict[str, Any] = {"source": "npm", "screening": True, "absent_test": "resized", "pairs": "dataset"}
"""How every initialisation is evaluated, whatever its run asks for."""
GENERAL, GENERAL_SEED, GENERAL_TEST = "synth-pascal", 1, 64
"""The people that a general initialisation learns from, drawn by a seed of their own."""

PROFILES = ("smoke", "quick", "lite", "gpu", "paper")
"""From seconds on a laptop to days on a GPU."""


def variant_config(variant: str, dataset: str = "synth-atr") -> RunConfig:
    """Return the preset `official`, `paper` or `lite` over trainer, data and evaluation (facts rows 15-35).

    `paper` takes the journal's value where the journal states one and the official code's elsewhere; its split depends
    on the dataset. Raises UserError for another name.
    """
    over = {"lite": (), "official": ("official",), "paper": ("official", "paper")}
    if variant not in over:
        raise UserError(f"unknown variant {variant!r}; known: official, paper, lite")
    config, spec = from_dict({"variant": variant, "data": {"dataset": dataset}}), dataset_spec(dataset)
    for name in over[variant]:
        config = lay(config, _read("variants")[name])
    if variant == "paper":
        config = lay(config, {"data": {"split": spec.train_queries}})
    if variant != "lite" and spec.own_rules:
        config = lay(config, {"data": {"split": None}, "eval": {"pairs": "dataset"}})
    return config


@cache  # reading YAML takes longer than all the rest of a profile; nobody writes into what is returned
def _read(name: str) -> dict[str, Any]:
    """Return the content of a file of `profiles/`, with that of the profile it is `like`."""
    text = resources.files("oshp_lite.engine").joinpath("profiles", f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = parse_yaml(text)
    return _over(_read(content.pop("like")), content) if "like" in content else content


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return nested sections, those of `above` over those of `below`."""
    both = {
        name: _over(below[name], above[name]) for name in below.keys() & above.keys() if isinstance(above[name], dict)
    }
    return {**below, **above, **both}


@cache  # a study asks hundreds of times for a few of them; configurations are replaced, never written into
def _stated(name: str, variant: str, dataset: str, way: str, task: str, method: str) -> RunConfig:
    """Return what a profile's file says of such runs, before any override."""
    content, config = _read(name), variant_config(variant, dataset)

    def section(kind: str, key: Any, of: Mapping[str, Any] = content) -> dict[str, Any]:
        return dict(of.get(kind, {}).get(key, {}))

    own, place = section("datasets", dataset), content.get("tuned_as", {}).get(dataset, dataset)
    layers = (
        {**content["run"], "variant": variant},
        {name: values for name, values in own.items() if name != "tasks"},
        section("ways", way),
        section("tasks", task),
        section("tasks", task, own),
        *(section(where, method, content.get("methods", {})) for where in ("any", f"{place} {way}") if task == "parse"),
        {"data": {"dataset": dataset, "way": way}, "train": {"task": task}},
    )
    for layer in layers:
        config = lay(config, layer, f"profile {name}")
    return config


def load_profile(
    name: str,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    dataset: str | None = None,
    way: str | None = None,
    task: str | None = None,
) -> RunConfig:
    """Return the configuration of profile `smoke`, `quick`, `lite`, `gpu` or `paper`, with dotted overrides laid over.

    A profile file has a `run` section (values over its variant) and optional sections that apply to some runs only:
    `datasets` (which may hold `tasks` of their own), `ways`, `tasks` and `methods` (what was tuned), chosen by the
    given dataset, way and task or by the overrides of the same names (methods stand under "DATASET WAY", or below
    those under "any"); `like: NAME` lays the file over another profile's. The task "segment" trains the method
    "segment" with the encoder of the profile's own method. Raises
    UserError for unknown names or wrong values.
    """
    if name not in PROFILES:
        raise UserError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    content, pairs = _read(name), parse_overrides(overrides)
    variant = pairs.get("variant") or content["run"].get("variant", "lite")
    dataset = dataset or pairs.get("data.dataset") or content["run"]["data"]["dataset"]
    way, task = str(way or pairs.get("data.way") or "k"), task or pairs.get("train.task") or "parse"
    config = _stated(name, str(variant), str(dataset), way, str(task), str(pairs.get("model.method") or "eopnet"))
    config = lay(config, nest(pairs), "override")
    if config.train.task == "segment" and config.model.method != "segment":
        config = replace(config, model=ModelConfig("segment", encoder_options(config, config.variant)))
    check(config)
    return config


def init_config(config: RunConfig) -> RunConfig | None:
    """Return the configuration of the run that gives `config` its first encoder weights, or None when there is none.

    That is a "segment" run, which may have a first run of its own (procedural people, then the dataset's base
    classes). It depends on fold, data, encoder and the `init` values only, so all methods, ways and label conditions
    of a fold share it; the general one depends on size, encoder and seed only. "domains" asks for a run over label
    domains instead.
    """
    init, plain = config.init, RunConfig()
    if init.kind == "domains":
        return _before(config) if config.model.method == "sst" else _over_domains(config)
    general = init.kind == "general"
    first_on_people = init.synthetic_epochs > 0 and not dataset_spec(config.data.dataset).synthetic
    if not general and (init.kind != "segment" or not (first_on_people or init.dataset_epochs)):
        return None
    on_people = general or not init.dataset_epochs
    data = replace(config.data, way="k", split=None, pairing="each epoch", cap=None)
    evaluation = replace(config.eval, **_ORDINARY, bi_every=1, bootstrap=0)
    if on_people:  # the same run whichever dataset it later serves, so its protocol and test settings are fixed
        data = replace(data, dataset=GENERAL if general else init.synthetic, protocol="journal", block=None)
        evaluation = replace(plain.eval, test_size=data.size, bootstrap=0)
    if general:  # other scenes than any that is trained or tested on
        data = replace(data, fold=1, synthetic=replace(data.synthetic, n_test=GENERAL_TEST, seed=GENERAL_SEED))
    train = replace(
        plain.train,
        task="segment",
        unlabelled=init.unlabelled,
        epochs=init.synthetic_epochs if on_people else init.dataset_epochs,
        batch_size=init.batch_size,
        lr=init.lr,
        **{name: getattr(config.train, name) for name in _KEPT},
    )
    return RunConfig(
        data=data,
        model=ModelConfig("segment", encoder_options(config)),
        train=train,
        eval=evaluation,
        init=replace(init, dataset_epochs=0) if first_on_people and not on_people else InitConfig(),
    )


def _before(config: RunConfig) -> RunConfig:
    """Return the run over `init.domains` that a run over another label domain starts from: alike in all else.

    Before a stage with a frozen source it is SST's own first stage, before plain fine-tuning a network without modules.
    """
    domains = config.init.domains
    modules = bool(config.model.options.get("source"))
    options = {name: value for name, value in config.model.options.items() if name not in _LATER}
    options |= {"domains": list(domains), "head": domains[-1], "auxiliary": modules}
    options |= {} if modules and len(domains) > 1 else {"transfer": "none"}
    data, model = domain_data(config.data, domains[-1]), replace(config.model, options=options)
    return replace(config, data=data, model=model, init=InitConfig())


def _over_domains(config: RunConfig) -> RunConfig:
    """Return the universal run (SST) that an encoder comes from; no domain names the fold's novel classes."""
    init, plain = config.init, RunConfig()
    target = config.data.dataset if config.data.dataset in init.domains else init.domains[-1]
    data = replace(
        domain_data(config.data, target), way="k", split=None, pairing="each epoch", cap=None, augment="none"
    )
    options = encoder_options(config) | {"domains": list(init.domains), "head": target}
    kept = {name: getattr(config.train, name) for name in _KEPT}
    more: dict[str, Any] = {"epochs": init.dataset_epochs, "batch_size": init.batch_size, "lr": init.lr, "clip": 10.0}
    more["steps_per_epoch"] = 75  # as many as a plain run takes on the study's 1,200 drawn people
    evaluation = replace(config.eval, **_ORDINARY, bi_every=1, bootstrap=0)
    train = replace(plain.train, **more, **kept)
    return RunConfig(data=data, model=ModelConfig("sst", options), train=train, eval=evaluation)


_LATER = ("source", "target_share", "transfer", "auxiliary", "pairs", "stop_gradient", "centred", "contrast")
"""Options of the second stage that its first stage does not share."""


def encoder_options(config: RunConfig, variant: str = "lite") -> dict[str, Any]:
    """Return the options that give a model of `variant` the encoder of the run's model: where it differs from it."""
    from oshp_lite.engine.models import resolve_encoder

    plain = resolve_encoder(from_dict({"variant": variant}))
    return {name: value for name, value in resolve_encoder(config).items() if plain.get(name) != value}
