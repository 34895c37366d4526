"""What a run is: data, model, training, evaluation and initialisation, as one frozen tree of named values.

Every choice in which a paper and the official code differ is a field here or in the model's own configuration
(`oshp_lite.models.eopnet.EOPNetConfig`); `variant` names a preset over all of them:

| row | field                     | official | paper  | lite (ours, for small images)                |
|-----|---------------------------|----------|--------|----------------------------------------------|
| 16  | data.pre_resize           | null     | 512    | null                                         |
| 16  | data.scale                | independent | independent | joint                                 |
| 17  | data.pad_label            | 0        | 0      | 255                                          |
| 18  | eval.test_size            | null     | null   | the training size                            |
| 19  | eval.screening            | true     | true   | true                                         |
| 15  | eval.absent_test          | resized  | full   | resized                                      |
| 22  | data.split                | 7500     | per dataset (ATR 7500, LIP and CIHP 14000) | the dataset's own |
| 24  | data.pairing              | once     | each epoch | each epoch                               |
| 25  | data.cap                  | 1500     | 1500   | 1500                                         |
| 26  | eval.pairs                | journal  | journal | dataset (its own rule: spread for small sets) |
| 27  | data.protocol             | journal  | journal | journal                                     |
| 28  | train.poly_step           | 10       | iteration | - (cosine)                                |
| 28  | train.reset_momentum      | true     | false  | -                                            |
| 35  | eval.bi_every             | 10       | 1      | 1                                            |

Rows 1-14, 20, 21 and 30-32 belong to the model and stand in its configuration. Row numbers are those of the table
"paper against code" in notebook 06.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Literal, TypeVar

import yaml

from oshp_lite.data.registry import dataset_spec, refuse_old_name
from oshp_lite.errors import UserError

T = TypeVar("T")
FREE = {"identity": False}
"""Marks a field that cannot change what a run is (speed, comfort), so that it stays out of the run's identity."""


@dataclass(frozen=True)
class SyntheticConfig:
    """How many procedural scenes to draw, and how large, when the dataset is a `synth-*` one."""

    n_train: int = 1200
    n_test: int = 300
    size: int = 128
    seed: int = 0


@dataclass(frozen=True)
class DataConfig:
    """Which episodes a run sees.

    `size` is the training size, one number or [height, width]; `split` the last line of the training part's query
    side (None: the dataset's own); `cap` limits 1-way queries per class.
    """

    dataset: str = "synth-atr"
    fold: int = 1
    protocol: Literal["journal", "aaai", "tuning"] = "journal"
    way: Literal["k", "1"] = "k"
    size: int | tuple[int, int] = 128
    augment: Literal["paper", "mild", "none"] = "mild"
    pairing: Literal["once", "each epoch"] = "each epoch"
    channels: Literal["rgb", "bgr"] = "rgb"
    pad_label: int = 255
    pre_resize: int | None = None
    scale: Literal["independent", "joint"] = "joint"
    jitter: float = 0.2
    split: int | None = None
    cap: int | None = 1500
    synthetic: SyntheticConfig = field(default_factory=SyntheticConfig)
    workers: int = field(default=0, metadata=FREE)
    cache_mb: int = field(default=1024, metadata=FREE)


@dataclass(frozen=True)
class ModelConfig:
    """Which method, with which of its own options (they go over the variant's values)."""

    method: str = "eopnet"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainConfig:
    """How the weights are found.

    `visible` and `unlabelled` concern the task "segment": which classes have labels, and whether a person's pixels
    without a visible label count as background or are ignored. `epochs` is the budget; `steps_per_epoch` cuts epochs
    short. `minutes` (0: none) ends training at a wall-clock limit and gives up exact repeatability. `warmup_steps`
    raise the rate linearly. `poly_step` is the number of epochs between two changes of the rate, or "iteration".
    """

    task: Literal["parse", "segment"] = "parse"
    visible: Literal["base", "all"] = "base"
    unlabelled: Literal["background", "ignore"] = "background"
    epochs: int = 30
    steps_per_epoch: int | None = None
    minutes: float = 0.0
    batch_size: int = 16
    seed: int = 0
    optimizer: Literal["sgd", "adamw"] = "adamw"
    lr: float = 1e-3
    encoder_lr: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 1e-2
    schedule: Literal["poly", "cosine", "constant"] = "cosine"
    poly_step: int | Literal["iteration"] = 10
    poly_power: float = 0.9
    reset_momentum: bool = True
    warmup_steps: int = 20
    clip: float | None = 5.0
    precision: Literal["float32", "bf16"] = "float32"
    channels_last: bool = True
    eval_every: int = field(default=0, metadata=FREE)
    device: str = field(default="auto", metadata=FREE)
    threads: int | None = field(default=None, metadata=FREE)
    save_seconds: float = field(default=60.0, metadata=FREE)
    save_steps: int = field(default=0, metadata=FREE)


@dataclass(frozen=True)
class EvalConfig:
    """How a trained parser is judged.

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
    test_size: int | tuple[int, int] | None = 128
    pairs: Literal["journal", "aaai", "spread", "dataset"] = "dataset"
    queries: int = 10
    repeats: int = 3
    per_class: int | None = None
    bi_every: int = 1
    bootstrap: int = 1000
    samples: int = 8
    batch_size: int = field(default=16, metadata=FREE)


@dataclass(frozen=True)
class InitConfig:
    """Where the encoder's first weights come from.

    kind "none": random; "file": `path`, an encoder found by name in a checkpoint; "segment": plain supervised runs on
    what the fold allows: first `synthetic_epochs` on procedural people (skipped when the dataset is one itself), then
    `dataset_epochs` on the dataset's own training photos. Novel classes have no labels in either.
    """

    kind: Literal["none", "segment", "file"] = "none"
    path: str | None = None
    synthetic: str = "synth-atr"
    synthetic_epochs: int = 0
    dataset_epochs: int = 20
    batch_size: int = 16
    lr: float = 2e-3
    unlabelled: Literal["background", "ignore"] = "background"


@dataclass(frozen=True)
class RunConfig:
    """One training and its evaluation. `variant` is the preset that the other values started from."""

    variant: Literal["official", "paper", "lite"] = "lite"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    init: InitConfig = field(default_factory=InitConfig)

    def as_dict(self) -> dict[str, Any]:
        """Return plain nested dicts, lists and literals, ready for YAML or JSON."""
        return typing.cast(dict[str, Any], _plain(asdict(self)))

    def to_yaml(self) -> str:
        """Return the YAML form, which `from_dict(yaml.safe_load(...))` reads back."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def from_dict(values: Mapping[str, Any], base: RunConfig | None = None, where: str = "configuration") -> RunConfig:
    """Lay nested `values` over `base` (default: the dataclass defaults). UserError for unknown names or wrong types."""
    config = lay(base or RunConfig(), values, where)
    check(config)
    return config


def lay(config: RunConfig, values: Mapping[str, Any], where: str = "configuration") -> RunConfig:
    """Like `from_dict`, for one layer of several: names and types are checked, ranges are not yet."""
    return _lay_over(config, values, where)


def override(config: RunConfig, overrides: Mapping[str, Any] | Sequence[str]) -> RunConfig:
    """Return `config` with dotted names replaced: {"train.lr": 0.01} or ["train.lr=0.01"] (values as in YAML).

    Raises UserError for an unknown name, a wrong type or a value outside its range.
    """
    return from_dict(nest(parse_overrides(overrides)), config, "override")


def parse_overrides(overrides: Mapping[str, Any] | Sequence[str]) -> dict[str, Any]:
    """Return {dotted name: value} of either form of overrides. UserError for an item that is no name=value."""
    return dict(overrides) if isinstance(overrides, Mapping) else dict(_parse(item) for item in overrides)


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


def _parse(item: str) -> tuple[str, Any]:
    name, sign, text = item.partition("=")
    if not sign or not name:
        raise UserError(f"override {item!r} is not of the form name=value, for example train.lr=0.01")
    try:
        return name.strip(), yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(f"the value of override {item!r} cannot be read; write it as in YAML") from None


def _lay_over(base: T, values: Mapping[str, Any], where: str) -> T:
    if not isinstance(values, Mapping):
        raise UserError(f"{where} must be a group of names and values, not {values!r}")
    hints = typing.get_type_hints(type(base))
    known = {item.name for item in fields(typing.cast(Any, base))}
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            refuse_old_name(f"{where}: ", name)
            raise UserError(f"{where}: unknown name {name!r}; known here: {', '.join(sorted(known))}")
        current = getattr(base, name)
        path = f"{where}: {name}" if where in ("configuration", "override") else f"{where}.{name}"
        if is_dataclass(current):
            changes[name] = _lay_over(typing.cast(Any, current), value, path)
        elif isinstance(current, dict):
            if not isinstance(value, Mapping):
                raise UserError(f"{path} must be a group of names and values, not {value!r}")
            changes[name] = {**current, **value}
        else:
            changes[name] = _fit(hints[name], value, path)
    return replace(typing.cast(Any, base), **changes)


def _fit(hint: Any, value: Any, path: str) -> Any:
    """Return `value` in the type that `hint` asks for, or raise UserError."""
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    for option in options:
        fitted = _fit_one(option, value)
        if fitted is not _MISFIT:
            return fitted
    raise UserError(f"{path} cannot be {value!r}; it takes {' or '.join(_describe(option) for option in options)}")


_MISFIT = object()


def _fit_one(option: Any, value: Any) -> Any:
    if option is type(None):
        return None if value is None else _MISFIT
    if typing.get_origin(option) is Literal:
        choices = typing.get_args(option)
        if isinstance(value, int) and not isinstance(value, bool) and str(value) in choices:
            value = str(value)  # way: 1 in a YAML file means "1"
        return value if value in choices and not isinstance(value, bool) else _MISFIT
    if typing.get_origin(option) is tuple:
        parts = typing.get_args(option)
        if isinstance(value, (list, tuple)) and len(value) == len(parts):
            fitted = [_fit_one(part, item) for part, item in zip(parts, value, strict=True)]
            return _MISFIT if any(item is _MISFIT for item in fitted) else tuple(fitted)
        return _MISFIT
    if option is float and isinstance(value, str):
        try:
            return float(value)  # YAML reads 1e-3 as a string
        except ValueError:
            return _MISFIT
    if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if option is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if option in (bool, str) and isinstance(value, option):
        return value
    return _MISFIT


def _describe(option: Any) -> str:
    if option is type(None):
        return "null"
    if typing.get_origin(option) is Literal:
        return " or ".join(repr(choice) for choice in typing.get_args(option))
    if typing.get_origin(option) is tuple:
        return "[height, width]"
    return {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}.get(option, str(option))


def check(config: RunConfig) -> None:
    """Raise UserError when a value is out of its range, naming it."""
    data, train, evaluation, init = config.data, config.train, config.eval, config.init
    low: list[tuple[str, float | None, float]] = [
        ("data.synthetic.n_train", data.synthetic.n_train, 2),
        ("data.synthetic.n_test", data.synthetic.n_test, 2),
        ("data.synthetic.size", data.synthetic.size, 16),
        ("data.fold", data.fold, 1),
        ("data.pre_resize", data.pre_resize, 16),
        ("data.split", data.split, 1),
        ("data.cap", data.cap, 1),
        ("data.workers", data.workers, 0),
        ("data.jitter", data.jitter, 0),
        ("train.epochs", train.epochs, 1),
        ("train.steps_per_epoch", train.steps_per_epoch, 1),
        ("train.batch_size", train.batch_size, 1),
        ("train.threads", train.threads, 1),
        ("train.minutes", train.minutes, 0),
        ("train.warmup_steps", train.warmup_steps, 0),
        ("train.lr", train.lr, 0),
        ("eval.batch_size", evaluation.batch_size, 1),
        ("eval.bi_every", evaluation.bi_every, 1),
        ("eval.bootstrap", evaluation.bootstrap, 0),
        ("init.synthetic_epochs", init.synthetic_epochs, 0),
        ("init.dataset_epochs", init.dataset_epochs, 0),
    ]
    for name, value, least in low:
        if value is not None and not value >= least:
            raise UserError(f"{name} is {value}; it must be at least {least:g}")
    for name, size in (("data.size", data.size), ("eval.test_size", evaluation.test_size)):
        if size is not None and min(size if isinstance(size, tuple) else (size,)) < 16:
            raise UserError(f"{name} is {size}; both sides must be at least 16 pixels")
    if data.pad_label not in (0, 255):
        raise UserError(f"data.pad_label is {data.pad_label}; it must be 0 (background) or 255 (ignored)")
    if train.task == "segment" and config.model.method != "segment":
        raise UserError(
            f"train.task is segment but model.method is {config.model.method}; set model.method=segment (its options "
            "are those of the encoder)"
        )
    if init.kind == "file" and not init.path:
        raise UserError("init.kind is 'file' but init.path is empty; give the checkpoint's path")


def identity_dict(config: RunConfig) -> dict[str, Any]:
    """Return the part of a configuration that says what the run is, without what only affects speed or comfort."""

    def keep(value: Any) -> Any:
        if is_dataclass(value):
            return {
                item.name: keep(getattr(value, item.name))
                for item in fields(value)
                if item.metadata.get("identity", True)
            }
        return _plain(value)

    kept: dict[str, Any] = keep(config)
    if not dataset_spec(config.data.dataset).synthetic and not (
        config.init.kind == "segment" and config.init.synthetic_epochs
    ):
        kept["data"].pop("synthetic")
    return kept


def identity(config: RunConfig, data_fingerprint: str, code_fingerprint: str) -> str:
    """Return the run's identity: 16 hex digits over configuration, data and code."""
    content = {"config": identity_dict(config), "data": data_fingerprint, "code": code_fingerprint}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def __getattr__(name: str) -> Any:
    """Say what a class of this module is called by now."""
    refuse_old_name("", name)
    raise AttributeError(f"module 'oshp_lite.engine.config' has no attribute {name!r}")
