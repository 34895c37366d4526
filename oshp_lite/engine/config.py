"""What a run is: data, model, training, evaluation and initialisation, as one frozen tree of named values.

Every choice in which a paper and the official code differ is a field here or in the model's own configuration
(`oshp_lite.models.eopnet_config.EOPNetConfig`); `variant` names a preset over all of them. The list of these choices,
each with its field and its values, stands in notebook 06.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

import yaml

from oshp_lite.data.registry import FREE, MOST, refuse_old_name
from oshp_lite.data.registry import DataConfig as DataConfig
from oshp_lite.data.registry import SyntheticConfig as SyntheticConfig
from oshp_lite.errors import UserError
from oshp_lite.fields import bounded, check_fields
from oshp_lite.files import sha256_json

T = TypeVar("T")


@dataclass(frozen=True)
class ModelConfig:
    """Which method, with which of its own options (they go over the variant's values)."""

    method: str = "eopnet"
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, "model.")


@dataclass(frozen=True)
class TrainConfig:
    """How the network is trained.

    `visible` and `unlabelled` concern the task "segment": which classes have labels, and whether a person's pixels
    without a visible label count as background or are ignored. `epochs` is the budget; `steps_per_epoch` cuts epochs
    short. `eval_every` epochs the network is evaluated, on `eval_queries` queries a class (None: as at the end).
    `minutes` (0: none) ends training at a wall-clock limit and gives up exact repeatability. `warmup_steps`
    raise the rate linearly. `poly_step` is the number of epochs between two changes of the rate, or "iteration".
    """

    task: Literal["parse", "segment"] = "parse"
    visible: Literal["base", "all"] = "base"
    unlabelled: Literal["background", "ignore"] = "background"
    epochs: int = bounded(30, 1, 100_000)
    steps_per_epoch: int | None = bounded(None, 1, MOST)
    minutes: float = bounded(0.0, 0, 100_000)
    batch_size: int = bounded(16, 1, 4096)
    seed: int = bounded(0, 0, 2**31 - 1)
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = bounded(1e-3, 0, 1000)
    encoder_lr: float = bounded(1.0, 0, 1000)
    momentum: float = bounded(0.9, 0, 1)
    weight_decay: float = bounded(1e-2, 0, 10)
    schedule: Literal["poly", "cosine", "step", "constant"] = "cosine"
    poly_step: int | Literal["iteration"] = bounded(10, 1, 100_000)
    poly_power: float = bounded(0.9, 0, 10)
    reset_momentum: bool = True
    warmup_steps: int = bounded(20, 0, MOST)
    clip: float | None = bounded(5.0, 1e-6, 1e6)
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = True
    eval_every: int = bounded(0, 0, 100_000, **FREE)
    eval_queries: int | None = bounded(None, 1, 100_000, **FREE)
    device: str = field(default="auto", metadata=FREE)
    threads: int | None = bounded(None, 1, 1024, **FREE)
    save_seconds: float = bounded(60.0, 0, 1e6, **FREE)
    save_steps: int = bounded(0, 0, MOST, **FREE)

    def __post_init__(self) -> None:
        check_fields(self, "train.")


@dataclass(frozen=True)
class EvalConfig:
    """How a trained parser is judged: the one owner of these choices (a network's configuration holds none of them).

    `source` (whose logits decide), `screening` (pixels outside the person mask become 0, for methods that have such a
    mask; always in 1-way, as released) and `restrict` (only ids that the support shows may win; None: as the method has
    it) reach every method as its PredictOptions.
    `queries` and `repeats` shape the pair list of the rule "spread", `per_class` thins any. `test_size` None tests at
    native size; a size tests on photos fitted into it, against the truth at that size.
    """

    source: Literal["npm", "agm"] = "npm"
    screening: bool = True
    restrict: bool | None = None
    absent_test: Literal["resized", "full"] = "resized"
    test_size: int | tuple[int, int] | None = bounded(128, 16, 4096)
    pairs: Literal["journal", "aaai", "spread", "each", "dataset"] = "dataset"
    queries: int = bounded(10, 1, 100_000)
    repeats: int = bounded(3, 1, 10_000)
    per_class: int | None = bounded(None, 1, MOST)
    bi_every: int = bounded(1, 1, MOST)
    bootstrap: int = bounded(1000, 0, 100_000)
    samples: int = bounded(8, 0, 10_000)
    batch_size: int = bounded(16, 1, 4096, **FREE)

    def __post_init__(self) -> None:
        check_fields(self, "eval.")


@dataclass(frozen=True)
class InitConfig:
    """Where the encoder's first weights come from.

    kind "none": random; "file": `path`, an encoder in a checkpoint, by name; "segment": plain supervised runs on
    what the fold allows: first `synthetic_epochs` on procedural people (skipped when the dataset is one itself), then
    `dataset_epochs` on the dataset's own training photos. Novel classes have no labels in either. "general": one such
    run of `synthetic_epochs` on the body parts of procedural people (synth-pascal), which names no garment at all.
    "domains": a network that was trained before over the label domains `domains` (method sst): all of it for another
    such network, its encoder for a one-shot method, whose fold then hides its novel classes in every domain.
    """

    kind: Literal["none", "segment", "general", "file", "domains"] = "none"
    path: str | None = None
    domains: tuple[str, ...] = ()
    synthetic: str = "synth-atr"
    synthetic_epochs: int = bounded(0, 0, 100_000)
    dataset_epochs: int = bounded(20, 0, 100_000)
    batch_size: int = bounded(16, 1, 4096)
    lr: float = bounded(2e-3, 0, 1000)
    unlabelled: Literal["background", "ignore"] = "background"

    def __post_init__(self) -> None:
        check_fields(self, "init.")


@dataclass(frozen=True)
class RunConfig:
    """One training and its evaluation. `variant` is the preset that the other values started from."""

    variant: Literal["official", "paper", "lite"] = "lite"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    init: InitConfig = field(default_factory=InitConfig)

    def __post_init__(self) -> None:
        check_fields(self)

    def as_dict(self) -> dict[str, Any]:
        """Return plain nested dicts, lists and literals, ready for YAML or JSON."""
        return dict(as_plain(asdict(self)))

    def to_yaml(self) -> str:
        """Return the YAML form, which `from_dict(yaml.safe_load(...))` reads back."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)


def as_plain(value: Any) -> Any:
    """Return nested containers as dicts with text keys and lists, nan as None: what JSON and YAML hold."""
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [as_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def from_dict(values: Mapping[str, Any], base: RunConfig | None = None, where: str = "configuration") -> RunConfig:
    """Lay nested `values` over `base` (default: the dataclass defaults).

    UserError for unknown names, wrong types, values out of range and groups that contradict each other.
    """
    config = lay(base or RunConfig(), values, where)
    check(config)
    return config


def lay(base: T, values: Mapping[str, Any], where: str = "configuration") -> T:
    """Like `from_dict`, for one layer of several: groups may contradict each other until the last layer is laid."""
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a group of names and values, not {values!r}")
    known = [item.name for item in fields(base)]  # type: ignore[arg-type]
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            refuse_old_name(f"{where}: ", name)
            raise UserError(f"{where}: unknown name {name!r}; known here: {', '.join(sorted(known))}")
        current = getattr(base, name)
        if is_dataclass(current):
            value = lay(current, value, f"{where}: {name}")
        elif isinstance(current, dict) and isinstance(value, Mapping):
            value = {**current, **value}
        changes[name] = value
    return replace(base, **changes)  # type: ignore[type-var]


def override(config: RunConfig, overrides: Mapping[str, Any] | Sequence[str]) -> RunConfig:
    """Return `config` with dotted names replaced: {"train.lr": 0.01} or ["train.lr=0.01"] (values as in YAML).

    Raises UserError for an unknown name, a wrong type or a value outside its range.
    """
    return from_dict(nest(parse_overrides(overrides)), config, "override")


def parse_overrides(overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return {dotted name: value} of either form of overrides. UserError for an item that is no name=value."""
    if isinstance(overrides, Mapping):
        return dict(overrides)
    pairs: dict[str, Any] = {}
    for item in overrides:
        name, sign, text = item.partition("=")
        if not sign or not name:
            raise UserError(f"override {item!r} is not of the form name=value, for example train.lr=0.01")
        try:
            pairs[name.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):
            raise UserError(f"the value of override {item!r} cannot be read; write it as in YAML") from None
    return pairs


def nest(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Turn {"train.lr": 1} into {"train": {"lr": 1}}. UserError when two names contradict each other."""
    nested: dict[str, Any] = {}
    for dotted, value in overrides.items():
        *path, last = dotted.split(".")
        place = nested
        for name in path:
            place = place.setdefault(name, {})
            if not isinstance(place, dict):
                raise UserError(f"override {dotted!r} contradicts another override of {name!r}; give only one of them")
        place[last] = value
    return nested


def check(config: RunConfig) -> None:
    """Raise UserError when groups contradict each other; each field has checked itself."""
    if config.train.task == "segment" and config.model.method != "segment":
        raise UserError(f"train.task is segment but model.method is {config.model.method}; set model.method=segment")
    if "unlabelled" in config.model.options:
        kinds = "papers (background), person-class or ignore"
        raise UserError(f"model.options.unlabelled follows from the label condition; set data.condition to {kinds}")
    if config.init.kind == "general" and not config.init.synthetic_epochs:
        raise UserError("init.kind is 'general' but init.synthetic_epochs is 0; say for how many epochs")
    if config.init.kind == "domains" and not config.init.domains:
        raise UserError("init.kind is 'domains' but init.domains is empty; name datasets there")
    if config.init.kind == "file" and not config.init.path:
        raise UserError("init.kind is 'file' but init.path is empty; give the checkpoint's path")


def identity_dict(config: RunConfig) -> dict[str, Any]:
    """Return what of a configuration says what the run is: {group: {name: value}}, nothing that is at its default.

    So a field added later, whose default keeps what was done before, leaves every earlier identity as it is (a default
    never changes; another behaviour is another value). Left out are fields that only affect speed or comfort, and the
    group `init`, which counts by the identity of the initialisation itself.
    """
    plain = RunConfig()
    kept: dict[str, Any] = {} if config.variant == plain.variant else {"variant": config.variant}
    for group in ("data", "model", "train", "eval"):
        mine, default = getattr(config, group), getattr(plain, group)
        values = {
            item.name: as_plain(getattr(mine, item.name))
            for item in fields(mine)
            if item.metadata.get("identity", True) and getattr(mine, item.name) != getattr(default, item.name)
        }
        if values:
            kept[group] = values
    if config.model.method == "segment":  # supervised, it knows `train.unlabelled` only
        kept.get("data", {}).pop("condition", None)
    return kept


def identity_of(config: RunConfig, data_fingerprint: str, init_identity: str = "", device_kind: str = "cpu") -> str:
    """Return a run's identity, 16 hex digits over configuration, training data, initialisation and kind of device.

    `init_identity` is the identity of the run that gives the first weights, or the SHA-256 of their file, or "";
    `device_kind` "cpu" or "cuda". The code is not part of it: it is recorded beside the run.
    """
    content = {"config": identity_dict(config), "data": data_fingerprint, "init": init_identity, "device": device_kind}
    return sha256_json(content)[:16]


def __getattr__(name: str) -> Any:
    """Say what a class of this module is called by now."""
    refuse_old_name("", name)
    raise AttributeError(f"module 'oshp_lite.engine.config' has no attribute {name!r}")
